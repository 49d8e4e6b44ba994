"""The imputer: scikit-learn's own checks, closed forms of normal rows, and tables of every type."""

import pickle
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, DataError
from harmonium.estimators import RBMImputer
from harmonium.estimators._normal import fit_normal
from harmonium.samplers import GapChains, LinearMap
from harmonium.training._gap_learner import _held_out

NAN = float("nan")
QUICK = {"n_components": 4, "n_iter": 2, "chains": 10, "random_state": 0}


@parametrize_with_checks([RBMImputer(**QUICK)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def normal(rows=400, seed=0):
    """Return rows of a normal distribution, its mean and its covariance."""
    generator = np.random.default_rng(seed)
    mean, root = np.array([3.0, -1.0, 0.5]), np.array([[2.0, 0, 0], [1.5, 1, 0], [-1, 0.4, 0.7]])
    return mean + generator.normal(size=(rows, 3)) @ root.T, mean, root @ root.T


def holed(x, share=0.2, seed=1):
    """Return rows with gaps, at least one value in each column."""
    gone = np.random.default_rng(seed).random(x.shape) < share
    return np.where(gone, NAN, x)


def mixed(rows=120):
    """Return a table in which a word, a bit and a number tell of each other."""
    kind = np.random.default_rng(2).integers(0, 3, rows)
    noise = np.random.default_rng(3).normal(size=rows)
    return {
        "colour": [("red", "green", "blue")[k] for k in kind],
        "flag": [bool(k) for k in kind],
        "size": [float(10 * k + x) for k, x in zip(kind, noise, strict=True)],
    }


def with_gaps(table):
    """Return a table with None in the first column of the first row, the second of the second, and so on."""
    cells = {name: [*column] for name, column in table.items()}
    for row, column in enumerate(cells.values()):
        column[row] = None
    return cells


# --- normal rows ----------------------------------------------------------------------------------


def test_the_covariance_of_whole_rows_is_theirs():
    x = torch.from_numpy(normal()[0])
    mean, covariance = fit_normal(x, 0.0)
    torch.testing.assert_close(mean, x.mean(0))
    torch.testing.assert_close(covariance, torch.cov(x.T, correction=0))
    shrunk = fit_normal(x, 400.0)[1]
    torch.testing.assert_close(shrunk, (covariance + covariance.diagonal().diag()) / 2)


def test_the_normal_distribution_maximises_the_likelihood_of_what_is_known():
    x = torch.from_numpy(holed(normal(100)[0], 0.3))
    mean, covariance = fit_normal(x, 0.0, sweeps=2000)

    def score(mean, covariance):
        total = torch.zeros((), dtype=torch.float64)
        for row in x:
            own = ~row.isnan()
            if own.any():
                part = torch.distributions.MultivariateNormal(mean[own], covariance[own][:, own])
                total = total + part.log_prob(row[own])
        return total / len(x)

    mean, covariance = mean.requires_grad_(), covariance.requires_grad_()
    for slope in torch.autograd.grad(score(mean, covariance), (mean, covariance)):
        assert slope.abs().max() < 0.01


def test_a_machine_without_couplings_fills_in_regressions():
    x, mean, covariance = normal(3000)
    model = RBMImputer(1, numbers="standardise", shrinkage=0, n_iter=1, learning_rate=1e-9, random_state=0)
    model.fit(x)
    row = np.array([[5.0, NAN, 1.0]])
    own, other = np.array([0, 2]), np.array([1])
    weight = covariance[np.ix_(other, own)] @ np.linalg.inv(covariance[np.ix_(own, own)])
    expected = mean[1] + (weight @ (row[0, own] - mean[own]))[0]
    spread = np.sqrt(covariance[1, 1] - (weight @ covariance[np.ix_(own, other)])[0, 0])
    assert abs(model.transform(row)[0, 1] - expected) < 0.15 * spread
    low, high = (end[0, 1] for end in model.intervals(row, 0.9))
    assert abs(low - (expected - 1.645 * spread)) < 0.4 * spread
    assert abs(high - (expected + 1.645 * spread)) < 0.4 * spread
    drawn = np.array([table[0, 1] for table in model.draws(row, 300)])
    assert abs(drawn.mean() - expected) < 4 * spread / np.sqrt(300)
    assert 0.8 * spread < drawn.std() < 1.2 * spread


# --- chains ---------------------------------------------------------------------------------------


def test_chains_have_the_distribution_given_what_is_known():
    visible = hm.Mixed(hm.Bernoulli(1), hm.Categorical(1, 3), hm.Gaussian(2, learn_precision=True))
    model = hm.RBM(visible, 2, seed=1).double()
    generator = torch.Generator().manual_seed(0)
    model.weight.data = 0.8 * torch.randn(6, 2, generator=generator, dtype=torch.float64)
    model.visible.bias.data = 0.3 * torch.randn(6, generator=generator, dtype=torch.float64)
    matrix = torch.tensor([[1.2, 0.3], [-0.4, 0.9]], dtype=torch.float64)
    linear = LinearMap(torch.tensor([0.2, -0.1], dtype=torch.float64), matrix, torch.linalg.inv(matrix))
    row = torch.tensor([[NAN, NAN, NAN, 0.7]], dtype=torch.float64)
    n = 4000
    chains = GapChains(model, row, linear, hm.Stream(0, "test"), chains=n)
    for _ in range(60):
        chains.step()

    grid = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    z = torch.stack((grid, torch.full_like(grid, 0.7)), 1)
    weights = {}
    for bit in range(2):
        for code in range(3):
            codes = torch.tensor([[bit, code]], dtype=torch.float64).expand(len(grid), 2)
            weights[bit, code] = torch.exp(-model.free_energy(torch.cat((codes, linear.forward(z)), 1)))
    total = sum(w.sum() for w in weights.values()).item()
    drawn = chains.rows()[:, 0]
    for (bit, code), w in weights.items():
        p = (w.sum() / total).item()
        share = ((drawn[:, 0] == bit) & (drawn[:, 1] == code)).double().mean().item()
        assert abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / n)
    density = sum(weights.values()) / total
    mean = (density * grid).sum().item()
    spread = ((density * grid.square()).sum().item() - mean**2) ** 0.5
    assert abs(drawn[:, 2].mean().item() - mean) < 4.5 * spread / n**0.5
    assert abs(chains.means[:, 0, 0].mean().item() - mean) < 4.5 * spread / n**0.5
    assert (drawn[:, 3] == 0.7).all()


def test_chains_without_coupled_numbers_agree_with_coupled_ones():
    model = hm.RBM(hm.Gaussian(3), 2, seed=1).double()
    scales = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    rows = torch.tensor([[NAN, 1.0, NAN]], dtype=torch.float64)
    plain = LinearMap(torch.zeros(3, dtype=torch.float64), torch.diag(1 / scales), torch.diag(scales))
    nearly = plain._replace(matrix=plain.matrix + 1e-12 * torch.ones(3, 3, dtype=torch.float64))
    found = []
    for linear in (plain, nearly):
        chains = GapChains(model, rows, linear, hm.Stream(0, "test"), chains=7)
        chains.step()
        found.append((chains.numbers, chains.means, chains.deviations))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, atol=1e-8, rtol=0)


