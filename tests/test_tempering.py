"""Parallel tempering: each rung keeps its own distribution, and modes are reached that Gibbs sampling misses.

Replicas start exactly in the enumerated distributions of their rungs, independently, and must still be so
after 1, 4 and 16 steps. A rung's distribution is that of another machine, whose parameters are on the path
from the base rates to the model's own.
"""

import copy
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from _checks import check_frequencies, check_joint, check_mean, require
from _models import PAIRS, Exact, configurations, logsumexp, name, number, rbm, unit
from safetensors.torch import load, save

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError
from harmonium.samplers import Gibbs, Tempering, _tempering, base_biases

NAN = float("nan")
LADDER = (1.0, 0.6, 0.25, 0.0)
STRONG = 1.5
CLAMPS = {
    "bernoulli": [1.0, NAN, NAN],
    "spin": [NAN, -1.0, 1.0],
    "categorical": [0.0, 1.0, 0.0, *[NAN] * 6],
    "gaussian": [0.75, NAN, NAN],
}
ALL = pytest.mark.parametrize("pair", PAIRS, ids=name)


def machine(pair, known=True, **options):
    """Return a small machine with strong couplings, and base rates that are not those of its biases."""
    model = rbm(pair, **{"scale": STRONG, **options})
    if known:
        field = 0.7 * Stream(1, "base rates").normal(1, model.visible.width, model.dtype)[0]
        model.base_rates.copy_(model.visible.expected_statistics(field).detach())
    return model


def tempered(model, beta, target=1.0):
    """Return the machine of exp(-(1 - beta) E0 - beta target E)."""
    base, other, scale = base_biases(model), copy.deepcopy(model), beta * target
    with torch.no_grad():
        for coupling in model.couplings():
            other.get_parameter(coupling.name).mul_(scale)
        for block in model.blocks():
            layer = other.layer(block)
            layer.bias.copy_((1 - beta) * base[block] + scale * layer.bias)
            if layer.kind == "gaussian":
                layer.log_precision += np.log(1 - beta + scale)
            elif layer.kind == "relu":
                layer.precision *= 1 - beta + scale
    return other


def start(model, ladder, n, seed=0, clamp=None, target=1.0):
    """Return the exact distribution of each rung, and independent replicas of ``n`` chains drawn from it."""
    clamp = None if clamp is None else np.array(clamp)
    exacts = [Exact(tempered(model, beta, target), 1.0, clamp) for beta in ladder]
    generator = np.random.default_rng(seed)
    parts = [exact.sample(n, generator) for exact in exacts]
    blocks = {b: torch.stack([part[b] for part in parts], 1).flatten(0, 1) for b in ("visible", "hidden")}
    return exacts, {block: x.to(model.dtype) for block, x in blocks.items()}


def check_rungs(model, steps, ladder=LADDER, n=2500, seed=0, clamp=None, target=None):
    """Check that replicas which start exactly in the distributions of their rungs stay in them.

    Those of neighbouring rungs must also stay independent: products of what differs along the path, S, less
    its means, must average to zero.
    """
    exacts, blocks = start(model, ladder, n, seed, clamp, target or 1.0)
    sampler, stream = Tempering(ladder), Stream(seed, "rungs")
    held = None if clamp is None else torch.tensor(clamp, dtype=model.dtype).repeat(n, 1)
    beta = None if target is None else torch.full((n,), target, dtype=model.dtype)
    state = sampler.init(model, n, stream, clamp=held, beta=beta) | blocks
    state = sampler.run(model, state, stream, steps)
    base, rises = base_biases(model), []
    for rung, exact in enumerate(exacts):
        chains = sampler.chains(model, state, rung)
        check_joint(chains, exact)
        rows = state["rung"] == rung
        with torch.no_grad():
            rises.append(_tempering._rise(model, base, state, None)[rows].numpy())
    for upper, lower in pairwise(rises):
        check_mean((upper - upper.mean()) * (lower - lower.mean()), 0.0, 4.5)
    return sampler, state


