"""Of ManiSkill's PickCube: over the cube, down around it, grasp it, take it to the goal and stop there.

A row has the joints' positions [0, 9) and velocities [9, 18), then whether the cube is grasped [18], the
gripper's place and orientation [19, 26), the goal [26, 29), and the cube's place [29, 32), in metres. An
action of pd_ee_delta_pose moves the gripper by up to 10 cm in x, y, z and turns it; its last number opens (1)
or closes (-1) the fingers. A cube that is turned needs nothing more: fingers that close turn it back.
"""

import numpy as np

from actor.experts.contract import Row

_GAIN = 3.0  # of actions per metre: three tenths of what is left in a frame
_FASTEST = 0.3  # 3 cm a frame: the arm lags behind larger steps
_OPEN, _CLOSED = 1.0, -1.0
_CLEAR = 0.08  # height over the cube at which the gripper moves sideways
_OVER = 0.01  # distance, sideways or in height, at which it is there


def pick_cube(row: Row) -> Row:
    """The action (7,) for an observation (42,)."""
    grasped, gripper, goal, cube = row[18] > 0.5, row[19:22], row[26:29], row[29:32]
    if grasped:
        return _along(goal - cube, _CLOSED)
    way = cube - gripper
    sideways = float(np.linalg.norm(way[:2]))
    if sideways <= _OVER:
        return _along(way, _CLOSED if abs(float(way[2])) < _OVER else _OPEN)
    over = way + np.array([0, 0, _CLEAR], np.float32)
    if sideways > 2 * _OVER and gripper[2] < cube[2] + _CLEAR / 2:
        over[:2] = 0.0  # up first: the fingers would push the cube
    return _along(over, _OPEN)


def _along(way: Row, fingers: float) -> Row:
    step = np.clip(_GAIN * way, -_FASTEST, _FASTEST)
    return np.array([*step, 0, 0, 0, fingers], np.float32)
