"""Labels: their probabilities and both rules' gradients are those of enumeration, and they are learnt."""

import json

import numpy as np
import pytest
import torch
from _models import PAIRS, log_normaliser, name, unit
from _runs import SMALL, bits, same, timeless
from typer.testing import CliRunner

import harmonium as hm
from harmonium import Stream
from harmonium.cli import app
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.learning import Batch
from harmonium.models import error_rate, has_label
from harmonium.training._source import open_source

CLASSES = 4
DISCRETE = [pair for pair in PAIRS if pair[0] != "gaussian"]


def machine(pair, dtype=torch.float64, seed=0):
    """Return a machine with a label whose parameters are all random."""
    visible = hm.Mixed(unit(pair[0], 3), hm.Categorical(1, CLASSES))
    model = hm.RBM(visible, unit(pair[1], 2)).double()
    stream = Stream(seed, name(pair))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(stream.normal(1, p.numel(), torch.float64).reshape(p.shape))
            if not p.requires_grad:
                p.mul_(0.3)
    return model.to(dtype)


def draw(model, n, seed=1):
    """Return rows of values, the label's codes last, shape (n, size)."""
    stream = Stream(seed, "rows")
    s = model.visible.sample(stream.normal(n, model.visible.width, model.dtype), stream)
    return model.visible.values(s).to(model.dtype)


def joint(model, rows):
    """Return log p(v, y) + log Z of all classes by enumeration, shape (rows, classes).

    What the energy of a Gaussian v adds for all classes alike is left out.
    """
    own = dict(model.named_parameters())
    columns = []
    for y in range(CLASSES):
        labelled = rows.clone()
        labelled[:, -1] = y
        s = model.visible.statistics(labelled)
        hidden = log_normaliser(model, "hidden", own["hidden.bias"] + s @ own["weight"], own)
        columns.append(s @ own["visible.bias"] + hidden)
    return torch.stack(columns, 1)


def conditional_loss(model, rows, shares):
    """Return the sum over rows of share times -log p(y | v), for autograd."""
    log_p = torch.log_softmax(joint(model, rows), 1)
    return -(shares @ log_p.gather(1, rows[:, -1:].long())[:, 0])


def states(model):
    """Return the values of all states of a discrete visible layer."""
    part = model.visible.parts[0]
    values = {"bernoulli": [0.0, 1.0], "spin": [-1.0, 1.0], "categorical": [0.0, 1.0, 2.0]}[part.kind]
    axes = [torch.tensor(values).double()] * part.size + [torch.arange(CLASSES).double()]
    return torch.cartesian_prod(*axes)


def log_joint(model, rows):
    """Return log p(v, y) of rows by enumeration, for autograd."""
    everything = joint(model, states(model)[::CLASSES])
    log_z = everything.flatten().logsumexp(0)
    return joint(model, rows).gather(1, rows[:, -1:].long())[:, 0] - log_z


class Enumerated(hm.PCD):
    """PCD with all states and their probabilities in place of chains."""

    def negative(self, model, data, fields, state, stream):
        s = model.visible.statistics(states(model))
        mean = model.hidden.expected_statistics(model.field("hidden", {"visible": s}))
        return {"visible": s, "hidden": mean, "p": log_joint(model, states(model)).exp()}, {}

    def shares(self, batch, sample):
        return torch.cat((-batch.weights, batch.weights.sum() * sample["p"]))


class Exactly(hm.Hybrid):
    """The hybrid rule with the exact expectation under the model."""

    def generative(self):
        return Enumerated()


def update(rule, model, batch):
    """Take one update that changes no parameter; return the gradients by name, and the metrics."""
    stream = Stream(0)
    _, metrics = rule.update(model, batch, rule.init(model, stream), stream, lambda group: None)
    return {key: p.grad for key, p in model.named_parameters() if p.requires_grad}, metrics


def batch_of(model, rows, shares=None):
    """Return a batch of rows of values."""
    shares = torch.full((len(rows),), 1 / len(rows), dtype=model.dtype) if shares is None else shares
    return Batch(model.visible.statistics(rows), shares, torch.arange(len(rows)))


