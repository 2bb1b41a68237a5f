package cps

import org.junit.Test
import org.mlpipeline.cps.Report

/** Stopped builds: the same exception surfaces everywhere, what was held is free, and users stay where they are. */
class StopTest extends CpsWorld {

    /** The build is stopped once the worker is really in the middle of this verb. */
    Report stoppedIn(String verb, String jenkinsfile = 'mlPipeline()') {
        File begun = new File(folder.root, 'begun')
        instead(verb, "touch ${begun}; exec sleep 3600")
        scenario.abortAt = "^sh .*label=mlpipeline ${verb.replace('-', ' ')} "
        scenario.onceThereIs = begun.path
        return run(jenkinsfile)
    }

    void abortedBeforeSwitch(Report report) {
        assert report.result == 'ABORTED', report.log
        assert report.error.contains('FlowInterruptedException: Aborted by Bob Example')
        assert report.description == 'aborted: Bob Example'
        assert !verbs(report).contains('switch')
    }

    @Test
    void test_stop_in_the_data_gate() {
        abortedBeforeSwitch(stoppedIn('gate-data'))
    }

    @Test
    void test_stop_in_training_on_a_gpu_frees_the_device() {
        scenario.resources = [gpu: ['box-gpu0', 'box-gpu1']]
        scenario.resourceProperties = ['box-gpu0': [DEVICE: '0', NODE: 'box'], 'box-gpu1': [DEVICE: '1', NODE: 'box']]
        Report report = stoppedIn('train', 'mlPipeline(gpu: true)')
        abortedBeforeSwitch(report)
        assert report.calls.findIndexOf { it.startsWith('lock ') } < report.calls.findIndexOf { it.startsWith('node label=box') }
        assert report.of('end of lock').size() == 1
        assert report.held.empty
        assert seen('train').contains('CUDA_VISIBLE_DEVICES=0\n')
    }

    @Test
    void test_stop_in_the_model_gate() {
        abortedBeforeSwitch(stoppedIn('gate-model'))
    }

    @Test
    void test_stop_in_deployment_collects_the_record() {
        Report report = stoppedIn('deploy')
        abortedBeforeSwitch(report)
        assert report.archived.contains('.mlpipeline/runs/r1/register.json')
    }

    @Test
    void test_stop_in_each_other_stage_surfaces_as_it_was_and_frees_the_service() {
        for (String verb : ['package', 'register', 'verify', 'settle']) {
            home = new File(folder.root, "build-${verb}")
            Report report = stoppedIn(verb)
            assert report.result == 'ABORTED': verb
            assert report.error.contains('FlowInterruptedException: Aborted by Bob Example'): verb
            assert report.description == 'aborted: Bob Example': verb
            assert verbs(report).last() == verb: verb
            assert report.held.empty && report.archived.any { it.startsWith('.mlpipeline/runs/r1/') }: verb
            new File(answers, "${verb}.sh").delete()
            new File(folder.root, 'begun').delete()
        }
    }

    @Test
    void test_stop_in_a_check_of_the_project_ends_the_data_gate_beside_it() {
        File begun = new File(folder.root, 'begun')
        scenario.abortAt = '^sh script=touch'
        scenario.onceThereIs = begun.path
        Report report = run("mlPipeline(checks: [tests: 'touch ${begun}; exec sleep 3600'])")
        abortedBeforeSwitch(report)
        assert !verbs(report).contains('train')
    }

    @Test
    void test_stop_in_the_switch_is_not_swallowed() {
        Report report = stoppedIn('switch')
        assert report.result == 'ABORTED', report.log
        assert report.error.contains('FlowInterruptedException: Aborted by Bob Example')
        assert verbs(report).takeRight(2) == ['switch', 'resume']
        assert report.held.empty
        assert report.archived.contains('.mlpipeline/runs/r1/resume.json')
    }

    @Test
    void test_worker_that_is_killed_in_the_switch_is_followed_by_one_that_puts_users_in_order() {
        instead('switch', 'kill -9 $$')
        Report report = run('mlPipeline()')
        assert report.result == 'FAILURE'
        assert report.error.contains('the worker left no result'), report.log
        assert verbs(report).takeRight(2) == ['switch', 'resume']
        assert report.held.empty
    }

