"""Every metric, latency stage and span, declared once with unit and meaning.

Counters are exposed to Prometheus as `tickbus_<name>_total`, gauges as `tickbus_<name>`, stages as
the histogram `tickbus_latency_seconds{stage="..."}`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """Kind, unit and meaning of a metric."""

    kind: Literal["counter", "gauge"]
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()


def _counter(unit: str, meaning: str, *labels: str) -> Metric:
    return Metric("counter", unit, meaning, labels)


def _gauge(unit: str, meaning: str, *labels: str) -> Metric:
    return Metric("gauge", unit, meaning, labels)


METRICS: dict[str, Metric] = {
    # ingest: every frame is websocket or rest; what becomes of the former adds up in `fates`
    "frames": _counter("frames", "received: websocket, rest (books), instruments", "source"),
    "fates": _counter("frames", "by how they ended: published, stale, refused, ...", "fate"),
    "requests": _counter("answers", "that the venue gives to what we send"),
    "frame_bytes": _counter("bytes", "of received frames and bodies", "source"),
    "control_frames": _counter("frames", "that carry no market data (answers, pings, notices)"),
    "ignored_frames": _counter("frames", "of channels that were not asked for", "channel"),
    "events": _counter("events", "published: trades, L2 packets, quotes, statuses", "feed"),
    "duplicates": _counter("events", "dropped because an earlier one said the same", "feed"),
    "late_trades": _counter("trades", "that arrived after later ones of their ticker; kept"),
    "stale_events": _counter("events", "older than the snapshot or out of sequence", "feed"),
    "rejects": _counter("frames or messages", "refused and kept as dead letters", "reason"),
    "dead_letters_dropped": _counter("dead letters", "that their stream did not take in time"),
    "venue_errors": _counter("answers", "in which the venue refused something"),
    "venue_failures": _counter("calls", "of a venue's file that failed", "function"),
    "rest_failures": _counter("requests", "over REST that brought no body"),
    "resume_skipped": _counter(
        "messages", "that an earlier ingest stored last and that make no sense"
    ),
    "reused_ids": _counter("events", "whose id was used before for another one; kept", "feed"),
    "packet_parts": _counter("packets", "more than frames, because a frame had too many levels"),
    "gaps": _counter("gaps", "announced: a ticker's feed lost data", "feed"),
    "resyncs": _counter("books", "that had to be fetched again"),
    "snapshots": _counter("snapshots", "of books put into the log", "source"),
    "connects": _counter("connections", "opened to the venue"),
    "disconnects": _counter("connections", "lost or closed", "reason"),
    "line_wins": _counter("events", "that a line brought first, among those of its route", "line"),
    "line_drops": _counter("events", "that it brought later than another one", "line"),
    "line_gaps": _counter("events", "that another one brought and it never did", "line"),
    "line_lead": _gauge("us", "by which it was first, in the last report", "line", "quantile"),
    "line_behind": _gauge("us", "by which it was later", "line", "quantile"),
    "long_decimals": _counter("numbers", "of more than 15 digits: the double is not the text"),
    "unchecked_updates": _counter("updates", "whose checksum the doubles of a book do not tell"),
    "inferred_times": _counter("events", "to which the venue gave no time", "feed"),
    "books_live": _gauge("books", "in state LIVE"),
    "books_not_live": _gauge("books", "in state SYNCING or GAP"),
    "buffer_frames": _gauge("frames", "waiting for the bus"),
    "buffer_bytes": _gauge("bytes", "waiting for the bus"),
    "buffer_overflows": _counter("times", "the buffer was full and data was dropped as a gap"),
    "raw_bytes": _gauge("bytes", "of text handed to the raw recorder"),
    "raw_dropped": _counter("frames", "that the raw recorder had no room for"),
    # the bus
    "messages_published": _counter("messages", "stored by the server"),
    "bytes_published": _counter("bytes", "of their payloads"),
    "publish_retries": _counter("messages", "sent again for want of an answer"),
    "publish_duplicates": _counter("messages", "already stored by an earlier attempt"),
    "publish_refused": _counter("messages", "refused by the server", "code"),
    "flushes": _counter("flushes", "each waits once for the server's answers"),
    "bus_errors": _counter("errors", "reported by the NATS client", "kind"),
    "bus_losses": _gauge("times", "the connection to NATS was lost"),
    # readers
    "messages_read": _counter("messages", "taken from the log", "stream"),
    "bytes_read": _counter("bytes", "of their payloads", "stream"),
    "rows_read": _counter("rows", "in them", "stream"),
    "log_breaks": _counter("breaks", "of message_no: hole, repeat or epoch going back", "kind"),
    "log_expired": _counter("messages", "gone from the stream before they were read", "stream"),
    "pending": _gauge("messages", "in the stream that are not read yet", "stream"),
    "checkpoints": _counter("checkpoints", "stored"),
    "outputs_suppressed": _counter("messages", "not sent again after a restart"),
    # folds
    "rows": _counter("rows", "made", "feed"),
    "late_events": _counter("events", "that arrived after their grid point or bucket closed"),
    "left_out_events": _counter("events", "not applied: they follow no whole book"),
    "grid_restarts": _counter("times", "a jump in venue time began a time grid anew"),
    # writer
    "rows_written": _counter("rows", "in committed files", "feed"),
    "files_written": _counter("files", "committed", "feed"),
    "bytes_written": _counter("bytes", "in committed files", "feed"),
    "blocks_committed": _counter("blocks", "with a manifest entry", "stream"),
    "rows_waiting": _gauge("rows", "read and not yet in a committed file", "stream"),
    # the notifier of alerts
    "notifications": _counter("requests", "to a receiver: sent, repeated, refused", "outcome"),
    "notified": _counter("alerts", "that a receiver has taken"),
    # every process
    "alerts": _counter("alerts", "told: raised, renewed, resolved", "state"),
    "alerts_open": _gauge("alerts", "raised and not resolved"),
    "telemetry_dropped": _counter("spans", "that found no room or no collector"),
}

STAGES: dict[str, str] = {
    "wire": "venue's event time to socket read (both clocks; negative values count as 0)",
    "ingest": "socket read to the server's answer: parse, book, encode, publish",
    "parse": "socket read to parsed and booked",
    "publish": "first byte of a flush to its last answer",
    "bus": "stored by the server to received by a reader",
    "book": "received to derived messages stored",
    "feature": "received to derived messages stored",
    "write": "stored by the server to committed in a file",
    "total": "socket read to derived messages stored",
}
"""Latency histograms, all in microseconds."""

SPANS: dict[str, str] = {
    "packet": "root: one received frame, from the socket read to its server's answer",
    "receive": "socket read until the session takes the frame",
    "parse": "decode, check, book",
    "publish": "encode, send, answer",
    "bus": "stored until a reader has it",
    "book.process": "book: received until its outputs are stored",
    "feature.process": "features: received until their outputs are stored",
    "write": "writer: received until committed in a Parquet file",
    "write.block": "root of a batch's own trace: one block of a stream into files",
}
