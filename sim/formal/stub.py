"""Blocks left out of a proof: their ports without their insides, which a contract then limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring


class Stub(wiring.Component):
    """Ports of `signature`; its outputs are driven by whoever places it."""

    def elaborate(self, platform: Any) -> Any:
        return Module()


@contextmanager
def without(module: ModuleType, *components: type) -> Iterator[None]:
    """While `module`'s components are built, those of these classes are stubs."""
    for component in components:
        setattr(module, component.__name__, _factory(component))
    try:
        yield
    finally:
        for component in components:
            setattr(module, component.__name__, component)


def _factory(component: Any) -> Callable[..., Stub]:
    def stub(**parameters: Any) -> Stub:
        left_out = component(**parameters)
        left_out._MustUse__silence = True  # never elaborated, as is meant
        return Stub(left_out.signature)

    return stub
