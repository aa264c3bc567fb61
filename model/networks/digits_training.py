"""The digits network from training to image and figures, for `dpnet train` and `make sim`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dpnet.model.compile import DenseLayer, compile_integer
from dpnet.model.compression.ratios import ratio_eq1, ratio_on_disk
from dpnet.model.golden.network import integer_network
from dpnet.model.image import Image, write_image
from dpnet.model.networks.digits import DigitsMlp, digits
from dpnet.model.pictures import Pictures
from dpnet.model.training.recipe import TrainResult, TrainSettings, build_net, pretrain, train

Progress = Callable[[int, int, str], None]

LAYERS = ("fc1", "fc2", "fc3")

DIGITS_SETTINGS = TrainSettings(epochs_float=40, epochs_cluster=40, epochs_tune=10)


@dataclass(frozen=True, kw_only=True, eq=False)
class DigitsResult:
    """A digits network trained with DP-Net, and the image of it at `path`.

    Accuracies in percent on the test pictures: of the float network, of the quantized one in float
    arithmetic, and of the integer golden model, which the engine equals.  `ratio_eq1` by Eq. (1);
    `ratio_bytes`, bytes of all parameters as fp32 per byte of the file.
    """

    bits: int
    accuracy_float: float
    accuracy_quantized: float
    accuracy_engine: float
    ratio_eq1: float
    ratio_bytes: float
    image: Image
    path: Path
    file_bytes: int
    seed: int


def pretrain_digits(
    settings: TrainSettings = DIGITS_SETTINGS,
    *,
    checkpoint: Path | None = None,
    on_progress: Progress | None = None,
) -> DigitsMlp:
    """The float network that `train_digits` starts from, the same for every number of bits."""
    net = build_net(DigitsMlp, settings.seed)
    with one_thread():
        pretrain(net, digits(), settings, checkpoint=checkpoint, on_progress=on_progress)
    return net


def train_digits(
    bits: int,
    path: Path,
    *,
    settings: TrainSettings = DIGITS_SETTINGS,
    start: DigitsMlp | None = None,
    checkpoint: Path | None = None,
    on_progress: Progress | None = None,
) -> DigitsResult:
    """Train the digits network with 2^`bits` centroids per row; write its integer image to `path`.

    `start` is what `pretrain_digits` of the same `settings` returned (it stays as it is); without
    it that is done here, with the same result.  With a `checkpoint` the same call goes on after an
    interruption and ends bit for bit the same; `remove_checkpoints` deletes what it leaves.
    `on_progress(epochs done, epochs in all, text)`.  Errors as those of `train`, `compile_integer`,
    `write_image`.
    """
    epochs = 0
    if start is None:
        epochs = settings.epochs_float
        start = pretrain_digits(
            settings,
            checkpoint=_beside(checkpoint, "float"),
            on_progress=_shifted(on_progress, 0, settings.epochs_cluster + settings.epochs_tune),
        )
    data = digits()
    with one_thread():
        result = train(
            copy.deepcopy(start),
            data,
            replace(settings, k=1 << bits, epochs_float=0),
            checkpoint=checkpoint,
            on_progress=_shifted(on_progress, epochs, epochs),
        )
    return digits_result(bits, path, result, data)


def remove_checkpoints(checkpoint: Path) -> None:
    """Delete what `train_digits` left at `checkpoint`, if anything."""
    for path in (checkpoint, _beside(checkpoint, "float")):
        if path is not None:
            path.unlink(missing_ok=True)


def digits_result(bits: int, path: Path, result: TrainResult, data: Pictures) -> DigitsResult:
    """Compile a trained digits network, write its image and take its figures."""
    about = {
        "network": "DigitsMlp 64-256-128-10",
        "data": "scikit-learn digits",
        "seed": result.seed,
        "accuracy_float": result.accuracy_float,
        "accuracy_quantized": result.accuracy_quantized,
    }
    image = compile_integer(
        [_layer(result, name) for name in LAYERS], data.train_x.numpy(), about=about
    )
    size = write_image(image, path)
    right = predictions(image, data.test_x.numpy()) == data.test_y.numpy()
    return DigitsResult(
        bits=bits,
        accuracy_float=result.accuracy_float,
        accuracy_quantized=result.accuracy_quantized,
        accuracy_engine=100.0 * int(right.sum()) / len(right),
        ratio_eq1=ratio_eq1([(x.rows, x.columns) for x in image.layers], 1 << bits),
        ratio_bytes=ratio_on_disk(result.net, path),
        image=image,
        path=path,
        file_bytes=size,
        seed=result.seed,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread inside, as it was outside.

    For nets this small more threads cost up to 100 times as long on a busy machine, and the result
    would depend on their number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def predictions(image: Image, x: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The class that the integer golden model gives to each row of x (n, C)."""
    outputs = [integer_network(image, row)[-1] for row in image.quantize_input(x)]
    classes: NDArray[np.int64] = np.argmax(outputs, axis=1)
    return classes


def _layer(result: TrainResult, name: str) -> DenseLayer:
    module = result.net.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return DenseLayer(
        name=name,
        quantized=result.quantized[f"{name}.weight"],
        bias=module.bias.detach().numpy(),
        relu=name != LAYERS[-1],
    )


def _beside(checkpoint: Path | None, part: str) -> Path | None:
    return checkpoint and checkpoint.with_name(f"{checkpoint.name}-{part}")


def _shifted(on_progress: Progress | None, before: int, more: int) -> Progress | None:
    """Progress of a part: `before` epochs came before it, `more` are not in its count."""
    if on_progress is None:
        return None
    tell = on_progress
    return lambda done, total, text: tell(before + done, total + more, text)
