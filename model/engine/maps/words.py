"""A pass as words of the stores: descriptor, taps, indices, codebooks, parameters of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.layout import record_words
from dpnet.model.engine.maps.checks import folded_bias
from dpnet.model.engine.maps.layout.forms import Form
from dpnet.model.engine.maps.layout.steps import Key
from dpnet.model.engine.maps.limits import FAR
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.maps.passes import Bytes, Integers, Pass
from dpnet.model.engine.maps.plan import Plan, PlannedPass
from dpnet.model.engine.maps.records import MAP_ROW, PASS, TAP
from dpnet.model.engine.maps.taps import Tap
from dpnet.model.engine.parameters import ceil_div

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Places:
    """Where a pass has its things: the first entry of the tap table, row group, word of indices and
    their stream, byte of results and words of 4 bytes from one picture's to the next one's; whether
    it writes a map, results, or both."""

    first_tap: int
    slot: int
    first_index: int
    first_stream: int
    result: int
    result_pitch: int
    to_map: bool
    to_result: bool


def pass_words(plan: Plan, one: PlannedPass, bases: dict[Key, int], at: Places) -> Words:
    """The descriptor (`PASS.words`,); `bases` has the first word of each form."""
    work, network = one.work, plan.network
    layer, window = work.layer, work.window
    read, written, picture = plan.forms[one.read], plan.forms[one.write], network.input.name
    schedule, dispatch = one.schedule, one.dispatch
    values: dict[str, int] = {
        "first_tap": at.first_tap,
        "taps": len(window.taps),
        "channels": work.channels,
        "channel_words": read.words,
        "block_words": work.block * read.words,
        "group_width": dispatch.group_width,
        "gap": dispatch.gap,
        "apart": work.apart,
        "shared": work.shared,
        "maximum": work.indices is None,
        "index_mode": work.index_bits - 1,
        "first_stream": at.first_stream,
        "width": window.width,
        "height": window.height,
        "groups": dispatch.groups,
        "row_groups": work.row_groups,
        "tile": schedule.tile,
        "last_tile": schedule.last_tile,
        "wait": one.wait,
        "slot": at.slot,
        "first_index": at.first_index,
        "picture": one.read[0] == picture,
        "unsigned": not network.tensor(layer.input).signed,
        "to_map": at.to_map,
        "to_result": at.to_result,
        "rows": work.rows,
        "last_rows": work.last_rows,
        "low": layer.low,
        "high": layer.high,
        "result": at.result,
        "result_pitch": at.result_pitch,
        "result_words": dispatch.groups,
        **_pair("read", read, bases[one.read] * read.clusters, work.first_channel),
        **_pair("read_row", read, read.step(dispatch)),
        **_written(written, bases.get(one.write, 0), work),
        **_skipped(plan, one, bases),
    }
    return record_words(PASS, **values)


def _pair(name: str, form: Form, place: int, channel: int = 0) -> dict[str, int]:
    """A place, `channel` channels further, as word and bank."""
    word, bank = divmod(int(place), form.clusters)
    return {f"{name}_word": word + channel * form.words, f"{name}_bank": bank}


def _written(form: Form, base: int, work: Pass) -> dict[str, int]:
    (sy, sx), (down, across), window = form.stride, form.planes, work.window
    first = base * form.clusters + int(form.place(window.top, window.left))
    return {
        "x_phases": sx,
        "y_phases": sy,
        "first_x_phase": window.left % sx,
        "first_y_phase": window.top % sy,
        "write_words": form.words,
        **_pair("write", form, first, work.layer.output_channel + work.first_row),
        **_pair("write_x", form, across),
        **_pair("write_x_wrap", form, 1 - (sx - 1) * across),
        **_pair("write_y", form, down),
        **_pair("write_y_wrap", form, form.pitch - (sy - 1) * down),
    }


def _skipped(plan: Plan, one: PlannedPass, bases: dict[Key, int]) -> dict[str, int]:
    skip, window = one.work.layer.skip, one.work.skip_window
    if skip is None or window is None or one.skip is None:
        names = [name for name in PASS.places if name.startswith("skip")]
        return dict.fromkeys(names, 0)
    form, tensor, [tap] = plan.forms[one.skip], plan.network.tensor(skip.tensor), window.taps
    return {
        "skips": 1,
        "skip_picture": skip.tensor == plan.network.input.name,
        "skip_unsigned": not tensor.signed,
        "skip_words": form.words,
        "skip_first": skip.channel - one.work.first_row,
        "skip_channels": tensor.shape[0],
        **_pair("skip", form, bases[one.skip] * form.clusters + int(form.place(tap.y, tap.x))),
        **_pair("skip_row", form, form.step(one.dispatch)),
    }


def tap_words(form: Form, work: Pass) -> Words:
    """The pass's entries of the tap table (taps, `TAP.words`)."""
    taps = work.window.taps
    word, bank = np.divmod([int(form.place(tap.y, tap.x)) for tap in taps], form.clusters)
    reaches = [_reach(tap, work) for tap in taps]
    return record_words(
        TAP,
        offset_word=word,
        offset_bank=bank,
        **{name: [one[name] for one in reaches] for name in reaches[0]},
    )


