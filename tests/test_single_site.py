"""Rules of single sites against loops over the sites that are written from their definitions."""

from functools import partial

import numpy as np
import pytest
import torch
from _checks import gradient, nothing, trainable
from _models import name
from torch.nn.functional import softplus

import harmonium as hm
from harmonium import Stream, kernels
from harmonium.errors import ArgumentError, DataError
from harmonium.kernels import _tiles, cpu
from harmonium.kernels import eager as reference
from harmonium.learning import RULES, Batch
from harmonium.learning._single_site import log_odds
from harmonium.models import Coupling, PairwiseModel
from harmonium.training._source import open_source
from harmonium.units import Mixed, ReLU

NAMES = ("pseudolikelihood", "ratio-matching", "probability-flow")
LAYERS = {
    "bernoulli": hm.Bernoulli,
    "spin": hm.Spin,
    "categorical": lambda n: hm.Categorical(n, 3),
    "mixed": lambda n: Mixed(hm.Bernoulli(n - 2), hm.Categorical(1, 3), hm.Spin(1)),
    "binary": lambda n: Mixed(hm.Bernoulli(n - 1), hm.Spin(1)),
    "gaussian": lambda n: hm.Gaussian(n, precision=0.7),
    "relu": lambda n: ReLU(n, precision=1.3),
}
VISIBLE = ("bernoulli", "spin", "categorical", "mixed")
BINARY = [("bernoulli", "bernoulli"), ("spin", "bernoulli"), ("bernoulli", "spin"), ("spin", "spin")]
RULE = pytest.mark.parametrize("kind", NAMES)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
SPIN = pytest.mark.parametrize("spin", [False, True], ids=["bernoulli", "spin"])
STEP = pytest.mark.parametrize("step", [1.0, 2.0])


class Fork(PairwiseModel):
    """A visible layer under two hidden ones, the second of which is the lower end of its coupling."""

    kind = "fork"

    def __init__(self, visible, left, right):
        super().__init__()
        self.visible, self.left, self.right = visible, left, right
        self.one = torch.nn.Parameter(torch.zeros(visible.width, left.width))
        self.two = torch.nn.Parameter(torch.zeros(right.width, visible.width))

    def config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError

    def blocks(self):
        return ("visible", "left", "right")

    def layer(self, block):
        return getattr(self, block)

    def couplings(self):
        return (Coupling("visible", "left", "one"), Coupling("right", "visible", "two"))


def filled(model, scale=1.0, seed=0):
    """Fill the parameters that are trained at random, float64."""
    model = model.double()
    with torch.no_grad():
        for key, p in trainable(model).items():
            size = scale if p.ndim == 2 else 0.5
            p.copy_(size * Stream(seed, key).normal(1, p.numel(), p.dtype).view_as(p))
    model.project()
    return model


def rbm(visible, hidden, sizes=(4, 3), **options):
    """Return a restricted machine."""
    return filled(hm.RBM(LAYERS[visible](sizes[0]), LAYERS[hidden](sizes[1])), **options)


def lateral(visible, hidden=None, **options):
    """Return a machine whose visible units are coupled among each other, above them hidden ones or none."""
    above = hidden and LAYERS[hidden](3)
    return filled(hm.BoltzmannMachine(LAYERS[visible](4), above, hidden_edges=False), **options)


def fork(visible, left, right, **options):
    """Return a machine of two hidden layers."""
    return filled(Fork(LAYERS[visible](4), LAYERS[left](3), LAYERS[right](2)), **options)


