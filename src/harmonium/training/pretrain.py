r"""Greedy training of a deep belief network: one restricted Boltzmann machine after the other.

The first RBM learns the data, the second what the first one's hidden units do on the data, and so on. With
the lower RBMs held, the bound on the likelihood is a constant plus

.. math:: E_{v \sim \text{data}}\, E_{q(h \mid v)}[\log p(h)]

where p(h) is the model of the layers above. A second RBM that starts as the first one upside down models h
just as the first one does, so that the bound is where the first RBM was; each gain of the second RBM in the
likelihood of h raises it.

A run folder has a run folder for each RBM that has begun, ``layer-1``, ``layer-2`` and so on, and beside them
``start.safetensors``, the network before all training.

References:
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
    | Greedy layer-wise training of deep networks (Bengio, Lamblin, Popovici & Larochelle, 2007)
"""

from __future__ import annotations

__all__ = ["GREEDY", "pretrain", "resume_pretraining"]

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import ArgumentError, ArgumentTypeError, FileError, HarmoniumError, choose, invalid, show
from ..files import to_json, write_bytes
from ..learning import PCD, RULES, Rule
from ..models import DBN, RBM, check_fit, check_transform, load_parameters, save
from ..random import Stream
from ._checks import check_callback, check_config, check_finite, check_hashes, check_is_rule, check_rule
from ._lifted import LayerData, hashes, open_data
from ._log import read
from ._options import Options
from ._rebuild import check_changes, described, is_function_note, plain, remake
from ._run import Run, take_transform
from .checkpoint import RunFolder
from .fit import Callback, History, fit, go_on

GREEDY = "greedy"
"""The name in a run folder's configuration of training layer by layer."""

_START = "start.safetensors"


def pretrain(
    model: DBN,
    data: Any,
    rule: Rule | list[Rule | None] | None = None,
    *,
    out: str | Path | None = None,
    means: bool = False,
    upside_down: bool = True,
    weights: Any = None,
    validation: Any = None,
    callback: Callback | None = None,
    config: dict[str, Any] | None = None,
    **options: Any,
) -> History:
    """Train a deep belief network's RBMs, from the lowest up.

    Ctrl-C and SIGTERM end the run after the update at hand; what there is gets saved and returned.

    Arguments:
        model: The network.
        data: A :class:`harmonium.datasets.Dataset`, or rows of shape (rows, size).
        rule: The learning rule, or one for each RBM; persistent chains by default.
        out: A new folder for the run, with a run folder for each RBM in it: ``layer-1``, ``layer-2``, ...
        means: Whether an RBM is shown the means of the layer below; else states drawn afresh.
        upside_down: Whether a fresh RBM starts as the one below upside down, if its units allow for it: those
            of its hidden layer have to be discrete, like the ones two layers below, and as many or more. The
            others get small random weights.
        weights: The rows' weights, shape (rows).
        validation: Rows to judge the RBMs by, where ``data`` brings none.
        callback: Called with each epoch's record, which tells the number of the ``layer``, from 1 on; the run
            ends when it returns True.
        config: What else to write into the folder's ``config.json``.
        options: See :class:`harmonium.training.Options`; a list gives each RBM its own value.

    Returns:
        The history of all layers, their records one after the other, and the chains of the top RBM.

    Raises:
        ArgumentError: An option is unknown, out of range or of another length, a rule does not fit, or the
            recognition weights are the network's own already.
        DataError: The data do not fit the network.
        FileError: ``out`` exists already or cannot be written.
        TrainingError: A gradient is no longer finite.
    """
    if not isinstance(model, DBN):
        raise ArgumentTypeError(f"model: got {show(model)}, expected a deep belief network (hm.DBN)")
    if model.recognition is not None:
        raise ArgumentError(
            "model: got a network whose recognition weights are its own, expected one before dbn.untie()"
        )
    check_callback(callback)
    stack = _Stack(
        model=model,
        data=data,
        rules=_rules(model, rule),
        settings=_settings(options, model.depth),
        means=bool(means),
        upside_down=bool(upside_down),
        weights=weights,
        validation=validation,
        callback=callback,
    )
    folder = None if out is None else RunFolder(out)
    check_transform(model, data)
    stack.check(folder)
    if folder is not None:
        own = stack.config()
        check_config(config or {}, own)
        folder.create({**own, **(config or {})}, parts=False)
        try:
            save(model, folder.path / _START)
            take_transform(model, data, folder)
        except BaseException:
            folder.clear()
            raise
    else:
        take_transform(model, data, None)
    return stack.train(folder)


