"""`compile_net`: PyTorch nets against their images, and what is no chain that an engine runs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from dpnet.model.compile import CompileError, compile_net
from dpnet.model.compression.network import compress_
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.golden.network import integer_network
from dpnet.model.image import Image

Floats = NDArray[np.float64]
X = np.random.default_rng(1).standard_normal((60, 12)).astype(np.float32)


def norm(size: int, sign: bool = True) -> nn.BatchNorm1d:
    """A batch norm that has learned something, with factors of both signs unless not `sign`."""
    found = nn.BatchNorm1d(size)
    found.running_mean = torch.randn(size)
    found.running_var = torch.rand(size) + 0.5
    low = -1.5 if sign else 0.2
    nn.init.uniform_(found.weight, low, 1.5)
    nn.init.normal_(found.bias)
    return found


class Own(nn.Module):
    """A chain that no Sequential is: functions, methods, a reshape, a norm between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 9)
        self.norm = norm(9)
        self.drop = nn.Dropout(0.5)
        self.head = nn.ModuleDict({"out": nn.Linear(9, 4, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.norm(self.first(x.flatten(1)))).view(x.shape[0], -1)
        return self.head["out"](functional.relu(self.drop(x)))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.same(self.same(x).relu())


NETS: dict[str, Callable[[], nn.Module]] = {
    "a single layer": lambda: nn.Linear(12, 5),
    "no ReLU": lambda: nn.Sequential(nn.Linear(12, 9), nn.Linear(9, 4)),
    "norm behind the layer": lambda: nn.Sequential(
        nn.Linear(12, 9), norm(9), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(9, 4), norm(4)
    ),
    "norm behind the ReLU": lambda: nn.Sequential(
        nn.Linear(12, 9), nn.ReLU(), norm(9, sign=False), nn.Linear(9, 4)
    ),
    "negative norm behind the ReLU": lambda: nn.Sequential(
        nn.Linear(12, 9), nn.ReLU(), norm(9), nn.Linear(9, 4)
    ),
    "norm in front": lambda: nn.Sequential(norm(12), nn.Identity(), nn.Linear(12, 9)),
    "norms everywhere": lambda: (
        nn.Sequential(
            norm(12),
            norm(12),
            nn.Linear(12, 20),
            norm(20),
            norm(20),
            nn.ReLU(),
            norm(20),
            nn.ReLU(),
        )[:7]
        + nn.Sequential(nn.Linear(20, 6))
    ),
    "a module of one's own": Own,
    "a layer used twice": Twice,
    "weight norm": lambda: nn.Sequential(
        parametrizations.weight_norm(nn.Linear(12, 9)), nn.ReLU(), nn.Linear(9, 4)
    ),
    "double": lambda: nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)).double(),
    "bfloat16": lambda: nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)).bfloat16(),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(3)
    return NETS[name]()


def results(image: Image, x: NDArray[np.float32]) -> Floats:
    found = [integer_network(image, row)[-1] for row in image.quantize_input(x)]
    return np.array(found) * image.output_scale


@torch.no_grad()
def wanted(net: nn.Module, x: NDArray[np.float32]) -> Floats:
    """What the net gives in float64, its weights of every layer as they are."""
    return net.double().eval()(torch.from_numpy(x).double()).numpy()


@pytest.mark.parametrize("name", NETS)
def test_the_image_computes_what_the_net_does(name: str) -> None:
    """Rows have at most 20 weights: 16 values hold nearly all, so only rounding is left."""
    net = made(name).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    image = compile_net(net, X, activation_bits=14, entry_bits=16, output_bits=20)
    assert net.training and all(module.training for module in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    exact = wanted(net, X)
    error = np.abs(results(image, X) - exact).max() / np.abs(exact).max()
    assert error < (0.03 if "everywhere" in name or "own" in name else 0.006)


def dense(image: Image, n: int) -> Floats:
    layer = image.layers[n]
    assert layer.entries is not None and layer.exponent is not None
    books = np.ldexp(layer.entries.astype(float), layer.exponent[:, None])
    return np.take_along_axis(books, layer.indices.astype(int), 1)


def few_values(rows: int, columns: int, k: int) -> Tensor:
    """K values a row, whole multiples of 1/64 that 16 bits hold."""
    books = torch.stack([torch.randperm(200)[:k] - 100.0 for _ in range(rows)]) / 64
    return books.gather(1, torch.randint(k, (rows, columns)))


def test_clustered_weights_keep_their_values_and_indices() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 8))
    weights = few_values(30, 12, 4), few_values(8, 30, 16)
    norm_of = net[1]
    with torch.no_grad():
        net[0].weight.copy_(weights[0])
        net[3].weight.copy_(weights[1])
        # Powers of two, of both signs: the products are exact too.
        norm_of.weight.copy_(torch.tensor([1.0, -0.5, 2.0] * 10))
        norm_of.running_var.fill_(1 - norm_of.eps)
    image = compile_net(net, X)
    most = [max(len(np.unique(row)) for row in weight.numpy()) for weight in weights]
    assert [layer.k for layer in image.layers] == most and most[0] == 4
    scaled = weights[0].double().numpy() * np.array([1.0, -0.5, 2.0] * 10)[:, None]
    np.testing.assert_allclose(dense(image, 0), scaled, rtol=2**-15)
    np.testing.assert_array_equal(dense(image, 1), weights[1].double().numpy())
    for layer, weight in zip(image.layers, weights, strict=True):
        order = np.array([np.unique(row, return_inverse=True)[1] for row in weight.numpy()])
        np.testing.assert_array_equal(layer.indices, order)


