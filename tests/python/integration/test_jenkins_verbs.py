"""The worker's Jenkins side against a server that answers as a recorded controller does."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from jenkins_server import TIMER, TOKEN, FakeJenkins, build, fake_jenkins, small_checkout
from mlpipeline.adapters.jenkins import merged, schedule_in
from mlpipeline.cli import main
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.result import Result
from mlpipeline.verbs import jenkins_approve, jenkins_health, jenkins_reject, jenkins_setup, jenkins_trigger

REPOSITORY = "https://git.example.org/churn.git"


@pytest.fixture
def jenkins() -> Iterator[FakeJenkins]:
    with fake_jenkins() as fake:
        yield fake


def set_up(jenkins: FakeJenkins, project: Path, **options: object) -> Result:
    return jenkins_setup.run(project, jenkins.environment(), repository=REPOSITORY, **options)  # type: ignore[arg-type]


def writes(jenkins: FakeJenkins) -> list[str]:
    return [line for line in jenkins.seen if line.startswith("POST")]


def test_setup_makes_folder_and_jobs_and_then_finds_nothing_to_do(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path / "p")
    first = set_up(jenkins, project, scm_credentials="git-read")
    assert first.verdict is Verdict.PASS
    assert sorted(jenkins.jobs) == ["churn", "churn/nightly", "churn/release"]
    assert "<spec>TZ=UTC\nH 3 * * *</spec>" in jenkins.jobs["churn/nightly"]
    assert "<credentialsId>git-read</credentialsId>" in jenkins.jobs["churn/release"]
    before = dict(jenkins.jobs), len(writes(jenkins))
    second = set_up(jenkins, project, scm_credentials="git-read")
    assert second.summary == "everything is as it should be, nothing was changed"
    assert (dict(jenkins.jobs), len(writes(jenkins))) == before


def test_dry_run_shows_the_difference_and_changes_nothing(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path / "p")
    told = set_up(jenkins, project, dry_run=True)
    assert not jenkins.jobs and not writes(jenkins)
    assert "3 of 3 items would change" in told.summary
    set_up(jenkins, project)
    (project / "mlpipeline.yaml").write_text('service: churn\ntrain: {command: dvc repro}\nnightly: {schedule: "H 5 * * *"}\n')
    told = set_up(jenkins, project, dry_run=True)
    changed = [line for lines in told.evidence["changes"].values() for line in lines]  # type: ignore[attr-defined]
    assert any(line.startswith("- ") and "H 3 * * *" in line for line in changed)
    assert any(line.startswith("+ ") and "H 5 * * *" in line for line in changed)
    assert "H 3 * * *" in jenkins.jobs["churn/nightly"]


def test_setup_takes_a_second_schedule_of_the_nightly_away(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path / "p")
    set_up(jenkins, project)
    timer = "<hudson.triggers.TimerTrigger><spec>H 1 * * *</spec></hudson.triggers.TimerTrigger></triggers>"
    jenkins.jobs["churn/nightly"] = jenkins.jobs["churn/nightly"].replace("</triggers>", timer)
    set_up(jenkins, project)
    assert "H 1 * * *" not in jenkins.jobs["churn/nightly"]


def test_an_update_leaves_what_people_added(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path / "p")
    set_up(jenkins, project, scm_credentials="git-read")
    secrets = "<properties><credentials>production</credentials></properties>"
    jenkins.jobs["churn"] = jenkins.jobs["churn"].replace("</description>", f" Ask Alice.</description>{secrets}")
    own = "<hudson.model.StringParameterDefinition><name>TEAM</name></hudson.model.StringParameterDefinition>"
    release = jenkins.jobs["churn/release"].replace("</parameterDefinitions>", f"{own}</parameterDefinitions>")
    jenkins.jobs["churn/release"] = release.replace(
        "<disabled>false</disabled>", "<quietPeriod>7</quietPeriod><disabled>false</disabled>"
    )
    assert set_up(jenkins, project).evidence["changes"] == {}
    folder = jenkins.jobs["churn"]
    told = set_up(jenkins, project, branch="production")
    assert [*told.evidence["changes"]] == ["churn/release", "churn/nightly"]  # type: ignore[misc]
    assert jenkins.jobs["churn"] == folder
    now = jenkins.jobs["churn/release"]
    assert "TEAM" in now and "<quietPeriod>7</quietPeriod>" in now and "git-read" in now
    assert "refs/heads/production" in now and "refs/heads/main" not in now
    assert set_up(jenkins, project, branch="production").evidence["changes"] == {}


def test_a_job_that_was_emptied_is_put_right(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path / "p")
    set_up(jenkins, project)
    jenkins.jobs["churn/nightly"] = "<flow-definition><properties/></flow-definition>"
    assert set_up(jenkins, project).evidence["changes"].keys() == {"churn/nightly"}  # type: ignore[attr-defined]
    assert "TimerTrigger" in jenkins.jobs["churn/nightly"] and "Jenkinsfile.nightly" in jenkins.jobs["churn/nightly"]
    assert set_up(jenkins, project).evidence["changes"] == {}


def test_values_of_the_project_stay_data_in_the_configuration(jenkins: FakeJenkins, tmp_path: Path) -> None:
    nasty = "main</name><script>x</script>&'\"${}\x07"
    set_up(jenkins, small_checkout(tmp_path / "p"), branch=nasty)
    assert "<script>" not in jenkins.jobs["churn/release"]
    assert "main&lt;/name&gt;" in jenkins.jobs["churn/release"]


def test_setup_makes_the_folders_around_it(jenkins: FakeJenkins, tmp_path: Path) -> None:
    set_up(jenkins, small_checkout(tmp_path / "p"), folder="team a/ml/churn")
    assert {"team a", "team a/ml", "team a/ml/churn", "team a/ml/churn/nightly"} <= set(jenkins.jobs)


def test_setup_refuses_what_is_something_else(jenkins: FakeJenkins, tmp_path: Path) -> None:
    jenkins.jobs["churn"] = "<flow-definition><description>mine</description></flow-definition>"
    with pytest.raises(ConfigurationError, match="something else"):
        set_up(jenkins, small_checkout(tmp_path / "p"))
    assert "mine" in jenkins.jobs["churn"]


def test_setup_says_which_file_its_job_will_miss(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path / "p")
    (project / "Jenkinsfile.nightly").unlink()
    told = set_up(jenkins, project)
    assert told.verdict is Verdict.INCONCLUSIVE
    assert any("mlNightly()" in reason.sample for reason in told.reasons)


def test_trigger_passes_the_reason(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path / "p")
    set_up(jenkins, project)
    told = jenkins_trigger.run(project, jenkins.environment(), reason="retrain: drift in `age` & $(co)")
    assert jenkins.started == [("churn/release", {"REASON": "retrain: drift in `age` & $(co)"})]
    assert told.links["queue"].endswith("/queue/item/327/")


def test_trigger_of_a_job_without_parameters_starts_it_all_the_same(jenkins: FakeJenkins, tmp_path: Path) -> None:
    jenkins.jobs["plain"] = "<flow-definition/>"
    jenkins_trigger.run(tmp_path, jenkins.environment(), job="plain")
    assert jenkins.started == [("plain", {})]


def test_trigger_says_what_is_wrong(jenkins: FakeJenkins, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no job a/b"):
        jenkins_trigger.run(tmp_path, jenkins.environment(), job="a/b")
    with pytest.raises(ConfigurationError, match="which job"):
        jenkins_trigger.run(tmp_path, jenkins.environment())
    jenkins.jobs["off"] = "<flow-definition/>"
    jenkins.disabled.add("off")
    with pytest.raises(ConfigurationError, match="disabled"):
        jenkins_trigger.run(tmp_path, jenkins.environment(), job="off")


def waiting(jenkins: FakeJenkins) -> None:
    jenkins.jobs["churn/release"] = "<flow-definition/>"
    jenkins.builds["churn/release"] = [build(8, 2000, result=None), build(7, 1000, result=None), build(6, 10)]
    jenkins.ask("churn/release", 7)


def test_approve_answers_the_waiting_build_with_the_reason(jenkins: FakeJenkins, tmp_path: Path) -> None:
    waiting(jenkins)
    told = jenkins_approve.run(small_checkout(tmp_path), jenkins.environment(), why="numbers look right")
    ((kind, job, number, identity, form),) = jenkins.answers
    assert (kind, job, number, identity) == ("submit", "churn/release", 7, "Release")
    assert json.loads(form["json"]) == {
        "parameter": [{"name": "WHY", "value": "numbers look right"}, {"name": "ENV", "value": "stg"}]
    }
    assert told.evidence["decision"] == "approved"


def test_reject_aborts_the_question(jenkins: FakeJenkins, tmp_path: Path) -> None:
    waiting(jenkins)
    jenkins_reject.run(small_checkout(tmp_path), jenkins.environment(), build=7, input="release")
    assert [answer[0] for answer in jenkins.answers] == ["abort"]


def test_an_approval_of_another_digest_is_refused(jenkins: FakeJenkins, tmp_path: Path) -> None:
    waiting(jenkins)
    project = small_checkout(tmp_path)
    with pytest.raises(ConfigurationError, match="another package"):
        jenkins_approve.run(project, jenkins.environment(), digest="sha256:999999999999")
    with pytest.raises(ConfigurationError, match="at least 12"):
        jenkins_approve.run(project, jenkins.environment(), digest="abc")
    assert not jenkins.answers
    jenkins_approve.run(project, jenkins.environment(), digest="sha256:abcdef0123456789")
    assert jenkins.answers


def test_an_answer_is_never_given_to_a_question_nobody_named(jenkins: FakeJenkins, tmp_path: Path) -> None:
    waiting(jenkins)
    project = small_checkout(tmp_path)
    jenkins.ask("churn/release", 7, identity="Other")
    with pytest.raises(ConfigurationError, match="several questions"):
        jenkins_approve.run(project, jenkins.environment())
    with pytest.raises(ConfigurationError, match="no question 'thrid'"):
        jenkins_approve.run(project, jenkins.environment(), input="thrid")
    assert not jenkins.answers
    jenkins.questions.clear()
    with pytest.raises(ConfigurationError, match="no build of churn/release waits"):
        jenkins_approve.run(project, jenkins.environment())


def test_jenkins_own_refusal_is_passed_on(jenkins: FakeJenkins, tmp_path: Path) -> None:
    waiting(jenkins)
    jenkins.submitter["Release"] = "alice"
    with pytest.raises(ConfigurationError, match="You need to be alice to submit this"):
        jenkins_approve.run(small_checkout(tmp_path), jenkins.environment())


def test_revoked_token_missing_permission_and_broken_controller_are_told_apart(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path)
    jenkins.token = "revoked-token"
    with pytest.raises(ConfigurationError, match="does not accept these credentials") as told:
        jenkins_trigger.run(project, jenkins.environment())
    assert "revoked-token" not in told.value.render()
    jenkins.token, jenkins.refused = TOKEN, 403
    with pytest.raises(ConfigurationError, match="may not do that"):
        jenkins_trigger.run(project, jenkins.environment())
    jenkins.refused = 503
    with pytest.raises(EnvironmentFault, match="status 503"):
        jenkins_trigger.run(project, jenkins.environment())


def test_a_slow_and_an_absent_controller_are_the_environments_fault(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path)
    jenkins.slow = 1.0
    with pytest.raises(EnvironmentFault, match=r"within 0.2 s"):
        jenkins_trigger.run(project, jenkins.environment(), timeout=0.2)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        jenkins.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(EnvironmentFault, match="cannot be reached"):
            jenkins_trigger.run(project, jenkins.environment())


NOW = datetime(2026, 3, 18, 12, 10, tzinfo=UTC)


class _Stopped(datetime):
    """A clock that stands: what is due depends on the minute of the hour."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return NOW.astimezone(tz)


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jenkins_health, "datetime", _Stopped)


