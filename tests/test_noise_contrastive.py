"""Noise-contrastive estimation against its definition, and against enumeration of data and noise."""

import copy
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from _checks import check_frequencies, equal_batch, gradient, nothing, trainable
from _fits import fits, small
from _models import DISCRETE_PAIRS, PAIRS, Exact, configurations, name, number, rbm
from _runs import back_to, bits, same, train

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, DataError, FileError
from harmonium.learning import Batch
from harmonium.learning._moment_rule import part
from harmonium.learning._noise import BaseRates
from harmonium.training import RunFolder
from harmonium.training._source import open_source

RATIO = 3
ALL = pytest.mark.parametrize("pair", PAIRS, ids=name)
FEW = [("bernoulli", "relu"), ("bernoulli", "spin"), ("spin", "categorical"), ("categorical", "gaussian")]
FEW += [("gaussian", "bernoulli")]
"""Each kind is visible in one and hidden in one: enough for fits; gradients are tested for all pairs."""
DISCRETE = pytest.mark.parametrize("pair", DISCRETE_PAIRS, ids=name)


def machine(pair, **options):
    """Return a machine with base rates, that learns the precision where it can."""
    model = rbm(pair, **{"learn_precision": pair[0] == "gaussian", **options})
    field = Stream(8).normal(1, model.visible.width, model.dtype)
    model.base_rates.copy_(model.visible.expected_statistics(field)[0].detach())
    return model


def rows(model, n=7, seed=3):
    """Return rows of visible values."""
    return model.visible.sample(
        Stream(seed).normal(n, model.visible.width, model.dtype), Stream(seed, "rows")
    )


def uneven(n, seed=4):
    """Return uneven weights, one of them zero."""
    weights = Stream(seed).uniform(n, 1, torch.float64)[:, 0]
    weights[0] = 0
    return weights


def log_noise(model, precision, row):
    """Return the log-density of a row of independent units at the base rates, unit by unit."""
    kind, mean, total = model.visible.kind, model.base_rates.tolist(), 0.0
    for i, (x, m) in enumerate(zip(row.tolist(), mean, strict=True)):
        if kind == "bernoulli":
            total += math.log(m if x == 1 else 1 - m)
        elif kind == "spin":
            total += math.log((1 + x * m) / 2)
        elif kind == "categorical":
            total += x * math.log(m)
        else:
            total += 0.5 * math.log(precision[i] / (2 * math.pi)) - 0.5 * precision[i] * (x - m) ** 2
    return total


def naive(model, state, v, weights, noise):
    """Return the loss of a batch by a loop over its rows, each of which has noise with the mean share."""
    precision = model.visible.log_precision.detach().exp() if model.visible.kind == "gaussian" else None
    total, each = 0, weights.sum() / len(weights)

    def odds(row):
        log_p = -model.free_energy(row[None])[0] - state["log_partition"]
        return log_p - log_noise(model, precision, row) - math.log(RATIO)

    for row, weight in zip(v, weights, strict=True):
        total = total - weight * torch.log(torch.sigmoid(odds(row)))
    for row in noise:
        total = total - each * torch.log(1 - torch.sigmoid(odds(row)))
    return total


def drawn(state, model, n, stream):
    """Return the rows of noise that an update draws, one set after the other."""
    return torch.cat([model.visible.sample(state["noise.bias"].repeat(n, 1), stream) for _ in range(RATIO)])


def check(model, batch, v=None, weights=None):
    """Compare a rule's loss and gradient, by log Z too, with those of the loop."""
    v = batch.values if v is None else v
    weights = batch.weights if weights is None else weights
    rule = hm.NoiseContrastive(noise_ratio=RATIO)
    state = rule.init(model, Stream(1))
    state["log_partition"] += 0.3
    log_z = state["log_partition"].clone().requires_grad_()
    expected = naive(model, {"log_partition": log_z}, v, weights, drawn(state, model, len(v), Stream(2)))
    parameters = {**trainable(model), "log_partition": log_z}
    slopes = torch.autograd.grad(expected, list(parameters.values()))
    after, metrics = rule.update(model, batch, state, Stream(2), nothing)
    np.testing.assert_allclose(metrics["loss"].item(), expected.item(), rtol=1e-10)
    assert metrics["log_partition"].item() == log_z.item()
    for (key, p), slope in zip(parameters.items(), slopes, strict=True):
        got = after[key].grad if key == "log_partition" else p.grad
        torch.testing.assert_close(got, slope, rtol=1e-9, atol=1e-11, msg=lambda m, key=key: f"{key}: {m}")


