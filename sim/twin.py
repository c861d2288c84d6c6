"""The simulated arm and its world: MuJoCo physics under the controllers that also drive the real arm."""

from math import floor
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from controllers.impedance import CartesianImpedance, JointImpedance
from controllers.state import JointCommand, PoseCommand, RobotCommand, RobotState
from sim.config import TwinConfig
from sim.randomisation import EpisodeVariation, Randomiser

Array = NDArray[np.float64]

JOINT_NAMES = tuple(f"joint{number}" for number in range(1, 8))
MAX_GRIPPER_WIDTH_M = 0.08

_JOINTS = len(JOINT_NAMES)
_GRIPPER = "gripper"
_HAND = "hand"
TOOL_CENTRE_POINT = "tool_centre_point"  # Has the axes of the hand.
# MuJoCo's quaternions are w, x, y, z.
_TO_XYZW = np.array([1, 2, 3, 0])
_TO_WXYZ = np.array([3, 0, 1, 2])
_NO_WRENCH = np.zeros(6)
# A joint that is told to stay needs a little way to come to rest, or it springs back.
_STOPPING_S = 0.02
# Times are whole multiples of this, so that their differences are exact and do not depend on how long the twin
# has been running: an episode is the same to the bit whenever it is played.
_TIME_GRID_S = 2.0**-20


