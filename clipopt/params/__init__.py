"""What is optimised: modules whose `forward()` takes nothing and returns a scene."""

from clipopt.params.image import Fourier, Phases, Pixels, Pyramid
from clipopt.params.mesh import GivenLook, Jacobians, LargeSteps, NormalField, Surface, Texture, VertexColors, Vertices
from clipopt.params.palette import Palette
from clipopt.params.prior import DeepPrior
from clipopt.params.siren import Siren
from clipopt.params.strokes import Strokes

__all__ = [
    "DeepPrior",
    "Fourier",
    "GivenLook",
    "Jacobians",
    "LargeSteps",
    "NormalField",
    "Palette",
    "Phases",
    "Pixels",
    "Pyramid",
    "Siren",
    "Strokes",
    "Surface",
    "Texture",
    "VertexColors",
    "Vertices",
]
