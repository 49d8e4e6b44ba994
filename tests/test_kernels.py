"""Fused kernels against the reference in plain torch, on the same random bits."""

import itertools

import numpy as np
import pytest
import torch
from scipy import special, stats

from harmonium import Stream, kernels
from harmonium.kernels import eager, truncated
from harmonium.kernels.philox import Draw, bits, normal, uniform

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
KERNELS = pytest.mark.parametrize("kind", ["bernoulli", "spin", "categorical", "gaussian", "relu"])
DRAW = Draw(0x0123456789ABCDEF, 0xFEDCBA9876543210, 17)
COUNTS = {torch.float32: (1, 2), torch.float64: (1,)}
"""Of threads: to compile a parallel kernel takes seconds, and its text is the same for both types."""
STATES = 3
PRECISION = 0.3


def fields(rows, columns, dtype, scale=3.0):
    """Return random fields."""
    return scale * Stream(8, f"{rows}x{columns}").normal(rows, columns, dtype)


def precision(columns, dtype):
    """Return different precisions."""
    return torch.linspace(0.3, 2.0, columns, dtype=dtype)


def call(kind, field, draw, sample=None, mean=None, module=kernels):
    """Call a kernel, or its reference."""
    function = getattr(module, kind if module is kernels else f"sample_{kind}")
    if kind == "gaussian":
        function(field, draw, precision(field.shape[1], field.dtype), sample)
    elif kind == "categorical":
        function(field, draw, STATES, sample, mean)
    elif kind == "relu":
        function(field, draw, PRECISION, sample, mean)
    else:
        function(field, draw, sample, mean)


def both(kind, field, draw=DRAW):
    """Return samples and means of the kernel, and those of the reference."""
    results = []
    for module in (kernels, eager):
        sample, mean = torch.full_like(field, torch.nan), torch.full_like(field, torch.nan)
        call(kind, field, draw, sample, None if kind == "gaussian" else mean, module)
        results.append((sample, mean))
    return results


def tolerance(p):
    """How close a uniform number and a probability are when they agree to rounding in float32."""
    return 2e-6 * p + 2**-31


# --- against the reference ----------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize(("kind", "gain"), [("bernoulli", 1), ("spin", 2)])
@pytest.mark.parametrize("shape", [(7, 1), (50, 33), (300, 402)])
def test_binary_samples(kind, gain, shape, dtype):
    field = fields(*shape, dtype)
    (fused, _), (reference, _) = both(kind, field)
    u, p = uniform(bits(DRAW, *shape), torch.float64), torch.sigmoid(gain * field.double())
    differs = fused != reference
    assert ((u - p).abs() <= tolerance(p))[differs].all()
    assert differs.float().mean() < 1e-4
    assert fused.unique().tolist() == [0.0 if kind == "bernoulli" else -1.0, 1.0]
    sure = (u - p).abs() > tolerance(p)
    assert ((u < p) == (fused == 1))[sure].all()


