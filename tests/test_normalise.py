"""Normalising changes how a function is spelled, never the function."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from models import Net, chain, feeds, relative
from onnx import TensorProto, helper

import rrm_onnx.normalise
from rrm_onnx.emit import Writer
from rrm_onnx.errors import ConvertError, RuntimeMissingError
from rrm_onnx.load import load
from rrm_onnx.normalise import normalise
from rrm_onnx.pipeline import convert
from rrm_onnx.thresholds import Gates
from rrm_onnx.types import Normalised, Plan

ort = pytest.importorskip("onnxruntime")


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
        None, inputs
    )


def spelled_out(normal: Normalised) -> onnx.ModelProto:
    """The normalised graph as a plain ONNX model: everything dense, composites in standard operators."""
    writer = Writer(normal, Plan((), {}, {}), Gates(), False)
    for node in normal.graph.nodes:
        writer.add(node)
    model = writer.finish()
    del model.opset_import[-1]  # rrm, of which nothing is left
    return model


def same_function(model: onnx.ModelProto, **kwargs: object) -> Counter[str]:
    """Operators of the normalised graph, after checking that it computes what the model does."""
    normal = normalise(load(model), **kwargs)  # type: ignore[arg-type]
    plain = spelled_out(normal)
    inputs = feeds(plain)
    for got, want in zip(run(plain, inputs), run(model, inputs), strict=True):
        assert got.shape == want.shape
        assert relative(got, want) < 2e-6
    return Counter(n.op for n in normal.graph.nodes)


def between(build: Callable[[Net, str], str], opset: int = 13, channels: int = 8) -> onnx.ModelProto:
    """x -> Conv -> what `build` makes of it -> padded Conv -> y."""
    net = Net(opset)
    t = build(net, net.conv(net.input(), 8, name="conv_a"))
    net.output(net.conv(t, 4, channels, name="conv_b", out="y"))
    return net.model()


def clip06(net: Net, x: str) -> str:
    if net.opset < 11:
        return net.add("Clip", x, min=0.0, max=6.0)
    return net.add("Clip", x, net.const(0.0), net.const(6.0))


def relu6_min_max(net: Net, x: str) -> str:
    return net.add("Min", net.add("Max", x, net.const(0.0)), net.const(6.0))


HARD_SWISH: dict[str, Callable[[Net, str], str]] = {
    "(x * clip(x + 3)) / 6": lambda n, x: n.add(
        "Div", n.add("Mul", x, clip06(n, n.add("Add", x, n.const(3.0)))), n.const(6.0)
    ),
    "x * (clip(3 + x) / 6)": lambda n, x: n.add(
        "Mul", x, n.add("Div", clip06(n, n.add("Add", n.const([3.0]), x)), n.const(6.0))
    ),
    "(1/6 * clip(x + 3)) * x": lambda n, x: n.add(
        "Mul", n.add("Mul", n.const(1 / 6), clip06(n, n.add("Add", x, n.const([[[3.0]]])))), x
    ),
    "(x * 1/6) * clip(x + 3)": lambda n, x: n.add(
        "Mul", n.add("Mul", x, n.const(1 / 6)), clip06(n, n.add("Add", x, n.const(3.0)))
    ),
    "x * clip(x - -3) * 1/6, Min and Max": lambda n, x: n.add(
        "Mul", n.add("Mul", x, relu6_min_max(n, n.add("Sub", x, n.const(-3.0)))), n.const(1 / 6)
    ),
    "x * HardSigmoid(x)": lambda n, x: n.add("Mul", x, n.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
    "HardSwish": lambda n, x: n.add("Mul", n.add("HardSigmoid", x, alpha=0.2, beta=0.4), x),
}


@pytest.mark.parametrize("spelling", HARD_SWISH)
@pytest.mark.parametrize("opset", [9, 13])
def test_hard_swish(spelling: str, opset: int) -> None:
    ops = same_function(between(HARD_SWISH[spelling], opset))
    assert ops == {"Conv": 2, "HardSwish": 1}


def test_hard_swish_operator_of_opset_14() -> None:
    assert same_function(chain("HardSwish", opset=14))["HardSwish"] == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda n, x: n.add("Div", clip06(n, n.add("Add", x, n.const(3.0))), n.const(6.0)),
        lambda n, x: n.add("Mul", n.const(1 / 6), clip06(n, n.add("Add", x, n.const(3.0)))),
        lambda n, x: n.add(
            "Clip", n.add("Add", n.add("Mul", x, n.const(0.2)), n.const(0.5)), n.const(0.0), n.const(1.0)
        ),
    ],
)
def test_hard_sigmoid(build: Callable[[Net, str], str]) -> None:
    ops = same_function(between(lambda n, x: build(n, n.add("Abs", x))))
    assert ops["HardSigmoid"] == 1 and ops["Clip"] == 0


def test_gate_of_another_tensor_is_no_hard_swish() -> None:
    """x * HardSigmoid(y) is a squeeze-excite gate."""
    ops = same_function(between(lambda n, x: n.add("Mul", x, n.add("HardSigmoid", n.add("GlobalAveragePool", x)))))
    assert ops["HardSwish"] == 0 and ops["Mul"] == 1


def test_wrong_constants_are_no_hard_swish() -> None:
    def nearly(n: Net, x: str) -> str:
        return n.add("Div", n.add("Mul", x, clip06(n, n.add("Add", x, n.const(3.0)))), n.const(5.0))

    assert same_function(between(nearly))["HardSwish"] == 0


def test_silu_with_another_reader() -> None:
    """The sigmoid is read twice: it stays beside the Silu."""
    net = Net()
    x = net.conv(net.input(), 8)
    s = net.add("Sigmoid", x)
    net.output(net.add("Mul", s, x, out="y"))
    net.output(net.add("Relu", s, out="z"))
    ops = same_function(net.model())
    assert ops["Silu"] == 1 and ops["Sigmoid"] == 1 and ops["Mul"] == 0


GELU: list[Callable[[Net, str, str], str]] = [
    lambda n, x, e: n.add("Mul", n.add("Mul", x, n.add("Add", e, n.const(1.0))), n.const(0.5)),
    lambda n, x, e: n.add("Mul", n.add("Mul", n.const(0.5), x), n.add("Add", n.const(1.0), e)),
    lambda n, x, e: n.add("Mul", x, n.add("Mul", n.add("Add", e, n.const(1.0)), n.const(0.5))),
]


@pytest.mark.parametrize("build", GELU)
@pytest.mark.parametrize("divide", [True, False])
def test_gelu(build: Callable[[Net, str, str], str], divide: bool) -> None:
    def gelu(n: Net, x: str) -> str:
        root = math.sqrt(2.0)
        inner = n.add("Div", x, n.const(root)) if divide else n.add("Mul", x, n.const(1 / root))
        return build(n, x, n.add("Erf", inner))

    assert same_function(between(gelu)) == {"Conv": 2, "Gelu": 1}


def test_clips_merge() -> None:
    assert same_function(between(relu6_min_max)) == {"Conv": 2, "Clip": 1}


def batch_norm(n: Net, x: str, channels: int = 8) -> str:
    params = [n.const(n.rng.uniform(0.5, 1.5, channels)) for _ in range(4)]
    return n.add("BatchNormalization", x, *params, epsilon=1e-3)


def test_batch_norm_behind_conv_is_folded() -> None:
    assert same_function(between(batch_norm)) == {"Conv": 2}


@pytest.mark.parametrize("group", [1, 2])
def test_affine_behind_conv_transpose_is_folded(group: int) -> None:
    net = Net()
    w = net.const(net.rng.normal(0, 0.2, (4, 6 // group, 2, 2)))
    t = net.add("ConvTranspose", net.input(shape=(1, 4, 5, 7)), w, strides=[2, 2], group=group)
    t = net.add("Add", t, net.const(net.rng.normal(0, 1, (1, 6, 1, 1))))
    net.output(net.add("Relu", batch_norm(net, t, 6), out="y"))
    assert same_function(net.model()) == {"ConvTranspose": 1, "Relu": 1}


@pytest.mark.parametrize(
    ("op", "left"), [("Mul", True), ("Mul", False), ("Add", True), ("Sub", False), ("Sub", True), ("Div", False)]
)
@pytest.mark.parametrize("shape", [(), (1,), (8, 1, 1), (1, 8, 1, 1)])
def test_constant_behind_conv_is_folded(op: str, left: bool, shape: tuple[int, ...]) -> None:
    def build(n: Net, x: str) -> str:
        c = n.const(n.rng.uniform(0.5, 2.0, shape))
        return n.add("Relu", n.add(op, c, x) if left else n.add(op, x, c))

    assert same_function(between(build)) == {"Conv": 2, "Relu": 1}


def test_constant_along_width_is_kept() -> None:
    ops = same_function(between(lambda n, x: n.add("Mul", x, n.const(n.rng.uniform(0.5, 2.0, (16,))))))
    assert ops["Mul"] == 1


def test_conv_that_is_an_output_is_not_folded() -> None:
    net = Net()
    x = net.output(net.conv(net.input(), 8, out="raw"))
    net.output(net.add("Mul", x, net.const(2.0), out="y"))
    assert same_function(net.model()) == {"Conv": 1, "Mul": 1}


def test_batch_norm_behind_pool_is_spelled_out() -> None:
    ops = same_function(between(lambda n, x: batch_norm(n, n.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))))
    # The scale goes into the next convolution, which is padded, so that the offset has to stay.
    assert ops == {"Conv": 2, "MaxPool": 1, "Add": 1}


def test_affine_before_an_unpadded_conv_goes_into_it() -> None:
    net = Net()
    t = batch_norm(net, net.add("Relu", net.conv(net.input(), 8)))
    net.output(net.conv(t, 4, 8, k=3, pads=[0, 0, 0, 0], out="y"))
    assert same_function(net.model()) == {"Conv": 2, "Relu": 1}


@pytest.mark.parametrize("group", [2, 4])
def test_scale_before_a_grouped_conv_goes_into_it(group: int) -> None:
    net = Net()
    t = net.add("Mul", net.input(shape=(1, 8, 9, 9)), net.const(net.rng.uniform(0.5, 2, (8, 1, 1))))
    net.output(net.conv(t, 12, 8, group=group, out="y"))
    assert same_function(net.model()) == {"Conv": 1}


def test_permutation_before_a_conv_goes_into_it() -> None:
    net = Net()
    t = net.add("Gather", net.input(shape=(1, 8, 9, 9)), net.const([3, 1, 0, 2, 7, 6, 5, 4], np.int64), axis=1)
    net.output(net.conv(t, 4, 8, out="y"))
    assert same_function(net.model()) == {"Conv": 1}


def test_permutation_before_a_grouped_conv_stays() -> None:
    net = Net()
    t = net.add("Gather", net.input(shape=(1, 8, 9, 9)), net.const([3, 1, 0, 2, 7, 6, 5, 4], np.int64), axis=1)
    net.output(net.conv(t, 4, 8, group=2, out="y"))
    assert same_function(net.model()) == {"Gather": 1, "Conv": 1}


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_reduction_over_sites_is_a_global_pool(opset: int) -> None:
    net = Net(opset)
    x = net.conv(net.input(), 8)
    means = (
        net.add("ReduceMean", x, net.const([2, 3], np.int64))
        if opset >= 18
        else net.add("ReduceMean", x, axes=[-1, -2])
    )
    net.output(net.add("Mul", x, means, out="y"))
    assert same_function(net.model())["GlobalAveragePool"] == 1


def test_reduction_over_channels_stays() -> None:
    net = Net(13)
    x = net.conv(net.input(), 8)
    net.output(net.add("ReduceMean", x, axes=[1], out="y"))
    assert same_function(net.model())["ReduceMean"] == 1


def shuffle_net(n: Net, x: str) -> str:
    t = n.add("Reshape", x, n.const([1, 2, 4, 16, 16], np.int64))
    t = n.add("Transpose", t, perm=[0, 2, 1, 3, 4])
    return n.add("Relu", n.add("Reshape", t, n.const([1, 8, 16, 16], np.int64)))


def test_channel_shuffle_is_a_gather() -> None:
    assert same_function(between(shuffle_net)) == {"Conv": 2, "Relu": 1, "Gather": 1}


def test_reshape_that_mixes_sites_stays() -> None:
    def mix(n: Net, x: str) -> str:
        t = n.add("Reshape", x, n.const([1, 4, 2, 16, 16], np.int64))
        t = n.add("Transpose", t, perm=[0, 1, 4, 3, 2])
        return n.add("Reshape", t, n.const([1, 8, 16, 16], np.int64))

    assert same_function(between(mix))["Gather"] == 0


@pytest.mark.parametrize("two_steps", [True, False])
def test_focus_is_space_to_depth(monkeypatch: pytest.MonkeyPatch, two_steps: bool) -> None:
    """With onnxruntime's own fusion, and without it, as in older versions."""

    def part(n: Net, x: str, oy: int, ox: int) -> str:
        def cut(t: str, starts: list[int], axes: list[int]) -> str:
            ends, steps = [2**31 - 1] * len(axes), [2] * len(axes)
            return n.add("Slice", t, *(n.const(v, np.int64) for v in (starts, ends, axes, steps)))

        return cut(cut(x, [oy], [2]), [ox], [3]) if two_steps else cut(x, [oy, ox], [2, 3])

    net = Net(11)
    x = net.input()
    parts = [part(net, x, oy, ox) for ox in (0, 1) for oy in (0, 1)]
    net.output(net.conv(net.add("Concat", *parts, axis=1), 4, 12, out="y"))
    want = {"SpaceToDepth": 1, "Conv": 1}  # the order of the channels went into the weights
    assert same_function(net.model()) == want
    monkeypatch.setattr(rrm_onnx.normalise, "fold", lambda model: model)
    assert same_function(net.model()) == want


