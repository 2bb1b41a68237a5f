"""vLLM. Whole answers take seconds, so the objective is longer; long answers make it wander, so the margin is wider."""

from mlpipeline.packs.shape import Buckets, Counted, Pack, PackCondition, Series

_ANSWERS = {"handler": "/v1/.*|/generate|/pooling|/score|/invocations", "method": "POST"}

PACK = Pack(
    name="vllm",
    about="docs.vllm.ai: usage/metrics; HTTP counts by prometheus-fastapi-instrumentator, which vLLM mounts",
    errors=Counted(
        (Series("http_requests_total", _ANSWERS),), (Series("http_requests_total", {**_ANSWERS, "status": "5xx|5.."}),)
    ),
    latency=Buckets(Series("vllm:e2e_request_latency_seconds_bucket")),
    conditions=(
        PackCondition(
            "waiting-requests",
            'sum(vllm:num_requests_waiting{service="{{service}}",colour="{{candidate}}"})',
            failure="result > 100",
        ),
    ),
    settings={"latency": {"objective": "10s", "margin": 2.5, "tolerate": 0.05}},
)
