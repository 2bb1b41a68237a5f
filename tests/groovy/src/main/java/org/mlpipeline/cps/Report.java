package org.mlpipeline.cps;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;

/** What came out of a build. */
public final class Report implements Serializable {
    private static final long serialVersionUID = 1L;
    /** SUCCESS, UNSTABLE, FAILURE, NOT_BUILT or ABORTED. */
    public String result;
    public String description;
    public String displayName;
    /** The exception that ended the build; empty when none. */
    public String error = "";
    /** Every step call, in order, as one line each. */
    public List<String> calls = new ArrayList<>();
    /** Resources that were still held at the end. */
    public List<String> held = new ArrayList<>();
    /** Archived files, in order, as often as they were archived. */
    public List<String> archived = new ArrayList<>();
    /** What no controller would do with this library, or would do only after a script approval. */
    public List<String> violations = new ArrayList<>();
    /** The console. */
    public String log = "";
    /** How often the program was saved and read again. */
    public int saves;
    /** How often it went on in a new virtual machine. */
    public int restarts;

    /** Calls of one step. */
    public List<String> of(String step) {
        List<String> found = new ArrayList<>();
        for (String call : calls) {
            if (call.equals(step) || call.startsWith(step + " ")) {
                found.add(call);
            }
        }
        return found;
    }
}
