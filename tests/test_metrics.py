"""Metrics of a calibration: how they are named, l2, probabilities, functions of the user's own."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_onnx.calibrate.metrics import KINDS, make
from rrm_onnx.errors import MetricError, RrmError
from rrm_onnx.yardstick import relative_l2

SEEDS = st.integers(0, 2**16)


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def refused(match: str, *args, hint: str | None = None, call=make, **kwargs) -> MetricError:
    """The call's MetricError, of one line."""
    with pytest.raises(MetricError, match=match) as caught:
        call(*args, **kwargs)
    assert isinstance(caught.value, RrmError) and "\n" not in caught.value.message
    assert hint is None or hint in (caught.value.hint or ""), caught.value.hint
    return caught.value


# Names and parameters


def test_every_kind_can_be_made_and_says_what_it_is():
    for kind, cls in KINDS.items():
        metric = make(kind, size=(64, 48))
        assert type(metric) is cls and metric.kind == kind and metric.is_error == (kind == "l2")
        assert cls.__doc__ and not cls.__doc__.startswith(
            f"{cls.__name__}("
        )  # its own, not the one that dataclasses write


def test_parameters_in_text_and_by_keyword():
    metric = make("yolox:threshold=0.3, nms=0.6", iou=0.7, size=(64, 32))
    assert (metric.threshold, metric.nms, metric.iou, metric.size) == (0.3, 0.6, 0.7, (64, 32))
    assert make("yolox:size=32x64", size=(1, 2)).size == (32, 64)
    assert make("mask:output=0+2,layout=nhwc").output == (0, 2)
    assert make("mask", output=1).output == (1,) and make("mask", output=(2, 0)).output == (2, 0)
    assert make("keypoints:output=1,threshold=-0.5").threshold == -0.5
    assert make("probabilities:logits=true").logits and not make("probabilities", logits=False).logits
    assert make("ssd:background=none").background is None


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("yolo", "no metric is named 'yolo'", "'yolox'"),
        ("", "no metric is named ''", "known: "),
        ("yolox:treshold=1", "metric yolox has no parameter 'treshold'", "did you mean 'threshold'"),
        ("yolox:threshold", "'threshold' is no parameter", "yolox:name=value"),
        ("mask:iou_of_mine", "'iou_of_mine' is no parameter", "mask.py:iou_of_mine"),
        ("yolox:threshold=high", "threshold=high is no number", None),
        ("yolox:threshold=nan", "threshold=nan wants a number", None),
        ("yolox:iou=0", "iou=0 wants a number, above 0, up to 1", None),
        ("yolox:nms=1.5", "nms=1.5 wants a number, above 0, up to 1", None),
        ("yolox:size=64", "size=64 wants width x height", None),
        ("keypoints:output=-1", "output=-1 wants a whole number, 0 or more", None),
        ("keypoints:distance=-1", "distance=-1 wants a number, 0 or more", None),
        ("mask:output=a", "output=a wants the number of an output", None),
        ("mask:layout=chw", "layout=chw wants auto or nchw or nhwc", None),
        ("probabilities:logits=1", "logits=1 wants true or false", None),
        ("yolox:iou=0.5,iou=0.6", "iou is given twice", None),
        (7, "a metric is a name or a callable, not int", "known: "),
    ],
)
def test_what_is_refused(spec, message, hint):
    refused(message, spec, hint=hint)


def test_a_parameter_given_twice_and_one_for_a_function():
    refused("iou is given twice", "yolox:iou=0.5", iou=0.6)
    refused("a function takes no parameters: iou", "os:getcwd", iou=0.6)
    refused("a callable takes no parameters: iou", lambda t, g: 1, iou=0.6, hint="functools.partial")


def test_a_metric_is_taken_as_it_is():
    metric = make("l2")
    assert make(metric) is metric


@pytest.mark.parametrize("kind", ["probabilities", "yolox", "yolov5", "keypoints", "landmarks", "mask", "ssd"])
def test_an_output_that_is_not_there(kind):
    spec = f"{kind}:boxes=3" if kind == "ssd" else f"{kind}:output=3"
    error = refused("reads output 3", [draw(0, 1, 4)], call=make(spec, size=(8, 8)).check, hint="the first output is 0")
    assert error.message == f"metric {kind} reads output 3, the model has 1 output"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["l2", "probabilities", "yolov5", "keypoints", "mask", "boxes"])
def test_outputs_that_are_not_finite(kind, bad):
    shape = {"probabilities": (1, 6), "yolov5": (1, 3, 6), "boxes": (1, 3, 6)}.get(kind, (1, 6, 4, 4))
    truth = [np.full(shape, 1 / 6, np.float32)]
    metric = make(kind)
    metric.check(truth)
    broken = [truth[0].copy()]
    broken[0].flat[1] = bad
    refused(f"metric {kind}: output 0 of the original is not finite", broken, call=metric.check, hint="--mean")
    value = metric(truth, broken)
    assert value == np.inf if metric.is_error else value == 0, "an answer that is not finite is as bad as can be"


