r"""Greedy training of deep networks: one restricted Boltzmann machine after the other.

The first RBM learns the data, the second what the first one's hidden units do on the data, and so on. With
the lower RBMs held, the bound on the likelihood is a constant plus

.. math:: E_{v \sim \text{data}}\, E_{q(h \mid v)}[\log p(h)]

where p(h) is the model of the layers above. A second RBM that starts as the first one upside down models h
just as the first one does, so that the bound is where the first RBM was; each gain of the second RBM in the
likelihood of h raises it. So much of a deep belief network.

A deep Boltzmann machine is a stack too, of RBMs whose outer layers are there twice (see
:class:`harmonium.DBM`), and the second one upside down is again the first, both copies included. What is
composed of the stack is a start only: all layers are trained together afterwards, by a rule for the whole
machine.

A run folder has a run folder for each stage that has begun, ``layer-1``, ``layer-2`` and so on, of a deep
Boltzmann machine ``joint`` as well, and beside them ``start.safetensors``, the network before all training.

References:
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
    | Greedy layer-wise training of deep networks (Bengio, Lamblin, Popovici & Larochelle, 2007)
    | Deep Boltzmann machines (Salakhutdinov & Hinton, 2009)
    | An efficient learning procedure for deep Boltzmann machines (Salakhutdinov & Hinton, 2012)
"""

from __future__ import annotations

__all__ = ["GREEDY", "JOINT", "pretrain", "resume_pretraining", "stage_folders"]

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import ArgumentError, ArgumentTypeError, FileError, HarmoniumError, choose, invalid, show
from ..files import to_json, write_bytes
from ..learning import PCD, RULES, Rule, VariationalPCD
from ..models import DBM, DBN, RBM, check_fit, check_transform, load_parameters, save
from ..random import Stream
from ._checks import (
    check_callback,
    check_complete,
    check_config,
    check_finite,
    check_hashes,
    check_is_rule,
    check_rule,
)
from ._lifted import LayerData, hashes, open_data
from ._log import read
from ._options import Options
from ._rebuild import check_changes, described, is_function_note, plain, remake
from ._run import Run, take_transform
from .checkpoint import RunFolder
from .fit import Callback, History, fit, go_on

GREEDY = "greedy"
"""The name in a run folder's configuration of training layer by layer."""

JOINT = "joint"
"""The name of the stage in which all layers of a deep Boltzmann machine are trained together."""

_START = "start.safetensors"


