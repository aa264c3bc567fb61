"""Pages of the site that are files of the repository outside docs/, and links to such files.

`PAGES` become pages. Every other file that a page links to becomes a page with its text, and every
folder a page with what is in it, so that no link leaves the site and none can name what is not
there: a missing file is a warning, which `mkdocs build --strict` makes an error. Decisions come
into the navigation by themselves.
"""

import ast
import logging
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, InclusionLevel

ROOT = Path(__file__).resolve().parents[2]

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "boards/ulx3s/README.md": "boards/ulx3s.md",
    "boards/zc706/README.md": "boards/zc706.md",
}
"""File of the repository -> page of the site."""

LINK = re.compile(r"(!?\[[^\]\n]*(?:\n[^\]\n]*)?\])\(([^()\s]+)\)")
LANGUAGES = {".py": "python", ".json": "json", ".toml": "toml", ".sv": "verilog", ".cpp": "cpp"}

log = logging.getLogger("mkdocs.hooks.repository")


def on_config(config):
    """Put all decisions where the navigation names their folder."""
    found = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    for section in config.nav:
        for items in section.values():
            for item in items if isinstance(items, list) else ():
                for title, value in item.items():
                    if value == "decisions/":
                        item[title] = [value + name for name in found]


def on_files(files, config):
    """Add `PAGES`, and a page for each file that one of all pages links to."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    for page in [file for file in files if file.is_documentation_page()]:
        text = Path(page.abs_src_path).read_text(encoding="utf-8")
        for target in sorted(set(_targets(text, _home(page)))):
            uri = _page_of(target)
            if uri.startswith("source/") and files.get_file_from_path(uri) is None:
                source = File.generated(config, uri, content=_source_page(target))
                source.inclusion = InclusionLevel.NOT_IN_NAV
                files.append(source)
    return files


def on_page_markdown(markdown, page, config, files):
    """Let links of `page` lead to pages of the site."""
    home, here = _home(page.file), posixpath.dirname(page.file.src_uri)

    def moved(match):
        target, anchor = _target(match[2], home)
        if target is None:
            return match[0]
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which is not there", home, target)
        return f"{match[1]}({posixpath.relpath(_page_of(target), here or '.')}{anchor})"

    return LINK.sub(moved, markdown)


def _home(file):
    """The path of a page's text in the repository."""
    path = Path(file.abs_src_path or "")
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""


def _target(link, home):
    """(path in the repository, #anchor) of a relative link of the file `home`; (None, "") else."""
    path, sign, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:|/", path):
        return None, ""
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(home), path))
    return joined, sign + anchor


def _targets(text, home):
    for match in LINK.finditer(text):
        target, _ = _target(match[2], home)
        if target is not None and (ROOT / target).exists():
            yield target


def _page_of(target):
    """The page or file of the site that shows `target`."""
    if target in PAGES:
        return PAGES[target]
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"source/{target}.md"


def _source_page(target):
    if (ROOT / target).is_dir():
        return _folder_page(target)
    text = (ROOT / target).read_text(encoding="utf-8")
    language = LANGUAGES.get(posixpath.splitext(target)[1], "text")
    return f"# {target}\n\n````{language}\n{text.rstrip()}\n````\n"


def _folder_page(target):
    """Names and first lines of the Python files of a folder."""
    lines = [f"# {target}/", ""]
    for path in sorted((ROOT / target).glob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"* `{path.name}`: {' '.join(said.split(chr(10) + chr(10))[0].split())}")
    return "\n".join(lines) + "\n"
