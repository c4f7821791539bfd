"""ManiSkill's arithmetic on one pose at a time, without what torch costs at each call.

A CPU simulator has one sub-environment, so its poses are one row each, and torch spends a microsecond or
more on an operation whose arithmetic takes nanoseconds: nine tenths of a frame. `quicken` replaces
ManiSkill's busiest functions by numpy's. Each does the same float32 operations in the same order, so that
results are the same to the bit, and calls ManiSkill's function for anything but a single row on the CPU
(tests/actor/simulators/test_quick.py).
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import sapien
import torch
from torch import Tensor

_ROW = torch.Size((1, 7))
_CPU = torch.device("cpu")
# Term t of a product of quaternions is a[t] * _SIGNS[t] * b[_PARTNERS[t]]; real part first.
_PARTNERS = np.array([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]])
_SIGNS = np.array([[1, 1, 1, 1], [-1, 1, -1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1]], np.float32)
_CONJUGATE = np.array([1, -1, -1, -1], np.float32)


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product (4,) of quaternions (4,); as `quaternion_raw_multiply`."""
    terms = a[:, None] * (b[_PARTNERS] * _SIGNS)
    return terms[0] + terms[1] + terms[2] + terms[3]


def _rotate(quaternion: np.ndarray, point: np.ndarray) -> np.ndarray:
    """`point` (3,) turned by `quaternion` (4,); as `quaternion_apply`."""
    pure = np.zeros(4, np.float32)
    pure[1:] = point
    return _multiply(_multiply(quaternion, pure), quaternion * _CONJUGATE)[1:]


def _rotation(quaternion: np.ndarray) -> np.ndarray:
    """(3, 3) of `quaternion` (4,); as `quaternion_to_matrix`."""
    r, i, j, k = quaternion
    squares = quaternion * quaternion
    two_s = np.float32(2.0) / (squares[0] + squares[1] + squares[2] + squares[3])
    one = np.float32(1.0)
    return np.array(
        [
            [one - two_s * (j * j + k * k), two_s * (i * j - k * r), two_s * (i * k + j * r)],
            [two_s * (i * j + k * r), one - two_s * (i * i + k * k), two_s * (j * k - i * r)],
            [two_s * (i * k - j * r), two_s * (j * k + i * r), one - two_s * (i * i + j * j)],
        ]
    )


def _is_row(raw: Tensor) -> bool:
    return raw.shape == _ROW and raw.device == _CPU and raw.dtype == torch.float32


def _row_of(pose: sapien.Pose) -> Tensor:
    """(1, 7): position, quaternion."""
    row = np.empty((1, 7), np.float32)
    row[0, :3] = pose.p
    row[0, 3:] = pose.q
    return torch.from_numpy(row)


def _create(original: Callable[..., Any]) -> Callable[..., Any]:
    def create(cls: Any, pose: Any, device: Any = None) -> Any:
        if type(pose) is list and len(pose) == 1:
            pose = pose[0]
        if isinstance(pose, sapien.Pose) and (device is None or device == _CPU):
            return cls(raw_pose=_row_of(pose))
        return original(cls, pose, device)

    return create


def _times(original: Callable[..., Any]) -> Callable[..., Any]:
    def times(self: Any, other: Any) -> Any:
        if isinstance(other, sapien.Pose):
            other = type(self).create(other)
        if not (_is_row(self.raw_pose) and _is_row(other.raw_pose)):
            return original(self, other)
        a, b = self.raw_pose.numpy()[0], other.raw_pose.numpy()[0]
        row = np.empty((1, 7), np.float32)
        turned = _multiply(a[3:], b[3:])
        row[0, :3] = a[:3] + _rotate(a[3:], b[:3])
        row[0, 3:] = -turned if turned[0] < 0 else turned
        return type(self)(raw_pose=torch.from_numpy(row))

    return times


def _inverse(original: Callable[..., Any]) -> Callable[..., Any]:
    def inverse(self: Any) -> Any:
        if not _is_row(self.raw_pose):
            return original(self)
        row = self.raw_pose.numpy().copy()
        np.negative(row[0, 4:], out=row[0, 4:])
        row[0, :3] = _rotate(row[0, 3:], -row[0, :3])
        return type(self)(raw_pose=torch.from_numpy(row))

    return inverse


