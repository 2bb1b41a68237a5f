package org.mlpipeline.cps;

import java.io.Serializable;

/** The variable {@code scm}: an object that scripts hand to checkout and cannot look into. */
public final class SourceControl implements Serializable {
    private static final long serialVersionUID = 1L;

    @Override
    public String toString() {
        return "scm";
    }
}
