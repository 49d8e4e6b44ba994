"""What a report says, and shows, of a generative adversarial network."""

from __future__ import annotations

__all__ = ["game_curves", "game_images", "game_numbers", "game_quality", "game_tiles", "game_verdict"]

import math
from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .. import plots
from ..models import GAN
from ..random import Stream
from ..samplers import generate, interpolate
from ._opened import OpenRun
from ._words import Table, short

Evaluation = dict[str, Any]

_CURVES = (
    (
        "Payoffs",
        "What each player loses, a running mean. Neither says how good samples are.",
        "loss",
        {"discriminator": "rule/discriminator_loss", "generator": "rule/generator_loss"},
    ),
    (
        "Told from data",
        "The share of pairs in which a row of data has a higher score than a made one. At 0.5 the "
        "discriminator can tell nothing, at 1 it has won.",
        "share of pairs",
        {"in training": "rule/told", "training rows": "train/told", "validation rows": "validation/told"},
    ),
    (
        "Spread",
        "The total variance of made rows over that of data; near 0 they are all alike.",
        "share of the data's variance",
        {"made rows": "samples/spread"},
    ),
)
_WAYS = 8


def game_curves(records: list[dict[str, Any]]) -> Iterator[tuple[str, str, Axes]]:
    """Yield the curves of a game: title, caption and axes."""
    epochs = [record["epoch"] for record in records]
    for title, caption, label, names in _CURVES:
        series = {}
        for line, name in names.items():
            values = [math.nan if record.get(name) is None else record[name] for record in records]
            if any(map(math.isfinite, values)):
                series[line] = values
        if series:
            figure = Figure(figsize=(6.0, 3.2), dpi=plots.DPI, layout="constrained")
            axes = plots.learning_curve(epochs, series, axes=figure.subplots())
            axes.set_ylabel(label, color=plots.INK)
            yield title, caption, axes


def game_images(model: GAN, n: int, seed: int) -> Iterator[tuple[str, str, Tensor, int | None]]:
    """Yield the pictures of made rows: title, caption, rows, and how many stand on a line.

    Arguments:
        model: The network.
        n: How many samples to show.
        seed: Draws their latent numbers.
    """
    caption = f"{n} rows that the generator made, not selected."
    yield "Samples", caption, generate(model, n, Stream(seed, "sample")), None
    caption = "On each line the way from one latent point to another; both ends are drawn at random."
    ways = interpolate(model, _WAYS, _WAYS, Stream(seed, "interpolate"))
    yield "Interpolation", caption, ways, _WAYS


def game_verdict(found: Evaluation) -> tuple[str, str]:
    """Return the line on top of the page."""
    return "none", f"The discriminator tells made rows from {found['split']} rows in {_told(found)} of pairs"


def game_quality(found: Evaluation) -> Iterator[str]:
    """Tell what an evaluation came to, a paragraph each."""
    yield (
        f"Of {found['rows']:,} pairs of a {found['split']} row and a made one its own discriminator gives "
        f"the row of data the higher score in {_told(found)}; one half would mean that it can tell nothing. "
        f"The total variance of made rows is {found['spread']:.2f} of that of data."
    )
    yield "It tells no likelihood: what can be said of it is said of its samples."


def game_tiles(run: OpenRun) -> list[tuple[str, str]]:
    """Return the numbers on top of the page, each with its label."""
    tiles = []
    for split, found in run.evaluations().items():
        error = f"{found['standard_error']:.1%}"
        tiles.append((f"{found['told']:.1%}", f"told from {split} rows ± {error}"))
        tiles.append((f"{found['spread']:.2f}", f"of the {split} rows' variance"))
    return tiles


def game_numbers(run: OpenRun) -> Table:
    """Return what was measured, a row for each split."""
    head = ("rows", "told", "± pairs", "score of data", "score of made rows", "spread")
    rows: list[tuple[str, ...]] = []
    for split, found in run.evaluations().items():
        own = (f"{found['told']:.2%}", f"{found['standard_error']:.2%}")
        scores = (short(found["score"]), short(found["made_score"]))
        rows.append((f"{split} ({found['rows']:,})", *own, *scores, f"{found['spread']:.3f}"))
    return Table(head, rows)


def _told(found: Evaluation) -> str:
    return f"{found['told']:.1%} (± {found['standard_error']:.1%})"
