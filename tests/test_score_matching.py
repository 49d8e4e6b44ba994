"""Score matching against derivatives of the free energy, one at a time, and against quadrature."""

from itertools import product

import numpy as np
import pytest
import torch
from _checks import gradient, nothing, trainable
from _fits import fits, loss
from _models import DISCRETE, STATES, Exact, configurations, rbm, unit

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError
from harmonium.learning import RULES, Batch
from harmonium.training._source import open_source

NAMES = ("score-matching", "denoising-score-matching")
ABOVE = ("bernoulli", "spin", "categorical")
SIGMA = 0.4
RULE = pytest.mark.parametrize("kind", NAMES)
HIDDEN = pytest.mark.parametrize("hidden", ABOVE)


def rule_of(kind):
    """Return a rule by name, with settings that are not the defaults."""
    return RULES[kind](**({} if kind == "score-matching" else {"sigma": SIGMA}))


def machine(hidden, **options):
    """Return a machine with real visible units that learn their precision."""
    return rbm(("gaussian", hidden), **{"learn_precision": True, **options})


def rows(n=7, columns=3, seed=3):
    """Return rows, and uneven weights, one of them zero."""
    weights = Stream(seed).uniform(n, 1, torch.float64)[:, 0]
    weights[0] = 0
    return 2 * Stream(seed).normal(n, columns, torch.float64), weights


def score(model, row):
    """Return the gradient of the log-density at a row, differentiable."""
    row = row.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.free_energy(row[None]).sum(), row, create_graph=True)
    return -slope, row


def naive(kind, model, v, weights, noise):
    """Return the loss of a batch by a loop over its rows and units."""
    total = 0
    for row, weight, e in zip(v, weights, noise, strict=True):
        if kind == "denoising-score-matching":
            psi, _ = score(model, row + SIGMA * e)
            total = total + weight * 0.5 * (psi - (row - (row + SIGMA * e)) / SIGMA**2).square().sum()
            continue
        psi, at = score(model, row)
        for i in range(len(row)):
            (bend,) = torch.autograd.grad(psi[i], at, create_graph=True)
            total = total + weight * (0.5 * psi[i] ** 2 + bend[i])
    return total


def check(kind, model, batch, weights=None):
    """Compare a rule's loss and gradient with those of the loop."""
    v, weights = batch.values, batch.weights if weights is None else weights
    expected = naive(kind, model, v, weights, Stream(5).normal(*v.shape, torch.float64))
    parameters = trainable(model)
    slopes = torch.autograd.grad(expected, list(parameters.values()))
    _, metrics = rule_of(kind).update(model, batch, {}, Stream(5), nothing)
    np.testing.assert_allclose(metrics["loss"].item(), expected.item(), rtol=1e-10)
    for (key, p), slope in zip(parameters.items(), slopes, strict=True):
        torch.testing.assert_close(p.grad, slope, rtol=1e-9, atol=1e-11, msg=lambda m, key=key: f"{key}: {m}")


# --- variances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DISCRETE)
def test_variances_of_sums_are_those_of_the_enumerated_states(kind):
    layer = unit(kind, 3).double()
    field = Stream(1).normal(4, layer.width, torch.float64)
    weight = Stream(2).normal(5, layer.width, torch.float64)
    s = torch.from_numpy(configurations(layer))
    p = torch.softmax(field @ s.T, 1)
    sums = s @ weight.T
    expected = p @ sums.square() - (p @ sums).square()
    torch.testing.assert_close(layer.variance(layer.expected_statistics(field), weight), expected)


def test_variances_of_sums_of_real_units():
    layer = hm.Gaussian(3, precision=2.5).double()
    weight = Stream(2).normal(5, 3, torch.float64)
    got = layer.variance(torch.zeros(4, 3, dtype=torch.float64), weight)
    torch.testing.assert_close(got, (weight.square().sum(1) / 2.5).expand(4, 5))


# --- losses and gradients -----------------------------------------------------------------------


@RULE
@HIDDEN
def test_loss_and_gradient_are_those_of_a_loop_over_derivatives(kind, hidden):
    model = machine(hidden)
    v, weights = rows()
    check(kind, model, Batch(v, weights, torch.arange(len(v))))
    assert all(p.grad.abs().max() > 1e-3 for p in trainable(model).values())