MACHINES = {
    **{f"rbm-{v}-{h}": partial(rbm, v, h) for v in VISIBLE for h in LAYERS},
    **{f"lateral-{v}": partial(lateral, v) for v in VISIBLE[:3]},
    **{f"lateral-{v}-{h}": partial(lateral, v, h) for v in VISIBLE[:3] for h in LAYERS},
    "fork-bernoulli-bernoulli-spin": partial(fork, "bernoulli", "bernoulli", "spin"),
    "fork-spin-categorical-gaussian": partial(fork, "spin", "categorical", "gaussian"),
}
MACHINE = pytest.mark.parametrize("machine", MACHINES)
SOME = pytest.mark.parametrize(
    "machine",
    [
        *("rbm-bernoulli-bernoulli", "rbm-spin-bernoulli", "rbm-bernoulli-gaussian", "rbm-categorical-spin"),
        *("rbm-mixed-categorical", "rbm-spin-relu", "lateral-spin", "lateral-categorical"),
        *("lateral-categorical-bernoulli", "lateral-bernoulli-mixed", "fork-bernoulli-bernoulli-spin"),
    ],
)


def all_states(model):
    """Return all visible states."""
    return model.visible.configurations(0, int(model.visible.count())).to(model.dtype)


def states(model, rows=7, seed=3):
    """Return rows of random visible states."""
    every = all_states(model)
    return every[Stream(seed).permutation(len(every))[:rows]]


def uneven(rows, seed=4):
    """Return uneven weights, one of them zero."""
    weights = Stream(seed).uniform(rows, 1, torch.float64)[:, 0]
    weights[0] = 0
    return weights


def sites(unit):
    """Return for each unit its columns and its values, in one layer or in several side by side."""
    found, first = [], 0
    for part in getattr(unit, "parts", [unit]):
        columns = part.width // part.size
        for _ in range(part.size):
            found.append((slice(first, first + columns), part.support().double()))
            first += columns
    return found


def changed(model, row):
    """Yield for each unit of a row the rows in which it has each of its values, and which is its own."""
    for columns, values in sites(model.visible):
        rows = row.repeat(len(values), 1)
        rows[:, columns] = values.to(row)
        (own,) = (rows == row).all(1).nonzero()[:, 0].tolist()
        yield rows, own


def of_site(kind, log_p, own):
    """Return a unit's loss, given log p of the row with each of the unit's values, up to a constant."""
    if kind == "pseudolikelihood":
        return torch.logsumexp(log_p, 0) - log_p[own]
    if kind == "ratio-matching":
        truth = torch.zeros_like(log_p)
        truth[own] = 1
        return 0.5 * (torch.softmax(log_p, 0) - truth).square().sum()
    total = 0
    for k in range(len(log_p)):
        odds = log_p[k] - log_p[own]
        if k != own:
            total = total + (torch.exp(odds / 2) if odds.item() < 40 else np.exp(20) * (odds / 2 - 19))
    return total


def naive(kind, model, v, weights):
    """Return a rule's loss by a loop over rows and sites, from free energies alone."""
    total = 0
    for row, weight in zip(v, weights, strict=True):
        rows, places = zip(*changed(model, row), strict=True)
        log_p = -model.free_energy(torch.cat(rows))
        for each, own in zip(log_p.split([len(r) for r in rows]), places, strict=True):
            total = total + weight * of_site(kind, each, own)
    return total


def updated(kind, model, batch):
    """Return a rule's loss of a batch, and leave its gradient in the model."""
    _, metrics = RULES[kind]().update(model, batch, {}, Stream(0), nothing)
    return metrics["loss"].item()


def check_update(kind, model, batch, v=None, weights=None, **tolerance):
    """Compare a rule's loss and gradient with those of the loop."""
    v, weights = batch.values if v is None else v, batch.weights if weights is None else weights
    loss = naive(kind, model, v, weights)
    parameters = trainable(model)
    expected = torch.autograd.grad(loss, list(parameters.values()))
    got = updated(kind, model, batch)
    tolerance = {"rtol": 1e-9, "atol": 1e-11} | tolerance
    np.testing.assert_allclose(got, loss.item(), **tolerance)
    for (key, p), value in zip(parameters.items(), expected, strict=True):
        torch.testing.assert_close(p.grad, value, **tolerance, msg=lambda m, key=key: f"{key}: {m}")


