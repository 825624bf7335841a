"""Metrics of places: key points, peaks, landmarks and masks, against loops and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from test_metrics import draw, refused

from rrm_onnx.calibrate.metrics import make
from rrm_onnx.calibrate.metrics.maps import channels_last, class_iou, highest

SEEDS = st.integers(0, 2**16)
SIDES = st.integers(2, 12)


def dots(points: list[tuple[int, int, int]], shape=(2, 20, 24), value=1.0) -> np.ndarray:
    """A heat map (1, channels, rows, columns) with single high cells (channel, y, x)."""
    out = np.zeros((1, *shape), np.float32)
    for point in points:
        out[(0, *point)] = value
    return out


def nhwc(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


# Layout


@pytest.mark.parametrize(
    ("shape", "size", "last"),
    [
        ((1, 17, 48, 48), None, False),
        ((1, 48, 48, 17), None, True),
        ((1, 150, 64, 64), None, False),  # square maps, although there are more channels than rows
        ((1, 64, 64, 150), None, True),
        ((1, 3, 40, 60), None, False),
        ((1, 40, 60, 3), None, True),
        ((1, 8, 8, 8), None, False),
        ((1, 150, 36, 64), (640, 360), False),
        ((1, 36, 64, 150), (640, 360), True),
        ((1, 55, 97, 17), (769, 433), True),  # 433 / 8 and 769 / 8, rounded up
        ((1, 17, 55, 97), (769, 433), False),
        ((1, 80, 30, 40), (320, 240), False),
        ((1, 5, 5, 5), (320, 320), False),
        ((1, 2, 30, 30), (640, 480), False),  # neither has the picture's proportions: square
    ],
)
def test_where_the_channels_are(shape, size, last):
    assert channels_last(shape, size) == last
    x = np.zeros(shape, np.float32)
    assert make("mask", size=size).planar(x).shape == (nhwc(nhwc(x)) if last else x).shape


def test_the_layout_may_be_said():
    x = draw(0, 1, 6, 4, 4)
    x[0, 0] += 1
    other = draw(1, 1, 6, 4, 4)
    want = class_iou(x[0].argmax(0), other[0].argmax(0))
    assert make("mask")([x], [other]) == want == make("mask:layout=nhwc")([nhwc(x)], [nhwc(other)])
    assert make("mask:layout=nchw")([nhwc(x)], [nhwc(other)]) != want


# Key points


def naive_keypoints(a, b, threshold=0.3, distance=1.5) -> float:
    seen = hit = 0
    for p, q in zip(a, b, strict=True):
        cells = [(y, x) for y in range(p.shape[0]) for x in range(p.shape[1])]
        at, to = max(cells, key=lambda c: p[c]), max(cells, key=lambda c: q[c])
        if p[at] > threshold:
            seen += 1
            hit += math.dist(at, to) <= distance
    return hit / seen if seen else 1.0


@given(
    SEEDS,
    st.integers(1, 2),
    st.integers(1, 5),
    SIDES,
    SIDES,
    st.floats(0, 3, allow_subnormal=False),
    st.floats(-1, 2, allow_subnormal=False),
)
def test_keypoints_against_a_loop(seed, batch, points, h, w, distance, threshold):
    a, b = draw(seed, batch, points, h, w), draw(seed + 1, batch, points, h, w)
    b[:, ::2] = a[:, ::2] + 0.1 * b[:, ::2]
    metric = make("keypoints", threshold=threshold, distance=distance, layout="nchw")
    metric.check([a])
    naive = np.mean([naive_keypoints(x, y, threshold, distance) for x, y in zip(a, b, strict=True)])
    assert metric([a], [b]) == pytest.approx(naive, abs=1e-12)
    assert metric([a], [a]) == 1
    last = make("keypoints", threshold=threshold, distance=distance, layout="nhwc")
    assert last([nhwc(a)], [nhwc(b)]) == metric([a], [b])


def test_keypoints_by_hand():
    truth, metric = dots([(0, 5, 5), (1, 9, 9)]), make("keypoints")
    for away, expected in (((0, 1), 1), ((1, 1), 1), ((0, 2), 0.5), ((2, 0), 0.5)):
        assert metric([truth], [dots([(0, 5 + away[0], 5 + away[1]), (1, 9, 9)])]) == expected, away
    assert make("keypoints:distance=2")([truth], [dots([(0, 5, 7), (1, 9, 9)])]) == 1
    assert metric([truth * 0.2], [truth]) == metric([-truth], [truth]) == 1  # the original sees none
    assert metric([dots([(0, 5, 5)])], [dots([(0, 5, 5), (1, 9, 9)])]) == 1  # the second is not looked at
    assert metric([dots([], (2, 20, 24))], [truth]) == 1
    assert make("keypoints:output=1")([np.ones(1), truth], [np.zeros(1), truth]) == 1
    assert metric([truth[0]], [truth[0]]) == 1  # without a batch


# Peaks


@given(SEEDS, SIDES, SIDES, st.integers(0, 14))
def test_highest_against_scipy(seed, h, w, reach):
    x = draw(seed, 2, 3, h, w).round(1)
    expected = ndimage.maximum_filter(x, size=(1, 1, 2 * reach + 1, 2 * reach + 1), mode="constant", cval=-np.inf)
    np.testing.assert_array_equal(highest(x, reach), expected)


def naive_peaks(m, threshold, reach):
    found = []
    for c, y, x in np.ndindex(m.shape):
        patch = m[c, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        if m[c, y, x] > threshold and m[c, y, x] == patch.max():
            found.append((c, y, x))
    return found


def naive_peak_f1(a, b, distance):
    def hits(these, those):
        return sum(any(p[0] == q[0] and math.dist(p, q) <= distance for q in those) for p in these)

    return (hits(a, b) + hits(b, a)) / (len(a) + len(b)) if a or b else 1.0


@given(
    SEEDS,
    SIDES,
    SIDES,
    st.sampled_from([1, 3, 9]),
    st.sampled_from([0, 1, 1.5, 2.9, 40]),
    st.floats(-1, 3, allow_subnormal=False),
)
def test_peaks_against_a_loop(seed, h, w, window, distance, threshold):
    a, b = draw(seed, 1, 2, h, w).round(1), draw(seed + 1, 1, 2, h, w).round(1)  # rounded: some are equally high
    metric = make("peaks", window=window, distance=distance, threshold=threshold, layout="nchw")
    metric.check([a])
    sets = [naive_peaks(x[0], threshold, window // 2) for x in (a, b)]
    assert metric([a], [b]) == pytest.approx(naive_peak_f1(*sets, distance), abs=1e-12)
    assert metric([b], [a]) == metric([a], [b]) and metric([a], [a]) == 1


def test_peaks_by_hand():
    metric, truth = make("peaks"), dots([(0, 5, 5), (0, 5, 15), (1, 9, 9)])
    assert metric([truth], [dots([(0, 5, 5), (0, 6, 16), (1, 9, 8)])]) == 1
    assert metric([truth], [dots([(0, 5, 5), (0, 5, 17), (1, 9, 9)])]) == pytest.approx(4 / 6)
    assert metric([truth], [dots([(0, 5, 5)])]) == pytest.approx(2 / 4)
    assert metric([truth], [dots([(1, 5, 5), (1, 5, 15), (0, 9, 9)])]) == 0  # the other channel
    assert metric([truth], [truth * 0]) == metric([truth * 0], [truth]) == 0
    assert metric([truth * 0], [truth * 0]) == 1
    close = dots([(0, 5, 5)]) + dots([(0, 5, 8)], value=0.9)  # the lower one is within the window
    assert metric([dots([(0, 5, 5)])], [close]) == 1
    assert make("peaks:window=5")([dots([(0, 5, 5)])], [close]) == pytest.approx(2 / 3)


@given(SEEDS)
def test_shifting_points_less_than_the_distance_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    points = [(c, 10 * y + 5, 10 * x + 5) for c in range(2) for y in range(3) for x in range(3) if rng.random() < 0.5]
    moved = [
        (c, y + dy, x + dx) for (c, y, x), (dy, dx) in zip(points, rng.integers(-1, 2, (len(points), 2)), strict=True)
    ]
    shape = (2, 30, 30)
    assert make("peaks")([dots(points, shape)], [dots(moved, shape)]) == 1
    one_each = {c: (c, y, x) for c, y, x in points}
    same = [moved[points.index(p)] for p in one_each.values()]
    assert make("keypoints")([dots(list(one_each.values()), shape)], [dots(same, shape)]) == 1
    a = rng.uniform(0, 100, (1, 7, 2))
    shifted = a + rng.uniform(-0.7, 0.7, a.shape)
    assert make("landmarks", size=(100, 50))([a], [shifted]) == 1


def test_a_flat_map_is_no_burden():
    """Every cell of a flat map is a peak: a matrix of all pairs would have 6e10 entries."""
    flat = np.ones((1, 1, 500, 500), np.float32)
    assert make("peaks")([flat], [flat]) == 1


# Landmarks


@given(SEEDS, st.integers(1, 2), st.integers(1, 9), st.integers(2, 5), st.sampled_from([0.01, 0.05]))
def test_landmarks_against_a_loop(seed, batch, points, columns, distance):
    a = draw(seed, batch, points, columns) * 50
    b = a + draw(seed + 1, batch, points, columns)
    metric = make("landmarks", size=(100, 300), distance=distance)
    metric.check([a])
    near = [math.dist(a[n, i, :2], b[n, i, :2]) <= distance * 100 for n in range(batch) for i in range(points)]
    assert metric([a], [b]) == pytest.approx(np.mean(near))
    flat = make("landmarks", size=(100, 300), distance=distance, columns=columns)
    assert flat([a.reshape(batch, -1)], [b.reshape(batch, -1)]) == pytest.approx(np.mean(near))
    assert metric([a], [a]) == 1


def test_landmarks_by_hand():
    a = np.array([[10, 10, 1, 50, 50, 1.0]])
    b = np.array([[11, 10, 9, 50, 51.1, 9]])
    assert make("landmarks", size=(100, 20))([a], [b]) == 0.5  # three numbers a point, the third is not looked at
    assert make("landmarks", size=(200, 20))([a], [b]) == 1
    assert make("landmarks:size=1x1")([a / 100], [b / 100]) == 0.5
    refused("is no list of points of 4 numbers", [a], call=make("landmarks:columns=4,size=9x9").check, hint="columns=N")
    refused("is no list of points of 3 numbers", [a[:, :4]], call=make("landmarks:size=9x9").check, hint="columns=N")
    refused("landmarks needs the size of the picture", [a], call=make("landmarks").check, hint="size=WIDTHxHEIGHT")
    refused("2 points are compared with 1", [a], [a[:, :3]], call=make("landmarks:size=9x9"))


# Masks


def naive_class_iou(a, b) -> float:
    shares = []
    for c in set(a.ravel().tolist()) | set(b.ravel().tolist()):
        both = sum(x == c and y == c for x, y in zip(a.flat, b.flat, strict=True))
        either = sum(x == c or y == c for x, y in zip(a.flat, b.flat, strict=True))
        shares.append(both / either)
    return sum(shares) / len(shares)


@given(SEEDS, st.integers(1, 2), st.integers(2, 6), SIDES, SIDES)
def test_masks_against_a_loop(seed, batch, classes, h, w):
    a, b = draw(seed, batch, classes, h, w), draw(seed + 1, batch, classes, h, w)
    metric = make("mask:layout=nchw")
    metric.check([a])
    labels = a.argmax(1), b.argmax(1)
    naive = np.mean([naive_class_iou(x, y) for x, y in zip(*labels, strict=True)])
    found = metric([a], [b])
    assert found == pytest.approx(naive, abs=1e-12) and 0 <= found <= 1
    assert metric([a], [a]) == 1 and metric([b], [a]) == pytest.approx(found)
    for kind in (np.int64, np.int32, np.uint8):
        assert make("mask")(*([x.astype(kind)] for x in labels)) == pytest.approx(naive)
    assert make("mask")([labels[0] - 3], [labels[1] - 3]) == pytest.approx(naive)  # 'ignore' may be -1
    two = make("mask:output=0+1,layout=nchw")
    assert two([a, b], [b, b]) == pytest.approx((found + 1) / 2)


@given(SEEDS, SIDES, SIDES, st.sampled_from(["mask", "probability_map"]))
def test_masks_of_one_class_against_a_loop(seed, h, w, kind):
    rng = np.random.default_rng(seed)
    a, b = rng.random((1, 1, h, w), np.float32), rng.random((1, 1, h, w), np.float32)
    limit = {"mask": 0.5, "probability_map": 0.3}[kind]
    pairs = [(x > limit, y > limit) for x, y in zip(a.flat, b.flat, strict=True)]
    either = sum(x or y for x, y in pairs)
    expected = sum(x and y for x, y in pairs) / either if either else 1.0
    for x, y in ((a, b), (nhwc(a), nhwc(b)), (a[:, 0], b[:, 0])):
        layout = "nhwc" if x.ndim == 4 and x is not a else "nchw"
        assert make(kind, layout=layout)([x], [y]) == pytest.approx(expected)
    assert make(kind, layout="nchw")([a], [a]) == 1


def test_masks_by_hand():
    a, b = np.array([[[1, 1, 0, 0]]]), np.array([[[1, 0, 0, 0]]])
    assert make("mask")([a], [b]) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert make("mask")([a == 1], [b == 1]) == 0.5
    assert make("mask")([a * 0.4], [b * 0.4]) == 1  # nothing above 0.5 on either side
    assert make("probability_map")([a * 0.4], [b * 0.4]) == 0.5
    assert make("probability_map:threshold=0.5")([a * 0.4], [b * 0.4]) == 1
    assert make("mask:threshold=0.2")([a * 0.4], [b * 0.4]) == 0.5
    assert make("mask")([a], [a * 0 + 2]) == 0
    both = make("mask")([np.concatenate([a, a])], [np.concatenate([a, b])])
    assert both == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)  # the mean of the batch rows


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("keypoints", (1, 17), r"shape \[1, 17\] is no heat map of rank 4"),
        ("peaks", (1, 0, 4, 4), "is no heat map"),
        ("mask", (1, 1000), r"shape \[1, 1000\] is no mask"),
        ("mask", (1, 2, 0, 4), "is no mask"),
        ("probability_map", (1, 3, 8, 8), "is no probability map: it has several channels"),
    ],
)
def test_outputs_of_another_model(kind, shape, message):
    refused(message, [np.zeros(shape, np.float32)], call=make(kind).check)


def test_labels_that_are_no_classes():
    refused("labels from 0 to 1000000 are no classes", [np.array([[[0, 10**6]]])], call=make("mask").check)


@pytest.mark.parametrize("kind", ["keypoints", "peaks", "mask", "probability_map"])
def test_maps_of_another_shape(kind):
    a, b = draw(0, 1, 1, 8, 8), draw(0, 1, 1, 4, 4)
    if kind == "keypoints":
        b = draw(0, 1, 2, 8, 8)
    refused("compared with", [a], [b], call=make(kind))
