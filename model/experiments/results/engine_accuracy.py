"""What a net is worth in the engine's integers: compiled, and run by the golden model."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dpnet.model.compile.whole import compile_network
from dpnet.model.data.preparation import Preparation
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.accuracy import accuracy

__all__ = ["CALIBRATION", "engine_accuracy"]

CALIBRATION = 256
"""Pictures of the training part that set the scales."""


def engine_accuracy(
    net: nn.Module,
    train_x: Tensor,
    test: tuple[Tensor, Tensor],
    *,
    bits: int,
    preparation: Preparation | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Percent of the `test` pictures that the map engine's golden model labels right.

    Layers of at most 2^bits values a row keep them.  Raises `CompileError` for a net that the
    engine does not hold.
    """
    x, labels = test
    calibration = _inputs(train_x[:CALIBRATION], preparation)
    image = compile_network(net, calibration=calibration, bits=bits, engine="maps", profiled=False)
    assert isinstance(image, MapImage)
    found = accuracy(image.network, _inputs(x, preparation), labels.numpy(), progress)
    return found.percent


def _inputs(x: Tensor, preparation: Preparation | None) -> object:
    pixels = x.cpu().numpy()
    return pixels.astype("float32") if preparation is None else preparation.compute(pixels)
