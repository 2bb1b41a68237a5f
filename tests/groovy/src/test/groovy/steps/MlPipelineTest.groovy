package steps

import org.junit.Test

class MlPipelineTest extends JenkinsWorld {

    static final List<String> GATES = ['gate-data', 'checks', 'train', 'gate-security', 'gate-model']
    static final List<String> WHOLE = GATES + ['package', 'register', 'deploy', 'approve', 'switch', 'verify', 'settle']

    /** The verbs of the release, without those that only collect. */
    List<String> release() {
        return verbs().findAll { !(it in ['report', 'history', 'doctor-gpu']) }
    }

    @Test
    void test_green_path_runs_every_verb_once_and_in_order() {
        pipeline('mlPipeline()')
        assert release() == WHOLE
        assert of('stage') == ['Data gate', 'Checks', 'Train', 'Security', 'Model gate', 'Package', 'Register', 'Deploy', 'Approve', 'Switch', 'Verify', 'Settle'].collect { "stage $it" }
        assert build.description == 'released: settle is well'
        assert build.result == null
    }

    @Test
    void test_all_verbs_after_the_first_work_on_the_same_run() {
        pipeline('mlPipeline()')
        assert calls[0].args == [release: true]
        assert calls.findAll { !(it.verb in ['gate-data', 'checks']) }.every { it.args.run == 'r1' || it.verb == 'history' }
        assert calls.find { it.verb == 'verify' }.args.replay == '.mlpipeline/runs/r1/evidence.json'
    }

    @Test
    void test_reason_is_recorded_where_the_release_begins() {
        pipeline("mlPipeline(reason: 'retrain: drift')")
        assert calls.findAll { it.args.reason }*.verb == ['gate-data', 'checks']
        calls.clear()
        binding.setVariable('params', [REASON: 'asked for from outside'])
        pipeline('mlPipeline()')
        assert calls[0].args == [reason: 'asked for from outside', release: true]
    }

    @Test
    void test_record_and_model_reach_the_next_agent() {
        answers.train = { Map args -> files['model/MLmodel'] = 'flavors'; [verdict: 'pass', summary: 'trained', evidence: [model: 'model']] }
        answers.package = { Map args ->
            assert files.containsKey('model/MLmodel')
            assert files.containsKey('.mlpipeline/runs/r1/results/gate-model.json')
            [verdict: 'pass', summary: 'packed']
        }
        pipeline('mlPipeline()')
        assert verbs().contains('package')
    }

    @Test
    void test_results_junit_report_and_ledger_are_collected() {
        pipeline('mlPipeline()')
        assert archived.any { it ==~ '.mlpipeline/calls/7-gate-data-.*/result.json' }
        assert archived.contains('.mlpipeline/runs/r1/results/settle.json')
        assert of('junit').size() == 4
        assert of('junit')[0] == 'junit .mlpipeline/runs/r1/junit/gate-data.xml,.mlpipeline/runs/r1/junit/checks.xml,.mlpipeline/runs/r1/checks/*.xml'
        assert of('publishHTML') == ['publishHTML .mlpipeline/runs/r1/report']
        assert verbs().count('history') == 4
    }

    @Test
    void test_failed_data_gate_ends_the_build_and_is_reported() {
        answers.'gate-data' = [verdict: 'fail', summary: 'column age: 7 nulls']
        Throwable stopped = broken('mlPipeline()')
        assert stopped.message == 'gate-data: fail: column age: 7 nulls'
        assert release() == ['gate-data', 'checks']
        assert of('publishHTML').size() == 1
        assert build.description == stopped.message
    }

    @Test
    void test_source_that_was_taken_back_costs_no_training() {
        answers.'gate-data' = { Map args ->
            args.release ? [verdict: 'fail', summary: 'this very commit and data was taken back before'] : [verdict: 'pass', summary: 'good']
        }
        assert broken('mlPipeline(gpu: true)').message == 'gate-data: fail: this very commit and data was taken back before'
        assert release() == ['gate-data', 'checks']
        assert of('lock').empty
        env().BRANCH_NAME = 'feature/better'
        calls.clear()
        pipeline('mlPipeline()')
        assert release() == GATES
    }

    @Test
    void test_failed_model_gate_keeps_the_model_from_being_packaged() {
        answers.'gate-model' = [verdict: 'fail', summary: 'roc_auc 0.61, champion 0.70']
        assert broken('mlPipeline()').message.contains('champion 0.70')
        assert release() == GATES
        assert of('lock').empty
    }

