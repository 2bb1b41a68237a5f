import org.mlpipeline.Keys
import org.mlpipeline.Plain
import org.mlpipeline.Words

/** Asks people until the worker says that enough of them have approved this digest and this evidence. See mlApprove.txt. */
Map call(Map args = [:]) {
    String wrong = Keys.wrong('mlApprove', args, [
        pending: Map, agent: String, folder: String, run: String, message: String, lines: List, report: String, submitters: [String, List],
        timeout: [String, Integer], watch: [String, Integer], unattended: Boolean, policy: String, prepare: Closure,
    ])
    wrong = wrong ?: (args.policy ? Keys.notOneOf('mlApprove', 'policy', args.policy, ['hold', 'proceed', 'reject']) : '')
    for (String key : ['timeout', 'watch']) {
        wrong = wrong ?: (args[key] != null && Words.seconds(args[key]) < 0 ? "mlApprove: ${key} must be a duration such as '24h'" : '')
    }
    wrong = wrong ?: (env.WORKSPACE ? 'mlApprove must stand outside node (declarative: a stage with agent none): people are slow' : '')
    if (wrong) {
        error(wrong)
    }
    Map known = args.pending ?: told(args, [:])
    boolean unattended = args.unattended == null ? startedByTimer() : args.unattended
    if (known.verdict == 'inconclusive' && unattended) {
        return byPolicy(args, known)
    }
    while (known.verdict == 'inconclusive') {
        known = asked(args, known)
    }
    String refusal = Words.refusal(known)
    if (refusal) {
        error(refusal)
    }
    return known + [decision: 'approved']
}

/** One person's answer, and what the worker makes of it. Whoever stops the request is recorded, and the build stops as he wanted. */
Map asked(Map args, Map known) {
    Map answer = [:]
    try {
        answer = watched(args, known)
    } catch (InterruptedException stopped) {
        Map how = Words.interruption(stopped)
        try {
            told(args, [as: how.who, why: "${how.how} at ${env.BUILD_URL}", reject: true, digest: known.evidence.digest])
        } catch (Exception problem) {
            echo("mlApprove: ${how.how} by ${how.who}, which could not be recorded: ${problem.message}")
        }
        throw stopped
    }
    Map after = told(args, [as: answer.who, why: answer.why ?: 'no reason given', digest: known.evidence.digest])
    if (after.verdict != 'error') {
        return after
    }
    echo("mlApprove: the answer of ${answer.who} does not count: ${after.summary}")
    return known
}

/** The question, while verification goes on beside it: when that fails, the request is withdrawn. */
Map watched(Map args, Map known) {
    int pause = Words.seconds(args.watch ?: '10m')
    if (pause == 0) {
        return question(args, known)
    }
    Map shared = [answered: false]
    parallel(
        failFast: true,
        approval: {
            try {
                shared.answer = question(args, known)
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
    while (!shared.answered) {
        for (int waited = 0; waited < pause && !shared.answered; waited += 20) {
            sleep(time: 20, unit: 'SECONDS')
        }
        Map seen = shared.answered ? [:] : inside(args) { mlWorker(verb: 'verify', args: Keys.run(args)) }
        if (seen.verdict == 'fail') {
            String why = "verification failed while people were asked: ${seen.summary}"
            told(args, [as: 'verification', why: why, reject: true, digest: known.evidence.digest])
            error("mlApprove: the request is withdrawn: ${why}")
        }
    }
}

/** One input. It returns what was submitted: a user alone, or a map with the reason. */
Map question(Map args, Map known) {
    Map asking = [
        id: 'Release', ok: 'Approve', submitterParameter: 'WHO', message: message(args, known),
        parameters: [string(name: 'WHY', defaultValue: '', description: 'Why, for the record')],
    ]
    if (args.submitters) {
        asking.submitter = args.submitters instanceof List ? args.submitters.join(',') : args.submitters
    }
    Object answer = null
    timeout(time: Words.seconds(args.timeout ?: '24h'), unit: 'SECONDS') {
        answer = input(asking)
    }
    return answer instanceof Map ? [who: answer.WHO, why: answer.WHY] : [who: answer, why: '']
}

/** What people decide on: digest, verdict lines, where the report is. */
String message(Map args, Map known) {
    List lines = [args.message ?: "Release ${known.service}?", "digest ${known.evidence.digest}", "evidence ${known.evidence.evidence_hash}"]
    for (Object line : (args.lines ?: [])) {
        lines << Words.line(line)
    }
    lines << Words.line(known.summary)
    if (args.report) {
        lines << "report ${args.report}".toString()
    }
    return lines.join('\n')
}

/** Nobody is there: what mlpipeline.yaml declares for this case. */
Map byPolicy(Map args, Map known) {
    String policy = args.policy ?: known.evidence.unattended ?: 'hold'
    if (policy == 'hold') {
        unstable("mlApprove: nobody is asked at night; the release waits: ${known.summary}")
        return known + [decision: 'held']
    }
    Map options = [as: 'policy', why: "approval.unattended: ${policy}", digest: known.evidence.digest, reject: policy == 'reject']
    Map after = told(args, Plain.map(options))
    String refusal = Words.refusal(after)
    if (refusal) {
        error(refusal)
    }
    return after + [decision: 'proceeded']
}

/** Tells the worker a decision, if there is one, and returns whether the release may go on. */
Map told(Map args, Map decision) {
    return inside(args) { mlWorker(verb: 'approve', args: Keys.run(args) + decision, allow: [2, 10, 11]) }
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
            stash(name: 'mlpipeline', includes: args.run ? ".mlpipeline/runs/${args.run}/**" : '.mlpipeline/runs/**', allowEmpty: true)
        }
    }
    return result
}

boolean startedByTimer() {
    return currentBuild.getBuildCauses('hudson.triggers.TimerTrigger$TimerTriggerCause').size() > 0
}
