"""Sizes that the graph computes: what a rule recognises in them, and what it leaves dense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from decisions import accepted, decide, decided, i64
from models import Net

from rrm_onnx.types import Match, Refusal

OPEN = ("n", 8, "h", "w")
LIKE = ("n", 3, "h2", "w2")


def dims(net: Net, x: str, start: int, end: int) -> str:
    return net.add("Slice", net.add("Shape", x), i64(net, start), i64(net, end))


def resized(net: Net, x: str, *parts: str, **attrs: Any) -> str:
    sizes = net.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
    return net.add("Resize", x, "", "", sizes, name="it", **attrs)


def to_another(net: Net) -> str:
    x, like = net.input("x", OPEN), net.input("y", LIKE)
    return resized(net, x, dims(net, x, 0, 2), dims(net, like, 2, 4))


def to_another_by_axes(net: Net) -> str:
    x, like = net.input("x", OPEN), net.input("y", LIKE)
    return resized(net, x, dims(net, like, 2, 4), axes=[2, 3])


def to_another_through_floats(net: Net) -> str:
    """As torch 1.x traces interpolate(size=...): Gather, Unsqueeze, and a detour over floating point."""
    x, like = net.input("x", OPEN), net.input("y", LIKE)
    ends = []
    for axis in (2, 3):
        size = net.add("Gather", net.add("Shape", like), net.const(axis, np.int64), axis=0)
        whole = net.add("Cast", net.add("Floor", net.add("Cast", size, to=1)), to=7)
        ends.append(net.add("Unsqueeze", whole, i64(net, 0)))
    return resized(net, x, dims(net, x, 0, 2), *ends)


@pytest.mark.parametrize("build", [to_another, to_another_by_axes, to_another_through_floats])
def test_the_size_of_another_map(build: Any) -> None:
    opset = 18 if build is to_another_by_axes else 17
    match, attributes = accepted(build, opset)
    assert match.emits[0].op == "ResizeLike" and match.inputs == ("x", "y")
    assert attributes["mode"] == "nearest"
    assert match.facts[match.outputs[0]].channels == 8


def test_a_multiple_of_the_own_size() -> None:
    def build(net: Net) -> str:
        x = net.input("x", OPEN)
        return resized(net, x, dims(net, x, 0, 2), net.add("Mul", dims(net, x, 2, 4), i64(net, 3)))

    match, attributes = accepted(build)
    assert match.emits[0].op == "Resize" and match.inputs == ("x",)
    assert attributes["scales"] == (3.0, 3.0) and attributes["sizes"] == ()


def larger_by_one(net: Net) -> str:
    x, like = net.input("x", OPEN), net.input("y", LIKE)
    return resized(net, x, dims(net, x, 0, 2), net.add("Add", dims(net, like, 2, 4), i64(net, 1)))


def turned(net: Net) -> str:
    x, like = net.input("x", OPEN), net.input("y", LIKE)
    return resized(net, x, dims(net, x, 0, 2), dims(net, like, 3, 4), dims(net, like, 2, 3))


def multiples_that_differ(net: Net) -> str:
    x = net.input("x", OPEN)
    return resized(net, x, dims(net, x, 0, 2), net.add("Mul", dims(net, x, 2, 4), i64(net, 2, 3)))


def an_input(net: Net) -> str:
    return resized(net, net.input("x", OPEN), net.input("sizes", (4,), 7))


def from_values(net: Net) -> str:
    """A size that depends on what is in a map, not on its shape."""
    x, like = net.input("x", OPEN), net.input("y", LIKE)
    found = net.add("Cast", net.add("ReduceMax", like, axes=[0, 1], keepdims=0), to=7)
    return resized(net, x, dims(net, x, 0, 2), net.add("Reshape", found, i64(net, 2)))


@pytest.mark.parametrize("build", [larger_by_one, turned, multiples_that_differ, an_input, from_values])
def test_other_sizes_stay_dense(build: Any) -> None:
    decision = decide(build)
    assert isinstance(decision, Refusal) and decision.code == "parameter-not-constant"


def padded(net: Net, by: int = 2, mode: str = "constant") -> str:
    x, like = net.input("x", OPEN), net.input("y", LIKE)
    missing = net.add("Sub", dims(net, like, 2, 4), dims(net, x, 2, 4))
    before = net.add("Div", missing, i64(net, by))
    none = i64(net, 0, 0)
    pads = net.add("Concat", none, before, none, net.add("Sub", missing, before), axis=0)
    return net.add("Pad", x, pads, net.const(1.5), name="it", mode=mode)


def test_into_the_middle_of_another_map() -> None:
    match, attributes = accepted(padded)
    assert match.emits[0].op == "PadLike" and match.inputs == ("x", "y") and attributes == {"value": 1.5}


@pytest.mark.parametrize(("by", "mode"), [(1, "constant"), (3, "constant"), (2, "reflect")])
def test_other_pads_stay_dense(by: int, mode: str) -> None:
    decision = decide(lambda net: padded(net, by, mode))
    assert isinstance(decision, Refusal) and decision.code == "parameter-not-constant"


def padded_by_floor(net: Net, axis: int) -> str:
    """Half of what is missing along an axis rounded down, along the other towards zero."""
    x, like = net.input("x", OPEN), net.input("y", LIKE)
    missing = net.add("Sub", dims(net, like, 2, 4), dims(net, x, 2, 4))
    half = net.add("Mul", net.add("Cast", missing, to=1), net.const([0.5]))
    rounded = [net.add("Cast", net.add("Floor", half), to=7), net.add("Div", missing, i64(net, 2))]
    parts = [net.add("Slice", rounded[k != axis], i64(net, k), i64(net, k + 1)) for k in (0, 1)]
    before, none = net.add("Concat", *parts, axis=0), i64(net, 0, 0)
    pads = net.add("Concat", none, before, none, net.add("Sub", missing, before), axis=0)
    return net.add("Pad", x, pads, name="it")


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("own", [("h", "w"), (11, 7), (12, 8), (12, 7)])
@pytest.mark.parametrize("other", [("h2", "w2"), (64, 63), (63, 64)])
def test_rounding_down_is_not_towards_zero(
    axis: int, own: tuple[Any, Any], other: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the map is larger than the other, which may be at any size that is left open."""
    monkeypatch.setitem(globals(), "OPEN", ("n", 8, *own))
    monkeypatch.setitem(globals(), "LIKE", ("n", 3, *other))
    decision = decide(lambda net: padded_by_floor(net, axis))
    if isinstance(own[0], int) and isinstance(other[0], int):  # the map is smaller for certain
        assert isinstance(decision, Match)
    else:
        assert isinstance(decision, Refusal) and decision.code == "parameter-not-constant"


