"""Calibrations of networks that are unlike the usual one, and what calibrated models do when they run."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from calibrating import counted_costs, losses  # noqa: F401
from onnx import TensorProto, helper, numpy_helper
from small import cnn, noisy
from toys import TOYS

import rrm_onnx
from rrm_onnx import yardstick
from rrm_onnx.calibrate import CalibrationStopped, Thresholds, calibrate
from rrm_onnx.calibrate.points import Setting
from rrm_onnx.errors import CalibrationError, MetricError

pytestmark = pytest.mark.usefixtures("library", "counted_costs", "temporary")
MODEL = cnn(size=32)


def graph(nodes, inputs, outputs, held=None) -> onnx.ModelProto:
    """inputs, outputs: name -> (type, shape)."""
    infos = [[helper.make_tensor_value_info(n, *v) for n, v in side.items()] for side in (inputs, outputs)]
    constants = [numpy_helper.from_array(v, k) for k, v in (held or {}).items()]
    made = [helper.make_node(*n, name=f"n{k}", **more) for k, (n, more) in enumerate(nodes)]
    model = helper.make_graph(made, "g", *infos, constants)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def edited(change) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    change(model)
    return model


def weights(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


# --- unusual networks -------------------------------------------------------------------------------------------------


def jitter(toy, model: onnx.ModelProto, count: int) -> list[dict[str, np.ndarray]]:
    """Noise on a still picture, in which a box moves."""
    rng = np.random.default_rng(0)
    n = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    ground, found = rng.normal(0, 1, (n, *toy.shape)), []
    for t in range(count):
        x = ground + rng.normal(0, 0.01, ground.shape)
        x[:, :, 2:6, t % 6 : t % 6 + 4] = 2
        found.append({"x": np.clip(128 + 40 * x, 0, 255).astype(np.uint8) if toy.dtype == "uint8" else x.astype("f4")})
    return found


@pytest.mark.parametrize("toy", TOYS, ids=lambda t: t.name)
def test_toys(toy):
    """Dynamic shapes, batches of two, several outputs, uint8 and channels last, gates inside of nodes."""
    model = toy.build()
    found = calibrate(model, [jitter(toy, model, 36)], budget=0.1, threads=1)
    converted = rrm_onnx.convert(model, thresholds=found.to_dict())
    assert np.mean(losses(model, converted, jitter(toy, model, 36)[24:])) <= 0.1
    assert not found.exact
    assert {n for n, v in found.to_dict()["nodes"].items() if v["threshold"]} == {p.name for p in found.points}


def test_float16_inputs():
    def half(model):
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
        for node in model.graph.node:
            node.input[:] = ["x32" if n == "x" else n for n in node.input]
        model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x32"], "cast", to=TensorProto.FLOAT))

    feeds = [{"x": f["x"].astype(np.float16)} for f in noisy(24)]
    model = edited(half)
    found = calibrate(model, [feeds], budget=0.1, threads=1)
    assert not found.exact and np.mean(losses(model, rrm_onnx.convert(model, thresholds=found.to_dict()), feeds)) <= 0.1


def two_cameras() -> onnx.ModelProto:
    """Two pictures of different size, each through convolutions of its own."""
    nodes: list[Any] = []
    for k in (0, 1):
        nodes += [(("Conv", [f"x{k}", f"w{k}"], [f"c{k}"]), {"pads": [1] * 4}), (("Relu", [f"c{k}"], [f"r{k}"]), {})]
        nodes += [(("Conv", [f"r{k}", f"v{k}"], [f"y{k}"]), {"pads": [1] * 4})]
    held = {f"w{k}": weights(k, 16, 3, 3, 3) for k in (0, 1)} | {f"v{k}": weights(k + 2, 4, 16, 3, 3) for k in (0, 1)}
    sizes = {0: 32, 1: 24}
    return graph(
        nodes,
        {f"x{k}": (TensorProto.FLOAT, [1, 3, n, n]) for k, n in sizes.items()},
        {f"y{k}": (TensorProto.FLOAT, [1, 4, n, n]) for k, n in sizes.items()},
        held,
    )


def test_several_inputs_each_with_an_enter():
    model = two_cameras()
    small, large = noisy(30, 24, seed=5), noisy(30, 32)
    still = small[0]["x"]
    feeds = [{"x0": a["x"], "x1": b["x"]} for a, b in zip(large, small, strict=True)]
    found = calibrate(model, [feeds], budget=0.1, threads=1)
    assert [p.name for p in found.points if p.entry] == ["Enter_x0", "Enter_x1"] and not found.exact
    # the largest input may stand still
    feeds = [{"x0": large[0]["x"], "x1": b["x"]} for b in small]
    assert not calibrate(model, [feeds], budget=0.1, threads=1).exact
    with pytest.raises(CalibrationError, match="nothing changes"):
        calibrate(model, [[{"x0": large[0]["x"], "x1": still}] * 20], budget=0.1, threads=1)
    with pytest.raises(rrm_onnx.RrmError, match="x1"):  # an input is not fed
        calibrate(model, [[{"x0": f["x"]} for f in large]], budget=0.1, threads=1)
    with pytest.raises(rrm_onnx.RrmError, match="more than a picture"):
        calibrate(model, "clip.mkv", budget=0.1)


def test_state_among_the_inputs_is_fed_as_it_was_recorded():
    """y = conv(x) + h, and h' = tanh(y): the feeds hold each frame's h."""
    nodes = [
        (("Conv", ["x", "w"], ["c"]), {"pads": [1] * 4}),
        (("Relu", ["c"], ["r"]), {}),
        (("Conv", ["r", "v"], ["d"]), {"pads": [1] * 4}),
        (("Add", ["d", "h"], ["y"]), {}),
        (("Tanh", ["y"], ["next"]), {}),
    ]
    kinds = {name: (TensorProto.FLOAT, [1, 4, 32, 32]) for name in ("h", "y", "next")}
    held = {"w": weights(0, 16, 3, 3, 3), "v": weights(1, 4, 16, 3, 3)}
    model = graph(nodes, {"x": (TensorProto.FLOAT, [1, 3, 32, 32]), "h": kinds.pop("h")}, kinds, held)
    session, h, feeds = yardstick.dense_session(model, 1), np.zeros((1, 4, 32, 32), np.float32), []
    for feed in noisy(30):
        feeds.append({"x": feed["x"], "h": h})
        h = session.run(["next"], feeds[-1])[0]
    found = calibrate(model, [feeds], budget=0.1, threads=1)
    assert not found.exact and found.facts["check"]["loss"] <= 0.1


def labelled(model: onnx.ModelProto) -> None:
    """The class of each pixel in place of the scores."""
    model.graph.node.append(helper.make_node("ArgMax", ["y"], ["label"], "label", axis=1, keepdims=0))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, [1, 16, 16]))


def test_outputs_of_whole_numbers():
    model = edited(labelled)
    found = calibrate(model, [noisy(36)], metric=lambda a, b: float((a[0] == b[0]).mean()), budget=0.9, threads=1)
    assert not found.exact and found.facts["check"]["loss"] <= 0.1
    assert calibrate(model, [noisy(36)], budget=0.3, threads=1).facts["check"]["loss"] <= 0.3


def test_a_list_of_boxes_that_changes_its_length():
    """The coordinates of what is above a threshold: outputs of frames have different shapes."""

    def boxes(model):
        nodes = [helper.make_node("Greater", ["y", "limit"], ["above"]), helper.make_node("NonZero", ["above"], ["at"])]
        model.graph.node.extend(nodes)
        model.graph.initializer.append(numpy_helper.from_array(np.array(80, np.float32), "limit"))
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info("at", TensorProto.INT64, [4, None]))

    def same(truth, got):
        a, b = ({tuple(p) for p in np.asarray(x[0]).T} for x in (truth, got))
        return len(a & b) / len(a | b) if a | b else 1.0

    model = edited(boxes)
    counts = {yardstick.dense_session(model, 1).run(None, f)[0].shape for f in noisy(36)}
    assert len(counts) > 5
    found = calibrate(model, [noisy(36)], metric=same, budget=0.8, threads=1)
    assert not found.exact and found.facts["check"]["loss"] <= 0.2


# --- outputs that say nothing -----------------------------------------------------------------------------------------


def scaled(by: float, bias: float = 0.0):
    """conv2's weights times `by`, its bias `bias`."""

    def change(model):
        for tensor in model.graph.initializer:
            if tensor.name in ("w2", "b2"):
                values = (
                    numpy_helper.to_array(tensor) * np.float32(by) if tensor.name == "w2" else np.full(4, bias, "f4")
                )
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return change


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (edited(scaled(0)), MetricError, "output 0 of the original is zero all over"),
        (edited(scaled(1, np.nan)), MetricError, "output 0 of the original is not finite"),
        (edited(scaled(1, np.inf)), MetricError, "output 0 of the original is not finite"),
    ],
)
def test_outputs_that_are_zero_or_not_finite(model, error, message):
    with pytest.raises(error, match=message) as caught:
        calibrate(model, [noisy(24)], budget=0.1, threads=1)
    assert caught.value.hint and not isinstance(caught.value, CalibrationStopped)


