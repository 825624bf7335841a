"""verify(): passes what is right, finds what is wrong."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small import cnn, feeds

import rrm_onnx
from rrm_onnx import yardstick
from rrm_onnx.errors import LoadError, RrmError
from rrm_onnx.pack import pack, unpack
from rrm_onnx.verify import OutputReport, Report, Tally, default_rtol
from rrm_onnx.yardstick import dense_model, is_exact, relative_l2, same_bits, session_options

COUNT = 6
MODULE = sys.modules["rrm_onnx.verify"]  # the attribute of that name is the function


class Fake:
    """Stands in for the converted session: the original's answers, changed by `spoil(t, y)`; t counts from `start`."""

    def __init__(self, spoil, start: int = 0) -> None:
        self.dense, self.spoil, self.t = yardstick.dense_session(cnn()), spoil, start

    def get_outputs(self):
        return self.dense.get_outputs()

    def run(self, names, feed):
        y = self.dense.run(names, feed)[0].copy()
        self.spoil(self.t, y)
        self.t += 1
        return [y]


def check(monkeypatch, spoil, fresh_spoil=lambda t, y: None, converted=None, **options) -> Report:
    sessions = iter([Fake(spoil), Fake(fresh_spoil)])
    monkeypatch.setattr(MODULE, "converted_session", lambda model, threads: next(sessions))
    return rrm_onnx.verify(cnn(), converted or cnn(), feeds(COUNT), **options)


def test_the_same_answers_pass(monkeypatch):
    report = check(monkeypatch, lambda t, y: None, rtol=1e-6)
    assert report.ok and report.fresh_equal and report.frames == COUNT
    assert report.outputs == (OutputReport("y", 0.0, 0.0, 0, 0.0),)


def test_an_error_is_found_with_its_frame_and_size(monkeypatch):
    def spoil(t, y):
        if t == 3:
            y[0, 0, 5, 5] += 2.0

    report = check(monkeypatch, spoil, rtol=1e-4)
    (output,) = report.outputs
    assert output.worst_frame == 3 and output.largest_difference == pytest.approx(2, rel=1e-4)
    want = yardstick.dense_session(cnn()).run(None, feeds(COUNT)[3])[0]
    assert output.worst_error == pytest.approx(2 / np.linalg.norm(want), rel=1e-4)
    assert output.mean_error == pytest.approx(output.worst_error / COUNT)
    assert not report.ok and "output 'y'" in report.failures[0] and "frame 3" in report.failures[0]
    assert check(monkeypatch, spoil, rtol=1.0).ok


def test_nan_fails(monkeypatch):
    def spoil(t, y):
        if t == 1:
            y[0, 0, 0, 0] = np.nan

    report = check(monkeypatch, spoil, rtol=1e9)
    assert not report.ok and report.outputs[0].worst_frame == 1 and np.isnan(report.outputs[0].largest_difference)


def least(t, y):
    """One bit of one value."""
    y[0, 0, 0, 0] = np.nextafter(y[0, 0, 0, 0], np.float32(np.inf))


def gated(threshold: float) -> onnx.ModelProto:
    model = cnn()
    model.graph.node.append(
        helper.make_node("Enter", ["x"], ["t"], "Enter_x", domain="rrm", threshold=threshold, scale=0.0)
    )
    return model


def test_a_fresh_session_must_agree_to_the_bit_in_exact_mode(monkeypatch):
    report = check(monkeypatch, lambda t, y: None, least, rtol=1e-4)
    assert not report.fresh_equal and not report.ok and "fresh session" in report.failures[0]
    report = check(monkeypatch, lambda t, y: None, least, converted=gated(0.02), rtol=1e-4)
    assert not report.fresh_equal and report.ok  # a tolerance does not promise it


def test_default_rtol():
    assert is_exact(gated(0.0)) and default_rtol(gated(0.0)) == 1e-4
    assert not is_exact(gated(0.02)) and default_rtol(gated(0.02)) == pytest.approx(0.2)
    assert default_rtol(gated(1e9)) == 1  # nothing passes but in some frames


def test_a_gate_inside_a_node_counts():
    model = gated(0.0)
    model.graph.node[-1].attribute.append(helper.make_attribute("inner_threshold", 0.03))
    assert not is_exact(model) and default_rtol(model) == pytest.approx(0.3)


