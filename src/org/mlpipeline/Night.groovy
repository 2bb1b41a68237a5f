package org.mlpipeline

/** What a scheduled build looks at on its agent, and what people are told of it. */
class Night implements Serializable {

    private static final long serialVersionUID = 1L

    final Object steps
    final Map args

    Night(Object steps, Map args) {
        this.steps = steps
        this.args = args
    }

    /** Drift and decay, and how the pipeline itself does. */
    Map looked() {
        Map seen = [:]
        steps.stage('Drift') {
            if (args.checkout) {
                args.checkout.call()
            } else {
                steps.checkout(steps.scm)
            }
            steps.dir(args.folder ?: '.') {
                if (!steps.fileExists('mlpipeline.yaml')) {
                    steps.error("there is no mlpipeline.yaml in ${args.folder ?: 'the repository'}; start with: mlpipeline init")
                }
                seen.drift = steps.mlWorker(Keys.forWorker(args, false) + [verb: 'nightly'])
            }
        }
        steps.stage('Pipeline health') {
            if (args.jenkins) {
                steps.dir(args.folder ?: '.') { seen.health = health() }
            } else {
                steps.echo('mlNightly: nobody watches whether scheduled runs happen; jenkins: names a credential that may read jobs')
            }
        }
        return seen
    }

    /** Jenkins' own history, read with a user and token of Jenkins. That it cannot be read must not keep a retraining back. */
    Map health() {
        Map options = (args.jobs ? [job: args.jobs] : [:]) + (args.grace ? [grace: args.grace] : [:])
        List user = [steps.usernamePassword(
            credentialsId: args.jenkins, usernameVariable: 'MLPIPELINE_JENKINS_USER', passwordVariable: 'MLPIPELINE_JENKINS_TOKEN',
        )]
        Map result = [:]
        steps.withEnv(["MLPIPELINE_JENKINS_URL=${steps.env.MLPIPELINE_JENKINS_URL ?: steps.env.JENKINS_URL}"]) {
            result = steps.mlWorker(
                verb: 'jenkins-health', args: options, config: args.config ?: [:], credentials: (args.credentials ?: []) + user,
                allow: [2, 3, 10, 11],
            )
        }
        return result
    }

    /** What was found, in one line; what nobody may miss, loudly. */
    void told(Map seen) {
        steps.currentBuild.description = Words.line(seen.drift.summary)
        steps.echo("mlNightly: ${seen.drift.summary}")
        if (seen.drift.verdict != 'pass') {
            steps.unstable("mlNightly: ${seen.drift.summary}")
        }
        if (seen.health && seen.health.verdict != 'pass') {
            steps.unstable("mlNightly: ${seen.health.summary}")
            String event = seen.health.verdict == 'fail' ? 'missed' : 'failed'
            steps.mlNotify((args.notify ?: [:]) + [event: event, text: seen.health.summary])
        }
    }

    /** The same release as by day, except that nobody is waited for. */
    Map released() {
        Map common = [unattended: true]
        for (String key : ['agent', 'folder', 'config', 'credentials', 'notify', 'checkout']) {
            if (args[key] != null) {
                common[key] = args[key]
            }
        }
        return common + (args.release ?: [:])
    }
}
