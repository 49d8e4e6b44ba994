"""Penalties: exact zeros and bounds on couplings, sparse hidden units, and units left out by chance."""

from itertools import product

import numpy as np
import pytest
import torch
from _checks import centred, check_average, equal_batch, gradient, nothing, trainable
from _models import SUPPORT, rbm
from _runs import back_to, bits, equal, same, train

import harmonium as hm
from harmonium import Stream
from harmonium.cli._settings import option_keys, read, rule_keys
from harmonium.errors import ArgumentError
from harmonium.learning import RULES, Batch
from harmonium.learning._moment_rule import MomentRule
from harmonium.training._optimiser import Average, Optimisers
from harmonium.training._options import Options
from harmonium.training._penalties import Penalties

MOMENT = sorted(name for name, rule in RULES.items() if issubclass(rule, MomentRule))
DROPPING = sorted(name for name in MOMENT if "dropout" in RULES[name].model_fields)


def steps(model, lr=0.1, updates=5, optimizer="sgd", **options):
    """Take steps with random gradients; yield the parameters before and after the penalties, and the rate.

    What an optimiser keeps of gradients does not depend on where the parameters are, so that a second one
    tells where they are before the penalties.
    """
    penalised = Options(optimizer=optimizer, **options)
    parameters, penalties = trainable(model), Penalties(model, penalised)
    own = Optimisers({"model": parameters}, penalised, lr, model.project, penalties)
    plain = Optimisers({"model": parameters}, Options(optimizer=optimizer), lr, model.project)
    stream = Stream(3)
    for update in range(updates):
        start, factor = copied(parameters), 1 - update / updates
        for p in parameters.values():
            p.grad = stream.normal(1, p.numel(), p.dtype).view(p.shape)
        places = []
        for optimisers in (plain, own):
            with torch.no_grad():
                for key, p in parameters.items():
                    p.copy_(start[key])
            optimisers.set_rate(factor)
            optimisers.apply("model")
            places.append(copied(parameters))
        yield *places, lr * factor


def copied(parameters):
    """Return the values of parameters by name."""
    return {key: p.detach().clone() for key, p in parameters.items()}


# --- exact zeros --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "Adam"])
def test_l1_is_the_proximal_step(optimizer):
    """With the rate of the moment; biases are left alone."""
    model = hm.RBM(hm.Spin(7), 5, seed=2).double()
    with torch.no_grad():
        model.weight.mul_(20)
    zeros = 0
    for before, after, rate in steps(model, optimizer=optimizer, l1=0.8):
        w = before["weight"]
        torch.testing.assert_close(after["weight"], w.sign() * (w.abs() - 0.8 * rate).clamp(min=0))
        assert torch.equal(after["weight"] == 0, w.abs() <= 0.8 * rate)
        assert all(torch.equal(after[key], before[key]) for key in ("visible.bias", "hidden.bias"))
        zeros += int((after["weight"] == 0).sum())
    assert 0 < zeros < 5 * 35


def test_l1_shrinks_pairs_of_categorical_units_as_a_whole():
    """By the norm of their block, which leaves it in the zero-sum gauge."""
    model = hm.BoltzmannMachine(hm.Categorical(5, 3), seed=1).double()
    zeros = 0
    for before, after, rate in steps(model, l1=3.0):
        old, new = (x["visible_coupling"].view(5, 3, 5, 3) for x in (before, after))
        norm = old.square().sum((1, 3), keepdim=True).sqrt()
        expected = torch.where(norm > 3 * rate, old * (norm - 3 * rate) / norm.clamp(min=1e-9), 0)
        torch.testing.assert_close(new, expected)
        assert torch.equal((new == 0).all(3).all(1), norm[:, 0, :, 0] <= 3 * rate)
        assert new.sum(1).abs().max() < 1e-12
        assert new.sum(3).abs().max() < 1e-12
        zeros += int((new == 0).all(3).all(1).triu(1).sum())
    assert 0 < zeros < 5 * 10


