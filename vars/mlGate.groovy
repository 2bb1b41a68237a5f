import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Judges the data or the model; anything but a pass ends the build. See mlGate.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlGate', args, [
        kind: String, run: String, reason: String, config: Map, credentials: List, timeout: [String, Integer], required: Boolean,
    ]) ?: Keys.notOneOf('mlGate', 'kind', args.kind, ['data', 'model'])
    wrong = wrong ?: (args.reason && args.kind == 'model' ? 'mlGate: reason goes with the data gate, where a release begins' : '')
    if (wrong) {
        error(wrong)
    }
    Map options = Keys.run(args) + (args.reason ? [reason: args.reason] : [:])
    Map result = mlWorker(Keys.forWorker(args) + [verb: "gate-${args.kind}".toString(), args: options])
    String refusal = Words.refusal(result, args)
    if (refusal) {
        error(refusal)
    }
    return result
}
