r"""Parallel tempering: replicas of each chain on a path from independent units to the model.

.. math:: \log f_\beta(x) = -(1 - \beta)\, E_0(x) - \beta\, E(x), \qquad
    E_0(x) = \sum_a e_a(x_a) - b_0^\top s(x_\mathrm{visible})

At :math:`\beta = 1` this is the model, at :math:`\beta = 0` independent units with the data's base rates,
each step of which is an independent draw. After each Gibbs step neighbours on the ladder of betas are
exchanged with probability

.. math:: \min\{1, \exp((\beta_i - \beta_j)(S(x_j) - S(x_i)))\}, \qquad S = E_0 - E,

even and odd pairs in turn, so that what is drawn at the bottom can climb to the model and bring other modes
along. The energies are those of the joint state, since it is the joint distribution that is tempered: the
free energy would be right for a tempered marginal, which is another distribution.

The path :math:`e^{-\beta E}` would begin at uniform states, which are further from data than base rates are,
and so needs more replicas; and without an end where Gaussian units are normalisable. A pair's rejection rates
add up along the ladder to a barrier, and rates are equal where the betas cut it in equal parts.

References:
    | Replica Monte Carlo simulation of spin glasses (Swendsen & Wang, 1986)
    | Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines
    | (Desjardins, Courville, Bengio, Vincent & Delalleau, 2010)
    | Parallel tempering is efficient for learning restricted Boltzmann machines (Cho, Raiko & Ilin, 2010)
    | Non-reversible parallel tempering: a scalable highly parallel MCMC scheme
    | (Syed, Bouchard-Cote, Deligiannidis & Doucet, 2022)
    | https://arxiv.org/abs/1905.02939
"""

from __future__ import annotations

__all__ = ["Tempering"]

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..errors import invalid
from ..models import EnergyModel, State
from ..random import Stream
from ._base_rates import base_biases
from ._blocks import draw_block
from ._gibbs import CLAMP, hold
from ._sampler import Info, Sampler

_LEAST_REJECTION = 1e-3
_UP, _DOWN = 1, -1


