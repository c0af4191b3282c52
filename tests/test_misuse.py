"""What a user's Python gets wrong is told in a sentence: what was expected, what came, what to do.

The cases run in one process of their own, without the checks of shapes that the other tests run under.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import clipopt

# The kind of error, a part of its sentence, and what a user wrote.
CASES = [
    ("TypeError", "got the text 'a cat' alone: write ['a cat']", 'scorer.encode_text("a cat")'),
    ("ValueError", "no texts to encode: expected at least one", "scorer.encode_text([])"),
    ("TypeError", "expected a list of texts, got 3 at place 1", 'scorer.encode_text(["a cat", 3])'),
    ("TypeError", "expected a list of texts, got None", "scorer.encode_text(None)"),
    ("TypeError", "got the text 'a cat' alone", 'natural.encode_text("a cat")'),
    ("ValueError", "no texts to encode", "natural.encode_text([])"),
    ("TypeError", "got torch.uint8: write images.float() / 255", "scorer.encode_image(grey.mul(255).byte())"),
    ("ValueError", "got values from 0 to 255: divide bytes by 255", "scorer.encode_image(255 * picture)"),
    ("ValueError", "leave out mean and std", "scorer.encode_image((picture - 0.45) / 0.22)"),
    ("ValueError", "got values that are not a number", "scorer.encode_image(grey * math.nan)"),
    ("ValueError", "got shape (3, 8, 8): write images[None]", "scorer.encode_image(grey[0])"),
    ("ValueError", "got shape (1, 1, 8, 8): write images.expand(-1, 3, -1, -1)", "scorer.encode_image(grey[:, :1])"),
    ("ValueError", "(1, 4, 8, 8): write images[:, :3]", "scorer.encode_image(torch.ones(1, 4, 8, 8))"),
    ("ValueError", "images.permute(0, 3, 1, 2)", "scorer.encode_image(torch.ones(1, 8, 8, 3))"),
    ("ValueError", "images[None].permute(0, 3, 1, 2)", "scorer.encode_image(torch.ones(8, 8, 3))"),
    ("ValueError", "got shape (1, 3, 0, 8)", "scorer.encode_image(torch.ones(1, 3, 0, 8))"),
    ("ValueError", "images are on meta, but what should see them is on cpu", 'scorer.encode_image(grey.to("meta"))'),
    ("TypeError", "got a ndarray", "scorer.encode_image(grey.numpy())"),
    ("TypeError", "got torch.uint8", "natural.encode_image(grey.mul(255).byte())"),
    ("ValueError", "got values from 0 to 255", "natural.encode_image(255 * picture)"),
    ("ValueError", "write images[None]", "natural.perceive(grey[0])"),
    ("TypeError", "rng must be a torch.Generator, got 0: clipopt.generator(0)", "co.params.Fourier(8, 8, rng=0)"),
    ("TypeError", "rng must be a torch.Generator, got 5: clipopt.generator(5)", "co.params.Palette(8, 8, rng=[5])"),
    ("TypeError", "rng must be a torch.Generator, got None", "co.params.Siren(8, 8, rng=None)"),
    ("ValueError", "an image needs a positive height and width", "co.params.Pixels(0, 8, rng=rng)"),
    ("TypeError", "init must be floats in [0, 1]", "co.params.Pixels(8, 8, rng=rng, init=grey.byte())"),
    ("ValueError", "init must be floats in [0, 1] of shape", "co.params.Pyramid(8, 8, rng=rng, init=grey[0])"),
    ("ValueError", "got values from 0 to 255", "co.params.DeepPrior(8, 8, rng=rng, init=255 * picture)"),
    ("TypeError", "rng must be a torch.Generator, got 0", "co.augment.crops(2, 8)(grey, 0)"),
    ("TypeError", "rng must be a torch.Generator, got 0", "matching()(0, 0)"),
    ("TypeError", "expected what clipopt.load_scorer returns as scorer, got a str", 'matching(scorer="embedded")'),
    ("TypeError", "expected what clipopt.target returns as target, got a str", 'matching(target="a red circle")'),
    ("TypeError", "as param, got a Tensor", "matching(param=grey)"),
    ("ValueError", "got shape (3, 8, 8): write images[None]", "matching(param=lambda: grey[0])(0, rng)"),
    ("ValueError", "got values from 0 to 255", "matching(param=lambda: 255 * picture)(0, rng)"),
    ("TypeError", "got torch.uint8", "matching(param=lambda: grey.byte())(0, rng)"),
    ("TypeError", "return {'loss': it} in place of it", "first(lambda step, rng: image().sum())"),
    (
        "TypeError",
        "term 'a' must be a tensor that depends on a parameter, got a float",
        'first(lambda s, r: {"a": 1.0})',
    ),
    ("ValueError", "the loss returned no terms", "first(lambda step, rng: {})"),
    ("ValueError", "must be a scalar or have shape (items,)", 'first(lambda step, rng: {"a": image()})'),
    ("ValueError", "no gradient reaches the optimizer's 1 tensors", "first(matching(), of=other)"),
    ("ValueError", "no term depends on a parameter", 'first(lambda step, rng: {"a": image().detach().sum()})'),
    ("TypeError", "and a torch optimizer, got a Matching and a list", "first(matching(), optimizer=[])"),
    ("TypeError", "a loss that can be called and a torch optimizer, got a Tensor", "first(grey)"),
    ("ValueError", "no prompts: expected at least one", "co.target(scorer, [])"),
    ("TypeError", "a prompt must be a text, a picture of shape (3, height, width), or a dict", "co.target(scorer, 3)"),
    ("TypeError", "got a NoneType", "co.target(scorer, ['a red circle', None])"),
    ("TypeError", "the weight of 'a' must be a number, got a str", 'co.target(scorer, {"a": "much"})'),
    ("TypeError", "got torch.uint8", "co.target(scorer, grey[0].byte())"),
    ("TypeError", 'a scorer goes by its name, such as "embedded", got a NoneType', "co.load_scorer(None)"),
    ("ValueError", "unknown scorer 'embeded'", 'co.load_scorer("embeded")'),
    ("ValueError", "cannot use device 'gpu'", 'co.load_scorer("embedded", device="gpu")'),
    ("TypeError", "'float' object cannot be interpreted as an integer", "co.generator(0.5)"),
    ("AttributeError", "module 'clipopt' has no attribute 'optimise'", "co.optimise"),
    # What is right is done.
    ("None", "", "scorer.encode_image(grey.double())"),
    ("None", "", "scorer.encode_image(grey.half())"),
    ("None", "", "scorer.encode_image(1.3 * picture - 0.15)"),
    ("None", "", "scorer.encode_text(('a cat',))"),
    ("None", "", 'co.load_scorer(Path("embedded"), device=torch.device("cpu"))'),
    ("None", "", "co.params.Pixels(8, 8, rng=(co.generator(n) for n in range(2)))"),
    ("None", "", "first(matching())"),
]

SCRIPT = """
import json, math, sys
from pathlib import Path
import torch
import clipopt as co

