"""The verb ``init``: writes mlpipeline.yaml and two Jenkinsfiles that fit the repository. Never overwrites anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from mlpipeline.config.load import FILE, load
from mlpipeline.config.shape import in_yaml
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.files import write_atomically

_SCRIPTS = ("train.py", "src/train.py", "scripts/train.py", "training/train.py")
_DATA_FOLDERS = ("data", "data/raw", "data/processed", ".")
_KINDS = (".parquet", ".csv")
_HELD_OUT = re.compile(r"hold.?out|test|valid", re.IGNORECASE)
_SAVED = re.compile(r"save_model\(\s*(?:[^()]*?,\s*)?(?:path\s*=\s*)?[\"']([\w./-]+)[\"']", re.DOTALL)
_MOST_FILES = 5


def run(project: Path, *, service: str = "") -> str:
    """Writes what is missing and says what it did, what it kept, and what to do next.

    Args:
        service: Its name; else the folder's.

    Raises ConfigurationError when the folder does not exist.
    """
    if not project.is_dir():
        raise ConfigurationError("the project folder does not exist", facts={"folder": project})
    lines = []
    wanted = {FILE: _configuration(project, service)} | {name: _template(name) for name in ("Jenkinsfile", "Jenkinsfile.nightly")}
    for name, content in wanted.items():
        if (project / name).exists():
            lines.append(f"kept     {name} (it exists; nothing is ever overwritten)")
            continue
        write_atomically(project / name, content.encode())
        (project / name).chmod(0o644)
        lines.append(f"wrote    {name}")
    if "mlPipeline" not in (project / "Jenkinsfile").read_text("utf-8", errors="replace"):
        lines.append(
            "missing  the pipeline in your Jenkinsfile: @Library('mlpipeline@v1') _ at its top, mlPipeline() where it releases"
        )
    ignored = _ignore(project)
    lines.append(f"added    {', '.join(ignored)} to .gitignore" if ignored else "kept     .gitignore")
    if not _in_repository(project):
        lines.append("missing  a git repository: git init")
    load(project)
    lines.append(
        f"next     look through {FILE}, then: git add {FILE} Jenkinsfile* .gitignore && git commit -m 'Release with mlPipeline'"
    )
    lines.append("         mlpipeline doctor && mlpipeline run")
    return "\n".join(lines)


def _configuration(project: Path, service: str) -> str:
    script = next((name for name in _SCRIPTS if (project / name).is_file()), "")
    command = "dvc repro" if (project / "dvc.yaml").is_file() else f"python {script or 'train.py'}"
    train = [f"  command: {command}"]
    if command != "dvc repro" and not script:
        train[0] += "                        # no training script was found: write your command here"
    model = _model_folder(project, script)
    train.append(f"  model: {in_yaml(model)}  # the command leaves an MLflow model here (mlflow.*.save_model)")
    if (project / "metrics.json").is_file():
        train.append("  metrics: metrics.json")
    data, held_out = _data(project)
    filled = {
        "@SERVICE@": in_yaml(_service_name(service or project.resolve().name)),
        "@TRAIN@": "\n".join(train),
        "@DATA@": "\n".join(_data_lines(project, data)),
        "@GATE@": "\n".join(_gate_lines(project, held_out)),
    }
    text = _template(FILE)
    for mark, content in filled.items():
        text = text.replace(mark, content)
    return text


def _data_lines(project: Path, data: list[Path]) -> Iterable[str]:
    if not data:
        return (
            "  files: {}                                    # name the files the model is trained on, see below",
            *_data_example(),
        )
    lines = ["  files:"]
    for path in data[:_MOST_FILES]:
        lines += [f"    {_key(path.stem)}:", f"      path: {in_yaml(str(path))}"]
        header = _header(project / path)
        if header:
            lines += [
                "      expect:",
                f"        - {{column: {in_yaml(header[0])}, not_null: true}}",
                f"      # columns of the file: {', '.join(header)}",
            ]
        else:
            lines.append("      # expect: [{column: NAME, not_null: true}, {column: NAME, between: [0, 100]}]")
    return lines


def _data_example() -> tuple[str, ...]:
    return (
        "  # files:",
        "  #   trips:",
        "  #     path: data/trips.parquet",
        "  #     expect: [{column: distance, not_null: true, between: [0, 5000]}]",
    )


def _gate_lines(project: Path, held_out: list[Path]) -> list[str]:
    path = str(held_out[0]) if held_out else "data/holdout.parquet"
    header = _header(project / path)
    label = next(
        (name for name in header if name.lower() in {"label", "target", "y", "class", "species"}),
        header[-1] if header else "target",
    )
    return [f"  # holdout: {in_yaml(path)}", f"  # label: {in_yaml(label)}"]


def _data(project: Path) -> tuple[list[Path], list[Path]]:
    """Data files for training, and those that look held out; files that only DVC has yet count by their .dvc file."""
    found: dict[Path, None] = {}
    for folder in _DATA_FOLDERS:
        for file in sorted((project / folder).glob("*")):
            name = file.with_suffix("") if file.suffix == ".dvc" else file
            if name.suffix in _KINDS and (file.is_file() or name.is_file()):
                found[name.relative_to(project)] = None
    paths = list(found)
    held_out = [path for path in paths if _HELD_OUT.search(path.stem)]
    return [path for path in paths if path not in held_out], held_out


def _header(path: Path) -> list[str]:
    """Column names of a CSV file; empty when there are none to be sure of."""
    if path.suffix != ".csv" or not path.is_file():
        return []
    import csv

    try:
        # With a byte order mark, which belongs to no column, as the data gate reads it.
        with path.open(newline="", encoding="utf-8-sig") as file:
            names = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        return []
    return names if names and all(name and not name.replace(".", "").isdigit() for name in names) else []


def _model_folder(project: Path, script: str) -> str:
    found = _SAVED.search((project / script).read_text("utf-8", errors="replace")) if script else None
    return found[1] if found else "model"


def _service_name(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:63].strip("-") or "service"


def _key(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "data"


def _ignore(project: Path) -> list[str]:
    file = project / ".gitignore"
    content = file.read_text("utf-8") if file.is_file() else ""
    known = {line.strip().strip("/") for line in content.splitlines()}
    missing = [line for line in ("/.mlpipeline/",) if line.strip("/") not in known]
    if missing:
        start = content if not content or content.endswith("\n") else content + "\n"
        write_atomically(file, (start + "".join(f"{line}\n" for line in missing)).encode())
        file.chmod(0o644)
    return missing


def _in_repository(project: Path) -> bool:
    return any((folder / ".git").exists() for folder in (project.resolve(), *project.resolve().parents))


def _template(name: str) -> str:
    return (files("mlpipeline") / "templates" / name).read_text("utf-8")