# --- losses and gradients -----------------------------------------------------------------------


@ALL
def test_loss_and_gradient_are_those_of_a_loop_over_rows(pair):
    model = machine(pair)
    v = rows(model)
    check(model, Batch(v, uneven(len(v)), torch.arange(len(v))))
    assert all(p.grad.abs().max() > 1e-4 for p in trainable(model).values())


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_each_batch_is_divided_by_its_own_size(weighted):
    """Also the last one, which is smaller."""
    model = machine(("spin", "bernoulli"))
    v = rows(model, 16)
    weights = torch.arange(16).double() % 3 if weighted else None
    relative = torch.ones(16, dtype=torch.float64) if weights is None else weights / weights.mean()
    source, *_ = open_source(model.visible, v, Stream(0), 6, 2, weights)
    sizes = []
    for batch in source.batches(0):
        sizes.append(len(batch.rows))
        check(model, batch, v[batch.rows], relative[batch.rows] / sizes[-1])
    assert sizes == [6, 6, 4]


def test_machines_without_hidden_units():
    model = hm.BoltzmannMachine(hm.Spin(4)).double()
    with torch.no_grad():
        model.visible_coupling.copy_(0.4 * Stream(1).normal(4, 4, torch.float64).triu(1))
    model.base_rates.copy_(torch.tensor([0.1, -0.3, 0.5, 0.2]))
    v = rows(model)
    check(model, Batch(v, uneven(len(v)), torch.arange(len(v))))


def test_rows_that_are_certain_cost_what_they_must():
    """In the tails the loss is the log-odds themselves, and finite."""
    model = machine(("bernoulli", "bernoulli"))
    rule = hm.NoiseContrastive(noise_ratio=2)
    state = rule.init(model, Stream(0))
    v = rows(model)
    for shift in (1e4, -1e4):
        moved = {**state, "log_partition": state["log_partition"] + shift}
        _, metrics = rule.update(model, equal_batch(v), moved, Stream(0), nothing)
        assert metrics["loss"].item() == pytest.approx(1e4 if shift > 0 else 2e4, rel=1e-2)
        assert moved["log_partition"].grad.item() == pytest.approx(1 if shift > 0 else -2, rel=1e-9)


# --- noise and the first log Z ------------------------------------------------------------------


@DISCRETE
def test_noise_is_that_of_the_base_rates(pair):
    model = machine(pair)
    rule = hm.NoiseContrastive(noise_ratio=RATIO)
    state = rule.init(model, Stream(0))
    batch = equal_batch(rows(model, 2000))
    noise, shares = rule.contrast(noise_of(model, state), batch, Stream(1))
    states = configurations(model.visible)
    p = np.exp([log_noise(model, None, row) for row in torch.from_numpy(states)])
    assert p.sum() == pytest.approx(1)
    check_frequencies(number(noise, states), p)
    assert shares.sum().item() == pytest.approx(RATIO)


def noise_of(model, state):
    """Return independent units with the noise's bias."""
    layer = copy.deepcopy(model.visible)
    layer.bias.data.copy_(state["noise.bias"])
    return BaseRates(layer.requires_grad_(False))


def test_noise_does_not_depend_on_how_rows_are_split():
    model = machine(("spin", "spin"))
    rule = hm.NoiseContrastive(noise_ratio=RATIO)
    layer = noise_of(model, rule.init(model, Stream(0)))
    v = rows(model, 10)
    whole, _ = rule.contrast(layer, equal_batch(v), Stream(1))
    first, _ = rule.contrast(layer, equal_batch(v[:4]), Stream(1))
    second, _ = rule.contrast(layer, equal_batch(v[4:]), Stream(1, row=4))
    joined = torch.cat((first.view(RATIO, 4, -1), second.view(RATIO, 6, -1)), 1)
    assert torch.equal(whole.view(RATIO, 10, -1), joined)


