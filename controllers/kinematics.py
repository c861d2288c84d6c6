"""Forward kinematics and Jacobian of an arm, from a MuJoCo model, a URDF or Denavit-Hartenberg rows."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from math import cos, inf, pi, sin
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from controllers.ik import hinges_to
from controllers.limits import JointLimits
from controllers.rotations import from_rotation_vector, multiply, rotate

Array = NDArray[np.float64]

_TOOL = "tool_centre_point"
_SHIFTED = "_with_tool"
_NO_SHIFT = (0.0, 0.0, 0.0)
_NO_TURN = (0.0, 0.0, 0.0, 1.0)
_UNIT_TOLERANCE = 1e-3
# A link without geometry still needs a mass to compile; kinematics do not depend on it.
_LIGHTEST_KG = 1e-3
_LIGHTEST_KG_M2 = 1e-6


class KinematicsConfig(Config):
    """Where the kinematics come from: give `model` or `dh`.

    Attributes:
        model: Path of an MJCF or URDF file, or `package:path` inside an importable package, such as
            `sim:models/world.xml`; its world is the arm's base frame.
        site: The tool centre point: a site of the MJCF, or a link of the URDF.
        dh: Modified Denavit-Hartenberg rows (a m, alpha rad, d m, theta offset rad), one per joint (Craig's
            convention: rotate and shift along the previous x axis, then along the own z axis).
        tool_position_m: From the last joint's frame to the tool centre point; with a model, from its site.
        tool_quaternion_xyzw: Orientation of the tool centre point in that frame.
    """

    model: str | None = None
    site: str | None = None
    dh: tuple[tuple[float, float, float, float], ...] | None = None
    tool_position_m: tuple[float, float, float] = _NO_SHIFT
    tool_quaternion_xyzw: tuple[float, float, float, float] = _NO_TURN


class Kinematics:
    """Pose and Jacobian of the tool centre point in the base frame. Not for several threads at once.

    Args:
        config: Where they come from.
        joint_names: For the N joints of the arm in the order of every joint vector; checked against a model's.
        limits: Ends of the joints, in place of the model's; Denavit-Hartenberg rows have none of their own.

    Raises:
        InputError: The model cannot be read, has no such site, or other joints.
    """

    def __init__(
        self, config: KinematicsConfig, joint_names: tuple[str, ...], limits: JointLimits | None = None
    ) -> None:
        spec, self._site_name = _spec_of(config, joint_names)
        if limits is not None:
            _set_limits(spec, joint_names, limits)
        self._model = model = _compile(spec, config.model)
        self._data = mujoco.MjData(model)
        self._site = site = model.site(self._site_name).id
        joints = hinges_to(model, site)
        found = tuple(model.joint(joint).name for joint in joints)
        if found != joint_names:
            raise InputError(
                f"kinematics: between base and {config.site!r}, {config.model} has the joints {list(found)}, but the "
                f"robot's joint_names are {list(joint_names)}: name the same ones in the same order."
            )
        self._qpos = model.jnt_qposadr[joints]
        self._dofs = model.jnt_dofadr[joints]
        self._full = np.zeros((6, model.nv))
        self._wxyz = np.empty(4)

    @property
    def model(self) -> Any:
        """The `mujoco.MjModel`."""
        return self._model

    @property
    def site_name(self) -> str:
        """Name of the tool centre point in the model."""
        return self._site_name

    def pose(self, joint_position_rad: Array) -> tuple[Array, Array]:
        """Position, shape (3,), and quaternion x, y, z, w, shape (4,), of the tool centre point."""
        data = self._data
        data.qpos[self._qpos] = joint_position_rad
        mujoco.mj_kinematics(self._model, data)
        mujoco.mju_mat2Quat(self._wxyz, data.site_xmat[self._site])
        return data.site_xpos[self._site].copy(), self._wxyz[[1, 2, 3, 0]]

    def jacobian(self, joint_position_rad: Array) -> Array:
        """Geometric Jacobian, translation rows first, shape (6, N)."""
        model, data, full = self._model, self._data, self._full
        data.qpos[self._qpos] = joint_position_rad
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, full[:3], full[3:], self._site)
        return full[:, self._dofs]


def _spec_of(config: KinematicsConfig, joint_names: tuple[str, ...]) -> tuple[Any, str]:
    """An uncompiled model, and the name of the tool centre point in it."""
    if (config.model is None) == (config.dh is None):
        given = "both" if config.dh is not None else "none"
        raise InputError(f"kinematics: {given} of model and dh is given: give one of them.")
    length = float(np.linalg.norm(config.tool_quaternion_xyzw))
    if not abs(length - 1.0) < _UNIT_TOLERANCE:
        raise InputError(
            f"kinematics: tool_quaternion_xyzw {config.tool_quaternion_xyzw} has length {length:.3g}: give x, y, z, w "
            "of length 1."
        )
    if config.dh is not None:
        return _chain(config, joint_names), _TOOL
    assert config.model is not None  # Checked above.
    if config.site is None:
        raise InputError(
            f"kinematics: model {config.model!r} needs a site: the tool centre point, a site of an MJCF or a "
            "link of a URDF."
        )
    spec = _read(config.model)
    site = _site_of(spec, config)
    if config.tool_position_m == _NO_SHIFT and config.tool_quaternion_xyzw == _NO_TURN:
        return spec, str(site.name)
    # What the model says in Euler angles or the like is a quaternion only once it is compiled.
    compiled = _compile(spec, config.model).site(site.name)
    turn = np.roll(compiled.quat, -1)
    position = compiled.pos + rotate(turn, np.array(config.tool_position_m))
    quaternion = multiply(turn, np.array(config.tool_quaternion_xyzw))
    name = f"{site.name}{_SHIFTED}"
    site.parent.add_site(name=name, pos=position, quat=np.roll(quaternion, 1))
    return spec, name


def _read(name: str) -> Any:
    """A model from a file; without the shapes of a URDF, whose meshes are often elsewhere."""
    path = _path_of(name)
    try:
        if path.suffix != ".urdf":
            return mujoco.MjSpec.from_file(str(path))
        robot = ElementTree.fromstring(path.read_bytes())
        for link in robot.iter("link"):
            for part in (*link.findall("visual"), *link.findall("collision")):
                link.remove(part)
        spec = mujoco.MjSpec.from_string(ElementTree.tostring(robot, encoding="unicode"))
    except OSError as error:
        raise InputError(
            f"kinematics: model {name!r} cannot be read: {error.strerror}; check the path."
        ) from None
    except (ValueError, ElementTree.ParseError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"kinematics: model {name!r} is no MJCF or URDF that loads: {reason}.") from None
    # Fixed joints keep their links: the tool centre point is usually one.
    spec.compiler.fusestatic = False
    spec.compiler.boundmass = _LIGHTEST_KG
    spec.compiler.boundinertia = _LIGHTEST_KG_M2
    return spec


def _path_of(name: str) -> Path:
    """The file that `path` or `package:path` names."""
    package, colon, inside = name.partition(":")
    if not colon or Path(name).exists():
        return Path(name)
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise InputError(
            f"kinematics: model {name!r} names the package {package!r}, which cannot be imported: install it, or "
            "give a path."
        )
    return Path(next(iter(found.submodule_search_locations))) / inside


def _site_of(spec: Any, config: KinematicsConfig) -> Any:
    """The site of that name, or one on the link of that name."""
    site = spec.site(config.site)
    if site is not None:
        return site
    is_urdf = str(config.model).endswith(".urdf")
    if is_urdf and (link := spec.body(config.site)) is not None:
        return link.add_site(name=config.site)
    kind = "link" if is_urdf else "site"
    names = [part.name for part in (spec.bodies[1:] if is_urdf else spec.sites) if part.name]
    raise InputError(
        f"kinematics: model {config.model!r} has no {kind} {config.site!r}; choose from {', '.join(names) or 'none'}."
    )


def _chain(config: KinematicsConfig, joint_names: tuple[str, ...]) -> Any:
    """The model of Denavit-Hartenberg rows.

    Frame i lies at Rot_x(alpha) Trans_x(a) Rot_z(theta) Trans_z(d) of frame i - 1: Craig, Introduction to Robotics,
    chapter 3.
    """
    rows = config.dh or ()
    if len(rows) != len(joint_names) or not np.isfinite(rows).all():
        raise InputError(
            f"kinematics: dh has {len(rows)} rows for the {len(joint_names)} joints {list(joint_names)}: give one row "
            "of finite numbers (a, alpha, d, theta offset) per joint."
        )
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.compiler.boundmass = _LIGHTEST_KG
    spec.compiler.boundinertia = _LIGHTEST_KG_M2
    body = spec.worldbody
    for (a, alpha, d, offset), name in zip(rows, joint_names, strict=True):
        turn = multiply(
            from_rotation_vector(np.array([alpha, 0.0, 0.0])),
            from_rotation_vector(np.array([0.0, 0.0, offset])),
        )
        position = np.array([a, -sin(alpha) * d, cos(alpha) * d])
        body = body.add_body(name=f"{name}_link", pos=position, quat=np.roll(turn, 1))
        body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0.0, 0.0, 1.0])
    tool = np.array(config.tool_quaternion_xyzw)
    body.add_site(name=_TOOL, pos=config.tool_position_m, quat=np.roll(tool, 1))
    return spec


def _set_limits(spec: Any, joint_names: tuple[str, ...], limits: JointLimits) -> None:
    if limits.joints != len(joint_names):
        raise InputError(
            f"kinematics: there are limits of {limits.joints} joints for the {len(joint_names)} joints "
            f"{list(joint_names)}: give one of each per joint."
        )
    unit = 180.0 / pi if spec.compiler.degree else 1.0
    for name, low, high in zip(joint_names, limits.min_rad, limits.max_rad, strict=True):
        joint = spec.joint(name)
        if joint is not None:  # A missing one is told of later, with the names that there are.
            joint.limited = -inf < low and high < inf
            joint.range = [low * unit, high * unit] if joint.limited else [0.0, 0.0]


def _compile(spec: Any, name: str | None) -> Any:
    try:
        return spec.compile()
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"kinematics: model {name!r} does not compile: {reason}.") from None
