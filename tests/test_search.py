"""The search for thresholds, on trials whose best setting is known: costs and losses are formulas."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searching import ALLOWED, TARGET, Fake, searched

from rrm_onnx.calibrate.points import Setting
from rrm_onnx.calibrate.search import (
    GROUPS,
    GUARD,
    WEIGHTS,
    WORTH,
    Found,
    Search,
    gain,
    grouped,
    margin,
    moved,
)
from rrm_onnx.calibrate.trial import Outcome
from rrm_onnx.errors import CalibrationError


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
    assert list(dict.fromkeys(s[0] for s in seen)) == ["holding", "weights", "turns"]
    assert all(0 <= s[1] <= s[2] for s in seen)
    assert seen[-1][1] == seen[-1][2] and isinstance(seen[-1][3], Found)
    for stage in ("holding", "weights", "turns"):
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
