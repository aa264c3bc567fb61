"""Networks of PyTorch for the tests of their reading: functions as modules, and random ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[list[Tensor]], Tensor]


class Calling(nn.Module):
    """A module whose forward calls `function(self, x)`; modules are its members.

    PyTorch records the lines of functions that are called `forward`, so this one is for it.
    """

    def __init__(self, function: Callable[[Any, Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        code = function.__code__.replace(co_name="forward")
        self.function = FunctionType(
            code, function.__globals__, "forward", function.__defaults__, function.__closure__
        )
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def line_of(function: Callable[..., Any], offset: int = 1) -> int:
    """The line `offset` lines after a function's `def`."""
    return function.__code__.co_firstlineno + offset


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net in float64 and evaluation mode, its batch norms with statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (module.running_mean, module.weight, module.bias):
                if tensor is not None:
                    tensor.data = torch.randn(tensor.shape, generator=generator)
            assert module.running_var is not None
            module.running_var.data = (
                torch.rand(module.running_var.shape, generator=generator) + 0.5
            )
    return net.double().eval()


class RandomNet(nn.Module):
    """Operations in a random order on random ones of the maps before, most of which an engine can
    run; `forward` goes through them with PyTorch's own."""

    def __init__(self, seed: int, steps: int = 8) -> None:
        super().__init__()
        self.seed = seed
        self.random = random.Random(seed)
        torch.manual_seed(seed)
        self.parts = nn.ModuleList()
        self.steps: list[Step] = []
        size = (self._from(1, 4), self._from(1, 12), self._from(1, 12))
        self.example = torch.randn(self._from(1, 2), *size, dtype=torch.float64)
        for _ in range(steps):
            self._grow()
        self._end()

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step in self.steps:
            values.append(step(values))
        return values[-1]

    def _from(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def _one_of(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def _values(self) -> list[Tensor]:
        """All values so far; in-place operations have changed them."""
        values = [self.example.clone()]
        with torch.no_grad():
            for step in self.steps:
                values.append(step(values))
        return values

    def _try(self, step: Step | None) -> bool:
        """Add a step, if it works and leaves something."""
        if step is None:
            return False
        self.steps.append(step)
        settled(self, self.seed)
        try:
            last = self._values()[-1]
        except (RuntimeError, ValueError, IndexError):
            self.steps.pop()
            return False
        if not last.numel() or last.numel() > 20_000 or last.ndim < 2:
            self.steps.pop()
            return False
        return True

    def _grow(self) -> None:
        values = self._values()
        place = len(values) - 1 if self._from(0, 3) else self._from(0, len(values) - 1)
        shape = tuple(values[place].shape)
        if len(shape) == 4:
            makers = [self._conv, self._conv, self._norm, self._act, self._act, self._pool]
            makers += [self._pad, self._slice, self._join, self._join, self._constant, self._odd]
            makers += [self._shared, self._branch]
        elif len(shape) == 3:
            makers = [self._conv1, self._norm, self._act, self._pool1, self._join, self._linear]
            makers += [self._odd]
        else:
            makers = [self._linear, self._norm, self._act, self._join, self._constant, self._odd]
        self._try(self._one_of(*makers)(place, shape))

    def _end(self) -> None:
        shape = tuple(self._values()[-1].shape)
        if len(shape) == 4 and self._from(0, 2):
            self._try(self._one_of(lambda v: v[-1].flatten(1), lambda v: v[-1].mean((2, 3))))
        shape = tuple(self._values()[-1].shape)
        if len(shape) == 2 and self._from(0, 3):
            self._try(self._linear(-1, shape))
        if not self._from(0, 3):
            host = self._one_of(
                lambda v: F.softmax(v[-1], 1),
                lambda v: torch.sigmoid(v[-1]),
                lambda v: F.log_softmax(v[-1], dim=1),
            )
            self._try(host)

    def _keep(self, module: nn.Module) -> nn.Module:
        self.parts.append(module)
        return module

    def _of(self, module: nn.Module, place: int) -> Step:
        self._keep(module)
        return lambda v: module(v[place])

    def _conv(self, place: int, shape: tuple[int, ...]) -> Step:
        channels = shape[1]
        groups = self._one_of(*[g for g in (1, 1, 1, 2, channels) if channels % g == 0])
        kernel = (self._from(1, 7), self._one_of(1, 2, 3, 3, 4))
        if self._from(0, 1):
            kernel = (kernel[1], kernel[1])
        stride: Any = self._one_of(1, 1, 2, (1, 2), 3)
        padding: Any = self._one_of(0, 1, (self._from(0, 3), self._from(0, 2)), "same", "valid")
        stride = 1 if padding == "same" else stride
        dilation = self._one_of(1, 1, 2, (1, 2))
        return self._of(
            nn.Conv2d(
                channels,
                groups * self._from(1, 3),
                kernel,
                stride,
                padding,
                dilation,
                groups,
                bool(self._from(0, 1)),
            ),
            place,
        )

    def _conv1(self, place: int, shape: tuple[int, ...]) -> Step:
        padding: Any = self._one_of(0, 1, 2, "same")
        stride = 1 if padding == "same" else self._from(1, 3)
        kernel, dilation = self._from(1, 5), self._from(1, 2)
        return self._of(
            nn.Conv1d(shape[1], self._from(1, 4), kernel, stride, padding, dilation), place
        )

    def _shared(self, place: int, shape: tuple[int, ...]) -> Step | None:
        """A module that was used before, once more."""
        found = [one for one in self.parts if isinstance(one, (nn.Conv2d, nn.BatchNorm2d))]
        if not found:
            return None
        module = self._one_of(*found)
        return lambda v: module(v[place])

    def _norm(self, place: int, shape: tuple[int, ...]) -> Step:
        kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
        return self._of(kind(shape[1], affine=bool(self._from(0, 3))), place)

    def _branch(self, place: int, shape: tuple[int, ...]) -> Step:
        """A batch norm of something that is read again, added to it."""
        norm = self._keep(nn.BatchNorm2d(shape[1]))
        conv = self._keep(nn.Conv2d(shape[1], shape[1], 3, padding=1))

        def step(v: list[Tensor]) -> Tensor:
            y = conv(v[place])
            return norm(y) + y

        return step

    def _act(self, place: int, shape: tuple[int, ...]) -> Step:
        module = self._one_of(
            nn.ReLU(),
            nn.ReLU(inplace=True),
            nn.ReLU6(),
            nn.ReLU6(inplace=True),
            nn.Hardtanh(-0.5, 1.5),
            nn.Dropout(),
            nn.Identity(),
            None,
        )
        if module is not None:
            return self._of(module, place)
        steps: list[Step] = [
            lambda v: torch.clamp(v[place], min=-0.25),
            lambda v: v[place].clamp(max=0.75),
            lambda v: v[place].clamp_(-1, 1),
            lambda v: F.relu_(v[place]),
            lambda v: v[place].clamp(0.5, -0.5),
            lambda v: torch.maximum(v[place], torch.zeros(1, dtype=v[place].dtype)),
        ]
        return self._one_of(*steps)

    def _pool(self, place: int, shape: tuple[int, ...]) -> Step:
        kernel = (self._from(1, 3), self._from(1, 4))
        padding = (self._from(0, kernel[0] // 2), self._from(0, kernel[1] // 2))
        stride: Any = self._one_of(None, 1, 2, (3, 1))
        ceil = bool(self._from(0, 1))
        counted, override = bool(self._from(0, 1)), self._one_of(None, None, 3)
        dilation = self._from(1, 2)
        count = self._one_of(1, 1, 2, (1, 3), (None, 1))
        kind = self._one_of("max", "average", "average", "adaptive", "adaptive_max", "mean")
        if kind == "max":
            return self._of(nn.MaxPool2d(kernel, stride, padding, dilation, False, ceil), place)
        if kind == "average":
            module = nn.AvgPool2d(kernel, stride, padding, ceil, counted, override)
            return self._of(module, place)
        if kind == "adaptive":
            return self._of(nn.AdaptiveAvgPool2d(count), place)
        if kind == "adaptive_max":
            return self._of(nn.AdaptiveMaxPool2d(count), place)
        axis = self._one_of(2, 3, -1, (2, 3))
        return lambda v: v[place].mean(axis, keepdim=True)

    def _pool1(self, place: int, shape: tuple[int, ...]) -> Step:
        kernel, stride = self._from(1, 4), self._from(1, 3)
        padding, ceil = self._from(0, kernel // 2), bool(self._from(0, 1))
        counted = bool(self._from(0, 1))
        return self._of(
            self._one_of(
                nn.MaxPool1d(kernel, stride, padding, ceil_mode=ceil),
                nn.AvgPool1d(kernel, stride, padding, ceil, counted),
                nn.AdaptiveAvgPool1d(1),
            ),
            place,
        )

    def _pad(self, place: int, shape: tuple[int, ...]) -> Step:
        sides = [self._one_of(0, 0, 1, 2, -1) for _ in range(self._one_of(2, 4, 4, 6))]
        value = self._one_of(0, 0, 0, 0, 0, 0, 0, 0.5)
        mode = self._one_of("constant", "constant", "constant", "constant", "constant", "reflect")
        if mode == "reflect":
            return lambda v: F.pad(v[place], (1, 0, 0, 0), mode="reflect")
        return lambda v: F.pad(v[place], sides, value=value)

    def _slice(self, place: int, shape: tuple[int, ...]) -> Step:
        start, step = self._from(0, 1), self._from(1, 2)
        half = max(1, shape[1] // 2)
        steps: list[Step] = [
            lambda v: v[place][:, :, ::2, ::2],
            lambda v: v[place][:, :, start::step],
            lambda v: v[place][:, start:, :, :-1],
            lambda v: v[place].chunk(2, 1)[-1],
            lambda v: torch.split(v[place], half, 1)[0],
            lambda v: v[place].narrow(3, 0, 1),
            lambda v: torch.cat(v[place].split(half, dim=1)[::-1], 1),
            lambda v: F.pad(v[place][:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)),
        ]
        return self._one_of(*steps)

    def _join(self, place: int, shape: tuple[int, ...]) -> Step:
        """Two maps as one."""
        values = self._values()
        same = [n for n, value in enumerate(values) if tuple(value.shape) == shape]
        other = self._one_of(*same)
        steps: list[Step] = [
            lambda v: v[place] + v[other],
            lambda v: v[place] + v[other],
            lambda v: v[place] - v[other],
            lambda v: torch.add(v[other], v[place], alpha=0.5),
            lambda v: torch.cat([v[place], v[other]], 1),
            lambda v: torch.cat([v[place], v[other]], -1),
            lambda v: v[place].add_(v[other]),
        ]
        return self._one_of(*steps)

    def _constant(self, place: int, shape: tuple[int, ...]) -> Step:
        row = torch.randn(shape[1], *[1] * (len(shape) - 2), dtype=torch.float64)
        self.register_buffer(f"row{len(self.steps)}", row)
        steps: list[Step] = [
            lambda v: v[place] * 0.5 + 1,
            lambda v: 2 - v[place],
            lambda v: v[place] / 3,
            lambda v: -v[place],
            lambda v: (v[place] - row) * row,
            lambda v: v[place].mul_(2),
        ]
        return self._one_of(*steps)

    def _linear(self, place: int, shape: tuple[int, ...]) -> Step:
        return self._of(nn.Linear(shape[-1], self._from(1, 6), bool(self._from(0, 1))), place)

    def _odd(self, place: int, shape: tuple[int, ...]) -> Step:
        """Shapes and orders, and what no engine has."""
        count, channels = shape[0], shape[1]
        rows = self._keep(nn.Linear(channels, 3))
        size = 1
        for one in shape[1:]:
            size *= one
        first = self._one_of(*[n for n in range(1, size + 1) if size % n == 0])
        steps: dict[int, list[Step]] = {
            2: [
                lambda v: v[place].view(count, first, -1),
                lambda v: v[place].view(count, first, -1, 1),
                lambda v: v[place].unsqueeze(1),
                lambda v: v[place][:, :, None, None],
                lambda v: F.gelu(v[place]),
                lambda v: v[place].flip(1),
            ],
            3: [
                lambda v: v[place].transpose(1, 2),
                lambda v: v[place].mean(2),
                lambda v: v[place].flatten(1),
                lambda v: v[place].unsqueeze(2),
                lambda v: v[place].unsqueeze(3),
                lambda v: rows(v[place].transpose(1, 2)).transpose(1, 2),
            ],
            4: [
                lambda v: v[place].permute(0, 2, 3, 1).flatten(1),
                lambda v: v[place].permute(0, 3, 1, 2),
                lambda v: v[place].transpose(2, 3).flatten(1),
                lambda v: rows(v[place].permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
                lambda v: rows(v[place].flatten(2).transpose(1, 2)).mean(1),
                lambda v: v[place].flatten(2),
                lambda v: v[place].flatten(2).mean(-1),
                lambda v: v[place].reshape(count, first, -1),
                lambda v: v[place].view(count, -1, shape[2], shape[3] * 1),
                lambda v: F.channel_shuffle(v[place], 2),
                lambda v: F.pixel_unshuffle(v[place], 2),
                lambda v: F.silu(v[place]),
                lambda v: v[place] * v[place],
                lambda v: v[place].mean(1, keepdim=True),
                lambda v: v[place].squeeze(-1),
                lambda v: v[place].squeeze(),
            ],
        }
        return self._one_of(*steps.get(len(shape), steps[2]))
