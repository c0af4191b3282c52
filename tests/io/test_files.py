import contextlib
import io
import subprocess
import warnings
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from clipopt.io import files
from clipopt.types import generator


def pictures(count: int, height: int = 20, width: int = 30) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=generator(count, height, width))


def decoded(path: Path) -> tuple[dict, np.ndarray]:
    with warnings.catch_warnings(), contextlib.closing(imageio_ffmpeg.read_frames(str(path))) as reader:
        warnings.simplefilter("ignore", ResourceWarning)
        meta = next(reader)
    width, height = meta["size"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return meta, np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 3, 7, 5)])
def test_png_keeps_every_pixel_and_its_text(tmp_path, shape):
    image = torch.rand(shape, generator=generator(1))
    files.save(tmp_path / "a.png", image, text={"prompt": 'ein "Fuchs" im Schnee ❄', "seed": "3"})
    again = files.load_image(tmp_path / "a.png")
    assert again.shape == (1, 3, 7, 5)
    assert (again - image.reshape(1, 3, 7, 5)).abs().max() <= 0.5 / 255 + 1e-6
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.info["prompt"] == 'ein "Fuchs" im Schnee ❄'
    files.save(tmp_path / "b.png", again)
    assert torch.equal(files.load_image(tmp_path / "b.png"), again)


def test_red_is_red_and_the_first_row_is_on_top(tmp_path):
    image = torch.zeros(3, 4, 6)
    image[0, 0] = 1
    files.save(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.size == (6, 4)
        assert opened.getpixel((3, 0)) == (255, 0, 0)
        assert opened.getpixel((3, 3)) == (0, 0, 0)


def test_several_images_become_a_grid(tmp_path):
    files.save(tmp_path / "a.png", pictures(4))
    assert files.load_image(tmp_path / "a.png").shape == (1, 3, 2 * 20 + 3 * 2, 2 * 30 + 3 * 2)


def test_values_outside_are_clipped_and_nan_is_refused(tmp_path):
    files.save(tmp_path / "a.png", torch.tensor([-1.0, 0.5, 2.0]).reshape(3, 1, 1))
    assert files.load_image(tmp_path / "a.png").flatten().tolist() == pytest.approx([0, 128 / 255, 1])
    with pytest.raises(ValueError, match="finite"):
        files.save(tmp_path / "b.png", torch.full((3, 2, 2), torch.nan))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_saving_elsewhere_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match=r"suffix .png or .jpg, got .bmp"):
        files.save(tmp_path / "a.bmp", pictures(1))
    with pytest.raises(ValueError, match="no text"):
        files.save(tmp_path / "a.jpg", pictures(1), text={"prompt": "a"})
    with pytest.raises(ValueError, match="expected 3 channels"):
        files.save(tmp_path / "a.jpg", torch.zeros(4, 2, 2))
    with pytest.raises(ValueError, match="expected 3 channels"):
        files.save(tmp_path / "a.png", torch.zeros(2, 4, 2, 2))
    with pytest.raises(FileNotFoundError, match="no folder"):
        files.save(tmp_path / "none" / "a.png", pictures(1))
    assert not list(tmp_path.iterdir())


def test_exif_orientation_is_applied(tmp_path):
    upright = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to show"
    upright.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    expected = torch.from_numpy(np.array(upright)).permute(2, 0, 1) / 255
    assert torch.equal(files.load_image(tmp_path / "a.png")[0], expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white(tmp_path, mode):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    (image.quantize(4) if mode == "P" else image.convert(mode)).save(tmp_path / "a.png")
    assert files.load_image(tmp_path / "a.png")[0, 0, 0].tolist() == [1, 0]


def test_half_transparent_is_blended(tmp_path):
    Image.new("RGBA", (1, 1), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert files.load_image(tmp_path / "a.png").flatten().tolist() == pytest.approx([1, 127 / 255, 127 / 255], abs=0.01)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "I;16"])
def test_other_modes_keep_their_brightness(tmp_path, mode):
    values = np.full((3, 5), 0.75)
    if mode == "I;16":
        Image.fromarray((values * 65535).astype(np.uint16)).save(tmp_path / "a.png")
    else:
        Image.fromarray((values * 255).astype(np.uint8)).convert(mode).save(tmp_path / "a.tif")
    image = files.load_image(next(tmp_path.iterdir()))
    assert image.shape == (1, 3, 3, 5)
    if mode == "1":
        assert set(image.flatten().tolist()) <= {0.0, 1.0}
    else:
        assert image.flatten().tolist() == pytest.approx([0.75] * 45, abs=0.01)


