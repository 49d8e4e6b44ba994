"""The training loop: every option does what it says, and training finds the best model there is."""

import itertools
import json
import logging
import math
import sys
import threading
from functools import partial

import numpy as np
import pytest
import torch
from _runs import SMALL, bits, equal, log, same, timeless, train
from PIL import Image

import harmonium as hm
from harmonium import files
from harmonium.errors import ArgumentError, TrainingError
from harmonium.learning import RULES
from harmonium.training import SCHEDULES, Options, pseudo_likelihood
from harmonium.training._optimiser import Average, Optimisers
from harmonium.training._source import open_source


class Watched(torch.optim.SGD):
    """SGD that keeps what it was given at each step."""

    def __init__(self, groups, **arguments):
        super().__init__(groups, **{"lr": 1.0, **arguments})
        self.seen = []

    def step(self, closure=None):
        groups = self.param_groups
        gradients = [p.grad.clone() for group in groups for p in group["params"]]
        before = [p.detach().clone() for group in groups for p in group["params"]]
        super().step(closure)
        after = [p.detach().clone() for group in groups for p in group["params"]]
        self.seen.append(([group["lr"] for group in groups], gradients, before, after))


def watched(**arguments):
    """Return a factory for the option ``optimizer``, and the list that its optimisers go to."""
    made = []

    def make(groups):
        made.append(Watched(groups, **arguments))
        return made[-1]

    return make, made


def patterns(side=3):
    """Return the distinct images of bars or stripes."""
    lines = list(itertools.product((0, 1), repeat=side))
    bars = {line * side for line in lines}
    stripes = {tuple(bit for bit in line for _ in range(side)) for line in lines}
    return torch.tensor(sorted(bars | stripes), dtype=torch.uint8)


# --- it learns ----------------------------------------------------------------------------------


def test_the_likelihood_comes_close_to_the_entropy_bound():
    x = patterns()
    model = hm.RBM(9, 16)
    bound = -math.log(len(x))
    start = hm.log_likelihood(model, x).mean
    rule = hm.PCD(chains=200, steps=5)
    hm.fit(model, x.repeat(40, 1), rule, epochs=40, lr=0.3, batch_size=28, probe=14)
    reached = hm.log_likelihood(model, x)
    assert reached.method == "exact"
    assert start < bound - 3
    assert bound - 0.3 < reached.mean < bound


@pytest.mark.parametrize("rule", [hm.CD(), hm.PCD(chains=50)])
def test_digits_get_more_likely(rule):
    data = hm.datasets.load("digits")
    model = hm.RBM(64, 16)
    history = hm.fit(model, data, rule, epochs=6, batch_size=20, seed=1, lr=0.2)
    base = hm.RBM(64, 1)
    base.initialise(model.base_rates)
    with torch.no_grad():
        base.weight.zero_()
    gain = hm.log_likelihood(model, data.test).mean - hm.log_likelihood(base, data.test).mean
    assert gain > 2
    scores = [record["validation/pseudo_likelihood"] for record in history.records]
    assert scores[-1] > scores[0]


def test_gaussian_units_learn_what_a_mixture_looks_like():
    noise = hm.Stream(5).normal(400, 2)
    side = torch.where(torch.arange(400) % 2 == 0, 1.5, -1.5)[:, None]
    data = side + noise
    model = hm.RBM(hm.Gaussian(2), hm.Spin(1))
    before = hm.log_likelihood(model, data).mean
    hm.fit(model, data, hm.CD(steps=3), epochs=30, batch_size=40, lr=0.05)
    gaussians = -0.5 * (noise**2).sum(1).double() - math.log(2 * math.pi)
    other = -0.5 * ((data + side) ** 2).sum(1).double() - math.log(2 * math.pi)
    truth = float(torch.logsumexp(torch.stack((gaussians, other)), 0).mean() - math.log(2))
    assert before < truth - 1
    assert truth - 0.05 < hm.log_likelihood(model, data).mean < truth + 0.05


# --- what comes in ------------------------------------------------------------------------------


def test_arrays_tensors_lists_and_data_sets_are_the_same_rows():
    x = bits()
    first = train(x)
    read_only = x.numpy().copy()
    read_only.setflags(write=False)
    forms = [
        x.numpy(),
        x.float(),
        x.bool(),
        x.numpy().astype(">i4"),
        x.numpy().astype(np.uint16),
        x.numpy()[::-1][::-1],
        np.asfortranarray(x.numpy()),
        x.tolist(),
        read_only,
        x.float().requires_grad_(),
        hm.datasets.from_array(x.numpy()),
    ]
    for form in forms:
        assert same(first, train(form))


