"""The same model on a graphics card: the same random bits, energies, chains and learning as on the CPU.

In double precision and with the same bits, only rounding tells the devices apart; a sample differs where a
uniform number and a probability agree to the last digits, which does not happen here.
"""

import copy

import numpy as np
import pytest
import torch
from _checks import check_joint, equal_batch, start
from _models import PAIRS, Exact, name, rbm

import harmonium as hm
from harmonium import Stream
from harmonium.estimators import RBMImputer
from harmonium.kernels import philox
from harmonium.learning import RULES, Batch
from harmonium.models import PairwiseModel
from harmonium.samplers import Gibbs, Tempering

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
ALL = pytest.mark.parametrize("pair", PAIRS, ids=name)
CUDA = "cuda"
REAL = ("score-matching", "denoising-score-matching")
LABELLED = ("discriminative", "hybrid")
OPTIONS = {"trajectory-tempering": {"chains": 20}, "tempered-pcd": {"chains": 20}}


def there(model):
    """Return a copy of a model on the device."""
    return copy.deepcopy(model).to(CUDA)


def rows(model, n=40):
    """Return states of a model's visible units that are far from its own distribution."""
    unit = model.visible
    return unit.values(unit.sample(unit.noise_field(n), Stream(3, "rows")))


def machine(rule):
    """Return a small model that a rule fits."""
    if rule in REAL:
        return rbm(("gaussian", "bernoulli"), (5, 3), scale=0.3)
    if rule in LABELLED:
        return hm.RBM(hm.Mixed(hm.Bernoulli(5), hm.Categorical(1, 3)), 4).double()
    return rbm(("bernoulli", "bernoulli"), (6, 4), scale=0.3)


def test_the_bits_are_those_of_the_cpu():
    draw = Stream(7, "bits").at(5)
    assert torch.equal(philox.bits(draw, 33, 130), philox.bits(draw, 33, 130, torch.device(CUDA)).cpu())


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_no_drift(pair, dtype):
    model = rbm(pair, scale=1.2, dtype=dtype)
    exact = Exact(model, 1.0, None)
    state = {block: x.to(CUDA) for block, x in start(model, [exact], 6000, 0).items()}
    own, stream, gibbs = there(model), Stream(0, "chains"), Gibbs()
    state = gibbs.init(own, 6000, stream, state)
    state = gibbs.run(own, state, stream, 4)
    assert all(x.is_cuda for x in state.values())
    check_joint({block: x.cpu() for block, x in state.items()}, exact)


