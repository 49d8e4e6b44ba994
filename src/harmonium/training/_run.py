"""A run in progress: all that a checkpoint holds."""

from __future__ import annotations

__all__ = ["Run"]

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import FileError, TrainingError
from ..learning import RULES, Rule
from ..models import RBM, model_from_config, save
from ..random import Stream
from ..units import Gaussian
from ._log import Log
from ._monitor import Monitor
from ._optimiser import Average, Optimisers
from ._options import Options
from ._source import open_source
from .checkpoint import RunFolder


class Run:
    """Creates a run from its parts; see :func:`harmonium.fit` for the arguments."""

    def __init__(
        self,
        model: RBM,
        data: Any,
        rule: Rule,
        options: Options,
        folder: RunFolder | None = None,
        weights: Any = None,
        validation: Any = None,
    ) -> None:
        rule.check(model)
        self.model, self.rule, self.options, self.folder = model, rule, options, folder
        root = Stream(options.seed, "fit")
        self.stream = root.child("chains")
        self.source, train, held_out = open_source(
            model.visible, data, root.child("data"), options.batch_size, options.probe, weights
        )
        if validation is not None:
            held_out = torch.as_tensor(validation)
            model.visible.validate(held_out)
            held_out = held_out[: options.probe]
        self.shape = data.shape if isinstance(data, Dataset) else None
        self.monitor = Monitor(train, held_out, options)
        groups = rule.parameters(model)
        self.optimisers = Optimisers(groups, options, options.lr or default_rate(model))
        self.average = Average({k: p for g in groups.values() for k, p in g.items()}, options.averaging)
        self.state: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.best_score = float("-inf")
        self.since_best = 0
        self.epoch = self.batch = self.updates = 0
        self.seconds = 0.0
        self.stopped = ""
        self.log = Log(None)

    # --- beginning ------------------------------------------------------------------------------

    def start(self, config: dict[str, Any]) -> None:
        """Set the model's first parameters and make the run folder, if there is to be one."""
        if self.folder is not None:
            self.folder.create({**self.config(), **config})
            self.log = Log(self.folder.log_path)
        if bool(self.model.base_rates.isnan().any()):
            self.model.initialise(self.source.mean().to(self.model.weight))
        self.average = Average(self.average.parameters, self.options.averaging)
        self.state = self.rule.init(self.model, self.stream)
        self.save()

    def config(self) -> dict[str, Any]:
        """Return what makes a run like this one, data apart, as JSON values."""
        return {
            "model": {"kind": self.model.kind, "config": self.model.config()},
            "rule": {"name": self.rule.name, **self.rule.model_dump(mode="json")},
            "options": _plain(self.options),
            "fingerprint": self.source.fingerprint(),
        }

    def resume(self) -> None:
        """Go on from the last checkpoint of the folder.

        Raises:
            FileError: There is no good checkpoint, or the data are others.
        """
        assert self.folder is not None
        saved = self.folder.config()["fingerprint"]
        if self.source.fingerprint() != saved:
            raise FileError(f"{self.folder.path}: the data are not those that the run began with")
        tensors, content = self.folder.load()
        part = _parts(tensors)
        self.model.load_state_dict(part["model"])
        self.state, self.best = part.get("state", {}), part.get("best", {})
        self.optimisers.load_state(part.get("optimiser", {}), content["optimiser"])
        self.average.values = part.get("average", {})
        self.average.updates = content["updates"]
        self.stream.load_state_dict(content["stream"])
        torch.set_rng_state(tensors["torch"])
        for name in ("epoch", "batch", "updates", "seconds", "since_best", "stopped"):
            setattr(self, name, content[name])
        score = content["best_score"]
        self.best_score = float("-inf") if score is None else score
        self.log = Log(self.folder.log_path, content["log_size"])

    # --- on the way -----------------------------------------------------------------------------

    @property
    def share(self) -> float:
        """The share of all updates that is done."""
        return self.updates / max(self.options.epochs * len(self.source), 1)

    def finite(self) -> bool:
        """Return whether the last gradients were finite (those of the biases tell of all)."""
        gradient = self.model.hidden.bias.grad
        return gradient is None or bool(torch.isfinite(gradient.sum()))

    def fail(self) -> TrainingError:
        """Return the error for values that are no longer finite."""
        kept = ""
        if self.folder is not None:
            kept = f"; the last good checkpoint is {self.folder.checkpoints()[-1]}"
        return TrainingError(
            f"training: the gradient is not finite at update {self.updates} of epoch {self.epoch}; "
            f"lower lr (now {self.optimisers.lr:g}) or set max_gradient{kept}"
        )

    def judge(self, before: Tensor, seconds: float) -> dict[str, Any]:
        """Return the record of the epoch that has just ended, read off the averaged model."""
        options = self.options
        record: dict[str, Any] = {"epoch": self.epoch, "updates": self.updates}
        record |= {"seconds": round(self.seconds, 3), "epoch_seconds": round(seconds, 3)}
        record["lr"] = self.optimisers.lr * options.rate(self.share)
        self.average.swap()
        record |= self.monitor.epoch(self.model, before, self.state)
        every = options.likelihood_every
        if every and (self.epoch % every == 0 or self.epoch == options.epochs):
            record |= self.monitor.likelihood(self.model, self.state, options.seed)
        self._keep_best(record)
        self.average.swap()
        return record

    def _keep_best(self, record: dict[str, Any]) -> None:
        if self.options.patience is None:
            return
        names = [self.options.score] if self.options.score else _SCORES
        name = next((name for name in names if name in record), None)
        if name is None:
            if self.options.score or not self.options.likelihood_every:
                known = ", ".join(k for k, v in record.items() if isinstance(v, float))
                raise TrainingError(f"score: no {' or '.join(names)} to watch, only {known}")
            return
        if record[name] > self.best_score:
            self.best_score, self.since_best = record[name], 0
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            return
        self.since_best += 1
        if self.since_best >= self.options.patience:
            self.stopped = f"no better {name} in {self.since_best} scores"

    def save(self) -> None:
        """Write a checkpoint, if there is a folder."""
        if self.folder is None:
            return
        optimiser, optimiser_content = self.optimisers.state()
        groups = {
            "model": dict(self.model.state_dict()),
            "average": self.average.values,
            "optimiser": optimiser,
            "state": self.state,
            "best": self.best,
        }
        tensors = {f"{g}:{name}": t for g, group in groups.items() for name, t in group.items()}
        tensors["torch"] = torch.get_rng_state()
        content = {
            "optimiser": optimiser_content,
            "stream": self.stream.state_dict(),
            "log_size": self.log.size,
            "best_score": self.best_score if self.best else None,
            "saved_with": {"torch": torch.__version__, "threads": torch.get_num_threads()},
            "time": time.time(),
        }
        for name in ("epoch", "batch", "updates", "seconds", "since_best", "stopped"):
            content[name] = getattr(self, name)
        self.folder.save(self.updates, tensors, content, self.options.keep)

    def finish(self) -> None:
        """Leave the model with the parameters that evaluation is to use, and write it."""
        if self.best:
            self.model.load_state_dict(self.best)
        else:
            self.average.swap()
        if self.folder is not None:
            save(self.model, self.folder.model_path)


