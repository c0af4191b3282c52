"""The best of each item, and how it becomes a result."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipopt.io import files
from clipopt.params import Strokes
from clipopt.types import Images, PerItem


@dataclass
class Best:
    """Each item at the step where the scorer liked it best.

    Attributes:
        images: The pictures.
        score: What the scorer thought of them.
        step: The number of steps before them.
        parameters: What they were made of, where the result is made of it again; else empty.
    """

    images: Tensor
    score: Tensor
    step: Tensor
    parameters: dict[str, Tensor]

    def update(self, images: Images, score: PerItem, step: int, image: nn.Module) -> None:
        """Keep the items that score higher than ever."""
        better = score > self.score
        self.images[better] = images.detach()[better]
        self.score[better] = score[better]
        self.step[better] = step
        for name, value in image.named_parameters() if self.parameters else ():
            self.parameters[name][better] = value.detach()[better]

    @torch.no_grad()
    def result(
        self, image: nn.Module, size: tuple[int, int] | None, folder: Path, *, transparent: bool = False
    ) -> Images:
        """The pictures, drawn again at `size` (height, width) if there is one; on white if they are `transparent`.

        Curves become SVG files in `folder`, transparent ones also PNG files with an alpha channel.
        """
        if not self.parameters:
            return self.images
        drawn: Any = copy.deepcopy(image)
        drawn.load_state_dict(self.parameters, strict=False)
        if isinstance(drawn, Strokes):
            count = len(self.images)
            for number in range(count):
                name = "result.svg" if count == 1 else f"result-{number:02d}.svg"
                files.write_text(folder / name, drawn.svg(number, ground=not transparent))
            for number, layers in enumerate(drawn.layers(*(size or ())) if transparent else ()):
                files.save(folder / ("cutout.png" if count == 1 else f"cutout-{number:02d}.png"), layers)
        if size is None:
            return self.images
        return drawn.render(*size, ground=torch.ones(1, 3, 1, 1)) if transparent else drawn.render(*size)
