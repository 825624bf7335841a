"""Calibrations from end to end on small networks: what they promise, what they take, and how they end."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from calibrating import Breaking, closeness, count_costs, counted_costs, losses  # noqa: F401
from small import cnn, noisy, pictures, write_clip

import rrm_onnx
from rrm_onnx import video, yardstick
from rrm_onnx.calibrate import CalibrationStopped, Thresholds, calibrate
from rrm_onnx.calibrate.trial import LEARNT, CostModel
from rrm_onnx.cli.calibrate import STAGES
from rrm_onnx.common import source_hash
from rrm_onnx.errors import CalibrationError, ClipError, MetricError, ThresholdsError
from rrm_onnx.pack import nodes_of

pytestmark = pytest.mark.usefixtures("library", "counted_costs", "temporary")
MODEL = cnn(size=32)
BUDGET = 0.1


def calibrated(frames=None, model=MODEL, **given) -> Thresholds:
    frames = [noisy(24)] if frames is None else frames
    return calibrate(model, frames, **({"budget": BUDGET, "threads": 1} | given))


@pytest.fixture(scope="module")
def found(library) -> Thresholds:
    with pytest.MonkeyPatch.context() as patch:
        count_costs(patch)
        return calibrated([noisy(36)])


# --- the promise ----------------------------------------------------------------------------------------------------


def test_the_budget_is_kept_on_other_footage(found):
    converted = rrm_onnx.convert(MODEL, thresholds=found.to_dict())
    got = losses(MODEL, converted, noisy(60, seed=7))
    assert not found.exact and 0.005 < np.mean(got) <= BUDGET
    assert found.facts["check"]["loss"] <= BUDGET and found.facts["check"]["macs"] < 0.2


def test_with_the_clock(monkeypatch):
    """As the test above, the costs measured: the gain is large enough for that."""
    monkeypatch.undo()
    model = cnn(size=64)
    found = calibrate(model, [noisy(40, 64)], budget=BUDGET, threads=1)
    assert not found.exact and found.facts["check"]["macs"] < 0.2 and found.facts["original_ms"] > 0
    assert np.mean(losses(model, rrm_onnx.convert(model, thresholds=found.to_dict()), noisy(40, 64, seed=7))) <= BUDGET


def test_exact_where_the_budget_is_too_tight():
    found = calibrated(budget=1e-9)
    assert found.exact and found.facts["uniform"] is None and found.facts["stopped"] == ""
    converted, exact = rrm_onnx.convert(MODEL, thresholds=found.to_dict()), rrm_onnx.convert(MODEL)
    sessions = [yardstick.converted_session(m, 1) for m in (converted, exact)]
    for feed in noisy(5):
        a, b = (yardstick.run(s, ["y"], feed)[0] for s in sessions)
        assert yardstick.same_bits(a, b)
    assert {e.kind for e in found.curve} == {"exact", "uniform", "hold", "motion gate"}


def test_what_holds_on_the_searched_frames_only_is_tightened():
    """Noise that grows behind the second third: thresholds are made smaller, or dropped, until the check agrees."""
    quiet, loud = noisy(24), noisy(36, sigma=6.0, seed=3)[24:]
    plain, found = calibrated([noisy(36)]), calibrated([quiet + loud])
    assert found.exact or max(found.setting.thresholds) < max(plain.setting.thresholds)
    assert found.facts["check"]["loss"] <= BUDGET


def test_every_gate_has_its_scale(found):
    sizes = [np.sqrt(np.mean(f["x"] ** 2)) for f in noisy(24)]
    assert [p.name for p in found.points] == ["Enter_x", "conv0", "conv1", "conv2"]
    assert found.scales[0] == pytest.approx(np.mean(sizes), rel=0.02) and all(s > 0 for s in found.scales)


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_file(found, tmp_path):
    path = tmp_path / "thresholds.json"
    path.write_text("from an earlier day")
    found.save(path)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["thresholds.json"]
    data = json.loads(path.read_text())
    assert data == json.loads(json.dumps(found.to_dict()))
    assert data["model"] == source_hash(MODEL)
    assert set(data["nodes"]) == {"Enter_x", "conv0", "conv1", "conv2"}
    assert all(set(node) == {"threshold", "scale", "sensitivity"} for node in data["nodes"].values())
    facts = data["calibration"]
    assert facts["tool"] == f"rrm_onnx {rrm_onnx.__version__}" and facts["clips"] == ["feeds 0"]
    assert (facts["metric"], facts["is_error"], facts["budget"]) == ("l2", True, BUDGET)
    assert (facts["frames"], facts["searched_on"]) == (36, 24) and facts["stopped"] == ""
    assert facts["tried"] > 20 and facts["uniform"] > 0
    assert facts["stale"]["speed"] == 2 and set(facts["stale"]["periods"]) <= {2, 3, 4, 5}
    assert {"loss", "cost_ms", "macs", "ms"} <= set(facts["check"]) & set(facts["fit"])
    assert {e["kind"] for e in facts["curve"]} == {"exact", "calibrated", "uniform", "hold", "motion gate"}
    by_file, by_dict = rrm_onnx.convert(MODEL, thresholds=path), rrm_onnx.convert(MODEL, thresholds=found.to_dict())
    assert by_file.SerializeToString(deterministic=True) == by_dict.SerializeToString(deterministic=True)
    for node in nodes_of(by_file):
        if node.name in data["nodes"]:
            attributes = {a.name: a.f for a in node.attribute}
            assert attributes["threshold"] == np.float32(data["nodes"][node.name]["threshold"])


def test_nothing_is_left_where_the_file_cannot_be_written(found, tmp_path):
    (tmp_path / "a folder").mkdir()
    with pytest.raises(OSError):
        found.save(tmp_path / "a folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a folder", "temporary"]


def test_a_file_of_another_model_is_refused(found):
    with pytest.raises(ThresholdsError, match="another model") as caught:
        rrm_onnx.convert(cnn(size=64), thresholds=found.to_dict())
    assert "calibrate again" in caught.value.hint


def test_the_file_names_the_metric_with_its_parameters():
    found = calibrated(metric="l2:output=0")
    assert found.facts["metric"] == "l2:output=0" and found.facts["is_error"]
    found = calibrated(metric=closeness, budget=0.9)
    assert found.facts["metric"] == "closeness" and not found.facts["is_error"] and not found.exact


def test_the_curve_holds_the_chosen_point(found):
    chosen = next(e for e in found.curve if e.kind == "calibrated" and e.value == 1)
    check = found.facts["check"]
    assert (chosen.loss, chosen.cost, chosen.macs) == (check["loss"], check["cost_ms"], check["macs"])
    factors = [e for e in found.curve if e.kind == "calibrated"]
    assert [e.value for e in factors] == sorted(e.value for e in factors)
    assert factors[0].loss < factors[-1].loss and factors[0].cost > factors[-1].cost


# --- how it ends ----------------------------------------------------------------------------------------------------


class Bug(Exception):
    pass


@pytest.mark.parametrize("stage", ["weights", "turns", "checking"])
def test_a_callable_that_raises_in_the_middle(stage, temporary):
    breaking = Breaking(stage, Bug("no boxes"), by_metric=True)
    with pytest.raises(CalibrationStopped, match=r"metric .*metric raised Bug in .*: no boxes") as caught:
        calibrated(metric=breaking.metric, progress=breaking.progress, budget=0.9)
    kept = caught.value.found
    assert "no boxes" in kept.facts["stopped"] and "check" not in kept.facts
    assert not kept.exact
    rrm_onnx.convert(MODEL, thresholds=kept.to_dict())
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("stage", ["weights", "turns"])
def test_an_interrupted_search_gives_the_best_so_far(stage):
    breaking = Breaking(stage, KeyboardInterrupt(), by_metric=False)
    found = calibrated([noisy(60)], progress=breaking.progress)
    assert found.facts["stopped"] == "interrupted" and not found.exact
    assert found.facts["check"]["loss"] <= BUDGET and found.curve == []


def test_an_interrupted_check_keeps_the_thresholds(temporary):
    breaking = Breaking("checking", KeyboardInterrupt(), by_metric=False)
    with pytest.raises(CalibrationStopped, match="interrupted before the thresholds were checked") as caught:
        calibrated(progress=breaking.progress)
    assert not caught.value.found.exact and caught.value.hint and not list(temporary.iterdir())


def test_a_callable_that_raises_on_an_alternative_leaves_out_the_curve():
    """The thresholds were found and checked by then."""
    breaking, told = Breaking("comparing", Bug("no boxes"), by_metric=True), []
    found = calibrated(metric=breaking.metric, progress=breaking.progress, budget=0.9, warn=told.append)
    assert found.curve == [] and not found.exact and "check" in found.facts and found.facts["stopped"] == ""
    (warning,) = told
    assert warning.startswith("there is no comparison") and "no boxes" in warning


def test_an_interrupted_comparison_leaves_out_the_curve():
    found = calibrated([noisy(60)], progress=Breaking("comparing", KeyboardInterrupt(), by_metric=False).progress)
    assert found.curve == [] and not found.exact and found.facts["stopped"] == ""


@pytest.mark.parametrize("stage", ["recording", "learning"])
def test_before_the_search_there_is_nothing_to_give(stage, temporary):
    with pytest.raises(KeyboardInterrupt):
        calibrated(progress=Breaking(stage, KeyboardInterrupt(), by_metric=False).progress)
    assert not list(temporary.iterdir())


def test_out_of_time():
    found = calibrated(minutes=1e-9)
    assert found.exact and found.facts["stopped"] == "out of time" and found.curve


def test_learning_what_nodes_cost_takes_time_of_the_search(monkeypatch):
    """All of it here."""
    clock = SimpleNamespace(now=0.0)

    def tick(_self, *_):
        clock.now += 10.0

    monkeypatch.setattr(CostModel, "learn", tick)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    assert calibrated(minutes=(10.0 * len(LEARNT) + 1) / 60).facts["tried"] > 20
    assert calibrated(minutes=(10.0 * len(LEARNT) - 1) / 60).facts["tried"] == 0


def test_progress():
    steps = []
    found = calibrated(progress=steps.append)
    stages = list(dict.fromkeys(s.stage for s in steps))
    assert stages == ["recording", "learning", "holding", "weights", "turns", "checking", "comparing"] == list(STAGES)
    assert [s.done for s in steps if s.stage == "recording"] == list(range(1, 25))
    before = ("recording", "learning")
    assert all(s.best is None for s in steps if s.stage in before)
    assert all(0 <= s.done <= s.total for s in steps if s.stage != "recording")
    assert all(s.best.cost > 0 for s in steps if s.stage not in before)
    learning = [s for s in steps if s.stage == "learning"]
    assert [s.done for s in learning] == list(range(learning[0].total + 1))
    assert steps[-1].best.loss == found.facts["check"]["loss"]


# --- what it takes --------------------------------------------------------------------------------------------------


def test_a_calibration_data_reader(found):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.feeds = iter(noisy(36))

        def get_next(self):
            return next(self.feeds, None)

    read = calibrated(Reader())
    assert read.facts["clips"] == ["Reader"] and read.setting == found.setting
    with pytest.raises(CalibrationError, match="there are no frames"):
        reader = Reader()
        reader.feeds = iter(())
        calibrated(reader)


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda feeds: [feeds], lambda feeds: [iter(feeds)]])
def test_feeds(found, kind):
    assert calibrated(kind(noisy(36))).setting == found.setting


def test_clips(tmp_path):
    pytest.importorskip("av")
    one, two = (write_clip(tmp_path / name, pictures(n, 32, 32)) for name, n in (("a.mkv", 14), ("b.mkv", 30)))
    reading = video.ClipOptions(frames=15, mean=(60.0,), std=(70.0,))
    found = calibrated([str(one), two], reading=reading)
    assert found.facts["clips"] == [str(one), str(two)] and found.facts["frames"] == 14 + 15
    as_feeds = [list(video.feeds(c, video.image_input(MODEL), reading)) for c in (one, two)]
    assert calibrated(as_feeds).scales == found.scales and found.scales[0] < 3
    assert calibrated(one).facts["clips"] == [str(one)]
    assert calibrated([one, noisy(24)]).facts["clips"] == [str(one), "feeds 1"]
    with pytest.raises(ClipError, match=r"absent\.mkv"):
        calibrated(tmp_path / "absent.mkv")


def test_an_open_shape_that_is_given_counts_for_clips_too(tmp_path):
    pytest.importorskip("av")
    clip = write_clip(tmp_path / "a.mkv", pictures(24, 70, 64))
    model = cnn(size=None)
    found = calibrated(clip, model, input_shapes={"x": (1, 3, 32, 48)})
    converted = rrm_onnx.convert(model, thresholds=found.to_dict(), input_shapes={"x": (1, 3, 32, 48)})
    assert [d.dim_value for d in converted.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 32, 48]
    assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim] == ["N", "", "H", "W"]
    assert calibrated(clip, model).scales != found.scales  # the clip's own size


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        (7, CalibrationError, "frames of type int cannot be read"),
        ([noisy(24), None], CalibrationError, "frames of type NoneType cannot be read"),
        ([[1, 2, 3]], CalibrationError, "frame 0 of stretch 0 is int, not a feed"),
        (noisy(1)[0], CalibrationError, "frame 0 of stretch 0 is str, not a feed"),
        (np.zeros((20, 1, 3, 32, 32)), CalibrationError, "frame 0 of stretch 0 is ndarray, not a feed"),
        ([], CalibrationError, "there are no frames"),
        (iter(()), CalibrationError, "there are no frames"),
        ([noisy(11)], CalibrationError, "a clip of 11 frames is too short"),
        ([noisy(1) * 20], CalibrationError, "nothing changes"),
    ],
    ids=str,
)
def test_frames_that_do_not_do(frames, error, message):
    with pytest.raises(error, match=message) as caught:
        calibrated(frames)
    assert caught.value.hint


@pytest.mark.parametrize("budget", [0, -0.1, float("nan"), float("inf"), "0.02", None])
@pytest.mark.parametrize("metric", ["l2", closeness])
def test_budgets_out_of_range(metric, budget):
    with pytest.raises(CalibrationError, match="a budget of") as caught:
        calibrated(metric=metric, budget=budget)
    assert "has to be a number" in caught.value.hint


def test_an_agreement_of_1_is_asking_for_the_exact_model():
    with pytest.raises(CalibrationError, match="a budget of 1 for closeness"):
        calibrated(metric=closeness, budget=1)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"metric": "yolo-x"}, MetricError, "no metric is named"),
        ({"skip": ["conv_2"]}, rrm_onnx.RrmError, "conv_2"),
        ({"input_shapes": {"z": (1, 3, 32, 32)}}, rrm_onnx.RrmError, "no input 'z'"),
        ({"skip": ["Conv"]}, CalibrationError, "there is nothing to calibrate"),
    ],
)
def test_mistakes_are_told_before_any_frame_is_read(given, error, message):
    def frames():
        raise AssertionError("a frame was asked for")
        yield

    with pytest.raises(error, match=message) as caught:
        calibrated(frames(), **given)
    assert caught.value.hint


def test_skipped_nodes_have_no_gate():
    found = calibrated(skip=["conv2"])
    assert [p.name for p in found.points] == ["Enter_x", "conv0", "conv1"]
    rrm_onnx.convert(MODEL, thresholds=found.to_dict(), skip=["conv2"])
