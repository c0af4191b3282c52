"""Pipelines of the real classes become functions of their noise: the same pictures, exact gradients, no coupling."""

from pathlib import Path
from typing import Any

import diffusers_models as tiny
import pytest
import torch

from clipopt import diffusion
from clipopt.types import generator

PROMPTS, SEEDS, SIZE = ["a red circle", "a cat"], [3, 4], (16, 16)
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sd": (tiny.stable_diffusion, {"steps": 2, "guidance": 5.0}),
    "sd turbo": (lambda folder: tiny.stable_diffusion(folder, turbo=True), {"steps": 1, "guidance": 0.0}),
    "sdxl turbo": (tiny.stable_diffusion_xl, {"steps": 1, "guidance": 0.0}),
    "flux": (tiny.flux, {"steps": 2, "guidance": 0.0}),
    "pixart": (tiny.pixart, {"steps": 2, "guidance": 4.0}),
}


# What diffusers itself calls outdated.
OLD = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, dict[str, Any]]:
    make, settings = KINDS[request.param]
    folder = make(tmp_path_factory.mktemp("pipeline"))
    return request.param, diffusion.load_pipeline(str(folder)), settings


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return diffusion.load_pipeline(str(tiny.stable_diffusion(tmp_path_factory.mktemp("sd"))))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return diffusion.load_pipeline(str(tiny.stable_diffusion_xl(tmp_path_factory.mktemp("sdxl"))))


def sampler(pipe: Any, settings: dict[str, Any], **more: Any) -> diffusion.Sampler:
    return diffusion.Sampler(pipe, PROMPTS, SEEDS, size=SIZE, **settings, **more)


@OLD
def test_the_pictures_are_those_of_the_pipeline_itself_and_every_noise_learns(kind: tuple[str, Any, dict[str, Any]]):
    name, pipe, settings = kind
    noise = diffusion.Noise(sampler(pipe, settings))
    images = noise()
    more = {"use_resolution_binning": False, "clean_caption": False} if name == "pixart" else {}
    own = pipe(
        PROMPTS, height=16, width=16, num_inference_steps=settings["steps"], guidance_scale=settings["guidance"],
        generator=[generator(seed) for seed in SEEDS], output_type="pt", **more,
    ).images  # fmt: skip
    assert torch.equal(own, images)
    images.square().sum().backward()
    assert (noise.noise.grad.flatten(1).norm(dim=1) > 1e-3).all()
    assert "encode_prompt" not in vars(pipe)
    assert "prepare_latents" not in vars(pipe)


@OLD
def test_memory_is_bounded_by_one_item_and_one_step_and_nothing_else_changes(kind: tuple[str, Any, dict[str, Any]]):
    _, pipe, settings = kind
    gradients = []
    for more in ({"at_once": 2, "checkpoint": False}, {"at_once": 1, "checkpoint": True}):
        noise = diffusion.Noise(sampler(pipe, settings, **more))
        images = noise()
        images.square().sum().backward()
        gradients.append((images.detach(), noise.noise.grad))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
    assert "forward" not in vars(pipe.components.get("unet") or pipe.transformer)


def test_no_neighbour_changes_what_an_item_gives(sd: Any):
    both = sampler(sd, {"steps": 2, "guidance": 3.0})
    alone = diffusion.Sampler(sd, PROMPTS[1:], SEEDS[1:], size=SIZE, steps=2, guidance=3.0)
    assert torch.equal(both.noise()[1:], alone.noise())
    torch.testing.assert_close(both(both.noise())[1:], alone(alone.noise()), rtol=1e-4, atol=1e-5)
    assert not torch.equal(both.noise(0), both.noise(1))


def test_the_words_are_encoded_once(sd: Any, monkeypatch: pytest.MonkeyPatch):
    calls = []
    encode = type(sd).encode_prompt
    monkeypatch.setattr(type(sd), "encode_prompt", lambda *a, **k: calls.append(1) or encode(*a, **k))
    made = sampler(sd, {"steps": 1, "guidance": 2.0})
    made(made.noise())
    once = len(calls)
    assert once == 3  # each prompt's for its noise, both for the batch
    for draw in range(3):
        made(made.noise(draw), draw=draw)
    assert len(calls) == once


