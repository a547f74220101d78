"""A small real fold, and a process that serves it and dies where it is told to.

`python -m tests.runtime.folding DATA_DIR STEP`; STEP is one of STEPS, or `live` to end in order.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import msgspec
import numpy as np
import structlog
from tickbus.columns.group import Group
from tickbus.log.connection import connect
from tickbus_runtime.bus import checkpoint
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.service.fold import FoldService, Output
from tickbus_runtime.service.process import Context
from tickbus_runtime.settings.sections import Settings
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import BarBatch, Clock, Message, TradeBatch

STEPS = (
    "folded, nothing published",
    "part of the flush answered",
    "published, no checkpoint",
    "checkpoint without header",
    "checkpoint just saved",
)
BAR = "BAR_BINANCE_USDM"
PADDING = bytes(range(256)) * 2_000  # so that a checkpoint has several chunks


class _State(msgspec.Struct):
    counts: dict[str, int]
    volumes: dict[str, float]
    message_no: int
    padding: bytes = PADDING


class TradeCounter:
    """Counts trades and their volume; each clock message closes a bar of every ticker so far."""

    schema = 1

    def __init__(self) -> None:
        self.state = _State({}, {}, 0)
        self.final = False

    def apply(self, group: Group) -> list[Output]:
        trades: list[tuple[int, str, int, float]] = []
        for table in group.tables.values():
            if table.kind is TradeBatch:
                ends = np.cumsum(table.message_rows)
                volumes = np.add.reduceat(table.columns["qty"], ends - table.message_rows)
                for at, seq in enumerate(table.message_seq.tolist()):
                    count = int(table.message_rows[at])
                    trades.append((seq, table.ticker, count, float(volumes[at])))
        trades.sort()
        outputs: list[Output] = []
        for clock_seq, clock in group.clocks:
            while trades and trades[0][0] < clock_seq:
                self._add(trades.pop(0))
            outputs += self._close(clock_seq, clock)
        for rest in trades:
            self._add(rest)
        return outputs

    def _add(self, trades: tuple[int, str, int, float]) -> None:
        _, ticker, count, volume = trades
        self.state.counts[ticker] = self.state.counts.get(ticker, 0) + count
        self.state.volumes[ticker] = self.state.volumes.get(ticker, 0.0) + volume

    def _close(self, seq: int, clock: Clock) -> list[Output]:
        self.final |= clock.final
        outputs = []
        for k, ticker in enumerate(sorted(self.state.counts)):
            payload = codec.encode(self._bar(ticker, clock))
            subject = subjects.derived("bar", Exchange.BINANCE_USDM, ticker, 1_000)
            outputs.append(Output(BAR, subject, payload, seq, k))
            self.state.message_no += 1
        return outputs

    def _bar(self, ticker: str, clock: Clock) -> BarBatch:
        def number(value: float) -> bytes:
            return np.array([value], "<f8").tobytes()

        def integer(value: int) -> bytes:
            return np.array([value], "<i8").tobytes()

        time = integer(clock.timestamp)
        zero = number(0.0)
        return BarBatch(
            exchange=int(Exchange.BINANCE_USDM),
            ticker=ticker,
            epoch=clock.epoch,
            message_no=self.state.message_no,
            interval_ms=1_000,
            timestamp=time,
            end_timestamp=time,
            rcv_timestamp=time,
            packet_id=integer(clock.packet_id),
            open=zero,
            high=zero,
            low=zero,
            close=zero,
            volume=number(self.state.volumes[ticker]),
            vwap=zero,
            trade_count=integer(self.state.counts[ticker]),
            taker_buy_volume=zero,
            taker_sell_volume=zero,
            signed_volume=zero,
            late_count=integer(0),
            late_volume=zero,
            flags=b"\0\0",
        )

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self.state)

    def restore(self, state: bytes) -> None:
        self.state = msgspec.msgpack.decode(state, type=_State)


def trades(ticker: str, message_no: int, quantities: Sequence[float], more: int = 0) -> Message:
    """A message of trades."""
    rows = len(quantities)
    times = np.arange(rows, dtype="<i8").tobytes()
    ids = [str(message_no * 100 + row) for row in range(rows)]
    return TradeBatch(
        exchange=int(Exchange.BINANCE_USDM),
        ticker=ticker,
        epoch=1,
        message_no=message_no,
        more=more,
        timestamp=times,
        rcv_timestamp=times,
        packet_id=times,
        side=b"\1" * rows,
        price=np.ones(rows, "<f8").tobytes(),
        qty=np.array(quantities, "<f8").tobytes(),
        flags=b"\0\0" * rows,
        trade_id_offsets=np.cumsum([0, *map(len, ids)]).astype("<i4").tobytes(),
        trade_id_bytes="".join(ids).encode(),
    )


def clock(message_no: int, *, final: bool = False) -> Message:
    """A message of the clock."""
    return Clock(
        exchange=int(Exchange.BINANCE_USDM),
        ticker="",
        epoch=1,
        message_no=message_no,
        timestamp=message_no,
        rcv_timestamp=message_no,
        packet_id=message_no,
        final=final,
    )


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _DyingFold(TradeCounter):
    def __init__(self, ctx: Context, step: str) -> None:
        super().__init__()
        self._ctx, self._step = ctx, step

    def apply(self, group: Group) -> list[Output]:
        outputs = super().apply(group)
        if self._step == STEPS[0]:
            _die()
        if self.final:
            self._ctx.stopping.set()
        return outputs


class _DyingService(FoldService):
    def __init__(self, ctx: Context, step: str) -> None:
        super().__init__(ctx, _DyingFold(ctx, step), [BAR], "feature", checkpoint_s=0.0)
        self._step = step
        if step == STEPS[1]:
            self._publisher = _DyingPublisher(ctx.nc)

    async def _save(self) -> None:
        if self._step == STEPS[2]:
            _die()
        if self._step == STEPS[3]:
            state = checkpoint.Checkpoint(
                number=self._checkpoints + 1,
                incarnation=self._incarnation,
                seq=1,
                epoch=1,
                message_no=1,
                schema=1,
                state=self._fold.dump(),
            )
            parts = checkpoint.messages(self._ctx.name, self._ctx.shard.name, state)
            await self._publisher.flush(parts[:-1])
            _die()
        await super()._save()
        if self._step == STEPS[4]:
            _die()


class _DyingPublisher(Publisher):
    def _on_answer(self, subject: bytes, payload: bytes, headers: bytes | None) -> None:
        super()._on_answer(subject, payload, headers)
        if len(self._answers) == 3:
            _die()


async def _serve(data_dir: str, step: str) -> None:
    settings = Settings(data_dir=data_dir)
    ctx = Context("counter", settings, structlog.get_logger())
    ctx.nc = await connect(data_dir=data_dir, name="counter")
    service = _DyingService(ctx, step)
    await service.run()
    await service.close()
    await ctx.nc.close()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:3]))
