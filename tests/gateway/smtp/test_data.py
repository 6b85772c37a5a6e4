from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.data import BLOCK, BlockReader, LargePlace, LargePlaces, OversizeError, read_content

PIECES = st.lists(st.sampled_from([b"\r\n", b".", b"..", b"a", b"\n", b"\r", b"\0", b"x" * 40]), max_size=40).map(
    b"".join
)


def read(segments: list[bytes], limit: int = 1000) -> tuple[bytes | None, bytes]:
    """What is read of a stream that arrives in these segments, and what is left of it."""

    async def run() -> tuple[bytes | None, bytes]:
        reader = BlockReader(limit=64)

        async def progress(_received: int) -> bool:
            feed()
            return True

        waiting = list(segments)

        def feed() -> None:
            if waiting:
                reader.feed_data(waiting.pop(0))
            else:
                reader.feed_eof()

        feed()
        content = await read_content(reader, limit, progress)
        for segment in waiting:
            reader.feed_data(segment)
        if not reader.at_eof():
            reader.feed_eof()
        return content, await reader.read()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("stream", "content", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..\r\n...\r\n.x\r\na.\r\n.\r\n", b".\r\n..\r\nx\r\na.\r\n", b""),
        (b"\n.\n\n.\r\n\r.\r\n.\r\n", b"\n.\n\n.\r\n\r.\r\n", b""),
        (b"a\r\r\n.\r\n", b"a\r\r\n", b""),
    ],
)
def test_content_ends_at_the_lone_dot_only(stream, content, rest):
    assert read([stream]) == (content, rest)
    assert read([bytes([octet]) for octet in stream]) == (content, rest)


@given(PIECES, st.data())
def test_segments_do_not_matter(body, data):
    stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in body.split(b"\r\n"))
    stream = stuffed + b"\r\n.\r\nRSET\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    segments = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]
    assert read(segments, limit=10_000) == (body + b"\r\n", b"RSET\r\n")


@pytest.mark.parametrize("octets", [1000, 1001])
def test_limit_is_on_the_content_without_stuffing(octets):
    stream = b"..\r\n" * 300 + b"x" * (octets - 902) + b"\r\n.\r\nNOOP\r\n"
    content, rest = read([stream[start : start + 50] for start in range(0, len(stream), 50)])
    assert rest == b"NOOP\r\n"
    assert (content is None) is (octets > 1000)


def test_content_between_the_limit_and_twice_as_much_is_read_to_its_end():
    assert read([b"x" * 100] * 18 + [b"\r\n.\r", b"\nNOOP\r\n"]) == (None, b"NOOP\r\n")


def test_content_beyond_twice_the_limit_is_not_read_further():
    with pytest.raises(OversizeError):
        read([b"x" * 10_000] * 20)


def test_client_that_goes_away_leaves_no_content():
    with pytest.raises(ConnectionResetError):
        read([b"half a mess"])


def test_place_is_given_back_only_when_it_was_taken():
    async def run() -> None:
        places = LargePlaces(1, 1)
        with LargePlace(places, "a", 5):
            pass
        with LargePlace(places, "a", 5) as place:
            await place.take()
            await place.take()
            assert await finds_no_place(places, "a")
            assert await finds_no_place(places, "b")
        with LargePlace(places, "b", 5) as place:
            await place.take()
            assert await finds_no_place(places, "a")

    asyncio.run(run())


def test_places_of_one_client_are_fewer_than_all():
    async def run() -> None:
        places = LargePlaces(3, 2)
        with LargePlace(places, "a", 5) as first, LargePlace(places, "a", 5) as second:
            await first.take()
            await second.take()
            assert await finds_no_place(places, "a")
            with LargePlace(places, "b", 5) as other:
                await other.take()
                assert await finds_no_place(places, "b")
        with LargePlace(places, "a", 5) as first, LargePlace(places, "a", 5) as second:
            await first.take()
            await second.take()

    asyncio.run(run())


async def finds_no_place(places: LargePlaces, client: str) -> bool:
    with LargePlace(places, client, 0.01) as place:
        try:
            await place.take()
        except TimeoutError:
            return True
    return False


def test_no_third_copy_of_stuffed_content_is_made() -> None:
    line = b"..abcdefghijklmnopqrstuvwxyz\r\n"
    stream = line * 200_000 + b".\r\n"
    segments = [stream[start : start + BLOCK] for start in range(0, len(stream), BLOCK)]
    tracemalloc.start()
    try:
        content, _ = read(segments, limit=len(stream))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert content == line[1:] * 200_000
    assert peak < 2.5 * len(stream)
