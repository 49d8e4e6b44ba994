"""Units: the log-partition function by summation and quadrature, and all that follows from it."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from _checks import check_frequencies, check_normal
from _models import DISCRETE, KINDS, REAL, STATES, SUPPORT, configurations, number, precision, rectified, unit
from scipy import integrate, special, stats

import harmonium as hm
from harmonium import Stream, errors
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.units import as_rows, unit_from_config

SIZE = 3
ALL = pytest.mark.parametrize("kind", KINDS)
SCALES = pytest.mark.parametrize("scale", [0.3, 2.0, 8.0])


def layer(kind, size=SIZE, dtype=torch.float64):
    """Return a layer with random biases; Gaussian units have different precisions."""
    units = unit(kind, size)
    generator = np.random.default_rng(ord(kind[0]))
    with torch.no_grad():
        units.to(dtype).bias.copy_(torch.from_numpy(generator.normal(size=units.width)))
        if kind == "gaussian":
            units.log_precision.copy_(torch.from_numpy(generator.uniform(-1, 1, size)))
    return units


def fields(units, rows=4, scale=2.0):
    """Return random fields."""
    return scale * Stream(1, units.kind).normal(rows, units.width, units.bias.dtype)


def unit_terms(units, field, statistic):
    """Return, for each row and unit, the sum over the unit's values of exp(a's - e) times a statistic.

    The statistic is a function of the value's statistics and of its own energy e.
    """
    rows = field.detach().double().numpy().reshape(len(field), units.size, -1)
    out = np.empty(rows.shape[:2], dtype=object)
    for row, i in np.ndindex(out.shape):
        a = rows[row, i]
        if units.kind in REAL:
            beta = precision(units)[i]
            mean, width = a[0] / beta, 12 / math.sqrt(beta)
            ends, top = (mean - width, mean + width), a[0] ** 2 / (2 * beta)
            if units.kind == "relu":
                low = 40 / max(-a[0], 1e-9)
                ends, top = (max(ends[0], 0), max(ends[1], min(low, width))), max(a[0], 0) * mean / 2

            def density(x, f=statistic, a=a, beta=beta, top=top):
                e = 0.5 * beta * x * x
                return math.exp(a[0] * x - e - top) * f(np.array([x]), e)

            value, _ = integrate.quad(density, *ends, epsabs=1e-13, epsrel=1e-12, limit=200)
            out[row, i] = (value, top)
        else:
            values = np.array(SUPPORT[units.kind])
            top = (values @ a).max()
            out[row, i] = (sum(np.exp(a @ s - top) * statistic(s, 0.0) for s in values), top)
    return out


def log_partition_of_units(units, field):
    """Return each unit's log-partition function by summation or quadrature, shape (rows, size)."""
    terms = unit_terms(units, field, lambda s, e: 1.0)
    return np.vectorize(lambda term: math.log(term[0]) + term[1])(terms)


def expectation(units, field, statistic):
    """Return each unit's expectation of a statistic by summation or quadrature."""
    above = unit_terms(units, field, statistic)
    below = unit_terms(units, field, lambda s, e: 1.0)
    return np.vectorize(lambda a, b: a[0] / b[0])(above, below).astype(float)


# --- the log-partition function and its derivatives ---------------------------------------------


@ALL
@SCALES
def test_log_partition(kind, scale):
    units = layer(kind)
    field = fields(units, scale=scale)
    expected = log_partition_of_units(units, field).sum(1)
    got = units.log_partition(field)
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.detach(), expected, rtol=1e-11)


@ALL
def test_neutral_is_the_log_partition_function_of_each_unit_where_no_field_acts(kind):
    units = layer(kind)
    expected = log_partition_of_units(units, torch.zeros(1, units.width).double())[0]
    np.testing.assert_allclose(units.neutral().detach(), expected, rtol=1e-11)
    both = hm.Mixed(units, hm.Categorical(1, 5)) if kind != "relu" else units
    total = both.log_partition(torch.zeros(1, both.width).double())
    torch.testing.assert_close(both.double().neutral().sum()[None], total)


@pytest.mark.parametrize("kind", ["bernoulli", "spin"])
def test_log_partition_keeps_float64_everywhere(kind):
    """Also where the exponential is nearly lost, which is beyond 20, not only beyond 36."""
    units = layer(kind, 1)
    field = torch.linspace(-60, 60, 2001, dtype=torch.float64)[:, None]
    x = field[:, 0].numpy()
    expected = np.logaddexp(0, x) if kind == "bernoulli" else np.logaddexp(x, -x)
    np.testing.assert_allclose(units.log_partition(field).detach(), expected, rtol=4e-15, atol=0)


