"""Samples of a run's model, as a picture or as rows."""

from __future__ import annotations

__all__ = ["HALVES", "sample"]

import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..datasets import block_rows, delimiter_of, write_table
from ..errors import DataError, FileError, invalid
from ..files import replacing, write_bytes
from ..models import GenerativeModel
from ..plots import save_grid
from ..random import Stream
from ..report import SEQUENCES, OpenRun, draw, open_run, scored, write_fasta
from ..units import complete
from ._console import Meter, print_json, say
from ._data import other_data

HALVES = ("left", "right", "top", "bottom")
"""Which half of held-out images samples can keep."""

_PARQUET = ".parquet"
_FORMATS = (".png", ".npy", ".csv", ".tsv", _PARQUET, *SEQUENCES)


def sample(
    path: Path,
    out: Path,
    n: int,
    steps: int,
    temperature: float,
    replicas: int,
    seed: int,
    means: bool,
    start: str,
    label: int | None,
    clamp: str | None,
    source: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Draw samples and write them."""
    if n < 1:
        raise invalid("n", n, "at least 1")
    _check(out, force)
    run = open_run(path, other_data(path, source, {}), same=start == "data")
    if not isinstance(run.model, GenerativeModel):
        raise FileError(f"{path}: got a model of kind {run.model.kind}, which draws no samples")
    code = _code(run, label)
    _check_chains(run, start)
    held = None if clamp is None else _held(run, clamp, n)
    if out.suffix.lower() == ".png":
        _check_picture(run, means)
    if means and run.data.schema is not None:
        raise invalid("--means", True, "draws, which are rows of the table")
    if _is_family(out):
        _check_family(run, means)
    if out.suffix.lower() == _PARQUET and run.data.schema is None:
        raise invalid("--out", _PARQUET, f".npy or .csv: the rows of {run.data.name} are none of a table")
    blocks = _blocks(run, out, n)
    how = {"steps": steps, "seed": seed, "label": code, "clamp": held, "temperature": temperature}
    how |= {"means": means, "replicas": replicas, "from_chains": start == "chains"}
    schema = run.data.schema
    with Meter("step", steps * len(blocks)) as meter:
        parts = _drawn(run, blocks, start == "data", meter, how)
        if schema is not None and out.suffix.lower() != ".npy":
            with replacing(out) as file:
                write_table(out, file, map(schema.decode, parts), schema.booleans)
            columns = len(schema.columns)
        else:
            [rows] = parts
            columns = rows.shape[1]
            _write(run, run.untransformed(rows), out)
    if as_json:
        print_json({"out": str(out), "rows": n, "columns": columns, "means": means})
    else:
        say(f"{n} {'means' if means else 'samples'} of {path} in {out}")


def _drawn(
    run: OpenRun, blocks: list[tuple[int, int]], from_data: bool, meter: Meter, how: dict[str, Any]
) -> Iterator[Tensor]:
    """Yield blocks of rows, and tell how many steps are taken."""
    start = _starting(run, how["seed"]) if from_data else None
    for number, (row, size) in enumerate(blocks):
        before = how["steps"] * number
        yield draw(
            run,
            size,
            row=row,
            start=None if start is None else start(row, size),
            progress=lambda done, before=before: meter.step(before + done),
            **how,
        )


def _blocks(run: OpenRun, out: Path, n: int) -> list[tuple[int, int]]:
    """Return the first rows and the sizes of the parts in which rows are drawn: a table's not all at once."""
    if run.data.schema is None or out.suffix.lower() == ".npy":
        return [(0, n)]
    size = block_rows(run.data.columns)
    return [(row, min(size, n - row)) for row in range(0, n, size)]


def _check(out: Path, force: bool) -> None:
    if not out.name.lower().endswith(_FORMATS):
        raise invalid("--out", str(out), f"a name that ends in {', '.join(_FORMATS)}")
    if not out.parent.is_dir():
        raise FileError(f"--out: there is no folder {out.parent}")
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise FileError(f"--out: {out} cannot be written")
    if out.exists() and not force:
        raise FileError(f"--out: {out} is there already; --force overwrites it")


def _check_picture(run: OpenRun, means: bool) -> None:
    if run.image_shape is None:
        raise invalid("--out", ".png", f".npy or .csv: the rows of {run.data.name} are no images")
    if means and not run.plain:
        raise invalid("--out", ".png", ".npy or .csv, since a mean has one number for each state")


def _is_family(out: Path) -> bool:
    return out.name.lower().endswith(SEQUENCES)


def _check_family(run: OpenRun, means: bool) -> None:
    if run.data.alphabet is None or run.data.classes is not None:
        raise invalid("--out", ".fasta", f".npy or .csv: the rows of {run.data.name} are no sequences")
    if means:
        raise invalid("--out", ".fasta", ".npy or .csv, since means are no sequences")


def _code(run: OpenRun, label: int | None) -> int | None:
    """Return the code of the class that samples are to be of."""
    if label is None:
        return None
    if run.data.classes is None:
        raise invalid(
            "--label", label, "none, as the model has no label; one trained with data.with_labels has"
        )
    if label not in run.data.classes:
        raise invalid("--label", label, f"one of {', '.join(map(str, run.data.classes))}")
    return run.data.classes.index(label)


def _check_chains(run: OpenRun, start: str) -> None:
    if start == "chains" and run.chains is None:
        raise invalid("--from", start, f"noise or data: the run {run.folder.path} left no chains")


def _held(run: OpenRun, clamp: str, n: int) -> Tensor:
    """Return the values that samples keep, shape (n, size), NaN where a unit is free.

    Raises:
        ArgumentError: The model's rows are no numbers to hold, or the data no images to take half of.
        DataError: The rows have another width.
        FileError: There is no such file.
    """
    if run.data.schema is not None:
        raise invalid("--clamp", clamp, "none of a table's model; harmonium impute fills in gaps of a table")
    if run.data.transform is not None:
        raise invalid("--clamp", clamp, f"none, as the model's rows are made by {run.data.transform}")
    rows = _halves(run, clamp) if clamp in HALVES else _read(Path(clamp))
    size = run.model.visible.size
    if run.data.classes is not None and rows.shape[1] == size - 1:
        rows = pad(rows, (0, 1), value=torch.nan)
    if rows.shape[1] != size:
        raise DataError(f"--clamp: got {rows.shape[1]} columns, expected {size}")
    return rows[torch.arange(n) % len(rows)]


def _halves(run: OpenRun, side: str) -> Tensor:
    """Return held-out images of which one half is known; a label is not."""
    if run.image_shape is None or len(run.image_shape) != 2:
        raise invalid("--clamp", side, f"a file, as the rows of {run.data.name} are no images of one channel")
    height, width = run.image_shape
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place, length = (down, height) if side in ("top", "bottom") else (across, width)
    first = (2 * place < length).flatten()
    kept = first if side in ("top", "left") else ~first
    rows = run.data.fixed(run.held_out).float().clone()
    rows[:, : len(kept)][:, ~kept] = torch.nan
    rows[:, len(kept) :] = torch.nan
    return rows


def _read(path: Path) -> Tensor:
    """Return rows of numbers in a file, NaN where a cell is empty."""
    expected = f"{', '.join(HALVES)}, or an .npy, .csv or .tsv file of numbers"
    if path.suffix.lower() not in (".npy", ".csv", ".tsv"):
        raise invalid("--clamp", str(path), expected)
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path).astype(np.float64, casting="same_kind")
        else:
            with path.open(encoding="utf-8") as lines:
                values = np.loadtxt(lines, delimiter=delimiter_of(path), converters=_cell, ndmin=2)
    except OSError as error:
        raise FileError(f"--clamp: {path} cannot be read ({error.strerror or error})") from None
    except (ValueError, TypeError, EOFError) as error:
        raise FileError(f"--clamp: got {path}, expected {expected} ({error})") from None
    values = np.atleast_2d(values)
    if values.ndim != 2 or not values.size:
        raise DataError(f"--clamp: got shape {values.shape} in {path}, expected (rows, columns)")
    return torch.from_numpy(values).float()


