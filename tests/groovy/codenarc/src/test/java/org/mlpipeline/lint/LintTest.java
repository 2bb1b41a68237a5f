package org.mlpipeline.lint;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.codenarc.rule.Rule;
import org.codenarc.rule.Violation;
import org.codenarc.ruleset.RuleSet;
import org.codenarc.ruleset.RuleSetUtil;
import org.codenarc.source.CustomCompilerPhaseSourceDecorator;
import org.codenarc.source.SourceCode;
import org.codenarc.source.SourceFile;
import org.codehaus.groovy.control.Phases;
import org.junit.Test;

/** CodeNarc on the steps, and the proof that its Jenkins rules are really applied. */
public class LintTest {
    private static final Path ROOT = Path.of(System.getProperty("repository.root")).toAbsolutePath().normalize();
    private static final RuleSet RULES = RuleSetUtil.loadRuleSetFile("file:" + Path.of("ruleset.groovy").toAbsolutePath());

    @Test
    public void theLibraryKeepsTheRules() throws Throwable {
        List<String> found = new ArrayList<>();
        for (String folder : List.of("vars", "src")) {
            for (Path file : groovyFiles(ROOT.resolve(folder))) {
                found.addAll(violations(file));
            }
        }
        assertEquals("", String.join("\n", found));
    }

    /** Each file of bad/ is named for the one rule it breaks. */
    @Test
    public void eachBadFileIsFound() throws Throwable {
        List<Path> bad = groovyFiles(Path.of("src/test/resources/bad"));
        assertTrue("there are bad files", bad.size() >= 8);
        for (Path file : bad) {
            String rule = file.getFileName().toString().replace(".groovy", "");
            assertTrue(file + " should break " + rule + ": " + violations(file),
                    violations(file).stream().anyMatch(line -> line.contains(" " + rule + " ")));
        }
    }

    @Test
    public void everyJenkinsRuleHasABadFile() throws Throwable {
        TreeSet<String> rules = new TreeSet<>();
        for (Object rule : RULES.getRules()) {
            if (rule.getClass().getName().startsWith("org.codenarc.rule.jenkins.")) {
                rules.add(((Rule) rule).getName());
            }
        }
        TreeSet<String> shown = groovyFiles(Path.of("src/test/resources/bad")).stream()
                .map(file -> file.getFileName().toString().replace(".groovy", ""))
                .collect(Collectors.toCollection(TreeSet::new));
        assertTrue("without a bad file: " + rules + " " + shown, shown.containsAll(rules));
        assertEquals(7, rules.size());
    }

    /** A file that does not compile would pass most rules unread. */
    private static List<String> violations(Path file) throws Throwable {
        SourceFile plain = new SourceFile(file.toFile());
        SourceCode resolved = new CustomCompilerPhaseSourceDecorator(plain, Phases.SEMANTIC_ANALYSIS);
        List<String> found = new ArrayList<>();
        if (plain.getAst() == null || resolved.getAst() == null) {
            found.add(file + ": does not compile");
        }
        for (Object each : RULES.getRules()) {
            Rule rule = (Rule) each;
            for (Object violation : rule.applyTo(rule.getCompilerPhase() == Phases.SEMANTIC_ANALYSIS ? resolved : plain)) {
                Violation one = (Violation) violation;
                String message = one.getMessage() == null ? one.getSourceLine() : one.getMessage();
                found.add(file + ":" + one.getLineNumber() + ": " + rule.getName() + " (" + message + ")");
            }
        }
        return found;
    }

    private static List<Path> groovyFiles(Path folder) throws IOException {
        if (!Files.isDirectory(folder)) {
            return List.of();
        }
        try (Stream<Path> files = Files.walk(folder)) {
            return files.filter(file -> file.toString().endsWith(".groovy")).sorted().collect(Collectors.toList());
        }
    }
}
