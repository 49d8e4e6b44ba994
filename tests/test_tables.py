"""Tables from file to command line: data sets, scores, gaps filled in, and what is refused."""

from __future__ import annotations

import csv
import errno
import json
import math
import re
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from test_cli import harmonium, refuse, sets, succeed

import harmonium as hm
from harmonium.datasets import (
    Schema,
    _spare,
    describe_table,
    from_table,
    load,
    read_blocks,
    read_table,
    summary,
    write_table,
)
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError, FileError
from harmonium.tables import _output

NAMES = ("alcohol", "malic", "ash", "magnesium")
SHORT = 40
"""The rows of a block, where several are wanted of a short table."""


def cells_of_wine():
    """Return a table with numbers, an integer, a category, a bit, a name for each row, and gaps."""
    wine, rng = load_wine(), np.random.default_rng(0)
    rows = []
    for number, (x, kind) in enumerate(zip(wine.data, wine.target, strict=True)):
        cells = [f"{x[0]:g}", f"{x[1]:g}", f"{x[2]:g}", f"{x[4]:g}", f'"{wine.target_names[kind]}, red"']
        cells.append("yes" if x[12] > 700 else "no")
        for place in range(1, len(cells)):
            if rng.random() < 0.08:
                cells[place] = ("", "?", "NA")[number % 3]
        rows.append([f"w{number}", *cells])
    return [["id", *NAMES, "cultivar", "rich"], *rows]


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    """Return the path of such a table, whose lines end as those of spreadsheets do."""
    path = tmp_path_factory.mktemp("tables") / "wine.csv"
    path.write_bytes("".join(",".join(cells) + "\r\n" for cells in cells_of_wine()).encode())
    return path


@pytest.fixture(scope="module")
def run(wine, tmp_path_factory):
    """Return a run folder of an RBM that was trained on it from the command line."""
    out = tmp_path_factory.mktemp("runs") / "wine"
    pairs = sets(["hidden=6", "epochs=3", "rule.chains=20", "lr=0.02", "seed=1"])
    columns = ["--column", "id=drop", "--column", "malic=log-standardise"]
    succeed("train", "rbm", "--data", wine, "--out", out, *pairs, *columns)
    return out


@pytest.fixture(scope="module")
def model(run):
    """Return the model that it left, with weights that are not small."""
    rbm = hm.load(run / "model.safetensors")
    rbm.weight.data.copy_(torch.randn(rbm.weight.shape, generator=torch.Generator().manual_seed(2)) / 2)
    return rbm


@pytest.fixture
def short(monkeypatch):
    """Make blocks of few rows."""
    monkeypatch.setattr("harmonium.datasets._tables.BLOCK", SHORT)


def write(path, text):
    """Write text to a file."""
    path.write_text(text, "utf-8")
    return path


