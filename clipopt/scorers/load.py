"""One name, one scorer: `load_scorer`."""

from importlib.resources import as_file, files
from pathlib import Path

import torch

from clipopt.io.folders import at_home
from clipopt.scorers.classifier import is_natural, load_natural
from clipopt.scorers.looks import MARK, load_looks
from clipopt.scorers.protocol import Scorer

_EMBEDDED = {
    "embedded": "scorer.safetensors",
    "embedded-judge": "judge.safetensors",
    "embedded-plain": "plain.safetensors",
    "embedded-motion": "motion.safetensors",
    "embedded-motion-judge": "motion-judge.safetensors",
}


def load_scorer(spec: str | Path, *, device: str | torch.device = "cpu", dtype: str = "auto") -> Scorer:
    """The scorer that `spec` names, frozen and ready on `device`.

    Args:
        spec: "embedded", "embedded-judge" or "embedded-plain" (the first before it was hardened: it guides like an
            ordinary CLIP), which come with the package; "embedded-motion" and "embedded-motion-judge", which know
            people and see films; a .safetensors file that `recipes.embedded` wrote; a local
            folder of a transformers CLIP or SigLIP model; or its id on the Hugging Face hub, such as
            "openai/clip-vit-base-patch32". With open_clip installed: "open_clip:NAME/TAG" such as
            "open_clip:ViT-B-32/laion2b_s34b_b79k", "open_clip:NAME/FILE" for a checkpoint file, "open_clip:FOLDER"
            for a folder with an open_clip_config.json, "hf-hub:OWNER/MODEL" for such a folder on the hub. Or the
            folder of an adapter that `clipopt adapt` wrote, which brings its base.
            With clipopt[natural], image classifiers for natural pictures and any English: "natural", "natural-judge"
            for another network, "natural:lite1" or "natural:lite0+lite2" to choose the networks; the folder or the hub
            id of a transformers image classifier whose labels have names, such as "facebook/convnext-tiny-224"; with
            timm installed, too, "timm:NAME" such as "timm:resnet50.a1_in1k", or "timm:hf-hub:OWNER/MODEL".
        device: A torch device, such as "cpu", "cuda" or "mps".
        dtype: What a real model computes in: "float32", "bfloat16", "float16" (for GPUs that lack the latter), or
            "auto" for bfloat16 where that is faster.
            The small scorers always compute in float32.

    Raises:
        ValueError: if `spec` names nothing, or what it names is missing, incomplete or not supported.

    Example:
        >>> scorer = load_scorer("embedded")
        >>> scorer.encode_text(["a red apple"]).shape
        torch.Size([1, 192])
    """
    if not isinstance(spec, str | Path):
        raise TypeError(f'a scorer goes by its name, such as "embedded", got a {type(spec).__name__}')
    spec, device = str(spec), str(device)
    place = _device(device)
    if spec and (at_home(spec) / "adapter.json").is_file():
        from clipopt.scorers.adapted import load_adapted

        return load_adapted(at_home(spec), load_scorer, device=device, dtype=dtype)
    if spec.startswith(("open_clip:", "hf-hub:")) or _is_open_clip(at_home(spec)):
        from clipopt.scorers.openclip import load_open_clip

        return load_open_clip(spec.removeprefix("open_clip:"), device=place, dtype=dtype)
    if is_natural(spec.removesuffix(MARK)):
        if dtype not in ("auto", "float32"):
            raise ValueError(f"{spec} computes in float32, got dtype {dtype!r}: use auto or float32")
        return (load_looks if spec.endswith(MARK) else load_natural)(spec, device=str(place))
    if spec.startswith("timm:"):
        from clipopt.scorers.image_classifiers import load_timm

        return load_timm(spec.removeprefix("timm:"), device=place, dtype=dtype)
    if spec in _EMBEDDED or spec.endswith(".safetensors"):
        return _load_tower(spec, place, dtype)
    from clipopt.scorers.hub import is_hub_id

    if spec and at_home(spec).is_dir():
        return _load_folder(at_home(spec), None, place, dtype)
    if is_hub_id(spec):
        return _load_folder(_downloaded(spec), spec, place, dtype)
    raise ValueError(
        f"unknown scorer {spec!r}: expected embedded, embedded-judge, embedded-plain, natural, natural-judge, a "
        ".safetensors file of `recipes.embedded`, the folder of a CLIP, a SigLIP, an image classifier or an adapter, a "
        "hub id such as openai/clip-vit-base-patch32, one of open_clip's such as open_clip:ViT-B-32/laion2b_s34b_b79k, "
        "or one of timm's such as timm:resnet50.a1_in1k"
    )


def _load_folder(folder: Path, name: str | None, device: torch.device, dtype: str) -> Scorer:
    """The transformers model in `folder`."""
    from clipopt.scorers.huggingface import load_huggingface
    from clipopt.scorers.image_classifiers import is_classifier, load_classifier

    load = load_classifier if is_classifier(folder) else load_huggingface
    return load(folder, name=name, device=device, dtype=dtype)


def _downloaded(spec: str) -> Path:
    """The folder of a model on the hub; of a classifier that is in the cache, no tokenizer is asked for."""
    from huggingface_hub import try_to_load_from_cache

    from clipopt.scorers.hub import CLASSIFIER, TRANSFORMERS, hub_folder
    from clipopt.scorers.image_classifiers import is_classifier

    config = try_to_load_from_cache(spec, "config.json")
    known = isinstance(config, str) and is_classifier(Path(config).parent)
    return hub_folder(spec, CLASSIFIER if known else TRANSFORMERS)


def _is_open_clip(folder: Path) -> bool:
    """Whether only open_clip can read the model in `folder`."""
    return (folder / "open_clip_config.json").is_file() and not (folder / "config.json").is_file()


def _load_tower(spec: str, device: torch.device, dtype: str) -> Scorer:
    from clipopt.scorers.film import is_film_scorer, load_film_scorer
    from clipopt.scorers.tower import load_tower

    if dtype not in ("auto", "float32"):
        raise ValueError(f"the small scorers compute in float32, got dtype {dtype!r}: use auto or float32")
    if spec not in _EMBEDDED:
        read = load_film_scorer if is_film_scorer(at_home(spec)) else load_tower
        return read(at_home(spec), device=str(device))
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
