package org.mlpipeline

/** Agents by label: whoever would wait for one that is switched off is told so, and does not wait for ever. */
class Machine implements Serializable {

    private static final long serialVersionUID = 1L

    /** Takes an agent for a body, whose value it returns. An error when all with this label stay switched off. */
    static Object taken(Object steps, String label, Closure body) {
        String found = switchedOff(steps, label)
        if (found) {
            awaited(steps, label, found)
        }
        return steps.node(label) { body() }
    }

    /** Asks for an executor, as that makes a cloud start an agent too, and gives it back: only the waiting has a limit, not the work. */
    static void awaited(Object steps, String label, String found) {
        int patience = Words.seconds(steps.env.MLPIPELINE_AGENT_PATIENCE ?: '30m')
        long began = System.currentTimeMillis()
        try {
            steps.timeout(time: patience < 1 ? 1 : patience, unit: 'SECONDS') {
                steps.node(label) { steps.echo("mlPipeline: ${steps.env.NODE_NAME} is back") }
            }
        } catch (InterruptedException stopped) {
            String why = Words.ownEnd(stopped, System.currentTimeMillis() - began, patience)
            if (!why) {
                throw stopped
            }
            steps.error("${found}; waited ${patience} seconds for one (MLPIPELINE_AGENT_PATIENCE)")
        }
    }

    /** Says when every agent with the label is offline, and returns that in words; empty otherwise. */
    static String switchedOff(Object steps, String label) {
        List names = label ? offline(steps, label) : []
        if (!names) {
            return ''
        }
        String found = "every agent with the label '${label}' is offline: ${names.join(', ')}"
        steps.echo("mlPipeline: ${found}; waiting for one")
        return found
    }

    /** The agents with a label when none of them is online; empty otherwise, and where nobody has it: a cloud may make one. */
    static List offline(Object steps, String label) {
        try {
            return steps.nodesByLabel(label: label) ? [] : steps.nodesByLabel(label: label, offline: true)
        } catch (NoSuchMethodError absent) {
            if (!Words.missing(absent, 'nodesByLabel')) {
                throw absent
            }
            return []
        }
    }
}