def excite(net: Net, x: str, m: int = 8) -> str:
    """GlobalAveragePool -> [1, 8] -> Gemm -> Relu -> Gemm -> spelled-out hard sigmoid -> [1, m, 1, 1]."""
    v = net.add("Flatten", net.add("GlobalAveragePool", x))
    v = net.add("Relu", net.add("Gemm", v, net.const(net.rng.normal(0, 1, (4, 8))), net.const(np.ones(4)), transB=1))
    v = net.add("Gemm", v, net.const(net.rng.normal(0, 1, (4, m))), net.const(np.ones((1, m))), alpha=0.5, beta=2.0)
    v = net.add("HardSigmoid", v)
    return net.add("Reshape", v, net.const([1, m, 1, 1], np.int64))


def test_fully_connected_gate_stays_a_map() -> None:
    ops = same_function(between(lambda n, x: n.add("Mul", x, excite(n, x))))
    assert ops == {"Conv": 4, "GlobalAveragePool": 1, "Relu": 1, "HardSigmoid": 1, "Mul": 1}


def test_vector_that_is_read_elsewhere_is_kept() -> None:
    net = Net(13)
    x = net.conv(net.input(), 8)
    net.output(net.add("Mul", x, excite(net, x), out="y"))
    net.output(net.add("Softmax", net.nodes[-3].output[0], axis=1, out="z"))  # of the HardSigmoid's vector
    ops = same_function(net.model())
    assert ops["Gemm"] == 2 and ops["Conv"] == 3


