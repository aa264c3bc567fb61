"""Layer by layer and tensor by tensor: weights with their centroids, values with their range."""

from __future__ import annotations

from dpnet.host.page.markup import Child, Html, element
from dpnet.host.page.numbers import decibels, percent, shape_text, short
from dpnet.host.page.plots import row_plot, values_plot, weights_plot
from dpnet.host.page.subject import Layer, Subject
from dpnet.model.maps.calibration.scales import TensorScale
from dpnet.model.maps.layers import MapTensor
from dpnet.model.maps.profile.records import LayerProfile, TensorProfile, Weights

__all__ = ["details"]

LARGEST = 1e300


def details(about: Subject) -> Html:
    """A card for each layer and for each tensor."""
    profiles = about.profile.layers if about.profile else [None] * len(about.layers)
    layers = [_layer(layer, one) for layer, one in zip(about.layers, profiles, strict=True)]
    tensors = [
        _tensor(tensor, about.image.calibration[tensor.name], one)
        for tensor, one in about.tensors()
    ]
    return element(
        "section",
        element("h2", "Weights and their centroids"),
        element(
            "p",
            "Bars are the weights as they were. Of a layer the line is what its codebooks made of "
            "them; each row (output channel) has a codebook of its own, unless there are fewer of "
            "them than rows. Of one row, whose error is the median of all, each centroid has a "
            "stem as high as the number of its weights.",
            class_="soft",
        ),
        layers,
        element("h2", "Values and their ranges"),
        element(
            "p",
            "A tensor's real values over pictures of the calibration, with the ends of its "
            "integers as vertical lines; what lies in the shade saturates. Counts are in a "
            "logarithmic scale.",
            class_="soft",
        ),
        element("div", tensors, class_="cards"),
    )


def _layer(layer: Layer, profile: LayerProfile | None) -> Html:
    shapes = f"{shape_text(layer.reads)} → {shape_text(layer.makes)}"
    parts: list[Child] = [
        element(
            "header",
            element("h3", layer.name),
            element("span", f"{layer.operator}, {shapes}", class_="soft"),
        ),
        element("div", layer.source, class_="source") if layer.source else None,
    ]
    if profile is not None and profile.weights is not None and layer.float_bytes:
        parts += [element("p", _said(profile.weights, layer.k)), _plots(profile.weights, layer)]
    return element("article", parts, class_="card", id=layer.anchor)


def _plots(weights: Weights, layer: Layer) -> Html:
    row = weights.row
    said = f"Row {row.number} of {layer.makes[0]}, {len(row.centroids)} centroids"
    return element(
        "div",
        element("figure", element("figcaption", "All weights"), weights_plot(weights)),
        element("figure", element("figcaption", said), row_plot(row)),
        class_="cards",
    )


def _said(weights: Weights, k: int) -> str:
    books = f"{weights.codebooks:,} codebook{'s' * (weights.codebooks != 1)} of at most {k} values"
    if weights.kept:
        return f"{books}; the weights were on them already and are kept exactly."
    ratio = decibels(weights.power, weights.noise)
    if ratio is None:
        return f"{books}; the weights are exactly on them."
    return f"{books}; the weights are {ratio:.1f} dB above what these change."


def _end(tensor: MapTensor, integer: int) -> float:
    """The value of an integer, of whatever scale a file may have."""
    return max(-LARGEST, min((integer - tensor.zero) * tensor.scale, LARGEST))


def _tensor(tensor: MapTensor, scale: TensorScale, profile: TensorProfile | None) -> Html:
    low, high = (_end(tensor, end) for end in (tensor.low, tensor.high))
    kind = "signed" if tensor.signed else "unsigned"
    saturated = f"{percent(scale.saturated, 3)} of the calibration's values are beyond"
    if profile is not None:
        saturated += f", {percent(profile.saturated, 3)} of the integers saturate"
    lines = [
        f"Seen {short(scale.low)} to {short(scale.high)}; {kind} integers reach {short(low)} to "
        f"{short(high)} in steps of {short(tensor.scale)}: {scale.choice}.",
        f"{saturated}; rounding error {percent(scale.error, 2)} of the values.",
    ]
    return element(
        "article",
        element(
            "header",
            element("h3", tensor.name),
            element("span", shape_text(tensor.shape), class_="soft"),
        ),
        [element("div", line, class_="source") for line in lines],
        element("figure", values_plot(profile.values, low, high)) if profile else None,
        class_="card",
    )
