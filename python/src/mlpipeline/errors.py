"""What can go wrong, in words a user can act on.

Every error says what happened, with which input, why it is likely, and what to try next. The class decides the
exit code, so that Jenkins and a shell can tell a broken configuration from a machine that is worth a retry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXIT_PASS = 0
EXIT_CONFIGURATION = 2
EXIT_ENVIRONMENT = 3
EXIT_FAIL = 10
EXIT_INCONCLUSIVE = 11
EXIT_BUG = 70
EXIT_INTERRUPTED = 130


class MlpipelineError(Exception):
    """Base of all errors that are told to the user without a traceback.

    Args:
        what: One line: what happened, without a full stop.
        facts: The inputs that matter, by name (``{"file": "mlpipeline.yaml:12"}``).
        likely: Why it probably happened.
        tries: What to do next, most promising first; commands where there is one.
    """

    exit_code = EXIT_BUG

    def __init__(
        self,
        what: str,
        *,
        facts: Mapping[str, object] | None = None,
        likely: str = "",
        tries: Sequence[str] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.facts = {name: str(value) for name, value in (facts or {}).items()}
        self.likely = likely
        self.tries = tuple(tries)

    def in_one_line(self, between: str = ", ") -> str:
        """What happened, and with which input; for a reason or a line of the console."""
        facts = between.join(f"{name}: {text}" for name, text in self.facts.items())
        return f"{self.what} ({facts})" if facts else self.what

    def render(self, verb: str = "mlpipeline") -> str:
        """The whole message, several lines, without a final newline."""
        rows = [*self.facts.items()]
        if self.likely:
            rows.append(("likely", self.likely))
        rows.extend(("try" if index == 0 else "", text) for index, text in enumerate(self.tries))
        width = max((len(name) for name, _ in rows), default=0)
        lines = [f"{verb}: {self.what}    [exit {self.exit_code}]"]
        for name, text in rows:
            first, *rest = text.splitlines() or [""]
            lines.append(f"  {name:<{width}}  {first}".rstrip())
            lines.extend(f"  {'':<{width}}  {line}" for line in rest)
        return "\n".join(lines)


class ConfigurationError(MlpipelineError):
    """The configuration, the command line or the project itself has to change (exit 2). A retry cannot help."""

    exit_code = EXIT_CONFIGURATION


class EnvironmentFault(MlpipelineError):
    """The machine, a service or the network was not as needed (exit 3). The same call may work later."""

    exit_code = EXIT_ENVIRONMENT


class Held(EnvironmentFault):
    """Another worker holds this service; the message names it (exit 3). Nothing was changed."""


class Failed(MlpipelineError):
    """A step of the release failed for a reason that lies in the candidate (exit 10), such as a failed training."""

    exit_code = EXIT_FAIL
