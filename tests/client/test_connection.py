"""The connection: the burst parser hears what nats-py would, however the bytes are cut."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser
from tickbus.burst import BurstParser, BurstTransport
from tickbus.connection import Connection, connect, redacted
from tickbus_runtime.nats_server import EmbeddedServer
from tickbus_schemas.errors import Retry


class Heard(Connection):
    """Notes what the parser hands to the client."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Any, ...]] = []

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self.heard.append((sid, subject, reply, data, headers or None))

    async def _process_ping(self) -> None:
        self.heard.append(("ping",))

    async def _process_pong(self) -> None:
        self.heard.append(("pong",))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        self.heard.append(("info", info))


bodies = st.binary(max_size=30) | st.sampled_from([b"MSG a 1 5\r\n", b"\r\nPING\r\n", b"\r"])
subjects = st.sampled_from([b"md.a.B.trade", b"x"])
replies = st.sampled_from([b"", b"$JS.ACK.S.C.1.2.3.4.5"])
sids = st.integers(1, 4)
operations = st.one_of(
    st.builds(
        lambda sid, subject, reply, body: (
            b"MSG %b %d %b%d\r\n%b\r\n" % (subject, sid, reply and reply + b" ", len(body), body)
        ),
        sids,
        subjects,
        replies,
        bodies,
    ),
    st.builds(
        lambda sid, subject, reply, body, value: (
            lambda block: (
                b"HMSG %b %d %b%d %d\r\n%b%b\r\n"
                % (subject, sid, reply and reply + b" ", len(block), len(block + body), block, body)
            )
        )(b"NATS/1.0\r\nA: %d\r\n\r\n" % value),
        sids,
        subjects,
        replies,
        bodies,
        st.integers(0, 99),
    ),
    st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b'INFO {"max_payload":1}\r\n']),
)


def _heard(parser: Parser, client: Heard, data: bytes, cuts: list[int]) -> list[tuple[Any, ...]]:
    async def feed() -> None:
        place = 0
        for size in [*cuts, len(data)]:
            await parser.parse(data[place : place + size])
            place += size

    asyncio.run(feed())
    return client.heard


@given(st.lists(operations, max_size=12), st.lists(st.integers(1, 60), max_size=12))
def test_the_burst_parser_hears_what_nats_py_hears(log: list[bytes], cuts: list[int]) -> None:
    data = b"".join(log)
    plain, ours = Heard(), Heard()
    parser = BurstParser(ours)
    for sid in (1, 2):  # the other two subscriptions are nats-py's

        def sink(
            subject: bytes, reply: bytes, data: bytes, headers: bytes | None, sid: int = sid
        ) -> None:
            ours.heard.append((sid, subject, reply, data, headers))

        parser.sinks[b"%d" % sid] = sink
    expected = _heard(Parser(plain), plain, data, [])
    assert _heard(parser, ours, data, cuts) == expected


@pytest.mark.parametrize("data", [b"HMSG a 1 x y\r\n", b"MSG a\r\n", b"nonsense\r\n", b"x" * 9_000])
def test_what_is_not_the_protocol_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        _heard(BurstParser(client := Heard()), client, data, [])


def test_a_new_connection_begins_without_the_rest_of_the_old() -> None:
    client = Heard()
    parser = BurstParser(client)
    asyncio.run(parser.parse(b"MSG a 1 100\r\nhalf of"))
    parser.reset()
    assert _heard(parser, client, b"PING\r\n", []) == [("ping",)]


@pytest.mark.connected
async def test_nats_py_sends_every_byte_through_our_transport_and_parser(
    bus: Connection, nats_server: EmbeddedServer
) -> None:
    back = asyncio.Event()
    bus.on_change(lambda: back.set() if bus.is_connected else None)
    await nats_server.kill()
    await nats_server.start()
    async with asyncio.timeout(20):
        await back.wait()
    await bus.flush()
    assert isinstance(bus._transport, BurstTransport)
    assert isinstance(bus._ps, BurstParser)


def test_urls_are_shown_without_credentials() -> None:
    assert redacted("nats://me:secret@host:4222,tls://other:1") == "nats://host:4222,tls://other:1"
    assert redacted("host:4222") == "host:4222"


async def test_without_a_server_there_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(Retry, match=r"no NATS server at nats://127.0.0.1:1 .*tickbus up"):
        await connect("nats://me:secret@127.0.0.1:1", data_dir=tmp_path)


@pytest.mark.connected
async def test_messages_that_are_poured_arrive_whole_and_in_order(bus: Connection) -> None:
    arrived: list[tuple[bytes, bytes, bytes, bytes | None]] = []
    done = asyncio.Event()

    def sink(subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        arrived.append((subject, reply, data, headers))
        if len(arrived) == 1_001:
            done.set()

    subscription = await bus.pour("a.>", sink)
    await bus.publish("a.b", b"first", reply="inbox", headers={"X": "1"})
    for n in range(1_000):
        await bus.publish("a.c", b"%d" % n * 100)
    async with asyncio.timeout(10):
        await done.wait()
    assert arrived[0] == (b"a.b", b"inbox", b"first", b"NATS/1.0\r\nX: 1\r\n\r\n")
    assert [data for *_, data, _ in arrived[1:]] == [b"%d" % n * 100 for n in range(1_000)]
    await bus.stop(subscription)
    await bus.publish("a.b", b"later")
    await bus.flush()
    assert len(arrived) == 1_001


@pytest.mark.connected
async def test_a_sink_that_fails_is_reported_and_the_next_message_read(
    nats_server: EmbeddedServer,
) -> None:
    errors: list[str] = []
    nc = await connect(data_dir=nats_server.folder.parent, count=errors.append)

    def sink(subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        raise LookupError(data)

    await nc.pour("a", sink)
    await nc.publish("a", b"1")
    await nc.publish("a", b"2")
    await nc.flush()
    assert errors == ["LookupError", "LookupError"]
    await nc.close()


def test_subscribing_needs_neither_numpy_nor_polars() -> None:
    code = (
        "import sys\n"
        "for name in ('numpy', 'numba', 'polars', 'pyarrow'): sys.modules[name] = None\n"
        "import tickbus, tickbus.subscription, tickbus.batch\n"
        "tickbus.connect, tickbus.subscribe, tickbus.Batch\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
