"""Any pipeline of diffusers as a differentiable function of the noise that it starts from."""

import copy
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.utils.checkpoint import checkpoint as recompute

from clipopt.diffusion.chain import Chain, check_scheduler
from clipopt.diffusion.coder import Coder
from clipopt.types import Images, generator

LARGE = 50_000_000
"""Parameters of a denoiser from which on its steps are computed again on the way back, one item at a time."""
_CHAIN = 7  # keeps the noises of a chain apart from the first one
_TRUE_GUIDANCE = 4.0
"""Scale of the classifier-free guidance of pipelines that only have one beside their own; QwenImage's default."""


class Sampler:
    """Samples of a pipeline for prompts with seeds: noise in, pictures out, with a gradient.

    It runs the pipeline's own call, as it is, only with the gradient on. So whatever the pipeline does for a picture
    (text encoders, classifier-free guidance, its scheduler, packing of latents) is done here, too, only no watermark
    is put in. The words are encoded once. Noise that the scheduler draws on the way is the same in every call, and is
    what the pipeline draws from the same generator: its picture is the pipeline's own, bit for bit. The samples of
    large models are made some items at a time, and everything but the latents is computed again on the way back:
    memory is that of one step of these items.

    Args:
        pipe: A pipeline of diffusers that makes pictures of prompts and takes `latents`.
        prompts: What it is told, one for each item.
        seeds: The seed of each item; no neighbour changes what it gives.
        steps: Steps of denoising. None: what the pipeline does by default.
        guidance: Scale of the classifier-free guidance. None: what the pipeline does by default.
        negative: What it is told to avoid. One that hears nothing of it gets a warning: it takes no negative prompt, or
            its scale of guidance is 1 or less. Where it has a `true_cfg_scale` of 1 beside its guidance, as Flux, that
            becomes 4.
        size: Height and width in pixels. None: those of the model.
        at_once: Items that are sampled together. None: all of a small model, one of a large one.
        checkpoint: Whether steps are computed again on the way back. None: those of large models.

    Raises:
        ValueError: If the pipeline makes no pictures of prompts and latents, its scheduler cannot be repeated or knows
            no picture, or there is not one seed for each prompt.
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
        check_scheduler(pipe.scheduler)
        self.pipe, self.prompts, self.seeds = pipe, list(prompts), list(seeds)
        self._upcast = hasattr(pipe, "upcast_vae") and vae.dtype == torch.float16 and vae.config.get("force_upcast")
        self.coder = Coder(_upcast(vae) if self._upcast else vae)
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
        default = takes["num_inference_steps"].default if "num_inference_steps" in takes else 1
        self.steps = default if steps is None else steps
        scale = takes["guidance_scale"].default if "guidance_scale" in takes else 1.0
        self.guidance = float((scale or 1.0) if guidance is None else guidance)
        self._negative = negative if negative and self._hears(negative, takes) else None
        self._words: dict[tuple[int, int, int], Any] = {}
        self._streams: dict[int, tuple[int, Tensor]] = {}  # by item: a draw, and its generator's state after the noise
        self._dtype = torch.float32

    def _hears(self, negative: str, takes: Mapping[str, inspect.Parameter]) -> bool:
        """Whether the pipeline is told what to avoid; warns where it cannot be."""
        if "negative_prompt" not in takes:
            why = "its call takes no negative prompt"
        elif "true_cfg_scale" in takes:
            default = takes["true_cfg_scale"].default
            self._settings["true_cfg_scale"] = default if default and default > 1 else _TRUE_GUIDANCE
            return True
        elif getattr(self.denoiser.config, "time_cond_proj_dim", None) is not None:
            why = "it has no classifier-free guidance"
        elif self.guidance <= 1:
            why = f"its guidance is {self.guidance:g}, and only above 1 there is something to avoid"
        else:
            return True
        name = type(self.pipe).__name__
        warnings.warn(f"{name} does not hear the negative prompt {negative!r}: {why}", UserWarning, stacklevel=3)
        return False

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
                [torch.randn(shape[1:], generator=generator(seed, _CHAIN, draw, step)) for seed in self.seeds[some]]
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
            self._lay_out(scheduler, some, latents)
            a, s = scheduler.start
            latents = a * given + s * noise
        streams = [self._stream(item, draw if chain is None else None) for item in range(some.start, some.stop)]
        with self._prepared(some, scheduler, streams):
            made = self._run(some, latents, streams)
        return made.images.float()

    def _run(self, some: slice, latents: Tensor | None, streams: Sequence[Generator]) -> Any:
        """The pipeline's own call."""
        told: dict[str, Any] = {"prompt": self.prompts[some]}
        if self._negative is not None:
            told["negative_prompt"] = [self._negative] * len(told["prompt"])
        if latents is not None:
            told["latents"] = latents.to(self._dtype)
        return self._call(self.pipe, **told, **self._settings, generator=[*streams])

    @contextmanager
    def _prepared(self, some: slice, scheduler: Chain | None, streams: Sequence[Generator]) -> Iterator[None]:
        """The pipeline as it is run here, and afterwards again as it was."""
        pipe, own = self.pipe, self.pipe.scheduler
        state = {name: getattr(own, name) for name in ("timesteps", "num_inference_steps") if hasattr(own, name)}
        with ExitStack() as stack:
            if self._upcast:
                stack.enter_context(_replaced(pipe, "vae", self.coder.model))
                stack.enter_context(_replaced(pipe, "upcast_vae", lambda: None))
            if getattr(pipe, "watermark", None) is not None:
                stack.enter_context(_replaced(pipe, "watermark", None))
            if getattr(pipe, "encode_prompt", None) is not None:
                stack.enter_context(_replaced(pipe, "encode_prompt", self._remembering(some)))
            if scheduler is not None:
                stack.callback(_restore, own, state)
                stack.enter_context(_replaced(pipe, "scheduler", scheduler))
            elif "generator" in inspect.signature(own.step).parameters:
                stack.enter_context(_replaced(own, "step", _drawing(own.step, streams)))
            if scheduler is not None and scheduler.guide is not None:

                def saw(_: Any, __: Any, output: Any) -> None:
                    scheduler.predicted = output[0].detach()

                stack.callback(self.denoiser.register_forward_hook(saw).remove)
            if self.checkpoint and self.steps > 1:
                forward = self.denoiser.forward

                def again(*args: Any, **named: Any) -> Any:
                    return recompute(forward, *args, use_reentrant=False, preserve_rng_state=False, **named)

                stack.enter_context(_replaced(self.denoiser, "forward", again))
            yield

    def _remembering(self, some: slice) -> Callable[..., Any]:
        """The pipeline's `encode_prompt`, which encodes the words of some items once.

        Some pipelines call it more than once: for the negative prompt, or for a second encoder.
        """
        encode, calls = self.pipe.encode_prompt, iter(range(10**9))

        def remembered(*args: Any, **named: Any) -> Any:
            key = (some.start, some.stop, next(calls))
            if key not in self._words:
                with torch.no_grad():
                    self._words[key] = encode(*args, **named)
            return self._words[key]

        return remembered

    def _lay_out(self, chain: Chain, some: slice, latents: Tensor) -> None:
        """Give a chain its times as the pipeline does, which is stopped as soon as it has."""
        lay_out = chain.set_timesteps

        @functools.wraps(lay_out)
        def caught(*args: Any, **named: Any) -> None:
            lay_out(*args, **named)
            raise _Stopped

        streams = [generator(0)] * (some.stop - some.start)
        with torch.no_grad(), _replaced(chain, "set_timesteps", caught), self._prepared(some, chain, streams):
            try:
                self._run(some, latents, streams)
            except _Stopped:
                return
        raise ValueError(f"{type(self.pipe).__name__} sets no times: it cannot start from a picture")

    def _stream(self, item: int, draw: int | None) -> Generator:
        """The generator of an item as it is when the pipeline has drawn the noise: what the scheduler draws from.

        Args:
            item: Its number.
            draw: Which noise; None: any.
        """
        if item not in self._streams or draw not in (None, self._streams[item][0]):
            self._drawn(item, draw or 0)
        stream = Generator()
        stream.set_state(self._streams[item][1])
        return stream

    @torch.no_grad()
    def _drawn(self, item: int, draw: int) -> Tensor:
        """The noise of one item: the pipeline is stopped as soon as it has drawn it."""
        prepare, found = self.pipe.prepare_latents, []

        def caught(*args: Any, **named: Any) -> Any:
            made = prepare(*args, **named)
            found.append(made[0] if isinstance(made, tuple) else made)
            raise _Stopped

        some, stream = slice(item, item + 1), generator(self.seeds[item], *([draw] if draw else []))
        with suppress(_Stopped), _replaced(self.pipe, "prepare_latents", caught), self._prepared(some, None, [stream]):
            self._run(some, None, [stream])
        if not found:
            raise ValueError(f"{type(self.pipe).__name__} draws no latents: it cannot be optimized")
        self._streams[item] = (draw, stream.get_state())
        self._dtype = found[0].dtype
        scale = float(getattr(self.pipe.scheduler, "init_noise_sigma", 1.0))
        latents: Tensor = found[0].float() / scale
        return latents


class _Stopped(Exception):
    pass


@contextmanager
def _replaced(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Something with another attribute for a while."""
    own = vars(thing).get(name, _Stopped)
    setattr(thing, name, value)
    try:
        yield
    finally:
        if own is _Stopped:
            delattr(thing, name)
        else:
            setattr(thing, name, own)


def _drawing(step: Callable[..., Any], streams: Sequence[Generator]) -> Callable[..., Any]:
    """A scheduler's step that draws from these generators where the pipeline hands it none."""

    @functools.wraps(step)
    def drawing(*args: Any, **named: Any) -> Any:
        return step(*args, **{"generator": [*streams], **named})

    return drawing


def _upcast(coder: Any) -> Any:
    """A float32 copy of a coder that its pipeline brings to float32 and back around each use.

    The way back needs the weights as they were. So the copy passes for the float16 one, and stays as it is.
    """
    kind = type(coder)
    copied = copy.deepcopy(coder).float()
    same = {"dtype": property(lambda _: torch.float16), "to": lambda self, *_, **__: self}
    copied.__class__ = type(kind.__name__, (kind,), same)
    return copied


def _restore(scheduler: Any, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        try:
            setattr(scheduler, name, value)
        except AttributeError:  # a property of it
            continue
