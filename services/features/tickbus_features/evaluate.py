"""Kernel of layer 2: runs the catalogue's program on one closed bucket.

Every window is added anew from its oldest row to its newest, so a value depends on the rows of its
window alone and never on where a log was cut. NaN is null, and null in gives null out.
"""

from __future__ import annotations

import math

import numpy as np
from tickbus.compiled import kernel

from tickbus_features.expression import Float64s, Int64s, Step

# Numba takes these as constants of the compiled code.
_LOAD, _CONSTANT, _STORE = int(Step.LOAD), int(Step.CONSTANT), int(Step.STORE)
_ADD, _SUBTRACT = int(Step.ADD), int(Step.SUBTRACT)
_MULTIPLY, _DIVIDE, _LOG = int(Step.MULTIPLY), int(Step.DIVIDE), int(Step.LOG)
_SHIFT, _SUM, _DEVIATION = int(Step.SHIFT), int(Step.SUM), int(Step.DEVIATION)


@kernel
def window(history: Float64s, age: int, column: int, step: int, buckets: int) -> float:
    """Shift, sum, mean or deviation over the last `buckets` rows of a history column.

    history: f64 (rows, columns), a ring whose newest row is `(age - 1) % rows`; age: rows since
    the last reset. Null when the window reaches behind the reset.
    """
    size = history.shape[0]
    if step == _SHIFT:
        return history[(age - 1 - buckets) % size, column] if age > buckets else math.nan
    if age < buckets:
        return math.nan
    oldest = (age - buckets) % size
    total = 0.0
    row = oldest
    for _ in range(buckets):
        total += history[row, column]
        row += 1
        if row == size:
            row = 0
    if step == _SUM:
        return total
    mean = total / buckets
    if step != _DEVIATION:
        return mean
    squares = 0.0
    row = oldest
    for _ in range(buckets):
        distance = history[row, column] - mean
        squares += distance * distance
        row += 1
        if row == size:
            row = 0
    return math.sqrt(squares / (buckets - 1))


@kernel
def evaluate(
    steps: Int64s,
    constants: Float64s,
    tracked: Int64s,
    values: Float64s,
    stack: Float64s,
    history: Float64s,
    age: int,
) -> None:
    """Fill `values` behind its layer-1 columns, which the caller has set, and the newest history.

    steps i64 (n, 3), constants f64, tracked i64 a value: see `Program`; values f64; stack f64
    scratch; history f64 (rows, columns); age: rows since the last reset, this one included.
    """
    newest = (age - 1) % history.shape[0]
    for place in range(values.shape[0]):
        if tracked[place] >= 0:
            history[newest, tracked[place]] = values[place]
    top = -1
    for at in range(steps.shape[0]):
        step, operand = steps[at, 0], steps[at, 1]
        if step == _LOAD:
            top += 1
            stack[top] = values[operand]
        elif step == _CONSTANT:
            top += 1
            stack[top] = constants[operand]
        elif step == _STORE:
            values[operand] = stack[top]
            if tracked[operand] >= 0:
                history[newest, tracked[operand]] = stack[top]
            top -= 1
        elif step == _LOG:
            stack[top] = math.log(stack[top]) if stack[top] > 0.0 else math.nan
        elif step >= _SHIFT:
            top += 1
            stack[top] = window(history, age, operand, step, steps[at, 2])
        else:
            top -= 1
            right = stack[top + 1]
            if step == _ADD:
                stack[top] += right
            elif step == _SUBTRACT:
                stack[top] -= right
            elif step == _MULTIPLY:
                stack[top] *= right
            else:
                stack[top] = stack[top] / right if right != 0.0 else np.nan
