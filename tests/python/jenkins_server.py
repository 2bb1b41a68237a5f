"""A Jenkins in memory that speaks HTTP on loopback, with the answers a real controller (2.541.2) was seen to give."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TIMER = {"_class": "hudson.triggers.TimerTrigger$TimerTriggerCause", "shortDescription": "Started by timer"}
USER = {
    "_class": "hudson.model.Cause$UserIdCause",
    "shortDescription": "Started by user admin",
    "userId": "admin",
    "userName": "admin",
}
TOKEN = "11aabbccddeeff"  # of this fake only


def build(
    number: int,
    started: float,
    *,
    seconds: float = 60.0,
    result: str | None = "SUCCESS",
    cause: dict[str, str] | None = None,
    commit: str = "c1",
    stages: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A build as ``api/json`` shows it, with its stages beside it."""
    return {
        "_class": "org.jenkinsci.plugins.workflow.job.WorkflowRun",
        "actions": [
            {"_class": "hudson.model.CauseAction", "causes": [cause or USER]},
            {"_class": "hudson.plugins.git.util.BuildData", "lastBuiltRevision": {"SHA1": commit, "branch": []}},
            {},
        ],
        "building": result is None,
        "duration": round(seconds * 1000),
        "number": number,
        "result": result,
        "timestamp": round(started * 1000),
        "url": f"http://jenkins.example/job/x/{number}/",
        "stages": stages or {},
    }


@dataclass
class FakeJenkins:
    """Attributes are its content; tests set and read them.

    Attributes:
        jobs: Full name to ``config.xml``.
        builds: Full name to builds, newest first.
        questions: (full name, build) to pending input actions, as wfapi lists them.
        submitter: Question id to the only user who may answer.
        answers: What was answered: (kind, job, build, id, form).
        started: What was started: (job, form).
        refused: Status that every request gets; 0: none.
        slow: Seconds before each answer.
        hidden: The user may not read a job's configuration.
        seen: Every request, as ``METHOD path``.
    """

    jobs: dict[str, str] = field(default_factory=dict)
    builds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    questions: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)
    submitter: dict[str, str] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    answers: list[tuple[str, str, int, str, dict[str, str]]] = field(default_factory=list)
    started: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    refused: int = 0
    slow: float = 0.0
    hidden: bool = False
    without_stages: bool = False
    user: str = "admin"
    token: str = TOKEN
    seen: list[str] = field(default_factory=list)
    url: str = ""

    def environment(self) -> dict[str, str]:
        return {
            "MLPIPELINE_JENKINS_URL": self.url,
            "MLPIPELINE_JENKINS_USER": self.user,
            "MLPIPELINE_JENKINS_TOKEN": self.token,
        }

    def ask(self, name: str, number: int, identity: str = "Release", message: str = "Release sha256:abcdef0123456789?") -> None:
        """A build waits for an answer, with a reason as its one field."""
        self.questions.setdefault((name, number), []).append(
            {
                "id": identity,
                "proceedText": "Approve",
                "message": message,
                "inputs": [
                    {"type": "StringParameterDefinition", "name": "WHY", "description": "", "definition": {"defaultVal": ""}},
                    {
                        "type": "ChoiceParameterDefinition",
                        "name": "ENV",
                        "definition": {"defaultVal": "stg", "choices": ["stg", "prod"]},
                    },
                ],
            }
        )


