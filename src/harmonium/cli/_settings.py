"""The keys of ``--set``: every argument of the model, the rule, the fit and the data set.

Keys, types, defaults and meanings are read off the signatures, settings and docstrings of the library,
so that a new argument is a new key. A value is read as JSON where it is JSON (``5``, ``0.1``, ``true``,
``null``), and as plain text otherwise.
"""

from __future__ import annotations

__all__ = [
    "Key",
    "Keys",
    "by_layers",
    "check_unsettled",
    "data_keys",
    "device_keys",
    "estimate_keys",
    "model_keys",
    "option_keys",
    "played",
    "print_settings",
    "read",
    "read_array",
    "refuse_others",
    "rule_keys",
    "score_keys",
    "signature_keys",
    "stack_keys",
    "stacked",
    "under",
]

import inspect
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..datasets import BINARISATIONS, TRANSFORMS, load
from ..errors import ArgumentError, choose, invalid
from ..learning import RULES
from ..likelihood import ESTIMATORS, log_likelihood, log_partition
from ..likelihood import SCHEDULES as ANNEALING
from ..models import DBM, DBN, INFERENCES, MODELS, NETWORKS, GenerativeModel, predict_proba
from ..settings import Settings
from ..training import MOVING, OF_RULE, SCHEDULES, Options, pretrain
from ..units import UNITS
from ._console import print_table

_NO_SETTING = (
    "self",
    "source",
    "model",
    "size",
    "columns",
    "chains",
    "progress",
    "visible",
    "hidden",
    "parts",
    "layers",
    "classes",
    "masks",
    "network",
    "shape",
    "inner",
    "settings",
)
_CLOSE = 0.5
PRETRAINING = ("none", "rbm", "greedy")
"""What a deep Boltzmann machine begins with before all its layers are trained together."""

_PRETRAIN = (
    "What a dbm begins with: none; rbm, its first two layers as an RBM; greedy, an RBM for each pair of "
    "layers. Then a list has a value for each RBM and one for all layers together."
)
_LAYERS = "Of a dbn, a dbm, an mlp or an autoencoder those of all its hidden layers, as [500,500,2000]."
_PARTS = "A mixed layer lists its parts: mixed:bernoulli:784+categorical:1x10."
_MASKS = (
    "What each hidden layer sees of the one below: random:INPUTS, local:SIZE of an image, the path of an "
    "array, or null for all of it; or a list of these."
)


class Key(NamedTuple):
    """What is known of one key."""

    hint: Any
    default: Any
    meaning: str
    choices: Collection[str] = ()


Keys: TypeAlias = dict[str, Key]


def read(pairs: Sequence[str], keys: Keys) -> dict[str, Any]:
    """Return the values of ``key=value`` pairs, checked, by their key.

    Raises:
        ArgumentError: A pair is none, a key is unknown or comes twice, or a value does not fit.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ArgumentError(f"--set: got {pair!r}, expected KEY=VALUE")
        if name in values:
            raise ArgumentError(f"--set: {name} comes twice")
        if name not in keys:
            raise ArgumentError(f"--set: unknown key {name!r}{_nearest(name, keys)}")
        values[name] = _value(name, text, keys[name])
    return values


def under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values whose keys start with ``prefix``, by the rest of their key."""
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def refuse_others(prefix: str, values: Mapping[str, Any], owner: str, own: Collection[str]) -> None:
    """Refuse values under a prefix that are no settings of what was chosen.

    Raises:
        ArgumentError: With the settings that it has.
    """
    for name in under(prefix, values):
        if name not in own:
            has = ", ".join(own) or "none"
            raise ArgumentError(f"{prefix}{name}: no setting of {owner}, which has {has}")


def stacked(model: str) -> bool:
    """Return whether a model is a stack of layers, as many as are asked for."""
    return "layers" in inspect.signature(MODELS[model]).parameters


def by_layers(model: str) -> bool:
    """Return whether a model can be trained layer by layer."""
    return issubclass(MODELS[model], DBN | DBM)


