"""Weights as rows: order, round trip, and which weights of a net count."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from dpnet.model.compression.groups import compressed_parameters, from_rows, to_rows


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, (3, 5))
        self.norm = nn.BatchNorm2d(3)
        self.back = nn.ConvTranspose2d(3, 2, 3)
        self.line = nn.Conv1d(4, 4, 3, groups=2)
        self.tied = nn.Linear(6, 6)
        self.same = nn.Linear(6, 6)
        self.same.weight = self.tied.weight


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


def test_only_fully_connected_and_convolution_weights_and_shared_ones_once() -> None:
    net = Mixed()
    found = compressed_parameters(net)
    assert list(found) == ["conv.weight", "line.weight", "tied.weight"]
    assert found["tied.weight"] is net.same.weight
    assert list(compressed_parameters(nn.Linear(2, 2))) == ["weight"]


def test_layers_can_be_left_out_by_either_name() -> None:
    assert list(compressed_parameters(Mixed(), ["conv", "line.weight"])) == ["tied.weight"]
    with pytest.raises(ValueError, match=r"^skip must name layers of the net, not \['norm'\]$"):
        compressed_parameters(Mixed(), ["norm", "conv"])


def test_shapes_that_are_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^weight must have at least 2 dimensions, not shape"):
        to_rows(torch.ones(3))
    with pytest.raises(ValueError, match=r"^rows must come from \(4, 3\), not have \(3, 4\)$"):
        from_rows(torch.ones(3, 4), torch.Size((4, 3)))
