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
    with pytest.raises(ArgumentError, match=r"'variational-pcd'"):
        hm.fit(hm.DBM([2, 2, 2]), rows, hm.PCD())
    with pytest.raises(DataError, match=r"column 1.*train without it"):
        hm.fit(hm.RBM(2, 2), torch.tensor([[1.0, NAN], [0.0, NAN]]))
    with pytest.raises(DataError, match=r"row 1.*leave it out"):
        hm.fit(hm.RBM(2, 2), torch.tensor([[1.0, 0.0], [NAN, NAN]]))
    with pytest.raises(DataError, match="missing values are not taken"):
        hm.RBM(2, 2).free_energy(rows)
