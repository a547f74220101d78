"""Streams are made as declared, brought up to date, and never silently something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.client import JetStreamContext
from tickbus.log.connection import Connection
from tickbus_runtime.bus.streams import _covered, declarations, ensure, incarnation, next_block
from tickbus_runtime.settings.sections import NatsSettings, Settings, WriterSettings
from tickbus_schemas.errors import Fatal

SETTINGS = Settings(nats=NatsSettings(max_bytes=64 * 1024**2))
SHARD = SETTINGS.of_shard


def test_raw_refuses_when_full_and_derived_forgets_the_oldest() -> None:
    by_name = {str(config.name): config for config in declarations(SETTINGS.nats, SHARD)}
    assert by_name["MD_BINANCE_USDM"].discard is DiscardPolicy.NEW
    assert by_name["BOOK_BINANCE_USDM"].discard is DiscardPolicy.OLD
    assert set(by_name) == {
        *(f"{kind}_BINANCE_USDM" for kind in ("MD", "BOOK", "BAR", "FEATURE")),
        "DLQ",
        "ALERT",
        "CKPT",
    }


def test_tickers_of_a_part_of_an_exchange_are_escaped() -> None:
    raw, *_ = declarations(SETTINGS.nats, SHARD, ["BTCUSDT", "A.B"])
    assert raw.subjects is not None
    assert raw.subjects[:2] == ["md.binance_usdm.BTCUSDT.*", "md.binance_usdm.A%2EB.*"]


tokens = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4)


@given(tokens, st.booleans(), st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=5))
def test_a_subject_covered_by_another_matches_nothing_that_the_other_does_not(
    narrow: list[str], tail: bool, subject: list[str]
) -> None:
    one = ".".join([*narrow, ">"] if tail else narrow)
    for wide in ("a.>", "*.b", "*.*.>", "a.*.b", ">", one):
        if _covered(one, [wide]) and _matches(one, subject):
            assert _matches(wide, subject)
    assert _covered(one, [one])


def _matches(pattern: str, subject: list[str]) -> bool:
    words = pattern.split(".")
    for place, word in enumerate(words):
        if word == ">":
            return len(subject) > place
        if place >= len(subject) or word not in ("*", subject[place]):
            return False
    return len(words) == len(subject)


def test_a_stream_made_again_begins_above_all_that_the_manifest_knows(tmp_path: Path) -> None:
    folder = tmp_path / "_manifest" / "MD_X"
    folder.mkdir(parents=True)
    assert next_block(tmp_path, "MD_X") is None
    for first, last in ((1, 5), (6, 2**20 + 7)):
        (folder / f"abc-{first:013d}-{last:013d}.json").write_text("{}")
    assert next_block(tmp_path, "MD_X") == 2 * 2**20
    assert next_block(tmp_path, "MD_Y") is None


@pytest.fixture
def js(bus: Connection) -> JetStreamContext:
    return bus.jetstream()


@pytest.mark.connected
async def test_ensure_twice_changes_nothing(js: JetStreamContext) -> None:
    first = await ensure(js, SETTINGS, SHARD)
    assert set(first.values()) == {"created"}
    assert set((await ensure(js, SETTINGS, SHARD)).values()) == {"unchanged"}
    info = await js.stream_info("MD_BINANCE_USDM")
    assert info.config.allow_direct
    assert info.config.allow_atomic
    assert info.config.duplicate_window == 120.0
    assert info.config.max_age == 24 * 3600.0


@pytest.mark.connected
async def test_tickers_are_added_and_limits_adjusted_while_the_stream_runs(
    js: JetStreamContext,
) -> None:
    await ensure(js, SETTINGS, SHARD, ["BTCUSDT"])
    await js.publish("md.binance_usdm.BTCUSDT.trade", b"kept")
    longer = Settings(nats=NatsSettings(max_bytes=64 * 1024**2, max_age_h=48.0))
    done = await ensure(js, longer, SHARD, ["ETHUSDT"])
    assert done["MD_BINANCE_USDM"] == "updated: max_age, subjects"
    config = (await js.stream_info("MD_BINANCE_USDM")).config
    assert {"md.binance_usdm.BTCUSDT.*", "md.binance_usdm.ETHUSDT.*"} <= set(config.subjects or ())
    # A wider subject takes the place of the narrow ones: the server refuses an overlap.
    await ensure(js, longer, SHARD)
    config = (await js.stream_info("MD_BINANCE_USDM")).config
    assert (config.subjects or [])[-1] == "md.binance_usdm.>"
    assert (
        await js.get_last_msg("MD_BINANCE_USDM", "md.binance_usdm.BTCUSDT.trade")
    ).data == b"kept"


@pytest.mark.connected
async def test_a_stream_with_other_settings_that_matter_is_refused(js: JetStreamContext) -> None:
    await js.add_stream(
        StreamConfig(name="MD_BINANCE_USDM", subjects=["md.binance_usdm.>"], duplicate_window=60.0)
    )
    with pytest.raises(Fatal, match=r"MD_BINANCE_USDM has discard old, wanted new"):
        await ensure(js, SETTINGS, SHARD)


@pytest.mark.connected
async def test_a_server_without_so_much_room_gives_what_it_has(js: JetStreamContext) -> None:
    huge = Settings(nats=NatsSettings(max_bytes=2**60))
    done = await ensure(js, huge, SHARD)
    assert done["MD_BINANCE_USDM"].startswith("created with ")
    assert done["FEATURE_BINANCE_USDM"].startswith("created with ")


@pytest.mark.connected
async def test_a_deleted_stream_comes_back_as_another_with_higher_numbers(
    js: JetStreamContext, tmp_path: Path
) -> None:
    settings = Settings(nats=SETTINGS.nats, writer=WriterSettings(root=str(tmp_path)))
    await ensure(js, settings, SHARD)
    before = incarnation(await js.stream_info("MD_BINANCE_USDM"))
    assert incarnation(await js.stream_info("MD_BINANCE_USDM")) == before
    folder = tmp_path / "_manifest" / "MD_BINANCE_USDM"
    folder.mkdir(parents=True)
    (folder / f"{before}-{1:013d}-{41:013d}.json").write_text("{}")
    await js.delete_stream("MD_BINANCE_USDM")
    await ensure(js, settings, SHARD)
    info = await js.stream_info("MD_BINANCE_USDM")
    assert incarnation(info) != before
    assert (await js.publish("md.binance_usdm.BTCUSDT.trade", b"x")).seq == 2**20


@pytest.mark.connected
async def test_what_is_stored_is_sent_again_below_live(
    js: JetStreamContext, bus: Connection
) -> None:
    await ensure(js, SETTINGS, SHARD)
    live = await bus.subscribe("live.md.*.BTCUSDT.>")
    await js.publish("md.binance_usdm.BTCUSDT.trade", b"x")
    message = await live.next_msg(timeout=5)
    assert message.subject == "live.md.binance_usdm.BTCUSDT.trade"
    assert (message.headers or {})["Nats-Sequence"] == "1"
