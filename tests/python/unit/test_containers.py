"""What containers are asked to be, and what they say of themselves: pure functions of the docker target."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import msgspec
import pytest

from mlpipeline.adapters.docker import specification
from mlpipeline.config.combinations import problems
from mlpipeline.config.model import Config
from mlpipeline.config.sections.packaging import Image
from mlpipeline.config.sections.target import Docker, Target
from mlpipeline.config.sections.training import Train
from mlpipeline.core.container import ContainerImage, device_request, gpu_devices, image_labels, image_of

DIGEST = f"sha256:{'a' * 64}"
IMAGE = ContainerImage(digest=DIGEST, id=f"sha256:{'b' * 64}", reference=f"r.example.org/x@{DIGEST}", source="/layout")


def test_an_image_is_read_back_from_labels() -> None:
    assert image_of(image_labels(IMAGE)) == IMAGE
    assert image_of({"mlpipeline.service": "a stranger's"}) is None


@pytest.mark.parametrize(
    ("wanted", "count", "environment", "devices"),
    [
        ("", 0, {"CUDA_VISIBLE_DEVICES": "0"}, ""),
        ("", 2, {}, "count:2"),
        ("all", 0, {}, "all"),
        (" 0 , 1,", 1, {}, "0,1"),
        ("leased", 1, {"MLPIPELINE_GPUS": "GPU-5f, GPU-6e", "CUDA_VISIBLE_DEVICES": "0"}, "GPU-5f,GPU-6e"),
        ("leased", 0, {"CUDA_VISIBLE_DEVICES": "3"}, "3"),
    ],
)
def test_devices_come_from_the_configuration_or_from_the_lease(
    wanted: str, count: int, environment: Mapping[str, str], devices: str
) -> None:
    assert gpu_devices(wanted, count, environment) == devices


@pytest.mark.parametrize(
    "environment", [{}, {"MLPIPELINE_GPUS": ""}, {"CUDA_VISIBLE_DEVICES": "-1"}, {"CUDA_VISIBLE_DEVICES": " , "}]
)
def test_a_lease_of_nothing_is_refused(environment: Mapping[str, str]) -> None:
    with pytest.raises(ValueError, match="names a device"):
        gpu_devices("leased", 1, environment)


@pytest.mark.parametrize(
    ("devices", "count", "named"), [("all", -1, []), ("count:2", 2, []), ("0,1", 0, ["0", "1"]), ("GPU-5f", 0, ["GPU-5f"])]
)
def test_a_device_request_is_what_the_command_line_would_ask(devices: str, count: int, named: list[str]) -> None:
    """``--gpus all``, ``--gpus 2`` and ``--gpus device=0,1``, as the engine's API has them."""
    request = device_request(devices)
    assert request is not None
    assert (request["Count"], request["DeviceIDs"], request["Capabilities"]) == (count, named, [["gpu"]])
    assert device_request("") is None


@pytest.mark.parametrize("user", ["", "0", "root", "0:0", "root:users"])
def test_nobody_runs_as_root(user: str) -> None:
    assert specification.user_of(user) == "10001:10001"


def test_a_user_that_the_image_names_is_kept() -> None:
    assert specification.user_of("101:101") == "101:101"


def test_an_image_that_starts_something_unknown_gets_no_health_check() -> None:
    assert specification.health(["/docker-entrypoint.sh"], 8080) == {}
    assert specification.health([], 8080) == {}
    assert "Healthcheck" in specification.health(["/opt/mlpipeline/environment/bin/python"], 8080)


def test_limits_are_bytes_and_nanoseconds() -> None:
    made = specification.hardened(Docker(memory="1.5GiB", cpus=1.5, scratch="1MiB"))
    assert (made["Memory"], made["MemorySwap"], made["NanoCpus"]) == (1610612736, 1610612736, 1_500_000_000)
    assert made["Tmpfs"] == {"/tmp": "rw,nosuid,nodev,size=1048576,mode=1777"}
    unlimited = specification.hardened(Docker(memory="1GiB", cpus=1), limited=False)
    assert not {"Memory", "NanoCpus"} & set(unlimited)


def found_problems(image: Image | None = None, **docker: object) -> dict[str, str]:
    chosen = {"router_image": IMAGE.reference, **docker}
    target = Target(kind="docker", docker=msgspec.convert(chosen, Docker))
    config = Config(service="churn", train=Train(command="true"), target=target, image=image or Image(base=IMAGE.reference))
    return {".".join(str(part) for part in problem.way): problem.what for problem in problems(config)}


def test_a_complete_configuration_has_no_problem() -> None:
    assert found_problems() == {}
    assert found_problems(router_image=DIGEST) == {}


@pytest.mark.parametrize(
    ("docker", "way"),
    [
        ({"router_image": ""}, "router_image"),
        ({"router_image": "envoyproxy/envoy:v1.31"}, "router_image"),
        ({"memory": "much"}, "memory"),
        ({"scratch": ""}, "scratch"),
        ({"scratch": "0MiB"}, "scratch"),
        ({"log_size": "10 potatoes"}, "log_size"),
        ({"environment": {"A=B": "c"}}, "environment"),
    ],
)
def test_what_no_engine_would_take_is_told_before_anything_starts(docker: dict[str, object], way: str) -> None:
    assert list(found_problems(**docker)) == [f"target.docker.{way}"]


def test_containers_without_images_are_refused() -> None:
    assert "no image is made" in found_problems(Image())["target.kind"]


def test_the_client_is_imported_when_the_engine_is_asked() -> None:
    code = "import sys, mlpipeline.adapters.docker, mlpipeline.adapters.docker.checkup; print('docker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
