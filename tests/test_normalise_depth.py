"""Convolutions over a SpaceToDepth: one convolution each, where nothing else reads it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Net
from normalised import same_function

from rrm_onnx.load import load
from rrm_onnx.normalise import normalise

C = 3


def deep_net(
    block: int, convs: list[dict[str, object]], batch: int | str = 2, size: tuple[int | str, int | str] = (12, 18)
) -> Net:
    """x -> SpaceToDepth(block) -> the convolutions; a `kernel` of two numbers, other entries are attributes."""
    net = Net(13)
    x = net.add("SpaceToDepth", net.input(shape=(batch, C, *size)), blocksize=block)
    deep = C * block**2
    for i, given_attrs in enumerate(convs):
        attrs = dict(given_attrs)
        kernel = attrs.pop("kernel")
        group = int(attrs.get("group", 1))  # type: ignore[call-overload]
        w = net.const(net.rng.normal(0, 0.3, (4 * group, deep // group, *kernel)))  # type: ignore[misc]
        net.output(net.add("Conv", x, w, out=f"y{i}", **attrs))
    return net


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_plain_convolution(data: st.DataObject) -> None:
    pairs = st.lists(st.integers(1, 2), min_size=2, max_size=2)
    conv = st.fixed_dictionaries(
        {"kernel": st.tuples(st.integers(1, 3), st.integers(1, 3))},
        optional={
            "strides": pairs,
            "pads": st.lists(st.integers(0, 2), min_size=4, max_size=4),
            "dilations": st.just([1, 1]),
        },
    )
    convs = data.draw(st.lists(conv, min_size=1, max_size=3))
    net = deep_net(data.draw(st.sampled_from([2, 3])), convs, data.draw(st.sampled_from([1, 2, "n"])))
    assert same_function(net.model()) == {"Conv": len(convs)}


def test_valid_has_no_pads() -> None:
    assert same_function(deep_net(2, [{"kernel": (3, 3), "auto_pad": "VALID"}]).model()) == {"Conv": 1}


@pytest.mark.parametrize(
    "conv",
    [
        {"kernel": (3, 3), "dilations": [2, 2]},
        {"kernel": (3, 3), "group": 2},
        {"kernel": (3, 3), "auto_pad": "SAME_UPPER"},  # of another size its pads are others
    ],
    ids=["dilated", "grouped", "padded to the size"],
)
def test_what_is_no_larger_window_stays(conv: dict[str, object]) -> None:
    plain: dict[str, object] = {"kernel": (1, 1)}
    assert same_function(deep_net(2, [plain, conv]).model()) == {"SpaceToDepth": 1, "Conv": 2}


@pytest.mark.parametrize("size", [(13, 12), (12, 13), ("h", "w")])
def test_sizes_that_it_would_fail_on_still_fail(size: tuple[int | str, int | str]) -> None:
    """onnxruntime refuses a size that the block does not divide, and so does what the model becomes."""
    graph = normalise(load(deep_net(2, [{"kernel": (3, 3)}], size=size).model())).graph
    assert [n.op for n in graph.nodes] == ["SpaceToDepth", "Conv"]


def test_two_in_a_row_are_one_convolution() -> None:
    net = Net(13)
    x = net.add("SpaceToDepth", net.input(shape=(1, C, 12, 24)), blocksize=2)
    x = net.add("SpaceToDepth", x, blocksize=3)
    net.output(net.conv(x, 4, 36 * C, out="y"))
    assert same_function(net.model()) == {"Conv": 1}


def test_stays_where_the_map_is_read_elsewhere() -> None:
    net = deep_net(2, [{"kernel": (3, 3)}])
    net.output(net.add("Relu", net.nodes[0].output[0], out="z"))
    assert same_function(net.model())["SpaceToDepth"] == 1


def test_stays_where_the_map_is_an_output() -> None:
    net = deep_net(2, [{"kernel": (3, 3)}])
    net.output(net.nodes[0].output[0])
    assert same_function(net.model())["SpaceToDepth"] == 1


def test_weights_that_are_shared_stay_as_they_are() -> None:
    net = Net(13)
    x = net.input(shape=(1, C, 12, 18))
    w = net.const(net.rng.normal(0, 0.3, (4, 4 * C, 3, 3)))
    net.output(net.add("Conv", net.add("SpaceToDepth", x, blocksize=2), w, out="y"))
    net.output(net.add("Conv", net.add("Concat", x, x, x, x, axis=1), w, out="z"))
    assert same_function(net.model())["SpaceToDepth"] == 0
