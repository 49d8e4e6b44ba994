"""What a report says of a model of sequences: statistics beside those of the data, and pairs of sites."""

from __future__ import annotations

__all__ = ["contact_table", "sequence_axes"]

from collections.abc import Callable, Iterator

import torch
from matplotlib.axes import Axes
from torch import Tensor

from .. import metrics, plots
from ..errors import HarmoniumError
from ..models import EnergyModel, PairwiseModel, effective_couplings
from ..units import Categorical
from ._draws import draw
from ._opened import OpenRun
from ._words import Table

_SAMPLES = 1000
_STEPS = 100
_TRIPLETS = 50
_PAIRS = 20
_SEPARATION = 5
_SITES = 3
"""The fewest sites that have pairs to rank."""


def sequence_axes(run: OpenRun, steps: int, seed: int) -> Iterator[tuple[str, str, Axes]]:
    """Yield the title, the caption and the axes of each picture.

    Arguments:
        run: A run on sequences.
        steps: Gibbs steps of each sample.
        seed: The seed of the samples' chains.
    """
    if isinstance(run.model, EnergyModel):
        yield from _agreements(run, steps, seed)
    scores = _scores(run)
    if scores is not None:
        caption = "Norms of effective couplings in the zero-sum gauge, average-product corrected."
        yield "Contact map", caption, plots.contact_map(scores)


def contact_table(run: OpenRun) -> Table | None:
    """Return the first pairs of sites, or nothing where couplings cannot be told."""
    couplings = _couplings(run)
    if couplings is None or len(couplings) <= _SEPARATION:
        return None
    found = metrics.contacts(couplings, _SEPARATION)[:_PAIRS]
    rows: list[tuple[str, ...]] = [
        (str(rank), f"{i}", f"{j}", f"{score:.3f}") for rank, (i, j, score) in enumerate(found, 1)
    ]
    return Table(("rank", "site", "site", "score"), rows)


def _agreements(run: OpenRun, steps: int, seed: int) -> Iterator[tuple[str, str, Axes]]:
    assert run.data.alphabet is not None
    states, data = len(run.data.alphabet), run.data.train
    kept, few = run.chains is not None, min(steps, _STEPS)
    origin = "the chains that training left" if kept else "noise"
    rows = draw(run, _SAMPLES, steps=few, seed=seed, from_chains=kept).cpu().long()
    for title, statistic in _statistics(data.shape[1], states, seed).items():
        first, second = statistic(data, run.data.weights), statistic(rows, None)
        try:
            pearson, slope = metrics.agreement(first, second)
        except HarmoniumError:
            continue
        what = "training data, weighted" if run.data.weights is not None else "training data"
        caption = (
            f"Along: {what}; up: {_SAMPLES:,} samples, {few} Gibbs steps after {origin}. "
            f"Pearson {pearson:.3f}, slope {slope:.2f}; on the line both are equal."
        )
        yield title, caption, plots.agreement(first, second)


def _statistics(sites: int, states: int, seed: int) -> dict[str, Callable[[Tensor, Tensor | None], Tensor]]:
    """Return what is compared, by its title."""
    found: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
        "One site": lambda rows, weights: metrics.one_site_frequencies(rows, states, weights)
    }
    if sites > 1:
        i, j = torch.triu_indices(sites, sites, 1)
        found["Two sites, connected"] = lambda rows, weights: metrics.connected_correlations(
            rows, states, weights
        )[i, :, j]
    if sites >= _SITES:
        triplets = metrics.sample_triplets(sites, _TRIPLETS, seed)
        found["Three sites, connected"] = lambda rows, weights: metrics.third_order_correlations(
            rows, states, triplets, weights
        )
    return found


def _couplings(run: OpenRun) -> Tensor | None:
    """Return effective couplings of a model that has them, else nothing."""
    model = run.model
    fits = isinstance(model, PairwiseModel) and isinstance(model.visible, Categorical)
    if not fits or model.visible.size < _SITES:
        return None
    try:
        assert isinstance(model, PairwiseModel)
        found = effective_couplings(model)
    except HarmoniumError:
        return None
    return found if bool(found.any()) else None


def _scores(run: OpenRun) -> Tensor | None:
    couplings = _couplings(run)
    if couplings is None:
        return None
    return metrics.average_product_correction(metrics.coupling_norms(couplings))
