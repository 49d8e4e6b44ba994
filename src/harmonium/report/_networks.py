"""What a report says of networks: deep belief ones, adversarial ones, classifiers and autoencoders."""

from __future__ import annotations

__all__ = [
    "beside_table",
    "growth_table",
    "network_numbers",
    "network_quality",
    "network_tiles",
    "network_training",
    "network_verdict",
    "widths",
]

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from ..models import DBN, GAN, MLP, Autoencoder, Model, PairwiseModel
from ._games import game_numbers, game_quality, game_tiles, game_verdict
from ._opened import OpenRun
from ._words import (
    Table,
    baseline,
    bounded,
    duration,
    number,
    own_name,
    own_units,
    short,
    units,
    wrong_labels,
)

Evaluation = dict[str, Any]

_RULES = {
    "pcd": "persistent contrastive divergence",
    "cd": "contrastive divergence",
    "cross-entropy": "back-propagation of the labels' cross-entropy",
    "reconstruction": "back-propagation of its error",
    "wake-sleep": "the contrastive wake-sleep rule",
    "adversarial": "the adversarial game",
}


def widths(run: OpenRun) -> list[int]:
    """Return the numbers of units of all layers, from the visible one up; labels apart."""
    model = run.model
    if isinstance(model, DBN):
        return [run.data.columns, *(rbm.hidden.size for rbm in model.rbms)]
    if isinstance(model, MLP):
        return [run.data.columns, *model.sizes, model.classes]
    if isinstance(model, Autoencoder):
        return [run.data.columns, *model.sizes]
    if isinstance(model, GAN):
        return [model.latent, model.columns]
    assert isinstance(model, PairwiseModel)
    return [model.layer(block).size for block in model.outward(("visible",))]


def network_training(run: OpenRun) -> str:
    """Tell what was trained, and how."""
    rules = run.config["rule"]
    names = [_rule(own) for own in (rules["layers"] if run.greedy else [rules])]
    epochs = _epochs(run)
    last = {record.get("layer", 1): record.get("seconds") or 0.0 for record in run.records}
    counts = _listed([f"{n:,}" for n in epochs]) if len({*epochs}) > 1 else f"{epochs[0]:,}"
    counts += " epoch" if {*epochs} == {1} else " epochs"
    counts += " each" if len(epochs) > 1 and len({*epochs}) == 1 else ""
    text = (
        f"{_built(run)} was trained {'layer by layer ' if run.greedy else ''}for {counts} on "
        f"{len(run.data.train):,} rows of {run.data.name} by "
        f"{names[0] if len({*names}) == 1 else _listed(names)}"
    )
    text += f", which took {duration(sum(last.values()))}." if any(last.values()) else "."
    text += _sparse(run.model)
    if "pretrained" in run.config:
        text += f" It began with the weights of the run {run.config['pretrained']['run']}."
    if isinstance(run.model, MLP | Autoencoder):
        text += f" It has the weights of epoch {run.chosen}."
    return text


def network_quality(run: OpenRun, found: Evaluation) -> Iterator[str]:
    """Tell what an evaluation came to, a paragraph each."""
    if isinstance(run.model, GAN):
        yield from game_quality(found)
        if run.measures() is None:
            yield f"This measures them: harmonium measure {shlex.quote(str(run.folder.path))}"
        return
    where = f"{found['rows']:,} {found['split']} rows"
    if isinstance(run.model, MLP):
        yield f"It takes a wrong class for the most probable one of {_error(found)} of {where}."
        return
    if isinstance(run.model, Autoencoder):
        yield (
            f"On {where} its error is {found['loss']:.3f} nats a row, "
            f"{found['mean_squared_error']:.4g} squared for each value."
        )
        return
    text = bounded(found)
    z = found["log_partition"]
    if z["method"] == "exact":
        text += ". The top RBM's partition function was enumerated."
    else:
        text += (
            f". Annealing in both directions puts the top RBM's log Z at {z['lower']:.3f} and "
            f"{z['upper']:.3f}; the bound takes the upper one."
        )
    text += (
        f" Another {found['split']} set of this size would move the estimate by about "
        f"{short(found['data_standard_error'])}."
    )
    yield text
    yield from own_units(found)
    yield from baseline(found)
    yield from wrong_labels(found)
    growth = found.get("growth")
    if growth and len(growth) > 1:
        first, last = growth[0], growth[-1]
        gain = last["bound"] - first["bound"]
        error = short(math.hypot(first["bound_error"] or 0, last["bound_error"] or 0))
        yield (
            f"From one hidden layer to {len(growth)} the bound went from {first['bound']:.2f} to "
            f"{last['bound']:.2f}: {'a gain' if gain > 0 else 'a loss'} of {abs(gain):.2f} nats a row, "
            f"with a Monte-Carlo error of {error}."
        )