def nightly(jenkins: FakeJenkins, ages: list[float], *, schedule: str = "TZ=UTC\nH * * * *") -> None:
    """An hourly job with a timer build at each age (hours)."""
    jenkins.jobs["n"] = (
        "<flow-definition><properties><org.jenkinsci.plugins.workflow.job.properties.PipelineTriggersJobProperty><triggers>"
        f"<hudson.triggers.TimerTrigger><spec>{schedule}</spec></hudson.triggers.TimerTrigger>"
        "</triggers></org.jenkinsci.plugins.workflow.job.properties.PipelineTriggersJobProperty></properties></flow-definition>"
    )
    # At half past, so that every build lies inside its own hour.
    hour = NOW.replace(minute=30)
    jenkins.builds["n"] = [
        build(
            100 - place,
            (hour - timedelta(hours=age)).timestamp(),
            cause=TIMER,
            commit="same",
            stages={"Gate": "SUCCESS", "Train": "FAILED" if place == 1 else "SUCCESS"},
            result="FAILURE" if place == 1 else "SUCCESS",
            seconds=60 + place,
        )
        for place, age in enumerate(ages)
    ]


def test_health_sums_up_the_builds(jenkins: FakeJenkins, tmp_path: Path) -> None:
    nightly(jenkins, [1, 2, 3, 4, 5])
    told = jenkins_health.run(tmp_path, jenkins.environment(), job=["n"], grace="0s")
    assert told.verdict is Verdict.PASS
    found = told.evidence["jobs"]["n"]  # type: ignore[index]
    assert found["success"] == 0.8
    assert found["seconds"] == {"p50": 62.0, "p90": 64.0, "p99": 64.0}
    assert found["flaky"] == [{"stage": "Train", "failed": 1, "passed": 4}]


