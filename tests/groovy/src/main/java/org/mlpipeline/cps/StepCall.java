package org.mlpipeline.cps;

import groovy.lang.Closure;
import groovy.lang.GString;
import java.io.Serializable;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A call of a step: what a program hands to Jenkins when it suspends. */
final class StepCall implements Serializable {
    private static final long serialVersionUID = 1L;

    final String name;
    final Map<String, Object> parameters;
    final Closure<?> body;

    /** Whether this begins or ends a block. */
    final boolean frame;

    private StepCall(String name, Map<String, Object> parameters, Closure<?> body, boolean frame) {
        this.frame = frame;
        this.name = name;
        this.parameters = parameters;
        this.body = body;
    }

    /** Sorts positional, named and block arguments as the step's descriptor does. */
    static StepCall of(String name, Object[] given, StepTable table) {
        List<Object> rest = new ArrayList<>();
        for (Object each : given) {
            rest.add(each);
        }
        Closure<?> body = null;
        if (!rest.isEmpty() && rest.get(rest.size() - 1) instanceof Closure) {
            body = (Closure<?>) rest.remove(rest.size() - 1);
        }
        Map<String, Object> parameters = new LinkedHashMap<>();
        if (rest.size() > 1) {
            throw new IllegalArgumentException("Expected named arguments but got " + rest);
        }
        if (rest.size() == 1) {
            boolean named = rest.get(0) instanceof Map && !"parallel".equals(name) && !table.takesMap(name, (Map<?, ?>) rest.get(0));
            if (named || "parallel".equals(name)) {
                ((Map<?, ?>) rest.get(0)).forEach((key, value) -> parameters.put(String.valueOf(key), flat(value)));
            } else if (rest.get(0) != null) {
                parameters.put(table.sole(name), flat(rest.get(0)));
            }
        }
        return new StepCall(name, parameters, body, false);
    }

    /** Begin and end of a block: (kind, parameters). */
    @SuppressWarnings("unchecked")
    static StepCall frame(String name, Object[] given) {
        Map<String, Object> parameters = new LinkedHashMap<>((Map<String, Object>) given[1]);
        return new StepCall(("openFrame".equals(name) ? "" : "end of ") + given[0], parameters, null, true);
    }

    String text(String key) {
        Object value = parameters.get(key);
        return value == null ? null : value.toString();
    }

    boolean flag(String key) {
        return Boolean.TRUE.equals(parameters.get(key));
    }

    /** One line that tests match and people read. */
    String told() {
        StringBuilder line = new StringBuilder(name);
        parameters.forEach((key, value) -> {
            if (!(value instanceof Closure)) {
                line.append(' ').append(key).append('=').append(value);
            }
        });
        return line.toString().replace('\n', ' ');
    }

    private static Object flat(Object value) {
        if (value instanceof GString) {
            return value.toString();
        }
        if (value instanceof List) {
            List<Object> flat = new ArrayList<>();
            ((List<?>) value).forEach(each -> flat.add(flat(each)));
            return flat;
        }
        if (value instanceof Map) {
            Map<Object, Object> flat = new LinkedHashMap<>();
            ((Map<?, ?>) value).forEach((key, each) -> flat.put(String.valueOf(key), flat(each)));
            return flat;
        }
        return value;
    }
}
