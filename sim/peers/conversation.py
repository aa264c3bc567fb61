"""A host of few words in a bench: one request at a time, over any door of an engine."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from dpnet.gateware.registers import (
    BY_NAME,
    FIRST,
    RESPONSE,
    RUN_ERRORS,
    Operation,
    State,
    Status,
    identity,
)
from dpnet.host.link.frames import Decoder, Frame
from dpnet.model.engine.layout import Region
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.random_networks import Network

Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[bytes]]
CHUNK = 256
EPOCH = 77


class Conversation:
    """Requests one after the other; `send` puts bytes on the line, `receive` waits for some."""

    def __init__(self, send: Send, receive: Receive) -> None:
        self._send, self._receive = send, receive
        self._decoder = Decoder()
        self._txid = 200
        self._flags = FIRST

    async def request(self, operation: Operation, **fields: Any) -> Frame:
        """The response, whatever its status; only what belongs to the request is accepted."""
        self._txid = (self._txid + 1) % 256
        request = Frame(operation, self._txid, flags=self._flags, **fields)
        self._flags = 0
        await self._send(request.encode())
        frames: list[Frame] = []
        while not frames:
            frames = self._decoder.feed(await self._receive())
        (response,) = frames
        assert response.operation == operation | RESPONSE, f"{response} to {request}"
        assert response.txid == self._txid, f"{response} to {request}"
        assert not self._decoder.errors, "a response was damaged"
        return response

    async def register(self, name: str) -> int:
        response = await self.request(Operation.READ, offset=BY_NAME[name].offset, wanted=4)
        assert response.flags == Status.OK, f"{name}: {response}"
        return int.from_bytes(response.payload, "little")

    async def write(self, address: int, words: np.ndarray, epoch: int = 0) -> None:
        data = words.astype("<u4").tobytes()
        for n in range(0, len(data), CHUNK):
            payload = data[n : n + CHUNK]
            response = await self.request(
                Operation.WRITE, offset=address + n, payload=payload, epoch=epoch
            )
            assert response.flags == Status.OK, f"write to {address + n:#x}: {response}"

    async def set(self, name: str, value: int) -> Status:
        response = await self.request(
            Operation.WRITE, offset=BY_NAME[name].offset, payload=value.to_bytes(4, "little")
        )
        return Status(response.flags)

    async def start(self, run: int, first: int, last: int) -> Status:
        return await self.set("START", run | first << 16 | last << 24)

    async def state(self) -> State:
        return State(BY_NAME["STATUS"].field("state").of(await self.register("STATUS")))


async def identify(host: Conversation, engine: EngineParameters, clock_hz: int) -> None:
    """The engine says what it is: every constant register."""
    for name, value in identity(engine, clock_hz=clock_hz).items():
        assert await host.register(name) == value, name
    assert await host.register("VECTORS") == 1
    assert await host.state() == State.EMPTY


async def load(host: Conversation, network: Network) -> None:
    """Load the image; until it is committed, and with a wrong CRC, the engine does not start."""
    assert await host.start(1, 0, 0) == Status.NOT_VALID
    assert (await host.request(Operation.BEGIN, epoch=EPOCH)).flags == Status.OK
    image = list(network.image())
    crc, ranges = 0, []
    for address, words in image:
        await host.write(address, words, EPOCH)
        crc = zlib.crc32(words.astype("<u4").tobytes(), crc)
        ranges += [address // 4, len(words)]
    assert await host.start(2, 0, 0) == Status.NOT_VALID
    for wrong in (1 << 31, 1, 0):
        payload = np.array([crc ^ wrong, *ranges], "<u4").tobytes()
        response = await host.request(Operation.COMMIT, payload=payload, epoch=EPOCH)
        assert response.flags == (Status.CHECK_FAILED if wrong else Status.OK), f"{response}"
        assert await host.state() == (State.LOADING if wrong else State.VALID)
        if wrong:
            assert await host.start(3, 0, 0) == Status.NOT_VALID
    assert await host.register("IMAGE_CRC") == crc
    assert await host.register("RUN") == 0, "a refused start counted as a run"


async def run(host: Conversation, network: Network, number: int, first: int, last: int) -> int:
    """One chain with a random vector: results and cycles; how many results there were.  VECTORS
    is 1 for a single layer, else any: it must not matter."""
    layers = network.layers[first : last + 1]
    words = network.vector(layers[0])
    await host.write(*network.input(layers[0], words))
    assert await host.set("VECTORS", 1 if first == last else 256) == Status.OK
    assert await host.start(number, first, last) == Status.OK
    status = BY_NAME["STATUS"]
    value = await host.register("STATUS")
    while status.field("busy").of(value):
        value = await host.register("STATUS")
    assert not any(status.field(name).of(value) for name in RUN_ERRORS), f"status {value:#x}"
    assert await host.register("RUN") == number
    cycles = sum(layer.cycles for layer in layers) + 1
    assert await host.register("CYCLES_LO") == cycles
    checked = 0
    for layer in layers:
        words = layer.results(words)
        for address, word in layer.stored(words).items():
            response = await host.request(Operation.READ, offset=4 * address, wanted=4)
            got = int.from_bytes(response.payload, "little")
            assert response.flags == Status.OK and got == word, (
                f"result at {4 * address:#x} is {got:#x}, expected {word:#x}"
            )
        checked += len(words)
    return checked


async def prove(
    host: Conversation, engine: EngineParameters, seed: int, clock_hz: int = 100_000_000
) -> int:
    """Identify, load, run every chain; how many results equal the golden ones."""
    await identify(host, engine, clock_hz)
    network = Network(engine, np.random.default_rng(seed))
    await load(host, network)
    checked = 0
    for number, (first, last) in enumerate(network.chains, 1):
        checked += await run(host, network, number, first, last)
    # An old run number starts nothing, and vectors do not need the image's epoch.
    assert await host.start(len(network.chains), 0, 0) == Status.OK
    assert await host.set("VECTORS", 0) == Status.BAD_VALUE
    assert await host.register("REJECTED") == 7
    address = Region.LAYERS.base
    response = await host.request(Operation.WRITE, offset=address, payload=bytes(4), epoch=EPOCH)
    assert response.flags == Status.STALE, f"a valid image was written over: {response}"
    return checked
