"""Which weights are compressible: one answer for a net, a state dict, training and compression."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from dpnet.model.compression.network import compress_
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.compression.sensitivity import fisher
from dpnet.model.compression.weights import Weight, weights_in, weights_of
from dpnet.model.training.regularizer import ClusterRegularizer

SEED = int(os.environ.get("SEED", "5"))


class Unknown(nn.Module):
    """Matrices of its own: one called as a linear layer's, one with a name that says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(9, 40))
        self.bias = nn.Parameter(torch.randn(9))
        self.table = nn.Parameter(torch.randn(20, 30))


class Conv1D(nn.Module):
    """A linear layer as Hugging Face's GPT-2 has it: (in, out)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.nf = outputs
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))


class Tied(nn.Module):
    """An embedding and a head that share a weight; a layer registered twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 40)
        self.head = nn.Linear(40, 30)
        self.head.weight = self.embed.weight
        self.body = nn.Linear(40, 40)
        self.again = self.body


class Holder(nn.Sequential):
    """Layers of which none is called."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def pruned() -> nn.Module:
    layer = nn.Linear(64, 8)
    return prune.random_unstructured(layer, "weight", 0.5)


# What a layer is, the names of its weights, and how many outputs each has.
ZOO: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "linear": (lambda: nn.Linear(64, 8), {"0.weight": 8}),
    "conv1d": (lambda: nn.Conv1d(6, 8, 5), {"0.weight": 8}),
    "conv2d": (lambda: nn.Conv2d(6, 8, 5), {"0.weight": 8}),
    "conv3d": (lambda: nn.Conv3d(3, 8, 3), {"0.weight": 8}),
    "no bias": (lambda: nn.Conv2d(6, 8, 5, bias=False), {"0.weight": 8}),
    "grouped": (lambda: nn.Conv2d(8, 12, 5, groups=4), {"0.weight": 12}),
    "depthwise": (lambda: nn.Conv2d(8, 8, 7, groups=8), {"0.weight": 8}),
    "transposed 1d": (lambda: nn.ConvTranspose1d(6, 8, 5), {"0.weight": 8}),
    "transposed 2d": (lambda: nn.ConvTranspose2d(6, 8, 5), {"0.weight": 8}),
    "transposed 3d": (lambda: nn.ConvTranspose3d(6, 4, 3), {"0.weight": 4}),
    "transposed groups": (lambda: nn.ConvTranspose2d(8, 12, 5, groups=2), {"0.weight": 12}),
    "transposed depthwise": (lambda: nn.ConvTranspose2d(8, 8, 7, groups=8), {"0.weight": 8}),
    "transposed, a norm": (
        lambda: nn.Sequential(nn.ConvTranspose2d(6, 8, 5, bias=False), nn.BatchNorm2d(8)),
        {"0.0.weight": 8},
    ),
    "conv, a norm": (
        lambda: nn.Sequential(nn.Conv2d(6, 8, 5, bias=False), nn.PReLU(), nn.BatchNorm2d(8)),
        {"0.0.weight": 8},
    ),
    "lstm": (
        lambda: nn.LSTM(30, 20, bidirectional=True, proj_size=10),
        {
            f"0.weight_{kind}_l0{back}": 80 if kind != "hr" else 10
            for back in ("", "_reverse")
            for kind in ("ih", "hh", "hr")
        },
    ),
    "gru": (
        lambda: nn.GRU(30, 20, num_layers=2),
        {f"0.weight_{kind}_l{n}": 60 for n in (0, 1) for kind in ("ih", "hh")},
    ),
    "cell": (lambda: nn.LSTMCell(30, 20), {"0.weight_ih": 80, "0.weight_hh": 80}),
    "attention": (
        lambda: nn.MultiheadAttention(32, 4, add_bias_kv=True),
        {"0.in_proj_weight": 96, "0.out_proj.weight": 32},
    ),
    "attention of three": (
        lambda: nn.MultiheadAttention(32, 4, kdim=20, vdim=24),
        {f"0.{kind}_proj_weight": 32 for kind in "qkv"} | {"0.out_proj.weight": 32},
    ),
    "embedding": (lambda: nn.Embedding(30, 40), {"0.weight": 30}),
    "bag": (lambda: nn.EmbeddingBag(30, 40), {"0.weight": 30}),
    "bilinear": (lambda: nn.Bilinear(6, 7, 8), {"0.weight": 8}),
    "tied": (Tied, {"0.embed.weight": 30, "0.body.weight": 40}),
    "pruned": (pruned, {"0.weight": 8}),
    "gpt-2": (lambda: Conv1D(40, 30), {"0.weight": 40}),
    "unknown": (Unknown, {"0.weight": 9}),
    "norms": (
        lambda: nn.Sequential(nn.LayerNorm((8, 9)), nn.BatchNorm2d(8), nn.GroupNorm(2, 8)),
        {},
    ),
}


def made(case: str) -> nn.Sequential:
    torch.manual_seed(SEED)
    net = Holder(ZOO[case][0]())
    return net


def seen(weights: list[Weight]) -> dict[str, np.ndarray]:
    return {w.name: w.to_rows(w.values).numpy() for w in weights}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert list(one) == list(other)
    for name, rows in one.items():
        np.testing.assert_array_equal(rows, other[name])


@pytest.mark.parametrize("case", ZOO)
def test_every_way_in_gives_the_same_weights(case: str, tmp_path: Path) -> None:
    net, expected = made(case), ZOO[case][1]
    weights, others = weights_of(net)
    assert {w.name: w.rows for w in weights} == expected
    torch.save(net.state_dict(), tmp_path / "net.pt")
    read, rest = weights_in(torch.load(tmp_path / "net.pt"))
    same(seen(weights), seen(read))
    assert [w.form for w in weights] == [w.form for w in read]
    assert {o.name for o in others} == {o.name for o in rest if len(o.shape) > 1}
    plan = compress_(net, CompressConfig(k=2, on_expand="skip"), dry_run=True)
    assert {line.name: line.rows for line in plan.layers if line.k} == expected
    if not expected:
        return
    term = ClusterRegularizer(net, 2, reading="sum", lam=0.01)
    assert {name: w.rows for name, w in term.weights.items()} == expected
    data = [(torch.zeros(1, 1), torch.zeros(1))]
    counts = fisher(net, data, lambda *_: sum(p.square().sum() for p in net.parameters()))
    assert list(counts) == list(expected)


@pytest.mark.parametrize("case", [case for case, (_, names) in ZOO.items() if names])
def test_what_compression_and_training_write_has_k_values_per_row(case: str) -> None:
    for write in (
        lambda net: compress_(net, CompressConfig(k=2, on_expand="skip", zero=False)),
        lambda net: ClusterRegularizer(net, 2, reading="sum").finalize(),
    ):
        net = made(case)
        write(net)
        for name, rows in seen(weights_of(net)[0]).items():
            most = 3 if case == "pruned" else 2
            assert max(len(np.unique(row)) for row in rows) <= most, name


def test_rows_of_each_layer_are_what_its_outputs_are_computed_from() -> None:
    """Weights whose row r is all r give outputs of r: of every layer with one input."""
    inputs = {
        "conv1d": torch.ones(1, 6, 9), "conv2d": torch.ones(1, 6, 9, 9),
        "grouped": torch.ones(1, 8, 9, 9), "linear": torch.ones(1, 64),
        "transposed 1d": torch.ones(1, 6, 9), "transposed groups": torch.ones(1, 8, 9, 9),
        "bilinear": torch.ones(1, 6),
    }  # fmt: skip
    for case, x in inputs.items():
        layer = made(case)[0]
        (weight,), _ = weights_of(layer)
        marks = torch.arange(float(weight.rows))[:, None].expand(weight.rows, weight.n) / weight.n
        with torch.no_grad():
            layer.weight.copy_(weight.from_rows(marks))
            layer.bias.zero_()
        out = layer(x, torch.ones(1, 7)) if case == "bilinear" else layer(x)
        while out.ndim > 2:
            out = out[..., 4]
        torch.testing.assert_close(out[0], torch.arange(float(weight.rows)))


def parts(make: Callable[[], nn.Module]) -> tuple[nn.Module, torch.Tensor]:
    """A layer in parts, and what it multiplies by, in evaluation."""
    torch.manual_seed(SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old ones are deprecated
        layer = make()
        for parameter in layer.parameters():  # lengths that are not those of the directions
            parameter.data *= torch.rand_like(parameter) + 0.5
        layer.eval()
        x = torch.randn(2, 6, 6, 6) if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else None
        layer(torch.randn(2, 6) if x is None else x)
        return layer, layer.weight.detach().clone()


OLD = torch.nn.utils
PRODUCTS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(6, 5)), "weight norm"),
    "old weight norm": (lambda: OLD.weight_norm(nn.Linear(6, 5)), "weight norm"),
    "one length": (lambda: OLD.weight_norm(nn.Linear(6, 5), dim=None), "weight norm"),
    "by column": (lambda: parametrizations.weight_norm(nn.Linear(6, 5), dim=1), "weight norm"),
    "of a convolution": (lambda: OLD.weight_norm(nn.Conv2d(6, 5, 3)), "weight norm"),
    "of a transposed one": (
        lambda: parametrizations.weight_norm(nn.ConvTranspose2d(6, 5, 3), dim=1),
        "weight norm",
    ),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(6, 5)), "spectral norm"),
    "old spectral norm": (lambda: OLD.spectral_norm(nn.Linear(6, 5)), "spectral norm"),
    "spectral, square": (
        lambda: parametrizations.spectral_norm(nn.ConvTranspose2d(6, 6, 3)),
        "spectral norm",
    ),
    "old spectral, transposed": (
        lambda: OLD.spectral_norm(nn.ConvTranspose2d(6, 5, 3)),
        "spectral norm",
    ),
    "pruned": (lambda: prune.l1_unstructured(nn.Linear(6, 5), "weight", 0.5), "pruning mask"),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_weights_in_parts_are_multiplied_out(case: str) -> None:
    make, convention = PRODUCTS[case]
    layer, expected = parts(make)
    (weight,), others = weights_in(layer.state_dict())
    torch.testing.assert_close(weight.values, expected, rtol=2e-7, atol=0)
    assert weight.name == "weight" and {o.name for o in others} == {"bias"}
    assert f"multiplied out ({convention})" in weight.note
    transposed = isinstance(layer, nn.ConvTranspose2d)
    assert bool(weight.form.groups) == transposed
    if convention == "pruning mask":
        return
    # In a net it cannot be written to: compression says so, training refuses.
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.train()
    (line,) = compress_(layer).layers
    assert line.k == 0 and line.decision.startswith(
        f"left as it is: computed from other tensors ({convention}: "
    )
    cure = {"parametrizations": "remove_parametrizations(layer, 'weight')"}.get(
        next((n.partition(".")[0] for n in before if n.startswith("param")), ""),
        f"remove_{convention.replace(' ', '_').replace('spectral_norm', 'spectral_norm')}(layer",
    )
    assert cure in line.decision
    with pytest.raises(ValueError, match=r"^weight is computed from other tensors .*in skip$"):
        ClusterRegularizer(layer, 4, reading="sum")
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name  # no power iteration was done either


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def _state(**tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    return tensors


W = torch.ones(4, 6)
REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "orthogonal": (
        lambda: parametrizations.orthogonal(nn.Linear(6, 6)).state_dict(),
        "not defined by parametrizations.weight.0.base, parametrizations.weight.original alone: "
        "make it one tensor, with "
        "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')",
    ),
    "own parametrization": (
        lambda: _doubled().state_dict(),
        "not defined by parametrizations.weight.original alone: make it one tensor, with "
        "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')",
    ),
    "a direction alone": (
        lambda: _state(weight_v=W),
        "not defined by weight_v alone: make it one tensor, with "
        "torch.nn.utils.remove_spectral_norm(layer, 'weight')",
    ),
    "lengths that do not fit": (
        lambda: _state(weight_g=torch.ones(3, 1), weight_v=W),
        "not defined by weight_g, weight_v alone: make it one tensor, with "
        "torch.nn.utils.remove_weight_norm(layer, 'weight')",
    ),
    "pruned weight norm": (
        lambda: _state(weight_g=W[:, :1], weight_v=W, weight_mask=W),
        "not defined by weight_g, weight_mask, weight_v alone: make it one tensor, with "
        "torch.nn.utils.remove_weight_norm(layer, 'weight')",
    ),
    "a mask beside it": (
        lambda: _state(weight=W, weight_mask=W),
        "masked by weight_mask in a way that only its layer knows: multiply it in and drop the "
        "mask",
    ),
    "a mask of the layer": (
        lambda: _state(weight=W, mask=W),
        "masked by mask in a way that only its layer knows: multiply it in and drop the mask",
    ),
    "scaled": (
        lambda: _state(weight=W.to(torch.float8_e4m3fn), weight_scale_inv=torch.ones(1, 1)),
        "its scale is a tensor of its own: save it dequantized",
    ),
    "loralib": (
        lambda: _state(weight=W, lora_A=torch.ones(2, 6), lora_B=torch.ones(4, 2)),
        "changed by an adapter, by a factor that is not among the tensors: merge it into the net "
        "first (PEFT: net.merge_and_unload())",
    ),
}


def _doubled() -> nn.Module:
    layer = nn.Linear(6, 4)
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


@pytest.mark.parametrize("case", REFUSED)
def test_a_part_is_never_taken_for_the_weight(case: str) -> None:
    make, reason = REFUSED[case]
    weights, others = weights_in(make())
    assert not weights
    (refused,) = [other for other in others if other.refused]
    assert (refused.name, refused.reason) == ("weight", reason)


def test_adapters_of_peft_and_of_others() -> None:
    a, b = torch.ones(2, 6), torch.ones(4, 2)
    whole = {
        "net.q.base_layer.weight": W, "net.q.base_layer.bias": torch.ones(4),
        "net.q.lora_A.default.weight": a, "net.q.lora_B.default.weight": b, "net.v.weight": W,
    }  # fmt: skip
    alone = {"base_model.model.q.lora_A.weight": a, "base_model.model.q.lora_B.weight": b}
    kohya = {"lora_unet_q.lora_down.weight": a, "lora_unet_q.lora_up.weight": b}
    for tensors, name, taken in (
        (whole, "net.q.weight", ["net.v.weight"]),
        (alone, "base_model.model.q.weight", []),
        (kohya, "lora_unet_q.weight", []),
    ):
        weights, others = weights_in(tensors)
        assert [w.name for w in weights] == taken
        assert [o.name for o in others if o.refused] == [name]

    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_layer = nn.Linear(6, 4)
            self.lora_A = nn.ModuleDict({"default": nn.Linear(6, 2, bias=False)})
            self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 4, bias=False)})

    net = nn.Sequential(Adapted(), nn.Linear(4, 30))
    assert [w.name for w in weights_of(net)[0]] == ["1.weight"]
    with pytest.raises(ValueError, match=r"^0.weight is changed by an adapter.*or name it in skip"):
        ClusterRegularizer(net, 2, reading="sum")
    assert list(ClusterRegularizer(net, 2, reading="sum", skip=["0"]).weights) == ["1.weight"]


def test_tensors_that_hold_no_real_numbers_are_left_out_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # prototypes and deprecations of PyTorch's
        given = {
            "ids.weight": torch.ones(4, 6, dtype=torch.int),
            "bool.weight": W > 0,
            "complex.weight": W + 1j,
            "sparse.weight": W.to_sparse(),
            "csr.weight": W.to_sparse_csr(),
            "quantized.weight": torch.quantize_per_tensor(W, 0.1, 0, torch.qint8),
            "nested.weight": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            "meta.weight": W.to("meta"),
            "empty.weight": torch.ones(0, 6),
            "four.weight": torch.empty(4, 6, dtype=torch.float4_e2m1fn_x2),
            "text.weight": "no tensor",
            "array.weight": np.ones((4, 6), np.float32),
            "eight.weight": W.to(torch.float8_e5m2),
            "flat.weight": torch.ones(6),
            "deep.weight": torch.ones(1, 1, 1, 1, 1, 2),
        }
        weights, others = weights_in(given)
    assert [w.name for w in weights] == ["array.weight", "eight.weight"]
    assert {other.name.partition(".")[0]: other.reason for other in others} == {
        "ids": "not floating point",
        "bool": "not floating point",
        "complex": "complex",
        "sparse": "sparse (sparse_coo): save it dense",
        "csr": "sparse (sparse_csr): save it dense",
        "quantized": "quantized already: save it dequantized",
        "nested": "nested: its rows have different lengths",
        "meta": "on the meta device, without values",
        "empty": "empty",
        "four": "of type float4_e2m1fn_x2, which is not read",
        "text": "no tensor but str",
        "flat": "fewer than 2 dimensions",
        "deep": "more than 5 dimensions",
    }
    assert not any(other.refused for other in others)


def test_shared_weights_have_one_name_and_every_name_is_accepted() -> None:
    net = Tied()
    body, embed = "body.weight", "embed.weight"
    names = {w.name: set(w.names) for w in weights_of(net)[0]}
    assert names == {
        embed: {embed, "embed", "head.weight", "head"},
        body: {body, "body", "again.weight", "again"},
    }
    assert {w.name: set(w.names) for w in weights_in(net.state_dict())[0]} == names
    term = ClusterRegularizer(net, {"head": 3, "again.weight": 2}, reading="sum", lam=0.01)
    assert term.k == {embed: 3, body: 2}
    term.step(0)
    assert torch.equal(term.nearest("head.weight"), term.nearest(embed))
    assert list(ClusterRegularizer(net, 2, reading="sum", skip=["again"]).weights) == [embed]
    with pytest.raises(ValueError, match=r"^k must have an entry for each of "):
        ClusterRegularizer(net, {"head": 3, "embed": 4, "body": 2}, reading="sum")
    plan = compress_(net, CompressConfig(k={"head": 4, "again": 2}))
    assert plan["head"] is plan[embed] is plan["embed"] and plan["again.weight"].k == 2
    with pytest.raises(KeyError, match="nothing"):
        plan["nothing"]
    message = r"^k must name embed.weight once, not as \['embed.weight', 'head'\]$"
    with pytest.raises(ValueError, match=message):
        compress_(net, CompressConfig(k={"head": 4, "embed.weight": 2}))


def test_where_only_the_user_knows_the_axis() -> None:
    square = nn.ConvTranspose2d(20, 20, 5, bias=False)
    (guessed,), _ = weights_in(square.state_dict())
    (told,), _ = weights_in(square.state_dict(), transposed="^weight$")
    (known,), _ = weights_of(square)
    assert guessed.form.groups == 0 and told.form == known.form
    # Beside a layer that is certainly transposed the guess is told.
    net = nn.Sequential(nn.ConvTranspose2d(6, 8, 3), square)
    first, second = weights_in(net.state_dict())[0]
    assert first.note == "outputs along axis 1, as its bias of 8 tells"
    assert second.note == "taken for a convolution's: a transposed one looks the same"
    grouped = nn.ConvTranspose2d(8, 12, 3, groups=2)
    assert weights_in(grouped.state_dict(), transposed="weight")[0][0].form.groups == 2
    assert weights_in(grouped.state_dict(), rows="weight")[0][0].form.groups == 0
    table = {"a.table": torch.ones(20, 30), "bias": torch.ones(3)}
    weights, others = weights_in(table)
    assert not weights and others[0].reason == "no weight of a layer that is known"
    assert weights_in(table, rows="table")[0][0].rows == 20
    assert weights_in(table, transposed="table|bias")[0][0].rows == 30
    odd = {"weight": torch.ones(20, 30), "bias": torch.ones(7)}
    (other, _) = weights_in(odd)[1]
    assert other.reason == "its bias has 7 values, which fits no axis of (20, 30)"


@pytest.mark.parametrize("groups", [1, 2])
def test_a_compressed_transposed_convolution_is_known_by_its_values(groups: int) -> None:
    torch.manual_seed(SEED)
    net = nn.ConvTranspose2d(20, 20, 5, bias=False, groups=groups)
    compress_(net, CompressConfig(k=16, on_expand="skip"))
    (weight,), _ = weights_in(net.state_dict())
    (known,), _ = weights_of(net)
    assert weight.form == known.form
    assert weight.note == "outputs along axis 1, as its few values tell"


def test_names_that_skip_does_not_know() -> None:
    with pytest.raises(ValueError, match=re.escape("skip must name layers of the net, not ['x']")):
        ClusterRegularizer(Tied(), 2, reading="sum", skip=["x", "head"])
