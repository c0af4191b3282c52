"""The solid things of the embedded world: each composed of simple forms, in natural colours."""

from collections.abc import Callable

from clipopt.geometry.mesh import Mesh
from recipes.embedded.props.creatures import CREATURES
from recipes.embedded.props.food import FOOD
from recipes.embedded.props.household import HOUSEHOLD
from recipes.embedded.props.objects import FORMS, OBJECTS
from recipes.embedded.props.outdoors import OUTDOORS
from recipes.embedded.props.vehicles import VEHICLES

MODELS: dict[str, Callable[[], Mesh]] = FORMS | HOUSEHOLD | OBJECTS | OUTDOORS | FOOD | CREATURES | VEHICLES
"""What makes each thing, by its noun."""
