#!/usr/bin/env python3
"""Calibration's figures of docs/PERFORMANCE.md: each pair is calibrated on the first half of its frames for the budget
of pairs.toml, by the agreement of metrics.py, and measured on the second half, dense and converted frame by frame.

Beside it the largest uniform tolerance that keeps to the same budget on the first half, and what answering every 2nd
and every 3rd frame only would agree to.

    python tests/bench/run_calibrated.py street squats bottles --json calibrated.json

With --keep FOLDER the thresholds of a pair are kept there, and taken from there the next time: a second run measures
without searching. With --long FRAMES the 99th percentiles of both are also measured over so many frames, for which the
whole clip is run forth and back. --openvino times OpenVINO in the same rounds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import rivals
from run_pairs import Agreement, Pair, beside, cell, machine, maker, parsed, parser_of, tell_missing

from rrm_onnx import pipeline, yardstick
from rrm_onnx.bench.interleave import Comparison
from rrm_onnx.calibrate import calibrate
from rrm_onnx.calibrate.points import Setting
from rrm_onnx.errors import RrmError
from rrm_onnx.types import Options

COLUMNS = (
    ("pair", "{pair}"),
    ("budget", "{budget:g}"),
    ("search s", "{seconds:.0f}"),
    ("dense ms", "{dense[ms]:.2f}"),
    ("converted ms", "{converted[ms]:.2f}"),
    ("ratio", "{ratio:.2f}"),
    ("CPU ratio", "{cpu_ratio:.2f}"),
    ("p99 dense / converted", "{dense[p99_ms]:.2f} / {converted[p99_ms]:.2f}"),
    ("agreement", "{agreement:.3f}"),
    ("kept", "{kept}"),
    ("MACs done", "{macs_share:.3f}"),
    ("uniform: tolerance, agreement, MACs", "{uniform[tolerance]:.3f}, {uniform[agreement]:.3f}, {uniform[macs]:.3f}"),
    ("MACs : uniform's", "{to_uniform:.2f}"),
    ("hold every 2nd, 3rd: agreement", "{hold[2]:.3f}, {hold[3]:.3f}"),
    ("turns", "{turns}"),
    ("forth and back, p99 dense / converted, ratio", "{long[dense]:.2f} / {long[converted]:.2f}, {long[ratio]:.2f}"),
)


def measure(pair: Pair, given: argparse.Namespace) -> dict[str, Any]:
    """Calibrates on the first half, measures on the second."""
    feeds = list(pair.feeds("clip"))
    half = len(feeds) // 2
    agree = lambda truth, got: pair.metrics.agreement(pair.pair, truth, got)  # noqa: E731
    budget = pair.pair["budget"]
    kept = given.keep / f"{pair.name}.json" if given.keep else None
    if kept and kept.exists():
        found = json.loads(kept.read_text())
        if (found["calibration"]["frames"], found["calibration"]["budget"]) != (half, budget):
            raise RrmError(f"{kept} is of other frames or of another budget", "remove it, or measure as it was made")
    else:
        start = time.perf_counter()
        options: dict[str, Any] = {"threads": given.threads, "minutes": given.minutes}
        found = calibrate(pair.model, [feeds[:half]], metric=agree, budget=budget, **options).to_dict()
        found["calibration"]["seconds"] = time.perf_counter() - start
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found, indent=1) + "\n")
    facts = found["calibration"]
    row = compare(pair, found, None, feeds[half:], given, (rivals.FIRST,) if given.openvino else ())
    uniform: dict[str, Any] = {"tolerance": facts["uniform"] or 0.0, "agreement": None, "macs": None}
    other = compare(pair, None, uniform["tolerance"], feeds[half:], given)
    uniform |= {"agreement": other["agreement"], "macs": other["macs_share"], "ratio": other["ratio"]}
    return {
        "pair": pair.name,
        "camera": pair.pair["camera"],
        "budget": budget,
        "seconds": facts["seconds"],
        "kept": "yes" if row["agreement"] >= budget else "no",
        "uniform": uniform,
        "to_uniform": row["macs_share"] / other["macs_share"],
        "drift": found["drift"],
        "period": found["period"],
        "turns": turns(found),
        "long": tail(pair, found, feeds, given) if given.long else None,
        "facts": facts,
        **row,
    }


def turns(found: dict[str, Any]) -> str:
    """What passes when, in words: nothing but in every 2nd frame, all of the answer or what is over the thresholds
    there; thresholds that are smaller in every 4th; nothing special."""
    setting = Setting(tuple(n["threshold"] for n in found["nodes"].values()), found["drift"], found["period"])
    if setting.held:
        return f"hold {setting.period}"
    return "-" if setting.period == 1 else f"{'' if setting.sparse else f'{setting.drift:g} '}every {setting.period}"


def tail(pair: Pair, thresholds: dict[str, Any], feeds: Sequence[Any], given: argparse.Namespace) -> dict[str, float]:
    """99th percentiles, in ms, over many frames, and their ratio."""
    converted = pipeline.run(pair.model, Options(thresholds=thresholds)).model
    comparison = Comparison(pair.model, converted, given.threads, yardstick.config_entries())
    result = comparison.run(forth_and_back(feeds, given.long)).to_dict()
    dense, fast = (float(result[side]["p99_ms"]) for side in ("dense", "converted"))
    return {"frames": given.long, "dense": dense, "converted": fast, "ratio": fast / dense}


def forth_and_back(feeds: Sequence[Any], count: int) -> Iterator[Any]:
    """So many frames: the clip, then backwards to its beginning, and again; no frame follows itself."""
    return itertools.islice(itertools.cycle([*feeds, *feeds[-2:0:-1]]), count)


def compare(
    pair: Pair,
    thresholds: dict[str, Any] | None,
    tolerance: float | None,
    feeds: Sequence[dict[str, np.ndarray]],
    given: argparse.Namespace,
    others: Sequence[str] = (),
) -> dict[str, Any]:
    """Dense and converted on these frames, and other ways to run the original."""
    converted: onnx.ModelProto = pipeline.run(pair.model, Options(tolerance=tolerance, thresholds=thresholds)).model
    entries = yardstick.config_entries()
    found, missing = rivals.available({name: maker(name, pair, feeds, given, entries) for name in others})
    comparison = Comparison(pair.model, converted, given.threads, entries, found)
    held: dict[int, list[float]] = {2: [], 3: []}
    last: dict[int, Any] = {}
    agreement = Agreement(pair, True)

    def on_frame(t: int, want: list[np.ndarray], got: list[np.ndarray]) -> None:
        agreement.add(t, want, got)
        for every, lost in held.items():
            if t % every == 0:
                last[every] = want
            if t:
                lost.append(pair.metrics.agreement(pair.pair, want, last[every]))

    result = comparison.run(feeds, on_frame)
    means = {every: float(np.mean(lost)) for every, lost in held.items()}
    return {**result.to_dict(), "missing": missing, "agreement": float(np.mean(agreement.got)), "hold": means}


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="of each search [10]")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FOLDER", help="of thresholds, to read and to write")
    parser.add_argument("--long", type=int, metavar="FRAMES", help="also 99th percentiles over so many, forth and back")
    parser.add_argument("--openvino", action="store_true", help="also OpenVINO in float32")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there as well")
    given = parsed(parser)
    given.isa, given.spinning, given.denormals, given.busy = None, False, False, 0
    columns = [*COLUMNS, *(beside(rivals.FIRST) if given.openvino else ())]
    yardstick.settle_denormals()
    where, rows, told = machine(given), [], set[str]()
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    print("\n| " + " | ".join(name for name, _ in columns) + " |\n|" + "---|" * len(columns), flush=True)
    failed = False
    for name in given.pair:
        try:
            rows.append(measure(Pair(name, given.corpus, given.frames), given))
        except RrmError as error:  # the other pairs are measured all the same
            failed = True
            hint = f"\n\nhint: {error.hint}" if error.hint else ""
            print(f"error: {name}: {error.message}{hint}", file=sys.stderr, flush=True)
            continue
        print("| " + " | ".join(cell(template, rows[-1]) for _, template in columns) + " |", flush=True)
        tell_missing(rows[-1]["missing"], told)
        if given.json:
            given.json.write_text(json.dumps({"machine": where, "rows": rows}, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
