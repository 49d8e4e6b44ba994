"""A run in progress: all that a checkpoint holds."""

from __future__ import annotations

__all__ = ["Run", "take_transform"]

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import FileError, TrainingError, show
from ..learning import Batch, Rule
from ..models import Model, PairwiseModel, check_transform, save
from ..random import Stream
from ._beside import kept_beside
from ._checks import (
    check_config,
    check_finite,
    check_gaps,
    check_hashes,
    check_init,
    check_likelihood,
    check_missing,
    check_output,
    check_rows,
    check_rule,
    check_scale,
    check_trainable,
    image_shape,
    watched_score,
)
from ._components import start_from_components
from ._events import Events
from ._lifted import hashes, open_data
from ._log import Log
from ._monitor import matrices, norm
from ._monitors import monitor
from ._moving import Moving
from ._optimiser import Average, Optimisers
from ._options import Options
from ._penalties import Penalties
from ._pictures import Pictures
from ._rebuild import described, plain
from ._source import Opened
from .checkpoint import RunFolder

_PLACE = ("epoch", "batch", "updates", "seconds", "since_best", "stopped")


class Run:
    """Creates a run from its parts; see :func:`harmonium.fit` for the arguments."""

    def __init__(
        self,
        model: Model,
        data: Any,
        rule: Rule,
        options: Options,
        folder: RunFolder | None = None,
        weights: Any = None,
        validation: Any = None,
    ) -> None:
        check_rule(rule, model)
        check_output(options, folder)
        check_init(options, model)
        check_transform(model, data)
        check_missing(rule, model, data)
        if options.lr is None and not callable(options.optimizer):
            options = options.model_copy(update={"lr": model.usual_rate})
        self.data = data
        self.model, self.rule, self.options, self.folder = model, rule, options, folder
        root = Stream(options.seed, "fit")
        self.stream = root.child("chains")
        gaps = rule.integrates
        opened = open_data(model, data, root.child("data"), options, weights, validation, gaps)
        self.source, train, held_out, states = opened
        check_rows(model, data, self.source)
        self.beside = kept_beside(model, self.source)
        check_gaps(rule, model, self.source, options)
        self.hashes = {} if folder is None else hashes(opened, data)
        held_out = held_out[: options.probe]
        check_likelihood(options, model)
        self.monitor = monitor(model, Opened(self.source, train, held_out, states), options)
        self.score = watched_score(options, self.monitor.names(model))
        shape = image_shape(data, model) if options.samples_every else None
        self.pictures = Pictures(folder.samples_path, shape, opened.train) if folder and shape else None
        groups = rule.parameters(model)
        check_trainable(groups)
        penalties = Penalties(model, options)
        rate = options.lr or model.usual_rate
        self.optimisers = Optimisers(groups, options, rate, model.project, penalties, rule.rates(model))
        self.moving = Moving(options, rule, self.optimisers)
        check_rule(self.moving.last, model)
        self.sparse = penalties.sparse()
        self.average = Average(rule.averaged(model), options.averaging, self.sparse, options.half_life)
        self.state: dict[str, Tensor] = {}
        self.metrics: dict[str, Tensor] = {}
        self.before = matrices(model)
        self.best: dict[str, Tensor] = {}
        self.best_score = float("-inf")
        self.since_best = 0
        self.epoch = self.batch = self.updates = 0
        self.seconds = 0.0
        self.stopped = ""
        self.log = Log(None)
        self.events: Events | None = None

    # --- beginning ------------------------------------------------------------------------------

    def start(self, config: dict[str, Any]) -> None:
        """Set the model's first parameters and make the run folder, if there is to be one."""
        check_finite(self.model)
        if self.folder is not None:
            own = self.config()
            check_config(config, own)
            self.folder.create({**own, **config})
        try:
            self._begin()
            take_transform(self.model, self.data, self.folder)
        except BaseException:
            if self.folder is not None:
                self.close()
                self.folder.clear()
            raise

    def _begin(self) -> None:
        model = self.model
        check_scale(model, self.source)
        if isinstance(model, PairwiseModel) and bool(model.base_rates.isnan().any()):
            model.initialise(self.source.mean().to(model.visible.bias))
            if self.options.init == "pca":
                start_from_components(model, self.source, Stream(self.options.seed, "fit/components"))
        self.state = self.rule.init(self.model, self.stream)
        self._take_on()
        self._open(0)
        self.save()

    def _take_on(self) -> None:
        """Begin to optimise and average what is to be trained, with what the rule's state has of its own."""
        groups = self.rule.parameters(self.model, self.state)
        for name in groups.keys() - self.optimisers.groups.keys():
            self.optimisers.add(name, groups[name])
        averaged = self.rule.averaged(self.model, self.state)
        options = self.options
        self.average = Average(averaged, options.averaging, self.sparse, options.half_life)

    def _open(self, size: int) -> None:
        """Open the log, of which the first ``size`` bytes are kept, and the events."""
        if self.folder is None:
            return
        self.log = Log(self.folder.log_path, size)
        if self.options.tensorboard:
            self.events = Events(self.folder.events_path, self.epoch + 1)

    def config(self) -> dict[str, Any]:
        """Return what makes a run like this one as JSON values; of the data, hashes."""
        return {
            "model": described(self.model),
            "rule": {"name": self.rule.name, **self.rule.model_dump(mode="json")},
            "options": plain(self.options),
            **self.hashes,
        }

    def resume(self) -> None:
        """Go on from the last checkpoint of the folder.

        Raises:
            FileError: There is no good checkpoint, or the data are others.
        """
        assert self.folder is not None
        self.model.transform, self.model.schema = self.folder.transform(), self.folder.schema()
        check_transform(self.model, self.data)
        check_hashes(self.folder, self.hashes)
        tensors, content = self.folder.load()
        try:
            self._restore(tensors, content)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FileError(
                f"{self.folder.path}: its checkpoint does not fit the run ({show(error)})"
            ) from error
        self.folder.compare(content)
        self.folder.sweep()
        self._open(content["log_size"])

    def _restore(self, tensors: dict[str, Tensor], content: dict[str, Any]) -> None:
        part = {k: {n: t.to(self.model.device) for n, t in v.items()} for k, v in _parts(tensors).items()}
        self.model.load_state_dict(part["model"])
        self.state, self.best = part.get("state", {}), part.get("best", {})
        self.before = part.get("before", {})
        self._take_on()
        self.optimisers.load_state(part.get("optimiser", {}), content["optimiser"])
        self.average.values = part.get("average", {})
        self.average.updates = content["updates"]
        saved = content.get("metrics", {})
        self.metrics = {name: torch.tensor(value, dtype=torch.float64) for name, value in saved.items()}
        self.stream.load_state_dict(content["stream"])
        torch.set_rng_state(tensors["torch"])
        for name in _PLACE:
            setattr(self, name, content[name])
        score = content["best_score"]
        self.best_score = float("-inf") if score is None else score

    # --- on the way -----------------------------------------------------------------------------

    def batches(self) -> Iterator[Batch]:
        """Yield what is left of the epoch's batches."""
        for batch in self.source.batches(self.epoch, self.batch):
            yield batch if self.beside is None else batch._replace(beside=self.beside.of(batch.rows))

    @property
    def share(self) -> float:
        """The share of all updates that is done."""
        return self.updates / max(self.options.epochs * len(self.source), 1)

    def settle(self) -> Rule:
        """Set what changes in the course of a run to its value of now, and return the rule likewise."""
        self.optimisers.set_rate(self.options.rate(self.share) * self.moving.rate(self.share))
        half_life = self.moving.half_life(self.share)
        if half_life is not None:
            self.average.half_life = half_life
        return self.moving.settle(self.share, self.optimisers)

    def finite(self) -> bool:
        """Return whether the last gradient was finite: a quick look, at the biases alone."""
        groups = self.optimisers.groups.values()
        biases = [p.grad for group in groups for p in group.values() if p.ndim == 1]
        return all(math.isfinite(g.sum()) for g in biases if g is not None)

    def check(self) -> None:
        """Look at all that the run has learned.

        Raises:
            TrainingError: Something is not finite.
        """
        learned = [*self.model.parameters(), *self.average.values.values(), *self.state.values()]
        if not all(bool(values.isfinite().all()) for values in learned):
            raise self.fail()

    def fail(self) -> TrainingError:
        """Return the error for values that are no longer finite."""
        kept = ""
        if self.folder is not None and self.folder.checkpoints():
            kept = f"; the last good checkpoint is {self.folder.checkpoints()[-1]}"
        return TrainingError(
            f"training: values are no longer finite at update {self.updates} (epoch {self.epoch}); "
            f"{self.rule.remedy} (lr is {self.optimisers.lr:g}){kept}"
        )

    def judge(self, seconds: float) -> dict[str, Any]:
        """Return the record of the epoch that has just ended, read off the averaged model."""
        options, model = self.options, self.model
        record: dict[str, Any] = {"epoch": self.epoch, "updates": self.updates}
        record |= {"seconds": round(self.seconds, 3), "epoch_seconds": round(seconds, 3)}
        record["lr"] = self.optimisers.lr * options.rate(self.share) * self.moving.rate(self.share)
        record |= {f"rule/{name}": float(value) for name, value in self.metrics.items()}
        now = matrices(model)
        update = norm({name: weight - self.before[name] for name, weight in now.items()})
        record["weight/update"] = update / max(norm(now), 1e-30)
        self.average.swap()
        try:
            record |= self.monitor.epoch(model, self.state)
            if self._due(options.likelihood_every):
                record |= self.monitor.likelihood(model, self.state, options.seed)
            if self.pictures is not None and self._due(options.samples_every):
                self.pictures.write(model, self.state, self.epoch)
            self._keep_best(record)
        finally:
            self.average.swap()
        return record

    def _due(self, every: int) -> bool:
        return every > 0 and (self.epoch % every == 0 or self.epoch == self.options.epochs)

    def _keep_best(self, record: dict[str, Any]) -> None:
        if self.options.patience is None or self.score not in record:
            return
        score = record[self.score]
        if score > self.best_score:
            self.best_score, self.since_best = score, 0
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            return
        self.since_best += 1
        if self.since_best >= self.options.patience:
            self.stopped = f"no better {self.score} in {self.since_best} scores"

    def tell(self, record: dict[str, Any]) -> None:
        """Write the record of an epoch wherever records go."""
        self.log.write(record)
        if self.events is not None:
            self.events.write(record)

    def save(self) -> None:
        """Write a checkpoint, if there is a folder.

        Raises:
            TrainingError: Something to be written is not finite.
        """
        self.check()
        if self.folder is None:
            return
        optimiser, optimiser_content = self.optimisers.state()
        groups = {
            "model": dict(self.model.state_dict()),
            "average": self.average.values,
            "optimiser": optimiser,
            "state": self.state,
            "best": self.best,
            "before": self.before,
        }
        tensors = {f"{g}:{name}": t for g, group in groups.items() for name, t in group.items()}
        tensors["torch"] = torch.get_rng_state()
        content = {
            "optimiser": optimiser_content,
            "stream": self.stream.state_dict(),
            "log_size": self.log.size,
            "best_score": self.best_score if self.best else None,
            "metrics": {name: float(value) for name, value in self.metrics.items() if value.isfinite()},
        }
        content |= {name: getattr(self, name) for name in _PLACE}
        self.folder.save(self.updates, tensors, content, self.options.keep)

    def finish(self) -> None:
        """Leave the model with the parameters that evaluation is to use, and write it."""
        if self.best:
            self.model.load_state_dict(self.best)
        else:
            self.average.swap()
        self.model.eval()
        if self.folder is not None:
            save(self.model, self.folder.model_path)

    def close(self) -> None:
        """Close what is open."""
        if self.events is not None:
            self.events.close()


def take_transform(model: Model, data: Any, folder: RunFolder | None) -> None:
    """Let a model, and its run folder, know of what made the rows that it is trained on."""
    if isinstance(data, Dataset) and data.transform is not None:
        model.transform = data.transform
    if isinstance(data, Dataset) and data.schema is not None:
        model.schema = data.schema
    if folder is not None:
        folder.keep_transform(model.transform)
        folder.keep_schema(model.schema)


def _parts(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        if ":" in path:
            group, name = path.split(":", 1)
            parts.setdefault(group, {})[name] = tensor
    return parts
