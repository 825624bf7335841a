"""What the search's candidates are worth on frames that it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rrm_onnx.calibrate.points import Setting
from rrm_onnx.calibrate.search import GUARD, MARGINS, Found, charged
from rrm_onnx.calibrate.trial import Outcome, Trial

TIMES, TIGHTER = 12, 0.8  # so often thresholds are made smaller, by this factor, until they keep to the budget
GAIN = 0.97  # of the cost of the exact setting: less of a gain is none


class Check:
    """allowed: the largest mean loss. report: called with steps done and in all. best: the best setting that has
    passed, and what it gave; the exact one at first, None before that has run."""

    def __init__(self, trial: Trial, allowed: float, report: Callable[[int, int], None] = lambda *_: None) -> None:
        self.trial, self.allowed, self.report = trial, allowed, report
        self.best: tuple[Setting, Outcome] | None = None
        self._exact = trial.uniform(0.0)
        self._enough = 0.0
        self._refused = set[Setting]()

    def run(self, found: Found) -> tuple[Setting, Outcome]:
        """What of the candidates costs least when it keeps to the budget; the exact setting where none does with a
        gain. One that keeps to it as it is ends this: the next ones cost more."""
        exact = self.trial.run(self._exact, self.trial.recording.check)
        self.best, self._enough = (self._exact, exact), GAIN * exact.cost
        candidates = found.candidates()
        for k, setting in enumerate(candidates):
            tightened = self._tightened(setting, found, k * TIMES, len(candidates) * TIMES)
            if tightened is None:
                self._refused.add(setting)
                continue
            self.best = tightened
            if tightened[0] == setting:
                break
        return self.best

    def standing(self, found: Found) -> Setting:
        """What is left when the check breaks off: what has passed, else the first that was not refused."""
        if self.best is not None and self.best[0] != self._exact:
            return self.best[0]
        return next((s for s in found.candidates() if s not in self._refused), self._exact)

    def _tightened(self, setting: Setting, found: Found, done: int, total: int) -> tuple[Setting, Outcome] | None:
        """The setting, its thresholds made smaller until it keeps to the budget, for certain; None where it does not,
        or not before it costs more than what has passed."""
        kept = self.allowed * (1 - MARGINS[0])
        for k in range(TIMES):
            self.report(done + k, total)
            if not any(setting.thresholds):
                return None
            outcome = self.trial.run(setting, self.trial.recording.check)
            if not self._gains(setting, outcome.cost):
                return None
            if outcome.bound <= kept and self._guarded(setting):
                return setting, outcome
            if setting.held:  # smaller thresholds would be the same
                if outcome.bound <= kept:
                    found.stale.add(setting.period)
                return None
            setting = setting.scaled(TIGHTER)
        return None

    def _gains(self, setting: Setting, cost: float) -> bool:
        """Whether this costs less than what has passed, and less than the exact setting by more than nothing."""
        assert self.best is not None
        return cost < self._enough and charged(setting, cost) < charged(self.best[0], self.best[1].cost)

    def _guarded(self, setting: Setting) -> bool:
        """Whether the setting keeps to the allowed loss on shaken frames, and with turns at a higher speed, there for
        certain. Where between two frames nothing is to pass, what is shaken is looked at as if it were a frame of the
        others; of whole answers that are held nothing is left to look at."""
        run, most = self.trial.run, GUARD * self.allowed
        shaken, check = self.trial.recording.shaken_check, self.trial.recording.check
        if not all(s.shows(setting.period) for s in check):
            return False
        passing = replace(setting.scaled(setting.drift), drift=1.0, period=1) if setting.sparse else setting
        if shaken and not setting.held and run(passing, shaken).loss > most:
            return False
        return setting.period == 1 or run(setting, [s.fast for s in check]).bound <= most
