"""The notifier service: `python -m tickbus_alerts --help`."""

from __future__ import annotations

from tickbus_runtime.service.process import run

from tickbus_alerts.serve import serve


def main() -> None:
    """Entry point of `tickbus-alerts`."""
    run("alerts", serve)


if __name__ == "__main__":
    main()