# --- tables ---------------------------------------------------------------------------------------


def test_only_gaps_change_and_words_come_back_as_words():
    table = mixed()
    model = RBMImputer(8, n_iter=60, batch_size=20, learning_rate=0.05, random_state=0)
    gone = with_gaps(table)
    filled = model.fit(gone).transform(gone)
    for column, (name, cells) in enumerate(gone.items()):
        for row, cell in enumerate(cells):
            if row != column:
                assert filled[name][row] is cell
    assert filled["colour"][0] == table["colour"][0]
    assert filled["flag"][1] is table["flag"][1]
    assert abs(filled["size"][2] - table["size"][2]) < 4
    sure = model.certainty(gone)
    assert 0.5 < sure[0, 0] < 1
    assert np.isnan(sure[2, 2])
    assert (sure[3:] == 1).all()
    assert {cell for draw in model.draws(gone, 5) for cell in draw["colour"]} <= {"red", "green", "blue"}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_come_back_as_frames(library):
    frames = pytest.importorskip(library)
    gone = {**with_gaps(mixed()), "count": [None, *range(119)], "empty": [None] * 120}
    frame = frames.DataFrame(gone)
    if library == "pandas":
        frame["count"] = frame["count"].astype("Int64")
        frame["colour"] = frame["colour"].astype("category")
    model = RBMImputer(**QUICK)
    with pytest.warns(UserWarning, match="without a value"):
        filled = model.fit_transform(frame)
    assert type(filled) is type(frame)
    assert list(filled.columns) == ["colour", "flag", "size", "count"] == list(model.get_feature_names_out())
    assert filled["count"].dtype == frame["count"].dtype
    assert filled["colour"].dtype == frame["colour"].dtype
    for name in filled.columns:
        assert None not in filled[name].to_list()
    assert filled["size"].to_list()[3:] == gone["size"][3:]


