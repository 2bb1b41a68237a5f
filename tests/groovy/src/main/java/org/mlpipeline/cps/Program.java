package org.mlpipeline.cps;

import com.cloudbees.groovy.cps.Continuable;
import com.cloudbees.groovy.cps.Continuation;
import com.cloudbees.groovy.cps.Envs;
import com.cloudbees.groovy.cps.Outcome;
import com.cloudbees.groovy.cps.impl.CpsCallableInvocation;
import groovy.lang.Closure;
import java.io.IOException;
import java.io.Serializable;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException;

/** A running build: everything that a controller saves, as one graph of objects. */
final class Program implements Serializable {
    private static final long serialVersionUID = 1L;
    private static final String STEPS = "org.jenkinsci.plugins.workflow.";
    /** What groovy-cps and a controller put in the place of the platform's own methods. */
    private static final List<Class> CATEGORIES = new ArrayList<>(Continuable.categories);

    static {
        CATEGORIES.add(SavedIterators.class);
    }

    /** The program that runs in this virtual machine. */
    static Program current;

    final Scenario scenario;
    final Environment environment = new Environment();
    final CurrentBuild build;
    final StepsVariable steps = new StepsVariable();
    final Report report = new Report();
    final List<Head> heads = new ArrayList<>();
    final Map<String, PipelineScript> globals = new LinkedHashMap<>();
    final Map<String, Integer> locks = new LinkedHashMap<>();
    /** Folders of stashes by name. */
    final Map<String, String> stashes = new LinkedHashMap<>();
    final StringBuilder log = new StringBuilder();
    PipelineScript blocks;
    /** Seconds. It moves only when nothing else can happen, so no test waits for it. */
    long clock;
    int numbers;
    int restarts;
    boolean aborted;
    boolean superseded;
    boolean agentLost;
    /** The newest build that has passed each milestone, where it is another one than this. */
    final Map<Integer, Integer> newest = new LinkedHashMap<>();
    int answered;
    int milestone;
    private int running = -1;

    Program(Scenario scenario, int number) {
        this.scenario = scenario;
        this.build = new CurrentBuild(number);
    }

    void begin(PipelineScript main, PipelineScript blockSteps) {
        blocks = blockSteps;
        heads.add(new Head(numbers++, null, "", new Continuable(main, Envs.empty(new SandboxedInvoker()))));
    }

    /** The thread whose step or script runs now. */
    Head head() {
        return heads.stream().filter(each -> each.id == running).findFirst().orElse(heads.get(0));
    }

    PipelineScript global(String name) {
        return globals.computeIfAbsent(name, key -> Harness.current.library.variable(key));
    }

    boolean finished() {
        return heads.get(0).finished;
    }

    /** Lets one thread go on to its next step, or to its end. Returns the call it now waits for, or null. */
    StepCall advance() throws IOException {
        Head head = heads.stream().filter(Head::ready).findFirst().orElse(null);
        if (head == null) {
            return null;
        }
        running = head.id;
        Outcome outcome = head.program.run0(new Outcome(head.value, head.thrown), CATEGORIES);
        head.value = null;
        head.thrown = null;
        if (!head.program.isResumable()) {
            head.finished = true;
            head.value = outcome.getNormal();
            head.thrown = outcome.getAbnormal();
            ended(head);
            return null;
        }
        head.pending = (StepCall) outcome.getNormal();
        report.calls.add(head.pending.told());
        start(head);
        return head.pending == null ? null : head.pending;
    }

    String lastCall() {
        return report.calls.isEmpty() ? "" : report.calls.get(report.calls.size() - 1);
    }

    private void start(Head head) throws IOException {
        try {
            NativeSteps.start(this, head, head.pending);
        } catch (IOException | RuntimeException | InterruptedException failure) {
            head.fail(failure);
        }
    }

