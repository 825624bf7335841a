"""A metric of the user's own: a callable, or the name of a function in a module or a file."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import math
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, ClassVar

from rrm_onnx.common import did_you_mean, one_line
from rrm_onnx.distance import Array
from rrm_onnx.errors import MetricError

Function = Callable[[list[Array], list[Array]], Any]
SAME = 1e-3  # how near to 1 the agreement of an answer with itself must be


@dataclasses.dataclass(frozen=True)
class Custom:
    """function(truth, got) -> agreement, 1 = the same answer. What goes wrong in it becomes a MetricError."""

    kind: str
    function: Function
    is_error: ClassVar[bool] = False

    def __call__(self, truth: Sequence[Array], got: Sequence[Array]) -> float:
        try:
            result = self.function(list(truth), list(got))
        except Exception as error:
            where = _place(error)
            raise MetricError(f"metric {self.kind} raised {type(error).__name__}{where}: {one_line(error)}") from error
        try:
            found = math.nan if isinstance(result, str | bytes) else float(result)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not math.isfinite(found):
            shown = repr(result) if isinstance(result, int | float | str) else f"a {type(result).__name__}"
            hint = "return one finite number: 1 for the same answer, 0 for nothing in common"
            raise MetricError(f"metric {self.kind} returned {shown}, not a finite number", hint)
        return found

    def check(self, truth: Sequence[Array]) -> None:
        found = self(truth, truth)
        if abs(found - 1) > SAME:
            hint = "return an agreement, not an error: 1 minus the error, say"
            raise MetricError(f"metric {self.kind} gives {found:g} for an answer and itself, not 1", hint)


def load(spec: str) -> Function:
    """The function of `MODULE:FUNCTION` or `FILE.py:FUNCTION`.

    The working folder and the file's own are put last on the search path, and stay there: the function may import its
    neighbours when it runs, and nothing installed is hidden.
    """
    home, _, name = spec.rpartition(":")
    if not home or not name:
        raise MetricError(f"metric {spec!r} names no function", "write MODULE:FUNCTION or FILE.py:FUNCTION")
    module = _load_file(pathlib.Path(home), spec) if home.endswith(".py") else _load_module(home, spec)
    function: Any = module
    for part in name.split("."):
        if not hasattr(function, part):
            known = [n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n))]
            where = getattr(module, "__file__", None) or home
            raise MetricError(f"metric {spec}: {where} has no {name!r}", did_you_mean(name, known) if known else None)
        function = getattr(function, part)
    if not callable(function):
        raise MetricError(f"metric {spec}: {name!r} is a {type(function).__name__}, not a function")
    return function  # type: ignore[no-any-return]


def _load_module(name: str, spec: str) -> ModuleType:
    _make_importable(os.getcwd())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except Exception as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name in (name, name.partition(".")[0])
        hint = "it is looked for in the working folder too; a file is named as in path/to/metric.py:function"
        raise _unloadable(spec, error, hint if absent else None) from error


def _load_file(path: pathlib.Path, spec: str) -> ModuleType:
    if not path.is_file():
        raise MetricError(f"metric {spec}: no such file: {path}", "check the path")
    _make_importable(os.getcwd())
    _make_importable(str(path.resolve().parent))
    name = f"rrm_onnx_metric_{path.stem}"  # no other module's name
    found = importlib.util.spec_from_file_location(name, path)
    assert found and found.loader  # a .py file has them
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look themselves up there
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _unloadable(spec, error) from error
    return module


def _make_importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)


def _unloadable(spec: str, error: Exception, hint: str | None = None) -> MetricError:
    return MetricError(f"metric {spec} does not load: {type(error).__name__}: {one_line(error)}", hint)


def _place(error: Exception) -> str:
    """Where an exception was raised: " in FILE, line N"; empty where no Python code of the user's is known."""
    trace = error.__traceback__.tb_next if error.__traceback__ else None  # the first frame is ours
    if trace is None:
        return ""
    while trace.tb_next:
        trace = trace.tb_next
    return f" in {os.path.basename(trace.tb_frame.f_code.co_filename)}, line {trace.tb_lineno}"
