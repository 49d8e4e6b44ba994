"""Rows that lack values: gradients and likelihoods against sums over the missing cells."""

from itertools import product

import numpy as np
import pytest
import torch
from _models import rbm
from test_boltzmann import machine
from test_mixed import machine as mixed

import harmonium as hm
from harmonium.errors import ArgumentError, DataError
from harmonium.learning import RULES, Batch
from harmonium.training._source import Source, fingerprint

NAN = float("nan")
DISCRETE = {
    "bits": lambda: rbm(("bernoulli", "bernoulli")),
    "spins": lambda: rbm(("spin", "spin")),
    "codes": lambda: rbm(("categorical", "bernoulli")),
    "bits below reals": lambda: rbm(("bernoulli", "gaussian")),
    "machine of bits": lambda: machine("visible bits"),
    "mixed": lambda: mixed("bits and codes", hm.Spin(2)),
}
REAL = {
    "reals": lambda: rbm(("gaussian", "bernoulli"), (3, 2), learn_precision=True),
    "codes, reals and spins": lambda: mixed("codes, reals and spins", hm.Categorical(2, 3)),
}


def gapped(model, n=9, share=0.4, seed=0):
    """Return rows of values with gaps, each with one value at least."""
    stream = hm.Stream(seed, "gaps")
    fields = stream.normal(n, model.visible.width, torch.float64)
    rows = model.visible.values(model.visible.sample(fields, stream)).double()
    holes = stream.uniform(n, rows.shape[1], torch.float64) < share
    holes[torch.arange(n), torch.arange(n) % rows.shape[1]] = False
    holes[0] = False
    rows[holes] = NAN
    return rows


def values_of(unit):
    """Return the values of each unit of a discrete layer."""
    parts = list(unit.parts) if unit.kind == "mixed" else [unit]
    support = {"bernoulli": [0.0, 1.0], "spin": [-1.0, 1.0]}
    own = [support.get(p.kind) or [float(k) for k in range(p.states)] for p in parts for _ in range(p.size)]
    return own


def fillings(model, row):
    """Return a row with all values that its gaps may have."""
    choices = [
        own if np.isnan(x) else [x] for own, x in zip(values_of(model.visible), row.tolist(), strict=True)
    ]
    return torch.tensor(list(product(*choices)), dtype=torch.float64)


def log_known(model, rows):
    """Return the log of the sum of exp(-E) over hidden units and gaps, by listing what may be in them."""
    return torch.stack([torch.logsumexp(-model.free_energy(fillings(model, row)), 0) for row in rows])


def batch_of(model, rows, weights=None):
    values, known = model.visible.known_statistics(rows)
    n = len(rows)
    weights = torch.full((n,), 1 / n, dtype=torch.float64) if weights is None else weights
    return Batch(values, weights, torch.arange(n), known)


def gradients(rule, model, batch, seed=0):
    """Return the gradients that an update sets."""
    model.zero_grad()
    stream = hm.Stream(seed, "rule")
    rule.update(model, batch, rule.init(model, stream), stream, lambda group: None)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def autograd(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def over_grid(model, rows, step=0.05, reach=9.0):
    """Return the log of the integral over hidden units and gaps, of rows that lack one real value."""
    grid = torch.arange(-reach, reach, step, dtype=torch.float64)
    found = []
    for row in rows:
        many = row.repeat(len(grid), 1)
        many[:, row.isnan()] = grid[:, None]
        found.append(torch.logsumexp(-model.free_energy(many), 0) + np.log(step))
    return torch.stack(found)


@pytest.mark.parametrize("label", DISCRETE)
def test_exact_gradient_is_that_of_the_sum_over_gaps(label):
    model, weights = DISCRETE[label](), torch.rand(9, dtype=torch.float64, generator=torch.manual_seed(1))
    rows = gapped(model)
    loss = weights.sum() * model.log_sum({})[0] - weights @ log_known(model, rows)
    expected = autograd(model, loss)
    found = gradients(hm.ExactLikelihood(centred=False), model, batch_of(model, rows, weights))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-9)


