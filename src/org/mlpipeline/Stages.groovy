package org.mlpipeline

/** The stages of a release in order; what a stage does stands in the steps it calls. */
class Stages implements Serializable {

    private static final long serialVersionUID = 1L

    final Object steps
    final Release release
    final Workspace workspace

    Stages(Object steps, Release release, Workspace workspace) {
        this.steps = steps
        this.release = release
        this.workspace = workspace
    }

    /** Data gate and the project's own checks, side by side on one checkout. */
    void gates() {
        Map checks = release.plan.checks
        workspace.onAgent(['gate-data', 'checks']) {
            Map branches = [
                'data gate': { steps.stage('Data gate') { release.judge(steps.mlGate(release.passed() + release.begun())) } },
                'project checks': { steps.stage('Checks') { release.judge(release.worked('checks', release.why())) } },
            ]
            for (String name : checks.keySet()) {
                String check = name
                branches[check] = { steps.stage(check) { perform(checks[check], check) } }
            }
            steps.parallel(branches)
        }
    }

    /** A check of the project: a shell command, or steps. */
    void perform(Object check, String name) {
        if (check instanceof Closure) {
            check.call()
        } else {
            steps.sh(script: check.toString(), label: name)
        }
    }

    /** Trains, scans and judges the model on one agent: with leased GPUs where the plan wants them. */
    void train() {
        Map plan = release.plan
        String where = release.state.branch ?: 'this commit'
        if (!release.releases() && plan.until == 'gate-data') {
            release.state.decision = "gates passed on ${where}; the data gate is the last step here".toString()
            return
        }
        Closure body = {
            steps.stage('Train') { release.judge(steps.mlTrain(release.passed())) }
            steps.stage('Security') { release.judge(steps.mlGate(release.passed() + [kind: 'security'])) }
            steps.stage('Model gate') { release.judge(steps.mlGate(release.passed() + [kind: 'model'])) }
        }
        if (plan.gpu) {
            Map wanted = (plan.agent ? [agent: plan.agent] : [:]) + (plan.gpu instanceof Map ? plan.gpu : [:])
            release.state.gpu = steps.mlGpu(wanted) { workspace.inside(['train', 'gate-security', 'gate-model'], body) }
        } else {
            workspace.onAgent(['train', 'gate-security', 'gate-model'], body)
        }
        release.state.decision = "gates passed on ${where}: ${release.state.results['gate-model'].summary}".toString()
    }

    /** Newest wins: of the builds that wait for a service the newest goes on, and the older ones end. */
    void rollOut() {
        if (!release.releases()) {
            return
        }
        pass()
        alone("mlpipeline-${Words.name(release.plan.service ?: release.state.service)}".toString()) {
            pass()
            prepare()
            if (approve()) {
                moveUsers()
            }
        }
    }

    void prepare() {
        workspace.onAgent(['package', 'register', 'deploy']) {
            steps.stage('Package') { release.judge(steps.mlPackage(release.passed() + [register: false])) }
            steps.stage('Register') { release.judge(release.worked('register')) }
            steps.stage('Deploy') { release.judge(steps.mlDeploy(release.passed())) }
            release.keep(release.worked('approve'))
        }
    }

    /** Whether the release may go on. People are asked only when the worker says that somebody must be. */
    boolean approve() {
        Map plan = release.plan
        Map known = release.state.results.approve
        steps.stage('Approve') {
            if (known.verdict == 'inconclusive') {
                steps.mlNotify(plan.notify + [event: 'waiting', text: known.summary])
                known = steps.mlApprove(plan.approve + Keys.forWorker(plan, false) + [
                    agent: plan.agent, folder: plan.folder, run: release.state.run, pending: known, report: release.report(),
                    lines: release.lines(), carry: plan.carry, prepare: { workspace.bringBack() },
                ] + (plan.unattended == null ? [:] : [unattended: plan.unattended]))
            } else if (known.verdict != 'pass') {
                steps.error(Words.refusal(known))
            }
        }
        if (known.decision == 'held') {
            release.state.decision = "held for a person: ${known.summary}".toString()
        }
        return known.decision != 'held'
    }

    void moveUsers() {
        workspace.onAgent(['approve', 'switch', 'verify', 'settle', 'rollback']) {
            steps.stage('Switch') { release.judge(switched()) }
            steps.stage('Verify') {
                if (release.state.results.switch.evidence?.first) {
                    steps.echo('the first release of this service: there is nothing to compare it with')
                } else {
                    String recorded = ".mlpipeline/runs/${release.state.run}/evidence.json"
                    release.judge(steps.mlVerify(release.passed() + [replay: recorded]))
                }
            }
            steps.stage('Settle') { release.judge(release.worked('settle')) }
            release.state.decision = "released: ${release.state.results.settle.summary}".toString()
        }
    }

    /** Until there is a result, users may be between two colours. */
    Map switched() {
        release.state.moving = true
        Map result = steps.mlSwitch(release.passed())
        release.state.moving = false
        return result
    }

    /** The next milestone: they may only go up, also where one build releases one service after the other. */
    void pass() {
        int ordinal = (steps.env.MLPIPELINE_MILESTONE ?: '0').toInteger() + 1
        steps.env.MLPIPELINE_MILESTONE = ordinal
        Guard.optional(steps, 'milestone', 'pipeline-milestone-step', 'an older build may release after a newer one') {
            steps.milestone(ordinal)
        }
    }

    void alone(String resource, Closure body) {
        String without = 'builds do not queue; the worker lets only one at a time change a service'
        boolean queued = Guard.optional(steps, 'lock', 'lockable-resources', without) {
            steps.lock(resource: resource, inversePrecedence: true) { body() }
        }
        if (!queued) {
            body()
        }
    }
}
