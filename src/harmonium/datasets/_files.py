"""Readers of files: IDX, npy, npz and CSV, gzipped or not.

Whatever is wrong with a file is a :class:`FileError` or, where its values are wrong, a
:class:`DataError` that names the file, the line and the column. No reader ever unpickles.
"""

from __future__ import annotations

__all__ = [
    "IDX",
    "KEYS",
    "SUFFIXES",
    "NoArray",
    "Record",
    "opened",
    "plain",
    "read_bytes",
    "read_csv",
    "read_idx",
    "read_idx_images",
    "read_npy",
    "read_npz",
    "records",
]

import csv
import gzip
import io
import math
import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, FileError, choose, invalid
from ._rows import Rows

IDX = ("idx3-ubyte", "idx3-ubyte.gz")
SUFFIXES = (".npy", ".npz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", *IDX)
MARK = "\ufeff"
TOLD = 1024
KEYS = {
    "x_train": "train",
    "x": "train",
    "x_valid": "validation",
    "x_test": "test",
    "y_train": "train",
    "y": "train",
    "y_valid": "validation",
    "y_test": "test",
}


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, the format of the MNIST family.

    Arguments:
        path: The file, gzipped or not.
        dimensions: 3 for images, 1 for labels.

    Raises:
        FileError: The file cannot be read, or is not such a file.
    """
    data = read_bytes(path)
    head = 4 * (1 + dimensions)
    expected = 0x800 + dimensions
    magic = int.from_bytes(data[:4], "big")
    if len(data) < head or magic != expected:
        raise FileError(f"{path}: got magic number {magic:#010x}, expected {expected:#010x}")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    if len(data) - head != math.prod(shape):
        raise FileError(f"{path}: got {len(data) - head} values, expected {shape} as its head says")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def read_idx_images(path: Path) -> Rows:
    """Read images of the MNIST family, with what lies beside them: their labels, and the same of a test set.

    These are called alike, with ``labels`` and ``idx1`` for ``images`` and ``idx3``, and with ``t10k`` or
    ``test`` for ``train``.

    Raises:
        FileError: A file cannot be read, or is no such file.
    """
    name = path.name.removesuffix(".gz")
    test = _beside(path, *(name.replace("train", word) for word in ("t10k", "test")))
    parts, labels = {}, {}
    for split, place in {"train": path, **({} if test is None else {"test": test})}.items():
        parts[split] = read_idx(place, 3)
        own = place.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
        marks = _beside(place, own)
        if marks is not None:
            labels[split] = read_idx(marks, 1)
    return Rows(parts, labels, str(path))


def _beside(path: Path, *names: str) -> Path | None:
    """Return the first file of some names, gzipped or not, beside another one."""
    places = (path.with_name(name + suffix) for name in names for suffix in ("", ".gz"))
    same = path.name.removesuffix(".gz")
    return next((own for own in places if own.name.removesuffix(".gz") != same and own.is_file()), None)


def read_bytes(path: Path) -> bytearray:
    """Read a file, gzipped or not.

    Raises:
        FileError: The file cannot be read.
    """
    data = bytearray()
    with opened(path) as stream:
        while chunk := stream.read(1 << 20):
            data += chunk
    return data


def read_npy(path: Path) -> Rows:
    """Read the rows of a .npy file.

    Raises:
        FileError: The file cannot be read, or is no plain array.
    """
    with opened(path) as stream, plain(str(path)):
        values = np.load(stream, allow_pickle=False)
    if not isinstance(values, np.ndarray):
        raise FileError(f"{path}: got an archive of arrays, expected one array")
    return Rows({"train": values}, {}, str(path))


def read_npz(path: Path) -> Rows:
    """Read the splits of an .npz file: x_train, x_valid, x_test, or x; likewise labels y.

    Raises:
        FileError: The file cannot be read, has other keys, or holds something else than arrays.
    """
    with opened(path) as stream, plain(str(path)):
        archive = np.load(stream, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise FileError(f"{path}: got one array, expected an archive of arrays")
        names = list(archive.files)
        _check_keys(names, path)
        arrays = {}
        for name in names:
            with plain(f"{path}: {name}"):
                arrays[name] = archive[name]
    parts = {KEYS[k]: v for k, v in arrays.items() if k.startswith("x")}
    labels = {KEYS[k]: v for k, v in arrays.items() if k.startswith("y")}
    return Rows(parts, labels, str(path))


def read_csv(
    path: Path, delimiter: str, header: bool | None, label: str | int | None, any_numbers: bool = True
) -> Rows:
    """Read a table of numbers, one row a line.

    Arguments:
        path: The file, gzipped or not, in UTF-8.
        delimiter: The character between cells.
        header: Whether the first line names the columns; None to take it as names if no cell of
            it is a number.
        label: The name or the number (from 0) of the column of labels.
        any_numbers: Whether columns that have names may hold other numbers than 0 and 1.

    Raises:
        NoArray: They do, and are several, or a cell of several is no number; it need not be read further.
        DataError: A line has too many or too few cells, or a cell is no finite number.
        FileError: The file cannot be read.
        ArgumentError: There is no such column, or ``delimiter`` is not one character.
    """
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise invalid("delimiter", delimiter, "one character")
    values, names = array("d"), None
    width = 0
    for line, cells, _ in records(path, delimiter):
        if width == 0:
            width = len(cells)
            if header or (header is None and _is_header(cells)):
                names = [cell.strip() for cell in cells]
                continue
        if len(cells) != width:
            raise DataError(f"{path}: line {line}: got {len(cells)} cells, expected {width}")
        numbers = _numbers(cells, names, f"{path}: line {line}")
        if not any_numbers and names is not None and width > 1 and not {*numbers} <= {0.0, 1.0}:
            raise NoArray("its first line names columns; table=False (--set data.table=false) takes an array")
        values.extend(numbers)
    if not values and not any_numbers and names is not None and width > 1:
        raise NoArray("its first line names columns")
    if not values:
        raise DataError(f"{path}: got no rows of numbers, expected at least one")
    table = np.frombuffer(values, np.float64).reshape(-1, width)
    if label is None:
        return Rows({"train": table}, {}, str(path))
    column = _column(label, names, width)
    rows = np.delete(table, column, axis=1)
    return Rows({"train": rows}, {"train": table[:, column]}, str(path))


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, through gzip where its first bytes say so."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                yield raw
                return
            with gzip.open(raw) as stream:
                yield cast(IO[bytes], stream)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path}: cannot be read, it may be damaged or cut short: {error}") from error


@contextmanager
def plain(where: str) -> Iterator[None]:
    """Turn NumPy's errors into one; its advice to unpickle is not for us.

    Raises:
        FileError: There is an error.
    """
    try:
        yield
    except (FileError, OSError):
        raise
    except (ValueError, EOFError, KeyError, RuntimeError, BadZipFile, zlib.error) as error:
        raise FileError(
            f"{where}: no plain array; damaged, or of objects, which are never unpickled"
        ) from error


def _check_keys(names: list[str], path: Path) -> None:
    """Refuse an archive without training rows, and any key that could be a slip."""
    rows, labels = ([KEYS[k] for k in names if k in KEYS and k[0] == kind] for kind in "xy")
    twice = len({*rows}) < len(rows) or len({*labels}) < len(labels)
    if not {*names} <= {*KEYS} or twice or "train" not in rows or not {*labels} <= {*rows}:
        raise FileError(
            f"{path}: got keys {', '.join(names) or 'none'}; expected x_train (or x) and, where "
            "there are such, x_valid, x_test and their labels y_train (or y), y_valid, y_test"
        )


class NoArray(DataError):
    """Several columns have names, and a cell holds what makes them a table and no array."""


class Record(NamedTuple):
    """A record of a table of text."""

    line: int
    """The number of its last line, from 1 on."""
    cells: list[str]
    text: str
    """As it came, with the end of its line."""


def records(path: Path, delimiter: str, told: Callable[[float], None] | None = None) -> Iterator[Record]:
    """Yield the records of a table; blank lines may only end the file.

    Arguments:
        path: The file, gzipped or not, in UTF-8.
        delimiter: The character between cells.
        told: Called now and then with the share of the file that has been read.

    Raises:
        DataError: There is a blank line between others.
        FileError: The file cannot be read, or is no such table.
    """
    reader = None
    try:
        with opened(path) as stream:
            size, raw = max(path.stat().st_size, 1), getattr(stream, "fileobj", stream)
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
            kept: list[str] = []
            reader = csv.reader(_kept(text, kept), delimiter=delimiter, strict=True)
            blank = 0
            for number, cells in enumerate(reader):
                if cells and blank:
                    raise DataError(f"{path}: line {blank}: got a blank line, expected cells")
                if cells:
                    yield Record(reader.line_num, cells, "".join(kept))
                else:
                    blank = blank or reader.line_num
                kept.clear()
                if told is not None and number % TOLD == 0:
                    told(raw.tell() / size)
    except (csv.Error, UnicodeDecodeError) as error:
        line = 0 if reader is None else reader.line_num
        raise FileError(f"{path}: line {line}: not a table in UTF-8: {error}") from error


def _kept(lines: Iterable[str], kept: list[str]) -> Iterator[str]:
    """Yield lines, and keep each as it came; the mark of the byte order at the beginning is no text."""
    first = True
    for line in lines:
        kept.append(line)
        yield line.removeprefix(MARK) if first else line
        first = False


def _is_header(cells: list[str]) -> bool:
    """Tell whether a first line names columns: no cell is a number, and some cell is not empty."""
    return any(map(str.strip, cells)) and not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _numbers(cells: list[str], names: list[str] | None, where: str) -> list[float]:
    """Convert the cells of a line, or name the first that is no finite number."""
    if "_" not in "".join(cells):
        with suppress(ValueError):
            numbers = list(map(float, cells))
            if math.isfinite(sum(numbers)):
                return numbers
    for column, cell in enumerate(cells):
        if not (_is_number(cell) and math.isfinite(float(cell))):
            name = f" ({names[column]})" if names else ""
            got = repr(cell) if cell.strip() else "an empty cell"
            message = f"{where}, column {column + 1}{name}: got {got}, expected a finite number"
            gap = names is not None and len(names) > 1 and (not _is_number(cell) or math.isnan(float(cell)))
            raise (NoArray if gap else DataError)(message)
    return numbers


def _column(label: str | int, names: list[str] | None, width: int) -> int:
    """Return the number of the column of labels."""
    if width == 1:
        raise invalid("label", label, "None: the table has one column only")
    if isinstance(label, str):
        if names is None:
            raise invalid("label", label, "a column's number (from 0): the file names no columns")
        return names.index(choose("label", label, names))
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < width:
        raise invalid("label", label, f"a column's name or number, from 0 to {width - 1}")
    return label