def test_data_are_not_changed():
    x = bits().float()
    kept = x.clone()
    train(x, weights=torch.ones(len(x)))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("n", [1, 15, 17, 33])
def test_the_last_batch_may_be_smaller(n):
    x = bits(n)
    history = train(x)
    assert history.records[-1]["updates"] == 4 * math.ceil(n / 16)
    source, *_ = open_source(hm.RBM(6, 1).visible, x, hm.Stream(0), 16, 2)
    batches = list(source.batches(0))
    assert [len(b.values) for b in batches] == [16] * (n // 16) + [n % 16]
    assert all(math.isclose(float(b.weights.sum()), 1, rel_tol=1e-6) for b in batches)
    rows = torch.cat([b.rows for b in batches])
    assert torch.equal(rows.sort().values, torch.arange(n))
    assert torch.equal(torch.cat([b.values for b in batches]), x[rows].float())


def test_each_epoch_has_its_own_order_and_its_own_bits():
    grey = np.full((64, 4), 128, np.uint8)
    data = hm.datasets.from_array(grey, binarisation="sampled")
    source, probe, *_ = open_source(hm.RBM(4, 1).visible, data, hm.Stream(0), 64, 9)
    (first,), (second,) = source.batches(0), source.batches(1)
    assert not torch.equal(first.rows, second.rows)
    shown = [batch.values[batch.rows.argsort()] for batch in (first, second)]
    assert not torch.equal(*shown)
    assert set(shown[0].unique().tolist()) == {0, 1}
    assert torch.equal(probe, data.fixed("train", 9))
    split, *_ = open_source(hm.RBM(4, 1).visible, data, hm.Stream(0), 7, 9)
    parts = list(split.batches(0))
    assert torch.equal(torch.cat([b.rows for b in parts]), first.rows)
    assert torch.equal(torch.cat([b.values for b in parts]), first.values)


def test_threshold_and_means_are_presented_as_they_are():
    grey = np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5)
    for binarisation in ("threshold", "none"):
        data = hm.datasets.from_array(grey, binarisation=binarisation)
        source, *_ = open_source(hm.RBM(5, 1).visible, data, hm.Stream(0), 5, 2)
        (batch,) = source.batches(0)
        expected = torch.from_numpy(grey)[batch.rows] / 255
        if binarisation == "threshold":
            expected = (expected >= 0.5).float()
        assert torch.allclose(batch.values, expected)


def test_means_have_no_pseudo_likelihood():
    grey = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    data = hm.datasets.from_array(grey, binarisation="none")
    record = train(data, epochs=1).records[0]
    assert "train/free_energy" in record
    assert "train/pseudo_likelihood" not in record


def test_the_first_biases_are_those_of_the_data():
    x = bits()
    seen = {}
    make, _ = watched()
    model = hm.RBM(6, 4)
    train(x, model, optimizer=make, epochs=0)
    rates = (x.double().sum(0) + 1) / (len(x) + 2)
    assert torch.allclose(model.base_rates.double(), rates)
    assert torch.allclose(model.visible.bias.sigmoid().double(), rates)
    seen = model.visible.bias.detach().clone()
    hm.fit(model, 1 - x, epochs=0)
    assert torch.equal(model.visible.bias, seen), "a model that has been trained goes on"


def test_chains_do_not_depend_on_the_batch_size():
    for batch_size in (3, 40):
        history = train(rule=hm.PCD(chains=7), batch_size=batch_size)
        assert history.chains.shape == (7, 6)
        assert set(history.chains.unique().tolist()) <= {0, 1}
    assert train(rule=hm.CD()).chains is None


# --- weights ------------------------------------------------------------------------------------


def test_weights_count_rows():
    """An update on a row of weight 3 is one on three such rows (CD draws apart, which are none here)."""
    x = bits(6)
    weights = torch.tensor([3, 1, 0, 2, 1, 1])
    repeated = x.repeat_interleave(weights, 0)
    a, *_ = open_source(hm.RBM(6, 1).visible, x, hm.Stream(0), 6, 2, weights)
    b, *_ = open_source(hm.RBM(6, 1).visible, repeated, hm.Stream(0), 8, 2)
    (one,), (other,) = a.batches(0), b.batches(0)
    assert torch.allclose(one.weights @ one.values, other.weights @ other.values)
    assert torch.allclose(one.weights.sum(), torch.tensor(1.0))