def test_a_chain_without_noise_is_ddim_and_with_it_what_diffusers_draws(sd: Any):
    scheduler = type(sd.scheduler).from_config(sd.scheduler.config)
    noises = [torch.randn(2, 4, 8, 8, generator=generator(1, k)) for k in range(4)]
    for eta in (0.0, 1.0):
        chain = diffusion.Chain(sd.scheduler, eta=eta, fresh=lambda k: noises[k])
        chain.set_timesteps(3)
        scheduler.set_timesteps(3)
        assert torch.equal(chain.timesteps, scheduler.timesteps)
        ours = theirs = torch.randn(2, 4, 8, 8, generator=generator(0))
        for k, t in enumerate(scheduler.timesteps):
            output = 0.3 * ours.sin()
            theirs = scheduler.step(0.3 * theirs.sin(), t, theirs, eta=eta, variance_noise=noises[k]).prev_sample
            ours = chain.step(output, t, ours).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_chain_of_a_flow_takes_its_euler_steps():
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    chain = diffusion.Chain(FlowMatchEulerDiscreteScheduler(shift=2.0))
    chain.set_timesteps(4)
    scheduler.set_timesteps(4)
    ours = theirs = torch.randn(1, 4, 4, 4, generator=generator(0))
    for t in scheduler.timesteps:
        theirs = scheduler.step(theirs.cos(), t, theirs).prev_sample
        ours = chain.step(ours.cos(), t, ours).prev_sample
    torch.testing.assert_close(ours, theirs)


def test_every_noise_of_a_chain_learns_and_repeated_steps_add_noise_again(sd: Any):
    chain = diffusion.ChainNoise(sampler(sd, {"steps": 3, "guidance": 2.0}))
    chain().square().sum().backward()
    assert chain.noise.shape == (2, 4, 4, 8, 8)
    assert (chain.noise.grad.flatten(2).norm(dim=2) > 1e-4).all()
    drawn = []

    def fresh(number: int) -> torch.Tensor:
        drawn.append(number)
        return torch.randn(1, 4, 8, 8, generator=generator(number))

    twice = diffusion.Chain(sd.scheduler, fresh=fresh, repeats=lambda progress: 2 if progress == 0 else 1)
    twice.set_timesteps(3)
    assert len(twice.timesteps) == 4
    x = torch.zeros(1, 4, 8, 8)
    for t in twice.timesteps:
        x = twice.step(torch.zeros_like(x), t, x).prev_sample
    assert drawn == [0]


@pytest.mark.parametrize("make", [diffusion.free_dom, diffusion.universal])
def test_guidance_lowers_the_energy(sd: Any, make: Any):
    wish = torch.randn(2, 4, 8, 8, generator=generator(5))

    def energy(latents: torch.Tensor) -> torch.Tensor:
        return (latents - wish).square().flatten(1).mean(1)

    def end(guide: Any) -> torch.Tensor:
        chain = diffusion.Chain(sd.scheduler, guide=guide)
        chain.set_timesteps(8)
        x = torch.randn(2, 4, 8, 8, generator=generator(0)).requires_grad_()
        for t in chain.timesteps:
            x = chain.step(0.9 * x + 0.1 * x.sin(), t, x).prev_sample
        return energy(x.detach())

    options = {"scale": 1.0, "window": (0.0, 1.0)} if make is diffusion.free_dom else {"forward": 0.3, "backward": 1}
    assert (end(make(energy, **options)) < 0.9 * end(None)).all()


def test_a_guide_sees_what_guidance_corrects_and_leaves_no_graph(sd: Any):
    made, seen = sampler(sd, {"steps": 3, "guidance": 3.0}), []

    def guide(moment: Any) -> Any:
        seen.append(moment)
        (slope,) = torch.autograd.grad(moment.clean.square().sum(), moment.sample)
        assert float(slope.abs().max()) > 0
        return moment.clean.detach(), moment.noise.detach(), torch.zeros_like(moment.clean)

    noise = made.noise().requires_grad_()
    chain = diffusion.Chain(sd.scheduler, guide=guide, guidance=3.0)
    images = made(noise, chain=lambda _: chain)
    assert not images.requires_grad
    torch.testing.assert_close(images, made(noise.detach(), chain=lambda _: diffusion.Chain(sd.scheduler)))
    assert [round(m.progress, 2) for m in seen] == [0, 0.33, 0.67]
    for moment in seen:
        assert float(moment.correction.abs().max()) > 0
        assert moment.signal**2 + moment.sigma**2 == pytest.approx(1)


def test_a_start_from_a_picture_keeps_more_of_it_the_less_is_denoised(sd: Any):
    made = sampler(sd, {"steps": 8, "guidance": 1.0})
    picture = torch.rand(1, 3, 16, 16, generator=generator(2))
    clean = made.coder.encode(picture).repeat(2, 1, 1, 1)
    kept = made.coder.decode(clean)
    far = [float((diffusion.Noise(made, given=clean, strength=s)() - kept).abs().mean().detach()) for s in (0.125, 1.0)]
    assert far[0] < 0.7 * far[1]


