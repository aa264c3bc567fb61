"""The table of registers: what an engine says of itself, what a host makes of it, and that nothing
else has to know of a new one."""

from __future__ import annotations

import inspect
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpnet.gateware.baselines.paper import BaselineCore
from dpnet.gateware.core import ArrayCore
from dpnet.gateware.maps.core import MapCore
from dpnet.gateware.parts.bus_decoder import BusDecoder
from dpnet.gateware.registers import CONSTANTS, REGISTERS, identity, parameters_of
from dpnet.host.driver import Identity
from dpnet.host.errors import ProtocolError
from dpnet.host.session import parameters
from dpnet.model.engine.baseline import BaselineParameters, InterleavedParameters
from dpnet.model.engine.layout import Fields, Region
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EDGES, MULTIPLIERS, EngineParameters
from dpnet.model.engine.stores import STORES, store_words

ROOT = Path(__file__).parents[1]

UNREAD = ("dsp_columns", "residues", "lockstep", "storage")
"""Parameters that no register says: neither cycles nor layout depend on them, as is shown here."""


def test_what_engines_say_of_themselves():
    assert (
        identity(EngineParameters(), clock_hz=100_000_000).items()
        >= {
            "MAGIC": 0x44504E54,
            "PROTOCOL": 6,
            "GATEWARE": 7,
            "KIND": 0,
            "STAGES": 8,
            "COLUMNS": 16,
            "SEGMENTS": 2,
            "INDEX_BITS": 4,
            "ENTRY_BITS": 25,
            "ACTIVATION_BITS": 25,
            "ACCUMULATOR_BITS": 61,
            "INDEX_DEPTH": 4096,
            "SLOTS": 64,
            "RESULT_SLOTS": 64,
            "VECTOR_WORDS": 4096,
            "MAX_COLUMNS": 2048,
            "LAYERS": 16,
            "SLOT_CYCLES": 16,
            "BANK": 16,
            "ROW_BEATS": 8,
            "EDGES": 0,
            "PACKED": 1,
            "MULTIPLIER": 25 | 18 << 8,
            "CLOCK_HZ": 100_000_000,
        }.items()
    )
    lean = EngineParameters(
        stages=3,
        columns=11,
        index_bits=3,
        entry_bits=9,
        activation_bits=8,
        bank=8,
        edges="integer",
        packed=False,
        multiplier="18x18",
    )
    assert (
        identity(lean, clock_hz=50_000_000).items()
        >= {
            "SLOT_CYCLES": 8,
            "ACCUMULATOR_BITS": 28,
            "EDGES": 2,
            "PACKED": 0,
            "MULTIPLIER": 18 | 18 << 8,
            "CLOCK_HZ": 50_000_000,
        }.items()
    )
    for kind, number in ((BaselineParameters, 1), (InterleavedParameters, 2)):
        params = kind(weights=300, columns=60, rows=20, layers=3)
        assert (
            identity(params, clock_hz=1).items()
            >= {
                "KIND": number,
                "STAGES": 1,
                "COLUMNS": 1,
                "INDEX_BITS": 0,
                "ENTRY_BITS": 32,
                "INDEX_DEPTH": 300,
                "SLOTS": 20,
                "RESULT_SLOTS": 20,
                "VECTOR_WORDS": 60,
                "MAX_COLUMNS": 60,
                "LAYERS": 3,
                "EDGES": 1,
                "MULTIPLIER": 0,
                "CLOCK_HZ": 1,
            }.items()
        )
        assert parameters(Identity(identity(params, clock_hz=1))) == params


