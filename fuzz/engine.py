"""One target under atheris, in a process of its own: libFuzzer leaves it by ending it.

Faults don't stop it: each new one, told apart by its kind and where it was raised, is kept with its input. What ends
the process all the same (memory, time, a crash in compiled code) libFuzzer keeps.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import logging
import os
import pkgutil
import resource
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

MEMORY = 3 << 30  # bytes that a target may reserve beyond what it starts with
_OPTIONAL = ("nlp_app.integrations",)  # need an extra


def guarded(run: Callable[[bytes], None], check: Callable[[], None], findings: Path) -> Callable[[bytes], None]:
    """The target, with faults written down instead of raised."""
    known: set[str] = set()

    def once(data: bytes) -> None:
        try:
            run(data)
            check()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of a Rust library is no Exception
            found = signature(error)
            if found not in known:
                known.add(found)
                name = hashlib.sha256(found.encode()).hexdigest()[:12]
                findings.mkdir(parents=True, exist_ok=True)
                (findings / f"{name}.input").write_bytes(data)
                text = "".join(traceback.format_exception(error))
                (findings / f"{name}.txt").write_text(f"{found}\n\n{text}", encoding="utf-8", errors="backslashreplace")

    return once


def signature(error: BaseException) -> str:
    """What kind of fault it is: the error's type, and the last place in this repository that it went through."""
    frames = [
        f"{Path(frame.filename).name}:{frame.name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "/nlp_app/" in frame.filename or "/fuzz/" in frame.filename
    ]
    return f"{type(error).__name__} {' '.join(frames[-2:])}"


def limit_memory() -> None:
    """A shape that asks for gigabytes is a MemoryError, and so a fault."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _load_everything() -> None:
    """Instrumented, and before anything is watched: later imports would be written down as code that was run."""
    import nlp_app  # noqa: PLC0415

    for module in pkgutil.walk_packages(nlp_app.__path__, "nlp_app."):
        if not module.name.startswith(_OPTIONAL):
            importlib.import_module(module.name)


def main() -> None:
    """Fuzz the target that is named until libFuzzer ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--bare", action="store_true", help="not instrumented: it starts sooner")
    arguments, others = parser.parse_known_args()
    warnings.simplefilter("ignore")
    logging.disable()
    if not arguments.bare:
        with atheris.instrument_imports(include=["nlp_app", "tomllib"], enable_loader_override=False):
            _load_everything()
    from fuzz.folder import folder  # noqa: PLC0415
    from fuzz.targets import target_named  # noqa: PLC0415
    from fuzz.watch import Watch  # noqa: PLC0415

    target = target_named(arguments.target)
    beginnings = target.seeds()
    for data in beginnings[::8]:  # imports and caches that wait for their first use
        try:
            target.run(data)
        except Exception:  # noqa: BLE001 - found again below
            continue
    watch = Watch(folder())

    def watched(data: bytes) -> None:
        with watch:
            target.run(data)

    run = guarded(watched, watch.check, arguments.findings)
    limit_memory()
    for data in beginnings:
        run(data)
    atheris.Setup([sys.argv[0], *others], run)
    sys.stderr.flush()
    os.environ.pop("PYTHONWARNINGS", None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
