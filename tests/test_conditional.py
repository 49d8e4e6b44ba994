"""Conditional likelihoods: against the joint distribution of small machines, by enumeration."""

import math

import numpy as np
import pytest
import torch
from _models import DISCRETE, configurations, logsumexp, number, rbm
from test_boltzmann import machine

import harmonium as hm
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.likelihood import _ais

MODELS = {
    **{f"rbm of {kind}": lambda kind=kind: rbm((kind, "bernoulli")) for kind in DISCRETE},
    "rbm of spin and gaussian": lambda: rbm(("spin", "gaussian")),
    "machine of bits": lambda: machine("visible bits"),
    "machine of codes": lambda: machine("coupled below"),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def conditional(model, given):
    """Return all visible states' values, and log p(x_A | x_B) of each by sums over the states."""
    states = configurations(model.visible)
    log_f = -model.free_energy(torch.from_numpy(states)).detach().numpy()
    columns = np.repeat(given, model.visible.width // model.visible.size)
    same = (states[:, None, columns] == states[None][:, :, columns]).all(2)
    log_p = [log_f[i] - logsumexp(log_f[same[i]]) for i in range(len(states))]
    return model.visible.values(torch.from_numpy(states)), np.array(log_p)


def mask(model, *known):
    """Return the truth values of the units that are given."""
    return [i in known for i in range(model.visible.size)]


@pytest.mark.parametrize("known", [(), (0,), (1,)])
def test_exact_is_the_ratio_of_sums(model, known):
    given = mask(model, *known)
    rows, expected = conditional(model, np.array(given))
    for row, value in zip(rows, expected, strict=True):
        found = hm.conditional_log_likelihood(model, row[None], given, method="exact")
        assert found.mean == pytest.approx(value, rel=1e-10)
    whole = hm.conditional_log_likelihood(model, rows, given)
    assert (whole.method, whole.lower, whole.upper) == ("exact", whole.mean, whole.mean)
    assert whole.mean == pytest.approx(expected.mean())


def test_with_nothing_given_it_is_the_likelihood(model):
    rows, _ = conditional(model, np.array(mask(model)))
    found = hm.conditional_log_likelihood(model, rows[:5], mask(model), method="exact")
    assert found.mean == pytest.approx(hm.log_likelihood(model, rows[:5], method="exact").mean)


@pytest.mark.parametrize("known", [(), (0,)])
def test_annealing_estimates_each_row(model, known):
    given = mask(model, *known)
    rows, expected = conditional(model, np.array(given))
    options = {"method": "ais", "runs": 200, "betas": 30}
    for row, value in zip(rows[:6], expected, strict=False):
        found = hm.conditional_log_likelihood(model, row[None], given, **options)
        assert abs(found.mean - value) <= 4.5 * found.standard_error
        assert (found.method, found.lower) == ("ais", -math.inf)


def test_weights_of_held_rows_are_unbiased():
    """With two steps the mean weight is far from each weight, and right."""
    model = machine("visible bits", scale=1.5)
    given = mask(model, 0, 2)
    rows, expected = conditional(model, np.array(given))
    found = hm.conditional_log_likelihood(model, rows[5:6], given, method="ais", runs=40_000, betas=2)
    assert found.standard_error > 0.001
    assert abs(found.mean - expected[5]) <= 4 * found.standard_error


def test_units_that_are_given_keep_their_values():
    model = machine("visible bits")
    clamp = torch.tensor([1.0, torch.nan, 0.0, torch.nan], dtype=torch.float64).repeat(50, 1)
    base = _ais.Base(model, clamped=True)
    stream = hm.Stream(0, "held")
    start = base.sample(model, 50, stream)
    start["visible"] = torch.where(clamp.isnan(), start["visible"], clamp)
    betas = torch.linspace(0, 1, 6, dtype=torch.float64)
    _, state = _ais.anneal(model, base, betas, start, stream, clamp=clamp)
    assert torch.equal(state["visible"][:, [0, 2]], clamp[:, [0, 2]])
    assert len(np.unique(number(state["visible"].numpy(), configurations(model.visible)))) > 1


def test_auto_anneals_what_is_too_much_to_enumerate():
    model = hm.RBM(40, 5)
    found = hm.conditional_log_likelihood(model, torch.zeros(2, 40), [False] * 40, runs=10, betas=20)
    assert found.method == "ais"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "ai"}, "method: unknown 'ai', .*did you mean 'ais'"),
        ({"runs": 1}, "runs: got 1"),
        ({"betas": 0}, "betas: got 0"),
        ({"schedule": "line"}, "schedule: unknown"),
        ({"given": [True, False]}, "given: got shape"),
        ({"given": [1, 0, 0]}, "given: got shape"),
        ({"given": [True] * 3}, "given: got all units"),
        ({"data": torch.full((1, 3), 0.5)}, "data: got 0.5"),
        ({"data": "abc"}, "^data: got 'abc', expected an array or a tensor of numbers, or a Dataset"),
        ({"given": None}, r"^given: got None, expected truth values of shape \(3,\)"),
        ({"model": None}, "^model: got None, expected a model such as an RBM"),
        ({"model": hm.RBM(hm.Gaussian(3), 2)}, "model: got .* of one discrete type"),
        ({"model": hm.BoltzmannMachine(3, 2)}, "hidden units that are coupled"),
    ],
)
def test_mistakes_are_named(arguments, message):
    good = {"model": hm.RBM(3, 2), "data": torch.zeros(1, 3), "given": [True, False, False]}
    given = {**good, **arguments}
    with pytest.raises((ArgumentError, ArgumentTypeError, DataError), match=message):
        hm.conditional_log_likelihood(given.pop("model"), given.pop("data"), given.pop("given"), **given)


def test_too_many_states_are_counted():
    with pytest.raises(ArgumentError, match=r"the free units have 1\.1e\+12"):
        hm.conditional_log_likelihood(hm.RBM(40, 2), torch.zeros(1, 40), [False] * 40, method="exact")
