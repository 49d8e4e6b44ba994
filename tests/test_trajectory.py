"""Trajectory tempering: rungs keep their distributions, log Z is right while learning, modes are weighed.

Chains of all rungs start exactly in the marginals of their models, independently, and must still be so after
1, 4 and 16 updates that leave the parameters as they are.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from _checks import check_batches, check_gradient, check_joint, check_mean, equal_batch, nothing, require
from _models import PAIRS, Exact, name, rbm
from _runs import back_to, bits, same, train
from safetensors.torch import load, save

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError
from harmonium.learning import _ladder, _trajectory
from harmonium.learning._trajectory import TrajectoryTempering
from harmonium.likelihood._bridge import bennett

ALL = pytest.mark.parametrize("pair", PAIRS, ids=name)
BITS, GAUSSIAN = ("bernoulli", "bernoulli"), ("gaussian", "spin")
SHARES = (0.4, 0.7)


def rule_of(**options):
    """Return the rule with settings that are not the defaults."""
    return TrajectoryTempering(**{"chains": 37, "append_below": 1e-6, "refuse_below": 0, **options})


def machine(pair, **options):
    """Return a machine that learns the precision where it can."""
    return rbm(pair, **{"learn_precision": pair[0] == "gaussian", **options})


def data(model, rows=31, seed=5):
    """Return rows of the kind that the visible units take, from another machine."""
    other = rbm((model.visible.kind, "spin"), (model.visible.size, 2), seed=seed)
    return Exact(other).sample(rows, np.random.default_rng(seed))["visible"]


def updates(rule, model, state, count, seed=0, apply=nothing):
    """Return the state after some updates, and the metrics of the last."""
    stream, batch, metrics = Stream(seed, "updates"), equal_batch(data(model)), {}
    for _ in range(count):
        state, metrics = rule.update(model, batch, state, stream, apply)
    return state, metrics


def exact_state(rule, model, seed=0):
    """Return models from the lowest rung up to the model itself, and a state with exact chains of each."""
    generator, stream = np.random.default_rng(seed), Stream(seed, "exact")
    ladder = _ladder.base(model, rule.chains, stream)
    lowest = {key: ladder[f"parameter.{key}"][0] for key, _ in model.named_parameters()}
    models = [_ladder._between(model, lowest, share) for share in (0.0, *SHARES, 1.0)]
    chains = [Exact(each).sample(rule.chains, generator)["visible"] for each in models]
    ladder["visible"][0] = chains[0]
    guess = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        contrasts = [
            _ladder.compare(a, b, v, w)
            for (a, b), (v, w) in zip(pairwise(models), pairwise(chains), strict=True)
        ]
        for upper, w, contrast in zip(models[1:-1], chains[1:-1], contrasts, strict=False):
            _ladder.append(upper, ladder, w, contrast, _ladder.refine(contrast, guess))
        kept = _trajectory._kept(ladder, chains[-1], contrasts[-1], _ladder.refine(contrasts[-1], guess))
    return models, kept


def check_rungs(pair, count, rungs=3, n=2500, seed=0):
    """Check that exact chains of all rungs, and of the model, are exact after some updates.

    Hidden states are drawn to them by their rung's model. What neighbouring rungs say of the difference
    between them must stay uncorrelated.
    """
    model, rule = rbm(pair, scale=1.2), rule_of(chains=n, rungs=rungs)
    models, state = exact_state(rule, model, seed)
    state, _ = updates(rule, model, state, count, seed)
    chains = [*state["ladder.visible"], state["chain.visible"]]
    stream = Stream(seed, "hidden")
    with torch.no_grad():
        for each, v in zip(models, chains, strict=True):
            hidden = each.hidden.sample_(each.field("hidden", {"visible": v}), stream)
            check_joint({"visible": v, "hidden": hidden}, Exact(each))
        for (a, b), (v, w) in zip(pairwise(models), pairwise(chains), strict=True):
            d = _ladder.compare(a, b, v, w).rise
            product = (d[0] - d[0].mean()) * (d[1] - d[1].mean())
            check_mean(product.numpy(), 0.0, 4.5)


# --- chains and gradients -----------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 16])
@ALL
def test_no_rung_drifts(pair, count):
    check_rungs(pair, count)


@pytest.mark.parametrize("rungs", [1, 2])
def test_no_rung_drifts_where_rungs_take_turns(rungs):
    check_rungs(BITS, 7, rungs)


@ALL
@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
def test_gradient_is_that_of_the_exact_likelihood(pair, centred):
    model = machine(pair)
    check_gradient(rule_of(centred=centred, offset_rate=0.3), model, equal_batch(data(model)))


def test_each_batch_is_divided_by_its_own_size():
    check_batches(rule_of(), machine(("bernoulli", "spin")), (torch.arange(82) % 5).double())


@ALL
def test_hidden_units_stand_with_their_expectations(pair):
    """Given the visible states that the model's chains have after the exchange."""
    model, rule = machine(pair), rule_of()
    _, state = exact_state(rule, model)
    sample, kept = rule.negative(model, {}, {}, state, Stream(0))
    assert torch.equal(sample["visible"], kept["chain.visible"])
    torch.testing.assert_close(sample["hidden"], model.encode(sample["visible"]).detach())
    with torch.no_grad():
        last = _ladder.rung(model, {k.removeprefix("ladder."): x for k, x in kept.items()}, -1)
        both = torch.cat((kept["ladder.visible"][-1], kept["chain.visible"]))
        torch.testing.assert_close(kept["top.free_energy"][:2].flatten(), last.free_energy(both))
        torch.testing.assert_close(kept["top.free_energy"][2], model.free_energy(kept["chain.visible"]))


