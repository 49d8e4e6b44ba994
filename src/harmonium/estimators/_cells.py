"""Tables of any type as columns of cells, and back: arrays, mappings, frames of pandas and of polars.

What is put back are only the cells that were missing, so that all others, the types of columns and the
table's own type stay what they were.
"""

from __future__ import annotations

__all__ = [
    "Field",
    "Gap",
    "as_field",
    "as_numbers",
    "gaps",
    "is_frame",
    "is_mapping",
    "put_back",
    "table_columns",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from ..datasets import MISSING, Column, Schema, write_cell
from ..errors import ArgumentTypeError, DataError, show

Floats = NDArray[np.float64]
Cells = Floats | list[Any]
"""A column: numbers with NaN for gaps, or cells with None for them."""
_MISSING = frozenset(MISSING)


class Gap:
    """What a column is filled with that has no value, or a single one."""

    def __init__(self, value: Any) -> None:
        self.value = value


@dataclass(frozen=True)
class Field:
    """A column as a unit: how its cells are encoded, and which cells values stand for."""

    column: Column
    cells: dict[str, Any] = field(default_factory=dict)
    """A cell for each level, as the rows of the fit had it."""
    worded: bool = False
    """Whether its numbers were written as text."""

    @property
    def real(self) -> bool:
        """Whether it is one of numbers."""
        return self.column.kind == "gaussian"

    def encode(self, cells: Cells, unknown: str = "refuse") -> Floats:
        """Return cells as values of the unit, NaN for gaps.

        Arguments:
            cells: The cells.
            unknown: ``refuse`` levels that were not there in the fit, or take each as a ``gap``.

        Raises:
            DataError: A cell is no finite number, or no level; it is named.
        """
        if self.real:
            if isinstance(cells, np.ndarray) and not np.isinf(cells).any():
                return self.column.forward(cells)
            return self.column.encode(_with_none(cells))
        texts = [None if cell is None else _level(cell) for cell in _with_none(cells)]
        codes = self.column.codes({*texts})
        strange = [level for level, code in codes.items() if level is not None and np.isnan(code)]
        if strange and unknown == "refuse":
            row = min(map(texts.index, strange))
            got, levels = show(_list(cells)[row]), show([*self.column.levels])
            raise DataError(
                f"column {self.column.name!r}: row {row} (from 0): got {got}, not there in the fit, "
                f"expected one of {levels}; unknown='gap' takes it as a gap"
            )
        return np.array([codes[each] for each in texts], dtype=np.float64)

    def numbers(self, cells: Cells) -> Floats:
        """Return cells of a column of numbers as such, NaN for gaps."""
        return cells if isinstance(cells, np.ndarray) else _numbers(cells)

    def decode(self, values: Floats) -> list[Any]:
        """Return the cells that numbers of the table or codes stand for."""
        if self.real:
            return [write_cell(x, "") for x in values.tolist()] if self.worded else values.tolist()
        return [self.cells.get(level, level) for level in self.column.decode(values)]


def is_frame(X: Any) -> bool:
    """Return whether a table is a frame of named columns."""
    return hasattr(X, "columns") and hasattr(X, "shape") and not issparse(X)


def is_mapping(X: Any) -> bool:
    """Return whether a table is a mapping of lists."""
    return isinstance(X, Mapping) and not issparse(X)


def table_columns(X: Any) -> list[Cells]:
    """Return the columns of an array, a frame or a mapping."""
    if isinstance(X, np.ndarray):
        return [_cells(X[:, i]) for i in range(X.shape[1])]
    return [_cells(X[name]) for name in (X if isinstance(X, Mapping) else X.columns)]


def gaps(cells: Cells) -> NDArray[np.bool_]:
    """Return which cells of a column are missing."""
    if isinstance(cells, np.ndarray):
        return np.isnan(cells)
    return np.array([cell is None for cell in cells], dtype=bool)


def as_field(name: str, cells: Cells, kind: str | None, transform: str) -> Field | Gap:
    """Return how a column is treated, as :class:`harmonium.datasets.Schema` infers it.

    Raises:
        DataError: It has too many levels, numbers and text, or an infinity.
    """
    there = [cell for cell, gone in zip(_list(cells), gaps(cells), strict=True) if not gone]
    first: dict[str, Any] = {}
    for cell in there:
        first.setdefault(_level(cell), cell)
    if len(first) < 2:
        return Gap(there[0] if there else None)
    kinds = {} if kind is None else {name: kind}
    column = Schema.infer({name: _with_none(cells)}, kinds=kinds, transforms=transform).columns[0]
    return Field(column, first, all(isinstance(cell, str) for cell in there))


def as_numbers(cells: Cells) -> Floats:
    """Return the cells of a column as numbers, NaN for gaps; none at all where one is no number."""
    try:
        return _numbers(cells)
    except (TypeError, ValueError):
        return np.empty(0)


def put_back(X: Any, filled: Mapping[int, tuple[NDArray[np.bool_], list[Any]]], keep: Sequence[int]) -> Any:
    """Return a table with gaps filled, of the same type.

    Arguments:
        X: The table.
        filled: Which cells of a column were missing, and what is there now, by the column's number.
        keep: The numbers of the columns that stay.
    """
    if isinstance(X, np.ndarray):
        out = X.copy()
        for place, (gone, cells) in filled.items():
            out[gone, place] = cells
        return out if len(keep) == X.shape[1] else out[:, keep]
    if isinstance(X, Mapping):
        names = list(X)
        return {names[i]: _merged(list(X[names[i]]), *filled.get(i, (None, []))) for i in keep}
    names = list(X.columns)
    out = X[[names[i] for i in keep]]
    for place, (gone, cells) in filled.items():
        out = _with_column(out, names[place], gone, cells)
    return out


def _merged(cells: list[Any], gone: Any, new: list[Any]) -> list[Any]:
    for place, cell in zip(np.flatnonzero(gone) if gone is not None else (), new, strict=True):
        cells[int(place)] = cell
    return cells


def _with_column(frame: Any, name: Any, gone: NDArray[np.bool_], cells: list[Any]) -> Any:
    """Return a frame with gaps of a column filled."""
    column = frame[name]
    whole = getattr(column.dtype, "is_integer", None)
    if (whole is not None and whole()) or getattr(column.dtype, "kind", None) in ("i", "u"):
        cells = [round(cell) if isinstance(cell, float) else cell for cell in cells]
    if hasattr(frame, "with_columns"):
        new = _merged(column.to_list(), gone, cells)
        return frame.with_columns(type(column)(name, new, dtype=column.dtype))
    new = column.copy()
    new.iloc[np.flatnonzero(gone)] = cells
    out = frame.copy()
    out[name] = new
    return out


def _cells(values: Any) -> Cells:
    """Return a column's cells, as numbers if all are."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        return values.astype(np.float64)
    raw = values.tolist() if isinstance(values, np.ndarray) else list(values)
    cells = [None if _is_missing(cell) else cell for cell in raw]
    for cell in cells:
        if isinstance(cell, (dict, list, tuple, set)):
            raise ArgumentTypeError(f"X: argument must be a string or a number, got {type(cell).__name__}")
    numbers = all(_is_number(cell) for cell in cells if cell is not None)
    return _numbers(cells) if numbers else cells


def _is_missing(cell: Any) -> bool:
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(cell, str):
        return cell.strip() in _MISSING
    return isinstance(cell, (float, np.floating)) and bool(np.isnan(cell))


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float, np.number)) and not isinstance(cell, (bool, np.bool_))


def _numbers(cells: Cells) -> Floats:
    if isinstance(cells, np.ndarray):
        return cells
    return np.array([np.nan if cell is None else float(cell) for cell in cells], dtype=np.float64)


def _with_none(cells: Cells) -> list[Any]:
    return [None if gone else cell for cell, gone in zip(_list(cells), gaps(cells), strict=True)]


def _list(cells: Cells) -> list[Any]:
    return cells.tolist() if isinstance(cells, np.ndarray) else cells


def _level(cell: Any) -> str:
    """Return a cell as the text of a level, as a schema has it."""
    if isinstance(cell, (bool, np.bool_)):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