def played(model: str) -> bool:
    """Return whether a model is a game of two networks."""
    return "generator" in inspect.signature(MODELS[model]).parameters


def model_keys(*models: str) -> Keys:
    """Return the keys of models, of their layers, of the types of their units, and of their networks."""
    layered = [model for model in models if not played(model)]
    keys = _hidden_keys(layered) if layered else {}
    layers = ["visible", *(["hidden"] if "hidden_units" in keys else [])]
    meaning = f"The type of the visible units; by default one that fits the data. {_PARTS}"
    keys["visible"] = Key(str, None, meaning, UNITS)
    if any("masks" in inspect.signature(MODELS[model]).parameters for model in models):
        keys["masks"] = Key(str | list[str | None], None, _MASKS)
    for model in models:
        made: Any = MODELS[model]
        keys |= {f"model.{k}": key for k, key in signature_keys(made.of if played(model) else made).items()}
    if len(layered) < len(models):
        meaning = "The family of both networks of a gan; by default dcgan for images, and mlp for other rows."
        keys |= {"network": Key(str, None, meaning, NETWORKS), **_owned_keys("network.", NETWORKS)}
    owners: dict[str, list[str]] = {}
    for layer in layers:
        for kind, unit in UNITS.items():
            for name, key in signature_keys(unit).items():
                keys.setdefault(f"{layer}.{name}", key)
                owners.setdefault(f"{layer}.{name}", []).append(kind)
    for name, kinds in owners.items():
        keys[name] = keys[name]._replace(meaning=f"{keys[name].meaning} ({', '.join(kinds)})")
    return keys


def rule_keys(*rules: str) -> Keys:
    """Return the keys of learning rules; where they differ by rule, those of the first that has them."""
    own = _owned_keys("rule.", {rule: RULES[rule] for rule in rules})
    return {"rule": Key(str, "pcd", "The learning rule; of a gan adversarial.", RULES), **own}


def option_keys(layered: bool = False) -> Keys:
    """Return the keys of a fit, and of the estimates that it makes on the way.

    Arguments:
        layered: Whether there is a fit for each layer, so that each key may have a list of values.
    """
    keys = _field_keys(Options)
    keys["schedule"] = keys["schedule"]._replace(choices=SCHEDULES)
    own = keys.pop("likelihood").default
    del keys["final"]
    final = _final_keys(keys)
    if layered:
        keys = {name: key._replace(hint=_several(key.hint)) for name, key in keys.items()}
    for name, key in estimate_keys().items():
        if name != "seed":
            keys[f"likelihood.{name}"] = key._replace(default=own.get(name, key.default))
    return {**keys, **final}


def _final_keys(keys: Keys) -> Keys:
    """Return the keys of values to go to, given those of a fit."""
    about = "What {} goes to until final_at."
    found = {
        f"final.{name}": keys[name]._replace(default=None, meaning=about.format(name)) for name in MOVING
    }
    for rule in RULES.values():
        for name in rule().numbers():
            full = OF_RULE + name
            found[f"final.{full}"] = Key(float, None, f"{about.format(full)[:-1]} ({rule.name}).")
    return found


def device_keys() -> Keys:
    """Return the key of where a model is trained."""
    return {"device": Key(str, "cpu", "Where to train: cpu, cuda, cuda:1 or mps.")}


def stack_keys(*models: str) -> Keys:
    """Return the keys of training models layer by layer; none of models that are not."""
    deep = [model for model in models if by_layers(model)]
    keys = signature_keys(pretrain) if deep else {}
    found = {name: key for name, key in keys.items() if name in ("means", "upside_down")}
    return {"pretrain": Key(str, "none", _PRETRAIN, PRETRAINING), **found} if DBM.kind in deep else found


def estimate_keys() -> Keys:
    """Return the keys of an estimate of log Z."""
    keys = signature_keys(log_partition)
    keys["method"] = keys["method"]._replace(choices=ESTIMATORS)
    keys["schedule"] = keys["schedule"]._replace(choices=ANNEALING)
    return keys


