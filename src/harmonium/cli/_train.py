"""Training: a run from its first settings, or from its last checkpoint."""

from __future__ import annotations

__all__ = ["Wish", "resume", "start", "train", "understand", "watched"]

import shlex
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..datasets import DATASETS, Dataset, load
from ..errors import ArgumentError, choose
from ..files import write_json
from ..learning import RULES, Rule
from ..models import PairwiseModel
from ..report import environment, open_data
from ..training import History, Options, RunFolder, diagnose, fit
from ..training import resume as go_on
from ..units import UNITS, Categorical, Mixed, Unit
from ._console import Meter, note, print_commands, print_json, print_table
from ._settings import (
    MACHINES,
    data_keys,
    model_keys,
    option_keys,
    read,
    refuse_others,
    rule_keys,
    under,
)
from ._units import make_layer

_STATES = 256
_INTERRUPTED = "interrupted"
_WATCHED = (
    "validation/error",
    "validation/log_likelihood",
    "validation/pseudo_likelihood",
    "free_energy_gap",
)


class Wish(NamedTuple):
    """What ``harmonium train`` was asked for."""

    model: PairwiseModel
    data: Dataset
    rule: Rule
    options: dict[str, Any]
    config: dict[str, Any]
    """What to write beside the fit's own settings: where the data are, the versions, the command."""


def train(model: str, data: str, out: Path, pairs: list[str], as_json: bool) -> None:
    """Train a model in a new folder, and say what came out."""
    wish = understand(model, data, pairs)
    history = start(wish, out)
    _tell(RunFolder(out), history, wish.data, as_json)


def understand(model: str, data: str, pairs: list[str]) -> Wish:
    """Return the parts of a run from what was typed.

    Raises:
        ArgumentError: A name or a key is unknown, or a value does not fit.
    """
    choose("MODEL", model, MACHINES)
    loading = {f"data.{name}": key for name, key in data_keys().items()}
    values = read(pairs, {**model_keys(model), **rule_keys(*RULES), **option_keys(), **loading})
    options = {k: v for k, v in values.items() if k in option_keys()}
    rule = _rule(values)
    source, arguments = _source(data), under("data.", values)
    if arguments.get("root") is not None:
        arguments["root"] = str(Path(arguments["root"]).expanduser().resolve())
    if rule.supervised:
        arguments.setdefault("with_labels", True)
    dataset = load(source, **arguments)
    own = {k: _array(f"model.{k}", v) for k, v in under("model.", values).items()}
    machine = MACHINES[model](_visible(dataset, values), *_hidden(model, values), **own)
    config = {
        "data": {"source": source, "arguments": arguments},
        "environment": environment(),
        "commands": [["train", model, "--data", data, "--out", "RUN", *_set(pairs)]],
    }
    return Wish(machine, dataset, rule, _with_likelihood(options), config)


def start(wish: Wish, out: Path) -> History:
    """Train as it was wished, and show how it goes."""
    epochs = option_keys()["epochs"].default
    with Meter("epoch", wish.options.get("epochs", epochs)) as meter:
        return fit(
            wish.model,
            wish.data,
            wish.rule,
            out=out,
            callback=lambda record: meter.step(record["epoch"], watched(record)),
            config=wish.config,
            **wish.options,
        )


def resume(run: Path, pairs: list[str], as_json: bool) -> None:
    """Go on with a run, and say what came out."""
    folder = RunFolder(run)
    config = folder.config()
    changes = _with_likelihood(read(pairs, option_keys()), config["options"].get("likelihood"))
    data = open_data(folder)
    done = folder.load()[1]["epoch"]
    epochs = changes.get("epochs", config["options"]["epochs"])
    if done >= epochs:
        note(f"the run has all its {epochs} epochs; for more: {_command('resume', run)} --set epochs=N")
    with Meter("epoch", epochs, done) as meter:
        history = go_on(
            run,
            data,
            callback=lambda record: meter.step(record["epoch"], watched(record)),
            **changes,
        )
    if changes and "commands" in config:
        commands = [*config["commands"], ["resume", "RUN", *_set(pairs)]]
        write_json(folder.config_path, {**folder.config(), "commands": commands})
    _tell(folder, history, data, as_json)


