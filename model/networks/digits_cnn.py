"""A convolutional network for scikit-learn's digits, trained with DP-Net, for a map engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.compile.whole import compile_network
from dpnet.model.compression.ratios import ratio_eq1
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.accuracy import accuracy as golden_accuracy
from dpnet.model.networks.digits import digits
from dpnet.model.networks.digits_training import one_thread
from dpnet.model.pictures import Pictures
from dpnet.model.training.recipe import TrainResult, TrainSettings, build_net, train
from dpnet.model.training.run import Progress

__all__ = ["CNN_BITS", "CNN_SETTINGS", "CnnResult", "DigitsCnn", "digit_maps", "train_cnn"]

CNN_BITS = 2
CNN_SETTINGS = TrainSettings(
    k=1 << CNN_BITS, epochs_float=12, epochs_cluster=12, epochs_tune=4, period=4
)


class DigitsCnn(nn.Module):
    """A ResNet in small, 7,376 weights: a convolution, a residual block, a maximum, a convolution
    by 2, an average, a linear layer.  Input (batch, 1, 8, 8) in 0..1, output logits (batch, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(x + self.bn2(self.conv2(x)))
        x = functional.relu(self.bn3(self.conv3(functional.max_pool2d(x, 2))))
        logits: Tensor = self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


@dataclass(frozen=True, kw_only=True, eq=False)
class CnnResult:
    """The network trained with DP-Net, and its image at `path`.

    Accuracies in percent on the 360 test pictures: of the float network, of the quantized one in
    float arithmetic, of the integer golden model.  `ratio_eq1` by Eq. (1).
    """

    bits: int
    accuracy_float: float
    accuracy_quantized: float
    accuracy_golden: float
    ratio_eq1: float
    image: MapImage
    path: Path
    file_bytes: int


def digit_maps() -> Pictures:
    """The digits as maps (n, 1, 8, 8)."""
    data = digits()
    parts = (data.train_x, data.validation_x, data.test_x)
    train_x, validation_x, test_x = (x.reshape(-1, 1, 8, 8) for x in parts)
    return replace(data, train_x=train_x, validation_x=validation_x, test_x=test_x)


def train_cnn(
    path: Path,
    *,
    bits: int = CNN_BITS,
    settings: TrainSettings = CNN_SETTINGS,
    checkpoint: Path | None = None,
    on_progress: Progress | None = None,
) -> CnnResult:
    """Train the network with 2^`bits` centroids per row and write its image to `path`; some 5 s.

    The image has the training's own codebooks and indices: nothing is solved a second time.  With a
    `checkpoint` the same call goes on after an interruption and ends bit for bit the same.
    Errors as those of `train` and `dpnet.compile`.
    """
    data, net = digit_maps(), build_net(DigitsCnn, settings.seed)
    settings = replace(settings, k=1 << bits)
    with one_thread():
        result = train(net, data, settings, checkpoint=checkpoint, on_progress=on_progress)
        return _result(bits, path, result, data)


def _result(bits: int, path: Path, result: TrainResult, data: Pictures) -> CnnResult:
    calibration = data.train_x.numpy()
    image = compile_network(
        result.net, calibration=calibration, bits=bits, engine="maps", profiled=False
    )
    assert isinstance(image, MapImage)
    size = image.save(path)
    golden = golden_accuracy(image.network, data.test_x.numpy(), data.test_y.numpy())
    return CnnResult(
        bits=bits,
        accuracy_float=result.accuracy_float,
        accuracy_quantized=result.accuracy_quantized,
        accuracy_golden=golden.percent,
        ratio_eq1=ratio_eq1([q.indices.shape for q in result.quantized.values()], 1 << bits),
        image=image,
        path=path,
        file_bytes=size,
    )