def _reach(tap: Tap, work: Pass) -> dict[str, int]:
    """How far from the edges of its window a position must be for the tap to be inside of the map.
    Raises `ValueError` where that is too far to be said."""
    window = work.window
    if tap.top > tap.bottom or tap.left > tap.right:
        return dict.fromkeys(("above", "below", "left", "right"), FAR + 1)
    found = {
        "above": tap.top,
        "below": window.height - 1 - tap.bottom,
        "left": tap.left,
        "right": window.width - 1 - tap.right,
    }
    if max(found.values()) > FAR:
        raise ValueError(
            f"layer {work.layer.name}: taps must be within {FAR} positions of the map, not "
            f"{max(found.values())} beyond it"
        )
    return found


def index_words(work: Pass) -> Words:
    """The indices that are stored (row groups, words, 2): a nibble for each lane, with the index of
    one addition, or of 2 or 4 of them from its lowest bit up."""
    assert work.indices is not None
    bits = work.index_bits
    together = 4 // bits
    stored = work.indices[: work.index_groups]
    padded = np.pad(stored, [(0, 0), (0, -stored.shape[1] % together), (0, 0)])
    split = padded.reshape(len(stored), -1, together, LANES)
    nibbles: Bytes = np.bitwise_or.reduce(
        [split[:, :, n] << n * bits for n in range(together)]
    ).astype(np.uint8)
    halves = nibbles.reshape(*nibbles.shape[:2], 2, 8).astype(np.uint32)
    words: Words = (halves << np.arange(0, 32, 4, dtype=np.uint32)).sum(3, dtype=np.uint32)
    return words


def codebook_words(work: Pass, entry_bits: int) -> Words:
    """The entries (row groups · lanes · K,)."""
    if work.entries is None:
        return np.zeros(work.row_groups * LANES * LANES, np.uint32)
    kept = work.entries & (1 << entry_bits) - 1
    return kept.reshape(-1).astype(np.uint32)


def row_words(plan: Plan, work: Pass) -> Words:
    """Parameters of the rows (row groups · lanes · `MAP_ROW.words`,)."""
    layer, rows = work.layer, slice(work.first_row, work.first_row + work.count)
    factor = layer.skip.factor[rows] if layer.skip else np.zeros(work.count, np.int64)
    columns: Sequence[tuple[str, Integers]] = (
        ("bias", folded_bias(work, plan.network)),
        ("multiplier", layer.multiplier[rows]),
        ("shift", layer.shift[rows]),
        ("factor", factor),
    )
    spread = {name: _by_row_group(work, values) for name, values in columns}
    return record_words(MAP_ROW, **spread).reshape(-1)


def _by_row_group(work: Pass, values: Integers) -> Integers:
    full = np.zeros((work.row_groups * work.rows), np.int64)
    full[: work.count] = values
    spread = np.zeros((work.row_groups, LANES), np.int64)
    spread[:, : work.rows] = full.reshape(work.row_groups, work.rows)
    return spread


def stored_words(work: Pass) -> int:
    """Words of the index store that a row group takes."""
    return ceil_div(work.adds * work.index_bits, 4)
