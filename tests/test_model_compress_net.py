"""Whole networks: what is compressed, what it takes, and that it is all or nothing."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from dpnet.model.compile import compile_fp32
from dpnet.model.compression.allocate import BudgetError
from dpnet.model.compression.layout import ExpansionError
from dpnet.model.compression.network import compress_
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.compression.ratios import fp32_bytes, stored_bytes
from dpnet.model.compression.weights import weights_of
from dpnet.model.networks.digits import DigitsMlp
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import NonFiniteError

SEED = int(os.environ.get("SEED", "3"))


def mixed() -> nn.Module:
    """A layer of each kind, rows of 9 among them."""
    torch.manual_seed(SEED)
    return nn.Sequential(
        nn.Conv2d(3, 16, 5),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.ConvTranspose2d(16, 8, 3, groups=2),
        nn.Conv1d(8, 6, 9),
        nn.ConvTranspose1d(6, 4, 9),
        nn.Conv3d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(80, 50),
        nn.Linear(50, 10),
        nn.Embedding(7, 3),
    )


def state(net: nn.Module) -> dict[str, list]:
    return {name: value.tolist() for name, value in net.state_dict().items()}


def test_a_dry_run_changes_nothing_and_says_what_comes() -> None:
    net = mixed()
    before = state(net)
    dry = compress_(net, CompressConfig(bits=4), dry_run=True)
    assert state(net) == before and not dry.quantized
    plan = compress_(net, CompressConfig(bits=4))
    assert plan.total == dry.total == stored_bytes(net, plan.quantized)
    for planned, done in zip(dry.layers, plan.layers, strict=True):
        assert planned.relative_error is None
        assert (planned.name, planned.k, planned.codebooks, planned.stored_bytes) == (
            done.name,
            done.k,
            done.codebooks,
            done.stored_bytes,
        )
    meta = compress_(mixed().to("meta"), CompressConfig(bits=4), dry_run=True)
    assert meta == dry
    with pytest.raises(ValueError, match=r"^0.weight must hold values, not be on the meta device$"):
        compress_(mixed().to("meta"))


def test_a_codebook_per_output_channel_of_every_kind_of_layer() -> None:
    net = mixed()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    compress_(net, CompressConfig(k=3, on_expand="skip"))
    for name, value in before.items():
        after = net.state_dict()[name]
        if name == "11.weight" or "weight" not in name or value.ndim < 2:
            assert torch.equal(after, value)
            continue
        channels, old = list(after), list(value)
        if name == "4.weight":  # groups: (in, out / groups, …)
            channels = [after[8 * g : 8 * g + 8, c] for g, c in product(range(2), range(4))]
            old = [value[8 * g : 8 * g + 8, c] for g, c in product(range(2), range(4))]
        elif name == "6.weight":
            channels, old = list(after.transpose(0, 1)), list(value.transpose(0, 1))
        for new, given in zip(channels, old, strict=True):
            exact = quantize(given.reshape(-1), 3).dequantized
            assert new.unique().numel() == 3
            torch.testing.assert_close(new.reshape(-1), exact.float(), rtol=0, atol=0)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_rows_of_a_transposed_convolution_are_its_output_channels(groups: int) -> None:
    layer = nn.ConvTranspose2d(8, 12, 3, groups=groups, bias=False)
    (weight,), _ = weights_of(layer)
    assert (weight.rows, weight.n) == (12, 72 // groups)
    marks = torch.arange(12.0)[:, None].expand(12, weight.n)
    with torch.no_grad():
        layer.weight.copy_(weight.from_rows(marks))
    out = layer(torch.ones(1, 8, 5, 5))[0, :, 2, 2] / (8 // groups * 9)
    torch.testing.assert_close(out, torch.arange(12.0))
    values = torch.randn(layer.weight.shape)
    assert torch.equal(weight.from_rows(weight.to_rows(values)), values)


def test_bytes_and_errors_of_each_layer() -> None:
    net = mixed()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plan = compress_(net, CompressConfig(k={"*": 8, "10": 4, "0.weight": 2}))
    assert {layer.name: layer.k for layer in plan.layers} == {
        "0.weight": 2,
        "3.weight": 8,
        "4.weight": 8,
        "5.weight": 8,
        "6.weight": 8,
        "7.weight": 8,
        "9.weight": 8,
        "10.weight": 4,
        "11.weight": 8,
    }
    ten = plan["10.weight"]
    assert (ten.index_bytes, ten.codebook_bytes, ten.fp32_bytes) == (125, 160, 2000)
    assert ten.stored_bytes == 285 and ten.ratio == pytest.approx(2000 / 285)
    embedding = plan["11.weight"]
    assert (embedding.fp32_bytes, embedding.stored_bytes, embedding.codebooks) == (84, 8 + 32, 1)
    for layer in plan.layers:
        old, new = before[layer.name].double(), net.state_dict()[layer.name].double()
        assert layer.relative_error == pytest.approx(float((old - new).norm() / old.norm()), 1e-5)
    document = json.loads(plan.to_json())
    assert document["total"]["total"] == plan.total.total
    assert [line["stored_bytes"] for line in document["layers"]] == [
        layer.stored_bytes for layer in plan.layers
    ]
    lines = str(plan).splitlines()
    assert len({line.index("decision") for line in lines[:1]}) == 1
    assert re.match(r"10\.weight +10 × 50 +4 +10 +2,000 +285 +7\.02 +\d\.\d\de-0[12]", lines[9])
    assert f"{plan.total.total:,} stored" in lines[-1]


def grows(**options: object) -> tuple[nn.Module, CompressConfig]:
    """16 rows of 9 weights: 576 bytes, with 16 codebooks of 16 1,096."""
    return nn.Sequential(nn.Conv2d(16, 16, 3, groups=16)), CompressConfig(k=16, **options)


def test_where_a_layer_would_grow_as_few_rows_as_needed_share_a_codebook() -> None:
    net, config = grows()
    plan = compress_(net, config)
    line = plan["0.weight"]
    # 2 rows: 8 * 64 + 72 = 584 bytes; 4 rows: 4 * 64 + 72 = 328.
    assert (line.codebooks, line.stored_bytes, line.fp32_bytes) == (4, 328, 576)
    assert "4 rows to a codebook: a codebook per row would take 1,096 bytes" in line.decision
    for four in net[0].weight.reshape(4, -1):
        assert four.unique().numel() == 16
    assert plan.quantized["0.weight"].indices.shape == (4, 36)


def test_where_a_layer_would_grow_it_can_stay_or_be_an_error() -> None:
    net, config = grows(on_expand="skip")
    before = state(net)
    plan = compress_(net, config)
    assert plan["0.weight"].k == 0 and plan.total.ratio == 1 and state(net) == before
    assert plan["0.weight"].decision == (
        "left as it is: a codebook per row with K = 16 would take 1,096 bytes"
    )
    net, config = grows(on_expand="error")
    with pytest.raises(
        ExpansionError,
        match=(
            r"^0.weight must get smaller than 576 bytes: a codebook per row with K = 16 would take "
            r"1,096 bytes$"
        ),
    ):
        compress_(net, config, dry_run=True)
    tiny = compress_(nn.Linear(3, 2))
    assert tiny.layers[0].k == 0 and tiny.total.ratio == 1


def test_rows_share_codebooks_as_asked() -> None:
    for asked, every in ((1, 1), (2, 2), (4, 5), (11, 25), ("all", 50)):
        net = nn.Linear(80, 50)
        plan = compress_(net, CompressConfig(k=4, rows_per_codebook=asked))
        assert plan["weight"].codebooks == 50 // every
        books = net.weight.reshape(50 // every, -1)
        assert all(book.unique().numel() == 4 for book in books)
        assert plan.total == stored_bytes(net, plan.quantized)


def test_pruned_weights_stay_zero() -> None:
    torch.manual_seed(SEED)
    net = nn.Linear(200, 4)
    with torch.no_grad():
        net.weight[1:3, ::2] = 0
    pruned = net.weight == 0
    plain = [quantize(row, 4).dequantized.float() for row in net.weight.detach()]
    plan = compress_(net, CompressConfig(k=4))
    assert not net.weight[pruned].any() and "0 kept in 2 codebooks" in plan["weight"].decision
    assert torch.equal(net.weight[0], plain[0]) and torch.equal(net.weight[3], plain[3])
    assert 0 not in net.weight[0]
    compress_(net, CompressConfig(k=3, zero=True))
    assert all(0 in row.unique() for row in net.weight)


def test_a_pruning_mask_stays_and_what_it_masks_is_no_part_of_the_bytes() -> None:
    torch.manual_seed(SEED)
    net = nn.Sequential(nn.Linear(100, 8), nn.LSTM(30, 10))
    prune.random_unstructured(net[0], "weight", 0.4)
    prune.random_unstructured(net[1], "weight_ih_l0", 0.4)
    mask = net[0].weight_mask.clone()
    assert fp32_bytes(net) == 4 * (808 + 40 * 30 + 40 * 10 + 80)
    plan = compress_(net, CompressConfig(k=3, zero=False, include="weight(_ih_l0)?$"))
    for name, weight, n in (
        ("0.weight", net[0].weight, 100),
        ("1.weight_ih_l0", net[1].weight_ih_l0, 30),
    ):
        held = net.get_parameter(f"{name}_orig")
        assert torch.equal(weight, held * net.get_buffer(f"{name}_mask"))
        assert all(row.unique().numel() == 3 and 0 in row for row in weight)
        rows = torch.from_numpy(plan.quantized[name].dequantized).float()
        assert torch.equal(weight, rows) and plan[f"{name}_orig"].n == n
    assert torch.equal(net[0].weight_mask, mask) and not net[0].weight[mask == 0].any()
    assert plan.total == stored_bytes(net, plan.quantized)
    prune.remove(net[0], "weight")
    assert not net[0].weight[mask == 0].any() and net[0].weight[0].unique().numel() == 3


def test_what_is_left_out_and_why() -> None:
    net = nn.Sequential(
        nn.Linear(64, 64),
        nn.Linear(64, 64),
        parametrizations.weight_norm(nn.Linear(64, 64)),
        nn.Linear(64, 64),
        nn.MultiheadAttention(64, 2),
    )
    prune.l1_unstructured(net[3], "weight", 0.5)
    net.register_parameter("table", nn.Parameter(torch.ones(9, 64)))
    plan = compress_(net, CompressConfig(include=r"^\d", exclude="^1$"), dry_run=True)
    reasons = {line.name: line.decision for line in plan.layers if not line.k}
    assert [line.name for line in plan.layers if line.k] == [
        "0.weight",
        "3.weight",
        "4.in_proj_weight",
        "4.out_proj.weight",
    ]
    assert reasons.pop("1.weight") == "left as it is: excluded by '^1$'"
    assert reasons.pop("2.weight").startswith("left as it is: computed from other tensors")
    assert reasons.pop("table") == "left as it is: no weight of a layer that is known"
    assert not reasons
    some = compress_(DigitsMlp(), CompressConfig(k={"fc2": 4}, include="fc[12]"))
    assert [(line.name, line.decision) for line in some.layers] == [
        ("fc1.weight", "left as it is: no K for it"),
        ("fc2.weight", "a codebook per row"),
        ("fc3.weight", "left as it is: not included by 'fc[12]'"),
    ]


def test_shared_weights_once_and_under_the_name_that_the_net_gives_them() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(60, 64)
            self.head = nn.Linear(64, 60, bias=False)
            self.head.weight = self.embed.weight

    net = Tied()
    plan = compress_(net, CompressConfig(k={"head": 8}))
    assert [line.name for line in plan.layers] == ["embed.weight"]
    assert plan.layers[0].k == 8 and "shared with head.weight" in plan.layers[0].decision
    assert net.head.weight is net.embed.weight and net.head.weight[0].unique().numel() == 8
    assert plan.total == stored_bytes(net, plan.quantized)
    assert compress_(Tied(), CompressConfig(exclude="head")).layers[0].k == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_memory_format_and_flags_stay(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(100, 8)).to(dtype)
    net = net.to(memory_format=torch.channels_last)
    net[0].weight.requires_grad_(False)
    places = [p.data_ptr() for p in net.parameters()]
    plan = compress_(net, CompressConfig(k=4))
    assert [p.data_ptr() for p in net.parameters()] == places
    assert not net[0].weight.requires_grad and net[2].weight.requires_grad
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    for name, shape in (("0.weight", (8, 16, 3, 3)), ("2.weight", (8, 100))):
        weight = net.get_parameter(name)
        assert weight.dtype == dtype and tuple(weight.shape) == shape
        expected = torch.from_numpy(plan.quantized[name].dequantized).to(dtype)
        assert torch.equal(weight.reshape(8, -1), expected)


def test_nothing_is_changed_if_one_layer_has_a_nan() -> None:
    net = mixed()
    with torch.no_grad():
        net[4].weight[1, 2, 0, 1] = torch.nan
    before = net.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    with pytest.raises(NonFiniteError, match=r"^4.weight: values must be finite, not nan at row"):
        compress_(net)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


def test_nothing_is_changed_if_one_layer_cannot_be_written() -> None:
    net = nn.Sequential(nn.Linear(64, 8), nn.Linear(64, 8))
    net[1].weight = nn.Parameter(torch.randn(8, 1).expand(8, 64))
    before = state(net)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        compress_(net, CompressConfig(k=4))
    assert state(net) == before


def test_a_net_made_for_inference_only() -> None:
    with torch.inference_mode():
        net = nn.Linear(64, 8)
    compress_(net, CompressConfig(k=4))
    assert [row.unique().numel() for row in net.weight] == [4] * 8


def test_sensitivity_decides_where_the_centroids_are() -> None:
    torch.manual_seed(SEED)
    net = nn.Linear(64, 4)
    rows = net.weight.detach().double().numpy()
    counts = torch.rand(1, 64) ** 4
    counts = counts.expand(4, 64).clone()
    counts[2] = 0  # a dead output: solved without
    plan = compress_(net, CompressConfig(k=4, sensitivity={"weight": counts}))
    wanted = [quantize(rows[i], 4, weights=counts[i].numpy()) for i in (0, 1, 3)]
    wanted.insert(2, quantize(rows[2], 4))
    found = plan.quantized["weight"]
    assert np.array_equal(found.codebook, np.stack([w.codebook for w in wanted]))
    with pytest.raises(
        ValueError, match=(r"^sensitivity of weight must broadcast to \(4, 64\), not \(3, 64\)$")
    ):
        compress_(net, CompressConfig(sensitivity={"weight": torch.ones(3, 64)}))
    with pytest.raises(NonFiniteError, match=r"^weight: weights must be finite, not nan"):
        compress_(net, CompressConfig(k=4, sensitivity={"weight": torch.full((4, 64), torch.nan)}))


def error_of(net: nn.Module, config: CompressConfig) -> tuple[float, int]:
    """(squared error of all weights, bytes) of a copy that is compressed."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plan = compress_(net, config)
    after = net.state_dict()
    error = sum((after[name] - old).square().sum().item() for name, old in before.items())
    net.load_state_dict(before)
    return error, plan.total.total