    /** Branches as threads of their own. */
    void fork(Head parent, Map<String, Object> branches) {
        for (Map.Entry<String, Object> branch : branches.entrySet()) {
            if (!(branch.getValue() instanceof Closure)) {
                continue;
            }
            try {
                Object value = ((Closure<?>) branch.getValue()).call();
                parent.outcomes.put(branch.getKey(), value);
            } catch (CpsCallableInvocation invocation) {
                heads.add(new Head(numbers++, parent, branch.getKey(),
                        new Continuable(invocation.invoke(Envs.empty(new SandboxedInvoker()), null, Continuation.HALT))));
            }
        }
        joined(parent);
    }

    private void ended(Head head) {
        if (head.parent < 0) {
            return;
        }
        Head parent = heads.stream().filter(each -> each.id == head.parent).findFirst().orElseThrow();
        heads.remove(head);
        if (head.thrown == null) {
            parent.outcomes.put(head.branch, head.value);
        } else if (parent.failed == null) {
            parent.failed = head.thrown;
            if (Boolean.TRUE.equals(parent.pending.parameters.get("failFast"))) {
                for (Head other : leaves(parent)) {
                    interrupt(other, new FlowInterruptedException("Failed in branch " + head.branch, STEPS + "cps.steps.ParallelStep$FailFastCause", "ABORTED"));
                }
            }
        } else if (parent.failed != head.thrown) {
            parent.failed.addSuppressed(head.thrown);
        }
        joined(parent);
    }

    private void joined(Head parent) {
        if (heads.stream().anyMatch(each -> each.parent == parent.id)) {
            return;
        }
        Map<String, Object> outcomes = new HashMap<>(parent.outcomes);
        Throwable failed = parent.failed;
        parent.outcomes.clear();
        parent.failed = null;
        if (failed == null) {
            parent.answer(outcomes);
        } else {
            parent.fail(failed);
        }
    }

    /** The threads at the ends of branches below a thread, or itself. */
    private List<Head> leaves(Head top) {
        List<Head> found = new ArrayList<>();
        for (Head head : heads) {
            if (head.parent == top.id) {
                found.addAll(leaves(head));
            }
        }
        if (found.isEmpty() && !top.finished) {
            found.add(top);
        }
        return found;
    }

    /** Throws into a waiting step, after its process got its signal. */
    void interrupt(Head head, FlowInterruptedException stopped) {
        if (head.pending == null || head.pending.frame && head.pending.name.startsWith("end of ")) {
            return;
        }
        if (head.shell != null) {
            print(head, head.shell.log());
            head.shell.stop();
        }
        head.fail(stopped);
    }

    /** Stops the build as a person does. The same exception surfaces in every branch. */
    void abort() {
        aborted = true;
        build.setResult("ABORTED");
        stopAll(new FlowInterruptedException("Aborted by Bob Example", "jenkins.model.CauseOfInterruption$UserInterruption", "ABORTED"));
    }

    void supersede(int newer) {
        superseded = true;
        stopAll(passedBy(newer));
    }

    /** What a build is told that a newer one has passed at a milestone. */
    FlowInterruptedException passedBy(int newer) {
        build.setResult("NOT_BUILT");
        return new FlowInterruptedException("Superseded by " + environment.global.get("JOB_NAME") + "#" + newer,
                "org.jenkinsci.plugins.pipeline.milestone.CancelledCause", "NOT_BUILT");
    }

    /** The machine under the current step dies: its processes are gone, and after five minutes Jenkins waits for it no more. */
    void loseAgent() {
        agentLost = true;
        Frame node = head().node();
        node.lost = true;
        Shell.endOfNode(node.variables.get("JENKINS_NODE_COOKIE"));
        clock += 300;
        for (Head leaf : leaves(heads.get(0))) {
            if (leaf.shell != null && leaf.frames.stream().anyMatch(each -> each.id == node.id)) {
                // Not interrupt(): nobody is there any more that could be sent a signal.
                leaf.shell = null;
                leaf.fail(new FlowInterruptedException("Timeout waiting for agent to come back",
                        STEPS + "support.steps.ExecutorStepExecution$RemovedNodeTimeoutCause", "ABORTED"));
            }
        }
        for (Head each : heads) {
            each.frames.stream().filter(frame -> frame.id == node.id).forEach(frame -> frame.lost = true);
        }
    }

