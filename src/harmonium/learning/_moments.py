r"""The gradient of the log-likelihood from moments, plain and centred.

For every energy model :math:`\partial (-\log p(v)) / \partial \theta = E_\mathrm{data}[\partial E /
\partial \theta] - E_\mathrm{model}[\partial E / \partial \theta]`. Rules of this kind differ only in the
states that stand for the model. Data and model rows go through one matrix product, with weights that
sum to -1 over the data and to +1 over the model.

Centring takes the gradient in the coordinates of a model whose statistics have offsets subtracted, and
brings the step back to the model's own parameters,

.. math:: \nabla_W &= G_W - \mu\, g_c^\top - g_b\, \lambda^\top \\
    \nabla_b &= g_b - \nabla_W \lambda, \qquad \nabla_c = g_c - \nabla_W^\top \mu

(a bias loses the sum over all the couplings of its layer; copies of a layer, which share a bias, have the
same offsets and a part each of its gradient), so that learning no longer depends on which value of a unit is
called zero. The offsets
:math:`\mu, \lambda` follow the average of data and model means (the enhanced gradient). Where a coupling
learns at a share of the rate, the biases make up for that share of :math:`\nabla_W`.

References:
    | Enhanced gradient for training restricted Boltzmann machines (Cho, Raiko & Ilin, 2013)
    | Deep Boltzmann machines and the centering trick (Montavon & Mueller, 2012)
    | How to center deep Boltzmann machines (Melchior, Fischer & Wiskott, 2016)
    | https://arxiv.org/abs/1311.1354
"""

from __future__ import annotations

__all__ = ["centre", "follow_offsets", "likelihood_gradient"]

from collections.abc import Mapping

import torch
from torch import Tensor

from ..models import PairwiseModel, State


def likelihood_gradient(model: PairwiseModel, data: State, sample: State, shares: Tensor) -> State:
    """Set each parameter's gradient of the mean negative log-likelihood, in place where there is one.

    Arguments:
        model: The model.
        data: States with the data in the visible block.
        sample: States that stand for the model.
        shares: The weights of both, data first, negative over the data, and together zero.

    Returns:
        The states of both, one below the other.
    """
    both = {name: torch.cat((data[name], sample[name])) for name in model.blocks()}
    parameters = dict(model.named_parameters())
    memory = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    for name, gradient in model.moments(both, shares, memory).items():
        parameters[name].grad = gradient
    return both


def follow_offsets(offsets: State, both: State, shares: Tensor, rate: float) -> State:
    """Move each block's offset towards the average of its data and model means."""
    half = 0.5 * shares.abs()
    return {name: torch.lerp(offset, half @ both[name], rate) for name, offset in offsets.items()}


def centre(model: PairwiseModel, offsets: State, rates: Mapping[str, float]) -> None:
    """Replace the model's gradients by the centred ones.

    Arguments:
        model: The model.
        offsets: The offset of each block.
        rates: By what the learning rates of couplings are multiplied, by name; 1 if left out.
    """
    copies: dict[str, list[str]] = {}
    for block in offsets:
        copies.setdefault(model.place(block), []).append(block)
    for blocks in copies.values():
        mean = torch.stack([offsets[block] for block in blocks]).mean(0)
        offsets = {**offsets, **dict.fromkeys(blocks, mean)}
    plain = {b: _gradient(model.layer(b).bias) / len(copies[model.place(b)]) for b in offsets}
    inputs = {block: torch.zeros_like(gradient) for block, gradient in plain.items()}
    for coupling in model.couplings():
        a, b, name = coupling
        weight = _gradient(model.get_parameter(name))
        left, right = torch.stack((offsets[a], plain[a]), 1), torch.stack((plain[b], offsets[b]))
        weight.addmm_(left, right, alpha=-1)
        mask = model.mask(coupling)
        if mask is not None:
            weight *= mask
    for a, b, name in model.couplings():
        weight, rate = _gradient(model.get_parameter(name)), rates.get(name, 1.0)
        inputs[a].addmv_(weight, offsets[b], alpha=rate)
        inputs[b].addmv_(weight.T, offsets[a], alpha=rate)
    for block, *_ in copies.values():
        gradient = _gradient(model.layer(block).bias)
        gradient -= inputs[block]


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
