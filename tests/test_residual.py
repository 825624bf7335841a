"""The residual kernel of convolutions: sums that are kept and added to equal sums that are made anew.

The thresholds here are so low that gates hold next to nothing back: what the converted model shows is the dense model's
output but for rounding.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native import Native, Plain, isa_levels, needs_library
from onnx import TensorProto, helper, numpy_helper

import rrm_onnx
from rrm_onnx import runtime
from rrm_onnx.bench import operators

pytestmark = needs_library
TINY = 1e-6
# amx has no such kernel: its weights are packed otherwise.
LEVELS = [x for x in isa_levels() if x != "amx"]
BEST = LEVELS[0] if LEVELS else None


@dataclasses.dataclass(frozen=True)
class Net:
    """x -> `joined` 1x1 convolutions, joined by channels -> the convolution under test -> y."""

    channels: tuple[int, ...] = (16,)
    out: int = 20
    size: tuple[int, int] = (20, 24)
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    gain: float = 1.0  # of the convolution's weights
    sliced: bool = False  # the convolution reads all channels but the first four

    def build(self) -> onnx.ModelProto:
        rng = np.random.default_rng(3)
        held = {}
        nodes = []
        for i, c in enumerate(self.channels):
            held[f"w{i}"] = rng.normal(size=(c, 4, 1, 1))
            nodes.append(helper.make_node("Conv", ["x", f"w{i}"], [f"a{i}"], f"before{i}"))
        names, total = [f"a{i}" for i in range(len(self.channels))], sum(self.channels)
        nodes.append(helper.make_node("Concat", names, ["joined"], "join", axis=1))
        if self.sliced:
            held |= {"from": np.array([4]), "to": np.array([total]), "axis": np.array([1])}
            nodes.append(helper.make_node("Slice", ["joined", "from", "to", "axis"], ["part"], "slice"))
            total -= 4
        held["w"] = self.gain * rng.normal(size=(self.out, total, *self.kernel)) / np.sqrt(total * np.prod(self.kernel))
        held["b"] = rng.normal(size=self.out)
        attributes = {"strides": self.strides, "dilations": self.dilations, "pads": self.pads}
        last = nodes[-1].output[0]
        nodes.append(helper.make_node("Conv", [last, "w", "b"], ["sum"], "tested", **attributes))
        nodes.append(helper.make_node("Relu", ["sum"], ["y"], "relu"))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, *self.size])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        constants = [
            numpy_helper.from_array(v if v.dtype == np.int64 else v.astype(np.float32), k) for k, v in held.items()
        ]
        graph = helper.make_graph(nodes, "net", [x], [y], constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Pair:
    """The converted model beside the dense one."""

    def __init__(
        self, net: Net, tolerance: float = TINY, isa: str | None = BEST, threads: int = 1, **more: Any
    ) -> None:
        model = net.build()
        self.dense = Plain(model)
        self.converted = Native(operators.convert(model, tolerance, **more), isa, threads)
        self.x = np.random.default_rng(5).normal(size=(1, 4, *net.size)).astype(np.float32)

    def change(self, sites: Any, rng: np.random.Generator) -> None:
        """New values at sites [n, 2]."""
        for y, x in sites:
            self.x[0, :, y, x] = rng.normal(size=4)

    def check(self, rtol: float = 1e-5) -> np.ndarray:
        want, got = self.dense.run([self.x])[0], self.converted.run([self.x.copy()])[0]
        finite = np.abs(want[np.isfinite(want)])
        size = max(float(finite.max()), 1.0) if finite.size else 1.0
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * size)
        return got

    def stats(self) -> dict[str, Any]:
        return next(n for n in self.converted.session.stats()["nodes"] if n["name"].startswith("tested"))


def scattered(rng: np.random.Generator, size: tuple[int, int], count: int) -> np.ndarray:
    return np.stack([rng.integers(0, n, count) for n in size], 1)


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize(
    "net",
    [
        Net(),
        Net(kernel=(5, 3), pads=(2, 1, 2, 1), out=5),
        Net(strides=(2, 2), kernel=(3, 3)),
        Net(strides=(1, 2), kernel=(1, 7), pads=(0, 3, 0, 3)),
        Net(dilations=(2, 2), pads=(2, 2, 2, 2)),
        Net(pads=(0, 0, 0, 0), out=67),
        Net(pads=(0, 2, 1, 0), kernel=(2, 3)),
        Net(channels=(8, 12)),
        Net(channels=(8, 12), sliced=True),
        Net(channels=(96,), out=200),
    ],
    ids=str,
)
def test_sums_that_are_added_to(net: Net, isa: str) -> None:
    """Scattered changes: the kernel is used, does less, and the output is that of the dense model."""
    pair, rng = Pair(net, isa=isa), np.random.default_rng(1)
    pair.check()
    for _ in range(60):
        pair.change(scattered(rng, net.size, 3), rng)
        pair.check()
    stats = pair.stats()
    assert stats["macs_added"] > 0
    recompute = stats["active"] / stats["sites"] * stats["macs_dense"]
    assert stats["macs_done"] < 0.8 * recompute
    # what was added is counted, not estimated: a change reaches no more outputs than it has taps
    changed = 60 * 3
    assert stats["macs_added"] <= changed * stats["macs_dense"] / stats["sites"]


def test_the_corners_and_whole_rows() -> None:
    net = Net(size=(9, 70))
    pair, rng = Pair(net), np.random.default_rng(2)
    corners = [(y, x) for y in (0, 8) for x in (0, 69)]
    for sites in (
        [corners] * 6 + [[c] for c in corners] * 2 + [[(4, x) for x in range(70)]] * 3 + [[(0, 63), (0, 64)]] * 3
    ):
        pair.change(sites, rng)
        pair.check()
    assert pair.stats()["macs_added"] > 0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_geometry_and_sequence(data: st.DataObject) -> None:
    """Random convolutions; frames in which single sites, boxes, nothing or everything changed."""
    pick = lambda *values: data.draw(st.sampled_from(values))  # noqa: E731
    size = (data.draw(st.integers(7, 30)), data.draw(st.integers(7, 70)))
    net = Net(
        channels=pick((8,), (16,), (24,), (9, 8), (16, 16), (128,)),
        out=pick(1, 8, 17, 40, 64, 70, 130),
        size=size,
        kernel=(pick(1, 2, 3, 5), pick(2, 3, 5)),
        strides=(pick(1, 1, 2), pick(1, 1, 2, 3)),
        dilations=(pick(1, 1, 2), pick(1, 1, 2)) if min(size) > 12 else (1, 1),
        pads=tuple(data.draw(st.integers(0, 2)) for _ in range(4)),
        sliced=pick(False, False, True),
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    pair = Pair(net, threads=pick(1, 2))
    for kind in data.draw(
        st.lists(st.sampled_from(["few", "few", "few", "box", "none", "all"]), min_size=8, max_size=16)
    ):
        if kind == "few":
            pair.change(scattered(rng, size, data.draw(st.integers(1, 6))), rng)
        elif kind == "box":
            y, x = rng.integers(0, size[0] - 2), rng.integers(0, size[1] - 2)
            pair.change([(i, j) for i in range(y, y + 3) for j in range(x, x + 3) if i < size[0] and j < size[1]], rng)
        elif kind == "all":
            pair.x = rng.normal(size=pair.x.shape).astype(np.float32)
        pair.check()


@pytest.mark.parametrize("threads", [1, 2])
def test_few_sites_of_many_weights(threads: int) -> None:
    """Threads share the columns of few sites until sums are kept; then what they made before is of no use."""
    net = Net(channels=(128,), out=140, size=(14, 14))
    pair, rng = Pair(net, threads=threads), np.random.default_rng(16)
    for _ in range(3):
        pair.x = rng.normal(size=pair.x.shape).astype(np.float32)  # everything moves, sums are given up
        pair.check()
        for y, x in [(2, 3), (9, 8), (2, 3), (9, 8), (5, 5), (2, 3), (9, 9), (2, 4), (8, 8)]:
            pair.change([(y + i, x + j) for i in (0, 1) for j in (0, 1)], rng)
            pair.check()
    assert pair.stats()["macs_added"] > 0


def test_rounding_errors_do_not_gather() -> None:
    """A thousand changes of one site: every so often its sums are made anew."""
    net = Net(size=(12, 12))
    pair, rng = Pair(net), np.random.default_rng(4)
    worst = 0.0
    for t in range(1000):
        pair.x[0, :, 5, 5] = rng.normal(size=4) * 30
        if t < 900:
            pair.converted.run([pair.x.copy()])
            continue
        want, got = pair.dense.run([pair.x])[0], pair.converted.run([pair.x.copy()])[0]
        worst = max(worst, float(np.abs(got - want).max() / np.abs(want).max()))
    stats = pair.stats()
    assert 0 < worst < 256 * 2.0**-24
    assert stats["macs_added"] > 0
    # sums made anew: 999 runs in turns of 256 touch the 9 outputs at least three times
    anew = stats["macs_done"] - stats["macs_added"]
    assert anew >= 3 * 9 * stats["macs_dense"] / stats["sites"]


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e30, 1e6, -np.inf])
def test_a_value_that_would_stay_in_the_sums(value: float) -> None:
    """Infinite, undefined and enormous values come and go: nothing of them is left."""
    pair, rng = Pair(Net()), np.random.default_rng(6)
    for _ in range(8):
        pair.change(scattered(rng, (20, 24), 2), rng)
        pair.check()
    assert pair.stats()["macs_added"] > 0
    for _ in range(3):
        before = pair.x[0, :, 7, 9].copy()
        pair.x[0, :, 7, 9] = value
        pair.change([(15, 3)], rng)
        pair.check()
        pair.x[0, :, 7, 9] = before
        pair.check()
        for _ in range(3):
            pair.change([(7, 10)], rng)
            pair.check()


def test_sums_that_overflow_are_made_anew() -> None:
    """Finite changes of usual size, whose sums are infinite now and then."""
    nodes = {"tested": {"threshold": TINY, "scale": 1.0}}  # the scale of such outputs is nothing that could be measured
    file = {"format": "rrm-thresholds", "version": 1, "model": None, "tolerance": TINY, "nodes": nodes}
    net = Net(gain=20)
    pair, rng = Pair(net, thresholds=file), np.random.default_rng(7)
    pair.x *= np.float32(1e37)
    infinite = 0
    for _ in range(30):
        sites = scattered(rng, net.size, 12)
        pair.change(sites, rng)
        pair.x[0, :, sites[:, 0], sites[:, 1]] *= np.float32(1e37)
        infinite += int(np.isinf(pair.check()).any())
    assert infinite > 10 and pair.stats()["macs_added"] > 0


def test_sums_are_added_to_only_where_they_are_kept() -> None:
    """As long as each site changes once, nothing is there to be added to; then each change is added to 9 outputs."""
    net = Net(size=(60, 60))
    pair, rng = Pair(net), np.random.default_rng(12)
    pair.check()
    for t in range(14):
        pair.change([(4 * t + 1, x) for x in range(1, 60, 4)], rng)
        pair.check()
    assert pair.stats()["macs_added"] == 0
    each = 9 * 16 * 20
    pair.change([(37, 1)], rng)
    pair.check()
    assert pair.stats()["macs_added"] == each
    pair.change([(37, 5), (37, 9), (41, 9), (58, 58)], rng)  # the last one never changed before
    pair.check()
    assert pair.stats()["macs_added"] == 4 * each


def test_a_burst_of_changes_that_nobody_noted() -> None:
    """A producer has room for about as many changes as there were in its last run; beyond, sums are made anew."""
    net = Net(size=(60, 60))
    pair, rng = Pair(net), np.random.default_rng(13)
    pool = scattered(rng, net.size, 300)
    for _ in range(4):
        for sites in (pool, pool, pool, pool[:2], pool[:1]):
            pair.change(sites, rng)
            pair.check()
    assert pair.stats()["macs_added"] > 0


def test_a_factor_of_zero_is_exact_at_once() -> None:
    model = rrm_onnx.convert(Net().build(), tolerance=TINY, streams=True)
    session, rng = Native(model, BEST), np.random.default_rng(14)
    x = rng.normal(size=(1, 4, 20, 24)).astype(np.float32)

    def run(on: Native, factor: float) -> np.ndarray:
        feed = {"x": x, "rrm_stream": np.array([0]), "rrm_reset": np.array(False)}
        return on.session.run(None, feed | {"rrm_tolerance": np.array(factor, np.float32)})[0]

    def added() -> int:
        return sum(n["macs_added"] for n in session.session.stats()["nodes"])

    pool = scattered(rng, (20, 24), 6)

    def change() -> None:
        sites = rng.permutation(pool)[:2]
        x[0, :, sites[:, 0], sites[:, 1]] = rng.normal(size=(2, 4))

    for _ in range(3):
        for _ in range(10):
            change()
            run(session, 1.0)
        before = added()
        for _ in range(3):
            change()
            assert run(session, 0.0).tobytes() == run(Native(model, BEST), 0.0).tobytes()
        assert added() == before > 0


def test_an_input_that_never_tells_its_changes() -> None:
    """Behind Enter: after a few runs in vain no memory is spent on sums."""
    case = operators.Case("direct", "Conv", 16, 16, 24, kernel=3)
    session, rng = Native(operators.convert(operators.model_of(case), TINY), BEST), np.random.default_rng(15)
    x = rng.normal(size=case.shape).astype(np.float32)
    sizes = []
    for _ in range(60):
        x[0, :, rng.integers(0, 24), rng.integers(0, 24)] = rng.normal(size=16)
        session.run([x.copy()])
        sizes.append(sum(n["state_bytes"] for n in session.session.stats()["nodes"] if n["op"] == "Conv"))
    assert max(sizes) > 1.8 * sizes[0]
    assert sizes[-1] < 1.2 * sizes[0]


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    net = Net(channels=(64,), out=128, size=(40, 60))
    one, two = Pair(net), Pair(net, threads=2)
    rng = np.random.default_rng(8)
    for _ in range(12):
        sites = scattered(rng, net.size, 150)
        for pair in (one, two):
            pair.change(sites, np.random.default_rng(len(sites)))
        assert one.check().tobytes() == two.check().tobytes()
    assert one.stats()["macs_added"] == two.stats()["macs_added"] > 0


def test_exact_models_and_large_changes_keep_no_sums() -> None:
    """Memory is taken where it pays, and given back where it no longer does."""
    net = Net(size=(40, 40))
    exact, pair = Pair(net, tolerance=0), Pair(net)
    rng = np.random.default_rng(9)
    for p in (exact, pair):
        p.check()
    small = pair.stats()["state_bytes"]
    pool = scattered(rng, net.size, 8)
    for _ in range(10):
        sites = rng.permutation(pool)[:4]
        for p in (exact, pair):
            p.change(sites, rng)
            p.check()
    assert exact.stats()["macs_added"] == 0
    assert exact.stats()["state_bytes"] == small
    assert pair.stats()["macs_added"] > 0
    assert 1.8 * small < pair.stats()["state_bytes"] < 3.2 * small
    assert pair.stats()["output_bytes"] == exact.stats()["output_bytes"] == 20 * 40 * 40 * 4
    for _ in range(45):  # it stays for a while
        pair.x = rng.normal(size=pair.x.shape).astype(np.float32)
        pair.check()
    assert pair.stats()["state_bytes"] < 1.2 * small


def test_a_run_that_breaks_off_leaves_no_sums() -> None:
    pair, rng = Pair(Net()), np.random.default_rng(10)
    for name in ("before0", "tested"):
        for _ in range(8):
            pair.change(scattered(rng, (20, 24), 3), rng)
            pair.check()
        node = next(n["name"] for n in pair.converted.session.stats()["nodes"] if n["name"].startswith(name))
        pair.change(scattered(rng, (20, 24), 3), rng)
        runtime.query(f"fail {pair.converted.group} {node} 1")
        with pytest.raises(Exception, match="stopped by the test hook"):
            pair.converted.run([pair.x.copy()])
        for _ in range(4):
            pair.check()
            pair.change(scattered(rng, (20, 24), 3), rng)
