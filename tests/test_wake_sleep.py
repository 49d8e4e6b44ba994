"""Wake-sleep: the gradients of both phases are those of their definitions, where they are and on average."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from _checks import check_average, equal_batch, nothing, trainable
from _models import Exact, configurations, log_normaliser, negative_log_likelihood, unit
from _runs import back_to, bits, equal, same, train

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, TrainingError
from harmonium.learning import Batch
from harmonium.samplers import ascend
from harmonium.training._source import open_source

SIZES = (3, 2, 2, 2)
MASKS = ([[1, 0], [1, 1], [0, 1]], None, [[1, 0], [1, 1]])
BITS = ("bernoulli",) * 4
CASES = {
    "bits": (BITS, {}),
    "spins": (("spin", "bernoulli", "categorical", "spin"), {}),
    "codes": (("categorical", "spin", "bernoulli", "bernoulli"), {}),
    "normal rows": (("gaussian", "bernoulli", "spin", "relu"), {}),
    "normal features": (("bernoulli", "gaussian", "bernoulli", "gaussian"), {}),
    "two layers": (("spin", "bernoulli", "categorical"), {}),
    "labelled": (("bernoulli", "bernoulli", "spin", "bernoulli"), {"classes": 3}),
    "masked": (BITS, {"masks": MASKS}),
    "masked, labelled": (("gaussian", *BITS[1:]), {"masks": MASKS, "classes": 2}),
}
PHASES = pytest.mark.parametrize("options", [{"steps": 2}, {"chains": 7}], ids=["data", "chains"])


def network(case="bits", scale=0.8, seed=1):
    """Return an untied network whose parameters are all random, each of its own, float64."""
    kinds, options = CASES[case]
    layers = [unit(kind, size) for kind, size in zip(kinds, SIZES, strict=False)]
    if kinds[0] == "gaussian":
        layers[0] = hm.Gaussian(SIZES[0], learn_precision=True)
    model = hm.DBN(layers, **options).double()
    model.untie()
    scatter(model, scale, seed)
    return settled(model)


def settled(model):
    """Return a network with its base rates set, so that its states can be compared."""
    for rbm in model.rbms:
        rbm.base_rates.copy_(rbm.visible.expected_statistics(torch.zeros_like(rbm.base_rates)).detach())
    return model


def scatter(model, scale, seed):
    """Add random numbers to all parameters."""
    with torch.no_grad():
        for key, p in trainable(model).items():
            p += scale * Stream(seed, key).normal(1, p.numel(), p.dtype).view_as(p)
    model.project()


def rows(model, n=31, seed=5):
    """Return values that the network's visible units take, those of a label last."""
    return hm.sample(model, n, steps=2, seed=seed)


def batch_of(model, n=31):
    """Return rows of uneven shares, some of them zero and not of sum 1, as a batch."""
    w = Stream(4).uniform(n, 1, torch.float64)[:, 0]
    w[:3] = 0
    return Batch(model.visible.statistics(rows(model, n)), w / n, torch.arange(n))


def trained(model):
    """Return the parameters that the rule trains, by name."""
    return hm.WakeSleep().parameters(model)["model"]


def gradients(model):
    """Return what an update has left, one after the other."""
    return torch.cat([p.grad.flatten() for p in trained(model).values()]).numpy()


# --- both phases by their definitions -------------------------------------------------------------


def surprise(rbm, block, x, field):
    """Return -log of the probability or density of a layer's states in fields, shape (rows)."""
    layer, own = rbm.layer(block), dict(rbm.named_parameters())
    total = log_normaliser(rbm, block, field, own) - (field * x).sum(1)
    if layer.kind == "gaussian":
        total = total + 0.5 * (x**2 @ own[f"{block}.log_precision"].exp())
    return total


def masked(rbm, weight):
    """Return a coupling's matrix."""
    return weight if rbm.weight_mask is None else weight * rbm.weight_mask


