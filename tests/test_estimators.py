"""The estimators: scikit-learn's own checks, and what they compute against enumeration and definitions."""

import pickle
import signal

import numpy as np
import pytest
import torch
from joblib import parallel_backend
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import BernoulliRBM as Theirs
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import harmonium as hm
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.estimators import (
    BernoulliRBM,
    DBMClassifier,
    DBNClassifier,
    DBNTransformer,
    GANSampler,
    RBMClassifier,
    RBMDensity,
    RBMTransformer,
    _nearest,
)
from harmonium.estimators._base import Estimator
from harmonium.models import NETWORKS

STACK = ["cd", "cd", hm.VariationalPCD(burn_in=0, chains=10)]
TINY = NETWORKS["mlp"](latent=2, hidden=4, judges=4, pieces=1, depth=1)
SMALL = (
    BernoulliRBM(4, n_iter=1, batch_size=100),
    RBMTransformer(4, n_iter=1, chains=10),
    DBNTransformer((4,), n_iter=1, chains=10),
    RBMClassifier(8, rule="discriminative", n_iter=6, learning_rate=0.2),
    DBNClassifier((8,), n_iter=1, finetune_rate=0.2, finetune_iter=6, batch_size=100),
    DBMClassifier(
        (64, 8), hidden="spin", rule=STACK, n_iter=1, finetune_rate=0.03, finetune_iter=6, batch_size=100
    ),
    RBMDensity(4, n_iter=1, chains=10),
    GANSampler(TINY, n_iter=1),
)
STATES = np.array(list(np.ndindex(*[2] * 5)), dtype=float)


@parametrize_with_checks(list(SMALL))
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def bits(rows=60, columns=5, seed=0):
    """Return rows of 0 and 1 whose neighbouring columns agree more often than not."""
    generator = np.random.default_rng(seed)
    x = np.empty((rows, columns))
    x[:, 0] = generator.integers(0, 2, rows)
    for column in range(1, columns):
        x[:, column] = np.where(
            generator.random(rows) < 0.8, x[:, column - 1], generator.integers(0, 2, rows)
        )
    return x


def blobs(rows=90):
    """Return real rows of three classes, and their names."""
    x, y = make_blobs(rows, 3, centers=3, random_state=0)
    return 10 * x + 1000, np.array(["one", "three", "two"])[y]


# --- BernoulliRBM ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair():
    """Return a fitted estimator, and scikit-learn's own with the same parameters."""
    own = BernoulliRBM(3, learning_rate=0.5, n_iter=30, random_state=0).fit(bits())
    theirs = Theirs(3)
    for name in ("components_", "intercept_hidden_", "intercept_visible_"):
        setattr(theirs, name, np.array(getattr(own, name)))
    return own, theirs


def test_features_are_scikit_learns(pair):
    own, theirs = pair
    assert np.abs(own.components_).max() > 0.1
    rows = np.random.default_rng(1).normal(size=(20, 5))
    np.testing.assert_allclose(own.transform(rows), theirs._mean_hiddens(rows), rtol=1e-12)


def test_scores_are_the_mean_of_scikit_learns_draws(pair):
    own, theirs = pair
    expected = np.zeros(len(STATES))
    for column in range(5):
        flipped = STATES.copy()
        flipped[:, column] = 1 - flipped[:, column]
        gain = theirs._free_energy(flipped) - theirs._free_energy(STATES)
        expected -= np.logaddexp(0, -gain)
    np.testing.assert_allclose(own.score_samples(STATES), expected, rtol=1e-10)


def test_a_gibbs_step_draws_from_the_conditionals(pair):
    own, _ = pair
    n, v = 4000, STATES[11]
    codes = np.array(list(np.ndindex(2, 2, 2)))
    p = own.transform(v[None])[0]
    weights = np.prod(np.where(codes, p, 1 - p), 1)
    mean = weights @ (1 / (1 + np.exp(-(codes @ own.components_ + own.intercept_visible_))))
    first, second = (own.gibbs(np.tile(v, (n, 1))) for _ in range(2))
    assert first.dtype == bool
    assert (first != second).any()
    assert (np.abs(first.mean(0) - mean) < 4 * np.sqrt(mean * (1 - mean) / n)).all()


