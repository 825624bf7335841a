"""Activations of onnxruntime's own domain in random graphs and known networks: the rest computes the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
import soak
from families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st
from native import needs_library
from onnx import helper
from random_graphs import drawn, random_frames, random_graph
from test_foreign import MICROSOFT, check

from rrm_onnx.bench.operators import convert

REPLACED = ("Relu", "Sigmoid", "LeakyRelu", "HardSwish", "Elu", "Softplus", "Abs", "Clip", "Erf")


def replaced(model: onnx.ModelProto, choose: Callable[[list[Any]], Any], told: bool) -> bool:
    """Put foreign activations in the place of some; told: whether the model says what shapes they have."""
    powers = {name for n in model.graph.node if n.op_type == "Pow" for name in n.input}
    places = [n for n in model.graph.node if n.op_type in REPLACED and n.output[0] not in powers]  # a root of it is NaN
    for node in [n for n in places if choose([True, False])] or places[:1]:
        op = choose(["QuickGelu", "Gelu"])
        made = helper.make_node(op, node.input[:1], list(node.output), node.name, domain=MICROSOFT)
        node.CopyFrom(made)
    if not told:
        del model.graph.value_info[:]
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return bool(places)


@needs_library
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_random_graphs_with_foreign_activations(data: st.DataObject) -> None:
    choose, seed = drawn(data)
    model, shape = random_graph(choose, seed)
    if replaced(model, choose, choose([True, False])):
        soak.check(model, random_frames(choose, shape, seed, 4))


@needs_library
@pytest.mark.parametrize("family", FAMILIES[::3], ids=lambda f: f.name)
def test_families_with_foreign_activations(family: Any) -> None:
    model = family.build()
    if not replaced(model, soak.seeded(3), False):
        pytest.skip("no activation")
    converted = convert(model)
    for sizes in family.sizes:
        check(model, converted, sizes)