@ALL
def test_energies_and_moments_are_those_of_the_cpu(pair):
    model = rbm(pair)
    own, v = there(model), rows(model)
    torch.testing.assert_close(own.free_energy(v.to(CUDA)).cpu(), model.free_energy(v))
    torch.testing.assert_close(own.encode(v.to(CUDA)).cpu(), model.encode(v))
    torch.testing.assert_close(own.reconstruct(v.to(CUDA)).cpu(), model.reconstruct(v))
    state = Gibbs().init(model, len(v), Stream(0), {"visible": model.visible.statistics(v)})
    weight = torch.linspace(-1, 1, len(v), dtype=torch.float64)
    here = model.moments(state, weight)
    far = own.moments({block: x.to(CUDA) for block, x in state.items()}, weight.to(CUDA))
    assert here.keys() == far.keys()
    for key, moment in here.items():
        torch.testing.assert_close(far[key].cpu(), moment)


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.fits is PairwiseModel])
def test_learning_is_that_of_the_cpu(rule):
    model = machine(rule)
    v, made = rows(model), RULES[rule](**OPTIONS.get(rule, {}))
    far = there(model)
    for one in (model, far):
        hm.fit(one, v, made, epochs=2, batch_size=16, lr=0.02, momentum=0.5)
    for (key, here), there_ in zip(model.state_dict().items(), far.state_dict().values(), strict=True):
        assert there_.is_cuda
        torch.testing.assert_close(there_.cpu(), here, rtol=1e-6, atol=1e-8, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("optimizer", ["sgd", "Adam"])
def test_optimisers_and_penalties(optimizer):
    model = machine("pcd")
    far = there(model)
    for one in (model, far):
        hm.fit(one, rows(model), epochs=2, optimizer=optimizer, l1=1e-3, max_norm=1.0, weight_decay=1e-3)
    torch.testing.assert_close(far.weight.cpu(), model.weight, rtol=1e-6, atol=1e-8)


@ALL
def test_estimates_hold_what_enumeration_says(pair):
    model = rbm(pair, (4, 3), scale=0.5)
    exact = hm.log_partition(model, "exact").value
    own = there(model)
    assert hm.log_partition(own, "exact").value == pytest.approx(exact, rel=1e-9)
    found = hm.log_partition(own, "bridge", runs=200, betas=300, equilibrate=200)
    assert abs(found.value - exact) <= 4 * found.standard_error + 1e-9
    here = hm.log_likelihood(model, rows(model), method="exact").mean
    assert hm.log_likelihood(own, rows(model), method="exact").mean == pytest.approx(here, rel=1e-9)


def test_general_machines():
    edges = hm.models.lattice((3, 3), periodic=False)
    couplings = torch.zeros(9, 9, dtype=torch.float64)
    couplings[edges[:, 0], edges[:, 1]] = couplings[edges[:, 1], edges[:, 0]] = 0.4
    model = hm.BoltzmannMachine(hm.Spin(9), visible_edges=edges).double()
    model.set_lateral("visible", couplings)
    dense = hm.BoltzmannMachine(5, 3).double()
    for one in (model, dense):
        far = there(one)
        for here in (one, far):
            hm.fit(here, rows(one), hm.PCD(chains=10), epochs=2, batch_size=16)
        for key, value in one.state_dict().items():
            torch.testing.assert_close(far.state_dict()[key].cpu(), value, rtol=1e-6, atol=1e-8)


def game(network):
    """Return a small game of three classes, and rows for it."""
    settings = {"latent": 4} if network == "mlp" else {"latent": 4, "width": 4}
    bits = (Stream(3, "rows").uniform(40, 64) < 0.5).float()
    return hm.GAN.of(network, (8, 8), classes=3, **settings), torch.cat(
        (bits, (torch.arange(40) % 3)[:, None]), 1
    )


GAMES = pytest.mark.parametrize("network", ["mlp", "dcgan", "resnet", "modern"])
GAME = {"loss": "relativistic", "r1": 0.5, "r2": 0.5, "augment": ("colour",)}


@GAMES
def test_games(network):
    """Both players, with penalties and changed images."""
    model, v = game(network)
    model = model.double()
    far = there(model)
    rule = hm.Adversarial(**GAME)
    for one in (model, far):
        hm.fit(one, v, rule, epochs=2, batch_size=16)
    for (key, here), other in zip(model.state_dict().items(), far.state_dict().values(), strict=True):
        assert other.is_cuda
        torch.testing.assert_close(other.cpu(), here, rtol=1e-5, atol=1e-7, msg=lambda m, k=key: f"{k}: {m}")
    made = hm.sample(far, 20)[:, :64]
    assert bool(((made >= 0) & (made <= 1)).all())


@GAMES
def test_games_in_bfloat16(network):
    """The gradients of an update, which rounding changes a little."""
    model, v = game(network)
    far, rule, grads = there(model), hm.Adversarial(**GAME, mixed_precision=True), []
    for one in (model, far):
        batch = equal_batch(one.visible.statistics(v.to(one.device)).cpu())
        batch = Batch(*(part.to(one.device) for part in batch[:3]))
        rule.update(one, batch, rule.init(one, Stream(0)), Stream(0), lambda player: None)
        grads.append(torch.cat([p.grad.flatten().cpu() for p in one.parameters() if p.grad is not None]))
    assert float((grads[0] - grads[1]).norm() / grads[0].norm()) < 0.2


def test_samples_clamps_and_tempering():
    model = machine("pcd")
    far = there(model)
    clamp = torch.tensor([1.0, 0.0, *[torch.nan] * 4])
    here = hm.sample(model, 50, steps=5, clamp=clamp, temperature=1.5)
    assert torch.equal(hm.sample(far, 50, steps=5, clamp=clamp, temperature=1.5).cpu(), here)
    assert torch.equal(
        hm.sample(far, 20, steps=5, replicas=3).cpu(), hm.sample(model, 20, steps=5, replicas=3)
    )
    tempering = Tempering(3)
    state = tempering.init(far, 8, Stream(0))
    assert all(x.is_cuda for x in tempering.step(far, state, Stream(0))[0].values())


def test_resumed_equals_straight_through(tmp_path):
    v = rows(machine("pcd"))
    straight, stopped = there(machine("pcd")), there(machine("pcd"))
    hm.fit(straight, v, epochs=4, batch_size=16, out=tmp_path / "straight")
    hm.fit(stopped, v, epochs=4, batch_size=16, out=tmp_path / "run", callback=lambda r: r["epoch"] == 2)
    model = hm.resume(tmp_path / "run", v).model
    assert model.weight.is_cuda
    assert torch.equal(model.weight, straight.weight)


def test_labels_are_predicted_as_on_the_cpu():
    model = machine("hybrid")
    hm.fit(model, rows(model), hm.Hybrid(chains=10), epochs=2)
    v = rows(model)
    torch.testing.assert_close(hm.predict_proba(there(model), v).cpu(), hm.predict_proba(model, v))


def network():
    """Return a small network with a label."""
    return hm.DBN([6, 5, 4], classes=3).double()


def labelled(n=40):
    """Return rows of bits that end in a label."""
    bits = (Stream(3, "rows").uniform(n, 6) < 0.4).double()
    return torch.cat((bits, torch.arange(n).double()[:, None] % 3), 1)


def test_networks_learn_and_are_measured_as_on_the_cpu():
    near, v = network(), labelled()
    far = there(near)
    for one in (near, far):
        hm.pretrain(one, v, hm.PCD(chains=20), epochs=2, batch_size=16)
        one.untie()
        hm.fit(one, v, hm.WakeSleep(), epochs=2, batch_size=16, lr=0.01)
    for (key, here), value in zip(near.state_dict().items(), far.state_dict().values(), strict=True):
        torch.testing.assert_close(value.cpu(), here, rtol=1e-6, atol=1e-8, msg=lambda m, k=key: f"{k}: {m}")
    found = [hm.log_likelihood(one, v, samples=20, method="exact") for one in (near, far)]
    assert found[1].mean == pytest.approx(found[0].mean, rel=1e-9)
    assert found[1].bound == pytest.approx(found[0].bound, rel=1e-9)
    clamp = torch.tensor([1.0, *[torch.nan] * 5, 2.0])
    for held in (clamp, clamp.index_fill(0, torch.tensor([0]), torch.nan)):
        draws = [hm.sample(one, 20, steps=5, clamp=held).cpu() for one in (near, far)]
        assert torch.equal(*draws)


def test_classifiers_and_autoencoders_learn_as_on_the_cpu():
    near, v = network(), labelled()
    hm.pretrain(near, v, hm.CD(), epochs=1)
    far = there(near)
    pairs = [[one.to_mlp(3) for one in (near, far)], [one.to_autoencoder() for one in (near, far)]]
    for pair, rows in zip(pairs, (v, v[:, :6]), strict=True):
        for one in pair:
            hm.finetune(one, rows, epochs=2, batch_size=16)
        for here, value in zip(pair[0].state_dict().values(), pair[1].state_dict().values(), strict=True):
            torch.testing.assert_close(value.cpu(), here, rtol=1e-6, atol=1e-8)
    assert torch.equal(hm.predict(pairs[0][1], v).cpu(), hm.predict(pairs[0][0], v))
    dropped = there(near).to_mlp(3, dropout=0.5)
    hm.finetune(dropped, v, epochs=2)
    assert all(p.is_cuda for p in dropped.parameters())


def test_digits():
    data = hm.datasets.load("digits")
    model = hm.RBM(64, 16).to(CUDA)
    hm.fit(model, data, epochs=20, lr=0.1)
    result = hm.log_likelihood(model, data)
    assert result.mean > hm.datasets.summary(data)["baseline_log_likelihood"]
    assert np.isfinite(result.mean)


def test_an_imputer_learns_what_it_does_on_the_cpu():
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    here, far = (
        RBMImputer(4, n_iter=1, chains=10, random_state=0, device=device).fit(x) for device in ("cpu", CUDA)
    )
    assert not far.model_.weight.is_cuda
    np.testing.assert_allclose(far.transform(x), here.transform(x), rtol=1e-3, atol=1e-3)
