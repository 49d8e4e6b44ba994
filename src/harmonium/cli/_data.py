"""The data sets: all of them in a table, or one in full; and those that a command names."""

from __future__ import annotations

__all__ = ["as_columns", "data", "named", "other_data"]

import re
from pathlib import Path
from typing import Any

from ..datasets import DATASETS, Dataset, Entry, load, pack, summary
from ..errors import ArgumentError
from ..report import with_transform
from ..training import RunFolder
from ._console import print_json, print_table
from ._settings import data_keys, read, signature_keys


def data(name: str | None, pairs: list[str], columns: list[str], out: Path | None, as_json: bool) -> None:
    """Print the table of data sets, or what there is to know of one; or pack one first."""
    if out is not None:
        if name is None:
            raise ArgumentError("--out: expected a folder or a database of images to pack")
        pack(name, out, **read(pairs, signature_keys(pack, but=("source", "out"))))
        _describe(str(out), [], [], as_json)
    elif name is not None:
        _describe(name, pairs, columns, as_json)
    elif pairs or columns:
        option = "--set" if pairs else "--column"
        raise ArgumentError(f"{option}: expected the name of a data set to load with it")
    elif as_json:
        print_json({"data": [_entry(name) for name in DATASETS]})
    else:
        rows = [(name, _shape(e.shape), _values(e), e.description) for name, e in DATASETS.items()]
        print_table("", ("name", "shape", "values", ""), rows)


_TREATMENT = re.compile(r"(.+?)=(levels:.*|[^=]*)", re.DOTALL)
"""A column's name, which may have an equals sign, and how it is treated."""


def as_columns(pairs: list[str]) -> dict[str, dict[str, str]]:
    """Return the argument of loading data that ``--column`` options stand for, or none.

    Raises:
        ArgumentError: One is no pair, or a column comes twice.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        parts = _TREATMENT.fullmatch(pair)
        if parts is None:
            raise ArgumentError(f"--column: got {pair!r}, expected NAME=TREATMENT, as age=quantile")
        name, word = parts.groups()
        if name in columns:
            raise ArgumentError(f"--column: {name} comes twice")
        columns[name] = word
    return {"columns": columns} if columns else {}


def named(source: str) -> str:
    """Return a data set's name as it is, and the path of a file or a folder from the root."""
    path = Path(source).expanduser()
    return str(path.resolve()) if source not in DATASETS and path.exists() else source


def other_data(run: Path, source: str | None, arguments: dict[str, Any]) -> Dataset | None:
    """Load the data that are named in place of a run's own, if some are.

    Where they are the ones that the run names, they are loaded as then, but for the arguments given now. The
    rows of a run that has a transform are made by that one.

    Arguments:
        run: The run folder.
        source: A name or a path, or none.
        arguments: Arguments of :func:`harmonium.datasets.load`.

    Raises:
        ArgumentError: There are arguments and no source.
    """
    if source is None and arguments:
        name = next(iter(arguments))
        raise ArgumentError(f"data.{name}: there is nothing to load, expected --data NAME_OR_PATH as well")
    if source is None:
        return None
    folder = RunFolder(run)
    own = folder.config().get("data") or {}
    before = own.get("arguments", {}) if own.get("source") == named(source) else {}
    return load(source, **with_transform(folder, {**before, **arguments}))


def _describe(name: str, pairs: list[str], columns: list[str], as_json: bool) -> None:
    keys = data_keys()
    both = keys | {f"data.{key}": found for key, found in keys.items()}
    values = {key.removeprefix("data."): value for key, value in read(pairs, both).items()}
    told: dict[str, Any] = summary(load(name, **{**values, **as_columns(columns)}))
    if as_json:
        print_json(told)
        return
    known = {key: value for key, value in told.items() if value not in (None, {})}
    own = known.pop("columns", [])
    print_table("", ("", ""), [(key.replace("_", " "), _told(value, key)) for key, value in known.items()])
    if own:
        cells = [(c["name"], c["kind"], c["treatment"], f"{c['gaps']:.2%}") for c in own]
        print_table("", ("column", "kind", "treatment", "gaps"), cells, right=1)


def _entry(name: str) -> dict[str, Any]:
    entry = DATASETS[name]
    return {
        "name": name,
        "description": entry.description,
        "shape": list(entry.shape),
        "levels": entry.levels,
        "source": entry.source,
    }


def _told(value: Any, name: str = "") -> str:
    if isinstance(value, dict):
        parts = {key: f"{len(v)} kinds" if isinstance(v, dict) else _told(v) for key, v in value.items()}
        return ", ".join(f"{key}: {part}" for key, part in parts.items())
    if isinstance(value, list):
        return _shape(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if name == "gaps":
            return f"{value:.2%} of all cells"
        return f"{value:.3f}{'' if name == 'effective_rows' else ' nats per row'}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape))


def _values(entry: Entry) -> str:
    return entry.values if entry.levels is None else f"{entry.values}, 0 to {entry.levels}"
