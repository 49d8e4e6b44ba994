"""From a name, a path or an array to a data set: split, then made ready to be scored."""

from __future__ import annotations

__all__ = ["from_array", "load"]

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ArgumentTypeError, DataError, FileError, choose, invalid
from ..random import Stream
from ._dataset import BINARISATIONS, Dataset, score
from ._files import SUFFIXES, read_csv, read_npy, read_npz
from ._named import DATASETS
from ._rows import SPLITS, Rows, Size, check_size, divide, narrow

Array = NDArray[Any] | Tensor

TENTH = {"validation": 0.1, "test": 0.1}
BYTE = 255


class About(NamedTuple):
    """What a data set says of itself besides its rows."""

    name: str
    source: str
    seed: int


def load(
    source: str | os.PathLike[str],
    *,
    binarisation: str | None = None,
    seed: int = 0,
    validation: Size | None = None,
    test: Size | None = None,
    root: str | os.PathLike[str] | None = None,
    levels: int | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    label: str | int | None = None,
    with_labels: bool = False,
) -> Dataset:
    """Load a data set by its name in ``DATASETS`` or from a file.

    A size is a count or a fraction of the rows. Splits that the source lacks are taken from its
    training rows; a file's by a seeded permutation, a tenth each by default.

    Arguments:
        source: A name, or the path of an .npy, .npz, .csv or .tsv file (the latter two also .gz).
        binarisation: ``sampled``, ``threshold`` or ``none``. Named grey sets are ``sampled`` by
            default; a file's grey values stay what they are unless it is stated.
        seed: The seed of the permutation and of the fixed binary sample.
        validation: The size of the validation split.
        test: The size of the test split.
        root: The folder in which to look for a named set first.
        levels: The grey level that means 1 in a file's integers, 255 by default.
        delimiter: The character between a table's cells, by default a comma, or a tab in .tsv.
        header: Whether a table's first line names its columns; by default, if no cell is a number.
        label: The name or the number (from 0) of a table's column of labels.
        with_labels: Whether each row ends in the code of its label: see :meth:`Dataset.with_labels`.

    Raises:
        ArgumentError: The name is unknown, or an argument cannot be used with this source.
        DataError: The values are no finite numbers, or do not fit what was stated.
        FileError: A file is missing, damaged, or of the wrong format.
    """
    _check_arguments(binarisation, seed, levels, {"validation": validation, "test": test})
    if not isinstance(source, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"source: got {type(source).__name__}, expected a name or a path; "
            "for what is in memory, see from_array"
        )
    sizes = {k: v for k, v in {"validation": validation, "test": test}.items() if v is not None}
    table = {"delimiter": delimiter, "header": header, "label": label}
    if isinstance(source, str) and source in DATASETS:
        _refuse({"levels": levels, **table}, f"None: it is only for files, not for {source}")
        dataset = _named(source, binarisation, seed, sizes, Path(root).expanduser() if root else None)
        return dataset.with_labels() if with_labels else dataset
    if isinstance(source, str) and not _is_path(source):
        choose("source", source, DATASETS)
    _refuse({"root": root}, "None: it is only for named sets")
    path = Path(source).expanduser()
    rows = _read(path, table)
    sizes = {**{k: v for k, v in TENTH.items() if k not in rows.parts}, **sizes}
    dataset = _build(About(path.name, f"The file {path}.", seed), rows, sizes, binarisation, levels)
    return dataset.with_labels() if with_labels else dataset


def from_array(
    rows: Array,
    *,
    binarisation: str | None = None,
    seed: int = 0,
    validation: Size | Array = 0,
    test: Size | Array = 0,
    labels: Array | Mapping[str, Array] | None = None,
    levels: int | None = None,
    name: str = "array",
    source: str = "An array in memory.",
) -> Dataset:
    """Make a data set of an array or a tensor; by default all rows are for training, in order.

    Rows that have the smallest type already are shared with the array, not copied.

    Arguments:
        rows: Bits, integers, reals, or grey values, shape (rows, ...).
        binarisation: ``sampled``, ``threshold`` or ``none``, for grey values: reals in [0, 1], or
            integers of which ``levels`` means 1.
        seed: The seed of the permutation and of the fixed binary sample.
        validation: How many rows to split off by a seeded permutation, or a fraction of them, or
            an array of more rows.
        test: Likewise.
        labels: Integers of shape (rows), or such by the name of the split.
        levels: The grey level that means 1, 255 by default.
        name: The data set's name.
        source: Where the rows came from.

    Raises:
        ArgumentError: An argument cannot be used.
        ArgumentTypeError: Rows are neither an array nor a tensor.
        DataError: The values are no finite numbers, or do not fit what was stated.
    """
    parts = {"train": _numpy("rows", rows)}
    sizes: dict[str, Size] = {}
    for split, given in (("validation", validation), ("test", test)):
        if isinstance(given, (np.ndarray, Tensor)):
            parts[split] = _numpy(split, given)
        else:
            sizes[split] = given
    _check_arguments(binarisation, seed, levels, sizes)
    if labels is None or not isinstance(labels, Mapping):
        labels = {} if labels is None else {"train": labels}
    for split in labels:
        choose("labels", split, parts)
    marks = {split: _numpy("labels", values) for split, values in labels.items()}
    return _build(About(name, source, seed), Rows(parts, marks, name), sizes, binarisation, levels)


