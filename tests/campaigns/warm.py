"""A warm process that runs command lines, each in a fork of its own that is watched.

`Warm` starts it once; it imports everything and then only forks, so that a run costs what its work costs, and a crash,
a hang or a spoilt global ends with the fork. The fork's audit hook notes whatever it would change outside of its
folder, and every foreign program or piece of code that it starts.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRACE_S = 180.0
"""A run that is asked to stop must have ended by then, on a busy machine too."""
_HEAVY = ("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion", "imageio_ffmpeg", "jinja2", "kornia",
"tqdm",
          "transformers.models.clip.image_processing_pil_clip", "trimesh", "tyro")  # fmt: skip
_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WRITES = {"os.remove": (0,), "os.rename": (0, 1), "os.rmdir": (0,), "os.mkdir": (0,), "os.symlink": (1,),
           "os.link": (1,), "os.chmod": (0,), "os.truncate": (0,), "os.utime": (0,), "shutil.rmtree": (0,),
           "shutil.copyfile": (1,), "shutil.move": (0, 1)}  # fmt: skip
_DIR_FD = {"os.remove": (1,), "os.rename": (2, 3), "os.rmdir": (1,), "os.mkdir": (2,), "os.symlink": (2,),
           "os.link": (3,), "os.chmod": (2,), "os.utime": (3,), "shutil.rmtree": (1,)}  # fmt: skip
_STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system")


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        status: Exit status; below 0 the signal that ended it, as `subprocess` has it.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
        seconds: Wall time.
        memory: Bytes that it took beyond those of the warm process.
        hung: It went on after an interrupt, and was killed.
        noted: What it did outside of its folder.
    """

    status: int
    out: str
    err: str
    seconds: float
    memory: int
    hung: bool
    noted: list[str]


