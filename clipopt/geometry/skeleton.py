"""A figure of 22 joints in HumanML3D's order: its bones, the angles that it can bend by, and where they put it.

y is up, the figure faces +z, its own left is +x. Its rest is a T: arms level, palms down. An angle turns the same way
on both sides: the same number left and right is a mirror image.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
"""Names of the joints, each behind its parent."""
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""The joint that each hangs on; -1: none."""
MIRRORED = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20)
"""The joint on the other side."""

_LEFT = {  # offsets from the parent at rest, metres; the right side is their mirror image
    "pelvis": (0.0, 0.0, 0.0), "left_hip": (0.09, -0.05, 0.0), "spine1": (0.0, 0.1, 0.0),
    "left_knee": (0.0, -0.41, 0.0), "spine2": (0.0, 0.12, 0.0), "left_ankle": (0.0, -0.4, 0.0),
    "spine3": (0.0, 0.11, 0.0), "left_foot": (0.0, -0.05, 0.14), "neck": (0.0, 0.2, 0.0),
    "left_collar": (0.06, 0.14, 0.0), "head": (0.0, 0.1, 0.02), "left_shoulder": (0.12, 0.01, 0.0),
    "left_elbow": (0.27, 0.0, 0.0), "left_wrist": (0.25, 0.0, 0.0),
}  # fmt: skip
_ENDS = {"left_foot": (0.0, 0.0, 0.06), "head": (0.0, 0.2, 0.0), "left_wrist": (0.1, 0.0, 0.0)}


@dataclass(frozen=True)
class Freedom:
    """One way in which the figure can bend.

    Attributes:
        name: What it is called; a left and a right one stand together.
        turns: The joints that it turns, the axis 0, 1 or 2 of each, and its share, negative for the other way round.
        low: Least angle, radians.
        high: Greatest angle, radians.
        rest: Angle at which the joint is at rest, in the T.
    """

    name: str
    turns: tuple[tuple[int, int, float], ...]
    low: float | int
    high: float | int
    rest: float | int = 0.0


def _freedoms() -> tuple[Freedom, ...]:
    def angle(
        name: str,
        turns: tuple[tuple[int, int, float], ...],
        low: float | int,
        high: float | int,
        rest: float | int = 0.0,
    ) -> Freedom:
        return Freedom(name, turns, math.radians(low), math.radians(high), math.radians(rest))

    def shared(joints: tuple[int, ...], axis: int, sign: float | int) -> tuple[tuple[int, int, float], ...]:
        return tuple((joint, axis, sign / len(joints)) for joint in joints)

    made = [
        angle("spine_bend", shared((3, 6, 9), 0, 1), -40, 100),
        angle("spine_lean", shared((3, 6, 9), 2, -1), -45, 45),
        angle("spine_twist", shared((3, 6, 9), 1, 1), -60, 60),
        angle("head_nod", shared((12, 15), 0, 1), -55, 60),
        angle("head_tilt", shared((12, 15), 2, -1), -45, 45),
        angle("head_turn", shared((12, 15), 1, 1), -80, 80),
    ]
    pairs: tuple[tuple[str, str, int, float, float, float, float], ...] = (
        # name, joint, axis, sign on the left, least, greatest, rest in degrees
        ("hip_flex", "hip", 0, -1, -45, 130, 0),
        ("hip_spread", "hip", 2, 1, -25, 85, 0),
        ("hip_twist", "hip", 1, 1, -45, 65, 0),
        ("knee", "knee", 0, 1, 0, 150, 0),
        ("ankle", "ankle", 0, -1, -55, 35, 0),
        ("arm_plane", "shoulder", 1, -1, -70, 140, 0),
        ("arm_raise", "shoulder", 2, 1, 0, 180, 90),
        ("arm_twist", "shoulder", 0, 1, -100, 95, 0),
        ("elbow", "elbow", 1, -1, 0, 150, 0),
    )
    for name, joint, axis, sign, low, high, rest in pairs:
        for side, mirror in (("left", 1.0), ("right", 1.0 if axis == 0 else -1.0)):
            turns = ((JOINTS.index(f"{side}_{joint}"), axis, sign * mirror),)
            made.append(angle(f"{side}_{name}", turns, low, high, rest))
    return tuple(made)