_SCORES = ["validation/log_likelihood", "validation/pseudo_likelihood"]


def default_rate(model: RBM) -> float:
    """Return the learning rate for the units at hand."""
    gaussian = any(isinstance(model.layer(block), Gaussian) for block in model.blocks())
    return 0.005 if gaussian else 0.05


def rebuild(folder: RunFolder, changes: dict[str, Any]) -> tuple[RBM, Rule, Options]:
    """Return the model, the rule and the options that a run folder tells of."""
    config = folder.config()
    model = model_from_config(config["model"]["kind"], config["model"]["config"])
    rule = dict(config["rule"])
    name = rule.pop("name")
    options = {k: v for k, v in config["options"].items() if not _is_callable_note(v)}
    missing = set(config["options"]) - set(options) - set(changes)
    if missing:
        raise FileError(
            f"{folder.path}: the run was given a function as {', '.join(sorted(missing))}, "
            "which no file can hold; give it again"
        )
    return model, RULES[name](**rule), Options(**{**options, **changes})


def _plain(options: Options) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in type(options).model_fields}
    return {k: {"callable": repr(v)} if isinstance(v, Callable) else v for k, v in values.items()}  # type: ignore[arg-type]


def _is_callable_note(value: Any) -> bool:
    return isinstance(value, dict) and "callable" in value


def _parts(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        if ":" in path:
            group, name = path.split(":", 1)
            parts.setdefault(group, {})[name] = tensor
    return parts
