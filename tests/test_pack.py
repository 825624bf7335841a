"""Regions: a packed model is the flat one in other words, and runs as that does, in every bit and every count."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from models import relative, rrm_nodes
from native import Native, Plain, assert_same_bits, in_threads, needs_library
from random_graphs import drawn, random_frames, random_graph
from regions import BUILD, REGIONS, check_packed, model_of, pictures, reads, regions, verdict

from rrm_onnx import runtime
from rrm_onnx.bench.operators import convert
from rrm_onnx.errors import RrmError
from rrm_onnx.pack import pack, unpack

VIEWS = ("Concat", "Slice", "ChannelRanges", "MapShape")
COUNTS = "name op streams runs keyframes sites active changed macs_dense macs_done macs_added swept_bytes".split()
COUNTS += "state_bytes output_bytes weight_bytes threshold scale measured_scale inner_measured_scale".split()


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("name", BUILD)
def test_packing_is_undone(name: str, streams: bool) -> None:
    flat = convert(model_of(name), streams=streams, flat=True)
    packed = pack(flat)
    check_packed(flat, packed)
    assert len(regions(packed)) == REGIONS[name] and verdict(packed) == ""
    assert convert(model_of(name), streams=streams).SerializeToString() == packed.SerializeToString()


@given(data=st.data())
def test_packing_of_a_random_model_is_undone(data: st.DataObject) -> None:
    model, _ = random_graph(*drawn(data))
    flat = convert(model, data.draw(st.sampled_from([0.0, 0.05])), flat=True)
    if not rrm_nodes(flat):
        assert pack(flat) is flat
        return
    check_packed(flat, pack(flat))
    flat = convert(model, streams=True, flat=True)
    check_packed(flat, pack(flat))


def test_what_leaves_a_region() -> None:
    """Tickets that others of its kind read, what dense nodes and their bodies read, and outputs; nothing else."""
    first, second, third = regions(convert(model_of("between")))
    assert set(first.output) == {"t1", "t1/ticket"}
    assert "t1/ticket" in second.input and "t1/ticket" in third.input
    model = convert(model_of("captured"))
    first, second = regions(model)
    (choice,) = (n for n in model.graph.node if n.op_type == "If")
    assert "t0" in reads(choice) and set(first.output) == {"t0", "t5/ticket"} and list(second.output) == ["t6"]


def test_texts_of_nodes_survive() -> None:
    flat = convert(model_of("between"), flat=True)
    for node in flat.graph.node:
        node.doc_string = f'"{node.name}"\n\\ ünd \x00'
        node.metadata_props.add(key="from: ä", value=node.name)
        node.metadata_props.add(key="", value="")
    check_packed(flat, pack(flat))


def test_packing_leaves_its_argument_alone() -> None:
    flat = convert(model_of("between"), flat=True)
    before = flat.SerializeToString()
    packed = pack(flat)
    written, back = packed.SerializeToString(), unpack(packed)
    assert flat.SerializeToString() == before and packed.SerializeToString() == written
    assert packed is not flat and back is not packed
    dense = model_of("between")
    assert pack(dense) is dense and unpack(dense) is dense and unpack(flat) is flat


# --- running it -------------------------------------------------------------------------------------------------------


def feed(x: np.ndarray, streams: bool, t: int) -> dict[str, np.ndarray]:
    """Rows change their places from frame to frame where they are streams."""
    order = np.arange(len(x))[:: -1 if t % 2 else 1]
    return {"x": x[order], "rrm_stream": order + 5} if streams else {"x": x}


def counts(session: Native) -> dict[str, list[Any]]:
    nodes = session.session.stats()["nodes"]
    found = {n["name"]: [n[key] for key in COUNTS] for n in nodes}
    assert len(found) == len(nodes)
    return found


def compare(model: onnx.ModelProto, frames: Iterator[np.ndarray], tolerance: float, threads: int, streams: bool) -> Any:
    """Packed and flat give the same bits and the same counts, frame by frame, and after a reset; the counts."""
    flat = convert(model, tolerance, streams=streams, flat=True)
    one, other = Native(pack(flat), threads=threads), Native(flat, threads=threads)
    for t, x in enumerate(frames):
        if t == 5:
            one.session.reset()
            other.session.reset()
        got, want = (s.session.run(None, feed(x.copy(), streams, t)) for s in (one, other))
        for k, (a, b) in enumerate(zip(got, want, strict=True)):
            assert_same_bits(a, b, f"frame {t}, output {k}")
        assert counts(one) == counts(other), f"frame {t}"
    assert set(counts(one)) == {n.name for n in rrm_nodes(flat)}
    return one.session.stats()["nodes"]


@needs_library
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
@pytest.mark.parametrize("name", BUILD)
def test_it_runs_as_the_flat_one(name: str, tolerance: float, threads: int, streams: bool) -> None:
    nodes = compare(model_of(name), pictures(name, batch=2), tolerance, threads, streams)
    assert all(0 < n["macs_done"] < n["macs_dense"] for n in nodes if n["op"] == "Conv")


@needs_library
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_kept_sums_have_the_bits_of_the_flat_one(threads: int) -> None:
    """Under a tolerance changes are added to sums: in an order that does not hang on how the work is shared."""
    nodes = compare(model_of("large"), pictures("large", 1, ["scatter"] * 12), 0.1, threads, False)
    assert any(n["macs_added"] for n in nodes)


@needs_library
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_random_one_runs_as_the_flat_one(data: st.DataObject) -> None:
    choose, seed = drawn(data)
    model, shape = random_graph(choose, seed)
    assume(rrm_nodes(convert(model)))
    tolerance, threads = data.draw(st.sampled_from([0.0, 0.05])), data.draw(st.integers(1, 2))
    compare(model, random_frames(choose, shape, seed, 7), tolerance, threads, data.draw(st.booleans()))


@needs_library
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", BUILD)
def test_an_error_names_its_node_and_leaves_nothing_stale(name: str, threads: int) -> None:
    model, frames = model_of(name), list(pictures(name))
    converted, dense = convert(model), Plain(model)
    session = Native(converted, threads=threads)
    session.run([frames[0]])
    expected = [(Native(converted).run([x]), dense.run([x])) for x in frames[2:5]]
    for node in [n.name for n in rrm_nodes(converted) if n.op_type not in VIEWS]:
        runtime.query(f"fail {session.group} {node} 1")
        with pytest.raises(Exception, match=f"rrm node '{node}'.*test hook"):
            session.run([frames[-1]])
        for x, want in zip(frames[2:5], expected, strict=True):
            for y, fresh, near in zip(session.run([x]), *want, strict=True):
                assert_same_bits(y, fresh, f"after a failure in {node}")
                assert relative(y, near) < 1e-4


@needs_library
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_threads_that_wait_change_no_bit(tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether threads are woken for each layer or once a frame, and whoever says so."""
    converted = convert(model_of("large"), tolerance)
    sessions = [Native(converted), Native(converted, threads=2)]
    sessions += [Native(converted, threads=2, entries={"rrm.linger_us": us}) for us in ("0", "1000")]
    for us in ("0", "1000"):
        monkeypatch.setenv("RRM_LINGER_US", us)
        sessions.append(Native(converted, threads=2))
    for x in [*pictures("large"), *pictures("large")]:
        first, *others = (s.run([x])[0].tobytes() for s in sessions)
        assert {first} == set(others)