def network_verdict(run: OpenRun, found: Evaluation) -> tuple[str, str] | None:
    """Return the line on top of the page of a network that has no likelihood; None where it has one."""
    if isinstance(run.model, GAN):
        return game_verdict(found)
    rows = f"{found['rows']:,} {found['split']} rows"
    if isinstance(run.model, MLP):
        return "none", f"Wrong on {_error(found)} of {rows}"
    if isinstance(run.model, Autoencoder):
        return "none", f"Error of {found['loss']:.3f} nats a row on {rows}"
    return None


def network_tiles(run: OpenRun) -> list[tuple[str, str]]:
    """Return the numbers on top of the page, each with its label."""
    if isinstance(run.model, GAN):
        return game_tiles(run)
    tiles: list[tuple[str, str]] = []
    for split, found in run.evaluations().items():
        if isinstance(run.model, MLP):
            label = f"wrong {split} labels ± {found['standard_error']:.2%}"
            tiles.append((f"{found['error']:.2%}", label))
        elif isinstance(run.model, Autoencoder):
            label = f"nats a {split} row ± {short(found['standard_error'])}"
            tiles.append((f"{found['loss']:.2f}", label))
    return tiles


def network_numbers(run: OpenRun) -> Table:
    """Return what was measured, a row for each split."""
    if isinstance(run.model, GAN):
        return game_numbers(run)
    head: tuple[str, ...]
    rows: list[tuple[str, ...]] = []
    for split, found in run.evaluations().items():
        name = f"{split} ({found['rows']:,})"
        if isinstance(run.model, MLP):
            own = (f"{found['wrong']:,}", f"{found['error']:.2%}", f"{found['standard_error']:.2%}")
            rows.append((name, *own, number(found["cross_entropy"], 4)))
        elif isinstance(run.model, Autoencoder):
            loss = (number(found["loss"], 3), short(found["standard_error"]))
            rows.append((name, *loss, f"{found['mean_squared_error']:.4g}"))
        else:
            bound = (number(found["bound"], 3), short(found["bound_error"]))
            ends = tuple(number(found[key], 3) for key in ("mean", "lower", "upper"))
            errors = tuple(short(found[f"{key}standard_error"]) for key in ("", "data_"))
            floor = number(found.get("baseline_log_likelihood"), 3)
            rows.append((name, *bound, *ends, *errors, floor, "yes" if found["trusted"] else "no"))
    if isinstance(run.model, MLP):
        head = ("rows", "wrong", "error", "± rows", "cross-entropy (nats)")
    elif isinstance(run.model, Autoencoder):
        head = ("rows", "error (nats)", "± rows", "mean squared error")
    else:
        head = (
            "rows",
            "bound",
            "± Monte Carlo",
            "estimate",
            "lower end",
            "upper end",
            "± Monte Carlo",
            "± rows",
        )
        head = (*head, "baseline", "trusted")
    return Table(head, rows)


def beside_table(run: OpenRun) -> Table | None:
    """Return how classifiers err that were trained for comparison, this one first, if there are such."""
    others = run.beside()
    if not isinstance(run.model, MLP) or not others:
        return None
    named = {f"pretrained, {run.model.activation[0]} units": run}
    named |= {f"random weights, {name} units": other for name, other in others.items()}
    rows: list[tuple[str, ...]] = []
    for name, own in named.items():
        found = own.evaluations()
        errors = [f"{found[s]['error']:.2%}" if s in found else "–" for s in ("validation", "test")]
        error = f"{found['test']['standard_error']:.2%}" if "test" in found else "–"
        seconds = own.records[-1].get("seconds") or 0.0
        rows.append((name, *errors, error, f"{own.chosen:,}", duration(seconds)))
    head = ("first weights", "wrong validation labels", "wrong test labels", "± rows", "epoch", "trained for")
    return Table(head, rows)


