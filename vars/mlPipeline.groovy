import org.mlpipeline.Keys
import org.mlpipeline.Plan
import org.mlpipeline.Words

/** The whole release as visible stages. See mlPipeline.txt; what a stage does stands in the steps it calls. */
Map call(Map args = [:]) {
    String wrong = Plan.wrong(args)
    if (wrong) {
        error(wrong)
    }
    Map plan = Plan.of(args, env.CHANGE_ID)
    Map state = [results: [:], run: '', service: '', branch: '', decision: '', collected: false]
    declare(args)
    Throwable stopped = ended {
        mlNotify(plan.notify + [event: 'start'])
        timeout(time: Words.seconds(plan.timeout), unit: 'SECONDS') {
            gates(plan, state)
            train(plan, state)
            release(plan, state)
        }
    }
    Throwable late = ended { conclude(plan, state, stopped) }
    stopped = stopped ?: late
    if (stopped != null) {
        throw stopped
    }
    return state
}

/** What ended the body, or null: an Error too, such as a step whose plugin is not there. Whoever asks throws it again. */
Throwable ended(Closure body) {
    try {
        body()
        return null
    } catch (Exception problem) {
        return problem
    } catch (Error broken) {
        return broken
    }
}

/** Data gate and the project's own checks, side by side on one checkout. */
void gates(Map plan, Map state) {
    onAgent(plan, state, ['gate-data']) {
        Map branches = ['data gate': { stage('Data gate') { judge(state, mlGate(passed(plan, state) + began(plan) + [kind: 'data'])) } }]
        for (String name : plan.checks.keySet()) {
            String check = name
            branches[check] = { stage(check) { perform(plan.checks[check], check) } }
        }
        parallel(branches)
    }
}

/** Trains and judges the model on one agent: with leased GPUs where the plan wants them. */
void train(Map plan, Map state) {
    if (!releases(plan, state) && plan.until == 'gate-data') {
        state.decision = "gates passed on ${state.branch ?: 'this commit'}; the data gate is the last step here"
        return
    }
    Closure body = {
        stage('Train') { judge(state, mlTrain(passed(plan, state))) }
        stage('Model gate') { judge(state, mlGate(passed(plan, state) + [kind: 'model'])) }
    }
    if (plan.gpu) {
        Map wanted = plan.gpu instanceof Map ? plan.gpu : [:]
        Map usage = mlGpu((plan.agent ? [agent: plan.agent] : [:]) + wanted) { inWorkspace(plan, state, ['train', 'gate-model'], body) }
        state.gpu = usage
    } else {
        onAgent(plan, state, ['train', 'gate-model'], body)
    }
    state.decision = "gates passed on ${state.branch ?: 'this commit'}: ${state.results['gate-model'].summary}"
}

/** Newest wins: of the builds that wait for a service the newest goes on, and the older ones end. */
void release(Map plan, Map state) {
    if (!releases(plan, state)) {
        return
    }
    pass(1)
    alone("mlpipeline-${Words.name(plan.service ?: state.service)}".toString()) {
        pass(2)
        prepare(plan, state)
        if (approve(plan, state)) {
            moveUsers(plan, state)
        }
    }
}

void prepare(Map plan, Map state) {
    onAgent(plan, state, ['package', 'register', 'deploy']) {
        stage('Package') { judge(state, mlPackage(passed(plan, state) + [register: false])) }
        stage('Register') { judge(state, worked(plan, state, 'register')) }
        stage('Deploy') { judge(state, mlDeploy(passed(plan, state))) }
        keep(state, worked(plan, state, 'approve'))
    }
}

