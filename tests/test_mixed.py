"""Mixed layers: each part in its own columns, and models of them against enumeration and integrals."""

import copy
import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from _checks import centred as centred_gradients
from _checks import check_frequencies, check_mean, equal_batch
from _models import configurations, logsumexp, precision, rectified

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.likelihood import _exact
from harmonium.models import choose_side
from harmonium.samplers import Gibbs
from harmonium.units import unit_from_config

NAN = math.nan
LAYERS = {
    "bits and codes": lambda: [hm.Bernoulli(2), hm.Categorical(2, 3)],
    "spins, codes and bits": lambda: [hm.Spin(1), hm.Categorical(1, 3), hm.Bernoulli(2)],
    "bits and reals": lambda: [hm.Bernoulli(2), hm.Gaussian(2, 0.8, learn_precision=True)],
    "codes, reals and spins": lambda: [hm.Categorical(1, 3), hm.Gaussian(1, 1.4), hm.Spin(1)],
    "bits and rectified": lambda: [hm.Bernoulli(1), hm.ReLU(2, 1.3)],
}
HIDDEN = [name for name in LAYERS if name != "bits and reals"]
DISCRETE = ["bits and codes", "spins, codes and bits"]
ALL = pytest.mark.parametrize("label", LAYERS)
COUNTED = pytest.mark.parametrize("label", DISCRETE)


def layer(label, dtype=torch.float64):
    """Return a mixed layer with random biases, and its parts as layers of their own with those biases."""
    parts = LAYERS[label]()
    generator = np.random.default_rng(len(label))
    for part in parts:
        part.double()
        with torch.no_grad():
            part.bias.copy_(torch.from_numpy(generator.normal(size=part.width)))
            if part.kind == "gaussian":
                part.log_precision += torch.from_numpy(generator.uniform(-0.3, 0.3, part.size))
        part.to(dtype)
    return hm.Mixed(*parts), parts


def slices(parts, what="width"):
    """Return the place of each part among the columns, or among the units."""
    ends = np.cumsum([0, *(getattr(part, what) for part in parts)])
    return [slice(*pair) for pair in pairwise(ends)]


def fields(units, rows=5):
    """Return random fields."""
    return 1.5 * Stream(1, "fields").normal(rows, units.width, units.bias.dtype)


# --- the layer ----------------------------------------------------------------------------------


@ALL
def test_sizes_and_types(label):
    units, parts = layer(label)
    assert (units.size, units.width) == (sum(p.size for p in parts), sum(p.width for p in parts))
    assert units.binary == all(p.kind in ("bernoulli", "spin") for p in parts)
    assert units.discrete == (label in DISCRETE)
    assert units.hidden_only == (label == "bits and rectified")
    assert units.support() is None
    assert hm.Mixed(hm.Spin(2), hm.Bernoulli(3)).binary


@ALL
def test_sums_and_rows_are_those_of_the_parts(label):
    units, parts = layer(label)
    field, own = fields(units), slices(parts)
    x = units.sample(field, Stream(0))
    beta = torch.linspace(0.5, 2, 5, dtype=torch.float64)
    for name in ("log_partition", "entropy"):
        expected = sum(getattr(p, name)(field[:, s]) for p, s in zip(parts, own, strict=True))
        torch.testing.assert_close(getattr(units, name)(field), expected)
    expected = sum(p.energy(x[:, s]) for p, s in zip(parts, own, strict=True))
    torch.testing.assert_close(units.energy(x), expected)
    expected = torch.cat([p.expected_statistics(field[:, s]) for p, s in zip(parts, own, strict=True)], 1)
    assert torch.equal(units.expected_statistics(field), expected)
    expected = torch.cat([p.mean(field[:, s], beta) for p, s in zip(parts, own, strict=True)], 1)
    assert torch.equal(units.mean(field, beta), expected)
    mean = units.expected_statistics(field)
    torch.testing.assert_close(units.expected_statistics(units.natural(mean)), mean)
    field.requires_grad_()
    (gradient,) = torch.autograd.grad(units.log_partition(field).sum(), field)
    torch.testing.assert_close(gradient, units.expected_statistics(field))