def score_keys() -> Keys:
    """Return the keys of an evaluation: of log Z, of samples of hidden layers, of how labels are inferred."""
    keys = signature_keys(predict_proba)
    labels = {"inference": keys["inference"]._replace(choices=INFERENCES), "sweeps": keys["sweeps"]}
    return {**estimate_keys(), "samples": signature_keys(log_likelihood)["samples"], **labels}


def data_keys() -> Keys:
    """Return the keys of loading a data set."""
    keys = signature_keys(load, but=("source", "columns", "schema"))
    keys["binarisation"] = keys["binarisation"]._replace(choices=BINARISATIONS)
    keys["transform"] = keys["transform"]._replace(hint=str | None, choices=TRANSFORMS)
    return keys


def signature_keys(function: Callable[..., Any], but: Collection[str] = _NO_SETTING) -> Keys:
    """Return the keys that are the arguments of a function or a class, but for some."""
    target = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    hints = get_type_hints(target)
    meanings = _meanings(inspect.getdoc(function) or "")
    return {
        name: Key(hints[name], _default(argument.default), meanings.get(name, ""))
        for name, argument in inspect.signature(target).parameters.items()
        if name not in but
    }


def check_unsettled(pairs: Sequence[str]) -> None:
    """Check that what is to change of a run that has begun is no setting that it began with.

    Raises:
        ArgumentError: It is one of the model, the rule or the data.
    """
    settled = {key for keys in _groups().values() for key in keys} - option_keys().keys()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if equals and name in settled:
            expected = "none, as the run keeps what it began with; settings of the fit, as epochs, can change"
            raise invalid(name, text, expected)


def print_settings() -> None:
    """Print every key of ``harmonium train --set``."""
    for title, keys in _groups().items():
        rows = [(name, _shown(key.default), _told(key)) for name, key in keys.items()]
        print_table(title, ("key", "default", "meaning"), rows)


def _groups() -> dict[str, Keys]:
    """Return every key of ``harmonium train --set``, in groups."""
    return {
        "The model": model_keys(*MODELS),
        "The learning rule": rule_keys(*RULES),
        "The fit": {**option_keys(), **device_keys()},
        "The training of a dbn or a dbm, where each key of the fit may also be a list": stack_keys(*MODELS),
        "The data": {f"data.{name}": key for name, key in data_keys().items()},
    }


def _hidden_keys(models: Sequence[str]) -> Keys:
    """Return the keys of the hidden layers of models that have some."""
    deep = any(map(stacked, models))
    several: Callable[[Any], Any] = _several if deep else lambda hint: hint
    sizes = ["The number of hidden units; an rbm must have some."] if not all(map(stacked, models)) else []
    keys = {"hidden": Key(several(int), None, " ".join([*sizes, *([_LAYERS] if deep else [])]))}
    if any(issubclass(MODELS[model], GenerativeModel) for model in models):
        also = " Of a dbn also a list." if deep else ""
        meaning = f"The type of the hidden units. {_PARTS}{also}"
        keys["hidden_units"] = Key(several(str), "bernoulli", meaning, UNITS)
    return keys


def _owned_keys(prefix: str, owners: Mapping[str, type[Settings]]) -> Keys:
    """Return the keys of several groups of settings, which tell whose they are where not all have them.

    Where meanings or defaults differ, each is told with its owners.
    """
    have: dict[str, dict[str, Key]] = {}
    for owner, settings in owners.items():
        for name, key in _field_keys(settings).items():
            have.setdefault(prefix + name, {})[owner] = key
    return {name: _shared(keys, len(keys) == len(owners)) for name, keys in have.items()}


