"""Reading data and models writes nothing outside its folder, starts nothing and runs no code of theirs; and the fuzzer
that looks for the contrary runs, finds, and says so."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None and not sys.platform.startswith("linux"),
    reason="atheris is for Linux",
)

# What must be noticed, a line each; `inside` and `outside` are folders.
BREACHES = (
    "open(outside / 'x', 'w')",
    "open(outside / 'there', 'r+')",
    "open(inside / 'link' / 'x', 'wb')",
    "(outside / 'there').unlink()",
    "(inside / 'x').rename(outside / 'y')",
    "(outside / 'new').mkdir()",
    "os.open(outside / 'x', os.O_CREAT | os.O_WRONLY)",
    "os.symlink('a', outside / 'b')",
    "tempfile.mkdtemp(dir=outside)",
    "subprocess.run(['true'])",
    "os.system('true')",
    "os.fork() or os._exit(0)",
    "socket.create_connection(('localhost', 1))",
    "pickle.loads(evil)",
    "marshal.loads(marshal.dumps(compile('1', 'x', 'eval')))",
    "exec(compile('a = 1', str(inside / 'data.py'), 'exec'))",
    "eval('1 + 1')",
    "exec('b = 2')",
    "__import__('evil_module')",
)
# What is none.
HARMLESS = (
    "(inside / 'x').write_text('a')",
    "(inside / 'folder').mkdir(); shutil.rmtree(inside / 'folder')",
    "(outside / 'there').read_text()",
    "dataclasses.make_dataclass('A', ['b'])",
    "collections.namedtuple('A', 'b c')",
    "ast.literal_eval('(1, 2)')",
    "json.loads('[1]')",
)
SCRIPT = """
import ast, collections, dataclasses, json, marshal, os, pickle, shutil, socket, subprocess, sys, tempfile
from pathlib import Path
from fuzz.watch import Breach, Watch

inside, outside = Path(sys.argv[1]), Path(sys.argv[2])
(inside / 'link').symlink_to(outside)
(outside / 'there').write_text('kept')
(inside / 'evil_module.py').write_text('raise SystemExit(3)')
sys.path.insert(0, str(inside))
evil = pickle.dumps(collections.OrderedDict())
watch = Watch(inside)
def missed(act):
    try:
        with watch:
            eval_(act, globals())
        watch.check()
    except Breach:
        watch.breaches.clear()
        return False
    except Exception as error:
        return f'{act}: {error!r}'
    return f'{act}: not noticed'
codes = {}
def eval_(act, names):
    # Compiled beforehand, and run as a function: running code is what is watched.
    codes[act]()
for act in BREACHES + HARMLESS:
    namespace = dict(globals())
    exec('def act(): ' + act, namespace)
    codes[act] = namespace['act']
for act in BREACHES:
    said = missed(act)
    if said:
        print('breach', said)
for act in HARMLESS:
    if missed(act) is False:
        print('harmless', act)
print(sorted(path.name for path in outside.iterdir()), (outside / 'there').read_text())
"""


def test_what_is_noticed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    script = f"BREACHES = {BREACHES!r}\nHARMLESS = {HARMLESS!r}\n{SCRIPT}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(inside), str(outside)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "['there'] kept\n"), done.stdout + done.stderr


def fuzz(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The fuzzer's command."""
    command = [sys.executable, "-m", "fuzz", *arguments, "--corpus", str(tmp_path / "corpus")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@needs_atheris
@pytest.mark.slow
def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    """All targets in one process, and watched: what writes outside its folder or runs code would be found as well."""
    done = fuzz(tmp_path, "mixed", "--runs", "600", "--seed", "1", "--bare")
    found = [path.read_text() for path in tmp_path.rglob("findings/*/*.txt")]
    assert (done.returncode, found) == (0, []), done.stdout + done.stderr
    (name, inputs), *_ = re.findall(r"^\| (\w+) \| ([\d,]+) ", done.stdout, re.MULTILINE)
    assert name == "mixed"
    assert int(inputs.replace(",", "")) >= 600


@needs_atheris
def test_what_is_found_is_kept_with_its_input(tmp_path: Path) -> None:
    from fuzz.engine import guarded, signature

    def run(data: bytes) -> None:
        if data:
            raise {b"a": ValueError("x"), b"b": KeyError("y")}[data[:1]]

    once = guarded(run, lambda: None, tmp_path / "found")
    for data in (b"", b"a1", b"a2", b"b"):
        once(data)
    assert sorted(path.read_bytes() for path in (tmp_path / "found").glob("*.input")) == [b"a1", b"b"]
    assert signature(ValueError()) == "ValueError "
