"""Fine-tuning: what a network becomes is what it was, and it descends the loss that is stated."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from _checks import check_mean
from _runs import back_to, bits, equal, same, timeless
from torch.nn.functional import binary_cross_entropy, cross_entropy

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError, FileError, HarmoniumWarning
from harmonium.learning import CrossEntropy, Reconstruction
from harmonium.learning._own_bits import own_bits
from harmonium.models import error_rate
from harmonium.training import Options
from harmonium.training._lifted import open_data

OPTIONS = {"epochs": 3, "batch_size": 16, "seed": 3}


def labelled(rows=40, seed=0):
    """Return bits whose last column is a label of three classes, which the others tell."""
    x = bits(rows, seed=seed)
    return torch.cat((x, x[:, :1] + x[:, 2:3]), 1)


def shaken(model, seed=0, scale=1.0):
    """Give a model random parameters, as far as they are trained, and base rates; return it."""
    with torch.no_grad():
        for number, (name, p) in enumerate(model.named_parameters()):
            if p.requires_grad:
                values = Stream(seed, f"shaken {number}").normal(1, p.numel()).view(p.shape)
                p.copy_((0.2 if "precision" in name else scale) * values)
        for rbm in getattr(model, "rbms", ()):
            rbm.base_rates.fill_(0.5)
        model.project()
    return model


def perceptron(layers=(6, 8), classes=3, **options):
    """Return a fresh classifier."""
    return hm.MLP(list(layers), classes, **{"seed": 1, **options})


def finetune(model=None, data=None, **options):
    """Fine-tune a small network on small data."""
    model = perceptron() if model is None else model
    return hm.finetune(model, labelled() if data is None else data, **{**OPTIONS, **options})


def batches(model, data, *, batch_size=16, weights=None):
    """Return the batches of the first epoch."""
    source = open_data(model, data, Stream(0), Options(batch_size=batch_size), weights).source
    return list(source.batches(0))


def gradients(rule, model, batch):
    """Return the gradients that a rule sets, by name."""
    rule.update(model, batch, rule.init(model, Stream(0)), Stream(0), lambda group: None)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def check_gradients(found, model, loss):
    """Check gradients against those of a loss."""
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    expected = torch.autograd.grad(loss, list(own.values()))
    assert found.keys() == own.keys()
    for name, gradient in zip(own, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


# --- from a belief network to a classifier ------------------------------------------------------

NETWORKS = {
    "bernoulli": lambda: hm.DBN([6, 5, 4]),
    "deep": lambda: hm.DBN([6, 5, 4, 3]),
    "one layer": lambda: hm.DBN([6, 5]),
    "labels": lambda: hm.DBN([6, 5, 4], classes=3),
    "one layer of labels": lambda: hm.DBN([6, 5], classes=3),
    "spin": lambda: hm.DBN([6, hm.Spin(5), hm.Spin(4)]),
    "gaussian": lambda: hm.DBN([6, hm.Gaussian(5, 2.0), hm.Spin(4)]),
    "gaussian inputs": lambda: hm.DBN([hm.Gaussian(6, learn_precision=True), 5, 4]),
    "gaussian labels": lambda: hm.DBN([hm.Gaussian(6, learn_precision=True), 5], classes=3),
    "categorical inputs": lambda: hm.DBN([hm.Categorical(6, 2), 5, 4]),
    "mixed inputs": lambda: hm.DBN([hm.Mixed(hm.Bernoulli(4), hm.Categorical(2, 2)), 5, 4]),
    "untied": lambda: untied(),
    "double": lambda: hm.DBN([6, 5, 4]).double(),
    "masks": lambda: hm.DBN([6, 5, 4], masks=[MASK, None]),
}
MASK = (torch.arange(6)[:, None] + torch.arange(5)) % 3 != 0


def untied():
    model = hm.DBN([6, 5, 4])
    model.untie()
    return model


@pytest.fixture(params=NETWORKS)
def network(request):
    """Return a belief network with random parameters."""
    return shaken(NETWORKS[request.param]())


def test_a_classifier_encodes_as_its_network_does(network):
    mlp = network.to_mlp(3, dropout=0.4, input_dropout=0.2, seed=2)
    rows = bits()
    with torch.no_grad():
        expected = network.encode(rows)
        torch.testing.assert_close(mlp.encode(rows), expected)
        assert mlp.training
        mlp.eval()
        top = mlp.linears[-1]
        out = mlp(mlp.split(rows)[0])
        torch.testing.assert_close(out, expected @ top.weight.T + top.bias)
    assert mlp.dtype == network.dtype
    assert bool((top.weight != 0).all())
    assert bool((top.weight.abs() < 0.3).all())
    other = network.to_mlp(3, seed=3)
    same_but_top = [torch.equal(a.weight, b.weight) for a, b in zip(mlp.linears, other.linears, strict=True)]
    assert same_but_top == [True] * network.depth + [False]


def test_a_classifier_has_its_own_parameters():
    network = shaken(NETWORKS["bernoulli"]())
    before = copy.deepcopy(network.state_dict())
    finetune(network.to_mlp(3))
    assert equal(network.state_dict(), before)


def test_units_without_an_activation_function_are_refused():
    network = shaken(hm.DBN([6, hm.Categorical(3, 2), 4]))
    for become in (lambda: network.to_mlp(3), network.to_autoencoder):
        with pytest.raises(ArgumentError, match="expected units with an activation function"):
            become()


def test_an_untrained_network_is_warned_of_once():
    network = hm.DBN([6, 5, 4], seed=1)
    with pytest.warns(HarmoniumWarning, match=r"has not been trained, its weights are random") as seen:
        mlp = network.to_mlp(3)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finetune(mlp)
        hm.pretrain(network, bits(), epochs=1, batch_size=16)
        network.to_mlp(3)


# --- the classifier -----------------------------------------------------------------------------


def test_dropout_keeps_the_expected_inputs():
    """What is left is scaled up, so that the mean of a linear network over masks is the whole one."""
    model = shaken(perceptron((6, 5, 4), activation="linear", dropout=0.5, input_dropout=0.2))
    x = bits(3).float()
    torch.manual_seed(0)
    with torch.no_grad():
        model.train()
        draws = torch.stack([model(x) for _ in range(4000)])
        model.eval()
        expected = model(x)
    assert bool((draws.std(0) > 0.1).all())
    check_mean(draws.flatten(1), expected.flatten().numpy(), 4.5)


def test_the_masks_of_a_run_have_their_shares_and_scale_up():
    part, x, stream = torch.nn.Dropout(0.2), torch.ones(400, 5, 10, dtype=torch.float64), Stream(1)
    with own_bits(part, stream):
        first, second = part(x), part(x)
        part.eval()
        assert torch.equal(part(x), x)
        part.train()
    for out in (first, second):
        kept = out > 0
        torch.testing.assert_close(out[kept], torch.full((int(kept.sum()),), 1.25, dtype=torch.float64))
        check_mean(kept.flatten(1).double(), np.full(50, 0.8), 4.5)
    both = ((first > 0) & (second > 0)).double().mean()
    assert abs(both - 0.64) < 4.5 * math.sqrt(0.64 * 0.36 / x.numel())
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), own_bits(part, stream):
        raise ZeroDivisionError
    assert "forward" not in vars(part)
    part(x)
    assert not torch.equal(torch.get_rng_state(), before)


def test_dropout_of_channels_draws_from_the_run_too():
    model = torch.nn.Sequential(torch.nn.Dropout1d(0.5), torch.nn.Dropout(0.5))
    model.device = torch.device("cpu")
    x = torch.ones(50, 4, 10)
    before = torch.get_rng_state()
    outs = []
    for _ in range(2):
        stream = Stream(1)
        with own_bits(model, stream):
            outs.append(model(x))
    assert torch.equal(*outs)
    assert torch.equal(torch.get_rng_state(), before)
    whole = (outs[0] == 0).all(2)
    assert abs(whole.double().mean() - 0.5) < 0.16


def test_scores_leave_nothing_out():
    model = shaken(perceptron(dropout=0.5, input_dropout=0.5))
    rows = labelled()
    assert model.training
    first = hm.predict_proba(model, rows)
    assert torch.equal(hm.predict_proba(model, rows), first)
    assert torch.equal(model.encode(rows), model.encode(rows))
    assert model.training
    history = finetune(model, lr=1e-12)
    assert not model.training
    record = history.records[-1]
    assert record["train/error"] == pytest.approx(error_rate(model, rows))
    y = rows[:, -1].long()
    loss = -hm.predict_proba(model, rows).log()[torch.arange(40), y].mean()
    assert record["train/cross_entropy"] == pytest.approx(float(loss), rel=1e-5)
    assert record["train/accuracy"] == 1 - record["train/error"]


def test_predictions_are_those_of_the_softmax():
    model = shaken(perceptron())
    rows = labelled(5000)
    with torch.no_grad():
        p = model.eval()(rows[:, :6].float()).double().softmax(1)
    torch.testing.assert_close(hm.predict_proba(model, rows), p)
    torch.testing.assert_close(hm.predict_proba(model, rows[:, :6]), p)
    torch.testing.assert_close(hm.predict_proba(model, model.visible.statistics(rows)), p)
    torch.testing.assert_close(hm.predict_proba(model, rows[:, :6].numpy()), p)
    assert torch.equal(hm.predict(model, rows), p.argmax(1))
    wrong = p.argmax(1) != rows[:, -1]
    assert 0 < error_rate(model, rows) < 1
    assert error_rate(model, rows) == pytest.approx(float(wrong.double().mean()))
    assert error_rate(model, model.visible.statistics(rows)) == error_rate(model, rows)
    for bad in (rows[:, :5], rows[0]):
        with pytest.raises(DataError, match=r"expected \(rows, 6\) or, with labels, \(rows, 7\)"):
            hm.predict(model, bad)
    for bad in (rows + 1, 2 * rows[:, :6]):
        with pytest.raises(DataError, match=r"^rows: got 2 at row"):
            hm.predict(model, bad)
    with pytest.raises(DataError, match="got shape"):
        error_rate(model, rows[:, :6])


def test_rows_of_values_are_told_from_statistics():
    """Also where there are as many columns: of 5 bits, a code and a label, and of 5 bits and 2 states."""
    unit = hm.Mixed(hm.Bernoulli(5), hm.Categorical(1, 2))
    model = shaken(perceptron((unit, 4)))
    rows = labelled()
    expected = unit.statistics(rows[:, :6])
    assert expected.shape[1] == rows.shape[1]
    x, codes = model.split(rows)
    assert torch.equal(x, expected)
    assert torch.equal(codes, rows[:, -1].long())
    assert torch.equal(model.split(rows[:, :6])[0], expected)
    x, codes = model.split(model.visible.statistics(rows))
    assert torch.equal(x, expected)
    assert torch.equal(codes, rows[:, -1].long())
    history = finetune(model, epochs=90)
    assert history.records[-1]["train/error"] < 0.1


def test_it_learns_what_the_rows_tell():
    history = finetune(perceptron((6, 8, 8)), validation=labelled(60, seed=1), epochs=80)
    first, last = history.records[0], history.records[-1]
    assert last["validation/error"] == 0
    assert last["validation/cross_entropy"] < 0.3 < first["validation/cross_entropy"]


def test_the_gradient_is_that_of_the_cross_entropy_in_each_batch():
    """Of which the last is smaller."""
    model = shaken(perceptron((6, 5, 4), activation=["tanh", "relu"]))
    rows, sizes = labelled(), []
    for batch in batches(model, rows):
        own = rows[batch.rows]
        loss = cross_entropy(model(own[:, :6].float()), own[:, -1].long())
        check_gradients(gradients(CrossEntropy(), model, batch), model, loss)
        sizes.append(len(own))
    assert sizes == [16, 16, 8]


def slope_by_differences(model, x, codes, step=1e-6):
    """Return the slope of each row's cross-entropy in each of its inputs."""
    slope = torch.zeros_like(x)
    for i in range(x.shape[1]):
        ends = []
        for sign in (-1, 1):
            moved = x.clone()
            moved[:, i] += sign * step
            ends.append(cross_entropy(model(moved), codes, reduction="none"))
        slope[:, i] = ((ends[1] - ends[0]) / (2 * step)).detach()
    return slope


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_adversarial_steps_go_against_the_label(kind):
    """Inputs that are probabilities stay such."""
    inputs = hm.Gaussian(6) if kind == "gaussian" else 6
    model = shaken(perceptron((inputs, 5, 4), activation=["tanh", "relu"]).double())
    (batch,) = batches(model, labelled().double(), batch_size=40)
    x, codes = batch.values[:, :6], batch.values[:, 6:].argmax(1)
    moved = x + 0.3 * slope_by_differences(model, x, codes).sign()
    if kind == "bernoulli":
        moved = moved.clamp(0, 1)
        assert not torch.equal(moved, x)
    else:
        assert float(moved.max()) > 1
    loss = 0.3 * cross_entropy(model(x), codes) + 0.7 * cross_entropy(model(moved), codes)
    rule = CrossEntropy(adversarial=0.3, adversarial_share=0.7)
    check_gradients(gradients(rule, model, batch), model, loss)


