"""From a name, a path or an array to a data set: split, cut, mapped, and made ready to be scored."""

from __future__ import annotations

__all__ = ["from_array", "load"]

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, DataError, FileError, choose, invalid
from ..random import Stream
from ._album import Look, read_album
from ._albums import open_album
from ._change import Change
from ._dataset import BINARISATIONS, Dataset, score
from ._files import IDX, SUFFIXES, NoArray, read_csv, read_idx_images, read_npy, read_npz
from ._mixed_table import check_table, load_table
from ._named import DATASETS
from ._pack import is_packed, read_packed
from ._rows import SPLITS, TENTH, Rows, Size, check_size, divide, narrow, refuse
from ._schema import Schema
from ._sequences import FASTA, check_identity, read_family, sequence_weights
from ._tables import PARQUET
from ._transform import Transform

Array = NDArray[Any] | Tensor

BYTE = 255
FORMATS = (*SUFFIXES, PARQUET, *FASTA)
"""What a file's name may end in."""


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
    size: int | None = None,
    channels: int | None = None,
    skip_broken: bool = False,
    limit: int | None = None,
    patches: int | None = None,
    patches_per_image: int | None = None,
    transform: str | Transform | None = None,
    epsilon: float | None = None,
    flip: bool = False,
    table: bool | None = None,
    columns: Mapping[str, str] | None = None,
    schema: Schema | None = None,
    missing: Sequence[str] | None = None,
    alphabet: str | None = None,
    unknown: str | None = None,
    reweight: float | None = None,
) -> Dataset:
    """Load a data set by its name in ``DATASETS``, from a file, or from a folder or a database of images.

    A size is a count or a fraction of the rows. Splits that the source lacks are taken from its
    training rows; those of a file or a folder by a seeded permutation, a tenth each by default.

    Images are bytes, one row each: a grey one as (height, width), one in colour as (3, height, width),
    the whole red channel first. Patches and transforms make rows of float32 of them, and of any other rows;
    patches are cut from the images of their own split, and a transform is fitted on the training rows alone.

    A .csv or .tsv file without names of columns, or of nothing but 0 and 1 below them, becomes an array of
    its numbers. It is a table with columns of several types instead, and its rows are float32 by the data
    set's ``schema``, NaN where a cell is missing, if its first line names columns, two at least, above
    anything but 0 and 1 (and no argument asks for an array); if ``columns``, ``schema`` or ``missing`` are
    given; or if ``table`` says so. A .parquet file always is.

    Arguments:
        source: A name, or the path of an .npy, .npz, .csv, .tsv, .fasta (the latter three also .gz) or
            .parquet file, of IDX images with their labels beside them, or of a folder of images. Its
            sub-folders are classes, below train, validation and test if it has them. Or that of an LMDB
            database of images, or of what :func:`pack` made, whose rows stay on the disk.
        binarisation: ``sampled``, ``threshold`` or ``none``. Named grey sets are ``sampled`` by
            default, unless cut or transformed; other values stay what they are unless it is stated.
        seed: The seed of the permutation, of the fixed binary sample, and of the patches.
        validation: The size of the validation split.
        test: The size of the test split.
        root: The folder in which to look for a named set first.
        levels: The grey level that means 1 in a file's integers, 255 by default.
        delimiter: The character between a table's cells, by default a comma, or a tab in .tsv.
        header: Whether a table's first line names its columns; by default, if no cell is a number.
        label: The name or the number (from 0) of a table's column of labels.
        with_labels: Whether each row ends in the code of its label: see :meth:`Dataset.with_labels`.
        size: The side of the square to which each image of a folder is cropped about its centre and resized.
        channels: 1 to turn the images of a folder into grey ones, 3 into colour; by default what they are.
        skip_broken: Whether images of a folder that cannot be decoded are left out; ``source`` counts them.
        limit: How many images of a folder or a database to take of each split at most, chosen by the seed.
        patches: The side, in pixels, of the square patches to cut from images.
        patches_per_image: How many patches to cut from each image, 1 by default.
        transform: ``standardise`` or ``zca``, fitted on the training rows: see :class:`Transform`; or one
            that has been fitted, such as a model's own.
        epsilon: The transform's regulariser, a share of the mean variance; by default 0, for ``zca`` 0.001.
        flip: Whether training shows images mirrored half of the times: see :meth:`Dataset.with_flips`.
        table: Whether a file is a table with columns of several types; by default as told above.
        columns: How columns of a table are treated, by name: see :func:`from_table`.
        schema: One that has been fitted, such as a model's own, by which to read a table.
        missing: The texts that stand for a missing cell of a table; by default nothing, ?, NA and their like.
        alphabet: That of a FASTA file: ``protein`` (the default), ``dna``, ``rna``, or its symbols, the gap
            first.
        unknown: ``refuse`` symbols of a FASTA file that are not in the alphabet, or take each as a ``gap``.
        reweight: The share of equal positions from which on two training sequences are relatives; each weighs
            one over the number of its relatives: see :func:`sequence_weights`. By default all weigh the same.

    Raises:
        ArgumentError: The name is unknown, or an argument cannot be used with this source.
        DataError: The values are no finite numbers, or do not fit what was stated.
        FileError: A file is missing, damaged, or of the wrong format.
    """
    change = Change(patches, patches_per_image, transform, epsilon)
    _check_arguments(binarisation, seed, levels, {"validation": validation, "test": test}, change)
    look = Look(size, channels, skip_broken, limit)
    look.check()
    if not isinstance(source, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"source: got {type(source).__name__}, expected a name or a path; "
            "for what is in memory, see from_array"
        )
    sizes = {k: v for k, v in {"validation": validation, "test": test}.items() if v is not None}
    cells = {"delimiter": delimiter, "header": header, "label": label}
    mixed = {"table": table or None, "columns": columns, "schema": schema, "missing": missing}
    family = {"alphabet": alphabet, "unknown": unknown, "reweight": reweight}
    check_table(columns, schema, missing)
    if isinstance(source, str) and source in DATASETS:
        own = {"levels": levels, **cells, **mixed, **family}
        refuse(own, f"None: it is only for files, not for {source}")
        look.refuse(f"None: it is only for folders of images, not for {source}")
        place = Path(root).expanduser() if root else None
        dataset = _named(source, binarisation, seed, sizes, place, change)
        dataset = dataset.with_flips() if flip else dataset
        return dataset.with_labels() if with_labels else dataset
    if isinstance(source, str) and not _is_path(source):
        choose("source", source, DATASETS)
    refuse({"root": root}, "None: it is only for named sets")
    path = Path(source).expanduser()
    if path.name.lower().endswith(FASTA):
        own = {"levels": levels, "binarisation": binarisation, **cells, **mixed}
        _check_family(path, own, reweight, look, change)
    else:
        refuse(family, f"None: it is only for {', '.join(FASTA)}")
    arrays = {
        "binarisation": binarisation,
        "levels": levels,
        "label": label,
        "patches": patches,
        "transform": transform,
        "with_labels": with_labels or None,
        "flip": flip or None,
    }
    as_mixed = partial(load_table, path, sizes, seed, delimiter, columns, schema, missing)
    if any(value is not None for value in mixed.values()) or path.name.lower().endswith(PARQUET):
        _check_mixed(table, header, arrays, look)
        return as_mixed()
    plain = table is False or any(value is not None for value in arrays.values())
    rows, why = None, ""
    try:
        rows = _read(path, {**cells, **family, "plain": plain}, look, seed)
    except NoArray as error:
        if plain:
            raise
        why = str(error)
    if rows is None:
        return _tried(as_mixed, why)
    if path.is_dir() and binarisation is not None:
        levels = levels or BYTE
    lacking = {k: 0 if rows.whole else v for k, v in TENTH.items() if k not in rows.parts}
    sizes = {**lacking, **sizes}
    kind = "folder" if path.is_dir() else "file"
    about = About(path.absolute().name, f"The {kind} {path}.{rows.note}", seed)
    dataset = _build(about, rows, sizes, binarisation, levels, change)
    if reweight is not None:
        dataset = replace(dataset, weights=sequence_weights(dataset.train, reweight))
    dataset = dataset.with_flips() if flip else dataset
    return dataset.with_labels() if with_labels else dataset


