package org.mlpipeline

/** What a call of the worker came to. Without a readable result of this very verb it has failed, whatever its exit code says. */
class Outcome implements Serializable {

    private static final long serialVersionUID = 1L

    final Object steps
    final String verb
    final String folder

    Outcome(Object steps, String verb, String folder) {
        this.steps = steps
        this.verb = verb
        this.folder = folder
    }

    /** The result as plain data, with the exit code. */
    Map read(int exitCode) {
        Map result = [:]
        String broken = 'the worker left no result'
        if (steps.fileExists("${folder}/result.json")) {
            result = parsed()
            broken = result.unreadable ?: "the result in ${folder} is not one of ${verb}"
        } else if (steps.fileExists("${folder}/trouble.txt")) {
            broken = steps.readFile(file: "${folder}/trouble.txt", encoding: 'UTF-8').trim()
        }
        if (result.verdict && (result.verb ?: verb) == verb) {
            return result + [exitCode: exitCode, folder: folder]
        }
        String summary = "${broken} (it ended with ${exitCode})"
        return [verb: verb, verdict: 'error', summary: summary, exitCode: exitCode in [2, 3] ? exitCode : 70, folder: folder]
    }

    Map parsed() {
        try {
            return steps.readJSON(file: "${folder}/result.json", returnPojo: true)
        } catch (InterruptedException stopped) {
            throw stopped
        } catch (NoSuchMethodError absent) {
            if (!Words.missing(absent, 'readJSON')) {
                throw absent
            }
            steps.error('mlWorker needs the step readJSON: install the plugin pipeline-utility-steps')
        } catch (Exception problem) {
            return [unreadable: "the worker's result cannot be read: ${Words.line(problem.message)}".toString()]
        }
    }
}
