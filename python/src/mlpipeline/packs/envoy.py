"""Envoy with one cluster per colour; copies of requests count as internal, users' requests as external.

A request that the colour gave no answer to, and the other colour did, is an error of the first and no request of the other.
"""

from mlpipeline.packs.shape import Buckets, Counted, Pack, Series


def _series(name: str, **labels: str) -> Series:
    return Series(f"envoy_cluster_external_{name}", labels, mirror_name=f"envoy_cluster_internal_{name}")


PACK = Pack(
    name="envoy",
    about="Envoy's cluster statistics, envoyproxy.io/docs: upstream/cluster_manager/cluster_stats",
    errors=Counted(
        (_series("upstream_rq_xx"),),
        (
            _series("upstream_rq_xx", envoy_response_code_class="5"),
            Series("envoy_cluster_upstream_rq_retry_success", of_users=True),
        ),
    ),
    latency=Buckets(_series("upstream_rq_time_bucket"), seconds=0.001),
    colour_label="envoy_cluster_name",
    present=("envoy_cluster_membership_total",),
)
