"""What a run that has ended tells of itself, judged, with what to do about it.

Each finding has a number, a verdict and a sentence. The limits are rules of thumb: they find what goes
wrong most often, and a model without a bad finding may be poor all the same. The persistent chains are
judged by the free energies (of models whose hidden units do not sum out: the energies) that they have on
some hundred Gibbs steps under the model that training left, the first half of which is not counted. Of a deep
belief network these are the chains of its top RBM, and the units of all its hidden layers are looked at.
"""

from __future__ import annotations

__all__ = ["Finding", "diagnose"]

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import invalid
from ..models import DBM, DBN, GAN, MLP, Autoencoder, Model, PairwiseModel, check_model, mean_field
from ..random import Stream
from ..samplers import Gibbs, autocorrelation_time, effective_sample_size, split_rhat
from ..units import Unit, complete
from ._adversarial_monitor import tells_nothing
from ._source import open_source
from .fit import History

_CHAINS = 100
_PROBE = 1000
_RHAT = 1.1
_SHARE_OF_STEPS = 0.2
_ENOUGH = 100
_SWAPS = 0.1
_DEAD, _SATURATED, _FEW = 0.01, 0.99, 0.05
_SETTLED = 0.1
_ERRORS, _SPREADS = 3.0, 0.1
_NOTHING = 1e-3
_WON, _ALIKE, _BY_HEART = 0.995, 0.5, 0.1