def _shared(keys: Mapping[str, Key], all_have: bool) -> Key:
    """Return one key for those that owners have by the same name."""
    first, meanings = next(iter(keys.values())), dict[str, list[str]]()
    for owner, key in keys.items():
        meanings.setdefault(key.meaning, []).append(owner)
    whose = [f"{meaning} ({', '.join(names)})" for meaning, names in meanings.items()]
    told = first.meaning if all_have and len(meanings) == 1 else "; ".join(whose)
    if all(key.default == first.default for key in keys.values()):
        return first._replace(meaning=told)
    defaults = ", ".join(f"{key.default} for {owner}" for owner, key in keys.items())
    return first._replace(default=None, meaning=f"{told} (default: {defaults})")


def _field_keys(settings: type[Settings]) -> Keys:
    return {
        name: Key(
            Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation,
            field.get_default(call_default_factory=True),
            _with_names(field.description or "", _names(field.annotation)),
        )
        for name, field in settings.model_fields.items()
    }


def _names(hint: Any) -> list[str]:
    """Return the names that a type lets an argument have."""
    if get_origin(hint) is Literal:
        return [name for name in get_args(hint) if isinstance(name, str)]
    return [name for part in get_args(hint) for name in _names(part)]


def _value(name: str, text: str, key: Key) -> Any:
    """Return the value that a text stands for."""
    adapter: TypeAdapter[Any] = TypeAdapter(key.hint, config=ConfigDict(arbitrary_types_allowed=True))
    try:
        value = adapter.validate_python(_parsed(text))
    except ValidationError as first:
        try:
            value = adapter.validate_python(text)
        except ValidationError:
            expected = first.errors()[0]["msg"].removeprefix("Input should be ")
            raise ArgumentError(f"{name}: got {text!r}, expected {expected}") from None
    for item in value if isinstance(value, list) else [value]:
        if key.choices and item is not None:
            choose(name, item.partition(":")[0] if key.choices is UNITS else item, key.choices)
    return value


def read_array(name: str, value: Any) -> Any:
    """Read the array that a path leads to, where an argument takes one; leave all else as it is.

    Raises:
        ArgumentError: There is none.
    """
    if not isinstance(value, str):
        return value
    try:
        return np.load(value) if value.endswith(".npy") else np.loadtxt(value, delimiter=",", dtype=np.int64)
    except (OSError, ValueError) as error:
        expected = "the path of an array: .npy, or text with commas"
        raise ArgumentError(f"{name}: got {value!r}, expected {expected} ({error})") from error


def _parsed(text: str) -> Any:
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _nearest(name: str, keys: Keys) -> str:
    """Return the words that offer the key that was meant."""
    group, _, last = name.rpartition(".")
    own = [key for key in keys if group and key.startswith(f"{group}.")]
    near = [
        *get_close_matches(name, own, n=1, cutoff=_CLOSE),
        *(key for key in keys if key.rpartition(".")[2] == last),
        *get_close_matches(name, keys, n=1, cutoff=_CLOSE),
    ]
    return f"; did you mean {near[0]!r}?" if near else "; harmonium train --settings lists them"


def _meanings(doc: str) -> dict[str, str]:
    """Return the meanings of arguments by name, as a docstring lists them."""
    _, _, rest = doc.partition("Arguments:\n")
    block = re.split(r"\n(?=\S)", rest, maxsplit=1)[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", block, flags=re.MULTILINE)
    return {name: _plain(text) for name, text in found}


def _plain(text: str) -> str:
    """Return a text without the marks of a docstring."""
    return " ".join(re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").split())


def _several(hint: Any) -> Any:
    """Return the type of a value or of a list of such values."""
    return hint | GenericAlias(list, (hint,))


def _default(value: Any) -> Any:
    return None if value is inspect.Parameter.empty else value


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _told(key: Key) -> str:
    return _with_names(key.meaning, key.choices)


def _with_names(meaning: str, names: Iterable[str]) -> str:
    """Return a meaning that tells all names."""
    if all(re.search(rf"\b{re.escape(name)}\b", meaning) for name in names):
        return meaning
    listed = ", ".join(names)
    return f"{meaning} One of {listed}." if meaning.endswith(".") else f"{meaning}: {listed}"
