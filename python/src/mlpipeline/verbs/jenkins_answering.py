"""Answering the question a build waits with, for chat-ops: ``jenkins approve`` and ``jenkins reject``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlpipeline.adapters.jenkins import Question
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Result
from mlpipeline.verbs.jenkins_calling import TIMEOUT_SECONDS, Calling, passed

_REASONS = frozenset({"why", "reason", "comment"})
_NEWEST = 20
_SHORTEST_DIGEST = 12


def answer(
    verb: str,
    project: Path,
    environment: Mapping[str, str],
    *,
    yes: bool,
    job: str = "",
    build: int = 0,
    input: str = "",  # noqa: A002 - the word of the option
    why: str = "",
    digest: str = "",
    credentials: str = "",
    timeout: float = TIMEOUT_SECONDS,
) -> Result:
    """Answers exactly one question, in the name of the user whose token it is; Jenkins itself decides whether he may.

    Raises ConfigurationError when nothing waits, when it is not clear which question is meant, when it is about another
    digest, and when Jenkins refuses the user.
    """
    calling = Calling(project, environment, credentials, timeout)
    name = calling.job(job, "release")
    number = build or _waiting_build(calling, name)
    question = _chosen(name, number, calling.server.questions(name, number), input)
    _require_digest(question, digest)
    values = {field: why if why and field.lower() in _REASONS else default for field, default in question.fields.items()}
    calling.server.answer(name, number, question, values if yes else None)
    done = "approved" if yes else "rejected"
    evidence = {"job": name, "build": number, "input": question.id, "decision": done, "why": why, "message": question.message}
    return calling.result(verb, [passed(f"jenkins.{done}", f"{done} {question.id} of {name} #{number}")], evidence, {})


def _waiting_build(calling: Calling, name: str) -> int:
    """The newest running build with a question; an older one must be named, so that nobody approves what was overtaken."""
    for build in calling.server.builds(name, _NEWEST):
        if build.get("building") and calling.server.questions(name, int(build["number"])):
            return int(build["number"])
    raise ConfigurationError(
        f"no build of {name} waits for an answer",
        likely="it was answered, withdrawn or timed out, or has not come to its approval yet",
        tries=("--job FOLDER/NAME --build N",),
    )


def _chosen(name: str, number: int, questions: list[Question], wanted: str) -> Question:
    # Jenkins writes the first letter of an id as a capital.
    fitting = [question for question in questions if not wanted or question.id.lower() == wanted.lower()]
    if len(fitting) == 1:
        return fitting[0]
    waiting = ", ".join(question.id for question in questions) or "none"
    if not questions:
        what = f"{name} #{number} waits for no answer"
    else:
        what = (
            f"{name} #{number} has no question {wanted!r}"
            if wanted and not fitting
            else f"{name} #{number} asks several questions"
        )
    raise ConfigurationError(what, facts={"waiting": waiting}, tries=("--input ID",) if questions else ())


def _require_digest(question: Question, digest: str) -> None:
    plain = digest.removeprefix("sha256:").lower()
    if not digest:
        return
    if len(plain) < _SHORTEST_DIGEST:
        raise ConfigurationError(f"--digest needs at least {_SHORTEST_DIGEST} characters of the digest")
    if plain not in question.message.lower():
        raise ConfigurationError(
            "the question is about another package than the one you looked at",
            facts={"you looked at": digest, "question": question.message},
            tries=("read the newest report and decide again",),
        )
