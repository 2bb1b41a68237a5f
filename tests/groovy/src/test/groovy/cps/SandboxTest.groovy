package cps

import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.expr.BinaryExpression
import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.ConstructorCallExpression
import org.codehaus.groovy.ast.expr.GStringExpression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.ast.expr.StaticMethodCallExpression
import org.codehaus.groovy.ast.expr.ClassExpression
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.Phases
import org.junit.Test
import org.mlpipeline.cps.Harness
import org.mlpipeline.cps.Report

/**
 * The library needs no script approval as a sandboxed folder library. Every build of these tests checks the calls it makes by receiver and
 * arguments; here every call in the sources is checked by its name, whether a test reaches it or not.
 */
class SandboxTest extends CpsWorld {

    static final List<List<String>> ALLOWED = new File(ROOT, 'tests/fixtures/jenkins/sandbox.txt').readLines()
        .collect { it.replaceFirst('#.*', '').tokenize() }.findAll { it }
    static final Set<String> STEPS = (new File(ROOT, 'tests/fixtures/jenkins/steps.md').text =~ /(?m)^\| `(\w+)` \|/).collect { it[1] } as Set
    /** Objects that Jenkins makes of symbols, calls of closures, and what currentBuild answers. */
    static final Set<String> SYMBOLS = ['string', 'usernamePassword', 'file', 'booleanParam', 'choice', 'text', 'pipelineTriggers', 'cron', 'parameters',
                                        'call', 'getBuildCauses'] as Set

    Report sandboxed(String jenkinsfile) {
        scenario.jenkinsfile = jenkinsfile
        return Harness.run(ROOT.toPath(), home.toPath(), scenario)
    }

    @Test
    void test_calls_that_need_an_approval_are_found() {
        Map<String, String> rejected = [
            "new RuntimeException('x')": 'new java.lang.RuntimeException java.lang.String',
            "env['PATH']": 'staticMethod org.codehaus.groovy.runtime.DefaultGroovyMethods getAt java.lang.Object java.lang.String',
            "System.getenv('PATH')": 'staticMethod java.lang.System getenv java.lang.String',
            'groovy.json.JsonOutput.toJson([1])': 'staticMethod groovy.json.JsonOutput toJson java.util.ArrayList',
            '[1].max()': 'method java.util.ArrayList max',
            '"a ${1}" + "b ${2}"': 'method org.codehaus.groovy.runtime.GStringImpl plus org.codehaus.groovy.runtime.GStringImpl',
        ]
        for (Map.Entry<String, String> each : rejected.entrySet()) {
            assert sandboxed("x = ${each.key}\necho('on')").violations == ['Scripts not permitted to use ' + each.value]
        }
        assert sandboxed("x = groovy.json.JsonOutput.toJson([a: 1])\necho(x.trim())").violations.empty
    }

    @Test
    void test_every_call_in_the_sources_is_one_that_the_sandbox_allows() {
        List<ClassNode> classes = parsed()
        Set<String> own = classes.collectMany { ClassNode type -> type.methods*.name } as Set
        Set<String> names = (ALLOWED.findAll { it[0] != 'new' }*.getAt(2) + STEPS + SYMBOLS + own + variables()) as Set
        Set<String> made = ALLOWED.findAll { it[0] == 'new' }*.getAt(1) as Set
        Set<String> fixed = ALLOWED.findAll { it[0] == 'staticMethod' }.collect { "${it[1]}.${it[2]}".toString() } as Set
        Set<String> found = new TreeSet<>()
        for (ClassNode type : classes) {
            type.methods.findAll { it.name != 'main' }*.code.findAll().each { it.visit(new Calls(type.name, names, made, fixed, classes*.name as Set, found)) }
        }
        assert found.empty, found.join('\n')
    }

    static List<String> variables() {
        return new File(ROOT, 'vars').list().findAll { it.endsWith('.groovy') }*.replace('.groovy', '')
    }

    static List<ClassNode> parsed() {
        CompilationUnit unit = new CompilationUnit(new CompilerConfiguration(), null, new GroovyClassLoader(SandboxTest.classLoader))
        for (String top : ['vars', 'src']) {
            new File(ROOT, top).eachFileRecurse { if (it.name.endsWith('.groovy')) { unit.addSource(it) } }
        }
        unit.compile(Phases.SEMANTIC_ANALYSIS)
        return (List<ClassNode>) unit.AST.classes
    }

    static class Calls extends CodeVisitorSupport {

        private final String within
        private final Set<String> names
        private final Set<String> made
        private final Set<String> fixed
        private final Set<String> own
        private final Set<String> found

        Calls(String within, Set<String> names, Set<String> made, Set<String> fixed, Set<String> own, Set<String> found) {
            this.within = within
            this.names = names
            this.made = made
            this.fixed = fixed
            this.own = own
            this.found = found
        }

        @Override
        void visitConstructorCallExpression(ConstructorCallExpression call) {
            if (!(call.type.name in made) && !(call.type.name in own)) {
                found << "${within}:${call.lineNumber}: new ${call.type.name}".toString()
            }
            super.visitConstructorCallExpression(call)
        }

        @Override
        void visitMethodCallExpression(MethodCallExpression call) {
            String name = call.methodAsString
            if (call.objectExpression instanceof ClassExpression && !(call.objectExpression.type.name in own)) {
                String whole = "${call.objectExpression.type.name}.${name}".toString()
                if (!(whole in fixed) && !(name in names && name == 'isInstance')) {
                    found << "${within}:${call.lineNumber}: staticMethod ${whole}".toString()
                }
            } else if (name != null && !(name in names)) {
                found << "${within}:${call.lineNumber}: method ${name}".toString()
            }
            super.visitMethodCallExpression(call)
        }

        /** Two texts with values may not be joined by a plus; which of the two overloads is taken is known only for these. */
        @Override
        void visitBinaryExpression(BinaryExpression joined) {
            if (joined.operation.text == '+' && joined.leftExpression instanceof GStringExpression && !(joined.rightExpression instanceof ConstantExpression)) {
                found << "${within}:${joined.lineNumber}: method groovy.lang.GString plus".toString()
            }
            super.visitBinaryExpression(joined)
        }

        @Override
        void visitStaticMethodCallExpression(StaticMethodCallExpression call) {
            if (!(call.ownerType.name in own)) {
                found << "${within}:${call.lineNumber}: staticMethod ${call.ownerType.name}.${call.method}".toString()
            }
            super.visitStaticMethodCallExpression(call)
        }
    }
}
