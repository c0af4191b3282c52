"""Any pipeline of diffusers as a differentiable function of the noise that it starts from."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from clipopt.diffusion.chain import Chain
from clipopt.diffusion.coder import Coder
from clipopt.types import Images, generator

LARGE = 50_000_000
"""Parameters of a denoiser from which on its steps are computed again on the way back, one item at a time."""
_SAMPLING = 7  # keeps what the scheduler draws apart from the first noise


class Sampler:
    """Samples of a pipeline for prompts with seeds: noise in, pictures out, with a gradient.

    It runs the pipeline's own call, as it is, only with the gradient on. So whatever the pipeline does for a picture
    (text encoders, classifier-free guidance, its scheduler, packing of latents) is done here, too. The words are
    encoded once. Noise that the scheduler draws on the way is the same in every call. The samples of large models are
    made some items at a time, and everything but the latents is computed again on the way back: memory is that of
    one step of these items.

    Args:
        pipe: A pipeline of diffusers that makes pictures of prompts and takes `latents`.
        prompts: What it is told, one for each item.
        seeds: The seed of each item; no neighbour changes what it gives.
        steps: Steps of denoising. None: what the pipeline does by default.
        guidance: Scale of the classifier-free guidance. None: what the pipeline does by default.
        negative: What it is told to avoid, where it has classifier-free guidance.
        size: Height and width in pixels. None: those of the model.
        at_once: Items that are sampled together. None: all of a small model, one of a large one.
        checkpoint: Whether steps are computed again on the way back. None: those of large models.

    Raises:
        ValueError: If the pipeline makes no pictures of prompts and latents, or there is not one seed for each prompt.
    """

    def __init__(
        self,
        pipe: Any,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        negative: str = "",
        size: tuple[int, int] | None = None,
        at_once: int | None = None,
        checkpoint: bool | None = None,
    ) -> None:
        self._call = inspect.unwrap(type(pipe).__call__)
        takes = inspect.signature(self._call).parameters
        self.denoiser: Any = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
        vae = getattr(pipe, "vae", None) or getattr(pipe, "vqvae", None)
        if self.denoiser is None or vae is None or not {"prompt", "latents", "output_type", "generator"} <= {*takes}:
            raise ValueError(
                f"{type(pipe).__name__} cannot be optimized: expected a pipeline with a unet or transformer and a vae, "
                "whose call takes prompt, latents, generator and output_type"
            )
        if len(prompts) != len(seeds) or not prompts:
            raise ValueError(f"expected one seed for each prompt, got {len(prompts)} prompts and {len(seeds)} seeds")
        self.pipe, self.prompts, self.seeds = pipe, list(prompts), list(seeds)
        self.coder = Coder(vae)
        large = sum(p.numel() for p in self.denoiser.parameters()) > LARGE
        self.at_once = at_once or (1 if large else len(prompts))
        self.checkpoint = large if checkpoint is None else checkpoint
        if self.checkpoint:
            for part in (self.denoiser, vae):
                if getattr(part, "_supports_gradient_checkpointing", False):
                    part.enable_gradient_checkpointing()
        settings: dict[str, Any] = {"clean_caption": False, "use_resolution_binning": False, "output_type": "pt"}
        if steps is not None:
            settings["num_inference_steps"] = steps
        if guidance is not None:
            settings["guidance_scale"] = guidance
        if size is not None:
            settings |= {"height": size[0], "width": size[1]}
        if steps is not None and steps != 2:
            settings["intermediate_timesteps"] = None  # which consistency pipelines of two steps have
        self._settings = {name: value for name, value in settings.items() if name in takes}
        self._negative = negative if "negative_prompt" in takes else None
        default = takes["num_inference_steps"].default if "num_inference_steps" in takes else 1
        self.steps = default if steps is None else steps
        scale = takes["guidance_scale"].default if "guidance_scale" in takes else 1.0
        self.guidance = float(scale if guidance is None else guidance)
        self._words: dict[tuple[int, int], Any] = {}
        self._dtype = torch.float32

    @torch.no_grad()
    def noise(self, draw: int = 0) -> Float[Tensor, "b ..."]:
        """The noise of all items, float32, as the pipeline itself draws it from `generator(seed, draw)`.

        The 0-th draw is of `generator(seed)`, so that the pipeline gives the same picture for it.
        """
        drawn = [self._drawn(item, draw) for item in range(len(self.prompts))]
        return torch.cat(drawn).float()

    def fresh(self, shape: torch.Size, some: slice, draw: int) -> Callable[[int], Tensor]:
        """Noises for a `Chain` of some items, by number; each item's from its own seed."""
        device = self.pipe.device

        def number(step: int) -> Tensor:
            return torch.stack(
                [torch.randn(shape[1:], generator=generator(seed, _SAMPLING, draw, step)) for seed in self.seeds[some]]
            ).to(device)

        return number

    def __call__(
        self,
        noise: Float[Tensor, "b ..."],
        *,
        chain: Callable[[slice], Chain] | None = None,
        given: Float[Tensor, "b ..."] | None = None,
        draw: int = 0,
    ) -> Images:
        """Pictures of all items, (b, 3, height, width) in [0, 1], float32.

        Args:
            noise: As `noise` gives it.
            chain: The scheduler for some of the items; None: the pipeline's own.
            given: Clean latents to start from, for a chain whose strength is below 1.
            draw: Which random numbers a scheduler gets that draws some on its way.
        """
        if len(noise) != len(self.prompts):
            raise ValueError(f"expected noise for {len(self.prompts)} items, got {len(noise)}")
        starts = range(0, len(noise), self.at_once)
        parts = []
        for start in starts:
            some = slice(start, min(start + self.at_once, len(noise)))
            clean = None if given is None else given[some]
            again = self.checkpoint and len(starts) > 1 and torch.is_grad_enabled() and noise.requires_grad
            if again and (chain is None or chain(some).guide is None):
                parts.append(recompute(self._some, noise[some], some, chain, clean, draw, use_reentrant=False))
            else:
                parts.append(self._some(noise[some], some, chain, clean, draw))
        return torch.cat(parts)

    def _some(
        self, noise: Tensor, some: slice, chain: Callable[[slice], Chain] | None, given: Tensor | None, draw: int
    ) -> Tensor:
        scheduler = None if chain is None else chain(some)
        latents = noise
        if scheduler is not None and given is not None:
            scheduler.set_timesteps(self.steps)
            a, s = scheduler.start
            latents = a * given + s * noise
        with self._prepared(some, scheduler):
            made = self._call(
                self.pipe, **self._told(some), **self._settings, latents=latents.to(self._dtype),
                generator=[generator(seed, _SAMPLING, draw) for seed in self.seeds[some]],
            )  # fmt: skip
        return made.images.float()

    def _told(self, some: slice) -> dict[str, Any]:
        told: dict[str, Any] = {"prompt": self.prompts[some]}
        if self._negative is not None and self.guidance > 1:
            told["negative_prompt"] = [self._negative] * len(told["prompt"])
        return told

    @contextmanager
    def _prepared(self, some: slice, scheduler: Chain | None) -> Iterator[None]:
        """The pipeline with words that it remembers, perhaps another scheduler, and steps that are computed again."""
        pipe, handle, own = self.pipe, None, self.pipe.scheduler
        key = (some.start, some.stop)
        encode = getattr(pipe, "encode_prompt", None)
        forward = self.denoiser.forward
        state = {name: getattr(own, name) for name in ("timesteps", "num_inference_steps") if hasattr(own, name)}

        def remembered(*args: Any, **named: Any) -> Any:
            if key not in self._words:
                with torch.no_grad():
                    self._words[key] = encode(*args, **named)  # type: ignore[misc]
            return self._words[key]

        if encode is not None:
            pipe.encode_prompt = remembered
        if scheduler is not None:
            pipe.scheduler = scheduler
            if scheduler.guide is not None:

                def saw(_: Any, __: Any, output: Any) -> None:
                    scheduler.predicted = output[0].detach()

                handle = self.denoiser.register_forward_hook(saw)
        if self.checkpoint and self.steps > 1:

            def again(*args: Any, **named: Any) -> Any:
                return recompute(forward, *args, use_reentrant=False, preserve_rng_state=False, **named)

            self.denoiser.forward = again
        try:
            yield
        finally:
            if encode is not None:
                del pipe.encode_prompt
            if scheduler is not None:
                pipe.scheduler = own
                _restore(own, state)
            if handle is not None:
                handle.remove()
            if "forward" in vars(self.denoiser):
                del self.denoiser.forward

    def _drawn(self, item: int, draw: int) -> Tensor:
        """The noise of one item: the pipeline is stopped as soon as it has drawn it."""
        prepare = self.pipe.prepare_latents

        def caught(*args: Any, **named: Any) -> Any:
            made = prepare(*args, **named)
            raise _Drawn(made[0] if isinstance(made, tuple) else made)

        some = slice(item, item + 1)
        keys = (self.seeds[item], draw) if draw else (self.seeds[item],)
        self.pipe.prepare_latents = caught
        try:
            with self._prepared(some, None):
                self._call(self.pipe, **self._told(some), **self._settings, generator=[generator(*keys)])
        except _Drawn as found:
            self._dtype = found.latents.dtype
            scale = float(getattr(self.pipe.scheduler, "init_noise_sigma", 1.0))
            return found.latents.float() / scale
        finally:
            del self.pipe.prepare_latents
            if self.at_once != 1:
                self._words.pop((item, item + 1), None)
        raise ValueError(f"{type(self.pipe).__name__} draws no latents: it cannot be optimized")


class _Drawn(Exception):
    def __init__(self, latents: Tensor) -> None:
        super().__init__()
        self.latents = latents


def _restore(scheduler: Any, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        try:
            setattr(scheduler, name, value)
        except AttributeError:  # a property of it
            continue
