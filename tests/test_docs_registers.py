"""docs/link.md says what `gateware.registers` says: operations, statuses, registers, fields."""

from pathlib import Path

import pytest

from dpnet.gateware.doors import axi
from dpnet.gateware.parts.bus import ABORT_CYCLES, BUS_LATENCY
from dpnet.gateware.registers import (
    FIRST,
    MAGIC,
    MAX_PAYLOAD,
    MAX_RANGES,
    REGION_SHIFT,
    REGISTERS,
    RESPONSE,
    STREAM,
    VERSION,
    Operation,
    Region,
    Status,
)
from dpnet.gateware.tables import main, rewritten
from dpnet.host.link.frames import Decoder, Frame

TEXT = (Path(__file__).parent.parent / "docs" / "link.md").read_text(encoding="utf-8")


def rows_of(text, head):
    """The cells of the one table of `text` with this head, row by row."""
    _, found, rest = text.partition(f"| {' | '.join(head)} |\n")
    assert found and f"| {' | '.join(head)} |\n" not in rest, f"not one table of {head}"
    rows = []
    for line in rest.splitlines()[1:]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    assert rows
    return rows


def section(title):
    """The text from one heading to the next."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_register_is_there_with_its_offset_access_and_meaning():
    written = rows_of(section("Registers"), ("offset", "name", "access", "meaning"))
    assert written == [
        (f"0x{register.offset:03X}", register.name, register.access, register.doc)
        for register in REGISTERS
    ]
    assert written[0] == ("0x000", "MAGIC", "constant", f"0x{MAGIC:08X}")


def test_one_command_writes_the_tables(tmp_path, capsys):
    assert rewritten(TEXT) == TEXT
    page = tmp_path / "link.md"
    page.write_text(TEXT.replace("0x44504E54 |", "0 |").replace("| STATUS | busy |", "| STATUS |"))
    assert main([str(page)]) == 0
    assert page.read_text() == TEXT
    page.write_text(TEXT.replace("<!-- fields -->", ""))
    assert main([str(page)]) == 2
    assert capsys.readouterr().err == (
        f"tables: {page}: the page must have one <!-- fields --> … <!-- end -->, not 0\n"
    )


def test_every_field_is_there_with_its_bits():
    expected = []
    for register in REGISTERS:
        for field in register.fields:
            last = field.offset + field.bits - 1
            bits = f"{last}:{field.offset}" if field.bits > 1 else str(last)
            expected.append((register.name, field.name, bits, field.doc))
    assert rows_of(TEXT, ("register", "field", "bits", "meaning")) == expected


@pytest.mark.parametrize(
    "members, head",
    [
        (Operation, ("code", "operation", "what it does")),
        (Status, ("code", "status", "meaning")),
    ],
)
def test_codes(members, head):
    written = [(int(row[0]), row[1]) for row in rows_of(TEXT, head)]
    assert written == [(int(member), member.name) for member in members]


def test_regions():
    rows = rows_of(TEXT, ("region", "base", "holds", "written"))
    assert [(int(row[0]), int(row[1], 16)) for row in rows] == [
        (n, n << REGION_SHIFT) for n in range(Region.MAPS + 1)
    ]
    loading = [int(row[0]) for row in rows if row[3].startswith("while LOADING")]
    assert loading == list(range(Region.IMAGE_FIRST, Region.IMAGE_LAST + 1))
    streamed = [int(row[0]) for row in rows if row[3].endswith("with STREAM while VALID")]
    assert streamed == [Region.INDEX, Region.CODEBOOK, Region.ROWS]


def test_doors():
    rows = rows_of(section("Doors"), ("offset", "name", "access", "meaning"))
    assert [(int(row[0], 16), row[1]) for row in rows] == [
        (axi.MAGIC_OFFSET, "MAGIC"),
        (axi.STATUS_OFFSET, "STATUS"),
        (axi.TX_OFFSET, "TX"),
        (axi.RX_OFFSET, "RX"),
    ]


def test_sizes_in_the_text():
    assert f"at most {MAX_PAYLOAD} bytes" in TEXT
    assert f"up to {MAX_RANGES} pairs" in TEXT
    assert f"bit {RESPONSE.bit_length() - 1} response | " in TEXT
    assert f"bits 3:0 operation, bits 6:4 version ({VERSION})" in TEXT
    assert f"not busy any more after at most {ABORT_CYCLES:,} cycles" in TEXT
    known = {int(operation) for operation in Operation}
    assert known == set(range(1, 7)) and "unknown operation (0, 7 to 15)" in TEXT
    assert f"bit {FIRST.bit_length() - 1}, FIRST: " in TEXT
    assert f"bit {STREAM.bit_length() - 1}, STREAM: " in TEXT
    assert f"takes W + n + {BUS_LATENCY + 1} cycles" in TEXT
    assert f"waits at most {BUS_LATENCY + 1} cycles" in TEXT


def test_the_example_is_what_goes_over_the_line():
    sent, answer = (
        bytes.fromhex(line.strip()[1:])
        for line in TEXT.splitlines()
        if line.strip().startswith(("→", "←"))
    )
    request = Frame(Operation.READ, 7, flags=FIRST, offset=0, wanted=4)
    assert request.encode() == sent
    (response,) = Decoder().feed(answer)
    assert response.operation == Operation.READ | RESPONSE
    assert (response.txid, response.flags, response.offset) == (7, Status.OK, 0)
    assert int.from_bytes(response.payload, "little") == MAGIC