@contextmanager
def fake_jenkins() -> Iterator[FakeJenkins]:
    """Serves until the block ends."""
    fake = FakeJenkins()

    class Handler(_Handler):
        jenkins = fake

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    jenkins: FakeJenkins
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self, body: bytes) -> None:
        jenkins, parts = self.jenkins, urlsplit(self.path)
        jenkins.seen.append(f"{self.command} {self.path}")
        if jenkins.slow:
            time.sleep(jenkins.slow)
        expected = base64.b64encode(f"{jenkins.user}:{TOKEN}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self._say(401, b"<html><title>Error 401 Unauthorized</title></html>", "text/html")
        elif jenkins.refused:
            self._say(jenkins.refused, b"<html>Oops</html>", "text/html")
        elif parts.path == "/crumbIssuer/api/json":
            self._json({"_class": "x", "crumb": "abc", "crumbRequestField": "Jenkins-Crumb"})
        elif parts.path == "/me/api/json":
            self._json({"id": jenkins.user, "fullName": jenkins.user})
        else:
            self._route(parts.path, {key: value[0] for key, value in parse_qs(parts.query).items()}, body)

    def _route(self, path: str, query: dict[str, str], body: bytes) -> None:
        match = re.fullmatch(r"((?:/job/[^/]+)*)/(.*)", path)
        assert match is not None
        name = "/".join(unquote(part) for part in match[1].split("/job/")[1:])
        rest = match[2]
        if rest == "createItem":
            self._create(name, query["name"], body)
        elif name not in self.jenkins.jobs:
            self._say(404, b"<html>Not Found</html>", "text/html")
        elif rest == "config.xml" and self.command == "POST":
            self._store(name, body)
        elif rest == "config.xml" and self.jenkins.hidden:
            self._say(403, b"<html>Forbidden</html>", "text/html")
        elif rest == "config.xml":
            self._say(200, self.jenkins.jobs[name].encode(), "application/xml")
        elif rest == "api/json":
            self._json(self._described(name))
        elif rest in {"build", "buildWithParameters"}:
            self._start(name, rest, body)
        else:
            self._of_build(name, rest, query, body)

    def _create(self, folder: str, short: str, body: bytes) -> None:
        name = f"{folder}/{short}" if folder else short
        if folder and folder not in self.jenkins.jobs:
            self._say(404, b"", "text/html")
        elif name in self.jenkins.jobs:
            self._say(
                400, b"", "text/html", {"X-Error": f"A job already exists with the name ‘{short}’".encode().decode("latin-1")}
            )
        else:
            self._store(name, body)

    def _store(self, name: str, body: bytes) -> None:
        """A real controller writes its own header, adds attributes and drops nothing it knows."""
        text = body.decode()
        if "unknown.Plugin" in text:
            self._say(500, b"<html>Oops</html>", "text/html")
            return
        stored = re.sub(r'class="hudson.plugins.git.GitSCM"(?! plugin)', r'\g<0> plugin="git@5.10.1"', text)
        if "<extensions" not in stored:
            stored = stored.replace("</scm>", "<submoduleCfg/><extensions/></scm>")
        self.jenkins.jobs[name] = "<?xml version='1.1' encoding='UTF-8'?>\n" + stored
        self._say(200, b"", "text/html")

    def _described(self, name: str) -> dict[str, Any]:
        names = re.findall(r"<hudson\.model\.StringParameterDefinition>\s*<name>(\w+)</name>", self.jenkins.jobs[name])
        properties = (
            [{"parameterDefinitions": [{"name": one, "type": "StringParameterDefinition"} for one in names]}] if names else [{}]
        )
        builds = [{key: value for key, value in one.items() if key != "stages"} for one in self.jenkins.builds.get(name, [])]
        return {
            "_class": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
            "name": name.rpartition("/")[2],
            "url": f"{self.jenkins.url}/job/{name}/",
            "buildable": name not in self.jenkins.disabled,
            "disabled": name in self.jenkins.disabled,
            "inQueue": False,
            "queueItem": None,
            "property": properties,
            "builds": builds,
        }

    def _start(self, name: str, kind: str, body: bytes) -> None:
        parameterised = "ParametersDefinitionProperty" in self.jenkins.jobs[name]
        if name in self.jenkins.disabled:
            self._say(409, b"", "text/html")
        elif (kind == "build") == parameterised:
            self._say(400, b"<html>Bad Request</html>", "text/html")
        else:
            self.jenkins.started.append((name, {key: value[0] for key, value in parse_qs(body.decode()).items()}))
            self._say(201, b"", "text/html", {"Location": f"{self.jenkins.url}/queue/item/327/"})

    def _of_build(self, name: str, rest: str, query: dict[str, str], body: bytes) -> None:
        number, _, action = rest.partition("/")
        known = next((one for one in self.jenkins.builds.get(name, []) if str(one["number"]) == number), None)
        waiting = self.jenkins.questions.get((name, int(number)), []) if number.isdigit() else []
        if known is None or (self.jenkins.without_stages and "wfapi" in action):
            self._say(404, b"", "text/html")
        elif action == "wfapi/describe" and "recorded" in known:
            self._json(known["recorded"])
        elif action == "wfapi/describe":
            stages = [
                {"id": str(place), "name": stage, "status": status, "durationMillis": 1000 * place, "pauseDurationMillis": 0}
                for place, (stage, status) in enumerate(known["stages"].items(), start=1)
            ]
            self._json({"id": number, "status": "SUCCESS", "stages": stages})
        elif action == "wfapi/pendingInputActions":
            self._json(waiting)
        elif action == "wfapi/inputSubmit":
            self._answer("submit", name, int(number), query["inputId"], body)
        elif match := re.fullmatch(r"input/([^/]+)/(proceedEmpty|abort)", action):
            self._answer(match[2], name, int(number), unquote(match[1]), body)
        else:
            self._say(404, b"", "text/html")

    def _answer(self, kind: str, name: str, number: int, identity: str, body: bytes) -> None:
        waiting = self.jenkins.questions.get((name, number), [])
        wanted = self.jenkins.submitter.get(identity, self.jenkins.user)
        if not any(one["id"] == identity for one in waiting):
            self._say(404, b"", "text/html")
        elif wanted != self.jenkins.user:
            self._say(400, b"<html>Error</html>", "text/html", {"X-Error": f"You need to be {wanted} to submit this."})
        else:
            form = {key: value[0] for key, value in parse_qs(body.decode()).items()}
            self.jenkins.answers.append((kind, name, number, identity, form))
            self.jenkins.questions[name, number] = [one for one in waiting if one["id"] != identity]
            self._say(200, b"", "text/html")

    def _json(self, content: object) -> None:
        self._say(200, json.dumps(content).encode(), "application/json")

    def _say(self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)


def small_checkout(folder: Path, service: str = "churn") -> Path:
    """A folder with a ``mlpipeline.yaml`` and both Jenkinsfiles."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mlpipeline.yaml").write_text(f"service: {service}\ntrain:\n  command: dvc repro\n")
    (folder / "Jenkinsfile").write_text("@Library('mlpipeline') _\nmlPipeline()\n")
    (folder / "Jenkinsfile.nightly").write_text("@Library('mlpipeline') _\nmlNightly()\n")
    return folder
