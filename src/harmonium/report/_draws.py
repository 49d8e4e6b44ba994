"""Samples of a run's model, from noise, from rows, or from the chains that its training left."""

from __future__ import annotations

__all__ = ["draw"]

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import invalid
from ..models import DBN, GAN, EnergyModel
from ..random import Stream
from ..samplers import Ancestral, sample
from ._opened import OpenRun


def draw(
    run: OpenRun,
    n: int,
    *,
    from_chains: bool = False,
    start: Tensor | None = None,
    label: int | None = None,
    clamp: Tensor | None = None,
    means: bool = False,
    seed: int = 0,
    row: int = 0,
    **options: Any,
) -> Tensor:
    """Draw rows of a run's model; see :func:`harmonium.sample`.

    The chains of a deep belief network are those of its top RBM; from where they end, one pass leads down.

    Arguments:
        run: The run.
        n: The number of rows.
        from_chains: Whether to start from the chains that training left, each used as often as the others.
        start: Rows to start from, shape (n, size), in their place.
        label: The code of the class that all rows are to be of.
        clamp: Values to keep, shape (n, size), NaN where a unit is free; a label above goes before its last
            column.
        means: Return visible means in place of draws.
        seed: The seed of the chains.
        row: The number of the first row, where rows are drawn in parts.
        options: Other arguments of :func:`harmonium.sample`: ``steps``, ``temperature``, ...

    Raises:
        ArgumentError: The model draws no samples, the run left no chains, or an option is out of range.
    """
    model = run.model
    options |= {"seed": seed, "row": row}
    if not isinstance(model, DBN | EnergyModel | GAN):
        raise invalid("model", model.kind, "a model that can be sampled, such as an rbm or a dbn")
    if not from_chains:
        held = _clamp(model.visible.size, label, clamp)
        return sample(model, n, start=start, clamp=held, means=means, **options)
    if run.chains is None:
        raise invalid("from_chains", from_chains, f"False, as the run {run.folder.path} left no chains")
    assert not isinstance(model, GAN)
    first = run.chains[torch.arange(row, row + n) % len(run.chains)]
    top = model.top if isinstance(model, DBN) else model
    whole = isinstance(model, DBN) and model.depth > 1
    if whole and clamp is not None:
        raise invalid("clamp", tuple(clamp.shape), "none, as the chains that are left are of the top RBM")
    held = _clamp(top.visible.size, label, clamp)
    rows = sample(top, n, start=first, clamp=held, means=means and not whole, **options)
    if not isinstance(model, DBN) or not whole:
        return rows
    state = {"visible": top.visible.statistics(rows)}
    return Ancestral().rows(model, state, Stream(seed, "descend", row), means=means)


def _clamp(size: int, label: int | None, clamp: Tensor | None) -> Tensor | None:
    """Return what is held, the label as the last value; none if nothing is."""
    if label is None:
        return clamp
    held = torch.full((size,), math.nan) if clamp is None else clamp.clone()
    held[..., -1] = label
    return held
