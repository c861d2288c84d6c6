"""The twin as a robot: the same contract, and the same safety filter, as a real arm."""

import numpy as np
from msgspec.structs import replace

from controllers.safety_filter import SafetyFilter
from controllers.state import RobotCommand, RobotState
from robot_env.robot import RobotUnavailableError
from sim.clock import PacedTwinClock, TwinClock
from sim.twin import JOINT_NAMES, MAX_GRIPPER_WIDTH_M, Twin


class TwinRobot:
    """Implements `robot_env.robot.Robot`.

    Args:
        twin: The physics.
    """

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self._clock = PacedTwinClock(twin) if twin.config.realtime else TwinClock(twin)
        self._filter = SafetyFilter(twin.config.safety)
        self._noise = np.random.default_rng(0)
        self._state: RobotState | None = None

    @property
    def clock(self) -> TwinClock | PacedTwinClock:
        """Sleeping on it lets the physics pass."""
        return self._clock

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the seven joints."""
        return JOINT_NAMES

    @property
    def max_gripper_width_m(self) -> float:
        """Distance between the fully opened fingers."""
        return MAX_GRIPPER_WIDTH_M

    def connect(self) -> None:
        """Start counting limit hits."""
        self._filter.hits.clear()
        self.twin.timeouts = 0

    def observe(self) -> RobotState:
        """The state as it is now, with the noise that the last reset drew."""
        state = self.twin.state(self._clock.now_s())
        noise_m = self.twin.variation.position_noise_m
        if noise_m > 0.0:
            position_m = state.ee_position_m + self._noise.normal(0.0, noise_m, 3)
            state = replace(state, ee_position_m=position_m)
        self._state = state
        return state

    def send_command(self, command: RobotCommand) -> RobotCommand:
        """Pass a command through the safety filter to the controller.

        Raises:
            RobotUnavailableError: This process stood still just when it had measured nothing yet to hold at.
        """
        state = self._state
        if state is None or state.stamp_s != self._clock.now_s():
            state = self.observe()
        # Read after the measurement, which else could be of a time to come where this process is held up in between.
        now_s = self._clock.now_s()
        try:
            sent, _ = self._filter.filter(command, state, now_s)
        except RuntimeError as error:
            raise RobotUnavailableError(str(error)) from None
        self.twin.follow(sent)
        return sent

    @property
    def limit_hits(self) -> dict[str, int]:
        """How often each safety limit changed or refused a command since `connect`."""
        hits = dict(self._filter.hits)
        if self.twin.timeouts:
            hits["command_timeout"] = self.twin.timeouts
        return hits

    def stop(self) -> None:
        """Hold the arm where it is."""
        self.twin.hold()

    def close(self) -> None:
        """Hold the arm where it is."""
        self.stop()

    def restart(self, rng: np.random.Generator) -> None:
        """Begin an episode, once the scene has been reset: nothing is remembered of the one before.

        Args:
            rng: Seeds the measurement noise, if there is any.
        """
        self._state = None
        self._filter.restart()
        self._clock.restart()
        if self.twin.variation.position_noise_m > 0.0:
            self._noise = np.random.default_rng(rng.integers(2**63))
