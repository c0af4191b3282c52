"""The models that settings name, loaded once each, and objects that a caller brings."""

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from clipopt.scorers import Scorer


class Models:
    """Loads scorers and generators by their names, each once for a device; knows those that it is given.

    Example:
        >>> from clipopt.pipelines.models import Models
        >>> models = Models()
        >>> models.scorer("embedded", "cpu") is models.scorer("embedded", "cpu")
        True
    """

    def __init__(self) -> None:
        self._scorers: dict[tuple[str, str], Scorer] = {}
        self._given: dict[str, Any] = {}
        self._generators: dict[tuple[str, ...], Any] = {}

    def name_of(self, model: Any) -> Any:
        """The name that stands for a model in settings: its own, or the given text itself."""
        if isinstance(model, str):
            return model
        name = getattr(model, "name", None) or getattr(model, "name_or_path", None) or type(model).__name__
        name = str(name)
        while self._given.get(name, model) is not model:
            name += "'"
        self._given[name] = model
        return name

    def scorer(self, name: str, device: "str | torch.device") -> "Scorer":
        """The scorer of that name.

        Raises:
            ValueError: there is none.
        """
        from clipopt.scorers import load_scorer

        if name in self._given:
            given: Scorer = self._given[name]
            return given
        key = (name, str(device))
        if key not in self._scorers:
            self._scorers[key] = load_scorer(name, device=str(device))
        return self._scorers[key]

    def judge(self, name: str, device: "str | torch.device") -> "Scorer | None":
        """The judge of that name; None for "none"."""
        return None if name == "none" else self.scorer(name, device)

    def generator(self, name: str, *, alone: bool, device: str, dtype: str) -> Any:
        """The pipeline of that name, or its coder where that is all there is.

        Args:
            name: As `clipopt.diffusion.load.load_pipeline` takes it.
            alone: Whether a coder alone is enough.
            device: Where.
            dtype: What it computes in.
        """
        from clipopt.diffusion.load import holds_pipeline, load_coder, load_pipeline

        if name in self._given:
            return self._given[name]
        key = (name, str(alone), device, dtype)
        if key not in self._generators:
            load = load_coder if alone and not holds_pipeline(name) else load_pipeline
            self._generators[key] = load(name, device=device, dtype=dtype)
        return self._generators[key]

    def facts(self, name: str) -> dict[str, Any]:
        """What a generator says of itself; nothing of one that was given."""
        from clipopt.diffusion.load import facts_of

        return {} if name in self._given else facts_of(name)

    def fingerprint(self, name: str) -> str:
        """A short hash of a generator; of one that was given, of its class and settings alone."""
        from clipopt.diffusion.load import fingerprint

        if name not in self._given:
            return fingerprint(name)
        given = self._given[name]
        return hashlib.sha256(f"{type(given).__name__} {getattr(given, 'config', '')}".encode()).hexdigest()[:12]
