"""``mlpipeline init`` fits what it finds, overwrites nothing, and leaves a configuration that loads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlpipeline import cli
from mlpipeline.config.load import load
from mlpipeline.errors import ConfigurationError
from mlpipeline.verbs import init


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "Iris Project"
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def test_it_fits_a_script_with_data(project: Path) -> None:
    (project / "train.py").write_text("mlflow.sklearn.save_model(forest, 'artifacts/forest')\n")
    (project / "data").mkdir()
    (project / "data" / "iris.csv").write_text("sepal length,petal,species\n5,1,setosa\n")
    (project / "data" / "iris_test.csv").write_text("sepal length,petal,species\n5,1,setosa\n")
    init.run(project)
    config = load(project).config
    assert config.service == "iris-project"
    assert config.train.command == "python train.py"
    assert config.train.model == "artifacts/forest"
    assert [file.path for file in config.data.files.values()] == ["data/iris.csv"]
    assert config.data.files["iris"].expect[0].column == "sepal length"
    text = (project / "mlpipeline.yaml").read_text()
    assert "# holdout: data/iris_test.csv" in text
    assert "# label: species" in text


def test_it_fits_a_dvc_project_whose_data_is_not_pulled_yet(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: {}\n")
    (project / "data").mkdir()
    (project / "data" / "flights.parquet.dvc").write_text("outs: []\n")
    init.run(project, service="Flights!")
    config = load(project).config
    assert (config.service, config.train.command) == ("flights", "dvc repro")
    assert config.data.files["flights"].path == "data/flights.parquet"


def test_an_empty_repository_gets_a_file_that_loads_and_says_what_is_missing(project: Path) -> None:
    init.run(project)
    assert load(project).config.data.files == {}
    assert "no training script was found" in (project / "mlpipeline.yaml").read_text()


@pytest.mark.parametrize("name", ["mlpipeline.yaml", "Jenkinsfile", "Jenkinsfile.nightly"])
def test_nothing_is_overwritten(project: Path, name: str) -> None:
    mine = "service: mine\ntrain:\n  command: make\n"
    (project / name).write_text(mine)
    said = init.run(project)
    assert (project / name).read_text() == mine
    assert f"kept     {name}" in said


def test_a_jenkinsfile_of_your_own_is_told_what_it_lacks(project: Path) -> None:
    (project / "Jenkinsfile").write_text("pipeline { agent any }\n")
    assert "missing  the pipeline in your Jenkinsfile" in init.run(project)
    (project / "Jenkinsfile").write_text("@Library('mlpipeline@v1') _\nmlPipeline()\n")
    assert "missing" not in init.run(project)


def test_letters_beyond_ascii_keep_their_base(tmp_path: Path) -> None:
    folder = tmp_path / "Ünï çode 日本"
    folder.mkdir()
    init.run(folder)
    assert load(folder).config.service == "uni-code"


def test_only_a_header_that_can_be_read_names_a_column(project: Path) -> None:
    (project / "marked.csv").write_bytes(b"\xef\xbb\xbfid,v\n1,2\n")
    (project / "other.csv").write_bytes("größe,v\n1,2\n".encode("latin-1"))
    init.run(project)
    files = load(project).config.data.files
    assert [one.column for one in files["marked"].expect] == ["id"]
    assert files["other"].expect == ()


def test_twice_is_once(project: Path) -> None:
    init.run(project)
    before = {path.name: path.read_bytes() for path in project.iterdir() if path.is_file()}
    init.run(project)
    assert {path.name: path.read_bytes() for path in project.iterdir() if path.is_file()} == before


def test_gitignore_keeps_what_it_had(project: Path) -> None:
    (project / ".gitignore").write_text("*.pyc")
    init.run(project)
    assert (project / ".gitignore").read_text() == "*.pyc\n/.mlpipeline/\n"


def test_the_jenkinsfile_is_short(project: Path) -> None:
    init.run(project)
    lines = (project / "Jenkinsfile").read_text().splitlines()
    assert len(lines) <= 6
    assert lines[0] == "@Library('mlpipeline@v1') _"
    assert lines[-1] == "mlPipeline()"
    nightly = (project / "Jenkinsfile.nightly").read_text().splitlines()
    assert (nightly[0], nightly[-1]) == (lines[0], "mlNightly()")


def test_a_folder_that_does_not_exist_is_an_error(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        init.run(project / "nowhere")


def test_from_the_command_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", "--project", str(project), "--service", "flowers"]) == 0
    assert "wrote    mlpipeline.yaml" in capsys.readouterr().out
    assert load(project).config.service == "flowers"