@ALL
def test_moments_are_the_gradient_of_minus_the_energy(label):
    units, _ = layer(label)
    x = units.sample(fields(units, 6), Stream(0))
    weight = torch.linspace(-1, 1.5, 6, dtype=torch.float64)
    parameters = {k: p for k, p in units.named_parameters() if p.requires_grad}
    assert ("parts.1.log_precision" in parameters) == (label == "bits and reals")
    gradients = torch.autograd.grad(-(weight * units.energy(x)).sum(), list(parameters.values()))
    place = {name: torch.empty_like(p) for name, p in parameters.items()}
    moments = units.moments(x, weight, place)
    assert moments.keys() == parameters.keys()
    for name, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(moments[name], gradient)
        assert moments[name].data_ptr() == place[name].data_ptr()


@ALL
def test_variance_is_that_of_the_second_derivative(label):
    units, _ = layer(label)
    field = fields(units, 1).requires_grad_()
    weight = Stream(2).normal(3, units.width, torch.float64)
    hessian = torch.autograd.functional.hessian(lambda a: units.log_partition(a[None]).sum(), field[0])
    expected = torch.einsum("si,ij,sj->s", weight, hessian, weight)
    mean = units.expected_statistics(field).detach()
    torch.testing.assert_close(units.variance(mean, weight)[0].detach(), expected)


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_samples_are_those_of_the_parts_with_bits_of_their_own(label, dtype, path):
    """Each part takes one step of the stream, in turn."""
    units, parts = layer(label, dtype)
    field = fields(units, 7)
    beta = torch.linspace(0.5, 2, 7, dtype=dtype)
    for tempered in (None, beta):
        mean, stream = torch.empty_like(field), Stream(4)
        draws, means = [], []
        for part, own in zip(parts, slices(parts), strict=True):
            means.append(torch.empty(7, part.width, dtype=dtype))
            draws.append(part.sample_(field[:, own].contiguous(), stream, means[-1], tempered))
        other = Stream(4)
        got = units.sample_(field.clone(), other, mean, tempered)
        assert torch.equal(got, torch.cat(draws, 1))
        assert torch.equal(mean, torch.cat(means, 1))
        assert other.step == stream.step == len(parts)
    same = hm.Mixed(hm.Bernoulli(40), hm.Bernoulli(40))
    halves = same.sample(torch.zeros(1, 80), Stream(0)).split(40, 1)
    assert not torch.equal(*halves)


@ALL
def test_noise_and_smoothing_know_what_each_part_does(label):
    units, parts = layer(label)
    field, total = units.noise_field(3), 9 * units.expected_statistics(fields(units, 1))[0].detach()
    smoothed = units.smoothed(total, 9)
    assert field.shape == (3, units.width)
    for part, own in zip(parts, slices(parts), strict=True):
        assert torch.equal(field[:, own], part.noise_field(3))
        assert torch.equal(smoothed[own], part.smoothed(total[own], 9))
        if part.kind == "gaussian":
            assert torch.equal(smoothed[own], total[own] / 9)
        if part.kind == "bernoulli":
            torch.testing.assert_close(smoothed[own], (total[own] + 1) / 11)


