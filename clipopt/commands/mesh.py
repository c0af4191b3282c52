"""`clipopt mesh`: solid things from text."""

import dataclasses
import hashlib
import json
import math
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipopt.pipelines.checks import require_memory, require_positive, resolve_device
from clipopt.pipelines.config import anchored, as_config, of_run, refuse_beside_resume
from clipopt.pipelines.mesh.forecast import forecast
from clipopt.pipelines.mesh.plan import MODES, RATES, Look, MeshPlan, Mode, Shape, memory_needed, staged
from clipopt.pipelines.mesh.staging import Staging
from clipopt.pipelines.prompts import parse_prompt, with_negatives
from clipopt.pipelines.resources import in_words
from clipopt.pipelines.vocabulary import check_words

if TYPE_CHECKING:
    from clipopt.geometry.mesh import Mesh
    from clipopt.pipelines.mesh.loop import MeshLoop
    from clipopt.record import Run


@dataclass(frozen=True)
class Solid:
    """Make a coloured mesh from text, or change one.

    A simple form is looked at from all around, over random backgrounds and in changing light; a frozen scorer says how
    well the views fit the words, and its gradient moves the vertices and paints them. A second scorer, the judge,
    looks on and is never in the loss.

        clipopt mesh "a red mushroom"
        clipopt mesh "a red apple" "a snowman" --seeds 2            four meshes
        clipopt mesh "a red mushroom" --mesh cylinder               start from another shape
        clipopt mesh "a chick" --mesh duck.obj --was "a duck"       deform a mesh of yours
        clipopt mesh "a zebra" --mesh horse.glb --mode style        colours, and a relief
        clipopt mesh --resume outputs/mesh/RUN                      continue where it stopped

    The last line names the folder: result.glb, .obj (with .mtl and texture) and .ply, sheet.png (all sides, with and
    without colours), turntable.mp4, report.html (turn it with the mouse), summary.json, a checkpoint.
    """

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
    """Who guides; see `clipopt image --help`. Given several times, they guide together."""
    judge: str = "embedded-judge"
    """Who looks on and reports: as --scorer, or "none". It stays silent where a prompt has words unknown to it."""
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
    out: Path | None = None
    """Folder to write, exactly; by default a new one, outputs/mesh/<time>-<prompt>."""
    overwrite: bool = False
    """Replace the run that --out holds."""
    resume: Path | None = None
    """Continue the run in this folder with its own settings; on a CPU bit for bit, with as many threads as before."""
    dry_run: bool = False
    """Check everything, load the models, take a few steps to measure what all would cost, and write nothing."""
    json: bool = False
    """Print the summary alone on stdout."""
    quiet: bool = False
    """No progress bar."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the work.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        if self.resume is not None:
            return self._prepare_resume(self.resume)
        sculpting, fingerprints, changes = self._load()
        from clipopt.pipelines.run_loop import begin
        from clipopt.record import check_out

        check_out(self.out, overwrite=self.overwrite)
        if self.dry_run:
            return lambda: self._say_plan(sculpting, fingerprints, changes)

        def work() -> None:
            run = begin("mesh", self, sculpting.items[0].label, self._settings(sculpting), fingerprints)
            self._sculpt(sculpting, run, changes)

        return work

    def _prepare_resume(self, folder: Path) -> Callable[[], None]:
        from clipopt.pipelines.run_loop import restore
        from clipopt.record import Run

        refuse_beside_resume(self, ("resume", "steps", "device", "dry_run", "json", "quiet"))
        run = Run.resume(folder, "mesh", steps=self.steps, dry=self.dry_run)
        settings = of_run(Solid, run)
        if self.device != "auto":
            settings = dataclasses.replace(settings, device=self.device)
        settings = dataclasses.replace(settings, dry_run=self.dry_run, json=self.json, quiet=self.quiet)
        sculpting, fingerprints, changes = settings._load()
        run.require(fingerprints=fingerprints)
        sculpting.extend(run.total)
        restore(run, sculpting.load_state)
        if self.dry_run:
            return lambda: settings._say_plan(sculpting, fingerprints, changes, run)
        return lambda: settings._sculpt(sculpting, run, changes)

    def _load(self) -> "tuple[MeshLoop, dict[str, str], list[str]]":
        """Everything that the settings name, checked and in memory, with fingerprints and what the mesh needed."""
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
        from clipopt.scorers import load_scorer

        given, changes = self._start()
        plan = self._plan(given)
        form = "sphere" if self.mesh == "auto" else self.mesh
        start = meshes.primitive(form, plan.faces[0]) if given is None else given
        device = resolve_device(self.device)
        count = len(prompts) * self.seeds
        scorers = [load_scorer(name, device=str(device)) for name in self.scorer or ("embedded",)]
        views = self.staging.make(scorers[0], textured=plan.look != "none" or start.colors is not None)
        plan = dataclasses.replace(plan, views=views)
        require_memory(memory_needed(count, plan, start), device, f"{count} meshes" if count > 1 else "this mesh")
        judge = None if self.judge == "none" else load_scorer(self.judge, device=str(device))
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
        fingerprints |= {} if given is None else {"mesh": hashlib.sha256(Path(self.mesh).read_bytes()).hexdigest()[:12]}
        items = []
        for prompt in prompts:
            asked: dict[str | Tensor, float] = dict(prompt.items())
            items += [Item(asked, self.seed + i, self._label(prompt, i)) for i in range(self.seeds)]
        sculpting = MeshLoop(
            plan, items, start, scorers, judge=judge, sided=sided, instead=instead, was=self.was, device=device
        )
        if self.mesh == "auto" and self.was is None:
            sculpting.choose(meshes.forms())
        return sculpting, fingerprints, changes

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

    def _sculpt(self, sculpting: "MeshLoop", run: "Run", changes: list[str]) -> None:
        if not self.json:
            _say_changes(changes)
        try:
            summary = sculpting.run(run, quiet=self.quiet, changes=changes)
        except KeyboardInterrupt:
            command = f"clipopt mesh --resume {shlex.quote(str(run.folder))}"
            sys.stderr.write(f"clipopt: interrupted and saved; continue with: {command}\n")
            raise
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n" if self.json else f"{run.folder}\n")

    def _say_plan(
        self, sculpting: "MeshLoop", fingerprints: Mapping[str, str], changes: list[str], run: "Run | None" = None
    ) -> None:
        from clipopt.pipelines.mesh.results import expected_files

        folder = str(self.out or "outputs/mesh/<time>-<prompt>") if run is None else str(run.folder)
        plan = {
            "items": [item.label for item in sculpting.items],
            "changes": changes,
            "settings": self._settings(sculpting),
            "fingerprints": dict(fingerprints),
            **forecast(sculpting, 0 if run is None else run.step),
            "files": expected_files(len(sculpting.items)),
            "folder": folder,
        }
        if not self.json:
            _say_changes(changes)
        sys.stdout.write((json.dumps(plan, ensure_ascii=False, default=str) if self.json else in_words(plan)) + "\n")

    def _label(self, prompt: Mapping[str, float], number: int) -> str:
        """What stands below a mesh: its texts with weights other than 1, its seed."""
        parts = [text if weight == 1 else f"{text} ({weight:g})" for text, weight in prompt.items()]
        return ", ".join(parts) + (f", seed {self.seed + number}" if self.seeds > 1 else "")

    def _settings(self, sculpting: "MeshLoop") -> dict[str, Any]:
        """What config.json keeps: enough to repeat the run from any folder."""
        plan = sculpting.plan
        names = ("shape", "look", "steps", "lr", "laplacian", "normals", "edges", "identity")
        settings = as_config(self) | {name: getattr(plan, name) for name in names}
        settings |= {"scorer": tuple(map(anchored, self.scorer or ("embedded",))), "judge": anchored(self.judge)}
        settings["staging"]["size"] = plan.views.size
        mesh = self.mesh if self._simple() else str(Path(self.mesh).absolute())
        mode = self.mode or ("generate" if self._simple() else "deform")
        return settings | {"mesh": mesh, "mode": mode, "device": str(sculpting.device)}


def _say_changes(changes: list[str]) -> None:
    for change in changes:
        sys.stderr.write(f"clipopt: mesh: {change}\n")
