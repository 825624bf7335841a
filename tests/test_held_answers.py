"""The script that asks how sure a loss is that was measured on a part of a clip."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "bench"))

import held_answers


def test_held_answers_by_hand():
    losses = np.array([[10 * t + k for k in range(5)] for t in range(20)], float)
    assert held_answers.held(losses, 4, 9, 2).tolist() == [51, 60, 71, 80]  # of ages 1, 0, 1, 0
    assert held_answers.held(losses, 4, 9, 3).tolist() == [51, 62, 70, 81]


def test_a_clip_is_taken_apart_in_four_ways():
    losses = np.tile(np.arange(5.0), (48, 1))
    found = list(held_answers.cases(losses))
    assert len(found) == 4 * len(held_answers.EVERY)
    assert [(len(f), len(c)) for f, c, _ in found] == [(15, 7)] * 12  # of 16 and 8, the first frames not counted
    assert list(held_answers.cases(np.zeros((48, 5)))) == []


def test_how_often_more_is_lost_than_allowed():
    same = [np.full(16, 1.0), np.full(8, 1.0)]
    found = {name: (missed, ratio) for name, missed, ratio in held_answers.rows([(*same, 0.5), (*same, 1.2)])}
    assert found["mean of all"][0] == [0.5, 0.0, 0.0] and found["mean of all"][1] == pytest.approx((2 + 1 / 1.2) / 2)
    uneven = np.array([0.0, 2.0] * 4)
    found = {name: missed for name, missed, _ in held_answers.rows([(np.ones(16), uneven, 1.5)])}
    assert [found[name][0] for name in held_answers.ESTIMATES] == [1.0, 1.0, 1.0, 0.0]


def test_a_whole_run(corpus, monkeypatch, capsys):
    pytest.importorskip("av")
    words = ["squats", "--frames", "26", "--threads", "1", "--corpus", str(corpus)]
    monkeypatch.setattr(sys, "argv", ["held_answers.py", *words])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert held_answers.main() == 0
    out = capsys.readouterr().out
    assert out.startswith("12 cases") and "| the same of both | " in out
