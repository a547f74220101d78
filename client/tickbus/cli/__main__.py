"""`python -m tickbus.cli`: the command `tickbus`."""

import sys

from tickbus.cli.dispatch import main

sys.exit(main())
