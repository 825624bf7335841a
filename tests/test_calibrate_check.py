"""What is done with the search's candidates on frames that it has not seen; losses and costs are formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rrm_onnx.calibrate.check import TIGHTER, Check
from rrm_onnx.calibrate.points import BEYOND, Setting
from rrm_onnx.calibrate.record import Stretch
from rrm_onnx.calibrate.search import GUARD, Found
from rrm_onnx.calibrate.trial import Outcome

ALLOWED = 0.05
EXACT = Setting((0.0,))
PLAIN = Setting((0.1,))
HOLDS = {k: Setting((BEYOND,), 0.0, k) for k in (2, 3, 4)}
SPARSE = Setting((0.1 * BEYOND,), 1 / BEYOND, 2)


class Fake:
    """Losses over what is allowed, of each setting: on frames not searched on (the bound: the mean is half of it),
    shaken, at a higher speed (the bound). What is not named loses nothing. Smaller thresholds lose in proportion."""

    def __init__(self, losses=None, shaken=None, fast=None) -> None:
        self.losses, self.shaken, self.fast = losses or {}, shaken or {}, fast or {}
        check, few = [Stretch(60, 90)], [Stretch(90, 102)]
        self.recording = SimpleNamespace(check=check, shaken_check=few, footage=90)
        self.runs: list[Setting] = []

    def uniform(self, threshold: float) -> Setting:
        return Setting((threshold,))

    def cost(self, setting: Setting) -> float:
        if setting == EXACT:
            return 10.0
        threshold = min(setting.thresholds[0], setting.thresholds[0] * setting.drift or np.inf)
        return 8 / setting.period if setting.held else 0.3 / threshold / setting.period

    def run(self, setting: Setting, stretches) -> Outcome:
        of = {Stretch(60, 90): self.losses, Stretch(90, 102): self.shaken, Stretch(60, 90, 2): self.fast}[stretches[0]]
        if of is self.losses:
            self.runs.append(setting)
        assert of is not self.fast or setting.period > 1
        assert of is not self.shaken or not setting.sparse
        like = [s for s in of if (s.drift, s.period) == (setting.drift, setting.period)]
        loss = sum(of[s] * setting.thresholds[0] / s.thresholds[0] for s in like) * ALLOWED
        mean = loss if of is self.shaken else loss / 2
        return Outcome(mean, loss, 0.0, self.cost(setting), 0.0)


def checked(trial: Fake, *candidates: Setting) -> Setting:
    return found_of(trial, *candidates)[0]


def found_of(trial: Fake, *candidates: Setting) -> tuple[Setting, Found]:
    """What is left of these, best first."""
    first = Outcome(0.0, 0.0, 0.0, trial.cost(candidates[0]), 0.0)
    found = Found(candidates[0], first, np.zeros(1))
    found.best = {(s.drift, s.period): (trial.cost(s), s) for s in candidates}
    setting, outcome = Check(trial, ALLOWED).run(found)
    assert outcome.cost == trial.cost(setting)
    return setting, found


def test_the_best_is_taken_where_it_keeps_to_the_budget():
    trial = Fake()
    assert checked(trial, HOLDS[4], HOLDS[3], HOLDS[2], PLAIN) == HOLDS[4]
    assert trial.runs == [EXACT, HOLDS[4]]


@pytest.mark.parametrize(("fits", "found"), [(4, 4), (3, 3), (2, 2), (1, 1)])
def test_answers_are_held_as_long_as_the_check_bears_it_out(fits, found):
    """What costs less than the best without turns is looked for among all holdings, not in the best one alone."""
    losses = {HOLDS[k]: 0.9 for k in range(fits + 1, 5)}
    assert checked(Fake(losses), HOLDS[4], HOLDS[3], HOLDS[2], Setting((0.06,))).period == found
    fast = {HOLDS[k]: 1.01 * GUARD for k in range(fits + 1, 5)}
    assert checked(Fake(fast=fast), HOLDS[4], HOLDS[3], HOLDS[2], Setting((0.06,))).period == found


def test_holdings_that_only_a_higher_speed_speaks_against_are_remembered():
    trial = Fake({HOLDS[4]: 0.9}, fast={HOLDS[4]: 2.0, HOLDS[3]: 2.0, SPARSE: 2.0})
    setting, found = found_of(trial, HOLDS[4], HOLDS[3], HOLDS[2], Setting((0.06,)))
    assert setting == HOLDS[2] and found.stale == {3}
    assert found_of(trial, SPARSE)[1].stale == set()  # smaller thresholds do


def test_a_higher_speed_has_to_be_borne_for_certain():
    """The bound counts, not the mean: few frames check."""
    assert checked(Fake(fast={HOLDS[2]: 0.99 * GUARD}), HOLDS[2], PLAIN) == HOLDS[2]
    assert checked(Fake(fast={HOLDS[2]: 1.01 * GUARD}), HOLDS[2], PLAIN) == PLAIN


def test_thresholds_are_made_smaller_until_they_keep_to_the_budget_for_certain():
    assert checked(Fake({PLAIN: 0.74}), PLAIN) == PLAIN
    found = checked(Fake({PLAIN: 1.0}), PLAIN)
    assert found == PLAIN.scaled(TIGHTER).scaled(TIGHTER)  # a quarter is kept back, of few frames no more than that
    found = checked(Fake(shaken={PLAIN: 1.1}), PLAIN)
    assert found == PLAIN.scaled(TIGHTER)
    found = checked(Fake(fast={SPARSE: 1.1}), SPARSE)
    assert found == SPARSE.scaled(TIGHTER)


def test_what_was_made_smaller_is_held_against_the_next_one():
    """Half of the thresholds cost twice as much: then holding every 2nd answer is the better one."""
    plain = Setting((0.08,))  # 3.75, holding 4
    assert checked(Fake(), plain, HOLDS[2]) == plain
    assert checked(Fake({plain: 1.6}), plain, HOLDS[2]) == HOLDS[2]
    assert checked(Fake({plain: 1.6, HOLDS[2]: 1.0}), plain, HOLDS[2]) == plain.scaled(TIGHTER**4)


def test_thresholds_in_some_frames_have_to_be_worth_it():
    """Also where the better one was made tighter: a fifth less than the others cost."""

    class Between(Fake):
        def cost(self, setting: Setting) -> float:
            return 5.0 if setting.sparse else super().cost(setting)

    plain = Setting((0.08,))  # 3.75
    assert checked(Between({plain: 1.6}), plain, SPARSE) == SPARSE  # beside 9.2
    assert checked(Between({plain: 1.1}), plain, SPARSE).period == 1  # beside 5.9


def test_exact_where_nothing_keeps_to_the_budget_with_a_gain():
    trial = Fake({HOLDS[2]: 1.0, PLAIN: 1e9})
    assert checked(trial, HOLDS[2], PLAIN) == EXACT
    assert checked(Fake(), Setting((0.0305,))) == EXACT  # costs next to nothing less


def test_what_passes_in_some_frames_only_is_shaken_as_if_it_passed_in_all():
    """Else the same thresholds would be refused without turns and taken with them. Whole answers have none."""
    assert checked(Fake(shaken={PLAIN: 1.1}), SPARSE) == SPARSE.scaled(TIGHTER)
    assert checked(Fake(shaken={HOLDS[2]: 9.0, PLAIN: 9.0}), HOLDS[2]) == HOLDS[2]


def test_thresholds_are_not_made_smaller_once_they_cost_too_much():
    trial = Fake({PLAIN: 1e9})
    assert checked(trial, PLAIN) == EXACT
    assert len(trial.runs) == 1 + 7  # 0.8^6: 11.4 in place of 3, the exact one costs 10
    trial = Fake({PLAIN: 1e9})
    assert checked(trial, HOLDS[2].scaled(1.0), PLAIN) == HOLDS[2] and len(trial.runs) == 2


@pytest.mark.parametrize(
    ("breaks", "left"),
    [(0, HOLDS[4]), (1, HOLDS[4]), (2, HOLDS[3]), (3, HOLDS[2]), (4, PLAIN), (6, PLAIN)],
)
def test_what_is_left_when_the_check_breaks_off(breaks, left):
    """The candidate that was looked at or would have been next, never one that was refused."""

    class Breaking(Fake):
        def run(self, setting: Setting, stretches) -> Outcome:
            if len(self.runs) == breaks:
                raise KeyboardInterrupt
            return super().run(setting, stretches)

    trial = Breaking({HOLDS[k]: 2.0 for k in HOLDS} | {PLAIN: 1.3})
    first = Outcome(0.0, 0.0, 0.0, 1.0, 0.0)
    found = Found(HOLDS[4], first, np.zeros(1))
    found.best = {(s.drift, s.period): (trial.cost(s), s) for s in (HOLDS[4], HOLDS[3], HOLDS[2], Setting((0.06,)))}
    found.best[1.0, 1] = (9.0, PLAIN)
    check = Check(trial, ALLOWED)
    with pytest.raises(KeyboardInterrupt):
        check.run(found)
    assert check.standing(found) == left


def test_what_has_passed_is_left_when_the_check_breaks_off():
    trial = Fake({PLAIN: 0.9})
    check = Check(trial, ALLOWED)
    found = Found(PLAIN, Outcome(0.0, 0.0, 0.0, 3.0, 0.0), np.zeros(1))
    assert check.run(found)[0] == check.standing(found) == PLAIN.scaled(TIGHTER)


def test_stretches_that_are_too_short_for_turns_say_nothing_about_them():
    assert [Stretch(0, n).shows(k) for n, k in ((4, 1), (4, 2), (6, 2), (9, 5), (10, 5), (11, 5))] == [
        *(True, False, True),
        *(False, False, True),
    ]
    trial = Fake()
    trial.recording.check = [Stretch(60, 90), Stretch(100, 104)]
    assert checked(trial, HOLDS[2], PLAIN) == PLAIN
