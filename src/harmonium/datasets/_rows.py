"""Raw rows: what a file or an array holds, checked, narrowed to the smallest type, and split.

Checks go through blocks of rows, so that they need no second copy of the data.
"""

from __future__ import annotations

__all__ = [
    "SPLITS",
    "TENTH",
    "Rows",
    "Size",
    "check_positive",
    "check_size",
    "divide",
    "narrow",
    "refuse",
    "shares",
]

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ArgumentError, DataError, invalid
from ..random import Stream

Size = int | float

SPLITS = ("train", "validation", "test")
TENTH: dict[str, Size] = {"validation": 0.1, "test": 0.1}
"""The sizes of the splits that a source lacks."""
BLOCK = 4096
INTEGERS = (np.uint8, np.int16, np.int32, np.int64)
LARGEST = np.float64(np.finfo(np.float32).max)


class Rows(NamedTuple):
    """What was read, by the name of the split, and where: the file or the argument, for errors.

    ``parts`` have shape (rows, ...), ``labels`` (rows); ``names`` are those of the labels 0, 1, ... where
    they have some, ``alphabet`` has the symbols of sequences, and ``note`` is what else there is to say of
    the source. Where it is ``whole``, splits that it lacks are empty, unless sizes are given for them.
    """

    parts: dict[str, NDArray[Any]]
    labels: dict[str, NDArray[Any]]
    where: str
    names: tuple[str, ...] | None = None
    note: str = ""
    whole: bool = False
    alphabet: str | None = None


def narrow(rows: Rows) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return rows and labels as tensors, the rows of the smallest type that holds all splits.

    Integers become uint8, int16, int32 or int64, the first that fits, also where they came as
    floats; all else becomes float32. What has its type already is not copied.

    Arguments:
        rows: What was read.

    Returns:
        Rows of shape (rows, columns) and int64 labels of shape (rows), by split.

    Raises:
        DataError: Something is empty, no finite number, or does not match the rest.
    """
    where, shape = rows.where, rows.parts["train"].shape[1:]
    for name, part in rows.parts.items():
        _check(part, f"{where}: {name}")
        if part.shape[1:] != shape:
            raise DataError(f"{where}: {name}: got rows of shape {part.shape[1:]}, expected {shape} as train")
    dtype = _smallest(list(rows.parts.values()))
    values = {k: _tensor(v.reshape(len(v), -1), dtype) for k, v in rows.parts.items()}
    labels = {
        name: _labels(part, len(rows.parts[name]), f"{where}: labels of {name}")
        for name, part in rows.labels.items()
    }
    return values, labels


def check_size(name: str, size: object) -> None:
    """Check that ``size`` is None, a count, or a fraction below 1.

    Raises:
        ArgumentError: It is none of them.
    """
    count = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    fraction = isinstance(size, float) and 0 <= size < 1
    if not (size is None or count or fraction):
        raise invalid(name, size, "a count of rows or a fraction in [0, 1)")


def check_positive(name: str, number: object) -> None:
    """Check that ``number`` is None or a positive integer.

    Raises:
        ArgumentError: It is neither.
    """
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise invalid(name, number, "a positive integer or None")


def refuse(arguments: Mapping[str, object], expected: str) -> None:
    """Refuse arguments that came although they mean nothing here.

    Raises:
        ArgumentError: One of them is not None.
    """
    for name, value in arguments.items():
        if value is not None:
            raise invalid(name, value, expected)


def divide(
    values: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    sizes: Mapping[str, Size],
    seed: int,
    shuffled: bool,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Move rows from ``train`` to the splits named in ``sizes``.

    Arguments:
        values: Rows of shape (rows, columns), by split.
        labels: Labels of shape (rows), by split.
        sizes: The count or the fraction of each new split.
        seed: The seed of the permutation.
        shuffled: Whether to permute the rows first; otherwise the last ones move.

    Raises:
        ArgumentError: No row would be left for training.
    """
    index = shares(len(values["train"]), sizes, seed, shuffled)
    return _move(values, index), _move(labels, index)


