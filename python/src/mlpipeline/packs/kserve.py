"""KServe: requests at Knative's queue proxy, latency of the predict step of KServe's Python servers."""

from mlpipeline.packs.shape import Buckets, Counted, Pack, Series

_NEWER = "kn_serving_invocation_duration_seconds_count"
"""What newer Knative calls it; a proxy exports one of the two."""

PACK = Pack(
    name="kserve",
    about="knative.dev/docs/serving/services/service-metrics; kserve.github.io: observability/prometheus_metrics",
    errors=Counted(
        (Series("revision_app_request_count"), Series(_NEWER)),
        (
            Series("revision_app_request_count", {"response_code_class": "5xx"}),
            Series(_NEWER, {"http_response_status_code": "5.."}),
        ),
    ),
    latency=Buckets(
        Series("request_predict_seconds_bucket"), needs="another runtime behind KServe: verify.pack: the pack of that runtime"
    ),
)
