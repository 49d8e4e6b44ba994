"""Deep belief networks against their joint distribution, written out state by state.

Here the distribution comes from its definition alone: the probabilities of directed layers, unit by unit,
times the top RBM's by enumeration of all its states. The library gives nothing but the parameters' values.
"""

import copy
import functools
import math
import warnings

import numpy as np
import pytest
import torch
from _checks import RARE, check_frequencies, check_mean
from _models import configurations, logsumexp, number, precision
from scipy import stats

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError, HarmoniumError, HarmoniumWarning
from harmonium.likelihood._network import weigh_paths
from harmonium.models import error_rate, model_from_config
from harmonium.samplers import Ancestral, Completion, _ancestral
from harmonium.units import UNITS

NAN = math.nan
CLASSES = 3
ONE_PARENT = [[1, 0], [0, 1], [1, 0], [0, 1]]
SPARSE = [[[1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0]], None]
CASES = {
    "bits": {"layers": (4, 3, 3)},
    "deep": {"layers": (4, 3, 2, 3)},
    "labelled": {"layers": (4, 3, 3), "classes": CLASSES},
    "deep, labelled, untied": {"layers": (4, 3, 2, 3), "classes": CLASSES, "untied": True},
    "untied": {"layers": (4, 3, 3), "untied": True},
    "sparse, labelled, untied": {
        "layers": (4, 3, 2),
        "classes": CLASSES,
        "masks": [SPARSE[0], [[1, 1], [0, 1], [1, 0]]],
        "untied": True,
    },
    "Gaussian": {"layers": (("gaussian", 2), 3, 3)},
    "Gaussian, labelled, deep": {"layers": (("gaussian", 2), 3, 2, 2), "classes": CLASSES},
    "codes": {"layers": (("categorical", 2), 3, 2)},
    "spins and codes": {"layers": (("spin", 3), ("categorical", 1), ("spin", 2), 2), "untied": True},
}
ALL = pytest.mark.parametrize("label", CASES)
LABELLED = [label for label, case in CASES.items() if "classes" in case]


def unit(layer):
    """Return a layer from its size, or from its kind and size; categorical units have three states."""
    if isinstance(layer, int):
        return layer
    kind, size = layer
    return hm.Categorical(size, 3) if kind == "categorical" else UNITS[kind](size)


def network(layers, classes=None, masks=None, untied=False, scale=1.2, seed=0):
    """Return a network in float64 whose parameters are all random.

    Arguments:
        layers: The layers; see :func:`unit`.
        classes: The number of the label's classes.
        masks: One for each pair of layers.
        untied: Whether the recognition network has weights of its own, some way off the others.
        scale: The weights' deviation, but the label's are three times as strong.
        seed: Of the parameters.
    """
    model = hm.DBN([unit(layer) for layer in layers], classes=classes, masks=masks).double()
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("log_precision"):
                p.copy_(torch.from_numpy(generator.uniform(-0.4, 0.7, tuple(p.shape))))
            else:
                deviation = scale if name.endswith("weight") else 0.5
                p.copy_(torch.from_numpy(deviation * generator.normal(size=tuple(p.shape))))
        if classes is not None:
            model.weights[-1][-classes:] *= 3
        if untied:
            model.untie()
            for p in model.recognition.parameters():
                p.add_(torch.from_numpy(0.4 * generator.normal(size=tuple(p.shape))))
    model.project()
    return model


def case(label, **changes):
    """Return the network of a case."""
    return network(**{**CASES[label], **changes})


def array(p):
    return p.detach().double().numpy()


def log_density(unit, x, field):
    """Return the log-probabilities of a layer's states in fields, both of shape (*, width)."""
    if unit.kind == "gaussian":
        return stats.norm.logpdf(x, field / precision(unit), precision(unit) ** -0.5).sum(-1)
    if unit.kind == "bernoulli":
        p = 1 / (1 + np.exp(-field))
        return np.log(np.where(x == 1, p, 1 - p)).sum(-1)
    if unit.kind == "spin":
        return np.log(np.exp(x * field) / (np.exp(field) + np.exp(-field))).sum(-1)
    blocks = np.exp(field.reshape(*field.shape[:-1], -1, 3))
    return (x * np.log(blocks / blocks.sum(-1, keepdims=True)).reshape(field.shape)).sum(-1)


class Exact:
    """The joint distribution of a network of two hidden layers or more, the highest one summed out.

    ``path`` holds the states of the layers between the visible one and the highest, of all joint states;
    ``codes`` the label's, of which there is an empty one if there is no label.
    """

    def __init__(self, model):
        self.model = model
        rbms = model.rbms
        self.units = [rbms[0].visible, *(rbm.hidden for rbm in rbms)]
        states = [configurations(u) for u in self.units[1:-1]]
        index = np.indices([len(s) for s in states]).reshape(len(states), -1)
        self.path = [s[i] for s, i in zip(states, index, strict=True)]
        self.codes = np.eye(model.classes) if model.classes else np.zeros((1, 0))
        weight, b, c = (array(p) for p in (rbms[-1].weight, rbms[-1].visible.bias, rbms[-1].hidden.bias))
        highest = configurations(rbms[-1].hidden)
        x = np.array([[np.concatenate((s, code)) for code in self.codes] for s in states[-1]])
        self.highest, self.lower = highest, x.reshape(-1, x.shape[-1])
        self.given_lower = (x @ b)[..., None] + highest @ c + x @ weight @ highest.T
        self.log_partition = logsumexp(self.given_lower.ravel())
        self.top = logsumexp(self.given_lower, 2) - self.log_partition
        self.rest = self.top[index[-1]]
        for layer in range(1, model.depth - 1):
            below, above = self.path[layer - 1], self.path[layer]
            self.rest = self.rest + log_density(self.units[layer], below, self.down(layer, above))[:, None]

    def down(self, layer, y):
        """Return the fields of a layer given the one above."""
        rbm = self.model.rbms[layer]
        return array(rbm.visible.bias) + y @ array(rbm.weight).T

    def up(self, layer, x):
        """Return the fields of layer ``layer + 1`` in the recognition network."""
        rbm = self.model.rbms[layer]
        own = self.model.recognition[layer] if self.model.recognition is not None else None
        weight, bias = (rbm.weight, rbm.hidden.bias) if own is None else (own.weight, own.bias)
        return array(bias) + x @ array(weight)

    def below_the_top(self, v):
        """Return the means of the layer that the highest RBM sees, means going up."""
        for layer in range(self.model.depth - 1):
            v = mean(self.units[layer + 1], self.up(layer, v))
        return v

    def log_p(self, v):
        """Return log p(v, path, label), shape (rows, paths, labels)."""
        below = log_density(self.units[0], v[:, None], self.down(0, self.path[0])[None])
        return below[:, :, None] + self.rest

    def log_q(self, v):
        """Return log q(path | v), shape (rows, paths)."""
        total = log_density(self.units[1], self.path[0][None], self.up(0, v)[:, None])
        for layer in range(1, self.model.depth - 1):
            above = self.path[layer]
            total = total + log_density(self.units[layer + 1], above, self.up(layer, self.path[layer - 1]))
        return total

    def visible_states(self):
        """Return all visible states; of Gaussian units a few."""
        if self.units[0].kind == "gaussian":
            return array(2 * Stream(5).normal(7, self.units[0].width, torch.float64))
        return configurations(self.units[0])

    def everything(self, v):
        """Return all joint states with rows of v as the library has them: the path and the label."""
        rows, paths, labels = len(v), len(self.path[0]), len(self.codes)
        row, path, code = np.indices((rows, paths, labels)).reshape(3, -1)
        states = [torch.from_numpy(x) for x in (v[row], *(h[path] for h in self.path))]
        return states, torch.from_numpy(self.codes[code]) if self.model.classes else None


