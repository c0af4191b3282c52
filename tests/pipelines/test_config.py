"""Settings of commands: as config.json keeps them, and as a shell reads them."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from clipopt.cli import _parse
from clipopt.commands.image import Image
from clipopt.commands.latent import Latent
from clipopt.commands.mesh import Mesh
from clipopt.commands.motion import Motion
from clipopt.commands.story import Story
from clipopt.pipelines.config import anchored, as_config, command_line, from_config
from clipopt.pipelines.editing import Editing
from clipopt.pipelines.extras import Extras
from clipopt.pipelines.mesh.staging import Staging
from clipopt.record import dumped

TEXTS = (
    'it\'s "quoted" $HOME `id` \\',
    "-5 degrees",
    "--steps",
    "-",
    "--",
    "two\nlines\tand a tab",
    " a ",
    "ü 🍎",
    "*?[!]",
)
SETTINGS = [
    Image(("a red apple",)),
    Image(TEXTS, scorer=("a", "b"), scorer_weight=(1.0, 1e-07), negative=TEXTS, steps=3, lr=0.1, smooth=0.0, seed=-3),
    Image(("a",), editing=Editing(init=Path("/x y/-a.png"), was="-x", region=((Path("/m.png"), "a tree"),), tile=True)),
    Image(("a",), transparent=True, extras=Extras(saturation=-1e-05, edges=Path("/e.png"), aesthetic="-h.pt")),
    Latent(("-a b",), init=Path("/i.png"), negative=("x", "y"), told="-t", guidance=0.0),
    Mesh(("a", "b"), staging=Staging(elevation=(-20.0, 5.0), view=(("back", "a tail"), ("front", "a face")))),
    Motion(("a person waves",), steps=0, in_place=True, phases="a; b"),
    Story(("a", "b"), pan="-0.1,0.2", zoom=0.9),
]  # fmt: skip
NAMES = {Image: "image", Latent: "latent", Mesh: "mesh", Motion: "motion", Story: "story"}


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: type(settings).__name__)
def test_settings_survive_a_config_and_a_shell(settings: object):
    kept = json.loads(dumped(as_config(settings)))
    assert from_config(type(settings), kept) == settings
    command = command_line(NAMES[type(settings)], settings)
    show = 'import json, sys; print(json.dumps(sys.argv[1:]), end="")'
    line = shlex.join([sys.executable, "-c", show, *command[1:]])
    read = json.loads(subprocess.run(["sh", "-c", line], capture_output=True, check=True, text=True).stdout)
    assert _parse(read[0], read[1:]) == settings


def test_what_one_call_asked_for_is_not_repeated():
    settings = replace(SETTINGS[0], out=Path("x"), overwrite=True, dry_run=True, json=True, quiet=True)
    assert command_line("image", settings) == ["clipopt", "image", "a red apple"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"steps": "many"}, "steps is"),
        ({"steps": True}, "steps is"),
        ({"steps": 1.5}, "steps is"),
        ({"prompts": "a"}, "prompts is"),
        ({"prompts": ["a", 1]}, "prompts is"),
        ({"param": "oil"}, "param is"),
        ({"param": ["pixels"]}, "param is"),
        ({"lr": 10**400}, "lr is"),
        ({"editing": 3}, "editing is"),
        ({"editing": {"region": [["a.png"]]}}, "region is"),
        ({"editing": {"init": 3}}, "init is"),
        ({"unheard": 1}, "no setting 'unheard'"),
        ({"transparent": 1}, "transparent is"),
    ],
)
def test_a_config_of_other_kinds_is_refused(changed: dict, reason: str):
    kept = json.loads(dumped(as_config(SETTINGS[0])))
    with pytest.raises(ValueError, match=reason):
        from_config(Image, kept | changed)
    with pytest.raises(ValueError, match="lacks"):
        from_config(Image, {})


def test_models_in_files_are_found_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s.safetensors", "embedded", "h.pt"):
        (tmp_path / name).touch()
    assert anchored("s.safetensors") == str(tmp_path / "s.safetensors")
    assert anchored("open_clip:ViT-B-32/h.pt") == f"open_clip:ViT-B-32/{tmp_path / 'h.pt'}"
    for spec in ("embedded", "natural:lite2", "openai/clip-vit-base-patch32", "open_clip:ViT-B-32/laion2b", "none"):
        assert anchored(spec) == spec
