"""The start from principal components: it finds them, has its closed form, and chains see all clusters."""

import copy
import math

import numpy as np
import pytest
import torch
from _runs import equal, train

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError
from harmonium.training import Options
from harmonium.training._components import principal_components
from harmonium.training._source import open_source

COLUMNS = 60


def clusters(rows=400, share=0.5, noise=0.05, seed=0):
    """Return bits around a pattern and its complement, which row belongs to the first, and the pattern."""
    generator = np.random.default_rng(seed)
    pattern = generator.integers(0, 2, COLUMNS)
    first = generator.uniform(size=rows) < share
    flipped = generator.uniform(size=(rows, COLUMNS)) < noise
    x = np.where(first[:, None], pattern, 1 - pattern) ^ flipped
    return torch.from_numpy(x), torch.from_numpy(first), torch.from_numpy(pattern)


def low_rank(unit, rows=500, seed=0):
    """Return rows with three strong components, of the values that a visible layer takes."""
    generator = np.random.default_rng(seed)
    field = generator.normal(size=(rows, 3)) * [3, 2, 1.4] @ generator.normal(size=(3, unit.size))
    if unit.kind == "gaussian":
        return torch.from_numpy((field + generator.normal(size=field.shape)).astype(np.float32))
    on = torch.from_numpy((field + generator.logistic(size=field.shape) > 0).astype(np.int64))
    return {"spin": 2 * on - 1, "categorical": on + on[:, :1]}.get(unit.kind, on)


def started(visible, hidden, data, **options):
    """Return a machine at its start, and the source of its data."""
    model = hm.RBM(copy.deepcopy(visible), copy.deepcopy(hidden), seed=3).double()
    hm.fit(model, data, epochs=0, init="pca", **options)
    source, *_ = open_source(model.visible, data, Stream(0), 7, 2)
    return model, source


# --- components ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_components_are_the_eigenvectors_of_the_covariance(weighted, monkeypatch):
    monkeypatch.setattr("harmonium.training._source._ELEMENTS", 40 * 64)
    x = low_rank(hm.Gaussian(40))
    weights = torch.arange(500) % 4 if weighted else None
    unit = hm.Gaussian(40).double()
    source, *_ = open_source(unit, x, Stream(0), 9, 2, weights)
    assert max(len(values) for values, _ in source.blocks()) == 64
    mean = source.mean()
    vectors, variances = principal_components(source, mean, 3, Stream(1))
    share = np.ones(500) if weights is None else weights.numpy() / weights.double().mean().item()
    expected, axes = np.linalg.eigh(np.cov(x.numpy().T.astype(float), aweights=share, bias=True))
    np.testing.assert_allclose(variances, expected[::-1][:3], rtol=1e-5)
    axes = axes[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(3)])
    np.testing.assert_allclose(vectors, axes, atol=1e-3)


def test_components_are_those_of_the_bits_that_are_shown():
    grey = np.random.default_rng(0).integers(0, 256, (300, 1)) * np.ones((1, 12))
    data = hm.datasets.from_array(grey.astype(np.uint8), binarisation="sampled")
    source, *_ = open_source(hm.Bernoulli(12), data, Stream(0), 300, 2)
    shown = torch.cat([values for values, _ in source.blocks()])
    assert set(shown.unique().tolist()) == {0, 1}
    assert torch.equal(shown, source.present(torch.arange(300), 0))
    _, variances = principal_components(source, shown.mean(0), 12, Stream(1))
    np.testing.assert_allclose(
        variances, np.linalg.eigvalsh(np.cov(shown.numpy().T, bias=True))[::-1], rtol=1e-4
    )


# --- the start ----------------------------------------------------------------------------------

VISIBLE = [hm.Bernoulli(20), hm.Spin(20), hm.Categorical(20, 3), hm.Gaussian(20, 1.5)]
HIDDEN = [hm.Bernoulli(6), hm.Spin(6), hm.Categorical(6, 3), hm.ReLU(6, 1.6), hm.Gaussian(6, 0.7)]
PAIRS = [(v, h) for v in VISIBLE for h in HIDDEN if v.discrete or h.discrete]


