"""The second-order free energy: its terms, its stationary points, and how far it is from log Z."""

import numpy as np
import pytest
import torch
from _checks import equal_batch, gradient, nothing, trainable
from _fits import fits
from _models import Exact, name, rbm
from _runs import back_to, bits, same, train

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError
from harmonium.learning import Batch
from harmonium.learning._tap import tap_free_energy
from harmonium.training._source import open_source

PAIRS = [(v, h) for v in ("bernoulli", "spin") for h in ("bernoulli", "spin")]
BINARY = pytest.mark.parametrize("pair", PAIRS, ids=name)
LOW = {"bernoulli": 0.0, "spin": -1.0}
SHAPES = {
    "ising": lambda: hm.BoltzmannMachine(hm.Spin(5)),
    "bits on a ring": lambda: hm.BoltzmannMachine(4, visible_edges=[[0, 1], [1, 2], [2, 3], [0, 3]]),
    "coupled below": lambda: hm.BoltzmannMachine(hm.Spin(4), 3, hidden_edges=False),
    "masked": lambda: hm.BoltzmannMachine(
        3, hm.Spin(2), visible_edges=False, hidden_edges=False, weight_mask=[[1, 0], [1, 1], [0, 1]]
    ),
}
MACHINES = {**{name(pair): lambda pair=pair: rbm(pair, (4, 3), scale=0.3) for pair in PAIRS}}
MACHINES |= {label: lambda make=make: filled(make()) for label, make in SHAPES.items()}
MACHINE = pytest.mark.parametrize("label", MACHINES)


def filled(model, scale=0.3):
    """Fill the parameters at random, float64."""
    model = model.double()
    with torch.no_grad():
        for key, p in trainable(model).items():
            p.copy_((scale if p.ndim == 2 else 0.5) * Stream(1, key).normal(1, p.numel(), p.dtype).view_as(p))
    model.project()
    return model


def flat(model):
    """Return each unit's bias, its lower value, and the symmetric matrix of all couplings."""
    blocks = model.blocks()
    ends = np.cumsum([0, *(model.layer(block).size for block in blocks)])
    own = {block: slice(*ends[i : i + 2]) for i, block in enumerate(blocks)}
    weight = np.zeros((ends[-1], ends[-1]))
    for coupling in model.couplings():
        matrix = model.matrix(coupling).detach().numpy()
        weight[own[coupling.lower], own[coupling.upper]] += matrix
        weight[own[coupling.upper], own[coupling.lower]] += matrix.T
    bias = np.concatenate([model.layer(block).bias.detach().numpy() for block in blocks])
    low = np.concatenate([np.full(model.layer(b).size, LOW[model.layer(b).kind]) for b in blocks])
    return bias, low, weight, own


def joined(model, means):
    return torch.cat([means[block] for block in model.blocks()], 1).detach().numpy()


def naive(model, means, order=2):
    """Return the free energy of each row of means by a loop over units and pairs."""
    bias, low, weight, _ = flat(model)
    result = []
    for m in joined(model, means):
        p, variance = (m - low) / (1 - low), (m - low) * (1 - m)
        total = (p * np.log(p) + (1 - p) * np.log(1 - p) - bias * m).sum()
        for i in range(len(m)):
            for j in range(i + 1, len(m)):
                total -= weight[i, j] * m[i] * m[j]
                if order == 2:
                    total -= 0.5 * weight[i, j] ** 2 * variance[i] * variance[j]
        result.append(total)
    return np.array(result)


def swept(model, means, damping):
    """Return the means after a sweep, one block after the other, unit by unit."""
    bias, low, weight, own = flat(model)
    rows = joined(model, means)
    for block in model.blocks():
        old = rows.copy()
        for r, m in enumerate(old):
            variance = (m - low) * (1 - m)
            for i in range(own[block].start, own[block].stop):
                field = bias[i] + weight[i] @ m + (0.5 * (low[i] + 1) - m[i]) * (weight[i] ** 2 @ variance)
                new = 1 / (1 + np.exp(-field)) if low[i] == 0 else np.tanh(field)
                rows[r, i] = damping * m[i] + (1 - damping) * new
    return rows


def random_means(model, n=3):
    """Return means strictly between the units' values."""
    layers = {block: model.layer(block) for block in model.blocks()}
    fields = {
        block: Stream(2, block).normal(n, layer.width, torch.float64) for block, layer in layers.items()
    }
    return {block: layer.expected_statistics(fields[block]) for block, layer in layers.items()}


def rows(model, n=6, seed=3):
    """Return rows of visible states."""
    field = torch.zeros(n, model.visible.width, dtype=torch.float64)
    return model.visible.sample(field, Stream(seed))


def settled(model, chains=1):
    """Return the self-consistent means of a model."""
    rule, stream = hm.TAP(steps=300, chains=chains), Stream(0)
    state, _ = rule.update(model, equal_batch(rows(model)), rule.init(model, stream), stream, nothing)
    return {block: state[f"mean.{block}"] for block in model.blocks()}


