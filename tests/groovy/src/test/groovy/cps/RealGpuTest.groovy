package cps

import static org.junit.Assume.assumeTrue

import groovy.json.JsonSlurper
import org.junit.Before
import org.junit.Test
import org.mlpipeline.cps.Report

/** The worker's own meter around any body, on a driver that is written for the test: it outlives what happens to the build. */
class RealGpuTest extends CpsWorld {

    @Before
    void makeMachine() {
        File worker = new File(ROOT, '.venv/bin/mlpipeline')
        if (System.getenv('CI') == 'true') {
            assert worker.canExecute(), 'this test needs .venv with the worker: make setup'
        }
        assumeTrue('this test needs .venv with the worker: make setup', worker.canExecute())
        File driver = folder.newFolder('driver')
        new File(driver, 'pynvml.py').setText("""\
            import sys
            sys.path.insert(0, '${new File(ROOT, 'tests/python')}')
            from fake_nvml import *
            from fake_nvml import Card, FakeNvml
            class Filling(FakeNvml):
                def nvmlDeviceGetMemoryInfo(self, card):
                    card.free -= 1 << 30
                    card.millijoules += 5000
                    return super().nvmlDeviceGetMemoryInfo(card)
            sys.modules['pynvml'] = Filling(Card(), Card(free=60 << 30))
            """.stripIndent(), 'UTF-8')
        scenario.agent = [MLPIPELINE_WORKER: worker.path, PATH: System.getenv('PATH'), HOME: folder.newFolder('agent').path, PYTHONPATH: driver.path]
        scenario.resources = [gpu: ['box-gpu0', 'box-gpu1']]
        scenario.resourceProperties = ['box-gpu0': [DEVICE: '0', NODE: 'box'], 'box-gpu1': [DEVICE: '1', NODE: 'box']]
    }

    /** What the meter that was read last saw. */
    private Map use() {
        List<File> results = []
        home.eachFileRecurse { File file -> if (file.name == 'result.json' && file.path.contains('doctor-gpu')) { results << file } }
        return results.collect { (Map) new JsonSlurper().parse(it) }*.evidence.find { it.use }?.use
    }

    private List<String> meters() {
        return new File('/proc').list().findAll { it.number && told(it).contains(folder.root.path) && told(it).contains('gpu.sampler') }
    }

    private static String told(String process) {
        try {
            return new File("/proc/${process}/cmdline").getText('ISO-8859-1')
        } catch (IOException gone) {
            return ''
        }
    }

    @Test
    void test_any_body_is_metered_and_the_numbers_survive_a_restart_of_the_controller() {
        scenario.restartAt = ['^echo message=the body runs']
        Report report = run("usage = mlGpu(count: 2) { echo('the body runs'); 42 }\necho(\"peak \${usage.peak_memory_bytes > 0} value \${usage.value}\")")
        assert report.result == 'SUCCESS', report.log
        assert report.restarts == 1
        assert report.calls.contains('echo message=peak true value 42')
        assert use().samples >= 2 && use().energy_joules > 0 && use().devices == ['GPU-0', 'GPU-1']
        assert meters().empty
    }

    @Test
    void test_a_stopped_body_is_metered_too_and_leaves_no_meter() {
        File begun = new File(folder.root, 'begun')
        scenario.onceThereIs = begun.path
        scenario.abortAt = '^sh script=touch'
        Report report = run("mlGpu { sh('touch ${begun}; exec sleep 3600') }")
        assert report.result == 'ABORTED', report.log
        assert report.error.contains('FlowInterruptedException: Aborted by Bob Example')
        assert use().samples >= 1 && report.log.contains('GPU seconds')
        assert report.held.empty && meters().empty
    }

    @Test
    void test_machine_without_a_driver_is_told_before_the_body() {
        new File(folder.root, 'driver/pynvml.py').append('\nsys.modules["pynvml"].driver = False\n')
        Report report = run("mlGpu { echo('the body runs') }")
        assert report.result == 'FAILURE'
        assert report.error.contains('the NVIDIA driver does not answer'), report.log
        assert report.of('echo').findAll { it.contains('the body runs') }.empty
        assert report.held.empty && meters().empty
    }
}
