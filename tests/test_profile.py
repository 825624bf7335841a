"""The profile of a converted model: shares, bounds, bytes, and its table."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from small import cnn, feeds, pictures, write_clip

import rrm_onnx
from rrm_onnx import bench
from rrm_onnx.bench.profile import Peaks, Traffic, lines, peaks, roofline, summed
from rrm_onnx.bench.result import Result, Side
from rrm_onnx.cli import main
from rrm_onnx.pack import nodes_of, unpack

BEST = Peaks(threads=1, gflops=100.0, gigabytes=10.0)


@pytest.fixture(scope="module")
def converted() -> onnx.ModelProto:
    return rrm_onnx.convert(cnn())


def result(nodes: list[dict], seconds: float = 1e-3) -> Result:
    """Two frames that count, each of so many seconds."""
    side = Side((9.0, seconds, seconds), (9.0, seconds, seconds))
    return Result(3, 1, side, side, 0.0, 0.0, 0.0, None, nodes=nodes)


def node(name: str, op: str, ns: int, **more: int) -> dict:
    rest = dict.fromkeys(("sites", "active", "changed", "macs_dense", "macs_done", "macs_added", "state_bytes"), 0)
    rest |= {"swept_bytes": 0, "phases": {}}
    rest["output_bytes"] = more.get("state_bytes", 0)
    return {"name": name, "op": op, "ns": ns, **rest, **more}


def test_times_are_for_a_frame_and_add_up(converted):
    found = lines(result([node("conv0", "Conv", 400_000), node("conv1", "Conv", 800_000)]), converted, BEST)
    assert [(line.name, line.us, line.share) for line in found] == [
        ("conv1", 400, pytest.approx(0.4)),
        ("conv0", 200, pytest.approx(0.2)),
        ("(outside of the rrm nodes)", pytest.approx(400), pytest.approx(0.4)),
    ]
    both = summed(found[:2], "both")
    assert both.us == 600 and both.share == pytest.approx(0.6)


def test_the_best_time_of_a_model_is_the_sum_of_its_nodes(converted):
    half = {"sites": 200, "active": 100, "changed": 50}
    busy = node("conv0", "Conv", 2_000_000, macs_done=20_000_000, **half)
    wide = node("conv1", "Conv", 2_000_000, macs_done=2_000_000, state_bytes=5_333_333, **half)
    *found, _ = lines(result([busy, wide]), converted, BEST)
    best = roofline(found)
    assert best["compute_ms"] == pytest.approx(0.22)
    assert best["memory_ms"] == pytest.approx(0.4, rel=0.05)
    assert best["ms"] == pytest.approx(0.6, rel=0.05)


def test_the_bound_is_the_longer_time(converted):
    """10 M multiply-accumulates take 200 us at 100 GFLOP/s; 4 MB take 400 us at 10 GB/s."""
    half = {"sites": 200, "active": 100, "changed": 50}
    busy = node("conv0", "Conv", 2_000_000, macs_done=20_000_000, **half)
    found = lines(result([busy]), converted, BEST)[0]
    assert (found.bound, found.active, found.changed, found.macs) == ("compute", 0.5, 0.25, 1e7)
    assert found.reached == pytest.approx(0.2, rel=0.02) and found.gflops == pytest.approx(20)
    wide = lines(result([busy | {"output_bytes": 5_333_333}]), converted, BEST)[0]  # held read 0.5, written 0.25
    assert wide.bound == "memory" and wide.reached == pytest.approx(0.4, rel=0.02)


def test_bytes_are_those_of_the_active_part(converted):
    """conv1 reads conv0's map and its own weights; Exit copies the last map; Enter compares what it keeps."""
    nodes = [node(n.name, n.op_type, 1) for n in nodes_of(converted)]
    kept = {"conv0": 1000, "conv1": 100, "conv2": 10}
    traffic = Traffic(
        converted, [n | {"state_bytes": kept.get(n["name"], 3), "output_bytes": kept.get(n["name"], 3)} for n in nodes]
    )
    weights = 4 * (16 * 8 * 9 + 16)
    assert traffic.touched("conv1", 0.5, 0.25) == 0.5 * (1000 + 100) + 0.25 * 100 + weights
    assert traffic.touched("conv1", 0.0, 0.0) == 0
    names = {n.op_type: n.name for n in nodes_of(converted)}
    assert traffic.touched(names["Exit"], 1.0, 1.0) == 20 and traffic.touched(names["Enter"], 1.0, 0.5) == 3
    assert traffic.touched("no such node", 1.0, 1.0) == 0


