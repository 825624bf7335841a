"""InstanceNormalization, as an operator or spelled out: global means and a line for each channel, held by gates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from models import Net, dense_ops
from native import needs_library
from normalised import same_function
from videos import video

import rrm_onnx
from rrm_onnx import pipeline
from rrm_onnx.pack import nodes_of

C = 16


def vectors(n: Net) -> tuple[np.ndarray, np.ndarray]:
    return n.rng.uniform(0.5, 2, C), n.rng.normal(0, 1, C)


def operator(n: Net, x: str) -> str:
    scale, bias = vectors(n)
    return n.add("InstanceNormalization", x, n.const(scale), n.const(bias), epsilon=1e-3)


def scaled(n: Net, normal: str) -> str:
    scale, bias = (v.reshape(1, C, 1, 1) for v in vectors(n))
    return n.add("Add", n.add("Mul", normal, n.const(scale)), n.const(bias))


def by_reductions(n: Net, x: str) -> str:
    d = n.add("Sub", x, n.add("ReduceMean", x, axes=[2, 3]))
    variance = n.add("ReduceMean", n.add("Pow", d, n.const(2.0)), axes=[2, 3])
    return scaled(n, n.add("Div", d, n.add("Sqrt", n.add("Add", variance, n.const(1e-3)))))


def by_lines(n: Net, x: str) -> str:
    """Height and width as one axis, as old versions of PyTorch wrote it."""

    def mean(t: str) -> str:
        return n.add("ReduceMean", n.add("Reshape", t, n.const([1, C, 1, 256], np.int64)), axes=[3])

    d = n.add("Sub", x, mean(x))
    root = n.add("Sqrt", n.add("Add", mean(n.add("Mul", d, d)), n.const(1e-3)))
    return scaled(n, n.add("Div", d, root))


FORMS: dict[str, Callable[[Net, str], str]] = {"operator": operator, "reductions": by_reductions, "lines": by_lines}


def network(build: Callable[[Net, str], str], opset: int = 17, size: int | str = 16) -> onnx.ModelProto:
    net = Net(opset)
    x = net.conv(net.input(shape=(1, 3, size, size)), C, k=5)
    net.output(net.conv(net.add("Relu", build(net, x)), 8, C, k=5, out="y"))
    return net.model()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("opset", [9, 17])
def test_all_spellings_are_one_operator(form: str, opset: int) -> None:
    assert same_function(network(FORMS[form], opset)) == {"Conv": 2, "InstanceNormalization": 1, "Relu": 1}


@needs_library
@pytest.mark.parametrize("form", FORMS)
def test_it_stays_inside(form: str) -> None:
    model = network(FORMS[form])
    converted = rrm_onnx.convert(model)
    assert dense_ops(converted) == [] and [n.op_type for n in nodes_of(converted)][-2:] == ["Conv", "Exit"]
    found = rrm_onnx.verify(model, converted, video(model, {}))
    assert found.exact and found.fresh_equal and found.ok, found.failures


@needs_library
def test_open_sizes_and_rows_of_a_batch() -> None:
    net = Net()
    x = net.conv(net.input(shape=("n", 3, "h", "w")), C, k=5)
    net.output(net.conv(operator(net, x), 8, C, k=5))
    model = net.model()
    converted = rrm_onnx.convert(model)
    assert dense_ops(converted) == []
    for shape in ((2, 3, 12, 17), (1, 3, 1, 1), (3, 3, 9, 8)):
        assert rrm_onnx.verify(model, converted, video(model, {"x": shape})).ok


@needs_library
def test_a_map_far_from_zero() -> None:
    """The variance is that of the differences to the mean: next to nothing of a picture around 1000 is lost."""
    net = Net()
    x = net.add("InstanceNormalization", net.input(), net.const(np.ones(3)), net.const(np.zeros(3)))
    net.output(net.conv(net.conv(x, 32, k=5), 8, 32, k=5))
    model = net.model()
    feeds = [{"x": f["x"] + np.float32(1000)} for f in video(model, {})]
    assert rrm_onnx.verify(model, rrm_onnx.convert(model), feeds).ok


@needs_library
def test_gates_hold_the_means_under_a_tolerance() -> None:
    """A pixel that moves the means a little is computed where it is; in exact mode, everywhere."""
    model = network(operator, size=32)
    feed = video(model, {})[0]["x"]
    moved = feed.copy()
    moved[0, :, 7, 9] += 1.0

    def share(**options: float) -> float:
        session = rrm_onnx.InferenceSession(rrm_onnx.convert(model, **options).SerializeToString())
        session.run(None, {"x": feed})
        session.reset_stats()
        session.run(None, {"x": moved})
        last = next(n for n in session.stats()["nodes"] if n["name"].endswith("Conv_3"))
        return float(last["macs_done"] / last["macs_dense"])

    assert share() == 1 and share(tolerance=0.05) < 0.5


def test_the_report_names_the_gates() -> None:
    found = pipeline.examine(network(operator))
    assert [(g.op_type, g.gates) for g in found.globals] == [
        ("InstanceNormalization", ("InstanceNormalization_1/mean", "InstanceNormalization_1/factor"))
    ]
    assert found.regions[0].convolutions == 2


def test_without_convolutions_it_stays() -> None:
    """Its gates are no reason for a region."""
    net = Net()
    net.output(net.add("InstanceNormalization", net.input(), net.const(np.ones(3)), net.const(np.zeros(3)), name="it"))
    (dense,) = pipeline.examine(net.model()).dense
    assert dense.code == "region-no-conv"


@needs_library
def test_left_dense_it_is_one_operator() -> None:
    model = network(by_reductions)
    converted = rrm_onnx.convert(model, skip=["InstanceNormalization"])
    assert dense_ops(converted) == ["InstanceNormalization"]
    assert rrm_onnx.verify(model, converted, video(model, {})).ok


def test_thresholds_of_its_gates() -> None:
    file = {"format": "rrm-thresholds", "version": 1, "model": None, "tolerance": 0}
    nodes = {"InstanceNormalization_1/mean": {"threshold": 0.25}}
    converted = rrm_onnx.convert(network(operator), thresholds={**file, "nodes": nodes})
    held = {n.name: a.f for n in nodes_of(converted) for a in n.attribute if a.name == "threshold"}
    assert held["InstanceNormalization_1/mean"] == 0.25 and held["InstanceNormalization_1/factor"] == 0


# --- groups


def group_operator(n: Net, x: str) -> str:
    values = (n.rng.uniform(0.5, 2, C), n.rng.normal(0, 1, C)) if n.opset >= 21 else (np.ones(4), np.arange(4))
    return n.add("GroupNormalization", x, *map(n.const, values), num_groups=4, epsilon=1e-3)


def groups(n: Net, x: str, back: str) -> str:
    """As exporters of PyTorch spell it; scale and bias of the groups that are not one and zero, for the test."""
    y = n.add("Reshape", x, n.const([0, 4, -1], np.int64))
    y = n.add("InstanceNormalization", y, n.const([1, 2, 3, 4]), n.const([0, 1, 2, 3]), epsilon=1e-3)
    return scaled(n, n.add("Reshape", y, back))


def groups_by_shape(n: Net, x: str) -> str:
    return groups(n, x, n.add("Shape", x))


def groups_by_sizes(n: Net, x: str) -> str:
    return groups(n, x, n.const([1, C, 16, 16], np.int64))


GROUPS: dict[str, tuple[Callable[[Net, str], str], int]] = {
    "operator for each group": (group_operator, 18),
    "operator for each channel": (group_operator, 21),
    "by its shape": (groups_by_shape, 11),
    "by sizes": (groups_by_sizes, 17),
}


@needs_library
@pytest.mark.parametrize("form", GROUPS)
def test_groups_stay_inside(form: str) -> None:
    build, opset = GROUPS[form]
    model = network(build, opset)
    converted = rrm_onnx.convert(model)
    assert dense_ops(converted) == []
    found = rrm_onnx.verify(model, converted, video(model, {}))
    assert found.exact and found.fresh_equal and found.ok, found.failures


@pytest.mark.parametrize("form", ["by its shape", "by sizes"])
def test_groups_spelled_out_are_one_operator(form: str) -> None:
    """And are spelled out again where they stay dense."""
    build, opset = GROUPS[form]
    assert same_function(network(build, opset)) == {"Conv": 2, "GroupNormalization": 1, "Relu": 1}


def test_other_groups_stay() -> None:
    """What comes back is another map."""

    def other(n: Net, x: str) -> str:
        y = n.add("Reshape", x, n.const([0, 4, -1], np.int64))
        y = n.add("InstanceNormalization", y, n.const(np.ones(4)), n.const(np.zeros(4)))
        return n.add(
            "Reshape", n.add("Reshape", y, n.const([1, 16, 8, 32], np.int64)), n.const([1, C, 16, 16], np.int64)
        )

    def turned(n: Net, x: str) -> str:
        y = n.add("Reshape", x, n.const([0, 4, -1], np.int64))
        y = n.add("InstanceNormalization", y, n.const(np.ones(4)), n.const(np.zeros(4)))
        return n.add("Transpose", n.add("Reshape", y, n.const([1, C, 32, 8], np.int64)), perm=[0, 1, 3, 2])

    assert same_function(network(turned))["InstanceNormalization"] == 1
    assert same_function(network(other))["Conv"] == 2
