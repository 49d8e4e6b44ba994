"""The one training loop, for every model and every rule."""

from __future__ import annotations

__all__ = ["Callback", "History", "fit", "go_on"]

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from torch import Tensor

from ..errors import invalid
from ..learning import PCD, Rule, chain_rows
from ..models import DBN, Model, PairwiseModel, State, check_model
from ._checks import check_callback, check_is_rule
from ._monitor import matrices
from ._options import Options
from ._rebuild import rebuild
from ._run import Run
from .checkpoint import RunFolder

Callback = Callable[[dict[str, Any]], bool | None]


@dataclass(frozen=True)
class History:
    """What a run leaves behind, besides the trained model."""

    model: Model
    records: list[dict[str, Any]]
    """One for each epoch: metrics by name."""
    chains: Tensor | None
    """Values of the persistent chains, shape (chains, size); none where the rule has none. Those of a deep
    belief network are of its top RBM's visible layer."""
    stopped: str
    """Why the run ended before its last epoch; empty if it did not."""
    state: State = field(default_factory=dict)
    """The rule's own state at the end, such as its chains; nothing of a stack that is trained one by one."""


def fit(
    model: Model,
    data: Any,
    rule: Rule | None = None,
    *,
    out: str | Path | None = None,
    weights: Any = None,
    validation: Any = None,
    callback: Callback | None = None,
    config: dict[str, Any] | None = None,
    **options: Any,
) -> History:
    """Train a model, and leave it with the averaged parameters (or the best ones).

    Ctrl-C and SIGTERM end the run after the update at hand; what there is gets saved and returned.

    Arguments:
        model: The model; if it is fresh, its visible biases and base rates are set from the data.
        data: A :class:`harmonium.datasets.Dataset`, or rows of shape (rows, size).
        rule: The learning rule; persistent chains by default.
        out: A new folder for the run: configuration, log and checkpoints.
        weights: The rows' weights, shape (rows); by default those that a data set brings.
        validation: Rows to judge the model by, where ``data`` brings none.
        callback: Called with each epoch's record; the run ends when it returns True.
        config: What else to write into the folder's ``config.json``.
        options: See :class:`harmonium.training.Options`: ``epochs``, ``batch_size``, ``lr``, ...; some rules
            have other defaults, as their ``usual`` tells.

    Raises:
        ArgumentError: An option is unknown or out of range, the rule does not fit the model, or all of its
            parameters are frozen.
        ArgumentTypeError: The model or the rule is none, or the data are no numbers.
        DataError: The data do not fit the model's units.
        FileError: ``out`` exists already or cannot be written.
        TrainingError: The gradient is no longer finite.
    """
    if rule is None:
        rule = PCD()
    check_model(model, Model)
    check_is_rule(rule)
    check_callback(callback)
    folder = None if out is None else RunFolder(out)
    settings = Options(**{**rule.usual, **options})
    run = Run(model, data, rule, settings, folder, weights, validation)
    run.start(config or {})
    return _train(run, callback)


def go_on(
    path: str | Path,
    data: Any,
    *,
    weights: Any = None,
    validation: Any = None,
    callback: Callback | None = None,
    model: Model | None = None,
    **changes: Any,
) -> History:
    """Go on with a run of :func:`fit` from its last checkpoint, bit for bit.

    Arguments:
        path: The run folder.
        data: The data that the run began with.
        weights: Their weights, as then.
        validation: The validation rows, as then.
        callback: Called with each epoch's record.
        model: A model like the run's, which goes on from the checkpoint; needed if its networks are the
            user's own.
        changes: Options to change, such as more ``epochs``; the folder remembers them.

    Raises:
        ArgumentError: An option is unknown, out of range, or one that cannot be changed.
        FileError: The folder is no run, or one of another model, its checkpoint is damaged, or the training
            or validation rows are others.
    """
    check_callback(callback)
    folder = RunFolder(path)
    model, rule, options = rebuild(folder, changes, model)
    run = Run(model, data, rule, options, folder, weights, validation)
    run.resume()
    _check_epochs(run, changes)
    if changes:
        run.stopped = ""
        folder.change(run.config()["options"])
    return _train(run, callback)


def _check_epochs(run: Run, changes: dict[str, Any]) -> None:
    """Check that what is changed of a run that goes on can still have an effect."""
    done, due = run.epoch, run.options.epochs
    if "epochs" in changes and due < done:
        raise invalid("epochs", due, f"at least the {done} that are done")
    others = [name for name in changes if name != "epochs"]
    if others and done == due:
        raise invalid(others[0], changes[others[0]], f"more epochs as well, as all {done} are done")


def _train(run: Run, callback: Callback | None) -> History:
    model, options = run.model, run.options
    stopped = ""
    saved = time.monotonic()
    with closing(run), _interruptible() as interrupted:
        while run.epoch < options.epochs and not (run.stopped or stopped):
            began = time.monotonic()
            if run.batch == 0:
                run.before = matrices(model)
            for batch in run.batches():
                run.state, run.metrics = run.settle().update(
                    model, batch, run.state, run.stream, run.optimisers.apply
                )
                if not run.finite():
                    raise run.fail()
                run.average.update(len(batch.rows))
                run.batch += 1
                run.updates += 1
                if interrupted.is_set():
                    break
                if time.monotonic() - saved > options.checkpoint_every:
                    run.save()
                    saved = time.monotonic()
            seconds = time.monotonic() - began
            run.seconds += seconds
            if interrupted.is_set():
                stopped = "interrupted"
            else:
                run.epoch, run.batch = run.epoch + 1, 0
                run.check()
                record = run.judge(seconds)
                run.tell(record)
                if callback is not None and callback(record):
                    stopped = "by the callback"
            run.save()
        run.finish()
    return History(
        model=model,
        records=run.log.records,
        chains=_chains(model, run.state),
        stopped=stopped or run.stopped,
        state=run.state,
    )


def _chains(model: Model, state: State) -> Tensor | None:
    """Return the values of the chains that persist, of a deep belief network those of its top RBM."""
    if isinstance(model, PairwiseModel):
        return chain_rows(model, state)
    return chain_rows(model.top, state, "top.") if isinstance(model, DBN) else None


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a flag; a second one acts as ever."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in signals}

    def handle(number: int, frame: FrameType | None) -> None:
        flag.set()
        for other, handler in previous.items():
            signal.signal(other, handler)

    for number in signals:
        signal.signal(number, handle)
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
