"""Is everything here that a converted model needs? `examine` looks, without changing anything."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import platform
import sys
from typing import Any, Literal

State = Literal["ok", "missing", "broken"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing looked at. `needed`: converted models do not run without it. `hint`: how to get it."""

    name: str
    state: State
    value: str
    needed: bool = False
    hint: str | None = None

    @property
    def is_problem(self) -> bool:
        return self.needed and self.state != "ok"

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


# distribution, import name, needed, what to install when it is absent
PACKAGES = (
    ("numpy", "numpy", True, "pip install rrm_onnx"),
    ("onnx", "onnx", True, "pip install rrm_onnx"),
    ("onnx-graphsurgeon", "onnx_graphsurgeon", True, "pip install rrm_onnx"),
    ("av", "av", False, 'pip install "rrm_onnx[video]" to read clips'),
    ("pillow", "PIL", False, 'pip install "rrm_onnx[demo]" for the demo'),
    ("rapidocr", "rapidocr", False, 'pip install "rrm_onnx[demo]" for the demo'),
)
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")  # both install the module `onnxruntime`
INSTALL_RUNTIME = 'pip install "rrm_onnx[cpu]" (or "rrm_onnx[gpu]" on a machine with a GPU)'


def examine() -> list[Finding]:
    """Everything that matters to a converted model on this machine, the essentials first."""
    findings = [
        Finding("python", "ok", f"{platform.python_version()} on {sys.platform} {platform.machine()}"),
        Finding("rrm_onnx", "ok", _version("rrm_onnx") or "not installed, run from its source"),
        _runtime(),
        *_library(),
        *_gpu(),
    ]
    return findings + [_package(*row) for row in PACKAGES]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(distribution: str, module: str, needed: bool, hint: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(distribution, "missing", "not installed", needed, hint)
    return Finding(distribution, "ok", _version(distribution) or "installed", needed)


def _runtime() -> Finding:
    installed = [f"{name} {version}" for name in RUNTIMES if (version := _version(name))]
    try:
        import onnxruntime
    except ImportError as error:
        if installed:  # e.g. a missing shared library of the operating system
            return Finding("onnxruntime", "broken", f"{installed[0]} does not load: {error}", True, INSTALL_RUNTIME)
        return Finding("onnxruntime", "missing", "not installed", True, INSTALL_RUNTIME)
    if len(installed) > 1:
        hint = "pip uninstall both, then install one of them: they overwrite each other's files"
        return Finding("onnxruntime", "broken", " and ".join(installed), True, hint)
    return Finding("onnxruntime", "ok", installed[0] if installed else str(onnxruntime.__version__), True)


def _library() -> list[Finding]:
    """The shared library: where it is, its version, whether onnxruntime takes it, its instruction-set level."""
    from rrm_onnx import runtime
    from rrm_onnx.errors import RrmError

    try:
        path = runtime.library_path()
        version = runtime.query("version")
        isa = runtime.query("isa")
    except RrmError as error:
        return [Finding("library", "broken", error.message, True, error.hint)]
    available = ", ".join(isa.get("available", []))
    findings = [
        Finding("library", "ok", f"{version.get('version')} at {path}", True),
        Finding("instruction set", "ok", f"{isa.get('chosen')} (available: {available}; RRM_ISA chooses)"),
        Finding("CPU features", "ok", ", ".join(isa.get("features", [])) or "none that matters"),
    ]
    try:
        import onnxruntime
    except ImportError:
        return findings
    try:
        runtime.register(onnxruntime.SessionOptions())
    except Exception as error:  # onnxruntime's exceptions share no base below Exception
        hint = getattr(error, "hint", None) or "install onnxruntime 1.17 or newer"
        findings.append(Finding("registration", "broken", str(error).strip(), True, hint))
    else:
        findings.append(Finding("registration", "ok", "onnxruntime takes the library", True))
    return findings


def _gpu() -> list[Finding]:
    try:
        import onnxruntime
    except ImportError:
        return []
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [Finding("GPU", "ok", "onnxruntime has the CUDA provider; converted models run on the CPU for now")]
    return [Finding("GPU", "ok", "none; converted models run on the CPU")]
