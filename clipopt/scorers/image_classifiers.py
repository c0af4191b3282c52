"""Image classifiers of transformers and timm as scorers: their labels' names are joined to a sentence encoder."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clipopt.scorers.classifier import Classifier
from clipopt.scorers.fingerprint import fingerprint
from clipopt.scorers.hub import CLASSIFIER, missing_files, reason, without_bars
from clipopt.scorers.precision import in_range, resolve_dtype
from clipopt.scorers.preprocess import ImageSpec, fit, read_image_spec, read_normalization
from clipopt.scorers.sentences import load_sentences
from clipopt.scorers.vocabulary import imagenet_names
from clipopt.types import Images

_SUFFIX = "ForImageClassification"
_REFUSED = ("rescale_offset", "do_flip_channel_order")


class ImageClassifier(nn.Module):
    """A frozen classifier of transformers or timm as a `Network`. Made by `load_classifier` and `load_timm`.

    Args:
        model: Returns logits, or an object that has them as `logits`.
        spec: How it wants its pictures.
        classes: How many it knows.
    """

    def __init__(self, model: nn.Module, spec: ImageSpec, classes: int) -> None:
        super().__init__()
        self.model, self.spec, self.image_size = model.eval().requires_grad_(False), spec, spec.side
        heads = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) and m.weight.shape[0] == classes]
        if not heads:
            raise ValueError(f"expected a last layer with an output for each of {classes} classes, found none")
        self._head = [heads[-1]]  # in a list, or it would be registered twice

    def forward(self, images: Images) -> Float[Tensor, "b n"]:
        """Logits of pictures in [0, 1] of any size; differentiable."""
        return in_range(self._logits, images, self._dtype)

    def features(self, images: Images) -> Float[Tensor, "b d"]:
        """What the last layer sees."""
        seen: list[Tensor] = []

        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0].float().flatten(1))

        hook = self._head[0].register_forward_pre_hook(note)
        try:
            self._logits(images)
        finally:
            hook.remove()
        return seen[0]

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def _logits(self, images: Images) -> Tensor:
        made = self.model(fit(images, self.spec).to(self._dtype))
        logits: Tensor = made if isinstance(made, Tensor) else made.logits
        return logits.float()


def is_classifier(folder: Path) -> bool:
    """Whether a folder holds an image classifier of transformers."""
    try:
        listed = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
        return any(str(name).endswith(_SUFFIX) for name in listed)
    except (OSError, ValueError, AttributeError, TypeError):
        return False


@without_bars()
def load_classifier(
    folder: Path, *, name: str | None = None, device: torch.device | str = "cpu", dtype: str = "auto"
) -> Classifier:
    """Read an image classifier of transformers whose labels have names.

    Raises:
        ValueError: something is missing or broken, labels have no names, or the processor does what is not supported.
    """
    name, device = name or folder.name, torch.device(device)
    if missing := missing_files(folder, CLASSIFIER):
        raise ValueError(f"{folder} has no {' and no '.join(missing)}: expected a whole image classifier")
    spec = _image_spec(folder)
    number_format = resolve_dtype(dtype, device)
    import transformers

    try:
        model, report = transformers.AutoModelForImageClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # a folder that is not what it says fails in the ways of several libraries
        raise ValueError(f"cannot load {name}: {reason(error)}") from error
    if report["missing_keys"]:
        keys = sorted(report["missing_keys"])
        raise ValueError(f"the weights of {name} lack {len(keys)} tensors, {keys[0]} first: copy them again")
    labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
    return _scorer(model, spec, labels, name, device, number_format)


@without_bars()
def load_timm(spec: str, *, device: torch.device | str = "cpu", dtype: str = "auto") -> Classifier:
    """An image classifier of timm with its published weights.

    Args:
        spec: Its name, such as "resnet50.a1_in1k", or "hf-hub:OWNER/MODEL", or "local-dir:FOLDER".
        device: Where it computes.
        dtype: What it computes in, see `load_scorer`.

    Raises:
        ValueError: timm is not installed, there is no such model, or nothing tells its labels' names.
    """
    try:
        import timm
        from timm.data import resolve_model_data_config
    except ImportError as error:
        raise ValueError(f"timm:{spec} needs timm: pip install timm") from error
    try:
        model = timm.create_model(spec, pretrained=True)
    except Exception as error:  # a download fails in the ways of half a dozen libraries
        raise ValueError(f"cannot load timm:{spec}: {' '.join(str(error).split())}") from error
    told = resolve_model_data_config(model)
    side = int(told["input_size"][-1])
    squash = told["crop_mode"] == "squash"
    image_spec = ImageSpec(
        size=side if squash else int(side / told["crop_pct"]),
        crop=side,
        resize="squash" if squash else "shortest",
        interpolation="bilinear" if told["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
        halving="even",
    )
    place = torch.device(device)
    return _scorer(model, image_spec, _timm_labels(model, spec), f"timm:{spec}", place, resolve_dtype(dtype, place))


def _timm_labels(model: Any, spec: str) -> Sequence[str | Sequence[str]]:
    """The names of a model's classes, from its configuration or from the ImageNet that it was trained on."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    told = model.pretrained_cfg
    listed = told.get("label_names")
    if listed and len(listed) == model.num_classes:
        further = told.get("label_descriptions") or {}
        return [further.get(label, label) for label in listed]
    subset = infer_imagenet_subset(model)
    if subset in (None, "imagenet-1k") and model.num_classes == 1000:
        return imagenet_names()
    if subset is None:
        raise ValueError(f"timm:{spec} does not tell the names of its {model.num_classes} classes: use another model")
    info = ImageNetInfo(subset)
    return [info.index_to_description(number) for number in range(model.num_classes)]


