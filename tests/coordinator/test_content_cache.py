"""Contents in memory: bounded, newest first, and of a document its newest only."""

from __future__ import annotations

from agent_trace_coordinator.server.content_cache import ContentCache


def test_what_was_not_asked_for_longest_goes_first() -> None:
    cache = ContentCache(6)
    cache.keep(1, b"aaa")
    cache.keep(2, b"bbb")
    assert cache.get(1) == b"aaa"
    cache.keep(3, b"ccc")
    assert [cache.get(key) for key in (1, 2, 3)] == [b"aaa", None, b"ccc"]


def test_a_document_that_is_written_again_takes_no_more_room() -> None:
    cache = ContentCache(6)
    cache.keep(1, b"aaa")
    for key in range(2, 100):
        cache.replace(7, key, b"bbb")
    assert cache.get(1) == b"aaa"
    assert cache.get(98) is None
    assert cache.get(99) == b"bbb"


def test_a_change_that_brings_no_content_leaves_the_one_that_the_document_has() -> None:
    cache = ContentCache(6)
    cache.replace(7, 1, b"aaa")
    cache.replace(7, 1, None)
    assert cache.get(1) == b"aaa"
    cache.replace(7, 0, None)
    assert cache.get(1) is None
    cache.replace(7, 2, b"bbb")
    assert cache.get(2) == b"bbb"


def test_what_has_gone_for_lack_of_room_is_replaced_like_any_other() -> None:
    cache = ContentCache(3)
    cache.replace(7, 1, b"aaa")
    cache.replace(8, 2, b"bbb")
    assert cache.get(1) is None
    cache.replace(7, 3, b"ccc")
    assert (cache.get(2), cache.get(3)) == (None, b"ccc")


def test_what_does_not_fit_is_not_kept() -> None:
    cache = ContentCache(2)
    cache.replace(7, 1, b"aaa")
    assert cache.get(1) is None
    cache.keep(2, b"bb")
    assert cache.get(2) == b"bb"
