"""Which matches become regions, and which stay dense for their cost."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from models import Net, chain

from rrm_onnx.errors import ConvertError, LoadError
from rrm_onnx.match import match
from rrm_onnx.normalise.shapes import infer
from rrm_onnx.partition import LEAST_MACS_PER_BORDER_FLOAT, partition
from rrm_onnx.pipeline import convert, examine
from rrm_onnx.types import Normalised, Plan


def plan(model: onnx.ModelProto, skip: tuple[str, ...] = ()) -> Plan:
    source = Normalised(gs.import_onnx(infer(model)), model, model.opset_import[0].version)
    return partition(source.graph, match(source, skip))


def codes(found: Plan) -> dict[str, str]:
    return {name: r.code for name, r in found.refusals.items()}


def heavy(net: Net, x: str, m: int = 16, c: int = 3, name: str = "") -> str:
    """A convolution that is worth any border."""
    return net.conv(x, m, c, k=7, name=name)


def test_one_region() -> None:
    found = plan(chain("Relu"))
    assert len(found.regions) == 1
    region = found.regions[0]
    assert region.nodes == ("conv_a", "conv_b") and region.enters == ("x",) and region.exits == ("y",)
    assert region.macs == 16 * 16 * (8 * 3 * 9 + 4 * 8 * 9)
    assert region.border_elements == 16 * 16 * (3 + 4)
    # the picture and the answer in two layouts each, and the map between
    assert region.state_bytes == 4 * 16 * 16 * (2 * 3 + 8 + 2 * 4)
    assert not found.refusals


def test_a_map_read_for_its_size_crosses_the_border() -> None:
    """It is compared as any other, though in the graph only a Shape reads it, here one that is no part of a region."""
    net = Net(18)
    a = heavy(net, net.input(), name="a")
    size = net.add("Shape", net.input("y", (1, 64, "h", "w")), start=2)
    net.output(heavy(net, net.add("Resize", a, "", "", size, axes=[2, 3], name="it"), 4, 16, name="b"))
    (region,) = plan(net.model()).regions
    assert region.nodes == ("a", "it", "b") and region.enters == ("x", "y")


def test_views_keep_nothing() -> None:
    net = Net()
    a = heavy(net, net.input(), name="a")
    net.output(heavy(net, net.add("Concat", a, a, axis=1), c=32, name="b"))
    (region,) = plan(net.model()).regions
    assert region.state_bytes == 4 * 16 * 16 * (2 * 3 + 16 + 2 * 16)


def test_dense_node_divides() -> None:
    net = Net()
    t = net.add("Hardmax", heavy(net, net.input(), name="a"), axis=1, name="soft")
    net.output(heavy(net, t, 4, 16, name="b"))
    found = plan(net.model())
    assert [r.nodes for r in found.regions] == [("a",), ("b",)]
    assert codes(found) == {"soft": "op-unsupported"}


def test_skip_connection_joins() -> None:
    """A dense node on one of two paths leaves one region, with a border on that path."""
    net = Net()
    a = heavy(net, net.input(), name="a")
    t = net.add("Hardmax", a, axis=1, name="soft")
    net.output(net.add("Concat", heavy(net, a, 16, 16, name="b"), heavy(net, t, 16, 16, name="c"), axis=1, name="cat"))
    found = plan(net.model())
    assert len(found.regions) == 1
    assert found.regions[0].enters == ("x", "t1") and "t0" in found.regions[0].exits


@pytest.mark.parametrize(("m", "size", "inside"), [(256, 1, False), (1024, 1, True), (256, 3, True)])
def test_few_products_of_single_sites(m: int, size: int, inside: bool) -> None:
    """All of them or none: too little is saved where nothing changes, and as little lost where something does."""
    net = Net()
    net.output(net.conv(net.conv(net.input(shape=(1, 512, size, size)), m, 512, 1, name="a"), m, m, 1, name="b"))
    found = plan(net.model())
    assert codes(found) == ({} if inside else {"a": "region-sites", "b": "region-sites"})


def test_region_without_convolution() -> None:
    net = Net()
    t = net.add("Relu", net.add("MaxPool", net.input(), kernel_shape=[2, 2], name="pool"), name="relu")
    net.output(t)
    found = plan(net.model())
    assert not found.regions and codes(found) == {"pool": "region-no-conv", "relu": "region-no-conv"}


def test_region_that_does_not_pay() -> None:
    """A depthwise 3x3 convolution alone: 9 multiply-accumulates for two floats at the borders."""
    net = Net()
    net.output(net.conv(net.input(shape=(1, 8, 16, 16)), 8, 8, group=8, name="thin"))
    found = plan(net.model())
    assert codes(found) == {"thin": "region-cost"}
    assert "4.5 multiply-accumulates" in found.refusals["thin"].reason
    assert LEAST_MACS_PER_BORDER_FLOAT > 4.5


@pytest.mark.parametrize("shape", [(1, 8, 16, 16), ("N", 8, "H", "W")])
def test_cost_without_sizes_is_a_ratio(shape: tuple[int | str, ...]) -> None:
    """Unknown sizes: every map counts as one of the same size, so the same regions pay."""
    net = Net()
    net.output(net.conv(net.input(shape=shape), 8, 8, name="thick"))
    assert len(plan(net.model()).regions) == 1
    net = Net()
    net.output(net.conv(net.input(shape=shape), 8, 8, group=8, name="thin"))
    found = plan(net.model())
    assert not found.regions and "4.5" in found.refusals["thin"].reason


class TestTrim:
    def test_sum_with_a_dense_tensor(self) -> None:
        """conv + dense: the sum at the lower border goes back, one Exit instead of an Enter and an Exit."""
        net = Net()
        soft = net.add("Hardmax", net.input("z", (1, 16, 16, 16)), axis=1, name="soft")
        net.output(net.add("Add", heavy(net, net.input(), name="conv"), soft, name="add"))
        found = plan(net.model())
        assert codes(found) == {"soft": "op-unsupported", "add": "border"}
        assert found.regions[0].exits == ("t1",)

    def test_sum_of_dense_tensors(self) -> None:
        """dense + dense -> conv: the sum at the upper border goes back, one Enter instead of two."""
        net = Net()
        a, b = (net.add("Hardmax", net.input(n, (1, 3, 16, 16)), axis=1, name=f"soft_{n}") for n in "ab")
        net.output(heavy(net, net.add("Add", a, b, name="add"), name="conv"))
        assert codes(plan(net.model()))["add"] == "border"

    def test_preprocessing_stays_inside(self) -> None:
        net = Net()
        t = net.add("Sub", net.input(), net.const(1.0), name="sub")
        net.output(heavy(net, t, name="conv"))
        assert not plan(net.model()).refusals

    def test_resize_stays_inside(self) -> None:
        """Less would cross the border without it, but then all of it would be computed."""
        net = Net()
        t = net.add("Resize", heavy(net, net.input(), name="conv"), "", net.const([1, 1, 2, 2]), name="resize")
        net.output(net.add("Hardmax", t, axis=1, name="soft"))
        assert codes(plan(net.model())) == {"soft": "op-unsupported"}


def test_shape_joins_nothing() -> None:
    """A Shape inside is free, but one of a dense tensor does not enter it."""
    net = Net()
    net.output(heavy(net, net.input(), name="conv"))
    net.output(net.add("Shape", "t0", name="inside"))
    net.output(net.add("Shape", net.add("Hardmax", net.input("z", (1, 3, 4, 4)), axis=1, name="soft"), name="outside"))
    found = plan(net.model())
    assert "inside" in found.matches
    assert "outside" not in found.matches and len(found.regions) == 1


def test_everything_skipped() -> None:
    with pytest.warns(
        UserWarning, match="nothing was converted: 2 convolutions stay dense, 'conv_a' because left dense"
    ):
        model = convert(chain("Relu"), skip=["Conv"])
    assert [n.op_type for n in model.graph.node] == ["Conv", "Relu", "Conv"]


def no_convolution() -> onnx.ModelProto:
    net = Net()
    net.output(net.add("MatMul", net.input(shape=(1, 4)), net.const(np.ones((4, 2)))))
    return net.model()


def test_no_convolution() -> None:
    """The graph stays as it is, and the metadata tells what a conversion wrote."""
    before = no_convolution()
    with pytest.warns(UserWarning, match="the model has no convolution"):
        model = convert(before)
    assert model.graph == before.graph
    assert {p.key for p in model.metadata_props} == {"rrm.version", "rrm.source", "rrm.tolerance", "rrm.report"}
    with pytest.raises(LoadError, match="already converted"):
        convert(model)


def test_no_convolution_and_streams() -> None:
    with pytest.raises(ConvertError, match="nothing to convert, so nothing would read the streams' inputs"):
        convert(no_convolution(), streams=True)


# --- what depends on every site ---------------------------------------------------------------------------------------


def test_a_squeeze_and_excitation_block_names_its_gates() -> None:
    """And a pooled vector that meets a map without a convolution between has none."""
    net = Net()
    a = heavy(net, net.input(), name="a")
    v = net.add("GlobalAveragePool", a, name="squeeze")
    v = net.add("Sigmoid", net.conv(net.add("Relu", net.conv(v, 4, 16, k=1, name="less")), 16, 4, k=1, name="more"))
    b = net.add("Mul", a, v)
    c = net.add("Add", b, net.add("GlobalMaxPool", b, name="bare"))
    net.output(heavy(net, c, c=16, name="b"))
    found = examine(net.model()).globals
    assert [(g.node, g.op_type, g.gates) for g in found] == [
        ("squeeze", "GlobalAveragePool", ("less",)),
        ("bare", "GlobalMaxPool", ()),
    ]
    reported = {d.name: d for d in net.nodes if d.op_type == "Conv"}
    weights = {t.name: t for t in net.inits}
    macs = {name: int(np.prod(weights[n.input[1]].dims)) for name, n in reported.items()}
    sites = 16 * 16
    assert found[1].macs_behind == macs["b"] * sites
    assert found[0].macs_behind == macs["b"] * sites + macs["less"] + macs["more"]
