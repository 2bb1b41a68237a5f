package org.mlpipeline.cps;

import com.cloudbees.groovy.cps.Continuable;
import java.io.Serializable;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** One thread of the program: the main one or a branch. */
final class Head implements Serializable {
    private static final long serialVersionUID = 1L;
    final int id;
    final int parent;
    final String branch;
    final Continuable program;
    final List<Frame> frames = new ArrayList<>();
    /** Frames that were there when the branch began; they belong to the parent. */
    final int inherited;
    /** The step it waits for; null when it can go on or is finished. */
    StepCall pending;
    boolean finished;
    /** What the step returned or threw. */
    Object value;
    Throwable thrown;
    /** Waiting: until when (program's clock), for which input answer, for which process. */
    long wakeAt = -1;
    Scenario.Answer answer;
    Shell shell;
    /** Branches: what came out, and which failed first. */
    final Map<String, Object> outcomes = new LinkedHashMap<>();
    Throwable failed;

    Head(int id, Head parent, String branch, Continuable program) {
        this.id = id;
        this.parent = parent == null ? -1 : parent.id;
        this.branch = branch;
        this.program = program;
        if (parent != null) {
            frames.addAll(parent.frames);
        }
        this.inherited = frames.size();
    }

    boolean ready() {
        return !finished && pending == null;
    }

    boolean onNode() {
        return frames.stream().anyMatch(frame -> "node".equals(frame.kind));
    }

    /** The node that its steps run on; null outside of any. */
    Frame node() {
        return frames.stream().filter(frame -> "node".equals(frame.kind)).reduce((outer, inner) -> inner).orElse(null);
    }

    void answer(Object result) {
        value = result;
        thrown = null;
        settle();
    }

    void fail(Throwable error) {
        value = null;
        thrown = error;
        settle();
    }

    private void settle() {
        pending = null;
        wakeAt = -1;
        answer = null;
        shell = null;
    }
}
