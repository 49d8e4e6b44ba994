r"""Statistics of codes: how often symbols stand at sites, alone and together.

With the indicators :math:`x_{ia}` of symbol a at site i, and the mean over rows with weights w,

.. math:: f_{ia} = \langle x_{ia} \rangle, \quad f_{ia,jb} = \langle x_{ia} x_{jb} \rangle, \quad
    c_{ia,jb} = f_{ia,jb} - f_{ia} f_{jb}, \quad
    c_{ia,jb,kc} = \langle (x_{ia} - f_{ia})(x_{jb} - f_{jb})(x_{kc} - f_{kc}) \rangle .

A pseudocount :math:`\lambda` mixes all with the uniform distribution, by :math:`(1 - \lambda)` to
:math:`\lambda`; the same site with itself stays consistent. Rows come in blocks.

References:
    | Identification of direct residue contacts in protein-protein interaction by message passing
    | (Weigt, White, Szurmant, Hoch & Hwa, 2009)
    | Direct-coupling analysis of residue coevolution captures native contacts across many protein families
    | (Morcos et al., 2011)
"""

from __future__ import annotations

__all__ = [
    "Agreement",
    "agreement",
    "connected_correlations",
    "one_site_frequencies",
    "sample_triplets",
    "third_order_correlations",
    "two_site_frequencies",
]

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import ArgumentTypeError, DataError, invalid
from ..random import Stream

BLOCK = 2048


class Agreement(NamedTuple):
    """How the numbers of one set follow those of another."""

    pearson: float
    """The correlation coefficient."""
    slope: float
    """The slope of the least-squares line, its offset free; 1 where the size is right too."""


def one_site_frequencies(codes: Any, states: int, weights: Any = None, pseudocount: float = 0.0) -> Tensor:
    """Return how often each symbol stands at each site, shape (sites, states) in float64.

    Arguments:
        codes: Codes from 0 on, shape (rows, sites).
        states: How many symbols there are.
        weights: The rows' weights, shape (rows); all equal if not given.
        pseudocount: The share of the uniform distribution, from 0 to 1.

    Raises:
        ArgumentError: The states or the pseudocount are out of range.
        ArgumentTypeError: The codes or weights are neither an array nor a tensor.
        DataError: They do not fit.
    """
    rows, shares = _checked(codes, states, weights, pseudocount)
    return (1 - pseudocount) * _mean(rows, shares, states) + pseudocount / states


def two_site_frequencies(codes: Any, states: int, weights: Any = None, pseudocount: float = 0.0) -> Tensor:
    """Return how often two symbols stand at two sites, shape (sites, states, sites, states) in float64.

    Arguments:
        codes: As for :func:`one_site_frequencies`, with the same errors.
        states: Likewise.
        weights: Likewise.
        pseudocount: Likewise.
    """
    rows, shares = _checked(codes, states, weights, pseudocount)
    sites = rows.shape[1]
    total = torch.zeros(sites * states, sites * states, dtype=torch.float64)
    for values, share in _blocks(rows, shares, states):
        total += (values * share[:, None]).T @ values
    pairs = (1 - pseudocount) * total.view(sites, states, sites, states) + pseudocount / states**2
    own = torch.arange(sites)
    pairs[own, :, own] = torch.diag_embed(one_site_frequencies(rows, states, weights, pseudocount))
    return pairs


def connected_correlations(codes: Any, states: int, weights: Any = None, pseudocount: float = 0.0) -> Tensor:
    """Return the covariances of two symbols at two sites, shape (sites, states, sites, states) in float64.

    Arguments:
        codes: As for :func:`one_site_frequencies`, with the same errors.
        states: Likewise.
        weights: Likewise.
        pseudocount: Likewise.
    """
    one = one_site_frequencies(codes, states, weights, pseudocount)
    return two_site_frequencies(codes, states, weights, pseudocount) - torch.einsum("ia,jb->iajb", one, one)


