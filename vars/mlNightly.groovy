import org.mlpipeline.Keys
import org.mlpipeline.Machine
import org.mlpipeline.Night
import org.mlpipeline.Plan
import org.mlpipeline.Words

/** Looks for drift and decay, and releases a retrained model through mlPipeline when the rule says so. See mlNightly.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlNightly', args, [
        agent: String, folder: String, release: Map, retrain: Boolean, jenkins: String, jobs: List, grace: String,
        config: Map, credentials: List, notify: Map, cron: String, checkout: Closure, timeout: [String, Integer],
    ])
    wrong = wrong ?: Plan.later('mlNightly', args) ?: (args.release ? Plan.wrong(args.release) : '')
    wrong = wrong ?: Words.inside('mlNightly', env.WORKSPACE)
    int limit = Words.seconds(args.timeout ?: '4h')
    wrong = wrong ?: (limit < 1 ? "mlNightly: timeout must be a duration such as '4h', not '${args.timeout}'" : '')
    if (wrong) {
        error(wrong)
    }
    if (args.cron) {
        properties([pipelineTriggers([cron(args.cron)])])
    }
    Night night = new Night(this, args)
    Map seen = [:]
    timeout(time: limit, unit: 'SECONDS') {
        Machine.taken(this, args.agent ?: '') { seen = night.looked() }
    }
    night.told(seen)
    if (seen.drift.evidence?.retrain && args.retrain != false) {
        seen.release = mlPipeline(night.released() + [reason: seen.drift.evidence.reason])
    }
    return seen
}
