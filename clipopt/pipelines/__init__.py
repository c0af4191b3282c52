"""Engines that make pictures, meshes, motions and films of text, a call each.

Example:
    >>> import clipopt as co
    >>> pipe = co.pipelines.Image(scorer="embedded", size=64, steps=3, tries=1)
    >>> result = pipe("a red apple", seed=0, quiet=True)
    >>> tuple(result.images.shape)
    (1, 3, 64, 64)
    >>> [progress.done for progress in pipe.steps("a green tree")]
    [1, 2, 3]
"""

from typing import TYPE_CHECKING

from clipopt.pipelines.film.settings import FilmSettings
from clipopt.pipelines.image.settings import ImageSettings
from clipopt.pipelines.latent.settings import LatentSettings
from clipopt.pipelines.mesh.settings import MeshSettings
from clipopt.pipelines.motion.settings import MotionSettings
from clipopt.pipelines.pipeline import Pipeline, Progress, Result

if TYPE_CHECKING:
    from clipopt.pipelines.film.loop import FilmLoop  # noqa: F401 - names in quotes below
    from clipopt.pipelines.image.loop import ImageLoop  # noqa: F401
    from clipopt.pipelines.latent.loop import LatentLoop  # noqa: F401
    from clipopt.pipelines.mesh.loop import MeshLoop  # noqa: F401
    from clipopt.pipelines.motion.loop import MotionLoop  # noqa: F401

__all__ = ["Film", "Image", "Latent", "Mesh", "Motion", "Pipeline", "Progress", "Result"]


class Image(Pipeline["ImageLoop"]):
    """Makes pictures from text, as `clipopt image` does.

    Example:

            pipe = co.pipelines.Image(scorer="embedded")
            result = pipe("a red apple", seed=0)
            result.images        # (1, 3, 256, 256) in [0, 1]
            result.save("apple")
    """

    Settings = ImageSettings


class Latent(Pipeline["LatentLoop"]):
    """Makes pictures with a generator and improves them, as `clipopt latent` does.

    Example:

            pipe = co.pipelines.Latent(generator="embedded", method="noise")
            pipe("a cat on a green background").save("cat")
    """

    Settings = LatentSettings


class Mesh(Pipeline["MeshLoop"]):
    """Makes coloured meshes from text, or changes one, as `clipopt mesh` does.

    Example:

            result = co.pipelines.Mesh(faces=2000)("a red mushroom")
            result.loop.best.meshes[0].vertices
    """

    Settings = MeshSettings


class Motion(Pipeline["MotionLoop"]):
    """Makes a figure do what a sentence says, as `clipopt motion` does.

    Example:

            co.pipelines.Motion(seconds=2.0)("a person waves with the left hand").save("wave")
    """

    Settings = MotionSettings


class Film(Pipeline["FilmLoop"]):
    """Makes a film that goes from prompt to prompt, as `clipopt story` does.

    Example:

            co.pipelines.Film(fps=12.0)("a red apple", "a green tree").save("film")
    """

    Settings = FilmSettings
