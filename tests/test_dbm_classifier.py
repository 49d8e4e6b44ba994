"""The classifiers that deep Boltzmann machines become, by their formulas and by mean field."""

import numpy as np
import pytest
import torch
from _runs import back_to, same

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, HarmoniumWarning
from harmonium.models import DBMClassifier, mean_field

SIZES = [5, 4, 3]


def machine(layers=SIZES, masks=None, scale=0.8, **options):
    """Return a machine whose parameters are all random, as if it had been trained."""
    model = hm.DBM(layers, masks=masks, seed=1, **options).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(scale * Stream(3, name).normal(1, p.numel(), p.dtype).view_as(p))
    model.project()
    model.base_rates.fill_(0.4)
    return model


def rows(model, n=6, seed=2):
    """Return rows of visible values."""
    unit = model.layers[0]
    return unit.sample(Stream(seed).normal(n, unit.width, torch.float64), Stream(seed, "rows"))


def labelled(n=40, seed=5):
    """Return rows of bits that end in the code of a label, which the first bit tells."""
    x = (np.random.default_rng(seed).random((n, 5)) < 0.5).astype(np.int64)
    return np.column_stack((x, x[:, 0]))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def forward(model, v, q, top):
    """Return the scores of a network of two hidden layers, from the machine's own parameters."""
    w1, w2 = (w.detach().numpy() for w in model.weights)
    _, c1, c2 = (unit.bias.detach().numpy() for unit in model.layers)
    h1 = sigmoid(c1 + v @ w1 + q @ w2.T)
    h2 = sigmoid(c2 + h1 @ w2)
    return h1, h2, h2 @ top.weight.detach().numpy().T + top.bias.detach().numpy()


@pytest.mark.parametrize("first", [5, hm.Gaussian(5)], ids=["bits", "reals"])
def test_outputs_are_those_of_the_formula(first):
    model = machine([first, 4, 3])
    classifier = model.to_mlp(3)
    v = rows(model)
    q = mean_field(model, {"visible": v}, steps=500, tolerance=1e-12).means["hidden2"].detach().numpy()
    _, h2, scores = forward(model, v.numpy(), q, classifier.linears[-1])
    with torch.no_grad():
        np.testing.assert_allclose(classifier(v).numpy(), scores, atol=1e-3)
    np.testing.assert_allclose(classifier.encode(v).detach().numpy(), h2, atol=1e-3)


def test_hidden_units_start_where_mean_field_has_them():
    """Of two hidden layers nothing is left out, so that both are at its fixed point."""
    model = machine()
    v = rows(model)
    found = mean_field(model, {"visible": v}, steps=500, tolerance=1e-12).means
    h1, h2, _ = forward(model, v.numpy(), found["hidden2"].detach().numpy(), model.to_mlp(2).linears[-1])
    np.testing.assert_allclose(h1, found["hidden1"].detach().numpy(), atol=1e-9)
    np.testing.assert_allclose(model.to_mlp(2).encode(v).detach().numpy(), h2, atol=2e-3)
    np.testing.assert_allclose(h2, found["hidden2"].detach().numpy(), atol=1e-9)


def test_a_third_layer_is_reached_from_below():
    model = machine([5, 4, 3, 2])
    v = rows(model)
    q = mean_field(model, {"visible": v}, steps=500, tolerance=1e-12).means["hidden2"].detach().numpy()
    classifier = model.to_mlp(2)
    _, h2, _ = forward(hm_two(model), v.numpy(), q, classifier.linears[-2])
    h3 = sigmoid(model.layers[3].bias.detach().numpy() + h2 @ model.weights[2].detach().numpy())
    np.testing.assert_allclose(classifier.encode(v).detach().numpy(), h3, atol=1e-3)


def hm_two(model):
    """Return what :func:`forward` reads of the two lowest hidden layers."""
    two = hm.DBM([unit.size for unit in model.layers[:3]]).double()
    with torch.no_grad():
        for own, theirs in zip(two.weights, model.weights, strict=False):
            own.copy_(theirs)
        for own, theirs in zip(two.layers, model.layers, strict=False):
            own.bias.copy_(theirs.bias)
    return two


def test_training_leaves_the_posterior_alone():
    classifier = machine().float().to_mlp(2)
    before = {name: p.clone() for name, p in classifier.named_parameters()}
    hm.finetune(classifier, labelled(), epochs=2, lr=0.5)
    moved = {n for n, p in classifier.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if n.startswith("network.")}
    assert any(n.startswith("posterior.") for n in before)


