r"""From couplings between sites to pairs in contact, and how many of the first pairs are right.

The strength of a pair is the Frobenius norm of its block in the zero-sum gauge, with the background of its
two sites taken away (average-product correction),

.. math:: F_{ij} = \sqrt{\sum_{ab} J_{ij}(a, b)^2}, \qquad
    S_{ij} = F_{ij} - \frac{\bar F_{i \cdot} \bar F_{\cdot j}}{\bar F_{\cdot\cdot}},

where means are over the other sites and over all pairs of different ones.

References:
    | Mutual information without the influence of phylogeny or entropy dramatically improves residue contact
    | prediction (Dunn, Wahl & Gloor, 2008)
    | Improved contact prediction in proteins: using pseudolikelihoods to infer Potts models
    | (Ekeberg, Lovkvist, Lan, Weigt & Aurell, 2013)
"""

from __future__ import annotations

__all__ = [
    "Contact",
    "average_product_correction",
    "contact_precision",
    "contacts",
    "coupling_norms",
    "zero_sum",
]

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentTypeError, DataError, invalid


class Contact(NamedTuple):
    """Two sites (from 0) and the strength of their coupling."""

    first: int
    second: int
    score: float


def zero_sum(couplings: Any) -> Tensor:
    """Return couplings in the zero-sum gauge: rows and columns of each block sum to zero, in float64.

    Arguments:
        couplings: Shape (sites, states, sites, states).

    Raises:
        ArgumentTypeError: They are neither an array nor a tensor.
        DataError: They have another shape.
    """
    blocks = _blocks(couplings)
    blocks = blocks - blocks.mean(1, keepdim=True)
    return blocks - blocks.mean(3, keepdim=True)


def coupling_norms(couplings: Any, gap: int | None = None) -> Tensor:
    """Return the Frobenius norms of blocks of couplings, zero on the diagonal, shape (sites, sites).

    Arguments:
        couplings: Shape (sites, states, sites, states), in the gauge in which they are to be measured.
        gap: The code of a state that does not count; none by default.

    Raises:
        ArgumentError: There is no such state.
        ArgumentTypeError: Couplings are neither an array nor a tensor.
        DataError: They have another shape.
    """
    blocks = _blocks(couplings)
    states = blocks.shape[1]
    if gap is not None:
        if isinstance(gap, bool) or not isinstance(gap, int) or not 0 <= gap < states:
            raise invalid("gap", gap, f"None or a state from 0 to {states - 1}")
        kept = torch.tensor([state for state in range(states) if state != gap])
        blocks = blocks[:, kept][:, :, :, kept]
    return blocks.square().sum((1, 3)).sqrt().fill_diagonal_(0)


def average_product_correction(norms: Any) -> Tensor:
    """Take away from each pair what its two sites have in common with all pairs, shape (sites, sites).

    Arguments:
        norms: A symmetric matrix, whose diagonal does not count, shape (sites, sites) of at least 3 sites.

    Raises:
        ArgumentTypeError: It is neither an array nor a tensor.
        DataError: It has another shape, or is zero.
    """
    matrix = _square("norms", norms).clone().fill_diagonal_(0)
    sites = len(matrix)
    mean = matrix.sum(1) / (sites - 1)
    if not float(mean.sum()) > 0:
        raise DataError("norms: got zeros only, expected some couplings")
    return (matrix - torch.outer(mean, mean) / mean.mean()).fill_diagonal_(0)


def contacts(couplings: Any, separation: int = 5, gap: int | None = None) -> list[Contact]:
    """Return the pairs of sites, those first whose couplings speak most for a contact.

    Arguments:
        couplings: Shape (sites, states, sites, states), in any gauge.
        separation: How far two sites of a pair are apart in the sequence at least.
        gap: The code of the gap, whose couplings do not count; all do by default.

    Raises:
        ArgumentError: The separation leaves no pair, or there is no such state.
        ArgumentTypeError: Couplings are neither an array nor a tensor.
        DataError: They have another shape, or are zero.
    """
    scores = average_product_correction(coupling_norms(zero_sum(couplings), gap))
    sites = len(scores)
    if isinstance(separation, bool) or not isinstance(separation, int) or not 1 <= separation < sites:
        raise invalid("separation", separation, f"an integer from 1 to {sites - 1}")
    i, j = torch.triu_indices(sites, sites, separation)
    order = scores[i, j].argsort(descending=True, stable=True)
    return [Contact(int(i[k]), int(j[k]), float(scores[i[k], j[k]])) for k in order]


def contact_precision(ranked: Iterable[Any], distances: Any, top: int, threshold: float = 8.0) -> float:
    """Return the share of the first pairs that are in contact; pairs of unknown distance are passed over.

    Arguments:
        ranked: Pairs of sites (from 0), the best first, such as those of :func:`contacts`.
        distances: Shape (sites, sites), symmetric, in the unit of ``threshold``; NaN where one is unknown.
        top: How many pairs count.
        threshold: The distance below which sites are in contact (8, in Angstrom).

    Raises:
        ArgumentError: There are fewer pairs of known distance than ``top``.
        ArgumentTypeError: Distances are neither an array nor a tensor.
        DataError: They have another shape.
    """
    apart = _square("distances", distances)
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise invalid("top", top, "a positive integer")
    found = [float(apart[pair[0], pair[1]]) for pair in ranked]
    known = [distance for distance in found if distance == distance][:top]
    if len(known) < top:
        raise invalid("top", top, f"at most the {len(known)} pairs whose distance is known")
    return sum(distance < threshold for distance in known) / top


def _blocks(couplings: Any) -> Tensor:
    blocks = _tensor("couplings", couplings)
    shape = tuple(blocks.shape)
    if len(shape) != 4 or shape[:2] != shape[2:] or shape[0] < 2:
        raise DataError(f"couplings: got shape {shape}, expected (sites, states, sites, states)")
    return blocks


def _square(name: str, values: Any) -> Tensor:
    matrix = _tensor(name, values)
    if matrix.ndim != 2 or len(matrix) != matrix.shape[1] or len(matrix) < 3:
        raise DataError(f"{name}: got shape {tuple(matrix.shape)}, expected (sites, sites), at least 3 sites")
    return matrix


def _tensor(name: str, values: Any) -> Tensor:
    if not isinstance(values, np.ndarray | Tensor):
        raise ArgumentTypeError(f"{name}: got {type(values).__name__}, expected an array or a tensor")
    return torch.as_tensor(values).detach().cpu().double()
