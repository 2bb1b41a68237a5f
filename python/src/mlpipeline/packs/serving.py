"""The scoring server that ``package`` puts into every bundle."""

from mlpipeline.packs.shape import Buckets, Counted, Pack, Series


def _series(name: str, **labels: str) -> Series:
    return Series(name, {"traffic": "live", **labels}, mirror_labels={"traffic": "mirror"})


PACK = Pack(
    name="serving",
    about="mlpipeline.serving, see mlpipeline/serving/metrics.py",
    errors=Counted((_series("mlpipeline_requests_total"),), (_series("mlpipeline_requests_total", code="5xx"),)),
    latency=Buckets(_series("mlpipeline_request_seconds_bucket")),
    predictions=_series("mlpipeline_predictions_total"),
    values=Buckets(_series("mlpipeline_prediction_value_bucket")),
)
