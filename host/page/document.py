"""The page of a network: its sections, one after the other.

Path("net.html").write_text(page(subject(image, "net.dpnet", size, image.profile)))
"""

from __future__ import annotations

from dpnet.host.page.costs import costs
from dpnet.host.page.details import details
from dpnet.host.page.losses import losses
from dpnet.host.page.markup import element, raw
from dpnet.host.page.overview import footer, network, overview
from dpnet.host.page.style import STYLE
from dpnet.host.page.subject import Subject
from dpnet.host.page.table import layer_table

__all__ = ["page"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""For the browser: nothing is fetched and nothing is run, whatever the page holds."""


def page(about: Subject) -> str:
    """A whole HTML document, which needs no other file and no network.  Every name in it is
    escaped."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{about.name}: what it is on the engine"),
        element("style", raw(STYLE)),
    )
    body = element(
        "body",
        overview(about),
        element(
            "main", network(about), layer_table(about), costs(about), losses(about), details(about)
        ),
        footer(about),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en').text}\n"