@ALL
def test_values_have_one_column_for_each_unit(label):
    units, parts = layer(label)
    s = units.sample(fields(units, 20), Stream(0))
    values = units.values(s)
    assert values.shape == (20, units.size)
    for part, own, place in zip(parts, slices(parts), slices(parts, "size"), strict=True):
        assert torch.equal(values[:, place], part.values(s[:, own]).to(values))
    for rows in (values, s):
        units.validate(rows)
        assert torch.equal(units.statistics(rows), s)
    mask = torch.arange(units.size).repeat(2, 1)
    wide = units.expand(mask)
    assert wide.shape == (2, units.width)
    sizes = [p.width // p.size for p in parts for _ in range(p.size)]
    assert wide[0].tolist() == [i for i, n in enumerate(sizes) for _ in range(n)]


@ALL
def test_a_subset_and_the_rest_are_the_whole(label):
    units, _ = layer(label)
    field = fields(units)
    x = units.sample(field, Stream(0))
    for kept in list(product([False, True], repeat=units.size))[1:-1]:
        which = torch.tensor(kept)
        sides = [(units.subset(side), units.expand(side)) for side in (which, ~which)]
        assert [side.size for side, _ in sides] == [sum(kept), units.size - sum(kept)]
        for name, value in (("energy", x), ("log_partition", field)):
            total = sum(getattr(side, name)(value[:, columns]) for side, columns in sides)
            torch.testing.assert_close(getattr(units, name)(value), total)
        for side, columns in sides:
            expected = units.expected_statistics(field)[:, columns]
            assert torch.equal(side.expected_statistics(field[:, columns]), expected)
            side.validate(x[:, columns])


@pytest.mark.parametrize(
    ("row", "column", "value", "words"),
    [
        (1, 0, 0.5, "got 0.5 at row 1, column 0, expected 0 or 1"),
        (2, 3, 3.0, r"got 3 at row 2, column 3, expected a code in 0 ... 2 \(part 1, categorical\)"),
        (5000, 4, math.inf, r"got inf at row 5000, column 4, expected a finite number \(part 2, gaussian\)"),
    ],
)
def test_validate_names_row_column_and_part(row, column, value, words):
    units = hm.Mixed(hm.Bernoulli(2), hm.Categorical(2, 3), hm.Gaussian(1))
    rows = torch.tensor([[1.0, 0.0, 2.0, 0.0, -1.5]]).repeat(6000, 1)
    units.validate(rows)
    rows[row, column] = value
    rows[row + 1 :, 0] = NAN
    with pytest.raises(DataError, match=words):
        units.validate(rows)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (1, r"row 3, column 1, .*\(part 0, bernoulli\)"),
        (5, r"\[0.5, 0.0, 0.0\] at row 3, unit 3, expected one-hot \(part 1, categorical\)"),
        (8, r"row 3, column 8, .*\(part 2, spin\)"),
    ],
)
def test_validate_names_row_column_and_part_of_statistics(column, words):
    units = hm.Mixed(hm.Bernoulli(2), hm.Categorical(2, 3), hm.Spin(1))
    rows = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]]).repeat(9, 1)
    units.validate(rows)
    rows[3, column] = 0.5
    with pytest.raises(DataError, match=words):
        units.validate(rows)
    units.validate(torch.tensor([[0.2, 0.9, 0.5, 0.5, 0.0, 0.0, 0.0, 1.0, -0.3]]), means=True)
    for shape in ((2, 4), (9,), (0, 5)):
        with pytest.raises(DataError):
            units.validate(torch.zeros(shape))


@COUNTED
def test_configurations_are_all_states_once(label):
    units, parts = layer(label)
    n = int(units.count())
    assert n == math.prod(len(configurations(part)) for part in parts)
    states = units.configurations(0, n)
    assert states.dtype == torch.float64
    by_hand = [np.concatenate(row) for row in product(*(configurations(part) for part in parts))]
    assert sorted(map(tuple, states.tolist())) == sorted(map(tuple, np.array(by_hand).tolist()))
    pieces = [units.configurations(first, min(first + 5, n)) for first in range(0, n, 5)]
    assert torch.equal(torch.cat(pieces), states)
    assert hm.Mixed(hm.Bernoulli(5), hm.Gaussian(1)).count() == math.inf
    assert hm.Mixed(hm.Bernoulli(900), hm.Bernoulli(900)).count() == math.inf


# --- the module ---------------------------------------------------------------------------------


def test_parts_are_copied_and_their_biases_become_slices():
    bits, reals = hm.Bernoulli(2), hm.Gaussian(1, learn_precision=True)
    bits.bias.data += 3
    units = hm.Mixed(bits, reals, bits)
    assert units.bias.tolist() == [3, 3, 0, 3, 3]
    assert set(dict(units.named_parameters())) == {"bias", "parts.1.log_precision"}
    assert units.state_dict().keys() == {"bias", "parts.1.log_precision"}
    assert isinstance(bits.bias, torch.nn.Parameter)
    units.bias.data.zero_()
    assert bits.bias.tolist() == [3, 3]


