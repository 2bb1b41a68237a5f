"""Which versions a package is locked with: what the model asks for, what it was trained with, and how these differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.record.result import Reason, Result
from mlpipeline.serving.requirements import REQUIREMENTS
from mlpipeline.verbs.context import Context

_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)", re.DOTALL)
_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_SHOWN = 8


class TrainedVersions(msgspec.Struct, frozen=True):
    """What was installed where the model was trained: name (normalized) to version; empty when that is not known."""

    versions: Mapping[str, str]

    @classmethod
    def of(cls, trained: Result) -> TrainedVersions:
        """From the evidence of the training."""
        packages = str(trained.evidence.get("packages", ""))
        pairs = (text.partition("==")[::2] for text in packages.split())
        return cls({_normal(name): version for name, version in pairs if version})


def own_lines(lines: Iterable[str]) -> list[str]:
    """The lines of a requirements file: those that a backslash continues are one, comments are none."""
    joined = re.sub(r"\\\s*\n", " ", "\n".join(lines))
    found = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in found if line]


def pinned(context: Context, requirements: Sequence[str], trained: TrainedVersions) -> tuple[list[str], list[Reason]]:
    """The requirements with what ``package.pins`` makes of those that name no version.

    Raises ConfigurationError when they have to.
    """
    loose = {line: _normal(name) for line in requirements if line not in REQUIREMENTS and (name := _unpinned(line))}
    if not loose:
        return list(requirements), []
    image = context.config.image
    policy, makes_image = context.config.package.pins, bool(image.base or image.dockerfile)
    unknown = [name for name in loose.values() if name not in trained.versions]
    if policy == "required" or (makes_image and (policy == "auto" or unknown)):
        raise _must_pin(loose, trained)
    found = {line: trained.versions[name] for line, name in loose.items() if name in trained.versions}
    fixed = [_with_version(line, found[line]) if line in found else line for line in requirements]
    told = [f"{line} -> {_with_version(line, found[line])}" if line in found else f"{line} -> any" for line in loose]
    summary = f"{len(loose)} requirements of the model name no version; {len(found)} of them got that of the training"
    return fixed, [Reason("package.pins", Verdict.PASS, summary, numbers={"unpinned": len(loose)}, sample=tuple(told[:_SHOWN]))]


def compared(context: Context, lock: str, trained: TrainedVersions) -> list[Reason]:
    """What is locked in another version than the training ran with.

    Raises Failed when the configuration does not allow that.
    """
    locked = {_normal(name): version for name, version in _LOCKED.findall(lock)}
    both = sorted(locked.keys() & trained.versions.keys())
    told = [f"{name}: trained with {trained.versions[name]}, served with {locked[name]}" for name in both]
    different = [line for name, line in zip(both, told, strict=True) if locked[name].lower() != trained.versions[name]]
    if not different:
        return []
    if context.config.package.version_differences == "fail":
        raise Failed(
            "the model would be served with other versions than it was trained with",
            facts={"packages": "\n".join(different)},
            likely="only the model's direct requirements are pinned, or they name another version than was installed",
            tries=(
                "pin them in the model's requirements, as the training has them",
                "package.version_differences: report    # to only be told",
            ),
        )
    summary = f"{len(different)} of {len(both)} packages are served in another version than the training had"
    numbers: dict[str, bool | int | float | str] = {"different": len(different), "compared": len(both)}
    return [Reason("package.versions", Verdict.PASS, summary, numbers=numbers, sample=tuple(different[:_SHOWN]))]


def _unpinned(line: str) -> str:
    """The name in a requirement that does not fix its version; empty for one that does, and for what is an option."""
    found = _NAME.match(line)
    if line.startswith("-") or found is None:
        return ""
    rest = found[3].partition(";")[0].partition(" --hash")[0].strip()
    exact = rest.startswith(("==", "===", "@")) and "*" not in rest and "," not in rest
    return "" if exact else found[1]


def _with_version(line: str, version: str) -> str:
    found = _NAME.match(line)
    assert found is not None  # noqa: S101 - only lines that matched come here
    _, mark, marker = found[3].partition(";")
    return f"{found[1]}{found[2] or ''}=={version}{f' {mark}{marker}' if mark else ''}"


def _must_pin(loose: Mapping[str, str], trained: TrainedVersions) -> ConfigurationError:
    known = [f"{name}=={trained.versions[name]}" for name in loose.values() if name in trained.versions]
    return ConfigurationError(
        "requirements of the model were never pinned, so its image would be another one tomorrow",
        facts={"requirements": "\n".join(loose), **({"trained with": "\n".join(known)} if known else {})},
        likely="the model was saved with pip_requirements that name packages without a version",
        tries=(
            "mlflow.<flavor>.save_model(..., pip_requirements=['name==version', ...])",
            "name a file with pinned requirements in package.requirements",
            "package.pins: trained    # take the versions of the training",
        ),
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
