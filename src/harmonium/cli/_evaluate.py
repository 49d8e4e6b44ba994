"""Evaluation: a run's log-likelihood, with all that is needed to believe it or not."""

from __future__ import annotations

__all__ = ["evaluate", "evaluate_run", "tell"]

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets import summary
from ..errors import DataError, choose
from ..files import write_json
from ..likelihood import ESTIMATORS, log_likelihood, log_partition
from ..models import error_rate, has_label
from ..report import EVALUATION, OpenRun, open_run, write_report
from ..training import changed_splits
from ._console import plain, print_json, print_table, quiet_steps, say
from ._data import other_data
from ._settings import data_keys, estimate_keys, read, under

_SPLITS = ("test", "validation", "train")
_MEANS = (
    "the rows are means, not states (binarisation none), so the number is no log-likelihood of data "
    "that exist"
)


def evaluate(
    path: Path, split: str, method: str, source: str | None, pairs: list[str], report: bool, as_json: bool
) -> None:
    """Estimate the log-likelihood of a split, write it down, and print it."""
    choose("--split", split, _SPLITS)
    choose("--method", method, ESTIMATORS)
    loading = {f"data.{name}": key for name, key in data_keys().items()}
    values = read(pairs, estimate_keys() | loading)
    settings = {"method": method, **{name: value for name, value in values.items() if name not in loading}}
    run = open_run(path, other_data(path, source, under("data.", values)))
    found = evaluate_run(run, split, settings, _typed(source, pairs))
    page = write_report(path) if report and source is None else None
    if as_json:
        print_json({**found, "report": None if page is None else str(page)})
        return
    tell(run, found)
    if page is not None:
        say(f"Report: {page}")


def evaluate_run(
    run: OpenRun, split: str, settings: dict[str, Any], typed: Sequence[str] = ()
) -> dict[str, Any]:
    """Estimate the log-likelihood of a split, and count wrong labels; write both into the run folder.

    The numbers of other data than the run's own stand beside those of its splits, under the name of both.

    Arguments:
        run: The run.
        split: ``test``, ``validation`` or ``train``.
        settings: Arguments of :func:`harmonium.log_partition`.
        typed: What else was typed.

    Raises:
        DataError: The split has no rows.
    """
    rows = run.data.fixed(split)
    if not len(rows):
        raise DataError(f"--split: the {split} set of {run.data.name} has no rows")
    used = {name: key.default for name, key in estimate_keys().items()} | settings
    began = time.monotonic()
    with quiet_steps() as progress:
        log_z = log_partition(run.model, chains=run.chains, progress=progress, **used)
    means = run.data.binarisation == "none"
    result = log_likelihood(run.model, rows, log_partition=log_z, means=means)
    baseline = summary(run.data)["baseline_log_likelihood"] if split == "test" else None
    pairs = [f"{name}={value}" for name, value in settings.items() if name != "method"]
    found = {
        "split": split,
        "data": run.data.name,
        **result.to_dict(),
        "binarisation": run.data.binarisation,
        "baseline_log_likelihood": baseline,
        "error": error_rate(run.model, rows) if has_label(run.model) else None,
        "note": _MEANS if means else "",
        "settings": used,
        "chains": 0 if run.chains is None else len(run.chains),
        "seconds": round(time.monotonic() - began, 3),
        "command": [
            *("evaluate", "RUN", "--split", split, "--method", used["method"]),
            *(part for pair in pairs for part in ("--set", pair)),
            *typed,
        ],
    }
    found = plain(found)
    own = not changed_splits(run.config, run.data)
    place = split if own else f"{split} of {run.data.name}"
    write_json(run.folder.path / EVALUATION, {"version": 1, **run.evaluations(), place: found})
    return found


def tell(run: OpenRun, found: dict[str, Any]) -> None:
    """Print an evaluation."""
    z = found["log_partition"]
    how = f" ({found['binarisation']})" if found["binarisation"] else ""
    what = f"{found['rows']:,} {found['split']} rows of {found['data']}{how}"
    rows = [
        ("mean", f"{found['mean']:.3f}", f"± {_error(found['standard_error'])} Monte Carlo"),
        ("", "", f"± {_error(found['data_standard_error'])} over rows"),
        ("lower end", f"{found['lower']:.3f}", f"± {_error(z['upper_standard_error'])}"),
        ("upper end", f"{found['upper']:.3f}", f"± {_error(z['lower_standard_error'])}"),
    ]
    if found["baseline_log_likelihood"] is not None:
        rows.append(("independent units", f"{found['baseline_log_likelihood']:.3f}", "the floor"))
    rows.append(("log Z", f"{z['value']:.3f}", f"by {found['method']}"))
    if found["error"] is not None:
        spread = math.sqrt(found["error"] * (1 - found["error"]) / found["rows"])
        rows.append(("wrong labels", f"{found['error']:.2%}", f"± {spread:.2%} over rows"))
    crossed = "the ends cross, within their errors" if found["lower"] > found["upper"] else ""
    rows.append(("trusted", "yes" if found["trusted"] else "no", found["reason"] or crossed))
    print_table(f"Log-likelihood of {what}, nats per row", ("", "", ""), rows)
    if found["note"]:
        say(f"Note: {found['note']}.")


def _typed(source: str | None, pairs: list[str]) -> list[str]:
    """Return what was typed to load other data than the run's own."""
    if source is None:
        return []
    own = (pair for pair in pairs if pair.startswith("data."))
    return ["--data", source, *(part for pair in own for part in ("--set", pair))]


def _error(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"
