"""Telegram: https://core.telegram.org/bots/api#sendmessage

Limits: 4,096 characters a message; 20 messages a minute to a group
(https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this).
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import msgspec
from tickbus_schemas.messages import Alert

from tickbus_alerts import wording
from tickbus_alerts.receivers.receiver import (
    RETRY_AFTER_MAX_S,
    Again,
    Answer,
    Plainer,
    Post,
    Receiver,
    Refused,
    Sent,
    Verdict,
    Wrong,
    judge_http,
    seconds_of,
)

LENGTH_MAX = 3_800
SETTINGS = "alerts.telegram_token, or its file"


class _Parameters(msgspec.Struct):
    retry_after: float = -1.0
    migrate_to_chat_id: int = 0


class _Said(msgspec.Struct):
    ok: bool
    description: str = ""
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)


class Telegram(Receiver):
    """A bot that writes to one chat."""

    name = "telegram"

    def __init__(self, base_url: str, token: str, chat: str) -> None:
        self._base_url, self._token, self._chat = base_url.rstrip("/"), token, chat

    def check(self) -> Post:
        """Whether the token is one (https://core.telegram.org/bots/api#getme)."""
        return Post(self._url("getMe"), {})

    def post(self, alerts: Sequence[Alert], *, plain: bool) -> Post:
        """One message."""
        bold, safe = (str, str) if plain else (_bold, _safe)
        body: dict[str, Any] = {
            "chat_id": self._chat,
            "text": wording.letter(alerts, bold, safe, LENGTH_MAX),
            "link_preview_options": {"is_disabled": True},
        }
        if not plain:
            body["parse_mode"] = "HTML"
        return Post(self._url("sendMessage"), body)

    def judge(self, answer: Answer, *, plain: bool) -> Verdict:
        """By the body where it is Telegram's, else by the status."""
        said = _read(answer.text)
        if said is None or said.ok:
            if 200 <= answer.status < 300 and said is None:
                return Again("an answer that is not Telegram's")
            return judge_http(answer, SETTINGS) if said is None else Sent()
        why = f"{answer.status} {said.description[:200]}"
        if answer.status == 429:
            return Again(why, _after_s(said, answer))
        if answer.status in (401, 404):
            return Wrong(f"it does not know the token ({why}): correct {SETTINGS}")
        if said.parameters.migrate_to_chat_id:
            chat = said.parameters.migrate_to_chat_id
            return Wrong(f"the chat has a new number: set alerts.telegram_chat to {chat}")
        if answer.status == 403 or "chat" in said.description.lower():
            return Wrong(
                f"the bot may not write to the chat ({why}): add it there, or correct "
                "alerts.telegram_chat"
            )
        if answer.status == 400:
            return Refused(why) if plain else Plainer()
        return judge_http(answer, SETTINGS)

    def _url(self, method: str) -> str:
        return f"{self._base_url}/bot{self._token}/{method}"


def _after_s(said: _Said, answer: Answer) -> float | None:
    after_s = said.parameters.retry_after
    return min(after_s, RETRY_AFTER_MAX_S) if after_s >= 0 else seconds_of(answer.retry_after)


def _read(text: str) -> _Said | None:
    try:
        return msgspec.json.decode(text, type=_Said)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _safe(text: str) -> str:
    return html.escape(text, quote=False)


def _bold(text: str) -> str:
    return f"<b>{_safe(text)}</b>"
