"""The gates of a converted model: where thresholds stand, and how they are set between two runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rrm_onnx import pipeline
from rrm_onnx.emit import ENTERS
from rrm_onnx.fuse import fuse
from rrm_onnx.pack import nodes_of
from rrm_onnx.session import InferenceSession
from rrm_onnx.types import CONVOLUTIONS

BEYOND = 1e9  # a threshold that nothing passes; a drift of one over it gives what it was multiplied with
Thresholds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """One gate. name: as a thresholds file names it; node: the node that it stands in; inner: between that node's two
    convolutions; entry: behind the picture."""

    name: str
    node: str
    inner: bool = False
    entry: bool = False


@dataclass(frozen=True)
class Setting:
    """A threshold for each point, in their order; in every `period`-th frame they are multiplied by `drift`."""

    thresholds: tuple[float, ...]
    drift: float = 1.0
    period: int = 1

    @property
    def sparse(self) -> bool:
        """Whether anything passes in every `period`-th frame only."""
        return self.period > 1 and self.drift <= 1 / BEYOND

    @property
    def held(self) -> bool:
        """Whether whole answers are held, and every `period`-th is exact."""
        return self.period > 1 and self.drift == 0

    def scaled(self, factor: float) -> Setting:
        return replace(self, thresholds=tuple(factor * t for t in self.thresholds))


def points_of(planned: pipeline.Planned, converted: pipeline.Converted) -> list[Point]:
    """All gates, in the order of the graph."""
    fused = fuse(planned.normal.graph, planned.plan, planned.limits)
    inner = {n.name: n.inner for match in fused.matches.values() for n in match.emits}
    found = []
    for node in nodes_of(converted.model):
        if node.domain != "rrm" or node.op_type not in (*ENTERS, *CONVOLUTIONS):
            continue
        if inner.get(node.name):
            found.append(Point(inner[node.name], node.name, inner=True))
        found.append(Point(node.name, node.name, entry=node.op_type in ENTERS))
    return found


def apply(session: InferenceSession, points: Sequence[Point], setting: Setting, scales: Sequence[float]) -> None:
    """Sets all gates of a session in which nothing runs, to what a file says. What it held is to be forgotten then:
    reset."""
    rows = zip(points, setting.thresholds, scales, strict=True)
    values = {(p.node, p.inner): (figure(t), figure(s)) for p, t, s in rows}
    for point in points:
        if point.inner:
            continue
        own = values[point.node, False]
        other = (setting.drift, setting.period) if point.entry else values.get((point.node, True), (0.0, 0.0))
        session.set_gate(point.node, own, other)


def figure(value: float) -> float:
    """Six digits are enough to read, and to write again."""
    return float(f"{value:.6g}")


def measured_scales(session: InferenceSession, points: Sequence[Point]) -> list[float]:
    """The size of each gate's tensor on the first frame since the last reset; 0 where it has none."""
    nodes = {n["name"]: n for n in session.stats()["nodes"]}
    keys = [(p.node, "inner_measured_scale" if p.inner else "measured_scale") for p in points]
    return [float(nodes[node][key]) for node, key in keys]
