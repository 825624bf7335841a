"""Channels in an order in which shuffles are views: what follows, and what must stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import soak
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Net, rrm_nodes
from native import needs_library
from normalised import same_function
from onnx import TensorProto
from random_graphs import Choose, drawn, random_frames

import rrm_onnx
from rrm_onnx import pipeline
from rrm_onnx.load import load
from rrm_onnx.normalise import normalise
from rrm_onnx.ops import shuffle
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN

TO_NCHW = [0, 3, 1, 2]
SHAPE = (1, 3, 12, 14)


def activated(net: Net, x: str, kind: str, channels: int) -> str:
    if kind == "PRelu":
        return net.add("PRelu", x, net.const(net.rng.uniform(-0.5, 0.5, (channels, 1, 1))))
    if kind == "scale":
        return net.add("Relu", net.add("Mul", net.const(net.rng.normal(1, 0.3, (1, channels, 1, 1))), x))
    if kind == "Silu":
        return net.silu(x)
    return net.add(kind, x) if kind else x


def branch(net: Net, x: str, c: int, out: int, kind: str, stride: int = 1) -> str:
    """1x1, depthwise 3x3, 1x1, as in ShuffleNet."""
    x = activated(net, net.conv(x, out, c, 1), kind, out)
    x = net.conv(x, out, out, group=out, strides=[stride, stride])
    return activated(net, net.conv(x, out, out, 1), kind, out)


def halved(net: Net, x: str, c: int, spelling: str) -> tuple[str, str]:
    """The two halves of shuffled channels, as exporters spell it."""
    if spelling == "even and odd":
        even, odd = (net.const(np.arange(k, c, 2), np.int64) for k in (0, 1))
        return net.add("Gather", x, even, axis=1), net.add("Gather", x, odd, axis=1)
    order = np.arange(c).reshape(2, c // 2).T.ravel()
    x = net.add("Gather", x, net.const(order, np.int64), axis=1)
    if spelling == "split":
        net.add("Split", x, net.const([c // 2] * 2, np.int64), outputs=[f"{x}/a", f"{x}/b"], axis=1)
        return f"{x}/a", f"{x}/b"
    return tuple(net.add("Slice", x, *four(net, start, start + c // 2, 1)) for start in (0, c // 2))


def four(net: Net, *bounds: int) -> list[str]:
    """Start, end, axis and step of a Slice."""
    return [net.const([v], np.int64) for v in (*bounds, 1)]


def stage(net: Net, x: str, c: int, half: int, blocks: int, spelling: str, kind: str, taps: list[str]) -> str:
    """A block of stride 2 and `blocks` of stride 1: 2 * half channels. `taps` gets the joined maps."""
    side = net.conv(net.conv(x, c, c, group=c, strides=[2, 2]), half, c, 1)
    x = net.add("Concat", activated(net, side, kind, half), branch(net, x, c, half, kind, 2), axis=1)
    for _ in range(blocks):
        taps.append(x)
        old, new = halved(net, x, 2 * half, spelling)
        x = net.add("Concat", old, branch(net, new, half, half, kind), axis=1)
    taps.append(x)
    return x


def network(*stages: tuple[int, int, str, str], tap: Callable[[Net, list[str]], None] | None = None) -> onnx.ModelProto:
    """Stages of (half, blocks, spelling, activation); `tap` may add readers of inner maps."""
    net, taps = Net(13), []
    x, c = net.conv(net.input(shape=SHAPE), 8), 8
    for half, blocks, spelling, kind in stages:
        x, c = stage(net, x, c, half, blocks, spelling, kind, taps), 2 * half
    if tap is not None:
        tap(net, taps)
    net.output(net.conv(x, 5, c, 1, out="y"))
    return net.model()


def made(model: onnx.ModelProto) -> Counter[str]:
    """Operators of the rrm domain in the converted model."""
    return Counter(n.op_type for n in rrm_nodes(rrm_onnx.convert(model)))


SPELLINGS = ("even and odd", "split", "slices")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_stage_copies_nothing(spelling: str) -> None:
    model = network((16, 2, spelling, "Relu"))
    same_function(model)
    found = made(model)
    assert found["ChannelGather"] == found["Slice"] == 0
    assert found["ChannelRanges"] == 3 and found["Concat"] == 0  # the input of each block, and what comes behind


def test_what_a_window_reads_in_shreds_is_copied() -> None:
    """Four blocks leave one or two channels of the first maps; a depthwise convolution would compute a vector for
    each. What stands behind the copy reads it as a map of its own."""
    model = network((16, 4, "even and odd", "Relu"), (16, 1, "split", ""))
    same_function(model)
    assert made(model)["ChannelGather"] == 1


def test_a_pure_concat_stays() -> None:
    """What joins maps that are rewritten is no chain to be taken apart."""

    def tap(net: Net, taps: list[str]) -> None:
        x = net.add("Concat", taps[-1], net.conv(taps[-1], 8, 32, 1), axis=1)
        net.output(net.conv(x, 4, 40, 1, out="z"))

    model = network((16, 1, "split", "Relu"), tap=tap)
    same_function(model)
    assert made(model)["Concat"] == 1


def test_weights_are_shared_before_not_behind() -> None:
    """One initializer that two convolutions share, of which one reads a shuffled map."""
    net = Net(13)
    x = net.conv(net.input(shape=SHAPE), 16)
    a, b = halved(net, x, 16, "even and odd")
    w = net.const(net.rng.normal(0, 0.3, (8, 8, 1, 1)))
    y = net.add("Concat", net.add("Conv", b, w), net.add("Conv", net.conv(net.conv(a, 8, 8, 1), 8, 8), w), axis=1)
    net.output(net.conv(y, 4, 16, 1, out="y"))
    same_function(net.model())


def test_equal_gathers() -> None:
    net = Net(13)
    x = net.conv(net.input(shape=SHAPE), 16)
    a, b = (net.add("Gather", x, net.const(np.arange(1, 16, 2), np.int64), axis=1) for _ in range(2))
    y = net.add("Concat", net.conv(a, 8, 8), net.conv(b, 8, 8), axis=1)
    net.output(net.conv(y, 4, 16, out="y"))
    same_function(net.model())
    assert made(net.model())["ChannelGather"] == 0


def test_a_channel_twice() -> None:
    net = Net(13)
    x = net.conv(net.input(shape=SHAPE), 8)
    y = net.add("Gather", x, net.const([7, 1, 0, 1, 2, 3, 7, 6, -1, -8, -7, -6], np.int64), axis=1)
    net.output(net.conv(net.add("Relu", y), 4, 12, out="y"))
    same_function(net.model())


def test_two_maps_of_one_convolution_that_are_picked_from_differently() -> None:
    net = Net(13)
    x = net.conv(net.input(shape=SHAPE), 16)
    for name, step in (("Relu", 2), ("Tanh", 3)):
        indices = np.concatenate([np.arange(k, 16, step) for k in range(step)])
        y = net.add("Gather", net.add(name, x), net.const(indices[:9], np.int64), axis=1)
        net.output(net.conv(y, 4, 9, out=name))
    same_function(net.model())


def test_a_slice_of_a_map_in_another_order() -> None:
    net = Net(13)
    x = net.conv(net.input(shape=SHAPE), 16)
    for name, part in (("y", halved(net, x, 16, "even and odd")[0]), ("z", net.add("Slice", x, *four(net, 2, 10, 1)))):
        net.output(net.conv(part, 4, 8, out=name))
    same_function(net.model())


def test_what_is_picked_from_a_copy() -> None:
    def tap(net: Net, taps: list[str]) -> None:
        x = net.conv(taps[-1], 32, 32, group=32)
        net.output(net.conv(x, 4, 32, out="w"))
        net.output(net.conv(halved(net, taps[-1], 32, "split")[0], 4, 16, 1, out="z"))

    model = network((16, 4, "even and odd", "Relu"), tap=tap)
    same_function(model)
    picks = [n for n in normalise(load(model)).graph.nodes if n.op == "Gather"]
    assert [n.attrs["copied"] for n in picks] == [0, 0, 0, 0, 1, 0]
    assert len(picks[-1].inputs) == 1


def test_a_shuffle_that_stays_is_not_made_twice() -> None:
    net = Net(13)
    x = net.conv(net.input(shape=SHAPE), 16)
    _, half = halved(net, net.add("Concat", x, net.conv(x, 8, 16), axis=1), 24, "split")
    net.output(net.conv(net.add("Softmax", half, axis=1), 4, 12, out="z"))
    net.output(net.conv(half.replace("/b", "/a"), 4, 12, out="y"))
    same_function(net.model())
    assert made(net.model()) == {
        "Enter": 1,
        "Conv": 4,
        "Concat": 1,
        "ChannelGather": 1,
        "Slice": 2,
        "Softmax": 1,
        "Exit": 2,
    }


def test_a_copy_of_two_maps_is_no_sum() -> None:
    """A convolution that only the copy reads, of whose other map it is made: as a shortcut around it would be."""
    model = network((4, 1, "even and odd", "Relu"), (4, 1, "even and odd", "Relu"), tap=lambda n, t: n.output(t[0]))
    same_function(model)
    assert made(model)["ConvAdd"] == 0


def test_a_copy_counts_once_in_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network((16, 4, "even and odd", "Relu"), (16, 1, "split", ""))
    (copied,) = pipeline.examine(model).regions
    monkeypatch.setattr(shuffle, "MOST_VECTORS", 100)
    (seen,) = pipeline.examine(model).regions
    assert copied.state_bytes - seen.state_bytes == 4 * 32 * 6 * 7


def test_channels_that_are_not_there() -> None:
    """A model that no runtime can run is no reason to break off."""
    net = Net(13)
    x = net.conv(net.input(shape=SHAPE), 8)
    net.output(net.conv(net.add("Gather", x, net.const([9, 0], np.int64), axis=1), 4, 2, out="y"))
    assert "Gather" in {n.op for n in normalise(load(net.model())).graph.nodes}


# --- what follows: each between channels in random order and a convolution

FOLLOWERS: dict[str, Callable[[Net, str], str]] = {
    **{op: lambda n, x, op=op: n.add(op, x) for op in ("Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "Elu")},
    "Softplus": lambda n, x: n.add("Softplus", x),
    "Clip": lambda n, x: n.add("Clip", x, n.const(-0.5), n.const(0.5)),
    "Silu": lambda n, x: n.silu(x),
    "PRelu": lambda n, x: activated(n, x, "PRelu", 8),
    "PRelu with one slope": lambda n, x: n.add("PRelu", x, n.const([[[0.3]]])),
    "Mul": lambda n, x: n.add("Mul", x, n.const(n.rng.normal(1, 0.5, (8, 1, 1)))),
    "Sub": lambda n, x: n.add("Sub", n.const(n.rng.normal(1, 0.5, (1, 8, 1, 1))), x),
    "Div": lambda n, x: n.add("Div", x, n.const(3.0)),
    "Add": lambda n, x: n.add("Add", n.add("Relu", x), n.const(n.rng.normal(1, 0.5, (8, 1, 1)))),
    "MaxPool": lambda n, x: n.add("MaxPool", x, kernel_shape=[2, 2]),
    "AveragePool": lambda n, x: n.add("AveragePool", x, kernel_shape=[2, 2]),
    "GlobalAveragePool": lambda n, x: n.add("GlobalAveragePool", x),
    "GlobalMaxPool": lambda n, x: n.add("GlobalMaxPool", x),
    "Resize": lambda n, x: n.add("Resize", x, "", n.const([1, 1, 2, 2]), mode="nearest"),
    "depthwise": lambda n, x: n.conv(x, 8, 8, group=8),
    "Concat": lambda n, x: n.add("Concat", n.add("Relu", x), n.add("Tanh", x), axis=1),
}

# What notices: a sum of two maps, channels that a node sees together, groups, places instead of channels.
OTHERS: dict[str, Callable[[Net, str], str]] = {
    "Softmax": lambda n, x: n.add("Softmax", x, axis=1),
    "ArgMax": lambda n, x: n.add("Mul", x, n.add("Cast", n.add("ArgMax", x, axis=1), to=TensorProto.FLOAT)),
    "LRN": lambda n, x: n.add("LRN", x, size=3, alpha=2.0),
    "a sum": lambda n, x: n.add("Add", x, n.conv(x, 8, 8)),
    "a product with itself": lambda n, x: n.add("Mul", x, x),
    "groups": lambda n, x: n.conv(x, 8, 8, group=2),
    "more outputs than groups": lambda n, x: n.conv(x, 16, 8, group=8),
    "a value for each place": lambda n, x: n.add("Mul", x, n.const(n.rng.normal(1, 0.5, (8, 12, 14)))),
    "a value for each column": lambda n, x: n.add("PRelu", x, n.const(n.rng.normal(0, 0.5, (1, 1, 14)))),
    "Concat over height": lambda n, x: n.add("Concat", n.add("Relu", x), n.add("Tanh", x), axis=2),
    "Slice over height": lambda n, x: n.add("Slice", x, *four(n, 0, 9, 2)),
    "Resize of channels": lambda n, x: n.add("Resize", x, "", n.const([1, 2, 1, 1]), mode="nearest"),
    "DepthToSpace": lambda n, x: n.add("DepthToSpace", x, blocksize=2),
    "Transpose": lambda n, x: n.add(
        "Reshape", n.add("Transpose", x, perm=[0, 2, 1, 3]), n.const([0, 8, 12, 14], np.int64)
    ),
    "a bias that is computed": lambda n, x: n.add(
        "Conv",
        x,
        n.const(n.rng.normal(0, 0.3, (8, 1, 1, 1))),
        n.add("ReduceMax", x, axes=[0, 2, 3], keepdims=0),
        group=8,
    ),
    "transposed convolution": lambda n, x: n.add("ConvTranspose", x, n.const(n.rng.normal(0, 0.3, (8, 8, 1, 1)))),
}
CHANNELS = {"Concat": 16, "more outputs than groups": 16, "DepthToSpace": 2, "Resize of channels": 16}


def behind_a_shuffle(build: Callable[[Net, str], str], channels: int) -> onnx.ModelProto:
    net = Net(13)
    x = net.input(shape=SHAPE)
    x = net.add("Concat", net.add("Relu", net.conv(x, 8)), net.conv(x, 8), axis=1)
    order = net.rng.permutation(16)
    for name, half in (("y", order[:8]), ("z", order[8:])):
        part = net.add("Gather", x, net.const(half, np.int64), axis=1)
        net.output(net.conv(build(net, part), 4, channels, out=name))
    return net.model()


@pytest.mark.parametrize("kind", FOLLOWERS)
def test_what_follows(kind: str) -> None:
    model = behind_a_shuffle(FOLLOWERS[kind], CHANNELS.get(kind, 8))
    same_function(model)
    picks = [n for n in normalise(load(model)).graph.nodes if n.op == "Gather"]
    assert len(picks) == 2 and all(n.domain == COMPOSITE_DOMAIN for n in picks)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_would_notice_stays(kind: str) -> None:
    same_function(behind_a_shuffle(OTHERS[kind], CHANNELS.get(kind, 8)))


@pytest.mark.parametrize("kind", ["Softmax", "groups", "a sum"])
def test_one_reader_that_would_notice_is_enough(kind: str) -> None:
    """The other readers of the same map, in front of it and behind it, stay as well."""

    def build(net: Net, x: str) -> str:
        both = net.add("Concat", OTHERS[kind](net, x), FOLLOWERS["depthwise"](net, x), axis=1)
        return net.add("Gather", both, net.const([15, 0, 3, 12], np.int64), axis=1)

    same_function(behind_a_shuffle(build, 4))


@pytest.mark.parametrize("at", range(4))
def test_outputs_of_inner_maps_keep_their_order(at: int) -> None:
    def tap(net: Net, taps: list[str]) -> None:
        net.output(taps[at])

    model = network((8, 3, "even and odd", "Relu"), tap=tap)
    same_function(model)


def test_an_output_in_front_of_the_shuffles() -> None:
    net = Net(13)
    x = net.add("Relu", net.conv(net.input(shape=SHAPE), 16, out="inner"))
    net.output("inner")
    a, b = halved(net, x, 16, "even and odd")
    net.output(net.conv(a, 4, 8, out="y"))
    net.output(net.conv(b, 4, 8, out="z"))
    same_function(net.model())


def test_skipped_and_foreign_readers_see_the_old_order() -> None:
    model = network((8, 2, "even and odd", "Relu"))
    for node in [n.name for n in model.graph.node if n.op_type in ("Conv", "Concat", "Gather")]:
        same_function(model, skip=(node,))


def test_a_reader_in_a_subgraph_sees_the_old_order() -> None:
    def tap(net: Net, taps: list[str]) -> None:
        weight = net.const(net.rng.normal(0, 0.3, (4, 16, 1, 1)))
        inner = onnx.helper.make_node("Conv", [taps[2], weight], ["inner"])
        info = onnx.helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
        body = onnx.helper.make_graph([inner], "body", [], [info])
        flag = net.add("Greater", net.add("ReduceMax", "x", keepdims=0), net.const(-100.0))
        net.output(net.add("If", flag, then_branch=body, else_branch=body, out="z"))

    same_function(network((8, 2, "split", "Relu"), tap=tap))


@pytest.mark.parametrize("kind", ["Relu", "depthwise", "MaxPool"])
def test_an_output_behind_what_follows(kind: str) -> None:
    def build(net: Net, x: str) -> str:
        y = FOLLOWERS[kind](net, x)
        net.output(y)
        return y

    same_function(behind_a_shuffle(build, 8))


def test_a_graph_without_shuffles_is_not_touched() -> None:
    net = Net(13)
    x = net.conv(net.input(shape=SHAPE), 8)
    y = net.add("Concat", net.conv(x, 8, 8), x, axis=1)
    net.output(net.conv(y, 4, 16, out="y"))
    kept = [n.name for n in normalise(load(net.model())).graph.nodes]
    assert kept == [n.name for n in net.model().graph.node]


# --- whole networks

WIDTHS = (4, 6, 10, 16, 22)


def random_network(choose: Choose) -> onnx.ModelProto:
    def tap(net: Net, taps: list[str]) -> None:
        if choose((True, False, False)):
            net.output(net.add("Identity", choose(taps), out="tapped"))
        if choose((True, False)):
            t = choose(taps)
            net.output(
                net.add("GlobalAveragePool", net.add("Softmax" if choose((True, False)) else "Relu", t), out="z")
            )

    kinds = ("Relu", "", "PRelu", "Silu", "scale", "LeakyRelu")
    count = choose((1, 1, 2))
    stages = [(choose(WIDTHS), choose((1, 2, 3, 4)), choose(SPELLINGS), choose(kinds)) for _ in range(count)]
    return network(*stages, tap=tap)


@needs_library
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_random_network_keeps_every_promise(data: st.DataObject) -> None:
    choose, seed = drawn(data)
    soak.check(random_network(choose), random_frames(choose, SHAPE, seed, 4))
