"""The extensions of CONTRIBUTING.md, added to a copy of the package and used there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, blocks

GUIDE = ROOT / "CONTRIBUTING.md"
PROGRAM = "import sys; from nlp_app.cli import main; main(sys.argv[1:])"
OPTIMIZER = """
import torch
from nlp_app.config import TaggingSettings, read_settings
from nlp_app.engine.optimizers import OptimizerOptions, make_optimizers

name = read_settings(TaggingSettings, None, ["train.optimizer=lion"]).train.optimizer
layer = torch.nn.Linear(2, 1, bias=False)
with torch.no_grad():
    layer.weight.copy_(torch.tensor([[2.0, -3.0]]))
optimizers = make_optimizers(layer, OptimizerOptions(name, lr=0.5, weight_decay=0.0))
for gradient in ([10.0, -0.1], [-1.0, -0.1]):
    layer.weight.grad = torch.tensor([gradient])
    optimizers.step()
again = make_optimizers(layer, OptimizerOptions(name, lr=0.5, weight_decay=0.0))
again.load_state_dict(*optimizers.state_dict())
print(layer.weight.tolist(), again.state_dict()[0]["weight/exp_avg"].tolist())
"""


def files() -> dict[str, str]:
    """The new files by path, which stands in the first line of a block."""
    named = (block.text.split("\n", 1) for block in blocks(GUIDE, "python"))
    return {first.removeprefix("# "): content for first, content in named}


def edits() -> list[tuple[str, str, str]]:
    """Each edit of an existing file: its path, a line of the file, and what stands there afterwards."""
    found = []
    for block in blocks(GUIDE, "diff"):
        first, *lines = block.text.splitlines()
        for line, following in zip(lines[::2], lines[1::2], strict=True):
            assert (line[0], following[0]) in ((" ", "+"), ("-", "+"))
            after = [line[1:]] * (line[0] == " ") + [following[1:]]
            found.append((first.removeprefix("# "), line[1:], "\n".join(after)))
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and the extensions."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "nlp_app", folder / "nlp_app", ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in files().items():
        assert not (folder / name).exists()
        (folder / name).write_text(content, encoding="utf-8")
    for name, line, after in edits():
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(f"\n{line}\n") == 1, f"{name}: {line}"
        (folder / name).write_text(text.replace(f"\n{line}\n", f"\n{after}\n"), encoding="utf-8")
    return folder


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script on the copy of the package."""
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_there_is_an_example_of_each_extension() -> None:
    assert [Path(name).parent.as_posix() for name in files()] == [
        "nlp_app/formats/tagging",
        "nlp_app/engine",
        "nlp_app/cli",
    ]


@pytest.mark.parametrize("name", ["a.slash", "a.data"])
def test_the_new_format_is_read(copy: Path, name: str) -> None:
    (copy / name).write_text("Ada/B-PER lives/O in/O London/B-LOC\n\n1/2/O cups/O\n", encoding="utf-8")
    named = () if name == "a.slash" else ("--format", "slash")
    done = run(copy, PROGRAM, "convert", *named, name, "a.conll")
    assert done.returncode == 0, done.stderr
    expected = "Ada B-PER\nlives O\nin O\nLondon B-LOC\n\n1/2 O\ncups O\n"
    assert (copy / "a.conll").read_text(encoding="utf-8").replace("\t", " ").rstrip() == expected.rstrip()


def test_the_new_format_refuses_what_it_cannot_read(copy: Path) -> None:
    (copy / "b.slash").write_text("Ada/B-PER\nlives in/O\n", encoding="utf-8")
    done = run(copy, PROGRAM, "inspect", "b.slash")
    assert done.returncode == 2
    assert done.stderr.startswith("error: b.slash:2: expected token/tag pairs")


def test_the_new_command_prints_its_result(copy: Path) -> None:
    assert "formats" in run(copy, PROGRAM, "--help").stdout
    shown = run(copy, PROGRAM, "formats", "--help")
    assert "List the formats of tagged files" in shown.stdout
    found = json.loads(run(copy, PROGRAM, "formats", "--json").stdout)
    assert found["slash"] == [".slash"]
    table = run(copy, PROGRAM, "formats").stdout.splitlines()
    assert [line.split()[0] for line in table] == list(found)


@pytest.mark.numeric
def test_the_new_optimizer_takes_steps_of_one_size(copy: Path) -> None:
    done = run(copy, OPTIMIZER)
    assert done.returncode == 0, done.stderr
    weights, averages = map(json.loads, done.stdout.replace("]] [[", "]]\n[[").splitlines())
    # Step 1 follows the signs of the gradient. In step 2 the first coordinate's average is 0.01, and
    # 0.9 * 0.01 - 0.1 < 0: it turns round. Averages: 0.999 of the previous one, 0.001 of the gradient.
    assert weights[0] == pytest.approx([2.0 - 0.5 + 0.5, -3.0 + 0.5 + 0.5])
    assert averages[0] == pytest.approx([0.999 * 0.01 - 0.001, -0.999 * 0.0001 - 0.0001], rel=1e-4)


def test_the_examples_follow_the_style(copy: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", copy)
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    assert ruff is not None
    for check in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        done = subprocess.run([ruff, *check, "nlp_app"], capture_output=True, text=True, cwd=copy, check=False)
        assert done.returncode == 0, done.stdout
