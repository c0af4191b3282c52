"""What a sentence says one after the other, and what is known of how actions go."""

import re
from dataclasses import dataclass

_SUBJECT = re.compile(
    r"^((?:a|an|the|one|some|this)\s+(?:\w+\s+)?(?:person|man|woman|figure|character|human|boy|girl|child|dancer|athlete|"
    r"robot|actor|player)|someone|somebody|he|she|they)\b\s*",
    re.IGNORECASE,
)
_CUT = re.compile(r"\s*(?:;|,?\s+(?:and\s+)?(?:then|afterwards|after that)\s+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Course:
    """How an action goes: single pictures of it, in turn.

    Attributes:
        poses: What each shows, behind "a person".
        loop: Whether it goes around again and again.
        mirrored: Whether the second half is the mirror image of the first.
    """

    poses: tuple[str, ...]
    loop: bool = False
    mirrored: bool = False


_COURSES: tuple[tuple[str, Course], ...] = (
    (r"jumping jack|star jump", Course(("standing", "in the middle of a jumping jack"), loop=True)),
    (r"\bjump", Course(("standing", "crouching before a jump", "jumping", "landing from a jump", "standing"))),
    (r"\bwalk|\bstroll", Course(("walking",), loop=True, mirrored=True)),
    (r"\brun\b|\brunning|\bruns\b|\bjog", Course(("running",), loop=True, mirrored=True)),
    (r"\bmarch", Course(("lifting the left knee",), loop=True, mirrored=True)),
    (r"\bcrawl", Course(("crawling",), loop=True, mirrored=True)),
    (r"\bclimb", Course(("climbing",), loop=True, mirrored=True)),
    (r"\bsits? down|\bsitting down", Course(("standing", "sitting", "sitting"))),
    (r"\bup from (a|the) (chair|seat)|\bstand\w* up", Course(("sitting", "sitting", "standing"))),
    (r"from (a|the) squat", Course(("squatting", "squatting", "standing"))),
    (r"from the knees", Course(("kneeling", "kneeling on the left knee", "standing"))),
    (r"\b(get|gets|getting) up", Course(("lying on the back", "sitting on the floor", "squatting", "standing"))),
    (r"\b(lie|lies|lying) down", Course(("standing", "squatting", "sitting on the floor", "lying on the back"))),
    (r"\bpick", Course(("standing", "touching the toes", "carrying something"))),
    (r"\bputs? (something|it|a \w+) (down|on)|\bputting (something|it) (down|on)",
     Course(("carrying something", "touching the toes", "standing"))),
    (r"\bthrow\w*\b.*\bleft", Course(("throwing a ball with the left arm", "pointing forward with the left arm"))),
    (r"\bthrow", Course(("throwing a ball with the right arm", "pointing forward with the right arm"))),
    (r"\bsquats again|\bsquatting again|\bdo\w* squats", Course(("standing", "squatting"), loop=True)),
    (r"\bpush-?ups", Course(("doing a push-up",), loop=True)),
    (r"\bsit-?ups", Course(("lying on the back", "doing a sit-up"), loop=True)),
    (r"\blunges\b.*again|\bdo\w* lunges", Course(("lunging with the left leg",), loop=True, mirrored=True)),
    (r"\bbow(s|ing)?\b", Course(("standing", "bowing", "standing"))),
    (r"side to side", Course(("bending to the left with the right arm over the head",), loop=True, mirrored=True)),
    (r"\bwav(e|es|ing)\b.*\bleft", Course(("waving with the left hand",), loop=True)),
    (r"\bwav(e|es|ing)\b.*\bboth", Course(("waving with both hands",), loop=True)),
    (r"\bwav(e|es|ing)\b", Course(("waving with the right hand",), loop=True)),
    (r"\bclap|\bapplau", Course(("clapping",), loop=True)),
    (r"\bflap", Course(("raising both arms in a V", "standing"), loop=True)),
    (r"\bnod", Course(("looking up", "looking down"), loop=True)),
    (r"\bshak\w* (the|his|her|their) head|\bsay(s|ing)? no\b",
     Course(("looking to the left",), loop=True, mirrored=True)),
    (r"\bpunch\w*\b.*\bleft", Course(("boxing", "punching with the left arm", "boxing"))),
    (r"\bpunch\w*\b.*\bright", Course(("boxing", "punching with the right arm", "boxing"))),
    (r"\blook\w* around|left and right", Course(("looking to the left",), loop=True, mirrored=True)),
)  # fmt: skip


def course(phrase: str) -> Course | None:
    """How the action that a phrase names goes, where it is one that is known."""
    return next((found for pattern, found in _COURSES if re.search(pattern, phrase, re.IGNORECASE)), None)


def split_phases(prompt: str, given: str | None = None) -> list[str]:
    """The sentence's parts, one after the other, each with its subject.

    Args:
        prompt: Such as "a person raises both arms, then squats".
        given: The parts as a user says them, with semicolons between them.

    Raises:
        ValueError: There is nothing to do in it.
    """
    parts = [part.strip(" ,.") for part in (given.split(";") if given is not None else _CUT.split(prompt))]
    parts = [part for part in parts if part]
    if not parts:
        raise ValueError('expected phases such as "a person raises both arms; a person squats", got none')
    whole = _SUBJECT.match(prompt.strip())
    subject = whole[1] if whole else "a person"
    return [part if _SUBJECT.match(part) else f"{subject} {part}" for part in parts]


def without_subject(text: str) -> str:
    """What a part of a sentence says of its subject."""
    return _SUBJECT.sub("", text)


def backward_sentence(phases: list[str]) -> str:
    """The same parts in the other order."""
    subject = _SUBJECT.match(phases[-1])
    start = subject[0] if subject else ""
    rest = [without_subject(part) for part in reversed(phases)]
    return (start + ", then ".join(rest)).strip()