def check(gradients, loss, model):
    """Assert that gradients are those of a loss."""
    names = [key for key, p in model.named_parameters() if p.requires_grad]
    expected = torch.autograd.grad(loss, [model.get_parameter(key) for key in names], allow_unused=True)
    for key, value in zip(names, expected, strict=True):
        value = torch.zeros_like(gradients[key]) if value is None else value
        torch.testing.assert_close(
            gradients[key], value, rtol=1e-8, atol=1e-10, msg=lambda m, k=key: f"{k}: {m}"
        )


def labelled_digits(**options):
    """Return scikit-learn's digits with their labels."""
    return hm.datasets.load("digits", with_labels=True, **options)


def classifier(hidden, columns=64, classes=10):
    """Return a machine for binary pixels and a label."""
    return hm.RBM(hm.Mixed(hm.Bernoulli(columns), hm.Categorical(1, classes)), hidden)


# --- probabilities ------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_probabilities_are_those_of_enumeration(pair):
    model = machine(pair)
    rows = draw(model, 9)
    expected = torch.softmax(joint(model, rows), 1).detach()
    torch.testing.assert_close(hm.predict_proba(model, rows), expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(hm.predict(model, rows), expected.argmax(1))


def test_the_label_of_a_row_is_not_looked_at():
    model = machine(("bernoulli", "bernoulli"))
    rows = draw(model, 9)
    without = hm.predict_proba(model, rows[:, :-1].numpy())
    assert torch.equal(without, hm.predict_proba(model, rows))
    rows[:, -1] = (rows[:, -1] + 1) % CLASSES
    assert torch.equal(without, hm.predict_proba(model, rows))


def test_rows_are_classified_alike_in_any_number(monkeypatch):
    model = machine(("bernoulli", "categorical"))
    rows = draw(model, 50)
    whole = hm.predict_proba(model, rows)
    monkeypatch.setattr("harmonium.models._classification._BLOCK", 64)
    torch.testing.assert_close(hm.predict_proba(model, rows), whole, rtol=1e-12, atol=0)


def test_single_precision_is_enough_for_strong_couplings():
    model = machine(("bernoulli", "spin"), torch.float32)
    with torch.no_grad():
        model.weight.mul_(40)
    rows = draw(model, 30)
    expected = torch.softmax(joint(model.double(), rows.double()), 1).detach()
    torch.testing.assert_close(hm.predict_proba(model.float(), rows), expected, rtol=1e-3, atol=1e-4)


def test_the_error_rate_counts_wrong_labels():
    model = machine(("bernoulli", "bernoulli"))
    rows = draw(model, 40)
    rows[:, -1] = hm.predict(model, rows)
    assert error_rate(model, rows) == 0
    rows[:6, -1] = (rows[:6, -1] + 1) % CLASSES
    assert error_rate(model, rows) == 6 / 40
    assert error_rate(model, model.visible.statistics(rows)) == 6 / 40


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=name)
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_the_discriminative_gradient_is_that_of_enumeration(pair, weighted):
    model = machine(pair)
    rows = draw(model, 13)
    shares = Stream(2).uniform(13, 1, torch.float64)[:, 0] if weighted else None
    batch = batch_of(model, rows, shares)
    gradients, metrics = update(hm.Discriminative(), model, batch)
    loss = conditional_loss(model, rows, batch.weights)
    check(gradients, loss, model)
    torch.testing.assert_close(metrics["loss"], loss.detach())
    rest = model.visible.width - CLASSES
    assert not gradients["visible.bias"][:rest].any()


@pytest.mark.parametrize("pair", DISCRETE, ids=name)
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_hybrid_gradient_is_the_sum_of_both(pair, alpha):
    model = machine(pair)
    rows = draw(model, 13)
    batch = batch_of(model, rows, Stream(2).uniform(13, 1, torch.float64)[:, 0])
    for _ in range(2):
        gradients, metrics = update(Exactly(alpha=alpha), model, batch)
        loss = conditional_loss(model, rows, batch.weights)
        check(gradients, loss - alpha * (batch.weights @ log_joint(model, rows)), model)
        torch.testing.assert_close(metrics["loss"], loss.detach())


