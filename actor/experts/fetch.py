"""Of gymnasium-robotics' Fetch tasks.

A row has achieved_goal [0, 3), desired_goal [3, 6), then the observation: gripper [6, 9), object [9, 12),
object from gripper [12, 15), the two fingers [15, 17), all in metres. An action moves the gripper by up to
5 cm a frame in x, y, z; its last number opens (1) or closes (-1) the fingers.
"""

from typing import NamedTuple

import numpy as np

from actor.experts.contract import Row

_GAIN = 10.0  # of actions per metre: slows down within 10 cm
_OPEN, _CLOSED = 1.0, -1.0
_CLEAR = 0.08  # height over an object at which the gripper passes it
_BEHIND = 0.06  # of the object's middle, from which it is pushed


class Seen(NamedTuple):
    """The places of a row, (3,) each, and the fingers (2,)."""

    goal: Row
    gripper: Row
    thing: Row
    fingers: Row


def _seen(row: Row) -> Seen:
    return Seen(row[3:6], row[6:9], row[9:12], row[15:17])


def _towards(target: Row, seen: Seen, fingers: float) -> Row:
    step = np.clip(_GAIN * (target - seen.gripper), -1, 1)
    return np.append(step, fingers).astype(np.float32)


def reach(row: Row) -> Row:
    """Straight to the goal."""
    return _towards(row[3:6], _seen(row), _CLOSED)


def push(row: Row) -> Row:
    """Over the block to the side away from the goal, down, and towards the goal."""
    seen = _seen(row)
    way = seen.goal[:2] - seen.thing[:2]
    way /= max(float(np.linalg.norm(way)), 1e-6)
    behind = np.append(seen.thing[:2] - _BEHIND * way, seen.thing[2])
    from_behind = seen.gripper[:2] - behind[:2]
    aside = abs(float(from_behind @ np.array([-way[1], way[0]])))
    low = seen.gripper[2] < seen.thing[2] + 0.02
    if low and aside < 0.015 and float(from_behind @ way) > -0.04:
        return _towards(np.append(seen.goal[:2] - 0.03 * way, seen.thing[2]), seen, _CLOSED)
    if float(np.linalg.norm(from_behind)) < 0.015:
        return _towards(behind, seen, _CLOSED)
    over = np.append(behind[:2], seen.thing[2] + _CLEAR)
    if seen.gripper[2] < seen.thing[2] + 0.05:
        over[:2] = seen.gripper[:2]  # up first: the block may be in the way
    return _towards(over, seen, _CLOSED)


def pick_and_place(row: Row) -> Row:
    """Over the block, down around it, grasp it, and take it to the goal."""
    seen = _seen(row)
    apart = seen.thing - seen.gripper
    if float(np.linalg.norm(apart)) < 0.015:
        grasped = float(seen.fingers.sum()) < 0.055
        return _towards(seen.goal if grasped else seen.thing, seen, _CLOSED)
    if float(np.linalg.norm(apart[:2])) < 0.015:
        return _towards(seen.thing, seen, _OPEN)
    over = seen.thing + np.array([0, 0, _CLEAR], np.float32)
    return _towards(over, seen, _OPEN)
