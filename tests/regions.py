"""Models of several Regions, and the rules for what `pack` makes of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import onnx
from case import changed
from models import Net, rrm_nodes
from onnx import TensorProto, helper

from rrm_onnx import emit
from rrm_onnx.pack import is_region, nodes_of, unpack

MAP = (None,) * 4


def between(net: Net, x: str) -> None:
    """Dense nodes between the parts: what is made in one Region is read in the two behind it, and leaves as well."""
    a = net.add("Relu", net.conv(x, 16, name="a"))
    b = net.conv(net.add("Hardmax", a, axis=1), 16, 16, name="b")
    c = net.conv(net.add("Hardmax", net.add("Add", a, b), axis=1), 16, 16, name="c")
    net.output(net.conv(net.add("Concat", a, c, axis=1), 4, 32, name="d"), MAP)
    net.output(b, MAP)


def captured(net: Net, x: str) -> None:
    """The bodies of an If read what the first Region makes; the last one reads what the If gives."""
    a = net.conv(x, 16, name="a")
    bodies = []
    for op in ("Exp", "Neg"):
        out = helper.make_tensor_value_info(op, TensorProto.FLOAT, ["n", 16, "h", "w"])
        bodies.append(helper.make_graph([helper.make_node(op, [a], [op], op)], op, [], [out]))
    bright = net.add("Greater", net.add("ReduceMax", "x", keepdims=0), net.const(2.5))
    chosen = net.add("If", bright, then_branch=bodies[0], else_branch=bodies[1])
    net.output(net.add("Add", net.conv(chosen, 16, 16, name="b"), net.conv(a, 16, 16, name="c")), MAP)


def sizes(net: Net, x: str) -> None:
    """The size of a map leaves, its rows do not; beside it a layer behind dense nodes, which waits for no Region."""
    a = net.conv(x, 16, name="a")
    net.output(net.add("Cast", net.add("Shape", a), to=TensorProto.FLOAT), (4,))
    net.output(net.conv(a, 4, 16, name="b"), MAP)
    net.output(net.conv(net.add("Hardmax", net.add("Hardmax", x, axis=1), axis=1), 4, 3, name="c"), MAP)


def large(net: Net, x: str) -> None:
    """Work enough for several threads, in one Region."""
    a = net.conv(x, 32, name="a")
    b = net.conv(net.add("Relu", a), 32, 32, name="b")
    net.output(net.conv(net.add("Add", a, net.conv(b, 32, 32, name="c")), 32, 32, name="d"), MAP)


def heavy(net: Net, x: str) -> None:
    """Weights that threads share by columns where few sites are active; what changed is told from one to the next."""
    a = net.conv(x, 168, name="a")
    b = net.conv(net.add("Relu", a), 210, 168, name="b")
    c = net.conv(b, 210, 210, name="c")
    w = net.const(np.random.default_rng(2).normal(size=(210, 3, 4, 4)).astype(np.float32) / 60)
    net.output(net.add("ConvTranspose", net.add("Add", b, c), w, strides=[2, 2], pads=[1, 1, 1, 1]), MAP)


BUILD: dict[str, Callable[[Net, str], None]] = {f.__name__: f for f in (between, captured, sizes, large, heavy)}
REGIONS = {"between": 3, "captured": 2, "sizes": 1, "large": 1, "heavy": 1}


def model_of(name: str) -> onnx.ModelProto:
    net = Net()
    BUILD[name](net, net.input(shape=("n", 3, "h", "w")))
    return net.model()


CHANGES = ("nothing", "box", "scatter", "nothing", "pixel", "box", "all", "all")


def pictures(name: str, batch: int = 1, changes: Iterable[str] = CHANGES) -> Iterator[np.ndarray]:
    """Frames between which a little changes, nothing, and at last everything."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(batch, 3, *((48, 48) if name == "large" else (16, 12)))).astype(np.float32)
    for change in changes:
        x = changed(rng, x, change, "normal")
        yield x


def regions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [n for n in model.graph.node if is_region(n)]


# --- the rules --------------------------------------------------------------------------------------------------------


def check_packed(flat: onnx.ModelProto, packed: onnx.ModelProto) -> None:
    """The rules for a model and what `pack` made of it."""
    emit.check(packed)
    assert verdict(packed) == verdict(flat)
    assert rrm_nodes(packed) and {n.op_type for n in packed.graph.node if n.domain == "rrm"} == {"Region"}
    assert len(regions(packed)) == fewest_regions(flat)
    outer = {o for n in packed.graph.node for o in n.output}
    types = {v.name: v.type.tensor_type.elem_type for v in (*packed.graph.value_info, *packed.graph.output)}
    assert {v.name for v in packed.graph.value_info} <= outer
    for node in rrm_nodes(flat):
        if node.output[0] in outer:
            assert types[node.output[0]] == (TensorProto.FLOAT if node.op_type == "Exit" else TensorProto.INT64)
    back = unpack(packed)
    emit.check(back)
    assert serialized(back.graph.node) == serialized(flat.graph.node)
    assert serialized(nodes_of(packed)) == serialized(flat.graph.node)
    known = {v.name for v in flat.graph.value_info}
    assert [v for v in back.graph.value_info if v.name in known] == list(flat.graph.value_info)
    for model in (packed, back):  # all the rest is equal
        rest = onnx.ModelProto.FromString(model.SerializeToString())
        for field in ("node", "value_info"):
            rest.graph.ClearField(field)
            getattr(rest.graph, field).extend(getattr(flat.graph, field))
        assert rest == flat


def verdict(model: onnx.ModelProto) -> str:
    """What onnx' checker has against it."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        return str(error)
    return ""


def serialized(nodes: Iterable[onnx.NodeProto]) -> list[bytes]:
    return sorted(n.SerializeToString(deterministic=True) for n in nodes)


def fewest_regions(flat: onnx.ModelProto) -> int:
    """How many turns rrm nodes get where they and dense ones take turns, and as many as can run in each."""
    made = {o for n in flat.graph.node for o in n.output}
    left, done, own, turns = {n.name: n for n in flat.graph.node}, set[str](), False, 0
    while left:
        before = len(left)
        while ran := [n for n in left.values() if (n.domain == "rrm") == own and reads(n) & made <= done]:
            done |= {o for n in ran for o in n.output}
            left = {name: n for name, n in left.items() if done.isdisjoint(n.output)}
        turns += own and len(left) < before
        own = not own
    return turns


def reads(node: onnx.NodeProto) -> set[str]:
    return {*node.input, *emit.captured([node])}
