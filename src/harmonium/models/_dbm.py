r"""Deep Boltzmann machines: layers in a row, each coupled to the next, and nothing directed.

.. math:: E(x_0, \dots, x_L) = \sum_{l=0}^{L} E_l(x_l) - \sum_{l=1}^{L} s(x_{l-1})^\top W_l\, s(x_l), \qquad
    x_0 = v, \quad x_l = h_l

Given all odd layers the even ones are independent, and the other way round, so that two fused steps draw the
whole machine; and one of the two sums out, which leaves half of the layers to be sampled, annealed or
enumerated. The posterior of the hidden layers given v is not a product, as it is in an RBM: each layer feels
the one above as well. A label, if there is one, is coupled to the last hidden layer.

The machine starts well as a stack of RBMs, each trained on what the one below makes of the data. A layer
between two RBMs will feel both, so that each of them must count for half: where its layer lacks a neighbour,
the RBM has the other one twice. The lowest RBM has two tied copies of the visible layer, the highest one two
of its hidden layer, and those between keep both directions as they are, and lose half of their weights on
composing. The biases b and c that the RBMs below and above have for a layer between them become their mean.
So the composed field of such a layer is the mean of the fields that the two RBMs give it where copies agree,

.. math:: \tfrac{b + c}{2} + W_l^\top s(x_{l-1}) + W_{l+1}\, s(x_{l+1}) =
    \tfrac12 \big[ b + 2 W_l^\top s(x_{l-1}) \big] + \tfrac12 \big[ c + 2 W_{l+1}\, s(x_{l+1}) \big],

and that of the lowest and the highest layer is its RBM's own. The highest RBM has the label beside its
visible layer; its weights stay as they are as well, so that the highest layer feels the label as it did.

References:
    | Deep Boltzmann machines (Salakhutdinov & Hinton, 2009)
    | An efficient learning procedure for deep Boltzmann machines (Salakhutdinov & Hinton, 2012)
"""

from __future__ import annotations

__all__ = ["DBM", "DBMClassifier"]

import copy
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, ArgumentTypeError, HarmoniumWarning, check_memory, invalid, show
from ..random import Stream
from ..units import Categorical, Mixed, Unit
from ._base import Coupling, State
from ._layers import (
    SCALE,
    as_classes,
    as_layers,
    as_masks,
    as_stack_size,
    check_pair,
    described,
    pair_mask,
    with_label,
)
from ._mean_field import mean_field
from ._mlp import MLP, NEW, activations_of, to_means
from ._pairwise import PairwiseModel
from ._rbm import RBM

_SWEEPS = 20
_TOLERANCE = 1e-3
"""Of mean field as an input, in training."""