def test_a_frame_with_numbers_for_names_is_filled():
    pandas = pytest.importorskip("pandas")
    x = holed(normal(40)[0])
    filled = RBMImputer(**QUICK).fit_transform(pandas.DataFrame(x))
    np.testing.assert_array_equal(filled, RBMImputer(**QUICK).fit_transform(x))
    assert list(filled.columns) == list(range(x.shape[1]))


@pytest.mark.parametrize("kind", ["mapping", "pandas", "polars"])
def test_numbers_that_are_written_as_text_are_numbers_and_stay_text(kind):
    x = np.round(np.exp(holed(normal(60)[0])), 3)
    cells = {f"c{i}": [None if np.isnan(v) else str(v) for v in column] for i, column in enumerate(x.T)}
    table = cells if kind == "mapping" else pytest.importorskip(kind).DataFrame(cells)
    model = RBMImputer(**QUICK).fit(table)
    filled, plain = model.transform(table), RBMImputer(**QUICK).fit(x)
    for i, column in enumerate(plain.transform(x).T):
        own = filled[f"c{i}"] if kind == "mapping" else filled[f"c{i}"].to_list()
        assert {*map(type, own)} == {str}
        np.testing.assert_allclose([float(cell) for cell in own], column, rtol=1e-6)
    np.testing.assert_allclose(model.intervals(table), plain.intervals(x))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_features_come_as_frames_where_that_is_asked_for(library):
    frames = pytest.importorskip(library)
    x = holed(normal(40)[0])
    plain = RBMImputer(**QUICK).fit_transform(x)
    for rows in (x, frames.DataFrame({f"c{i}": column for i, column in enumerate(x.T)})):
        filled = RBMImputer(**QUICK).set_output(transform=library).fit_transform(rows)
        assert isinstance(filled, frames.DataFrame)
        np.testing.assert_array_equal(filled.to_numpy(), plain)


def test_a_row_is_filled_alike_whatever_is_beside_it():
    x = holed(normal(60)[0])
    x[:, 1] = x[:, 1] > 0
    x[::7, 1] = NAN
    model = RBMImputer(**QUICK).fit(x)
    filled = model.transform(x)
    np.testing.assert_array_equal(model.transform(x[20:25]), filled[20:25])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(x), filled)
    np.testing.assert_array_equal(clone(model).fit(x).transform(x), filled)
    assert {*filled[:, 1]} <= {0, 1}
    first, second = model.draws(x, 2)
    assert (first[np.isnan(x)] != second[np.isnan(x)]).any()
    np.testing.assert_array_equal(first[~np.isnan(x)], x[~np.isnan(x)])


