"""The receivers that the settings name; secrets come from files or from the environment."""

from __future__ import annotations

import re
from pathlib import Path

from tickbus_runtime.settings.sections import AlertsSettings
from tickbus_schemas.errors import Fatal

from tickbus_alerts.receivers.receiver import Receiver
from tickbus_alerts.receivers.telegram import Telegram
from tickbus_alerts.receivers.webhook import Alertmanager, Slack

_TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]+")
_URL = re.compile(r"https?://[^\s/]+\S*", re.IGNORECASE)


def receivers(settings: AlertsSettings) -> list[Receiver]:
    """Fatal for none at all and for what cannot be right; no error shows a secret."""
    found: list[Receiver] = []
    token = _secret("telegram_token", settings.telegram_token, settings.telegram_token_file)
    chat = _secret("telegram_chat", settings.telegram_chat, settings.telegram_chat_file)
    if token or chat:
        found.append(_telegram(settings.telegram_url, token, chat))
    url = _secret("webhook_url", settings.webhook_url, settings.webhook_url_file)
    if url:
        if not _URL.fullmatch(url):
            raise Fatal("alerts.webhook_url is not an address that begins with http or https")
        shape = Slack if settings.webhook_shape == "slack" else Alertmanager
        found.append(shape(url))
    if not found:
        raise Fatal(
            "alerts go nowhere: set alerts.telegram_token_file and alerts.telegram_chat, or "
            "alerts.webhook_url_file (docs/operations.md)"
        )
    return found


def _telegram(base_url: str, token: str, chat: str) -> Telegram:
    if not token or not chat:
        missing = "alerts.telegram_chat" if token else "alerts.telegram_token_file"
        raise Fatal(f"Telegram needs a token and a chat: {missing} is not set")
    if not _TOKEN.fullmatch(token):
        raise Fatal("alerts.telegram_token is not a bot's token: <number>:<letters and digits>")
    return Telegram(base_url, token, chat)


def _secret(name: str, value: str, file: str) -> str:
    if not file:
        return value.strip()
    if value:
        raise Fatal(f"alerts.{name} and alerts.{name}_file are both set: leave one")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise Fatal(f"alerts.{name}_file {file}: {why}") from None