def test_partial_fit_takes_one_step_up_the_likelihood():
    rule = hm.ExactLikelihood(centred=False)
    rows = np.random.default_rng(2).random((30, 5))
    model = BernoulliRBM(3, rule=rule, learning_rate=0.2, random_state=0).partial_fit(rows)
    before = {name: p.detach().clone() for name, p in model.model_.named_parameters()}
    probe = pickle.loads(pickle.dumps(model.model_))
    states = torch.from_numpy(STATES)
    loss = probe.free_energy(torch.from_numpy(rows)).mean() + torch.logsumexp(-probe.free_energy(states), 0)
    loss.backward()
    model.partial_fit(rows)
    for name, parameter in probe.named_parameters():
        moved = dict(model.model_.named_parameters())[name].detach() - before[name]
        torch.testing.assert_close(moved, -0.2 * parameter.grad, atol=1e-6, rtol=1e-4)


def test_the_first_step_of_adam_is_as_long_as_the_rate():
    steps = {"rule": hm.ExactLikelihood(centred=False), "options": {"optimizer": "Adam"}, "random_state": 0}
    rows = np.random.default_rng(2).random((30, 5))
    near, far = (BernoulliRBM(3, learning_rate=rate, **steps).partial_fit(rows) for rate in (0.1, 0.3))
    np.testing.assert_allclose(np.abs(far.components_ - near.components_), 0.2, atol=1e-3)


def test_bits_are_drawn_afresh_with_the_rows_as_means():
    """With couplings near zero a step of the visible biases is the rate times the bits less their means."""
    means, rate = np.tile([0.2, 0.5, 0.8], 400)[None], 1e-3
    settings = {"rule": hm.ExactLikelihood(centred=False), "binarisation": "sampled", "weight_scale": 0.0}
    model = BernoulliRBM(2, learning_rate=rate, random_state=0, **settings).partial_fit(means)
    drawn = []
    for _ in range(2):
        before = model.intercept_visible_.copy()
        step = model.partial_fit(means).intercept_visible_ - before
        drawn.append(step / rate + 1 / (1 + np.exp(-before)))
    seen = np.round(drawn)
    np.testing.assert_allclose(drawn, seen, atol=0.02)
    assert (seen[0] != seen[1]).any()
    shares = seen.reshape(2, 400, 3).mean(1)
    assert (np.abs(shares - [0.2, 0.5, 0.8]) < 4 * np.sqrt(np.array([0.16, 0.25, 0.16]) / 400)).all()


def test_drawn_bits_leave_bits_as_they_are():
    settings = {"n_iter": 2, "rule": "cd", "random_state": 0}
    means, drawn = (
        BernoulliRBM(3, binarisation=kind, **settings).fit(bits()).components_ for kind in ("none", "sampled")
    )
    np.testing.assert_array_equal(means, drawn)


@pytest.mark.parametrize("fitted", [False, True])
def test_partial_fit_goes_on_from_its_chains(fitted):
    model = BernoulliRBM(3, batch_size=7, random_state=0)
    model = model.fit(bits()) if fitted else model.partial_fit(bits())
    assert model.h_samples_.shape == (7, 3)
    saved = pickle.dumps(model)
    chains = [model.partial_fit(bits(40)).h_samples_ for _ in range(3)]
    again = pickle.loads(saved)
    assert (np.diff(chains, axis=0) != 0).any(axis=(1, 2)).all()
    for expected in chains:
        np.testing.assert_array_equal(again.partial_fit(bits(40)).h_samples_, expected)


def test_a_rule_without_chains_has_no_samples():
    model = BernoulliRBM(3, rule="cd", n_iter=1, random_state=0).fit(bits())
    with pytest.raises(AttributeError, match="persistent chains"):
        _ = model.h_samples_


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.coo_matrix])
def test_sparse_rows_are_the_dense_ones(kind):
    rows, model = bits(), RBMTransformer(4, n_iter=2, random_state=0)
    dense = clone(model).fit_transform(rows)
    np.testing.assert_array_equal(model.fit(kind(rows)).transform(kind(rows)), dense)