def test_the_lowest_rung_is_independent_units_with_the_base_rates():
    model = machine(("bernoulli", "spin"))
    model.base_rates.copy_(torch.tensor([0.2, 0.5, 0.9]))
    ladder = _ladder.base(model, 5000, Stream(0))
    lowest = _ladder.rung(model, ladder, 0)
    assert not lowest.weight.any()
    assert not lowest.hidden.bias.any()
    check_mean(ladder["visible"][0].numpy(), [0.2, 0.5, 0.9])
    np.testing.assert_allclose(ladder["log_base"].item(), Exact(lowest).log_partition)
    ones = torch.ones(5000, 3, dtype=torch.float64)
    with torch.no_grad():
        check_mean(_ladder.sweep(lowest, ones, Stream(1)).numpy(), [0.2, 0.5, 0.9])


# --- log Z --------------------------------------------------------------------------------------


def check_log_partition(pair, count=20, chains=400):
    """Check log Z of a model that was not learnt here against enumeration, within four errors."""
    model = machine(pair, scale=1.5)
    rule = rule_of(chains=chains, rungs=3)
    _, metrics = updates(rule, model, rule.init(model, Stream(0)), count)
    error = metrics["log_partition_error"].item()
    require(error < 0.1, f"the error {error:.3f} is too large to tell anything")
    away = abs(metrics["log_partition"].item() - Exact(model).log_partition) / error
    require(away < 4, f"log Z is {away:.1f} standard errors away")


@ALL
def test_log_partition_of_a_model_from_elsewhere(pair):
    check_log_partition(pair)


@pytest.mark.parametrize("hidden", [None, 3])
def test_log_partition_with_coupled_visible_units(hidden):
    model = hm.BoltzmannMachine(6, hidden, **({} if hidden is None else {"hidden_edges": False})).double()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(0.5 * Stream(i).normal(1, parameter.numel(), torch.float64).view_as(parameter))
        for coupling in model.couplings():
            mask = model.mask(coupling)
            if mask is not None:
                model.get_parameter(coupling.name).mul_(mask)
    rule, stream = rule_of(chains=400), Stream(0)
    state = rule.init(model, stream)
    for _ in range(10):
        state, metrics = rule.update(model, equal_batch(state["chain.visible"][:5]), state, stream, nothing)
    away = metrics["log_partition"] - hm.log_partition(model, "exact").value
    assert abs(away) < 4 * metrics["log_partition_error"] < 0.4


