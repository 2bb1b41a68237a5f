"""Package and image, as they are configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.values import Section


class Package(Section, frozen=True):
    requirements: str = ""
    """Extra requirements file for serving; empty: the model's own ``requirements.txt``."""
    wheelhouse: str = ""
    """Folder of wheels to install from without a network."""
    lock: str = ""
    """File of the project that keeps the lock, such as ``serving.lock``; written when it is missing or of other requirements.
    Commit it: with it the same commit has the same environment on every machine and day. Empty: each machine locks once."""
    include: tuple[str, ...] = ()
    """Extra files or folders of the project that the model needs, placed under ``code/`` (on the import path)."""
    card: str = ""
    """Markdown file of the project that the model card begins with: what the model is for, and where it must not be used."""
    pins: Literal["auto", "required", "trained"] = "auto"
    """What becomes of a requirement of the model that names no version: ``required`` refuses it, ``trained`` takes the version
    that the training ran with. ``auto``: refused when an image is made."""
    version_differences: Literal["report", "fail"] = "report"
    """Whether packages that are locked in another version than the training ran with only stand in the result, or stop it."""


class Image(Section, frozen=True):
    """The container image that ``package`` makes besides the bundle; without ``base`` and ``dockerfile``, none is made."""

    base: str = ""
    """What it is built on, by digest: ``host/name@sha256:...`` in a registry, ``oci:FOLDER@sha256:...`` in an OCI layout, or
    ``docker-archive:FILE@sha256:...`` with the id of the image. It has the Python version of the model, such as 3.11."""
    dockerfile: str = ""
    """The project's own Dockerfile, built with a container engine, the bundle being its context; then there is no ``base``."""
    repository: str = ""
    """Where it is pushed to, such as ``registry.example.org/team/churn``; empty: nowhere."""
    layout: str = ""
    """Folder to write it to as an OCI layout; empty: ``.mlpipeline/image``, when it goes nowhere else."""
    archive: str = ""
    """File to write it to, for ``docker load``."""
    platform: Literal["linux/amd64", "linux/arm64"] = "linux/amd64"
    """The machines that it runs on; that of the worker, whose wheels are installed."""
    python: str = ""
    """Path of the interpreter in the base; empty: it is looked for in ``/usr/local/bin``, ``/usr/bin`` and the like."""
    version: str = ""
    """Semantic version of this model service, as label and tag; empty: ``git-`` and the commit."""
    labels: dict[str, str] = {}
    """Labels of your own, besides those of commit, data, model and run."""
    environment: dict[str, str] = {}
    """Environment variables of the serving process. No secrets: whoever has the image reads them."""
    gpus: Annotated[int, Meta(ge=0)] = 0
    """Devices that a container needs; 0: none."""
    warm_up_rows: Annotated[int, Meta(ge=0)] = 0
    """Rows of the largest request: so many are scored before a container is ready; 0: only the model's input example."""
    arguments: tuple[str, ...] = ()
    """More arguments of the serving process, such as ``--threads 8``; each word an entry."""
    plain_http: bool = False
    """Whether the registries are spoken to without TLS. One on this machine always is."""
