"""One name, one generator: diffusers pipelines and coders from the package, a folder or the Hugging Face hub."""

import hashlib
import logging
import re
import warnings
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch

from clipopt.diffusion.foreign import pipeline_class, read_settings, variant_of
from clipopt.io.folders import at_home

EMBEDDED = "embedded"
"""The name of the generator that comes with the package."""
_CODERS = ("vae", "vqvae", "movq", "vqmodel")


def load_pipeline(spec: str, *, device: str = "cpu", dtype: str = "auto") -> Any:
    """The diffusers pipeline that `spec` names, frozen and ready on `device`.

    No folder runs code of its own: all parts are classes of the installed diffusers and transformers, and weights
    are safetensors, or pickles of which tensors alone are read.

    Args:
        spec: "embedded", the folder of a pipeline (with a model_index.json), or its id on the Hugging Face hub, such
            as "stabilityai/sd-turbo".
        device: A torch device, such as "cpu" or "cuda".
        dtype: "float32", "bfloat16", "float16", or "auto": bfloat16 on GPUs that have it, else float16, and float32
            on CPUs.

    Raises:
        ValueError: If `spec` names nothing, or what it names is missing, incomplete or not supported.
    """
    folder = _folder(spec)
    if not (folder / "model_index.json").is_file():
        raise ValueError(
            f"{spec} holds no diffusers pipeline: expected a folder with a model_index.json; the folder of a coder "
            "alone (AutoencoderKL, VQModel) works with --method latent only"
        )
    number_format = _dtype(dtype, device)
    with _silent():
        kind = pipeline_class(folder, spec)
        without = {"safety_checker": None} if "safety_checker" in _expected(kind) else {}
        read = [path.relative_to(folder) for path in folder.glob("*/*")]
        variant = variant_of(path.as_posix() for path in read if path.parts[0] not in without)
        try:
            pipe = kind.from_pretrained(
                folder, torch_dtype=number_format, local_files_only=True, variant=variant, **without
            )
        except Exception as error:  # a folder that is not what it says fails in the ways of several libraries
            raise ValueError(f"cannot load the pipeline {spec}: {_line(error)}") from error
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False).eval()
    return pipe.to(device)


def load_coder(spec: str, *, device: str = "cpu", dtype: str = "auto") -> Any:
    """The AutoencoderKL, VQModel or other coder of pictures that `spec` names, or that of the pipeline it names.

    Raises:
        ValueError: If `spec` names neither.
    """
    import diffusers

    folder = _folder(spec)
    if (folder / "model_index.json").is_file():
        parts = [folder / name for name in _CODERS if (folder / name / "config.json").is_file()]
        if not parts:
            raise ValueError(f"the pipeline {spec} has no coder of pictures: expected one of {', '.join(_CODERS)}")
        folder = parts[0]
    config = folder / "config.json"
    name = read_settings(config).get("_class_name") if config.is_file() else None
    with _silent():
        kind: Any = getattr(diffusers, name, None) if isinstance(name, str) else None
        models = isinstance(kind, type) and issubclass(kind, diffusers.ModelMixin)
    if not models or not hasattr(kind, "decode"):
        raise ValueError(
            f"{spec} holds no coder of pictures: expected the config.json of a diffusers AutoencoderKL, VQModel or "
            f"another with encode and decode, got {name or 'none'}"
        )
    number_format, variant = _dtype(dtype, device), variant_of(path.name for path in folder.iterdir())
    with _silent():
        try:
            coder = kind.from_pretrained(folder, torch_dtype=number_format, local_files_only=True, variant=variant)
        except Exception as error:
            raise ValueError(f"cannot load the coder {spec}: {_line(error)}") from error
    return coder.requires_grad_(False).eval().to(device)


def holds_pipeline(spec: str) -> bool:
    """Whether `spec` names a whole pipeline, not a coder alone.

    Raises:
        ValueError: If it names neither.
    """
    return (_folder(spec) / "model_index.json").is_file()


