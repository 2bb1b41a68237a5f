"""Learns whether a flight will land more than 30 minutes late, from what is known before it leaves."""

import json
from importlib.metadata import version
from pathlib import Path

import mlflow.sklearn
import pandas
import yaml
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["carrier", "origin"]
LEARNERS = {
    "hist-gradient-boosting": HistGradientBoostingClassifier(random_state=0),
    "gradient-boosting": GradientBoostingClassifier(subsample=0.1, n_estimators=60, random_state=0),
}

params = yaml.safe_load(Path("params.yaml").read_text())["train"]
train = pandas.read_parquet("data/train.parquet")
features, late = train.drop(columns="late"), train["late"]
sample = features.head(1000)
model = make_pipeline(
    make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), CATEGORIES),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ),
    LEARNERS[params["learner"]],
).fit(features, late)

mlflow.sklearn.save_model(
    model,
    "model",
    signature=infer_signature(sample, model.predict(sample)),
    input_example=sample.head(3),
    serialization_format="cloudpickle",
    # Named, because guessing them makes MLflow load the model in another process, which takes most of a minute.
    pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "scikit-learn", "pandas", "numpy", "cloudpickle")],
)
Path("metrics.json").write_text(json.dumps({"rows": len(train), "late_share": round(float(late.mean()), 4)}))