@pytest.mark.parametrize("method", ["pcd", "cd"])
def test_the_generative_part_is_the_rule_that_is_named(method):
    model = machine(("bernoulli", "bernoulli"))
    batch = batch_of(model, draw(model, 13))
    own = {"steps": 2} if method == "cd" else {"steps": 2, "chains": 7}
    discriminative, _ = update(hm.Discriminative(), model, batch)
    discriminative = {key: value.clone() for key, value in discriminative.items()}
    generative, _ = update(hm.RULES[method](**own), model, batch)
    generative = {key: value.clone() for key, value in generative.items()}
    gradients, _ = update(hm.Hybrid(alpha=0.3, method=method, **own), model, batch)
    for key, value in gradients.items():
        torch.testing.assert_close(value, discriminative[key] + 0.3 * generative[key])


def test_a_masked_coupling_stays_masked():
    visible = hm.Mixed(hm.Bernoulli(3), hm.Categorical(1, CLASSES))
    mask = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], bool)
    model = hm.BoltzmannMachine(visible, 2, visible_edges=False, hidden_edges=False, weight_mask=mask)
    gradients, _ = update(hm.Discriminative(), model, batch_of(model, draw(model, 13)))
    assert bool(((gradients["weight"] != 0) <= (model.weight_mask != 0)).all())
    assert bool(gradients["weight"].any())


def test_each_batch_is_divided_by_its_own_size():
    model = machine(("bernoulli", "spin"))
    rows, weights = draw(model, 22), torch.arange(22) % 3
    source, *_ = open_source(model.visible, rows, Stream(3), 8, 2, weights)
    sizes = []
    for batch in source.batches(0):
        sizes.append(len(batch.rows))
        shares = weights[batch.rows] / weights.double().mean() / len(batch.rows)
        gradients, _ = update(hm.Discriminative(), model, batch)
        check(gradients, conditional_loss(model, rows[batch.rows], shares), model)
    assert sizes == [8, 8, 6]


def test_frozen_parameters_get_no_gradient():
    model = machine(("bernoulli", "bernoulli"))
    model.hidden.bias.requires_grad_(False)
    gradients, _ = update(hm.Discriminative(), model, batch_of(model, draw(model, 5)))
    assert model.hidden.bias.grad is None
    assert gradients.keys() == {"weight", "visible.bias"}


@pytest.mark.parametrize("rule", [hm.Discriminative(), hm.Hybrid()], ids=["discriminative", "hybrid"])
def test_an_update_is_applied_once_with_all_gradients_in_place(rule):
    model = machine(("bernoulli", "gaussian"), torch.float32)
    batch, stream, applied = batch_of(model, draw(model, 13)), Stream(0), []
    before = {key: value.clone() for key, value in model.state_dict().items()}

    def apply(group):
        named = rule.parameters(model)[group]
        applied.append((group, [p.grad.clone() for p in named.values()]))

    state = rule.init(model, stream)
    after, metrics = rule.update(model, batch, state, stream, apply)
    ((group, gradients),) = applied
    assert group == "model"
    for gradient, p in zip(gradients, rule.parameters(model)["model"].values(), strict=True):
        assert torch.equal(gradient, p.grad)
        assert bool(gradient.isfinite().all())
    assert after.keys() == state.keys()
    assert metrics["loss"].ndim == 0
    assert all(
        torch.equal(value, before[key]) for key, value in model.state_dict().items() if "rates" not in key
    )


