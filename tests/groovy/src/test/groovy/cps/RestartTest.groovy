package cps

import org.junit.Test
import org.mlpipeline.cps.Report
import org.mlpipeline.cps.Scenario.Answer

/** The controller dies; a new virtual machine goes on from the file. */
class RestartTest extends CpsWorld {

    @Test
    void test_release_goes_on_after_restarts_in_training_and_in_the_approval() {
        approvalNeeded()
        scenario.answers.add(new Answer('carol', true, 60))
        scenario.restartAt = ['^sh .*label=mlpipeline train ', '^input ']
        Report report = run('mlPipeline()')
        assert report.restarts == 2
        assert report.result == 'SUCCESS', report.log
        assert verbs(report).unique() - 'mirror' == VERBS
        assert new File(answers, 'calls').list().findAll { it.startsWith('train.') } == ['train.1']
    }
}