@RULE
def test_couplings_that_are_masked(kind):
    model = hm.BoltzmannMachine(
        hm.Gaussian(3, learn_precision=True),
        hm.Categorical(2, STATES),
        visible_edges=False,
        hidden_edges=False,
        weight_mask=[[1, 0], [1, 1], [0, 1]],
    ).double()
    with torch.no_grad():
        for key, p in trainable(model).items():
            p.copy_(Stream(1, key).normal(1, p.numel(), p.dtype).view_as(p))
    v, weights = rows()
    check(kind, model, Batch(v, weights, torch.arange(len(v))))


@RULE
def test_units_without_a_neighbour(kind):
    """Of independent units the score is linear, and its minimum is at the data's precisions."""
    model = hm.BoltzmannMachine(hm.Gaussian(3, learn_precision=True), visible_edges=False).double()
    v, weights = rows()
    check(kind, model, Batch(v, weights, torch.arange(len(v))))
    if kind == "score-matching":
        v = v / v.square().mean(0).sqrt()
        hm.ScoreMatching().update(
            model, Batch(v, torch.full((7,), 1 / 7), torch.arange(7)), {}, Stream(0), nothing
        )
        assert model.visible.log_precision.grad.abs().max() < 1e-6


@RULE
def test_a_fixed_precision_is_left_alone(kind):
    model = rbm(("gaussian", "bernoulli"))
    v, weights = rows()
    check(kind, model, Batch(v, weights, torch.arange(len(v))))
    assert model.visible.log_precision.grad is None


@RULE
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_each_batch_is_divided_by_its_own_size(kind, weighted):
    """Also the last one, which is smaller."""
    model = machine("spin")
    v, _ = rows(16)
    weights = torch.arange(16).double() % 3 if weighted else None
    relative = torch.ones(16, dtype=torch.float64) if weights is None else weights / weights.mean()
    source, *_ = open_source(model.visible, v, Stream(0), 6, 2, weights)
    sizes = []
    for batch in source.batches(0):
        sizes.append(len(batch.rows))
        check(kind, model, batch._replace(values=v[batch.rows]), relative[batch.rows] / sizes[-1])
    assert sizes == [6, 6, 4]


def test_noise_does_not_depend_on_how_rows_are_split():
    model, rule = machine("bernoulli"), hm.DenoisingScoreMatching()
    v, _ = rows(10)
    whole = rule.costs(model, v, Stream(2))
    parts = [rule.costs(model, v[:4], Stream(2)), rule.costs(model, v[4:], Stream(2, row=4))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)


# --- consistency --------------------------------------------------------------------------------


def quadrature(exact, nodes, noise=0):
    """Return rows that stand for a machine's visible units, and for standard noise, with their weights.

    They are those of Gauss-Hermite rules given each hidden state.
    """
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    width = exact.mean.shape[1]
    grid = np.array(list(product(x, repeat=width + noise)))
    weights = np.array(list(product(w / w.sum(), repeat=width + noise))).prod(1)
    v = exact.mean[:, None] + exact.deviation[:, None] * grid[:, :width]
    n = len(exact.p)
    e = np.tile(grid[:, width:], (n, 1))
    flat = v.reshape(-1, width), e, (exact.p[:, None] * weights).ravel()
    return [torch.from_numpy(part) for part in flat]


class Given:
    """A stream whose normal deviates are given."""

    def __init__(self, noise):
        self.noise = noise

    def normal(self, *shape):
        return self.noise


def smoothed(model, sigma):
    """Return the machine, of one hidden unit, whose rows are those of another with noise added.

    The means given each hidden state are the same and the variances larger; the hidden biases make up for
    what this does to the hidden unit.
    """
    other = machine(model.hidden.kind, sizes=(model.visible.size, 1))
    beta = model.visible.precision.detach()
    wide = 1 / (1 / beta + sigma**2)
    with torch.no_grad():
        other.visible.log_precision.copy_(wide.log())
        other.visible.bias.copy_(model.visible.bias * wide / beta)
        other.weight.copy_(model.weight * (wide / beta)[:, None])

        def gain(own, precision):
            field = own.visible.bias[:, None] + own.weight
            return ((field.square() - own.visible.bias.square()[:, None]) / (2 * precision[:, None])).sum(0)

        other.hidden.bias.copy_(model.hidden.bias + gain(model, beta) - gain(other, wide))
    return other


