r"""Measures of samples: pure functions of arrays of features, of shape (rows, columns).

A likelihood scores a model on data; these score a model's samples against data, and so they hold for models
that have no likelihood. None of them is enough alone:

========================================  ==================================  =============================
measure                                   sees                                does not see
========================================  ==================================  =============================
:func:`frechet_distance`                  mean and covariance of features     all else
:func:`kernel_distance`                   three moments, without bias         all else
:func:`precision_recall`                  quality apart from variety          shares within the support
:func:`density_coverage`                  likewise, robust against outliers   likewise
:func:`classifier_test`                   any difference that can be learnt   how large it is, near 100 %
:func:`nearest_neighbour_test`            differences, and copies             directions far from neighbours
:func:`class_histogram`                   classes that are lost or favoured   variety within a class
:func:`memorisation`                      copies of training rows             all else
:func:`parzen_log_likelihood`             what the year 2014 reported         almost everything
========================================  ==================================  =============================

What any of them says depends on the features, on the number of rows, and on the data, so that a number means
something only beside that of a floor (real rows against real rows, as many) and of a ceiling. Sums are in
float64. Pairs of rows come in blocks: no matrix of all pairs is ever held.
"""

from __future__ import annotations

__all__ = [
    "ClassHistogram",
    "ClassifierTest",
    "DensityCoverage",
    "Estimate",
    "Memorisation",
    "NeighbourTest",
    "Parzen",
    "PrecisionRecall",
    "class_histogram",
    "classifier_test",
    "density_coverage",
    "frechet_between",
    "frechet_distance",
    "kernel_distance",
    "memorisation",
    "nearest_neighbour_test",
    "parzen_log_likelihood",
    "precision_recall",
]

from ._classes import ClassHistogram, class_histogram
from ._classifier import ClassifierTest, classifier_test
from ._frechet import frechet_between, frechet_distance
from ._kernel import Estimate, kernel_distance
from ._manifolds import DensityCoverage, PrecisionRecall, density_coverage, precision_recall
from ._neighbours import Memorisation, NeighbourTest, memorisation, nearest_neighbour_test
from ._parzen import Parzen, parzen_log_likelihood
