"""The burst parser hears what nats-py would, however the bytes are cut and whoever reads them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser
from tickbus.log.burst import BurstParser, run_reader
from tickbus.log.connection import Connection
from tickbus.log.delivery import Deliveries, delivery
from tickbus.log.kernels import wire as kernel
from tickbus.log.kernels.wire import KernelReader
from tickbus.log.wire import Messages, RunReader, read_plainly

BY_KERNEL = KernelReader()
readers = pytest.mark.parametrize("read_many", [read_plainly, BY_KERNEL], ids=["plain", "kernel"])


class Heard(Connection):
    """Notes what the parser hands to the client."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.pending: dict[int, int] = {}
        """by place in what was heard"""

    def _note(
        self, sid: int, subject: bytes, data: bytes, headers: bytes | None, place: Any
    ) -> None:
        self.heard.append((sid, subject, data, headers, place))

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        found = delivery(reply)
        if found is not None:
            self.pending[len(self.heard)] = found[2]
        self._note(sid, subject, data, headers or None, found and found[:2])

    async def _process_ping(self) -> None:
        self.heard.append("ping")

    async def _process_pong(self) -> None:
        self.heard.append("pong")

    async def _process_err(self, error_msg: str) -> None:
        self.heard.append(error_msg)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        self.heard.append(info)


class Poured(Heard):
    """Notes what the sinks of two subscriptions get as well; the others are nats-py's."""

    def __init__(self, read_many: RunReader) -> None:
        super().__init__()
        self.parser = BurstParser(self, read_many)
        for sid in (1, 2):
            self.parser.sinks[sid] = partial(self._sink, sid)

    def _sink(self, sid: int, messages: Messages) -> None:
        assert messages.data
        found = messages.deliveries
        places: list[Any] = [None] * len(messages.data)
        if found is not None:
            places = list(zip(found.seqs, found.stored_ns, strict=True))
            self.pending[len(self.heard) + len(places) - 1] = found.pending
        for (subject, data, headers), place in zip(messages.each(), places, strict=True):
            self._note(sid, subject, data, headers, place)


bodies = st.binary(max_size=30) | st.sampled_from([b"MSG a 1 5\r\n", b"\r\nPING\r\n", b"\r"])
subjects = st.sampled_from([b"md.a.B.trade", b"x"])
numbers = st.integers(0, 20) | st.integers(2**63 - 2, 2**64 + 1)
deliveries = st.builds(
    lambda domain, seq, stored_ns, pending, rest: (
        b"$JS.ACK.%bS.C.1.%d.3.%d.%d%b" % (domain, seq, stored_ns, pending, rest)
    ),
    st.sampled_from([b"", b"hub.ACC."]),
    numbers,
    numbers,
    numbers,
    st.sampled_from([b"", b"", b".x", b".x.y"]),
)
strange_replies = st.sampled_from([b"_INBOX.a.1", b"$JS.ACK.", b"$JS.ACK.S.C.1.-2.3.4.5", b"5"])
replies = st.just(b"") | deliveries | strange_replies
sids = st.sampled_from([1, 1, 1, 2, 3])


def msg(subject: bytes, sid: int, reply: bytes, body: bytes) -> bytes:
    return b"MSG %b %d %b%d\r\n%b\r\n" % (subject, sid, reply and reply + b" ", len(body), body)


def hmsg(subject: bytes, sid: int, reply: bytes, block: bytes, body: bytes) -> bytes:
    sizes = b"%d %d" % (len(block), len(block + body))
    return b"HMSG %b %d %b%b\r\n%b%b\r\n" % (
        subject,
        sid,
        reply and reply + b" ",
        sizes,
        block,
        body,
    )


