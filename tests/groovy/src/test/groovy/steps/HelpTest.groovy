package steps

import java.util.regex.Matcher
import org.junit.Before
import org.junit.Test

/** Every step has help that says what the step really takes, calls that work, a test and an example. */
class HelpTest extends JenkinsWorld {

    static final List<String> SECTIONS = ['Smallest call', 'Full call', 'Keys', 'Returns', 'Verdicts', 'Plugins', 'Where']
    static final List<String> OUTSIDE = ['mlPipeline', 'mlNightly', 'mlApprove', 'mlGpu']

    @Before
    void world() {
        stashes.mlpipeline = ['.mlpipeline/runs/r1/run.json': '{}']
        answers.nightly = [verdict: 'pass', summary: 'steady', evidence: [retrain: false]]
        answers.status = [verdict: 'pass', summary: 'blue is live']
        answers.'jenkins-health' = [verdict: 'pass', summary: 'healthy']
        binding.setVariable('params', [WHY: 'complaints'])
    }

    static List<String> steps() {
        return new File(ROOT, 'vars').list().findAll { it.endsWith('.groovy') }*.replace('.groovy', '').sort()
    }

    static String help(String step) {
        return new File(ROOT, "vars/${step}.txt").getText('UTF-8')
    }

    /** The lines of one section, without their indent. */
    static String section(String step, String title) {
        Matcher found = help(step) =~ /(?ms)^${title}\n(.*?)(?=\n\n[A-Z]|\s*\z)/
        assert found.find(): "${step}.txt has no section ${title}"
        return found.group(1).readLines()*.replaceFirst('^ {1,4}', '').join('\n')
    }

    /** Keys with their types as the .txt names them. */
    static Map<String, String> told(String step) {
        Map<String, String> keys = [:]
        for (String line : section(step, 'Keys').readLines().findAll { !it.startsWith(' ') }) {
            Matcher key = line =~ /^(\w+): ([A-Z]\w+(?: or [A-Z]\w+)*), (mandatory|default .+)$/
            assert key.matches(): "${step}.txt: ${line}"
            keys[key.group(1)] = key.group(2)
        }
        return keys
    }

    /** Keys with their types as the step checks them. */
    static Map<String, String> taken(String step) {
        String code = new File(ROOT, step == 'mlPipeline' ? 'src/org/mlpipeline/Plan.groovy' : "vars/${step}.groovy").text
        Matcher list = step == 'mlPipeline' ? code =~ /(?s)KEYS = \[(.*?)\n    \]/ : code =~ /(?s)Keys\.wrong\('${step}', \w+, \[(.*?)\n    \]\)/
        if (!list.find()) {
            Matcher name = code =~ /Keys\.wrong\('${step}', args, Keys\.([A-Z]+)\)/
            assert name.find(): step
            list = new File(ROOT, 'src/org/mlpipeline/Keys.groovy').text =~ /(?s)Map ${name.group(1)} = \[(.*?)\n    \]/
            assert list.find(): step
        }
        Map<String, String> keys = [:]
        (list.group(1) =~ /(\w+): (\[[^\]]+\]|\w+)/).each { String all, String key, String type ->
            keys[key] = type.replaceAll(/[\[\]]/, '').replace(', ', ' or ')
        }
        return keys
    }

    Object run(String step, String call) {
        return pipeline(step in OUTSIDE ? call : "node('') { ${call} }")
    }

    @Test
    void test_every_step_has_all_sections_in_order() {
        assert steps().size() == 13
        for (String step : steps()) {
            assert help(step).startsWith("${step}: ")
            List<Integer> places = SECTIONS.collect { help(step).indexOf("\n\n${it}\n") }
            assert places.every { it > 0 } && places == places.sort(false): step
        }
    }

    @Test
    void test_help_names_exactly_the_keys_that_are_taken_with_their_types() {
        for (String step : steps()) {
            assert told(step) == taken(step): step
        }
    }

    @Test
    void test_smallest_calls_work() {
        for (String step : steps()) {
            run(step, section(step, 'Smallest call'))
        }
    }

    @Test
    void test_mandatory_keys_are_those_of_the_smallest_call() {
        for (String step : steps()) {
            List<String> mandatory = section(step, 'Keys').readLines().findAll { it.endsWith(', mandatory') }*.takeWhile { it != ':' }
            String call = section(step, 'Smallest call')
            for (String key : mandatory) {
                assert call.contains("${key}: "): "${step}: ${key}"
                assert broken("node('') { ${call.replaceFirst(/${key}: '[^']*'(, )?/, '')} }").message.contains(key): "${step}: ${key}"
            }
        }
    }

    @Test
    void test_full_calls_work_and_show_every_key() {
        for (String step : steps()) {
            String call = section(step, 'Full call')
            if (step == 'mlApprove') {
                call = call.replace('        pending: [:],\n', '')
            }
            for (String key : taken(step).keySet()) {
                assert section(step, 'Full call') =~ /(?m)^ {4}${key}: /: "${step}: ${key}"
            }
            run(step, call)
        }
    }

    @Test
    void test_every_step_has_a_test_and_an_example() {
        String examples = new File(ROOT, 'docs/examples').listFiles().findAll { it.name.endsWith('.Jenkinsfile') }*.text.join('\n')
        String tests = new File(ROOT, 'tests/groovy/src/test/groovy/steps').listFiles().findAll { it.name != 'HelpTest.groovy' }*.text.join('\n')
        for (String step : steps()) {
            assert examples =~ /(?m)\b${step}(\(| \{)/: "${step} is in no example"
            assert tests =~ /\b${step}(\(| \{)/: "${step} is in no test"
        }
    }
}
