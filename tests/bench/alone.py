"""Original and converted model each alone in a process of its own, with the thread pool's workers spinning and not.

    python tests/bench/alone.py PAIR... [--tolerance 0.02] [--frames 40] [--threads 2] [--rounds 3]

run_pairs.py runs both in turn in one process, where workers that spin would take the processors from the other side.
Here nobody is beside: what a program has that runs only the one. Milliseconds a frame after the first, the median of
the rounds, which take turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from run_pairs import Pair, parsed, parser_of

from rrm_onnx import pipeline, yardstick
from rrm_onnx.types import Options

SIDES = [(side, spinning) for side in ("original", "converted") for spinning in ("on", "off")]


def measure(pair: Pair, side: str, spinning: bool, tolerance: float, threads: int) -> float:
    """Milliseconds a frame; the first frame of a stream is not counted."""
    entries = yardstick.config_entries(spinning=spinning)
    if side == "original":
        session = yardstick.dense_session(pair.model, threads, entries)
    else:
        converted = pipeline.run(pair.model, Options(tolerance=tolerance)).model
        session = yardstick.converted_session(converted, threads, entries)
    names = [o.name for o in session.get_outputs()]
    feeds = list(pair.feeds("clip"))
    session.run(names, feeds[0])
    start = time.perf_counter()
    for feed in feeds[1:]:
        session.run(names, feed)
    return (time.perf_counter() - start) * 1e3 / (len(feeds) - 1)


def in_turn(name: str, rounds: int) -> dict[tuple[str, str], float]:
    """The median of each side, from processes of its own."""
    found: dict[tuple[str, str], list[float]] = {s: [] for s in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            command = [sys.executable, __file__, name, *sys.argv[1:], "--only", *side]
            found[side].append(float(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
    return {side: statistics.median(times) for side, times in found.items()}


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--tolerance", type=float, default=0.02)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind [3]")
    parser.add_argument("--only", nargs=2, metavar=("SIDE", "SPINNING"), help="one of them, in this process")
    given = parsed(parser)
    yardstick.settle_denormals(zero=True)
    if given.only:
        side, spinning = given.only
        pair = Pair(given.pair[0], given.corpus, given.frames or 40)
        print(measure(pair, side, spinning == "on", given.tolerance, given.threads))
        return 0
    print("| pair | original: spinning, not, ms | converted: spinning, not, ms | not : not | spinning : not |")
    print("|---|---|---|---|---|")
    for name in given.pair:
        ms = in_turn(name, given.rounds)
        (on, off), (fast, own) = ((ms[side, "on"], ms[side, "off"]) for side in ("original", "converted"))
        print(
            f"| {name} | {on:.2f}, {off:.2f} | {fast:.2f}, {own:.2f} | {off / own:.2f} | {on / own:.2f} |", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
