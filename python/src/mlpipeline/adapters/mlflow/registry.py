"""The tracking store and the model registry, through MLflow's client. Aliases, never stages."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipeline.adapters.mlflow.reachable import check_reachable, redacted
from mlpipeline.config.sections.records import Tracking
from mlpipeline.errors import EnvironmentFault
from mlpipeline.ports import ModelVersion, Registry
from mlpipeline.record.places import Places

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG = "mlpipeline.run"
DIGEST_TAG = "mlpipeline.digest"
MODEL_TAG = "mlpipeline.model"
_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
_PARAM_LENGTH = 6000
_BATCH = 100


def tracking_uri(tracking: Tracking, places: Places) -> str:
    """The configured address, else that of this service's own SQLite file."""
    return tracking.uri or f"sqlite:///{places.tracking}/mlflow.db"


class MlflowRegistry(Registry):
    """Implements :class:`mlpipeline.ports.Registry`, and the tracking of trainings.

    Without a configured address it is a SQLite file in ``places.tracking``, artifacts beside it.
    """

    def __init__(self, tracking: Tracking, places: Places) -> None:
        self._folder = places.tracking
        self._local = not tracking.uri
        self._uri = tracking_uri(tracking, places)
        self._experiment = tracking.experiment or places.service
        self._made: MlflowClient | None = None

    def log_training(self, tags: Mapping[str, str], metrics: Mapping[str, float], params: Mapping[str, str]) -> str:
        """Logs a training once per ``tags['mlpipeline.run']`` and ``tags['mlpipeline.model']``; returns MLflow's run id."""
        with self._errors():
            client = self._client()
            experiment = self._experiment_id(client)
            run = self._find_run(client, experiment, {name: tags[name] for name in (RUN_TAG, MODEL_TAG) if name in tags})
            if run is None:
                run = client.create_run(experiment, tags=dict(tags), run_name=tags.get(RUN_TAG))
            if run.info.status != "FINISHED":
                self._log(client, run.info.run_id, metrics, params)
                client.set_terminated(run.info.run_id)
            return str(run.info.run_id)

    def register(
        self, name: str, model: Path, tags: Mapping[str, str], metrics: Mapping[str, float], params: Mapping[str, str]
    ) -> ModelVersion:
        """Registers the model folder once per ``tags['mlpipeline.digest']`` and ``tags['mlpipeline.run']``.

        The files go to the MLflow run of the training, which is made when the training was not logged.
        """
        identity = {tag: tags[tag] for tag in (DIGEST_TAG, RUN_TAG)}
        with self._errors():
            known = self._find_version(name, identity)
            if known is not None:
                return known
            run_id = self.log_training({tag: tags[tag] for tag in (RUN_TAG, MODEL_TAG) if tag in tags}, metrics, params)
            client = self._client()
            client.log_artifacts(run_id, str(model), "model")
            self._ensure_model(client, name)
            source = f"{client.get_run(run_id).info.artifact_uri}/model"
            made = client.create_model_version(name, source=source, run_id=run_id, tags=dict(tags))
            return self._plain(client, made)

    def version(self, name: str, alias_or_version: str) -> ModelVersion | None:
        """By number or alias; None when there is no such version."""
        from mlflow.exceptions import MlflowException

        with self._errors():
            client = self._client()
            try:
                if alias_or_version.isdigit():
                    return self._plain(client, client.get_model_version(name, alias_or_version))
                return self._plain(client, client.get_model_version_by_alias(name, alias_or_version))
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return None
                raise

    def set_alias(self, name: str, alias: str, version: str) -> None:
        with self._errors():
            self._client().set_registered_model_alias(name, alias, version)

    def delete_alias(self, name: str, alias: str) -> None:
        """Takes the alias from whichever version has it; nothing happens when none has."""
        from mlflow.exceptions import MlflowException

        with self._errors():
            try:
                self._client().delete_registered_model_alias(name, alias)
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        with self._errors():
            for tag, value in tags.items():
                self._client().set_model_version_tag(name, version, tag, value)

    def describe(self, name: str, version: str, text: str, files: Mapping[str, bytes]) -> None:
        """The description of the version, and the files as artifacts of its run; a version without a run gets no files."""
        with self._errors():
            client = self._client()
            found = client.get_model_version(name, version)
            if found.description == text:
                return
            with tempfile.TemporaryDirectory() as folder:
                for file, content in files.items():
                    Path(folder, file).write_bytes(content)
                if found.run_id:
                    client.log_artifacts(found.run_id, folder, "mlpipeline")
            # Last, so that a call that broke off is found to be undone.
            client.update_model_version(name, version, description=text)

    def _client(self) -> MlflowClient:
        if self._made is None:
            check_reachable(self._uri)
            _settle_environment()
            from mlflow import MlflowClient

            # mlflow sets its own levels while it is imported; news of migrations are not for the user of a pipeline.
            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)
            if self._local:
                _create_database(self._folder, self._uri)
            self._made = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._made

    def _experiment_id(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self._experiment)
        if found is not None:
            return str(found.experiment_id)
        place = (self._folder / "artifacts").as_uri() if self._local else None
        try:
            return str(client.create_experiment(self._experiment, artifact_location=place))
        except MlflowException:
            # Another worker was faster, or the name belongs to a deleted experiment, which is told as MLflow tells it.
            found = client.get_experiment_by_name(self._experiment)
            if found is None:
                raise
            return str(found.experiment_id)

    @staticmethod
    def _find_run(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> Any | None:
        if not tags:
            return None
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return next(iter(client.search_runs([experiment], wanted, max_results=1, order_by=["attributes.start_time ASC"])), None)

    def _find_version(self, name: str, tags: Mapping[str, str]) -> ModelVersion | None:
        client = self._client()
        wanted = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        found = client.search_model_versions(f"name = '{name}' and {wanted}", max_results=1)
        return self._plain(client, found[0]) if found else None

    @staticmethod
    def _ensure_model(client: MlflowClient, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @staticmethod
    def _log(client: MlflowClient, run_id: str, metrics: Mapping[str, float], params: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, Param

        values = [Metric(_key(name), value, 0, 0) for name, value in metrics.items()]
        texts = [Param(_key(name), value[:_PARAM_LENGTH]) for name, value in params.items()]
        for start in range(0, max(len(values), len(texts)), _BATCH):
            client.log_batch(run_id, metrics=values[start : start + _BATCH], params=texts[start : start + _BATCH])

    @staticmethod
    def _plain(client: MlflowClient, found: Any) -> ModelVersion:
        # Only the registered model's own list of aliases is complete in every store.
        aliases = client.get_registered_model(found.name).aliases
        version = str(found.version)
        return ModelVersion(
            name=found.name,
            version=version,
            tags=dict(found.tags),
            aliases=tuple(sorted(alias for alias, at in aliases.items() if str(at) == version)),
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns the client's many exceptions into one that says which server and what it answered."""
        try:
            yield
        except OSError as error:  # requests' exceptions are of this class too
            raise self._fault(error) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in {"mlflow", "sqlalchemy", "alembic", "urllib3"}:
                raise
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> EnvironmentFault:
        return EnvironmentFault(
            "MLflow could not do what was asked",
            facts={"server": redacted(self._uri), "answer": str(error).strip().splitlines()[0] if str(error) else repr(error)},
            likely="the server or its database is down, full, or of another version",
            tries=("run it again; what was done is found", f"mlflow db upgrade {redacted(self._uri)} after an upgrade of MLflow"),
        )


def _key(name: str) -> str:
    """Names that every MLflow store accepts."""
    return re.sub(r"[^\w./ -]", "_", name)[:250]


def _settle_environment() -> None:
    """No telemetry, and answers in seconds rather than minutes. Read by mlflow while it is imported."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def _create_database(folder: Path, uri: str) -> None:
    """Makes the SQLite file under another name first: a worker killed in the migrations leaves no half of it behind."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    file = Path(uri.removeprefix("sqlite:///"))
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".create.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if file.exists():
            return
        unfinished = file.with_name(".mlflow.db.new")
        for left in folder.glob(f"{unfinished.name}*"):
            left.unlink()
        engine = create_sqlalchemy_engine(f"sqlite:///{unfinished}")
        _initialize_tables(engine)
        engine.dispose()
        unfinished.rename(file)
    finally:
        os.close(handle)
