"""The verbs and their options as data, so that the parser, the arguments file and the reference page agree."""

from __future__ import annotations

from typing import NamedTuple


class Option(NamedTuple):
    """One option, the same on the command line and in the arguments file (there with underscores)."""

    name: str
    help: str
    kind: type = str
    metavar: str | None = None
    many: bool = False
    parameter: str = ""
    """What the verb's function calls it, where that is not the same word."""
    positional: bool = False
    """Given by its place on the command line, without its name."""

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


class Command(NamedTuple):
    """One verb.

    Args:
        name: As results carry it.
        run: Which run it belongs to: ``start``, ``continue``, ``latest`` (see ``verbs/current.py``), ``newest`` (the
            newest of this checkout, if it has any), ``none``, or ``outside`` (needs no ``mlpipeline.yaml``).
    """

    name: str
    help: str
    run: str = "continue"
    options: tuple[Option, ...] = ()

    @property
    def typed(self) -> str:
        group, _, rest = self.name.partition("-")
        return f"{group} {rest}" if group in GROUPS and rest else self.name


GROUPS = {
    "gate": "judge the data, the model or what is packaged with it",
    "audit": "check the whole record, or hand it over",
    "jenkins": "set up, start, watch and answer jobs of a Jenkins",
    "doctor": "check configuration, programs, services and disk; changes nothing",
}
"""First words that several verbs share, and what they have in common."""

SHARED = (
    Option("project", "folder of mlpipeline.yaml (default: this one)", metavar="DIR"),
    Option("set", "override one value, such as verify.interval=5s; may be repeated", metavar="KEY=VALUE", many=True),
    Option("defaults", "file of library defaults, below mlpipeline.yaml (default: $MLPIPELINE_DEFAULTS)", metavar="FILE"),
    Option("environment", "staging: look at, stop or take back what is in front of production", metavar="NAME"),
    Option("run", "the run to work on (default: the one of this commit and configuration)", metavar="ID"),
    Option("json", "print the result as JSON", bool),
    Option("result", "write the result as JSON to this file, whatever happens", metavar="FILE"),
    Option("args", "JSON file of these options and a 'config' object of overrides", metavar="FILE"),
)

_REASON = Option("reason", "why the release was started, for the record (default: commit)", metavar="TEXT")
_JOB = Option("job", "full name of the job (default: SERVICE/release of mlpipeline.yaml)", metavar="NAME")
_CREDENTIALS = Option(
    "credentials", "file with url, user and token (default: MLPIPELINE_JENKINS_URL, _USER, _TOKEN)", metavar="FILE"
)
_WAIT = Option("timeout", "seconds that Jenkins may take for one answer (default: 20)", float, "N")
_ANSWER = (
    _JOB,
    Option("build", "number of the build (default: the newest that waits)", int, "N"),
    Option("input", "id of the question (default: the only one that waits)", metavar="ID"),
    Option("why", "the reason, passed to the question where it asks for one", metavar="TEXT"),
    Option("digest", "what was looked at; refused when the question is about another one", metavar="SHA256"),
    _CREDENTIALS,
    _WAIT,
)
_JENKINS = (
    Command(
        "jenkins-setup",
        "create or update the folder, the release job and the nightly job; changes nothing that is right already",
        "outside",
        (
            Option("repository", "URL of the project's git repository (default: the remote origin)", metavar="URL"),
            Option("branch", "the release branch (default: main)", metavar="NAME"),
            Option("folder", "folder of the jobs (default: the service)", metavar="NAME"),
            Option("scm-credentials", "id, in Jenkins, of the credentials that read the repository", metavar="ID"),
            Option("library", "the shared library as Jenkins knows it (default: mlpipeline)", metavar="NAME[@VERSION]"),
            Option("dry-run", "show the difference and change nothing", bool),
            _CREDENTIALS,
            _WAIT,
        ),
    ),
    Command(
        "jenkins-trigger",
        "start a build, with the reason recorded",
        "outside",
        (_JOB, Option("reason", "why", metavar="TEXT"), _CREDENTIALS, _WAIT),
    ),
    Command(
        "jenkins-health",
        "how the pipeline itself does: durations, success rate, flaky stages, scheduled runs that did not happen",
        "outside",
        (
            Option("job", "full name; may be repeated (default: SERVICE/release and SERVICE/nightly)", many=True, metavar="NAME"),
            Option("builds", "how many of the newest builds to look at (default: 50)", int, "N"),
            Option("grace", "how late a scheduled run may begin, such as 2h (default: 1h)", metavar="TIME"),
            Option("zone", "time zone of the controller, where a schedule names none (default: UTC)", metavar="NAME"),
            _CREDENTIALS,
            _WAIT,
        ),
    ),
    Command("jenkins-approve", "answer a waiting question with yes", "outside", _ANSWER),
    Command("jenkins-reject", "answer a waiting question with no", "outside", _ANSWER),
)

