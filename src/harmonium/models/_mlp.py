r"""Feed-forward networks: the classifier that a deep belief network becomes, and the autoencoder.

.. math:: h_1 = \sigma(c_1 + v W_1), \quad h_2 = \sigma(c_2 + h_1 W_2), \quad \dots, \quad
    p(y \mid v) = \operatorname{softmax}(c_y + h_L W_y)

are the recognition network's means with one more layer on top; of ReLU units their modes, max(0, field /
precision), which the means of a truncated Gaussian come near where fields are large. The autoencoder goes up
in the same way, and down again through the transposed weights.

References:
    | Reducing the dimensionality of data with neural networks (Hinton & Salakhutdinov, 2006)
    | Dropout: a simple way to prevent neural networks from overfitting (Srivastava et al., 2014)
"""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "MLP", "NEW", "Autoencoder", "activations_of", "to_means"]

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import DataError, choose, invalid
from ..random import Stream
from ..units import Bernoulli, Categorical, Gaussian, Mixed, ReLU, Unit, as_rows, unit_from_config
from ._base import Model
from ._layers import as_layer, as_truths, warn_of_idle

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "linear": nn.Identity,
}
"""What a hidden layer does to its inputs, by name."""

_OF_UNITS = {"bernoulli": "sigmoid", "spin": "tanh", "relu": "relu", "gaussian": "linear"}
NEW = 0.1
"""What the weights of a new layer on top are multiplied by, so that they do not disturb those below."""


class FeedForward(Model):
    """Abstract model that is one feed-forward network.

    Its weights are those of ``nn.Linear``, of shape (outputs, inputs).
    """

    network: nn.Sequential
    sizes: list[int]
    """The numbers of the hidden layers' units."""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    @property
    def linears(self) -> list[nn.Linear]:
        """The layers of weights, from the inputs up."""
        return [part for part in self.network if isinstance(part, nn.Linear)]

    def incoming(self) -> dict[str, int]:
        names = {id(p): name for name, p in self.named_parameters()}
        return {names[id(linear.weight)]: 1 for linear in self.linears[:-1]}

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the network's outputs, shape (rows, outputs).

        Arguments:
            x: Statistics of the inputs, shape (rows, width).
            beside: What :meth:`beside` finds for them, where that has been done.
        """
        out: Tensor = self.network(self.seen(x, beside))
        return out

    def seen(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return what the lowest weights see, shape (rows, columns); arguments as for :meth:`forward`."""
        beside = self.beside(x) if beside is None else beside
        return x if beside is None else torch.cat((x, beside), 1)

    def beside(self, x: Tensor) -> Tensor | None:
        """Return what the lowest weights see beside statistics of the inputs, found from these.

        It depends on nothing that is trained; its shape is (rows, :attr:`beside_width`), and None is nothing.
        """
        return None

    @property
    def beside_width(self) -> int:
        """The number of columns that the lowest weights see beside the inputs."""
        return 0

    @property
    @abstractmethod
    def inputs(self) -> Unit:
        """The inputs' units."""

    @property
    def masks(self) -> list[Tensor | None]:
        """Which of the units below each hidden layer sees, shape (lower width, units), or None for all."""
        own: list[Tensor | None] = [getattr(self, f"mask_{number}") for number in range(len(self.sizes))]
        return [None if mask is None else mask.T for mask in own]

    def set_mask(self, number: int, mask: Any) -> None:
        """Let a hidden layer see only some of the units below it.

        Arguments:
            number: Of the hidden layer; 0 is the lowest.
            mask: Truth values of shape (lower width, units).

        Raises:
            ArgumentError: The mask has another shape, or other values.
        """
        weight = self.linears[number].weight
        expected = f"shape {tuple(weight.T.shape)}: lower x upper units"
        given = as_truths("masks", mask, expected)
        if given.shape != weight.T.shape:
            raise invalid("masks", tuple(given.shape), expected)
        self.register_buffer(f"mask_{number}", given.T.to(weight).contiguous())
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        for number, mask in enumerate(self.masks):
            if mask is not None:
                for weight in self._coupling(number):
                    weight.mul_(mask.T)

    @abstractmethod
    def _coupling(self, number: int) -> list[Tensor]:
        """Return the weights between a hidden layer and the one below, each of shape (units, lower width)."""

    def _take_masks(self, masks: Sequence[Any] | None) -> None:
        """Set the mask of each hidden layer, and warn of units that it cuts off.

        Raises:
            ArgumentError: A mask has another shape, or there are too few or too many.
        """
        given = [None] * len(self.sizes) if masks is None else list(masks)
        if len(given) != len(self.sizes):
            raise invalid("masks", f"{len(given)} masks", f"{len(self.sizes)}, one for each hidden layer")
        for number in range(len(given)):
            self.register_buffer(f"mask_{number}", None)
        for number, mask in enumerate(given):
            if mask is not None:
                self.set_mask(number, mask)
        self._warn_of_idle()

    def _warn_of_idle(self) -> None:
        """Warn of units that masks cut off."""
        units = [self.inputs, *(Bernoulli(size) for size in self.sizes)]
        for number, mask in enumerate(self.masks):
            if mask is not None:
                seen, ends = mask.bool(), (f"layer {number}", f"layer {number + 1}")
                warn_of_idle(f"masks[{number}]", ends, units[number], seen.any(1))
                warn_of_idle(f"masks[{number}]", ends[::-1], units[number + 1], seen.any(0))

    def _masked(self) -> list[bool]:
        """Return which hidden layers have a mask."""
        return [mask is not None for mask in self.masks]

    def _make_room(self, masked: Sequence[bool]) -> None:
        """Give hidden layers masks of ones, for those that a file has."""
        for number, wanted in enumerate(masked):
            if wanted:
                self.set_mask(number, torch.ones_like(self.linears[number].weight.T))