@needs_library
@pytest.mark.parametrize("value", ["abc", "-1", "2000000", "5us", "0.5"])
def test_no_time_to_wait_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whom it may be given; what the session says counts before what the environment says."""
    converted = convert(model_of("sizes"))
    with pytest.raises(RrmError, match=rf"rrm\.linger_us .*'{value}'") as caught:
        Native(converted, entries={"rrm.linger_us": value})
    assert "1000000" in (caught.value.hint or "")
    monkeypatch.setenv("RRM_LINGER_US", value)
    with pytest.raises(RrmError, match=rf"rrm\.linger_us .*'{value}'"):
        Native(converted)
    Native(converted, entries={"rrm.linger_us": "5"})
    monkeypatch.setenv("RRM_LINGER_US", "")
    Native(converted)


@needs_library
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
@pytest.mark.parametrize("name", ["between", "large"])
def test_streams_run_at_once_as_one_after_the_other(name: str, tolerance: float) -> None:
    converted = convert(model_of(name), tolerance, streams=True)
    alone, session = Native(converted, threads=2), Native(converted, threads=2)
    videos = [[x + np.float32(stream) for x in [*pictures(name)] * 3] for stream in range(4)]

    def run(player: Native, stream: int) -> list[list[np.ndarray]]:
        feeds = ({"x": x, "rrm_stream": np.array([stream])} for x in videos[stream])
        return [player.session.run(None, fed) for fed in feeds]

    expected = [run(alone, stream) for stream in range(4)]

    def play(stream: int) -> None:
        for t, (got, want) in enumerate(zip(run(session, stream), expected[stream], strict=True)):
            for a, b in zip(got, want, strict=True):
                assert_same_bits(a, b, f"stream {stream}, frame {t}")

    assert not in_threads(*(functools.partial(play, stream) for stream in range(4)))