# --- no drift -----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 4, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@ALL
def test_no_rung_drifts(pair, dtype, steps):
    check_rungs(machine(pair, dtype=dtype), steps)


@ALL
def test_no_rung_drifts_where_base_rates_are_not_known(pair):
    check_rungs(machine(pair, known=False), 4, (1.0, 0.5, 0.2))


@ALL
def test_no_rung_drifts_with_clamped_units(pair, path):
    """The free units follow the conditional distribution, on each rung its own."""
    check_rungs(machine(pair), 4, clamp=CLAMPS[pair[0]])


@pytest.mark.parametrize("target", [0.5, 1.6])
@ALL
def test_no_rung_drifts_where_the_top_is_tempered_too(pair, target):
    check_rungs(machine(pair), 4, target=target, clamp=CLAMPS[pair[0]])


@pytest.mark.parametrize("visible", [("spin", 4), ("categorical", 2)], ids=["spins", "codes"])
@pytest.mark.parametrize("hidden", [None, ("bernoulli", 3)], ids=["alone", "hidden"])
def test_no_rung_drifts_with_couplings_within_layers(visible, hidden):
    layers = [unit(*layer) for layer in (visible, hidden) if layer]
    model = hm.BoltzmannMachine(*layers).double()
    generator = np.random.default_rng(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(0.7 * generator.normal(size=parameter.shape)))
    n, sampler, stream = 4000, Tempering(LADDER), Stream(0)
    rows = list(product(*(configurations(model.layer(block)) for block in model.blocks())))
    states = {b: torch.from_numpy(np.array([row[i] for row in rows])) for i, b in enumerate(model.blocks())}
    with torch.no_grad():
        log_p = [-tempered(model, beta).energy(states).numpy() for beta in LADDER]
    laws = [np.exp(x - logsumexp(x)) for x in log_p]
    drawn = np.stack([generator.choice(len(p), n, p=p) for p in laws], 1).flatten()
    state = sampler.init(model, n, stream) | {block: x[drawn] for block, x in states.items()}
    state = sampler.run(model, state, stream, 5)
    every = np.concatenate([x.numpy() for x in states.values()], 1)
    for rung, p in enumerate(laws):
        chains = sampler.chains(model, state, rung)
        check_frequencies(number(np.concatenate([x.numpy() for x in chains.values()], 1), every), p)


def test_the_bottom_of_the_ladder_forgets_at_once():
    """At beta = 0 a step is an independent draw with the base rates, wherever it started."""
    model = machine(("bernoulli", "spin"))
    sampler, stream = Tempering((1.0, 0.0)), Stream(0)
    v = torch.ones(4000, 3, dtype=torch.float64)
    state = sampler.init(model, 4000, stream, {"visible": v})
    state["swaps"] += 1  # the round without pairs
    state, _ = sampler.step(model, state, stream)
    check_joint(sampler.chains(model, state, 1), Exact(tempered(model, 0.0)))


@ALL
def test_the_slope_of_the_path_is_the_difference_of_its_ends(pair):
    model = machine(pair)
    _, blocks = start(model, (0.5,), 50)
    field = model.field("hidden", blocks).detach()
    for target in (None, 1.7):
        state = {**blocks, "beta": torch.ones(50, dtype=torch.float64)}
        if target is not None:
            state["target"] = torch.full((50,), target, dtype=torch.float64)
        with torch.no_grad():
            expected = tempered(model, 0.0).energy(blocks) - tempered(model, 1.0, target or 1.0).energy(
                blocks
            )
            for known in (None, field):
                got = _tempering._rise(model, base_biases(model), state, known)
                torch.testing.assert_close(got, expected)


# --- exchanges ----------------------------------------------------------------------------------