@ALL
@SCALES
def test_gradient_of_log_partition_is_the_expected_statistic(kind, scale):
    units = layer(kind)
    field = fields(units, scale=scale).requires_grad_()
    (gradient,) = torch.autograd.grad(units.log_partition(field).sum(), field)
    expected = units.expected_statistics(field)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-13)
    for column in range(units.width // SIZE):
        by_hand = expectation(units, field, lambda s, e, c=column: s[c])
        ours = expected.unflatten(1, (SIZE, -1))[..., column].detach()
        np.testing.assert_allclose(ours, by_hand, rtol=1e-9, atol=1e-12)
    assert torch.equal(units.mean(field), expected)


@ALL
def test_second_derivative_of_log_partition_is_the_variance(kind):
    units = layer(kind)
    field = fields(units).requires_grad_()
    (gradient,) = torch.autograd.grad(units.log_partition(field).sum(), field, create_graph=True)
    (second,) = torch.autograd.grad(gradient.unflatten(1, (SIZE, -1))[..., 0].sum(), field)
    square = expectation(units, field, lambda s, e: s[0] ** 2)
    variance = square - expectation(units, field, lambda s, e: s[0]) ** 2
    np.testing.assert_allclose(second.unflatten(1, (SIZE, -1))[..., 0], variance, rtol=1e-7, atol=1e-11)


@ALL
@SCALES
def test_entropy(kind, scale):
    """The entropy is E[-log p], with log p = a's - e - A."""
    units = layer(kind)
    field = fields(units, scale=scale)
    expected = np.zeros(len(field))
    rows = field.numpy().reshape(len(field), SIZE, -1)
    partition = log_partition_of_units(units, field)
    for i, row in product(range(SIZE), range(len(field))):
        one = layer(kind, 1)
        if kind == "gaussian":
            one.log_precision.data.copy_(units.log_precision.data[i : i + 1])
        a = rows[row, i]
        surprise = expectation(
            one,
            torch.from_numpy(a)[None],
            lambda s, e, a=a, z=partition[row, i]: z + e - a @ s,
        )
        expected[row] += surprise.item()
    got = units.entropy(field)
    assert got.shape == (len(field),)
    np.testing.assert_allclose(got.detach(), expected, rtol=1e-8, atol=1e-10)


@ALL
def test_energy(kind):
    units = layer(kind)
    x = units.sample(fields(units, 6), Stream(0))
    by_hand = -(x @ units.bias)
    if kind in REAL:
        by_hand = by_hand + x**2 @ torch.from_numpy(precision(units)) / 2
    torch.testing.assert_close(units.energy(x), by_hand)
    assert units.energy(x.reshape(2, 3, -1)).shape == (2, 3)


@ALL
def test_moments_are_the_gradient_of_minus_the_energy(kind):
    units = layer(kind)
    if kind == "gaussian":
        units = hm.Gaussian(SIZE, learn_precision=True).double()
        units.log_precision.data.copy_(layer(kind).log_precision.data)
    x = units.sample(fields(units, 6), Stream(0))
    weight = torch.tensor([-0.5, -0.2, -0.3, 0.1, 0.4, 0.5], dtype=torch.float64)
    parameters = {k: p for k, p in units.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(-(weight * units.energy(x)).sum(), list(parameters.values()))
    moments = units.moments(x, weight)
    assert moments.keys() == parameters.keys()
    for name, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(moments[name], gradient)


# --- samples ------------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_samples_follow_their_density(kind, dtype, path):
    units = layer(kind, dtype=dtype)
    field = fields(units, 1, 1.5)
    draws = units.sample(field.repeat(8000, 1), Stream(2))
    assert draws.dtype == dtype
    check_density(units, field, draws.double().numpy(), 1.0)


@ALL
@pytest.mark.parametrize("beta", [0.3, 2.5])
def test_tempered_samples_follow_the_tempered_density(kind, beta, path):
    """One temperature for each row; fields come tempered, the unit's own energy does not."""
    units = layer(kind)
    field = fields(units, 1, 1.5)
    betas = torch.tensor([beta, 1.0], dtype=torch.float64).repeat(6000)
    tempered = betas[:, None] * field
    mean = torch.empty_like(tempered)
    draws = units.sample_(tempered, Stream(2), mean, betas).numpy()
    check_density(units, field, draws[::2], beta)
    check_density(units, field, draws[1::2], 1.0)
    for rows, b in ((mean[::2], beta), (mean[1::2], 1.0)):
        hot, at = (field, units) if kind == "gaussian" else (b * field, units)
        if kind == "relu":
            at = hm.ReLU(SIZE, b * units.precision)
        torch.testing.assert_close(rows, at.expected_statistics(hot).detach().expand_as(rows))
        got = units.mean(b * field, torch.full((1,), b, dtype=torch.float64)).detach()
        torch.testing.assert_close(got.expand_as(rows), rows)


def check_density(units, field, draws, beta):
    """Check draws in one field against exp(beta (a's - e)): frequencies, or moments and quantiles."""
    field = field[0].double().numpy()
    if units.kind in REAL:
        root = np.sqrt(beta * precision(units))
        z = beta * field / root
        check_normal(deviates(z, draws * root) if units.kind == "relu" else draws * root - z)
        return
    states = configurations(units)
    p = np.exp(beta * states @ field)
    p /= p.sum()
    check_frequencies(number(draws, states), p)
    variance = p @ states**2 - (p @ states) ** 2
    assert (np.abs(draws.mean(0) - p @ states) < 4 * np.sqrt(variance / len(draws)) + 1 / len(draws)).all()


def deviates(z, y):
    """Return normal deviates of draws y from N(z, 1) that is cut off at zero."""
    return -special.ndtri_exp(special.log_ndtr(z - y) - special.log_ndtr(z))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("size", [-40.0, -12.0, -4.0, -0.5, 0.0, 0.7, 4.0, 12.0, 40.0])
def test_relu_samples_and_moments_in_extreme_fields(size, dtype, path):
    """Both tails: draws against the distribution function, and moments in units of their standard errors."""
    units = hm.ReLU(1, 0.7).to(dtype)
    n, root = 20_000, math.sqrt(0.7)
    mean = torch.empty(n, 1, dtype=dtype)
    draws = units.sample_(torch.full((n, 1), size * root, dtype=dtype), Stream(3), mean)
    y = draws.double().numpy()[:, 0] * root
    law = stats.truncnorm(-size, np.inf, loc=size)
    chance = stats.kstest(deviates(size, y), "norm").pvalue
    assert chance > 1e-6
    assert (y >= 0).all()
    _, expected, variance = rectified(np.float64(size))
    assert expected == pytest.approx(law.mean(), rel=1e-6)
    assert abs(y.mean() - expected) < 4 * math.sqrt(variance / n)
    fourth = law.moment(4) - 4 * law.moment(3) * expected + 6 * law.moment(2) * expected**2 - 3 * expected**4
    assert abs(((y - expected) ** 2).mean() - variance) < 4 * math.sqrt((fourth - variance**2) / n)
    exact_to = 2e-6 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(mean.double()[:, 0].numpy() * root, expected, rtol=exact_to)


def test_relu_functions_are_exact_in_extreme_fields():
    """To the last digits from -1e4 to 1e4, by expansions where scipy's functions cancel."""
    units = hm.ReLU(1).double()
    field = torch.tensor([[-1e4], [-300.0], [300.0], [1e4]], dtype=torch.float64, requires_grad=True)
    a = field.detach().numpy()[:, 0]
    low, high = a[:2], a[2:]
    t = 1 / low**2
    log_p = units.log_partition(field)
    series = np.log1p(-t + 3 * t**2 - 15 * t**3) - np.log(-low)
    expected = np.concatenate((series, high**2 / 2 + 0.5 * np.log(2 * np.pi)))
    np.testing.assert_allclose(log_p.detach(), expected, rtol=1e-13)
    (mean,) = torch.autograd.grad(log_p.sum(), field, create_graph=True)
    series = -(1 - 2 * t + 10 * t**2 - 74 * t**3) / low
    np.testing.assert_allclose(mean.detach()[:, 0], np.concatenate((series, high)), rtol=1e-13)
    np.testing.assert_allclose(units.expected_statistics(field).detach(), mean.detach(), rtol=1e-13)
    (variance,) = torch.autograd.grad(mean.sum(), field)
    series = t * (1 - 6 * t + 50 * t**2)
    np.testing.assert_allclose(variance[:, 0], np.concatenate((series, [1, 1])), rtol=1e-9)
    surprise = 0.5 * (1 - a * mean.detach().numpy()[:, 0]) + expected
    np.testing.assert_allclose(units.entropy(field).detach(), surprise, rtol=1e-9, atol=1e-7)
    single = units.float().log_partition(field.float())
    np.testing.assert_allclose(single.detach(), expected, rtol=1e-6)


@ALL
def test_sample_leaves_the_fields_alone_and_takes_one_step(kind):
    units = layer(kind)
    field, stream = fields(units, 5), Stream(0)
    before = field.clone()
    units.sample(field, stream)
    assert torch.equal(field, before)
    assert stream.step == 1
    assert torch.equal(units.sample_(field.clone(), Stream(0)), units.sample(field, Stream(0)))


@ALL
def test_noise_knows_nothing(kind):
    """Chains that know nothing start with uniform states; real ones from their own density."""
    units = layer(kind)
    field = units.noise_field(4)
    assert field.shape == (4, units.width)
    if kind in REAL:
        assert torch.equal(field, units.bias.detach().expand(4, -1))
    else:
        probability = units.mean(field).unflatten(1, (SIZE, -1))
        assert len(probability.unique()) == 1


# --- states and values --------------------------------------------------------------------------


@ALL
def test_natural_inverts_expected_statistics(kind):
    units = layer(kind)
    mean = units.expected_statistics(fields(units))
    torch.testing.assert_close(units.expected_statistics(units.natural(mean)), mean)


@pytest.mark.parametrize("kind", DISCRETE)
def test_configurations_are_all_states_once(kind):
    units = layer(kind)
    n = len(units.support()) ** SIZE
    states = units.configurations(0, n)
    assert states.shape == (n, units.width)
    assert states.dtype == torch.float64
    assert sorted(map(tuple, states.tolist())) == sorted(map(tuple, configurations(units).tolist()))
    assert len(states.unique(dim=0)) == n
    parts = [units.configurations(first, min(first + 3, n)) for first in range(0, n, 3)]
    assert torch.equal(torch.cat(parts), states)


@pytest.mark.parametrize("kind", DISCRETE)
def test_support_is_what_the_unit_takes(kind):
    assert layer(kind).support().tolist() == SUPPORT[kind]


@ALL
def test_statistics_and_values_are_each_others_inverse(kind):
    units = layer(kind)
    statistics = units.sample(fields(units, 20), Stream(0))
    values = units.values(statistics)
    assert values.shape == (20, SIZE)
    units.validate(values)
    assert torch.equal(units.statistics(values), statistics)
    assert torch.equal(units.statistics(statistics), statistics)
    if kind in DISCRETE:
        assert torch.equal(units.statistics(values.to(torch.int8)), statistics)


GOOD = {
    "bernoulli": [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]],
    "spin": [[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]],
    "categorical": [[0.0, 2.0, 1.0], [1.0, 0.0, 0.0]],
    "gaussian": [[-3.5, 1e9, 0.0], [0.5, 2.0, 1.0]],
    "relu": [[3.5, 1e9, 0.0], [0.5, 2.0, 1.0]],
}
BAD = {
    "bernoulli": [math.nan, 0.5, -1.0, 2.0, math.inf],
    "spin": [math.nan, 0.5, 0.0, 2.0, -math.inf],
    "categorical": [math.nan, 0.5, -1.0, 3.0, math.inf],
    "gaussian": [math.nan, math.inf, -math.inf],
    "relu": [math.nan, math.inf, -math.inf, -1.0, -1e-6],
}


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_validate_accepts_what_the_unit_takes(kind, dtype):
    rows = torch.tensor(GOOD[kind])
    if kind == "categorical" and dtype == torch.bool:
        rows = rows.clamp(max=1)
    if torch.equal(rows.to(dtype).float(), rows):
        layer(kind).validate(rows.to(dtype))


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind in KINDS for value in BAD[kind]])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (5001, 1)])
def test_validate_names_the_first_bad_value(kind, value, row, column):
    rows = torch.tensor(GOOD[kind]).repeat(3000, 1)
    rows[row, column] = value
    rows[row + 1 :, 0] = value
    with pytest.raises(DataError) as caught:
        layer(kind).validate(rows)
    message = str(caught.value)
    assert f"got {value:g} " in message
    assert f"row {row}" in message
    assert f"column {column}" in message


