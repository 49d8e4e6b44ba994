"""Training: a run from its first settings, or from its last checkpoint."""

from __future__ import annotations

__all__ = [
    "Wish",
    "absolute",
    "as_means",
    "gathered",
    "keep_best",
    "make_rule",
    "resume",
    "start",
    "tell",
    "train",
    "typed",
    "understand",
    "watched",
]

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

from ..datasets import DATASETS, IDX, Dataset, load
from ..errors import ArgumentError, check_memory, choose, invalid
from ..files import write_json
from ..learning import RULES, Rule, VariationalPCD
from ..models import DBM, DBN, MLP, MODELS, Autoencoder, GenerativeModel, Model
from ..report import environment, open_data, open_run
from ..training import History, Options, RunFolder, diagnose, finetune, fit, pretrain
from ..training import resume as go_on
from ..training.pretrain import GREEDY, JOINT, stage_folders
from ..units import UNITS, Categorical, Mixed, Unit
from ._console import Meter, note, noted_warnings, print_commands, print_json, print_table
from ._data import as_columns, named
from ._device import as_device
from ._evaluate import conclude
from ._games import make_game
from ._settings import (
    by_layers,
    check_unsettled,
    data_keys,
    device_keys,
    model_keys,
    option_keys,
    played,
    read,
    read_array,
    refuse_others,
    rule_keys,
    stack_keys,
    stacked,
    under,
)
from ._stacks import make_masks, make_stack
from ._units import as_text, make_layer

_STATES = 256
INTERRUPTED = "interrupted"
_WATCHED = (
    "rule/told",
    "samples/spread",
    "validation/error",
    "validation/loss",
    "validation/bound",
    "validation/log_likelihood",
    "validation/pseudo_likelihood",
    "free_energy_gap",
)


class Wish(NamedTuple):
    """What ``harmonium train`` was asked for."""

    model: Model
    data: Dataset
    rule: Rule
    options: dict[str, Any]
    config: dict[str, Any]
    """What to write beside the fit's own settings: where the data are, the versions, the command."""
    layered: dict[str, Any]
    """What training layer by layer takes besides."""
    stages: int = 0
    """How many stages that has; none if the model is trained at once."""


def train(model: str, data: str, out: Path, pairs: list[str], columns: list[str], as_json: bool) -> None:
    """Train a model in a new folder, and say what came out."""
    wish = understand(model, data, pairs, columns)
    history = start(wish, out)
    tell(RunFolder(out), history, wish.data, as_json)


def understand(model: str, data: str, pairs: list[str], columns: Sequence[str] = ()) -> Wish:
    """Return the parts of a run from what was typed.

    Raises:
        ArgumentError: A name or a key is unknown, or a value does not fit.
    """
    choose("MODEL", model, MODELS)
    fitting, stacking = option_keys(by_layers(model)), stack_keys(model)
    loading = {f"data.{name}": key for name, key in data_keys().items()}
    keys = {**model_keys(model), **rule_keys(*RULES), **fitting, **stacking, **device_keys(), **loading}
    values = read(pairs, keys)
    device = as_device(values.pop("device", "cpu"))
    begin = values.pop("pretrain", "none")
    usual = VariationalPCD.name if begin != "none" else _usual_rule(MODELS[model])
    rule = make_rule(values, usual)
    _check_rule(rule, MODELS[model])
    source, arguments = named(data), absolute({**under("data.", values), **as_columns(list(columns))})
    if rule.supervised:
        arguments.setdefault("with_labels", True)
    if not _is_explicit(MODELS[model]):
        arguments = as_means(source, arguments)
    dataset = load(source, **arguments)
    with noted_warnings():
        machine = _machine(model, dataset, values).to(device)
    options = gathered({k: v for k, v in values.items() if k in fitting})
    stages = _stages(machine, begin)
    stacked = {k: v for k, v in values.items() if k in stacking}
    if stacked and not stages:
        raise ArgumentError(f"{next(iter(stacked))}: only of training layer by layer: --set pretrain=greedy")
    said = [*typed(pairs), *typed(columns, "--column")]
    config = {
        "data": {"source": source, "arguments": arguments},
        "environment": environment(),
        "commands": [["train", model, "--data", data, "--out", "RUN", *said]],
    }
    return Wish(
        machine,
        dataset,
        rule,
        keep_best(machine, dataset, options),
        config,
        {**stacked, "layers": 1} if begin == "rbm" else stacked,
        stages,
    )


