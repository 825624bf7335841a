"""What the matching stage decides on one node, for the tests of the rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from models import Net

from rrm_onnx.fuse import fuse
from rrm_onnx.match import match
from rrm_onnx.normalise.shapes import infer
from rrm_onnx.partition import everything
from rrm_onnx.thresholds import Gates
from rrm_onnx.types import Decision, Match, Normalised

Build = Callable[[Net], str]


def decided(model: onnx.ModelProto, skip: tuple[str, ...] = ()) -> dict[str, Decision]:
    """Decisions on a model as it stands, without normalising."""
    return match(Normalised(gs.import_onnx(infer(model)), model, model.opset_import[0].version), skip)


def fused(model: onnx.ModelProto, skip: tuple[str, ...] = (), tolerance: float = 0.0) -> dict[str, Match]:
    """What is to be written, whether it is worth it or not."""
    graph = gs.import_onnx(infer(model))
    plan = everything(graph, match(Normalised(graph, model, model.opset_import[0].version), skip))
    return dict(fuse(graph, plan, Gates(tolerance)).matches)


def decide(build: Build, opset: int = 17) -> Decision:
    """Decision on the node `it`."""
    net = Net(opset)
    net.output(build(net))
    return decided(net.model())["it"]


def accepted(build: Build, opset: int = 17) -> tuple[Match, dict[str, Any]]:
    """The match of the node `it`, and the attributes of its first rrm node."""
    decision = decide(build, opset)
    assert isinstance(decision, Match), decision
    return decision, dict(decision.emits[0].attributes)


def size(decision: Match) -> tuple[int | None, ...]:
    """(C, H, W) of the first output."""
    fact = decision.facts[decision.outputs[0]]
    return fact.channels, fact.height, fact.width


def i64(net: Net, *values: int) -> str:
    return net.const(values, np.int64)
