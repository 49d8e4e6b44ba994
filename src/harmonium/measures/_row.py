"""The measures of one row of the table: some rows against held-out ones, in all spaces."""

from __future__ import annotations

__all__ = ["Against", "measure_row"]

from typing import NamedTuple

import torch
from torch import Tensor

from ..metrics import (
    class_histogram,
    classifier_test,
    density_coverage,
    frechet_distance,
    kernel_distance,
    memorisation,
    nearest_neighbour_test,
    precision_recall,
)
from ._spaces import Seen

THOUSAND = 1000


class Against(NamedTuple):
    """What rows are held against, the same for the whole table."""

    test: Seen
    """Held-out rows, as many as there are others."""
    train: Tensor
    """Untrained features of as many training rows, to tell copies by."""
    shares: Tensor | None
    """How many training rows each class has, if there are labels."""
    seed: int


def measure_row(rows: Seen, against: Against) -> dict[str, float]:
    """Return the measures of rows, by their name."""
    real, fake, seed = against.test.main, rows.main, against.seed
    kernel, test = kernel_distance(real, fake, seed=seed), classifier_test(real, fake, seed=seed)
    copied = memorisation(rows.untrained, against.train, against.test.untrained)
    found = {
        "frechet": frechet_distance(real, fake),
        "kernel": THOUSAND * kernel.value,
        "kernel_error": THOUSAND * kernel.standard_error,
        **precision_recall(real, fake)._asdict(),
        **density_coverage(real, fake)._asdict(),
        "classifier": test.accuracy,
        "classifier_p": test.p_value,
        "neighbours": nearest_neighbour_test(real, fake).accuracy,
        **_over_nets(rows, against),
        **_over_classes(rows, against),
        "memorised": copied.share,
        "memorised_error": copied.standard_error,
    }
    if rows.inception is not None:
        found["fid"] = frechet_distance(against.test.inception, rows.inception)
    return found


def _over_nets(rows: Seen, against: Against) -> dict[str, float]:
    """Return means and standard deviations over the random nets, if there are some."""
    pairs = list(zip(against.test.random, rows.random, strict=True))
    if not pairs:
        return {}
    frechet = torch.tensor([frechet_distance(*pair) for pair in pairs])
    kernel = THOUSAND * torch.tensor([kernel_distance(*pair, seed=against.seed).value for pair in pairs])
    return {
        "random_frechet": float(frechet.mean()),
        "random_frechet_deviation": float(frechet.std()),
        "random_kernel": float(kernel.mean()),
        "random_kernel_deviation": float(kernel.std()),
    }


def _over_classes(rows: Seen, against: Against) -> dict[str, float]:
    """Return how the classes of rows compare with those of the training rows, if there are labels."""
    if rows.classes is None or against.shares is None:
        return {}
    found = class_histogram(rows.classes, against.shares)
    return {
        "class_kl": found.kl,
        "class_kl_floor": found.kl_floor,
        "class_variation": found.total_variation,
        "modes": found.modes,
        "modes_floor": found.modes_floor,
    }
