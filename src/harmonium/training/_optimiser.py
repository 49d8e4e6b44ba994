"""Optimisers of a rule's groups of parameters, and what is done around their steps."""

from __future__ import annotations

__all__ = ["Average", "Optimisers"]

from collections.abc import Callable, Collection
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import choose, invalid
from ._options import Options
from ._penalties import Penalties

_UNFIT = {
    "LBFGS": "one that steps without a closure, such as 'sgd' or 'Adam'",
    "Muon": "one for biases as well as matrices, such as 'sgd' or 'Adam'",
    "SparseAdam": "one for dense gradients, such as 'sgd' or 'Adam'",
}
_FUSED = ("Adam", "AdamW")
"""Those whose fused steps torch has on every device."""
_KINDS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name != "Optimizer"
}


class Optimisers:
    """Creates one optimiser for each group of parameters.

    Weight decay goes to matrices only. The rate of each update is set by the caller, as a factor of
    the rates that each optimiser starts with.

    Arguments:
        groups: The parameters by group and name.
        options: The run's settings.
        lr: The learning rate; an optimiser that the user made keeps its own if none is stated.
        project: Called after each step, to bring parameters back to where they belong.
        penalties: What is done to the couplings then.
        factors: By what the rate is multiplied, by the names of groups and parameters; 1 if left out.

    Raises:
        ArgumentError: The optimiser is unknown, needs a closure, or knows no weight decay or no betas.
    """

    def __init__(
        self,
        groups: dict[str, dict[str, Tensor]],
        options: Options,
        lr: float,
        project: Callable[[], None] | None = None,
        penalties: Penalties | None = None,
        factors: dict[str, float] | None = None,
    ) -> None:
        self.groups: dict[str, dict[str, Tensor]] = {}
        self.project = project
        self.penalties = penalties
        self.options = options
        self.lr = lr
        self.factors = factors or {}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.rates: dict[str, list[float]] = {}
        for name, group in groups.items():
            self.add(name, group)
        first, rates = next(iter(self.rates.items()))
        self.lr = rates[0] / self._factor(first, self.optimisers[first].param_groups[0])

    def add(self, name: str, group: dict[str, Tensor]) -> None:
        """Take on another group, with an optimiser of its own."""
        self.groups[name], self.optimisers[name] = group, self._make(group)
        own_rates = callable(self.options.optimizer) and self.options.lr is None
        self.rates[name] = [
            self._factor(name, part) * (part["lr"] if own_rates else self.lr)
            for part in self.optimisers[name].param_groups
        ]

    def set_rate(self, factor: float) -> None:
        """Set the learning rate of all groups to ``factor`` times its start."""
        for name, optimiser in self.optimisers.items():
            for group, rate in zip(optimiser.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * factor

    def get(self, setting: str) -> Any:
        """Return a setting of the optimisers' first group of parameters; None where there is none."""
        return next(iter(self.optimisers.values())).param_groups[0].get(setting)

    def set(self, setting: str, value: Any) -> None:
        """Set a setting of all groups of parameters."""
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group[setting] = value

    def apply(self, name: str) -> None:
        """Clip a group's gradients, step its optimiser, restore the gauge, and penalise couplings."""
        if self.options.max_gradient is not None:
            nn.utils.clip_grad_norm_(self.groups[name].values(), self.options.max_gradient)
        for parameter in self.groups[name].values():
            if parameter.grad is not None:
                parameter.grad = _laid_out(parameter.grad, parameter)
        self.optimisers[name].step()
        if self.project is not None:
            self.project()
        if self.penalties is not None and self.penalties.active:
            self.penalties.apply(self._rates(name))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the optimisers' state as tensors and JSON values."""
        tensors: dict[str, Tensor] = {}
        content: dict[str, Any] = {}
        for name, optimiser in self.optimisers.items():
            saved = optimiser.state_dict()
            content[name] = {"param_groups": saved["param_groups"], "state": {}}
            for index, values in saved["state"].items():
                scalars = content[name]["state"].setdefault(str(index), {})
                for key, value in values.items():
                    if isinstance(value, Tensor):
                        tensors[f"{name}/{index}/{key}"] = value
                    else:
                        scalars[key] = value
        return tensors, content

    def load_state(self, tensors: dict[str, Tensor], content: dict[str, Any]) -> None:
        """Go back to a state that :meth:`state` returned.

        The settings of an optimiser from torch are the options'; one that the user made may have
        moved its own, which come back with its state.
        """
        for name, optimiser in self.optimisers.items():
            saved = content[name]
            own = callable(self.options.optimizer)
            settings = saved["param_groups"] if own else optimiser.state_dict()["param_groups"]
            state = {int(index): dict(values) for index, values in saved["state"].items()}
            for path, tensor in tensors.items():
                group, index, key = path.split("/", 2)
                if group == name:
                    state.setdefault(int(index), {})[key] = tensor
            optimiser.load_state_dict({"param_groups": settings, "state": state})
            for parameter, values in optimiser.state.items():
                for key, value in values.items():
                    if isinstance(value, Tensor):
                        values[key] = _laid_out(value, parameter)

    def _rates(self, name: str) -> dict[str, float]:
        """Return the learning rates of a group's parameters, by their name."""
        rates = {id(p): float(g["lr"]) for g in self.optimisers[name].param_groups for p in g["params"]}
        return {key: rates[id(p)] for key, p in self.groups[name].items() if id(p) in rates}

    def _factor(self, name: str, part: dict[str, Any]) -> float:
        """Return by what the rate of a part of a group is multiplied, as an optimiser has divided it."""
        factors = {id(p): self.factors.get(key, 1.0) for key, p in self.groups[name].items()}
        found = {factors.get(id(p), 1.0) for p in part["params"]}
        if len(found) > 1:
            expected = "one that keeps the groups apart that it is given, as their rates differ"
            raise invalid("optimizer", self.options.optimizer, expected)
        return self.factors.get(name, 1.0) * found.pop()

    def _make(self, group: dict[str, Tensor]) -> torch.optim.Optimizer:
        parameters = list(group.values())
        apart = [p for name, p in group.items() if name in self.factors]
        together = [p for name, p in group.items() if name not in self.factors]
        matrices = [p for p in together if p.ndim > 1]
        others = [p for p in together if p.ndim <= 1]
        decay, chosen = self.options.weight_decay, self.options.optimizer
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": decay},
            {"params": others, "weight_decay": 0.0},
        ]
        if not decay and not callable(chosen):
            groups = [{"params": matrices + others, "weight_decay": 0.0}]
        groups += [{"params": [p], "weight_decay": decay if p.ndim > 1 else 0.0} for p in apart]
        groups = [part for part in groups if part["params"]]
        if callable(chosen):
            return _checked(chosen(groups))
        if chosen.lower() == "sgd":
            momentum = self.options.momentum
            return torch.optim.SGD(groups, lr=self.lr, momentum=momentum, fused=_dense(parameters))
        kind = choose("optimizer", chosen, _KINDS)
        if chosen in _UNFIT:
            raise invalid("optimizer", chosen, _UNFIT[chosen])
        takes = signature(kind).parameters
        if decay and "weight_decay" not in takes:
            raise invalid("weight_decay", decay, f"0, as {chosen} has none")
        betas = {} if self.options.betas is None else {"betas": self.options.betas}
        if betas and "betas" not in takes:
            raise invalid("betas", self.options.betas, f"None, as {chosen} has none")
        fused = {"fused": True} if chosen in _FUSED and _dense(parameters) else {}
        optimiser: torch.optim.Optimizer = kind(groups, lr=self.lr, **betas, **fused)
        return optimiser