def below(model, path):
    """Return -log p of the layers of the generative network given those above, shape (paths)."""
    total = torch.zeros(len(path[0]), dtype=torch.float64)
    for rbm, (x, y) in zip(model.rbms, pairwise(path), strict=False):
        total = total + surprise(rbm, "visible", x, rbm.visible.bias + y @ masked(rbm, rbm.weight).T)
    return total


def above(model, path):
    """Return -log q of the layers of the recognition network given those below, shape (paths)."""
    total = torch.zeros(len(path[0]), dtype=torch.float64)
    for rbm, own, (x, y) in zip(model.rbms, model.recognition, pairwise(path), strict=False):
        total = total + surprise(rbm, "hidden", y, own.bias + x @ masked(rbm, own.weight))
    return total


def redraw(rule, model, batch, state, stream):
    """Draw what an update draws: the path up, the top RBM's rows, where its chains end, the path down."""
    top, n = model.top, model.classes or 0
    cut = batch.values.shape[1] - n
    path = ascend(model, batch.values[:, :cut].contiguous(), stream)
    seen = torch.cat((path[-1], batch.values[:, cut:]), 1)
    if rule.chains is None:
        chain = {"visible": seen, "hidden": top.hidden.sample(top.field("hidden", {"visible": seen}), stream)}
    else:
        chain = {block: state[f"top.{block}"] for block in ("visible", "hidden")}
    for _ in range(rule.steps):
        chain, _ = hm.Gibbs().step(top, chain, stream)
    dreams = [chain["visible"][:, : chain["visible"].shape[1] - n].contiguous()]
    for layer in reversed(range(model.depth - 1)):
        field = model.generate(layer, dreams[0])
        dreams.insert(0, model.rbms[layer].visible.sample(field, stream))
    return path, seen, chain["visible"], dreams


def check_update(rule, model, batch, weights=None):
    """Check an update's gradients against autograd of both phases at the states that it draws.

    Arguments:
        rule: The rule.
        model: A small network, float64.
        batch: The rows as the rule gets them.
        weights: Their shares as they ought to be, if not the batch's own.
    """
    weights = batch.weights if weights is None else weights
    stream, again = Stream(3), Stream(3)
    state = rule.init(model, stream)
    again.step = stream.step
    path, seen, ends, dreams = redraw(rule, model, batch, state, again)
    kept, _ = rule.update(model, batch, state, stream, nothing)
    assert stream.step == again.step
    assert kept.keys() == state.keys()
    if rule.chains is not None:
        assert torch.equal(kept["top.visible"], ends)
    shares = weights if rule.chains is None else (weights.sum() / len(ends)).expand(len(ends))
    wake = weights @ (below(model, path) + model.top.free_energy(seen)) - shares @ model.top.free_energy(ends)
    parameters = trained(model)
    expected = torch.autograd.grad(wake + shares @ above(model, dreams), list(parameters.values()))
    for (name, p), own in zip(parameters.items(), expected, strict=True):
        torch.testing.assert_close(
            p.grad, own, rtol=1e-9, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}"
        )


@PHASES
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_definition_at_the_states_drawn(case, options):
    model = network(case)
    check_update(hm.WakeSleep(**options), model, batch_of(model))
    learnt = "rbms.0.visible.log_precision" in trained(model)
    assert learnt == (CASES[case][0][0] == "gaussian")


@PHASES
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_each_batch_is_divided_by_its_own_size(options, weighted):
    model = network("labelled")
    weights = (torch.arange(82) % 5).double() if weighted else None
    relative = torch.ones(82).double() if weights is None else weights / weights.mean()
    source, *_ = open_source(model.visible, rows(model, 82), Stream(0), 30, 2, weights)
    sizes = []
    for batch in source.batches(0):
        sizes.append(len(batch.rows))
        check_update(hm.WakeSleep(**options), model, batch, relative[batch.rows] / len(batch.rows))
    assert sizes == [30, 30, 22]


