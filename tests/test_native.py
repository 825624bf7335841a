"""The C++ library: every case on every ISA level of this machine, against the NumPy definitions and against itself.

The three promises that `check` tests: the values are those of the NumPy definition; in exact mode every frame has the
bits of a fresh session; the number of threads changes no bit.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from case import Case, changed, frames
from cases import CASES, conv
from hypothesis import assume, given
from hypothesis import strategies as st
from models import rrm_nodes
from native import (
    OPSETS,
    Native,
    Reference,
    assert_close,
    assert_same_bits,
    in_threads,
    isa_levels,
    needs_library,
    node,
    rounding,
    rrm_model,
)
from onnx import TensorProto, helper
from random_cases import RANDOM, random_case
from toys import TOYS, Toy, toy_frames

import rrm_onnx
from rrm_onnx import runtime
from rrm_onnx.ops import reference_base
from rrm_onnx.pack import pack, unpack
from rrm_onnx.types import CONVOLUTIONS

pytestmark = needs_library


def check(case: Case, isa: str) -> None:
    model = rrm_model(case)
    reference, one, two = Reference(model), Native(model, isa), Native(model, isa, threads=2)
    for t, frame in enumerate(frames(case)):
        y = one.run(frame)[0]
        what = f"{case} on {isa}: frame {t}"
        expected = reference.run(frame)[0]
        if case.op == "MapShape":
            assert y.tolist() == expected.tolist(), what
            continue
        assert_close(y, expected, f"{what} against the NumPy definition", rounding(isa))
        assert_same_bits(two.run(frame)[0], y, f"{what} with two threads")
        if case.threshold == 0:
            assert_same_bits(Native(model, isa).run(frame)[0], y, f"{what} against a fresh session")


@pytest.mark.parametrize("isa", isa_levels())
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case, isa: str) -> None:
    check(case, isa)


@pytest.mark.parametrize("op", sorted(RANDOM))
@given(data=st.data())
def test_random_case(op: str, data: st.DataObject) -> None:
    check(data.draw(random_case(op)), data.draw(st.sampled_from(isa_levels())))


@pytest.mark.parametrize("op", ["Enter", *CONVOLUTIONS])
@given(data=st.data())
def test_random_tolerance(op: str, data: st.DataObject) -> None:
    """Gates open at the same sites as in the definition, unless a row is as good as on the threshold itself."""
    case = data.draw(random_case(op))
    case = replace(case, threshold=data.draw(st.sampled_from([0.02, 0.1, 0.3])), data="normal")
    with distance_to_limit() as distances:
        reference = Reference(rrm_model(case))
        for frame in frames(case):
            reference.run(frame)
    assume(min(distances, default=1.0) > 1e-3)
    check(case, data.draw(st.sampled_from(isa_levels())))


@contextlib.contextmanager
def distance_to_limit() -> Iterator[list[float]]:
    """How far, as a share of the limit, the rows that the definitions compare are from the limit of their gate."""
    plain, distances = reference_base.differs, []

    def differs(fresh: np.ndarray, held: np.ndarray, limit: float) -> np.ndarray:
        if limit > 0:
            rms = np.sqrt(np.mean(np.square(fresh.astype(np.float64) - held), axis=2))
            distances.append(float(np.abs(rms / limit - 1).min()))
        return plain(fresh, held, limit)

    reference_base.differs = differs
    try:
        yield distances
    finally:
        reference_base.differs = plain


@pytest.mark.parametrize("isa", isa_levels())
def test_session_uses_the_level_that_was_asked_for(isa: str) -> None:
    """Levels differ in rounding somewhere in a large sum: `rrm.isa` has an effect, and one level is equal to itself."""
    case = next(c for c in CASES if c.op == "Conv" and c.shapes[0][1] == 40)
    frame = frames(case)[0]
    bits = {level: Native(rrm_model(case), level).run(frame)[0].tobytes() for level in isa_levels()}
    assert Native(rrm_model(case), isa).run(frame)[0].tobytes() == bits[isa]
    if len(bits) > 2:
        assert len(set(bits.values())) > 1


@pytest.mark.skipif(len(isa_levels()) < 2, reason="no choice of levels: onnxruntime before 1.24, or only one here")
@pytest.mark.parametrize("isa", ["sse9", "amx", "neon"])
def test_level_that_is_not_there_is_refused(isa: str) -> None:
    if isa in isa_levels():
        pytest.skip(f"this machine has {isa}")
    with pytest.raises(Exception, match=f"cannot run the ISA level '{isa}'"):
        Native(rrm_model(CASES[0]), isa)


@pytest.mark.parametrize("op", sorted(set(RANDOM) - {"MapShape"}))
@given(data=st.data())
def test_special_values_keep_the_promise(op: str, data: st.DataObject) -> None:
    """NaN, infinities, denormals, -0: a frame has the bits of a fresh session on them too, on any number of threads.

    But for which NaN a NaN is: where two meet, the processor keeps one or the other by the order of the operands.
    """
    case = replace(data.draw(random_case(op)), data="special")
    isa = data.draw(st.sampled_from(isa_levels()))
    model = rrm_model(case)
    session = Native(model, isa, threads=2)
    for t, frame in enumerate(frames(case)):
        what = f"{case} on {isa}: frame {t}"
        got, expected = session.run(frame)[0], Native(model, isa).run(frame)[0]
        assert_same_bits(*(np.where(np.isnan(y), np.float32(np.nan), y) for y in (got, expected)), what)


# --- what is counted --------------------------------------------------------------------------------------------------


def test_statistics_count_sites() -> None:
    """One changed pixel under a 3x3 window: nine active sites, no more."""
    case = conv((1, 16, 12, 17), 8, pads=(1, 1, 1, 1))
    session = Native(rrm_model(case))
    x = np.ones((1, 16, 12, 17), np.float32)
    session.run([x])
    session.session.reset_stats()
    x[0, 3, 5, 6] = 2
    session.run([x])
    session.run([x])
    nodes = {n["name"]: n for n in session.session.stats()["nodes"]}
    assert list(nodes) == ["Enter_x0", "node", "Exit_y"]
    conv_stats = nodes["node"]
    assert tuple(conv_stats[k] for k in ("op", "runs", "keyframes", "streams")) == ("Conv", 2, 0, 1)
    assert conv_stats["active"] == 9 and 0 < conv_stats["changed"] <= 9 and conv_stats["sites"] == 2 * 12 * 17
    assert conv_stats["macs_done"] == 9 * conv_stats["macs_dense"] // conv_stats["sites"]
    assert nodes["Enter_x0"]["changed"] == 1
    assert conv_stats["state_bytes"] > 12 * 17 * 4
    assert conv_stats["output_bytes"] % (12 * 17 * 4) == 0 < conv_stats["output_bytes"] <= conv_stats["state_bytes"]
    assert conv_stats["weight_bytes"] > 0


def test_nothing_changed_computes_nothing() -> None:
    for toy in TOYS:
        session = Native(rrm_onnx.convert(toy.build()))
        x = first_frame(toy)
        session.run([x])
        session.session.reset_stats()
        session.run([x])
        active = {n["name"]: n["active"] for n in session.session.stats()["nodes"] if n["op"] not in ("Enter", "Exit")}
        assert not any(active.values()), f"{toy.name}: {active}"


def first_frame(toy: Toy) -> np.ndarray:
    return toy_frames(toy)[0]


# --- streams ----------------------------------------------------------------------------------------------------------


def streams(tolerance: float, toy: Toy = TOYS[0]) -> tuple[object, list[np.ndarray]]:
    model = rrm_onnx.convert(toy.build(), tolerance=tolerance, streams=True)
    return model, [first_frame(toy)] + frames_of(6, toy)


def frames_of(count: int, toy: Toy = TOYS[0]) -> list[np.ndarray]:
    rng, x, out = np.random.default_rng(4), first_frame(toy), []
    for change in itertools.islice(itertools.cycle(["box", "scatter", "all"]), count):
        x = changed(rng, x, change, "normal")
        out.append(x)
    return out


def feed(x: np.ndarray, stream: int | list[int], tolerance: float = 1.0, reset: bool = False) -> dict[str, np.ndarray]:
    return {
        "x": x,
        "rrm_stream": np.atleast_1d(np.array(stream, np.int64)),
        "rrm_tolerance": np.array(tolerance, np.float32),
        "rrm_reset": np.array(reset),
    }


def test_streams_do_not_mix() -> None:
    model, video = streams(tolerance=0.1)
    both, alone = Native(model), {7: Native(model), -2: Native(model)}
    for t, x in enumerate(video):
        for s, offset in ((7, 0.0), (-2, 1.0)):
            frame = x + np.float32(offset)
            expected = alone[s].session.run(None, feed(frame, 0))[0]
            assert_same_bits(both.session.run(None, feed(frame, s))[0], expected, f"stream {s}, frame {t}")


def test_streams_may_change_rows() -> None:
    """A batch of two streams equals two batches of one, in whatever row a stream stands."""
    model, video = streams(tolerance=0.0)
    both, alone = Native(model), Native(model)
    for t, x in enumerate(video):
        order = [5, 6] if t % 2 else [6, 5]
        rows = {5: x, 6: x + 1}
        got = both.session.run(None, feed(np.concatenate([rows[s] for s in order]), order))[0]
        for row, s in enumerate(order):
            expected = alone.session.run(None, feed(rows[s], s))[0]
            assert_same_bits(got[row : row + 1], expected, f"stream {s}, frame {t}")


def test_reset_is_a_fresh_session() -> None:
    model, video = streams(tolerance=0.1)
    session = Native(model)
    for x in video:
        session.session.run(None, feed(x, 0))
        got = session.session.run(None, feed(x + np.float32(0.01), 0, reset=True))[0]
        expected = Native(model).session.run(None, feed(x + np.float32(0.01), 0))[0]
        assert_same_bits(got, expected, "after rrm_reset")
        session.session.reset()
        got = session.session.run(None, feed(x, 0))[0]
        assert_same_bits(got, Native(model).session.run(None, feed(x, 0))[0], "after InferenceSession.reset")


GATED_TOYS = [t for t in TOYS if t.name in ("chain", "csp", "mobile")]


@pytest.mark.parametrize("only", ["", "inner", "outer"])
@pytest.mark.parametrize("toy", GATED_TOYS, ids=lambda t: t.name)
def test_tolerance_zero_is_exact_at_once(toy: Toy, only: str) -> None:
    """Rows that an earlier frame's tolerance held are looked at again, whichever gate held them."""
    model, video = streams(0.1, toy)
    flat = unpack(model)
    separable = rrm_nodes(flat, "SeparableConv")
    if only and not separable:
        pytest.skip("no gate inside a node")
    for one in flat.graph.node if only else ():
        for attribute in one.attribute:
            if attribute.name in ("threshold", "inner_threshold"):
                kept = one in separable and attribute.name.startswith("inner") == (only == "inner")
                attribute.f = 0.3 if kept else 0.0
    model = pack(flat)
    session = Native(model)
    held = 0
    for x in video:
        loose = session.session.run(None, feed(x, 0))[0]
        exact = Native(model).session.run(None, feed(x, 0, tolerance=0))[0]
        held += loose.tobytes() != exact.tobytes()
        assert_same_bits(session.session.run(None, feed(x, 0, tolerance=0))[0], exact, "tolerance 0")
        session.session.run(None, feed(x, 0))
    assert held


