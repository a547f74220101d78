"""Where the program begins: Ctrl-C ends it without a traceback while it is still being loaded."""

EXIT_INTERRUPTED = 130


def main() -> int:
    """Load and run the command line; the exit code."""
    try:
        from tickbus.cli.dispatch import main as dispatched

        return dispatched()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
