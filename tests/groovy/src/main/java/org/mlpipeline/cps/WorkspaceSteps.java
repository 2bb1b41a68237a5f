package org.mlpipeline.cps;

import groovy.json.JsonSlurperClassic;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.PathMatcher;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Steps that touch files of the workspace. */
final class WorkspaceSteps {
    private WorkspaceSteps() {
    }

    static Object run(Program program, Head head, StepCall call) throws IOException {
        switch (call.name) {
            case "checkout":
                return checkout(program, head);
            case "writeFile":
                return write(head, call);
            case "readFile":
                return read(head, call);
            case "fileExists":
                return Files.exists(file(head, call));
            case "pwd":
                return folder(head) + (Boolean.TRUE.equals(call.parameters.get("tmp")) ? "@tmp" : "");
            case "isUnix":
                return true;
            case "readJSON":
                return readJson(program, head, call);
            case "stash":
                return stash(program, head, call);
            case "unstash":
                return unstash(program, head, call);
            case "archiveArtifacts":
                return archive(program, head, call);
            case "junit":
                return junit(program, head, call);
            case "publishHTML":
                return publish(program, head, call);
            default:
                program.violation("the harness has no shape for the step " + call.name);
                throw new UnsupportedOperationException(call.name);
        }
    }

    /** The folder that relative paths are meant from. */
    static Path folder(Head head) {
        Path folder = Path.of(".");
        for (Frame frame : head.frames) {
            if ("node".equals(frame.kind)) {
                folder = Path.of(frame.variables.get("WORKSPACE"));
            } else if ("dir".equals(frame.kind) || "ws".equals(frame.kind)) {
                folder = NativeSteps.at(folder, String.valueOf(frame.parameters.getOrDefault("path", frame.parameters.get("dir"))));
            }
        }
        return folder;
    }

    private static Path file(Head head, StepCall call) {
        return NativeSteps.at(folder(head), call.text("file"));
    }

    private static Object checkout(Program program, Head head) throws IOException {
        if (!program.scenario.origin.isEmpty()) {
            git(folder(head), "init", "--quiet");
            git(folder(head), "fetch", "--quiet", program.scenario.origin, program.scenario.branch);
            git(folder(head), "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD");
        }
        for (Map.Entry<String, String> file : program.scenario.repository.entrySet()) {
            Path target = folder(head).resolve(file.getKey());
            Files.createDirectories(target.getParent());
            Files.writeString(target, file.getValue());
        }
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("GIT_BRANCH", "origin/" + program.scenario.branch);
        return found;
    }

    private static void git(Path folder, String... arguments) throws IOException {
        List<String> command = new ArrayList<>(List.of("git", "-C", folder.toString()));
        command.addAll(List.of(arguments));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String told = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        try {
            if (process.waitFor() != 0) {
                throw new hudson.AbortException(String.join(" ", command) + ": " + told);
            }
        } catch (InterruptedException stopped) {
            process.destroyForcibly();
            throw new IOException(stopped);
        }
    }

    private static Object write(Head head, StepCall call) throws IOException {
        Path target = file(head, call);
        Files.createDirectories(target.getParent());
        String text = call.text("text");
        Files.write(target, "Base64".equals(call.text("encoding")) ? Base64.getMimeDecoder().decode(text) : text.getBytes(StandardCharsets.UTF_8));
        return null;
    }

    private static Object read(Head head, StepCall call) throws IOException {
        return new String(Files.readAllBytes(file(head, call)), StandardCharsets.UTF_8);
    }

    private static Object readJson(Program program, Head head, StepCall call) throws IOException {
        if (!call.flag("returnPojo")) {
            program.violation("readJSON without returnPojo: a null would be truthy and could not be written again");
        }
        String text = call.text("text") == null ? read(head, call).toString() : call.text("text");
        Object value;
        try {
            value = new JsonSlurperClassic().parseText(text);
        } catch (RuntimeException broken) {
            throw new IllegalArgumentException("Invalid JSON String");
        }
        return plain(value);
    }