class MLP(FeedForward):
    """Creates a multilayer perceptron that classifies rows.

    A row of data ends in the label's code. The first weights are those of Glorot and Bengio for sigmoid and
    tanh units, N(0, 2 / (inputs + outputs)), and of He et al. for ReLU ones, N(0, 2 / inputs); the last are
    of the first kind.

    Arguments:
        layers: The layers from the inputs to the last hidden one, at least two numbers; the first may be a
            layer of units.
        classes: The number of classes.
        activation: Of all hidden layers: ``sigmoid``, ``tanh``, ``relu`` or ``linear``; or of each, a list.
        dropout: The probability that a hidden unit is left out of an update.
        input_dropout: The probability that an input is.
        masks: For each hidden layer which of the units below it sees, truth values of shape (lower width,
            units), or None for all.
        seed: Draws the weights.

    Raises:
        ArgumentError: A size, a probability or a mask does not fit.
    """

    kind = "mlp"

    def __init__(
        self,
        layers: Sequence[int | Unit],
        classes: int,
        *,
        activation: str | Sequence[str] = "sigmoid",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        masks: Sequence[Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
            raise invalid("classes", classes, "at least two classes")
        for name, value in (("dropout", dropout), ("input_dropout", input_dropout)):
            if not (isinstance(value, int | float) and 0 <= value < 1):
                raise invalid(name, value, "a probability below 1")
        _check_layers(layers, "the inputs and at least one hidden layer, such as [784, 500]")
        inputs = as_layer("visible", layers[0])
        self.sizes = [as_layer("hidden", size).size for size in layers[1:]]
        self.classes, self.dropout, self.input_dropout = classes, float(dropout), float(input_dropout)
        self.activation = names = _each_activation(activation, len(self.sizes))
        self._inputs = inputs.config()
        self.network = _classifier([inputs.width, *self.sizes, classes], names, dropout, input_dropout)
        _draw_weights(self.linears, [*names, "sigmoid"], seed)
        self._take_masks(masks)

    @property
    def visible(self) -> Unit:  # type: ignore[override]
        """The inputs and the label."""
        inputs = self.inputs
        parts = inputs.parts if isinstance(inputs, Mixed) else [inputs]
        layers = [unit_from_config(part.config()) for part in parts]
        return Mixed(*layers, Categorical(1, self.classes)).to(inputs.bias)

    @property
    def inputs(self) -> Unit:
        """The inputs' units."""
        return unit_from_config(self._inputs).to(self.device, self.dtype)

    def config(self) -> dict[str, Any]:
        return {
            "inputs": self._inputs,
            "sizes": self.sizes,
            "classes": self.classes,
            "activation": self.activation,
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
            "masked": self._masked(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        values = dict(config)
        layers = [unit_from_config(values.pop("inputs")), *values.pop("sizes")]
        masked = values.pop("masked")
        model = cls(layers, **values)
        model._make_room(masked)
        return model

    def given(self, v: Any, name: str = "v") -> Tensor:
        """Return rows of values or means as a tensor that :meth:`split` can take, checked.

        Arguments:
            v: Values of the inputs, or their statistics, with or without a label.
            name: The argument's, for errors.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the units cannot take.
        """
        rows, inputs, whole = as_rows(name, v), self.inputs, self.visible
        if rows.ndim != 2 or rows.shape[1] not in (inputs.size, inputs.width, whole.size, whole.width):
            expected = f"(rows, {inputs.size}) or, with labels, (rows, {whole.size})"
            raise DataError(f"{name}: got shape {tuple(rows.shape)}, expected {expected}")
        labelled = rows.shape[1] in (whole.size, whole.width)
        (whole if labelled else inputs).validate(rows, means=True, name=name)
        return rows.to(self.device)

    def encode(self, v: Any) -> Tensor:
        """Return the last hidden layer's activity given rows of data, shape (rows, units).

        Arguments:
            v: As for :meth:`given`; a label is not looked at.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the units cannot take.
        """
        training = self.training
        try:
            self.eval()
            out: Tensor = self.network[:-1](self.seen(self.split(self.given(v))[0]))
            return out
        finally:
            self.train(training)

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the statistics of the inputs, and the codes of the labels, which may be missing.

        Arguments:
            rows: Values of shape (rows, size), with or without the label; or their statistics.
        """
        inputs = self.inputs
        if rows.shape[1] == inputs.size + 1:
            return inputs.statistics(rows[:, :-1]), rows[:, -1].long().to(self.device)
        if rows.shape[1] in (inputs.size, inputs.width):
            return inputs.statistics(rows), None
        s = rows.to(inputs.bias)
        return s[:, : -self.classes], s[:, -self.classes :].argmax(1)

    def _coupling(self, number: int) -> list[Tensor]:
        return [self.linears[number].weight]


class Autoencoder(FeedForward):
    """Creates a network that goes up to a code and down again to its inputs.

    Arguments:
        layers: The layers from the inputs to the code; the first may be a layer of units. Bernoulli inputs
            come out as probabilities, Gaussian ones as means.
        activation: Of each layer above the inputs, up to the code: a name, or a list. On the way down the
            layers do what they do on the way up.
        masks: For each layer above the inputs which of the units below it sees, truth values of shape (lower
            width, units), or None for all. The same units are coupled on the way down.
        seed: Draws the weights.

    Raises:
        ArgumentError: A size, a name or a mask does not fit, or the inputs are units of another type.
    """

    kind = "autoencoder"

    def __init__(
        self,
        layers: Sequence[int | Unit],
        *,
        activation: str | Sequence[str] = "sigmoid",
        masks: Sequence[Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_layers(layers, "the inputs and at least one layer, such as [784, 500, 30]")
        self.visible = copy.deepcopy(as_layer("visible", layers[0]))
        if self.visible.kind not in ("bernoulli", "gaussian"):
            raise invalid("layers", self.visible, "Bernoulli or Gaussian inputs")
        for parameter in self.visible.parameters():
            parameter.requires_grad_(False)
        self.sizes = [as_layer("hidden", size).size for size in layers[1:]]
        self.activation = names = _each_activation(activation, len(self.sizes))
        widths = [self.visible.width, *self.sizes]
        parts: list[nn.Module] = []
        for (below, above), name in zip(pairwise(widths), names, strict=True):
            parts += [_linear(below, above), ACTIVATIONS[name]()]
        for (above, below), name in zip(
            pairwise(reversed(widths)), [*reversed(names[:-1]), "linear"], strict=True
        ):
            parts += [_linear(above, below), ACTIVATIONS[name]()]
        self.network = nn.Sequential(*parts[:-1])
        _draw_weights(self.linears, [*names, *reversed(names[:-1]), "sigmoid"], seed)
        self._take_masks(masks)

    @property
    def inputs(self) -> Unit:
        return self.visible

    def config(self) -> dict[str, Any]:
        return {
            "inputs": self.visible.config(),
            "sizes": self.sizes,
            "activation": self.activation,
            "masked": self._masked(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        layers = [unit_from_config(config["inputs"]), *config["sizes"]]
        model = cls(layers, activation=config["activation"])
        model._make_room(config["masked"])
        return model

    def encode(self, v: Any) -> Tensor:
        """Return the codes of rows of data, shape (rows, size of the code).

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the units cannot take.
        """
        code: Tensor = self.network[: 2 * len(self.sizes)](self._given(v))
        return code

    def reconstruct(self, v: Any) -> Tensor:
        """Return what comes out for rows of data, probabilities or means, shape (rows, width).

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the units cannot take.
        """
        out = self(self._given(v))
        return torch.sigmoid(out) if self.visible.kind == "bernoulli" else out

    def _coupling(self, number: int) -> list[Tensor]:
        return [self.linears[number].weight, self.linears[-1 - number].weight.T]

    def _given(self, v: Any) -> Tensor:
        rows = as_rows("v", v)
        self.visible.validate(rows, means=True, name="v")
        return self.visible.statistics(rows.to(self.device))


def _check_layers(layers: Any, expected: str) -> None:
    if isinstance(layers, str) or not isinstance(layers, Sequence) or len(layers) < 2:
        raise invalid("layers", layers, expected)


def _each_activation(activation: str | Sequence[str], count: int) -> list[str]:
    """Return the name of each layer's activation."""
    names = [activation] * count if isinstance(activation, str) else list(activation)
    if len(names) != count:
        raise invalid("activation", activation, f"a name, or a list of {count}")
    for name in names:
        choose("activation", name, ACTIVATIONS)
    return names


def _classifier(widths: list[int], names: list[str], dropout: float, input_dropout: float) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Dropout(input_dropout)] if input_dropout else []
    for (below, above), name in zip(pairwise(widths[:-1]), names, strict=True):
        parts += [_linear(below, above), ACTIVATIONS[name]()]
        parts += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*parts, _linear(widths[-2], widths[-1]))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a layer whose weights are still to be drawn; torch's own generator is left alone."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    return layer


@torch.no_grad()
def _draw_weights(linears: list[nn.Linear], names: list[str], seed: int) -> None:
    for number, (linear, name) in enumerate(zip(linears, names, strict=True)):
        inputs, outputs = linear.in_features, linear.out_features
        scale = math.sqrt(2 / inputs) if name == "relu" else math.sqrt(2 / (inputs + outputs))
        linear.weight.copy_(scale * Stream(seed, f"weight {number}").normal(outputs, inputs))
        linear.bias.zero_()


def activations_of(units: Sequence[Unit]) -> list[str]:
    """Return the names of the activation functions whose values are the means of hidden layers.

    Raises:
        ArgumentError: A layer's units have none.
    """
    for unit in units:
        if unit.kind not in _OF_UNITS:
            raise invalid("model", unit, "units with an activation function")
    return [_OF_UNITS[unit.kind] for unit in units]


def to_means(unit: Unit, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights and biases that lead to the means of real units, where the given ones lead to fields.

    Arguments:
        unit: The units.
        weight: Their weights, shape (inputs, width).
        bias: Their biases, shape (width).
    """
    if not isinstance(unit, Gaussian | ReLU):
        return weight, bias
    return weight / unit.precision, bias / unit.precision
