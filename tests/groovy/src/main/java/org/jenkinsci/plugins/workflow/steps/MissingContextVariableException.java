package org.jenkinsci.plugins.workflow.steps;

/** A step that needs a {@code node} was called outside of one. */
public class MissingContextVariableException extends Exception {
    private static final long serialVersionUID = 1L;

    public MissingContextVariableException(String step) {
        super("Required context class hudson.FilePath is missing\nPerhaps you forgot to surround the " + step
                + " step with a step that provides this, such as: node");
    }
}