@ALL
def test_without_couplings_log_z_starts_where_it_is(pair):
    model = machine(pair)
    with torch.no_grad():
        model.weight.zero_()
        model.visible.bias.copy_(model.visible.natural(model.base_rates))
    state = hm.NoiseContrastive().init(model, Stream(0))
    assert state["log_partition"].item() == pytest.approx(Exact(model).log_partition, abs=1e-9)


@DISCRETE
def test_with_couplings_log_z_starts_near_it(pair):
    """As the mean weight of a thousand rows of noise: within five of its standard errors."""
    model = machine(pair)
    states = torch.from_numpy(configurations(model.visible))
    p = torch.tensor([log_noise(model, None, row) for row in states]).double().exp()
    weight = (-model.free_energy(states)).exp().detach() / p
    z = p @ weight
    error = ((p @ weight.square() - z**2) / 1000).sqrt() / z
    state = hm.NoiseContrastive().init(model, Stream(0))
    assert abs(state["log_partition"].item() - math.log(z)) < 5 * error


# --- consistency --------------------------------------------------------------------------------


class Enumerated(hm.NoiseContrastive):
    """The rule with all states for its noise, each as often as it comes on average."""

    def contrast(self, noise, batch, stream):
        states = torch.from_numpy(configurations(noise.unit))
        p = noise.log_density(states).exp()
        return states, self.noise_ratio * p


@DISCRETE
def test_expected_gradient_is_zero_at_the_truth_and_nowhere_near(pair):
    """Over all states of data and noise; off the truth it points away from there, log Z included."""
    truth, model = machine(pair), machine(pair)
    exact = Exact(truth)
    batch = Batch(torch.from_numpy(exact.states), torch.from_numpy(exact.p), torch.arange(len(exact.p)))
    rule = Enumerated(noise_ratio=RATIO)
    state = rule.init(model, Stream(0))

    def update(log_z):
        state["log_partition"] = torch.tensor(log_z, dtype=torch.float64)
        _, metrics = rule.update(model, batch, state, Stream(0), nothing)
        return metrics["loss"].item(), np.append(gradient(model), state["log_partition"].grad.item())

    least, slope = update(exact.log_partition)
    assert np.abs(slope).max() < 1e-12
    for seed in range(3):
        moves = []
        for (key, p), origin in zip(trainable(model).items(), trainable(truth).values(), strict=True):
            move = 0.2 * Stream(seed, key).normal(1, p.numel(), p.dtype).view_as(p)
            p.data.copy_(origin + move)
            moves.append(move.flatten())
        value, slope = update(exact.log_partition + 0.1)
        assert value > least + 1e-4
        assert slope @ np.append(torch.cat(moves).numpy(), 0.1) > 0


def test_the_loss_at_the_truth_is_least_also_by_log_z_alone():
    model = machine(("bernoulli", "spin"))
    exact = Exact(model)
    batch = Batch(torch.from_numpy(exact.states), torch.from_numpy(exact.p), torch.arange(len(exact.p)))
    rule, losses = Enumerated(noise_ratio=RATIO), []
    state = rule.init(model, Stream(0))
    for shift in (-0.1, 0.0, 0.1):
        state["log_partition"] = torch.tensor(exact.log_partition + shift, dtype=torch.float64)
        losses.append(rule.update(model, batch, state, Stream(0), nothing)[1]["loss"].item())
    assert losses[1] < min(losses[0], losses[2]) - 1e-4


# --- the state and fits -------------------------------------------------------------------------


def test_log_z_is_a_group_of_its_own_and_keeps_its_place():
    model = machine(("bernoulli", "bernoulli"))
    rule, applied = hm.NoiseContrastive(), []
    state = rule.init(model, Stream(0))
    groups = rule.parameters(model, state)
    assert list(groups) == ["model", "log_partition"]
    assert list(rule.parameters(model)) == ["model"]
    assert groups["log_partition"]["log_partition"] is state["log_partition"]
    after, _ = rule.update(model, equal_batch(rows(model)), state, Stream(0), applied.append)
    assert after["log_partition"] is state["log_partition"]
    assert not after["log_partition"].requires_grad
    assert after["log_partition"].dtype == torch.float64
    assert applied == ["model", "log_partition"]


