"""The command line: verbs to functions. The only place that prints or exits."""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlpipeline import __version__
from mlpipeline.commands import COMMANDS, GROUPS, SHARED, Command, Option, find
from mlpipeline.errors import (
    EXIT_BUG,
    EXIT_CONFIGURATION,
    EXIT_ENVIRONMENT,
    EXIT_FAIL,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_PASS,
    ConfigurationError,
    EnvironmentFault,
    Failed,
    MlpipelineError,
)
from mlpipeline.interrupts import raise_when_interrupted

if TYPE_CHECKING:
    from mlpipeline.record.result import Result


def program() -> None:
    """The ``mlpipeline`` command: runs and exits."""
    raise_when_interrupted()
    gc.set_threshold(100_000)  # nothing that start-up makes is garbage; looking for some is a tenth of a short verb's time
    _open_streams()
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # a second one, while the first was being told
        code = EXIT_INTERRUPTED
    _flush_streams()
    gc.freeze()  # or the interpreter would look through everything for garbage once more, in a process that ends
    sys.exit(code)


def main(argv: Sequence[str]) -> int:
    """Runs one verb and returns the exit code; errors are told on standard error."""
    call = _Call(argv)
    try:
        code = call.run()
        sys.stdout.flush()
    except MlpipelineError as error:
        code = call.refused(error)
    except KeyboardInterrupt as interrupt:
        code = call.interrupted(str(interrupt))
    except BrokenPipeError:
        # The reader went away (`mlpipeline history | head`); the interpreter must not complain about it at its end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_PASS
    except OSError as error:
        code = call.machine_fault(error)
    except Exception:  # noqa: BLE001 - the last line of defence; told as a bug, with its traceback in a file
        code = call.bug()
    finally:
        call.close()
    return code


def _open_streams() -> None:
    """Gives a worker that was started with closed streams (``>&-``) empty ones: the next file it opened would take their
    number, and whatever a child printed would land in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of any language, whatever the locale can print


def _flush_streams() -> None:
    """What can reach nobody (a closed terminal, a full disk) must not take the place of the exit code: Python would end with
    120 for it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _import_msgspec() -> None:
    """msgspec takes ``typing_extensions`` where it is installed, a tenth of a short verb's time; ``typing`` has all it needs."""
    if "msgspec" in sys.modules or "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules["typing_extensions"]


