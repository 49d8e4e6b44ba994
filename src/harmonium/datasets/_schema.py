"""Tables with columns of several types: how each is treated, and rows for a mixed layer of units.

A row of the model has the bits first, then the codes, of columns with few levels before those with many,
then the numbers, so that a mixed layer has one part for each number of levels. Users see columns in the
table's order. Cells that are missing become NaN and come back as None; that they are missing at random is up
to the user.
"""

from __future__ import annotations

__all__ = ["MISSING", "Schema", "gaps"]

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentTypeError, DataError, choose, invalid
from ._column import ALL, COLUMNS, FALSE, MAPS, TRUE, Column, is_text, shorten
from ._floor import floor
from ._spare import Store
from ._tables import as_table
from ._tally import Tally

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null")
"""The texts that stand for a missing cell."""
_FAULTS = 5
_ROWS = 4096


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in its order.

    Arguments:
        columns: What is kept of the table.
        missing: The texts that stand for a missing cell.
        dropped: The names of columns that are left out, and need not be there.

    Raises:
        ArgumentError: There is no column, or a name comes twice.
    """

    columns: tuple[Column, ...]
    missing: tuple[str, ...] = MISSING
    dropped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns or len({*self.names}) < len(self.columns):
            raise invalid("columns", self.names, "at least one, each of another name")

    @classmethod
    def infer(
        cls,
        table: Any,
        *,
        kinds: Mapping[str, str] | None = None,
        transforms: Mapping[str, str] | str = "standardise",
        levels: Mapping[str, Sequence[str]] | None = None,
        unseen: Collection[str] = (),
        drop: Collection[str] = (),
        missing: Sequence[str] = MISSING,
        train: Tensor | None = None,
    ) -> Schema:
        """Infer how each column of a table is treated, and fit the transforms to it.

        Columns of ``true`` and ``false``, or of 0 and 1, are Bernoulli; other numbers Gaussian; text is
        categorical, with its levels in the order of the alphabet. Every choice can be overridden.

        Arguments:
            table: Lists of cells by the name of their column, or a frame of pandas or polars.
            kinds: The kinds of columns by name: ``bernoulli``, ``categorical`` or ``gaussian``.
            transforms: Those of numbers by name, with that of all others under ``*``; or one for all:
                ``standardise``, ``log-standardise`` or ``quantile``.
            levels: The levels of columns by name, in their order; they may include some that do not occur.
            unseen: The columns that get one more level, for what is none of the others.
            drop: The columns that are left out.
            missing: The texts that stand for a missing cell.
            train: The numbers of the rows to fit transforms to; all by default. Kinds and levels, which say
                what values there can be, are those of all rows.

        Raises:
            ArgumentError: An argument names a column that is not there, or a kind that is none.
            DataError: There is no row; a column has no value, a single one, both numbers and text, an
                infinity, or too many levels.
        """
        table, missing = as_table(table), tuple(missing)
        if not table or not len(next(iter(table.values()))):
            raise DataError("table: got 0 rows, expected at least one below the names of the columns")
        cells = {name: gaps(raw, missing) for name, raw in table.items()}
        choices = {"kinds": kinds, "transforms": transforms, "levels": levels, "unseen": unseen, "drop": drop}
        with Store() as store:
            tallies = {name: Tally(name, store) for name in table}
            for name, tally in tallies.items():
                if name not in drop:
                    tally.add(cells[name])
            schema = cls.of_tallies(tallies, choices, missing, train)
        for column in schema.columns:
            if column.name in (levels or {}):
                column.encode(cells[column.name])
        return schema

    @classmethod
    def of_tallies(
        cls,
        tallies: Mapping[str, Tally],
        choices: Mapping[str, Any],
        missing: Sequence[str],
        train: Tensor | None,
    ) -> Schema:
        """Infer how columns are treated by the counts of their cells.

        Arguments:
            tallies: The counts by name, with numbers stored.
            choices: Arguments of :meth:`infer` by name: ``kinds``, ``transforms``, ``levels``, ``unseen`` and
                ``drop``.
            missing: The texts that stand for a missing cell.
            train: As of :meth:`infer`.

        Raises:
            ArgumentError: As :meth:`infer` does.
            DataError: Likewise.
        """
        kinds, levels = dict(choices["kinds"] or {}), dict(choices["levels"] or {})
        transforms, unseen, drop = choices["transforms"], choices["unseen"], choices["drop"]
        own = {ALL: transforms} if isinstance(transforms, str) else dict(transforms)
        default = own.pop(ALL, MAPS[0])
        given: dict[str, Iterable[str]] = {"kinds": kinds, "transforms": own, "levels": levels}
        given |= {"unseen": unseen, "drop": drop}
        for argument, names in given.items():
            for name in names:
                choose(argument, name, list(tallies))
        which = None
        rows = max((tally.rows for tally in tallies.values()), default=0)
        if train is not None and rows:
            which = np.zeros(rows, bool)
            which[train.numpy()] = True
        columns, faults = [], []
        for name, tally in tallies.items():
            if name in drop:
                continue
            kind = kinds.get(name) or ("categorical" if name in levels or name in unseen else None)
            transform = own.get(name, default)
            try:
                columns.append(tally.fit(kind, transform, levels.get(name), name in unseen, which))
            except DataError as error:
                faults.append(error)
        if faults:
            raise faults[0] if len(faults) == 1 else DataError(_together(faults))
        return cls(tuple(columns), tuple(missing), tuple(drop))

    @property
    def names(self) -> list[str]:
        """The names of the columns, in the table's order."""
        return [column.name for column in self.columns]

    @property
    def layer(self) -> dict[str, Any]:
        """The layer of units for the rows, which :func:`harmonium.units.unit_from_config` makes."""
        parts: list[dict[str, Any]] = []
        for (kind, states), group in itertools.groupby(self.blocks, _rank):
            part = {"kind": COLUMNS[kind], "size": len(list(group))}
            parts.append({**part, "states": states} if COLUMNS[kind] == "categorical" else part)
        return {"kind": "mixed", "parts": parts}

    @cached_property
    def blocks(self) -> list[Column]:
        """The columns in the order of a row of the model."""
        return sorted(self.columns, key=_rank)

    @property
    def has_density(self) -> bool:
        """Whether likelihoods can be told in the table's own units, for all of the columns."""
        return all(column.has_density for column in self.columns)

    @property
    def booleans(self) -> list[str]:
        """The names of the columns of ``true`` and ``false``."""
        return [column.name for column in self.columns if column.levels == (FALSE, TRUE)]

    def differing(self, other: Schema) -> list[str]:
        """Return the names of columns that another schema treats in another way, has not, or has besides."""
        own, its = ({column.name: column for column in schema.columns} for schema in (self, other))
        return [name for name in {**own, **its} if own.get(name) != its.get(name)]

    def describe(self) -> list[dict[str, Any]]:
        """Return how each column is treated: its name, kind, treatment and levels."""
        return [
            {"name": c.name, "kind": c.kind, "treatment": c.treatment, "levels": list(c.levels)}
            for c in self.columns
        ]

    def encode(self, table: Any, first: int = 0) -> Tensor:
        """Return a table as rows of float32 for the model, NaN where a cell is missing.

        Arguments:
            table: Lists of cells by the name of their column, or a frame; the order of columns is free.
            first: The number of the first row, for errors.

        Returns:
            Shape (rows, columns).

        Raises:
            DataError: A column is missing or unknown, a cell does not fit, a row has no value, or there is
                no row; it is named.
        """
        table = as_table(table)
        self.match(table)
        cells = [column.encode(gaps(table[column.name], self.missing), first) for column in self.blocks]
        if not len(cells[0]):
            raise DataError("table: got 0 rows, expected at least one below the names of the columns")
        values = np.stack(cells, 1)
        empty = np.flatnonzero(np.isnan(values).all(1))
        if len(empty):
            got = f"no value in {len(empty)} rows, the first is row {first + int(empty[0])} (from 0)"
            raise DataError(f"table: {got}; expected at least one in each: take such rows out")
        return torch.from_numpy(values).float()

    def decode(self, rows: Tensor) -> dict[str, list[Any]]:
        """Return rows of the model as lists of cells by the name of their column, in the table's order.

        Arguments:
            rows: Values, shape (rows, columns); NaN comes back as None.

        Raises:
            ArgumentError: Rows have another number of columns.
            DataError: A value is no code of its column's levels.
        """
        values = self._values(rows)
        found = {column.name: column.decode(values[:, i]) for i, column in enumerate(self.blocks)}
        return {name: found[name] for name in self.names}

    def log_jacobian(self, rows: Tensor) -> Tensor:
        """Return what is added to log p(row) for the table's own units, shape (rows), float64.

        It is of the cells that are there, as log p of a row with gaps is. Columns by ``quantile`` add
        nothing: see :attr:`has_density`.

        Arguments:
            rows: Values, shape (rows, columns).
        """
        out = torch.empty(len(rows), dtype=torch.float64)
        for block, found in zip(rows.split(_ROWS), out.split(_ROWS), strict=True):
            values = self._values(block)
            slopes = [column.log_slope(values[:, i]) for i, column in enumerate(self.blocks)]
            found.copy_(torch.from_numpy(np.sum(slopes, 0)))
        return out

    def baseline(self, train: Tensor, rows: Tensor) -> Tensor:
        """Return the log-likelihoods of rows under independent columns, shape (rows), float64, nats.

        Bits and codes have the frequencies of the training rows by Laplace's rule, one more of each value;
        numbers, as transformed, are normal with their mean and variance, or standard normal where they do not
        vary. Gaps count for nothing.

        Arguments:
            train: Values to fit the columns to, shape (rows, columns).
            rows: Values, shape (rows, columns).
        """
        for values in (train, rows):
            self._check(values)
        return floor(self.blocks, train, rows)

    def config(self) -> dict[str, Any]:
        """Return the schema as values that JSON can hold."""
        columns = [column.config() for column in self.columns]
        return {"columns": columns, "missing": list(self.missing), "dropped": list(self.dropped)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schema:
        """Return the schema whose :meth:`config` this is.

        Raises:
            ArgumentError: It is that of no schema.
        """
        if {*config} != {"columns", "missing", "dropped"}:
            raise invalid("schema", [*config], "columns, missing and dropped")
        columns = tuple(Column.from_config(column) for column in config["columns"])
        return cls(columns, tuple(config["missing"]), tuple(config["dropped"]))

    def match(self, table: Collection[str]) -> None:
        """Refuse a table whose columns are not the schema's.

        Arguments:
            table: The names of its columns.

        Raises:
            DataError: With the names that are missing or unknown.
        """
        lacking = [name for name in self.names if name not in table]
        extra = [name for name in table if name not in self.names and name not in self.dropped]
        if lacking or extra:
            got = f"no column {shorten(lacking)}" if lacking else ""
            got += " and " if lacking and extra else ""
            got += f"unknown columns {shorten(extra)}" if extra else ""
            raise DataError(
                f"table: got {got}, expected the columns {shorten(self.names)}; rename or add them"
            )

    def _values(self, rows: Tensor) -> Any:
        self._check(rows)
        return rows.detach().cpu().double().numpy()

    def _check(self, rows: Tensor) -> None:
        if not isinstance(rows, Tensor):
            raise ArgumentTypeError(f"rows: got {type(rows).__name__}, expected a tensor")
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise invalid("rows", tuple(rows.shape), f"shape (rows, {len(self.columns)})")


def _together(faults: Sequence[DataError]) -> str:
    """Return what is wrong with several columns, the first few in full."""
    more = f"; and {len(faults) - _FAULTS} more" if len(faults) > _FAULTS else ""
    return f"{len(faults)} columns cannot be learnt from: {'; '.join(map(str, faults[:_FAULTS]))}{more}"


def gaps(cells: Sequence[Any], missing: Sequence[str]) -> list[Any]:
    """Return cells with None for all that are missing."""
    texts = {*missing}
    if is_text(cells):
        found = {cell for cell in {*cells} if _is_missing(cell, texts)}
        return [None if cell in found else cell for cell in cells] if found else list(cells)
    return [None if _is_missing(cell, texts) else cell for cell in cells]


def _is_missing(cell: Any, texts: Collection[str]) -> bool:
    if isinstance(cell, str):
        return cell.strip() in texts
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, (float, np.floating)) and bool(np.isnan(cell))


def _rank(column: Column) -> tuple[int, int]:
    kind = COLUMNS.index(column.kind)
    return kind, len(column.levels) if column.kind == "categorical" else 0
