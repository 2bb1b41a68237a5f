"""NVIDIA Triton. Requests that the client cancelled count as answered.

The histogram needs ``--metrics-config histogram_latencies=true``.
"""

from mlpipeline.packs.shape import Buckets, Counted, Pack, Series

PACK = Pack(
    name="triton",
    about="docs.nvidia.com: triton-inference-server user_guide/metrics",
    errors=Counted(
        (Series("nv_inference_request_success"), Series("nv_inference_request_failure")),
        (Series("nv_inference_request_failure", {"reason": "REJECTED|BACKEND|OTHER|"}),),
    ),
    latency=Buckets(
        Series("nv_inference_first_response_histogram_ms_bucket"),
        seconds=0.001,
        needs="start Triton with --metrics-config histogram_latencies=true",
    ),
)