class Warm:
    """The warm process; `root` holds its home, caches and temporary files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("home", "cache", "tmp", "said"):
            (root / name).mkdir()
        places = {"HOME": root / "home", "XDG_CACHE_HOME": root / "cache", "TMPDIR": root / "tmp"}
        environment = {
            **os.environ, **{name: str(path) for name, path in places.items()}, "OMP_NUM_THREADS": "1", "COLUMNS": "80",
            "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        limit: float = 60,
        memory: int = 6 << 30,
        kill: tuple[float, signal.Signals] | None = None,
        encoding: str = "utf-8",
    ) -> Ended:
        """Run `clipopt ARGUMENTS` in `folder`.

        Args:
            arguments: The command line behind the program's name.
            folder: Where it runs, and all that it may change.
            limit: Seconds after which it gets a Ctrl-C.
            memory: Bytes of address space that it may add.
            kill: A signal, and the second at which it comes. Those of a terminal reach its children, too.
            encoding: Of stdout, which is strict as Python's is.
        """
        job = {
            "arguments": [*arguments], "folder": str(folder), "root": str(self.root), "limit": limit,
            "memory": memory, "kill": kill, "encoding": encoding,
        }  # fmt: skip
        return Ended(**self._ask(job))

    def call(self, function: str, *arguments: str) -> None:
        """Call `module:function` in a fork, with texts as arguments."""
        done = self._ask({"call": function, "arguments": [*arguments], "root": str(self.root), "limit": 300})
        if done["status"]:
            raise RuntimeError(done["err"])

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(json.dumps(job).encode() + b"\n")
        asked.flush()
        return json.loads(answered.readline())


def _serve() -> None:
    _load()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in iter(sys.stdin.buffer.readline, b""):
        answers.write(json.dumps(_fork(json.loads(line))) + "\n")
        answers.flush()


def _load() -> None:
    """Import what commands import, and make what they show at the end small."""
    import clipopt.commands

    for name in _HEAVY:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(clipopt.commands.__path__, "clipopt.commands."):
        importlib.import_module(module.name)
    importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()  # it tries it once
    from clipopt.commands.work import index as indexing
    from clipopt.pipelines import run_loop as recorded
    from clipopt.pipelines.image import loop as drawing
    from clipopt.pipelines.mesh import loop as sculpting
    from clipopt.pipelines.mesh import results as solids
    from clipopt.pipelines.motion import loop as moving

    small = {
        solids: {"_TURN_FRAMES": 3, "_TURN_SIDE": 32}, sculpting: {"PICTURE_SIDE": 48, "FRAME_SIDE": 32},
        moving: {"_SIDE": 48, "_CELL": 32}, drawing: {"FRAME_SIDE": 64}, indexing: {"SAVE_EVERY": 4},
    }  # fmt: skip
    small[recorded] = {"CHECKPOINT_SECONDS": 0.1, "SAVING": 0.5}
    for module, values in small.items():
        for name, value in values.items():
            if hasattr(module, name):
                setattr(module, name, value)


def _fork(job: dict[str, Any]) -> dict[str, Any]:
    said = Path(job["root"], "said")
    for name in ("out", "err", "noted"):
        (said / name).write_bytes(b"")
    signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)  # a run that has not begun cannot be interrupted
    child = os.fork()
    if not child:
        _child(job, said)
    handle = os.pidfd_open(child)
    before, hung = os.times().elapsed, False
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sent = [*([job["kill"]] if job.get("kill") else []), (job["limit"], signal.SIGINT)]
    for second, number in sorted(sent, key=lambda one: one[0]):
        wait = max(0.0, second - (os.times().elapsed - before))
        if select.select([handle], [], [], wait)[0]:
            break
        _send(child, number)
    else:
        hung = not select.select([handle], [], [], GRACE_S)[0]
    _send(child, signal.SIGKILL) if hung else None
    _, status, usage = os.wait4(child, 0)
    os.close(handle)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return {
        "status": os.waitstatus_to_exitcode(status), "seconds": os.times().elapsed - before, "hung": hung,
        "memory": max(0, usage.ru_maxrss - own) * 1024,
        "out": (said / "out").read_bytes().decode(errors="backslashreplace"),
        "err": (said / "err").read_bytes().decode(errors="backslashreplace"),
        "noted": (said / "noted").read_text(errors="backslashreplace").splitlines(),
    }  # fmt: skip


def _send(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if number in (signal.SIGINT, signal.SIGHUP) else os.kill)(child, number)


def _child(job: dict[str, Any], said: Path) -> None:
    status = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(said / name, os.O_WRONLY | os.O_APPEND), number)
        noted = os.open(said / "noted", os.O_WRONLY | os.O_APPEND)
        sys.stdin = os.fdopen(0)
        sys.stdout = os.fdopen(1, "w", encoding=job.get("encoding", "utf-8"), closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):  # as a terminal starts it, even below nohup
            signal.signal(number, signal.SIG_DFL)
        status = _call(job) if "call" in job else _main(job, noted)
        sys.stdout.flush()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        status = 1
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _call(job: dict[str, Any]) -> int:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKING)
    module, function = job["call"].split(":")
    getattr(importlib.import_module(module), function)(*job["arguments"])
    return 0


def _main(job: dict[str, Any], noted: int) -> int:
    os.chdir(job["folder"])
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + job["memory"]
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    sys.argv = ["clipopt", *job["arguments"]]
    root = job["root"]
    _watch(noted, (job["folder"], *(f"{root}/{name}" for name in ("cache", "tmp", "said"))), root)
    from clipopt.cli import main

    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKING)
    except KeyboardInterrupt:  # it waited here: Python's own time, before anything of ours runs
        return 128 + signal.SIGINT
    return main(job["arguments"])


def _watch(noted: int, allowed: tuple[str, ...], root: str) -> None:
    """Note what is changed outside of the allowed folders, and what is started."""
    ffmpeg = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    roots = tuple(os.path.realpath(path) for path in (*allowed, "/dev", "/proc"))

    def note(what: str) -> None:
        os.write(noted, (ascii(what) + "\n").encode())

    def outside(path: Any, place: Any, *, follow: bool) -> str | None:
        if isinstance(path, int):
            path, follow = f"/proc/self/fd/{path}", True
        path = os.fsdecode(path)
        if isinstance(place, int) and place >= 0:
            path = f"/proc/self/fd/{place}/{path}"
        head, name = os.path.split(path)
        plain = not follow and name not in ("", ".", "..")
        real = f"{os.path.realpath(head).rstrip('/')}/{name}" if plain else os.path.realpath(path)
        return None if any(real == one or real.startswith(f"{one}/") for one in roots) else real

    def hook(event: str, values: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = values
            writes = (
                flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) if mode is None else set("wax+") & {*mode}
            )
            if (
                writes
                and not isinstance(path, int)
                and (where := outside(path, None, follow=not flags & os.O_NOFOLLOW))
            ):
                note(f"writes {where}")
        elif event in _WRITES:
            for number, argument in enumerate(_WRITES[event]):
                fds = _DIR_FD.get(event, ())
                place = values[fds[number]] if number < len(fds) and fds[number] < len(values) else None
                if where := outside(values[argument], place, follow=event in ("os.chmod", "os.truncate", "os.utime")):
                    note(f"{event} {where}")
        elif event in _STARTS and os.fsdecode(values[0] or values[1][0]) not in (ffmpeg, sys.executable):
            note(f"starts {values[0]} {values[1] if len(values) > 1 else ''}")
        elif event == "exec" and getattr(values[0], "co_filename", "").startswith(root):
            note(f"executes {values[0].co_filename}")

    sys.addaudithook(hook)


if __name__ == "__main__":
    _serve()
