package cps

import static org.junit.Assume.assumeTrue

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.junit.After
import org.junit.Before
import org.junit.Test
import org.mlpipeline.cps.Report
import org.mlpipeline.cps.Scenario.Answer

/**
 * The real worker releases real models to real servers: the first one while the controller dies in the training and again while a person
 * is asked, the next ones beside it, under the requests of users.
 */
class RealReleaseTest extends CpsWorld {

    /** Where this machine says how packages are fetched. */
    private static final String FETCHING = /(UV|PIP|SSL)_\w+|(?i)(https?|no)_proxy/

    File state
    File project
    int port
    volatile boolean over = false
    /** Requests of users that were answered with anything but a prediction. */
    int refused = 0

    @Before
    void makeProject() {
        needed(new File(ROOT, '.venv/bin/mlpipeline').canExecute(), '.venv with the worker: make setup')
        needed(there('envoy', '.venv/bin'), 'Envoy on the PATH or in .venv/bin: make setup')
        state = new File(folder.root, 'state')
        project = new File(folder.root, 'origin')
        port = spoken([new File(ROOT, '.venv/bin/python').path, new File(ROOT, 'tests/python/make_small_project.py').path, project.path]).trim() as int
        scenario.repository = [:]
        scenario.origin = project.path
        scenario.agent = System.getenv().findAll { it.key ==~ FETCHING } + [
            MLPIPELINE_WORKER: new File(ROOT, '.venv/bin/mlpipeline').path, MLPIPELINE_HOME: state.path,
            PATH: "${new File(ROOT, '.venv/bin')}:${new File(ROOT, '.tools')}:${System.getenv('PATH')}".toString(),
        ]
    }

    @After
    void endWhatIsLeft() {
        processes().each { spoken(['sh', '-c', 'kill -KILL "$1" || :', 'sh', it]) }
    }

    // Milliseconds, for a starved machine: at a load of ten for each core it took half of this.
    @Test(timeout = 3_600_000L)
    void test_releases_with_the_real_worker_go_on_after_restarts_and_serve_after_the_build() {
        firstReleaseSurvivesRestarts()
        Thread users = Thread.startDaemon { while (!over) { predicted(); sleep(20) } }
        try {
            candidateThatDiesWhilePeopleThinkIsWithdrawn()
            buildStoppedInTheSwitchLeavesUsersOnAProvenColour()
            nextReleaseIsComparedWithTheChampion()
        } finally {
            over = true
            users.join(60_000)
        }
        worker('stop')
        waitedFor { processes().empty }
        assert refused == 0
    }

    private void firstReleaseSurvivesRestarts() {
        File began = new File(folder.root, 'training-began')
        // The training cannot end before a second virtual machine is there.
        scenario.agent += [TRAINING_BEGAN: began.path, TRAINING_MAY_END: new File(home, 'jvm-1.log').path]
        scenario.onceThereIs = began.path
        scenario.restartAt = ['^sh .*label=mlpipeline train ', '^input ']
        approvedBy('carol')

        Report report = run('mlPipeline()')

        assert report.result == 'SUCCESS', report.log
        assert report.restarts == 2
        assert (verbs(report) - 'mirror') == VERBS.take(9) + ['approve', 'switch', 'settle']
        assert ledger().findAll { it.event == 'train' }.size() == 1
        assert ledger().find { it.event == 'approve' && it.facts.who == 'carol' }?.facts?.why == 'looks right'
        assert report.archived.any { it ==~ '.mlpipeline/runs/.*/report/index.html' }
        assert predicted() == 200
        scenario.agent -= [TRAINING_BEGAN: began.path, TRAINING_MAY_END: new File(home, 'jvm-1.log').path]
        scenario.restartAt = []
        scenario.onceThereIs = ''
    }

    private void candidateThatDiesWhilePeopleThinkIsWithdrawn() {
        changed(0.9, 8)
        Thread killer = Thread.startDaemon {
            waitedFor { home.exists() && asked() }
            processes().findAll { told(it, 'cmdline').contains('--colour\0green') }.each { spoken(['kill', '-KILL', it]) }
        }

        Report report = run('mlPipeline()')

        killer.join(60_000)
        assert report.result == 'FAILURE', report.log
        assert report.description.startsWith('mlApprove: the request is withdrawn: verification failed while people were asked: green ')
        assert !verbs(report).contains('switch')
        assert ledger().find { it.event == 'approve' && it.facts.who == 'verification' }
        assert predicted() == 200
    }

