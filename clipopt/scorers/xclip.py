"""X-CLIP: how well a film and a text go together; the score has a gradient in the frames."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.io.folders import at_home
from clipopt.scorers.fingerprint import PROBE_TEXT, fingerprint
from clipopt.scorers.hub import hub_folder, is_hub_id, missing_files, reason, without_bars
from clipopt.scorers.precision import resolve_dtype
from clipopt.scorers.preprocess import ImageSpec, fit, read_image_spec
from clipopt.scorers.tokens import read_in_full, to_the_letter
from clipopt.types import check_images, check_texts


class XClipScorer(nn.Module):
    """A frozen `XCLIPModel`. Made by `load_xclip`.

    It reads a text in the light of the film: texts have no rows of their own, films and texts are scored in pairs.

    Attributes:
        frames: How many frames of a film it takes.
    """

    head: Literal["softmax", "sigmoid"] = "softmax"

    def __init__(self, model: Any, tokenizer: Any, spec: ImageSpec, *, name: str) -> None:
        super().__init__()
        model.eval().requires_grad_(False)
        self.name, self.tokenizer, self.spec = name, to_the_letter(tokenizer), spec
        self.frames = int(model.config.vision_config.num_frames)
        self.context = int(model.config.text_config.max_position_embeddings)
        self.image_size = spec.side
        described = {
            "model": "xclip",
            "image": asdict(spec),
            "frames": self.frames,
            "probe": tokenizer(PROBE_TEXT)["input_ids"],
            "vocabulary": sorted(tokenizer.get_vocab().items()),
        }
        self.fingerprint = fingerprint(described, model.state_dict())
        self.model = model
        self.eval()

    def encode_video(self, films: Float[Tensor, "b f 3 _ _"]) -> Float[Tensor, "b d"]:
        """Unit rows of films of `frames` frames in [0, 1], differentiable in them."""
        features = self.model.get_video_features(self._fitted(films)).pooler_output
        return F.normalize(features.float(), dim=-1)

    def logits(self, films: Float[Tensor, "b f 3 _ _"], texts: Sequence[str]) -> Float[Tensor, "b n"]:
        """How well every text fits every film: scaled cosines of the film with the text as read beside it.

        A text that is too long is cut, with a warning that names what was dropped.
        """
        said = read_in_full(check_texts(texts), self.tokenizer, name=self.name, longest=self.context)
        tokens = self.tokenizer(said, padding=True, truncation=True, max_length=self.context, return_tensors="pt").to(
            self.model.device
        )
        made = self.model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=self._fitted(films),
        )
        scores: Tensor = made.logits_per_video
        return scores.float()

    def _fitted(self, films: Float[Tensor, "b f 3 _ _"]) -> Tensor:
        if films.ndim != 5 or films.shape[1] != self.frames:
            raise ValueError(f"{self.name} takes {self.frames} frames of a film, got the shape {tuple(films.shape)}")
        fitted = fit(check_images(films.flatten(0, 1), "frames", like=self.model.logit_scale), self.spec)
        return fitted.unflatten(0, films.shape[:2]).to(self.model.dtype)


@without_bars()
def load_xclip(spec: str, *, device: str = "cpu", dtype: str = "auto") -> XClipScorer:
    """Load an X-CLIP from its folder or by its id on the hub, such as "microsoft/xclip-base-patch32".

    Raises:
        ValueError: if it is neither, or is not whole.
    """
    import transformers

    local = at_home(spec)
    folder = local if local.is_dir() else hub_folder(spec) if is_hub_id(spec) else None
    if folder is None or (missing := missing_files(folder)):
        lacking = f"{spec} has no {' and no '.join(missing)}" if folder else f"no X-CLIP model {spec!r}"
        raise ValueError(f"{lacking}: expected a whole folder, or a hub id such as microsoft/xclip-base-patch32")
    image_spec = read_image_spec(folder)
    if not isinstance(image_spec, ImageSpec):
        raise ValueError(f"{spec} cuts pictures into patches of its own: expected an X-CLIP model")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.XCLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        scorer = XClipScorer(model, tokenizer, image_spec, name=spec if is_hub_id(spec) else folder.name)
    except Exception as error:  # a folder that is not what it says fails in the ways of several libraries
        raise ValueError(f"cannot load {spec}: {reason(error)}") from error
    scorer.model.to(resolve_dtype("float32" if dtype == "auto" else dtype, device))
    return scorer.to(torch.device(device))
