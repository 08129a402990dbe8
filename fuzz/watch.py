"""What a target must not do, however it is fed: seen by an audit hook, which can't be taken off again.

Written, made, moved or removed may be only what stands below the folder that was given. No program is started, no
connection opened, nothing unpickled, and no code compiled or run but that of installed packages.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType, MappingProxyType
from typing import Any

import fuzz

_FORBIDDEN: tuple[str, ...] = (
    "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.", "pickle.",
    "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.", "http.", "ftplib.",
    "code.__new__", "cpython.run_", "webbrowser.",
)  # fmt: skip
# Events that change files: where among their arguments a path stands, and the open folder that it is relative to.
_CHANGES: Mapping[str, tuple[tuple[int, int | None], ...]] = MappingProxyType({
    "os.chmod": ((0, 2),), "os.chown": ((0, 3),), "os.link": ((0, 2), (1, 3)), "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)), "os.rmdir": ((0, 1),), "os.setxattr": ((0, None),),
    "os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.utime": ((0, 3),), "shutil.copyfile": ((1, None),),
    "shutil.move": ((0, None), (1, None)), "tempfile.mkdtemp": ((0, None),), "tempfile.mkstemp": ((0, None),),
})  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_REPOSITORY = Path(fuzz.__file__).resolve().parent.parent
# What may be imported and run; the repository's packages by name, since data may lie in the repository too.
_TRUSTED = tuple(
    os.path.realpath(path) + os.sep
    for path in (
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        *(str(_REPOSITORY / name) for name in ("nlp_app", "fuzz", "tests")),
    )
)
# Where the standard library and packages write code themselves: classes by dataclasses, constants by ast.literal_eval.
_SYNTHETIC = ("<string>", "<unknown>", "<attrs", "<__array_function__", "<frozen ", "<template>")


class Breach(BaseException):
    """Something was done that must never be done. No `except Exception` hides it."""


class Watch:
    """Whether a target keeps to its folder; switched on by `with`, in one process once for all."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder) + os.sep
        self.breaches: list[str] = []
        self._on = False
        sys.addaudithook(self._seen)

    def __enter__(self) -> Watch:
        self._on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False

    def check(self) -> None:
        """Raises Breach for the first breach since the last check, also one that was caught."""
        if self.breaches:
            first = self.breaches[0]
            self.breaches.clear()
            raise Breach(first)

    def _seen(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        self._on = False  # what is done here isn't looked at
        try:
            breach = self._breach(event, arguments)
        finally:
            self._on = True
        if breach is not None:
            self.breaches.append(breach)
            raise Breach(breach)

    def _breach(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        check = _CHECKS.get(event)
        if check is not None:
            return check(self, arguments)
        if event in _CHANGES:
            paths = [_absolute(arguments, *places) for places in _CHANGES[event]]
            wrong = next((path for path in paths if not self._is_inside(path)), None)
            return None if wrong is None else f"{event} of {wrong!r}"
        return f"{event} {arguments!r}" if event.startswith(_FORBIDDEN) else None

    def _is_inside(self, path: Any) -> bool:
        if isinstance(path, int) or path is None:  # an open file
            return True
        real = os.path.realpath(os.fsdecode(path))
        return (real + os.sep).startswith(self.folder) or real == os.devnull

    def _opened(self, arguments: tuple[Any, ...]) -> str | None:
        path, mode, flags = arguments
        writes = any(letter in (mode or "") for letter in "wax+") or (isinstance(flags, int) and flags & _WRITING)
        return f"{path!r} opened for writing" if writes and not self._is_inside(path) else None

    def _executed(self, arguments: tuple[Any, ...]) -> str | None:
        code: CodeType = arguments[0]
        return None if _is_trusted(code.co_filename) else f"code of {code.co_filename!r} run"

    def _compiled(self, arguments: tuple[Any, ...]) -> str | None:
        name = arguments[1]
        name = name if isinstance(name, str) else os.fsdecode(name or "<unknown>")
        return None if _is_trusted(name) else f"code of {name!r} compiled"

    def _unmarshalled(self, arguments: tuple[Any, ...]) -> str | None:
        return None if _is_importing() else "marshal.loads"

    def _linked(self, arguments: tuple[Any, ...]) -> str | None:
        path = arguments[0]
        if not isinstance(path, str) or not os.path.isabs(path):  # by name: the system's
            return None
        return f"library {path!r} loaded" if path.startswith(self.folder) else None


_CHECKS: Mapping[str, Callable[[Watch, tuple[Any, ...]], str | None]] = MappingProxyType({
    "open": Watch._opened, "exec": Watch._executed, "compile": Watch._compiled, "marshal.loads": Watch._unmarshalled,
    "ctypes.dlopen": Watch._linked,
})  # fmt: skip


def _absolute(arguments: tuple[Any, ...], place: int, opened: int | None) -> Any:
    path, folder = arguments[place], -1 if opened is None else arguments[opened]
    return path if isinstance(path, int) or folder == -1 else os.path.join(f"/proc/self/fd/{folder}", os.fsdecode(path))


def _is_trusted(name: str) -> bool:
    """Whether code of this name belongs to a package, or was written by one that makes code of its own."""
    if name.startswith("<"):
        return name.startswith(_SYNTHETIC) and _maker() is not None
    return os.path.realpath(name).startswith(_TRUSTED)


def _maker() -> str | None:
    """Who runs or compiles code without a file, if that is one of those that do so by themselves."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name in _MAKERS:
            return name
        frame = frame.f_back
    return None


# Modules that write and run code of their own making: classes, signatures, constants of an array's header.
_MAKERS = frozenset(
    ("ast", "attr._make", "collections", "dataclasses", "enum", "functools", "typing", "numpy._core.overrides")
)
_MAKERS |= {"importlib._bootstrap", "importlib._bootstrap_external", "torch._jit_internal", "torch.fx.graph_module"}


def _is_importing() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap_external":
            return True
        frame = frame.f_back
    return False