def test_unreadable_images_are_told_in_one_line(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    files.save(tmp_path / "whole.png", pictures(1, 64, 64))
    files.save(tmp_path / "whole.jpg", pictures(1, 64, 64))
    for name in ("whole.png", "whole.jpg"):
        data = (tmp_path / name).read_bytes()
        for part in (0.2, 0.5, 0.9):
            (tmp_path / f"cut-{part}-{name}").write_bytes(data[: int(len(data) * part)])
    (tmp_path / "empty.png").touch()
    bad = [tmp_path, tmp_path / "none.png", tmp_path / "text.png", tmp_path / "empty.png", *tmp_path.glob("cut-*")]
    assert len(bad) == 10
    for path in bad:
        with pytest.raises(ValueError, match="expected a picture file") as caught:
            files.load_image(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_sheet_shows_each_picture_above_its_caption():
    images = torch.zeros(3, 3, 40, 40)
    images[torch.arange(3), torch.arange(3)] = 1  # red, green, blue
    page = files.sheet(images, ["a red thing that needs more than one line", "green", "ünïcödé"], columns=2)
    assert page.shape[0] == 1
    assert page.shape[3] == 2 * 40 + 3 * 2
    assert torch.equal(page[0, :, 2 + 20, 2 + 20], torch.tensor([1.0, 0, 0]))
    assert torch.equal(page[0, :, 2 + 20, 44 + 20], torch.tensor([0, 1.0, 0]))
    assert (page[0, :, 44:60] < 0.5).any(), "no caption"
    assert torch.equal(page[0, :, :, :2], torch.ones(3, page.shape[2], 2))


def test_a_caption_stays_in_its_cell():
    long = "W" * 200 + " and " + "many words " * 50
    page = files.sheet(torch.ones(2, 3, 60, 60), [long, ""], columns=2)
    assert page[0, :, :, 60 + 2 :].eq(1).all(), "the caption runs into the neighbour"
    assert not page[0, :, :, : 60 + 2].eq(1).all()


def test_a_sheet_shrinks_to_its_cell_and_keeps_the_aspect():
    assert files.sheet(torch.ones(1, 3, 100, 50), cell=20).shape == (1, 3, 20, 10)
    with pytest.raises(ValueError, match="one label per image"):
        files.sheet(torch.ones(2, 3, 8, 8), ["one"])
    with pytest.raises(ValueError, match="one image or more"):
        files.sheet(torch.ones(0, 3, 8, 8))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (63, 97), (5, 7)])
def test_a_video_plays_everywhere_and_shows_its_frames(tmp_path, height, width):
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.9]])
    frames = (color.reshape(3, 1, 1).expand(3, height, width) for color in colors)
    files.write_video(tmp_path / "a.mp4", frames, fps=10, hold=0.5)
    meta, shown = decoded(tmp_path / "a.mp4")
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p")
    assert meta["size"] == (width + width % 2, height + height % 2)
    assert len(shown) == 3 + 5
    for frame, color in zip(shown[:3], colors, strict=True):
        assert frame[:height, :width].mean((0, 1)) / 255 == pytest.approx(color.numpy(), abs=0.05)
    assert shown[-1].mean((0, 1)) / 255 == pytest.approx(colors[-1].numpy(), abs=0.05)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "a browser must wait for the whole file"


def test_a_gif_repeats_and_holds_its_end(tmp_path):
    frames = [torch.full((3, 40, 80), value) for value in (0.0, 0.5, 1.0)]
    files.write_gif(tmp_path / "a.gif", frames, fps=10, hold=2, longest=20)
    with Image.open(tmp_path / "a.gif") as opened:
        assert (opened.n_frames, opened.size, opened.info["loop"]) == (3, (20, 10), 0)
        durations, greys = [], []
        for i in range(3):
            opened.seek(i)
            durations.append(opened.info["duration"])
            greys.append(opened.convert("L").getpixel((5, 5)))
    assert durations == [100, 100, 2000]
    assert greys == pytest.approx([0, 128, 255], abs=3)


@pytest.mark.parametrize("write", [files.write_video, files.write_gif])
def test_a_film_needs_frames_of_one_size(tmp_path, write):
    with pytest.raises(ValueError, match="one frame or more"):
        write(tmp_path / "a.mp4", [])
    with pytest.raises(ValueError, match="one size"):
        write(tmp_path / "a.mp4", [torch.ones(3, 4, 4), torch.ones(3, 4, 6)])
    assert not list(tmp_path.iterdir())


def test_ffmpeg_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false" if Path("/bin/false").exists() else "false")
    with pytest.raises((RuntimeError, subprocess.SubprocessError)):
        files.write_video(tmp_path / "a.mp4", [torch.ones(3, 64, 64)] * 3)
    assert not list(tmp_path.iterdir())


def test_atomic_keeps_the_old_content_when_the_new_fails(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def interrupted() -> None:
        with files.atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    files.write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_jpeg_is_close_and_shrinks():
    image = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    with Image.open(io.BytesIO(files.jpeg(image, longest=32))) as opened:
        assert opened.size == (32, 32)
        assert np.asarray(opened)[16, 28].tolist() == pytest.approx([28.5 / 32 * 255] * 3, abs=4)