def test_a_frame_whose_answer_is_zero():
    """Relu behind the last convolution, and a frame that is black: a relative error there is a division by zero."""

    def positive(model):
        scaled(1)(model)
        model.graph.node.append(helper.make_node("Relu", ["y"], ["z"], "relu_last"))
        model.graph.output[0].name = "z"
        for tensor in model.graph.initializer:
            if tensor.name.startswith("b"):
                tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims[0], "f4"), tensor.name))

    feeds = noisy(24)
    feeds[9] = {"x": feeds[9]["x"] / 1000}  # so little that its rows are still held when all is black
    feeds[10] = {"x": np.zeros_like(feeds[10]["x"])}
    with pytest.raises(CalibrationError, match=r"the metric gives a loss of .* on frame 10") as caught:
        calibrate(edited(positive), [feeds], budget=0.1, threads=1)
    assert "zero all over" in caught.value.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much", None, [0.5, 0.5]])
def test_metrics_that_give_no_number(value):
    calls = []

    def metric(_truth, _got):
        calls.append(1)
        return 1.0 if len(calls) < 200 else value

    with pytest.raises(CalibrationStopped, match="not a finite number") as caught:
        calibrate(MODEL, [noisy(24)], metric=metric, budget=0.9, threads=1)
    assert caught.value.hint and len(caught.value.found.to_dict()["nodes"]) == 4


