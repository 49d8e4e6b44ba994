"""Conditional likelihoods: against sums and integrals over the joint distribution of small machines."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from _models import DISCRETE, configurations, logsumexp, number, precision, rbm
from test_boltzmann import machine
from test_mixed import machine as mixed

import harmonium as hm
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.likelihood import _ais, _conditional

MODELS = {
    **{f"rbm of {kind}": lambda kind=kind: rbm((kind, "bernoulli")) for kind in DISCRETE},
    "rbm of spin and gaussian": lambda: rbm(("spin", "gaussian")),
    "machine of bits": lambda: machine("visible bits"),
    "machine of codes": lambda: machine("coupled below"),
    "mixed": lambda: mixed("bits and codes", hm.Spin(2)),
    "mixed below rectified": lambda: mixed("bits and codes", "bits and rectified"),
}
REALS = {
    "reals": lambda: rbm(("gaussian", "bernoulli"), (2, 3), learn_precision=True),
    "bits and reals": lambda: mixed("bits and reals", hm.Bernoulli(3)),
    "codes, reals and spins": lambda: mixed("codes, reals and spins", hm.Categorical(2, 3)),
    "reals and a label": lambda: labelled(hm.DBM([hm.Gaussian(2, 0.8), 3], classes=3)),
}
STEP = 0.25
GRID = np.arange(-25, 25, STEP)[:, None]


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(params=REALS)
def real(request):
    return REALS[request.param]()


def labelled(model):
    """Return a deep machine with random parameters."""
    generator = np.random.default_rng(4)
    with torch.no_grad():
        for name, parameter in model.double().named_parameters():
            if not name.endswith("log_precision"):
                parameter.copy_(torch.from_numpy(generator.normal(size=parameter.shape)))
    return model


def parts(layer):
    """Return the layers of one type that a layer is made of."""
    return list(layer.parts) if layer.kind == "mixed" else [layer]


def conditional(model, given):
    """Return all visible states' values, and log p(x_A | x_B) of each by sums over the states."""
    rows = product(*map(configurations, parts(model.visible)))
    states = np.array([np.concatenate(row) for row in rows])
    log_f = -model.free_energy(torch.from_numpy(states)).detach().numpy()
    columns = model.visible.expand(torch.from_numpy(given)).numpy()
    same = (states[:, None, columns] == states[None][:, :, columns]).all(2)
    log_p = [log_f[i] - logsumexp(log_f[same[i]]) for i in range(len(states))]
    return model.visible.values(torch.from_numpy(states)), np.array(log_p)


