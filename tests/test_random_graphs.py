"""Random graphs: a few of what `python tests/soak.py` runs by the thousand, shrunk where one fails."""

from __future__ import annotations

import soak
from hypothesis import given, settings
from hypothesis import strategies as st
from native import needs_library
from random_graphs import drawn, random_frames, random_graph

pytestmark = needs_library


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_random_graph_keeps_every_promise(data: st.DataObject) -> None:
    choose, seed = drawn(data)
    model, shape = random_graph(choose, seed)
    soak.check(model, random_frames(choose, shape, seed, 4))


def test_seeds_give_the_same_graph_again() -> None:
    first, second = (random_graph(soak.seeded(7), 7)[0].SerializeToString() for _ in range(2))
    assert first == second != random_graph(soak.seeded(8), 8)[0].SerializeToString()
