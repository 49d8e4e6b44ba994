r"""Greedy training of a deep belief network: one restricted Boltzmann machine after the other.

The first RBM learns the data, the second what the first one's hidden units do on the data, and so on. With
the lower RBMs held, the bound on the likelihood is a constant plus

.. math:: E_{v \sim \text{data}}\, E_{q(h \mid v)}[\log p(h)]

where p(h) is the model of the layers above. A second RBM that starts as the first one upside down models h
just as the first one does, so that the bound is where the first RBM was; each gain of the second RBM in the
likelihood of h raises it.

References:
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
    | Greedy layer-wise training of deep networks (Bengio, Lamblin, Popovici & Larochelle, 2007)
"""

from __future__ import annotations

__all__ = ["GREEDY", "pretrain", "resume_pretraining"]

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import ArgumentTypeError, FileError, HarmoniumError, invalid, show
from ..files import to_json, write_bytes
from ..learning import PCD, RULES, Rule
from ..models import DBN, RBM, save
from ..random import Stream
from ._checks import check_config, check_rule
from ._lifted import LayerData, open_data
from ._options import Options
from ._rebuild import described, plain, remake
from .checkpoint import RunFolder
from .fit import Callback, History, fit, go_on

GREEDY = "greedy"
"""The name in a run folder's configuration of training layer by layer."""


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
        upside_down: Whether an RBM starts as the one below upside down, where it has room for it; its other
            hidden units get small random weights.
        weights: The rows' weights, shape (rows).
        validation: Rows to judge the RBMs by, where ``data`` brings none.
        callback: Called with each epoch's record, which tells the number of the ``layer``, from 1 on; the run
            ends when it returns True.
        config: What else to write into the folder's ``config.json``.
        options: See :class:`harmonium.training.Options`; a list gives each RBM its own value.

    Returns:
        The history of all layers, their records one after the other, and the chains of the top RBM.

    Raises:
        ArgumentError: An option is unknown, out of range or of another length, or a rule does not fit.
        DataError: The data do not fit the network.
        FileError: ``out`` exists already or cannot be written.
        TrainingError: A gradient is no longer finite.
    """
    if not isinstance(model, DBN):
        raise ArgumentTypeError(f"model: got {show(model)}, expected a deep belief network (hm.DBN)")
    rules = [PCD() if one is None else one for one in _each("rule", rule, model.depth)]
    for own, rbm in zip(rules, model.rbms, strict=True):
        if not isinstance(own, Rule):
            raise ArgumentTypeError(f"rule: got {show(own)}, expected a learning rule such as hm.PCD()")
        check_rule(own, rbm)
    settings = _settings(options, model.depth)
    opened = open_data(model, data, Stream(0), settings[0], weights, validation)
    stack = _Stack(model, data, rules, settings, means, upside_down, weights, validation, callback)
    if out is None:
        return stack.train(None)
    folder = RunFolder(out)
    own_config = {
        "model": described(model),
        "rule": {
            "name": GREEDY,
            "layers": [{"name": one.name, **one.model_dump(mode="json")} for one in rules],
        },
        "options": {
            "means": means,
            "upside_down": upside_down,
            "layers": [plain(one) for one in settings],
        },
        "fingerprint": opened.source.fingerprint(),
    }
    check_config(config or {}, own_config)
    folder.create({**own_config, **(config or {})}, parts=False)
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
        changes: Options to change, such as more ``epochs``; the folder remembers them.

    Raises:
        ArgumentError: An option is unknown, out of range, or one that cannot be changed.
        FileError: The folder is no such run, a checkpoint is damaged, or the data are others.
    """
    folder = RunFolder(path)
    config = folder.config()
    try:
        model = remake(config["model"])
        rules = [RULES[own.pop("name")](**own) for own in config["rule"]["layers"]]
        noted = config["options"]
        given = [dict(own) for own in noted["layers"]]
        if not isinstance(model, DBN):
            raise TypeError("its model is no deep belief network")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = error if isinstance(error, HarmoniumError) else show(error)
        raise FileError(f"{folder.config_path}: damaged ({reason})") from error
    depth = model.depth
    fresh = {name: _each(name, value, depth) for name, value in changes.items()}
    settings = []
    for layer, own in enumerate(given):
        own |= {name: values[layer] for name, values in fresh.items()}
        functions = [name for name, value in own.items() if isinstance(value, dict) and "callable" in value]
        if functions:
            raise FileError(
                f"{folder.path}: the run was given a function as {', '.join(sorted(functions))}, "
                "which no file can hold; give it again"
            )
        settings.append(Options(**own))
    source = open_data(model, data, Stream(0), settings[0], weights, validation).source
    if source.fingerprint() != config["fingerprint"]:
        raise FileError(
            f"{folder.path}: the data, their weights or their binarisation are not those "
            "that the run began with"
        )
    if changes:
        noted = {**noted, "layers": [plain(one) for one in settings]}
        write_bytes(folder.config_path, to_json({**config, "options": noted}))
    means, upside_down = noted["means"], noted["upside_down"]
    stack = _Stack(model, data, rules, settings, means, upside_down, weights, validation, callback, fresh)
    return stack.train(folder)


@dataclass(frozen=True)
class _Stack:
    """All that is needed to train the layers."""

    model: DBN
    data: Any
    rules: list[Rule]
    settings: list[Options]
    means: bool
    upside_down: bool
    weights: Any
    validation: Any
    callback: Callback | None
    changes: dict[str, list[Any]] | None = None

    def train(self, folder: RunFolder | None) -> History:
        """Train the RBMs, or go on with them."""
        records: list[dict[str, Any]] = []
        history: History | None = None
        for layer, rbm in enumerate(self.model.rbms):
            if layer and self.upside_down:
                _turn(self.model.rbms[layer - 1], rbm)
            own = None if folder is None else RunFolder(folder.path / f"layer-{layer + 1}")
            history = self._layer(layer, own)
            records += [{"layer": layer + 1, **record} for record in history.records]
            if history.stopped in ("interrupted", "by the callback"):
                break
        assert history is not None
        if folder is not None:
            save(self.model, folder.model_path)
        chains = history.chains if layer == self.model.depth - 1 else None
        return History(self.model, records, chains, history.stopped)

    def _layer(self, layer: int, folder: RunFolder | None) -> History:
        rbm, data = self.model.rbms[layer], LayerData(self.model, layer, self.data, self.means)

        def tell(record: dict[str, Any]) -> bool | None:
            return self.callback({"layer": layer + 1, **record}) if self.callback is not None else None

        given: dict[str, Any] = {"weights": self.weights, "validation": self.validation, "callback": tell}
        if folder is not None and folder.path.exists():
            if folder.checkpoints():
                own = {name: values[layer] for name, values in (self.changes or {}).items()}
                history = go_on(folder.path, data, **given, **own)
                rbm.load_state_dict(history.model.state_dict())
                return history
            shutil.rmtree(folder.path)
        options = {name: getattr(self.settings[layer], name) for name in Options.model_fields}
        return fit(rbm, data, self.rules[layer], out=folder and folder.path, **given, **options)


@torch.no_grad()
def _turn(below: RBM, rbm: RBM) -> None:
    """Start an RBM as the one below it upside down, if it has the units for it."""
    lower, upper = below.visible, rbm.hidden
    if lower.kind != upper.kind or lower.width > upper.width or below.hidden.width > rbm.visible.width:
        return
    rows, columns = below.hidden.width, lower.width
    rbm.weight[:rows, :columns] = below.weight.T
    rbm.visible.bias[:rows] = below.hidden.bias
    rbm.hidden.bias[:columns] = lower.bias
    rbm.project()


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
