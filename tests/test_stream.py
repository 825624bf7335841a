"""Random histories of whole small models: whatever happened before, a frame's output is that of a fresh session.

Each machine is one session of a converted model in exact mode. After every frame its outputs are compared with those
of a fresh session of the same model, in every bit, and with plain onnxruntime within 1e-4 of relative L2. Between
frames the machine repeats, changes and resizes pictures, resets, switches streams, fails and terminates runs.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import hypothesis
import numpy as np
import onnx
from case import changed, draw
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from models import rrm_nodes
from native import Native, Plain, Reference, assert_same_bits, needs_library
from toys import TOYS, Toy

import rrm_onnx
from rrm_onnx import runtime

SEEDS = st.integers(0, 2**16)
VIEWS = ("Concat", "Slice", "MapShape", "Exit")


@functools.cache
def converted(name: str, streams: bool) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The toy converted in exact mode, and the toy itself."""
    plain = next(t for t in TOYS if t.name == name).build()
    return rrm_onnx.convert(plain, streams=streams), plain


class History(RuleBasedStateMachine):
    """Rules and invariant. A subclass says how a session is made, and how a run is made to fail."""

    streams = False

    @initialize(toy=st.sampled_from([t for t in TOYS if t.dtype != "uint8"]), seed=SEEDS, threads=st.integers(1, 2))
    def begin(self, toy: Toy, seed: int, threads: int) -> None:
        self.toy = toy
        self.model, plain = converted(toy.name, self.streams)
        self.plain = Plain(plain)
        self.session = self.make(threads)
        batch = plain.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
        self.stream, self.pictures = 0, {}
        self.pictures[0] = draw(np.random.default_rng(seed), (batch, *toy.shape), "normal")
        self.look()

    @rule()
    def same_frame(self) -> None:
        self.look()

    @rule(seed=SEEDS, change=st.sampled_from(["pixel", "box", "scatter", "all"]))
    def change(self, seed: int, change: str) -> None:
        self.picture = changed(np.random.default_rng(seed), self.picture, change, "normal")
        self.look()

    @rule(seed=SEEDS)
    def change_and_return(self, seed: int) -> None:
        before = self.picture
        self.change(seed, "box")
        self.picture = before
        self.look()

    @precondition(lambda self: self.toy.step > 0)
    @rule(seed=SEEDS, h=st.integers(1, 5), w=st.integers(1, 5))
    def change_shape(self, seed: int, h: int, w: int) -> None:
        shape = (*self.picture.shape[:2], h * self.toy.step, w * self.toy.step)
        self.picture = draw(np.random.default_rng(seed), shape, "normal")
        self.look()

    @precondition(lambda self: self.toy.step > 0 and not self.streams)
    @rule(seed=SEEDS, n=st.integers(1, 3))
    def change_batch(self, seed: int, n: int) -> None:
        self.picture = draw(np.random.default_rng(seed), (n, *self.picture.shape[1:]), "normal")
        self.look()

    @precondition(lambda self: self.streams)
    @rule(stream=st.integers(0, 3), seed=SEEDS)
    def switch_stream(self, stream: int, seed: int) -> None:
        fresh = draw(np.random.default_rng(seed), self.picture.shape, "normal")
        self.stream = stream
        self.pictures.setdefault(stream, fresh)
        self.look()

    @rule(
        seed=SEEDS,
        which=st.integers(0, 100),
        when=st.integers(1, 3),
        then=st.sampled_from(["nothing", "pixel", "box"]),
    )
    def fail(self, seed: int, which: int, when: int, then: str) -> None:
        """Some node fails in its `when`-th computation from now (one per row of the batch that gives it work).

        If the next picture differs again, nodes that the failed run did not get to have missed a whole version.
        """
        nodes = [n for n in rrm_nodes(self.model) if n.op_type not in VIEWS]
        self.arm(nodes[which % len(nodes)].name, when)
        for i in range(when):
            self.picture = changed(np.random.default_rng(seed + i), self.picture, "all", "normal")
            try:
                self.run(self.session)
            except Exception as error:
                assert "test" in str(error)
                break
        self.disarm()
        self.picture = changed(np.random.default_rng(seed), self.picture, then, "normal")
        self.look()

    @property
    def picture(self) -> np.ndarray:
        return self.pictures[self.stream]

    @picture.setter
    def picture(self, value: np.ndarray) -> None:
        self.pictures[self.stream] = value

    def look(self) -> None:
        """Run the picture and compare: the one invariant."""
        got, expected = self.run(self.session), self.run(self.make(1))
        dense = self.plain.run([self.picture])
        for y, same, near in zip(got, expected, dense, strict=True):
            assert_same_bits(y, same, f"{self.toy.name} against a fresh session")
            assert np.linalg.norm(y - near) <= 1e-4 * np.linalg.norm(near), f"{self.toy.name} against onnxruntime"

    def feed(self) -> dict[str, np.ndarray]:
        extra = {"rrm_stream": np.arange(len(self.picture)) + 10 * self.stream} if self.streams else {}
        return {"x": self.picture} | extra

    def run(self, session: Any, run_options: Any = None) -> list[np.ndarray]:
        raise NotImplementedError

    def make(self, threads: int) -> Any:
        raise NotImplementedError

    def arm(self, name: str, when: int) -> None:
        raise NotImplementedError

    def disarm(self) -> None:
        raise NotImplementedError


