import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Judges the data, the model files or the model; anything but a pass ends the build. See mlGate.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlGate', args, [
        kind: String, run: String, reason: String, release: Boolean, config: Map, credentials: List, timeout: [String, Integer],
        required: Boolean,
    ]) ?: Keys.notOneOf('mlGate', 'kind', args.kind, ['data', 'security', 'model'])
    boolean begins = args.reason || args.release
    wrong = wrong ?: (begins && args.kind != 'data' ? 'mlGate: reason and release go with the data gate, where a release begins' : '')
    if (wrong) {
        error(wrong)
    }
    Map options = Keys.run(args) + (args.reason ? [reason: args.reason] : [:]) + (args.release ? [release: true] : [:])
    Map result = mlWorker(Keys.forWorker(args) + [verb: "gate-${args.kind}".toString(), args: options])
    String refusal = Words.refusal(result, args)
    if (refusal) {
        error(refusal)
    }
    return result
}
