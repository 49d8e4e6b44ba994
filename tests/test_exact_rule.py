"""Exact maximum likelihood: its gradient is that of autograd, whatever is coupled to what."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from _checks import centred, equal_batch, gradient, nothing, trainable
from _fits import KINDS, PAIRS, fits, small
from _models import Exact, name, negative_log_likelihood, rbm

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError
from harmonium.learning import Batch
from harmonium.training._source import open_source
from harmonium.units import Mixed, ReLU

ALL = pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] in KINDS], ids=name)
SHAPES = {
    "visible bits": lambda: hm.BoltzmannMachine(4),
    "a ring of spins": lambda: hm.BoltzmannMachine(
        hm.Spin(4), visible_edges=[[0, 1], [1, 2], [2, 3], [0, 3]]
    ),
    "visible codes": lambda: hm.BoltzmannMachine(hm.Categorical(3, 3)),
    "no coupling": lambda: hm.BoltzmannMachine(3, visible_edges=False),
    "coupled below": lambda: hm.BoltzmannMachine(hm.Spin(3), 2, hidden_edges=False),
    "coupled above": lambda: hm.BoltzmannMachine(3, hm.Spin(3), visible_edges=False),
    "all coupled": lambda: hm.BoltzmannMachine(3, hm.Categorical(2, 3)),
    "normal rows": lambda: hm.BoltzmannMachine(hm.Gaussian(3, learn_precision=True), 3, visible_edges=False),
    "rectified": lambda: hm.RBM(3, ReLU(2)),
    "mixed": lambda: hm.RBM(Mixed(hm.Spin(2), hm.Gaussian(2, 2.0, True), hm.Categorical(1, 3)), 2),
}


def machine(pair, **options):
    """Return a machine that learns the precision where it can."""
    return rbm(pair, **{"learn_precision": pair[0] == "gaussian", **options})


def general(label):
    """Return a general machine whose parameters are all random, float64."""
    model = SHAPES[label]().double()
    with torch.no_grad():
        for key, p in trainable(model).items():
            p.copy_(0.8 * Stream(1, key).normal(1, p.numel(), p.dtype).view_as(p))
    for coupling in model.couplings():
        mask = model.mask(coupling)
        if mask is not None:
            model.get_parameter(coupling.name).data *= mask
    return model


def uneven(rows, seed=4):
    """Return uneven weights, some of them zero."""
    w = Stream(seed).uniform(rows, 1, torch.float64)[:, 0]
    w[:2] = 0
    return w


def check(rule, model, batch, loss):
    """Compare an update's gradient, centred or not, with that of a loss by autograd."""
    parameters = trainable(model)
    expected = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    expected = dict(zip(parameters, expected, strict=True))
    state, _ = rule.update(model, batch, rule.init(model, Stream(0)), Stream(0), nothing)
    offsets = {key.removeprefix("offset."): x for key, x in state.items()}
    if offsets:
        expected = centred(model, expected, offsets)
    for key, p in parameters.items():
        torch.testing.assert_close(
            p.grad, expected[key], rtol=1e-9, atol=1e-11, msg=lambda m, key=key: f"{key}: {m}"
        )


@ALL
@pytest.mark.parametrize("is_centred", [False, True], ids=["plain", "centred"])
def test_gradient_is_that_of_the_exact_likelihood(pair, is_centred):
    model = machine(pair)
    v = Exact(machine(pair, seed=5)).sample(13, np.random.default_rng(0))["visible"]
    for weights in (torch.full((13,), 1 / 13, dtype=torch.float64), uneven(13)):
        batch = Batch(v, weights, torch.arange(13))
        rule = hm.ExactLikelihood(centred=is_centred, offset_rate=0.3)
        check(rule, model, batch, negative_log_likelihood(model, v, weights))
    assert ("visible.log_precision" in trainable(model)) == (pair[0] == "gaussian")


@pytest.mark.parametrize("label", SHAPES)
def test_gradient_of_general_machines(label):
    """Of hidden units that are coupled too, whose states are enumerated for each row."""
    model = general(label)
    v = model.visible.sample(Stream(2).normal(9, model.visible.width, torch.float64), Stream(3))
    weights = uneven(9)
    loss = weights @ model.free_energy(v) + weights.sum() * model.log_sum({}).squeeze()
    check(hm.ExactLikelihood(centred=False), model, Batch(v, weights, torch.arange(9)), loss)