def read(path):
    """Return the lines of a written table as lists of cells."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


# --- data sets ------------------------------------------------------------------------------------


def test_a_file_with_text_and_gaps_is_a_table(wine):
    data = load(wine, columns={"id": "drop", "malic": "log-standardise"})
    assert data.kind == "table"
    assert [len(rows) for rows in (data.train, data.validation, data.test)] == [142, 18, 18]
    assert data.train.dtype == torch.float32
    kinds = [(column.kind, column.transform) for column in data.schema.columns]
    assert kinds[1] == ("gaussian", "log-standardise")
    assert [kind for kind, _ in kinds] == ["gaussian"] * 4 + ["categorical"] * 2
    known = data.train[:, -4:].double()
    assert torch.allclose(known.nanmean(0), torch.zeros(4, dtype=torch.float64), atol=1e-5)
    table = read_table(wine)
    back = data.schema.decode(data.schema.encode(table))
    given = [[cell if cell not in ("", "?", "NA") else None for cell in cells] for cells in table.values()]
    assert back["cultivar"] == given[5]
    for name, cells in zip(NAMES, given[1:5], strict=True):
        for cell, again in zip(cells, back[name], strict=True):
            assert (cell is None) == (again is None)
            assert cell is None or math.isclose(float(cell), again, rel_tol=1e-4)


def test_named_columns_make_a_table_unless_they_are_bits_or_an_array_is_asked_for(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n" + "0,1.5\n1,2.5\n" * 10)
    bits = write(tmp_path / "b.csv", "a,b\n" + "0,1\n1,1\n1,0\n" * 10)
    for told in ({"table": True}, {"columns": {"*": "quantile"}}, {"missing": ["-"]}):
        assert load(path, **told).schema.names == ["a", "b"]
        assert load(bits, **told).schema.names == ["a", "b"]
    again = load(path, schema=load(path, table=True).schema)
    assert torch.equal(again.train, load(path).train)
    for told in ({"table": False}, {"transform": "standardise"}, {"label": "a"}):
        assert load(path, **told).schema is None
    assert (load(path, table=False).kind, load(bits).kind) == ("reals", "bits")
    bare = write(tmp_path / "n.csv", "0,1.5\n1,2.5\n" * 10)
    assert load(bare).schema is None
    one = write(tmp_path / "o.csv", "a\n" + "1.5\n2.5\n" * 10)
    assert load(one).schema is None
    same = write(tmp_path / "s.csv", "a,b\n" + "0,1.5\n1,1.5\n" * 10)
    words = r"'b': got 1.5 in all training rows.*table=False .--set data.table=false"
    with pytest.raises(DataError, match=words):
        load(same)
    text = write(tmp_path / "u.csv", "a,b\n" + "x,1\ny,\nx,2\n" * 10)
    assert load(text).schema is not None
    for told in ({"table": False}, {"binarisation": "none"}, {"transform": "standardise"}, {"label": "b"}):
        with pytest.raises(DataError, match=r"line 2, column 1 .a.: got 'x', expected a finite number"):
            load(text, **told)


def test_kinds_and_levels_are_of_all_rows_and_transforms_of_those_to_learn_from():
    names = ["rare" if i == 7 else "ab"[i % 2] for i in range(40)]
    table = {"x": [float(i * i) for i in range(40)], "c": names}
    data = from_table(table, validation=10, test=10, seed=4)
    assert data.schema.columns[1].levels == ("a", "b", "rare")
    numbers = data.schema.columns[0].backward(data.train[:, 1].double().numpy())
    mean, scale = data.schema.columns[0].numbers
    assert np.allclose([numbers.mean(), numbers.std()], [mean, scale])
    assert not math.isclose(mean, np.mean(table["x"]))
    other = from_table(table, test={"x": [1.0, None], "c": [None, "b"]})
    assert other.test.isnan().tolist() == [[True, False], [False, True]]


def test_words_say_how_columns_are_treated():
    table = {"x": ["1", "2", "3", "4"], "y": ["1", "5", "2", "2"], "c": ["s", "l", "s", "m"], "id": [*"wxyz"]}
    words = {"x": "categorical", "*": "quantile", "c": "levels:s|m|l|xl+unseen", "id": "drop"}
    schema = from_table(table, columns=words).schema
    x, y, c = schema.columns
    assert (x.kind, y.transform, c.levels) == ("categorical", "quantile", ("s", "m", "l", "xl", "(unseen)"))
    for word in ("unseen", "+unseen"):
        own = from_table(table, columns={"c": word, "id": "drop"}).schema
        assert own.columns[2].levels == ("l", "m", "s", "(unseen)")
    coded = schema.encode({**table, "c": ["s", "?", "huge", "xl"]})
    assert coded[:, 1].nan_to_num(9).tolist() == [0, 9, 4, 3]
    for wrong, message in {
        "quantil": "did you mean 'quantile'",
        "levels": "expected one of|the levels themselves",
        "gaussian+unseen": "a column of categories",
    }.items():
        with pytest.raises(ArgumentError, match=f"columns: of 'x'.*({message})"):
            from_table(table, columns={"x": wrong})
    with pytest.raises(ArgumentError, match="columns: unknown 'z', expected one of x, y, c, id"):
        from_table(table, columns={"z": "drop"})
    with pytest.raises(ArgumentTypeError, match="columns: got"):
        from_table(table, columns={"x": 3})
    with pytest.raises(ArgumentError, match=r"columns: got .* None beside a schema"):
        from_table(table, columns=words, schema=schema)


def test_frames_become_data_sets():
    frames = pytest.importorskip("pandas")
    table = {"x": [1.0, 2.5, None, 4.0], "c": ["a", "b", "a", None]}
    data = from_table(frames.DataFrame(table))
    assert torch.equal(data.train.nan_to_num(9), from_table(table).train.nan_to_num(9))


def test_a_file_is_the_table_in_it_however_long_its_blocks(wine, tmp_path, monkeypatch):
    whole = load(wine, columns={"malic": "quantile", "id": "drop"}, seed=4)
    table = from_table(
        read_table(wine), columns={"malic": "quantile", "id": "drop"}, seed=4, validation=0.1, test=0.1
    )
    blocks = partial(read_blocks, rows=7)
    monkeypatch.setattr("harmonium.datasets._mixed_table.read_blocks", blocks)
    parts = load(wine, columns={"malic": "quantile", "id": "drop"}, seed=4)
    for other in (table, parts):
        assert other.schema == whole.schema
        for split in ("train", "validation", "test"):
            assert torch.equal(other.fixed(split).nan_to_num(9), whole.fixed(split).nan_to_num(9))
    path = tmp_path / "t.csv"
    path.write_bytes(wine.read_bytes().replace(b"w100,", b"w100,x", 1))
    with pytest.raises(DataError, match=r"'alcohol': got both numbers .row 0 .*row 100: 'x"):
        load(path)
    with pytest.raises(DataError, match=r"'alcohol': row 100 .from 0.: got 'x"):
        load(path, columns={"alcohol": "standardise"})


@pytest.mark.parametrize("sizes", [{}, {"validation": 0, "test": 0}, {"validation": 5, "test": 0.5}])
def test_a_table_on_the_disk_is_the_one_in_memory(wine, tmp_path, monkeypatch, sizes):
    monkeypatch.setenv("HARMONIUM_CACHE", str(tmp_path / "cache"))
    columns = {"malic": "quantile", "ash": "log-standardise", "id": "drop"}
    whole = load(wine, columns=columns, **sizes)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr("harmonium.datasets._spare.LIMIT", 1000)
    monkeypatch.setattr("harmonium.datasets._tables.BLOCK", 50)
    data = load(wine, columns=columns, **sizes)
    assert (tmp_path / "cache").is_dir()
    assert not list((tmp_path / "cache").iterdir())
    assert data.schema == whole.schema
    for split in ("train", "validation", "test"):
        assert torch.equal(data.fixed(split).nan_to_num(9), whole.fixed(split).nan_to_num(9))
    assert summary(data) == summary(whole)
    models = [hm.RBM(each.schema.layer, 5) for each in (whole, data)]
    for model, each in zip(models, (whole, data), strict=True):
        hm.fit(model, each, hm.PCD(chains=10), epochs=2, batch_size=20)
    assert torch.equal(models[0].weight, models[1].weight)


def test_a_disk_without_room_for_a_table_is_told_of(wine, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harmonium.datasets._spare.LIMIT", 4000)
    monkeypatch.setenv("HARMONIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(FileError, match=r"cache: No space left on device; expected room for 4,272 bytes"):
        load(wine, columns={"id": "drop"})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is one of Linux's devices")
@pytest.mark.parametrize("rows", [5, 500])
def test_a_disk_without_room_for_numbers_is_told_of(wine, tmp_path, monkeypatch, rows):
    monkeypatch.setattr("harmonium.datasets._spare.LIMIT", 1)
    monkeypatch.setattr("harmonium.datasets._tables.BLOCK", rows)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: Path("/dev/full").open("r+b"))  # noqa: SIM115
    monkeypatch.setenv("HARMONIUM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileError, match=r"cache: No space left on device; expected room for [\d,]+ bytes"):
        load(wine, columns={"id": "drop"})


def test_without_a_cache_the_folder_of_temporary_files_is_taken(wine, tmp_path, monkeypatch):
    monkeypatch.setattr("harmonium.datasets._spare.LIMIT", 1000)
    monkeypatch.setenv("HARMONIUM_CACHE", str(wine))
    with pytest.raises(FileError, match=r"wine\.csv: File exists; .* \$HARMONIUM_CACHE names another folder"):
        load(wine, columns={"id": "drop"})
    monkeypatch.delenv("HARMONIUM_CACHE")
    monkeypatch.setenv("HOME", str(wine))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delattr("os.posix_fallocate", raising=False)
    assert len(load(wine, columns={"id": "drop"}).train) == 142
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(
        FileError, match=r"none: No such file .*; \$HARMONIUM_CACHE names another|none: No such"
    ):
        load(wine, columns={"id": "drop"})


def test_a_table_of_dropped_columns_is_refused(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n" + "1,x\n2,y\n" * 10)
    for sizes in ({}, {"validation": 0, "test": 0}):
        with pytest.raises(ArgumentError, match=r"columns: got \[\], expected at least one"):
            load(path, columns={"a": "drop", "b": "drop"}, **sizes)


def test_columns_that_are_no_numbers_are_not_stored(tmp_path, monkeypatch):
    stored = set()

    class Noting(_spare.Store):
        def put(self, name, block):
            stored.add(name)
            super().put(name, block)

    monkeypatch.setattr("harmonium.datasets._mixed_table.Store", Noting)
    path = write(tmp_path / "t.csv", "a,b,c,d\n" + "1,0,7,x\n2,1,8,y\n" * 10)
    load(path, columns={"a": "categorical", "b": "levels:0|1|2"})
    assert stored == {"c"}


@pytest.mark.parametrize("change", ["w998,13,2,2,99,a,no", None])
def test_a_file_that_changes_while_it_is_read_is_refused(wine, tmp_path, monkeypatch, change):
    path, times = tmp_path / "t.csv", []

    def reading(path, **settings):
        lines = wine.read_text().splitlines()
        if times:
            lines = lines[:-1] if change is None else [*lines, change]
        path.write_text("\n".join(lines) + "\n")
        times.append(path)
        return read_blocks(path, **settings)

    monkeypatch.setattr("harmonium.datasets._mixed_table.read_blocks", reading)
    path.write_bytes(wine.read_bytes())
    with pytest.raises(FileError, match=r"got 17[79] rows when it was read again, expected 178"):
        load(path, columns={"id": "drop", "cultivar": "unseen"})


def test_what_is_no_array_is_found_out_without_reading_on(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n" + "0,2\n" * 3 + "0,1,1\n")
    with pytest.raises(DataError, match=r"line 5: got 3 cells, expected 2; read as a table"):
        load(path)
    with pytest.raises(DataError, match=r"line 5: got 3 cells, expected 2$"):
        load(path, table=False)


def test_wide_tables_have_shorter_blocks(tmp_path):
    path = write(
        tmp_path / "t.csv", ",".join(f"c{i}" for i in range(3000)) + ("\n" + "1," * 2999 + "1") * 400
    )
    sizes = [len(block.lines) for block in read_blocks(path)]
    assert sizes == [349, 51]


def test_the_memory_of_a_file_is_that_of_its_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("harmonium.datasets._mixed_table.read_blocks", partial(read_blocks, rows=500))
    peaks = []
    for rows in (2000, 12_000):
        lines = "".join(f"{i % 2},{i / 7},{'red' if i % 3 else 'blue'},,{i}th\n" for i in range(rows))
        path = write(tmp_path / f"{rows}.csv", "a,b,c,d,e\n1,1,red,no,x\n1,1,red,yes,x\n" + lines)
        tracemalloc.start()
        assert load(path, columns={"e": "drop"}, validation=0, test=0).train.shape == (rows + 2, 4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 10_000 * 5 * 16


def test_a_summary_tells_of_columns_gaps_and_a_floor(wine):
    data = load(wine, columns={"id": "drop"})
    told = summary(data)
    whole = torch.cat((data.train, data.validation, data.test))
    assert math.isclose(told["gaps"], float(whole.isnan().float().mean()), rel_tol=1e-6)
    assert [column["name"] for column in told["columns"]] == [*NAMES, "cultivar", "rich"]
    assert json.loads(json.dumps(told)) == told
    few = {"x": [1.0, 2.0, 3.0, None], "b": ["no", "yes", "no", "no"]}
    rows = from_table(few, test={"x": [2.0], "b": ["yes"]})
    floor = math.log(2 / 6) - 0.5 * math.log(2 * math.pi)
    assert math.isclose(summary(rows)["baseline_log_likelihood"], floor, rel_tol=1e-5)


@pytest.mark.parametrize("x", [[2.0, 2.0], [None, None]])
def test_a_floor_of_rows_that_do_not_vary_is_that_of_the_fit(x):
    schema = Schema.infer({"x": [1.0, 3.0], "b": ["no", "yes"]})
    rows = from_table({"x": x, "b": ["no", "no"]}, schema=schema, test={"x": [3.0], "b": ["no"]})
    floor = math.log(3 / 4) - 0.5 * (1 + math.log(2 * math.pi))
    assert math.isclose(summary(rows)["baseline_log_likelihood"], floor, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\nx,1\nx,2\n", "column 'a': got 'x' in all rows"),
        ("a,b\nx,2\ny,2\n", "column 'b': got 2 in all rows"),
        ("a,b\nx,1\ny,inf\n", r"column 'b': row 1 .from 0.: got 'inf', expected a finite number"),
        ("a,b\nx,1\n2,3\n", r"column 'a': got both numbers .row 1 from 0: '2'. and text .row 0: 'x'."),
        ("a,b\n,1\n,3\n", "column 'a': all 2 cells are missing"),
        ("a,b\nx,1\n,\ny,3\n", "no value in 1 rows, the first is row 1"),
        ("a,b\nx,1\ny\n", "line 3: got 1 cells, expected 2"),
        ("a,b\nx,1\ny,2,3\n", "line 3: got 3 cells, expected 2"),
        ("a,a\nx,1\ny,2\n", "got the column name 'a'"),
        ("a,b\n", "got 0 rows|no rows"),
    ],
)
def test_a_table_that_cannot_be_learnt_from_is_refused(tmp_path, text, words):
    path = write(tmp_path / "t.csv", text)
    for told in ({}, {"table": True}):
        with pytest.raises(DataError, match=words):
            load(path, validation=0, test=0, **told)
    asked = sets(["hidden=3", "data.table=true"])
    refuse(1, "train", "rbm", "--data", path, "--out", tmp_path / "run", *asked)
    assert not (tmp_path / "run").exists()


# --- blocks ---------------------------------------------------------------------------------------


def test_blocks_are_the_table_and_their_lines_the_file(wine, tmp_path):
    whole, head = read_table(wine), wine.read_bytes().split(b"\r\n")[0] + b"\r\n"
    for path in (wine, write(tmp_path / "t.csv", '\ufeff"a ""b"" c",d\n"x\ny",1\n"z,",2\n')):
        whole = read_table(path)
        blocks = list(read_blocks(path, rows=7))
        joined = {name: [cell.strip() for b in blocks for cell in b.table[name]] for name in whole}
        assert joined == whole
        text = "".join(line for block in blocks for line in block.lines)
        assert path.read_bytes().decode().endswith(text)
        later = list(read_blocks(path, rows=7, first=1))
        assert [cell for b in later for cell in next(iter(b.table.values()))] == [
            cell for b in blocks for cell in next(iter(b.table.values()))
        ][1:]
    assert (
        head.decode() + "".join(line for block in read_blocks(wine) for line in block.lines)
        == wine.read_bytes().decode()
    )


def test_a_description_says_what_stands_in_the_way(tmp_path, wine):
    rows = "".join(f"{i},{i % 2},{'x' if i else 3},same,{i}.5,,\n" for i in range(300))
    path = write(tmp_path / "t.csv", f"id,bit,both,one,num,none,void\n{rows}")
    told = {column["name"]: column for column in describe_table(path, columns={"none": "drop"})["columns"]}
    kinds = {"id": "gaussian", "bit": "bernoulli", "num": "gaussian", "none": "dropped"}
    assert {name: told[name]["kind"] for name in kinds} == kinds
    assert (told["num"]["least"], told["num"]["largest"], told["num"]["mean"]) == (0.5, 299.5, 150.0)
    assert told["void"]["gaps"] == 1
    assert {name for name, column in told.items() if column["problem"]} == {"both", "one", "void"}
    assert "same in all rows" in told["one"]["problem"]
    assert "text (row 1: 'x')" in told["both"]["problem"]
    assert told["both"]["problem"].startswith("got both numbers")
    whole = succeed("describe", wine, "--column", "id=drop", "--column", "ash=quantile")
    schema = Schema.infer(read_table(wine), drop=["id"], transforms={"ash": "quantile"})
    kept = [column for column in whole["columns"] if column["kind"] != "dropped"]
    assert [(c["name"], c["kind"], c["treatment"], c["levels"]) for c in kept] == [
        (c.name, c.kind, c.treatment, list(c.levels)) for c in schema.columns
    ]
    assert kept[NAMES.index("ash")]["treatment"] == "quantile (nats are those of the transformed column)"
    shares = summary(load(wine, columns={"id": "drop"}))["columns"]
    assert np.allclose([c["gaps"] for c in kept], [c["gaps"] for c in shares])
    told = harmonium("describe", wine, "--column", "id=drop").stdout
    assert f"Train on it: harmonium train rbm --data {wine}" in told.replace("\n", " ")
    bits = write(tmp_path / "bits.csv", "a,b\n0,1\n1,1\n1,0\n")
    assert "--set data.table=true" in harmonium("describe", bits).stdout
    assert "Train on it" not in harmonium("describe", path).stdout
    line = refuse(2, "describe", wine, "--column", "ahs=drop")
    assert "did you mean 'ash'" in line
    assert "expected NAME=TREATMENT" in refuse(2, "describe", wine, "--column", "ash")


# --- likelihoods ----------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["standardise", "log-standardise", "quantile"])
def test_nats_in_own_units_are_those_of_a_closed_form(transform, tmp_path):
    x = np.random.default_rng(5).normal(50, 12, 200)
    data = from_table({"x": x.tolist()}, columns={"x": transform}, test={"x": [40.0, 55.0, 70.0]})
    model = hm.RBM(data.schema.layer, 3)
    model.weight.data.zero_()
    found = hm.log_likelihood(model, data)
    if transform == "quantile":
        assert found.log_determinant is None
        return
    y = data.test[:, 0].double().numpy()
    normal = -0.5 * (y**2 + math.log(2 * math.pi))
    assert math.isclose(found.mean, normal.mean(), rel_tol=1e-6)
    step = 1e-4
    (column,) = data.schema.columns
    points = np.array([40.0, 55.0, 70.0])
    slope = (column.forward(points + step) - column.forward(points - step)) / (2 * step)
    assert math.isclose(found.mean + found.log_determinant, (normal + np.log(slope)).mean(), rel_tol=1e-5)


def test_real_values_that_are_missing_are_summed_over_exactly(model):
    data = model.schema
    gap = torch.nan
    rows = torch.tensor([[0.0, 1.0, 0.3, gap, gap, -1.0], [1.0, gap, 0.2, 0.1, gap, 2.0]])
    generator = torch.Generator()
    few, many = hm.RBM(model.visible, 6, seed=1), hm.RBM(model.visible, 60, seed=1)
    for machine in (few, many):
        machine.weight.data.zero_()
        machine.weight.data[:, :6] = torch.randn(model.weight.shape, generator=generator.manual_seed(3))
    assert len(data.columns) == rows.shape[1]
    exact = [hm.likelihood.known_log_sums(m, rows, (2, 1, "linear", 0)) for m in (few, many)]
    assert exact[1].worst == math.inf
    extra = 54 * math.log(2)
    assert torch.allclose(exact[1].values, exact[0].values + extra, rtol=0, atol=1e-9)


# --- scores ---------------------------------------------------------------------------------------


def test_scores_of_blocks_are_the_likelihood_of_the_whole(wine, model, tmp_path, short):
    out = tmp_path / "scores.csv"
    told = hm.tables.score(model, wine, out)
    rows = model.schema.encode(read_table(wine))
    whole = hm.log_likelihood(model, rows)
    head, *lines = read(out)
    assert head == ["row", "log_likelihood", "in_table_units", "standard_error", "gaps"]
    values = np.array([[float(cell) for cell in line] for line in lines])
    assert values[:, 0].tolist() == list(range(len(rows)))
    assert values[:, 4].tolist() == rows.isnan().sum(1).tolist()
    assert math.isclose(values[:, 1].mean(), whole.mean, abs_tol=1e-5)
    assert math.isclose(values[:, 2].mean(), whole.mean + whole.log_determinant, abs_tol=1e-5)
    assert (values[:, 3] == 0).all()
    full = ~rows.isnan().any(1)
    energies = model.double().free_energy(rows[full].double()).detach().numpy()
    model.float()
    assert np.allclose(values[full.numpy(), 1], -energies - whole.log_partition.value, atol=2e-6)
    assert told == json.loads((tmp_path / "scores.csv.json").read_text())
    assert told["log_partition"]["lower"] <= told["log_partition"]["value"] <= told["log_partition"]["upper"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.csv.json"]
    hm.tables.score(model, wine, tmp_path / "free.tsv", what="free-energy")
    free = np.loadtxt(tmp_path / "free.tsv", delimiter="\t", skiprows=1)
    assert np.allclose(free[:, 1] - whole.log_partition.value, values[:, 1], atol=2e-6)


class Killed(BaseException):
    """What comes in the middle of a block's writing."""