class Tempering(Sampler):
    """Creates a sampler by parallel tempering.

    The state of n chains with R replicas each has n R rows, the replicas of a chain one below the other. A
    replica keeps its row, and its place on the ladder changes: ``rung`` (0 is the model) and ``beta`` say
    where it is, ``direction`` which end it has been to last, and ``trips`` how often it went from the top
    to the bottom and back. ``swaps`` counts the rounds of exchanges since the ladder last moved, and
    ``acceptance`` adds up their probabilities, shape (n, R - 1). Clamps are those of each chain.

    The info holds ``swap_rates``, the mean probabilities of each pair since the ladder last moved, NaN where
    there was no round yet, and ``round_trips``, the trips of all replicas.

    Arguments:
        betas: The number of replicas, from 1 down to 0 in equal steps; or the inverse temperatures
            themselves, falling from exactly 1.

    Raises:
        ArgumentError: ``betas`` is neither.
    """

    def __init__(self, betas: int | Sequence[float] | Tensor = 10) -> None:
        if isinstance(betas, bool) or (isinstance(betas, int) and betas < 2):
            raise invalid("betas", betas, "at least 2 replicas")
        ladder = torch.linspace(1, 0, betas, dtype=torch.float64) if isinstance(betas, int) else betas
        self.betas = torch.as_tensor(ladder, dtype=torch.float64)
        falling = self.betas.ndim == 1 and len(self.betas) > 1 and bool((self.betas.diff() < 0).all())
        if not falling or self.betas[0] != 1 or self.betas[-1] < 0:
            raise invalid("betas", betas, "a falling row of numbers from exactly 1 to 0 or above")

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
        """Return the state of ``n`` chains, whose replicas all start alike where ``start`` says how.

        Arguments:
            model: The distribution.
            n: The number of chains.
            stream: Where the random bits come from.
            start: States of some blocks, ``n`` rows; the others are drawn given them.
            clamp: Visible statistics of shape (n, width), NaN where a unit is free; or such statistics
                of any blocks, by name.
            beta: The inverse temperatures of the chains' targets, shape (n): what the top of each ladder
                samples is then :math:`e^{-\\beta E}`.
        """
        replicas = len(self.betas)
        if isinstance(clamp, Tensor):
            clamp = model.observed(clamp)
        given = {**(start or {}), **{CLAMP + block: values for block, values in (clamp or {}).items()}}
        if beta is not None:
            given["target"] = beta
        state = {name: values.repeat_interleave(replicas, 0) for name, values in given.items()}
        device = model.device
        rung = torch.arange(replicas, device=device).repeat(n)
        state |= {
            "rung": rung,
            "beta": self.betas.to(device)[rung],
            "direction": torch.where(rung == 0, _DOWN, 0),
            "trips": torch.zeros_like(rung),
            "swaps": torch.zeros(n, dtype=torch.int64, device=device),
            "acceptance": torch.zeros(n, replicas - 1, dtype=torch.float64, device=device),
        }
        _fill(model, state, stream)
        return state

    @torch.no_grad()
    def step(self, model: EnergyModel, state: State, stream: Stream) -> tuple[State, Info]:
        state = dict(state)
        base = base_biases(model)
        field: Tensor | None = None
        for block in model.blocks():
            field = _draw(model, base, block, state, stream)
        state |= _swap(state, _rise(model, base, state, field), stream)
        return state, {"swap_rates": self.swap_rates(state), "round_trips": state["trips"].sum()}

    def chains(self, model: EnergyModel, state: State, rung: int = 0) -> State:
        """Return the chains' blocks at a rung of the ladder, shape (n, width): 0 is the model itself."""
        rows = (state["rung"] == rung).nonzero()[:, 0]
        return {block: state[block][rows] for block in model.blocks()}

    def ladder(self, state: State) -> Tensor:
        """Return the inverse temperatures from the model down, shape (replicas), float64."""
        replicas = state["acceptance"].shape[1] + 1
        return state["beta"][:replicas][state["rung"][:replicas].argsort()]

    def swap_rates(self, state: State) -> Tensor:
        """Return each pair's mean probability of an exchange since the ladder last moved, NaN for none."""
        total = state["acceptance"].sum(0)
        even = 1 - torch.arange(len(total), device=total.device) % 2
        return total / ((state["swaps"][:, None] + even) // 2).sum(0)

    def adapt(self, state: State) -> State:
        """Return the state with the inner betas moved so that all pairs would be exchanged equally often.

        The ends stay. Nothing moves before each pair had its turn; where it does, the counts begin anew.
        """
        rejection = 1 - self.swap_rates(state)
        if bool(rejection.isnan().any()):
            return state
        old = self.ladder(state)
        barrier = pad(rejection.clamp(min=_LEAST_REJECTION).cumsum(0), (1, 0)).cpu().numpy()
        parts = np.linspace(0, barrier[-1], len(old))
        new = torch.from_numpy(np.interp(parts, barrier, old.cpu().numpy())).to(old)
        new[0], new[-1] = old[0], old[-1]
        counts = {name: torch.zeros_like(state[name]) for name in ("swaps", "acceptance")}
        return {**state, **counts, "beta": new[state["rung"]]}


def _fill(model: EnergyModel, state: State, stream: Stream) -> None:
    """Draw the blocks that the state lacks, given the others; the first one, if need be, from the base."""
    base = base_biases(model)
    known = [block for block in model.blocks() if block in state]
    if not known:
        known = [model.blocks()[0]]
        bias = base[known[0]].repeat(len(state["rung"]), 1)
        state[known[0]] = model.layer(known[0]).sample_(bias, stream)
    for block in model.blocks():
        hold(block, state)
    for block in model.outward(known)[len(known) :]:
        _draw(model, base, block, state, stream)


def _draw(model: EnergyModel, base: State, block: str, state: State, stream: Stream) -> Tensor | None:
    """Draw a block, each row at its own place on the path; return its field at beta = 1, if it was needed."""
    clamp, beta, target = state.get(CLAMP + block), state["beta"], state.get("target")
    held = None if clamp is None else ~clamp.isnan()
    if held is not None and block in state and bool(held.all()):
        return None
    field = model.field(block, state)
    scale = beta.to(field)
    end, own = field, None
    if target is not None:
        end = field * target.to(field)[:, None]
        own = torch.lerp(torch.ones_like(scale), target.to(field), scale)
        scale = scale * target.to(field)
    tempered = torch.lerp(base[block], end, beta.to(field)[:, None])
    state[block] = draw_block(model, block, tempered, state, stream, beta=own, scale=scale, held=held)
    hold(block, state)
    return field


def _rise(model: EnergyModel, base: State, state: State, field: Tensor | None) -> Tensor:
    """Return S, the derivative of log f by beta, shape (rows), float64.

    Arguments:
        model: The model.
        base: The biases at beta = 0.
        state: The joint states.
        field: The field of the last block given the others, if it is known.
    """
    *rest, last = model.blocks()
    start = torch.zeros_like(state["beta"])
    for block in model.blocks():
        unit = model.layer(block)
        start += unit.energy(state[block]) + torch.mv(state[block], unit.bias - base[block])
    if field is None or not rest or model.lateral(last) is not None:
        energy = model.energy({block: state[block] for block in model.blocks()})
    else:
        inputs = (field - model.layer(last).bias).mul_(state[last]).sum(-1, dtype=torch.float64)
        energy = model.energy({block: state[block] for block in rest}) - inputs
        energy += model.layer(last).energy(state[last])
    return start - energy * state.get("target", 1.0)


def _swap(state: State, rise: Tensor, stream: Stream) -> State:
    """Exchange neighbours on the ladder, even or odd pairs, and return what of the state has changed."""
    n, pairs = state["acceptance"].shape
    place = state["rung"].view(n, pairs + 1).argsort(1)
    ladder, rise = (x.view(n, pairs + 1).gather(1, place) for x in (state["beta"], rise))
    log_ratio = (ladder[:, :-1] - ladder[:, 1:]) * (rise[:, 1:] - rise[:, :-1])
    chance = log_ratio.clamp(max=0).exp()
    u = stream.uniform(len(place.flatten()), 1, torch.float64, place.device).view(n, pairs + 1)[:, :-1]
    number = torch.arange(pairs + 1, device=place.device)
    due = (number[:-1] + state["swaps"][:, None]) % 2 == 0
    accepted = (due & (u < chance)).long()
    place = place.gather(1, number + pad(accepted, (0, 1)) - pad(accepted, (1, 0)))
    rung = torch.empty_like(place).scatter_(1, place, number.expand_as(place)).flatten()
    beta = torch.empty_like(ladder).scatter_(1, place, ladder).flatten()
    return {
        "rung": rung,
        "beta": beta,
        **_travel(rung, pairs, state),
        "swaps": state["swaps"] + 1,
        "acceptance": state["acceptance"] + chance * due,
    }


def _travel(rung: Tensor, bottom: int, state: State) -> State:
    """Turn replicas that have arrived at an end of the ladder, and count those back at the top."""
    direction = state["direction"]
    home = (rung == 0) & (direction == _UP)
    direction = torch.where((rung == bottom) & (direction == _DOWN), _UP, direction)
    direction = torch.where(rung == 0, _DOWN, direction)
    return {"direction": direction, "trips": state["trips"] + home}
