import os
from math import cos, pi, sin

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from controllers.config import InputError
from controllers.ik import InverseKinematics
from controllers.kinematics import Kinematics, KinematicsConfig
from controllers.limits import JointLimits
from controllers.rotations import error, multiply, normalize, rotate

H = pi / 2
NAMES = tuple(f"joint{i}" for i in range(1, 8))
# Craig's rows of the Panda, and its flange: frankaemika.github.io/docs/control_parameters.html.
PANDA = (
    (0.0, 0.0, 0.333, 0.0),
    (0.0, -H, 0.0, 0.0),
    (0.0, H, 0.316, 0.0),
    (0.0825, H, 0.0, 0.0),
    (-0.0825, -H, 0.384, 0.0),
    (0.0, H, 0.0, 0.0),
    (0.088, H, 0.0, 0.0),
)
TWIN = KinematicsConfig(model="sim:models/world.xml", site="tool_centre_point")

# A base that is no joint, a continuous joint, meshes that are not there, and a tool behind a fixed joint.
URDF = """
<robot name="arm">
  <link name="base_link"><visual><geometry><mesh filename="package://nowhere/base.dae"/></geometry></visual></link>
  <joint name="base_to_stand" type="fixed">
    <parent link="base_link"/><child link="stand"/><origin xyz="0.1 0 0.2" rpy="0 0 1.5707963267948966"/>
  </joint>
  <link name="stand"/>
  <joint name="turn" type="continuous">
    <parent link="stand"/><child link="upper"/><origin xyz="0 0 0.3"/><axis xyz="0 0 1"/>
  </joint>
  <link name="upper">
    <collision><geometry><mesh filename="package://nowhere/upper.stl"/></geometry></collision>
  </link>
  <joint name="bend" type="revolute">
    <parent link="upper"/><child link="lower"/><origin xyz="0.5 0 0"/><axis xyz="0 1 0"/>
    <limit lower="-1" upper="2" effort="1" velocity="1"/>
  </joint>
  <link name="lower"/>
  <joint name="mount" type="fixed"><parent link="lower"/><child link="tool"/><origin xyz="0.4 0 0"/></joint>
  <link name="tool"/>
</robot>
"""


def dh(rows, names=None, **changes):
    names = names or tuple(f"j{i}" for i in range(len(rows)))
    return Kinematics(KinematicsConfig(dh=rows, **changes), names)


