"""Docstrings and documents keep to plain technical English."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "nlp_app").rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# First words of a docstring that hide the noun or the verb.
HIDING = {"What", "Whether", "Where", "Which", "Of", "How"}

# Words that a reader has to decode, by the plain ones.
RULED_OUT = {
    r"what is (?!\b(?:a|an|the)\b[^.]*\?)": "name the noun",
    r"\bof (?:which|whom)\b|\bof (?:these|those)\b(?! [a-z-]+s\b)": "name the noun",
    r"\bas \S+(?: \S+)? ha(?:s|ve) it\b": "as in ...",
    r"\bis none\b": "there is no ..., is not",
    r"\bsuch\b(?! as\b)": "this, these, like this",
    r"\blikewise\b": "also, the same",
    r"\blet go of\b": "release",
    r"\bin hand\b": "open, current",
    r"\bbeside\b": "next to, in addition to",
    r"\b(?:take|takes|taken|taking|took) up\b": "load, resume",
    r"\b(?:leave|leaves|left|leaving|put|puts|set|sets|writes?|written) aside\b": "skip, ignore, stash, temporary file",
    r"\b(?:put|puts|putting) in place\b": "save, replace",
    r"\b(?:go|goes|going|went|gone) on (?:from|with)\b": "resume, continue",
    r"\bto go on\b": "to resume, to continue",
    r"\b(?:is|are|was|were|be) (?:told|said)\b(?! apart)": "report, log",
    r"\bwhoever\b": "name the actor",
    r"\bwhatever\b": "any, all",
    r"\band (?:its|their) kin\b": "and similar",
}


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST, bool]]:
    """All modules, classes and functions that may have a docstring, with their names; and if the name is public."""
    yield "module", tree, True
    nodes: list[tuple[ast.AST, str, bool]] = [(tree, "", True)]
    while nodes:
        node, prefix, public = nodes.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                name = f"{prefix}{child.name}"
                is_public = public and not child.name.startswith("_") and not isinstance(node, ast.FunctionDef)
                yield name, child, is_public
                nodes.append((child, f"{name}.", is_public))
            else:
                nodes.append((child, prefix, public))


def missing_sections(function: ast.FunctionDef, docstring: str) -> Iterator[str]:
    """The sections that a public function needs and its docstring lacks."""
    decorators = [ast.unparse(each) for each in function.decorator_list]
    if any(re.search(r"overload|property|\.setter|command|option|argument", each) for each in decorators):
        return  # click shows a command's docstring as its help
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [each.arg for each in (arguments.vararg, arguments.kwarg) if each is not None]
    if [name for name in names if name not in {"self", "cls"}] and "\nArgs:\n" not in docstring:
        yield "Args"
    result = ast.unparse(function.returns) if function.returns is not None else "None"
    if result.startswith(("Iterator", "Generator")):
        if not re.search(r"^(?:Yields|Returns):\n", docstring, re.MULTILINE):
            yield "Yields"
    elif result not in {"None", "NoReturn"} and "\nReturns:\n" not in docstring:
        yield "Returns"


def problems(path: Path) -> Iterator[str]:
    """The places in a module's docstrings that break a rule."""
    for name, node, is_public in definitions(ast.parse(path.read_text(encoding="utf-8"))):
        docstring = ast.get_docstring(node)  # type: ignore[arg-type]
        if docstring is None:
            continue
        if docstring.split()[0].strip("`*.,:") in HIDING:
            yield f"{name}: begins with {docstring.split()[0]!r}"
        for pattern, plain in RULED_OUT.items():
            if match := re.search(pattern, docstring):
                yield f"{name}: found {match[0]!r}, expected plain words ({plain})"
        if is_public and isinstance(node, ast.FunctionDef):
            for section in missing_sections(node, f"\n{docstring}\n"):
                yield f"{name}: no section `{section}:`"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings(path: Path) -> None:
    assert list(problems(path)) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = [(match[0], plain) for pattern, plain in RULED_OUT.items() for match in re.finditer(pattern, text)]
    assert found == []
