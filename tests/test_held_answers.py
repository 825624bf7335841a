"""The script that asks what the rules of a calibration are worth on footage that it has not seen."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "bench"))

import held_answers
from held_answers import Case, cases, held


def test_held_answers_by_hand():
    losses = np.array([[10 * t + k for k in range(9)] for t in range(20)], float)
    assert held(losses, 4, 9, 2).tolist() == [51, 60, 71, 80]  # of ages 1, 0, 1, 0
    assert held(losses, 4, 9, 3).tolist() == [51, 62, 70, 81]
    assert held(losses, 4, 10, 3, 2).tolist() == [62, 84]


def test_a_clip_is_taken_apart_in_four_ways():
    found = list(cases(np.tile(np.arange(9.0), (48, 1))))
    assert len(found) == 4 * len(held_answers.EVERY)
    sizes = [[len(x) for x in (c.fit, c.check, c.fast, c.fast_check)] for c in found]
    assert sizes == [[15, 7, 7, 3]] * 12  # of 16 and 8, the first frames not counted
    assert list(cases(np.zeros((48, 9)))) == []


def test_what_each_rule_would_allow():
    """A loss of 1 on 64 frames, of which a third is kept back; the others' parts, one after the other, say more."""
    one, uneven = np.ones(63), np.array([0.0, 4.0] * 4)
    of = lambda **given: Case(**({"fit": one, "check": one, "fast": one, "fast_check": one, "unseen": 1.0} | given))  # noqa: E731
    need = lambda case: [rule(case) for rule in held_answers.RULES.values()]  # noqa: E731
    few, quarter, high = 1 / (1 - (7 / 64) ** 0.5), 1 / 0.75, 2 + 2 * 2 * (8 / 7) ** 0.5 / 8**0.5
    assert need(of()) == pytest.approx([few, few, quarter, quarter])
    assert need(of(check=uneven)) == pytest.approx([few, 2 / (1 - (7 / 73) ** 0.5), high / 0.75, high / 0.75])
    assert need(of(fast=3 * one)) == pytest.approx([few, few, quarter, 3])
    assert need(of(fast_check=uneven)) == pytest.approx([few, few, quarter, high])


def test_how_often_a_rule_misses():
    one = np.ones(63)
    found = [Case(one, one, one, one, unseen) for unseen in (0.0, 1.0, 2.0)]
    few, quarter = 1 / (1 - (7 / 64) ** 0.5), 1 / 0.75
    for (_, missed, kept), allowed in zip(held_answers.rows(found), (few, few, quarter, quarter), strict=True):
        assert (missed, kept) == (pytest.approx(1 / 3), pytest.approx((allowed + allowed / 2) / 2))


def test_a_whole_run(corpus, monkeypatch, capsys):
    pytest.importorskip("av")
    words = ["squats", "--frames", "26", "--threads", "1", "--corpus", str(corpus)]
    monkeypatch.setattr(sys, "argv", ["held_answers.py", *words])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert held_answers.main() == 0
    out = capsys.readouterr().out
    assert out.startswith("12 cases") and "| and all of it at 2 times the speed | " in out
