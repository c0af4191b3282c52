"""One name, one scorer: `load_scorer`."""

from importlib.resources import as_file, files
from pathlib import Path

import torch

from clipopt.scorers.classifier import is_natural, load_natural
from clipopt.scorers.protocol import Scorer

_EMBEDDED = {
    "embedded": "scorer.safetensors",
    "embedded-judge": "judge.safetensors",
    "embedded-plain": "plain.safetensors",
    "embedded-motion": "motion.safetensors",
    "embedded-motion-judge": "motion-judge.safetensors",
}


def load_scorer(spec: str, *, device: str = "cpu", dtype: str = "auto") -> Scorer:
    """The scorer that `spec` names, frozen and ready on `device`.

    Args:
        spec: "embedded", "embedded-judge" or "embedded-plain" (the first before it was hardened: it guides like an
            ordinary CLIP), which come with the package; "embedded-motion" and "embedded-motion-judge", which know
            people and see films; a .safetensors file that `clipopt train` wrote; a local
            folder of a transformers CLIP or SigLIP model; or its id on the Hugging Face hub, such as
            "openai/clip-vit-base-patch32". With open_clip installed: "open_clip:NAME/TAG" such as
            "open_clip:ViT-B-32/laion2b_s34b_b79k", "open_clip:NAME/FILE" for a checkpoint file, "open_clip:FOLDER"
            for a folder with an open_clip_config.json, "hf-hub:OWNER/MODEL" for such a folder on the hub. Or the
            folder of an adapter that `clipopt adapt` wrote, which brings its base. "natural", with clipopt[natural],
            for natural pictures and any English, "natural-judge" for another network of the same kind.
        device: A torch device, such as "cpu", "cuda" or "mps".
        dtype: What a real model computes in: "float32", "bfloat16", "float16" (for GPUs that lack the latter), or
            "auto" for bfloat16 where that is faster.
            The small scorers always compute in float32.

    Raises:
        ValueError: if `spec` names nothing, or what it names is missing, incomplete or not supported.
    """
    place = _device(device)
    if spec and (Path(spec).expanduser() / "adapter.json").is_file():
        from clipopt.scorers.adapted import load_adapted

        return load_adapted(Path(spec).expanduser(), device=device, dtype=dtype)
    if spec.startswith(("open_clip:", "hf-hub:")) or _is_open_clip(Path(spec).expanduser()):
        from clipopt.scorers.openclip import load_open_clip

        return load_open_clip(spec.removeprefix("open_clip:"), device=place, dtype=dtype)
    if is_natural(spec):
        return load_natural(spec, device=str(place))
    if spec in _EMBEDDED or spec.endswith(".safetensors"):
        return _load_tower(spec, place, dtype)
    from clipopt.scorers.hub import hub_folder, is_hub_id
    from clipopt.scorers.huggingface import load_huggingface

    if spec and Path(spec).expanduser().is_dir():
        return load_huggingface(Path(spec).expanduser(), device=place, dtype=dtype)
    if is_hub_id(spec):
        return load_huggingface(hub_folder(spec), name=spec, device=place, dtype=dtype)
    raise ValueError(
        f"unknown scorer {spec!r}: expected embedded, embedded-judge, embedded-plain, natural, natural-judge, a "
        ".safetensors file from `clipopt train`, the folder of a CLIP or SigLIP model or of an adapter, a hub id such "
        "as openai/clip-vit-base-patch32, or one of open_clip's such as open_clip:ViT-B-32/laion2b_s34b_b79k"
    )


def _is_open_clip(folder: Path) -> bool:
    """Whether only open_clip can read the model in `folder`."""
    return (folder / "open_clip_config.json").is_file() and not (folder / "config.json").is_file()


def _load_tower(spec: str, device: torch.device, dtype: str) -> Scorer:
    from clipopt.scorers.film import is_film_scorer, load_film_scorer
    from clipopt.scorers.tower import load_tower

    if dtype not in ("auto", "float32"):
        raise ValueError(f"the small scorers compute in float32, got dtype {dtype!r}: use auto or float32")
    if spec not in _EMBEDDED:
        read = load_film_scorer if is_film_scorer(Path(spec).expanduser()) else load_tower
        return read(Path(spec).expanduser(), device=str(device))
    with as_file(files("clipopt") / "embedded" / "weights" / _EMBEDDED[spec]) as path:
        if not path.is_file():
            raise ValueError(f"this installation lacks {_EMBEDDED[spec]}, the weights of {spec}: install clipopt again")
        read = load_film_scorer if "motion" in spec else load_tower
        return read(path, name=spec, device=str(device))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"cannot use device {name!r}: {reason}") from error
    return device
