"""Where accuracy is lost: each layer's error, and its part in the result's."""

from __future__ import annotations

from dpnet.host.page.markup import Child, Html, element
from dpnet.host.page.numbers import Axis, decibels, percent
from dpnet.host.page.overview import NO_PROFILE
from dpnet.host.page.rows import Bar, Dots, Kind, bars, dots
from dpnet.host.page.subject import Subject
from dpnet.model.maps.profile.records import Accuracies, LayerProfile, Noise, Profile

__all__ = ["losses"]

RATIOS = (
    Kind("this layer alone, its codebooks", 1, hollow=True),
    Kind("this layer alone, in integers", 1),
    Kind("all up to it, codebooks", 5, hollow=True, square=True),
    Kind("all up to it, in integers", 5, square=True),
)
"""In the order of `_ratios`."""
CAUSED = (Kind("caused by this layer alone", 5),)
RIGHT = (Kind("right", 1),)
LARGEST = 1e9
"""Of shares: an error that is larger has no better bar."""


def losses(about: Subject) -> Html:
    """Accuracies as far as there are labels, errors as far as there is a profile."""
    parts: list[Child] = [element("h2", "Accuracy"), _accuracy(about)]
    if about.profile is None:
        parts.append(element("p", NO_PROFILE))
    else:
        parts += [element("h2", "Where accuracy is lost"), _errors(about, about.profile)]
    return element("section", parts)


def _accuracy(about: Subject) -> Html:
    parts: list[Child] = []
    if about.profile is not None and about.profile.accuracy is not None:
        parts.append(_compiled(about.profile.accuracy))
    if about.measured is not None:
        given = about.measured
        said = f"{given.percent:.2f} %, {given.right:,} of {given.pictures:,}"
        rows = [Bar("integers", "layers", [given.percent], said)]
        parts.append(bars("On the pictures given to this report", "% right", RIGHT, rows, ""))
    if not parts:
        parts.append(
            element(
                "p",
                "No pictures with labels were given. ",
                element("code", "dpnet report IMAGE --input pictures.npy --labels labels.npy"),
                " shows how many the golden model, which the engine equals, has right.",
            )
        )
    return element("div", parts)


def _compiled(found: Accuracies) -> Html:
    counts = (("float", found.floats), ("codebooks", found.codebooks), ("integers", found.integers))
    rows = []
    for name, right in counts:
        share = right / found.pictures
        rows.append(Bar(name, "layers", [100 * share], f"{percent(share, 2)}, {right:,}"))
    title = f"Right answers on {found.pictures:,} pictures, when the network was compiled"
    return bars(title, "% right", RIGHT, rows, "")


def _errors(about: Subject, profile: Profile) -> Html:
    return element(
        "div",
        element(
            "p",
            f"Over {profile.pictures} pictures of the calibration: how much larger the power of a "
            "layer's results is than that of their error against float. 10 dB less is an error of "
            "ten times the power. A layer alone has float inputs (rounded to its integers, where "
            "it is in integers); up to it, all layers before are quantized too.",
            class_="soft",
        ),
        _ratio_rows(about, profile),
        element(
            "p",
            "And what each layer does to the network's result: it alone is in integers, all "
            "others are in float. These errors add up roughly: the layer with the longest bar "
            "costs most.",
            class_="soft",
        ),
        _caused(about, profile),
    )


def _ratio_rows(about: Subject, profile: Profile) -> Html:
    ratios = [_ratios(one.noise) for one in profile.layers]
    known = [value for row in ratios for value in row if value is not None]
    rows = [
        Dots(layer.name, layer.anchor, row, _said(row[3], one.noise))
        for layer, row, one in zip(about.layers, ratios, profile.layers, strict=True)
    ]
    axis = Axis.from_zero(max(known, default=1.0))
    if known and min(known) < 0:
        axis = Axis.over(min(known), max(known))
    return dots("Signal to noise of each layer's results", "dB", RATIOS, rows, axis)


def _ratios(noise: Noise) -> list[float | None]:
    errors = (noise.alone_codebooks, noise.alone, noise.codebooks, noise.integers)
    return [decibels(noise.signal, error) for error in errors]


def _said(ratio: float | None, noise: Noise) -> str:
    if ratio is not None:
        return f"{ratio:.1f} dB"
    return "exact" if not noise.integers else "no signal"


def _caused(about: Subject, profile: Profile) -> Html:
    rows = []
    for layer, one in zip(about.layers, profile.layers, strict=True):
        share = _share(one, profile)
        rows.append(Bar(layer.name, layer.anchor, [100 * share], percent(share, 3)))
    unit = "% of the power of the network's result"
    return bars("Error of the result that each layer causes alone", unit, CAUSED, rows, "")


def _share(one: LayerProfile, profile: Profile) -> float:
    return min(one.noise.output / profile.result, LARGEST) if profile.result else 0.0
