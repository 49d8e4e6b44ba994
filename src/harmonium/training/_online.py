"""Training by rows as they come: one pass at a time, each from where the last one was."""

from __future__ import annotations

__all__ = ["Course", "advance"]

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..errors import TrainingError, invalid
from ..learning import Rule
from ..models import Model, PairwiseModel, State, check_model
from ..random import Stream
from ._checks import check_finite, check_is_rule, check_rule
from ._lifted import open_data
from ._optimiser import Optimisers
from ._options import Options
from ._penalties import Penalties


@dataclass
class Course:
    """What goes on from one pass to the next, besides the model."""

    stream: Stream
    """Where the random bits come from."""
    state: State = field(default_factory=dict)
    """The rule's own, such as its chains; a :class:`harmonium.training.History` has one to begin with."""
    optimiser: str = ""
    """Which one has stepped; empty before the first pass, and for one that a user made."""
    memory: tuple[dict[str, Tensor], dict[str, Any]] = ({}, {})
    """What it remembers, as tensors and as JSON values."""


def advance(model: Model, data: Any, rule: Rule, course: Course, **options: Any) -> None:
    """Train a model by one pass over rows, at a constant rate and without averaging.

    Arguments:
        model: The model; if it is fresh, its visible biases and base rates are set from the rows.
        data: As :func:`harmonium.fit` takes them.
        rule: The learning rule.
        course: What the last pass has left behind; is brought up to date.
        options: See :class:`harmonium.training.Options`: ``batch_size``, ``lr``, ...

    Raises:
        ArgumentError: An option is unknown or out of range, or the rule does not fit the model.
        ArgumentTypeError: The model or the rule is none, or the data are no numbers.
        DataError: The data do not fit the model's units.
        TrainingError: The parameters are no longer finite.
    """
    check_model(model, Model)
    check_is_rule(rule)
    check_rule(rule, model)
    check_finite(model)
    settings = Options(**{**rule.usual, "averaging": 0.0, "schedule": "constant", **options})
    if settings.final:
        raise invalid("final", settings.final, "nothing, as passes that go on have no end to go to")
    stream = course.stream
    source = open_data(model, data, stream.child("data"), settings).source
    if isinstance(model, PairwiseModel) and bool(model.base_rates.isnan().any()):
        model.initialise(source.mean().to(model.visible.bias))
    state = {name: value.to(model.device) for name, value in course.state.items()}
    state = state or rule.init(model, stream)
    rate = settings.lr or model.usual_rate
    penalties = Penalties(model, settings)
    groups = rule.parameters(model, state)
    optimisers = Optimisers(groups, settings, rate, model.project, penalties, rule.rates(model))
    named = settings.optimizer if isinstance(settings.optimizer, str) else ""
    if named and named == course.optimiser:
        optimisers.load_state(*course.memory)
    for batch in source.batches(stream.draw().step):
        state, _ = rule.update(model, batch, state, stream, optimisers.apply)
    learned = [*model.parameters(), *state.values()]
    if not all(bool(values.isfinite().all()) for values in learned):
        raise TrainingError(f"training: values are no longer finite; {rule.remedy} (lr is {rate:g})")
    course.state = {name: value.cpu() for name, value in state.items()}
    course.optimiser, course.memory = named, optimisers.state()