def test_exact_gradient_integrates_over_a_real_value():
    """The second moment of what is missing tells of a precision too."""
    model = REAL["reals"]()
    rows = torch.tensor([[0.3, -1.0, 0.4], [NAN, 0.2, 0.8], [1.1, -0.6, NAN]], dtype=torch.float64)
    log_p = torch.cat((-model.free_energy(rows[:1]), over_grid(model, rows[1:])))
    expected = autograd(model, model.log_sum({})[0] - log_p.mean())
    found = gradients(hm.ExactLikelihood(centred=False), model, batch_of(model, rows))
    assert "visible.log_precision" in expected
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("label", ["bits", "machine of bits", "mixed", "codes, reals and spins"])
def test_gibbs_data_phase_agrees_with_the_exact_one(label):
    """Its mean over many draws of the same rows is the expectation, within 4 standard errors."""
    model = {**DISCRETE, **REAL}[label]()
    rows, copies = gapped(model, 4), 1000
    exact, _ = hm.ExactLikelihood().data(model, batch_of(model, rows), hm.Stream(0))
    values, known = model.visible.known_statistics(rows)
    many = Batch(
        values.repeat(copies, 1),
        torch.ones(4 * copies).double(),
        torch.arange(4 * copies),
        known.repeat(copies, 1),
    )
    drawn, _ = hm.PCD(gap_steps=10).data(model, many, hm.Stream(1))
    for block in model.blocks():
        row, p = exact["row of the data"], exact["probability"]
        x = drawn[block].view(copies, 4, -1)
        for number in range(4):
            own = row == number
            mean = p[own] @ exact[block][own]
            error = x[:, number].std(0) / copies**0.5
            assert bool(((x[:, number].mean(0) - mean).abs() <= 4 * error + 1e-9).all())
    shown = model.shown(drawn)
    assert torch.equal(shown[many.known], many.values[many.known])


def test_mean_field_fills_gaps_by_its_own_equations():
    model = DISCRETE["bits"]()
    rows = gapped(model)
    batch = batch_of(model, rows)
    data, _ = hm.PCD(gaps="mean-field", gap_steps=300).data(model, batch, hm.Stream(0))
    again = torch.sigmoid(data["hidden"] @ model.weight.T + model.visible.bias)
    v = data["visible"]
    torch.testing.assert_close(v, torch.where(batch.known, batch.values, again))
    assert bool(((v > 0) & (v < 1))[~batch.known].all())


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.integrates])
def test_rules_learn_from_rows_with_gaps(name):
    """Of three equal bits a row tells two: independent ones have log 1/4, and no model more than log 1/2."""
    bits = torch.bernoulli(torch.full((200, 1), 0.5), generator=torch.manual_seed(2))
    rows = bits.repeat(1, 3)
    rows[torch.arange(200), torch.arange(200) % 3] = NAN
    model = rbm(("bernoulli", "bernoulli"), dtype=torch.float32)
    hm.fit(model, rows, RULES[name](gap_steps=2), epochs=40, batch_size=200, lr=1.0, seed=0)
    with torch.no_grad():
        found = (log_known(model, rows[:20].double()) - model.log_sum({})).mean()
    assert np.log(0.25) + 0.15 < float(found) < np.log(0.5)


def test_gaps_do_not_count_in_base_rates():
    rows = torch.tensor([[1.0, 2.0, 0.5], [NAN, 0.0, NAN], [0.0, NAN, 2.5], [1.0, 2.0, NAN]])
    unit, weights = (
        hm.Mixed(hm.Bernoulli(1), hm.Categorical(1, 3), hm.Gaussian(1)),
        torch.tensor([1.0, 1, 2, 4]),
    )
    source = Source(unit, rows, hm.Stream(0), 2, weights=weights, gaps=True)
    weight = weights.double() / 2
    bit = (weight[0] + weight[3] + 1) / (weight[[0, 2, 3]].sum() + 2)
    codes = torch.stack((weight[1], 0 * weight[1], weight[0] + weight[3])) + 2 / 3
    real = (0.5 * weight[0] + 2.5 * weight[2]) / (weight[0] + weight[2])
    expected = torch.cat((bit[None], codes / codes.sum(), real[None]))
    torch.testing.assert_close(source.mean(), expected)
    variance = (weight[0] * (0.5 - real) ** 2 + weight[2] * (2.5 - real) ** 2) / (weight[0] + weight[2])
    torch.testing.assert_close(source.spread()[0][-1], variance.sqrt())


