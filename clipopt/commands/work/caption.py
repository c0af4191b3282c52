"""What `clipopt caption` does: propose, choose, say."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipopt.captions import (
    Beam,
    Captioner,
    Classes,
    Corpus,
    Generator,
    Template,
    TextEncoder,
    TwoThings,
    Weights,
    encode_views,
)
from clipopt.captions.fitting import is_unlike
from clipopt.captions.models import (
    ImageTextMatching,
    LanguageModel,
    MaskedPolish,
    SampledCaptions,
    is_matching_model,
)
from clipopt.captions.prompts import PromptSearch
from clipopt.captions.rerank import Pairs
from clipopt.captions.two_scorers import BothEyes
from clipopt.commands.caption import Caption, Rank
from clipopt.commands.work.caption_io import Captioned, as_json, check_captions, table, write_captions
from clipopt.embedded.describer import WorldCaptioner, load_describer
from clipopt.embedded.grammar import WorldGrammar
from clipopt.io.picture_files import find_pictures, read_batches, read_lines
from clipopt.io.terminal import printable
from clipopt.pipelines.checks import require_positive, resolve_device
from clipopt.pipelines.interrupt import graceful_interrupt
from clipopt.pipelines.kinds import has_natural, is_natural
from clipopt.pipelines.progress import progress
from clipopt.pipelines.vocabulary import check_words
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.tower import TowerScorer
from clipopt.search import Index

_SHOWN = 5
"""Pictures that a line names."""


def prepare(task: Caption | Rank) -> Callable[[], None]:
    """Check everything, write nothing, and return the work.

    Raises:
        ValueError: a setting is wrong, in one line.
    """
    if isinstance(task, Rank):
        if task.texts is None:
            raise ValueError("say what to rank: --texts FILE, one text a line")
        # All texts compete, so that the probabilities are of all of them.
        prior = 0.0 if task.background is None else task.prior
        task = Caption(**{**vars(task), "prior": prior, "nearest": sys.maxsize})
    require_positive(
        top=task.top,
        nearest=task.nearest,
        samples=task.samples,
        temperature=task.temperature,
        search_steps=task.search_steps,
    )
    if task.search < 0:
        raise ValueError(f"--search must be 0 or more words, got {task.search}")
    for name in ("prior", "consensus", "likelihood", "second_weight", "diversity"):
        if not math.isfinite(getattr(task, name) or 0):
            raise ValueError(f"--{name.replace('_', '-')} must be a finite number, got {getattr(task, name)}")
    pictures = find_pictures(task.pictures)
    if task.out is not None:
        check_captions(task.out, pictures, overwrite=task.overwrite)
    texts = [] if task.texts is None else read_lines(task.texts)
    captioner = _captioner(task, texts)
    scorers = captioner.scorers if isinstance(captioner, BothEyes) else [captioner.scorer]
    device = resolve_device(task.device)
    broken: list[Path] = []
    batches = read_batches(pictures, broken, alpha=task.alpha)
    batch = next(batches)
    for scorer in scorers:
        check_words(texts, scorer, None)

    def work() -> None:
        done: list[Captioned] = []
        bar = progress(len(pictures), unit="picture", quiet=task.quiet or len(pictures) == 1)
        with bar, graceful_interrupt() as interrupted:
            some: list[Any] | None = batch
            while some is not None:
                best = captioner([picture.to(device) for _, picture in some], task.top)
                done += [(found, captions) for (found, _), captions in zip(some, best, strict=True)]
                bar.update(len(done) + len(broken) - bar.n)
                if interrupted():
                    break
                some = next(batches, None)
            stopped = interrupted()
        if done:
            _say(task, done, broken, scorers, _unlike(captioner, done))
        if stopped:
            raise KeyboardInterrupt
        if not done:
            raise OSError(f"none of the {len(broken)} pictures could be read: nothing is written")

    return work


def _unlike(captioner: Captioner | BothEyes, done: Sequence[Captioned]) -> list[Path]:
    """The pictures that are unlike everything that their scorer knows."""
    if isinstance(captioner, BothEyes):
        return [found.path for found, best in done if best and captioner.is_unlike(best[0])]
    return [found.path for found, best in done if best and is_unlike(captioner.scorer, best[0])]


def _say(
    task: Caption, done: Sequence[Captioned], broken: Sequence[Path], scorers: Sequence[Scorer], unlike: Sequence[Path]
) -> None:
    if unlike:
        more = f" and {len(unlike) - _SHOWN} more" if len(unlike) > _SHOWN else ""
        sys.stderr.write(
            f"clipopt: warning: {', '.join(map(printable, unlike[:_SHOWN]))}{more}: unlike anything that "
            f"{' or '.join(s.name for s in scorers)} knows, so little fits its best caption: expect nothing of it\n"
        )
    if task.out is not None:
        write_captions(task.out, done)
    if task.json:
        names, fingerprints = ("+".join(getattr(s, key) for s in scorers) for key in ("name", "fingerprint"))
        result: dict[str, Any] = {"scorer": names, "fingerprint": fingerprints, "pictures": as_json(done)}
        result |= {"unlike": [str(path) for path in unlike], "broken": [str(path) for path in broken]}
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{task.out}\n" if task.out is not None else table(done, task.top, sources=len(scorers) > 1))


def _captioner(task: Caption, texts: Sequence[str]) -> Captioner | BothEyes:
    if task.scorer == "auto":
        eye = _captioner(replace(task, scorer="embedded"), texts)
        given = texts or task.corpus or task.template or task.captioner or task.search
        # Whose second stage, background and other models are named chooses with one scorer.
        other = task.second != "auto" or task.background or task.language or task.polish
        if given or other or not has_natural() or isinstance(eye, BothEyes):
            return eye
        natural = _captioner(replace(task, scorer="natural"), texts)
        assert isinstance(natural, Captioner)
        return BothEyes(eye, natural)
    device = str(resolve_device(task.device))
    template = _template(task)
    scorer = load_scorer(task.scorer, device=device)
    encode = TwoThings(scorer) if is_natural(task.scorer) else TextEncoder(scorer)
    generators: list[Generator] = []
    if texts:
        generators.append(Corpus(texts, scorer.encode_text(texts), task.nearest, "list"))
    if template is not None:
        generators.append(Beam(encode, template, source="template"))
    generators += _models(task, scorer, device)
    own = not generators
    if own and is_natural(task.scorer):
        generators.append(Classes(scorer, encode))
    elif own:
        if not _reads_world(scorer):
            raise ValueError(
                f"say where captions for {task.scorer} come from: --texts FILE, --corpus INDEX, --captioner MODEL, "
                "--search WORDS, or --template TEXT --slots FILE"
            )
        generators.append(Beam(encode, WorldGrammar()))
        if task.scorer == "embedded":
            generators.append(describer(device))
    usual = usual_weights(task.second, task.scorer, own=own)
    weights = replace(
        usual,
        prior=task.prior,
        consensus=task.consensus,
        likelihood=usual.likelihood if task.likelihood is None else task.likelihood,
        second=usual.second if task.second_weight is None else task.second_weight,
        diversity=task.diversity,
    )
    return Captioner(
        scorer,
        generators,
        weights,
        views=task.views,
        background=_background(task, scorer, device),
        language=LanguageModel(task.language, device=device) if task.language is not None else None,
        second=second_stage(task.second, task.scorer, device, own=own),
        polish=MaskedPolish(task.polish, device=device) if task.polish is not None else None,
        encode=encode,
    )


def _models(task: Caption, scorer: Scorer, device: str) -> list[Generator]:
    """What proposes with a model or an index of its own."""
    generators: list[Generator] = []
    if task.corpus is not None:
        index = Index.open(task.corpus)
        index.require(scorer)
        if index.manifest.kind != "texts" or not len(index):
            raise ValueError(f"{task.corpus} holds {len(index)} {index.manifest.kind}: expected an index of texts")
        rows = torch.cat(list(index.parts()))
        generators.append(Corpus([item["text"] for item in index.items()], rows, task.nearest, "corpus"))
    if task.captioner is not None:
        generators.append(
            SampledCaptions(
                task.captioner, count=task.samples, temperature=task.temperature, seed=task.seed, device=device
            )
        )
    if task.search:
        generators.append(PromptSearch(scorer, length=task.search, steps=task.search_steps, seed=task.seed))
    return generators


def _template(task: Caption) -> Template | None:
    if (task.template is None) != (task.slots is None):
        raise ValueError("--template and --slots belong together: give both")
    if task.template is None or task.slots is None:
        return None
    try:
        slots = json.loads(task.slots.read_text(encoding="utf-8"))
        right = all(isinstance(v, list) and all(isinstance(s, str) for s in v) for v in slots.values())
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"cannot read slots from {task.slots}: {error}") from error
    if not right:
        raise ValueError(f'{task.slots} must hold an object such as {{"thing": ["cat", "dog"]}}')
    return Template(task.template, slots)


def _background(task: Caption, scorer: Scorer, device: str) -> Tensor | None:
    if task.background is None:
        embedded = _reads_world(scorer)
        return scorer.encode_text(WorldGrammar().typical()).mean(0) if embedded else None
    if task.background.is_file():
        return scorer.encode_text(read_lines(task.background)).mean(0)
    rows = [
        encode_views(scorer, [picture.to(device) for _, picture in batch])[:, 0]
        for batch in read_batches(find_pictures([task.background]), [], alpha=task.alpha)
        if batch
    ]
    if not rows:
        raise ValueError(f"no picture in {task.background} can be read: expected some for the background")
    return torch.cat(rows).mean(0)


def _reads_world(scorer: Scorer) -> bool:
    """Whether the sentences of the embedded world are its own; those of its adapters are, too."""
    return isinstance(getattr(scorer, "base", scorer), TowerScorer)


def describer(device: str = "cpu") -> WorldCaptioner:
    """Who says in the embedded world's words what the embedded scorer sees."""
    eyes = load_scorer("embedded", device=device)
    assert isinstance(eyes, TowerScorer)
    return WorldCaptioner(eyes, load_describer(eyes))