# --- learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule", [hm.Discriminative(), hm.Hybrid(chains=50)], ids=["discriminative", "hybrid"]
)
def test_digits_are_told_apart(rule):
    data = labelled_digits()
    model = classifier(30)
    options = {"epochs": 5, "batch_size": 20, "lr": 0.2, "momentum": 0.9, "seed": 1}
    history = hm.fit(model, data, rule, score="validation/accuracy", patience=5, **options)
    assert error_rate(model, data.test) < 0.25
    records = history.records
    for split in ("train", "validation"):
        errors = [record[f"{split}/error"] for record in records]
        assert errors == pytest.approx([1 - record[f"{split}/accuracy"] for record in records])
        assert errors[-1] < errors[0]
    best = min(record["validation/error"] for record in records)
    assert error_rate(model, data.validation) == pytest.approx(best)


def test_accuracy_is_watched_where_there_is_no_other_score():
    history = hm.fit(classifier(4), labelled_digits(), hm.Discriminative(), epochs=30, lr=1e-9, patience=2)
    assert history.stopped == "no better validation/accuracy in 2 scores"


def test_means_are_learnt_from_as_well():
    data = labelled_digits(binarisation="none")
    model = classifier(30)
    hm.fit(model, data, hm.Hybrid(chains=20), epochs=5, batch_size=20, lr=0.2, momentum=0.9)
    assert error_rate(model, data.test) < 0.15


# --- data with labels -----------------------------------------------------------------------------


@pytest.mark.parametrize("binarisation", ["sampled", "threshold", "none"])
def test_binarisation_leaves_labels_alone(binarisation):
    plain = hm.datasets.load("digits", binarisation=binarisation)
    data = plain.with_labels()
    assert data.classes == tuple(range(10))
    for split in ("train", "validation", "test"):
        rows, expected = data.fixed(split), plain.fixed(split)
        assert torch.equal(rows[:, :-1], expected)
        assert torch.equal(rows[:, -1].long(), plain.labels[split])
        assert rows.dtype == expected.dtype
    assert data.train.dtype == plain.train.dtype
    assert (data.kind, data.shape, data.columns) == (plain.kind, plain.shape, 64)
    unit = classifier(1).visible
    index = torch.tensor([5, 900, 31])
    shown = open_source(unit, data, Stream(0), 10, 2)[0].present(index, 3)
    pixels = open_source(hm.Bernoulli(64), plain, Stream(0), 10, 2)[0].present(index, 3)
    assert torch.equal(shown[:, :64], pixels)
    assert torch.equal(shown[:, 64:].argmax(1), plain.labels["train"][index])
    assert torch.equal(shown[:, 64:].sum(1), torch.ones(3))


def test_codes_follow_the_order_of_the_labels():
    rows, labels = bits(6), np.array([7, -1, 3, 3, 7, 3])
    data = hm.datasets.from_array(rows.numpy(), labels=labels).with_labels()
    assert data.classes == (-1, 3, 7)
    assert data.train[:, -1].tolist() == [2, 0, 1, 1, 2, 1]
    assert (data.kind, data.train.dtype) == ("bits", torch.uint8)
    assert data.with_labels() is data
    many = hm.datasets.from_array(np.zeros((300, 1), np.uint8), labels=np.arange(300)).with_labels()
    assert many.train[:, -1].tolist() == list(range(300))


def test_the_baseline_is_that_of_independent_bits_and_labels():
    rows, labels = bits(40), (torch.arange(40) % 3 == 0).long()
    parts = {"validation": bits(5).numpy(), "test": bits(20, seed=2).numpy()}
    marks = {"train": labels, "validation": labels[:5], "test": labels[3:23]}
    data = hm.datasets.from_array(rows.numpy(), labels=marks, **parts)
    plain = hm.datasets.summary(data)["baseline_log_likelihood"]
    share = (labels.sum().item() + 1) / 42
    ones = marks["test"].double().mean().item()
    expected = plain + ones * np.log(share) + (1 - ones) * np.log(1 - share)
    told = hm.datasets.summary(data.with_labels())["baseline_log_likelihood"]
    assert told == pytest.approx(expected, rel=1e-12)


