package org.mlpipeline.cps;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The variable {@code currentBuild}, with what scripts may read and write. */
public final class CurrentBuild implements Serializable {
    private static final long serialVersionUID = 1L;
    private static final List<String> ORDER = List.of("SUCCESS", "UNSTABLE", "FAILURE", "NOT_BUILT", "ABORTED");
    private String result;
    public String description;
    public String displayName;
    private final int number;
    private final long started = System.currentTimeMillis();

    CurrentBuild(int number) {
        this.number = number;
        this.displayName = "#" + number;
    }

    public String getResult() {
        return result;
    }

    /** A result can only get worse. */
    public void setResult(String wanted) {
        if (wanted == null) {
            throw new NullPointerException("result");
        }
        String known = ORDER.contains(wanted) ? wanted : "FAILURE";
        if (result == null || ORDER.indexOf(known) > ORDER.indexOf(result)) {
            result = known;
        }
    }

    public String getCurrentResult() {
        return result == null ? "SUCCESS" : result;
    }

    public boolean resultIsBetterOrEqualTo(String other) {
        return ORDER.indexOf(getCurrentResult()) <= ORDER.indexOf(other);
    }

    public boolean resultIsWorseOrEqualTo(String other) {
        return ORDER.indexOf(getCurrentResult()) >= ORDER.indexOf(other);
    }

    public int getNumber() {
        return number;
    }

    public String getId() {
        return String.valueOf(number);
    }

    public long getStartTimeInMillis() {
        return started;
    }

    public long getDuration() {
        return System.currentTimeMillis() - started;
    }

    public String getDurationString() {
        return getDuration() / 1000 + " sec and counting";
    }

    public String getAbsoluteUrl() {
        return (String) Program.current.environment.getProperty("BUILD_URL");
    }

    public String getProjectName() {
        return (String) Program.current.environment.getProperty("JOB_BASE_NAME");
    }

    public String getFullProjectName() {
        return (String) Program.current.environment.getProperty("JOB_NAME");
    }

    public String getFullDisplayName() {
        return getFullProjectName() + " " + displayName;
    }

    public Object getPreviousBuild() {
        return null;
    }

    public Object getRawBuild() {
        throw new SecurityException("Scripts not permitted to use method org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper getRawBuild");
    }

    public List<Map<String, Object>> getBuildCauses() {
        return causes("");
    }

    /** The exact class name only: no superclasses, no short names. */
    public List<Map<String, Object>> getBuildCauses(String type) {
        return causes(type);
    }

    private static List<Map<String, Object>> causes(String type) {
        List<Map<String, Object>> found = new ArrayList<>();
        for (Map<String, Object> cause : Program.current.scenario.causes) {
            if (type.isEmpty() || type.equals(cause.get("_class"))) {
                found.add(new LinkedHashMap<>(cause));
            }
        }
        return found;
    }
}