    private void stopAll(FlowInterruptedException stopped) {
        for (Head leaf : leaves(heads.get(0))) {
            interrupt(leaf, stopped);
        }
    }

    /** Sees whether a script ended. Returns whether something can go on. */
    boolean processesMoved() {
        boolean moved = false;
        for (Head head : heads) {
            if (head.shell != null && head.shell.ended()) {
                print(head, head.shell.log());
                try {
                    head.answer(head.shell.value());
                } catch (IOException failure) {
                    head.fail(failure);
                }
                moved = true;
            }
        }
        return moved;
    }

    boolean processesRun() {
        return heads.stream().anyMatch(head -> head.shell != null);
    }

    /** Moves the clock to the next thing that time brings. Returns false when time brings nothing more. */
    boolean timePasses() throws IOException {
        long next = nextEvent();
        if (next == Long.MAX_VALUE) {
            return false;
        }
        passTo(next);
        return true;
    }

    /** Second of the clock at which time brings something; the largest number for never. */
    long nextEvent() {
        boolean waits = scenario.freedAfter >= 0 && !scenario.heldElsewhere.isEmpty();
        long next = waits ? scenario.freedAfter : Long.MAX_VALUE;
        for (Head head : heads) {
            next = head.wakeAt >= 0 ? Math.min(next, head.wakeAt) : next;
            for (Frame frame : head.frames) {
                next = frame.deadline >= 0 ? Math.min(next, frame.deadline) : next;
            }
        }
        return next;
    }

    void passTo(long second) throws IOException {
        clock = Math.max(clock, second);
        boolean waits = scenario.freedAfter >= 0 && !scenario.heldElsewhere.isEmpty();
        if (waits && clock >= scenario.freedAfter) {
            Locks.freedElsewhere(this);
        }
        timeouts();
        for (Head head : new ArrayList<>(heads)) {
            if (head.wakeAt >= 0 && head.wakeAt <= clock) {
                try {
                    NativeSteps.woken(this, head);
                } catch (InterruptedException stopped) {
                    head.fail(stopped);
                }
            }
        }
    }

    private void timeouts() {
        for (Head head : leaves(heads.get(0))) {
            for (Frame frame : head.frames) {
                if (frame.deadline >= 0 && frame.deadline <= clock && head.wakeAt != clock) {
                    frame.deadline = -1;
                    interruptWithin(frame);
                }
            }
        }
    }

    private void interruptWithin(Frame frame) {
        for (Head leaf : leaves(heads.get(0))) {
            if (leaf.frames.stream().anyMatch(each -> each.id == frame.id)) {
                interrupt(leaf, new FlowInterruptedException("Timeout has been exceeded", STEPS + "steps.TimeoutStepExecution$ExceededTimeout", "ABORTED"));
            }
        }
    }

    void print(Head head, String text) {
        String shown = text;
        for (Frame frame : head.frames) {
            for (String secret : frame.secrets) {
                shown = shown.replace(secret, "****");
            }
        }
        log.append(shown.endsWith("\n") || shown.isEmpty() ? shown : shown + "\n");
    }

    /** Remembers a fault of the library for good: a script that catches exceptions cannot hide it. */
    void violation(String fault) {
        if (!report.violations.contains(fault)) {
            report.violations.add(fault);
        }
    }

    boolean matches(String pattern) {
        return !pattern.isEmpty() && Pattern.compile(pattern).matcher(lastCall()).find();
    }

    Report finish() {
        Throwable error = heads.get(0).thrown;
        if (error instanceof FlowInterruptedException) {
            build.setResult(FlowInterruptedException.harnessOutcome((FlowInterruptedException) error));
        } else if (error != null) {
            build.setResult("FAILURE");
        }
        if (error != null) {
            report.error = error.toString();
            java.io.StringWriter trace = new java.io.StringWriter();
            error.printStackTrace(new java.io.PrintWriter(trace));
            log.append(trace);
        }
        report.result = build.getCurrentResult();
        report.description = build.description;
        report.displayName = build.displayName;
        report.held.addAll(locks.keySet());
        report.log = log.toString();
        return report;
    }
}
