"""Hooks, cohorts, replay, warm-up and golden requests as a release on fakes goes through them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from fakes import Crash
from mlpipeline.config.sections.deploy import Deploy, Golden, WarmUp
from mlpipeline.config.sections.rollout import CohortRule, Hook, Hooks, Replay, Rollout
from mlpipeline.config.values import Duration
from mlpipeline.core.release import Phase
from mlpipeline.core.traffic import Colour, Pinned, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.journal import Journal
from mlpipeline.record.run import Run
from mlpipeline.verbs import deploy, hooks, resume, rollback, settle, status, switch
from mlpipeline.verbs import run as run_verb
from release_story import Story

BLUE, GREEN = Colour.BLUE, Colour.GREEN
BETA = CohortRule(header="X-Cohort", value="beta")
VIP = CohortRule(cookie="plan", value="gold", to="champion")


class Told(Story):
    """A story whose rollout and deploy a test chooses."""

    def __init__(self, folder: Path, rollout: Rollout | None = None, rehearsed: Deploy | None = None) -> None:
        super().__init__(folder)
        self.world.places.project.mkdir(parents=True)
        self.world.config = msgspec.structs.replace(self.world.config, rollout=rollout or Rollout(), deploy=rehearsed or Deploy())

    @property
    def journal(self):
        return Journal(self.context.places.journal).read()

    @property
    def asked(self) -> list[str]:
        """The points that a hook was really asked at, in order."""
        file = self.world.places.project / "asked"
        return file.read_text().split() if file.is_file() else []

    def write(self, name: str, *lines: object) -> str:
        (self.world.places.project / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return name


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def made(rollout: Rollout | None = None, rehearsed: Deploy | None = None) -> Told:
        story = Told(tmp_path, rollout, rehearsed)
        story.watch(monkeypatch)
        return story

    return made


def with_hooks(**points: str | Hook) -> Rollout:
    """Each hook notes that it was asked; ``code`` after a colon is its exit code."""

    def hook(point: str, what: str | Hook) -> Hook:
        if isinstance(what, Hook):
            return what
        return Hook(command=f'echo "$MLPIPELINE_HOOK$MLPIPELINE_STAGE" >> asked; echo "because of {point}"; exit {what}')

    return Rollout(hooks=Hooks(**{point: hook(point, what) for point, what in points.items()}))


ALL = dict.fromkeys(("confirm_start", "each_step", "before_switch", "after_switch", "before_settle"), "0")


def test_every_point_is_asked_once_in_order_and_told(tell) -> None:
    story = tell(with_hooks(**ALL))
    story.released()
    first = ["confirm_start", "before_switch", "after_switch", "before_settle"]
    assert story.asked == first
    made = story.released()
    steps = [f"each_step{stage}" for stage in ("mirror", "step-10", "step-50", "bake")]
    assert story.asked == [*first, "confirm_start", *steps, "before_switch", "after_switch", "before_settle"]
    result = story.context.runs.result(made.id, "switch")
    assert [one["point"] for one in result.evidence["hooks"]].count("each_step") == 4
    assert "because of before_switch" in next(one.summary for one in result.reasons if one.check == "hook.before_switch")
    folder = story.context.runs.folder(made.id)
    assert "because of" in (folder / result.links["hook before_switch"]).read_text()
    assert story.context.runs.result(made.id, "settle").evidence["hooks"][0]["verdict"] == "pass"


@pytest.mark.parametrize("point", [*ALL])
@pytest.mark.parametrize(("code", "verdict"), [("3", Verdict.FAIL), ("11", Verdict.INCONCLUSIVE)])
def test_a_hook_that_does_not_pass_leaves_nobody_on_the_candidate(tell, point: str, code: str, verdict: Verdict) -> None:
    story = tell()
    story.released()
    story.world.config = msgspec.structs.replace(story.world.config, rollout=with_hooks(**{point: code}))
    made = story.packaged()
    deploy.run(story.context, made)
    result = switch.run(story.context, made)
    if point == "before_settle":
        assert result.verdict is Verdict.PASS
        result = settle.run(story.context, made)
    assert result.verdict is verdict
    assert f"because of {point}" in result.summary
    kept = point == "before_settle" and verdict is Verdict.INCONCLUSIVE
    assert story.world.target.plan == TrafficPlan.all_to(GREEN if kept else BLUE)
    assert BLUE in story.world.target.colours, "the champion stays warm"
    assert (GREEN in story.world.target.colours) == (verdict is Verdict.INCONCLUSIVE)
    assert bool(story.journal.quarantined) == (verdict is Verdict.FAIL)
    assert (story.journal.release is None) == (verdict is Verdict.FAIL)


def test_one_that_was_inconclusive_is_asked_again_and_the_rest_is_not(tell) -> None:
    story = tell()
    story.released()
    story.world.config = msgspec.structs.replace(
        story.world.config, rollout=with_hooks(confirm_start="0", before_switch="$(cat code)")
    )
    (story.world.places.project / "code").write_text("11")
    made = story.packaged()
    deploy.run(story.context, made)
    assert switch.run(story.context, made).verdict is Verdict.INCONCLUSIVE
    (story.world.places.project / "code").write_text("0")
    assert switch.run(story.context, made).verdict is Verdict.PASS
    assert story.asked == ["confirm_start", "before_switch", "before_switch"]


@pytest.mark.parametrize(("policy", "verdict"), [("rollback", Verdict.FAIL), ("proceed", Verdict.PASS)])
def test_what_is_inconclusive_follows_the_policy(tell, policy: str, verdict: Verdict) -> None:
    story = tell()
    story.released()
    asked = Hook(command="no-such-program-anywhere", inconclusive=policy)
    story.world.config = msgspec.structs.replace(story.world.config, rollout=with_hooks(before_switch=asked))
    made = story.packaged()
    deploy.run(story.context, made)
    result = switch.run(story.context, made)
    assert result.verdict is verdict
    assert any(f"inconclusive: {policy}" in one.summary for one in result.reasons)


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (Hook(command="sleep 60", timeout=Duration(0.2)), "did not end within 0.2 s"),
        (Hook(command="kill -9 $$"), "was killed by SIGKILL"),
        (Hook(command=("/no/such/program",)), "could not be run"),
        (Hook(url="http://127.0.0.1:1/secret?token=abcdefgh"), "nobody answered at http://127.0.0.1:1/secret"),
    ],
)
def test_a_hook_that_could_not_say_holds(tell, hook: Hook, words: str) -> None:
    story = tell()
    story.released()
    story.world.config = msgspec.structs.replace(story.world.config, rollout=with_hooks(each_step=hook))
    made = story.packaged()
    deploy.run(story.context, made)
    result = switch.run(story.context, made)
    assert result.verdict is Verdict.INCONCLUSIVE and words in result.summary
    assert "abcdefgh" not in msgspec.json.encode(result).decode()
    assert story.world.target.plan == TrafficPlan.all_to(BLUE) and not story.journal.quarantined


@pytest.mark.parametrize("left", range(1, 6))
def test_a_hook_that_ended_is_not_asked_again_after_a_crash(tell, left: int) -> None:
    story = tell()
    story.released()
    story.world.config = msgspec.structs.replace(story.world.config, rollout=with_hooks(**ALL))
    made = story.packaged()
    deploy.run(story.context, made)
    story.world.fuse.left = left
    with pytest.raises(Crash):
        switch.run(story.context, made)
    assert switch.run(story.context, made).verdict is Verdict.PASS
    settle.run(story.context, made)
    assert sorted(story.asked) == sorted(set(story.asked)), "each was asked once"


def test_a_failed_hook_whose_worker_died_takes_back_without_being_asked_again(tell, monkeypatch: pytest.MonkeyPatch) -> None:
    story = tell()
    story.released()
    story.world.config = msgspec.structs.replace(story.world.config, rollout=with_hooks(each_step="1"))
    made = story.packaged()
    deploy.run(story.context, made)

    def die(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as dying:
        dying.setattr(switch._Switch, "_not_passed", die)
        with pytest.raises(Crash):
            switch.run(story.context, made)
    assert switch.run(story.context, made).verdict is Verdict.FAIL
    assert story.asked == ["each_stepmirror"]
    deploy.run(story.context, made, allow_quarantined=True)
    switch.run(story.context, made)
    assert story.asked == ["each_stepmirror"] * 2, "a release that is begun anew asks anew"


def test_what_a_hook_is_told_and_what_it_may_not_tell(tell) -> None:
    story = tell(with_hooks(confirm_start=Hook(command=("sh", "-c", 'env | sort; echo "key $MY_API_TOKEN $HIDDEN"'))))
    context = story.world.context(
        environment={"PATH": "/usr/bin:/bin", "MY_API_TOKEN": "s3cr3t-value"}, secrets={"HIDDEN": "x" * 9}
    )
    made = story.packaged()
    deploy.run(context, made)
    switch.run(context, made)
    said = (context.runs.folder(made.id) / "hooks/confirm_start.log").read_text()
    release = {line.partition("=")[0]: line.partition("=")[2] for line in said.splitlines()}
    digest = context.runs.result(made.id, "package").evidence["digest"]
    assert {key: release[f"MLPIPELINE_{key}"] for key in ("DIGEST", "COLOUR", "SHARE", "RUN", "SERVICE")} == {
        "DIGEST": digest,
        "COLOUR": "blue",
        "SHARE": "0",
        "RUN": made.id,
        "SERVICE": "iris",
    }
    told = msgspec.json.encode(context.runs.result(made.id, "switch")).decode() + "\n".join(story.world.console.lines)
    assert "s3cr3t-value" not in said + told and "********" in said
    assert "HIDDEN" not in release, "keys of the worker itself are nobody's"


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict], list[tuple[int, bytes]]]]:
    """Answers what a test puts into the list; notes what it was posted."""
    posted: list[dict] = []
    answers: list[tuple[int, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            status, body = answers[0]
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ask", posted, answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b"", Verdict.PASS),
        (204, b"", Verdict.PASS),
        (200, b'{"verdict": "pass", "reason": "fine"}', Verdict.PASS),
        (200, b'{"verdict": "fail", "reason": "no"}', Verdict.FAIL),
        (409, b'{"verdict": "fail", "reason": "no"}', Verdict.FAIL),
        (200, b'{"verdict": "inconclusive"}', Verdict.INCONCLUSIVE),
        (200, b'{"verdict": "yes"}', Verdict.INCONCLUSIVE),
        (500, b"broken", Verdict.INCONCLUSIVE),
        (302, b"", Verdict.INCONCLUSIVE),
        (404, b'{"verdict": "pass"}', Verdict.INCONCLUSIVE),
    ],
)
def test_a_webhook_is_told_and_answers(tell, webhook, status: int, body: bytes, verdict: Verdict) -> None:
    url, posted, answers = webhook
    answers.append((status, body))
    story = tell()
    story.released()
    story.world.config = msgspec.structs.replace(story.world.config, rollout=with_hooks(confirm_start=Hook(url=url)))
    made = story.packaged()
    deploy.run(story.context, made)
    assert switch.run(story.context, made).verdict is verdict
    assert [(one["hook"], one["run"], one["colour"], one["share"]) for one in posted] == [
        ("confirm_start", made.id, "green", "0")
    ]


def test_cohorts_are_pinned_while_both_have_users_and_nobody_is_afterwards(tell) -> None:
    story = tell(Rollout(cohorts={"beta": BETA, "vip": VIP}))
    story.released()
    assert story.world.target.plans == [TrafficPlan.all_to(BLUE)], "a first release has nobody to be pinned to"
    story.world.target.plans.clear()
    made = story.packaged()
    deploy.run(story.context, made)
    assert not story.world.target.plans
    result = switch.run(story.context, made)
    beta = Pinned("beta", "beta", GREEN, header="x-cohort")
    vip = Pinned("vip", "gold", BLUE, cookie="plan")
    staged = [
        TrafficPlan(BLUE, mirror=True, cohorts=(beta, vip)),
        *(TrafficPlan(BLUE, share=share, cohorts=(beta, vip)) for share in (10, 50, 90)),
    ]
    assert story.world.target.plans == [*staged, TrafficPlan(GREEN, cohorts=(vip,))]
    assert result.verdict is Verdict.PASS
    assert "all users but cohort vip" in result.summary
    assert "vip (cookie plan = gold) on blue" in "\n".join(status.run(story.context).lines())
    settled = settle.run(story.context, made)
    assert settled.verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(GREEN)
    assert any(one.check == "settle.cohorts" and one.verdict is Verdict.PASS for one in settled.reasons)
    assert "beta (header x-cohort = beta) on the live colour" in "\n".join(status.run(story.context).lines())


def test_a_cohort_that_does_not_leave_the_old_colour_is_not_settled_over(tell, monkeypatch: pytest.MonkeyPatch) -> None:
    story = tell(Rollout(cohorts={"vip": VIP}))
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    switch.run(story.context, made)
    story.world.target.owes = 3
    assert settle.run(story.context, made).verdict is Verdict.INCONCLUSIVE
    assert BLUE in story.world.target.colours and story.journal.release.phase is Phase.SWITCHED
    story.world.target.owes = 0
    assert settle.run(story.context, made).verdict is Verdict.PASS
    assert set(story.world.target.colours) == {GREEN}


def test_what_a_dead_worker_left_is_not_settled_past_a_hook_or_a_cohort(tell) -> None:
    story = tell(Rollout(cohorts={"vip": VIP}, hooks=with_hooks(before_settle="$(cat code)").hooks))
    (story.world.places.project / "code").write_text("0")
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    switch.run(story.context, made)
    assert "before_settle was not asked yet" in resume.run(story.context).summary
    assert story.world.target.plan.cohorts and story.journal.release.phase is Phase.SWITCHED
    (story.world.places.project / "code").write_text("11")
    assert settle.run(story.context, made).verdict is Verdict.INCONCLUSIVE
    (story.world.places.project / "code").write_text("0")
    assert settle.run(story.context, made).verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(GREEN) and set(story.world.target.colours) == {GREEN}


def test_resume_gathers_a_cohort_before_it_settles(tell) -> None:
    story = tell(Rollout(cohorts={"vip": VIP}))
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    switch.run(story.context, made)
    assert resume.run(story.context).verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(GREEN) and set(story.world.target.colours) == {GREEN}
    assert settle.run(story.context, made).verdict is Verdict.PASS


def test_users_of_a_cohort_are_taken_back_with_everybody(tell) -> None:
    story = tell(Rollout(cohorts={"beta": BETA, "vip": VIP}))
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    story.verdicts["step-10"] = Verdict.INCONCLUSIVE
    switch.run(story.context, made)
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    story.verdicts.clear()
    switch.run(story.context, made)
    rollback.run(story.context, reason="a person's word")
    assert story.world.target.plan == TrafficPlan.all_to(BLUE) and set(story.world.target.colours) == {BLUE}


def samples(number: int, **extra: object) -> list[dict[str, object]]:
    return [
        {"time": 1.0, "request_id": f"r{index}", "body": "{}", "content_type": "application/json", **extra}
        for index in range(number)
    ]


def replaying(story: Told, lines: list[dict[str, object]], answer: bytes, **rule: object) -> tuple[Run, Verdict, str]:
    story.released()
    file = story.write("recorded.jsonl", *lines)
    replay = Replay(**{"requests": 1000, "file": file, **rule})
    story.world.config = msgspec.structs.replace(story.world.config, rollout=Rollout(replay=replay))
    made = story.packaged()
    story.world.target.smoke[story.context.runs.result(made.id, "package").evidence["digest"]] = (200, b'{"predictions": [1]}')
    deploy.run(story.context, made)
    story.world.target.smoke[story.context.runs.result(made.id, "package").evidence["digest"]] = (200, answer)
    story.world.target.plans.clear()
    result = switch.run(story.context, made)
    return made, result.verdict, "; ".join(one.summary for one in result.reasons)


def test_equal_answers_to_recorded_requests_let_users_move(tell) -> None:
    _, verdict, said = replaying(tell(), samples(300), b'{"predictions": [1.0000000001]}')
    assert verdict is Verdict.PASS and "0 of 300 recorded requests differently" in said


def test_other_answers_to_recorded_requests_move_nobody(tell) -> None:
    story = tell()
    _, verdict, said = replaying(story, samples(50), b'{"predictions": [2]}')
    assert verdict is Verdict.FAIL and "50 of 50" in said and "less is not plausible" in said
    assert story.world.target.plans == [] and story.journal.quarantined


def test_too_few_recorded_requests_hold_and_say_how_many_would_do(tell) -> None:
    story = tell()
    made, verdict, said = replaying(story, samples(10), b'{"predictions": [1]}')
    assert verdict is Verdict.INCONCLUSIVE and "228 without a difference would be enough" in said
    assert story.world.target.plans == [] and story.journal.release.phase is Phase.DEPLOYED
    story.write("recorded.jsonl", *samples(228))
    assert switch.run(story.context, made).verdict is Verdict.PASS


def test_what_cannot_be_replayed_is_left_out_and_counted(tell) -> None:
    lines = [*samples(300), *samples(2, content_type="text/csv"), {"body": ""}, {"torn": 1}]
    _, verdict, said = replaying(tell(), lines, b'{"predictions": [1]}')
    assert verdict is Verdict.PASS and "4 left out" in said


def test_a_file_without_recorded_requests_is_a_configuration_error(tell) -> None:
    with pytest.raises(ConfigurationError, match="holds no recorded request"):
        replaying(tell(), [{"torn": 1}], b"{}")


def test_golden_answers_let_a_candidate_stand(tell) -> None:
    story = tell(rehearsed=Deploy(golden=Golden(file="golden.jsonl"), warm_up=WarmUp(file="warm.jsonl", rows=8)))
    story.write("golden.jsonl", {"request": {"inputs": [1]}, "expected": [1]})
    story.write("warm.jsonl", {"inputs": [[1, 2]]})
    result = deploy.run(story.context, story.packaged())
    assert [one.check for one in result.reasons] == ["deploy.ready", "deploy.warm_up", "deploy.smoke", "deploy.golden"]
    warm = result.reasons[1]
    assert warm.verdict is Verdict.PASS and "8 rows" in warm.summary and {"cold_seconds", "warm_seconds"} <= set(warm.numbers)


@pytest.mark.parametrize("champion", [False, True])
def test_a_wrong_golden_answer_fails_the_deploy_and_takes_the_candidate_away(tell, champion: bool) -> None:
    story = tell(rehearsed=Deploy(golden=Golden(file="golden.jsonl")))
    story.write("golden.jsonl", {"request": {"inputs": [1]}, "expected": [1]})
    if champion:
        story.released()
    before = dict(story.world.target.colours)
    story.write("golden.jsonl", {"request": {"inputs": [1]}, "expected": [1]}, {"request": {"inputs": [2]}, "expected": [0.25]})
    result = deploy.run(story.context, story.packaged())
    assert result.verdict is Verdict.FAIL
    assert "request 2, line 2: predictions[0]: expected 0.25, got 1" in result.summary
    assert story.world.target.colours == before and story.journal.release is None


def test_a_golden_answer_that_went_wrong_after_the_deploy_takes_the_waiting_candidate_away(tell) -> None:
    story = tell(rehearsed=Deploy(golden=Golden(file="golden.jsonl")))
    story.write("golden.jsonl", {"request": {"inputs": [1]}, "expected": [1]})
    made = story.packaged()
    assert deploy.run(story.context, made).verdict is Verdict.PASS
    story.write("golden.jsonl", {"request": {"inputs": [1]}, "expected": [2]})
    assert deploy.run(story.context, made).verdict is Verdict.FAIL
    assert not story.world.target.colours and story.journal.release is None


@pytest.mark.parametrize(
    "rehearsed",
    [
        Deploy(golden=Golden(file="golden.jsonl")),
        Deploy(golden=Golden(file="absent.jsonl")),
        Deploy(warm_up=WarmUp(file="golden.jsonl", rows=2)),
    ],
)
def test_a_malformed_file_starts_nothing(tell, rehearsed: Deploy) -> None:
    story = tell(rehearsed=rehearsed)
    (story.world.places.project / "golden.jsonl").write_text('{"request": {}, "expected": [1]}\n[1, ')
    with pytest.raises(ConfigurationError) as refused:
        deploy.run(story.context, story.packaged())
    assert "golden.jsonl:2" in refused.value.render() or "absent.jsonl" in refused.value.render()
    assert not story.world.target.calls


def test_a_malformed_file_is_told_before_anything_is_trained(tell) -> None:
    story = tell(rehearsed=Deploy(golden=Golden(file="golden.jsonl"), warm_up=WarmUp(file="made-later.jsonl")))
    (story.world.places.project / "golden.jsonl").write_text("[1, ")
    made = story.packaged()

    def never(verb: str):
        raise AssertionError(verb)

    with pytest.raises(ConfigurationError, match=r"deploy\.golden\.file is malformed"):
        run_verb.run(story.context, made, find=never)


def test_a_candidate_that_does_not_answer_a_warm_up_is_taken_away(tell) -> None:
    story = tell(rehearsed=Deploy(warm_up=WarmUp(file="warm.jsonl")))
    story.write("warm.jsonl", {"inputs": [1]})
    made = story.packaged()
    story.world.target.smoke[story.context.runs.result(made.id, "package").evidence["digest"]] = (503, b"out of memory")
    result = deploy.run(story.context, made)
    assert result.verdict is Verdict.FAIL and "503 to warm-up request 1" in result.summary
    assert not story.world.target.colours


def test_past_its_time_out_a_rollout_holds(tell) -> None:
    story = tell()
    story.released()
    story.world.config = msgspec.structs.replace(story.world.config, rollout=Rollout(timeout=Duration(200)))
    made = story.packaged()
    deploy.run(story.context, made)
    story.during = lambda stage: story.world.clock.sleep(150)
    result = switch.run(story.context, made)
    assert result.verdict is Verdict.INCONCLUSIVE and "past rollout.timeout of 200 s" in result.summary
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)


def test_hooks_are_nobodys_but_the_release_s(tell) -> None:
    story = tell(with_hooks(confirm_start="0"))
    made = story.packaged()
    deploy.run(story.context, made)
    assert hooks.asked(story.context, made) == ()
