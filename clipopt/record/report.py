"""The page that a person opens after a run: one HTML file that needs no network, and no script but to turn meshes."""

import hashlib
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files as resources
from typing import Any

Log = Sequence[Mapping[str, Any]]
"""The lines of steps.jsonl: "step", "loss", "terms", and at times "score" and "judge", one number per item."""


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its caption and its JPEG bytes; `detail` stands in small print below.

    Where there is a `solid`, made by `clipopt.record.solid`, it takes the picture's place and turns under the mouse.
    """

    caption: str
    jpeg: bytes
    detail: str = ""
    solid: Mapping[str, str] | None = None

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return f"data:image/jpeg;base64,{b64encode(self.jpeg).decode()}"


@dataclass(frozen=True)
class Report:
    """What the page shows. Every text may come from a user: the page escapes it.

    `results` stand large, beside them the film and `others`, or below them where there are several or one `wide` sheet;
    `verdict` says in a sentence what scorer and judge agree on; `strip` is a row of small pictures; `scores` are the
    columns of a table with one row per label.
    """

    title: str
    facts: Sequence[str]
    results: Sequence[Picture]
    others: Sequence[Picture] = ()
    strip: Sequence[Picture] = ()
    video: bytes | None = None
    wide: bool = False
    log: Log = ()
    scores: Mapping[str, Sequence[float | int | None]] = field(default_factory=dict)
    labels: Sequence[str] = ()
    tables: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    notice: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Line:
    """One curve: the points of its SVG polylines, a bold one and a faint one per item, and its last value."""

    name: str
    color: int
    last: str
    points: str
    faint: Sequence[str]


@dataclass(frozen=True)
class Chart:
    """Curves over the steps, in the pixels of an SVG of WIDTH x HEIGHT; ticks are (position, text)."""

    title: str
    note: str
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 600, 270, 58, 588, 10, 236


def render(report: Report) -> str:
    """Make the page's HTML."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_resource("report.html"))
    names = {"score": "scorer", "judge": "judge (never in the loss)"}
    scores = {name: [(row["step"], row[key]) for row in report.log if key in row] for key, name in names.items()}
    terms = {"total": [(row["step"], [_per_item(row)]) for row in report.log]}
    for name in dict.fromkeys(name for row in report.log for name in row["terms"]):
        terms[name] = [(row["step"], row["terms"][name]) for row in report.log if name in row["terms"]]
    charts = [
        _chart("Scores", "higher is better; faint: each item, bold: their mean", scores),
        _chart("Loss", "what was minimised, and its terms: the mean over the items", terms),
    ]
    script = _resource("solid.js") if any(picture.solid for picture in report.results) else ""
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    video = b64encode(report.video).decode() if report.video else ""
    return template.render(
        report=report, charts=[chart for chart in charts if chart.lines], video=video, script=script, digest=digest,
        width=WIDTH, height=HEIGHT, left=LEFT, right=RIGHT, top=TOP, bottom=BOTTOM, shown=shown,
        number=_number,
    )  # fmt: skip


def _resource(name: str) -> str:
    return resources("clipopt.record").joinpath(name).read_text(encoding="utf-8")


def _number(value: float | int | None) -> str:
    """Three decimals, and none of a whole number such as a step."""
    return "none" if value is None else f"{value:.0f}" if value == round(value) else f"{value:.3f}"


def shown(value: object) -> str:
    """A setting or a measured value as a reader wants it: short numbers, "none" for None, lists by commas."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(shown, value)) or "none"
        case dict():
            return ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) or "none"
    return str(value)


def _chart(title: str, note: str, series: Mapping[str, Sequence[tuple[int, Sequence[float | int | None]]]]) -> Chart:
    """Scale curves of (step, value per item) into the chart; values that are not finite leave a gap."""
    means = {name: [(step, _mean(values)) for step, values in rows] for name, rows in series.items() if rows}
    every = [v for rows in series.values() for _, values in rows for v in values if v is not None and math.isfinite(v)]
    if not every:
        return Chart(title, note, [], [], [])
    last = max(rows[-1][0] for rows in means.values())
    y_ticks = _ticks(min(every), max(every))
    low, high = min(min(every), y_ticks[0]), max(max(every), y_ticks[-1])

    def x(step: float | int) -> float:
        return LEFT + (RIGHT - LEFT) * step / max(last, 1)

    def y(value: float | int) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)

    def points(rows: Sequence[tuple[int, float | int | None]]) -> str:
        finite = [(x(step), y(value)) for step, value in rows if value is not None and math.isfinite(value)]
        stride = max(1, len(finite) // 500)
        kept = finite[:-1:stride] + finite[-1:] * (1 if len(finite) > 1 else 2)  # one point twice: a dot
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in kept)

    lines = []
    for color, (name, rows) in enumerate(means.items()):
        items = max(len(values) for _, values in series[name])
        each = [[(s, v[i]) for s, v in series[name] if i < len(v)] for i in range(items)] if 1 < items <= 16 else []
        value = rows[-1][1]
        lines.append(
            Line(name, color % 6, "none" if value is None else f"{value:.3f}", points(rows), list(map(points, each)))
        )
    x_ticks = [tick for tick in _ticks(0, last) if tick <= last and tick == int(tick)]
    return Chart(
        title, note, lines, [(x(tick), f"{tick:g}") for tick in x_ticks], [(y(tick), f"{tick:.6g}") for tick in y_ticks]
    )


def _per_item(row: Mapping[str, Any]) -> float | None:
    """The loss of a step, which is a sum over the items, divided by their number."""
    loss: float | None = row["loss"]
    return None if loss is None else loss / max((len(values) for values in row["terms"].values()), default=1)


def _mean(values: Sequence[float | int | None]) -> float | int | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None


def _ticks(low: float | int, high: float | int, count: int = 5) -> list[float]:
    """Round numbers (steps of 1, 2 or 5 times a power of ten) from below `low` to above `high`."""
    spread = max(high - low, 1e-6 * max(1.0, abs(high)))
    power = 10.0 ** math.floor(math.log10(spread / count))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * count >= spread)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]
