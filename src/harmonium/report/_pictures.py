"""The pictures of a report, as PNG in the text of the page."""

from __future__ import annotations

__all__ = ["Picture", "pictures"]

import math
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate
from typing import Any, TypeAlias

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .. import plots
from ..models import DBM, DBN, GAN, MLP, Autoencoder, EnergyModel, GenerativeModel, PairwiseModel
from ..samplers import sample
from ..training.pretrain import JOINT
from ._draws import draw
from ._games import game_curves, game_images
from ._opened import OpenRun
from ._sequences import sequence_axes

Records: TypeAlias = list[dict[str, Any]]

_INPAINTED = 12
_COMPLETIONS = 3
_INPAINTING_STEPS = 200
_FILTERS = 64
_PROGRESS = 4
_SPLITS = ("train", "validation")
_SCORES = (
    (
        "pseudo_likelihood",
        "Pseudo-likelihood",
        "How well each unit is told from all the others: cheap, but no likelihood.",
        "pseudo-log-likelihood (nats per row)",
    ),
    (
        "bound",
        "Bound",
        "The variational bound on the log-likelihood, with the upper end of log Z.",
        "bound (nats per row)",
    ),
    ("error", "Wrong labels", "The share of rows whose most probable class is another.", "error rate"),
    (
        "cross_entropy",
        "Cross-entropy",
        "Minus the log-probability of the right class.",
        "cross-entropy (nats per row)",
    ),
    ("loss", "Error", "What training lowers.", "error (nats per row)"),
)


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
    if run.data.alphabet is not None and run.data.classes is None:
        found += [_picture("sequences", *parts) for parts in sequence_axes(run, steps, seed)]
    return found


def _curves(run: OpenRun) -> Iterator[Picture]:
    if isinstance(run.model, GAN):
        for title, caption, axes in game_curves(run.records) if run.records else ():
            yield _picture("learning", title, caption, axes)
        return
    if not run.greedy:
        yield from _curves_of(run.records)
        return
    for layer in dict.fromkeys(record["layer"] for record in run.records):
        own = [record for record in run.records if record["layer"] == layer]
        for picture in _curves_of(own):
            title = picture.title.lower()
            yield replace(
                picture, title=f"All layers: {title}" if layer == JOINT else f"Layer {layer}: {title}"
            )


def _curves_of(records: Records) -> Iterator[Picture]:
    likelihood = [f"{split}/log_likelihood" for split in _SPLITS]
    if any(name in record for record in records for name in likelihood):
        caption = "The shaded band spans the two estimates of each point; it may be too thin to see."
        axes = _curve(records, likelihood, "log-likelihood (nats per row)", bands=True)
        yield _picture("learning", "Log-likelihood", caption, axes)
    for kind, title, caption, label in _SCORES:
        names = [f"{split}/{kind}" for split in _SPLITS]
        if any(name in record for record in records for name in names):
            yield _picture("learning", title, caption, _curve(records, names, label))
    if any("free_energy_gap" in record for record in records):
        caption = "Free energy of validation rows less that of training rows; a rising gap is overfitting."
        axes = _curve(records, ["free_energy_gap"], "free-energy gap (nats per row)")
        axes.axhline(0, color=plots.INK, linewidth=0.8)
        yield _picture("learning", "Free-energy gap", caption, axes)


def _curve(records: Records, names: Sequence[str], label: str, bands: bool = False) -> Axes:
    epochs = [record["epoch"] for record in records]
    columns = {name: _column(records, name) for name in names}
    series = {n.split("/")[0].replace("_", "-"): c for n, c in columns.items() if _any(c)}
    brackets = {}
    if bands:
        for split in series:
            ends = (f"{split}/log_likelihood_lower", f"{split}/log_likelihood_upper")
            brackets[split] = (_column(records, ends[0]), _column(records, ends[1]))
    figure = Figure(figsize=(9.6 if bands else 6.0, 3.2), dpi=plots.DPI, layout="constrained")
    axes = plots.learning_curve(epochs, series, brackets, figure.subplots())
    axes.set_ylabel(label, color=plots.INK)
    legend = axes.get_legend()
    if legend is not None and len(series) == 1:
        legend.remove()
    return axes


def _images(run: OpenRun, shape: tuple[int, ...], n: int, steps: int, seed: int) -> Iterator[Picture]:
    model, limits = run.model, run.limits
    rows = run.data.fixed(run.held_out, n)
    if not isinstance(model, MLP):
        caption = f"{len(rows)} rows of the {run.held_out} set, as the model sees them."
        yield _picture("samples", "Data", caption, plots.samples(run.images(rows), shape, limits=limits))
    if isinstance(model, Autoencoder):
        with torch.no_grad():
            made = model.reconstruct(rows)
        caption = "The same rows, after the way up to the code and down again."
        yield _picture("samples", "Reconstructions", caption, plots.samples(made, shape, limits=limits))
    elif isinstance(model, GAN):
        for title, caption, made, columns in game_images(model, n, seed):
            axes = plots.samples(run.images(made), shape, columns, limits=limits)
            yield _picture("samples", title, caption, axes)
        yield from _progress(run)
        return
    elif isinstance(model, GenerativeModel):
        yield from _draws(run, shape, n, steps, seed)
    if len(shape) != 2:
        return
    if isinstance(model, PairwiseModel) and run.data.binarisation != "none":
        yield _inpainting(run, shape, seed)
    if run.plain:
        yield from _filters(run, shape)


