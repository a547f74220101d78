"""The ingest service: `python -m tickbus_ingest --help`."""

from __future__ import annotations

from tickbus_runtime.service.process import run

from tickbus_ingest.serve import serve


def main() -> None:
    """Entry point of `tickbus-ingest`."""
    run("ingest", serve)


if __name__ == "__main__":
    main()