    private void buildStoppedInTheSwitchLeavesUsersOnAProvenColour() {
        changed(0.8, 9)
        approvedBy('alice')
        File moving = new File(folder.root, 'users-are-moving')
        scenario.onceThereIs = moving.path
        scenario.abortAt = '^sh .*label=mlpipeline switch '
        int before = moves().size()
        Thread watcher = Thread.startDaemon {
            waitedFor { moves().size() > before }
            moving.text = ''
        }

        Report report = run('mlPipeline()')

        watcher.join(60_000)
        scenario.onceThereIs = ''
        scenario.abortAt = ''
        assert report.result == 'ABORTED', report.log
        assert report.error.contains('FlowInterruptedException: Aborted by Bob Example')
        assert report.description == 'aborted: Bob Example' && report.held.empty
        assert verbs(report).takeRight(2) == ['switch', 'resume'], report.log
        assert report.archived.any { it ==~ '.mlpipeline/runs/.*/report/index.html' }
        // Some users were on the candidate; all are on the champion of before.
        assert moves()[before].share != '100' && moves().last().share == '100', moves()
        assert moves().last().digest == ledger().findAll { it.event == 'settled' }.last().facts.digest
        assert predicted() == 200
    }

    private void nextReleaseIsComparedWithTheChampion() {
        scenario.env.BUILD_NUMBER = '10'
        home = new File(folder.root, 'build-10')
        approvedBy('alice')

        Report report = run('mlPipeline()')

        assert report.result == 'SUCCESS', report.log
        assert report.description.startsWith('released: ')
        assert (verbs(report) - 'mirror') == VERBS.take(9) + ['approve', 'switch', 'verify', 'settle']
        assert ledger().findAll { it.event == 'settled' }.size() == 2
        assert !ledger().any { it.event in ['rolled-back', 'quarantined'] }
        assert predicted() == 200
    }

    private void approvedBy(String who) {
        Answer answer = new Answer(who, true, 60)
        answer.values.WHY = 'looks right'
        scenario.answers = [answer]
    }

    /** Another commit of the project, for a build of its own. */
    private void changed(double strength, int build) {
        new File(project, 'params.json').setText("{\"strength\": ${strength}}\n", 'UTF-8')
        spoken(['git', '-C', project.path, '-c', 'user.name=T', '-c', 'user.email=t@example.org', 'commit', '--quiet', '--all', '-m', 'next'])
        scenario.env.BUILD_NUMBER = "${build}".toString()
        scenario.answers = []
        home = new File(folder.root, "build-${build}")
    }

    /** Whether the worker said that people have to decide, in the build that runs now. */
    private boolean asked() {
        boolean found = false
        home.eachFileRecurse { File file -> found = found || file.path ==~ '.*/results/approve.json' }
        return found
    }

    private static void waitedFor(Closure<Boolean> there) {
        long patience = System.nanoTime() + 600_000_000_000L
        while (!there.call()) {
            assert System.nanoTime() < patience
            sleep(100)
        }
    }

    /** Where the checks are the gate, a missing part is a failure; elsewhere this test is passed over. */
    private static void needed(boolean there, String what) {
        if (System.getenv('CI') == 'true') {
            assert there, "this test needs ${what}"
        }
        assumeTrue("this test needs ${what}".toString(), there)
    }

    private static boolean there(String program, String place) {
        List<File> places = [new File(ROOT, place)] + System.getenv('PATH').split(':').collect { new File(it) }
        return places.any { new File(it, program).canExecute() }
    }

    /** Each time users were moved: to which package, and how many percent of them. */
    private List<Map> moves() {
        return ledger().findAll { it.event == 'live' }*.facts
    }

    private List<Map> ledger() {
        List<Map> entries = []
        state.eachFileRecurse { File file ->
            if (file.name == 'ledger.jsonl') {
                entries.addAll(file.readLines().collect { (Map) new JsonSlurper().parseText(it) })
            }
        }
        return entries
    }

    /** What the users of the service are answered, one of the rows that the model was made for. */
    private int predicted() {
        Map row = [columns: ['mean radius', 'mean texture', 'mean smoothness'], data: [[17.99d, 10.38d, 0.1184d]]]
        HttpURLConnection asking = (HttpURLConnection) new URL("http://127.0.0.1:${port}/invocations").openConnection()
        asking.doOutput = true
        asking.readTimeout = 60_000
        asking.setRequestProperty('Content-Type', 'application/json')
        asking.outputStream.withStream { it.write(JsonOutput.toJson([dataframe_split: row]).getBytes('UTF-8')) }
        int code = asking.responseCode
        if (code != 200) {
            refused++
        }
        return code
    }

    private void worker(String verb) {
        spoken([new File(ROOT, '.venv/bin/mlpipeline').path, verb, '--project', project.path], [MLPIPELINE_HOME: state.path])
    }

    /** Ids of all processes of this test: its folder stands in what they were called with or in their environment. The dead have neither. */
    private List<String> processes() {
        return new File('/proc').list().findAll { it.number && (told(it, 'cmdline') + told(it, 'environ')).contains(folder.root.path) }
    }

    private static String told(String process, String what) {
        try {
            return new File("/proc/${process}/${what}").getText('ISO-8859-1')
        } catch (IOException gone) {
            return ''
        }
    }

    private static String spoken(List<String> command, Map<String, String> environment = [:]) {
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true)
        builder.environment().putAll(environment)
        Process process = builder.start()
        process.outputStream.close()
        String told = process.inputStream.getText('UTF-8')
        assert process.waitFor() == 0, told
        return told
    }
}
