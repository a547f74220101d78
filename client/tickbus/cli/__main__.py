"""`python -m tickbus.cli`: the command `tickbus`."""

import sys

from tickbus.cli.entry import main

sys.exit(main())