def pretrain(
    model: DBN | DBM,
    data: Any,
    rule: Rule | list[Rule | None] | None = None,
    *,
    out: str | Path | None = None,
    layers: int | None = None,
    means: bool = False,
    upside_down: bool = True,
    weights: Any = None,
    validation: Any = None,
    callback: Callback | None = None,
    config: dict[str, Any] | None = None,
    **options: Any,
) -> History:
    """Train a deep network's RBMs, from the lowest up, and then all layers of a deep Boltzmann machine.

    Ctrl-C and SIGTERM end the run after the update at hand; what there is gets saved and returned.

    Arguments:
        model: The network. A :class:`harmonium.DBM` is trained as the RBMs of its
            :meth:`harmonium.DBM.stack`, composed, and trained as a whole.
        data: A :class:`harmonium.datasets.Dataset`, or rows of shape (rows, size).
        rule: The learning rule, or a list with one for each RBM, and of a deep Boltzmann machine with one
            more for the whole; persistent chains by default, and :class:`harmonium.VariationalPCD`
            for the whole.
        out: A new folder for the run, with a run folder for each RBM in it: ``layer-1``, ``layer-2``, ...;
            and one for the whole deep Boltzmann machine, ``joint``.
        layers: How many RBMs are trained, from the lowest up; all by default. Layers above start as they
            stand. The first RBM alone is an ordinary one, of a deep Boltzmann machine too.
        means: Whether an RBM is shown the means of the layer below; else states drawn afresh.
        upside_down: Whether a fresh RBM starts as the one below upside down, if its units allow for it: those
            of its hidden layer have to be discrete, like the ones two layers below, and as many or more. The
            others get small random weights. Where only one of the two RBMs has a layer twice, the weights are
            halved or doubled, so that the layer that they share feels the same.
        weights: The rows' weights, shape (rows).
        validation: Rows to judge the RBMs by, where ``data`` brings none.
        callback: Called with each epoch's record, which tells the number of the ``layer``, from 1 on, or
            ``joint``; the run ends when it returns True.
        config: What else to write into the folder's ``config.json``.
        options: See :class:`harmonium.training.Options`; a list gives each RBM, and the whole deep
            Boltzmann machine, its own value.

    Returns:
        The history of all stages, their records one after the other, and the chains of the last one: those of
        the top RBM, or of the whole deep Boltzmann machine.

    Raises:
        ArgumentError: An option is unknown, out of range or of another length, a rule does not fit, or the
            recognition weights are the network's own already.
        ArgumentTypeError: The model is no deep network.
        DataError: The data do not fit the network.
        FileError: ``out`` exists already or cannot be written.
        TrainingError: A gradient is no longer finite.
    """
    if not isinstance(model, DBN | DBM):
        raise ArgumentTypeError(
            f"model: got {show(model)}, expected a deep belief network (hm.DBN) or a deep Boltzmann machine "
            "(hm.DBM)"
        )
    if isinstance(model, DBN) and model.recognition is not None:
        raise ArgumentError(
            "model: got a network whose recognition weights are its own, expected one before dbn.untie()"
        )
    check_callback(callback)
    rbms = model.stack(layers)
    stages = len(rbms) + model.joint
    stack = _Stack(
        model=model,
        rbms=rbms,
        data=data,
        rules=_rules(model, rbms, rule),
        settings=_settings(options, stages, joint=model.joint),
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
    rbms = model.stack(noted.get("stack"))
    begun = [bool(own.checkpoints()) for own in stage_folders(folder)]
    settled = max((layer for layer, it in enumerate(begun) if it), default=0)
    wanted = {name: _each(name, value, len(rules), model.joint) for name, value in changes.items()}
    fresh = [{name: values[layer] for name, values in wanted.items()} for layer in range(len(rules))]
    settings = []
    for layer, given in enumerate(noted["layers"]):
        if begun[layer]:
            check_changes(given, fresh[layer])
        if layer < settled:
            later = f"layer {settled + 1}" if settled < len(rbms) else "the joint training"
            _check_settled(layer, later, given, fresh[layer])
            fresh[layer] = {}
        settings.append(_changed(folder, given, fresh[layer], known=layer < settled))
    stack = _Stack(
        model=model,
        rbms=rbms,
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
    model.transform, model.schema = folder.transform(), folder.schema()
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
    """All that is needed to train the stages; see :func:`pretrain`."""

    model: DBN | DBM
    rbms: list[RBM]
    """The RBMs to train, from the lowest up."""
    data: Any
    rules: list[Rule]
    settings: list[Options]
    means: bool
    upside_down: bool
    weights: Any
    validation: Any
    callback: Callback | None
    settled: int = 0
    """How many stages others have begun on already, so that they stay as they are."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """What to change of each stage's options where it goes on."""

    @property
    def stages(self) -> list[RBM | DBM]:
        """What is trained, one after the other."""
        whole = [self.model] if isinstance(self.model, DBM) else []
        return [*self.rbms, *whole]

    def check(self, folder: RunFolder | None) -> None:
        """Check all that a stage's run would refuse, before the first one begins."""
        check_finite(self.model)
        check_complete(self.data)
        for stage, trained in enumerate(self.stages):
            if stage < self.settled:
                continue
            own = None if folder is None else self._place(folder, stage)
            rule, options = self.rules[stage], self.settings[stage]
            Run(trained, self._view(stage), rule, options, own, self.weights, self.validation)

    def config(self) -> dict[str, Any]:
        """Return what makes a run like this one, data apart, as JSON values."""
        rules = [{"name": rule.name, **rule.model_dump(mode="json")} for rule in self.rules]
        layers = [plain(one) for one in self.settings]
        own = {"stack": len(self.rbms), "means": self.means, "upside_down": self.upside_down}
        return {
            "model": described(self.model),
            "rule": {"name": GREEDY, "layers": rules},
            "options": {**own, "layers": layers},
            **self.hashes(),
        }

    def hashes(self) -> dict[str, Any]:
        """Return what the run folder tells of the data as the network sees them."""
        opened = open_data(self.model, self.data, Stream(0), self.settings[0], self.weights, self.validation)
        return hashes(opened, self.data)

    def train(self, folder: RunFolder | None) -> History:
        """Train stage by stage, or go on with it."""
        records: list[dict[str, Any]] = []
        last = len(self.stages) - 1
        for stage, trained in enumerate(self.stages):
            own = None if folder is None else self._place(folder, stage)
            if stage < self.settled:
                assert own is not None
                records += self._told(stage, _recall(trained, own))
                continue
            if trained is self.model:
                self.model.compose(self.rbms)
            history = self._train(stage, trained, own)
            records += self._told(stage, history.records)
            if history.stopped in ("interrupted", "by the callback"):
                break
        if trained is not self.model:
            self.model.compose(self.rbms)
        if folder is not None:
            save(self.model, folder.model_path)
        chains = history.chains if stage == last else None
        return History(self.model, records, chains, history.stopped)

    def _train(self, stage: int, trained: RBM | DBM, folder: RunFolder | None) -> History:
        data = self._view(stage)

        def tell(record: dict[str, Any]) -> bool | None:
            return self.callback(*self._told(stage, [record])) if self.callback is not None else None

        given: dict[str, Any] = {"weights": self.weights, "validation": self.validation, "callback": tell}
        if folder is not None and folder.path.exists():
            if folder.checkpoints():
                if to_json(folder.config()["model"].get("config")) != to_json(trained.config()):
                    which = "the whole" if trained is self.model else f"the network's RBM {stage + 1}"
                    raise FileError(f"{folder.path}: its model is none of {which}")
                history = go_on(folder.path, data, **given, **self.changes[stage])
                trained.load_state_dict(history.model.state_dict())
                return history
            shutil.rmtree(folder.path)
        settings = self.settings[stage]
        if isinstance(trained, RBM) and stage and self.upside_down and settings.init == "base-rates":
            _turn(self.rbms[stage - 1], trained)
        options = {name: getattr(settings, name) for name in Options.model_fields}
        out = None if folder is None else folder.path
        return fit(trained, data, self.rules[stage], out=out, **given, **options)

    def _view(self, stage: int) -> Any:
        """Return the data as a stage is shown them."""
        if stage == len(self.rbms):
            return self.data
        return LayerData(self.model, self.rbms, stage, self.data, self.means)

    def _place(self, folder: RunFolder, stage: int) -> RunFolder:
        return _place(folder, stage, len(self.rbms))

    def _told(self, stage: int, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return a stage's records with the number of its layer, from 1 on, or its name."""
        name = stage + 1 if stage < len(self.rbms) else JOINT
        return [{"layer": name, **record} for record in records]


def stage_folders(folder: RunFolder) -> list[RunFolder]:
    """Return the run folders of the stages of a run of :func:`pretrain`, whether they have begun or not."""
    noted = folder.config()["options"]
    stages = len(noted["layers"])
    return [_place(folder, stage, noted.get("stack", stages)) for stage in range(stages)]


@torch.no_grad()
def _turn(below: RBM, rbm: RBM) -> None:
    """Start a fresh RBM as the one below it upside down, if it has the units for it.

    Layers that are there twice in one of the two alone are made up for by the weights. Hidden units in excess
    keep their small random weights, whose mean effect the visible biases take back.
    """
    lower, upper = below.visible, rbm.hidden
    alike = lower.kind == upper.kind and lower.width * upper.size == upper.width * lower.size
    frozen = not all(p.requires_grad for p in (rbm.weight, rbm.visible.bias, rbm.hidden.bias))
    if not (alike and lower.discrete) or lower.kind == "mixed" or lower.width > upper.width:
        return
    if frozen or not bool(rbm.base_rates.isnan().any()):
        return
    rows, columns = below.hidden.width, lower.width
    copies = (1 + (below.doubled == "visible")) / (1 + (rbm.doubled == "hidden"))
    rbm.weight[:rows, :columns] = copies * below.weight.T
    rbm.visible.bias[:rows] = below.hidden.bias
    rbm.hidden.bias[:columns] = lower.bias
    rbm.project()
    mean = rbm.hidden.expected_statistics(rbm.hidden.bias)[columns:]
    rbm.visible.bias[:rows] -= (1 + (rbm.doubled == "hidden")) * rbm.weight[:rows, columns:] @ mean


def _place(folder: RunFolder, stage: int, stack: int) -> RunFolder:
    """Return the run folder of a stage, of which so many are of RBMs."""
    return RunFolder(folder.path / (f"layer-{stage + 1}" if stage < stack else JOINT))


def _recall(trained: RBM | DBM, folder: RunFolder) -> list[dict[str, Any]]:
    """Give a model the parameters that its run has left; return the run's records."""
    _restore(trained, folder.model_path)
    return read(folder.log_path)


def _restore(model: DBN | DBM | RBM, path: Path) -> None:
    """Give a model the parameters in a file."""
    tensors = load_parameters(path)
    check_fit(path, model, tensors)
    model.load_state_dict(tensors)


def _rules(model: DBN | DBM, rbms: list[RBM], rule: Rule | list[Rule | None] | None) -> list[Rule]:
    """Return the rule of each stage."""
    stages: list[RBM | DBM] = [*rbms, *([model] if isinstance(model, DBM) else [])]
    given = _each("rule", rule, len(stages), model.joint)
    usual = [PCD() if isinstance(trained, RBM) else VariationalPCD() for trained in stages]
    rules = [one if own is None else own for own, one in zip(given, usual, strict=True)]
    for own, trained in zip(rules, stages, strict=True):
        check_is_rule(own)
        check_rule(own, trained)
    return rules


def _settings(options: dict[str, Any], stages: int, *, joint: bool) -> list[Options]:
    """Return the options of each stage."""
    shares = {name: _each(name, value, stages, joint) for name, value in options.items()}
    init = shares.get("init")
    if joint and init is not None and init[-1] != "base-rates":
        if isinstance(options["init"], list | tuple):
            expected = "'base-rates' as the last one, as the whole starts from what the RBMs have learned"
            raise invalid("init", options["init"], expected)
        init[-1] = "base-rates"
    return [Options(**{name: values[stage] for name, values in shares.items()}) for stage in range(stages)]


def _each(name: str, value: Any, stages: int, joint: bool) -> list[Any]:
    """Return the value of an option for each stage.

    Raises:
        ArgumentError: There is a list of another length.
    """
    if not isinstance(value, list | tuple):
        return [value] * stages
    if len(value) != stages:
        whole = " and one for the whole" if joint else ""
        raise invalid(name, value, f"one value, or a list of {stages}, one for each RBM{whole}")
    return list(value)


def _read(folder: RunFolder, config: dict[str, Any]) -> tuple[DBN | DBM, list[Rule], dict[str, Any]]:
    """Return the network before all training, the rules and the options that a run folder tells of.

    Raises:
        FileError: The configuration is damaged, or of another kind of run, or there is no network.
    """
    noted = config["options"]
    try:
        model = remake(config["model"])
        if not isinstance(model, DBN | DBM):
            raise TypeError(f"its model is a {model.kind}")
        rules = [_rule(own) for own in config["rule"]["layers"]]
        rbms = len(model.stack(noted.get("stack")))
        if not len(noted["layers"]) == len(rules) == rbms + model.joint:
            raise ValueError(f"not all of its {rbms} RBMs have a rule and options")
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


def _check_settled(layer: int, later: str, given: dict[str, Any], fresh: dict[str, Any]) -> None:
    """Check that a layer which a later stage has begun on is not to be trained for longer."""
    epochs = fresh.get("epochs", given["epochs"])
    if epochs != given["epochs"]:
        expected = f"{given['epochs']} for layer {layer + 1}, as {later} has begun on what it learned"
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
