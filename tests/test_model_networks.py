"""The networks of the experiments: shapes and counts as their articles have them, the ratios of
Eq. (1) that the paper's tables claim, and what each architecture is about."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.compression.ratios import ratio_eq1
from dpnet.model.compression.weights import weights_of
from dpnet.model.networks.catalog import ARCHITECTURES, find
from dpnet.model.networks.chains import FreshNet, LeNet5, SmallCnn, TtConv
from dpnet.model.networks.googlenet import GoogLeNet, Logits
from dpnet.model.networks.residual import ChannelShortcut, CifarResNet, ResNet18
from dpnet.model.networks.wide_resnet import WideResNet

pytestmark = pytest.mark.usefixtures("one_thread")


SMALL = [name for name in ARCHITECTURES if name not in ("googlenet", "resnet-18")]
OUTPUTS = {"ds-cnn": (12,), "mobilenet-vww": (2,), "autoencoder": (640,), "googlenet": (1000,)}


def groups(net: nn.Module) -> list[tuple[int, int]]:
    return [(weight.rows, weight.n) for weight in weights_of(net)[0]]


def count(net: nn.Module, *, convolutions: bool = False) -> int:
    """Weights of convolutions and, unless they are wanted alone, of linear layers."""
    kinds = (nn.Conv2d,) if convolutions else (nn.Conv2d, nn.Linear)
    return sum(m.weight.numel() for m in net.modules() if isinstance(m, kinds))


@pytest.mark.parametrize("name", SMALL)
def test_a_net_gives_what_its_task_needs(name: str) -> None:
    entry = find(name)
    torch.manual_seed(1)
    net = entry.make()
    for mode in (net.train(), net.eval()):
        result = mode(torch.rand(2, *entry.shape))
        assert result.shape == (2, *OUTPUTS.get(name, (10,)))
        assert torch.isfinite(result).all()


def test_an_unknown_name_is_refused_with_all_names() -> None:
    names = re.escape(", ".join(ARCHITECTURES))
    with pytest.raises(ValueError, match=f"^name must be one of {names}, not 'vgg'$"):
        find("vgg")
    assert [entry.name for entry in ARCHITECTURES.values()] == list(ARCHITECTURES)


def test_weights_are_as_many_as_the_articles_say() -> None:
    assert count(TtConv()) == 555_968
    assert count(FreshNet()) == 1_220_960
    assert count(WideResNet(), convolutions=True) == 2_742_704
    assert count(SmallCnn()) == 311_600
    assert count(LeNet5()) == 61_470
    assert count(ResNet18()) == 11_164_352


@pytest.mark.parametrize("depth, weights", [(20, 268_336), (32, 461_872), (56, 848_944)])
def test_residual_networks_are_as_deep_as_they_are_called(depth: int, weights: int) -> None:
    net = CifarResNet(depth)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth
    # n blocks of 2 · 9 · c² weights in each group, the first of a group with half as many inputs.
    n = (depth - 2) // 6
    by_hand = 9 * 3 * 16 + 9 * 2 * n * (16**2 + 32**2 + 64**2) - 9 * (16 * 32 + 32 * 64) + 640
    assert count(net) == by_hand == weights


@pytest.mark.parametrize(
    "name, bits, ratio",
    [
        ("tt-conv", 3, 9.70),
        ("fresh-net", 2, 15.55),
        ("googlenet", 3, 9.64),
        ("googlenet", 4, 6.89),
        ("small-cnn", 2, 14.24),
        ("resnet-18", 2, 15.57),
    ],
)
def test_eq1_gives_what_the_paper_claims(name: str, bits: int, ratio: float) -> None:
    with torch.device("meta"):  # shapes alone
        net = find(name).make()
    assert round(ratio_eq1(groups(net), 1 << bits), 2) == ratio


def test_the_layers_of_wide_resnet_are_in_the_order_of_deep_k_means() -> None:
    convolutions = [n for n, m in WideResNet().named_modules() if isinstance(m, nn.Conv2d)]
    blocks = ["conv1", "conv2", "shortcut"], ["conv1", "conv2"]
    expected = [
        f"group{group}.{block}.{layer}"
        for group in (1, 2, 3)
        for block, layers in enumerate(blocks)
        for layer in layers
    ]
    assert convolutions == ["conv1", *expected]
    strides = {n: m.stride for n, m in WideResNet().named_modules() if isinstance(m, nn.Conv2d)}
    halved = {f"group{g}.0.{layer}" for g in (2, 3) for layer in ("conv2", "shortcut")}
    assert {name for name, stride in strides.items() if stride == (2, 2)} == halved


def test_pools_of_tt_conv_are_same_ones() -> None:
    x = torch.randn(1, 2, 32, 32)
    same = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
    assert torch.equal(functional.max_pool2d(x, 3, 2, ceil_mode=True), same)
    sizes: list[tuple[int, ...]] = []
    net = TtConv().eval()
    for layer in (net.conv3, net.conv5, net.conv6, net.fc):
        layer.register_forward_hook(lambda _m, inputs, out: sizes.append(tuple(out.shape[2:])))
    net(torch.rand(1, 3, 32, 32))
    assert sizes == [(16, 16), (6, 6), (4, 4), ()]


def test_dropout_is_in_the_wide_blocks_and_where_freshnet_has_it() -> None:
    def rates(net: nn.Module) -> list[float]:
        return [m.p for m in net.modules() if isinstance(m, nn.Dropout)]

    assert rates(WideResNet()) == [0.3] * 6
    assert rates(FreshNet()) == [0.25] and rates(SmallCnn()) == [0.5]


def test_the_last_layer_of_small_cnn_starts_at_0() -> None:
    assert not SmallCnn()(torch.rand(3, 1, 28, 28)).any()


def test_a_channel_shortcut_subsamples_and_puts_zeros_around() -> None:
    x = torch.randn(2, 3, 5, 4)
    y = ChannelShortcut(3, 8, 2)(x)
    assert y.shape == (2, 8, 3, 2)
    for row, column in ((0, 0), (1, 1), (2, 0)):
        assert torch.equal(y[:, 2:5, row, column], x[:, :, 2 * row, 2 * column])
    assert not y[:, :2].any() and not y[:, 5:].any()


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_depths_that_no_residual_network_has_are_refused(depth: int) -> None:
    with pytest.raises(
        ValueError, match=rf"^depth must be 6 n \+ 2 with n at least 1, not {depth}$"
    ):
        CifarResNet(depth)


@pytest.mark.parametrize(
    "depth, widen, message",
    [
        (18, 4, "depth must be 6 n + 4 with n at least 1, not 18"),
        (16, 0, "widen must be at least 1, not 0"),
    ],
)
def test_wide_networks_that_are_none_are_refused(depth: int, widen: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        WideResNet(depth, widen)


def test_googlenet_has_the_names_and_the_size_of_the_published_one() -> None:
    with torch.device("meta"):
        alone, whole = GoogLeNet(), GoogLeNet(heads=True)
    # Torchvision's documentation has 6,624,904 for its published weights, which leave heads out.
    assert sum(p.numel() for p in alone.parameters()) == 6_624_904
    assert sum(p.numel() for p in whole.parameters()) == 13_004_888
    shapes = {name: tuple(tensor.shape) for name, tensor in whole.state_dict().items()}
    assert shapes["inception5b.branch2.1.conv.weight"] == (384, 192, 3, 3)  # Table VI's
    assert shapes["fc.weight"] == (1000, 1024)  # and the other one
    assert shapes["inception3a.branch3.1.conv.weight"] == (32, 16, 3, 3)
    assert shapes["inception4e.branch4.1.bn.running_var"] == (128,)
    assert shapes["aux2.conv.conv.weight"] == (128, 528, 1, 1)
    assert shapes["aux1.fc1.weight"] == (1024, 2048)
    assert sum(name.endswith("conv.weight") for name in shapes) == 3 + 9 * 6 + 2


def test_googlenet_halves_its_maps_upward_and_has_heads_in_training_only() -> None:
    torch.manual_seed(1)
    net = GoogLeNet(7, heads=True)
    sizes: dict[str, tuple[int, ...]] = {}
    for name in ("conv1", "conv3", "inception3a", "inception4a", "inception5a"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: sizes.update({name: tuple(out.shape[1:])})
        )
    picture = torch.rand(2, 3, 224, 224)
    assert isinstance(net(picture), Logits)
    assert sizes == {
        "conv1": (64, 112, 112),
        "conv3": (192, 56, 56),
        "inception3a": (256, 28, 28),
        "inception4a": (512, 14, 14),
        "inception5a": (832, 7, 7),
    }
    with torch.no_grad():
        result = net.eval()(picture[:1])
    assert isinstance(result, Tensor) and result.shape == (1, 7)
