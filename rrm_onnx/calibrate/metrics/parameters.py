"""Parameters of metrics: how a field of a metric's class is read from text or from a Python value."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from rrm_onnx.common import did_you_mean
from rrm_onnx.errors import MetricError

Reader = Callable[[Any], Any]  # raises ValueError with what is wanted


def parameter(default: Any, read: Reader) -> Any:
    """A dataclass field with its default and the way to read it."""
    return dataclasses.field(default=default, metadata={"read": read})


def fill(metric: type[Any], given: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Arguments for the class `metric`; MetricError for one that it does not have or that is out of range."""
    readers = {f.name: f.metadata["read"] for f in dataclasses.fields(metric)}
    found = {}
    for name, value in given.items():
        if name not in readers:
            hint = did_you_mean(name, readers) if readers else f"write {kind} alone"
            raise MetricError(f"metric {kind} has no parameter {name!r}", hint)
        try:
            found[name] = readers[name](value)
        except (ValueError, TypeError, OverflowError) as error:
            wanted = str(error) if isinstance(error, ValueError) and str(error).startswith("wants") else "is no number"
            raise MetricError(f"metric {kind}: {name}={value} {wanted}") from None
    return found


def number(low: float = -math.inf, high: float = math.inf, above: float = -math.inf) -> Reader:
    """A finite number from `low` to `high`, larger than `above`."""

    def read(value: Any) -> float:
        found = float(value)
        if not (math.isfinite(found) and low <= found <= high and found > above):
            least = f"above {above:g}" if above >= low else f"{low:g} or more"
            limits = f"{least}, up to {high:g}" if math.isfinite(high) else least
            raise ValueError(f"wants a number{', ' + limits if math.isfinite(max(low, above)) else ''}")
        return found

    return read


def whole(low: int = 0) -> Reader:
    """A whole number of at least `low`."""

    def read(value: Any) -> int:
        if not re.fullmatch(r"\d+", str(value)) or int(value) < low:
            raise ValueError(f"wants a whole number, {low} or more")
        return int(value)

    return read


def whole_or_none(value: Any) -> int | None:
    """A whole number of at least 0, or `none`."""
    return None if value in (None, "none") else int(whole()(value))


def flag(value: Any) -> bool:
    """`true` or `false`."""
    if str(value).lower() not in ("true", "false"):
        raise ValueError("wants true or false")
    return str(value).lower() == "true"


def one_of(*words: str) -> Reader:
    """One of these words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"wants {' or '.join(words)}")
        return str(value)

    return read


def outputs(value: Any) -> tuple[int, ...]:
    """Numbers of outputs: `0`, `0+2`, 0 or (0, 2)."""
    parts = value if isinstance(value, tuple | list) else str(value).split("+")
    read = whole()
    try:
        return tuple(dict.fromkeys(read(part) for part in parts))
    except ValueError:
        raise ValueError("wants the number of an output, or several as in 0+2") from None


def pixels(value: Any) -> tuple[int, int]:
    """(width, height), or `WxH`."""
    parts = value if isinstance(value, tuple | list) else re.split("[xX]", str(value))
    read = whole(1)
    try:
        width, height = (read(part) for part in parts)
    except ValueError:
        raise ValueError("wants width x height, as in 640x480") from None
    return width, height