@pytest.mark.parametrize("pair", FEW, ids=name)
def test_a_fit_lowers_the_exact_loss(pair):
    before, after = fits(hm.NoiseContrastive(), pair, optimizer="Adam", lr=0.03)
    assert after < before - 0.05


def test_log_z_is_learnt_with_the_model(tmp_path):
    """It moves along with the exact one, away from its start, and ends near it."""
    model, data = small(("bernoulli", "bernoulli"))
    options = {"optimizer": "Adam", "lr": 0.03, "averaging": 0.0, "batch_size": 50}
    hm.fit(model, data, hm.NoiseContrastive(), epochs=0, **options)
    first = hm.log_partition(model).value
    history = hm.fit(model, data, hm.NoiseContrastive(), epochs=40, out=tmp_path / "run", **options)
    exact, learnt = hm.log_partition(model).value, history.records[-1]["rule/log_partition"]
    assert abs(exact - first) > 0.5
    assert abs(learnt - exact) < 0.1
    assert history.records[-1]["rule/loss"] < history.records[0]["rule/loss"] - 0.1
    logged = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert logged["rule/log_partition"] == learnt


def test_log_z_is_averaged_as_parameters_are(tmp_path):
    history = train(rule=hm.NoiseContrastive(), out=tmp_path / "run", batch_size=40, averaging=1.0, lr=0.5)
    tensors, _ = RunFolder(tmp_path / "run").load()
    seen = [record["rule/log_partition"] for record in history.records]
    assert tensors["state:log_partition"].item() == seen[-1]
    assert tensors["average:log_partition"].item() == pytest.approx(np.mean(seen), abs=1e-12)
    assert np.std(seen) > 1e-3


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "Adam", "lr": 0.01}, {"averaging": 0.0, "momentum": 0.0}]
)
def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path, options):
    def start(folder):
        rule = hm.NoiseContrastive(noise_ratio=2)
        return train(rule=rule, out=folder, checkpoint_every=1e-9, keep=50, **options)

    whole = start(tmp_path / "whole")
    assert len({record["rule/log_partition"] for record in whole.records}) == len(whole.records)
    for stop in (0, 1, 3, 4, 7, 12):
        start(tmp_path / str(stop))
        back_to(tmp_path / str(stop), stop)
        assert same(hm.resume(tmp_path / str(stop), bits()), whole), stop


# --- noise from a model -------------------------------------------------------------------------


def saved(folder, model):
    """Return the file that a model was saved to."""
    hm.save(model, folder / "noise.safetensors")
    return folder / "noise.safetensors"


@ALL
def test_loss_and_gradient_with_a_model_are_those_of_a_loop_over_rows(tmp_path, pair):
    """Of the rows that its chains give, which the checkpoint's state goes on from."""
    model, noise = machine(pair), rbm(pair, (3, 4), scale=0.5, seed=7)
    rule, v = hm.NoiseContrastive(noise_ratio=RATIO, noise=saved(tmp_path, noise)), rows(model)
    weights, log_p = uneven(len(v)), -Exact(noise).log_partition
    state = rule.init(model, Stream(1))
    assert state["noise.log_partition"].item() == pytest.approx(-log_p, abs=1e-9)
    drawn, _ = rule.contrast(rule._noise(model, part(state, "noise.")), Batch(v, weights, None), Stream(2))
    log_z, expected = state["log_partition"].clone().requires_grad_(), 0

    def odds(row):
        log_noise = -noise.free_energy(row[None])[0].detach() + log_p
        return -model.free_energy(row[None])[0] - log_z - log_noise - math.log(RATIO)

    for row, weight in zip(v, weights, strict=True):
        expected = expected - weight * torch.log(torch.sigmoid(odds(row)))
    for row in drawn:
        expected = expected - weights.mean() * torch.log(1 - torch.sigmoid(odds(row)))
    parameters = {**trainable(model), "log_partition": log_z}
    slopes = torch.autograd.grad(expected, list(parameters.values()))
    after, metrics = rule.update(model, Batch(v, weights, torch.arange(len(v))), state, Stream(2), nothing)
    np.testing.assert_allclose(metrics["loss"].item(), expected.item(), rtol=1e-10)
    for (key, p), slope in zip(parameters.items(), slopes, strict=True):
        got = after[key].grad if key == "log_partition" else p.grad
        torch.testing.assert_close(got, slope, rtol=1e-9, atol=1e-11, msg=lambda m, key=key: f"{key}: {m}")
    assert not torch.equal(after["noise.chain.visible"], state["noise.chain.visible"])