def make_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """All verbs, with the options of those that these arguments may mean: making all of them would cost more than most verbs."""
    parser = _Parser(
        prog="mlpipeline",
        description="Takes a machine-learning repository from a commit to a release that is proven in production.",
        epilog="Exit codes: 0 pass, 10 fail, 11 inconclusive, 2 configuration, 3 environment (worth a retry), 70 bug, "
        "130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mlpipeline {__version__}")
    _add_options(parser, SHARED, before=True)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", parser_class=_Parser)
    groups: dict[str, argparse.ArgumentParser] = {}
    words: dict[str, Any] = {}
    asked = [command for command in COMMANDS if command.typed.partition(" ")[0] == argv[0]] if argv else []
    for command in asked or COMMANDS:
        first, _, second = command.typed.partition(" ")
        if first in GROUPS and first not in groups:
            group = verbs.add_parser(first, help=GROUPS[first], description=GROUPS[first], allow_abbrev=False)
            alone = any(known.name == first for known in COMMANDS)
            groups[first] = group
            words[first] = group.add_subparsers(dest="subject", metavar="WHAT", required=not alone, parser_class=_Parser)
        if second:
            added = words[first].add_parser(second, help=command.help, description=command.help, allow_abbrev=False)
        elif first in groups:
            added = groups[first]
        else:
            added = verbs.add_parser(first, help=command.help, description=command.help, allow_abbrev=False)
        added.set_defaults(command=command.name)
        if first in argv:
            _add_options(added, (*command.options, *SHARED))
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what was probably meant instead of printing the usage."""

    def _get_formatter(self) -> argparse.HelpFormatter:
        # Without a width argparse imports shutil, and with it three compression libraries, once per option.
        columns = os.environ.get("COLUMNS", "")
        return argparse.HelpFormatter(prog=self.prog, width=int(columns) if columns.isdigit() else 100)

    def error(self, message: str) -> NoReturn:
        raise _usage_error(self, message)


def _usage_error(parser: argparse.ArgumentParser, message: str) -> ConfigurationError:
    import difflib

    if "invalid choice: " in message:
        typed = message.split("invalid choice: ", 1)[1].split(" (choose", 1)[0].strip("'\"")
        actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        known = list(actions[0].choices) if actions else []
        what = f"there is no verb {typed!r}"
    elif message.startswith("unrecognized arguments: "):
        typed = message.split(": ", 1)[1].split(maxsplit=1)[0].split("=", maxsplit=1)[0]
        known = sorted({text for action in _all_actions(parser) for text in action.option_strings})
        what = f"unknown option {typed}" if typed.startswith("-") else f"unexpected argument {typed!r}"
    else:
        return ConfigurationError(message, tries=(f"{parser.prog} --help",))
    nearest = difflib.get_close_matches(typed, known, n=1, cutoff=0.5)
    facts = {"nearest": nearest[0]} if nearest else {"known": ", ".join(known)}
    return ConfigurationError(what, facts=facts, tries=(f"{parser.prog} --help",))


def _all_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    actions = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                actions.extend(_all_actions(inner))
    return actions


def _add_options(parser: argparse.ArgumentParser, options: Sequence[Option], *, before: bool = False) -> None:
    for option in options:
        # What stands before the verb is kept apart, because the verb's own parser would overwrite it.
        destination = f"before_{option.key}" if before else option.key
        if option.positional:
            parser.add_argument(destination, metavar=option.metavar, nargs="?", default=argparse.SUPPRESS, help=option.help)
            continue
        if option.kind is bool:
            parser.add_argument(
                f"--{option.name}", dest=destination, action="store_true", default=argparse.SUPPRESS, help=option.help
            )
            continue
        parser.add_argument(
            f"--{option.name}",
            dest=destination,
            metavar=option.metavar,
            type=option.kind,
            action="append" if option.many else "store",
            default=argparse.SUPPRESS,
            help=option.help,
        )


class _Call:
    """One call of the worker, from its arguments to its exit code."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = list(argv)
        self._options: dict[str, Any] = {}
        self._command: Command | None = None
        self._started = False
        self._close = contextlib.ExitStack()
        self._result_file = _after(self._argv, "--result")
        self._json = "--json" in self._argv

    def run(self) -> int:
        """Parses and does it."""
        _need_text(self._argv)
        _need_folder()
        parser = make_parser(self._argv)
        try:
            parsed = vars(parser.parse_args(self._argv))
        except SystemExit as leaving:  # --help and --version
            return int(leaving.code or 0)
        if parsed.get("command") is None:
            parser.print_help()
            return EXIT_PASS
        self._command = find(parsed["command"])
        self._options = _merged(parsed, self._command)
        self._result_file = str(self._options.get("result", "")) or self._result_file
        self._json = bool(self._options.get("json"))
        self._started = True
        return self._do(self._command)

    def _do(self, command: Command) -> int:
        _import_msgspec()
        from mlpipeline.calling import Calling

        environment = dict(os.environ)
        calling = Calling(command, self._options, environment, self._close)
        # What a client library prints (MLflow: where to view a run) is news, and would spoil the JSON on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            outcome = calling.outcome()
        if isinstance(outcome, str):
            # The JSON of ``config`` is its text already, and no result around it.
            self._json = self._json and command.name != "config"
            self._hand_over_text(command, outcome)
            self._tell(outcome)
            return EXIT_PASS
        self._hand_over(outcome)
        self._tell(calling.told(outcome))
        return exit_code(outcome)

    def _tell(self, text: str) -> None:
        """What was decided stays decided when nobody can be told: a full disk behind the output is no other verdict."""
        if self._json:
            return
        try:
            print(_visible(text), flush=True)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                _complain(f"mlpipeline: the output could not be written: {error}\n{text}")
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _hand_over(self, result: Result) -> None:
        """Writes the result where the caller asked for it."""
        if not self._result_file and not self._json:
            return
        from mlpipeline.record.run import encode

        content = encode(result)
        if self._json:
            sys.stdout.write(content.decode())
        if self._result_file:
            _write(Path(self._result_file), content)

    def _hand_over_text(self, command: Command, text: str) -> None:
        """A verb that only shows text leaves a result too, for whoever asked for one."""
        if not self._result_file and not self._json:
            return
        from mlpipeline.core.verdict import Verdict
        from mlpipeline.record.result import Result

        lines = text.splitlines()
        result = Result(
            verb=command.name,
            service="",
            run="",
            verdict=Verdict.PASS,
            summary=lines[0] if lines else "",
            evidence={"lines": lines},
            worker=__version__,
        )
        self._hand_over(result)

    def refused(self, error: MlpipelineError) -> int:
        """An error that is told without a traceback."""
        self.close()
        verb = self._command.typed if self._command else ""
        _complain(error.render(f"mlpipeline {verb}".strip()))
        self._error_result(error.what, error)
        return error.exit_code

    def interrupted(self, name: str) -> int:
        """Args:
        name: Of the signal; empty when it is not known.
        """
        self.close()
        what = f"interrupted by {name}" if name else "interrupted"
        verb = self._command.typed if self._command else "run"
        _complain(
            f"mlpipeline: {what}    [exit {EXIT_INTERRUPTED}]\n"
            "  live  the version that users are on keeps serving\n"
            f"  try   mlpipeline {verb} (goes on where this stopped)\n"
            "        mlpipeline status (who is live now)"
        )
        self._error_result(what, None)
        return EXIT_INTERRUPTED

    def machine_fault(self, error: OSError) -> int:
        """Full disks and missing permissions are the machine's fault, not a bug."""
        import errno

        words = {
            errno.ENOSPC: ("the disk is full", ("df -h", "remove old bundles and environments under $MLPIPELINE_HOME")),
            errno.EDQUOT: ("the disk quota is used up", ("quota",)),
            errno.EFBIG: ("a file would be larger than this process may write", ("ulimit -f",)),
            errno.EACCES: ("permission denied", ()),
            errno.EPERM: ("not permitted", ()),
            errno.EROFS: ("the file system is read-only", ()),
            errno.ENOENT: ("a file or folder is not there, or went away meanwhile", ()),
            errno.EIO: ("the disk or network drive answers with errors", ("dmesg | tail",)),
            errno.ENOTDIR: ("a file stands where a folder is needed", ()),
            errno.EISDIR: ("a folder stands where a file is needed", ()),
            errno.ELOOP: ("symbolic links lead in a circle", ()),
            errno.ENAMETOOLONG: ("a name is too long for the file system", ()),
            errno.EMFILE: ("too many open files", ("ulimit -n",)),
            errno.ENOMEM: ("out of memory", ()),
        }
        known = words.get(error.errno or 0)
        if known is None:
            return self.bug()
        file = error.filename2 or error.filename
        tries = known[1] or ((f"ls -ld {file}",) if file else ())
        facts = {"file": file} if file else {}
        return self.refused(EnvironmentFault(known[0], facts=facts, tries=tries))

    def bug(self) -> int:
        """Anything unforeseen: short words, the traceback in a file."""
        self.close()
        import traceback

        trace = traceback.format_exc()
        last = trace.strip().splitlines()[-1]
        place = self._keep(trace)
        lines = [f"mlpipeline: this is a bug in mlpipeline: {last}    [exit {EXIT_BUG}]"]
        lines.append(f"  traceback  {place}" if place else trace)
        lines.append("  try        mlpipeline run (goes on where this stopped), and report the traceback")
        _complain("\n".join(lines))
        self._error_result(f"bug in mlpipeline: {last}", None)
        return EXIT_BUG

    def close(self) -> None:
        """Takes progress bars away; safe to call twice."""
        self._close.close()

    def _keep(self, trace: str) -> str:
        from datetime import UTC, datetime

        folder = Path(self._options.get("project", ".")).absolute() / ".mlpipeline"
        file = folder / f"crash-{datetime.now(UTC):%Y%m%d-%H%M%S}.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_printable(f"mlpipeline {__version__} {' '.join(self._argv)}\n\n{trace}").encode())
        except OSError:
            return ""
        return str(file)

    def _error_result(self, summary: str, error: MlpipelineError | None) -> None:
        """Even a call that broke leaves a result for whoever asked for one."""
        if not self._result_file and not self._json:
            return
        from mlpipeline.core.verdict import Verdict
        from mlpipeline.record.result import Reason, Result

        verdict = Verdict.FAIL if isinstance(error, Failed) else Verdict.ERROR
        kind = {ConfigurationError: "configuration", EnvironmentFault: "environment", Failed: "candidate"}
        check = next((word for known, word in kind.items() if isinstance(error, known)), "worker")
        details = tuple(_printable(error.render()).splitlines()[1:]) if error else ()
        summary = _printable(summary)
        result = Result(
            verb=self._command.name if self._command else "",
            service="",
            run=_printable(str(self._options.get("run", ""))),
            verdict=verdict,
            summary=summary,
            reasons=(Reason(check=f"error.{check}", verdict=verdict, summary=summary, sample=details),),
            worker=__version__,
        )
        try:
            self._hand_over(result)
        except (OSError, MlpipelineError) as broken:
            if broken is not error and str(broken) != summary:
                _complain(f"mlpipeline: the result could not be written: {broken}")


