"""Every setting of every process: from one TOML file; `TICKBUS_<SECTION>__<KEY>` overrides it.

Each key has its type, its limits and its meaning; `sources` reads the values. These are msgspec
structs, because a service imports them at every start (pydantic-settings takes 0.3 s).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta
from tickbus_schemas import subjects
from tickbus_schemas.exchanges import Exchange

from tickbus_runtime.settings.services import PORT_MAX, STREAM_KINDS

if TYPE_CHECKING:
    StreamKind: TypeAlias = str
else:
    StreamKind = Literal[STREAM_KINDS]  # its values come from a table

MiB = 1024**2
GiB = 1024**3

Count = Annotated[int, Meta(ge=1)]
CountOrOff = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Milliseconds = Annotated[float, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=PORT_MAX)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sections: immutable, named arguments only."""


class NatsSettings(Section, frozen=True, kw_only=True):
    """Where the bus is, and what `tickbus init` makes of its streams."""

    url: Annotated[str, Meta(description="NATS server, or several with commas between")] = (
        "nats://127.0.0.1:4222"
    )
    user: Annotated[str, Meta(description="user name; empty: none")] = ""
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    creds_file: Annotated[str, Meta(description="NATS credentials file (JWT and seed)")] = ""
    replicas: Annotated[Literal[1, 3, 5], Meta(description="copies of each stream")] = 1
    max_age_h: Annotated[Seconds, Meta(description="hours that a stream keeps its messages")] = 24.0
    max_bytes: Annotated[Count, Meta(description="bytes of a shard's raw stream at most")] = (
        20 * GiB
    )
    republish: Annotated[bool, Meta(description="send what was stored to live.<subject>")] = True
    sync_always: Annotated[
        bool, Meta(description="the server fsyncs each message (its setting)")
    ] = False


class IngestSettings(Section, frozen=True, kw_only=True):
    """What is fetched from the venue, and how much of it may wait."""

    exchange: Annotated[str, Meta(description="exchange token")] = "binance_usdm"
    tickers: Annotated[
        list[str],
        Meta(description="as the venue spells them; * for all, BTC* for all that fit"),
    ] = msgspec.field(default_factory=list)
    feeds: Annotated[
        list[str], Meta(description="what is taken of each ticker: trade, l2, bbo, ticker, ...")
    ] = msgspec.field(default_factory=lambda: ["trade", "l2", "bbo"])
    connections: Annotated[
        Count, Meta(description="that carry the same streams: the fastest one wins", le=7)
    ] = 1
    bind: Annotated[
        list[str], Meta(description="local address of each of them, in turn; none: the system's")
    ] = msgspec.field(default_factory=list)
    hosts: Annotated[
        list[str],
        Meta(description="where each of them goes, in turn: wss://host, host:port or venue"),
    ] = msgspec.field(default_factory=list)
    lines_report_s: Annotated[
        Seconds, Meta(description="how each of several connections did is said this often")
    ] = 60.0
    limits: Annotated[
        bool, Meta(description="keep the venue's limits; false for a venue on this machine")
    ] = True
    ws_url: Annotated[str, Meta(description="instead of the venue's WebSocket address")] = ""
    rest_url: Annotated[str, Meta(description="instead of the venue's REST address")] = ""
    linger_ms: Annotated[
        Milliseconds, Meta(description="wait for more frames before a flush; 0: as acks allow")
    ] = 0.0
    reorder_wait_ms: Annotated[
        Milliseconds, Meta(description="what comes too early waits so long for the one before it")
    ] = 200.0
    instruments_refresh_s: Annotated[
        Seconds, Meta(description="ask for the venue's list of instruments this often")
    ] = 3600.0
    flush_frames_max: Annotated[Count, Meta(description="frames in one flush at most")] = 8192
    buffer_frames: Annotated[Count, Meta(description="frames that may wait for the bus")] = 200_000
    buffer_bytes: Annotated[Count, Meta(description="their bytes")] = 256 * MiB
    snapshot_interval_s: Annotated[
        Seconds, Meta(description="a full book into the log this often")
    ] = 300.0
    snapshot_limit: Annotated[
        CountOrOff, Meta(description="levels a side asked of the venue; 0: its most")
    ] = 0
    max_frame_bytes: Annotated[Count, Meta(description="a longer frame is refused")] = 16 * MiB
    raw: Annotated[bool, Meta(description="keep frames as received under <data_dir>/_raw")] = True
    raw_rotate_s: Annotated[Seconds, Meta(description="a new raw file after this time")] = 3600.0
    raw_rotate_bytes: Annotated[Count, Meta(description="or after this many bytes of text")] = GiB
    stop_at_end: Annotated[bool, Meta(description="leave when a capture venue has ended")] = False
    capture_times: Annotated[
        bool, Meta(description="take rcv_timestamp from the capture that the venue serves")
    ] = False
    websocket_client: Annotated[
        Literal["auto", "websockets", "picows"], Meta(description="auto: the fastest installed")
    ] = "auto"
    silence_s: Annotated[Seconds, Meta(description="reconnect after so long without a frame")] = (
        30.0
    )
    ticker_silence_s: Annotated[
        Seconds, Meta(description="resubscribe a ticker that is silent for so long")
    ] = 300.0
    connection_attempts_per_5min: Annotated[Count, Meta(description="budget of connects")] = 100


class BookSettings(Section, frozen=True, kw_only=True):
    """Books on a time grid."""

    intervals: Annotated[list[str], Meta(description="grids, e.g. 100ms")] = msgspec.field(
        default_factory=lambda: ["100ms"]
    )
    depth: Annotated[int, Meta(ge=1, le=1000, description="levels a side published")] = 10
    on_change: Annotated[bool, Meta(description="publish each change of the top levels too")] = (
        False
    )
    checkpoint_s: Annotated[Seconds, Meta(description="between checkpoints")] = 10.0


