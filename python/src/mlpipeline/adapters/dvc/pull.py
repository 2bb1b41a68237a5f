"""``dvc pull`` through the command of the worker's own environment."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mlpipeline.adapters.dvc.command import dvc
from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError

_NOISE = re.compile(r"\s*$|Having any troubles\?|Everything is up to date|<https://error\.dvc\.org|Is your cache up to date")


def pull(project: Path, targets: Sequence[str], remote: str) -> None:
    """Fetches the targets from the default remote and puts them into the checkout.

    Raises EnvironmentFault when the remote cannot be reached or has not got the data, ConfigurationError when DVC would have to
    overwrite local changes or lacks the plugin for this kind of remote.
    """
    done = dvc(project, "pull", *targets)
    if done.returncode:
        raise _explained(remote, targets, done.stderr + done.stdout)


def _explained(remote: str, targets: Sequence[str], output: str) -> MlpipelineError:
    said = [line for line in output.splitlines() if not _NOISE.match(line)]
    facts = {"remote": remote, "targets": ", ".join(targets), "dvc": "\n".join(said[-8:]) or "(nothing)"}
    by_hand = f"dvc pull {' '.join(targets)}"
    if "unsaved files" in output:
        return ConfigurationError(
            "the data here was changed, and dvc pull would overwrite it",
            facts=facts,
            likely="it was edited or made anew, and not added to DVC since",
            tries=(f"dvc add {' '.join(targets)}    # keep it", f"{by_hand} --force    # lose it"),
        )
    plugin = re.search(r"requires '([\w-]+)' to be installed", output)
    if plugin:
        return ConfigurationError(
            "DVC cannot read this kind of remote without its plugin",
            facts=facts,
            tries=(f"{sys.executable} -m pip install {plugin.group(1)}",),
        )
    absent = re.search("Missing cache files|Checkout failed|No such file or directory", output)
    return EnvironmentFault(
        "dvc pull did not bring the data",
        facts=facts,
        likely="it was never pushed to this remote, is damaged there, or the remote does not answer"
        if absent
        else "the remote cannot be reached, or its credentials are missing",
        tries=("dvc push, where the data is", by_hand, "data.pull: never, to use what lies here"),
    )