def sample_triplets(sites: int, n: int, seed: int = 0) -> Tensor:
    """Return triplets of different sites, each in ascending order, drawn with repetition, shape (n, 3).

    Arguments:
        sites: How many sites there are, at least three.
        n: How many triplets to draw.
        seed: Which ones.

    Raises:
        ArgumentError: There are fewer than three sites, or no triplet is asked for.
    """
    for name, value, least in (("sites", sites, 3), ("n", n, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise invalid(name, value, f"an integer of at least {least}")
    uniform = Stream(seed).child("triplets").uniform(n, sites)
    return uniform.topk(3, 1).indices.sort(1).values


def third_order_correlations(codes: Any, states: int, triplets: Any, weights: Any = None) -> Tensor:
    """Return the third central moments of symbols at three sites, shape (triplets, states, states, states).

    Arguments:
        codes: As for :func:`one_site_frequencies`, with the same errors.
        states: Likewise.
        triplets: Sites, shape (triplets, 3), as :func:`sample_triplets` draws them.
        weights: Likewise.
    """
    rows, shares = _checked(codes, states, weights, 0.0)
    sites, at = rows.shape[1], _tensor("triplets", triplets).long()
    if at.ndim != 2 or at.shape[1] != 3 or not len(at) or int(at.min()) < 0 or int(at.max()) >= sites:
        raise DataError(f"triplets: got shape {tuple(at.shape)}, expected (n, 3) of sites 0 ... {sites - 1}")
    mean = _mean(rows, shares, states)
    return torch.stack([_third(rows[:, at[t]], mean[at[t]], shares, states) for t in range(len(at))])


def agreement(first: Any, second: Any) -> Agreement:
    """Compare two sets of equally many numbers: how the second follows the first.

    Arguments:
        first: Numbers of any shape, such as the correlations of data.
        second: Numbers of the same shape, such as those of samples.

    Raises:
        ArgumentTypeError: One is neither an array nor a tensor.
        DataError: Shapes differ, or numbers do not vary.
    """
    x, y = (_tensor(name, values).double() for name, values in (("first", first), ("second", second)))
    if x.shape != y.shape:
        raise DataError(f"second: got shape {tuple(y.shape)}, expected {tuple(x.shape)} as first")
    x, y = x.flatten() - x.mean(), y.flatten() - y.mean()
    across, down = float(x @ x), float(y @ y)
    if not (across > 0 and down > 0):
        raise DataError("first, second: expected numbers that vary and are finite")
    product = float(x @ y)
    return Agreement(product / (across * down) ** 0.5, product / across)


def _third(rows: Tensor, mean: Tensor, shares: Tensor, states: int) -> Tensor:
    """Return the central moments of three sites from the counts of what stands there together."""
    at = (rows[:, 0] * states + rows[:, 1]) * states + rows[:, 2]
    joint = torch.zeros(states**3, dtype=torch.float64).index_add_(0, at, shares)
    joint = joint.view(states, states, states)
    i, j, k = mean
    ij, ik, jk = joint.sum(2), joint.sum(1), joint.sum(0)
    lower = ij[:, :, None] * k + ik[:, None, :] * j[None, :, None] + jk[None] * i[:, None, None]
    return joint - lower + 2 * torch.einsum("a,b,c->abc", i, j, k)


def _mean(rows: Tensor, shares: Tensor, states: int) -> Tensor:
    total = torch.zeros(rows.shape[1] * states, dtype=torch.float64)
    for values, share in _blocks(rows, shares, states):
        total += share @ values
    return total.view(-1, states)


def _blocks(rows: Tensor, shares: Tensor, states: int) -> Any:
    """Yield the indicators of blocks of rows, shape (block, sites x states), and the rows' shares."""
    for some, share in zip(rows.split(BLOCK), shares.split(BLOCK), strict=True):
        yield one_hot(some, states).flatten(1).double(), share


def _checked(codes: Any, states: int, weights: Any, pseudocount: float) -> tuple[Tensor, Tensor]:
    """Return codes in int64, and weights that sum to one in float64."""
    if isinstance(states, bool) or not isinstance(states, int) or states < 2:
        raise invalid("states", states, "an integer of at least 2")
    if not 0 <= pseudocount <= 1:
        raise invalid("pseudocount", pseudocount, "a number from 0 to 1")
    values = _tensor("codes", codes)
    rows = values.long()
    if rows.ndim != 2 or not rows.numel():
        raise DataError(f"codes: got shape {tuple(rows.shape)}, expected (rows, sites)")
    wrong = (rows != values) | (rows < 0) | (rows >= states)
    if bool(wrong.any()):
        row, site = wrong.nonzero()[0].tolist()
        got = f"{values[row, site].item()} in row {row}, site {site} (from 0)"
        raise DataError(f"codes: got {got}, expected a code in 0 ... {states - 1}")
    if weights is None:
        return rows, torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
    shares = _tensor("weights", weights).double()
    if (
        shares.shape != (len(rows),)
        or not bool((shares >= 0).all())
        or not 0 < float(shares.sum()) < torch.inf
    ):
        got = f"shape {tuple(shares.shape)}"
        raise DataError(f"weights: got {got}, expected ({len(rows)},) of numbers from 0 on, not all 0")
    return rows, shares / shares.sum()


def _tensor(name: str, values: Any) -> Tensor:
    if not isinstance(values, np.ndarray | Tensor):
        raise ArgumentTypeError(f"{name}: got {type(values).__name__}, expected an array or a tensor")
    return torch.as_tensor(values).detach().cpu()