def test_units_follow_from_the_rows():
    kinds = {
        "bernoulli": (bits(), bits().astype(bool), np.random.default_rng(0).random((9, 3))),
        "gaussian": (blobs()[0], np.arange(6).reshape(3, 2)),
    }
    for kind, cases in kinds.items():
        for rows in cases:
            assert RBMTransformer(2, n_iter=1).fit(rows).model_.visible.kind == kind
    assert (
        RBMDensity(2, n_iter=1).fit(np.random.default_rng(0).random((9, 3))).model_.visible.kind == "gaussian"
    )
    codes = np.random.default_rng(0).integers(0, 4, (20, 3))
    assert RBMTransformer(2, visible=hm.Categorical(3, 4), n_iter=1).fit(codes).model_.visible.width == 12


@pytest.mark.parametrize(
    ("model", "rows", "error", "message"),
    [
        (
            RBMTransformer(2, visible="bernuoli"),
            bits(),
            ArgumentError,
            "one of auto, .*did you mean 'bernoulli'",
        ),
        (RBMTransformer(2, visible=3), bits(), ArgumentTypeError, "visible: got 3"),
        (RBMTransformer(2, visible=hm.Spin(4)), bits(), ArgumentError, "5 units, as X has so many columns"),
        (RBMTransformer(2, visible="bernoulli"), 2 * bits(), DataError, "X: got 2 at row"),
        (RBMDensity(2, visible="bernoulli"), bits() / 2, DataError, "X: got 0.5 at row"),
        (RBMDensity(2, contamination=0.6), bits(), ArgumentError, "contamination: got 0.6"),
        (RBMDensity(2, criterion="nearst"), bits(), ArgumentError, "did you mean 'nearest'"),
        (RBMDensity(2, criterion="nearest"), bits(1), DataError, "X: got 1 row, expected at least 2"),
        (RBMTransformer(2, rule="pdc"), bits(), ArgumentError, "did you mean 'pcd'"),
        (RBMTransformer(2, options={"lr_": 1}), bits(), ArgumentError, "lr_: unknown"),
        (RBMTransformer(0), bits(), ArgumentError, "n_components: got 0"),
        (BernoulliRBM(0), bits(), ArgumentError, "n_components: got 0"),
        (BernoulliRBM(2, n_iter=-1), bits(), ArgumentError, "n_iter: got -1"),
        (BernoulliRBM(2, learning_rate=-1), bits(), ArgumentError, "learning_rate: got -1"),
        (RBMDensity(2, batch_size=0), bits(), ArgumentError, "batch_size: got 0"),
        (DBNTransformer(5), bits(), ArgumentTypeError, "hidden_layer_sizes: got 5"),
        (DBNTransformer((5, -1)), bits(), ArgumentError, "hidden_layer_sizes: got -1"),
        (BernoulliRBM(2, binarisation="sample"), bits(), ArgumentError, "did you mean 'sampled'"),
        (BernoulliRBM(2, binarisation="sampled"), 2 * bits(), DataError, "X: got 2 at row"),
        (
            RBMDensity(2, visible="bernoulli"),
            bits() / 2,
            DataError,
            r"expected 0 or 1, such as X > 0\.5; visible='gaussian'",
        ),
        (BernoulliRBM(2, weight_scale=-1), bits(), ArgumentError, "weight_scale: got -1"),
        (BernoulliRBM(2, weight_scale="1"), bits(), ArgumentTypeError, "weight_scale: got '1'"),
        (BernoulliRBM(2, device="nowhere"), bits(), ArgumentError, "device: got 'nowhere'"),
    ],
)
def test_mistakes_are_refused(model, rows, error, message):
    with pytest.raises(error, match=message):
        model.fit(rows)


def test_rows_unlike_those_of_the_fit_are_refused():
    model = RBMTransformer(2, n_iter=1).fit(bits())
    with pytest.raises(DataError, match="X: got -1 at row"):
        model.transform(bits() - 1)


# --- densities ------------------------------------------------------------------------------------


def test_densities_of_bits_sum_to_one_and_are_sampled():
    model = RBMDensity(3, n_iter=5, learning_rate=0.5, random_state=0).fit(bits())
    p = np.exp(model.score_samples(STATES))
    assert abs(p.sum() - 1) < 1e-9
    assert model.score(STATES) == pytest.approx(np.log(p).mean())
    n = 4000
    drawn = model.sample(n, steps=50, random_state=1) @ 2 ** np.arange(5)[::-1]
    share = np.bincount(drawn.astype(int), minlength=32) / n
    assert np.abs(share - p).sum() < 4 * np.sqrt(2 * p / (np.pi * n)).sum()


