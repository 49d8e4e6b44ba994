"""log Z by the method that the model's size allows."""

from __future__ import annotations

__all__ = ["ESTIMATORS", "log_partition"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError, choose, invalid
from ..models import DBN, GenerativeModel, PairwiseModel, State, check_model, choose_side
from ..random import Stream
from ..samplers import Gibbs, autocorrelation_time, effective_sample_size, split_rhat
from ..units import as_rows
from ._ais import SCHEDULES, Base, anneal, log_mean_weight, schedule
from ._bridge import bennett
from ._exact import LIMIT, exact_log_partition
from ._results import LogPartition

_RHAT_LIMIT = 1.1
_ESS_LIMIT = 0.1
_ESS_LEAST = 10
_CROSSING = 4.0
_AGREEMENT = 0.5
_DRAWS = 100


@dataclass(frozen=True)
class Annealing:
    """The settings of a pair of annealed estimates; see :func:`log_partition`."""

    runs: int
    betas: int | Tensor
    schedule: str
    chains: Tensor | None
    equilibrate: int
    stream: Stream
    progress: Callable[[str], None] | None = None


@torch.no_grad()
def log_partition(
    model: GenerativeModel,
    method: str = "auto",
    *,
    runs: int = 200,
    betas: int | Tensor = 3000,
    schedule: str = "adaptive",
    chains: Tensor | None = None,
    equilibrate: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> LogPartition:
    """Estimate log Z, with a lower and an upper end; of a deep belief network, that of its top RBM.

    Arguments:
        model: The model.
        method: ``exact`` enumerates the cheaper layer in float64; ``ais`` gives the forward annealed
            estimate; ``bridge`` joins the forward and the reverse runs by Bennett's ratio; ``auto`` is
            ``exact`` where that takes about a minute at most, else ``bridge``. Both of the annealed
            ones report both ends.
        runs: Annealing runs in each direction, at least two.
        betas: Steps of each run, or the inverse temperatures themselves, rising from 0 to 1.
        schedule: How the steps are laid: ``adaptive``, ``bands`` or ``linear``.
        chains: Visible states near the model's distribution, shape (n, size), to start the reverse runs
            from, such as training's persistent chains. Without them the forward runs' last states
            are resampled by their weights.
        equilibrate: Gibbs steps that those states take under the model first.
        seed: The seed of all runs.
        progress: Called with a line of text now and then.

    Raises:
        ArgumentError: The method or the schedule is unknown, an argument is out of range, a parameter
            is not finite, or there are too many states to enumerate.
        ArgumentTypeError: The model is none, or the chains are no numbers.
        DataError: The chains hold no states of the visible units.
    """
    if isinstance(model, DBN):
        model = model.top
    check_model(model, PairwiseModel)
    assert isinstance(model, PairwiseModel)
    estimate: Callable[[PairwiseModel, Annealing], LogPartition] = choose("method", method, ESTIMATORS)
    choose("schedule", schedule, SCHEDULES)
    for name, value, least in (("runs", runs, 2), ("equilibrate", equilibrate, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise invalid(name, value, f"an integer of at least {least}")
    _check_betas(betas)
    _check_finite(model)
    if chains is not None:
        chains = as_rows("chains", chains)
        model.visible.validate(chains, name="chains")
        chains = model.visible.statistics(chains)
    settings = Annealing(runs, betas, schedule, chains, equilibrate, Stream(seed, "evaluation"), progress)
    return estimate(model, settings)


def _auto(model: PairwiseModel, settings: Annealing) -> LogPartition:
    _, cost = choose_side(model)
    return _exact(model, settings) if cost <= LIMIT else _bridge(model, settings)


def _exact(model: PairwiseModel, settings: Annealing) -> LogPartition:
    return exact_log_partition(model)


def _ais(model: PairwiseModel, settings: Annealing) -> LogPartition:
    return _annealed(model, settings, "ais")


def _bridge(model: PairwiseModel, settings: Annealing) -> LogPartition:
    return _annealed(model, settings, "bridge")


ESTIMATORS: dict[str, Callable[[PairwiseModel, Annealing], LogPartition]] = {
    "auto": _auto,
    "exact": _exact,
    "ais": _ais,
    "bridge": _bridge,
}
"""The methods of :func:`log_partition` by name."""


def _annealed(model: PairwiseModel, settings: Annealing, method: str) -> LogPartition:
    say = settings.progress or (lambda text: None)
    stream = settings.stream
    base = Base(model)
    betas = settings.betas
    if isinstance(betas, int):
        betas = schedule(settings.schedule, betas, model, base, stream.child("schedule"))
    say("annealing forward")
    ahead = stream.child("forward")
    start = base.sample(model, settings.runs, ahead)
    forward, last = anneal(model, base, betas, start, ahead)
    say("equilibrating chains")
    if settings.chains is None:
        chains = _resample(last, forward, stream.child("resample"))
    else:
        chains = model.observed(settings.chains[: settings.runs])
    chains, diagnostics = _equilibrate(model, chains, settings.equilibrate, stream.child("chains"))
    say("annealing in reverse")
    reverse, _ = anneal(model, base, betas.flip(0), chains, stream.child("reverse"))
    given = settings.chains is not None
    return _result(base, forward, reverse, method, diagnostics, given)


def _result(
    base: Base,
    forward: Tensor,
    reverse: Tensor,
    method: str,
    diagnostics: dict[str, float],
    given: bool,
) -> LogPartition:
    """Join the two directions, and say what speaks against them.

    Chains that forget their start slowly (a large R-hat) may still be spread as the model is. That is
    believed only of chains that were given, since they know nothing of the forward runs, and only if
    both directions agree.
    """
    rise, lower_error, forward_ess = log_mean_weight(forward)
    fall, upper_error, reverse_ess = log_mean_weight(reverse)
    lower, upper = base.log_partition + rise, base.log_partition - fall
    if method == "ais":
        value, error = lower, lower_error
    else:
        difference, error = bennett(forward, reverse)
        value = base.log_partition + difference
    reasons = []
    if lower - upper > _CROSSING * math.hypot(lower_error, upper_error):
        reasons.append(
            f"the ends cross by {lower - upper:.2f} nats, so the reverse runs did not start "
            "from the model; equilibrate for longer, or give chains"
        )
    if not all(map(math.isfinite, (value, lower, upper))):
        reasons.append("an end is not finite; the parameters are beyond the range of the numbers")
    for name, ess, runs in (
        ("forward", forward_ess, len(forward)),
        ("reverse", reverse_ess, len(reverse)),
    ):
        if runs < _ESS_LEAST:
            what = "a single run tells" if runs == 1 else f"{runs} runs tell"
            more = "give more chains" if name == "reverse" and given else "use more runs"
            reasons.append(f"{what} too little of the error of the {name} end; {more}")
        elif not ess >= max(_ESS_LIMIT * runs, min(_ESS_LEAST, 0.5 * runs)):
            reasons.append(f"{ess:.1f} of {runs} {name} runs carry the weight; use more betas")
    believed = given and abs(upper - lower) < _AGREEMENT
    if "rhat" not in diagnostics and not believed:
        reasons.append("the chains took too few steps to be judged; equilibrate for longer")
    elif not (diagnostics.get("rhat", 1.0) <= _RHAT_LIMIT or believed):
        reasons.append(f"the chains disagree (R-hat {diagnostics['rhat']:.2f}); equilibrate for longer")
    return LogPartition(
        value=value,
        lower=lower,
        upper=upper,
        standard_error=error,
        method=method,
        trusted=not reasons,
        reason="; ".join(reasons),
        effective_sample_size=min(forward_ess, reverse_ess),
        lower_standard_error=lower_error,
        upper_standard_error=upper_error,
        diagnostics=diagnostics,
    )


def _equilibrate(
    model: PairwiseModel, chains: State, steps: int, stream: Stream
) -> tuple[State, dict[str, float]]:
    """Run the chains, and judge them by the energies of the second half of their steps.

    Free energies are judged where the hidden units sum out, else energies of the joint.
    """
    gibbs = Gibbs()
    free = model.hidden_sums_out()
    state = gibbs.init(model, len(next(iter(chains.values()))), stream, chains)
    every = max(steps // (2 * _DRAWS), 1)
    draws = []
    for step in range(steps):
        state, _ = gibbs.step(model, state, stream)
        if step >= steps // 2 and step % every == 0:
            seen = {block: state[block] for block in model.observed_blocks()}
            draws.append(-model.log_sum(seen) if free else model.energy(state))
    if len(draws) < 4:
        return state, {}
    energies = torch.stack(draws).cpu()
    return state, {
        "rhat": split_rhat(energies),
        "autocorrelation_time": every * autocorrelation_time(energies),
        "chain_ess": effective_sample_size(energies),
    }


def _resample(states: State, log_weight: Tensor, stream: Stream) -> State:
    """Draw as many states in proportion to their weights, by systematic resampling."""
    n = len(log_weight)
    cumulative = torch.softmax(log_weight, 0).cumsum(0)
    offset = float(stream.uniform(1, 1, torch.float64))
    points = (torch.arange(n, dtype=torch.float64, device=log_weight.device) + offset) / n
    chosen = torch.searchsorted(cumulative, points).clamp(max=n - 1)
    return {block: x[chosen] for block, x in states.items()}


def _check_finite(model: PairwiseModel) -> None:
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ArgumentError(f"model: got {name} with values that are not finite")


def _check_betas(betas: int | Tensor) -> None:
    if isinstance(betas, Tensor):
        rising = betas.ndim == 1 and len(betas) > 1 and bool((betas.diff() > 0).all())
        if not rising or betas[0] != 0 or betas[-1] != 1:
            raise invalid("betas", betas, "a rising row of numbers from exactly 0 to exactly 1")
    elif isinstance(betas, bool) or not isinstance(betas, int) or betas < 1:
        raise invalid("betas", betas, "a positive number of steps, or the inverse temperatures")
