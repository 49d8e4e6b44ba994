"""Checks that several tests share; each raises AssertionError with what it saw."""

import numpy as np
import torch
from _models import Exact, number
from scipy import stats

from harmonium import Stream
from harmonium.samplers import Gibbs

RARE = 1e-6
"""The probability under which an outcome counts as a failure."""


def require(condition, message):
    """Raise AssertionError with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


# --- distributions ------------------------------------------------------------------------------


def check_frequencies(index, p):
    """Check drawn states, given by their numbers, against their probabilities.

    The total variation must be under four times what n independent draws leave of it on average, and
    Pearson's chi-square must not be improbable.
    """
    n = len(index)
    counts = np.bincount(index, minlength=len(p))
    variation = 0.5 * np.abs(counts / n - p).sum()
    floor = 0.5 * np.sqrt(2 * p * (1 - p) / (np.pi * n)).sum()
    require(variation <= 4 * floor, f"total variation {variation:.4f}, four floors {4 * floor:.4f}")
    require(counts[p == 0].sum() == 0, "a state of probability zero was drawn")
    order = np.argsort(p)
    pooled = np.cumsum(n * p[order]) < 10
    few = order[: pooled.sum() + 1]
    keep = np.setdiff1d(np.arange(len(p)), few)
    expected = n * np.append(p[keep], p[few].sum())
    observed = np.append(counts[keep], counts[few].sum())
    if len(expected) > 1:
        chance = stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), len(expected) - 1)
        require(chance > RARE, f"chi-square of {len(expected)} cells has probability {chance:.1e}")


def check_normal(z):
    """Check that every column holds independent standard normal deviates."""
    n = len(z)
    mean, square = z.mean(0) * np.sqrt(n), (z.var(0) - 1) * np.sqrt(n / 2)
    require(np.abs(mean).max() < 4.5, f"means {mean} standard errors from 0")
    require(np.abs(square).max() < 4.5, f"variances {square} standard errors from 1")
    for column in z.T:
        chance = stats.kstest(column, "norm").pvalue
        require(chance > RARE, f"Kolmogorov-Smirnov has probability {chance:.1e}")


def check_mean(x, expected, limit=4.0):
    """Check that the mean of independent rows is within ``limit`` standard errors of what is expected."""
    x = np.asarray(x, dtype=float)
    error = x.std(0, ddof=1) / np.sqrt(len(x))
    away = np.abs(x.mean(0) - expected)
    require(np.all(away <= limit * error + 1e-12), f"means are {away / error} standard errors away")


def check_joint(state, exact):
    """Check joint states against the exact distribution."""
    state = {block: state[block].double().numpy() for block in ("visible", "hidden")}
    index = exact.index(state)
    check_frequencies(index, exact.p)
    partner = state[exact.partner]
    if not exact.continuous:
        both = index * len(exact.others) + number(partner, exact.others)
        check_frequencies(both, exact.joint().ravel())
        return
    free = (exact.deviation > 0).all(0)
    require((partner[:, ~free] == exact.mean[index][:, ~free]).all(), "a clamped unit has moved")
    if free.any():
        check_normal((partner - exact.mean[index])[:, free] / exact.deviation[index][:, free])
        mean = exact.p @ exact.mean
        check_mean(partner[:, free], mean[free], 4.5)
        spread = exact.p @ ((exact.mean - mean) ** 2 + exact.deviation**2)
        check_mean(((partner - mean) ** 2)[:, free], spread[free], 4.5)


# --- chains -------------------------------------------------------------------------------------


def start(model, exacts, n, seed):
    """Return ``n`` exact joint states of each distribution, one below the other."""
    generator = np.random.default_rng(seed)
    parts = [exact.sample(n, generator) for exact in exacts]
    return {
        block: torch.cat([part[block] for part in parts]).to(model.dtype) for block in ("visible", "hidden")
    }


def check_no_drift(model, steps, groups=((1.0, None),), n=6000, seed=0):
    """Check that chains which start exactly in their distribution are still in it after some steps.

    Arguments:
        model: A small machine.
        steps: How many steps.
        groups: Inverse temperature and clamp of each group of chains.
        n: Chains in each group.
        seed: Of the start and of the chains.
    """
    exacts = [Exact(model, beta, None if clamp is None else np.array(clamp)) for beta, clamp in groups]
    betas = torch.tensor([beta for beta, _ in groups], dtype=model.dtype).repeat_interleave(n)
    clamps = None
    if any(clamp is not None for _, clamp in groups):
        rows = [torch.tensor(clamp or [torch.nan] * model.visible.width) for _, clamp in groups]
        clamps = torch.stack(rows).to(model.dtype).repeat_interleave(n, 0)
    gibbs, stream = Gibbs(), Stream(seed, "no drift")
    state = gibbs.init(
        model,
        n * len(groups),
        stream,
        start(model, exacts, n, seed),
        clamps,
        None if all(beta == 1 for beta, _ in groups) else betas,
    )
    state = gibbs.run(model, state, stream, steps)
    for i, exact in enumerate(exacts):
        rows = slice(i * n, (i + 1) * n)
        check_joint({block: state[block][rows] for block in ("visible", "hidden")}, exact)


def check_transition(model, n=6000, seed=0):
    """Check the law of one step from a fixed state: each block in turn, the visible one first."""
    exact = Exact(model)
    one = start(model, [exact], 1, seed)
    gibbs, stream = Gibbs(), Stream(seed, "transition")
    state = {block: x.repeat(n, 1) for block, x in one.items()}
    state, _ = gibbs.step(model, gibbs.init(model, n, stream, state), stream)
    weight, bias = model.weight.detach().double().numpy(), model.visible.bias.detach().double().numpy()
    field = bias + weight @ one["hidden"][0].double().numpy()
    law = Exact(model)
    if law.side == "visible":
        law.p = np.exp(law.states @ field)
        law.p /= law.p.sum()
        check_joint(state, law)
        return
    deviation = 1 / np.sqrt(law.precision)
    v, h = state["visible"].double().numpy(), state["hidden"].double().numpy()
    check_normal((v - field / law.precision) / deviation)
    given = v @ weight + model.hidden.bias.detach().double().numpy()
    mean = conditional_mean(model.hidden.kind, given)
    variance = 1 - mean**2 if model.hidden.kind == "spin" else mean * (1 - mean)
    seen = variance.sum(0) > 20
    for factor in (np.ones(n), *v.T):
        away = factor @ (h - mean) / np.sqrt(factor**2 @ variance)
        require(np.abs(away[seen]).max() < 4.5, f"hidden means are {away} standard errors away")


def check_convergence(model, steps=40, n=6000, seed=0):
    """Check that chains which all start in one state end in the model's distribution."""
    gibbs, stream = Gibbs(), Stream(seed, "convergence")
    state = {block: x.repeat(n, 1) for block, x in start(model, [Exact(model)], 1, seed).items()}
    state = gibbs.run(model, gibbs.init(model, n, stream, state), stream, steps)
    check_joint(state, Exact(model))


def conditional_mean(kind, field):
    """Return the expected statistics of discrete units in fields of shape (rows, width)."""
    if kind == "bernoulli":
        return 1 / (1 + np.exp(-field))
    if kind == "spin":
        return np.tanh(field)
    blocks = np.exp(field.reshape(len(field), -1, 3))
    return (blocks / blocks.sum(-1, keepdims=True)).reshape(field.shape)
