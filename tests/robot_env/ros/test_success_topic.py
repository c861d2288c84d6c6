"""Success as a topic pays, and silence is not failure but an error."""

import time

import pytest

from controllers.config import InputError
from robot_env.robot import RobotUnavailableError
from robot_env.task import RewardConfig

pytestmark = pytest.mark.ros


@pytest.fixture
def judge(runtime):
    from std_msgs.msg import Bool

    return runtime.node.create_publisher(Bool, "success", 1)


@pytest.fixture
def make(runtime):
    from robot_env.ros.ros_clock import WallRosClock
    from robot_env.ros.success_topic import SuccessTopic

    def make_topic(**options):
        topic = SuccessTopic("success", RewardConfig(success=1.0, step=-0.25), **options)
        topic.attach(runtime.node, WallRosClock())
        return topic

    return make_topic


@pytest.fixture
def say(judge, wait_until):
    from std_msgs.msg import Bool

    def say_it(topic, data):
        before_s = topic.news_s()
        wait_until(lambda: judge.publish(Bool(data=data)) or topic.news_s() > before_s)

    return say_it


@pytest.mark.parametrize(("data", "value"), [(True, 1.0), (False, -0.25)])
def test_what_the_topic_says_is_paid(make, say, data, value):
    topic = make(max_age_s=60.0)
    say(topic, not data)
    say(topic, data)
    reward = topic.reward({})
    assert (reward.value, reward.success) == (value, data)


def test_news_is_when_the_message_came_and_not_when_it_was_read(make, judge, wait_until):
    from std_msgs.msg import Bool

    topic = make()
    assert topic.news_s() == float("-inf")
    wait_until(judge.get_subscription_count)
    judge.publish(Bool(data=True))
    time.sleep(0.3)
    read_s = time.monotonic()
    assert wait_until(lambda: topic.news_s() > 0.0)
    assert topic.news_s() < read_s - 0.1


def test_silence_names_the_topic_from_the_start_and_after_the_judge_died(make, say):
    topic = make(max_age_s=0.1)
    with pytest.raises(RobotUnavailableError, match="No news of success on /success: start the node"):
        topic.reward({})
    say(topic, True)
    time.sleep(0.15)
    with pytest.raises(RobotUnavailableError, match="/success"):
        topic.reward({})


def test_a_dense_reward_cannot_be_had_from_a_topic():
    from robot_env.ros.success_topic import SuccessTopic

    with pytest.raises(InputError, match="'dense' cannot be told from a topic; choose sparse"):
        SuccessTopic("success", RewardConfig(kind="dense"))