def _dense(parameters: list[Tensor]) -> bool:
    """Return whether each parameter has memory of its own without holes, as fused steps take for granted."""
    return all(torch.empty_like(p).stride() == p.stride() for p in parameters)


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """Return what belongs to each number of a parameter in the parameter's own order in memory.

    Torch's fused steps on a CPU go through memory side by side, and do not look at strides.
    """
    if value.shape != parameter.shape or value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter).copy_(value)


class Average:
    r"""Creates a running average of parameters, which evaluation uses.

    .. math:: \bar\theta_t = \bar\theta_{t-1} + w_t (\theta_t - \bar\theta_{t-1}), \qquad
        w_t = \max\{\min(1, 1 / (a\, t)),\ 1 - 2^{-n_t / H}\}

    remembers about the last share a of the updates, at any time of the run; and never more than by the
    half-life of H rows, of which update t has seen n. The average of a number that was
    zero now and then is not zero; of sparse parameters those that are zero now count as zero.

    Arguments:
        parameters: The parameters by name.
        share: The share a; 0 means no average, and then the parameters stand for it.
        sparse: The names of parameters whose zeros are to stay.
        half_life: The half-life H; none means that there is no such end, and 0 that nothing is remembered.

    References:
        | Stochastic gradient descent for non-smooth optimization (Shamir & Zhang, 2013)
        | Analyzing and improving the image quality of StyleGAN (Karras et al., 2020), on half-lives
    """

    def __init__(
        self,
        parameters: dict[str, Tensor],
        share: float,
        sparse: Collection[str] = (),
        half_life: float | None = None,
    ) -> None:
        self.parameters = parameters
        self.share = share
        self.half_life = half_life
        self.sparse = sparse
        self.updates = 0
        self.held: dict[str, Tensor] = {}
        self.values = {name: p.detach().clone() for name, p in parameters.items()} if share else {}

    @torch.no_grad()
    def update(self, rows: int = 1) -> None:
        """Take the parameters in after an update that has seen so many rows."""
        self.updates += 1
        if self.share:
            weight = min(1.0, 1 / (self.share * self.updates))
            if self.half_life is not None:
                weight = max(weight, 1 - 0.5 ** (rows / self.half_life)) if self.half_life else 1.0
            for name, value in self.values.items():
                value.lerp_(self.parameters[name], weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Put the averages in place of the parameters; a second call undoes the first."""
        held, self.held = self.held, {}
        for name, value in self.values.items():
            parameter = self.parameters[name]
            if held:
                parameter.copy_(held[name])
                continue
            self.held[name] = parameter.detach().clone()
            parameter.copy_(value)
            if name in self.sparse:
                parameter.masked_fill_(self.held[name] == 0, 0)


def _checked(optimiser: Any) -> torch.optim.Optimizer:
    """Return what a user's function made, if it is an optimiser that steps without a closure."""
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise invalid("optimizer", optimiser, "a function that returns a torch.optim.Optimizer")
    for name, kind in _KINDS.items():
        if name in _UNFIT and isinstance(optimiser, kind):
            raise invalid("optimizer", name, _UNFIT[name])
    return optimiser