def test_masks_hold_in_both_directions():
    masks = [torch.ones(5, 4), torch.ones(4, 3)]
    masks[0][0, 1] = masks[1][2, 1] = 0
    model = machine(masks=masks)
    classifier = model.float().to_mlp(2)
    hm.finetune(classifier, labelled(), epochs=2, lr=0.5)
    first, second, _ = (linear.weight.detach().T for linear in classifier.linears)
    assert first[0, 1] == 0
    assert first[5 + 1, 2] == 0
    assert second[2, 1] == 0
    assert int((first == 0).sum()) + int((second == 0).sum()) == 3


def test_it_learns_what_the_label_is():
    classifier = machine().float().to_mlp(2)
    history = hm.finetune(classifier, labelled(200), epochs=40, lr=0.5, batch_size=20)
    assert history.records[0]["train/error"] > 0.05
    assert history.records[-1]["train/error"] == 0


@pytest.mark.parametrize("options", [{}, {"dropout": 0.5, "input_dropout": 0.2}], ids=["plain", "dropout"])
def test_a_file_makes_the_same_classifier(tmp_path, options):
    classifier = machine().to_mlp(3, **options)
    hm.save(classifier, tmp_path / "model.safetensors")
    again = hm.load(tmp_path / "model.safetensors")
    assert isinstance(again, DBMClassifier)
    assert again.config() == classifier.config()
    v = rows(classifier.posterior)
    assert torch.equal(hm.predict_proba(again, v), hm.predict_proba(classifier, v))
    assert not any(p.requires_grad for p in again.posterior.parameters())


def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path):
    def start(folder):
        model = machine().float().to_mlp(2, dropout=0.3)
        options = {"epochs": 3, "batch_size": 8, "checkpoint_every": 1e-9, "keep": 50}
        return hm.finetune(model, labelled(), out=folder, **options)

    whole = start(tmp_path / "whole")
    for stop in (0, 4, 9):
        start(tmp_path / str(stop))
        back_to(tmp_path / str(stop), stop)
        assert same(hm.resume(tmp_path / str(stop), labelled()), whole), stop


def test_one_hidden_layer_is_refused():
    with pytest.raises(ArgumentError, match=r"^posterior: got '1 hidden layer', expected .* at least two"):
        machine([5, 4]).to_mlp(2)


def test_units_without_an_activation_function_are_refused():
    with pytest.raises(ArgumentError, match=r"^model: got Categorical"):
        machine([5, hm.Categorical(2, 3), 3]).to_mlp(2)


def test_a_machine_that_was_not_trained_is_told():
    with pytest.warns(HarmoniumWarning, match="has not been trained"):
        hm.DBM(SIZES).to_mlp(2)


def looked_up(monkeypatch, data, **options):
    """Return a classifier trained on data, and how many rows mean field has seen on the way."""
    counts, plain = [], DBMClassifier.beside

    def counted(self, x):
        counts.append(len(x))
        return plain(self, x)

    monkeypatch.setattr(DBMClassifier, "beside", counted)
    classifier = machine().to_mlp(2, dropout=0.3, input_dropout=0.2)
    hm.finetune(
        classifier, data, hm.CrossEntropy(adversarial=0.1), epochs=3, batch_size=16, seed=1, **options
    )
    monkeypatch.undo()
    return classifier, sum(counts)


def test_means_are_found_once_for_rows_that_stay(monkeypatch):
    x, held_out = labelled(), labelled(30, seed=6)
    kept, rows = looked_up(monkeypatch, x, validation=held_out)
    assert rows == 40 + 40 + 30
    with monkeypatch.context() as patch:
        patch.setattr("harmonium.training._beside._MOST", 0)
        patch.setattr("harmonium.models._dbm._TOLERANCE", 0.0)
        plain, rows = looked_up(patch, x, validation=held_out)
    assert rows == 3 * 40 + 40 + 30
    for name, p in plain.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], p, rtol=0, atol=1e-12)


def test_means_are_found_afresh_for_fresh_bits(monkeypatch):
    x = labelled()
    data = hm.datasets.from_array(0.2 + 0.6 * x[:, :5], labels=x[:, 5], binarisation="sampled")
    _, rows = looked_up(monkeypatch, data)
    assert rows == 3 * 40 + 40
