package org.mlpipeline

/** What the worker is told and says about an approval: who decided, how a request ended, whether the release may go on. */
class Approval implements Serializable {

    private static final long serialVersionUID = 1L

    /** The step that asks: steps are called on it. */
    final Object steps
    final Map args

    Approval(Object steps, Map args) {
        this.steps = steps
        this.args = args
    }

    /** Tells the worker a decision, if there is one, and returns whether the release may go on. */
    Map told(Map decision) {
        Map call = Keys.forWorker(args, false) + [verb: 'approve', args: Keys.run(args) + decision, allow: [2, 10, 11]]
        return inside { steps.mlWorker(call) }
    }

    /** What a person's answer comes to. One that does not count is said, and people are asked on. */
    Map answered(Map answer, String digest) {
        Map after = told([as: answer.who, why: answer.why ?: 'no reason given', digest: digest])
        if (after.verdict != 'error') {
            return after
        }
        steps.echo("mlApprove: the answer of ${answer.who} does not count: ${after.summary}")
        return told([:])
    }

    /** How a request ended without an answer, for the record. Nothing that goes wrong here may hide it. */
    void ended(Map how, String why, String digest) {
        Map decision = [as: how.who, why: why, digest: digest]
        String ended = how.how in ['interrupted', 'agent lost'] ? 'aborted' : how.how.replace(' ', '-')
        decision.putAll(how.how == 'rejected' ? [reject: true] : [ended: ended])
        try {
            steps.timeout(time: 10, unit: 'MINUTES') { told(decision) }
        } catch (Exception problem) {
            steps.echo("mlApprove: ${why}, by ${how.who}, could not be recorded: ${problem.message}")
        }
    }

    /** Nobody is there: what mlpipeline.yaml declares for this case, and the worker holds us to. */
    Map byPolicy(Map known) {
        String policy = known.evidence.unattended ?: 'hold'
        if (policy == 'hold') {
            steps.unstable("mlApprove: nobody is asked at night; the release waits: ${known.summary}")
            return known + [decision: 'held']
        }
        Map decision = [as: 'policy', why: "approval.unattended: ${policy}", digest: known.evidence.digest, reject: policy == 'reject']
        Map after = told(decision)
        String refusal = Words.refusal(after)
        if (refusal) {
            steps.error(refusal)
        }
        return after + [decision: 'proceeded']
    }

    /** On an agent, with the run's record; what the worker adds to the record is kept for the next agent. */
    Map inside(Closure body) {
        Map result = [:]
        // Said only: an answer that was given waits as long as it must.
        Machine.switchedOff(steps, args.agent ?: '')
        steps.node(args.agent ?: '') {
            if (args.prepare) {
                args.prepare.call()
            } else {
                steps.checkout(steps.scm)
            }
            steps.dir(args.folder ?: '.') {
                if (!args.prepare) {
                    steps.unstash('mlpipeline')
                }
                result = body()
                List kept = [args.run ? ".mlpipeline/runs/${args.run}/**" : '.mlpipeline/runs/**'] + (args.carry ? [args.carry] : [])
                steps.stash(name: 'mlpipeline', includes: kept.join(','), allowEmpty: true, useDefaultExcludes: false)
            }
        }
        return result
    }
}
