"""Which tickers are taken, and how a mistake is answered."""

from __future__ import annotations

import pytest
from tickbus_ingest.lines.tickers import carried, chosen
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_schemas.errors import Fatal
from tickbus_schemas.messages import InstrumentStatus


def listed(*tickers: str) -> list[Instrument]:
    return [Instrument(ticker=ticker) for ticker in tickers]


LISTED = listed("BTCUSDT", "ETHUSDT", "BTCUSDC", "1000SHIBUSDT")
HALTED = Instrument(ticker="OLDUSDT", status=InstrumentStatus.HALTED)


def test_the_wanted_ones_or_all() -> None:
    assert chosen(["ETHUSDT"], LISTED, "binance_usdm") == [LISTED[1]]
    assert chosen(["*"], LISTED, "binance_usdm") == LISTED


def test_a_pattern_is_all_that_fit_and_are_traded_now() -> None:
    old = Instrument(ticker="BTCOLD", status=InstrumentStatus.HALTED)
    assert chosen(["BTC*"], [*LISTED, old], "binance_usdm") == [LISTED[0], LISTED[2]]
    assert chosen(["ETH*", "BTCUSD?"], LISTED, "binance_usdm") == [LISTED[1], LISTED[0], LISTED[2]]
    assert chosen(["BTCUSDT", "*"], LISTED, "binance_usdm") == LISTED
    with pytest.raises(Fatal, match=r"no instrument that is traded now and fits 'X\*'"):
        chosen(["BTC*", "X*"], LISTED, "binance_usdm")


def test_one_that_is_not_traded_now_is_taken_by_its_name_only() -> None:
    assert chosen(["*"], [HALTED, *LISTED], "binance_usdm") == LISTED
    assert chosen(["OLDUSDT"], [HALTED, *LISTED], "binance_usdm") == [HALTED]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (["BTCUSD"], "binance_usdm does not list 'BTCUSD': did you mean BTCUSDT or BTCUSDC"),
        (["btcusdt"], "did you mean BTCUSDT"),
        (["ZZZZZZ"], "does not list 'ZZZZZZ'$"),
        ([], "ingest.tickers is empty"),
        (["ETHUSDT", "ETHUSDT"], "twice"),
        (["md.>"], "does not list"),
    ],
)
def test_a_mistake_names_the_nearest(wanted: list[str], says: str) -> None:
    with pytest.raises(Fatal, match=says):
        chosen(wanted, LISTED, "binance_usdm")


def test_the_nearest_is_found_in_whatever_case_the_venue_writes() -> None:
    lower = [Instrument(ticker="btcusdt"), Instrument(ticker="kPEPE")]
    with pytest.raises(Fatal, match=r"did you mean btcusdt\?"):
        chosen(["BTCUSDT"], lower, "htx")
    with pytest.raises(Fatal, match=r"did you mean kPEPE\?"):
        chosen(["KPEPE"], lower, "hyperliquid")


@pytest.mark.parametrize("nothing", [[], [HALTED]])
def test_an_empty_list_of_the_venue_is_not_all(nothing: list[Instrument]) -> None:
    with pytest.raises(Fatal, match="lists no instrument"):
        chosen(["*"], nothing, "binance_usdm")


def test_a_ticker_that_no_subject_can_carry_is_left_out_and_said_in_one_line() -> None:
    odd = listed("", "x" * 65, "\ud800", *(f"{n}{'y' * 70}" for n in range(20)))
    good, said = carried([*odd, *LISTED])
    assert good == LISTED
    assert "must have 1 to 64 bytes" in said
    assert "and 18 more" in said
    assert len(said.splitlines()) == 1
    assert carried(LISTED) == (LISTED, "")


def test_a_row_that_is_not_understood_is_named_and_leaves_the_others() -> None:
    good, said = carried([Unread('{"odd":1}', "no symbol"), *LISTED])
    assert good == LISTED
    assert said == "left out of the venue's list: '{\"odd\":1}' (no symbol)"