/** Whether the release may go on. People are asked only when the worker says that somebody must be. */
boolean approve(Map plan, Map state) {
    Map known = state.results.approve
    stage('Approve') {
        if (known.verdict == 'inconclusive') {
            mlNotify(plan.notify + [event: 'waiting', text: known.summary])
            known = mlApprove(plan.approve + Keys.forWorker(plan, false) + [
                agent: plan.agent, folder: plan.folder, run: state.run, pending: known, report: reportLink(state), lines: lines(state),
                prepare: { bringBack(plan, state) },
            ] + (plan.unattended == null ? [:] : [unattended: plan.unattended]))
        } else if (known.verdict != 'pass') {
            error(Words.refusal(known))
        }
    }
    if (known.decision == 'held') {
        state.decision = "held for a person: ${known.summary}"
    }
    return known.decision != 'held'
}

void moveUsers(Map plan, Map state) {
    onAgent(plan, state, ['approve', 'switch', 'verify', 'settle', 'rollback']) {
        stage('Switch') { judge(state, mlSwitch(passed(plan, state))) }
        stage('Verify') {
            if (state.results.switch.evidence?.first) {
                echo('the first release of this service: there is nothing to compare it with')
            } else {
                judge(state, mlVerify(passed(plan, state) + [replay: ".mlpipeline/runs/${state.run}/evidence.json".toString()]))
            }
        }
        stage('Settle') { judge(state, worked(plan, state, 'settle')) }
        state.decision = "released: ${state.results.settle.summary}"
    }
}

/** Keeps a result for the later stages and the report; anything but a pass ends the build. */
void judge(Map state, Map result) {
    keep(state, result)
    String refusal = Words.refusal(result)
    if (refusal) {
        error(refusal)
    }
}

void keep(Map state, Map result) {
    state.run = result.run ?: state.run
    state.service = result.service ?: state.service
    state.results[result.verb] = result
}

/** One verb that has no step of its own. */
Map worked(Map plan, Map state, String verb) {
    return mlWorker(Keys.forWorker(plan, false) + [verb: verb, args: Keys.run(state)])
}

/** What every step is given; required: false, because a refusal is judged here, after its run is known. */
Map passed(Map plan, Map state) {
    return Keys.forWorker(plan, false) + Keys.run(state) + [required: false]
}

/** Why this release was started; jobs that are started from outside carry it as the parameter REASON. */
Map began(Map plan) {
    String reason = plan.reason ?: params.REASON
    return reason ? [reason: reason] : [:]
}

/** A check of the project: a shell command, or steps. */
void perform(Object check, String name) {
    if (check instanceof Closure) {
        check.call()
    } else {
        sh(script: check.toString(), label: name)
    }
}

boolean releases(Map plan, Map state) {
    return Plan.releases(plan.release, state.branch, env.CHANGE_ID)
}

/** Whether no stage with an agent comes after these verbs. */
boolean last(Map plan, Map state, List verbs) {
    return 'settle' in verbs || (plan.until in verbs && !releases(plan, state))
}

/** The verdicts that people decide on. */
List lines(Map state) {
    List lines = []
    for (String verb : ['gate-data', 'gate-model', 'deploy']) {
        lines << "${verb}: ${state.results[verb].verdict}: ${state.results[verb].summary}".toString()
    }
    return lines
}

String reportLink(Map state) {
    return "${env.BUILD_URL}artifact/.mlpipeline/runs/${state.run}/report/index.html"
}

/** Triggers have one owner: nothing is declared unless this call says so. */
void declare(Map args) {
    List declared = []
    if (args.cron) {
        declared << pipelineTriggers([cron(args.cron)])
    }
    if (args.parameters) {
        declared << parameters(args.parameters)
    }
    if (declared) {
        properties(declared)
    }
}

/** A checkout with the run's record on an agent; what was found out is collected whatever happens. */
void onAgent(Map plan, Map state, List verbs, Closure body) {
    node(plan.agent) {
        inWorkspace(plan, state, verbs, body)
    }
}

void inWorkspace(Map plan, Map state, List verbs, Closure body) {
    Throwable stopped = ended {
        bringBack(plan, state)
        dir(plan.folder) { body() }
    }
    Throwable late = ended {
        dir(plan.folder) { collect(plan, state, verbs, stopped != null || last(plan, state, verbs)) }
    }
    stopped = stopped ?: late
    if (stopped != null) {
        throw stopped
    }
}