def shares(n: int, sizes: Mapping[str, Size], seed: int, shuffled: bool) -> Mapping[str, Tensor | slice]:
    """Return which of the training rows belong to which split.

    Arguments:
        n: How many there are.
        sizes: The count or the fraction of each new split.
        seed: The seed of the permutation.
        shuffled: Whether to permute the rows first; otherwise the last ones move.

    Raises:
        ArgumentError: No row would be left for training.
    """
    counts = {k: round(v * n) if isinstance(v, float) else v for k, v in sizes.items()}
    kept = n - sum(counts.values())
    if kept < 1:
        asked = ", ".join(f"{k}={v}" for k, v in sizes.items())
        raise ArgumentError(f"{asked}: expected to leave at least one of {n} rows for training")
    if kept == n:
        return {name: slice(0) for name in sizes}
    order = Stream(seed).child("split").permutation(n) if shuffled else torch.arange(n)
    names = ("train", *counts)
    bounds = list(accumulate(counts.values(), initial=kept))
    return dict(zip(names, order.tensor_split(bounds[:-1]), strict=True))


def _move(parts: Mapping[str, Tensor], index: Mapping[str, Tensor | slice]) -> dict[str, Tensor]:
    """Replace or add the splits in ``index`` by those rows of ``train``."""
    if "train" not in parts:
        return dict(parts)
    moved = {name: parts["train"][rows] for name, rows in index.items()}
    return {name: ({**parts, **moved})[name] for name in SPLITS if name in {*parts, *moved}}


def _check(part: NDArray[Any], where: str) -> None:
    """Refuse what is not at least one row of at least one finite number."""
    if part.dtype.kind not in "buif":
        raise DataError(f"{where}: got values of type {part.dtype}, expected numbers")
    if part.ndim < 2 or part.size == 0:
        raise DataError(f"{where}: got an array of shape {part.shape}, expected (rows, columns)")
    if part.dtype.kind != "f":
        return
    for start in range(0, len(part), BLOCK):
        block = part[start : start + BLOCK].reshape(-1, part[0].size)
        bad = np.argwhere(~(np.abs(block) <= LARGEST))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise DataError(
                f"{where}: row {start + row}, column {column} (from 0): got {block[row, column]}, "
                "expected a finite float32"
            )


def _smallest(parts: list[NDArray[Any]]) -> type[np.generic]:
    """Return the smallest type that holds the values of all arrays."""
    if all(part.dtype == np.uint8 for part in parts):
        return np.uint8
    if not all(_is_integral(part) for part in parts):
        return np.float32
    low = min(int(part.min()) for part in parts)
    high = max(int(part.max()) for part in parts)
    fits = (t for t in INTEGERS if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return next(fits, np.float32)


def _is_integral(part: NDArray[Any]) -> bool:
    if part.dtype.kind != "f":
        return True
    blocks = (part[start : start + BLOCK] for start in range(0, len(part), BLOCK))
    return all(bool((block == np.trunc(block)).all()) for block in blocks)


def _tensor(array: NDArray[Any], dtype: type[np.generic]) -> Tensor:
    """Return the array as a tensor; one that may not be written to is copied."""
    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


def _labels(part: NDArray[Any], n: int, where: str) -> Tensor:
    """Return labels as int64, shape (rows)."""
    if part.shape != (n,):
        raise DataError(f"{where}: got shape {part.shape}, expected ({n},)")
    if part.dtype.kind not in "buif":
        raise DataError(f"{where}: got values of type {part.dtype}, expected integers")
    bad = np.flatnonzero(~(np.abs(part) < 2**53) | (part != np.trunc(part)))
    if len(bad):
        got = part[bad[0]]
        raise DataError(f"{where}: row {bad[0]} (from 0): got {got}, expected an integer")
    return _tensor(part, np.int64)
