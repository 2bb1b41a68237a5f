package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** Small texts: durations, one-line summaries, the reasons of interruptions, missing plugins. */
class Words implements Serializable {

    private static final long serialVersionUID = 1L

    /** Seconds of '90s', '30m', '24h', '2d' or a bare number of seconds; -1 when it is none of these. */
    @NonCPS
    static int seconds(Object duration) {
        String text = String.valueOf(duration).trim()
        Map units = [s: 1, m: 60, h: 3600, d: 86400]
        String unit = text.length() > 1 ? text.substring(text.length() - 1) : 's'
        String number = units.containsKey(unit) ? text.substring(0, text.length() - (text.endsWith(unit) ? 1 : 0)) : text
        if (!number.matches('[0-9]{1,8}')) {
            return -1
        }
        return number.toInteger() * (int) (units.get(unit) ?: 1)
    }

    /** What is wrong with keys that are lengths of time, each with an example; empty when nothing is. 0 is one too. */
    @NonCPS
    static String notDurations(String step, Map given, Map examples) {
        for (Object key : examples.keySet()) {
            if (given.get(key) != null && seconds(given.get(key)) < 0) {
                return "${step}: ${key} must be a duration such as '${examples.get(key)}', not '${given.get(key)}'".toString()
            }
        }
        return ''
    }

    /** What is wrong with a step that takes agents itself when it is called on one; empty when it is not. */
    @NonCPS
    static String inside(String step, Object workspace) {
        String why = 'it takes agents itself (declarative: in script, in a stage with agent none)'
        return workspace ? "${step} must stand outside node, ${why}".toString() : ''
    }

    /** A verb as it is typed: the command line is made of known words only. */
    @NonCPS
    static String typed(String verb) {
        for (Object group : ['gate', 'doctor', 'jenkins']) {
            if (verb.startsWith("${group}-".toString())) {
                return verb.replaceFirst('-', ' ')
            }
        }
        return verb
    }

    /** One line for a build description or a subject: no line breaks, no markup, at most 200 characters. */
    @NonCPS
    static String line(Object text) {
        String flat = String.valueOf(text).replaceAll('[\\s\\p{Cntrl}]+', ' ').replaceAll('[<>&]', ' ').trim()
        return flat.length() > 200 ? flat.substring(0, 199) + '…' : flat
    }

    /** A name that may stand in an environment variable or a lock: letters, digits and a few marks. */
    @NonCPS
    static String name(Object text) {
        return String.valueOf(text).replaceAll('[^A-Za-z0-9@._ -]', '_')
    }

    /** Who stopped a build, and how. The sandbox shows no more of an interruption than its message. */
    @NonCPS
    static Map interruption(Throwable stopped) {
        String message = String.valueOf(stopped.getMessage())
        Map kinds = ['Rejected by ': 'rejected', 'Aborted by ': 'aborted', 'Superseded by ': 'superseded', 'Failed in branch ': 'withdrawn']
        for (Object start : kinds.keySet()) {
            if (message.startsWith(start.toString())) {
                return [how: kinds.get(start), who: message.substring(start.toString().length())]
            }
        }
        if (message == 'Timeout waiting for agent to come back') {
            return [how: 'agent lost', who: message]
        }
        return message == 'Timeout has been exceeded' ? [how: 'timed out', who: 'nobody'] : [how: 'interrupted', who: message]
    }

    /** Why work with a time limit of its own ended, where that concerns nothing but this work; empty when the build is stopped. */
    @NonCPS
    static String ownEnd(Throwable stopped, long milliseconds, int limit) {
        Object how = interruption(stopped).get('how')
        if (how == 'agent lost') {
            return 'its agent was lost'
        }
        return how == 'timed out' && milliseconds >= 1000L * limit ? "it took longer than ${limit} seconds".toString() : ''
    }

    /** Whether an error says that a step is not there, because the plugin that brings it is not installed. */
    @NonCPS
    static boolean missing(Throwable problem, String step) {
        String message = String.valueOf(problem.getMessage())
        return message.contains("No such DSL method '${step}'".toString())
    }

    /** Why the build does not go on, from a result; empty when the verdict is pass, or when the caller judges by himself. */
    @NonCPS
    static String refusal(Map result, Map args = [:]) {
        if (result.get('verdict') == 'pass' || args.get('required') == false) {
            return ''
        }
        return "${result.get('verb')}: ${result.get('verdict')}: ${result.get('summary')}".toString()
    }

    /** What a meter saw, under the names that the return value has; what a device does not measure is left out. */
    @NonCPS
    static Map metered(Map told) {
        Map use = (Map) ((Map) (told.get('evidence') ?: [:])).get('use')
        Map metered = [:]
        for (Object key : ['busy_seconds', 'peak_memory_bytes', 'energy_joules', 'samples', 'trouble']) {
            if (use != null && use.get(key) != null) {
                metered.put(key, use.get(key))
            }
        }
        return metered
    }

    /** A template with its {names} replaced; what is filled in is never read as a template again. */
    @NonCPS
    static String filled(String template, Map values) {
        String rest = template
        String text = ''
        while (rest.contains('{') && rest.indexOf('}', rest.indexOf('{')) > 0) {
            int open = rest.indexOf('{')
            int close = rest.indexOf('}', open)
            String name = rest.substring(open + 1, close)
            text += rest.substring(0, open)
            text += values.containsKey(name) ? String.valueOf(values.get(name)) : rest.substring(open, close + 1)
            rest = rest.substring(close + 1)
        }
        return text + rest
    }
}