FREEDOMS = _freedoms()
"""Every way to bend: spine and head, shared among their joints; hips and shoulders of three angles; knees, ankles and
elbows of one. `arm_raise` goes from hanging (0) to overhead (180 degrees), `arm_plane` from sideways (0) to forward
(90), `arm_twist` turns the forearm around the upper arm (level arm: down above 0, up below 0)."""
NAMES = tuple(freedom.name for freedom in FREEDOMS)
_ROUNDS = 20
_ORDERS = {"hip": (0, 2, 1), "shoulder": (1, 2, 0)}  # of the axes, outermost first; else y, x, z


def limits() -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
    """Least and greatest angle of each freedom, radians."""
    return torch.tensor([f.low for f in FREEDOMS]), torch.tensor([f.high for f in FREEDOMS])


def bounded(free: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
    """Angles inside their limits, from numbers of any size."""
    low, high = (edge.to(free) for edge in limits())
    return (low + high) / 2 + (high - low) / 2 * torch.tanh(free)


def unbounded(angles: Float[Tensor, "*b a"], room: float | int = 0.03) -> Float[Tensor, "*b a"]:
    """The numbers that `bounded` turns into these angles; those at a limit come `room` of the half range inside."""
    low, high = (edge.to(angles) for edge in limits())
    return torch.atanh(((angles - (low + high) / 2) / ((high - low) / 2)).clamp(room - 1, 1 - room))


def mirror_root(root: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 6"]:
    """The root of the mirror image: x, yaw and roll change their signs."""
    return root * torch.tensor([-1.0, 1, 1, -1, 1, -1]).to(root)


def mirror_angles(angles: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
    """The angles of the mirror image, left and right exchanged."""
    order = [NAMES.index(_other_side(name)) for name in NAMES]
    sign = torch.tensor(
        [-1.0 if name in ("spine_lean", "spine_twist", "head_tilt", "head_turn") else 1 for name in NAMES]
    )
    return angles[..., order] * sign.to(angles)


def _other_side(name: str) -> str:
    for one, other in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(one):
            return other + name.removeprefix(one)
    return name


@dataclass(frozen=True)
class Skeleton:
    """Bones: where joints lie at rest.

    Attributes:
        offsets: Each joint from its parent, metres.
        ends: Tip of the last bone of toes, head and hands, from these joints; 0 elsewhere.
    """

    offsets: Float[Tensor, "22 3"]
    ends: Float[Tensor, "22 3"]

    def to(self, like: Tensor) -> "Skeleton":
        """The same bones, on the device and in the precision of `like`."""
        return Skeleton(self.offsets.to(like), self.ends.to(like))


def default_skeleton() -> Skeleton:
    """The project's own figure, 1.75 m tall."""

    def both(table: dict[str, tuple[float, float, float]], name: str) -> tuple[float, float, float]:
        if name.startswith("right_"):
            x, y, z = table.get(name.replace("right_", "left_"), (0.0, 0.0, 0.0))
            return -x, y, z
        return table.get(name, (0.0, 0.0, 0.0))

    rows = [torch.tensor([both(table, name) for name in JOINTS]) for table in (_LEFT, _ENDS)]
    return Skeleton(*rows)


def axis_rotation(axis: int, angle: Float[Tensor, "*b"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation about a coordinate axis: counter-clockwise for who looks against it."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = (
        (one, zero, zero, zero, c, -s, zero, s, c),
        (c, zero, s, zero, one, zero, -s, zero, c),
        (c, -s, zero, s, c, zero, zero, zero, one),
    )[axis]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def joint_rotations(angles: Float[Tensor, "*b a"], root: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 22 3 3"]:
    """Rotation of each joint against its parent.

    Args:
        angles: Of `FREEDOMS`, radians.
        root: x, lift, z in metres, then yaw to the left, pitch forward, roll to the left, radians.
    """
    turned: list[dict[int, Tensor]] = [{} for _ in JOINTS]
    for number, freedom in enumerate(FREEDOMS):
        for joint, axis, share in freedom.turns:
            turned[joint][axis] = share * (angles[..., number] - freedom.rest)
    turned[0] = {1: root[..., 3], 0: root[..., 4], 2: -root[..., 5]}
    identity = torch.eye(3, dtype=angles.dtype, device=angles.device).expand(*angles.shape[:-1], 3, 3)
    made = []
    for name, turns in zip(JOINTS, turned, strict=True):
        rotation = identity
        for axis in _ORDERS.get(name.split("_")[-1], (1, 0, 2)):
            if axis in turns:
                rotation = rotation @ axis_rotation(axis, turns[axis])
        made.append(rotation)
    return torch.stack(made, -3)


def forward_kinematics(
    skeleton: Skeleton, rotations: Float[Tensor, "*b 22 3 3"], position: Float[Tensor, "*b 3"]
) -> tuple[Float[Tensor, "*b 22 3"], Float[Tensor, "*b 22 3 3"]]:
    """Where every joint is, and how it is turned in the world.

    Args:
        skeleton: The bones.
        rotations: Of each joint against its parent.
        position: Of the pelvis.
    """
    places: list[Tensor] = [position]
    turns: list[Tensor] = [rotations[..., 0, :, :]]
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        places.append(places[parent] + turns[parent] @ skeleton.offsets[joint].to(position))
        turns.append(turns[parent] @ rotations[..., joint, :, :])
    return torch.stack(places, -2), torch.stack(turns, -3)


def to_euler(rotations: Float[Tensor, "*b 3 3"], order: str = "zxy") -> Float[Tensor, "*b 3"]:
    """Angles (a, b, c), radians, such that the rotation is R_order[0](a) R_order[1](b) R_order[2](c).

    Raises:
        ValueError: If `order` is no three different axes.
    """
    if sorted(order.lower()) != ["x", "y", "z"]:
        raise ValueError(f"expected an order of the three axes such as zxy, got {order!r}")
    i, j, k = ("xyz".index(axis) for axis in order.lower())
    even = 1.0 if (i, j, k) in ((0, 1, 2), (1, 2, 0), (2, 0, 1)) else -1.0
    middle = torch.asin((even * rotations[..., i, k]).clamp(-1, 1))
    first = torch.atan2(-even * rotations[..., j, k], rotations[..., k, k])
    last = torch.atan2(-even * rotations[..., i, j], rotations[..., i, i])
    locked = rotations[..., i, k].abs() > 1 - 1e-7  # the outer axes coincide: one of them does all
    alone = torch.atan2(even * rotations[..., k, j], rotations[..., j, j])
    return torch.stack([torch.where(locked, alone, first), middle, torch.where(locked, 0.0, last)], -1)


def about(angles: Float[Tensor, "b a"], axes: str) -> Float[Tensor, "b 3 3"]:
    """The rotation R_axes[0](a) R_axes[1](b) ... by angles about coordinate axes, radians."""
    made = torch.eye(3, dtype=angles.dtype, device=angles.device).expand(len(angles), 3, 3)
    for number, axis in enumerate(axes):
        made = made @ axis_rotation("xyz".index(axis), angles[:, number])
    return made


def nearest_angles(rotations: Float[Tensor, "b 3 3"], axes: str) -> Float[Tensor, "b a"]:
    """Angles for `about` whose rotation is nearest to the one given; with three axes it is the same.

    Args:
        rotations: What to come near to.
        axes: Different ones, three at most, such as "x" for a knee.
    """
    if len(axes) == 3:
        return to_euler(rotations, axes)
    angles = to_euler(rotations, axes + "".join(axis for axis in "xyz" if axis not in axes))[:, : len(axes)]
    for _ in range(_ROUNDS if len(axes) > 1 else 1):  # each in turn as well as it can
        for number, axis in enumerate(axes):
            before = about(angles[:, :number], axes[:number])
            after = about(angles[:, number + 1 :], axes[number + 1 :])
            left = before.mT @ rotations @ after.mT
            b, c = ("xyz".index(axis) + 1) % 3, ("xyz".index(axis) + 2) % 3
            best = torch.atan2(left[:, c, b] - left[:, b, c], left[:, b, b] + left[:, c, c])
            angles = torch.cat([angles[:, :number], best[:, None], angles[:, number + 1 :]], 1)
    return angles


def to_quaternion(rotations: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternions (x, y, z, w) with w of 0 or more, as glTF has them."""
    m = rotations
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    x, y, z = (m[..., 2, 1] - m[..., 1, 2]), (m[..., 0, 2] - m[..., 2, 0]), (m[..., 1, 0] - m[..., 0, 1])
    rows = [torch.stack([x, y, z, 1 + trace], -1)]
    for i, j, k, part in ((0, 1, 2, x), (1, 2, 0, y), (2, 0, 1, z)):
        row: list[Tensor] = [part] * 4
        row[i] = 1 + 2 * m[..., i, i] - trace
        row[j] = m[..., i, j] + m[..., j, i]
        row[k] = m[..., i, k] + m[..., k, i]
        row[3] = part
        rows.append(torch.stack(row, -1))
    candidates = torch.stack(rows, -2)
    best = candidates.norm(dim=-1).argmax(-1)
    chosen = candidates.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    chosen = torch.nn.functional.normalize(chosen, dim=-1)
    return torch.where(chosen[..., 3:] < 0, -chosen, chosen)
