package cps

import org.junit.Test
import org.mlpipeline.cps.Controller
import org.mlpipeline.cps.Report
import org.mlpipeline.cps.Scenario
import org.mlpipeline.cps.Scenario.Answer

/** Builds of one job that run at the same time, with the locks and milestones of one controller between them. */
class TogetherTest extends CpsWorld {

    private Controller controller

    /** A build beside the others, with answers of its own. */
    private Scenario beside(int number, String jenkinsfile) {
        Scenario own = new Scenario()
        own.env = [BRANCH_NAME: 'main', BUILD_NUMBER: "${number}".toString()]
        own.repository = scenario.repository
        own.resources = scenario.resources
        own.resourceProperties = scenario.resourceProperties
        own.jenkinsfile = jenkinsfile
        File told = folder.newFolder("answers-${number}")
        answers.listFiles().findAll { it.file }.each { new File(told, it.name).bytes = it.bytes }
        own.agent = scenario.agent + [ANSWERS: told.path]
        return own
    }

    private Map<Integer, Report> together(List<Scenario> builds) {
        controller = new Controller(ROOT.toPath(), home.toPath())
        Map<Integer, Report> reports = controller.run(builds)
        reports.each { number, report -> assert report.violations.empty, "${number}: ${report.violations.join('\n')}" }
        return reports
    }

    private int at(String pattern) {
        int found = controller.happened.findIndexOf { it =~ pattern }
        assert found >= 0, pattern
        return found
    }

    @Test
    void test_of_three_builds_the_newest_follows_the_one_that_releases_and_the_one_between_gives_way() {
        approvalNeeded()
        List<Scenario> builds = [7, 8, 9].collect { beside(it, 'mlPipeline()') }
        // The first holds the service while a person thinks for an hour; the others come meanwhile.
        builds*.answers.each { it.add(new Answer('carol', true, 3600)) }
        File asked = new File(folder.root, 'asked')
        new File(builds[0].agent.ANSWERS, 'mirror.sh').setText("touch ${asked}\n", 'UTF-8')
        builds[1].onceThereIs = asked.path
        builds[2].onceThereIs = asked.path

        Map<Integer, Report> reports = together(builds)

        assert reports.collectEntries { [it.key, it.value.result] } == [7: 'SUCCESS', 8: 'NOT_BUILT', 9: 'SUCCESS']
        assert reports[8].error.contains('Superseded by iris#9') && reports[8].description == 'superseded: iris#9'
        assert !verbs(reports[8]).any { it in ['package', 'register', 'deploy', 'approve', 'switch', 'settle'] }
        assert verbs(reports[9]).last() == 'settle'
        assert reports.values().every { it.held.empty }
        // One at a time: the second release begins when the first has ended, though it waited long before.
        assert at('^9 lock .*mlpipeline-flights') < at('^7 sh .*mlpipeline switch')
        assert at('^7 end of lock') < at('^9 sh .*mlpipeline package')
    }

    @Test
    void test_older_build_that_still_trains_gives_way_and_frees_its_gpu() {
        scenario.resources = [gpu: ['box-gpu0', 'box-gpu1']]
        scenario.resourceProperties = ['box-gpu0': [DEVICE: '0', NODE: 'box'], 'box-gpu1': [DEVICE: '1', NODE: 'box']]
        List<Scenario> builds = [7, 8].collect { beside(it, 'mlPipeline(gpu: true)') }
        File began = new File(folder.root, 'began')
        new File(builds[0].agent.ANSWERS, 'train.sh').setText("touch ${began}; exec sleep 3600\n", 'UTF-8')
        builds[1].onceThereIs = began.path

        Map<Integer, Report> reports = together(builds)

        assert [reports[7].result, reports[8].result] == ['NOT_BUILT', 'SUCCESS']
        assert reports[7].error.contains('FlowInterruptedException: Superseded by iris#8')
        assert verbs(reports[7]).findAll { it != 'doctor-gpu' }.last() == 'train'
        assert new File(builds[0].agent.ANSWERS, 'calls/train.1/env').text.contains('CUDA_VISIBLE_DEVICES=0\n')
        assert new File(builds[1].agent.ANSWERS, 'calls/train.1/env').text.contains('CUDA_VISIBLE_DEVICES=1\n')
        assert reports.values().every { it.held.empty }
        assert at('^7 end of lock') < at('^8 sh .*mlpipeline settle')
    }

    @Test
    void test_second_build_waits_for_the_only_gpu_without_an_executor() {
        scenario.resources = [gpu: ['box-gpu0']]
        scenario.resourceProperties = ['box-gpu0': [DEVICE: '0', NODE: 'box']]
        List<Scenario> builds = [7, 8].collect { beside(it, 'mlPipeline(gpu: true, release: false)') }

        Map<Integer, Report> reports = together(builds)

        assert reports.values().every { it.result == 'SUCCESS' && it.held.empty }
        int first = reports.find { int number, Report report -> at("^${number} lock label=gpu") < at("^${15 - number} lock label=gpu") }.key
        assert at("^${first} end of lock") < at("^${15 - first} node label=box")
    }
}
