"""How often a scorer of films is right on films of people that it has never seen."""

import torch

from clipopt.embedded.moves import ALIKE, deeds, sentence
from clipopt.embedded.people import poses
from clipopt.scorers.film import FilmScorer
from recipes.embedded.films import plan, show, show_stills


@torch.no_grad()
def measure(scorer: FilmScorer, world: int, films: int, stills: int) -> dict[str, float]:
    """How often a scorer is right on films and stills of a world that it has never seen.

    Returns:
        Shares: of stills named right among all poses; of films of one thing named right first, or among the first
        three, of all phrases; of two things in turn told from the other order; of directed films told from themselves
        backward; of moving films told from a frame of theirs held.
    """
    labels = list(deeds())
    alike = {frozenset(pair) for pair in ALIKE}
    text = scorer.encode_text([sentence([phrase]) for phrase in labels])
    posed = scorer.encode_text([sentence([one.phrase]) for one in poses()])
    drawn = torch.from_numpy(show_stills(world, 0, stills)).permute(0, 3, 1, 2).float() / 255
    named = (scorer.encode_image(drawn) @ posed.T).argmax(1) == torch.arange(stills) % len(posed)
    found: dict[str, list[bool]] = {"films": [], "top 3": [], "order": [], "backward": [], "held": []}
    for index in range(films):
        film = plan(world, index)
        seen = torch.from_numpy(show(film.rows, film.aside, world, index)).permute(0, 3, 1, 2).float() / 255
        frames = scorer.encode_image(seen)[None]
        fits = scorer.encode_rows(torch.cat([frames, frames.flip(1), frames[:, 5:6].expand_as(frames)]))
        mine, other = scorer.encode_text([sentence(film.phrases), sentence(film.phrases[::-1])])
        forward, backward, held = (fits @ mine).tolist()
        if len(film.phrases) == 1:
            order = (fits[0] @ text.T).argsort(descending=True)[:3].tolist()
            right = [labels[n] == film.phrases[0] or {labels[n], film.phrases[0]} in alike for n in order]
            found["films"].append(right[0])
            found["top 3"].append(any(right))
        else:
            found["order"].append(forward > float(fits[0] @ other))
        if film.backward:
            found["backward"].append(forward > backward)
        if not film.still:
            found["held"].append(forward > held)
    shares = {name: sum(values) / len(values) for name, values in found.items() if values}
    return {"stills": float(named.float().mean())} | shares