def resume_pretraining(
    path: str | Path,
    data: Any,
    *,
    weights: Any = None,
    validation: Any = None,
    callback: Callback | None = None,
    **changes: Any,
) -> History:
    """Go on with a run of :func:`pretrain` from its last checkpoint, bit for bit.

    Arguments:
        path: The run folder.
        data: The data that the run began with.
        weights: Their weights, as then.
        validation: The validation rows, as then.
        callback: Called with each epoch's record.
        changes: Options to change, such as more ``epochs``, where a list gives each RBM its own; the folder
            remembers them. They reach the last RBM that has begun, and those after it.

    Raises:
        ArgumentError: An option is unknown, out of range, or one that cannot be changed.
        FileError: The folder is no such run, a checkpoint is damaged, or the data are others.
    """
    check_callback(callback)
    folder = RunFolder(path)
    config = folder.config()
    model, rules, noted = _read(folder, config)
    begun = [bool(_place(folder, layer).checkpoints()) for layer in range(model.depth)]
    settled = max((layer for layer, it in enumerate(begun) if it), default=0)
    wanted = {name: _each(name, value, model.depth) for name, value in changes.items()}
    fresh = [{name: values[layer] for name, values in wanted.items()} for layer in range(model.depth)]
    settings = []
    for layer, given in enumerate(noted["layers"]):
        if begun[layer]:
            check_changes(given, fresh[layer])
        if layer < settled:
            _check_settled(layer, settled, given, fresh[layer])
            fresh[layer] = {}
        settings.append(_changed(folder, given, fresh[layer], known=layer < settled))
    stack = _Stack(
        model=model,
        data=data,
        rules=rules,
        settings=settings,
        means=noted["means"],
        upside_down=noted["upside_down"],
        weights=weights,
        validation=validation,
        callback=callback,
        settled=settled,
        changes=[
            {name: value for name, value in own.items() if value != given.get(name)}
            for own, given in zip(fresh, noted["layers"], strict=True)
        ],
    )
    model.transform = folder.transform()
    check_transform(model, data)
    check_hashes(folder, stack.hashes())
    stack.check(folder)
    if changes:
        kept = noted["layers"][:settled]
        layers = [*kept, *(plain(one) for one in settings[settled:])]
        write_bytes(folder.config_path, to_json({**config, "options": {**noted, "layers": layers}}))
    return stack.train(folder)


@dataclass(frozen=True, kw_only=True)
class _Stack:
    """All that is needed to train the layers; see :func:`pretrain`."""

    model: DBN
    data: Any
    rules: list[Rule]
    settings: list[Options]
    means: bool
    upside_down: bool
    weights: Any
    validation: Any
    callback: Callback | None
    settled: int = 0
    """How many layers others have begun on already, so that they stay as they are."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """What to change of each layer's options where it goes on."""

    def check(self, folder: RunFolder | None) -> None:
        """Check all that a layer's run would refuse, before the first one begins."""
        check_finite(self.model)
        for layer in range(self.settled, self.model.depth):
            rbm, rule, options = self.model.rbms[layer], self.rules[layer], self.settings[layer]
            own = None if folder is None else _place(folder, layer)
            Run(rbm, self._view(layer), rule, options, own, self.weights, self.validation)

    def config(self) -> dict[str, Any]:
        """Return what makes a run like this one, data apart, as JSON values."""
        rules = [{"name": rule.name, **rule.model_dump(mode="json")} for rule in self.rules]
        layers = [plain(one) for one in self.settings]
        return {
            "model": described(self.model),
            "rule": {"name": GREEDY, "layers": rules},
            "options": {"means": self.means, "upside_down": self.upside_down, "layers": layers},
            **self.hashes(),
        }

    def hashes(self) -> dict[str, Any]:
        """Return what the run folder tells of the data as the network sees them."""
        opened = open_data(self.model, self.data, Stream(0), self.settings[0], self.weights, self.validation)
        return hashes(opened, self.data)

    def train(self, folder: RunFolder | None) -> History:
        """Train the RBMs, or go on with them."""
        records: list[dict[str, Any]] = []
        for layer, rbm in enumerate(self.model.rbms):
            own = None if folder is None else _place(folder, layer)
            if layer < self.settled:
                assert own is not None
                records += _told(layer, _recall(rbm, own))
                continue
            history = self._layer(layer, own)
            records += _told(layer, history.records)
            if history.stopped in ("interrupted", "by the callback"):
                break
        if folder is not None:
            save(self.model, folder.model_path)
        chains = history.chains if layer == self.model.depth - 1 else None
        return History(self.model, records, chains, history.stopped)

    def _layer(self, layer: int, folder: RunFolder | None) -> History:
        rbm, data = self.model.rbms[layer], self._view(layer)

        def tell(record: dict[str, Any]) -> bool | None:
            return self.callback({"layer": layer + 1, **record}) if self.callback is not None else None

        given: dict[str, Any] = {"weights": self.weights, "validation": self.validation, "callback": tell}
        if folder is not None and folder.path.exists():
            if folder.checkpoints():
                if to_json(folder.config()["model"].get("config")) != to_json(rbm.config()):
                    raise FileError(f"{folder.path}: its model is none of the network's RBM {layer + 1}")
                history = go_on(folder.path, data, **given, **self.changes[layer])
                rbm.load_state_dict(history.model.state_dict())
                return history
            shutil.rmtree(folder.path)
        settings = self.settings[layer]
        if layer and self.upside_down and settings.init == "base-rates":
            _turn(self.model.rbms[layer - 1], rbm)
        options = {name: getattr(settings, name) for name in Options.model_fields}
        out = None if folder is None else folder.path
        return fit(rbm, data, self.rules[layer], out=out, **given, **options)

    def _view(self, layer: int) -> LayerData:
        return LayerData(self.model, layer, self.data, self.means)


