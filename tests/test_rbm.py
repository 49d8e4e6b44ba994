"""The RBM: energies, conditionals and free energies of every pair against the joint distribution."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from _models import PAIRS, REAL, VISIBLE, Exact, configurations, logsumexp, name, precision, rbm, unit

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.models import EnergyModel, model_from_config

ALL = pytest.mark.parametrize("pair", PAIRS, ids=name)
SMALL = (2, 2)
RULE = 6**2 * np.outer(*2 * [np.polynomial.legendre.leggauss(80)[1]])


def visible_states(model):
    """Return all visible states, or a few of a Gaussian layer."""
    if model.visible.kind == "gaussian":
        return 2 * Stream(5).normal(9, model.visible.width, torch.float64)
    return torch.from_numpy(configurations(model.visible))


def states(model, n=12):
    """Return random joint states of the right kinds."""
    stream = Stream(6)
    pair = ((block, model.layer(block)) for block in model.blocks())
    return {b: u.sample(u.noise_field(n), stream).detach() for b, u in pair}


def energy_by_hand(model, v, h):
    """Return E(v, h) of one state by loops over units and couplings."""
    total = 0.0
    for i, j in product(range(len(v)), range(len(h))):
        total -= v[i] * model.weight[i, j].item() * h[j]
    for layer, x in ((model.visible, v), (model.hidden, h)):
        for i in range(len(x)):
            total -= layer.bias[i].item() * x[i]
            if layer.kind in REAL:
                total += 0.5 * precision(layer)[i] * x[i] ** 2
    return total


@ALL
def test_energy_is_the_sum_over_units_and_couplings(pair):
    model = rbm(pair)
    state = states(model)
    expected = [
        energy_by_hand(model, v, h)
        for v, h in zip(state["visible"].tolist(), state["hidden"].tolist(), strict=True)
    ]
    energy = model.energy(state)
    assert energy.dtype == torch.float64
    np.testing.assert_allclose(energy.detach(), expected, rtol=1e-12)


@ALL
def test_free_energy_sums_the_hidden_layer_out(pair):
    """-log of the sum of exp(-E) over hidden states, or of the integral by the trapezoidal rule."""
    model = rbm(pair, SMALL)
    v = visible_states(model)
    mean = model.encode(v).detach().numpy()
    for row, centre, value in zip(v.tolist(), mean, model.free_energy(v).tolist(), strict=True):
        if pair[1] == "gaussian":
            axes = [np.linspace(m - 10, m + 10, 201) for m in centre]
            h, cell = np.meshgrid(*axes, indexing="ij"), 0.1**2
        elif pair[1] == "relu":
            axis = (np.polynomial.legendre.leggauss(80)[0] + 1) * 6
            h, cell = np.meshgrid(axis, axis, indexing="ij"), RULE
        else:
            h, cell = configurations(model.hidden).T, 1.0
        log_p = -energy_by_hand(model, row, h)
        assert value == pytest.approx(-logsumexp(log_p + np.log(cell)), rel=1e-10)


@ALL
def test_free_energy_takes_values_and_statistics(pair):
    model = rbm(pair)
    s = states(model)["visible"]
    values = model.visible.values(s)
    assert torch.equal(model.free_energy(values), model.free_energy(s))
    assert torch.equal(model.encode(values), model.encode(s))
    torch.testing.assert_close(model.free_energy(values.numpy()), model.free_energy(s))


@ALL
def test_free_energy_is_twice_differentiable(pair):
    model = rbm(pair)
    v = states(model, 3)["visible"].requires_grad_()

    def total(x):
        return model.free_energy(x).sum()

    hessian = torch.autograd.functional.hessian(total, v)
    assert torch.autograd.gradgradcheck(total, (v,))
    assert hessian.abs().sum() > 0


@ALL
def test_conditionals_are_those_of_the_joint_energy(pair):
    """Differences of the energy between two states of a block are those of its conditional density."""
    model = rbm(pair)
    first, second = states(model), states(model)
    for block, other in (("visible", "hidden"), ("hidden", "visible")):
        layer = model.layer(block)
        second[block] = layer.sample(layer.noise_field(12), Stream(7)).detach()
        second[other] = first[other]
        field = model.field(block, first)
        own = 0.0
        if layer.kind in REAL:
            beta = torch.from_numpy(precision(layer))
            own = 0.5 * (beta * (second[block] ** 2 - first[block] ** 2)).sum(1)
        expected = (field * (first[block] - second[block])).sum(1) + own
        torch.testing.assert_close(model.energy(second) - model.energy(first), expected)


@ALL
def test_field_at_a_temperature_for_each_row(pair):
    model = rbm(pair)
    state = states(model)
    beta = torch.linspace(0.1, 2, 12)
    for block in model.blocks():
        expected = beta.double()[:, None] * model.field(block, state)
        torch.testing.assert_close(model.field(block, state, beta), expected)


@ALL
def test_encode_is_the_mean_of_the_joint(pair):
    model = rbm(pair)
    exact = Exact(model)
    if exact.side == "visible":
        np.testing.assert_allclose(
            model.encode(torch.from_numpy(exact.states)).detach(), exact.mean_of_partner(), rtol=1e-10
        )
        return
    v = states(model)["visible"]
    h = configurations(model.hidden)
    table = np.array([[-energy_by_hand(model, row, x) for x in h] for row in v.tolist()])
    p = np.exp(table - table.max(1, keepdims=True))
    np.testing.assert_allclose(model.encode(v).detach(), p @ h / p.sum(1, keepdims=True), rtol=1e-9)


@ALL
def test_reconstruct_is_the_visible_mean_given_the_hidden_means(pair):
    model = rbm(pair)
    v = states(model)["visible"]
    field = model.visible.bias + model.encode(v) @ model.weight.T
    torch.testing.assert_close(model.reconstruct(v), model.visible.mean(field))


@ALL
@pytest.mark.parametrize("learn_precision", [False, True])
def test_moments_are_the_gradient_of_minus_the_energy(pair, learn_precision):
    model = rbm(pair, learn_precision=learn_precision)
    state = states(model)
    weight = torch.linspace(-1, 1.3, 12, dtype=torch.float64)
    parameters = {k: p for k, p in model.named_parameters() if p.requires_grad}
    assert ("visible.log_precision" in parameters) == (learn_precision and pair[0] == "gaussian")
    gradients = torch.autograd.grad(-(weight * model.energy(state)).sum(), list(parameters.values()))
    place = torch.empty_like(model.weight)
    moments = model.moments(state, weight, {"weight": place})
    assert moments["weight"] is place
    assert moments.keys() == parameters.keys()
    for key, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(moments[key], gradient)


@ALL
def test_moments_in_float32(pair):
    """With more rows than the products' tables need, and weights that are 0 in places."""
    model = rbm(pair, (40, 30), dtype=torch.float32)
    state = states(model, 300)
    weight = torch.cat((torch.full((150,), -1 / 150), torch.full((150,), 1 / 150)))
    with torch.no_grad():
        got = model.moments(state, weight)["weight"]
    exact = state["visible"].double().T @ (state["hidden"] * weight[:, None]).double()
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-6)