# --- losses and gradients -----------------------------------------------------------------------


@RULE
@MACHINE
def test_loss_and_gradient_are_those_of_a_loop_over_sites(machine, kind):
    model = MACHINES[machine]()
    v = states(model)
    check_update(kind, model, Batch(v, uneven(len(v)), torch.arange(len(v))))
    assert all(p.grad.abs().max() > 1e-3 for p in trainable(model).values())


@RULE
@pytest.mark.parametrize("pair", BINARY, ids=name)
def test_plain_torch_gives_the_same(pair, kind, eager):
    model = rbm(*pair)
    v = states(model)
    check_update(kind, model, Batch(v, uneven(len(v)), torch.arange(len(v))))


@RULE
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("machine", ["rbm-bernoulli-spin", "rbm-categorical-bernoulli"])
def test_each_batch_is_divided_by_its_own_size(machine, kind, weighted):
    """Also the last one, which is smaller."""
    model = MACHINES[machine]()
    v = states(model, 16)
    weights = torch.arange(16).double() % 3 if weighted else None
    relative = torch.ones(16, dtype=torch.float64) if weights is None else weights / weights.mean()
    source, *_ = open_source(model.visible, v, Stream(0), 6, 2, weights)
    sizes = []
    for batch in source.batches(0):
        sizes.append(len(batch.rows))
        check_update(kind, model, batch, v[batch.rows], relative[batch.rows] / sizes[-1])
    assert sizes == [6, 6, 4]


@RULE
@pytest.mark.parametrize("most", [1, 9, 50])
@pytest.mark.parametrize("machine", ["rbm-categorical-spin", "rbm-spin-gaussian", "lateral-categorical"])
def test_tiles_do_not_change_the_result(machine, kind, most, monkeypatch):
    model = MACHINES[machine]()
    v = states(model)
    monkeypatch.setattr(_tiles, "TILE", most)
    check_update(kind, model, Batch(v, uneven(len(v)), torch.arange(len(v))))


@pytest.mark.parametrize("machine", ["rbm-bernoulli-bernoulli", "rbm-mixed-spin", "lateral-categorical"])
def test_the_table_of_log_odds(machine):
    """Other values follow a unit's own one in the order of the support."""
    model = MACHINES[machine]()
    v = states(model)
    tables = [table.unbind(1) for table in log_odds(model, v)]
    units = [odds for table in tables for odds in table]
    assert len(units) == model.visible.size
    for r, row in enumerate(v):
        for (rows, own), odds in zip(changed(model, row), units, strict=True):
            log_p = -model.free_energy(rows)
            order = [(own + k) % len(rows) for k in range(1, len(rows))]
            torch.testing.assert_close(odds[r], log_p[order] - log_p[own])


@pytest.mark.parametrize("visible", ["bernoulli", "spin"])
def test_ratio_matching_of_binary_units_is_the_square_of_the_probability_to_flip(visible):
    model = rbm(visible, "spin")
    v = states(model)
    expected = torch.sigmoid(log_odds(model, v)[0]).square().sum() / len(v)
    got = updated("ratio-matching", model, Batch(v, torch.full((len(v),), 1 / len(v)), torch.arange(len(v))))
    assert got == pytest.approx(expected.item(), rel=1e-6)


@RULE
def test_a_categorical_unit_of_two_states_is_a_binary_one(kind):
    """Same losses, and the gradient by the second state's coupling is that of the binary unit."""
    binary, model = rbm("bernoulli", "spin"), hm.RBM(hm.Categorical(4, 2), hm.Spin(3)).double()
    with torch.no_grad():
        for p, own in ((model.weight, binary.weight), (model.visible.bias, binary.visible.bias)):
            p.zero_()
            p[1::2] = own
        model.hidden.bias.copy_(binary.hidden.bias)
    v = states(binary)
    batch = Batch(v, uneven(len(v)), torch.arange(len(v)))
    losses = [updated(kind, binary, batch)]
    batch = batch._replace(values=model.visible.statistics(v))
    losses.append(updated(kind, model, batch))
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    torch.testing.assert_close(model.weight.grad[1::2], binary.weight.grad)
    torch.testing.assert_close(model.visible.bias.grad[1::2], binary.visible.bias.grad)