def test_weights_change_what_is_learned():
    x = bits(60)
    weights = np.where(x[:, 0].numpy() == 1, 10.0, 0.0)
    model = train(x, weights=weights, epochs=20, lr=0.3).model
    samples = hm.sample(model, 400, steps=100)
    assert samples[:, 0].mean() > 0.9
    assert model.base_rates[0] > 0.9
    assert not same(train(x), train(x, weights=weights))
    assert same(train(x, weights=[2] * 60), train(x, weights=torch.ones(60)))


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("constant", {0: 1, 0.5: 1, 1: 1}),
        ("linear", {0: 1, 0.3: 1, 0.65: 0.5, 1: 0}),
        ("cosine", {0: 1, 0.5: 0.5, 1: 0}),
        ("sqrt", {0: 1, 0.3: 0.5, 0.8: 1 / 3}),
    ],
)
def test_schedules(name, values):
    options = Options(schedule=name)
    for share, factor in values.items():
        assert math.isclose(options.rate(share), factor, abs_tol=1e-12)


def test_every_schedule_begins_at_one_and_never_rises():
    for name in SCHEDULES:
        rates = [Options(schedule=name).rate(k / 100) for k in range(101)]
        assert rates[0] == 1
        assert all(a >= b >= 0 for a, b in itertools.pairwise(rates)), name


def test_the_schedule_sets_each_rate():
    make, made = watched()
    history = train(optimizer=make, lr=0.2, schedule=lambda share: 1 - share / 2)
    rates = [rates for rates, *_ in made[0].seen]
    n = len(rates)
    assert n == 4 * 3
    for k, pair in enumerate(rates):
        assert pair == pytest.approx([0.2 * (1 - k / n / 2)] * 2)
    assert [r["lr"] for r in history.records] == pytest.approx([0.175, 0.15, 0.125, 0.1])


def test_an_optimiser_of_the_user_keeps_its_own_rate_unless_one_is_stated():
    make, made = watched(lr=0.01)
    train(optimizer=make, schedule="constant", epochs=1)
    assert made[0].seen[0][0] == [0.01, 0.01]
    make, made = watched(lr=0.01)
    train(optimizer=make, schedule="constant", epochs=1, lr=0.3)
    assert made[0].seen[0][0] == [0.3, 0.3]


def test_default_rates():
    assert train(epochs=1, schedule="constant").records[0]["lr"] == 0.05
    model = hm.RBM(hm.Gaussian(6), 4)
    assert train(bits().float(), model, epochs=1, schedule="constant").records[0]["lr"] == 0.005


def test_weight_decay_is_for_matrices_alone():
    make, made = watched()
    train(optimizer=make, lr=0.1, schedule="constant", weight_decay=0.5)
    for _, gradients, before, after in made[0].seen:
        for gradient, old, new in zip(gradients, before, after, strict=True):
            decay = 0.5 if gradient.ndim == 2 else 0.0
            assert torch.allclose(new, old - 0.1 * (gradient + decay * old), atol=1e-7)
    assert {g.ndim for g in made[0].seen[0][1]} == {1, 2}
    norms = [train(weight_decay=d, epochs=20).records[-1]["weight/norm"] for d in (0.0, 1.0)]
    assert norms[1] < 0.7 * norms[0]


def test_plain_sgd_is_torch_sgd():
    """The option 'sgd' with a momentum is that of torch.optim, whatever kernel does it."""
    plain = train(momentum=0.9, lr=0.1)
    theirs = train(optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9))
    for name, value in plain.model.state_dict().items():
        assert torch.allclose(value, theirs.model.state_dict()[name], atol=1e-6)
    assert not same(plain, train(momentum=0.0, lr=0.1))


def test_momentum_follows_its_formula():
    make, made = watched(momentum=0.8)
    train(optimizer=make, lr=0.1, schedule="constant")
    velocity = None
    for _, gradients, before, after in made[0].seen:
        old = [torch.zeros_like(g) for g in gradients] if velocity is None else velocity
        velocity = [0.8 * v + g for v, g in zip(old, gradients, strict=True)]
        for v, old, new in zip(velocity, before, after, strict=True):
            assert torch.allclose(new, old - 0.1 * v, atol=1e-6)