@DTYPES
@pytest.mark.parametrize("shape", [(7, 3), (50, 33), (300, 402)])
def test_categorical_samples(shape, dtype):
    field = fields(*shape, dtype)
    (fused, _), (reference, _) = both("categorical", field)
    blocks = field.double().unflatten(1, (-1, STATES))
    cumulative = torch.softmax(blocks, -1).cumsum(-1)
    u = uniform(bits(DRAW, shape[0], shape[1] // STATES), torch.float64)[..., None]
    close = ((u - cumulative).abs() <= tolerance(cumulative)).any(-1)
    chosen = (cumulative[..., :-1] <= u).sum(-1)
    for sample in (fused, reference):
        picked = sample.unflatten(1, (-1, STATES))
        assert (picked.sum(-1) == 1).all()
        assert ((picked == 0) | (picked == 1)).all()
        assert (picked.argmax(-1) == chosen)[~close].all()
    assert (fused != reference).any(1).float().mean() < 0.01


@DTYPES
@pytest.mark.parametrize("shape", [(7, 1), (50, 33), (300, 402)])
def test_gaussian_samples(shape, dtype):
    field = fields(*shape, dtype)
    (fused, _), (reference, _) = both("gaussian", field)
    beta = precision(shape[1], torch.float64)
    noise = normal(bits(DRAW, *shape), torch.float64)
    exact = field.double() / beta + noise / beta.sqrt()
    for sample in (fused, reference):
        torch.testing.assert_close(sample.double(), exact, rtol=1e-5, atol=2e-6)


def test_gaussian_noise_is_right_in_the_tails():
    """Over a field of zeros, the deviates of many words against scipy's quantiles."""
    field = torch.zeros(400, 1000)
    sample = torch.empty_like(field)
    kernels.gaussian(field, DRAW, torch.ones(1000), sample)
    exact = normal(bits(DRAW, 400, 1000), torch.float64)
    assert exact.abs().max() > 4.2
    torch.testing.assert_close(sample.double(), exact, rtol=2e-6, atol=2e-7)


@DTYPES
@pytest.mark.parametrize("scale", [1.0, 40.0, 1e4])
@pytest.mark.parametrize("shape", [(7, 1), (50, 33), (300, 402)])
def test_relu_samples(shape, scale, dtype):
    """Both equal the quantiles in float64, to within a small part of the deviation."""
    field = fields(*shape, dtype, scale)
    (fused, mean), (reference, _) = both("relu", field)
    root = np.sqrt(PRECISION)
    z, u = field.double() / root, uniform(bits(DRAW, *shape), torch.float64)
    exact = truncated.quantile(z, u)
    deviation = truncated.variance(z).sqrt()
    for sample, away in ((fused, 2e-6), (reference, 1e-7)):
        assert (sample >= 0).all()
        assert ((sample.double() * root - exact).abs() <= away * (deviation + exact)).all()
    torch.testing.assert_close(mean.double() * root, truncated.mean(z), rtol=2e-6, atol=0)


@pytest.mark.parametrize("z", [-1e6, -40.0, -5.1, -4.9, -1.0, -1e-9, 0.0, 0.5, 4.0, 40.0])
def test_truncated_quantiles_have_their_probabilities(z):
    """The mass above the quantile of u is u of the whole, in both tails, by scipy's functions."""
    u = np.array([2.0**-33, 1e-6, 0.01, 0.3, 0.5, 0.8, 0.99, 1 - 1e-6, 1 - 2.0**-33])
    y = truncated.quantile(torch.full((len(u),), z, dtype=torch.float64), torch.from_numpy(u)).numpy()
    if z < -1e3:
        np.testing.assert_allclose(y * -z, -np.log(u), rtol=1e-9)
        return
    above = special.log_ndtr(z - y) - special.log_ndtr(z)
    exact_to = 1e-12 * (1 + z * z)
    np.testing.assert_allclose(np.exp(above), u, rtol=exact_to, atol=0)
    np.testing.assert_allclose(-np.expm1(above), 1 - u, rtol=1e-5, atol=exact_to)
    assert (np.diff(y) < 0).all()


@DTYPES
@pytest.mark.parametrize("kind", ["bernoulli", "spin", "categorical"])
@pytest.mark.parametrize("scale", [0.01, 3.0, 30.0])
def test_means(kind, scale, dtype):
    field = fields(60, 45, dtype, scale)
    (_, fused), (_, reference) = both(kind, field)
    exact = {
        "bernoulli": torch.sigmoid,
        "spin": torch.tanh,
        "categorical": lambda x: torch.softmax(x.unflatten(1, (-1, STATES)), -1).flatten(1),
    }[kind](field.double())
    rtol = (1 + scale) * (4e-7 if dtype == torch.float32 else 1e-15)
    smallest = 1e-37 if dtype == torch.float32 else 1e-300
    atol = {"spin": 1e-6 if dtype == torch.float32 else 1e-15}.get(kind, smallest)
    torch.testing.assert_close(fused.double(), exact, rtol=rtol, atol=atol)
    torch.testing.assert_close(reference.double(), exact, rtol=rtol, atol=atol)


@KERNELS
@DTYPES
def test_in_place_and_apart_give_the_same(kind, dtype):
    field = fields(40, 27, dtype)
    apart, mean_apart = torch.empty_like(field), torch.empty_like(field)
    with_mean = kind != "gaussian"
    call(kind, field, DRAW, apart, mean_apart if with_mean else None)
    inside, mean_inside = field.clone(), torch.empty_like(field)
    call(kind, inside, DRAW, inside, mean_inside if with_mean else None)
    assert torch.equal(inside, apart)
    if with_mean:
        assert torch.equal(mean_inside, mean_apart)
        alone = torch.empty_like(field)
        call(kind, field, DRAW, None, alone)
        assert torch.equal(alone, mean_apart)


# --- what the bits do not depend on -------------------------------------------------------------


@KERNELS
def test_one_and_two_threads_give_the_same_bits(kind, threads):
    field = fields(257, 201, torch.float32)
    results = []
    for n in (1, 2):
        threads(n)
        sample, mean = torch.empty_like(field), torch.zeros_like(field)
        call(kind, field, DRAW, sample, mean if kind != "gaussian" else None)
        results.append((sample, mean))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@KERNELS
@DTYPES
@pytest.mark.parametrize("at", [1, 128, 250])
def test_whole_and_split_batches_give_the_same_bits(kind, dtype, at):
    """The second part of a batch is drawn with its own first row; sizes straddle the threads' limit."""
    field = fields(257, 201, dtype)
    whole = torch.empty_like(field)
    call(kind, field, DRAW, whole)
    first, second = torch.empty_like(field[:at]), torch.empty_like(field[at:])
    call(kind, field[:at].clone(), DRAW, first)
    call(kind, field[at:].clone(), DRAW._replace(row=DRAW.row + at), second)
    assert torch.equal(torch.cat((first, second)), whole)


@KERNELS
def test_no_rows_are_no_work(kind):
    empty = torch.empty(0, 6)
    call(kind, empty, DRAW, empty)


# --- extreme fields -----------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("size", [50.0, 1e4, 1e30, torch.inf])
@pytest.mark.parametrize("kind", ["bernoulli", "spin"])
def test_binary_units_are_sure_in_huge_fields(kind, size, dtype):
    field = torch.tensor([[size, -size] * 50], dtype=dtype).repeat(400, 1)
    low = 0.0 if kind == "bernoulli" else -1.0
    expected = torch.tensor([[1.0, low] * 50], dtype=dtype).expand(400, -1)
    for sample, mean in both(kind, field):
        assert torch.equal(sample, expected)
        torch.testing.assert_close(mean, expected, rtol=0, atol=1e-20)


@DTYPES
@pytest.mark.parametrize("size", [100.0, 1e4, 1e30, torch.inf])
def test_categorical_units_never_take_an_impossible_state(size, dtype):
    """Wherever they stand, the states that are left follow their probabilities."""
    odds = torch.tensor([0.3, -size, 0.0, 0.3, 0.0, -size, -size, 0.3, 0.0], dtype=dtype)
    field = odds.repeat(1000, 20)
    p = 1 / (1 + np.exp(-0.3))
    for sample, mean in both("categorical", field):
        assert sample.isfinite().all()
        assert (sample[field == -size] == 0).all()
        assert (mean[field == -size] < 1e-37).all()
        share = sample[field == 0.3].double().mean()
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 60_000)


@DTYPES
def test_gaussian_units_follow_huge_fields(dtype):
    field = torch.tensor([[1e30, -1e30, 0.0]], dtype=dtype).repeat(50, 1)
    sample = torch.empty_like(field)
    kernels.gaussian(field, DRAW, torch.full((3,), 2.0, dtype=dtype), sample)
    assert (sample[:, :2] == field[:, :2] / 2).all()
    assert sample[:, 2].std() > 0


@DTYPES
def test_relu_units_follow_huge_fields(dtype):
    field = torch.tensor([[1e30, -1e30, -torch.inf, torch.inf]], dtype=dtype).repeat(50, 1)
    for sample, mean in both("relu", field):
        for x in (sample, mean):
            torch.testing.assert_close(x[:, 0], field[:, 0] / PRECISION)
            assert ((x[:, 1:3] >= 0) & (x[:, 1:3] < 1e-16)).all()
            assert (x[:, 3] == torch.inf).all()


# --- annealing ----------------------------------------------------------------------------------


def rise_of_log_normaliser(field, betas, spin):
    """Return log Z(betas[1] field) - log Z(betas[0] field) of each row, in float64."""
    x = field.double().numpy()
    size, gain = np.abs(x), 2 if spin else 1
    old, new = (np.log1p(np.exp(-gain * beta * size)) for beta in betas)
    return ((betas[1] - betas[0]) * (size if spin else x.clip(min=0)) + new - old).sum(1)


@DTYPES
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("betas", [(0.0, 1.0), (0.25, 0.28125), (0.875, 0.375), (1.0, 1 - 2**-13)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 200.0])
def test_annealing_increments(spin, betas, scale, dtype):
    """Each row gains the change of its log-partition function, and is drawn at the new beta."""
    field = fields(64, 301, dtype, scale)
    exact = rise_of_log_normaliser(field, betas, spin)
    u = uniform(bits(DRAW, 64, 301), torch.float64)
    p = torch.sigmoid((2 if spin else 1) * betas[1] * field.double())
    for module in (kernels, eager):
        weight = torch.linspace(-5, 5, 64, dtype=torch.float64)
        sample = torch.empty_like(field)
        module.anneal_binary(field, DRAW, spin, betas, weight, sample)
        gained = weight.numpy() - np.linspace(-5, 5, 64)
        exact_to = 1e-6 if dtype == torch.float32 else 1e-13
        size = np.abs((betas[1] - betas[0]) * field.double().numpy()).sum(1)
        assert np.abs((gained - exact) / (size + 10)).max() < exact_to
        sure = (u - p).abs() > tolerance(p) + 1e-6 * scale * p * (1 - p)
        assert ((u < p) == (sample == 1))[sure].all()


@pytest.mark.parametrize("spin", [False, True])
def test_annealing_errors_do_not_add_up(spin):
    """Over 2,000 small steps in float32, a fixed field gains its whole log-partition function."""
    field = fields(16, 200, torch.float32)
    weight = torch.zeros(16, dtype=torch.float64)
    sample = torch.empty_like(field)
    grid = np.linspace(0, 1, 2001).tolist()
    for old, new in itertools.pairwise(grid):
        kernels.anneal_binary(field, DRAW, spin, (old, new), weight, sample)
    exact = rise_of_log_normaliser(field, (0.0, 1.0), spin)
    np.testing.assert_allclose(weight, exact, atol=2e-3)


@DTYPES
def test_annealing_in_place_split_and_with_threads(dtype, threads):
    field = fields(257, 201, dtype)
    results = []
    for n in COUNTS[dtype]:
        threads(n)
        weight, sample = torch.zeros(257, dtype=torch.float64), field.clone()
        kernels.anneal_binary(sample, DRAW, False, (0.2, 0.7), weight, sample)
        results.append((weight, sample))
    weight, sample = torch.zeros(257, dtype=torch.float64), torch.empty_like(field)
    for part in (slice(0, 100), slice(100, 257)):
        draw = DRAW._replace(row=DRAW.row + part.start)
        kernels.anneal_binary(field[part].clone(), draw, False, (0.2, 0.7), weight[part], sample[part])
    for other in results:
        assert torch.equal(other[0], weight)
        assert torch.equal(other[1], sample)


# --- binarisation -------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [16, 255])
def test_binarised_bits_have_the_grey_values_as_means(levels):
    grey = torch.arange(levels + 1, dtype=torch.uint8).repeat(1000, 1)
    index = torch.arange(1000)
    counts = torch.zeros(levels + 1, dtype=torch.float64)
    stream = Stream(0)
    for _ in range(10):
        sample = torch.empty(grey.shape)
        kernels.binarise(grey, index, stream.draw(), float(levels), sample)
        counts += sample.sum(0)
    p = np.arange(levels + 1) / levels
    error = np.sqrt(1e4 * p * (1 - p))
    away = (counts.numpy() - 1e4 * p)[1:-1] / error[1:-1]
    assert counts[0] == 0
    assert counts[-1] == 1e4
    assert np.abs(away).max() < 4.5
    assert stats.chi2.sf((away**2).sum(), len(away)) > 1e-6


@DTYPES
def test_binarised_bits_depend_on_the_row_and_not_on_its_place(dtype, threads):
    grey = (255 * Stream(1).uniform(300, 101)).to(torch.uint8)
    index = Stream(2).permutation(300)
    results = []
    for n in COUNTS[dtype]:
        threads(n)
        results.append(torch.empty(300, 101, dtype=dtype))
        kernels.binarise(grey, index, DRAW, 255.0, results[-1])
    assert torch.equal(results[0], results[-1])
    part = torch.empty(40, 101, dtype=dtype)
    kernels.binarise(grey, index[60:100], DRAW, 255.0, part)
    assert torch.equal(part, results[0][60:100])
    reference = torch.empty(300, 101, dtype=dtype)
    eager.binarise(grey, index, DRAW, 255.0, reference)
    u = uniform(bits(DRAW, index, 101), torch.float64) * 255
    differs = reference != results[0]
    assert ((u - grey[index]).abs() < 1e-3)[differs].all()
    assert differs.float().mean() < 1e-4


# --- products -----------------------------------------------------------------------------------

SHAPES = [(1, 1, 1), (3, 5, 2), (64, 33, 31), (100, 64, 40), (257, 131, 97), (500, 784, 65)]


def bits_of(rows, columns, share):
    """Return a matrix in {0, 1}, float32."""
    return (Stream(3).uniform(rows, columns) < share).float()


def whole_numbers(rows, columns):
    """Return whole numbers as float32; their sums are exact in any order."""
    return torch.round(20 * Stream(4).normal(rows, columns))


@torch.no_grad()
@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("rows", "inputs", "columns"), SHAPES)
def test_affine_of_bits_is_exact(rows, inputs, columns, share):
    """With whole numbers for weights every sum is exact, so that both ways up must agree bit for bit."""
    x = bits_of(rows, inputs, share)
    weight, bias = whole_numbers(inputs, columns), whole_numbers(1, columns)[0]
    expected = (bias.double() + x.double() @ weight.double()).float()
    assert torch.equal(kernels.affine(bias, x, weight), expected)
    assert torch.equal(kernels.affine(bias, x, weight.T.contiguous().T), expected)


