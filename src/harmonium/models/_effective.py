r"""Effective couplings: what two visible sites say of each other, hidden units summed out.

Any log-probability of sites is in one way a constant plus functions of one site, of two, of three, and so
on, each of which averages to zero over any of its sites under a reference distribution q of independent
sites. The term of two sites is what is returned here,

.. math:: J_{ij}(a, b) = \langle \log p \rangle_{ab} - \langle \log p \rangle_{a \cdot}
    - \langle \log p \rangle_{\cdot b} + \langle \log p \rangle_{\cdot\cdot}, \qquad
    \langle \log p \rangle_{ab} = \mathbb{E}_{x \sim q}[\log p(x) \mid x_i = a, x_j = b],

by default for a uniform q: then J is in the zero-sum gauge, and of a machine without hidden units it is its
own couplings. A hidden unit adds :math:`\mathbb{E}_t\, A(c + W_{ia} + W_{jb} + t)`, where t is what the
other sites send. Its first two cumulants are sums over sites; the mean over a normal t of these cumulants
is taken by quadrature, which is exact for two sites and for Gaussian hidden units, and else as good as the
central limit theorem: with many sites of small weight.

References:
    | Inferring effective couplings with restricted Boltzmann machines
    | (Decelle, Furtlehner, Navas Gomez & Seoane, 2024)
    | Learning protein constitutive motifs from sequence data (Tubiana, Cocco & Monasson, 2019)
"""

from __future__ import annotations

__all__ = ["effective_couplings"]

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, invalid
from ..units import Categorical, Mixed, Unit, as_rows
from ._pairwise import PairwiseModel

_NODES = 16
_ELEMENTS = 1 << 21


@torch.no_grad()
def effective_couplings(model: PairwiseModel, frequencies: Any = None) -> Tensor:
    """Return the couplings of two visible sites, hidden units summed out, in float64.

    Arguments:
        model: One with Categorical visible units and at most one layer of hidden units, which must not be
            coupled among each other nor be categorical.
        frequencies: Those of the states at each site under the reference distribution, shape (sites, states);
            uniform by default, for the zero-sum gauge.

    Returns:
        Shape (sites, states, sites, states), symmetric, zero for a site with itself.

    Raises:
        ArgumentError: The model has other layers.
        DataError: The frequencies have another shape, or do not sum to one at each site.
    """
    visible, hidden = _layers(model)
    sites, states = visible.size, visible.states
    reference = _reference(frequencies, sites, states)
    total = torch.zeros(sites, states, sites, states, dtype=torch.float64)
    lateral = model.lateral("visible")
    if lateral is not None:
        total += lateral.detach().cpu().double().view(sites, states, sites, states)
    if hidden is not None:
        total += _through(model, hidden, reference)
    total -= torch.einsum("iajb,ia->ijb", total, reference)[:, None]
    total -= torch.einsum("iajb,jb->iaj", total, reference)[..., None]
    own = torch.arange(sites)
    total[own, :, own] = 0
    return total


def _layers(model: Any) -> tuple[Categorical, Unit | None]:
    """Return the visible layer and the hidden one of a model whose couplings can be told."""
    if not isinstance(model, PairwiseModel) or not isinstance(model.visible, Categorical):
        got = getattr(getattr(model, "visible", None), "kind", type(model).__name__)
        raise ArgumentError(f"model: got {got} visible units, expected a model with categorical ones")
    above = [model.layer(block) for block in model.blocks()[1:]]
    if len(above) > 1 or any(model.lateral(block) is not None for block in model.blocks()[1:]):
        raise ArgumentError("model: expected at most one hidden layer, not coupled within")
    if above and isinstance(above[0], Categorical | Mixed):
        raise invalid("model", above[0].kind, "hidden units of one number each, such as bernoulli")
    return model.visible, above[0] if above else None


def _reference(frequencies: Any, sites: int, states: int) -> Tensor:
    if frequencies is None:
        return torch.full((sites, states), 1 / states, dtype=torch.float64)
    values = as_rows("frequencies", frequencies).detach().cpu().double()
    if values.shape != (sites, states):
        raise DataError(f"frequencies: got shape {tuple(values.shape)}, expected ({sites}, {states})")
    if not bool((values >= 0).all()) or not bool(((values.sum(1) - 1).abs() < 1e-4).all()):
        raise DataError("frequencies: expected numbers from 0 on that sum to one at each site")
    return values / values.sum(1, keepdim=True)


def _through(model: PairwiseModel, hidden: Unit, reference: Tensor) -> Tensor:
    """Return the mean log-partition function of the hidden layer for each two states, up to its gauge."""
    sites, states = reference.shape
    coupling = next(c for c in model.couplings() if c.lower != c.upper)
    weight = model.matrix(coupling).detach()
    weight = (weight if coupling.lower == "visible" else weight.T).view(sites, states, -1)
    mean = torch.einsum("ia,iah->ih", reference.to(weight), weight)
    centred = weight - mean[:, None]
    variance = torch.einsum("ia,iah->ih", reference.to(weight), centred.square())
    field = hidden.bias.detach() + mean.sum(0)
    total = torch.zeros(sites, states, sites, states, dtype=torch.float64)
    step = max(1, _ELEMENTS // (states * states * weight.shape[2]))
    for i in range(sites):
        for others in torch.arange(i + 1, sites).split(step):
            rest = (variance.sum(0) - variance[i] - variance[others]).clamp_(min=0).sqrt()
            inputs = field + centred[i][None, :, None] + centred[others][:, None]
            block = _averaged(hidden, inputs, rest[:, None, None]).cpu()
            total[i, :, others] = block.transpose(0, 1)
            total[others, :, i] = block.transpose(1, 2)
    return total


def _averaged(hidden: Unit, inputs: Tensor, deviation: Tensor) -> Tensor:
    """Return the mean of the log-partition function under normal noise of a deviation on its inputs."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(_NODES)
    parts = (
        share * hidden.log_partition(inputs + node * deviation)
        for node, share in zip(nodes.tolist(), (shares / shares.sum()).tolist(), strict=True)
    )
    return torch.stack(list(parts)).sum(0)
