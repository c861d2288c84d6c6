"""The command line: `journeyman VERB [--option ...] [key=value ...]`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

# Verb -> what it does. Each is a module of that name with `run(options) -> exit code`.
_VERBS = {
    "train": "learn a task: starts learner and actor on this machine, ends with a report",
    "learner": "the learner alone; actors on other machines connect to transport.address",
    "actor": "the actor alone; drives the robot and streams to transport.address",
    "collect": "record demonstrations of the scripted expert as MCAP episodes",
    "evaluate": "deterministic evaluation of a run's newest policy",
    "report": "write the report of a run again",
    "doctor": "check this machine: graphics, compiler, GPU, real-time permission, ROS",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns:
        Exit code: 0 done, 1 failed, 2 wrong input, 3 the robot needs a human, 130 interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="journeyman",
        description="Teach a robot arm a task by reinforcement learning.",
        epilog="Keys are Hydra overrides, for example: journeyman train task=reach seed=1 learner.device=cpu",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, purpose in _VERBS.items():
        sub = verbs.add_parser(verb, help=purpose, description=purpose)
        if verb == "doctor":
            sub.add_argument("--json", action="store_true", help="print JSON")
        else:
            sub.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides")
        if verb in ("learner", "actor"):
            sub.add_argument("--supervised", action="store_true", help="stop when standard input closes")
    options = parser.parse_args(arguments)
    # Imported late: `journeyman doctor` must be able to say that torch is broken.
    from agent.config import InputError
    from controllers.config import InputError as RobotSideInputError
    from robot_env.robot import RobotError

    try:
        module = importlib.import_module(f"journeyman.{options.verb}")
        return int(module.run(options))
    except (InputError, RobotSideInputError) as error:
        print(f"journeyman {options.verb}: {error}", file=sys.stderr)
        return 2
    except RobotError as error:
        print(f"journeyman {options.verb}: {error}", file=sys.stderr)
        return 3
    except OSError as error:  # A full disk, a folder that may not be written.
        print(f"journeyman {options.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
