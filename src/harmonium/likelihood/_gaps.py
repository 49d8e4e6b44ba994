r"""The likelihood of what is known of rows that lack values.

.. math:: \log p(v_o) = \log \sum_{v_m, h} e^{-E(v_o, v_m, h)} - \log Z

(an integral over real units m). The first sum is that of a conditional likelihood: a closed form over the
hidden units, or over the missing ones, and a sum over the states of the others, whichever costs less; else it
is annealed for each row, with what is known held. The mean weight of a row's runs is an unbiased estimate of
its sum, and its logarithm is low by about half its variance. As values are missing at random, which ones are
missing adds nothing.
"""

from __future__ import annotations

__all__ = ["KnownSums", "known_log_sums"]

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from ..models import PairwiseModel
from ..units import by_pattern
from ._conditional import Split, anneal_rows, cheapest, start_sum
from ._exact import LIMIT

_ROWS = 2048
_SPLITS = 4096
_FEW = 4


class KnownSums(NamedTuple):
    """The log-sums of rows over the hidden units and over what is missing."""

    values: Tensor
    """Shape (rows), float64."""
    errors: Tensor
    """Their Monte-Carlo errors, shape (rows), float64; zero where they are exact."""
    worst: float
    """The least effective number of annealing runs of a row; infinite where all are exact."""


@torch.no_grad()
def known_log_sums(
    model: PairwiseModel,
    rows: Tensor,
    settings: tuple[int, int, str, int],
    limit: float | None = None,
    splits: dict[bytes, Split] | None = None,
) -> KnownSums:
    """Return the log-sums of rows that lack values; exact ones where they take about a minute at most.

    Arguments:
        model: A model whose hidden units sum out.
        rows: Rows of values, shape (rows, size), NaN where one is missing.
        settings: Runs, steps, the schedule's name and the seed of annealing.
        limit: Up to how many elements of fields for each row a sum is exact, in place of a minute for all.
        splits: Where the visible units are kept, split by what rows lack, from one call to the next.
    """
    double = copy.deepcopy(model).double()
    there = ~rows.isnan()
    values = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    groups = list(by_pattern(there))

    def statistics(index: Tensor) -> Tensor:
        return double.visible.known_statistics(rows[index].to(model.device))[0]

    annealed = []
    for index, pattern in groups:
        if bool(pattern.all()):
            for part in index.split(_ROWS):
                values[part] = double.log_sum(double.observed(statistics(part))).to(values)
            continue
        name = bytes(pattern.cpu().numpy())
        split = splits.get(name) if splits is not None else None
        split = split or Split.of(double.visible, pattern.to(model.device))
        if splits is not None and len(splits) < _SPLITS:
            splits[name] = split
        cost, log_sum = cheapest(double, split, len(index))
        if cost <= (LIMIT / len(groups) if limit is None else limit * max(len(index), _FEW)):
            for part in index.split(_ROWS):
                values[part] = log_sum(double, statistics(part), split).to(values)
        else:
            annealed.append((index, split))
    errors, worst = torch.zeros_like(values), torch.inf
    if annealed:
        index = torch.cat([own for own, _ in annealed])
        known = double.visible.expand(there[index]).to(model.device)
        base, above, found, worst = anneal_rows(model, statistics(index), known, settings)
        errors[index], values[index] = found.to(values), above.to(values)
        for own, split in annealed:
            values[own] += start_sum(model, base, statistics(own), split).to(values)
    return KnownSums(values, errors, worst)
