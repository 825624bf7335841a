"""A metric from what the user wrote: a kind with parameters, a function's name, a callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from rrm_onnx.calibrate.metrics import detectors, maps, values
from rrm_onnx.calibrate.metrics.base import Metric
from rrm_onnx.calibrate.metrics.custom import Custom, load
from rrm_onnx.calibrate.metrics.parameters import fill
from rrm_onnx.common import did_you_mean
from rrm_onnx.distance import Array
from rrm_onnx.errors import MetricError

KINDS: dict[str, type[Any]] = {
    cls.kind: cls
    for cls in (
        values.RelativeL2,
        values.Probabilities,
        detectors.YoloX,
        detectors.YoloV5,
        detectors.YoloV8,
        detectors.Ssd,
        detectors.NanoDet,
        detectors.FastestDet,
        detectors.FinalBoxes,
        maps.KeyPoints,
        maps.Peaks,
        maps.Landmarks,
        maps.Mask,
        maps.ProbabilityMap,
    )
}
"""The class of each kind."""


def make(spec: str | Callable[..., Any] | Metric, *, size: tuple[int, int] | None = None, **parameters: Any) -> Metric:
    """The metric that `spec` names.

    spec: a kind with its parameters (`yolox:threshold=0.3,nms=0.6`), `MODULE:FUNCTION` or `FILE.py:FUNCTION` (the
    working folder is importable), a callable, or a metric. A callable gets (truth, got): the outputs of the original
    and of the converted model on one frame, lists in the model's order; it returns an agreement, 1 = the same answer.
    size: (width, height) of the network's picture; `size=WxH` among the parameters takes its place.
    parameters: more parameters of the kind. Raises MetricError for what is unknown, out of range or not loadable.
    """
    if not isinstance(spec, str):
        return _of_object(spec, parameters)
    head, _, tail = spec.partition(":")
    if head in KINDS:
        return _of_kind(head, tail, size, parameters)
    if ":" not in spec:
        raise MetricError(
            f"no metric is named {spec!r}", f"{did_you_mean(spec, KINDS)} Or name a function: FILE.py:NAME"
        )
    if parameters:
        raise MetricError(f"metric {spec}: a function takes no parameters: {', '.join(parameters)}")
    return Custom(spec, load(spec))


def _of_object(spec: Callable[..., Any] | Metric, parameters: dict[str, Any]) -> Metric:
    if not callable(spec):
        raise MetricError(f"a metric is a name or a callable, not {type(spec).__name__}", did_you_mean("", KINDS))
    if parameters:
        raise MetricError(
            f"a callable takes no parameters: {', '.join(parameters)}", "bind them with functools.partial"
        )
    if not isinstance(spec, type) and hasattr(spec, "is_error") and hasattr(spec, "check"):
        return cast(Metric, spec)
    name = getattr(spec, "__qualname__", type(spec).__name__)
    return Custom(str(name), cast(Callable[[list[Array], list[Array]], Any], spec))


def _of_kind(kind: str, text: str, size: tuple[int, int] | None, more: dict[str, Any]) -> Metric:
    given: dict[str, Any] = {}
    for part in text.split(",") if text else ():
        name, equals, value = part.partition("=")
        if not equals:
            hint = f"write {kind}:name=value; for a function of a module of yours: {kind}.py:{part}"
            raise MetricError(f"metric {kind}: {part!r} is no parameter", hint)
        if name.strip() in given or name.strip() in more:
            raise MetricError(f"metric {kind}: {name.strip()} is given twice")
        given[name.strip()] = value.strip()
    given |= more
    takes_size = "size" in KINDS[kind].__dataclass_fields__
    if takes_size and size is not None:
        given.setdefault("size", size)
    return cast(Metric, KINDS[kind](**fill(KINDS[kind], given, kind)))
