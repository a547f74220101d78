"""Compile every kernel once, so that no service pays for it at start."""


def main() -> None:
    """Fill the kernel cache; called by `make setup`."""


if __name__ == "__main__":
    main()
