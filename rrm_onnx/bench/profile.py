"""Where the time of a converted model goes: a line for each node, beside what the machine could do at best.

The bound of a node is the longer of two times: its multiply-accumulates at the rate of a big matrix product in
ONNX Runtime, and about the bytes that it touches at the rate of a copy in memory. Bytes are estimated from the sizes of
what is kept: too many where a producer keeps more than its output (SeparableConv under a tolerance) or only a part of
it is read (Slice). A share above 1 says so, or that they came from the caches.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rrm_onnx import yardstick
from rrm_onnx.bench.result import Result
from rrm_onnx.pack import nodes_of

PRODUCT = 1024  # side of the matrices: long enough to run at full speed, a few milliseconds
COPIED = 1 << 26  # bytes, more than the caches hold
ROUNDS = 15


@dataclasses.dataclass(frozen=True)
class Peaks:
    """What the machine does at best with so many threads. gigabytes: read and written, a second."""

    threads: int
    gflops: float
    gigabytes: float


@dataclasses.dataclass(frozen=True)
class Line:
    """One node (or several, summed) on a frame. share: of the converted model's time; active, changed: shares of its
    sites; macs: done; compute_us, memory_us: what its multiply-accumulates and its bytes would take at best; bound: the
    longer of these, `compute` or `memory`; reached: the bound's time over the node's own; swept_mb: MB read or written
    whatever changed; phases: us by phase, summed over the threads (`InferenceSession.time_phases`)."""

    name: str
    op: str
    us: float
    share: float
    active: float | None = None
    changed: float | None = None
    macs: float = 0.0
    bound: str | None = None
    reached: float | None = None
    compute_us: float = 0.0
    memory_us: float = 0.0
    swept_mb: float = 0.0
    phases: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def gflops(self) -> float | None:
        return 2e-3 * self.macs / self.us if self.macs and self.us else None

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "gflops": self.gflops}


def peaks(threads: int) -> Peaks:
    """Measured now; takes a fraction of a second."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(PRODUCT, PRODUCT)).astype(np.float32) for _ in "ab")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, a.shape) for name in ("a", "y")]
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    graph = helper.make_graph([node], "product", ports[:1], ports[1:], [numpy_helper.from_array(b, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    session = yardstick.dense_session(model, threads)
    product = _best(lambda: yardstick.run(session, ["y"], {"a": a}))
    sources = [np.ones(COPIED // threads, np.uint8) for _ in range(threads)]
    targets = [np.empty_like(s) for s in sources]
    with ThreadPoolExecutor(threads) as pool:
        copy = _best(lambda: list(pool.map(np.copyto, targets, sources)))
    return Peaks(threads, 2e-9 * PRODUCT**3 / product, 2e-9 * COPIED / copy)


def _best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def lines(result: Result, converted: onnx.ModelProto, best: Peaks) -> list[Line]:
    """A line for each rrm node, the slowest first, and one for everything outside of them."""
    frames = len(result.converted.seconds) - 1
    total = result.converted.total / frames * 1e6
    bytes_of = Traffic(converted, result.nodes)
    found = []
    for node in result.nodes:
        us = node["ns"] / frames / 1e3
        sites = max(node["sites"], 1)
        active, changed = node["active"] / sites, node["changed"] / sites
        macs = node["macs_done"] / frames
        times = {
            "compute": 2e-3 * macs / best.gflops,
            "memory": 1e-3 * bytes_of.touched(node["name"], active, changed) / best.gigabytes,
        }
        bound = max(times, key=lambda kind: times[kind])
        reached = times[bound] / us if us else None
        found.append(
            Line(
                node["name"],
                node["op"],
                us,
                us / total,
                active,
                changed,
                macs,
                bound,
                reached,
                compute_us=times["compute"],
                memory_us=times["memory"],
                swept_mb=node["swept_bytes"] / frames / 1e6,
                phases={name: ns / frames / 1e3 for name, ns in node["phases"].items()},
            )
        )
    found.sort(key=lambda line: -line.us)
    outside = max(0.0, total - sum(line.us for line in found))
    return [*found, Line("(outside of the rrm nodes)", "", outside, outside / total)]


def roofline(several: Sequence[Line]) -> dict[str, float]:
    """Milliseconds a frame that a model's nodes would take at best: by their multiply-accumulates, by their bytes, and
    each by the longer of both."""
    return {
        "compute_ms": sum(x.compute_us for x in several) / 1e3,
        "memory_ms": sum(x.memory_us for x in several) / 1e3,
        "ms": sum(max(x.compute_us, x.memory_us) for x in several) / 1e3,
    }


def summed(several: Sequence[Line], name: str) -> Line:
    """Several lines as one."""
    return Line(
        name,
        "",
        sum(x.us for x in several),
        sum(x.share for x in several),
        macs=sum(x.macs for x in several),
        swept_mb=sum(x.swept_mb for x in several),
        phases=by_phase(several),
    )


def by_phase(several: Sequence[Line]) -> dict[str, float]:
    """Microseconds of each phase, summed."""
    names = dict.fromkeys(name for line in several for name in line.phases)
    return {name: sum(line.phases.get(name, 0.0) for line in several) for name in names}


class Traffic:
    """Bytes that a node touches at least: its inputs and the held rows at the active sites, its own at the changed
    ones, its weights; where changes are added to sums, these twice. Enter compares the whole picture, Exit copies the
    whole map."""

    def __init__(self, converted: onnx.ModelProto, nodes: Sequence[Mapping[str, Any]]) -> None:
        self._kept = {n["name"]: int(n["state_bytes"]) for n in nodes}
        self._rows = {n["name"]: int(n["output_bytes"]) for n in nodes}
        self._sums = {n["name"]: int(n["state_bytes"] - n["output_bytes"]) for n in nodes if n["macs_added"]}
        nodes = nodes_of(converted)
        self._nodes = {n.name: n for n in nodes}
        self._makers = {o: n for n in nodes for o in n.output}
        self._weights = {t.name: numpy_helper.to_array(t).nbytes for t in converted.graph.initializer}

    def touched(self, name: str, active: float, changed: float) -> float:
        rows, node = self._rows.get(name, 0), self._nodes.get(name)
        if node is None:
            return 0.0
        if node.op_type.startswith("Enter"):
            return float(self._kept.get(name, 0))  # about the picture and what is held of it
        inputs = sum(self._map(x) for x in node.input)
        if node.op_type == "Exit":
            return 2.0 * inputs
        weights = sum(self._weights.get(x, 0) for x in node.input) if active else 0
        return active * (inputs + rows + 2 * self._sums.get(name, 0)) + changed * rows + weights

    def _map(self, tensor: str) -> int:
        """Bytes of the map behind a ticket; views keep none of their own."""
        maker = self._makers.get(tensor)
        if maker is None:
            return 0
        return self._rows.get(maker.name, 0) or sum(self._map(x) for x in maker.input)
