"""Maximum pools of several sizes over one map, as spatial pyramids have them: each over the one before.

The maximum over a window of 9 is the maximum over 5 neighbours of what a window of 5 made, and so on: at stride 1 and
with windows centred on their site, windows of 5, 9 and 13 take 25 comparisons each instead of 25, 81 and 169.
"""

from __future__ import annotations

from itertools import pairwise

import onnx_graphsurgeon as gs


def chain_pools(graph: gs.Graph, opset: int) -> None:
    """Rewrite all pools but the smallest of each map. Values, and which sites a change reaches, stay the same."""
    for tensor in [t for n in graph.nodes for t in n.outputs] + list(graph.inputs):
        pools = sorted(((reach(n), n) for n in tensor.outputs if is_centred(n)), key=lambda p: p[0])
        for (near, smaller), (far, larger) in pairwise(pools):
            step = far - near
            if step > 0 and near > 0:
                larger.inputs[0] = smaller.outputs[0]
                larger.attrs["kernel_shape"] = [2 * step + 1] * 2
                larger.attrs["pads"] = [step] * 4


def reach(pool: gs.Node) -> int:
    """Sites from a centred window's middle to its end."""
    return int(pool.attrs["kernel_shape"][0]) // 2


def is_centred(node: gs.Node) -> bool:
    """Whether a node is a MaxPool with a square window around each site, of which only the values are asked for."""
    if node.op != "MaxPool" or node.domain or len(node.outputs) != 1:
        return False
    kernel = [int(k) for k in node.attrs["kernel_shape"]]
    half = kernel[0] // 2
    return (
        kernel == [2 * half + 1] * 2
        and [int(p) for p in node.attrs.get("pads", ())] == [half] * 4
        and all(int(v) == 1 for key in ("strides", "dilations") for v in node.attrs.get(key, (1, 1)))
        and node.attrs.get("auto_pad", "NOTSET") == "NOTSET"
    )
