package org.mlpipeline

/** Agents of a release: each begins with a checkout and the run's record, and ends with what was found out collected. */
class Workspace implements Serializable {

    private static final long serialVersionUID = 1L

    final Object steps
    final Release release
    final Archive archive

    Workspace(Object steps, Release release, Archive archive) {
        this.steps = steps
        this.release = release
        this.archive = archive
    }

    void onAgent(List verbs, Closure body) {
        Machine.taken(steps, release.plan.agent) { inside(verbs, body) }
    }

    /** On the agent that is held already. What is collected is collected whatever happens, and never hides why the body ended. */
    void inside(List verbs, Closure body) {
        Throwable stopped = Guard.ended {
            bringBack()
            steps.dir(release.plan.folder) { body() }
        }
        Throwable late = Guard.ended {
            steps.dir(release.plan.folder) {
                resumed()
                archive.collect(verbs, stopped != null || last(verbs))
            }
        }
        stopped = stopped ?: late
        if (stopped != null) {
            throw stopped
        }
    }

    void bringBack() {
        Map plan = release.plan
        Object checkedOut = plan.checkout ? plan.checkout.call() : steps.checkout(steps.scm)
        Map told = checkedOut instanceof Map ? checkedOut : [:]
        release.state.branch = release.state.branch ?: Plan.branch(steps.env.BRANCH_NAME, told)
        steps.dir(plan.folder) {
            if (!steps.fileExists('mlpipeline.yaml')) {
                String where = plan.folder == '.' ? 'the repository' : plan.folder
                steps.error("there is no mlpipeline.yaml in ${where}; start with: mlpipeline init")
            }
            if (release.state.run) {
                steps.unstash('mlpipeline')
            }
        }
    }

    /** Whether no stage with an agent comes after these verbs. */
    boolean last(List verbs) {
        return 'settle' in verbs || (release.plan.until in verbs && !release.releases())
    }

    /** A worker that ended while users were on the move: the next one finishes what was decided, and takes back what was not. */
    void resumed() {
        if (release.state.moving) {
            Guard.collecting(steps, 'what the switch left behind') {
                release.keep(release.worked('resume'))
                release.state.moving = false
            }
        }
    }

    /** What a stop outside of an agent left behind. */
    void gather() {
        if (release.state.run && !release.state.collected) {
            Guard.collecting(steps, 'the record') {
                steps.timeout(time: 10, unit: 'MINUTES') {
                    steps.node(release.plan.agent) {
                        bringBack()
                        steps.dir(release.plan.folder) {
                            resumed()
                            archive.collect(['approve'], true)
                        }
                    }
                }
            }
        }
    }
}