@functools.cache
def rectified(classes=None):
    """Return a network with a rectified unit between bits, all visible states, and their probabilities.

    The unit is integrated over by the trapezium rule.
    """
    model = network((3, ("relu", 1), 2), classes, scale=0.8)
    v = torch.from_numpy(configurations(model.rbms[0].visible))
    x = torch.linspace(0, 30, 30001, dtype=torch.float64)[:, None]
    step = torch.full((len(x),), 30 / 30000).double()
    step[0] = step[-1] = step[0] / 2
    field = model.generate(0, x)
    log_p = [model.rbms[0].visible.log_density(row.expand(len(x), -1), field) for row in v]
    rest = step.log() + model.log_top(x) - hm.log_partition(model, "exact").value
    return model, v, torch.stack([own + rest for own in log_p]).logsumexp(1).exp().detach()


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_a_rectified_layer_between_bits(tmp_path, classes):
    model, v, p = rectified(classes)
    assert float(p.sum()) == pytest.approx(1, abs=1e-6)
    result = hm.log_likelihood(model, v, samples=2000, method="exact")
    exact = float(p.log().mean())
    assert result.bound < exact
    assert abs(result.mean - exact) < 4 * result.standard_error
    drawn = hm.sample(model, 4000, steps=60, seed=3)[:, :3].long()
    counts = torch.bincount(drawn @ torch.tensor([4, 2, 1]), minlength=8)
    order = v.long() @ torch.tensor([4, 2, 1])
    assert stats.chisquare(counts[order], 4000 * p / p.sum()).pvalue > 1e-4
    hm.save(model, tmp_path / "model.safetensors")
    hm.save(model.top, tmp_path / "top.safetensors")
    top = hm.load(tmp_path / "top.safetensors")
    assert torch.equal(hm.load(tmp_path / "model.safetensors").top.weight, top.weight)
    with pytest.raises(ArgumentError, match=r"^visible: got ReLU.*expected units that can model data"):
        hm.DBN([hm.ReLU(3), 2])
    with pytest.raises(ArgumentError, match=r"^layers 1 and 2: .*discrete units above real ones"):
        hm.DBN([3, hm.ReLU(2), hm.Gaussian(2)])


# --- the joint distribution ---------------------------------------------------------------------


@ALL
def test_the_joint_distribution(label):
    """Directed layers times the top RBM, of all states; over all of them it sums to one."""
    model = case(label)
    exact = Exact(model)
    v = exact.visible_states()
    path, code = exact.everything(v)
    log_z = hm.log_partition(model, "exact").value
    assert log_z == pytest.approx(exact.log_partition, abs=1e-10)
    got = model.log_joint(path, code) - log_z
    assert got.dtype == torch.float64
    expected = exact.log_p(v)
    np.testing.assert_allclose(array(got), expected.ravel(), atol=1e-10)
    summed = array(model.log_joint(path) - log_z).reshape(expected.shape)
    np.testing.assert_allclose(summed, logsumexp(expected, 2)[..., None].repeat(expected.shape[2], 2))
    if exact.units[0].kind != "gaussian":
        assert got.exp().sum().item() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("label", [label for label in CASES if label.startswith("Gaussian")])
def test_a_joint_density_integrates_to_one(label):
    model = case(label)
    axis = np.linspace(-14, 14, 57)
    v = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    path, code = Exact(model).everything(v)
    total = (model.log_joint(path, code) - hm.log_partition(model, "exact").value).exp().sum()
    assert total.item() * 0.5**2 == pytest.approx(1, abs=1e-8)


@ALL
def test_the_recognition_network(label):
    """Directed layers going up: of all paths, whose probabilities sum to one for each row."""
    model = case(label)
    exact = Exact(model)
    v = exact.visible_states()
    expected = exact.log_q(v)
    row, path = np.indices(expected.shape).reshape(2, -1)
    states = [torch.from_numpy(x) for x in (v[row], *(h[path] for h in exact.path))]
    got = array(model.log_recognition(states)).reshape(expected.shape)
    np.testing.assert_allclose(got, expected, atol=1e-10)
    np.testing.assert_allclose(np.exp(got).sum(1), 1, atol=1e-10)


@ALL
def test_means_go_up_and_down(label):
    model = case(label)
    exact = Exact(model)
    v = exact.visible_states()
    x = exact.below_the_top(v)
    missing = np.zeros((len(x), model.classes or 0))
    rbm = model.top
    x = mean(rbm.hidden, array(rbm.hidden.bias) + np.hstack((x, missing)) @ array(rbm.weight))
    np.testing.assert_allclose(array(model.encode(torch.from_numpy(v))), x, atol=1e-10)
    for layer in reversed(range(model.depth)):
        field = exact.down(layer, x)[:, : exact.units[layer].width]
        x = mean(exact.units[layer], field)
    np.testing.assert_allclose(array(model.reconstruct(torch.from_numpy(v))), x, atol=1e-10)


@pytest.mark.parametrize("label", LABELLED)
def test_labels_are_told_from_the_means_that_lead_up_to_them(label):
    model = case(label)
    exact = Exact(model)
    v = exact.visible_states()
    x = exact.below_the_top(v)
    weight, b, c = (array(p) for p in (model.top.weight, model.top.visible.bias, model.top.hidden.bias))
    joint = np.stack([np.hstack((x, np.tile(code, (len(x), 1)))) for code in exact.codes], 1)
    log_p = joint @ b + logsumexp((c + joint @ weight) @ exact.highest.T, axis=2)
    expected = np.exp(log_p - logsumexp(log_p, axis=1)[:, None])
    rows = torch.from_numpy(v)
    np.testing.assert_allclose(array(hm.predict_proba(model, rows)), expected, rtol=1e-9)
    codes = torch.from_numpy(expected.argmax(1))
    assert torch.equal(hm.predict(model, rows), codes)
    labels = torch.where(torch.arange(len(v)) % 4 == 0, (codes + 1) % CLASSES, codes)
    wrong = float((labels != codes).double().mean())
    assert error_rate(model, torch.cat((rows, labels[:, None]), 1)) == wrong


def test_one_layer_tells_labels_as_its_rbm_does():
    model, rows = network((4, 3), CLASSES), torch.eye(4)
    assert torch.equal(hm.predict_proba(model, rows), hm.predict_proba(model.top, rows))


