package org.mlpipeline

/** What a release leaves behind in Jenkins: report, JUnit, archive, and the run's record for the next agent. */
class Archive implements Serializable {

    private static final long serialVersionUID = 1L

    final Object steps
    final Release release

    Archive(Object steps, Release release) {
        this.steps = steps
        this.release = release
    }

    /** Only what a later stage has its record from may fail the build. */
    void collect(List verbs, boolean last) {
        if (!release.state.run) {
            return
        }
        String folder = ".mlpipeline/runs/${release.state.run}".toString()
        Guard.collecting(steps, 'the report') { release.worked('report') }
        Guard.collecting(steps, 'the ledger') { release.worked('history') }
        Guard.collecting(steps, 'test results') { publishTests(folder, verbs) }
        boolean kept = Guard.collecting(steps, 'the archive') { steps.archiveArtifacts(artifacts: "${folder}/**", allowEmptyArchive: true) }
        if (last) {
            Guard.collecting(steps, 'the report page') { publishReport(folder) }
            Guard.collecting(steps, 'the record') { stashed(folder) }
        } else {
            stashed(folder)
        }
        release.state.collected = last && kept
    }

    /** Every file counts for the digest of a model, also one that Ant leaves out by default. */
    void stashed(String folder) {
        steps.stash(name: 'mlpipeline', includes: carried(folder).join(','), allowEmpty: true, useDefaultExcludes: false)
    }

    /** What the next agent needs: the record, a model that is not packaged yet, and what the project says. */
    List carried(String folder) {
        Map results = release.state.results
        String model = results.train?.evidence?.model
        List carried = ["${folder}/**".toString()]
        if (model && !results.package) {
            carried << "${model}/**".toString()
        }
        if (release.plan.carry) {
            carried << release.plan.carry
        }
        return carried
    }

    void publishTests(String folder, List verbs) {
        Guard.optional(steps, 'junit', 'junit', 'verdicts are in the report only') {
            List files = verbs.collect { "${folder}/junit/${it}.xml" }
            if ('checks' in verbs) {
                // What the project's own tests wrote.
                files << "${folder}/checks/*.xml"
            }
            steps.junit(testResults: files.join(','), allowEmptyResults: true)
        }
    }

    void publishReport(String folder) {
        Guard.optional(steps, 'publishHTML', 'htmlpublisher', 'the report is among the archived files') {
            steps.publishHTML(reportName: 'Release report', reportDir: "${folder}/report", reportFiles: 'index.html', keepAll: true,
                alwaysLinkToLastBuild: true, allowMissing: true)
        }
    }
}
