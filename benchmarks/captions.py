"""How often captions of unseen pictures are right, and how often a search finds the picture that was described.

    python benchmarks/captions.py [--pictures 200] [--scorer embedded] [--second auto] [--out FILE]

The pictures are those of the embedded world with a seed that no training draws from; their truth is what the painter
painted. Needs the emoji font that the painter needs. Prints one JSON object on stdout. See README.md beside this file.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from clipopt.captions import Beam, Captioner, TextEncoder, encode_views
from clipopt.commands.work.caption import describer, second_stage, usual_weights
from clipopt.embedded.captions import Scene, caption, slots, true_of
from clipopt.embedded.concepts import things
from clipopt.embedded.grammar import WorldGrammar
from clipopt.embedded.parsing import parse
from clipopt.evaluation.suite import interval
from clipopt.scorers import load_scorer
from clipopt.scorers.tower import TowerScorer
from recipes.embedded.measure import UNSEEN, accuracy
from recipes.embedded.painters import Painter

FIRST = 100_000
"""Index of the first picture: far from those that the evaluation of the scorers draws."""


def complete(said: Scene, truth: Scene) -> bool:
    """Whether a true caption states every slot that the picture has: things, count, colours, order, background.

    A thing in its own colour need not name it, a shape must; size and place are left out.
    """
    wanted = {"background": truth.background, "relation": truth.relation, "count": truth.count}
    if truth.concept >= len(things()):
        wanted["colour"] = truth.colour
    if truth.other is not None and truth.other >= len(things()):
        wanted["other_colour"] = truth.other_colour
    return (said.other is None) == (truth.other is None) and all(
        not value or (getattr(said, name) or (1 if name == "count" else None)) == value
        for name, value in wanted.items()
    )


def judge(said: Scene | None, truth: Scene) -> dict[str, bool]:
    """What is right about a caption."""
    if said is None:  # no sentence of this world
        return dict.fromkeys(("things", "count", "background", "nothing said is false", "all slots"), False)
    true = bool(true_of(slots([said]), slots([truth]))[0, 0])
    return {
        "things": {said.concept, said.other} == {truth.concept, truth.other},
        "count": (said.count or 1) == truth.count,
        "background": said.background == (truth.background or None),
        "nothing said is false": true,
        "all slots": true and complete(said, truth),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--scorer", default="embedded")
    parser.add_argument("--second", default="auto", help="see clipopt caption --help")
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    scorer = load_scorer(options.scorer)
    encode = TextEncoder(scorer)
    beam = Beam(encode, WorldGrammar())
    generators = [beam, describer()] if options.scorer == "embedded" else [beam]
    second = second_stage(options.second, options.scorer, "cpu")
    background = scorer.encode_text(WorldGrammar().typical()).mean(0)
    weights = usual_weights(options.second, options.scorer)
    captioner = Captioner(
        scorer, generators, weights, views=options.views, background=background, second=second, encode=encode
    )
    painter = Painter.of(load_scorer("embedded").towers.config.vocabulary, UNSEEN)
    pictures, truths, verdicts = [], [], {"first candidate": [], "reranked": []}
    for index in range(FIRST, FIRST + options.pictures):
        painted, truth = painter.paint(index)
        picture = torch.from_numpy(painted).permute(2, 0, 1).float() / 255
        first = beam([picture], encode_views(scorer, [picture])[:, 0])[0][0]
        best = captioner([picture])[0][0]
        for way, text in (("first candidate", first.text), ("reranked", best.text)):
            verdicts[way].append(judge(parse(text), truth))
        pictures.append(picture)
        truths.append(truth)
        print(f"{index - FIRST + 1}/{options.pictures}", end="\r", file=sys.stderr)
    rows = encode_views(scorer, pictures)[:, 0]
    full = [caption(Scene(**{**asdict(t), "size": None, "place": None})) for t in truths]
    similarity = encode(full) @ rows.T
    # Another picture of which the same caption is true is as good a find.
    right = true_of(slots([Scene(**{**asdict(t), "size": None, "place": None}) for t in truths]), slots(truths)).T
    order = similarity.argsort(1, descending=True)
    recall = {f"recall@{k}": right.gather(1, order[:, :k]).any(1).float().mean().item() for k in (1, 5)}
    results = {
        "pictures": options.pictures,
        "fingerprint": scorer.fingerprint,
        "weights": asdict(weights),
        "second": options.second,
        "shares": {
            way: {
                key: {"share": sum(v[key] for v in some) / len(some), "interval": interval([v[key] for v in some])}
                for key in some[0]
            }
            for way, some in verdicts.items()
        },
        "retrieval": recall,
        "zero-shot accuracy": accuracy(scorer, 1000) if isinstance(scorer, TowerScorer) else None,
    }
    text = json.dumps(results, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
