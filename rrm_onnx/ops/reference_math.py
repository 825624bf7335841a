"""Index arithmetic and formulas of the NumPy definitions. Written apart from `rrm_onnx.geometry`, to check it.

An axis of `Taps` is an int array [outputs, taps]: the input index that each tap of each output reads, -1 for none.
What an output site reads is the product of two axes for every operator of the domain, so one function spreads changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Axis = npt.NDArray[np.int64]
Wide = npt.NDArray[np.float64]


class Taps(tuple[Axis, Axis]):
    """The rows and the columns that each output site reads: two axes, [H', taps] and [W', taps]."""

    @staticmethod
    def same(size: int, out: int) -> Axis:
        """Each output reads its own index, or the only one where the input has size 1."""
        return (np.arange(out) if size == out else np.zeros(out, np.int64))[:, None]


def reach(changed: npt.NDArray[np.bool_], taps: Taps) -> npt.NDArray[np.bool_]:
    """The output sites [H', W'] that read a changed input site [H, W]."""
    padded = np.pad(changed, ((0, 1), (0, 1)))  # index -1 finds the appended False
    rows = np.asarray(padded[taps[0]].any(axis=1))
    return np.asarray(rows[:, taps[1]].any(axis=2))


def tap(padded: npt.NDArray[Any], taps: Taps, i: int, j: int) -> npt.NDArray[Any]:
    """What tap (i, j) reads at every output site: [H', W', C], from a map that went through `pad_once`."""
    return padded[taps[0][:, i]][:, taps[1][:, j]]


def pad_once(fmap: npt.NDArray[np.float32], value: float) -> npt.NDArray[np.float32]:
    """One row and one column of `value` appended, where index -1 lands."""
    return np.pad(fmap, ((0, 1), (0, 1), (0, 0)), constant_values=value)


def window_output(size: int, kernel: int, stride: int, pads: tuple[int, int], dilation: int, ceil: bool) -> int:
    """Number of windows along an axis. With `ceil` a last one counts if it begins inside the input or its head pad."""
    room = size + sum(pads) - ((kernel - 1) * dilation + 1)
    out = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (out - 1) * stride >= size + pads[0]:
        out -= 1
    return out


def resolve_pads(
    size: int, kernel: int, stride: int, pads: tuple[int, int], dilation: int, auto_pad: str
) -> tuple[int, int]:
    """Padding before and after along one axis, by ONNX's `auto_pad`."""
    if auto_pad == "NOTSET":
        return pads
    if auto_pad == "VALID":
        return 0, 0
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    half = total // 2
    return (half, total - half) if auto_pad == "SAME_UPPER" else (total - half, half)


def window_axis(size: int, out: int, kernel: int, stride: int, pad: int, dilation: int) -> Axis:
    """Tap k of output o reads input `o*stride - pad + k*dilation`."""
    at = np.arange(out)[:, None] * stride - pad + np.arange(kernel) * dilation
    return np.where((at >= 0) & (at < size), at, -1)


def transposed_axis(size: int, out: int, kernel: int, stride: int, pad: int, dilation: int) -> Axis:
    """Tap k of output o reads input `(o + pad - k*dilation) / stride` where that is a whole number."""
    at = np.arange(out)[:, None] + pad - np.arange(kernel) * dilation
    return np.where((at % stride == 0) & (at >= 0) & (at // stride < size), at // stride, -1)


def _erf(x: Wide) -> Wide:
    return np.vectorize(math.erf, otypes=[np.float64])(x) if x.size else x


def _softplus(x: Wide) -> Wide:
    return np.logaddexp(0.0, x)


def _sigmoid(x: Wide) -> Wide:
    return 1.0 / (1.0 + np.exp(-x))


def _hard_sigmoid(x: Wide, alpha: float, beta: float) -> Wide:
    return np.clip(alpha * x + beta, 0.0, 1.0)


ACTIVATIONS: dict[str, Callable[..., Wide]] = {
    "None": lambda x: x,
    "Relu": lambda x: np.maximum(x, 0.0),
    "LeakyRelu": lambda x, alpha: np.where(x < 0, alpha * x, x),
    "PRelu": lambda x, *slope: np.where(x < 0, x * np.array(slope), x),
    "Clip": lambda x, low, high: np.clip(x, low, high),
    "Sigmoid": _sigmoid,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x, alpha, beta: x * _hard_sigmoid(x, alpha, beta),
    "Silu": lambda x: x * _sigmoid(x),
    "Tanh": np.tanh,
    "Gelu": lambda x: 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))),
    "GeluTanh": lambda x: 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
    "Elu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x),
    "Abs": np.abs,
    "Neg": np.negative,
    "Exp": np.exp,
    "Log": np.log,
    "Square": np.square,
    "Sqrt": np.sqrt,
    "Erf": _erf,
    "Softplus": _softplus,
    "Sign": np.sign,
    "Mish": lambda x: x * np.tanh(_softplus(x)),
}

ARITHMETIC: dict[str, Callable[[Wide, Wide], Wide]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Pow": np.power,
}


def activate(x: npt.NDArray[np.floating], kind: str, params: Sequence[float]) -> npt.NDArray[np.float32]:
    """Activation `kind` of `x` [..., C], computed in double and rounded. KeyError for an unknown kind."""
    with np.errstate(all="ignore"):
        return ACTIVATIONS[kind](x.astype(np.float64), *params).astype(np.float32)


def arithmetic(op: str, a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """`a op b` with NumPy broadcasting, in double and rounded. KeyError for an unknown operator."""
    with np.errstate(all="ignore"):
        return ARITHMETIC[op](a.astype(np.float64), b.astype(np.float64)).astype(np.float32)