def test_a_fixed_precision_is_left_alone():
    model = network("normal rows")
    model.rbms[0].visible.log_precision.requires_grad_(False)
    check_update(hm.WakeSleep(), model, batch_of(model))
    assert model.rbms[0].visible.log_precision.grad is None


@PHASES
def test_gradients_keep_their_memory(options):
    model, rule, stream = network("masked, labelled"), hm.WakeSleep(**options), Stream(1)
    state, places, values = rule.init(model, stream), [], []
    for _ in range(3):
        state, _ = rule.update(model, batch_of(model), state, stream, nothing)
        places.append([p.grad.data_ptr() for p in trained(model).values()])
        values.append(gradients(model).copy())
    assert places[1] == places[2]
    assert not np.allclose(values[1], values[2])


# --- both phases on average -----------------------------------------------------------------------


def joint(*layers):
    """Return all joint states of some layers, each given by its own states."""
    numbers = torch.tensor(list(product(*(range(len(states)) for states in layers))))
    return [torch.as_tensor(states)[own] for states, own in zip(layers, numbers.T, strict=True)]


def states(model):
    """Return the states of each layer but the highest."""
    return [configurations(rbm.visible) for rbm in model.rbms]


def wake_loss(model, v, weights):
    """Return the mean of -log p(v, h) over rows of data and over q(h | v), by enumeration."""
    number, *hidden = joint(np.arange(len(v)), *states(model)[1:])
    path = [v[number], *hidden]
    q = weights[number] * torch.exp(-above(model, path)).detach()
    top = {**dict(model.top.named_parameters()), "weight": masked(model.top, model.top.weight)}
    return q @ below(model, path) + negative_log_likelihood(model.top, path[-1], q, top)


def probabilities(model):
    """Return all joint states of the layers but the highest, and their probabilities."""
    path = joint(*states(model))
    p = torch.exp(-below(model, path) - model.top.free_energy(path[-1])).detach()
    exact = Exact(model.top)
    return path, p / np.exp(exact.log_partition)


def expected(model, v, weights):
    """Return the gradients that an update has on average, its chains being the model's."""
    path, p = probabilities(model)
    torch.testing.assert_close(p.sum(), torch.ones((), dtype=torch.float64))
    loss = wake_loss(model, v, weights) + p @ above(model, path)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(trained(model).values()))]).numpy()


@pytest.mark.parametrize("case", ["bits", "spins", "codes", "masked"])
def test_mean_gradients_are_the_exact_ones(case):
    """Of the wake phase that of E_q[log p(v, h)], log Z included; of the sleep phase that of E_p[log q]."""
    model, rule, stream = network(case), hm.WakeSleep(chains=400), Stream(0, case)
    v, generator = model.visible.statistics(rows(model, 4)), np.random.default_rng(0)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    batch = Batch(v.repeat(50, 1), weights.repeat(50) / 50, torch.arange(200))
    seen = []
    for _ in range(40):
        state = {f"top.{block}": x for block, x in Exact(model.top).sample(400, generator).items()}
        rule.update(model, batch, state, stream, nothing)
        seen.append(gradients(model))
    right = expected(model, v, weights)
    check_average(np.array(seen), right)
    for wrong in (0.8 * right, expected(network(case, seed=2), v, weights)):
        with pytest.raises(AssertionError, match="standard errors away"):
            check_average(np.array(seen), wrong)


# --- training -------------------------------------------------------------------------------------


def scores(model, truth):
    """Return the exact mean log-likelihood of a network's visible states, and the bound, nats."""
    path, p = probabilities(truth)
    log_p = probabilities(model)[1].log()
    log_q = -above(model, path).detach()
    groups = [x.view(len(configurations(truth.rbms[0].visible)), -1) for x in (p, log_p, log_q)]
    data, inner = groups[0].sum(1), groups[2].exp() * (groups[1] - groups[2])
    return float(data @ groups[1].logsumexp(1)), float(data @ inner.sum(1))


