package steps

import org.junit.Before
import org.junit.Test

class MlGpuTest extends JenkinsWorld {

    int joules = 1000

    @Before
    void meters() {
        answers.'doctor-gpu' = { Map args -> joules += 500; [verdict: 'pass', summary: '1 GPUs are fit', evidence: [energy_joules: joules]] }
    }

    @Test
    void test_body_sees_exactly_the_leased_devices_on_their_machine() {
        Map usage = (Map) pipeline("mlGpu(count: 2, memory: '16GiB') { mlWorker(verb: 'train'); 42 }")
        assert calls.find { it.verb == 'train' }.visible == '0,1'
        assert of('node') == ['node box', 'node ends']
        assert usage.devices == '0,1' && usage.value == 42
        assert usage.gpu_seconds == 2 * usage.seconds
        assert usage.energy_joules == 500
        assert env().CUDA_VISIBLE_DEVICES == null
    }

    @Test
    void test_devices_are_checked_before_the_body() {
        answers.'doctor-gpu' = [verdict: 'error', summary: 'GPU 0 (H100): others compute on it: process 4711']
        assert broken("mlGpu { mlWorker(verb: 'train') }").message.contains('others compute on it: process 4711')
        assert verbs() == ['doctor-gpu']
        assert calls[0].args == [devices: '0', count: 1]
        assert held.empty
    }

    @Test
    void test_machine_without_driver_is_a_clear_error() {
        answers.'doctor-gpu' = [verdict: 'error', summary: 'this machine has no NVIDIA driver']
        assert broken('mlGpu { }').message == 'mlpipeline doctor-gpu: this machine has no NVIDIA driver (exit 3)'
    }

    @Test
    void test_lock_comes_before_node_and_time_out_inside_the_lock() {
        pipeline("mlGpu(timeout: '2h') { echo('body') }")
        List<String> order = happened.findAll { it ==~ /(lock|timeout|node|unlock|node ends|echo body).*/ }
        assert order == ['lock gpu', 'timeout 7200 SECONDS', 'node box', 'echo body', 'node ends', 'unlock gpu']
    }

    @Test
    void test_abort_releases_the_devices_and_surfaces() {
        Stopped aborted = new Stopped('Aborted by bob')
        answers.train = { Map args -> throw aborted }
        assert broken("mlGpu { mlWorker(verb: 'train') }").is(aborted)
        assert held.empty && env().WORKSPACE == null
        assert happened.any { it ==~ /echo mlGpu: 0: \d+ GPU seconds/ }
    }

    @Test
    void test_unfit_device_after_the_body_does_not_undo_it() {
        int looks = 0
        answers.'doctor-gpu' = { Map args -> looks++ ? [verdict: 'error', summary: 'hot'] : [verdict: 'pass', summary: 'fit'] }
        assert pipeline("mlGpu { 'made' }").value == 'made'
        looks = 0
        answers.'doctor-gpu' = { Map args -> looks++ ? [silent: true, exitCode: 70] : [verdict: 'pass', summary: 'fit'] }
        assert pipeline("mlGpu { 'made' }").value == 'made'
    }

    @Test
    void test_unknown_label_is_named_and_no_resource_is_made_up() {
        assert broken("mlGpu(label: 'tpu') { }").message.contains("no lockable resource has the label 'tpu'")
    }

    @Test
    void test_resource_without_device_is_named() {
        labels.gpu = [[name: 'box-gpu0', NODE: 'box']]
        assert broken('mlGpu { }').message.contains("the lockable resource 'box-gpu0' needs a property DEVICE")
        labels.gpu = [[name: 'box-gpu0', NODE: 'box', DEVICE: '0; rm -rf /']]
        assert broken('mlGpu { }').message.contains("not '0; rm -rf /'")
        assert calls.empty
    }

    @Test
    void test_devices_of_several_machines_cannot_serve_one_body() {
        labels.gpu = [[name: 'a', NODE: 'one', DEVICE: '0'], [name: 'b', NODE: 'two', DEVICE: '0']]
        assert broken('mlGpu(count: 2) { }').message.contains('are on several machines (one, two)')
    }

    @Test
    void test_without_the_plugin_nothing_runs() {
        missing = ['lock']
        assert broken("mlGpu { mlWorker(verb: 'train') }").message == 'mlGpu needs the plugin lockable-resources: without it two builds would share a device'
        assert calls.empty
    }

    @Test
    void test_a_count_of_nothing_would_take_everything() {
        assert broken('mlGpu(count: 0) { }').message.contains('count must be at least 1')
        assert broken("mlGpu(timeout: 'soon') { }").message.contains("not 'soon'")
        assert broken('mlGpu(cuont: 1) { }').message == "mlGpu: unknown key 'cuont'; did you mean 'count'?"
        assert of('lock').empty
    }
}