@pytest.mark.parametrize("work", ["score", "impute"])
@pytest.mark.parametrize("blocks", [1, 3, 5])
@pytest.mark.usefixtures("short")
def test_killed_work_goes_on_to_the_same_bytes(wine, model, tmp_path, monkeypatch, work, blocks):
    function = getattr(hm.tables, work)
    more = {"score": {}, "impute": {"draws": 19, "steps": 3, "share": 0.5}}[work]

    def do(folder):
        second = {"intervals": folder / "intervals.csv"} if work == "impute" else {}
        return function(model, wine, folder / "out.csv", **more, **second)

    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    expected = do(straight)
    writes, note = [], _output.Output._note

    def kill(output):
        writes.append(output.rows)
        if len(writes) == blocks + 1:
            raise Killed
        note(output)

    monkeypatch.setattr(_output.Output, "_note", kill)
    with pytest.raises(Killed):
        do(broken)
    monkeypatch.setattr(_output.Output, "_note", note)
    assert not (broken / "out.csv").exists()
    partial = (broken / "out.csv.partial").stat().st_size
    assert do(broken) == expected
    assert partial > 0
    for path in straight.iterdir():
        assert (broken / path.name).read_bytes() == path.read_bytes()
    assert len(list(broken.iterdir())) == len(list(straight.iterdir()))