@ALL
@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (3,), (1, 2, 3)])
def test_validate_names_a_wrong_shape(kind, shape):
    with pytest.raises(DataError, match="shape") as caught:
        layer(kind).validate(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@ALL
def test_validate_refuses_no_rows(kind):
    units = layer(kind)
    for width in {SIZE, units.width}:
        with pytest.raises(DataError, match="no rows"):
            units.validate(torch.zeros(0, width))


@pytest.mark.parametrize(
    "block", [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.5, 0.5, 0.0], [2.0, -1.0, 0.0], [math.nan, 0.0, 1.0]]
)
def test_validate_refuses_blocks_that_are_not_one_hot(block):
    units = layer("categorical")
    rows = torch.eye(STATES).repeat(4, SIZE)
    rows[5, 3:6] = torch.tensor(block)
    with pytest.raises(DataError, match="row 5, unit 1"):
        units.validate(rows)


@pytest.mark.parametrize(("kind", "good", "bad"), [("bernoulli", 0.5, 1.5), ("spin", 0.0, -1.5)])
def test_means_are_accepted_only_when_asked_for(kind, good, bad):
    units = layer(kind)
    units.validate(torch.full((2, SIZE), good), means=True)
    for value in (bad, math.nan):
        with pytest.raises(DataError, match="mean") as caught:
            units.validate(torch.full((2, SIZE), value), means=True)
        assert ("missing" in str(caught.value)) == math.isnan(value)
    probabilities = torch.tensor([[0.2, 0.3, 0.5] * SIZE])
    layer("categorical").validate(probabilities, means=True)
    with pytest.raises(DataError, match="one-hot"):
        layer("categorical").validate(probabilities)


