"""Domain randomisation: varies a model's physics and looks at each reset, always from the nominal values."""

from dataclasses import dataclass

import mujoco
import numpy as np

from sim.config import RandomisationConfig, Range

# The arrays of a model that are changed, and so have to be restored.
_CHANGED = (
    "body_mass",
    "body_inertia",
    "geom_friction",
    "dof_damping",
    "actuator_forcerange",
    "cam_pos",
    "light_diffuse",
    "light_ambient",
)


@dataclass(frozen=True, slots=True)
class EpisodeVariation:
    """What varies from episode to episode outside of the model.

    Attributes:
        action_delay_s: Time from a command to its effect.
        position_noise_m: Standard deviation of the noise on measured positions.
    """

    action_delay_s: float = 0.0
    position_noise_m: float = 0.0


class Randomiser:
    """Applies a `RandomisationConfig` to a model.

    Args:
        model: Changed in place by `apply`.
        config: Ranges.
        arm_joints: Names of the joints whose damping varies.
        gripper: Name of the actuator whose force varies.
    """

    def __init__(
        self, model: mujoco.MjModel, config: RandomisationConfig, arm_joints: tuple[str, ...], gripper: str
    ) -> None:
        self._model = model
        self._config = config
        self._nominal = {name: getattr(model, name).copy() for name in _CHANGED}
        free = model.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE)
        self._objects = model.jnt_bodyid[free]
        self._object_geoms = np.flatnonzero(np.isin(model.geom_bodyid, self._objects))
        self._arm_dofs = [model.joint(name).dofadr[0] for name in arm_joints]
        self._gripper = model.actuator(gripper).id

    def apply(self, data: mujoco.MjData, rng: np.random.Generator) -> EpisodeVariation:
        """Restore the nominal model, then draw. Call it before `data` is reset.

        Args:
            data: Its state is lost where masses change.
            rng: Nothing is drawn from it for values that do not vary.
        """
        config, model = self._config, self._model
        if config.is_off:
            return EpisodeVariation()
        for name, value in self._nominal.items():
            getattr(model, name)[:] = value
        if config.object_mass_kg is not None:
            self._set_masses(_draw(rng, config.object_mass_kg, len(self._objects)))
            mujoco.mj_setConst(model, data)
        if config.object_friction is not None:
            model.geom_friction[self._object_geoms, 0] = _draw(rng, config.object_friction)
        if config.joint_damping_scale is not None:
            model.dof_damping[self._arm_dofs] *= _draw(rng, config.joint_damping_scale, len(self._arm_dofs))
        if config.gripper_force_n is not None:
            force_n = _draw(rng, config.gripper_force_n)[0]
            model.actuator_forcerange[self._gripper] = (-force_n, force_n)
        if config.camera_offset_m is not None:
            model.cam_pos += _draw(rng, config.camera_offset_m, model.cam_pos.size).reshape(-1, 3)
        if config.light_scale is not None:
            scale = _draw(rng, config.light_scale)
            model.light_diffuse *= scale
            model.light_ambient *= scale
        return EpisodeVariation(
            action_delay_s=_draw(rng, config.action_delay_s)[0] if config.action_delay_s else 0.0,
            position_noise_m=_draw(rng, config.position_noise_m)[0] if config.position_noise_m else 0.0,
        )

    def _set_masses(self, masses_kg: np.ndarray) -> None:
        """A heavier object of the same shape: inertia grows with the mass."""
        model = self._model
        for body, mass_kg in zip(self._objects, masses_kg, strict=True):
            model.body_inertia[body] *= mass_kg / model.body_mass[body]
            model.body_mass[body] = mass_kg


def _draw(rng: np.random.Generator, bounds: Range, size: int = 1) -> np.ndarray:
    return rng.uniform(*bounds, size)
