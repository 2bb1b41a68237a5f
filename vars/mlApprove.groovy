import org.mlpipeline.Approval
import org.mlpipeline.Keys
import org.mlpipeline.Lookout
import org.mlpipeline.Question
import org.mlpipeline.Words

/** Asks people until the worker says that enough of them have approved this digest and this evidence. See mlApprove.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlApprove', args, Keys.APPROVE) ?: Words.notDurations('mlApprove', args, [timeout: '24h', watch: '10m'])
    wrong = wrong ?: (env.WORKSPACE ? 'mlApprove must stand outside node (declarative: a stage with agent none): people are slow' : '')
    if (wrong) {
        error(wrong)
    }
    Approval approval = new Approval(this, args)
    long until = System.currentTimeMillis() + 1000L * Words.seconds(args.timeout ?: '24h')
    Map known = args.pending ?: approval.told([:])
    boolean unattended = args.unattended == null ? startedByTimer() : args.unattended
    if (known.verdict == 'inconclusive' && unattended) {
        return approval.byPolicy(known)
    }
    while (known.verdict == 'inconclusive') {
        known = asked(approval, known, until)
    }
    String refusal = Words.refusal(known)
    if (refusal) {
        error(refusal)
    }
    return known + [decision: 'approved']
}

/** One person's answer, and what the worker makes of it. Whoever stops the request is recorded, and the build stops as he wanted. */
Map asked(Approval approval, Map known, long until) {
    Question question = new Question(this, approval.args, known)
    int every = Words.seconds(approval.args.watch == null ? '10m' : approval.args.watch)
    Map answer = [:]
    try {
        answer = every == 0 ? question.asked(until) : new Lookout(this, approval, every).during(question, until)
    } catch (InterruptedException stopped) {
        Map how = Words.interruption(stopped)
        approval.ended(how, "${how.how} at ${env.BUILD_URL}".toString(), known.evidence.digest)
        throw stopped
    }
    return approval.answered(answer, known.evidence.digest)
}

boolean startedByTimer() {
    return currentBuild.getBuildCauses('hudson.triggers.TimerTrigger$TimerTriggerCause').size() > 0
}
