import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Makes the self-contained bundle and registers the model version with its lineage. See mlPackage.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlPackage', args, [
        run: String, register: Boolean, config: Map, credentials: List, timeout: [String, Integer], required: Boolean,
    ])
    if (wrong) {
        error(wrong)
    }
    Map results = [:]
    for (String verb : args.register == false ? ['package'] : ['package', 'register']) {
        Map result = mlWorker(Keys.forWorker(args) + [verb: verb, args: Keys.run(args)])
        String refusal = Words.refusal(result, args)
        if (refusal) {
            error(refusal)
        }
        results[verb] = result
    }
    return results.package + [registered: results.register?.evidence ?: [:]]
}
