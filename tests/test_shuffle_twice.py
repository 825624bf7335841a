"""A reshape of computed size directly behind a channel shuffle of computed size."""

from __future__ import annotations

import numpy as np
from models import Net
from native import Native, Plain, needs_library

import rrm_onnx


@needs_library
def test_a_reshape_behind_a_shuffle() -> None:
    net = Net()
    x = net.conv(net.input(shape=(1, 3, "h", "w")), 16, k=7)

    def size(*front: int) -> str:
        part = net.add("Slice", net.add("Shape", x), *(net.const([v], np.int64) for v in (2, 4, 0)))
        return net.add("Concat", net.const(front, np.int64), part, axis=0)

    y = net.add("Reshape", x, size(1, 2, 8))
    y = net.add("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = net.add("Reshape", net.add("Reshape", y, size(1, 16)), size(1, 16))
    net.output(net.conv(y, 8, 16, k=7))
    model = net.model()
    session, plain = Native(rrm_onnx.convert(model)), Plain(model)
    x0 = np.random.default_rng(4).normal(size=(1, 3, 12, 14)).astype(np.float32)
    np.testing.assert_allclose(session.run([x0])[0], plain.run([x0])[0], rtol=1e-4, atol=1e-5)
