"""Nearest upsampling that a model spells out is one operator; what repeats in another order stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from models import Net
from normalised import between, same_function

Form = Callable[[Net, str], str]


def i64(n: Net, *values: int) -> str:
    return n.const(values, np.int64)


def by_concat(n: Net, x: str) -> str:
    """Every element beside itself, then every row of the map."""
    t = n.add("Reshape", x, i64(n, -1, 1))
    t = n.add("Reshape", n.add("Concat", t, t, axis=1), i64(n, -1, 32))
    return n.add("Reshape", n.add("Concat", t, t, axis=1), i64(n, -1, 8, 32, 32))


def by_expand(n: Net, x: str) -> str:
    t = n.add("Unsqueeze", x, i64(n, 3, 5)) if n.opset >= 13 else n.add("Unsqueeze", x, axes=[3, 5])
    return n.add("Reshape", n.add("Expand", t, i64(n, 1, 8, 16, 2, 16, 3)), i64(n, 1, 8, 32, 48))


def by_tile(n: Net, x: str) -> str:
    t = n.add("Reshape", x, i64(n, 1, 8, 16, 1, 16, 1))
    return n.add("Reshape", n.add("Tile", t, i64(n, 1, 1, 1, 3, 1, 1)), i64(n, 1, 8, 48, 16))


@pytest.mark.parametrize("form", [by_concat, by_expand, by_tile])
@pytest.mark.parametrize("opset", [8, 9, 10, 11, 13])
def test_repeated_sites_are_a_resize(form: Form, opset: int) -> None:
    found = same_function(between(form, opset))
    assert found == {"Conv": 2, "Upsample" if opset < 10 else "Resize": 1}


def whole_map_again(n: Net, x: str) -> str:
    return n.add("Tile", x, i64(n, 1, 1, 1, 2))


def other_channels(n: Net, x: str) -> str:
    t = n.add("Reshape", x, i64(n, 1, 2, 4, 16, 16))
    t = n.add("Transpose", t, perm=[0, 2, 1, 3, 4])
    t = n.add("Reshape", t, i64(n, 1, 8, 16, 16, 1))
    return n.add("Reshape", n.add("Tile", t, i64(n, 1, 1, 1, 1, 2)), i64(n, 1, 8, 16, 32))


def beside_another(n: Net, x: str) -> str:
    t, u = (n.add("Reshape", y, i64(n, -1, 1)) for y in (x, n.add("Relu", x)))
    return n.add("Reshape", n.add("Concat", t, u, axis=1), i64(n, 1, 8, 16, 32))


@pytest.mark.parametrize("form", [whole_map_again, other_channels, beside_another])
def test_other_copies_stay(form: Form) -> None:
    found = same_function(between(form))
    assert found["Resize"] == 0
