"""One writer a folder, and no way out of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipopt.io import files, folders

WRITER = """
import sys, time
from pathlib import Path
from clipopt.io.folders import writing
with writing(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_two_never_write_and_a_dead_one_is_no_writer(tmp_path):
    folders.check_idle(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"mine\n"
        for attempt in (lambda: folders.check_idle(tmp_path), folders.writing(tmp_path).__enter__):
            with pytest.raises(folders.BusyError, match="another process is writing"):
                attempt()
        other.send_signal(signal.SIGKILL)
    folders.check_idle(tmp_path)
    with folders.writing(tmp_path), pytest.raises(folders.BusyError):
        folders.check_idle(tmp_path)
    with folders.writing(tmp_path):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / folders.LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="is a link"), folders.writing(tmp_path / "folder"):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


def test_files_within(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert folders.within(tmp_path, "a") == tmp_path / "a"
    for name in ("../x", "/etc/passwd", "folder/../a", "", ".", "..", "link", "folder", "pipe", "gone"):
        with pytest.raises(ValueError, match=r"expected|missing"):
            folders.within(tmp_path, name)


def test_what_took_its_name_is_flushed_with_its_folder(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(folders, "sync", flushed.append)
    files.write_text(tmp_path / "a.txt", "a")
    assert flushed == [tmp_path]


def test_text_is_read_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A device such as /dev/zero never ends."""
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    assert folders.read_text(tmp_path / "a.txt").splitlines() == ["one", "two"]
    monkeypatch.setattr(folders, "_MOST_TEXT", 10)
    with pytest.raises(OSError, match="more than 256 MB"):
        folders.read_text(tmp_path / "a.txt")
    with pytest.raises(OSError, match="more than 256 MB"):
        folders.read_text(Path("/dev/zero"))