def test_health_says_loudly_that_a_scheduled_run_did_not_happen(jenkins: FakeJenkins, tmp_path: Path) -> None:
    nightly(jenkins, [4, 5, 6])
    told = jenkins_health.run(tmp_path, jenkins.environment(), job=["n"], grace="0s")
    assert told.verdict is Verdict.FAIL
    assert "SCHEDULED RUNS DID NOT HAPPEN" in told.summary
    assert len(told.evidence["jobs"]["n"]["missed"]) == 3  # type: ignore[index]


def test_answers_of_a_real_controller_are_understood(jenkins: FakeJenkins, tmp_path: Path) -> None:
    recorded = json.loads((Path(__file__).resolve().parents[2] / "fixtures" / "jenkins_rest.json").read_text())
    jenkins.jobs["pr-wf"] = recorded["stored_config_xml"]
    jenkins.builds["pr-wf"] = [{**recorded["build_info_done"], "recorded": recorded["wfapi_describe_done"], "stages": {}}]
    jenkins.questions["pr-wf", 1] = recorded["wfapi_pendingInputActions"]
    told = jenkins_health.run(tmp_path, jenkins.environment(), job=["pr-wf"])
    found = told.evidence["jobs"]["pr-wf"]  # type: ignore[index]
    assert (found["results"], found["success"]) == ({"UNSTABLE": 1}, 0.0)
    assert found["slowest"] == {"Prep": 0.319, "Gate": 0.024}, "1.334 of the gate's 1.358 seconds were a person's"
    jenkins_approve.run(tmp_path, jenkins.environment(), job="pr-wf", build=1, why="looked at it")
    (answer,) = jenkins.answers
    assert json.loads(answer[4]["json"]) == {
        "parameter": [{"name": "REASON", "value": "looked at it"}, {"name": "ENV", "value": "stg"}]
    }
    assert merged(recorded["cron_job_xml"], recorded["stored_config_xml"]) == recorded["stored_config_xml"]
    assert schedule_in(recorded["stored_config_xml"]) == "H/15 2 * * 1-5"