def _scorer(
    model: nn.Module,
    spec: ImageSpec,
    labels: Sequence[str | Sequence[str]],
    name: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Classifier:
    names = [_names(label) if isinstance(label, str) else tuple(label) for label in labels]
    for number, (first, *_) in enumerate(names):
        if not any(letter.isalpha() for letter in first.removeprefix("LABEL")):
            raise ValueError(f"{name} calls its class {number} {labels[number]!r}: expected a name for each class")
    sentences = load_sentences(device=str(device))
    mark = fingerprint({"image": asdict(spec)}, model.state_dict())
    network = ImageClassifier(model, spec, len(names)).to(dtype)
    return Classifier([network], names, sentences, name=name, networks_fingerprint=mark).to(device)


def _names(label: str) -> tuple[str, ...]:
    """A label's names: those of ImageNet stand in one line, and some data sets have underscores in theirs."""
    each = [name.strip().replace("_", " ") for name in label.split(",")]
    return tuple(dict.fromkeys(name for name in each if name)) or (label,)


def _image_spec(folder: Path) -> ImageSpec:
    """How the classifier wants its pictures, also where its processor names the share that a crop keeps."""
    for file in ("preprocessor_config.json", "processor_config.json"):
        if not (folder / file).is_file():
            continue
        try:
            told = json.loads((folder / file).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"cannot read {folder / file}: {error}") from error
        told = told.get("image_processor", told)
        if refused := [key for key in _REFUSED if told.get(key)]:
            raise ValueError(f"{folder / file} asks for {refused[0]}, which is not supported")
        if isinstance(told.get("size"), int):
            told["size"] = {"shortest_edge": told["size"]}
        if told.get("crop_pct") and "shortest_edge" in (told.get("size") or {}):
            return _cropped(told)
    spec = read_image_spec(folder)
    if not isinstance(spec, ImageSpec):
        raise ValueError(f"{folder} wants pictures of variable size, which no classifier of transformers takes")
    return spec


def _cropped(told: dict[str, Any]) -> ImageSpec:
    """As the processor of ConvNeXT and ResNet does it: from 384 pixels on nothing is cut."""
    side = int(told["size"]["shortest_edge"])
    size = side if side >= 384 else int(side / told["crop_pct"])
    if told.get("do_normalize", True) and not (told.get("image_mean") and told.get("image_std")):
        raise ValueError("the preprocessor_config.json asks to normalize and lacks image_mean or image_std: add them")
    mean, std = read_normalization(told)
    return ImageSpec(
        size=size,
        crop=side,
        resize="squash" if side >= 384 else "shortest",
        interpolation="bilinear" if told.get("resample") == 2 else "bicubic",
        mean=mean,
        std=std,
    )
