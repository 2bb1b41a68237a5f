package cps

import org.junit.Test
import org.mlpipeline.cps.Report

/** mlNightly() under groovy-cps: with and without drift, and never waiting for a person. */
class NightlyTest extends CpsWorld {

    static final Map STEADY = [verdict: 'pass', summary: 'no retraining: data steady', evidence: [retrain: false]]
    static final Map DRIFTED = [verdict: 'pass', summary: 'retrain: psi 0.31', evidence: [retrain: true, reason: 'retrain: psi 0.31']]

    @Test
    void test_steady_night_trains_nothing() {
        answer('nightly', STEADY)
        Report report = run('mlNightly()')
        assert report.result == 'SUCCESS', report.log
        assert verbs(report) == ['nightly']
        assert report.description == 'no retraining: data steady'
    }

    @Test
    void test_drift_releases_through_the_same_path_with_the_reason() {
        answer('nightly', DRIFTED)
        Report report = run('mlNightly()')
        assert report.result == 'SUCCESS', report.log
        assert verbs(report) == ['nightly'] + VERBS
        assert given('gate-data', 1).reason == 'retrain: psi 0.31'
        assert report.description == 'released: settle is well'
    }

    @Test
    void test_release_of_the_night_is_held_when_people_must_approve() {
        answer('nightly', DRIFTED)
        approvalNeeded()
        Report report = run('mlNightly()')
        assert report.result == 'UNSTABLE', report.log
        assert report.of('input').empty
        assert !verbs(report).contains('switch')
    }
}
