"""The floors: which folder may import which, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nlp_app"
FLOORS = {
    "core": 0,
    "numerics": 1,
    "formats": 2, "text": 2, "labels": 2, "storage": 2, "config": 2, "nn": 2, "engine": 2, "runtime": 2,
    "data": 3, "features": 3, "metrics": 3,
    "models": 4,
    "inference": 5,
    "reports": 6, "integrations": 6,
    "commands": 7, "training": 7,
    "cli": 8, "sklearn": 8,
}  # fmt: skip
ENGINE_USERS = {"training", "commands", "sklearn", "cli"}
TORCH_USERS = {"nn", "engine", "models", "inference", "integrations", "training", "commands", "sklearn", "cli"}


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


EVERY_MODULE = pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))


def test_every_folder_has_a_floor() -> None:
    assert {room(path) for path in modules()} == {"__init__", *FLOORS}


@EVERY_MODULE
def test_imports_go_strictly_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for other in our_rooms(path) - {here}:
        assert FLOORS[other] < FLOORS[here], f"{here} imports {other}, which is not below it"
        assert other not in ("engine", "training") or here in ENGINE_USERS, f"{here} imports {other}"


@EVERY_MODULE
def test_torch_stays_where_it_is_allowed(path: Path) -> None:
    if room(path) not in TORCH_USERS:
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
    assert "numpy" in loaded
    assert "torch" not in loaded
    assert not {name for name in loaded if name.startswith(("nlp_app.engine", "accelerate", "sklearn", "seqeval"))}


def test_help_loads_nothing_heavy() -> None:
    code = "import nlp_app.cli as c\ntry: c.program(['train', 'ner', '--help'])\nexcept SystemExit: pass"
    assert not loaded_after(code) & {"torch", "numpy", "pydantic", "sklearn"}
