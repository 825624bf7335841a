#!/usr/bin/env python3
"""Random small CNNs, converted and run on random frames: each promise of the converter, graph after graph.

    python tests/soak.py --graphs 1000 --seed 0

For each graph and frame: the exact model equals a fresh session in every bit, and the dense model to 1e-4 (relative
L2); a model with gates whose tolerance factor is zero equals the exact one in every bit. A graph is that of its seed:
what failed is shown with it and can be run again alone (--graphs 1 --seed N). Ends with the number of graphs, nodes and
frames.
"""

from __future__ import annotations

import argparse
import collections
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from models import dense_ops, rrm_nodes
from native import Native, Plain
from random_graphs import Choose, random_frames, random_graph

from rrm_onnx.bench.operators import convert

FRAMES = 6
CLOSE = 1e-4
ROUNDING = 1e-6


def seeded(seed: int) -> Choose:
    rng = np.random.default_rng(seed)
    return lambda options: options[int(rng.integers(len(options)))]


def same(got: list[np.ndarray], want: list[np.ndarray]) -> bool:
    return len(got) == len(want) and all(
        a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(got, want, strict=True)
    )


def check(model: onnx.ModelProto, frames: Iterable[np.ndarray]) -> onnx.ModelProto:
    """Raises AssertionError where a promise is broken; the converted model otherwise."""
    converted, dense = convert(model), Plain(model)
    if not rrm_nodes(converted):
        return converted
    gated = Native(convert(model, tolerance=0.05, streams=True))
    one, two = Native(converted), Native(converted, threads=2)
    for t, x in enumerate(frames):
        got = one.run([x.copy()])
        for k, (a, b) in enumerate(zip(got, dense.run([x]), strict=True)):
            assert a.shape == b.shape, f"frame {t}, output {k}: {a.shape} instead of {b.shape}"
            off = float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))
            size = float(np.sqrt(np.mean(b.astype(np.float64) ** 2)))
            # Where large values cancel, their rounding is left: inputs are of size 1.
            assert off <= max(CLOSE * size, ROUNDING), f"frame {t}, output {k}: off by {off:.1e} of {size:.1e}"
        assert same(got, Native(converted).run([x])), f"frame {t}: other bits than a fresh session"
        assert same(got, two.run([x.copy()])), f"frame {t}: other bits with two threads"
        feed = {"x": x, "rrm_stream": np.arange(len(x)), "rrm_reset": np.array(False)}
        wide, zero = (feed | {"rrm_tolerance": np.array(f, np.float32)} for f in (1.0, 0.0))
        gated.session.run(None, wide)
        assert same(got, gated.session.run(None, zero)), f"frame {t}: a factor of zero is not exact"
    return converted


def run(seed: int, counts: collections.Counter[str]) -> str:
    """What is wrong with the graph of this seed; empty if nothing."""
    model, shape = random_graph(seeded(seed), seed)
    counts.update(graphs=1, nodes=len(model.graph.node), frames=FRAMES)
    try:
        converted = check(model, random_frames(seeded(seed + 1), shape, seed, FRAMES))
    except AssertionError as error:
        return str(error)
    except Exception as error:  # whatever breaks is a finding
        return f"{type(error).__name__}: {error}"
    inside = len(rrm_nodes(converted))
    counts.update({"rrm nodes": inside, "dense nodes": len(dense_ops(converted))})
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=1000, help="how many [1000]")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the next have the numbers behind it [0]")
    given = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    failed: dict[int, str] = {}
    for seed in range(given.seed, given.seed + given.graphs):
        wrong: Any = run(seed, counts)
        if wrong:
            failed[seed] = wrong
            print(f"seed {seed}: {wrong}", flush=True)
    print(f"seeds {given.seed} to {given.seed + given.graphs - 1}: {dict(counts)}, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