def _progress(run: OpenRun) -> Iterator[Picture]:
    """Yield some of the pictures that a game's training has left, the first and the last among them."""
    caption = "The same latent numbers in each of these pictures."
    found = {path.stem.removeprefix("epoch-"): path for path in run.folder.samples_path.glob("epoch-*.png")}
    paths = {int(number): path for number, path in found.items() if number.isdecimal()}
    epochs = sorted(paths)
    steps = range(_PROGRESS) if epochs else ()
    for epoch in dict.fromkeys(epochs[i * (len(epochs) - 1) // (_PROGRESS - 1)] for i in steps):
        yield Picture("progress", f"Epoch {epoch:,}", caption, _uri(paths[epoch].read_bytes()))


def _draws(run: OpenRun, shape: tuple[int, ...], n: int, steps: int, seed: int) -> Iterator[Picture]:
    model, limits, kept = run.model, run.limits, run.chains is not None
    draws = draw(run, n, steps=steps, seed=seed, from_chains=kept)
    origin = "the chains that training left" if kept else "noise"
    caption = f"{n} chains, {steps:,} Gibbs steps after {origin}, not selected."
    if not isinstance(model, PairwiseModel):
        caption = f"{n} chains of the top RBM, {steps:,} Gibbs steps after {origin}, then one pass down."
    yield _picture("samples", "Draws", caption, plots.samples(run.images(draws), shape, limits=limits))
    if not run.plain:
        return
    if isinstance(model, EnergyModel):
        means = sample(model, n, steps=1, seed=seed + 1, start=draws, means=True)
        caption = "The same chains one step later: each pixel's mean given the other units."
    else:
        means = draw(run, n, steps=steps, seed=seed, from_chains=kept, means=True)
        caption = "The same samples: each pixel's mean given the layer above."
    yield _picture("samples", "Means", caption, plots.samples(run.images(means), shape, limits=limits))


def _filters(run: OpenRun, shape: tuple[int, ...]) -> Iterator[Picture]:
    for number, filters in enumerate(accumulate(_weights(run), torch.matmul), 1):
        title = "Filters" if number == 1 else f"Filters of hidden layer {number}"
        if number > 1:
            caption = (
                "The filters below, added up by the weights of each unit. Red is positive, blue negative."
            )
        elif isinstance(run.model, PairwiseModel):
            caption = "The weights of each hidden unit. Red raises a pixel, blue lowers it."
        else:
            caption = "The weights of each unit of the first hidden layer. Red is positive, blue negative."
        axes = plots.filters(filters, shape, columns=16, most=_FILTERS)
        yield _picture("filters", title, caption, axes)


@torch.no_grad()
def _weights(run: OpenRun) -> list[Tensor]:
    """Return the couplings of neighbouring layers from the pixels up, each of shape (lower, upper)."""
    model, pixels = run.model, run.data.columns
    found: Sequence[Tensor]
    if isinstance(model, DBN):
        found = [rbm.weight for rbm in model.rbms]
    elif isinstance(model, MLP):
        found = [linear.weight.T for linear in model.linears[:-1]]
    elif isinstance(model, Autoencoder):
        found = [linear.weight.T for linear in model.linears[: len(model.sizes)]]
    elif isinstance(model, DBM):
        found = model.weights
    elif isinstance(model, PairwiseModel):
        upward = (own for own in model.couplings() if own.lower == "visible" != own.upper)
        found = [model.get_parameter(own.name) for own in upward][:1]
    else:
        found = []
    below = [pixels, *(weight.shape[1] for weight in found)]
    return [weight[:width] for weight, width in zip(found, below, strict=False)]


def _inpainting(run: OpenRun, shape: tuple[int, ...], seed: int) -> Picture:
    truth = run.data.fixed(run.held_out, _INPAINTED).float()
    known = torch.arange(shape[1]).expand(shape).flatten() < shape[1] // 2
    given = torch.zeros(truth.shape[1], dtype=torch.bool)
    given[: len(known)] = known
    clamp = truth.masked_fill(~given, math.nan).repeat(_COMPLETIONS, 1)
    steps = _INPAINTING_STEPS
    model = run.model
    assert isinstance(model, EnergyModel)
    filled = sample(model, len(clamp), steps=steps, seed=seed, clamp=clamp, means=run.plain)
    filled, truth = run.images(filled).reshape(_COMPLETIONS, len(truth), -1), run.images(truth)
    axes = plots.inpainting(truth, known, filled, shape, truth=truth, limits=run.limits)
    what = "means" if run.plain else "draws"
    caption = (
        f"The left half of rows of the {run.held_out} set is given; the right half is filled in by "
        f"{_COMPLETIONS} chains from noise, {steps} Gibbs steps each ({what})."
    )
    return _picture("inpainting", "Inpainting", caption, axes)


def _column(records: Records, name: str) -> list[float]:
    values = [record.get(name) for record in records]
    return [math.nan if value is None else float(value) for value in values]


def _any(values: list[float]) -> bool:
    return any(map(math.isfinite, values))


def _picture(section: str, title: str, caption: str, axes: Axes) -> Picture:
    memory = BytesIO()
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.savefig(memory, format="png")
    return Picture(section, title, caption, _uri(memory.getvalue()))


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"