def test_exchanges_are_in_detailed_balance():
    """Of two units in two states, by their exact probabilities on both rungs."""
    model, ladder = hm.BoltzmannMachine(hm.Bernoulli(1), visible_edges=False).double(), (1.0, 0.3)
    model.base_rates.fill_(0.2)
    with torch.no_grad():
        model.visible.bias.fill_(1.3)
    sampler, states = Tempering(ladder), torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    field = [(1 - beta) * np.log(0.2 / 0.8) + beta * 1.3 for beta in ladder]
    p = np.array([[1 / (1 + np.exp(f)), 1 / (1 + np.exp(-f))] for f in field])
    chance = np.zeros((2, 2))
    for x, y in product((0, 1), (0, 1)):
        n = 20000
        state = sampler.init(model, n, Stream(0)) | {"visible": states[[x, y]].repeat(n, 1)}
        with torch.no_grad():
            rise = _tempering._rise(model, base_biases(model), state, None)
        after = _tempering._swap(state, rise, Stream(1))
        chance[x, y] = after["acceptance"].mean()
        assert after["acceptance"].std() < 1e-12
        exchanged = (after["rung"].view(n, 2)[:, 0] == 1).double().numpy()
        if chance[x, y] < 1:
            check_mean(exchanged, chance[x, y])
        else:
            assert exchanged.all()
    flow = p[0][:, None] * p[1] * chance
    np.testing.assert_allclose(flow, flow.T, rtol=1e-12)
    assert chance[0, 0] == chance[1, 1] == 1
    assert chance.min() == pytest.approx(np.exp((1 - 0.3) * -(1.3 - np.log(0.2 / 0.8))))


def test_pairs_take_turns():
    """Even ones in the first round, odd ones in the second; equal states are always exchanged."""
    sampler, model = Tempering(5), machine(("bernoulli", "bernoulli"))
    state = sampler.init(model, 3, Stream(0))
    flat = torch.zeros(15, dtype=torch.float64)
    seen = []
    for _ in range(4):
        state |= _tempering._swap(state, flat, Stream(0))
        seen.append(state["rung"].view(3, 5)[0].tolist())
        assert torch.equal(state["rung"].view(3, 5).sort(1).values, torch.arange(5).expand(3, 5))
        torch.testing.assert_close(state["beta"], sampler.betas[state["rung"]])
    assert seen == [[1, 0, 3, 2, 4], [2, 0, 4, 1, 3], [3, 1, 4, 0, 2], [4, 2, 3, 0, 1]]
    assert state["acceptance"].tolist() == [[2.0] * 4] * 3
    assert sampler.swap_rates(state).tolist() == [1.0] * 4


def test_clamped_units_keep_their_values_on_all_rungs():
    model = machine(("bernoulli", "spin"))
    clamp = torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, 1.0]]).double().repeat(10, 1)
    sampler, stream = Tempering(6), Stream(0)
    state = sampler.init(model, 20, stream, clamp=clamp)
    held = clamp.repeat_interleave(6, 0)
    free = held.isnan()
    seen = set()
    for _ in range(30):
        state, _ = sampler.step(model, state, stream)
        assert torch.equal(state["visible"][~free], held[~free])
        seen |= {int(rung) for rung in state["rung"][::6]}
    assert seen == set(range(6))
    assert len(state["visible"][free].unique()) == 2
    hidden = {"visible": torch.full((20, 3), NAN).double(), "hidden": torch.ones(20, 2).double()}
    state = sampler.run(model, sampler.init(model, 20, stream, clamp=hidden), stream, 5)
    assert (state["hidden"] == 1).all()