void bringBack(Map plan, Map state) {
    Object checkedOut = plan.checkout ? plan.checkout.call() : checkout(scm)
    state.branch = state.branch ?: Plan.branch(env.BRANCH_NAME, checkedOut instanceof Map ? checkedOut : [:])
    dir(plan.folder) {
        if (!fileExists('mlpipeline.yaml')) {
            error("there is no mlpipeline.yaml in ${plan.folder == '.' ? 'the repository' : plan.folder}; start with: mlpipeline init")
        }
        if (state.run) {
            unstash('mlpipeline')
        }
    }
}

/** Report, JUnit, archive and the record for the next agent. Only the last may fail the build. */
void collect(Map plan, Map state, List verbs, boolean last) {
    if (!state.run) {
        return
    }
    String folder = ".mlpipeline/runs/${state.run}".toString()
    guarded('the report') { worked(plan, state, 'report') }
    guarded('the ledger') { worked(plan, state, 'history') }
    guarded('test results') {
        optional('junit', 'junit', 'verdicts are in the report only') {
            junit(testResults: verbs.collect { "${folder}/junit/${it}.xml" }.join(','), allowEmptyResults: true)
        }
    }
    guarded('the archive') { archiveArtifacts(artifacts: "${folder}/**", allowEmptyArchive: true) }
    if (last) {
        guarded('the report page') { publish(folder) }
    }
    String model = state.results.train?.evidence?.model
    List carried = ["${folder}/**"] + (model && !state.results.package ? ["${model}/**"] : []) + (plan.carry ? [plan.carry] : [])
    // Every file counts for the digest of a model, also one that Ant leaves out by default.
    stash(name: 'mlpipeline', includes: carried.join(','), allowEmpty: true, useDefaultExcludes: false)
    state.collected = last
}

void publish(String folder) {
    optional('publishHTML', 'htmlpublisher', 'the report is among the archived files') {
        publishHTML(reportName: 'Release report', reportDir: "${folder}/report", reportFiles: 'index.html', keepAll: true,
            alwaysLinkToLastBuild: true, allowMissing: true)
    }
}

/** Says in one line what was decided, and collects what a stop outside of an agent left behind. */
void conclude(Map plan, Map state, Throwable stopped) {
    if (state.run && !state.collected) {
        guarded('the record') {
            timeout(time: 10, unit: 'MINUTES') {
                node(plan.agent) {
                    bringBack(plan, state)
                    dir(plan.folder) { collect(plan, state, ['approve'], true) }
                }
            }
        }
    }
    state.decision = Plan.decision(state, stopped)
    currentBuild.description = state.decision
    echo("mlPipeline: ${state.decision}")
    String broken = state.results.switch?.evidence?.rollback ? 'rolled back' : 'failed'
    mlNotify(plan.notify + [event: stopped == null ? 'done' : broken, text: state.decision])
}

/** Nothing that only collects may hide why a build stopped; a second stop while collecting counts as the first. */
void guarded(String what, Closure body) {
    try {
        body()
    } catch (InterruptedException stopped) {
        throw stopped
    } catch (Exception problem) {
        echo("mlPipeline: ${what} could not be collected: ${problem.message}")
    }
}

/** Goes on without a plugin that is not installed, and says what that costs. Returns whether it was there. */
boolean optional(String step, String plugin, String without, Closure body) {
    try {
        body()
        return true
    } catch (NoSuchMethodError absent) {
        if (!Words.missing(absent, step)) {
            throw absent
        }
        echo("mlPipeline: the plugin ${plugin} is not installed: ${without}")
        return false
    }
}

void pass(int ordinal) {
    optional('milestone', 'pipeline-milestone-step', 'an older build may release after a newer one') { milestone(ordinal) }
}

void alone(String resource, Closure body) {
    boolean queued = optional('lock', 'lockable-resources', 'builds do not queue; the worker lets only one at a time change a service') {
        lock(resource: resource, inversePrecedence: true) { body() }
    }
    if (!queued) {
        body()
    }
}
