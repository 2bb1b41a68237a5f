"""From a parsed command line to a verb's function: arguments file, configuration, run, and how its outcome is told."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpipeline.commands import SHARED, Command
from mlpipeline.config.load import Loaded, load
from mlpipeline.errors import ConfigurationError, MlpipelineError
from mlpipeline.record.result import Result

if TYPE_CHECKING:
    from mlpipeline.verbs.context import Context
    from mlpipeline.verbs.current import Choice

_OVERLAY = "config"
_ARGUMENTS_TRIES = ('write it like this: {"project": ".", "config": {"verify": {"interval": "5s"}}}',)


def read_arguments(file: Path, command: Command) -> dict[str, Any]:
    """The options of an arguments file, checked as strictly as the command line."""
    import difflib

    try:
        given = msgspec.json.decode(file.read_bytes())
    except FileNotFoundError as error:
        raise ConfigurationError(
            "the arguments file does not exist", facts={"file": file.absolute()}, tries=(f"ls -l {file.parent}",)
        ) from error
    except IsADirectoryError as error:
        raise ConfigurationError("the arguments file is a folder", facts={"file": file}, tries=_ARGUMENTS_TRIES) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "the arguments file is not JSON", facts={"file": file, "found": error}, tries=_ARGUMENTS_TRIES
        ) from error
    if not isinstance(given, dict):
        raise ConfigurationError(
            "the arguments file must hold a JSON object",
            facts={"file": file, "found": "a list" if isinstance(given, list) else repr(given)[:60]},
            tries=_ARGUMENTS_TRIES,
        )
    known = {option.key: option for option in (*command.options, *SHARED) if option.name not in {"args", "result", "json"}}
    options: dict[str, Any] = {}
    for key, value in given.items():
        if key == _OVERLAY:
            if not isinstance(value, dict):
                raise ConfigurationError(
                    f"argument {_OVERLAY!r} must be an object of sections", facts={"file": file}, tries=_ARGUMENTS_TRIES
                )
            options[_OVERLAY] = value
            continue
        option = known.get(key)
        if option is None:
            nearest = difflib.get_close_matches(key, [*known, _OVERLAY], n=1, cutoff=0.5)
            facts: dict[str, object] = {"file": file, "known": ", ".join(sorted([*known, _OVERLAY]))}
            raise ConfigurationError(
                f"unknown argument {key!r} of {command.typed}", facts={**facts, **({"nearest": nearest[0]} if nearest else {})}
            )
        wanted: Any = list[str] if option.many else option.kind
        try:
            options[key] = msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"argument {key!r} of {command.typed}: {error}", facts={"file": file}) from error
    return options


class Calling:
    """One verb with its options.

    Args:
        closing: Where what must be closed at the end is put, such as progress bars.
    """

    def __init__(
        self, command: Command, options: Mapping[str, Any], environment: Mapping[str, str], closing: contextlib.ExitStack
    ) -> None:
        self._command = command
        self._options = options
        self._environment = environment
        self._closing = closing
        self._folder: Path | None = None

    def outcome(self) -> Result | str:
        """Does it: a result, or the text that a verb that only shows something has to show."""
        own = {
            option.parameter or option.key: self._options[option.key]
            for option in self._command.options
            if option.key in self._options
        }
        project = Path(self._options.get("project", ".")).absolute()
        name = self._command.name
        if name == "init":
            text = self._module().run(project, **own)
            return self._shown(text, self._context(load(project), project))
        if self._command.run == "outside":
            return self._module().run(project, self._environment, **own)  # type: ignore[no-any-return]
        if name == "verify" and "replay" in own:
            return self._replayed(Path(own["replay"]))
        if name == "config":
            return self._config(project, **own)
        return self._verb(self._loaded(project), project, own)

    def _verb(self, loaded: Loaded, project: Path, own: dict[str, Any]) -> Result | str:
        context = self._context(loaded, project)
        for warning in loaded.warnings if self._command.name == "run" else ():
            context.console.say(f"note: {warning}")
        if self._command.name == "status" and self._options.get("run"):
            own["run"] = context.runs.get(self._options["run"])
        if self._command.run == "none" or own.get("draft"):
            return self._shown(self._only_looks(context, own), context)
        from mlpipeline.record.run import FLOW, Run
        from mlpipeline.verbs.current import Choice, choose_run

        if self._command.name == "rollback":
            own.setdefault("reason", f"asked for by {context.actor or 'hand'}")
        asked = own.pop("reason", "") if self._command.run == Choice.START.value else ""
        run: Run | None
        if self._options.get("run"):
            run = context.runs.get(self._options["run"])
        elif self._command.run == "newest":
            run = context.runs.latest()
        elif self._command.name == "run" and not asked and (done := self._module().released(context)) is not None:
            self._folder = context.runs.folder(done.run)
            return done  # type: ignore[no-any-return]
        else:
            run = choose_run(context, self._choice(own), reason=asked or "commit")
        self._folder = context.runs.folder(run.id) if run else None
        started = context.clock.monotonic()
        try:
            return self._module().run(context, run, **own)  # type: ignore[no-any-return]
        except MlpipelineError as error:
            if run is not None and self._command.name in FLOW:
                from mlpipeline.verbs.run import note_broken

                note_broken(context, run, self._command.name, started, error)
            raise
        except KeyboardInterrupt as interrupt:
            if run is not None and self._command.name in FLOW:
                from mlpipeline.verbs.run import note_interrupted

                note_interrupted(context, run, self._command.name, started, str(interrupt))
            raise

    def _choice(self, own: Mapping[str, Any]) -> Choice:
        """Colours that something else deployed have no run yet when they are first looked at."""
        from mlpipeline.verbs.current import Choice

        if self._command.name == "verify" and own.get("expect"):
            return Choice.LOOK
        return Choice.START if self._command.name == "verify" and own.get("candidate") else Choice(self._command.run)

    def _only_looks(self, context: Context, own: dict[str, Any]) -> Any:
        if own.get("draft"):
            from mlpipeline.verbs.data_draft import draft

            return draft(context)
        return self._module().run(context, **own)

    def _context(self, loaded: Loaded, project: Path) -> Context:
        from mlpipeline.console import make_console
        from mlpipeline.verbs.wiring import make_context

        console = make_console(self._environment)
        self._closing.callback(console.close)
        context = make_context(loaded.config, project, console, self._environment)
        return msgspec.structs.replace(context, environment_name=self._options.get("environment", ""))

    def _shown(self, answer: Any, context: Context) -> Result:
        """What a verb that only looks has to show: lines for people, with all of it for programs."""
        from mlpipeline import __version__
        from mlpipeline.core.verdict import Verdict
        from mlpipeline.verbs.remembering import keep, remember

        if isinstance(answer, Result):
            keep(context, answer)
            return answer
        text = answer if isinstance(answer, str) else "\n".join(answer.lines())
        plain = {} if isinstance(answer, str) else _without_nulls(msgspec.to_builtins(answer, enc_hook=str, str_keys=True))
        result = Result(
            verb=self._command.name,
            service=context.config.service,
            run="",
            verdict=Verdict.PASS,
            summary=getattr(answer, "summary", "") or " ".join(text.partition("\n")[0].split()),
            evidence={**plain, "lines": text.splitlines()},
            worker=__version__,
        )
        remember(context, result)
        return result

    def _loaded(self, project: Path) -> Loaded:
        loaded = self._read(project)
        name = self._options.get("environment", "")
        if not name:
            return loaded
        from mlpipeline.config import staging_layer

        if name != staging_layer.NAME or loaded.config.staging is None:
            known = staging_layer.NAME if loaded.config.staging is not None else "none"
            raise ConfigurationError(
                f"there is no environment {name!r} besides production",
                facts={"environments": known},
                tries=("mlpipeline config",),
            )
        if self._command.run not in {"none", "newest"}:
            raise ConfigurationError(
                f"{self._command.typed} is not for one environment: a release goes through staging by itself",
                tries=("mlpipeline staging", "mlpipeline run"),
            )
        return msgspec.structs.replace(loaded, config=staging_layer.staged(loaded.config))

    def _read(self, project: Path) -> Loaded:
        return load(
            project,
            overrides=self._options.get("set", ()),
            overlay=self._options.get(_OVERLAY),
            environment=self._environment,
            defaults=Path(self._options["defaults"]) if self._options.get("defaults") else None,
        )

    def _module(self) -> Any:
        return importlib.import_module(f"mlpipeline.verbs.{self._command.name.replace('-', '_')}")

    def _config(self, project: Path, *, schema: bool = False) -> str:
        if schema:
            from mlpipeline.config.schema import written_schema

            return written_schema().rstrip("\n")
        from mlpipeline.config import show

        return show.table(self._loaded(project), as_json=bool(self._options.get("json")))

    def _replayed(self, file: Path) -> Result:
        from mlpipeline import __version__

        judged = self._module().replay(file)
        return Result(
            verb="verify",
            service="",
            run="",
            verdict=judged.verdict,
            summary=judged.summary,
            reasons=judged.reasons,
            evidence=judged.evidence,
            worker=__version__,
        )

    def told(self, result: Result) -> str:
        """The result in a few lines for a person: verdict first, then every reason, then where to read on."""
        if isinstance(shown := result.evidence.get("lines"), list):
            return "\n".join(shown)
        lines = [f"{self._command.typed}: {result.verdict}: {result.summary}"]
        if len(result.reasons) > 1:
            width = max(len(str(reason.verdict)) for reason in result.reasons)
            lines.extend(f"  {reason.verdict:<{width}}  {reason.summary}" for reason in result.reasons)
        for name, link in result.links.items():
            where = link if "://" in link or self._folder is None else str(self._folder / link)
            lines.append(f"  {name}: {where}")
        return "\n".join(lines)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value if inner is not None] if isinstance(value, list) else value