def test_zeros_outlive_the_average():
    parameter = torch.nn.Parameter(torch.ones(3))
    average, plain = Average({"p": parameter}, 0.5, {"p"}), Average({"p": parameter}, 0.5)
    values = [[1, 1, 0], [2, 0, 0], [3, 2, 1], [2, 0, 0], [4, 0, 2]]
    for row in values:
        with torch.no_grad():
            parameter.copy_(torch.tensor(row))
        average.update()
        plain.update()
        average.swap()
        assert torch.equal(parameter == 0, torch.tensor(row) == 0)
        average.swap()
        assert torch.equal(parameter.detach(), torch.tensor(row).float())
    assert torch.equal(average.values["p"], plain.values["p"])
    assert average.values["p"][1] > 0


def test_a_fit_ends_with_zeros_that_are_exact():
    """The averaged couplings are zero where the last ones are."""
    x = bits(200)
    options = {"epochs": 20, "lr": 0.3, "batch_size": 50, "init": "pca"}
    none, last, mean = (
        train(x, l1=p, averaging=a, **options).model for p, a in ((0, 0), (0.005, 0), (0.005, 1))
    )
    assert int((none.weight == 0).sum()) == 0
    assert 0 < int((last.weight == 0).sum()) < last.weight.numel()
    assert torch.equal(mean.weight == 0, last.weight == 0)
    assert not torch.equal(mean.weight, last.weight)
    assert int((last.visible.bias == 0).sum()) == 0


# --- bounded norms ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "most"),
    [(hm.Bernoulli(5), 0.5), (hm.Categorical(4, 3), 1.0)],
    ids=["bernoulli", "categorical"],
)
def test_max_norm_holds_after_each_step(hidden, most):
    """All the columns of a unit count; a unit within the bound is left alone, and no direction changes."""
    model = hm.RBM(6, hidden, seed=2).double()
    columns, bounded = hidden.width // hidden.size, 0
    for before, after, _ in steps(model, lr=0.2, max_norm=most):
        old, new = (x["weight"].view(6, hidden.size, columns) for x in (before, after))
        norm = old.square().sum((0, 2), keepdim=True).sqrt()
        torch.testing.assert_close(new, old * (most / norm).clamp(max=1))
        assert new.square().sum((0, 2)).sqrt().max() <= most * (1 + 1e-12)
        free = norm.flatten() <= most
        assert torch.equal(new[:, free], old[:, free])
        assert all(torch.equal(after[key], before[key]) for key in ("visible.bias", "hidden.bias"))
        bounded += int((~free).sum())
    assert 0 < bounded < 5 * hidden.size


def test_max_norm_leaves_couplings_within_a_layer_alone():
    model = hm.BoltzmannMachine(4, 3, hidden_edges=False).double()
    for before, after, _ in steps(model, lr=5.0, max_norm=0.1):
        assert torch.equal(after["visible_coupling"], before["visible_coupling"])
        assert after["weight"].norm(dim=0).max() < 0.1 + 1e-9


def test_penalties_of_frozen_couplings_are_none():
    model = hm.RBM(6, 4)
    model.weight.requires_grad_(False)
    kept = model.weight.clone()
    train(model=model, l1=1.0, max_norm=1e-3)
    assert torch.equal(model.weight, kept)


# --- sparse units -------------------------------------------------------------------------------


def rule_of(kind, **options):
    """Return a moment rule with few chains, and no weights that depend on its last gradient."""
    usual = {k: v for k, v in {"chains": 7, "fast_rate": 0.0}.items() if k in RULES[kind].model_fields}
    return RULES[kind](**{**usual, **options})


