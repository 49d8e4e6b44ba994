"""Checks that several tests share; each raises AssertionError with what it saw."""

import numpy as np
import torch
from _models import Exact, contrastive_states, hidden_means, negative_log_likelihood, number
from _runs import bits, train
from scipy import stats

import harmonium as hm
from harmonium import Stream
from harmonium.learning import Batch
from harmonium.likelihood import _ais
from harmonium.samplers import Gibbs
from harmonium.training import Options
from harmonium.training._optimiser import Optimisers
from harmonium.training._source import open_source

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
        check_normal(exact.normal(index, partner, free))
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


# --- gradients ----------------------------------------------------------------------------------


def trainable(model):
    """Return the parameters to train by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def gradient(model):
    """Return the gradients that an update has left, one after the other."""
    return torch.cat([p.grad.flatten() for p in trainable(model).values()]).numpy()


def equal_batch(v):
    """Return rows of equal shares as a batch."""
    return Batch(v, torch.full((len(v),), 1 / len(v), dtype=v.dtype), torch.arange(len(v)))


def stand_ins(exact, shares, seed=0):
    """Return joint states, one for each share, of which the weighted moments are the model's.

    They are no states that units could take, but their means, products and squares average to the exact
    ones, and a gradient of moments knows nothing else. The positive shares must outnumber the columns.

    Arguments:
        exact: The model's distribution.
        shares: Of any sum but zero, shape (rows).
        seed: Of the directions in which they are spread.
    """
    blocks, p = exact.weighted_states()
    x = torch.cat((blocks["visible"], blocks["hidden"]), 1)
    mean = p @ x
    spread, axes = torch.linalg.eigh((x - mean).T @ ((x - mean) * p[:, None]))
    root = axes * spread.clamp(min=0).sqrt() @ axes.T
    w = shares.double() / shares.double().sum()
    z = Stream(seed, "stand-ins").normal(len(w), len(mean), torch.float64)
    z = z - w @ z
    z = torch.linalg.solve_triangular(torch.linalg.cholesky(z.T @ (z * w[:, None])), z.T, upper=False).T
    parts = (mean + z @ root).split([blocks["visible"].shape[1], blocks["hidden"].shape[1]], 1)
    return dict(zip(("visible", "hidden"), parts, strict=True))


def exactly(rule, model, batch):
    """Return the rule with exact expectations in place of its chains; all the rest is its own."""

    class Exactly(type(rule)):
        def negative(self, model, data, field, state, stream):
            chains = state.get("chain.visible")
            shares = batch.weights if chains is None else torch.ones(len(chains))
            kept = {name: x for name, x in state.items() if not name.startswith("offset.")}
            return stand_ins(Exact(model), shares), kept

    return Exactly(**rule.model_dump())


def centred(model, gradients, offsets):
    """Return what plain gradients become when the step is taken in centred coordinates.

    With offsets mu, lambda these are W, b + W lambda and c + W' mu. The plain parameters are a linear
    function J of them, so that the step which follows their gradient is J J' times the plain gradient.
    """
    mu, lam = offsets["visible"], offsets["hidden"]

    def plain(own):
        b, c = own["visible.bias"] - own["weight"] @ lam, own["hidden.bias"] - mu @ own["weight"]
        return {**own, "visible.bias": b, "hidden.bias": c}

    _, back = torch.func.vjp(plain, {name: p.detach() for name, p in trainable(model).items()})
    return plain(back(gradients)[0])


def nothing(group):
    """Stand for an optimiser that leaves the parameters as they are."""


def check_gradient(rule, model, batch, v=None, shares=None):
    """Check that with exact chains a rule's gradient is that of the exact likelihood, centred if it is.

    Arguments:
        rule: A rule whose gradient is a difference of moments.
        model: A small machine, float64.
        batch: The rows as the rule gets them.
        v: The rows as they ought to be, if not the batch's own.
        shares: Their shares as they ought to be, likewise.
    """
    v = batch.values if v is None else v
    shares = batch.weights if shares is None else shares
    parameters = trainable(model)
    loss = negative_log_likelihood(model, v, shares)
    expected = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    state = rule.init(model, Stream(0))
    state, _ = exactly(rule, model, batch).update(model, batch, state, Stream(0), nothing)
    offsets = {name.removeprefix("offset."): x for name, x in state.items() if "offset" in name}
    if offsets:
        expected = centred(model, expected, offsets)
    for name, p in parameters.items():
        torch.testing.assert_close(
            p.grad, expected[name], rtol=1e-8, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}"
        )


def check_offsets(rule, model, batch, updates=3):
    """Check that the offsets follow the average of the data's and the model's means at their rate."""
    exact = Exact(model)
    blocks, p = exact.weighted_states()
    data = {"visible": batch.values, "hidden": torch.from_numpy(hidden_means(model, batch.values.numpy()))}
    state = rule.init(model, Stream(0))
    expected = {block: state[f"offset.{block}"] for block in model.blocks()}
    for block, offset in expected.items():
        layer = model.layer(block)
        torch.testing.assert_close(offset, layer.expected_statistics(layer.bias.detach()).detach())
    for _ in range(updates):
        state, _ = exactly(rule, model, batch).update(model, batch, state, Stream(0), nothing)
        for block, old in expected.items():
            both = 0.5 * (batch.weights @ data[block] + p @ blocks[block])
            expected[block] = (1 - rule.offset_rate) * old + rule.offset_rate * both
            torch.testing.assert_close(state[f"offset.{block}"], expected[block])


def check_batches(rule, model, weights=None, rows=82, batch_size=30, seed=0):
    """Check the exact gradient of each batch of an epoch, of which the last is smaller.

    A batch's rows have the shares weight / (mean weight of all rows) / (rows of this batch).
    """
    v = Exact(model).sample(rows, np.random.default_rng(seed))["visible"]
    relative = torch.ones(rows, dtype=v.dtype) if weights is None else weights / weights.mean()
    source, *_ = open_source(model.visible, v, Stream(seed, "batches"), batch_size, 2, weights)
    sizes = []
    for batch in source.batches(0):
        index = batch.rows
        sizes.append(len(index))
        check_gradient(rule, model, batch, v[index], relative[index] / len(index))
    require(sizes == [30, 30, 22], f"the batches have {sizes} rows")


# --- gradients of chains ------------------------------------------------------------------------


def check_average(draws, expected):
    """Check that the mean of independent rows is what is expected, in every column.

    The limit on the largest deviation, in standard errors, is Bonferroni's for all columns.
    """
    n, columns = draws.shape
    error = draws.std(0, ddof=1) / np.sqrt(n)
    away = np.abs(draws.mean(0) - expected)
    limit = stats.t.isf(RARE / (2 * columns), n - 1)
    z = (away / np.maximum(error, 1e-12)).max()
    require(np.all(away <= limit * error + 1e-9), f"{z:.1f} standard errors away, the limit is {limit:.1f}")


def check_no_gradient(rule, model, truth, draws=60, rows=150, seed=0):
    """Check that the expected gradient is zero on data that are drawn from the truth.

    Arguments:
        rule: A rule that is not centred; its chains, if any, start exactly in the model.
        model: The machine whose gradient it is.
        truth: The machine that the data come from.
        draws: Independent updates.
        rows: Rows of each.
        seed: Of data and chains.
    """
    generator, stream = np.random.default_rng(seed), Stream(seed, "no gradient")
    data = Exact(truth).sample(draws * rows, generator)["visible"].split(rows)
    state, seen = rule.init(model, stream), []
    n = len(state.get("chain.visible", ()))
    chains = {block: x.split(n or 1) for block, x in Exact(model).sample(draws * n, generator).items()}
    for i in range(draws):
        state = {f"chain.{block}": x[i] for block, x in chains.items()} if n else {}
        rule.update(model, equal_batch(data[i]), state, stream, nothing)
        seen.append(gradient(model))
    check_average(np.array(seen), 0.0)


def check_contrastive(model, steps=1, taken=None, draws=60, repeat=60, seed=0):
    """Check CD's mean gradient against exact applications of the Gibbs kernel to weighted rows.

    Arguments:
        model: A machine of few units.
        steps: The number of exact applications.
        taken: The rule's own steps, if not as many.
        draws: Independent updates.
        repeat: How often each row is there in each of them.
        seed: Of the rows and the chains.
    """
    rule, stream = hm.CD(steps=taken or steps, centred=False), Stream(seed, "contrastive")
    v = model.visible.sample(2 * stream.normal(4, model.visible.width, torch.float64), stream)
    w = torch.softmax(stream.normal(1, len(v), torch.float64)[0], 0)
    x, p = contrastive_states(model, v.numpy(), w.numpy(), steps)
    rows = torch.cat((v, torch.from_numpy(x)))
    shares = torch.cat((w, -torch.from_numpy(p)))
    energy = model.energy({"visible": rows, "hidden": torch.from_numpy(hidden_means(model, rows.numpy()))})
    expected = torch.autograd.grad(shares @ energy, list(trainable(model).values()))
    many = repeat * len(v)
    batch = Batch(v.repeat(repeat, 1), w.repeat(repeat) / repeat, torch.arange(many))
    seen = []
    for _ in range(draws):
        rule.update(model, batch, {}, stream, nothing)
        seen.append(gradient(model))
    check_average(np.array(seen), torch.cat([g.flatten() for g in expected]).numpy())


def check_persistent_chains(model, updates, together=False, n=6000, seed=0):
    """Check the law of PCD's chains after updates that leave the parameters as they are.

    Arguments:
        model: A small machine.
        updates: How many.
        together: Whether the chains all start in one state; else exactly in the model.
        n: The number of chains.
        seed: Of the start and of the chains.
    """
    exact = Exact(model)
    first = start(model, [exact], 1 if together else n, seed)
    batch = equal_batch(first["visible"][:3])
    rule, stream = hm.PCD(chains=n), Stream(seed, "persistent")
    state = rule.init(model, stream)
    state |= {f"chain.{block}": x.repeat(n // len(x), 1) for block, x in first.items()}
    for _ in range(updates):
        state, _ = rule.update(model, batch, state, stream, nothing)
    check_joint({block: state[f"chain.{block}"] for block in model.blocks()}, exact)


# --- steps, likelihoods and monitors ------------------------------------------------------------


def check_momentum(rate=0.1, momentum=0.8, updates=5):
    """Check the default optimiser's steps: velocity = momentum velocity + gradient, step = -rate velocity."""
    p = torch.nn.Parameter(torch.zeros(3, 2, dtype=torch.float64))
    optimisers = Optimisers({"model": {"weight": p}}, Options(momentum=momentum), rate)
    velocity, stream = torch.zeros(3, 2, dtype=torch.float64), Stream(0)
    for update in range(updates):
        factor, before = 1 - update / updates, p.detach().clone()
        p.grad = stream.normal(3, 2, torch.float64)
        velocity = momentum * velocity + p.grad
        optimisers.set_rate(factor)
        optimisers.apply("model")
        torch.testing.assert_close(p.detach(), before - rate * factor * velocity)