def test_what_compress_decided_is_in_the_image() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 8))
    prune.l1_unstructured(net[2], "weight", 0.5)
    prune.remove(net[2], "weight")
    compress_(net, CompressConfig(bits={"0": 2, "2": 3}, rows_per_codebook=2))
    image = compile_net(net, X)
    for n, module in enumerate((net[0], net[2])):
        weight = module.weight.detach().double().numpy()
        assert len(np.unique(weight)) <= len(weight) // 2 * image.layers[n].k
        np.testing.assert_allclose(dense(image, n), weight, atol=np.abs(weight).max() * 2**-15)
    assert (dense(image, 1) == 0).sum() == 120
    assert image.layers[0].k <= 4 and image.layers[1].k <= 8


def test_zeros_of_pruned_weights_stay_zeros() -> None:
    torch.manual_seed(0)
    net = nn.Linear(60, 7)
    prune.random_unstructured(net, "weight", 0.4)  # a mask, which is not made permanent
    x = np.random.default_rng(0).standard_normal((5, 60))
    image = compile_net(net, x, bits=2)
    pruned = net.weight.detach().numpy() == 0
    assert pruned.sum() == 168 and (dense(image, 0)[pruned] == 0).all()
    assert (dense(image, 0)[~pruned] != 0).any()


def test_bits_by_layer() -> None:
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("fc1", nn.Linear(40, 30))
    net.add_module("act", nn.ReLU())
    net.add_module("fc2", nn.Linear(30, 20))
    x = np.random.default_rng(0).standard_normal((9, 40))

    def ks(**given: object) -> list[int]:
        return [layer.k for layer in compile_net(net, x, **given).layers]  # type: ignore[arg-type]

    assert ks() == [16, 16]
    assert ks(bits=3) == [8, 8]
    assert ks(bits=4, bits_of={"fc2": 1}) == [16, 2]
    assert ks(bits=4, bits_of={"fc2.weight": 1}) == [16, 2]
    assert ks(bits={"fc1": 2, "*": 3}) == [4, 8]
    assert ks(bits={"fc1": 2, "fc2": 3}, bits_of={"*": 1}) == [2, 2]
    image = compile_net(net, x, bits=2, bits_of={"fc2": 3})
    assert image.about == {"network": "Sequential", "bits": {"fc1": 2, "fc2": 3}}


WHOLE = "bits must be a whole number from 1 to 4, not "
BITS = [
    ({"bits": 8}, WHOLE + "8"),
    ({"bits": 0}, WHOLE + "0"),
    ({"bits": True}, WHOLE + "True"),
    ({"bits": 2.0}, WHOLE + "2.0"),
    ({"bits_of": {"0": 8}}, "bits of 0 must be a whole number from 1 to 4, not 8"),
    ({"bits_of": {"fc": 2}}, "the network has no layer 'fc'; there are 0, 2"),
    ({"bits": {"0": 2}}, "bits must name every layer, or '*' for the others: 2"),
    ({"activation_bits": 26}, "activation_bits must be a whole number from 2 to 25, not 26"),
    ({"entry_bits": 1}, "entry_bits must be a whole number from 2 to 25, not 1"),
    ({"output_bits": "8"}, "output_bits must be a whole number from 2 to 25, not '8'"),
]


