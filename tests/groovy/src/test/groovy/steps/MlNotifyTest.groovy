package steps

import groovy.json.JsonSlurper
import org.junit.Test

class MlNotifyTest extends JenkinsWorld {

    @Test
    void test_mail_says_what_happened_where() {
        pipeline("mlNotify(event: 'failed', text: 'gate-data: fail: 7 nulls', mail: 'team@example.org')")
        assert of('mail') == ['mail team@example.org flights #7: failed gate-data: fail: 7 nulls https://jenkins.example/job/flights/7/']
    }

    @Test
    void test_webhooks_get_json_and_their_url_never_reaches_a_command_line() {
        pipeline("node('') { mlNotify(event: 'done', text: 'live \"3\"', slack: 'slack-url', issues: 'tracker-url') }")
        List<String> commands = of('sh')
        assert commands.size() == 2
        assert commands.every { it.contains('"$MLPIPELINE_WEBHOOK" | curl') && it.contains('--config -') && !it.contains('live') }
        assert happened.count('withCredentials') == 2
    }

    @Test
    void test_message_is_data_in_a_file() {
        List<String> written = []
        step('writeFile', [Map]) { Map how -> written << how.text }
        binding.setVariable('evil', 'x"; $(id) `id`\n${env.HOME}')
        pipeline("node('') { mlNotify(event: 'failed', text: evil, slack: 'slack-url') }")
        assert ((Map) new JsonSlurper().parseText(written[0])).text.contains('x"; $(id) `id`\n${env.HOME}')
        assert of('sh').every { !it.contains('$(id)') }
    }

    @Test
    void test_outside_a_node_one_is_taken_for_the_webhook_only() {
        pipeline("mlNotify(event: 'start', mail: 'a@example.org')")
        assert of('node').empty
        pipeline("mlNotify(event: 'start', slack: 'slack-url')")
        assert of('node') == ['node ', 'node ends']
    }

    @Test
    void test_what_cannot_be_sent_never_fails_the_build_nor_keeps_the_others_from_it() {
        step('mail', [Map]) { Map how -> throw new IOException('no mail server') }
        pipeline("node('') { mlNotify(event: 'done', mail: 'a@example.org', slack: 'slack-url') }")
        assert happened.contains('echo mlNotify: mail could not be sent: no mail server')
        assert of('sh').size() == 1
    }

    @Test
    void test_missing_plugin_is_said() {
        missing = ['mail']
        pipeline("mlNotify(event: 'done', mail: 'a@example.org')")
        assert happened.any { it.startsWith('echo mlNotify: mail needs a plugin that is not installed') }
    }

    @Test
    void test_stopped_build_stays_stopped() {
        Stopped aborted = new Stopped('Aborted by bob')
        step('mail', [Map]) { Map how -> throw aborted }
        assert broken("mlNotify(event: 'done', mail: 'a@example.org')").is(aborted)
    }

    @Test
    void test_time_out_of_the_whole_build_is_not_taken_for_its_own() {
        Stopped late = new Stopped('Timeout has been exceeded')
        step('mail', [Map]) { Map how -> throw late }
        assert broken("mlNotify(event: 'done', mail: 'a@example.org')").is(late)
    }

    @Test
    void test_success_after_a_failure_is_fixed() {
        build.previousBuild = [result: 'FAILURE']
        pipeline("mlNotify(event: 'done', mail: 'a@example.org')")
        assert of('mail')[0].contains(': fixed ')
    }

    @Test
    void test_only_what_was_asked_for() {
        pipeline("mlNotify(event: 'start', on: ['failed'], mail: 'a@example.org')")
        assert of('mail').empty
        pipeline("mlNotify(event: 'failed', on: ['failed'], mail: 'a@example.org', template: '{event}: {text} {unknown}', text: '{job}')")
        assert of('mail') == ['mail a@example.org failed: {job} {unknown}']
    }

    @Test
    void test_release_tells_start_waiting_and_end() {
        answers.approve = [verdict: 'inconclusive', summary: '0 of 1 approvals', evidence: [digest: 'sha256:abcd', evidence_hash: 'ef01', unattended: 'hold']]
        pipeline("mlPipeline(unattended: true, notify: [mail: 'a@example.org'])")
        assert of('mail').collect { it.tokenize(':')[1].tokenize()[0] } == ['start', 'waiting', 'done']
    }

    @Test
    void test_release_that_was_taken_back_says_so() {
        answers.switch = [verdict: 'fail', summary: 'errors 4 %; users are back on blue', evidence: [rollback: [seconds: 1]]]
        broken("mlPipeline(notify: [mail: 'a@example.org'])")
        assert of('mail').last().contains(': rolled back ')
    }

    @Test
    void test_unknown_events_and_keys_are_refused() {
        assert broken("mlNotify(event: 'finished')").message.contains("event must be one of start, waiting, done, failed, rolled back, fixed, missed, not 'finished'")
        assert broken("mlNotify(event: 'done', slak: 'x')").message == "mlNotify: unknown key 'slak'; did you mean 'slack'?"
    }
}