@pytest.mark.parametrize("work", ["score", "impute"])
@pytest.mark.usefixtures("short")
def test_a_row_is_mended_and_the_work_goes_on(wine, run, model, tmp_path, work):
    table, out, right = tmp_path / "t.csv", tmp_path / "out.csv", wine.read_bytes()
    row = 2 * SHORT + 3
    lines = right.splitlines(keepends=True)
    lines[row + 1] = lines[row + 1].replace(b"w", b"w,", 1)
    table.write_bytes(b"".join(lines))
    result = harmonium(work, run, table, "--out", out)
    assert result.exit_code == 1
    told = result.stderr
    assert f"line {row + 2}: got 8 cells, expected 7; {2 * SHORT} rows before it are done and kept" in told
    swapped = right.replace(b"ash,magnesium", b"magnesium,ash", 1)
    for other in (right.replace(b"class_0, red", b"class_1, red", 1), swapped):
        assert other != right
        table.write_bytes(other)
        assert "was begun with another table than now" in refuse(1, work, run, table, "--out", out)
    table.write_bytes(right)
    succeed(work, run, table, "--out", out)
    succeed(work, run, table, "--out", tmp_path / "straight.csv")
    assert out.read_bytes() == (tmp_path / "straight.csv").read_bytes()


@pytest.mark.usefixtures("short")
def test_a_table_that_was_done_and_grows_is_begun_anew(wine, model, tmp_path):
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"

    def stop(rows, share):
        if rows > SHORT:
            raise KeyboardInterrupt

    lines = wine.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join(lines[: 1 + SHORT + 5]))
    with pytest.raises(KeyboardInterrupt):
        hm.tables.impute(model, table, out, draws=3, steps=2, progress=stop)
    table.write_bytes(b"".join(lines))
    with pytest.raises(FileError, match="was begun with another table than now"):
        hm.tables.impute(model, table, out, draws=3, steps=2)