def test_adversarial_rows_have_their_own_weights_and_leave_out_units_of_their_own():
    model = shaken(perceptron((6, 5, 4), dropout=0.5, input_dropout=0.3).double())
    (batch,) = batches(model, labelled().double(), weights=torch.arange(40) % 3, batch_size=40)
    x, codes, stream = batch.values[:, :6].clone().requires_grad_(), batch.values[:, 6:].argmax(1), Stream(0)
    with own_bits(model.train(), stream):
        own = (cross_entropy(model(x), codes, reduction="none") * batch.weights).sum()
        (slope,) = torch.autograd.grad(own, x, retain_graph=True)
        moved = (x + 0.3 * slope.sign()).detach().clamp(0, 1)
        other = (cross_entropy(model(moved), codes, reduction="none") * batch.weights).sum()
    with own_bits(model, Stream(0)):
        alike = (cross_entropy(model(moved), codes, reduction="none") * batch.weights).sum()
    assert not torch.allclose(alike, other)
    found = gradients(CrossEntropy(adversarial=0.3), model, batch)
    check_gradients(found, model, 0.5 * (own + other))


def test_rules_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="rule"):
        finetune(rule=hm.PCD())
    with pytest.raises(ArgumentTypeError, match="rule"):
        finetune(rule="cross-entropy")