# --- the free energy ----------------------------------------------------------------------------


@MACHINE
def test_free_energy_is_that_of_a_loop_over_pairs(label):
    model = MACHINES[label]()
    means = random_means(model)
    np.testing.assert_allclose(tap_free_energy(model, means).detach(), naive(model, means), rtol=1e-12)


def test_free_energy_of_certain_units_is_their_energy():
    model = rbm(("bernoulli", "spin"))
    state = {
        "visible": torch.tensor([[0.0, 1.0, 1.0]]).double(),
        "hidden": torch.tensor([[1.0, -1.0]]).double(),
    }
    torch.testing.assert_close(tap_free_energy(model, state), model.energy(state))


@MACHINE
def test_the_means_are_where_the_free_energy_is_stationary(label):
    model = MACHINES[label]()
    means = {block: m.requires_grad_() for block, m in settled(model).items()}
    slopes = torch.autograd.grad(tap_free_energy(model, means).sum(), list(means.values()))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-9


def weak(pair, scale):
    """Return a machine of weak couplings of one sign, with biases."""
    model = rbm(pair, (4, 3), scale=1.0)
    with torch.no_grad():
        model.weight.abs_().mul_(scale)
        model.visible.bias.fill_(0.9)
        model.hidden.bias.fill_(0.8)
    return model


@BINARY
def test_the_error_is_of_third_order_in_the_couplings(pair):
    """That of naive mean field is of second order, and larger."""
    errors = []
    for scale in (0.02, 0.01):
        model = weak(pair, scale)
        means, exact = settled(model), Exact(model).log_partition
        with torch.no_grad():
            found = -float(tap_free_energy(model, means))
        errors.append((abs(found - exact), abs(-naive(model, means, 1)[0] - exact)))
    (large, naive_large), (small, naive_small) = errors
    assert 7.5 < large / small < 8.5
    assert 3.7 < naive_large / naive_small < 4.3
    assert 10 * large < naive_large


def test_of_spins_without_biases_the_error_is_of_fourth_order():
    errors = []
    for scale in (0.2, 0.1):
        model = weak(("spin", "spin"), scale)
        with torch.no_grad():
            model.visible.bias.zero_()
            model.hidden.bias.zero_()
            means = {block: torch.zeros(1, model.layer(block).size).double() for block in model.blocks()}
            errors.append(abs(-float(tap_free_energy(model, means)) - Exact(model).log_partition))
    assert 13 < errors[0] / errors[1] < 18


# --- sweeps -------------------------------------------------------------------------------------


@MACHINE
@pytest.mark.parametrize("damping", [0.0, 0.4])
def test_sweeps_are_those_of_a_loop_over_units(label, damping):
    model = MACHINES[label]()
    means = random_means(model)
    start = {f"mean.{block}": m for block, m in means.items()}
    for steps in (1, 2):
        rule = hm.TAP(steps=steps, damping=damping, chains=3, centred=False)
        state, _ = rule.update(model, equal_batch(rows(model)), start, Stream(0), nothing)
        expected = means
        for _ in range(steps):
            parts = np.split(
                swept(model, expected, damping), [model.visible.size] if len(model.blocks()) == 2 else [], 1
            )
            expected = dict(zip(model.blocks(), map(torch.from_numpy, parts), strict=True))
        for block, m in expected.items():
            torch.testing.assert_close(state[f"mean.{block}"], m, rtol=1e-12, atol=1e-13)


def test_persistent_means_go_on_where_they_were():
    model = MACHINES["spin-spin"]()
    ends = []
    for steps, updates in ((1, 3), (3, 1)):
        rule, stream = hm.TAP(steps=steps, chains=4, centred=False), Stream(0)
        state = rule.init(model, stream)
        for _ in range(updates):
            state, _ = rule.update(model, equal_batch(rows(model, 5)), state, stream, nothing)
        ends.append(state)
    assert ends[0].keys() == ends[1].keys() == {"mean.visible", "mean.hidden"}
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    assert ends[0]["mean.visible"].shape == (4, 4)


# --- gradients ----------------------------------------------------------------------------------


def loss(model, v, weights, means, shares):
    """Return the negative log-likelihood with the free energies of given means for -log Z."""
    return weights @ model.free_energy(v) - shares @ tap_free_energy(model, means)


def check(rule, model, batch, means, shares):
    """Compare an update's gradient with that of the free energy at its means."""
    parameters = trainable(model)
    expected = torch.autograd.grad(
        loss(model, batch.values, batch.weights, means, shares), list(parameters.values())
    )
    rule.update(model, batch, {f"mean.{block}": m for block, m in means.items()}, Stream(0), nothing)
    for (key, p), slope in zip(parameters.items(), expected, strict=True):
        torch.testing.assert_close(p.grad, slope, rtol=1e-8, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}")