def test_log_partition_has_the_error_that_it_states():
    """Over seeds its deviations from the exact value, in those errors, have mean 0 and deviation 1."""
    model, rule, z = machine(BITS, scale=1.5), rule_of(chains=60), []
    exact = Exact(model).log_partition
    for seed in range(30):
        _, metrics = updates(rule, model, rule.init(model, Stream(seed, "init")), 3, seed)
        z.append((metrics["log_partition"].item() - exact) / metrics["log_partition_error"].item())
    check_mean(np.array(z)[:, None], 0.0)
    assert 0.65 < np.std(z) < 1.4


def test_the_ratio_of_neighbours_is_bennetts():
    model, rule = machine(BITS), rule_of(chains=50)
    models, state = exact_state(rule, model)
    with torch.no_grad():
        contrast = _ladder.compare(models[2], models[3], state["ladder.visible"][2], state["chain.visible"])
        shift = torch.zeros((), dtype=torch.float64)
        for _ in range(20):
            shift = _ladder.refine(contrast, shift)
    d = contrast.rise
    assert shift.item() == pytest.approx(bennett(d[0], -d[1])[0], abs=1e-9)


def clusters(rows=1000, size=8, seed=0):
    """Return spins that nearly all agree, up in seven of ten rows."""
    stream = Stream(seed, "clusters")
    sign = torch.where(torch.arange(rows) % 10 < 7, 1.0, -1.0)[:, None]
    flip = stream.uniform(rows, size) < 0.03
    return torch.where(flip, -sign, sign)[stream.permutation(rows)]


def test_log_partition_while_the_model_learns():
    """Of the parameters that each update begins with, in every tenth update."""
    seen = []

    class Watched(TrajectoryTempering):
        def update(self, model, batch, state, stream, apply):
            exact = Exact(model).log_partition
            state, metrics = super().update(model, batch, state, stream, apply)
            away = metrics["log_partition"].item() - exact
            seen.append((away / metrics["log_partition_error"].item(), metrics["rungs"].item()))
            return state, metrics

    hm.fit(hm.RBM(hm.Spin(8), hm.Spin(2)), clusters(), Watched(chains=200), epochs=20, lr=0.05, seed=1)
    z, rungs = np.array(seen)[::10].T
    assert np.abs(z).max() < 4
    assert rungs[0] == 1
    assert rungs[-1] > 2


# --- modes --------------------------------------------------------------------------------------


def share_up(model):
    """Return the exact probability that most of the visible spins are up; ties count by half."""
    exact = Exact(model.double())
    return float(exact.p @ (0.5 * (1 + np.sign(exact.states.sum(1)))))


def check_clusters(rule):
    """Check that a learnt model has both clusters in the data's proportion, and its chains in the model's."""
    model = hm.RBM(hm.Spin(12), hm.Spin(2))
    history = hm.fit(model, clusters(size=12), rule, epochs=20, lr=0.05, seed=1)
    share = share_up(model)
    require(abs(share - 0.7) < 0.1, f"the model has {share:.3g} of its states up, not 0.7")
    check_mean(0.5 * (1 + history.chains.sum(1).sign().double().numpy()), share)


def test_clusters_are_weighed_where_pcd_does_not():
    check_clusters(TrajectoryTempering(chains=200))
    with pytest.raises(AssertionError, match="of its states up"):
        check_clusters(hm.PCD(chains=200))


# --- rungs and steps ----------------------------------------------------------------------------


def test_the_model_becomes_a_rung_when_it_is_far_from_the_last():
    model = machine(("bernoulli", "spin"))
    _, state = exact_state(rule_of(), model)
    held = {key: x.clone() for key, x in state.items()}
    still, metrics = updates(rule_of(append_below=0.01), model, state, 1)
    assert len(still["ladder.visible"]) == metrics["rungs"] == 3
    assert metrics["swap_rate"] > 0.1
    grown, metrics = updates(rule_of(append_below=0.999), model, held, 1)
    assert len(grown["ladder.visible"]) == metrics["rungs"] == 4
    for key, parameter in model.named_parameters():
        assert torch.equal(grown[f"ladder.parameter.{key}"][-1], parameter)
    assert torch.equal(grown["ladder.visible"][-1], grown["chain.visible"])
    assert len(grown["ladder.shift"]) == 3
    _, metrics = updates(rule_of(append_below=0.01), model, grown, 1)
    assert metrics["swap_rate"] == 1


def last_of(model, state):
    """Return the model of the last rung."""
    return _ladder.rung(model, {key.removeprefix("ladder."): x for key, x in state.items()}, -1)


