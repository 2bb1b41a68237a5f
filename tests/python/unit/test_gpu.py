"""GPUs: what makes one unfit, what a machine without any says, and what a training took from them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fake_nvml import Card, FakeNvml
from mlpipeline.adapters.gpu import Meter, Nvml, chosen, sampler
from mlpipeline.adapters.gpu.nvml import devices_of
from mlpipeline.cli import exit_code, main
from mlpipeline.core.gpu import bytes_of, judge
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.verbs import doctor_gpu


@pytest.fixture
def use_nvml(monkeypatch: pytest.MonkeyPatch):
    def use(*cards: Card, driver: bool = True) -> FakeNvml:
        fake = FakeNvml(*cards, driver=driver)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return use


def test_healthy_devices_pass_and_the_library_is_closed(use_nvml) -> None:
    fake = use_nvml(Card(), Card())
    told = doctor_gpu.run(Path(), {}, count=2, memory="64GiB")
    assert told.verdict is Verdict.PASS
    assert told.evidence["driver"] == "570.86"
    assert told.evidence["energy_joules"] == 2000.0
    assert fake.open == 0


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (Card(free=8 << 30), "only 8.0 of 80.0 GiB free"),
        (Card(pids=[1]), "others compute on it: process 1"),
        (Card(ecc=3), "3 uncorrected memory errors"),
        (Card(throttle=0x40), "heat (hardware)"),
    ],
)
def test_an_unfit_device_is_worth_a_retry_elsewhere(use_nvml, card: Card, words: str) -> None:
    use_nvml(Card(), card)
    told = doctor_gpu.run(Path(), {}, memory="16GiB")
    assert told.verdict is Verdict.ERROR
    assert exit_code(told) == 3
    assert words in told.summary
    assert "GPU 1" in told.summary


def test_only_the_leased_devices_are_looked_at(use_nvml) -> None:
    use_nvml(Card(ecc=3), Card())
    assert doctor_gpu.run(Path(), {"CUDA_VISIBLE_DEVICES": "1"}).verdict is Verdict.PASS
    assert doctor_gpu.run(Path(), {"CUDA_VISIBLE_DEVICES": "1", "MLPIPELINE_GPUS": "0"}).verdict is Verdict.ERROR
    assert doctor_gpu.run(Path(), {"CUDA_VISIBLE_DEVICES": "0"}, devices="GPU-1").verdict is Verdict.PASS


def test_no_visible_device_is_not_all_devices(use_nvml) -> None:
    use_nvml(Card())
    told = doctor_gpu.run(Path(), {"CUDA_VISIBLE_DEVICES": ""})
    assert told.verdict is Verdict.ERROR
    assert "0 GPUs may be used" in told.summary


def test_our_own_processes_are_not_foreign(use_nvml) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        use_nvml(Card(pids=[os.getpid(), child.pid]))
        assert doctor_gpu.run(Path(), {}).verdict is Verdict.PASS
    finally:
        child.communicate(b"\n", timeout=60)


def test_what_a_device_does_not_support_is_absent_not_zero(use_nvml) -> None:
    use_nvml(Card(millijoules=None, ecc=None, throttle=None, pids=None, busy=None))
    told = doctor_gpu.run(Path(), {})
    assert told.verdict is Verdict.PASS
    assert "energy_joules" not in told.evidence
    assert "ecc_uncorrected" not in told.evidence["devices"][0]  # type: ignore[index]


def test_no_driver_no_package_lost_and_unknown_devices_are_told_apart(use_nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    use_nvml(driver=False)
    with pytest.raises(EnvironmentFault, match="driver does not answer") as told:
        doctor_gpu.run(Path(), {})
    assert told.value.likely == "this machine has no NVIDIA driver"
    use_nvml(Card())
    with pytest.raises(ConfigurationError, match="no GPU 7"):
        doctor_gpu.run(Path(), {}, devices="7")
    lost = Card()
    lost.lost = True
    use_nvml(lost)
    with pytest.raises(EnvironmentFault, match="does not tell its memory") as told:
        doctor_gpu.run(Path(), {})
    assert "restarted" in told.value.likely
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(EnvironmentFault, match="nvidia-ml-py is not installed"):
        doctor_gpu.run(Path(), {})


def test_the_command_needs_no_project_and_ends_with_3(
    use_nvml, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLPIPELINE_GPUS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    use_nvml(driver=False)
    assert main(["doctor", "gpu", "--project", str(tmp_path), "--result", str(tmp_path / "r.json")]) == 3
    assert "no NVIDIA driver" in capsys.readouterr().err
    assert '"verdict": "error"' in (tmp_path / "r.json").read_text()
    use_nvml(Card())
    assert main(["doctor", "gpu", "--project", str(tmp_path), "--memory", "16 bananas"]) == 2


def test_sizes_and_lists_of_devices() -> None:
    assert bytes_of("16GiB") == 16 << 30
    assert bytes_of("0.5 GB") == 500_000_000
    with pytest.raises(ValueError, match="such as 16GiB"):
        bytes_of("lots")
    assert devices_of(" 0, GPU-1 ,-1,3") == ("0", "GPU-1")
    assert chosen({}) is None
    assert judge([], count=0, memory_bytes=0)[0].verdict is Verdict.ERROR


class WatchedNvml(FakeNvml):
    """Uses energy and memory with every look, and tells when it was looked at a few times."""

    def __init__(self, *cards: Card) -> None:
        super().__init__(*cards)
        self.looks = 0
        self.enough = threading.Event()

    def nvmlDeviceGetMemoryInfo(self, card: Card):
        self.looks += 1
        card.millijoules += 500
        card.free = (70 << 30) - (self.looks % 3) * (1 << 30)
        if self.looks >= 6:
            self.enough.set()
        return super().nvmlDeviceGetMemoryInfo(card)


def test_a_training_is_metered_while_it_runs() -> None:
    fake = WatchedNvml(Card())
    with Meter({"MLPIPELINE_GPUS": "0"}, every=0.001, library=fake) as meter:
        assert fake.enough.wait(60)
    use = meter.use
    assert use is not None
    assert use.samples >= 6
    assert use.energy_joules == 0.5 * (use.samples - 1)
    assert use.peak_memory_bytes == 12 << 30
    assert 0 < use.busy_seconds <= use.held_seconds
    assert fake.open == 0


def test_nothing_is_measured_unless_devices_are_named() -> None:
    for environment in ({}, {"CUDA_VISIBLE_DEVICES": ""}):
        with Meter(environment, library=FakeNvml(Card())) as meter:
            pass
        assert meter.use is None


def test_a_meter_that_breaks_stops_no_training() -> None:
    with Meter({"CUDA_VISIBLE_DEVICES": "0"}, library=FakeNvml(driver=False)) as meter:
        pass
    assert meter.use is not None
    assert meter.use.trouble == "the NVIDIA driver does not answer"


def test_a_driver_that_hangs_keeps_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpipeline.adapters.gpu.meter._PATIENCE_SECONDS", 0.01)
    fake, go = FakeNvml(Card()), threading.Event()
    fake.nvmlInit = lambda: go.wait(60)  # type: ignore[method-assign]
    with Meter({"CUDA_VISIBLE_DEVICES": "0"}, library=fake) as meter:
        pass
    go.set()
    assert meter.use is not None
    assert meter.use.trouble == "the NVIDIA driver hangs"


def test_the_library_is_asked_for_a_device_only_once() -> None:
    fake = FakeNvml(Card())
    with Nvml(fake) as nvml:
        nvml.device("0")
        fake.cards.append(Card())
        assert nvml.device("0").index == 0


@pytest.fixture
def real_nvml(tmp_path: Path) -> dict[str, str]:
    """The environment of processes for which the driver's library is the fake one; its cards fill up with every look."""
    fakes = Path(__file__).parents[1]
    (tmp_path / "pynvml.py").write_text(
        f"import sys\nsys.path.insert(0, {str(fakes)!r})\n"
        "from fake_nvml import *\nfrom fake_nvml import Card, FakeNvml\n"
        "class Filling(FakeNvml):\n"
        "    def nvmlDeviceGetMemoryInfo(self, card):\n"
        "        card.free -= 1 << 30\n"
        "        card.millijoules += 5000\n"
        "        return super().nvmlDeviceGetMemoryInfo(card)\n"
        "sys.modules['pynvml'] = Filling(Card(), Card(free=60 << 30))\n"
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def worker(environment: dict[str, str], tmp_path: Path, **options: object) -> dict[str, Any]:
    (tmp_path / "args.json").write_text(json.dumps(options))
    command = [sys.executable, "-m", "mlpipeline", "doctor", "gpu", "--args", "args.json", "--result", "result.json"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, timeout=60)
    return json.loads((tmp_path / "result.json").read_text())


@pytest.mark.real
def test_any_work_is_metered_between_two_calls(real_nvml: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "with blanks" / "meter"
    assert worker(real_nvml, tmp_path, devices="0,1", meter=str(folder))["verdict"] == "pass"
    told = worker(real_nvml, tmp_path, metered=str(folder))
    use = told["evidence"]["use"]
    assert told["verdict"] == "pass", told
    assert use["devices"] == ["GPU-0", "GPU-1"]
    assert use["samples"] >= 2
    assert use["peak_memory_bytes"] > 10 << 30
    assert use["energy_joules"] == 2 * 5 * (use["samples"] - 1)
    assert use["held_seconds"] > 0
    assert "GPU seconds" in told["summary"]
    assert worker(real_nvml, tmp_path, metered=str(folder))["evidence"]["use"] == use, "asked again it says the same"


@pytest.mark.real
def test_a_meter_whose_folder_is_gone_ends_and_one_that_was_killed_leaves_numbers(
    real_nvml: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "meter"
    for killed in (True, False):
        worker(real_nvml, tmp_path, devices="0", meter=str(folder))
        (pid,) = (int(line.split()[0]) for line in processes() if str(folder) in line)
        if killed:
            os.kill(pid, signal.SIGKILL)
            monkeypatch.setattr(sampler, "_PATIENCE_SECONDS", 0.3)
            use = sampler.end(folder)
            assert use is not None
            assert use.trouble.startswith("the meter was killed")
            assert use.samples >= 1
        else:
            shutil.rmtree(folder)
            deadline = time.monotonic() + 30
            while any(line.split()[0] == str(pid) for line in processes()) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not any(line.split()[0] == str(pid) for line in processes())


def processes() -> list[str]:
    return subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_nobody_metered_what_no_meter_saw(tmp_path: Path) -> None:
    told = doctor_gpu.run(tmp_path, {}, metered=str(tmp_path / "none"))
    assert (told.verdict, told.evidence) == (Verdict.INCONCLUSIVE, {})


def test_an_unfit_device_is_not_metered_and_a_meter_needs_a_place(use_nvml, tmp_path: Path) -> None:
    use_nvml(Card(free=0))
    assert doctor_gpu.run(tmp_path, {}, memory="1GiB", meter=str(tmp_path / "meter")).verdict is Verdict.ERROR
    assert not (tmp_path / "meter").exists()
    use_nvml(Card())
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="no place to write to"):
        doctor_gpu.run(tmp_path, {}, meter=str(tmp_path / "file" / "meter"))
