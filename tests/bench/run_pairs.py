#!/usr/bin/env python3
"""The figures of docs/PERFORMANCE.md: pairs of a real model and a real clip, dense and converted, interleaved.

For each pair and tolerance: milliseconds a frame of both, their ratio, median and 99th percentile, the error (relative
L2, worst output, mean over the frames after the first), the agreement (the corpus' metrics.py), the share of
multiply-accumulates done, and what answering every 2nd frame only would agree to. The first frame is not counted.

    python tests/bench/run_pairs.py flies street screen-typing squats room-pose --json pairs.json
    python tests/bench/run_pairs.py flies --random      every frame is noise: everything changes, the worst case
    python tests/bench/run_pairs.py flies --still       the same frame again: nothing changes, the best case

It takes minutes for each pair and tolerance. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import platform
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime

from rrm_onnx import pipeline, runtime
from rrm_onnx.bench import Result
from rrm_onnx.bench.interleave import Comparison
from rrm_onnx.errors import RrmError
from rrm_onnx.types import Options

CORPUS = pathlib.Path(os.environ.get("RRM_CORPUS", pathlib.Path(__file__).resolve().parents[3] / "shared" / "corpus"))
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
    ("ideal", "{ideal:.3f}"),
    ("hold every 2nd: agreement", "{hold2_agreement:.3f}"),
)


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


def measure(pair: Pair, kind: str, tolerance: float, threads: int, ideal: float | None) -> dict[str, Any]:
    converted = pipeline.run(pair.model, Options(tolerance=tolerance)).model
    comparison = Comparison(pair.model, converted, threads)
    agreement = Agreement(pair, kind != "random")  # there is nothing to find in noise
    feeds = list(pair.feeds(kind))  # decoded and prepared before anything is timed
    result: Result = comparison.run(feeds, agreement.add)
    row = {"pair": pair.name, "kind": kind, "tolerance": tolerance, **result.to_dict()}
    return row | {
        "agreement": float(np.mean(agreement.got)) if agreement.got else None,
        "hold2_agreement": float(np.mean(agreement.held)) if agreement.held else None,
        "ideal": ideal,
    }


def ideals(pair: Pair, tolerances: list[float]) -> dict[float, float]:
    """ideal.py's share of multiply-accumulates with the recompute kernel alone, by tolerance. Takes long."""
    study = importlib.import_module("ideal").Study(pair.pair)
    return {t: study.run(t)["recompute"] for t in tolerances}


def cell(template: str, row: dict[str, Any]) -> str:
    """One cell; what was not measured is a dash."""
    try:
        return template.format(**row)
    except (TypeError, ValueError):
        return "-"


def line(row: dict[str, Any], columns: tuple[tuple[str, str], ...]) -> str:
    return "| " + " | ".join(cell(template, row) for _, template in columns) + " |"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    names = [text.split(":", 1)[1].strip() for text in _cpuinfo() if text.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "isa": runtime.query("isa").get("chosen"),
        "onnxruntime": onnxruntime.__version__,
        "library": runtime.query("version").get("version"),
        "python": platform.python_version(),
    }


def _cpuinfo() -> list[str]:
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", nargs="+", help="names of pairs.toml")
    parser.add_argument("--corpus", type=pathlib.Path, default=CORPUS, help="folder with pairs.toml")
    parser.add_argument("--tolerance", type=float, nargs="+", help="default: 0 0.01 0.02 0.05, with --random/--still 0")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--random", dest="kind", action="store_const", const="random", help="every frame is noise")
    kind.add_argument("--still", dest="kind", action="store_const", const="still", help="the same frame again")
    parser.add_argument("--ideal", action="store_true", help="also what ideal.py counts (slow)")
    parser.add_argument("--frames", type=int, help="at most this many frames of each clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if not (given.corpus / "pairs.toml").exists():
        sys.exit(f"error: no pairs.toml in {given.corpus}\n\nhint: name the corpus with --corpus DIR or RRM_CORPUS")
    sys.path.insert(0, str(given.corpus))
    kind = given.kind or "clip"
    tolerances = given.tolerance or ([0.0, 0.01, 0.02, 0.05] if kind == "clip" else [0.0])
    columns = tuple(c for c in COLUMNS if c[0] != "ideal" or given.ideal)
    where, rows, failed = machine(), [], False
    print(", ".join(f"{k} {v}" for k, v in where.items()), f"threads {given.threads}", f"frames: {kind}", sep=", ")
    print("\n| " + " | ".join(name for name, _ in columns) + " |\n|" + "---|" * len(columns), flush=True)
    for name in given.pair:
        pair = Pair(name, given.corpus, given.frames)
        ideal = ideals(pair, tolerances) if given.ideal and kind == "clip" else {}
        for tolerance in tolerances:
            try:
                rows.append(measure(pair, kind, tolerance, given.threads, ideal.get(tolerance)))
            except RrmError as error:  # the other pairs are measured all the same
                failed = True
                print(f"error: {name}, tolerance {tolerance:g}: {error.message}", file=sys.stderr, flush=True)
                continue
            print(line(rows[-1], columns), flush=True)
            if given.json:  # after every row: a long run that is stopped leaves what it has
                given.json.write_text(json.dumps({"machine": where, "rows": rows}, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
