package org.mlpipeline.cps;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/** The machine that a {@code node} block runs on. Every block gets an empty workspace: nothing may depend on meeting the same agent again. */
final class Agent {
    private Agent() {
    }

    static void enter(Program program, Frame frame) throws IOException {
        Path workspace = Harness.current.home.resolve("workspace").resolve(String.valueOf(frame.id));
        Files.createDirectories(workspace);
        Object label = frame.parameters.get("label");
        frame.variables.put("WORKSPACE", workspace.toAbsolutePath().toString());
        frame.variables.put("NODE_NAME", label == null || label.toString().isEmpty() ? "built-in" : label.toString());
        frame.variables.put("EXECUTOR_NUMBER", "0");
        frame.variables.put("JENKINS_NODE_COOKIE", "node-" + frame.id + "-" + workspace.toAbsolutePath());
    }

    /** What a script sees: the agent's own variables below those of the build. */
    static Map<String, String> environment(Program program, Head head) {
        Map<String, String> all = new LinkedHashMap<>();
        for (String name : new String[] {"PATH", "HOME", "LANG"}) {
            if (System.getenv(name) != null) {
                all.put(name, System.getenv(name));
            }
        }
        all.putAll(program.scenario.agent);
        all.putAll(program.environment.global);
        head.frames.forEach(frame -> frame.apply(all));
        return all;
    }
}
