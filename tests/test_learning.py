"""Learning rules: their gradients are those of the exact likelihood, and their chains follow the model.

Chains enter a gradient through first and second moments alone. So where a rule's chains are replaced by
rows that have the model's exact moments, its gradient must be that of the enumerated likelihood to the
last digits; and what real chains give must agree with the enumerated Gibbs kernel within its error.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from _checks import (
    check_batches,
    check_contrastive,
    check_gradient,
    check_no_gradient,
    check_offsets,
    check_persistent_chains,
    equal_batch,
    gradient,
    nothing,
    trainable,
)
from _models import PAIRS, Exact, name, rbm
from safetensors.torch import load, save

import harmonium as hm
from harmonium import Stream, files
from harmonium.errors import ArgumentError
from harmonium.learning import RULES, Batch, Rule
from harmonium.models import GenerativeModel, PairwiseModel
from harmonium.training._source import open_source

BINARY = ("bernoulli", "spin")
CHAINS = 37
OPTIONS = {"cd": {"steps": 2}, "pcd": {"steps": 2, "chains": CHAINS}}
ALL = pytest.mark.parametrize("pair", PAIRS, ids=name)
EACH = pytest.mark.parametrize(
    "pair",
    [
        ("bernoulli", "bernoulli"),
        ("bernoulli", "relu"),
        ("spin", "categorical"),
        ("spin", "gaussian"),
        ("categorical", "spin"),
        ("gaussian", "bernoulli"),
    ],
    ids=name,
)
"""Each kind of units in each layer that it may be in, for what every rule promises."""
MOMENT = pytest.mark.parametrize("kind", OPTIONS)


def rule_of(kind, **options):
    """Return a rule of moments by name, with settings that are not the defaults."""
    return RULES[kind](**{**OPTIONS[kind], **options})


def machine(pair, **options):
    """Return a machine that learns the precision where it can."""
    return rbm(pair, **{"learn_precision": pair[0] == "gaussian", **options})


def data(model, rows=31, seed=5):
    """Return rows of the kind that the visible units take, from another machine."""
    other = rbm((model.visible.kind, "spin"), (model.visible.size, 2), seed=seed)
    return Exact(other).sample(rows, np.random.default_rng(seed))["visible"]


def shares(rows, seed=4):
    """Return uneven shares of sum 1, some of them zero."""
    w = Stream(seed).uniform(rows, 1, torch.float64)[:, 0]
    w[:3] = 0
    return w / w.sum()


# --- gradients with exact chains ----------------------------------------------------------------


@ALL
@MOMENT
@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
def test_gradient_is_that_of_the_exact_likelihood(pair, kind, centred):
    model = machine(pair)
    rule = rule_of(kind, centred=centred, offset_rate=0.3)
    v = data(model)
    check_gradient(rule, model, equal_batch(v))
    check_gradient(rule, model, Batch(v, 0.7 * shares(len(v)), torch.arange(len(v))))
    assert ("visible.log_precision" in trainable(model)) == (pair[0] == "gaussian")


@MOMENT
def test_a_fixed_precision_is_left_alone(kind):
    model = rbm(("gaussian", "bernoulli"))
    check_gradient(rule_of(kind), model, equal_batch(data(model)))
    assert model.visible.log_precision.grad is None


@ALL
@MOMENT
def test_offsets_follow_the_means_of_data_and_model(pair, kind):
    model = machine(pair)
    v = data(model)
    batch = Batch(v, shares(len(v)), torch.arange(len(v)))
    for rate in (0.05, 1.0):
        check_offsets(rule_of(kind, centred=True, offset_rate=rate), model, batch)


@ALL
@MOMENT
def test_centred_by_default_only_where_all_units_are_binary(pair, kind):
    model = machine(pair)
    names = {"offset.visible", "offset.hidden"}
    for centred in (None, True, False):
        held = names & rule_of(kind, centred=centred).init(model, Stream(0)).keys()
        expected = pair[0] in BINARY and pair[1] in BINARY if centred is None else centred
        assert held == (names if expected else set())


@MOMENT
def test_centring_changes_the_step_but_not_its_aim(kind):
    """The centred step is another one, and goes downhill too."""
    model = machine(("bernoulli", "bernoulli"))
    batch = equal_batch(data(model))
    steps = []
    for centred in (False, True):
        rule = rule_of(kind, centred=centred)
        check_gradient(rule, model, batch)
        steps.append(torch.from_numpy(gradient(model)))
    assert not torch.allclose(*steps, rtol=0.1)
    assert steps[0] @ steps[1] > 0


# --- batches and weights ------------------------------------------------------------------------


@ALL
@MOMENT
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_each_batch_is_divided_by_its_own_size(pair, kind, weighted):
    """Also the last one, which is smaller; the number of chains is yet another."""
    weights = (torch.arange(82) % 5).double() if weighted else None
    check_batches(rule_of(kind), machine(pair), weights)


@ALL
def test_weights_are_repeated_rows(pair):
    """An update on weighted rows is that on as many copies, chains included."""
    model = machine(pair)
    v = data(model, 20)
    weights = torch.arange(20) % 4
    repeated = v.repeat_interleave(weights, 0)
    seen = []
    for rows, given in ((v, weights), (repeated, None)):
        source, *_ = open_source(model.visible, rows, Stream(0), 100, 2, given)
        (batch,) = source.batches(0)
        rule, stream = rule_of("pcd"), Stream(1)
        state = rule.init(model, stream)
        for _ in range(3):
            state, _ = rule.update(model, batch, state, stream, nothing)
        seen.append(gradient(model))
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-9, atol=1e-12)
    rule.update(model, equal_batch(v), state, Stream(2), nothing)
    assert not np.allclose(seen[0], gradient(model), rtol=1e-3)


@pytest.mark.parametrize("weight", [0.0, 3.0])
@MOMENT
def test_a_row_of_no_weight_does_not_count(kind, weight):
    """Of CD its chain does not count either."""
    model = machine(("bernoulli", "spin"))
    v = data(model, 12)
    seen = []
    for last in (v[-1], 1 - v[-1]):
        w = torch.ones(12, dtype=torch.float64)
        w[-1] = weight
        batch = Batch(torch.cat((v[:-1], last[None])), w / 12, torch.arange(12))
        rule, stream = rule_of(kind, centred=False), Stream(1)
        rule.update(model, batch, rule.init(model, stream), stream, nothing)
        seen.append(gradient(model))
    assert np.array_equal(*seen) == (weight == 0)


# --- gradients of real chains -------------------------------------------------------------------


@ALL
@MOMENT
def test_expected_gradient_is_zero_at_the_truth(pair, kind):
    """And not at a random perturbation of it."""
    truth, model = machine(pair), machine(pair)
    rule = rule_of(kind, centred=False, **({"chains": 130} if kind == "pcd" else {}))
    check_no_gradient(rule, truth, truth)
    with torch.no_grad():
        for key, p in trainable(model).items():
            p += 0.4 * Stream(1, key + kind).normal(1, p.numel(), p.dtype).reshape(p.shape)
    with pytest.raises(AssertionError, match="standard errors away"):
        check_no_gradient(rule, model, truth)


@ALL
@pytest.mark.parametrize("steps", [1, 3])
def test_contrastive_gradient_is_that_of_as_many_exact_steps(pair, steps):
    model = machine(pair, sizes=(2, 2), scale=1.5)
    check_contrastive(model, steps)
    with pytest.raises(AssertionError, match="standard errors away"):
        check_contrastive(model, steps, taken=4 - steps)


@ALL
def test_persistent_chains_stay_in_the_model(pair):
    check_persistent_chains(machine(pair, scale=1.2), updates=3)


@ALL
def test_persistent_chains_move_to_the_model(pair):
    model = machine(pair, scale=0.5)
    check_persistent_chains(model, updates=40, together=True)
    with pytest.raises(AssertionError):
        check_persistent_chains(model, updates=0, together=True)


# --- the state ----------------------------------------------------------------------------------


@ALL
@MOMENT
def test_a_stored_state_goes_on_bit_for_bit(pair, kind):
    """Through the format of checkpoints; the number of chains is that of the rule, whatever the batch."""
    model = machine(pair)
    rule, stream = rule_of(kind, centred=True), Stream(1)
    state = rule.init(model, stream)
    for rows in (3, 50):
        state, _ = rule.update(model, equal_batch(data(model, rows)), state, stream, nothing)
        chains = {n: x for n, x in state.items() if n.startswith("chain.")}
        assert bool(chains) == (kind == "pcd")
        for n, x in chains.items():
            assert x.shape == (CHAINS, model.layer(n.removeprefix("chain.")).width)
    other = Stream(1)
    other.load_state_dict(stream.state_dict())
    stored = load(save({n: x.clone() for n, x in state.items()}))
    batch = equal_batch(data(model, 9))
    one, _ = rule.update(model, batch, state, stream, nothing)
    left = gradient(model)
    two, _ = rule.update(model, batch, stored, other, nothing)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert np.array_equal(left, gradient(model))


def test_a_chain_takes_as_many_steps_as_stated():
    """One update of three steps, three of one step, and a burn-in of three leave the chains alike."""
    model = machine(("bernoulli", "categorical"))
    batch = equal_batch(data(model))
    ends = []
    for steps, updates in ((1, 3), (3, 1)):
        rule, stream = hm.PCD(steps=steps, chains=20), Stream(1)
        state = rule.init(model, stream)
        for _ in range(updates):
            state, _ = rule.update(model, batch, state, stream, nothing)
        ends.append(state)
    ends.append(hm.PCD(chains=20, burn_in=3).init(model, Stream(1)))
    for block in ("chain.visible", "chain.hidden"):
        assert torch.equal(ends[0][block], ends[1][block])
        assert torch.equal(ends[0][block], ends[2][block])


@ALL
@MOMENT
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_gradients_keep_their_memory(pair, kind, dtype):
    model = machine(pair, dtype=dtype)
    rule, stream = rule_of(kind, centred=True), Stream(1)
    state, places, values = rule.init(model, stream), [], []
    for seed in range(3):
        batch = equal_batch(data(model, 9, seed).to(dtype))
        state, _ = rule.update(model, batch, state, stream, nothing)
        places.append({n: p.grad.data_ptr() for n, p in trainable(model).items()})
        values.append(gradient(model))
    assert places[0] == places[1] == places[2]
    assert not np.allclose(values[1], values[2])


# --- the contract of all rules ------------------------------------------------------------------


@pytest.fixture(params=RULES)
def contract(request):
    """Return a class of the table by name."""
    return request.param, RULES[request.param]


@pytest.fixture(params=[key for key, rule in RULES.items() if rule.fits is PairwiseModel])
def paired(request):
    """Return the class of a rule for units that are coupled in pairs."""
    return RULES[request.param]


class Other(GenerativeModel):
    """A model that is no Boltzmann machine."""

    kind = "other"

    def config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls()


def test_the_table_holds_rules_by_their_names(contract):
    key, kind = contract
    assert issubclass(kind, Rule)
    assert kind.name == key
    assert kind().name == key
    assert kind().model_dump() == kind.model_validate(kind().model_dump()).model_dump()


def test_every_setting_is_described(contract):
    _, kind = contract
    for field, info in kind.model_fields.items():
        assert info.description, field
        assert f"        {field}: " in kind.__doc__


def test_settings_are_checked_in_one_line(contract):
    _, kind = contract
    wrong = {"steps": (0, -1, True, 1.5, "many", None), "chains": (0, -3, True, float("nan"))}
    wrong |= {"offset_rate": (0, -0.1, 1.5, True, float("inf"), "fast"), "centred": (2, "maybe", 0.5)}
    for field in kind.model_fields.keys() & wrong.keys():
        for value in wrong[field]:
            with pytest.raises(ArgumentError, match=rf"^{field}: got .*{value}.*, expected [^;\n]+$"):
                kind(**{field: value})


def test_an_unknown_setting_is_named_with_the_nearest_one(contract):
    _, kind = contract
    for field in kind.model_fields:
        with pytest.raises(
            ArgumentError, match=rf"^{field}x: unknown, expected one of .*; did you mean '{field}'\?$"
        ):
            kind(**{f"{field}x": 1})


def test_a_model_that_does_not_fit_is_refused(contract):
    key, kind = contract
    with pytest.raises(ArgumentError, match=rf"^rule: got '{key}', expected a rule that fits a other$"):
        kind().check(Other())
    labelled = hm.RBM(hm.Mixed(hm.Bernoulli(3), hm.Categorical(1, 3)), 2)
    untied = hm.DBN([3, 2, 2])
    untied.untie()
    networks = (untied, hm.MLP([3, 2], 3), hm.Autoencoder([3, 2]), hm.GAN.of("mlp", (3,), hidden=2, judges=2))
    assert any(fits(kind(), model) for model in (*map(rbm, PAIRS), labelled, *networks))


def fits(rule, model):
    """Return whether a rule takes a model."""
    try:
        rule.check(model)
    except ArgumentError:
        return False
    return True


def fitting(rule, model):
    """Return a rule that takes the model; skip what is asked of one that refuses it."""
    if not fits(rule, model):
        pytest.skip(f"{rule.name} refuses such a model, as a test of its own tells")
    return rule


@EACH
def test_an_update_is_applied_once_to_each_group(paired, pair):
    """With gradients in place, and the random bits of its own stream alone."""
    model = machine(pair)
    rule, stream = fitting(paired(), model), Stream(1)
    state = rule.init(model, stream)
    groups = rule.parameters(model, state)
    named = {id(p) for group in groups.values() for p in group.values()}
    assert named - {id(x) for x in state.values()} == {id(p) for p in trainable(model).values()}
    applied = []

    def apply(group):
        applied.append(group)
        assert all(p.grad.shape == p.shape and bool(p.grad.isfinite().all()) for p in groups[group].values())

    before = {n: x.clone() for n, x in model.state_dict().items()}
    torch.manual_seed(0)
    _, metrics = rule.update(model, equal_batch(data(model)), state, stream, apply)
    assert sorted(applied) == sorted(groups)
    assert torch.initial_seed() == 0
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(x, before[n]) for n, x in model.state_dict().items() if "base_rates" not in n)
    assert all(isinstance(x, torch.Tensor) and x.ndim == 0 for x in metrics.values())


@EACH
def test_the_state_is_a_flat_table_of_tensors(paired, pair, tmp_path):
    """From the first on, and one that a file can hold."""
    model = machine(pair)
    options = {"centred": True} if "centred" in paired.model_fields else {}
    rule, stream = fitting(paired(**options), model), Stream(1)
    first = rule.init(model, stream)
    second, _ = rule.update(model, equal_batch(data(model)), first, stream, nothing)
    assert first.keys() == second.keys()
    for state in (first, second):
        for key, value in state.items():
            assert isinstance(key, str)
            assert isinstance(value, torch.Tensor)
            assert not value.requires_grad, key
            assert bool(value.isfinite().all())
    path = Path(tmp_path) / "state.safetensors"
    files.save_tensors(path, "state", second, {})
    stored, _ = files.load_tensors(path, "state")
    assert all(torch.equal(stored[key], value) for key, value in second.items())


def test_a_frozen_parameter_is_in_no_group(paired):
    model = machine(("gaussian", "bernoulli"))
    model.hidden.bias.requires_grad_(False)
    named = {key for group in paired().parameters(model).values() for key in group}
    assert named == {"weight", "visible.bias", "visible.log_precision"}
