"""What every tickbus process shares.

Rooms, each of which imports only those behind it (import-linter holds this):
`commands`, `local`, `service`, `bus`, `telemetry`, `settings`, `lean`.
"""

from tickbus_runtime.lean import import_without

# nats-py takes aiohttp along for ws:// servers, which few have: 0.25 s and 15 MB a process. Here,
# because every process of ours comes by here first. `bus.connect` brings it where it is needed.
import_without("aiohttp", "nats")
