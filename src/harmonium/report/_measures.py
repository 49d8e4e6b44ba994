"""What a report says of the measures of a run's samples."""

from __future__ import annotations

__all__ = ["measures_lead", "measures_table"]

from ..measures import MEASURES, Measures
from ._opened import OpenRun
from ._words import Table

_TELL = {
    "floor": "training rows",
    "samples": "samples",
    "ceiling": "independent values",
    "k-means": "centroids of k-means",
}


def measures_table(run: OpenRun) -> Table | None:
    """Return the measures, a row each, if the run's samples were measured."""
    found = run.measures()
    if found is None:
        return None
    columns = found["rows"]
    used = [name for name in MEASURES if any(name in column for column in columns.values())]
    rows = []
    for name in used:
        values = [column.get(name) for column in columns.values()]
        cells = ("" if value is None else f"{value:.4g}" for value in values)
        rows.append((MEASURES[name], *cells))
    return Table(("measure", *(_TELL.get(name, name) for name in columns)), rows)


def measures_lead(run: OpenRun) -> str:
    """Tell what the measures are of."""
    found = run.measures() or {}
    about = {**found["about"], "weights": found["weights"]}
    epoch = "" if found.get("epoch") is None else f" After epoch {found['epoch']:,}."
    note = Measures(found["rows"], found["n"], about).note
    return f"{note}{epoch} Training rows in place of samples are the floor, independent values the ceiling."
