"""The tables of registers in docs/link.md, from `dpnet.gateware.registers`.

python -m dpnet.gateware.tables docs/link.md

Writes them anew between the lines `<!-- registers -->`, `<!-- fields -->` and the `<!-- end -->`
behind each.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dpnet.gateware.registers import REGISTERS


def register_table() -> list[str]:
    """Every register: offset, name, access, meaning."""
    lines = ["| offset | name | access | meaning |", "| --- | --- | --- | --- |"]
    for register in REGISTERS:
        offset = f"0x{register.offset:03X}"
        lines.append(f"| {offset} | {register.name} | {register.access} | {register.doc} |")
    return lines


def field_table() -> list[str]:
    """Every field of a register: its bits and meaning."""
    lines = ["| register | field | bits | meaning |", "| --- | --- | --- | --- |"]
    for register in REGISTERS:
        for field in register.fields:
            last = field.offset + field.bits - 1
            bits = f"{last}:{field.offset}" if field.bits > 1 else str(last)
            lines.append(f"| {register.name} | {field.name} | {bits} | {field.doc} |")
    return lines


TABLES: dict[str, Callable[[], list[str]]] = {"registers": register_table, "fields": field_table}


def rewritten(text: str) -> str:
    """`text` with its tables as they should be; `ValueError` if it has not each of them once."""
    for name, lines in TABLES.items():
        place = re.compile(rf"(?s)(<!-- {name} -->\n).*?(<!-- end -->\n)")
        table = "\n".join(lines())
        text, count = place.subn(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
        if count != 1:
            raise ValueError(f"the page must have one <!-- {name} --> … <!-- end -->, not {count}")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0, or 2 for pages that have no such tables."""
    for name in sys.argv[1:] if arguments is None else arguments:
        path = Path(name)
        try:
            path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
        except (OSError, ValueError) as error:
            print(f"tables: {path}: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