def log_f(model, x):
    """Return the log of the sum of exp(-E) over the hidden states, of rows of shape (rows, width)."""
    names = [name for name, p in model.named_parameters() if p.ndim == 2]
    weight = np.concatenate([model.get_parameter(name).detach().numpy() for name in sorted(names)[::-1]])
    hidden = model.layer(model.hidden_blocks()[0])
    h, unit = configurations(hidden), model.visible
    beta = np.concatenate([np.repeat(precision(p), p.width // p.size) for p in parts(unit)])
    own = x @ unit.bias.detach().numpy() - 0.5 * x**2 @ beta
    return own + logsumexp((hidden.bias.detach().numpy() + x @ weight) @ h.T, 1)


def log_integral(model, row, known):
    """Return the log of the integral of exp(-E), of one row, over all units that are not known."""
    values, start = [], 0
    for part in parts(model.visible):
        own = GRID if part.kind == "gaussian" else configurations(type(part)(1, *part_states(part)))
        for _ in range(part.size):
            width = part.width // part.size
            values.append(row[None, start : start + width] if known[len(values)] else own)
            start += width
    numbers = np.indices([len(v) for v in values]).reshape(len(values), -1)
    x = np.concatenate([v[i] for v, i in zip(values, numbers, strict=True)], 1)
    return logsumexp(log_f(model, x)) + math.log(STEP) * sum(len(v) == len(GRID) for v in values)


def part_states(part):
    """Return what makes units like those of a part, their number apart."""
    return [part.states] if part.kind == "categorical" else []


def draw(model, n):
    """Return visible statistics drawn in fields at random."""
    stream = hm.Stream(2, "rows")
    return model.visible.sample(stream.normal(n, model.visible.width, torch.float64), stream)


def masks(model):
    """Return all ways to give some units, all of them apart."""
    return list(product([False, True], repeat=model.visible.size))[:-1]


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
    options = {"method": "ais", "runs": 200, "betas": 30, "schedule": "linear"}
    for row, value in zip(rows[:4], expected, strict=False):
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
    _, state = _ais.anneal(model, base, betas, start, stream, clamp={"visible": clamp})
    assert torch.equal(state["visible"][:, [0, 2]], clamp[:, [0, 2]])
    assert len(np.unique(number(state["visible"].numpy(), configurations(model.visible)))) > 1


@pytest.mark.parametrize("visible", ["bits and reals", "reals and a label"])
def test_real_units_and_labels_that_are_given_keep_their_values(visible):
    model = REALS[visible]()
    unit = model.visible
    row, known = draw(model, 1), torch.arange(unit.size) >= unit.size - 2
    columns = unit.expand(known)
    clamp = model.observed(torch.where(columns, row, torch.nan).repeat(50, 1))
    base, stream = _ais.Base(model, clamped=True), hm.Stream(0, "held")
    start = base.sample(model, 50, stream)
    start |= {b: torch.where(x.isnan(), start[b], x) for b, x in clamp.items()}
    betas = torch.linspace(0, 1, 6, dtype=torch.float64)
    _, state = _ais.anneal(model, base, betas, start, stream, clamp=clamp)
    shown = model.shown(state)
    assert torch.equal(shown[:, columns], row[:, columns].repeat(50, 1))
    assert bool((shown[1:, ~columns] != shown[:-1, ~columns]).any())


# --- real units, by sums over a fine grid ---------------------------------------------------------


def test_densities_are_ratios_of_integrals(real):
    """Of any split, whichever of the two sums is taken."""
    s = draw(real, 2)
    whole = log_f(real, s.numpy())
    for known in masks(real):
        expected = [v - log_integral(real, x, known) for x, v in zip(s.numpy(), whole, strict=True)]
        found = hm.conditional_log_likelihood(real, s, list(known), method="exact")
        assert found.mean == pytest.approx(np.mean(expected), rel=1e-9, abs=1e-9)
        assert (found.method, found.lower, found.upper) == ("exact", found.mean, found.mean)
        split = _conditional._split(real, list(known))
        sums = [_conditional._over_hidden] + [_conditional._over_free] * split.free.discrete
        for log_sum in sums:
            with torch.no_grad():
                got = whole - log_sum(real, s, split).numpy()
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


def test_densities_in_parts_are_the_same(real, monkeypatch):
    s = draw(real, 3)
    for known in masks(real)[:2]:
        whole = hm.conditional_log_likelihood(real, s, list(known)).mean
        with monkeypatch.context() as patch:
            patch.setattr(_conditional, "_BLOCK", 40)
            parted = hm.conditional_log_likelihood(real, s, list(known)).mean
        assert parted == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("rates", [False, True], ids=["own biases", "base rates"])
def test_annealing_estimates_densities(real, rates):
    if rates:
        stream = hm.Stream(3, "rates")
        field = 0.5 * stream.normal(1, real.visible.width, torch.float64)
        real.base_rates.copy_(real.visible.expected_statistics(field)[0].detach())
    s, size = draw(real, 1), real.visible.size
    options = {"method": "ais", "runs": 200, "betas": 60, "schedule": "linear"}
    for known in (mask(real), mask(real, 0), mask(real, *range(1, size))):
        exact = hm.conditional_log_likelihood(real, s, known, method="exact")
        found = hm.conditional_log_likelihood(real, s, known, **options)
        assert 0 < found.standard_error < 0.2
        assert abs(found.mean - exact.mean) <= 4 * found.standard_error
        assert (found.method, found.lower) == ("ais", -math.inf)


def test_weights_of_densities_are_unbiased(real):
    """With two steps the mean weight is far from each weight, and right."""
    s, known = draw(real, 1), mask(real, real.visible.size - 1)
    exact = hm.conditional_log_likelihood(real, s, known, method="exact")
    options = {"method": "ais", "runs": 20_000, "betas": 2, "schedule": "linear"}
    found = hm.conditional_log_likelihood(real, s, known, **options)
    assert found.standard_error > 0.001
    assert abs(found.mean - exact.mean) <= 4 * found.standard_error


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        (hm.Bernoulli(3), hm.ReLU(2, 1.3)),
        (hm.Spin(2), hm.Gaussian(2)),
        (hm.Gaussian(2, 0.7, learn_precision=True), hm.Spin(3)),
    ],
)
def test_of_a_label_it_is_the_probability_of_the_class(visible, hidden):
    model = mixed(hm.Mixed(visible, hm.Categorical(1, 4)), hidden)
    rows = model.visible.values(draw(model, 4))
    given = mask(model, *range(visible.size))
    for label in range(4):
        rows[:, -1] = label
        expected = float(hm.predict_proba(model, rows)[:, label].log().mean())
        for method in ("auto", "exact"):
            found = hm.conditional_log_likelihood(model, rows, given, method=method)
            assert found.mean == pytest.approx(expected, rel=1e-12)


def test_a_density_may_be_above_one():
    model = hm.RBM(hm.Gaussian(2, 400.0), 2)
    options = {"method": "ais", "runs": 20, "betas": 20}
    found = hm.conditional_log_likelihood(model, torch.zeros(1, 2), [False] * 2, **options)
    assert found.mean == pytest.approx(math.log(400 / math.tau), abs=0.01)
    assert found.trusted


# --- which sum, and mistakes ----------------------------------------------------------------------


@pytest.mark.parametrize(("hidden", "method"), [(5, "exact"), (40, "ais")])
@pytest.mark.parametrize("visible", [hm.Bernoulli(40), hm.Gaussian(40)])
def test_auto_anneals_what_is_too_much_to_enumerate(visible, hidden, method):
    model = hm.RBM(visible, hidden)
    found = hm.conditional_log_likelihood(model, torch.zeros(2, 40), [False] * 40, runs=10, betas=20)
    assert found.method == method


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
        ({"model": hm.BoltzmannMachine(3, 2)}, "hidden units that are coupled"),
        ({"model": hm.DBM([3, 2, 2])}, "hidden units that are coupled"),
        ({"model": hm.DBM([3, 2], classes=2)}, r"data: got shape \(1, 3\), expected \(rows, 4\)"),
        ({"model": hm.RBM(hm.Gaussian(3), 2), "data": torch.full((1, 3), math.inf)}, "a finite number"),
        ({"model": hm.RBM(hm.Mixed(hm.Gaussian(3)), 2), "given": [True] * 3}, "given: got all units"),
    ],
)
def test_mistakes_are_named(arguments, message):
    good = {"model": hm.RBM(3, 2), "data": torch.zeros(1, 3), "given": [True, False, False]}
    given = {**good, **arguments}
    with pytest.raises((ArgumentError, ArgumentTypeError, DataError), match=message):
        hm.conditional_log_likelihood(given.pop("model"), given.pop("data"), given.pop("given"), **given)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: hm.RBM(40, 40), r"the free units have 1\.1e\+12, the hidden ones 1\.1e\+12$"),
        (lambda: hm.RBM(hm.Gaussian(40), 40), r"the free units have inf, the hidden ones 1\.1e\+12$"),
        (lambda: hm.RBM(40, hm.ReLU(2)), r"the free units have 1\.1e\+12$"),
        (lambda: hm.BoltzmannMachine(40, 2, hidden_edges=False), r"the free units have 1\.1e\+12$"),
    ],
)
def test_too_many_states_are_counted(model, words):
    with pytest.raises(ArgumentError, match=words):
        hm.conditional_log_likelihood(model(), torch.zeros(1, 40), [False] * 40, method="exact")
