r"""What nearest neighbours tell: whether samples look like data, and whether they are copies of them.

**Nearest-neighbour adversarial accuracy.** With T the true rows and S the synthetic ones, equally many, and
:math:`d_{AB}(i)` the distance of row i of A to the nearest (other) row of B,

.. math:: AA_{TS} = \tfrac12 \Bigl( \tfrac1n \sum_i [d_{TS}(i) > d_{TT}(i)]
    + \tfrac1n \sum_i [d_{ST}(i) > d_{SS}(i)] \Bigr).

This is the convention of Yale and others: 1/2 is best, 1 if each set keeps to itself, and 0 if each row is
closest to one of the other set, as copies are. Ties count a half.

**Memorisation.** A sample is as often nearer to the training rows as to held-out rows, equally many, if
nothing was learnt by heart, however good or bad the samples are. A copy is always nearer. The standard
error is that of independent samples: those that are all alike have few neighbours between them, and fall to
one side or the other by chance.

References:
    | Generation and evaluation of privacy preserving synthetic health data (Yale et al., 2020)
"""

from __future__ import annotations

__all__ = ["Memorisation", "NeighbourTest", "memorisation", "nearest_neighbour_test"]

from math import sqrt
from typing import Any, NamedTuple

from torch import Tensor

from ._arrays import as_features, check_equal, nearest


class NeighbourTest(NamedTuple):
    """AA_TS, and the two shares whose mean it is: of true rows, and of synthetic ones."""

    accuracy: float
    true: float
    synthetic: float


class Memorisation(NamedTuple):
    """The share of samples that are nearer to training rows than to others, and median distances to both."""

    share: float
    standard_error: float
    train_distance: float
    test_distance: float


def nearest_neighbour_test(real: Any, fake: Any) -> NeighbourTest:
    """Return the nearest-neighbour adversarial accuracy.

    Arguments:
        real: Features, shape (rows, columns).
        fake: Likewise, equally many rows.

    Raises:
        DataError: Features do not fit each other, or are no finite numbers.
    """
    x, y = as_features(real=real, fake=fake)
    check_equal(real=x, fake=y)
    true, synthetic = (_share(nearest(a, a), nearest(a, b)) for a, b in ((x, y), (y, x)))
    return NeighbourTest((true + synthetic) / 2, true, synthetic)


def memorisation(samples: Any, train: Any, test: Any) -> Memorisation:
    """Return how often samples are nearer to training rows than to rows that were held out.

    Arguments:
        samples: Features, shape (rows, columns).
        train: Of rows that the model has learnt from.
        test: Of equally many rows that it has not.

    Raises:
        DataError: Features do not fit each other, or are no finite numbers.
    """
    x, seen, unseen = as_features(samples=samples, train=train, test=test)
    check_equal(train=seen, test=unseen)
    near, far = nearest(x, seen), nearest(x, unseen)
    share = _share(near, far)
    return Memorisation(share, sqrt(0.25 / len(x)), *(float(d.median().sqrt()) for d in (near, far)))


def _share(smaller: Tensor, larger: Tensor) -> float:
    """Return how often the one distance is smaller than the other; a tie counts a half."""
    return float(((smaller < larger).double() + (smaller <= larger).double()).mean()) / 2
