import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Watches candidate against champion in production, or recomputes a recorded verdict offline. See mlVerify.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlVerify', args, [
        run: String, seconds: Number, replay: String, onInconclusive: String,
        config: Map, credentials: List, timeout: [String, Integer], required: Boolean,
    ])
    wrong = wrong ?: Keys.notOneOf('mlVerify', 'onInconclusive', args.onInconclusive ?: 'error', ['error', 'unstable'])
    if (wrong) {
        error(wrong)
    }
    Map options = Keys.run(args) + (args.seconds == null ? [:] : [seconds: args.seconds]) + (args.replay ? [replay: args.replay] : [:])
    Map result = mlWorker(Keys.forWorker(args) + [verb: 'verify', args: options])
    String refusal = Words.refusal(result, args)
    if (refusal && result.verdict == 'inconclusive' && args.onInconclusive == 'unstable') {
        unstable(refusal)
    } else if (refusal) {
        error(refusal)
    }
    return result
}
