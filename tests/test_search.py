"""The search for thresholds, on trials whose best setting is known: costs and losses are formulas."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_onnx.calibrate.points import Point, Setting
from rrm_onnx.calibrate.record import Stretch
from rrm_onnx.calibrate.search import (
    BEYOND,
    GROUPS,
    GUARD,
    WEIGHTS,
    WORTH,
    WORTH_BOTH,
    Found,
    Search,
    charged,
    gain,
    grouped,
    margin,
    moved,
)
from rrm_onnx.calibrate.trial import Outcome
from rrm_onnx.errors import CalibrationError

ALLOWED = 0.05
FRAMES = 400
TARGET = ALLOWED * (1 - margin(FRAMES))
NONE = 1e-4  # what a threshold of 0 still holds back


class Fake:
    """A gate with threshold t costs `costs / t` and loses `losses * t`. Then thresholds in proportion to
    sqrt(costs / losses) are best. The first gate is the one behind the picture."""

    def __init__(self, costs, losses, noise: float = 0.0) -> None:
        self.costs, self.losses, self.noise = np.asarray(costs, float), np.asarray(losses, float), noise
        self.points = [Point(f"gate {k}", f"gate {k}", entry=k == 0) for k in range(len(costs))]
        self.recording = SimpleNamespace(fit=[Stretch(0, FRAMES)], shaken=[])
        self.runs: list[tuple[Setting, Outcome]] = []

    def uniform(self, threshold: float) -> Setting:
        return Setting((threshold,) * len(self.points))

    def cost(self, setting: Setting) -> float:
        return float((self.costs / (np.array(setting.thresholds) + NONE)).sum())

    def loss(self, setting: Setting) -> float:
        return float((self.losses * np.array(setting.thresholds)).sum())

    def shaken(self, setting: Setting) -> float:
        return self.loss(setting)

    def fast(self, setting: Setting) -> float:
        return self.loss(setting)

    def run(self, setting: Setting, stretches) -> Outcome:
        if stretches is self.recording.shaken:
            return Outcome(self.shaken(setting), 0.0, 0.0, 0.0, 0.0)
        if stretches == [s.fast for s in self.recording.fit]:
            assert setting.period > 1  # without turns, a loss hardly grows with speed
            return Outcome(self.fast(setting), 0.0, 0.0, 0.0, 0.0)
        assert stretches is self.recording.fit and all(np.isfinite(setting.thresholds))
        loss, cost = self.loss(setting), self.cost(setting)
        wobble = 1 + self.noise * math.sin(1e3 * loss)
        self.runs.append((setting, Outcome(loss * wobble, loss * (1 + self.noise), cost, cost, 0)))
        return self.runs[-1][1]

    def best_cost(self) -> float:
        return float(np.sqrt(self.costs * self.losses).sum() ** 2 / TARGET)

    def uniform_cost(self) -> float:
        return float(self.costs.sum() * self.losses.sum() / TARGET)


def searched(trial: Fake, *, shaken: bool = False, seconds: float = 1e6) -> Found:
    trial.recording.shaken = [Stretch(FRAMES, FRAMES + 12)] if shaken else []
    return Search(trial, ALLOWED, seconds).run()


def spread_out(count: int, seed: int, by: float = 30.0) -> np.ndarray:
    return by ** np.random.default_rng(seed).uniform(-0.5, 0.5, count)


@pytest.mark.parametrize("shaken", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_weights_close_to_the_best_are_found(seed, shaken):
    trial = Fake(spread_out(12, seed), spread_out(12, seed + 100) / 12)
    found = searched(trial, shaken=shaken)
    assert found.complete and found.tried == len(trial.runs) - 1 == len(found.log)
    assert found.outcome.cost < 0.95 * trial.uniform_cost()
    assert found.outcome.cost < 1.2 * trial.best_cost()
    assert found.outcome.bound <= TARGET
    ideal = np.sqrt(trial.costs / trial.losses)
    apart = np.log(np.array(found.setting.thresholds) / ideal)
    assert np.std(apart) < 0.6 * np.std(np.log(ideal))  # of one threshold for all it is 1


def test_one_threshold_for_all_is_found_where_it_is_best():
    trial = Fake([1.0] * 10, [0.1] * 10)
    found = searched(trial)
    assert found.outcome.cost <= 1.1 * trial.uniform_cost()
    assert found.uniform is not None and trial.loss(found.uniform) == pytest.approx(TARGET, rel=0.1)
    assert np.ptp(np.log(found.setting.thresholds)) < 0.5


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.001, 10)), min_size=1, max_size=40),
    st.floats(0, 0.2, allow_subnormal=False),
    st.booleans(),
)
def test_what_is_found_is_allowed_and_the_best_that_was_seen(gates, noise, shaken):
    trial = Fake(*zip(*gates, strict=True), noise)
    found = searched(trial, shaken=shaken)
    assert found.outcome.bound <= TARGET or found.setting == trial.uniform(0.0)
    assert (found.setting, found.outcome) in trial.runs
    allowed = [
        o.cost for s, o in trial.runs if o.bound <= TARGET and (not shaken or trial.shaken(s) <= GUARD * ALLOWED)
    ]
    assert found.outcome.cost <= min(allowed, default=np.inf) / WORTH
    if found.uniform:
        assert found.outcome.cost <= trial.cost(found.uniform)
    assert (found.sensitivity >= 0).all() and len(found.sensitivity) == len(gates)


def test_exact_where_nothing_is_allowed():
    trial = Fake([1.0] * 4, [1e6] * 4)
    found = searched(trial)
    assert found.setting == trial.uniform(0.0) and found.uniform is None and found.complete


def test_small_thresholds_are_found():
    """Far below the first one that is tried."""
    trial = Fake([1e-3] * 6, [40.0] * 6)  # best is TARGET / 240 for all: 1.6e-4
    found = searched(trial)
    assert found.uniform is not None and found.outcome.cost < 1.2 * trial.best_cost() < trial.cost(trial.uniform(0.0))


def test_exact_where_nothing_is_saved():
    class Dear(Fake):
        def cost(self, setting: Setting) -> float:
            return 10.0 + any(setting.thresholds)

    assert not any(searched(Dear([1.0] * 4, [1.0] * 4)).setting.thresholds)


@pytest.mark.parametrize("by", [1.0, 30.0])
def test_sensitivity_is_what_doubling_adds(by):
    """Also where the steps have become smaller, for there was nothing more to gain."""
    trial = Fake(spread_out(8, 0, by), spread_out(8, 1, by) / 8)
    found = searched(trial)
    added = [trial.losses * setting.thresholds for setting, _ in trial.runs]  # a loss is in proportion to a threshold
    assert any(found.sensitivity == pytest.approx(doubled) for doubled in added)


# --- turns ----------------------------------------------------------------------------------------------------------


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


# --- parts of the scene that stand still ---------------------------------------------------------------------------


class Quiet(Fake):
    """The loss knows the last gate alone; what moves elsewhere shows all of them."""

    def loss(self, setting: Setting) -> float:
        return float(self.losses[-1] * setting.thresholds[-1])

    def shaken(self, setting: Setting) -> float:
        return Fake.loss(self, setting)


def test_gates_that_the_footage_leaves_alone_are_not_forgotten():
    trial = Quiet([1.0] * 6, [0.3] * 6)
    assert trial.shaken(searched(trial, shaken=True).setting) <= GUARD * ALLOWED
    assert trial.shaken(searched(trial).setting) > 2 * GUARD * ALLOWED  # as if the loss were all there is


# --- time and errors --------------------------------------------------------------------------------------------------


def test_out_of_time_the_best_so_far_is_given(monkeypatch):
    trial = Fake(spread_out(12, 0), spread_out(12, 100) / 12)
    monkeypatch.setattr(time, "monotonic", lambda: float(len(trial.runs)))
    found = searched(trial, seconds=20)
    assert not found.complete and len(trial.runs) <= 21
    assert any(found.setting.thresholds) and found.outcome.bound <= TARGET
    allowed = [o.cost for s, o in trial.runs if o.bound <= TARGET]
    assert found.outcome.cost == min(allowed)


def test_out_of_time_at_once():
    trial = Fake([1.0] * 4, [0.2] * 4)
    found = searched(trial, seconds=-1)
    assert not found.complete and found.setting == trial.uniform(0.0) and len(trial.runs) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CalibrationError("the metric gives nan")])
def test_what_stops_a_search_leaves_what_it_found(error):
    class Stopping(Fake):
        def run(self, *given, **more) -> Outcome:
            if len(self.runs) == 25:
                raise error
            return super().run(*given, **more)

    search = Search(Stopping(spread_out(12, 0), spread_out(12, 100) / 12), ALLOWED, 1e6)
    with pytest.raises(type(error)):
        search.run()
    assert any(search.found.setting.thresholds) and search.found.outcome.bound <= TARGET


def test_reports():
    seen = []
    report: Callable[..., None] = lambda stage, done, total, found: seen.append((stage, done, total, found))  # noqa: E731
    Search(Fake([1.0] * 4, [0.2] * 4), ALLOWED, 1e6, report).run()
    assert {s[0] for s in seen} == {"weights", "turns"} and all(0 <= s[1] <= s[2] for s in seen)
    assert seen[-1][1] == seen[-1][2] and isinstance(seen[-1][3], Found)
    for stage in ("weights", "turns"):
        done = [s[1] for s in seen if s[0] == stage]
        assert done == sorted(done)


# --- the pieces -------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_groups(entries):
    groups = grouped(entries)
    assert set(groups) == set(range(int(groups.max()) + 1)) and groups.max() < GROUPS
    inner = [g for g, entry in zip(groups, entries, strict=True) if not entry]
    assert inner == sorted(inner)  # neighbours
    sizes = [inner.count(g) for g in set(inner)]
    assert not sizes or max(sizes) - min(sizes) <= 1
    if any(entries):
        assert {g for g, entry in zip(groups, entries, strict=True) if entry} == {0} and 0 not in inner
    if len(inner) < GROUPS:
        assert len(set(inner)) == len(inner)  # each its own


def test_margins():
    assert [margin(n) for n in (0, 1, 16, 25, 100, 10**6)] == pytest.approx(
        [0.6, 0.6, 0.6, 7**0.5 / 5, 7**0.5 / 10, 0.25]
    )


def test_gain_by_hand():
    assert gain(math.e, 1.0, 0.01, 0.05) == pytest.approx(100)
    assert gain(math.e, 1.0, 0.0, 0.05) == gain(math.e, 1.0, -1.0, 0.05) == pytest.approx(2000)  # no loss to be told
    assert gain(1.0, 2.0, 0.01, 0.05) == gain(1.0, 1.0, 0.01, 0.05) == pytest.approx(0.01)  # nothing saved
    assert gain(0.0, 0.0, 0.0, 0.0) > 0


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(1e-3, 1e5)), min_size=1, max_size=30), st.floats(1.01, 2))
def test_weights_move_to_where_more_is_gained(pairs, step):
    weights, gains = (np.array(x) for x in zip(*pairs, strict=True))
    weights /= np.exp(np.log(weights).mean())
    found = moved(weights, gains, step)
    assert (
        np.exp(np.log(found).mean()) == pytest.approx(1, rel=1e-6) or max(found.max(), 1 / found.min()) > 0.99 * WEIGHTS
    )
    ratio = found / weights
    order = np.argsort(gains)
    assert (np.diff(ratio[order]) >= -1e-9 * ratio.max()).all()
    assert ratio.max() / ratio.min() <= step**2 * (1 + 1e-9)
    assert moved(weights, np.ones(len(weights)), step) == pytest.approx(weights)


def test_a_setting_scaled():
    setting = Setting((1.0, 0.0, 2.0), 0.25, 4)
    assert setting.scaled(0.5) == dataclasses.replace(setting, thresholds=(0.5, 0.0, 1.0))