    @Test
    void test_model_file_that_runs_code_is_judged_before_it_is_loaded() {
        answers.'gate-security' = [verdict: 'fail', summary: 'model.pkl runs os.system']
        assert broken('mlPipeline()').message == 'gate-security: fail: model.pkl runs os.system'
        assert release() == ['gate-data', 'checks', 'train', 'gate-security']
    }

    @Test
    void test_failed_tests_of_the_project_cost_no_training() {
        answers.checks = [verdict: 'fail', summary: '1 of 2 checks failed: tests: test_fares']
        assert broken('mlPipeline()').message.contains('test_fares')
        assert release() == ['gate-data', 'checks']
    }

    @Test
    void test_run_of_the_data_gate_is_the_run_of_the_release() {
        answers.checks = [verdict: 'pass', summary: 'passed', run: 'r2']
        pipeline('mlPipeline()')
        assert calls.find { it.verb == 'train' }.args.run == 'r1'
    }

    @Test
    void test_inconclusive_is_not_a_pass() {
        answers.'gate-model' = [verdict: 'inconclusive', summary: 'slice too small']
        assert broken('mlPipeline()').message == 'gate-model: inconclusive: slice too small'
        assert release() == GATES
    }

    @Test
    void test_branch_build_stops_after_the_gates() {
        env().BRANCH_NAME = 'feature/better'
        pipeline('mlPipeline()')
        assert release() == GATES
        assert of('lock').empty && of('milestone').empty
        assert build.description == 'gates passed on feature/better: gate-model is well'
        assert of('publishHTML').size() == 1
    }

    @Test
    void test_branch_build_may_stop_after_the_data_gate() {
        env().BRANCH_NAME = 'feature/better'
        pipeline("mlPipeline(until: 'gate-data')")
        assert release() == ['gate-data', 'checks']
        assert of('publishHTML').size() == 1
    }

    @Test
    void test_pull_request_never_releases() {
        env().CHANGE_ID = '12'
        pipeline('mlPipeline(release: true)')
        assert release() == GATES
    }

    @Test
    void test_pull_request_never_sees_the_credentials_of_the_release() {
        List<Map> bound = []
        step('withCredentials', [List, Closure]) { List bindings, Closure body -> bound.addAll(bindings); helper.callClosure(body) }
        String credentials = "credentials: [string(credentialsId: 'production', variable: 'T')]"
        pipeline("mlPipeline(${credentials})")
        assert bound*.credentialsId.toSet() == ['production'] as Set
        bound.clear()
        env().CHANGE_ID = '12'
        pipeline("mlPipeline(${credentials})")
        assert bound.empty
        pipeline("mlPipeline(${credentials}, pullRequestCredentials: [string(credentialsId: 'reading', variable: 'T')])")
        assert bound*.credentialsId.toSet() == ['reading'] as Set
    }

    @Test
    void test_release_branches_are_configurable() {
        env().BRANCH_NAME = 'release/2026'
        pipeline("mlPipeline(release: ['prod', 'release/*'])")
        assert release() == WHOLE
    }

    @Test
    void test_job_without_branch_name_takes_the_one_that_was_checked_out() {
        env().BRANCH_NAME = null
        pipeline('mlPipeline()')
        assert release() == WHOLE
    }

    @Test
    void test_newest_build_wins_behind_one_lock_per_service() {
        pipeline('mlPipeline()')
        List<String> order = happened.findAll { it.startsWith('milestone') || it.startsWith('lock') || it.startsWith('unlock') }
        assert order == ['milestone 1', 'lock mlpipeline-flights', 'milestone 2', 'unlock mlpipeline-flights']
        int lock = happened.indexOf('lock mlpipeline-flights')
        assert happened.subList(0, lock).count { it.startsWith('node ') && it != 'node ends' } == happened.subList(0, lock).count('node ends')
    }

    @Test
    void test_two_services_of_one_build_pass_milestones_of_their_own() {
        pipeline("mlPipeline(service: 'a'); mlPipeline(service: 'b')")
        assert of('milestone') == ['milestone 1', 'milestone 2', 'milestone 3', 'milestone 4']
        assert of('lock') == ['lock mlpipeline-a', 'lock mlpipeline-b']
    }

    @Test
    void test_agents_that_are_switched_off_are_named_and_not_waited_for_for_ever() {
        offline = [linux: ['agent-1', 'agent-2']]
        binding.getVariable('env').MLPIPELINE_AGENT_PATIENCE = '0s'
        String found = "every agent with the label 'linux' is offline: agent-1, agent-2"
        assert broken("mlPipeline(agent: 'linux')").message == "${found}; waited 0 seconds for one (MLPIPELINE_AGENT_PATIENCE)"
        assert happened.contains("echo mlPipeline: ${found}; waiting for one".toString())
        assert build.description.startsWith(found)
        assert of('node').empty
    }

