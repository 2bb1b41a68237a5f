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
        assert verbs(report).unique() == VERBS
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
        assert verbs(report).count('verify') == 2
        assert given('approve', 2).why.startsWith('timed out at ')
        assert !verbs(report).contains('switch')
    }

    @Test
    void test_failing_verification_withdraws_the_request() {
        answer('verify', [verdict: 'fail', summary: 'errors doubled'])
        Report report = run("mlPipeline(approve: [watch: '2m'])")
        assert report.result == 'FAILURE', report.log
        assert report.error.contains('the request is withdrawn')
        assert given('approve', 2).as == 'verification'
        assert !verbs(report).contains('switch')
    }

    @Test
    void test_build_stopped_at_the_question_leaves_users_where_they_are() {
        scenario.abortAt = '^input'
        Report report = run('mlPipeline()')
        assert report.result == 'ABORTED'
        assert report.error.contains('Aborted by Bob Example')
        assert given('approve', 2).why.startsWith('aborted at ')
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
