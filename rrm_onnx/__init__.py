"""Convert a CNN in ONNX form into one that, fed a video frame by frame, computes only what changed.

    import rrm_onnx

    converted = rrm_onnx.convert("model.onnx", tolerance=0.02)
    session = rrm_onnx.InferenceSession(converted.SerializeToString())
    for frame in frames:
        outputs = session.run(None, {"input": frame})

Everything here is loaded on first use: importing the package needs neither onnxruntime nor a graph library, running
a converted model needs no graph library.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from rrm_onnx.errors import RrmError

if TYPE_CHECKING:
    from rrm_onnx.calibrate import calibrate
    from rrm_onnx.pipeline import convert
    from rrm_onnx.runtime import library_path, register
    from rrm_onnx.session import InferenceSession
    from rrm_onnx.verify import Report, verify

__version__ = "0.1.0"

__all__ = [
    "InferenceSession",
    "Report",
    "RrmError",
    "__version__",
    "calibrate",
    "convert",
    "library_path",
    "register",
    "verify",
]

# public name -> module that defines it. `verify` and `calibrate` are also names of modules: the public name is the
# function, `from rrm_onnx.verify import ...` reaches the rest of the module.
_HOMES = {
    "InferenceSession": "rrm_onnx.session",
    "Report": "rrm_onnx.verify",
    "calibrate": "rrm_onnx.calibrate",
    "convert": "rrm_onnx.pipeline",
    "library_path": "rrm_onnx.runtime",
    "register": "rrm_onnx.runtime",
    "verify": "rrm_onnx.verify",
}


class _Package(types.ModuleType):
    """This package, whose public names are never overwritten by the modules of the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):  # the import system binds submodules
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rrm_onnx' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


sys.modules[__name__].__class__ = _Package