def test_a_budget_by_layer_is_the_best_of_all_choices() -> None:
    torch.manual_seed(SEED)
    net = nn.Sequential(nn.Linear(40, 16), nn.Conv1d(16, 12, 3), nn.Linear(30, 9))
    with torch.no_grad():
        net[1].weight *= 8
    choices = (2, 4, 8)
    every = {}
    for picked in product(choices, repeat=3):
        k = dict(zip(("0", "1", "2"), picked, strict=True))
        every[picked] = error_of(net, CompressConfig(k=k, on_expand="skip"))
    for budget in (1_100, 1_400, 1_700, 2_600):
        best = min(error for error, size in every.values() if size <= budget)
        error, size = error_of(net, CompressConfig(byte_budget=budget, choices=choices))
        assert size <= budget and error == pytest.approx(best, rel=1e-6)
    least = r"^budget must be at least \d+ bytes, not 100$"
    with pytest.raises(BudgetError, match=least) as caught:
        compress_(net, CompressConfig(byte_budget=100, choices=choices), dry_run=True)
    assert caught.value.least == min(size for _, size in every.values())
    plan = compress_(net, CompressConfig(byte_budget=caught.value.least, choices=choices))
    assert plan.total.total == caught.value.least == stored_bytes(net, plan.quantized).total


