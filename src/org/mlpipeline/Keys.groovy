package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** Checks what a step was given: every unknown key and every wrong type is told with the step's name, nothing is ignored. */
class Keys implements Serializable {

    private static final long serialVersionUID = 1L

    /** Keys of steps that mlPipeline and mlNightly are given for later, so that they are checked before anything runs. */
    static final Map GPU = [
        count: Integer, memory: String, label: String, agent: String, timeout: [String, Integer], credentials: List, config: Map,
    ]
    static final Map APPROVE = [
        pending: Map, agent: String, folder: String, run: String, message: String, lines: List, report: String, submitters: [String, List],
        timeout: [String, Integer], watch: [String, Integer], unattended: Boolean, prepare: Closure, carry: String, config: Map,
        credentials: List,
    ]
    static final Map NOTIFY = [
        event: String, text: String, on: List, mail: String, slack: String, issues: String, template: String,
    ]

    /** What each step that runs one verb hands on to mlWorker as it is. */
    static final List WORKER = ['config', 'credentials']

    /** What is wrong with the keys of one call, in one sentence; empty when nothing is. */
    @NonCPS
    static String wrong(String step, Map given, Map known) {
        for (Object key : given.keySet()) {
            String name = key.toString()
            if (!known.containsKey(name)) {
                return "${step}: unknown key '${name}'; ${meant(name, new ArrayList(known.keySet()))}".toString()
            }
            Object value = given.get(key)
            if (value != null && !fits(value, known.get(name))) {
                return "${step}: ${name} must be ${words(known.get(name))}, not ${value.getClass().getName()}".toString()
            }
        }
        return ''
    }

    /** What is wrong with a value that must be one of a few words; empty when nothing is. */
    @NonCPS
    static String notOneOf(String step, String key, Object value, List allowed) {
        for (Object one : allowed) {
            if (one.toString() == String.valueOf(value)) {
                return ''
            }
        }
        return "${step}: ${key} must be one of ${allowed.join(', ')}, not ${value == null ? 'missing' : "'${value}'"}".toString()
    }

    /** Those of a step's keys that mlWorker takes as they are. A time-out only where it is meant for one call. */
    @NonCPS
    static Map forWorker(Map given, boolean timed = true) {
        Map passed = [:]
        for (Object key : timed ? WORKER + ['timeout'] : WORKER) {
            if (given.get(key) != null) {
                passed.put(key, given.get(key))
            }
        }
        return passed
    }

    /** The run that a verb works on, as arguments of the worker. */
    @NonCPS
    static Map run(Map given) {
        return given.get('run') ? [run: given.get('run').toString()] : [:]
    }

    @NonCPS
    private static boolean fits(Object value, Object wanted) {
        if (wanted instanceof List) {
            for (Object one : (List) wanted) {
                if (fits(value, one)) {
                    return true
                }
            }
            return false
        }
        return wanted == String ? value instanceof CharSequence : ((Class) wanted).isInstance(value)
    }

    @NonCPS
    private static String words(Object wanted) {
        if (!(wanted instanceof List)) {
            return 'a ' + ((Class) wanted).getSimpleName()
        }
        List names = []
        for (Object one : (List) wanted) {
            names.add(words(one))
        }
        return names.join(' or ')
    }

    @NonCPS
    private static String meant(String typed, List known) {
        String nearest = ''
        int least = typed.length() < 4 ? 2 : 3
        for (Object one : known) {
            int distance = distance(typed, one.toString())
            if (distance <= least && distance < typed.length()) {
                least = distance - 1
                nearest = one.toString()
            }
        }
        return nearest ? "did you mean '${nearest}'?".toString() : "known are: ${known.join(', ')}".toString()
    }

    /** Insertions, deletions and replacements that make one word of the other. */
    @NonCPS
    private static int distance(String one, String other) {
        List previous = []
        for (int j = 0; j <= other.length(); j++) {
            previous.add(j)
        }
        for (int i = 1; i <= one.length(); i++) {
            List row = [i]
            for (int j = 1; j <= other.length(); j++) {
                int change = (int) previous.get(j - 1) + (one.substring(i - 1, i) == other.substring(j - 1, j) ? 0 : 1)
                int add = (int) row.get(j - 1) + 1
                int remove = (int) previous.get(j) + 1
                int best = change < add ? change : add
                row.add(best < remove ? best : remove)
            }
            previous = row
        }
        return (int) previous.get(other.length())
    }
}
