"""The report: one file that needs nothing else, and says what the run's own numbers say."""

import json
import re
import shutil
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import harmonium as hm
from harmonium.cli._evaluate import evaluate_run
from harmonium.cli._train import start, understand
from harmonium.errors import DataError, FileError
from harmonium.report import environment, open_run, write_report

FAST = {"samples": 9, "steps": 5}
ESTIMATE = {"method": "bridge", "runs": 20, "betas": 50, "equilibrate": 20}
VOID = {"meta", "img", "br"}
DIGITS = ["hidden=8", "epochs=2", "rule.chains=20", "likelihood_every=1", "likelihood.betas=50"]


class Page(HTMLParser):
    """Reads a page: its words, its pictures, and whether its elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.pictures, self.links = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[name] for name in ("src", "href") if name in values]
        if tag == "img":
            assert values["alt"]
            self.pictures.append(values["src"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(path):
    """Return a report as a page."""
    return Page(Path(path).read_text("utf-8"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a small run on digits that has been evaluated."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    start(understand("rbm", "digits", DIGITS), path)
    evaluate_run(open_run(path), "test", ESTIMATE)
    return path


@pytest.fixture(scope="module")
def report(trained):
    """Return the path of the small run's report."""
    return write_report(trained, **FAST)


@pytest.fixture
def make(tmp_path):
    """Return a function that trains a small model on rows in a file, and returns the run's folder."""

    def train(rows, *pairs, name="rows.npy"):
        np.save(tmp_path / name, rows)
        wish = understand("rbm", str(tmp_path / name), ["hidden=3", "epochs=1", *pairs])
        start(wish, tmp_path / "run")
        return tmp_path / "run"

    return train


def draw(kind, *shape):
    """Return random rows of a kind."""
    generator = np.random.default_rng(0)
    return {
        "bits": generator.integers(0, 2, shape),
        "spins": generator.choice([-1, 1], shape),
        "codes": generator.integers(0, 3, shape),
        "reals": generator.normal(2, 3, shape),
        "means": generator.uniform(size=shape),
    }[kind]


def test_the_page_needs_nothing_else(trained, report):
    assert report == trained / "report.html"
    page = read(report)
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    text = report.read_text("utf-8")
    assert "<script" not in text
    assert "url(" not in text
    assert "@import" not in text
    for picture in page.pictures:
        image = Image.open(BytesIO(b64decode(picture.partition(",")[2])))
        image.load()
        assert len(np.unique(np.asarray(image))) > 1


def test_the_page_says_what_was_measured(trained, report):
    found = json.loads((trained / "evaluation.json").read_text())["test"]
    page = read(report)
    for name in ("mean", "lower", "upper", "baseline_log_likelihood"):
        assert f"{found[name]:.3f}".replace("-", "−") in page.text
    assert f"{found['log_partition']['value']:.3f}" in page.text
    assert f"R-hat of the chains {found['log_partition']['diagnostics']['rhat']:.3f}" in page.text
    heads = ("Log-likelihood", "Pseudo-likelihood", "Free-energy gap", "Data", "Draws", "Means")
    for title in (*heads, "Inpainting", "Filters", "Numbers", "Diagnostics"):
        assert title in page.words
    assert len(page.pictures) == len(heads) + 2
    assert "64 Bernoulli units as its visible layer and 8 Bernoulli units" in page.text
    assert "on 1,297 rows of digits" in page.text


def test_the_page_says_how_to_repeat_the_run(report):
    page = read(report)
    repeat = next(words for words in page.words if words.startswith("harmonium train"))
    train, evaluate = repeat.splitlines()
    assert train.startswith("harmonium train rbm --data digits --out digits-again --set hidden=8")
    assert evaluate.startswith("harmonium evaluate digits-again --split test --method bridge --set runs=20")
    for name, value in environment().items():
        assert f"{name} {value}" in page.text


