package org.mlpipeline

/** What goes on although something went wrong: stops that are thrown later, collecting, plugins that are not installed. */
class Guard implements Serializable {

    private static final long serialVersionUID = 1L

    /** What ended the body, or null: an Error too, such as a step whose plugin is not there. Whoever asks throws it again. */
    static Throwable ended(Closure body) {
        try {
            body()
            return null
        } catch (Exception problem) {
            return problem
        } catch (Error broken) {
            return broken
        }
    }

    /** Nothing that only collects may hide why a build stopped; a second stop counts as the first. Returns whether it worked. */
    static boolean collecting(Object steps, String what, Closure body) {
        try {
            body()
            return true
        } catch (InterruptedException stopped) {
            if (Words.interruption(stopped).how != 'agent lost') {
                throw stopped
            }
            steps.echo("mlPipeline: ${what} could not be collected: the agent was lost")
        } catch (Exception problem) {
            steps.echo("mlPipeline: ${what} could not be collected: ${problem.message}")
        }
        return false
    }

    /** Goes on without a plugin that is not installed, and says what that costs. Returns whether it was there. */
    static boolean optional(Object steps, String step, String plugin, String without, Closure body) {
        try {
            body()
            return true
        } catch (NoSuchMethodError absent) {
            if (!Words.missing(absent, step)) {
                throw absent
            }
            steps.echo("mlPipeline: the plugin ${plugin} is not installed: ${without}")
            return false
        }
    }
}
