r"""A ladder of models: past parameters, each with chains of its own, from independent units upwards.

Chains hold visible states alone; hidden units are drawn anew in each step, so that the marginal
:math:`p_t(v) \propto e^{-F_t(v)}` is what a rung leaves as it is. With

.. math:: d(v) = F_t(v) - F_{t+1}(v),

the log-ratio of two rungs' unnormalised densities, states v of rung t and w of rung t + 1 are exchanged with
probability :math:`\min\{1, \exp(d(v) - d(w))\}`. The same differences tell the ratio of the partition
functions. For any shift C

.. math:: \frac{Z_{t+1}}{Z_t} = e^C\,
    \frac{E_t[\sigma(d(v) - C)]}{E_{t+1}[\sigma(C - d(w))]},

of least variance where C is the log-ratio itself (Bennett's acceptance ratio). As the rungs do not change,
both means go on being gathered; and from independent units, whose partition function is known, the ratios add
up to that of the model. Column i of all rungs is a parallel tempering of its own, independent of the other
columns, so that the spread of the columns tells the error, whatever the correlations along each; but not what
all of them share, such as a lag behind parameters that move.

References:
    | Efficient estimation of free energy differences from Monte Carlo data (Bennett, 1976)
    | Fast training and sampling of restricted Boltzmann machines
    | (Bereux, Decelle, Furtlehner, Rosset & Seoane, 2025)
    | https://arxiv.org/abs/2405.15376
"""

from __future__ import annotations

__all__ = [
    "Contrast",
    "append",
    "base",
    "build",
    "climb",
    "compare",
    "exchange",
    "predict",
    "refine",
    "rung",
    "sweep",
    "total",
    "trade",
]

import copy
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ..models import PairwiseModel, State
from ..random import Stream
from ..samplers import base_biases, draw_block

_Module = TypeVar("_Module", bound=nn.Module)

_PARAMETER = "parameter."
_ITERATIONS = 3
_LEAST_SHARE = 1 / 256
_BISECTIONS = 12
_START_STEPS = 10
_START_ROUNDS = 20


