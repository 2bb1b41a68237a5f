package org.jenkinsci.plugins.workflow.steps;

/**
 * A stopped step. As in the sandbox of a controller, only its message and its class can be read: the cause that Jenkins knows
 * is for the harness alone.
 */
public class FlowInterruptedException extends InterruptedException {
    private static final long serialVersionUID = 1L;

    private final String cause;
    private final String outcome;

    public FlowInterruptedException(String message, String cause, String outcome) {
        super(message);
        this.cause = cause;
        this.outcome = outcome;
    }

    /** The class name of the cause of interruption. Not a getter, so that no script reads it by accident. */
    public static String harnessCause(FlowInterruptedException stopped) {
        return stopped.cause;
    }

    /** The result a build gets when nobody catches this. */
    public static String harnessOutcome(FlowInterruptedException stopped) {
        return stopped.outcome;
    }

    public Object getCauses() {
        throw new SecurityException("Scripts not permitted to use method " + getClass().getName() + " getCauses");
    }

    public Object getResult() {
        throw new SecurityException("Scripts not permitted to use method " + getClass().getName() + " getResult");
    }

    public boolean isActualInterruption() {
        throw new SecurityException("Scripts not permitted to use method " + getClass().getName() + " isActualInterruption");
    }
}
