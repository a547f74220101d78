"""What no venue can have meant, found in all columns of a feed in one pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.venue.feeds import Kind
from tickbus_ingest.venue.wire_types import MS_MAX

I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

COUNT_MAX = 2**53
"""Whole numbers of feeds whose latest state counts are kept as doubles between messages."""
MARKS_MAX = 2**16 - 1

_TIME, _DUE, _COUNT = int(Kind.TIME), int(Kind.DUE), int(Kind.COUNT)
_SIDE, _MARKS = int(Kind.SIDE), int(Kind.MARKS)
_VALUE, _SIZE = int(Kind.VALUE), int(Kind.SIZE)


@kernel
def check_rows(
    ints: I64, floats: F64, int_kinds: I8, float_kinds: I8, received_us: I64, first_us: int,
    ahead_us: int, seen: Bool, stands: Bool, wrong: I8,
) -> int:  # fmt: skip
    """Times become us; which column of each row cannot be, -1 for none: how many rows have one.

    ints [columns, rows]: the first is the frame. floats [columns, rows]; they count behind the
    others in `wrong` [rows]. received_us [frames]. seen [frames]: frames that gave a row already,
    of any feed; stands [rows]: the row is the first event of its frame.
    """
    found = 0
    for n in range(ints.shape[1]):
        frame = ints[0, n]
        stands[n] = not seen[frame]
        seen[frame] = True
        latest = received_us[frame] + ahead_us
        own = -1
        for column in range(ints.shape[0]):
            kind, value = int_kinds[column], ints[column, n]
            if kind in (_TIME, _DUE) and 0 < value < MS_MAX:
                value *= 1000
                ints[column, n] = value
            bad = False
            if kind == _TIME:
                bad = value != 0 and (value < first_us or value > latest)
            elif kind in (_DUE, _COUNT):
                bad = value != ABSENT and (value > COUNT_MAX or value < -COUNT_MAX)
            elif kind == _SIDE:
                bad = value < -1 or value > 1
            elif kind == _MARKS:
                bad = value < 0 or value > MARKS_MAX
            if bad:
                own = column
        for column in range(floats.shape[0]):
            kind, number = float_kinds[column], floats[column, n]
            if kind == _VALUE:
                bad = np.isinf(number)
            else:
                bad = not np.isfinite(number) or (kind == _SIZE and number < 0)
            if bad:
                own = ints.shape[0] + column
        wrong[n] = own
        found += own >= 0
    return found
