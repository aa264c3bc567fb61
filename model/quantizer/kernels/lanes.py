"""Eight candidates at once: LLVM's vectors for the inner loops of the programs.

LLVM does not vectorize a search for the least and its place by itself. These
vectors of eight become whatever the processor has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types as numba_types
from numba.core import cgutils as numba_cgutils
from numba.extending import intrinsic

LANES = 8

types: Any = numba_types  # which have none themselves
cgutils: Any = numba_cgutils

_F64, _I64 = ir.DoubleType(), ir.IntType(64)
_FLOATS, _INTS = ir.VectorType(_F64, LANES), ir.VectorType(_I64, LANES)
_LANE = ir.Constant(_INTS, [_I64(lane) for lane in range(LANES)])


class _Vectors:
    """Emits vectors of eight, in the arrays that are arguments of a compiled function."""

    def __init__(self, context: Any, builder: Any, kinds: Any, values: Any) -> None:
        self.context, self.b, self.kinds, self.values = context, builder, kinds, values

    def array(self, argument: int) -> Any:
        """Where the data of an array argument begin."""
        make = self.context.make_array(self.kinds[argument])
        return make(self.context, self.b, self.values[argument]).data

    def load(self, array: Any, index: Any) -> Any:
        """Eight elements from `index` on."""
        place = self.b.bitcast(self.b.gep(array, [index]), _FLOATS.as_pointer())
        value = self.b.load(place, typ=_FLOATS)
        value.align = 8
        return value

    def store(self, array: Any, index: Any, value: Any) -> None:
        """Eight elements from `index` on."""
        place = self.b.bitcast(self.b.gep(array, [index]), value.type.as_pointer())
        bits = 64 if value.type.element == _F64 else value.type.element.width
        self.b.store(value, place).align = bits // 8

    def same(self, value: Any) -> Any:
        """One scalar in all lanes."""
        kind, narrow = ir.VectorType(value.type, LANES), ir.IntType(32)
        first = self.b.insert_element(ir.Constant(kind, ir.Undefined), value, narrow(0))
        zeros = ir.Constant(ir.VectorType(narrow, LANES), [narrow(0)] * LANES)
        return self.b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)

    def element(self, array: Any, index: Any) -> Any:
        """One element in all lanes."""
        return self.same(self.b.load(self.b.gep(array, [index])))

    def variable(self, kind: Any, value: float) -> Any:
        """A vector that a loop changes."""
        return cgutils.alloca_once_value(self.b, ir.Constant(kind, [kind.element(value)] * LANES))

    def choose(self, better: Any, value: Any, variable: Any) -> None:
        """`value` into the lanes of `variable` where it is better."""
        self.b.store(self.b.select(better, value, self.b.load(variable)), variable)

    def halves(self, value: Any) -> list[Any]:
        """The lower and the upper lanes."""
        width = value.type.count // 2
        kind, parts = ir.VectorType(ir.IntType(32), width), []
        for start in (0, width):
            lanes = ir.Constant(kind, list(range(start, start + width)))
            parts.append(self.b.shuffle_vector(value, value, lanes))
        return parts

    def reduced(self, value: Any, how: str) -> Any:
        """The lanes as one: the least (<), the largest (>), or the sum (+), in halves."""
        compare = self.b.fcmp_ordered if value.type.element == _F64 else self.b.icmp_signed
        while value.type.count > 1:
            low, high = self.halves(value)
            if how == "+":
                value = self.b.fadd(low, high)
            else:
                value = self.b.select(compare(how, low, high), low, high)
        return self.b.extract_element(value, ir.IntType(32)(0))

    def exact_sum(self, one: Any, other: Any) -> tuple[Any, Any]:
        """The sum, and what it loses (Knuth)."""
        total = self.b.fadd(one, other)
        part = self.b.fsub(total, one)
        rest = self.b.fsub(one, self.b.fsub(total, part))
        return total, self.b.fadd(rest, self.b.fsub(other, part))

    def gain(self, gain: Any, distance: Any, spread: Any, weighted: bool) -> Any:
        """gain - distance^2 / weight, where `spread` is the weight or its inverse."""
        square = self.b.fmul(distance, distance)
        part = self.b.fdiv(square, spread) if weighted else self.b.fmul(square, spread)
        return self.b.fsub(gain, part)

    @contextmanager
    def loop(self, first: Any, last: Any, step: int) -> Iterator[Any]:
        """i from first to last."""
        stop = self.b.add(last, _I64(1))
        with cgutils.for_range_slice(self.b, first, stop, _I64(step)) as (i, _):
            yield i


def _eight_ends(weighted: bool) -> Any:
    """An intrinsic: cost, gain and best break of the ends j..j + 7 from candidates first..last.

    gain[i] is cost[i] + price - squares[i]; `spread` the inverse numbers, of which that of
    j - i + gap is taken, or the weights.
    """

    def typing(
        typingctx: Any,
        gain: Any,
        sums: Any,
        squares: Any,
        spread: Any,
        gap: Any,
        price: Any,
        j: Any,
        first: Any,
        last: Any,
        cost: Any,
        origin: Any,
    ) -> Any:
        one = types.int64
        signature = types.void(
            gain, sums, squares, spread, one, types.float64, one, one, one, cost, origin
        )

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            v = _Vectors(context, builder, signature.args, values)
            gains, sums, squares, spread, costs, origins = map(v.array, (0, 1, 2, 3, 9, 10))
            gap, price, j, first, last = values[4:9]
            best, found = v.variable(_FLOATS, math.inf), v.variable(_INTS, 0)
            sum_to, weight_to = v.load(sums, j), v.load(spread, j)
            with v.loop(first, last, 1) as i:
                over = (
                    builder.fsub(weight_to, v.element(spread, i))
                    if weighted
                    else v.load(spread, builder.add(gap, builder.sub(j, i)))
                )
                distance = builder.fsub(sum_to, v.element(sums, i))
                value = v.gain(v.element(gains, i), distance, over, weighted)
                better = builder.fcmp_ordered("<", value, builder.load(best))
                v.choose(better, value, best)
                v.choose(better, v.same(i), found)
            value = builder.load(best)
            v.store(costs, j, builder.fadd(value, v.load(squares, j)))
            v.store(gains, j, builder.fadd(value, v.same(price)))
            v.store(origins, j, builder.load(found))
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(typing)


def _eight_candidates(weighted: bool, span: bool) -> Any:
    """An intrinsic about the candidates first..last of one end j, eight at once.

    The least gain[i] - distance^2 / weight and the first i that has it (0 if there is none below
    inf); or, if `span`, the first and the last i at which this is at most limit (2^62 and -1 if
    there is none).
    `spread` the inverse numbers from the largest to 1, of which that of j - i + gap is taken, or
    the weights.
    """

    def typing(
        typingctx: Any,
        gain: Any,
        sums: Any,
        spread: Any,
        gap: Any,
        j: Any,
        first: Any,
        last: Any,
        limit: Any,
    ) -> Any:
        one = types.int64
        result = types.Tuple((one if span else types.float64, one))
        signature = result(gain, sums, spread, one, one, one, one, types.float64)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            v = _Vectors(context, builder, signature.args, values)
            gains, sums, spread = map(v.array, (0, 1, 2))
            gap, j, first, last, limit = values[3:8]
            length = context.make_array(signature.args[2])(context, builder, values[2]).nitems
            shift = builder.sub(builder.sub(length, _I64(1 + LANES)), builder.add(j, gap))
            best = v.variable(_FLOATS, math.inf)
            low, high = v.variable(_INTS, 2**62 if span else 0), v.variable(_INTS, -1)
            sum_to, weight_to = v.element(sums, j), v.element(spread, j)
            with v.loop(first, last, LANES) as i:
                over = (
                    builder.fsub(weight_to, v.load(spread, i))
                    if weighted
                    else v.load(spread, builder.add(i, shift))
                )
                distance = builder.fsub(sum_to, v.load(sums, i))
                value = v.gain(v.load(gains, i), distance, over, weighted)
                index = builder.add(v.same(i), _LANE)
                inside = builder.icmp_signed("<=", index, v.same(last))
                if span:
                    good = builder.fcmp_ordered("<=", value, v.same(limit))
                    good = builder.and_(good, inside)
                    lower = builder.icmp_signed("<", index, builder.load(low))
                    v.choose(builder.and_(good, lower), index, low)
                    v.choose(good, index, high)
                else:
                    better = builder.fcmp_ordered("<", value, builder.load(best))
                    better = builder.and_(better, inside)
                    v.choose(better, value, best)
                    v.choose(better, index, low)
            lowest, highest = builder.load(low), builder.load(high)
            if span:
                found = [v.reduced(lowest, "<"), v.reduced(highest, ">")]
            else:
                least = v.reduced(builder.load(best), "<")
                ties = builder.fcmp_ordered("==", builder.load(best), v.same(least))
                far = ir.Constant(_INTS, [_I64(2**62)] * LANES)
                found = [least, v.reduced(builder.select(ties, lowest, far), "<")]
            return context.make_tuple(builder, signature.return_type, found)

        return signature, generate

    return intrinsic(typing)


def _eight_sums(power: int) -> Any:
    """An intrinsic: the sum of (scale * values[j] - origin) ** power for j in first..last - 1.

    last - first a multiple of LANES; each lane adds up its own.
    """

    def typing(typingctx: Any, values: Any, first: Any, last: Any, scale: Any, origin: Any) -> Any:
        one, real = types.int64, types.float64
        signature = real(values, one, one, real, real)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            v = _Vectors(context, builder, signature.args, arguments)
            values, (first, last, scale, origin) = v.array(0), arguments[1:]
            total = v.variable(_FLOATS, 0.0)
            with v.loop(first, builder.sub(last, _I64(1)), LANES) as j:
                scaled = builder.fmul(v.load(values, j), v.same(scale))
                part = builder.fsub(scaled, v.same(origin))
                part = builder.fmul(part, part) if power == 2 else part
                builder.store(builder.fadd(builder.load(total), part), total)
            return v.reduced(builder.load(total), "+")

        return signature, generate

    return intrinsic(typing)


def _sixteen_indices(typingctx: Any, values: Any, last: Any, thresholds: Any, indices: Any) -> Any:
    """How many of the ascending thresholds[1:16] are at most values[j], into indices[j], for j in
    0..last - 1, a multiple of LANES; indices are bytes or pairs of bytes."""
    signature = types.void(values, types.int64, thresholds, indices)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v = _Vectors(context, builder, signature.args, arguments)
        values, thresholds, indices = map(v.array, (0, 2, 3))
        bits = ir.VectorType(ir.IntType(signature.args[3].dtype.bitwidth), LANES)
        limits = [v.element(thresholds, _I64(n)) for n in range(16)]
        with v.loop(_I64(0), builder.sub(arguments[1], _I64(1)), LANES) as j:
            value, index, left = v.load(values, j), ir.Constant(bits, None), limits
            while len(left) > 1:  # the threshold in the middle of those that are left, by lanes
                half = len(left) // 2
                above = builder.fcmp_ordered(">=", value, left[half])
                left = [
                    builder.select(above, high, low)
                    for low, high in zip(left[:half], left[half:], strict=True)
                ]
                step = ir.Constant(bits, [half] * LANES)
                index = builder.or_(index, builder.select(above, step, ir.Constant(bits, None)))
            v.store(indices, j, index)
        return context.get_dummy_value()

    return signature, generate


def _compensated_sums(
    typingctx: Any, values: Any, first: Any, last: Any, scale: Any, origin: Any
) -> Any:
    """For d = scale * values[j] - origin, j in first..last - 1, a multiple of LANES: the sum of d,
    what its additions lost (Knuth), the sum of d^2 and what its additions lost."""
    one, real = types.int64, types.float64
    signature = types.UniTuple(real, 4)(values, one, one, real, real)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v = _Vectors(context, builder, signature.args, arguments)
        values, (first, last, scale, origin) = v.array(0), arguments[1:]
        totals = [v.variable(_FLOATS, 0.0) for _ in range(4)]
        with v.loop(first, builder.sub(last, _I64(1)), LANES) as j:
            scaled = builder.fmul(v.load(values, j), v.same(scale))
            distance = builder.fsub(scaled, v.same(origin))
            square = builder.fmul(distance, distance)
            for total, lost, more in ((*totals[:2], distance), (*totals[2:], square)):
                after, slip = v.exact_sum(builder.load(total), more)
                builder.store(after, total)
                builder.store(builder.fadd(builder.load(lost), slip), lost)
        found = []
        for total, lost in (totals[:2], totals[2:]):
            value, off = builder.load(total), builder.load(lost)
            while value.type.count > 1:
                (low, high), (low_off, high_off) = v.halves(value), v.halves(off)
                value, slip = v.exact_sum(low, high)
                off = builder.fadd(builder.fadd(low_off, high_off), slip)
            found += [builder.extract_element(x, ir.IntType(32)(0)) for x in (value, off)]
        return context.make_tuple(builder, signature.return_type, found)

    return signature, generate


ends, weighted_ends = _eight_ends(False), _eight_ends(True)
candidates, weighted_candidates = _eight_candidates(False, False), _eight_candidates(True, False)
span, weighted_span = _eight_candidates(False, True), _eight_candidates(True, True)
distances, squared_distances = _eight_sums(1), _eight_sums(2)
sixteen_indices: Any = intrinsic(_sixteen_indices)
compensated_sums: Any = intrinsic(_compensated_sums)
