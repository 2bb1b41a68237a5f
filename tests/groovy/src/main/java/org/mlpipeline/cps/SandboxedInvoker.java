package org.mlpipeline.cps;

import com.cloudbees.groovy.cps.impl.CallSiteBlock;
import com.cloudbees.groovy.cps.sandbox.Invoker;

/** Does what a script asks for, and remembers what the sandbox of a controller would have rejected. */
final class SandboxedInvoker implements Invoker {
    private static final long serialVersionUID = 1L;

    @Override
    public Object methodCall(Object receiver, String name, Object[] arguments) throws Throwable {
        if (!sandbox().allowsCall(receiver, name, arguments)) {
            rejected(Sandbox.told(receiver instanceof Class ? "staticMethod" : "method", receiver, name, arguments));
        }
        return INSTANCE.methodCall(receiver, name, arguments);
    }

    @Override
    public Object constructorCall(Class type, Object[] arguments) throws Throwable {
        if (!sandbox().allowsNew(type, arguments)) {
            rejected(Sandbox.told("new", type, "", arguments));
        }
        return INSTANCE.constructorCall(type, arguments);
    }

    @Override
    public Object superCall(Class type, Object receiver, String name, Object[] arguments) throws Throwable {
        return INSTANCE.superCall(type, receiver, name, arguments);
    }

    @Override
    public Object getProperty(Object receiver, String name) throws Throwable {
        if (!sandbox().allowsRead(receiver, name)) {
            rejected(Sandbox.told("field or getter", receiver, name, new Object[0]));
        }
        return INSTANCE.getProperty(receiver, name);
    }

    @Override
    public void setProperty(Object receiver, String name, Object value) throws Throwable {
        INSTANCE.setProperty(receiver, name, value);
    }

    @Override
    public Object getAttribute(Object receiver, String name) throws Throwable {
        rejected("field " + name);
        return INSTANCE.getAttribute(receiver, name);
    }

    @Override
    public void setAttribute(Object receiver, String name, Object value) throws Throwable {
        rejected("field " + name);
        INSTANCE.setAttribute(receiver, name, value);
    }

    @Override
    public Object getArray(Object receiver, Object index) throws Throwable {
        if (receiver instanceof Environment || receiver instanceof CurrentBuild) {
            rejected("staticMethod org.codehaus.groovy.runtime.DefaultGroovyMethods getAt java.lang.Object java.lang.String");
        }
        return INSTANCE.getArray(receiver, index);
    }

    @Override
    public void setArray(Object receiver, Object index, Object value) throws Throwable {
        INSTANCE.setArray(receiver, index, value);
    }

    @Override
    public Object methodPointer(Object receiver, String name) {
        rejected("method pointer " + name);
        return INSTANCE.methodPointer(receiver, name);
    }

    @Override
    public Invoker contextualize(CallSiteBlock site) {
        return this;
    }

    private static Sandbox sandbox() {
        return Harness.current.sandbox;
    }

    private static void rejected(String call) {
        Program.current.violation("Scripts not permitted to use " + call);
    }
}
