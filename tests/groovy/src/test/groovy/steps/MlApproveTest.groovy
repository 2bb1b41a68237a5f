package steps

import org.junit.Before
import org.junit.Test

class MlApproveTest extends JenkinsWorld {

    static final String DIGEST = 'sha256:abcd'

    /** The decisions the worker was told, and what its policy is. */
    List<Map> told = []
    int quorum = 1
    String requester = 'rita'
    String unattended = 'hold'
    String digest = DIGEST

    @Before
    void people() {
        stashes.mlpipeline = ['.mlpipeline/runs/r1/run.json': '{}']
        answers.mirror = [verdict: 'inconclusive', summary: 'no user came']
        answers.approve = { Map args -> judged(args) }
    }

    /** As the worker judges: distinct people, never the requester, bound to one digest, a rejection ends it. */
    Map judged(Map args) {
        assert args.ended in [null, 'withdrawn', 'timed-out', 'aborted', 'superseded']
        if (args.as) {
            if (args.digest != digest) {
                return [verdict: 'error', summary: 'the decision must name the digest that was looked at', exitCode: 2]
            }
            if (args.as == requester && !args.reject) {
                return [verdict: 'error', summary: 'the one who asked for a release may not approve it', exitCode: 2]
            }
            told << args
        }
        Set people = told.findAll { !it.reject && !it.ended }*.as as Set
        boolean enough = people.size() >= quorum || ('policy' in people && unattended == 'proceed')
        Map refused = told.find { it.reject || it.ended == 'withdrawn' }
        Map evidence = [digest: digest, evidence_hash: 'ef01', required: true, unattended: unattended]
        if (refused) {
            return [verdict: 'fail', summary: "rejected by ${refused.as}: ${refused.why}", evidence: evidence]
        }
        return [verdict: enough ? 'pass' : 'inconclusive', summary: "${people.size()} of ${quorum} approvals", evidence: evidence]
    }

    @Test
    void test_one_approval_is_enough_and_is_recorded_with_its_reason() {
        inputs = [[WHO: 'alice', WHY: 'the slices look right']]
        Map result = (Map) pipeline("mlApprove(run: 'r1')")
        assert result.verdict == 'pass' && result.decision == 'approved'
        assert told == [[run: 'r1', as: 'alice', why: 'the slices look right', digest: DIGEST]]
        assert calls.findAll { it.args.as }.every { it.args.digest == DIGEST }
    }

    @Test
    void test_nobody_is_asked_when_nothing_is_required() {
        answers.approve = [verdict: 'pass', summary: 'not required', evidence: [digest: DIGEST]]
        assert pipeline('mlApprove()').verdict == 'pass'
        assert asked.empty
    }

    @Test
    void test_an_answer_without_parameters_is_the_name_alone() {
        inputs = ['alice']
        pipeline('mlApprove()')
        assert told == [[as: 'alice', why: 'no reason given', digest: DIGEST]]
    }

    @Test
    void test_quorum_wants_distinct_people() {
        quorum = 2
        inputs = [[WHO: 'alice', WHY: 'good'], [WHO: 'alice', WHY: 'really good'], [WHO: 'bob', WHY: 'good']]
        assert pipeline('mlApprove()').verdict == 'pass'
        assert asked.size() == 3
        assert told*.as == ['alice', 'alice', 'bob']
        assert asked[1].message.contains('1 of 2 approvals')
    }

    @Test
    void test_answer_of_the_requester_does_not_count_and_others_are_asked_on() {
        inputs = [[WHO: 'rita', WHY: 'mine'], [WHO: 'alice', WHY: 'good']]
        assert pipeline('mlApprove()').verdict == 'pass'
        assert told*.as == ['alice']
        assert happened.any { it == 'echo mlApprove: the answer of rita does not count: the one who asked for a release may not approve it' }
    }

    @Test
    void test_approval_of_one_bundle_never_counts_for_another() {
        inputs = [{ digest = 'sha256:ffff'; [WHO: 'alice', WHY: 'good'] }, [WHO: 'alice', WHY: 'good']]
        assert pipeline('mlApprove()').verdict == 'pass'
        assert told == [[as: 'alice', why: 'good', digest: 'sha256:ffff']]
        assert asked[1].message.contains('sha256:ffff')
    }

    @Test
    void test_message_carries_digest_evidence_verdicts_and_report() {
        inputs = ['alice']
        pipeline("mlApprove(report: 'https://jenkins.example/report', lines: ['gate-model: pass: auc 0.77', '<b>x</b>\\nsecond'])")
        String message = asked[0].message
        for (String part : ["digest ${DIGEST}", 'evidence ef01', 'gate-model: pass: auc 0.77', 'report https://jenkins.example/report', '0 of 1 approvals']) {
            assert message.contains(part)
        }
        assert !message.contains('<b>')
    }