@ALL
def test_contract_of_energy_models(pair):
    model = rbm(pair)
    assert isinstance(model, EnergyModel)
    assert model.blocks() == ("visible", "hidden")
    assert model.layer("visible") is model.visible
    assert model.layer("hidden") is model.hidden
    assert model.weight.shape == (model.visible.width, model.hidden.width)
    assert {"weight", "visible.bias", "hidden.bias"} <= dict(model.named_parameters()).keys()
    assert model.dtype == torch.float64
    assert model.device.type == "cpu"
    state = states(model)
    for block in model.blocks():
        assert model.field(block, state).shape == state[block].shape
    assert model.energy(state).shape == model.free_energy(state["visible"]).shape == (12,)
    assert model.base_rates.isnan().all()


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_save_and_load(pair, dtype, tmp_path):
    model = rbm(pair, dtype=dtype, learn_precision=pair[0] == "gaussian")
    model.base_rates.fill_(0.25)
    hm.save(model, tmp_path / "model.safetensors")
    other = hm.load(tmp_path / "model.safetensors")
    assert other.config() == model.config()
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert other.dtype == dtype
    v = states(model)["visible"]
    assert torch.equal(other.free_energy(v), model.free_energy(v))


@ALL
def test_config_makes_a_model_like_it(pair):
    model = rbm(pair)
    other = model_from_config(model.kind, model.config())
    assert other.config() == model.config()
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert {key: value.shape for key, value in other.state_dict().items()} == shapes


@ALL
def test_double_keeps_the_parameters(pair):
    single = rbm(pair, dtype=torch.float32)
    double = rbm(pair, dtype=torch.float32).double()
    v = states(double)["visible"]
    assert double.free_energy(v).dtype == torch.float64
    torch.testing.assert_close(single.free_energy(v.float()), double.free_energy(v), rtol=1e-5, atol=1e-5)


# --- what is no data ----------------------------------------------------------------------------

BEYOND = {"bernoulli": 2.0, "spin": -1.5, "categorical": 3.0, "gaussian": math.inf}
DOORS = ("encode", "reconstruct", "free_energy")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", VISIBLE)
def test_rows_that_the_visible_units_cannot_take_are_refused(kind, door):
    model = rbm((kind, "bernoulli"))
    ask, good = getattr(model, door), torch.zeros(4, 3)
    assert len(ask(good)) == 4
    for value in (BEYOND[kind], math.nan):
        bad = good.clone()
        bad[2, 1] = value
        for rows in (bad, bad.numpy(), bad.tolist()):
            with pytest.raises(DataError, match=rf"^v: got {value:g} at row 2, column 1, expected "):
                ask(rows)
    for wrong in (good[:, :2], good[0], good[None], 3.0):
        shape = tuple(np.shape(wrong))
        with pytest.raises(DataError, match=r"^v: got shape .*, expected \(rows, 3\)") as caught:
            ask(wrong)
        assert str(shape) in str(caught.value)
    with pytest.raises(DataError, match=r"^v: got no rows"):
        ask(good[:0])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("wrong", ["abc", None, [["a", "b", "c"]], [[1], [1, 2]], hm.RBM, [[1j, 0, 0]]])
