"""Motion as parameters: limits, keys, loops, mirror images, gradients."""

import pytest
import torch

from clipopt.embedded.people import stance
from clipopt.geometry.skeleton import limits, mirror_angles
from clipopt.params.motion import Frames, Key, Motion
from clipopt.types import generator

POSES = [stance(""), stance("B.raise 174"), stance("L.flex 80 L.knee 70 R.raise 90 lift 20 yaw 40")]
ANGLES, ROOT = torch.stack([p.angles for p in POSES]), torch.stack([p.root for p in POSES])
LINE = (Key(0.0, 0), Key(0.8, 1), Key(1.5, 2), Key(2.0, 2, mirrored=True))


def test_goes_through_its_keys():
    motion = Motion(ANGLES, ROOT, LINE, seconds=2.0)
    assert len(motion()) == 60
    with torch.no_grad():
        at = motion.at(torch.tensor([0.0, 0.8, 1.5, 2.0]))
    torch.testing.assert_close(at.angles[:3], ANGLES, atol=0.06, rtol=0)  # those at a limit lie a little inside
    torch.testing.assert_close(at.angles[3], mirror_angles(at.angles[2]), atol=1e-3, rtol=0)
    assert float(at.root[2, 3]) == -float(at.root[3, 3]) != 0
    assert float(at.root[2, 1]) == float(at.root[3, 1]) != 0


def test_nothing_that_is_learned_leaves_the_limits():
    motion = Motion(ANGLES, ROOT, LINE, seconds=2.0, waves=5)
    low, high = limits()
    with torch.no_grad():
        for p in motion.parameters():
            p += 30 * torch.randn(p.shape, generator=generator(p.numel()))
    angles = motion().angles
    assert bool(((angles >= low - 1e-6) & (angles <= high + 1e-6)).all())
    frames = Frames(motion())
    with torch.no_grad():
        frames.change += 5 * torch.randn(frames.change.shape, generator=generator(3))
    angles = frames().angles
    assert bool(((angles >= low - 1e-6) & (angles <= high + 1e-6)).all())


def test_a_loop_has_no_seam():
    motion = Motion(ANGLES, ROOT, LINE[:3], seconds=2.0, fps=100.0, loop=True)
    angles = motion().angles.detach()
    steps = torch.cat([angles, angles[:1]]).diff(dim=0).norm(dim=1)
    assert float(steps[-1]) < 1.5 * float(steps.median()) + 0.02
    torch.testing.assert_close(motion.at(torch.tensor([0.3])).angles, motion.at(torch.tensor([2.3])).angles)


def test_every_parameter_has_a_gradient_and_the_state_comes_back():
    motion = Motion(ANGLES, ROOT, LINE, seconds=2.0, waves=3)
    made = motion()
    (made.angles.square().sum() + made.root.square().sum()).backward()
    for name, p in motion.named_parameters():
        assert p.grad is not None, name
        assert bool(torch.isfinite(p.grad).all())
        assert float(p.grad.abs().sum()) > 0, name
    other = Motion(0.5 * ANGLES.clamp_min(0), ROOT, LINE, seconds=2.0, waves=3)
    other.load_state_dict(motion.state_dict())
    assert torch.equal(other().angles, made.angles)


def test_frames_begin_as_what_they_are_given():
    start = Motion(ANGLES, ROOT, LINE, seconds=2.0)()
    for waves in (0, 8):
        made = Frames(start, waves)()
        torch.testing.assert_close(made.angles, start.angles, atol=0.03, rtol=0)
        torch.testing.assert_close(made.root, start.root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ((Key(0.5, 0), Key(0.1, 1)), "rising"), ((Key(0.0, 7),), "3 poses"), ((), "rising"),
        ((Key(0, 0), Key(9, 1)), "rising"),
    ],
)  # fmt: skip
def test_says_what_is_wrong_with_a_timeline(line, message):
    with pytest.raises(ValueError, match=message):
        Motion(ANGLES, ROOT, line, seconds=2.0)


def test_no_waves_in_a_loop():
    with pytest.raises(ValueError, match="waves"):
        Motion(ANGLES, ROOT, LINE[:2], seconds=2.0, loop=True, waves=2)
