"""A labeled data set in three parts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pictures:
    """Inputs (float32, one per row) and labels (int64) of the three parts.

    Train on `train`, choose settings on `validation`, report on `test` and look at it once.
    """

    train_x: Tensor
    train_y: Tensor
    validation_x: Tensor
    validation_y: Tensor
    test_x: Tensor
    test_y: Tensor

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            x, y = getattr(self, f"{part}_x"), getattr(self, f"{part}_y")
            if len(x) != len(y) or len(x) == 0:
                raise ValueError(f"{part} must have a label per input, not {len(y)} for {len(x)}")