def test_moves_copies_and_stored_parameters():
    units, _ = layer("bits and reals", torch.float32)
    double = copy.deepcopy(units).double()
    for tensor in (
        double.statistics(torch.ones(1, 4)),
        double.noise_field(1),
        double.parts[0].noise_field(1),
    ):
        assert tensor.dtype == torch.float64
    assert units.noise_field(1).dtype == units.parts[0].noise_field(1).dtype == torch.float32
    assert units.to("meta").parts[0].noise_field(2).device.type == "meta"
    other = unit_from_config(double.config()).double()
    other.load_state_dict(double.state_dict())
    field = fields(double)
    assert torch.equal(other.log_partition(field), double.log_partition(field))
    assert hm.Mixed(hm.Bernoulli(1).double(), hm.Gaussian(1)).parts[1].log_precision.dtype == torch.float64


@ALL
def test_config_makes_a_layer_like_it(label):
    units, _ = layer(label)
    other = unit_from_config(units.config())
    assert other.config() == units.config()
    assert [type(part) for part in other.parts] == [type(part) for part in units.parts]
    assert repr(other) == repr(units)


def test_what_is_no_part_is_refused():
    with pytest.raises(ArgumentError, match=r"parts: got \(\), expected at least one layer"):
        hm.Mixed()
    with pytest.raises(ArgumentError, match="part 1, expected its parts themselves"):
        hm.Mixed(hm.Spin(1), hm.Mixed(hm.Spin(1)))
    for wrong in (3, "bernoulli", hm.Spin, None):
        with pytest.raises(ArgumentTypeError, match="as part 1, expected a layer of units"):
            hm.Mixed(hm.Spin(1), wrong)


@pytest.mark.parametrize(
    ("visible", "hidden", "name"),
    [
        (hm.Mixed(hm.Bernoulli(2), hm.Gaussian(1)), hm.Gaussian(2), "hidden"),
        (hm.Mixed(hm.Bernoulli(2), hm.Gaussian(1)), hm.Mixed(hm.Spin(1), hm.ReLU(2)), "hidden"),
        (hm.Gaussian(2), hm.Mixed(hm.Spin(1), hm.ReLU(2)), "hidden"),
        (hm.Bernoulli(2), hm.Mixed(hm.Spin(1), hm.Gaussian(2, learn_precision=True)), "hidden"),
        (hm.Mixed(hm.Bernoulli(2), hm.ReLU(1)), hm.Bernoulli(2), "visible"),
    ],
)
def test_pairs_that_make_no_model_are_refused(visible, hidden, name):
    with pytest.raises(ArgumentError, match=f"^{name}: "):
        hm.RBM(visible, hidden)


def test_units_of_a_mixed_layer_are_not_coupled_among_each_other():
    mixed = hm.Mixed(hm.Bernoulli(2), hm.Categorical(1, 3))
    with pytest.raises(ArgumentError, match="visible_edges"):
        hm.BoltzmannMachine(mixed)
    mask = [[True, False], [True, True], [False, True]]
    model = hm.BoltzmannMachine(
        mixed,
        hm.Mixed(hm.Categorical(1, 2), hm.Spin(1)),
        visible_edges=False,
        hidden_edges=False,
        weight_mask=mask,
    )
    expected = [[1, 1, 0], [1, 1, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]]
    assert model.weight_mask.tolist() == expected


# --- models -------------------------------------------------------------------------------------


def machine(visible, hidden, scale=0.8, dtype=torch.float64):
    """Return a machine with random parameters; a layer is a label, or units."""
    layers = [layer(x)[0] if isinstance(x, str) else x for x in (visible, hidden)]
    model = hm.RBM(*layers).double()
    generator = np.random.default_rng(3)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(scale * generator.normal(size=model.weight.shape)))
        model.hidden.bias.copy_(torch.from_numpy(0.5 * generator.normal(size=model.hidden.width)))
    return model.to(dtype)


def parts_of(units):
    """Return the parts of a layer, which may be its only one, with their columns."""
    parts = list(getattr(units, "parts", [units]))
    return list(zip(parts, slices(parts), strict=True))


def log_masses(units, field):
    """Return the log of the sum, or integral, over all states of a layer in fields; by NumPy alone."""
    total = 0.0
    for part, own in parts_of(units):
        a = field[:, own]
        if part.kind in ("gaussian", "relu"):
            z = a / np.sqrt(precision(part))
            masses = rectified(z)[0] if part.kind == "relu" else z**2 / 2 + 0.5 * np.log(2 * np.pi)
            total = total + (masses - 0.5 * np.log(precision(part))).sum(1)
        else:
            total = total + logsumexp(a @ configurations(part).T, 1)
    return total


