"""What every model answers, every generative one, and every one with an energy."""

from __future__ import annotations

__all__ = [
    "Coupling",
    "EnergyModel",
    "GenerativeModel",
    "Model",
    "State",
    "check_model",
    "check_transform",
]

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import torch
from torch import Tensor, nn

from ..datasets import Dataset, Schema, Transform
from ..errors import ArgumentTypeError, DataError, show
from ..units import Unit

State: TypeAlias = dict[str, Tensor]
"""The statistics of each block of units, shape (rows, width), by the block's name."""


class Coupling(NamedTuple):
    """A matrix between the statistics of two blocks, or of one block with itself."""

    lower: str
    upper: str
    name: str
    """Of the parameter, of shape (lower width, upper width)."""


class Model(nn.Module, ABC):
    """Abstract model of rows of data, which can be trained and kept in a file."""

    kind: ClassVar[str]
    visible: Unit
    """What a row is: the units whose values it holds, a label included."""
    transform: Transform | None = None
    """What made the rows that the model was trained on of rows in their own units, labels apart; its file
    holds it. None where they were not transformed, or where nothing is known of it, as of mere rows."""
    schema: Schema | None = None
    """What made the rows that the model was trained on of a table with columns of several types; its file
    holds it. None where they came from no table, or where nothing is known of it."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return what makes a model like this one, parameters apart, as JSON values."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the model that :meth:`config` describes, with fresh parameters."""

    def project(self) -> None:
        """Bring parameters back to where they belong after a step: to a mask, to a gauge."""

    def incoming(self) -> dict[str, int]:
        """Return the weights that lead into hidden units, each with the dimension that counts the inputs."""
        return {}

    @property
    def usual_rate(self) -> float:
        """The learning rate of a fit that is given none."""
        units = [module for module in self.modules() if isinstance(module, Unit)]
        return 0.05 if all(unit.discrete for unit in units) else 0.005

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.visible.bias.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        return self.visible.bias.dtype


class GenerativeModel(Model):
    """Abstract distribution over rows of data."""

    implicit: ClassVar[bool] = False
    """Whether it only says how to draw rows, and not how probable they are."""


class EnergyModel(GenerativeModel):
    r"""Abstract distribution :math:`p(x) = e^{-E(x)} / Z` over blocks of units.

    The units of a block are independent given the other blocks, unless :meth:`lateral` couples them.
    """

    base_rates: Tensor

    @abstractmethod
    def blocks(self) -> tuple[str, ...]:
        """Return the names of the blocks, the visible one first."""

    def observed_blocks(self) -> tuple[str, ...]:
        """Return the names of the blocks whose states a row of data tells."""
        return ("visible",)

    def hidden_blocks(self) -> tuple[str, ...]:
        """Return the names of the other blocks."""
        observed = self.observed_blocks()
        return tuple(block for block in self.blocks() if block not in observed)

    def observed(self, s: Tensor) -> State:
        """Return the states that rows of data tell, by block.

        Arguments:
            s: The rows' statistics, shape (*, width).
        """
        return {"visible": s}

    def shown(self, state: State) -> Tensor:
        """Return the statistics of rows of data whose states are given, the reverse of :meth:`observed`."""
        return state["visible"]

    @abstractmethod
    def layer(self, block: str) -> Unit:
        """Return the units of a block."""

    def place(self, block: str) -> str:
        """Return the name of the module that holds a block's units."""
        return block

    @abstractmethod
    def field(
        self, block: str, state: State, beta: Tensor | None = None, start: Tensor | None = None
    ) -> Tensor:
        """Return the field of a block given the others, shape (rows, width).

        Arguments:
            block: The block's name.
            state: The states of the other blocks, as far as they are to count; and of the block itself,
                where its units are coupled among each other.
            beta: One inverse temperature for each row, shape (rows); 1 if not given.
            start: A field that blocks which are not in ``state`` have made already, shape (rows, width); the
                bias if not given.
        """

    @abstractmethod
    def couplings(self) -> tuple[Coupling, ...]:
        """Return which blocks are coupled, and by what."""

    def outward(self, known: Collection[str]) -> list[str]:
        """Return all blocks, the known ones first, each other one after one that it is coupled to."""
        found, rest = list(known), [block for block in self.blocks() if block not in known]
        while rest:
            pairs = [{c.lower, c.upper} for c in self.couplings()]
            reached = set().union(*(pair for pair in pairs if not pair.isdisjoint(found)))
            near = [block for block in rest if block in reached] or rest[:1]
            found += near
            rest = [block for block in rest if block not in near]
        return found

    def lateral(self, block: str) -> Tensor | None:
        """Return the symmetric matrix of the couplings within a block, or None if there are none."""
        return None

    def groups(self, block: str) -> tuple[Tensor, ...] | None:
        """Return the columns of units that are not coupled among each other, group by group.

        None stands for units that are coupled too densely for groups to be worth while.
        """
        return None

    @abstractmethod
    def energy(self, state: State) -> Tensor:
        """Return E of joint states, shape (rows), float64, nats."""

    @abstractmethod
    def free_energy(self, v: Any) -> Tensor:
        r"""Return :math:`F(v) = -\log \sum_h e^{-E(v, h)}`, shape (rows), float64, nats.

        Arguments:
            v: Rows of data, or their means, shape (rows, size); or such statistics, shape (rows, width).
                Those that require a gradient are points to differentiate at, and may be anywhere.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """

    @abstractmethod
    def moments(
        self, state: State, weight: Tensor, out: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        r"""Return :math:`\sum_r w_r \, (-\partial E / \partial \theta)(x_r)` of each parameter.

        With weights that sum to -1 over rows of data and to +1 over rows of the model this is the
        gradient of the mean negative log-likelihood.

        Arguments:
            state: The states of all blocks; expected statistics may stand for the hidden ones.
            weight: The rows' weights, of either sign, shape (rows).
            out: Memory for some of the results, by name.
        """


def check_transform(model: Model, data: object) -> None:
    """Check that a data set is made as the one that a model was trained on; of mere rows nothing is known.

    Raises:
        DataError: Its rows are in their own units, or another transform or schema made them.
    """
    own = model.transform
    if model.schema is not None and isinstance(data, Dataset):
        _check_schema(model.schema, data)
    if own is None or not isinstance(data, Dataset) or own.same(data.transform):
        return
    got = "rows in their own units" if data.transform is None else f"rows transformed by {data.transform}"
    if data.transform is not None and data.transform.config() == own.config():
        got += " as other rows have it"
    raise DataError(
        f"data: got {got}, expected those of the model's own transform ({own}); "
        "hm.datasets.load(..., transform=model.transform) makes them"
    )


def _check_schema(own: Schema, data: Dataset) -> None:
    """Check that a data set is of tables like the one that a model was trained on."""
    makes = "hm.datasets.load(..., schema=model.schema) makes them"
    if data.schema is None:
        raise DataError(
            f"data: got rows of {data.kind}, expected those of a table by the model's schema; {makes}"
        )
    others = own.differing(data.schema)
    if others:
        got = f"a table whose columns are treated in another way than those of the model: {', '.join(others)}"
        raise DataError(f"data: got {got}; {makes}")


def check_model(model: object, family: type) -> None:
    """Check that an argument is a model of a family.

    Raises:
        ArgumentTypeError: It is something else.
    """
    if not isinstance(model, family):
        raise ArgumentTypeError(f"model: got {show(model)}, expected a model such as an RBM")