def test_columns_that_do_not_vary_are_treated_as_scikit_learn_does():
    x = np.column_stack((holed(normal(30)[0]), np.full(30, 7.0), np.full(30, NAN)))
    x[3, 3] = NAN
    with pytest.warns(UserWarning, match="without a value"):
        filled = RBMImputer(**QUICK).fit_transform(x)
    assert filled.shape == (30, 4)
    assert filled[3, 3] == 7
    kept = RBMImputer(keep_empty_features=True, **QUICK).fit_transform(x)
    assert (kept[:, 4] == 0).all()
    assert not np.isnan(kept).any()


def test_strategies_and_maps():
    x = np.exp(normal(80)[0])
    x[:40, 0] = NAN
    mean, median, drawn = (
        RBMImputer(**QUICK, numbers="quantile", strategy=way).fit_transform(x)
        for way in ("mean", "median", "draw")
    )
    assert mean[:40, 0].mean() > median[:40, 0].mean()
    assert drawn[:40, 0].std() > median[:40, 0].std()
    low, high = RBMImputer(**QUICK).fit(x).intervals(x, 0.8)
    assert (low[:40, 0] < high[:40, 0]).all()
    np.testing.assert_array_equal(low[40:], x[40:])


def test_pipelines_and_grid_searches():
    x, target = holed(normal(60)[0]), normal(60)[0][:, 0] > 3
    pipe = make_pipeline(RBMImputer(**QUICK), LogisticRegression())
    search = GridSearchCV(pipe, {"rbmimputer__n_components": [1, 3]}, cv=2, n_jobs=1).fit(x, target)
    assert search.best_score_ > 0.7


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"device": "nowhere"}, ArgumentError, "device: got 'nowhere'"),
        ({"unknown": "gaps"}, ArgumentError, "did you mean 'gap'"),
        ({"strategy": "men"}, ArgumentError, "did you mean 'mean'"),
        ({"numbers": "quantiles"}, ArgumentError, "did you mean 'quantile'"),
        ({"shrinkage": -1}, ArgumentError, "shrinkage: got -1"),
        ({"kinds": {9: "gaussian"}}, ArgumentError, "kinds: got 9"),
        ({"n_iter": 0}, ArgumentError, "n_iter: got 0"),
        ({"batch_size": 0}, ArgumentError, "batch_size: got 0"),
    ],
)
def test_mistakes_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        RBMImputer(**settings).fit(normal(20)[0])


def as_kind(kind, table):
    return table if kind == "mapping" else pytest.importorskip(kind).DataFrame(table)


@pytest.mark.parametrize("kind", ["mapping", "pandas", "polars"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": [1.0, float("inf")]}, "column 'size': row 1 .from 0.: got inf, expected a finite number"),
        ({"size": [None, "tall"]}, "column 'size': row 1 .from 0.: got 'tall', expected a finite number"),
        ({"colour": ["red", "grey"]}, "column 'colour': row 1 .from 0.: got 'grey'.*unknown='gap'"),
    ],
)
def test_cells_unlike_those_of_the_fit_are_named(kind, change, words):
    model = RBMImputer(**QUICK).fit(as_kind(kind, with_gaps(mixed())))
    few = {name: [None, cells[5]] for name, cells in mixed().items()}
    with pytest.raises(DataError, match=words):
        model.transform(as_kind(kind, {**few, **change}))


@pytest.mark.parametrize("kind", ["mapping", "pandas", "polars"])
def test_tables_that_cannot_be_learnt_from_are_refused(kind):
    table, model = with_gaps(mixed()), RBMImputer(**QUICK)
    far = [*table["size"][:7], float("-inf"), *table["size"][8:]]
    with pytest.raises(DataError, match=r"column 'size': row 7 .from 0.: got -inf"):
        model.fit(as_kind(kind, {**table, "size": far}))
    with pytest.raises(DataError, match=r"0 rows|lengths .0."):
        model.fit(as_kind(kind, {name: [] for name in table}))


