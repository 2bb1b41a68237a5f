import org.mlpipeline.Call
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
    wrong = wrong ?: (given.timeout != null && Words.seconds(given.timeout) < 1 ?
        "mlWorker: timeout must be a duration such as '30m' or '4h', not '${given.timeout}'" : '')
    if (wrong) {
        error(wrong)
    }
    Map request = Plain.map(given.args ?: [:]) + (given.config ? [config: Plain.map(given.config)] : [:])
    Map result = tried(verb, request, given)
    List allowed = [0] + (given.allow == null ? [10, 11] : given.allow)
    if (!allowed.contains(result.exitCode)) {
        error("mlpipeline ${verb}: ${result.summary} (exit ${result.exitCode})")
    }
    return result
}

/** What the environment broke (exit 3) is worth another call, in a folder of its own. */
Map tried(String verb, Map request, Map given) {
    int tries = 1 + (given.retries == null ? 1 : (int) given.retries)
    Map result = [:]
    for (int attempt = 1; attempt <= tries; attempt++) {
        String folder = ".mlpipeline/calls/${env.BUILD_NUMBER}-${verb}-${UUID.randomUUID()}"
        result = new Call(this, verb, folder).made(request, given)
        if (result.exitCode != 3) {
            break
        }
        echo("mlpipeline ${verb}: the environment was not as needed (exit 3), attempt ${attempt} of ${tries}: ${result.summary}")
    }
    return result
}
