"""Gibbs sampling leaves the exact distribution as it is, and reaches it from elsewhere.

Chains start exactly in the enumerated distribution and must still be in it after 1, 4 and 16 steps. That
tells a wrong kernel from a slow one, however strong the weights are.
"""

import numpy as np
import pytest
import torch
from _checks import (
    check_convergence,
    check_frequencies,
    check_joint,
    check_mean,
    check_no_drift,
    check_transition,
    start,
)
from _models import PAIRS, STATES, Exact, name, rbm

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.samplers import Gibbs

NAN = float("nan")
STRONG = 1.2
CLAMPS = {
    "bernoulli": ([1.0, NAN, NAN], [NAN, 0.0, 1.0], [NAN, NAN, NAN]),
    "spin": ([1.0, NAN, NAN], [NAN, -1.0, 1.0], [NAN, NAN, NAN]),
    "categorical": (
        [0.0, 1.0, 0.0, *[NAN] * 6],
        [*[NAN] * 3, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        [NAN] * 9,
    ),
    "gaussian": ([0.75, NAN, NAN], [NAN, -1.125, 0.5], [NAN, NAN, NAN]),
}


@pytest.mark.parametrize("steps", [1, 4, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_no_drift(pair, dtype, steps):
    check_no_drift(rbm(pair, scale=STRONG, dtype=dtype), steps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_no_drift_in_plain_torch(pair, dtype, eager):
    check_no_drift(rbm(pair, scale=STRONG, dtype=dtype), 4)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_no_drift_with_clamped_units(pair, path):
    """Each row has its own clamp; the free units follow the conditional distribution."""
    groups = [(1.0, clamp) for clamp in CLAMPS[pair[0]]]
    check_no_drift(rbm(pair, scale=STRONG), 4, groups, n=3000)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_no_drift_with_a_temperature_for_each_chain(pair, path):
    groups = [(0.4, None), (1.0, None), (1.7, None)]
    check_no_drift(rbm(pair, scale=STRONG), 4, groups, n=3000)


@pytest.mark.parametrize("steps", [1, 16])
@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_no_drift_with_clamps_and_temperatures_together(pair, steps):
    groups = list(zip((0.5, 1.6, 1.0), CLAMPS[pair[0]], strict=True))
    check_no_drift(rbm(pair, scale=STRONG, dtype=torch.float32), steps, groups, n=2000)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_one_step_from_a_fixed_state(pair):
    check_transition(rbm(pair, scale=STRONG))


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_chains_forget_their_start(pair):
    check_convergence(rbm(pair, scale=0.5))


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_init_draws_the_missing_block_given_the_other(pair):
    """From exact states of one block, ``init`` makes exact joint states."""
    model = rbm(pair, scale=STRONG)
    exact = Exact(model)
    states = start(model, [exact], 6000, 0)
    for block in ("visible", "hidden"):
        state = Gibbs().init(model, 6000, Stream(1, block), {block: states[block]})
        check_joint(state, exact)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_info_means_are_the_conditional_expectations(pair):
    model = rbm(pair)
    gibbs, stream = Gibbs(means=True), Stream(0)
    state = gibbs.init(model, 50, stream)
    state, info = gibbs.step(model, state, stream)
    torch.testing.assert_close(info["mean"], model.encode(state["visible"]), rtol=1e-6, atol=1e-7)


def test_a_step_leaves_the_state_it_was_given_alone():
    model = rbm(("bernoulli", "bernoulli"))
    gibbs, stream = Gibbs(), Stream(0)
    state = gibbs.init(model, 50, stream)
    before = {block: x.clone() for block, x in state.items()}
    gibbs.step(model, state, stream)
    assert all(torch.equal(state[block], before[block]) for block in before)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_chains_are_independent_of_each_other(pair):
    """A chain's path is the same whatever chains stand beside it, but for the order of float sums."""
    model = rbm(pair)
    gibbs = Gibbs()
    whole, part = Stream(3), Stream(3)
    many = gibbs.run(model, gibbs.init(model, 40, whole), whole, 3)
    few = gibbs.run(model, gibbs.init(model, 10, part), part, 3)
    for block in ("visible", "hidden"):
        torch.testing.assert_close(many[block][:10], few[block])
        assert len(torch.unique(many[block], dim=0)) > 1


# --- hm.sample ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_sample_draws_from_the_model(pair):
    model = rbm(pair, scale=0.5)
    rows = hm.sample(model, 3000, steps=40, seed=2)
    check_visible(model, rows, Exact(model))


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_sample_with_clamped_units_and_temperature(pair):
    """Values stay as they are given; the free ones follow the tempered conditional distribution."""
    model = rbm(pair, scale=0.5)
    value = {"bernoulli": 1.0, "spin": -1.0, "categorical": 2.0, "gaussian": 0.625}[pair[0]]
    rows = hm.sample(model, 3000, steps=40, seed=2, clamp=[NAN, value, NAN], temperature=2.0)
    assert (rows[:, 1] == value).all()
    statistics = np.full(model.visible.width, NAN)
    width = model.visible.width // 3
    statistics[width : 2 * width] = np.eye(STATES)[2] if pair[0] == "categorical" else value
    check_visible(model, rows, Exact(model, 0.5, statistics))


@pytest.mark.parametrize("pair", PAIRS, ids=name)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sample_means_average_to_the_visible_mean(pair, temperature):
    model = rbm(pair, scale=0.5)
    rows = hm.sample(model, 3000, steps=40, seed=2, temperature=temperature, means=True)
    exact = Exact(model, 1 / temperature)
    expected = exact.p @ exact.states if exact.side == "visible" else exact.p @ exact.mean
    check_mean(rows.double().numpy(), expected, 4.5)


def check_visible(model, rows, exact):
    """Check visible values against the exact marginal."""
    if exact.side == "visible":
        check_frequencies(exact.index({"visible": model.visible.statistics(rows).double()}), exact.p)
        return
    rows = rows.double().numpy()
    mean = exact.p @ exact.mean
    free = (exact.deviation > 0).all(0)
    check_mean(rows[:, free], mean[free], 4.5)
    spread = exact.p @ ((exact.mean - mean) ** 2 + exact.deviation**2)
    check_mean(((rows - mean) ** 2)[:, free], spread[free], 4.5)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("temperature", [1e-30, 1e30])
def test_samples_at_the_last_temperatures_are_states(pair, temperature, replicas):
    """In single precision, where an inverse temperature and a field times it have to fit."""
    model = rbm(pair, dtype=torch.float32)
    rows = hm.sample(model, 5, steps=4, temperature=temperature, replicas=replicas)
    model.visible.validate(rows)


@pytest.mark.parametrize("temperature", [1e-40, 1e-31, 1e31, 0, -1.0, NAN, np.inf, "1", None])
def test_temperatures_out_of_range_are_refused(temperature):
    message = r"^temperature: got .*, expected a positive number, from 1e-30 to 1e30"
    with pytest.raises(ArgumentError, match=message):
        hm.sample(hm.RBM(3, 2), 2, steps=1, temperature=temperature)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"start": "noise"}, ArgumentTypeError, "^start: got 'noise', expected rows of values, or None"),
        ({"start": [[0, 1, 2], [0, 0, 0]]}, DataError, "^start: got 2 at row 0, column 2"),
        ({"start": [0, 1, 1]}, DataError, r"^start: got shape \(3,\), expected \(rows, 3\)"),
        ({"start": [[0, 1, 1]]}, DataError, "^start: got 1 rows, expected 2"),
        ({"clamp": [0, 1, None]}, ArgumentTypeError, r"^clamp: got \[0, 1, None\], expected values"),
        ({"clamp": "all"}, ArgumentTypeError, "^clamp: got 'all'"),
        ({"clamp": [0, 2, NAN]}, DataError, "^clamp: got 2 at row 0, column 1"),
        ({"clamp": [0, 1]}, DataError, r"^clamp: got shape"),
        ({"model": None}, ArgumentTypeError, "^model: got None, expected a model such as an RBM"),
    ],
)
def test_mistakes_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        hm.sample(**{"model": hm.RBM(3, 2), "n": 2, "steps": 1, **arguments})