def test_codebooks_with_their_own_k_are_better_within_the_same_budget() -> None:
    torch.manual_seed(SEED)
    net = nn.Linear(400, 24, bias=False)
    with torch.no_grad():
        net.weight *= torch.linspace(0.1, 4, 24)[:, None]
    original = net.weight.detach().clone()
    by_layer, _ = error_of(net, CompressConfig(byte_budget=4_000))
    dry = compress_(net, CompressConfig(byte_budget=4_000, per="codebook"), dry_run=True)
    assert torch.equal(net.weight, original) and dry.layers[0].relative_error is not None
    plan = compress_(net, CompressConfig(byte_budget=4_000, per="codebook"))
    assert (net.weight - original).square().sum().item() < 0.8 * by_layer
    line, found = plan["weight"], plan.quantized["weight"]
    assert (line.least_k, line.k) == (2, 16) and found.k == 16
    bits = {2: 1, 4: 2, 8: 3, 16: 4}
    used = [row.unique().numel() for row in net.weight]
    assert used == found.k_eff.tolist() and used == sorted(used)
    assert line.stored_bytes == sum(400 * bits[k] // 8 + 4 * k + 1 for k in used) <= 4_000
    assert plan.total.total == line.stored_bytes
    rows = torch.from_numpy(found.dequantized)
    torch.testing.assert_close(net.weight.detach(), rows.float(), rtol=0, atol=0)


def test_a_budget_for_layers_that_do_not_get_smaller() -> None:
    net = nn.Sequential(nn.Linear(1, 3, bias=False), nn.Linear(100, 10, bias=False))
    plan = compress_(net, CompressConfig(byte_budget=710, choices=(4, 8, 16)))
    assert plan["0.weight"].k == 0 and plan["1.weight"].k == 8 and plan.total.total == 12 + 695
    with pytest.raises(BudgetError, match=r"^budget must be at least 12 bytes, not 11$"):
        compress_(net[0], CompressConfig(byte_budget=11, choices=(4,)))
    assert compress_(net[0], CompressConfig(byte_budget=12, choices=(4,))).total.total == 12


class Counting(ThreadPoolExecutor):
    """Counts what it gets."""

    calls = 0

    def submit(self, *args: Any, **named: Any) -> Future:
        self.calls += 1
        return super().submit(*args, **named)


def test_the_executor_solves() -> None:
    net, same = DigitsMlp(), DigitsMlp()
    same.load_state_dict(net.state_dict())
    with Counting(1) as executor:
        compress_(net, CompressConfig(), executor=executor)
    compress_(same)
    assert executor.calls >= 3 and state(net) == state(same)


def test_the_engine_takes_what_comes_out() -> None:
    torch.manual_seed(SEED)
    net = nn.Sequential(
        nn.Conv2d(16, 16, 3, groups=16), nn.ConvTranspose2d(8, 6, 5, groups=2), nn.Linear(60, 9)
    )
    plan = compress_(net, CompressConfig(k={"*": 16, "2": 4}))
    assert plan["0"].codebooks == 4 and plan["2"].k == 4
    image = compile_fp32(plan.matrices, {"source": "test"})
    assert [layer.shape for layer in image.layers] == [(16, 1, 3, 3), (6, 4, 5, 5), (9, 60)]
    for layer, weight in zip(image.layers, weights_of(net)[0], strict=True):
        book = layer.codebook
        assert book is not None
        dense = np.take_along_axis(book, np.asarray(layer.indices).astype(int), 1)
        np.testing.assert_array_equal(dense, weight.to_rows(weight.values).numpy())
        cost = plan.matrices[layer.name][0].cost.sum()
        assert cost == pytest.approx(plan.quantized[layer.name].cost.sum())


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"k": 4, "bits": 2},
            r"^config must have one of k, bits and byte_budget, not \['k', 'bits'\]",
        ),
        ({"k": 0}, r"^k must be in 1..65536, not 0$"),
        ({"bits": 17}, r"^bits must be an integer from 1 to 16, not 17$"),
        ({"include": "("}, r"^include must be a regular expression, not '\(': "),
        ({"rows_per_codebook": 0}, r"^rows_per_codebook must be 1 or more or 'all', not 0$"),
        ({"norm": 3}, r"^norm must be 1 or 2, not 3$"),
        ({"zero": "yes"}, r"^zero must be True, False or 'auto', not 'yes'$"),
        (
            {"on_expand": "grow"},
            r"^on_expand must be one of \('share', 'skip', 'error'\), not 'grow'$",
        ),
        ({"per": "row"}, r"^per must be 'layer' or 'codebook', not 'row'$"),
        ({"choices": (4, 2)}, r"^choices must be ascending and different, not \(4, 2\)$"),
    ],
)
def test_configurations_that_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompressConfig(**options)


def test_names_that_the_net_does_not_have_and_empty_rows() -> None:
    with pytest.raises(ValueError, match=r"^k must name layers of the net, not \['fc9'\]$"):
        compress_(DigitsMlp(), CompressConfig(k={"fc9": 4, "*": 8}))
    with pytest.raises(ValueError, match=r"^sensitivity must name layers of the net, not \['x'\]$"):
        compress_(DigitsMlp(), CompressConfig(sensitivity={"x": torch.ones(1)}))
    with pytest.raises(TypeError, match=r"^byte_budget must be an integer, not 1.5$"):
        CompressConfig(byte_budget=1.5)
    with pytest.raises(ValueError, match=r"^weight must have a shape: run the net once before$"):
        compress_(nn.LazyLinear(4))
    net = nn.Linear(1, 4)
    net.weight = nn.Parameter(torch.empty(4, 0))
    assert compress_(net).layers[0].decision == "left as it is: empty"
