"""The table of services agrees with what is there: feeds, settings, distributions, programs."""

from __future__ import annotations

import importlib.metadata
from importlib.util import find_spec

from msgspec import structs
from tickbus_runtime.bus.streams import declarations
from tickbus_runtime.settings import services
from tickbus_runtime.settings.sections import Settings
from tickbus_schemas.feeds import DERIVED, FEEDS


def test_every_feed_has_one_service_that_publishes_it() -> None:
    assert sorted(services.STREAM_KINDS) == sorted({feed.stream for feed in FEEDS})
    assert sorted(services.DERIVED_KINDS) == sorted(DERIVED)


def test_every_service_has_settings_a_distribution_and_a_program() -> None:
    sections = {field.name for field in structs.fields(Settings)}
    for name in services.ALL_NAMES:
        assert name in sections
        assert importlib.metadata.version(f"tickbus-{name}")
        assert find_spec(f"tickbus_{name}.__main__")


def test_init_makes_the_streams_of_every_service() -> None:
    settings = Settings()
    shard = settings.of_shard
    made = [config.name for config in declarations(settings.nats, shard)]
    assert made[: len(services.STREAM_KINDS)] == [shard.stream(k) for k in services.STREAM_KINDS]
    assert settings.writer.streams == [*services.STREAM_KINDS]
