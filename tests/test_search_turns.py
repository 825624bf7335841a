"""The search for turns: slow changes that pass now and then, answers that are held, and both together."""

from __future__ import annotations

import time

import numpy as np
import pytest
from searching import ALLOWED, TARGET, Fake, searched

from rrm_onnx.calibrate.points import BEYOND, Setting
from rrm_onnx.calibrate.record import Stretch
from rrm_onnx.calibrate.search import GUARD, WORTH_BOTH, charged, margin


class Cheap(Fake):
    """What changes slowly is caught up with in every fourth frame: half of the loss for the same cost."""

    def __init__(self, best: tuple[float, int]) -> None:
        super().__init__([1.0] * 4, [0.2] * 4)
        self.best = best

    def loss(self, setting: Setting) -> float:
        return super().loss(setting) * (0.5 if (setting.drift, setting.period) == self.best else 1.0)


@pytest.mark.parametrize("best", [(0.25, 4)])
def test_turns_are_found_where_they_are_best(best):
    trial = Cheap(best)
    found = searched(trial)
    assert (found.setting.drift, found.setting.period) == best
    assert found.outcome.bound <= TARGET and found.outcome.cost < 0.8 * trial.uniform_cost()


def test_no_turns_where_they_lose():
    found = searched(Cheap((0.5, 1000)))
    assert (found.setting.drift, found.setting.period) == (1.0, 1)


class Sparse(Fake):
    """In frames between, nothing passes: less cost, and a little more loss."""

    def seen(self, setting: Setting) -> Setting:
        return setting.scaled(setting.drift) if setting.drift == 1 / BEYOND else setting

    def cost(self, setting: Setting) -> float:
        return super().cost(self.seen(setting)) / (setting.period if setting.drift == 1 / BEYOND else 1)

    def loss(self, setting: Setting) -> float:
        return super().loss(self.seen(setting)) * (1 + 0.1 * setting.period * (setting.drift == 1 / BEYOND))


def test_both_together_are_found_where_they_are_best():
    trial = Sparse([1.0] * 4, [0.2] * 4)
    for shaken in (False, True):
        found = searched(trial, shaken=shaken)
        assert (found.setting.drift, found.setting.period) == (1 / BEYOND, 3)
        assert found.outcome.bound <= TARGET and found.outcome.cost < 0.5 * trial.uniform_cost()
        largest = max(found.setting.thresholds) * found.setting.drift
        assert largest <= 1.01 * max(max(s.thresholds) for s, _ in trial.runs if s.drift == 1)


@pytest.mark.parametrize(("share", "found"), [(0.78, 2), (0.82, 1)])
def test_both_together_have_to_be_worth_it(share, found):
    """A tenth less would do for a holding."""

    class Little(Sparse):
        def cost(self, setting: Setting) -> float:
            sparse = setting.drift == 1 / BEYOND
            return Fake.cost(self, self.seen(setting)) * (share if sparse and setting.period == 2 else 1)

        def loss(self, setting: Setting) -> float:
            return Fake.loss(self, self.seen(setting))

    trial = Little([1.0] * 4, [0.2] * 4)
    setting = searched(trial).setting
    assert setting.period == found and WORTH_BOTH == 0.8


class Still(Fake):
    """Holding whole answers loses next to nothing, up to every k-th."""

    def __init__(self, most: int) -> None:
        super().__init__([1.0] * 4, [0.2] * 4)
        self.most = most

    def holds(self, setting: Setting) -> bool:
        return setting.drift == 0 and setting.period > 1 and min(setting.thresholds) >= BEYOND

    def loss(self, setting: Setting) -> float:
        if self.holds(setting):
            return 0.001 if setting.period <= self.most else 1.0
        return super().loss(setting)

    def cost(self, setting: Setting) -> float:
        return 0.1 / setting.period if self.holds(setting) else super().cost(setting)


@pytest.mark.parametrize(("most", "found"), [(1, 1), (2, 2), (3, 3), (4, 4), (9, 5)])
def test_holding_answers_is_found_where_it_is_best(most, found):
    setting = searched(Still(most)).setting
    assert setting.period == found and setting.held == (found > 1) == (setting.thresholds[0] >= BEYOND)


def test_holdings_are_known_when_time_ends_early(monkeypatch):
    trial = Still(5)
    monkeypatch.setattr(time, "monotonic", lambda: float(len(trial.runs)))
    found = searched(trial, seconds=7)
    assert not found.complete and (found.setting.held, found.setting.period) == (True, 5)


@pytest.mark.parametrize(("share", "period"), [(0.9, 2), (0.98, 1)])
def test_a_holding_is_taken_for_a_smaller_gain(share, period):
    """A tenth, not a few hundredths."""

    class Little(Still):
        def cost(self, setting: Setting) -> float:
            return share * self.plain if self.holds(setting) else Fake.cost(self, setting)

    trial = Little(2)
    trial.plain = np.inf
    trial.plain = searched(trial).outcome.cost
    assert searched(trial).setting.period == period


@pytest.mark.parametrize(("loss", "held"), [(0.74, True), (0.76, False)])
def test_of_few_frames_no_more_is_kept_back_from_holdings(loss, held):
    """They are not fitted to these, as thresholds are."""

    class Few(Still):
        def loss(self, setting: Setting) -> float:
            return ALLOWED * loss if self.holds(setting) else Fake.loss(self, setting)

    trial = Few(5)
    trial.recording.fit = [Stretch(0, 20)]
    found = searched(trial)
    assert found.setting.held == held
    _, plain = found.best[1.0, 1]
    assert trial.loss(plain) <= ALLOWED * (1 - margin(20)) < ALLOWED * 0.5


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_every_holding_that_is_allowed_is_a_candidate(most):
    """From the cheapest on: where the frames that check do not bear out one, the next one is looked at."""
    trial = Still(most)
    found = searched(trial)
    costs = [charged(s, trial.cost(s)) for s in found.candidates()]
    assert found.candidates()[0] == found.setting and costs == sorted(costs)
    assert [s.period for s in found.candidates() if s.held] == list(range(most, 1, -1))
    assert any(s.period == 1 and 0 < s.thresholds[0] < 1 for s in found.candidates())


# --- footage that moves faster --------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_answers_are_held_only_so_long_as_a_higher_speed_allows(most):
    class Slow(Still):
        def fast(self, setting: Setting) -> float:
            return GUARD * ALLOWED * (0.99 if setting.period <= most else 1.01)

    found = searched(Slow(9))
    assert (found.setting.period, found.setting.held) == (most, most > 1)
    assert found.stale == set(range(most + 1, 6))
    assert searched(Still(most)).stale == set()  # these lose too much as it is


def test_turns_that_lose_too_much_at_a_higher_speed_are_not_taken():
    class Slow(Cheap):
        def fast(self, setting: Setting) -> float:
            return 1.01 * GUARD * ALLOWED

    best = (0.25, 4)
    assert searched(Cheap(best)).setting.period == 4
    found = searched(Slow(best))
    assert found.setting.period == 1 and set(found.best) == {(1.0, 1)}


def test_answers_are_not_held_longer_than_a_clip_can_tell():
    """At double speed a stretch of 8 frames is 4: a period of 3 fits."""
    trial = Still(5)
    trial.recording.fit = [Stretch(0, 100), Stretch(200, 208)]
    assert {s.period for s in searched(trial).candidates() if s.held} == {2, 3}