def test_densities_of_real_rows_integrate_to_one_in_their_own_units():
    rows = blobs()[0][:, :1]
    model = RBMDensity(3, n_iter=10, batch_size=10, random_state=0).fit(rows)
    grid = np.linspace(700, 1300, 20001)
    p = np.exp(model.score_samples(grid[:, None]))
    assert abs(np.trapezoid(p, grid) - 1) < 1e-6
    mean, spread = np.trapezoid(p * grid, grid), rows.std()
    drawn = model.sample(400, steps=50, random_state=0)
    assert abs(drawn.mean() - mean) < 4 * spread / 20


def test_outliers_are_the_share_that_was_asked_for():
    rows = blobs(200)[0]
    model = RBMDensity(3, n_iter=2, contamination=0.05, random_state=0).fit(rows)
    assert (model.predict(rows) == -1).sum() == 10
    assert model.predict(rows.mean(0)[None] + 1e4) == -1


def divergence(model, x, y):
    """Return KL(p(h | x) || p(h | y)), as the Bregman divergence of the log-partition function."""
    a, b = (model.field("hidden", model.given(row[None])) for row in (x, y))
    units, mean = model.hidden, model.hidden.expected_statistics(a)
    return (units.log_partition(b) - units.log_partition(a) - ((b - a) * mean).sum()).item()