@pytest.mark.usefixtures("short")
def test_a_file_that_cannot_be_read_on_tells_its_line_and_what_is_kept(wine, run, tmp_path):
    lines = wine.read_bytes().splitlines(keepends=True)
    lines[SHORT + 3] = b'"w"w,13,2,2,99,,no\r\n'
    (tmp_path / "t.csv").write_bytes(b"".join(lines))
    result = harmonium("score", run, tmp_path / "t.csv", "--out", tmp_path / "out.csv")
    assert result.exit_code == 1
    assert re.search(rf"line \d+: not a table in UTF-8.*; {SHORT} rows before it are done", result.stderr)


def test_only_the_same_work_goes_on(wine, model, tmp_path, short, monkeypatch):
    out, table = tmp_path / "out.csv", tmp_path / "wine.csv"
    table.write_bytes(wine.read_bytes())

    def stop(rows, share):
        if rows >= 2 * SHORT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hm.tables.score(model, table, out, progress=stop)
    note = json.loads((tmp_path / "out.csv.partial.json").read_text())
    assert note["rows"] == 2 * SHORT
    with pytest.raises(FileError, match="was begun with another settings than now"):
        hm.tables.score(model, table, out, what="free-energy")
    other = hm.RBM(model.visible, 6)
    other.schema = model.schema
    with pytest.raises(FileError, match="was begun with another model than now"):
        hm.tables.score(other, table, out)
    with pytest.raises(FileError, match="was begun with another work"):
        hm.tables.impute(model, table, out)
    head, rest = wine.read_bytes().split(b"\r\n", 1)
    more = b"w,13,2,2,99,,no\r\n"
    table.write_bytes(head + b"\r\n" + more + rest)
    with pytest.raises(FileError, match="was begun with another table than now"):
        hm.tables.score(model, table, out)
    table.write_bytes(wine.read_bytes() + more)
    hm.tables.score(model, table, out)
    assert len(read(out)) == 1 + 178 + 1
    kept = out.read_bytes()
    hm.tables.score(model, table, out, force=True)
    assert out.read_bytes() == kept
    with pytest.raises(FileError, match=r"out\.csv is there already"):
        hm.tables.score(model, table, out)