@DISCRETE
def test_noise_of_a_model_is_spread_as_the_model_is(tmp_path, pair):
    """The first rows of its chains, which are independent of each other."""
    model, noise = machine(pair), rbm(pair, (3, 4), scale=0.8, seed=7)
    rule = hm.NoiseContrastive(noise=saved(tmp_path, noise))
    state = part(rule.init(model, Stream(0)), "noise.")
    drawn = rule._noise(model, state).draw(1000, 1, Stream(1))
    exact = Exact(noise)
    check_frequencies(number(drawn, exact.states), exact.p)
    assert not torch.equal(drawn, state["chain.visible"])


def test_a_model_against_itself_has_its_own_log_z_and_no_slope(tmp_path):
    """Whichever rows come, data and noise cannot be told apart."""
    model = machine(("bernoulli", "bernoulli"))
    rule = hm.NoiseContrastive(noise_ratio=RATIO, noise=saved(tmp_path, model))
    state = rule.init(model, Stream(0))
    assert state["log_partition"].item() == pytest.approx(Exact(model).log_partition, abs=1e-9)
    n = 200
    _, metrics = rule.update(model, equal_batch(rows(model, n)), state, Stream(0), nothing)
    assert metrics["loss"].item() == pytest.approx(
        (1 + RATIO) * math.log(1 + RATIO) - RATIO * math.log(RATIO)
    )


def test_chains_take_turns_and_a_step_for_each_row(tmp_path):
    """All have moved once before one moves again, and no row comes twice."""
    model = machine(("spin", "bernoulli"), sizes=(30, 20), scale=0.1)
    rule = hm.NoiseContrastive(noise=saved(tmp_path, model))
    noise = rule._noise(model, part(rule.init(model, Stream(0)), "noise."))
    before = noise.chain["visible"]
    first = noise.draw(100, 3, Stream(1))
    after = noise.chain["visible"]
    assert torch.equal(after[:-300], before[300:])
    assert torch.equal(after[-300:], first)
    rest = noise.draw(150, 10, Stream(2))
    assert torch.equal(noise.chain["visible"], rest[-1000:])
    assert len(torch.cat((first, rest)).unique(dim=0)) > 1700


def test_a_fit_with_noise_of_a_model_lowers_the_exact_loss(tmp_path):
    model, data = small(("bernoulli", "bernoulli"))
    hm.fit(model, data, hm.CD(), epochs=5, batch_size=50, lr=0.2)
    rule = hm.NoiseContrastive(noise=saved(tmp_path, model))
    before, after = fits(rule, ("bernoulli", "bernoulli"), optimizer="Adam", lr=0.03)
    assert after < before - 0.05