def test_what_map_engines_say_of_themselves() -> None:
    params = MapEngineParameters(
        clusters=3,
        stages=5,
        streams=4,
        max_columns=900,
        entry_bits=11,
        index_depth=640,
        row_groups=17,
        taps=33,
        passes=9,
        map_depth=2052,
        picture_depth=1032,
        result_depth=72,
        multiplier="18x18",
    )
    registers = identity(params, clock_hz=7)
    assert (
        registers.items()
        >= {
            "KIND": 3,
            "STAGES": 5,
            "COLUMNS": 16,
            "SEGMENTS": 3,
            "INDEX_BITS": 4,
            "ENTRY_BITS": 11,
            "ACTIVATION_BITS": 8,
            "ACCUMULATOR_BITS": 40,
            "INDEX_DEPTH": 640,
            "SLOTS": 17,
            "RESULT_SLOTS": 0,
            "VECTOR_WORDS": 0,
            "MAX_COLUMNS": 900,
            "LAYERS": 9,
            "EDGES": 2,
            "MULTIPLIER": 18 | 18 << 8,
            "STREAMS": 4,
            "TAPS": 33,
            "MAP_DEPTH": 2052,
            "PICTURE_DEPTH": 1032,
            "RESULT_DEPTH": 72,
            "CLOCK_HZ": 7,
        }.items()
    )
    assert parameters(Identity(registers)) == params
    assert Identity(registers).lanes == params.lanes == 240
    with pytest.raises(ProtocolError, match=r"streams must be an integer from 1 to 4, not 9"):
        parameters(Identity({**registers, "STREAMS": 9}))


def random_engine(source: random.Random) -> EngineParameters:
    columns = source.randint(1, 40)
    return EngineParameters(
        stages=source.randint(1, 12),
        columns=columns,
        segments=source.randint(1, 6),
        index_bits=source.randint(1, 4),
        activation_bits=source.randint(2, 25),
        entry_bits=source.randint(2, 25),
        max_columns=source.randint(64, 4096),
        index_depth=source.randint(1, 9999),
        slots=source.randint(1, 999),
        result_slots=source.randint(1, 999),
        vector_words=source.randint(1, 9999),
        layers=source.randint(1, 256),
        bank=source.randint(1, 16),
        row_beats=1 << source.randint(0, 6),
        dsp_columns=source.randint(0, columns),
        edges=source.choice(EDGES),
        packed=source.random() < 0.5,
        residues=source.random() < 0.5,
        lockstep=source.random() < 0.5,
        multiplier=source.choice(MULTIPLIERS),
        storage=source.choice(["block", "distributed"]),
    )


def everything(engine: EngineParameters, source: random.Random) -> dict[str, Any]:
    """All that the host computes from parameters: properties, cycles, where things lie."""
    found = {
        name: getattr(engine, name)
        for name, member in inspect.getmembers(EngineParameters)
        if isinstance(member, property)
    }
    assert len(found) > 20
    for n in range(8):
        layer = source.randint(1, 500), source.randint(1, 64), source.randint(1, engine.buckets)
        found[f"cycles {n}"] = engine.layer_cycles(
            *layer,
            fp32_in=engine.fp32,
            fp32_out=engine.fp32,
            forward=n % 2 == 0,
            vectors=1 + n % 3,
        )
        found[f"rows {n}"] = engine.index_rows(*layer[1:])
    return found | {"stores": store_words(engine), "fields": vars(Fields(engine))}


def test_a_host_computes_what_the_engine_was_built_for():
    source = random.Random(1)
    for n in range(300):
        built = random_engine(source)
        registers = identity(built, clock_hz=source.randrange(1, 1 << 32))
        read = parameters(Identity(registers))
        unlike = {name for name in vars(built) if getattr(built, name) != getattr(read, name)}
        assert unlike <= set(UNREAD)
        assert everything(read, random.Random(n)) == everything(built, random.Random(n))
        assert parameters_of(registers)["clock_hz"] == registers["CLOCK_HZ"]


def test_every_parameter_is_read_or_is_known_not_to_matter():
    sources = {constant.source("array") for constant in CONSTANTS.values()}
    assert set(vars(EngineParameters())) - sources == set(UNREAD)
    sources = {constant.source("maps") for constant in CONSTANTS.values()}
    assert set(vars(MapEngineParameters())) <= sources