class NumpyHistory(History):
    def make(self, threads: int) -> Any:
        return Reference(self.model)

    def run(self, session: Any, run_options: Any = None) -> list[np.ndarray]:
        return session.session.run(None, self.feed())

    def arm(self, name: str, when: int) -> None:
        self.armed, left = self.session.node(name), [when]

        def failing(resident: Any, *args: Any) -> None:
            left[0] -= 1
            if left[0] or when % 2:  # fail after the map was written, or before
                type(self.armed).commit(self.armed, resident, *args)
            if left[0] == 0:
                resident.usable = False
                raise RuntimeError("test")

        self.armed.commit = failing

    def disarm(self) -> None:
        del self.armed.commit


class NativeHistory(History):
    def make(self, threads: int) -> Any:
        return Native(self.model, threads=threads)

    def run(self, session: Any, run_options: Any = None) -> list[np.ndarray]:
        return session.session.run(None, self.feed(), run_options)

    def arm(self, name: str, when: int) -> None:
        self.armed = name
        runtime.query(f"fail {self.session.group} {name} {when}")

    def disarm(self) -> None:
        runtime.query(f"fail {self.session.group} {self.armed} 0")

    @rule()
    def reset(self) -> None:
        self.session.session.reset()
        self.look()

    @rule(seed=SEEDS, delay=st.integers(0, 400))
    def terminate(self, seed: int, delay: int) -> None:
        """RunOptions.terminate, set before the run or while it runs: it may still succeed."""
        import onnxruntime

        self.picture = changed(np.random.default_rng(seed), self.picture, "all", "normal")
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        timer = threading.Timer(delay * 1e-6, lambda: setattr(options, "terminate", True))
        if delay:
            timer.start()
        else:
            options.terminate = True
        try:
            self.run(self.session, options)
        except Exception as error:
            assert "terminate" in str(error)
        else:
            assert delay
        if delay:
            timer.join()
        self.look()


class NumpyStreams(NumpyHistory):
    streams = True


class NativeStreams(NativeHistory):
    streams = True


def run_machine(machine: type[History]) -> None:
    run_state_machine_as_test(machine, settings=hypothesis.settings(stateful_step_count=15))


def test_numpy_history() -> None:
    run_machine(NumpyHistory)


def test_numpy_streams() -> None:
    run_machine(NumpyStreams)


@needs_library
def test_native_history() -> None:
    run_machine(NativeHistory)


@needs_library
def test_native_streams() -> None:
    run_machine(NativeStreams)