Diagnostics = Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """Something that was looked at, and what to do about it."""

    name: str
    value: float | None
    """None where it is not known."""
    shown: str
    """The value in words."""
    verdict: str
    """``good``, ``bad`` or ``unknown``."""
    advice: str
    """One sentence: what to do, or what it means."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self)


@torch.no_grad()
def diagnose(
    model: Model,
    history: History,
    data: Any,
    *,
    validation: Any = None,
    evaluation: Mapping[str, Any] | None = None,
    steps: int = 400,
    seed: int = 0,
) -> list[Finding]:
    """Judge a run: do the chains mix, are hidden units alive, does the model overfit, can it be believed?

    Classifiers and autoencoders have neither chains nor a likelihood; they are judged by the rest. Of a
    generative adversarial network it is asked whether the discriminator has won, whether it knows its rows by
    heart, and whether made rows are all alike. Rows that lack values are left out.

    Arguments:
        model: The model that the run left.
        history: What :func:`harmonium.fit` returned.
        data: The data of the fit.
        validation: Rows that were not trained on, where ``data`` brings none.
        evaluation: What :meth:`harmonium.LogLikelihood.to_dict` says of the model; by default the run's last
            estimate, if it made one.
        steps: Gibbs steps of the chains, at least eight.
        seed: The seed of these steps.

    Raises:
        ArgumentError: ``steps`` is out of range.
        ArgumentTypeError: The model is none, or the data are no numbers.
        DataError: The data do not fit the model's units.
    """
    check_model(model, Model)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 8:
        raise invalid("steps", steps, "an integer of at least 8")
    if isinstance(model, DBM | DBN | GAN | MLP) and model.classes is not None and isinstance(data, Dataset):
        data = data.with_labels()
    opened = open_source(model.visible, data, Stream(seed), 1, _PROBE, validation=validation, gaps=True)
    _, train, held_out, states = opened
    train, held_out = train[complete(train)], held_out[:_PROBE][complete(held_out[:_PROBE])]
    last = history.records[-1] if history.records else {}
    if isinstance(model, MLP | Autoencoder):
        return [*_of_weights(last), *_of_scores(model, last, len(held_out))]
    if isinstance(model, GAN):
        return [*_of_game(last), *_of_weights(last)]
    assert isinstance(model, DBN | PairwiseModel)
    found = evaluation or last.get("log_partition") or {}
    chains = (found.get("log_partition") or found).get("diagnostics") or {}
    if evaluation is None or chains.get("rhat") is None:
        top = model.top if isinstance(model, DBN) else model
        chains = _run_chains(top, history.chains, steps, seed)
    return [
        *_of_chains(chains),
        *_of_swaps(last),
        *_of_hidden_units(_activity(model, train), isinstance(model, DBM) and model.depth > 1),
        *_of_weights(last),
        *(_of_gap(model, train, held_out) if isinstance(model, PairwiseModel) else ()),
        *(_of_gain(model, train, found) if states and isinstance(model, PairwiseModel) else ()),
        _of_likelihood(found),
    ]


def _run_chains(model: PairwiseModel, values: Tensor | None, steps: int, seed: int) -> Diagnostics:
    """Run the persistent chains, and return what :func:`harmonium.log_partition` says of its own."""
    if values is None:
        return {}
    gibbs, stream, free = Gibbs(), Stream(seed, "diagnose"), model.hidden_sums_out()
    start = model.observed(model.visible.statistics(values[:_CHAINS].to(model.device)))
    state = gibbs.init(model, len(start["visible"]), stream, start)
    state = gibbs.run(model, state, stream, steps // 2)
    draws = []
    for _ in range(steps - steps // 2):
        state, _ = gibbs.step(model, state, stream)
        seen = {block: state[block] for block in start}
        draws.append(-model.log_sum(seen) if free else model.energy(state))
    energies = torch.stack(draws).cpu()
    return {
        "rhat": split_rhat(energies),
        "autocorrelation_time": autocorrelation_time(energies),
        "chain_ess": effective_sample_size(energies),
        "draws": float(len(draws)),
    }


def _of_chains(chains: Diagnostics) -> Iterator[Finding]:
    if chains.get("rhat") is None:
        yield _unknown(
            "R-hat of the chains",
            "The rule keeps no chains; an estimate of the likelihood runs some, and says whether they mix.",
        )
        return
    rhat, time, size = (chains[name] for name in ("rhat", "autocorrelation_time", "chain_ess"))
    yield _judged(
        "R-hat of the chains",
        rhat,
        f"{rhat:.3f}",
        rhat <= _RHAT,
        "The chains agree with each other.",
        "The chains have not forgotten where they began: raise the rule's steps, or use tempered-pcd.",
    )
    if time is None or math.isnan(time):
        for name in ("autocorrelation time", "effective samples"):
            yield _unknown(name, "The energies of the chains never change, so they tell nothing of this.")
        return
    most = chains.get("draws", math.inf) * _SHARE_OF_STEPS
    yield _judged(
        "autocorrelation time",
        time,
        f"{time:.1f} steps",
        time <= most and rhat <= _RHAT,
        "That many Gibbs steps lead from one fresh sample to the next.",
        "The chains hardly move: raise the rule's steps, lower lr, or use the rule tempered-pcd.",
    )
    yield _judged(
        "effective samples",
        size,
        f"{size:,.0f}",
        size >= _ENOUGH,
        "Independent draws that the chains are worth.",
        "The chains are worth few independent draws: raise the rule's chains or steps, or use tempered-pcd.",
    )


def _of_swaps(last: Mapping[str, Any]) -> Iterator[Finding]:
    rate = last.get("rule/least_swap_rate", last.get("rule/swap_rate"))
    if rate is not None:
        yield _judged(
            "least swap rate",
            rate,
            f"{rate:.3f}",
            rate >= _SWAPS,
            "All neighbours on the ladder of temperatures are exchanged.",
            "Some neighbours on the ladder are hardly ever exchanged: raise the rule's replicas.",
        )


def _activity(model: DBN | PairwiseModel, rows: Tensor) -> list[tuple[Unit, Tensor]]:
    """Return the hidden layers, each with its mean statistics given the rows, shape (width)."""
    if not len(rows):
        return []
    s = model.visible.statistics(rows.to(model.device))
    if isinstance(model, PairwiseModel):
        means = mean_field(model, model.observed(s)).means if model.hidden_blocks() else {}
        return [(model.layer(block), mean.mean(0)) for block, mean in means.items()]
    x, label = model.split(s)
    found = []
    for layer, rbm in enumerate(model.rbms):
        x = x if label is None or rbm is not model.top else torch.cat((x, label), 1)
        x = rbm.hidden.expected_statistics(model.recognise(layer, x))
        found.append((rbm.hidden, x.mean(0)))
    return found


def _of_hidden_units(layers: list[tuple[Unit, Tensor]], coupled: bool) -> Iterator[Finding]:
    """Count the units that are never, or always, in one state; of units without finitely many, none.

    Arguments:
        layers: What :func:`_activity` returned.
        coupled: Whether hidden units are coupled among each other.
    """
    if not layers:
        return
    if any(layer.support() is None for layer, _ in layers):
        yield _unknown("dead hidden units", "Only units with finitely many states can be dead or saturated.")
        return
    dead = saturated = 0
    for layer, mean in layers:
        low, high = _usage(mean.view(layer.size, -1), layer.binary, layer.support())
        dead, saturated = dead + int((low < _DEAD).sum()), saturated + int((high > _SATURATED).sum())
    n = sum(layer.size for layer, _ in layers)
    remedy = "use fewer hidden units, lower lr, or set the rule's sparsity_target."
    if coupled:
        remedy = "use fewer hidden units, lower lr, or set hidden_pace=0.2 of the rule variational-pcd."
    for name, count, what in (("dead", dead, "never on"), ("saturated", saturated, "always on")):
        yield _judged(
            f"{name} hidden units",
            count,
            f"{count} of {n}",
            count <= _FEW * n,
            f"Few or no hidden units are {what}.",
            f"Hidden units that are {what} tell nothing: {remedy}",
        )


def _usage(mean: Tensor, binary: bool, support: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return how often each unit is on, twice; of categorical units the share of their commonest state.

    A categorical unit that is always in one state is saturated, and none is dead.
    """
    if binary:
        assert support is not None
        low, high = support.flatten().tolist()
        on = (mean[:, 0] - low) / (high - low)
        return on, on
    most = mean.max(1).values
    return torch.ones_like(most), most


