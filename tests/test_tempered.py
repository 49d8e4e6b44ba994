"""Tempered persistent chains: exact gradients, chains that stay in the model, and modes that PCD misses."""

import numpy as np
import pytest
import torch
from _checks import check_batches, check_gradient, check_joint, check_mean, equal_batch, gradient, nothing
from _models import PAIRS, Exact, name, rbm
from _runs import back_to, bits, same, train
from safetensors.torch import load, save

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError
from harmonium.samplers import Tempering

ALL = pytest.mark.parametrize("pair", PAIRS, ids=name)
LADDER = (1.0, 0.5, 0.0)


def rule_of(**options):
    """Return the rule with settings that are not the defaults."""
    return hm.TemperedPCD(**{"steps": 2, "chains": 37, "replicas": 3, "adapt": 0, **options})


def machine(pair, **options):
    """Return a machine that learns the precision where it can."""
    return rbm(pair, **{"learn_precision": pair[0] == "gaussian", **options})


def data(model, rows=31, seed=5):
    """Return rows of the kind that the visible units take, from another machine."""
    other = rbm((model.visible.kind, "spin"), (model.visible.size, 2), seed=seed)
    return Exact(other).sample(rows, np.random.default_rng(seed))["visible"]


def replicas_of(state):
    """Return the sampler's state in a rule's."""
    return {key.removeprefix("replica."): x for key, x in state.items() if key.startswith("replica.")}


# --- gradients and chains -----------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
def test_gradient_is_that_of_the_exact_likelihood(pair, centred):
    model = machine(pair)
    check_gradient(rule_of(centred=centred, offset_rate=0.3), model, equal_batch(data(model)))


def test_each_batch_is_divided_by_its_own_size():
    check_batches(rule_of(), machine(("bernoulli", "spin")), (torch.arange(82) % 5).double())


@ALL
def test_the_chains_stay_in_the_model(pair):
    """Of a model with its visible biases for base rates, whose replicas start exactly on their rungs."""
    model, n = rbm(pair, scale=1.2), 4000
    parts = []
    for beta in LADDER:
        other = rbm(pair, scale=1.2)
        with torch.no_grad():
            other.weight.mul_(beta)
            other.hidden.bias.mul_(beta)
        parts.append(Exact(other).sample(n, np.random.default_rng(int(10 * beta))))
    rule, stream = rule_of(chains=n, steps=1), Stream(0)
    state = rule.init(model, stream)
    for block in model.blocks():
        state[f"replica.{block}"] = torch.stack([part[block] for part in parts], 1).flatten(0, 1)
    for _ in range(3):
        state, _ = rule.update(model, equal_batch(data(model)), state, stream, nothing)
    chains = Tempering().chains(model, replicas_of(state))
    check_joint(chains, Exact(model))
    assert torch.equal(chains["visible"], state["chain.visible"])


@ALL
def test_the_model_is_what_is_at_the_top_of_the_ladder(pair):
    """And hidden units that are independent given the visible ones are there with their expectations."""
    model, rule, stream = machine(pair), rule_of(), Stream(0)
    state = rule.init(model, stream)
    state, _ = rule.update(model, equal_batch(data(model)), state, stream, nothing)
    sample, kept = rule.negative(model, {}, {}, state, stream)
    replicas = replicas_of(kept)
    expected = replicas["visible"].unflatten(0, (37, 3))[replicas["rung"].view(37, 3) == 0]
    assert torch.equal(sample["visible"], expected)
    torch.testing.assert_close(sample["hidden"], model.encode(sample["visible"]).detach())
    coupled = hm.BoltzmannMachine(3, 2).double()
    kept = rule.init(coupled, stream)
    for _ in range(3):
        sample, kept = rule.negative(coupled, {}, {}, kept, stream)
    assert set(sample["hidden"].unique().tolist()) == {0.0, 1.0}


def test_a_step_is_one_of_the_sampler():
    model, ends = machine(("bernoulli", "categorical")), []
    for steps, updates in ((1, 3), (3, 1)):
        rule, stream = rule_of(steps=steps), Stream(1)
        state = rule.init(model, stream)
        for _ in range(updates):
            state, _ = rule.update(model, equal_batch(data(model)), state, stream, nothing)
        ends.append(state)
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    sampler, stream = Tempering(3), Stream(1)
    chains = sampler.run(model, sampler.init(model, 37, stream), stream, 3)
    assert torch.equal(chains["visible"], ends[0]["replica.visible"])


# --- modes --------------------------------------------------------------------------------------


