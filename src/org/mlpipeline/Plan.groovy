package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** What mlPipeline was asked for, with every default filled in, and which branches release. */
class Plan implements Serializable {

    private static final long serialVersionUID = 1L

    static final Map KEYS = [
        agent: String, folder: String, release: [String, List, Boolean], until: String, checks: Map, gpu: [Map, Boolean], approve: Map,
        credentials: List, pullRequestCredentials: List, config: Map, notify: Map, reason: String, carry: String, checkout: Closure,
        timeout: [String, Integer], unattended: Boolean, cron: String, parameters: List, service: String,
    ]

    /** The last step of builds that do not release. */
    static final List UNTIL = ['gate-data', 'gate-model']

    @NonCPS
    static String wrong(Map given) {
        String wrong = Keys.wrong('mlPipeline', given, KEYS)
        if (!wrong && given.get('until') != null) {
            wrong = Keys.notOneOf('mlPipeline', 'until', given.get('until'), UNTIL)
        }
        if (!wrong && given.get('timeout') != null && Words.seconds(given.get('timeout')) <= 0) {
            wrong = "mlPipeline: timeout must be a duration such as '12h', not '${given.get('timeout')}'".toString()
        }
        for (Object taken : ['data gate', 'project checks']) {
            if (!wrong && given.get('checks') != null && ((Map) given.get('checks')).containsKey(taken)) {
                wrong = "mlPipeline: a check may not be called '${taken}', which runs beside them".toString()
            }
        }
        wrong = wrong ?: later('mlPipeline', given) ?: checks((Map) (given.get('checks') ?: [:]))
        String folder = given.get('folder') ?: '.'
        if (!wrong && (folder.startsWith('/') || folder.contains('..'))) {
            wrong = "mlPipeline: folder must lie inside the repository, not '${folder}'".toString()
        }
        return wrong
    }

    /** What is wrong with keys that are handed on to other steps. Told at once: a typing error must not cost a training. */
    @NonCPS
    static String later(String step, Map given) {
        Map known = [gpu: Keys.GPU, approve: Keys.APPROVE, notify: Keys.NOTIFY]
        for (Object key : known.keySet()) {
            Object handed = given.get(key)
            String wrong = handed instanceof Map ? Keys.wrong("${step}: ${key}".toString(), (Map) handed, (Map) known.get(key)) : ''
            if (wrong) {
                return wrong
            }
        }
        return ''
    }

    @NonCPS
    private static String checks(Map given) {
        for (Object name : given.keySet()) {
            Object check = given.get(name)
            if (!(check instanceof CharSequence || check instanceof Closure)) {
                return "mlPipeline: the check '${name}' must be a shell command or steps in braces".toString()
            }
        }
        return ''
    }

    /** Every key with its value. A pull request brings code that nobody has read: it gets only what is meant for it. */
    @NonCPS
    static Map of(Map given, String change) {
        Map plan = [agent: '', folder: '.', release: 'main', until: 'gate-model', checks: [:], approve: [:], notify: [:], timeout: '72h']
        for (Object key : given.keySet()) {
            if (given.get(key) != null) {
                plan.put(key.toString(), given.get(key))
            }
        }
        if (change) {
            plan.put('credentials', plan.get('pullRequestCredentials') ?: [])
        }
        return plan
    }

    /** Whether a build of this branch releases; a pull request never does. A star stands for the rest of a name. */
    @NonCPS
    static boolean releases(Object release, String branch, String change) {
        if (change) {
            return false
        }
        if (release instanceof Boolean) {
            return release
        }
        for (Object one : release instanceof List ? (List) release : [release]) {
            String name = one.toString()
            boolean start = name.endsWith('*') && branch.startsWith(name.substring(0, name.length() - 1))
            if (branch && (branch == name || start)) {
                return true
            }
        }
        return false
    }

    /** A branch as people say it, from what a checkout returns. */
    @NonCPS
    static String branch(Object named, Map checkedOut) {
        String found = named ? named.toString() : String.valueOf(checkedOut?.get('GIT_BRANCH') ?: '')
        for (String start : ['refs/heads/', 'refs/remotes/origin/', 'origin/']) {
            if (found.startsWith(start)) {
                return found.substring(start.length())
            }
        }
        return found
    }

    /** The one line that says what was decided: the last refusal, or what is live now. */
    @NonCPS
    static String decision(Map state, Throwable stopped) {
        if (stopped instanceof InterruptedException) {
            Map how = Words.interruption(stopped)
            return Words.line("${how.get('how')}: ${how.get('who')}")
        }
        if (stopped != null) {
            return Words.line(stopped.getMessage())
        }
        return Words.line(state.get('decision') ?: 'nothing was decided')
    }
}
