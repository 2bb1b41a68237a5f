package steps

import org.junit.Test

class MlWorkerTest extends JenkinsWorld {

    Object inNode(String call) {
        return pipeline("node('') { ${call} }")
    }

    Throwable brokenInNode(String call) {
        return broken("node('') { ${call} }")
    }

    @Test
    void test_result_is_plain_data_with_the_exit_code() {
        answers.deploy = [verdict: 'pass', summary: 'well', evidence: [digest: 'sha256:abcd']]
        Map result = (Map) inNode("mlWorker(verb: 'deploy')")
        assert result.exitCode == 0
        assert result.evidence.digest == 'sha256:abcd'
        assert result.getClass() in [LinkedHashMap, HashMap]
    }

    @Test
    void test_verbs_of_two_words_are_typed_as_two() {
        inNode("mlWorker(verb: 'gate-data')")
        assert of('sh')[0].contains(' gate data --args ')
    }

    @Test
    void test_fail_and_inconclusive_are_returned() {
        answers.verify = [verdict: 'inconclusive', summary: 'silence']
        assert inNode("mlWorker(verb: 'verify')").exitCode == 11
        answers.verify = [verdict: 'fail', summary: 'errors']
        assert inNode("mlWorker(verb: 'verify')").verdict == 'fail'
    }

    @Test
    void test_exit_codes_that_are_not_allowed_are_errors() {
        answers.verify = [verdict: 'fail', summary: 'errors']
        assert brokenInNode("mlWorker(verb: 'verify', allow: [])").message == 'mlpipeline verify: errors (exit 10)'
    }

    @Test
    void test_environment_fault_is_tried_once_more() {
        int tries = 0
        answers.register = { Map args -> tries++ ? [verdict: 'pass', summary: 'registered'] : [verdict: 'error', summary: 'registry is away'] }
        assert inNode("mlWorker(verb: 'register')").summary == 'registered'
        assert calls.size() == 2
        answers.register = [verdict: 'error', summary: 'registry is away']
        assert brokenInNode("mlWorker(verb: 'register', retries: 2)").message == 'mlpipeline register: registry is away (exit 3)'
        assert calls.size() == 5
    }

    @Test
    void test_configuration_error_and_bug_are_not_tried_again() {
        answers.train = [verdict: 'error', summary: 'train.command is missing', exitCode: 2]
        assert brokenInNode("mlWorker(verb: 'train')").message.contains('(exit 2)')
        answers.train = [verdict: 'error', summary: 'bug', exitCode: 70]
        assert brokenInNode("mlWorker(verb: 'train')").message.contains('(exit 70)')
        assert calls.size() == 2
    }

    @Test
    void test_missing_or_unreadable_result_is_a_failure_whatever_the_exit_code() {
        answers.train = [silent: true, exitCode: 0]
        assert brokenInNode("mlWorker(verb: 'train')").message.contains('the worker left no result')
        answers.train = [text: '{"verdict": "pa', exitCode: 0]
        assert brokenInNode("mlWorker(verb: 'train')").message.contains('cannot be read')
        answers.train = [text: '{}', exitCode: 0]
        assert brokenInNode("mlWorker(verb: 'train')").message.contains('(exit 70)')
    }

    @Test
    void test_pass_is_no_pass_when_the_worker_was_killed_after_it() {
        answers.train = [verdict: 'pass', summary: 'trained', exitCode: 137]
        assert brokenInNode("mlWorker(verb: 'train')").message.contains('(exit 137)')
    }

    @Test
    void test_result_of_an_earlier_build_is_never_read() {
        answers.deploy = { Map args ->
            files['.mlpipeline/runs/r1/results/deploy.json'] = '{"verb": "deploy", "verdict": "pass", "summary": "stale"}'
            files['.mlpipeline/calls/6-deploy-0/result.json'] = '{"verb": "deploy", "verdict": "pass", "summary": "stale"}'
            [silent: true, exitCode: 0]
        }
        assert brokenInNode("mlWorker(verb: 'deploy')").message.contains('the worker left no result')
    }

    @Test
    void test_result_of_another_verb_is_refused() {
        answers.deploy = [text: '{"verb": "package", "verdict": "pass", "summary": "stale"}', exitCode: 0]
        assert brokenInNode("mlWorker(verb: 'deploy')").message.contains('is not one of deploy')
    }

    @Test
    void test_every_call_has_a_folder_of_its_own() {
        pipeline("node('') { mlWorker(verb: 'deploy'); mlWorker(verb: 'deploy') }")
        assert of('sh').toSet().size() == 2
    }

