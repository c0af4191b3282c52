"""The sentences of the embedded world as a grammar that a caption search can fill."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from clipopt.embedded.captions import COUNTS, Scene, caption
from clipopt.embedded.concepts import COLOUR_NAMES, concepts, learnt, things


def _slots() -> dict[str, Sequence[Hashable]]:
    numbers, colours = learnt(), (None, *COLOUR_NAMES)
    return {
        "concept": numbers,
        "other": (None, *numbers),
        "count": (1, *COUNTS),
        "colour": colours,
        "other_colour": colours,
        "relation": (None, "beside", "over"),
        "background": colours,
    }


@dataclass(frozen=True)
class WorldGrammar:
    """What captions of the embedded world say: one, several or two things, colours, an order, a background."""

    slots: Mapping[str, Sequence[Hashable]] = field(default_factory=_slots)

    def scene(self, filled: Mapping[str, Hashable]) -> Scene | None:
        """What is said with these slots filled; None where it contradicts itself."""
        said = {name: value for name, value in filled.items() if value is not None}
        if "concept" not in said:  # a second thing alone is a thing
            if "other" not in said:
                return None
            said["concept"] = said.pop("other")
        pair = "other" in said
        if pair and (said["other"] == said["concept"] or said.get("count", 1) != 1):
            return None
        if not pair and not said.keys().isdisjoint(("other_colour", "relation")):
            return None
        concept = concepts()[cast(int, said["concept"])]
        if said.get("count", 1) != 1 and concept.plural is None:
            return None
        return Scene(**said)  # type: ignore[arg-type]

    def say(self, filled: Mapping[str, Hashable]) -> str | None:
        """The caption with these slots filled."""
        scene = self.scene(filled)
        return None if scene is None else caption(scene)

    def typical(self) -> list[str]:
        """Captions of every thing and every coloured shape: what a picture that nothing is known of may show."""
        first_shape = len(things())
        scenes = [Scene(number) for number in learnt() if number < first_shape]
        scenes += [Scene(number, colour) for number in range(first_shape, len(concepts())) for colour in COLOUR_NAMES]
        return [caption(scene) for scene in scenes]