def test_round_trips_are_counted_from_the_top_to_the_bottom_and_back():
    model = machine(("bernoulli", "bernoulli"), scale=0.5)
    sampler, stream = Tempering(4), Stream(0)
    state = sampler.init(model, 30, stream)
    paths = [state["rung"]]
    for _ in range(200):
        state, info = sampler.step(model, state, stream)
        paths.append(state["rung"])
    expected = []
    for path in torch.stack(paths, 1).tolist():
        ends = [rung for rung in path if rung in (0, 3)]
        turns = [a for a, b in zip(ends, [*ends[1:], None], strict=True) if a != b]
        expected.append(max((len(turns) - (turns[:1] == [3]) - 1) // 2, 0) if turns else 0)
    assert state["trips"].tolist() == expected
    assert info["round_trips"] == sum(expected) > 100


# --- addresses and states -----------------------------------------------------------------------


def test_the_number_of_threads_changes_no_bit(threads):
    model = machine(("bernoulli", "bernoulli"), (40, 30), scale=0.2, dtype=torch.float32)
    ends = []
    for count in (1, 2):
        threads(count)
        sampler, stream = Tempering(7), Stream(5)
        ends.append(sampler.run(model, sampler.init(model, 60, stream), stream, 12))
    threads(1)
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


@ALL
def test_chains_are_independent_of_each_other(pair):
    """A chain's path is the same whatever chains stand beside it."""
    model, sampler = machine(pair), Tempering(4)
    ends = []
    for n in (40, 10):
        stream = Stream(3)
        ends.append(sampler.run(model, sampler.init(model, n, stream), stream, 5))
    for key, x in ends[1].items():
        torch.testing.assert_close(ends[0][key][: len(x)], x)
    assert len(torch.unique(ends[0]["visible"], dim=0)) > 1


def test_a_stored_state_goes_on_bit_for_bit():
    model, sampler, stream = machine(("spin", "gaussian")), Tempering(5), Stream(0)
    state = sampler.run(model, sampler.init(model, 20, stream), stream, 7)
    given = {key: x.clone() for key, x in state.items()}
    other = Stream(0)
    other.load_state_dict(stream.state_dict())
    stored = load(save({key: x.contiguous() for key, x in state.items()}))
    one, two = sampler.run(model, state, stream, 5), sampler.run(model, stored, other, 5)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert all(torch.equal(state[key], given[key]) for key in given)


@ALL
def test_init_draws_what_it_is_not_given(pair):
    """From exact visible states of the top rung, a start makes exact joint states there."""
    model, sampler = machine(pair), Tempering(3)
    exact = Exact(model)
    v = exact.sample(5000, np.random.default_rng(0))["visible"]
    state = sampler.init(model, 5000, Stream(1), {"visible": v})
    assert torch.equal(state["visible"], v.repeat_interleave(3, 0))
    check_joint(sampler.chains(model, state), exact)
    fresh = sampler.init(model, 5000, Stream(1))
    rates = model.base_rates.numpy()
    check_mean(fresh["visible"].numpy(), rates, 4.5)


@pytest.mark.parametrize(
    "betas", [1, 0, True, [1.0], [0.9, 0.0], [1.0, 0.5, 0.5], [1.0, -0.1], [1.0, NAN], [[1.0, 0.0]]]
)
def test_a_ladder_that_does_not_fall_from_one_is_refused(betas):
    with pytest.raises(ArgumentError, match=r"^betas: got .*, expected "):
        Tempering(betas)


# --- modes --------------------------------------------------------------------------------------


def two_modes():
    """Return a machine whose visible spins are almost all up or almost all down, more often up."""
    model = hm.RBM(hm.Spin(12), hm.Spin(3)).double()
    with torch.no_grad():
        model.weight.fill_(0.6)
        model.visible.bias.fill_(0.01)
    model.base_rates.zero_()
    exact = Exact(model)
    return model, float(
        exact.p[exact.states.sum(1) > 0].sum() + 0.5 * exact.p[exact.states.sum(1) == 0].sum()
    )


def in_upper_mode(v):
    """Return which rows are in the mode that is up; those between count by half."""
    return 0.5 * (1 + v.sum(-1).sign())


def check_modes(chains=80, burn=210, steps=400, replicas=8):
    """Check that chains which all start in the smaller mode are in both as often as the model has it.

    A chain's share of time is one draw, so that correlations along the chain do not matter.
    """
    model, share = two_modes()
    sampler, stream = Tempering(replicas), Stream(0, "modes")
    down = {"visible": -torch.ones(chains, 12, dtype=torch.float64)}
    state = sampler.init(model, chains, stream, down)
    for _ in range(3):
        state = sampler.adapt(sampler.run(model, state, stream, burn // 3))
    up = torch.zeros(chains, dtype=torch.float64)
    for _ in range(steps):
        state, _ = sampler.step(model, state, stream)
        up += in_upper_mode(sampler.chains(model, state)["visible"])
    up = (up / steps).numpy()
    error = up.std(ddof=1) / np.sqrt(chains)
    require(error < 0.03, f"the error {error:.3f} is too large to tell anything")
    require(abs(up.mean() - share) < 4 * error, f"{up.mean():.3f} of the time up, not {share:.3f}")


def test_tempering_finds_the_modes_that_gibbs_sampling_misses():
    model, share = two_modes()
    assert 0.55 < share < 0.65
    gibbs, stream = Gibbs(), Stream(0)
    state = gibbs.init(model, 100, stream, {"visible": -torch.ones(100, 12, dtype=torch.float64)})
    state = gibbs.run(model, state, stream, 200)
    assert in_upper_mode(state["visible"]).sum() == 0
    check_modes()


def test_the_ladder_adapts_until_rates_are_equal():
    model, _ = two_modes()
    sampler, stream = Tempering(7), Stream(0)
    state = sampler.run(model, sampler.init(model, 60, stream), stream, 120)
    spread = [float(sampler.swap_rates(state).max() - sampler.swap_rates(state).min())]
    for _ in range(5):
        state = sampler.adapt(state)
        assert state["swaps"].sum() == state["acceptance"].sum() == 0
        state = sampler.run(model, state, stream, 120)
        spread.append(float(sampler.swap_rates(state).max() - sampler.swap_rates(state).min()))
    assert spread[0] > 0.3
    assert spread[-1] < spread[0] / 5
    ladder = sampler.ladder(state)
    assert (ladder[0], ladder[-1]) == (1, 0)
    assert (ladder.diff() < 0).all()


def test_a_ladder_moves_by_its_counts_alone():
    """Of a barrier of 0.6, 0.3 and 0.3 the first third ends at two thirds of the way to the second beta."""
    sampler, model = Tempering((1.0, 0.6, 0.1, 0.0)), machine(("bernoulli", "bernoulli"))
    state = sampler.run(model, sampler.init(model, 5, Stream(0)), Stream(1), 1)
    assert sampler.adapt(state) is state
    state = sampler.run(model, state, Stream(1), 3)
    state["acceptance"][:] = torch.tensor([0.8, 1.4, 1.4], dtype=torch.float64)
    moved = sampler.adapt(state)
    torch.testing.assert_close(
        sampler.ladder(moved), torch.tensor([1.0, 0.7333333333, 0.2666666667, 0.0]).double()
    )
    assert torch.equal(moved["rung"], state["rung"])
    torch.testing.assert_close(moved["beta"], sampler.ladder(moved)[moved["rung"]])


# --- hm.sample ----------------------------------------------------------------------------------


def test_samples_of_two_modes():
    """With replicas from the worst start; without them all rows stay where they began."""
    model, share = two_modes()
    down = -torch.ones(400, 12)
    rows = hm.sample(model, 400, steps=300, start=down, seed=1, replicas=8)
    check_mean(in_upper_mode(rows).numpy(), share)
    assert in_upper_mode(hm.sample(model, 400, steps=100, start=down, seed=1)).sum() == 0


@pytest.mark.parametrize("pair", [("bernoulli", "spin"), ("gaussian", "bernoulli")], ids=name)
def test_samples_with_clamped_units_and_temperature(pair):
    model, value = machine(pair), {"bernoulli": 1.0, "gaussian": 0.75}[pair[0]]
    clamp, exact = [NAN, value, NAN], Exact(model, 0.5, np.array([NAN, value, NAN]))
    rows = hm.sample(model, 3000, steps=40, clamp=clamp, temperature=2.0, replicas=3)
    means = hm.sample(model, 3000, steps=40, clamp=clamp, temperature=2.0, replicas=3, means=True)
    assert (rows[:, 1] == value).all()
    expected = exact.p @ exact.states if exact.side == "visible" else exact.p @ exact.mean
    for x in (rows, means):
        check_mean(x[:, [0, 2]].numpy(), expected[[0, 2]], 4.5)


@pytest.mark.parametrize("replicas", [0, -1, 1.5, True])
def test_samples_of_no_replicas_are_refused(replicas):
    with pytest.raises(ArgumentError, match=r"^replicas: got .*, expected an integer of at least 1$"):
        hm.sample(machine(("bernoulli", "spin")), 2, steps=1, replicas=replicas)


# --- faults -------------------------------------------------------------------------------------


def free_energy_exchanged(patch):
    """The acceptance is that of a tempered marginal, although the joint is tempered."""

    def wrong(model, base, state, field):
        v = state["visible"]
        start = model.visible.energy(v) + v @ (model.visible.bias - base["visible"])
        return start - model.free_energy(v)

    patch.setattr(_tempering, "_rise", wrong)


def own_energies_forgotten(patch):
    """The couplings alone decide."""

    def wrong(model, base, state, field):
        return ((state["visible"] @ model.weight) * state["hidden"]).sum(-1)

    patch.setattr(_tempering, "_rise", wrong)


def exchanged_the_wrong_way(patch):
    """Energies have the other sign."""
    rise = _tempering._rise
    patch.setattr(_tempering, "_rise", lambda *arguments: -rise(*arguments))


def always_exchanged(patch):
    """Each pair that is due changes places."""
    patch.setattr(_tempering, "_rise", lambda model, base, state, field: torch.zeros_like(state["beta"]))


def never_exchanged(patch):
    """All replicas stay on their rungs."""
    swap = _tempering._swap
    kept = ("rung", "beta", "direction", "trips")
    patch.setattr(
        _tempering,
        "_swap",
        lambda state, rise, stream: swap(state, rise, stream) | {key: state[key] for key in kept},
    )


def one_temperature_for_all(patch):
    """Each rung is drawn as the model is."""
    draw = _tempering._draw

    def wrong(model, base, block, state, stream):
        hot = {**state, "beta": torch.ones_like(state["beta"])}
        field = draw(model, base, block, hot, stream)
        state[block] = hot[block]
        return field

    patch.setattr(_tempering, "_draw", wrong)


BITS, GAUSSIAN = ("bernoulli", "bernoulli"), ("gaussian", "spin")
CHECKS = {
    "rungs": lambda: check_rungs(machine(BITS), 4),
    "rungs, Gaussian below": lambda: check_rungs(machine(GAUSSIAN), 4),
    "modes": check_modes,
}
GUARDS = {
    free_energy_exchanged: ["rungs", "rungs, Gaussian below"],
    own_energies_forgotten: ["rungs", "rungs, Gaussian below"],
    exchanged_the_wrong_way: ["rungs", "rungs, Gaussian below", "modes"],
    always_exchanged: ["rungs", "rungs, Gaussian below", "modes"],
    never_exchanged: ["modes"],
    one_temperature_for_all: ["rungs", "rungs, Gaussian below", "modes"],
}


@pytest.mark.parametrize(
    ("fault", "label"), [(fault, label) for fault, labels in GUARDS.items() for label in labels]
)
def test_a_check_turns_red(monkeypatch, fault, label):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        CHECKS[label]()


def test_the_checks_are_green_without_a_fault():
    for check in CHECKS.values():
        check()
