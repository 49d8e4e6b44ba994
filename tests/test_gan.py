"""Generative adversarial networks: what they take and make, their families, their files and their samples."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError, FileError
from harmonium.models import GAN, LAWS, NETWORKS
from harmonium.models._networks import Perceptrons, Rows, _parts
from harmonium.models._networks._modern import Block
from harmonium.models._networks._spectral import Spectral
from harmonium.samplers import generate, interpolate

SMALL = {
    "mlp": {"hidden": 12, "judges": 6, "latent": 5},
    "dcgan": {"width": 4, "latent": 5},
    "resnet": {"width": 4, "latent": 5},
    "modern": {"width": 4, "latent": 5},
}
SHAPES = ((8, 8), (2, 12, 12), (3, 28, 28), (4, 32, 32), (1, 64, 64), (8, 16))


def small(name="dcgan", shape=(8, 8), **options):
    """Return a small network of a family."""
    return GAN.of(name, shape, **{**SMALL[name], **options})


class Maker(nn.Module):
    """A generator from elsewhere."""

    def __init__(self, latent=3, size=6):
        super().__init__()
        self.map = nn.Linear(latent, size)

    def forward(self, z):
        return torch.tanh(self.map(z))


def own(**options):
    """Return a network of modules that no family knows."""
    torch.manual_seed(0)
    judge = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1))
    return GAN(Maker(), judge, **{"latent": 3, "shape": (2, 3), **options})


# --- families -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_families_make_rows_of_every_shape_that_fits(name, shape):
    model = small(name, shape, classes=3)
    codes = torch.tensor([0, 2, 1])
    x = model.make(model.latents(3, Stream(0)), codes)
    assert x.shape == (3, *((1, *shape) if len(shape) == 2 else shape))
    assert model.judge(x, codes).shape == (3,)
    assert bool(x.isfinite().all())


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_those_of_the_seed_and_leave_torch_alone(name):
    torch.manual_seed(0)
    first, again, other = small(name), small(name), small(name, seed=1)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)
    maker, judge = (
        [p.flatten()[:4] for p in net.parameters()] for net in (first.generator, first.discriminator)
    )
    assert not any(torch.equal(a, b) for a in maker for b in judge if a.any() and a.shape == b.shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_class_is_seen_by_both_players(name):
    """Of the discriminator by the projection: the difference of two classes is linear in the features."""
    model = small(name, classes=3)
    z = model.latents(4, Stream(0))
    with model.resting(), torch.no_grad():
        model.discriminator.projection.weight.normal_(generator=torch.Generator().manual_seed(1))
        x = [model.make(z, torch.full((4,), code)) for code in (0, 1)]
        assert not torch.allclose(*x)
        scores = [model.judge(x[0], torch.full((4,), code)) for code in (0, 1)]
        head = model.discriminator.projection.weight
        expected = model.discriminator.body(x[0]).flatten(1) @ (head[1] - head[0])
    torch.testing.assert_close(scores[1] - scores[0], expected, rtol=1e-4, atol=1e-5)


def test_blocks_without_normalisation_begin_as_nothing():
    """And the scale of an image goes through both networks."""
    model = small("modern", (3, 32, 32), blocks=2, width=16)
    x = torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    block = next(
        part for part in model.generator.modules() if isinstance(part, Block) and part.first.in_channels == 16
    )
    assert torch.equal(block(x), x)
    made = model.make(model.latents(64, Stream(0))).detach()
    assert 0.1 < float(made.std()) < 3
    assert not any("norm" in type(part).__name__.lower() for part in model.modules())


def test_perceptrons_are_those_of_2014():
    """Of ReLU units against maxout ones, and an output within the range of values."""
    network = Perceptrons().discriminator(Rows((784,)))
    x = torch.rand(2, 784, generator=torch.Generator().manual_seed(0))
    network.eval()
    h = x
    for layer in (part for part in network.body if isinstance(part, nn.Linear)):
        h = (h @ layer.weight.T + layer.bias).view(2, 240, 5).max(2).values
    torch.testing.assert_close(network(x), (h @ network.score.weight.T + network.score.bias)[:, 0])
    assert sum(p.numel() for p in Perceptrons().generator(Rows((784,))).parameters()) == 2_503_984


def test_spectral_norms_are_one_once_iterated():
    weight = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    spectral = Spectral(torch.ones_like(weight))
    spectral.eval()
    before = spectral(weight)
    assert torch.equal(spectral(weight), before)
    assert not math.isclose(float(torch.linalg.matrix_norm(before.flatten(1), 2)), 1, rel_tol=1e-3)
    spectral.train()
    for _ in range(200):
        spectral(weight)
    found = spectral(weight).flatten(1)
    assert float(torch.linalg.matrix_norm(found, 2)) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found * torch.linalg.matrix_norm(weight.flatten(1), 2), weight.flatten(1))


@pytest.mark.parametrize("name", ["dcgan", "resnet"])
def test_a_discriminator_of_spectral_norm_has_no_steep_layer(name):
    model = small(name)
    layers = [part for part in model.discriminator.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    norms = [float(torch.linalg.matrix_norm(part.weight.detach().flatten(1), 2)) for part in layers]
    assert norms == pytest.approx([1] * len(norms), abs=0.02)


# --- what it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "pixels"])
@pytest.mark.parametrize("norm", [False, True])
def test_a_full_layer_takes_images_as_they_lie_and_leaves_their_gradients_so(layout, norm):
    layer = nn.Linear(3 * 4 * 5, 2, dtype=torch.float64)
    if norm:
        _parts.normalise(nn.ModuleList([layer.eval()]))
    images = Stream(0, "images").normal(7, 60, torch.float64).view(7, 3, 4, 5)
    found = []
    for x in (images.clone(), images.clone(memory_format=layout)):
        x.requires_grad_()
        out = layer(x.flatten(1)) if not found else _parts.full(layer, x)
        found.append((out, *torch.autograd.grad(out.square().sum(), (x, *layer.parameters()))))
    for own, other in zip(*found, strict=True):
        torch.testing.assert_close(other, own)
    assert found[1][1].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("wanted", [True, False])
def test_images_of_a_game_and_their_gradients_lie_in_memory_as_they_are_to(wanted):
    layouts = []

    def note(_, inputs, out):
        layouts.append(out.is_contiguous(memory_format=torch.channels_last))
        out.register_hook(lambda x: layouts.append(x.is_contiguous(memory_format=torch.channels_last)))

    model = GAN.of("dcgan", (28, 28), width=4, channels_last=wanted)
    for layer in model.modules():
        if isinstance(layer, nn.ReLU | nn.LeakyReLU):
            layer.register_forward_hook(note)
    model.judge(model.make(torch.randn(6, model.latent))).sum().backward()
    assert layouts == [wanted] * 8


def test_rows_and_what_networks_see_of_them_are_each_others_image():
    model = small("dcgan", (8, 8), classes=3)
    rows = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
    codes = torch.tensor([0, 1, 2, 2, 0])
    x, own_codes = model.split(model.visible.statistics(torch.cat((rows, codes[:, None].float()), 1)))
    assert float(x.min()) < -0.9
    torch.testing.assert_close(x.reshape(5, 64), 2 * rows - 1)
    assert torch.equal(own_codes, codes)
    torch.testing.assert_close(model.values(x, codes), torch.cat((rows, codes[:, None].float()), 1))
    real = small("mlp", (3,), visible=hm.Gaussian(3))
    assert torch.equal(real.values(real.split(rows[:, :3] * 9)[0]), rows[:, :3] * 9)


@pytest.mark.parametrize("law", LAWS)
def test_latent_numbers_have_their_law(law):
    z = small("mlp", law=law).latents(20_000, Stream(3)).double()
    n = z.numel()
    assert abs(float(z.mean())) < 4 / math.sqrt(n)
    fourth = {"normal": 3.0, "uniform": 9 / 5}[law]
    assert abs(float(z.square().mean()) - 1) < 4 * math.sqrt((fourth - 1) / n)
    assert abs(float((z**4).mean()) - fourth) < 4 * float((z**4).std()) / math.sqrt(n)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_brings_everything_back(name, tmp_path):
    model = small(name, (8, 8), classes=2, law="uniform").double()
    hm.save(model, tmp_path / "gan.safetensors")
    again = hm.load(tmp_path / "gan.safetensors")
    assert again.config() == model.config()
    assert torch.equal(hm.sample(model, 6, seed=2), hm.sample(again, 6, seed=2))
    assert again.dtype == torch.float64


# --- networks from elsewhere --------------------------------------------------------------------


def test_any_pair_of_modules_will_do(tmp_path):
    model, other = own(), own()
    with torch.no_grad():
        model.generator.map.weight.mul_(2)
    hm.save(model, tmp_path / "gan.safetensors")
    with pytest.raises(FileError, match="network of the user's own: name the model"):
        hm.load(tmp_path / "gan.safetensors")
    assert hm.load(tmp_path / "gan.safetensors", model=other) is other
    assert torch.equal(hm.sample(model, 4, seed=1), hm.sample(other, 4, seed=1))
    assert hm.sample(model, 4).shape == (4, 6)
    with pytest.raises(FileError, match="another model than the gan"):
        hm.load(tmp_path / "gan.safetensors", model=own(law="uniform"))
    with pytest.raises(ArgumentTypeError, match="model: got 3"):
        hm.load(tmp_path / "gan.safetensors", model=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: own(latent=None), "latent: missing"),
        (lambda: own(shape=None), "shape: missing"),
        (lambda: own(latent=4), r"generator: got one that fails .* expected one that takes .*\(rows, 4\)"),
        (lambda: own(latent=0), "latent: got 0"),
        (lambda: own(shape=(2, 4)), r"one that makes \(2, 6\) of two.*rows of shape \(rows, 1, 2, 4\)"),
        (lambda: own(classes=1), "classes: got 1, expected at least two"),
        (lambda: own(classes=3), "generator: got one that fails .* and codes of classes"),
        (lambda: own(law="cauchy"), "law: unknown 'cauchy'"),
        (lambda: own(visible=hm.Spin(6)), "visible: got Spin"),
        (lambda: own(visible=hm.Gaussian(5)), "expected 6 units"),
        (lambda: GAN(Maker(), nn.Linear(5, 1), latent=3, shape=(6,)), "discriminator: got one that fails"),
        (lambda: GAN(Maker(), nn.Linear(6, 2), latent=3, shape=(6,)), "one that gives each row one score"),
        (lambda: GAN(Maker(), nn.ReLU(), latent=3, shape=(6,)), "with parameters to train"),
        (lambda: GAN.of("dcgan", (30, 30)), r"shape: got \(1, 30, 30\), expected sides"),
        (lambda: GAN.of("dcgan", (64,)), "expected images of one to four channels"),
        (lambda: GAN.of("modern", (5, 32, 32)), "expected images of one to four channels"),
        (lambda: GAN.of("resnet", (4, 4)), "expected sides"),
        (lambda: GAN.of("dcgan", (8, 0)), "shape: got"),
        (lambda: GAN.of("dcgam", (8, 8)), "did you mean 'dcgan'"),
        (lambda: GAN.of("dcgan", (8, 8), widht=3), "did you mean 'width'"),
        (lambda: GAN.of(Perceptrons(), (8, 8), hidden=3), "hidden: got a setting of a family"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_channels_that_do_not_fit_the_networks_are_refused():
    grey, colour = (NETWORKS["dcgan"](width=4) for _ in range(2))
    maker, judge = grey.generator(Rows((1, 8, 8))), colour.discriminator(Rows((3, 8, 8)))
    rows = r"rows of shape \(1, 8, 8\), values from -1 to 1, no classes"
    for other, others in (
        (judge, r"rows of shape \(3, 8, 8\), values from -1 to 1, no classes"),
        (grey.discriminator(Rows((1, 8, 8), classes=3)), r"rows of shape \(1, .*, 3 classes"),
        (grey.discriminator(Rows((1, 8, 8), bounded=False)), r"rows of .*, values real, no classes"),
    ):
        with pytest.raises(
            ArgumentError, match=f"discriminator: got one for {others}, expected one for {rows}"
        ):
            GAN(maker, other)
    plain = grey.discriminator(Rows([1, 8, 8]))
    assert GAN(maker, plain).shape == (1, 8, 8)
    with pytest.raises(ArgumentError, match=r"discriminator: got one .*, no classes, expected .*, 3 classes"):
        GAN(maker, plain, classes=3)
    with pytest.raises(ArgumentError, match=r"got one .*, values from -1 to 1, .* expected .*, values real"):
        GAN(maker, plain, visible=hm.Gaussian(64))
    with pytest.raises(ArgumentTypeError, match="generator: got 3"):
        GAN(3, judge)


def test_data_that_do_not_fit_are_refused():
    data = hm.datasets.from_array(np.zeros((20, 49), np.uint8))
    with pytest.raises(DataError, match=r"data: got shape \(20, 49\), expected \(rows, 64\)"):
        hm.fit(small(), data, hm.Adversarial(), epochs=1)
    flat = hm.datasets.from_array(np.zeros((20, 64), np.uint8))
    assert hm.fit(small(), flat, hm.Adversarial(), epochs=1).records
    pixels = hm.datasets.from_array(np.zeros((20, 8, 8, 3), np.uint8), binarisation="none")
    expected = r"data: got rows of shape \(8, 8, 3\), expected \(3, 8, 8\), .*; channels come first"
    with pytest.raises(DataError, match=expected):
        hm.fit(GAN.of("dcgan", (3, 8, 8), width=4), pixels, hm.Adversarial(), epochs=1)
    grey = hm.datasets.from_array(np.zeros((20, 8, 8, 1), np.uint8))
    assert hm.fit(small(), grey, hm.Adversarial(), epochs=1).records
    wide = hm.datasets.from_array(np.zeros((20, 4, 16), np.uint8))
    with pytest.raises(
        DataError, match=r"got rows of shape \(4, 16\), expected \(1, 8, 8\), that of the model$"
    ):
        hm.fit(small(), wide, hm.Adversarial(), epochs=1)
    assert hm.fit(GAN.of("mlp", (64,)), wide, hm.Adversarial(), epochs=1).records
    with pytest.raises(DataError, match="got 2 at row 0"):
        hm.fit(small(), torch.full((20, 64), 2.0), hm.Adversarial(), epochs=1)
    with pytest.raises(DataError, match=r"expected \(rows, 65\)"):
        hm.fit(small(classes=3), torch.zeros(20, 64), hm.Adversarial(), epochs=1)


# --- samples ------------------------------------------------------------------------------------


def test_samples_depend_on_the_seed_and_not_on_how_many_there_are():
    model = small()
    rows = hm.sample(model, 300, seed=5)
    assert rows.shape == (300, 64)
    assert 0 <= float(rows.min()) <= float(rows.max()) <= 1
    torch.testing.assert_close(hm.sample(model, 7, seed=5), rows[:7], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(hm.sample(model, 7, seed=6), rows[:7])
    model.visible.validate(rows, means=True)


def test_samples_leave_a_model_in_training_as_it_is():
    model = small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    hm.sample(model, 4)
    model.score(torch.rand(4, 64, generator=torch.Generator().manual_seed(0)))
    assert all(part.training for part in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_label_of_samples_can_be_held_and_nothing_else():
    model = small(classes=3)
    clamp = torch.full((65,), torch.nan)
    clamp[-1] = 2
    rows = hm.sample(model, 5, clamp=clamp)
    assert rows[:, -1].tolist() == [2] * 5
    drawn = hm.sample(model, 3000, seed=1)[:, -1]
    counts = drawn.long().bincount(minlength=3).double()
    assert float((counts - 1000).abs().max()) < 4 * math.sqrt(3000 * 2 / 9)
    for name, value in {"start": rows, "temperature": 2.0, "replicas": 3}.items():
        with pytest.raises(ArgumentError, match=f"{name}: got .*as a generator has no chains"):
            hm.sample(model, 5, **{name: value})
    clamp[0] = 0.5
    with pytest.raises(ArgumentError, match=r"clamp: got .* expected NaN but for the label"):
        hm.sample(model, 5, clamp=clamp.round())
    with pytest.raises(ArgumentError, match="of a model that has one"):
        hm.sample(small(), 5, clamp=torch.full((64,), torch.nan))


def test_scores_are_those_of_the_discriminator():
    model = small(classes=3)
    rows = generate(model, 6, Stream(0))
    x, codes = model.split(model.visible.statistics(rows))
    with model.resting():
        assert torch.equal(model.score(rows), model.judge(x, codes).detach())
    with pytest.raises(DataError, match="v: got shape"):
        model.score(rows[:, :64])


@pytest.mark.parametrize("law", LAWS)
def test_latent_points_on_the_way_have_the_law_of_both_ends(law):
    """Each point of a normal way is normal; those of a uniform one stay in the cube."""
    seen = []
    model = small("mlp", (2,), visible=hm.Gaussian(2), law=law)
    model.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    rows = interpolate(model, 2000, 3, Stream(1))
    assert rows.shape == (6000, 2)
    z = torch.cat(seen).view(2000, 3, 5).double()
    if law == "uniform":
        assert float(z.abs().max()) <= math.sqrt(3)
        torch.testing.assert_close(z[:, 1], (z[:, 0] + z[:, 2]) / 2, rtol=1e-5, atol=1e-6)
        return
    for point in z.unbind(1):
        assert abs(float(point.square().mean()) - 1) < 4 * math.sqrt(2 / point.numel())
