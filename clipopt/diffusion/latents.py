"""Latents and noise as learnable parameters: modules whose `forward()` takes nothing and returns pictures."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from clipopt.diffusion.chain import Chain, stacked
from clipopt.diffusion.coder import Coder
from clipopt.diffusion.sampler import Sampler
from clipopt.types import Images, streams


class Latents(nn.Module):
    """The latents of a coder, of a quantizer with straight-through.

    Args:
        coder: Decodes them.
        height: Of the pictures in pixels; a multiple of the coder's factor.
        width: Likewise.
        rng: One generator for each item, or a single one for a single item.
        init: Pictures (1 or items, 3, height, width) to start from, encoded; None: latents of small noise, of a
            quantizer random codes.
        std: Of the noise without `init`.

    Raises:
        ValueError: If a size is no multiple of the factor, or `init` has another.
    """

    def __init__(
        self,
        coder: Coder,
        height: int,
        width: int,
        *,
        rng: Generator | Sequence[Generator],
        init: Images | None = None,
        std: float = 0.3,
    ) -> None:
        super().__init__()
        rngs = streams(rng)
        if height % coder.factor or width % coder.factor or min(height, width) < 1:
            raise ValueError(f"sides must be multiples of {coder.factor} pixels, got {height} x {width}")
        if init is not None and (init.shape[-2:] != (height, width) or len(init) not in (1, len(rngs))):
            raise ValueError(f"init must hold 1 or {len(rngs)} pictures of {height} x {width}, got {tuple(init.shape)}")
        self.coder = [coder]  # in a list: its weights are no part of the state
        self.bounds = coder.range()
        if init is not None:
            device = next(coder.model.parameters()).device
            start = coder.encode(init.to(device)).repeat(len(rngs) // len(init), 1, 1, 1)
        else:
            shape = (height // coder.factor, width // coder.factor)
            start = torch.stack([_random(coder, shape, each, std) for each in rngs])
        self.latents = nn.Parameter(start.contiguous())
        self.register_buffer("start", start.clone())

    def forward(self) -> Images:
        """The pictures, (items, 3, height, width), values in [0, 1]."""
        return self.coder[0].decode(self.latents)

    def drift(self) -> Tensor:
        """Mean squared distance of each item's latents to where they started: a penalty for VQGAN+CLIP."""
        return (self.latents - self.get_buffer("start")).square().flatten(1).mean(1)

    @torch.no_grad()
    def restart(self, latents: Float[Tensor, "b _ _ _"], items: Bool[Tensor, " b"]) -> None:
        """Begin some of the items at other latents."""
        start = self.get_buffer("start")
        start[items] = latents.to(start)[items]
        self.latents[items] = start[items]

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring the latents of a quantizer back to the range of its codes; others stay as they are."""
        if self.bounds is not None:
            low, high = (bound.to(self.latents) for bound in self.bounds)
            self.latents.copy_(self.latents.clamp(low, high))


def _random(coder: Coder, shape: tuple[int, int], rng: Generator, std: float) -> Tensor:
    if coder.range() is None:
        return std * torch.randn(coder.channels, *shape, generator=rng)
    codes = coder.model.quantize.embedding.weight.detach().float().cpu()
    chosen: Tensor = codes[torch.randint(len(codes), shape, generator=rng)]
    return chosen.permute(2, 0, 1)


class Noise(nn.Module):
    """The noise that a pipeline starts from.

    Args:
        sampler: Makes pictures of it.
        noise: Where to start; None: the sampler's first draw.
        given: Clean latents to start from, as `Coder.encode` gives them; needs `strength` below 1.
        strength: Share of the denoising steps that are taken from there.

    Reference:
        Eyring et al., "ReNO: enhancing one-step text-to-image models through reward-based noise optimization" (2024),
        arXiv:2406.04312. Starts from a picture: Meng et al., "SDEdit" (2021), arXiv:2108.01073.
    """

    def __init__(
        self,
        sampler: Sampler,
        noise: Float[Tensor, "b ..."] | None = None,
        *,
        given: Float[Tensor, "b ..."] | None = None,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        self.sampler = [sampler]
        self.given, self.strength = given, strength
        self.noise = nn.Parameter(sampler.noise() if noise is None else noise.clone())

    def forward(self) -> Images:
        """The pictures, (items, 3, height, width), values in [0, 1]."""
        sampler = self.sampler[0]
        if self.given is None:
            return sampler(self.noise)
        return sampler(
            self.noise, chain=lambda _: Chain(sampler.pipe.scheduler, strength=self.strength), given=self.given
        )


class ChainNoise(nn.Module):
    """All noises of a stochastic chain of denoising steps: the first one, and that of every step.

    Args:
        sampler: Makes pictures of them.
        eta: How stochastic the chain is, above 0 to 1; published: 1.
        given: As of `Noise`.
        strength: Likewise.

    Reference:
        Tang et al., "Inference-time alignment of diffusion models with direct noise optimization" (2024),
        arXiv:2405.18881.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        eta: float = 1.0,
        given: Float[Tensor, "b ..."] | None = None,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < eta <= 1:
            raise ValueError(f"eta must lie above 0 up to 1, got {eta}; with 0 a chain has only one noise: use Noise")
        self.sampler = [sampler]
        self.eta, self.given, self.strength = eta, given, strength
        first = sampler.noise()
        fresh = sampler.fresh(first.shape, slice(0, len(first)), 0)
        # One for each step, though the last may need none: its time can be that of the picture.
        every = torch.stack([first, *(fresh(number) for number in range(sampler.steps))], 1)
        self.noise = nn.Parameter(every.contiguous())

    def forward(self) -> Images:
        """The pictures, (items, 3, height, width), values in [0, 1]."""
        sampler = self.sampler[0]

        def chain(some: slice) -> Chain:
            noises = self.noise[some].transpose(0, 1)[1:]
            return Chain(sampler.pipe.scheduler, eta=self.eta, fresh=stacked(noises), strength=self.strength)

        return sampler(self.noise[:, 0], chain=chain, given=self.given)
