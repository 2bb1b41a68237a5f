package org.mlpipeline.cps;

import groovy.lang.GroovyObjectSupport;
import java.io.Serializable;
import java.util.LinkedHashMap;
import java.util.Map;

/** The variable {@code env}. Only what the sandbox allows: reading and writing of single names. */
public final class Environment extends GroovyObjectSupport implements Serializable {
    private static final long serialVersionUID = 1L;
    final Map<String, String> global = new LinkedHashMap<>();

    @Override
    public Object getProperty(String name) {
        return visible().get(name);
    }

    @Override
    public void setProperty(String name, Object value) {
        if (value == null) {
            global.remove(name);
        } else {
            global.put(name, value.toString());
        }
    }

    @Override
    public Object invokeMethod(String name, Object args) {
        throw new SecurityException("Scripts not permitted to use env." + name);
    }

    public Object getAt(String name) {
        throw new SecurityException(
                "Scripts not permitted to use staticMethod org.codehaus.groovy.runtime.DefaultGroovyMethods getAt java.lang.Object java.lang.String");
    }

    /** The build's variables and those of the blocks around the current step. */
    Map<String, String> visible() {
        Map<String, String> all = new LinkedHashMap<>(global);
        for (Frame frame : Program.current.head().frames) {
            frame.apply(all);
        }
        return all;
    }
}
