"""Every scheduler of a pipeline, those that draw noise on their way too: the same picture, to the bit."""

import inspect
from typing import Any

import diffusers_models as tiny
import pytest
import torch

from clipopt import diffusion
from clipopt.types import generator

PROMPTS, SEEDS = ["a red circle", "a cat"], [3, 4]
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DRAWING = (
    "DDPMScheduler", "DDPMParallelScheduler", "EulerAncestralDiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
    "LCMScheduler", "SASolverScheduler",
)  # fmt: skip
OTHERS = (
    "DDIMScheduler", "DDIMParallelScheduler", "DEISMultistepScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "EDMEulerScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler",
    "IPNDMScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler", "TCDScheduler",
    "UniPCMultistepScheduler",
)  # fmt: skip
# What diffusers itself calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return diffusion.load_pipeline(str(tiny.stable_diffusion(tmp_path_factory.mktemp("sd"))))


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tiny.stable_diffusion_3(tmp_path_factory.mktemp("sd3"), use_dynamic_shifting=True, shift=3.0)
    return diffusion.load_pipeline(str(folder))


def scheduler(name: str, **settings: Any) -> Any:
    import diffusers

    kind = getattr(diffusers, name)
    betas = BETAS if "beta_start" in inspect.signature(kind.__init__).parameters else {}
    return kind(**betas, **settings)


def sampled(pipe: Any, **more: Any) -> diffusion.Sampler:
    return diffusion.Sampler(pipe, PROMPTS, SEEDS, steps=3, guidance=3.0, size=(16, 16), **more)


def own(pipe: Any, *keys: int) -> torch.Tensor:
    return pipe(
        PROMPTS, height=16, width=16, num_inference_steps=3, guidance_scale=3.0, output_type="pt",
        generator=[generator(seed, *keys) for seed in SEEDS],
    ).images  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in (*DRAWING, *OTHERS)),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("PNDMScheduler", {"skip_prk_steps": True}),
    ],
)
def test_the_picture_is_the_pipelines_own_with_the_same_generator(
    sd: Any, monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, Any]
):
    monkeypatch.setattr(sd, "scheduler", scheduler(name, **settings))
    made = sampled(sd)
    noise = made.noise().requires_grad_()
    images = made(noise)
    assert torch.equal(own(sd), images)
    (gradient,) = torch.autograd.grad(images.square().sum(), noise)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).norm(dim=1) > 1e-4).all()


@pytest.mark.parametrize("at_once", [1, 2])
def test_every_draw_is_the_pipelines_own(sd: Any, monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(sd, "scheduler", scheduler("EulerAncestralDiscreteScheduler"))
    made = sampled(sd, at_once=at_once)
    noise = made.noise(5)
    torch.testing.assert_close(made(noise, draw=5), own(sd, 5), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(made(noise, draw=6), own(sd, 5), atol=1e-3)
    torch.testing.assert_close(made(noise, draw=5), own(sd, 5), rtol=1e-4, atol=1e-5)


def test_a_scheduler_that_the_pipeline_hands_no_generator_draws_from_the_seeds(
    sd3: Any, monkeypatch: pytest.MonkeyPatch
):
    drawing = type(sd3.scheduler).from_config(sd3.scheduler.config, stochastic_sampling=True)
    monkeypatch.setattr(sd3, "scheduler", drawing)
    made = sampled(sd3)
    before = torch.random.get_rng_state()
    images = made(made.noise())
    assert torch.equal(images, made(made.noise()))
    assert torch.equal(before, torch.random.get_rng_state())
    alone = diffusion.Sampler(sd3, PROMPTS[1:], SEEDS[1:], steps=3, guidance=3.0, size=(16, 16))
    torch.testing.assert_close(images[1:], alone(alone.noise()), rtol=1e-4, atol=1e-5)


def test_dynamic_shifting_is_the_pipelines_own_also_from_a_given_picture(sd3: Any):
    made = sampled(sd3)
    clean = made.coder.encode(torch.rand(1, 3, 16, 16, generator=generator(2))).repeat(2, 1, 1, 1)
    chain = diffusion.Chain(sd3.scheduler, strength=0.67)
    noise = made.noise()
    images = made(noise, chain=lambda _: chain, given=clean)
    sd3(PROMPTS, height=16, width=16, num_inference_steps=3, output_type="latent")
    sigma = float(sd3.scheduler.sigmas[1])
    assert sigma != pytest.approx(2 / 3, abs=0.05)
    assert chain.start == (pytest.approx(1 - sigma), pytest.approx(sigma))
    assert torch.equal(chain.timesteps, sd3.scheduler.timesteps[1:])
    assert images.isfinite().all()
    whole = made(noise, chain=lambda _: diffusion.Chain(sd3.scheduler))
    torch.testing.assert_close(whole, made(noise), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_predicted_noise_of_pure_noise_is_refused(sd: Any, monkeypatch: pytest.MonkeyPatch, name: str):
    zero = scheduler(name, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    monkeypatch.setattr(sd, "scheduler", zero)
    with pytest.raises(ValueError, match=r"pure noise .*v_prediction"):
        sampled(sd)
    with pytest.raises(ValueError, match=r"pure noise .*v_prediction"):
        diffusion.Chain(zero)
    trained = [0.1] * 999 + [1.0]
    with pytest.raises(ValueError, match="pure noise"):
        diffusion.Chain(scheduler("DDIMScheduler", trained_betas=trained))


def test_velocity_is_predicted_of_pure_noise(sd: Any, monkeypatch: pytest.MonkeyPatch):
    zero = scheduler("DDIMScheduler", rescale_betas_zero_snr=True, timestep_spacing="trailing",
                     prediction_type="v_prediction", clip_sample=False)  # fmt: skip
    monkeypatch.setattr(sd, "scheduler", zero)
    made = sampled(sd)
    noise = made.noise()
    assert made(noise, chain=lambda _: diffusion.Chain(zero)).isfinite().all()
    assert torch.equal(made(noise), own(sd))


def test_a_scheduler_that_draws_from_no_generator_is_refused(sd: Any, monkeypatch: pytest.MonkeyPatch):
    brownian = scheduler("DDIMScheduler")
    brownian.noise_sampler = None  # as those of torchsde have
    monkeypatch.setattr(sd, "scheduler", brownian)
    with pytest.raises(ValueError, match="draws from no generator"):
        sampled(sd)
