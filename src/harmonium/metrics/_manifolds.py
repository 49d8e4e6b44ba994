r"""How much of the samples lies among the data, and how much of the data among the samples.

The support of a set of rows is taken to be a union of balls, one about each row, that reach to its k-th
nearest neighbour in the set. Precision is the share of generated rows in the support of the real ones,
recall that of real rows in the support of the generated ones: a model that draws one perfect image has the
former, and one of noise that is wide enough the latter.

An outlier has a large ball, into which too much falls. Density counts the balls of real rows that a
generated row is in, over k, and may be above 1; coverage is the share of real rows in whose own ball there
is a generated row. Both take balls of real rows only, so that an outlier among the samples does no harm.

Not even two sets from one distribution have precision, recall and coverage 1.

References:
    | Improved precision and recall metric for assessing generative models (Kynkaanniemi et al., 2019)
    | Reliable fidelity and diversity metrics for generative models (Naeem, Oh, Uh, Choi & Yoo, 2020)
"""

from __future__ import annotations

__all__ = ["DensityCoverage", "PrecisionRecall", "density_coverage", "precision_recall"]

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._arrays import as_features, squared_distances, squared_radii


class PrecisionRecall(NamedTuple):
    """The shares of generated rows among the real ones, and of real rows among the generated ones."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How densely real rows surround generated ones, and the share of real rows that have one near."""

    density: float
    coverage: float


def precision_recall(real: Any, fake: Any, k: int = 3) -> PrecisionRecall:
    """Return precision and recall; balls are closed, as in the paper.

    Arguments:
        real: Features, shape (rows, columns).
        fake: Likewise.
        k: The neighbour to which a ball reaches, not counting the row itself.

    Raises:
        ArgumentError: There are too few rows for ``k``.
        DataError: Features do not fit each other, or are no finite numbers.
    """
    x, y = as_features(real=real, fake=fake)
    found = [
        _hits(points, centres, squared_radii(centres, k), torch.le)[0] for points, centres in ((y, x), (x, y))
    ]
    precision, recall = (float((counts > 0).double().mean()) for counts in found)
    return PrecisionRecall(precision, recall)


def density_coverage(real: Any, fake: Any, k: int = 5) -> DensityCoverage:
    """Return density and coverage; balls are open, as in the authors' code.

    Arguments:
        real: Features, shape (rows, columns).
        fake: Likewise.
        k: The neighbour to which a ball reaches, not counting the row itself.

    Raises:
        ArgumentError: There are too few rows for ``k``.
        DataError: Features do not fit each other, or are no finite numbers.
    """
    x, y = as_features(real=real, fake=fake)
    counts, hit = _hits(y, x, squared_radii(x, k), torch.lt)
    return DensityCoverage(float(counts.double().mean()) / k, float(hit.double().mean()))


def _hits(
    points: Tensor, centres: Tensor, radii: Tensor, within: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return in how many balls each point is, and whether each ball has a point."""
    counts = torch.zeros(len(points), dtype=torch.int64)
    hit = torch.zeros(len(centres), dtype=torch.bool)
    for rows, distances in squared_distances(points, centres):
        inside = within(distances, radii)
        counts[rows] = inside.sum(1)
        hit |= inside.any(0)
    return counts, hit
