#!/usr/bin/env python3
"""The figures of docs/PERFORMANCE.md: pairs of a real model and a real clip, dense and converted, interleaved.

For each pair and tolerance: milliseconds a frame of both, their ratio, median and 99th percentile, the error (relative
L2, worst output, mean over the frames after the first), the agreement (the corpus' metrics.py), the share of
multiply-accumulates done, and what answering every 2nd frame only would agree to. The first frame is not counted.
Beside them, on the same frames: OpenVINO, where it is installed, and ONNX Runtime's int8 (--int8), with their errors.

    python tests/bench/run_pairs.py flies street screen-typing squats room-pose --json pairs.json
    python tests/bench/run_pairs.py flies --random      every frame is noise: everything changes, the worst case
    python tests/bench/run_pairs.py flies --still       the same frame again: nothing changes, the best case

It takes minutes for each pair and tolerance. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import rivals
from ideals import MOST, Ideals, reached
from onnx import numpy_helper

from rrm_onnx import pipeline, runtime, yardstick
from rrm_onnx.bench import Result, profile
from rrm_onnx.bench.interleave import Comparison
from rrm_onnx.bench.machine import cpu
from rrm_onnx.errors import RrmError
from rrm_onnx.types import Options

CORPUS = pathlib.Path(os.environ.get("RRM_CORPUS", pathlib.Path(__file__).resolve().parents[3] / "shared" / "corpus"))
PHASES = ("tickets", "track", "pointers", "gemm", "kernel", "epilogue", "gate", "copy", "wait")
COLUMNS = (
    ("pair", "{pair}"),
    ("tolerance", "{tolerance}"),
    ("frames", "{frames}"),
    ("dense ms", "{dense[ms]:.2f}"),
    ("converted ms", "{converted[ms]:.2f}"),
    ("ratio", "{ratio:.2f}"),
    ("dense median / p99", "{dense[median_ms]:.2f} / {dense[p99_ms]:.2f}"),
    ("converted median / p99", "{converted[median_ms]:.2f} / {converted[p99_ms]:.2f}"),
    ("CPU ratio", "{cpu_ratio:.2f}"),
    ("error", "{error:.2e}"),
    ("agreement", "{agreement:.3f}"),
    ("MACs done", "{macs_share:.3f}"),
    ("ideal: recompute / best", "{ideal[recompute]:.3f} / {ideal[best]:.3f}"),
    (f"speed-up / min({MOST:g}, 1/share)", "{of_ideal:.2f}"),
    ("hold every 2nd: agreement", "{hold2_agreement:.3f}"),
    (
        "nodes at best by MACs / by bytes / by both, ms",
        "{roofline[compute_ms]:.2f} / {roofline[memory_ms]:.2f} / {roofline[ms]:.2f}",
    ),
    ("of it reached", "{roofline[reached]:.2f}"),
    *((f"{name} ms", f"{{phases[{name}]:.2f}}") for name in PHASES),
    ("outside ms", "{phases[outside]:.2f}"),
    ("swept MB", "{phases[swept]:.2f}"),
    ("state MB", "{memory[state]:.1f}"),
    ("state : layer outputs", "{memory[state_ratio]:.2f}"),
    ("weights copied : weights", "{memory[weight_ratio]:.2f}"),
)
# Columns whose cells begin so, and the options that ask for them.
OPTIONAL = {
    "{ideal": ("ideal", "ideal_cache"),
    "{of_ideal": ("ideal", "ideal_cache"),
    "{roofline": ("roofline",),
    "{memory": ("memory",),
    "{phases": ("phases",),
}


class Pair:
    """A pair of the corpus: its model, and its frames as feeds."""

    def __init__(self, name: str, corpus: pathlib.Path, frames: int | None) -> None:
        self.reader, self.metrics = importlib.import_module("frames"), importlib.import_module("metrics")
        known = self.reader.pairs(corpus)
        if name not in known:
            sys.exit(f"error: no pair named {name}\n\nhint: pairs are {', '.join(known)}")
        self.name, self.pair = name, known[name]
        if frames:
            self.pair = self.pair | {"frames": min(frames, self.pair["frames"])}
        self.model = onnx.load(self.reader.model_of(self.pair))

    def feeds(self, kind: str) -> Iterator[dict[str, np.ndarray]]:
        """The clip; or as many frames of noise of the same range; or its first frame again and again."""
        images = self._noise() if kind == "random" else self.reader.images(self.pair)
        first = None
        for feed in self._prepared(images):
            first = feed if first is None else first
            yield first if kind == "still" else feed

    def _prepared(self, images: Iterator[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """The corpus' own preparation, over these images."""
        real, self.reader.images = self.reader.images, lambda _: images
        try:
            yield from self.reader.feeds(self.pair)
        finally:
            self.reader.images = real

    def _noise(self) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        (width, height), channels = self.pair["size"], 1 if self.pair["order"] == "gray" else 3
        for _ in range(self.pair["frames"]):
            yield rng.integers(0, 256, (height, width, channels), np.uint8)