def test_a_network_without_a_label_tells_none():
    with pytest.raises(ArgumentError, match=r"^model: got a dbn without a label, expected one with"):
        hm.predict(hm.DBN([4, 3, 2]), torch.zeros(1, 4))
    model = hm.DBN([4, 3, 2], classes=3)
    with pytest.raises(ArgumentError, match=r"^sweeps: got 3, expected no such argument"):
        hm.predict(model, torch.zeros(1, 4), sweeps=3)
    with pytest.raises(DataError, match=r"^rows: got 2 at row 0, column 1"):
        hm.predict(model, torch.tensor([[0, 2, 0, 0]]))


def mean(unit, field):
    """Return the expected statistics in fields, by their definition."""
    if unit.kind == "gaussian":
        return field / precision(unit)
    states = configurations(unit)
    p = np.exp(np.array([log_density(unit, s, field) for s in states]))
    return np.einsum("sr,sw->rw", p, states)


def test_names_of_the_parameters():
    model = hm.DBN([hm.Gaussian(6), 5, 4], classes=3)
    assert [tuple(w.shape) for w in model.weights] == [(6, 5), (8, 4)]
    assert [layer.width for layer in model.layers] == [6, 8, 4]
    assert model.layers[2].bias is model.rbms[1].hidden.bias
    assert model.depth == 2
    assert model.visible.size == 7
    spread = [float(w.detach().std()) for w in hm.DBN([100, 90, 80]).weights]
    assert spread == pytest.approx([0.01, 0.01], rel=0.05)
    first, second = hm.DBN([9, 9, 9], seed=1), hm.DBN([9, 9, 9], seed=2)
    assert not torch.equal(first.weights[0], second.weights[0])
    assert not torch.equal(first.weights[0], first.weights[1])


def test_untied_weights_start_as_they_were_and_go_their_own_way():
    model = case("deep")
    v = torch.from_numpy(Exact(model).visible_states())
    before = model.encode(v)
    model.untie()
    assert torch.equal(model.encode(v), before)
    joint = [v, *(torch.zeros(len(v), n, dtype=v.dtype) for n in (3, 2))]
    p, q = model.log_joint(joint), model.log_recognition(joint)
    with torch.no_grad():
        model.recognition[0].weight.add_(1)
    assert torch.equal(model.log_joint(joint), p)
    assert not torch.equal(model.log_recognition(joint), q)
    own = model.recognition
    model.untie()
    assert model.recognition is own


# --- likelihoods --------------------------------------------------------------------------------


def likelihood(exact, v, codes=None):
    """Return log p of rows, and the variational bound, each of shape (rows)."""
    log_p, log_q = exact.log_p(v), exact.log_q(v)
    log_p = logsumexp(log_p, 2) if codes is None else log_p[np.arange(len(v)), :, codes]
    return logsumexp(log_p, 1), (np.exp(log_q) * (log_p - log_q)).sum(1)


def rows_of(exact, labelled):
    """Return rows as the library takes them, their statistics, and the labels' codes, if any."""
    v = exact.visible_states()
    rows = exact.units[0].values(torch.from_numpy(v)).double()
    if not labelled:
        return rows, v, None
    codes = np.arange(len(v)) % CLASSES
    return torch.cat((rows, torch.from_numpy(codes)[:, None]), 1), v, codes


WITH_LABELS = [(label, False) for label in CASES] + [(label, True) for label in LABELLED]


@pytest.mark.parametrize(("label", "labelled"), WITH_LABELS)
def test_bound_and_estimate_stand_on_their_sides_of_the_likelihood(label, labelled):
    exact = Exact(case(label))
    rows, v, codes = rows_of(exact, labelled)
    log_p, bound = likelihood(exact, v, codes)
    assert (bound < log_p).all()
    away = []
    for seed in range(8):
        got = hm.log_likelihood(exact.model, rows, samples=500, seed=seed)
        assert got.log_partition.value == pytest.approx(exact.log_partition)
        assert got.bound < got.mean
        assert (got.rows, got.importance_samples, got.trusted) == (len(v), 500, True)
        assert 1 < got.importance_ess < 500
        away.append(
            [
                (got.mean - log_p.mean()) / got.standard_error,
                (got.bound - bound.mean()) / got.bound_standard_error,
            ]
        )
        assert got.data_standard_error == pytest.approx(log_p.std(ddof=1) / len(v) ** 0.5, rel=0.2)
    away = np.array(away)
    assert np.abs(away).max() < 4
    chance = stats.chi2.sf((away**2).sum(0), len(away))
    assert (chance > RARE).all(), "the errors are too small"
    assert (stats.chi2.cdf((away**2).sum(0), len(away)) > RARE).all(), "the errors are too large"


def test_errors_of_each_row_are_those_of_many_repetitions():
    exact = Exact(case("deep, labelled, untied"))
    v, code = torch.from_numpy(exact.visible_states()), torch.eye(3, dtype=torch.float64)[[1]].expand(16, -1)
    stream = Stream(3, "repeat")
    several = [weigh_paths(exact.model, v, code, 200, stream) for _ in range(60)]
    bound, estimate = (torch.stack([getattr(p, n) for p in several]) for n in ("bound", "estimate"))
    for values, told in ((bound, "bound_error"), (estimate, "estimate_error")):
        expected = torch.stack([getattr(p, told) for p in several]).square().mean(0).sqrt()
        ratio = values.std(0) / expected
        assert float((ratio - 1).abs().max()) < 5 / math.sqrt(2 * 60)


def one_parent():
    """Return a network whose posterior is that of independent units, and its recognition network exact.

    Each visible unit sees one hidden unit, and these are independent of each other. So the log-odds of a
    hidden unit are its own plus what its children say.
    """
    model = network((4, 2, 3), masks=[ONE_PARENT, None])
    with torch.no_grad():
        model.weights[1].zero_()
        b, weight = model.rbms[0].visible.bias[:, None], model.weights[0]
        said = torch.nn.functional.softplus(b + weight) - torch.nn.functional.softplus(b)
        model.rbms[0].hidden.bias.copy_(model.rbms[1].visible.bias - said.sum(0))
    return model


def no_weights():
    """Return a network of independent units, the same ones for both RBMs."""
    model = network((4, 3, 3), scale=0.0)
    with torch.no_grad():
        model.rbms[0].hidden.bias.copy_(model.rbms[1].visible.bias)
    return model


def upside_down(kind="bernoulli"):
    """Return a network whose second RBM is the first one upside down."""
    model = network(((kind, 3), 3, (kind, 3)))
    with torch.no_grad():
        below, above = model.rbms
        above.weight.copy_(below.weight.T)
        above.visible.bias.copy_(below.hidden.bias)
        above.hidden.bias.copy_(below.visible.bias)
    return model


@pytest.mark.parametrize("make", [one_parent, no_weights, upside_down])
def test_the_bound_is_tight_where_the_recognition_network_is_exact(make):
    exact = Exact(make())
    rows, v, _ = rows_of(exact, labelled=False)
    log_p, bound = likelihood(exact, v)
    np.testing.assert_allclose(bound, log_p, atol=1e-10)
    got = hm.log_likelihood(exact.model, rows, samples=3)
    assert got.trusted
    assert got.importance_bias < 1e-9
    assert got.mean == pytest.approx(log_p.mean(), abs=1e-9)
    assert got.bound == pytest.approx(log_p.mean(), abs=1e-9)
    assert got.bound_standard_error < 1e-9
    assert got.standard_error < 1e-9