def test_a_stage_is_flaky_only_on_the_same_commit_of_every_repository(jenkins: FakeJenkins, tmp_path: Path) -> None:
    nightly(jenkins, [1, 2, 3])
    for place, one in enumerate(jenkins.builds["n"]):
        one["actions"].append({"_class": "hudson.plugins.git.util.BuildData", "lastBuiltRevision": {"SHA1": f"project{place}"}})
    told = jenkins_health.run(tmp_path, jenkins.environment(), job=["n"], grace="0s")
    assert told.evidence["jobs"]["n"]["flaky"] == []  # type: ignore[index]


def test_a_user_who_may_not_read_a_configuration_is_told_what_that_costs(jenkins: FakeJenkins, tmp_path: Path) -> None:
    nightly(jenkins, [30, 31, 32])
    jenkins.hidden = True
    told = jenkins_health.run(tmp_path, jenkins.environment(), job=["n"], grace="0s")
    assert told.verdict is Verdict.INCONCLUSIVE and "may not read the job's schedule" in told.summary
    project = small_checkout(tmp_path / "p")
    jenkins.jobs["churn/nightly"], jenkins.builds["churn/nightly"] = jenkins.jobs["n"], jenkins.builds["n"]
    (project / "mlpipeline.yaml").write_text('service: churn\ntrain: {command: dvc repro}\nnightly: {schedule: "H * * * *"}\n')
    told = jenkins_health.run(project, jenkins.environment(), job=["churn/nightly"], grace="0s")
    assert told.verdict is Verdict.FAIL and "DID NOT HAPPEN" in told.summary


