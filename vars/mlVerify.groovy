import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Watches candidate against champion in production, or recomputes a recorded verdict offline. See mlVerify.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlVerify', args, [
        run: String, seconds: Number, candidate: String, replay: String, onInconclusive: String,
        config: Map, credentials: List, timeout: [String, Integer], required: Boolean,
    ])
    wrong = wrong ?: Keys.notOneOf('mlVerify', 'onInconclusive', args.onInconclusive ?: 'error', ['error', 'unstable'])
    wrong = wrong ?: (args.candidate ? Keys.notOneOf('mlVerify', 'candidate', args.candidate, ['blue', 'green']) : '')
    if (wrong) {
        error(wrong)
    }
    Map options = Keys.run(args) + given(args)
    Map result = mlWorker(Keys.forWorker(args) + [verb: 'verify', args: options])
    String refusal = Words.refusal(result, args)
    if (refusal && result.verdict == 'inconclusive' && args.onInconclusive == 'unstable') {
        unstable(refusal)
    } else if (refusal) {
        error(refusal)
    }
    return result
}

/** What is handed on as it is. */
Map given(Map args) {
    Map handed = [:]
    for (String key : ['seconds', 'candidate', 'replay']) {
        if (args[key] != null) {
            handed[key] = args[key]
        }
    }
    return handed
}
