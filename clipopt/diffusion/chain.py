"""Denoising steps in the open: a scheduler, for any pipeline, that shows and takes every noise, and can be guided."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.types import PerItem

Latents = Float[Tensor, "b ..."]
Energy = Callable[[Latents], PerItem]
"""What a guide makes smaller: clean latents to one number for each item."""
_BLIND = 0.02  # below this share of signal a step knows nothing of the picture, and is not guided


@dataclass(frozen=True)
class Moment:
    """What is known in one step of denoising.

    Attributes:
        sample: The latents, which hold `signal` times a clean picture and `sigma` times noise.
        clean: What the denoiser takes for the clean latents; differentiable in `sample`.
        noise: What it takes for the noise; likewise.
        signal: Share of the picture, 0 to 1.
        sigma: Share of the noise, 0 to 1.
        progress: Share of the steps that are done, 0 to below 1.
        correction: What classifier-free guidance has changed, as noise and for a scale of 1; None without it.
        guidance: Its scale.
    """

    sample: Latents
    clean: Latents
    noise: Latents
    signal: float
    sigma: float
    progress: float
    correction: Latents | None
    guidance: float


Guide = Callable[[Moment], tuple[Latents, Latents, Latents]]
"""Maps a moment to clean latents and noise to go on with, and what is added to the next latents."""


class Chain:
    """DDIM sampling with explicit noises, as a scheduler for pipelines of diffusers; for flow models likewise.

    Args:
        scheduler: The pipeline's own; it says which noise belongs to which time, and what the denoiser predicts.
        eta: 0 is deterministic; 1 has as much noise in every step as the ancestral sampler.
        fresh: Gives the noise of the k-th draw, like the latents; needed where `eta` is above 0 or steps are repeated.
        guide: Changes every step, see `free_dom` and `universal`.
        repeats: How often a step is taken, by the progress 0 to 1; between two times noise is added again.
        strength: Share of the steps that are taken, those with little noise: for a start from a picture.
        guidance: The scale of the pipeline's classifier-free guidance, for the guide.

    Raises:
        ValueError: If the scheduler's noise is not of these kinds, or a number is out of its range.

    Reference:
        Song et al., "Denoising diffusion implicit models" (2020), arXiv:2010.02502, eq. 12 and 16. Repeated steps:
        Lugmayr et al., "RePaint" (2022), arXiv:2201.09865.
    """

    order = 1
    init_noise_sigma = 1.0

    def __init__(
        self,
        scheduler: Any,
        *,
        eta: float = 0.0,
        fresh: Callable[[int], Latents] | None = None,
        guide: Guide | None = None,
        repeats: Callable[[float], int] | None = None,
        strength: float = 1.0,
        guidance: float = 1.0,
    ) -> None:
        if not 0 <= eta <= 1 or not 0 < strength <= 1:
            raise ValueError(f"eta must lie in 0 to 1 and strength above 0 up to 1, got {eta} and {strength}")
        if fresh is None and (eta or repeats is not None):
            raise ValueError("a chain with eta above 0 or repeated steps draws noise: pass fresh=")
        self.flow, self.base = _opened(scheduler)
        self.config = self.base.config
        self.eta, self.fresh, self.guide, self.repeats = eta, fresh, guide, repeats
        self.strength, self.guidance = strength, guidance
        self.predicted: Tensor | None = None  # by the denoiser, as it is before guidance
        self.timesteps: Tensor = torch.zeros(0)

        def set_timesteps(*args: Any, **named: Any) -> None:
            self.base.set_timesteps(*args, **named)
            self._lay_out()

        # Pipelines read the signature, to see what a scheduler takes.
        set_timesteps.__signature__ = inspect.signature(self.base.set_timesteps)  # type: ignore[attr-defined]
        self.set_timesteps = set_timesteps

    def _lay_out(self) -> None:
        times = self.base.timesteps
        if self.flow:
            sigmas = self.base.sigmas.double().tolist()
            levels = [(1 - sigma, sigma) for sigma in sigmas[: len(times)]] + [(1.0, 0.0)]
        else:
            kept = [float(self.base.alphas_cumprod[int(t)]) for t in times] + [float(self.base.final_alpha_cumprod)]
            levels = [(math.sqrt(share), math.sqrt(1 - share)) for share in kept]
        first = len(times) - max(1, round(self.strength * len(times)))
        often = [1] * len(times)
        if self.repeats is not None:
            often = [max(1, self.repeats(number / len(times))) for number in range(len(times))]
        self._path = [number for number in range(first, len(times)) for _ in range(often[number])]
        self._levels, self._count = levels, len(times)
        self.timesteps = times[torch.tensor(self._path, device=times.device)]
        self._at = self._drawn = 0

    @property
    def start(self) -> tuple[float, float]:
        """Shares of picture and noise in the latents that the chain starts from."""
        return self._levels[self._path[0]]

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Nothing: a chain begins where its strength says."""

    def scale_model_input(self, sample: Latents, *_: Any, **__: Any) -> Latents:
        """The latents as they are: this chain keeps them in the denoiser's own scale."""
        return sample

    def step(self, model_output: Latents, timestep: Any, sample: Latents, return_dict: bool = True) -> Any:
        """The latents of the next time, as a tuple with the clean ones, or as an object with `prev_sample`."""
        del timestep  # a repeated time looks alike: the place in the path decides
        number = self._path[self._at]
        again = self._at + 1 < len(self._path) and self._path[self._at + 1] == number
        (a, s), (to_a, to_s) = self._levels[number], self._levels[number + 1]
        x, output = sample.float(), model_output.float()
        clean, noise = self._read(output, x, a, s)
        shift: Tensor | float = 0.0
        if self.guide is not None and a > _BLIND:
            moment = Moment(
                sample, clean, noise, a, s, number / self._count, self._correction(len(x), a, s), self.guidance
            )
            clean, noise, shift = self.guide(moment)
        spread = s * s - (a * to_s / to_a) ** 2  # variance of the noise between the two times
        std = self.eta * to_s / s * math.sqrt(max(spread, 0.0))
        following = to_a * clean + math.sqrt(max(to_s**2 - std**2, 0.0)) * noise + shift
        if std:
            following = following + std * self._draw()
        if again:
            following = a / to_a * following + math.sqrt(max(spread, 0.0)) * self._draw()
        self._at += 1
        if self.guide is not None:
            going_on = self._at < len(self._path)
            following = following.detach().requires_grad_(going_on and torch.is_grad_enabled())
        following = following.to(sample.dtype)
        if not return_dict:
            return following, clean
        from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput

        return DDIMSchedulerOutput(prev_sample=following, pred_original_sample=clean)

    def _draw(self) -> Tensor:
        if self.fresh is None:
            raise RuntimeError("a chain that draws noise was made without fresh")
        self._drawn += 1
        return self.fresh(self._drawn - 1).float()

    def _read(self, output: Tensor, x: Tensor, a: float, s: float) -> tuple[Tensor, Tensor]:
        """The clean latents and the noise that a prediction stands for."""
        kind = "flow" if self.flow else self.config.prediction_type
        if kind == "flow":
            return x - s * output, x + a * output
        if kind == "v_prediction":
            return a * x - s * output, a * output + s * x
        if kind == "sample":
            return output, (x - a * output) / s
        return (x - s * output) / a, output

    def _correction(self, items: int, a: float, s: float) -> Tensor | None:
        seen = self.predicted
        if seen is None or len(seen) != 2 * items:
            return None
        without, told = seen.detach().float().chunk(2)
        kind = "flow" if self.flow else self.config.prediction_type
        return (told - without) * {"flow": a, "v_prediction": a, "sample": -a / s}.get(kind, 1.0)


