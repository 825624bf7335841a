"""A convolution takes over the addition behind it: Conv and SeparableConv become ConvAdd and SeparableConvAdd.

The sum is then made while the convolution's rows are at hand, and the rows before it need not be kept. A changed
addend makes the convolution compute its site, and the only gate stands behind the sum. So this is for exact
convolutions: under a tolerance the gate in front of the sum is what keeps a site from being computed.
"""

from __future__ import annotations

from dataclasses import replace

from rrm_onnx.types import EdgeFact, Match

TAKE_ADDENDS = ("Conv", "SeparableConv")


def with_addend(convolution: Match, addition: Match, addend: str, fact: EdgeFact) -> Match | None:
    """One match for both; None where they do not fit. `addend`: the other input of the addition, with its fact."""
    if len(convolution.emits) != 1 or len(addition.emits) != 1:
        return None
    (before,), (after,) = convolution.emits, addition.emits
    out = convolution.facts[before.outputs[0]]
    sizes = (out.batch, out.channels, out.height, out.width)
    same = sizes == (fact.batch, fact.channels, fact.height, fact.width) and None not in sizes[1:]
    if before.op not in TAKE_ADDENDS or before.attributes["activation"] != "None" or not same:
        return None
    if after.op != "Binary" or after.attributes["op"] != "Add":
        return None
    activation = {k: after.attributes[k] for k in ("activation", "activation_params")}
    emitted = replace(
        before,
        op=f"{before.op}Add",
        inputs=(*before.inputs, addend),
        outputs=after.outputs,
        attributes={**before.attributes, **activation},
    )
    absorbed = (convolution.node, *convolution.absorbed, *addition.absorbed)
    return replace(convolution, node=addition.node, emits=(emitted,), facts=addition.facts, absorbed=absorbed)