@pytest.mark.parametrize("build", [to_another, padded])
@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [(1, 2, "batch sizes 1 and 2"), (2, 1, "batch sizes 2 and 1"), ("n", 2, "batch size 2 against an unknown one")],
)
def test_maps_of_other_batches_stay_dense(
    build: Any, own: Any, other: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX takes the batch of the map and the size of the other, whose rows may be of other videos."""
    monkeypatch.setitem(globals(), "OPEN", (own, *OPEN[1:]))
    monkeypatch.setitem(globals(), "LIKE", (other, *LIKE[1:]))
    decision = decide(build)
    assert isinstance(decision, Refusal) and (decision.code, decision.reason) == ("broadcast", reason)


# --- channel shuffles


def shuffle(net: Net, *middle: str | int, perm: tuple[int, ...] = (0, 2, 1, 3, 4), read: bool = False) -> str:
    """Reshape, Transpose, Reshape with computed sizes; `middle`: those in between, dims of the map by letter."""
    x = net.input("x", OPEN)
    size = {k: dims(net, x, i, i + 1) for i, k in enumerate("nchw")} | {k: i64(net, k) for k in (-1, 2, 4, 8)}
    y = net.add("Reshape", x, net.add("Concat", *(size[k] for k in middle), axis=0))
    y = net.add("Transpose", y, perm=list(perm))
    if read:
        net.output(net.add("Relu", y))
    return net.add("Reshape", y, net.add("Concat", *(size[k] for k in ("n", 8, "h", "w")), axis=0), name="it")


@pytest.mark.parametrize("middle", [("n", 2, 4, "h", "w"), ("n", 2, -1, "h", "w")])
def test_a_shuffle_of_channels(middle: tuple[str | int, ...]) -> None:
    match, attributes = accepted(lambda net: shuffle(net, *middle))
    assert match.inputs == ("x",) and len(match.absorbed) == 2
    assert attributes["indices"] == (0, 4, 1, 5, 2, 6, 3, 7)


def test_a_shuffle_in_four_axes() -> None:
    """Height and width as one axis: what lies between looks like a map itself."""
    match, attributes = accepted(lambda net: shuffle(net, "n", 4, 2, -1, perm=(0, 2, 1, 3)))
    assert match.inputs == ("x",) and attributes["indices"] == (0, 2, 4, 6, 1, 3, 5, 7)


def test_a_shuffle_of_which_a_part_is_skipped() -> None:
    net = Net()
    net.output(shuffle(net, "n", 2, 4, "h", "w"))
    decision = decided(net.model(), skip=("Transpose",))["it"]
    assert isinstance(decision, Refusal) and decision.code == "skipped" and "a part of it" in decision.reason


@pytest.mark.parametrize(
    "build",
    [
        lambda net: shuffle(net, "n", 2, 4, "h", "w", read=True),
        lambda net: shuffle(net, "n", 2, 4, "h", "w", perm=(0, 2, 1, 4, 3)),
        lambda net: shuffle(net, "n", 2, "h", 4, "w"),
    ],
    ids=["read elsewhere", "height and width swapped", "places moved"],
)
def test_other_reshapes_stay_dense(build: Any) -> None:
    decision = decide(build)
    assert isinstance(decision, Refusal) and decision.code == "op-unsupported"
