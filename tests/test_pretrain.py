"""Greedy training: an RBM learns what those below make of the data, and a run that was killed goes on."""

import copy
import json
import math
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from _checks import check_mean
from _models import configurations
from _runs import back_to, bits, equal, same, timeless

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError, FileError
from harmonium.training import Options, RunFolder, changed_splits
from harmonium.training._lifted import LayerData, Lifted, open_data

OPTIONS = {"epochs": 3, "batch_size": 16, "seed": 3, "probe": 20}
UPDATES = 9
"""Of each layer."""


def network(layers=(6, 5, 8), **options):
    """Return a fresh network, whose top layer has room for the visible units."""
    return hm.DBN(list(layers), **{"seed": 4, **options})


def pretrain(data=None, model=None, rule=None, **options):
    """Pretrain a small network on small data."""
    data = bits() if data is None else data
    model = network() if model is None else model
    return hm.pretrain(model, data, rule or hm.PCD(chains=10), **{**OPTIONS, **options})


def watched(**settings):
    """Return a rule, and the list of the batches that it is given."""
    seen = []

    class Watched(hm.PCD):
        def update(self, model, batch, state, stream, apply):
            seen.append(batch)
            return super().update(model, batch, state, stream, apply)

    return Watched(**{"chains": 10, **settings}), seen


def opened(model, layer, data, *, batch_size=100, weights=None, means=False):
    """Return the source of a layer's batches."""
    view = LayerData(model, model.stack(), layer, data, means)
    return open_data(model.rbms[layer], view, Stream(0), Options(batch_size=batch_size), weights).source


def shaken(model, seed=0, scale=1.0):
    """Give a model random parameters."""
    with torch.no_grad():
        for number, p in enumerate(model.parameters()):
            if p.requires_grad:
                p.copy_(scale * Stream(seed, f"shaken {number}").normal(1, p.numel()).view(p.shape))
    return model


def labelled(rows=40):
    """Return bits whose last column is a label of three classes."""
    x = bits(rows)
    return torch.cat((x, (x[:, :1] + x[:, 2:3])), 1)


# --- exact values by enumeration ----------------------------------------------------------------


def exact(model, rows):
    """Return the mean log-likelihood of rows, and the mean bound, of a network of two hidden layers."""
    model = copy.deepcopy(model).double()
    h = model.rbms[0].hidden.configurations(0, int(model.rbms[0].hidden.count()))
    log_z = hm.log_partition(model.top, method="exact").value
    likelihoods, bounds = [], []
    with torch.no_grad():
        for v in model.rbms[0].visible.statistics(rows):
            path = [v.expand(len(h), -1), h]
            log_p, log_q = model.log_joint(path) - log_z, model.log_recognition(path)
            likelihoods.append(float(log_p.logsumexp(0)))
            bounds.append(float(log_q.exp() @ (log_p - log_q)))
    return sum(likelihoods) / len(rows), sum(bounds) / len(rows)


def test_each_layer_raises_the_likelihood_and_the_bound():
    copies = bits(40, 2)[:, [0, 0, 0, 1, 1, 1]].repeat(10, 1)
    rows = copies ^ (Stream(1).uniform(400, 6) < 0.1).to(torch.uint8)
    model = network((6, 3, 6))
    start, scores = copy.deepcopy(model), []
    for one, epochs in ((start, [0, 0]), (model, [60, 0]), (model, [0, 60])):
        hm.pretrain(one, rows, hm.ExactLikelihood(), epochs=epochs, batch_size=200, lr=0.5)
        scores.append(exact(one, rows[:60]))
    likelihoods, bounds = zip(*scores, strict=True)
    assert likelihoods[0] + 0.4 < likelihoods[1]
    assert likelihoods[1] + 1e-3 < likelihoods[2]
    assert bounds[0] + 0.4 < bounds[1]
    assert bounds[1] + 1e-3 < bounds[2] < likelihoods[2]


def test_upside_down_the_second_layer_models_what_the_first_one_did():
    rows = bits()
    model = network((6, 4, 6))
    pretrain(rows, model, hm.ExactLikelihood(), epochs=[20, 0], lr=0.3)
    first = hm.log_likelihood(model.rbms[0], rows, method="exact").mean
    assert exact(model, rows)[0] == pytest.approx(first, abs=1e-5)


# --- layer by layer -----------------------------------------------------------------------------


def test_layers_are_trained_in_order_each_by_its_own_settings():
    model, seen = network(), []

    def callback(record):
        weights = [rbm.weight.detach().clone() for rbm in model.rbms]
        seen.append(((record["layer"], record["epoch"], record["lr"]), weights))

    rules = [hm.CD(), hm.PCD(chains=7)]
    options = {"epochs": [2, 3], "lr": (0.1, 0.02), "schedule": "constant", "callback": callback}
    history = pretrain(model=model, rule=rules, **options)
    places = [(1, 1, 0.1), (1, 2, 0.1), (2, 1, 0.02), (2, 2, 0.02), (2, 3, 0.02)]
    assert [place for place, _ in seen] == places
    assert [(r["layer"], r["epoch"], r["lr"]) for r in history.records] == places
    first, second = ([weights[layer] for _, weights in seen] for layer in (0, 1))
    assert not torch.equal(first[0], first[1])
    assert all(torch.equal(first[2], weight) for weight in first[3:])
    assert torch.equal(second[0], second[1])
    assert not torch.equal(second[2], second[3])
    assert history.chains.shape == (7, 5)
    assert (history.model is model, history.stopped) == (True, "")