def _opened(scheduler: Any) -> tuple[bool, Any]:
    """Whether the noise of a scheduler is that of a flow, and a scheduler that tells which it is at each time."""
    from diffusers import DDIMScheduler

    check_scheduler(scheduler)
    config = scheduler.config
    name = type(scheduler).__name__
    if (
        name.startswith("FlowMatch")
        or config.get("use_flow_sigmas")
        or config.get("prediction_type") == "flow_prediction"
    ):
        return True, scheduler
    if config.get("beta_schedule") is None or config.get("prediction_type") not in (
        "epsilon",
        "v_prediction",
        "sample",
    ):
        raise ValueError(
            f"the noise of {name} has no DDIM form: expected a scheduler with a beta_schedule that predicts epsilon, "
            "v_prediction or sample, or one of flow matching; --method noise and best-of-n work with every scheduler"
        )
    return False, DDIMScheduler.from_config(config)


def check_scheduler(scheduler: Any) -> None:
    """Refuse what makes no picture, or never the same one.

    Raises:
        ValueError: If the scheduler begins at pure noise and has the noise predicted, which then says nothing of the
            picture, or if it draws from no generator.
    """
    config, name = scheduler.config, type(scheduler).__name__
    kept = getattr(scheduler, "alphas_cumprod", None)
    pure = config.get("rescale_betas_zero_snr") or (kept is not None and len(kept) and float(kept[-1]) == 0)
    if pure and config.get("prediction_type") == "epsilon":
        raise ValueError(
            f"{name} begins at pure noise (zero terminal signal-to-noise ratio), where predicted noise says nothing of "
            'the picture: expected "prediction_type": "v_prediction" or "sample" in its scheduler_config.json, got '
            '"epsilon", or "rescale_betas_zero_snr": false'
        )
    if hasattr(scheduler, "noise_sampler"):
        raise ValueError(
            f"{name} draws from no generator, so no picture can be made again: use another scheduler, such as "
            "EulerAncestralDiscreteScheduler"
        )


