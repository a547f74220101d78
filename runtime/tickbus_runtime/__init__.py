"""What every tickbus process shares.

Rooms, each of which imports only those behind it (import-linter holds this):
`commands`, `local`, `service`, `bus`, `telemetry`, `settings`, `lean`.
"""

from tickbus_runtime.lean import import_without

# nats-py imports aiohttp for ws:// servers, which few have: 0.25 s and 15 MB a process. The import
# is here because every process of ours runs this file first. `bus.connect` loads aiohttp if needed.
import_without("aiohttp", "nats")
