import groovy.json.JsonOutput

import org.mlpipeline.Keys
import org.mlpipeline.Plain
import org.mlpipeline.Words

/** Runs one verb of the worker: arguments go in as a JSON file, the result comes out as one. See mlWorker.txt. */
Map call(Map given = [:]) {
    String wrong = Keys.wrong('mlWorker', given, [
        verb: String, args: Map, config: Map, credentials: List, timeout: [String, Integer], allow: List, retries: Integer,
    ])
    String verb = given.verb
    if (!wrong && !(verb ==~ /[a-z]+(-[a-z]+)*/)) {
        wrong = "mlWorker: verb must be a verb of the worker such as 'gate-data', not '${verb}'"
    }
    if (wrong) {
        error(wrong)
    }
    Map request = Plain.map(given.args ?: [:]) + (given.config ? [config: Plain.map(given.config)] : [:])
    int tries = 1 + (given.retries == null ? 1 : (int) given.retries)
    Map result = [:]
    for (int attempt = 1; attempt <= tries; attempt++) {
        result = tried(verb, request, given)
        if (result.exitCode != 3) {
            break
        }
        echo("mlpipeline ${verb}: the environment was not as needed (exit 3), attempt ${attempt} of ${tries}: ${result.summary}")
    }
    List allowed = [0] + (given.allow == null ? [10, 11] : given.allow)
    if (!allowed.contains(result.exitCode)) {
        error("mlpipeline ${verb}: ${result.summary} (exit ${result.exitCode})")
    }
    return result
}

/** One call in a folder of its own, so that neither parallel branches nor earlier builds can be mistaken for it. */
Map tried(String verb, Map request, Map given) {
    String folder = ".mlpipeline/calls/${env.BUILD_NUMBER}-${verb}-${UUID.randomUUID()}".toString()
    String version = libraryResource('mlpipeline/version.txt').trim()
    writeFile(file: "${folder}/install-worker.sh", text: libraryResource('mlpipeline/install-worker.sh'), encoding: 'UTF-8')
    writeFile(file: "${folder}/args.json", text: JsonOutput.toJson(request), encoding: 'UTF-8')
    String command = "exec sh ${folder}/install-worker.sh ${version.tokenize()[0]} ${folder} ${carried(version)} " +
        "${typed(verb)} --args ${folder}/args.json --result ${folder}/result.json"
    int exitCode = -1
    try {
        exitCode = within(given, command, "mlpipeline ${typed(verb)}")
    } finally {
        archived(folder)
    }
    return outcome(folder, verb, exitCode)
}

/** Keeps what the call was given and what came back. An agent that is lost here must not hide how the call ended. */
void archived(String folder) {
    try {
        archiveArtifacts(artifacts: "${folder}/*.json,${folder}/*.txt", allowEmptyArchive: true)
    } catch (InterruptedException stopped) {
        throw stopped
    } catch (Exception problem) {
        echo("mlWorker: ${folder} could not be archived: ${problem.message}")
    }
}

/** Runs the command with the credentials it may see, for as long as it may take. */
int within(Map given, String command, String label) {
    Closure worker = {
        withEnv(["MLPIPELINE_ACTOR=${actor()}"]) { sh(script: command, label: label, returnStatus: true, encoding: 'UTF-8') }
    }
    Closure trusted = given.credentials ? { bound(given.credentials, worker) } : worker
    if (given.timeout == null) {
        return (int) trusted()
    }
    int seconds = Words.seconds(given.timeout)
    if (seconds <= 0) {
        error("mlWorker: timeout must be a duration such as '30m' or '4h', not '${given.timeout}'")
    }
    return (int) timeout(time: seconds, unit: 'SECONDS') { trusted() }
}

Object bound(List credentials, Closure worker) {
    try {
        return withCredentials(credentials) { worker() }
    } catch (NoSuchMethodError absent) {
        if (!Words.missing(absent, 'withCredentials')) {
            throw absent
        }
        error('mlWorker needs the step withCredentials for its credentials: install the plugin credentials-binding')
    }
}

/** The result as plain data. Without a readable one of this very verb the call has failed, whatever its exit code says. */
Map outcome(String folder, String verb, int exitCode) {
    Map result = [:]
    String broken = 'the worker left no result'
    if (fileExists("${folder}/result.json")) {
        try {
            result = readJSON(file: "${folder}/result.json", returnPojo: true)
        } catch (InterruptedException stopped) {
            throw stopped
        } catch (NoSuchMethodError absent) {
            error('mlWorker needs the step readJSON: install the plugin pipeline-utility-steps')
        } catch (Exception unreadable) {
            broken = "the worker's result cannot be read: ${Words.line(unreadable.message)}"
        }
    } else if (fileExists("${folder}/trouble.txt")) {
        broken = readFile(file: "${folder}/trouble.txt", encoding: 'UTF-8').trim()
    }
    if (result.verdict && (result.verb ?: verb) == verb) {
        return result + [exitCode: exitCode, folder: folder]
    }
    broken = result ? "the result in ${folder} is not one of ${verb}" : broken
    String summary = "${broken} (it ended with ${exitCode})"
    return [verb: verb, verdict: 'error', summary: summary, exitCode: exitCode in [2, 3] ? exitCode : 70, folder: folder]
}

/** The verb as it is typed: the command line is made of known words only. */
String typed(String verb) {
    for (String group : ['gate', 'doctor', 'jenkins']) {
        if (verb.startsWith("${group}-")) {
            return verb.replaceFirst('-', ' ')
        }
    }
    return verb
}

/** Where the wheel was put that a release of this library carries; a dash when it carries none. */
String carried(String version) {
    if (version.tokenize().size() < 2) {
        return '-'
    }
    String wheel = version.tokenize()[1]
    String file = ".mlpipeline/worker/${wheel}"
    if (!fileExists(file)) {
        writeFile(file: file, text: libraryResource(resource: "mlpipeline/${wheel}", encoding: 'Base64'), encoding: 'Base64')
    }
    return file
}

/** Who asked for this build, for the record. */
String actor() {
    List causes = currentBuild.getBuildCauses('hudson.model.Cause$UserIdCause')
    String user = causes ? String.valueOf(causes[0].userId) : 'null'
    return user == 'null' ? (env.MLPIPELINE_ACTOR ?: 'jenkins') : Words.name(user)
}