def growth_table(found: Evaluation | None) -> Table | None:
    """Return how the bound grew with the layers, if that was measured."""
    growth = (found or {}).get("growth")
    if not growth:
        return None
    rows: list[tuple[str, ...]] = []
    for own in growth:
        z = own["log_partition"]
        ends = (number(z["lower"], 3), number(z["upper"], 3))
        numbers = (number(own["bound"], 3), short(own["bound_error"]), number(own["estimate"], 3))
        name = "–".join(str(n) for n in own["units"])
        rows.append((name, *numbers, short(own["standard_error"]), *ends, "yes" if own["trusted"] else "no"))
    head = (
        "hidden layers",
        "bound",
        "± Monte Carlo",
        "estimate",
        "± Monte Carlo",
        "log Z from",
        "to",
        "trusted",
    )
    return Table(head, rows)


def _sparse(model: Model) -> str:
    """Tell how many couplings the masks of a network leave, if there are some."""
    masks: list[tuple[Tensor, Tensor | None]] = []
    if isinstance(model, DBN):
        masks = [(rbm.weight, rbm.weight_mask) for rbm in model.rbms]
    elif isinstance(model, MLP | Autoencoder):
        masks = [(linear.weight, mask) for linear, mask in zip(model.linears, model.masks, strict=False)]
    if all(mask is None for _, mask in masks):
        return ""
    whole = sum(weight.numel() for weight, _ in masks)
    kept = sum(weight.numel() if mask is None else int(mask.sum()) for weight, mask in masks)
    return (
        f" Masks leave {kept:,} of the {whole:,} couplings of neighbouring layers; they are held dense all "
        "the same, which saves neither memory nor time."
    )


def _error(found: Evaluation) -> str:
    return f"{found['error']:.2%} (± {found['standard_error']:.2%})"


def _built(run: OpenRun) -> str:
    """Word the layers of a network."""
    model, sizes = run.model, widths(run)
    if isinstance(model, DBN):
        hidden = [rbm.hidden for rbm in model.rbms]
        kinds = [own_name(unit) for unit in hidden]
        if len({*kinds}) == 1:
            layers = f"{_listed([f'{unit.size:,}' for unit in hidden])} {kinds[0]} units"
        else:
            layers = _listed([units(unit) for unit in hidden])
        label = (
            "" if model.classes is None else f", a label of {model.classes} classes beside the last but one,"
        )
        visible = model.rbms[0].visible if model.depth > 1 or model.classes is None else model.visible
        plural = "s" if len(hidden) > 1 else ""
        return (
            f"A deep belief network with {units(visible)} as its visible layer and "
            f"{'hidden layer' + plural if plural else 'a hidden layer'} of {layers}{label}"
        )
    if isinstance(model, GAN):
        sizes = [sum(p.numel() for p in player.parameters()) for player in model.networks.values()]
        told = "" if model.classes is None else f", told of {model.classes} classes,"
        return (
            f"A generative adversarial network{told} with a generator of {sizes[1]:,} parameters, which "
            f"makes {' x '.join(map(str, model.shape))} values of {model.latent} latent ones, and a "
            f"discriminator of {sizes[0]:,}"
        )
    assert isinstance(model, MLP | Autoencoder)
    layers = f"{_listed([f'{n:,}' for n in model.sizes])} {_listed([*dict.fromkeys(model.activation)])} units"
    what = "layers" if len(model.sizes) > 1 else "a layer"
    if isinstance(model, Autoencoder):
        return f"An autoencoder with {sizes[0]:,} inputs and, on the way up, {what} of {layers}"
    return f"A classifier with {sizes[0]:,} inputs, {what} of {layers} and {model.classes} classes"


def _rule(own: dict[str, Any]) -> str:
    names = ("chains", "steps", "loss", "r1", "r2")
    details = ", ".join(f"{name} {own[name]}" for name in names if own.get(name) is not None)
    return _RULES.get(own["name"], own["name"]) + (f" ({details})" if details else "")


def _epochs(run: OpenRun) -> list[int]:
    """Return how many epochs each layer was trained for."""
    done = {record.get("layer", 1): record["epoch"] for record in run.records}
    return [*done.values()] or [0]


def _listed(items: Sequence[str]) -> str:
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last
