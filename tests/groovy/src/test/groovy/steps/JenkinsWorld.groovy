package steps

import com.lesfurets.jenkins.unit.BasePipelineTest
import com.lesfurets.jenkins.unit.PipelineTestHelper
import com.lesfurets.jenkins.unit.global.lib.LibraryConfiguration
import com.lesfurets.jenkins.unit.global.lib.SourceRetriever
import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.junit.Before

/**
 * A Jenkins whose steps answer as a real 2.541.2 was recorded to answer: what input returns, what an interruption shows,
 * locks that create unknown resources, a workspace that is gone with its node, readJSON that is only safe as plain data.
 */
abstract class JenkinsWorld extends BasePipelineTest {

    static final File ROOT = new File(System.getProperty('repository.root', '../..')).canonicalFile

    /** Of this process alone: others run beside it. */
    private static final File JENKINSFILES = new File(System.getProperty('jenkinsfiles', 'target/jenkinsfiles'))

    /** The options of each verb, from the reference that is generated from the worker's own table; under '' those of every verb. */
    static final Map<String, Set<String>> OPTIONS = worker()

    /** Compiles the library once for all tests; every test registers its own steps. */
    private static PipelineTestHelper compiled

    /** What happened, in order: step names with what matters of them. */
    List<String> happened = []
    /** Files of the workspace that the current node has; every node begins with an empty one. */
    Map<String, String> files = [:]
    Map<String, Map<String, String>> stashes = [:]
    List<String> archived = []
    /** What the worker answers, by verb: a map with verdict, summary, evidence, exitCode; or a closure that makes one. */
    Map<String, Object> answers = [:]
    /** Every call of the worker: verb and the arguments file it was given. */
    List<Map> calls = []
    List inputs = []
    List<Map> asked = []
    List<String> missing = []
    List causes = []
    Map<String, List<Map>> labels = [gpu: [[name: 'box-gpu0', DEVICE: '0', NODE: 'box'], [name: 'box-gpu1', DEVICE: '1', NODE: 'box']]]
    List<String> held = []
    List<String> repository = ['mlpipeline.yaml']
    /** Agents by label that are switched off; who waits for one gets it when it is back soon. */
    Map<String, List<String>> offline = [:]
    boolean backSoon = false
    /** Names of branches that come to their end before the others of a parallel. */
    List<String> quick = []
    Map build
    String folder = ''

    @Before
    @Override
    void setUp() throws Exception {
        if (compiled == null) {
            JENKINSFILES.mkdirs()
            scriptRoots += JENKINSFILES.path
            super.setUp()
            helper.registerSharedLibrary(LibraryConfiguration.library('mlpipeline').defaultVersion('test').allowOverride(true)
                .implicit(true).targetPath('build/libs').retriever(new WorkingTree()).build())
            compiled = helper
        }
        helper = compiled
        helper.clearCallStack()
        helper.@allowedMethodCallbacks.clear()
        build = [description: null, result: null, currentResult: 'SUCCESS', previousBuild: null, number: 7,
                 getBuildCauses: { Object[] name -> name ? causes.findAll { it._class == name[0] } : causes }]
        binding.setVariable('currentBuild', build)
        binding.setVariable('scm', [kind: 'scm'])
        binding.setVariable('params', [:])
        binding.setVariable('env', new Env(BUILD_NUMBER: '7', JOB_NAME: 'flights', BRANCH_NAME: 'main', BUILD_URL: 'https://jenkins.example/job/flights/7/'))
        for (String verb : ['gate-data', 'checks', 'train', 'gate-security', 'gate-model', 'package', 'register', 'deploy', 'switch', 'settle', 'verify', 'mirror', 'report', 'history', 'rollback', 'resume']) {
            answers[verb] = [verdict: 'pass', summary: "${verb} is well".toString()]
        }
        answers.train.evidence = [model: 'model']
        answers.approve = [verdict: 'pass', summary: 'not required', evidence: [digest: 'sha256:abcd', evidence_hash: 'ef01']]
        answers.deploy.evidence = [digest: 'sha256:abcd', model_version: '3']
        answers.'doctor-gpu' = [verdict: 'pass', summary: 'healthy']
        registerSteps()
    }

