r"""The likelihood of rows whose hidden units do not sum out: a bound, and importance sampling, by mean field.

With independent hidden units q, of fields a and means m, which mean field settles at,

.. math:: \log p(v) \ge E_q[-E(v, h)] + H(q) - \log Z = -E(v, m) + \sum_l H_l - \log Z,

in closed form, since the energy is linear in the statistics of each layer (what a real unit's own energy
adds is in its log-partition function). Half of a deep machine's hidden layers, y, are independent given the
others, x, and need not be approximated at all:

.. math:: p(v) = \frac1Z E_q\left[\frac{\sum_y e^{-E(v, x, y)}}{q(x)}\right].

The logarithm of the mean of K such weights is low by about half its relative variance, so that it is a lower
bound in expectation too, and a better one than the first.

References:
    | Deep Boltzmann machines (Salakhutdinov & Hinton, 2009)
    | Importance weighted autoencoders (Burda, Grosse & Salakhutdinov, 2016)
    | https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

__all__ = ["variational_bound", "weigh_posterior"]

import torch
from torch import Tensor

from ..models import MeanField, PairwiseModel, State, choose_side, mean_field
from ..random import Stream
from ._paths import Paths, by_block, weighed

_ROWS = 4096
_SWEEPS = 500
_TOLERANCE = 1e-6


def variational_bound(model: PairwiseModel, given: State, q: MeanField) -> Tensor:
    """Return the variational bound of each row up to log Z, shape (rows), float64, nats.

    Arguments:
        model: The model.
        given: The blocks that are known.
        q: The independent units that stand for the others.
    """
    state = {**given, **q.means}
    total = -sum(model.layer(block).energy(x) for block, x in given.items())
    for block, field in q.fields.items():
        unit, mean = model.layer(block), q.means[block]
        total = total + unit.log_partition(field) - ((field - unit.bias) * mean).sum(-1, dtype=torch.float64)
    for coupling in model.couplings():
        inputs = state[coupling.lower] @ model.matrix(coupling)
        total = total + (inputs * state[coupling.upper]).sum(-1, dtype=torch.float64)
    return torch.as_tensor(total)


@torch.no_grad()
def weigh_posterior(model: PairwiseModel, rows: Tensor, samples: int, stream: Stream) -> Paths:
    """Bound each row's likelihood, and weigh samples of its mean-field posterior.

    Arguments:
        model: The model, in double precision.
        rows: Rows of data, shape (rows, size).
        samples: Of the hidden layers, for each row; with none the bound is all there is.
        stream: Where the random bits come from.
    """

    def weigh(block: slice) -> Paths:
        return _weigh(model, model.states(rows[block]), samples, stream)

    return by_block(len(rows), max(1, _ROWS // max(samples, 1)), weigh)


def _weigh(model: PairwiseModel, given: State, samples: int, stream: Stream) -> Paths:
    q = mean_field(model, given, steps=_SWEEPS, tolerance=_TOLERANCE)
    bound = variational_bound(model, given, q)
    side, _ = choose_side(model, tuple(given))
    state = {block: x.repeat_interleave(samples, 0) for block, x in given.items()}
    log_q = torch.zeros(len(bound) * samples, dtype=torch.float64, device=bound.device)
    for block in side:
        unit, field = model.layer(block), q.fields[block].repeat_interleave(samples, 0)
        state[block] = unit.sample(field, stream)
        log_q += unit.log_density(state[block], field)
    paths = weighed((model.log_sum(state) - log_q).view(len(bound), samples))
    return paths._replace(bound=bound, bound_error=torch.zeros_like(bound))