    @Test
    void test_only_those_who_may_are_let_in() {
        inputs = ['alice']
        pipeline("mlApprove(submitters: ['alice', 'release-managers'], timeout: '2h')")
        assert asked[0].submitter == 'alice,release-managers'
        assert asked[0].submitterParameter == 'WHO'
        assert happened.any { it ==~ /timeout 7[01]\d\d SECONDS/ }
    }

    @Test
    void test_the_time_of_several_answers_is_one_time() {
        quorum = 2
        inputs = [{ Thread.sleep(1100); 'alice' }, 'bob']
        pipeline("mlApprove(timeout: '100s')")
        List<Integer> left = happened.findAll { it ==~ /timeout \d+ SECONDS/ }.collect { it.tokenize()[1].toInteger() }
        assert left.size() == 2 && left[1] < left[0]
    }

    @Test
    void test_rejection_timeout_and_abort_are_told_apart_and_recorded() {
        Map expected = [
            'Rejected by Bob Example': [as: 'Bob Example', why: 'rejected at https://jenkins.example/job/flights/7/', reject: true],
            'Timeout has been exceeded': [as: 'nobody', why: 'timed out at https://jenkins.example/job/flights/7/', ended: 'timed-out'],
            'Aborted by carol': [as: 'carol', why: 'aborted at https://jenkins.example/job/flights/7/', ended: 'aborted'],
            'Superseded by flights#8': [as: 'flights#8', why: 'superseded at https://jenkins.example/job/flights/7/', ended: 'superseded'],
            'Shutting down': [as: 'Shutting down', why: 'interrupted at https://jenkins.example/job/flights/7/', ended: 'aborted'],
        ]
        expected.each { String message, Map record ->
            told.clear()
            Stopped stopped = new Stopped(message)
            inputs = [{ throw stopped }]
            assert broken('mlApprove()').is(stopped)
            assert told == [record + [digest: DIGEST]]
        }
    }

    @Test
    void test_record_that_fails_does_not_hide_who_stopped_it() {
        Stopped stopped = new Stopped('Rejected by Bob Example')
        inputs = [{ answers.approve = [silent: true, exitCode: 70]; throw stopped }]
        assert broken('mlApprove()').is(stopped)
        assert happened.any { it.startsWith('echo mlApprove: rejected at') && it.contains('could not be recorded') }
    }

    @Test
    void test_no_executor_is_held_while_people_think() {
        inputs = [{ assert happened.count('node ends') == of('node').count { it == 'node ' }; 'alice' }]
        pipeline('mlApprove()')
        assert broken("node('') { mlApprove() }").message.contains('must stand outside node')
    }

    @Test
    void test_failed_verification_withdraws_the_request() {
        quick = ['verification']
        answers.mirror = [verdict: 'fail', summary: 'errors 4 % against 0.1 %']
        String why = 'verification failed while people were asked: errors 4 % against 0.1 %'
        assert broken("mlApprove(watch: '20s')").message == "mlApprove: the request is withdrawn: ${why}"
        assert asked.empty
        assert of('sleep') == ['sleep 5'] * 4
        assert told == [[as: 'verification', why: why, ended: 'withdrawn', digest: DIGEST]]
    }

    @Test
    void test_what_keeps_a_look_from_being_made_is_nothing_against_the_candidate() {
        for (Object trouble : [[verdict: 'error', summary: 'Prometheus is out'], [silent: true, exitCode: 70], { Map args -> throw new Aborted('agent gone') }]) {
            quick = ['verification']
            calls.clear()
            told.clear()
            answers.mirror = { Map args ->
                if (verbs().count('mirror') > 1) {
                    return [verdict: 'fail', summary: 'errors 4 %']
                }
                trouble instanceof Closure ? trouble.call(args) : trouble
            }
            assert broken("mlApprove(watch: '20s')").message.endsWith('errors 4 %')
            assert verbs().count('mirror') == 2
            assert happened.any { it.startsWith('echo mlApprove: the candidate could not be looked at; people are asked on: ') }
            happened.clear()
        }
    }

    @Test
    void test_looks_come_often_at_first_and_rarely_later() {
        quick = ['verification']
        int looks = 0
        List<Integer> slept = []
        answers.mirror = { Map args ->
            slept << of('sleep').sum { it.tokenize()[1].toInteger() }
            ++looks < 8 ? [verdict: 'pass', summary: 'well'] : [verdict: 'fail', summary: 'over']
        }
        broken("mlApprove(watch: '10m')")
        List<Integer> pauses = [slept[0]] + (1..<slept.size()).collect { slept[it] - slept[it - 1] }
        assert pauses[0] <= 40 && pauses == pauses.toSorted() && pauses.last() in 600..660
        assert of('sleep')*.tokenize()*.last()*.toInteger().max() == 60
    }

    @Test
    void test_verification_stops_with_the_answer() {
        inputs = ['alice']
        pipeline('mlApprove()')
        assert of('branch') == ['branch approval', 'branch verification']
        assert of('sleep').empty && !verbs().contains('mirror')
    }