COMMANDS = (
    Command(
        "init",
        "add mlpipeline.yaml and a Jenkinsfile to this repository",
        "none",
        (Option("service", "its name", metavar="NAME"),),
    ),
    Command("doctor", "check configuration, programs, services and disk; changes nothing", "none"),
    Command(
        "doctor-gpu",
        "check the GPUs this call may use: driver, free memory, foreign processes, memory errors, throttling",
        "outside",
        (
            Option("devices", "numbers or UUIDs, comma separated (default: $MLPIPELINE_GPUS, $CUDA_VISIBLE_DEVICES, all)"),
            Option("count", "how many devices are needed at least", int, "N"),
            Option("memory", "free memory needed on each device, such as 16GiB", metavar="SIZE"),
            Option("meter", "start a meter that keeps its numbers in this folder", metavar="DIR"),
            Option("metered", "end the meter of this folder and say what was used; looks at no device", metavar="DIR"),
        ),
    ),
    Command(
        "gate-data",
        "judge the data: schema, expectations, freshness",
        "start",
        (
            _REASON,
            Option("release", "also refuse what is known now to be in vain, such as a commit that was taken back", bool),
            Option(
                "draft", "write a first suite for each data file that has none, from the champion's data, and judge nothing", bool
            ),
        ),
    ),
    Command("train", "run the training command and record what it made"),
    Command("checks", "run the project's own lint, types and tests, side by side", "start", (_REASON,)),
    Command("gate-security", "look for code in model files, secrets, and known vulnerabilities, before anything is loaded"),
    Command(
        "gate-model",
        "judge the model against thresholds and against the champion",
        "continue",
        (Option("plan", "judge nothing: say how many labels the rules need, and which rows to label first", bool),),
    ),
    Command(
        "waive",
        "let one check not stop releases until a day, for a reason; without a check, list the waivers that hold",
        "newest",
        (
            Option("check", "name of the check, as the result gives it; * stands for any part", metavar="NAME"),
            Option("as", "who decides: a person", metavar="NAME", parameter="person"),
            Option("why", "the reason, for the record", metavar="TEXT"),
            Option("until", "last day (UTC), or ISO time", metavar="DATE"),
            Option("this-model", "only for the model of the newest run", bool),
            Option("revoke", "take the waivers of this check back", bool),
        ),
    ),
    Command(
        "package",
        "make the self-contained bundle, and the container image that is configured",
        "continue",
        (Option("image", "write the image there too: a folder (OCI layout), or a file that ends in .tar", metavar="PATH"),),
    ),
    Command("register", "register the model version with its lineage"),
    Command(
        "staging",
        "release the package to the environment in front of production; deploy does it first where there is one",
        "continue",
        (Option("allow-quarantined", "deploy a version there that was taken back there before", bool),),
    ),
    Command(
        "deploy",
        "start the bundle beside the live one, without user traffic",
        "continue",
        (
            Option("allow-quarantined", "deploy a version that was taken back before", bool),
            Option("plan", "change nothing: print the difference that it would make, field by field (kubernetes)", bool),
        ),
    ),
    Command(
        "approve",
        "record a person's decision on this digest and this evidence",
        "continue",
        (
            Option(
                "as", "who decides; without one it is only said whether the release may go on", metavar="NAME", parameter="person"
            ),
            Option("why", "the reason, for the record", metavar="TEXT"),
            Option("reject", "say no", bool),
            Option(
                "ended",
                "the request ended without an answer: withdrawn (a veto), timed-out, aborted or superseded",
                metavar="HOW",
            ),
            Option("digest", "what was looked at; refused when the package is another one", metavar="SHA256"),
        ),
    ),
    Command(
        "mirror",
        "watch the deployed candidate on copies of user requests, before it gets users",
        "continue",
        (Option("seconds", "how long to watch (default: rollout.mirror)", float, "N"),),
    ),
    Command("switch", "move users over: mirror, steps, all; verified at every stage"),
    Command(
        "verify",
        "watch the running release, or recompute a verdict",
        "continue",
        (
            Option("seconds", "how long to watch", float, "N"),
            Option(
                "candidate",
                "blue or green: compare it with the other, whoever routes to them; needs verify.prometheus",
                metavar="COLOUR",
            ),
            Option("plan", "watch nothing: say how long each metric would need at the traffic of now", bool, parameter="expect"),
            Option("replay", "recompute the verdict of this evidence file, offline", metavar="FILE"),
        ),
    ),
    Command("settle", "end the bake: the candidate becomes the champion"),
    Command(
        "rollback",
        "give users the previous version back, verify it, and quarantine the bad one",
        "newest",
        (Option("reason", "why, for the record and the quarantine", metavar="TEXT"),),
    ),
    Command("stop", "end the service's processes on this machine: router, both colours, its Prometheus", "none"),
    Command("status", "what is live, and how far the current run is", "none"),
    Command("history", "who was live when", "none", (Option("at", "a moment, such as 2026-03-01T03:12Z", metavar="TIME"),)),
    Command(
        "resume",
        "finish or take back whatever a worker left that died; reads the target first, and does nothing when nothing was left",
        "none",
        (
            Option(
                "if-silent-for",
                "first watch that long, such as 10m, and change nothing while a worker is at work",
                metavar="TIME",
            ),
        ),
    ),
    Command(
        "verify-artifact",
        "check a package offline, or an image in its registry: files, SBOM, provenance, signatures, gates, approvals, ledger",
        "none",
        (
            Option(
                "digest",
                "of the package, its first 8 digits or more, or an image: REPOSITORY@sha256:...",
                metavar="DIGEST",
                positional=True,
            ),
            Option("keys", "PEM file of the public keys that count (default: signing.keys)", metavar="FILE"),
        ),
    ),
    Command(
        "lineage",
        "what a digest, version, commit, data hash or run came of, and what came of it",
        "none",
        (Option("what", "its name, or the first 4 digits or more of a hash", metavar="WHAT", positional=True),),
    ),
    Command(
        "audit-verify",
        "check that ledger, results, statements and signatures fit together; names the first broken entry",
        "none",
        (Option("registry", "ask the model registry too how far the ledger had come", bool),),
    ),
    Command(
        "audit-export",
        "write the whole record into one archive that sha256sum and openssl can check",
        "none",
        (Option("output", "the zip to write", metavar="FILE"),),
    ),
    Command(
        "score",
        "predict a file or a folder of files, judge the answers, and let them replace the old ones",
        "none",
        (
            Option("input", "Parquet or CSV: a file, a folder of partitions, or a pattern", metavar="PATH"),
            Option("output", "a file that ends in .parquet, .csv or .csv.gz, or a folder", metavar="PATH"),
            Option("model", "digest of a package, or version of the registry (default: the champion)", metavar="WHICH"),
            Option("engine", "process or spark (default: score.engine)", metavar="NAME"),
        ),
    ),
    Command("drift-check", "compare what runs with what was released, and name who changed what; changes nothing", "none"),
    Command("nightly", "look for drift and decay, decide whether to retrain, and remove what is old", "none"),
    *_JENKINS,
    Command("report", "write the release report and JUnit files", "latest"),
    Command(
        "config",
        "show every effective value and which layer set it",
        "none",
        (Option("schema", "print the JSON schema of mlpipeline.yaml instead", bool),),
    ),
    Command(
        "run",
        "the whole release, from the data gate to settling; goes on where an earlier call stopped, if anything is left to do",
        "start",
        (
            Option(
                "reason",
                "why the release is started, for the record (default: commit); with one, what settled before is released anew",
                metavar="TEXT",
            ),
        ),
    ),
)


def find(name: str) -> Command:
    """By the name that results carry."""
    return next(command for command in COMMANDS if command.name == name)
