"""What `clipopt train motion` does: draw, train, measure."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipopt.commands import trainings
from clipopt.commands.train_motion import TrainMotion
from clipopt.io import files
from clipopt.pipelines.progress import progress

if TYPE_CHECKING:
    from clipopt.embedded.watching import Lesson

UNSEEN = 7
"""The world that a finished training is measured on; nobody trains there."""


def prepare(task: TrainMotion) -> Callable[[], None]:
    """Check everything, write nothing, and return the training."""
    from clipopt.embedded import watching

    task = trainings.resumed(task)
    settings = trainings.settle(task)
    lesson = trainings.fit(watching.lesson(task.which), settings)
    return lambda: _train(task, settings, lesson)


def _train(task: TrainMotion, settings: dict[str, Any], lesson: "Lesson") -> None:
    from clipopt.embedded import films, watching

    out = trainings.folder(task, settings, "checkpoint.pt")
    folder = task.pictures or out / "pictures"
    with progress(None, name="drawing", unit="file", quiet=task.json) as bar:
        for done, total in films.draw(lesson.world, lesson.films, lesson.stills, folder):
            bar.total = total
            bar.update(done - bar.n)
    trainer = watching.Trainer(lesson, films.Films(lesson.world, folder), amp=settings["precision"] == "bfloat16")
    seconds = trainings.run(task, trainer, sum(lesson.batches), out / "checkpoint.pt")
    model, facts = trainer.result()
    path = out / f"{task.which}.safetensors"
    with files.atomic(path) as temporary:
        model.save(temporary, facts)
    if task.pictures is None:
        shutil.rmtree(folder)
    trainings.finish(
        task, out,
        {"file": str(path), "batches": trainer.done, **_measured(path, settings["share"]),
         "seconds_of_training": round(seconds, 1)},
    )  # fmt: skip


def _measured(path: Path, share: float) -> dict[str, Any]:
    from clipopt.embedded.film_measure import measure
    from clipopt.scorers.film import load_film_scorer

    scorer = load_film_scorer(path)
    count = max(4, round(200 * share))
    return {"fingerprint": scorer.fingerprint, **measure(scorer, UNSEEN, count, 2 * count)}