class Agreement:
    """Collects the agreement of the converted answers, and of dense answers held over every 2nd frame."""

    def __init__(self, pair: Pair, applies: bool) -> None:
        self.pair, self.applies = pair, applies
        self.got, self.held = list[float](), list[float]()
        self._last: list[np.ndarray] = []

    def add(self, t: int, want: list[np.ndarray], got: list[np.ndarray]) -> None:
        if t % 2 == 0:
            self._last = want
        if t and self.applies:
            self.got.append(self.pair.metrics.agreement(self.pair.pair, want, got))
            self.held.append(self.pair.metrics.agreement(self.pair.pair, want, self._last))


def measure(
    pair: Pair, kind: str, tolerance: float, ideal: dict[str, float] | None, given: argparse.Namespace
) -> dict[str, Any]:
    """One row: the pair at one tolerance."""
    entries = yardstick.config_entries(spinning=given.spinning, denormals=given.denormals, isa=given.isa)
    feeds = list(pair.feeds(kind))  # decoded and prepared before anything is timed
    converted = pipeline.run(pair.model, Options(tolerance=tolerance)).model
    beside, missing = rivals.available({name: maker(name, pair, feeds, given, entries) for name in asked(given)})
    comparison = Comparison(pair.model, converted, given.threads, entries, beside, phases=given.phases)
    agreement = Agreement(pair, kind != "random")  # there is nothing to find in noise
    result: Result = comparison.run(feeds, agreement.add)
    row = {"pair": pair.name, "kind": kind, "tolerance": tolerance, **result.to_dict(), "missing": missing}
    return row | {
        "agreement": float(np.mean(agreement.got)) if agreement.got else None,
        "hold2_agreement": float(np.mean(agreement.held)) if agreement.held else None,
        "ideal": ideal,
        "of_ideal": reached(result.ratio, ideal["best"]) if ideal else None,
        "roofline": best_times(result, converted) if given.roofline else None,
        "memory": memory(result, converted),
        "phases": phases(result, converted) if given.phases else None,
    }


def best_times(result: Result, converted: onnx.ModelProto) -> dict[str, float]:
    """What the converted model's nodes would take at best on this machine; reached: that over what they took."""
    *nodes, _ = profile.lines(result, converted, profile.peaks(result.threads))
    times = profile.roofline(nodes)
    return times | {"reached": 1e3 * times["ms"] / sum(node.us for node in nodes)}


def phases(result: Result, converted: onnx.ModelProto) -> dict[str, float]:
    """Milliseconds a frame of each phase, summed over the threads; outside: of ONNX Runtime and of dense nodes, by the
    clock; swept: MB that were touched whatever changed."""
    *nodes, outside = profile.lines(result, converted, profile.peaks(result.threads))
    every = profile.summed(nodes, "all")
    return {name: us / 1e3 for name, us in every.phases.items()} | {
        "outside": outside.us / 1e3,
        "swept": every.swept_mb,
    }


def memory(result: Result, converted: onnx.ModelProto) -> dict[str, float]:
    """state: MB that one stream keeps; state_ratio: over the nodes' outputs; weight_ratio: the copies that the nodes
    made of their weights, over all weights of the file."""
    state, outputs, copies = (sum(n[k] for n in result.nodes) for k in ("state_bytes", "output_bytes", "weight_bytes"))
    weights = sum(numpy_helper.to_array(t).nbytes for t in converted.graph.initializer)
    return {"state": state / 1e6, "state_ratio": state / max(outputs, 1), "weight_ratio": copies / max(weights, 1)}


def asked(given: argparse.Namespace) -> list[str]:
    """Names of the rivals to be timed."""
    openvino, bf16 = given.openvino != "none", given.openvino == "bf16"
    return [name for name, yes in ((rivals.FIRST, openvino), (rivals.BF16, bf16), (rivals.INT8, given.int8)) if yes]


def maker(
    name: str, pair: Pair, feeds: Sequence[dict[str, np.ndarray]], given: argparse.Namespace, entries: dict[str, str]
) -> Callable[[], Any]:
    """Makes one rival when it is called."""
    if name == rivals.INT8:
        return lambda: rivals.int8_session(pair.model, feeds, given.threads, entries)
    precision = "bf16" if name == rivals.BF16 else "f32"
    return lambda: rivals.OpenVino(pair.model, feeds[0], given.threads, precision, given.denormals)


def columns_of(given: argparse.Namespace) -> list[tuple[str, str]]:
    """The columns that these arguments fill."""
    left = [kind for kind, options in OPTIONAL.items() if not any(getattr(given, o) for o in options)]
    return [c for c in COLUMNS if not c[1].startswith(tuple(left))] + [c for name in asked(given) for c in beside(name)]


def beside(rival: str) -> list[tuple[str, str]]:
    """The columns of a rival."""
    found = f"rivals[{rival}]"
    return [
        (f"{rival} ms", f"{{{found}[ms]:.2f}}"),
        (f"converted : {rival}", f"{{{found}[ratio]:.2f}}"),
        (f"{rival} error", f"{{{found}[error]:.2e}}"),
    ]


