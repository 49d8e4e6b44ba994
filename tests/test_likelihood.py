"""Partition functions and likelihoods: exact, annealed in both directions, bridged, and doubted.

What is exact is compared with a sum over both layers, and what is estimated with the exact value in units
of the standard error that the estimate itself states.
"""

import copy
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from _checks import check_mean
from _models import (
    DISCRETE_PAIRS,
    PAIRS,
    REAL,
    Exact,
    configurations,
    logsumexp,
    name,
    precision,
    rbm,
    rectified,
)
from scipy import stats

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.likelihood import ESTIMATORS, SCHEDULES, _ais, _exact, _log_likelihood, _log_partition
from harmonium.likelihood._bridge import bennett
from harmonium.models import _enumeration, choose_side

ALL = pytest.mark.parametrize("pair", PAIRS, ids=name)
DISCRETE = pytest.mark.parametrize("pair", DISCRETE_PAIRS, ids=name)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
BITS = ("bernoulli", "bernoulli")
REAL_PAIRS = [pair for pair in PAIRS if set(pair) & set(REAL)]
QUICK = {"betas": 20, "runs": 20, "schedule": "linear", "equilibrate": 20}
ENDS = (
    ("value", "standard_error"),
    ("lower", "lower_standard_error"),
    ("upper", "upper_standard_error"),
)
UNLIKELY = 1e-3


def arrays(model):
    """Return W, b and c in NumPy, float64."""
    parameters = (model.weight, model.visible.bias, model.hidden.bias)
    return [p.detach().double().numpy() for p in parameters]


def exact_value(model):
    """Return log Z by enumeration in NumPy."""
    return Exact(model).log_partition


def visible_mean(exact):
    """Return the expected visible statistics."""
    return exact.p @ (exact.states if exact.side == "visible" else exact.mean)


def visible_samples(model, n, seed=0):
    """Return visible statistics drawn exactly from the model."""
    return Exact(model).sample(n, np.random.default_rng(seed))["visible"].to(model.dtype)


def base_of(model):
    """Return the start of the path."""
    with torch.no_grad():
        return _ais.Base(model)


def check_ends(got, expected, largest):
    """Check that both ends and the value are within four of their errors, which are no larger than that."""
    for end, error in ENDS:
        away = abs(getattr(got, end) - expected)
        assert away < 4 * getattr(got, error), f"{end}: {away / getattr(got, error):.1f} standard errors"
        assert getattr(got, error) < largest


def check_calibrated(away, error):
    """Check that deviations from the truth are of the size of their stated errors, and on no side."""
    z, n = np.array(away) / np.array(error), len(away)
    chance = stats.chi2.sf(np.square(z).sum(), n)
    assert UNLIKELY < chance < 1 - UNLIKELY, f"the mean square deviation is {np.square(z).mean():.2f}"
    assert abs(z.mean()) < 4 / math.sqrt(n), f"the mean deviation is {z.mean():.2f}"


# --- exact --------------------------------------------------------------------------------------


@DISCRETE
@DTYPES
@pytest.mark.parametrize("sizes", [(3, 2), (2, 4)], ids=str)
def test_exact_is_the_sum_over_both_layers(pair, dtype, sizes):
    """Both ways round: whichever layer the library enumerates."""
    model = rbm(pair, sizes, dtype=dtype)
    weight, b, c = arrays(model)
    v, h = configurations(model.visible), configurations(model.hidden)
    minus_energy = (v @ b)[:, None] + h @ c + v @ weight @ h.T
    expected = pytest.approx(logsumexp(minus_energy), rel=1e-9)
    result = hm.log_partition(model, "exact")
    assert result.value == expected
    for side in model.blocks():
        assert _exact.exact_log_partition(model, (side,)).value == expected
    assert (result.lower, result.upper, result.standard_error) == (result.value, result.value, 0.0)
    assert (result.method, result.trusted, result.reason) == ("exact", True, "")


@pytest.mark.parametrize("pair", REAL_PAIRS, ids=name)
@DTYPES
def test_exact_of_real_pairs_enumerates_the_other_layer(pair, dtype):
    model = rbm(pair, dtype=dtype)
    result = hm.log_partition(model, "exact")
    assert result.value == pytest.approx(exact_value(model), rel=1e-9)
    side = "visible" if pair[0] == "gaussian" else "hidden"
    with pytest.raises(ArgumentError, match=f"the {side} layer has inf states"):
        _exact.exact_log_partition(model, (side,))


@pytest.mark.parametrize("pair", REAL_PAIRS, ids=name)
def test_exact_of_real_pairs_is_the_integral(pair):
    """By the trapezoidal rule over two real units, Gauss's of ReLU ones, and the sum over the other layer."""
    model = rbm(pair, (2, 2))
    weight, b, c = arrays(model)
    layer, other = model.visible, model.hidden
    if pair[1] in REAL:
        weight, b, c, layer, other = weight.T, c, b, other, layer
    axis, area = np.linspace(-25, 25, 301), 50 / 300 * np.ones(301)
    if pair[1] == "relu":
        axis, area = np.polynomial.legendre.leggauss(301)
        axis, area = 12 * (axis + 1), 12 * area
    x = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    y = configurations(other)
    own = x @ b - 0.5 * x**2 @ precision(layer) + np.log(np.outer(area, area).ravel())
    log_f = own[:, None] + y @ c + x @ weight @ y.T
    assert hm.log_partition(model, "exact").value == pytest.approx(logsumexp(log_f), rel=1e-9)