    @Test
    void test_agent_that_comes_back_is_taken() {
        offline = [linux: ['agent-1']]
        backSoon = true
        pipeline("mlPipeline(agent: 'linux')")
        assert build.description == 'released: settle is well'
        assert happened.take(4).contains("echo mlPipeline: every agent with the label 'linux' is offline: agent-1; waiting for one")
        assert of('timeout').contains('timeout 1800 SECONDS')
    }

    @Test
    void test_end_of_the_whole_build_is_not_taken_for_the_end_of_waiting_for_an_agent() {
        offline = [linux: ['agent-1']]
        assert broken("mlPipeline(agent: 'linux')").message == 'Timeout has been exceeded'
        assert build.description == 'timed out: nobody'
    }

    @Test
    void test_without_the_plugin_that_knows_agents_jenkins_waits_as_ever() {
        missing = ['nodesByLabel']
        pipeline("mlPipeline(agent: 'linux')")
        assert build.description == 'released: settle is well'
    }

    @Test
    void test_older_build_ends_at_the_milestone_that_a_newer_one_passed() {
        Stopped superseded = new Stopped('Superseded by flights#8')
        helper.registerAllowedMethod('milestone', [Integer]) { Integer ordinal ->
            if (ordinal == 2) {
                throw superseded
            }
        }
        assert broken('mlPipeline()').is(superseded)
        assert release() == GATES
        assert held.empty
        assert build.description == 'superseded: flights#8'
    }

    @Test
    void test_abort_in_each_stage_surfaces_and_leaves_nothing_held() {
        for (String verb : WHOLE) {
            // One branch after the other here: what the first one throws does not keep the second from beginning.
            List<String> done = verb == 'gate-data' ? ['gate-data', 'checks'] : WHOLE.subList(0, WHOLE.indexOf(verb) + 1)
            Stopped aborted = new Stopped('Aborted by bob')
            Object before = answers[verb]
            answers[verb] = { Map args -> throw aborted }
            calls.clear()
            happened.clear()
            assert broken("mlPipeline(gpu: true)").is(aborted): verb
            assert held.empty && env().WORKSPACE == null: verb
            assert release() == done + (verb == 'switch' ? ['resume'] : []): verb
            assert build.description == 'aborted: bob': verb
            assert verbs().findAll { it != 'doctor-gpu' }.last() == 'history': verb
            answers[verb] = before
        }
    }

    @Test
    void test_second_abort_while_collecting_does_not_hide_the_first() {
        Stopped first = new Stopped('Aborted by bob')
        answers.train = { Map args -> throw first }
        answers.report = { Map args -> if ('train' in verbs()) { throw new Stopped('Aborted by carol') } else { [verdict: 'pass', summary: 'written'] } }
        assert broken('mlPipeline()').is(first)
    }

    @Test
    void test_what_cannot_be_collected_does_not_change_the_outcome() {
        answers.report = [silent: true, exitCode: 70]
        pipeline('mlPipeline()')
        assert build.description == 'released: settle is well'
        assert happened.any { it.startsWith('echo mlPipeline: the report could not be collected') }
    }

    @Test
    void test_worker_that_crashes_without_a_result_ends_the_build() {
        answers.train = [silent: true, exitCode: 0]
        assert broken('mlPipeline()').message.contains('the worker left no result (it ended with 0)')
        assert release() == ['gate-data', 'checks', 'train']
    }

    @Test
    void test_missing_configuration_is_said_before_anything_runs() {
        repository = []
        assert broken('mlPipeline()').message.contains('there is no mlpipeline.yaml in the repository; start with: mlpipeline init')
        assert calls.empty
    }

    @Test
    void test_project_in_a_folder() {
        repository = ['models/churn/mlpipeline.yaml']
        pipeline("mlPipeline(folder: 'models/churn')")
        assert release() == WHOLE
        assert archived.contains('models/churn/.mlpipeline/runs/r1/results/settle.json')
    }

    @Test
    void test_inside_a_node_it_ends_at_once_and_not_at_the_approval() {
        assert broken("node('linux') { mlPipeline() }").message.startsWith('mlPipeline must stand outside node')
        assert broken("node('linux') { mlNightly() }").message.startsWith('mlNightly must stand outside node')
        assert calls.empty
    }

