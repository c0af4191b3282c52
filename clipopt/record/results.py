"""What a run leaves when it ends: pictures, film, page."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipopt.geometry.mesh import Mesh
from clipopt.io import files
from clipopt.record.report import Log, Picture, Report, render
from clipopt.record.solid import solid
from clipopt.record.verdict import verdict
from clipopt.types import Images

MANY = 12
"""More items than these are shown on one sheet."""


@dataclass(frozen=True)
class Film:
    """Pictures that become a video and a GIF.

    Attributes:
        frames: Their files, by the number of steps before them.
        name: Of the files, without suffix.
        fps: Frames per second; None for about five seconds in all.
        unit: What a step is called.
        shown: Most frames of the GIF; of more, every second, third, ... stays.
        hold: Seconds for which the last frame stays.
    """

    frames: Mapping[int, Path]
    name: str = "progress"
    fps: float | int | None = None
    unit: str = "step"
    shown: int = 60
    hold: float | int = 1


def write_pictures(
    folder: Path, best: Images, last: Images | None, labels: Sequence[str], config: Mapping[str, Any]
) -> None:
    """Write result.png (the best), best.png and last.png; of several items sheets, and one file for each.

    The prompt and the settings stand in each PNG as text.
    """
    settings, labels = json.dumps(config), [_text(label) for label in labels]
    several = len(best) > 1
    kinds = {"result": best} if last is None else {"result": best, "best": best, "last": last}
    for name, images in kinds.items():
        page = files.sheet(images, labels) if several else images
        text = {"Software": "clipopt", "prompt": "\n".join(labels), "config": settings}
        files.save(folder / f"{name}.png", page, text=text)
        for i in range(len(images) if several and name != "best" else 0):
            files.save(folder / f"{name}-{i:02d}.png", images[i], text=text | {"prompt": labels[i]})


def _text(text: str) -> str:
    """What UTF-8 can hold of a text: names of files may have bytes that are none."""
    return text.encode("utf-8", "replace").decode()


def write_film(folder: Path, film: Film) -> None:
    """Write the film as .mp4 and .gif; without ffmpeg the GIF alone, and a warning.

    Raises:
        OSError: the disk is full, or ffmpeg was stopped from outside.
    """
    paths = list(film.frames.values())
    if not paths:
        warnings.warn(f"there is no frame of a film: {film.name}.mp4 and .gif are not written", stacklevel=3)
        return
    fps = min(30.0, max(2.0, len(paths) / 5)) if film.fps is None else film.fps
    video, gif = (folder / f"{film.name}.{suffix}" for suffix in ("mp4", "gif"))
    try:
        files.write_video(video, (files.load_image(path)[0] for path in paths), fps=fps, hold=film.hold)
    except (RuntimeError, ImportError) as error:
        warnings.warn(f"{video.name} is not written, {gif.name} is: {error}", UserWarning, stacklevel=3)
    stride = math.ceil(len(paths) / film.shown)
    short = paths[::-1][::stride][::-1]
    files.write_gif(gif, (files.load_image(path)[0] for path in short), fps=fps / stride, hold=film.hold, longest=320)


def write_page(
    folder: Path,
    summary: Mapping[str, Any],
    best: Images,
    last: Images | None,
    *,
    config: Mapping[str, Any],
    commands: Mapping[str, str],
    film: Film,
    log: Log,
    solids: Sequence[Mesh] = (),
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write report.html, which holds all that it shows: no other file, no network, and no script but a mesh viewer's.

    Args:
        folder: the run's.
        summary: what summary.json holds.
        best: the items at their best step.
        last: the items after the last step.
        config: the settings.
        commands: what to type to repeat the run, and to go on with it.
        film: as it was written.
        log: the lines of steps.jsonl.
        solids: the items as meshes, which the page then lets turn under the mouse.
        facts: what else is told of the run.
    """
    video, frames = folder / f"{film.name}.mp4", film.frames
    page = Report(
        title=_title(summary["items"]),
        facts=_facts(summary, film.unit),
        notice=_notice(summary, film.unit),
        verdict=verdict(summary["items"], summary["scores"], log),
        results=_results(summary, best, solids),
        others=[
            *([] if last is None else [Picture("last step", files.jpeg(last, longest=512))]),
            *([Picture("start", frames[0].read_bytes())] if 0 in frames and last is not None else []),
        ],
        wide=len(summary["items"]) > MANY,
        strip=[
            Picture(f"{film.unit} {step}", files.jpeg(files.load_image(frames[step]), longest=192))
            for step in _spread(frames)
        ],
        video=video.read_bytes() if video.is_file() and video.stat().st_size <= 4 * 2**20 else None,
        log=log,
        scores=summary["scores"],
        labels=summary["items"],
        tables={
            "Settings": config,
            **({"Meshes" if solids else "What was read": _rows(facts)} if facts else {}),
            "Models": {f"{name} (fingerprint)": value for name, value in summary["fingerprints"].items()},
            "Versions": summary["versions"],
        },
        commands=commands,
    )
    files.write_text(folder / "report.html", _text(render(page)))