def test_metrics_that_do_not_fit():
    for metric, message in [
        ("yolox", "yolox"),
        ("probabilities", "probabilities"),
        (lambda _t, _g: 0.0, "for an answer and itself"),
    ]:
        with pytest.raises(MetricError, match=message):
            calibrate(MODEL, [noisy(24)], metric=metric, budget=0.9, threads=1)


def test_nothing_to_convert():
    model = graph(
        [(("MatMul", ["x", "w"], ["y"]), {})],
        {"x": (TensorProto.FLOAT, [1, 4])},
        {"y": (TensorProto.FLOAT, [1, 4])},
        {"w": np.eye(4, dtype=np.float32)},
    )
    with pytest.raises(CalibrationError, match="there is nothing to calibrate") as caught:
        calibrate(model, [], budget=0.1)
    assert "original" in caught.value.hint


# --- at run time ------------------------------------------------------------------------------------------------------


def test_rrm_tolerance_scales_what_was_calibrated():
    found = calibrate(MODEL, [noisy(24)], budget=0.1, threads=1)
    sessions = {
        name: yardstick.converted_session(model, 1)
        for name, model in {
            "streams": rrm_onnx.convert(MODEL, thresholds=found.to_dict(), streams=True),
            "found": rrm_onnx.convert(MODEL, thresholds=found.to_dict()),
            "half": rrm_onnx.convert(MODEL, thresholds=with_setting(found, found.setting.scaled(0.5)).to_dict()),
            "exact": rrm_onnx.convert(MODEL),
        }.items()
    }
    for stream, (name, factor) in enumerate([("found", 1.0), ("half", 0.5), ("exact", 0.0)]):
        for feed in noisy(8, seed=3):
            more = {"rrm_stream": np.array([stream]), "rrm_tolerance": np.array(factor, np.float32)}
            (got,) = yardstick.run(sessions["streams"], ["y"], feed | more)
            (want,) = yardstick.run(sessions[name], ["y"], feed)
            if name == "half":  # six digits in the file
                assert yardstick.relative_l2(got, want) < 1e-3
            else:
                assert yardstick.same_bits(got, want), name


def with_setting(found: Thresholds, setting: Setting) -> Thresholds:
    return Thresholds(found.points, setting, found.scales, found.sensitivity, found.digest, found.facts)


def drifting(count: int, step: float) -> list[dict[str, np.ndarray]]:
    ground = noisy(1)[0]["x"]
    return [{"x": ground + np.float32(step * t)} for t in range(count)]


def test_what_moves_slowly_passes_in_every_periodth_frame():
    found = calibrate(MODEL, [noisy(24)], budget=0.1, threads=1)
    slow = Setting((0.2,) * 4, drift=0.01, period=3)
    session = yardstick.converted_session(rrm_onnx.convert(MODEL, thresholds=with_setting(found, slow).to_dict()), 1)
    answers = [yardstick.run(session, ["y"], f)[0] for f in drifting(12, 1.0)]  # of about 70: a share of 0.014
    changed = [t for t in range(1, 12) if not yardstick.same_bits(answers[t], answers[t - 1])]
    assert changed == [3, 6, 9]
    session.reset()
    answers = [yardstick.run(session, ["y"], f)[0] for f in drifting(6, 60.0)]  # what moves far passes at once
    assert all(not yardstick.same_bits(a, b) for a, b in itertools.pairwise(answers))


def test_answers_that_are_held():
    """What a calibration that holds whole answers makes: the exact answer in every period-th frame, none in between."""
    found = calibrate(MODEL, [noisy(24)], budget=0.1, threads=1)
    hold = with_setting(found, Setting((1e9,) * 4, drift=0.0, period=2))
    model = rrm_onnx.convert(MODEL, thresholds=hold.to_dict())
    session, exact = yardstick.converted_session(model, 1), yardstick.converted_session(rrm_onnx.convert(MODEL), 1)
    for t, feed in enumerate(noisy(9)):
        (got,) = yardstick.run(session, ["y"], feed)
        if t % 2 == 0:
            (want,) = yardstick.run(exact, ["y"], feed)
        assert yardstick.same_bits(got, want)
