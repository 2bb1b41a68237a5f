package cps

import org.junit.Before
import org.junit.Test
import org.mlpipeline.cps.Report
import org.mlpipeline.cps.Scenario.Answer

/** People are asked outside of any node; what they answer, and whatever else ends the request, reaches the worker. */
class ApprovalTest extends CpsWorld {

    @Before
    void peopleAreNeeded() {
        approvalNeeded()
    }

    void answered(String who, boolean proceed, long after = 60, Map<String, Object> values = [:]) {
        Answer answer = new Answer(who, proceed, after)
        answer.values.putAll(values)
        scenario.answers.add(answer)
    }

    @Test
    void test_approval_is_recorded_with_name_reason_and_digest() {
        answered('carol', true, 60, [WHY: 'looks right'])
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        assert verbs(report).unique() - 'mirror' == VERBS
        assert given('approve', 2) == [run: 'r1', as: 'carol', why: 'looks right', digest: 'sha256:abcd']
    }

    @Test
    void test_answer_without_a_reason_is_the_name_alone() {
        answered('carol', true)
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        assert given('approve', 2).as == 'carol'
        assert given('approve', 2).why == 'no reason given'
    }

    @Test
    void test_only_submitters_can_answer() {
        answered('mallory', true)
        answered('carol', true)
        Report report = run("mlPipeline(approve: [submitters: ['alice', 'carol']])")
        assert report.result == 'SUCCESS', report.log
        assert given('approve', 2).as == 'carol'
    }

    @Test
    void test_people_are_asked_again_until_the_worker_has_enough() {
        answer('approve', [verdict: 'inconclusive', summary: 'needs 1 more', evidence: [digest: 'sha256:abcd']], 2)
        answer('approve', [verdict: 'pass', summary: 'approved', evidence: [digest: 'sha256:abcd']], 3)
        answered('alice', true)
        answered('carol', true)
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        assert report.of('input').size() == 2
        assert [given('approve', 2).as, given('approve', 3).as] == ['alice', 'carol']
    }

    @Test
    void test_rejection_is_recorded_and_ends_the_build_as_the_person_wanted() {
        answered('Bob Example', false)
        Report report = run('mlPipeline()')
        assert report.result == 'ABORTED'
        assert report.error.contains('Rejected by Bob Example')
        assert given('approve', 2).reject && given('approve', 2).as == 'Bob Example'
        assert given('approve', 2).why.startsWith('rejected at ')
        assert !verbs(report).contains('switch')
    }

    @Test
    void test_request_that_nobody_answers_times_out_while_verification_goes_on() {
        Report report = run("mlPipeline(approve: [timeout: '5m', watch: '2m'])")
        assert report.result == 'ABORTED'
        assert report.error.contains('Timeout has been exceeded')
        assert verbs(report).count('mirror') >= 2
        assert given('approve', 2).ended == 'timed-out' && given('approve', 2).as == 'nobody'
        assert given('approve', 2).why.startsWith('timed out at ')
        assert !verbs(report).contains('switch')
    }

    @Test
    void test_failing_verification_withdraws_the_request() {
        answer('mirror', [verdict: 'fail', summary: 'errors doubled'])
        Report report = run("mlPipeline(approve: [watch: '2m'])")
        assert report.result == 'FAILURE', report.log
        assert report.error.contains('the request is withdrawn')
        assert given('approve', 2).as == 'verification' && given('approve', 2).ended == 'withdrawn'
        assert !given('approve', 2).containsKey('reject')
        assert !verbs(report).contains('switch')
    }

    @Test
    void test_answer_that_comes_during_a_look_waits_for_its_end_and_counts() {
        File looking = new File(folder.root, 'looking')
        instead('mirror', "touch ${looking}")
        answered('carol', true, 31)
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        assert looking.exists()
        assert given('approve', 2).as == 'carol'
        assert verbs(report).last() == 'settle'
    }

    @Test
    void test_candidate_that_cannot_be_looked_at_is_no_reason_to_withdraw() {
        instead('mirror', 'exit 3')
        answered('carol', true, 600)
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        assert report.log.contains('the candidate could not be looked at; people are asked on')
    }

    @Test
    void test_agent_that_is_lost_while_the_candidate_is_looked_at_ends_the_look_and_not_the_question() {
        File looking = new File(folder.root, 'looking')
        instead('mirror', "if [ ! -e ${looking} ]; then touch ${looking}; exec sleep 3600; fi")
        scenario.onceThereIs = looking.path
        scenario.agentLostAt = '^sh .*label=mlpipeline mirror '
        answered('carol', true, 600)
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        assert report.log.contains('the candidate could not be looked at; people are asked on: its agent was lost')
        assert given('approve', 2).as == 'carol'
    }

    @Test
    void test_controller_dies_while_a_look_runs_and_the_question_stands() {
        File looking = new File(folder.root, 'looking')
        // The look cannot end before a second virtual machine is there.
        instead('mirror', "touch ${looking}; while [ ! -f '${new File(home, 'jvm-1.log')}' ]; do sleep 0.1; done")
        scenario.onceThereIs = looking.path
        scenario.restartAt = ['^sh .*label=mlpipeline mirror ']
        answered('carol', true, 31)
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        assert report.restarts == 1
        assert given('approve', 2).as == 'carol'
    }

    @Test
    void test_withdrawn_request_is_what_the_build_says() {
        answer('mirror', [verdict: 'fail', summary: 'green answered 503 to /ready'])
        Report report = run('mlPipeline()')
        assert report.description == 'mlApprove: the request is withdrawn: verification failed while people were asked: green answered 503 to /ready'
        assert report.held.empty
        assert report.archived.any { it ==~ '.mlpipeline/runs/r1/mirror.json' }
    }

    @Test
    void test_build_stopped_at_the_question_leaves_users_where_they_are() {
        scenario.abortAt = '^input'
        Report report = run('mlPipeline()')
        assert report.result == 'ABORTED'
        assert report.error.contains('Aborted by Bob Example')
        assert given('approve', 2).why.startsWith('aborted at ') && given('approve', 2).ended == 'aborted'
        assert !verbs(report).contains('switch')
    }

    @Test
    void test_nobody_is_asked_at_night() {
        scenario.causes = [[_class: 'hudson.triggers.TimerTrigger$TimerTriggerCause', shortDescription: 'Started by timer']]
        Report report = run('mlPipeline()')
        assert report.result == 'UNSTABLE', report.log
        assert report.of('input').empty
        assert !verbs(report).contains('switch')
        assert report.description.startsWith('held for a person')
    }
}
