import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Starts the bundle beside the live one, without user traffic. See mlDeploy.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlDeploy', args, [
        run: String, allowQuarantined: Boolean, config: Map, credentials: List, timeout: [String, Integer], required: Boolean,
    ])
    if (wrong) {
        error(wrong)
    }
    Map options = Keys.run(args) + (args.allowQuarantined ? [allow_quarantined: true] : [:])
    Map result = mlWorker(Keys.forWorker(args) + [verb: 'deploy', args: options])
    String refusal = Words.refusal(result, args)
    if (refusal) {
        error(refusal)
    }
    return result
}