def test_a_step_of_nothing_leaves_the_loss():
    model = shaken(perceptron())
    (batch,) = batches(model, labelled(), batch_size=40)
    plain, same = (gradients(CrossEntropy(adversarial=step), model, batch) for step in (0.0, 1e-30))
    for name in plain:
        torch.testing.assert_close(same[name], plain[name], rtol=1e-5, atol=1e-7)


def test_adversarial_examples_are_learnt():
    """The network that has seen them errs less on those that are made against itself."""
    wrong = []
    for step in (0.0, 0.2):
        model = perceptron((64, 50), 10)
        data = hm.datasets.load("digits", binarisation="none", with_labels=True)
        hm.finetune(model, data, CrossEntropy(adversarial=step), epochs=15, batch_size=50, seed=0)
        x, codes = model.split(data.test)
        x.requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(model(x), codes), x)
        moved = (x.detach() + 0.2 * slope.sign()).clamp(0, 1)
        wrong.append(float((model(moved).argmax(1) != codes).float().mean()))
    assert wrong[1] < 0.7 * wrong[0]


def test_inputs_that_cannot_move_are_refused():
    model = perceptron((hm.Categorical(3, 2), 4))
    with pytest.raises(ArgumentError, match=r"got 0.1, expected 0, as the inputs are categorical"):
        finetune(model, rule=CrossEntropy(adversarial=0.1))
    for own in ({"adversarial": -0.1}, {"adversarial_share": 1.1}):
        with pytest.raises(ArgumentError, match="adversarial"):
            CrossEntropy(**own)


