"""Crews: threads come where there is work for them, and are left alone where they are not to be had. And what a Region
that nobody packed says of itself."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from models import rrm_nodes
from native import Native, needs_library
from regions import model_of

from rrm_onnx import convert
from rrm_onnx.ops import reference_ops
from rrm_onnx.pack import DENSE_OUTPUTS, is_region

pytestmark = needs_library
LARGE = (1, 3, 96, 96)


def session(threads: int, **entries: str) -> Native:
    return Native(convert(model_of("large")), threads=threads, entries=entries)


def run(model: Native, times: int) -> dict[str, int]:
    """What the crews did in so many frames of noise."""
    rng = np.random.default_rng(0)
    for _ in range(times):
        model.run([rng.normal(0, 1, LARGE).astype(np.float32)])
    (found,) = model.session.stats()["regions"]
    assert found.pop("name") == "rrm_region_0" and found["runs"] == times
    return found


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_threads_come_where_there_is_work() -> None:
    # On a machine that others use, too, a thread may come late for some time.
    found = (run(session(2), 20) for _ in range(20))
    assert any(f["crews"] > f["vain"] for f in found)


def test_who_is_alone_stops_asking() -> None:
    """A pool of one thread sends nobody: soon most runs do without."""
    found = run(session(1), 400)
    assert found["vain"] == found["crews"] and found["stalled"] == 0
    assert found["rested"] > 350 if found["vain"] else found["crews"] == 0  # one processor: nobody asks


def test_who_does_not_wait_has_no_crew() -> None:
    assert run(session(2, **{"rrm.linger_us": "0"}), 20)["crews"] == 0


def test_a_still_scene_wakes_nobody() -> None:
    model = session(2)
    x = np.ones((1, 3, 48, 48), np.float32)  # comparing and copying it is little
    for _ in range(60):
        model.run([x])
    before = model.session.stats()["regions"][0]["crews"]
    for _ in range(20):
        model.run([x])
    assert model.session.stats()["regions"][0]["crews"] == before


# --- a Region that nobody packed --------------------------------------------------------------------------------------


def ints(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(a for a in node.attribute if a.name == name)


def no_inputs(node: onnx.NodeProto) -> None:
    del ints(node, "s1_inputs").ints[:]


def inputs_of_later(node: onnx.NodeProto) -> None:
    ints(node, "s1_inputs").ints[0] = 99


def wrong_kind(node: onnx.NodeProto) -> None:
    """The last step, an Exit, read as a ticket."""
    last = next(a.i for a in node.attribute if a.name == "steps") - 1
    ints(node, f"s{last}_inputs").ints[0] = 0
    ints(node, "outputs").ints[0] -= 1


def output_of_an_input(node: onnx.NodeProto) -> None:
    ints(node, "outputs").ints[0] = 0


def one_output_twice(node: onnx.NodeProto) -> None:
    ints(node, "outputs").ints.append(ints(node, "outputs").ints[0])


def an_unknown_operator(node: onnx.NodeProto) -> None:
    ints(node, "s1_op").s = b"NoSuchOperator"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (no_inputs, "rrm node 'a'.*its inputs are not"),
        (inputs_of_later, "rrm node 'a'.*its inputs are not"),
        (wrong_kind, "its outputs are not"),
        (output_of_an_input, "region 'rrm_region_0'.*its outputs are not"),
        (one_output_twice, "its outputs are not"),
        (an_unknown_operator, "NoSuchOperator"),
    ],
)
def test_a_damaged_region_is_refused(damage: Callable[[onnx.NodeProto], None], said: str) -> None:
    """In one sentence, and not by a crash in some later run."""
    model = convert(model_of("large"))
    (node,) = (n for n in model.graph.node if is_region(n))
    damage(node)
    with pytest.raises(Exception, match=said):
        Native(model)


def test_dense_outputs_are_those_of_the_operators() -> None:
    dense = {op.__name__ for op in reference_ops() if getattr(op, "gives", "ticket") != "ticket"}
    assert dense == set(DENSE_OUTPUTS)
    assert rrm_nodes(convert(model_of("large")), "Exit")
