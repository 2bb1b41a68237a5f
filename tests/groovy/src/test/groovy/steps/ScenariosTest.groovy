package steps

import java.util.regex.Matcher
import org.junit.Test

/** The table of scenarios names tests that exist. */
class ScenariosTest {

    @Test
    void test_every_scenario_is_held_by_a_test() {
        String readme = new File(JenkinsWorld.ROOT, 'tests/groovy/README.md').getText('UTF-8')
        Matcher named = readme =~ /`(\w+Test)\.(test_\w+)`/
        int count = 0
        while (named.find()) {
            count++
            List<File> files = ['steps', 'cps'].collect { new File(JenkinsWorld.ROOT, "tests/groovy/src/test/groovy/${it}/${named.group(1)}.groovy") }
            File file = files.find { it.exists() }
            assert file?.text?.contains("void ${named.group(2)}()"): named.group()
        }
        assert count > 30
    }
}
