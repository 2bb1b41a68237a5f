from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fakes import FakeClock, FakeConsole
from mlpipeline.config.model import Config
from mlpipeline.config.sections.packaging import Image, Package
from mlpipeline.config.sections.training import Train
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.record.places import Places
from mlpipeline.record.result import Result
from mlpipeline.serving.requirements import REQUIREMENTS
from mlpipeline.verbs.context import Context, World
from mlpipeline.verbs.package_versions import TrainedVersions, compared, own_lines, pinned

TRAINED = TrainedVersions({"scikit-learn": "1.7.2", "numpy": "2.1.0", "scipy": "1.14.0"})
LOCK = (
    "# python 3.11 on linux-x86_64\nnumpy==2.1.0 \\\n    --hash=sha256:aa\nscikit-learn==1.8.0 \\\n    --hash=sha256:bb\nnew==1\n"
)


def context(tmp_path: Path, *, image: Image | None = None, **package: str) -> Context:
    nothing = lambda *_: pytest.fail("not asked for")  # noqa: E731
    return Context(
        config=Config(
            service="s", train=Train(command="true"), package=msgspec.convert(package, Package), image=image or Image()
        ),
        places=Places(project=tmp_path, home=tmp_path, service="s"),
        clock=FakeClock(),
        console=FakeConsole(),
        world=World(target=nothing, registry=nothing, metrics=nothing),
    )


def test_lines_that_go_on_are_one_and_comments_are_none() -> None:
    lines = ["# all", "numpy==2.1.0 \\", "    --hash=sha256:aa", "", "scipy  # for fun", "x @ https://e.org/x.whl#sha256=1"]
    assert own_lines(lines) == ["numpy==2.1.0      --hash=sha256:aa", "scipy", "x @ https://e.org/x.whl#sha256=1"]


def test_what_the_serving_process_needs_is_open_on_purpose(tmp_path: Path) -> None:
    wanted, reasons = pinned(context(tmp_path, pins="required"), ["numpy==2.1.0", "-r more.txt", *REQUIREMENTS], TRAINED)
    assert wanted == ["numpy==2.1.0", "-r more.txt", *REQUIREMENTS] and reasons == []


@pytest.mark.parametrize(
    "line", ["scikit-learn", "Scikit_Learn>=1.0", "scikit-learn==1.*", "scikit-learn==1.0,<2", "scikit-learn[x]"]
)
def test_what_names_no_version_gets_that_of_the_training(tmp_path: Path, line: str) -> None:
    (wanted, *_), (reason,) = pinned(context(tmp_path), [line], TRAINED)
    assert wanted.endswith("==1.7.2") and reason.numbers == {"unpinned": 1}


def test_markers_stay(tmp_path: Path) -> None:
    assert pinned(context(tmp_path), ["scipy ; python_version > '3'"], TRAINED)[0] == ["scipy==1.14.0 ; python_version > '3'"]


@pytest.mark.parametrize(("pins", "image"), [("required", Image()), ("auto", Image(base="oci:b"))])
def test_an_image_is_never_made_of_what_was_never_pinned(tmp_path: Path, pins: str, image: Image) -> None:
    with pytest.raises(ConfigurationError, match="never pinned") as caught:
        pinned(context(tmp_path, image=image, pins=pins), ["scikit-learn", "unheard-of>1"], TRAINED)
    assert "scikit-learn==1.7.2" in caught.value.render() and "unheard-of>1" in caught.value.render()


def test_differences_between_training_and_serving_are_told_or_stop(tmp_path: Path) -> None:
    (reason,) = compared(context(tmp_path), LOCK, TRAINED)
    assert reason.verdict is Verdict.PASS and reason.numbers == {"different": 1, "compared": 2}
    assert reason.sample == ("scikit-learn: trained with 1.7.2, served with 1.8.0",)
    with pytest.raises(Failed, match="other versions") as caught:
        compared(context(tmp_path, version_differences="fail"), LOCK, TRAINED)
    assert "trained with 1.7.2, served with 1.8.0" in caught.value.render()
    assert compared(context(tmp_path), LOCK.replace("1.8.0", "1.7.2"), TRAINED) == []


def test_versions_of_the_training_are_read_from_its_evidence() -> None:
    evidence = {"packages": "numpy==2.1.0 scikit_learn==1.7.2"}
    result = Result(verb="train", service="s", run="r", verdict=Verdict.PASS, summary="", evidence=evidence)
    assert TrainedVersions.of(result).versions == {"numpy": "2.1.0", "scikit-learn": "1.7.2"}
    assert TrainedVersions.of(msgspec.structs.replace(result, evidence={})).versions == {}
