package org.mlpipeline.cps;

import java.io.File;
import java.io.IOException;
import java.io.Serializable;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** A durable task: a script that runs on while the controller is away, told by files. */
final class Shell implements Serializable {
    private static final long serialVersionUID = 1L;
    private final String folder;
    private final String cookie;
    private final boolean status;
    private final boolean output;

    private Shell(String folder, String cookie, boolean status, boolean output) {
        this.folder = folder;
        this.cookie = cookie;
        this.status = status;
        this.output = output;
    }

    /** In a folder of its own: the result of an earlier build, whose tasks had the same numbers, would be taken for this one's. */
    static Shell start(StepCall call, Path tasks, Path workingFolder, Map<String, String> environment) throws IOException {
        Files.createDirectories(tasks);
        Path folder = Files.createTempDirectory(tasks, "task-");
        Files.createDirectories(workingFolder);
        String script = call.text("script");
        Path file = Files.writeString(folder.resolve("script.sh"), script);
        boolean own = script.startsWith("#!");
        String cookie = "durable-" + folder.toAbsolutePath();
        boolean output = call.flag("returnStdout") && !call.flag("returnStatus");
        String run = own ? "chmod +x \"$1\"; \"$1\"" : "sh -xe \"$1\"";
        String wrapper = "(" + run + ") > \"$2/output\" 2> \"$2/log\" < /dev/null; echo $? > \"$2/result.tmp\"; mv \"$2/result.tmp\" \"$2/result\"";
        if (!output) {
            wrapper = wrapper.replace("> \"$2/output\" 2> \"$2/log\"", "> \"$2/log\" 2>&1");
        }
        ProcessBuilder builder = new ProcessBuilder("setsid", "sh", "-c", wrapper, "durable", file.toString(), folder.toString());
        builder.directory(workingFolder.toFile());
        builder.environment().clear();
        builder.environment().putAll(environment);
        builder.environment().put("JENKINS_SERVER_COOKIE", cookie);
        builder.redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).redirectInput(new File("/dev/null"));
        builder.start();
        return new Shell(folder.toString(), cookie, call.flag("returnStatus"), output);
    }

    boolean ended() {
        return Files.exists(Path.of(folder, "result"));
    }

    String log() {
        try {
            return Files.exists(Path.of(folder, "log")) ? new String(Files.readAllBytes(Path.of(folder, "log")), StandardCharsets.UTF_8) : "";
        } catch (IOException unreadable) {
            return unreadable.toString();
        }
    }

    /** The step's value, or the exception that a failing script is. */
    Object value() throws IOException {
        int code = Integer.parseInt(Files.readString(Path.of(folder, "result")).trim());
        if (status) {
            return code;
        }
        if (code != 0) {
            throw new hudson.AbortException("script returned exit code " + code);
        }
        return output ? Files.readString(Path.of(folder, "output")) : null;
    }

    /** One SIGTERM for all, then up to 20 seconds, and never more: what a controller does. */
    void stop() {
        terminate(environment -> environment.contains("JENKINS_SERVER_COOKIE=" + cookie + "\0"));
        long patience = System.nanoTime() + 20_000_000_000L;
        while (!alive("JENKINS_SERVER_COOKIE=" + cookie + "\0").isEmpty() && System.nanoTime() < patience) {
            pause();
        }
    }

    /** The end of a node block: whatever still carries its cookie dies. */
    static void endOfNode(String nodeCookie) {
        terminate(environment -> environment.contains("JENKINS_NODE_COOKIE=" + nodeCookie + "\0"));
        long patience = System.nanoTime() + 5_000_000_000L;
        while (!alive("JENKINS_NODE_COOKIE=" + nodeCookie + "\0").isEmpty() && System.nanoTime() < patience) {
            pause();
        }
        alive("JENKINS_NODE_COOKIE=" + nodeCookie + "\0").forEach(ProcessHandle::destroyForcibly);
    }

    static void pause() {
        try {
            Thread.sleep(20);
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    private static void terminate(Predicate<String> chosen) {
        processes(chosen).forEach(ProcessHandle::destroy);
    }

    private static List<ProcessHandle> alive(String marker) {
        return processes(environment -> environment.contains(marker));
    }

    private static List<ProcessHandle> processes(Predicate<String> chosen) {
        try (Stream<ProcessHandle> all = ProcessHandle.allProcesses()) {
            return all.filter(each -> each.pid() != ProcessHandle.current().pid() && chosen.test(environment(each.pid())))
                    .collect(Collectors.toList());
        }
    }

    private static String environment(long pid) {
        try {
            return new String(Files.readAllBytes(Path.of("/proc", Long.toString(pid), "environ")), StandardCharsets.ISO_8859_1);
        } catch (IOException gone) {
            return "";
        }
    }
}