def test_memory_does_not_grow_with_the_table(model, tmp_path, monkeypatch):
    monkeypatch.setattr("harmonium.datasets._tables.BLOCK", 500)
    line = "w,13.2,1.78,2.14,100,class_0,yes\n".replace("class_0", '"class_0, red"')
    estimate = hm.log_partition(model)
    peaks = []
    for rows in (1000, 8000):
        path = write(tmp_path / f"{rows}.csv", "id," + ",".join(NAMES) + ",cultivar,rich\n" + line * rows)
        tracemalloc.start()
        hm.tables.score(model, path, tmp_path / f"scores-{rows}.csv", estimate=estimate)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 100_000


# --- gaps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["mean", "mode", "draw"])
def test_only_gaps_are_filled(wine, model, tmp_path, short, how):
    out, intervals = tmp_path / "filled.csv", tmp_path / "intervals.csv"
    told = hm.tables.impute(model, wine, out, how=how, draws=19, steps=5, intervals=intervals)
    before, after = wine.read_bytes().decode(), out.read_bytes().decode()
    assert after.count("\r\n") == before.count("\r\n") == 179
    pattern = re.compile(r'("[^"]*"|[^,]*)(?:,|$)')
    gaps = []
    lines = zip(before.split("\r\n")[1:-1], after.split("\r\n")[1:-1], strict=True)
    for number, (old, new) in enumerate(lines):
        pairs = zip(pattern.findall(old)[:7], pattern.findall(new)[:7], strict=True)
        for place, (a, b) in enumerate(pairs):
            if place and a in ("", "?", "NA"):
                gaps.append((number, place, b.strip('"')))
            else:
                assert a == b
    assert told == {"rows": 178, "rows_with_gaps": len({g[0] for g in gaps}), "filled": len(gaps)}
    names = before.split("\r\n")[0].split(",")
    lines = read(intervals)[1:]
    assert [(int(line[0]), names.index(line[1]), line[2]) for line in lines] == gaps
    for _, name, value, low, high, share in lines:
        if name in NAMES:
            assert float(low) < float(high)
            assert share == ""
            assert name != "magnesium" or float(value).is_integer()
        else:
            assert (low, high) == ("", "")
            assert 0 <= float(share) <= 1
    model.schema.encode(read_table(out))


def test_means_are_those_of_the_table_and_draws_have_its_spread(tmp_path):
    x = np.exp(np.random.default_rng(1).normal(0, 0.7, 4000))
    table = {"x": x.tolist(), "b": ["no", "yes"] * 2000}
    data = from_table(table, columns={"x": "log-standardise"})
    model = hm.RBM(data.schema.layer, 2)
    model.weight.data.zero_()
    model.schema = data.schema
    path = write(tmp_path / "t.csv", "x,b\n" + ",no\n" * 400)
    (column,) = data.schema.columns[:1]
    draws = column.backward(np.random.default_rng(3).normal(size=200_000))
    found = {}
    for how in ("mean", "mode", "draw"):
        draws_of = {"draw": 1}.get(how, 50)
        hm.tables.impute(model, path, tmp_path / f"{how}.csv", how=how, draws=draws_of, steps=2)
        found[how] = np.array([float(line[0]) for line in read(tmp_path / f"{how}.csv")[1:]])
    error = draws.std() / math.sqrt(400 * 50)
    assert abs(found["mean"].mean() - draws.mean()) < 5 * error
    assert abs(found["mode"].mean() - column.backward(np.zeros(1))[0]) < 0.1
    assert abs(found["draw"].mean() - draws.mean()) < 5 * draws.std() / 20
    assert abs(found["draw"].std() / draws.std() - 1) < 0.4


# --- Parquet ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parquet(wine, tmp_path_factory):
    """Return the path of the same table as a Parquet file, of typed columns and groups of 50 rows."""
    pyarrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = {name: [None if x in ("", "?", "NA") else x for x in xs] for name, xs in read_table(wine).items()}
    table |= {name: [None if x is None else float(x) for x in table[name]] for name in NAMES}
    path = tmp_path_factory.mktemp("parquet") / "wine.parquet"
    files.write_table(pyarrow.table(table), path, row_group_size=50)
    return path


