import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Gives users the previous version back, verifies it, and quarantines the bad one. See mlRollback.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlRollback', args, [
        why: String, run: String, config: Map, credentials: List, timeout: [String, Integer], required: Boolean,
    ])
    wrong = wrong ?: (args.why?.trim() ? '' : "mlRollback: why is missing; the quarantine and the ledger need a reason")
    if (wrong) {
        error(wrong)
    }
    Map result = mlWorker(Keys.forWorker(args) + [verb: 'rollback', args: Keys.run(args) + [reason: args.why]])
    String refusal = Words.refusal(result, args)
    if (refusal) {
        error(refusal)
    }
    return result
}