@pytest.mark.parametrize("centring", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("kind", MOMENT)
def test_the_pull_has_its_closed_form(kind, centring):
    """It is the difference between two updates that differ in the cost alone, centred where they are."""
    pair = ("bernoulli", "spin")
    rule, model, twin = rule_of(kind, centred=centring), rbm(pair), rbm(pair)
    settings = {"sparsity_target": -0.6, "sparsity_rate": 0.3}
    with_cost, without = (rule_of(kind, centred=centring, **settings, sparsity_cost=c) for c in (0.7, 0.0))
    v = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (11, 3)).astype(float))
    w = torch.linspace(0, 2, 11, dtype=torch.float64) / 11
    batch, streams = Batch(v, w, torch.arange(11)), (Stream(1), Stream(1))
    one, other = with_cost.init(model, streams[0]), without.init(twin, streams[1])
    mean = torch.tanh(model.hidden.bias.detach())
    assert torch.equal(one["activity.hidden"], mean)
    assert "activity.hidden" not in rule.init(model, Stream(1))
    for _ in range(3):
        one, _ = with_cost.update(model, batch, one, streams[0], nothing)
        other, _ = without.update(twin, batch, other, streams[1], nothing)
        seen = torch.tanh(model.hidden.bias + v @ model.weight).detach()
        mean = 0.7 * mean + 0.3 * (w @ seen)
        torch.testing.assert_close(one["activity.hidden"], mean)
        excess = 0.7 * (mean + 0.6)
        expected = {
            "weight": torch.outer(w @ v, excess),
            "visible.bias": torch.zeros(3, dtype=torch.float64),
            "hidden.bias": excess,
        }
        if centring:
            offsets = {k.removeprefix("offset."): x for k, x in one.items() if k.startswith("offset.")}
            expected = centred(model, expected, offsets)
        for key, p in trainable(model).items():
            torch.testing.assert_close(p.grad - trainable(twin)[key].grad, expected[key])


@pytest.mark.parametrize(
    ("hidden", "target", "width"),
    [
        (hm.Bernoulli(4), 0.1, 0.03),
        (hm.Spin(4), -0.7, 0.06),
        (hm.ReLU(4), 0.3, 0.05),
        (hm.Gaussian(4), 1.0, 0.1),
    ],
    ids=["bernoulli", "spin", "relu", "gaussian"],
)
def test_activity_comes_to_its_target(hidden, target, width):
    x = bits(200)
    means = {}
    for cost in (0.0, 5.0):
        rule = hm.PCD(chains=50, sparsity_target=target, sparsity_cost=cost)
        model = hm.RBM(6, hm.units.unit_from_config(hidden.config()))
        train(x, model, rule, epochs=15, lr=0.1, batch_size=10)
        means[cost] = model.encode(x).detach().mean(0)
    assert (means[5.0] - target).abs().max() < width
    assert (means[0.0] - target).abs().min() > 2 * width


def test_activity_is_that_of_the_units_that_are_present():
    """Absent units would else seem to be less active than they are."""
    model = rbm(("bernoulli", "bernoulli"))
    v = torch.ones(4000, 3, dtype=torch.float64)
    rule = hm.CD(dropout=0.6, sparsity_target=0.5, sparsity_rate=1.0)
    state, _ = rule.update(model, equal_batch(v), rule.init(model, Stream(0)), Stream(0), nothing)
    torch.testing.assert_close(state["activity.hidden"], model.encode(v[:1])[0].detach())


# --- units that are left out --------------------------------------------------------------------


class Whole(hm.PCD):
    """PCD as it is without any thought of dropout."""

    positive = MomentRule.positive

    def negative(self, model, data, fields, state, stream):
        chain = {block: state[f"chain.{block}"] for block in model.blocks()}
        sample, chain = self.walk(model, chain, stream)
        return sample, {f"chain.{block}": x for block, x in chain.items()}


def test_no_dropout_is_as_if_there_were_none():
    options = {"chains": 10, "steps": 2}
    assert same(train(rule=hm.PCD(**options, dropout=0.0)), train(rule=Whole(**options)))
    assert not same(train(rule=hm.PCD(**options, dropout=0.1)), train(rule=Whole(**options)))


