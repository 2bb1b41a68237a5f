"""The user's own manifests, from files or from whatever prints them: Helm, Kustomize, a script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core import kubernetes_base
from mlpipeline.errors import ConfigurationError, EnvironmentFault

SECONDS = 120.0
SUFFIXES = (".yaml", ".yml", ".json")


class Base:
    """What each colour is made of, when it is the user's own. Read once per call of the worker, when it is first needed.

    Args:
        project: What paths and the command are relative to.
    """

    def __init__(self, settings: Kubernetes, service: str, project: Path, environment: Mapping[str, str]) -> None:
        self._settings, self._service = settings, service
        self._project, self._environment = project, environment
        self._documents: list[Mapping[str, Any]] | None = None

    @property
    def given(self) -> bool:
        """Whether there is one."""
        return bool(self._settings.manifests or self._settings.manifests_command)

    def shape(self, ours: Mapping[str, Any]) -> Mapping[str, Any]:
        """Our Deployment on the user's own; ours alone where there is none. Raises ConfigurationError when none fits."""
        if not self.given:
            return ours
        try:
            return kubernetes_base.on_base(kubernetes_base.model_deployment(self._read(), self._service), ours)
        except ValueError as error:
            raise ConfigurationError(
                f"the Deployment of the model is not to be told in the manifests: {error}",
                facts={self._key: self._said},
                tries=(f"correct {self._key}", "mlpipeline deploy --plan"),
            ) from error

    @property
    def _key(self) -> str:
        return "target.kubernetes.manifests" if self._settings.manifests else "target.kubernetes.manifests_command"

    @property
    def _said(self) -> str:
        return self._settings.manifests or self._settings.manifests_command

    def _read(self) -> list[Mapping[str, Any]]:
        if self._documents is None:
            texts = self._files() if self._settings.manifests else {self._settings.manifests_command: self._printed()}
            self._documents = [one for name, text in texts.items() for one in self._parsed(name, text)]
        return self._documents

    def _files(self) -> dict[str, str]:
        place = self._project / self._settings.manifests
        if place.is_dir():
            files = sorted(file for file in place.iterdir() if file.suffix in SUFFIXES and file.is_file())
        else:
            files = [place]
        try:
            found = {str(file): file.read_text(encoding="utf-8") for file in files}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError("the manifests cannot be read", facts={self._key: place, "found": error}) from error
        if not found:
            raise ConfigurationError(
                "there are no manifests in the folder", facts={self._key: place, "looked for": ", ".join(SUFFIXES)}
            )
        return found

    def _printed(self) -> str:
        import shlex
        import subprocess

        command = self._settings.manifests_command
        try:
            done = subprocess.run(
                shlex.split(command),
                cwd=self._project,
                env=dict(self._environment),
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except ValueError as error:
            raise ConfigurationError(
                "the command of the manifests cannot be read", facts={self._key: command, "found": error}
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EnvironmentFault(
                "the command of the manifests does not run",
                facts={self._key: command, "found": error},
                likely="the program is not installed on this machine",
            ) from error
        if done.returncode:
            raise ConfigurationError(
                f"the command of the manifests failed with exit code {done.returncode}",
                facts={self._key: command, "said": done.stderr.strip()[-500:] or done.stdout.strip()[-500:] or "nothing"},
                tries=(command,),
            )
        return done.stdout

    def _parsed(self, name: str, text: str) -> list[Mapping[str, Any]]:
        import yaml

        try:
            found = [one for one in yaml.safe_load_all(text) if one is not None]
        except yaml.YAMLError as error:
            raise ConfigurationError("the manifests are not YAML", facts={"in": name, "found": error}) from error
        listed = [item for one in found for item in _items(one)]
        if strange := [one for one in listed if not isinstance(one, dict) or "kind" not in one]:
            raise ConfigurationError(
                "the manifests hold something that is no object of a cluster", facts={"in": name, "found": repr(strange[0])[:200]}
            )
        return listed


def _items(found: Any) -> list[Any]:
    """A ``List`` is what it holds."""
    if isinstance(found, dict) and found.get("kind") == "List":
        return list(found.get("items") or ())
    return [found]