def test_max_gradient_clips_the_norm():
    make, made = watched()
    train(optimizer=make, lr=0.5)
    free = [math.sqrt(sum(float(g.square().sum()) for g in seen[1])) for seen in made[0].seen]
    limit = sorted(free)[len(free) // 2]
    make, made = watched()
    train(optimizer=make, lr=0.5, max_gradient=limit)
    norms = [math.sqrt(sum(float(g.square().sum()) for g in seen[1])) for seen in made[0].seen]
    assert max(norms) <= limit * (1 + 1e-5)
    assert sum(norm > limit * 0.999 for norm in norms) >= 2
    assert not all(norm > limit * 0.999 for norm in norms)


def test_averaging_follows_its_formula():
    parameter = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    average = Average({"p": parameter}, 0.25)
    expected = torch.zeros(3, dtype=torch.float64)
    for t in range(1, 30):
        with torch.no_grad():
            parameter.copy_(torch.tensor([t, t**2, (-1) ** t], dtype=torch.float64))
        average.update()
        expected = expected + min(1, 1 / (0.25 * t)) * (parameter.detach() - expected)
    assert torch.allclose(average.values["p"], expected)
    raw = parameter.detach().clone()
    average.swap()
    assert torch.allclose(parameter.detach(), expected)
    average.swap()
    assert torch.equal(parameter.detach(), raw)


def test_averaging_is_what_the_model_is_left_with():
    make, made = watched()
    averaged = train(optimizer=make, lr=0.1, averaging=0.5).model
    order = ["weight", "visible.bias", "hidden.bias"]
    track = [dict(zip(order, seen[3], strict=True)) for seen in made[0].seen]
    mean = {k: v.double() for k, v in track[0].items()}
    for t, values in enumerate(track, 1):
        share = min(1, 1 / (0.5 * t))
        mean = {k: m + share * (values[k].double() - m) for k, m in mean.items()}
    for name, value in mean.items():
        assert torch.allclose(averaged.get_parameter(name).double(), value, atol=1e-6)
    make, made = watched()
    plain = train(optimizer=make, lr=0.1, averaging=0).model
    assert torch.equal(plain.weight, made[0].seen[-1][3][0])


FIT = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type)
    and issubclass(kind, torch.optim.Optimizer)
    and name not in ("Optimizer", "LBFGS", "Muon", "SparseAdam")
)


@pytest.mark.parametrize("name", FIT)
def test_any_optimiser_of_torch_by_name_or_class(name):
    data, kind = bits(), getattr(torch.optim, name)
    make = partial(kind, fused=True) if name in ("Adam", "AdamW") else kind
    by_name = train(data, optimizer=name, lr=0.01)
    by_class = train(data, optimizer=make, lr=0.01)
    for key, value in by_name.model.state_dict().items():
        assert bool(value.isfinite().all())
        if name != "SGD":
            assert torch.equal(value, by_class.model.state_dict()[key])
    start = hm.RBM(6, 4)
    start.initialise(by_name.model.base_rates)
    assert not torch.equal(start.weight, by_name.model.weight)


@pytest.mark.parametrize("name", ["LBFGS", "Muon", "SparseAdam"])
def test_an_optimiser_that_does_not_fit_is_refused_by_name(name):
    with pytest.raises(ArgumentError, match=rf"^optimizer: got '{name}', expected one"):
        train(optimizer=name)


def test_lbfgs_is_refused_by_class_too():
    def make(groups):
        return torch.optim.LBFGS([p for group in groups for p in group["params"]])

    with pytest.raises(ArgumentError, match=r"^optimizer: got 'LBFGS', expected one that steps without"):
        train(optimizer=make)


@pytest.mark.parametrize("optimizer", ["sgd", "Adam", lambda groups: torch.optim.AdamW(groups, fused=True)])
def test_how_numbers_lie_in_memory_does_not_matter(optimizer):
    """Neither those of a gradient nor, after a checkpoint, those of what the optimiser keeps."""

    def run(order):
        p = torch.nn.Parameter(torch.arange(120.0).view(2, 3, 4, 5).contiguous(memory_format=order))
        options, stream, kept = Options(optimizer=optimizer, momentum=0.9), hm.Stream(1), None
        for _ in range(3):
            optimisers = Optimisers({"model": {"p": p}}, options, 0.1)
            if kept is not None:
                optimisers.load_state({key: value.contiguous() for key, value in kept[0].items()}, kept[1])
            p.grad = stream.normal(1, p.numel()).view(p.shape)
            optimisers.apply("model")
            kept = optimisers.state()
        return p.detach()

    torch.testing.assert_close(run(torch.channels_last), run(torch.contiguous_format))


@pytest.mark.parametrize("optimizer", ["sgd", "Adam"])
def test_a_parameter_may_be_a_part_of_another_tensor(optimizer):
    whole = torch.zeros(3, 4)
    p = torch.nn.Parameter(whole[:, :2])
    p.grad = torch.ones(3, 2)
    Optimisers({"model": {"p": p}}, Options(optimizer=optimizer), 0.1).apply("model")
    assert (p < 0).all()
    assert (whole[:, 2:] == 0).all()