def check_log_partition(model, betas=10, runs=4000, seed=0):
    """Check both annealed ends, and what joins them, against enumeration."""
    exact = Exact(model)
    chains = model.visible.values(exact.sample(runs, np.random.default_rng(seed))["visible"])
    settings = {"betas": betas, "schedule": "linear", "equilibrate": 2, "chains": chains, "seed": seed}
    for method in ("ais", "bridge"):
        got = hm.log_partition(model, method, runs=runs, **settings)
        for end, error in (
            (got.value, got.standard_error),
            (got.lower, got.lower_standard_error),
            (got.upper, got.upper_standard_error),
        ):
            away = abs(end - exact.log_partition) / error
            require(away < 4, f"{method}: an end is {away:.1f} standard errors from log Z")


def check_base_rates(model, runs=2000):
    """Check that annealing starts from the base rates: exactly, where the model has no more than them."""
    unit = model.visible
    field = Stream(1, "base rates").normal(1, unit.width, model.dtype)
    rates = unit.expected_statistics(field)[0].detach()
    with torch.no_grad():
        model.weight.zero_()
        unit.bias.zero_()
    model.initialise(rates)
    got = hm.log_partition(model, "ais", betas=1, runs=10, schedule="linear", equilibrate=2)
    exact = Exact(model).log_partition
    require(got.standard_error < 1e-6, f"one step to the base rates has error {got.standard_error:.3f}")
    require(abs(got.value - exact) < 1e-6, f"one step to the base rates gives {got.value}, not {exact}")
    with torch.no_grad():
        unit.bias.add_(torch.linspace(-1, 1, unit.width))
    check_mean(_ais.Base(model).sample(model, runs, Stream(2))["visible"], rates.numpy(), 4.5)


def check_monitors(as_dataset):
    """Check that each split's scores are those of its own rows.

    Arguments:
        as_dataset: Whether the validation rows come in a data set, or as an argument of their own.
    """
    rows = {"train": bits(40), "validation": 1 - bits(30, seed=9)}
    data, validation = rows["train"], rows["validation"]
    if as_dataset:
        data, validation = hm.datasets.from_array(data.numpy(), validation=validation.numpy()), None
    history = train(data, validation=validation, probe=20)
    record, model = history.records[-1], history.model
    for split, values in rows.items():
        own = values[:20].float()
        expected = {
            "free_energy": model.free_energy(own).mean(),
            "reconstruction_error": (model.reconstruct(own) - own).square().mean(),
            "hidden_mean": model.encode(own).mean(),
        }
        for name, value in expected.items():
            got, value = record[f"{split}/{name}"], value.item()
            require(abs(got - value) <= 1e-5 * abs(value), f"{split}/{name} is {got}, not {value}")
