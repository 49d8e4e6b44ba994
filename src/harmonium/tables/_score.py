r"""Rows of a table, each with how probable it is.

.. math:: \log p(v_o) = \log \sum_{v_m, h} e^{-E(v_o, v_m, h)} - \log Z

of what is known of a row, o; log Z is estimated once. Without gaps the sum is minus the free energy. With
gaps it is exact where that takes at most some millions of elements of fields a row, as it does of one or two
real values or a few bits and codes; else it is annealed by few and short runs, with a standard error beside
it.
"""

from __future__ import annotations

__all__ = ["WHAT", "score"]

import math
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets import Block, Schema, block_rows, open_table
from ..errors import DataError, choose, invalid
from ..files import write_json
from ..likelihood import LogPartition, known_log_sums, log_partition
from ..models import PairwiseModel
from ._output import Made, Output, Progress, check_places, schema_of, stream, told_of

WHAT = ("log-likelihood", "free-energy")
"""What rows can be scored by: log p, or minus the free energy, which is log p up to log Z."""
_LIMIT = 2.0**21


def score(
    model: PairwiseModel,
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    what: str = "log-likelihood",
    estimate: LogPartition | None = None,
    runs: int = 20,
    betas: int = 200,
    seed: int = 0,
    delimiter: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score each row of a table, and write a line for each.

    Lines have the number of the row (from 0), the score in nats of the columns as they are transformed, the
    same in the table's own units where all columns have a density there, the standard error of what is
    annealed (that of log Z is the same for all rows), and the number of gaps. What else there is to know
    stands in a file beside, whose name ends in ``.json``. If it was interrupted, the same call goes on.

    Arguments:
        model: A model that was trained on a table, whose hidden units sum out.
        table: A .csv, .tsv (also .gz) or .parquet file of the same columns.
        out: A .csv or .tsv file to write.
        what: ``log-likelihood``, or ``free-energy``: minus it, which needs no log Z.
        estimate: Of log Z; made here by :func:`harmonium.log_partition` if not given.
        runs: Annealing runs of each row whose sum is not exact, at least two.
        betas: Steps of each run.
        seed: The seed of all that is drawn.
        delimiter: The character between the table's cells, by default a comma, or a tab in .tsv.
        force: Whether to overwrite what is there.
        progress: Called after each block with the rows done and the share of the file.

    Returns:
        What stands in the file beside: ``rows``, ``rows_with_gaps``, ``mean``, ``in_table_units``, ``units``,
        and ``log_partition`` with both ends.

    Raises:
        ArgumentError: An argument is out of range, or the model is none of tables or has coupled
            hidden units.
        DataError: The table does not match, or a row does not fit; it is named.
        FileError: A file is there already, cannot be read or written, or was begun with something else.
    """
    choose("what", what, WHAT)
    for name, value, least in (("runs", runs, 2), ("betas", betas, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise invalid(name, value, f"an integer of at least {least}")
    schema, path, place = schema_of(model), Path(table).expanduser(), Path(out).expanduser()
    if not model.hidden_sums_out():
        raise invalid("model", model.kind, "one whose hidden units sum out")
    form = open_table(path, delimiter)
    schema.match(form.names)
    check_places([place], force, path)
    settings = {"what": what, "runs": runs, "betas": betas, "seed": seed, "delimiter": delimiter}
    own = ["in_table_units"] if schema.has_density else []
    mark = "\t" if place.suffix.lower() == ".tsv" else ","
    name = "log_likelihood" if what == "log-likelihood" else "minus_free_energy"
    head = mark.join(["row", name, *own, "standard_error", "gaps"]) + "\n"
    about = told_of(path, model, "score", settings)
    with closing(Output([place], about, [head.encode()], force, form)) as output:
        log_z = None
        if what == "log-likelihood":
            log_z = output.keep("log_partition", lambda: _told(estimate or log_partition(model, seed=seed)))
        base = 0.0 if log_z is None else log_z["value"]
        scorer = _Scorer(model, schema, base, (runs, betas, "adaptive", seed), mark)
        rows = stream(output, block_rows(len(form.names)), scorer, progress)
        if not rows:
            raise DataError(f"{path}: got 0 rows, expected at least one below the names of the columns")
        sums = output.sums
        told = {
            "what": what,
            "units": "nats",
            "of": "the columns as transformed" + ("; in_table_units of the table's own" if own else ""),
            "rows": rows,
            "rows_with_gaps": int(sums["gaps"]),
            "mean": sums["score"] / rows,
            "in_table_units": sums["own"] / rows if own else None,
            "log_partition": log_z,
            "table": str(path),
            "settings": settings,
        }
        write_json(place.with_name(f"{place.name}.json"), told)
        output.finish()
        return told


def _told(estimate: LogPartition) -> dict[str, Any]:
    """Return an estimate as JSON values: numbers that are not finite become None."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in estimate.to_dict().items()
        if name != "diagnostics"
    }


class _Scorer:
    """Creates what scores blocks of rows; see :func:`score`."""

    def __init__(
        self,
        model: PairwiseModel,
        schema: Schema,
        log_z: float,
        settings: tuple[int, int, str, int],
        mark: str,
    ) -> None:
        self.model, self.schema, self.log_z, self.settings, self.mark = model, schema, log_z, settings, mark
        self.splits: dict[bytes, Any] = {}

    def __call__(self, block: Block) -> Made:
        rows = self.schema.encode(block.table, block.first)
        sums = known_log_sums(self.model, rows, self.settings, _LIMIT, self.splits)
        values = sums.values.cpu() - self.log_z + sums.errors.cpu().square() / 2
        gaps = rows.isnan().sum(1)
        columns: list[Any] = [np.arange(block.first, block.first + len(rows)), values.numpy()]
        forms = ["%d", "%.6f"]
        own = values + self.schema.log_jacobian(rows)
        if self.schema.has_density:
            columns, forms = [*columns, own.numpy()], [*forms, "%.6f"]
        columns += [sums.errors.cpu().numpy(), gaps.numpy()]
        line = self.mark.join([*forms, "%.3g", "%d"]) + "\n"
        text = "".join([line % cells for cells in zip(*(column.tolist() for column in columns), strict=True)])
        added = {"score": float(values.sum()), "own": float(own.sum()), "gaps": float((gaps > 0).sum())}
        return Made([text.encode()], added)
