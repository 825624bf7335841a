"""Maximum pools over one map: each over the next smaller one, where windows are centred."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Net
from normalised import same_function

from rrm_onnx.load import load
from rrm_onnx.normalise import normalise


def pyramid(pools: list[dict[str, object]], size: tuple[int, int] = (13, 17), from_input: bool = False) -> Net:
    net = Net(13)
    x = net.input(shape=(1, 3, *size))
    x = x if from_input else net.conv(x, 8)
    for i, attrs in enumerate(pools):
        net.output(net.add("MaxPool", x, out=f"y{i}", **attrs))
    return net


def centred(k: int) -> dict[str, object]:
    return {"kernel_shape": [k, k], "pads": [k // 2] * 4}


def kernels(net: Net) -> list[int]:
    """The pools' kernels in the order of the outputs, after checking that the function is the same."""
    same_function(net.model())
    graph = normalise(load(net.model())).graph
    return [int(t.inputs[0].attrs["kernel_shape"][0]) for t in graph.outputs]


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 3, 5, 7, 9, 13]), min_size=1, max_size=5),
    size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    from_input=st.booleans(),
)
def test_any_pyramid(sizes: list[int], size: tuple[int, int], from_input: bool) -> None:
    """Maps smaller than the windows among them."""
    found = kernels(pyramid([centred(k) for k in sizes], size, from_input))
    assert all(a <= b for a, b in zip(found, sizes, strict=True))


def test_spatial_pyramid_is_a_chain_of_the_smallest() -> None:
    assert kernels(pyramid([centred(13), centred(5), centred(9)])) == [5, 5, 5]


@pytest.mark.parametrize(
    "other",
    [
        {"kernel_shape": [9, 9], "pads": [4] * 4, "strides": [2, 2]},
        {"kernel_shape": [9, 9], "pads": [3] * 4},
        {"kernel_shape": [5, 5], "pads": [4] * 4, "dilations": [2, 2]},
        {"kernel_shape": [9, 5], "pads": [4, 2, 4, 2]},
        {"kernel_shape": [8, 8], "pads": [4] * 4},
        {"kernel_shape": [9, 9], "auto_pad": "SAME_LOWER"},
    ],
    ids=["strides", "pads", "dilated", "oblong", "even", "auto_pad"],
)
def test_other_windows_stay(other: dict[str, object]) -> None:
    kernel = other["kernel_shape"]
    assert kernels(pyramid([centred(5), other]))[1] == kernel[0]  # type: ignore[index]


def test_pool_whose_places_are_asked_for_stays() -> None:
    net = pyramid([centred(5)])
    net.add("MaxPool", net.nodes[0].output[0], outputs=["y1", "places"], **centred(9))
    net.output("y1")
    net.output("places", kind=7)
    assert kernels(net)[1] == 9
    assert np.prod(kernels(net)) == 5 * 9 * 9
