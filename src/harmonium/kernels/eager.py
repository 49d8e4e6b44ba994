"""The kernels in plain torch: the reference, and the path of every device but the CPU.

Same functions, same arguments and same random bits as :mod:`harmonium.kernels.cpu`. A sample differs
from the fused kernel's only where a uniform number and a probability agree to rounding.
"""

from __future__ import annotations

__all__ = [
    "anneal_binary",
    "binarise",
    "flips",
    "sample_bernoulli",
    "sample_categorical",
    "sample_gaussian",
    "sample_relu",
    "sample_spin",
    "sweep",
]

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from . import truncated
from ._tiles import tiles
from .philox import Draw, bits, normal, uniform


def sample_bernoulli(
    field: Tensor, draw: Draw, sample: Tensor | None = None, mean: Tensor | None = None
) -> None:
    """See :func:`harmonium.kernels.cpu.sample_bernoulli`."""
    probability = torch.sigmoid(field)
    if mean is not None:
        mean.copy_(probability)
    if sample is not None:
        sample.copy_(_uniform(draw, field) < probability)


def sample_spin(field: Tensor, draw: Draw, sample: Tensor | None = None, mean: Tensor | None = None) -> None:
    """See :func:`harmonium.kernels.cpu.sample_spin`."""
    if mean is not None:
        mean.copy_(torch.tanh(field))
    if sample is not None:
        sample.copy_(_uniform(draw, field) < torch.sigmoid(2 * field)).mul_(2).sub_(1)


def sample_categorical(
    field: Tensor,
    draw: Draw,
    states: int,
    sample: Tensor | None = None,
    mean: Tensor | None = None,
) -> None:
    """See :func:`harmonium.kernels.cpu.sample_categorical`."""
    blocks = field.unflatten(-1, (-1, states))
    probability = torch.softmax(blocks, -1)
    if mean is not None:
        mean.copy_(probability.flatten(-2))
    if sample is not None:
        u = uniform(bits(draw, len(field), blocks.shape[-2], field.device), field.dtype)
        sample.copy_(_pick(probability, u[..., None]).flatten(-2))


def sample_gaussian(field: Tensor, draw: Draw, precision: Tensor, sample: Tensor) -> None:
    """See :func:`harmonium.kernels.cpu.sample_gaussian`."""
    noise = normal(bits(draw, len(field), field.shape[1], field.device), field.dtype)
    sample.copy_(field / precision + noise / precision.sqrt())


def sample_relu(
    field: Tensor,
    draw: Draw,
    precision: float,
    sample: Tensor | None = None,
    mean: Tensor | None = None,
) -> None:
    """See :func:`harmonium.kernels.cpu.sample_relu`."""
    root = math.sqrt(precision)
    z = field.double() / root
    if mean is not None:
        mean.copy_(truncated.mean(z) / root)
    if sample is not None:
        u = uniform(bits(draw, len(field), field.shape[1], field.device), torch.float64)
        sample.copy_(truncated.quantile(z, u) / root)


def anneal_binary(
    field: Tensor,
    draw: Draw,
    spin: bool,
    betas: tuple[float, float],
    log_weight: Tensor,
    sample: Tensor,
) -> None:
    """See :func:`harmonium.kernels.cpu.anneal_binary`."""
    x = field.double()
    old, new = (_log_normaliser(beta * x, spin) for beta in betas)
    log_weight += (new - old).sum(-1)
    draw_units = sample_spin if spin else sample_bernoulli
    draw_units(betas[1] * field, draw, sample)


def binarise(grey: Tensor, index: Tensor, draw: Draw, levels: float, sample: Tensor) -> None:
    """See :func:`harmonium.kernels.cpu.binarise`."""
    u = uniform(bits(draw, index.to(sample.device), grey.shape[1]))
    sample.copy_(u * levels < grey[index.to(grey.device)].to(sample.device))


def sweep(
    field: Tensor,
    x: Tensor,
    lateral: Tensor,
    draw: Draw,
    kind: str,
    *,
    states: int = 1,
    scale: Tensor | None = None,
    held: Tensor | None = None,
    reverse: bool = False,
) -> None:
    """See :func:`harmonium.kernels.sweep`."""
    units = field.shape[1] // states
    factor = 1.0 if scale is None else scale[:, None]
    u = uniform(bits(draw, len(field), units, field.device), field.dtype)
    for i in reversed(range(units)) if reverse else range(units):
        columns = slice(i * states, (i + 1) * states)
        old, new = x[:, columns], _one_unit(field[:, columns], u[:, i, None], kind)
        if held is not None:
            new = torch.where(held[:, i, None], old, new)
        lines = lateral[columns]
        if kind == "categorical":
            field += factor * (lines[new.argmax(1)] - lines[old.argmax(1)])
        else:
            field += (new - old) * factor * lines
        x[:, columns] = new


def _one_unit(field: Tensor, u: Tensor, kind: str) -> Tensor:
    """Return the states of one unit of each row, in fields of shape (rows, columns), u of shape (rows, 1)."""
    if kind == "categorical":
        return _pick(torch.softmax(field, 1), u).to(field)
    if kind == "spin":
        return (u < torch.sigmoid(2 * field)).to(field).mul_(2).sub_(1)
    return (u < torch.sigmoid(field)).to(field)


def flips(
    field: Tensor, weight: Tensor, up: Tensor, step: float, spin: bool
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """See :func:`harmonium.kernels.flips`."""
    before, change = _log_normaliser(field, spin), torch.where(up, step, -step).to(field)
    out = torch.empty_like(change)
    for rows, sites in tiles(*up.shape, depth=field.shape[1]):
        after = field[rows, None] + change[rows, sites, None] * weight[sites]
        out[rows, sites] = (_log_normaliser(after, spin) - before[rows, None]).sum(-1)
    return out, partial(_gradient_of_flips, field, weight, change, spin)


@torch.no_grad()
def _gradient_of_flips(
    field: Tensor, weight: Tensor, change: Tensor, spin: bool, slopes: Tensor
) -> tuple[Tensor, Tensor]:
    mean = torch.tanh if spin else torch.sigmoid
    before, signed = mean(field), slopes * change
    by_field, by_weight = torch.zeros_like(field), torch.zeros_like(weight)
    for rows, sites in tiles(*change.shape, depth=field.shape[1]):
        after = mean(field[rows, None] + change[rows, sites, None] * weight[sites])
        by_weight[sites] += torch.einsum("rs,rsh->sh", signed[rows, sites], after)
        by_field[rows] += torch.einsum("rs,rsh->rh", slopes[rows, sites], after - before[rows, None])
    return by_field, by_weight


def _pick(probability: Tensor, u: Tensor) -> Tensor:
    """Return one-hot states by inversion of the cumulative sum, at u of shape (*, 1)."""
    below = probability.cumsum(-1)[..., :-1]
    return one_hot((below <= u).sum(-1), probability.shape[-1])


def _uniform(draw: Draw, field: Tensor) -> Tensor:
    return uniform(bits(draw, len(field), field.shape[1], field.device), field.dtype)


def _log_normaliser(field: Tensor, spin: bool) -> Tensor:
    return softplus(2 * field, threshold=40) - field if spin else softplus(field, threshold=40)
