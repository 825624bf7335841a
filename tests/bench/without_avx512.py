"""onnxruntime as on a processor without AVX-512: gdb hides the processor's flags from its library.

    gdb -batch -x tests/bench/without_avx512.py --args python SCRIPT ARGUMENTS

onnxruntime asks the processor (the instruction cpuid) when it is loaded, and has no setting to choose less than there
is. Nothing else is touched, and nothing stops once the library is loaded: it runs at its full speed. The library of
rrm_onnx is told with RRM_ISA=avx2, or --isa avx2. Needs gdb with Python, and objdump.
"""

import re
import subprocess

import gdb  # type: ignore[import-not-found]

LIBRARY = "onnxruntime_pybind11_state"
FEATURES = 7  # cpuid's leaf of extended features
# ebx: F, DQ, IFMA, CD, BW, VL; ecx: VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; edx: 4VNNIW, 4FMAPS, VP2INTERSECT, FP16, AMX.
EBX = sum(1 << bit for bit in (16, 17, 21, 28, 30, 31))
ECX = sum(1 << bit for bit in (1, 6, 11, 12, 14))
EDX = sum(1 << bit for bit in (2, 3, 8, 22, 23, 24, 25))
hidden = 0


def questions(path: str) -> list[int]:
    """Offsets of all cpuid instructions of a library."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True
    ).stdout
    return [int(m, 16) for m in re.findall(r"^\s*([0-9a-f]+):\s+cpuid", listing, re.MULTILINE)]


def library() -> tuple[int, str]:
    """Where it was loaded, and its file."""
    for line in gdb.execute("info proc mappings", to_string=True).splitlines():
        if LIBRARY in line:
            words = line.split()
            return int(words[0], 16), words[-1]
    raise gdb.GdbError(f"{LIBRARY} was not loaded")


def register(name: str) -> int:
    return int(gdb.parse_and_eval(f"${name}")) & 0xFFFFFFFF


def answer() -> None:
    """Let one cpuid happen, and take from its answer what is to be hidden."""
    global hidden
    asked = register("eax"), register("ecx")
    gdb.execute("stepi", to_string=True)
    if asked[0] == FEATURES:
        masks = {"rbx": EBX, "rcx": ECX, "rdx": EDX} if asked[1] == 0 else {"rax": 1 << 5}  # AVX512_BF16
        for name, mask in masks.items():
            gdb.execute(f"set ${name} = {register('e' + name[1:]) & ~mask}")
        hidden += 1


def main() -> None:
    for setting in ("pagination off", "confirm off", "print thread-events off", "debuginfod enabled off"):
        gdb.execute(f"set {setting}")
    gdb.execute(f"catch load {LIBRARY}", to_string=True)
    gdb.execute("run", to_string=True)
    start, path = library()
    gdb.execute("delete", to_string=True)
    places = {start + offset for offset in questions(path)}
    for place in places:
        gdb.Breakpoint(f"*{place}", internal=True).silent = True
    while True:
        gdb.execute("continue", to_string=True)
        if gdb.selected_inferior().pid == 0:
            break
        if int(gdb.parse_and_eval("$pc")) & (2**64 - 1) in places:
            answer()
    print(f"{hidden} answers of the processor were changed")


main()
