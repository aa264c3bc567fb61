"""The scoreboard: what passes and what every failure says."""

import pytest

from dpnet.sim.kit.scoreboard import Scoreboard


def test_equal_sequences_pass_whichever_is_ahead():
    board = Scoreboard("rows")
    board.expect(1)
    board.receive(1)
    board.receive(2)
    board.expect(2, "late")
    assert board.finish() == 2


def test_the_first_difference_is_shown_with_what_came_before():
    board = Scoreboard("rows", show=hex)
    for value in (16, 17, 18, 19):
        board.expect(value, f"row {value}")
        board.receive(value)
    board.expect(20, "row 20")
    with pytest.raises(AssertionError) as caught:
        board.receive(21)
    assert str(caught.value) == (
        "rows: number 4 is 0x15, expected 0x14 (row 20); "
        "before it: 0x11 (row 17), 0x12 (row 18), 0x13 (row 19)"
    )


@pytest.mark.parametrize(
    "expected, received, message",
    [
        ([1, 2, 3], [1], "rows: 2 missing after 1, the first 2; before it: 1"),
        ([1], [1, 5, 6], "rows: 2 surplus after 1, the first 5; before it: 1"),
        ([], [], "rows: nothing was compared"),
    ],
)
def test_finish_refuses(expected, received, message):
    board = Scoreboard("rows")
    for value in expected:
        board.expect(value)
    for value in received:
        board.receive(value)
    with pytest.raises(AssertionError) as caught:
        board.finish()
    assert str(caught.value) == message
