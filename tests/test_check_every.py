"""The self-check at run time: rhythm, answers, errors, streams, and what goes wrong in between."""

from __future__ import annotations

import functools
import gc

import numpy as np
import onnx
import pytest
from small import SIZE, cnn

import rrm_onnx
from rrm_onnx import runtime
from rrm_onnx.distance import worst_error
from rrm_onnx.errors import RrmError
from rrm_onnx.selfcheck import Record, SelfCheck

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("library")
EMPTY = {"checks": 0, "mean": None, "worst": None, "last": None}


@functools.cache
def model(tolerance: float = 0.1, streams: bool = False, open_size: bool = False, batch: int | None = None) -> bytes:
    source = cnn(size=None if open_size or batch else SIZE)
    if batch:
        for value, sides in ((source.graph.input[0], (SIZE, SIZE)), (source.graph.output[0], (SIZE // 2, SIZE // 2))):
            for dim, n in zip(value.type.tensor_type.shape.dim, (batch, None, *sides), strict=True):
                if n:
                    dim.dim_value = n
    return rrm_onnx.convert(source, tolerance=tolerance, streams=streams).SerializeToString()


def session(data: bytes | None = None, options=None, **kwargs):
    return rrm_onnx.InferenceSession(data or model(), options, ["CPUExecutionProvider"], **kwargs)


def frames(count: int, noise: float = 3.0, batch: int = 1, seed: int = 0) -> list[np.ndarray]:
    """A still picture under noise: a tolerance holds most of it."""
    rng = np.random.default_rng(seed)
    still = rng.uniform(0, 255, (batch, 3, SIZE, SIZE))
    return [(still + noise * rng.standard_normal(still.shape)).astype(np.float32) for _ in range(count)]


def by_hand(data: bytes, video: list[np.ndarray], every: int) -> tuple[list[list[np.ndarray]], list[float]]:
    """Answers and errors as a self-check should give them, with a fresh session for every answer computed anew."""
    answers, errors = [], []
    current = session(data)
    for t, x in enumerate(video, 1):
        answer = current.run(None, {"x": x})
        if t % every == 0 and t > 1:
            current = session(data)
            anew = current.run(None, {"x": x})
            errors.append(worst_error(answer, anew))
            answer = anew
        answers.append(answer)
    return answers, errors


def same(a, b) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


# One video


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_answers_and_errors_are_those_by_hand(every):
    video = frames(8)
    answers, errors = by_hand(model(), video, every)
    assert min(errors) > 1e-4, "something was held, or the test shows nothing"
    checking = session(check_every=every)
    for t, (x, expected) in enumerate(zip(video, answers, strict=True), 1):
        same(checking.run(None, {"x": x}), expected)
        assert checking.stats()["check"]["checks"] == (t // every if every > 1 else t - 1)
    check = checking.stats()["check"]
    assert check["every"] == every and "streams" not in check
    assert check["last"] == errors[-1] and check["worst"] == max(errors)
    assert check["mean"] == pytest.approx(np.mean(errors))


def test_a_checked_frame_is_answered_as_by_a_fresh_session():
    video = frames(3)
    checking = session(check_every=3)
    for x in video:
        answer = checking.run(None, {"x": x})
    same(answer, session().run(None, {"x": video[-1]}))


def test_an_exact_model_has_no_error():
    checking = session(model(tolerance=0), check_every=2)
    for x in frames(6):
        checking.run(None, {"x": x})
    check = checking.stats()["check"]
    assert (check["checks"], check["mean"], check["worst"], check["last"]) == (3, 0, 0, 0)


def test_footage_that_changes_raises_the_error():
    checking = session(check_every=4)
    for x in frames(4, noise=0.1):
        checking.run(None, {"x": x})
    calm = checking.stats()["check"]["last"]
    for x in frames(4, noise=8, seed=0):
        checking.run(None, {"x": x})
    check = checking.stats()["check"]
    assert check["worst"] == check["last"] > 5 * calm > 0


def test_off_is_off():
    for every in (None, 0):
        off = session(check_every=every)
        for x in frames(3):
            off.run(None, {"x": x})
        assert "check" not in off.stats() and off.stats()["nodes"][0]["keyframes"] == 1


@pytest.mark.parametrize("every", [-1, 2.0, "3", True, False, [1]])
def test_what_check_every_is_not(every):
    with pytest.raises(RrmError, match=r"check_every is .*, not a whole number of at least 0") as caught:
        session(check_every=every)
    assert "None" in caught.value.hint
    assert session(check_every=np.int64(2)).stats()["check"] == {"every": 2, **EMPTY}


def test_reset_stats_clears_the_errors_and_keeps_the_rhythm():
    checking, video = session(check_every=3), frames(6)
    for x in video[:4]:
        checking.run(None, {"x": x})
    checking.reset_stats()
    assert checking.stats()["check"] == {"every": 3, **EMPTY}
    for x in video[4:]:
        checking.run(None, {"x": x})
    assert checking.stats()["check"]["checks"] == 1


def test_reset_starts_the_count_anew():
    checking, video = session(check_every=3), frames(6)
    for x in video[:2]:
        checking.run(None, {"x": x})
    checking.reset()
    for x in video[2:4]:
        checking.run(None, {"x": x})
    assert checking.stats()["check"]["checks"] == 0
    checking.run(None, {"x": video[4]})
    assert checking.stats()["check"]["checks"] == 1


def test_a_checked_frame_counts_as_two_runs():
    checking = session(check_every=2)
    for x in frames(4):
        checking.run(None, {"x": x})
    assert {n["runs"] for n in checking.stats()["nodes"]} == {6}
    assert checking.stats()["nodes"][0]["keyframes"] == 3


# Outputs


def two_outputs() -> bytes:
    """y, and its ArgMax as integers, which has no error of its own."""
    source = cnn()
    source.graph.node.append(onnx.helper.make_node("ArgMax", ["y"], ["label"], axis=1))
    source.graph.output.append(onnx.helper.make_tensor_value_info("label", onnx.TensorProto.INT64, [None] * 4))
    return rrm_onnx.convert(source, tolerance=0.1).SerializeToString()


@pytest.mark.parametrize("names", [None, [], ["y"], ["label", "y"], ["label"]])
def test_only_the_outputs_asked_for_are_compared(names):
    data, video = two_outputs(), frames(2)
    checking, plain = session(data, check_every=2), session(data)
    for x in video:
        answer, usual = checking.run(names, {"x": x}), plain.run(names, {"x": x})
    anew = session(data).run(names, {"x": video[-1]})
    same(answer, anew)
    assert len(answer) == (2 if not names else len(names))
    check = checking.stats()["check"]
    assert check["checks"] == 1 and check["last"] == worst_error(usual, anew)


def test_answers_that_cannot_be_compared_are_passed_on():
    check = SelfCheck(1, None)
    calls = []
    answers = iter([[["a"]], [[{1: 0.5}]], [np.array(["a"])]])
    for _ in range(3):
        check.run({}, lambda feed: next(answers), lambda: calls.append("reset"))
    assert calls == [] and check.to_dict() == {"every": 1, **EMPTY}


# What goes wrong in between


@pytest.mark.parametrize("streams", [False, True])
def test_a_usual_run_that_fails_leaves_a_session_that_checks_on(streams):
    data, video = model(streams=streams), frames(5)
    checking = session(data, check_every=3)
    for t, x in enumerate(video):
        if t in (1, 2):
            with pytest.raises(Exception, match=r"[Ii]nvalid|[Rr]ank|dimensions"):
                checking.run(None, {"x": x[0]})
        answer = checking.run(None, {"x": x})
        if t in (0, 2):
            same(answer, session(data).run(None, {"x": x}))
    assert checking.stats()["check"]["checks"] == 1  # of the third one that came through


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("when", [1, 2])
def test_an_operator_that_fails_in_a_check(streams, when):
    """when: in the usual run, or in the one from a fresh state."""
    data, video = model(streams=streams), frames(9)
    checking = session(data, check_every=3)
    group = int(runtime.query("group")["group"])
    for x in video[:2]:
        checking.run(None, {"x": x})
    name = checking.stats()["nodes"][1]["name"]
    runtime.query(f"fail {group} {name} {when}")
    with pytest.raises(Exception, match="test"):
        checking.run(None, {"x": video[2]})
    runtime.query(f"fail {group} {name} 0")
    assert checking.stats()["check"] == {"every": 3, **EMPTY} | ({"streams": {}} if streams else {})
    checking.run(None, {"x": video[3]})
    if when == 2:  # part of the state was computed anew, the rest is now: the frame counts as a first one
        assert checking.stats()["check"]["checks"] == 0
        for x in video[4:6]:
            last = checking.run(None, {"x": x})
        same(last, session(data).run(None, {"x": video[5]}))
    assert checking.stats()["check"]["checks"] == 1


def test_run_options_hold_for_both_runs():
    checking, (x,) = session(check_every=1), frames(1)
    options = ort.RunOptions()
    options.terminate = True
    checking.run(None, {"x": x})
    with pytest.raises(Exception, match="terminate"):
        checking.run(None, {"x": x}, options)
    options.terminate = False
    checking.run(None, {"x": x}, run_options=options)
    assert checking.stats()["check"]["checks"] == 1


def test_a_nan_is_not_lost():
    record = Record()
    for error in (0.1, np.nan, 0.2):
        record.add(error)
    found = record.to_dict()
    assert np.isnan(found["worst"]) and np.isnan(found["mean"]) and found["last"] == 0.2


# Other ways to run, and sessions that share their options


def test_other_ways_to_run_are_refused():
    checking, plain, (x,) = session(check_every=2), session(), frames(1)
    value = ort.OrtValue.ortvalue_from_numpy(x)
    calls = {
        "run_with_iobinding": lambda s: s.run_with_iobinding(bound(s, x)),
        "run_async": lambda s: s.run_async(None, {"x": x}, lambda *_: None, None),
        "run_with_ort_values": lambda s: s.run_with_ort_values(None, {"x": value}),
        "run_with_ortvaluevector": lambda s: s.run_with_ortvaluevector(None, None, None, None, None, None),
    }
    for name, call in calls.items():
        with pytest.raises(RrmError, match=f"{name} cannot check itself") as caught:
            call(checking)
        assert "use run" in caught.value.hint
    calls["run_with_iobinding"](plain)
    same([calls["run_with_ort_values"](plain)[0].numpy()], plain.run(None, {"x": x}))


def bound(made, x):
    binding = made.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y")
    return binding


def test_options_are_not_shared_with_a_session_that_resets_itself():
    options = ort.SessionOptions()
    plain = session(options=options)
    with pytest.raises(RrmError, match="check_every resets the sessions that share") as caught:
        session(options=options, check_every=2)
    assert "--streams" in caught.value.hint
    del plain, caught  # a traceback holds on to what its frames saw
    gc.collect()
    checking = session(options=options, check_every=2)
    with pytest.raises(RrmError, match="check_every resets the sessions that share") as caught:
        session(options=options)
    del checking, caught
    gc.collect()
    session(options=options)


def test_options_are_shared_where_streams_reset_alone():
    options = ort.SessionOptions()
    one, two = (session(model(streams=True), options, check_every=2) for _ in range(2))
    for x in frames(2):
        one.run(None, {"x": x})
    assert one.stats()["check"]["checks"] == 1 and two.stats()["check"]["checks"] == 0