def test_a_build_by_hand_does_not_hide_a_schedule_that_stopped(jenkins: FakeJenkins, tmp_path: Path) -> None:
    nightly(jenkins, [1, 2, 3])
    for one in jenkins.builds["n"][:2]:
        one["actions"][0]["causes"] = [{"_class": "hudson.model.Cause$UserIdCause"}]
    assert jenkins_health.run(tmp_path, jenkins.environment(), job=["n"], grace="0s").verdict is Verdict.FAIL


def test_a_disabled_nightly_fails_and_one_that_never_ran_is_open(jenkins: FakeJenkins, tmp_path: Path) -> None:
    nightly(jenkins, [1, 2])
    jenkins.disabled.add("n")
    told = jenkins_health.run(tmp_path, jenkins.environment(), job=["n"], grace="0s")
    assert told.verdict is Verdict.FAIL and "DISABLED" in told.summary
    nightly(jenkins, [])
    jenkins.disabled.clear()
    assert jenkins_health.run(tmp_path, jenkins.environment(), job=["n"]).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("options", "words"),
    [({"builds": 0}, "at least 1"), ({"grace": "soon"}, "no length of time"), ({"zone": "Mars/Olympus"}, "cannot be read")],
)
def test_health_refuses_what_cannot_be_meant(jenkins: FakeJenkins, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    nightly(jenkins, [1], schedule="H * * * *")
    with pytest.raises(ConfigurationError, match=words):
        jenkins_health.run(tmp_path, jenkins.environment(), job=["n"], **options)


def test_a_login_page_in_the_way_is_told(jenkins: FakeJenkins, tmp_path: Path) -> None:
    project = small_checkout(tmp_path / "p")
    set_up(jenkins, project)
    jenkins.jobs["churn/release"] = "<html><body>Please log in<br></body></html>"
    with pytest.raises(ConfigurationError) as told:
        set_up(jenkins, project)
    assert "login page" in told.value.likely
    jenkins.jobs["churn/release"] = "<flow-definition><description>cut off"
    with pytest.raises(EnvironmentFault, match="not XML"):
        set_up(jenkins, project)


def test_health_without_the_stage_page_still_counts_builds(jenkins: FakeJenkins, tmp_path: Path) -> None:
    nightly(jenkins, [1, 2])
    jenkins.without_stages = True
    told = jenkins_health.run(tmp_path, jenkins.environment(), job=["n"], grace="0s")
    assert told.evidence["jobs"]["n"]["builds"] == 2  # type: ignore[index]


def test_the_command_line_takes_arguments_from_a_file_and_prints_no_token(
    jenkins: FakeJenkins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting(jenkins)
    for name in ("MLPIPELINE_JENKINS_URL", "MLPIPELINE_JENKINS_USER", "MLPIPELINE_JENKINS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    secret = tmp_path / "jenkins.txt"
    secret.write_text(f"# chat-ops\nurl={jenkins.url}\nuser=admin\ntoken={TOKEN}\n")
    secret.chmod(0o600)
    given = tmp_path / "args.json"
    given.write_text(json.dumps({"job": "churn/release", "why": "ok", "credentials": str(secret)}))
    result = tmp_path / "result.json"
    code = main(["jenkins", "approve", "--project", str(tmp_path), "--args", str(given), "--result", str(result)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert json.loads(result.read_text())["evidence"]["decision"] == "approved"
    assert TOKEN not in printed.out + printed.err + result.read_text()