@pytest.mark.parametrize("kind", ["bits", "grey", "weights", "double"])
def test_the_first_layer_learns_as_an_rbm_alone(kind):
    data, model, options = bits(), network(), {}
    if kind == "grey":
        data = hm.datasets.from_array(100 * data.numpy() + 20, binarisation="sampled", levels=255)
    if kind == "weights":
        options["weights"] = torch.arange(40)
    if kind == "double":
        model.double()
    alone = copy.deepcopy(model.rbms[0])
    history = pretrain(data, model, epochs=[3, 1], **options)
    single = hm.fit(alone, data, hm.PCD(chains=10), **OPTIONS, **options)
    assert equal(model.rbms[0].state_dict(), alone.state_dict())
    records = [{k: v for k, v in r.items() if k != "layer"} for r in history.records if r["layer"] == 1]
    assert timeless(records) == timeless(single.records)


@pytest.mark.parametrize(
    "layers",
    [
        (6, hm.Spin(4), hm.Categorical(3, 3)),
        (hm.Spin(6), hm.Categorical(4, 3), 5),
        (hm.Categorical(6, 2), hm.Gaussian(4), 3),
        (hm.Gaussian(6), 5, hm.ReLU(4)),
        (hm.Spin(6), hm.ReLU(4), 5),
        (hm.Mixed(hm.Bernoulli(4), hm.Gaussian(2)), 5, 4, hm.Spin(3)),
    ],
    ids=["spin", "categorical", "gaussian", "relu", "relu between", "mixed"],
)
@pytest.mark.parametrize("means", [False, True])
def test_any_units_and_any_depth(layers, means):
    rows = 2 * bits().int() - 1 if isinstance(layers[0], hm.Spin) else bits()
    model = network(layers)
    before = copy.deepcopy(model)
    rules = hm.CD() if means else None
    history = pretrain(rows, model, rules, means=means, epochs=2, lr=0.01)
    assert [r["layer"] for r in history.records] == [n for n in range(1, model.depth + 1) for _ in (1, 2)]
    for ours, theirs in zip(model.rbms, before.rbms, strict=True):
        assert not torch.equal(ours.weight, theirs.weight)
        assert bool(ours.weight.isfinite().all())
        assert not bool(ours.base_rates.isnan().any())


def test_records_judge_each_layer_by_what_it_sees():
    """A layer that is shown means has no pseudo-likelihood, and validation rows are lifted too."""
    history = pretrain(validation=bits(30, seed=1))
    for record in history.records:
        assert {"train/free_energy", "validation/free_energy", "train/pseudo_likelihood"} <= record.keys()
    history = pretrain(validation=bits(30, seed=1), means=True)
    found = [("train/pseudo_likelihood" in r, "validation/free_energy" in r) for r in history.records]
    assert found == [(True, True)] * 3 + [(False, True)] * 3


# --- upside down --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bernoulli", "spin", "categorical"])
@pytest.mark.parametrize("more", [0, 2])
def test_the_second_layer_starts_as_the_first_upside_down(kind, more):
    make = {"bernoulli": hm.Bernoulli, "spin": hm.Spin, "categorical": lambda n: hm.Categorical(n, 2)}[kind]
    model = network((make(6), 5, make(6 + more)))
    fresh = copy.deepcopy(model)
    pretrain(2 * bits().int() - 1 if kind == "spin" else bits(), model, epochs=[3, 0])
    first, second = model.rbms
    n = first.visible.width
    assert torch.equal(second.weight[:, :n], first.weight.T)
    if not more:
        assert torch.equal(second.visible.bias, first.hidden.bias)
    assert torch.equal(second.hidden.bias[:n], first.visible.bias)
    assert not torch.equal(first.weight, fresh.rbms[0].weight)
    assert torch.equal(second.weight[:, n:], fresh.rbms[1].weight[:, n:])
    assert not second.hidden.bias[n:].any()


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_units_in_excess_hardly_move_the_second_layer(kind):
    """By the divergence between the hidden states' distributions, which thousands of weights would tilt."""
    make = {"bernoulli": hm.Bernoulli, "categorical": lambda n: hm.Categorical(n, 2)}[kind]
    model = network((make(6), 5, make(2000)))
    pretrain(bits(), model, epochs=[3, 0])
    first, second = (rbm.double().requires_grad_(False) for rbm in model.rbms)
    h = torch.from_numpy(configurations(first.hidden))
    field = h @ first.weight.T + first.visible.bias
    p = (h @ first.hidden.bias + first.visible.log_partition(field)).log_softmax(0)
    q = (-second.free_energy(h)).log_softmax(0)
    assert 0 <= float(p.exp() @ (p - q)) < 0.003