@pytest.mark.parametrize(
    "pair", [pair for pair in PAIRS if "gaussian" not in pair and "relu" not in pair], ids=name
)
def test_nothing_moves_at_the_truth(pair):
    """Rows that are all states with their probabilities leave no gradient; other parameters have one."""
    truth, model = machine(pair), machine(pair)
    exact = Exact(truth)
    batch = Batch(torch.from_numpy(exact.states), torch.from_numpy(exact.p), torch.arange(len(exact.p)))
    rule = hm.ExactLikelihood(centred=False)
    rule.update(model, batch, {}, Stream(0), nothing)
    assert np.abs(gradient(model)).max() < 1e-13
    with torch.no_grad():
        model.weight += 0.1 * Stream(1).normal(*model.weight.shape, dtype=torch.float64)
    rule.update(model, batch, {}, Stream(0), nothing)
    assert np.abs(gradient(model)).max() > 1e-3


def test_each_batch_is_divided_by_its_own_size():
    """Also the last one, which is smaller."""
    model = machine(("bernoulli", "spin"))
    v = Exact(model).sample(10, np.random.default_rng(0))["visible"]
    source, *_ = open_source(model.visible, v, Stream(0), 4, 2, torch.arange(10) % 3)
    relative = (torch.arange(10) % 3).double()
    relative /= relative.mean()
    for batch in source.batches(0):
        n = len(batch.rows)
        loss = negative_log_likelihood(model, v[batch.rows], relative[batch.rows] / n)
        check(hm.ExactLikelihood(centred=False), model, batch, loss)
    assert n == 2


def test_single_precision_agrees_with_double():
    """Probabilities come of log-weights in double precision."""
    seen = []
    for dtype in (torch.float32, torch.float64):
        model = rbm(("bernoulli", "bernoulli"), (9, 6), scale=3.0, dtype=dtype)
        v = (Stream(1).uniform(20, 9) < 0.5).to(dtype)
        hm.ExactLikelihood().update(model, equal_batch(v), {}, Stream(0), nothing)
        seen.append(gradient(model))
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-4, atol=1e-5)


def test_it_draws_nothing():
    model, stream = machine(("bernoulli", "bernoulli")), Stream(0)
    rule = hm.ExactLikelihood()
    v = torch.ones(3, 3, dtype=torch.float64)
    rule.update(model, equal_batch(v), rule.init(model, stream), stream, nothing)
    assert stream.step == 0


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_a_fit_lowers_the_exact_loss(pair):
    before, after = fits(hm.ExactLikelihood(), pair)
    assert after < before - 0.2


def test_a_fit_follows_the_likelihood_down():
    """With whole batches and a small rate each epoch is better than the one before."""
    model, rows = small(("bernoulli", "bernoulli"))
    history = hm.fit(
        model,
        rows,
        hm.ExactLikelihood(),
        epochs=15,
        batch_size=len(rows),
        lr=0.1,
        momentum=0,
        averaging=0,
        probe=len(rows),
        likelihood_every=1,
        likelihood={"method": "exact"},
    )
    losses = [record["train/log_likelihood"] for record in history.records]
    assert all(late > early for early, late in pairwise(losses))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: hm.RBM(50, 30), r"1\.07e\+09 states of hidden to enumerate in each update, and 838860 are"),
        (lambda: hm.RBM(22, 60), r"4\.19e\+06 states of visible"),
        (lambda: hm.RBM(784, 20), r"1\.05e\+06 states of hidden .* 83468 are the most"),
        (lambda: hm.BoltzmannMachine(30), r"1\.07e\+09 states of visible"),
        (
            lambda: hm.BoltzmannMachine(5, hm.Spin(16), visible_edges=False),
            r"6\.55e\+04 states .* for each row",
        ),
    ],
)
def test_too_many_states_are_refused(model, words):
    with pytest.raises(
        ArgumentError, match=rf"^rule: got 'exact', expected a rule that samples, such as 'pcd': .*{words}"
    ):
        hm.fit(model(), torch.zeros(3, 5), hm.ExactLikelihood())


def test_up_to_a_million_states_are_taken():
    rule = hm.ExactLikelihood()
    rule.check(hm.RBM(44, 20))
    rule.check(hm.RBM(784, 15))
    rule.check(hm.RBM(hm.Gaussian(40), hm.Bernoulli(20)))
    rule.check(hm.BoltzmannMachine(20))