def test_weights_are_repeated_rows():
    model, rows = shaken(perceptron()), labelled(12)
    weights = torch.arange(12) % 4
    (one,) = batches(model, rows, weights=weights)
    (other,) = batches(model, rows.repeat_interleave(weights, 0), batch_size=100)
    found, expected = (gradients(CrossEntropy(), model, batch) for batch in (one, other))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-7)
    plain = gradients(CrossEntropy(), model, *batches(model, rows))
    assert not torch.allclose(plain["network.0.weight"], expected["network.0.weight"], rtol=1e-2)


def test_a_run_is_plain_descent():
    """By torch's own optimiser, batch by batch in the run's order."""
    model = perceptron()
    naive = copy.deepcopy(model)
    optimiser = torch.optim.SGD(naive.parameters(), lr=0.2, momentum=0.7)
    rows = labelled()
    source = open_data(model, rows, Stream(3, "fit").child("data"), Options(batch_size=16)).source
    for epoch in range(3):
        for batch in source.batches(epoch):
            own = rows[batch.rows]
            optimiser.zero_grad()
            cross_entropy(naive(own[:, :6].float()), own[:, -1].long()).backward()
            optimiser.step()
    finetune(model, rows, lr=0.2, momentum=0.7, schedule="constant")
    for ours, theirs in zip(model.parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_mask_that_cuts_a_unit_off_is_told():
    cut = torch.ones(4, 3, dtype=torch.bool)
    cut[3] = cut[:, 1] = False
    message = r"^masks\[0\]: layer 0 unit 3 has no coupling to layer 1 units"
    other = r"^masks\[0\]: layer 1 unit 1 has no coupling to layer 0 units"
    with pytest.warns(HarmoniumWarning, match=message), pytest.warns(HarmoniumWarning, match=other):
        perceptron((4, 3), masks=[cut])


def test_masks_are_kept():
    masked = shaken(NETWORKS["masks"]())
    for model in (masked.to_mlp(3), shaken(perceptron((6, 5, 4), masks=[MASK, None]))):
        fresh = copy.deepcopy(model)
        finetune(model)
        for number, (old, new) in enumerate(zip(fresh.linears, model.linears, strict=True)):
            assert not torch.equal(old.weight, new.weight)
            assert bool((new.weight != 0).all()) == (number > 0)
        first = model.linears[0].weight
        assert not first[~MASK.T].any()
        assert bool((first[MASK.T] != 0).all())
    with pytest.raises(ArgumentError, match=r"^masks: got \(5, 6\), expected shape \(6, 5\)"):
        perceptron((6, 5), masks=[MASK.T])
    with pytest.raises(ArgumentError, match=r"^masks: got .*1 masks.*expected 2"):
        perceptron((6, 5, 4), masks=[MASK])


def test_max_norm_bounds_what_comes_into_each_hidden_unit():
    model = shaken(perceptron((6, 5, 4)))
    finetune(model, max_norm=0.7)
    for linear in model.linears[:-1]:
        norms = linear.weight.norm(dim=1)
        assert bool((norms < 0.7 + 1e-5).all())
        assert bool((norms > 0.65).any())
    assert bool((model.linears[-1].weight.norm(dim=1) > 0.7).any())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": (6,)}, r"^layers: got \(6,\)|\[6\], expected"),
        ({"layers": (6, 0)}, r"^hidden: got 0, expected"),
        ({"classes": 1}, r"^classes: got 1, expected at least two"),
        ({"dropout": 1.0}, r"^dropout: got 1.0, expected a probability below 1"),
        ({"input_dropout": -0.1}, r"^input_dropout: got -0.1, expected a probability"),
        ({"activation": "sigmoit"}, r"^activation: unknown 'sigmoit', .*did you mean 'sigmoid'"),
        ({"activation": ["tanh", "tanh"]}, r"^activation: got .*expected a name, or a list of 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(ArgumentError, match=message):
        perceptron(**wrong)


# --- data ---------------------------------------------------------------------------------------


def test_labels_out_of_range_and_rows_without_labels_are_refused():
    rows = labelled()
    rows[7, -1] = 3
    with pytest.raises(DataError, match=r"^data: got code 3|got 3 at row 7"):
        finetune(data=rows)
    with pytest.raises(DataError, match=r"^data: got shape \(40, 6\), expected \(rows, 7\)"):
        finetune(data=rows[:, :6])
    with pytest.raises(DataError, match=r"^validation: got"):
        finetune(validation=rows)
    with pytest.raises(DataError, match=r"^labels: got none of the train rows"):
        finetune(data=hm.datasets.from_array(bits().numpy()))
    many = hm.datasets.from_array(bits().numpy(), labels=np.arange(40) % 4)
    with pytest.raises(DataError, match="at row"):
        finetune(data=many)


def test_a_data_set_brings_its_labels(tmp_path):
    rows = labelled()
    data = hm.datasets.from_array(rows[:, :6].numpy(), labels=5 * rows[:, 6].numpy())
    first, second = perceptron(), perceptron()
    whole = finetune(first, data, out=tmp_path / "run")
    assert timeless(finetune(second, rows).records) == timeless(whole.records)
    assert equal(first.state_dict(), second.state_dict())
    assert same(hm.resume(tmp_path / "run", data), whole)
    assert same(hm.resume(tmp_path / "run", data.with_labels()), whole)


def test_grey_values_are_taken_as_they_are():
    grey = np.random.default_rng(0).integers(0, 256, (40, 6)).astype(np.uint8)
    data = hm.datasets.from_array(grey, binarisation="none", labels=np.arange(40) % 3, validation=8)
    (batch,) = batches(perceptron(), data, batch_size=50)
    torch.testing.assert_close(batch.values[:, :6], (data.train.float() / 255)[batch.rows])
    assert "validation/error" in finetune(data=data).records[-1]


def test_all_validation_rows_are_scored():
    rows = labelled(1300, seed=5)
    rows[1000:, -1] = (rows[1000:, -1] + 1) % 3
    model = perceptron()
    (record,) = finetune(model, labelled(64), validation=rows, epochs=1).records
    assert record["validation/error"] == pytest.approx(error_rate(model, rows))
    assert record["validation/error"] != pytest.approx(error_rate(model, rows[:1000]))
    data = hm.datasets.from_array(
        labelled(64)[:, :6].numpy(),
        labels={"train": labelled(64)[:, 6].numpy(), "validation": rows[:, 6].numpy()},
        validation=rows[:, :6].numpy(),
    )
    (other,) = finetune(perceptron(), data, epochs=1).records
    assert other["validation/error"] == record["validation/error"]


# --- runs ---------------------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_by_accuracy():
    held_out, wrong = labelled(60, seed=1), labelled()
    wrong[:, -1] = (wrong[:, -1] + 1) % 3
    rows = torch.cat((labelled(12, seed=2), wrong[:28]))
    seen, states, model = [], [], perceptron((6, 8))

    def callback(record):
        seen.append(record["validation/accuracy"])
        states.append(copy.deepcopy(model.state_dict()))

    options = {"lr": 0.05, "epochs": 200, "schedule": "constant"}
    history = finetune(model, rows, validation=held_out, patience=4, callback=callback, **options)
    best = max(seen)
    assert history.stopped == "no better validation/accuracy in 4 scores"
    assert len(seen) < 200
    assert seen[-1] < best
    assert equal(model.state_dict(), states[seen.index(best)])
    assert 1 - error_rate(model, held_out) == pytest.approx(best)


@pytest.mark.parametrize("kind", ["dropout", "adam", "masks", "adversarial", "autoencoder"])
def test_a_run_that_was_killed_goes_on_bit_for_bit(tmp_path, kind):
    data, options = labelled(), {"optimizer": "Adam", "lr": 0.01} if kind == "adam" else {}

    def model():
        if kind == "autoencoder":
            return hm.Autoencoder([6, 4, 2], seed=1)
        masks = {"masks": [MASK, None]} if kind == "masks" else {}
        return perceptron((6, 5, 4), dropout=0.5, input_dropout=0.2, **masks)

    if kind == "autoencoder":
        data = data[:, :6]
    if kind == "adversarial":
        options["rule"] = CrossEntropy(adversarial=0.2)
    whole = finetune(model(), data, out=tmp_path / "run", checkpoint_every=1e-9, keep=50, **options)
    for updates in (7, 6, 4, 0):
        back_to(tmp_path / "run", updates)
        again = hm.resume(tmp_path / "run", data)
        assert same(again, whole), updates
        assert equal(hm.load(tmp_path / "run/model.safetensors").state_dict(), whole.model.state_dict())


def test_dropout_draws_from_the_run_and_leaves_torch_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    model = perceptron(dropout=0.5, input_dropout=0.2)
    first = finetune(copy.deepcopy(model), seed=3).model.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert equal(finetune(copy.deepcopy(model), seed=3).model.state_dict(), first)


def test_a_stopped_run_goes_on_for_more_epochs(tmp_path):
    whole = finetune(epochs=5, schedule="constant")
    finetune(out=tmp_path / "run", epochs=2, schedule="constant")
    assert same(hm.resume(tmp_path / "run", labelled(), epochs=5), whole)
    with pytest.raises(FileError, match="are not those that the run began with"):
        hm.resume(tmp_path / "run", labelled(seed=2))


def test_saved_and_loaded_it_is_the_same(tmp_path):
    path = tmp_path / "model.safetensors"
    unit = hm.Mixed(hm.Bernoulli(4), hm.Categorical(2, 2))
    for model in (
        perceptron((6, 5, 4), masks=[MASK, None], activation=["tanh", "relu"], dropout=0.3),
        perceptron((unit, 5)).double(),
    ):
        shaken(model)
        hm.save(model, path)
        loaded = hm.load(path)
        assert equal(loaded.state_dict(), model.state_dict())
        assert loaded.config() == model.config()
        assert torch.equal(hm.predict_proba(loaded, bits()), hm.predict_proba(model, bits()))
        finetune(loaded)
        finetune(model)
        if not model.dropout:
            assert equal(loaded.state_dict(), model.state_dict())
    for unit in (6, hm.Gaussian(6)):
        model = shaken(hm.Autoencoder([unit, 5, 2], activation="tanh"))
        hm.save(model, path)
        loaded = hm.load(path)
        assert loaded.config() == model.config()
        assert torch.equal(loaded.reconstruct(bits()), model.reconstruct(bits()))
        assert not loaded.visible.bias.requires_grad


def test_other_models_and_options_are_refused():
    with pytest.raises(ArgumentTypeError, match=r"^model: got RBM.*expected an hm.MLP or an hm.Autoencoder"):
        hm.finetune(hm.RBM(6, 4), bits())
    with pytest.raises(ArgumentError, match=r"^rule: got 'pcd', expected a rule that fits a mlp"):
        hm.fit(perceptron(), labelled())
    with pytest.raises(ArgumentError, match=r"^rule: got 'cross-entropy', expected a rule that fits a rbm"):
        hm.fit(hm.RBM(6, 4), bits(), CrossEntropy())
    with pytest.raises(ArgumentError, match=r"^likelihood_every: got 1, expected 0, as a mlp has none"):
        finetune(likelihood_every=1)
    with pytest.raises(ArgumentError, match=r"^init: got 'pca', expected 'base-rates', as a mlp starts"):
        finetune(init="pca")
    with pytest.raises(ArgumentError, match=r"^patience: got 3, expected a score= to watch"):
        finetune(patience=3)


def test_the_defaults_are_those_of_fine_tuning(tmp_path):
    finetune(out=tmp_path / "run")
    options = hm.training.RunFolder(tmp_path / "run").config()["options"]
    assert (options["lr"], options["momentum"], options["averaging"]) == (0.1, 0.9, 0.0)


# --- the autoencoder ----------------------------------------------------------------------------

UNROLLED = sorted(NETWORKS.keys() - {"categorical inputs", "mixed inputs"})


@pytest.mark.parametrize("kind", UNROLLED)
def test_an_unrolled_network_reconstructs_as_it_did(kind):
    network = shaken(NETWORKS[kind]())
    before = copy.deepcopy(network.state_dict())
    trainable = [p.requires_grad for p in network.parameters()]
    model = network.to_autoencoder()
    rows = bits()
    with torch.no_grad():
        torch.testing.assert_close(model.encode(rows), network.encode(rows))
        torch.testing.assert_close(model.reconstruct(rows), network.reconstruct(rows))
    assert model.reconstruct(rows).shape == (40, 6)
    finetune(model, bits().to(network.dtype), epochs=1, lr=0.01)
    assert equal(network.state_dict(), before)
    assert [p.requires_grad for p in network.parameters()] == trainable


def test_a_network_that_does_not_unroll_is_refused():
    with pytest.raises(ArgumentError, match="expected Bernoulli or Gaussian inputs"):
        shaken(hm.DBN([hm.Spin(6), 5, 4])).to_autoencoder()


def test_an_autoencoder_keeps_its_masks_on_both_ways(tmp_path):
    labels = hm.DBN([6, 5], classes=3, masks=[MASK])
    fresh = hm.Autoencoder([6, 5, 4], masks=[MASK, None])
    for model in (shaken(NETWORKS["masks"]()).to_autoencoder(), shaken(labels).to_autoencoder(), fresh):
        hm.save(model, tmp_path / "model.safetensors")
        loaded = hm.load(tmp_path / "model.safetensors")
        assert equal(loaded.state_dict(), model.state_dict())
        finetune(loaded, bits(), optimizer="Adam", lr=0.01)
        for weight in (loaded.linears[0].weight.T, loaded.linears[-1].weight):
            assert bool(((weight != 0) == MASK).all())
        assert all(bool((linear.weight != 0).all()) for linear in loaded.linears[1:-1])
        (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ArgumentError, match=r"^masks: got '1 masks', expected 2"):
        hm.Autoencoder([6, 5, 4], masks=[MASK])
    with pytest.raises(ArgumentError, match=r"^masks: got 0\.5, expected truth values, 0 or 1"):
        hm.Autoencoder([6, 5], masks=[0.5 * MASK])


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_the_gradient_is_that_of_the_error_in_each_batch(kind):
    model = shaken(hm.Autoencoder([hm.UNITS[kind](6), 5, 2], activation=["sigmoid", "linear"]))
    rows = bits().float() if kind == "bernoulli" else Stream(3).normal(40, 6)
    weights, sizes = torch.arange(40) % 3, []
    for batch in batches(model, rows, weights=weights):
        v, own = rows[batch.rows], (weights / weights.double().mean())[batch.rows].float()
        out = model.reconstruct(v)
        if kind == "bernoulli":
            errors = binary_cross_entropy(out, v, reduction="none").sum(1)
        else:
            errors = 0.5 * (out - v).square().sum(1)
        loss = (own * errors).sum() / len(own)
        check_gradients(gradients(Reconstruction(), model, batch), model, loss)
        sizes.append(len(own))
    assert sizes == [16, 16, 8]


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_training_lowers_the_error_of_an_unrolled_network(kind):
    rows = bits(60, 2)[:, [0, 0, 0, 1, 1, 1]]
    if kind == "gaussian":
        rows = Stream(3).normal(60, 2) @ Stream(4).normal(2, 6) + 0.1 * Stream(5).normal(60, 6)
    network = shaken(hm.DBN([hm.UNITS[kind](6), 5, 3]))
    before = (network.reconstruct(rows) - rows.float()).square().mean().item()
    model = network.to_autoencoder()
    history = finetune(model, rows, validation=rows[:30], epochs=40)
    losses = [record["train/loss"] for record in history.records]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.7 * losses[0]
    record = history.records[-1]
    after = (model.reconstruct(rows) - rows.float()).square().mean().item()
    assert record["train/reconstruction_error"] == pytest.approx(after, rel=1e-5)
    assert record["validation/negative_loss"] == -record["validation/loss"]
    assert after < 0.5 * before


def test_patience_watches_the_error_of_an_autoencoder():
    options = {"patience": 2, "lr": 2.0, "epochs": 200, "schedule": "constant"}
    history = finetune(hm.Autoencoder([6, 4], seed=1), bits(), validation=bits(30, seed=1), **options)
    assert history.stopped == "no better validation/negative_loss in 2 scores"


@pytest.mark.parametrize("model", [perceptron(), hm.Autoencoder([6, 4])], ids=["mlp", "autoencoder"])
@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (torch.zeros(2, 5), DataError, r"^v: got shape \(2, 5\), expected \(rows, 6\)"),
        (torch.full((2, 6), 1.5), DataError, "^v: got 1.5 at row 0, column 0, expected a mean"),
        (torch.full((2, 6), math.nan), DataError, "missing values are not taken"),
        ("rows", ArgumentTypeError, "^v: got 'rows'"),
    ],
)
def test_rows_that_are_encoded_are_checked(model, rows, error, message):
    for method in (model.encode, getattr(model, "reconstruct", model.encode)):
        with pytest.raises(error, match=message):
            method(rows)


