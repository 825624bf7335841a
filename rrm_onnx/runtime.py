"""The shared library on the Python side: where it is, what it says of itself, how ONNX Runtime gets to know it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import json
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import rrm_onnx
from rrm_onnx.errors import RrmError, RuntimeMissingError

if TYPE_CHECKING:
    import onnxruntime

    from rrm_onnx.session import InferenceSession as InferenceSession

LIBRARY = "librrm_ort.dylib" if sys.platform == "darwin" else "librrm_ort.so"
OLDEST_RUNTIME = (1, 17)
INSTALL_RUNTIME = 'pip install "rrm_onnx[cpu]"'
REINSTALL = "install the package again: pip install ."
OVERRIDE = "the environment variable RRM_LIBRARY must name the built library; unset it to use the installed one"

# Options that know the library, with the id of the group that their registration made. ONNX Runtime would accept a
# second registration and then refuse the session.
_groups: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def __getattr__(name: str) -> Any:
    if name == "InferenceSession":  # not imported above: it needs onnxruntime
        from rrm_onnx.session import InferenceSession

        return InferenceSession
    raise AttributeError(f"module 'rrm_onnx.runtime' has no attribute {name!r}")


def library_path() -> str:
    """Path of the shared library for `SessionOptions.register_custom_ops_library`.

    The environment variable RRM_LIBRARY names another file than the installed one. RuntimeMissingError when there is
    no such file, or when it was built for another version of this package.
    """
    path = _find_library()
    _load(path)
    return path


def register(session_options: onnxruntime.SessionOptions) -> None:
    """Make the operators of the `rrm` domain known to sessions created with these options; once is enough.

    All sessions created with the same options share one state report: see `InferenceSession.stats`.
    RrmError when ONNX Runtime is too old or the library refuses (RRM_ISA names a level that is not there).
    """
    register_group(session_options)


def register_group(session_options: onnxruntime.SessionOptions) -> int:
    """As `register`; the id of the options' group, for `query`."""
    onnxruntime = import_onnxruntime()
    if not isinstance(session_options, onnxruntime.SessionOptions):
        raise RrmError(f"register expects onnxruntime.SessionOptions, not {type(session_options).__name__}")
    path = library_path()
    with _lock:
        group = _groups.get(session_options)
        if group is None:
            try:
                session_options.register_custom_ops_library(path)
            except Exception as error:  # onnxruntime's exceptions share no base below Exception
                raise _refusal(error) from error
            group = _groups[session_options] = int(query("group")["group"])
    return group


def query(request: str) -> dict[str, Any]:
    """Ask the library: `version`, `isa`, `group`, `stats N`, `reset_stats N`, `reset N`, `phases N 0|1` (N: a group).

    RrmError when the library does not know the request or the group.
    """
    function = _load(_find_library())
    size = 1 << 16
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = function(request.encode(), buffer, size)
        if needed < 0:
            level = os.environ.get("RRM_ISA") if request == "isa" else None
            hint = f"RRM_ISA={level} may not be a level of this machine: unset it" if level else None
            raise RrmError(f"the library does not answer the request {request!r}", hint)
        if needed <= size:
            break
        size = 2 * needed  # with room: the answer may grow between two calls
    return dict(json.loads(buffer.value.decode()))


def import_onnxruntime() -> Any:
    """The module `onnxruntime`; RuntimeMissingError when it is absent, does not load or is older than 1.17."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise RuntimeMissingError(f"onnxruntime does not load: {error}", INSTALL_RUNTIME) from error
        hint = f'{INSTALL_RUNTIME} (or "rrm_onnx[gpu]" for onnxruntime-gpu)'
        raise RuntimeMissingError("onnxruntime is not installed", hint) from None
    except ImportError as error:
        raise RuntimeMissingError(f"onnxruntime does not load: {error}", INSTALL_RUNTIME) from error
    check_runtime_version(str(onnxruntime.__version__))
    return onnxruntime


def check_runtime_version(version: str) -> None:
    """RuntimeMissingError when `version` (as in `onnxruntime.__version__`) is older than this package supports."""
    parts = version.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return  # a build of its own: the library asks the runtime itself
    if (int(parts[0]), int(parts[1])) < OLDEST_RUNTIME:
        oldest = ".".join(map(str, OLDEST_RUNTIME))
        raise RuntimeMissingError(
            f"onnxruntime {version} is too old: {oldest} or newer is needed", f'pip install "onnxruntime>={oldest}"'
        )


def _find_library() -> str:
    override = os.environ.get("RRM_LIBRARY")
    if override:
        if not os.path.isfile(override):
            raise RuntimeMissingError(f"RRM_LIBRARY names a file that does not exist: {override}", OVERRIDE)
        return os.path.abspath(override)
    candidates = [os.path.join(folder, LIBRARY) for folder in rrm_onnx.__path__]
    # A source tree, found first by a process that runs in it, hides the installed package that has the library.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        installed = importlib.metadata.distribution("rrm_onnx")
        candidates.append(str(installed.locate_file(f"rrm_onnx/{LIBRARY}")))
    for path in candidates:
        if os.path.isfile(path):
            return os.path.abspath(path)
    raise RuntimeMissingError(f"the library {LIBRARY} is missing from {os.path.dirname(candidates[0])}", REINSTALL)


@functools.cache
def _load(path: str) -> Any:
    """The library's `RrmQuery`, after a check that library and package belong together."""
    hint = OVERRIDE if os.environ.get("RRM_LIBRARY") else REINSTALL
    try:
        function = ctypes.CDLL(path).RrmQuery
    except OSError as error:
        raise RuntimeMissingError(f"the library does not load: {error}", hint) from error
    except AttributeError:
        raise RuntimeMissingError(f"{path} is not the library of rrm_onnx: it has no RrmQuery", hint) from None
    function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int64)
    function.restype = ctypes.c_int64
    buffer = ctypes.create_string_buffer(256)
    known = function(b"version", buffer, len(buffer)) > 0
    version = json.loads(buffer.value.decode()).get("version") if known else None
    if version != rrm_onnx.__version__:
        raise RuntimeMissingError(
            f"the library {path} is of version {version}, the package of version {rrm_onnx.__version__}", hint
        )
    return function


def _refusal(error: Exception) -> RrmError:
    """The library's own sentence and hint, taken out of onnxruntime's exception."""
    text, _, hint = str(error).partition("\nhint: ")
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return RrmError(text.strip() or "onnxruntime refused the library", hint.strip() or None)