@ALL
@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3", None])
def test_bad_sizes_are_refused(kind, size):
    with pytest.raises(ArgumentError, match="size"):
        unit(kind, size)


def test_more_units_than_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr(errors, "_memory", lambda: 4 * 120)
    hm.Bernoulli(120)
    hm.Categorical(40, 3)
    for make in (lambda: hm.Bernoulli(121), lambda: hm.Categorical(41, 3)):
        with pytest.raises(ArgumentError, match=r"^size: got (121|41), expected less: 0 GiB of memory"):
            make()


def test_memory_that_the_system_does_not_tell_of_is_enough(monkeypatch):
    monkeypatch.delattr(errors.os, "sysconf")
    assert errors._memory() == math.inf


def test_an_argument_becomes_a_tensor_of_the_same_memory():
    array = np.arange(6.0).reshape(2, 3)
    tensor = torch.zeros(2, 3, requires_grad=True)
    assert as_rows("x", tensor) is tensor
    as_rows("x", array)[0, 1] = 9
    assert array[0, 1] == 9
    array.flags.writeable = False
    for same in (array, array.astype(">f8"), array[:, ::-1][:, ::-1], array.tolist()):
        assert as_rows("x", same).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("abc", "^x: got 'abc', expected rows"),
        (None, "^x: got None, expected rows"),
        ([0, 1, None], r"^x: got \[0, 1, None\], expected rows"),
        ([torch.zeros(2, requires_grad=True)], r"^x: got \[tensor"),
        (np.zeros(2, complex), "^x: got torch.complex128, expected real numbers"),
        (torch.eye(2).to_sparse(), "^x: got torch.sparse_coo, expected a dense tensor"),
    ],
)
def test_arguments_that_are_no_rows_are_named(wrong, message):
    with pytest.raises(ArgumentTypeError, match=message):
        as_rows("x", wrong, "rows")