@pytest.mark.parametrize("toy", GATED_TOYS, ids=lambda t: t.name)
def test_tolerance_equals_the_reference_with_streams(toy: Toy) -> None:
    model, video = streams(0.1, toy)
    native, reference = Native(model), Reference(model)
    for t, (x, factor) in enumerate(zip(video, [1, 0.5, 2, 2, 1, 0, 1], strict=True)):
        got = native.session.run(None, feed(x, 3, factor))[0]
        expected = reference.session.run(None, feed(x, 3, factor))[0]
        assert_close(got, expected, f"frame {t}, factor {factor}", rounding())


def test_one_stream_twice_in_a_batch_is_refused() -> None:
    model, video = streams(tolerance=0.0)
    session = Native(model)
    with pytest.raises(Exception, match="stream"):
        session.session.run(None, feed(np.concatenate([video[0]] * 2), [4, 4]))


# --- several runs at once ---------------------------------------------------------------------------------------------


def test_streams_may_run_at_once() -> None:
    model, video = streams(tolerance=0.0)
    session = Native(model, threads=2)
    expected = [[Native(model).session.run(None, feed(x + s, 0))[0] for x in video] for s in range(4)]

    def play(stream: int) -> None:
        for _ in range(5):
            for t, x in enumerate(video):
                got = session.session.run(None, feed(x + stream, stream))[0]
                assert_same_bits(got, expected[stream][t], f"stream {stream}, frame {t}")

    assert not in_threads(*(functools.partial(play, s) for s in range(4)))