def test_a_mask_holds_upside_down_too():
    masks = [
        (torch.arange(6)[:, None] + torch.arange(5)) % 3 != 0,
        (torch.arange(5)[:, None] + 2 * torch.arange(6)) % 3 != 1,
    ]
    model = network((6, 5, 6), masks=masks)
    pretrain(model=model, epochs=[3, 0])
    assert torch.equal(model.rbms[1].weight, model.rbms[0].weight.T * masks[1])
    model = network((6, 5, 6), masks=masks)
    pretrain(model=model)
    for rbm, mask in zip(model.rbms, masks, strict=True):
        assert not rbm.weight[~mask].any()
        assert bool((rbm.weight[mask] != 0).all())


@pytest.mark.parametrize(
    ("layers", "options"),
    [
        ((hm.Gaussian(6), 5, 6), {}),
        ((hm.Gaussian(6), 5, hm.Gaussian(6)), {}),
        ((6, 5, 4), {}),
        ((6, 5, hm.Spin(6)), {}),
        ((hm.Categorical(6, 2), 5, hm.Categorical(6, 3)), {}),
        ((hm.Mixed(hm.Bernoulli(4), hm.Bernoulli(2)), 5, 6), {}),
        ((6, 5, 6), {"upside_down": False}),
    ],
    ids=["gaussian", "gaussians", "few", "spin", "states", "mixed", "told"],
)
def test_a_layer_that_cannot_start_upside_down_starts_afresh(layers, options):
    model = network(layers)
    fresh = copy.deepcopy(model.rbms[1].weight)
    pretrain(model=model, epochs=[2, 0], **options)
    assert torch.equal(model.rbms[1].weight, fresh)


def test_a_layer_that_is_trained_or_frozen_is_not_turned():
    model = network()
    pretrain(model=model)
    trained = model.rbms[1].weight.detach().clone()
    pretrain(model=model, epochs=[1, 0])
    assert torch.equal(model.rbms[1].weight, trained)
    model = network()
    model.rbms[1].weight.requires_grad_(False)
    fresh = model.rbms[1].weight.clone()
    pretrain(model=model)
    assert torch.equal(model.rbms[1].weight, fresh)


def test_principal_components_come_in_place_of_the_layer_below():
    model = network((6, 5, 6))
    pretrain(model=model, epochs=[3, 0], init=["base-rates", "pca"])
    assert not torch.equal(model.rbms[1].weight, model.rbms[0].weight.T)


# --- what a layer sees --------------------------------------------------------------------------


def test_states_are_drawn_afresh_and_average_to_the_recognition_mean():
    model, rows = shaken(network()), bits()
    source = opened(model, 1, rows)
    shown = torch.zeros(600, 40, 5)
    for epoch in range(600):
        for batch in source.batches(epoch):
            shown[epoch, batch.rows] = batch.values
    assert set(shown.unique().tolist()) == {0, 1}
    assert not torch.equal(shown[0], shown[1])
    expected = model.rbms[0].encode(rows).detach()
    error = (expected * (1 - expected) / 600).sqrt()
    assert bool(((shown.mean(0) - expected).abs() < 4 * error).all())


def test_a_third_layer_sees_the_second_through_states_of_the_first():
    """Not through its means, which is another distribution."""
    model, rows = shaken(network((6, 3, 4, 3)), scale=3), bits(3)
    (batch,) = opened(model, 2, rows.repeat(3000, 1), batch_size=9000).batches(0)
    shown = batch.values[batch.rows.argsort()].view(3000, -1)
    first, second = model.rbms[:2]
    states = first.hidden.configurations(0, 8).float()
    with torch.no_grad():
        q = first.hidden.log_density(states, first.field("hidden", {"visible": rows.float()})[:, None]).exp()
        expected = q.float() @ second.encode(states)
        through_means = second.encode(first.encode(rows))
    check_mean(shown, expected.flatten().numpy())
    with pytest.raises(AssertionError, match="standard errors away"):
        check_mean(shown, through_means.flatten().numpy())


@pytest.mark.parametrize("layer", [1, 2])
def test_means_are_those_of_the_layer_below_alone(layer):
    model, rows = shaken(network((6, 5, 4, 3))), bits()
    source = opened(model, layer, rows, means=True)
    (batch,) = source.batches(0)
    if layer == 1:
        torch.testing.assert_close(batch.values, model.rbms[0].encode(rows).detach()[batch.rows])
        return
    (states,) = opened(model, 1, rows).batches(0)
    torch.testing.assert_close(batch.values, model.rbms[1].encode(states.values).detach())


