r"""Products of a 0/1 matrix with a real one, with a quarter of the additions or fewer.

In :math:`Y = X W` with X in {0, 1} a row of Y is the sum of the rows of W that X picks. Four rows of W have
only sixteen sums, so these are tabulated once, and each four columns of X become one look-up (the method of
the four Russians); look-ups of four zeros are left out. The sums are those of the plain product up to the
order of additions, so this is exact float32 arithmetic, whatever the sparsity. One-hot blocks gain too.

The columns of W are taken in blocks of 32, whose table stays in the cache of one core. Threads share out
the blocks, so that their number does not change the result.

References:
    | On economical construction of the transitive closure of a directed graph
    | (Arlazarov, Dinic, Kronrod & Faradzhev, 1970)
"""

from __future__ import annotations

__all__ = ["BLOCK", "multiply", "pack", "pack_transposed"]

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from ._loops import FLAGS

BLOCK = 32
_LANES = 8
_VECTORS = BLOCK // _LANES


@intrinsic
def _sum_rows(typing_context, table, offsets, count, start, result):
    """Write start plus the rows of ``table`` at ``offsets`` (in bytes) to ``result``, all addresses."""

    def codegen(context, builder, signature, arguments):
        number, word = ir.IntType(64), ir.IntType(32)
        vector = ir.VectorType(ir.FloatType(), _LANES)
        base, list_, n, first, last = arguments
        base = builder.inttoptr(base, ir.IntType(8).as_pointer())
        list_ = builder.inttoptr(list_, word.as_pointer())
        zero, one = ir.Constant(number, 0), ir.Constant(number, 1)

        def vectors(pointer):
            pointer = builder.bitcast(pointer, vector.as_pointer())
            return [builder.gep(pointer, [ir.Constant(number, i)]) for i in range(_VECTORS)]

        def load(place):
            value = builder.load(place)
            value.align = 4
            return value

        begun = [load(place) for place in vectors(builder.inttoptr(first, vector.as_pointer()))]
        entry = builder.block
        loop, end = builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed(">", n, zero), loop, end)
        builder.position_at_end(loop)
        k = builder.phi(number)
        k.add_incoming(zero, entry)
        sums = [builder.phi(vector) for _ in range(_VECTORS)]
        offset = builder.zext(builder.load(builder.gep(list_, [k])), number)
        rows = [load(place) for place in vectors(builder.gep(base, [offset]))]
        grown = [builder.fadd(total, row) for total, row in zip(sums, rows, strict=True)]
        following = builder.add(k, one)
        k.add_incoming(following, loop)
        for total, old, new in zip(sums, begun, grown, strict=True):
            total.add_incoming(old, entry)
            total.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, n), loop, end)
        builder.position_at_end(end)
        totals = [builder.phi(vector) for _ in range(_VECTORS)]
        for total, old, new in zip(totals, begun, grown, strict=True):
            total.add_incoming(old, entry)
            total.add_incoming(new, loop)
        target = vectors(builder.inttoptr(last, vector.as_pointer()))
        for total, place in zip(totals, target, strict=True):
            builder.store(total, place).align = 4
        return context.get_dummy_value()

    signature = types.void(types.uintp, types.uintp, types.int64, types.uintp, types.uintp)
    return signature, codegen


@intrinsic
def _tabulate(typing_context, table, lines, stride, groups):
    """Write the fifteen sums of each four lines that are ``stride`` bytes apart; all addresses."""

    def codegen(context, builder, signature, arguments):
        number, byte = ir.IntType(64), ir.IntType(8)
        vector = ir.VectorType(ir.FloatType(), _LANES)
        target, source, step, n = arguments
        target = builder.inttoptr(target, byte.as_pointer())
        source = builder.inttoptr(source, byte.as_pointer())
        with cgutils.for_range(builder, n) as loop:
            row = builder.mul(loop.index, builder.mul(step, ir.Constant(number, 4)))
            cell = builder.mul(loop.index, ir.Constant(number, 16 * BLOCK * 4))
            for i in range(_VECTORS):
                sums = [None] * 16
                for k in range(4):
                    place = builder.add(row, builder.mul(step, ir.Constant(number, k)))
                    place = builder.add(place, ir.Constant(number, i * _LANES * 4))
                    line = builder.bitcast(builder.gep(source, [place]), vector.as_pointer())
                    new = builder.load(line)
                    new.align = 4
                    sums[1 << k] = new
                    for low in range(1, 1 << k):
                        sums[low + (1 << k)] = builder.fadd(sums[low], new)
                for code in range(1, 16):
                    offset = ir.Constant(number, (code * BLOCK + i * _LANES) * 4)
                    place = builder.gep(target, [builder.add(cell, offset)])
                    place = builder.bitcast(place, vector.as_pointer())
                    builder.store(sums[code], place).align = 4
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.int64, types.int64), codegen


