"""Every code of a refusal, what it means and what can be done: stable names for scripts and for the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """meaning: why the node stays dense; remedy: what a user can do about it."""

    meaning: str
    remedy: str


NOTHING = "nothing: the node runs as before, between two converted parts"
EXPORT = "where it matters, export the model with another spelling of the operator"

CODES: Mapping[str, Code] = {
    "arity": Code("another number of inputs than the rule takes", "chain nodes of two inputs instead"),
    "attribute": Code("an attribute value that is not supported", EXPORT),
    "axis": Code(
        "another axis than the one that is supported",
        "keep maps as (N, C, H, W): a model that works on NHWC inside converts better once exported as NCHW",
    ),
    "border": Code(
        "would run on resident tensors, but less crosses the region's border without it",
        "nothing: this is the faster choice",
    ),
    "broadcast": Code("operands whose shapes meet in a way that is not supported", EXPORT),
    "channels-unknown": Code("the number of channels of a map is not known", "give the input's shape (--input-shape)"),
    "dtype": Code("another element type than float32", "export the model in float32"),
    "indices": Code("the Indices output of a pool is asked for", NOTHING),
    "input-constant": Code("a constant stands where a feature map is expected", NOTHING),
    "input-missing": Code("an input that is needed is absent", "check the model: the operator needs this input"),
    "mode": Code("a mode that is not supported", EXPORT),
    "op-unsupported": Code("the operator has no counterpart on resident tensors", NOTHING),
    "pads": Code("pads that are not supported", EXPORT),
    "parameter-not-constant": Code(
        "a parameter is computed by the graph",
        "give the input's shape (--input-shape): what follows from it then becomes a constant",
    ),
    "quantised": Code("the weights are quantised", "convert the float32 model instead of the quantised one"),
    "rank": Code("a tensor of another rank than the one that is supported", NOTHING),
    "region-cost": Code(
        "its region does too little work for what crosses its borders",
        "nothing: dense is the faster choice; where nodes beside it stay dense for another reason, look at that one",
    ),
    "region-no-conv": Code(
        "its region holds no convolution, nothing would be saved", "nothing: dense is the faster choice"
    ),
    "region-sites": Code(
        "every map of its region is a single site, of little work", "nothing: dense is the faster choice"
    ),
    "shape": Code("shapes that do not fit", "check the model: the operator's inputs do not belong together"),
    "size-unknown": Code("height and width are needed and not known", "give the input's shape (--input-shape)"),
    "skipped": Code("left dense as asked", "leave --skip out"),
    "step": Code("a slice with a step", NOTHING),
    "weight-not-constant": Code(
        "a weight is computed or an input of the graph", "freeze the weights into the model before you convert it"
    ),
}
