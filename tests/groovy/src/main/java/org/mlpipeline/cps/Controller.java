package org.mlpipeline.cps;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * Several builds of one job at once: each a program of its own that is saved at every step call, one step of each after the other, with one
 * set of locks and milestones and one clock between them.
 */
public final class Controller {
    private final Path root;
    private final Path home;
    private final List<Build> builds = new ArrayList<>();
    /** The newest build that has passed each milestone. */
    private final Map<Integer, Integer> passed = new LinkedHashMap<>();

    /** What all builds did, in order: number and step call. */
    public final List<String> happened = new ArrayList<>();

    private static final class Build {
        private final int number;
        private final Scenario scenario;
        private final Harness harness;
        private Program program;
        private Report report;

        Build(Scenario scenario, Harness harness) {
            this.number = Integer.parseInt(scenario.env.get("BUILD_NUMBER"));
            this.scenario = scenario;
            this.harness = harness;
        }

        boolean runs() {
            return program != null && report == null;
        }
    }

    /**
     * @param root the library
     * @param home a folder for what the builds leave behind, one folder each
     */
    public Controller(Path root, Path home) {
        this.root = root;
        this.home = home;
    }

    /** Runs all builds to their ends. A build begins once the file that its scenario names in {@code onceThereIs} is there. */
    public Map<Integer, Report> run(List<Scenario> scenarios) throws IOException {
        for (Scenario scenario : scenarios) {
            Path place = home.resolve("build-" + scenario.env.get("BUILD_NUMBER"));
            Files.createDirectories(place);
            builds.add(new Build(scenario, new Harness(root, place, false)));
        }
        builds.sort(Comparator.comparingInt(build -> build.number));
        while (builds.stream().anyMatch(build -> build.report == null)) {
            boolean moved = false;
            boolean processes = false;
            for (Build build : builds) {
                Harness.Turn turn = turn(build);
                moved |= turn == Harness.Turn.GOES_ON;
                processes |= turn == Harness.Turn.WAITS_FOR_A_PROCESS;
            }
            if (processes && !moved) {
                Shell.pause();
            } else if (!moved) {
                timePasses();
            }
        }
        return builds.stream().collect(Collectors.toMap(build -> build.number, build -> build.report));
    }

    private Harness.Turn turn(Build build) throws IOException {
        if (build.report != null) {
            return Harness.Turn.WAITS_FOR_TIME;
        }
        if (build.program == null) {
            return begin(build);
        }
        enter(build);
        Set<String> before = new LinkedHashSet<>(build.program.locks.keySet());
        int milestone = build.program.milestone;
        int calls = build.program.report.calls.size();
        Harness.Turn turn = build.harness.turn();
        leave(build);
        build.program.report.calls.stream().skip(calls).forEach(call -> happened.add(build.number + " " + call));
        if (build.program.milestone > milestone) {
            passed.merge(build.program.milestone, build.number, Math::max);
            supersedeOlder(build);
        }
        if (build.program.finished()) {
            build.report = build.program.finish();
        }
        before.removeAll(build.program.locks.keySet());
        if (!before.isEmpty()) {
            offer();
        }
        return turn;
    }

    private Harness.Turn begin(Build build) throws IOException {
        if (!build.scenario.onceThereIs.isEmpty() && !Files.exists(Path.of(build.scenario.onceThereIs))) {
            return Harness.Turn.WAITS_FOR_TIME;
        }
        long now = builds.stream().filter(Build::runs).mapToLong(each -> each.program.clock).max().orElse(0);
        Harness.current = build.harness;
        build.harness.begin(build.scenario);
        leave(build);
        build.program.clock = now;
        return Harness.Turn.GOES_ON;
    }

    /** What the steps of a build look at is its own from here on, with what the others hold and have passed. */
    private void enter(Build build) {
        Harness.current = build.harness;
        Program.current = build.program;
        Set<String> held = build.program.scenario.heldElsewhere;
        held.clear();
        builds.stream().filter(each -> each != build && each.runs()).forEach(each -> held.addAll(each.program.locks.keySet()));
        build.program.newest.putAll(passed);
    }

    /** Saving makes another object of the program. */
    private static void leave(Build build) {
        build.program = Program.current;
    }

    private void supersedeOlder(Build newer) {
        for (Build build : builds) {
            if (build.number < newer.number && build.runs() && build.program.milestone < newer.program.milestone && !build.program.superseded) {
                enter(build);
                build.program.supersede(newer.number);
            }
        }
    }

    /** Something was freed: newest first where a lock asks for that, oldest first elsewhere. */
    private void offer() {
        List<Build> newestFirst = new ArrayList<>(builds);
        Collections.reverse(newestFirst);
        newestFirst.stream().filter(Build::runs).forEach(build -> offer(build, true));
        builds.stream().filter(Build::runs).forEach(build -> offer(build, false));
    }

    private void offer(Build build, boolean inverse) {
        enter(build);
        Locks.offer(build.program, inverse);
    }

    private void timePasses() throws IOException {
        long next = builds.stream().filter(Build::runs).mapToLong(build -> build.program.nextEvent()).min().orElse(Long.MAX_VALUE);
        if (next == Long.MAX_VALUE) {
            throw new IllegalStateException("all builds wait for ever:\n" + String.join("\n", happened));
        }
        for (Build build : builds) {
            if (build.runs()) {
                enter(build);
                build.program.passTo(next);
            }
        }
    }
}
