"""What a column of a table holds, counted block by block, and how it is treated by that."""

from __future__ import annotations

__all__ = ["LEVELS", "UNSEEN", "Tally"]

import math
from collections import Counter
from collections.abc import Sequence
from datetime import date, time, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, choose, invalid, show
from ._column import (
    COLUMNS,
    FALSE,
    TRUE,
    Column,
    as_number,
    dropping,
    fit_numbers,
    is_text,
    text,
    usual,
)
from ._spare import Floats, Store, spare

LEVELS = 256
"""The most levels that a column has unless they are stated."""
UNSEEN = "(unseen)"
_BITS = (FALSE, TRUE)
_TIMES = (date, time, timedelta, np.datetime64, np.timedelta64)
_NESTED = (list, dict, set, tuple, np.ndarray)


class Tally:
    """Creates the counts of a column.

    Arguments:
        name: The name of the column.
        store: Where to keep its numbers, for :meth:`fit`; by default nowhere.
    """

    def __init__(self, name: str, store: Store | None = None) -> None:
        self.name, self.store = name, store
        self.rows = self.gaps = self.numbers = 0
        self.texts: set[str] = set()
        """The texts of its cells, each once, until there are more than ``LEVELS``."""
        self.first: dict[str, tuple[int, Any]] = {}
        """The row and the cell of the first finite ``number``, ``infinite`` number, and other ``word``."""
        self.low, self.high, self.sum = math.inf, -math.inf, 0.0

    def add(self, cells: Sequence[Any], first: int = 0) -> None:
        """Count cells, the first of which is in row ``first``; None is a gap."""
        keys = cells if is_text(cells) else [None if cell is None else _key(cell) for cell in cells]
        counts = Counter(keys)
        self.rows += len(cells)
        self.gaps += counts.pop(None, 0)
        found: dict[Any, float] = {None: math.nan}
        for key, count in counts.items():
            cell = key if isinstance(key, str) else key[1]
            if len(self.texts) <= LEVELS:
                self.texts.add(text(cell))
            number = as_number(cell)
            found[key] = math.nan if number is None else number
            name = "word" if number is None else "number" if math.isfinite(number) else "infinite"
            if name not in self.first:
                row = keys.index(key)
                self.first[name] = first + row, cells[row]
            if number is not None and math.isfinite(number):
                self.low, self.high = min(self.low, number), max(self.high, number)
                self.sum, self.numbers = self.sum + number * count, self.numbers + count
        if "word" in self.first:
            self._forget()
        if self.store is not None:
            self.store.put(self.name, np.fromiter(map(found.__getitem__, keys), np.float64, len(cells)))

    def kind(self) -> str:
        """Return the kind of the column.

        Raises:
            DataError: There are both numbers and text, or there is a date.
        """
        said = {*map(usual, self.texts)}
        number, word = self.first.get("number"), self.first.get("word")
        if said <= {*_BITS} or said == {"0", "1"}:
            return "bernoulli"
        if word is not None and isinstance(word[1], (*_TIMES, *_NESTED)):
            raise DataError(
                f"column {self.name!r}: row {word[0]} (from 0): got the {type(word[1]).__name__} "
                f"{word[1]}, expected numbers, text or booleans; {dropping(self.name)}, and a number "
                "of days or seconds can stand for a time"
            )
        if number is None or word is None:
            return "gaussian" if word is None else "categorical"
        raise DataError(
            f"column {self.name!r}: got both numbers (row {number[0]} from 0: {show(number[1])}) and text "
            f"(row {word[0]}: {show(word[1])}); expected one of them: take all as text "
            f"(--column {self.name}=categorical; of a data set columns={{{self.name!r}: 'categorical'}}, of "
            "an imputer kinds= likewise), or state which texts are gaps (--set data.missing=[...], of "
            "describe --missing; of a data set missing=)"
        )

    def levels(self, kind: str) -> list[str]:
        """Return the levels that were there, in order; of bits written in several ways, the usual one."""
        said = {*map(usual, self.texts)}
        several = kind == "bernoulli" and len(said) < len(self.texts)
        return sorted(said if several else self.texts, key=_natural)

    def fit(
        self,
        kind: str | None,
        transform: str,
        levels: Sequence[str] | None,
        unseen: bool,
        train: NDArray[np.bool_] | None,
    ) -> Column:
        """Return how the column is treated, a transform as fitted to numbers of training rows.

        Arguments:
            kind: Its kind, if it is stated.
            transform: Of numbers.
            levels: The levels, if they are stated.
            unseen: Whether there is one more level, for what is none of the others.
            train: Which rows to fit to, shape (rows); by default all.

        Raises:
            ArgumentError: The kind is unknown, or does not go with the levels.
            DataError: There is nothing to learn from.
        """
        name = self.name
        if self.gaps == self.rows and levels is None:
            raise DataError(
                f"column {name!r}: all {self.rows} cells are missing, expected values; {dropping(name)}"
            )
        kind = kind or self.kind()
        choose(f"kinds: of column {name!r}", kind, COLUMNS)
        if kind == "gaussian":
            if levels is not None or unseen:
                raise invalid(
                    f"levels, unseen: of column {name!r}", kind, "a bernoulli or categorical column"
                )
            self._check_finite()
            x = self._in_order(train)
            return fit_numbers(name, x, transform, "rows" if train is None else "training rows")
        own = tuple(self.levels(kind) if levels is None else levels)
        if unseen:
            own = (*(level for level in own if level != UNSEEN), UNSEEN)
        if len(own) < 2:
            raise DataError(
                f"column {name!r}: got {show(own[0])} in all rows, expected at least two; {dropping(name)}"
            )
        if levels is None and len(self.texts) > LEVELS:
            raise DataError(
                f"column {name!r}: got more than {LEVELS} different texts, expected fewer; {dropping(name)}, "
                "or state levels"
            )
        return Column(name, kind, own, unseen)

    def _in_order(self, train: NDArray[np.bool_] | None) -> Floats:
        """Return the numbers of the rows to fit to in increasing order."""
        assert self.store is not None
        x, n, first = spare((self.numbers,), np.float64), 0, 0
        for block in self.store.blocks(self.name):
            own = block if train is None else block[train[first : first + len(block)]]
            own = own[~np.isnan(own)]
            x[n : n + len(own)] = own
            n, first = n + len(own), first + len(block)
        x[:n].sort()
        return x[:n]

    def _forget(self) -> None:
        if self.store is not None:
            self.store.drop(self.name)
            self.store = None

    def _check_finite(self) -> None:
        faults = [self.first[name] for name in ("word", "infinite") if name in self.first]
        if faults:
            row, cell = min(faults, key=lambda fault: fault[0])
            raise DataError(
                f"column {self.name!r}: row {row} (from 0): got {show(cell)}, expected a finite number, "
                "or an empty cell for a gap"
            )


def _key(cell: Any) -> tuple[type, Any]:
    """Return what a cell is counted by, apart from others that equal it, as 1 and True do."""
    return type(cell), str(cell) if isinstance(cell, _NESTED) else cell


def _natural(level: str) -> tuple[bool, float, str]:
    """Order numbers by their value, and before words."""
    number = as_number(level)
    return (True, 0.0, level) if number is None else (False, number, level)
