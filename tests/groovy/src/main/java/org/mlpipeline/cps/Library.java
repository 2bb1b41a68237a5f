package org.mlpipeline.cps;

import com.cloudbees.groovy.cps.CpsTransformer;
import com.cloudbees.groovy.cps.NonCPS;
import groovy.lang.GroovyClassLoader;
import groovy.lang.GroovyCodeSource;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.codehaus.groovy.control.CompilerConfiguration;
import org.codehaus.groovy.control.customizers.ImportCustomizer;

/** The shared library of one build, compiled as Jenkins does: CPS transformer, imports, base class, {@code vars/} and {@code src/}. */
final class Library {
    /** Compiled once for all builds of a virtual machine; the library does not change while it is tested. */
    private static final Map<Path, Library> COMPILED = new HashMap<>();

    private static final String JENKINSFILE = "WorkflowScript";

    private final Map<String, Class<?>> known = new HashMap<>();
    private final Path root;
    private final Set<String> variables = new TreeSet<>();
    final GroovyClassLoader loader;

    Library(Path root) throws IOException {
        this.root = root;
        ImportCustomizer imports = new ImportCustomizer();
        imports.addStarImports(NonCPS.class.getPackage().getName());
        CompilerConfiguration compiler = new CompilerConfiguration();
        compiler.addCompilationCustomizers(imports, new CpsTransformer());
        compiler.setScriptBaseClass(PipelineScript.class.getName());
        compiler.setSourceEncoding("UTF-8");
        loader = new GroovyClassLoader(Library.class.getClassLoader(), compiler);
        for (String folder : List.of("src", "vars")) {
            if (Files.isDirectory(root.resolve(folder))) {
                loader.addClasspath(root.resolve(folder).toString());
            }
        }
        variables.addAll(names(root.resolve("vars")));
    }

    static synchronized Library of(Path root) throws IOException {
        Library library = COMPILED.get(root);
        if (library == null) {
            library = new Library(root);
            COMPILED.put(root, library);
        }
        return library;
    }

    boolean has(String variable) {
        return variables.contains(variable);
    }

    Set<String> variables() {
        return variables;
    }

    /** A class by name: the library's, the Jenkinsfile's, or the platform's; null when there is none. */
    Class<?> find(String name) {
        Class<?> found = known.get(name);
        if (found == null) {
            try {
                found = loader.loadClass(name);
            } catch (ClassNotFoundException missing) {
                found = Missing.class;
            }
            // Each build has another Jenkinsfile.
            if (!name.startsWith(JENKINSFILE)) {
                known.put(name, found);
            }
        }
        return found == Missing.class ? null : found;
    }

    /** Whether a class is the library's or the Jenkinsfile's own. */
    boolean compiled(Class<?> type) {
        return type != null && type.getClassLoader() instanceof GroovyClassLoader;
    }

    /** A new instance of {@code vars/NAME.groovy}. */
    PipelineScript variable(String name) {
        return instance(type(name));
    }

    PipelineScript main(String jenkinsfile) {
        return instance(loader.parseClass(new GroovyCodeSource(jenkinsfile, JENKINSFILE, "/groovy/shell"), false));
    }

    /** The steps with a block, written as a pipeline script themselves. */
    PipelineScript blocks() throws IOException {
        try (InputStream source = Library.class.getResourceAsStream("Blocks.groovy.txt")) {
            String text = new String(source.readAllBytes(), StandardCharsets.UTF_8);
            return instance(loader.parseClass(new GroovyCodeSource(text, "BlockSteps", "/groovy/shell")));
        }
    }

    /** Loads all classes before a saved program is read. */
    void prepare(String jenkinsfile) throws IOException {
        main(jenkinsfile);
        blocks();
    }

    String resource(String path) throws IOException {
        Path file = root.resolve("resources").resolve(path);
        if (!Files.exists(file)) {
            throw new hudson.AbortException("No such library resource " + path + " could be found.");
        }
        return Files.readString(file);
    }

    byte[] bytes(String path) throws IOException {
        resource(path);
        return Files.readAllBytes(root.resolve("resources").resolve(path));
    }

    /** Compiles every step and every class, whether a test calls it or not. */
    int compileAll() throws IOException {
        int count = 0;
        for (String name : variables) {
            type(name);
            count++;
        }
        Path sources = root.resolve("src");
        if (Files.isDirectory(sources)) {
            try (Stream<Path> files = Files.walk(sources)) {
                for (Path file : files.filter(each -> each.toString().endsWith(".groovy")).collect(Collectors.toList())) {
                    type(sources.relativize(file).toString().replace(".groovy", "").replace('/', '.'));
                    count++;
                }
            }
        }
        return count;
    }

    private Class<?> type(String name) {
        try {
            return loader.loadClass(name, true, false);
        } catch (ClassNotFoundException missing) {
            throw new IllegalStateException(missing);
        }
    }

    private static PipelineScript instance(Class<?> type) {
        try {
            return (PipelineScript) type.getDeclaredConstructor().newInstance();
        } catch (ReflectiveOperationException broken) {
            throw new IllegalStateException("cannot make " + type, broken);
        }
    }

    private static Set<String> names(Path folder) throws IOException {
        if (!Files.isDirectory(folder)) {
            return Set.of();
        }
        try (Stream<Path> files = Files.list(folder)) {
            return files.map(file -> file.getFileName().toString()).filter(name -> name.endsWith(".groovy"))
                    .map(name -> name.replace(".groovy", "")).collect(Collectors.toSet());
        }
    }

    private static final class Missing {
    }
}
