r"""Deep belief networks: a restricted Boltzmann machine on top of a directed network.

.. math:: p(v, h_1, \dots, h_L) = p(v \mid h_1)\, p(h_1 \mid h_2) \cdots p(h_{L-2} \mid h_{L-1})\,
    p(h_{L-1}, h_L)

The last two layers form an RBM; below it each layer is drawn given the one above, unit by unit. The network
is kept as the stack of RBMs that it is trained as: of each but the last, the conditional distribution of the
visible layer given the hidden one is a step of the generative network, and that of the hidden layer given
the visible one a step of the recognition network,

.. math:: q(h \mid v) = q(h_1 \mid v)\, q(h_2 \mid h_1) \cdots, \qquad
    q(h_{l+1} \mid h_l) = p_{\text{RBM } l}(h_{l+1} \mid h_l),

which stands in for the posterior, whose units are not independent. A hidden layer therefore has two biases,
one of either network. The two networks share their weights until they are untied.

References:
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
    | Greedy layer-wise training of deep networks (Bengio, Lamblin, Popovici & Larochelle, 2007)
"""

from __future__ import annotations

__all__ = ["DBN"]

import copy
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .. import kernels
from ..errors import ArgumentError, ArgumentTypeError, HarmoniumWarning, invalid, show
from ..random import Stream
from ..units import Gaussian, Mixed, Unit, as_rows, unit_from_config
from ._base import GenerativeModel
from ._layers import SCALE, as_classes, as_layers, as_masks, as_stack_size, described, pair_mask, with_label
from ._mlp import MLP, NEW, Autoencoder, activations_of, to_means
from ._rbm import RBM