def test_a_network_that_lacks_training_on_top_is_warned_of_by_number():
    network = hm.DBN([6, 5, 4, 3])
    network.rbms[0].base_rates.fill_(0.5)
    with pytest.warns(HarmoniumWarning, match="RBM 2, 3 has not been trained"):
        network.to_mlp(2)
    with pytest.warns(HarmoniumWarning, match="RBM 2, 3 has not been trained"):
        network.to_autoencoder()


def test_data_that_lack_a_class_are_refused():
    """Their codes would be those of other classes."""
    data = hm.datasets.load("digits", binarisation="none")
    keep = {name: labels != 2 for name, labels in data.labels.items()}
    few = hm.datasets.from_array(
        data.train[keep["train"]].numpy(), labels=data.labels["train"][keep["train"]].numpy()
    )
    with pytest.raises(DataError, match=r"^data: got labels 0, 1, 3, .*9, expected 10 classes"):
        hm.finetune(hm.MLP([64, 8], 10), few, epochs=1)


def test_rectified_units_begin_at_the_modes_of_their_conditionals():
    network = hm.DBN([6, hm.ReLU(5, 4.0)]).double()
    with torch.no_grad():
        network.rbms[0].weight.copy_(3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
    for rbm in network.rbms:
        rbm.base_rates.fill_(0.5)
    v = bits()[:9].double()
    model = network.to_mlp(2)
    with torch.no_grad():
        lowest = model.network[:2](v)
    field = v @ network.rbms[0].weight.detach() + network.rbms[0].hidden.bias.detach()
    torch.testing.assert_close(lowest, (field / 4).clamp(min=0))
