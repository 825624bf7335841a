"""Inputs, names, shapes, and what onnxruntime folds before anything else."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from models import Net, chain
from normalised import same_function
from onnx import TensorProto, helper

from rrm_onnx.errors import ConvertError, RuntimeMissingError
from rrm_onnx.load import load
from rrm_onnx.normalise import normalise
from rrm_onnx.pipeline import convert


def test_initializers_leave_the_inputs() -> None:
    model = chain("Relu")
    model.ir_version = 3
    for t in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, t.dims))
    normal = normalise(load(model))
    assert [i.name for i in normal.header.graph.input] == ["x"]
    assert normal.header.ir_version == 4
    assert same_function(model) == {"Conv": 2, "Relu": 1}


def test_nameless_nodes_are_named_by_place() -> None:
    model = chain("Relu")
    for n in model.graph.node:
        n.name = ""
    assert [n.name for n in normalise(load(model)).graph.nodes] == ["Conv_0", "Relu_1", "Conv_2"]
    for n in model.graph.node:
        n.name = "same"
    assert len({n.name for n in normalise(load(model)).graph.nodes}) == 3


def test_dropout_and_identity_vanish() -> None:
    assert same_function(chain("Identity", "Dropout", "Relu")) == {"Conv": 2, "Relu": 1}


def test_dynamic_input_survives() -> None:
    ops = same_function(chain("Relu", shape=("N", 3, "H", "W")))
    assert ops == {"Conv": 2, "Relu": 1}


class TestInputShapes:
    model = chain("Relu", shape=("N", 3, "H", "W"))

    def test_fixed(self) -> None:
        normal = normalise(load(self.model), {"x": (1, 3, 24, 32)})
        assert [d.dim_value for d in normal.header.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 24, 32]
        assert list(normal.graph.outputs[0].shape)[1:] == [4, 24, 32]

    def test_numbers_of_numpy(self) -> None:
        normal = normalise(load(self.model), {"x": np.array([1, 3, 24, 32])})
        assert [d.dim_value for d in normal.header.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 24, 32]

    @pytest.mark.parametrize(
        ("shapes", "text", "hint"),
        [
            ({"z": (1, 3, 8, 8)}, "no input 'z'", "known: 'x'"),
            ({3: (1, 3, 8, 8)}, "no input 3", "known: 'x'"),
            ({"x": (1, 3, 8)}, r"\[1, 3, 8\] does not fit the declared \['N', 3, 'H', 'W'\]", "all 4 dimensions"),
            ({"x": ()}, "does not fit", "all 4 dimensions"),
            ({"x": (1, 4, 8, 8)}, "does not fit", "only dimensions 0, 2, 3 are open"),
            ({"x": (1, 3, 0, 8)}, "holds 0, which is no size", "whole number"),
            ({"x": (-1, 3, 8, 8)}, "holds -1, which is no size", "whole number"),
            ({"x": (1, 3, 8.0, 8)}, r"holds 8\.0, which is no size", "whole number"),
            ({"x": (1, 3, "8", 8)}, "holds '8', which is no size", "whole number"),
            ({"x": ("N", 3, 8, 8)}, "holds 'N', which is no size", "whole number"),
            ({"x": (1, 3, None, 8)}, "holds None, which is no size", "whole number"),
            ({"x": (True, 3, 8, 8)}, "holds True, which is no size", "whole number"),
            ({"x": (1, 3, 1 << 40, 8)}, "holds 1099511627776, which is no size", "whole number"),
            ({"x": "1x3x8x8"}, "'1x3x8x8' is not a shape", "such as"),
            ({"x": 8}, "8 is not a shape", "such as"),
            ({"x": None}, "None is not a shape", "such as"),
            ([1, 3, 8, 8], "not a mapping of input names to shapes", "'NAME': "),
        ],
    )
    def test_refused(self, shapes: Any, text: str, hint: str) -> None:
        with pytest.raises(ConvertError, match=text) as caught:
            convert(self.model, input_shapes=shapes)
        assert hint in (caught.value.hint or "")

    def test_a_fixed_shape_cannot_be_changed(self) -> None:
        with pytest.raises(ConvertError, match="does not fit") as caught:
            convert(chain("Relu"), input_shapes={"x": (1, 3, 8, 8)})
        assert "leave it out" in (caught.value.hint or "")

    def test_an_input_that_is_no_tensor(self) -> None:
        model = chain("Relu")
        model.graph.input.append(helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None))
        with pytest.raises(ConvertError, match="'list' is not a tensor") as caught:
            convert(model, input_shapes={"list": (1, 3)})
        assert "leave it out" in (caught.value.hint or "")


def test_model_that_onnxruntime_cannot_load() -> None:
    net = Net()
    net.output(net.add("NoSuchOperator", net.input(), out="y"))
    with pytest.raises(ConvertError, match="cannot load the model") as caught:
        normalise(load(net.model()))
    assert "\n" not in caught.value.message


def test_missing_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeMissingError, match="onnxruntime is not installed") as caught:
        normalise(load(chain("Relu")))
    assert caught.value.hint == 'pip install "rrm_onnx[cpu]"'
