"""How the limits of the serving process reach it: by environment variables, which bundles of every age may be started with."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mlpipeline.config.sections.target import Serving

WHEN_FULL = {"unavailable": 503, "too-many-requests": 429}


def variables(serving: Serving, sample_file: str) -> dict[str, str]:
    """The environment of a serving process with these limits; empty when all of them are its own defaults.

    Args:
        sample_file: Where it may keep a sample of requests.
    """
    if serving == Serving():
        return {}
    # Who only asks what is live, which is most calls, needs none of this.
    from mlpipeline.core.gpu import bytes_of
    from mlpipeline.serving.settings import OPTIONS

    options: dict[str, object] = {
        "queue": serving.queue,
        "time_limit": float(serving.time_limit),
        "body_limit": bytes_of(serving.body_limit),
        "when_full": WHEN_FULL[serving.when_full],
        "log_requests": serving.log_requests,
    }
    if serving.sample:
        options |= {"sample_file": sample_file, "sample_share": serving.sample, "sample_bytes": bytes_of(serving.sample_size)}
    return {OPTIONS: msgspec.json.encode(options, order="sorted").decode()}


def answering(keep: int, key: str) -> dict[str, str]:
    """The environment of a serving process that keeps its newest answers to be compared; empty when it keeps none.

    Args:
        key: By which it tells them to others than its own machine.
    """
    if not keep:
        return {}
    from mlpipeline.serving.answers import KEEP, KEY

    return {KEEP: str(keep), KEY: key}


def answers_key(environment: Mapping[str, str]) -> str:
    """The key in the environment of a process that was started so; empty where it has none."""
    from mlpipeline.serving.answers import KEY

    return environment.get(KEY, "")
