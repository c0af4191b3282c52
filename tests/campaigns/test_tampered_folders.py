"""Two hundred tampered runs, indexes, adapters and models: nothing in them is executed or leads out of its folder.

One alone: `pytest -m "" -n 0 "tests/campaigns/test_tampered_folders.py::test_nothing_leads_out[123]"`.
"""

import io
import json
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaigns.kit import quick
from campaigns.room import Room, cases, chance
from campaigns.spoil import spoil, spoil_file

EYES = ["--scorer", "scorer.safetensors"]
RUNS = ("image", "latent", "mesh", "motion", "story")
CODE = "import pathlib\npathlib.Path({canary!r}).write_text('executed')\nclass Own:\n    pass\n"
OUT = ("..", "../../outside", "../outside/photos", "../../../outside/image-run", "{outside}", "{outside}/photo.png",
       "{outside}/photos.index/part", "/", "~", "a/../../outside")  # fmt: skip
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".npy", ".pkl")


class Canary:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({self.path!r}, 'w').write('executed')",)


@cases(200, quick=4)
def test_nothing_leads_out(number: int, room: Room) -> None:
    rng, folder = chance("tampered folder", number), room.clean()
    name, commands = _target(rng)
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice(TAMPERINGS)(rng, folder / name, room.outside)
    for command in commands:
        room.judge(command, limit=20)
    assert not (room.outside / "canary").exists()


def _target(rng: random.Random) -> tuple[str, list[list[str]]]:
    """A folder, and commands that read it or write to it."""
    kind = rng.choice(("run", "run", "index", "index", "adapter", "clip", "pipeline", "pipeline"))
    match kind:
        case "run":
            task = rng.choice(RUNS)
            resume = [task, "--resume", f"{task}-run"]
            again = [*quick(task), "--out", f"{task}-run", "--overwrite"]
            return f"{task}-run", rng.choice(([resume], [resume, again], [again], [[*resume, "--dry-run"]]))
        case "index":
            search = ["search", "photos.index", rng.choice(("a red apple", "photo.png"))]
            again = quick("index")
            return "photos.index", rng.choice(
                ([search], [again], [search, again, search], [[*search, "--duplicates", "0.9"]])
            )
        case "adapter":
            classify = ["classify", "photos", "--scorer", "photos.adapter"]
            again = [*quick("adapt"), "--out", "photos.adapter", "--overwrite"]
            image = ["image", "a red apple", *quick("image")[4:], "--scorer", "photos.adapter"]
            return "photos.adapter", rng.choice(([classify], [again], [image], [classify, again]))
        case "clip":
            classify = ["classify", "photos", "--scorer", "clip", "--labels", "apple,tree"]
            caption = ["caption", "photo.png", *EYES, "--texts", "texts.txt", "--captioner", "clip"]
            return "clip", [
                rng.choice((classify, caption, ["index", "photos", "--scorer", "clip", "--out", "new.index"]))
            ]
        case _:
            return "pipeline", [rng.choice((quick("latent"), [*quick("latent"), "--method", "latent"]))]


def _files(folder: Path, *suffixes: str) -> list[Path]:
    """Those of the folder's own: what is tampered with is not what a link leads to."""
    every = (path for path in folder.rglob("*") if path.is_file() and (not suffixes or path.suffix in suffixes))
    return sorted(path for path in every if _own(path, folder))


def _own(path: Path, folder: Path) -> bool:
    """Whether it is there, and no link leads to it."""
    return path.exists() and path.resolve() == folder.parent.resolve() / path.relative_to(folder.parent)


def _lead_out(rng: random.Random, folder: Path, outside: Path) -> None:
    """Paths in JSON that lead somewhere else: part names, pictures, bases, folders."""
    path = rng.choice(_files(folder, ".json", ".jsonl") or _files(folder))
    way = rng.choice(OUT).format(outside=outside)
    texts = (
        path.read_text(errors="replace").splitlines() if path.suffix == ".jsonl" else [path.read_text(errors="replace")]
    )
    path.write_text("\n".join(json.dumps(_with_paths(_tree(text), way, rng)) for text in texts if text) + "\n")


def _tree(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # it is damaged already
        return {}


def _with_paths(tree: Any, way: str, rng: random.Random) -> Any:
    if isinstance(tree, dict):
        return {key: _with_paths(value, way, rng) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_with_paths(value, way, rng) for value in tree]
    return (way if rng.random() < 0.7 else f"{way}/{tree}") if isinstance(tree, str) and rng.random() < 0.3 else tree


def _edit(rng: random.Random, folder: Path, outside: Path) -> None:
    path = rng.choice(_files(folder, ".json", ".jsonl") or _files(folder))
    spoil_file(path, rng)


def _damage(rng: random.Random, folder: Path, outside: Path) -> None:
    path = rng.choice(_files(folder, *WEIGHTS) or _files(folder))
    path.write_bytes(spoil(path.read_bytes(), rng)) if rng.random() < 0.5 else spoil_file(path, rng)


def _exchange(rng: random.Random, folder: Path, outside: Path) -> None:
    first, second = rng.choice(_files(folder)), rng.choice(_files(rng.choice((folder, folder.parent))))
    first_bytes, second_bytes = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_bytes)
    second.write_bytes(first_bytes)


