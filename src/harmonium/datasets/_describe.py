"""What there is to know of a table before anything is learnt from it, in one pass over blocks of rows."""

from __future__ import annotations

__all__ = ["describe_table"]

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DataError, choose
from ._column import ALL, MAPS, in_words, usual
from ._mixed_table import check_table
from ._schema import MISSING, gaps
from ._tables import open_table, read_blocks
from ._tally import LEVELS, Tally
from ._treatment import understand


def describe_table(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    missing: Sequence[str] | None = None,
    delimiter: str | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Tell how each column of a table would be treated, what it holds, and what stands in the way.

    The table need not fit into memory. Nothing that is wrong with a cell is an error here: each column has
    its ``problem``, or None.

    Arguments:
        path: A .csv, .tsv (also .gz) or .parquet file; the last needs pyarrow.
        columns: How columns are treated, by name: see :func:`from_table`.
        missing: The texts that stand for a missing cell, by default ``MISSING``.
        delimiter: The character between cells, by default a comma, or a tab in .tsv.
        progress: Called after each block with the rows done and the share of the file.

    Returns:
        Values that JSON can hold: ``rows``, ``empty_rows`` without any value, ``gaps`` as a share of all
        cells that are kept, and ``columns``, each with its name, kind, treatment, levels, gaps, least,
        largest and mean number, and problem.

    Raises:
        DataError: A line has too many or too few cells, names are missing or doubled, or there is no row.
        FileError: The file cannot be read.
        ArgumentError: A treatment is unknown, or of a column that is not there.
    """
    check_table(columns, None, missing)
    form = open_table(path, delimiter)
    for name in columns or {}:
        choose("columns", name, [*form.names, ALL])
    given = understand(columns)
    absent = MISSING if missing is None else tuple(missing)
    tallies = {name: _Told(name) for name in form.names}
    kept = [name for name in form.names if name not in given["drop"]]
    rows = empty = 0
    for block in read_blocks(path, delimiter=delimiter):
        n = len(next(iter(block.table.values())))
        nothing = np.full(n, bool(kept))
        for name, raw in block.table.items():
            cells = gaps(raw, absent)
            tallies[name].add(cells, block.first)
            if name in kept:
                nothing &= np.fromiter((cell is None for cell in cells), bool, n)
        rows, empty = rows + n, empty + int(nothing.sum())
        if progress is not None:
            progress(rows, block.share)
    if not rows:
        raise DataError(f"{path}: got 0 rows, expected at least one below the names of the columns")
    share = sum(tallies[name].gaps for name in kept) / max(rows * len(kept), 1)
    told = [tally.told(given) for tally in tallies.values()]
    return {"rows": rows, "empty_rows": empty, "gaps": share, "columns": told}


class _Told(Tally):
    """Creates the counts of a column that is to be described."""

    def told(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what there is to tell of the column.

        Arguments:
            given: The arguments of :meth:`Schema.infer`.
        """
        name = self.name
        kind: str | None = "dropped"
        problem, treatment, levels = None, "", list[str]()
        if name not in given["drop"]:
            kind, problem = self._treated(given)
        if kind == "gaussian":
            treatment = in_words(given["transforms"].get(name, given["transforms"].get(ALL, MAPS[0])))
            problem = problem or self._fault_of_numbers()
        elif kind in ("bernoulli", "categorical"):
            stated = given["levels"].get(name)
            found = self.levels(kind) if len(self.texts) <= LEVELS else []
            levels = found if stated is None else list(stated)
            unseen = name in given["unseen"]
            treatment = f"{len(levels)} levels" + (" and one for all that are unseen" if unseen else "")
            problem = problem or self._fault_of_levels(kind, levels, unseen, stated is not None)
        numeric = kind == "gaussian" and self.numbers > 0
        return {
            "name": name,
            "kind": kind,
            "treatment": treatment,
            "levels": levels,
            "gaps": self.gaps / self.rows,
            "least": self.low if numeric else None,
            "largest": self.high if numeric else None,
            "mean": self.sum / self.numbers if numeric else None,
            "problem": problem,
        }

    def _treated(self, given: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """Return the kind of the column, or None, and why it has none."""
        name = self.name
        stated = given["kinds"].get(name)
        if stated is None and (name in given["levels"] or name in given["unseen"]):
            stated = "categorical"
        if not self.texts and name not in given["levels"]:
            return stated, f"all cells are missing; --column {name}=drop"
        if stated is not None:
            return stated, None
        try:
            return self.kind(), None
        except DataError as error:
            return None, str(error).removeprefix(f"column {name!r}: ")

    def _fault_of_numbers(self) -> str | None:
        fault = self.first.get("word") or self.first.get("infinite")
        if fault is not None:
            return f"row {fault[0]} (from 0): {fault[1]!r} is no finite number"
        if not math.isfinite(self.sum * self.sum):
            return f"from {self.low:g} to {self.high:g}, too far apart for float64"
        if self.low == self.high:
            return f"{self.low:g} in all rows; --column {self.name}=drop"
        return None

    def _fault_of_levels(self, kind: str, levels: list[str], unseen: bool, stated: bool) -> str | None:
        many = len(self.texts) > LEVELS
        if many and not stated:
            return f"more than {LEVELS} different texts; --column {self.name}=drop"
        if len(levels) + unseen < 2:
            return f"{levels[0] if levels else 'nothing'} in all rows; --column {self.name}=drop"
        if len({*levels}) < len(levels):
            return "a level comes twice"
        if kind == "bernoulli" and len(levels) != 2:
            return f"{len(levels)} different texts, where a bit has two"
        said = {*map(usual, levels)}
        others = [each for each in self.texts if usual(each) not in said]
        if others and not unseen:
            return f"{min(others)!r} is none of the levels; +unseen takes it as one of its own"
        return None
