"""What can be known of a saved MLflow model without importing mlflow: its ``MLmodel`` file is YAML."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlpipeline.errors import Failed


class ModelFacts(msgspec.Struct, frozen=True):
    """What the ``MLmodel`` file says.

    Args:
        python: Version the model was saved with, such as ``3.11.7``; empty when not recorded.
        run_id: The MLflow run the training itself logged to; empty without one.
        requirements: Lines of the model's ``requirements.txt``.
        flavour: The module that loads it, such as ``mlflow.sklearn``.
        inputs, outputs: Of its signature, as JSON.
    """

    python: str
    run_id: str
    requirements: tuple[str, ...]
    flavour: str = ""
    inputs: str = ""
    outputs: str = ""


def read_model(folder: Path, *, written_by: str = "the training") -> ModelFacts:
    """Checks that the folder holds a model that can be served. Raises Failed, with what to change, when it does not."""
    file = folder / "MLmodel"
    tries = (f"mlflow.sklearn.save_model(model, {folder.name!r}, signature=signature)", "name the folder in train.model")
    if not folder.exists():
        raise Failed(
            f"{written_by} left no model",
            facts={"missing": folder},
            likely="it ends well without saving a model, or saves it elsewhere",
            tries=tries,
        )
    if not file.is_file():
        raise Failed(
            f"{written_by} left something that is not an MLflow model",
            facts={"missing": file},
            likely="the model was saved with joblib or pickle",
            tries=tries,
        )
    content = _yaml(file)
    flavors = content.get("flavors")
    if not isinstance(flavors, dict) or "python_function" not in flavors:
        raise Failed(
            "the model has no python_function flavor, so it cannot be served",
            facts={"file": file, "flavors": ", ".join(map(str, flavors)) if isinstance(flavors, dict) else "none"},
            tries=("save it with one of mlflow's Python flavors",),
        )
    signature = content.get("signature")
    if not isinstance(signature, dict) or not signature.get("inputs"):
        raise Failed(
            "the model has no signature, so requests could not be checked",
            facts={"file": file},
            likely="it was saved without signature= and without input_example=",
            tries=(
                "signature = mlflow.models.infer_signature(X, model.predict(X))",
                f"mlflow.sklearn.save_model(model, {folder.name!r}, signature=signature)",
            ),
        )
    python = flavors["python_function"]
    requirements = folder / "requirements.txt"
    return ModelFacts(
        python=str(python.get("python_version", "")) if isinstance(python, dict) else "",
        run_id=str(content.get("run_id") or ""),
        requirements=tuple(_lines(requirements)) if requirements.is_file() else (),
        flavour=str(python.get("loader_module", "")) if isinstance(python, dict) else "",
        inputs=str(signature.get("inputs") or ""),
        outputs=str(signature.get("outputs") or ""),
    )


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise Failed(
            "the model's requirements are not UTF-8 text", facts={"file": file, "found": error}, tries=("save the model again",)
        ) from error


def _yaml(file: Path) -> dict[str, object]:
    import yaml

    try:
        content = yaml.safe_load(file.read_bytes())
    except yaml.YAMLError as error:
        raise Failed(
            "the MLmodel file cannot be read",
            facts={"file": file, "found": error},
            likely="the training was ended while it saved",
        ) from error
    if not isinstance(content, dict):
        raise Failed("the MLmodel file is empty", facts={"file": file}, likely="the training was ended while it saved")
    return content