    private static Object plain(Object value) {
        if (value instanceof Map) {
            Map<String, Object> plain = new LinkedHashMap<>();
            ((Map<?, ?>) value).forEach((key, each) -> plain.put(key.toString(), plain(each)));
            return plain;
        }
        if (value instanceof List) {
            return ((List<?>) value).stream().map(WorkspaceSteps::plain).collect(Collectors.toCollection(ArrayList::new));
        }
        return value instanceof java.math.BigDecimal ? ((Number) value).doubleValue() : value;
    }

    private static Object stash(Program program, Head head, StepCall call) throws IOException {
        Path stashes = Files.createDirectories(Harness.current.home.resolve("stash"));
        Path store = Files.createTempDirectory(stashes, call.text("name") + "-");
        List<Path> chosen = chosen(folder(head), call.text("includes") == null ? "**" : call.text("includes"));
        if (chosen.isEmpty() && !call.flag("allowEmpty")) {
            throw new hudson.AbortException("No files included in stash ‘" + call.text("name") + "’");
        }
        Files.createDirectories(store);
        for (Path each : chosen) {
            NativeSteps.copy(folder(head).resolve(each), store.resolve(each));
        }
        program.stashes.put(call.text("name"), store.toString());
        return null;
    }

    private static Object unstash(Program program, Head head, StepCall call) throws IOException {
        String store = program.stashes.get(call.text("name"));
        if (store == null) {
            throw new hudson.AbortException("No such saved stash ‘" + call.text("name") + "’");
        }
        for (Path each : chosen(Path.of(store), "**")) {
            NativeSteps.copy(Path.of(store).resolve(each), folder(head).resolve(each));
        }
        return null;
    }

    private static Object archive(Program program, Head head, StepCall call) throws IOException {
        List<Path> chosen = chosen(folder(head), call.text("artifacts"));
        if (chosen.isEmpty() && !call.flag("allowEmptyArchive")) {
            throw new hudson.AbortException("No artifacts found that match the file pattern \"" + call.text("artifacts") + "\". Configuration error?");
        }
        for (Path each : chosen) {
            NativeSteps.copy(folder(head).resolve(each), Harness.current.home.resolve("archive").resolve(each));
            program.report.archived.add(each.toString());
        }
        return null;
    }

    private static Object junit(Program program, Head head, StepCall call) throws IOException {
        List<Path> chosen = chosen(folder(head), call.text("testResults"));
        if (chosen.isEmpty() && !call.flag("allowEmptyResults")) {
            throw new hudson.AbortException("No test report files were found. Configuration error?");
        }
        return new LinkedHashMap<>(Map.of("totalCount", chosen.size(), "failCount", 0, "skipCount", 0, "passCount", chosen.size()));
    }

    /** A folder that is missing is no exception: the result is FAILURE, unless it may be missing. */
    private static Object publish(Program program, Head head, StepCall call) {
        Map<?, ?> target = call.parameters.get("target") instanceof Map ? (Map<?, ?>) call.parameters.get("target") : call.parameters;
        if (!Files.isDirectory(folder(head).resolve(String.valueOf(target.get("reportDir")))) && !Boolean.TRUE.equals(target.get("allowMissing"))) {
            program.build.setResult("FAILURE");
        }
        return null;
    }

    /** Files that match one of the patterns, as paths relative to the folder. */
    private static List<Path> chosen(Path folder, String patterns) throws IOException {
        List<PathMatcher> matchers = new ArrayList<>();
        for (String pattern : patterns.split("\\s*,\\s*")) {
            String glob = pattern.endsWith("/") ? pattern + "**" : pattern;
            matchers.add(FileSystems.getDefault().getPathMatcher("glob:" + glob));
        }
        if (!Files.isDirectory(folder)) {
            return List.of();
        }
        try (Stream<Path> files = Files.walk(folder)) {
            return files.filter(Files::isRegularFile).map(folder::relativize)
                    .filter(each -> matchers.stream().anyMatch(matcher -> matcher.matches(each))).sorted().collect(Collectors.toList());
        }
    }
}
