"""Random bits: the published answers, their laws, and what they do not depend on."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from harmonium import Stream
from harmonium.errors import ArgumentError
from harmonium.kernels import _loops
from harmonium.kernels.philox import Draw, bits, normal, philox, uniform

KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
"""Counter, key and answer, from the tests of Random123."""

DRAWS = [
    Draw(0, 0, 0),
    Draw(2**64 - 1, 2**64 - 1, 2**32 - 40),
    Draw(0x243F6A8885A308D3, 0x13198A2E03707344, 12345),
    Draw(1 << 32, 1 << 32, 1),
]


def words(text):
    """Read hexadecimal words."""
    return [int(word, 16) for word in text.split()]


def check_uniform(u):
    """Check by chi-square that numbers are spread evenly over (0, 1)."""
    counts = np.bincount((np.asarray(u).ravel() * 64).astype(int), minlength=64)
    assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    out = philox(torch.tensor(words(counter)), tuple(words(key)))
    assert out.tolist() == words(answer)


def test_bits_are_the_blocks_of_counter_and_key():
    """Column, row and both halves of the step are the counter; the key's halves are the key."""
    draw = Draw(key=0x1122334455667788, step=0x99AABBCCDDEEFF00, row=7)
    table = bits(draw, 3, 10)
    assert table.shape == (3, 10)
    for row in range(3):
        for column in range(10):
            counter = torch.tensor([column // 4, 7 + row, 0xDDEEFF00, 0x99AABBCC])
            block = philox(counter, (0x55667788, 0x11223344))
            assert table[row, column] == block[column % 4]


@pytest.mark.parametrize("columns", [1, 3, 4, 5, 66])
@pytest.mark.parametrize("draw", DRAWS)
def test_compiled_bits_equal_the_reference(draw, columns):
    halves = (draw.key & 0xFFFFFFFF, draw.key >> 32, draw.step & 0xFFFFFFFF, draw.step >> 32)
    address = np.array((*halves, draw.row), np.int64)
    expected = bits(draw, 5, columns)
    for row in range(5):
        out = np.zeros(columns + 3, np.uint32)
        _loops._fill(out, columns, address, draw.row + row)
        assert out[:columns].tolist() == expected[row].tolist()


def test_rows_may_be_given_by_number():
    rows = torch.tensor([5, 2, 900])
    whole = bits(Draw(3, 4), 901, 6)
    assert torch.equal(bits(Draw(3, 4), rows, 6), whole[rows])
    assert torch.equal(bits(Draw(3, 4, 890), 11, 6), whole[890:])


# --- distributions ------------------------------------------------------------------------------


def test_words_are_uniform_in_every_bit():
    table = bits(Draw(11, 0), 4000, 50).numpy()
    n = table.size
    for bit in range(32):
        ones = ((table >> bit) & 1).sum()
        assert abs(ones - n / 2) < 4.5 * np.sqrt(n) / 2
    check_uniform(table / 2**32)


@pytest.mark.parametrize("other", ["column", "row", "step", "seed", "name"])
def test_neighbours_are_independent(other):
    """Pairs of numbers that differ in one part of their address fill the square evenly."""
    first = Stream(5, "a").uniform(400, 100, torch.float64).numpy()
    if other == "column":
        first, second = first[:, :-1], first[:, 1:]
    elif other == "row":
        first, second = first[:-1], first[1:]
    else:
        stream = {"step": Stream(5, "a"), "seed": Stream(6, "a"), "name": Stream(5, "b")}[other]
        stream.step = other == "step"
        second = stream.uniform(400, 100, torch.float64).numpy()
    cells = (first * 8).astype(int) * 8 + (second * 8).astype(int)
    assert stats.chisquare(np.bincount(cells.ravel(), minlength=64)).pvalue > 1e-6
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4.5 / np.sqrt(first.size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_never_reaches_its_ends(dtype):
    ends = uniform(torch.tensor([0, 2**32 - 1]), dtype)
    assert 0 < ends[0] < 2**-32
    assert 1 - 2**-23 < ends[1] < 1
    check_uniform(Stream(1).uniform(1000, 100, dtype))


def test_normal_is_the_inverse_distribution_function_of_the_uniform():
    table = torch.cat((bits(Draw(9, 1), 300, 300).flatten(), torch.tensor([0, 1, 2**31, 2**32 - 1])))
    expected = special.ndtri((table.numpy() + 0.5) / 2**32)
    np.testing.assert_allclose(normal(table, torch.float64), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(normal(table), expected, rtol=2e-7, atol=1e-9)
    assert stats.kstest(Stream(3).normal(1000, 50, torch.float64).flatten(), "norm").pvalue > 1e-6


# --- streams ------------------------------------------------------------------------------------


def test_children_and_seeds_draw_different_numbers():
    root = Stream(0)
    streams = [root, root.child("a"), root.child("b"), root.child("a").child("b"), Stream(1)]
    draws = [stream.uniform(20, 20) for stream in streams]
    for i, first in enumerate(draws):
        for second in draws[:i]:
            assert not (first == second).any()


def test_a_stream_does_not_notice_its_children_or_others():
    quiet, busy = Stream(4).child("chains"), Stream(4).child("chains")
    busy.child("evaluation").normal(100, 3)
    Stream(4).child("data").permutation(10)
    assert torch.equal(quiet.uniform(5, 5), busy.uniform(5, 5))
    assert torch.equal(quiet.uniform(5, 5), busy.uniform(5, 5))


def test_each_draw_takes_one_step():
    stream = Stream(4)
    first, second = stream.uniform(5, 5), stream.uniform(5, 5)
    assert stream.step == 2
    assert not torch.equal(first, second)
    assert torch.equal(uniform(bits(stream.at(0), 5, 5)), first)
    assert stream.step == 2


def test_rows_of_a_stream_can_be_split():
    whole = Stream(4, "x").normal(10, 7)
    parts = [Stream(4, "x", row).normal(5, 7) for row in (0, 5)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(Stream(4, "x", 5).child("y").normal(5, 2), Stream(4, "x").child("y").normal(10, 2)[5:])


def test_state_dict_round_trip():
    stream = Stream(2**64 - 1, "chains")
    stream.draw()
    stream.draw()
    other = Stream(2**64 - 1, "chains")
    other.load_state_dict(stream.state_dict())
    assert torch.equal(other.normal(4, 4), stream.normal(4, 4))
    with pytest.raises(ArgumentError, match="stream"):
        Stream(2**64 - 1, "data").load_state_dict(stream.state_dict())
    with pytest.raises(ArgumentError, match="stream"):
        Stream(1, "chains").load_state_dict(stream.state_dict())


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "0", None])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(ArgumentError, match="seed"):
        Stream(seed)


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_permutation_is_a_permutation(n):
    stream = Stream(0, "order")
    first, second = stream.permutation(n), stream.permutation(n)
    assert torch.equal(first.sort().values, torch.arange(n))
    assert n < 3 or not torch.equal(first, second)


def test_permutations_are_equally_frequent():
    stream = Stream(0, "order")
    codes = [int((stream.permutation(4) * torch.tensor([64, 16, 4, 1])).sum()) for _ in range(960)]
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-6