def _tell(folder: RunFolder, history: History, data: Dataset, as_json: bool) -> None:
    last = history.records[-1] if history.records else {}
    options = folder.config()["options"]
    interrupted = history.stopped == _INTERRUPTED
    findings = [] if interrupted else diagnose(history.model, history, data)
    if as_json:
        about = {"run": str(folder.path), "epochs": last.get("epoch", 0), "of": options["epochs"]}
        diagnosis = [finding.to_dict() for finding in findings]
        print_json({**about, "stopped": history.stopped, "last": last, "diagnosis": diagnosis})
        return
    stopped = f", stopped early: {history.stopped}" if history.stopped else ""
    title = f"{folder.path}: {last.get('epoch', 0)} of {options['epochs']} epochs{stopped}"
    rows = [(name, f"{value:.6g}") for name, value in last.items() if isinstance(value, float)]
    print_table(title, ("last epoch", ""), rows, right=1)
    if interrupted:
        print_commands("Saved. To go on:", [_command("resume", folder.path)])
        return
    judged = [(finding.name, finding.shown, finding.verdict, finding.advice) for finding in findings]
    print_table("", ("diagnosis", "value", "verdict", "what it means"), judged)
    image = len([length for length in data.shape if length > 1]) == 2
    out = "samples.png" if image else "samples.npy"
    more = [_command("evaluate", folder.path), f"{_command('sample', folder.path)} --out {out}"]
    print_commands("Next:", more)


def _rule(values: dict[str, Any]) -> Rule:
    name = values.get("rule", rule_keys()["rule"].default)
    rule: type[Rule] = RULES[name]
    refuse_others("rule.", values, name, rule.model_fields)
    return rule(**under("rule.", values))


def _hidden(model: str, values: dict[str, Any]) -> list[Unit]:
    """Make the hidden layer that was asked for; none where there need be none."""
    size = values.get("hidden")
    if size is not None:
        return [make_layer("hidden", values.get("hidden_units", "bernoulli"), size, values)]
    if signature(MACHINES[model]).parameters["hidden"].default is Parameter.empty:
        raise ArgumentError("hidden: missing, expected --set hidden=NUMBER")
    for name in values:
        if name == "hidden_units" or name.startswith("hidden."):
            raise ArgumentError(f"{name}: there are no hidden units, expected --set hidden=NUMBER as well")
    return []


def _array(name: str, value: Any) -> Any:
    """Read the array that a path leads to, where an argument takes one; leave all else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return np.load(value) if value.endswith(".npy") else np.loadtxt(value, delimiter=",", dtype=np.int64)
    except (OSError, ValueError) as error:
        expected = "the path of an array: .npy, or text with commas"
        raise ArgumentError(f"{name}: got {value!r}, expected {expected} ({error})") from error


def _visible(data: Dataset, values: dict[str, Any]) -> Unit:
    """Make the visible layer that was asked for, or else the one that fits the data."""
    kind = values.get("visible") or _kind(data)
    arguments = under("visible.", values)
    if kind == "categorical" and "states" not in arguments:
        arguments["states"] = max(_ends(data)[1] + 1, 2)
    own = make_layer("visible", kind, data.columns, {f"visible.{k}": v for k, v in arguments.items()})
    if data.classes is None:
        return own
    parts = own.parts if isinstance(own, Mixed) else [own]
    return Mixed(*parts, Categorical(1, len(data.classes)))


def _kind(data: Dataset) -> str:
    """Return the type of units whose values the data are."""
    if data.kind != "integers":
        return "gaussian" if data.kind == "reals" else "bernoulli"
    low, high = _ends(data)
    if (low, high) == (-1, 1) and not bool((data.train[:, : data.columns] == 0).any()):
        return "spin"
    if low >= 0 and high < _STATES:
        return "categorical"
    raise ArgumentError(
        f"visible: the data are integers from {low} to {high}, expected --set visible=TYPE, "
        f"one of {', '.join(UNITS)}"
    )


def _ends(data: Dataset) -> tuple[int, int]:
    """Return the least and the largest value, labels apart."""
    splits = [rows[:, : data.columns] for rows in (data.train, data.validation, data.test) if len(rows)]
    return min(int(rows.min()) for rows in splits), max(int(rows.max()) for rows in splits)


def _source(data: str) -> str:
    """Return a data set's name as it is, and a file's path from the root."""
    path = Path(data).expanduser()
    return str(path.resolve()) if data not in DATASETS and path.is_file() else data


def _with_likelihood(options: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Gather the options ``likelihood.*`` over those that hold already."""
    given = under("likelihood.", options)
    rest = {k: v for k, v in options.items() if not k.startswith("likelihood.")}
    if not given:
        return rest
    return {**rest, "likelihood": {**(before or Options().likelihood), **given}}


def _set(pairs: list[str]) -> list[str]:
    return [part for pair in pairs for part in ("--set", pair)]


def watched(record: dict[str, Any]) -> str:
    """Return what a meter shows of an epoch's record."""
    names = [name for name in _WATCHED if record.get(name) is not None]
    return "  ".join(f"{name.replace('_', ' ')} {record[name]:.3f}" for name in names)


def _command(name: str, run: Path) -> str:
    return shlex.join(["harmonium", name, str(run)])