@intrinsic
def _transpose_tile(typing_context, source, stride, target):
    """Transpose 8 x 8 numbers: three perfect shuffles of the 64 exchange rows and columns."""

    def codegen(context, builder, signature, arguments):
        number, byte = ir.IntType(64), ir.IntType(8)
        vector = ir.VectorType(ir.FloatType(), 8)
        mask = ir.VectorType(ir.IntType(32), 8)
        low = ir.Constant(mask, [0, 8, 1, 9, 2, 10, 3, 11])
        high = ir.Constant(mask, [4, 12, 5, 13, 6, 14, 7, 15])
        first, step, last = arguments
        first = builder.inttoptr(first, byte.as_pointer())
        last = builder.inttoptr(last, byte.as_pointer())
        rows = []
        for i in range(8):
            place = builder.gep(first, [builder.mul(step, ir.Constant(number, i))])
            rows.append(builder.load(builder.bitcast(place, vector.as_pointer())))
            rows[-1].align = 4
        for _ in range(3):
            pairs = [(rows[i], rows[i + 4]) for i in range(4)]
            rows = [builder.shuffle_vector(a, b, m) for a, b in pairs for m in (low, high)]
        for i, row in enumerate(rows):
            place = builder.gep(last, [ir.Constant(number, i * BLOCK * 4)])
            builder.store(row, builder.bitcast(place, vector.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.uintp, types.int64, types.uintp), codegen


def pack(chunks, x, offsets, counts, other):
    """List each row's look-ups; ``other`` (per row) tells whether a value is neither 0 nor 1."""
    rows, columns = x.shape
    size = (rows + chunks - 1) // chunks
    whole = columns // 4
    for chunk in prange(chunks):
        code = np.zeros(whole + 1, np.int32)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            stray = np.int32(0)
            line = x[r]
            for c in range(columns):
                stray |= np.int32(line[c] != np.float32(0)) & np.int32(line[c] != np.float32(1))
            other[r] = stray != 0
            for g in range(whole):
                low = np.int32(line[4 * g]) | (np.int32(line[4 * g + 1]) << np.int32(1))
                high = np.int32(line[4 * g + 2]) | (np.int32(line[4 * g + 3]) << np.int32(1))
                code[g] = low | (high << np.int32(2))
            code[whole] = 0
            for k in range(columns - 4 * whole):
                code[whole] |= np.int32(line[4 * whole + k]) << k
            n = 0
            for g in range((columns + 3) // 4):
                offsets[r, n] = (16 * g + code[g]) * 4 * BLOCK
                n += code[g] != 0
            counts[r] = n


def pack_transposed(chunks, x, offsets, counts, other):
    """The same for the rows of x', which are the columns of ``x``."""
    rows, columns = x.shape
    size = (columns + chunks - 1) // chunks
    for chunk in prange(chunks):
        first, last = chunk * size, min(columns, (chunk + 1) * size)
        width = last - first
        code = np.zeros(width, np.int32)
        stray = np.zeros(width, np.int32)
        n = np.zeros(width, np.int32)
        for g in range((rows + 3) // 4):
            code[:] = 0
            for k in range(min(4, rows - 4 * g)):
                line = x[4 * g + k, first:last]
                for c in range(width):
                    code[c] |= np.int32(line[c]) << np.int32(k)
                    stray[c] |= np.int32(line[c] != np.float32(0)) & np.int32(line[c] != np.float32(1))
            for c in range(width):
                offsets[first + c, n[c]] = (16 * g + code[c]) * 4 * BLOCK
                n[c] += code[c] != 0
        for c in range(width):
            other[first + c] = stray[c] != 0
            counts[first + c] = n[c]


def multiply(chunks, offsets, counts, weight, flipped, bias, out):
    """out = bias + X weight of a packed X; ``weight`` is (outputs, inputs) in memory if ``flipped``."""
    rows, columns = out.shape
    inputs = weight.shape[1] if flipped else weight.shape[0]
    groups = (inputs + 3) // 4
    blocks = (columns + BLOCK - 1) // BLOCK
    size = (blocks + chunks - 1) // chunks
    for chunk in prange(chunks):
        table = np.empty((groups * 16, BLOCK), np.float32)
        lines = np.zeros((groups * 4, BLOCK), np.float32)
        start = np.zeros(BLOCK, np.float32)
        total = np.zeros(BLOCK, np.float32)
        for block in range(chunk * size, min(blocks, (chunk + 1) * size)):
            first = block * BLOCK
            width = min(BLOCK, columns - first)
            direct = 0
            if flipped:
                _transpose(weight[first : first + width], lines)
            else:
                direct = inputs // 4 if width == BLOCK else 0
                for r in range(4 * direct, inputs):
                    for c in range(width):
                        lines[r, c] = weight[r, first + c]
            start[:width] = bias[first : first + width]
            begin = table.ctypes.data
            _tabulate(
                np.uintp(begin),
                np.uintp(weight.ctypes.data + first * 4),
                np.int64(weight.shape[1] * 4),
                np.int64(direct),
            )
            _tabulate(
                np.uintp(begin + direct * 64 * BLOCK),
                np.uintp(lines.ctypes.data + direct * 16 * BLOCK),
                np.int64(4 * BLOCK),
                np.int64(groups - direct),
            )
            for r in range(rows):
                _sum_rows(
                    np.uintp(begin),
                    np.uintp(offsets.ctypes.data + r * offsets.shape[1] * 4),
                    np.int64(counts[r]),
                    np.uintp(start.ctypes.data),
                    np.uintp(total.ctypes.data),
                )
                out[r, first : first + width] = total[:width]


@njit(**FLAGS)
def _transpose(rows, lines):
    """Write the transpose of ``rows`` into the top left of ``lines``."""
    height, width = rows.shape
    tiles, across = height // 8 * 8, width // 8 * 8
    for c in range(0, tiles, 8):
        for r in range(0, across, 8):
            source = rows.ctypes.data + (c * rows.strides[0] + r * 4)
            target = lines.ctypes.data + (r * BLOCK + c) * 4
            _transpose_tile(np.uintp(source), np.int64(rows.strides[0]), np.uintp(target))
    for c in range(height):
        for r in range(across if c < tiles else 0, width):
            lines[r, c] = rows[c, r]
