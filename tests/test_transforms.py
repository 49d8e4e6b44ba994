"""Transforms: what they make of the rows they were fitted on, their inverse, and their determinant."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.stats import multivariate_normal

from harmonium.datasets import TRANSFORMS, Transform, _transform, from_array, load, summary
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def table():
    """Return correlated rows of reals whose columns have very different units."""
    rng = np.random.default_rng(11)
    mixed = rng.normal(size=(700, 5)) @ rng.normal(size=(5, 5))
    return mixed * [1, 10, 0.1, 3, 1000] + [5, -100, 0, 2, 8000]


def covariance(rows):
    """Return the covariance of rows, divided by their number."""
    return np.cov(np.asarray(rows, np.float64).T, bias=True)


def jacobian(transform):
    """Return dy/dx, which of an affine map is the difference of what it makes of 1 and of 0."""
    unit = torch.eye(transform.columns, dtype=torch.float64)
    return (transform.apply(unit) - transform.apply(0 * unit)).T.numpy()


# --- what a map does ------------------------------------------------------------------------------


def test_standardised_columns_have_mean_0_and_variance_1(table):
    data = from_array(table, test=table[:9] + 3, transform="standardise")
    assert data.train.dtype == torch.float32
    assert data.train.double().mean(0).abs().max() < 1e-6
    assert (data.train.double().square().mean(0) - 1).abs().max() < 1e-6
    rows = table.astype(np.float32).astype(np.float64)
    expected = (rows[:9] + 3 - rows.mean(0)) / rows.std(0)
    assert np.allclose(data.test.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_whitened_rows_have_the_identity_as_covariance(table):
    data = from_array(table, transform="zca", epsilon=0)
    assert data.train.double().mean(0).abs().max() < 1e-5
    assert np.abs(covariance(data.train) - np.eye(5)).max() < 1e-4
    fitted = Transform.fit("zca", torch.from_numpy(table), 0)
    assert np.abs(covariance(fitted.apply(torch.from_numpy(table))) - np.eye(5)).max() < 1e-7


def test_of_all_whitening_maps_it_is_the_symmetric_one(table):
    matrix = Transform.fit("zca", torch.from_numpy(table[:, :4]), 0).matrix.numpy()
    assert np.array_equal(matrix, matrix.T)
    assert (np.linalg.eigvalsh(matrix) > 0).all()
    assert np.allclose(matrix @ covariance(table[:, :4]) @ matrix, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("epsilon", [0.01, 2.0])
def test_the_regulariser_is_a_share_of_the_mean_variance(table, epsilon):
    rows = torch.from_numpy(table)
    variances = np.linalg.eigvalsh(covariance(table))
    whitened = np.linalg.eigvalsh(covariance(Transform.fit("zca", rows, epsilon).apply(rows)))
    expected = variances / (variances + epsilon * variances.mean())
    assert np.allclose(np.sort(whitened), np.sort(expected), atol=1e-9)
    own = covariance(table).diagonal()
    scaled = Transform.fit("standardise", rows, epsilon).apply(rows).square().mean(0)
    assert np.allclose(scaled, own / (own + epsilon * own.mean()))


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_units_of_the_data_do_not_matter(table, kind):
    first = from_array(table, transform=kind, epsilon=0.3).train
    again = from_array(1024 * table, transform=kind, epsilon=0.3).train
    torch.testing.assert_close(again, first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_there_and_back(table, kind):
    rows = torch.from_numpy(table)
    fitted = Transform.fit(kind, rows)
    assert fitted.apply(rows).dtype == fitted.invert(rows).dtype == torch.float64
    torch.testing.assert_close(fitted.invert(fitted.apply(rows)), rows, rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(fitted.apply(fitted.invert(rows)), rows, rtol=1e-10, atol=1e-6)
    single = rows.float()
    back = fitted.invert(fitted.apply(single))
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, single, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_the_determinant_is_that_of_the_map(table, kind):
    fitted = Transform.fit(kind, torch.from_numpy(table))
    sign, logarithm = np.linalg.slogdet(jacobian(fitted))
    assert sign == 1
    assert fitted.log_determinant == pytest.approx(logarithm, abs=1e-8)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_the_determinant_takes_a_density_to_the_units_of_the_rows(table, kind):
    fitted = Transform.fit(kind, torch.from_numpy(table))
    x, y = table[:50], fitted.apply(torch.from_numpy(table[:50])).numpy()
    law = multivariate_normal(np.linspace(-1, 1, 5), np.diag(np.arange(1.0, 6)) + 0.3)
    slope = jacobian(fitted)
    back = np.linalg.inv(slope)
    mean = back @ law.mean + fitted.mean.numpy()
    own = multivariate_normal(mean, back @ law.cov @ back.T)
    assert np.allclose(own.logpdf(x), law.logpdf(y) + fitted.log_determinant, atol=1e-6)


# --- how it is fitted -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_only_training_rows_are_fitted(table, kind):
    data = from_array(table, validation=100, test=100, transform=kind)
    plain = from_array(table, validation=100, test=100)
    fitted = Transform.fit(kind, plain.train)
    for split in SPLITS:
        assert torch.equal(getattr(data, split), fitted.apply(getattr(plain, split)))
    for name, tensor in fitted.state().items():
        assert torch.equal(data.transform.state()[name], tensor)
    other = from_array(table, test=table + 1e6, transform=kind)
    assert torch.equal(other.train, from_array(table, test=table[:3], transform=kind).train)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_patches_are_fitted_after_they_are_cut(kind):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 6, 6), np.uint8)
    settings = {"validation": 4, "test": 4, "patches": 2, "patches_per_image": 20}
    plain, data = from_array(images, **settings), from_array(images, transform=kind, **settings)
    assert (data.shape, data.columns, data.kind) == ((3, 2, 2), 12, "reals")
    assert torch.equal(data.train, Transform.fit(kind, plain.train).apply(plain.train))
    torch.testing.assert_close(data.transform.invert(data.test), plain.test, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_the_same_bits_for_any_number_of_threads(kind, threads):
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(1000, 130)))
    found = []
    for n in (1, 2):
        threads(n)
        fitted = Transform.fit(kind, rows)
        found.append((fitted, fitted.apply(rows)))
        assert torch.get_num_threads() == n
    (first, mapped), (second, again) = found
    assert torch.equal(mapped, again)
    assert torch.equal(first.mean, second.mean)
    assert first.log_determinant == second.log_determinant


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_blocks_do_not_matter(table, kind, monkeypatch):
    rows = torch.from_numpy(table)
    whole = Transform.fit(kind, rows).apply(rows)
    monkeypatch.setattr(_transform, "BLOCK", 11)
    torch.testing.assert_close(Transform.fit(kind, rows).apply(rows), whole, rtol=1e-9, atol=1e-9)


def test_columns_that_do_not_vary(table):
    table = np.column_stack((table, np.full(len(table), 0.1)))
    with pytest.raises(DataError, match=r"1 of 6 columns have the same value .*the first is column 5"):
        from_array(table, transform="standardise")
    with pytest.raises(DataError, match="vary in 5 of 6 directions only"):
        from_array(table, transform="zca", epsilon=0)
    for kind in TRANSFORMS:
        data = from_array(table, transform=kind, epsilon=1e-3)
        assert data.train[:, 5].abs().max() < 1e-6
        back = data.transform.invert(data.train)
        torch.testing.assert_close(back.double(), torch.from_numpy(table), rtol=1e-3, atol=1e-2)
        for dtype in (torch.float32, torch.float64):
            same = torch.full((3, 2), 0.1, dtype=dtype)
            with pytest.raises(DataError, match=r"2 of 2 columns|in 0 of 2 directions"):
                Transform.fit(kind, same, 1e-3)


def test_rows_that_span_too_few_directions(table):
    with pytest.raises(DataError, match="the 4 training rows vary in 3 of 5 directions only"):
        from_array(table[:4], transform="zca", epsilon=0)
    patches = table - table.mean(1, keepdims=True)
    with pytest.raises(DataError, match="vary in 4 of 5 directions only"):
        from_array(patches, transform="zca", epsilon=0)
    assert np.isfinite(from_array(patches, transform="zca").transform.log_determinant)


def test_settings_that_fit_nothing(table):
    with pytest.raises(ArgumentError, match="transform: unknown 'ZCA', expected one of standardise, zca"):
        load("digits", transform="ZCA")
    with pytest.raises(ArgumentError, match=r"transform: unknown 'standardize'.*did you mean 'standardise'"):
        load("digits", transform="standardize")
    with pytest.raises(ArgumentError, match=r"epsilon: got 0\.1, expected None unless a transform"):
        load("digits", epsilon=0.1)
    for epsilon in (-1, float("nan"), float("inf"), "1", True):
        with pytest.raises(ArgumentError, match="epsilon: got"):
            from_array(table, transform="zca", epsilon=epsilon)
    with pytest.raises(ArgumentError, match="binarisation: got 'none', expected None"):
        load("digits", transform="zca", binarisation="none")
    with pytest.raises(DataError, match="got rows of 8193 columns, expected at most 8192"):
        from_array(np.eye(3, 8193), transform="zca")
    fitted = Transform.fit("zca", torch.from_numpy(table))
    for rows in (torch.zeros(3, 4), torch.zeros(5)):
        with pytest.raises(ArgumentError, match=r"rows: got .* expected shape \(rows, 5\)"):
            fitted.apply(rows)
    with pytest.raises(ArgumentTypeError, match="rows: got ndarray"):
        fitted.invert(table)


# --- data sets and files --------------------------------------------------------------------------


def test_tables_and_archives_can_be_transformed(tmp_path, table):
    np.savetxt(tmp_path / "x.csv", table, delimiter=",", fmt="%.17g")
    np.savez(tmp_path / "x.npz", x_train=table[:500], x_test=table[500:])
    data = load(tmp_path / "x.csv", transform="standardise")
    plain = load(tmp_path / "x.csv")
    torch.testing.assert_close(data.transform.invert(data.test), plain.test, rtol=1e-4, atol=1e-3)
    archive = load(tmp_path / "x.npz", transform="zca", epsilon=0, validation=0)
    assert np.abs(covariance(archive.train) - np.eye(5)).max() < 1e-4
    assert archive.transform.epsilon == 0


def test_labels_are_not_transformed(tmp_path):
    rows = np.random.default_rng(0).normal(size=(30, 3))
    data = from_array(rows, labels=np.arange(30) % 3, transform="standardise").with_labels()
    assert data.train[:, 3].tolist() == [i % 3 for i in range(30)]
    assert (data.columns, data.transform.columns) == (3, 3)


def test_grey_levels_of_a_named_set_become_reals():
    data = load("digits", transform="zca")
    assert (data.kind, data.levels, data.binarisation, data.shape) == ("reals", None, None, (8, 8))
    assert data.transform.epsilon == TRANSFORMS["zca"]
    grey = load("digits")
    torch.testing.assert_close(data.transform.invert(data.train), grey.train.float(), rtol=0, atol=1e-3)


def test_the_summary_says_what_was_done(table):
    data = from_array(table, transform="zca")
    told = json.loads(json.dumps(summary(data)))
    assert told["transform"] == "zca, epsilon 0.001"
    assert told["log_determinant"] == data.transform.log_determinant
    plain = summary(from_array(table))
    assert (plain["transform"], plain["log_determinant"]) == (None, None)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_map_is_kept_in_safetensors(tmp_path, table, kind):
    rows = torch.from_numpy(table)
    fitted = Transform.fit(kind, rows, 0.2)
    safetensors.torch.save_file(fitted.state(), tmp_path / "map.safetensors")
    config = json.loads(json.dumps(fitted.config()))
    again = Transform.from_state(config, safetensors.torch.load_file(tmp_path / "map.safetensors"))
    assert (again.kind, again.epsilon) == (kind, 0.2)
    assert torch.equal(again.apply(rows), fitted.apply(rows))
    assert again.log_determinant == fitted.log_determinant


def test_states_that_are_no_map():
    one, two = torch.ones(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    zca = {"kind": "zca", "epsilon": 0.0}
    for state, message in (
        ({"mean": one}, "expected one of them"),
        ({"mean": one, "scale": one, "matrix": two}, "expected one of them"),
        ({"mean": one, "matrix": one}, "matrix: got"),
        ({"mean": one[:1], "scale": one}, "scale: got"),
        ({"mean": one, "scale": one.float()}, "scale: got"),
        ({"mean": one, "matrix": 0 * two}, "cannot be inverted"),
        ({"mean": one, "scale": one * torch.nan}, "cannot be inverted"),
        ({"scale": one}, "state: got"),
        ({"mean": one, "scale": one, "more": one}, "state: got"),
    ):
        with pytest.raises(ArgumentError, match=message):
            Transform.from_state(zca, state)
    with pytest.raises(ArgumentError, match="kind: unknown 'pca'"):
        Transform.from_state({"kind": "pca", "epsilon": 0.0}, {"mean": one, "scale": one})
    with pytest.raises(ArgumentError, match="state: got"):
        Transform.from_state({"kind": "zca"}, {"mean": one, "scale": one})