def free_dom(energy: Energy, *, scale: float = 0.2, window: tuple[float, float] = (0.3, 0.7)) -> Guide:
    """Guidance by the gradient at the noisy latents, whose length follows that of classifier-free guidance.

    No scale is tuned by hand: a step moves by `scale` times guidance scale times the root mean square of what
    classifier-free guidance changes, over that of the gradient. Where a pipeline has none, the noise takes its place.

    Args:
        energy: What to make smaller.
        scale: Published: 0.2.
        window: Part of the steps that are guided; published for texts: 0.3 to 0.7.

    Reference:
        Yu et al., "FreeDoM: training-free energy-guided conditional diffusion model" (2023), arXiv:2303.09833.
    """

    def guide(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
        clean, noise = moment.clean.detach(), moment.noise.detach()
        if not window[0] <= moment.progress < window[1]:
            return clean, noise, torch.zeros_like(clean)
        (slope,) = torch.autograd.grad(energy(moment.clean).sum(), moment.sample)
        told = moment.correction if moment.correction is not None else noise
        strength = moment.guidance if moment.correction is not None else 1.0
        length = scale * strength * _rms(told) / _rms(slope.float()).clamp_min(1e-12)
        return clean, noise, -length * slope.float()

    return guide


def universal(energy: Energy, *, forward: float = 1.0, backward: int = 0, rate: float = 0.1) -> Guide:
    """Forward and backward universal guidance.

    Forward: the noise is moved along the gradient at the noisy latents, which is first brought to the length of the
    noise, so that `forward` does not depend on the energy's units. Backward: the clean latents take some steps along
    the gradient at themselves, which costs no pass through the denoiser.

    Args:
        energy: What to make smaller.
        forward: How far the noise moves, in lengths of the noise.
        backward: How many steps the clean latents take.
        rate: Length of each of these, in root mean squares of the latents.

    Reference:
        Bansal et al., "Universal guidance for diffusion models" (2023), arXiv:2302.07121, algorithm 1.
    """

    def guide(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
        noise, x = moment.noise.detach(), moment.sample.detach().float()
        if forward:
            (slope,) = torch.autograd.grad(energy(moment.clean).sum(), moment.sample)
            noise = noise + forward * moment.sigma * slope.float() * _rms(noise) / _rms(slope.float()).clamp_min(1e-12)
        clean = (x - moment.sigma * noise) / moment.signal if forward else moment.clean.detach()
        for _ in range(backward):
            clean = clean.detach().requires_grad_()
            (slope,) = torch.autograd.grad(energy(clean).sum(), clean)
            clean = clean.detach() - rate * slope * _rms(clean.detach()) / _rms(slope).clamp_min(1e-12)
        if backward:
            noise = (x - moment.signal * clean) / moment.sigma
        return clean, noise, torch.zeros_like(clean)

    return guide


def _rms(values: Tensor) -> Tensor:
    """The root mean square of each item, to multiply it with."""
    return values.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (values.ndim - 1))


def stacked(noises: Float[Tensor, "k b ..."]) -> Callable[[int], Latents]:
    """Noises for `Chain(fresh=...)`, the k-th being the k-th row."""
    return lambda number: noises[number]


def in_turn(numbers: Sequence[int], often: int) -> Callable[[float], int]:
    """How often a step is taken for `Chain(repeats=...)`: `often` where the progress lies between two percentages."""
    low, high = numbers
    return lambda progress: often if low <= 100 * progress < high else 1
