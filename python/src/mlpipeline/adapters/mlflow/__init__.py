"""MLflow: tracking and the model registry. The client is imported at the first question, not with this package."""

from mlpipeline.adapters.mlflow.model import ModelFacts, read_model
from mlpipeline.adapters.mlflow.reachable import check_reachable
from mlpipeline.adapters.mlflow.registry import MlflowRegistry, tracking_uri

__all__ = ["MlflowRegistry", "ModelFacts", "check_reachable", "read_model", "tracking_uri"]