    @Test
    void test_agent_that_is_lost_in_the_switch_is_followed_by_another_that_puts_users_in_order() {
        File begun = new File(folder.root, 'begun')
        instead('switch', "touch ${begun}; exec sleep 3600")
        scenario.agentLostAt = '^sh .*label=mlpipeline switch '
        scenario.onceThereIs = begun.path
        Report report = run('mlPipeline()')
        assert report.result == 'ABORTED'
        assert report.description.startsWith('agent lost: ')
        assert verbs(report).takeRight(2) == ['switch', 'resume']
        int lost = report.calls.findIndexOf { it =~ '^sh .*label=mlpipeline switch ' }
        int next = report.calls.findIndexOf { it =~ '^sh .*label=mlpipeline resume ' }
        assert report.calls.subList(lost, next).any { it.startsWith('node ') }
    }

    @Test
    void test_agent_that_is_lost_in_training_is_said_and_the_record_is_collected_on_another() {
        File begun = new File(folder.root, 'begun')
        instead('train', "touch ${begun}; exec sleep 3600")
        scenario.agentLostAt = '^sh .*label=mlpipeline train '
        scenario.onceThereIs = begun.path
        scenario.resources = [gpu: ['box-gpu0']]
        scenario.resourceProperties = ['box-gpu0': [DEVICE: '0', NODE: 'box']]
        Report report = run('mlPipeline(gpu: true)')
        assert report.result == 'ABORTED', report.log
        assert report.error.contains('Timeout waiting for agent to come back')
        assert report.description == 'agent lost: Timeout waiting for agent to come back'
        assert report.held.empty && !verbs(report).contains('package')
        assert report.archived.contains('.mlpipeline/runs/r1/gate-data.json')
    }

    @Test
    void test_agents_that_are_switched_off_are_named_and_the_build_does_not_wait_for_ever() {
        scenario.offlineAgents = [linux: ['agent-1', 'agent-2']]
        scenario.env.MLPIPELINE_AGENT_PATIENCE = '0s'
        Report report = run("mlPipeline(agent: 'linux')")
        assert report.result == 'FAILURE'
        assert report.error.contains("every agent with the label 'linux' is offline: agent-1, agent-2; waited 0 seconds")
        assert report.of('sh').empty
        scenario.env.remove('MLPIPELINE_AGENT_PATIENCE')
        scenario.agentsBackAt = 100
        home = new File(folder.root, 'later')
        assert run("mlPipeline(agent: 'linux', release: false)").result == 'SUCCESS'
    }

    @Test
    void test_older_build_that_waits_for_the_service_gives_way_to_a_newer_one() {
        scenario.heldElsewhere.add('mlpipeline-flights')
        scenario.supersededAt = '^lock resource=mlpipeline-flights'
        Report report = run('mlPipeline()')
        assert report.result == 'NOT_BUILT', report.log
        assert report.error.contains('Superseded by')
        assert !verbs(report).contains('package')
    }

    @Test
    void test_of_two_builds_at_once_the_newer_one_waits_for_the_service_and_goes_on() {
        scenario.env.BUILD_NUMBER = '8'
        scenario.heldElsewhere.add('mlpipeline-flights')
        scenario.freedAfter = 1800
        Report report = run('mlPipeline()')
        assert report.result == 'SUCCESS', report.log
        assert verbs(report) == VERBS
        assert report.calls.any { it ==~ 'lock .*resource=mlpipeline-flights.*' && it.contains('inversePrecedence=true') }
        List<String> order = report.calls.findAll { it ==~ '(milestone|lock|end of lock) .*' }*.tokenize()*.first()
        assert order == ['milestone', 'lock', 'milestone', 'end']
        assert report.held.empty
    }

    @Test
    void test_whole_pipeline_is_bounded_in_time() {
        scenario.heldElsewhere.add('mlpipeline-flights')
        Report report = run("mlPipeline(timeout: '2h')")
        assert report.result == 'ABORTED'
        assert report.error.contains('Timeout has been exceeded')
        assert !verbs(report).contains('package')
    }
}
