package org.mlpipeline

/** One release as far as it has come: the plan, what the worker found out, and the one line that says what was decided. */
class Release implements Serializable {

    private static final long serialVersionUID = 1L

    /** The step that releases: other steps are called on it. */
    final Object steps
    final Map plan
    final Map state = [results: [:], run: '', service: '', branch: '', decision: '', collected: false, moving: false]

    Release(Object steps, Map plan) {
        this.steps = steps
        this.plan = plan
    }

    /** Keeps a result for the later stages and the report; anything but a pass ends the build. */
    void judge(Map result) {
        keep(result)
        String refusal = Words.refusal(result)
        if (refusal) {
            steps.error(refusal)
        }
    }

    /** The run is the one that the release began with, whatever begins beside it. */
    void keep(Map result) {
        state.run = state.run ?: result.run ?: ''
        state.service = result.service ?: state.service
        state.results[result.verb] = result
    }

    /** One verb that has no step of its own. */
    Map worked(String verb, Map options = [:]) {
        return steps.mlWorker(Keys.forWorker(plan, false) + [verb: verb, args: Keys.run(state) + options])
    }

    /** What every step is given; required: false, because a refusal is judged here, after its run is known. */
    Map passed() {
        return Keys.forWorker(plan, false) + Keys.run(state) + [required: false]
    }

    /** What the data gate is told of the release that begins with it. */
    Map begun() {
        return [kind: 'data'] + why() + (releases() ? [release: true] : [:])
    }

    /** Why the release was started; jobs that are started from outside carry it as the parameter REASON. */
    Map why() {
        String reason = plan.reason ?: steps.params.REASON
        return reason ? [reason: reason] : [:]
    }

    boolean releases() {
        return Plan.releases(plan.release, state.branch, steps.env.CHANGE_ID)
    }

    /** The verdicts that people decide on. */
    List lines() {
        List lines = []
        for (String verb : ['gate-data', 'checks', 'gate-security', 'gate-model', 'deploy']) {
            lines << "${verb}: ${state.results[verb].verdict}: ${state.results[verb].summary}".toString()
        }
        return lines
    }

    String report() {
        return "${steps.env.BUILD_URL}artifact/.mlpipeline/runs/${state.run}/report/index.html"
    }
}