def test_a_training_run_is_shown_these_states():
    model = network()
    rule, seen = watched()
    pretrain(model=model, rule=[hm.PCD(chains=10), rule], epochs=[2, 3])
    assert [len(batch.rows) for batch in seen] == [16, 16, 8] * 3
    epochs = [torch.cat([b.values for b in seen[i : i + 3]]) for i in (0, 3, 6)]
    order = [torch.cat([b.rows for b in seen[i : i + 3]]) for i in (0, 3, 6)]
    assert all(torch.equal(rows.sort().values, torch.arange(40)) for rows in order)
    shown = [values[rows.argsort()] for values, rows in zip(epochs, order, strict=True)]
    assert not torch.equal(shown[0], shown[1])
    assert set(torch.cat(shown).unique().tolist()) == {0, 1}
    rule, seen = watched()
    pretrain(model=network(), rule=[hm.PCD(chains=10), rule], epochs=[2, 1], means=True)
    assert torch.cat([b.values for b in seen]).frac().abs().max() > 0


def test_grey_rows_are_binarised_at_each_presentation():
    model = shaken(network((2, 1, 1)), scale=3)
    grey = np.array([[64, 192]] * 2, np.uint8)
    data = hm.datasets.from_array(grey, binarisation="sampled")
    source = opened(model, 1, data, means=True)
    shown = torch.cat([batch.values for e in range(500) for batch in source.batches(e)])
    states = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    each = model.rbms[0].encode(states).detach().flatten()
    assert bool((shown - each).abs().min(1).values.max() < 1e-6)
    on = torch.tensor(grey[0]).double() / 255
    p = (states * on + (1 - states) * (1 - on)).prod(1)
    check_mean(shown, [float(p @ each.double())])


def test_batches_go_on_from_any_of_them():
    model = shaken(network((6, 5, 4, 3)))
    for layer in (0, 1, 2):
        source = opened(model, layer, bits(), batch_size=16)
        whole, rest = list(source.batches(7)), list(source.batches(7, 1))
        assert len(whole) == 3
        assert all(torch.equal(a.values, b.values) for a, b in zip(whole[1:], rest, strict=True))


def test_labels_reach_the_top_layer_alone():
    rows = labelled()
    model = network((6, 5, 4, 6), classes=3)
    rules = [watched() for _ in range(3)]
    pretrain(rows, model, [rule for rule, _ in rules], epochs=1)
    widths = [{batch.values.shape[1] for batch in seen} for _, seen in rules]
    assert widths == [{6}, {5}, {4 + 3}]
    for batch in rules[2][1]:
        codes = batch.values[:, 4:]
        assert torch.equal(codes.argmax(1), rows[batch.rows, -1].long())
        assert torch.equal(codes.sum(1), torch.ones(len(codes)))
    for batch in rules[0][1]:
        assert torch.equal(batch.values, rows[batch.rows, :6].float())


def test_a_data_set_brings_its_labels_where_they_are_wanted():
    rows = labelled()
    data = hm.datasets.from_array(rows[:, :6].numpy(), labels=10 * rows[:, 6].numpy())
    first, second = network(classes=3), network(classes=3)
    assert timeless(pretrain(rows, first).records) == timeless(pretrain(data, second).records)
    assert equal(first.state_dict(), second.state_dict())
    with pytest.raises(DataError, match=r"^labels: got none of the train rows"):
        pretrain(hm.datasets.from_array(rows[:, :6].numpy()), network(classes=3))
    with pytest.raises(DataError, match=r"^data: got shape \(40, 6\), expected \(rows, 7\)"):
        pretrain(rows[:, :6], network(classes=3))
    with pytest.raises(DataError, match=r"^data: got .* at row"):
        pretrain(rows, network(classes=2))


def test_weights_reach_the_upper_layers():
    weights = torch.arange(40) % 4
    rule, seen = watched()
    model = network()
    pretrain(model=model, rule=[hm.PCD(chains=10), rule], weights=weights, epochs=1)
    relative = weights.double() / weights.double().mean()
    assert len(seen) == 3
    for batch in seen:
        expected = relative[batch.rows].float() / len(batch.rows)
        torch.testing.assert_close(batch.weights, expected)
    own = relative @ model.rbms[0].encode(bits()).detach().double()
    torch.testing.assert_close(model.rbms[1].base_rates, ((own + 1) / 42).float())


def test_the_mean_is_that_of_the_labels_too():
    rows = labelled()
    model = shaken(network(classes=3))
    mean = opened(model, 1, rows).mean()
    own = torch.cat((model.rbms[0].encode(rows[:, :6]), torch.eye(3)[rows[:, 6].long()]), 1).detach()
    neutral = torch.tensor([0.5] * 5 + [1 / 3] * 3)
    torch.testing.assert_close(mean, ((own.sum(0) + 2 * neutral) / 42).double())