def test_rows_that_are_no_numbers_are_refused(wrong, door):
    message = r"^v: got .*, expected (an array or a tensor of|real) numbers"
    with pytest.raises(ArgumentTypeError, match=message):
        getattr(hm.RBM(3, 2), door)(wrong)


def test_means_are_encoded_as_well_as_states():
    model = rbm(("bernoulli", "bernoulli"))
    grey = torch.tensor([[0.25, 0.0, 0.75]], dtype=torch.float64)
    expected = torch.sigmoid(model.hidden.bias + grey @ model.weight)
    torch.testing.assert_close(model.encode(grey), expected)


def test_points_to_differentiate_at_may_be_anywhere():
    """-log of the sum over hidden states, where v is no state; a value that is not finite is none either."""
    model = rbm(("bernoulli", "bernoulli"))
    v = torch.tensor([[1.5, -0.25, 0.5]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model.free_energy(v).sum(), v)
    h = torch.sigmoid(model.hidden.bias + v @ model.weight)
    torch.testing.assert_close(slope, -model.visible.bias - h @ model.weight.T)
    with pytest.raises(DataError, match=r"^v: got shape \(1, 2\)"):
        model.free_energy(v[:, :2])
    with pytest.raises(DataError, match=r"^v: got a value that is not finite"):
        model.free_energy(v * math.inf)


# --- making one ---------------------------------------------------------------------------------


def test_numbers_make_bernoulli_layers():
    model = hm.RBM(5, 4)
    assert isinstance(model.visible, hm.Bernoulli)
    assert isinstance(model.hidden, hm.Bernoulli)
    assert (model.visible.size, model.hidden.size) == (5, 4)


def test_initial_weights_are_small_normal_and_belong_to_the_seed():
    first, again, other = hm.RBM(200, 100), hm.RBM(200, 100), hm.RBM(200, 100, seed=1)
    assert torch.equal(first.weight, again.weight)
    assert not (first.weight == other.weight).any()
    deviation = first.weight.std().item()
    assert abs(deviation - 0.01) < 4 * 0.01 / math.sqrt(2 * 20_000)
    assert abs(first.weight.mean().item()) < 4 * 0.01 / math.sqrt(20_000)
    assert not first.visible.bias.any()


def test_pairs_that_need_not_be_normalisable_are_refused():
    with pytest.raises(ArgumentError, match="hidden"):
        hm.RBM(hm.Gaussian(3), hm.Gaussian(2))
    with pytest.raises(ArgumentError, match="hidden"):
        hm.RBM(3, hm.Gaussian(2, learn_precision=True))
    with pytest.raises(ArgumentError, match="normalisable"):
        hm.RBM(hm.Gaussian(3), hm.ReLU(2))
    with pytest.raises(ArgumentError, match="visible"):
        hm.RBM(hm.ReLU(3), 2)
    assert len(PAIRS) == len(VISIBLE) * 5 - 2


def test_more_weights_than_memory_holds_are_refused():
    """Each layer alone would fit."""
    size = 2_000_000
    message = r"^hidden: got 2000000, expected less: 14,901 GiB of memory are needed, and there are [\d,]+$"
    with pytest.raises(ArgumentError, match=message):
        hm.RBM(size, size)


@pytest.mark.parametrize("wrong", [2.5, "8", None, True, [3]])
def test_layers_of_the_wrong_type_are_refused(wrong):
    with pytest.raises(ArgumentTypeError, match="visible"):
        hm.RBM(wrong, 3)
    with pytest.raises(ArgumentTypeError, match="hidden"):
        hm.RBM(3, wrong)
    with pytest.raises(ArgumentError, match="hidden"):
        hm.RBM(3, 0)


@pytest.mark.parametrize("kind", VISIBLE)
def test_initialise_makes_the_visible_means_those_of_the_data(kind):
    """Without couplings the model's visible means are then the base rates."""
    model = hm.RBM(unit(kind, 3), 2).double()
    layer = model.visible
    mean = layer.expected_statistics(Stream(1).normal(1, layer.width, torch.float64))[0].detach()
    model.initialise(mean)
    assert torch.equal(model.base_rates, mean)
    model.weight.data.zero_()
    anything = torch.zeros(1, 2, dtype=torch.float64)
    visible = layer.mean(model.field("visible", {"hidden": anything}))[0]
    torch.testing.assert_close(visible.detach(), mean)
