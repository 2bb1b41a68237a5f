package org.mlpipeline.cps;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The steps of a real controller and their parameters, read from the recorded table (tests/fixtures/jenkins/steps.md). */
final class StepTable {
    private static final Pattern ROW = Pattern.compile("^\\| `(\\w+)` \\| (?:(\\{\\})? ?\\| )?(.*?) \\|(?: (.*?) \\|)?(?: (.*?) \\|)?$");
    private static final Pattern PARAMETER = Pattern.compile("(?:\\*\\*|~~)?([A-Za-z_0-9]+)(?:\\*\\*|~~)?( \\(sole\\))?:");

    private final Map<String, Set<String>> parameters = new LinkedHashMap<>();
    private final Map<String, String> sole = new LinkedHashMap<>();
    private final Set<String> onNode = new LinkedHashSet<>();

    static StepTable read(Path file) throws IOException {
        StepTable table = new StepTable();
        for (String line : Files.readAllLines(file)) {
            Matcher row = ROW.matcher(line);
            if (row.matches()) {
                table.add(row.group(1), line);
            }
        }
        return table;
    }

    private void add(String name, String line) {
        Set<String> known = parameters.computeIfAbsent(name, key -> new LinkedHashSet<>());
        Matcher each = PARAMETER.matcher(line);
        while (each.find()) {
            known.add(each.group(1));
            if (each.group(2) != null) {
                sole.put(name, each.group(1));
            }
        }
        if (line.contains("FilePath") || Set.of("archiveArtifacts", "publishHTML", "fingerprint").contains(name)) {
            onNode.add(name);
        }
    }

    boolean knows(String name) {
        return parameters.containsKey(name);
    }

    Set<String> names() {
        return parameters.keySet();
    }

    boolean needsNode(String name) {
        return onNode.contains(name);
    }

    /** The parameter that may be given without its name. */
    String sole(String name) {
        return sole.getOrDefault(name, parameters.getOrDefault(name, Set.of("value")).stream().findFirst().orElse("value"));
    }

    /** Whether a map is the one value of the step and not its named arguments. */
    boolean takesMap(String name, Map<?, ?> given) {
        return Set.of("publishHTML", "writeJSON", "step").contains(name) && given.keySet().stream().noneMatch(parameters.get(name)::contains);
    }

    /** Named arguments that the step of a real controller does not have. */
    Set<String> unknown(StepCall call) {
        Set<String> unknown = new LinkedHashSet<>(call.parameters.keySet());
        Set<String> known = parameters.get(call.name);
        if ("parallel".equals(call.name) || known == null) {
            return Set.of();
        }
        unknown.removeAll(known);
        return unknown;
    }
}
