"""activate: accuracy of the functions, special values, the same bits wherever an element stands."""

import math

import numpy as np
import pytest
from guarded import address, guarded, same_bits
from kernel_api import ACTIVATIONS, Activation, Kernels

LENGTHS = [1, 3, 7, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100, 129]
SLOPE, OFFSET = np.float32(0.2), np.float32(0.5)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def line(x: np.ndarray) -> np.ndarray:
    return np.clip(float(SLOPE) * x + float(OFFSET), 0, 1)


ERF = np.vectorize(math.erf, otypes=[np.float64])
FORMULAS = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x < 0, float(SLOPE) * x, x),
    "clip": lambda x: np.clip(x, float(SLOPE), float(OFFSET)),
    "sigmoid": sigmoid,
    "hard_sigmoid": line,
    "hard_swish": lambda x: x * line(x),
    "silu": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2))),
    "elu": lambda x: np.where(x < 0, float(SLOPE) * np.expm1(np.minimum(x, 0)), x),
    "abs": np.abs,
    "neg": np.negative,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "log": np.log,
    "square": np.square,
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "erf": ERF,
    "softplus": softplus,
    "mish": lambda x: x * np.tanh(softplus(x)),
    "sign": np.sign,
}
# Largest error relative to the result; where a sum cancels, relative to the size of the sum's terms instead.
RELATIVE = {
    "sigmoid": 5e-7,
    "silu": 5e-7,
    "exp": 5e-7,
    "log": 1.5e-7,
    "none": 0,
    "abs": 0,
    "neg": 0,
    "relu": 0,
    "clip": 0,
    "sign": 0,
}
CANCELS = {"hard_sigmoid": 1.0, "hard_swish": 1.0, "gelu": 1.0, "gelu_tanh": 1.0}


def apply(table: Kernels, name: str, x: np.ndarray, shift: int = 0, slopes: np.ndarray | None = None) -> np.ndarray:
    """The function over rows [sites, c] in guarded memory."""
    x = guarded(x, shift)
    sites, c = x.shape
    act = Activation(ACTIVATIONS.index(name), float(SLOPE), float(OFFSET), address(slopes))
    table.activate(address(x), sites, c, act)
    return x.copy()


def samples(name: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    x = np.concatenate([np.linspace(-30, 30, 6001), rng.standard_normal(2000), rng.standard_normal(500) * 1e-3])
    x = np.concatenate([x, np.linspace(-87, 88, 701), [0.0, 1e-30, -1e-30]]).astype(np.float32)
    if name == "log":  # the whole range, and finely where the logarithm is next to nothing
        x = np.concatenate([np.exp(np.linspace(-87.3, 88.7, 4001)), np.exp(np.linspace(-1, 1, 4001))])
        return np.concatenate([x, 1 + np.linspace(-1, 1, 2001) * 1e-4]).astype(np.float32)
    return np.abs(x) if name == "sqrt" else x


@pytest.mark.parametrize("name", FORMULAS)
def test_accuracy(level: Kernels, reference: Kernels, name: str) -> None:
    x = samples(name)
    want = FORMULAS[name](x.astype(np.float64))
    # below 1e-34 the saturating functions may end early: nothing near it is left of a float's usual range
    size = np.maximum(np.abs(want), 1e-34)
    if name in CANCELS:
        size = np.maximum(size, np.abs(x) if name != "hard_sigmoid" else CANCELS[name])
    bound = RELATIVE.get(name, 1e-6) * size + 2e-36
    assert (np.abs(apply(level, name, x[:, None])[:, 0] - want) <= bound).all()
    assert (np.abs(apply(reference, name, x[:, None])[:, 0] - want) <= 1e-7 * size + 2e-36).all()


INF, NAN = math.inf, math.nan
SPECIAL = {  # function of -inf, -1000, 1000, inf, NaN; None: not specified
    "relu": (0, 0, 1000, INF, NAN),
    "leaky_relu": (-INF, -1000 * float(SLOPE), 1000, INF, NAN),
    "clip": (float(SLOPE), float(SLOPE), float(OFFSET), float(OFFSET), NAN),
    "sigmoid": (0, 0, 1, 1, NAN),
    "hard_sigmoid": (0, 0, 1, 1, NAN),
    "hard_swish": (None, 0, 1000, INF, NAN),
    "silu": (0, 0, 1000, INF, NAN),
    "tanh": (-1, -1, 1, 1, NAN),
    "gelu": (0, 0, 1000, INF, NAN),
    "elu": (-float(SLOPE), -float(SLOPE), 1000, INF, NAN),
    "abs": (INF, 1000, 1000, INF, NAN),
    "neg": (INF, 1000, -1000, -INF, NAN),
    "exp": (0, 0, INF, INF, NAN),
    "sqrt": (NAN, NAN, math.sqrt(1000), INF, NAN),
    "square": (INF, 1e6, 1e6, INF, NAN),
    "log": (NAN, NAN, math.log(1000), INF, NAN),
    "gelu_tanh": (0, 0, 1000, INF, NAN),
    "erf": (-1, -1, 1, 1, NAN),
    "softplus": (0, 0, 1000, INF, NAN),
    "mish": (0, 0, 1000, INF, NAN),
    "sign": (-1, -1, 1, 1, NAN),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(level: Kernels, name: str) -> None:
    x = np.array([[-INF, -1000, 1000, INF, NAN]], np.float32)
    out = apply(level, name, x)[0]
    for value, want in zip(out, SPECIAL[name], strict=True):
        if want is not None:
            np.testing.assert_allclose(value, want, rtol=1e-6, atol=1e-30)


def test_exp_at_the_ends_of_its_range(level: Kernels) -> None:
    x = np.array([[88.72283, 88.72284, 88.5, -87.3365, -87.33656, -100]], np.float32)
    out = apply(level, "exp", x)[0]
    with np.errstate(over="ignore", under="ignore"):
        want = np.exp(x[0].astype(np.float64)).astype(np.float32)
    want[np.abs(want) < np.finfo(np.float32).tiny] = 0
    np.testing.assert_allclose(out, want, rtol=5e-7)


def test_log_at_the_ends_of_its_range(level: Kernels) -> None:
    """Denormals of either sign count as zero; one is exact."""
    tiny = np.finfo(np.float32).tiny
    x = np.array([[0, -0.0, tiny / 2, -tiny / 2, tiny, 1, np.finfo(np.float32).max, -tiny, -1]], np.float32)
    want = np.array([-INF] * 4 + [math.log(tiny), 0, math.log(np.finfo(np.float32).max), NAN, NAN])
    np.testing.assert_allclose(apply(level, "log", x)[0], want, rtol=1.5e-7)


@pytest.mark.parametrize("name", FORMULAS)
def test_bits_do_not_depend_on_the_place(level: Kernels, name: str) -> None:
    x = samples(name)[::23][:129]
    whole = apply(level, name, x[:, None])[:, 0]
    for length in LENGTHS:
        for shift in range(4):
            start = (7 * shift) % (x.size - length + 1)
            part = apply(level, name, x[None, start : start + length], shift)[0]
            assert same_bits(part, whole[start : start + length])


@pytest.mark.parametrize("c", LENGTHS)
def test_prelu(level: Kernels, c: int) -> None:
    rng = np.random.default_rng(c)
    slopes = guarded(rng.standard_normal(c, np.float32))
    for sites in (1, 2, 5, 33):
        x = rng.standard_normal((sites, c), np.float32)
        assert same_bits(apply(level, "prelu", x, c % 4, slopes), np.where(x < 0, x * slopes, x))