def scaled(before, after, share, model):
    """Return a model with parameters some way between two."""
    return _ladder._with(model, {key: torch.lerp(before[key], after[key], share) for key in before})


def naive_rate(lower, old, new, v, w):
    """Return a new model's swap rate by a loop over pairs, with states of the old one reweighted."""
    with torch.no_grad():
        change = (old.free_energy(w) - new.free_energy(w)).numpy()
        ratio = np.exp(change - change.max())
        d = [(lower.free_energy(x) - new.free_energy(x)).numpy() for x in (v, w)]
    ratio = ratio / ratio.sum()
    return sum(p * np.exp(min(0, a - b)) / len(v) for a in d[0] for b, p in zip(d[1], ratio, strict=True))


def test_the_predicted_rate_is_that_of_exact_chains_of_the_new_model():
    """Of a model and its chains that go a step away from the last rung."""
    model = machine(BITS)
    rule = rule_of(chains=1500)
    models, state = exact_state(rule, model)
    lower, old = models[2:4]
    new = scaled(dict(lower.named_parameters()), dict(old.named_parameters()), 1.6, model)
    v, w = state["ladder.visible"][2], state["chain.visible"]
    fresh = Exact(new).sample(1500, np.random.default_rng(7))["visible"]
    with torch.no_grad():
        (nv, nw), (lv, lw) = (m.free_energy(torch.cat((v, w))).view(2, -1) for m in (new, lower))
        got = _ladder.predict(lv - nv, lw - nw, old.free_energy(w) - nw).item()
        expected = _ladder.compare(lower, new, v, fresh).chance.numpy()
    check_mean(expected, got, 5.0)
    assert abs(got - 1) > 0.1


def check_steps():
    """Check that steps are halved until the swap rate is high enough, and no further."""
    rule, shares = rule_of(chains=200, refuse_below=0.3, append_below=0.5), []
    for size in (0.01, 2.0, 20.0, 1e6):
        model = machine(BITS, sizes=(12, 8), scale=0.3)
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        after = {}

        def apply(group, model=model, after=after, size=size):
            with torch.no_grad():
                for key, p in model.named_parameters():
                    p += size * Stream(1, key).normal(1, p.numel(), p.dtype).view_as(p)
                    after[key] = p.detach().clone()

        state, metrics = updates(rule, model, rule.init(model, Stream(0)), 1, apply=apply)
        share = metrics["step"].item()
        shares.append(share)
        for key, p in model.named_parameters():
            torch.testing.assert_close(p.detach(), torch.lerp(before[key], after[key], share))
        if 0 < share < 1:
            both = torch.cat((state["ladder.visible"][-1], state["chain.visible"]))
            lower, rates = last_of(model, state), []
            for scale in (share, 2 * share):
                new = scaled(before, after, scale, model)
                rates.append(naive_rate(lower, scaled(before, after, 0.0, model), new, *both.chunk(2)))
            require(rates[1] < 0.3 <= rates[0], f"the step was halved at swap rates {rates}")
    require(shares[0] == 1 > shares[1] > shares[2] > shares[3] == 0, f"{shares} of the steps were taken")


def test_a_step_that_leads_too_far_is_halved():
    check_steps()


def test_metrics_are_those_of_the_ladder():
    model, rule = machine(BITS), rule_of()
    _, state = exact_state(rule, model)
    state, metrics = updates(rule, model, state, 5)
    rates = [*(state["ladder.chance"] / state["ladder.visits"]), state["top.swap_rate"]]
    assert metrics["least_swap_rate"] == min(rates)
    assert metrics["swap_rate"] == rates[-1]
    assert 0 < min(rates) <= max(rates) <= 1
    assert metrics["step"] == 1


# --- state --------------------------------------------------------------------------------------