def test_validate_calls_the_rows_by_their_name():
    with pytest.raises(DataError, match=r"^chains: got 0\.5 at row 0, column 0"):
        hm.Bernoulli(1).validate(torch.full((1, 1), 0.5), name="chains")
    with pytest.raises(DataError, match=r"^data: got shape"):
        hm.Bernoulli(1).validate(torch.zeros(1, 2))


def test_bad_settings_are_refused():
    for states in (1, 0, 2.0, True):
        with pytest.raises(ArgumentError, match="states"):
            hm.Categorical(3, states)
    for value in (0, -1.0, math.inf, math.nan, "1"):
        with pytest.raises(ArgumentError, match="precision"):
            hm.Gaussian(3, value)
        with pytest.raises(ArgumentError, match="precision"):
            hm.ReLU(3, value)


@ALL
def test_config_makes_a_layer_like_it(kind):
    units = layer(kind)
    other = unit_from_config(units.config()).double()
    other.load_state_dict(units.state_dict())
    field = fields(units)
    assert type(other) is type(units)
    assert torch.equal(other.log_partition(field), units.log_partition(field))
    with pytest.raises(ArgumentError, match="kind"):
        unit_from_config({"kind": kind + "s", "size": 3})


def test_the_table_holds_every_kind():
    assert {name: unit.kind for name, unit in hm.UNITS.items()} == {name: name for name in hm.UNITS}
    assert set(SUPPORT) == set(hm.UNITS) - {*REAL, "mixed"}
    assert {kind for kind in KINDS if not unit(kind, 2).discrete} == set(REAL)
    assert all(unit(kind, 2).count() == len(SUPPORT[kind]) ** 2 for kind in DISCRETE)
    assert all(unit(kind, 2).count() == math.inf for kind in REAL)
