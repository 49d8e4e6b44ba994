"""Fine-tuning: from a deep network that was trained without labels to what it is to do."""

from __future__ import annotations

__all__ = ["TUNING", "finetune", "finetune_keys", "understand_tuning"]

from pathlib import Path
from typing import Any

from ..datasets import load
from ..errors import ArgumentError, FileError, invalid
from ..learning import RULES
from ..models import DBM, DBN, MLP, Autoencoder, Model, check_transform
from ..report import (
    BESIDE,
    beside_table,
    environment,
    open_entry,
    open_model,
    open_run,
    with_transform,
)
from ..training import RunFolder
from ..units import Unit
from ._console import noted_warnings, print_table
from ._device import as_device
from ._evaluate import conclude
from ._settings import Keys, data_keys, device_keys, option_keys, read, rule_keys, signature_keys, under
from ._train import (
    INTERRUPTED,
    Wish,
    absolute,
    as_means,
    gathered,
    keep_best,
    make_rule,
    start,
    tell,
    typed,
)

_USUAL = "cross-entropy"
TUNING = [name for name, rule in RULES.items() if rule.fits in (DBN, MLP, Autoencoder)]
"""The rules that take a pretrained network further, by name."""


def finetune(run: Path, out: Path, pairs: list[str], as_json: bool, beside: bool = False) -> None:
    """Fine-tune a pretrained network in a new folder, and say what came out.

    Arguments:
        run: The folder of the pretraining.
        out: The new folder.
        pairs: Settings as they were typed.
        as_json: Whether to say it as JSON.
        beside: Whether to train the same network from random weights as well, of its own units and of ReLU.

    Raises:
        ArgumentError: A setting does not fit, or what is tuned is no classifier.
        FileError: The run is none that can be tuned, or the folder is there.
    """
    wish = understand_tuning(run, pairs)
    others = _from_random(wish) if beside else {}
    history = start(wish, out)
    for name, other in others.items():
        if history.stopped != INTERRUPTED:
            place = out / BESIDE / name
            if start(other, place).stopped != INTERRUPTED:
                conclude(open_run(place, other.data), show=False)
    tell(RunFolder(out), history, wish.data, as_json)
    table = beside_table(open_run(out, wish.data)) if others and not as_json else None
    if table is not None:
        print_table("Beside it:", table.head, table.rows)


def _from_random(wish: Wish) -> dict[str, Wish]:
    """Return the trainings of the same classifier from random weights, by the units of its hidden layers."""
    model = wish.model
    if type(model) is not MLP:
        raise ArgumentError(f"--beside: only for the classifier that a dbn becomes, not for a {model.kind}")
    layers: list[int | Unit] = [model.inputs, *model.sizes]
    settings: dict[str, Any] = {"dropout": model.dropout, "input_dropout": model.input_dropout}
    settings["seed"] = wish.options.get("seed", 0)
    own = {name: value for name, value in wish.config.items() if name not in ("pretrained", "commands")}
    found = {}
    for name in dict.fromkeys((model.activation[0], "relu")):
        other = MLP(layers, model.classes, activation=name, **settings).to(model.device)
        for number, mask in enumerate(model.masks):
            if mask is not None:
                other.set_mask(number, mask)
        found[name] = wish._replace(model=other, config=own)
    return found


def finetune_keys() -> Keys:
    """Return the keys of ``harmonium finetune --set``."""
    rules = rule_keys(*TUNING)
    rules["rule"] = rules["rule"]._replace(default=_USUAL, choices=TUNING)
    loading = {f"data.{name}": key for name, key in data_keys().items()}
    return {**rules, **option_keys(), **_dropout_keys(), **device_keys(), **loading}


def understand_tuning(run: Path, pairs: list[str]) -> Wish:
    """Return the parts of a run that goes on from a pretrained network.

    Raises:
        ArgumentError: A key is unknown, or a value does not fit.
        FileError: The run is none of a deep belief network or a deep Boltzmann machine.
    """
    values = read(pairs, finetune_keys())
    device = as_device(values.pop("device", "cpu"))
    rule = make_rule(values, _USUAL)
    folder = RunFolder(run)
    config, network = folder.config(), open_model(folder)
    if not isinstance(network, DBN | DBM):
        raise FileError(f"{run}: got a run of a model of kind {network.kind}, expected a dbn's or a dbm's")
    if isinstance(network, DBM) and rule.fits is not MLP:
        raise invalid("rule", rule.name, f"{_USUAL!r}, the only one for a dbm")
    source, before = open_entry(folder)
    given = absolute(under("data.", values))
    for name in ("seed", "test"):
        if given.get(name, before.get(name)) != before.get(name):
            expected = "no other split than the pretraining's, whose rows would be tested"
            raise invalid(f"data.{name}", given[name], expected)
    arguments = {**before, **given, "with_labels": rule.supervised}
    if issubclass(DBN, rule.fits):
        arguments["with_labels"] = network.classes is not None
    else:
        arguments = as_means(source, arguments, given)
    data = load(source, **with_transform(folder, arguments))
    check_transform(network, data)
    options = gathered({k: v for k, v in values.items() if k in option_keys()})
    dropout = {k: v for k, v in values.items() if k in _dropout_keys()}
    with noted_warnings():
        model = _tuned(network, rule.fits, len(data.classes or ()), dropout, options.get("seed", 0))
        model.to(device)
    own = {
        "data": {"source": source, "arguments": arguments},
        "environment": environment(),
        "commands": [["finetune", str(run), "--out", "RUN", *typed(pairs)]],
        "pretrained": {"run": str(run.resolve()), "fingerprint": config["fingerprint"]},
    }
    return Wish(model, data, rule, keep_best(model, data, options), own, {})


def _tuned(
    network: DBN | DBM, kind: type[Model], classes: int, dropout: dict[str, float], seed: int
) -> Model:
    """Return what a rule trains of a pretrained network: a classifier, an autoencoder, or itself untied."""
    if kind is MLP:
        return network.to_mlp(classes, seed=seed, **dropout)
    assert isinstance(network, DBN)
    for name in dropout:
        raise ArgumentError(f"{name}: no setting but of the rule {_USUAL!r}")
    if kind is Autoencoder:
        return network.to_autoencoder()
    network.untie()
    return network


def _dropout_keys() -> Keys:
    """Return the keys of leaving units out."""
    return {name: key for name, key in signature_keys(MLP).items() if name.endswith("dropout")}