def test_outputs_that_are_no_numbers():
    refused("output 0 holds object, not numbers", [np.array([["a"]], object)], call=make("mask").check)


@pytest.mark.parametrize("kind", ["l2", "probabilities"])
def test_another_number_of_outputs(kind):
    x = draw(0, 1, 3)
    refused("1 outputs are compared with 2", [x], [x, x], call=make(kind))


# l2


@given(SEEDS, st.floats(0.01, 2))
def test_l2_is_the_worst_output(seed, share):
    a, b = draw(seed, 1, 3, 4, 4), draw(seed + 1, 1, 5)
    noise = draw(seed + 2, 1, 5)
    got = [a * np.float32(1.001), b + np.float32(share) * noise]
    metric = make("l2")
    assert metric([a, b], [a, b]) == 0
    assert metric([a, b], got) == max(relative_l2(g, w) for g, w in zip(got, [a, b], strict=True))
    assert make("l2:output=0")([a, b], got) == pytest.approx(1e-3, rel=1e-3)
    expected = np.sqrt(sum((share * float(n)) ** 2 for n in noise.flat) / sum(float(x) ** 2 for x in b.flat))
    assert make("l2:output=1")([a, b], got) == pytest.approx(expected, rel=1e-4)


def test_l2_prefers_floating_point_outputs():
    labels, x = np.arange(4), draw(0, 1, 4)
    assert make("l2")([labels, x], [labels + 1, x]) == 0
    assert make("l2")([labels], [labels + 1]) > 0.1
    assert make("l2:output=0")([labels, x], [labels + 1, x]) > 0.1
    make("l2").check([labels * 0, x])


def test_l2_cannot_be_had_of_nothing():
    zero, x = np.zeros((1, 4), np.float32), draw(0, 1, 4)
    refused("output 1 of the original is zero all over", [x, zero, x], call=make("l2").check, hint="l2:output=0+2")
    refused("output 0 of the original is zero all over", [zero], call=make("l2").check, hint="another metric")
    make("l2:output=0+2").check([x, zero, x])
    refused("no output of numbers", [np.array(["a"])], call=make("l2").check)
    refused("l2 reads output 2", [x], call=make("l2:output=2").check)


# Class probabilities


@given(SEEDS, st.integers(1, 3), st.integers(2, 9), st.booleans())
def test_probabilities_are_one_minus_total_variation(seed, batch, classes, logits):
    a, b = draw(seed, batch, classes), draw(seed + 1, batch, classes)
    metric = make("probabilities:output=1", logits=logits)
    truth, got = ([a], [b]) if logits else ([softmax(a)], [softmax(b)])
    truth, got = [a, *truth], [b, *got]
    metric.check(truth)
    p, q = softmax(a.astype(float)), softmax(b.astype(float))
    naive = [1 - sum(abs(p[n, c] - q[n, c]) for c in range(classes)) / 2 for n in range(batch)]
    assert metric(truth, got) == pytest.approx(sum(naive) / batch, abs=1e-6) and 0 <= metric(truth, got) <= 1
    assert metric(truth, truth) == 1
    assert metric(got, truth) == pytest.approx(metric(truth, got), abs=1e-12)


def test_probabilities_by_hand():
    a, b = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    assert make("probabilities")([a], [b]) == 0.75
    assert make("probabilities")([a[None, :, None, None]], [b[None, :, None, None]]) == 0.75
    assert make("probabilities")([np.array([[1.0, 0]])], [np.array([[0, 1.0]])]) == 0
    assert make("probabilities:logits=true")([np.array([[1e4, 0]])], [np.array([[1e4, 0]])]) == 1


def test_what_are_no_probabilities():
    check = make("probabilities").check
    refused("adds up to", [np.array([[2.0, 3.0]])], call=check, hint="logits=true")
    refused("smallest -0.5", [np.array([[-0.5, 1.5]])], call=check, hint="logits=true")
    refused(r"shape \[1, 2, 4, 4\] is no list", [np.full((1, 2, 4, 4), 0.5)], call=check, hint="mask")
    refused(
        "4 classes are compared with 2", [np.full((1, 4), 0.25)], [np.full((1, 2), 0.5)], call=make("probabilities")
    )
    refused("a batch of 2 is compared with one of 1", [np.eye(2)], [np.eye(2)[:1]], call=make("probabilities"))


# Functions


