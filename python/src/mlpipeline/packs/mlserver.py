"""Seldon's MLServer over REST; only inference counts, so that health probes do not thin out errors."""

from mlpipeline.packs.shape import Buckets, Counted, Pack, Series

_INFER = {"path": ".*/(infer|infer_stream|generate|generate_stream)"}

PACK = Pack(
    name="mlserver",
    about="docs.seldon.ai: mlserver user-guide/metrics",
    errors=Counted(
        (Series("rest_server_requests_total", _INFER),),
        (Series("rest_server_requests_total", {**_INFER, "status_code": "5.."}),),
    ),
    latency=Buckets(Series("rest_server_request_duration_seconds_bucket", _INFER)),
)
