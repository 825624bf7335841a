"""Window arithmetic against a naive loop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rrm_onnx.geometry import Window, axis_pads, extent, reach, same_pads, transposed_size, window_size

windows = st.builds(
    lambda k, s, p, d: Window((k, 1), (s, 1), (p[0], 0, p[1], 0), (d, 1)),
    st.integers(1, 5),
    st.integers(1, 4),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.integers(1, 3),
)


def taps(window: Window, size: int, out: int) -> list[int]:
    """Input positions that output position `out` reads, padding included (negative, or size and above)."""
    begin, _ = axis_pads(window, 0, size)
    return [out * window.strides[0] + k * window.dilations[0] - begin for k in range(window.kernel[0])]


@given(windows, st.integers(1, 20))
def test_size_is_the_number_of_whole_windows(window: Window, size: int) -> None:
    begin, end = axis_pads(window, 0, size)
    if extent(window.kernel[0], window.dilations[0]) > size + begin + end:
        return
    count = 0
    while taps(window, size, count)[-1] < size + end:
        count += 1
    assert window_size(window, 0, size) == count


@given(windows, st.integers(1, 20))
def test_ceil_mode_adds_a_window_that_starts_on_the_input(window: Window, size: int) -> None:
    begin, end = axis_pads(window, 0, size)
    if extent(window.kernel[0], window.dilations[0]) > size + begin + end:
        return
    floor, ceil = window_size(window, 0, size), window_size(window, 0, size, ceil_mode=True)
    assert floor is not None and ceil is not None and ceil - floor in (-1, 0, 1)
    if ceil > floor:
        assert taps(window, size, ceil - 1)[0] < size


@given(windows, st.integers(1, 20), st.data())
def test_reach_covers_every_reader(window: Window, size: int, data: st.DataObject) -> None:
    """All outputs that read the changed range are reached; without dilation, and no others at the ends."""
    begin, end = axis_pads(window, 0, size)
    if extent(window.kernel[0], window.dilations[0]) > size + begin + end:
        return
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    start, stop = reach(window, 0, size, first, last)
    count = window_size(window, 0, size) or 0
    readers = [o for o in range(count) if any(first <= t <= last for t in taps(window, size, o))]
    assert all(start <= o < stop for o in readers)
    if window.dilations[0] == 1:
        assert readers == list(range(start, stop))


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_same_pads_give_the_divided_size(size: int, kernel: int, stride: int, upper: bool) -> None:
    begin, end = same_pads(size, kernel, stride, 1, upper)
    window = Window((kernel, 1), (stride, 1), (begin, 0, end, 0))
    assert window_size(window, 0, size) == -(-size // stride)
    assert abs(begin - end) <= 1 and (begin <= end if upper else begin >= end)


@given(windows, st.integers(1, 12))
def test_transposed_is_the_adjoint(window: Window, size: int) -> None:
    """The last position that a transposed window writes, less the pads, is the last output."""
    begin, end = window.pads[0], window.pads[2]
    last = (size - 1) * window.strides[0] + (window.kernel[0] - 1) * window.dilations[0]
    assert transposed_size(window, 0, size, 0) == last - begin + 1 - end


def test_unknown_sizes_stay_unknown() -> None:
    assert window_size(Window((3, 3)), 0, None) is None
    assert transposed_size(Window((3, 3)), 0, None, 0) is None
