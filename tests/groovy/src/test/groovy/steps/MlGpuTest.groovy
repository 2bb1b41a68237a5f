package steps

import org.junit.Before
import org.junit.Test

class MlGpuTest extends JenkinsWorld {

    /** Folders of meters that run. */
    List<String> running = []
    Map use = [devices: ['GPU-0'], held_seconds: 61.5, busy_seconds: 40.0, peak_memory_bytes: 17179869184, energy_joules: 500.0, samples: 61]

    @Before
    void meters() {
        answers.'doctor-gpu' = { Map args -> metering(args) }
    }

    Map metering(Map args) {
        if (args.metered) {
            assert running.remove(args.metered): "no meter runs in ${args.metered}"
            return [verdict: use.trouble ? 'inconclusive' : 'pass', summary: '62 GPU seconds', evidence: [use: use]]
        }
        running << args.meter
        return [verdict: 'pass', summary: '1 GPUs are fit']
    }

    @Test
    void test_body_sees_exactly_the_leased_devices_on_their_machine() {
        Map usage = (Map) pipeline("mlGpu(count: 2, memory: '16GiB') { mlWorker(verb: 'train'); 42 }")
        assert calls.find { it.verb == 'train' }.visible == '0,1'
        assert of('node') == ['node box', 'node ends']
        assert usage.devices == '0,1' && usage.value == 42
        assert usage.gpu_seconds == 2 * usage.seconds
        assert [usage.energy_joules, usage.busy_seconds, usage.peak_memory_bytes, usage.samples] == [500.0, 40.0, 17179869184, 61]
        assert running.empty
        assert env().CUDA_VISIBLE_DEVICES == null
    }

    @Test
    void test_devices_are_checked_before_the_body() {
        answers.'doctor-gpu' = [verdict: 'error', summary: 'GPU 0 (H100): others compute on it: process 4711']
        assert broken("mlGpu { mlWorker(verb: 'train') }").message.contains('others compute on it: process 4711')
        assert verbs() == ['doctor-gpu']
        assert calls[0].args.subMap(['devices', 'count']) == [devices: '0', count: 1]
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
        assert happened.contains('echo mlGpu: 0: 62 GPU seconds')
        assert running.empty && verbs() == ['doctor-gpu', 'train', 'doctor-gpu']
    }

    @Test
    void test_second_abort_while_the_meter_is_read_does_not_hide_the_first() {
        Stopped first = new Stopped('Aborted by bob')
        answers.train = { Map args -> answers.'doctor-gpu' = { Map asked -> throw new Stopped('Aborted by carol') }; throw first }
        assert broken("mlGpu { mlWorker(verb: 'train') }").is(first)
        assert held.empty
    }

    @Test
    void test_meter_lies_beside_the_workspace_that_a_checkout_cleans() {
        pipeline("mlGpu { echo('body') }")
        assert calls[0].args.meter ==~ '/workspace@tmp/mlpipeline-gpu-[0-9a-f-]{36}'
    }

    @Test
    void test_numbers_of_a_meter_that_was_killed_are_those_until_then() {
        use.trouble = 'the meter was killed; numbers are those until then'
        assert pipeline("mlGpu { 'made' }").subMap(['value', 'trouble', 'energy_joules']) == [value: 'made', trouble: use.trouble, energy_joules: 500.0]
    }

    @Test
    void test_meter_that_cannot_be_read_does_not_undo_the_body() {
        for (Map trouble : [[verdict: 'error', summary: 'no disk'], [silent: true, exitCode: 70], [verdict: 'inconclusive', summary: 'no meter']]) {
            answers.'doctor-gpu' = { Map args -> args.metered ? trouble : [verdict: 'pass', summary: 'fit'] }
            Map usage = (Map) pipeline("mlGpu { 'made' }")
            assert usage.value == 'made' && usage.gpu_seconds == usage.seconds
            assert !usage.containsKey('energy_joules')
        }
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