def test_parquet_is_scored_and_filled_as_text_is(wine, parquet, model, tmp_path, short):
    for path in (wine, parquet):
        out = tmp_path / f"{path.suffix[1:]}.csv"
        hm.tables.score(model, path, out)
        hm.tables.impute(model, path, tmp_path / f"filled.{out.name}", draws=3, steps=2)
    assert (tmp_path / "csv.csv").read_bytes() == (tmp_path / "parquet.csv").read_bytes()
    text, typed = (read_table(tmp_path / f"filled.{name}.csv") for name in ("csv", "parquet"))
    assert [*text] == [*typed]
    for name, cells in text.items():
        numbers = name in NAMES
        assert [float(x) if numbers else x for x in cells] == [
            float(x) if numbers else x for x in typed[name]
        ], name


@pytest.mark.parametrize("first", [0, 40, 80, 120, 177])
def test_blocks_of_parquet_begin_where_they_are_asked_to(parquet, first):
    cells = read_table(parquet)["id"]
    blocks = [*read_blocks(parquet, rows=SHORT, first=first)]
    assert [x for block in blocks for x in block.table["id"]] == cells[first:]
    assert blocks[0].first == first
    assert blocks[-1].share == 1


def test_samples_of_a_table_are_written_as_parquet(run, parquet, tmp_path):
    out = tmp_path / "made.parquet"
    succeed("sample", run, "--rows", 30, "--steps", 5, "--out", out)
    succeed("sample", run, "--rows", 30, "--steps", 5, "--out", tmp_path / "made.csv")
    typed, text = read_table(out), read_table(tmp_path / "made.csv")
    assert {*map(type, typed["magnesium"])} == {int}
    np.testing.assert_allclose(typed["alcohol"], [float(x) for x in text["alcohol"]], rtol=1e-6)
    assert typed["cultivar"] == text["cultivar"]


def test_booleans_are_booleans_in_every_block_of_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    blocks = [{"a": ["true", "false"], "b": ["true", "false"]}, {"a": ["true"], "b": ["(unseen)"]}]
    path = tmp_path / "t.parquet"
    with path.open("wb") as file:
        write_table(path, file, blocks, ["a"])
    assert read_table(path) == {"a": [True, False, True], "b": ["true", "false", "(unseen)"]}


def test_a_columns_name_may_have_an_equals_sign(tmp_path):
    path = write(tmp_path / "t.csv", "a=b,c\n" + "x,1\ny,2\nz,4\n" * 4)
    told = succeed("describe", path, "--column", "a=b=levels:x|y|z=1+unseen", "--column", "c=drop")
    assert told["columns"][0]["levels"] == ["x", "y", "z=1"]


def test_rows_in_parts_are_those_drawn_at_once(run, model, tmp_path, monkeypatch):
    def parts(draw):
        return torch.cat([draw(n=7), draw(n=5, row=7), draw(n=8, row=12)])

    whole = hm.sample(model, 20, steps=10, seed=3)
    torch.testing.assert_close(parts(partial(hm.sample, model, steps=10, seed=3)), whole)
    assert not torch.equal(hm.sample(model, 7, steps=10, seed=3, row=7), whole[:7])
    with pytest.raises(ArgumentError, match="row: got -1"):
        hm.sample(model, row=-1)
    out = tmp_path / "none.csv"
    assert "n: got 0, expected at least 1" in refuse(2, "sample", run, "--rows", 0, "--out", out)
    assert not out.exists()
    for start in ("noise", "chains", "data"):
        made = {}
        for size in (30, 8):
            monkeypatch.setattr("harmonium.datasets._tables.BLOCK", size)
            out = tmp_path / f"{start}{size}.csv"
            told = succeed("sample", run, "--rows", 30, "--steps", 5, "--from", start, "--out", out)
            assert (told["rows"], told["columns"]) == (30, 6)
            made[size] = read_table(out)
        assert made[30]["cultivar"] == made[8]["cultivar"]
        whole, again = ([float(cell) for cell in made[size]["alcohol"]] for size in (30, 8))
        np.testing.assert_allclose(whole, again, rtol=1e-5)


# --- what does not match --------------------------------------------------------------------------


@pytest.mark.parametrize("work", ["score", "impute"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("alcohol", "alkohol"), "no column 'alcohol' and unknown columns 'alkohol'"),
        (("class_0, red", "class_7"), r"column 'cultivar': row \d+ .from 0.: got 'class_7', expected one of"),
        (("w1,13.2,", "w1,inf,"), r"column 'alcohol': row 1 .from 0.: got 'inf'"),
        (("w170,", "w170,x"), r"column 'alcohol': row 170 .from 0.: got"),
        (("w5,14.2,1.76,2.45,112,", "w5,14.2,1.76,"), "line 7: got 5 cells, expected 7"),
        (("\r\nw9,", "\r\n,,,,,,\r\nw9,"), "no value in 1 rows, the first is row 9"),
        (("\r\n", ",1\r\n"), "unknown columns '1'"),
    ],
)
def test_a_table_that_does_not_match_is_refused(wine, run, tmp_path, short, work, change, words):
    text = wine.read_bytes().decode()
    assert change[0] in text
    path = tmp_path / "t.csv"
    path.write_bytes(text.replace(*change).encode())
    result = harmonium(work, run, path, "--out", tmp_path / "out.csv")
    assert result.exit_code == 1
    assert re.search(words, result.stderr)
    assert not (tmp_path / "out.csv").exists()
    if work == "score":
        with pytest.raises((DataError, FileError), match=words):
            load(path, schema=hm.load(run / "model.safetensors").schema)


@pytest.mark.parametrize("work", ["score", "impute"])
def test_no_rows_are_refused_and_the_table_is_not_overwritten(run, wine, tmp_path, work):
    table = tmp_path / "t.csv"
    table.write_bytes(wine.read_bytes().split(b"\r\n")[0] + b"\r\n")
    assert "got 0 rows" in refuse(1, work, run, table, "--out", tmp_path / "out.csv")
    table.write_bytes(wine.read_bytes())
    words = "expected another file than the table"
    assert words in refuse(2, work, run, table, "--out", table, "--force")
    assert words in refuse(2, work, run, table, "--out", tmp_path / "." / "t.csv")
    assert table.read_bytes() == wine.read_bytes()


