package cps

import org.junit.Test
import org.mlpipeline.cps.Report

/** mlPipeline() under groovy-cps, saved and read again at every step call. */
class ReleaseTest extends CpsWorld {

    @Test
    void test_green_path_survives_a_save_at_every_step() {
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        assert verbs(report) == VERBS
        assert report.saves == report.calls.size()
        assert report.description == 'released: settle is well'
    }

    @Test
    void test_failed_data_gate_ends_the_build_and_its_result_is_archived() {
        answer('gate-data', [verdict: 'fail', summary: 'column age: 7 nulls'])
        Report report = run('mlPipeline()')
        assert report.result == 'FAILURE'
        assert verbs(report) == VERBS.take(2)
        assert report.description == 'gate-data: fail: column age: 7 nulls'
        assert report.archived.any { it ==~ '.mlpipeline/calls/7-gate-data-[^/]*/result.json' }
    }

    @Test
    void test_failed_model_gate_keeps_the_model_from_being_packaged() {
        answer('gate-model', [verdict: 'fail', summary: 'roc_auc 0.61, champion 0.70'])
        Report report = run('mlPipeline()')
        assert report.result == 'FAILURE'
        assert verbs(report) == VERBS.take(5)
        assert report.description == 'gate-model: fail: roc_auc 0.61, champion 0.70'
    }

    @Test
    void test_source_that_was_taken_back_is_not_trained_again() {
        instead('gate-data', 'grep -q \'"release":true\' "$args" && cp "$ANSWERS/taken-back.json" "$ANSWERS/gate-data.json"; :')
        answer('taken-back', [verb: 'gate-data', verdict: 'fail', summary: 'this very commit was taken back before'])
        Report report = run('mlPipeline(gpu: true)')
        assert report.result == 'FAILURE', report.log
        assert verbs(report) == VERBS.take(2)
        assert report.description == 'gate-data: fail: this very commit was taken back before'
    }

    @Test
    void test_result_that_an_earlier_build_left_is_not_taken_for_this_ones() {
        assert run('mlPipeline()').result == 'SUCCESS'
        scenario.env.BUILD_NUMBER = '8'
        instead('train', 'exit 0')
        Report report = run('mlPipeline()')
        assert report.result == 'FAILURE'
        assert report.error.contains('the worker left no result'), report.log
        assert verbs(report) == VERBS.take(3)
    }

    @Test
    void test_inconclusive_model_gate_keeps_the_model_from_being_packaged() {
        answer('gate-model', [verdict: 'inconclusive', summary: 'slice too small'])
        Report report = run('mlPipeline()')
        assert report.result == 'FAILURE'
        assert verbs(report) == VERBS.take(5)
        assert report.error.contains('gate-model: inconclusive: slice too small')
    }

    @Test
    void test_branch_build_stops_after_the_gates() {
        scenario.env.BRANCH_NAME = 'feature/better'
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS'
        assert verbs(report) == VERBS.take(5)
        assert report.of('lock').empty
    }

    @Test
    void test_checks_run_beside_the_data_gate_and_their_failure_ends_the_build() {
        Report report = run("mlPipeline(checks: ['unit tests': 'exit 1', lint: { echo('clean') }])")
        assert report.result == 'FAILURE'
        assert verbs(report) == VERBS.take(2)
        assert report.calls.contains('echo message=clean')
        assert report.error.contains('script returned exit code 1')
    }

    @Test
    void test_worker_that_dies_without_a_result_fails_the_build() {
        instead('train', 'kill -9 $$')
        Report report = run('mlPipeline()')
        assert report.result == 'FAILURE'
        assert report.error.contains('the worker left no result'), report.log
        assert verbs(report) == VERBS.take(3)
    }

    @Test
    void test_result_of_another_verb_is_no_result() {
        instead('train', 'cp "$ANSWERS/gate-data.json" "$ANSWERS/train.json"')
        Report report = run('mlPipeline()')
        assert report.result == 'FAILURE'
        assert report.error.contains('is not one of train')
    }

    @Test
    void test_worker_of_another_version_stops_the_build_with_both_versions() {
        scenario.agent.WORKER_VERSION = '9.9.9'
        Report report = run('mlPipeline()')
        assert report.result == 'FAILURE'
        assert report.error.contains(version()) && report.error.contains('9.9.9'), report.log
    }

    @Test
    void test_release_goes_on_without_plugins_that_are_not_installed() {
        scenario.missingSteps.addAll(['lock', 'milestone', 'junit', 'publishHTML'])
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        for (String plugin : ['lockable-resources', 'pipeline-milestone-step', 'junit', 'htmlpublisher']) {
            assert report.log.contains("the plugin ${plugin} is not installed")
        }
    }

    @Test
    void test_project_without_configuration_is_told_how_to_begin() {
        scenario.repository = [:]
        Report report = run('mlPipeline()')
        assert report.result == 'FAILURE'
        assert report.error.contains('there is no mlpipeline.yaml')
        assert verbs(report) == []
    }

    @Test
    void test_secrets_reach_the_worker_and_nothing_else() {
        scenario.credentials.put('registry', 's3cret-of-registry')
        Report report = run("mlPipeline(credentials: [string(credentialsId: 'registry', variable: 'REGISTRY_TOKEN')])")
        assert report.result == 'SUCCESS', report.log
        assert seen('train').contains('REGISTRY_TOKEN=s3cret-of-registry')
        assert !report.log.contains('s3cret-of-registry')
        assert !report.calls.any { it.contains('s3cret-of-registry') }
        assert !seen('train').contains('MLPIPELINE_SECRET')
    }

    @Test
    void test_hostile_names_stay_data() {
        File pwned = new File(folder.root, 'pwned')
        String hostile = "main'; touch ${pwned}; \$(touch ${pwned}) `touch ${pwned}` \${HOME}\n touch ${pwned} \" x"
        scenario.env.BRANCH_NAME = hostile
        scenario.causes = [[_class: 'hudson.model.Cause$UserIdCause', userId: hostile, userName: hostile]]
        scenario.params = [WHY: hostile]
        answer('gate-data', [verdict: 'pass', summary: hostile, service: hostile])
        Report report = run('mlPipeline(release: true, config: [note: params.WHY], reason: params.WHY)')
        assert report.result == 'SUCCESS', report.log
        assert verbs(report) == VERBS
        assert !pwned.exists()
        assert given('train').config.note == hostile
    }
}
