r"""The likelihood of a deep belief network: a variational bound, and importance sampling.

With paths h drawn from the recognition network q,

.. math:: \log p(v) \ge E_q[\log p^*(v, h) - \log q(h \mid v)] - \log Z, \qquad
    p(v) = \frac1Z E_q\left[\frac{p^*(v, h)}{q(h \mid v)}\right]

where the top RBM's highest layer is summed out and Z is its partition function. The mean of K weights is an
unbiased estimate of :math:`p^*(v)`; its logarithm is low by about half its relative variance, so that the
estimate is itself a lower bound in expectation, which rises to the likelihood as K grows. The bound is
the mean of the logarithms of the same weights, and so is never above it. Its term -log q, whose mean is the
entropy of q, is drawn as well, since it cancels the noise of the other: where q is the posterior, all weights
of a row are equal, and both are exact.

References:
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
    | On the quantitative analysis of deep belief networks (Salakhutdinov & Murray, 2008)
    | Importance weighted autoencoders (Burda, Grosse & Salakhutdinov, 2016)
    | https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

__all__ = ["weigh_paths"]

import math

import torch
from torch import Tensor

from ..models import DBN
from ..random import Stream
from ._paths import Paths, by_block, weighed

_BLOCK = 4096


@torch.no_grad()
def weigh_paths(model: DBN, v: Tensor, label: Tensor | None, samples: int, stream: Stream) -> Paths:
    """Draw paths for each row and weigh them.

    Where there is but one hidden layer nothing is drawn, and nothing has an error.

    Arguments:
        model: The network.
        v: Visible statistics, shape (rows, width).
        label: The labels' statistics, shape (rows, classes); summed over if not given.
        samples: Paths of each row.
        stream: Where the random bits come from.
    """

    def weigh(rows: slice) -> Paths:
        return _weigh(model, v[rows], None if label is None else label[rows], samples, stream)

    return by_block(len(v), max(1, _BLOCK // samples), weigh)


def _weigh(model: DBN, v: Tensor, label: Tensor | None, samples: int, stream: Stream) -> Paths:
    if model.depth == 1:
        exact = model.log_joint([v], label)
        none = torch.zeros_like(exact)
        return Paths(exact, none, exact, none, torch.full_like(exact, math.inf))
    path = [v]
    log_q = torch.zeros(len(v) * samples, dtype=torch.float64, device=v.device)
    for layer in range(model.depth - 1):
        unit, field = model.rbms[layer].hidden, model.recognise(layer, path[-1])
        if layer == 0:
            field = field.repeat_interleave(samples, 0)
        path.append(unit.sample(field, stream))
        log_q += unit.log_density(path[-1], field)
    path[0] = v.repeat_interleave(samples, 0)
    many = None if label is None else label.repeat_interleave(samples, 0)
    log_weight = (model.log_joint(path, many) - log_q).view(len(v), samples)
    return weighed(log_weight)