@pytest.mark.parametrize("kind", ["bernoulli", "spin", "categorical"])
def test_an_rbm_upside_down_on_top_changes_nothing(kind):
    """The bound is the first RBM's likelihood; with labels too, if the RBM knows nothing of them."""
    model = upside_down(kind)
    rows = model.visible.values(torch.from_numpy(configurations(model.rbms[0].visible)))
    alone = hm.log_likelihood(model.rbms[0], rows, method="exact")
    got = hm.log_likelihood(model, rows, samples=2)
    assert got.bound == pytest.approx(alone.mean, abs=1e-9)
    assert got.mean == pytest.approx(alone.mean, abs=1e-9)
    assert got.log_partition.value == pytest.approx(alone.log_partition.value, abs=1e-9)
    with torch.no_grad():
        model.weights[1].add_(Stream(0).normal(*model.weights[1].shape, torch.float64))
    other = hm.log_likelihood(model, rows, samples=200)
    assert other.bound < other.mean
    assert other.bound_standard_error > 1e-3


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_a_network_of_one_hidden_layer_is_its_rbm(classes):
    model = network((4, 3), classes=classes)
    rows = model.visible.values(model.visible.configurations(0, 16 * (classes or 1)))
    expected = hm.log_likelihood(model.top, rows)
    got = hm.log_likelihood(model, rows)
    assert (got.mean, got.bound) == pytest.approx((expected.mean, expected.mean), abs=1e-10)
    assert (got.standard_error, got.bound_standard_error, got.importance_samples) == (0, 0, 0)
    assert got.importance_ess == math.inf
    if classes:
        log_p = -model.top.free_energy(rows) - expected.log_partition.value
        summed = hm.log_likelihood(model, rows[:16, :4])
        assert summed.mean == pytest.approx(log_p.view(3, 16).logsumexp(0).mean().item(), abs=1e-10)
    assert torch.equal(hm.sample(model, 20, steps=5), hm.sample(model.top, 20, steps=5))
    assert torch.equal(model.encode(rows), model.top.encode(rows)) == (classes is None)


def test_the_bound_takes_the_upper_end_of_log_z():
    model = case("labelled")
    rows, _, _ = rows_of(Exact(model), labelled=True)
    ends = {"value": 1.0, "lower": 0.75, "upper": 1.5, "standard_error": 0.25, "method": "ais"}
    log_z = hm.LogPartition(**ends, trusted=False, reason="so it is")
    got, exact = hm.log_likelihood(model, rows, log_partition=log_z), hm.log_likelihood(model, rows)
    shift = exact.log_partition.value
    assert got.bound == pytest.approx(exact.bound + shift - 1.5)
    means = (exact.mean + shift - np.array([1.0, 1.5, 0.75])).tolist()
    assert (got.mean, got.lower, got.upper) == pytest.approx(tuple(means))
    assert got.standard_error == pytest.approx(math.hypot(0.25, exact.standard_error))
    assert got.bound_standard_error == exact.bound_standard_error
    assert (got.trusted, got.reason, got.method) == (False, "so it is", "ais")
    annealed = hm.log_partition(model, "bridge", runs=200, betas=200, seed=1)
    assert abs(annealed.value - shift) < 4 * annealed.standard_error


def test_a_single_sample_tells_nothing_of_its_error():
    model = case("bits")
    rows, _, _ = rows_of(Exact(model), labelled=False)
    got = hm.log_likelihood(model, rows, samples=1)
    assert got.standard_error == got.bound_standard_error == math.inf
    assert got.bound == pytest.approx(got.mean)


def test_the_estimate_is_low_by_what_it_says():
    """Its bias over many repetitions, to first order."""
    exact = Exact(network((4, 3, 3), scale=1.0, seed=3))
    rows, v, _ = rows_of(exact, labelled=False)
    log_p, _ = likelihood(exact, v)
    got = hm.log_likelihood(exact.model, rows.repeat(1500, 1), samples=40)
    shortfall = log_p.mean() - got.mean
    assert shortfall > 8 * got.standard_error
    assert got.importance_bias == pytest.approx(shortfall, rel=0.3)


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_an_estimate_of_few_samples_is_not_trusted(scale):
    model = network((6, 5, 5), scale=scale, seed=1)
    rows = (torch.arange(64)[:, None] >> torch.arange(6) & 1).double()
    got = hm.log_likelihood(model, rows, samples=10)
    assert got.trusted == (scale < 4)
    assert (got.importance_bias > 0.1) == (scale == 4)
    assert ("low by" in got.reason) == (scale == 4)


def test_one_sample_does_not_tell_how_low_it_is():
    got = hm.log_likelihood(network((4, 3, 3)), torch.zeros(2, 4), samples=1)
    assert not got.trusted
    assert got.reason.startswith("one sample of the hidden layers")


def test_float32_gives_nearly_the_same_likelihood():
    model = case("deep, labelled, untied")
    rows, v, codes = rows_of(Exact(model), labelled=True)
    log_p, _ = likelihood(Exact(model), v, codes)
    got = hm.log_likelihood(model.float(), rows.byte(), samples=500)
    assert abs(got.mean - log_p.mean()) < 4 * got.standard_error
    summed, _ = likelihood(Exact(model), v)
    got = hm.log_likelihood(model, rows[:, :4].bool(), samples=500)
    assert abs(got.mean - summed.mean()) < 4 * got.standard_error + 1e-5


# --- no drift -----------------------------------------------------------------------------------


