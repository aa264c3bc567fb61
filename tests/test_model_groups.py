"""Weights as rows: order and round trip."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dpnet.model.compression.groups import RowForm, from_rows, to_rows, wide


def test_fully_connected_weights_are_their_rows() -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    assert to_rows(weight).tolist() == weight.tolist()


def test_a_row_is_the_filter_of_one_output_channel() -> None:
    weight, x = torch.randn(5, 2, 3, 3), torch.randn(1, 2, 6, 7)
    expected = functional.conv2d(x, weight).reshape(5, -1)
    torch.testing.assert_close(to_rows(weight) @ functional.unfold(x, 3)[0], expected)


@pytest.mark.parametrize("shape", [(3, 4), (5, 2, 3), (5, 2, 3, 1), (2, 3, 1, 2, 2)])
def test_round_trip(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    rows = to_rows(weight)
    assert rows.shape == (shape[0], weight.numel() // shape[0])
    assert torch.equal(from_rows(rows, weight.shape), weight)


def test_shapes_that_are_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^weight must have at least 2 dimensions, not shape"):
        to_rows(torch.ones(3))
    with pytest.raises(ValueError, match=r"^rows must come from \(4, 3\), not have \(3, 4\)$"):
        from_rows(torch.ones(3, 4), torch.Size((4, 3)))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_forms_with_the_outputs_on_axis_1(groups: int) -> None:
    values = torch.randn(8, 3, 2, 5)
    form = RowForm((8, 3, 2, 5), groups)
    assert (form.rows, form.n) == (3 * groups, 80 // groups)
    assert form.outputs_first == (3 * groups, 8 // groups, 2, 5)
    rows = form.to_rows(values)
    assert rows.shape == (form.rows, form.n) and torch.equal(form.from_rows(rows), values)
    first = values[: 8 // groups, 0].reshape(-1)
    assert torch.equal(rows[0], first)


def test_the_type_that_is_solved_in() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert wide(torch.ones(1, dtype=dtype)).dtype == torch.float32
    assert wide(torch.ones(1, dtype=torch.float64)).dtype == torch.float64
