import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Judges the data or the model; anything but a pass ends the build. See mlGate.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlGate', args, [
        kind: String, run: String, config: Map, credentials: List, timeout: [String, Integer], required: Boolean,
    ]) ?: Keys.notOneOf('mlGate', 'kind', args.kind, ['data', 'model'])
    if (wrong) {
        error(wrong)
    }
    Map result = mlWorker(Keys.forWorker(args) + [verb: "gate-${args.kind}".toString(), args: Keys.run(args)])
    String refusal = Words.refusal(result, args)
    if (refusal) {
        error(refusal)
    }
    return result
}