def _check_family(
    path: Path, others: Mapping[str, Any], reweight: float | None, look: Look, change: Change
) -> None:
    """Refuse what does not go with a FASTA file."""
    refuse(others, "None: a FASTA file holds states")
    if change:
        raise ArgumentError(f"patches, transform: {path} holds sequences, expected images or reals")
    check_identity("reweight", reweight)
    look.refuse("None: it is only for folders of images")


def _check_mixed(table: bool | None, header: bool | None, arrays: Mapping[str, Any], look: Look) -> None:
    """Refuse what does not go with a table that has columns of several types."""
    expected = "None or True: the first line of a table names its columns"
    refuse({"header": None if header else header}, expected)
    refuse({"table": table if table is False else None}, "None or True beside what only a table has")
    refuse(arrays, "None: it is only for arrays, not for tables with columns of several types")
    look.refuse("None: it is only for folders of images")


def _tried(load: Callable[[], Dataset], why: str) -> Dataset:
    """Load what need not be one as a table, or tell why it was taken for one."""
    try:
        return load()
    except DataError as error:
        raise DataError(f"{error}; read as a table with columns of several types, since {why}") from error


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
    patches: int | None = None,
    patches_per_image: int | None = None,
    transform: str | Transform | None = None,
    epsilon: float | None = None,
) -> Dataset:
    """Make a data set of an array or a tensor; by default all rows are for training, in order.

    Rows that have the smallest type already are shared with the array, not copied.

    Arguments:
        rows: Bits, integers, reals, or grey values, shape (rows, ...).
        binarisation: ``sampled``, ``threshold`` or ``none``, for grey values: reals in [0, 1], or
            integers of which ``levels`` means 1.
        seed: The seed of the permutation, of the fixed binary sample, and of the patches.
        validation: How many rows to split off by a seeded permutation, or a fraction of them, or
            an array of more rows.
        test: Likewise.
        labels: Integers of shape (rows), or such by the name of the split.
        levels: The grey level that means 1, 255 by default.
        name: The data set's name.
        source: Where the rows came from.
        patches: The side of the square patches to cut, where rows are images of shape (height, width) or
            (channels, height, width).
        patches_per_image: How many patches to cut from each image, 1 by default.
        transform: ``standardise`` or ``zca``, fitted on the training rows: see :class:`Transform`; or one
            that has been fitted, such as a model's own.
        epsilon: The transform's regulariser, a share of the mean variance; by default 0, for ``zca`` 0.001.

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
    change = Change(patches, patches_per_image, transform, epsilon)
    _check_arguments(binarisation, seed, levels, sizes, change)
    if labels is None or not isinstance(labels, Mapping):
        labels = {} if labels is None else {"train": labels}
    for split in labels:
        choose("labels", split, parts)
    marks = {split: _numpy("labels", values) for split, values in labels.items()}
    raw = Rows(parts, marks, name)
    return _build(About(name, source, seed), raw, sizes, binarisation, levels, change)


def _named(
    name: str,
    binarisation: str | None,
    seed: int,
    sizes: dict[str, Size],
    root: Path | None,
    change: Change,
) -> Dataset:
    """Load a named set."""
    entry = DATASETS[name]
    own = dict(entry.sizes)
    if entry.levels is None:
        refuse({"binarisation": binarisation}, f"None: {name} holds {entry.values} already")
    refuse({k: v for k, v in sizes.items() if k not in own}, f"None: {name} has that split")
    rows = entry.loader(root, seed)
    shape = rows.parts["train"].shape[1:]
    if shape != entry.shape:
        raise DataError(f"{rows.where}: got rows of shape {shape}, expected {entry.shape}")
    if not change:
        binarisation = binarisation or entry.binarisation
    about = About(name, entry.source, seed)
    levels = None if binarisation is None else entry.levels
    dataset = _build(about, rows, {**own, **sizes}, binarisation, levels, change, entry.shuffled)
    if entry.values == "bits" and not change and dataset.kind != "bits":
        raise DataError(f"{rows.where}: got {dataset.kind}, expected bits")
    return dataset


def _build(
    about: About,
    rows: Rows,
    sizes: dict[str, Size],
    binarisation: str | None,
    levels: int | None,
    change: Change,
    shuffled: bool = True,
) -> Dataset:
    """Narrow, split and binarise raw rows, or cut and map them."""
    given = {k: v for k, v in sizes.items() if k in rows.parts}
    refuse(given, f"None: {rows.where} has that split")
    if binarisation is None:
        refuse({"levels": levels}, "None unless a binarisation is stated")
    shape = tuple(rows.parts["train"].shape[1:])
    values, labels = narrow(rows)
    if binarisation is not None:
        levels = _grey_levels(values, levels, rows.where)
    values, labels = divide(values, labels, sizes, about.seed, shuffled)
    if binarisation is None or levels is None:
        plain = (about.name, *_ordered(values), labels, shape, None, None, *about[1:])
        return change.apply(Dataset(*plain, label_names=rows.names, alphabet=rows.alphabet))
    scored = SPLITS if binarisation == "threshold" else SPLITS[1:]
    for split in scored:
        values[split] = score(values[split], levels, binarisation, about.seed, split)
    if binarisation == "threshold":
        levels = None
    made = (about.name, *_ordered(values), labels, shape, binarisation, levels, *about[1:])
    return Dataset(*made, label_names=rows.names)


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
        if part.min().item() >= 0 and part.max().item() <= high:
            continue
        row, column = ((part < 0) | (part > high)).nonzero()[0].tolist()
        raise DataError(
            f"{where}: {split}: row {row}, column {column} (from 0): got "
            f"{part[row, column].item():g}, expected a grey value from 0 to {high}"
        )


def _check_arguments(
    binarisation: str | None,
    seed: int,
    levels: int | None,
    sizes: Mapping[str, Size | None],
    change: Change,
) -> None:
    """Refuse arguments that fit no data set, before any work."""
    if binarisation is not None:
        choose("binarisation", binarisation, BINARISATIONS)
    if levels is not None and (isinstance(levels, bool) or not isinstance(levels, int) or levels < 1):
        raise invalid("levels", levels, "a positive integer or None")
    Stream(seed)
    for name, size in sizes.items():
        check_size(name, size)
    change.check()
    if change:
        refuse({"binarisation": binarisation}, "None: patches and transforms are of real values")


def _is_path(source: str) -> bool:
    """Tell a path from a misspelt name."""
    return os.sep in source or source.lower().endswith(FORMATS) or Path(source).exists()


def _read(path: Path, table: Mapping[str, Any], look: Look, seed: int) -> Rows:
    """Read a user's folder, or a file by the reader that its suffix asks for."""
    name = path.name.lower()
    own = {key: table[key] for key in ("delimiter", "header", "label")}
    if name.endswith(FASTA) and path.is_file():
        return read_family(path, table["alphabet"], table["unknown"])
    if path.is_dir():
        refuse(own, "None: it is only for .csv and .tsv")
        if is_packed(path):
            look.refuse(f"None: images in {path} are packed already")
            return read_packed(path)
        with open_album(path) as album:
            return read_album(album, look, seed)
    if not path.is_file():
        expected = f"a folder or a database of images, or a file that ends in {', '.join(FORMATS)}"
        raise FileError(f"{path}: there is no such file or folder, expected {expected}")
    look.refuse("None: it is only for folders of images")
    if not name.endswith(SUFFIXES):
        raise FileError(f"{path}: got an unknown format, expected one of {', '.join(FORMATS)}")
    if name.endswith(IDX):
        refuse(own, "None: it is only for .csv and .tsv")
        return read_idx_images(path)
    if name.endswith((".npy", ".npz")):
        refuse(own, "None: it is only for .csv and .tsv")
        return read_npy(path) if name.endswith(".npy") else read_npz(path)
    comma = "\t" if name.endswith((".tsv", ".tsv.gz")) else ","
    return read_csv(path, table["delimiter"] or comma, table["header"], table["label"], table["plain"])


def _numpy(name: str, values: object) -> NDArray[Any]:
    """Return an array or a tensor as an array, without a copy where that can be."""
    if isinstance(values, Tensor) and values.layout == torch.strided:
        values = values.detach().cpu()
        half = values.is_floating_point() and values.element_size() < 4
        return (values.float() if half else values).numpy()
    if isinstance(values, np.ndarray) and not isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    raise ArgumentTypeError(f"{name}: got {type(values).__name__}, expected a NumPy array or a dense tensor")