def usual_weights(second: str, scorer: str, *, own: bool = True) -> Weights:
    """What counts unless told otherwise: a describer tells log likelihoods, of every candidate; others tell cosines.

    The natural scorer's own candidates come with the log probability of their classes.
    """
    if own and is_natural(scorer):
        return Weights(likelihood=0.05)
    return Weights(second=0.05, stage=100) if _described(second, scorer, own) else Weights()


def _described(second: str, scorer: str, own: bool) -> bool:
    return second == "auto" and scorer == "embedded" and own


def second_stage(spec: str, scorer: str, device: str, *, own: bool = True) -> Pairs | None:
    """What `--second` means beside `--scorer`; None for no second stage.

    A describer knows its own sentences; who brings candidates may put them in other words.
    """
    if _described(spec, scorer, own):
        return describer(device).likelihood
    if spec == "auto" and scorer == "embedded":
        spec = "embedded-judge"
    if spec in ("none", "auto"):
        return None
    if is_matching_model(spec):
        return ImageTextMatching(spec, device=device)
    other = load_scorer(spec, device=device)
    encode = TextEncoder(other)

    def say(picture: Tensor, texts: Sequence[str]) -> list[float]:
        return (encode(texts) @ encode_views(other, [picture])[0, 0]).tolist()

    return say