@ALL
def test_exact_in_blocks(pair, monkeypatch):
    """A ragged last block included."""
    model = rbm(pair, (4, 3))
    whole = hm.log_partition(model, "exact").value
    (side,), cost = choose_side(model)
    partner = model.layer("hidden" if side == "visible" else "visible")
    sizes, unit = [], type(model.layer(side))
    numbered = unit.numbered

    def counted(self, number):
        sizes.append(len(number))
        return numbered(self, number)

    monkeypatch.setattr(unit, "numbered", counted)
    monkeypatch.setattr(_enumeration, "_BLOCK", 5 * max(model.layer(side).width, partner.width))
    assert hm.log_partition(model, "exact").value == pytest.approx(whole, rel=1e-13)
    states = len(configurations(model.layer(side)))
    assert sizes == [5] * (states // 5) + [states % 5]
    assert cost == states * partner.width


def test_the_cheaper_layer_is_enumerated():
    assert choose_side(hm.RBM(20, 5)) == (("hidden",), 2.0**5 * 20)
    assert choose_side(hm.RBM(5, 20)) == (("visible",), 2.0**5 * 20)
    assert choose_side(hm.RBM(hm.Categorical(3, 7), 9)) == (("visible",), 7.0**3 * 9)
    assert choose_side(hm.RBM(hm.Gaussian(2), 9)) == (("hidden",), 2.0**9 * 2)
    assert choose_side(hm.RBM(9, hm.Gaussian(2))) == (("visible",), 2.0**9 * 2)


@pytest.mark.parametrize(
    "model",
    [
        hm.RBM(3, 2),
        hm.RBM(3, 2, doubled="hidden"),
        hm.DBM([3, 2, 2]),
        hm.DBM([3, 2], classes=2),
        hm.DBM([3, 2, 2], classes=2),
        hm.BoltzmannMachine(3),
        hm.BoltzmannMachine(3, 2),
        hm.BoltzmannMachine(3, 2, hidden_edges=False),
    ],
    ids=lambda model: f"{model.kind}-{len(model.couplings())}",
)
def test_hidden_units_sum_out_where_none_need_be_enumerated(model):
    assert model.hidden_sums_out() == (choose_side(model, model.observed_blocks())[0] == ())


def test_auto_decides_by_cost(monkeypatch):
    model = rbm(BITS, (5, 4))
    cost = 2**4 * 5
    monkeypatch.setattr(_log_partition, "LIMIT", cost)
    assert hm.log_partition(model, **QUICK).method == "exact"
    monkeypatch.setattr(_log_partition, "LIMIT", cost - 1)
    assert hm.log_partition(model, **QUICK).method == "bridge"


def test_auto_of_large_models():
    """Of 30 hidden units it would enumerate a billion states, and does not; of 12 it does."""
    assert hm.log_partition(hm.RBM(200, 12), **QUICK).method == "exact"
    assert hm.log_partition(hm.RBM(200, 30), **QUICK).method == "bridge"


@pytest.mark.parametrize(
    ("layers", "states"),
    [((64, 50), "1.13e+15"), ((45, hm.Gaussian(40)), "3.52e+13")],
    ids=["bits", "gaussian"],
)
def test_too_many_states_are_refused(layers, states):
    with pytest.raises(ArgumentError) as caught:
        hm.log_partition(hm.RBM(*layers), "exact")
    message = str(caught.value)
    assert message.startswith("method: got 'exact'")
    assert states in message
    assert "'ais' or 'bridge'" in message


# --- annealing in both directions ---------------------------------------------------------------


def weak(pair, dtype=torch.float32):
    """Return a machine whose weights of few betas vary little, and the start of its path as another.

    The start has the visible units of the base rates, and no couplings.
    """
    model = rbm(pair, scale=0.4, dtype=dtype)
    field = 0.7 * Stream(3, "-".join(pair)).normal(1, model.visible.width, dtype)
    model.base_rates.copy_(model.visible.expected_statistics(field)[0].detach())
    if pair[0] == "categorical":
        field = model.base_rates.log()[None]
    start = copy.deepcopy(model)
    with torch.no_grad():
        start.weight.zero_()
        start.hidden.bias.zero_()
        start.visible.bias.copy_(field[0])
    return model, start


@ALL
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_mean_weight_is_the_ratio_of_partition_functions(pair, direction, path):
    """E[w] = Z/Z0 from the start, E[w] = Z0/Z from the model; weighted last states are the other end's."""
    n = 20_000
    model, start = weak(pair)
    base = base_of(model)
    first, last = Exact(start), Exact(model)
    assert base.log_partition == pytest.approx(first.log_partition, rel=1e-6, abs=1e-6)
    stream, betas = Stream(0, direction), torch.linspace(0, 1, 6, dtype=torch.float64)
    if direction == "forward":
        v = base.sample(model, n, stream)
    else:
        v, betas, first, last = {"visible": visible_samples(model, n)}, betas.flip(0), last, first
    log_weight, state = _ais.anneal(model, base, betas, v, stream)
    v = state["visible"]
    assert log_weight.dtype == torch.float64
    w = torch.exp(log_weight - (last.log_partition - first.log_partition)).numpy()
    assert 0.05 < w.std() < 1.5
    check_mean(np.column_stack((w, w[:, None] * v.double().numpy())), [1, *visible_mean(last)])


@ALL
def test_one_step_multiplies_the_ratio_of_the_ends(pair, path):
    """With no state in between, the weights are those of importance sampling, whose law is known."""
    model, start = weak(pair, torch.float64)
    v = visible_samples(start, 50)
    forward, _ = _ais.anneal(model, base_of(model), torch.tensor([0.0, 1.0]), {"visible": v}, Stream(0))
    reverse, _ = _ais.anneal(model, base_of(model), torch.tensor([1.0, 0.0]), {"visible": v}, Stream(0))
    with torch.no_grad():
        expected = start.free_energy(v) - model.free_energy(v)
    torch.testing.assert_close(forward, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(reverse, -expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pair", [("bernoulli", "spin"), ("gaussian", "bernoulli")], ids=name)
def test_without_base_rates_the_path_starts_from_the_visible_biases(pair):
    model, start = weak(pair)
    model.base_rates[0] = torch.nan
    with torch.no_grad():
        start.visible.bias.copy_(model.visible.bias)
    base = base_of(model)
    assert torch.equal(base.biases["visible"], model.visible.bias)
    assert base.biases["visible"].data_ptr() != model.visible.bias.data_ptr()
    assert base.log_partition == pytest.approx(exact_value(start), rel=1e-6)


def test_runs_are_independent_of_each_other():
    """A run's weight is the same whatever runs are beside it, but for the order of float sums."""
    model, _ = weak(BITS, torch.float64)
    base, betas = base_of(model), torch.linspace(0, 1, 11, dtype=torch.float64)
    weights = []
    for n in (40, 10):
        stream = Stream(0)
        weights.append(_ais.anneal(model, base, betas, base.sample(model, n, stream), stream)[0])
    torch.testing.assert_close(weights[0][:10], weights[1])
    assert len(weights[0].unique()) > 30


@ALL
def test_both_ends_and_the_bridge_meet_the_exact_value(pair):
    model = rbm(pair, (5, 4), scale=0.5, dtype=torch.float32)
    expected = exact_value(model)
    options = {"betas": 60, "runs": 60, "equilibrate": 200, "schedule": "linear"}
    ais, bridge = (hm.log_partition(model, method, **options) for method in ("ais", "bridge"))
    assert (ais.method, bridge.method) == ("ais", "bridge")
    assert (ais.value, ais.standard_error) == (ais.lower, ais.lower_standard_error)
    assert (ais.lower, ais.upper) == (bridge.lower, bridge.upper)
    check_ends(bridge, expected, 0.1)
    assert bridge.trusted, bridge.reason
    assert bridge.diagnostics.keys() == {"rhat", "autocorrelation_time", "chain_ess"}


# --- strong weights -----------------------------------------------------------------------------


def strong(seed, sizes=(100, 8)):
    """Return a machine of sparse visible units that has one dense mode, of which e^-7 is left at the end.

    Its first hidden unit drives every visible one, and its bias leaves it that little probability. Along
    a path from uniform units the dense mode has all the weight at first, and no way out of it is left.
    The base rates are the exact ones.
    """
    visible, hidden = sizes
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=sizes)
    weight[:, 0] = generator.normal(4, 0.5, size=visible)
    b = generator.normal(-4, 1, size=visible)
    rise = np.logaddexp(0, b[:, None] + weight) - np.logaddexp(0, b)[:, None]
    c = -rise.sum(0)
    model = hm.RBM(visible, hidden).double()
    h = configurations(model.hidden)
    c[0] = 0
    log_p = h @ c + np.logaddexp(0, b + h @ weight.T).sum(1)
    c[0] = -7 - logsumexp(log_p[h[:, 0] == 1]) + logsumexp(log_p[h[:, 0] == 0])
    log_p += c[0] * h[:, 0]
    p = np.exp(log_p - logsumexp(log_p))
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(weight))
        model.visible.bias.copy_(torch.from_numpy(b))
        model.hidden.bias.copy_(torch.from_numpy(c))
        model.base_rates.copy_(torch.from_numpy(p @ (1 / (1 + np.exp(-b - h @ weight.T)))))
    return model, logsumexp(log_p)


@pytest.mark.parametrize("seed", range(20))
def test_strong_weights_are_bracketed_where_a_uniform_start_fails(seed):
    model, expected = strong(seed)
    assert hm.log_partition(model, "exact").value == pytest.approx(expected, rel=1e-9)
    got = hm.log_partition(model, "bridge", betas=150, runs=64, equilibrate=60, seed=seed)
    check_ends(got, expected, 0.05)
    assert got.trusted, got.reason
    model.base_rates.fill_(0.5)
    uniform = hm.log_partition(model, "ais", betas=100, schedule="linear", runs=100, equilibrate=0, seed=seed)
    assert uniform.lower < expected - 4
    assert uniform.lower < expected - 10 * uniform.lower_standard_error


# --- schedules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 7, 100, 1000])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_rise_from_zero_to_one(schedule, n):
    model, _ = weak(BITS)
    betas = _ais.schedule(schedule, n, model, base_of(model), Stream(0))
    assert betas.dtype == torch.float64
    assert betas.shape == (n + 1,)
    assert (betas[0], betas[-1]) == (0.0, 1.0)
    assert (betas.diff() > 0).all()


def test_bands_are_those_of_salakhutdinov_and_murray():
    model, _ = weak(BITS)
    steps = _ais.schedule("bands", 14_500, model, base_of(model), Stream(0)).diff()
    parts = steps.split([500, 4000, 10_000])
    for part, step in zip(parts, (1e-3, 1e-4, 1e-5), strict=True):
        torch.testing.assert_close(part, torch.full_like(part, step), rtol=1e-9, atol=1e-14)


def test_linear_steps_are_equal():
    model, _ = weak(BITS)
    betas = _ais.schedule("linear", 40, model, base_of(model), Stream(0))
    torch.testing.assert_close(betas, torch.arange(41, dtype=torch.float64) / 40)


def test_adaptive_steps_are_near_the_best_that_there_are():
    """Units without couplings are drawn afresh at each beta, so that the variance of the weights is known.

    It is the sum of squared steps times g(beta) = n b^2 p (1 - p), of which the least is
    (integral of sqrt(g))^2 / K with K steps.
    """
    n, bias, steps = 60, -20.0, 200
    model = hm.RBM(n, 2)
    with torch.no_grad():
        model.weight.zero_()
        model.visible.bias.fill_(bias)
    model.base_rates.fill_(0.5)

    def metric(betas):
        p = 1 / (1 + np.exp(-bias * betas))
        return n * bias**2 * p * (1 - p)

    variance = {}
    for schedule in ("linear", "adaptive"):
        betas = _ais.schedule(schedule, steps, model, base_of(model), Stream(0)).numpy()
        variance[schedule] = (np.diff(betas) ** 2 * metric(betas[:-1])).sum()
    fine = np.linspace(0, 1, 100_001)
    least = np.sqrt(metric(fine)).mean() ** 2 / steps
    assert least < variance["adaptive"] < 1.5 * least
    assert variance["linear"] > 3 * least


def test_adaptive_steps_give_less_variance_than_equal_ones_at_equal_cost():
    """All weights are positive, so that the units align within a short part of the path.

    The equal steps are more, by what the pilot run costs.
    """
    model = rbm(("spin", "spin"), (30, 10), scale=0.1, seed=1)
    with torch.no_grad():
        model.weight.add_(2)
    base, runs, steps = base_of(model), 300, 100
    pilot = math.ceil(_ais._PILOT_STEPS * _ais._PILOT_RUNS / runs)
    variance = {}
    for schedule, n in (("adaptive", steps), ("linear", steps + pilot)):
        stream = Stream(0, schedule)
        betas = _ais.schedule(schedule, n, model, base, stream.child("schedule"))
        log_weight, _ = _ais.anneal(model, base, betas, base.sample(model, runs, stream), stream)
        variance[schedule] = log_weight.var().item()
    assert variance["linear"] > 2 * variance["adaptive"]


def test_the_pilot_run_does_not_shift_the_runs_that_follow():
    model, _ = weak(BITS)
    stream = Stream(0)
    _ais.schedule("adaptive", 10, model, base_of(model), stream)
    assert stream.step == 0


# --- Bennett's ratio ----------------------------------------------------------------------------


def works(difference, deviation, forward, reverse, seed):
    """Return Gaussian log-weights of both directions which satisfy Crooks' theorem.

    p_F(w) e^(w - difference) = p_R(-w) holds for N(difference - s^2/2, s^2) and N(-difference - s^2/2, s^2).
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for n, sign in ((forward, 1), (reverse, -1)):
        noise = torch.randn(n, generator=generator, dtype=torch.float64)
        parts.append(sign * difference - deviation**2 / 2 + deviation * noise)
    return parts


@pytest.mark.parametrize(
    ("deviation", "sizes"),
    [(0.3, (200, 200)), (1.0, (300, 60)), (1.0, (60, 300)), (2.5, (300, 300))],
    ids=str,
)
def test_bennett_is_calibrated(deviation, sizes):
    """Over seeds its deviations are its standard errors, and less than those of one direction."""
    found, one_way = [], []
    for seed in range(150):
        forward, reverse = works(-3.7, deviation, *sizes, seed)
        value, error = bennett(forward, reverse)
        found.append((value + 3.7, error))
        one_way.append(_ais.log_mean_weight(forward)[0] + 3.7)
    away, error = np.array(found).T
    check_calibrated(away, error)
    assert (away**2).mean() < np.square(one_way).mean()


def test_bennett_is_the_largest_likelihood():
    """Of which paths were walked which way, by its derivative over a grid."""
    forward, reverse = works(1.3, 2.0, 40, 15, 0)
    offset = math.log(15 / 40)

    def log_likelihood(value):
        ahead = torch.nn.functional.logsigmoid(value - forward - offset).sum()
        back = torch.nn.functional.logsigmoid(-reverse - value + offset).sum()
        return (ahead + back).item()

    value, _ = bennett(forward, reverse)
    grid = np.linspace(value - 1, value + 1, 2001)
    assert abs(grid[np.argmax([log_likelihood(x) for x in grid])] - value) < 1e-3


@pytest.mark.parametrize("gap", [0, 10, 500, 5000])
def test_bennett_of_directions_that_are_far_apart(gap):
    """Its value lies between the ends, and its error is a number, however little they overlap."""
    forward, reverse = works(0.0, 1.0, 50, 50, 0)
    value, error = bennett(forward - gap / 2 + 3, reverse - gap / 2 - 3)
    assert abs(value - 3) < 1
    assert 0.05 < error < 1


def test_bennett_of_equal_weights():
    value, error = bennett(torch.full((5,), 2.5).double(), torch.full((8,), -2.5).double())
    assert value == pytest.approx(2.5, abs=1e-9)
    assert error == pytest.approx(0, abs=1e-6)


# --- standard errors ----------------------------------------------------------------------------


def test_mean_weight_by_hand():
    w = np.array([1.0, 2.0, 4.0, 0.5])
    value, error, size = _ais.log_mean_weight(torch.from_numpy(np.log(w) + 1000))
    assert value == pytest.approx(math.log(w.mean()) + 1000)
    assert error == pytest.approx(w.std(ddof=1) / math.sqrt(4) / w.mean())
    assert size == pytest.approx(w.sum() ** 2 / (w**2).sum())


def test_equal_weights_are_all_effective():
    value, error, size = _ais.log_mean_weight(torch.full((30,), -7.0, dtype=torch.float64))
    assert (value, size) == (pytest.approx(-7), pytest.approx(30))
    assert error == pytest.approx(0, abs=1e-6)


def test_of_a_single_weight_no_error_is_known():
    assert _ais.log_mean_weight(torch.ones(1, dtype=torch.float64))[1:] == (math.inf, 1.0)


@pytest.mark.parametrize("method", ["ais", "bridge"])
def test_a_path_that_leads_nowhere_is_exact(method):
    """The model is its own start: all the weights are equal."""
    model, start = weak(BITS)
    start.base_rates.copy_(model.base_rates)
    got = hm.log_partition(start, method, **QUICK)
    assert got.effective_sample_size == pytest.approx(20)
    assert got.standard_error < 1e-6
    for value in (got.value, got.lower, got.upper):
        assert value == pytest.approx(exact_value(start), abs=1e-5)


@pytest.mark.parametrize("pair", [BITS, ("gaussian", "spin")], ids=name)
def test_standard_errors_are_calibrated(pair):
    """Over seeds, both ends and the bridge deviate from the exact value by their standard errors."""
    model = rbm(pair, (4, 3), scale=0.7)
    expected = exact_value(model)
    options = {**QUICK, "runs": 40, "betas": 8}
    found = [hm.log_partition(model, "bridge", **options, seed=seed) for seed in range(120)]
    for end, error in ENDS:
        away = [getattr(got, end) - expected for got in found]
        check_calibrated(away, [getattr(got, error) for got in found])


# --- when not to trust it -----------------------------------------------------------------------


def verdict(forward, reverse, rhat=1.0, given=False):
    """Return what is made of the log-weights of both directions."""
    weights = (torch.tensor(w, dtype=torch.float64) for w in (forward, reverse))
    base = SimpleNamespace(log_partition=0.0)
    return _log_partition._result(base, *weights, "bridge", {"rhat": rhat}, given)


def noisy(log_mean, deviation=0.5, n=100):
    """Return the quantiles of normal log-weights, moved to a given log of the mean weight."""
    x = deviation * stats.norm.ppf((np.arange(n) + 0.5) / n)
    return log_mean + x - logsumexp(x) + math.log(n)


@pytest.mark.parametrize(
    ("forward", "reverse", "reason"),
    [
        (noisy(0), noisy(0), ""),
        (noisy(0), noisy(-40), ""),
        (noisy(0), noisy(0.26), ""),
        (noisy(0), noisy(0.34), "the ends cross by 0.34 nats"),
        (noisy(0), noisy(40), "the ends cross by 40.00 nats"),
        (noisy(-100, 3), noisy(0), "of 100 forward runs carry the weight; use more betas"),
        (noisy(0), noisy(-100, 3), "of 100 reverse runs carry the weight; use more betas"),
        (noisy(0), [-1.0], "a single run tells too little of the error of the reverse end"),
    ],
    ids=["equal", "open", "crossed within errors", "crossed", "far crossed", "forward", "reverse", "single"],
)
def test_reasons_not_to_trust(forward, reverse, reason):
    """Errors are 0.05 each, so that the ends may cross by four times 0.07."""
    result = verdict(forward, reverse)
    assert result.trusted == (not reason)
    assert reason in result.reason
    assert bool(result.reason) == bool(reason)


@pytest.mark.parametrize(
    ("rhat", "given", "end", "trusted"),
    [
        (1.09, False, 0.0, True),
        (1.11, False, 0.0, False),
        (1.11, True, 0.0, True),
        (1.11, True, -0.4, True),
        (1.11, True, -0.6, False),
        (1.11, True, 0.8, False),
        (1.09, True, 0.8, True),
    ],
)
def test_chains_that_disagree_are_forgiven_only_if_given_and_if_both_ends_agree(rhat, given, end, trusted):
    """``end`` is the upper end, where the lower one is 0; they cross within their errors of 0.2 each."""
    result = verdict(noisy(0, 1.2, 60), noisy(-end, 1.2, 60), rhat, given)
    assert result.lower == pytest.approx(0, abs=1e-9)
    assert result.upper == pytest.approx(end, abs=1e-9)
    assert result.trusted == trusted
    assert ("the chains disagree (R-hat 1.11)" in result.reason) == (not trusted)


def test_ends_that_cross_are_not_trusted():
    """Chains that all stand in the smaller cluster pull the upper end below the lower one."""
    chains = -torch.ones(100, 10)
    got = hm.log_partition(clusters(), "bridge", betas=200, runs=100, chains=chains, equilibrate=50)
    assert not got.trusted
    assert got.reason.startswith("the ends cross by 1.")
    assert got.upper < got.lower - 1


def test_few_effective_runs_are_not_trusted():
    got = hm.log_partition(clusters(), "bridge", betas=2, schedule="linear", runs=100, equilibrate=50)
    assert not got.trusted
    assert "runs carry the weight; use more betas" in got.reason
    assert got.effective_sample_size < 10


def clusters():
    """Return a machine of two clusters, of 88 and 12 %, between which no chain moves."""
    model = hm.RBM(hm.Spin(10), hm.Spin(2)).double()
    with torch.no_grad():
        model.weight.fill_(2)
        model.visible.bias.fill_(0.1)
    model.base_rates.zero_()
    return model


def test_chains_in_two_clusters():
    """They disagree; given ones are trusted all the same, if they are spread as the model is."""
    model = clusters()
    exact = Exact(model)
    assert exact.p[exact.states.sum(1) < 0].sum() == pytest.approx(0.119, abs=0.001)
    halves = torch.ones(100, 10)
    halves[::2] = -1
    results = {}
    starts = {"own": None, "exact": visible_samples(model, 100), "halves": halves}
    for key, chains in starts.items():
        results[key] = hm.log_partition(model, "bridge", betas=300, runs=100, chains=chains, equilibrate=100)
    assert all(got.diagnostics["rhat"] > 1.1 for got in results.values())
    assert {key: got.trusted for key, got in results.items()} == {
        "own": False,
        "exact": True,
        "halves": False,
    }
    for key in ("own", "halves"):
        assert "the chains disagree (R-hat" in results[key].reason
    good = results["exact"]
    assert good.reason == ""
    assert abs(good.value - exact.log_partition) < 4 * good.standard_error


def test_a_single_given_chain_has_no_known_error():
    model = rbm(BITS)
    got = hm.log_partition(model, "bridge", **QUICK, chains=visible_samples(model, 1))
    assert (got.upper_standard_error, got.standard_error) == (math.inf, math.inf)
    assert not got.trusted
    assert "give more chains" in got.reason
    assert math.isfinite(got.value)


# --- chains -------------------------------------------------------------------------------------


def test_given_chains_are_states_or_statistics_of_any_number():
    """Fewer than the runs, or more; they stay as they are."""
    model = rbm(("categorical", "bernoulli"))
    expected = exact_value(model)
    statistics = visible_samples(model, 150)
    values = model.visible.values(statistics)
    before = statistics.clone()
    options = {"betas": 100, "runs": 80, "equilibrate": 20}
    whole = hm.log_partition(model, "bridge", chains=statistics, **options)
    for chains in (values, values.numpy(), values[:80]):
        assert hm.log_partition(model, "bridge", chains=chains, **options) == whole
    few = hm.log_partition(model, "bridge", chains=values[:30], **options)
    assert few.upper_standard_error > whole.upper_standard_error
    for got in (whole, few):
        assert abs(got.value - expected) < 4 * got.standard_error
    hm.log_partition(model, "bridge", chains=statistics, **{**options, "equilibrate": 0})
    assert torch.equal(statistics, before)


@pytest.mark.parametrize(
    ("chains", "message"),
    [
        (torch.zeros(10, 4), r"^chains: got shape \(10, 4\), expected \(rows, 3\)"),
        (torch.full((10, 3), 0.5), "^chains: got 0.5 at row 0, column 0"),
        (torch.zeros(0, 3), "^chains: got no rows"),
    ],
    ids=["width", "grey", "empty"],
)
def test_chains_that_are_no_states_are_refused(chains, message):
    for method in ESTIMATORS:
        with pytest.raises(DataError, match=message):
            hm.log_partition(rbm(BITS), method, chains=chains)


def test_forward_states_are_resampled_by_their_weights():
    """Systematically: each as often as its share says, but for rounding up or down."""
    states = torch.arange(40.0)[:, None]
    log_weight = Stream(1).normal(40, 1, torch.float64)[:, 0]
    drawn = _log_partition._resample({"visible": states}, log_weight, Stream(2))["visible"]
    counts = torch.bincount(drawn[:, 0].long(), minlength=40)
    share = 40 * torch.softmax(log_weight, 0)
    assert counts.sum() == 40
    assert ((counts - share).abs() < 1).all()


# --- log_likelihood -----------------------------------------------------------------------------


def data_rows(model, n=30):
    """Return rows of values that the visible units can take, and -F of each by enumeration."""
    layer = model.visible
    s = layer.sample(layer.noise_field(n), Stream(9)).detach()
    weight, b, c = arrays(model)
    v = s.double().numpy()
    field = c + v @ weight
    if model.hidden.kind in REAL:
        beta = precision(model.hidden)
        mass = rectified if model.hidden.kind == "relu" else lambda z: [z**2 / 2 + 0.5 * np.log(2 * np.pi)]
        hidden = (mass(field / np.sqrt(beta))[0] - 0.5 * np.log(beta)).sum(1)
    else:
        hidden = logsumexp(field @ configurations(model.hidden).T, 1)
    own = 0.0
    if layer.kind == "gaussian":
        own = 0.5 * v**2 @ precision(layer)
    return layer.values(s), v @ b - own + hidden


@ALL
@DTYPES
def test_log_likelihood_is_the_mean_over_rows(pair, dtype):
    model = rbm(pair, dtype=dtype)
    rows, log_f = data_rows(model)
    log_p = log_f - exact_value(model)
    got = hm.log_likelihood(model, rows)
    assert got.mean == pytest.approx(log_p.mean(), rel=1e-9)
    assert (got.lower, got.upper, got.standard_error) == (got.mean, got.mean, 0.0)
    assert got.data_standard_error == pytest.approx(log_p.std(ddof=1) / math.sqrt(30), rel=1e-9)
    assert (got.rows, got.method, got.trusted, got.reason) == (30, "exact", True, "")
    assert got.binarisation is None


@DISCRETE
def test_likelihoods_of_all_states_sum_to_one(pair):
    model = rbm(pair)
    log_z = hm.log_partition(model)
    states = torch.from_numpy(configurations(model.visible))
    each = [hm.log_likelihood(model, row[None], log_partition=log_z).mean for row in states]
    assert math.fsum(map(math.exp, each)) == pytest.approx(1, rel=1e-12)


def test_lower_comes_from_the_upper_end_and_upper_from_the_lower_end():
    model = rbm(BITS, (6, 4), scale=2)
    rows, log_f = data_rows(model)
    got = hm.log_likelihood(model, rows, method="bridge", **QUICK)
    log_z = hm.log_partition(model, "bridge", **QUICK)
    assert got.log_partition == log_z
    assert log_z.lower != log_z.upper != log_z.value
    assert got.mean == pytest.approx(log_f.mean() - log_z.value, rel=1e-9)
    assert got.lower == pytest.approx(log_f.mean() - log_z.upper, rel=1e-9)
    assert got.upper == pytest.approx(log_f.mean() - log_z.lower, rel=1e-9)
    assert got.standard_error == log_z.standard_error
    assert (got.method, got.trusted, got.reason) == (log_z.method, log_z.trusted, log_z.reason)
    assert hm.log_likelihood(model, rows, log_partition=log_z) == got


def test_an_estimate_that_is_not_trusted_makes_no_trusted_likelihood():
    model = rbm(BITS)
    log_z = hm.LogPartition(1.0, 1.0, 1.0, 0.1, "bridge", trusted=False, reason="because")
    got = hm.log_likelihood(model, data_rows(model)[0], log_partition=log_z)
    assert (got.trusted, got.reason) == (False, "because")


def test_rows_in_any_type_and_in_blocks(monkeypatch):
    model = rbm(BITS)
    rows, _ = data_rows(model, 23)
    expected = hm.log_likelihood(model, rows)
    monkeypatch.setattr(_log_likelihood, "_ROWS", 5)
    for same in (rows, rows.numpy(), rows.float(), rows.to(torch.uint8), rows.bool(), rows.tolist()):
        got = hm.log_likelihood(model, same)
        assert got.mean == pytest.approx(expected.mean, rel=1e-12)
        assert got.data_standard_error == pytest.approx(expected.data_standard_error, rel=1e-12)
    codes = rbm(("categorical", "spin"))
    values, _ = data_rows(codes)
    assert hm.log_likelihood(codes, codes.visible.statistics(values)) == hm.log_likelihood(codes, values)


def test_of_a_single_row_no_data_error_is_known():
    model = rbm(BITS)
    assert hm.log_likelihood(model, data_rows(model, 1)[0]).data_standard_error == math.inf


@pytest.mark.parametrize("binarisation", ["sampled", "threshold", "none"])
def test_a_data_set_reports_its_binarisation(binarisation):
    model = rbm(("bernoulli", "bernoulli"))
    grey = Stream(4).uniform(40, 3).numpy()
    data = hm.datasets.from_array(grey, binarisation=binarisation, test=25)
    got = hm.log_likelihood(model, data)
    assert (got.binarisation, got.rows) == (binarisation, 25)
    log_p = -model.free_energy(data.test.double()).detach() - exact_value(model)
    assert got.mean == pytest.approx(log_p.mean().item(), rel=1e-9)


def test_a_data_set_of_states_has_no_binarisation():
    model = rbm(BITS)
    rows, _ = data_rows(model)
    data = hm.datasets.from_array(np.zeros((5, 3), np.uint8), test=rows.numpy().astype(np.uint8))
    assert hm.log_likelihood(model, data) == hm.log_likelihood(model, rows)
    empty = hm.datasets.from_array(np.zeros((5, 3), np.uint8))
    with pytest.raises(DataError, match="got no rows"):
        hm.log_likelihood(model, empty)


def test_means_are_taken_only_where_asked_for():
    model = rbm(BITS)
    grey = torch.tensor([[0.0, 0.25, 1.0]])
    with pytest.raises(DataError, match=r"got 0.25 at row 0, column 1.*binarisation"):
        hm.log_likelihood(model, grey)
    log_p = -model.free_energy(grey.double()).detach() - exact_value(model)
    assert hm.log_likelihood(model, grey, means=True).mean == pytest.approx(log_p.item(), rel=1e-9)
    for wrong in (1.5, -0.1):
        with pytest.raises(DataError, match=r"expected a mean in \[0, 1\]"):
            hm.log_likelihood(model, torch.tensor([[0.0, wrong, 1.0]]), means=True)


BAD_ROWS = [
    ("bernoulli", [[0, 1, 0], [1, 1, 2]], "got 2 at row 1, column 2, expected 0 or 1"),
    ("bernoulli", [[0, 1]], r"got shape \(1, 2\), expected \(rows, 3\)"),
    ("bernoulli", [0, 1, 0], r"got shape \(3,\), expected \(rows, 3\)"),
    ("bernoulli", np.zeros((0, 3)), "got no rows"),
    ("spin", [[1, 0, -1]], "got 0 at row 0, column 1, expected -1 or 1"),
    ("categorical", [[0, 3, 1]], r"got 3 at row 0, column 1, expected a code in 0 ... 2"),
    ("categorical", [[0.0, 1.5, 1.0]], "got 1.5 at row 0, column 1"),
    ("categorical", [[0, 1, 0, 1, 1, 0, 0, 0, 1]], "at row 0, unit 1, expected one-hot"),
    ("gaussian", [[0.0, math.inf, 1.0]], "got inf at row 0, column 1, expected a finite number"),
]


@pytest.mark.parametrize(("kind", "rows", "message"), BAD_ROWS)
def test_rows_that_do_not_fit_are_refused_before_any_work(kind, rows, message, monkeypatch):
    monkeypatch.setattr(_log_likelihood, "estimate_log_partition", None)
    with pytest.raises(DataError, match=message):
        hm.log_likelihood(rbm((kind, "bernoulli")), rows)


# --- wrong options ------------------------------------------------------------------------------


BAD_OPTIONS = [
    ({"method": "exakt"}, "^method: unknown 'exakt', expected one of .*did you mean 'exact'"),
    ({"method": None}, "^method: unknown None"),
    ({"schedule": "adaptiv"}, "^schedule: unknown 'adaptiv', expected one of .*did you mean 'adaptive'"),
    ({"runs": 1}, "^runs: got 1, expected an integer of at least 2"),
    ({"runs": 20.0}, "^runs: got 20.0"),
    ({"runs": True}, "^runs: got True"),
    ({"equilibrate": -1}, "^equilibrate: got -1, expected an integer of at least 0"),
    ({"equilibrate": 1.5}, "^equilibrate: got 1.5"),
    ({"betas": 0}, "^betas: got 0, expected a positive number of steps"),
    ({"betas": True}, "^betas: got True"),
    ({"betas": 10.0}, "^betas: got 10.0"),
    ({"betas": [0.0, 1.0]}, r"^betas: got \[0.0, 1.0\]"),
    ({"betas": torch.linspace(0, 0.999, 10)}, "^betas: got tensor.*expected a rising row"),
    ({"betas": torch.linspace(0, 1.001, 10)}, "^betas: .*from exactly 0 to exactly 1"),
    ({"betas": torch.linspace(0.001, 1, 10)}, "^betas: .*from exactly 0 to exactly 1"),
    ({"betas": torch.tensor([0, 0.5, 0.5, 1])}, "^betas: .*a rising row"),
    ({"betas": torch.tensor([0, 0.6, 0.5, 1])}, "^betas: .*a rising row"),
    ({"betas": torch.tensor([0, math.nan, 1])}, "^betas: .*a rising row"),
    ({"betas": torch.linspace(0, 1, 10)[None]}, "^betas: .*a rising row"),
    ({"betas": torch.zeros(0)}, "^betas: .*a rising row"),
    ({"betas": torch.ones(1)}, "^betas: .*a rising row"),
    ({"seed": -1}, "^seed: got -1, expected an integer"),
    ({"seed": 0.5}, "^seed: got 0.5"),
]


@pytest.mark.parametrize("method", ["exact", "bridge"])
@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_options_out_of_range_are_refused_before_any_work(options, message, method, monkeypatch):
    """Whether the method would use them or not."""
    for worker in ("exact_log_partition", "Base", "anneal"):
        monkeypatch.setattr(_log_partition, worker, None)
    model = rbm(BITS)
    with pytest.raises(ArgumentError, match=message):
        hm.log_partition(model, **{"method": method, **options})
    with pytest.raises(ArgumentError, match=message):
        hm.log_likelihood(model, torch.zeros(2, 3), **{"method": method, **options})


def test_given_betas_are_the_path():
    """As a tensor of any precision: the same numbers give the same bits."""
    model = rbm(BITS)
    options = {"runs": 20, "equilibrate": 20}
    betas = torch.linspace(0, 1, 17, dtype=torch.float64)
    expected = hm.log_partition(model, "bridge", betas=16, schedule="linear", **options)
    assert hm.log_partition(model, "bridge", betas=betas, **options) == expected
    assert hm.log_partition(model, "bridge", betas=betas.float(), **options) == expected
    assert hm.log_partition(model, "bridge", betas=betas**2, **options) != expected


@pytest.mark.parametrize("method", ESTIMATORS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_model_that_is_not_finite_is_refused(method, wrong):
    model = rbm(BITS)
    with torch.no_grad():
        model.weight[1, 0] = wrong
    with pytest.raises(ArgumentError, match=r"^model: got weight with values that are not finite"):
        hm.log_partition(model, method)


@pytest.mark.parametrize(
    ("kind", "rate"), [("bernoulli", 0.0), ("bernoulli", 1.0), ("spin", -1.0), ("categorical", 0.0)]
)
def test_base_rates_that_no_field_gives_are_refused(kind, rate):
    model, _ = weak((kind, "bernoulli"))
    model.base_rates[1] = rate
    with pytest.raises(ArgumentError, match=r"^base_rates: got one that no field gives"):
        hm.log_partition(model, "ais", **QUICK)


def test_options_beside_a_given_estimate_are_refused():
    model = rbm(BITS)
    with pytest.raises(
        ArgumentError, match=r"^betas: got 10, expected no such argument beside log_partition="
    ):
        hm.log_likelihood(model, data_rows(model)[0], log_partition=hm.log_partition(model), betas=10)


WRONG = [
    (lambda: hm.log_likelihood(rbm(BITS), "abc"), "^data: got 'abc', expected an array .* or a Dataset"),
    (lambda: hm.log_likelihood(rbm(BITS), None), "^data: got None, expected an array .* or a Dataset"),
    (lambda: hm.log_likelihood(None, torch.zeros(1, 3)), "^model: got None, expected a model such as"),
    (lambda: hm.log_likelihood(rbm(BITS), torch.zeros(1, 3), log_partition=3.5), "^log_partition: got 3.5"),
    (lambda: hm.log_partition(None), "^model: got None, expected a model such as an RBM"),
    (lambda: hm.log_partition(hm.RBM), "^model: got <class"),
    (lambda: hm.log_partition(rbm(BITS), chains="abc"), "^chains: got 'abc', expected an array"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_arguments_of_the_wrong_type_are_named(call, message):
    with pytest.raises(ArgumentTypeError, match=message):
        call()


def test_chains_whose_energies_never_change_are_no_reason_for_doubt():
    """A uniform model: its chains agree, and there is no telling how many steps they need."""
    model = hm.RBM(3, 2).double()
    torch.nn.init.zeros_(model.weight)
    got = hm.log_partition(model, "bridge", **QUICK)
    assert got.value == pytest.approx(5 * math.log(2), rel=1e-12)
    assert got.trusted
    assert got.diagnostics["rhat"] == 1
    assert math.isnan(got.diagnostics["chain_ess"])


# --- the same again -----------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [BITS, ("categorical", "spin"), ("gaussian", "bernoulli")], ids=name)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_same_seed_same_bits(pair, schedule):
    model = rbm(pair, dtype=torch.float32)
    options = {**QUICK, "method": "bridge", "schedule": schedule}
    first, again = (hm.log_partition(model, **options, seed=5) for _ in range(2))
    assert first == again
    other = hm.log_partition(model, **options, seed=6)
    assert (first.lower, first.upper) != (other.lower, other.upper)


@pytest.mark.parametrize("method", ESTIMATORS)
def test_the_model_and_the_global_generator_stay_as_they_were(method):
    model, _ = weak(BITS)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(11)
    generator = torch.get_rng_state()
    first = hm.log_partition(model, method, **QUICK)
    hm.log_likelihood(model, data_rows(model)[0], method=method, **QUICK)
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert model.dtype == torch.float32
    torch.manual_seed(12)
    np.random.default_rng(12)
    assert hm.log_partition(model, method, **QUICK) == first


@pytest.mark.parametrize("pair", [BITS, ("gaussian", "categorical")], ids=name)
def test_the_number_of_threads_does_not_matter(pair, threads):
    """But for the order of float sums, which at double precision turns no draw."""
    model = rbm(pair, (30, 20), scale=0.3)
    results = []
    for n in (1, 2):
        threads(n)
        results.append(hm.log_partition(model, "bridge", betas=30, runs=64, equilibrate=30))
    one, two = (result.to_dict() for result in results)
    for key in ("value", "lower", "upper", "standard_error", "effective_sample_size"):
        assert one[key] == pytest.approx(two[key], rel=1e-9)
    assert one["diagnostics"] == pytest.approx(two["diagnostics"], rel=1e-6)


def test_results_are_json_values():
    model = rbm(BITS)
    got = hm.log_likelihood(model, data_rows(model)[0], method="bridge", **QUICK)
    again = json.loads(json.dumps(got.to_dict()))
    assert again["log_partition"] == got.log_partition.to_dict()
    assert again["mean"] == got.mean
    assert again["log_partition"]["diagnostics"]["rhat"] == got.log_partition.diagnostics["rhat"]


def test_progress_is_told_in_lines():
    lines = []
    hm.log_partition(rbm(BITS), "bridge", **QUICK, progress=lines.append)
    assert lines == ["annealing forward", "equilibrating chains", "annealing in reverse"]