def check_ancestral(model, steps, code=None, n=6000, seed=0):
    """Check rows after some steps of chains in the top RBM that start exactly in it.

    Arguments:
        model: A small network.
        steps: How many steps.
        code: The label that is clamped, if any.
        n: The number of chains.
        seed: Of the start and of the chains.
    """
    exact, sampler, stream = Exact(model), Ancestral(), Stream(seed, "ancestral")
    generator = np.random.default_rng(seed)
    labels = np.arange(len(exact.codes))
    log_p = np.where((labels == (labels if code is None else code))[:, None], exact.given_lower, -np.inf)
    p = np.exp(log_p - logsumexp(log_p.ravel()))
    drawn = generator.choice(p.size, n, p=p.ravel())
    clamp = None if code is None else torch.from_numpy(exact.codes[[code]]).expand(n, -1)
    state = sampler.init(model, n, stream, clamp=clamp)
    state["visible"] = torch.from_numpy(exact.lower[drawn // len(exact.highest)])
    state["hidden"] = torch.from_numpy(exact.highest[drawn % len(exact.highest)])
    for _ in range(steps):
        state, _ = sampler.step(model, state, stream)
    rows = sampler.rows(model, state, stream)
    given = np.arange(len(exact.codes)) if code is None else [code]
    check_rows(exact, rows, given)
    means = array(sampler.rows(model, state, stream, means=True))
    if exact.units[0].kind != "gaussian":
        joint = marginal(exact, given)
        check_mean(means[:, : exact.units[0].width], joint.sum(1) @ exact.visible_states(), 4.5)


def marginal(exact, given):
    """Return p(v, label) of all visible states, given that the label is one of some."""
    joint = np.exp(logsumexp(exact.log_p(exact.visible_states()), 1))
    kept = np.zeros_like(joint)
    kept[:, given] = joint[:, given]
    return kept / kept.sum()


def check_rows(exact, rows, given):
    """Check values of visible units and of the label against their exact distribution."""
    size, below = exact.units[0].size, exact.units[0]
    codes = rows[:, size].long().numpy() if exact.model.classes else np.zeros(len(rows), int)
    s = array(below.statistics(rows[:, :size]))
    if below.kind != "gaussian":
        joint = marginal(exact, given)
        place = number(s, exact.visible_states())
        check_frequencies(place * joint.shape[1] + codes, joint.ravel())
        return
    p = np.exp(exact.rest)
    kept = np.zeros_like(p)
    kept[:, given] = p[:, given]
    kept /= kept.sum()
    if len(given) > 1:
        check_frequencies(codes, kept.sum(0))
    assert set(codes) <= set(given)
    centre, spread = exact.down(0, exact.path[0]) / precision(below), 1 / precision(below)
    check_mean(s, kept.sum(1) @ centre, 4.5)
    check_mean(s**2, kept.sum(1) @ (centre**2 + spread), 4.5)
    check_mean(s.prod(1), kept.sum(1) @ centre.prod(1), 4.5)


@pytest.mark.parametrize("steps", [1, 4])
@ALL
def test_no_drift_of_ancestral_samples(label, steps):
    check_ancestral(case(label), steps)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("label", LABELLED)
def test_no_drift_of_ancestral_samples_with_a_label(label, steps):
    check_ancestral(case(label), steps, code=2)


def check_completion(model, steps, clamp, code=None, n=6000, seed=0):
    """Check all layers after some steps of chains that start exactly in the conditional distribution.

    Arguments:
        model: A small network.
        steps: How many steps.
        clamp: Visible statistics to keep, shape (width), NaN where free.
        code: The label that is clamped, if any.
        n: The number of chains.
        seed: Of the start and of the chains.
    """
    exact, sampler, stream = Exact(model), Completion(), Stream(seed, "completion")
    generator = np.random.default_rng(seed)
    clamp, below = np.array(clamp), exact.units[0]
    held, gaussian = ~np.isnan(clamp), below.kind == "gaussian"
    field = exact.down(0, exact.path[0])
    if gaussian:
        centre, deviation = field / precision(below), precision(below) ** -0.5
        seen = stats.norm.logpdf(clamp[held], centre[:, held], deviation[held]).sum(1)
        log_p = (seen[:, None] + exact.rest)[None]
    else:
        states = exact.visible_states()
        log_p = exact.log_p(states)
        log_p[(states != clamp)[:, held].any(1)] = -np.inf
    if code is not None:
        log_p[..., np.arange(log_p.shape[2]) != code] = -np.inf
    p = np.exp(log_p - logsumexp(log_p.ravel()))
    row, path, label = np.unravel_index(generator.choice(p.size, n, p=p.ravel()), p.shape)
    if gaussian:
        v = np.where(held, clamp, centre[path] + deviation * generator.normal(size=(n, len(clamp))))
    else:
        v = states[row]
    fixed = np.full(len(exact.codes), np.nan) if code is None else exact.codes[code]
    whole = np.concatenate((clamp, fixed)) if model.classes else clamp
    state = sampler.init(model, n, stream, None, torch.from_numpy(whole).expand(n, -1))
    layers = [v, *(h[path] for h in exact.path)]
    state |= {f"layer {i}": torch.from_numpy(x) for i, x in enumerate(layers)}
    if model.classes:
        state["label"] = torch.from_numpy(exact.codes[label])
    rates = []
    for _ in range(steps):
        state, info = sampler.step(model, state, stream)
        rates.append(float(info["acceptance"]))
    assert np.mean(rates) > 0.05
    path, label = paths(exact, state), array(state["label"]).argmax(1) if model.classes else 0
    v = array(state["layer 0"])
    assert (v[:, held] == clamp[held]).all()
    row = 0 if gaussian else number(v, states)
    check_frequencies((row * p.shape[1] + path) * p.shape[2] + label, p.ravel())
    if gaussian:
        deviates = (v - centre[path]) / deviation
        check_mean(deviates[:, ~held], 0.0, 4.5)
        check_mean(deviates[:, ~held] ** 2, 1.0, 4.5)
    check_completed_rows(sampler, model, state, stream, held)


def paths(exact, state):
    """Return the number of each chain's path."""
    table = np.concatenate(exact.path, 1)
    got = np.concatenate([array(state[f"layer {i + 1}"]) for i in range(len(exact.path))], 1)
    return number(got, table)


def check_completed_rows(sampler, model, state, stream, held):
    """Check that rows are the chains' values, and means those given the layer above, clamped units apart."""
    below, v = model.rbms[0].visible, state["layer 0"]
    rows, means = sampler.rows(model, state, stream), sampler.rows(model, state, stream, means=True)
    assert torch.equal(below.statistics(rows[:, : below.size]), v)
    expected = mean(below, Exact(model).down(0, array(state["layer 1"])))
    got = array(means[:, : below.width])
    np.testing.assert_allclose(got[:, ~held], expected[:, ~held], atol=1e-10)
    assert (got[:, held] == array(v)[:, held]).all()
    if model.classes:
        assert torch.equal(rows[:, -1].long(), state["label"].argmax(1))


CLAMPS = {
    "bernoulli": [1.0, NAN, 0.0, NAN],
    "spin": [-1.0, NAN, NAN],
    "categorical": [0.0, 1.0, 0.0, NAN, NAN, NAN],
    "gaussian": [0.75, NAN],
}
SCALE = 0.8


def clamp_of(label):
    """Return what is clamped in a case."""
    first = CASES[label]["layers"][0]
    return CLAMPS["bernoulli" if isinstance(first, int) else first[0]]


@pytest.mark.parametrize("steps", [1, 4])
@ALL
def test_no_drift_of_completions(label, steps):
    check_completion(case(label, scale=SCALE), steps, clamp_of(label))


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("label", LABELLED)
def test_no_drift_of_completions_with_a_label(label, steps):
    check_completion(case(label, scale=SCALE), steps, clamp_of(label), code=1)


def proposals_as_if_symmetric(patch):
    """What the recognition network proposes is judged by the joint distribution alone."""
    patch.setattr(_ancestral, "_log_weight", lambda model, path, label: model.log_joint(path, label))


def proposals_always_accepted(patch):
    """The recognition network stands in for the posterior."""
    patch.setattr(
        _ancestral, "_log_weight", lambda model, path, label: torch.zeros(len(path[0]), dtype=torch.float64)
    )


def label_left_out(patch):
    """Layers are accepted as if there were no label."""
    weight = _ancestral._log_weight
    patch.setattr(_ancestral, "_log_weight", lambda model, path, label: weight(model, path, None))


def labels_all_alike(patch):
    """A label is drawn without regard to the layer beside it."""
    draw = _ancestral._draw_label
    patch.setattr(
        _ancestral, "_draw_label", lambda model, x, stream: draw(model, torch.zeros_like(x), stream)
    )


def visible_units_rounded(patch):
    """The visible units are the rounded means of a pass down."""

    def descend(model, x, stream, means=False):
        return model.rbms[0].visible.mean(model.generate(0, x)).round()

    patch.setattr(_ancestral, "descend", descend)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (proposals_as_if_symmetric, lambda: check_completion(case("deep"), 4, CLAMPS["bernoulli"])),
        (proposals_as_if_symmetric, lambda: check_completion(case("Gaussian"), 4, CLAMPS["gaussian"])),
        (proposals_always_accepted, lambda: check_completion(case("bits"), 4, CLAMPS["bernoulli"])),
        (label_left_out, lambda: check_completion(case("labelled"), 4, CLAMPS["bernoulli"], code=0)),
        (labels_all_alike, lambda: check_completion(case("labelled"), 4, CLAMPS["bernoulli"])),
        (visible_units_rounded, lambda: check_ancestral(case("bits"), 1)),
    ],
)
def test_a_check_turns_red(monkeypatch, fault, check):
    check()
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=r"total variation|chi-square"):
        check()


