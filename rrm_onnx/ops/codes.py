"""Every code of a refusal, and what it means: stable names for scripts and for the documentation."""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, str] = {
    "arity": "another number of inputs than the rule takes",
    "attribute": "an attribute value that is not supported",
    "axis": "another axis than the one that is supported",
    "border": "would run on resident tensors, but less crosses the region's border without it",
    "broadcast": "operands whose shapes meet in a way that is not supported",
    "channels-unknown": "the number of channels of a map is not known",
    "dtype": "another element type than float32",
    "indices": "the Indices output of a pool is asked for",
    "input-constant": "a constant stands where a feature map is expected",
    "input-missing": "an input that is needed is absent",
    "mode": "a mode that is not supported",
    "op-unsupported": "the operator has no counterpart on resident tensors",
    "pads": "pads that are not supported",
    "parameter-not-constant": "a parameter is computed by the graph",
    "quantised": "the weights are quantised",
    "rank": "a tensor of another rank than the one that is supported",
    "region-cost": "its region does too little work for what crosses its borders",
    "region-no-conv": "its region holds no convolution, nothing would be saved",
    "shape": "shapes that do not fit",
    "size-unknown": "height and width are needed and not known",
    "skipped": "left dense as asked",
    "step": "a slice with a step",
    "weight-not-constant": "a weight is computed or an input of the graph",
}
