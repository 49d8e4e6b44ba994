"""The pictures of a report, as PNG in the text of the page."""

from __future__ import annotations

__all__ = ["Picture", "pictures"]

import math
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .. import plots
from ..samplers import sample
from ._opened import OpenRun

_INPAINTED = 12
_COMPLETIONS = 3
_INPAINTING_STEPS = 200
_FILTERS = 64
_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Picture:
    """A picture with its place on the page and its words."""

    section: str
    title: str
    caption: str
    source: str
    """The PNG as a data URI."""


def pictures(run: OpenRun, samples: int, steps: int, seed: int) -> list[Picture]:
    """Draw all pictures that the run's data and log allow.

    Arguments:
        run: The run.
        samples: How many samples of the model are drawn.
        steps: Gibbs steps of each.
        seed: The seed of the chains.
    """
    found = [*_curves(run)]
    if run.image_shape is not None:
        found += _images(run, run.image_shape, samples, steps, seed)
    return found


def _curves(run: OpenRun) -> Iterator[Picture]:
    likelihood = [f"{split}/log_likelihood" for split in _SPLITS]
    if any(name in record for record in run.records for name in likelihood):
        caption = "The shaded band spans the two estimates of each point; it may be too thin to see."
        axes = _curve(run, likelihood, "log-likelihood (nats per row)", bands=True)
        yield _picture("learning", "Log-likelihood", caption, axes)
    pseudo = [f"{split}/pseudo_likelihood" for split in _SPLITS]
    if any(name in record for record in run.records for name in pseudo):
        caption = "How well each unit is told from all the others: cheap, but no likelihood."
        axes = _curve(run, pseudo, "pseudo-log-likelihood (nats per row)")
        yield _picture("learning", "Pseudo-likelihood", caption, axes)
    if any("free_energy_gap" in record for record in run.records):
        caption = "Free energy of validation rows less that of training rows; a rising gap is overfitting."
        axes = _curve(run, ["free_energy_gap"], "free-energy gap (nats per row)")
        axes.axhline(0, color=plots.INK, linewidth=0.8)
        yield _picture("learning", "Free-energy gap", caption, axes)


def _curve(run: OpenRun, names: Sequence[str], label: str, bands: bool = False) -> Axes:
    epochs = [record["epoch"] for record in run.records]
    columns = {name: _column(run.records, name) for name in names}
    series = {n.split("/")[0].replace("_", "-"): c for n, c in columns.items() if _any(c)}
    brackets = {}
    if bands:
        for split in series:
            ends = (f"{split}/log_likelihood_lower", f"{split}/log_likelihood_upper")
            brackets[split] = (_column(run.records, ends[0]), _column(run.records, ends[1]))
    figure = Figure(figsize=(9.6 if bands else 6.0, 3.2), dpi=plots.DPI, layout="constrained")
    axes = plots.learning_curve(epochs, series, brackets, figure.subplots())
    axes.set_ylabel(label, color=plots.INK)
    legend = axes.get_legend()
    if legend is not None and len(series) == 1:
        legend.remove()
    return axes


def _images(run: OpenRun, shape: tuple[int, int], n: int, steps: int, seed: int) -> Iterator[Picture]:
    model, limits = run.model, run.limits
    rows = run.images(run.data.fixed(_held_out(run), n))
    draws = sample(model, n, steps=steps, seed=seed, start=_start(run, n))
    origin = "noise" if run.chains is None else "the chains that training left"
    caption = f"{len(rows)} rows of the {_held_out(run)} set, as the model sees them."
    yield _picture("samples", "Data", caption, plots.samples(rows, shape, limits=limits))
    caption = f"{n} chains, {steps:,} Gibbs steps after {origin}, not selected."
    yield _picture("samples", "Draws", caption, plots.samples(run.images(draws), shape, limits=limits))
    if _plain(run):
        means = sample(model, n, steps=1, seed=seed + 1, start=draws, means=True)
        caption = "The same chains one step later: each pixel's mean given the other units."
        yield _picture("samples", "Means", caption, plots.samples(means, shape, limits=limits))
    if run.data.binarisation != "none":
        yield _inpainting(run, shape, seed)
    if _plain(run) and "hidden" in model.blocks():
        caption = "The weights of each hidden unit. Red raises a pixel, blue lowers it."
        axes = plots.filters(model.get_parameter("weight"), shape, columns=16, most=_FILTERS)
        yield _picture("filters", "Filters", caption, axes)


def _inpainting(run: OpenRun, shape: tuple[int, int], seed: int) -> Picture:
    truth = run.data.fixed(_held_out(run), _INPAINTED).float()
    known = torch.arange(shape[1]).expand(shape).flatten() < shape[1] // 2
    given = torch.zeros(truth.shape[1], dtype=torch.bool)
    given[: len(known)] = known
    clamp = truth.masked_fill(~given, math.nan).repeat(_COMPLETIONS, 1)
    steps = _INPAINTING_STEPS
    filled = sample(run.model, len(clamp), steps=steps, seed=seed, clamp=clamp, means=_plain(run))
    filled, truth = run.images(filled).reshape(_COMPLETIONS, len(truth), -1), run.images(truth)
    axes = plots.inpainting(truth, known, filled, shape, truth=truth, limits=run.limits)
    what = "means" if _plain(run) else "draws"
    caption = (
        f"The left half of rows of the {_held_out(run)} set is given; the right half is filled in by "
        f"{_COMPLETIONS} chains from noise, {steps} Gibbs steps each ({what})."
    )
    return _picture("inpainting", "Inpainting", caption, axes)


def _start(run: OpenRun, n: int) -> Tensor | None:
    return None if run.chains is None else run.chains[torch.arange(n) % len(run.chains)]


def _held_out(run: OpenRun) -> str:
    """Return the first of the splits that has rows: test, validation, train."""
    held_out = {"test": run.data.test, "validation": run.data.validation}
    return next((split for split, rows in held_out.items() if len(rows)), "train")


def _plain(run: OpenRun) -> bool:
    """Return whether each visible unit has one column, so that its mean is a pixel."""
    return run.model.visible.width == run.model.visible.size


def _column(records: list[dict[str, Any]], name: str) -> list[float]:
    values = [record.get(name) for record in records]
    return [math.nan if value is None else float(value) for value in values]


def _any(values: list[float]) -> bool:
    return any(map(math.isfinite, values))


def _picture(section: str, title: str, caption: str, axes: Axes) -> Picture:
    memory = BytesIO()
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.savefig(memory, format="png")
    return Picture(section, title, caption, f"data:image/png;base64,{b64encode(memory.getvalue()).decode()}")
