package org.mlpipeline

/** Agents by label: whoever would wait for one that is switched off is told so, and does not wait for ever. */
class Machine implements Serializable {

    private static final long serialVersionUID = 1L

    /** Seconds between two looks whether an agent is back. */
    static final int PAUSE = 30

    /** Takes an agent for a body, whose value it returns. An error when all with this label stay switched off. */
    static Object taken(Object steps, String label, Closure body) {
        awaited(steps, label, Words.seconds(steps.env.MLPIPELINE_AGENT_PATIENCE ?: '30m'))
        return steps.node(label) { body() }
    }

    /** Says when every agent with the label is offline, and waits for one so many seconds; for none, only says it. */
    static void awaited(Object steps, String label, int patience) {
        int waited = 0
        List offline = label ? switchedOff(steps, label) : []
        while (offline) {
            String found = "every agent with the label '${label}' is offline: ${offline.join(', ')}"
            if (waited >= patience && patience > 0) {
                steps.error("${found}; waited ${waited} seconds for one (MLPIPELINE_AGENT_PATIENCE)")
            }
            if (waited == 0) {
                steps.echo("mlPipeline: ${found}; waiting for one")
            }
            if (patience <= 0) {
                return
            }
            steps.sleep(time: PAUSE, unit: 'SECONDS')
            waited += PAUSE
            offline = switchedOff(steps, label)
        }
    }

    /** The agents with a label when none of them is online; empty otherwise, and where nobody has it: a cloud may make one. */
    static List switchedOff(Object steps, String label) {
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