def _need_text(argv: Sequence[str]) -> None:
    """Names that are no UTF-8 could stand in no JSON, and so in no record."""
    places = {f"argument {text!r}": text for text in argv}
    places |= {f"${name}": value for name, value in os.environ.items() if name.startswith("MLPIPELINE_")}
    for place, text in places.items():
        if _printable(text) != text:
            raise ConfigurationError(
                "mlpipeline was called with text that is not UTF-8",
                facts={"where": place, "found": repr(text)},
                tries=("locale", "write it in UTF-8"),
            )


def _need_folder() -> None:
    try:
        folder = str(Path.cwd())
    except FileNotFoundError as error:
        raise EnvironmentFault(
            "the folder this was started in does not exist any more",
            likely="it was removed, or made anew, after the shell or the build went into it",
            tries=("cd .", "start mlpipeline in the project's folder"),
        ) from error
    if _printable(folder) != folder:
        raise ConfigurationError(
            "the name of this folder is not UTF-8 text", facts={"folder": repr(folder)}, tries=("rename the folder",)
        )


def _printable(text: str) -> str:
    """With what UTF-8 cannot hold written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def _visible(text: str) -> str:
    """What files, servers and people wrote must not steer the terminal: control characters are shown as escapes."""
    control = (*range(32), *range(127, 160))
    return text.translate({code: repr(chr(code))[1:-1] for code in control if chr(code) not in "\n\t"})


def exit_code(result: Result) -> int:
    """What a shell and Jenkins see. An error that only a change of the project can mend is not worth a retry."""
    if result.verdict == "error" and any(
        reason.check.startswith("configuration.") for reason in result.reasons if reason.verdict == "error"
    ):
        return EXIT_CONFIGURATION
    return {"pass": EXIT_PASS, "fail": EXIT_FAIL, "inconclusive": EXIT_INCONCLUSIVE, "error": EXIT_ENVIRONMENT}[
        str(result.verdict)
    ]


def _merged(parsed: Mapping[str, Any], command: Command) -> dict[str, Any]:
    """Options before the verb, after it, and of the arguments file; the command line wins."""
    options: dict[str, Any] = {}
    for key, value in parsed.items():
        if key.startswith("before_"):
            options[key.removeprefix("before_")] = value
    for key, value in parsed.items():
        if key.startswith("before_") or key in {"verb", "subject", "command"}:
            continue
        options[key] = [*options.get(key, []), *value] if isinstance(value, list) else value
    if "args" in options:
        from mlpipeline.calling import read_arguments

        options = {**read_arguments(Path(options["args"]), command), **options}
    return options


def _after(argv: Sequence[str], option: str) -> str:
    """The value of an option in arguments that may not be parseable as a whole."""
    for index, text in enumerate(argv):
        if text == option and index + 1 < len(argv):
            return argv[index + 1]
        if text.startswith(f"{option}="):
            return text.removeprefix(f"{option}=")
    return ""


def _write(path: Path, content: bytes) -> None:
    """Devices and pipes (``/dev/stdout``) are written to; replacing them as files are would take them from everybody."""
    from mlpipeline.record.files import write_atomically

    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as stream:
                stream.write(content)
        else:
            write_atomically(path, content)
    except OSError as error:
        raise EnvironmentFault(
            "the result could not be written where --result names",
            facts={"file": path.absolute(), "found": error.strerror},
            tries=(f"ls -ld {path.absolute().parent}", "name another file"),
        ) from error


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(_visible(_printable(text)) + "\n")
        sys.stderr.flush()