@RULE
def test_pixels_that_cannot_matter_cost_what_they_must(kind):
    """Of a uniform model the losses are known."""
    model = hm.RBM(5, 3)
    with torch.no_grad():
        model.weight.zero_()
    v = states(model)
    got = updated(kind, model, Batch(v, torch.full((7,), 1 / 7), torch.arange(7)))
    each = {"pseudolikelihood": np.log(2), "ratio-matching": 0.25, "probability-flow": 1.0}[kind]
    assert got == pytest.approx(5 * each, rel=1e-6)


# --- consistency --------------------------------------------------------------------------------


@RULE
@SOME
def test_expected_gradient_is_zero_at_the_truth_and_nowhere_near(machine, kind):
    """Over all states with their probabilities; off the truth it points away from there."""
    truth, model = MACHINES[machine](scale=0.5), MACHINES[machine](scale=0.5)
    v = all_states(truth)
    p = torch.softmax(-truth.free_energy(v), 0).detach()
    batch = Batch(v, p, torch.arange(len(v)))
    least = updated(kind, model, batch)
    assert np.abs(gradient(model)).max() < 1e-12
    for seed in range(3):
        moves = []
        for (key, mine), origin in zip(trainable(model).items(), trainable(truth).values(), strict=True):
            move = 0.2 * Stream(seed, "move " + key).normal(1, mine.numel(), mine.dtype).view_as(mine)
            move = move * (origin != 0)
            mine.data.copy_(origin + move)
            moves.append(move.flatten())
        assert updated(kind, model, batch) > least + 1e-6
        assert np.abs(gradient(model)).max() > 1e-5
        assert gradient(model) @ torch.cat(moves).numpy() > 0


# --- compiled loops -----------------------------------------------------------------------------

SHAPES = [(1, 1, 1), (7, 5, 3), (33, 50, 70), (150, 31, 33)]


def inputs(rows, visible, hidden, scale, dtype):
    """Return hidden fields, couplings, ways and slopes."""
    field = 3 * Stream(0).normal(rows, hidden, torch.float64)
    weight = scale * Stream(1).normal(visible, hidden, torch.float64)
    slopes = Stream(2).normal(rows, visible, torch.float64)
    return field.to(dtype), weight.to(dtype), Stream(3).uniform(rows, visible) < 0.6, slopes.to(dtype)


def flipped(way, field, weight, up, step, spin, slopes):
    """Return changes and gradient by the kernels, the loop or the reference."""
    sums, back = way.flips(field, weight, up, step, spin)
    return sums, *back(slopes)


def definition(field, weight, up, step, spin, slopes):
    """Return the changes and their gradient from the definition, by autograd, in float64."""
    field, weight = (x.to(torch.float64, copy=True).requires_grad_() for x in (field, weight))
    after = field[:, None] + torch.where(up, step, -step)[..., None] * weight
    if spin:
        each = softplus(2 * after, threshold=40) - after - softplus(2 * field, threshold=40)[:, None]
        changes = (each + field[:, None]).sum(-1)
    else:
        changes = (softplus(after, threshold=40) - softplus(field, threshold=40)[:, None]).sum(-1)
    return changes.detach(), *torch.autograd.grad((changes * slopes.double()).sum(), (field, weight))


