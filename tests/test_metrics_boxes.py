"""Metrics of detectors: decoders against loops over single numbers, boxes and matches with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_metrics import draw, refused

from rrm_onnx.calibrate.metrics import make
from rrm_onnx.calibrate.metrics.boxes import Boxes, f1, overlap, suppress

SEEDS = st.integers(0, 2**16)
SIZE = (64, 32)
CELLS = 8 * 4 + 4 * 2 + 2 * 1


def boxes(rows: list[tuple[float, ...]]) -> Boxes:
    """Rows of x1, y1, x2, y2, score, class."""
    a = np.array(rows, float).reshape(-1, 6)
    return Boxes(a[:, :4], a[:, 4], a[:, 5].astype(int))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def some_boxes(seed: int, count: int, classes: int = 2) -> np.ndarray:
    """(count, 6) rows with distinct scores that overlap now and then."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 20, (count, 2))
    return np.concatenate(
        [
            low,
            low + rng.uniform(4, 16, (count, 2)),
            rng.permutation(count)[:, None] / (count + 1),
            np.zeros((count, 1)),
        ],
        axis=1,
    ) + np.concatenate([np.zeros((count, 5)), rng.integers(0, classes, (count, 1))], axis=1)


# Overlaps, suppression, matches


def naive_iou(a, b) -> float:
    if list(a) == list(b):
        return 1.0
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    union = sum(max(q[2] - q[0], 0) * max(q[3] - q[1], 0) for q in (a, b)) - shared
    return shared / union if union > 0 else 0.0


@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_overlaps_against_a_loop(seed, n, m):
    a, b = some_boxes(seed, n)[:, :4], some_boxes(seed + 1, m)[:, :4]
    b[0] = a[0]
    expected = [[naive_iou(x, y) for y in b] for x in a]
    np.testing.assert_allclose(overlap(a, b), expected, rtol=1e-12)


def test_overlaps_by_hand():
    one = np.array([[0, 0, 2, 2.0]])
    assert overlap(one, np.array([[1, 0, 3, 2.0]]))[0, 0] == pytest.approx(1 / 3)
    assert overlap(one, np.array([[2, 0, 4, 2.0]]))[0, 0] == 0
    point, inside_out = np.array([[1, 1, 1, 1.0]]), np.array([[2, 2, 0, 0.0]])
    assert overlap(point, point)[0, 0] == overlap(inside_out, inside_out)[0, 0] == 1
    assert overlap(point, inside_out)[0, 0] == overlap(one, inside_out)[0, 0] == 0
    endless = np.array([[-np.inf, 0, np.inf, 1]])
    assert overlap(endless, one)[0, 0] == 0 and overlap(endless, endless)[0, 0] == 1


def naive_nms(rows: np.ndarray, limit: float) -> list[tuple[float, ...]]:
    kept: list[np.ndarray] = []
    for row in sorted(rows, key=lambda r: -r[4]):
        if all(row[5] != k[5] or naive_iou(row[:4], k[:4]) < limit for k in kept):
            kept.append(row)
    return [tuple(k) for k in kept]


@given(SEEDS, st.integers(0, 12), st.floats(0.1, 1))
def test_suppression_against_a_loop(seed, count, limit):
    rows = some_boxes(seed, count)
    kept = suppress(boxes(list(rows)), limit)
    found = [(*c, s, k) for c, s, k in zip(kept.corners, kept.scores, kept.classes, strict=True)]
    assert found == naive_nms(rows, limit)


def naive_f1(a, b, least) -> float:
    pairs = [(naive_iou(x[:4], y[:4]), i, j) for i, x in enumerate(a) for j, y in enumerate(b) if x[5] == y[5]]
    used_a, used_b, total = set(), set(), 0.0
    for share, i, j in sorted(pairs, key=lambda p: (-p[0], p[1], p[2])):
        if share >= least and i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            total += share
    return 2 * total / (len(a) + len(b)) if len(a) + len(b) else 1.0