@torch.no_grad()
def _turn(below: RBM, rbm: RBM) -> None:
    """Start a fresh RBM as the one below it upside down, if it has the units for it."""
    lower, upper = below.visible, rbm.hidden
    alike = lower.kind == upper.kind and lower.width * upper.size == upper.width * lower.size
    frozen = not all(p.requires_grad for p in (rbm.weight, rbm.visible.bias, rbm.hidden.bias))
    if not (alike and lower.discrete) or lower.kind == "mixed" or lower.width > upper.width:
        return
    if frozen or not bool(rbm.base_rates.isnan().any()):
        return
    rows, columns = below.hidden.width, lower.width
    rbm.weight[:rows, :columns] = below.weight.T
    rbm.visible.bias[:rows] = below.hidden.bias
    rbm.hidden.bias[:columns] = lower.bias
    rbm.project()


def _place(folder: RunFolder, layer: int) -> RunFolder:
    """Return the run folder of a layer."""
    return RunFolder(folder.path / f"layer-{layer + 1}")


def _told(layer: int, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a layer's records with its number, from 1 on."""
    return [{"layer": layer + 1, **record} for record in records]


def _recall(rbm: RBM, folder: RunFolder) -> list[dict[str, Any]]:
    """Give an RBM the parameters that its run has left; return the run's records."""
    _restore(rbm, folder.model_path)
    return read(folder.log_path)


def _restore(model: DBN | RBM, path: Path) -> None:
    """Give a model the parameters in a file."""
    tensors = load_parameters(path)
    check_fit(path, model, tensors)
    model.load_state_dict(tensors)


def _rules(model: DBN, rule: Rule | list[Rule | None] | None) -> list[Rule]:
    """Return the rule of each RBM."""
    rules = [PCD() if one is None else one for one in _each("rule", rule, model.depth)]
    for own, rbm in zip(rules, model.rbms, strict=True):
        check_is_rule(own)
        check_rule(own, rbm)
    return rules


def _settings(options: dict[str, Any], depth: int) -> list[Options]:
    """Return the options of each layer."""
    shares = {name: _each(name, value, depth) for name, value in options.items()}
    return [Options(**{name: values[layer] for name, values in shares.items()}) for layer in range(depth)]


def _each(name: str, value: Any, depth: int) -> list[Any]:
    """Return the value of an option for each layer.

    Raises:
        ArgumentError: There is a list of another length.
    """
    if not isinstance(value, list | tuple):
        return [value] * depth
    if len(value) != depth:
        raise invalid(name, value, f"one value, or a list of {depth}, one for each RBM")
    return list(value)


def _read(folder: RunFolder, config: dict[str, Any]) -> tuple[DBN, list[Rule], dict[str, Any]]:
    """Return the network before all training, the rules and the options that a run folder tells of.

    Raises:
        FileError: The configuration is damaged, or of another kind of run, or there is no network.
    """
    noted = config["options"]
    try:
        model = remake(config["model"])
        if not isinstance(model, DBN):
            raise TypeError(f"its model is a {model.kind}")
        rules = [_rule(own) for own in config["rule"]["layers"]]
        if not len(noted["layers"]) == len(rules) == model.depth:
            raise ValueError(f"not all of its {model.depth} RBMs have a rule and options")
        for own in noted["layers"]:
            Options(**{name: value for name, value in own.items() if not is_function_note(value)})
        noted["means"], noted["upside_down"]
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = error if isinstance(error, HarmoniumError) else show(error)
        raise FileError(f"{folder.config_path}: damaged ({reason})") from error
    _restore(model, folder.path / _START)
    return model, rules, noted


def _rule(noted: dict[str, Any]) -> Rule:
    settings = dict(noted)
    kind: type[Rule] = choose("rule", settings.pop("name", None), RULES)
    return kind(**settings)


def _check_settled(layer: int, begun: int, given: dict[str, Any], fresh: dict[str, Any]) -> None:
    """Check that a layer which another has begun on is not to be trained for longer."""
    epochs = fresh.get("epochs", given["epochs"])
    if epochs != given["epochs"]:
        expected = (
            f"{given['epochs']} for layer {layer + 1}, as layer {begun + 1} has begun on what it learned"
        )
        raise invalid("epochs", epochs, f"{expected}; a list gives each layer its own")


def _changed(folder: RunFolder, given: dict[str, Any], fresh: dict[str, Any], *, known: bool) -> Options:
    """Return a layer's options with some changed.

    Arguments:
        folder: The run folder.
        given: The options as the folder has them.
        fresh: Those to change.
        known: Whether functions, which no file can hold, may be left out.

    Raises:
        ArgumentError: An option is unknown or out of range.
        FileError: A function is missing.
    """
    values = {**given, **fresh}
    functions = sorted(name for name, value in values.items() if is_function_note(value))
    if functions and not known:
        raise FileError(
            f"{folder.path}: the run was given a function as {', '.join(functions)}, "
            "which no file can hold; give it again"
        )
    return Options(**{name: value for name, value in values.items() if name not in functions})