@pytest.mark.parametrize(("visible", "hidden"), PAIRS, ids=lambda unit: unit.kind)
def test_the_start_has_its_closed_form(visible, hidden):
    """By the variances of the data and of independent units along each component; the rest is as ever."""
    data = low_rank(visible)
    model, _ = started(visible, hidden, data)
    fresh = hm.RBM(copy.deepcopy(visible), copy.deepcopy(hidden), seed=3).double()
    fresh.initialise(model.base_rates)
    columns = torch.arange(0, hidden.width, hidden.width // hidden.size)
    given = [c for c in columns.tolist() if not torch.equal(model.weight[:, c], fresh.weight[:, c])]
    assert 1 <= len(given) <= 6
    assert given == columns.tolist()[: len(given)]
    s = visible.statistics(data).double()
    mean = model.base_rates
    rest = {
        "bernoulli": (0.5, 0.25),
        "spin": (0.0, 1.0),
        "categorical": (1 / 3, 2 / 9),
        "relu": (math.sqrt(2 / math.pi / 1.6), (1 - 2 / math.pi) / 1.6),
        "gaussian": (0.0, 1 / 0.7),
    }[hidden.kind]
    for c in given:
        w = model.weight.detach()[:, c]
        u = w / w.norm()
        variance = float((((s - mean) @ u) ** 2).mean())
        covariance = {
            "bernoulli": torch.diag(mean * (1 - mean)),
            "spin": torch.diag(1 - mean**2),
            "gaussian": torch.eye(20, dtype=torch.float64) / 1.5,
        }.get(visible.kind)
        if covariance is None:
            blocks = mean.view(20, 3)
            covariance = torch.diag(mean) - torch.block_diag(*(torch.outer(p, p) for p in blocks))
        own = float(u @ covariance @ u)
        edge = (1 + math.sqrt(visible.width / len(s))) ** 2
        assert variance > edge * own
        assert float(w.norm()) == pytest.approx(math.sqrt((1 - own / variance) / (own * rest[1])), rel=1e-4)
        assert float(model.hidden.bias.detach()[c]) == pytest.approx(-float(mean @ w), rel=1e-4, abs=1e-6)
    others = [c for c in range(hidden.width) if c not in given]
    assert torch.equal(model.weight[:, others], fresh.weight[:, others])
    assert torch.equal(model.hidden.bias[others], fresh.hidden.bias[others])
    expected = fresh.visible.bias - rest[0] * model.weight[:, given].sum(1)
    torch.testing.assert_close(model.visible.bias.detach(), expected.detach())


def test_normal_units_get_the_variance_of_the_data():
    """For normal units below and above the formula is exact: here above, with the model's own integral."""
    data = low_rank(hm.Gaussian(8), rows=4000)
    model, source = started(hm.Gaussian(8), hm.Bernoulli(8), data)
    _, variances = principal_components(source, model.base_rates, 2, Stream(1))
    for k in range(2):
        w = model.weight.detach()[:, k]
        precision = 1 / 1.0 - float(w @ w) * 0.25
        assert 1 / precision == pytest.approx(float(variances[k]), rel=1e-3)


def test_noise_gives_no_components():
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (500, 40)))
    model = hm.RBM(40, 8, seed=3)
    kept = model.weight.detach().clone()
    hm.fit(model, x, epochs=0, init="pca")
    assert torch.equal(model.weight, kept)
    assert torch.equal(model.hidden.bias, torch.zeros(8))


def test_the_start_is_closer_to_the_data():
    data = low_rank(hm.Bernoulli(20))
    scores = {}
    for init in ("base-rates", "pca"):
        model = hm.RBM(20, 10)
        hm.fit(model, data, epochs=0, init=init)
        scores[init] = hm.log_likelihood(model, data).mean
    assert scores["pca"] > scores["base-rates"] + 1


def test_masks_are_kept():
    mask = np.ones((20, 6), bool)
    mask[::2, :3] = False
    model = hm.BoltzmannMachine(20, 6, visible_edges=False, hidden_edges=False, weight_mask=mask)
    hm.fit(model, low_rank(hm.Bernoulli(20)), epochs=0, init="pca")
    assert bool((model.weight[torch.from_numpy(~mask)] == 0).all())
    assert model.weight[1::2, :3].norm() > 0.5


# --- clusters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_far_clusters_are_told_apart_and_chains_see_both(share):
    """From the first update on; a start on one side of the biases would see one of them alone."""
    x, first, pattern = clusters(share=share)
    model = hm.RBM(COLUMNS, 20)
    hm.fit(model, x, epochs=0, init="pca")
    active = model.encode(x).detach()[:, 0]
    side = active > 0.5
    agree = float((side == first).double().mean())
    assert max(agree, 1 - agree) > 0.99
    assert float((active - 0.5).abs().min()) > 0.4
    history = train(x, hm.RBM(COLUMNS, 20), hm.PCD(chains=100), init="pca", epochs=20, lr=0.03)
    near = (history.chains - pattern).abs().sum(1)
    there, others = int((near < 15).sum()), int((near > COLUMNS - 15).sum())
    assert there + others > 75
    assert min(there, others) > 10


