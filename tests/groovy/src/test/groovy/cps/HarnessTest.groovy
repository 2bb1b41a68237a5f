package cps

import org.junit.Test
import org.mlpipeline.cps.Harness
import org.mlpipeline.cps.Report

/** The harness finds what it is there to find; a harness that accepts everything would prove nothing. */
class HarnessTest extends CpsWorld {

    Report faulty(String jenkinsfile) {
        scenario.jenkinsfile = jenkinsfile
        return Harness.run(ROOT.toPath(), home.toPath(), scenario)
    }

    @Test
    void test_locals_that_cannot_be_saved_are_found() {
        for (String local : ["def m = 'ab' =~ /a/", "def m = new groovy.json.JsonSlurper().parseText('{\"a\": 1}')", 'def m = Thread.currentThread()',
                             'def m = 1..3', 'def m = [a: 1].withDefault { 2 }']) {
            Report report = faulty("${local}\nsleep(time: 1)\necho(String.valueOf(m))")
            assert report.violations.any { it.startsWith('cannot be saved at: sleep') && it.contains('NotSerializableException') }, local
            assert report.of('echo').empty
        }
    }

    @Test
    void test_entry_of_a_map_loop_is_found_and_that_of_an_entry_set_is_not() {
        assert faulty('for (e in [a: 1]) { sleep(time: 1) }').violations[0].contains('NotSerializableException')
        assert faulty('for (e in [a: 1].entrySet()) { sleep(time: 1); echo(e.key) }').violations.empty
    }

    @Test
    void test_parameter_that_a_real_step_does_not_have_is_found() {
        Report report = faulty("try { timeout(minutes: 5) { echo('x') } } catch (Exception ignored) { echo('hidden') }")
        assert report.violations.size() == 1
        assert report.violations[0].contains('minutes')
    }

    @Test
    void test_step_that_no_controller_has_is_refused() {
        assert faulty("slackSend(message: 'x')").error.contains("No such DSL method 'slackSend'")
    }

    @Test
    void test_files_and_shell_need_a_node() {
        assert faulty("sh(script: 'true')").error.contains('MissingContextVariableException')
        assert faulty("node { sh(script: 'true') }").result == 'SUCCESS'
    }

    @Test
    void test_script_of_a_later_build_ends_as_it_does_itself() {
        assert faulty("node { sh(script: 'true') }").result == 'SUCCESS'
        assert faulty("node { sh(script: 'sleep 0.5; exit 4') }").error.contains('script returned exit code 4')
    }

    @Test
    void test_question_inside_a_node_is_found() {
        assert faulty("node { timeout(1) { input('x') } }").violations == ['input holds an executor']
    }

    @Test
    void test_steps_called_where_they_cannot_suspend_are_found() {
        assert !faulty("@NonCPS def f() { [1].each { sleep(time: 1) } }\nf()\necho('after')").violations.empty
    }

    @Test
    void test_processes_die_with_their_node_unless_they_were_told_not_to() {
        File left = new File(folder.root, 'left')
        File right = new File(folder.root, 'right')
        // a child has its shell's environment until it is another program
        String another = 'until grep -qz dontKillMe /proc/$!/environ; do sleep 0.01; done'
        String both = "sleep 3600 & echo \$! > ${left}\nJENKINS_NODE_COOKIE=dontKillMe sleep 3600 & echo \$! > ${right}"
        faulty("node { sh(script: '''${both}\n${another}''') }")
        try {
            assert running(right.text.trim())
            assert !running(left.text.trim())
        } finally {
            ProcessHandle.of(right.text.trim() as long).ifPresent { it.destroyForcibly() }
        }
    }

    /** A dead process that nobody has waited for does not run. */
    static boolean running(String process) {
        File told = new File("/proc/${process}/stat")
        return told.exists() && !(told.text =~ /\) Z /).find()
    }

    @Test
    void test_every_step_and_class_of_the_library_compiles_as_jenkins_compiles_it() {
        assert Harness.compileAll(ROOT.toPath()) == count(new File(ROOT, 'vars')) + count(new File(ROOT, 'src'))
    }

    static int count(File top) {
        int found = 0
        top.eachFileRecurse { if (it.name.endsWith('.groovy')) { found++ } }
        return found
    }
}