class Submachine:
    """A machine with some hidden units left out, by enumeration.

    Arguments:
        model: A small machine of discrete units.
        present: Which hidden units are there.
    """

    def __init__(self, model, present):
        self.v = np.array(
            list(product(np.array(SUPPORT[model.visible.kind])[:, 0], repeat=model.visible.size))
        )
        values = np.array(SUPPORT[model.hidden.kind])[:, 0]
        self.h = np.array(list(product(*(values if there else [0.0] for there in present))))
        w, b, c = (p.detach().numpy() for p in (model.weight, model.visible.bias, model.hidden.bias))
        joint = np.exp(self.v @ w @ self.h.T + (self.v @ b)[:, None] + self.h @ c)
        self.up = joint / joint.sum(1, keepdims=True)
        self.kernel = self.up @ (joint / joint.sum(0)).T
        self.p = joint.sum(1) / joint.sum()

    def moments(self, p):
        """Return the mean of minus the energy's gradient over rows of some probabilities."""
        h = self.up @ self.h
        return np.concatenate([((self.v * p[:, None]).T @ h).ravel(), p @ self.v, p @ h])


def expected_gradient(model, data, dropout, after):
    """Return the mean over masks of the gradient with the visible probabilities ``after`` for the model."""
    total = 0.0
    for present in product((0, 1), repeat=model.hidden.size):
        chance = np.prod([1 - dropout if there else dropout for there in present])
        machine = Submachine(model, present)
        total = total + chance * (machine.moments(after(machine)) - machine.moments(data))
    return total


PAIRS = [("bernoulli", "bernoulli"), ("bernoulli", "spin"), ("spin", "bernoulli")]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_the_mean_gradient_is_that_over_all_masks(pair):
    """Each row and its chain with one mask in contrastive divergence."""
    model, dropout = rbm(pair, scale=1.5), 0.3
    machine = Submachine(model, (1, 1))
    data = np.random.default_rng(0).dirichlet(np.ones(8))
    many = torch.from_numpy(np.repeat(machine.v, 50, 0))
    batch = Batch(many, torch.from_numpy(np.repeat(data / 50, 50)), torch.arange(len(many)))
    for n in (1, 2):
        rule, stream, seen = hm.CD(steps=n, dropout=dropout, centred=False), Stream(n), []
        for _ in range(60):
            rule.update(model, batch, {}, stream, nothing)
            seen.append(gradient(model))

        def walked(machine, n=n):
            return data @ np.linalg.matrix_power(machine.kernel, n)

        check_average(np.array(seen), expected_gradient(model, data, dropout, walked))


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_persistent_chains_follow_their_masks(pair):
    """In enough steps each chain comes to the machine of its mask, whatever the last one was."""
    model, dropout = rbm(pair, scale=0.6), 0.4
    data = np.random.default_rng(0).dirichlet(np.ones(8))
    machine = Submachine(model, (1, 1))
    many = torch.from_numpy(np.repeat(machine.v, 50, 0))
    batch = Batch(many, torch.from_numpy(np.repeat(data / 50, 50)), torch.arange(len(many)))
    rule, stream, seen = hm.PCD(steps=12, chains=400, dropout=dropout, centred=False), Stream(2), []
    state = rule.init(model, stream)
    for _ in range(40):
        state, _ = rule.update(model, batch, state, stream, nothing)
        assert state.keys() == {"chain.visible", "chain.hidden"}
        seen.append(gradient(model))
    check_average(np.array(seen), expected_gradient(model, data, dropout, lambda machine: machine.p))


@pytest.mark.parametrize("kind", DROPPING)
def test_one_update_leaves_out_the_stated_share(kind):
    model = hm.RBM(6, 50)
    rule, stream = rule_of(kind, dropout=0.25), Stream(0)
    masks = rule.present(model, 400, stream)["hidden"]
    assert set(masks.unique().tolist()) == {0, 1}
    share = float(1 - masks.mean())
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / masks.numel())
    again = rule.present(model, 100, Stream(0))["hidden"]
    assert torch.equal(again, masks[:100])


def test_categorical_units_are_left_out_as_a_whole():
    rule = hm.CD(dropout=0.5)
    masks = rule.present(hm.RBM(3, hm.Categorical(4, 3)), 30, Stream(0))["hidden"].view(30, 4, 3)
    assert torch.equal(masks.min(2).values, masks.max(2).values)
    assert 0 < masks.mean() < 1