def test_weight_decay_is_not_ignored_by_an_optimiser_that_has_none():
    with pytest.raises(ArgumentError, match=r"^weight_decay: got 0.1, expected 0, as Rprop has none"):
        train(optimizer="Rprop", weight_decay=0.1)


def test_seeds():
    first = train(seed=5)
    assert same(first, train(seed=5))
    assert not same(first, train(seed=6))


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = train(likelihood_every=2, likelihood={"method": "bridge", "runs": 4, "betas": 5})
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(8)
    assert same(first, train(likelihood_every=2, likelihood={"method": "bridge", "runs": 4, "betas": 5}))


def test_evaluating_in_between_does_not_change_training(tmp_path):
    plain = train(epochs=5)
    quick = {"method": "bridge", "runs": 8, "betas": 20, "equilibrate": 10}
    judged = train(
        hm.datasets.from_array(bits().numpy()),
        epochs=5,
        likelihood_every=2,
        likelihood=quick,
        validation=bits(30, seed=9),
        callback=lambda record: None,
        out=tmp_path / "run",
        checkpoint_every=1e-9,
    )
    assert equal(plain.model.state_dict(), judged.model.state_dict())
    assert torch.equal(plain.chains, judged.chains)


def test_likelihoods_come_with_both_ends():
    quick = {"method": "bridge", "runs": 20, "betas": 50, "equilibrate": 20}
    history = train(epochs=5, likelihood_every=2, likelihood=quick, validation=bits(30, seed=9))
    judged = [record["epoch"] for record in history.records if "log_partition" in record]
    assert judged == [2, 4, 5]
    last = history.records[-1]
    for split in ("train", "validation"):
        value, low, high = (last[f"{split}/log_likelihood{end}"] for end in ("", "_lower", "_upper"))
        exact = hm.log_likelihood(history.model, bits(30, seed=9) if split == "validation" else bits()[:20])
        assert math.isclose(value, exact.mean, abs_tol=0.2)
        assert math.isclose(low, exact.mean, abs_tol=0.5)
        assert math.isclose(high, exact.mean, abs_tol=0.5)
        assert low != high
    assert last["log_partition"]["method"] == "bridge"


# --- stopping -----------------------------------------------------------------------------------


def test_a_callback_stops_the_run():
    seen = []

    def callback(record):
        seen.append(record["epoch"])
        return record["epoch"] == 2

    history = train(callback=callback)
    assert seen == [1, 2]
    assert history.stopped == "by the callback"
    assert len(history.records) == 2
    assert train().stopped == ""
    assert train(callback=lambda record: None).stopped == ""


def test_patience_stops_and_restores_the_best():
    best = {}
    x = bits(30)

    def callback(record):
        best[record["epoch"]] = record["validation/pseudo_likelihood"]

    history = train(
        x,
        validation=bits(500, seed=9),
        patience=3,
        epochs=200,
        lr=3.0,
        schedule="constant",
        averaging=0,
        callback=callback,
        probe=500,
    )
    assert history.stopped == "no better validation/pseudo_likelihood in 3 scores"
    assert len(best) < 200
    top = max(best, key=best.get)
    assert top == len(best) - 3
    held_out = bits(500, seed=9).float()
    assert pseudo_likelihood(history.model, held_out) == best[top]
    straight = train(x, epochs=top, lr=3.0, schedule="constant", averaging=0, probe=500)
    assert equal(straight.model.state_dict(), history.model.state_dict())


def test_patience_watches_one_score_alone():
    """Epochs without an estimate are not compared with those that have one."""
    held_out = bits(30, seed=9)
    options = {"patience": 2, "likelihood_every": 3, "likelihood": {"method": "exact"}}
    options |= {"validation": held_out, "epochs": 9, "probe": 30}
    kept = train(**options, score="validation/log_likelihood")
    assert same(kept, train(**options))
    scores = [r["validation/log_likelihood"] for r in kept.records if "log_partition" in r]
    assert len(scores) == 3
    assert math.isclose(max(scores), hm.log_likelihood(kept.model, held_out).mean, abs_tol=1e-9)


def test_a_signal_is_not_caught_outside_the_main_thread():
    histories = []
    thread = threading.Thread(target=lambda: histories.append(train()))
    thread.start()
    thread.join()
    assert same(histories[0], train())


# --- records ------------------------------------------------------------------------------------


