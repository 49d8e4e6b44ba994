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
from harmonium.cli._finetune import understand_tuning
from harmonium.cli._train import start, understand
from harmonium.errors import ArgumentError, DataError, FileError
from harmonium.report import cut, draw, environment, open_run, write_report
from harmonium.report._facts import settings
from harmonium.training import RunFolder

FAST = {"samples": 9, "steps": 5}
ESTIMATE = {"method": "bridge", "runs": 20, "betas": 50, "equilibrate": 20}
DEEP = ["hidden=[10,6]", "epochs=[2,1]", "batch_size=200", "rule.chains=20", "likelihood_every=[0,1]"]
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

    def train(rows, *pairs, name="rows.npy", kind="rbm"):
        np.save(tmp_path / name, rows)
        wish = understand(kind, str(tmp_path / name), ["hidden=3", "epochs=1", *pairs])
        start(wish, tmp_path / "run")
        return tmp_path / "run"

    return train


def draw_rows(kind, *shape):
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
    run = make(draw_rows("bits", 60, 5))
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
    run = make(draw_rows("bits", 60, 4, 5))
    first = write_report(run, **FAST).read_bytes()
    assert write_report(run, **FAST).read_bytes() == first
    assert write_report(run, **FAST, seed=1).read_bytes() != first


@pytest.mark.parametrize(
    ("kind", "pairs"), [("reals", []), ("codes", ["data.test=0"]), ("bits", ["rule=cd", "rule.steps=2"])]
)
def test_rows_that_are_no_images_have_curves_only(make, kind, pairs):
    page = read(write_report(make(draw_rows(kind, 60, 5), *pairs), **FAST))
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
    page = read(write_report(make(draw_rows(kind, 60, 4, 5), *pairs), **FAST))
    assert {"Draws", "Means", "Inpainting", "Filters"} & {*page.words} == titles


def test_an_exact_likelihood_has_nothing_to_bracket(make):
    path = make(draw_rows("bits", 60, 5))
    evaluate_run(open_run(path), "test", {"method": "exact"})
    page = read(write_report(path))
    assert "enumerated" in page.text
    assert "reverse estimate" not in page.text


def test_means_are_no_data(make):
    path = make(draw_rows("means", 60, 5), "data.binarisation=none")
    found = evaluate_run(open_run(path), "test", {"method": "exact"})
    assert found["baseline_log_likelihood"] is None
    assert "no log-likelihood of data" in read(write_report(path)).text


def test_names_are_no_markup(make):
    path = make(draw_rows("bits", 60, 5), name="<b>&.npy")
    assert "RBM 5–3 on <b>&.npy" in read(write_report(path)).words


def test_a_run_from_python_is_given_its_data(tmp_path):
    data = hm.datasets.from_array(draw_rows("bits", 60, 5), test=10)
    hm.fit(hm.RBM(5, 2), data, out=tmp_path / "run", epochs=1)
    with pytest.raises(FileError, match="made from Python"):
        write_report(tmp_path / "run")
    page = read(write_report(tmp_path / "run", data))
    assert "on array" in page.text
    assert "harmonium train" not in page.text


def test_a_split_without_rows_cannot_be_evaluated(make):
    run = open_run(make(draw_rows("bits", 60, 5), "data.test=0"))
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


# --- networks of layers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Return a small deep belief network of digits that has been evaluated."""
    path = tmp_path_factory.mktemp("runs") / "deep"
    start(understand("dbn", "digits", DEEP), path)
    evaluate_run(open_run(path), "test", {"samples": 5}, growth=True)
    return path


def test_an_open_network_has_the_records_of_all_layers_and_the_chains_of_the_top(deep):
    run = open_run(deep)
    assert [(record["layer"], record["epoch"]) for record in run.records] == [(1, 1), (1, 2), (2, 1)]
    assert run.chains.shape == (20, 10)
    assert run.weights == "averaged"
    kept = RunFolder(deep / "layer-2").load()[0]["state:chain.visible"]
    assert torch.equal(run.chains.float(), kept)
    assert run.chains_of(1, run.model.rbms[0]).shape == (20, 64)


def test_draws_go_down_from_the_chains_that_training_left(deep):
    """With no step taken each pixel's mean is that given the chain's own state."""
    run = open_run(deep)
    means = draw(run, 30, steps=0, from_chains=True, means=True)
    chains = run.chains[torch.arange(30) % 20].float()
    rbm = run.model.rbms[0]
    assert torch.allclose(means, rbm.visible.mean(run.model.generate(0, chains)))
    rows = draw(run, 2000, steps=0, from_chains=True)
    expected = rbm.visible.mean(run.model.generate(0, run.chains.float())).mean(0)
    error = (expected * (1 - expected) / 2000).sqrt()
    assert ((rows.float().mean(0) - expected).abs() < 4.5 * error + 1e-6).all()


def test_a_network_is_cut_to_its_first_layers(deep):
    model = open_run(deep).model
    part = cut(model, 1)
    rows = hm.datasets.load("digits").test[:20]
    assert torch.allclose(part.rbms[0].free_energy(rows.float()), model.rbms[0].free_energy(rows.float()))
    assert (part.depth, cut(model, 2)) == (1, model)
    with torch.no_grad():
        part.rbms[0].weight.zero_()
    assert model.rbms[0].weight.any()


