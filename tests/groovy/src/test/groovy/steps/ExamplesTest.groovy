package steps

import org.junit.Before
import org.junit.Test

/** The examples of docs/examples run, scripted and declarative ones. */
class ExamplesTest extends JenkinsWorld {

    /** The agents of the enclosing declarative blocks; null: none. */
    List<String> agents = [null]

    @Before
    void declarative() {
        binding.setVariable('_', null)
        binding.setVariable('none', null)
        binding.setVariable('params', [WHY: 'complaints'])
        answers.nightly = [verdict: 'pass', summary: 'steady', evidence: [retrain: false]]
        answers.status = [verdict: 'pass', summary: 'blue is live']
        answers.'jenkins-health' = [verdict: 'pass', summary: 'healthy']
        for (String block : ['pipeline', 'stages', 'post', 'success', 'script']) {
            step(block, [Closure]) { Closure body -> helper.callClosure(body) }
        }
        for (String ignored : ['options', 'when', 'failure', 'parameters']) {
            step(ignored, [Closure]) { Closure body -> null }
        }
        step('agent', [Object]) { Object which ->
            agents[-1] = null
            if (which instanceof Closure) {
                helper.callClosure(which)
            }
        }
        step('label', [String]) { String label -> agents[-1] = label }
        step('stage', [String, Closure]) { String name, Closure body ->
            agents << agents[-1]
            helper.callClosure(body)
            agents.pop()
        }
        step('steps', [Closure]) { Closure body ->
            if (agents[-1] == null) {
                return helper.callClosure(body)
            }
            node(agents[-1]) { repository.each { files[it] = '' }; helper.callClosure(body) }
        }
    }

    Object example(String name) {
        return pipeline(new File(ROOT, "docs/examples/${name}.Jenkinsfile").getText('UTF-8').replace("@Library('mlpipeline@v1') _\n", ''))
    }

    List<String> release() {
        return verbs() - ['report', 'history', 'doctor-gpu']
    }

    @Test
    void test_all_examples_are_tested_here_and_pin_a_version() {
        List<String> names = new File(ROOT, 'docs/examples').list().findAll { it.endsWith('.Jenkinsfile') }*.replace('.Jenkinsfile', '').sort()
        String here = new File(ROOT, 'tests/groovy/src/test/groovy/steps/ExamplesTest.groovy').text
        for (String name : names) {
            assert here.contains("example('${name}')"): name
            assert new File(ROOT, "docs/examples/${name}.Jenkinsfile").text.startsWith("@Library('mlpipeline@v1') _\n"): name
        }
    }

    @Test
    void test_minimal() {
        example('minimal')
        assert release() == MlPipelineTest.WHOLE
    }

    @Test
    void test_release() {
        example('release')
        assert release() == MlPipelineTest.WHOLE
        assert of('branch') == ['branch data gate', 'branch project checks', 'branch unit tests', 'branch lint', 'branch security']
    }

    @Test
    void test_nightly() {
        example('nightly')
        assert verbs() == ['nightly', 'jenkins-health']
    }

    @Test
    void test_scripted() {
        example('scripted')
        assert release() == MlPipelineTest.WHOLE - 'checks'
        assert of('mail').size() == 1
    }

    @Test
    void test_scripted_failure_is_told_and_thrown() {
        answers.train = [verdict: 'fail', summary: 'diverged']
        Throwable stopped = null
        try {
            example('scripted')
        } catch (Aborted problem) {
            stopped = problem
        }
        assert stopped.message == 'train: fail: diverged'
        assert of('mail')[0].contains('failed train: fail: diverged')
    }

    @Test
    void test_declarative() {
        example('declarative')
        assert release() == MlPipelineTest.WHOLE - ['checks', 'verify']
        assert of('node').findAll { it != 'node ends' } == ['node linux'] * 4
    }

    @Test
    void test_declarative_gpu() {
        example('declarative-gpu')
        assert release() == MlPipelineTest.GATES - 'checks'
        assert calls.find { it.verb == 'train' }.visible == '0'
    }

    @Test
    void test_rollback() {
        example('rollback')
        assert calls*.args == [[reason: 'complaints']]
        assert of('mail')[0].contains('rolled back complaints')
    }

    @Test
    void test_status() {
        example('status')
        assert happened.contains('echo blue is live')
    }

    @Test
    void test_the_repository_uses_its_own_library() {
        step('library', [Map]) { Map how -> happened << "library ${how.identifier} ${how.retriever}".toString() }
        step('legacySCM', [Map]) { Map scm -> scm.kind }
        answers.init = [verdict: 'pass', summary: 'wrote mlpipeline.yaml']
        pipeline(new File(ROOT, 'Jenkinsfile').text)
        assert happened[0] == 'library mlpipeline@this-commit scm'
        assert of('sh').take(2) == ['sh make lint', 'sh make test TESTS=--junitxml=../build/tests.xml']
        assert calls*.args == [[project: 'build/trial', service: 'trial']]
        assert of('junit').size() == 1
    }
}