def facts_of(spec: str) -> dict[str, Any]:
    """What a generator says of itself in the generator.json of its folder; nothing of one that has none."""
    path = _folder(spec) / "generator.json" if spec == EMBEDDED or at_home(spec).is_dir() else None
    return read_settings(path) if path is not None and path.is_file() else {}


def fingerprint(spec: str) -> str:
    """A short hash of a generator's settings and of the beginnings and sizes of its weights."""
    folder = _folder(spec)
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors", ".bin") and p.is_file()):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(2**20))
    return digest.hexdigest()[:12]


def _folder(spec: str) -> Path:
    if spec == EMBEDDED:
        with as_file(files("clipopt") / "embedded" / "weights" / "generator") as path:
            if not (path / "model_index.json").is_file():
                raise ValueError("this installation lacks the weights of the embedded generator: install clipopt again")
            return path
    if at_home(spec).is_dir():
        return at_home(spec)
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", spec) is None:
        raise ValueError(
            f"unknown generator {spec!r}: expected embedded, the folder of a diffusers pipeline or coder, or its id on "
            "the Hugging Face hub such as stabilityai/sd-turbo"
        )
    return _from_hub(spec)


def _from_hub(spec: str) -> Path:
    import diffusers
    from huggingface_hub import HfApi, constants, get_session, snapshot_download

    try:
        return Path(diffusers.DiffusionPipeline.download(spec, local_files_only=True))
    except Exception:  # not here, or no pipeline: in the ways of several libraries
        try:
            return Path(snapshot_download(spec, local_files_only=True))
        except Exception:
            pass
    elsewhere = f"run `hf download {spec} --local-dir FOLDER` where there is network and use --generator FOLDER"
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError
        get_session().head(constants.ENDPOINT, timeout=4.0)
    except Exception as error:
        raise ValueError(
            f"{spec} is not on this machine and {constants.ENDPOINT} does not answer: {elsewhere}, or use --generator "
            "embedded"
        ) from error
    try:
        try:
            return Path(diffusers.DiffusionPipeline.download(spec, variant=variant_of(HfApi().list_repo_files(spec))))
        except OSError:  # no model_index.json: a coder alone
            return Path(snapshot_download(spec, allow_patterns=["config.json", "*.safetensors"]))
    except Exception as error:
        raise ValueError(f"cannot download {spec}: {_line(error)}") from error


def _expected(kind: Any) -> set[str]:
    import inspect

    return set(inspect.signature(kind.__init__).parameters)


def _dtype(name: str, device: str) -> torch.dtype:
    if name == "auto":
        if torch.device(device).type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ValueError(f"unknown dtype {name!r}: expected auto, {', '.join(known)}")
    return known[name]


class _silent:
    """Keeps diffusers and transformers from talking and asking while they load, and leaves them as they were."""

    def __enter__(self) -> None:
        from diffusers.utils import logging as ours
        from transformers import dynamic_module_utils
        from transformers.utils import logging as theirs

        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.simplefilter("ignore")  # names that change between their versions
        # At 0 they refuse a folder's own code at once; else they ask on stdin whether to run it.
        self.wait, dynamic_module_utils.TIME_OUT_REMOTE_CODE = dynamic_module_utils.TIME_OUT_REMOTE_CODE, 0
        self.before = [(each, each.get_verbosity()) for each in (ours, theirs)]
        self.bars = theirs.is_progress_bar_enabled()
        for each, _ in self.before:
            each.set_verbosity(logging.CRITICAL)  # an error is raised as well
        ours.disable_progress_bar()
        theirs.disable_progress_bar()

    def __exit__(self, *raised: Any) -> None:
        from diffusers.utils import logging as ours
        from transformers import dynamic_module_utils
        from transformers.utils import logging as theirs

        self.warnings.__exit__(*raised)
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = self.wait
        for each, verbosity in self.before:
            each.set_verbosity(verbosity)
        ours.enable_progress_bar()
        if self.bars:
            theirs.enable_progress_bar()


def _line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    if "trust_remote_code" in said:
        return "it brings code of its own, and clipopt never runs code that comes with a model"
    return said[:300] or type(error).__name__
