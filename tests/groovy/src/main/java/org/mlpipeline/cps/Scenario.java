package org.mlpipeline.cps;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** One build and everything around it that a test decides. Plain and serializable: it travels with the program. */
public class Scenario implements Serializable {
    private static final long serialVersionUID = 1L;

    /** The Jenkinsfile's text. */
    public String jenkinsfile = "";
    /** What a checkout brings: texts by path. */
    public Map<String, String> repository = new LinkedHashMap<>();
    /** A git repository that a checkout brings instead, at the head of its branch; empty for none. */
    public String origin = "";
    /** The branch that a checkout tells. */
    public String branch = "main";
    /** Environment of the build, as a job or a multibranch project sets it. */
    public Map<String, String> env = new LinkedHashMap<>();
    /** Environment of the agent's processes only. */
    public Map<String, String> agent = new LinkedHashMap<>();
    public Map<String, Object> params = new LinkedHashMap<>();
    /** What getBuildCauses returns; each has at least {@code _class}. */
    public List<Map<String, Object>> causes = new ArrayList<>();
    /** Answers to inputs, in the order of asking. */
    public List<Answer> answers = new ArrayList<>();
    /** Secrets by credentials id. */
    public Map<String, String> credentials = new LinkedHashMap<>();
    /** Resources by label, as the lockable-resources plugin is configured. */
    public Map<String, List<String>> resources = new LinkedHashMap<>();
    /** Properties of resources, by name. */
    public Map<String, Map<String, String>> resourceProperties = new LinkedHashMap<>();
    /** Resources that another build holds. */
    public Set<String> heldElsewhere = new LinkedHashSet<>();
    /** Second of the program's clock at which that build lets them go; negative for never. */
    public long freedAfter = -1;
    /** Steps of plugins that are not installed. */
    public Set<String> missingSteps = new LinkedHashSet<>();
    /** What is done to the build below is done only once this file is there; empty for at once. */
    public String onceThereIs = "";
    /** Agents by label that are switched off; a label that is not here has one that is online. */
    public Map<String, List<String>> offlineAgents = new LinkedHashMap<>();
    /** Second of the program's clock at which they are back; negative for never. */
    public long agentsBackAt = -1;
    /** The machine of the agent dies, and never comes back, when a call that matches is under way on it. */
    public String agentLostAt = "";
    /** A user stops the build when a call that matches is under way ("step text"). */
    public String abortAt = "";
    /** A newer build passes the milestone when a call that matches is under way. */
    public String supersededAt = "";
    /** The controller dies when a call that matches is under way; one after another. */
    public List<String> restartAt = new ArrayList<>();

    /** What somebody does with an input. */
    public static class Answer implements Serializable {
        private static final long serialVersionUID = 1L;
        public String who;
        public boolean proceed;
        /** Seconds of the program's clock after which the answer comes. */
        public long after;
        /** Values of declared parameters; empty as from the button that submits none. */
        public Map<String, Object> values = new LinkedHashMap<>();

        public Answer(String who, boolean proceed, long after) {
            this.who = who;
            this.proceed = proceed;
            this.after = after;
        }
    }
}