def _named(
    name: str, binarisation: str | None, seed: int, sizes: dict[str, Size], root: Path | None
) -> Dataset:
    """Load a named set."""
    entry = DATASETS[name]
    own = dict(entry.sizes)
    if entry.levels is None:
        _refuse({"binarisation": binarisation}, f"None: {name} holds bits already")
    _refuse({k: v for k, v in sizes.items() if k not in own}, f"None: {name} has that split")
    rows = entry.loader(root)
    shape = rows.parts["train"].shape[1:]
    if shape != entry.shape:
        raise DataError(f"{rows.where}: got rows of shape {shape}, expected {entry.shape}")
    if entry.levels is not None:
        binarisation = binarisation or "sampled"
    about = About(name, entry.source, seed)
    sizes = {**own, **sizes}
    dataset = _build(about, rows, sizes, binarisation, entry.levels, entry.shuffled)
    if entry.levels is None and dataset.kind != "bits":
        raise DataError(f"{rows.where}: got {dataset.kind}, expected bits")
    return dataset


def _build(
    about: About,
    rows: Rows,
    sizes: dict[str, Size],
    binarisation: str | None,
    levels: int | None,
    shuffled: bool = True,
) -> Dataset:
    """Narrow, split and binarise raw rows."""
    given = {k: v for k, v in sizes.items() if k in rows.parts}
    _refuse(given, f"None: {rows.where} has that split")
    if binarisation is None:
        _refuse({"levels": levels}, "None unless a binarisation is stated")
    shape = tuple(rows.parts["train"].shape[1:])
    values, labels = narrow(rows)
    if binarisation is not None:
        levels = _grey_levels(values, levels, rows.where)
    values, labels = divide(values, labels, sizes, about.seed, shuffled)
    if binarisation is None or levels is None:
        return Dataset(about.name, *_ordered(values), labels, shape, None, None, *about[1:])
    scored = SPLITS if binarisation == "threshold" else SPLITS[1:]
    for split in scored:
        values[split] = score(values[split], levels, binarisation, about.seed, split)
    if binarisation == "threshold":
        levels = None
    return Dataset(about.name, *_ordered(values), labels, shape, binarisation, levels, *about[1:])


def _ordered(values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return values["train"], values["validation"], values["test"]


def _grey_levels(values: Mapping[str, Tensor], levels: int | None, where: str) -> int | None:
    """Return the value that means 1, or None where the rows are bits already."""
    high = max(part.max().item() for part in values.values())
    if values["train"].is_floating_point():
        if levels not in (None, 1):
            raise invalid("levels", levels, "None: reals are means in [0, 1]")
        _check_range(values, 1, where)
        return 1
    if high <= 1 and levels in (None, 1):
        _check_range(values, 1, where)
        return None
    if levels is None and high <= BYTE // 2:
        raise DataError(
            f"{where}: got grey levels up to {high} only; state the one that means 1, "
            f"levels={high} or levels={BYTE}"
        )
    _check_range(values, levels or BYTE, where)
    return levels or BYTE


def _check_range(values: Mapping[str, Tensor], high: int, where: str) -> None:
    """Refuse values that are no means or grey levels, and name the first."""
    for split, part in values.items():
        if part.min() >= 0 and part.max() <= high:
            continue
        row, column = ((part < 0) | (part > high)).nonzero()[0].tolist()
        raise DataError(
            f"{where}: {split}: row {row}, column {column} (from 0): got "
            f"{part[row, column].item():g}, expected a grey value from 0 to {high}"
        )


def _check_arguments(
    binarisation: str | None, seed: int, levels: int | None, sizes: Mapping[str, Size | None]
) -> None:
    """Refuse arguments that fit no data set, before any work."""
    if binarisation is not None:
        choose("binarisation", binarisation, BINARISATIONS)
    if levels is not None and (isinstance(levels, bool) or not isinstance(levels, int) or levels < 1):
        raise invalid("levels", levels, "a positive integer or None")
    Stream(seed)
    for name, size in sizes.items():
        check_size(name, size)


def _refuse(arguments: Mapping[str, object], expected: str) -> None:
    """Refuse arguments that came although they mean nothing here."""
    for name, value in arguments.items():
        if value is not None:
            raise invalid(name, value, expected)


def _is_path(source: str) -> bool:
    """Tell a path from a misspelt name."""
    return os.sep in source or source.lower().endswith(SUFFIXES) or Path(source).exists()


def _read(path: Path, table: Mapping[str, Any]) -> Rows:
    """Read a user's file by the reader that its suffix asks for."""
    name = path.name.lower()
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise FileError(f"{path}: {what}, expected a file that ends in {', '.join(SUFFIXES)}")
    if not name.endswith(SUFFIXES):
        raise FileError(f"{path}: got an unknown format, expected one of {', '.join(SUFFIXES)}")
    if name.endswith((".npy", ".npz")):
        _refuse(table, "None: it is only for .csv and .tsv")
        return read_npy(path) if name.endswith(".npy") else read_npz(path)
    comma = "\t" if name.endswith((".tsv", ".tsv.gz")) else ","
    return read_csv(path, table["delimiter"] or comma, table["header"], table["label"])


def _numpy(name: str, values: object) -> NDArray[Any]:
    """Return an array or a tensor as an array, without a copy where that can be."""
    if isinstance(values, Tensor) and values.layout == torch.strided:
        values = values.detach().cpu()
        half = values.is_floating_point() and values.element_size() < 4
        return (values.float() if half else values).numpy()
    if isinstance(values, np.ndarray) and not isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    raise ArgumentTypeError(f"{name}: got {type(values).__name__}, expected a NumPy array or a dense tensor")