def test_a_run_with_a_model_for_noise_goes_on_bit_for_bit(tmp_path, monkeypatch):
    """From another folder too; the path that was given is relative."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, hm.RBM(6, 3, seed=5))

    def start(folder):
        rule = hm.NoiseContrastive(noise_ratio=2, noise="noise.safetensors")
        return train(rule=rule, out=folder, checkpoint_every=1e-9, keep=50, epochs=2)

    whole = start(tmp_path / "whole")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for stop in (0, 1, 4):
        start_in = tmp_path / str(stop)
        monkeypatch.chdir(tmp_path)
        start(start_in)
        monkeypatch.chdir(tmp_path / "elsewhere")
        back_to(start_in, stop)
        assert same(hm.resume(start_in, bits()), whole), stop


def test_a_run_keeps_its_noise_whatever_becomes_of_the_file(tmp_path):
    """Other parameters in the file change nothing, and other layers are refused."""
    path = saved(tmp_path, hm.RBM(6, 3, seed=5))

    def start(folder):
        return train(
            rule=hm.NoiseContrastive(noise=path), out=folder, checkpoint_every=1e-9, keep=50, epochs=2
        )

    whole = start(tmp_path / "whole")
    start(tmp_path / "cut")
    back_to(tmp_path / "cut", 4)
    saved(tmp_path, hm.RBM(6, 3, seed=6))
    assert same(hm.resume(tmp_path / "cut", bits()), whole)
    start(tmp_path / "other")
    back_to(tmp_path / "other", 4)
    saved(tmp_path, hm.RBM(6, 4))
    with pytest.raises(
        FileError, match=r"noise\.safetensors: it is of another model than the run began with"
    ):
        hm.resume(tmp_path / "other", bits())


# --- what is refused ----------------------------------------------------------------------------


def test_hidden_units_that_do_not_sum_out_are_refused():
    with pytest.raises(
        ArgumentError, match=r"^rule: got 'noise-contrastive', expected .*depend on each other"
    ):
        hm.NoiseContrastive().check(hm.BoltzmannMachine(4, 3))


def test_means_are_refused():
    data = hm.datasets.from_array(np.full((9, 4), 100, np.uint8), binarisation="none", levels=200)
    message = r"^data: got 0\.5 at row \d, column 0, expected states, since 'noise-contrastive' compares"
    with pytest.raises(DataError, match=message):
        hm.fit(hm.RBM(4, 3), data, hm.NoiseContrastive(), epochs=1)


@pytest.mark.parametrize("ratio", [0, -1, True, 1.5, "many"])
def test_a_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(ArgumentError, match=r"^noise_ratio: got "):
        hm.NoiseContrastive(noise_ratio=ratio)


def refused(model, path):
    """Return the message with which a fit refuses a model's noise, before it makes anything."""
    with pytest.raises((ArgumentError, FileError)) as caught:
        hm.fit(model, bits(columns=4), hm.NoiseContrastive(noise=path), epochs=1)
    return str(caught.value)


def test_noise_of_other_units_is_refused(tmp_path):
    path = saved(tmp_path, hm.RBM(5, 3))
    assert refused(hm.RBM(4, 3), path) == f"noise: got Bernoulli(5) in {path}, expected Bernoulli(4)"


def test_noise_whose_hidden_units_do_not_sum_out_is_refused(tmp_path):
    path = saved(tmp_path, hm.BoltzmannMachine(4, 3))
    assert refused(hm.RBM(4, 3), path).endswith(
        "expected a model whose hidden units sum out, not this boltzmann"
    )


def test_noise_of_no_density_is_refused(tmp_path):
    path = saved(tmp_path, hm.DBN([4, 3, 2]))
    assert refused(hm.RBM(4, 3), path).endswith("expected a model whose hidden units sum out, not this dbn")


def test_a_file_that_is_missing_is_named(tmp_path):
    assert refused(hm.RBM(4, 3), tmp_path / "none").startswith(f"{tmp_path / 'none'}: no such file")


def test_noise_whose_log_z_is_not_known_is_refused(tmp_path, monkeypatch):
    from harmonium.learning import _noise

    poor = dataclasses.replace(hm.log_partition(hm.RBM(4, 3)), trusted=False, reason="its chains are stuck")
    monkeypatch.setattr(_noise, "log_partition", lambda model: poor)
    message = refused(hm.RBM(4, 3), saved(tmp_path, hm.RBM(4, 3)))
    assert message.endswith("expected a model whose log Z is known, but its chains are stuck")


def test_a_model_in_place_of_its_file_is_refused():
    with pytest.raises(ArgumentError, match=r"^noise: got RBM.*, expected the path of a file$"):
        hm.NoiseContrastive(noise=hm.RBM(4, 3))
