"""Chains of views (Concat, Gather, Slice, Split over channels) of any kind between convolutions: whatever of them gets
another order of channels, the network computes what it did."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Net
from normalised import same_function
from random_graphs import Choose, drawn

WIDEST = 40  # channels of a Concat


def sliced(net: Net, x: str, first: int, end: int) -> str:
    return net.add("Slice", x, *(net.const([v], np.int64) for v in (first, end, 1, 1)))


def test_what_is_picked_from_a_view_follows_its_order() -> None:
    """The channels of b are put in another order, so a join of a's and b's is another one, too; what takes from that
    join only channels of a, which stay, has to look for them elsewhere all the same."""
    net = Net(13)
    x = net.input(shape=(1, 3, 12, 14))
    a, b = net.conv(x, 8), net.conv(x, 8)
    mixed = net.add("Gather", b, net.const(np.arange(8).reshape(4, 2).T.ravel(), np.int64), axis=1)
    net.add("Split", mixed, net.const([4, 4], np.int64), outputs=["h0", "h1"], axis=1)
    for k in range(2):
        net.output(net.conv(f"h{k}", 4, 4, out=f"y{k}"))
    joined = net.add("Concat", sliced(net, a, 0, 4), b, sliced(net, a, 4, 8), axis=1)
    net.output(net.conv(joined, 4, 16, out="z"))
    net.output(net.conv(sliced(net, joined, 12, 16), 4, 4, out="w"))
    same_function(net.model())


class Maps:
    """A network under construction: maps to take from, and how many channels they have."""

    def __init__(self, choose: Choose, seed: int) -> None:
        self.choose, self.net = choose, Net(13, seed)
        x = self.net.input(shape=(1, 3, 8, 6))
        self.all = [(self.net.conv(x, c), c) for c in (choose([4, 6, 8]), choose([4, 6, 8]))]

    def add(self, *made: tuple[str, int]) -> None:
        self.all += made

    def step(self) -> None:
        """One more node on a map that is there."""
        x, c = self.choose(self.all)
        kinds = (self.gather, self.split, self.slice, self.concat, self.concat, self.convolve, self.change)
        self.choose(list(kinds))(x, c)

    def gather(self, x: str, c: int) -> None:
        columns = self.choose([k for k in range(1, c + 1) if c % k == 0])
        order = np.arange(c).reshape(-1, columns).T.ravel()[: self.choose([c, max(c // 2, 1)])]
        self.add((self.net.add("Gather", x, self.net.const(order, np.int64), axis=1), order.size))

    def split(self, x: str, c: int) -> None:
        first = self.choose(range(1, c)) if c > 1 else 0
        if first:
            parts = [f"{x}/{len(self.all)}/{k}" for k in "ab"]
            self.net.add("Split", x, self.net.const([first, c - first], np.int64), outputs=parts, axis=1)
            self.add((parts[0], first), (parts[1], c - first))

    def slice(self, x: str, c: int) -> None:
        first = self.choose(range(c))
        end = self.choose(range(first + 1, c + 1))
        self.add((sliced(self.net, x, first, end), end - first))

    def concat(self, x: str, c: int) -> None:
        others = [self.choose(self.all) for _ in range(self.choose([1, 2]))]
        if c + sum(n for _, n in others) <= WIDEST:
            joined = self.net.add(
                "Concat", *self.choose([[x, *(y for y, _ in others)], [*(y for y, _ in others), x]]), axis=1
            )
            self.add((joined, c + sum(n for _, n in others)))

    def convolve(self, x: str, c: int) -> None:
        out = self.choose([4, 8])
        self.add(
            self.choose([(self.net.conv(x, out, c, self.choose([1, 3])), out), (self.net.conv(x, c, c, group=c), c)])
        )

    def change(self, x: str, c: int) -> None:
        scaled = self.net.add("Mul", x, self.net.const(self.net.rng.normal(1, 0.3, (1, c, 1, 1))))
        self.add((self.net.add("Relu", scaled), c))

    def model(self) -> onnx.ModelProto:
        for k, (x, c) in enumerate([self.all[-1], *(self.choose(self.all) for _ in range(3))]):
            self.net.output(self.net.conv(x, 3, c, self.choose([1, 3]), out=f"o{k}"))
        return self.net.model()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_random_chains_of_views(data: st.DataObject) -> None:
    choose, seed = drawn(data)
    maps = Maps(choose, seed)
    for _ in range(choose([4, 6, 8, 10])):
        maps.step()
    same_function(maps.model())
