"""The solid things of the embedded world: each composed of simple forms, in natural colours."""

from collections.abc import Callable

from clipopt.embedded.models.creatures import CREATURES
from clipopt.embedded.models.food import FOOD
from clipopt.embedded.models.household import HOUSEHOLD
from clipopt.embedded.models.objects import FORMS, OBJECTS
from clipopt.embedded.models.outdoors import OUTDOORS
from clipopt.embedded.models.vehicles import VEHICLES
from clipopt.geometry.mesh import Mesh

MODELS: dict[str, Callable[[], Mesh]] = FORMS | HOUSEHOLD | OBJECTS | OUTDOORS | FOOD | CREATURES | VEHICLES
"""What makes each thing, by its noun."""
