"""The comparison of two models: what is counted, in which order, and the figures that follow."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest
from small import cnn, feeds

import rrm_onnx
from rrm_onnx import bench, yardstick
from rrm_onnx.bench.interleave import Comparison, difference, macs, turns, worst_error
from rrm_onnx.bench.result import Result, Rival, Side
from rrm_onnx.errors import RrmError

COUNT = 7


class Recorder:
    """A session that notes when it runs; the converted one also tells of its multiply-accumulates."""

    def __init__(self, name: str, log: list[str], done: int = 0) -> None:
        self.dense, self.name, self.log, self.done, self.runs = yardstick.dense_session(cnn()), name, log, done, 0

    def get_outputs(self):
        return self.dense.get_outputs()

    def run(self, names, feed):
        self.log.append(self.name)
        self.runs += 1
        return self.dense.run(names, feed)

    def reset(self) -> None:
        self.log.append("reset")

    def stats(self):
        first = 100  # the keyframe does everything
        later = max(0, self.runs - 1)
        return {"nodes": [{"macs_done": first * (self.runs > 0) + self.done * later, "macs_dense": 100 * self.runs}]}


@pytest.fixture
def log(monkeypatch) -> list[str]:
    """Both sessions replaced by recorders; the list of what they were asked."""
    notes: list[str] = []
    sessions = {"dense": Recorder("dense", notes), "conv": Recorder("conv", notes, done=25)}
    monkeypatch.setattr(yardstick, "dense_session", lambda *_: sessions["dense"])
    monkeypatch.setattr(yardstick, "converted_session", lambda *_: sessions["conv"])
    return notes


def test_frames_are_interleaved_and_the_order_alternates(log):
    bench.compare(cnn(), cnn(), feeds(4))
    assert log == ["reset", "dense", "conv", "conv", "dense", "dense", "conv", "conv", "dense"]


def test_rivals_run_on_the_same_frames_and_are_compared(log):
    class Wrong(Recorder):
        def run(self, names, feed):
            log.append(self.name)
            return [1.5 * y for y in self.dense.dense.run(names, feed)]  # the session within the recorder

    result = Comparison(cnn(), cnn(), rivals={"wrong": Wrong("wrong", log)}).run(feeds(4))
    assert log[1:] == "dense conv wrong conv wrong dense wrong dense conv dense wrong conv".split()
    assert result.rivals["wrong"].error == pytest.approx(0.5) and result.error == 0
    assert len(result.rivals["wrong"].side.seconds) == 4


def test_the_first_one_rotates_and_nobody_always_follows_the_same():
    assert [turns(t, 2) for t in range(4)] == [[0, 1], [1, 0]] * 2
    assert {tuple(turns(t, 3)) for t in range(6)} == {(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0)}
    assert [turns(t, 4)[0] for t in range(8)] == [0, 1, 2, 3] * 2


def test_the_keyframe_does_not_count_in_the_share_of_macs(log):
    assert bench.compare(cnn(), cnn(), feeds(COUNT)).macs_share == pytest.approx(0.25)


def test_equal_models_have_no_error_and_holding_has(log):
    result = bench.compare(cnn(), cnn(), feeds(COUNT))
    assert result.error == result.worst_error == 0 and result.frames == COUNT
    y = [yardstick.dense_session().dense.run(None, f)[0] for f in feeds(COUNT)]
    held = [yardstick.relative_l2(y[t - t % 2], y[t]) for t in range(1, COUNT)]
    assert result.hold2_error == pytest.approx(np.mean(held)) and result.hold2_error > 0


def test_outputs_are_handed_out_frame_by_frame(log):
    seen = []
    bench.compare(cnn(), cnn(), feeds(3), on_frame=lambda t, want, got: seen.append((t, want[0].shape, len(got))))
    assert seen == [(t, (1, 4, 32, 32), 1) for t in range(3)]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_frames(log, count):
    with pytest.raises(RrmError, match="two frames or more"):
        bench.compare(cnn(), cnn(), feeds(count))


def test_figures():
    dense, fast = Side((9.0, 0.2, 0.4), (9.0, 0.3, 0.5)), Side((1.0, 0.1, 0.1), (1.0, 0.1, 0.1))
    result = Result(3, 2, dense, fast, 0.01, 0.02, 0.3, None)
    assert result.ratio == pytest.approx(3) and result.cpu_ratio == pytest.approx(4)
    assert dense.to_dict() == pytest.approx(
        {"ms": 300, "median_ms": 300, "p99_ms": 398, "first_ms": 9000, "cpu_ms": 400}
    )
    assert result.to_dict()["converted"]["ms"] == pytest.approx(100) and result.to_dict()["macs_share"] is None


def test_figures_of_a_rival():
    sides = Side((9.0, 0.2, 0.4), (9.0, 0.3, 0.5)), Side((1.0, 0.1, 0.1), (1.0, 0.1, 0.1))
    rival = Rival(Side((5.0, 0.1, 0.2), (5.0, 0.1, 0.1)), 0.25)
    result = Result(3, 2, *sides, 0.01, 0.02, 0.3, None, {"other": rival})
    found = result.to_dict()["rivals"]["other"]
    assert found["ratio"] == pytest.approx(1.5) and found["ms"] == pytest.approx(150) and found["error"] == 0.25


def test_worst_error_prefers_floating_point_outputs():
    mask, heat = np.array([1, 2]), np.array([1.0, 2.0])
    assert worst_error([mask + 1, heat], [mask, heat]) == 0
    assert worst_error([mask + 1], [mask]) > 0


def test_macs_are_summed_over_the_nodes():
    assert macs([{"macs_done": 1, "macs_dense": 4}, {"macs_done": 2, "macs_dense": 5}]) == (3, 9)


def test_counts_are_those_between_two_questions():
    before, after = {"name": "a", "ns": 5, "state_bytes": 7}, {"name": "a", "ns": 9, "state_bytes": 8}
    assert difference([before], [after]) == ({"name": "a", "ns": 4, "state_bytes": 8},)


def test_a_real_comparison(library):
    result = bench.compare(cnn(), rrm_onnx.convert(cnn()), feeds(COUNT), threads=1)
    assert result.worst_error <= 1e-4 and result.macs_share is not None and 0 < result.macs_share < 0.9
    assert len(result.dense.seconds) == len(result.converted.seconds) == COUNT


def test_a_second_run_starts_anew(library):
    pair = Comparison(cnn(), rrm_onnx.convert(cnn()), threads=1)
    first, second = pair.run(feeds(COUNT)), pair.run(feeds(COUNT))
    assert first.macs_share == second.macs_share and first.error == second.error


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the mode is that of x86")
@pytest.mark.parametrize(("settle", "zero"), [("True", "True"), ("False", "False"), (None, "False")])
def test_denormals_are_settled_by_the_first_session(settle, zero):
    """The session that the conversion makes would leave them on for the original, whatever its own options say."""
    lines = ["from rrm_onnx import convert, yardstick", "from small import cnn"]
    lines += [f"assert yardstick.settle_denormals({settle})"] if settle else []
    lines += ["convert(cnn())", "yardstick.dense_session(cnn())", "print(yardstick.denormals_are_zero())"]
    paths = f"import sys; sys.path[:0] = {sys.path!r}\n"
    done = subprocess.run([sys.executable, "-c", paths + "\n".join(lines)], capture_output=True, text=True)
    assert done.stdout.strip() == zero, done.stderr


def test_entries_replace_the_usual_ones():
    options = yardstick.session_options(1, yardstick.config_entries(spinning=True, denormals=True, isa="avx2"))
    keys = ("session.intra_op.allow_spinning", "session.set_denormal_as_zero", "rrm.isa")
    assert [options.get_session_config_entry(key) for key in keys] == ["1", "0", "avx2"]
    usual = yardstick.session_options(1, yardstick.config_entries())
    assert [usual.get_session_config_entry(key) for key in keys[:2]] == ["0", "1"]


def test_nothing_spins_after_an_error_was_computed():
    """A BLAS keeps its threads busy for a while after a call: they would run beside the frame that is timed next."""
    program = (
        "import time, numpy as np; from rrm_onnx.distance import relative_l2\n"
        "a = np.random.default_rng(0).normal(size=1 << 20)\n"
        "time.sleep(0.5)\n"  # its threads spin once they are made, too
        "relative_l2(a, a + 1)\n"
        "before = time.process_time(); time.sleep(0.03); print(time.process_time() - before)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(found.stdout) < 0.01