def test_nothing_is_lifted_but_the_rows_at_hand(monkeypatch):
    """The activities of all rows are never there at once: not for batches, nor for means."""
    lifted = []
    lift = Lifted.lift

    def counted(self, s, stream, **options):
        lifted.append(len(s))
        return lift(self, s, stream, **options)

    monkeypatch.setattr(Lifted, "lift", counted)
    source = opened(network(), 1, bits(1500), batch_size=50)
    lifted.clear()
    batches = source.batches(0)
    assert lifted == []
    next(batches)
    next(batches)
    assert lifted == [50, 50]
    lifted.clear()
    source.mean()
    assert sum(lifted) == 1500
    assert max(lifted) <= 512
    lifted.clear()
    for values, _ in source.blocks():
        assert len(values) == lifted[-1] <= 512
    lifted.clear()
    pretrain(bits(1500), epochs=1, batch_size=50, probe=60)
    assert max(lifted) <= 512


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": [1]}, r"^epochs: got \[1\], expected one value, or a list of 2, one for each RBM$"),
        ({"lr": (0.1, 0.1, 0.1)}, r"^lr: got .*expected one value, or a list of 2, one for each RBM$"),
        ({"rule": [hm.CD()]}, r"^rule: got .*expected one value, or a list of 2, one for each RBM$"),
        ({"lr": [0.1, -1]}, r"^lr: got -1, expected greater than 0"),
        ({"epoch": 3}, r"^epoch: unknown, .*did you mean 'epochs'"),
        ({"rule": [None, hm.ScoreMatching()]}, r"^rule: got 'score-matching', expected"),
        ({"patience": [None, 2]}, r"^patience: got 2, expected a score= to watch"),
        ({"patience": 2, "score": ["train/free_energy", "train/fee"]}, r"^score: unknown 'train/fee'"),
        ({"samples_every": [0, 1], "out": None}, r"^samples_every: got 1, expected 0, or a folder as out"),
        ({"config": {"model": 1}}, r"^config: got 'model', expected keys other than model, rule"),
    ],
)
def test_a_mistake_in_any_layer_comes_before_any_work(tmp_path, wrong, message):
    model = network()
    before = copy.deepcopy(model.state_dict())
    options = {"out": tmp_path / "run", **wrong}
    with pytest.raises(ArgumentError, match=message):
        pretrain(model=model, rule=options.pop("rule", None), **options)
    assert equal(nan_to_num(model.state_dict()), nan_to_num(before))
    assert not (tmp_path / "run").exists()


def nan_to_num(tensors):
    return {name: t.nan_to_num() for name, t in tensors.items()}


def test_other_models_and_callbacks_are_refused():
    with pytest.raises(ArgumentTypeError, match=r"^model: got RBM.*expected a deep belief network"):
        pretrain(model=hm.RBM(6, 4))
    with pytest.raises(ArgumentTypeError, match=r"^callback: got 3, expected a function"):
        pretrain(callback=3)
    with pytest.raises(ArgumentTypeError, match=r"^rule: got 'cd', expected a learning rule"):
        pretrain(rule="cd")
    untied = network()
    untied.untie()
    with pytest.raises(ArgumentError, match=r"^model: .*expected one before dbn.untie\(\)"):
        pretrain(model=untied)
    with pytest.raises(ArgumentError, match=r"^rule: got 'pcd', expected .*or hm.pretrain"):
        hm.fit(network(), bits())
    broken = network()
    broken.rbms[1].weight.data[0, 0] = math.inf
    with pytest.raises(ArgumentError, match=r"^model: got rbms.1.weight with values that are not finite"):
        pretrain(model=broken)


# --- run folders --------------------------------------------------------------------------------


def test_a_run_is_a_folder_of_run_folders(tmp_path):
    out = tmp_path / "run"
    fresh = network()
    history = pretrain(out=out, config={"note": "mine"}, rule=[hm.CD(steps=2), hm.PCD(chains=10)])
    names = ["config.json", "layer-1", "layer-2", "model.safetensors", "start.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == names
    own = ["checkpoints", "config.json", "metrics.jsonl", "model.safetensors", "samples"]
    for number, rbm in enumerate(history.model.rbms, 1):
        layer = out / f"layer-{number}"
        assert sorted(path.name for path in layer.iterdir()) == own
        assert equal(hm.load(layer / "model.safetensors").state_dict(), rbm.state_dict())
        assert len((layer / "metrics.jsonl").read_text().splitlines()) == 3
    assert equal(hm.load(out / "model.safetensors").state_dict(), history.model.state_dict())
    assert equal(nan_to_num(hm.load(out / "start.safetensors").state_dict()), nan_to_num(fresh.state_dict()))
    config = json.loads((out / "config.json").read_text())
    assert config["rule"]["name"] == "greedy"
    assert [rule["name"] for rule in config["rule"]["layers"]] == ["cd", "pcd"]
    assert [layer["epochs"] for layer in config["options"]["layers"]] == [3, 3]
    assert config["note"] == "mine"
    with pytest.raises(FileError, match="exists already"):
        pretrain(out=out)


class Cut(Exception):
    """What stops a run in these tests."""


VARIANTS = ["plain", "labels", "masks", "means", "grey", "weights", "double", "afresh"]


def variant(kind):
    """Return data, a network and what else a kind of run is given."""
    data, model, extra, options = bits(), {}, {}, {}
    if kind == "labels":
        data, model = labelled(), {"classes": 3}
    if kind == "masks":
        mask = (torch.arange(6)[:, None] + torch.arange(8)) % 3 != 0
        model = {"masks": [mask[:, :5], mask[:5]]}
    if kind == "grey":
        data = hm.datasets.from_array(100 * data.numpy() + 20, binarisation="sampled", levels=255)
    if kind == "weights":
        extra = {"weights": torch.arange(40)}
    if kind in ("means", "afresh"):
        options = {"means": True} if kind == "means" else {"upside_down": False}
    made = network(**model)
    return data, made.double() if kind == "double" else made, extra, options


def cut(monkeypatch, folder, updates, kind="plain", **options):
    """Pretrain until an exception at an update."""
    data, model, extra, own = variant(kind)
    done = [0]
    update = hm.PCD.update

    def cutting(self, *arguments):
        if done[0] == updates:
            raise Cut
        done[0] += 1
        return update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(hm.PCD, "update", cutting)
        with pytest.raises(Cut):
            pretrain(data, model, out=folder, checkpoint_every=1e-9, **extra, **own, **options)


def agree(first, second):
    """Assert that two folders hold the same run."""
    for name in ("model.safetensors", *(f"layer-{n}/model.safetensors" for n in (1, 2))):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    for layer in ("layer-1", "layer-2"):
        ours, theirs = (RunFolder(folder / layer).load() for folder in (first, second))
        assert equal(ours[0], theirs[0])
        assert ours[1]["stream"] == theirs[1]["stream"]


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path, monkeypatch, kind):
    data, model, extra, options = variant(kind)
    whole = pretrain(data, model, out=tmp_path / "whole", **extra, **options)
    moments = (4, UPDATES + 4)
    if kind == "plain":
        moments = (0, 4, UPDATES - 1, UPDATES, UPDATES + 4, 2 * UPDATES - 1)
    for after in moments:
        folder = tmp_path / str(after)
        cut(monkeypatch, folder, after, kind)
        again = hm.resume(folder, data, checkpoint_every=60.0, **extra)
        assert same(again, whole), after
        assert again.model is not whole.model
        agree(folder, tmp_path / "whole")