def test_without_gaps_all_is_as_before():
    """Rows of a batch that lacks nothing are presented as ever, by a source that would take gaps too."""
    rows = torch.bernoulli(torch.full((10, 4), 0.5), generator=torch.manual_seed(0))
    plain, able = (Source(hm.Bernoulli(4), rows, hm.Stream(0), 3, gaps=gaps) for gaps in (False, True))
    for one, other in zip(plain.batches(0), able.batches(0), strict=True):
        assert one.known is None
        assert other.known is None
        assert torch.equal(one.values, other.values)
    assert torch.equal(plain.mean(), able.mean())


def test_hashes_tell_where_a_gap_is_and_not_how_it_is_written():
    rows = torch.tensor([[1.0, NAN], [0.0, 1.0]])
    other = rows.clone()
    other.view(torch.int32)[0, 1] ^= 1 << 31
    assert bool(other[0, 1].isnan())
    assert fingerprint(other) == fingerprint(rows)
    assert fingerprint(rows.flip(1)) != fingerprint(rows)


def test_what_cannot_take_gaps_says_what_can():
    rows = torch.tensor([[1.0, NAN], [0.0, 1.0]])
    with pytest.raises(ArgumentError, match=r"rule: .*'pcd'.*row 0 has none in column 1"):
        hm.fit(hm.RBM(2, 2), rows, hm.Pseudolikelihood())
    with pytest.raises(ArgumentError, match=r"dropout: got 0\.5, expected 0"):
        hm.fit(hm.RBM(2, 2), rows, hm.PCD(dropout=0.5))
    with pytest.raises(ArgumentError, match=r"init: got 'pca'"):
        hm.fit(hm.RBM(2, 2), rows, init="pca")
    with pytest.raises(ArgumentError, match=r"'gibbs', as precisions are learned"):
        hm.fit(hm.RBM(hm.Gaussian(2, learn_precision=True), 2), rows, hm.PCD(gaps="mean-field"))
    with pytest.raises(ArgumentError, match=r"data: got missing values, .* not so in this dbm"):
        hm.fit(hm.DBM([2, 2, 2]), rows, hm.PCD())
    with pytest.raises(ArgumentError, match=r"row 0 has none in column 1.*trained one by one"):
        hm.pretrain(hm.DBN([2, 2, 2]), rows)
    with pytest.raises(DataError, match=r"column 1.*train without it"):
        hm.fit(hm.RBM(2, 2), torch.tensor([[1.0, NAN], [0.0, NAN]]))
    with pytest.raises(DataError, match=r"row 1.*leave it out"):
        hm.fit(hm.RBM(2, 2), torch.tensor([[1.0, 0.0], [NAN, NAN]]))
    with pytest.raises(DataError, match="missing values are not taken"):
        hm.RBM(2, 2).free_energy(rows)


@pytest.mark.parametrize("label", DISCRETE)
def test_likelihood_of_what_is_known_is_the_sum_over_gaps(label):
    model = DISCRETE[label]()
    rows = gapped(model)
    values = (log_known(model, rows) - model.log_sum({})).detach()
    found = hm.log_likelihood(model, rows)
    assert found.mean == pytest.approx(float(values.mean()), rel=1e-9)
    assert (found.lower, found.upper, found.method) == (found.mean, found.mean, "exact")
    assert found.data_standard_error == pytest.approx(float(values.std()) / 3)
    nothing = torch.full((1, rows.shape[1]), NAN, dtype=torch.float64)
    assert hm.log_likelihood(model, nothing).mean == pytest.approx(0, abs=1e-9)


def test_likelihood_integrates_over_a_real_value():
    model = REAL["reals"]()
    rows = torch.tensor([[NAN, 0.2, 0.8], [1.1, -0.6, NAN]], dtype=torch.float64)
    expected = (over_grid(model, rows) - model.log_sum({})).mean()
    assert hm.log_likelihood(model, rows).mean == pytest.approx(float(expected.detach()), abs=1e-8)


