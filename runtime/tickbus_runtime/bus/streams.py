"""The streams of a shard, declared as data; `tickbus init` creates and updates them.

ARCHITECTURE.md says what each is for and gives the reasons. Settings:
https://docs.nats.io/nats-concepts/jetstream/streams
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import nats.errors
from nats.js.api import (
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NotFoundError
from tickbus_schemas import subjects
from tickbus_schemas.errors import Fatal

from tickbus_runtime.settings.sections import NatsSettings, Settings, Shard
from tickbus_runtime.settings.services import DERIVED_KINDS

DUPLICATE_WINDOW_S = 120.0
CKPT, DLQ, ALERT = "CKPT", "DLQ", "ALERT"
_HOUR_S, _DAY_S = 3_600.0, 86_400.0
_MiB = 1024**2
_SMALLEST_BYTES = 64 * _MiB
_BLOCK_SEQS = 2**20  # of the writer: a recreated stream begins with a new block
_INSUFFICIENT_STORAGE = 10047
_ENTRY = re.compile(r"[0-9a-z]+-\d+-(\d+)\.json")

_FIXED = ("storage", "num_replicas", "retention", "discard", "duplicate_window")
"""Settings that readers and publishers rely on. A stream with another value is refused."""
_ADJUSTED = ("max_age", "max_bytes", "republish", "allow_direct", "allow_atomic")
"""Settings that are updated in place."""


def declarations(
    settings: NatsSettings, shard: Shard, tickers: Sequence[str] | None = None
) -> list[StreamConfig]:
    """Every stream that a shard needs; `tickers`: of the exchange (None: all)."""
    max_age_s = settings.max_age_h * _HOUR_S

    def of(kind: str) -> list[str]:
        exchange = shard.exchange.token
        tokens = [">"] if tickers is None else [f"{subjects.escape(one)}.*" for one in tickers]
        return [f"{kind}.{exchange}.{token}" for token in tokens]

    raw = StreamConfig(
        name=shard.md,
        description=f"the log of {shard.name}: all feeds as received, in one order",
        subjects=[*of("md"), subjects.fence(shard.name), subjects.clock(shard.name)],
        # A full stream refuses new messages: unread ones are never dropped silently.
        discard=DiscardPolicy.NEW,
        max_age=max_age_s,
        max_bytes=settings.max_bytes,
        republish=RePublish(src=">", dest="live.>") if settings.republish else None,
    )
    derived = [
        StreamConfig(
            name=shard.stream(kind),
            description=f"{kind} rows derived from {shard.md}",
            subjects=of(kind),
            discard=DiscardPolicy.OLD,  # lost rows can be computed again
            max_age=max_age_s,
            max_bytes=max(settings.max_bytes // 4, _SMALLEST_BYTES),
            republish=RePublish(src=">", dest="live.>") if settings.republish else None,
        )
        for kind in DERIVED_KINDS
    ]
    kept = [
        StreamConfig(
            name=DLQ,
            description="messages and frames that were refused",
            subjects=["dlq.>"],
            max_age=7 * _DAY_S,
            max_bytes=256 * _MiB,
        ),
        StreamConfig(
            name=ALERT,
            description="alerts",
            subjects=["alert.>"],
            max_age=30 * _DAY_S,
            max_bytes=_SMALLEST_BYTES,
            republish=RePublish(src=">", dest="live.>") if settings.republish else None,
        ),
        StreamConfig(
            name=CKPT,
            description="checkpoints of the folds, and each shard's last epoch",
            subjects=["ckpt.>"],
            max_msgs_per_subject=1,
            max_age=0.0,
            max_bytes=-1,
        ),
    ]
    for config in (raw, *derived, *kept):
        config.storage = StorageType.FILE
        config.retention = RetentionPolicy.LIMITS
        config.num_replicas = settings.replicas
        config.duplicate_window = min(DUPLICATE_WINDOW_S, config.max_age or DUPLICATE_WINDOW_S)
        config.allow_direct = True
        config.allow_atomic = config is raw
    return [raw, *derived, *kept]


async def ensure(
    js: JetStreamContext,
    settings: Settings,
    shard: Shard,
    tickers: Sequence[str] | None = None,
) -> dict[str, str]:
    """Create missing streams and update the others; returns stream -> what was done.

    Tickers are added, never removed. A stream that was deleted, or lost with its server's disk, is
    created with a first sequence above all in the manifest of the dataset. Fatal when a stream
    exists with another value of a fixed setting, or the server refuses.
    """
    root = Path(settings.writer.root or settings.data_dir)
    done: dict[str, str] = {}
    for wanted in declarations(settings.nats, shard, tickers):
        name = str(wanted.name)
        try:
            try:
                found = await js.stream_info(name)
            except NotFoundError:
                wanted.first_seq = next_block(root, name)
                done[name] = await _create(js, wanted)
            else:
                done[name] = await _update(js, found.config, wanted)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise Fatal(_why_not(name, error)) from None
    return done


def _why_not(name: str, error: Exception) -> str:
    if isinstance(error, APIError) and error.err_code == _INSUFFICIENT_STORAGE:
        return (
            f"the server has no room for stream {name}: free some of its disk, or give it another "
            "folder ('tickbus up --data')"
        )
    return f"stream {name}: the server says {error or type(error).__name__}"


async def _create(js: JetStreamContext, wanted: StreamConfig) -> str:
    """Create it; if the server has less space than wanted, with a smaller limit.

    Then half of what would fit is left for the streams that follow.
    """
    asked = wanted.max_bytes or 0
    while True:
        try:
            await js.add_stream(wanted)
        except APIError as error:
            smaller = (wanted.max_bytes or 0) // 2
            if error.err_code != _INSUFFICIENT_STORAGE or smaller < _SMALLEST_BYTES:
                raise
            wanted.max_bytes = smaller
        else:
            if wanted.max_bytes == asked:
                return "created"
            wanted.max_bytes = (wanted.max_bytes or 0) // 2
            await js.update_stream(wanted)
            return f"created with {wanted.max_bytes // _MiB} MiB"


async def _update(js: JetStreamContext, found: StreamConfig, wanted: StreamConfig) -> str:
    """Add subjects and adjust limits; Fatal if a fixed setting differs."""
    for setting in _FIXED:
        is_so, should_be = getattr(found, setting), getattr(wanted, setting)
        if is_so != should_be:
            raise Fatal(
                f"stream {wanted.name} has {setting} {_shown(is_so)}, wanted {_shown(should_be)}: "
                "change tickbus.toml, or delete the stream once its data is in files"
            )
    changes = {
        setting: getattr(wanted, setting)
        for setting in _ADJUSTED
        if (getattr(found, setting) or None) != (getattr(wanted, setting) or None)
    }
    missing = [one for one in wanted.subjects or () if not _covered(one, found.subjects or ())]
    if missing:
        kept = [one for one in found.subjects or () if not _covered(one, missing)]
        changes["subjects"] = [*kept, *missing]
    if not changes:
        return "unchanged"
    try:
        await js.update_stream(found.evolve(**changes))
    except APIError as error:
        if error.err_code != _INSUFFICIENT_STORAGE or changes.pop("max_bytes", None) is None:
            raise
        if not changes:
            return "unchanged"
        await js.update_stream(found.evolve(**changes))
    return f"updated: {', '.join(changes)}"


def _covered(subject: str, by: Sequence[str]) -> bool:
    """Whether one of the subjects in `by` includes all of `subject`."""
    return any(_takes_in(other.split("."), subject.split(".")) for other in by)


def _takes_in(wide: list[str], narrow: list[str]) -> bool:
    for place, token in enumerate(wide):
        if token == ">":
            return len(narrow) > place
        if place >= len(narrow) or narrow[place] == ">" or token not in ("*", narrow[place]):
            return False
    return len(wide) == len(narrow)


def _shown(value: object) -> str:
    return str(getattr(value, "value", value))


def incarnation(info: StreamInfo) -> str:
    """Short name of one creation of a stream; a recreated stream has another one."""
    if info.created is None:
        raise Fatal("the server does not say when the stream was created: update the server")
    text = f"{info.config.name} {info.created.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def next_block(root: Path, stream: str) -> int | None:
    """First sequence above all in the manifest below `root`; None if the stream has no entry."""
    folder = root / "_manifest" / stream
    entries = [_ENTRY.fullmatch(path.name) for path in folder.glob("*.json")]
    last = max((int(entry[1]) for entry in entries if entry), default=None)
    return None if last is None else (last // _BLOCK_SEQS + 1) * _BLOCK_SEQS