def test_chains_start_from_the_base_rates():
    """The biases of a machine with strong couplings are far from them."""
    x, _, pattern = clusters()
    model = hm.RBM(COLUMNS, 20)
    history = hm.fit(model, x, hm.PCD(chains=400), epochs=0, init="pca")
    own = (model.base_rates - pattern).abs()
    away = (history.chains - pattern).abs().sum(1).mean() - own.sum()
    assert abs(float(away)) < 4 * math.sqrt(float((own * (1 - own)).sum()) / 400)
    on = model.encode(history.chains).detach()[:, 0]
    assert 0.4 < float((on > 0.5).double().mean()) < 0.6


# --- runs ---------------------------------------------------------------------------------------


def test_the_start_is_repeatable_and_goes_on(tmp_path):
    x, _, _ = clusters(60)
    one, other = (train(x, hm.RBM(COLUMNS, 4), init="pca", epochs=2).model for _ in range(2))
    assert equal(one.state_dict(), other.state_dict())
    run = tmp_path / "run"
    train(x, hm.RBM(COLUMNS, 4), init="pca", epochs=1, out=run, schedule="constant")
    whole = train(x, hm.RBM(COLUMNS, 4), init="pca", epochs=2, schedule="constant").model
    assert equal(hm.resume(run, x, epochs=2).model.state_dict(), whole.state_dict())
    with pytest.raises(ArgumentError, match=r"^init: got 'base-rates', expected 'pca', as the run began"):
        hm.resume(run, x, init="base-rates")


def test_mistakes_are_named():
    with pytest.raises(ArgumentError, match=r"^init: got 'ica', expected 'base-rates' or 'pca'"):
        train(init="ica")
    with pytest.raises(ArgumentError, match=r"^init: got 'pca', .*no hidden units"):
        train(model=hm.BoltzmannMachine(6), init="pca")
    model = hm.RBM(6, 4)
    train(model=model, init="pca")
    with pytest.raises(ArgumentError, match=r"^init: got 'pca', .*trained already"):
        train(model=model, init="pca")
    for name in ("weight", "hidden.bias"):
        model = hm.RBM(6, 4)
        model.get_parameter(name).requires_grad_(False)
        with pytest.raises(ArgumentError, match=rf"^init: got 'pca', .*{name} is frozen"):
            train(model=model, init="pca")


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        (hm.RBM(4, 3), 0.05),
        (hm.RBM(hm.Spin(4), hm.Spin(3)), 0.05),
        (hm.RBM(hm.Categorical(4, 3), 3), 0.05),
        (hm.RBM(hm.Mixed(hm.Bernoulli(4), hm.Categorical(1, 3)), 3), 0.05),
        (hm.BoltzmannMachine(hm.Spin(4)), 0.05),
        (hm.RBM(4, hm.ReLU(3)), 0.005),
        (hm.RBM(4, hm.Gaussian(3)), 0.005),
        (hm.RBM(hm.Gaussian(4), 3), 0.005),
        (hm.RBM(hm.Mixed(hm.Bernoulli(4), hm.Gaussian(2)), 3), 0.005),
    ],
    ids=str,
)
def test_the_rate_is_lower_where_some_units_are_real(model, rate):
    assert model.usual_rate == rate
    low, high = sorted({0.05, 0.005})
    description = " ".join(Options.model_fields["lr"].description.split())
    assert f"{high:g}" in description
    assert f"{low:g}" in description


# --- the scale of the first weights ---------------------------------------------------------------


def test_the_scale_of_the_first_weights_is_their_standard_deviation():
    weight = hm.RBM(200, 100, weight_scale=np.float32(0.3)).weight.detach()
    assert abs(float(weight.std()) - 0.3) < 4 * 0.3 / math.sqrt(2 * weight.numel())
    torch.testing.assert_close(weight, 30 * hm.RBM(200, 100).weight.detach())


@pytest.mark.parametrize(
    ("scale", "error"), [(-0.1, ArgumentError), (math.nan, ArgumentError), (True, ArgumentTypeError)]
)
def test_other_scales_are_refused(scale, error):
    with pytest.raises(error, match=f"weight_scale: got {scale}"):
        hm.RBM(2, 2, weight_scale=scale)