def test_no_frames(monkeypatch):
    monkeypatch.setattr(MODULE, "converted_session", lambda model, threads: Fake(lambda t, y: None))
    with pytest.raises(RrmError, match="no frame was given"):
        rrm_onnx.verify(cnn(), cnn(), [], rtol=1)


def test_progress_and_dictionary(monkeypatch):
    done: list[int] = []
    report = check(monkeypatch, lambda t, y: None, rtol=1e-4, progress=done.append)
    assert done == list(range(1, COUNT + 1))
    assert report.to_dict()["outputs"][0]["name"] == "y" and report.to_dict()["ok"] is True


def test_relative_l2():
    a = np.array([3.0, 4.0], np.float32)
    assert relative_l2(a, a) == 0 and relative_l2(a + [0, 5], a) == pytest.approx(1)
    odd = np.array([np.nan, np.inf, 1.0], np.float32)
    assert relative_l2(odd, odd) == 0
    assert not relative_l2(odd, np.array([0, np.inf, 1.0], np.float32)) <= 1e9
    assert relative_l2(a, a[:1]) == np.inf
    assert relative_l2(np.array([True, False]), np.array([True, True])) == pytest.approx(2**-0.5)


def test_same_bits_sees_signs_and_nans():
    assert not same_bits(np.array([0.0]), np.array([-0.0]))
    assert same_bits(np.array([np.nan]), np.array([np.nan]))
    assert not same_bits(np.array([1], np.int64), np.array([1], np.int32))


def test_text_outputs_compare_by_equality():
    tally = Tally("label")
    tally.add(0, np.array(["cat"], object), np.array(["cat"], object))
    tally.add(1, np.array(["cat"], object), np.array(["dog"], object))
    assert tally.report().worst_frame == 1 and tally.report().worst_error == np.inf


def test_dense_takes_the_weights_off_the_inputs_and_leaves_the_model_alone():
    model = cnn(weights_as_inputs=True)
    before = model.SerializeToString()
    assert [i.name for i in dense_model(model).graph.input] == ["x"]
    assert model.SerializeToString() == before


def test_both_sides_run_with_the_same_settings():
    options = session_options(3)
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"


def test_models_that_onnxruntime_does_not_load():
    graph = helper.make_graph([helper.make_node("NoSuchOperator", ["x"], ["y"])], "g", [], [])
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]))
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))
    with pytest.raises(LoadError, match="does not load the original"):
        yardstick.dense_session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


@pytest.mark.parametrize(
    ("written", "hint"),
    [(pack, "update rrm_onnx, or convert the model again"), (unpack, "another version of rrm_onnx")],
)
def test_an_operator_that_the_library_does_not_have(library, written, hint):
    model = unpack(rrm_onnx.convert(cnn()))
    next(n for n in model.graph.node if n.op_type == "Exit").op_type = "LeaveLater"
    with pytest.raises(LoadError, match="does not load the converted") as caught:
        yardstick.converted_session(written(model))
    assert hint in (caught.value.hint or "")


def test_a_wrong_shape_or_type_at_run_time_is_one_sentence():
    session = yardstick.dense_session(cnn())
    for bad in (np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 3, 64, 64), np.float64)):
        with pytest.raises(RrmError, match="the run failed: ") as caught:
            yardstick.run(session, ["y"], {"x": bad})
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("tolerance", [0, 0.02])
def test_a_real_conversion_passes(library, tolerance):
    rng = np.random.default_rng(2)  # a camera's noise, part of which the tolerance holds back
    noisy = [{"x": f["x"] + rng.normal(0, 1, f["x"].shape).astype(np.float32)} for f in feeds(COUNT)]
    report = rrm_onnx.verify(cnn(), rrm_onnx.convert(cnn(), tolerance=tolerance), noisy, rtol=max(1e-4, tolerance))
    assert report.ok, report.failures
    assert report.exact == (tolerance == 0) and report.outputs[0].name == "y"
    if tolerance:
        assert report.outputs[0].worst_error > 1e-6  # something was held back, or the test shows nothing


def test_a_real_conversion_of_another_network_fails(library):
    other = cnn()
    bias = next(t for t in other.graph.initializer if t.name == "b2")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, 9, np.float32), "b2"))
    assert not rrm_onnx.verify(cnn(), rrm_onnx.convert(other), feeds(2), rtol=1e-4).ok
