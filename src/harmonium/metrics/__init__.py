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

Codes of aligned sequences have statistics of their own: how often symbols stand at sites, alone
(:func:`one_site_frequencies`), in twos and in threes, how those of samples follow those of data
(:func:`agreement`), and which sites a model's couplings put in contact (:func:`contacts`).

What any of them says depends on the features, on the number of rows, and on the data, so that a number means
something only beside that of a floor (real rows against real rows, as many) and of a ceiling. Sums are in
float64. Pairs of rows come in blocks: no matrix of all pairs is ever held.
"""

from __future__ import annotations

__all__ = [
    "Agreement",
    "ClassHistogram",
    "ClassifierTest",
    "Contact",
    "DensityCoverage",
    "Estimate",
    "Memorisation",
    "NeighbourTest",
    "Parzen",
    "PrecisionRecall",
    "agreement",
    "average_product_correction",
    "class_histogram",
    "classifier_test",
    "connected_correlations",
    "contact_precision",
    "contacts",
    "coupling_norms",
    "density_coverage",
    "frechet_between",
    "frechet_distance",
    "kernel_distance",
    "memorisation",
    "nearest_neighbour_test",
    "one_site_frequencies",
    "parzen_log_likelihood",
    "precision_recall",
    "sample_triplets",
    "third_order_correlations",
    "two_site_frequencies",
    "zero_sum",
]

from ._classes import ClassHistogram, class_histogram
from ._classifier import ClassifierTest, classifier_test
from ._contacts import (
    Contact,
    average_product_correction,
    contact_precision,
    contacts,
    coupling_norms,
    zero_sum,
)
from ._frechet import frechet_between, frechet_distance
from ._kernel import Estimate, kernel_distance
from ._manifolds import DensityCoverage, PrecisionRecall, density_coverage, precision_recall
from ._neighbours import Memorisation, NeighbourTest, memorisation, nearest_neighbour_test
from ._parzen import Parzen, parzen_log_likelihood
from ._sequences import (
    Agreement,
    agreement,
    connected_correlations,
    one_site_frequencies,
    sample_triplets,
    third_order_correlations,
    two_site_frequencies,
)
