r"""Block Gibbs sampling: each block in turn from its conditional distribution.

Where a block's units are independent given the others, one matrix product and one fused pass draw all of
them; where they are coupled among each other, see :func:`draw_block`. The chain leaves :math:`p(x) \propto
e^{-\beta E(x)}` as it is, and with clamped units the conditional distribution of the free ones.

References:
    | Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images
    | (Geman & Geman, 1984)
"""

from __future__ import annotations

__all__ = ["CLAMP", "Gibbs", "hold"]

import torch
from torch import Tensor

from ..models import EnergyModel, State
from ..random import Stream
from ._blocks import draw_block
from ._sampler import Info, Sampler

CLAMP = "clamp."
_BETA = "beta"


class Gibbs(Sampler):
    """Creates a block Gibbs sampler.

    Its info holds, where asked for, the expected statistics of the block drawn last, given the others:
    a better estimate of that block's means than the draw itself. Units that are coupled among each other
    have none; of clamped ones they are their values.

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
        clamp: Tensor | State | None = None,
        beta: Tensor | None = None,
    ) -> State:
        state = dict(start or {})
        if isinstance(clamp, Tensor):
            clamp = model.observed(clamp)
        state |= {CLAMP + block: values for block, values in (clamp or {}).items()}
        if beta is not None:
            state[_BETA] = beta
        known = [block for block in model.blocks() if block in state]
        if not known:
            known = [model.blocks()[0]]
            unit = model.layer(known[0])
            state[known[0]] = unit.sample_(unit.noise_field(n), stream)
        for block in model.blocks():
            hold(block, state)
        for block in model.outward(known)[len(known) :]:
            _draw(model, block, state, stream)
        return state

    @torch.no_grad()
    def step(self, model: EnergyModel, state: State, stream: Stream) -> tuple[State, Info]:
        state = dict(state)
        *rest, last = model.blocks()
        for block in rest:
            _draw(model, block, state, stream)
        mean = torch.empty_like(state[last]) if self.means and model.lateral(last) is None else None
        _draw(model, last, state, stream, mean)
        if mean is None:
            return state, {}
        clamp = state.get(CLAMP + last)
        return state, {"mean": mean if clamp is None else torch.where(clamp.isnan(), mean, clamp)}


def _draw(model: EnergyModel, block: str, state: State, stream: Stream, mean: Tensor | None = None) -> None:
    clamp, beta = state.get(CLAMP + block), state.get(_BETA)
    held = None if clamp is None else ~clamp.isnan()
    if held is not None and block in state and mean is None and bool(held.all()):
        return
    field = model.field(block, state, beta)
    scale = 1.0 if beta is None else beta
    state[block] = draw_block(
        model, block, field, state, stream, mean=mean, beta=beta, scale=scale, held=held
    )
    hold(block, state)


def hold(block: str, state: State) -> None:
    """Put the clamped units of a block back to their values."""
    if CLAMP + block in state and block in state:
        clamp = state[CLAMP + block]
        state[block] = torch.where(clamp.isnan(), state[block], clamp)