def test_what_cannot_be_optimized_is_said(sd: Any, tmp_path: Path):
    from diffusers import EDMEulerScheduler

    with pytest.raises(ValueError, match="no DDIM form"):
        diffusion.Chain(EDMEulerScheduler())
    with pytest.raises(ValueError, match="one seed for each prompt"):
        diffusion.Sampler(sd, ["a cat"], [1, 2])
    with pytest.raises(ValueError, match=r"model_index\.json"):
        diffusion.load_pipeline(str(tmp_path))
    with pytest.raises(ValueError, match="unknown generator"):
        diffusion.load_pipeline("no such thing")
    tiny.kl_coder().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="coder"):
        diffusion.load_pipeline(str(tmp_path))
    assert diffusion.load_coder(str(tmp_path)).config["latent_channels"] == 4


@OLD
def test_a_coder_that_is_cast_there_and_back_in_float16_has_a_gradient(sdxl: Any):
    half = diffusion.load_pipeline(str(sdxl.name_or_path), dtype="float16")
    half.vae.register_to_config(force_upcast=True)
    made = sampler(half, {"steps": 1, "guidance": 0.0})
    noise = made.noise().requires_grad_()
    images = made(noise)
    images.square().sum().backward()
    assert noise.grad.isfinite().all()
    assert (noise.grad.flatten(1).norm(dim=1) > 1e-3).all()
    own = half(
        PROMPTS, height=16, width=16, num_inference_steps=1, guidance_scale=0.0, output_type="pt",
        generator=[generator(seed) for seed in SEEDS],
    ).images  # fmt: skip
    assert torch.equal(own.float(), images)
    assert half.vae.dtype == torch.float16
    made.coder.decode(torch.randn(1, 4, 8, 8, generator=generator(0)).requires_grad_()).sum().backward()


@OLD
def test_the_scorer_sees_no_watermark(sdxl: Any, monkeypatch: pytest.MonkeyPatch):
    class Watermark:
        def apply_watermark(self, images: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(images.numpy())

    settings = {"steps": 1, "guidance": 0.0}
    plain = diffusion.Noise(sampler(sdxl, settings))()
    mark = Watermark()
    monkeypatch.setattr(sdxl, "watermark", mark)
    noise = diffusion.Noise(sampler(sdxl, settings))
    images = noise()
    images.sum().backward()
    assert float(noise.noise.grad.abs().max()) > 0
    assert torch.equal(images, plain)
    assert sdxl.watermark is mark


@OLD
def test_a_negative_prompt_is_heard_or_said_to_be_unheard(sd: Any, sdxl: Any, tmp_path: Path):
    kept = sampler(sd, {"steps": 2, "guidance": 4.0})
    told = sampler(sd, {"steps": 2, "guidance": 4.0}, negative="blue")
    assert not torch.allclose(kept(kept.noise()), told(told.noise()), atol=1e-4)
    with pytest.warns(UserWarning, match="does not hear the negative prompt 'blue': its guidance is 0"):
        sampler(sdxl, {"steps": 1, "guidance": 0.0}, negative="blue")
    sampler(sdxl, {"steps": 1, "guidance": 0.0})  # with none, nothing is said
    flux = diffusion.load_pipeline(str(tiny.flux(tmp_path)))
    settings = {"steps": 2, "guidance": 0.0}
    told = sampler(flux, settings, negative="blue circle")
    own = flux(
        PROMPTS, negative_prompt=["blue circle"] * 2, true_cfg_scale=4.0, height=16, width=16, num_inference_steps=2,
        guidance_scale=0.0, output_type="pt", generator=[generator(seed) for seed in SEEDS],
    ).images  # fmt: skip
    assert torch.equal(own, told(told.noise()))
    assert not torch.allclose(own, sampler(flux, settings)(told.noise()), atol=1e-4)


def test_a_pipeline_that_takes_no_negative_prompt_says_so(sd: Any, monkeypatch: pytest.MonkeyPatch):
    def call(self: Any, prompt: Any, latents: Any, generator: Any, output_type: Any) -> None: ...

    monkeypatch.setattr(type(sd), "__call__", call)
    with pytest.warns(UserWarning, match="its call takes no negative prompt"):
        diffusion.Sampler(sd, PROMPTS, SEEDS, negative="blue")
