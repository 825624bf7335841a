"""What a calibrated model is held against, counted by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rrm_onnx.calibrate import curve
from rrm_onnx.calibrate.record import Stretch
from rrm_onnx.errors import CalibrationError


class Counted:
    """A recording of one number a frame, which is the answer too."""

    dense_ms = 10.0

    def __init__(self, numbers: list[float]) -> None:
        self.numbers = numbers
        self.changes = [0.0, *(abs(b - a) for a, b in itertools.pairwise(numbers))]

    def truth(self, t: int) -> list[np.ndarray]:
        return [np.array(self.numbers[t])]


def apart(truth, got) -> float:
    return float(abs(truth[0] - got[0]))


def test_held_answers_by_hand():
    found = {e.value: e for e in curve.held(Counted([0, 1, 2, 3, 4, 5, 6]), apart, [Stretch(0, 7)])}
    # frames 1 to 6 count; every 2nd: 2, 4, 6 are computed, 1, 3, 5 are one off
    assert (found[2].loss, found[2].cost, found[2].macs) == pytest.approx((0.5, 5.0, 0.5))
    assert (found[3].loss, found[3].cost) == pytest.approx(((1 + 2 + 0 + 1 + 2 + 0) / 6, 10 * 2 / 6))
    assert (found[5].loss, found[5].cost) == pytest.approx(((1 + 2 + 3 + 4 + 0 + 1) / 6, 10 * 1 / 6))
    two = curve.held(Counted([0, 1, 2, 50, 51, 52]), apart, [Stretch(0, 3), Stretch(3, 6)])[0]
    assert (two.loss, two.macs) == (0.5, 0.5)  # each stretch begins with a frame of its own


def test_a_motion_gate_by_hand():
    # nothing moves but in frames 3 and 6
    found = curve.gated(Counted([0, 0, 0, 5, 5, 5, 9, 9, 9]), apart, [Stretch(0, 9)])
    assert [e.kind for e in found] == ["motion gate"] * 4
    for entry in found[:2]:  # half of the frames and more move by 0
        assert (entry.value, entry.loss, entry.macs, entry.cost) == (0, 0, 2 / 8, 2.5)
    # three quarters by 1 or less, times 4 is 4: frame 3 moves by more, frame 6 does not, and is off by 4 with the rest
    assert (found[2].value, found[2].loss, found[2].macs) == (4, 3 * 4 / 8, 1 / 8)
    # nine tenths by 4.3 or less, times 10 is never reached; frames 3 to 5 are off by 5, 6 to 8 by 9
    assert found[3].value > 9 and found[3].loss == pytest.approx((3 * 5 + 3 * 9) / 8) and found[3].macs == 0


def test_small_moves_add_up_for_a_motion_gate():
    # each frame moves by 1: at half the frames the limit is 1 / 0.5 = 2, more than that is reached in every third
    found = curve.gated(Counted(list(range(10))), apart, [Stretch(0, 10)])
    by_limit = {round(e.value, 6): e for e in found}
    assert by_limit[2.0].macs == pytest.approx(3 / 9)
    assert by_limit[2.0].loss == pytest.approx(sum([1, 2, 0] * 3) / 9)


def test_a_loss_that_says_nothing_is_no_point_of_the_curve():
    """An answer of zero, say: the error that is relative to it has no bound."""
    with pytest.raises(CalibrationError, match="on frame 1"):
        curve.held(Counted(list(range(10))), lambda truth, got: float("nan"), [Stretch(0, 10)])