scorer, natural = co.load_scorer("embedded"), co.load_scorer("natural:lite0")
grey, rng = torch.full((1, 3, 8, 8), 0.5), co.generator(0)
picture = torch.linspace(0, 1, 192).view(1, 3, 8, 8)
image, other = co.params.Pixels(8, 8, rng=rng), co.params.Pixels(8, 8, rng=rng)
goal = co.target(scorer, "a red circle")

def matching(param=image, scorer=scorer, target=goal):
    return co.Matching(param, scorer, target)

def first(loss, of=image, optimizer=None):
    optimizer = torch.optim.SGD(of.parameters(), lr=0.1) if optimizer is None else optimizer
    return next(co.optimize(loss, optimizer, steps=1, seed=0))

told = []
for case in json.load(sys.stdin):
    try:
        eval(case)
        told.append(["None", ""])
    except Exception as error:
        told.append([type(error).__name__, str(error)])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, tuple[str, str]]:
    """The kind of error and its sentence, by what a user wrote."""
    source = str(Path(clipopt.__file__).parents[1])
    written = [case for _, _, case in CASES]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(written),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(written, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("kind", "part", "case"), CASES)
def test_misuse_is_told_in_a_sentence(kind: str, part: str, case: str, told: dict[str, tuple[str, str]]):
    assert told[case][0] == kind, told[case]
    assert part in told[case][1]
    assert "\n" not in told[case][1]
