"""Trials of a calibration: one setting after the other on stretches of frames."""

from __future__ import annotations

import numpy as np
import pytest
from calibrating import recorded
from small import cnn, noisy

from rrm_onnx import yardstick
from rrm_onnx.calibrate.points import Point, Setting, apply
from rrm_onnx.calibrate.record import Stretch
from rrm_onnx.calibrate.trial import LEARNT, REPEATS, Trial, liveliest, prepare
from rrm_onnx.types import Options


def test_costs_are_learnt_where_most_moves(library):
    """A clip may begin with frames in which nothing does; one cut makes no part lively."""
    moving = noisy(24)
    still = [moving[0]] * 17
    cut = [*still, {"x": 0 * moving[0]["x"]}, *still]
    with recorded(cut + moving + still, still + moving) as recording:
        part = liveliest(recording)
        assert len(part) == 16 and part.first >= len(cut)
        trial = Trial(prepare(cnn(size=32), Options()), recording, lambda a, b: 0.0, threads=1)
        exact, held = (trial.run(trial.uniform(t), [part]) for t in (0.0, 1e9))
        assert exact.cost > 1.2 * held.cost
    with recorded(noisy(12)) as recording:  # fewer frames than are wanted
        assert liveliest(recording) == Stretch(0, 8)


def test_a_trial_runs_stretches_from_a_fresh_state(library):
    """What a stretch gives does not depend on what ran before it, and its first frame does not count."""
    seen = []

    def loss(truth, got):
        seen.append(float(np.abs(truth[0] - got[0]).mean()))
        return seen[-1]

    with recorded(noisy(15), noisy(15, seed=1)) as recording:
        trial = Trial(prepare(cnn(size=32), Options()), recording, loss, threads=1)
        assert all(s > 0 for s in trial.scales) and trial.points[0] == Point("Enter_x", "Enter_x", entry=True)
        setting = trial.uniform(0.05)
        both = trial.run(setting, recording.check)
        assert len(seen) == 2 * 4 and both.loss == pytest.approx(np.mean(seen))
        assert not any(n["keyframes"] for n in both.nodes)
        one, two = (trial.run(setting, [s]) for s in recording.check)
        assert both.loss == pytest.approx((one.loss + two.loss) / 2) and both.bound > both.loss > 0
        assert both.macs == pytest.approx((one.macs + two.macs) / 2)
        exact = trial.run(trial.uniform(0.0), recording.check)
        assert exact.loss < 1e-5 and exact.macs > 0.95 and both.macs < 0.9
        assert trial.run(setting, recording.check).cost < exact.cost  # what less work costs is known by now


def test_a_stretch_at_a_higher_speed_is_every_second_frame(library):
    """As if these frames were all there are; the original's answers are those of the same frames."""
    assert list(Stretch(3, 9).fast.frames) == [3, 5, 7] and len(Stretch(3, 10).fast) == 4
    feeds, seen = noisy(18), []

    def loss(truth, got):
        seen.append((truth[0], got[0]))
        return 0.0

    with recorded(feeds) as recording:
        trial = Trial(prepare(cnn(size=32), Options()), recording, loss, threads=1)
        setting = Setting((0.05,) * len(trial.points), 0.0, 2)
        outcome = trial.run(setting, [recording.fit[0].fast])
        apply(trial.session, trial.points, setting, trial.scales)
        trial.session.reset()
        dense = yardstick.dense_session(cnn(size=32), 1)
        for t, (truth, got) in zip(range(0, 12, 2), [(None, None), *seen], strict=True):
            want = yardstick.run(trial.session, trial.outputs, feeds[t])[0]
            assert t == 0 or yardstick.same_bits(got, want)
            assert t == 0 or yardstick.same_bits(truth, dense.run(None, feeds[t])[0])
        assert not any(n["keyframes"] for n in outcome.nodes) and 0 < outcome.macs < 1


@pytest.mark.parametrize(("until", "runs"), [(np.inf, REPEATS), (0.0, 1)])
def test_costs_are_learnt_again_as_long_as_there_is_time(library, until, runs):
    """Once in any case: without that no setting has its cost."""
    steps = []
    with recorded(noisy(12)) as recording:
        made = lambda **given: Trial(prepare(cnn(size=32), Options()), recording, None, threads=1, **given)  # noqa: E731
        trial = made(until=until, step=lambda done, total: steps.append((done, total)))
    total = REPEATS * len(LEARNT)
    assert steps == [(k, total) for k in range(min(runs * len(LEARNT), total) + 1)]
    assert {len(seen) for seen in trial.costs._seen.values()} > {1}  # by number of sites