@torch.no_grad()
@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        (hm.Bernoulli(9), hm.Bernoulli(4)),
        (hm.Spin(9), hm.Gaussian(4)),
        (hm.Gaussian(9, 3.0), hm.Categorical(4, 3)),
        (hm.Mixed(hm.Bernoulli(5), hm.Gaussian(4, 3.0)), hm.Spin(4)),
    ],
)
def test_the_nearest_row_has_the_least_divergence(visible, hidden, monkeypatch):
    known, new = (torch.from_numpy(bits(rows, 9, seed=rows)) for rows in (30, 11))
    if visible.kind == "spin":
        known, new = 2 * known - 1, 2 * new - 1
    real = {"gaussian": slice(0, 9), "mixed": slice(5, 9)}.get(visible.kind, slice(0, 0))
    model = hm.RBM(visible, hidden, seed=0).double()
    model.weight.normal_(generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(_nearest, "_CELLS", 7 * len(known))
    neighbours = _nearest.Neighbours(model, known)

    def both(x, y):
        posteriors = divergence(model, x, y) + divergence(model, y, x)
        return posteriors + 3 * (x - y)[real].square().sum().item()

    far = np.array([[both(x, y) for y in known] for x in new])
    assert far.min() < 1e-9 < far.min(1).max()
    np.testing.assert_allclose(neighbours.divergence(model, new), far.min(1), atol=1e-9)
    own = np.array([[both(x, y) for y in known] for x in known])
    np.fill_diagonal(own, np.inf)
    np.testing.assert_allclose(neighbours.among(), own.min(1), atol=1e-9)


def test_far_rows_are_outliers_and_densities_stay_what_they_are():
    known, new = np.unique(bits(300, 9), axis=0), bits(50, 9, seed=1)
    model = RBMDensity(4, criterion="nearest", n_iter=2, random_state=0)
    outliers = model.fit_predict(known) == -1
    rows = torch.from_numpy(known)
    with torch.no_grad():
        far = _nearest.Neighbours(model.model_, rows).among().numpy()
        away = _nearest.Neighbours(model.model_, rows).divergence(model.model_, torch.from_numpy(new)).numpy()
    np.testing.assert_array_equal(outliers, far > np.quantile(far, 0.9))
    assert abs(outliers.mean() - 0.1) < 0.05
    np.testing.assert_array_equal(model.predict(new) == -1, away > np.quantile(far, 0.9))
    density = clone(model).set_params(criterion="density").fit(known)
    np.testing.assert_array_equal(model.score_samples(new), density.score_samples(new))


@pytest.mark.parametrize("visible", ["bernoulli", hm.Gaussian(4, 3.0)])
def test_rows_that_are_alike_are_no_outliers(visible):
    """Whatever rounding leaves of a distance of 0, and however many rows are judged at a time."""
    real = 100 + np.random.default_rng(0).normal(size=(50, 4))
    rows = np.repeat(STATES[:, :4] if visible == "bernoulli" else real, 2, axis=0)
    settings = {"criterion": "nearest", "contamination": 0.3, "n_iter": 1, "learning_rate": 1e-4}
    model = RBMDensity(3, visible=visible, random_state=0, **settings)
    assert (model.fit_predict(rows) == 1).all()
    with torch.inference_mode():
        assert (model.predict(rows) == 1).all()
    assert all(model.predict(row[None]) == 1 for row in rows[:20])


def test_a_gap_between_two_clusters_is_far_from_both_and_need_not_be_unlikely():
    generator = np.random.default_rng(0)
    x = np.concatenate((generator.normal(-1, 0.1, (100, 1)), generator.normal(1, 0.1, (100, 1))))
    model = RBMDensity(
        8, visible=hm.Gaussian(1, 30.0), criterion="nearest", n_iter=20, learning_rate=0.01, random_state=0
    ).fit(x)
    assert model.predict([[0.0]]) == -1
    assert (model.predict(x) == 1).all()
    assert (model.fit_predict(x) == -1).sum() == 20


# --- classifiers ----------------------------------------------------------------------------------


def test_probabilities_are_those_of_the_joint():
    x, y = blobs()
    model = RBMClassifier(6, n_iter=3, random_state=0).fit(x, y)
    rows = model.model_.transform.apply(torch.from_numpy(x[:7]))
    joint = [torch.cat((rows, torch.full((7, 1), float(k))), 1) for k in range(3)]
    energies = torch.stack([model.model_.free_energy(v) for v in joint], 1)
    expected = torch.softmax(-energies, 1).detach().numpy()
    np.testing.assert_allclose(model.predict_proba(x[:7]), expected, rtol=1e-9)
    assert set(model.predict(x)) <= {"one", "two", "three"}


def test_a_classifier_learns_batch_by_batch():
    x, y = blobs(120)
    model = RBMClassifier(8, learning_rate=0.05, batch_size=20, random_state=0)
    for _ in range(8):
        model.partial_fit(x, y, classes=["one", "two", "three"])
    assert model.score(x, y) > 0.9
    with pytest.raises(DataError, match=r"y: got \['four'\]"):
        model.partial_fit(x, np.full(len(x), "four"))
    with pytest.raises(DataError, match="classes: missing"):
        RBMClassifier().partial_fit(x, y)


@pytest.mark.parametrize("model", [DBNClassifier((12, 6)), DBMClassifier((12, 6), rule=STACK)])
def test_what_deep_classifiers_leave_behind(model):
    x, y = bits(80), (bits(80)[:, 2] > 0).astype(int)
    model = model.set_params(n_iter=1, finetune_iter=15, finetune_rate=0.1, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.95
    assert isinstance(model.pretrained_, hm.DBN | hm.DBM)
    assert isinstance(model.model_, hm.MLP)
    np.testing.assert_allclose(model.predict_log_proba(x), np.log(model.predict_proba(x)))


def test_mistakes_in_fine_tuning_are_refused_before_pretraining(monkeypatch):
    monkeypatch.setattr(Estimator, "_run", None)
    for name in ("finetune_rate", "finetune_iter"):
        with pytest.raises(ArgumentError, match=f"{name}: got -1"):
            DBNClassifier((3, 2)).set_params(**{name: -1}).fit(bits(), bits()[:, 0])


def test_a_machine_needs_two_hidden_layers():
    with pytest.raises(ArgumentError, match="at least two hidden layers"):
        DBMClassifier((4,)).fit(bits(), bits()[:, 0])


# --- the rest -------------------------------------------------------------------------------------


def test_generated_rows_are_in_the_units_of_the_data():
    x = blobs()[0]
    model = GANSampler(TINY, n_iter=2, random_state=0).fit(x)
    drawn = model.sample(50, random_state=1)
    assert drawn.shape == (50, 3)
    assert (np.abs(drawn.mean(0) - x.mean(0)) < 10 * x.std(0)).all()
    np.testing.assert_array_equal(model.sample(50, random_state=1), drawn)
    grey = GANSampler(TINY, n_iter=1, random_state=0).fit(np.random.default_rng(0).random((30, 4)))
    assert 0 <= grey.sample(20).min() < grey.sample(20).max() <= 1


def test_grid_searches_and_pipelines():
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:200] / 16, labels[:200] > 4
    features = RBMTransformer(20, n_iter=15, learning_rate=0.3, batch_size=20, random_state=0)
    pipe = make_pipeline(features, LogisticRegression())
    search = GridSearchCV(pipe, {"rbmtransformer__n_components": [2, 20]}, cv=2).fit(images, labels)
    assert list(search.best_estimator_[:-1].get_feature_names_out()[:2]) == [
        "rbmtransformer0",
        "rbmtransformer1",
    ]
    assert search.best_score_ > 0.65
    scores = GridSearchCV(RBMDensity(2, n_iter=1, random_state=0), {"n_components": [1, 2]}, cv=2).fit(bits())
    assert scores.best_score_ < 0


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("model", [BernoulliRBM(3), RBMTransformer(3), DBNTransformer((4, 3))])
def test_features_come_as_frames_where_that_is_asked_for(library, model):
    frames = pytest.importorskip(library)
    x = bits()
    model = clone(model).set_params(n_iter=1, random_state=0)
    plain = model.fit_transform(x)
    rows = frames.DataFrame({f"c{i}": column for i, column in enumerate(x.T)})
    framed = model.set_output(transform=library).fit_transform(rows)
    assert isinstance(framed, frames.DataFrame)
    assert list(framed.columns) == [f"{type(model).__name__.lower()}{i}" for i in range(3)]
    np.testing.assert_array_equal(framed.to_numpy(), plain)
    with pytest.raises(ValueError, match="feature names"):
        model.transform(rows[list(rows.columns[::-1])])


def test_searches_side_by_side_find_the_same():
    model, grid = RBMDensity(2, n_iter=1, random_state=0), {"n_components": [1, 2]}
    one = GridSearchCV(model, grid, cv=2).fit(bits())
    with parallel_backend("threading"):
        two = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(bits())
    key = "mean_test_score"
    np.testing.assert_allclose(two.cv_results_[key], one.cv_results_[key], rtol=1e-9)


@pytest.mark.parametrize("state", [3, np.random.RandomState(3)])
def test_the_same_seed_gives_the_same_features(state):
    first, second = (
        clone(RBMTransformer(3, n_iter=1, random_state=state)).fit_transform(bits()) for _ in "ab"
    )
    np.testing.assert_array_equal(first, second)
    other = RBMTransformer(3, n_iter=1, random_state=4).fit_transform(bits())
    assert np.abs(first - other).max() > 1e-4


def test_estimators_are_silent_unless_they_are_asked(capsys, caplog):
    GANSampler(TINY, n_iter=3, learning_rate=0.5, random_state=0).fit(blobs()[0])
    RBMTransformer(2, visible=hm.Gaussian(3), n_iter=1).fit(blobs()[0] / 1e6)
    assert (capsys.readouterr().out, caplog.records) == ("", [])
    DBNTransformer((3, 2), n_iter=1, verbose=1).fit(bits())
    lines = capsys.readouterr().out.splitlines()
    assert [line[:36] for line in lines] == [f"[DBNTransformer] layer {n}, Iteration 1"[:36] for n in (1, 2)]
    RBMTransformer(2, visible=hm.Gaussian(3), n_iter=1, verbose=1).fit(blobs()[0] / 1e6)
    assert "standardise" in caplog.text


def test_an_interrupt_is_passed_on():
    options = {"callback": lambda record: signal.raise_signal(signal.SIGINT)}
    with pytest.raises(KeyboardInterrupt):
        RBMTransformer(2, options=options, n_iter=9).fit(bits())


def test_the_model_can_be_kept(tmp_path):
    x = blobs()[0]
    model = RBMTransformer(3, n_iter=1, random_state=0).fit(x)
    hm.save(model.model_, tmp_path / "model.safetensors")
    again = hm.load(tmp_path / "model.safetensors")
    rows = again.transform.apply(torch.from_numpy(x))
    np.testing.assert_allclose(again.encode(rows).detach().numpy(), model.transform(x), rtol=1e-12)
