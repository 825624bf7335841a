"""The self-check of sessions with several streams: each has its own rhythm and its own errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from test_check_every import EMPTY, by_hand, frames, model, same, session

from rrm_onnx import selfcheck
from rrm_onnx.selfcheck import SelfCheck

pytestmark = pytest.mark.usefixtures("library")


def feed(x: np.ndarray, *ids: int, **more) -> dict[str, np.ndarray]:
    return {"x": x, "rrm_stream": np.array(ids, np.int64), **more}


def test_every_stream_has_its_own_count_and_error():
    data = model(streams=True)
    checking = session(data, check_every=3)
    videos = {7: frames(6, 3, seed=1), -2: frames(6, 0.5, seed=2)}
    expected = {i: by_hand(data, video, 3) for i, video in videos.items()}
    order = [7, 7, -2, 7, -2, -2, 7, -2, 7, 7, -2, -2]
    at = dict.fromkeys(videos, 0)
    for stream in order:
        t = at[stream]
        same(checking.run(None, feed(videos[stream][t], stream)), expected[stream][0][t])
        at[stream] += 1
        found = checking.stats()["check"]["streams"]
        assert {i: r["checks"] for i, r in found.items()} == {i: n // 3 for i, n in at.items() if n >= 3}
    for stream, (_, errors) in expected.items():
        assert found[stream]["last"] == errors[-1] and found[stream]["worst"] == max(errors) > 0
        assert found[stream]["mean"] == pytest.approx(np.mean(errors))
    check = checking.stats()["check"]
    together = [e for _, errors in expected.values() for e in errors]
    assert (
        check["checks"] == 4 and check["mean"] == pytest.approx(np.mean(together)) and check["worst"] == max(together)
    )
    checking.reset_stats()
    assert checking.stats()["check"] == {"every": 3, **EMPTY, "streams": {}}


def test_without_ids_a_row_is_a_stream():
    data = model(streams=True)
    checking = session(data, check_every=2)
    for x in frames(2):
        checking.run(None, {"x": x})
    assert list(checking.stats()["check"]["streams"]) == [0]
    both = session(model(streams=True, batch=2), check_every=2)
    for x in frames(2, batch=2):
        both.run(None, {"x": x})
    assert list(both.stats()["check"]["streams"]) == [0, 1]


def test_rows_of_a_batch_are_told_apart():
    data = model(streams=True, open_size=True)
    checking = session(data, check_every=2)
    still, moving = frames(2, 0.2, seed=1), frames(2, 5, seed=2)
    for a, b in zip(still, moving, strict=True):
        checking.run(None, feed(np.concatenate([a, b]), 5, 9))
    found = checking.stats()["check"]
    for stream, video in ((5, still), (9, moving)):
        assert found["streams"][stream]["last"] == pytest.approx(by_hand(data, video, 2)[1][0], rel=1e-3)
    assert found["streams"][5]["last"] < found["last"] < found["streams"][9]["last"]
    assert found["checks"] == 1


def test_a_batch_is_checked_as_soon_as_one_row_is_due():
    checking = session(model(streams=True, open_size=True), check_every=3)
    (a,) = frames(1)
    pair = np.concatenate([a, a + 1])
    checking.run(None, feed(a, 1))
    checking.run(None, feed(pair, 1, 2))
    assert checking.stats()["check"]["checks"] == 0
    checking.run(None, feed(pair + 1, 2, 1))  # the third of 1, the second of 2
    assert {i: r["checks"] for i, r in checking.stats()["check"]["streams"].items()} == {1: 1, 2: 1}
    for _ in range(2):
        checking.run(None, feed(a, 2))  # counts from the check on
    assert checking.stats()["check"]["checks"] == 1


def test_what_the_caller_forgets_is_not_checked():
    checking = session(model(streams=True), check_every=2)
    for t, x in enumerate(frames(6)):
        checking.run(None, feed(x, 3, rrm_reset=np.array(t % 2 == 1)))
    assert checking.stats()["check"]["checks"] == 2  # frames 2 and 4, each the second since the reset before


def test_other_streams_keep_their_state():
    """A check re-keys the streams of its run, no others."""
    data = model(streams=True)
    checking, plain = session(data, check_every=2), session(data)
    video = frames(6)
    same(checking.run(None, feed(video[0], 1)), plain.run(None, feed(video[0], 1)))
    for x in video[1:5]:
        checking.run(None, feed(x, 2))
    checking.reset_stats()
    checking.run(None, feed(video[0], 1))
    assert checking.stats()["nodes"][0]["keyframes"] == 1  # the check's own run
    assert checking.stats()["check"]["last"] == 0


def test_the_tolerance_of_a_run_holds_for_both():
    checking = session(model(streams=True), check_every=2)
    for x in frames(4):
        checking.run(None, feed(x, 1, rrm_tolerance=np.array(0, np.float32)))
    assert checking.stats()["check"]["worst"] == 0


def test_threads_may_run_different_streams():
    data, video = model(streams=True), frames(8)
    checking, expected = session(data, check_every=2), by_hand(data, video, 2)[0]
    failures = []

    def follow(stream: int) -> None:
        try:
            for x, answer in zip(video, expected, strict=True):
                same(checking.run(None, feed(x, stream)), answer)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=follow, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and checking.stats()["check"]["checks"] == 16
    assert {r["checks"] for r in checking.stats()["check"]["streams"].values()} == {4}


def test_streams_without_end_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(selfcheck, "MOST_STREAMS", 3)
    check = SelfCheck(2, (0,))
    for stream in (0, 1, 2, 0, 3, 1, 0):
        check.run({"rrm_stream": [stream]}, lambda feed: [np.ones(1)], lambda: None)
    assert list(check._frames) == [3, 1, 0] and list(check.to_dict()["streams"]) == [0]
