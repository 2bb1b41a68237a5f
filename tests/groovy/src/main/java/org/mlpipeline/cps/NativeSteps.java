package org.mlpipeline.cps;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException;

/** What each step does once the program has suspended at it. Steps that a library does not call yet are refused, not guessed. */
final class NativeSteps {
    private static final Map<String, Long> UNITS = Map.of("SECONDS", 1L, "MINUTES", 60L, "HOURS", 3600L, "DAYS", 86400L);

    private NativeSteps() {
    }

    /** Starts a step: answers it at once, or leaves the thread waiting. */
    static void start(Program program, Head head, StepCall call) throws IOException, InterruptedException {
        if (call.frame) {
            if (call.name.startsWith("end of ")) {
                close(program, head);
            } else {
                open(program, head, call);
            }
            return;
        }
        switch (call.name) {
            case "parallel":
                program.fork(head, call.parameters);
                break;
            case "sleep":
                head.wakeAt = program.clock + seconds(call);
                break;
            case "input":
                ask(program, head, call);
                break;
            case "sh":
                head.shell = Shell.start(call, Harness.current.home.resolve("durable"), WorkspaceSteps.folder(head), Agent.environment(program, head));
                break;
            default:
                head.answer(atOnce(program, head, call));
        }
    }

    private static Object atOnce(Program program, Head head, StepCall call) throws IOException, InterruptedException {
        switch (call.name) {
            case "echo":
                program.print(head, call.text("message"));
                return null;
            case "error":
                throw new hudson.AbortException(call.text("message"));
            case "unstable":
                program.build.setResult("UNSTABLE");
                program.print(head, "WARNING: " + call.text("message"));
                return null;
            case "nodesByLabel":
                return agents(program, call);
            case "milestone":
                return milestone(program, ((Number) call.parameters.get("ordinal")).intValue());
            case "libraryResource":
                return "Base64".equals(call.text("encoding"))
                        ? Base64.getEncoder().encodeToString(Harness.current.library.bytes(call.text("resource")))
                        : Harness.current.library.resource(call.text("resource"));
            case "properties":
            case "mail":
                return null;
            default:
                return WorkspaceSteps.run(program, head, call);
        }
    }

    private static Object agents(Program program, StepCall call) {
        boolean online = !offline(program, call);
        return new ArrayList<>(online ? List.of("agent-1") : call.flag("offline") ? program.scenario.offlineAgents.get(call.text("label")) : List.of());
    }

    private static boolean offline(Program program, StepCall call) {
        boolean back = program.scenario.agentsBackAt >= 0 && program.clock >= program.scenario.agentsBackAt;
        return program.scenario.offlineAgents.containsKey(String.valueOf(call.text("label"))) && !back;
    }

    /** A newer build that has passed this one is known at once, as it is to a controller. */
    private static Object milestone(Program program, int ordinal) throws IOException, InterruptedException {
        if (ordinal <= program.milestone) {
            throw new hudson.AbortException("Invalid ordinal " + ordinal + ", as the previous one was " + program.milestone);
        }
        if (program.newest.getOrDefault(ordinal, 0) > program.build.getNumber()) {
            program.superseded = true;
            throw program.passedBy(program.newest.get(ordinal));
        }
        program.milestone = ordinal;
        return null;
    }

    /** The clock reached what a thread waits for. */
    static void woken(Program program, Head head) throws IOException, InterruptedException {
        if (head.pending.frame) {
            head.wakeAt = -1;
            open(program, head, head.pending);
            return;
        }
        if (head.answer == null) {
            head.answer(null);
            return;
        }
        Scenario.Answer given = head.answer;
        if (!given.proceed) {
            head.fail(new FlowInterruptedException("Rejected by " + given.who, "org.jenkinsci.plugins.workflow.support.steps.input.Rejection", "ABORTED"));
            return;
        }
        head.answer(submitted(head.pending, given));
    }

