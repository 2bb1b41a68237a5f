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

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


class Command(NamedTuple):
    """One verb.

    Args:
        name: As results carry it.
        run: Which run it belongs to: ``start``, ``continue``, ``latest`` (see ``verbs/current.py``), ``newest`` (the
            newest of this checkout, if it has any), or ``none``.
    """

    name: str
    help: str
    run: str = "continue"
    options: tuple[Option, ...] = ()

    @property
    def typed(self) -> str:
        return self.name.replace("-", " ", 1) if self.name.startswith("gate-") else self.name


SHARED = (
    Option("project", "folder of mlpipeline.yaml (default: this one)", metavar="DIR"),
    Option("set", "override one value, such as verify.interval=5s; may be repeated", metavar="KEY=VALUE", many=True),
    Option("defaults", "file of library defaults, below mlpipeline.yaml (default: $MLPIPELINE_DEFAULTS)", metavar="FILE"),
    Option("run", "the run to work on (default: the one of this commit and configuration)", metavar="ID"),
    Option("json", "print the result as JSON", bool),
    Option("result", "write the result as JSON to this file, whatever happens", metavar="FILE"),
    Option("args", "JSON file of these options and a 'config' object of overrides", metavar="FILE"),
)

COMMANDS = (
    Command(
        "init",
        "add mlpipeline.yaml and a Jenkinsfile to this repository",
        "none",
        (Option("service", "its name", metavar="NAME"),),
    ),
    Command("doctor", "check configuration, programs, services and disk; changes nothing", "none"),
    Command("gate-data", "judge the data: schema, expectations, freshness", "start"),
    Command("train", "run the training command and record what it made"),
    Command("gate-model", "judge the model against thresholds and against the champion"),
    Command("package", "make the self-contained bundle"),
    Command("register", "register the model version with its lineage"),
    Command(
        "deploy",
        "start the bundle beside the live one, without user traffic",
        "continue",
        (Option("allow-quarantined", "deploy a version that was taken back before", bool),),
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
            Option("digest", "what was looked at; refused when the package is another one", metavar="SHA256"),
        ),
    ),
    Command("switch", "move users over: mirror, steps, all; verified at every stage"),
    Command(
        "verify",
        "watch the running release, or recompute a verdict",
        "continue",
        (
            Option("seconds", "how long to watch", float, "N"),
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
    Command("report", "write the release report and JUnit files", "latest"),
    Command(
        "config",
        "show every effective value and which layer set it",
        "none",
        (Option("schema", "print the JSON schema of mlpipeline.yaml instead", bool),),
    ),
    Command(
        "run",
        "the whole release, from the data gate to settling; goes on where an earlier call stopped",
        "start",
        (Option("reason", "why it was started, for the record", metavar="TEXT"),),
    ),
)


def find(name: str) -> Command:
    """By the name that results carry."""
    return next(command for command in COMMANDS if command.name == name)