def _of_weights(last: Mapping[str, Any]) -> Iterator[Finding]:
    moved = last.get("weight/update")
    if moved is not None:
        yield _judged(
            "weight/update",
            moved,
            f"{moved:.2%}",
            moved <= _SETTLED,
            "The last epoch moved the weights by a small part of their norm.",
            "The weights still move fast: train for more epochs, or lower lr.",
        )


def _of_gap(model: PairwiseModel, train: Tensor, held_out: Tensor) -> Iterator[Finding]:
    if not model.hidden_sums_out():
        return
    if len(held_out) < 2 or len(train) < 2:
        yield _unknown(
            "free-energy gap", "Keep some rows for validation, to see whether the model overfits the others."
        )
        return
    ours, theirs = (
        model.free_energy(model.visible.statistics(rows.to(model.device))) for rows in (train, held_out)
    )
    gap = float(theirs.mean() - ours.mean())
    error = math.sqrt(float(ours.var()) / len(ours) + float(theirs.var()) / len(theirs))
    yield _judged(
        "free-energy gap",
        gap,
        f"{gap:.3g} ± {error:.2g} nats",
        gap <= _ERRORS * error or gap <= _SPREADS * float(ours.std()),
        "Rows that were not trained on are about as probable as those that were.",
        "The model overfits: stop earlier (patience), use fewer hidden units, or set weight_decay.",
    )


def _of_scores(model: MLP | Autoencoder, last: Mapping[str, Any], rows: int) -> Iterator[Finding]:
    """Compare the last epoch's errors of training and validation rows."""
    name = "error" if isinstance(model, MLP) else "loss"
    ours, theirs = last.get(f"train/{name}"), last.get(f"validation/{name}")
    if ours is None or theirs is None:
        yield _unknown(
            f"{name} gap", "Keep some rows for validation, to see whether the network overfits the others."
        )
        return
    gap = theirs - ours
    if isinstance(model, MLP):
        spread = math.sqrt((theirs * (1 - theirs) + 1 / rows) / rows)
        shown, good = f"{gap:.2%} ± {spread:.2%}", gap <= max(_ERRORS * spread, _FEW)
    else:
        shown, good = f"{gap:.3g} nats", gap <= _SETTLED * abs(ours)
    yield _judged(
        f"{name} gap",
        gap,
        shown,
        good,
        "Rows that were not trained on are about as well done as those that were.",
        "The network overfits: use dropout, stop earlier (patience), or set weight_decay.",
    )


