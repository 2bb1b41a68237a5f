package org.mlpipeline.cps;

import groovy.lang.GroovyObjectSupport;
import java.io.Serializable;

/** The variable {@code steps}: steps for classes that are no scripts. */
public final class StepsVariable extends GroovyObjectSupport implements Serializable {
    private static final long serialVersionUID = 1L;

    @Override
    public Object invokeMethod(String name, Object args) {
        return PipelineScript.call(this, name, args);
    }
}