class Twin:
    """Physics and control of one arm. Time passes in control ticks, only by `advance`.

    The order of a tick is: control law from the present state, then physics. MuJoCo's step is split so that a tick
    ends with everything that depends on position and velocity computed from the newest state; observing costs
    nothing and lags by nothing. Only contact forces, in `ee_wrench`, are those of the last substep.

    Args:
        model_file: MJCF of arm and scene.
        config: Gains, tick, randomisation.

    Attributes:
        model: The MuJoCo model.
        data: Its state. After changing it call `refresh`.
        tick_s: Time between two control ticks.
        variation: What the last reset drew.
        timeouts: How often the arm was held because no command came.
    """

    def __init__(self, model_file: Path, config: TwinConfig) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(model_file))
        self.data = mujoco.MjData(self.model)
        self.config = config
        self.tick_s = config.substeps_per_tick * self.model.opt.timestep
        self.variation = EpisodeVariation()
        self.timeouts = 0
        self._randomiser = Randomiser(self.model, config.randomisation, JOINT_NAMES, _GRIPPER)
        self._cartesian = CartesianImpedance(config.impedance, config.safety.joints)
        self._joint = JointImpedance(config.joint_impedance, config.safety.joints)
        self._max_command_ticks = round(config.safety.max_command_age_s / self.tick_s)
        self._make_views()
        self._pending: list[tuple[int, RobotCommand]] = []
        self._torque: Array | None = None
        self._last_command_tick: int | None = None
        self._delay_ticks = 0
        self._start_s = 0.0
        self._ticks = 0
        self.reset(np.random.default_rng(0), np.array(config.impedance.posture_rad), MAX_GRIPPER_WIDTH_M)

    def _make_views(self) -> None:
        """Views into MuJoCo's arrays: making one takes longer than reading it."""
        model, data = self.model, self.data
        self._site = model.site(TOOL_CENTRE_POINT).id
        # The arm comes first in the model, so its joints are the first positions, velocities and motors.
        self._joint_position = data.qpos[:_JOINTS]
        self._joint_velocity = data.qvel[:_JOINTS]
        self._bias = data.qfrc_bias[:_JOINTS]
        self._effort = data.qfrc_actuator[:_JOINTS]
        self._external_torque = data.qfrc_constraint[:_JOINTS]
        self._fingers = data.qpos[_JOINTS : _JOINTS + 2]
        self._motor = data.ctrl[:_JOINTS]
        self._ee_position = data.site_xpos[self._site]
        self._ee_quaternion_wxyz = data.xquat[model.body(_HAND).id]
        self._ee_quaternion = np.zeros(4)
        whole_jacobian = np.zeros((6, model.nv))
        self._jacobian_translation, self._jacobian_rotation = whole_jacobian[:3], whole_jacobian[3:]
        self._jacobian = whole_jacobian[:, :_JOINTS]

    def now_s(self) -> float:
        """Simulated time since the twin was made; it goes on across resets."""
        return self._start_s + floor(self._ticks * self.tick_s / _TIME_GRID_S + 0.5) * _TIME_GRID_S

    def reset(self, rng: np.random.Generator, joint_position_rad: Array, gripper_width_m: float) -> None:
        """Draw the variation, put the arm somewhere and everything else where the model has it, at rest.

        Args:
            rng: Only used if something is randomised.
            joint_position_rad: Shape (7,).
            gripper_width_m: Distance between the fingers.
        """
        self._start_s = float(floor(self.now_s()) + 1)
        self._ticks = 0
        self.variation = self._randomiser.apply(self.data, rng)
        self._delay_ticks = round(self.variation.action_delay_s / self.tick_s)
        mujoco.mj_resetData(self.model, self.data)
        self._joint_position[:] = joint_position_rad
        self._fingers[:] = 0.5 * gripper_width_m
        self.data.ctrl[_JOINTS] = gripper_width_m
        self.refresh()
        self.hold()

    def place(self, joint_name: str, position_m: Array, quaternion_xyzw: Array) -> None:
        """Put a free object somewhere, at rest. Follow it by `refresh`."""
        joint = self.data.joint(joint_name)
        joint.qpos[:3] = position_m
        joint.qpos[3:] = quaternion_xyzw[_TO_WXYZ]
        joint.qvel[:] = 0.0

    def refresh(self) -> None:
        """Compute what depends on positions and velocities."""
        mujoco.mj_step1(self.model, self.data)
        self._read_end_effector()

    def follow(self, command: RobotCommand) -> None:
        """Go where a command says, after the action delay. Repeat it before it is too old."""
        self._pending.append((self._ticks + self._delay_ticks, command))
        self._last_command_tick = self._ticks

    def follow_torque(self, torque_nm: Array) -> None:
        """Apply joint torques, on top of gravity compensation, from the next tick on. Repeat them before they are old.

        Args:
            torque_nm: Cut off at the joints' limits, shape (7,).
        """
        highest = np.array(self.config.safety.joints.effort_nm)
        self._pending.clear()
        self._torque = np.clip(torque_nm, -highest, highest)
        self._last_command_tick = self._ticks

    def grip(self, gripper_width_m: float) -> None:
        """Move the fingers to this distance."""
        self.data.ctrl[_JOINTS] = min(max(gripper_width_m, 0.0), MAX_GRIPPER_WIDTH_M)

    def hold(self) -> None:
        """Stay in the present joint configuration, whatever was commanded before."""
        self._pending.clear()
        self._torque = None
        self._last_command_tick = None
        self._joint.set_target(self._joint_position + _STOPPING_S * self._joint_velocity)
        self._is_cartesian = False

    def advance(self, ticks: int) -> None:
        """Let `ticks` control ticks pass."""
        model, data, substeps = self.model, self.data, self.config.substeps_per_tick
        for _ in range(ticks):
            self._take_command()
            if self._torque is not None:
                torque = self._torque
            elif self._is_cartesian:
                torque = self._cartesian.torque(
                    self._jacobian,
                    self._joint_position,
                    self._joint_velocity,
                    self._ee_position,
                    self._ee_quaternion,
                )
            else:
                torque = self._joint.torque(self._joint_position, self._joint_velocity)
            np.add(torque, self._bias, self._motor)
            # mj_step1 of the first substep was done at the end of the previous tick.
            mujoco.mj_step2(model, data)
            if substeps > 1:
                mujoco.mj_step(model, data, substeps - 1)
            mujoco.mj_step1(model, data)
            self._read_end_effector()
            self._ticks += 1

    def state(self, stamp_s: float) -> RobotState:
        """The arm as it is now.

        Args:
            stamp_s: Time of the measurement on the clock in use.
        """
        twist = self._jacobian.dot(self._joint_velocity)
        left, right = self._fingers.tolist()
        return RobotState(
            stamp_s,
            self._joint_position.copy(),
            self._joint_velocity.copy(),
            self._effort.copy(),
            self._ee_position.copy(),
            self._ee_quaternion.copy(),
            twist[:3],
            twist[3:],
            self._wrench(),
            left + right,
        )

    def _take_command(self) -> None:
        """Hand the due command to its controller; hold where commands have stopped coming."""
        if self._pending and self._pending[0][0] <= self._ticks:
            self._apply(self._pending.pop(0)[1])
        if self._last_command_tick is not None:
            age = self._ticks - self._last_command_tick
            if age >= self._max_command_ticks + self._delay_ticks:
                self.timeouts += 1
                self.hold()

    def _apply(self, command: RobotCommand) -> None:
        self._torque = None
        if isinstance(command, JointCommand):
            self._joint.set_target(command.joint_position_rad)
        else:
            self._cartesian.set_target(command.ee_position_m, command.ee_quaternion_xyzw)
            if not self._is_cartesian:
                self._cartesian.restart()
        self._is_cartesian = isinstance(command, PoseCommand)
        self.data.ctrl[_JOINTS] = command.gripper_width_m

    def _read_end_effector(self) -> None:
        mujoco.mj_jacSite(
            self.model, self.data, self._jacobian_translation, self._jacobian_rotation, self._site
        )
        self._ee_quaternion_wxyz.take(_TO_XYZW, out=self._ee_quaternion, mode="clip")

    def _wrench(self) -> Array:
        """External force and torque on the end effector, as arms estimate it: from external joint torques."""
        if not any(self._external_torque.tolist()):
            return _NO_WRENCH.copy()
        jacobian = self._jacobian
        return np.linalg.solve(jacobian.dot(jacobian.T), jacobian.dot(self._external_torque))
