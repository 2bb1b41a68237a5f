package steps

import org.junit.Before
import org.junit.Test

class MlNightlyTest extends JenkinsWorld {

    static final Map STEADY = [verdict: 'pass', summary: 'no retraining: data steady', evidence: [retrain: false]]
    static final Map DRIFTED = [
        verdict: 'pass', summary: 'retrain: psi 0.31', evidence: [retrain: true, reason: 'retrain: psi 0.31 (2 of the last 3 looks)'],
    ]

    @Before
    void night() {
        causes = [[_class: 'hudson.triggers.TimerTrigger$TimerTriggerCause']]
        answers.nightly = STEADY
        answers.'jenkins-health' = [verdict: 'pass', summary: 'flights/nightly: 12 builds; 100% succeeded']
        env().JENKINS_URL = 'https://jenkins.example/'
    }

    @Test
    void test_steady_night_trains_nothing() {
        Map seen = (Map) pipeline('mlNightly()')
        assert verbs() == ['nightly']
        assert seen.drift.verdict == 'pass' && seen.release == null
        assert build.description == 'no retraining: data steady' && build.result == null
    }

    @Test
    void test_drift_releases_through_the_same_path_with_the_reason() {
        answers.nightly = DRIFTED
        pipeline('mlNightly()')
        assert verbs().findAll { !(it in ['report', 'history']) } == ['nightly'] + MlPipelineTest.WHOLE
        assert calls.find { it.verb == 'gate-data' }.args.reason == 'retrain: psi 0.31 (2 of the last 3 looks)'
        assert build.description == 'released: settle is well'
    }

    @Test
    void test_nobody_is_waited_for() {
        answers.nightly = DRIFTED
        answers.approve = [verdict: 'inconclusive', summary: '0 of 1 approvals', evidence: [digest: 'sha256:abcd', evidence_hash: 'ef01', unattended: 'hold']]
        causes = []
        pipeline('mlNightly()')
        assert asked.empty
        assert build.description == 'held for a person: 0 of 1 approvals' && build.result == 'UNSTABLE'
    }

    @Test
    void test_retraining_may_be_left_to_people() {
        answers.nightly = DRIFTED
        pipeline('mlNightly(retrain: false)')
        assert verbs() == ['nightly']
    }

    @Test
    void test_a_look_that_could_not_be_made_is_no_good_news() {
        answers.nightly = [verdict: 'inconclusive', summary: 'Prometheus cannot be reached', evidence: [retrain: false]]
        pipeline('mlNightly()')
        assert build.result == 'UNSTABLE'
        assert happened.contains('unstable mlNightly: Prometheus cannot be reached')
    }

    @Test
    void test_scheduled_run_that_did_not_happen_is_said_loudly() {
        answers.'jenkins-health' = [verdict: 'fail', summary: 'flights/nightly: 2 SCHEDULED RUNS DID NOT HAPPEN']
        pipeline("mlNightly(jenkins: 'reader', jobs: ['flights/nightly'], grace: '2h', notify: [mail: 'team@example.org'])")
        assert calls.find { it.verb == 'jenkins-health' }.args == [job: ['flights/nightly'], grace: '2h']
        assert build.result == 'UNSTABLE'
        assert of('mail').any { it.contains(': missed flights/nightly: 2 SCHEDULED RUNS DID NOT HAPPEN') }
    }

    @Test
    void test_history_that_cannot_be_read_keeps_no_retraining_back() {
        answers.nightly = DRIFTED
        answers.'jenkins-health' = [verdict: 'error', summary: 'the token was revoked']
        pipeline("mlNightly(jenkins: 'reader')")
        assert verbs().contains('settle')
        assert happened.contains('unstable mlNightly: the token was revoked')
    }

    @Test
    void test_keys_reach_the_release() {
        answers.nightly = DRIFTED
        pipeline("mlNightly(agent: 'linux', config: [nightly: [of: 5]], release: [agent: 'gpu', release: true])")
        assert of('node').toSet() == ['node linux', 'node gpu', 'node ends'] as Set
        assert calls.every { it.args.config == [nightly: [of: 5]] }
    }

    @Test
    void test_no_node_is_held_when_the_release_begins() {
        answers.nightly = DRIFTED
        pipeline("mlNightly(folder: '.')")
        assert happened.indexOf('node ends') < happened.indexOf('stage Data gate')
    }

    @Test
    void test_schedule_has_one_owner() {
        pipeline('mlNightly()')
        assert of('properties').empty
        pipeline("mlNightly(cron: 'H 3 * * *')")
        assert of('properties') == ['properties [[triggers:[[cron:H 3 * * *]]]]']
    }

    @Test
    void test_bad_calls_are_refused() {
        assert broken("mlNightly(retrian: true)").message == "mlNightly: unknown key 'retrian'; did you mean 'retrain'?"
        assert broken("mlNightly(release: [gqu: true])").message.contains("unknown key 'gqu'; did you mean 'gpu'?")
        assert broken("mlNightly(notify: [slak: 'x'])").message.contains("mlNightly: notify: unknown key 'slak'")
        assert broken("mlNightly(timeout: 'x')").message.contains('must be a duration')
        repository = []
        assert broken('mlNightly()').message.contains('there is no mlpipeline.yaml')
        assert calls.empty
    }
}
