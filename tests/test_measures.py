"""The protocol: one table for any samples, and what it says of good ones, bad ones and copies."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import harmonium as hm
from harmonium.cli import app
from harmonium.datasets import TOYS, from_array
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.features import class_names
from harmonium.measures import MEASURES, _labelled, _protocol, _references, measure_samples
from harmonium.measures._labelled import of_labels
from harmonium.measures._spaces import open_spaces
from harmonium.random import Stream

SIDE = 8


def bars(n, seed=0):
    """Return images of an upright or a level bar, in grey, as many of each, and which of both it is."""
    number = np.arange(n)
    images = np.random.default_rng(seed).integers(0, 60, (n, SIDE, SIDE)).astype(np.uint8)
    for image, mark, place in zip(images, number % 2, number // 2 % SIDE, strict=True):
        image[(slice(None), place) if mark else (place, slice(None))] = 250
    return images, number % 2


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Keep classifiers in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARMONIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def data(labelled=True, **options):
    """Return a data set of bars."""
    parts = {
        split: bars(n, seed=100 + n) for split, n in {"train": 400, "validation": 96, "test": 208}.items()
    }
    rows = {split: images for split, (images, _) in parts.items()}
    labels = {"labels": {split: marks for split, (_, marks) in parts.items()}} if labelled else {}
    return from_array(rows.pop("train"), name="bars", **rows, **labels, **options)


@pytest.fixture(scope="module")
def table():
    """Return the measures of fresh bars."""
    return measure_samples(bars(208, seed=1)[0], data(), parzen=True)


def test_fair_samples_are_at_the_floor_and_below_the_ceiling(table):
    floor, fair, ceiling = (table.rows[name] for name in ("floor", "samples", "ceiling"))
    assert table.samples is fair
    assert {*table.rows} == {"floor", "samples", "ceiling", "k-means"}
    assert max(fair["frechet"], floor["frechet"]) < 0.5 * ceiling["frechet"]
    assert max(fair["random_frechet"], floor["random_frechet"]) < ceiling["random_frechet"]
    assert min(floor["coverage"], fair["coverage"]) > ceiling["coverage"] + 0.3
    assert ceiling["classifier"] > 0.9 > 0.65 > fair["classifier"]
    assert ceiling["classifier_p"] < 1e-10
    assert abs(fair["memorised"] - 0.5) < 5 * fair["memorised_error"]
    assert "memorised" not in floor
    assert (fair["modes"], fair["class_kl"] < 0.05) == (2, True)
    assert {*fair} <= {*MEASURES}
    assert fair["parzen"] > ceiling["parzen"]
    assert {*table.rows["k-means"]} == {"parzen", "parzen_error"}


def test_a_table_tells_all_that_its_numbers_depend_on(table):
    content = json.loads(json.dumps(table.to_dict()))
    about = content["about"]
    assert (content["n"], about["data"], about["binarisation"], about["seed"]) == (208, "bars", None, 0)
    assert about["features"] == "classifier"
    assert len(about["classifier"]["sha256"]) == 16
    assert about["classifier"]["accuracy"] > 0.8
    assert about["random nets"] == [0, 1, 2, 3, 4]
    lines = str(table).splitlines()
    assert lines[0].split() == ["floor", "samples", "ceiling", "k-means"]
    assert len(lines) == 2 + len(table.samples)
    assert lines[-1] == table.note
    assert re.fullmatch(
        r"208 rows each, against as many test rows of bars; seed 0; features: classifier \w{16} of seed 0, "
        r"validation accuracy \d+\.\d\d%\.",
        table.note,
    )


def test_copies_and_lost_classes_are_found():
    set_ = data()
    copies = measure_samples(set_.train, set_)
    seen = _references.some(set_.train, 208, Stream(0).child("measures").child("seen"))
    assert copies.n == 208
    assert measure_samples(seen, set_).samples["memorised"] == 1
    upright = measure_samples(bars(400, seed=1)[0][bars(400, seed=1)[1] == 1], set_)
    assert upright.samples["class_variation"] > 0.35
    assert upright.samples["class_kl"] > 0.4 > 0.05 > upright.rows["floor"]["class_kl"]
    assert upright.samples["recall"] < upright.rows["floor"]["recall"]


def test_the_same_arguments_make_the_same_table():
    images = bars(60, seed=2)[0]
    first, again, other = (measure_samples(images, data(), n=60, seed=s) for s in (0, 0, 1))
    assert first.rows == again.rows
    assert first.rows["floor"] != other.rows["floor"]
    assert first.about["classifier"] == other.about["classifier"]
    elsewhere = measure_samples(images, data(), n=60, features_seed=1)
    assert elsewhere.about["classifier"]["sha256"] != first.about["classifier"]["sha256"]
    assert elsewhere.about["random nets"] == [1, 2, 3, 4, 5]


def test_no_floor_row_is_among_those_that_tell_copies():
    """Where there are enough of them; so that the floor's share of copies is that of rows that are none."""
    assert len(_protocol._training_rows(400, 150, Stream(0)).unique()) == 300
    assert len(_protocol._training_rows(400, 250, Stream(0))) == 500
    found = measure_samples(bars(150, seed=2)[0], data(), n=150).rows["floor"]
    assert abs(found["memorised"] - 0.5) < 5 * found["memorised_error"]