@torch.no_grad()
@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("rows", "inputs", "columns"), SHAPES)
def test_cross_of_bits_is_exact(rows, inputs, columns, share):
    x, y = bits_of(rows, inputs, share), whole_numbers(rows, columns)
    expected = (x.double().T @ y.double()).float()
    assert torch.equal(kernels.cross(x, y), expected)
    place = torch.full_like(expected, torch.nan)
    assert kernels.cross(x, y, place) is place
    assert torch.equal(place, expected)


@torch.no_grad()
@DTYPES
@pytest.mark.parametrize("values", ["bits", "spins", "means", "nearly bits", "one stray"])
def test_products_of_any_values(values, dtype):
    """Matrices that are not 0 and 1 everywhere, wherever that shows, are multiplied as ever."""
    bit = bits_of(300, 130, 0.2)
    x = {
        "bits": bit,
        "spins": 2 * bit - 1,
        "means": bit * 0.7,
        "nearly bits": bit * (1 - 2**-23),
        "one stray": bit.index_put((torch.tensor(299), torch.tensor(129)), torch.tensor(2.0)),
    }[values].to(dtype)
    weight, bias = fields(130, 70, dtype), fields(1, 70, dtype)[0]
    tolerances = {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    exact = bias.double() + x.double() @ weight.double()
    torch.testing.assert_close(kernels.affine(bias, x, weight).double(), exact, **tolerances)
    y = fields(300, 70, dtype)
    exact = x.double().T @ y.double()
    torch.testing.assert_close(kernels.cross(x, y).double(), exact, **tolerances)


@torch.no_grad()
def test_products_do_not_depend_on_threads(threads):
    x, weight, bias = bits_of(500, 300, 0.2), fields(300, 200, torch.float32), torch.zeros(200)
    results = []
    for n in (1, 2):
        threads(n)
        results.append((kernels.affine(bias, x, weight), kernels.cross(x, fields(500, 90, torch.float32))))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_products_with_gradients_are_differentiable():
    x = bits_of(300, 130, 0.2)
    weight, bias = torch.ones(130, 40, requires_grad=True), torch.zeros(40, requires_grad=True)
    kernels.affine(bias, x, weight).sum().backward()
    assert torch.equal(weight.grad, x.sum(0)[:, None].expand(130, 40))
    assert torch.equal(bias.grad, torch.full((40,), 300.0))
