"""Tables: what is in one, gaps filled in, and rows scored."""

from __future__ import annotations

__all__ = ["describe", "impute", "score"]

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import tables
from ..datasets import describe_table
from ..errors import FileError
from ..models import PairwiseModel
from ..report import open_model
from ..training import RunFolder
from ._console import Meter, note, print_json, print_table, say
from ._data import as_columns

_SHOWN = 6


def describe(
    table: Path, columns: list[str], missing: list[str], delimiter: str | None, as_json: bool
) -> None:
    """Print how each column of a table would be treated, and what stands in the way."""
    with _watch() as progress:
        told = describe_table(
            table, **as_columns(columns), missing=missing or None, delimiter=delimiter, progress=progress
        )
    if as_json:
        print_json({"table": str(table), **told})
        return
    cells = [
        (c["name"], c["kind"] or "unknown", c["treatment"], _values(c), f"{c['gaps']:.2%}")
        for c in told["columns"]
    ]
    title = f"{table}: {told['rows']:,} rows, {told['gaps']:.2%} of the cells are missing"
    print_table(title, ("column", "kind", "treatment", "values", "gaps"), cells, right=1)
    if told["empty_rows"]:
        say(f"Problem: {told['empty_rows']:,} rows have no value at all; take them out.")
    for column in told["columns"]:
        if column["problem"]:
            say(f"Problem: {column['name']}: {column['problem']}")
    if not told["empty_rows"] and not any(column["problem"] for column in told["columns"]):
        bits = all(column["kind"] == "bernoulli" for column in told["columns"])
        array = table.suffix.lower() != ".parquet" and (bits or len(told["columns"]) == 1)
        say(f"Train on it: {_training(table, columns, missing, delimiter, array)}")


def _training(table: Path, columns: list[str], missing: list[str], delimiter: str | None, array: bool) -> str:
    """Return the command that trains on a table as it was described, if need be in place of an array."""
    words = ["harmonium", "train", "rbm", "--data", str(table), "--out", "RUN", "--set", "hidden=50"]
    words += [word for column in columns for word in ("--column", column)]
    words += ["--set", f"data.missing={json.dumps(missing)}"] if missing else []
    if array and not (columns or missing):
        words += ["--set", "data.table=true"]
    command = shlex.join(words)
    if delimiter:
        command += " --set data.delimiter=" + ("$'\\t'" if delimiter == "\t" else shlex.quote(delimiter))
    return command


def impute(run: Path, table: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Fill in a table's gaps, and say how many there were."""
    with _watch(out) as progress:
        told = tables.impute(_model(run), table, out, progress=progress, **options)
    if as_json:
        print_json({"out": str(out), **told})
        return
    say(f"{told['filled']:,} cells filled in {told['rows_with_gaps']:,} of {told['rows']:,} rows: {out}")


def score(run: Path, table: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Score a table's rows, and say what they come to."""
    out = out or Path(f"{Path(table.name.removesuffix('.gz')).stem}.scores.csv")
    with _watch(out) as progress:
        told = tables.score(_model(run), table, out, progress=progress, **options)
    if as_json:
        print_json({"out": str(out), **told})
        return
    say(f"{told['rows']:,} rows scored, {told['rows_with_gaps']:,} of them with gaps: {out}")
    z = told["log_partition"]
    name = "minus free energy" if z is None else "log-likelihood"
    rows = [(name, f"{told['mean']:.3f}", "nats per row, of the columns as transformed")]
    if told["in_table_units"] is not None:
        rows.append(("in the table's units", f"{told['in_table_units']:.3f}", "nats per row"))
    if z is not None:
        rows.append(
            ("log Z", f"{z['value']:.3f}", f"from {z['lower']:.3f} to {z['upper']:.3f}, {z['method']}")
        )
        rows.append(("trusted", "yes" if z["trusted"] else "no", z["reason"]))
    print_table("", ("", "", ""), rows)


def _model(run: Path) -> PairwiseModel:
    """Return the model of a run."""
    folder = RunFolder(run)
    folder.config()
    model = open_model(folder)
    if not isinstance(model, PairwiseModel):
        raise FileError(
            f"{run}: got a model of kind {model.kind}, expected one with an energy, such as an rbm"
        )
    return model


@contextmanager
def _watch(out: Path | None = None) -> Iterator[Callable[[int, float], None]]:
    """Yield what shows how many rows of a file are done; where work stops, say how it goes on.

    Arguments:
        out: The file that is being written, if one is.
    """
    began, first, done = time.monotonic(), -1, 0
    with Meter("percent", 100) as meter:

        def show(rows: int, share: float) -> None:
            nonlocal first, done
            first, done = rows if first < 0 else first, rows
            seconds = time.monotonic() - began
            rate = (rows - first) / seconds
            text = f"{rows:,} rows" + (f", {rate:,.0f} rows/s" if rate > 0 else "")
            meter.step(int(100 * share), text)

        try:
            yield show
        except KeyboardInterrupt:
            if out is not None and done:
                note(f"{done:,} rows are kept in {out}.partial; the same command goes on from there")
            raise


def _values(column: dict[str, Any]) -> str:
    """Return in words what values a column has."""
    if column["least"] is not None:
        return f"{column['least']:.6g} to {column['largest']:.6g}, mean {column['mean']:.6g}"
    levels = column["levels"]
    more = f" and {len(levels) - _SHOWN} more" if len(levels) > _SHOWN else ""
    return ", ".join(levels[:_SHOWN]) + more