@pytest.mark.parametrize("kind", ["mapping", "pandas"])
def test_numbers_and_words_in_one_column_are_named_by_their_rows(kind):
    table = with_gaps(mixed())
    cells = [*table["size"][:7], "tall", *table["size"][8:]]
    with pytest.raises(DataError, match=r"column 'size': got both numbers .row 0 .* and text .row 7: 'tall'"):
        RBMImputer(**QUICK).fit(as_kind(kind, {**table, "size": cells}))
    with pytest.raises(DataError, match=r"take all as text .*of an imputer kinds= likewise"):
        RBMImputer(**QUICK).fit(as_kind(kind, {**table, "size": cells}))


@pytest.mark.parametrize("kind", ["mapping", "pandas", "polars"])
def test_dates_are_refused_by_column(kind):
    table = with_gaps(mixed())
    days = [datetime(2026, 1, 1) + timedelta(days=row) for row in range(len(table["size"]))]
    with pytest.raises(DataError, match=r"column 'day': row 0 .from 0.: got the .*leave it out"):
        RBMImputer(**QUICK).fit(as_kind(kind, {**table, "day": days}))


def test_a_bit_that_is_written_in_another_way_is_the_same_bit():
    model = RBMImputer(**QUICK).fit({"flag": ["0.0", "1.0", ""] * 10, "yes": [True, False, None] * 10})
    whole = model.transform({"flag": ["0", "1"], "yes": ["TRUE", "False"]})
    assert whole == {"flag": ["0", "1"], "yes": ["TRUE", "False"]}
    with pytest.raises(DataError, match="got '2', not there in the fit"):
        model.transform({"flag": ["2"], "yes": [True]})


def test_an_unknown_category_may_count_as_a_gap():
    model = RBMImputer(**QUICK, unknown="gap").fit(with_gaps(mixed()))
    row = {"colour": ["grey"], "flag": [None], "size": [None]}
    filled, gone = model.transform(row), model.transform({**row, "colour": [None]})
    assert filled["colour"] == ["grey"]
    assert (filled["flag"], filled["size"]) == (gone["flag"], gone["size"])


def test_columns_unlike_those_of_the_fit_are_named():
    model = RBMImputer(**QUICK).fit(with_gaps(mixed()))
    row = {name: cells[:1] for name, cells in mixed().items()}
    with pytest.raises(DataError, match="no column 'size' and unknown columns 'length'"):
        model.transform({"length": [1.0], **{name: row[name] for name in ("colour", "flag")}})
    with pytest.raises(DataError, match="columns in the order"):
        model.transform(dict(reversed(row.items())))
    frames = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="each of another name"):
        model.fit(frames.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))


def test_what_cannot_be_a_table_is_refused():
    model = RBMImputer(**QUICK).fit(normal(20)[0])
    with pytest.raises(ArgumentError, match="level: got 2"):
        model.intervals(normal(20)[0], 2)
    with pytest.raises(ArgumentError, match="n: got 0"):
        model.draws(normal(20)[0], 0)
    with pytest.raises(DataError, match="expected one for all"):
        model.fit({"a": [1, 2], "b": [1]})


def test_cells_are_held_out_where_other_rows_have_gaps():
    truth = torch.arange(20.0).view(5, 4)
    truth[0, :2] = torch.nan
    gaps = torch.zeros(3, 4, dtype=torch.bool)
    gaps[1, :2] = True
    held = _held_out(truth, gaps, Stream(0, "held out"))
    assert held[:, :2].tolist() == [[False, False]] + [[True, True]] * 4
    assert not held[:, 2:].any()
    gaps[1, 2:] = True
    assert not _held_out(truth, gaps, Stream(0, "held out")).any()


def test_a_tenth_of_the_cells_is_held_out_of_rows_without_gaps():
    truth = torch.zeros(200, 50)
    held = _held_out(truth, torch.zeros(200, 50, dtype=torch.bool), Stream(0, "held out"))
    assert abs(float(held.float().mean()) - 0.1) < 4 * (0.1 * 0.9 / held.numel()) ** 0.5