    /** Runs a Jenkinsfile that uses the library. */
    Object pipeline(String text) {
        File file = new File(JENKINSFILES, "Jenkinsfile${UUID.nameUUIDFromBytes(text.getBytes('UTF-8'))}.groovy")
        if (!file.exists()) {
            file.setText(text, 'UTF-8')
        }
        return runScript(file.name)
    }

    /** Runs it and returns what it threw. */
    Throwable broken(String text) {
        try {
            pipeline(text)
        } catch (Throwable problem) {
            return problem
        }
        throw new AssertionError("nothing was thrown by ${text}" as Object)
    }

    List<String> verbs() {
        return calls*.verb
    }

    List<String> of(String step) {
        return happened.findAll { it == step || it.startsWith(step + ' ') }
    }

    void registerSteps() {
        step('echo', [String]) { String text -> happened << "echo ${text}".toString() }
        step('error', [String]) { String text -> throw new Aborted(text) }
        step('unstable', [String]) { String text -> build.result = 'UNSTABLE'; happened << "unstable ${text}".toString() }
        step('node', [String, Closure]) { String label, Closure body -> node(label, body) }
        step('stage', [String, Closure]) { String name, Closure body -> happened << "stage ${name}".toString(); helper.callClosure(body) }
        step('dir', [String, Closure]) { String path, Closure body -> inside(path, body) }
        step('timeout', [Map, Closure]) { Map how, Closure body -> happened << "timeout ${how.time} ${how.unit}".toString(); helper.callClosure(body) }
        step('parallel', [Map]) { Map branches -> parallel(branches) }
        step('withEnv', [List, Closure]) { List pairs, Closure body -> withEnv(pairs, body) }
        step('withCredentials', [List, Closure]) { List bindings, Closure body -> happened << 'withCredentials'; helper.callClosure(body) }
        step('lock', [Map, Closure]) { Map how, Closure body -> lock(how, body) }
        step('milestone', [Integer]) { Integer ordinal -> happened << "milestone ${ordinal}".toString() }
        step('input', [Map]) { Map how -> input(how) }
        step('nodesByLabel', [Map]) { Map how -> nodesByLabel(how) }
        step('sleep', [Map]) { Map how -> happened << "sleep ${how.time}".toString() }
        step('checkout', [Map]) { Map how -> needNode('checkout'); repository.each { files[it] = '' }; [GIT_BRANCH: 'origin/main'] }
        registerFiles()
        step('sh', [Map]) { Map how -> needNode('sh'); sh(how) }
        step('sh', [String]) { String script -> needNode('sh'); sh([script: script]) }
        step('stash', [Map]) { Map how -> needNode('stash'); stashes[how.name] = chosen(how.includes).collectEntries { name, text -> [name.substring(folder.length()), text] } }
        step('unstash', [String]) { String name -> needNode('unstash'); unstash(name) }
        step('archiveArtifacts', [Map]) { Map how -> needNode('archiveArtifacts'); archived.addAll(chosen(how.artifacts).keySet()) }
        step('junit', [Map]) { Map how -> needNode('junit'); happened << "junit ${how.testResults}".toString(); [totalCount: 1, failCount: 0] }
        step('publishHTML', [Map]) { Map how -> needNode('publishHTML'); happened << "publishHTML ${how.reportDir}".toString() }
        step('string', [Map]) { Map how -> how }
        step('usernamePassword', [Map]) { Map how -> how }
        step('mail', [Map]) { Map how -> happened << "mail ${how.to} ${how.subject}".toString() }
        step('properties', [List]) { List given -> happened << "properties ${given}".toString() }
        step('pipelineTriggers', [List]) { List given -> [triggers: given] }
        step('cron', [String]) { String spec -> [cron: spec] }
        step('parameters', [List]) { List given -> [parameters: given] }
    }

    void registerFiles() {
        step('libraryResource', [String]) { String name -> new File(ROOT, "resources/${name}").getText('UTF-8') }
        step('libraryResource', [Map]) { Map how -> happened << "libraryResource ${how.resource}".toString(); how.encoding }
        step('writeFile', [Map]) { Map how -> needNode('writeFile'); files[folder + how.file] = how.text }
        step('pwd', [Map]) { Map how -> needNode('pwd'); how.tmp ? '/workspace@tmp' : '/workspace' }
        step('fileExists', [String]) { String file -> needNode('fileExists'); files.containsKey(folder + file) }
        step('readFile', [Map]) { Map how -> needNode('readFile'); files[folder + how.file] }
        step('readJSON', [Map]) { Map how -> readJson(how) }
    }