def states_of(units):
    """Return all states of a discrete layer."""
    rows = product(*(configurations(part) for part, _ in parts_of(units)))
    return np.array([np.concatenate(row) for row in rows])


def log_joint(model, side="visible"):
    """Return all states of one layer and the log of the sum of exp(-E) over the other's."""
    other = "hidden" if side == "visible" else "visible"
    layer, partner = model.layer(side), model.layer(other)
    weight = model.weight.detach().numpy()
    x = states_of(layer)
    field = partner.bias.detach().numpy() + x @ (weight if side == "visible" else weight.T)
    return x, x @ layer.bias.detach().numpy() + log_masses(partner, field)


@COUNTED
@pytest.mark.parametrize("hidden", ["spin", *HIDDEN])
def test_exact_log_partition_of_a_discrete_visible_layer(label, hidden):
    model = machine(label, hm.Spin(3) if hidden == "spin" else hidden)
    expected = pytest.approx(logsumexp(log_joint(model)[1]), rel=1e-12)
    assert hm.log_partition(model, "exact").value == expected
    sides = model.blocks() if model.hidden.discrete else ("visible",)
    for side in sides:
        assert _exact.exact_log_partition(model, (side,)).value == expected


@pytest.mark.parametrize("label", ["bits and reals", "codes, reals and spins"])
@pytest.mark.parametrize("hidden", ["bernoulli", *DISCRETE])
def test_exact_log_partition_of_a_visible_layer_with_reals(label, hidden):
    model = machine(label, hm.Bernoulli(3) if hidden == "bernoulli" else hidden)
    expected = pytest.approx(logsumexp(log_joint(model, "hidden")[1]), rel=1e-12)
    assert hm.log_partition(model).value == expected
    assert choose_side(model)[0] == ("hidden",)


@COUNTED
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("clamp", [False, True])
def test_no_drift(label, hidden, clamp, path):
    """Chains that start in the exact visible marginal are still in it, clamped and tempered ones included."""
    model = machine(label, hidden, scale=0.9)
    x, log_p = log_joint(model)
    held, n = None, 6000
    if clamp:
        values = torch.full((1, model.visible.size), NAN, dtype=torch.float64)
        values[0, 1] = model.visible.values(torch.from_numpy(x))[-1, 1]
        free = model.visible.expand(values.isnan())[0].numpy()
        held = torch.where(torch.from_numpy(free), NAN, torch.from_numpy(x[-1])).repeat(n, 1)
        log_p = np.where((x[:, ~free] == x[-1, ~free]).all(1), log_p, -np.inf)
    p = np.exp(log_p - logsumexp(log_p))
    index = np.random.default_rng(0).choice(len(p), n, p=p)
    stream, gibbs = Stream(0, "mixed"), Gibbs()
    state = gibbs.init(model, n, stream, {"visible": torch.from_numpy(x[index])}, held)
    state = gibbs.run(model, state, stream, 4)
    check_frequencies(place(state["visible"].numpy(), x), p)
    field = model.field("hidden", {"visible": torch.from_numpy(x)}).detach()
    expected = p @ model.hidden.expected_statistics(field).detach().numpy()
    check_mean(state["hidden"].numpy(), expected, 4.5)


@pytest.mark.parametrize("label", ["bits and reals", "codes, reals and spins"])
def test_no_drift_of_reals(label, path):
    """From exact hidden states, and means of the visible ones given them."""
    model = machine(label, "bits and codes", scale=1.2)
    h, log_p = log_joint(model, "hidden")
    p = np.exp(log_p - logsumexp(log_p))
    index = np.random.default_rng(0).choice(len(p), 6000, p=p)
    stream, gibbs = Stream(0, "mixed"), Gibbs()
    state = gibbs.init(model, 6000, stream, {"hidden": torch.from_numpy(h[index])})
    state = gibbs.run(model, state, stream, 4)
    check_frequencies(place(state["hidden"].numpy(), h), p)
    field = model.field("visible", {"hidden": torch.from_numpy(h)}).detach()
    check_mean(state["visible"].numpy(), p @ model.visible.expected_statistics(field).detach().numpy(), 4.5)