def leave_nothing(folder):
    shutil.rmtree(folder / "layer-2")


def leave_no_checkpoint(folder):
    for path in (folder / "layer-2/checkpoints").iterdir():
        path.unlink()


def leave_a_bare_folder(folder):
    leave_nothing(folder)
    (folder / "layer-2").mkdir()


def leave_a_model_unwritten(folder):
    leave_nothing(folder)
    (folder / "layer-1/model.safetensors").unlink()


@pytest.mark.parametrize(
    "leave",
    [leave_nothing, leave_no_checkpoint, leave_a_bare_folder, leave_a_model_unwritten],
    ids=lambda leave: leave.__name__,
)
@pytest.mark.parametrize("kind", ["plain", "masks", "afresh"])
def test_a_run_that_was_killed_between_layers_goes_on(tmp_path, monkeypatch, leave, kind):
    """With the weights and the masks that the second layer began with, which no checkpoint holds yet."""
    data, model, _, options = variant(kind)
    whole = pretrain(data, model, out=tmp_path / "whole", **options)
    cut(monkeypatch, tmp_path / "run", UPDATES, kind)
    leave(tmp_path / "run")
    assert same(hm.resume(tmp_path / "run", data), whole)
    agree(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(("layer", "epoch"), [(1, 2), (1, 3), (2, 1)])
def test_a_run_that_a_callback_broke_or_stopped_goes_on(tmp_path, layer, epoch):
    whole = pretrain()

    def broken(record):
        if (record["layer"], record["epoch"]) == (layer, epoch):
            raise Cut

    with pytest.raises(Cut):
        pretrain(out=tmp_path / "broken", callback=broken)
    assert same(hm.resume(tmp_path / "broken", bits()), whole)

    def stopping(record):
        return (record["layer"], record["epoch"]) == (layer, epoch)

    history = pretrain(out=tmp_path / "stopped", callback=stopping)
    assert history.stopped == "by the callback"
    assert len(history.records) == 3 * (layer - 1) + epoch
    assert (history.chains is None) == (layer == 1)
    assert same(hm.resume(tmp_path / "stopped", bits()), whole)


def test_a_finished_run_goes_nowhere(tmp_path):
    whole = pretrain(out=tmp_path / "run")
    told = []
    assert same(hm.resume(tmp_path / "run", bits(), callback=told.append), whole)
    assert told == []


def test_patience_ends_a_layer_and_not_the_run(tmp_path, monkeypatch):
    options = {"epochs": [8, 2], "patience": [1, None], "score": "train/free_energy", "lr": 0.5}
    whole = pretrain(out=tmp_path / "whole", **options)
    layers = [record["layer"] for record in whole.records]
    stopped = layers.count(1)
    assert stopped < 8
    assert layers.count(2) == 2
    cut(monkeypatch, tmp_path / "run", 3 * stopped + 2, **options)
    again = hm.resume(tmp_path / "run", bits(), keep=1)
    assert same(again, whole)


def test_an_interrupted_run_returns_and_goes_on(tmp_path, monkeypatch):
    flag = threading.Event()

    @contextmanager
    def interruptible():
        yield flag

    whole = pretrain(out=tmp_path / "whole")
    monkeypatch.setattr(sys.modules["harmonium.training.fit"], "_interruptible", interruptible)
    folder = tmp_path / "run"

    def interrupt(record):
        if record["epoch"] == 2:
            flag.set()

    first = pretrain(out=folder, callback=interrupt)
    assert (first.stopped, len(first.records)) == ("interrupted", 2)
    assert equal(hm.load(folder / "model.safetensors").rbms[0].state_dict(), first.model.rbms[0].state_dict())
    assert not (folder / "layer-2").exists()
    flag.clear()
    told = []

    def later(record):
        if record["layer"] == 2:
            told.append(record)
            interrupt(record)

    second = hm.resume(folder, bits(), callback=later)
    assert (second.stopped, len(second.records)) == ("interrupted", 5)
    assert [record["epoch"] for record in told] == [1, 2]
    flag.clear()
    assert same(hm.resume(folder, bits()), whole)
    agree(folder, tmp_path / "whole")


SIGNALLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
import harmonium as hm
from _runs import bits
def strike(layer):
    def callback(record):
        if (record["layer"], record["epoch"]) == (layer, 2):
            os.kill(os.getpid(), signal.SIGTERM)
    return callback
out, options = sys.argv[2], dict(epochs=3, batch_size=16, seed=3, probe=20)
network, rule = hm.DBN([6, 5, 8], seed=4), hm.PCD(chains=10)
first = hm.pretrain(network, bits(), rule, out=out, callback=strike(1), **options)
second = hm.resume(out, bits(), callback=strike(2))
print(first.stopped, len(first.records), second.stopped, len(second.records))
"""


def test_sigterm_saves_and_returns_what_there_is(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-W", "error", "-c", SIGNALLED, str(Path(__file__).parent), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted 2 interrupted 5\n", "")
    assert same(hm.resume(folder, bits()), pretrain())


# --- changes ------------------------------------------------------------------------------------


def test_the_last_layer_goes_on_for_more_epochs(tmp_path):
    constant = {"schedule": "constant"}
    whole = pretrain(epochs=[3, 5], **constant)
    pretrain(out=tmp_path / "run", **constant)
    again = hm.resume(tmp_path / "run", bits(), epochs=[3, 5])
    assert same(again, whole)
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert [layer["epochs"] for layer in config["options"]["layers"]] == [3, 5]
    assert same(hm.resume(tmp_path / "run", bits()), whole)


def test_a_layer_that_another_stands_on_is_not_trained_for_longer(tmp_path):
    pretrain(out=tmp_path / "run")
    before = (tmp_path / "run/config.json").read_bytes()
    message = r"^epochs: got 5, expected 3 for layer 1, as layer 2 has begun on what it learned; a list"
    for epochs in (5, [5, 3]):
        with pytest.raises(ArgumentError, match=message):
            hm.resume(tmp_path / "run", bits(), epochs=epochs)
    assert (tmp_path / "run/config.json").read_bytes() == before


def test_the_first_layer_goes_on_for_more_epochs_as_long_as_it_is_the_last(tmp_path):
    constant = {"schedule": "constant"}
    pretrain(out=tmp_path / "run", callback=lambda record: record["epoch"] == 3, **constant)
    assert same(hm.resume(tmp_path / "run", bits(), epochs=5), pretrain(epochs=5, **constant))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, r"^batch_size: got 8, expected 16, as the run began"),
        ({"seed": [3, 4]}, r"^seed: got 4, expected 3, as the run began"),
        ({"epochs": [1, 2, 3]}, r"^epochs: got \[1, 2, 3\], expected one value, or a list of 2"),
        ({"epoch": 9}, r"^epoch: unknown, .*did you mean 'epochs'\?"),
        ({"lr": [0.1, -1]}, r"^lr: got -1, expected greater than 0"),
        ({"patience": [None, 3]}, r"^patience: got 3, expected a score= to watch"),
    ],
)
def test_options_that_cannot_change_are_refused(tmp_path, change, message):
    pretrain(out=tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("config.json")}
    assert len(before) == 3
    with pytest.raises(ArgumentError, match=message):
        hm.resume(tmp_path / "run", bits(), **change)
    assert {path: path.read_bytes() for path in before} == before


def test_functions_are_given_again(tmp_path, monkeypatch):
    def make(groups):
        return torch.optim.Adam(groups, lr=0.02)

    options = {"optimizer": [make, "sgd"], "schedule": [lambda share: 1 - share, "linear"]}
    whole = pretrain(**options)
    cut(monkeypatch, tmp_path / "first", 4, **options)
    with pytest.raises(FileError, match=r"was given a function as optimizer, schedule, .*give it again"):
        hm.resume(tmp_path / "first", bits())
    assert same(hm.resume(tmp_path / "first", bits(), **options), whole)
    cut(monkeypatch, tmp_path / "second", UPDATES + 4, **options)
    assert same(hm.resume(tmp_path / "second", bits()), whole)


# --- what a resume refuses ----------------------------------------------------------------------


def test_other_data_are_refused(tmp_path):
    pretrain(out=tmp_path / "run")
    x = bits()
    for other in (bits(seed=1), x[:-1], x.float()):
        with pytest.raises(FileError, match=r"run: the data, .* are not those that the run began with"):
            hm.resume(tmp_path / "run", other)
    with pytest.raises(FileError, match="their weights"):
        hm.resume(tmp_path / "run", x, weights=torch.ones(40))
    with pytest.raises(DataError, match=r"^data: got shape \(40, 8\), expected \(rows, 6\)"):
        hm.resume(tmp_path / "run", bits(columns=8))


def test_the_run_of_another_network_is_refused(tmp_path):
    pretrain(out=tmp_path / "run")
    pretrain(model=network((6, 5, 9)), out=tmp_path / "other")
    shutil.rmtree(tmp_path / "run/layer-2")
    shutil.copytree(tmp_path / "other/layer-2", tmp_path / "run/layer-2")
    with pytest.raises(FileError, match=r"layer-2: its model is none of the network's RBM 2$"):
        hm.resume(tmp_path / "run", bits())
    (tmp_path / "run/start.safetensors").unlink()
    with pytest.raises(FileError, match=r"start.safetensors: no such file"):
        hm.resume(tmp_path / "run", bits())


def test_another_first_layer_is_refused(tmp_path):
    pretrain(out=tmp_path / "run")
    hm.save(hm.RBM(6, 5, seed=9), tmp_path / "run/layer-1/model.safetensors")
    with pytest.raises(FileError, match=r"layer-2: the data, .* are not those that the run began with"):
        hm.resume(tmp_path / "run", bits())
    hm.save(hm.RBM(6, 4), tmp_path / "run/layer-1/model.safetensors")
    with pytest.raises(FileError, match=r"its tensors do not fit its configuration: hidden.bias"):
        hm.resume(tmp_path / "run", bits())


def shorten(config):
    config["options"]["layers"].pop()


def rename(config):
    config["rule"]["layers"][0]["name"] = "nonsense"


def exchange(config):
    config["model"] = {**config["model"], "kind": "rbm", "config": {"visible": {}, "hidden": {}}}


def forget(config):
    del config["options"]["means"]


@pytest.mark.parametrize("harm", [shorten, rename, exchange, forget], ids=lambda harm: harm.__name__)
def test_a_damaged_configuration_is_said_to_be_so(tmp_path, harm):
    pretrain(out=tmp_path / "run")
    path = tmp_path / "run/config.json"
    config = json.loads(path.read_text())
    harm(config)
    path.write_text(json.dumps(config))
    with pytest.raises(FileError, match=r"config.json: damaged \(") as caught:
        hm.resume(tmp_path / "run", bits())
    assert "\n" not in str(caught.value)


def test_a_layer_that_lost_its_checkpoints_begins_anew(tmp_path):
    """As its states are drawn by address, it is the same run again."""
    whole = pretrain(out=tmp_path / "run")
    back_to(tmp_path / "run/layer-2", -1)
    assert same(hm.resume(tmp_path / "run", bits()), whole)


# --- mutations ----------------------------------------------------------------------------------


def forget_the_start(monkeypatch):
    """Begin the second layer with the weights that a configuration makes."""
    module = sys.modules["harmonium.training.pretrain"]
    restore = module._restore
    monkeypatch.setattr(module, "_restore", lambda model, path: path.stem == "start" or restore(model, path))


def forget_the_draws(monkeypatch):
    """Draw the states of the layer below from where the stream happens to be."""

    def batches(self, epoch, first=0):
        for batch in self.below.batches(epoch, first):
            yield batch._replace(values=self.lift(batch.values, self.stream, means=False))

    monkeypatch.setattr(Lifted, "batches", batches)


@pytest.mark.parametrize(
    ("forget", "after"),
    [(forget_the_start, UPDATES), (forget_the_draws, UPDATES + 4)],
)
def test_a_resume_that_forgets_is_not_the_same_run(tmp_path, monkeypatch, forget, after):
    whole = pretrain()
    cut(monkeypatch, tmp_path / "run", after)
    if forget is forget_the_start:
        leave_nothing(tmp_path / "run")
    forget(monkeypatch)
    assert not same(hm.resume(tmp_path / "run", bits()), whole)


def test_a_run_tells_of_its_data_so_that_others_are_noticed(tmp_path):
    """Whether rows have weights or not, and whichever split has changed."""
    data = hm.datasets.from_array(bits(), validation=10, test=6)
    pretrain(data, out=tmp_path / "run", epochs=1, weights=torch.arange(24) % 3)
    config = RunFolder(tmp_path / "run").config()
    assert changed_splits(config, data) == []
    assert changed_splits(config, replace(data, test=1 - data.test)) == ["test"]
    assert changed_splits(config, replace(data, train=1 - data.train)) == ["train"]
    other = replace(data, validation=1 - data.validation)
    with pytest.raises(FileError, match="the validation rows are not those"):
        hm.resume(tmp_path / "run", other, weights=torch.arange(24) % 3)
