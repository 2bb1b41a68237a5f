import org.mlpipeline.Keys
import org.mlpipeline.Plan
import org.mlpipeline.Words

/** Looks for drift and decay, and releases a retrained model through mlPipeline when the rule says so. See mlNightly.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlNightly', args, [
        agent: String, folder: String, release: Map, retrain: Boolean, jenkins: String, jobs: List, grace: String,
        config: Map, credentials: List, notify: Map, cron: String, checkout: Closure, timeout: [String, Integer],
    ])
    wrong = wrong ?: Plan.later('mlNightly', args) ?: (args.release ? Plan.wrong(args.release) : '')
    int limit = Words.seconds(args.timeout ?: '4h')
    wrong = wrong ?: (limit < 1 ? "mlNightly: timeout must be a duration such as '4h', not '${args.timeout}'" : '')
    if (wrong) {
        error(wrong)
    }
    if (args.cron) {
        properties([pipelineTriggers([cron(args.cron)])])
    }
    Map seen = [:]
    timeout(time: limit, unit: 'SECONDS') {
        node(args.agent ?: '') { seen = looked(args) }
    }
    told(args, seen)
    if (seen.drift.evidence?.retrain && args.retrain != false) {
        seen.release = mlPipeline(released(args) + [reason: seen.drift.evidence.reason])
    }
    return seen
}

/** Drift and decay, and how the pipeline itself does. */
Map looked(Map args) {
    Map seen = [:]
    stage('Drift') {
        if (args.checkout) {
            args.checkout.call()
        } else {
            checkout(scm)
        }
        dir(args.folder ?: '.') {
            if (!fileExists('mlpipeline.yaml')) {
                error("there is no mlpipeline.yaml in ${args.folder ?: 'the repository'}; start with: mlpipeline init")
            }
            seen.drift = mlWorker(Keys.forWorker(args, false) + [verb: 'nightly'])
        }
    }
    stage('Pipeline health') {
        if (args.jenkins) {
            dir(args.folder ?: '.') { seen.health = health(args) }
        } else {
            echo('mlNightly: whether scheduled runs happen is not watched; give the id of a credential that may read jobs: jenkins')
        }
    }
    return seen
}

/** Jenkins' own history, read with a user and token of Jenkins. That it cannot be read must not keep a retraining back. */
Map health(Map args) {
    Map options = (args.jobs ? [job: args.jobs] : [:]) + (args.grace ? [grace: args.grace] : [:])
    List user = [usernamePassword(
        credentialsId: args.jenkins, usernameVariable: 'MLPIPELINE_JENKINS_USER', passwordVariable: 'MLPIPELINE_JENKINS_TOKEN',
    )]
    Map result = [:]
    withEnv(["MLPIPELINE_JENKINS_URL=${env.MLPIPELINE_JENKINS_URL ?: env.JENKINS_URL}"]) {
        result = mlWorker(
            verb: 'jenkins-health', args: options, config: args.config ?: [:], credentials: (args.credentials ?: []) + user,
            allow: [2, 3, 10, 11],
        )
    }
    return result
}

/** What was found, in one line; what nobody may miss, loudly. */
void told(Map args, Map seen) {
    currentBuild.description = Words.line(seen.drift.summary)
    echo("mlNightly: ${seen.drift.summary}")
    if (seen.drift.verdict != 'pass') {
        unstable("mlNightly: ${seen.drift.summary}")
    }
    if (seen.health && seen.health.verdict != 'pass') {
        unstable("mlNightly: ${seen.health.summary}")
        mlNotify((args.notify ?: [:]) + [event: seen.health.verdict == 'fail' ? 'missed' : 'failed', text: seen.health.summary])
    }
}

/** The same release as by day, except that nobody is waited for. */
Map released(Map args) {
    Map common = [unattended: true]
    for (String key : ['agent', 'folder', 'config', 'credentials', 'notify', 'checkout']) {
        if (args[key] != null) {
            common[key] = args[key]
        }
    }
    return common + (args.release ?: [:])
}