FILE = """
import neighbour_of_metric
calls = []
def agree(truth, got):
    calls.append((truth, got))
    return neighbour_of_metric.share(truth[0], got[0])
def lazy(truth, got):
    import late_neighbour
    return late_neighbour.VALUE
class Group:
    @staticmethod
    def inner(truth, got):
        return 1
constant = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a metric and its neighbours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "metric_of_mine.py").write_text(FILE)
    (tmp_path / "neighbour_of_metric.py").write_text("def share(a, b): return float((a == b).mean())")
    (tmp_path / "late_neighbour.py").write_text("VALUE = 1")
    (tmp_path / "broken_metric.py").write_text("import no_such_module_anywhere")
    yield tmp_path
    for name in ("metric_of_mine", "neighbour_of_metric", "late_neighbour", "rrm_onnx_metric_metric_of_mine"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("where", ["metric_of_mine", "metric_of_mine.py", "other/../metric_of_mine.py"])
def test_a_function_of_the_working_folder(folder, where):
    (folder / "other").mkdir()
    metric = make(f"{where}:agree")
    truth, got = [np.array([1, 2, 3, 4])], [np.array([1, 2, 3, 5])]
    metric.check(truth)
    assert metric(truth, got) == 0.75 and not metric.is_error and metric.kind == f"{where}:agree"
    (a, b) = metric.function.__globals__["calls"][-1]
    assert type(a) is type(b) is list and a[0] is truth[0] and b[0] is got[0]
    assert make(f"{where}:lazy")(truth, got) == make(f"{where}:Group.inner")(truth, got) == 1


def test_a_file_elsewhere_finds_its_neighbours(folder, monkeypatch):
    (folder / "other").mkdir()
    monkeypatch.chdir(folder / "other")
    assert make(f"{folder}/metric_of_mine.py:agree")([np.ones(2)], [np.ones(2)]) == 1
    assert make("../metric_of_mine.py:lazy")([], []) == 1


def test_nothing_installed_is_hidden(folder):
    (folder / "hypothesis.py").write_text("raise RuntimeError('hidden')")
    make("metric_of_mine.py:agree")
    assert sys.path[-1] == str(folder) and sys.path[0] != str(folder)


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("metric_of_mine:agrees", "metric_of_mine.py has no 'agrees'", "did you mean 'agree'"),
        ("metric_of_mine.py:constant", "'constant' is a int, not a function", None),
        ("metric_of_mine:", "names no function", "MODULE:FUNCTION"),
        (":agree", "names no function", "MODULE:FUNCTION"),
        (
            "absent_module:agree",
            "does not load: ModuleNotFoundError: No module named 'absent_module'",
            "working folder",
        ),
        ("absent.py:agree", "no such file: absent.py", "path"),
        ("broken_metric:agree", "ModuleNotFoundError: No module named 'no_such_module_anywhere'", None),
        ("broken_metric.py:agree", "ModuleNotFoundError: No module named 'no_such_module_anywhere'", None),
    ],
)
def test_functions_that_are_not_there(folder, spec, message, hint):
    error = refused(message, spec, hint=hint)
    assert hint or error.hint is None


def test_what_a_function_raises_names_it_and_the_place():
    def failing(truth, got):
        raise ValueError("two\nlines")

    error = refused("failing raised ValueError in test_metrics.py, line", [], [], call=make(failing))
    assert "two lines" in error.message and isinstance(error.__cause__, ValueError)
    refused(r"raised TypeError: .*positional argument", [], [], call=make(lambda truth: 1))


def test_an_interruption_is_not_an_error_of_the_function():
    def stopped(truth, got):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(stopped)([], [])


@pytest.mark.parametrize("result", [None, "1", b"1", float("nan"), np.inf, np.ones(2), [1], 1j, {}])
def test_results_that_are_no_number(result):
    metric = make(lambda truth, got: result)
    refused("returned .*, not a finite number", [], [], call=metric, hint="one finite number")


@pytest.mark.parametrize("result", [1, 0.5, np.float32(0.25), np.array(0.5), np.int64(1), True, np.True_, -3])
def test_results_that_are(result):
    found = make(lambda truth, got: result)([], [])
    assert type(found) is float and found == float(result)


def test_a_function_that_gives_errors_is_found_out():
    error = make(lambda truth, got: float(np.abs(truth[0] - got[0]).max()))
    refused("gives 0 for an answer and itself, not 1", [np.ones(3)], call=error.check, hint="1 minus the error")


def test_callables_of_all_kinds():
    class Counter:
        def __call__(self, truth, got):
            return 1

    assert make(Counter())([], []) == 1 and make(Counter()).kind.endswith("Counter")
    assert make(types.SimpleNamespace(f=lambda t, g: 0.5).f)([], []) == 0.5
