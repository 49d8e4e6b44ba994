"""From a table with columns of several types and gaps to a data set."""

from __future__ import annotations

__all__ = ["check_table", "from_table", "load_table"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentTypeError, DataError, FileError, choose, invalid, show
from ._column import ALL
from ._dataset import Dataset
from ._rows import TENTH, Size, check_size, refuse, shares
from ._schema import MISSING, Schema, gaps
from ._spare import Store, spare
from ._tables import as_table, open_table, read_blocks
from ._tally import Tally
from ._treatment import understand


def from_table(
    table: Any,
    *,
    columns: Mapping[str, str] | None = None,
    schema: Schema | None = None,
    missing: Sequence[str] | None = None,
    seed: int = 0,
    validation: Any = 0,
    test: Any = 0,
    name: str = "table",
    source: str = "A table in memory.",
) -> Dataset:
    """Make a data set of a table with columns of several types; by default all rows are for training.

    Kinds and levels of columns, which say what values there can be, are those of all rows of the table; the
    transforms of numbers are fitted to the training rows alone.

    Arguments:
        table: Lists of cells by the name of their column, or a frame of pandas or polars.
        columns: How columns are treated, by name, where it is not as :meth:`Schema.infer` would:
            ``bernoulli``, ``categorical``, ``gaussian``, ``standardise``, ``log-standardise``, ``quantile``,
            ``drop``, ``levels:a|b``, and ``unseen`` or ``+unseen`` behind one of these; ``*`` is the
            transform of all numbers.
        schema: One that has been fitted, such as a model's own, in place of all this.
        missing: The texts that stand for a missing cell, by default ``MISSING``.
        seed: The seed of the permutation.
        validation: How many rows to split off by a seeded permutation, or a fraction of them, or a table.
        test: Likewise.
        name: The data set's name.
        source: Where the rows came from.

    Raises:
        ArgumentError: An argument cannot be used, or names a column that is not there.
        ArgumentTypeError: The table is none.
        DataError: The table cannot be learnt from, or a cell does not fit; it is named.
    """
    sizes: dict[str, Size] = {}
    others: dict[str, Any] = {}
    for split, given in (("validation", validation), ("test", test)):
        if isinstance(given, Mapping) or hasattr(given, "columns"):
            others[split] = given
        else:
            check_size(split, given)
            sizes[split] = given or 0
    check_table(columns, schema, missing)
    own = as_table(table)
    n = len(next(iter(own.values()), ()))
    if not n:
        raise DataError(f"{name}: got 0 rows, expected at least one below the names of the columns")
    index = shares(n, sizes, seed, shuffled=True)
    train = index.get("train")
    choices, absent = _choices(list(own), columns), MISSING if missing is None else tuple(missing)
    fitted = schema or Schema.infer(own, **choices, missing=absent, train=_rows_of(train))
    rows = fitted.encode(own)
    parts = {"train": rows, **{split: rows[where] for split, where in index.items()}}
    parts |= {split: fitted.encode(other) for split, other in others.items()}
    return _assembled(parts, fitted, name, source, seed)


def load_table(
    path: Path,
    sizes: Mapping[str, Size],
    seed: int,
    delimiter: str | None,
    columns: Mapping[str, str] | None,
    schema: Schema | None,
    missing: Sequence[str] | None,
) -> Dataset:
    """Read a table from a file into a data set; see :func:`from_table`.

    The file is read twice, in blocks, and each block goes to the rows of its splits, which are in a file of
    their own where they are many.
    """
    form, sizes = open_table(path, delimiter), {**TENTH, **sizes}
    for split, size in sizes.items():
        check_size(split, size)
    choices, absent = _choices(list(form.names), columns), MISSING if missing is None else tuple(missing)
    n = 0
    with Store() as store:
        coded = {name for name, kind in choices["kinds"].items() if kind != "gaussian"}
        coded |= {*choices["levels"], *choices["unseen"]}
        tallies = {name: Tally(name, None if name in coded else store) for name in form.names}
        for block in read_blocks(path, delimiter=delimiter):
            n += len(next(iter(block.table.values())))
            if schema is None:
                for name in tallies.keys() - choices["drop"]:
                    tallies[name].add(gaps(block.table[name], absent), block.first)
        if not n:
            raise DataError(f"{path.name}: got 0 rows, expected at least one below the names of the columns")
        index = shares(n, sizes, seed, shuffled=True)
        fitted = schema or Schema.of_tallies(tallies, choices, absent, _rows_of(index.get("train")))
        del tallies
    places, counts = _places(index, n)
    rows = torch.from_numpy(spare((n, len(fitted.columns)), np.float32))
    done = 0
    for block in read_blocks(path, delimiter=delimiter):
        part = fitted.encode(block.table, block.first)
        done += len(part)
        if done <= n:
            rows[places[block.first : done]] = part
    if done != n:
        raise FileError(
            f"{path}: got {done} rows when it was read again, expected {n} as before; has it changed?"
        )
    parts = dict(zip(counts, rows.split([*counts.values()]), strict=True))
    return _assembled(parts, fitted, path.absolute().name, f"The file {path}.", seed)


def check_table(
    columns: Mapping[str, str] | None, schema: Schema | None, missing: Sequence[str] | None
) -> None:
    """Refuse settings that fit no table, before any work.

    Raises:
        ArgumentError: Words are unknown, or come beside a schema.
        ArgumentTypeError: An argument has the wrong type.
    """
    understand(columns)
    if schema is not None:
        if not isinstance(schema, Schema):
            raise ArgumentTypeError(
                f"schema: got {show(schema)}, expected what Schema.infer returns, or None"
            )
        refuse({"columns": columns, "missing": missing}, "None beside a schema that has been fitted")
    if missing is not None and (isinstance(missing, str) or not all(isinstance(gap, str) for gap in missing)):
        raise invalid("missing", missing, 'a list of texts, as ["", "?"]')


def _choices(names: Sequence[str], columns: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the arguments of :meth:`Schema.infer` that words by column stand for."""
    for name in columns or {}:
        choose("columns", name, [*names, ALL])
    return understand(columns)


def _rows_of(share: Any) -> Tensor | None:
    """Return the numbers of the rows of a split, or None of all."""
    return share if isinstance(share, Tensor) else None


def _places(index: Mapping[str, Any], n: int) -> tuple[Tensor, dict[str, int]]:
    """Return where each of n rows goes, shape (n), if split lies behind split, and the splits' lengths."""
    if _rows_of(index.get("train")) is None:
        return torch.arange(n), {"train": n}
    places, counts, first = torch.empty(n, dtype=torch.int64), {}, 0
    for split, where in index.items():
        places[where] = torch.arange(first, first + len(where))
        counts[split], first = len(where), first + len(where)
    return places, counts


def _assembled(parts: Mapping[str, Tensor], schema: Schema, name: str, source: str, seed: int) -> Dataset:
    """Return rows as a data set.

    Arguments:
        parts: The rows of each split that there is.
        schema: What made the rows.
        name: The data set's name.
        source: Where they came from.
        seed: That of the permutation.
    """
    none = parts["train"][:0]
    return Dataset(
        name=name,
        train=parts["train"],
        validation=parts.get("validation", none),
        test=parts.get("test", none),
        labels={},
        shape=(len(schema.columns),),
        binarisation=None,
        levels=None,
        source=source,
        seed=seed,
        schema=schema,
    )
