"""What the folder of a pipeline asks for, checked before anything is loaded: no folder runs code of its own."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)"
    r"(?:\.(?P<kind>\w+))?(?:-\d+-of-\d+)?(?:\.(?P<late>\w+))?\.(?:safetensors|bin)"
)
_NO_CODE = "clipopt never runs code that comes with a model"


def read_settings(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder.

    Raises:
        ValueError: If it cannot be read, or is no object.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object in {path}, got a {type(found).__name__}")
    return found


def pipeline_class(folder: Path, spec: str) -> Any:
    """The pipeline of diffusers that a folder holds, all of whose parts are classes of diffusers or transformers.

    Raises:
        ValueError: If it is another class, or if a part is.
    """
    import diffusers

    index = read_settings(folder / "model_index.json")
    name = index.get("_class_name", "")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(name, str):
        raise ValueError(f"the pipeline {spec} is made by code of its own, {name!r}: {_NO_CODE}")
    if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)):
        raise ValueError(f"{spec} needs diffusers' {name!r}, which diffusers {diffusers.__version__} does not have")
    for part, value in index.items():
        if isinstance(value, list) and value != [None, None]:
            _check_part(folder, spec, part, value)
    return kind


def _check_part(folder: Path, spec: str, part: str, value: list[Any]) -> None:
    names = [part, *value]
    if len(value) != 2 or not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise ValueError(f"the pipeline {spec} has a part {part!r} of {value}: expected a library and a class")
    library, name = value
    if (folder / part / f"{library}.py").is_file() or not _known(library, name):
        raise ValueError(
            f"the pipeline {spec} has a part {part} of {library}.{name}: expected a model, scheduler, tokenizer or "
            f"processor of the installed diffusers or transformers; {_NO_CODE}"
        )


def _known(library: str, name: str) -> bool:
    """Whether a class is a model, scheduler, tokenizer or processor of diffusers or transformers."""
    import diffusers
    import transformers
    from transformers.image_processing_base import ImageProcessingMixin

    if library == "transformers":
        found = getattr(transformers, name, None)
        if found is None:  # an older version's name, such as those that end in Fast: diffusers looks it up there
            return True
    elif library == "diffusers":
        found = getattr(diffusers, name, None)
    elif any(module.name == library and module.ispkg for module in pkgutil.iter_modules(diffusers.pipelines.__path__)):
        found = getattr(importlib.import_module(f"diffusers.pipelines.{library}"), name, None)
    else:
        return False
    models = (diffusers.ModelMixin, diffusers.SchedulerMixin, transformers.PreTrainedModel)
    readers = (transformers.PreTrainedTokenizerBase, transformers.FeatureExtractionMixin, ImageProcessingMixin)
    return isinstance(found, type) and issubclass(found, (*models, *readers, transformers.ProcessorMixin))


def variant_of(files: Iterable[str]) -> str | None:
    """The variant of the weights that must be asked for, such as fp16, because a part has no others.

    Args:
        files: Paths in the folder of a pipeline, such as "unet/diffusion_pytorch_model.fp16.safetensors".
    """
    kinds: dict[str, list[str | None]] = {}
    for file in sorted(files):
        part, _, name = file.rpartition("/")
        if found := _WEIGHTS.fullmatch(name):
            kinds.setdefault(part, []).append(found["kind"] or found["late"])
    only = [each for each in kinds.values() if None not in each]
    return None if not only else "fp16" if "fp16" in only[0] else only[0][0]
