package cps

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.junit.Before
import org.junit.Rule
import org.junit.rules.TemporaryFolder
import org.mlpipeline.cps.Harness
import org.mlpipeline.cps.Report
import org.mlpipeline.cps.Scenario

/** A build that really runs under groovy-cps: steps suspend, the program is saved at each, and sh starts a worker with scripted results. */
abstract class CpsWorld {

    static final File ROOT = new File(System.getProperty('repository.root')).canonicalFile
    static final List<String> VERBS = ['gate-data', 'checks', 'train', 'gate-security', 'gate-model', 'package', 'register', 'deploy', 'approve', 'switch', 'verify', 'settle']

    private static final Map<String, String> NOT_ASKED = [digest: 'sha256:abcd', evidence_hash: 'ef01']

    @Rule
    public TemporaryFolder folder = new TemporaryFolder()

    Scenario scenario = new Scenario()
    File answers
    File home

    @Before
    void setUp() {
        answers = folder.newFolder('answers')
        home = new File(folder.root, 'build')
        File worker = folder.newFile('worker')
        worker.setText(CpsWorld.getResource('/cps/worker.sh').getText('UTF-8'), 'UTF-8')
        worker.executable = true
        scenario.agent = [MLPIPELINE_WORKER: worker.path, ANSWERS: answers.path, WORKER_VERSION: version(), HOME: folder.newFolder('home').path]
        scenario.repository = ['mlpipeline.yaml': 'service: flights\n']
        scenario.env = [BRANCH_NAME: 'main', BUILD_NUMBER: '7']
        for (String verb : VERBS + ['mirror', 'report', 'history', 'rollback', 'resume', 'doctor-gpu']) {
            answer(verb, [verdict: 'pass', summary: "${verb} is well".toString()])
        }
        answer('approve', [verdict: 'pass', summary: 'not required', evidence: NOT_ASKED])
    }

    static String version() {
        return new File(ROOT, 'resources/mlpipeline/version.txt').text.tokenize()[0]
    }

    /** What the worker answers: always, or to its nth call of this verb. */
    void answer(String verb, Map result, int call = 0) {
        String name = call ? "${verb}.${call}.json" : "${verb}.json"
        new File(answers, name).setText(JsonOutput.toJson([schema: 1, verb: verb, service: 'flights', run: 'r1'] + result), 'UTF-8')
    }

    /** Shell commands that the worker runs in place of, or before, its answer. */
    void instead(String verb, String commands) {
        new File(answers, "${verb}.sh").setText(commands + '\n', 'UTF-8')
    }

    /** The worker says that people must approve; asked again with an answer, that they have. */
    void approvalNeeded() {
        answer('approve', [verdict: 'inconclusive', summary: 'needs 1 approval', evidence: NOT_ASKED])
        answer('approve', [verdict: 'pass', summary: 'approved', evidence: NOT_ASKED], 2)
    }

    Report run(String jenkinsfile) {
        scenario.jenkinsfile = jenkinsfile
        Report report = Harness.run(ROOT.toPath(), home.toPath(), scenario)
        assert report.violations.empty, report.violations.join("\n") + report.log
        return report
    }

    /** The verbs that the worker was called with in a program's shell steps, in order, without those that only collect. */
    static List<String> verbs(Report report) {
        return report.of('sh').collect { (it =~ /label=mlpipeline ([a-z ]+?) returnStatus/) }.findAll { it.find() }.collect { it.group(1).trim().replace(' ', '-') }
            .findAll { !(it in ['report', 'history']) }
    }

    Map given(String verb, int call = 1) {
        return (Map) new JsonSlurper().parse(new File(answers, "calls/${verb}.${call}/args.json"))
    }

    String seen(String verb, int call = 1) {
        return new File(answers, "calls/${verb}.${call}/env").text
    }
}
