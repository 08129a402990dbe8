"""The order of the house: who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nlp_app"
# Imports go down only, or stay on their level. `nn` and `training` stand beside the language column.
LEVELS = {
    "errors": 0, "types": 0, "resources": 0, "listing": 0, "output": 0, "interruption": 0, "bars": 0,
    "locking": 0,
    "text": 1, "schemes": 1, "vocab": 1, "metrics": 1, "calibration": 1,
    "formats": 2, "alignment": 2, "survey": 2, "corpus": 2, "class_corpus": 2, "statistics": 2, "unread": 2,
    "convert": 2, "streams": 2, "folding": 2,
    "features": 3, "holding_out": 3,
    "tasks": 4,
    "modeldir": 5, "predict": 5,
    "report": 6, "class_report": 6, "several_report": 6, "plots": 6, "bulk": 6,
    "config": 7, "card": 7, "splits": 7, "class_splits": 7, "class_jobs": 7, "writing": 7, "progress": 7, "rundir": 7,
    "stored_corpus": 7, "stored_classes": 7, "class_reading": 7,
    "run_record": 7, "integrations": 7, "environment": 7, "comparison": 7, "reproduction": 7,
    "tracking": 7, "earlier_run": 7, "experiment": 7, "jobs": 7, "sklearn": 7, "cli": 7,
}  # fmt: skip
TORCH_COLUMN = {"nn", "training"}
MAY_USE_TORCH = {
    "bulk",
    "nn",
    "training",
    "comparison",
    "environment",
    "integrations",
    "reproduction",
    "modeldir",
    "predict",
    "experiment",
    "rundir",
    "cli",
    "progress",
    "tracking",
    "sklearn",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def our_rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("nlp_app.")} - {"__version__"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for other in our_rooms(path) - {here}:
        if here in TORCH_COLUMN:
            assert LEVELS.get(other) == 0, f"{here} knows {other}"
        elif other in TORCH_COLUMN:
            assert here in MAY_USE_TORCH, f"{here} knows {other}"
        else:
            assert LEVELS[other] <= LEVELS[here], f"{here} imports {other}, which stands above it"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_language_column_knows_no_torch(path: Path) -> None:
    if room(path) not in MAY_USE_TORCH:
        assert not {name for name in imported(path) if name.split(".")[0] in {"torch", "accelerate"}}


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_is_cheap() -> None:
    assert not loaded_after("import nlp_app, nlp_app.cli") & {
        "torch",
        "transformers",
        "numpy",
        "sklearn",
        "seqeval",
    }


def test_the_tokenizer_needs_no_torch() -> None:
    assert "torch" not in loaded_after("from nlp_app import BasicTokenizer; BasicTokenizer()('a b')")


def test_predicting_never_imports_training() -> None:
    loaded = loaded_after("import nlp_app; nlp_app.load")
    assert "torch" in loaded
    assert not {name for name in loaded if name.startswith(("nlp_app.training", "accelerate", "sklearn", "seqeval"))}


def test_help_loads_nothing_heavy() -> None:
    code = "import nlp_app.cli as c\ntry: c.program(['train', 'ner', '--help'])\nexcept SystemExit: pass"
    assert not loaded_after(code) & {"torch", "numpy", "pydantic", "sklearn"}