def test_the_verdict_is_that_of_the_numbers(make):
    run = make(draw("bits", 60, 5))
    evaluate_run(open_run(run), "test", ESTIMATE)
    assert "can be trusted" in read(write_report(run)).text
    found = json.loads((run / "evaluation.json").read_text())
    found["test"] |= {"trusted": False, "reason": "the ends cross by 3.00 nats"}
    (run / "evaluation.json").write_text(json.dumps(found))
    page = read(write_report(run))
    assert "Do not trust the likelihood: the ends cross by 3.00 nats" in page.text
    assert "can be trusted" not in page.text
    (run / "evaluation.json").unlink()
    page = read(write_report(run))
    assert "Not evaluated yet" in page.text
    assert "harmonium evaluate" in page.text


def test_the_same_run_gives_the_same_page(make):
    run = make(draw("bits", 60, 4, 5))
    first = write_report(run, **FAST).read_bytes()
    assert write_report(run, **FAST).read_bytes() == first
    assert write_report(run, **FAST, seed=1).read_bytes() != first


@pytest.mark.parametrize(
    ("kind", "pairs"), [("reals", []), ("codes", ["data.test=0"]), ("bits", ["rule=cd", "rule.steps=2"])]
)
def test_rows_that_are_no_images_have_curves_only(make, kind, pairs):
    page = read(write_report(make(draw(kind, 60, 5), *pairs), **FAST))
    assert "Learning" in page.words
    assert not {"Samples", "Filters", "Inpainting"} & {*page.words}


@pytest.mark.parametrize(
    ("kind", "pairs", "titles"),
    [
        ("bits", [], {"Draws", "Means", "Inpainting", "Filters"}),
        ("bits", ["rule=cd"], {"Draws", "Means", "Inpainting", "Filters"}),
        ("spins", [], {"Draws", "Means", "Inpainting", "Filters"}),
        ("reals", ["data.test=0"], {"Draws", "Means", "Inpainting", "Filters"}),
        ("codes", ["data.test=0", "data.validation=0"], {"Draws", "Inpainting"}),
        ("means", ["data.binarisation=none"], {"Draws", "Means", "Filters"}),
    ],
)
def test_images_of_all_units_are_drawn(make, kind, pairs, titles):
    page = read(write_report(make(draw(kind, 60, 4, 5), *pairs), **FAST))
    assert {"Draws", "Means", "Inpainting", "Filters"} & {*page.words} == titles


def test_an_exact_likelihood_has_nothing_to_bracket(make):
    path = make(draw("bits", 60, 5))
    evaluate_run(open_run(path), "test", {"method": "exact"})
    page = read(write_report(path))
    assert "enumerated" in page.text
    assert "reverse estimate" not in page.text


def test_means_are_no_data(make):
    path = make(draw("means", 60, 5), "data.binarisation=none")
    found = evaluate_run(open_run(path), "test", {"method": "exact"})
    assert found["baseline_log_likelihood"] is None
    assert "no log-likelihood of data" in read(write_report(path)).text


def test_names_are_no_markup(make):
    path = make(draw("bits", 60, 5), name="<b>&.npy")
    assert "RBM 5–3 on <b>&.npy" in read(write_report(path)).words


def test_a_run_from_python_is_given_its_data(tmp_path):
    data = hm.datasets.from_array(draw("bits", 60, 5), test=10)
    hm.fit(hm.RBM(5, 2), data, out=tmp_path / "run", epochs=1)
    with pytest.raises(FileError, match="made from Python"):
        write_report(tmp_path / "run")
    page = read(write_report(tmp_path / "run", data))
    assert "on array" in page.text
    assert "harmonium train" not in page.text


def test_a_split_without_rows_cannot_be_evaluated(make):
    run = open_run(make(draw("bits", 60, 5), "data.test=0"))
    with pytest.raises(DataError, match=r"the test set of rows\.npy has no rows"):
        evaluate_run(run, "test", {})


def test_an_open_run_has_all_that_made_it(trained, tmp_path):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    found = open_run(run)
    assert (len(found.records), found.image_shape, found.limits) == (2, (8, 8), (0.0, 1.0))
    assert found.chains.shape == (20, 64)
    assert torch.equal(found.model.weight, hm.load(run / "model.safetensors").weight)
    assert found.evaluations()["test"]["split"] == "test"
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo\n')
    with pytest.raises(FileError, match=re.escape("metrics.jsonl: damaged")):
        open_run(run)