blocks = st.sampled_from([b"NATS/1.0\r\nA: 1\r\n\r\n", b"NATS/1.0 100 Idle Heartbeat\r\n\r\n"])
others = st.sampled_from(
    [b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'slow'\r\n", b'INFO {"max_payload":1}\r\n']
)
operations = st.one_of(
    st.builds(msg, subjects, sids, replies, bodies),
    st.builds(hmsg, subjects, sids, replies, blocks, bodies),
    st.builds(hmsg, subjects, sids, deliveries, blocks, bodies),
    others,
)
logs = st.lists(operations, max_size=16)
cut_sizes = st.lists(st.integers(1, 90), max_size=12)


def feed(parser: Parser, data: bytes, cuts: list[int]) -> type[Exception] | None:
    """Hand over the bytes, cut so; gives the error that ended it."""

    async def parse() -> None:
        place = 0
        for size in [*cuts, len(data)]:
            await parser.parse(data[place : place + size])
            place += size

    try:
        asyncio.run(parse())
    except Exception as error:
        return type(error)
    return None


@readers
@given(log=logs, cuts=cut_sizes)
def test_it_hears_what_nats_py_hears(
    read_many: RunReader, log: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(log)
    plain, ours = Heard(), Poured(read_many)
    assert feed(Parser(plain), data, []) is None
    assert feed(ours.parser, data, cuts) is None
    assert ours.heard == plain.heard
    assert ours.pending.items() <= plain.pending.items()


@given(
    logs,
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), st.binary(max_size=3)), max_size=3),
    cut_sizes,
)
def test_of_damaged_bytes_both_readers_say_the_same(
    log: list[bytes], damage: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    data = b"".join(log)
    for place, removed, added in damage:
        data = data[:place] + added + data[place + removed :]
    one, many = Poured(read_plainly), Poured(BY_KERNEL)
    assert feed(one.parser, data, []) == feed(many.parser, data, cuts)
    assert many.heard == one.heard
    both = many.pending.keys() & one.pending.keys()  # where runs of the two end alike
    assert [many.pending[n] for n in both] == [one.pending[n] for n in both]


@pytest.mark.parametrize("size", range(68))
def test_the_kernel_takes_no_message_that_is_not_all_there(size: int) -> None:
    whole = hmsg(b"md.a.B.trade", 1, b"$JS.ACK.S.C.1.2.3.4.5", b"NATS/1.0\r\n\r\n", b"12345")
    assert len(whole) == 68
    assert BY_KERNEL(whole[:size], 0, {1}) is None
    run = BY_KERNEL(whole + whole[:size], 0, {1})
    assert run is not None
    assert run.end == len(whole)


def test_a_burst_of_one_subscription_is_one_run_and_a_long_one_several() -> None:
    count = kernel.MESSAGES_MAX + 3
    burst = b"".join(
        msg(b"a", 1, b"$JS.ACK.S.C.1.%d.3.%d.%d" % (n, 10 * n, count - n), b"%d" % n)
        for n in range(count)
    )
    first = BY_KERNEL(burst, 0, {1})
    assert first is not None
    second = BY_KERNEL(burst, first.end, {1})
    assert second is not None
    assert second.end == len(burst)
    assert second.messages is not None
    last = range(kernel.MESSAGES_MAX, count)
    assert second.messages.data == [b"%d" % n for n in last]
    assert second.messages.deliveries == Deliveries(list(last), [10 * n for n in last], 1)


@readers
def test_a_message_in_a_thousand_pieces_arrives_whole(read_many: RunReader) -> None:
    body = bytes(range(256)) * 4_000
    ours = Poured(read_many)
    feed(ours.parser, msg(b"a", 1, b"", body) + b"PING\r\n", [1_000] * 1_023)
    assert ours.heard == [(1, b"a", body, None, None), "ping"]


@readers
@pytest.mark.parametrize(
    "data",
    [
        b"HMSG a 1 x y\r\n",
        b"HMSG a 1 9 5\r\n123456789\r\n",
        b"HMSG a 1 -1 5\r\n12345\r\n",
        b"MSG a\r\n",
        b"MSG a 1 -20\r\n",
        b"MSG a x 1\r\n1\r\n",
        b"MSG a 1 b c 1\r\n1\r\n",
        b"nonsense\r\n",
        b"x" * 9_000,
    ],
)
def test_what_is_not_the_protocol_is_an_error(read_many: RunReader, data: bytes) -> None:
    ours = Poured(read_many)
    assert feed(ours.parser, msg(b"a", 1, b"", b"before") + data, []) is ProtocolError
    assert ours.heard == [(1, b"a", b"before", None, None)]


@readers
def test_a_new_connection_begins_without_the_rest_of_the_old(read_many: RunReader) -> None:
    ours = Poured(read_many)
    feed(ours.parser, b"MSG a 1 100\r\nhalf of", [])
    ours.parser.reset()
    feed(ours.parser, b"PING\r\n", [])
    assert ours.heard == ["ping"]


def test_only_a_process_that_runs_kernels_reads_by_one() -> None:
    assert isinstance(run_reader(), KernelReader)
    code = (
        "import sys\n"
        "sys.modules['numba'] = None\n"
        "from tickbus.log.burst import run_reader\n"
        "from tickbus.log.wire import read_plainly\n"
        "assert run_reader() is read_plainly\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
