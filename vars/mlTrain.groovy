import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Runs the training command of mlpipeline.yaml and records what it made; a failed training ends the build. See mlTrain.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlTrain', args, [
        run: String, config: Map, credentials: List, timeout: [String, Integer], required: Boolean,
    ])
    if (wrong) {
        error(wrong)
    }
    Map result = mlWorker(Keys.forWorker(args) + [verb: 'train', args: Keys.run(args)])
    String refusal = Words.refusal(result, args)
    if (refusal) {
        error(refusal)
    }
    return result
}