def place(rows, states):
    """Return which of the states each row is."""
    equal = (rows[:, None] == states).all(2)
    assert (equal.sum(1) == 1).all()
    return equal.argmax(1)


def test_sample_clamps_units_of_several_columns():
    """Values stay as given, free units follow the tempered conditional, and means have the clamp in them."""
    model = machine("spins, codes and bits", hm.Bernoulli(3), scale=0.5)
    clamp = [NAN, 2.0, NAN, 1.0]
    rows = hm.sample(model, 4000, steps=30, clamp=clamp, temperature=1.6)
    assert (rows[:, 1] == 2).all()
    assert (rows[:, 3] == 1).all()
    x, h = states_of(model.visible), states_of(model.hidden)
    energies = (
        -model.energy(
            {
                "visible": torch.from_numpy(np.repeat(x, len(h), 0)),
                "hidden": torch.from_numpy(np.tile(h, (len(x), 1))),
            }
        )
        .detach()
        .numpy()
        / 1.6
    )
    log_p = logsumexp(energies.reshape(len(x), len(h)), 1)
    log_p[~((x[:, 3] == 1) & (x[:, 5] == 1))] = -np.inf
    p = np.exp(log_p - logsumexp(log_p))
    check_frequencies(place(model.visible.statistics(rows).numpy(), x), p)
    means = hm.sample(model, 4000, steps=30, clamp=clamp, temperature=1.6, means=True)
    assert (means[:, 1:4] == torch.tensor([0.0, 0.0, 1.0])).all()
    free = [0, 4]
    check_mean(means.numpy()[:, free], (p @ x)[free], 4.5)


def test_means_at_a_temperature_temper_bits_and_not_reals():
    model = machine("bits and reals", hm.Bernoulli(2), scale=0.5)
    h, log_p = states_of(model.hidden), []
    field = model.field("visible", {"hidden": torch.from_numpy(h)}).detach().numpy()
    beta = 0.5
    bits = np.logaddexp(0, beta * field[:, :2]).sum(1)
    reals = (beta * field[:, 2:] ** 2 / (2 * precision(model.visible.parts[1]))).sum(1)
    log_p = beta * h @ model.hidden.bias.detach().numpy() + bits + reals
    p = np.exp(log_p - logsumexp(log_p))
    means = np.column_stack(
        (1 / (1 + np.exp(-beta * field[:, :2])), field[:, 2:] / precision(model.visible.parts[1]))
    )
    rows = hm.sample(model, 4000, steps=30, temperature=1 / beta, means=True)
    check_mean(rows.numpy(), p @ means, 4.5)


# --- learning and likelihoods -------------------------------------------------------------------


def exact_loss(model, v, hidden_states, visible_states):
    """Return the mean of -log p(v) by sums over all joint states, for autograd."""

    def log_f(rows):
        x = rows.repeat_interleave(len(hidden_states), 0)
        h = hidden_states.repeat(len(rows), 1)
        return (-model.energy({"visible": x, "hidden": h})).view(len(rows), -1).logsumexp(1)

    return log_f(visible_states).logsumexp(0) - log_f(v).mean()