# --- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DROPPING)
def test_a_run_with_all_of_it_goes_on_bit_for_bit(tmp_path, kind):
    options = {"l1": 0.001, "max_norm": 0.5, "weight_decay": 0.01, "init": "pca", "lr": 0.3}
    run = {"checkpoint_every": 1e-9, "keep": 100, **options}
    rule = rule_of(kind, sparsity_target=0.2, sparsity_cost=1.0, dropout=0.3)
    whole = train(rule=rule, out=tmp_path / "run", **run)
    for updates in (0, 1, 3, 7):
        folder = tmp_path / str(updates)
        train(rule=rule, out=folder, **run)
        back_to(folder, updates)
        assert same(hm.resume(folder, bits()), whole)
    assert equal(hm.load(tmp_path / "run" / "model.safetensors").state_dict(), whole.model.state_dict())


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Options(l1=-0.1), "^l1: got -0.1, expected greater than or equal to 0"),
        (lambda: Options(max_norm=0), "^max_norm: got 0, expected greater than 0"),
        (lambda: hm.PCD(dropout=1), "^dropout: got 1, expected less than 1"),
        (lambda: hm.CD(dropout=-0.1), "^dropout: got -0.1, expected greater than or equal to 0"),
        (lambda: hm.CD(dropout=float("nan")), "^dropout: got nan"),
        (lambda: hm.CD(dropout=True), "^dropout: got True"),
        (lambda: hm.PCD(sparsity_cost=-1), "^sparsity_cost: got -1"),
        (lambda: hm.PCD(sparsity_rate=0), "^sparsity_rate: got 0"),
        (lambda: hm.PCD(sparsity_target="low"), "^sparsity_target: got 'low'"),
        (lambda: hm.ExactLikelihood(dropout=0.1), "^dropout: unknown"),
        (
            lambda: train(max_norm=1.0, model=alone()),
            "^max_norm: got 1.0, expected None, as the model has no",
        ),
        (
            lambda: train(rule=hm.PCD(dropout=0.1), model=alone()),
            "^dropout: got 0.1, expected 0, as the model",
        ),
        (lambda: train(rule=hm.PCD(dropout=0.1), model=coupled()), "^dropout: got 0.1, .*coupled among"),
        (
            lambda: train(rule=hm.CD(sparsity_target=0.1), model=alone()),
            "^sparsity_target: got 0.1, .*no hidden",
        ),
        (
            lambda: train(rule=hm.CD(sparsity_target=0.0)),
            "^sparsity_target: got 0.0, .*bernoulli units can have",
        ),
        (
            lambda: train(rule=hm.TAP(sparsity_target=1.5)),
            "^sparsity_target: got 1.5, .*bernoulli units can have",
        ),
        (
            lambda: train(rule=hm.CD(sparsity_target=0.1), model=potts()),
            "^sparsity_target: .*categorical units",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def alone():
    """Return a machine without hidden units."""
    return hm.BoltzmannMachine(6)


def coupled():
    """Return a machine whose hidden units are coupled among each other."""
    return hm.BoltzmannMachine(6, 3, visible_edges=False)


def potts():
    """Return a machine with categorical hidden units."""
    return hm.RBM(6, hm.Categorical(3, 2))


def test_the_command_line_has_all_keys():
    pairs = ["l1=0.1", "max_norm=2", "weight_decay=0.01", "init=pca"]
    assert read(pairs, option_keys()) == {"l1": 0.1, "max_norm": 2, "weight_decay": 0.01, "init": "pca"}
    values = {"sparsity_target": 0.1, "sparsity_cost": 2, "sparsity_rate": 0.5, "dropout": 0.3}
    keys = rule_keys(*RULES)
    assert read([f"rule.{k}={v}" for k, v in values.items()], keys) == {
        f"rule.{k}": v for k, v in values.items()
    }
    assert keys["rule.dropout"].meaning.endswith(f"({', '.join(n for n in RULES if n in DROPPING)})")
