"""What each rule makes of a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from decisions import accepted, decide, decided, i64, size
from models import Net

from rrm_onnx.errors import ConvertError
from rrm_onnx.match import match
from rrm_onnx.types import Match, Normalised, Refusal


@pytest.mark.parametrize(
    ("attrs", "want"),
    [
        ({"strides": [2, 2]}, (8, 8, 8)),
        ({"dilations": [2, 2], "pads": [2, 2, 2, 2]}, (8, 16, 16)),
        ({"auto_pad": "SAME_UPPER", "strides": [3, 2]}, (8, 6, 8)),
        ({"auto_pad": "VALID"}, (8, 14, 14)),
        ({"pads": [0, 1, 2, 0]}, (8, 16, 15)),
    ],
)
def test_conv_geometry(attrs: dict[str, Any], want: tuple[int, ...]) -> None:
    found, written = accepted(lambda n: n.conv(n.input(), name="it", **attrs))
    assert size(found) == want
    assert found.macs == want[1] * want[2] * 8 * 3 * 9
    assert written["kernel_shape"] == (3, 3) and written["auto_pad"] == attrs.get("auto_pad", "NOTSET")
    assert written["activation"] == "None" and written["group"] == 1
    assert {"strides", "pads", "dilations", "activation_params", "threshold", "scale"} <= written.keys()
    assert [c.values.shape for c in found.emits[0].constants] == [(8, 3, 3, 3), (8,)]


def test_conv_without_bias_gets_zeros() -> None:
    found, _ = accepted(lambda n: n.add("Conv", n.input(), n.const(np.ones((5, 3, 1, 1))), name="it"))
    bias = found.emits[0].constants[1]
    assert bias.name == "it/bias" and bias.values.tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("attrs", "pads", "want"),
    [
        ({"strides": [2, 2]}, (0, 0, 0, 0), (9, 9)),
        ({"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, (1, 1, 1, 1), (8, 8)),
        ({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (0, 0, 1, 1), (8, 8)),
        ({"strides": [2, 2], "auto_pad": "SAME_LOWER"}, (1, 1, 0, 0), (8, 8)),
        ({"strides": [2, 2], "output_shape": [8, 8]}, (1, 1, 0, 0), (8, 8)),
        ({"auto_pad": "VALID"}, (0, 0, 0, 0), (6, 6)),
        ({"strides": [2, 2], "auto_pad": "VALID", "output_shape": [10, 8]}, (0, 1, 0, 0), (10, 8)),
    ],
)
def test_conv_transpose_pads(attrs: dict[str, Any], pads: tuple[int, ...], want: tuple[int, int]) -> None:
    """Pads as onnxruntime resolves them (test_emit.py runs some of these)."""
    found, written = accepted(
        lambda n: n.add(
            "ConvTranspose", n.input(shape=(1, 3, 4, 4)), n.const(np.ones((3, 2, 3, 3))), name="it", **attrs
        )
    )
    assert written["pads"] == pads and written["auto_pad"] == "NOTSET"
    assert size(found) == (2, *want)


@pytest.mark.parametrize(
    ("op", "attrs", "want"),
    [
        ("Relu", {}, ("Relu", ())),
        ("LeakyRelu", {}, ("LeakyRelu", (0.01,))),
        ("Elu", {"alpha": 0.5}, ("Elu", (0.5,))),
        ("HardSigmoid", {}, ("HardSigmoid", (0.2, 0.5))),
        ("HardSwish", {}, ("HardSwish", (1 / 6, 0.5))),
        ("Softplus", {}, ("Softplus", ())),
    ],
)
def test_activation_attributes(op: str, attrs: dict[str, Any], want: tuple[str, tuple[float, ...]]) -> None:
    _, written = accepted(lambda n: n.add(op, n.input(), name="it", **attrs))
    assert written["activation"] == want[0]
    assert written["activation_params"] == pytest.approx(want[1])


@pytest.mark.parametrize("opset", [9, 17])
def test_clip_bounds(opset: int) -> None:
    def clip(n: Net) -> str:
        return (
            n.add("Clip", n.input(), max=6.0, name="it")
            if opset < 11
            else n.add("Clip", n.input(), "", n.const(6.0), name="it")
        )

    _, written = accepted(clip, opset)
    assert written["activation_params"] == pytest.approx((-3.402823466e38, 6.0))


def test_prelu_slopes() -> None:
    _, one = accepted(lambda n: n.add("PRelu", n.input(), n.const([0.25]), name="it"))
    _, many = accepted(lambda n: n.add("PRelu", n.input(), n.const(np.reshape([1, 2, 3], (3, 1, 1))), name="it"))
    assert one["activation_params"] == (0.25,) and many["activation_params"] == (1.0, 2.0, 3.0)


def test_binary_const_side_and_shape() -> None:
    found, written = accepted(lambda n: n.add("Sub", n.const(1.0), n.input(), name="it"))
    assert written["op"] == "Sub" and written["reverse"] == 1
    assert found.emits[0].constants[0].values.shape == (1,)
    found, written = accepted(lambda n: n.add("Div", n.input(), n.const(np.ones((1, 3, 1, 1))), name="it"))
    assert written["reverse"] == 0 and found.emits[0].constants[0].values.shape == (3,)


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        ((1, 3, 4, 5), (1, 3, 4, 5), (3, 4, 5)),
        ((1, 3, 4, 5), (1, 3, 1, 1), (3, 4, 5)),
        ((1, 3, 1, 1), (1, 3, 4, 5), (3, 4, 5)),
        ((1, 1, 4, 5), (1, 3, 4, 5), (3, 4, 5)),
        ((1, 3, "H", "W"), (1, 3, 1, 1), (3, None, None)),
        ((1, 3, "H", 5), (1, 3, 4, "W"), (3, 4, 5)),
    ],
)
def test_binary_broadcast(a: tuple[Any, ...], b: tuple[Any, ...], want: tuple[int | None, ...]) -> None:
    found, written = accepted(lambda n: n.add("Mul", n.input("a", a), n.input("b", b), name="it"))
    assert written["op"] == "Mul" and size(found) == want


def test_concat_and_views() -> None:
    found, _ = accepted(lambda n: n.add("Concat", n.input(), n.input("z", (1, 5, 16, 16)), axis=-3, name="it"))
    assert size(found) == (8, 16, 16) and found.inputs == ("x", "z")
    found, written = accepted(lambda n: n.add("Slice", n.input(), i64(n, -2), i64(n, 9), i64(n, 1), name="it"))
    assert written == {"start": 1, "end": 3} and size(found) == (2, 16, 16)
    found, written = accepted(lambda n: n.add("Slice", n.input(), starts=[0], ends=[1], axes=[1], name="it"), 9)
    assert written == {"start": 0, "end": 1}


OPEN = (1, 3, "h", "w")
REST = 2**63 - 1


@pytest.mark.parametrize(
    ("shape", "starts", "ends", "axes", "pads", "want"),
    [
        ((1, 3, 9, 8), [2], [-1], [2], (-2, 0, -1, 0), (6, 8)),
        ((1, 3, 9, 8), [-3, 0], [99, 4], [2, -1], (-6, 0, 0, -4), (3, 4)),
        ((1, 3, 9, 8), [0, 0, 0, 1], [REST, REST, REST, 7], None, (0, -1, 0, -1), (9, 6)),
        (OPEN, [1, 0], [-1, -2], [2, 3], (-1, 0, -1, -2), (None, None)),
        (OPEN, [3], [REST], [3], (0, -3, 0, 0), (None, None)),
    ],
)
def test_slices_of_height_and_width_crop(
    shape: tuple[Any, ...], starts: Any, ends: Any, axes: Any, pads: tuple[int, ...], want: tuple[Any, ...]
) -> None:
    found, written = accepted(
        lambda n: n.add(
            "Slice", n.input(shape=shape), i64(n, *starts), i64(n, *ends), *([i64(n, *axes)] if axes else []), name="it"
        )
    )
    assert found.emits[0].op == "Pad" and written["pads"] == pads and size(found)[1:] == want


@pytest.mark.parametrize(
    ("transform", "mode", "given", "want"),
    [
        ("half_pixel_symmetric", "linear", {"scales": [1, 1, 2, 3]}, "half_pixel"),
        ("half_pixel_symmetric", "linear", {"sizes": [1, 3, 7, 40]}, "half_pixel"),
        ("half_pixel_symmetric", "linear", {"scales": [1, 1, 2, 1.3]}, None),
        ("tf_half_pixel_for_nn", "nearest", {"scales": [1, 1, 2, 3]}, "asymmetric"),
        ("tf_half_pixel_for_nn", "nearest", {"sizes": [1, 3, 32, 16]}, "asymmetric"),
        ("tf_half_pixel_for_nn", "nearest", {"sizes": [1, 3, 24, 16]}, None),
        ("tf_half_pixel_for_nn", "nearest", {"scales": [1, 1, 0.5, 1]}, None),
        ("tf_half_pixel_for_nn", "linear", {"scales": [1, 1, 2, 2]}, None),
    ],
)
def test_rare_places_of_resize(transform: str, mode: str, given: dict[str, Any], want: str | None) -> None:
    """They are those of another mode for whole factors."""

    def build(n: Net) -> str:
        scales = n.const(given["scales"]) if "scales" in given else n.const([])
        sizes = [i64(n, *given["sizes"])] if "sizes" in given else []
        attrs = {"mode": mode, "coordinate_transformation_mode": transform, "nearest_mode": "floor"}
        return n.add("Resize", n.input(), n.const([]), scales, *sizes, name="it", **attrs)

    found = decide(build, 11)
    assert isinstance(found, Refusal) if want is None else isinstance(found, Match)
    if isinstance(found, Match):
        assert found.emits[0].attributes["coordinate_transformation_mode"] == want
    else:
        assert found.code == "mode" and "not whole" in found.reason


def test_bounds_that_are_the_same_for_all_sizes() -> None:
    """Half of the channels, computed from the shape; half of the height is another for each size."""

    def build(axis: int) -> Callable[[Net], str]:
        def part(n: Net) -> str:
            size = n.add("Gather", n.add("Shape", n.input(shape=(1, 6, "h", "w"))), i64(n, axis))
            return n.add("Slice", "x", i64(n, 0), n.add("Div", size, i64(n, 2)), i64(n, axis), name="it")

        return part

    found, written = accepted(build(1))
    assert written == {"start": 0, "end": 3} and size(found) == (3, None, None)
    other = decide(build(2))
    assert isinstance(other, Refusal) and other.code == "parameter-not-constant"


@pytest.mark.parametrize(
    ("shape", "constant", "want"),
    [
        ((1, 3, 5, 4), (1, 3, 5, 4), (5, 4, 3)),
        (("n", 3, 5, 4), (5, 4), (5, 4, 1)),
        ((1, 3, 1, 1), (3, 1, 1), (3,)),
        ((1, 3, 5, 4), (3, 5, 1), None),
        ((1, 1, 5, 4), (3, 5, 4), None),
        ((1, 3, "h", 4), (3, 5, 4), None),
        ((1, 3, 1, 1), (3, 5, 4), None),
    ],
)
def test_constant_maps(shape: Any, constant: tuple[int, ...], want: tuple[int, ...] | None) -> None:
    """Of the same size, which is known; what would widen the map stays dense."""
    values = np.arange(np.prod(constant)).reshape(constant)
    found = decide(lambda n: n.add("Add", n.input(shape=shape), n.const(values), name="it"))
    if want is None:
        assert isinstance(found, Refusal) and found.code == "broadcast"
    else:
        assert isinstance(found, Match) and found.emits[0].constants[0].values.shape == want


def test_a_slice_of_nothing_is_a_view() -> None:
    found, written = accepted(lambda n: n.add("Slice", n.input(), i64(n, 0), i64(n, REST), i64(n, 2), name="it"))
    assert found.emits[0].op == "Slice" and written == {"start": 0, "end": 3}


@pytest.mark.parametrize(
    ("opset", "given", "want"),
    [(11, [1, 4], [(0, 1), (1, 5)]), (17, [1, 4], [(0, 1), (1, 5)]), (18, None, [(0, 3), (3, 5)])],
)
def test_split(opset: int, given: list[int] | None, want: list[tuple[int, int]]) -> None:
    def split(n: Net) -> str:
        x = n.input(shape=(1, 5, 4, 4))
        if given is None:
            return n.add("Split", x, axis=1, num_outputs=2, outputs=["a", "b"], name="it")
        if opset < 13:
            return n.add("Split", x, axis=1, split=given, outputs=["a", "b"], name="it")
        return n.add("Split", x, i64(n, *given), axis=1, outputs=["a", "b"], name="it")

    found, _ = accepted(split, opset)
    assert [(e.attributes["start"], e.attributes["end"]) for e in found.emits] == want
    assert found.outputs == ("a", "b")


def test_gather_of_a_range_is_a_view() -> None:
    found, written = accepted(lambda n: n.add("Gather", n.input(), i64(n, 1, 2), axis=1, name="it"))
    assert found.emits[0].op == "Slice" and written == {"start": 1, "end": 3}
    found, written = accepted(lambda n: n.add("Gather", n.input(), i64(n, 2, -3), axis=1, name="it"))
    assert found.emits[0].op == "ChannelGather" and written["indices"] == (2, 0)


def test_pools() -> None:
    found, written = accepted(
        lambda n: n.add(
            "MaxPool", n.input(shape=(1, 3, 7, 7)), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, name="it"
        )
    )
    assert size(found) == (3, 4, 4) and written["ceil_mode"] == 1
    found, written = accepted(
        lambda n: n.add("AveragePool", n.input(), kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1, name="it")
    )
    assert size(found) == (3, 16, 16) and written["count_include_pad"] == 1
    found, _ = accepted(lambda n: n.add("GlobalMaxPool", n.input(shape=(1, 3, "H", "W")), name="it"))
    assert size(found) == (3, 1, 1)


def test_resize() -> None:
    found, written = accepted(
        lambda n: n.add("Resize", n.input(shape=(1, 3, 5, 7)), "", n.const([1, 1, 1.5, 2]), mode="linear", name="it")
    )
    assert written["scales"] == (1.5, 2.0) and written["sizes"] == () and written["mode"] == "linear"
    assert written["coordinate_transformation_mode"] == "half_pixel" and size(found) == (3, 7, 14)
    found, written = accepted(lambda n: n.add("Resize", n.input(), "", "", i64(n, 1, 3, 9, 8), name="it"))
    assert written["sizes"] == (9, 8) and written["scales"] == () and size(found) == (3, 9, 8)
    found, written = accepted(lambda n: n.add("Resize", n.input(), "", n.const([2, 3]), axes=[2, 3], name="it"), 18)
    assert written["scales"] == (2.0, 3.0)
    found, written = accepted(lambda n: n.add("Upsample", n.input(), n.const([1, 1, 2, 2]), name="it"), 9)
    assert written["coordinate_transformation_mode"] == "asymmetric" and written["nearest_mode"] == "floor"
    assert found.emits[0].op == "Resize"


def test_space_and_depth() -> None:
    found, _ = accepted(lambda n: n.add("SpaceToDepth", n.input(), blocksize=2, name="it"))
    assert size(found) == (12, 8, 8)
    found, written = accepted(
        lambda n: n.add("DepthToSpace", n.input(shape=(1, 8, 4, 4)), blocksize=2, mode="CRD", name="it")
    )
    assert size(found) == (2, 8, 8) and written["mode"] == "CRD"


@pytest.mark.parametrize("opset", [9, 17])
def test_pad(opset: int) -> None:
    def pad(n: Net) -> str:
        pads = [0, 0, 1, 2, 0, 0, 3, 4]
        if opset < 11:
            return n.add("Pad", n.input(), pads=pads, value=5.0, name="it")
        return n.add("Pad", n.input(), i64(n, *pads), n.const(5.0), name="it")

    found, written = accepted(pad, opset)
    assert written == {"pads": (1, 2, 3, 4), "mode": "constant", "value": 5.0}
    assert size(found) == (3, 20, 22)


class TestFusion:
    """Activations behind convolutions and arithmetic."""

    @staticmethod
    def net(*ops: str) -> tuple[Net, str]:
        net = Net()
        t = net.conv(net.input(), name="conv")
        for op in ops:
            t = net.add(op, t, name=op)
        return net, t

    def test_single_reader(self) -> None:
        net, t = self.net("Relu")
        net.output(t)
        found = decided(net.model())
        assert list(found) == ["conv"]
        conv = found["conv"]
        assert isinstance(conv, Match) and conv.absorbed == ("Relu",) and conv.outputs == (t,)
        assert conv.emits[0].attributes["activation"] == "Relu" and conv.emits[0].name == "conv"

    def test_first_of_a_chain(self) -> None:
        net, t = self.net("Relu", "Sigmoid")
        net.output(t)
        found = decided(net.model())
        assert list(found) == ["conv", "Sigmoid"]

    def test_not_across_an_output(self) -> None:
        net, t = self.net("Relu")
        net.output(t)
        net.output("t0")
        assert list(decided(net.model())) == ["conv", "Relu"]

    def test_not_with_other_readers(self) -> None:
        net, t = self.net("Relu")
        net.output(net.add("Add", t, "t0", name="add"))
        assert list(decided(net.model())) == ["conv", "Relu", "add"]

    def test_into_arithmetic(self) -> None:
        net, t = self.net()
        net.output(net.add("Relu", net.add("Add", t, net.input("z", (1, 8, 16, 16)), name="add"), name="relu"))
        add = decided(net.model())["add"]
        assert isinstance(add, Match) and add.emits[0].attributes["activation"] == "Relu"

    def test_skipped_activation_stays(self) -> None:
        net, t = self.net("Relu")
        net.output(t)
        found = decided(net.model(), skip=("Relu",))
        assert isinstance(found["conv"], Match) and not found["conv"].absorbed
        assert isinstance(found["Relu"], Refusal) and found["Relu"].code == "skipped"


def test_skip_by_operator_and_name() -> None:
    net, t = TestFusion.net("Relu", "Sigmoid")
    net.output(t)
    model = net.model()
    assert [d.code for d in decided(model, ("Conv",)).values() if isinstance(d, Refusal)] == ["skipped"]
    with pytest.raises(ConvertError, match="'Sigmiod'") as caught:
        decided(model, ("Sigmiod",))
    assert caught.value.hint == "did you mean 'Sigmoid'?"


def test_channels_are_followed_where_inference_fails() -> None:
    """Behind a node of an unknown domain nothing is known; behind a convolution of a map, everything is."""
    net = Net()
    t = net.conv(net.input(shape=(1, 3, "H", "W")), name="conv")
    net.output(net.add("Relu", net.add("MaxPool", t, kernel_shape=[2, 2], name="pool"), name="it"))
    model = net.model()
    found = match(Normalised(gs.import_onnx(model), model, 17))["it"]  # no shape inference at all
    assert isinstance(found, Match) and size(found) == (8, None, None)