class FeatureSettings(Section, frozen=True, kw_only=True):
    """Bars and features."""

    intervals: Annotated[list[str], Meta(description="bucket lengths")] = msgspec.field(
        default_factory=lambda: ["100ms", "1s", "1m"]
    )
    grace_ms: Annotated[CountOrOff, Meta(description="a bucket waits so long for late events")] = (
        100
    )
    checkpoint_s: Annotated[Seconds, Meta(description="between checkpoints")] = 10.0


class WriterSettings(Section, frozen=True, kw_only=True):
    """The Parquet data set."""

    root: Annotated[str, Meta(description="its folder; empty: data_dir")] = ""
    block_s: Annotated[
        Count, Meta(description="a file ends when the server's store time passes a multiple")
    ] = 3600
    row_group_rows: Annotated[Count, Meta(description="rows of a row group")] = 262_144
    zstd_level: Annotated[int, Meta(ge=1, le=22, description="Parquet compression")] = 3
    memory_bytes_max: Annotated[
        Count, Meta(description="rows of open files kept in memory at most")
    ] = 256 * MiB
    streams: Annotated[list[StreamKind], Meta(description="kinds that are written")] = (
        msgspec.field(default_factory=lambda: [*STREAM_KINDS])
    )


class AlertsSettings(Section, frozen=True, kw_only=True):
    """Who is told of alerts. Secrets belong into files, or into the environment."""

    telegram_token: Annotated[str, Meta(description="token of the bot")] = ""
    telegram_token_file: Annotated[str, Meta(description="file that holds it")] = ""
    telegram_chat: Annotated[str, Meta(description="number or @name of the chat")] = ""
    telegram_chat_file: Annotated[str, Meta(description="file that holds it")] = ""
    telegram_url: Annotated[str, Meta(description="address of the Bot API")] = (
        "https://api.telegram.org"
    )
    webhook_url: Annotated[str, Meta(description="address that takes JSON by POST")] = ""
    webhook_url_file: Annotated[str, Meta(description="file that holds it")] = ""
    webhook_shape: Annotated[
        Literal["slack", "alertmanager"], Meta(description="shape of the JSON")
    ] = "slack"
    severity: Annotated[
        Literal["warning", "critical"], Meta(description="the least severe that is sent")
    ] = "warning"
    per_minute: Annotated[
        Count, Meta(description="messages to a receiver at most; then a digest")
    ] = 15

    @property
    def receives(self) -> bool:
        """Whether anybody is to be told: `tickbus up` starts the notifier then."""
        given = (self.telegram_token, self.telegram_token_file, self.telegram_chat)
        webhook = (self.webhook_url, self.webhook_url_file)
        return any((*given, self.telegram_chat_file, *webhook))


class TelemetrySettings(Section, frozen=True, kw_only=True):
    """Logs and traces."""

    trace_every: Annotated[
        CountOrOff, Meta(description="trace each n-th packet; 0: none; needs an OTLP endpoint")
    ] = 10_000
    log_format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto: console on a terminal")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="the least that is logged")
    ] = "info"


class HealthSettings(Section, frozen=True, kw_only=True):
    """The HTTP server for probes and metrics."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="0: a free one, see <data_dir>/_run/<service>.json")] = 0


class Settings(Section, frozen=True, kw_only=True):
    """All of them."""

    data_dir: Annotated[str, Meta(description="folder for data, run files and logs")] = "./data"
    shard: Annotated[str, Meta(description="name of the shard; empty: the exchange token")] = ""
    shards: Annotated[
        list[str],
        Meta(
            description="shards that a book, features or writer process serves side by side: "
            "NAME where that is an exchange token, else NAME=EXCHANGE; empty: the one above"
        ),
    ] = msgspec.field(default_factory=list)
    venues: Annotated[
        list[str],
        Meta(
            description="what 'tickbus up' takes side by side: EXCHANGE:TICKER,TICKER; empty: "
            "ingest.exchange"
        ),
    ] = msgspec.field(default_factory=list)
    instance: Annotated[
        str, Meta(description="name of the process in <data_dir>/_run; empty: the service's")
    ] = ""
    nats: NatsSettings = NatsSettings()
    ingest: IngestSettings = msgspec.field(default_factory=IngestSettings)
    book: BookSettings = msgspec.field(default_factory=BookSettings)
    features: FeatureSettings = msgspec.field(default_factory=FeatureSettings)
    writer: WriterSettings = msgspec.field(default_factory=WriterSettings)
    alerts: AlertsSettings = AlertsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    health: HealthSettings = HealthSettings()

    @property
    def of_shard(self) -> Shard:
        """The shard of these settings."""
        exchange = Exchange.from_token(self.ingest.exchange)
        return Shard(name=self.shard or exchange.token, exchange=exchange)

    @property
    def of_shards(self) -> list[Shard]:
        """Those that a process with these settings serves."""
        return [*map(shard_of, self.shards)] or [self.of_shard]


class Shard(msgspec.Struct, frozen=True):
    """One exchange, or a part of its tickers: one raw stream and its derived streams."""

    name: str
    exchange: Exchange

    def stream(self, kind: str) -> str:
        """Stream of this shard: kind md, book, bar or feature."""
        return subjects.stream(kind, self.name)

    @property
    def md(self) -> str:
        """The raw stream: the log from which everything else is derived."""
        return self.stream("md")


def shard_of(text: str) -> Shard:
    """The shard that `NAME` or `NAME=EXCHANGE` names; Reject where there is no such exchange."""
    name, _, exchange = text.partition("=")
    return Shard(name=name.strip(), exchange=Exchange.from_token((exchange or name).strip()))