def start(wish: Wish, out: Path) -> History:
    """Train as it was wished, and show how it goes."""
    model = wish.model
    epochs = wish.options.get("epochs", option_keys()["epochs"].default)
    stages = wish.stages or 1
    given: dict[str, Any] = {"out": out, "config": wish.config, **wish.options}
    with _watch(epochs if isinstance(epochs, list) else [epochs] * stages) as show:
        if wish.stages and isinstance(model, DBN | DBM):
            return pretrain(model, wish.data, wish.rule, callback=show, **given, **wish.layered)
        if isinstance(model, MLP | Autoencoder):
            return finetune(model, wish.data, wish.rule, callback=show, **given)
        return fit(model, wish.data, wish.rule, callback=show, **given)


def resume(run: Path, pairs: list[str], as_json: bool) -> None:
    """Go on with a run, and say what came out."""
    folder = RunFolder(run)
    config = folder.config()
    greedy = config["rule"].get("name") == GREEDY
    noted = config["options"]["layers"] if greedy else [config["options"]]
    check_unsettled(pairs)
    changes = gathered(read(pairs, option_keys(greedy)), noted)
    data = open_data(folder)
    wanted = changes.get("epochs", [own["epochs"] for own in noted])
    epochs = wanted if isinstance(wanted, list) else [wanted] * len(noted)
    begun = [part for part in stage_folders(folder) if part.checkpoints()] if greedy else [folder]
    done = sum(int(part.load()[1]["epoch"]) for part in begun)
    if done >= sum(epochs):
        had = epochs[0] if len({*epochs}) == 1 else epochs
        note(f"the run has all its {had} epochs; for more: {_command('resume', run)} --set epochs=N")
    with _watch(epochs, done) as show:
        history = go_on(run, data, callback=show, **changes)
    if changes and "commands" in config:
        commands = [*config["commands"], ["resume", "RUN", *typed(pairs)]]
        write_json(folder.config_path, {**folder.config(), "commands": commands})
    tell(folder, history, data, as_json)


def tell(folder: RunFolder, history: History, data: Dataset, as_json: bool) -> None:
    """Print what a run that has ended came to, and what to do next."""
    options = folder.config()["options"]
    wanted = sum(own["epochs"] for own in options.get("layers", [options]))
    ends = _ends_of_layers(history)
    last, done = (ends[-1], sum(end["epoch"] for end in ends)) if ends else ({}, 0)
    interrupted = history.stopped == INTERRUPTED
    findings = [] if interrupted else diagnose(history.model, history, data)
    judged = not interrupted and isinstance(history.model, MLP | Autoencoder)
    about: dict[str, Any] = {
        "run": str(folder.path),
        "epochs": done,
        "of": wanted,
        "stopped": history.stopped,
    }
    if as_json:
        about |= {"last": last, **({"layers": ends} if "layers" in options else {})}
        about["diagnosis"] = [finding.to_dict() for finding in findings]
        print_json({**about, **(conclude(open_run(folder.path, data), show=False) if judged else {})})
        return
    stopped = f", stopped early: {history.stopped}" if history.stopped else ""
    title = f"{folder.path}: {done} of {wanted} epochs{stopped}"
    names = dict.fromkeys(name for end in ends for name, value in end.items() if isinstance(value, float))
    rows = [(name, *(_figure(end.get(name)) for end in ends)) for name in names]
    columns = [_stage(end["layer"]) for end in ends] if "layers" in options else [""]
    print_table(title, ("last epoch", *columns), rows, right=len(columns))
    if interrupted:
        print_commands("Saved. To go on:", [_command("resume", folder.path)])
        return
    table = [(finding.name, finding.shown, finding.verdict, finding.advice) for finding in findings]
    print_table("", ("diagnosis", "value", "verdict", "what it means"), table)
    if judged:
        conclude(open_run(folder.path, data), show=True)
    print_commands("Next:", _next(folder.path, history.model, data))


