"""What each receiver is sent, and what its answers mean."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tickbus_alerts.configured import receivers
from tickbus_alerts.receivers.receiver import (
    Again,
    Answer,
    Plainer,
    Receiver,
    Refused,
    Sent,
    Wrong,
)
from tickbus_alerts.receivers.telegram import Telegram
from tickbus_alerts.receivers.webhook import Alertmanager, Slack
from tickbus_runtime.settings.sections import AlertsSettings
from tickbus_schemas.errors import Fatal
from tickbus_schemas.messages import Alert, Severity

from tests.alerts.receiving import CHAT, RESOLVED, TOKEN, alert

TELEGRAM = Telegram("https://api.telegram.org/", TOKEN, CHAT)
SLACK = Slack("https://hooks.example/T/B/secret")
ALERTMANAGER = Alertmanager("https://hook.example/secret")
texts = st.text(max_size=5000)
alerts = st.builds(
    alert,
    number=st.integers(0, 10**6),
    state=st.sampled_from([1, 2, 3, 77]),
    severity=st.sampled_from([1, 2, 9]),
    cause=texts,
    remedy=texts,
    about=texts,
)


def body(receiver: Receiver, *several: Alert, plain: bool = False) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(json.dumps(receiver.post(several, plain=plain).body))
    return sent


def test_a_message_says_what_since_when_and_what_to_do() -> None:
    post = TELEGRAM.post([alert()], plain=False)
    assert post.url == f"https://api.telegram.org/bot{TOKEN}/sendMessage"
    assert TOKEN not in repr(post)
    assert post.body == {
        "chat_id": CHAT,
        "text": "<b>RAISED critical: no_data of ingest binance_usdm (n1)</b>\nseen 1\n"
        "since 2024-08-08 00:00:00Z\nTo do: look at &lt;ingest&gt; &amp; its log",
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }
    over = body(TELEGRAM, alert(60_000_000, RESOLVED), plain=True)
    assert "parse_mode" not in over
    assert over["text"] == (
        "RESOLVED critical: no_data of ingest binance_usdm (n60000000)\nIt was: seen 60000000\n"
        "2024-08-08 00:00:00Z to 2024-08-08 00:01:00Z"
    )


def test_a_digest_has_a_line_each_the_severe_ones_first() -> None:
    text = body(SLACK, alert(1, severity=Severity.WARNING), alert(2, RESOLVED), alert(3))["text"]
    title, *lines = text.split("\n")
    assert title == "*3 alerts: 2 raised, 1 resolved, 2 critical*"
    assert [line.rpartition("seen ")[2] for line in lines] == ["2", "3", "1"]


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)


@given(st.lists(alerts, min_size=1, max_size=80))
def test_whatever_an_alert_says_its_message_is_sound_and_short_enough(several: list[Alert]) -> None:
    parser = _Text()
    parser.feed(body(TELEGRAM, *several)["text"])
    parser.close()
    assert set(parser.tags) == {"b"}
    assert 0 < len(parser.text) <= 4096
    assert len(body(TELEGRAM, *several, plain=True)["text"]) <= 4096
    assert body(SLACK, *several)["text"].count("<") == 0
    assert len(body(ALERTMANAGER, *several)["alerts"]) == len(several)


def test_alertmanagers_shape_has_all_that_its_readers_look_for() -> None:
    sent = body(ALERTMANAGER, alert(1), alert(60_000_001, RESOLVED, about=""))
    assert (sent["version"], sent["status"], sent["receiver"]) == ("4", "firing", "tickbus")
    assert sent["commonLabels"] == {
        "alertname": "no_data",
        "severity": "critical",
        "source": "ingest",
        "shard": "binance_usdm",
    }
    firing, resolved = sent["alerts"]
    assert firing["status"] == "firing"
    assert firing["labels"]["about"] == "n1"
    assert firing["startsAt"] == "2024-08-08T00:00:00.000000Z"
    assert firing["endsAt"] == "0001-01-01T00:00:00Z"
    assert firing["annotations"] == {"summary": "seen 1", "remedy": "look at <ingest> & its log"}
    assert (resolved["status"], resolved["endsAt"]) == ("resolved", "2024-08-08T00:01:00.000001Z")
    again, other = (body(ALERTMANAGER, one)["alerts"][0] for one in (alert(1, RESOLVED), alert(2)))
    assert again["fingerprint"] == firing["fingerprint"] != other["fingerprint"]


def said(status: int, description: str, header: str = "", **parameters: Any) -> Answer:
    answer = {"ok": False, "error_code": status, "description": description}
    return Answer(status, json.dumps(answer | {"parameters": parameters}), header)


PARSE = "Bad Request: can't parse entities: unsupported start tag"


@pytest.mark.parametrize(
    ("answer", "plain", "verdict"),
    [
        (Answer(200, '{"ok":true,"result":{"message_id":1}}'), False, Sent()),
        (Answer(200, "<html>log in to this network</html>"), False, Again),
        (said(429, "Too Many Requests", retry_after=7), False, Again("429 Too Many Requests", 7)),
        (said(429, "Too Many Requests", "9"), False, Again("429 Too Many Requests", 9)),
        (said(429, "Too Many Requests"), False, Again("429 Too Many Requests", None)),
        (said(400, PARSE), False, Plainer()),
        (said(400, PARSE), True, Refused),
        (said(400, "Bad Request: message text is empty"), True, Refused),
        (said(400, "Bad Request: chat not found"), False, Wrong),
        (said(400, "Bad Request: group upgraded", migrate_to_chat_id=-1009), False, Wrong),
        (said(401, "Unauthorized"), False, Wrong),
        (said(404, "Not Found"), False, Wrong),
        (said(403, "Forbidden: bot was kicked"), False, Wrong),
        (said(500, "Internal"), False, Again),
        (Answer(502, "<html>bad gateway"), False, Again),
        (Answer(0, "connection refused"), False, Again("connection refused")),
        (Answer(302, ""), False, Wrong),
    ],
)
def test_an_answer_of_telegram(answer: Answer, plain: bool, verdict: Any) -> None:
    found = TELEGRAM.judge(answer, plain=plain)
    assert found == verdict or type(found) is verdict


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(200, "ok"), Sent()),
        (Answer(204), Sent()),
        (Answer(429, "slow down", "30"), Again("HTTP 429 slow down", 30)),
        (Answer(429, "", "Wed, 21 Oct 2026 07:28:00 GMT"), Again("HTTP 429", None)),
        (Answer(503, ""), Again("HTTP 503", None)),
        (Answer(400, "invalid_payload"), Refused("HTTP 400 invalid_payload")),
        (Answer(413, ""), Refused("HTTP 413")),
        (Answer(404, "no_service"), Wrong),
        (Answer(410, "channel_is_archived"), Wrong),
        (Answer(301, ""), Wrong),
        (Answer(0, "reset"), Again("reset")),
    ],
)
def test_an_answer_of_a_webhook(answer: Answer, verdict: Any) -> None:
    found = SLACK.judge(answer, plain=False)
    assert found == verdict or type(found) is verdict


@given(st.integers(0, 999), st.text(max_size=50), st.text(max_size=10), st.booleans())
def test_any_answer_has_a_verdict_that_does_not_show_a_secret(
    status: int, text: str, retry_after: str, plain: bool
) -> None:
    answer = Answer(status, text, retry_after)
    for one in (TELEGRAM, SLACK, ALERTMANAGER):
        found = repr(one.judge(answer, plain=plain))
        assert "secret" not in found.replace(repr(text), "")
        assert "SECRET" not in found


# ---------------------------------------------------------------- settings


def wrong(**settings: Any) -> str:
    with pytest.raises(Fatal) as caught:
        receivers(AlertsSettings(**settings))
    assert "SECRET" not in str(caught.value)
    return str(caught.value)


def test_secrets_come_from_files(tmp_path: Any) -> None:
    token, chat, url = (tmp_path / name for name in ("token", "chat", "url"))
    token.write_text(TOKEN + "\n")
    chat.write_text(f" {CHAT}\n")
    url.write_text("https://hooks.example/x\n")
    found = receivers(
        AlertsSettings(
            telegram_token_file=str(token),
            telegram_chat_file=str(chat),
            webhook_url_file=str(url),
            webhook_shape="alertmanager",
        )
    )
    assert [one.name for one in found] == ["telegram", "alertmanager"]
    assert found[0].post([alert()], plain=True).url.endswith(f"/bot{TOKEN}/sendMessage")
    assert found[1].post([alert()], plain=True).url == "https://hooks.example/x"


def test_mistakes_name_the_setting_and_no_secret(tmp_path: Any) -> None:
    assert "alerts go nowhere" in wrong()
    assert "alerts.telegram_chat is not set" in wrong(telegram_token=TOKEN)
    assert "alerts.telegram_token_file is not set" in wrong(telegram_chat="@SECRET")
    assert "not a bot's token" in wrong(telegram_token="SECRET", telegram_chat="1")
    assert "begins with http" in wrong(webhook_url="ftp://SECRET")
    assert "both set" in wrong(webhook_url="https://SECRET", webhook_url_file="x")
    assert "No such file" in wrong(webhook_url_file=str(tmp_path / "gone"))
