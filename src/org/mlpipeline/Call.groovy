package org.mlpipeline

import groovy.json.JsonOutput

/** One call of the worker in a folder of its own, so that neither parallel branches nor earlier builds can be mistaken for it. */
class Call implements Serializable {

    private static final long serialVersionUID = 1L

    /** The step that runs it, inside a node: other steps are called on it. */
    final Object steps
    final String verb
    final String folder

    Call(Object steps, String verb, String folder) {
        this.steps = steps
        this.verb = verb
        this.folder = folder
    }

    /** Arguments go in as a JSON file, the result comes out as one; the command line is made of known words only. */
    Map made(Map request, Map given) {
        String version = steps.libraryResource('mlpipeline/version.txt').trim()
        steps.writeFile(file: "${folder}/install-worker.sh", text: steps.libraryResource('mlpipeline/install-worker.sh'), encoding: 'UTF-8')
        steps.writeFile(file: "${folder}/args.json", text: JsonOutput.toJson(request), encoding: 'UTF-8')
        List words = ['exec sh', "${folder}/install-worker.sh", version.tokenize()[0], folder, wheel(version), Words.typed(verb)]
        words += ['--args', "${folder}/args.json", '--result', "${folder}/result.json"]
        int exitCode = -1
        try {
            exitCode = within(given, words.join(' '))
        } finally {
            archived()
        }
        return new Outcome(steps, verb, folder).read(exitCode)
    }

    /** Runs the command with the credentials it may see, for as long as it may take. */
    int within(Map given, String command) {
        Closure worker = {
            steps.withEnv(["MLPIPELINE_ACTOR=${actor()}"]) {
                steps.sh(script: command, label: "mlpipeline ${Words.typed(verb)}", returnStatus: true, encoding: 'UTF-8')
            }
        }
        Closure trusted = given.credentials ? { bound(given.credentials, worker) } : worker
        if (given.timeout == null) {
            return (int) trusted()
        }
        return (int) steps.timeout(time: Words.seconds(given.timeout), unit: 'SECONDS') { trusted() }
    }

    Object bound(List credentials, Closure worker) {
        try {
            return steps.withCredentials(credentials) { worker() }
        } catch (NoSuchMethodError absent) {
            if (!Words.missing(absent, 'withCredentials')) {
                throw absent
            }
            steps.error('mlWorker needs the step withCredentials for its credentials: install the plugin credentials-binding')
        }
    }

    /** Keeps what the call was given and what came back. An agent that is lost here must not hide how the call ended. */
    void archived() {
        try {
            steps.archiveArtifacts(artifacts: "${folder}/*.json,${folder}/*.txt", allowEmptyArchive: true)
        } catch (InterruptedException stopped) {
            throw stopped
        } catch (Exception problem) {
            steps.echo("mlWorker: ${folder} could not be archived: ${problem.message}")
        }
    }

    /** Where the wheel lies that a release carries, in this call's own folder: one beside it may be writing. A dash for none. */
    String wheel(String version) {
        if (version.tokenize().size() < 2) {
            return '-'
        }
        String name = version.tokenize()[1]
        String file = "${folder}/${name}"
        steps.writeFile(file: file, text: steps.libraryResource(resource: "mlpipeline/${name}", encoding: 'Base64'), encoding: 'Base64')
        return file
    }

    /** Who asked for this build, for the record. */
    String actor() {
        List causes = steps.currentBuild.getBuildCauses('hudson.model.Cause$UserIdCause')
        String user = causes ? String.valueOf(causes[0].userId) : 'null'
        return user == 'null' ? (steps.env.MLPIPELINE_ACTOR ?: 'jenkins') : Words.name(user)
    }
}
