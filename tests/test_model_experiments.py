"""Parts of the experiments: folded norms put back, files that are counted, shared values, rows."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.compression.weights import weights_of
from dpnet.model.data.augmentation import Augmentation
from dpnet.model.data.preparation import Preparation
from dpnet.model.experiments.evaluation import reestimate_norms
from dpnet.model.experiments.nets.pruning import prune_smallest
from dpnet.model.experiments.nets.tuning import shared_values
from dpnet.model.experiments.nets.unfold import fold_norms, unfold_norms
from dpnet.model.experiments.plans import DEEP_K_MEANS
from dpnet.model.experiments.results.rows import Row, with_deltas
from dpnet.model.experiments.results.sizes import read_network, sizes
from dpnet.model.networks.tiny import ResNet8
from dpnet.model.networks.wide_resnet import WideResNet
from dpnet.model.training.recipe import build_net
from dpnet.model.training.regularizer import ClusterRegularizer

pytestmark = pytest.mark.usefixtures("one_thread")

SIXTEENTHS = Preparation((3.0,), (16.0,))


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randint(0, 256, (40, 3, 32, 32), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def resnet8() -> nn.Module:
    """With biases, and weights for pixels of 0 to 255."""

    def make() -> nn.Module:
        net = ResNet8()
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter, std=0.3)
        net.conv1.weight.data /= 100.0
        return net

    return build_net(make, 4).eval()


class Convs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.conv(x)))
        return self.fc(functional.max_pool2d(x, 2).flatten(1))


def on_centroids(net: nn.Module, k: int) -> nn.Module:
    found = copy.deepcopy(net)
    ClusterRegularizer(found, k, lam=0.0, reading="sum").finalize()
    return found


# Folded norms


@torch.no_grad()
def test_a_net_with_its_norms_put_back_computes_the_same(
    resnet8: nn.Module, pictures: Tensor
) -> None:
    unfolded = unfold_norms(resnet8, pictures)
    x = pictures[:8].float()
    wanted = resnet8(x)
    assert not torch.equal(unfolded.conv1.weight, resnet8.conv1.weight)
    assert torch.allclose(unfolded(x), wanted, atol=1e-4 * float(wanted.abs().max()))
    folded = fold_norms(unfolded)
    assert list(folded.state_dict()) == list(resnet8.state_dict())
    for name, tensor in folded.state_dict().items():
        assert torch.allclose(tensor, resnet8.state_dict()[name], rtol=1e-4, atol=1e-5), name


@torch.no_grad()
def test_rows_have_the_size_of_fresh_ones_and_norms_see_normalized_maps(
    resnet8: nn.Module, pictures: Tensor
) -> None:
    unfolded = unfold_norms(resnet8, pictures)
    for name in ("conv1", "conv4", "conv9"):
        rows = getattr(unfolded, name).weight.flatten(1)
        size = rows.square().mean(1).sqrt()
        assert torch.allclose(size, torch.full_like(size, (2 / rows.shape[1]) ** 0.5), rtol=1e-4)
    seen: list[Tensor] = []
    unfolded.conv4.norm.register_forward_hook(lambda _m, given, _o: seen.append(given[0]))
    unfolded(pictures.float())
    norm = unfolded.conv4.norm
    assert torch.allclose(seen[0].mean((0, 2, 3)), norm.running_mean, atol=1e-3)
    assert torch.allclose(seen[0].var((0, 2, 3)), norm.running_var, rtol=1e-2)


@torch.no_grad()
def test_rows_on_centroids_stay_so_when_norms_are_folded(
    resnet8: nn.Module, pictures: Tensor
) -> None:
    folded = fold_norms(on_centroids(unfold_norms(resnet8, pictures), 4))
    for weight in weights_of(folded)[0]:
        assert max(len(row.unique()) for row in weight.to_rows(weight.values)) <= 4


def test_norms_are_estimated_with_the_augmentation_of_the_training() -> None:
    net = build_net(Convs, 1)
    x = torch.randint(0, 256, (30, 1, 8, 8), generator=torch.Generator().manual_seed(2))
    augmentation = Augmentation(crop=2, flip=True, cutout=3)
    reestimate_norms(net, x, SIXTEENTHS, augmentation, seed=5)
    generator = torch.Generator().manual_seed(5)
    placed = (augmentation.place(x, generator).float() - 3) / 16
    seen = net.conv(augmentation.hide(placed, generator)).detach()
    assert torch.allclose(net.norm.running_mean, seen.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(net.norm.running_var, seen.var((0, 2, 3)), rtol=1e-4)


# Files


def test_bytes_are_those_of_files_that_restore_the_net(tmp_path: Path) -> None:
    pytest.importorskip("constriction")
    net = on_centroids(build_net(Convs, 1), 4)
    found = sizes(net, 4, tmp_path)
    assert found.total == sum(path.stat().st_size for path in tmp_path.iterdir())
    # Indices of 36 + 192 weights in at most 2 bits; 7 codebooks of at most 4 entries.
    assert 0 < found.indices <= 8 * -(-(36 + 192) * 2 // 32)
    assert found.indices < found.with_codebooks <= found.indices + 7 * 4 * 4 + 2 * 7
    assert found.as_float == 4 * (36 + 4 * 4 + 192 + 3)
    assert found.ratio_eq1 == pytest.approx(32 * 228 / (2 * 228 + 32 * 4 * 7))
    state = {n: t for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    restored = read_network(tmp_path)
    assert set(restored) == set(state)
    assert all(torch.equal(restored[name], tensor) for name, tensor in state.items())


def test_a_net_that_is_on_no_centroids_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("constriction")
    with pytest.raises(ValueError, match=r"^conv\.weight must have 4 values a row, not 9$"):
        sizes(build_net(Convs, 1), 4, tmp_path)


# Shared values


def test_a_step_moves_a_value_as_far_as_the_mean_of_its_weights() -> None:
    net = on_centroids(build_net(Convs, 1), 3)
    plain = copy.deepcopy(net)
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    for one in (net, plain):
        one.train()
    with shared_values(net):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(x).square().mean().backward()
        optimizer.step()
    plain(x).square().mean().backward()
    for name in ("conv.weight", "fc.weight"):
        before, moved = plain.get_parameter(name), net.get_parameter(name)
        assert isinstance(moved, nn.Parameter)
        for row, now, pull in zip(
            *(t.flatten(1) for t in (before, moved, before.grad)), strict=True
        ):
            for value in row.unique():
                same = row == value
                wanted = value - 0.1 * pull[same].mean()
                assert torch.allclose(now[same], wanted.expand(int(same.sum())), atol=1e-6)


def test_pruned_weights_stay_0() -> None:
    net = build_net(Convs, 1)
    net.conv.weight.data[:, :, 0] = 0.0
    with shared_values(net):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
        for _ in range(2):
            net(torch.ones(2, 1, 8, 8)).sum().backward()
            optimizer.step()
    assert not net.conv.weight[:, :, 0].any() and net.conv.weight[:, :, 1].all()


def test_the_smallest_weights_of_each_layer_are_pruned() -> None:
    net = build_net(Convs, 1)
    before = copy.deepcopy(net)
    prune_smallest(net, [0.25, 0.5])
    for name, count in (("conv.weight", 9), ("fc.weight", 96)):
        old, new = before.get_parameter(name).detach(), net.get_parameter(name).detach()
        kept = new != 0
        assert int((~kept).sum()) == count and torch.equal(new[kept], old[kept])
        assert old[~kept].abs().max() <= old[kept].abs().min()
    with pytest.raises(
        ValueError, match=r"^shares must be 2 numbers from 0 to below 1, not \[1\.0"
    ):
        prune_smallest(net, [1.0, 0.0])


def test_deep_k_means_list_is_that_of_the_layers_of_the_wide_resnet() -> None:
    net = WideResNet()
    prune_smallest(net, DEEP_K_MEANS)
    zeros = {weight.name: int((weight.values == 0).sum()) for weight in weights_of(net)[0]}
    assert zeros["conv1.weight"] == zeros["fc.weight"] == 0
    assert zeros["group1.0.shortcut.weight"] == 16 * 64 // 2
    assert zeros["group3.0.conv2.weight"] == round(0.9 * 256 * 256 * 9)
    assert zeros["group3.1.conv1.weight"] == round(0.75 * 256 * 256 * 9)


# Rows


def test_deltas_are_points_against_the_pretrained_net_and_the_control() -> None:
    rows = [row("dp-net", 90.0), row("control", 92.5), row("ptq", 80.0, epochs=0, seed=1)]
    found = {one.method: one for one in with_deltas(rows)}
    assert (found["dp-net"].delta, found["dp-net"].delta_control) == (-1.0, -2.5)
    assert (found["control"].delta, found["control"].delta_control) == (1.5, 0.0)
    assert (found["ptq"].delta, found["ptq"].delta_control) == (-11.0, None)


def row(method: str, accuracy: float, *, epochs: int = 3, seed: int = 0) -> Row:
    return Row(
        table="resnet20",
        network="resnet-20",
        dataset="cifar-10",
        method=method,
        bits=2,
        epochs=epochs,
        seed=seed,
        ratio_eq1=13.7,
        bytes_indices=1,
        bytes_with_codebooks=2,
        bytes_total=3,
        bytes_float=4,
        accuracy_pretrained=91.0,
        accuracy=accuracy,
    )


def test_the_control_of_the_same_epochs_is_taken() -> None:
    rows = [row("ptq-bn-tuned", 90.0, epochs=1), row("control", 91.0)]
    assert with_deltas(rows)[0].delta_control == -1.0
    rows.append(row("control", 90.5, epochs=1))
    assert with_deltas(rows)[0].delta_control == -0.5