def _matrix(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def to_transformation_matrix(self: Any) -> Tensor:
        if not _is_row(self.raw_pose):
            return original(self)
        row = self.raw_pose.numpy()[0]
        matrix = np.zeros((1, 4, 4), np.float32)
        matrix[0, :3, :3] = _rotation(row[3:])
        matrix[0, :3, 3] = row[:3]
        matrix[0, 3, 3] = 1
        return torch.from_numpy(matrix)

    return to_transformation_matrix


def _raw_multiply(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def quaternion_raw_multiply(a: Tensor, b: Tensor) -> Tensor:
        if a.shape == b.shape == (1, 4) and a.device == b.device == _CPU:
            return torch.from_numpy(_multiply(a.numpy()[0], b.numpy()[0])[None])
        return original(a, b)

    return quaternion_raw_multiply


def _normalize(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def normalize_vector(x: Tensor, eps: float = 1e-6) -> Tensor:
        if x.shape[0] != 1 or x.device != _CPU:
            return original(x, eps)
        norm = torch.linalg.norm(x, axis=1)
        return x.clone() if norm.item() < eps else x * (1 / norm)[:, None]

    return normalize_vector


def _drive(original: Callable[..., None]) -> Callable[..., None]:
    def set_joint_drive_targets(
        self: Any, targets: Tensor, joints: Any = None, joint_indices: Any = None
    ) -> None:
        if self.scene.gpu_sim_enabled or targets.dtype != torch.float32:
            original(self, targets, joints, joint_indices)
            return
        row = targets[0].numpy()
        for i, joint in enumerate(joints):
            joint._objs[0].drive_target = row[i : i + 1]

    return set_joint_drive_targets


def _to_tensor(original: Callable[..., Any]) -> Callable[..., Any]:
    def to_tensor(array: Any, device: Any = None) -> Any:
        if (
            type(array) is Tensor
            and (device is None or device == array.device == _CPU)
            and array.dtype != torch.float64
        ):
            return array
        if type(array) is np.ndarray and array.dtype == np.float32 and (device is None or device == _CPU):
            return torch.from_numpy(array.copy())
        return original(array, device)

    return to_tensor


def _euler(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def euler_angles_to_matrix(euler_angles: Tensor, convention: str) -> Tensor:
        if convention != "XYZ" or euler_angles.shape != (1, 3) or euler_angles.device != _CPU:
            return original(euler_angles, convention)
        # numpy's sine differs in the last digit.
        cos, sin = torch.cos(euler_angles).numpy()[0], torch.sin(euler_angles).numpy()[0]
        x, y, z = np.zeros((3, 3, 3), np.float32)
        x[0, 0] = y[1, 1] = z[2, 2] = 1
        x[1, 1] = x[2, 2] = cos[0]
        x[2, 1], x[1, 2] = sin[0], -sin[0]
        y[0, 0] = y[2, 2] = cos[1]
        y[0, 2], y[2, 0] = sin[1], -sin[1]
        z[0, 0] = z[1, 1] = cos[2]
        z[1, 0], z[0, 1] = sin[2], -sin[2]
        return torch.from_numpy(_product(_product(x, y), z)[None])

    return euler_angles_to_matrix


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of two matrices (3, 3), added up in the order of torch.matmul."""
    return a[:, :1] * b[0] + a[:, 1:2] * b[1] + a[:, 2:] * b[2]


def _to_quaternion(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    one, tenth, two = np.float32(1), np.float32(0.1), np.float32(2)

    def matrix_to_quaternion(matrix: Tensor) -> Tensor:
        if matrix.shape != (1, 3, 3) or matrix.device != _CPU:
            return original(matrix)
        (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = matrix.numpy()[0]
        trace = (one + m00 + m11 + m22, one + m00 - m11 - m22, one - m00 + m11 - m22, one - m00 - m11 + m22)
        # numpy's root differs in the last digit.
        sizes = torch.from_numpy(np.maximum(trace, 0)).sqrt_().numpy()
        best = int(sizes.argmax())
        size = sizes[best]
        if best == 0:
            scaled = (size * size, m21 - m12, m02 - m20, m10 - m01)
        elif best == 1:
            scaled = (m21 - m12, size * size, m10 + m01, m02 + m20)
        elif best == 2:
            scaled = (m02 - m20, m10 + m01, size * size, m12 + m21)
        else:
            scaled = (m10 - m01, m20 + m02, m21 + m12, size * size)
        found = np.array([scaled], np.float32) / (two * max(size, tenth))
        return torch.from_numpy(-found if found[0, 0] < 0 else found)

    return matrix_to_quaternion


def _replace_everywhere(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    """In every module of ManiSkill that imported it."""
    original = getattr(module, name)
    quick = functools.wraps(original)(make(original))
    for path, importer in list(sys.modules.items()):
        if path.startswith("mani_skill") and getattr(importer, name, None) is original:
            setattr(importer, name, quick)


@functools.cache
def quicken() -> None:
    """Replace ManiSkill's busiest functions in this process; call it once a simulator is made."""
    from mani_skill.utils import common
    from mani_skill.utils.geometry import rotation_conversions
    from mani_skill.utils.structs.articulation import Articulation
    from mani_skill.utils.structs.pose import Pose

    pose: Any = Pose
    pose.create = classmethod(_create(pose.create.__func__))
    pose.__mul__ = _times(pose.__mul__)
    pose.inv = _inverse(pose.inv)
    pose.to_transformation_matrix = _matrix(pose.to_transformation_matrix)
    Articulation.set_joint_drive_targets = _drive(Articulation.set_joint_drive_targets)
    _replace_everywhere(rotation_conversions, "quaternion_raw_multiply", _raw_multiply)
    _replace_everywhere(rotation_conversions, "euler_angles_to_matrix", _euler)
    _replace_everywhere(rotation_conversions, "matrix_to_quaternion", _to_quaternion)
    _replace_everywhere(common, "normalize_vector", _normalize)
    _replace_everywhere(common, "to_tensor", _to_tensor)
