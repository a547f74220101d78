"""Settings: every mistake at once and in plain words, nothing unknown, nothing secret shown."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_runtime.commands import settings as settings_command
from tickbus_runtime.settings.listed import listed
from tickbus_runtime.settings.sections import Settings
from tickbus_runtime.settings.sources import KEYS, allowed, env_name, environment, load, redact
from tickbus_schemas.errors import Fatal


def write(folder: Path, text: str) -> Path:
    path = folder / "tickbus.toml"
    path.write_text(text)
    return path


def mistakes(config: Path | None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(Fatal) as caught:
        load(config, environ or {})
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{len(lines)} wrong setting")
    return [line.strip() for line in lines]


def test_without_any_source_the_defaults_hold() -> None:
    assert load(None, {}) == Settings()
    assert load(None, {}).of_shard.md == "MD_BINANCE_USDM"


def test_the_environment_stands_above_the_file_and_the_command_line_above_both(
    tmp_path: Path,
) -> None:
    config = write(tmp_path, "[ingest]\nlinger_ms = 1\nflush_frames_max = 7\nraw = false\n")
    environ = {"TICKBUS_INGEST__LINGER_MS": "2", "TICKBUS_INGEST__FLUSH_FRAMES_MAX": "8"}
    settings = load(config, environ, {"ingest.flush_frames_max": 9})
    assert settings.ingest.linger_ms == 2.0
    assert settings.ingest.flush_frames_max == 9
    assert settings.ingest.raw is False


@pytest.mark.parametrize("text", ["", " , ", "[]"])
def test_an_empty_list_of_feeds_is_a_mistake_that_names_them(text: str) -> None:
    (line,) = mistakes(None, {"TICKBUS_INGEST__FEEDS": text})
    assert line.startswith("ingest.feeds = [] (TICKBUS_INGEST__FEEDS): at least one of trade, l2")


def test_what_the_venue_offers_stands_in_the_place_of_a_default_and_below_all_else(
    tmp_path: Path,
) -> None:
    config = write(tmp_path, '[ingest]\nfeeds = ["trade"]\n')
    offers = {"ingest.feeds": ["l2", "bbo"], "ingest.tickers": ["A", "B"]}
    settings = load(config, {}, offers=offers)
    assert settings.ingest.feeds == ["trade"]
    assert settings.ingest.tickers == ["A", "B"]
    settings = load(None, {"TICKBUS_INGEST__TICKERS": "B"}, offers=offers)
    assert settings.ingest.tickers == ["B"]


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    config = write(tmp_path, 'shard = "binance_usdm_2"\n')
    assert load(None, {"TICKBUS_CONFIG": str(config)}).of_shard.md == "MD_BINANCE_USDM_2"


def test_lists_come_with_commas_or_as_json() -> None:
    assert load(None, {"TICKBUS_INGEST__TICKERS": "A, B"}).ingest.tickers == ["A", "B"]
    assert load(None, {"TICKBUS_INGEST__TICKERS": '["A,1"]'}).ingest.tickers == ["A,1"]


def test_a_setting_that_is_gone_says_what_to_do_instead(tmp_path: Path) -> None:
    config = write(tmp_path, '[ingest]\nchannels = ["trade"]\n')
    (line,) = mistakes(config)
    assert line.startswith("ingest.channels (")
    assert "name feeds in ingest.feeds" in line
    (line,) = mistakes(None, {"TICKBUS_INGEST__CHANNELS": "trade"})
    assert "TICKBUS_INGEST__CHANNELS" in line


def test_sizes_may_have_units(tmp_path: Path) -> None:
    config = write(tmp_path, '[nats]\nmax_bytes = "3 GiB"\n')
    assert load(config, {}).nats.max_bytes == 3 * 1024**3


def test_every_mistake_is_named_at_once_with_its_key_value_and_what_is_allowed(
    tmp_path: Path,
) -> None:
    config = write(
        tmp_path,
        """
        [nats]
        replicas = 2
        [ingest]
        exchange = "binanse"
        linger_ms = -1
        silence_s = inf
        [book]
        depth = "deep"
        intervals = ["7s"]
        [writer]
        streams = ["md", "bok"]
        """,
    )
    lines = mistakes(config, {"TICKBUS_HEALTH__PORT": "70000", "TICKBUS_INGEST__RAW": "maybe"})
    for key, value, rule in [
        ("nats.replicas", "2", "one of 1, 3, 5"),
        ("ingest.exchange", "'binanse'", "built are binance_coinm"),
        ("ingest.linger_ms", "-1", "a number, at least 0"),
        ("ingest.silence_s", "inf", "a number, above 0"),
        ("book.depth", "'deep'", "a whole number, at least 1, at most 1000"),
        ("book.intervals", "['7s']", "divides a day"),
        ("writer.streams", "['md', 'bok']", "a list, each one of"),
        ("health.port", "'70000'", "at most 65535"),
        ("ingest.raw", "'maybe'", "true or false"),
    ]:
        (line,) = [line for line in lines if line.startswith(f"{key} = {value} (")]
        assert rule in line
    assert len(lines) == 9


def test_unknown_keys_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    config = write(
        tmp_path, "spead = 3\n[featurs]\n[ingest]\ntikers = []\n[book]\nzstd_level = 3\n"
    )
    lines = mistakes(config, {"TICKBUS_NATS_URL": "nats://x"})
    assert any("tikers" in line and "did you mean ingest.tickers?" in line for line in lines)
    assert any("featurs" in line and "did you mean features?" in line for line in lines)
    assert any("book.zstd_level" in line and "writer.zstd_level" in line for line in lines)
    assert any("TICKBUS_NATS_URL" in line and "did you mean nats.url?" in line for line in lines)
    assert any(line.startswith("spead (") for line in lines)
    assert len(lines) == 5


def test_a_section_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (line,) = mistakes(write(tmp_path, "nats = 3\n"))
    assert line.startswith("nats (")


def test_a_file_that_is_not_there_or_not_toml_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="No such file"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(Fatal, match="is not TOML"):
        load(write(tmp_path, "= 3"), {})


def test_a_password_in_an_address_is_never_shown() -> None:
    (line,) = mistakes(None, {"TICKBUS_NATS__URL": "http://me:secret@host"})
    assert "secret" not in line
    assert redact("nats://me:secret@host:1,nats://you:x@b") == "nats://host:1,nats://b"


def test_other_variables_of_ours_are_no_settings() -> None:
    assert load(None, {"TICKBUS_CAPTURES": "/x", "TICKBUS_DEBUG": "1", "PATH": "y"}) == Settings()


@pytest.mark.parametrize("key", KEYS)
def test_every_key_can_be_set_to_its_default_from_the_environment(key: str) -> None:
    section, _, name = key.rpartition(".")
    defaults = getattr(Settings(), section) if section else Settings()
    value = getattr(defaults, name)
    text = environment({key: value})[env_name(key)]
    assert load(None, {env_name(key): text}) == Settings()
    assert allowed(KEYS[key].type)


@given(st.dictionaries(st.sampled_from(sorted(KEYS)), st.text(max_size=8), max_size=4))
def test_any_text_at_all_is_taken_or_named_and_nothing_else_is_raised(
    given: dict[str, str],
) -> None:
    try:
        load(None, {env_name(key): text for key, text in given.items()})
    except Fatal as error:
        named = [line.split()[0] for line in str(error).splitlines()[1:]]
        assert named
        assert set(named) <= set(given)


def test_every_setting_is_listed_with_its_variable_default_and_meaning() -> None:
    found = {one.name: one for one in listed()}
    assert list(found) == list(KEYS)
    for name, one in found.items():
        assert one.variable == env_name(name)
        assert one.meaning, name
        assert one.allowed
        given = one.default if isinstance(one.default, str) else json.dumps(one.default)
        if one.default != [] and one.default != "":
            load(None, {one.variable: given})  # the default itself may be written there
    assert found["ingest.linger_ms"].unit == "ms"
    assert found["writer.memory_bytes_max"].unit == "bytes"
    assert found["health.port"].section == "health"


def test_settings_are_printed_with_the_values_that_a_run_would_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path, "[ingest]\nraw = false\n")
    monkeypatch.setenv("TICKBUS_NATS__URL", "nats://me:secret@127.0.0.1:4222")
    assert printed("ingest.raw", "--config", str(config)) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "ingest.raw = true"
    assert "TICKBUS_INGEST__RAW" in out
    assert out.splitlines()[-1] == "    now false"
    assert printed("nats", "--json") == 0
    out = capsys.readouterr().out
    names = [one["name"] for one in json.loads(out)["settings"]]
    assert names == [name for name in KEYS if name.startswith("nats.")]
    assert "secret" not in out
    monkeypatch.setenv("TICKBUS_ALERTS__TELEGRAM_TOKEN", "123:secret")
    assert printed("alerts") == 0
    out = capsys.readouterr().out
    assert "(set, not shown)" in out
    assert "secret" not in out


def test_a_setting_that_there_is_none_of_is_answered_with_the_nearest() -> None:
    with pytest.raises(Fatal, match=r"did you mean ingest.linger_ms\?"):
        printed("ingest.linger")


def printed(*words: str) -> int:
    parser = argparse.ArgumentParser()
    settings_command.configure(parser)
    return settings_command.run(parser.parse_args(words))


def test_shards_are_named_by_their_exchange_or_with_it() -> None:
    settings = load(None, {"TICKBUS_SHARDS": "okx, kraken_2=kraken"})
    assert [(one.name, one.exchange.token) for one in settings.of_shards] == [
        ("okx", "okx"), ("kraken_2", "kraken")
    ]  # fmt: skip
    assert load(None, {}).of_shards == [load(None, {}).of_shard]
    for wrong in ("nowhere", "a=nowhere", "okx,okx", "OKX=okx"):
        (line,) = mistakes(None, {"TICKBUS_SHARDS": wrong})
        assert line.startswith("shards = ")


def test_venues_of_the_environment_stand_between_semicolons() -> None:
    settings = load(None, {"TICKBUS_VENUES": "okx:A,B; kraken:C"})
    assert settings.venues == ["okx:A,B", "kraken:C"]
