r"""The classifier two-sample test: can a classifier tell the samples from the data?

It is trained on some of both and guesses the others, in turn. If there is no difference, it is right in
half of all cases, and over n guesses its accuracy is about :math:`N(1/2, 1/4n)`, which gives the
probability of one that is at least as high. (Guesses of different folds are not quite independent, so that
the probability is one in name only where it is near the level that matters.) An accuracy near 1 says that
there is a difference, not how large it is.

References:
    | Revisiting classifier two-sample tests (Lopez-Paz & Oquab, 2017)
"""

from __future__ import annotations

__all__ = ["CLASSIFIERS", "ClassifierTest", "classifier_test"]

from collections.abc import Callable
from math import erfc, sqrt
from typing import Any, NamedTuple

import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..errors import choose, invalid
from ..random import Stream
from ._arrays import as_features, check_equal

CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "logistic": lambda seed: make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    "forest": lambda seed: RandomForestClassifier(100, min_samples_leaf=3, random_state=seed),
}


class ClassifierTest(NamedTuple):
    """The share of right guesses, and how probable one as high is if there is no difference."""

    accuracy: float
    p_value: float


def classifier_test(
    real: Any, fake: Any, classifier: str = "logistic", folds: int = 5, seed: int = 0
) -> ClassifierTest:
    """Let a classifier tell real from generated rows that it was not trained on.

    Arguments:
        real: Features, shape (rows, columns).
        fake: Likewise, equally many rows.
        classifier: ``logistic`` (regression on standardised features) or ``forest`` (of 100 trees).
        folds: Into how many parts the rows are cut; each is guessed by a classifier of the others.
        seed: Of the cut, and of the forest.

    Raises:
        ArgumentError: There is no such classifier, or there are too few rows for so many folds.
        DataError: Features do not fit each other, or are no finite numbers.
    """
    make = choose("classifier", classifier, CLASSIFIERS)
    x, y = as_features(real=real, fake=fake)
    check_equal(real=x, fake=y)
    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= len(x):
        raise invalid("folds", folds, f"a number of parts from 2 to {len(x)}")
    number = Stream(seed).child("classifier").integer() % 2**32
    rows, marks = torch.cat((x, y)).numpy(), torch.arange(2).repeat_interleave(len(x)).numpy()
    cut = StratifiedKFold(folds, shuffle=True, random_state=number)
    accuracy = float((cross_val_predict(make(number), rows, marks, cv=cut) == marks).mean())
    return ClassifierTest(accuracy, erfc((2 * accuracy - 1) * sqrt(len(marks) / 2)) / 2)
