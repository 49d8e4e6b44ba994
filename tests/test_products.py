"""Products with 0/1 matrices by tabulated sums equal the plain products."""

import pytest
import torch

from harmonium import kernels
from harmonium.kernels import cpu
from harmonium.random import Stream

SHAPES = [(200, 784, 500), (64, 33, 70), (100, 4, 32), (130, 31, 1), (50, 500, 33)]


def bits(rows, columns, density, seed=0):
    return (Stream(seed, "bits").uniform(rows, columns) < density).float()


def reals(rows, columns, seed=0):
    return Stream(seed, "reals").normal(rows, columns)


def assert_product(result, x, weight, bias):
    exact = bias.double() + x.double() @ weight.double()
    scale = bias.double().abs() + x.double().abs() @ weight.double().abs()
    assert ((result - exact).abs() <= 1e-5 * scale + 1e-7).all()


@pytest.fixture
def counted(monkeypatch):
    """Count how often the tabulated product was taken."""
    taken = []
    product = cpu.binary_product

    def count(*arguments):
        taken.append(product(*arguments))
        return taken[-1]

    monkeypatch.setattr(cpu, "binary_product", count)
    return taken


@pytest.fixture
def always(monkeypatch):
    """Take the tabulated product for small matrices as well."""
    monkeypatch.setattr(cpu, "TABULATE_FROM", 0)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("density", [0.0, 0.05, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_affine_equals_the_plain_product(shape, flipped, density):
    rows, inputs, columns = shape
    x, bias = bits(rows, inputs, density), reals(1, columns, seed=1)[0]
    weight = reals(columns, inputs).T if flipped else reals(inputs, columns)
    with torch.no_grad():
        assert_product(kernels.affine(bias, x, weight), x, weight, bias)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("shape", [(200, 784, 500), (63, 70, 33), (130, 90, 1)])
def test_cross_equals_the_plain_product(shape, density):
    rows, left, right = shape
    x, y = bits(rows, left, density), reals(rows, right)
    place = torch.full((left, right), torch.nan)
    with torch.no_grad():
        result = kernels.cross(x, y, place)
    assert result is place
    assert_product(result, x.T, y, torch.zeros(right))


def test_sparse_states_take_the_table(counted):
    with torch.no_grad():
        kernels.affine(torch.zeros(500), bits(200, 784, 0.13), reals(784, 500))
        kernels.cross(bits(200, 784, 0.13), reals(200, 500))
    assert counted == [True, True]


def test_small_products_are_plain(counted):
    x, weight, bias = bits(100, 64, 0.1), reals(64, 100), reals(1, 100)[0]
    with torch.no_grad():
        up, both = kernels.affine(bias, x, weight), kernels.cross(x, reals(100, 100))
    assert counted == []
    assert torch.equal(up, torch.addmm(bias, x, weight))
    assert torch.equal(both, x.T @ reals(100, 100))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan"), float("inf")])
def test_other_values_than_bits_take_the_plain_product(value, counted):
    x, weight, bias = bits(200, 64, 0.1), reals(64, 40), torch.zeros(40)
    x[137, 63] = value
    with torch.no_grad():
        result = kernels.affine(bias, x, weight)
    assert counted == [False]
    torch.testing.assert_close(result, torch.addmm(bias, x, weight), equal_nan=True, rtol=0, atol=0)


@pytest.mark.usefixtures("always")
def test_a_gradient_takes_the_plain_product():
    weight = reals(64, 40).requires_grad_()
    result = kernels.affine(torch.zeros(40), bits(200, 64, 0.1), weight)
    result.sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad[:, 0], bits(200, 64, 0.1).sum(0))


def test_threads_do_not_change_a_bit():
    x, weight, bias = bits(300, 784, 0.2), reals(784, 500), reals(1, 500)[0]
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with torch.no_grad():
                results.append((kernels.affine(bias, x, weight), kernels.cross(x, reals(300, 500))))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_the_product_of_a_row_does_not_depend_on_the_others():
    x, weight, bias = bits(300, 784, 0.2), reals(784, 500), reals(1, 500)[0]
    with torch.no_grad():
        whole = kernels.affine(bias, x, weight)
        part = kernels.affine(bias, x[100:200], weight)
    assert torch.equal(whole[100:200], part)
