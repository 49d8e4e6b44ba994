"""Tables of mixed columns: how they are read, what each column becomes, the way back, and what is refused."""

from __future__ import annotations

import gzip
import json
import math
import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

import harmonium as hm
from harmonium.datasets import Column, Schema, _column, read_table, write_table
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError, FileError
from harmonium.units import unit_from_config

ROWS = 60


@pytest.fixture
def table():
    """Return a table of every kind of column, whose order is not that of a row's blocks."""
    rng = np.random.default_rng(3)
    return {
        "income": np.exp(rng.normal(9, 1, ROWS)).tolist(),
        "city": [("Bonn", "Aix", "Cork")[i % 3] for i in range(ROWS)],
        "member": [bool(i % 2) for i in range(ROWS)],
        "visits": [int(n) for n in rng.poisson(3, ROWS)],
        "size": [("s", "m")[i % 5 > 2] for i in range(ROWS)],
        "flag": [str(i % 7 // 6) for i in range(ROWS)],
    }


def write(path, text):
    """Write text to a file, zipped if its name says so."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


# --- columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["standardise", "log-standardise", "quantile"])
def test_numbers_go_there_and_back_in_order(transform):
    x = np.exp(np.random.default_rng(1).normal(0, 2, 400)) - 3
    column = _column.fit_numbers("x", np.sort(x), transform)
    y = column.forward(x)
    assert np.allclose(column.backward(y), x, rtol=1e-9, atol=1e-9)
    assert (np.diff(y[np.argsort(x)]) > 0).all()
    assert abs(y.mean()) < 1e-2
    assert abs(y.std() - 1) < 2e-2


@pytest.mark.parametrize("transform", ["standardise", "log-standardise"])
def test_a_density_in_the_tables_units_integrates_to_1(transform):
    rng = np.random.default_rng(2)
    column = _column.fit_numbers("x", np.sort(rng.gamma(2, 30, 300) - 10), transform)
    y = np.linspace(-9, 9, 40001)
    x = column.backward(y)
    density = np.exp(norm.logpdf(y) + column.log_slope(y))
    assert abs(np.trapezoid(density, x) - 1) < 1e-5
    slope = np.log(np.diff(y) / np.diff(x))
    middle = (column.log_slope(y)[1:] + column.log_slope(y)[:-1]) / 2
    assert np.abs(slope - middle).max() < 1e-4


def test_quantiles_are_normal_and_of_middle_ranks():
    column = _column.fit_numbers("x", np.array([1.0, 1.0, 2.0, 5.0]), "quantile")
    expected = norm.ppf([0.25, 0.625, 0.875])
    assert np.allclose(column.forward(np.array([1.0, 2.0, 5.0])), expected)
    assert np.allclose(column.forward(np.array([-99.0, 99.0])), expected[[0, 2]])
    assert not column.has_density
    assert column.log_slope(expected).tolist() == [0, 0, 0]
    many = _column.fit_numbers("x", np.sort(np.random.default_rng(0).normal(size=5000)), "quantile")
    assert len(many.numbers) == 2 * _column.KNOTS


@pytest.mark.parametrize("transform", ["standardise", "log-standardise", "quantile"])
@pytest.mark.parametrize("values", [7, 4000])
def test_a_column_is_fitted_part_by_part(monkeypatch, transform, values):
    x = np.sort(np.random.default_rng(4).integers(0, values, 3000) / 4)
    monkeypatch.setattr(_column, "_PART", 64)
    found = _column.fit_numbers("x", x, transform)
    own, counts = np.unique(x, return_counts=True)
    u = np.arcsinh((x - np.median(x)) / np.abs(x - np.median(x)).mean())
    if transform == "quantile":
        index = np.linspace(0, len(own) - 1, min(len(own), 1000)).round().astype(int)
        ranks = norm.ppf((np.cumsum(counts) - counts / 2) / len(x))
        expected = np.concatenate((own[index], ranks[index]))
    elif transform == "standardise":
        expected = x.mean(), x.std()
    else:
        expected = np.median(x), np.abs(x - np.median(x)).mean(), u.mean(), u.std()
    assert np.allclose(found.numbers, expected, rtol=1e-12)


def test_a_floor_is_that_of_each_column_by_itself(monkeypatch, table):
    monkeypatch.setattr("harmonium.datasets._floor._ROWS", 7)
    gaps = np.random.default_rng(5).random((len(table), ROWS)) < 0.2
    for gone, cells in zip(gaps, table.values(), strict=True):
        cells[:] = [None if gap else cell for gap, cell in zip(gone, cells, strict=True)]
    schema = Schema.infer(table)
    rows = schema.encode(table).double()
    train, test = rows[:40], rows[40:]
    expected = torch.zeros(20, dtype=torch.float64)
    for number, column in enumerate(schema.blocks):
        own, there = train[:, number], ~test[:, number].isnan()
        own, seen = own[~own.isnan()], test[there, number]
        if column.kind == "gaussian":
            expected[there] += torch.from_numpy(norm.logpdf(seen, own.mean(), own.std(correction=0)))
        else:
            counts = own.long().bincount(minlength=len(column.levels)) + 1
            expected[there] += (counts / counts.sum()).log()[seen.long()]
    assert torch.allclose(schema.baseline(train, test), expected, rtol=1e-6)
    few = Schema.infer({"x": [1.0, 3.0], "b": ["no", "yes"]})
    flat = few.baseline(few.encode({"x": [1.0], "b": ["no"]})[:0], torch.tensor([[1.0, 0.5]]))
    assert math.isclose(float(flat), math.log(0.5) + norm.logpdf(0.5), rel_tol=1e-6)


# --- schemas --------------------------------------------------------------------------------------


def test_a_schema_is_inferred_and_makes_the_layer_of_its_rows(table):
    schema = Schema.infer(table)
    kinds = dict(zip(schema.names, [column.kind for column in schema.columns], strict=True))
    assert kinds == {
        "income": "gaussian",
        "city": "categorical",
        "member": "bernoulli",
        "visits": "gaussian",
        "size": "categorical",
        "flag": "bernoulli",
    }
    assert [column.name for column in schema.blocks] == ["member", "flag", "size", "city", "income", "visits"]
    layer = unit_from_config(schema.layer)
    assert [(part.kind, part.size) for part in layer.parts] == [
        ("bernoulli", 2),
        ("categorical", 1),
        ("categorical", 1),
        ("gaussian", 2),
    ]
    rows = schema.encode(table)
    layer.validate(rows)
    assert rows[:, 3].tolist() == [float((1, 0, 2)[i % 3]) for i in range(ROWS)]
    assert rows[:, 4:].mean(0).abs().max() < 1e-6


def test_cells_come_back_as_they_were_with_their_gaps(table):
    schema = Schema.infer(table, transforms={"income": "log-standardise", "visits": "quantile"})
    table["city"][4], table["income"][5], table["visits"][6], table["member"][7] = "?", float("nan"), None, ""
    rows = schema.encode(table)
    assert rows.isnan().nonzero().tolist() == [[4, 3], [5, 4], [6, 5], [7, 0]]
    back = schema.decode(rows)
    assert list(back) == list(table)
    assert [back["city"][4], back["income"][5], back["visits"][6], back["member"][7]] == [None] * 4
    assert back["city"][:4] == table["city"][:4]
    assert back["visits"][:6] == table["visits"][:6]
    assert back["flag"] == table["flag"]
    assert back["member"][:2] == ["false", "true"]
    assert np.allclose(back["income"][:5], table["income"][:5], rtol=1e-5)


def test_a_schema_is_kept_as_json(table):
    schema = Schema.infer(table, unseen=["city"], transforms="quantile", drop=["flag"])
    again = Schema.from_config(json.loads(json.dumps(schema.config())))
    assert again == schema
    assert torch.equal(again.encode(table), schema.encode(table))
    assert again.encode({**table, "city": ["Ulm"] * ROWS})[:, 2].unique().tolist() == [3]


def test_the_jacobian_is_of_the_cells_that_are_there(table):
    schema = Schema.infer(table, transforms={"income": "log-standardise"})
    rows = schema.encode(table)
    own = {column.name: column for column in schema.columns}
    income = own["income"].log_slope(rows[:, 4].double().numpy())
    scale = np.std(table["visits"])
    assert np.allclose(schema.log_jacobian(rows), income - np.log(scale))
    rows[0, 5], rows[1, 4] = np.nan, np.nan
    assert np.allclose(schema.log_jacobian(rows)[:2], [income[0], -np.log(scale)])


def test_the_likelihood_of_a_table_is_in_its_own_units():
    rng = np.random.default_rng(5)
    table = {
        "x": (rng.normal(size=50) * 40 + 7).tolist(),
        "kind": [("a", "b")[i % 4 == 0] for i in range(50)],
    }
    schema = Schema.infer(table)
    rbm = hm.RBM(unit_from_config(schema.layer), 1)
    torch.nn.init.zeros_(rbm.weight)
    torch.nn.init.zeros_(rbm.visible.bias)
    rows = schema.encode(table)
    nats = hm.log_likelihood(rbm, rows).mean + schema.log_jacobian(rows).mean().item()
    expected = norm.logpdf(table["x"], np.mean(table["x"]), np.std(table["x"])).mean() + np.log(0.5)
    assert abs(nats - expected) < 1e-5


def test_choices_can_be_overridden(table):
    told = {row["name"]: row for row in Schema.infer(table, transforms="quantile").describe()}
    assert told["income"]["treatment"] == "quantile (nats are those of the transformed column)"
    assert told["city"]["levels"] == ["Aix", "Bonn", "Cork"]
    schema = Schema.infer(
        table, kinds={"size": "bernoulli", "flag": "gaussian"}, levels={"city": table["city"][:3]}
    )
    told = {row["name"]: row for row in schema.describe()}
    assert told["size"]["kind"] == "bernoulli"
    assert told["flag"]["kind"] == "gaussian"
    assert told["city"]["levels"] == ["Bonn", "Aix", "Cork"]
    codes = Schema.infer({"c": ["10", "9", "10", "2"]}, kinds={"c": "categorical"})
    assert codes.columns[0].levels == ("2", "9", "10")


@pytest.mark.parametrize(
    ("cells", "levels"),
    [
        (["0.0", "1.0", ""], ("0.0", "1.0")),
        ([0.0, None, 1.0], ("0", "1")),
        (["0", "1.0", "1", "0.0"], ("0", "1")),
        (["True", "", "False"], ("False", "True")),
        (["TRUE", "false", "true"], ("false", "true")),
        ([True, None, False], ("false", "true")),
    ],
)
def test_bits_are_bits_however_they_are_written(cells, levels):
    schema = Schema.infer({"b": cells})
    [column] = schema.columns
    assert (column.kind, column.levels) == ("bernoulli", levels)
    expected = [math.nan, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    others = [None, False, "False", "FALSE", 0, "0.0", "0", True, "true", "TRUE", 1, 1.0, "1"]
    np.testing.assert_array_equal(column.encode(others), expected)
    np.testing.assert_array_equal(column.encode([str(each) for each in others[1:]]), expected[1:])
    with pytest.raises(DataError, match=r"row 1 .from 0.: got '2', expected one of .* or an empty cell"):
        column.encode(["1", "2"])


def test_categories_are_the_same_in_other_words_only_where_one_level_can_be_meant():
    codes = Schema.infer({"c": ["1", "2", "10", "x"]}, kinds={"c": "categorical"}).columns[0]
    assert codes.encode(["1.0", 2, "10", "10.00", "x"]).tolist() == [0, 1, 2, 2, 3]
    for other in ("X", "01", "1e0", "1.1"):
        with pytest.raises(DataError, match=f"got '{other}'"):
            codes.encode([other])
    names = Schema.infer({"c": ["12345678901234567", "a", "b"]}, kinds={"c": "categorical"}).columns[0]
    with pytest.raises(DataError, match=r"row 1 .from 0.: got '12345678901234569'"):
        names.encode(["12345678901234567", "12345678901234569"])
    twice = Schema.infer({"c": ["1", "1.0", "2"]}, kinds={"c": "categorical"}).columns[0]
    assert twice.encode(["1", "1.0"]).tolist() == [0, 1]
    with pytest.raises(DataError, match=r"got '1\.00'"):
        twice.encode(["1.00"])
    more = Schema.infer({"c": ["1", "2"]}, kinds={"c": "categorical"}, unseen=["c"]).columns[0]
    assert more.encode(["1.0", "3", "(unseen)"]).tolist() == [0, 2, 2]


def test_cells_come_in_any_sequence_and_of_any_type():
    cells, bits = ["a", "b", "c", "a"], [True, 1, 0, False, 2]
    for made in (np.array(cells, dtype=object), pytest.importorskip("pandas").Series(cells), tuple(cells)):
        assert Schema.infer({"x": made}).columns[0].levels == ("a", "b", "c")
    mixed = Schema.infer({"x": bits}, kinds={"x": "categorical"})
    assert mixed.columns[0].levels == ("0", "1", "2", "false", "true")
    assert mixed.encode({"x": bits})[:, 0].tolist() == [4, 1, 0, 3, 2]
    nested = {"x": [[1, 2], [3], [1, 2]], "y": ["a", "b", "a"]}
    with pytest.raises(DataError, match=r"'x': row 0 .from 0.: got the list \[1, 2\].*--column x=drop"):
        Schema.infer(nested)
    assert Schema.infer(nested, drop=["x"]).names == ["y"]
    assert Schema.infer({"x": ["(unseen)", "a"]}, unseen=["x"]).columns[0].levels == ("a", "(unseen)")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"city": ["Bonn"] * ROWS}, {}, "'city': got 'Bonn' in all rows"),
        ({"visits": [4] * ROWS}, {}, "'visits': got 4 in all rows"),
        ({"member": [True] * ROWS}, {}, "'member': got 'true' in all rows"),
        ({"city": [None] * ROWS}, {}, "'city': all 60 cells are missing"),
        ({"visits": [1, 2, float("inf")] * 20}, {}, "'visits': row 2 .from 0.: got inf"),
        (
            {"visits": ["1", "2", "many"] * 20},
            {},
            "'visits': got both numbers .row 0 .* and text .row 2: 'many'",
        ),
        ({}, {"unseen": ["town"]}, "unseen: unknown 'town'"),
        ({}, {"kinds": {"city": "text"}}, "kinds: of column 'city': unknown 'text'"),
        ({}, {"transforms": {"visits": "log"}}, "transforms: of column 'visits': unknown 'log'"),
        (
            {},
            {"levels": {"city": ["Bonn", "Aix"]}},
            "'city': row 2 .from 0.: got 'Cork', expected one of 'Bonn'",
        ),
        ({}, {"kinds": {"city": "bernoulli"}}, "levels of column 'city'"),
        ({"visits": [1]}, {}, "columns of different lengths"),
        (
            {"visits": [date(2026, 1, 1 + i % 28) for i in range(ROWS)]},
            {},
            "'visits': row 0 .* got the date 2026-01-01.*leave it out .--column visits=drop",
        ),
        (
            {"visits": [4] * ROWS, "city": ["Bonn"] * ROWS},
            {},
            "2 columns cannot be learnt from: column 'city': .*; column 'visits': got 4 in all rows",
        ),
    ],
)
def test_a_table_that_cannot_be_learnt_is_refused_by_column(table, change, options, words):
    with pytest.raises((DataError, ArgumentError), match=words):
        Schema.infer({**table, **change}, **options)


def test_a_table_that_does_not_match_is_refused_by_column(table):
    schema = Schema.infer(table)
    renamed = {("town" if name == "city" else name): cells for name, cells in table.items()}
    with pytest.raises(DataError, match="no column 'city' and unknown columns 'town'"):
        schema.encode(renamed)
    with pytest.raises(DataError, match="got no column 'flag', expected"):
        schema.encode({name: cells for name, cells in table.items() if name != "flag"})
    with pytest.raises(DataError, match="got unknown columns 'more', expected"):
        schema.encode({**table, "more": table["flag"]})
    with pytest.raises(
        DataError, match=r"'city': row 102 .from 0.: got 'Ulm', expected one of 'Aix', 'Bonn', 'Cork'"
    ):
        schema.encode({**table, "city": ["Aix", "Bonn", "Ulm"] * 20}, first=100)
    with pytest.raises(DataError, match=r"'income': row 1 .from 0.: got 'x', expected a finite number"):
        schema.encode({**table, "income": ["1", "x"] * 30})
    with pytest.raises(
        DataError, match=r"'income': row 1 .from 0.: got 1e\+200, expected a number that float32"
    ):
        schema.encode({**table, "income": [1.0, 1e200] * 30})
    with pytest.raises(DataError, match="got 0 rows"):
        schema.encode({name: [] for name in table})
    with pytest.raises(DataError, match="got 0 rows"):
        Schema.infer({name: [] for name in table})
    with pytest.raises(DataError, match="no value in 1 rows, the first is row 2"):
        schema.encode({name: [*cells[:2], None] for name, cells in table.items()})
    with pytest.raises(ArgumentError, match="rows: got"):
        schema.decode(torch.zeros(2, 5))
    with pytest.raises(ArgumentTypeError, match="expected lists of cells by column, or a frame"):
        schema.encode(torch.zeros(2, 6))
    wrong = schema.encode(table)
    wrong[0, 3] = 1.5
    with pytest.raises(DataError, match=r"column 'city': got 1\.5"):
        schema.decode(wrong)
    with pytest.raises(ArgumentError, match="numbers of column 'x'"):
        Column("x", "gaussian", transform="standardise", numbers=(0.0, -1.0))


# --- files and frames -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv"])
def test_a_file_is_read_as_text_by_column(tmp_path, name):
    mark = "\t" if "tsv" in name else ","
    path = write(tmp_path / name, f"age{mark}city\n39{mark} Bonn\n{mark}Aix\n")
    assert read_table(path) == {"age": ["39", ""], "city": ["Bonn", "Aix"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3\n", "line 3: got 1 cells, expected 2"),
        ("a,a\n1,2\n", "line 1: got the column name 'a'"),
        ("a,\n1,2\n", "line 1: got the column name ''"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        read_table(write(tmp_path / "t.csv", text))
    with pytest.raises(FileError, match="there is no such file, expected one that ends in"):
        read_table(tmp_path / "absent.csv")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_are_tables(table, library):
    frames = pytest.importorskip(library)
    table["city"][4], table["visits"][6], table["member"][7] = None, None, None
    schema = Schema.infer(frames.DataFrame(table))
    assert schema == Schema.infer(table)
    assert torch.equal(
        schema.encode(frames.DataFrame(table)).nan_to_num(9), schema.encode(table).nan_to_num(9)
    )
    rows = schema.encode(table)
    made = frames.DataFrame(schema.decode(rows))
    assert list(made.columns) == schema.names
    assert torch.equal(schema.encode(made).nan_to_num(9), rows.nan_to_num(9))


def test_parquet_is_read(tmp_path, table):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.table(table), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet") == table


def test_booleans_are_booleans_in_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    cells = {"b": ["true", None, "false"], "t": ["true", "no", None], "x": [1.5, None, 2.0]}
    with (tmp_path / "t.parquet").open("wb") as file:
        write_table(tmp_path / "t.parquet", file, [cells], Schema.infer(cells).booleans)
    assert read_table(tmp_path / "t.parquet") == {**cells, "b": [True, None, False]}


@pytest.mark.skipif("HARMONIUM_DATA" not in os.environ, reason="needs the raw tables")
def test_the_raw_mushrooms_are_a_table():
    path = Path(os.environ["HARMONIUM_DATA"]) / "tables" / "mushrooms.csv.gz"
    few = {name: cells[-400:] for name, cells in read_table(path).items()}
    constant = [name for name, cells in few.items() if len({*cells} - {""}) < 2]
    schema = Schema.infer(few, drop=constant)
    back = schema.decode(schema.encode(few))
    expected = [cell or None for cell in few["stalk-root"]]
    assert None in expected
    assert back["stalk-root"] == expected
    assert back["odor"] == few["odor"]