def _link(rng: random.Random, folder: Path, outside: Path) -> None:
    """Files and folders become links to those of somebody else."""
    inside = sorted(folder.rglob("*"))
    for path in rng.sample(inside, min(len(inside), rng.choice((1, 2, 5)))):
        if not _own(path, folder):
            continue
        there = outside / path.relative_to(folder.parent)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(
            rng.choice((there, os.path.relpath(there, path.parent), outside / "photo.png", outside / "photos"))
        )


def _link_all(rng: random.Random, folder: Path, outside: Path) -> None:
    """The usual names of what is written become links, previews and temporary files too."""
    for name in ("previews", "frames"):
        if (folder / name).is_dir() or rng.random() < 0.3:
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).symlink_to(outside / rng.choice(("photos", "image-run/previews", "story-run/frames")))
    for name in ("summary.json", "report.html", "result.png", "steps.jsonl", "part-00000000.npy", ".lock", "best.png",
                 "progress.mp4", "adapter.safetensors", "sheet.png", "checkpoint.pt"):  # fmt: skip
        if rng.random() < 0.4:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(outside / rng.choice(("secret.txt", "photo.png", "new-file")))


def _poison(rng: random.Random, folder: Path, outside: Path) -> None:
    """Pickles that execute, in place of weights or beside them."""
    made = io.BytesIO()
    pickle.dump({"state_dict": Canary(outside / "canary"), "step": 1}, made, protocol=rng.choice((0, 2, 4)))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, inside in (("data.pkl", made.getvalue()), ("version", b"3"), ("byteorder", b"little")):
            archive.writestr(f"archive/{name}", inside)
    path = rng.choice(_files(folder, *WEIGHTS) or _files(folder))
    data = rng.choice((made, zipped)).getvalue()
    if rng.random() < 0.4:
        path.write_bytes(data)
    else:
        names = {"model": "pytorch_model.bin", "diffusion_pytorch_model": "diffusion_pytorch_model.bin"}
        path.unlink()
        path.with_name(names.get(path.stem, f"{path.stem}.{rng.choice(('bin', 'pt', 'ckpt'))}")).write_bytes(data)


def _own_code(rng: random.Random, folder: Path, outside: Path) -> None:
    """Code of its own, named as models name theirs."""
    for name in ("own", "pipeline", "modeling_own", "tokenization_own", "__init__", "sitecustomize", "clip", "torch"):
        (folder / f"{name}.py").write_text(CODE.format(canary=str(outside / "canary")))
    paths = [path for path in _files(folder, ".json") if not path.name.endswith("index.json")]
    for path in rng.sample(paths, min(len(paths), rng.choice((1, 3, 9)))):
        (path.parent / "own.py").write_text(CODE.format(canary=str(outside / "canary")))
        tree = _tree(path.read_text(errors="replace"))
        if not isinstance(tree, dict):
            continue
        autos = ("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor", "AutoTokenizer", "AutoPipeline")
        own = rng.choice(("own.Own", "modeling_own.Own", f"{folder}--own.Own"))
        tree |= rng.choice((
            {"auto_map": dict.fromkeys(autos, own), "trust_remote_code": True},
            {"auto_map": {name: [own, own] for name in autos}, "model_type": "own", "tokenizer_class": "Own"},
            {"_class_name": rng.choice((["own", "Own"], ["pipeline", "Own"], "Own"))},
            {"custom_pipeline": "pipeline", "architectures": ["Own"], "processor_class": "Own"},
        ))  # fmt: skip
        if path.name == "model_index.json" and rng.random() < 0.7:
            part = rng.choice([key for key, value in tree.items() if isinstance(value, list)] or ["unet"])
            tree[part] = rng.choice(
                (
                    ["own", "Own"],
                    ["os", "system"],
                    ["builtins", "exec"],
                    ["pipeline.own", "Own"],
                    ["subprocess", "Popen"],
                )
            )
        path.write_text(json.dumps(tree))


TAMPERINGS: tuple[Callable[[random.Random, Path, Path], None], ...] = (
    _lead_out, _lead_out, _edit, _damage, _exchange, _link, _link_all, _poison, _own_code,
)  # fmt: skip