@pytest.mark.parametrize("centred", [False, True])
def test_gradient_with_exact_states_is_that_of_the_likelihood(centred):
    """For bits beside codes; the model's states are all of them with their weights."""
    model = machine("bits and codes", hm.Bernoulli(3))
    x = torch.from_numpy(states_of(model.visible))
    h = torch.from_numpy(states_of(model.hidden))
    v = model.visible.sample(fields(model.visible, 12), Stream(3))
    parameters = dict(model.named_parameters())
    loss = exact_loss(model, v, h, x)
    plain = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    _, log_p = log_joint(model)
    p = torch.from_numpy(np.exp(log_p - logsumexp(log_p)))

    class Exactly(hm.PCD):
        def negative(self, model, data, fields, state, stream):
            means = model.hidden.expected_statistics(model.field("hidden", {"visible": x}))
            kept = {name: s for name, s in state.items() if name.startswith("chain.")}
            return {"visible": x, "hidden": means}, kept

        def shares(self, batch, sample):
            return torch.cat((-batch.weights, p))

    rule = Exactly(chains=4, centred=centred)
    state = rule.init(model, Stream(0))
    state, _ = rule.update(model, equal_batch(v), state, Stream(0), lambda group: None)
    expected = plain
    if centred:
        expected = centred_gradients(model, plain, {b: state[f"offset.{b}"] for b in model.blocks()})
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("label", ["bits and codes", "bits and reals", "codes, reals and spins"])
def test_moments_of_a_rule_reach_the_parts(label):
    """The gradient of -log p by autograd through exact sums over the hidden states, precisions included."""
    model = machine(label, "bits and codes")
    h = torch.from_numpy(states_of(model.hidden))
    v = model.visible.sample(fields(model.visible, 9), Stream(3))
    free = model.free_energy(v)
    joint = -model.energy({"visible": v.repeat_interleave(len(h), 0), "hidden": h.repeat(len(v), 1)})
    torch.testing.assert_close(free, -joint.view(len(v), -1).logsumexp(1))
    weights = torch.linspace(-1, 1, 9, dtype=torch.float64)
    parameters = {k: p for k, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(weights @ free, list(parameters.values()))
    state = {"visible": v, "hidden": model.encode(v).detach()}
    moments = model.moments(state, -weights)
    assert ("visible.parts.1.log_precision" in moments) == (label == "bits and reals")
    for name, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(moments[name], gradient, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        ("bits and codes", "bits and rectified"),
        ("bits and codes", "spins, codes and bits"),
        ("codes, reals and spins", "bits and codes"),
        ("spins, codes and bits", "relu"),
    ],
)
def test_annealing_brackets_log_z(visible, hidden):
    model = machine(visible, hm.ReLU(3, 1.3) if hidden == "relu" else hidden, scale=0.6)
    side = "visible" if model.visible.discrete else "hidden"
    exact = logsumexp(log_joint(model, side)[1])
    got = hm.log_partition(model, "bridge", runs=400, betas=150, equilibrate=200, seed=1)
    for end, error in (
        (got.value, got.standard_error),
        (got.lower, got.lower_standard_error),
        (got.upper, got.upper_standard_error),
    ):
        assert error < 0.1
        assert abs(end - exact) < 4 * error
    assert got.trusted, got.reason


@pytest.mark.parametrize("hidden", ["bernoulli", "relu", "mixed"])
def test_a_table_is_learnt(hidden, tmp_path):
    """Bits, a code and a real column that hang together: better than the same columns apart."""
    stream = Stream(8)
    bit = (stream.uniform(600, 1) < 0.4).float()
    code = torch.where(stream.uniform(600, 1) < 0.85, 2 * bit, 1.0)
    real = 2 * bit - 1 + 0.5 * stream.normal(600, 1)
    rows = torch.cat((bit, code, (real - real.mean()) / real.std()), 1)
    reals = hidden == "bernoulli"
    parts = [hm.Bernoulli(1), hm.Categorical(1, 3)]
    parts += [hm.Gaussian(1, learn_precision=True)] if reals else []
    rows = rows if reals else rows[:, :2]
    above = {"bernoulli": hm.Bernoulli(3), "relu": hm.ReLU(3), "mixed": hm.Mixed(hm.Spin(2), hm.ReLU(2))}[
        hidden
    ]
    model = hm.RBM(hm.Mixed(*parts), above)
    options = {"epochs": 12, "batch_size": 20, "lr": 0.1 if hidden == "relu" else 0.05, "seed": 2}
    hm.fit(model, rows, hm.PCD(chains=60, steps=2), **options)
    torch.testing.assert_close(model.base_rates[0], (rows[:, 0].sum() + 1) / 602)
    apart = copy.deepcopy(model)
    apart.weight.data.zero_()
    apart.initialise(model.base_rates)
    gain = hm.log_likelihood(model, rows).mean - hm.log_likelihood(apart, rows).mean
    assert gain > 0.15
    hm.save(model, tmp_path / "model.safetensors")
    again = hm.load(tmp_path / "model.safetensors")
    assert again.config() == model.config()
    assert hm.log_likelihood(again, rows).mean == hm.log_likelihood(model, rows).mean