def shares_up(rule, updates=150):
    """Return each chain's share of updates in the mode that is up, of a model that stays as it is."""
    model = hm.RBM(hm.Spin(12), hm.Spin(3)).double()
    with torch.no_grad():
        model.weight.fill_(0.6)
        model.visible.bias.fill_(0.01)
    model.base_rates.zero_()
    stream, down = Stream(0), -torch.ones(1, 12, dtype=torch.float64)
    state = rule.init(model, stream)
    prefix = "chain." if "chain.hidden" in state else "replica."
    for block in model.blocks():
        state[prefix + block] = torch.full_like(state[prefix + block], -1)
    up = []
    for _ in range(updates):
        state, metrics = rule.update(model, equal_batch(down), state, stream, nothing)
        up.append(0.5 * (1 + state["chain.visible"].sum(1).sign()))
    exact = Exact(model)
    total = exact.states.sum(1)
    return (
        torch.stack(up[len(up) // 3 :]).mean(0).numpy(),
        float(exact.p @ (0.5 * (1 + np.sign(total)))),
        metrics,
    )


def test_chains_change_between_modes_where_those_of_pcd_do_not():
    up, share, _ = shares_up(hm.PCD(chains=50))
    assert up.max() == 0 < share
    up, share, metrics = shares_up(hm.TemperedPCD(chains=150, replicas=8, adapt=20))
    check_mean(up, share)
    assert up.std() / np.sqrt(len(up)) < 0.03
    assert metrics["least_swap_rate"] > 0.5
    assert metrics["round_trips"] > 1


# --- ladder, metrics and state ------------------------------------------------------------------


def test_the_ladder_moves_when_it_is_due():
    model, rule, stream = (
        machine(("bernoulli", "bernoulli"), scale=2),
        rule_of(adapt=3, replicas=5),
        Stream(0),
    )
    state, ladders = rule.init(model, stream), []
    for _ in range(9):
        state, metrics = rule.update(model, equal_batch(data(model)), state, stream, nothing)
        sampler, replicas = Tempering(), replicas_of(state)
        ladders.append(sampler.ladder(replicas))
        rates = sampler.swap_rates(replicas)
        assert metrics["swap_rate"] == rates.mean()
        assert metrics["least_swap_rate"] == rates.min()
    even = torch.linspace(1, 0, 5, dtype=torch.float64)
    assert [torch.equal(ladder, even) for ladder in ladders] == [True] * 3 + [False] * 6
    assert torch.equal(ladders[3], ladders[5])
    assert not torch.equal(ladders[5], ladders[6])


def test_the_ladder_ends_where_it_is_told():
    rule = rule_of(smallest_beta=0.4)
    state = rule.init(machine(("bernoulli", "bernoulli")), Stream(0))
    torch.testing.assert_close(Tempering().ladder(replicas_of(state)), torch.tensor([1, 0.7, 0.4]).double())


def test_a_stored_state_goes_on_bit_for_bit():
    model, rule, stream = machine(("bernoulli", "spin")), rule_of(adapt=2), Stream(1)
    state = rule.init(model, stream)
    for _ in range(3):
        state, _ = rule.update(model, equal_batch(data(model)), state, stream, nothing)
    other = Stream(1)
    other.load_state_dict(stream.state_dict())
    stored = load(save({key: x.clone() for key, x in state.items()}))
    ends, gradients = [], []
    for start, source in ((state, stream), (stored, other)):
        for _ in range(3):
            start, _ = rule.update(model, equal_batch(data(model)), start, source, nothing)
        ends.append(start)
        gradients.append(gradient(model).copy())
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    assert np.array_equal(*gradients)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    rule = hm.TemperedPCD(chains=10, replicas=4, adapt=3)
    whole = train(rule=rule, out=tmp_path / "whole", checkpoint_every=1e-9, keep=20)
    assert whole.chains.shape == (10, 6)
    train(rule=rule, out=tmp_path / "cut", checkpoint_every=1e-9, keep=20)
    back_to(tmp_path / "cut", 5)
    assert same(hm.resume(tmp_path / "cut", bits()), whole)


def test_it_learns_digits():
    """Two epochs of small batches take it two nats per row beyond the base rates, with few hidden units."""
    data, model = hm.datasets.load("digits"), hm.RBM(64, 12)
    hm.fit(model, data, epochs=0)
    before = hm.log_likelihood(model, data.test).mean
    rule = hm.TemperedPCD(chains=50, replicas=5)
    history = hm.fit(model, data, rule, epochs=2, batch_size=10, lr=0.4)
    after = hm.log_likelihood(model, data.test)
    assert after.method == "exact"
    assert after.mean > before + 2
    assert history.chains.shape == (50, 64)


@pytest.mark.parametrize(
    ("setting", "value"), [("replicas", 1), ("smallest_beta", 1.0), ("smallest_beta", -0.1), ("adapt", -1)]
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(ArgumentError, match=rf"^{setting}: got {value}, expected "):
        hm.TemperedPCD(**{setting: value})