def test_a_step_leaves_the_state_it_was_given_alone():
    model, stream = case("labelled"), Stream(0)
    clamp = torch.tensor([[1.0, NAN, NAN, NAN, NAN, NAN, NAN]], dtype=torch.float64).expand(30, -1)
    sampler = Completion()
    state = sampler.init(model, 30, stream, None, clamp)
    before = {name: x.clone() for name, x in state.items()}
    sampler.step(model, state, stream)
    assert all(torch.equal(state[name].nan_to_num(9), before[name].nan_to_num(9)) for name in before)


# --- hm.sample ----------------------------------------------------------------------------------


@ALL
def test_sample_draws_from_the_network(label):
    model = case(label, scale=0.5)
    rows = hm.sample(model, 3000, steps=30, seed=2)
    assert rows.shape == (3000, model.visible.size)
    model.visible.validate(rows)
    exact = Exact(model)
    check_rows(exact, rows, np.arange(len(exact.codes)))


@pytest.mark.parametrize("label", LABELLED)
def test_sample_with_a_label(label):
    model = case(label, scale=0.5)
    free = [NAN] * (model.visible.size - 1)
    rows = hm.sample(model, 3000, steps=30, seed=2, clamp=[*free, 1.0])
    assert (rows[:, -1] == 1).all()
    check_rows(Exact(model), rows, [1])


@ALL
def test_sample_keeps_visible_units(label):
    model = case(label, scale=0.5)
    below = model.rbms[0].visible
    clamp = torch.full((model.visible.size,), NAN)
    clamp[0] = 1
    rows = hm.sample(model, 2000, steps=20, seed=2, clamp=clamp)
    assert (rows[:, 0] == 1).all()
    assert len(rows[:, 1].unique()) > 1
    exact = Exact(model)
    if below.kind == "gaussian":
        seen = stats.norm.logpdf(
            1, exact.down(0, exact.path[0])[:, 0] / precision(below)[0], precision(below)[0] ** -0.5
        )
        p = np.exp(exact.rest + seen[:, None])
    else:
        states = exact.visible_states()
        right = (array(below.values(torch.from_numpy(states)))[:, 0] == 1)[:, None]
        p = np.exp(logsumexp(exact.log_p(states), 1)) * right
    if model.classes:
        check_frequencies(rows[:, -1].long().numpy(), p.sum(0) / p.sum())
    if below.kind != "gaussian":
        place = number(array(below.statistics(rows[:, : below.size])), states)
        check_frequencies(place, p.sum(1) / p.sum())
    means = hm.sample(model, 50, steps=3, clamp=clamp, means=True)
    assert means.shape == (50, model.visible.width)


def test_sample_of_a_row_of_its_own_for_each_chain():
    """Some rows have pixels clamped, some a label, some nothing."""
    model = case("labelled", scale=0.5)
    clamp = torch.tensor([[1.0, NAN, NAN, 0.0, NAN], [NAN, NAN, NAN, NAN, 2.0], [NAN] * 5])
    rows = hm.sample(model, 6000, steps=30, seed=3, clamp=clamp.repeat_interleave(2000, 0))
    first, second, third = rows.split(2000)
    assert (first[:, [0, 3]] == torch.tensor([1.0, 0.0])).all()
    assert (second[:, 4] == 2).all()
    exact = Exact(model)
    check_rows(exact, second, [2])
    check_rows(exact, third, np.arange(3))


def test_sample_starts_where_it_is_told():
    model = case("labelled")
    with torch.no_grad():
        for rbm in model.rbms:
            rbm.weight.zero_()
        model.rbms[0].weight[:3, :3] = 60 * torch.eye(3)
        model.rbms[0].hidden.bias.fill_(-30)
        model.rbms[0].visible.bias.fill_(-30)
    start = torch.tensor([[1, 0, 1, 0, 2], [0, 1, 0, 0, 1]]).repeat(5, 1)
    assert torch.equal(hm.sample(model, 10, steps=0, start=start), start.double())
    means = hm.sample(model, 10, steps=0, start=start, means=True)
    assert torch.allclose(means[:, :4], start[:, :4].double(), atol=1e-6)
    with pytest.raises(DataError, match="start: got 10 rows"):
        hm.sample(model, 5, start=start)
    clamp = torch.full((10, 5), NAN)
    clamp[:, 3] = 1
    kept = hm.sample(model, 10, steps=0, start=start, clamp=clamp)
    assert torch.equal(kept[:, :3], start[:, :3].double())
    assert (kept[:, 3] == 1).all()


def test_sample_with_replicas_and_a_temperature():
    """They are those of the top RBM; the layers below follow as they are."""
    model = case("labelled", scale=0.5)
    exact = Exact(model)
    check_rows(exact, hm.sample(model, 2000, steps=20, replicas=3, seed=1), np.arange(3))
    told = []
    rows = hm.sample(model, 2000, steps=20, temperature=2.0, seed=1, progress=told.append)
    assert told == [*range(1, 21)]
    log_p = exact.given_lower / 2
    p = np.exp(logsumexp(log_p, 2) - logsumexp(log_p.ravel()))
    v = exact.visible_states()
    below = np.exp(log_density(exact.units[0], v[:, None], exact.down(0, exact.path[0])[None]))
    joint = np.einsum("vh,hy->vy", below, p)
    place = number(array(rows[:, :4]), v)
    check_frequencies(place * 3 + rows[:, 4].long().numpy(), joint.ravel())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 2}, "replicas: got more than one, expected 1 where visible units"),
        ({"temperature": 0.5}, "temperature: got one other than 1, expected 1 where visible units"),
    ],
)
def test_sample_refuses_what_completions_have_not(options, message):
    with pytest.raises(ArgumentError, match=message):
        hm.sample(case("bits"), 5, clamp=[1.0, NAN, NAN, NAN], **options)


