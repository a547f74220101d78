"""`tickbus init`: create the streams of the configured shard, or bring them up to date."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from tickbus.log.connection import connect
from tickbus_schemas.errors import Fatal, Retry

from tickbus_runtime.bus import connection
from tickbus_runtime.bus.streams import ensure
from tickbus_runtime.settings.built import check_built
from tickbus_runtime.settings.sections import Settings, Shard, shard_of
from tickbus_runtime.settings.sources import from_text, load

help = "create the streams of a shard; safe to repeat"

_EXAMPLES = """\
examples:
  tickbus init --nats nats://127.0.0.1:4222 --exchange binance_usdm
  tickbus init --exchange okx --exchange deribit
  tickbus init --config tickbus.toml --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--config", metavar="FILE", help="settings (TOML)")
    parser.add_argument("--exchange", metavar="NAME", action="append", default=[],
        help="e.g. binance_usdm; repeat it for more")  # fmt: skip
    parser.add_argument("--tickers", metavar="A,B", help="only these; default: every ticker")
    parser.add_argument("--nats", metavar="URL", help="the server")
    parser.add_argument("--data", metavar="DIR", help="data folder of a running 'tickbus up'")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """0 when every stream exists as declared."""
    given = {"nats.url": args.nats, "data_dir": args.data}
    overrides = {k: v for k, v in given.items() if v is not None}
    settings = load(args.config, overrides=overrides)
    named = args.exchange or [text.partition(":")[0] for text in settings.venues]
    check_built(named)
    if len(named) == 1:
        settings = load(args.config, overrides={**overrides, "ingest.exchange": named[0]})
    shards = [*map(shard_of, named)] if len(named) > 1 else [settings.of_shard]
    tickers = from_text("ingest.tickers", args.tickers) if args.tickers else None
    # Without an address, every client tries the server of the data folder.
    url = settings.nats.url if args.nats or args.config else None
    made = asyncio.run(_ensure(settings, url, shards, tickers))
    if args.json:
        print(json.dumps({"streams": made}))
    else:
        for name, what in made.items():
            print(f"{name:<28} {what}")
    return 0


async def _ensure(
    settings: Settings, url: str | None, shards: list[Shard], tickers: list[str] | None
) -> Any:
    try:
        nc = await connect(
            url,
            name="tickbus-init",
            user=settings.nats.user,
            password=connection.password(settings.nats),
            creds_file=settings.nats.creds_file,
            data_dir=settings.data_dir,
        )
    except Retry as error:
        raise Fatal(str(error)) from None
    try:
        made: dict[str, str] = {}
        for shard in shards:
            # What all shards share is made with the first.
            made = {**await ensure(nc.jetstream(), settings, shard, tickers), **made}
        return made
    finally:
        await connection.close(nc)