@pytest.mark.parametrize("binarisation", ["none", "sampled", None])
@pytest.mark.parametrize("labelled", [False, True], ids=["", "labelled"])
def test_only_the_rows_that_are_compared_are_made_ready(binarisation, labelled):
    set_ = data(binarisation=binarisation)
    set_ = set_.with_labels() if labelled else set_
    which = torch.tensor([5, 3, 399])
    assert torch.equal(set_.fixed("train", which), set_.fixed("train")[which])
    with pytest.raises(ArgumentError, match="rows: got 3 to 400, expected numbers of rows below 400"):
        set_.fixed("train", which + which.eq(399))
    assert torch.equal(set_.fixed("test", which[:2]), set_.test[which[:2]])
    whole = _references.independent(set_.fixed("train")[:, : set_.columns], 30, Stream(1))
    assert torch.equal(_protocol._independent(set_, 30, Stream(1)), whole)


def test_samples_that_lie_class_by_class_are_drawn_from():
    images, marks = bars(400, seed=3)
    in_order = images[np.argsort(marks, kind="stable")]
    found = measure_samples(in_order, data(), n=100)
    assert found.samples["class_kl"] < 0.1


def test_a_class_that_no_training_row_has_keeps_its_number():
    """Labels 0, 1, 2, of which only held-out rows have the 1."""
    images, marks = bars(400)
    parts = {"train": marks * 2, "test": np.ones(208, int)}
    set_ = from_array(images, test=bars(208, seed=1)[0], labels=parts)
    assert class_names(set_).tolist() == [0, 1, 2]
    found = measure_samples(bars(100, seed=2)[0], set_, n=100).samples
    assert (found["modes"], found["class_kl"] < 0.1) == (2, True)


def test_images_that_are_too_small_for_nets_are_compared_by_their_values():
    tiny = from_array(bars(300)[0][:, :5, :5], test=bars(100, seed=1)[0][:, :5, :5])
    found = measure_samples(bars(60, seed=2)[0][:, :5, :5], tiny, n=60)
    assert found.about["features"] == "values"
    with pytest.raises(ArgumentError, match=r"inception: got a network, and rows of shape \(5, 5\) in array"):
        measure_samples(bars(60)[0][:, :5, :5], tiny, n=60, inception=object())


