"""Gaps of a table filled in; what is known stays as it came, byte for byte."""

from __future__ import annotations

__all__ = ["HOW", "impute"]

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..datasets import Block, Column, Form, block_rows, open_table, write_cell
from ..errors import ArgumentError, DataError, choose, invalid
from ..models import PairwiseModel
from ..random import Stream
from ..samplers import Imputed, fill_in
from ._output import Made, Output, Progress, check_places, schema_of, stream, told_of

HOW = ("mean", "mode", "draw")
"""What a gap is filled with."""
_ELEMENTS = 1 << 22
_QUOTE = '"'


class Settings(NamedTuple):
    """How gaps are filled."""

    how: str
    draws: int
    steps: int
    seed: int
    share: float


def impute(
    model: PairwiseModel,
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    how: str = "mean",
    draws: int = 20,
    steps: int = 100,
    seed: int = 0,
    intervals: str | os.PathLike[str] | None = None,
    share: float = 0.9,
    delimiter: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fill in the gaps of a table by draws from a model given what is known of each row.

    All other cells are written as they came, byte for byte. ``mean`` is that of the draws in the table's own
    units, and the most frequent one of bits and categories; ``mode`` differs in numbers, where it is the
    value whose transform is the mean of the transformed draws; ``draw`` is the first draw, so that what is
    filled in varies as the table does. If it was interrupted, the same call goes on.

    Arguments:
        model: A model that was trained on a table.
        table: A .csv, .tsv (also .gz) or .parquet file of the same columns.
        out: A .csv or .tsv file to write, of the same delimiter as a table of text, so that .tsv is for tabs.
        how: ``mean``, ``mode`` or ``draw``.
        draws: Of each row with gaps.
        steps: Gibbs steps of each draw's chain.
        seed: The seed of the chains.
        intervals: A second .csv or .tsv file, with a line for each gap: the row (from 0), the column, the
            value filled in, the ends of an interval of numbers, and the share of draws that agree of all
            else.
        share: The probability of the intervals.
        delimiter: The character between cells, by default a comma, or a tab in .tsv.
        force: Whether to overwrite what is there.
        progress: Called after each block with the rows done and the share of the file.

    Returns:
        ``rows``, ``rows_with_gaps`` and ``filled``, the number of cells.

    Raises:
        ArgumentError: An argument is out of range, or the model is none of tables.
        DataError: The table does not match, or a row does not fit or has no value at all; it is named.
        FileError: A file is there already, cannot be read or written, or was begun with something else.
    """
    choose("how", how, HOW)
    for name, value in (("draws", draws), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise invalid(name, value, "an integer of at least 1")
    schema, path = schema_of(model), Path(table).expanduser()
    if model.tied():
        raise ArgumentError("model: got a layer that is there twice, expected each layer once")
    if intervals is not None:
        Imputed(torch.zeros(draws, 1, 1), torch.ones(1, 1).bool(), ("gaussian",)).interval(share)
    Stream(seed)
    form = open_table(path, delimiter)
    schema.match(form.names)
    places = [Path(place).expanduser() for place in (out, intervals) if place is not None]
    check_places(places, force, path)
    if form.is_text and (places[0].suffix.lower() == ".tsv") != (form.delimiter == "\t"):
        ending = ".tsv" if form.delimiter == "\t" else ".csv"
        raise invalid(
            "out", str(out), f"a name that ends in {ending}, as {form.delimiter!r} is between cells"
        )
    settings = {"how": how, "draws": draws, "steps": steps, "seed": seed, "delimiter": delimiter}
    settings |= {} if intervals is None else {"share": share}
    filler = _Filler(model, form, Settings(how, draws, steps, seed, share), places)
    about = told_of(path, model, "impute", settings)
    with closing(Output(places, about, filler.heads(), force, form)) as output:
        rows = stream(output, block_rows(len(form.names)), filler, progress)
        if not rows:
            raise DataError(f"{path}: got 0 rows, expected at least one below the names of the columns")
        sums = output.sums
        output.finish()
        return {"rows": rows, "rows_with_gaps": int(sums["rows"]), "filled": int(sums["filled"])}


class _Filler:
    """Creates what fills in blocks of rows; see :func:`impute`."""

    def __init__(self, model: PairwiseModel, form: Form, settings: Settings, places: list[Path]) -> None:
        self.model, self.schema, self.form, self.settings = model, schema_of(model), form, settings
        self.mark = form.delimiter or ("\t" if places[0].suffix.lower() == ".tsv" else ",")
        marks = ["\t" if place.suffix.lower() == ".tsv" else "," for place in places[1:]]
        self.second = marks[0] if marks else None
        self.stream = Stream(settings.seed, "impute table")

    def heads(self) -> list[bytes]:
        """Return the first lines of the files."""
        head = self.form.head or self.mark.join(write_cell(n, self.mark) for n in self.form.names) + "\n"
        names = ("row", "column", "value", "low", "high", "share")
        return [head.encode(), *([] if self.second is None else [(self.second.join(names) + "\n").encode()])]

    def __call__(self, block: Block) -> Made:
        rows = self.schema.encode(block.table, block.first)
        lines = [*block.lines] or self._lines(block)
        lacking = rows.isnan()
        index = lacking.any(1).nonzero()[:, 0]
        most = max(1, _ELEMENTS // (self.settings.draws * rows.shape[1]))
        told: list[str] = []
        for part in index.split(most):
            if len(part):
                told += self._fill(rows[part], part.tolist(), lines, block.first)
        parts = ["".join(lines).encode(), *([] if self.second is None else ["".join(told).encode()])]
        return Made(parts, {"rows": float(len(index)), "filled": float(lacking.sum())})

    def _fill(self, rows: Tensor, numbers: list[int], lines: list[str], first: int) -> list[str]:
        """Fill in lines, by their number in the block, and return what there is to tell of each gap."""
        own = self.settings
        bits = self.stream.child(f"row {first + numbers[0]}")
        result = fill_in(self.model, rows, own.draws, own.steps, bits)
        pair = () if self.second is None else result.interval(own.share)
        ends = [end.double().cpu().numpy() for end in pair]
        draws, lacking = result.draws.double().cpu().numpy(), rows.isnan().numpy()
        found: list[dict[str, str]] = [{} for _ in numbers]
        told: dict[tuple[int, int], str] = {}
        for i, column in enumerate(self.schema.blocks):
            gaps = np.flatnonzero(lacking[:, i])
            if not len(gaps):
                continue
            seen = draws[:, gaps, i]
            values = _chosen(column, seen, own.how)
            place = self.form.names.index(column.name)
            for row, value in zip(gaps.tolist(), values, strict=True):
                found[row][column.name] = write_cell(value, self.mark)
            if self.second is not None:
                about = _about(column, seen, values, [end[gaps, i] for end in ends])
                for row, value, rest in zip(gaps.tolist(), values, about, strict=True):
                    cells = [str(first + numbers[row]), column.name, value, *rest]
                    line = self.second.join(write_cell(cell, self.second) for cell in cells)
                    told[row, place] = line + "\n"
        for row, number in enumerate(numbers):
            lines[number] = _filled(lines[number], self.mark, self.form.names, found[row])
        return [told[key] for key in sorted(told)]

    def _lines(self, block: Block) -> list[str]:
        """Return rows of Parquet as lines."""
        cells = zip(*block.table.values(), strict=True)
        return [self.mark.join(_own(cell, self.mark) for cell in row) + "\n" for row in cells]


def _own(cell: Any, mark: str) -> str:
    """Return a cell of Parquet as it is written, numbers with all their digits."""
    return repr(cell) if isinstance(cell, float) and cell == cell else write_cell(cell, mark)


def _chosen(column: Column, seen: NDArray[np.float64], how: str) -> list[Any]:
    """Return what gaps of a column are filled with, of draws of shape (draws, gaps)."""
    if how == "draw":
        return column.decode(seen[0])
    if column.kind != "gaussian":
        return column.decode(torch.from_numpy(seen).mode(0).values.numpy())
    if how == "mode":
        return column.decode(seen.mean(0))
    return column.decode(column.forward(column.backward(seen).mean(0)))


def _about(
    column: Column, seen: NDArray[np.float64], values: Sequence[Any], ends: list[NDArray[np.float64]]
) -> list[tuple[Any, Any, Any]]:
    """Return the low and the high end of numbers, and of all else the share of draws that agree."""
    if column.kind == "gaussian":
        low, high = (column.backward(end).tolist() for end in ends)
        return [(a, b, None) for a, b in zip(low, high, strict=True)]
    codes = np.array([column.levels.index(value) for value in values])
    return [(None, None, float(x)) for x in (seen == codes).mean(0)]


def _filled(line: str, mark: str, names: Sequence[str], found: dict[str, str]) -> str:
    """Return a line with some cells replaced, and all else as it came."""
    body = line.rstrip("\r\n")
    cells = body.split(mark) if _QUOTE not in body else _split(body, mark)
    cells = [found.get(name, cell) for name, cell in zip(names, cells, strict=True)]
    return mark.join(cells) + line[len(body) :]


def _split(body: str, mark: str) -> list[str]:
    """Return the cells of a record as they came, quotes included."""
    cells: list[str] = []
    start = place = 0
    while True:
        if body.startswith(_QUOTE, start):
            place = start + 1
            while True:
                place = body.index(_QUOTE, place) + 1
                if not body.startswith(_QUOTE, place):
                    break
                place += 1
        end = body.find(mark, max(start, place))
        if end < 0:
            return [*cells, body[start:]]
        cells.append(body[start:end])
        start = place = end + 1