def test_the_history_has_a_record_for_each_epoch(tmp_path):
    history = train(validation=bits(30, seed=9), out=tmp_path / "run")
    assert [r["epoch"] for r in history.records] == [1, 2, 3, 4]
    assert [r["updates"] for r in history.records] == [3, 6, 9, 12]
    assert log(tmp_path / "run") == timeless(history.records)
    names = {
        *("epoch", "updates", "lr", "seconds", "epoch_seconds", "free_energy_gap"),
        *("weight/norm", "weight/update", "chains/free_energy", "chains/free_energy_std"),
    }
    kinds = ("free_energy", "reconstruction_error", "hidden_mean", "pseudo_likelihood")
    names |= {f"{split}/{kind}" for split in ("train", "validation") for kind in kinds}
    for record in history.records:
        assert record.keys() == names
        assert all(math.isfinite(value) for value in record.values())


def test_records_are_read_off_the_model_that_is_kept():
    x = bits()
    history = train(x, probe=40, validation=bits(30, seed=9))
    last, model = history.records[-1], history.model
    with torch.no_grad():
        energy, other = (float(model.free_energy(rows).mean()) for rows in (x, bits(30, seed=9)))
    assert last["train/free_energy"] == pytest.approx(energy)
    assert last["validation/free_energy"] == pytest.approx(other)
    assert last["free_energy_gap"] == pytest.approx(other - energy)
    assert last["weight/norm"] == pytest.approx(float(model.weight.detach().norm()))
    assert last["train/hidden_mean"] == pytest.approx(float(model.encode(x).detach().mean()))


def test_the_weights_update_is_that_of_the_epoch():
    make, made = watched()
    history = train(optimizer=make, lr=0.1)
    weights = [made[0].seen[0][2][0]] + [seen[3][0] for seen in made[0].seen[2::3]]
    for record, (old, new) in zip(history.records, itertools.pairwise(weights), strict=True):
        assert record["weight/update"] == pytest.approx(float((new - old).norm() / new.norm()), rel=1e-4)


@pytest.mark.parametrize(
    "unit", [hm.Bernoulli(3), hm.Spin(3), hm.Categorical(3, 3)], ids=["bernoulli", "spin", "categorical"]
)
def test_pseudo_likelihood_against_its_definition(unit):
    """One unit of each row, drawn by the seed, stands for all; over many seeds this is the sum."""
    model = hm.RBM(unit, 2, seed=4)
    with torch.no_grad():
        model.weight.mul_(100)
    x = unit.values(unit.configurations(0, len(unit.support()) ** 3).float())
    s = unit.statistics(x)
    log_p = -model.free_energy(s).detach()
    total = 0.0
    for row in range(len(x)):
        for i in range(3):
            others = (x[:, torch.arange(3) != i] == x[row, torch.arange(3) != i]).all(1)
            total += float(log_p[row] - torch.logsumexp(log_p[others], 0))
    estimates = torch.tensor([pseudo_likelihood(model, s, seed) for seed in range(300)])
    error = float(estimates.std()) / math.sqrt(300)
    assert abs(float(estimates.mean()) - total / len(x)) < 4 * error + 1e-6
    assert pseudo_likelihood(model, s, 1) == pseudo_likelihood(model, s, 1)


# --- the run folder -----------------------------------------------------------------------------


def test_a_run_is_a_folder_of_plain_files(tmp_path):
    history = train(out=tmp_path / "a" / "run", config={"data": {"name": "bits"}})
    run = tmp_path / "a" / "run"
    names = {"config.json", "metrics.jsonl", "checkpoints", "samples", "model.safetensors"}
    assert {path.name for path in run.iterdir()} == names
    config = json.loads((run / "config.json").read_text())
    assert config["data"] == {"name": "bits"}
    assert config["rule"] == {"name": "pcd", **hm.PCD(chains=10).model_dump()}
    assert config["options"]["epochs"] == 4
    assert equal(hm.load(run / "model.safetensors").state_dict(), history.model.state_dict())
    assert [p.name for p in sorted((run / "checkpoints").iterdir())] == [
        "000000009.safetensors",
        "000000012.safetensors",
    ]


def test_keep_is_the_number_of_checkpoints(tmp_path):
    for keep in (1, 3):
        train(out=tmp_path / str(keep), keep=keep)
        assert len(list((tmp_path / str(keep) / "checkpoints").iterdir())) == keep


def test_checkpoints_within_an_epoch(tmp_path):
    train(out=tmp_path / "run", keep=100, checkpoint_every=1e-9)
    names = [p.stem for p in sorted((tmp_path / "run" / "checkpoints").iterdir())]
    assert names == [f"{n:09d}" for n in range(13)]