@PHASES
def test_training_raises_the_likelihood_and_the_bound(options):
    """From a perturbed start, on all rows of the truth with their probabilities for weights."""
    truth = network("bits", scale=1.5)
    model = network("bits", scale=1.5)
    scatter(model, 1.0, seed=7)
    _, p = probabilities(truth)
    values = torch.from_numpy(configurations(truth.rbms[0].visible)).repeat(25, 1)
    weights = p.view(len(values) // 25, -1).sum(1).repeat(25)
    before = scores(model, truth)
    options = {**options, **({"chains": 100} if "chains" in options else {})}
    hm.fit(model, values, hm.WakeSleep(**options), weights=weights, epochs=40, batch_size=100, lr=0.1)
    after, most = scores(model, truth), scores(truth, truth)
    assert before[0] < after[0] <= most[0]
    assert before[1] < after[1] <= after[0]
    assert most[0] - after[0] < 0.5 * (most[0] - before[0])


def test_sleep_alone_brings_the_recognition_network_nearer_to_the_posterior():
    model = network("bits")
    model.rbms.requires_grad_(False)
    before = {name: p.clone() for name, p in model.rbms.named_parameters()}
    path, p = probabilities(model)
    far = float(p @ above(model, path).detach())
    hm.fit(model, rows(model, 100), hm.WakeSleep(chains=100), epochs=60, lr=0.1)
    assert float(p @ above(model, path).detach()) < far
    assert equal(dict(model.rbms.named_parameters()), before)


@PHASES
def test_masks_stay(options):
    model = network("masked, labelled")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    hm.fit(model, rows(model, 40), hm.WakeSleep(**options), epochs=2, batch_size=16, lr=0.05, seed=1)
    for layer, rbm in enumerate(model.rbms):
        weights = {f"rbms.{layer}.weight": rbm.weight}
        if layer < model.depth - 1:
            weights[f"recognition.{layer}.weight"] = model.recognition[layer].weight
        for name, weight in weights.items():
            free = torch.ones_like(weight) if rbm.weight_mask is None else rbm.weight_mask
            assert torch.equal(weight != before[name], free == 1), name
            assert bool((weight[free == 0] == 0).all()), name


def test_all_is_trained_but_hidden_biases_below_the_top_and_what_is_frozen():
    model = network("bits")
    frozen = ("rbms.0.weight", "rbms.1.visible.bias", "rbms.2.weight", "recognition.1.weight")
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    left = {*frozen, "rbms.0.hidden.bias", "rbms.1.hidden.bias"}
    names = {name for name, _ in model.named_parameters()}
    assert set(trained(model)) == names - left
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(rows(model, 40), model, hm.WakeSleep())
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == names - left


def untied(visible=6, **options):
    """Return a small untied network in single precision."""
    model = hm.DBN([visible, 4, 3, 5], seed=2, **options)
    model.untie()
    return settled(model)


@pytest.mark.parametrize(("chains", "averaging"), [(None, 0.3), (10, 0.0)])
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(tmp_path, chains, averaging):
    own = {"weights": torch.arange(40) % 3, "averaging": averaging}
    rule, data = hm.WakeSleep(chains=chains), bits()
    if chains:
        own["likelihood_every"] = 4
        own["likelihood"] = {"method": "ais", "runs": 10, "betas": 5, "equilibrate": 2}
    options = {"out": tmp_path / "run", "checkpoint_every": 1e-9, "keep": 50, **own}
    model = untied(5, classes=2)
    whole = train(data, model, rule, **options)
    assert whole.model is model
    assert len(list((tmp_path / "run/checkpoints").iterdir())) > 8
    back_to(tmp_path / "run", 4)
    assert same(hm.resume(tmp_path / "run", data, weights=own["weights"]), whole)
    assert equal(hm.load(tmp_path / "run/model.safetensors").state_dict(), model.state_dict())


def test_the_history_has_the_top_chains():
    assert train(model=untied(), rule=hm.WakeSleep()).chains is None
    chains = train(model=untied(), rule=hm.WakeSleep(chains=11)).chains
    assert chains.shape == (11, 3)
    assert set(chains.unique().tolist()) == {0, 1}


def test_an_untied_network_is_saved_whole(tmp_path):
    model = network("masked, labelled")
    hm.save(model, tmp_path / "model.safetensors")
    again = hm.load(tmp_path / "model.safetensors")
    assert equal(again.state_dict(), model.state_dict())
    for one in (model, again):
        hm.WakeSleep().update(one, batch_of(model), {}, Stream(2), nothing)
    assert np.array_equal(gradients(model), gradients(again))


# --- the contract ---------------------------------------------------------------------------------


@PHASES
def test_an_update_is_applied_once_with_the_bits_of_its_own_stream(options):
    model, rule, stream, applied = network("labelled"), hm.WakeSleep(**options), Stream(1), []
    state = rule.init(model, stream)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    torch.manual_seed(0)
    _, metrics = rule.update(model, batch_of(model), state, stream, applied.append)
    assert applied == ["model"]
    assert metrics == {}
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_a_stored_state_goes_on_bit_for_bit():
    model, rule, stream = network("spins"), hm.WakeSleep(chains=9), Stream(1)
    state = rule.init(model, stream)
    shapes = {name: tuple(x.shape) for name, x in state.items()}
    assert shapes == {"top.visible": (9, 6), "top.hidden": (9, 2)}
    batch = equal_batch(model.visible.statistics(rows(model)))
    state, _ = rule.update(model, batch, state, stream, nothing)
    other = Stream(1)
    other.load_state_dict(stream.state_dict())
    one, _ = rule.update(model, batch, state, stream, nothing)
    left = gradients(model).copy()
    two, _ = rule.update(model, batch, {name: x.clone() for name, x in state.items()}, other, nothing)
    assert equal(one, two)
    assert np.array_equal(left, gradients(model))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hm.RBM(6, 4), r"^rule: got 'wake-sleep', expected a rule that fits a rbm$"),
        (lambda: hm.DBN([6, 4]), r"^rule: got 'wake-sleep', expected a rule that fits an RBM, as .* one"),
        (lambda: hm.DBN([6, 4, 3]), r"^model: got .* tied .*, expected .*: call dbn\.untie\(\) first$"),
    ],
    ids=["rbm", "one hidden layer", "tied"],
)
def test_a_model_that_does_not_fit_is_refused(make, message, tmp_path):
    model = make()
    for out in (None, tmp_path / "run"):
        with pytest.raises(ArgumentError, match=message):
            hm.fit(model, bits(), hm.WakeSleep(), out=out)
    assert not (tmp_path / "run").exists()


def test_pretraining_takes_no_wake_sleep():
    with pytest.raises(ArgumentError, match="'wake-sleep', expected a rule that fits a rbm"):
        hm.pretrain(hm.DBN([6, 4, 3]), bits(), hm.WakeSleep())


def test_a_run_that_diverges_is_stopped():
    model = untied(hm.Gaussian(6))
    with pytest.raises(TrainingError, match="no longer finite"):
        train(Stream(0).normal(40, 6), model, hm.WakeSleep(), lr=1e30, epochs=30)


def test_the_norm_of_all_weights_that_come_into_units_is_bounded():
    model = network()
    hm.fit(model, torch.ones(8, model.visible.size), hm.WakeSleep(), epochs=1, lr=0.01, max_norm=0.1)
    matrices = [*(rbm.weight for rbm in model.rbms), *(upward.weight for upward in model.recognition)]
    for weight in matrices:
        assert float(weight.detach().norm(dim=0).max()) <= 0.1 + 1e-9
