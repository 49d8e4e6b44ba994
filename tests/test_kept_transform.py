"""A transform is kept with the model: it comes back, makes the rows of a run, and no other is taken."""

import numpy as np
import pytest
import torch
from scipy import stats

import harmonium as hm
from harmonium.cli._data import other_data
from harmonium.cli._evaluate import evaluate_run
from harmonium.cli._finetune import understand_tuning
from harmonium.cli._sample import sample
from harmonium.cli._train import start, understand
from harmonium.datasets import TRANSFORMS, Transform, from_array, load
from harmonium.errors import ArgumentError, DataError, FileError
from harmonium.report import cut, open_data, open_run
from harmonium.report._words import own_units
from harmonium.training import RunFolder

SMALL = {"epochs": 1, "batch_size": 50, "probe": 10}
FEW = {"hidden": 3, "lr": 0.01, "epochs": 1, "rule.chains": 10}


def table(seed=0, rows=200):
    """Return rows of reals whose columns have units of their own."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 3)) @ [[1, 0.5, 0], [0, 1, 0.5], [0, 0, 1]] * [1, 10, 0.1] + [5, -100, 1000]


def made(kind="zca", seed=0, **options):
    """Return a data set of transformed rows."""
    return from_array(table(seed), test=table(seed + 1, 50), transform=kind, **options)


def rbm():
    return hm.RBM(hm.Gaussian(3), 2)


def trained(data, model=None, **options):
    """Train a model for an epoch, and return it."""
    return hm.fit(model or rbm(), data, hm.CD(), **{**SMALL, **options}).model


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_file_holds_the_transform_bit_for_bit(tmp_path, kind):
    model = rbm()
    model.transform = made(kind).transform
    hm.save(model, tmp_path / "model.safetensors")
    again = hm.load(tmp_path / "model.safetensors")
    assert again.transform.config() == model.transform.config()
    for name, tensor in model.transform.state().items():
        assert torch.equal(again.transform.state()[name], tensor)
    assert again.dtype == torch.float32
    for name, parameter in model.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter)


def test_a_file_without_a_transform_has_none(tmp_path):
    hm.save(rbm(), tmp_path / "model.safetensors")
    assert hm.load(tmp_path / "model.safetensors").transform is None


def test_maps_are_the_same_but_for_the_last_digits():
    first, again = made().transform, made().transform
    assert first.same(again)
    near = Transform("zca", first.mean * (1 + 1e-12), None, first.matrix, first.epsilon)
    assert first.same(near)
    off = Transform("zca", first.mean * (1 + 1e-4), None, first.matrix, first.epsilon)
    others = [off, made(seed=5).transform, made(epsilon=0.1).transform, made("standardise").transform, None]
    assert not any(first.same(other) for other in others)
    assert not first.same(Transform.fit("zca", torch.from_numpy(table()[:, :2])))


# --- training -------------------------------------------------------------------------------------


def test_training_leaves_the_model_its_transform(tmp_path):
    data = made()
    assert trained(data.train).transform is None
    assert trained(from_array(table() - table().mean(0))).transform is None
    model = trained(data, out=tmp_path / "run")
    assert model.transform is data.transform
    assert RunFolder(tmp_path / "run").transform().same(data.transform)
    assert hm.load(tmp_path / "run" / "model.safetensors").transform.same(data.transform)


def test_a_run_goes_on_with_the_same_rows_only(tmp_path):
    trained(made(), out=tmp_path / "run")
    again = hm.resume(tmp_path / "run", made(), epochs=2)
    assert again.model.transform.same(made().transform)
    for other in (made(epsilon=0.1), made("standardise"), from_array(table())):
        with pytest.raises(DataError, match="expected those of the model's own transform"):
            hm.resume(tmp_path / "run", other, epochs=3)


def test_a_network_keeps_it_through_all_that_it_becomes(tmp_path):
    data = made()
    network = hm.DBN([hm.Gaussian(3), 3, 2])
    hm.pretrain(network, data, hm.CD(), out=tmp_path / "run", **SMALL)
    assert RunFolder(tmp_path / "run").transform().same(data.transform)
    alone = hm.DBN([hm.Gaussian(3), 3, 2])
    hm.pretrain(alone, data, hm.CD(), **SMALL)
    again = hm.resume(tmp_path / "run", data, epochs=[1, 2]).model
    for model in (network, alone, again, cut(network, 1), network.to_mlp(2), network.to_autoencoder()):
        assert model.transform.same(data.transform)
    for refused in (
        lambda: hm.resume(tmp_path / "run", made(seed=5), epochs=[1, 3]),
        lambda: hm.pretrain(network, made(seed=5), hm.CD(), **SMALL),
        lambda: hm.finetune(network.to_autoencoder(), from_array(table()), **SMALL),
        lambda: open_run(tmp_path / "run", made(seed=5)),
        lambda: hm.log_likelihood(network, made(epsilon=0.1)),
    ):
        with pytest.raises(DataError, match=r"model's own transform \(zca, epsilon 0\.001\)"):
            refused()


# --- likelihoods ------------------------------------------------------------------------------------


def test_the_log_determinant_makes_it_a_density_of_the_rows_as_they_came():
    """Without couplings the model is normal in the transformed space, so the rows as they came are too."""
    data = made("standardise")
    model = rbm()
    with torch.no_grad():
        model.weight.zero_()
        model.visible.bias.copy_(torch.tensor([0.3, -0.2, 0.1]))
    got = hm.log_likelihood(model, data)
    scale = 1 / data.transform.scale.numpy()
    law = stats.norm(data.transform.mean.numpy() + scale * [0.3, -0.2, 0.1], scale)
    expected = law.logpdf(table(1, 50).astype(np.float32)).sum(1).mean()
    assert got.mean + got.log_determinant == pytest.approx(expected, abs=1e-4)
    assert hm.log_likelihood(model, data.test).log_determinant is None
    model.transform = data.transform
    assert hm.log_likelihood(model, data.test) == got
    for likelihood in (hm.log_likelihood, lambda *a: hm.conditional_log_likelihood(*a, [False] * 3)):
        with pytest.raises(DataError, match=r"expected those of the model's own transform \(standardise"):
            likelihood(model, made())


# --- runs of the command line -----------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run on a file of transformed rows."""
    np.save(tmp_path / "rows.npy", table())
    pairs = [f"{name}={value}" for name, value in FEW.items()]
    wish = understand("rbm", str(tmp_path / "rows.npy"), [*pairs, "data.transform=standardise"])
    start(wish, tmp_path / "run")
    return tmp_path / "run"