def test_a_fresh_model_starts_at_the_base_rates_of_pixels_and_labels():
    data = labelled_digits()
    model = classifier(3)
    hm.fit(model, data, hm.Hybrid(), epochs=0)
    n = len(data.train)
    pixels = (data.train[:, :64].double().sum(0) / 16 + 1) / (n + 2)
    labels = (torch.bincount(data.labels["train"], minlength=10) + 0.2) / (n + 2)
    expected = torch.cat((pixels, labels)).float()
    torch.testing.assert_close(model.base_rates, expected)
    torch.testing.assert_close(model.visible.bias.detach(), model.visible.natural(expected))


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [hm.Discriminative(), hm.Hybrid()], ids=["discriminative", "hybrid"])
@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        (hm.Bernoulli(3), hm.Bernoulli(2)),
        (hm.Categorical(1, 3), hm.Bernoulli(2)),
        (hm.Mixed(hm.Categorical(1, 3), hm.Bernoulli(3)), hm.Bernoulli(2)),
        (hm.Mixed(hm.Bernoulli(3), hm.Categorical(2, 3)), hm.Bernoulli(2)),
    ],
)
def test_a_model_without_a_label_is_refused(rule, visible, hidden):
    model = hm.RBM(visible, hidden)
    assert not has_label(model)
    for call in (lambda: rule.check(model), lambda: hm.predict_proba(model, torch.zeros(1, 3))):
        with pytest.raises(
            ArgumentError, match=r"^model: got .*, expected visible units that end in a label: "
        ):
            call()


def test_hidden_units_that_do_not_sum_out_are_refused():
    visible = hm.Mixed(hm.Bernoulli(3), hm.Categorical(1, CLASSES))
    for hidden, reason in ((hm.Bernoulli(2), "coupled within a layer"), (None, "no hidden units")):
        model = hm.BoltzmannMachine(visible, hidden, visible_edges=False)
        for call in (hm.Hybrid().check, hm.Discriminative().check):
            with pytest.raises(ArgumentError, match=reason):
                call(model)


def test_rows_that_do_not_fit_are_refused():
    model = classifier(2, 3, CLASSES)
    with pytest.raises(
        DataError, match=r"^rows: got shape \(2, 5\), expected \(rows, 3\) or, with labels, \(rows, 4\)"
    ):
        hm.predict(model, torch.zeros(2, 5))
    with pytest.raises(DataError, match=r"^rows: got 2 at row 1"):
        hm.predict(model, torch.tensor([[0, 1, 1], [0, 2, 1]]))
    with pytest.raises(DataError, match=r"^rows: got 4 at row 0"):
        error_rate(model, torch.tensor([[0, 1, 1, 4]]))
    for ask in (hm.predict, hm.predict_proba, error_rate):
        with pytest.raises(DataError, match=r"^rows: got nan at row 0, column 1"):
            ask(model, [[0, float("nan"), 1, 0]])
        with pytest.raises(ArgumentTypeError, match=r"^rows: got 'abc', expected an array or a tensor"):
            ask(model, "abc")
        with pytest.raises(ArgumentTypeError, match=r"^model: got None, expected a model such as an RBM"):
            ask(None, torch.zeros(1, 4))


def test_data_and_models_that_differ_about_labels_are_refused():
    data = labelled_digits()
    with pytest.raises(DataError, match="rows that end in the code of a label, expected values of"):
        hm.fit(hm.RBM(65, 2), data)
    with pytest.raises(DataError, match=r"got shape \(1297, 64\), expected \(rows, 65\)"):
        hm.fit(classifier(2), hm.datasets.load("digits"))
    with pytest.raises(DataError, match=r"expected a code in 0 \.\.\. 8"):
        hm.fit(classifier(2, classes=9), data)
    spins = hm.RBM(hm.Mixed(hm.Spin(64), hm.Categorical(1, 10)), 2)
    with pytest.raises(DataError, match="got grey levels, expected values of spin units"):
        hm.fit(spins, data)


def test_data_without_labels_are_refused():
    with pytest.raises(DataError, match="labels: got none of the train rows of array"):
        hm.datasets.from_array(bits().numpy()).with_labels()
    labels = {"train": np.arange(40) % 2}
    with pytest.raises(DataError, match="labels: got none of the test rows"):
        hm.datasets.from_array(bits().numpy(), test=bits(3).numpy(), labels=labels).with_labels()
    with pytest.raises(DataError, match=r"labels: got only \[3\]"):
        hm.datasets.from_array(bits().numpy(), labels=np.full(40, 3)).with_labels()


