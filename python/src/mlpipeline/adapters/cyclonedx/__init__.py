"""The locked environment as components of a CycloneDX bill of materials, through cyclonedx-python-lib."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=(?P<kind>sha256|sha384|sha512):(?P<hex>[0-9a-f]+)")
_LONGEST_LICENCE = 100


class Locked(msgspec.Struct, frozen=True):
    """One line of a lock. ``hashes``: algorithm and hex of each file that may be installed."""

    name: str
    version: str
    hashes: tuple[tuple[str, str], ...]

    @property
    def reference(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def locked(text: str) -> tuple[Locked, ...]:
    """What a requirements file with hashes pins, in its order."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if match := _PINNED.match(line.strip()):
            hashes = tuple(sorted((one["kind"], one["hex"]) for one in _HASH.finditer(line)))
            found.append(Locked(_normal(match["name"]), match["version"], hashes))
    return tuple(found)


def environment_bom(lock: str, site_packages: Path | None) -> dict[str, Any]:
    """``components`` and ``dependencies`` in CycloneDX 1.6's JSON, sorted.

    Args:
        lock: Text of ``requirements.lock``.
        site_packages: Where it is installed; licences and what needs what are read from there. None: they are left out.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.dependency import Dependency
    from cyclonedx.output.json import JsonV1Dot6

    pinned = locked(lock)
    python = _python(lock)
    installed = _installed(site_packages)
    components = {one.name: _component(one, installed.get(one.name)) for one in pinned}
    bom = Bom(components=components.values())
    for name, component in components.items():
        needed = [components[other].bom_ref for other in _needs(installed.get(name), components, python) if other != name]
        bom.dependencies.add(Dependency(component.bom_ref, [Dependency(reference) for reference in needed]))
    made: dict[str, Any] = msgspec.json.decode(JsonV1Dot6(bom).output_as_string())
    return {"components": made.get("components", []), "dependencies": made.get("dependencies", [])}


def site_packages(interpreter: Path) -> Path | None:
    """The folder of installed distributions beside an interpreter of an environment; None when there is none."""
    return next(iter(sorted(interpreter.parent.parent.glob("lib/python*/site-packages"))), None)


def _component(one: Locked, found: importlib.metadata.Distribution | None) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    kinds = {"sha256": HashAlgorithm.SHA_256, "sha384": HashAlgorithm.SHA_384, "sha512": HashAlgorithm.SHA_512}
    return Component(
        type=ComponentType.LIBRARY,
        name=one.name,
        version=one.version,
        bom_ref=one.reference,
        purl=PackageURL("pypi", name=one.name, version=one.version),
        hashes=[HashType(alg=kinds[kind], content=content) for kind, content in one.hashes],
        licenses=_licences(found, one.version),
    )


def _installed(folder: Path | None) -> Mapping[str, importlib.metadata.Distribution]:
    if folder is None:
        return {}
    return {_normal(one.name): one for one in importlib.metadata.distributions(path=[str(folder)])}


def _licences(found: importlib.metadata.Distribution | None, version: str) -> Sequence[Any]:
    """As the distribution says: its SPDX expression, else its classifiers, else the licence field when that is short."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    if found is None or found.version != version:
        return []
    factory = LicenseFactory()
    told = found.metadata.get_all
    for expression in told("License-Expression") or []:
        return [factory.make_from_string(expression)]
    kept = "License :: OSI Approved :: "
    names = [text.removeprefix(kept) for text in told("Classifier") or [] if text.startswith(kept)]
    if names:
        return [factory.make_with_name(name) for name in sorted(set(names))]
    field = "".join((told("License") or [])[:1]).strip()
    return [factory.make_from_string(field)] if 0 < len(field) <= _LONGEST_LICENCE and "\n" not in field else []


def _python(lock: str) -> dict[str, str]:
    """The Python that the lock's first line names, as markers of requirements call it."""
    words = lock.partition("\n")[0].split()
    version = words[2] if words[:2] == ["#", "python"] and len(words) > 2 else ""
    return {"python_version": version, "python_full_version": f"{version}.0"} if version else {}


def _needs(found: importlib.metadata.Distribution | None, known: Mapping[str, object], python: Mapping[str, str]) -> list[str]:
    from packaging.requirements import InvalidRequirement, Requirement

    names = set()
    for text in (found.requires or []) if found is not None else []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": "", **python}):
            names.add(_normal(requirement.name))
    return sorted(names & set(known))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