@pytest.mark.parametrize("label", ["bits", "machine of bits", "mixed", "reals"])
def test_likelihood_of_rows_with_gaps_is_annealed_where_sums_are_long(label, monkeypatch):
    model = {**DISCRETE, **REAL}[label]()
    rows = gapped(model, 6)
    exact = hm.log_likelihood(model, rows)
    monkeypatch.setattr("harmonium.likelihood._gaps.LIMIT", 0)
    found = hm.log_likelihood(model, rows, method="exact", runs=200, betas=30, schedule="linear")
    assert 0 < abs(found.mean - exact.mean) <= 4 * found.standard_error
    assert found.standard_error < 0.1
    assert found.lower < found.mean < found.upper == np.inf
    whole = rows[~rows.isnan().any(1)]
    assert hm.log_likelihood(model, whole).mean == pytest.approx(hm.log_likelihood(model, whole).upper)


def test_few_runs_that_carry_a_row_are_told(monkeypatch):
    model = rbm(("bernoulli", "bernoulli"), (6, 3), scale=6)
    monkeypatch.setattr("harmonium.likelihood._gaps.LIMIT", 0)
    found = hm.log_likelihood(model, gapped(model, 6), method="exact", runs=20, betas=1, schedule="linear")
    assert not found.trusted
    assert "a row that lacks values" in found.reason


def test_models_whose_hidden_units_depend_on_each_other_have_no_likelihood_of_gaps():
    with pytest.raises(DataError, match="missing values are not taken"):
        hm.log_likelihood(hm.DBM([2, 2, 2]), torch.tensor([[1.0, NAN]]))


@pytest.mark.parametrize("label", ["bits", "machine of bits", "mixed"])
def test_imputed_draws_are_those_of_the_model_given_what_is_known(label):
    model, draws = DISCRETE[label](), 2000
    rows = gapped(model, 5)
    found = hm.impute(model, rows, draws=draws, steps=15, seed=3)
    assert found.draws.shape == (draws, *rows.shape)
    there = ~rows.isnan()
    assert torch.equal(found.missing, ~there)
    for filled in (found.draws[0], found.draws[-1], found.mean, found.mode, *found.interval(0.5)):
        assert torch.equal(filled[there], rows[there])
    for number, row in enumerate(rows):
        states = fillings(model, row)
        p = torch.softmax(-model.free_energy(states), 0).detach()
        often = (found.draws[:, number, None] == states).all(2).double().mean(0)
        assert bool(((often - p).abs() <= 4.5 * (p * (1 - p) / draws).sqrt() + 1e-9).all())
        off, error = found.mean[number] - p @ states, ((p @ states) * (1 - p @ states) / draws).clamp(min=0)
        bits = torch.tensor([kind == "bernoulli" for kind in found.kinds])
        assert bool((off.abs() <= 4.5 * error.sqrt() + 1e-9)[bits].all())
    assert bool((~there).any())


def test_means_are_of_what_is_expected_given_the_other_layers():
    model = hm.RBM(hm.Mixed(hm.Bernoulli(2), hm.Gaussian(2, 4.0)), 3).double()
    with torch.no_grad():
        model.weight.zero_()
        model.visible.bias.copy_(torch.tensor([0.3, -2.0, 1.0, 5.0]))
    found = hm.impute(model, torch.tensor([[NAN, 1, NAN, 2.0]], dtype=torch.float64), draws=1, steps=1)
    expected = torch.tensor([[torch.tensor(0.3).double().sigmoid(), 1, 0.25, 2]], dtype=torch.float64)
    torch.testing.assert_close(found.mean, expected)
    assert found.draws[0, 0, 0] in (0, 1)


def test_imputed_reals_are_those_of_the_model_given_what_is_known():
    model = REAL["reals"]()
    row = torch.tensor([[0.4, NAN, -0.7]], dtype=torch.float64)
    grid = torch.arange(-9, 9, 0.01, dtype=torch.float64)
    many = row.repeat(len(grid), 1)
    many[:, 1] = grid
    p = torch.softmax(-model.free_energy(many), 0).detach()
    found = hm.impute(model, row, draws=4000, steps=15)
    mean, error = p @ grid, (p @ (grid - p @ grid).square() / 4000).sqrt()
    assert abs(found.mean[0, 1] - mean) <= 4 * error
    assert torch.equal(found.mode, found.mean)
    low, high = found.interval(0.8)
    inside = p[(grid > low[0, 1]) & (grid < high[0, 1])].sum()
    assert abs(float(inside) - 0.8) <= 4 * (0.8 * 0.2 / 4000) ** 0.5 + 0.01


