package org.mlpipeline.cps;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** Lockable resources: a label that nobody knows is refused, a resource that nobody knows is made. */
final class Locks {
    private Locks() {
    }

    /** Whether the block may begin; otherwise the thread waits, or skips the block where the call says so. */
    static boolean take(Program program, Head head, Frame frame) {
        List<String> wanted = wanted(program, frame);
        Set<String> busy = new LinkedHashSet<>(program.scenario.heldElsewhere);
        busy.addAll(program.locks.keySet());
        List<String> free = new ArrayList<>(wanted);
        free.removeAll(busy);
        int count = count(frame, wanted);
        if (free.size() < count) {
            if (Boolean.TRUE.equals(frame.parameters.get("skipIfLocked"))) {
                head.answer(false);
            }
            return false;
        }
        for (int index = 0; index < count; index++) {
            String name = free.get(index);
            frame.held.add(name);
            program.locks.put(name, frame.id);
            variables(program, frame, index, name);
        }
        return true;
    }

    private static List<String> wanted(Program program, Frame frame) {
        Object label = frame.parameters.get("label");
        if (label == null) {
            return List.of(String.valueOf(frame.parameters.get("resource")));
        }
        List<String> known = program.scenario.resources.get(label.toString());
        if (known == null) {
            throw new IllegalArgumentException("The resource label does not exist: " + label + ".");
        }
        return known;
    }

    private static int count(Frame frame, List<String> wanted) {
        Object quantity = frame.parameters.get("quantity");
        return quantity == null || ((Number) quantity).intValue() == 0 ? wanted.size() : ((Number) quantity).intValue();
    }

    private static void variables(Program program, Frame frame, int index, String name) {
        Object variable = frame.parameters.get("variable");
        if (variable == null) {
            return;
        }
        frame.variables.put(variable.toString(), String.join(",", frame.held));
        frame.variables.put(variable.toString() + index, name);
        program.scenario.resourceProperties.getOrDefault(name, java.util.Map.of())
                .forEach((key, value) -> frame.variables.put(variable.toString() + index + "_" + key, value));
    }

    /** Frees what a block held and lets the next thread try. */
    static void give(Program program, Frame frame) {
        frame.held.forEach(program.locks::remove);
        offer(program, true);
        offer(program, false);
    }

    /** The other build ends. */
    static void freedElsewhere(Program program) {
        program.scenario.heldElsewhere.clear();
        offer(program, true);
        offer(program, false);
    }

    /** Lets threads that wait try again: those of locks that prefer the newest build, or the others. */
    static void offer(Program program, boolean inverse) {
        for (Head head : new ArrayList<>(program.heads)) {
            boolean waits = head.pending != null && head.pending.frame && "lock".equals(head.pending.name);
            if (waits && head.pending.flag("inversePrecedence") == inverse) {
                Frame next = new Frame(program.numbers++, "lock", head.pending.parameters);
                if (take(program, head, next)) {
                    head.frames.add(next);
                    head.answer(true);
                }
            }
        }
    }
}