def _of_game(last: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge the last epoch of an adversarial game."""
    told, spread = last.get("rule/told"), last.get("samples/spread")
    deviation, updates = last.get("train/score_deviation", math.inf), last.get("updates", 0)
    if told is not None and tells_nothing(told, deviation, updates):
        advice = "The discriminator tells nothing apart: measure samples, and if they are bad, lower lr."
        yield Finding("told from data", float(told), f"{told:.1%} of pairs", "unknown", advice)
    elif told is not None:
        yield _judged(
            "told from data",
            told,
            f"{told:.1%} of pairs",
            told < _WON,
            "The discriminator errs now and then, so that the generator can learn from it.",
            "The discriminator has won: raise r1 and r2, lower discriminator_rate, or set augment.",
        )
    if spread is not None:
        yield _judged(
            "spread of made rows",
            spread,
            f"{spread:.2f} of the data's",
            _ALIKE <= spread <= 1 / _ALIKE,
            "Made rows vary about as much as data do, in all.",
            "Made rows are too much alike, or of another scale: raise r1 and r2, or try another loss.",
        )
    ours, theirs = last.get("train/told"), last.get("validation/told")
    if ours is not None and theirs is not None:
        gap = ours - theirs
        yield _judged(
            "knows rows by heart",
            gap,
            f"{gap:+.1%}",
            gap <= _BY_HEART,
            "Training rows get no higher scores than rows that were not trained on.",
            "The discriminator knows training rows by heart: set the rule's augment, or raise r1.",
        )


def _of_gain(model: PairwiseModel, train: Tensor, found: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge whether training rows are more probable than by independent units of the same means."""
    z, rates = found.get("log_partition") or found, model.base_rates.double()
    fits = model.visible.discrete and model.hidden_sums_out() and not bool(rates.isnan().any())
    if not fits or z.get("value") is None or len(train) < 2:
        return
    double = copy.deepcopy(model).double()
    unit = double.visible
    s, bias = unit.statistics(train.to(model.device)).double(), unit.natural(rates)
    apart = s @ bias - unit.own_energy(s) - unit.log_partition(bias)
    gain = double.log_sum(double.observed(s)) - float(z["value"]) - apart
    mean = float(gain.mean())
    error = math.hypot(float(gain.std()) / math.sqrt(len(gain)), float(z["standard_error"]))
    yield _judged(
        "over independent units",
        mean,
        f"{mean:.3g} ± {error:.2g} nats",
        mean > max(_ERRORS * error, _NOTHING),
        "Training rows are more probable than by independent units of the same means.",
        "It is no better than independent units: train for longer, or at another lr.",
    )


def _of_likelihood(found: Mapping[str, Any]) -> Finding:
    trusted = found.get("trusted")
    if trusted is None:
        return _unknown(
            "likelihood", "Estimate it: harmonium evaluate, hm.log_likelihood, or likelihood_every."
        )
    reason = str(found.get("reason") or "the estimate says no more").rstrip(".")
    return _judged(
        "likelihood",
        float(bool(trusted)),
        "trusted" if trusted else "not trusted",
        bool(trusted),
        "The two ends of the estimate agree.",
        f"{reason[0].upper()}{reason[1:]}.",
    )


def _judged(name: str, value: float, shown: str, good: bool, praise: str, remedy: str) -> Finding:
    return Finding(name, float(value), shown, "good" if good else "bad", praise if good else remedy)


def _unknown(name: str, advice: str) -> Finding:
    return Finding(name, None, "–", "unknown", advice)