def test_stores_end_where_the_core_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """`store_words` against what the cores give their bus decoder."""
    found: dict[Region, int] = {}
    real = BusDecoder.store

    def store(self: Any, region: Region, *, low: int, depth: int) -> Any:
        found[region] = depth << low
        return real(self, region, low=low, depth=depth)

    monkeypatch.setattr(BusDecoder, "store", store)
    # What is placed in a core is not elaborated: nobody reads its Verilog.
    monkeypatch.setattr("dpnet.gateware.emit._cache", {})
    monkeypatch.setattr("dpnet.gateware.emit._convert", lambda component, module: ("", {}))
    sizes = {"max_columns": 64, "layers": 5, "slots": 9, "result_slots": 12, "vector_words": 500}
    for params in (
        EngineParameters(stages=3, columns=5, segments=3, index_depth=70, bank=4, **sizes),
        EngineParameters(stages=1, columns=2, segments=1, index_depth=77, edges="fp32", **sizes),
        EngineParameters(stages=2, columns=11, index_bits=3, index_depth=33, row_beats=2, **sizes),
        BaselineParameters(weights=300, columns=60, rows=20, layers=3),
        MapEngineParameters(
            clusters=3, stages=1, streams=3, index_depth=66, row_groups=3, taps=5, passes=3,
            map_depth=44, picture_depth=24, result_depth=16,
        ),
    ):  # fmt: skip
        found.clear()
        _core(params).elaborate(None)
        wanted = store_words(params)
        assert set(wanted) == set(STORES)
        assert found == {region: count for region, count in wanted.items() if count}


def _core(params: Any) -> Any:
    if isinstance(params, MapEngineParameters):
        return MapCore(params=params)
    is_array = isinstance(params, EngineParameters)
    return ArrayCore(engine=params) if is_array else BaselineCore(params=params)


NEW = '    _constant("SPARE", "columns of spare lanes in each stage", "columns", 77, 0),\n'
BEFORE = '    _constant("CLOCK_HZ", '
CONCERNED = (
    "test_docs_registers",
    "test_host_driver",
    "test_host_doctor_ports",
    "test_host_batch::test_an_engine_that_no_host_knows",
    "test_host_cli_ports::test_the_stand_in_is_the_default_engine",
    "test_gateware_registers",
    "test_link_endpoint",
)


@pytest.mark.long
def test_a_new_register_is_one_row(tmp_path: Path) -> None:
    """A row of the table, the command that writes the page; every test is green as it is, the
    endpoint in RTL and the driver read the new register."""
    for name in ("gateware", "host", "model", "sim", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "dpnet", tmp_path / "dpnet", symlinks=True)
    (tmp_path / "docs").mkdir()
    for name in ("docs/link.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    path = tmp_path / "gateware" / "registers.py"
    text = path.read_text()
    assert text.count(BEFORE) == 1
    path.write_text(text.replace(BEFORE, NEW + BEFORE))

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call("-m", "dpnet.gateware.tables", "docs/link.md")
    offset = next(r.offset for r in REGISTERS if r.name == "CLOCK_HZ")
    page = (tmp_path / "docs/link.md").read_text()
    assert f"| 0x{offset:03X} | SPARE | constant | columns of spare lanes in each stage |" in page
    program = (
        "from dpnet.gateware.registers import identity\n"
        "from dpnet.host.driver import Driver\n"
        "from dpnet.host.link import Link\n"
        "from dpnet.host.session import parameters\n"
        "from dpnet.model.engine.parameters import EngineParameters\n"
        "from dpnet.sim.peers.engine_model import EngineModel\n"
        "from dpnet.sim.peers.faulty import ModelTransport\n"
        "engine = EngineParameters(columns=5)\n"
        "model = EngineModel(identity=identity(engine, clock_hz=9))\n"
        "found = Driver(Link(ModelTransport(model))).identify()\n"
        "assert parameters(found) == engine\n"
        "print(found.spare, found.clock_hz)\n"
    )
    assert call("-c", program) == "5 9\n"
    tests = [f"tests/{name.replace('::', '.py::', 1)}" for name in CONCERNED]
    tests = [name if "::" in name else f"{name}.py" for name in tests]
    call("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not one_row", *tests)