def test_rows_are_made_by_the_run_s_own_transform(run, tmp_path):
    kept = RunFolder(run).transform()
    np.save(tmp_path / "rows.npy", table(3))
    assert not load(tmp_path / "rows.npy", transform="standardise").transform.same(kept)
    assert open_data(RunFolder(run)).transform.same(kept)
    np.save(tmp_path / "more.npy", table(4, 40))
    more = other_data(run, str(tmp_path / "more.npy"), {})
    assert more.transform.same(kept)
    plain = load(tmp_path / "more.npy")
    assert torch.equal(more.test, kept.apply(plain.test))
    open_run(run, more)
    for asked in ({"transform": "zca"}, {"transform": "standardise", "epsilon": 0.5}):
        with pytest.raises(DataError, match="model's own transform"):
            open_run(run, other_data(run, str(tmp_path / "more.npy"), asked))
    np.save(tmp_path / "narrow.npy", table()[:, :2])
    with pytest.raises(DataError, match=r"rows of 2 columns in narrow\.npy, expected the 3"):
        other_data(run, str(tmp_path / "narrow.npy"), {})


def test_a_transform_that_is_there_takes_no_regulariser():
    with pytest.raises(ArgumentError, match="epsilon"):
        from_array(table(), transform=made().transform, epsilon=0.1)


def test_an_evaluation_states_both_units(run):
    opened = open_run(run)
    found = evaluate_run(opened, "test", {"method": "exact"})
    assert found["log_determinant"] == pytest.approx(opened.data.transform.log_determinant)
    (text,) = own_units(found)
    assert f"{found['mean'] + found['log_determinant']:.2f}" in text


def test_samples_come_in_the_units_of_the_rows(run, tmp_path):
    settings = {"n": 200, "steps": 5, "temperature": 1.0, "replicas": 1, "seed": 0, "means": False}
    rest = dict.fromkeys(("label", "clamp", "source"))
    sample(run, tmp_path / "x.npy", start="noise", force=False, as_json=True, **settings, **rest)
    drawn, rows = np.load(tmp_path / "x.npy"), table()
    assert (np.abs(drawn.mean(0) - rows.mean(0)) < rows.std(0)).all()
    assert ((drawn.std(0) > 0.5 * rows.std(0)) & (drawn.std(0) < 2 * rows.std(0))).all()


def test_fine_tuning_takes_the_run_s_own_transform(tmp_path):
    data = from_array(table(), transform="zca")
    network = hm.DBN([hm.Gaussian(3), 3, 2])
    entry = {"source": str(tmp_path / "rows.npy"), "arguments": {"transform": "zca", "validation": 0}}
    np.save(tmp_path / "rows.npy", table(7))
    hm.pretrain(network, data, hm.CD(), out=tmp_path / "run", config={"data": entry}, **SMALL)
    wish = understand_tuning(tmp_path / "run", ["rule=reconstruction", "epochs=1"])
    assert wish.data.transform.same(data.transform)
    assert wish.model.transform.same(data.transform)


def test_a_damaged_transform_is_named(run):
    path = run / "transform.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(FileError, match=r"transform\.safetensors"):
        open_run(run)
