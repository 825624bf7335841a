"""One operator between Enter and Exit, and the frames that it is fed: a row of the table in cases.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

CHANGES = ("nothing", "pixel", "box", "scatter", "all")


@dataclass(frozen=True)
class Case:
    """One operator, fed a few frames.

    shapes      of the inputs, [N, C, H, W]; the first input changes in every frame, the others in every second
    attributes  of the operator, all of them
    constants   shapes of the constant inputs (weights, bias)
    change      how a frame differs from the one before: one of CHANGES
    threshold   of Enter and, where it has one, of the operator's gate; 0 = exact
    period      of Enter; with more than 1, thresholds are a fifth in every such frame
    data        "normal", "positive" (0.5 to 2), "uint8", or "special": normal with NaN, infinities, denormals and -0
    enter       "planar" or "channels_last": the layout of Enter's input and of Exit's output
    through     "" or "view": the operator reads a ticket of two segments in place of Enter's own
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    attributes: dict[str, Any] = field(default_factory=dict, hash=False)
    constants: tuple[tuple[int, ...], ...] = ()
    change: str = "box"
    threshold: float = 0.0
    data: str = "normal"
    enter: str = "planar"
    through: str = ""
    seed: int = 0
    period: int = 1

    def __str__(self) -> str:
        shown = {k: v for k, v in self.attributes.items() if v not in ([], [0, 0, 0, 0], [1, 1], "NOTSET", "None", 0)}
        parts = [self.op, "+".join("x".join(map(str, s)) for s in self.shapes)]
        parts += [f"{k}={v}".replace(" ", "") for k, v in shown.items()]
        extra = [self.data, self.enter, self.through, f"theta={self.threshold}" if self.threshold else ""]
        extra += [f"period={self.period}" if self.period > 1 else ""]
        return " ".join([*parts, self.change, *(e for e in extra if e not in ("", "normal", "planar"))])


def frames(case: Case, count: int = 5) -> list[list[np.ndarray]]:
    """`count` frames, each a list with one array per input. The third repeats the second, the last is all new."""
    rng = np.random.default_rng(case.seed)
    layout = (0, 2, 3, 1) if case.enter == "channels_last" else (0, 1, 2, 3)
    current = [draw(rng, shape, case.data) for shape in case.shapes]
    out = []
    for t in range(count):
        if t not in (0, 2):
            change = "all" if t == count - 1 and t > 3 else case.change
            moving = range(len(current)) if t % 2 else range(1)
            current = [changed(rng, x, change, case.data) if i in moving else x for i, x in enumerate(current)]
        out.append([np.ascontiguousarray(x.transpose(layout)) for x in current])
    return out


def draw(rng: np.random.Generator, shape: tuple[int, ...], data: str) -> np.ndarray:
    if data == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if data == "positive":
        return rng.uniform(0.5, 2.0, shape).astype(np.float32)
    values = rng.standard_normal(shape, dtype=np.float32)
    if data == "special":
        specials = np.array([np.nan, np.inf, -np.inf, 1e-40, -1e-42, -0.0, 0.0, 3e38], np.float32)
        values = np.where(rng.random(shape) < 0.1, rng.choice(specials, shape), values)
    return values


def changed(rng: np.random.Generator, x: np.ndarray, change: str, data: str) -> np.ndarray:
    """`x` with the sites of pattern `change` moved, each by an amount of its own: some pass a gate, some do not."""
    mask = np.zeros((x.shape[0], 1, *x.shape[2:]), dtype=bool)
    n, _, h, w = mask.shape
    if change == "all":
        mask[:] = True
    elif change == "pixel":
        mask[rng.integers(n), 0, rng.integers(h), rng.integers(w)] = True
    elif change == "box":
        y, x0 = rng.integers(h), rng.integers(w)
        mask[rng.integers(n), 0, y : y + 1 + h // 3, x0 : x0 + 1 + w // 3] = True
    elif change == "scatter":
        mask[:] = rng.random(mask.shape) < 0.1
    fresh = draw(rng, x.shape, data)
    if data == "normal":
        fresh = x + fresh * rng.uniform(0.001, 0.5, mask.shape).astype(np.float32)
    return np.where(mask, fresh, x)