@STEP
@SPIN
@DTYPES
@pytest.mark.parametrize("scale", [0.01, 0.4, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_flips_and_their_gradient(shape, scale, dtype, spin, step):
    """Of the loop and of its reference; the errors are measured by the sums of absolute terms."""
    field, weight, up, slopes = inputs(*shape, scale, dtype)
    expected = definition(field, weight, up, step, spin, slopes)
    size = step * weight.double().abs()
    sizes = (
        size.sum(1) + shape[2] ** 0.5,
        slopes.double().abs() @ size.clamp(max=1) + slopes.double().abs().sum(1)[:, None],
        step * slopes.double().abs().sum(0)[:, None] + 1,
    )
    close = 2e-6 if dtype == torch.float32 else 1e-14
    for way in (kernels, reference):
        both = flipped(way, field, weight, up, step, spin, slopes)
        for got, exact, bound in zip(both, expected, sizes, strict=True):
            assert got.dtype == dtype
            assert ((got.double() - exact).abs() <= close * bound).all()


@DTYPES
@SPIN
def test_the_loop_equals_the_reference(dtype, spin):
    field, weight, up, slopes = inputs(130, 101, 97, 0.3, dtype)
    tolerance = {"rtol": 2e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    results = [flipped(way, field, weight, up, 1.0, spin, slopes) for way in (cpu, reference)]
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@DTYPES
def test_products_are_cut_before_they_leave_the_range(dtype):
    """Couplings all of one sign, whose factors multiply to e^300 and to e^-300."""
    up = torch.tensor([[True], [False]])
    weight = torch.full((1, 300), 1.0, dtype=dtype)
    for sign in (1, -1):
        field = torch.full((2, 300), 50.0 * sign, dtype=dtype)
        changes, _ = cpu.flips(field, weight, up, 1.0, False)
        expected = definition(field, weight, up, 1.0, False, torch.ones(2, 1))[0]
        assert expected.abs().max() < 1e-16 if sign < 0 else expected.tolist() == [[300], [-300]]
        torch.testing.assert_close(changes.double(), expected, rtol=1e-6, atol=1e-6)


@STEP
@SPIN
@DTYPES
@pytest.mark.parametrize("size", [30.0, 50.0, 1e4])
def test_flips_of_extreme_couplings(size, dtype, spin, step):
    """Finite and right, though no product could hold them."""
    field, weight, up, slopes = inputs(20, 15, 40, size, dtype)
    changes, *both = flipped(kernels, size * field, weight, up, step, spin, slopes)
    expected = definition(size * field, weight, up, step, spin, slopes)
    close = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(changes.double(), expected[0], rtol=100 * close, atol=40 * size * close)
    for got, exact in zip(both, expected[1:], strict=True):
        torch.testing.assert_close(got.double(), exact, rtol=1e-3, atol=1e-4)


@DTYPES
@pytest.mark.parametrize("where", [0, 1], ids=["field", "weight"])
def test_what_is_no_number_stays_none(where, dtype):
    field, weight, up, slopes = inputs(20, 15, 40, 0.1, dtype)
    (field, weight)[where][3, 7] = torch.nan
    changes, by_field, by_weight = flipped(kernels, field, weight, up, 1.0, False, slopes)
    assert (changes if where == 0 else changes.T)[3].isnan().all()
    assert by_field[3 if where == 0 else slice(None), 7].isnan().all()
    assert by_weight[3 if where == 1 else slice(None), 7].isnan().all()


@SPIN
def test_threads_do_not_change_a_bit(spin, threads):
    """In float32 only: to compile a parallel kernel takes seconds, and its text is that of float64."""
    field, weight, up, slopes = inputs(131, 201, 97, 0.2, torch.float32)
    results = []
    for n in (1, 2):
        threads(n)
        results.append(flipped(cpu, field, weight, up, 2.0, spin, slopes))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@DTYPES
def test_a_row_does_not_depend_on_the_others(dtype):
    field, weight, up, slopes = inputs(131, 41, 97, 0.3, dtype)
    part = slice(60, 110)
    whole = flipped(cpu, field, weight, up, 1.0, False, slopes)
    few = flipped(cpu, field[part], weight, up[part], 1.0, False, slopes[part])
    assert torch.equal(few[0], whole[0][part])
    assert torch.equal(few[1], whole[1][part])


def test_transposed_couplings_are_read_aright():
    field, weight, up, slopes = inputs(20, 15, 40, 0.3, torch.float64)
    turned = [x.T.contiguous().T for x in (weight, up, slopes)]
    one = flipped(cpu, field, weight, up, 1.0, False, slopes)
    other = flipped(cpu, field, *turned[:2], 1.0, False, turned[2])
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@RULE
@pytest.mark.parametrize(
    "pair", [("bernoulli", "bernoulli"), ("spin", "bernoulli"), ("bernoulli", "spin")], ids=name
)
def test_float32_takes_the_loop_and_agrees_with_float64(pair, kind, monkeypatch):
    taken, flips = [], cpu.flips

    def counted(*arguments):
        taken.append(flips(*arguments))
        return taken[-1]

    monkeypatch.setattr(cpu, "flips", counted)
    results = []
    for dtype in (torch.float64, torch.float32):
        model = rbm(*pair, (40, 30), scale=0.2).to(dtype)
        v = states(rbm(*pair, (10, 1)), 50).repeat(1, 4).to(dtype)
        loss = updated(kind, model, Batch(v, torch.full((50,), 0.02, dtype=dtype), torch.arange(50)))
        results.append((loss, gradient(model)))
    assert all(taken)
    assert len(taken) == 2
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-5)
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-3, atol=1e-5)


# --- extreme models -----------------------------------------------------------------------------


@RULE
@SOME
def test_extreme_couplings_stay_finite_and_right(machine, kind):
    """With couplings around 50, in both precisions."""
    model = MACHINES[machine](scale=50.0)
    v = states(model)
    batch = Batch(v, uneven(len(v)), torch.arange(len(v)))
    check_update(kind, model, batch, rtol=1e-7, atol=1e-7)
    loss, exact = updated(kind, model, batch), gradient(model)
    batch = batch._replace(values=v.float(), weights=batch.weights.float())
    again = updated(kind, model.float(), batch)
    assert again == pytest.approx(loss, rel=1e-2, abs=1e-4)
    assert np.isfinite(gradient(model)).all()
    assert np.abs(gradient(model) - exact).max() <= 1e-2 * np.abs(exact).max() + 1e-4


# --- what is refused ----------------------------------------------------------------------------


@RULE
def test_models_that_do_not_fit_are_refused(kind):
    rule = RULES[kind]()
    with pytest.raises(ArgumentError, match=rf"^rule: got '{kind}', expected .*gaussian visible units"):
        rule.check(hm.RBM(hm.Gaussian(4), hm.Bernoulli(3)))
    with pytest.raises(ArgumentError, match=rf"^rule: got '{kind}', expected .*depend on each other"):
        rule.check(hm.BoltzmannMachine(4, 3, hidden_edges=True))
    rule.check(hm.BoltzmannMachine(4, 3, hidden_edges=False))
    rule.check(hm.BoltzmannMachine(hm.Categorical(4, 3)))


@RULE
@pytest.mark.parametrize(
    ("visible", "at", "value", "got"),
    [
        (hm.Bernoulli(4), (2, 3), 0.25, "0.25 at row 7, column 3"),
        (hm.Spin(4), (1, 0), 0.0, "0 at row 6, column 0"),
        (hm.Categorical(4, 3), (0, 3), 0.25, r"\[0.25, \d.0, \d.0\] at row 5, unit 1"),
    ],
)
def test_means_are_refused(kind, visible, at, value, got):
    model = hm.RBM(visible, 3)
    v = states(model, 4).clone()
    v[at] = value
    with pytest.raises(DataError, match=rf"^data: got {got}, expected states"):
        updated(kind, model, Batch(v, torch.full((4,), 0.25), torch.arange(5, 9)))
