r"""What samples with labels are worth to a classifier: GAN-train and GAN-test.

GAN-train is the accuracy, on held-out rows, of a classifier that has learned from the samples and their
labels alone: it falls where classes lack variety, or look like others. GAN-test is the share of samples to
which a classifier of the data gives the label that they were made for: it falls where they look like no
class, or like another; samples that are all alike do not lower it. Both belong beside those of training rows.

References:
    | How good is my GAN? (Shmelkov, Schmid & Alahari, 2018)
"""

from __future__ import annotations

__all__ = ["labelled", "of_labels"]

import math

from torch import Tensor

from ..datasets import Dataset
from ..features import rows_as_images, train_classifier
from ._spaces import Features

MOST = 100
"""Classes for which so few rows still tell something."""
EPOCHS, SHOWN = 3, 10_000
"""How often rows are shown to a classifier at least, each and together."""


def labelled(data: Dataset) -> bool:
    """Return whether rows of a data set end in the code of a label by which images can be judged."""
    return data.classes is not None and len(data.classes) <= MOST and len(data.shape) in (2, 3)


def of_labels(data: Dataset, rows: Tensor, test: Tensor, judge: Features, seed: int) -> dict[str, float]:
    """Return GAN-train and GAN-test of rows, with their standard errors over rows.

    Arguments:
        data: The data set.
        rows: With their codes, shape (rows, columns + 1).
        test: Held-out rows, likewise.
        judge: Tells the class of rows without their codes.
        seed: Of the classifier that learns from the rows.
    """
    assert data.classes is not None
    values, codes = rows[:, :-1], rows[:, -1].long()
    images, held_out = (rows_as_images(data, own) for own in (values, test[:, :-1]))
    epochs = max(EPOCHS, -(-SHOWN // len(rows)))
    net = train_classifier(images, codes, len(data.classes), seed=seed, epochs=epochs)
    right = {
        "gan_train": net.predict(held_out) == test[:, -1].long(),
        "gan_test": judge(values) == codes,
    }
    found = {}
    for name, hits in right.items():
        share = float(hits.double().mean())
        found[name] = share
        found[f"{name}_error"] = math.sqrt(share * (1 - share) / len(hits))
    return found
