"""Tables as they come: from .csv, .tsv and Parquet, whole or in blocks of rows, and from frames."""

from __future__ import annotations

__all__ = [
    "BLOCK",
    "PARQUET",
    "TABLES",
    "Block",
    "Form",
    "as_table",
    "block_rows",
    "delimiter_of",
    "open_table",
    "read_blocks",
    "read_table",
    "write_cell",
    "write_table",
]

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from torch import Tensor

from ..errors import ArgumentTypeError, DataError, FileError, invalid, show
from ._column import FALSE, TRUE
from ._files import Record, records

PARQUET = ".parquet"
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", PARQUET)
BLOCK = 16384
"""The most rows of a block, by default."""
_CELLS = 1 << 20
"""The most cells of a block, by default, if it has more than one row."""


class Block(NamedTuple):
    """Some rows of a table, in their order."""

    first: int
    """The number of the first of them, from 0 on."""
    table: dict[str, Sequence[Any]]
    """Cells by the name of their column."""
    lines: list[str]
    """The rows as they came, each with the end of its line; none of Parquet."""
    share: float
    """The share of the file that has been read."""


@dataclass(frozen=True)
class Form:
    """How a table is written.

    Arguments:
        path: The file.
        names: The names of its columns.
        delimiter: The character between cells; none of Parquet.
        head: The first line as it came, with its end; none of Parquet.
    """

    path: Path
    names: tuple[str, ...]
    delimiter: str
    head: str

    @property
    def is_text(self) -> bool:
        """Whether it has lines."""
        return bool(self.head)


def open_table(path: str | os.PathLike[str], delimiter: str | None = None) -> Form:
    """Return how a table is written, with the names of its columns.

    Arguments:
        path: A .csv, .tsv (also .gz) or .parquet file; the last needs pyarrow.
        delimiter: The character between cells, by default a comma, or a tab in .tsv.

    Raises:
        DataError: Names are missing or doubled.
        FileError: The file cannot be read, or pyarrow is not installed.
        ArgumentError: ``delimiter`` is not one character.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileError(f"{path}: there is no such file, expected one that ends in {', '.join(TABLES)}")
    if not path.name.lower().endswith(TABLES):
        raise FileError(f"{path}: expected a file that ends in {', '.join(TABLES)}")
    if path.name.lower().endswith(PARQUET):
        with _parquet(path) as file:
            names = list(file.schema_arrow.names)
        if not names:
            raise DataError(f"{path}: got no columns, expected at least one")
        _check_names(names, str(path))
        return Form(path, tuple(names), "", "")
    delimiter = delimiter or delimiter_of(path)
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise invalid("delimiter", delimiter, "one character")
    head = next(records(path, delimiter), None)
    if head is None:
        raise DataError(f"{path}: got an empty file, expected a line with the names of columns")
    names = [cell.strip() for cell in head.cells]
    _check_names(names, f"{path}: line {head.line}")
    return Form(path, tuple(names), delimiter, head.text)


def read_blocks(
    path: str | os.PathLike[str], *, rows: int | None = None, first: int = 0, delimiter: str | None = None
) -> Iterator[Block]:
    """Yield a table in blocks of rows, so that it need not fit into memory.

    Arguments:
        path: A .csv, .tsv (also .gz) or .parquet file; the last needs pyarrow.
        rows: Of each block; the last one may have fewer. By default what :func:`block_rows` says.
        first: How many rows to pass over.
        delimiter: The character between cells, by default a comma, or a tab in .tsv.

    Raises:
        DataError: A line has too many or too few cells, or names are missing or doubled.
        FileError: The file cannot be read, or pyarrow is not installed.
        ArgumentError: ``rows`` or ``first`` is out of range, or ``delimiter`` is not one character.
    """
    for name, value, least in (("rows", 1 if rows is None else rows, 1), ("first", first, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise invalid(name, value, f"an integer of at least {least}")
    form = open_table(path, delimiter)
    rows = rows or block_rows(len(form.names))
    return _text_blocks(form, rows, first) if form.is_text else _parquet_blocks(form, rows, first)


def block_rows(columns: int) -> int:
    """Return how many rows of so many columns make a block that takes little memory."""
    return max(1, min(BLOCK, _CELLS // max(columns, 1)))


def read_table(path: str | os.PathLike[str], *, delimiter: str | None = None) -> dict[str, list[Any]]:
    """Read a table with names of columns in its first line, as lists of cells by name.

    Arguments:
        path: A .csv, .tsv (also .gz) or .parquet file; the last needs pyarrow.
        delimiter: The character between cells, by default a comma, or a tab in .tsv.

    Raises:
        DataError: A line has too many or too few cells, or names are missing or doubled.
        FileError: The file cannot be read, or pyarrow is not installed.
        ArgumentError: ``delimiter`` is not one character.
    """
    form = open_table(path, delimiter)
    columns: dict[str, list[Any]] = {name: [] for name in form.names}
    for block in read_blocks(path, delimiter=delimiter):
        for name, cells in block.table.items():
            columns[name] += [cell.strip() for cell in cells] if form.is_text else cells
    return columns


def delimiter_of(path: Path) -> str:
    """Return the character between cells that the name of a file stands for."""
    return "\t" if ".tsv" in path.name.lower() else ","


def write_cell(cell: Any, delimiter: str) -> str:
    """Return a cell as it is written: a number to seven digits, nothing for a gap, text quoted if need be."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.7g}"
    text = str(cell)
    plain = not any(mark in text for mark in (delimiter, '"', "\n", "\r")) and text == text.strip()
    return text if plain else '"' + text.replace('"', '""') + '"'


