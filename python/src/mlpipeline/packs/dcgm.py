"""GPU health from dcgm-exporter. It counts no requests: these are compared as the serving pack does, the GPUs are conditions."""

from mlpipeline.packs.shape import Pack, PackCondition

_GPUS = '{service="{{service}}",colour="{{candidate}}"}'

PACK = Pack(
    name="dcgm",
    about="github.com/NVIDIA/dcgm-exporter: etc/default-counters.csv",
    conditions=(
        PackCondition("gpu-xid", f"max(changes(DCGM_FI_DEV_XID_ERRORS{_GPUS}[5m]))", failure="result > 0"),
        PackCondition("gpu-row-remap", f"max(DCGM_FI_DEV_ROW_REMAP_FAILURE{_GPUS})", failure="result > 0"),
        PackCondition("gpu-temperature", f"max(DCGM_FI_DEV_GPU_TEMP{_GPUS})", failure="result > 90"),
    ),
    requests_from="serving",
)