def test_sample_of_a_mixed_layer_with_a_label():
    layer = hm.Mixed(hm.Bernoulli(2), hm.Gaussian(1), hm.Categorical(1, 4))
    model = hm.DBN([layer, 3, 2], classes=3)
    with torch.no_grad():
        model.rbms[0].visible.bias[2] = 50
    assert torch.equal(model.visible.bias[:7], model.rbms[0].visible.bias)
    rows = hm.sample(model, 40, steps=3)
    model.visible.validate(rows)
    assert rows.shape == (40, 5)
    assert bool((rows[:, 2] > 40).all())
    assert hm.sample(model, 4, steps=3, means=True).shape == (4, 10)
    assert math.isfinite(hm.log_likelihood(model, rows).bound)
    assert model.encode(rows).shape == (40, 2)


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("double", [False, True])
@ALL
def test_a_network_comes_back_from_its_file(tmp_path, label, double):
    model = case(label)
    model = model if double else model.float()
    hm.save(model, tmp_path / "model.safetensors")
    again = hm.load(tmp_path / "model.safetensors")
    check_same(model, again)
    twin = model_from_config("dbn", model.config()).to(model.dtype)
    twin.load_state_dict(model.state_dict())
    check_same(model, twin)
    check_same(model, copy.deepcopy(model))


def check_same(model, again):
    """Check that two networks are alike, and share nothing."""
    first, second = model.state_dict(), again.state_dict()
    assert first.keys() == second.keys()
    for name, x in first.items():
        assert x.dtype == second[name].dtype
        assert torch.equal(x.nan_to_num(7), second[name].nan_to_num(7)), name
        assert x.data_ptr() != second[name].data_ptr()
    assert again.config() == model.config()
    assert again.dtype == model.dtype
    rows = hm.sample(model, 5, steps=2)
    assert torch.equal(hm.sample(again, 5, steps=2), rows)
    assert hm.log_likelihood(again, rows, samples=5) == hm.log_likelihood(model, rows, samples=5)
    with torch.no_grad():
        for p in again.parameters():
            p.fill_(1)
    again.project()
    for layer, (rbm, kept) in enumerate(zip(again.rbms, model.rbms, strict=True)):
        mask = torch.ones_like(rbm.weight) if kept.weight_mask is None else kept.weight_mask
        assert torch.equal(rbm.weight, mask)
        if again.recognition is not None and layer < again.depth - 1:
            assert torch.equal(again.recognition[layer].weight, mask)


def test_a_mask_holds_for_both_networks_without_a_projection():
    """Weights that a mask leaves out take no part, whatever they are, and have no gradient."""
    model = case("sparse, labelled, untied")
    v = torch.from_numpy(Exact(model).visible_states())
    path = [v, torch.ones(len(v), 3, dtype=v.dtype)]
    before = [model.log_joint(path), model.log_recognition(path)]
    masks = [model.rbms[0].weight_mask, model.rbms[1].weight_mask, model.rbms[0].weight_mask]
    weights = [*model.weights, model.recognition[0].weight]
    with torch.no_grad():
        for weight, mask in zip(weights, masks, strict=True):
            weight.add_(5 * (1 - mask))
    after = [model.log_joint(path), model.log_recognition(path)]
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)
    sum(x.sum() for x in after).backward()
    for weight, mask in zip(weights, masks, strict=True):
        assert torch.equal(weight.grad != 0, mask != 0)


# --- masks --------------------------------------------------------------------------------------


def test_random_masks():
    mask = hm.random_mask(20, 50, 6, seed=3)
    assert (mask.shape, mask.dtype) == ((20, 50), torch.bool)
    assert (mask.sum(0) == 6).all()
    assert len(torch.unique(mask.T, dim=0)) > 40
    assert torch.equal(mask, hm.random_mask(20, 50, 6, seed=3))
    assert not torch.equal(mask, hm.random_mask(20, 50, 6, seed=4))
    assert hm.random_mask(5, 3, 5).all()
    seen = hm.random_mask(20, 3000, 6).double().mean(1)
    assert float((seen - 0.3).abs().max()) < 4.5 * math.sqrt(0.3 * 0.7 / 3000)


def test_local_masks():
    """Each hidden unit sees one square; no square comes again before all have come."""
    mask = hm.local_mask((5, 6), 25, 3, seed=1)
    assert (mask.shape, mask.dtype) == ((30, 25), torch.bool)
    corners = []
    for window in mask.T.view(25, 5, 6):
        y, x = window.nonzero().amin(0).tolist()
        expected = torch.zeros(5, 6, dtype=torch.bool)
        expected[y : y + 3, x : x + 3] = True
        assert torch.equal(window, expected)
        corners.append((y, x))
    assert len(set(corners[:12])) == len(set(corners[12:24])) == 12
    assert corners[:12] != corners[12:24]
    assert torch.equal(mask, hm.local_mask((5, 6), 25, 3, seed=1))
    assert not torch.equal(mask, hm.local_mask((5, 6), 25, 3, seed=2))


@pytest.mark.parametrize(
    "rule", [hm.CD(), hm.PCD(chains=10), hm.Pseudolikelihood()], ids=lambda rule: type(rule).__name__
)
def test_training_leaves_what_is_masked(rule):
    mask = hm.random_mask(6, 5, 3, seed=2)
    data = np.random.default_rng(0).integers(0, 2, (60, 6))
    for options in ({}, {"optimizer": "Adam", "lr": 0.01, "weight_decay": 0.01}, {"init": "pca"}):
        model = hm.RBM(6, 5, weight_mask=mask)
        before = model.weight.detach().clone()
        hm.fit(model, data, rule, epochs=2, batch_size=20, **options)
        assert torch.equal(model.weight != 0, mask)
        assert bool((model.weight != before)[mask].all())