def _rows(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of each item, a row for each, and of all."""
    rows: dict[str, Any] = {}
    for name, value in facts.items():
        items = value if isinstance(value, list) and value and isinstance(value[0], dict) else []
        for number, item in enumerate(items):
            label = item.get("item", name)
            rows[label if label not in rows else f"{label} ({number})"] = {k: v for k, v in item.items() if k != "item"}
        rows |= {} if items else {name: value}
    return rows


def _title(labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    names = list(dict.fromkeys(labels))
    return f"{len(labels)} items: {', '.join(names[:4])}{', …' if len(names) > 4 else ''}"


def _facts(summary: Mapping[str, Any], unit: str) -> list[str]:
    took = f"{summary['steps']} {unit}s in {summary['seconds']:.0f} s"
    facts = [f"{summary['task']} run", summary["status"], took]
    memory = summary["peak_memory_bytes"]
    return [*facts, f"peak memory {memory / 2**20:.0f} MiB"] if memory else facts


def _notice(summary: Mapping[str, Any], unit: str) -> str:
    if summary["status"] == "done":
        return ""
    return f"This run was {summary['status']} after {unit} {summary['steps']}. {summary['reason']}".strip()


def _results(summary: Mapping[str, Any], best: Images, solids: Sequence[Mesh]) -> list[Picture]:
    """The best of each item; of many items one sheet."""
    labels, scores = summary["items"], summary["scores"]
    known = [name for name in ("score", "judge") if name in scores]
    details = [" · ".join(_detail(scores, name, i) for name in known) for i in range(len(labels))]
    if len(labels) > MANY:
        return [Picture("the best of each item", files.jpeg(files.sheet(best, labels, columns=6, cell=240)))]
    names = labels if len(labels) > 1 else ["best step"]
    turning: list[dict[str, str] | None] = [solid(mesh) for mesh in solids]
    return [
        Picture(name, files.jpeg(image[None], longest=768 if len(labels) == 1 else 512), detail, shape)
        for name, image, detail, shape in zip(names, best, details, turning or [None] * len(names), strict=True)
    ]


def _detail(scores: Mapping[str, Sequence[float | None]], name: str, item: int) -> str:
    """A score, and where it stands among those of drawings that a small scorer was trained on the like of."""
    rank = scores.get(f"{name} percentile", [None] * (item + 1))[item]
    among = "" if rank is None else f" (above {rank:.0f} % of the drawings of its world)"
    return f"{name} {_three(scores[name][item])}{among}"


def _three(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _spread(frames: Mapping[int, Path], count: int = 8) -> list[int]:
    """At most `count` frames from the first to the last."""
    steps = sorted(frames)
    return sorted({steps[round(i * (len(steps) - 1) / (count - 1))] for i in range(count)}) if steps else []