    @Test
    void test_without_watching_there_is_one_question_and_nothing_beside_it() {
        inputs = ['alice']
        pipeline("mlApprove(watch: '0s')")
        assert of('branch').empty
    }

    @Test
    void test_nightly_build_never_waits_for_a_person() {
        causes = [[_class: 'hudson.triggers.TimerTrigger$TimerTriggerCause']]
        Map held = (Map) pipeline('mlApprove()')
        assert held.decision == 'held' && build.result == 'UNSTABLE'
        unattended = 'proceed'
        assert pipeline('mlApprove()').decision == 'proceeded'
        assert told*.as == ['policy']
        assert asked.empty
    }

    @Test
    void test_unattended_rejection_ends_the_build() {
        unattended = 'reject'
        assert broken('mlApprove(unattended: true)').message == 'approve: fail: rejected by policy: approval.unattended: reject'
        assert asked.empty
    }

    @Test
    void test_a_person_may_be_asked_in_a_scheduled_build_too() {
        causes = [[_class: 'hudson.triggers.TimerTrigger$TimerTriggerCause']]
        inputs = ['alice']
        assert pipeline('mlApprove(unattended: false)').decision == 'approved'
    }

    @Test
    void test_record_of_the_run_comes_and_goes_with_the_agent() {
        inputs = ['alice']
        pipeline("mlApprove(agent: 'linux', run: 'r1')")
        assert of('node').toSet() == ['node linux', 'node ends'] as Set
        assert stashes.mlpipeline.containsKey('.mlpipeline/runs/r1/results/approve.json')
    }

    @Test
    void test_record_of_a_project_in_a_folder_stays_in_its_folder() {
        repository = ['models/churn/mlpipeline.yaml']
        inputs = ['alice']
        answers.approve = { Map args ->
            assert files.containsKey('models/churn/.mlpipeline/runs/r1/run.json')
            judged(args)
        }
        assert pipeline("mlApprove(folder: 'models/churn', run: 'r1')").decision == 'approved'
    }

    @Test
    void test_what_later_agents_need_is_still_carried_after_an_approval() {
        repository = ['mlpipeline.yaml', 'data/holdout/rows.csv']
        inputs = ['alice']
        pipeline("mlPipeline(carry: 'data/holdout/**')")
        assert verbs().contains('switch')
        assert stashes.mlpipeline.containsKey('data/holdout/rows.csv')
        assert stashes.mlpipeline.containsKey('.mlpipeline/runs/r1/results/approve.json')
    }

    @Test
    void test_answer_waits_for_an_agent_that_is_switched_off_and_is_not_lost() {
        offline = [linux: ['agent-1']]
        backSoon = true
        inputs = ['alice']
        assert pipeline("mlApprove(agent: 'linux')").decision == 'approved'
        assert of('echo').any { it.contains("every agent with the label 'linux' is offline: agent-1; waiting for one") }
    }

    @Test
    void test_overrides_reach_the_worker_with_every_decision() {
        inputs = ['alice']
        pipeline("mlApprove(config: [approval: [required: true]])")
        assert calls.every { it.args.config == [approval: [required: true]] }
    }

    @Test
    void test_missing_plugin_is_named() {
        missing = ['input']
        assert broken('mlApprove()').message == 'mlApprove needs the step input: install the plugin pipeline-input-step'
    }

    @Test
    void test_bad_keys_are_refused() {
        assert broken("mlApprove(submiters: 'a')").message == "mlApprove: unknown key 'submiters'; did you mean 'submitters'?"
        assert broken("mlApprove(timeout: 'soon')").message == "mlApprove: timeout must be a duration such as '24h', not 'soon'"
    }

    @Test
    void test_whole_release_with_a_person() {
        answers.verify = [verdict: 'pass', summary: 'no worse']
        inputs = [[WHO: 'alice', WHY: 'good']]
        pipeline("mlPipeline(agent: 'linux', approve: [submitters: 'alice', timeout: '4h'])")
        assert verbs().findAll { it in ['approve', 'switch'] } == ['approve', 'approve', 'switch']
        assert asked[0].message.contains('gate-model: pass: gate-model is well')
        assert told == [[run: 'r1', as: 'alice', why: 'good', digest: DIGEST]]
    }

    @Test
    void test_whole_release_rejected_never_moves_users() {
        inputs = [{ throw new Stopped('Rejected by Bob Example') }]
        broken('mlPipeline()')
        assert !verbs().contains('switch')
        assert build.description == 'rejected: Bob Example'
        assert told*.as == ['Bob Example']
    }

    @Test
    void test_whole_release_held_at_night_is_said() {
        causes = [[_class: 'hudson.triggers.TimerTrigger$TimerTriggerCause']]
        pipeline('mlPipeline()')
        assert !verbs().contains('switch')
        assert build.description == 'held for a person: 0 of 1 approvals'
    }
}
