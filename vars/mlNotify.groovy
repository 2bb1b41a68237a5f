import org.mlpipeline.Keys
import org.mlpipeline.Message
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
    new Message(this, event, text).send(args)
}

boolean previousFailed() {
    return currentBuild.previousBuild != null && currentBuild.previousBuild.result in ['FAILURE', 'UNSTABLE']
}