@given(SEEDS, st.integers(0, 8), st.integers(0, 8), st.floats(0.1, 0.9))
def test_f1_against_a_loop(seed, n, m, least):
    a, b = some_boxes(seed, n), some_boxes(seed + 1, m)
    b[: min(n, m) // 2] = a[: min(n, m) // 2] + [0.5, 0, 0.5, 0, 0, 0]
    found = f1(boxes(list(a)), boxes(list(b)), least)
    assert found == pytest.approx(naive_f1(a, b, least), abs=1e-9) and 0 <= found <= 1
    assert f1(boxes(list(a)), boxes(list(a)), least) == 1


@given(SEEDS, st.integers(1, 8), st.randoms(use_true_random=False))
def test_the_order_of_boxes_does_not_matter(seed, n, random):
    a, b = some_boxes(seed, n), some_boxes(seed, n) + [1, 0, 1, 0, 0, 0]
    shares = overlap(a[:, :4], b[:, :4])
    assume(len(np.unique(shares[shares > 0].round(9))) == (shares > 0).sum() or n == 1)
    order = list(range(n))
    random.shuffle(order)
    metric = make("boxes:threshold=0.2")
    expected = metric([a], [b])
    assert metric([a], [b[order]]) == pytest.approx(expected, abs=1e-12)
    assert metric([a[order]], [b]) == pytest.approx(expected, abs=1e-12)
    assert metric([b], [a]) == pytest.approx(expected, abs=1e-12)  # F1 has no sides


ONE, FAR = (0, 0, 2, 2, 0.9, 0), (10, 10, 12, 12, 0.8, 0)


@pytest.mark.parametrize(
    ("truth", "got", "expected"),
    [
        ([], [], 1),
        ([ONE], [], 0),
        ([], [ONE], 0),
        ([ONE], [ONE], 1),
        ([ONE, FAR], [ONE], 2 / 3),  # recall 1/2, precision 1
        ([ONE], [ONE, FAR], 2 / 3),
        ([ONE], [(0, 0, 2, 2, 0.9, 1)], 0),  # another class
        ([ONE], [(0, 0, 2, 1.5, 0.9, 0)], 0.75),  # weighed by the overlap
        ([ONE], [(0, 0, 2, 0.9, 0.9, 0)], 0),  # overlap below 0.5
        ([ONE], [(0, 0, 2, 1, 0.9, 0)], 0.5),  # at it
        ([ONE], [(0, 0, 2, 2, 0.41, 0)], 1),  # the score does not matter above the threshold
        ([ONE], [(0, 0, 2, 2, 0.4, 0)], 0),
        ([ONE], [ONE, ONE], 2 / 3),  # no box twice, and what a model with NMS inside gives is left alone
        ([ONE], [(0, 0, 2, 1.5, 0.9, 0), (0, 0, 2, 1.8, 0.5, 0)], 2 * 0.9 / 3),  # the best pair first
    ],
)
def test_agreement_by_hand(truth, got, expected):
    a, b = (np.array(rows, np.float32).reshape(-1, 6) for rows in (truth, got))
    assert make("boxes")([a], [b]) == pytest.approx(expected, rel=1e-6)
    separate = [[x[:, :4], x[:, 5].astype(np.int64), x[:, 4]] for x in (a, b)]
    assert make("boxes")(*separate) == pytest.approx(expected, rel=1e-6)


# Decoders against loops. Each gives rows of x1, y1, x2, y2, score, class.


def row(cx, cy, w, h, scores):
    best = max(range(len(scores)), key=lambda c: scores[c])
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, scores[best], best


def naive_yolov5(a):
    return [row(*r[:4], [r[4] * s for s in r[5:]]) for r in a]


def naive_yolox(a):
    out, k = [], 0
    for stride in (8, 16, 32):
        for y in range(SIZE[1] // stride):
            for x in range(SIZE[0] // stride):
                r = a[k]
                k += 1
                centre = (r[0] + x) * stride, (r[1] + y) * stride
                sides = math.exp(r[2]) * stride, math.exp(r[3]) * stride
                out.append(row(*centre, *sides, [r[4] * s for s in r[5:]]))
    assert k == len(a)
    return out


def naive_yolov8(a):
    return [row(*a[:4, i], list(a[4:, i])) for i in range(a.shape[1])]


def naive_fastestdet(a):
    _, height, width = a.shape
    out = []
    for y in range(height):
        for x in range(width):
            r = a[:, y, x]
            scores = [r[0] ** 0.6 * s**0.4 for s in r[5:]]
            centre = (x + math.tanh(r[1])) / width, (y + math.tanh(r[2])) / height
            out.append(row(*centre, sigmoid(r[3]), sigmoid(r[4]), scores))
    return out


def naive_nanodet(scores, sides):
    """Lists of arrays, one a stride."""
    out = []
    for stride, level_scores, level_sides in zip((8, 16, 32), scores, sides, strict=True):
        k = 0
        for y in range(SIZE[1] // stride):
            for x in range(SIZE[0] // stride):
                away = []
                for side in range(4):
                    powers = [math.exp(v) for v in level_sides[k][8 * side : 8 * side + 8]]
                    away.append(stride * sum(i * p for i, p in enumerate(powers)) / sum(powers))
                cx, cy, s = (x + 0.5) * stride, (y + 0.5) * stride, list(level_scores[k])
                best = max(range(len(s)), key=lambda c: s[c])
                out.append((cx - away[0], cy - away[1], cx + away[2], cy + away[3], s[best], best))
                k += 1
    return out


def scores_of(seed, *shape):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def raw(kind: str, seed: int, batch: int = 1) -> tuple[list[np.ndarray], list[list[tuple[float, ...]]]]:
    """Outputs of a detector and, for each batch row, what they mean."""
    if kind in ("yolov5", "yolox"):
        count = CELLS if kind == "yolox" else 20
        numbers = draw(seed, batch, count, 4) * (1 if kind == "yolox" else 10) + (0 if kind == "yolox" else 20)
        x = np.concatenate([numbers, scores_of(seed, batch, count, 1) ** 0.2, scores_of(seed + 1, batch, count, 3)], 2)
        return [x], [(naive_yolox if kind == "yolox" else naive_yolov5)(a.astype(float)) for a in x]
    if kind == "yolov8":
        numbers = np.abs(draw(seed, batch, 4, 25)) * 10
        x = np.concatenate([numbers, scores_of(seed, batch, 3, 25)], 1)
        return [x], [naive_yolov8(a.astype(float)) for a in x]
    if kind == "fastestdet":
        x = np.concatenate(
            [scores_of(seed, batch, 1, 4, 6), draw(seed, batch, 4, 4, 6), scores_of(seed + 1, batch, 3, 4, 6)], 1
        )
        return [x], [naive_fastestdet(a.astype(float)) for a in x]
    counts = (32, 8, 2)
    scores = [scores_of(seed + n, batch, n, 3) for n in counts]
    sides = [draw(seed + n, batch, n, 32) for n in counts]
    meaning = [
        naive_nanodet([s[b].astype(float) for s in scores], [d[b].astype(float) for d in sides]) for b in range(batch)
    ]
    if kind == "nanodet-plus":
        return [np.concatenate([np.concatenate(scores, 1), np.concatenate(sides, 1)], 2)], meaning
    mixed = [scores[0], sides[2], scores[2], sides[1], scores[1], sides[0]]
    return [a[0] for a in mixed] if batch == 1 else mixed, meaning


DECODED = ["yolov5", "yolox", "yolov8", "fastestdet", "nanodet", "nanodet-plus"]


@pytest.mark.parametrize("kind", DECODED)
@given(seed=SEEDS, batch=st.integers(1, 2))
def test_decoders_against_loops(kind, seed, batch):
    outputs, meaning = raw(kind, seed, batch)
    metric = make(kind.removesuffix("-plus"), size=SIZE)
    metric.check(outputs)
    found = metric.decode([outputs[i] for i in metric.indices(outputs)])
    assert len(found) == batch
    for got, rows in zip(found, meaning, strict=True):
        expected = boxes(rows)
        np.testing.assert_allclose(got.corners, expected.corners, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got.scores, expected.scores, rtol=1e-5)
        assert (got.classes == expected.classes).all()


@pytest.mark.parametrize("kind", DECODED)
@given(seed=SEEDS, batch=st.integers(1, 2))
def test_whole_agreements_against_loops(kind, seed, batch):
    (truth, a), (got, b) = raw(kind, seed, batch), raw(kind, seed + 7, batch)
    got = [np.where(np.arange(t.shape[-1]) % 4 < 3, t, g).astype(np.float32) for t, g in zip(truth, got, strict=True)]
    metric = make(kind.removesuffix("-plus"), size=SIZE)
    b = [[(*c, s, k) for c, s, k in zip(x.corners, x.scores, x.classes, strict=True)] for x in metric.decode(got)]

    def kept(rows):
        return naive_nms(np.array([r for r in rows if r[4] > 0.4]).reshape(-1, 6), 0.45)

    expected = np.mean([naive_f1(kept(x), kept(y), 0.5) for x, y in zip(a, b, strict=True)])
    value = metric(truth, got)
    # Corners that went through float32 are off by some 1e-4 pixels, of boxes a few pixels wide.
    assert value == pytest.approx(expected, abs=5e-4) and 0 <= value <= 1
    assert metric(truth, truth) == metric(got, got) == 1


def test_thresholds_are_followed():
    x = np.array([[[8, 8, 4, 4, 1, 0.5], [8, 8, 4, 2.4, 1, 0.45], [20, 20, 4, 4, 1, 0.3]]], np.float32)
    first = np.array([[[8, 8, 4, 4, 1, 0.5]]], np.float32)
    assert make("yolov5")([first], [x]) == 1  # the second one is suppressed (0.6), the third is too faint
    assert make("yolov5:nms=0.7")([first], [x]) == pytest.approx(2 / 3)
    assert make("yolov5:threshold=0.2")([first], [x]) == pytest.approx(2 / 3)
    assert make("yolov5:threshold=0.2,nms=0.7")([first], [x]) == pytest.approx(1 / 2)
    assert make("yolov5:iou=0.7")([first], [x[:, 1:2]]) == 0
    assert make("yolov5:iou=0.55")([first], [x[:, 1:2]]) == pytest.approx(0.6)


def test_what_follows_the_classes_is_left_out():
    """A pose: one class, then key points in pixels."""
    x = np.array([8, 8, 4, 4, 0.9, 300, 200, 0.5], np.float32)[None, :, None]
    refused("scores from 300 to 300, not from 0 to 1", [x], call=make("yolov8").check, hint="classes=80")
    metric = make("yolov8:classes=1")
    metric.check([x])
    assert metric([x], [x * np.array([1, 1, 1, 1, 1, 9, 9, 9], np.float32)[:, None]]) == 1
    assert (metric.decode([x])[0].scores == np.float32(0.9)).all()


def test_scores_that_are_no_scores():
    scores = np.array([[-3.0, 4.0]], np.float32)
    outputs = [np.zeros((1, 2, 4), np.float32), scores]
    refused("scores from -3 to 4, not from 0 to 1", outputs, call=make("ssd").check, hint="FILE.py:NAME")
    outputs[1] = np.array([[-3.0, 0.5]], np.float32)
    refused("scores from -3 to 0.5, not from 0 to 1", outputs, call=make("ssd").check)
    x = np.full((1, 6, 2, 2), -0.5, np.float32)
    x[:, 5] = 0.5
    refused("metric fastestdet: scores from -0.5 to -0.5", [x], call=make("fastestdet").check)


@pytest.mark.parametrize(("kind", "outputs"), [("yolox", 1), ("nanodet", 6)])
def test_the_size_of_the_picture_is_needed(kind, outputs):
    truth, _ = raw(kind, 0)
    refused(
        f"metric {kind} needs the size of the picture", truth, call=make(kind).check, hint=f"{kind}:size=WIDTHxHEIGHT"
    )
    refused("42 cells are not those of a picture of 96x96", truth, call=make(kind, size=(96, 96)).check, hint="size=")


def test_sizes_that_are_no_multiple():
    """60x36: levels of 7x4, 3x2, 1x1 cells where sizes are rounded down, 8x5, 4x3, 2x2 where up; P6 adds a level."""
    for count, size in ((28 + 6 + 1, (60, 36)), (40 + 12 + 4, (60, 36)), (64 + 16 + 4 + 1, (64, 64))):
        make("yolox", size=size).check([np.zeros((1, count, 6), np.float32)])


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("yolov5", [(3, 6)], r"shape \[3, 6\] is no output of this detector"),
        ("yolov5", [(1, 3, 5)], "is no list of 5 numbers and the scores of some classes"),
        ("yolov5:classes=9", [(1, 3, 7)], "and the scores of 9 classes"),
        ("yolov8", [(1, 4, 30)], "is no list of 4 numbers"),
        ("fastestdet", [(1, 85, 22)], r"\[batch, 5 \+ classes, rows, columns\]"),
        ("nanodet", [(1, 42, 32)], r"\[batch, cells, classes \+ 32\]"),
        ("nanodet", [(42, 3), (41, 32)], "are not this detector's"),
        ("nanodet", [(42, 3), (1, 1, 42, 32)], r"\[cells, classes\]"),
        ("ssd", [(1, 9, 4), (1, 9, 4)], r"several outputs could be the boxes \(0: float32 \[1, 9, 4\], 1: "),
        ("ssd", [(1, 9, 4), (1, 8)], "no output could be the scores"),
        ("ssd:boxes=1", [(1, 9, 4), (1, 9, 2)], r"\[1, 9, 2\] is no list of boxes"),
        ("ssd:scores=1", [(1, 9, 4), (1, 8)], "is no list of scores beside boxes"),
        ("boxes", [(9, 4), (9,), (9,)], "several outputs could be the scores"),
        ("boxes:labels=1,scores=2", [(9, 4), (9,), (8,)], "is no list of scores or labels"),
    ],
)
def test_outputs_of_another_model(kind, shapes, message):
    refused(message, [np.zeros(s, np.float32) for s in shapes], call=make(kind, size=SIZE).check)


def test_a_number_of_bins_may_be_said():
    scores, sides = [scores_of(0, n, 3) for n in (32, 8, 2)], [draw(n, n, 20) for n in (32, 8, 2)]
    refused("are not this detector's", scores + sides, call=make("nanodet", size=SIZE).check, hint="bins=N")
    make("nanodet:bins=5", size=SIZE).check(scores + sides)


def test_ssd_with_and_without_background():
    corners = np.array([[[0, 0, 1, 1], [2, 2, 3, 3]]], np.float32)
    two = np.array([[[0.1, 0.9], [0.8, 0.2]]], np.float32)
    assert make("ssd")([two, corners], [two[..., 1], corners]) == 1
    a, b = two.copy(), two.copy()
    a[0, 0], b[0, 0] = (0.6, 0.5), (0.5, 0.6)
    assert make("ssd")([corners, a], [corners, b]) == 1
    assert make("ssd:background=none")([corners, a], [corners, b]) == pytest.approx(1 / 2)
    assert make("ssd:background=1")([corners, two], [corners, two[:, ::-1]]) == 0
    refused("background=2, there are 2 classes", [corners, two], call=make("ssd:background=2").check)
    centre = np.array([[[0.5, 0.5, 1, 1], [2.5, 2.5, 1, 1]]], np.float32)
    want = make("ssd").decode([corners, two])[0].corners
    np.testing.assert_array_equal(make("ssd:form=centre").decode([centre, two])[0].corners, want)
    assert make("ssd")([corners[0], two[0]], [corners[0], two[0, :, 1]]) == 1  # without a batch


def test_final_boxes_in_batches_and_of_changing_number():
    a = some_boxes(0, 4).astype(np.float32)[None].repeat(2, 0)
    assert make("boxes:threshold=0.1")([a], [np.concatenate([a, a * 0], 1)]) == 1  # filled up with zeros
    b = a.copy()
    b[1, :, 4] = 0
    assert make("boxes:threshold=0.1")([a], [b]) == 0.5  # the mean of the rows
    none = [np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)]
    metric = make("boxes")
    metric.check(none)
    assert metric(none, none) == 1 and metric(none, [a[0, :, :4], a[0, :, 4] + 1, a[0, :, 5].astype(np.int64)]) == 0
    floats = [a[..., :4], a[..., 5], a[..., 4]]  # classes as floats, then scores
    refused("several outputs could be the scores", floats, call=metric.check, hint="boxes:scores=")
    named = make("boxes:labels=1,scores=2,threshold=0.1")
    assert named(floats, floats) == 1 and len(named.rows(named._read(floats))[0]) == 3
    other = [floats[0], floats[1] + 1, floats[2]]
    assert named(floats, other) == 0  # the labels are read


def test_half_precision_is_read_as_floats():
    outputs, _ = raw("yolox", 3)
    half = [o.astype(np.float16) for o in outputs]
    metric = make("yolox", size=SIZE)
    metric.check(half)
    assert metric(half, half) == 1 and metric._read(half)[0].dtype == np.float32