@pytest.mark.parametrize("given, message", BITS)
def test_bits_that_are_none(given: dict[str, object], message: str) -> None:
    net = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    with pytest.raises(CompileError, match=f"^{re.escape(message)}$"):
        compile_net(net, X, **given)  # type: ignore[arg-type]


CALIBRATIONS = [
    (X[:0], "the calibration must have at least one row, it has none"),
    (X[0], r"the calibration must have the shape \(n, features\), not \(12,\)"),
    (X[:, :, None], r"the calibration must have the shape \(n, features\), not \(60, 12, 1\)"),
    (X[:, :0], r"the calibration must have the shape \(n, features\), not \(60, 0\)"),
    (X[:, :5], "the network does not take rows of 5 values: .*"),
    (np.where(X > 2, np.nan, X), "the calibration holds a NaN or an infinity"),
    (np.where(X > 2, np.inf, X), "the calibration holds a NaN or an infinity"),
    (torch.full((3, 12), torch.nan), "the calibration holds a NaN or an infinity"),
    (np.zeros((9, 12)), "the calibration holds 0 and nothing else; give inputs such as .*"),
    (torch.ones(9, 12), "the calibration holds 1 and nothing else; give inputs such as .*"),
    (X.astype(complex), "the calibration must be real numbers, not complex128"),
    ([[1.0], [1.0, 2.0]], "the calibration must be an array, not lists of different lengths"),
    ("x.npy", "the calibration must be real numbers, not <U5"),
    (torch.from_numpy(X) + 2j, "the calibration must be real numbers, not torch.complex64"),
    (torch.empty(9, 12, device="meta"), "the calibration must be a dense tensor .*, not meta"),
    (np.ma.masked_less(X, 0.5), "the calibration must have no masked entries: .*"),
    ([np.ma.masked_less(x, 0.5) for x in X], "the calibration must have no masked entries: .*"),
]


@pytest.mark.parametrize("given, message", CALIBRATIONS)
def test_calibrations_that_are_none(given: object, message: str) -> None:
    with pytest.raises(CompileError, match=f"^{message}$"):
        compile_net(nn.Linear(12, 5), given)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(12, 0), (0, 5)])
def test_layers_without_weights(shape: tuple[int, int]) -> None:
    with warnings.catch_warnings(action="ignore"):
        net = nn.Sequential(nn.Linear(*shape))
    with pytest.raises(CompileError, match=r"^0.weight must hold at least one value, not shape"):
        compile_net(net, X[:, : shape[0]] if shape[0] else X)


def test_a_calibration_of_any_kind() -> None:
    torch.manual_seed(0)
    net = nn.Linear(12, 5)
    whole = np.rint(X * 20)
    images = [compile_net(net, given) for given in (whole, whole.astype(np.int8), whole.tolist())]
    images.append(compile_net(net, torch.from_numpy(whole).requires_grad_()))
    assert len({image.input_scale for image in images}) == 1


class Of(nn.Module):
    """A layer, and then a function of its input and its result."""

    def __init__(self, last: Callable[[Tensor, Tensor], object], size: int = 12) -> None:
        super().__init__()
        self.fc = nn.Linear(12, size)
        self.last = last

    def forward(self, x: Tensor) -> object:
        return self.last(x, self.fc(x))


