package steps

import org.junit.Test

class MlPipelineTest extends JenkinsWorld {

    static final List<String> WHOLE = ['gate-data', 'train', 'gate-model', 'package', 'register', 'deploy', 'approve', 'switch', 'verify', 'settle']

    List<String> release() {
        return verbs().findAll { !(it in ['report', 'history']) }
    }

    @Test
    void test_green_path_runs_every_verb_once_and_in_order() {
        pipeline('mlPipeline()')
        assert release() == WHOLE
        assert of('stage') == ['Data gate', 'Train', 'Model gate', 'Package', 'Register', 'Deploy', 'Approve', 'Switch', 'Verify', 'Settle'].collect { "stage $it" }
        assert build.description == 'released: settle is well'
        assert build.result == null
    }
}