def test_what_is_told_of_draws():
    """The columns: a real value, a code, a bit, and a bit that is known."""
    draws = torch.tensor([[[0.0, 2, 1, 1]], [[3, 0, 1, 1]], [[1, 2, 0, 1]], [[4, 1, 1, 1]]])
    missing = torch.tensor([[True, True, True, False]])
    found = hm.Imputed(draws, missing, ("gaussian", "categorical", "bernoulli", "bernoulli"))
    assert found.mean.tolist() == [[2, 2, 0.75, 1]]
    assert found.mode.tolist() == [[2, 2, 1, 1]]
    low, high = found.interval(0.5)
    torch.testing.assert_close(low, torch.tensor([[0.25, NAN, 0, 1]]), equal_nan=True)
    torch.testing.assert_close(high, torch.tensor([[3.75, NAN, 1, 1]]), equal_nan=True)
    assert found.interval(0.6)[0][0, 0] == 0
    with pytest.raises(ArgumentError, match=r"share: got 0\.7, expected at most 0\.6 of 4 draws"):
        found.interval(0.7)


@pytest.mark.parametrize("n", [19, 24])
def test_intervals_hold_another_draw_as_often_as_they_say(n):
    x = hm.Stream(4).normal(n + 1, 20_000, torch.float64).exp()
    found = hm.Imputed(x[1:, None], torch.ones(1, 20_000, dtype=torch.bool), ("gaussian",) * 20_000)
    low, high = found.interval(0.9)
    inside = ((x[0] > low[0]) & (x[0] < high[0])).double().mean()
    assert abs(float(inside) - 0.9) <= 4 * (0.9 * 0.1 / 20_000) ** 0.5 + 0.002


def test_imputing_takes_what_it_can_and_refuses_the_rest():
    model = hm.RBM(2, 2)
    whole = torch.tensor([[1, 0], [0, 1]])
    assert torch.equal(hm.impute(model, whole, draws=3).mean, whole.float())
    assert hm.impute(hm.DBM([2, 3, 2]), np.array([[1.0, NAN]]), draws=4).draws.shape == (4, 1, 2)
    with pytest.raises(DataError, match=r"rows: got 2 at row 0, column 1"):
        hm.impute(model, torch.tensor([[NAN, 2.0]]))
    with pytest.raises(DataError, match=r"rows: got inf"):
        hm.impute(model, torch.tensor([[NAN, np.inf]]))
    with pytest.raises(ArgumentError, match="draws: got 0"):
        hm.impute(model, whole, draws=0)
    with pytest.raises(ArgumentError, match="model: got one with a layer that is there twice"):
        hm.impute(hm.RBM(2, 2, doubled="visible"), whole)


def test_a_run_on_rows_with_gaps_goes_on_bit_for_bit_and_scores_what_is_known(tmp_path):
    model, other = hm.RBM(3, 2), hm.RBM(3, 2)
    rows = gapped(rbm(("bernoulli", "bernoulli")), 60, seed=5).float()
    options = {"validation": rows[:20], "likelihood_every": 2, "batch_size": 25}
    history = hm.fit(model, rows, epochs=4, out=tmp_path / "whole", **options)
    half = {"out": tmp_path / "half", "callback": lambda record: record["epoch"] == 2}
    hm.fit(other, rows, epochs=4, **half, **options)
    resumed = hm.resume(tmp_path / "half", rows, validation=rows[:20]).model
    for name, value in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)
    record = history.records[-1]
    found = hm.log_likelihood(model, rows[:20])
    assert record["validation/log_likelihood"] == pytest.approx(found.mean, rel=1e-5)
    assert 0 < record["validation/reconstruction_error"] < 1
    assert "train/free_energy" not in record
