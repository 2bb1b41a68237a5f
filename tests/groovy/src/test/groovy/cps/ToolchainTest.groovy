package cps

import static org.junit.Assert.assertEquals

import com.lesfurets.jenkins.unit.BasePipelineTest
import org.junit.Test

/** The tests prove something about Jenkins only with the Groovy that Jenkins runs. */
class ToolchainTest extends BasePipelineTest {

    @Test
    void compilesWithTheGroovyOfJenkins() {
        assertEquals('2.4.21', GroovySystem.version)
    }
}
