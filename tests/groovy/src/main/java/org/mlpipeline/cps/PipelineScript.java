package org.mlpipeline.cps;

import com.cloudbees.groovy.cps.Continuable;
import com.cloudbees.groovy.cps.SerializableScript;
import groovy.lang.MissingPropertyException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.codehaus.groovy.runtime.InvokerHelper;

/** Base class of every script, as CpsScript is on a controller: what a script does not have itself is a step or a global variable. */
public abstract class PipelineScript extends SerializableScript {
    private static final long serialVersionUID = 1L;
    /** Described objects that Jenkinsfiles build from symbols. */
    private static final Set<String> SYMBOLS = Set.of("string", "usernamePassword", "usernameColonPassword", "file", "sshUserPrivateKey",
            "certificate", "booleanParam", "choice", "text", "password", "cron", "pollSCM", "upstream", "pipelineTriggers", "parameters",
            "buildDiscarder", "logRotator", "disableConcurrentBuilds", "disableResume", "nonresumable", "agent", "kubernetesAgent");

    @Override
    public Object invokeMethod(String name, Object args) {
        return call(this, name, args);
    }

    @Override
    public Object getProperty(String name) {
        if (getBinding().getVariables().containsKey(name)) {
            return getBinding().getVariables().get(name);
        }
        Program program = Program.current;
        switch (name) {
            case "env":
                return program.environment;
            case "currentBuild":
                return program.build;
            case "params":
                return program.scenario.params;
            case "steps":
                return program.steps;
            case "scm":
                return new SourceControl();
            default:
        }
        if (Harness.current.library.has(name)) {
            return program.global(name);
        }
        try {
            return super.getProperty(name);
        } catch (MissingPropertyException missing) {
            Object value = program.environment.getProperty(name);
            if (value == null) {
                throw missing;
            }
            return value;
        }
    }

    /** Calls a global variable, a step with a block, or a step; suspends the program for all but the first two. */
    static Object call(Object caller, String name, Object args) {
        Program program = Program.current;
        Object[] given = InvokerHelper.asArray(args);
        if (Harness.current.library.has(name)) {
            return InvokerHelper.invokeMethod(program.global(name), "call", args);
        }
        if (caller == program.blocks && ("openFrame".equals(name) || "closeFrame".equals(name))) {
            return Continuable.suspend(name, StepCall.frame(name, given));
        }
        if (program.scenario.missingSteps.contains(name) || (!Harness.current.table.knows(name) && !SYMBOLS.contains(name))) {
            throw new NoSuchMethodError("No such DSL method '" + name + "' found among steps " + Harness.current.table.names());
        }
        if (SYMBOLS.contains(name) && !Harness.current.table.knows(name)) {
            return symbol(name, given);
        }
        StepCall step = StepCall.of(name, given, Harness.current.table);
        Set<String> unknown = Harness.current.table.unknown(step);
        if (!unknown.isEmpty()) {
            program.violation("the step " + name + " of a controller has no parameter " + unknown);
            throw new IllegalArgumentException("the step " + name + " of a controller has no parameter " + unknown);
        }
        if (Harness.current.table.needsNode(name) && !program.head().onNode()) {
            throw sneaky(new org.jenkinsci.plugins.workflow.steps.MissingContextVariableException(name));
        }
        if (Harness.current.table.needsNode(name) && program.head().node().lost) {
            String agent = program.head().node().variables.get("NODE_NAME");
            throw sneaky(new java.io.IOException("Unable to create live FilePath for " + agent + "; " + agent + " was marked offline: Connection was broken"));
        }
        if (step.body != null && !"parallel".equals(name)) {
            return InvokerHelper.invokeMethod(program.blocks, "block_" + name, new Object[] {step.parameters, step.body});
        }
        return Continuable.suspend(name, step);
    }

    private static Object symbol(String name, Object[] given) {
        Map<String, Object> described = new LinkedHashMap<>();
        described.put("$class", name);
        for (Object each : given) {
            if (each instanceof Map) {
                ((Map<?, ?>) each).forEach((key, value) -> described.put(String.valueOf(key), value));
            } else if (each instanceof List || each != null) {
                described.put("value", each);
            }
        }
        return described;
    }

    @SuppressWarnings("unchecked")
    static <T extends Throwable> RuntimeException sneaky(Throwable thrown) throws T {
        throw (T) thrown;
    }
}
