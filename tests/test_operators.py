"""`rrm-onnx bench --op`: the table's models, the blobs that change, what is timed, and the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from models import dense_ops, rrm_nodes
from scipy import ndimage

from rrm_onnx import runtime, yardstick
from rrm_onnx.bench import operators, single
from rrm_onnx.bench.operators import CASES, Case
from rrm_onnx.cli import main
from rrm_onnx.errors import RrmError

SMALL = Case("small", "Conv", 8, 8, 16, 3)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_each_model_is_one_operator_of_the_library(case, library):
    """As little is left as it can: the borders and the operator; and it computes the same."""
    model = operators.model_of(case)
    converted = operators.convert(model)
    ops = [n.op_type for n in rrm_nodes(converted)]
    assert len(model.graph.node) == 1 and len(ops) == 2 + len(case.inputs)
    assert ops.count("Enter") == len(case.inputs) and ops[-1] == "Exit"
    assert not dense_ops(converted)
    feed, _ = next(single.feeds(case, 0.0, 1))
    want = yardstick.run(yardstick.dense_session(model), ["y"], feed)[0]
    assert want.shape[1] == case.out
    assert yardstick.relative_l2(yardstick.run(yardstick.converted_session(converted), ["y"], feed)[0], want) < 1e-5


def macs(case: Case) -> int:
    return case.count * case.out * case.channels // case.group * case.kernel**2 * (case.size // case.stride) ** 2


def test_resnet50_is_complete():
    """53 convolutions of 4.09 G multiply-accumulates and 23.45 M weights, as published for stride in the 3x3."""
    found = operators.resnet50()
    assert sum(c.count for c in found) == 53 and len({c.name for c in found}) == len(found)
    assert sum(map(macs, found)) == 4_087_136_256
    assert sum(c.count * c.out * c.channels * c.kernel**2 for c in found) == 23_454_912


def test_names_choose_cases():
    assert operators.cases(("add", "resize", "add")) == [CASES[-1], CASES[-2]]
    assert operators.cases(("all",)) == list(CASES) and len(operators.cases(("resnet50",))) == 23
    with pytest.raises(RrmError, match="conv3x3-65") as error:
        operators.cases(("conv3x3-65",))
    assert "did you mean 'conv3x3-64'" in str(error.value.hint)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("size", [(7, 7), (14, 14), (56, 40), (1, 3)])
def test_blobs_have_the_size_that_was_asked_and_are_few(size, share):
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask = single.blobs(rng, *size, share)
        assert mask.sum() == (max(1, round(share * mask.size)) if share else 0)
        assert ndimage.label(mask, np.ones((3, 3)))[1] <= single.BLOBS
        if mask.size > 2000 and share == 0.05:  # squares: their area is near that of the boxes around them
            boxes = ndimage.find_objects(ndimage.label(mask)[0])
            assert mask.sum() > 0.4 * sum((b[0].stop - b[0].start) * (b[1].stop - b[1].start) for b in boxes)


def test_feeds_change_the_sites_that_they_say():
    case, before = CASES[-1], None
    for feed, share in single.feeds(case, 0.05, 4):
        if before is not None:
            moved = {name: (feed[name] != before[name])[0] for name in ("a", "b")}
            assert moved["a"].any(0).mean() == share == pytest.approx(0.05, abs=1e-3)
            assert all(np.array_equal(m.any(0), m.all(0)) for m in moved.values())
            assert np.array_equal(moved["a"].any(0), moved["b"].any(0))
        before = {name: x.copy() for name, x in feed.items()}


def test_a_measurement_counts_what_is_computed(library):
    nothing, some, everything = single.measure(SMALL, [0.0, 0.1, 1.0], threads=1, repeat=3)
    assert (nothing.active, nothing.macs_done, nothing.gflops) == (0, 0, None)
    assert 0.1 < some.active < 0.5 and everything.active == 1
    assert some.macs == everything.macs == everything.macs_done == 16 * 16 * 8 * 8 * 9
    for timing in (nothing, some, everything):
        assert 0 < timing.node_us < timing.session_us
        assert timing.ort_us > 0 and timing.ratio == timing.ort_us / timing.node_us
    assert everything.gflops == pytest.approx(2e-3 * everything.macs / everything.node_us)


def test_the_level_is_the_one_asked_for(library):
    with pytest.raises(RrmError, match="nope"):
        single.measure(SMALL, [0.5], threads=1, repeat=1, entries=yardstick.config_entries(isa="nope"))


def test_reordering_does_not_count_for_onnxruntime(tmp_path):
    def event(op: str, name: str, us: int):
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": {"op_name": op}}

    run = [event("ReorderInput", "r", 50), event("Conv", "c", 7), event("ReorderOutput", "o", 60)]
    run += [{"cat": "Node", "name": "c_fence_before", "dur": 9}, {"cat": "Session", "name": "model_run", "dur": 200}]
    profile = tmp_path / "p.json"
    profile.write_text(json.dumps(run + run[:1] + [event("Conv", "c", 8)] + run[2:]))
    assert single._node_times(profile, 2) == [7, 8]


def timing(case: Case, activity: float = 0.05) -> single.Timing:
    return single.Timing(case, activity, 0.05, 0.1, 100.0, 10.0, 150.0, 40.0, 1000, 100)


def test_sums_count_each_operator_as_often_as_the_network_has_it():
    rows = [timing(case) for case in operators.resnet50()] + [timing(SMALL, 0.5)]
    found = single.total(rows, 0.05)
    assert found["count"] == 53 and found["ort_us"] == 5300 and found["node_us"] == 530
    assert found["ratio"] == 10 and found["ort_session_ratio"] == 15


# --- the command line


def test_the_command(library, capsys):
    arguments = ["bench", "--op", "conv3x3-512", "--activity", "0.05", "--threads", "1", "--repeat", "1", "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["machine"]["threads"] == 1 and "sums" not in found
    (row,) = found["rows"]
    assert row["name"] == "conv3x3-512" and row["changed"] == pytest.approx(2 / 49)
    assert {"ratio", "gflops", "ort_us", "node_us", "session_us", "activity", "active", "shape"} <= row.keys()
    assert "Conv 3x3 512->512 7x7" in err and "node us" in err


def test_a_network_is_summed(library, capsys, monkeypatch):
    asked = []

    def measure(case, activities, **more):
        asked.append((activities, more))
        return [timing(case, a) for a in activities]

    monkeypatch.setattr(single, "measure", measure)
    assert main(["bench", "--op", "resnet50", "--isa", "portable", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["sums"][0]["count"] == 53 and found["sums"][0]["ratio"] == 10 and "summed over the network" in err
    assert found["machine"]["isa"] == "portable"
    assert asked == [((0.05,), {"threads": 2, "entries": {"rrm.isa": "portable"}, "tolerance": 0.0})] * 23


def test_under_a_tolerance_changes_are_added(library, capsys):
    """Few changed sites of a 3x3 window: the sums that are kept take less than those that are made anew."""
    level = next(x for x in runtime.query("isa")["available"] if x != "amx")  # which has no such kernel
    arguments = ["bench", "--op", "conv3x3-256", "--activity", "0.01", "--threads", "1", "--repeat", "2", "--json"]
    arguments += ["--isa", level]
    rows = []
    for more in ([], ["--tolerance", "0.001"]):
        assert main([*arguments, *more]) == 0
        found = json.loads(capsys.readouterr().out)
        rows += found["rows"]
    assert found["machine"]["tolerance"] == 0.001
    exact, tolerant = rows
    assert exact["active"] == pytest.approx(tolerant["active"], rel=0.5)
    assert tolerant["macs_done"] < 0.5 * exact["macs_done"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.onnx", "--op", "all"], "--op takes no model"),
        (["--op", "all", "--clip", "clip.mp4"], "--op takes no model"),
        (["--op", "all", "--profile"], "--op takes no model"),
        (["--op", "all", "--thresholds", "t.json"], "--op takes no model"),
        (["--op", "all", "--size", "3x3"], "--op takes no model"),
        (["--op", "all", "--input-shape", "x=1x3x8x8"], "--op takes no model"),
        (["model.onnx", "--clip", "clip.mp4", "--activity", "0.5"], "belong to --op"),
        (["model.onnx", "--clip", "clip.mp4", "--repeat", "5"], "belong to --op"),
        (["--op", "all", "--activity", "1.5"], "1.5 is not in the range"),
        (["--op", "cov"], "no operator to time is named cov"),
        (["--op", "add", "--isa", "avx1024"], "cannot run the ISA level 'avx1024'"),
        (["--clip", "clip.mp4"], "missing argument 'MODEL'"),
        (["model.onnx"], "missing option '--clip'"),
    ],
)
def test_bad_input(library, capsys, arguments, message):
    assert main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and message in err.splitlines()[0] and "hint: " in err and not out