    @Test
    void test_unknown_keys_are_refused_with_the_nearest() {
        assert broken("mlPipeline(agnet: 'gpu')").message == "mlPipeline: unknown key 'agnet'; did you mean 'agent'?"
        assert broken("mlPipeline(agent: 5)").message == 'mlPipeline: agent must be a String, not java.lang.Integer'
        assert broken("mlPipeline(until: 'train')").message.contains('must be one of gate-data, gate-model')
        assert broken("mlPipeline(folder: '../other')").message.contains('must lie inside the repository')
        assert broken("mlPipeline(checks: ['data gate': 'true'])").message.contains("may not be called 'data gate'")
        assert broken("mlPipeline(checks: ['project checks': 'true'])").message.contains("may not be called 'project checks'")
        assert broken("mlPipeline(approve: [submiters: 'a'])").message == "mlPipeline: approve: unknown key 'submiters'; did you mean 'submitters'?"
        assert broken("mlPipeline(gpu: [cuont: 2])").message.contains("gpu: unknown key 'cuont'")
        assert broken("mlPipeline(notify: [slak: 'x'])").message.contains("notify: unknown key 'slak'")
        assert broken("mlPipeline(checks: [lint: 5])").message == "mlPipeline: the check 'lint' must be a shell command or steps in braces"
        assert calls.empty
    }

    @Test
    void test_checks_of_the_project_run_beside_the_data_gate() {
        pipeline("mlPipeline(checks: [tests: 'make test', lint: { echo 'linted' }])")
        assert of('branch') == ['branch data gate', 'branch project checks', 'branch tests', 'branch lint']
        assert happened.contains('sh make test') && happened.contains('echo linted')
        assert happened.indexOf('sh make test') < happened.indexOf('stage Train')
    }

    @Test
    void test_failed_check_stops_before_training() {
        assert broken("mlPipeline(checks: [lint: { error('two findings') }])").message == 'two findings'
        assert release() == ['gate-data', 'checks']
    }

    @Test
    void test_training_on_leased_gpus_and_none_held_at_the_approval() {
        answers.approve = { Map args -> assert held == ['mlpipeline-flights']; [verdict: 'pass', summary: 'not required', evidence: [:]] }
        pipeline("mlPipeline(gpu: [count: 2, memory: '16GiB'])")
        assert calls.find { it.verb == 'train' }.visible == '0,1'
        assert calls.find { it.verb == 'gate-data' }.visible == null
        assert calls.find { it.verb == 'doctor-gpu' }.args.findAll { it.key != 'meter' } == [devices: '0,1', count: 2, memory: '16GiB']
        assert happened.indexOf('unlock gpu') < happened.indexOf('stage Package')
    }

    @Test
    void test_missing_plugins_are_named_with_the_path_taken() {
        missing = ['lock', 'milestone', 'junit', 'publishHTML']
        pipeline('mlPipeline()')
        assert release() == WHOLE
        for (String plugin : ['lockable-resources', 'pipeline-milestone-step', 'junit', 'htmlpublisher']) {
            assert happened.any { it.startsWith("echo mlPipeline: the plugin ${plugin} is not installed: ") }: plugin
        }
    }

    @Test
    void test_properties_are_declared_only_when_asked_for() {
        pipeline('mlPipeline()')
        assert of('properties').empty
        pipeline("mlPipeline(cron: 'H 3 * * *')")
        assert of('properties') == ['properties [[triggers:[[cron:H 3 * * *]]]]']
    }

    @Test
    void test_first_release_has_nothing_to_compare_with() {
        answers.switch = [verdict: 'pass', summary: 'first', evidence: [first: true]]
        pipeline('mlPipeline()')
        assert release() == WHOLE - 'verify'
    }

    @Test
    void test_release_taken_back_by_verification_is_not_settled() {
        answers.switch = [verdict: 'fail', summary: 'errors 4 % against 0.1 %; users are back on blue']
        assert broken('mlPipeline()').message.contains('users are back on blue')
        assert release().last() == 'switch'
        assert of('publishHTML').size() == 1
    }

    @Test
    void test_description_holds_no_markup_and_one_line() {
        answers.'gate-data' = [verdict: 'fail', summary: '<script>alert(1)</script>\nsecond line']
        broken('mlPipeline()')
        assert !build.description.contains('<') && !build.description.contains('\n')
    }

    @Test
    void test_malicious_names_stay_data() {
        String evil = 'x\'; touch /tmp/pwned; $(id) `id` ${env.HOME}\n"'
        env().BRANCH_NAME = evil
        binding.setVariable('evil', evil)
        pipeline('mlPipeline(release: [evil], config: [train: [command: evil]])')
        assert release() == WHOLE
        assert calls[0].args == [release: true, config: [train: [command: evil]]]
        assert of('sh').every { it ==~ 'sh exec sh [A-Za-z0-9./_ -]+' }
    }
}