def test_a_stored_state_goes_on_bit_for_bit():
    model, rule = machine(("bernoulli", "spin")), rule_of(append_below=0.9)
    state, _ = updates(rule, model, rule.init(model, Stream(1)), 3)
    stored = load(save({key: x.clone() for key, x in state.items()}))
    one, two = (updates(rule, model, each, 3, seed=2)[0] for each in (state, stored))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    rule = TrajectoryTempering(chains=10, append_below=0.95)
    options = {"rule": rule, "lr": 0.5, "checkpoint_every": 1e-9, "keep": 20}
    whole = train(out=tmp_path / "whole", **options)
    train(out=tmp_path / "cut", **options)
    back_to(tmp_path / "cut", 5)
    assert same(hm.resume(tmp_path / "cut", bits()), whole)
    assert whole.chains.shape == (10, 6)


def test_it_learns_digits():
    """Two epochs of small batches take it two nats per row beyond the base rates, with few hidden units."""
    digits, model = hm.datasets.load("digits"), hm.RBM(64, 12)
    hm.fit(model, digits, epochs=0)
    before = hm.log_likelihood(model, digits.test).mean
    hm.fit(model, digits, TrajectoryTempering(chains=50), epochs=2, batch_size=10, lr=0.4)
    assert hm.log_likelihood(model, digits.test, method="exact").mean > before + 2


def test_hidden_units_that_are_coupled_are_refused():
    with pytest.raises(ArgumentError, match=r"^rule: got 'trajectory-tempering', expected "):
        hm.fit(hm.BoltzmannMachine(6, 3), bits(), TrajectoryTempering(), epochs=1)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("chains", 1), ("rungs", 0), ("append_below", 1.0), ("append_below", 0), ("refuse_below", 0.5)],
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(ArgumentError, match=rf"^{setting}: got {value}, expected "):
        TrajectoryTempering(**{setting: value})


# --- faults -------------------------------------------------------------------------------------


def exchanged_by_one_model_alone(patch):
    """The upper rung's free energies decide, as if the lower one had none."""
    patch.setattr(
        _ladder.Contrast, "chance", property(lambda self: (self.upper[1] - self.upper[0]).clamp(max=0).exp())
    )


def exchanged_the_wrong_way(patch):
    """The difference has the other sign."""

    def wrong(self):
        d = self.rise
        return (d[1] - d[0]).clamp(max=0).exp()

    patch.setattr(_ladder.Contrast, "chance", property(wrong))


def always_exchanged(patch):
    """Every pair changes places."""
    patch.setattr(_ladder, "exchange", lambda contrast, stream: torch.ones_like(contrast.chance).bool())
    patch.setattr(_trajectory, "exchange", lambda contrast, stream: torch.ones_like(contrast.chance).bool())


def never_exchanged(patch):
    """All chains stay on their rungs."""
    patch.setattr(_ladder, "exchange", lambda contrast, stream: torch.zeros_like(contrast.chance).bool())
    patch.setattr(_trajectory, "exchange", lambda contrast, stream: torch.zeros_like(contrast.chance).bool())


def ratios_without_their_shift(patch):
    """Shares are those of the shift, and the sum forgets it."""
    total = _ladder.total

    def wrong(ladder, contrast, shift):
        value, error = total(ladder, contrast, shift)
        return value - ladder["shift"].sum() - shift, error

    patch.setattr(_trajectory, "total", wrong)


def steps_judged_by_present_chains(patch):
    """The new model's states are taken to be the old one's."""
    predict = _ladder.predict
    patch.setattr(_trajectory, "predict", lambda v, w, change: predict(v, w, torch.zeros_like(change)))


CHECKS = {
    "steps": check_steps,
    "rungs": lambda: check_rungs(BITS, 4),
    "rungs, Gaussian below": lambda: check_rungs(GAUSSIAN, 4),
    "log Z": lambda: check_log_partition(BITS),
    "clusters": lambda: check_clusters(TrajectoryTempering(chains=200)),
}
GUARDS = {
    exchanged_by_one_model_alone: ["rungs", "rungs, Gaussian below"],
    exchanged_the_wrong_way: ["rungs", "rungs, Gaussian below"],
    always_exchanged: ["rungs", "rungs, Gaussian below"],
    never_exchanged: ["clusters"],
    ratios_without_their_shift: ["log Z"],
    steps_judged_by_present_chains: ["steps"],
}


@pytest.mark.parametrize(
    ("fault", "label"), [(fault, label) for fault, labels in GUARDS.items() for label in labels]
)
def test_a_check_turns_red(monkeypatch, fault, label):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        CHECKS[label]()