def test_tensorboard_gets_the_records(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"
    options = {"tensorboard": True, "likelihood_every": 2, "likelihood": {"method": "exact"}}
    history = train(out=run, **options)
    reader = accumulator.EventAccumulator(str(run / "tensorboard"))
    reader.Reload()
    for name in ("train/free_energy", "weight/norm", "lr"):
        told = [(event.step, event.value) for event in reader.Scalars(name)]
        expected = [(record["epoch"], record[name]) for record in history.records]
        assert [step for step, _ in told] == [epoch for epoch, _ in expected]
        assert [v for _, v in told] == pytest.approx([v for _, v in expected], rel=1e-6)
    assert [event.step for event in reader.Scalars("log_partition/value")] == [2, 4]
    hm.resume(run, bits(), epochs=6)
    reader = accumulator.EventAccumulator(str(run / "tensorboard"))
    reader.Reload()
    assert [event.step for event in reader.Scalars("lr")] == [1, 2, 3, 4, 5, 6]


def test_tensorboard_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ArgumentError, match=r"^tensorboard: got True, .*pip install 'harmonium\[tens"):
        train(out=tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("unit", "rule"),
    [
        (hm.Bernoulli(6), hm.PCD(chains=5)),
        (hm.Bernoulli(6), hm.CD()),
        (hm.Spin(6), hm.PCD(chains=5)),
        (hm.Categorical(6, 3), hm.PCD(chains=5)),
        (hm.Gaussian(6), hm.PCD(chains=5)),
    ],
    ids=["bernoulli", "without chains", "spin", "categorical", "gaussian"],
)
def test_pictures_of_the_chains(tmp_path, unit, rule):
    raw = bits()
    x = {"spin": 2 * raw.int() - 1, "categorical": raw + raw[:, [0]], "gaussian": 3 * raw.float() - 1}
    rows = x.get(unit.kind, raw).numpy().reshape(-1, 2, 3)
    data = hm.datasets.from_array(rows)
    plain = train(data, hm.RBM(unit, 3), rule, epochs=3)
    drawn = train(
        data,
        hm.RBM(type(unit)(**_arguments(unit)), 3),
        rule,
        epochs=3,
        samples_every=2,
        out=tmp_path / "run",
    )
    assert equal(plain.model.state_dict(), drawn.model.state_dict())
    names = [path.name for path in sorted((tmp_path / "run" / "samples").iterdir())]
    assert names == ["epoch-00002.png", "epoch-00003.png"]
    image = np.asarray(Image.open(tmp_path / "run" / "samples" / names[-1]))
    assert image.size > 1000
    assert len(np.unique(image)) > 1


def _arguments(unit):
    return {k: v for k, v in unit.config().items() if k != "kind"}


def test_rows_that_are_no_images_have_no_pictures(tmp_path):
    train(out=tmp_path / "run", samples_every=1)
    assert list((tmp_path / "run" / "samples").iterdir()) == []


# --- values that are not finite -----------------------------------------------------------------


@pytest.mark.parametrize("lr", [1e30, 1e12])
@pytest.mark.parametrize("batch_size", [1, 40], ids=["within an epoch", "at its end"])
def test_values_that_are_not_finite_stop_the_run(tmp_path, lr, batch_size):
    model = hm.RBM(hm.Gaussian(6), 4)
    run = tmp_path / "run"
    rows = bits().float() * 3
    options = {"lr": lr, "batch_size": batch_size, "epochs": 60, "out": run}
    with pytest.raises(TrainingError, match=r"not? longer finite at update \d+ .*lower lr") as caught:
        train(rows, model, averaging=0.1, schedule="constant", checkpoint_every=1e-9, **options)
    named = str(caught.value).rsplit("the last good checkpoint is ", 1)[1]
    assert named == str(sorted((run / "checkpoints").iterdir())[-1])
    tensors, _ = files.load_tensors(named, "checkpoint")
    learned = {k: t for k, t in tensors.items() if k.startswith(("model:", "average:", "state:"))}
    assert learned
    assert all(bool(t.isfinite().all()) for t in learned.values())
    assert len(log(run)) <= 60
    with pytest.raises(TrainingError):
        hm.resume(run, rows)
    assert hm.resume(run, rows, lr=1e-9, epochs=len(log(run)) + 1).stopped == ""


def test_no_run_ends_with_values_that_are_not_finite():
    """Whatever update it is that goes wrong, the last one included."""
    failed = 0
    for epochs in (1, 2, 3, 4):
        model = hm.RBM(hm.Gaussian(6), 4)
        options = {"lr": 1e30, "batch_size": 40, "epochs": epochs, "schedule": "constant"}
        try:
            train(bits().float(), model, **options)
        except TrainingError:
            failed += 1
        else:
            assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert 1 <= failed <= 3


