"""Pages of the documentation as tests read them: blocks, headings, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "boards").rglob("*.md"),
    ]
)
"""Every page, by its path in the repository."""

_FENCE = re.compile(r'^(`{3,})(\w*)(?: title="([^"]+)")?\n(.*?)^\1\n', re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?:    .*\n|\n(?=    ))+)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")


@dataclass(frozen=True)
class Block:
    """Text to be run: "python" (a file of its own where it has a `title`) or "console"."""

    kind: str
    text: str
    title: str | None = None


@dataclass(frozen=True)
class Command:
    """A command of a console block, and what the page shows that it prints."""

    line: str
    output: str


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    """The prose alone, `inline code` included."""
    return _INDENTED.sub("\n", _FENCE.sub("", text))


def blocks(page: str) -> list[Block]:
    """The Python and console blocks of a page, in order."""
    text = text_of(page)
    found = [(m.start(), Block(m[2], m[4], m[3])) for m in _FENCE.finditer(text)]
    # Blanked, so that positions stay and code inside a fence is no indented block.
    rest = _FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]).replace("    ", "   \t"), text)
    for match in _INDENTED.finditer(rest):
        lines = [line[4:] for line in match[1].splitlines()]
        if lines and lines[0].startswith("$ "):
            found.append((match.start(), Block("console", "\n".join(lines) + "\n")))
    return [block for _, block in sorted(found, key=lambda item: item[0])]


def commands(block: Block) -> list[Command]:
    """The commands of a console block, without their comments."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    split = [part.partition("\n") for part in parts]
    return [Command(line.partition("  #")[0].strip(), output) for line, _, output in split]


def anchors(page: str) -> set[str]:
    """What a link to a heading of the page may name."""
    headings = _HEADING.findall(_FENCE.sub("", text_of(page)))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in plain}


def links(page: str) -> list[str]:
    """Targets of the links and pictures of a page, those to other sites left out."""
    found = _LINK.findall(without_code(text_of(page)))
    return [target for target in found if not re.match(r"[a-z]+:", target)]
