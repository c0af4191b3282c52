"""What `clipopt mesh` and `clipopt.pipelines.Mesh` can be told."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from clipopt.pipelines.checks import require_memory, require_positive, resolve_device
from clipopt.pipelines.config import anchored, as_config
from clipopt.pipelines.mesh.forecast import forecast
from clipopt.pipelines.mesh.plan import MODES, RATES, Look, MeshPlan, Mode, Shape, memory_needed, staged
from clipopt.pipelines.mesh.staging import Staging
from clipopt.pipelines.models import Models
from clipopt.pipelines.prompts import parse_prompt, with_negatives
from clipopt.pipelines.vocabulary import check_words

if TYPE_CHECKING:
    from clipopt.geometry.mesh import Mesh
    from clipopt.pipelines.mesh.loop import MeshLoop


@dataclass(frozen=True)
class MeshSettings:
    """How meshes are made from text; see `clipopt.pipelines.Mesh`."""

    task: ClassVar[str] = "mesh"
    longer: ClassVar[bool] = True
    """Whether --steps makes a finished run longer."""

    prompts: tuple[str, ...]
    """What to make; each prompt makes its own mesh. Plain text to the letter, unless it starts with a brace: then it
    is a JSON object of text to weight."""
    mesh: str = "auto"
    """What to start from: sphere, cube, cylinder, cone, capsule, torus, or a file (GLB, glTF, OBJ, PLY, STL, OFF). By
    default that of fifteen such forms whose bare shape the scorer likes best."""
    mode: Mode | None = None
    """What is learned: generate a shape and its colours; deform a mesh, which keeps its details and its colours; or
    style it, with colours and a low relief. By default generate, or deform where --mesh is a file."""
    was: str | None = None
    """What --mesh shows, as text. The scorer is then also asked for the change from this text to the prompt."""
    scorer: tuple[str, ...] = ()
    """The scorer that guides; see `clipopt image --help`. Given several times, they guide together."""
    judge: str = "embedded-judge"
    """The judge, a scorer that only looks on and reports, or "none". It stays silent where a prompt has words unknown
    to it."""
    shape: Shape | None = None
    """What of the vertices is learned: large steps that stay smooth (generate), every vertex for itself, Jacobians of
    the faces that keep details (deform), or heights along the normals (style)."""
    look: Look | None = None
    """What of the colours is learned: those of the vertices, a texture, or none (deform)."""
    faces: int | None = None
    """Triangles of the result, about. By default 5120, or those of the file."""
    remesh: int | None = None
    """How often the surface gets new triangles on the way, from a few to --faces. By default 2, of a file 0."""
    steps: int | None = None
    """Steps of the optimizer. By default as suits --mode. Beside --resume: make a finished run longer, to so many in
    all."""
    seed: int = MeshPlan.seed
    """Seed of the first mesh of each prompt. The same seed gives the same mesh."""
    seeds: int = 1
    """Meshes of each prompt, with the seeds that follow."""
    negative: tuple[str, ...] = ()
    """A text to stay away from, with weight -0.3; can be given several times."""
    lr: float | None = None
    """Learning rate of the shape: about how far a vertex moves in a step, of a mesh of radius 1."""
    lr_color: float = MeshPlan.lr_color
    """Learning rate of the colours."""
    texture: int = MeshPlan.texture
    """Side of the texture in texels, for --look texture where the file has none."""
    laplacian: float | None = None
    """Weight of how far vertices lie off the middle of their neighbours: more is smoother."""
    normals: float | None = None
    """Weight of the angles between neighbouring faces."""
    edges: float | None = None
    """Weight of how unequal the edges are."""
    identity: float | None = None
    """Weight of how much faces are stretched or turned, for --shape jacobians: more stays closer to --mesh."""
    staging: Staging = field(default_factory=Staging)
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""

    def load(self, models: Models) -> "tuple[MeshLoop, dict[str, str]]":
        """Everything that the settings name, checked and in memory, with the fingerprints of what was read.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        if not self.prompts:
            raise ValueError('say what to make, for example: clipopt mesh "a red mushroom"')
        prompts = [with_negatives(parse_prompt(argument), self.negative) for argument in self.prompts]
        if any(self.was in prompt for prompt in prompts):
            raise ValueError("--was and the prompt are the same text: say what --mesh shows, and what it shall become")
        require_positive(seeds=self.seeds, lr_color=self.lr_color)
        from torch import Tensor

        from clipopt.io import mesh as meshes
        from clipopt.pipelines.mesh.loop import MeshLoop
        from clipopt.pipelines.mesh.view_prompts import worded
        from clipopt.pipelines.views import Item

        given, changes = self._start()
        plan = self._plan(given)
        form = "sphere" if self.mesh == "auto" else self.mesh
        start = meshes.primitive(form, plan.faces[0]) if given is None else given
        device = resolve_device(self.device)
        count = len(prompts) * self.seeds
        scorers = [models.scorer(name, device) for name in self.scorer or ("embedded",)]
        views = self.staging.make(scorers[0], textured=plan.look != "none" or start.colors is not None)
        plan = dataclasses.replace(plan, views=views)
        require_memory(memory_needed(count, plan, start), device, f"{count} meshes" if count > 1 else "this mesh")
        judge = models.judge(self.judge, device)
        sided, instead = self.staging.sided(scorers), dict(self.staging.view)
        said = [text for prompt in prompts for text in worded(prompt, "back", sided=sided, instead={})]
        said += [*instead.values()] + ([] if self.was is None else [self.was])
        for scorer in scorers[1:]:
            check_words(said, scorer, None)
        judge = check_words([text for prompt in prompts for text in prompt], scorers[0], judge)
        if lacking := [text for text in said if text not in {t for prompt in prompts for t in prompt}]:
            check_words(lacking, scorers[0], None)
        fingerprints = {f"scorer {i}" if i else "scorer": scorer.fingerprint for i, scorer in enumerate(scorers)}
        fingerprints |= {} if judge is None else {"judge": judge.fingerprint}
        fingerprints |= {} if given is None else {"mesh": _digest(given)}
        items = []
        for prompt in prompts:
            asked: dict[str | Tensor, float] = dict(prompt.items())
            items += [Item(asked, self.seed + i, self._label(prompt, i)) for i in range(self.seeds)]
        sculpting = MeshLoop(
            plan,
            items,
            start,
            scorers,
            judge=judge,
            sided=sided,
            instead=instead,
            was=self.was,
            changes=changes,
            device=device,
        )
        if self.mesh == "auto" and self.was is None:
            sculpting.choose(meshes.forms())
        return sculpting, fingerprints

    def _start(self) -> "tuple[Mesh | None, list[str]]":
        """The mesh of a file, and what was changed of it; None for a simple shape."""
        from clipopt.io import mesh as meshes

        if self._simple():
            return None, []
        if not Path(self.mesh).exists():
            known = ", ".join(("auto", *meshes.PRIMITIVES))
            raise ValueError(
                f"--mesh must be {known}, or a file (GLB, glTF, OBJ, PLY, STL, OFF); there is no file {self.mesh}"
            )
        start, changes = meshes.load_mesh(self.mesh)
        look = self.look or MODES[self.mode or "deform"]().look
        if start.texture is not None and (look == "vertex" or self.remesh or self.faces):
            return meshes.with_vertex_colors(start), [*changes, "its texture became colours of its vertices"]
        return start, changes

    def _simple(self) -> bool:
        from clipopt.io.mesh import PRIMITIVES

        return self.mesh in ("auto", *PRIMITIVES)

    def _plan(self, given: "Mesh | None") -> MeshPlan:
        """The plan, before the scorers are known; `given` is the mesh of a file."""
        mode = self.mode or ("generate" if given is None else "deform")
        preset = MODES[mode]()
        named = ("shape", "look", "steps", "laplacian", "normals", "edges", "identity")
        chosen = {name: value for name in named if (value := getattr(self, name)) is not None}
        plan = dataclasses.replace(preset, **chosen, seed=self.seed, texture=self.texture, lr_color=self.lr_color)
        plan = dataclasses.replace(plan, lr=RATES[plan.shape] if self.lr is None else self.lr)
        require_positive(steps=plan.steps, lr=plan.lr)
        for name in ("laplacian", "normals", "edges", "identity"):
            if not (math.isfinite(getattr(plan, name)) and getattr(plan, name) >= 0):
                raise ValueError(f"--{name} must be 0 or more, got {getattr(plan, name)}")
        return staged(plan, given, self.faces, self.remesh)

    def forecast(self, loop: "MeshLoop", start: int = 0) -> dict[str, Any]:
        """What a run from step `start` on would take, and what it leaves."""
        from clipopt.pipelines.mesh.results import expected_files

        items = [item.label for item in loop.items]
        return {
            "items": items, "changes": [*loop.changes], **forecast(loop, start), "files": expected_files(len(items)),
        }  # fmt: skip

    def _label(self, prompt: Mapping[str, float], number: int) -> str:
        """What stands below a mesh: its texts with weights other than 1, its seed."""
        parts = [text if weight == 1 else f"{text} ({weight:g})" for text, weight in prompt.items()]
        return ", ".join(parts) + (f", seed {self.seed + number}" if self.seeds > 1 else "")

    def config(self, loop: "MeshLoop") -> dict[str, Any]:
        """What config.json keeps: enough to repeat the run from any folder."""
        plan = loop.plan
        names = ("shape", "look", "steps", "lr", "laplacian", "normals", "edges", "identity")
        settings = as_config(self) | {name: getattr(plan, name) for name in names}
        settings |= {"scorer": tuple(map(anchored, self.scorer or ("embedded",))), "judge": anchored(self.judge)}
        settings["staging"]["size"] = plan.views.size
        mesh = self.mesh if self._simple() else str(Path(self.mesh).absolute())
        mode = self.mode or ("generate" if self._simple() else "deform")
        return settings | {"mesh": mesh, "mode": mode, "device": str(loop.device)}


def _digest(mesh: "Mesh") -> str:
    """What a mesh holds, in short, whichever of its files it stands in."""
    found = hashlib.sha256()
    for part in (mesh.vertices, mesh.faces, mesh.colors, mesh.uv, mesh.texture):
        found.update(b"-" if part is None else part.numpy().tobytes())
    return found.hexdigest()[:12]
