"""Fast persistent chains: what the chains see, what it costs, and that nobody else sees it."""

import numpy as np
import pytest
import torch
from _checks import check_gradient, check_joint, equal_batch, gradient, nothing, trainable
from _fits import PAIRS, fits
from _models import Exact, name, rbm
from _runs import back_to, bits, same, train

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError
from harmonium.learning import Batch
from harmonium.samplers import Gibbs

EXACT = [pair for pair in PAIRS if pair[1] != "relu"]
ALL = pytest.mark.parametrize("pair", EXACT, ids=name)


def machine(pair, **options):
    """Return a machine that learns the precision where it can."""
    return rbm(pair, **{"learn_precision": pair[0] == "gaussian", **options})


def data(model, n=21, seed=5):
    """Return rows of the kind that the visible units take."""
    return Exact(rbm((model.visible.kind, "spin"), (3, 2), seed=seed)).sample(n, np.random.default_rng(seed))[
        "visible"
    ]


def run(rule, model, updates=4, rate=0.1):
    """Return the state after some updates with plain gradient steps, and the gradients of each."""
    stream, seen = Stream(1), []
    state = rule.init(model, stream)

    def apply(group):
        seen.append(gradient(model).copy())
        with torch.no_grad():
            for p in trainable(model).values():
                p -= rate * p.grad

    for seed in range(updates):
        v = data(model, 12 + seed, seed)
        w = Stream(seed).uniform(len(v), 1, v.dtype)[:, 0]
        state, _ = rule.update(model, Batch(v, w / w.sum(), torch.arange(len(v))), state, stream, apply)
    return state, seen


def fast(state):
    """Return the fast weights by the name of the parameter."""
    return {key.removeprefix("fast."): x for key, x in state.items() if key.startswith("fast.")}


# --- gradients and chains -----------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
def test_gradient_is_that_of_the_exact_likelihood(pair, centred):
    """At the parameters themselves, with exact chains."""
    model = machine(pair)
    check_gradient(hm.FastPCD(chains=37, centred=centred, offset_rate=0.3), model, equal_batch(data(model)))


@ALL
def test_at_a_rate_of_zero_it_is_pcd_bit_for_bit(pair):
    results = []
    for rule in (hm.PCD(steps=2, chains=13), hm.FastPCD(steps=2, chains=13, fast_rate=0)):
        model = machine(pair)
        state, seen = run(rule, model)
        chains = {key: x for key, x in state.items() if key.startswith("chain.")}
        results.append((seen, dict(model.named_parameters()) | chains))
    (one, ours), (other, theirs) = results
    assert all(np.array_equal(*both) for both in zip(one, other, strict=True))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@ALL
def test_fast_weights_follow_the_gradient_and_decay(pair):
    model = machine(pair)
    state, seen = run(hm.FastPCD(chains=13, fast_rate=0.2, decay=0.7), model)
    weights = fast(state)
    assert weights.keys() == trainable(model).keys() - {"visible.log_precision"}
    expected = 0
    for g in seen:
        expected = 0.7 * expected - 0.2 * g
    place = 0
    for key, p in trainable(model).items():
        own = expected[place : place + p.numel()]
        place += p.numel()
        if key in weights:
            np.testing.assert_allclose(weights[key].flatten().numpy(), own, rtol=1e-12, atol=1e-14)


@ALL
def test_chains_are_those_of_the_sum_of_both_weights(pair):
    """They stay in that model, which is far from the one that is learnt."""
    model, both = machine(pair), machine(pair)
    n = 4000
    overlay = {
        key: 0.4 * Stream(2, key).normal(1, p.numel(), p.dtype).view_as(p)
        for key, p in trainable(model).items()
    }
    overlay.pop("visible.log_precision", None)
    with torch.no_grad():
        for key, x in overlay.items():
            both.get_parameter(key).add_(x)
    chains = Exact(both).sample(n, np.random.default_rng(0))
    start = {f"chain.{block}": x for block, x in chains.items()} | {
        f"fast.{k}": x for k, x in overlay.items()
    }
    rule = hm.FastPCD(steps=3, chains=n, centred=False)
    state, _ = rule.update(model, equal_batch(data(model)), start, Stream(3), nothing)
    left = {block: state[f"chain.{block}"] for block in model.blocks()}
    check_joint(left, Exact(both))
    with pytest.raises(AssertionError):
        check_joint(left, Exact(model))


# --- the parameters are left alone --------------------------------------------------------------


def test_parameters_keep_their_bits_and_their_memory(monkeypatch):
    """Also where sampling fails."""
    model = machine(("bernoulli", "spin"))
    rule, stream = hm.FastPCD(chains=5, fast_rate=1.0), Stream(0)
    state, _ = rule.update(model, equal_batch(data(model)), rule.init(model, stream), stream, nothing)
    before = {key: (p, p.data_ptr(), p.detach().clone()) for key, p in model.named_parameters()}
    seen = []

    def step(self, model, state, stream):
        seen.append(model.weight.detach().clone())
        raise KeyboardInterrupt

    def unchanged():
        return all(
            model.get_parameter(key) is p and p.data_ptr() == place and torch.equal(p, bits)
            for key, (p, place, bits) in before.items()
        )

    rule.update(model, equal_batch(data(model)), state, stream, nothing)
    assert unchanged()
    monkeypatch.setattr(Gibbs, "step", step)
    with pytest.raises(KeyboardInterrupt):
        rule.update(model, equal_batch(data(model)), state, stream, nothing)
    torch.testing.assert_close(seen[0], before["weight"][2] + state["fast.weight"])
    assert unchanged()


def test_a_frozen_parameter_has_no_fast_weights():
    model = machine(("bernoulli", "spin"))
    model.hidden.bias.requires_grad_(False)
    rule, stream = hm.FastPCD(), Stream(0)
    state, _ = rule.update(model, equal_batch(data(model)), rule.init(model, stream), stream, nothing)
    assert fast(state).keys() == {"weight", "visible.bias"}


def test_masked_couplings_stay_masked():
    model = hm.BoltzmannMachine(4, 3, visible_edges=[[0, 1], [1, 2]], hidden_edges=False)
    v = (Stream(1).uniform(30, 4) < 0.5).float()
    rule, stream = hm.FastPCD(chains=20), Stream(0)
    state = rule.init(model, stream)
    for _ in range(3):
        state, _ = rule.update(model, equal_batch(v), state, stream, nothing)
    weights = state["fast.visible_coupling"]
    assert weights[0, 1] != 0
    assert weights[2, 3] == weights[1, 0] == 0


# --- fits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_a_fit_lowers_the_exact_loss(pair):
    before, after = fits(hm.FastPCD(), pair)
    assert after < before - 0.2


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path, kind):
    def start(folder):
        if kind == "gaussian":
            x, model = hm.Stream(3).normal(40, 6), hm.RBM(hm.Gaussian(6, learn_precision=True), 4)
        else:
            x, model = bits(), hm.RBM(6, 4)
        return x, train(x, model, hm.FastPCD(chains=10), out=folder, checkpoint_every=1e-9, keep=50)

    _, whole = start(tmp_path / "whole")
    for stop in (1, 4, 7):
        x, _ = start(tmp_path / str(stop))
        back_to(tmp_path / str(stop), stop)
        assert same(hm.resume(tmp_path / str(stop), x), whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fast_rate": -0.1}, r"^fast_rate: got -0.1, expected greater than or equal to 0"),
        ({"fast_rate": True}, r"^fast_rate: got True, expected no truth value"),
        ({"decay": 1.5}, r"^decay: got 1.5, expected less than or equal to 1"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        hm.FastPCD(**options)