def test_a_model_with_parameters_that_are_not_finite_is_refused(tmp_path):
    model = hm.RBM(6, 4)
    with torch.no_grad():
        model.weight[2, 1] = math.nan
    with pytest.raises(ArgumentError, match=r"^model: got weight with values that are not finite"):
        train(model=model, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_has_nothing_to_learn_is_refused(tmp_path):
    model = hm.RBM(6, 4).requires_grad_(False)
    for rule in (hm.PCD(), hm.Pseudolikelihood(), hm.NoiseContrastive()):
        with pytest.raises(ArgumentError, match=r"^model: got only frozen parameters, expected one whose"):
            train(model=model, rule=rule, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    model.hidden.bias.requires_grad_(True)
    train(model=model)
    assert bool(model.hidden.bias.any())


# --- the scale of the data ----------------------------------------------------------------------


def notices(caplog, rows, visible, **options):
    """Return what a fit said."""
    caplog.clear()
    train(rows, hm.RBM(visible, 2), epochs=2, lr=1e-9, **options)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("scale", [0.04, 0.12, 1.0, 8.0, 25.0])
@pytest.mark.parametrize("precision", [1.0, 0.25])
def test_data_far_from_the_scale_of_gaussian_units_are_spoken_of(caplog, tmp_path, scale, precision):
    """Where a column varies ten times more, or less, than its unit: once, at the start of the run."""
    rows = hm.Stream(0).normal(200, 6)
    rows /= rows.std(0, correction=0)
    rows[:, 4] = scale * rows[:, 4] + 300
    rows[:, 1] = 7.1
    ratio = scale * math.sqrt(precision)
    said = notices(caplog, rows, hm.Gaussian(6, precision), out=tmp_path / "run")
    if 0.1 <= ratio <= 10:
        assert said == []
        return
    (line,) = said
    assert line.startswith(f"data: column 4 has a standard deviation of {scale:.3g}, {ratio:.3g} times")
    assert f"fixed at {precision:g} (1 of 6 such columns" in line
    assert "standardise them, or let the units learn their precisions (learn_precision)" in line
    caplog.clear()
    hm.resume(tmp_path / "run", rows, epochs=3)
    assert caplog.records == []


def test_units_that_learn_their_precision_or_have_none_are_not_spoken_of(caplog):
    rows = 1000 * hm.Stream(0).normal(200, 6)
    assert len(notices(caplog, rows, hm.Gaussian(6))) == 1
    assert notices(caplog, rows, hm.Gaussian(6, learn_precision=True)) == []
    codes = bits(200, 6)
    codes[:, 2:] = 0
    codes[3, 2:] = 1
    assert notices(caplog, codes, hm.Bernoulli(6)) == []


def test_parts_of_a_mixed_layer_are_named_by_their_columns(caplog):
    """A column is one of the rows, not of their statistics, and each row counts as its weight says."""
    rows = torch.cat((torch.arange(200)[:, None] % 3, 50 * hm.Stream(0).normal(200, 2)), 1)
    visible = hm.Mixed(hm.Categorical(1, 3), hm.Gaussian(1, learn_precision=True), hm.Gaussian(1))
    (line,) = notices(caplog, rows, visible)
    assert line.startswith("data: column 2 has a standard deviation of ")
    assert "(1 of 1 such columns" in line
    rows[100:, 2] = hm.Stream(1).normal(100, 1)[:, 0]
    assert len(notices(caplog, rows, visible)) == 1
    assert notices(caplog, rows, visible, weights=(torch.arange(200) >= 100).float()) == []


# --- what is not checked again ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pcd", "trajectory-tempering", "noise-contrastive"])
def test_rows_are_checked_at_the_start_and_not_in_the_loop(monkeypatch, name):
    seen = []
    validate = hm.units.Unit.validate
    monkeypatch.setattr(hm.units.Unit, "validate", lambda *a, **k: seen.append(1) or validate(*a, **k))
    counts = []
    for epochs in (1, 4):
        seen.clear()
        train(rule=RULES[name](), epochs=epochs)
        counts.append(len(seen))
    assert counts[0] == counts[1] > 0


# --- light imports ------------------------------------------------------------------------------


def test_training_needs_no_plots(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.axes", "PIL", "harmonium.plots", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(train(out=tmp_path / "run").records) == SMALL["epochs"]


def test_the_library_is_silent(tmp_path, capfd, caplog):
    with caplog.at_level(logging.DEBUG, "harmonium"):
        train(out=tmp_path / "run")
    assert caplog.records == []
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