def check_minimum(rule, truth, batch, stream, close):
    """Check that the gradient is zero at the truth, and elsewhere points away from there."""
    rule.update(truth, batch, {}, stream, nothing)
    assert np.abs(gradient(truth)).max() < close
    origin = {key: p.detach().clone() for key, p in trainable(truth).items()}
    for seed in range(3):
        moves = []
        for key, p in trainable(truth).items():
            move = 0.2 * Stream(seed, key).normal(1, p.numel(), p.dtype).view_as(p)
            p.data.copy_(origin[key] + move)
            moves.append(move.flatten())
        rule.update(truth, batch, {}, stream, nothing)
        assert np.abs(gradient(truth)).max() > 1e-2
        assert gradient(truth) @ torch.cat(moves).numpy() > 0


@HIDDEN
def test_score_matching_is_at_rest_at_the_truth_and_nowhere_near(hidden):
    truth = machine(hidden, sizes=(2, 2))
    v, _, weights = quadrature(Exact(truth), 40)
    batch = Batch(v, weights, torch.arange(len(v)))
    check_minimum(hm.ScoreMatching(), truth, batch, Stream(0), 1e-6)


@pytest.mark.parametrize("hidden", ["bernoulli", "categorical"])
def test_denoising_score_matching_is_at_rest_at_the_smoothed_truth(hidden):
    source = machine(hidden, sizes=(2, 1))
    v, e, weights = quadrature(Exact(source), 16, noise=2)
    batch = Batch(v, weights, torch.arange(len(v)))
    rule = hm.DenoisingScoreMatching(sigma=SIGMA)
    check_minimum(rule, smoothed(source, SIGMA), batch, Given(e), 1e-5)
    rule.update(source, batch, {}, Given(e), nothing)
    assert np.abs(gradient(source)).max() > 1e-2


# --- fits ---------------------------------------------------------------------------------------


@RULE
@HIDDEN
def test_a_fit_lowers_the_exact_loss(kind, hidden):
    before, after = fits(rule_of(kind), ("gaussian", hidden))
    assert after < before - 0.2


@pytest.mark.parametrize("kind", NAMES)
def test_a_fit_finds_a_known_machine(kind):
    """The exact loss comes down to that of the truth, or near it where noise adds to the variances."""
    truth = rbm(("gaussian", "bernoulli"), (4, 2), scale=2.0, learn_precision=True, dtype=torch.float32)
    data = Exact(truth).sample(2000, np.random.default_rng(0))["visible"].float()
    model = hm.RBM(hm.Gaussian(4, learn_precision=True), 2, seed=1)
    hm.fit(model, data, RULES[kind](), epochs=0)
    before = loss(model, data)
    hm.fit(model, data, RULES[kind](), epochs=30, optimizer="Adam", lr=0.02)
    least = loss(truth, data)
    assert loss(model, data) < least + (0.1 if kind == "score-matching" else 0.25) * (before - least)


# --- what is refused ----------------------------------------------------------------------------


@RULE
def test_other_models_are_refused(kind):
    rule = RULES[kind]()
    with pytest.raises(
        ArgumentError, match=rf"^rule: got '{kind}', expected .*spin visible units, such as 'pcd'"
    ):
        rule.check(hm.RBM(hm.Spin(4), 3))
    with pytest.raises(ArgumentError, match=rf"^rule: got '{kind}', expected .*depend on each other"):
        rule.check(hm.BoltzmannMachine(hm.Gaussian(4), 3, visible_edges=False))
    rule.check(hm.RBM(hm.Gaussian(4), hm.Categorical(2, 3)))


@pytest.mark.parametrize("sigma", [0, -0.1, True, float("inf"), "much"])
def test_noise_without_a_size_is_refused(sigma):
    with pytest.raises(ArgumentError, match=r"^sigma: got "):
        hm.DenoisingScoreMatching(sigma=sigma)