@MACHINE
def test_gradient_is_that_of_the_free_energy_at_its_means(label):
    model = MACHINES[label]()
    v = rows(model)
    weights = Stream(4).uniform(6, 1, torch.float64)[:, 0]
    weights[0] = 0
    means = settled(model, 3)
    shares = (weights.sum() / 3).expand(3)
    rule = hm.TAP(chains=3, centred=False)
    check(rule, model, Batch(v, weights, torch.arange(6)), means, shares)


@MACHINE
def test_gradient_is_the_whole_derivative(label):
    """As the means are stationary, it does not matter that they move with the parameters."""
    model = MACHINES[label]()
    v, h = rows(model), 1e-4
    rule = hm.TAP(steps=300, chains=1, centred=False)
    rule.update(model, equal_batch(v), rule.init(model, Stream(0)), Stream(0), nothing)
    slopes = {key: p.grad.clone() for key, p in trainable(model).items()}
    for key, p in trainable(model).items():
        places = (slopes[key] != 0).nonzero()
        place, ends = tuple(places[len(places) // 2].tolist()), []
        for sign in (1, -1):
            with torch.no_grad():
                p[place] += sign * h
                ends.append(
                    loss(model, v, torch.full((6,), 1 / 6).double(), settled(model), torch.ones(1).double())
                )
                p[place] -= sign * h
        assert slopes[key][place].item() == pytest.approx(
            (ends[0] - ends[1]).item() / (2 * h), rel=1e-5, abs=1e-7
        ), key


@BINARY
def test_means_that_start_at_the_data(pair):
    """Each has the share of its row, and nothing is kept."""
    model = rbm(pair, (4, 3), scale=0.3)
    v = rows(model)
    weights = Stream(4).uniform(6, 1, torch.float64)[:, 0]
    hidden = model.hidden.expected_statistics(model.field("hidden", {"visible": v})).detach()
    means = swept(model, {"visible": v, "hidden": hidden}, 0.5)
    parts = {"visible": torch.from_numpy(means[:, :4]), "hidden": torch.from_numpy(means[:, 4:])}
    rule = hm.TAP(start="data", steps=1, centred=False)
    assert rule.init(model, Stream(0)) == {}
    check(rule, model, Batch(v, weights, torch.arange(6)), parts, weights)
    state, _ = rule.update(model, equal_batch(v), {}, Stream(0), nothing)
    assert state == {}


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_each_batch_is_divided_by_its_own_size(weighted):
    """Also the last one, which is smaller; the number of means is yet another."""
    model = MACHINES["bernoulli-spin"]()
    v = rows(model, 16)
    weights = torch.arange(16).double() % 3 if weighted else None
    relative = torch.ones(16, dtype=torch.float64) if weights is None else weights / weights.mean()
    means, sizes = settled(model, 3), []
    source, *_ = open_source(model.visible, v, Stream(0), 6, 2, weights)
    for batch in source.batches(0):
        own = relative[batch.rows] / len(batch.rows)
        sizes.append(len(batch.rows))
        check(hm.TAP(chains=3, centred=False), model, batch, means, (own.sum() / 3).expand(3))
    assert sizes == [6, 6, 4]


def test_centring_changes_the_step_but_not_its_aim():
    model = MACHINES["bernoulli-bernoulli"]()
    steps = []
    for centred in (False, None):
        rule, stream = hm.TAP(centred=centred), Stream(0)
        rule.update(model, equal_batch(rows(model)), rule.init(model, stream), stream, nothing)
        steps.append(gradient(model))
    assert not np.allclose(*steps, rtol=0.1)
    assert steps[0] @ steps[1] > 0


# --- fits ---------------------------------------------------------------------------------------


@BINARY
@pytest.mark.parametrize("start", ["persistent", "data"])
def test_a_fit_lowers_the_exact_loss(pair, start):
    before, after = fits(hm.TAP(start=start), pair)
    assert after < before - 0.2


def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path):
    def start(folder):
        return train(rule=hm.TAP(chains=7), out=folder, checkpoint_every=1e-9, keep=50)

    whole = start(tmp_path / "whole")
    assert whole.chains is None
    for stop in (1, 4, 7):
        start(tmp_path / str(stop))
        back_to(tmp_path / str(stop), stop)
        assert same(hm.resume(tmp_path / str(stop), bits()), whole)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (lambda: hm.RBM(hm.Gaussian(3), 2), "gaussian"),
        (lambda: hm.RBM(3, hm.Categorical(2, 3)), "categorical"),
        (lambda: hm.BoltzmannMachine(hm.Categorical(3, 3)), "categorical"),
    ],
)
def test_units_of_more_than_two_values_are_refused(model, kind):
    with pytest.raises(
        ArgumentError, match=rf"^rule: got 'tap', expected a rule that fits {kind} units, such as 'pcd'"
    ):
        hm.TAP().check(model())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 1.0}, r"^damping: got 1.0, expected less than 1"),
        ({"start": "noise"}, r"^start: got 'noise', expected 'persistent' or 'data'"),
        ({"steps": 0}, r"^steps: got 0, expected greater than or equal to 1"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        hm.TAP(**options)
