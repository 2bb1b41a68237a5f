package org.mlpipeline.cps;

import com.cloudbees.groovy.cps.impl.CpsCallableInvocation;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.NotSerializableException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.ObjectStreamClass;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Runs a Jenkinsfile with the shared library as a controller does, saving the program at every step call and going on with what was read
 * back, so that everything a restart would lose is lost at once. {@link #run} stays in this virtual machine except where the scenario says
 * that the controller dies: there the program goes to a file, the machine is halted, and a new one goes on.
 */
public final class Harness {
    static Harness current;
    /** Exit status of a virtual machine that died on purpose. */
    private static final int DIED = 42;

    final Library library;
    final StepTable table;
    final Sandbox sandbox;
    final Path root;
    final Path home;
    private final boolean dying;

    Harness(Path root, Path home, boolean dying) throws IOException {
        this.root = root;
        this.home = home;
        this.dying = dying;
        this.library = Library.of(root);
        Path recorded = Path.of(System.getProperty("repository.root"), "tests/fixtures/jenkins");
        this.table = StepTable.read(recorded.resolve("steps.md"));
        this.sandbox = Sandbox.read(recorded.resolve("sandbox.txt"));
        CpsCallableInvocation.registerMismatchHandler((expected, wanted, actual, caught) -> {
            boolean block = caught.equals("block_" + wanted);
            boolean variable = "call".equals(caught) && library.has(wanted);
            if (!block && !variable) {
                Program.current.violation("expected to call " + wanted + " but wound up catching " + caught);
            }
        });
    }

    /** Compiles all steps and classes of a library. Returns how many. */
    public static int compileAll(Path root) throws IOException {
        return new Library(root).compileAll();
    }

    /**
     * @param root the library: the folder with vars, src and resources
     * @param home the build's folder, made when absent: workspace, archive, durable tasks
     */
    public static Report run(Path root, Path home, Scenario scenario) throws IOException, InterruptedException {
        if (!scenario.restartAt.isEmpty()) {
            return runWithRestarts(root, home, scenario);
        }
        Files.createDirectories(home);
        current = new Harness(root, home, false);
        current.begin(scenario);
        return current.loop();
    }

    /** The life of one virtual machine: ROOT HOME, with the scenario or the saved program in HOME. */
    public static void main(String[] given) throws IOException, ClassNotFoundException {
        Path home = Path.of(given[1]);
        current = new Harness(Path.of(given[0]), home, true);
        Path saved = home.resolve("program");
        if (Files.exists(saved)) {
            Scenario scenario = (Scenario) read(Files.readAllBytes(home.resolve("scenario")));
            current.library.prepare(scenario.jenkinsfile);
            Program.current = (Program) read(Files.readAllBytes(saved));
        } else {
            current.begin((Scenario) read(Files.readAllBytes(home.resolve("scenario"))));
        }
        Files.write(home.resolve("report"), write(current.loop()));
        Runtime.getRuntime().halt(0);
    }

    private static Report runWithRestarts(Path root, Path home, Scenario scenario) throws IOException, InterruptedException {
        Files.createDirectories(home);
        Files.write(home.resolve("scenario"), write(scenario));
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin/java").toString(), "-Xmx512m", "-XX:TieredStopAtLevel=1"));
        for (String option : System.getProperty("java.opened", "").trim().split("\\s+")) {
            command.add(option);
        }
        command.addAll(List.of("-Drepository.root=" + System.getProperty("repository.root"), "-cp", System.getProperty("java.class.path"),
                Harness.class.getName(), root.toAbsolutePath().toString(), home.toAbsolutePath().toString()));
        int lives = 0;
        while (!Files.exists(home.resolve("report"))) {
            Path output = home.resolve("jvm-" + lives + ".log");
            Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output.toFile()).start();
            int status;
            try {
                status = process.waitFor();
            } finally {
                process.destroyForcibly();
            }
            lives++;
            if (status != 0 && status != DIED || lives > scenario.restartAt.size() + 1) {
                throw new IllegalStateException("virtual machine " + lives + " ended with " + status + ":\n" + Files.readString(output));
            }
        }
        try {
            Report report = (Report) read(Files.readAllBytes(home.resolve("report")));
            report.restarts = lives - 1;
            return report;
        } catch (ClassNotFoundException broken) {
            throw new IllegalStateException(broken);
        }
    }

    void begin(Scenario scenario) throws IOException {
        Program program = new Program(scenario, Integer.parseInt(scenario.env.getOrDefault("BUILD_NUMBER", "1")));
        Program.current = program;
        Map<String, String> env = program.environment.global;
        String number = String.valueOf(program.build.getNumber());
        env.putAll(Map.of("BUILD_NUMBER", number, "BUILD_ID", number, "BUILD_DISPLAY_NAME", "#" + number, "JOB_NAME", "iris", "JOB_BASE_NAME", "iris",
                "BUILD_TAG", "jenkins-iris-" + number, "JENKINS_URL", "https://jenkins.example/", "JOB_URL", "https://jenkins.example/job/iris/",
                "BUILD_URL", "https://jenkins.example/job/iris/" + number + "/"));
        env.putAll(scenario.env);
        program.begin(library.main(scenario.jenkinsfile), library.blocks());
    }

    private Report loop() throws IOException {
        int idle = 0;
        while (!Program.current.finished()) {
            switch (turn()) {
                case WAITS_FOR_A_PROCESS:
                    Shell.pause();
                    break;
                case WAITS_FOR_TIME:
                    idle += Program.current.timePasses() ? 0 : 1;
                    if (idle > 1) {
                        throw new IllegalStateException("the build waits for ever at: " + Program.current.lastCall() + "\n" + Program.current.log);
                    }
                    break;
                default:
            }
        }
        return Program.current.finish();
    }

    /** What a build does next. */
    enum Turn { GOES_ON, WAITS_FOR_A_PROCESS, WAITS_FOR_TIME }

    /** Lets the program of this harness, which is the current one, do one thing. */
    Turn turn() throws IOException {
        Program program = Program.current;
        int before = program.report.calls.size();
        program.advance();
        if (program.report.calls.size() > before) {
            if (saved()) {
                disturb();
            } else {
                Program.current.heads.get(0).finished = true;
            }
            return Turn.GOES_ON;
        }
        if (program.heads.stream().anyMatch(Head::ready) || program.finished() || program.processesMoved()) {
            return Turn.GOES_ON;
        }
        return program.processesRun() ? Turn.WAITS_FOR_A_PROCESS : Turn.WAITS_FOR_TIME;
    }

    /** Saves the program and goes on with what was read back. False when it cannot be saved: the build ends there, as on a controller. */
    private boolean saved() throws IOException {
        Program program = Program.current;
        try {
            byte[] bytes = write(program);
            Program.current = (Program) read(bytes);
            Program.current.report.saves++;
            return true;
        } catch (NotSerializableException refused) {
            program.build.setResult("FAILURE");
            program.violation("cannot be saved at: " + program.lastCall() + ": " + refused);
            program.heads.get(0).thrown = refused;
            return false;
        } catch (ClassNotFoundException broken) {
            throw new IllegalStateException(broken);
        }
    }

    /** What the scenario does to a build while a call is under way. */
    private void disturb() throws IOException {
        Program program = Program.current;
        Scenario scenario = program.scenario;
        boolean dies = dying && program.restarts < scenario.restartAt.size() && program.matches(scenario.restartAt.get(program.restarts));
        boolean aborts = !program.aborted && program.matches(scenario.abortAt);
        boolean lost = !program.agentLost && program.matches(scenario.agentLostAt);
        boolean passed = !program.superseded && program.matches(scenario.supersededAt);
        while ((dies || aborts || lost || passed) && !scenario.onceThereIs.isEmpty() && !Files.exists(Path.of(scenario.onceThereIs))) {
            Shell.pause();
        }
        if (dies) {
            program.restarts++;
            Files.write(home.resolve("program"), write(program));
            System.out.println("the controller dies at: " + program.lastCall());
            System.out.flush();
            Runtime.getRuntime().halt(DIED);
        }
        if (lost) {
            program.loseAgent();
        }
        if (aborts) {
            program.abort();
        }
        if (passed) {
            program.supersede(program.build.getNumber() + 1);
        }
    }

    static byte[] write(Object value) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (ObjectOutputStream out = new StrictOutput(bytes)) {
            out.writeObject(value);
        }
        return bytes.toByteArray();
    }

    static Object read(byte[] bytes) throws IOException, ClassNotFoundException {
        try (ObjectInputStream in = new LibraryInput(new ByteArrayInputStream(bytes))) {
            return in.readObject();
        }
    }

    /** Refuses what the marshaller of a controller refuses, though Java would write it. */
    private static final class StrictOutput extends ObjectOutputStream {
        StrictOutput(ByteArrayOutputStream bytes) throws IOException {
            super(bytes);
            enableReplaceObject(true);
        }

        @Override
        protected Object replaceObject(Object value) throws IOException {
            if (value instanceof groovy.lang.Range || value instanceof ThreadLocal || value instanceof java.util.regex.Matcher) {
                throw new NotSerializableException(value.getClass().getName());
            }
            return value;
        }
    }

    /** Classes of the library come from its loader; compiled anew they have other version numbers, which a controller does not look at. */
    private static final class LibraryInput extends ObjectInputStream {
        LibraryInput(InputStream in) throws IOException {
            super(in);
        }

        @Override
        protected Class<?> resolveClass(ObjectStreamClass description) throws IOException, ClassNotFoundException {
            Class<?> found = current == null ? null : current.library.find(description.getName());
            return found == null ? super.resolveClass(description) : found;
        }

        @Override
        protected ObjectStreamClass readClassDescriptor() throws IOException, ClassNotFoundException {
            ObjectStreamClass written = super.readClassDescriptor();
            Class<?> found = current == null ? null : current.library.find(written.getName());
            if (found == null || !current.library.compiled(found)) {
                return written;
            }
            ObjectStreamClass local = ObjectStreamClass.lookup(found);
            return local == null ? written : local;
        }
    }
}