def test_wide_integers_have_their_own_largest_value():
    wide = [bars(n, seed=n)[0].astype(np.int64) * 4 for n in (300, 100)]
    set_ = from_array(wide[0], test=wide[1])
    found = measure_samples(bars(60, seed=2)[0].astype(np.int64) * 4, set_, n=60)
    same = measure_samples(bars(60, seed=2)[0], from_array(wide[0] // 4, test=wide[1] // 4), n=60)
    assert found.samples["coverage"] == pytest.approx(same.samples["coverage"], abs=0.1)
    with pytest.raises(DataError, match=r"expected values from 0 to 1000 as in the test rows"):
        measure_samples(wide[0] * 2, set_, n=60)


def test_samples_of_few_integers_are_no_means():
    """Of spins, and bytes of a generator that makes black alone."""
    spins = [torch.from_numpy(np.where(bars(n, seed=n)[0] > 128, 1, -1)) for n in (300, 100, 60)]
    found = measure_samples(spins[2].float(), from_array(spins[0], test=spins[1]), n=60)
    assert found.samples["coverage"] > found.rows["ceiling"]["coverage"]
    black = measure_samples(torch.zeros(60, 64), data(), n=60).samples
    assert (black["recall"], black["coverage"] < 0.1) == (0, True)


def test_held_out_rows_need_no_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONIUM_CACHE", str(tmp_path))
    (images, marks), (held_out, _) = bars(400), bars(100, seed=1)
    set_ = from_array(images, labels={"train": marks}, validation=held_out, test=held_out)
    found = measure_samples(bars(60, seed=2)[0], set_, n=60)
    assert found.about["classifier"]["accuracy"] is None
    assert "validation accuracy unknown" in found.note


def test_without_labels_a_random_net_serves():
    found = measure_samples(bars(100, seed=1)[0], data(labelled=False), n=100)
    assert found.about["features"] == "random net"
    assert "class_kl" not in found.samples
    assert found.samples["frechet"] < found.rows["ceiling"]["frechet"]


def test_toys_are_compared_by_their_values():
    toy = from_array(TOYS["ring"].sample(300, Stream(0))[0], test=TOYS["ring"].sample(200, Stream(1))[0])
    fair, _ = TOYS["ring"].sample(200, Stream(2))
    found = measure_samples(fair, toy)
    assert found.about["features"] == "values"
    assert "random_frechet" not in found.samples
    assert found.samples["precision"] > 0.9 > 0.6 > found.rows["ceiling"]["precision"]


def test_a_model_is_drawn_from_and_bits_are_held_against_bits():
    bits = data(binarisation="sampled")
    rbm = hm.RBM(SIDE * SIDE, 4)
    found = measure_samples(rbm, bits, n=100, steps=2)
    rows = hm.sample(rbm, 100, steps=2, seed=0)
    assert found.rows == measure_samples(rows, bits, n=100).rows
    assert (found.about["binarisation"], found.about["sampling"]) == ("sampled", {"steps": 2})
    means = measure_samples(rbm, data(binarisation="none"), n=100, steps=2, means=True)
    assert means.about["classifier"]["sha256"] != found.about["classifier"]["sha256"]
    with pytest.raises(DataError, match=r"samples: got 0\.\d+ in row 0, column 0 .*expected values 0 or 1"):
        measure_samples(rbm, bits, n=100, steps=2, means=True)
    with pytest.raises(ArgumentError, match="steps: it is for a model to draw from"):
        measure_samples(rows, bits, steps=2)


def test_samples_that_do_not_fit_are_refused():
    set_ = data(binarisation="none")
    good = bars(50, seed=1)[0] / 255
    for samples, message in (
        (good[:, :4], r"samples: got shape \(50, 4, 8\), expected \(rows, 64\) as in bars"),
        (good[:5], "at least 20 rows"),
        (2 * good, r"samples: got .* in row 0, .*expected values from 0 to 1"),
        (np.full((50, 64), np.nan), r"samples: got nan in row 0, column 0"),
    ):
        with pytest.raises(DataError, match=message):
            measure_samples(samples, set_)
    with pytest.raises(DataError, match=r"samples: got none above 1, expected values up to 255 as in bars"):
        measure_samples(good, data())
    with pytest.raises(DataError, match="data: got 0 test rows in array"):
        measure_samples(good, from_array(good))
    with pytest.raises(ArgumentTypeError, match="data: got ndarray, expected a Dataset"):
        measure_samples(good, good)
    with pytest.raises(ArgumentTypeError, match="samples: got"):
        measure_samples("rows", set_)
    with pytest.raises(ArgumentError, match="n: got 3"):
        measure_samples(good, set_, n=3)


# --- rows that stand beside samples ---------------------------------------------------------------


def test_independent_rows_have_the_columns_and_not_the_rows():
    x = np.random.default_rng(0).integers(0, 3, 4000)
    rows = torch.from_numpy(np.stack([x, x, 2 - x], 1))
    drawn = _references.independent(rows, 3000, Stream(0)).double()
    shares = torch.stack([(drawn == value).double().mean(0) for value in range(3)])
    expected = torch.stack([(rows == value).double().mean(0) for value in range(3)])
    assert (shares - expected).abs().max() < 4 * 0.5 / 3000**0.5
    assert torch.corrcoef(drawn.T)[0, 1:].abs().max() < 4 / 3000**0.5


def test_centroids_are_the_means_of_their_rows():
    groups = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    noise = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    rows = groups.repeat(100, 1) + noise
    centres = _references.centroids(rows, 12, Stream(0))
    expected = _references.some(rows, 12, Stream(0))
    for _ in range(_references.ROUNDS):
        nearest = torch.cdist(rows, expected).argmin(1)
        expected = torch.stack([rows[nearest == k].mean(0) for k in range(12)])
    torch.testing.assert_close(centres, expected, rtol=1e-4, atol=1e-4)


# --- labels -------------------------------------------------------------------------------------


def test_labels_are_worth_what_a_classifier_makes_of_them(monkeypatch):
    """Right labels, labels of the other class, and one image of each class over and over again."""
    monkeypatch.setattr(_labelled, "SHOWN", 4000)
    whole = data().with_labels()
    judge = open_spaces(whole, 0, None, print).classes
    images, marks = bars(200, seed=7)
    codes = torch.from_numpy(marks)[:, None]
    right = torch.cat((torch.from_numpy(images).flatten(1), codes), 1)
    swapped = torch.cat((right[:, :-1], 1 - codes), 1)
    rows = {"right": right, "swapped": swapped, "alike": right[[0, 1] * 100]}
    found = {name: of_labels(whole, own, whole.test, judge, 0) for name, own in rows.items()}
    for key in ("gan_train", "gan_test"):
        share = found["right"][key]
        assert share > 0.9
        assert found["right"][f"{key}_error"] == pytest.approx((share * (1 - share) / 208) ** 0.5, rel=0.03)
        assert found["swapped"][key] < 0.1
    assert found["alike"]["gan_test"] > 0.9
    assert found["alike"]["gan_train"] < found["right"]["gan_train"] - 0.1


def test_codes_of_labels_are_checked_and_need_not_be_there(monkeypatch):
    monkeypatch.setattr(_labelled, "SHOWN", 60)
    whole = data().with_labels()
    images, marks = bars(60)
    rows, codes = torch.from_numpy(images).flatten(1), torch.from_numpy(marks)[:, None]
    assert "gan_train" not in measure_samples(rows, whole, n=60).samples
    table = measure_samples(torch.cat((rows, codes), 1), whole, n=60).rows
    assert [name for name, row in table.items() if "gan_test" in row] == ["floor", "samples"]
    assert table["floor"]["gan_test"] > 0.9
    with pytest.raises(DataError, match=r"^samples: got the code 2 in row 0 .* expected one of 0 \.\.\. 1"):
        measure_samples(torch.cat((rows, torch.full((60, 1), 2)), 1), whole, n=60)


# --- the command line -----------------------------------------------------------------------------


def command(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_command_measures_a_file_and_a_run(tmp_path):
    images, marks = bars(304)
    np.savez(tmp_path / "bars.npz", x=images, y=marks)
    np.save(tmp_path / "samples.npy", bars(40, seed=1)[0])
    settings = ["--set", "data.test=100", "--set", "data.validation=50"]
    words = [tmp_path / "samples.npy", "--data", tmp_path / "bars.npz", *settings]
    done = command("measure", *words, "--n", 40, "--out", tmp_path / "table.json")
    assert done.exit_code == 0, done.output
    assert "40 rows each, against as many test rows of bars.npz; seed 0; features:" in done.stdout
    assert "weights: given as samples." in " ".join(done.stdout.split())
    content = json.loads((tmp_path / "table.json").read_text())
    expected = measure_samples(
        bars(40, seed=1)[0], hm.datasets.load(tmp_path / "bars.npz", test=100, validation=50), n=40
    )
    assert content["rows"] == json.loads(json.dumps(expected.rows))
    run = ["train", "rbm", "--data", tmp_path / "bars.npz", "--out", tmp_path / "run", "--set", "hidden=4"]
    sampled = ["--set", "data.binarisation=sampled", "--set", "epochs=1", "--set", "rule.chains=30"]
    assert command(*run, *settings, *sampled).exit_code == 0
    done = command("measure", tmp_path / "run", "--n", 30, "--steps", 2, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["n"], found["weights"], found["about"]["binarisation"]) == (30, "averaged", "sampled")
    assert found["about"]["sampling"] == {"steps": 2, "means": False, "from_chains": True}
    kept = json.loads((tmp_path / "run" / "measures.json").read_text())
    assert kept["rows"] == found["rows"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Measures of samples" in page
    assert "30 rows each, against as many test rows of bars.npz (sampled); seed 0; features: " in page
    assert "; weights: averaged. After epoch 1. Training rows" in page
    assert f"<td>{found['rows']['samples']['frechet']:.4g}</td>" in page


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (("samples.npy",), "--data: got none", 2),
        (("none.npy", "--data", "digits"), "got no samples, expected a run folder", 1),
        (("samples.npy", "--data", "digits", "--out", "samples.npy"), "is there already", 1),
        (("samples.npy", "--data", "digits", "--inception", "samples.npy"), "sha256: got None", 2),
        (("samples.npy", "--data", "digits", "--n", "3"), "--n: got 3, expected a number of rows", 2),
        (("samples.npy", "--data", "digits", "--sha256", "a"), "--sha256: got 'a', expected none with", 2),
        (("samples.npy", "--data", "digits", "--inception", "torch-fidelity"), "or that package to be", 2),
        (("odd.npz", "--data", "digits"), "damaged, expected a plain array", 1),
    ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path, monkeypatch, words, message, code):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    np.save("samples.npy", np.zeros((30, 64)))
    np.savez("odd.npz", a=np.zeros(3), b=np.zeros(3))
    done = command("measure", *words)
    assert done.exit_code == code
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_command_packs_images(tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for number, image in enumerate(bars(12)[0]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number}.png")
    words = ("--set", "size=4", "--set", "test=2", "--out", tmp_path / "packed")
    done = command("data", tmp_path / "photos", *words)
    assert done.exit_code == 0, done.output
    assert "train: 9, validation: 1, test: 2" in done.stdout
    ours = hm.datasets.load(tmp_path / "packed")
    assert torch.equal(ours.train, hm.datasets.load(tmp_path / "photos", size=4, test=2).train)
    assert command("data", "--out", tmp_path / "other").exit_code == 2
