"""What a run leaves when it ends: pictures, film, page."""

import json
import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipopt import files
from clipopt.record.report import Log, Picture, Report, render
from clipopt.types import Images

MANY = 12
"""More items than these are shown on one sheet."""


def write_pictures(folder: Path, best: Images, last: Images, labels: Sequence[str], config: Mapping[str, Any]) -> None:
    """Write result.png (the best), best.png and last.png; of several items sheets, and one file for each.

    The prompt and the settings stand in each PNG as text.
    """
    settings = json.dumps(config, ensure_ascii=False)
    several = len(best) > 1
    for name, images in (("result", best), ("best", best), ("last", last)):
        page = files.sheet(images, labels) if several else images
        text = {"Software": "clipopt", "prompt": "\n".join(labels), "config": settings}
        files.save(folder / f"{name}.png", page, text=text)
        for i in range(len(images) if several and name != "best" else 0):
            files.save(folder / f"{name}-{i:02d}.png", images[i], text=text | {"prompt": labels[i]})


def write_film(folder: Path, frames: Sequence[Path]) -> None:
    """Write progress.mp4 and progress.gif, about five seconds long; without ffmpeg the GIF alone, and a warning."""
    fps = min(30.0, max(2.0, len(frames) / 5))
    try:
        files.write_video(folder / "progress.mp4", (files.load_image(path)[0] for path in frames), fps=fps)
    except (RuntimeError, ImportError) as error:
        warnings.warn(f"progress.mp4 is not written, progress.gif is: {error}", UserWarning, stacklevel=3)
    stride = math.ceil(len(frames) / 60)
    short = frames[::-1][::stride][::-1]
    files.write_gif(
        folder / "progress.gif", (files.load_image(path)[0] for path in short), fps=fps / stride, longest=320
    )


def write_page(
    folder: Path,
    summary: Mapping[str, Any],
    best: Images,
    last: Images,
    *,
    config: Mapping[str, Any],
    command: Sequence[str],
    frames: Mapping[int, Path],
    log: Log,
) -> None:
    """Write report.html, which holds all that it shows: no other file, no network, no script.

    Args:
        folder: the run's.
        summary: what summary.json holds.
        best: the items at their best step.
        last: the items after the last step.
        config: the settings.
        command: the command line that started the run.
        frames: the frames on disk by the number of steps before them.
        log: the lines of steps.jsonl.
    """
    film = folder / "progress.mp4"
    page = Report(
        title=_title(summary["items"]),
        facts=_facts(summary),
        notice=_notice(summary),
        results=_results(summary, best),
        others=[
            Picture("last step", files.jpeg(last, longest=512)),
            *([Picture("start", frames[0].read_bytes())] if 0 in frames else []),
        ],
        wide=len(summary["items"]) > MANY,
        strip=[
            Picture(f"step {step}", files.jpeg(files.load_image(frames[step]), longest=192)) for step in _spread(frames)
        ],
        video=film.read_bytes() if film.is_file() and film.stat().st_size <= 4 * 2**20 else None,
        log=log,
        scores=summary["scores"],
        labels=summary["items"],
        tables={
            "Settings": config,
            "Models": {f"{name} (fingerprint)": value for name, value in summary["fingerprints"].items()},
            "Versions": summary["versions"],
        },
        commands={
            "Repeat this run": shlex.join(command),
            "Resume this run": f"clipopt {summary['task']} --resume {shlex.quote(str(folder))}",
        },
    )
    files.write_text(folder / "report.html", render(page))


def _title(labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    names = list(dict.fromkeys(labels))
    return f"{len(labels)} items: {', '.join(names[:4])}{', …' if len(names) > 4 else ''}"


def _facts(summary: Mapping[str, Any]) -> list[str]:
    facts = [f"{summary['task']} run", summary["status"], f"{summary['steps']} steps in {summary['seconds']:.0f} s"]
    memory = summary["peak_memory_bytes"]
    return [*facts, f"peak memory {memory / 2**20:.0f} MiB"] if memory else facts


def _notice(summary: Mapping[str, Any]) -> str:
    if summary["status"] == "done":
        return ""
    return f"This run was {summary['status']} after step {summary['steps']}. {summary['reason']}".strip()


def _results(summary: Mapping[str, Any], best: Images) -> list[Picture]:
    """The best of each item; of many items one sheet."""
    labels, scores = summary["items"], summary["scores"]
    known = [name for name in ("score", "judge") if name in scores]
    details = [" · ".join(f"{name} {_three(scores[name][i])}" for name in known) for i in range(len(labels))]
    if len(labels) > MANY:
        return [Picture("the best of each item", files.jpeg(files.sheet(best, labels, columns=6, cell=240)))]
    names = labels if len(labels) > 1 else ["best step"]
    return [
        Picture(name, files.jpeg(image[None], longest=768 if len(labels) == 1 else 512), detail)
        for name, image, detail in zip(names, best, details, strict=True)
    ]


def _three(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _spread(frames: Mapping[int, Path], count: int = 8) -> list[int]:
    """At most `count` frames from the first to the last."""
    steps = sorted(frames)
    return sorted({steps[round(i * (len(steps) - 1) / (count - 1))] for i in range(count)}) if steps else []
