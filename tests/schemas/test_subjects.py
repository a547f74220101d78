"""Subjects: one spelling each, four tokens, and nothing in a ticker can break out of its token."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_schemas import subjects
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.subjects import escape, interval_ms, interval_token, parse, unescape

tickers = st.text(min_size=1).filter(lambda ticker: len(ticker.encode()) <= 64)
awkward = st.text(alphabet=". *>%/\\:_-~$aZ0é币\n\x00", min_size=1, max_size=12)
exchanges = st.sampled_from(Exchange)
feeds = st.sampled_from(subjects.FEEDS)


@given(ticker=tickers | awkward)
def test_a_token_gives_its_ticker_back(ticker: str) -> None:
    assert unescape(escape(ticker)) == ticker


@given(one=awkward, other=awkward)
def test_two_tickers_never_share_a_token(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@given(exchange=exchanges, ticker=tickers | awkward, feed=feeds)
def test_a_subject_has_four_tokens_and_no_wildcard(
    exchange: Exchange, ticker: str, feed: str
) -> None:
    subject = subjects.md(exchange, ticker, feed)
    assert len(subject.split(".")) == 4
    assert re.fullmatch(r"[A-Za-z0-9_%-]+", escape(ticker))
    assert parse(subject) == ("md", exchange, ticker, feed)


@given(ticker=tickers | awkward)
def test_a_token_is_safe_as_a_part_of_a_path(ticker: str) -> None:
    token = escape(ticker)
    assert token not in (".", "..")
    for path in (PurePosixPath("root", token), PureWindowsPath("root", token)):
        assert path.parts == ("root", token)
    assert len(token) <= 192  # with `symbol=` in front it is still a legal file name


@given(token=st.text(max_size=20) | st.text(alphabet="%0123456789ABCDEFabf.Z", max_size=9))
def test_only_what_escape_writes_is_a_token(token: str) -> None:
    try:
        ticker = unescape(token)
    except Reject:
        return
    assert escape(ticker) == token


@pytest.mark.parametrize(
    "token",
    ["", "%41", "%2e", "%", "%2", "%ZZ", "a.b", "*", ">", "a b", "%FF", "%C3", "é", "A" * 65],
)
def test_other_spellings_of_a_ticker_are_refused(token: str) -> None:
    with pytest.raises(Reject, match="not a ticker token"):
        unescape(token)


@pytest.mark.parametrize("ticker", ["", "\ud800", "x" * 65, "é" * 33])
def test_a_ticker_that_has_no_token_is_refused(ticker: str) -> None:
    with pytest.raises(Reject, match="ticker"):
        escape(ticker)


@pytest.mark.parametrize(
    ("ticker", "token"),
    [
        ("BTCUSDT", "BTCUSDT"),
        ("BTC-USDT-SWAP", "BTC-USDT-SWAP"),
        ("BTC/USD", "BTC%2FUSD"),
        ("BTC-29DEC23.P", "BTC-29DEC23%2EP"),
        ("100%", "100%25"),
        ("币安人生USDT", "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT"),
    ],
)
def test_tokens_never_change(ticker: str, token: str) -> None:
    assert escape(ticker) == token


@given(
    kind=st.sampled_from(("book", "bar", "feature")),
    exchange=exchanges,
    ticker=tickers,
    length_ms=st.sampled_from([n for n in range(1, 100_000) if 86_400_000 % n == 0]),
)
def test_derived_subjects_say_their_interval_in_one_way(
    kind: str, exchange: Exchange, ticker: str, length_ms: int
) -> None:
    subject = subjects.derived(kind, exchange, ticker, length_ms)
    address = parse(subject)
    assert address[:3] == (kind, exchange, ticker)
    assert interval_ms(address.leaf) == length_ms
    assert interval_token(length_ms) == address.leaf


@given(exchange=exchanges, ticker=tickers | awkward, feed=feeds)
def test_live_and_replay_are_the_same_address(exchange: Exchange, ticker: str, feed: str) -> None:
    subject = subjects.md(exchange, ticker, feed)
    assert parse(subjects.live(subject)) == parse(subject)
    assert parse(subjects.replay("backfill_7", subject)) == parse(subject)
    assert subjects.bare(subjects.live(subject)) == subject
    assert subjects.bare(subjects.replay("backfill_7", subject)) == subject


@given(subject=st.text(max_size=60) | st.text(alphabet="md.live.replay*>%A1", max_size=40))
def test_any_text_is_an_address_or_a_reject(subject: str) -> None:
    try:
        kind, exchange, ticker, leaf = parse(subject)
    except Reject:
        return
    assert subjects.bare(subject) == f"{kind}.{exchange.token}.{escape(ticker)}.{leaf}"


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "md",
        "md.binance_usdm.BTCUSDT",
        "md.binance_usdm.BTCUSDT.trade.more",
        "md.binance_usdm.*.trade",
        "md.binance_usdm.>.trade",
        "md.binance_usdm..trade",
        "md.binance_usdm.BTC/USD.trade",
        "md.binance.BTCUSDT.trade",
        "md.BINANCE_USDM.BTCUSDT.trade",
        "md.binance_usdm.BTCUSDT.trades",
        "md.binance_usdm.BTCUSDT.change",
        "book.binance_usdm.BTCUSDT.1000ms",
        "book.binance_usdm.BTCUSDT.60s",
        "book.binance_usdm.BTCUSDT.7ms",
        "bar.binance_usdm.BTCUSDT.change",
        "live.live.md.binance_usdm.BTCUSDT.trade",
        "replay.md.binance_usdm.BTCUSDT.trade",
        "replay..md.binance_usdm.BTCUSDT.trade",
        "replay.*.md.binance_usdm.BTCUSDT.trade",
        "clock.binance_usdm",
    ],
)
def test_what_is_not_an_address_is_refused(subject: str) -> None:
    with pytest.raises(Reject):
        parse(subject)


@pytest.mark.parametrize(
    ("text", "length_ms"),
    [
        ("1ms", 1),
        ("100ms", 100),
        ("1s", 1_000),
        ("15s", 15_000),
        ("1m", 60_000),
        ("5m", 300_000),
        ("15m", 900_000),
        ("1h", 3_600_000),
        ("4h", 14_400_000),
        ("24h", 86_400_000),
    ],
)
def test_intervals_are_what_users_write(text: str, length_ms: int) -> None:
    assert interval_ms(text) == length_ms
    assert interval_token(length_ms) == text


@pytest.mark.parametrize(
    "text",
    ["", "ms", "0ms", "-1s", "1.5s", "01s", "1", "1d", "25h", "7ms", "1S", "١s", "9" * 30 + "s"],
)
def test_an_interval_that_does_not_divide_a_day_is_refused(text: str) -> None:
    with pytest.raises(Reject, match="divides a day"):
        interval_ms(text)


@pytest.mark.parametrize("length_ms", [0, -100, 7, 172_800_000])
def test_a_length_that_does_not_divide_a_day_has_no_name(length_ms: int) -> None:
    with pytest.raises(Reject, match="divide a day"):
        interval_token(length_ms)


def test_subjects_and_streams_of_a_shard() -> None:
    assert subjects.fence("binance_usdm_2") == "fence.binance_usdm_2"
    assert subjects.clock("binance_usdm") == "clock.binance_usdm"
    assert subjects.dead_letter("writer", Exchange.OKX) == "dlq.writer.okx"
    assert subjects.alert("critical", "writer") == "alert.critical.writer"
    assert subjects.stream("md", "binance_usdm_2") == "MD_BINANCE_USDM_2"
    assert subjects.stream("feature", "okx") == "FEATURE_OKX"
    assert subjects.derived("book", Exchange.OKX, "BTC-USDT", 0) == "book.okx.BTC-USDT.change"


@pytest.mark.parametrize("name", ["", "A", "a.b", "*", ">", "a b", "1a", "a" * 49, "a/b"])
def test_names_of_shards_services_and_jobs_are_plain(name: str) -> None:
    builders: list[Callable[[str], str]] = [
        subjects.fence,
        subjects.clock,
        lambda name: subjects.stream("md", name),
        lambda name: subjects.dead_letter(name, Exchange.OKX),
        lambda name: subjects.replay(name, "md.okx.A.trade"),
    ]
    for build in builders:
        with pytest.raises(Reject, match="lower case"):
            build(name)


def test_unknown_feeds_and_kinds_are_refused_before_anything_is_published() -> None:
    with pytest.raises(Reject, match="unknown feed"):
        subjects.md(Exchange.OKX, "BTC-USDT", "trades")
    with pytest.raises(Reject, match="unknown kind"):
        subjects.derived("candle", Exchange.OKX, "BTC-USDT", 100)
    with pytest.raises(Reject, match="unknown kind"):
        subjects.stream("candle", "okx")
    with pytest.raises(Reject, match="divide a day"):
        subjects.derived("bar", Exchange.OKX, "BTC-USDT", 0)
