package org.mlpipeline

/** One question to people, asked outside of any node. */
class Question implements Serializable {

    private static final long serialVersionUID = 1L

    final Object steps
    final Map args
    /** The worker's word on what is asked about. */
    final Map known

    Question(Object steps, Map args, Map known) {
        this.steps = steps
        this.args = args
        this.known = known
    }

    /** Who answered, and why. What a real input returns is what was submitted: a user alone, or a map with the reason. */
    Map asked(long until) {
        Map asking = [
            id: 'Release', ok: 'Approve', submitterParameter: 'WHO', message: message(),
            parameters: [steps.string(name: 'WHY', defaultValue: '', description: 'Why, for the record')],
        ]
        if (args.submitters) {
            asking.submitter = args.submitters instanceof List ? args.submitters.join(',') : args.submitters
        }
        Object answer = null
        long left = until - System.currentTimeMillis()
        steps.timeout(time: left < 1000L ? 1 : (int) (left / 1000L), unit: 'SECONDS') {
            answer = submitted(asking)
        }
        return answer instanceof Map ? [who: answer.WHO, why: answer.WHY] : [who: answer, why: '']
    }

    Object submitted(Map asking) {
        try {
            return steps.input(asking)
        } catch (NoSuchMethodError absent) {
            if (!Words.missing(absent, 'input')) {
                throw absent
            }
            steps.error('mlApprove needs the step input: install the plugin pipeline-input-step')
        }
    }

    /** What people decide on: digest, verdict lines, where the report is. */
    String message() {
        Map evidence = known.evidence
        List lines = [args.message ?: "Release ${known.service}?", "digest ${evidence.digest}", "evidence ${evidence.evidence_hash}"]
        for (Object line : (args.lines ?: [])) {
            lines << Words.line(line)
        }
        lines << Words.line(known.summary)
        if (args.report) {
            lines << "report ${args.report}".toString()
        }
        return lines.join('\n')
    }
}
