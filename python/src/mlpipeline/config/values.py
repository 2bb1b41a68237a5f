"""What the sections of ``mlpipeline.yaml`` are made of."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Duration(float):
    """Seconds; written as ``500ms``, ``30s``, ``5m``, ``2h``, ``40d`` or a bare number of seconds."""


Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="lower-case letters, digits and dashes")]
Percent = Annotated[int, Meta(ge=1, le=99)]
Probability = Annotated[float, Meta(gt=0, lt=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Positive = Annotated[int, Meta(ge=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False, kw_only=True):
    """Base of all sections: immutable, unknown keys refused."""
