"""The parts of a calibration: frames kept, gates set between two runs, costs modelled."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import onnx
import pytest
from calibrating import recorded
from case import Case, frames
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from small import cnn, noisy
from toys import TOYS, Toy

import rrm_onnx
from rrm_onnx import yardstick
from rrm_onnx.calibrate.points import Point, Setting, apply, figure, points_of
from rrm_onnx.calibrate.record import SHAKEN, SHIFTS, Stretch, change, shifted
from rrm_onnx.calibrate.thresholds import Thresholds
from rrm_onnx.calibrate.trial import CostModel, line, mean_and_error, prepare
from rrm_onnx.errors import CalibrationError
from rrm_onnx.pack import nodes_of
from rrm_onnx.types import Options

finite = st.floats(0, 1e6, allow_subnormal=False)


# --- frames and answers ---------------------------------------------------------------------------------------------


def test_a_recording_holds_frames_and_the_originals_answers(temporary):
    feeds = noisy(15)
    session = yardstick.dense_session(cnn(size=32), 1)
    with recorded(feeds) as found:
        assert (found.footage, len(found)) == (15, 15 + 2 * SHAKEN * SHIFTS) and found.dense_ms > 0
        assert (found.shaken, found.shaken_check) == ([Stretch(15, 27)], [Stretch(27, 39)])
        for t in (0, 7, 14):
            assert list(found.feed(t)) == ["x"] and yardstick.same_bits(found.feed(t)["x"], feeds[t]["x"])
            (truth,) = found.truth(t)
            assert yardstick.same_bits(truth, session.run(None, feeds[t])[0])
        assert found.changes[:15] == [0.0, *(change(a, b) for a, b in itertools.pairwise(feeds))]
        assert list(temporary.iterdir())
    assert not list(temporary.iterdir())


def test_the_users_buffer_may_be_used_again(temporary):
    buffer = np.empty_like(noisy(1)[0]["x"])

    def refilled():
        for feed in noisy(15):
            buffer[...] = feed["x"]
            yield {"x": buffer}

    with recorded(refilled()) as found, recorded(noisy(15)) as want:
        assert found.changes == want.changes


def test_shaken_frames_are_frames_that_fit_moved_by_a_few_pixels(temporary):
    """Within the picture a moved frame is the frame; what comes in at an edge repeats it."""
    feeds = noisy(15)
    session = yardstick.dense_session(cnn(size=32), 1)
    with recorded(feeds) as found:
        origins = [int(t) for ends in ((0, 9), (10, 14)) for t in np.linspace(*ends, SHAKEN)]
        for k, t in enumerate(range(15, 39)):
            x, origin = found.feed(t)["x"], feeds[origins[k // SHIFTS]]["x"]
            assert yardstick.same_bits(found.truth(t)[0], session.run(None, {"x": x})[0])
            moves = [(d, r) for d in range(-3, 4) for r in range(-3, 4) if np.array_equal(shifted(origin, d, r), x)]
            assert len(moves) == 1 and all(moves[0])
    plane = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    assert shifted(plane, 1, 0)[0, 0].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert shifted(plane, 0, -1)[0, 0, 0].tolist() == [1, 2, 3, 3]
    last = plane.reshape(1, 4, 3, 1)
    assert shifted(last, 1, 0)[0, :2, :, 0].tolist() == [[0, 1, 2], [0, 1, 2]]


def test_two_thirds_of_each_clip_fit_and_the_rest_checks(temporary):
    with recorded(noisy(12), noisy(30)) as found:
        assert found.fit == [Stretch(0, 8), Stretch(12, 32)]
        assert found.check == [Stretch(8, 12), Stretch(32, 42)]
        assert found.changes[12] == 0.0  # a clip's first frame follows nothing


def raising(frames):
    yield from frames
    raise OSError("the camera is gone")


@pytest.mark.parametrize(
    ("clips", "error", "message"),
    [
        ([noisy(11)], CalibrationError, "a clip of 11 frames is too short"),
        ([noisy(20), noisy(3)], CalibrationError, "a clip of 3 frames is too short"),
        ([noisy(1) * 20], CalibrationError, "all its frames are equal"),
        ([noisy(20), noisy(1) * 20], CalibrationError, "all its frames are equal"),
        ([], CalibrationError, "there are no frames"),
        ([[]], CalibrationError, "there are no frames"),
        ([raising(noisy(3))], OSError, "the camera is gone"),
        ([[*noisy(3), {"x": np.zeros((1, 3, 8, 8), np.float32)}]], rrm_onnx.RrmError, "the run failed"),
        ([[*noisy(3), {"y": np.zeros((1, 3, 32, 32), np.float32)}]], rrm_onnx.RrmError, "the run failed"),
    ],
)
def test_what_cannot_be_calibrated_on(temporary, clips, error, message):
    with pytest.raises(error, match=message) as caught:
        recorded(*clips)
    assert getattr(caught.value, "hint", "") is not None
    assert not list(temporary.iterdir())


def test_the_metric_sees_the_first_answer_only(temporary):
    seen = []
    with recorded(noisy(12), noisy(12), check=seen.append):
        assert len(seen) == 1

    def unfit(_truth):
        raise CalibrationError("no boxes")

    with pytest.raises(CalibrationError, match="no boxes"):
        recorded(noisy(12), check=unfit)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("reason", [OSError(28, "No space left on device"), OSError("12 requested and 3 written")])
def test_a_full_disk(temporary, monkeypatch, reason):
    def full(*_):
        raise reason

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(CalibrationError, match=f"frame 0 cannot be kept in .*: {reason.strerror or reason}") as caught:
        recorded(noisy(12))
    assert "TMPDIR" in caught.value.hint and not list(temporary.iterdir())


def test_memory_does_not_grow_with_the_frames(temporary):
    def peak(count):
        tracemalloc.start()
        with recorded(feed for feed in endless(count)):
            found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    def endless(count):
        rng = np.random.default_rng(0)
        for _ in range(count):
            yield {"x": rng.random((1, 3, 32, 32), np.float32)}

    peak(12)
    few, many = peak(12), peak(100)
    assert many - few < 100 * 3 * 32 * 32  # a quarter of the frames themselves


def test_texts_are_kept():
    text = helper.make_tensor_value_info("s", TensorProto.STRING, [2])
    graph = helper.make_graph([helper.make_node("Identity", ["s"], ["y"])], "g", [text], [])
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.STRING, [2]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with recorded([{"s": np.array(["a", str(t)], object)} for t in range(12)], model=model) as found:
        assert found.feed(3)["s"].tolist() == found.truth(3)[0].tolist() == ["a", "3"]


def test_change():
    zeros, ones = np.zeros((1, 3, 4, 4), np.float32), np.ones((1, 3, 4, 4), np.float32)
    assert change({"x": ones}, {"x": ones}) == 0 and change({"x": zeros}, {"x": ones}) == 1
    assert change({"x": ones}, {"x": 2 * ones}) == pytest.approx(0.5)
    assert change({"x": ones}, {"x": np.ones((1, 3, 4, 5), np.float32)}) == 1  # another size
    half = ones.copy()
    half[:, :, :1] = 0
    assert change({"x": half}, {"x": ones}) == pytest.approx(0.5)  # a quarter of the squares
    bright, dark = np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8)
    assert change({"x": bright}, {"x": dark}) > 1 and change({"x": dark}, {"x": bright}) == 1
    state = {"x": ones, "h": np.zeros(2)}
    assert change(state, {"x": 2 * ones, "h": np.ones(2)}) == pytest.approx(0.5)  # the largest counts
    assert change(state, {"x": ones, "h": np.ones(2)}) == 1  # unless it stands still
    assert change({"x": ones.astype(np.float16)}, {"x": 2 * ones.astype(np.float16)}) == pytest.approx(0.5)
    assert change({"x": ones, "s": np.array(["a"])}, {"x": ones, "s": np.array(["b"])}) == 1


# --- costs and errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([(0, 3), (2, 7)], (3, 2)),
        ([(1, 1), (2, 2), (3, 3)], (0, 1)),
        ([(4, 8)], (8, 0)),  # one point: nothing is known of the slope
        ([(4, 8), (4, 10)], (9, 0)),
        ([(0, 6), (3, 0)], (3, 0)),  # a slope downwards is noise
        ([(1, 0), (2, 3)], (0, 1.2)),  # an offset below zero too
    ],
)
def test_a_line_by_hand(points, found):
    assert line(points) == pytest.approx(found)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
def test_a_line_is_never_negative(points):
    a, b = line(points)
    assert a >= 0 and b >= 0 and np.isfinite([a, b]).all()


@given(
    st.floats(0, 1e4, allow_subnormal=False),
    st.floats(0.01, 1e3),
    st.lists(st.integers(0, 1000), min_size=2, max_size=10, unique=True),
)
def test_a_line_without_noise_is_found(a, b, xs):
    found = line([(x, a + b * x) for x in xs])
    assert found == pytest.approx((a, b), rel=1e-4, abs=1e-4 * (a + 1000 * b))


def test_the_model_of_costs_by_hand():
    costs = CostModel()
    nodes = lambda active, ns: [{"name": "conv", "active": active, "ns": ns}]  # noqa: E731
    costs.learn(nodes(0, 10 * 1e6), 10, 3.0)  # 1 ms a frame where nothing is active, and 2 ms of others
    costs.learn(nodes(1000, 30 * 1e6), 10, 5.0)  # 3 ms where 100 sites a frame are
    assert costs.cost(nodes(500, 0), 10) == pytest.approx(1 + 1 + 2)
    assert costs.cost(nodes(2000, 0), 10) == pytest.approx(1 + 4 + 2)
    costs.learn(nodes(0, 10 * 1e6), 10, 100.0)  # somebody else took the machine
    assert costs.cost(nodes(0, 0), 10) == pytest.approx(1 + 2)


def test_the_mean_and_its_error():
    assert mean_and_error([0.25]) == (0.25, 0.0)
    assert mean_and_error([1.0, 3.0]) == (2.0, pytest.approx(1.0))
    still = [0.0] * 40 + [1.0] * 40  # what happens in one frame goes on in the next
    mixed = [0.0, 1.0] * 40
    assert mean_and_error(still)[0] == mean_and_error(mixed)[0] == 0.5
    assert mean_and_error(still)[1] == pytest.approx(0.5 * np.sqrt(8 / 7) / np.sqrt(8))
    assert mean_and_error(mixed)[1] == 0


@given(st.lists(finite, min_size=1, max_size=50))
def test_the_error_of_a_mean_is_never_negative(values):
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(np.mean(values)) and error >= 0 and np.isfinite(error)


# --- gates ----------------------------------------------------------------------------------------------------------


def test_points_name_every_gate():
    for toy in TOYS:
        planned, converted = prepare(toy.build(), Options())
        found = points_of(planned, converted)
        nodes = nodes_of(converted.model)
        gates = {(n.name, False) for n in nodes for a in n.attribute if a.name == "threshold"}
        inner = {(n.name, True) for n in nodes for a in n.attribute if a.name == "inner_threshold"}
        assert {(p.node, p.inner) for p in found} == gates | inner, toy.name
        assert len({p.name for p in found}) == len(found) == len(gates) + len(inner)
        assert [p.node for p in found if p.entry] == [n.name for n in nodes if n.op_type == "Enter"]
        names = {n.name for n in planned.normal.graph.nodes}
        assert all(p.name in names for p in found if p.inner)
    assert inner_names("mobile") == ["Conv_2", "Conv_5", "Conv_9"]


def inner_names(name: str) -> list[str]:
    return [p.name for p in points_of(*prepare(toy_of(name).build(), Options())) if p.inner]


def toy_of(name: str) -> Toy:
    return next(t for t in TOYS if t.name == name)


def little_moves(toy: Toy, model: onnx.ModelProto, count: int = 7) -> list[np.ndarray]:
    n = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    data = "uint8" if toy.dtype == "uint8" else "normal"
    return [f[0] for f in frames(Case("Enter", ((n, *toy.shape),), data=data, change="all"), count)]


@pytest.mark.parametrize("toy", TOYS, ids=lambda t: t.name)
def test_a_session_that_is_set_answers_as_a_model_with_that_file(library, toy):
    """Bit for bit: what a trial measures is what the converted model does."""
    model = toy.build()
    planned, converted = prepare(model, Options())
    points = points_of(planned, converted)
    tried = yardstick.converted_session(converted.model, 1)
    names = [o.name for o in tried.get_outputs()]
    exact = yardstick.converted_session(rrm_onnx.convert(model), 1)
    moves = little_moves(toy, model)
    for k, (drift, period) in enumerate([(1.0, 1), (0.25, 3), (0.0, 2)]):
        rng = np.random.default_rng(k)
        setting = Setting(tuple(rng.choice([0, 0.0212345678, 0.1, 0.3], len(points))), drift, period)
        scales = [float(s) for s in rng.choice([0, 0.51234567, 1.0], len(points))]
        apply(tried, points, Setting((0.0,) * len(points)), scales)  # all exact in between, as the search begins
        apply(tried, points, setting, scales)
        tried.reset()
        exact.reset()
        file = Thresholds(points, setting, scales, scales, planned.digest, {}).to_dict()
        written = yardstick.converted_session(rrm_onnx.convert(model, thresholds=file), 1)
        held = 0
        for x in moves:
            got, want, other = (yardstick.run(s, names, {"x": x}) for s in (tried, written, exact))
            assert all(yardstick.same_bits(a, b) for a, b in zip(got, want, strict=True)), (k, setting)
            held += not all(yardstick.same_bits(a, b) for a, b in zip(got, other, strict=True))
        assert held or toy.dtype == "uint8"  # the gates did something


def test_what_is_set_is_what_a_file_says():
    """To the last digit: a file has six."""
    points = [Point("x", "x", entry=True), Point("deep", "point", inner=True), Point("point", "point"), Point("c", "c")]
    thresholds, scales = (tuple(np.random.default_rng(k).uniform(0, 2, 4)) for k in (0, 1))
    setting, made = Setting(thresholds, 0.25, 4), {}

    class Session:
        def set_gate(self, node, gate, second):
            made[node] = (*gate, *second)

    apply(Session(), points, setting, scales)
    nodes = Thresholds(points, setting, scales, scales, "", {}).to_dict()["nodes"]
    said = {name: (n["threshold"], n["scale"]) for name, n in nodes.items()}
    assert made == {"x": (*said["x"], 0.25, 4), "point": said["point"] + said["deep"], "c": (*said["c"], 0.0, 0.0)}
    assert figure(0.0123456789) == 0.0123457 and figure(1e9) == 1e9 and figure(0) == 0
