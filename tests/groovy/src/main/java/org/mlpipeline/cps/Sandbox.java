package org.mlpipeline.cps;

import groovy.lang.Closure;
import groovy.lang.GString;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.codehaus.groovy.runtime.GStringImpl;
import org.codehaus.groovy.runtime.ScriptBytecodeAdapter;

/**
 * Which calls the Groovy sandbox of a controller lets through without an approval. The list is in the notation of a controller
 * (tests/fixtures/jenkins/sandbox.txt); what is not in it counts as rejected.
 */
final class Sandbox {
    private static final String EXTENSIONS = "org.codehaus.groovy.runtime.";

    /** What operators, loops, texts and closures of the language become; a controller trusts these too. */
    private static final Set<Class<?>> LANGUAGE = Set.of(ScriptBytecodeAdapter.class, GStringImpl.class, Closure.class);

    private final List<Rule> rules = new ArrayList<>();

    private static final class Rule {
        final String kind;
        final String owner;
        final String name;
        final List<String> types;

        Rule(List<String> words) {
            kind = words.get(0);
            owner = words.get(1);
            boolean made = "new".equals(kind);
            name = made ? "" : words.get(2);
            types = words.subList(made ? 2 : 3, words.size());
        }
    }

    static Sandbox read(Path file) throws IOException {
        Sandbox sandbox = new Sandbox();
        for (String line : Files.readAllLines(file)) {
            String told = line.replaceFirst("#.*", "").trim();
            if (!told.isEmpty()) {
                sandbox.rules.add(new Rule(List.of(told.split("\\s+"))));
            }
        }
        return sandbox;
    }

    /** Operators and loops of the language, and whatever the library and the Jenkinsfile define themselves. */
    private static boolean own(Object receiver) {
        Class<?> type = receiver instanceof Class ? (Class<?>) receiver : receiver == null ? null : receiver.getClass();
        return type == null || LANGUAGE.contains(type) || receiver instanceof Closure
                || type.getName().startsWith("org.mlpipeline.") || type.getName().startsWith("com.cloudbees.groovy.cps.")
                || Harness.current.library.compiled(type);
    }

    boolean allowsCall(Object receiver, String name, Object[] arguments) {
        if (receiver instanceof GString && "plus".equals(name) && arguments[0] instanceof GString) {
            // Of the two ways to add to a text with values only the one for a plain text is listed.
            return false;
        }
        if (own(receiver)) {
            return true;
        }
        List<Object> given = new ArrayList<>();
        Collections.addAll(given, arguments);
        List<Object> extended = new ArrayList<>(given);
        extended.add(0, receiver);
        for (Rule rule : rules) {
            boolean named = rule.name.equals(name);
            boolean method = "method".equals(rule.kind) && fits(rule.owner, receiver) && fits(rule.types, given);
            boolean fixed = "staticMethod".equals(rule.kind) && receiver instanceof Class && ((Class<?>) receiver).getName().equals(rule.owner)
                    && fits(rule.types, given);
            boolean extension = "staticMethod".equals(rule.kind) && rule.owner.startsWith(EXTENSIONS) && fits(rule.types, extended);
            if (named && (method || fixed || extension)) {
                return true;
            }
        }
        return false;
    }

    boolean allowsNew(Class<?> type, Object[] arguments) {
        List<Object> given = new ArrayList<>();
        Collections.addAll(given, arguments);
        return own(type) || rules.stream()
                .anyMatch(rule -> "new".equals(rule.kind) && rule.owner.equals(type.getName()) && fits(rule.types, given));
    }

    boolean allowsRead(Object receiver, String name) {
        String getter = "get" + name.substring(0, 1).toUpperCase() + name.substring(1);
        return own(receiver) || receiver instanceof java.util.Map || allowsCall(receiver, getter, new Object[0])
                || receiver instanceof Class && "class".equals(name);
    }

    private static boolean fits(List<String> types, List<Object> given) {
        if (types.size() != given.size()) {
            return false;
        }
        for (int index = 0; index < types.size(); index++) {
            if (given.get(index) != null && !fits(types.get(index), given.get(index))) {
                return false;
            }
        }
        return true;
    }

    private static boolean fits(String type, Object value) {
        if ("int".equals(type) || "long".equals(type)) {
            return value instanceof Integer || value instanceof Long;
        }
        if ("java.lang.String".equals(type) && value instanceof CharSequence) {
            return true;
        }
        try {
            return Class.forName(type).isInstance(value);
        } catch (ClassNotFoundException missing) {
            throw new IllegalStateException("sandbox.txt names a type that does not exist: " + type, missing);
        }
    }

    static String told(String kind, Object receiver, String name, Object[] arguments) {
        Class<?> type = receiver instanceof Class ? (Class<?>) receiver : receiver.getClass();
        List<Object> given = new ArrayList<>();
        Collections.addAll(given, arguments);
        String types = given.stream().map(each -> each == null ? "null" : each.getClass().getName()).collect(Collectors.joining(" "));
        return (kind + " " + type.getName() + " " + name + " " + types).trim().replace("  ", " ");
    }
}
