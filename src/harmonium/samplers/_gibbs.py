r"""Block Gibbs sampling: each block in turn from its conditional distribution.

Since a block's units are independent given the others, one matrix product and one fused pass draw all
of them. The chain leaves :math:`p(x) \propto e^{-\beta E(x)}` as it is, and with clamped units the
conditional distribution of the free ones.

References:
    | Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images
    | (Geman & Geman, 1984)
"""

from __future__ import annotations

__all__ = ["Gibbs"]

import torch
from torch import Tensor

from ..models import EnergyModel, State
from ..random import Stream
from ._sampler import Info, Sampler

_CLAMP = "clamp"
_BETA = "beta"


class Gibbs(Sampler):
    """Creates a block Gibbs sampler.

    Its info holds, where asked for, the expected statistics of the block drawn last, given the others:
    a better estimate of that block's means than the draw itself.

    Arguments:
        means: Whether to report them, as ``mean``.
    """

    def __init__(self, *, means: bool = False) -> None:
        self.means = means

    @torch.no_grad()
    def init(
        self,
        model: EnergyModel,
        n: int,
        stream: Stream,
        start: State | None = None,
        clamp: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> State:
        state = dict(start or {})
        if clamp is not None:
            state[_CLAMP] = clamp
        if beta is not None:
            state[_BETA] = beta
        first, *rest = model.blocks()
        if not any(block in state for block in model.blocks()):
            unit = model.layer(first)
            state[first] = unit.sample_(unit.noise_field(n), stream)
        _hold(state)
        for block in [*rest, first]:
            if block not in state:
                _draw(model, block, state, stream)
        return state

    @torch.no_grad()
    def step(self, model: EnergyModel, state: State, stream: Stream) -> tuple[State, Info]:
        state = dict(state)
        *rest, last = model.blocks()
        for block in rest:
            _draw(model, block, state, stream)
        mean = torch.empty_like(state[last]) if self.means else None
        _draw(model, last, state, stream, mean)
        return state, {} if mean is None else {"mean": mean}


def _draw(model: EnergyModel, block: str, state: State, stream: Stream, mean: Tensor | None = None) -> None:
    beta = state.get(_BETA)
    field = model.field(block, state, beta)
    state[block] = model.layer(block).sample_(field, stream, mean, beta)
    if block == model.blocks()[0]:
        _hold(state)


def _hold(state: State) -> None:
    """Put clamped visible units back to their values."""
    if _CLAMP in state and "visible" in state:
        clamp = state[_CLAMP]
        state["visible"] = torch.where(clamp.isnan(), state["visible"], clamp)