@pytest.mark.parametrize(
    "pair", [("bernoulli", "spin"), ("categorical", "bernoulli"), ("gaussian", "bernoulli")]
)
def test_a_masked_rbm_is_the_boltzmann_machine_of_that_mask(pair):
    visible, hidden = (unit((kind, size)) for kind, size in zip(pair, (4, 3), strict=True))
    mask = SPARSE[0]
    machines = [
        hm.RBM(visible, hidden, weight_mask=mask, seed=1),
        hm.BoltzmannMachine(
            copy.deepcopy(visible),
            copy.deepcopy(hidden),
            weight_mask=mask,
            seed=1,
            visible_edges=False,
            hidden_edges=False,
        ),
    ]
    state = {block: draw(machines[0].layer(block), 7) for block in ("visible", "hidden")}
    with torch.no_grad():
        for machine in machines:
            machine.weight.add_(1)
    weight = torch.linspace(-1, 1, 7)
    found = [
        [
            machine.energy(state),
            machine.free_energy(state["visible"]),
            *(machine.field(block, state) for block in state),
            *(x for _, x in sorted(machine.moments(state, weight).items())),
            *(x for _, x in sorted(machine.state_dict().items())),
        ]
        for machine in machines
    ]
    assert all(torch.equal(a.nan_to_num(9), b.nan_to_num(9)) for a, b in zip(*found, strict=True))
    moment = machines[0].moments(state, weight)["weight"]
    assert not moment[machines[0].weight_mask == 0].any()
    assert moment.any()
    wide = torch.tensor(mask).repeat_interleave(visible.width // 4, 0)
    assert torch.equal(machines[0].weight_mask, wide.float())


def draw(unit, n):
    """Return states of a layer, drawn without a field."""
    return unit.sample(unit.noise_field(n), Stream(1, unit.kind)).detach()


def test_a_masked_rbm_comes_back_from_its_file(tmp_path):
    model = hm.RBM(hm.Categorical(4, 3), 3, weight_mask=SPARSE[0])
    hm.save(model, tmp_path / "rbm.safetensors")
    again = hm.load(tmp_path / "rbm.safetensors")
    assert torch.equal(again.weight_mask, model.weight_mask)
    assert torch.equal(again.weight, model.weight)
    assert again.config() == model.config()
    assert "masked" not in hm.RBM(4, 3).config()


CUT = torch.ones(4, 3, dtype=torch.bool)
CUT[3] = CUT[:, 1] = False
IDLE = {
    "RBM": (
        lambda: hm.RBM(4, 3, weight_mask=CUT),
        [
            "weight_mask: visible unit 3 has no coupling to hidden",
            "weight_mask: hidden unit 1 has no coupling",
        ],
    ),
    "codes": (
        lambda: hm.RBM(hm.Mixed(hm.Bernoulli(3), hm.Categorical(1, 5)), 3, weight_mask=CUT),
        ["visible unit 3 has", "hidden unit 1 has"],
    ),
    "Boltzmann machine": (
        lambda: hm.BoltzmannMachine(4, 3, weight_mask=CUT, visible_edges=False, hidden_edges=[[0, 1]]),
        ["visible unit 3 has"],
    ),
    "network": (
        lambda: hm.DBN([4, 3, 2], masks=[CUT, [[0, 0], [1, 1], [0, 0]]], classes=2),
        [
            "masks[0]: layer 0 unit 3 has no coupling to layer 1 units",
            "masks[0]: layer 1 unit 1 has no coupling to layer 0 units",
            "masks[1]: layer 1 units 0, 2 have no coupling to layer 2 units",
        ],
    ),
    "many": (
        lambda: hm.RBM(20, 2, weight_mask=[[1, 1], *[[0, 0]] * 19]),
        ["visible units 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ... have no coupling"],
    ),
}


@pytest.mark.parametrize("label", IDLE)
def test_a_mask_that_cuts_a_unit_off_is_told(tmp_path, label):
    make, messages = IDLE[label]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = make()
    assert all(issubclass(found.category, HarmoniumWarning) for found in caught)
    assert len(caught) == len(messages)
    for found, message in zip(caught, messages, strict=True):
        assert message in str(found.message)
    hm.save(model, tmp_path / "model.safetensors")
    assert torch.equal(hm.load(tmp_path / "model.safetensors").state_dict()[mask_name(model)], mask_of(model))


def mask_name(model):
    return "rbms.0.weight_mask" if model.kind == "dbn" else "weight_mask"


def mask_of(model):
    return model.state_dict()[mask_name(model)]


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hm.DBN([784]), r"layers: got \[784\], expected at least two layers"),
        (lambda: hm.DBN([]), "layers: got .*at least two layers"),
        (lambda: hm.DBN("784-500"), "layers: got '784-500', expected a list"),
        (lambda: hm.DBN(784), "layers: got 784, expected a list"),
        (lambda: hm.DBN([4, 2.5]), "hidden 1: got 2.5"),
        (lambda: hm.DBN([4, 3, 0]), "hidden 2: got 0"),
        (lambda: hm.DBN([hm.ReLU(4), 3, 2]), "visible: got ReLU"),
        (lambda: hm.DBN([hm.Gaussian(4), hm.Gaussian(3), 2]), "layers 0 and 1: hidden: got Gaussian"),
        (lambda: hm.DBN([4, hm.Gaussian(3), hm.Gaussian(2)]), "layers 1 and 2: hidden: got Gaussian"),
        (lambda: hm.DBN([4, hm.Gaussian(3, 1.0, True), 2]), "layers 0 and 1: hidden: .*a fixed precision"),
        (lambda: hm.DBN([4, 3, 2], classes=1), "classes: got 1, expected at least two classes"),
        (lambda: hm.DBN([4, 3, 2], classes=True), "classes: got True"),
        (lambda: hm.DBN([4, 3, 2], masks=[None]), "masks: got 1, expected 2"),
        (lambda: hm.DBN([4, 3, 2], masks=[None, np.ones((4, 3))]), r"masks\[1\]: got \(4, 3\), .*\(3, 2\)"),
        (
            lambda: hm.DBN([4, 3, 2], masks=[None, np.ones((4, 2))], classes=3),
            r"masks\[1\]: got \(4, 2\), expected shape \(3, 2\): layer 1 x layer 2",
        ),
        (lambda: hm.DBN([4, 3, 2], masks=[np.ones(4), None], classes=3), r"masks\[0\]: got \(4,\)"),
        (lambda: hm.DBN([4, 3], masks=[np.ones(4)], classes=3), r"masks\[0\]: got \(4,\)"),
        (lambda: hm.RBM(4, 3, weight_mask=np.ones((3, 4))), r"weight_mask: got \(3, 4\), .*\(4, 3\)"),
        (lambda: hm.RBM(4, 3, weight_mask=np.full((4, 3), math.nan)), "weight_mask: got nan, .*truth values"),
        (lambda: hm.DBN([4, 3], masks=[np.full((4, 3), 2)]), r"masks\[0\]: got 2, expected truth values"),
        (lambda: hm.random_mask(4, 3, 5), "inputs: got 5, expected at most the 4"),
        (lambda: hm.random_mask(4, 0, 5), "hidden: got 0"),
        (lambda: hm.local_mask((4, 6), 3, 5), "size: got 5, expected at most 4"),
        (lambda: hm.local_mask((4,), 3, 2), r"shape: got \(4,\)"),
        (lambda: hm.local_mask((4, -1), 3, 2), "shape: got -1"),
        (lambda: hm.local_mask((4, 4), 3, 0), "size: got 0"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(HarmoniumError, match=message) as found:
        make()
    assert isinstance(found.value, (ValueError, TypeError))


def test_mistakes_of_what_is_asked_are_named():
    model = case("labelled")
    rows = torch.zeros(3, 5)
    with pytest.raises(DataError, match="column 2"):
        hm.log_likelihood(model, torch.tensor([[0, 1, 0.5, 1]]))
    with pytest.raises(DataError, match="got 3 at row 0, column 4"):
        hm.log_likelihood(model, torch.tensor([[0, 1, 0, 1, 3]]))
    with pytest.raises(DataError, match=r"got shape \(3, 3\)"):
        hm.log_likelihood(model, rows[:, :3])
    for samples in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="samples: got"):
            hm.log_likelihood(model, rows, samples=samples)
    with pytest.raises(ArgumentError, match="samples: got 5, expected None"):
        hm.log_likelihood(model.top, rows, samples=5)
    with pytest.raises(ArgumentTypeError, match="model: got Linear"):
        hm.log_likelihood(torch.nn.Linear(2, 2), rows)
    with pytest.raises(ArgumentTypeError, match="model: got Linear"):
        hm.sample(torch.nn.Linear(2, 2))
    with pytest.raises(ArgumentTypeError, match="model: got DBN"):
        hm.conditional_log_likelihood(model, rows, torch.ones(5, dtype=torch.bool))
    with pytest.raises(DataError, match="clamp: got shape"):
        hm.sample(model, 3, clamp=[NAN] * 4)