    /** What was submitted counts, not what was declared: without values the submitter comes back alone. */
    private static Object submitted(StepCall call, Scenario.Answer given) {
        String key = call.text("submitterParameter");
        Map<String, Object> values = new HashMap<>(given.values);
        if (values.isEmpty()) {
            return key == null ? null : given.who;
        }
        if (key != null) {
            values.put(key, given.who);
            return values;
        }
        return values.size() == 1 ? values.values().iterator().next() : values;
    }

    /** Nobody who is not a submitter can answer; the request stays open for the next one. */
    private static void ask(Program program, Head head, StepCall call) {
        if (head.onNode()) {
            program.violation("input holds an executor");
        }
        String submitters = call.text("submitter");
        while (program.answered < program.scenario.answers.size()) {
            Scenario.Answer next = program.scenario.answers.get(program.answered++);
            if (submitters == null || List.of(submitters.split("\\s*,\\s*")).contains(next.who)) {
                head.answer = next;
                head.wakeAt = program.clock + next.after;
                return;
            }
            program.print(head, "You need to be " + submitters + " to submit this.");
        }
    }

    private static long seconds(StepCall call) {
        String unit = call.text("unit") == null ? ("timeout".equals(call.name) ? "MINUTES" : "SECONDS") : call.text("unit");
        return ((Number) call.parameters.get("time")).longValue() * UNITS.get(unit);
    }

    private static void open(Program program, Head head, StepCall call) throws IOException, InterruptedException {
        Frame frame = new Frame(program.numbers++, call.name, call.parameters);
        switch (call.name) {
            case "timeout":
                frame.deadline = program.clock + seconds(call);
                break;
            case "withEnv":
                for (Object pair : (List<?>) call.parameters.get("overrides")) {
                    String[] parts = pair.toString().split("=", 2);
                    frame.variables.put(parts[0], parts[1]);
                }
                break;
            case "withCredentials":
                credentials(program, frame);
                break;
            case "node":
                if (offline(program, call)) {
                    head.wakeAt = program.scenario.agentsBackAt;
                    return;
                }
                Agent.enter(program, frame);
                break;
            case "lock":
                if (!Locks.take(program, head, frame)) {
                    return;
                }
                break;
            case "caught":
                program.build.setResult(call.text("buildResult"));
                program.print(head, call.text("message") + "\n" + call.parameters.get("failure"));
                head.answer(null);
                return;
            default:
        }
        head.frames.add(frame);
        head.answer(true);
    }

    private static void close(Program program, Head head) {
        Frame frame = head.frames.remove(head.frames.size() - 1);
        if ("node".equals(frame.kind)) {
            Shell.endOfNode(frame.variables.get("JENKINS_NODE_COOKIE"));
        }
        head.answer(null);
        if ("lock".equals(frame.kind)) {
            Locks.give(program, frame);
        }
    }

    private static void credentials(Program program, Frame frame) throws IOException {
        for (Object each : (List<?>) frame.parameters.get("bindings")) {
            Map<?, ?> binding = (Map<?, ?>) each;
            String id = String.valueOf(binding.get("credentialsId"));
            String secret = program.scenario.credentials.get(id);
            if (secret == null) {
                throw new hudson.AbortException("Could not find credentials entry with ID '" + id + "'");
            }
            Map<String, String> given = new LinkedHashMap<>();
            given.put(String.valueOf(binding.get("variable")), secret);
            frame.variables.putAll(given);
            frame.secrets.add(secret);
        }
    }

    static Path at(Path folder, String relative) {
        return folder.resolve(relative == null || relative.isEmpty() ? "." : relative).normalize();
    }

    static void copy(Path from, Path to) throws IOException {
        Files.createDirectories(to.getParent());
        Files.copy(from, to, java.nio.file.StandardCopyOption.REPLACE_EXISTING, java.nio.file.StandardCopyOption.COPY_ATTRIBUTES);
    }
}
