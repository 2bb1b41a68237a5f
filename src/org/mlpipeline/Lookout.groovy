package org.mlpipeline

/** Watches the candidate on copies of user requests while people are asked, and withdraws the question when it is no longer fit. */
class Lookout implements Serializable {

    private static final long serialVersionUID = 1L

    /** Seconds: the first pause between looks, twice as long each time; and how long the worker and its agent may take for one. */
    static final int FIRST = 30
    static final int PATIENCE = 1800

    final Object steps
    final Approval approval
    /** Longest pause between looks, in seconds. */
    final int every
    Map answer = [:]
    Throwable stopped = null
    boolean over = false

    Lookout(Object steps, Approval approval, int every) {
        this.steps = steps
        this.approval = approval
        this.every = every
    }

    /** Asks, and returns the answer. Only a failing candidate ends the question; that it ends ends the looks, between two of them. */
    Map during(Question question, long until) {
        steps.parallel(
            failFast: true,
            approval: { ask(question, until) },
            verification: { watch(question.known.evidence.digest) },
        )
        if (stopped != null) {
            throw stopped
        }
        return answer
    }

    void ask(Question question, long until) {
        try {
            answer = question.asked(until)
        } catch (InterruptedException ended) {
            // Thrown after the last look, which it must not break off half-way.
            stopped = ended
        } finally {
            over = true
        }
    }

    void watch(String digest) {
        int waited = 0
        int pause = FIRST < every ? FIRST : every
        while (!over) {
            waited += nap(waited, pause)
            Map seen = over ? [:] : looked()
            if (seen.verdict == 'fail') {
                String why = "verification failed while people were asked: ${seen.summary}"
                approval.ended([how: 'withdrawn', who: 'verification'], why, digest)
                steps.error("mlApprove: the request is withdrawn: ${why}")
            }
            pause = pause * 2 < every ? pause * 2 : every
        }
    }

    /** Sleeps so that whoever answers soon waits for seconds, and a day of thinking leaves no endless log. Returns the seconds. */
    int nap(int before, int pause) {
        int waited = 0
        while (waited < pause && !over) {
            int tenth = (int) ((before + waited) / 10)
            int next = tenth < 5 ? 5 : (tenth > 60 ? 60 : tenth)
            steps.sleep(time: next, unit: 'SECONDS')
            waited += next
        }
        return waited
    }

    /** One look, on an agent for its length only. That it cannot be made is said, and is nothing against the candidate. */
    Map looked() {
        Map look = Keys.forWorker(approval.args, false) + [verb: 'mirror', args: Keys.run(approval.args), allow: [2, 3, 10, 11], retries: 0]
        Map seen = [:]
        long began = System.currentTimeMillis()
        try {
            steps.timeout(time: PATIENCE, unit: 'SECONDS') { seen = approval.inside { steps.mlWorker(look) } }
        } catch (InterruptedException late) {
            String why = Words.ownEnd(late, System.currentTimeMillis() - began, PATIENCE)
            if (!why) {
                throw late
            }
            seen = [verdict: 'error', summary: why]
        } catch (Exception problem) {
            seen = [verdict: 'error', summary: problem.message]
        }
        if (seen.verdict == 'error') {
            steps.echo("mlApprove: the candidate could not be looked at; people are asked on: ${Words.line(seen.summary)}")
        }
        return seen
    }
}
