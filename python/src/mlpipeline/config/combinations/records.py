"""Signatures and ledgers that make no sense as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from mlpipeline.config.durations import is_time
from mlpipeline.config.model import Config
from mlpipeline.config.shape import Problem


def problems(config: Config) -> Iterator[Problem]:
    signing = config.signing
    for key in ("key", "key_env", "command", "password_env"):
        if "PRIVATE KEY" in getattr(signing, key):
            # The value is told nowhere: this file is committed, and errors are archived.
            yield Problem(
                ("signing", key),
                f"signing.{key} holds a private key itself, which belongs into no file that is committed; change the key",
                example="signing:\n  key_env: RELEASE_KEY",
                found="a private key",
            )
            return
    ways = [key for key in ("key", "key_env", "command") if getattr(signing, key)]
    if len(ways) > 1:
        yield Problem(
            ("signing", ways[1]),
            f"signing.{ways[0]} and signing.{ways[1]} are both set; one of them signs",
            example="signing:\n  key_env: RELEASE_KEY",
        )
    if ways and not signing.keys:
        yield Problem(
            ("signing", "keys"),
            f"signing.{ways[0]} signs, but signing.keys names no public key to check it with",
            example="signing:\n  keys:\n    - file: keys/release.pub",
        )
    for index, known in enumerate(signing.keys):
        for field in ("valid_from", "valid_until"):
            value = getattr(known, field)
            if value and not is_time(value):
                yield Problem(
                    ("signing", "keys", index, field),
                    f"signing.keys[{index}].{field} is not an ISO time: {value!r}",
                    example=f"{field}: 2026-12-31T23:59:59Z",
                )
        if known.valid_from and known.valid_until and not _in_order(known.valid_from, known.valid_until):
            yield Problem(
                ("signing", "keys", index, "valid_until"),
                f"signing.keys[{index}].valid_until is not after valid_from, so the key would never count",
                example="valid_until: 2026-12-31T23:59:59Z",
            )
    if config.ledger.uri and not config.ledger.uri.startswith(("postgresql://", "postgres://", "$")):
        yield Problem(
            ("ledger", "uri"),
            "ledger.uri is no address of a PostgreSQL database",
            example="ledger:\n  uri: postgresql://mlpipeline:$LEDGER_PASSWORD@database/ledger",
        )


def _in_order(first: str, second: str) -> bool:
    """Whether the second time is later; times that are none are told elsewhere."""
    if not (is_time(first) and is_time(second)):
        return True
    moments = [datetime.fromisoformat(text) for text in (first, second)]
    start, end = (moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in moments)
    return start < end