# --- the command line -----------------------------------------------------------------------------


def test_a_table_from_training_to_samples_by_command(run, wine, tmp_path, monkeypatch):
    config = json.loads((run / "config.json").read_text())
    assert config["schema"] == hm.load(run / "model.safetensors").schema.config()
    assert config["data"]["arguments"] == {"columns": {"id": "drop", "malic": "log-standardise"}}
    told = succeed("evaluate", run, "--no-report")
    data = load(wine, schema=hm.load(run / "model.safetensors").schema)
    found = hm.log_likelihood(hm.load(run / "model.safetensors"), data)
    assert told["units"] == "table"
    assert math.isclose(told["mean"], found.mean, abs_tol=1e-4)
    assert math.isclose(told["log_determinant"], float(data.schema.log_jacobian(data.test).mean()))
    assert "in the table's units" in harmonium("evaluate", run).stdout
    made = tmp_path / "made.csv"
    succeed("sample", run, "--rows", 30, "--steps", 5, "--out", made)
    table = read_table(made)
    assert list(table) == [*NAMES, "cultivar", "rich"]
    assert {*table["rich"]} <= {"no", "yes"}
    assert {*table["cultivar"]} <= {f"class_{i}, red" for i in range(3)}
    assert all(float(cell).is_integer() for cell in table["magnesium"])
    data.schema.encode(table)
    assert "expected draws" in refuse(2, "sample", run, "--means", "--out", tmp_path / "means.csv")
    scores = succeed("score", run, wine, "--out", tmp_path / "scores.csv")
    again = json.loads((tmp_path / "scores.csv.json").read_text())
    assert scores == {"out": str(tmp_path / "scores.csv"), **again}
    monkeypatch.chdir(tmp_path)
    assert succeed("score", run, wine)["out"] == "wine.scores.csv"
    assert (tmp_path / "wine.scores.csv").read_bytes() == (tmp_path / "scores.csv").read_bytes()
    filled = succeed("impute", run, wine, "--out", tmp_path / "filled.csv", "--draws", 5, "--steps", 2)
    assert filled["rows"] == 178
    assert "--force" in refuse(1, "impute", run, wine, "--out", tmp_path / "filled.csv")
    assert (
        harmonium("impute", run, wine, "--out", tmp_path / "filled.csv", "--draws", 5, "--force").exit_code
        == 0
    )
    assert "ends in .csv or .tsv" in refuse(2, "score", run, wine, "--out", tmp_path / "scores.txt")
    assert "',' is between cells" in refuse(2, "impute", run, wine, "--out", tmp_path / "f.tsv")
    assert "how: unknown 'median'" in refuse(
        2, "impute", run, wine, "--out", tmp_path / "f.csv", "--how", "median"
    )
    resumed = succeed("resume", run, *sets(["epochs=4"]))
    assert resumed["epochs"] == 4


def test_gaps_that_a_command_does_not_take_are_told_of_with_what_fills_them(run, wine, tmp_path):
    columns = ["--column", "id=drop", "--column", "cultivar=drop", "--column", "rich=drop"]
    pairs = sets(["hidden=[3,2]", "epochs=1"])
    told = refuse(2, "train", "dbn", "--data", wine, "--out", tmp_path / "deep", *pairs, *columns)
    assert re.search(r"missing values .row \d+ has none in column '\w+'.*harmonium impute", told)
    assert not (tmp_path / "deep").exists()
    told = refuse(1, "measure", run, "--steps", 1)
    assert re.search(r"got missing values in the train rows of wine\.csv; .*harmonium impute", told)


def test_quantiles_have_no_nats_in_the_tables_units(tmp_path):
    cancer = load_breast_cancer()
    size = np.where(cancer.data[:, 2] > 90, "large", "small")
    lines = [
        f"{x[0]:g},{x[1]:g},{s},{int(y)}" for x, s, y in zip(cancer.data, size, cancer.target, strict=True)
    ]
    path = write(
        tmp_path / "cancer.tsv", "\n".join(["radius,texture,size,benign", *lines]).replace(",", "\t")
    )
    out = tmp_path / "run"
    pairs = sets(["hidden=4", "epochs=1", "rule.chains=20", "visible.learn_precision=true"])
    succeed("train", "rbm", "--data", path, "--out", out, *pairs, "--column", "texture=quantile")
    assert hm.load(out / "model.safetensors").visible.parts[-1].learn_precision
    told = succeed("evaluate", out, "--no-report")
    assert told["log_determinant"] is None
    assert told["units"] == "transformed columns"
    assert "texture" in told["note"]
    succeed("score", out, path, "--out", tmp_path / "scores.tsv")
    assert (tmp_path / "scores.tsv").read_text().split("\n")[0] == "row\tlog_likelihood\tstandard_error\tgaps"


def test_a_run_refuses_other_tables(run, wine, tmp_path):
    text = wine.read_text()
    renamed = write(tmp_path / "renamed.csv", text.replace("alcohol", "alkohol", 1))
    line = refuse(1, "evaluate", run, "--data", renamed)
    assert "no column 'alcohol' and unknown columns 'alkohol'" in line
    model = hm.load(run / "model.safetensors")
    with pytest.raises(DataError, match="treated in another way than those of the model: alcohol, malic"):
        hm.log_likelihood(model, load(wine, columns={"id": "drop", "alcohol": "quantile"}))
    with pytest.raises(DataError, match="expected those of a table by the model's schema"):
        hm.log_likelihood(model, hm.datasets.from_array(torch.randn(9, 6)))
    model.schema = None
    with pytest.raises(ArgumentError, match="without a schema"):
        hm.tables.score(model, wine, tmp_path / "scores.csv")
    hm.save(model, tmp_path / "model.safetensors")
    assert hm.load(tmp_path / "model.safetensors").schema is None