def test_a_model_with_a_label_says_where_labels_come_from():
    with pytest.raises(DataError, match=r"expected \(rows, 65\), .* code; .*data\.with_labels\(\)"):
        hm.fit(classifier(2), hm.datasets.load("digits", binarisation="threshold"), hm.PCD())


# --- the same run, again ------------------------------------------------------------------------


class Cut(Exception):
    """What stops a run in these tests."""


def joint_bits():
    """Return small grey data with labels that depend on the pixels."""
    grey = (bits(rows=60).numpy() * 6 + 2).astype(np.uint8)
    labels = (bits(rows=60)[:, 0] + bits(rows=60)[:, 3]).numpy()
    return hm.datasets.from_array(
        grey, labels=labels, validation=20, binarisation="sampled", levels=9
    ).with_labels()


RULES = {
    "discriminative": hm.Discriminative(),
    "pcd": hm.Hybrid(chains=7, alpha=0.2),
    "cd": hm.Hybrid(method="cd", steps=2, alpha=0.2),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("after", [2, 5])
def test_a_run_that_was_cut_goes_on_bit_for_bit(rule, after, tmp_path, monkeypatch):
    options = {**SMALL, "checkpoint_every": 1e-9}
    whole = hm.fit(classifier(4, 6, 3), joint_bits(), rule, **options)
    real, left = type(rule).update, [after]

    def cutting(self, *arguments):
        if not left[0]:
            raise Cut
        left[0] -= 1
        return real(self, *arguments)

    monkeypatch.setattr(type(rule), "update", cutting)
    with pytest.raises(Cut):
        hm.fit(classifier(4, 6, 3), joint_bits(), rule, out=tmp_path / "run", **options)
    monkeypatch.setattr(type(rule), "update", real)
    again = hm.resume(tmp_path / "run", joint_bits())
    assert same(again, whole)
    assert timeless(again.records)[-1]["updates"] > after


# --- the command line ---------------------------------------------------------------------------


def succeed(*arguments):
    """Run a command that must succeed, and return the JSON object that it prints."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_command_line_attaches_labels(tmp_path):
    run = tmp_path / "run"
    pairs = ["rule=hybrid", "hidden=16", "epochs=2", "batch_size=20", "lr=0.1", "samples_every=2"]
    settings = [part for pair in pairs for part in ("--set", pair)]
    told = succeed("train", "rbm", "--data", "digits", "--out", run, *settings)
    assert 0 < told["last"]["validation/error"] < 0.9
    model = hm.load(run / "model.safetensors")
    assert (model.visible.size, model.visible.width) == (65, 74)
    assert len([*(run / "samples").iterdir()]) == 1
    found = succeed("evaluate", run, "--method", "exact")
    assert found["error"] == error_rate(model, labelled_digits().test)
    text = CliRunner().invoke(app, ["evaluate", str(run), "--split", "validation", "--no-report"]).stdout
    error = error_rate(model, labelled_digits().validation)
    assert f"{error:.2%}" in text
    assert succeed("resume", run, "--set", "epochs=3")["epochs"] == 3
    assert succeed("sample", run, "--out", tmp_path / "x.png", "--n", "4", "--steps", "3")["columns"] == 65


def test_other_rules_take_labels_when_told(tmp_path):
    train = ["train", "rbm", "--data", "digits", "--set", "hidden=4", "--out", str(tmp_path / "run")]
    without = ["--set", "rule=discriminative", "--set", "data.with_labels=false"]
    refused = CliRunner().invoke(app, [*train, *without])
    assert refused.exit_code == 2
    assert "visible units that end in a label" in refused.stderr
    told = succeed(*train, "--set", "epochs=1", "--set", "data.with_labels=true")
    assert "validation/error" in told["last"]
