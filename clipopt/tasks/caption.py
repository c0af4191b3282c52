"""`clipopt caption` and `clipopt rank`: what does a picture show?"""

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipopt.captions import Beam, Captioner, Corpus, Generator, Template, TextEncoder, Weights, encode_views
from clipopt.captions.models import (
    ImageTextMatching,
    LanguageModel,
    MaskedPolish,
    SampledCaptions,
    is_matching_model,
)
from clipopt.captions.prompts import PromptSearch
from clipopt.captions.rerank import Pairs
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.tower import TowerScorer
from clipopt.search import Index
from clipopt.tasks.checks import require_positive, resolve_device
from clipopt.tasks.choices import Captioned, as_json, check_captions, table, write_captions
from clipopt.tasks.grammar import WorldGrammar
from clipopt.tasks.interrupt import graceful_interrupt
from clipopt.tasks.pictures import find_pictures, read_batches, read_lines


@dataclass(frozen=True)
class Caption:
    """Say what pictures show.

    Candidates are proposed, and a frozen scorer chooses. With the embedded scorer they are the sentences of its own
    small world, searched slot by slot; any other model needs to be told where candidates come from: a list, an index
    of texts, a template, a captioning model, a search for words; several may be given. The score of a caption is its
    mean cosine with views of the picture plus the parts below; --top 5 shows them.

        clipopt caption picture.png
        clipopt caption photos/ --out captions.jsonl
        clipopt caption photo.jpg --scorer openai/clip-vit-base-patch32 --texts captions.txt --top 5
        clipopt caption photo.jpg --scorer MODEL --captioner Salesforce/blip-image-captioning-base
        clipopt caption photo.jpg --scorer MODEL --template "a {age} photo of a {thing}" --slots slots.json
    """

    pictures: tuple[Path, ...]
    """Picture files, and folders of them."""
    scorer: str = "embedded"
    """Who chooses: see `clipopt image --help`."""
    texts: Path | None = None
    """A text file of candidates, one a line."""
    corpus: Path | None = None
    """An index of texts that `clipopt index` wrote with the same scorer."""
    nearest: int = 64
    """How many texts of the list or corpus to rank for each picture: the nearest ones."""
    template: str | None = None
    """A sentence with slots in braces; needs --slots."""
    slots: Path | None = None
    """A JSON file of the template's slots, each with its list of values; "" leaves a slot out."""
    captioner: str | None = None
    """An image-to-text model of transformers (BLIP, GIT, ViT with GPT-2) whose captions are sampled."""
    samples: int = 16
    """Captions to sample for each picture."""
    temperature: float = 1.0
    """Of the sampling: lower is more alike."""
    search: int = 0
    """Search this many words by gradient that the scorer takes for the picture; 0 for none."""
    search_steps: int = 200
    """Steps of that search."""
    polish: str | None = None
    """A masked language model (BERT) that tries other words in the best captions."""
    second: str = "auto"
    """A second stage that ranks the best ten again: a BLIP with a matching head, another scorer, or none. Auto takes
    the embedded judge beside the embedded scorer."""
    background: Path | None = None
    """Texts (a file, one a line) or pictures (a folder) that have nothing to do with the pictures: texts that fit
    those too lose score. The embedded scorer brings its own."""
    top: int = 1
    """Captions of each picture."""
    views: int = 1
    """1 scores the whole picture, up to 5 its corners too."""
    prior: float = Weights.prior
    """Weight of the mean cosine with the background."""
    consensus: float = Weights.consensus
    """Weight of the mean cosine with the other candidates."""
    likelihood: float = Weights.likelihood
    """Weight of the mean log probability per token, by --language or else by the captioner."""
    language: str | None = None
    """A causal language model (GPT-2) for the likelihood."""
    second_weight: float = Weights.second
    """Weight of the second stage."""
    diversity: float = Weights.diversity
    """With --top: how much a caption loses for being like one above it."""
    seed: int = 0
    """Of samples and searches."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Where to write: FILE.jsonl or FILE.csv, or a folder that gets one .txt for each picture."""
    overwrite: bool = False
    """Replace what --out holds of these files."""
    json: bool = False
    """Print JSON alone on stdout."""
    quiet: bool = False
    """No progress bar."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the work.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        require_positive(
            top=self.top,
            nearest=self.nearest,
            samples=self.samples,
            temperature=self.temperature,
            search_steps=self.search_steps,
        )
        if self.search < 0:
            raise ValueError(f"--search must be 0 or more words, got {self.search}")
        for name in ("prior", "consensus", "likelihood", "second_weight", "diversity"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"--{name.replace('_', '-')} must be a finite number, got {getattr(self, name)}")
        pictures = find_pictures(self.pictures)
        if self.out is not None:
            check_captions(self.out, pictures, overwrite=self.overwrite)
        captioner = self._captioner()
        device = resolve_device(self.device)
        broken: list[Path] = []
        batches = read_batches(pictures, broken)
        batch = next(batches)

        def work() -> None:
            from tqdm import tqdm

            done: list[Captioned] = []
            bar = tqdm(total=len(pictures), unit="picture", disable=self.quiet or len(pictures) == 1, file=sys.stderr)
            with bar, graceful_interrupt() as interrupted:
                some: list[Any] | None = batch
                while some is not None:
                    best = captioner([picture.to(device) for _, picture in some], self.top)
                    done += [(found, captions) for (found, _), captions in zip(some, best, strict=True)]
                    bar.update(len(done) + len(broken) - bar.n)
                    if interrupted():
                        break
                    some = next(batches, None)
                stopped = interrupted()
            self._say(done, broken, captioner.scorer)
            if stopped:
                raise KeyboardInterrupt

        return work

    def _say(self, done: Sequence[Captioned], broken: Sequence[Path], scorer: Scorer) -> None:
        if self.out is not None:
            write_captions(self.out, done)
        if self.json:
            result = {"scorer": scorer.name, "fingerprint": scorer.fingerprint, "pictures": as_json(done)}
            result["broken"] = [str(path) for path in broken]
            sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        else:
            sys.stdout.write(f"{self.out}\n" if self.out is not None else table(done, self.top))
        if not done:
            raise OSError(f"none of the {len(broken)} pictures could be read")

    def _captioner(self) -> Captioner:
        device = str(resolve_device(self.device))
        template = self._template()
        texts = [] if self.texts is None else read_lines(self.texts)
        scorer = load_scorer(self.scorer, device=device)
        encode = TextEncoder(scorer)
        generators: list[Generator] = []
        if texts:
            generators.append(Corpus(texts, scorer.encode_text(texts), self.nearest, "list"))
        if template is not None:
            generators.append(Beam(encode, template, source="template"))
        generators += self._models(scorer, device)
        if not generators:
            if not _reads_world(scorer):
                raise ValueError(
                    f"say where captions for {self.scorer} come from: --texts FILE, --corpus INDEX, --captioner MODEL, "
                    "--search WORDS, or --template TEXT --slots FILE"
                )
            generators.append(Beam(encode, WorldGrammar()))
        weights = Weights(
            prior=self.prior,
            consensus=self.consensus,
            likelihood=self.likelihood,
            second=self.second_weight,
            diversity=self.diversity,
        )
        return Captioner(
            scorer,
            generators,
            weights,
            views=self.views,
            background=self._background(scorer),
            language=LanguageModel(self.language, device=device) if self.language is not None else None,
            second=second_stage(self.second, self.scorer, device),
            polish=MaskedPolish(self.polish, device=device) if self.polish is not None else None,
            encode=encode,
        )

    def _models(self, scorer: Scorer, device: str) -> list[Generator]:
        """What proposes with a model or an index of its own."""
        generators: list[Generator] = []
        if self.corpus is not None:
            index = Index.open(self.corpus)
            index.require(scorer)
            if index.manifest.kind != "texts" or not len(index):
                raise ValueError(f"{self.corpus} holds {len(index)} {index.manifest.kind}: expected an index of texts")
            rows = torch.cat(list(index.parts()))
            generators.append(Corpus([item["text"] for item in index.items()], rows, self.nearest, "corpus"))
        if self.captioner is not None:
            generators.append(
                SampledCaptions(
                    self.captioner, count=self.samples, temperature=self.temperature, seed=self.seed, device=device
                )
            )
        if self.search:
            generators.append(PromptSearch(scorer, length=self.search, steps=self.search_steps, seed=self.seed))
        return generators

    def _template(self) -> Template | None:
        if (self.template is None) != (self.slots is None):
            raise ValueError("--template and --slots belong together: give both")
        if self.template is None or self.slots is None:
            return None
        try:
            slots = json.loads(self.slots.read_text(encoding="utf-8"))
            right = all(isinstance(v, list) and all(isinstance(s, str) for s in v) for v in slots.values())
        except (OSError, ValueError, AttributeError) as error:
            raise ValueError(f"cannot read slots from {self.slots}: {error}") from error
        if not right:
            raise ValueError(f'{self.slots} must hold an object such as {{"thing": ["cat", "dog"]}}')
        return Template(self.template, slots)

    def _background(self, scorer: Scorer) -> Tensor | None:
        if self.background is None:
            embedded = _reads_world(scorer)
            return scorer.encode_text(WorldGrammar().typical()).mean(0) if embedded else None
        if self.background.is_file():
            return scorer.encode_text(read_lines(self.background)).mean(0)
        rows = [
            encode_views(scorer, [picture for _, picture in batch])[:, 0]
            for batch in read_batches(find_pictures([self.background]), [])
            if batch
        ]
        if not rows:
            raise ValueError(f"no picture in {self.background} can be read: expected some for the background")
        return torch.cat(rows).mean(0)


def _reads_world(scorer: Scorer) -> bool:
    """Whether the sentences of the embedded world are its own; those of its adapters are, too."""
    return isinstance(getattr(scorer, "base", scorer), TowerScorer)


@dataclass(frozen=True)
class Rank:
    """Rank the texts of a list for every picture.

    The probability is what the scorer's head makes of it: among these texts (softmax, as CLIP), or of each text by
    itself (sigmoid, as SigLIP). --json prints all parts of the score.

        clipopt rank photo.jpg --texts captions.txt
    """

    pictures: tuple[Path, ...]
    """Picture files, and folders of them."""
    texts: Path | None = None
    """A text file, one text a line."""
    scorer: str = "embedded"
    """Who ranks: see `clipopt image --help`."""
    second: str = "none"
    """A second stage; see `clipopt caption --help`."""
    background: Path | None = None
    """As in `clipopt caption`; without it there is no prior."""
    top: int = 5
    """How many of the texts to show for each picture."""
    views: int = 1
    """1 scores the whole picture, up to 5 its corners too."""
    prior: float = Weights.prior
    """Weight of the mean cosine with the background."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Where to write: FILE.jsonl or FILE.csv, or a folder that gets one .txt for each picture."""
    overwrite: bool = False
    """Replace what --out holds of these files."""
    json: bool = False
    """Print JSON alone on stdout."""
    quiet: bool = False
    """No progress bar."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the work."""
        if self.texts is None:
            raise ValueError("say what to rank: --texts FILE, one text a line")
        # All texts compete, so that the probabilities are of all of them.
        prior = 0.0 if self.background is None else self.prior
        return Caption(**{**vars(self), "prior": prior, "nearest": sys.maxsize}).prepare()


def second_stage(spec: str, scorer: str, device: str) -> Pairs | None:
    """What `--second` means beside `--scorer`; None for no second stage."""
    if spec == "none" or (spec == "auto" and scorer != "embedded"):
        return None
    if spec != "auto" and is_matching_model(spec):
        return ImageTextMatching(spec, device=device)
    other = load_scorer("embedded-judge" if spec == "auto" else spec, device=device)
    encode = TextEncoder(other)

    def say(picture: Tensor, texts: Sequence[str]) -> list[float]:
        return (encode(texts) @ encode_views(other, [picture])[0, 0]).tolist()

    return say
