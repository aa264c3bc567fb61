"""What the words of a map engine's stores mean (standard library only).

A *place* counts positions of maps across the banks: place n is in bank n mod `clusters` at word
n div `clusters`.  Stores hold places as these two, (`…_word`, signed; `…_bank`), so that the
hardware adds them without dividing: where the banks' sum reaches `clusters` it is less by that, and
the word one more.
"""

from __future__ import annotations

from dpnet.model.engine.records import Record

__all__ = ["MAP_ROW", "PASS", "TAP"]

Fields = tuple[tuple[str, int], ...]


def _place(name: str, spare: str) -> Fields:
    return ((f"{name}_word", 18), (f"{name}_bank", 6), (f"unused_{spare}", 8))


PASS = Record(
    (
        ("first_tap", 16),
        ("taps", 16),
        ("channels", 16),
        ("channel_words", 16),
        ("block_words", 18),
        ("group_width", 7),
        ("apart", 1),
        ("shared", 1),
        ("maximum", 1),
        ("index_mode", 2),
        ("first_stream", 2),
        ("width", 16),
        ("height", 16),
        ("groups", 20),
        ("row_groups", 12),
        ("tile", 16),
        ("last_tile", 16),
        ("wait", 16),
        ("slot", 16),
        ("first_index", 24),
        ("picture", 1),
        ("unsigned", 1),
        ("to_map", 1),
        ("to_result", 1),
        ("skips", 1),
        ("skip_picture", 1),
        ("skip_unsigned", 1),
        ("unused_8", 1),
        ("read_word", 18),
        ("read_bank", 6),
        ("gap", 6),
        ("unused_9", 2),
        *_place("read_row", "10"),
        ("rows", 6),
        ("last_rows", 6),
        ("low", 9),
        ("high", 9),
        ("unused_11", 2),
        ("x_phases", 8),
        ("y_phases", 8),
        ("first_x_phase", 8),
        ("first_y_phase", 8),
        *_place("write", "13"),
        *_place("write_x", "14"),
        *_place("write_x_wrap", "15"),
        *_place("write_y", "16"),
        *_place("write_y_wrap", "17"),
        ("write_words", 16),
        ("skip_words", 16),
        *_place("skip", "19"),
        *_place("skip_row", "20"),
        ("skip_first", 16),
        ("skip_channels", 16),
        ("result", 18),
        ("result_pitch", 14),
        ("result_words", 18),
        ("unused_23", 14),
    )
)
"""A pass, in the order in which the engine reads it, a word a cycle.

What is read: `taps` entries of the tap table from `first_tap` on, each for `channels` channels,
`channel_words` apart; `block_words` from one row group's first channel to the next one's.
`picture`: these are words of the half of the picture that the run is about; `unsigned`: so are the
bytes.  `read` is the place of position (0, 0) of the pass's `width` × `height`, `read_row` the step
from the last place of a row and its gap to the next row's first.

What is computed when: `groups` of `group_width` positions, with a `gap` of idle ones between rows;
`row_groups` times, each from `slot` on with its codebook and parameters.  `shared`: all
row groups take the same indices, so a tile may hold groups of several.  `maximum`: no sums and no
indices.  `apart`: each stage computes a picture of its own, all of them the same positions.
`index_mode` is 0, 1 or 3 for 1, 2 or 4 bits.  Row group r has them in stream (n mod
streams), n = `first_stream` + r, from the word `first_index` + (n div streams) · words of a row
group on.  `tile` and `last_tile` are cycles to the next tile; the pass begins `wait` cycles later
than it could.

What is written: `rows` of a row group (`last_rows` of the last one), clamped to `low` … `high`.
`to_map`: from the place `write` on, `write_words` from row to row; in x `write_x` a step, after
`x_phases` of them `write_x_wrap`, the first row beginning with `first_x_phase`; likewise in y.
`to_result`: the byte `result` + `result_words` · row + group in the cluster's bank of results, of
the picture in stage g 4 · `result_pitch` · g further.

What is added while drained, if it `skips`: from the place `skip` on (`skip_row` as `read_row`) row
`skip_first` has channel 0 of `skip_channels`, `skip_words` apart.
"""

TAP = Record(
    (
        ("offset_word", 18),
        ("offset_bank", 6),
        ("above", 4),
        ("below", 4),
        ("left", 4),
        ("right", 4),
        ("unused", 24),
    )
)
"""A tap's place less the position's, and the positions for which it is inside of the map: those
with at least `above` rows of the pass's window above them, `below` rows below them, `left` columns
to their left and `right` to their right; of 15 there never are as many."""

MAP_ROW = Record(
    (
        ("bias", 40),
        ("unused", 24),
        ("multiplier", 16),
        ("shift", 6),
        ("unused_2", 10),
        ("factor", 18),
        ("unused_3", 14),
    )
)
"""Parameters of a row; bias and `factor`, that of the skip value, are signed."""