    @Test
    void test_words_of_a_failed_install_are_told() {
        answers.train = [silent: true, exitCode: 3, trouble: "there is no Python 3.11 or 3.12 on this agent (box)"]
        assert brokenInNode("mlWorker(verb: 'train')").message.contains('there is no Python 3.11 or 3.12 on this agent (box)')
        answers.train = [silent: true, exitCode: 2, trouble: "the library is version 0.1.0, but the worker is 'mlpipeline 0.0.9'"]
        assert brokenInNode("mlWorker(verb: 'train')").message.contains("but the worker is 'mlpipeline 0.0.9'")
    }

    @Test
    void test_user_data_travels_in_json_only() {
        binding.setVariable('who', 'a"; rm -rf / #\n${x}')
        inNode('mlWorker(verb: "rollback", args: [reason: "because of ${who}", run: null], config: [verify: [interval: "5s"]])')
        assert calls[0].args == [reason: 'because of a"; rm -rf / #\n${x}', config: [verify: [interval: '5s']]]
        assert !of('sh')[0].contains('rm -rf')
    }

    @Test
    void test_verb_is_a_word_and_nothing_else() {
        for (String verb : ['gate data', 'train; id', '', '-x', 'Train']) {
            assert brokenInNode("mlWorker(verb: '${verb}')").message.contains('must be a verb of the worker')
        }
        assert brokenInNode('mlWorker()').message.contains('must be a verb')
        assert of('sh').empty
    }

    @Test
    void test_credentials_surround_the_call_and_timeout_bounds_it() {
        inNode("mlWorker(verb: 'train', credentials: [string(credentialsId: 'x', variable: 'TOKEN')], timeout: '2h')")
        assert happened.findIndexOf { it == 'withCredentials' } > happened.indexOf('timeout 7200 SECONDS')
        assert brokenInNode("mlWorker(verb: 'train', timeout: 'soon')").message.contains("not 'soon'")
    }

    @Test
    void test_interruption_of_the_worker_surfaces_and_what_it_left_is_archived() {
        Stopped aborted = new Stopped('Aborted by bob')
        answers.train = { Map args -> throw aborted }
        assert brokenInNode("mlWorker(verb: 'train')").is(aborted)
        assert archived.any { it.endsWith('args.json') }
    }

    @Test
    void test_agent_that_is_lost_while_archiving_does_not_hide_how_the_call_ended() {
        step('archiveArtifacts', [Map]) { Map how -> throw new IOException('the channel is closed') }
        answers.train = [verdict: 'fail', summary: 'diverged']
        assert inNode("mlWorker(verb: 'train')").summary == 'diverged'
        Stopped aborted = new Stopped('Aborted by bob')
        answers.train = { Map args -> throw aborted }
        assert brokenInNode("mlWorker(verb: 'train')").is(aborted)
    }

    @Test
    void test_the_one_who_asked_is_told_to_the_worker() {
        inNode("mlWorker(verb: 'deploy')")
        causes = [[_class: 'hudson.model.Cause$UserIdCause', userId: 'alice\n$(id)', userName: 'Alice']]
        inNode("mlWorker(verb: 'deploy')")
        assert calls*.actor == ['jenkins', 'alice___id_']
    }

    @Test
    void test_missing_plugin_is_named() {
        missing = ['readJSON']
        assert brokenInNode("mlWorker(verb: 'deploy')").message.contains('install the plugin pipeline-utility-steps')
        missing = ['withCredentials']
        assert brokenInNode("mlWorker(verb: 'deploy', credentials: ['x'])").message.contains('install the plugin credentials-binding')
    }

    @Test
    void test_wheel_that_a_release_carries_is_put_on_the_agent_for_each_call_alone() {
        String wheel = 'mlpipeline-1.0.0-py3-none-any.whl'
        step('libraryResource', [String]) { String name -> name.endsWith('version.txt') ? "1.0.0 ${wheel}\n".toString() : 'script' }
        pipeline("node('') { mlWorker(verb: 'deploy'); mlWorker(verb: 'deploy') }")
        List<String> wheels = of('sh').collect { it.tokenize()[6] }
        assert wheels.every { it.startsWith('.mlpipeline/calls/7-deploy-') && it.endsWith("/${wheel}") } && wheels.toSet().size() == 2
        assert of('sh').every { it.contains(' 1.0.0 ') && it.contains("/${wheel} deploy --args ") }
        assert of('libraryResource') == ["libraryResource mlpipeline/${wheel}"] * 2
    }

    @Test
    void test_library_and_worker_have_one_version() {
        String project = new File(ROOT, 'python/pyproject.toml').text
        String version = new File(ROOT, 'resources/mlpipeline/version.txt').text.tokenize()[0]
        assert project.contains("\nversion = \"${version}\"\n")
    }
}