    /** A step that may be taken away, as if its plugin were not installed. */
    void step(String name, List types, Closure does) {
        helper.registerAllowedMethod(name, types) { Object... given ->
            if (name in missing) {
                throw new NoSuchMethodError("No such DSL method '${name}' found among steps [echo, error, node]")
            }
            does.call(*given)
        }
    }

    void needNode(String step) {
        assert env().WORKSPACE: "${step} needs a node"
    }

    Env env() {
        return (Env) binding.getVariable('env')
    }

    Object node(String label, Closure body) {
        if (offline.containsKey(label) && !backSoon) {
            throw new Stopped('Timeout has been exceeded')
        }
        offline.remove(label)
        happened << "node ${label}".toString()
        assert env().WORKSPACE == null: 'a node inside a node holds two executors'
        Map<String, String> before = files
        files = [:]
        env().WORKSPACE = '/workspace'
        env().NODE_NAME = label ?: 'box'
        try {
            return helper.callClosure(body)
        } finally {
            files = before
            env().WORKSPACE = null
            env().NODE_NAME = null
            happened << 'node ends'
        }
    }

    List<String> nodesByLabel(Map how) {
        return offline.containsKey(how.label) ? (how.offline ? offline[how.label] : []) : ['agent-1']
    }

    Object inside(String path, Closure body) {
        String outer = folder
        folder = path == '.' ? folder : folder + path + '/'
        try {
            return helper.callClosure(body)
        } finally {
            folder = outer
        }
    }

    /** One branch after the other; what the first failing branch threw comes out, as recorded. */
    Object parallel(Map branches) {
        Throwable first = null
        List<String> names = branches.keySet().findAll { it != 'failFast' } as List<String>
        for (String name : names.findAll { it in quick } + names.findAll { !(it in quick) }) {
            try {
                if (first == null || !branches.failFast) {
                    happened << "branch ${name}".toString()
                    helper.callClosure((Closure) branches[name])
                }
            } catch (Throwable problem) {
                first = first ?: problem
            }
        }
        if (first != null) {
            throw first
        }
        return [:]
    }

    Object withEnv(List pairs, Closure body) {
        Map before = [:]
        pairs.each { Object pair ->
            String name = pair.toString().takeWhile { it != '=' }
            before[name] = env()[name]
            env()[name] = pair.toString().substring(name.length() + 1)
        }
        try {
            return helper.callClosure(body)
        } finally {
            before.each { name, value -> env()[name] = value }
        }
    }

    Object lock(Map how, Closure body) {
        String name = how.resource ?: how.label
        assert !(name in held): "a second lock of ${name} in one build waits for ever"
        assert !(how.label && env().WORKSPACE): 'waiting for devices while holding an executor'
        if (how.label && !labels.containsKey(how.label)) {
            throw new IllegalArgumentException("The resource label does not exist: ${how.label}.")
        }
        held << name
        happened << "lock ${name}".toString()
        List<String> set = []
        if (how.label) {
            List<Map> taken = labels[how.label].take((int) how.quantity)
            taken.eachWithIndex { Map resource, int index ->
                resource.each { key, value -> set << "${how.variable}${index}${key == 'name' ? '' : '_' + key}=${value}".toString() }
            }
        }
        try {
            return withEnv(set, body)
        } finally {
            held.remove(name)
            happened << "unlock ${name}".toString()
        }
    }

    /** What was submitted comes back, not what was declared; a closure may throw. */
    Object input(Map how) {
        assert env().WORKSPACE == null: 'people are asked while an executor is held'
        assert !held.contains('gpu'): 'people are asked while a GPU is held'
        happened << 'input'
        asked << how
        assert inputs: 'nobody was expected to be asked'
        Object answer = inputs.remove(0)
        return answer instanceof Closure ? answer.call() : answer
    }