def _cell(text: str) -> float:
    return float(text.strip() or "nan")


def _starting(run: OpenRun, seed: int) -> Callable[[int, int], Tensor]:
    """Return what gives the training rows that so many chains from the first one on start from."""
    rows = run.data.fixed("train")
    whole = complete(rows)
    if not len(whole):
        raise DataError(
            f"--from: got data, expected noise or chains, as all rows of {run.data.name} have gaps"
        )
    order = whole[Stream(seed, "start").permutation(len(whole))]
    return lambda first, n: rows[order[torch.arange(first, first + n) % len(order)]]


def _write(run: OpenRun, rows: Tensor, out: Path) -> None:
    if out.suffix.lower() == ".png":
        assert run.image_shape is not None
        save_grid(run.images(rows), run.image_shape, out, limits=run.own_limits, overwrite=True)
        return
    if _is_family(out):
        assert run.data.alphabet is not None
        write_fasta(out, rows.cpu(), run.data.alphabet, scored(run.model, rows))
        return
    values = _narrow(rows).numpy()
    memory = BytesIO()
    if out.suffix.lower() == ".npy":
        np.save(memory, values)
    else:
        fmt = "%d" if values.dtype.kind == "i" else "%.7g"
        np.savetxt(memory, values, fmt=fmt, delimiter=delimiter_of(out))
    write_bytes(out, memory.getvalue())


def _narrow(rows: Tensor) -> Tensor:
    """Return whole numbers as integers of one or two bytes, and all else as it is."""
    if bool((rows != rows.round()).any()):
        return rows.cpu()
    return rows.cpu().to(torch.int8 if rows.abs().max() < 128 else torch.int16)