def test_the_page_of_a_network_says_what_was_measured(deep):
    found = json.loads((deep / "evaluation.json").read_text())["test"]
    page = read(write_report(deep, **FAST))
    assert "DBN 64–10–6 on digits" in page.words
    assert (
        "64 Bernoulli units as its visible layer and hidden layers of 10 and 6 Bernoulli units" in page.text
    )
    assert "trained layer by layer for 2 and 1 epochs on 1,297 rows" in page.text
    assert "persistent contrastive divergence (chains 20, steps 1)" in page.text
    for value in (found["bound"], found["mean"], *(own["bound"] for own in found["growth"])):
        assert f"{value:.3f}".replace("-", "−") in page.text
    assert f"the bound went from {found['growth'][0]['bound']:.2f}".replace("-", "−") in page.text
    titles = {"Layer 1: pseudo-likelihood", "Layer 2: log-likelihood", "Draws", "Means", "Filters"}
    titles.add("Filters of hidden layer 2")
    assert titles <= {*page.words}
    assert "Inpainting" not in page.words
    repeat = next(words for words in page.words if words.startswith("harmonium train"))
    assert repeat.splitlines()[1].endswith("--method auto --set samples=5 --growth")


def test_settings_of_layers_stand_in_one_row(deep):
    rows = {row[:2]: row[2] for row in settings(open_run(deep)).rows}
    assert rows["fit", "layers.epochs"] == "[2, 1]"
    assert rows["fit", "layers.batch_size"] == "200"
    assert rows["rule", "layers.name"] == "pcd"
    assert rows["rule", "layers.chains"] == "20"
    assert rows["model", "config.layers.size"] == "[64, 10, 6]"
    assert rows["made with", "seed"] == "0"


def test_a_network_that_was_not_evaluated_says_so(make):
    path = make(draw_rows("bits", 60, 5), kind="dbn")
    page = read(write_report(path, **FAST))
    assert "Not evaluated yet" in page.text
    assert "Growth" not in page.text


def test_a_network_with_a_label_shows_the_pixels(tmp_path):
    start(understand("dbn", "digits", [*DEEP, "data.with_labels=true"]), tmp_path / "run")
    found = evaluate_run(open_run(tmp_path / "run"), "test", {})
    page = read(write_report(tmp_path / "run", **FAST))
    assert "a label of 10 classes beside the last but one" in page.text
    assert f"It takes a wrong label for the most probable one of {found['error']:.2%}" in page.text
    assert {"Draws", "Means", "Filters", "Filters of hidden layer 2"} <= {*page.words}
    run = open_run(tmp_path / "run")
    assert (draw(run, 5, steps=1, label=4, from_chains=True)[:, -1] == 4).all()


def test_the_page_of_a_masked_network_says_what_the_masks_leave(tmp_path):
    start(understand("dbn", "digits", [*DEEP, 'masks=["random:9",null]']), tmp_path / "run")
    text = "Masks leave 150 of the 700 couplings of neighbouring layers; they are held dense all the same"
    assert text in read(write_report(tmp_path / "run", **FAST)).text
    start(understand_tuning(tmp_path / "run", ["epochs=1"]), tmp_path / "mlp")
    assert text in read(write_report(tmp_path / "mlp")).text


def test_the_page_of_a_classifier_says_how_often_it_is_wrong(deep, tmp_path):
    wish = understand_tuning(deep, ["epochs=3", "batch_size=100"])
    start(wish, tmp_path / "mlp")
    found = evaluate_run(open_run(tmp_path / "mlp"), "test", {})
    page = read(write_report(tmp_path / "mlp"))
    assert "MLP 64–10–6–10 on digits" in page.words
    assert f"Wrong on {found['error']:.2%} (± {found['standard_error']:.2%}) of 250 test rows" in page.text
    assert {"Wrong labels", "Cross-entropy", "Filters"} <= {*page.words}
    assert not {"Draws", "Samples", "Inpainting"} & {*page.words}
    assert f"It began with the weights of the run {deep}" in page.text
    assert f"It has the weights of epoch {open_run(tmp_path / 'mlp').chosen}" in page.text
    assert any(words.startswith(f"harmonium finetune {deep} --out mlp-again") for words in page.words)
    with pytest.raises(ArgumentError, match="a model that can be sampled"):
        draw(open_run(tmp_path / "mlp"), 3)


def test_the_page_of_an_autoencoder_shows_what_comes_out(deep, tmp_path):
    start(understand_tuning(deep, ["rule=reconstruction", "epochs=1"]), tmp_path / "ae")
    found = evaluate_run(open_run(tmp_path / "ae"), "test", {})
    page = read(write_report(tmp_path / "ae"))
    assert "Autoencoder 64–10–6 on digits" in page.words
    assert f"Error of {found['loss']:.3f} nats a row on 250 test rows" in page.text
    assert {"Error", "Reconstructions", "Filters"} <= {*page.words}


def test_a_network_tuned_as_a_whole_keeps_its_chains(deep, tmp_path):
    start(understand_tuning(deep, ["rule=wake-sleep", "rule.chains=15", "epochs=1"]), tmp_path / "dbn")
    run = open_run(tmp_path / "dbn")
    assert run.chains.shape == (15, 10)
    assert not run.greedy
    page = read(write_report(tmp_path / "dbn", **FAST))
    assert "was trained for 1 epoch on 1,297 rows of digits by the contrastive wake-sleep rule" in page.text