CHAIN = "a network here is a chain of Linear, BatchNorm1d and ReLU, on rows of values"
NO_CHAINS: dict[str, tuple[Callable[[], object], str]] = {
    "another activation": (
        lambda: nn.Sequential(nn.Linear(12, 4), nn.GELU()),
        rf"1 \(GELU\): gelu cannot run; {CHAIN}",
    ),
    "inside a block": (
        lambda: nn.Sequential(nn.Sequential(nn.Linear(12, 4), nn.Softmax(1)), nn.Linear(4, 4)),
        rf"0\.1 \(Softmax\): softmax cannot run; {CHAIN}",
    ),
    "a function": (
        lambda: Of(lambda x, y: torch.sin(y)),
        rf"the network \(Of\), test_model_compile_net.py line \d+: sin cannot run; {CHAIN}",
    ),
    "a skip connection": (
        lambda: Of(lambda x, y: x + y),
        rf"the network .*: add cannot run; {CHAIN}",
    ),
    "a branch": (
        lambda: Of(lambda x, y: functional.linear(x, torch.eye(12))),
        r"the network \(Of\).*: linear takes something else than the result of the step before "
        rf"it; {CHAIN}, without branches",
    ),
    "a result left unused": (
        lambda: Of(lambda x, y: functional.relu(x)),
        "the network .*: relu takes something else than the result of the step before it; .*",
    ),
    "a product with itself": (
        lambda: Of(lambda x, y: functional.linear(y, y[:, :12])),
        "the network .* cannot run; .*",
    ),
    "another order": (
        lambda: Of(lambda x, y: y.flip(1)),
        rf"the network .*: flip cannot run; {CHAIN}",
    ),
    "part of the result": (
        lambda: Of(lambda x, y: y[:, :3]),
        rf"the network .*: slice cannot run; {CHAIN}",
    ),
    "two results": (
        lambda: Of(lambda x, y: (y, x)),
        rf"the network must give a row of values for each of 60, not tuple; {CHAIN}",
    ),
    "one value a row": (
        lambda: Of(lambda x, y: y.sum(1)),
        rf"the network must give a row of values for each of 60, not \(60,\); {CHAIN}",
    ),
    "a convolution": (
        lambda: nn.Sequential(nn.Unflatten(1, (1, 12)), nn.Conv1d(1, 2, 3), nn.Flatten()),
        rf"0 \(Unflatten\): unflatten cannot run; {CHAIN}",
    ),
    "control flow": (
        lambda: Of(lambda x, y: y if y.sum() > 0 else -y),
        rf"torch.export cannot read the network: .*; {CHAIN}",
    ),
    "ReLU first": (
        lambda: nn.Sequential(nn.ReLU(), nn.Linear(12, 4)),
        r"0 \(ReLU\) stands in front of the first Linear; .*",
    ),
    "norm behind all": (
        lambda: nn.Sequential(nn.Linear(12, 4), nn.ReLU(), norm(4)),
        r"2 \(BatchNorm1d\) stands behind the last ReLU; it can be folded only .*",
    ),
    "ReLU, norm, ReLU": (
        lambda: nn.Sequential(nn.Linear(12, 4), nn.ReLU(), norm(4), nn.ReLU()),
        r"3 \(ReLU\) follows 2 \(BatchNorm1d\) and that a ReLU; .*",
    ),
    "statistics of the batch": (
        lambda: nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4, track_running_stats=False)),
        r"1 \(BatchNorm1d\): it takes mean and variance from the batch, .*",
    ),
    "dropout that stays": (
        lambda: Of(lambda x, y: functional.dropout(y, 0.5, training=True)),
        r"the network \(Of\).*: dropout changes the values or their shape; .*",
    ),
    "clustered behind a norm": (
        lambda: nn.Sequential(norm(12), few_layer()),
        r"layer 1 is clustered, and the BatchNorm1d in front of it has other factors .*",
    ),
    "nothing": (nn.Sequential, "the network has no Linear layer; there is nothing .*"),
    "no module": (
        lambda: torch.relu,
        "the network must be a torch.nn.Module, not builtin_function_or_method",
    ),
    "no values": (
        lambda: nn.Linear(12, 4, device="meta"),
        "weight is on the meta device and has no values: load them first",
    ),
    "no shape": (lambda: nn.LazyLinear(4), "weight has no shape yet: run the network once before"),
    "infinite": (
        lambda: Of(lambda x, y: y * torch.inf),
        "the network .*: mul cannot run; .*",
    ),
}


def few_layer() -> nn.Linear:
    layer = nn.Linear(12, 4)
    with torch.no_grad():
        layer.weight.copy_(few_values(4, 12, 2))
    return layer


@pytest.mark.parametrize("name", NO_CHAINS)
def test_what_is_no_chain(name: str) -> None:
    torch.manual_seed(0)
    make, message = NO_CHAINS[name]
    with pytest.raises(CompileError, match=f"^{message}$") as caught:
        compile_net(make(), X, bits=1)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite() -> None:
    net = nn.Linear(12, 4)
    with torch.no_grad():
        net.weight[2, 3] = torch.nan
    with pytest.raises(CompileError, match=r"^the network gives a NaN or an infinity for the cal"):
        compile_net(net, X)


def test_a_net_that_is_not_what_its_layers_are() -> None:
    """A hook that nobody sees in the modules changes the result."""
    net = nn.Sequential(nn.Linear(12, 4))
    net[0].register_forward_hook(lambda module, given, result: result * 2)
    with pytest.raises(CompileError, match=r"^(0|the network) .*: mul cannot run; "):
        compile_net(net, X)
