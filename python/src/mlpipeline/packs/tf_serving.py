"""TensorFlow Serving; latencies are in microseconds, in buckets that grow by 1.8."""

from mlpipeline.packs.shape import Buckets, Counted, Pack, Series

PACK = Pack(
    name="tf-serving",
    about="tensorflow_serving/servables/tensorflow/util.cc; names as in Grafana's TensorFlow Serving integration",
    errors=Counted(
        (Series(":tensorflow:serving:request_count"),),
        (
            Series(
                ":tensorflow:serving:request_count",
                {"status": "UNKNOWN|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"},
            ),
        ),
    ),
    latency=Buckets(
        Series(":tensorflow:serving:request_latency_bucket"),
        seconds=1e-6,
        needs="give TensorFlow Serving a --monitoring_config_file",
    ),
)
