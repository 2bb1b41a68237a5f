import org.mlpipeline.Archive
import org.mlpipeline.Guard
import org.mlpipeline.Plan
import org.mlpipeline.Release
import org.mlpipeline.Stages
import org.mlpipeline.Words
import org.mlpipeline.Workspace

/** The whole release as visible stages. See mlPipeline.txt. */
Map call(Map args = [:]) {
    String wrong = Plan.wrong(args) ?: Words.inside('mlPipeline', env.WORKSPACE)
    if (wrong) {
        error(wrong)
    }
    Release release = new Release(this, Plan.of(args, env.CHANGE_ID))
    Workspace workspace = new Workspace(this, release, new Archive(this, release))
    Stages stages = new Stages(this, release, workspace)
    declare(args)
    Throwable stopped = Guard.ended {
        mlNotify(release.plan.notify + [event: 'start'])
        timeout(time: Words.seconds(release.plan.timeout), unit: 'SECONDS') {
            stages.gates()
            stages.train()
            stages.rollOut()
        }
    }
    Throwable late = Guard.ended { conclude(release, workspace, stopped) }
    stopped = stopped ?: late
    if (stopped != null) {
        throw stopped
    }
    return release.state
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

/** Says in one line what was decided, after everything is collected. */
void conclude(Release release, Workspace workspace, Throwable stopped) {
    workspace.gather()
    Map state = release.state
    state.decision = Plan.decision(state, stopped)
    currentBuild.description = state.decision
    echo("mlPipeline: ${state.decision}")
    String broken = state.results.switch?.evidence?.rollback ? 'rolled back' : 'failed'
    mlNotify(release.plan.notify + [event: stopped == null ? 'done' : broken, text: state.decision])
}