class Contrast(NamedTuple):
    """What two neighbours say of each other's states; the lower rung's in the first row, shapes (2, n)."""

    lower: Tensor
    """Free energies under the lower rung."""
    upper: Tensor
    """Free energies under the upper one."""
    fields: State
    """Fields of the hidden blocks under the upper one, shape (2 n, width)."""

    @property
    def rise(self) -> Tensor:
        """The log-ratio d of the densities, upper over lower."""
        return self.lower - self.upper

    @property
    def chance(self) -> Tensor:
        """The probabilities that the states of both are exchanged, shape (n)."""
        d = self.rise
        return (d[0] - d[1]).clamp(max=0).exp()

    def shares(self, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two terms of Bennett's ratio, shapes (n)."""
        d = self.rise
        return torch.sigmoid(d[0] - shift), torch.sigmoid(shift - d[1])


def rung(model: PairwiseModel, ladder: State, number: int) -> PairwiseModel:
    """Return the model of a rung, on the ladder's own memory."""
    return _with(model, {name: ladder[_PARAMETER + name][number] for name, _ in model.named_parameters()})


def _with(model: PairwiseModel, parameters: State) -> PairwiseModel:
    """Return a model like this one with other parameters, of which nothing is copied."""
    twin = _twin(model)
    for path, value in parameters.items():
        owner, _, name = path.rpartition(".")
        twin.get_submodule(owner)._parameters[name] = nn.Parameter(value, requires_grad=False)
    return twin


def _twin(module: _Module) -> _Module:
    """Return a module whose parameters and modules can be replaced without a change of the other's."""
    twin = copy.copy(module)
    twin._parameters = dict(module._parameters)
    twin._modules = {name: child and _twin(child) for name, child in module._modules.items()}
    return twin


def base(model: PairwiseModel, n: int, stream: Stream) -> State:
    """Return a ladder of one rung: independent units with the data's base rates, and ``n`` draws of them."""
    biases = {f"{block}.bias": bias for block, bias in base_biases(model).items()}
    couplings = {coupling.name for coupling in model.couplings()}
    lowest = {
        name: torch.zeros_like(p) if name in couplings else biases.get(name, p.detach().clone())
        for name, p in model.named_parameters()
    }
    independent = _with(model, lowest)
    layers = {block: independent.layer(block) for block in independent.blocks()}
    visible = layers["visible"].sample_(layers["visible"].bias.repeat(n, 1), stream)
    wide: dict[str, Any] = {"dtype": torch.float64, "device": model.device}
    return {
        **{_PARAMETER + name: parameter[None] for name, parameter in lowest.items()},
        "visible": visible[None],
        "log_base": torch.stack([layer.log_partition(layer.bias) for layer in layers.values()]).sum(),
        "turn": torch.zeros((), dtype=torch.int64, device=model.device),
        "shift": torch.zeros(0, **wide),
        "ahead": torch.zeros(0, n, **wide),
        "back": torch.zeros(0, n, **wide),
        "chance": torch.zeros(0, **wide),
        "visits": torch.zeros(0, dtype=torch.int64, device=model.device),
    }


def append(model: PairwiseModel, ladder: State, chain: Tensor, contrast: Contrast, shift: Tensor) -> None:
    """Put a model on top of the ladder, with copies of its chains.

    Arguments:
        model: The model.
        ladder: The ladder, to which it is added.
        chain: The model's chains, shape (n, width).
        contrast: Between the rung that was the last and the model.
        shift: The log-ratio of their partition functions, as far as it is known.
    """
    ahead, back = contrast.shares(shift)
    new = {_PARAMETER + name: p.detach() for name, p in model.named_parameters()}
    new |= {"visible": chain, "shift": shift, "ahead": ahead, "back": back}
    new |= {"chance": contrast.chance.mean(), "visits": torch.ones_like(ladder["turn"])}
    for name, value in new.items():
        ladder[name] = torch.cat((ladder[name], value[None]))


def sweep(
    model: PairwiseModel, v: Tensor, stream: Stream, steps: int = 1, fields: State | None = None
) -> Tensor:
    """Return visible states after some Gibbs steps, each of the hidden units first.

    Arguments:
        model: The model.
        v: The visible states, shape (n, width).
        stream: Where the random bits come from.
        steps: How many steps.
        fields: Fields of the hidden blocks given ``v``, if they are known; are overwritten.
    """
    for _ in range(steps):
        state = {"visible": v}
        for block in model.blocks()[1:]:
            field = model.field(block, {"visible": v}) if fields is None else fields[block]
            state[block] = model.layer(block).sample_(field, stream)
        v, fields = draw_block(model, "visible", model.field("visible", state), state, stream), None
    return v


class Seen(NamedTuple):
    """What a model says of visible states."""

    free: Tensor
    """Their free energies, shape (n)."""
    fields: State
    """Fields of the hidden blocks given them, shapes (n, width)."""

    def half(self, number: int) -> Seen:
        """Return what was said of the first (0) or the second (1) half of the states."""
        fields = {block: field.chunk(2)[number] for block, field in self.fields.items()}
        return Seen(self.free.chunk(2)[number], fields)

    def join(self, other: Seen) -> Seen:
        """Return what was said of these states and of others."""
        fields = {block: torch.cat((field, other.fields[block])) for block, field in self.fields.items()}
        return Seen(torch.cat((self.free, other.free)), fields)

    def where(self, chosen: Tensor, other: Seen) -> Seen:
        """Return this where it is chosen, the other elsewhere."""
        fields = {b: torch.where(chosen[:, None], x, other.fields[b]) for b, x in self.fields.items()}
        return Seen(torch.where(chosen, self.free, other.free), fields)


def see(model: PairwiseModel, v: Tensor) -> Seen:
    """Return what a model says of visible states, shape (n, width)."""
    fields = {block: model.field(block, {"visible": v}) for block in model.blocks()[1:]}
    free = model.energy({"visible": v})
    for block, field in fields.items():
        free = free - model.layer(block).log_partition(field)
    return Seen(free, fields)


def compare(lower: PairwiseModel, upper: PairwiseModel, v: Tensor, w: Tensor) -> Contrast:
    """Return what two models say of states v of the lower and w of the upper one, shapes (n, width)."""
    both = torch.cat((v, w))
    above = see(upper, both)
    return Contrast(see(lower, both).free.view(2, -1), above.free.view(2, -1), above.fields)


def predict(v: Tensor, w: Tensor, change: Tensor) -> Tensor:
    r"""Return the mean probability of an exchange once the upper model has changed, over all pairs of states.

    The upper states are those of the old model; they count with weights in proportion to the ratio of the
    new density to the old one. (Without weights they would look like the lower rung's, however far the model
    went, and half of the exchanges would always be accepted.)

    Arguments:
        v: The log-ratio d of the new model's density to the lower rung's, at states of that, shape (n).
        w: The same at states of the old model, shape (n).
        change: The log-ratio of the new model's density to the old one's, at the latter, shape (n).
    """
    chance = (v[:, None] - w).clamp(max=0).exp()
    return chance.mean(0) @ torch.softmax(change, 0)


def exchange(contrast: Contrast, stream: Stream) -> Tensor:
    """Draw which pairs of states are exchanged, shape (n), boolean."""
    chance = contrast.chance
    return stream.uniform(len(chance), 1, torch.float64, chance.device)[:, 0] < chance


def climb(model: PairwiseModel, ladder: State, stream: Stream, moves: int, steps: int) -> None:
    """Let some rungs move, each at its turn from the bottom up, and first exchange each with the one above.

    The ladder changes in place. What rungs say of the states is computed once for exchanges and steps.

    Arguments:
        model: A model of the ladder's kind.
        ladder: The ladder.
        stream: Where the random bits come from.
        moves: How many rungs; if there are fewer, all of them once.
        steps: Gibbs steps of each.
    """
    chains = ladder["visible"]
    rungs = len(chains)
    lower: PairwiseModel | None = None
    seen: Seen | None = None
    for _ in range(min(moves, rungs)):
        turn = int(ladder["turn"]) % rungs
        ladder["turn"] = ladder["turn"] + 1
        if lower is None or turn == 0:
            lower, seen = rung(model, ladder, turn), None
        upper, fields, above = None, None, None
        if turn + 1 < rungs:
            upper = rung(model, ladder, turn + 1)
            fields, above = _exchange_above(lower, upper, ladder, turn, seen, stream)
        chains[turn] = sweep(lower, chains[turn], stream, steps, fields)
        lower, seen = upper, above


def _exchange_above(
    lower: PairwiseModel, upper: PairwiseModel, ladder: State, turn: int, seen: Seen | None, stream: Stream
) -> tuple[State, Seen]:
    """Exchange a rung with the one above it; return the fields of its states, and what that says of its own.

    Arguments:
        lower: The rung.
        upper: The one above it.
        ladder: The ladder, which changes in place.
        turn: The number of the rung.
        seen: What the rung says of its states, if that is known.
        stream: Where the random bits come from.
    """
    v, w = ladder["visible"][turn], ladder["visible"][turn + 1]
    both = torch.cat((v, w))
    above = see(upper, both)
    below = see(lower, both) if seen is None else seen.join(see(lower, w))
    contrast = Contrast(below.free.view(2, -1), above.free.view(2, -1), above.fields)
    _gather(ladder, turn, contrast)
    swapped = exchange(contrast, stream)
    ladder["visible"][turn], ladder["visible"][turn + 1] = trade(v, w, swapped[:, None])
    return below.half(1).where(swapped, below.half(0)).fields, above.half(0).where(swapped, above.half(1))


def trade(v: Tensor, w: Tensor, swapped: Tensor) -> tuple[Tensor, Tensor]:
    """Return two tensors with the marked places exchanged."""
    return torch.where(swapped, w, v), torch.where(swapped, v, w)


def refine(contrast: Contrast, shift: Tensor) -> Tensor:
    """Return the log-ratio of two neighbours' partition functions by Bennett's ratio, from a first guess."""
    d = contrast.rise
    for _ in range(_ITERATIONS):
        ahead, back = logsigmoid(d[0] - shift).logsumexp(0), logsigmoid(shift - d[1]).logsumexp(0)
        shift = shift + ahead - back
    return shift


def total(ladder: State, contrast: Contrast, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return log Z of the model above the ladder, and its standard error.

    Arguments:
        ladder: The ladder.
        contrast: Between its last rung and the model.
        shift: The log-ratio of their partition functions.
    """
    last = dict(zip(("ahead", "back"), contrast.shares(shift), strict=True)) | {"shift": shift}
    ahead, back, shifts = (torch.cat((ladder[name], x[None])) for name, x in last.items())
    value = ladder["log_base"] + (shifts + ahead.mean(1).log() - back.mean(1).log()).sum()
    influence = (ahead / ahead.mean(1, keepdim=True) - back / back.mean(1, keepdim=True)).sum(0)
    return value, influence.std() / len(influence) ** 0.5


def build(model: PairwiseModel, n: int, stream: Stream) -> tuple[State, Tensor]:
    """Return a ladder up to a model, and chains of the model, shape (n, width).

    A fresh model needs one rung. One that has been trained before gets others on the straight way between the
    lowest parameters and its own: each as far up as weights of the chains below are worth half of the chains.
    """
    ladder = base(model, n, stream)
    lowest = {name: ladder[_PARAMETER + name][0] for name, _ in model.named_parameters()}
    share = 0.0
    while (share := _next_share(model, lowest, ladder, share)) < 1:
        v = ladder["visible"][-1]
        upper = _between(model, lowest, share)
        w = sweep(upper, v, stream, _START_STEPS)
        contrast = compare(rung(model, ladder, -1), upper, v, w)
        append(upper, ladder, w, contrast, refine(contrast, contrast.rise.mean()))
    chain = sweep(model, ladder["visible"][-1], stream, _START_STEPS)
    for _ in range(_START_ROUNDS if len(ladder["visible"]) > 1 else 0):
        climb(model, ladder, stream, len(ladder["visible"]), 1)
        chain = sweep(model, chain, stream)
        contrast = compare(rung(model, ladder, -1), model, ladder["visible"][-1], chain)
        swapped = exchange(contrast, stream)[:, None]
        ladder["visible"][-1], chain = trade(ladder["visible"][-1], chain, swapped)
    _start_gathering(model, ladder)
    return ladder, chain


def _next_share(model: PairwiseModel, lowest: State, ladder: State, share: float) -> float:
    """Return how far the next rung can be, by bisection; 1 where it can be the model itself."""
    v = ladder["visible"][-1]
    here = _between(model, lowest, share).log_sum({"visible": v})

    def worth(there: float) -> float:
        weight = torch.softmax(_between(model, lowest, there).log_sum({"visible": v}) - here, 0)
        return 1 / (len(v) * float(weight.square().sum()))

    if worth(1.0) >= 0.5:
        return 1.0
    low, high = share, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if worth(middle) >= 0.5 else (low, middle)
    return max(low, share + _LEAST_SHARE)


def _between(model: PairwiseModel, lowest: State, share: float) -> PairwiseModel:
    """Return a model on the straight way from the lowest parameters to a model's own."""
    parameters = model.named_parameters()
    return _with(model, {name: torch.lerp(lowest[name], p.detach(), share) for name, p in parameters})


def _gather(ladder: State, number: int, contrast: Contrast) -> None:
    """Add what a pair of rungs says of its partition functions to what is known."""
    ahead, back = contrast.shares(ladder["shift"][number])
    ladder["ahead"][number] += ahead
    ladder["back"][number] += back
    ladder["chance"][number] += contrast.chance.mean()
    ladder["visits"][number] += 1


def _start_gathering(model: PairwiseModel, ladder: State) -> None:
    """Forget what the pairs of rungs said, but for what they say now."""
    for name in ("ahead", "back", "chance", "visits"):
        ladder[name].zero_()
    for number in range(len(ladder["shift"])):
        lower, upper = (rung(model, ladder, k) for k in (number, number + 1))
        contrast = compare(lower, upper, ladder["visible"][number], ladder["visible"][number + 1])
        ladder["shift"][number] = refine(contrast, ladder["shift"][number])
        _gather(ladder, number, contrast)