def write_table(
    path: Path,
    file: BinaryIO,
    blocks: Iterable[Mapping[str, Sequence[Any]]],
    booleans: Collection[str] = (),
) -> None:
    """Write a table that comes in blocks of rows, so that it need not fit into memory.

    Text is in UTF-8, with the names of columns in its first line.

    Arguments:
        path: What the file is to be called, which ends in .csv, .tsv or .parquet; the last needs pyarrow.
        file: The file.
        blocks: Cells by the name of their column, of each block: texts, numbers, or None for a gap.
        booleans: The columns of ``true`` and ``false`` that are booleans in Parquet.

    Raises:
        FileError: pyarrow is not installed.
    """
    if path.name.lower().endswith(PARQUET):
        _write_parquet(path, file, blocks, booleans)
        return
    mark = delimiter_of(path)
    for number, table in enumerate(blocks):
        lines = zip(*table.values(), strict=True)
        for cells in lines if number else chain([table.keys()], lines):
            file.write((mark.join(write_cell(cell, mark) for cell in cells) + "\n").encode())


def as_table(table: Any) -> dict[str, Any]:
    """Return a mapping or a frame of pandas or polars as sequences of cells by name, all of one length.

    Raises:
        ArgumentTypeError: It is neither.
        DataError: Columns have different lengths, or names that are no text or come twice.
    """
    if isinstance(table, Mapping):
        columns = dict(table)
    elif hasattr(table, "columns") and hasattr(table, "shape") and not isinstance(table, Tensor):
        names = list(table.columns)
        _check_names(names, "table")
        columns = {name: table[name].to_list() for name in names}
    else:
        got = type(table).__name__
        raise ArgumentTypeError(f"table: got {got}, expected lists of cells by column, or a frame")
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len({*lengths.values()}) > 1:
        raise DataError(f"table: got columns of different lengths, {show(lengths)}, expected one for all")
    return columns


def _text_blocks(form: Form, rows: int, first: int) -> Iterator[Block]:
    """Yield the blocks of a table of text."""
    share = [0.0]
    lines = records(form.path, form.delimiter, lambda done: share.__setitem__(0, done))
    next(lines)
    for record in islice(lines, first):
        _check_width(form, record)
    while block := list(islice(lines, rows)):
        for record in block:
            _check_width(form, record)
        cells = zip(*(record.cells for record in block), strict=True)
        table: dict[str, Sequence[Any]] = dict(zip(form.names, cells, strict=True))
        done = share[0] if len(block) == rows else 1.0
        yield Block(first, table, [record.text for record in block], done)
        first += len(block)


def _check_width(form: Form, record: Record) -> None:
    """Refuse a line that has too many or too few cells."""
    if len(record.cells) != len(form.names):
        got = f"got {len(record.cells)} cells, expected {len(form.names)}"
        raise DataError(f"{form.path}: line {record.line}: {got}")


def _parquet_blocks(form: Form, rows: int, first: int) -> Iterator[Block]:
    """Yield the blocks of a Parquet file."""
    with _parquet(form.path) as file:
        total, seen = max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(batch_size=rows):
            seen += len(batch)
            if seen <= first:
                continue
            own = batch.slice(max(0, first - (seen - len(batch))))
            yield Block(seen - len(own), dict(own.to_pydict()), [], seen / total)


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file for reading."""
    pyarrow, parquet = _pyarrow(str(path))
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise FileError(f"{path}: cannot be read as Parquet: {error}") from error


def _pyarrow(where: str) -> tuple[Any, Any]:
    """Return pyarrow, and its module for Parquet."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise FileError(f"{where}: needs pyarrow; pip install harmonium[parquet]") from error
    return pyarrow, parquet


def _write_parquet(
    path: Path,
    file: BinaryIO,
    blocks: Iterable[Mapping[str, Sequence[Any]]],
    booleans: Collection[str],
) -> None:
    """Write blocks of rows to a Parquet file, each as a group; the first one says what columns are of."""
    pyarrow, parquet = _pyarrow(str(path))
    bits = {FALSE: False, TRUE: True, None: None}
    writer = None
    for table in blocks:
        columns = {k: [bits[cell] for cell in v] if k in booleans else list(v) for k, v in table.items()}
        if writer is None:
            group = pyarrow.table(columns)
            writer = parquet.ParquetWriter(file, group.schema)
        else:
            group = pyarrow.table(columns, schema=writer.schema)
        writer.write_table(group)
    if writer is not None:
        writer.close()


def _check_names(names: Sequence[Any], where: str) -> None:
    """Refuse names that are no text, empty, or come twice."""
    seen = set()
    for name in names:
        if not isinstance(name, str) or not name or name in seen:
            expected = "a name of its own for each column, as text"
            raise DataError(f"{where}: got the column name {show(name)}, expected {expected}")
        seen.add(name)
