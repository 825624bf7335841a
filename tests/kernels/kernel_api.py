"""The kernels' C structs for ctypes, and the build of the test library.

The structs mirror custom_ops/kernels/table.h field by field; `Kernels` checks its last pointer by calling it.
"""

import ctypes as ct
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "custom_ops" / "kernels"
FLAGS = ["-std=c++20", "-O2", "-fPIC", "-ffp-contract=off", "-fno-exceptions", "-fno-rtti", f"-I{SOURCES}"]
AVX512_FLAGS = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma"]
LEVEL_FLAGS = {
    "target_avx2": ["-mavx2", "-mfma"],
    "target_avx512": AVX512_FLAGS,
    "target_amx": [*AVX512_FLAGS, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"],
}
# The levels that a machine of an architecture may have.
LEVELS = {"x86_64": ["portable", "avx2", "avx512", "amx"], "aarch64": ["portable", "neon"]}.get(
    platform.machine(), ["portable"]
)
# Those that the tests ask for: amx is in few machines, and a skipped test for each case would hide the others.
CPUINFO = Path("/proc/cpuinfo")
TESTED = [x for x in LEVELS if x != "amx" or not CPUINFO.exists() or "amx_tile" in CPUINFO.read_text()]
# Libraries with an amx level that needs no such processor (emulated_amx.cc), with the flags of single sources.
EMULATIONS = {
    "portable": {"emulated_amx": []},
    "avx512": {"emulated_amx": [*AVX512_FLAGS, "-mavx512bf16"]},
    "trapped": {"emulated_amx": ["-DRRM_TRAPS"], "trap_tiles": []},
}
ACTIVATIONS = (
    "none relu leaky_relu prelu clip sigmoid hard_sigmoid hard_swish silu tanh gelu elu abs neg "
    "exp sqrt erf softplus mish sign log gelu_tanh square"
).split()
BINARY_OPS = "add sub mul div max min pow".split()
GATES = "all exact rms".split()

i32, i64, f32, ptr = ct.c_int32, ct.c_int64, ct.c_float, ct.c_void_p


def _struct(name: str, fields: str) -> type[ct.Structure]:
    kinds = {"i": i32, "l": i64, "f": f32, "p": ptr, "b": ct.c_bool}
    pairs = [field.split(":") for field in fields.split()]
    return type(name, (ct.Structure,), {"_fields_": [(field, kinds[kind]) for field, kind in pairs]})


Activation = _struct("Activation", "kind:i a:f b:f slopes:p")
GemmArgs = _struct(
    "GemmArgs", "rows:p rows_stride:l lens:p pieces:i sites:i packed:p k:i n:i out:p out_stride:l ahead:p fetches:b"
)
GemmAddArgs = _struct("GemmAddArgs", "rows:p outs:p sites:i packed:p k:i n:i first:i count:i column:i")
DepthwiseArgs = _struct(
    "DepthwiseArgs", "rows:p rows_stride:l taps:i sites:i w:p w_stride:l bias:p c:i out:p out_stride:l"
)
RunArgs = _struct(
    "RunArgs",
    "bands:p kernel_h:i kernel_w:i column:i width:i stride:i dilation:i pitch:l sites:i w:p w_stride:l bias:p c:i "
    "out:p out_stride:l ahead:p",
)
WindowArgs = _struct("WindowArgs", "rows:p rows_stride:l taps:i sites:i weights:p c:i out:p out_stride:l")
BinaryArgs = _struct(
    "BinaryArgs", "op:i a:p a_stride:l a_wide:b b:p b_stride:l b_wide:b sites:i c:i out:p out_stride:l"
)
RowArgs = _struct("RowArgs", "rows:p row_stride:l sites:i c:i out:p")
LrnParameters = _struct("LrnParameters", "size:i alpha:f beta:f bias:f")
CommitArgs = _struct("CommitArgs", "fresh:p held:p sites:i c:i gate:i limit:f bits:p deltas:p")
CommitRowsArgs = _struct("CommitRowsArgs", "fresh:p held:p sites:i c:i gate:i limit:f bits:p")
CommitPlanarArgs = _struct("CommitPlanarArgs", "x:p plane:l room:p held:p sites:i c:i gate:i limit:f bits:p")


class Kernels(ct.Structure):
    _fields_ = [
        ("name", ct.c_char_p),
        ("gemm_packed_floats", ct.CFUNCTYPE(i64, i32, i32)),
        ("gemm_pack", ct.CFUNCTYPE(None, ptr, i32, i32, ptr, ptr)),
        ("gemm", ct.CFUNCTYPE(None, ct.POINTER(GemmArgs))),
        ("gemm_add", ct.CFUNCTYPE(None, ct.POINTER(GemmAddArgs))),
        ("gemm_tile", i32),
        ("depthwise", ct.CFUNCTYPE(None, ct.POINTER(DepthwiseArgs))),
        ("depthwise_run", ct.CFUNCTYPE(None, ct.POINTER(RunArgs))),
        ("window_max", ct.CFUNCTYPE(None, ct.POINTER(WindowArgs))),
        ("window_max_run", ct.CFUNCTYPE(None, ct.POINTER(RunArgs))),
        ("window_weighted", ct.CFUNCTYPE(None, ct.POINTER(WindowArgs))),
        ("binary", ct.CFUNCTYPE(None, ct.POINTER(BinaryArgs))),
        ("activate", ct.CFUNCTYPE(None, ptr, i32, i32, ct.POINTER(Activation))),
        ("softmax", ct.CFUNCTYPE(None, ct.POINTER(RowArgs), ct.c_bool)),
        ("layer_norm", ct.CFUNCTYPE(None, ct.POINTER(RowArgs), ptr, ptr, f32)),
        ("lrn", ct.CFUNCTYPE(None, ct.POINTER(RowArgs), ct.POINTER(LrnParameters))),
        ("arg_max", ct.CFUNCTYPE(None, ct.POINTER(RowArgs), ct.c_bool)),
        ("commit", ct.CFUNCTYPE(i64, ct.POINTER(CommitArgs))),
        ("commit_rows", ct.CFUNCTYPE(i64, ct.POINTER(CommitRowsArgs))),
        ("commit_planar", ct.CFUNCTYPE(i64, ct.POINTER(CommitPlanarArgs))),
        ("to_planar", ct.CFUNCTYPE(None, ptr, i64, i32, i32, ptr, i64)),
        ("gather_channels", ct.CFUNCTYPE(None, ptr, i64, i32, ptr, i32, ptr, i64)),
        ("row_sum", ct.CFUNCTYPE(None, ptr, i64, i32, i32, ptr)),
        ("row_max", ct.CFUNCTYPE(None, ptr, i64, i32, i32, ptr)),
        ("sum_squares", ct.CFUNCTYPE(ct.c_double, ptr, i64)),
        ("u8_to_f32", ct.CFUNCTYPE(None, ptr, i64, ptr)),
    ]


def compiler() -> str | None:
    """The C++ compiler: CXX, else g++ or clang++ where found."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


def run_tool(command: list[str]) -> None:
    """Runs a compiler or linker; what it printed is the error's text."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def object_file(folder: Path, source: Path, flags: list[str]) -> Path:
    """Compiles one source; returns the object's path."""
    target = folder / f"{source.stem}.o"
    command = [str(compiler()), *flags, *LEVEL_FLAGS.get(source.stem, []), "-c", str(source), "-o", str(target)]
    run_tool(command)
    return target


def build(emulation: str = "") -> Path:
    """The folder of the test library and its objects; built once per state of the sources, kept in the temp folder.

    emulation: one of EMULATIONS, for an amx level that needs no such processor.
    """
    own = EMULATIONS.get(emulation, {}) | ({"cpu_features": ["-Dcpu_features=found_features"]} if emulation else {})
    sources = [*SOURCES.glob("*.cc"), HERE / "driver.cc", *(HERE / f"{name}.cc" for name in own)]
    sources = sorted(path for path in sources if path.exists())
    if emulation in ("portable", "avx512"):
        sources.remove(SOURCES / "target_amx.cc")
    digest = hashlib.sha256(repr((compiler(), FLAGS, LEVEL_FLAGS, own)).encode())
    for path in [*sources, *sorted(SOURCES.glob("*.h")), *sorted(HERE.glob("*.h"))]:
        digest.update(path.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"rrm_kernels_{os.getuid()}_{digest.hexdigest()[:16]}"
    if not (folder / "kernels.so").exists():
        work = Path(tempfile.mkdtemp(prefix="rrm_kernels_"))
        special = [source for source in sources if source.stem in own] or sources
        common = [build() / f"{source.stem}.o" for source in sources if source not in special]
        with ThreadPoolExecutor(2) as pool:
            flags = [[*FLAGS, *own.get(source.stem, [])] for source in special]
            objects = [*pool.map(lambda each: object_file(work, *each), zip(special, flags, strict=True)), *common]
        command = [str(compiler()), "-shared", *map(str, objects), "-lm", "-o", str(work / "kernels.so")]
        run_tool(command)
        try:
            work.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(work)
    return folder


class Library:
    """The loaded test library: tables by name, names best first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lib = ct.CDLL(str(folder / "kernels.so"))
        self.lib.kernels_named.restype = ct.POINTER(Kernels)
        self.lib.kernels_available.restype = ct.POINTER(Kernels)
        self.lib.feature_names.restype = ct.c_char_p

    def table(self, name: str) -> Kernels:
        found = self.lib.kernels_named(name.encode())
        if not found:
            raise KeyError(name)
        return found.contents

    def names(self) -> list[str]:
        """Levels of this machine, best first."""
        names: list[str] = []
        while table := self.lib.kernels_available(len(names)):
            names.append(table.contents.name.decode())
        return names
