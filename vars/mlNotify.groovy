import groovy.json.JsonOutput

import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Tells people by mail or a webhook what happened; a message that cannot be sent never fails the build. See mlNotify.txt. */
void call(Map args = [:]) {
    List events = ['start', 'waiting', 'done', 'failed', 'rolled back', 'fixed', 'missed']
    String wrong = Keys.wrong('mlNotify', args, Keys.NOTIFY)
    wrong = wrong ?: Keys.notOneOf('mlNotify', 'event', args.event, events)
    if (wrong) {
        error(wrong)
    }
    String event = args.event == 'done' && previousFailed() ? 'fixed' : args.event
    if (!(event in (args.on ?: events))) {
        return
    }
    String text = Words.filled(args.template ?: '{job} #{build}: {event} {text} {url}', [
        job: env.JOB_NAME, build: env.BUILD_NUMBER, event: event, text: args.text ?: '', url: env.BUILD_URL,
    ])
    send(args, event, text)
}

/** Each way by itself: one that is broken does not keep the others from being tried. */
void send(Map args, String event, String text) {
    if (args.mail) {
        harmless('mail') { mail(to: args.mail, subject: Words.line(text), body: text) }
    }
    if (args.slack) {
        harmless('slack') { post(args.slack, [text: text]) }
    }
    if (args.issues) {
        harmless('issues') { post(args.issues, [title: Words.line(text), body: text, event: event]) }
    }
}

/** Posts JSON to the URL in a secret text; the URL reaches curl through its standard input, never the command line. */
void post(String credential, Map message) {
    Closure posting = {
        String file = ".mlpipeline/calls/${env.BUILD_NUMBER}-notify-${UUID.randomUUID()}.json".toString()
        writeFile(file: file, text: JsonOutput.toJson(message), encoding: 'UTF-8')
        withCredentials([string(credentialsId: credential, variable: 'MLPIPELINE_WEBHOOK')]) {
            sh(label: 'notify', script: 'set +x; printf \'url = "%s"\\n\' "$MLPIPELINE_WEBHOOK" | curl --fail --silent --show-error ' +
                "--max-time 20 --output /dev/null --header 'Content-Type: application/json' --data-binary @${file} --config -")
        }
    }
    if (env.WORKSPACE) {
        posting()
    } else {
        node('') { posting() }
    }
}

/** A stopped build stays stopped; everything else, also an agent that does not come within two minutes, is only said. */
void harmless(String way, Closure body) {
    long began = System.currentTimeMillis()
    try {
        timeout(time: 2, unit: 'MINUTES') { body() }
    } catch (InterruptedException stopped) {
        if (Words.interruption(stopped).how != 'timed out' || System.currentTimeMillis() - began < 120000) {
            throw stopped
        }
        echo("mlNotify: ${way} took longer than two minutes")
    } catch (NoSuchMethodError absent) {
        echo("mlNotify: ${way} needs a plugin that is not installed (mailer, credentials-binding): ${Words.line(absent.message)}")
    } catch (Exception problem) {
        echo("mlNotify: ${way} could not be sent: ${Words.line(problem.message)}")
    }
}

boolean previousFailed() {
    return currentBuild.previousBuild != null && currentBuild.previousBuild.result in ['FAILURE', 'UNSTABLE']
}
