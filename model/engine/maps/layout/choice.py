"""A dispatch for each pass and a form for each map that fit each other."""

from __future__ import annotations

from collections.abc import Sequence

from dpnet.model.engine.maps.dispatch import Dispatch
from dpnet.model.engine.maps.layout.forms import Form, find_form
from dpnet.model.engine.maps.layout.search import best_ways
from dpnet.model.engine.maps.layout.steps import Key, Step
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.maps.layers import MapNetwork

__all__ = ["Choice"]


class Choice:
    """The ways of least cycles for all passes together, as far as pitches tell; where a map then
    has no form, as it may with several writers, the pass that loses least takes its next way."""

    def __init__(
        self, params: MapEngineParameters, network: MapNetwork, steps: Sequence[Step]
    ) -> None:
        self.params, self.network, self.steps = params, network, steps
        self.left = best_ways(params, network, steps)
        self.users: dict[Key, list[int]] = {}
        for n, step in enumerate(steps):
            for key in step.keys:
                self.users.setdefault(key, []).append(n)

    def made(self) -> tuple[list[Dispatch], dict[Key, Form]]:
        forms: dict[Key, Form] = {}
        open_keys = list(self.users)
        while open_keys:
            key = open_keys[0]
            form = self._form(key)
            if form is not None:
                forms[key] = form
                open_keys.pop(0)
                continue
            n = min((n for n in self.users[key] if len(self.left[n]) > 1), key=self._loss)
            self.left[n].pop(0)
            # Their forms were found for the dispatch that was given up.
            again = set(self.steps[n].keys) & forms.keys()
            open_keys += [other for other in forms if other in again]
            forms = {other: form for other, form in forms.items() if other not in again}
        return [ways[0].dispatch for ways in self.left], forms

    def _loss(self, n: int) -> int:
        """Cycles that the pass loses with its next dispatch."""
        first, second = self.left[n][:2]
        return second.cycles - first.cycles

    def _form(self, key: Key) -> Form | None:
        tensor = self.network.tensor(key[0])
        users = [
            user
            for n in self.users[key]
            for user in self.steps[n].users(key, self.left[n][0].dispatch)
        ]
        return find_form(key[0], tensor.shape, key[1], self.params.clusters, users)
