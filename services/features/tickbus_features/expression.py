"""The small language that features are written in, and its translation into steps of a kernel.

An expression is built from columns of a bucket with ordinary operators. Windows and shifts look at
whole columns only (a column of layer 1 or a feature defined before), so what must be remembered of
the past is known: the last values of the columns that some window names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


class Step(IntEnum):
    """What one step of a program does to the stack of numbers; `evaluate.py` does it."""

    LOAD = 0
    CONSTANT = 1
    STORE = 2
    ADD = 3
    SUBTRACT = 4
    MULTIPLY = 5
    DIVIDE = 6
    LOG = 7
    SHIFT = 8
    SUM = 9
    MEAN = 10
    DEVIATION = 11


Int64s: TypeAlias = NDArray[np.int64]
Float64s: TypeAlias = NDArray[np.float64]
Number: TypeAlias = "Expression | float | int"


@dataclass(frozen=True)
class Expression:
    """A formula over the columns of a bucket; null (NaN) in, null out."""

    def __add__(self, other: Number) -> Expression:
        return Binary(Step.ADD, self, lift(other))

    def __radd__(self, other: Number) -> Expression:
        return Binary(Step.ADD, lift(other), self)

    def __sub__(self, other: Number) -> Expression:
        return Binary(Step.SUBTRACT, self, lift(other))

    def __rsub__(self, other: Number) -> Expression:
        return Binary(Step.SUBTRACT, lift(other), self)

    def __mul__(self, other: Number) -> Expression:
        return Binary(Step.MULTIPLY, self, lift(other))

    def __rmul__(self, other: Number) -> Expression:
        return Binary(Step.MULTIPLY, lift(other), self)

    def __truediv__(self, other: Number) -> Expression:
        return Binary(Step.DIVIDE, self, lift(other))

    def __rtruediv__(self, other: Number) -> Expression:
        return Binary(Step.DIVIDE, lift(other), self)

    def log(self) -> Expression:
        """Natural logarithm; null unless positive."""
        return Log(self)


@dataclass(frozen=True)
class Column(Expression):
    """A column of layer 1, or a feature that stands before this one in the catalogue."""

    name: str

    def __str__(self) -> str:
        return self.name

    def shift(self, buckets: int) -> Expression:
        """Its value so many buckets ago."""
        return Window(Step.SHIFT, self, buckets)

    def sum(self, buckets: int) -> Expression:
        """Sum over the last buckets, this one included; null until all of them are there."""
        return Window(Step.SUM, self, buckets)

    def mean(self, buckets: int) -> Expression:
        """Arithmetic mean over the last buckets."""
        return Window(Step.MEAN, self, buckets)

    def deviation(self, buckets: int) -> Expression:
        """Sample standard deviation (divisor n - 1) over the last buckets, in two passes."""
        return Window(Step.DEVIATION, self, buckets)


@dataclass(frozen=True)
class Constant(Expression):
    """A number."""

    value: float

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class Binary(Expression):
    """Two operands; a division by zero is null."""

    step: Step
    left: Expression
    right: Expression

    def __str__(self) -> str:
        sign = {Step.ADD: "+", Step.SUBTRACT: "-", Step.MULTIPLY: "*", Step.DIVIDE: "/"}[self.step]
        return f"({self.left} {sign} {self.right})"


@dataclass(frozen=True)
class Log(Expression):
    """Natural logarithm."""

    of: Expression

    def __str__(self) -> str:
        return f"ln({self.of})"


@dataclass(frozen=True)
class Window(Expression):
    """The last buckets of a column."""

    step: Step
    column: Column
    buckets: int

    def __post_init__(self) -> None:
        least = 2 if self.step is Step.DEVIATION else 1
        if self.buckets < least:
            raise ValueError(f"{self}: a window of at least {least}")

    def __str__(self) -> str:
        return f"{self.step.name.lower()}({self.column}, {self.buckets})"

    @property
    def rows(self) -> int:
        """Rows that it looks at, this one included."""
        return self.buckets + 1 if self.step is Step.SHIFT else self.buckets


def lift(number: Number) -> Expression:
    """A number as an expression."""
    return number if isinstance(number, Expression) else Constant(float(number))


def total(columns: Sequence[Column]) -> Expression:
    """Their sum, added from the first to the last."""
    result: Expression = columns[0]
    for column in columns[1:]:
        result = result + column
    return result


def parts(expression: Expression) -> list[Expression]:
    """The expression and all below it."""
    if isinstance(expression, Binary):
        return [expression, *parts(expression.left), *parts(expression.right)]
    if isinstance(expression, Log):
        return [expression, *parts(expression.of)]
    return [expression]


@dataclass(frozen=True)
class Program:
    """Expressions as steps: what the kernel runs for each closed bucket."""

    steps: Int64s
    """(steps, 3): step, operand, window"""
    constants: Float64s
    tracked: Int64s
    """per value (column of layer 1, then one an expression): its column in the history, or -1"""
    rows: int
    """rows of history that the longest window needs, this one included"""
    stack: int
    """numbers on the stack at most"""


class _Translator:
    def __init__(self, layer1: Sequence[str]) -> None:
        self.place = {name: place for place, name in enumerate(layer1)}
        self.steps: list[tuple[int, int, int]] = []
        self.constants: list[float] = []
        self.history: dict[str, int] = {}
        self.rows = 1
        self.height = self.stack = 0

    def define(self, name: str, expression: Expression) -> None:
        if name in self.place:
            raise ValueError(f"{name}: named twice")
        self.put(expression)
        self.place[name] = len(self.place)
        self.step(Step.STORE, self.place[name], -1)

    def step(self, step: Step, operand: int, height: int, window: int = 0) -> None:
        self.steps.append((int(step), operand, window))
        self.height += height
        self.stack = max(self.stack, self.height)

    def find(self, column: Column) -> int:
        if column.name not in self.place:
            raise ValueError(f"{column.name}: neither a column of layer 1 nor a feature before")
        return self.place[column.name]

    def put(self, expression: Expression) -> None:
        match expression:
            case Column():
                self.step(Step.LOAD, self.find(expression), 1)
            case Constant():
                self.constants.append(expression.value)
                self.step(Step.CONSTANT, len(self.constants) - 1, 1)
            case Binary():
                self.put(expression.left)
                self.put(expression.right)
                self.step(expression.step, 0, -1)
            case Log():
                self.put(expression.of)
                self.step(Step.LOG, 0, 0)
            case Window():
                self.find(expression.column)
                place = self.history.setdefault(expression.column.name, len(self.history))
                self.rows = max(self.rows, expression.rows)
                self.step(expression.step, place, 1, expression.buckets)
            case _:
                raise TypeError(f"{expression!r}: no translation")


def translate(layer1: Sequence[str], entries: Sequence[tuple[str, Expression]]) -> Program:
    """The program that computes the entries in order; ValueError names a wrong one."""
    translator = _Translator(layer1)
    for name, expression in entries:
        translator.define(name, expression)
    tracked = np.full(len(translator.place), -1, np.int64)
    for name, place in translator.history.items():
        tracked[translator.place[name]] = place
    return Program(
        steps=np.array(translator.steps, np.int64).reshape(-1, 3),
        constants=np.array([*translator.constants, 0.0]),
        tracked=tracked,
        rows=translator.rows,
        stack=translator.stack,
    )
