"""What scorer and judge agree on, in a sentence that a person reads."""

from collections.abc import Mapping, Sequence
from typing import Any

_CLOSE = 0.005
"""A score that moves by less than this has not moved."""
_NAMED = 3
"""So many items are named; of more their number is told."""

Column = Sequence[float | int | None]


def verdict(labels: Sequence[str], scores: Mapping[str, Column], log: Sequence[Mapping[str, Any]] = ()) -> str:
    """Whether scorer and judge find that the results fit their prompts better than the starts did.

    Args:
        labels: What the items are called.
        scores: Columns "score" and "judge"; those of the starts are "score of start" and "judge of start".
        log: Lines of steps.jsonl: where there are no such columns, its first look stands for the start.

    Returns:
        The sentence; "" where there is no judge, or nothing to compare with.
    """
    looks = [row for row in log if "score" in row and "judge" in row]
    begun = scores if "judge of start" in scores else {}
    if not begun and looks:
        begun = {f"{who} of start": looks[0][who] for who in ("score", "judge")}
    columns = [scores.get("score"), begun.get("score of start"), scores.get("judge"), begun.get("judge of start")]
    told = [column for column in columns if column is not None and len(column) == len(labels)]
    if len(told) < len(columns):
        return ""
    rows = {n: numbers for n, numbers in enumerate(zip(*told, strict=True)) if None not in numbers}
    if not rows:
        return "The judge says nothing of this: it does not know the words."
    silent = len(labels) - len(rows)
    if len(labels) == 1:
        return _of_one(labels[0], rows[0])
    rises = {n: (_rises(*row[:2]), _rises(*row[2:])) for n, row in rows.items()}
    apart = [n for n, (scorer, judge) in rises.items() if scorer != judge]
    better = sum(scorer and judge for scorer, judge in rises.values())
    said = [
        f"Scorer and judge agree on {len(rows) - len(apart)} of {len(rows)} items: "
        f"{better} fit their prompts better than their starts did, {len(rows) - len(apart) - better} do not."
    ]
    for who, verb in ((0, "only the scorer"), (1, "only the judge")):
        some = [f"“{labels[n]}”" for n in apart if rises[n][who]]
        if some:
            named = f"{', '.join(some[:_NAMED])}{f' and {len(some) - _NAMED} more' if len(some) > _NAMED else ''}"
            said.append(f"They disagree on {named}: {verb} finds the result better.")
    if silent:
        said.append(f"Of {silent} the judge says nothing: it does not know the words.")
    return " ".join(said)


def _of_one(label: str, row: Sequence[Any]) -> str:
    numbers = "scorer {1:.3f} to {0:.3f}, judge {3:.3f} to {2:.3f}".format(*row)
    match _rises(*row[:2]), _rises(*row[2:]):
        case True, True:
            return f"Scorer and judge agree: the result fits “{label}” better than the start did ({numbers})."
        case False, False:
            return f"Scorer and judge agree: the result fits “{label}” no better than the start did ({numbers})."
        case True, False:
            return (
                f"Scorer and judge disagree: to the scorer the result fits “{label}” better than the start did, to the "
                f"judge it does not ({numbers}). Look for yourself: what pleases the scorer alone is often no picture."
            )
    return (
        f"Scorer and judge disagree: to the judge the result fits “{label}” better than the start did, to the scorer "
        f"it does not ({numbers})."
    )


def _rises(after: float, before: float) -> bool:
    return after - before > _CLOSE
