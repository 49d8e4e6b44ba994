"""Measures of samples, against closed forms and the formulas of their papers written out."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.linalg import sqrtm
from scipy.stats import binom

from harmonium import metrics
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.metrics import (
    class_histogram,
    classifier_test,
    density_coverage,
    frechet_between,
    frechet_distance,
    kernel_distance,
    memorisation,
    nearest_neighbour_test,
    parzen_log_likelihood,
    precision_recall,
)

PAIRS = {
    "frechet": frechet_distance,
    "kernel": kernel_distance,
    "precision": precision_recall,
    "density": density_coverage,
    "classifier": partial(classifier_test, folds=2),
    "neighbours": nearest_neighbour_test,
}


def normal(rows, columns=4, seed=0, shift=0.0, scale=1.0):
    """Return rows of independent Gaussians."""
    return shift + scale * np.random.default_rng(seed).normal(size=(rows, columns))


@pytest.fixture(params=[1 << 23, 50])
def blocks(request, monkeypatch):
    """Take distances in one block, or in blocks of a few rows."""
    monkeypatch.setattr(metrics._arrays, "ELEMENTS", request.param)


# --- Frechet and kernel distances -----------------------------------------------------------------


def test_frechet_distance_of_independent_gaussians_is_that_of_their_moments():
    mean, other = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 1.0, 0.5])
    deviations, others = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 0.5, 1.5])
    expected = (mean - other).square().sum() + (deviations - others).square().sum()
    turn = torch.linalg.qr(torch.tensor(normal(3, 3))).Q
    for axes in (torch.eye(3).double(), turn):
        first, second = ((axes * d.square()) @ axes.T for d in (deviations, others))
        got = frechet_between(axes @ mean.double(), first, axes @ other.double(), second)
        assert got == pytest.approx(float(expected), rel=1e-8)


def test_frechet_distance_equals_the_formula_with_a_matrix_root():
    x = normal(60, seed=1) @ normal(4, seed=2)
    y = normal(50, seed=3, shift=0.3) @ normal(4, seed=4)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = x.mean(0) - y.mean(0)
    naive = shift @ shift + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet_distance(x, torch.tensor(y)) == pytest.approx(naive, rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9 * np.trace(a))


def test_frechet_distance_of_fewer_rows_than_features_is_finite():
    assert frechet_distance(normal(3, 20), normal(3, 20, seed=1)) > 0


def kernel(x, y):
    return (np.dot(x, y) / len(x) + 1) ** 3


def test_kernel_distance_averages_over_pairs_of_different_rows():
    x, y = normal(6, 3), normal(6, 3, seed=1, shift=0.5)
    pairs = list(itertools.permutations(range(6), 2))
    whole = metrics._kernel._discrepancy(torch.tensor(x), torch.tensor(y))
    own = sum(kernel(z[i], z[j]) for z in (x, y) for i, j in pairs) / 30
    cross = sum(kernel(a, b) for a in x for b in y) / 36
    assert whole == pytest.approx(own - 2 * cross)


def test_kernel_distance_is_zero_on_average_where_there_is_no_difference():
    found = [kernel_distance(normal(200, seed=2 * i), normal(200, seed=2 * i + 1)) for i in range(100)]
    values, errors = np.array(found).T
    assert abs(values.mean()) < 4 * values.std() / 10
    assert (values < 0).any()
    assert 0.7 < (errors**2).mean() / values.var() < 1.4
    apart = kernel_distance(normal(200), normal(200, seed=1, shift=1))
    assert apart.value > 6 * apart.standard_error


def test_kernel_subsets_share_no_row_and_follow_the_seed():
    x, y = normal(40), normal(41, seed=1)
    assert kernel_distance(x, y, 7, seed=3) == kernel_distance(x, y, 7, seed=3)
    assert kernel_distance(x, y, 7, seed=3) != kernel_distance(x, y, 7, seed=4)
    for subset in (1, 21, 2.0, True):
        with pytest.raises(ArgumentError, match="subset: got"):
            kernel_distance(x, y, subset)


# --- precision and recall, density and coverage ---------------------------------------------------


def test_collapse_lowers_recall_and_noise_lowers_precision():
    """Precision and recall were exchanged for years in a well-known package; no symmetric test saw it."""
    data = normal(400, 2)
    collapsed, noisy = normal(400, 2, seed=1, scale=0.05), normal(400, 2, seed=1, scale=6)
    few = precision_recall(data, collapsed)
    assert few.precision > 0.95
    assert few.recall < 0.1
    wide = precision_recall(data, noisy)
    assert wide.precision < 0.3
    assert wide.recall > 0.9
    few, wide = density_coverage(data, collapsed), density_coverage(data, noisy)
    assert few.coverage < 0.1 < 0.5 < few.density
    assert wide.density < 0.2
    assert few.coverage < wide.coverage


def radius(rows, i, k):
    return sorted(np.linalg.norm(rows - rows[i], axis=1))[k]


def counts(centres, points, k, closed):
    """Return whether each point lies in the ball of each centre, shape (centres, points)."""
    radii = [radius(centres, i, k) for i in range(len(centres))]
    far = np.linalg.norm(centres[:, None] - points, axis=2)
    return np.array([row <= r if closed else row < r for row, r in zip(far, radii, strict=True)])


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("whole", [False, True])
def test_precision_recall_density_coverage_equal_their_formulas(blocks, k, whole):
    x, y = normal(40, 3), normal(33, 3, seed=1, shift=0.4)
    if whole:
        x, y = np.round(x), np.round(y)
    found = precision_recall(x, y, k)
    assert found.precision == pytest.approx(counts(x, y, k, True).any(0).mean())
    assert found.recall == pytest.approx(counts(y, x, k, True).any(0).mean())
    found = density_coverage(x, y, k)
    assert found.density == pytest.approx(counts(x, y, k, False).sum() / (k * len(y)))
    assert found.coverage == pytest.approx(counts(x, y, k, False).any(1).mean())


@pytest.mark.parametrize("k", [1, 4])
def test_precision_recall_density_coverage_are_those_of_their_authors_package(k):
    """Its balls are open, which matters only where rows are equally far from each other."""
    x, y = normal(150, 5), normal(120, 5, seed=1, shift=0.3, scale=0.8)
    found = {**precision_recall(x, y, k)._asdict(), **density_coverage(x, y, k)._asdict()}
    assert found == pytest.approx(compute_prdc(x, y, k))


def test_an_outlier_among_the_samples_raises_recall_and_not_coverage():
    data = normal(200, 2)
    collapsed = np.concatenate(
        [normal(196, 2, seed=1, scale=0.02), np.array([[9, 9], [-9, 9], [9, -9], [-9, -9]])]
    )
    assert precision_recall(data, collapsed).recall > 0.9
    assert density_coverage(data, collapsed).coverage < 0.2


# --- two-sample tests, copies ---------------------------------------------------------------------


@pytest.mark.parametrize("classifier", ["logistic", "forest"])
def test_a_classifier_finds_a_difference_and_none_where_there_is_none(classifier):
    same = classifier_test(normal(150), normal(150, seed=1), classifier)
    assert same.p_value > 0.01
    apart = classifier_test(normal(150), normal(150, seed=1, shift=1), classifier)
    assert apart.accuracy > 0.75
    assert apart.p_value < 1e-10


def test_the_p_value_of_the_classifier_test_is_about_uniform():
    found = [classifier_test(normal(60, 2, seed=2 * i), normal(60, 2, seed=2 * i + 1)) for i in range(60)]
    small = sum(each.p_value < 0.3 for each in found)
    assert binom.cdf(small, 60, 0.3) > 1e-3
    assert binom.sf(small - 1, 60, 0.3) > 1e-3
    exact = classifier_test(normal(60, 2, seed=6), normal(60, 2, seed=7))
    assert exact == found[3]
    assert exact.p_value == pytest.approx(binom.sf(exact.accuracy * 120 - 0.5, 120, 0.5), abs=0.05)


def test_a_forest_sees_what_no_plane_separates():
    x, y = normal(200, 2), normal(200, 2, seed=1, scale=3)
    assert classifier_test(x, y).accuracy < 0.62
    assert classifier_test(x, y, "forest").accuracy > 0.7


def test_neighbours_follow_their_formula(blocks):
    x, y = normal(30, 3), normal(30, 3, seed=1, shift=0.5)

    def near(a, b):
        far = np.linalg.norm(a[:, None] - b, axis=2)
        if a is b:
            np.fill_diagonal(far, np.inf)
        return far.min(1)

    true, synthetic = (near(x, y) > near(x, x)).mean(), (near(y, x) > near(y, y)).mean()
    assert nearest_neighbour_test(x, y) == pytest.approx(((true + synthetic) / 2, true, synthetic))


def test_copies_strangers_and_fair_samples_are_told_apart_by_neighbours():
    x = normal(300)
    assert nearest_neighbour_test(x, x + 1e-6).accuracy == 0
    assert nearest_neighbour_test(x, normal(300, seed=1, shift=9)).accuracy == 1
    fair = nearest_neighbour_test(x, normal(300, seed=1)).accuracy
    assert abs(fair - 0.5) < 4 * 0.5 / math.sqrt(300)


def test_memorisation_is_a_half_for_fair_samples_and_bad_ones_and_one_for_copies(blocks):
    train, test = normal(200), normal(200, seed=1)
    for samples in (normal(300, seed=2), normal(300, seed=2, shift=2)):
        found = memorisation(samples, train, test)
        assert found.standard_error == pytest.approx(0.5 / math.sqrt(300))
        assert abs(found.share - 0.5) < 6 * found.standard_error
    copied = memorisation(train, train, test)
    assert (copied.share, copied.train_distance) == (1, 0)
    distances = np.linalg.norm(train[:, None] - test, axis=2).min(1)
    assert copied.test_distance == pytest.approx(np.sort(distances)[99])
    half = memorisation(np.concatenate([train[:50], test[:50]]), train, test)
    assert half.share == 0.5


# --- classes --------------------------------------------------------------------------------------


def test_class_histogram_follows_its_formulas():
    found = class_histogram(torch.tensor([0, 0, 0, 2]), [2, 1, 1])
    assert found.shares.tolist() == [0.75, 0, 0.25]
    assert found.kl == pytest.approx(0.75 * math.log(1.5))
    assert found.total_variation == pytest.approx(0.25)
    assert found.modes == 2
    assert class_histogram(np.array([0, 1]), [1, 0]).kl == math.inf


@pytest.mark.parametrize("n", [1, 3, 40])
def test_the_floors_of_a_perfect_sampler_are_its_expectations(n):
    p = np.array([0.5, 0.3, 0.2])
    kl = modes = 0.0
    for counts in itertools.product(range(n + 1), repeat=2):
        if sum(counts) > n:
            continue
        k = np.array([*counts, n - sum(counts)])
        chance = math.factorial(n) / math.prod(map(math.factorial, k.tolist())) * np.prod(p**k)
        q = k[k > 0] / n
        kl += chance * (q * np.log(q / p[k > 0])).sum()
        modes += chance * (k > 0).sum()
    found = class_histogram(np.zeros(n, np.int64), p)
    assert found.kl_floor == pytest.approx(kl, rel=1e-9)
    assert found.modes_floor == pytest.approx(modes, rel=1e-9)


def test_a_perfect_sampler_of_a_thousand_modes_is_at_its_floor():
    rng = np.random.default_rng(0)
    found = [class_histogram(rng.integers(0, 1000, 25_600), np.ones(1000)) for _ in range(8)]
    values = np.array([each.kl for each in found])
    floor = found[0].kl_floor
    assert abs(values.mean() - floor) < 4 * values.std(ddof=1) / math.sqrt(8)
    assert floor == pytest.approx(999 / (2 * 25_600), rel=0.02)
    assert {each.modes for each in found} == {1000}
    assert found[0].modes_floor == pytest.approx(1000, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "reference", "message"),
    [
        ([0, 3], [1, 1], "labels: got 0 to 3, expected 0 to 1"),
        ([0, -1], [1, 1], "labels: got -1 to 0"),
        ([0.5], [1, 1], "labels: got torch.float"),
        ([], [1, 1], "labels: got"),
        ([0], [1, -1], "reference: got"),
        ([0], [0, 0], "reference: got"),
    ],
)
def test_classes_that_are_none(labels, reference, message):
    with pytest.raises(DataError, match=message):
        class_histogram(labels, reference)


# --- Parzen windows -------------------------------------------------------------------------------


def test_parzen_window_equals_a_direct_sum(blocks):
    centres, held_out, rows = normal(40, 3), normal(20, 3, seed=1), normal(30, 3, seed=2)

    def direct(x, sigma):
        kernels = [math.exp(-((x - c) @ (x - c)) / (2 * sigma**2)) for c in centres]
        return math.log(sum(kernels) / len(centres) / (2 * math.pi * sigma**2) ** 1.5)

    widths = (0.3, 0.6, 1.2)
    best = max(widths, key=lambda sigma: sum(direct(x, sigma) for x in held_out))
    scores = [direct(x, best) for x in rows]
    found = parzen_log_likelihood(centres, held_out, rows, widths)
    assert found.sigma == best
    assert found.mean == pytest.approx(np.mean(scores))
    assert found.standard_error == pytest.approx(np.std(scores, ddof=1) / math.sqrt(30))


def test_the_width_is_chosen_on_validation_rows_and_never_on_test_rows():
    centres = normal(50, 2)
    near = parzen_log_likelihood(centres, centres, normal(50, 2, seed=1))
    assert near.sigma == pytest.approx(0.1)
    assert parzen_log_likelihood(centres, normal(50, 2, seed=2), centres).sigma > 0.1
    with pytest.raises(ArgumentError, match="sigmas: got"):
        parzen_log_likelihood(centres, centres, centres, [0.0])


# --- what comes in --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_no_features_is_refused(name):
    good, measure = normal(20, 3), PAIRS[name]
    bad = good.copy()
    bad[4, 1] = np.nan
    for other, message in {
        (1, 2): "fake: got 2 columns, expected 3 as in real",
        (2, 3, 4): r"fake: got shape \(2, 3, 4\)",
        (1, 3): r"fake: got shape \(1, 3\)",
    }.items():
        with pytest.raises(DataError, match=message):
            measure(good, np.ones((20, 2)) if other == (1, 2) else np.ones(other))
    with pytest.raises(DataError, match=r"real: got nan in row 4, column 1"):
        measure(bad, good)
    with pytest.raises(ArgumentTypeError, match="fake: got list"):
        measure(good, [[1, 2, 3]])


def test_what_has_to_be_equally_many_is():
    x, y = normal(20), normal(21, seed=1)
    for call in (
        lambda: classifier_test(x, y),
        lambda: nearest_neighbour_test(x, y),
        lambda: memorisation(x, x, y),
    ):
        with pytest.raises(DataError, match="expected equally many"):
            call()
    for k in (0, 20, 1.0):
        with pytest.raises(ArgumentError, match="k: got"):
            precision_recall(x, y, k)
    with pytest.raises(ArgumentError, match="did you mean 'forest'"):
        classifier_test(x, x, "forrest")
    for folds in (1, 21, True):
        with pytest.raises(ArgumentError, match="folds: got"):
            classifier_test(x, x, folds=folds)
