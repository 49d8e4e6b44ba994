"""The report itself: facts and pictures put on one page."""

from __future__ import annotations

__all__ = ["write_report"]

from pathlib import Path

from ..datasets import Dataset
from ..files import write_bytes
from ._opened import open_run
from ._page import page
from ._pictures import pictures


def write_report(
    path: str | Path,
    data: Dataset | None = None,
    *,
    samples: int = 64,
    steps: int = 1000,
    seed: int = 0,
) -> Path:
    """Write ``report.html`` into the folder of a run that has been trained; return its path.

    A report that is there already is replaced. Numbers come from ``evaluation.json``, which
    ``harmonium evaluate`` writes; without it the page says that they are missing.

    Arguments:
        path: The run folder.
        data: The data set; by default the one that the folder's ``config.json`` names.
        samples: How many samples of the model are drawn.
        steps: Gibbs steps of each.
        seed: The seed of their chains.

    Raises:
        FileError: The folder is no run, is damaged, holds no model yet, or cannot be written.
        ArgumentError: ``samples`` or ``steps`` is out of range.
    """
    run = open_run(path, data)
    report = run.folder.path / "report.html"
    write_bytes(report, page(run, pictures(run, samples, steps, seed)).encode())
    return report
