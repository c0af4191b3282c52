"""A run's folder: what was asked, every step, pictures on the way, a checkpoint, the results, a page.

    if resume:
        run = Run.resume(folder, "image")                   # writes nothing yet; run.config: what the start was asked
    else:
        run = Run.create(out, "image", prompt, config, command=argv, fingerprints={"scorer": scorer.fingerprint})
    run.require(fingerprints={"scorer": scorer.fingerprint})
    if run.state is not None:                               # None: a new run, or killed before its first checkpoint
        image.load_state_dict(run.state["image"]); optimizer.load_state_dict(run.state["optimizer"]); ...
    else:
        run.preview(image())                                # the start
    for step in optimize(loss, optimizer, steps=steps, seed=seed, start=run.step):
        run.log(step.index, step.loss, step.terms, score=..., judge=...)    # every step; run.step = index + 1
        if run.step % 2 == 0:
            run.preview(image())                            # one frame of the film
        if run.step % 20 == 0:
            run.save({"image": image.state_dict(), "optimizer": optimizer.state_dict(), "best": best, ...})
    run.save(...)
    run.finish(best=best, last=image(), labels=[prompt], scores={"score": ..., "judge": ...})

The order within a step is log, preview, save: a checkpoint names the steps and frames that came before it,
and resuming drops what came after. Killed at any moment the folder can be resumed and no file in it is
half written; only the last line of steps.jsonl may be, and a hidden temporary file may stay behind.
"""

from clipopt.record.checkpoint import dumped
from clipopt.record.folder import check_out, slug
from clipopt.record.machine import peak_memory, versions
from clipopt.record.results import Film
from clipopt.record.run import Run
from clipopt.record.steps import read_steps

__all__ = ["Film", "Run", "check_out", "dumped", "peak_memory", "read_steps", "slug", "versions"]
