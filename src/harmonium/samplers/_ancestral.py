r"""Sampling a deep belief network: Gibbs steps in the top RBM, then one pass down.

The top RBM's chain is all that has to mix. A clamped label is a clamped unit of it. Clamped visible units
lie at the other end of the network, where the layers above are not independent given them; then the chain
runs over all layers, by Metropolis-Hastings steps that the recognition network q proposes,

.. math:: \min\left(1, \frac{p(v, h')\, q(h \mid v)}{p(v, h)\, q(h' \mid v)}\right),

and the free visible units are drawn given the layer above.

References:
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
"""

from __future__ import annotations

__all__ = ["Ancestral", "Completion", "ascend", "descend"]

import torch
from torch import Tensor

from ..models import DBN, State
from ..random import Stream
from ._gibbs import CLAMP, Gibbs
from ._sampler import Info, Sampler
from ._tempering import Tempering

_LAYER = "layer "
_LABEL = "label"


class Ancestral:
    """Creates the sampler of a deep belief network of two layers or more, whose visible units are free.

    Arguments:
        chain: The sampler of the top RBM; Gibbs sampling if not given.
    """

    def __init__(self, chain: Sampler | None = None) -> None:
        self.chain = Gibbs() if chain is None else chain

    @torch.no_grad()
    def init(
        self,
        model: DBN,
        n: int,
        stream: Stream,
        start: Tensor | None = None,
        clamp: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> State:
        """Return the state of ``n`` chains in the top RBM.

        Arguments:
            model: The network.
            n: The number of chains.
            stream: Where the random bits come from.
            start: Visible statistics that the chains start from, shape (n, width); noise if not given.
            clamp: The label's statistics, shape (n, classes), NaN where it is free.
            beta: The chains' inverse temperatures in the top RBM, shape (n).
        """
        first: State | None = None
        if start is not None:
            v, label = model.split(start)
            x = ascend(model, v, stream)[-1]
            if model.classes is not None:
                x = torch.cat((x, _draw_label(model, x, stream) if label is None else label), 1)
            first = {"visible": x}
        held = None
        if clamp is not None:
            free = clamp.new_full((n, model.top.visible.width - clamp.shape[1]), torch.nan)
            held = torch.cat((free, clamp), 1)
        return self.chain.init(model.top, n, stream, first, held, beta)

    def step(self, model: DBN, state: State, stream: Stream) -> tuple[State, Info]:
        """Take one Gibbs step in the top RBM."""
        return self.chain.step(model.top, state, stream)

    def rows(self, model: DBN, state: State, stream: Stream, *, means: bool = False) -> Tensor:
        """Return the rows, or their means, that one pass down from the top RBM's state gives."""
        if isinstance(self.chain, Tempering):
            state = self.chain.chains(model.top, state)
        x = state["visible"]
        label = None if model.classes is None else x[:, -model.classes :]
        x = x if model.classes is None else x[:, : -model.classes]
        return _join(model, descend(model, x, stream, means=means), label, means)


class Completion:
    """Creates the sampler of a deep belief network of two layers or more, some visible units clamped."""

    @torch.no_grad()
    def init(self, model: DBN, n: int, stream: Stream, start: Tensor | None, clamp: Tensor) -> State:
        """Return the state of ``n`` chains over all layers.

        Arguments:
            model: The network.
            n: The number of chains.
            stream: Where the random bits come from.
            start: Rows' statistics that the chains start from, shape (n, width); noise if not given.
            clamp: Such statistics with NaN where a unit is free.
        """
        below = model.rbms[0].visible
        held, held_label = model.split(clamp)
        if start is None:
            x = below.sample_(below.noise_field(n)[:, : held.shape[1]].contiguous(), stream)
        else:
            x, _ = model.split(start)
        path = ascend(model, torch.where(held.isnan(), x, held), stream)
        state = {f"{_LAYER}{number}": x for number, x in enumerate(path)} | {CLAMP + "visible": held}
        if held_label is not None:
            label = _draw_label(model, path[-1], stream)
            state[CLAMP + _LABEL] = held_label
            state[_LABEL] = torch.where(held_label.isnan(), label, held_label)
        return state

    @torch.no_grad()
    def step(self, model: DBN, state: State, stream: Stream) -> tuple[State, Info]:
        """Draw the free visible units, propose all layers above, and draw the label; report acceptance."""
        state = dict(state)
        held, label = state[CLAMP + "visible"], state.get(_LABEL)
        path = [state[f"{_LAYER}{number}"] for number in range(model.depth)]
        drawn = model.rbms[0].visible.sample_(model.generate(0, path[1]), stream)
        path[0] = torch.where(held.isnan(), drawn, held)
        proposed = ascend(model, path[0], stream)
        gain = _log_weight(model, proposed, label) - _log_weight(model, path, label)
        uniform = stream.uniform(len(gain), 1, device=gain.device)[:, 0]
        accepted = uniform.log() < gain
        for number, (old, new) in enumerate(zip(path, proposed, strict=True)):
            state[f"{_LAYER}{number}"] = torch.where(accepted[:, None], new, old)
        if label is not None:
            fresh = _draw_label(model, state[f"{_LAYER}{model.depth - 1}"], stream)
            held = state[CLAMP + _LABEL]
            state[_LABEL] = torch.where(held.isnan(), fresh, held)
        return state, {"acceptance": accepted.double().mean()}

    def rows(self, model: DBN, state: State, stream: Stream, *, means: bool = False) -> Tensor:
        """Return the rows of the chains, or their means given the layer above."""
        held = state[CLAMP + "visible"]
        unit = model.rbms[0].visible
        if not means:
            return _join(model, unit.values(state[f"{_LAYER}0"]), state.get(_LABEL), means)
        mean = unit.mean(model.generate(0, state[f"{_LAYER}1"]))
        return _join(model, torch.where(held.isnan(), mean, held), state.get(_LABEL), means)


@torch.no_grad()
def ascend(model: DBN, v: Tensor, stream: Stream) -> list[Tensor]:
    """Draw the layers but the highest by the recognition network, from visible statistics up."""
    path = [v]
    for layer in range(model.depth - 1):
        path.append(model.rbms[layer].hidden.sample_(model.recognise(layer, path[-1]), stream))
    return path


@torch.no_grad()
def descend(model: DBN, x: Tensor, stream: Stream, *, means: bool = False) -> Tensor:
    """Draw the visible values, or return their means, given the last layer but one."""
    for layer in reversed(range(1, model.depth - 1)):
        x = model.rbms[layer].visible.sample_(model.generate(layer, x), stream)
    unit, field = model.rbms[0].visible, model.generate(0, x)
    return unit.mean(field) if means else unit.values(unit.sample_(field, stream))


def _log_weight(model: DBN, path: list[Tensor], label: Tensor | None) -> Tensor:
    return model.log_joint(path, label) - model.log_recognition(path)


def _draw_label(model: DBN, x: Tensor, stream: Stream) -> Tensor:
    """Draw labels from their exact distribution given the last layer but one, shape (rows, classes)."""
    assert model.classes is not None
    codes = torch.eye(model.classes, dtype=x.dtype, device=x.device)
    log_p = torch.stack([model.log_top(x, code.expand(len(x), -1)) for code in codes], 1)
    below = log_p.softmax(1).cumsum(1)
    uniform = stream.uniform(len(x), 1, device=x.device)
    return codes[(uniform > below[:, :-1]).sum(1)]


def _join(model: DBN, values: Tensor, label: Tensor | None, means: bool) -> Tensor:
    """Return rows of values with the label's code, or of means with its statistics."""
    if label is None:
        return values
    return torch.cat((values, label if means else label.argmax(1, keepdim=True).to(values)), 1)
