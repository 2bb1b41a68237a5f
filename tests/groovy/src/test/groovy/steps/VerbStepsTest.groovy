package steps

import org.junit.Test

/** The steps that run one verb each: mlGate, mlTrain, mlPackage, mlDeploy, mlSwitch, mlVerify, mlRollback. */
class VerbStepsTest extends JenkinsWorld {

    static final Map<String, String> CALLS = [
        'gate-data': "mlGate(kind: 'data')", 'gate-model': "mlGate(kind: 'model')", train: 'mlTrain()', 'package': 'mlPackage()',
        deploy: 'mlDeploy()', 'switch': 'mlSwitch()', verify: 'mlVerify()', rollback: "mlRollback(why: 'complaints')",
    ]

    Object inNode(String call) {
        return pipeline("node('') { ${call} }")
    }

    Throwable brokenInNode(String call) {
        return broken("node('') { ${call} }")
    }

    static String with(String call, String more) {
        return call.endsWith('()') ? call.replace('()', "(${more})") : call.replace(')', ", ${more})")
    }

    @Test
    void test_each_runs_its_verb_and_returns_the_result() {
        CALLS.each { String verb, String call ->
            calls.clear()
            Map result = (Map) inNode(call)
            assert verbs()[0] == verb
            assert result.verdict == 'pass' && result.exitCode == 0
        }
    }

    @Test
    void test_each_ends_the_build_unless_the_verdict_is_pass() {
        CALLS.each { String verb, String call ->
            for (String verdict : ['fail', 'inconclusive']) {
                answers[verb] = [verdict: verdict, summary: 'the reason']
                assert brokenInNode(call).message == "${verb}: ${verdict}: the reason"
                assert ((Map) inNode(with(call, 'required: false'))).verdict == verdict
            }
        }
    }

    @Test
    void test_each_hands_on_run_config_credentials_and_time() {
        CALLS.each { String verb, String call ->
            calls.clear()
            happened.clear()
            inNode(with(call, "run: 'r7', config: [verify: [interval: '5s']], credentials: [string(credentialsId: 'x', variable: 'X')], timeout: '1h'"))
            assert calls[0].args.run == 'r7': verb
            assert calls[0].args.config == [verify: [interval: '5s']]: verb
            assert 'withCredentials' in happened && 'timeout 3600 SECONDS' in happened: verb
        }
    }

    @Test
    void test_each_refuses_unknown_keys() {
        CALLS.each { String verb, String call ->
            assert brokenInNode(with(call, "cofnig: [a: 1]")).message.contains("unknown key 'cofnig'; did you mean 'config'?")
        }
        assert calls.empty
    }

    @Test
    void test_gate_wants_to_know_which() {
        assert brokenInNode('mlGate()').message == 'mlGate: kind must be one of data, security, model, not missing'
        assert brokenInNode("mlGate(kind: 'date')").message == "mlGate: kind must be one of data, security, model, not 'date'"
    }

    @Test
    void test_package_registers_too_unless_told_otherwise() {
        answers.register.evidence = [name: 'flights', version: '4']
        assert ((Map) inNode('mlPackage()')).registered == [name: 'flights', version: '4']
        assert verbs() == ['package', 'register']
        calls.clear()
        inNode('mlPackage(register: false)')
        assert verbs() == ['package']
    }

    @Test
    void test_quarantined_versions_need_a_word() {
        inNode('mlDeploy()')
        inNode('mlDeploy(allowQuarantined: true)')
        assert calls*.args == [[:], [allow_quarantined: true]]
    }

    @Test
    void test_rollback_needs_a_reason() {
        assert brokenInNode('mlRollback()').message.contains('why is missing')
        assert brokenInNode("mlRollback(why: ' ')").message.contains('why is missing')
        inNode("mlRollback(why: 'complaints; \$(id)')")
        assert calls[0].args == [reason: 'complaints; $(id)']
    }

    @Test
    void test_inconclusive_verification_may_make_the_build_unstable() {
        answers.verify = [verdict: 'inconclusive', summary: 'silence']
        inNode("mlVerify(onInconclusive: 'unstable', seconds: 60)")
        assert build.result == 'UNSTABLE'
        assert calls[0].args == [seconds: 60]
        answers.verify = [verdict: 'fail', summary: 'errors']
        assert brokenInNode("mlVerify(onInconclusive: 'unstable')").message == 'verify: fail: errors'
        assert brokenInNode("mlVerify(onInconclusive: 'ignore')").message.contains('must be one of error, unstable')
    }

    @Test
    void test_colours_that_something_else_runs_are_compared() {
        inNode("mlVerify(candidate: 'green', seconds: 1.5)")
        assert calls[0].args == [candidate: 'green', seconds: 1.5]
        assert brokenInNode("mlVerify(candidate: 'red')").message == "mlVerify: candidate must be one of blue, green, not 'red'"
    }

    @Test
    void test_recorded_verdict_is_recomputed() {
        inNode("mlVerify(replay: 'evidence.json')")
        assert calls[0].args == [replay: 'evidence.json']
    }
}
