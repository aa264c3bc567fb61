"""What the term of Eq. (3) adds to a step of training, measured.

    python -m dpnet.model.training.overhead
    python -m dpnet.model.training.overhead resnet-20 tt-conv --bits 4 --device cuda

Steps of SGD on a batch of 128, channels_last: alone, with the term in the loss, with `pull`; turn
by turn, and of each the fastest counts.  On a CPU the seconds are those of the processor, which
what else the machine does hardly changes.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.networks.catalog import ARCHITECTURES, Architecture, find
from dpnet.model.training.recipe import build_net
from dpnet.model.training.regularizer import ClusterRegularizer

__all__ = ["Overhead", "measure"]

BATCH, RATE, N_TRAIN = 128, 0.01, 50_000


@dataclass(frozen=True)
class Overhead:
    """Seconds of a step: `alone`, with the term in the loss (`term`), with a pull behind it."""

    alone: float
    term: float
    pull: float

    def percent(self, seconds: float) -> float:
        """What a step takes more than alone."""
        return 100.0 * (seconds / self.alone - 1.0)


def measure(entry: Architecture, k: int, *, device: str = "cpu", rounds: int = 5) -> Overhead:
    """Time steps of one network with `k` values a row."""
    first = build_net(entry.make, 0).to(device)
    first.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(BATCH, *entry.shape, generator=torch.Generator().manual_seed(0)).to(device)
    x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    with torch.no_grad():
        y = torch.arange(BATCH, device=device) % first(x[:1]).shape[1]
    ways = [_Way(copy.deepcopy(first), k, way, x, y) for way in ("alone", "term", "pull")]
    taken = [[way.seconds() for way in ways] for _ in range(rounds + 1)][1:]  # the first warms up
    return Overhead(*(min(column) for column in zip(*taken, strict=True)))


class _Way:
    """One of the three ways of a step, with a net of its own."""

    def __init__(self, net: nn.Module, k: int, way: str, x: Tensor, y: Tensor) -> None:
        self.net, self.way, self.x, self.y = net, way, x, y
        self.optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=0.9, nesterov=True)
        self.term = ClusterRegularizer(net, k, n_train=N_TRAIN, optimizer=self.optimizer)
        self.term.step(0)

    def seconds(self) -> float:
        """Of one step."""
        clock = _waiting if self.x.is_cuda else time.process_time
        began = clock()
        loss = functional.cross_entropy(self.net(self.x), self.y)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss + self.term() if self.way == "term" else loss)
        self.optimizer.step()
        if self.way == "pull":
            self.term.pull(RATE)
        return clock() - began


def _waiting() -> float:
    """The time when the device has done all that it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command above; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NETWORK", choices=[*ARCHITECTURES, []])
    parser.add_argument("--bits", type=int, default=4, choices=range(1, 5))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    print(f"{'network':12} {'step':>10} {'term':>9} {'pull':>9}")
    for name in given.names or ["resnet-20", "tt-conv", "fresh-net"]:
        found = measure(find(name), 1 << given.bits, device=given.device, rounds=given.rounds)
        more = [found.percent(seconds) for seconds in (found.term, found.pull)]
        print(f"{name:12} {1e3 * found.alone:7.1f} ms {more[0]:+7.1f} % {more[1]:+7.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
