#!/usr/bin/env python3
"""Instruction counts of the kernels under valgrind: a regression figure that no other load on the machine disturbs.

    python tests/kernels/counts.py             counts beside the baseline
    python tests/kernels/counts.py --update    writes them into the baseline

The baseline, counts.json, has a part for each compiler version and architecture: {"gcc 12.2.0, x86_64": {"avx2":
{case: instructions}}}. AVX-512 is not in it: valgrind does not have it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import kernel_api

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "counts.json"
LEVELS = ("avx2", "portable")
ALLOWED = 0.03  # growth: a step of the compiler's, or of memcpy in another C library
PREFIX = "count_"
Counts = dict[str, int]


class Unavailable(Exception):
    """Why nothing can be counted here, in one line."""


def compiler_name() -> str:
    """What the instructions depend on besides the sources, as in 'gcc 12.2.0, x86_64'."""
    command = [str(kernel_api.compiler()), "-dM", "-E", "-x", "c++", os.devnull]
    defined = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    macros = dict(line.split(" ", 2)[1:] for line in defined.splitlines() if line.count(" ") >= 2)
    if "__clang__" in macros:
        version = ".".join(macros[f"__clang_{part}__"] for part in ("major", "minor", "patchlevel"))
        return f"clang {version}, {platform.machine()}"
    version = ".".join(macros[f"__GNUC{part}__"] for part in ("", "_MINOR", "_PATCHLEVEL"))
    return f"gcc {version}, {platform.machine()}"


def build(objects: Path, folder: Path) -> Path:
    """The driver counts.cc in `folder`, with the kernels' objects that kernel_api.build made."""
    own = kernel_api.object_file(folder, HERE / "counts.cc", kernel_api.FLAGS)
    kernels = [str(path) for path in sorted(objects.glob("*.o")) if path.stem != "driver"]
    kernel_api.run_tool([str(kernel_api.compiler()), str(own), *kernels, "-lm", "-o", str(folder / "counts")])
    return folder / "counts"


def count(driver: Path, level: str) -> Counts:
    """Instructions of every case of counts.cc at this level. Raises Unavailable."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise Unavailable("valgrind is not installed")
    out = driver.parent / f"{level}.callgrind"
    plain = ["--compress-strings=no", "--compress-pos=no"]
    command = [valgrind, "-q", "--tool=callgrind", f"--callgrind-out-file={out}", *plain, str(driver), level]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        what = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        raise Unavailable(f"{level} under valgrind: {what}")
    return inclusive(out.read_text().splitlines())


def inclusive(lines: Iterable[str]) -> Counts:
    """Instructions of each function count_NAME with all that it calls, out of callgrind's uncompressed format.

    Below `fn=` stand lines `position cost`: the function's own, and behind each `calls=` that of the called.
    """
    found: Counts = {}
    name = ""
    for line in lines:
        if line.startswith("fn="):
            name = line[3:]
        elif name.startswith(PREFIX) and line[:1].isdigit():
            found[name.removeprefix(PREFIX)] = found.get(name.removeprefix(PREFIX), 0) + int(line.split()[1])
    return found


def load() -> dict[str, dict[str, Counts]]:
    return json.loads(BASELINE.read_text()) if BASELINE.exists() else {}


def grown(now: Mapping[str, int], before: Mapping[str, int]) -> list[str]:
    """A sentence for each case that costs more than the baseline allows, or that only one of both has."""
    found = [f"{name}: has no baseline" for name in now if name not in before]
    found += [f"{name}: is in the baseline only" for name in before if name not in now]
    for name in now:
        if name in before and now[name] > before[name] * (1 + ALLOWED):
            found.append(f"{name}: {before[name]} -> {now[name]} instructions ({now[name] / before[name] - 1:+.1%})")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the baseline of this compiler")
    given = parser.parse_args()
    if kernel_api.compiler() is None:
        sys.exit("error: no C++ compiler found\n\nhint: install one, or name it with CXX")
    compiler, baseline = compiler_name(), load()
    print(compiler)
    failed = False
    with tempfile.TemporaryDirectory(prefix="rrm_counts_") as folder:
        driver = build(kernel_api.build(), Path(folder))
        for level in LEVELS:
            try:
                now = count(driver, level)
            except Unavailable as reason:
                sys.exit(f"error: {reason}\n\nhint: the counts need valgrind and a machine that has the level")
            before = baseline.get(compiler, {}).get(level, {})
            for name, instructions in sorted(now.items()):
                change = f"{instructions / before[name] - 1:+8.2%}" if name in before else "     new"
                print(f"{level:9} {name:32} {instructions:10} {change}")
            failed = failed or bool(grown(now, before))
            baseline.setdefault(compiler, {})[level] = now
    if given.update:
        BASELINE.write_text(json.dumps(baseline, indent=1, sort_keys=True) + "\n")
        return 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