def test_a_view_stands_for_what_it_shows(converted):
    model = onnx.ModelProto()
    model.CopyFrom(unpack(converted))
    conv = next(n for n in model.graph.node if n.name == "conv1")
    model.graph.node.add(op_type="Concat", domain="rrm", name="view", input=[conv.input[0]] * 2, output=["both"])
    conv.input[0] = "both"
    traffic = Traffic(model, [node("conv0", "Conv", 1, state_bytes=1000), node("view", "Concat", 1)])
    assert traffic.touched("conv1", 1.0, 0.0) == 2000 + 4 * (16 * 8 * 9 + 16)


def test_peaks_are_measured():
    found = peaks(1)
    assert found.threads == 1 and 0.1 < found.gflops < 1e5 and 0.1 < found.gigabytes < 1e4


def test_a_real_profile(library, converted):
    found = bench.compare(cnn(), converted, feeds(6), threads=1)
    profile = lines(found, converted, BEST)
    assert {line.name for line in profile[:-1]} == {n.name for n in nodes_of(converted)}
    assert sum(line.share for line in profile) == pytest.approx(1)
    macs = sum(line.macs for line in profile) * 5
    assert macs == sum(n["macs_done"] for n in found.nodes) > 0
    assert all(n["runs"] == 5 for n in found.nodes)  # not the first


def test_phases_are_where_the_time_goes(library, converted):
    """One thread: the phases of a node are its time, but for what lies between reading one clock and the other."""
    off = bench.compare(cnn(), converted, feeds(6), threads=1)
    assert not any(ns for n in off.nodes for ns in n["phases"].values())
    found = bench.compare(cnn(), converted, feeds(6), threads=1, phases=True)
    profile = lines(found, converted, BEST)
    for line in profile[:-1]:
        assert 0.8 * line.us < sum(line.phases.values()) <= 1.01 * line.us, line
    spent = {line.op: {name for name, us in line.phases.items() if us > 0} for line in profile[:-1]}
    assert {"tickets", "track", "pointers", "gemm", "epilogue", "gate"} <= spent["Conv"]
    assert "gate" in spent["Enter"] and "copy" in spent["Exit"] and not spent["Exit"] & {"gemm", "gate"}


def test_phases_of_several_threads(library):
    """Work that is shared out counts on each thread; the first one waits for the others."""
    model, rng = cnn(size=256), np.random.default_rng(0)
    noise = [{"x": rng.random((1, 3, 256, 256), np.float32)} for _ in range(4)]
    found = bench.compare(model, rrm_onnx.convert(model), noise, threads=2, phases=True)
    wait = sum(n["phases"]["wait"] for n in found.nodes)
    assert wait > 0 and sum(sum(n["phases"].values()) for n in found.nodes) > 0.8 * sum(n["ns"] for n in found.nodes)


def test_what_is_touched_whatever_changed(library, converted):
    """Enter reads the picture and what it holds, Exit reads and writes the map, a layer clears and searches bits."""
    frame = feeds(1)[0]
    (name, x), *_ = frame.items()
    found = bench.compare(cnn(), converted, [frame, {name: x + 1}, {name: x + 2}], threads=1)
    swept = {n["op"]: n["swept_bytes"] / 2 for n in found.nodes}
    assert swept["Enter"] == 2 * x.nbytes
    out = found.nodes[-1]
    assert out["op"] == "Exit" and swept["Exit"] == 2 * 4 * np.prod(
        [d.dim_value for d in cnn().graph.output[0].type.tensor_type.shape.dim]
    )
    assert 0 < swept["Conv"] < x.nbytes / 8


def test_the_command(tmp_path, monkeypatch, capsys, library):
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rrm_onnx.cli.profile.MOST", 2)
    onnx.save(cnn(), "model.onnx")
    write_clip(tmp_path / "clip.mkv", pictures(4))
    assert main(["bench", "model.onnx", "--clip", "clip.mkv", "--threads", "1", "--profile", "--json"]) == 0
    out, err = capsys.readouterr()
    profile = json.loads(out)["profile"]
    assert len(profile["nodes"]) == 5 and np.isfinite(profile["outside_us"]) and profile["peaks"]["gflops"] > 0
    assert profile["phases_us"]["gemm"] > 0 and "of the time" in err and "summed over the threads" in err
    assert "(3 more)" in err and "(outside" in err and "GB/s (copy), 1 threads" in err