    Object sh(Map how) {
        happened << "sh ${how.script}".toString()
        List<String> words = how.script.tokenize()
        int at = words.indexOf('--result')
        if (at < 0) {
            return how.returnStatus ? 0 : null
        }
        String file = folder + words[at + 1]
        Map args = (Map) new JsonSlurper().parseText(files[folder + words[words.indexOf('--args') + 1]])
        String verb = words[6..<words.indexOf('--args')].join('-')
        assert OPTIONS.containsKey(verb): "the worker has no verb ${verb}"
        assert (args.keySet() - OPTIONS[verb] - OPTIONS['']).empty: "the worker's ${verb} knows only ${OPTIONS[verb] + OPTIONS['']}"
        calls << [verb: verb, args: args, actor: env().MLPIPELINE_ACTOR, visible: env().CUDA_VISIBLE_DEVICES, script: how.script]
        Object answer = answers[verb]
        Map given = answer instanceof Closure ? answer.call(args) : answer
        Map exits = [pass: 0, fail: 10, inconclusive: 11, error: 3]
        if (!given.silent) {
            files[file] = given.text ?: JsonOutput.toJson([schema: 1, verb: verb, service: 'flights', run: 'r1', worker: '0.1.0'] + given.findAll { it.key != 'exitCode' })
            files[folder + '.mlpipeline/runs/r1/results/' + verb + '.json'] = '{}'
        }
        if (given.trouble) {
            files[file.replace('result.json', 'trouble.txt')] = given.trouble
        }
        return given.exitCode == null ? exits[given.verdict] : given.exitCode
    }

    static Map<String, Set<String>> worker() {
        Map<String, Set<String>> options = [:]
        String verb = ''
        new File(ROOT, 'docs/reference/cli.md').eachLine { String line ->
            if (line.startsWith('## ')) {
                verb = line.startsWith('## mlpipeline ') ? line.substring('## mlpipeline '.length()).replace(' ', '-') : ''
                options[verb] = ['config'] as Set
            } else if (line.startsWith('| `--')) {
                options[verb] << line.substring('| `--'.length()).tokenize('` ')[0].replace('-', '_')
            }
        }
        return options
    }

    Object readJson(Map how) {
        assert how.returnPojo: 'without returnPojo a null is truthy, and writing it back overflows the stack'
        Object read = null
        try {
            read = new JsonSlurper().parseText(files[folder + how.file])
        } catch (Exception broken) {
            throw new IllegalStateException("Invalid JSON String", broken)
        }
        return plain(read)
    }

    Object plain(Object value) {
        if (value instanceof Map) {
            return value.collectEntries { key, inner -> [key, plain(inner)] }
        }
        return value instanceof List ? value.collect { plain(it) } : value
    }

    Map<String, String> chosen(String patterns) {
        List<String> starts = patterns.tokenize(',').collect { it.replace('**', '').replace('*', '') }
        return files.findAll { name, text -> starts.any { start -> name.startsWith(folder + start) || matches(name, folder + start, patterns) } }
    }

    static boolean matches(String name, String start, String patterns) {
        return patterns.tokenize(',').any { name ==~ it.replace('.', '\\.').replace('**', '.+').replaceAll('(?<!\\.)\\*', '[^/]*') }
    }

    void unstash(String name) {
        if (!stashes.containsKey(name)) {
            throw new Aborted("No such saved stash ‘${name}’")
        }
        stashes[name].each { file, text -> files[folder + file] = text }
    }

    /** env: unset names are null, and values are text. */
    static class Env extends HashMap<String, Object> {

        Env(Map start) {
            super(start)
        }
    }

    /** As hudson.AbortException: what error and failed steps throw. */
    static class Aborted extends IOException {

        Aborted(Object message) {
            super(String.valueOf(message))
        }
    }

    /** As FlowInterruptedException looks inside the sandbox: a message, and that it is an InterruptedException. */
    static class Stopped extends InterruptedException {

        Stopped(String message) {
            super(message)
        }
    }

    /** The library as it lies in this working tree. */
    static class WorkingTree implements SourceRetriever {

        @Override
        List<URL> retrieve(String repository, String branch, String targetPath) {
            return [ROOT.toURI().toURL()]
        }
    }
}