def test_classifier_stays_fully_connected() -> None:
    net = Net(13)
    v = net.add("Flatten", net.add("GlobalAveragePool", net.conv(net.input(), 8)))
    net.output(net.add("Gemm", v, net.const(net.rng.normal(0, 1, (8, 10))), out="y"))
    assert same_function(net.model())["Gemm"] == 1


@pytest.mark.parametrize("left", [True, False])
def test_sum_with_a_gated_map(left: bool) -> None:
    def build(n: Net, x: str) -> str:
        gated = n.add("Mul", n.add("Sigmoid", n.add("GlobalAveragePool", x)), x)
        return n.add("Add", gated, x) if left else n.add("Add", x, gated)

    ops = same_function(between(build))
    assert ops["Mul"] == 1 and ops["Add"] == 1
    normal = normalise(load(between(build)))
    (add,) = (n for n in normal.graph.nodes if n.op == "Add")
    assert list(add.outputs[0].shape) == [1, 8, 1, 1]  # on the gate, not on the map


def test_sum_with_another_map_stays() -> None:
    def build(n: Net, x: str) -> str:
        return n.add("Add", x, n.add("Mul", n.add("Relu", x), n.add("Sigmoid", n.add("GlobalAveragePool", x))))

    (add,) = (n for n in normalise(load(between(build))).graph.nodes if n.op == "Add")
    assert list(add.outputs[0].shape) == [1, 8, 16, 16]