def dh_by_matrices(rows, angles):
    """Forward kinematics as in the textbook: one matrix per row."""
    total = np.eye(4)
    for (a, alpha, d, offset), angle in zip(rows, angles, strict=True):
        ca, sa, ct, st_ = cos(alpha), sin(alpha), cos(angle + offset), sin(angle + offset)
        total = total @ np.array(
            [
                [ct, -st_, 0.0, a],
                [st_ * ca, ct * ca, -sa, -sa * d],
                [st_ * sa, ct * sa, ca, ca * d],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
    return total


lengths = st.floats(-0.5, 0.5)
turns = st.floats(-pi, pi)
dh_rows = st.lists(st.tuples(lengths, turns, lengths, turns), min_size=1, max_size=7)


@given(rows=dh_rows, data=st.data())
def test_dh_rows_are_the_matrices_of_the_textbook(rows, data):
    angles = np.array(data.draw(st.lists(turns, min_size=len(rows), max_size=len(rows))))
    wanted = dh_by_matrices(rows, angles)
    position, quaternion = dh(tuple(rows)).pose(angles)
    assert_allclose(position, wanted[:3, 3], atol=1e-9)
    for axis in np.eye(3):
        assert_allclose(rotate(quaternion, axis), wanted[:3, :3] @ axis, atol=1e-9)


@given(rows=dh_rows, data=st.data())
def test_the_jacobian_is_the_derivative_of_the_pose(rows, data):
    angles = np.array(data.draw(st.lists(turns, min_size=len(rows), max_size=len(rows))))
    arm = dh(tuple(rows), tool_position_m=(0.1, 0.0, 0.2))
    jacobian, step = arm.jacobian(angles), 1e-6
    assert jacobian.shape == (6, len(rows))
    for joint in range(len(rows)):
        shift = step * np.eye(len(rows))[joint]
        ahead, behind = arm.pose(angles + shift), arm.pose(angles - shift)
        assert_allclose(jacobian[:3, joint], (ahead[0] - behind[0]) / (2 * step), atol=1e-7)
        assert_allclose(jacobian[3:, joint], error(ahead[1], behind[1]) / (2 * step), atol=1e-7)


def test_the_twin_has_the_published_kinematics_of_its_arm():
    # Hand: turned by -45 degrees; tool: 10.34 cm in front of the flange, as franka_description has it.
    tool = {
        "tool_position_m": (0.0, 0.0, 0.2104),
        "tool_quaternion_xyzw": (0.0, 0.0, -sin(pi / 8), cos(pi / 8)),
    }
    published, twin = dh(PANDA, NAMES, **tool), Kinematics(TWIN, NAMES)
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = rng.uniform(-2.5, 2.5, 7)
        position, quaternion = twin.pose(angles)
        wanted_position, wanted_quaternion = published.pose(angles)
        assert_allclose(position, wanted_position, atol=1e-9)
        assert np.linalg.norm(error(wanted_quaternion, quaternion)) < 1e-9
        assert_allclose(twin.jacobian(angles), published.jacobian(angles), atol=1e-9)


def test_the_ready_pose_of_the_panda_is_the_published_one():
    # 0.307 m in front and 0.59 m up at the flange, pointing down: any public tutorial of the arm.
    arm = dh(PANDA, NAMES, tool_position_m=(0.0, 0.0, 0.107))
    position, quaternion = arm.pose(np.array([0.0, -pi / 4, 0.0, -3 * pi / 4, 0.0, H, pi / 4]))
    assert_allclose(position, [0.307, 0.0, 0.590], atol=1e-3)
    assert_allclose(rotate(quaternion, np.array([0.0, 0.0, 1.0])), [0.0, 0.0, -1.0], atol=1e-9)


def test_results_stay_when_others_are_computed():
    arm = Kinematics(TWIN, NAMES)
    position, quaternion = arm.pose(np.zeros(7))
    jacobian = arm.jacobian(np.zeros(7))
    kept = [part.copy() for part in (position, quaternion, jacobian)]
    arm.pose(np.full(7, 0.5))
    arm.jacobian(np.full(7, 0.5))
    for part, copy in zip((position, quaternion, jacobian), kept, strict=True):
        assert_array_equal(part, copy)


@pytest.fixture
def urdf(tmp_path):
    path = tmp_path / "arm.urdf"
    path.write_text(URDF)
    return str(path)


def test_a_urdf_needs_none_of_its_meshes_and_keeps_fixed_links(urdf):
    arm = Kinematics(KinematicsConfig(model=urdf, site="tool"), ("turn", "bend"))
    # The stand is turned by 90 degrees, so x of the arm is y of the base.
    position, quaternion = arm.pose(np.zeros(2))
    assert_allclose(position, [0.1, 0.9, 0.5], atol=1e-9)
    assert_allclose(rotate(quaternion, np.array([1.0, 0.0, 0.0])), [0.0, 1.0, 0.0], atol=1e-9)
    position, _ = arm.pose(np.array([0.0, H]))
    assert_allclose(position, [0.1, 0.5, 0.1], atol=1e-9)
    assert_array_equal(arm.model.jnt_limited, [False, True])
    assert_allclose(arm.model.jnt_range[1], [-1.0, 2.0])
    assert {"stand", "tool"} < {arm.model.body(i).name for i in range(arm.model.nbody)}


@pytest.mark.parametrize("kind", ["mjcf", "urdf", "dh"])
def test_a_tool_is_put_in_front_of_the_site(kind, urdf):
    quaternion = tuple(normalize(np.array([0.1, -0.2, 0.3, 0.9])))
    tool = {"tool_position_m": (0.01, 0.02, 0.3), "tool_quaternion_xyzw": quaternion}
    given = {
        "mjcf": ({"model": TWIN.model, "site": TWIN.site}, NAMES),
        "urdf": ({"model": urdf, "site": "lower"}, ("turn", "bend")),
        "dh": ({"dh": PANDA}, NAMES),
    }
    changes, names = given[kind]
    bare, armed = (
        Kinematics(KinematicsConfig(**changes), names),
        Kinematics(KinematicsConfig(**changes, **tool), names),
    )
    angles = np.linspace(-0.4, 0.7, len(names))
    position, turn = bare.pose(angles)
    reached, reached_turn = armed.pose(angles)
    assert_allclose(reached, position + rotate(turn, np.array(tool["tool_position_m"])), atol=1e-9)
    assert np.linalg.norm(error(multiply(turn, np.array(quaternion)), reached_turn)) < 1e-9


def test_a_site_given_by_euler_angles_takes_a_tool_too(tmp_path):
    path = tmp_path / "arm.xml"
    path.write_text(
        '<mujoco><compiler angle="degree"/><worldbody><body><joint name="j"/><geom size="0.1"/>'
        '<site name="s" euler="0 90 0"/></body></worldbody></mujoco>'
    )
    config = KinematicsConfig(model=str(path), site="s", tool_position_m=(0.0, 0.0, 0.5))
    position, _ = Kinematics(config, ("j",)).pose(np.zeros(1))
    assert_allclose(position, [0.5, 0.0, 0.0], atol=1e-9)


@pytest.mark.parametrize("kind", ["mjcf in degrees", "dh"])
def test_limits_of_the_caller_replace_those_of_the_model(kind, tmp_path):
    path = tmp_path / "arm.xml"
    path.write_text(
        '<mujoco><compiler angle="degree"/><worldbody><body><joint name="a" range="-10 10"/><geom size="0.1"/>'
        '<body pos="1 0 0"><joint name="b"/><geom size="0.1"/><site name="s"/></body></body></worldbody></mujoco>'
    )
    row = (0.1, 0.0, 0.0, 0.0)
    config = KinematicsConfig(dh=(row, row)) if kind == "dh" else KinematicsConfig(model=str(path), site="s")
    limits = JointLimits(
        min_rad=(-1.0, -np.inf),
        max_rad=(2.0, np.inf),
        velocity_rad_s=(1.0, 1.0),
        acceleration_rad_s2=(1.0, 1.0),
        effort_nm=(1.0, 1.0),
    )
    model = Kinematics(config, ("a", "b"), limits).model
    assert_array_equal(model.jnt_limited, [True, False])
    assert_allclose(model.jnt_range[0], [-1.0, 2.0])
    with pytest.raises(InputError, match=r"limits of 7 joints for the 2 joints \['a', 'b'\]"):
        Kinematics(config, ("a", "b"), JointLimits())


def test_inverse_kinematics_find_back_on_every_kind_of_model(urdf):
    for arm in (Kinematics(TWIN, NAMES, JointLimits()), dh(PANDA, NAMES)):
        solver = InverseKinematics(arm.model, arm.site_name)
        ready = np.array([0.0, 0.15, 0.0, -2.35, 0.0, 2.5, 0.785398])
        position, quaternion = arm.pose(ready + 0.1)
        found = arm.pose(solver.solve(position, quaternion, ready))
        assert_allclose(found[0], position, atol=1e-4)
        assert np.linalg.norm(error(quaternion, found[1])) < 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "none of model and dh is given"),
        ({"model": "a.xml", "dh": PANDA}, "both of model and dh is given"),
        ({"model": "sim:models/world.xml"}, r"'sim:models/world.xml' needs a site"),
        (
            {"model": "sim:models/world.xml", "site": "tip"},
            r"has no site 'tip'; choose from .*tool_centre_point",
        ),
        ({"model": "no/arm.xml", "site": "s"}, "'no/arm.xml' .*no/arm.xml"),
        ({"model": "no/arm.urdf", "site": "s"}, "'no/arm.urdf' cannot be read: No such file"),
        ({"model": "nopackage:arm.xml", "site": "s"}, "package 'nopackage', which cannot be imported"),
        ({"dh": PANDA[:6]}, "dh has 6 rows for the 7 joints"),
        ({"dh": ((0.0, float("nan"), 0.0, 0.0), *PANDA[1:])}, "finite numbers"),
        ({"dh": PANDA, "tool_quaternion_xyzw": (0.0, 0.0, 0.0, 2.0)}, r"has length 2: give"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        Kinematics(KinematicsConfig(**changes), NAMES)
    text = str(caught.value)
    assert text.startswith("kinematics: ")
    assert text.endswith(".")
    assert os.linesep not in text


def test_a_model_with_other_joints_is_refused(urdf):
    with pytest.raises(InputError, match=r"has the joints \['turn', 'bend'\], but .* are \['bend', 'turn'\]"):
        Kinematics(KinematicsConfig(model=urdf, site="tool"), ("bend", "turn"))
    with pytest.raises(InputError, match=r"has the joints \['turn'\]"):
        Kinematics(KinematicsConfig(model=urdf, site="upper"), ("turn", "bend"))
    with pytest.raises(InputError, match=r"no link 'hand'; choose from .*stand"):
        Kinematics(KinematicsConfig(model=urdf, site="hand"), ("turn", "bend"))


@pytest.mark.parametrize("text", ["<mujoco><worldbody>", "<mujoco><nonsense/></mujoco>", ""])
@pytest.mark.parametrize("suffix", ["xml", "urdf"])
def test_a_broken_file_is_refused_in_one_sentence(tmp_path, text, suffix):
    path = tmp_path / f"arm.{suffix}"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Kinematics(KinematicsConfig(model=str(path), site="s"), ("j",))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_that_do_not_compile_say_so(tmp_path):
    path = tmp_path / "arm.xml"
    path.write_text(
        '<mujoco><worldbody><body><joint name="j"/><geom type="mesh" mesh="m"/><site name="s"/></body></worldbody>'
        '<asset><mesh name="m" file="nowhere.stl"/></asset></mujoco>'
    )
    with pytest.raises(InputError, match=r"does not compile: .*nowhere\.stl"):
        Kinematics(KinematicsConfig(model=str(path), site="s"), ("j",))


def test_the_model_is_an_ordinary_one():
    assert isinstance(dh(PANDA).model, mujoco.MjModel)
