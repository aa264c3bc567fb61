"""Two processes with DDP (gloo) train as one does, with the same codebooks in both."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from dpnet.model.quantizer.quantized import NonFiniteError
from dpnet.model.training.recipe import build_net
from dpnet.model.training.regularizer import ClusterRegularizer

PROCESSES = 2
STEPS = 6


def net() -> nn.Module:
    return build_net(lambda: nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)), 1)


def batches() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(STEPS, 16, 12, generator=generator)
    return x, torch.randint(0, 4, (STEPS, 16), generator=generator)


def train(inner: nn.Module, whole: nn.Module, rank: int, count: int) -> dict[str, Tensor]:
    """Steps on every `count`-th picture; codebooks and weights in the end."""
    optimizer = torch.optim.SGD(inner.parameters(), lr=0.1, momentum=0.9)
    term = ClusterRegularizer(inner, 3, lam=0.2, period=2, reading="sum", optimizer=optimizer)
    for step, (x, y) in enumerate(zip(*batches(), strict=True)):
        term.step(step)
        loss = cross_entropy(whole(x[rank::count]), y[rank::count]) + term()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    books = {f"book {name}": book for name, book in term.codebooks.items()}
    found = term.finalize()
    indices = {
        f"indices {n}": torch.from_numpy(q.indices.astype("int64")) for n, q in found.items()
    }
    return books | indices | {f"weight {n}": t.detach() for n, t in inner.named_parameters()}


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    place = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=PROCESSES)
    inner = net()
    torch.save(train(inner, DistributedDataParallel(inner), rank, PROCESSES), f"{folder}/{rank}.pt")
    (Path(folder) / f"{rank}.txt").write_text("\n".join(refusals(rank)))
    distributed.destroy_process_group()


def refusals(rank: int) -> list[str]:
    """What both processes are told where one net is another, and where one layer is no number."""
    said = []
    other = nn.Linear(3, 2)
    nn.init.constant_(other.weight, float(rank))
    broken = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    for layer in broken:
        nn.init.constant_(layer.weight, 1.0)
    broken[1].weight.data[0, 0] = torch.nan
    for wrong in (other, broken):
        try:
            ClusterRegularizer(wrong, 2, lam=0.1, reading="sum").step(0)
        except (ValueError, NonFiniteError) as error:
            said.append(str(error))
    return said


@pytest.mark.whole
@pytest.mark.skipif(sys.platform == "win32", reason="gloo meets in a file, which Windows locks")
def test_two_processes_are_one(tmp_path: Path) -> None:
    multiprocessing.spawn(process, (str(tmp_path),), PROCESSES)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(PROCESSES))
    alone = net()
    wanted = train(alone, alone, 0, 1)
    assert set(first) == set(second) == set(wanted)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
        assert torch.allclose(tensor, wanted[name], atol=1e-5), name
    said = [(tmp_path / f"{rank}.txt").read_text().splitlines() for rank in range(PROCESSES)]
    assert (
        said[0]
        == said[1]
        == [
            "weight must be the same in all 2 processes: wrap the net in DistributedDataParallel "
            "before it is trained",
            "1.weight: values must be finite, not nan at row 0, column 0",
        ]
    )