def _next(path: Path, model: Model, data: Dataset) -> list[str]:
    """Return the commands that a run of a model calls for."""
    more = [_command("evaluate", path)]
    if isinstance(model, GenerativeModel):
        image = len([length for length in data.shape if length > 1]) in (2, 3)
        rows = "npy" if data.schema is None else "csv"
        name = "samples.png" if image else f"samples.{rows if data.alphabet is None else 'fasta'}"
        more.append(f"{_command('sample', path)} --out {name}")
    deep = isinstance(model, DBN) or (isinstance(model, DBM) and model.depth > 1)
    if deep and data.labels:
        more.append(f"{_command('finetune', path)} --out {shlex.quote(f'{path}-mlp')}")
    return more


def _ends_of_layers(history: History) -> list[dict[str, Any]]:
    """Return the last record of each layer that was trained, or that of the one fit there was."""
    return [*{record.get("layer", 1): record for record in history.records}.values()]


def _figure(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else ""


def _stages(model: Model, begin: str) -> int:
    """Return in how many stages a model is trained; none if at once."""
    if isinstance(model, DBM):
        return {"none": 0, "rbm": 2}.get(begin, model.depth + 1)
    return model.depth if isinstance(model, DBN) else 0


def _stage(layer: int | str) -> str:
    """Return the name of a stage, by the number of its layer or the one word for all."""
    return "all layers" if layer == JOINT else f"layer {layer}"


@contextmanager
def _watch(epochs: list[int], done: int = 0) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield what shows each epoch's record on a meter.

    Arguments:
        epochs: How many there are of each stage.
        done: How many are done.
    """
    with Meter("epoch", sum(epochs), done) as meter:

        def show(record: dict[str, Any]) -> None:
            layer, text = record.get("layer", 1), watched(record)
            stage = len(epochs) if layer == JOINT else layer
            if len(epochs) > 1:
                text = f"{_stage(layer)}{'' if layer == JOINT else f' of {len(epochs)}'}  {text}"
            meter.step(sum(epochs[: stage - 1]) + record["epoch"], text)

        yield show


def make_rule(values: dict[str, Any], usual: str) -> Rule:
    """Return the rule that was asked for.

    Arguments:
        values: The settings that were typed, by key.
        usual: The rule to take where none is named.

    Raises:
        ArgumentError: A setting belongs to another rule, or does not fit.
    """
    name = values.get("rule", usual)
    rule: type[Rule] = RULES[name]
    refuse_others("rule.", values, name, rule.model_fields)
    return rule(**under("rule.", values))


def _check_rule(rule: Rule, model: type[Model]) -> None:
    """Refuse the rules of other commands, and all but the one of a network that has its own."""
    if issubclass(DBN, rule.fits):
        raise invalid("rule", rule.name, "a rule that trains from the start; harmonium finetune takes it")
    if not _is_explicit(model) and rule.name != _usual_rule(model):
        raise invalid("rule", rule.name, repr(_usual_rule(model)))


def _usual_rule(model: type[Model]) -> str:
    """Return the rule of a model where none is named: the one that was made for it, or chains."""
    if _is_explicit(model):
        return str(rule_keys()["rule"].default)
    return next(name for name, rule in RULES.items() if rule.fits is model)


def _is_explicit(model: type[Model]) -> bool:
    """Return whether models of a type say how probable a row is, up to a constant."""
    return issubclass(model, GenerativeModel) and not model.implicit


def absolute(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of loading data, with the folder's path from the root."""
    if arguments.get("root") is None:
        return arguments
    return {**arguments, "root": str(Path(arguments["root"]).expanduser().resolve())}


def as_means(source: str, arguments: dict[str, Any], given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the arguments of loading data for a network that takes grey values as they are.

    Arguments:
        source: The name or the path of the data.
        arguments: Those to go by.
        given: Those that were typed, which hold; by default all of them.
    """
    if source in DATASETS:
        grey = DATASETS[source].levels is not None
    else:
        grey = "binarisation" in arguments or Path(source).is_dir() or source.lower().endswith(IDX)
    stated = "binarisation" in (arguments if given is None else given)
    if any(arguments.get(name) is not None for name in ("patches", "transform")):
        return arguments
    return {**arguments, "binarisation": "none"} if grey and not stated else arguments


def keep_best(model: Model, data: Dataset, options: dict[str, Any]) -> dict[str, Any]:
    """Let a classifier or an autoencoder end with its best epoch's parameters, if nothing else is said."""
    if not isinstance(model, MLP | Autoencoder) or "patience" in options or not len(data.validation):
        return options
    return {**options, "patience": max(1, options.get("epochs", option_keys()["epochs"].default))}


def _machine(model: str, data: Dataset, values: dict[str, Any]) -> Model:
    """Make the model that was asked for."""
    family: Callable[..., Model] = MODELS[model]
    if played(model):
        return make_game(data, _pixels(data, values), values)
    own = under("model.", values)
    if not stacked(model):
        own = {k: read_array(f"model.{k}", v) for k, v in own.items()}
        return family(_visible(data, values), *_hidden(model, values, data.columns), **own)
    layers = [_pixels(data, values), *make_stack(values)]
    if "classes" in signature(MODELS[model]).parameters:
        own["classes"] = None if data.classes is None else len(data.classes)
    if values.get("masks") is not None:
        sizes = [layer.size for layer in layers]
        own["masks"] = make_masks(values["masks"], data, sizes, own.get("seed", 0))
    return family(layers, **own)


def _hidden(model: str, values: dict[str, Any], columns: int) -> list[Unit]:
    """Make the hidden layer that was asked for above so many columns; none where there need be none."""
    size = values.get("hidden")
    if size is not None:
        check_memory("hidden", size, size * columns)
        return [make_layer("hidden", values.get("hidden_units", "bernoulli"), size, values)]
    if signature(MODELS[model]).parameters["hidden"].default is Parameter.empty:
        raise ArgumentError("hidden: missing, expected --set hidden=NUMBER")
    for name in values:
        if name == "hidden_units" or name.startswith("hidden."):
            raise ArgumentError(f"{name}: there are no hidden units, expected --set hidden=NUMBER as well")
    return []


def _visible(data: Dataset, values: dict[str, Any]) -> Unit:
    """Make the visible layer, the label's unit included."""
    own = _pixels(data, values)
    if data.classes is None:
        return own
    parts = own.parts if isinstance(own, Mixed) else [own]
    return Mixed(*parts, Categorical(1, len(data.classes)))


def _pixels(data: Dataset, values: dict[str, Any]) -> Unit:
    """Make the visible layer that was asked for, or else the one that fits the data; labels apart."""
    kind = values.get("visible") or (_kind(data) if data.schema is None else as_text(data.schema.layer))
    arguments = under("visible.", values)
    if kind == "categorical" and "states" not in arguments:
        arguments["states"] = max(_ends(data)[1] + 1, 2) if data.alphabet is None else len(data.alphabet)
    return make_layer("visible", kind, data.columns, {f"visible.{k}": v for k, v in arguments.items()})


def _kind(data: Dataset) -> str:
    """Return the type of units whose values the data are."""
    if data.alphabet is not None:
        return "categorical"
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


def gathered(options: dict[str, Any], before: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Gather the options ``likelihood.*`` and ``final.*`` over those that hold already, of each layer."""
    for name in ("likelihood", "final"):
        given = under(f"{name}.", options)
        if not given:
            continue
        options = {k: v for k, v in options.items() if not k.startswith(f"{name}.")}
        whole = [{**(own.get(name) or getattr(Options(), name)), **given} for own in before or [{}]]
        options[name] = whole if len(whole) > 1 else whole[0]
    return options


def typed(pairs: Sequence[str], option: str = "--set") -> list[str]:
    """Return settings as they are typed."""
    return [part for pair in pairs for part in (option, pair)]


def watched(record: dict[str, Any]) -> str:
    """Return what a meter shows of an epoch's record."""
    names = [name for name in _WATCHED if record.get(name) is not None]
    return "  ".join(f"{name.replace('_', ' ')} {record[name]:.3f}" for name in names)


def _command(name: str, run: Path) -> str:
    return shlex.join(["harmonium", name, str(run)])