class DBM(PairwiseModel):
    """Creates a deep Boltzmann machine.

    Its blocks are ``visible``, ``hidden1``, ``hidden2``, ... and, with classes, ``label``; a row of data then
    ends in the label's code. They come in the order in which they are drawn, the even layers first.

    Arguments:
        layers: The layers from the visible one up, at least two; a number makes Bernoulli units.
        classes: The number of the label's classes; no label if not given.
        masks: For each pair of neighbouring layers which units may be coupled, truth values of shape (lower
            units, upper units), or None for all.
        seed: Draws the initial weights, N(0, 0.01^2).

    Raises:
        ArgumentError: There are too few layers, two that cannot be coupled, or a mask of another shape; or
            there are more weights than memory holds.
    """

    kind = "dbm"
    joint: ClassVar[bool] = True
    """Whether all layers are trained together once the stack has been trained."""
    layers: Sequence[Unit]
    weights: Sequence[nn.Parameter]
    label: Categorical | None

    def __init__(
        self,
        layers: Sequence[int | Unit],
        *,
        classes: int | None = None,
        masks: Sequence[Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        units = as_layers(layers)
        self.classes = as_classes(classes)
        given = as_masks(masks, len(units) - 1)
        self.layers = cast(Sequence[Unit], nn.ModuleList(copy.deepcopy(unit) for unit in units))
        self.label = None if classes is None else Categorical(1, classes)
        for number, (lower, upper) in enumerate(pairwise(units)):
            _check(number, lower, upper)
        weights = []
        for number, (lower, upper) in enumerate(pairwise(units)):
            weights.append(SCALE * Stream(seed, f"weight {number}").normal(lower.width, upper.width))
            mask = None if given[number] is None else pair_mask(number, given[number], lower, upper)
            self.register_buffer(f"mask{number}", mask)
        self.weights = cast(Sequence[nn.Parameter], nn.ParameterList(weights))
        if self.label is not None:
            noise = Stream(seed, "label").normal(self.label.width, units[-1].width)
            self.label_weight = nn.Parameter(SCALE * noise)
        self.register_buffer("base_rates", torch.full((self.visible.width,), torch.nan))
        self.project()

    # --- configuration ----------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        masks = [self.get_buffer(f"mask{number}") for number in range(self.depth)]
        return {
            "layers": [unit.config() for unit in self.layers],
            "classes": self.classes,
            "masked": [mask is not None for mask in masks],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        units, masks = described(config)
        return cls(units, classes=config["classes"], masks=masks)

    # --- structure --------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """The number of hidden layers."""
        return len(self.layers) - 1

    @property
    def visible(self) -> Unit:  # type: ignore[override]
        """What a row of data is: the visible units, and the label if there is one."""
        if self.label is None:
            return self.layers[0]
        unit = with_label(self.layers[0], self.label.width)
        unit.bias.data[-self.label.width :] = self.label.bias.detach()
        return unit

    @property
    def device(self) -> torch.device:
        return self.layers[0].bias.device

    @property
    def dtype(self) -> torch.dtype:
        return self.layers[0].bias.dtype

    def blocks(self) -> tuple[str, ...]:
        names = ["visible", *(f"hidden{number}" for number in range(1, self.depth + 1)), "label"]
        if self.label is None:
            names.pop()
        return (*names[::2], *reversed(names[1::2]))

    def observed_blocks(self) -> tuple[str, ...]:
        return ("visible",) if self.label is None else ("visible", "label")

    def observed(self, s: Tensor) -> State:
        if self.label is None:
            return {"visible": s}
        columns = self.layers[0].width
        return {"visible": s[..., :columns].contiguous(), "label": s[..., columns:].contiguous()}

    def shown(self, state: State) -> Tensor:
        return state["visible"] if self.label is None else torch.cat((state["visible"], state["label"]), -1)

    def validate(self, rows: Tensor, *, means: bool = False, name: str = "data") -> None:
        unit = self.layers[0] if self._bare(rows) else self.visible
        unit.validate(rows, means=means, name=name)

    def states(self, rows: Tensor) -> State:
        """Return what rows tell, as ever; rows that lack the label tell of the visible units alone."""
        if self._bare(rows):
            return {"visible": self.layers[0].statistics(rows)}
        return super().states(rows)

    def _bare(self, rows: Tensor) -> bool:
        """Return whether rows of data lack the label."""
        if self.label is None or rows.ndim != 2:
            return False
        below, columns = self.layers[0], rows.shape[1]
        return columns == below.size or (columns == below.width and columns != below.size + 1)

    def layer(self, block: str) -> Unit:
        unit = self.label if block == "label" else self.layers[_number(block)]
        assert unit is not None
        return unit

    def place(self, block: str) -> str:
        return block if block == "label" else f"layers.{_number(block)}"

    def couplings(self) -> tuple[Coupling, ...]:
        names = ["visible", *(f"hidden{number}" for number in range(1, self.depth + 1))]
        found = [Coupling(a, b, f"weights.{n}") for n, (a, b) in enumerate(pairwise(names))]
        if self.label is not None:
            found.append(Coupling("label", names[-1], "label_weight"))
        return tuple(found)

    def mask(self, coupling: Coupling) -> Tensor | None:
        if coupling.name == "label_weight":
            return None
        mask: Tensor | None = getattr(self, f"mask{coupling.name.removeprefix('weights.')}")
        return mask

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the statistics of the visible units and of the label, which may be missing.

        Arguments:
            rows: Values of shape (rows, size), with or without the label; or their statistics.
        """
        states = self.states(rows)
        return states["visible"], states.get("label")

    # --- the stack that it is pretrained as -------------------------------------------------------

    def stack(self, layers: int | None = None) -> list[RBM]:
        """Return the RBMs that the machine is pretrained as, with parameters that compose to its own.

        Of several, the first one has its visible layer twice, the last one its hidden layer; and one between
        them has twice the machine's weights. One alone is an ordinary RBM.

        Arguments:
            layers: How many, from the lowest up; all by default.

        Raises:
            ArgumentError: There are not so many.
        """
        count = as_stack_size(layers, self.depth)
        return [self._machine(number, count) for number in range(count)]

    @torch.no_grad()
    def compose(self, stack: Sequence[RBM]) -> None:
        """Take over the parameters of RBMs that :meth:`stack` has made; layers above them stay as they are.

        Arguments:
            stack: The RBMs, from the lowest up.

        Raises:
            ArgumentError: They are of other layers than the machine's, or are too many.
            ArgumentTypeError: They are no RBMs.
        """
        count = as_stack_size(len(stack), self.depth, "stack")
        for number, rbm in enumerate(stack):
            self._check_machine(number, count, rbm)
        for number, rbm in enumerate(stack):
            lower = self.layers[number]
            weight = rbm.weight[: lower.width]
            self.weights[number].copy_(weight if _outer(number, count) else weight / 2)
            bias = rbm.visible.bias[: lower.width]
            lower.bias.copy_((stack[number - 1].hidden.bias + bias) / 2 if number else bias)
        top, width = stack[-1], self.layers[count - 1].width
        self.layers[count].bias.copy_(top.hidden.bias)
        _copy_precisions(stack[0].visible, self.layers[0])
        rates = stack[0].base_rates[: self.layers[0].width]
        if self.label is not None and count == self.depth:
            self.label_weight.copy_(top.weight[width:])
            self.label.bias.copy_(top.visible.bias[width:])
            rates = torch.cat((rates, top.base_rates[width:]))
        if len(rates) == len(self.base_rates) and not bool(rates.isnan().any()):
            self.base_rates.copy_(rates)
        self.project()

    def _machine(self, number: int, count: int) -> RBM:
        """Return one of the RBMs of a stack of so many."""
        below, above, doubled = self._parts(number, count)
        rbm = RBM(below, above, doubled=doubled, inner=number > 0).to(self.device, self.dtype)
        weight: Tensor = self.weights[number].detach()
        weight = weight if _outer(number, count) else 2 * weight
        if rbm.visible.width > len(weight):
            weight = torch.cat((weight, self.label_weight.detach()))
        rbm.weight.data = weight.clone()
        mask: Tensor | None = getattr(self, f"mask{number}")
        if mask is not None:
            rbm.weight_mask = torch.cat((mask, mask.new_ones(rbm.visible.width - len(mask), mask.shape[1])))
        if not bool(self.base_rates.isnan().any()):
            bias = rbm.visible.bias.detach()
            own = rbm.visible.expected_statistics(bias) if number else self.base_rates[: len(bias)]
            rbm.base_rates.copy_(own)
        for own_parameter, parameter in (
            (rbm.weight, self.weights[number]),
            (rbm.visible.bias, self.layers[number].bias),
            (rbm.hidden.bias, self.layers[number + 1].bias),
        ):
            own_parameter.requires_grad_(parameter.requires_grad)
        return rbm

    def _parts(self, number: int, count: int) -> tuple[Unit, Unit, str | None]:
        """Return the layers of one of the RBMs of a stack of so many, and which of them is there twice."""
        below, above = copy.deepcopy(self.layers[number]), copy.deepcopy(self.layers[number + 1])
        if self.label is not None and number == self.depth - 1:
            width = below.width
            below = with_label(below, self.label.width)
            below.bias.data[width:] = self.label.bias.detach()
        doubled = {0: "visible", count - 1: "hidden"}.get(number) if count > 1 else None
        return below, above, doubled

    def _check_machine(self, number: int, count: int, rbm: object) -> None:
        """Check that an RBM is one of a stack of so many.

        Raises:
            ArgumentError: It is another one.
            ArgumentTypeError: It is none.
        """
        expected = f"an RBM like stack({count})[{number}]"
        if not isinstance(rbm, RBM):
            raise ArgumentTypeError(f"stack[{number}]: got {show(rbm)}, expected {expected}")
        below, above, doubled = self._parts(number, count)
        for name, own, there in (
            ("visible", rbm.visible.config(), below.config()),
            ("hidden", rbm.hidden.config(), above.config()),
            ("doubled", rbm.doubled, doubled),
            ("weight_mask", rbm.weight_mask is not None, getattr(self, f"mask{number}") is not None),
        ):
            if own != there:
                raise invalid(f"stack[{number}].{name}", own, f"{there!r}, as of {expected}")

    # --- what it makes of rows --------------------------------------------------------------------

    def encode(self, v: Any) -> Tensor:
        """Return the last hidden layer's expected statistics by mean field, shape (rows, width).

        Arguments:
            v: Rows of data, as :meth:`free_energy` takes them; a label may be missing.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """
        return mean_field(self, self.given(v)).means[f"hidden{self.depth}"]

    def reconstruct(self, v: Any) -> Tensor:
        """Return the visible means given the first hidden layer's by mean field, shape (rows, width).

        Arguments:
            v: Rows of data, as :meth:`free_energy` takes them; a label may be missing.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """
        means = mean_field(self, self.given(v)).means
        return self.layers[0].mean(self.field("visible", means))

    @torch.no_grad()
    def initialise(self, mean: Tensor) -> None:
        self.base_rates.copy_(mean)
        for block, own in self.observed(mean).items():
            unit = self.layer(block)
            if unit.bias.requires_grad and not bool(unit.bias.any()):
                unit.bias.copy_(unit.natural(own))

    # --- what it becomes --------------------------------------------------------------------------

    def to_mlp(
        self, classes: int, *, dropout: float = 0.0, input_dropout: float = 0.0, seed: int = 0
    ) -> DBMClassifier:
        """Return a classifier that begins with the machine's weights: see :class:`DBMClassifier`.

        A :class:`harmonium.errors.HarmoniumWarning` tells of a machine that has not been trained.

        Arguments:
            classes: The number of classes; a label layer of the machine's own has no part in it.
            dropout: The probability that a hidden unit is left out of an update.
            input_dropout: The probability that an input is.
            seed: Draws the weights of the new layer.

        Raises:
            ArgumentError: There are fewer than two hidden layers, units have no activation function, or an
                argument is out of range.
        """
        if bool(self.base_rates.isnan().any()):
            message = "model: the machine has not been trained, its weights are random; see hm.pretrain"
            warnings.warn(message, HarmoniumWarning, stacklevel=2)
        model = DBMClassifier(self, classes, dropout=dropout, input_dropout=input_dropout, seed=seed)
        model.transform, model.schema = self.transform, self.schema
        return model


class DBMClassifier(MLP):
    r"""Creates the classifier that a deep Boltzmann machine becomes.

    .. math:: h_1 = \sigma(c_1 + v W_1 + q W_2'), \quad h_2 = \sigma(c_2 + h_1 W_2), \quad \dots

    Its inputs are v and q, the means of the second hidden layer by mean field given v, of the machine as it
    was: a copy that is not trained, inside the model. What comes down to the second layer from a third one is
    left out. The first weights, of shape (visible + second hidden, first hidden) width, are trained apart
    from those that they were copied from (Salakhutdinov & Hinton, 2009). :meth:`DBM.to_mlp` makes it.

    Arguments:
        posterior: The machine, with at least two hidden layers.
        classes: The number of classes.
        dropout: The probability that a hidden unit is left out of an update.
        input_dropout: The probability that an input is.
        seed: Draws the weights of the layer on top.

    Raises:
        ArgumentError: The machine does not fit, or an argument is out of range.
    """

    kind = "dbm-classifier"

    def __init__(
        self,
        posterior: DBM,
        classes: int,
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        if posterior.depth < 2:
            raise invalid("posterior", f"{posterior.depth} hidden layer", "a machine with at least two")
        inputs, *hidden = posterior.layers
        names = activations_of(hidden)
        widths = [unit.size for unit in hidden]
        super().__init__(
            [inputs, *widths],
            classes,
            activation=names,
            dropout=dropout,
            input_dropout=input_dropout,
            seed=seed,
        )
        place = next(n for n, part in enumerate(self.network) if isinstance(part, nn.Linear))
        self.network[place] = nn.utils.skip_init(nn.Linear, inputs.width + hidden[1].width, widths[0])
        self.posterior = copy.deepcopy(posterior).requires_grad_(False)
        self.to(posterior.device, posterior.dtype)
        self._take(hidden)

    def config(self) -> dict[str, Any]:
        own = ("classes", "dropout", "input_dropout")
        return {"posterior": self.posterior.config(), **{name: getattr(self, name) for name in own}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        values = dict(config)
        return cls(DBM.from_config(values.pop("posterior")), **values)

    @property
    def beside_width(self) -> int:
        return self.posterior.layers[2].width

    @torch.no_grad()
    def beside(self, x: Tensor) -> Tensor:
        """Return the means of the second hidden layer given statistics of the inputs, shape (rows, width).

        In evaluation all sweeps are done, so that no row's means depend on the rows beside it.
        """
        tolerance = _TOLERANCE if self.training else 0.0
        q = mean_field(self.posterior, {"visible": x}, steps=_SWEEPS, tolerance=tolerance)
        return q.means["hidden2"]

    @torch.no_grad()
    def _take(self, hidden: Sequence[Unit]) -> None:
        """Take over the machine's weights and masks."""
        weights = [weight.detach() for weight in self.posterior.weights]
        masks = [getattr(self.posterior, f"mask{number}") for number in range(len(weights))]
        upward = [torch.cat((weights[0], weights[1].T)), *weights[1:]]
        for number, (unit, weight) in enumerate(zip(hidden, upward, strict=True)):
            weight, bias = to_means(unit, weight, unit.bias.detach())
            self.linears[number].weight.copy_(weight.T)
            self.linears[number].bias.copy_(bias)
        if masks[0] is not None or masks[1] is not None:
            whole = [torch.ones_like(w) if m is None else m for w, m in zip(weights, masks, strict=True)]
            self.set_mask(0, torch.cat((whole[0], whole[1].T)).cpu())
        for number, mask in enumerate(masks[1:], 1):
            if mask is not None:
                self.set_mask(number, mask.cpu())
        self.linears[-1].weight.mul_(NEW)


def _outer(number: int, count: int) -> bool:
    """Return whether an RBM is the lowest or the highest one of so many."""
    return number in (0, count - 1)


def _copy_precisions(source: Unit, unit: Unit) -> None:
    """Give a layer the precisions of another one, which may have a label besides."""
    given = source.parts if isinstance(source, Mixed) else [source]
    for theirs, own in zip(given, unit.parts if isinstance(unit, Mixed) else [unit], strict=False):
        for name, parameter in own.named_parameters(recurse=False):
            if name != "bias":
                parameter.copy_(theirs.get_parameter(name))


def _number(block: str) -> int:
    """Return the number of a layer by its block's name."""
    return int(block.removeprefix("hidden")) if block != "visible" else 0


def _check(number: int, lower: Unit, upper: Unit) -> None:
    """Check that two neighbouring layers may be coupled, and that memory holds their weights.

    Raises:
        ArgumentError: They may not, or it does not.
    """
    try:
        check_pair(lower, upper)
    except ArgumentError as error:
        raise ArgumentError(f"layers {number} and {number + 1}: {error}") from None
    check_memory(f"layers[{number + 1}]", upper.size, lower.width * upper.width)