class DBN(GenerativeModel):
    """Creates a deep belief network.

    With labels, the top RBM sees a label beside the last layer but one, and a row of data ends in the
    label's code.

    Arguments:
        layers: The layers from the visible one up, at least two; a number makes Bernoulli units.
        classes: The number of the label's classes; no label if not given.
        masks: For each pair of neighbouring layers which units may be coupled, truth values of shape (lower
            units, upper units), or None for all.
        seed: Draws the initial weights, N(0, 0.01^2).

    Raises:
        ArgumentError: There are too few layers, two that cannot be coupled, or a mask of another shape.
    """

    kind = "dbn"
    joint: ClassVar[bool] = False
    """Whether all layers are trained together once the stack has been trained."""
    rbms: Sequence[RBM]
    recognition: Sequence[Recognition] | None

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
        self._units = [unit.config() for unit in units]
        given = as_masks(masks, len(units) - 1)
        rbms = []
        for number, ((lower, upper), mask) in enumerate(zip(pairwise(units), given, strict=True)):
            labelled = classes is not None and number == len(units) - 2
            rbm = _rbm(number, lower, upper, mask, classes if labelled else None)
            noise = Stream(seed, f"weight {number}").normal(*rbm.weight.shape)
            rbm.weight.data = SCALE * noise
            rbm.project()
            rbms.append(rbm)
        self.rbms = cast(Sequence[RBM], nn.ModuleList(rbms))
        self.recognition = None

    # --- configuration ----------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        return {
            "layers": self._units,
            "classes": self.classes,
            "masked": [rbm.weight_mask is not None for rbm in self.rbms],
            "untied": self.recognition is not None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        units, masks = described(config)
        model = cls(units, classes=config["classes"], masks=masks)
        if config["untied"]:
            model.untie()
        return model

    # --- structure --------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """The number of hidden layers."""
        return len(self.rbms)

    @property
    def top(self) -> RBM:
        """The RBM of the two top layers."""
        return self.rbms[-1]

    @property
    def weights(self) -> list[nn.Parameter]:
        """The couplings of neighbouring layers, each of shape (lower width, upper width)."""
        return [rbm.weight for rbm in self.rbms]

    @property
    def layers(self) -> list[Unit]:
        """The layers from the visible one up, with the biases of the generative network."""
        return [*(rbm.visible for rbm in self.rbms), self.top.hidden]

    @property
    def visible(self) -> Unit:  # type: ignore[override]
        """What a row of data is: the visible units, and the label if there is one."""
        below = self.rbms[0].visible
        if self.classes is None or self.depth == 1:
            return below
        return with_label(below, self.classes)

    @property
    def device(self) -> torch.device:
        return self.top.device

    @property
    def dtype(self) -> torch.dtype:
        return self.top.dtype

    def incoming(self) -> dict[str, int]:
        upward = range(len(self.recognition or ()))
        own = {f"recognition.{number}.weight": 0 for number in upward}
        return {f"rbms.{number}.weight": 0 for number in range(self.depth)} | own

    def project(self) -> None:
        for rbm in self.rbms:
            rbm.project()
        for rbm, upward in zip(self.rbms, self.recognition or (), strict=False):
            if rbm.weight_mask is not None:
                upward.weight.data *= rbm.weight_mask

    def untie(self) -> None:
        """Give the recognition network weights and biases of its own, which start as they are."""
        if self.recognition is None:
            below = [Recognition(rbm) for rbm in self.rbms[:-1]]
            self.recognition = cast(Sequence[Recognition], nn.ModuleList(below))

    def stack(self, layers: int | None = None) -> list[RBM]:
        """Return the RBMs that the network is pretrained as, which are its own.

        Arguments:
            layers: How many, from the lowest up; all by default.

        Raises:
            ArgumentError: There are not so many.
        """
        return list(self.rbms[: as_stack_size(layers, self.depth)])

    @torch.no_grad()
    def compose(self, stack: Sequence[RBM]) -> None:
        """Take over the parameters of RBMs; layers above them stay as they are.

        Arguments:
            stack: The RBMs, from the lowest up.

        Raises:
            ArgumentError: They are of other layers than the network's, or are too many.
            ArgumentTypeError: They are no RBMs.
        """
        as_stack_size(len(stack), self.depth, "stack")
        for number, (rbm, own) in enumerate(zip(stack, self.rbms, strict=False)):
            expected = f"an RBM like rbms[{number}]"
            if not isinstance(rbm, RBM):
                raise ArgumentTypeError(f"stack[{number}]: got {show(rbm)}, expected {expected}")
            if rbm.config() != own.config():
                raise invalid(f"stack[{number}]", rbm.config(), expected)
        for rbm, own in zip(stack, self.rbms, strict=False):
            if rbm is not own:
                own.load_state_dict(rbm.state_dict())

    # --- the two networks -------------------------------------------------------------------------

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the statistics of the visible units and of the label, which may be missing.

        Arguments:
            rows: Values of shape (rows, size), with or without the label; or their statistics.
        """
        unit = self.visible
        if self.classes is None:
            return unit.statistics(rows), None
        if rows.shape[1] in (unit.size, unit.width):
            s = unit.statistics(rows)
            return s[:, : -self.classes], s[:, -self.classes :]
        if rows.shape[1] == unit.size - 1:
            return unit.statistics(pad(rows, (0, 1)))[:, : -self.classes], None
        return rows.to(self.top.weight), None

    def recognise(self, layer: int, x: Tensor) -> Tensor:
        """Return the fields of layer ``layer + 1`` in the recognition network, shape (rows, width).

        Arguments:
            layer: The number of the layer below; 0 is the visible one.
            x: Its statistics, shape (rows, width); below the top layer the label may be missing, and
                then takes no part.
        """
        rbm = self.rbms[layer]
        if self.recognition is not None and layer < self.depth - 1:
            own = self.recognition[layer]
            mask = rbm.weight_mask
            return kernels.affine(own.bias, x, own.weight if mask is None else own.weight * mask)
        missing = rbm.visible.width - x.shape[1]
        return rbm.field("hidden", {"visible": pad(x, (0, missing)) if missing else x})

    def generate(self, layer: int, y: Tensor) -> Tensor:
        """Return the fields of a layer in the generative network given the one above, shape (rows, width).

        Arguments:
            layer: The number of the layer, below the top two; 0 is the visible one.
            y: The statistics of the layer above, shape (rows, width).
        """
        return self.rbms[layer].field("visible", {"hidden": y})

    def log_joint(self, path: Sequence[Tensor], label: Tensor | None = None) -> Tensor:
        r"""Return :math:`\log p(x_0, \dots, x_{L-1})` up to the top RBM's log Z; shape (rows), float64, nats.

        Arguments:
            path: The statistics of all layers but the highest, from the visible one up.
            label: The label's statistics, shape (rows, classes); summed over if not given.
        """
        total = self.log_top(path[-1], label)
        for layer, (x, y) in enumerate(pairwise(path)):
            total = total + self.rbms[layer].visible.log_density(x, self.generate(layer, y))
        return total

    def log_recognition(self, path: Sequence[Tensor]) -> Tensor:
        r"""Return :math:`\log q(x_1, \dots, x_{L-1} \mid x_0)`, shape (rows), float64, nats.

        Arguments:
            path: The statistics of all layers but the highest, from the visible one up.
        """
        total = torch.zeros(len(path[0]), dtype=torch.float64, device=self.device)
        for layer, (x, y) in enumerate(pairwise(path)):
            total = total + self.rbms[layer].hidden.log_density(y, self.recognise(layer, x))
        return total

    def log_top(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return minus the top RBM's free energy, shape (rows), float64, nats.

        Arguments:
            x: The statistics of the last layer but one, shape (rows, width).
            label: The label's statistics, shape (rows, classes); summed over if not given.
        """
        if self.classes is None:
            return self.top.log_sum({"visible": x})
        if label is not None:
            return self.top.log_sum({"visible": torch.cat((x, label), 1)})
        codes = torch.eye(self.classes, dtype=x.dtype, device=x.device)
        joint = [torch.cat((x, code.expand(len(x), -1)), 1) for code in codes]
        return torch.stack([self.top.log_sum({"visible": s}) for s in joint]).logsumexp(0)

    def given(self, v: Any, name: str = "v") -> tuple[Tensor, Tensor | None]:
        """Return what :meth:`split` makes of rows that are checked first; means are accepted.

        Arguments:
            v: The rows.
            name: The argument's, for errors.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the units cannot take.
        """
        rows, unit = as_rows(name, v), self.visible
        narrow = self.classes is not None and rows.ndim == 2 and rows.shape[1] == unit.size - 1
        unit.validate(pad(rows, (0, 1)) if narrow else rows, means=True, name=name)
        return self.split(rows)

    def ascend(self, x: Tensor, layers: int) -> Tensor:
        """Return the expected statistics of a layer, means going up, shape (rows, width).

        Arguments:
            x: The visible statistics, shape (rows, width), without the label.
            layers: How many layers to go up.
        """
        for layer in range(layers):
            x = self.rbms[layer].hidden.expected_statistics(self.recognise(layer, x))
        return x

    def encode(self, v: Any) -> Tensor:
        """Return the top layer's expected statistics, means going up, shape (rows, width).

        Arguments:
            v: Rows of data, of which the label is not looked at and may be missing.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """
        return self.ascend(self.given(v)[0], self.depth)

    def reconstruct(self, v: Any) -> Tensor:
        """Return the visible means given :meth:`encode`'s means, means going down, shape (rows, width).

        Arguments:
            v: Rows of data, as :meth:`encode` takes them.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """
        x = self.encode(v)
        for layer in reversed(range(1, self.depth)):
            x = self.rbms[layer].visible.expected_statistics(self.generate(layer, x))
            if layer == self.depth - 1 and self.classes is not None:
                x = x[:, : -self.classes]
        mean = self.rbms[0].visible.mean(self.generate(0, x))
        return mean if self.classes is None or self.depth > 1 else mean[:, : -self.classes]

    # --- what it becomes ----------------------------------------------------------------------------

    def to_mlp(self, classes: int, *, dropout: float = 0.0, input_dropout: float = 0.0, seed: int = 0) -> MLP:
        """Return the recognition network as a classifier, with a new layer for the classes on top.

        A :class:`harmonium.errors.HarmoniumWarning` tells of a network that has not been trained.

        Arguments:
            classes: The number of classes.
            dropout: The probability that a hidden unit is left out of an update.
            input_dropout: The probability that an input is.
            seed: Draws the weights of the new layer.

        Raises:
            ArgumentError: A layer's units have no activation function, as categorical ones.
        """
        self._warn_of_random()
        upward = self._upward()
        model = MLP(
            [self._inputs(), *(weight.shape[1] for weight, _ in upward)],
            classes,
            activation=activations_of([rbm.hidden for rbm in self.rbms]),
            dropout=dropout,
            input_dropout=input_dropout,
            seed=seed,
        ).to(self.device, self.dtype)
        with torch.no_grad():
            for number, (weight, bias) in enumerate(upward):
                linear = model.linears[number]
                linear.weight.copy_(weight.T)
                linear.bias.copy_(bias)
            self._hand_masks(model)
            model.linears[-1].weight.mul_(NEW)
        model.transform, model.schema = self.transform, self.schema
        return model

    def to_autoencoder(self) -> Autoencoder:
        """Return the network unrolled: up by the recognition network, down by the generative one.

        Raises:
            ArgumentError: A layer's units have no activation function, or those of the visible layer are
                neither Bernoulli nor Gaussian.
        """
        self._warn_of_random()
        upward = self._upward()
        below = self._inputs()
        sizes = [weight.shape[1] for weight, _ in upward]
        model = Autoencoder([below, *sizes], activation=activations_of([rbm.hidden for rbm in self.rbms])).to(
            self.device, self.dtype
        )
        with torch.no_grad():
            for linear, (weight, bias) in zip(model.linears, upward, strict=False):
                linear.weight.copy_(weight.T)
                linear.bias.copy_(bias)
            units = [below, *(rbm.hidden for rbm in self.rbms)]
            for linear, rbm, unit in zip(reversed(model.linears), self.rbms, units, strict=False):
                rows = linear.out_features
                weight, bias = to_means(unit, rbm.weight[:rows].T, rbm.visible.bias[:rows])
                linear.weight.copy_(weight.T)
                linear.bias.copy_(bias)
        self._hand_masks(model)
        model.transform, model.schema = self.transform, self.schema
        return model

    def _hand_masks(self, model: MLP | Autoencoder) -> None:
        """Give a network that this one becomes its masks, the label's part left out."""
        for number, rbm in enumerate(self.rbms):
            if rbm.weight_mask is not None:
                lower = model.linears[number].in_features
                model.set_mask(number, rbm.weight_mask[:lower].cpu())

    def _warn_of_random(self) -> None:
        """Warn of RBMs that have not been trained."""
        fresh = [str(n) for n, rbm in enumerate(self.rbms, 1) if bool(rbm.base_rates.isnan().any())]
        if fresh and self.recognition is None:
            which = f"RBM {', '.join(fresh)} has" if len(fresh) < self.depth else "the network has"
            message = f"model: {which} not been trained, its weights are random; see hm.pretrain"
            warnings.warn(message, HarmoniumWarning, stacklevel=3)

    def _upward(self) -> list[tuple[Tensor, Tensor]]:
        """Return the recognition network's weights and biases, the label's left out."""
        found = []
        for number, rbm in enumerate(self.rbms):
            own: Any = rbm if self.recognition is None or rbm is self.top else self.recognition[number]
            bias = own.hidden.bias if own is rbm else own.bias
            rows = rbm.visible.width - (self.classes or 0 if rbm is self.top else 0)
            found.append(to_means(rbm.hidden, own.weight[:rows], bias))
        return found

    def _inputs(self) -> Unit:
        """Return a copy of the visible layer, without the label."""
        below = self.rbms[0].visible
        if self.depth > 1 or self.classes is None:
            return copy.deepcopy(below)
        assert isinstance(below, Mixed)
        unit = unit_from_config(self._units[0]).to(below.bias)
        if isinstance(unit, Gaussian):
            unit.log_precision.data.copy_(below.parts[0].get_parameter("log_precision"))
        return unit


class Recognition(nn.Module):
    """Creates a step of a recognition network with parameters of its own, which start as an RBM's.

    Arguments:
        rbm: The RBM.
    """

    def __init__(self, rbm: RBM) -> None:
        super().__init__()
        self.weight = nn.Parameter(rbm.weight.detach().clone())
        self.bias = nn.Parameter(rbm.hidden.bias.detach().clone())


def _rbm(number: int, lower: Unit, upper: Unit, mask: Any, classes: int | None) -> RBM:
    """Return the RBM of two neighbouring layers, the lower one with a label if there are classes."""
    below = copy.deepcopy(lower) if classes is None else with_label(lower, classes)
    try:
        rbm = RBM(below, copy.deepcopy(upper), inner=number > 0)
    except ArgumentError as error:
        raise ArgumentError(f"layers {number} and {number + 1}: {error}") from None
    if mask is not None:
        wide = pair_mask(number, mask, lower, upper)
        rbm.weight_mask = torch.cat((wide, wide.new_ones(rbm.visible.width - len(wide), wide.shape[1])))
    return rbm