def cell(template: str, row: dict[str, Any]) -> str:
    """One cell; what was not measured is a dash."""
    try:
        return template.format(**row)
    except (KeyError, TypeError, ValueError):
        return "-"


def line(row: dict[str, Any], columns: list[tuple[str, str]]) -> str:
    return "| " + " | ".join(cell(template, row) for _, template in columns) + " |"


def machine(given: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "isa": given.isa or runtime.query("isa").get("chosen"),
        "onnxruntime": onnxruntime.__version__,
        "library": runtime.query("version").get("version"),
        "python": platform.python_version(),
        "threads": given.threads,
        "spinning": "on" if given.spinning else "off",
        "busy": given.busy,
        "denormals": "zero" if yardstick.denormals_are_zero() else "kept",  # for the calling thread
    }


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """What the scripts that run pairs of the corpus have in common."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", nargs="+", help="names of pairs.toml")
    parser.add_argument("--corpus", type=pathlib.Path, default=CORPUS, help="folder with pairs.toml")
    parser.add_argument("--frames", type=int, help="at most this many frames of each clip")
    parser.add_argument("--threads", type=int, default=2, help="of each session [2]")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line; ends where there is no corpus. Its modules are found from then on."""
    given = parser.parse_args()
    if not (given.corpus / "pairs.toml").exists():
        sys.exit(f"error: no pairs.toml in {given.corpus}\n\nhint: name the corpus with --corpus DIR or RRM_CORPUS")
    sys.path.insert(0, str(given.corpus))
    return given


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--tolerance", type=float, nargs="+", help="default: 0 0.01 0.02 0.05, with --random/--still 0")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--random", dest="kind", action="store_const", const="random", help="every frame is noise")
    kind.add_argument("--still", dest="kind", action="store_const", const="still", help="the same frame again")
    parser.add_argument("--ideal", action="store_true", help="also what ideal.py counts (slow)")
    parser.add_argument(
        "--ideal-cache", type=pathlib.Path, metavar="FILE", help="keep that there; without --ideal only what is there"
    )
    parser.add_argument("--roofline", action="store_true", help="also what multiply-accumulates and bytes take at best")
    parser.add_argument("--memory", action="store_true", help="also the memory of a stream's state and of weights")
    parser.add_argument("--phases", action="store_true", help="also where the nodes' time goes (costs a few percent)")
    parser.add_argument("--isa", help="level of the rrm operators (avx2, portable, ...); the others keep their own")
    parser.add_argument("--spinning", action="store_true", help="let the thread pools' workers spin between runs")
    parser.add_argument(
        "--denormals", action="store_true", help="do not count them as zero (rrm operators flush always)"
    )
    parser.add_argument(
        "--openvino", choices=["f32", "bf16", "none"], default="f32", help="bf16: in f32 and bf16 [f32]"
    )
    parser.add_argument("--int8", action="store_true", help="also ONNX Runtime on the model quantised on first frames")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="N other processes that never rest [0]")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there as well")
    return parsed(parser)


@contextlib.contextmanager
def busy(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Others that want the processors too."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield others
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> int:
    given = arguments()
    yardstick.settle_denormals(zero=not given.denormals)  # before any other session
    kind = given.kind or "clip"
    tolerances = given.tolerance or ([0.0, 0.01, 0.02, 0.05] if kind == "clip" else [0.0])
    columns, ideals = columns_of(given), Ideals(given.ideal_cache, given.ideal, given.threads)
    where, rows, told = machine(given), [], set[str]()
    print(", ".join(f"{k} {v}" for k, v in where.items()), f"frames: {kind}", sep=", ")
    print("\n| " + " | ".join(name for name, _ in columns) + " |\n|" + "---|" * len(columns), flush=True)
    failed = False
    for name in given.pair:
        pair = Pair(name, given.corpus, given.frames)
        ideal = ideals.of(pair.pair, tolerances) if kind == "clip" else {}
        for tolerance in tolerances:
            try:
                with busy(given.busy):
                    rows.append(measure(pair, kind, tolerance, ideal.get(tolerance), given))
            except RrmError as error:  # the other pairs are measured all the same
                failed = True
                hint = f"\n\nhint: {error.hint}" if error.hint else ""
                print(f"error: {name}, tolerance {tolerance:g}: {error.message}{hint}", file=sys.stderr, flush=True)
                continue
            print(line(rows[-1], columns), flush=True)
            tell_missing(rows[-1]["missing"], told)
            if given.json:  # after every row: a long run that is stopped leaves what it has
                given.json.write_text(json.dumps({"machine": where, "rows": rows}, indent=2) + "\n")
    return 1 if failed else 0


def tell_missing(reasons: dict[str, str], told: set[str]) -> None:
    """Why a column is a dash, once for each reason."""
    for rival, reason in reasons.items():
        if reason not in told:
            print(f"note: {rival}: {reason}", file=sys.stderr, flush=True)
            told.add(reason)


if __name__ == "__main__":
    sys.exit(main())
