"""Where in the banks each form of a map lies: nothing shares words with what is needed at the same
time."""

from __future__ import annotations

from collections.abc import Mapping

from dpnet.model.engine.maps.layout.steps import Key
from dpnet.model.engine.maps.plan import Plan


def lifetimes(plan: Plan) -> dict[Key, tuple[int, int]]:
    """The first pass that writes each form of a map, and the last one that writes or reads it; not
    of the picture, and not of results that no pass reads."""
    found: dict[Key, tuple[int, int]] = {}
    read: set[Key] = set()
    for n, one in enumerate(plan.passes):
        read |= {one.read, *([one.skip] if one.skip else [])}
        for key in (one.write, one.read, one.skip):
            if key is not None and key[0] != plan.network.input.name:
                found[key] = found.get(key, (n, n))[0], n
    output = plan.network.output
    return {key: span for key, span in found.items() if key in read or key[0] != output}


def map_bases(plan: Plan) -> dict[Key, int]:
    """The first word of each form in the banks of maps: the largest ones first, each as low as it
    can lie."""
    spans = lifetimes(plan)
    bases: dict[Key, int] = {}
    for key in sorted(spans, key=lambda key: -plan.forms[key].size):
        begin, end = spans[key]
        taken = sorted(
            (bases[other], bases[other] + plan.forms[other].size)
            for other in bases
            if spans[other][0] <= end and begin <= spans[other][1]
        )
        base = 0
        for low, high in taken:
            if base + plan.forms[key].size <= low:
                break
            base = max(base, high)
        bases[key] = base
    return bases


def picture_bases(plan: Plan) -> dict[Key, int]:
    """The first word of each form of the picture, from the start of its half."""
    bases, end = {}, 0
    for key, form in plan.forms.items():
        if key[0] == plan.network.input.name:
            bases[key] = end
            end += form.size
    return bases


def words_needed(plan: Plan, bases: Mapping[Key, int]) -> int:
    """Words up to the end of the last form."""
    return max((base + plan.forms[key].size for key, base in bases.items()), default=0)
