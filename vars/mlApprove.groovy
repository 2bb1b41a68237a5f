import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Asks people until the worker says that enough of them have approved this digest and this evidence. See mlApprove.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlApprove', args, Keys.APPROVE)
    for (String key : ['timeout', 'watch']) {
        wrong = wrong ?: (args[key] != null && Words.seconds(args[key]) < 0 ? "mlApprove: ${key} must be a duration such as '24h'" : '')
    }
    wrong = wrong ?: (env.WORKSPACE ? 'mlApprove must stand outside node (declarative: a stage with agent none): people are slow' : '')
    if (wrong) {
        error(wrong)
    }
    long until = System.currentTimeMillis() + 1000L * Words.seconds(args.timeout ?: '24h')
    Map known = args.pending ?: told(args, [:])
    boolean unattended = args.unattended == null ? startedByTimer() : args.unattended
    if (known.verdict == 'inconclusive' && unattended) {
        return byPolicy(args, known)
    }
    while (known.verdict == 'inconclusive') {
        known = asked(args, known, until)
    }
    String refusal = Words.refusal(known)
    if (refusal) {
        error(refusal)
    }
    return known + [decision: 'approved']
}

/** One person's answer, and what the worker makes of it. Whoever stops the request is recorded, and the build stops as he wanted. */
Map asked(Map args, Map known, long until) {
    Map answer = [:]
    try {
        answer = watched(args, known, until)
    } catch (InterruptedException stopped) {
        Map how = Words.interruption(stopped)
        recorded(args, [as: how.who, why: "${how.how} at ${env.BUILD_URL}", reject: true, digest: known.evidence.digest])
        throw stopped
    }
    Map after = told(args, [as: answer.who, why: answer.why ?: 'no reason given', digest: known.evidence.digest])
    if (after.verdict != 'error') {
        return after
    }
    echo("mlApprove: the answer of ${answer.who} does not count: ${after.summary}")
    return told(args, [:])
}

/** A refusal for the record. Nothing that goes wrong here may hide why the request ended. */
void recorded(Map args, Map decision) {
    try {
        timeout(time: 10, unit: 'MINUTES') { told(args, decision) }
    } catch (Exception problem) {
        echo("mlApprove: ${decision.why}, by ${decision.as}, could not be recorded: ${problem.message}")
    }
}

/** The question, while verification goes on beside it: when that fails, the request is withdrawn. */
Map watched(Map args, Map known, long until) {
    int pause = Words.seconds(args.watch == null ? '10m' : args.watch)
    if (pause == 0) {
        return question(args, known, until)
    }
    Map shared = [answered: false]
    parallel(
        failFast: true,
        approval: {
            try {
                shared.answer = question(args, known, until)
            } finally {
                shared.answered = true
            }
        },
        verification: { keepLooking(args, known, shared, pause) },
    )
    return shared.answer
}

/** Looks at production again and again, and holds an agent only for the moments of a look. */
void keepLooking(Map args, Map known, Map shared, int pause) {
    // Short naps end soon after an answer; after the first round longer ones, so that a day of thinking leaves no endless log.
    int nap = 20
    while (!shared.answered) {
        for (int waited = 0; waited < pause && !shared.answered; waited += nap) {
            sleep(time: nap, unit: 'SECONDS')
        }
        nap = 60
        Map look = Keys.forWorker(args, false) + [verb: 'verify', args: Keys.run(args)]
        Map seen = shared.answered ? [:] : inside(args) { mlWorker(look) }
        if (seen.verdict == 'fail') {
            String why = "verification failed while people were asked: ${seen.summary}"
            recorded(args, [as: 'verification', why: why, reject: true, digest: known.evidence.digest])
            error("mlApprove: the request is withdrawn: ${why}")
        }
    }
}

/** One input. It returns what was submitted: a user alone, or a map with the reason. */
Map question(Map args, Map known, long until) {
    Map asking = [
        id: 'Release', ok: 'Approve', submitterParameter: 'WHO', message: message(args, known),
        parameters: [string(name: 'WHY', defaultValue: '', description: 'Why, for the record')],
    ]
    if (args.submitters) {
        asking.submitter = args.submitters instanceof List ? args.submitters.join(',') : args.submitters
    }
    Object answer = null
    long left = until - System.currentTimeMillis()
    timeout(time: left < 1000L ? 1 : (int) (left / 1000L), unit: 'SECONDS') {
        answer = submitted(asking)
    }
    return answer instanceof Map ? [who: answer.WHO, why: answer.WHY] : [who: answer, why: '']
}

Object submitted(Map asking) {
    try {
        return input(asking)
    } catch (NoSuchMethodError absent) {
        if (!Words.missing(absent, 'input')) {
            throw absent
        }
        error('mlApprove needs the step input: install the plugin pipeline-input-step')
    }
}

/** What people decide on: digest, verdict lines, where the report is. */
String message(Map args, Map known) {
    Map evidence = known.evidence
    List lines = [args.message ?: "Release ${known.service}?", "digest ${evidence.digest}", "evidence ${evidence.evidence_hash}"]
    for (Object line : (args.lines ?: [])) {
        lines << Words.line(line)
    }
    lines << Words.line(known.summary)
    if (args.report) {
        lines << "report ${args.report}".toString()
    }
    return lines.join('\n')
}

/** Nobody is there: what mlpipeline.yaml declares for this case, and the worker holds us to. */
Map byPolicy(Map args, Map known) {
    String policy = known.evidence.unattended ?: 'hold'
    if (policy == 'hold') {
        unstable("mlApprove: nobody is asked at night; the release waits: ${known.summary}")
        return known + [decision: 'held']
    }
    Map decision = [as: 'policy', why: "approval.unattended: ${policy}", digest: known.evidence.digest, reject: policy == 'reject']
    Map after = told(args, decision)
    String refusal = Words.refusal(after)
    if (refusal) {
        error(refusal)
    }
    return after + [decision: 'proceeded']
}

/** Tells the worker a decision, if there is one, and returns whether the release may go on. */
Map told(Map args, Map decision) {
    Map call = Keys.forWorker(args, false) + [verb: 'approve', args: Keys.run(args) + decision, allow: [2, 10, 11]]
    return inside(args) { mlWorker(call) }
}

/** On an agent, with the run's record; what the worker adds to the record is kept for the next agent. */
Map inside(Map args, Closure body) {
    Map result = [:]
    node(args.agent ?: '') {
        if (args.prepare) {
            args.prepare.call()
        } else {
            checkout(scm)
            unstash('mlpipeline')
        }
        dir(args.folder ?: '.') {
            result = body()
            String kept = args.run ? ".mlpipeline/runs/${args.run}/**" : '.mlpipeline/runs/**'
            stash(name: 'mlpipeline', includes: kept, allowEmpty: true, useDefaultExcludes: false)
        }
    }
    return result
}

boolean startedByTimer() {
    return currentBuild.getBuildCauses('hudson.triggers.TimerTrigger$TimerTriggerCause').size() > 0
}