def test_preprocessing_in_nhwc_moves_behind_the_transpose() -> None:
    net = Net(13)
    t = net.add("Cast", net.input(shape=(1, 16, 16, 3), kind=TensorProto.UINT8), to=TensorProto.FLOAT)
    t = net.add("Div", net.add("Sub", t, net.const([1.0, 2.0, 3.0])), net.const(net.rng.uniform(1, 2, (1, 1, 1, 3))))
    t = net.add("Transpose", t, perm=[0, 3, 1, 2])
    net.output(net.conv(t, 4, out="y"))
    normal = normalise(load(net.model()))
    assert normal.graph.nodes[0].op == "Transpose"
    same_function(net.model())


def test_activation_in_nhwc_moves_before_the_transpose() -> None:
    net = Net(13)
    t = net.add("Transpose", net.conv(net.input(), 4), perm=[0, 2, 3, 1])
    t = net.add("Add", net.add("Relu", t), net.const([1.0, 2.0, 3.0, 4.0]))
    net.output(net.add("Sigmoid", t, out="y"))
    normal = normalise(load(net.model()))
    assert normal.graph.nodes[-1].op == "Transpose"
    same_function(net.model())


def test_reshape_of_one_channel_is_a_transpose() -> None:
    net = Net(13)
    net.output(net.add("Reshape", net.conv(net.input(), 1), net.const([1, 16, 16, 1], np.int64), out="y"))
    assert same_function(net.model()) == {"Conv": 1, "Transpose": 1}


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


