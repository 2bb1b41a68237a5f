package org.mlpipeline.cps;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A block that a thread of the program is in. */
final class Frame implements Serializable {
    private static final long serialVersionUID = 1L;
    final int id;
    final String kind;
    final Map<String, Object> parameters;
    /** Variables that hold within the block. */
    final Map<String, String> variables = new LinkedHashMap<>();
    /** Values that must never be shown. */
    final List<String> secrets = new ArrayList<>();
    /** Resources held by the block. */
    final List<String> held = new ArrayList<>();
    /** Whether the machine of this node is gone. */
    boolean lost;
    /** When a time-out strikes, in seconds of the program's clock; negative for never. */
    long deadline = -1;

    Frame(int id, String kind, Map<String, Object> parameters) {
        this.id = id;
        this.kind = kind;
        this.parameters = parameters;
    }

    void apply(Map<String, String> environment) {
        variables.forEach((name, value) -> {
            int plus = name.indexOf('+');
            if (plus > 0) {
                String plain = name.substring(0, plus);
                String before = environment.get(plain);
                environment.put(plain, before == null ? value : value + ":" + before);
            } else {
                environment.put(name, value);
            }
        });
    }
}