def test_one_stream_at_once_is_right_or_refused() -> None:
    """Two runs of one stream at the same time: each is either exact or a clean error, and no later frame is wrong."""
    model, video = streams(tolerance=0.0)
    session = Native(model)
    expected = [Native(model).session.run(None, feed(x, 0))[0] for x in video]

    def play() -> None:
        for _ in range(20):
            for t, x in enumerate(video):
                try:
                    got = session.session.run(None, feed(x, 0))[0]
                except Exception as error:
                    assert "at once" in str(error)
                else:
                    assert_same_bits(got, expected[t], f"frame {t}")

    assert not in_threads(play, play)
    for t, x in enumerate(video):
        assert_same_bits(session.session.run(None, feed(x, 0))[0], expected[t], f"frame {t}, alone again")


# --- tickets that do not fit ------------------------------------------------------------------------------------------

TICKET = helper.make_tensor_value_info("t", TensorProto.INT64, [None, None])


def ticket_sessions() -> tuple[Native, Native]:
    """A picture to a ticket, and a ticket to a picture, as two sessions."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * 4)
    enter = node("Enter", ["x"], ["t"], "Enter_x", channels_last=0, threshold=0.0, scale=0.0, drift=1.0, period=1)
    leave = node("Exit", ["t"], ["x"], "Exit_x", channels_last=0)
    graphs = helper.make_graph([enter], "in", [x], [TICKET]), helper.make_graph([leave], "out", [TICKET], [x])
    first, second = (Native(helper.make_model(g, opset_imports=OPSETS, ir_version=10)) for g in graphs)
    return first, second


def test_a_ticket_of_an_older_version_is_refused() -> None:
    enter, leave = ticket_sessions()
    pictures = [np.full((1, 3, 4, 5), v, np.float32) for v in (1, 2)]
    old, new = (enter.run([x])[0] for x in pictures)
    assert reference_base.unpack(old)[0].segments[0].version == 1
    with pytest.raises(Exception, match="at once"):
        leave.run([old])
    assert_same_bits(leave.run([new])[0], pictures[1], "the current ticket")


def test_a_ticket_that_names_nothing_is_refused() -> None:
    enter, leave = ticket_sessions()
    good = enter.run([np.ones((1, 3, 4, 5), np.float32)])[0]
    bad = [good + np.int64(8) * (np.arange(7) == 3), good[:, :6], good[:0], np.zeros((1, 7), np.int64)]
    wide, tall = good.copy(), good.copy()
    wide[0, 6] = 4  # channels [0, 4) of 3
    tall[0, 2] += 1 << 32  # one row more than there is
    for ticket in [*bad, wide, tall]:
        with pytest.raises(Exception, match="Exit_x"):
            leave.run([ticket])
    assert leave.run([good])[0].sum() == 60


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("toy", TOYS, ids=lambda t: t.name)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_failed_run_leaves_nothing_stale(toy: Toy, threads: int) -> None:
    model = rrm_onnx.convert(toy.build())
    sequence = toy_frames(toy)
    session = Native(model, threads=threads)
    session.run([sequence[0]])
    expected = [Native(model).run([x]) for x in sequence]
    views = ("Concat", "Slice", "ChannelRanges", "MapShape")
    for name in [n["name"] for n in session.session.stats()["nodes"] if n["op"] not in views]:
        runtime.query(f"fail {session.group} {name} 1")
        with pytest.raises(Exception, match="test"):
            session.run([sequence[-1]])
        for x, want in zip(sequence, expected, strict=True):
            for y, w in zip(session.run([x]), want, strict=True):
                assert_same_bits(y, w, f"after a failure in {name}")
