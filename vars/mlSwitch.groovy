import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Moves users over, stage by stage and verified at each; the worker takes them back by itself when the proof fails. See mlSwitch.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlSwitch', args, [
        run: String, config: Map, credentials: List, timeout: [String, Integer], required: Boolean,
    ])
    if (wrong) {
        error(wrong)
    }
    // A second attempt after exit 3 is safe: the worker goes on from its journal.
    Map result = mlWorker(Keys.forWorker(args) + [verb: 'switch', args: Keys.run(args)])
    String refusal = Words.refusal(result, args)
    if (refusal) {
        error(refusal)
    }
    return result
}