@pytest.mark.parametrize("heads", [1, 3])
def test_rows_of_detection_heads_are_not_turned_twice(heads: int) -> None:
    """Reshape to [N, C, sites], joined over sites, turned: the rows of the maps already lie that way."""
    net = Net()
    x = net.conv(net.input(), 8)
    flat = []
    for head in range(heads):
        y = net.conv(x, 5, 8, strides=[head + 1] * 2)
        flat.append(net.add("Reshape", y, net.const([1, 5, -1], np.int64)))
    joined = net.add("Concat", *flat, axis=2) if heads > 1 else flat[0]
    net.output(net.add("Transpose", joined, perm=[0, 2, 1], out="y"))
    model = net.model()
    ops = same_function(model)
    assert ops["Transpose"] == heads
    assert ops["Reshape"] == heads
    converted = rrm_onnx.convert(model)
    left = Counter(n.op_type for n in converted.graph.node if n.domain != "rrm")
    assert left == Counter({"Reshape": heads} | ({"Concat": 1} if heads > 1 else {}))
    exits = [n for n in converted.graph.node if n.op_type == "Exit"]
    assert all(helper.get_node_attr_value(n, "channels_last") == 1 for n in exits)


def test_flattened_maps_that_others_read_too_stay_as_they_are() -> None:
    net = Net()
    y = net.conv(net.conv(net.input(), 8), 5, 8)
    flat = net.add("Reshape", y, net.const([1, 5, -1], np.int64), out="flat")
    net.output(net.add("Transpose", flat, perm=[0, 2, 1], out="y"))
    net.output("flat")
    assert same_function(net.model())["Transpose"] == 1
