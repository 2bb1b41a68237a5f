package org.mlpipeline

import groovy.json.JsonOutput

/** One message to people, on every way that is configured. One that cannot be sent is said, and never fails the build. */
class Message implements Serializable {

    private static final long serialVersionUID = 1L

    /** Seconds that one way of sending may take, with the time in which no agent comes. */
    static final int PATIENCE = 120

    final Object steps
    final String event
    final String text

    Message(Object steps, String event, String text) {
        this.steps = steps
        this.event = event
        this.text = text
    }

    /** Each way by itself: one that is broken does not keep the others from being tried. */
    void send(Map args) {
        if (args.mail) {
            harmless('mail') { steps.mail(to: args.mail, subject: Words.line(text), body: text) }
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
            String file = ".mlpipeline/calls/${steps.env.BUILD_NUMBER}-notify-${UUID.randomUUID()}.json"
            steps.writeFile(file: file, text: JsonOutput.toJson(message), encoding: 'UTF-8')
            steps.withCredentials([steps.string(credentialsId: credential, variable: 'MLPIPELINE_WEBHOOK')]) {
                steps.sh(label: 'notify', script: 'set +x; printf \'url = "%s"\\n\' "$MLPIPELINE_WEBHOOK" | ' +
                    'curl --fail --silent --show-error --max-time 20 --output /dev/null ' +
                    "--header 'Content-Type: application/json' --data-binary @${file} --config -")
            }
        }
        if (steps.env.WORKSPACE) {
            posting()
        } else {
            steps.node('') { posting() }
        }
    }

    /** A stopped build stays stopped; everything else, also an agent that does not come within two minutes, is only said. */
    void harmless(String way, Closure body) {
        long began = System.currentTimeMillis()
        try {
            steps.timeout(time: PATIENCE, unit: 'SECONDS') { body() }
        } catch (InterruptedException stopped) {
            String why = Words.ownEnd(stopped, System.currentTimeMillis() - began, PATIENCE)
            if (!why) {
                throw stopped
            }
            steps.echo("mlNotify: ${way} could not be sent: ${why}")
        } catch (NoSuchMethodError absent) {
            steps.echo("mlNotify: ${way} needs a plugin that is not installed (mailer, credentials-binding): ${Words.line(absent.message)}")
        } catch (Exception problem) {
            steps.echo("mlNotify: ${way} could not be sent: ${Words.line(problem.message)}")
        }
    }
}
