"""The protocol of learning rules: one concept, one class, one file."""

from __future__ import annotations

__all__ = ["Apply", "Batch", "Metrics", "Rule", "check_sums_out"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple, TypeAlias

from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel, State
from ..random import Stream
from ..settings import Settings

Apply: TypeAlias = Callable[[str], None]
"""Clip the gradients of a named group of parameters, step its optimiser, and project."""

Metrics: TypeAlias = dict[str, Tensor]
"""Scalars of one update, by name."""


class Batch(NamedTuple):
    """Rows of data as a rule sees them."""

    values: Tensor
    """Visible statistics, shape (rows, width)."""
    weights: Tensor
    """The rows' shares, shape (rows): of equal rows 1 / rows; with weights they sum to 1 on average."""
    rows: Tensor
    """Their global numbers, shape (rows)."""
    known: Tensor | None = None
    """Which columns of the values are known, shape (rows, width); the others are zero. None for all."""
    beside: Tensor | None = None
    """What a network sees beside its inputs, shape (rows, columns), where that has been found before."""


class Rule(Settings, ABC):
    """Abstract learning rule.

    Its own state (chains, offsets) is a dictionary of tensors, so that a checkpoint can hold it.
    """

    name: ClassVar[str]
    supervised: ClassVar[bool] = False
    """Whether rows have to end in a label."""
    fits: ClassVar[type[Any]] = PairwiseModel
    """The family of models that the rule trains, further checks apart."""
    usual: ClassVar[dict[str, Any]] = {}
    """The options of a fit that are others by default than elsewhere, by name."""
    remedy: ClassVar[str] = "lower lr or set max_gradient"
    """What to try where values are no longer finite."""

    integrates: ClassVar[bool] = False
    """Whether it integrates over values that are missing."""
    ties: ClassVar[bool] = False
    """Whether it trains models in which several couplings share a parameter."""

    @abstractmethod
    def check(self, model: Model) -> None:
        """Refuse a model that the rule does not fit, with an ArgumentError."""

    def check_gaps(self, model: Model, patterns: Iterable[Tensor]) -> None:
        """Refuse a model, with an ArgumentError, whose missing values the rule cannot integrate over.

        Arguments:
            model: The model, which the rule fits.
            patterns: Truth values of shape (patterns, size): which values are known, as it occurs in some
                rows after the other.
        """

    @abstractmethod
    def init(self, model: Model, stream: Stream) -> State:
        """Return the rule's state before the first update."""

    @abstractmethod
    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        """Set the gradients that a batch asks for, apply them, and return the new state."""

    def parameters(self, model: Model, state: State | None = None) -> dict[str, dict[str, Tensor]]:
        """Return what is to be trained, in groups with an optimiser each.

        Arguments:
            model: The model, whose trainable parameters are a group.
            state: The rule's state. What a rule trains of its own are tensors of its state, which optimisers
                change in place, and which keep their places there. Without a state these are left out.
        """
        return {"model": {k: p for k, p in model.named_parameters() if p.requires_grad}}

    def numbers(self) -> dict[str, float]:
        """Return those of its settings that may go to another value in the course of a run, by name."""
        return {}

    def rates(self, model: Model) -> dict[str, float]:
        """Return by what learning rates are multiplied, by the names of groups and parameters; 1 if left out.

        Arguments:
            model: The model, which the rule fits.
        """
        return {}

    def averaged(self, model: Model, state: State | None = None) -> dict[str, Tensor]:
        """Return what evaluation takes the average of; by default all that is trained.

        Arguments:
            model: The model.
            state: The rule's state, as for :meth:`parameters`.
        """
        return {k: p for group in self.parameters(model, state).values() for k, p in group.items()}


def check_sums_out(name: str, model: PairwiseModel) -> None:
    """Check that hidden units sum out, and that rows tell of the visible block alone.

    Raises:
        ArgumentError: Hidden units depend on each other given data, or a label is a layer of its own.
    """
    if not model.hidden_sums_out():
        expected = (
            "a rule that fits hidden units which depend on each other given the visible ones, such as "
            "'variational-pcd'"
        )
        raise invalid("rule", name, expected)
    if len(model.observed_blocks()) > 1:
        expected = "a rule that fits a label which is a layer of its own, such as 'pcd'"
        raise invalid("rule", name, expected)
