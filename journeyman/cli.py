"""The command line: `journeyman VERB [--option ...] [key=value ...]`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from controllers.config import did_you_mean
from robot_env.program import run_program

# Verb -> what it does. Each is a module of that name with `run(options) -> exit code`.
_VERBS = {
    "train": "learn a task: starts learner and actor on this machine, ends with a report",
    "pretrain": "learn from recorded data alone; train init=RUN goes on with what it learned",
    "learner": "the learner alone; actors on other machines connect to transport.address",
    "actor": "the actor alone; drives the robot and streams to transport.address",
    "fleet": "many actors of one learner, on the machines of a Ray cluster; see docs/scaling.md",
    "sweep": "train with all combinations of several choices, as many at a time as a Ray cluster has room for",
    "collect": "record demonstrations as MCAP episodes, of the scripted expert or by hand with device=...",
    "label": "say which frames of recorded episodes show success",
    "reward": "fit a success classifier to labelled episodes, or check one on others",
    "episodes": "work with recorded episodes: list, inspect, play, merge, split, stats, convert; see docs/episodes.md",
    "data": "check a data set that others recorded (D4RL's HDF5, Minari); see docs/offline.md",
    "evaluate": "deterministic evaluation of a run's newest policy",
    "gate": "whether a run's policy may take over from another's, by recorded data alone; see docs/gate.md",
    "helped": "answer an actor that asks a person for a hand; shows what it asked",
    "report": "write the report of a run again",
    "runs": "the runs in a folder: task, algorithm, seed, steps, best evaluation, how they ended",
    "config": "all keys of a run with their values and what they mean; words choose among them, as in config learner",
    "compare": "statistics over runs and seeds: intervals, who is better, which seeds are missing; see docs/compare.md",
    "twin": "the MuJoCo twin as a ROS 2 robot, with its controller node; train against it with robot=ros2",
    "controller": "the controller node beside a real arm: safety filter, stop on silence, emergency stop",
    "robot": "ask or tell the controller node: status, stop, recover, e-stop, reset-e-stop, zero-ftsensor",
    "keys": "who may connect over a network: generate, show, authorise, revoke, list; see docs/security.md",
    "doctor": "check this machine: graphics, GPU, memory, disk, devices, clocks, real-time permission, ROS",
}

_RUN_KEYS = (
    "task=..., algorithm=..., robot=..., device=..., seed=...: Hydra overrides; a wrong one is answered with "
    "those that there are. All keys, what they mean, and their values: journeyman config"
)
# Modules that are not named as their verbs are.
_MODULES = {"config": "config_keys"}
# What may be said to a verb, where it is not what a run is made of.
_KEYS = {
    "train": f"{_RUN_KEYS}. run=DIR goes on with a run, init=DIR begins with its policy",
    "collect": "episodes=N, folder=DIR, device=..., view=..., keep_failures=..., time_limit_s=... "
    f"(docs/teleoperation.md), and {_RUN_KEYS}",
    "fleet": "actors=N, name=PREFIX, ray=local, auto or an address, cpus=N, folder=DIR, restarts=N, and for the actors "
    f"transport.address=..., run=DIR or {_RUN_KEYS}",
    "sweep": "ray=local, auto or an address, cpus=N, gpus=N, folder=DIR, restarts=N, and for the runs "
    f"key=a,b or key=range(3) and {_RUN_KEYS}",
    "config": "keys, such as learner or actor.name: all that begin so; run=DIR, such as runs/latest, or "
    "task=..., algorithm=...: whose values are shown",
    "evaluate": "run=DIR, such as runs/latest; evaluation.episodes=N, evaluation.checkpoint=newest or best",
    "report": "run=DIR, such as runs/latest; evaluation.episodes=N, evaluation.video_episodes=N",
    "gate": "run=NEW against=OLD, both runs; see docs/gate.md for the others",
    "helped": "run=DIR (runs/latest), and actor=NAME where several ask",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns:
        Exit code: 0 done, 1 failed, 2 wrong input, 3 the robot needs a human, 130 interrupted (see `run_program`).
    """
    parser = argparse.ArgumentParser(
        prog="journeyman",
        description="Teach a robot arm a task by reinforcement learning.",
        epilog="Keys are Hydra overrides, for example: journeyman train task=reach seed=1 learner.device=cpu. "
        "To begin with: journeyman doctor, then journeyman train task=reach, then the README. "
        "journeyman VERB --help tells of one.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, purpose in _VERBS.items():
        sub = verbs.add_parser(verb, help=purpose, description=purpose)
        _add_arguments(sub, verb)
    options, unknown = parser.parse_known_args(_known_verb(parser, arguments))
    if unknown:
        parser.error(
            f"unrecognized arguments: {' '.join(unknown)}; keys are written without dashes, as in task=reach"
        )
    # A verb is imported late: `journeyman doctor` must be able to say that torch is broken.
    module = f"journeyman.{_MODULES.get(options.verb, options.verb)}"
    return run_program(f"journeyman {options.verb}", lambda: importlib.import_module(module).run(options))


def _known_verb(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> list[str]:
    """The same words; ends the program with a sentence if the first is no verb."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and not words[0].startswith("-") and words[0] not in _VERBS:
        hint = did_you_mean(words[0], _VERBS)
        parser.error(f"there is no verb {words[0]!r}; choose from {', '.join(_VERBS)}.{hint}")
    return words


def _add_arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    if verb == "doctor":
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "overrides",
            nargs="*",
            metavar="key=value",
            help="arm=NAME checks a robot's YAML instead, and which tasks fit it; peer=HOST:PORT compares clocks with "
            "a machine that runs journeyman doctor answer=HOST:PORT",
        )
        return
    if verb == "label":
        _add_label_arguments(parser)
        return
    if verb == "reward":
        parser.add_argument(
            "action", choices=("fit", "check"), help="fit data=DIR out=FILE, check model=FILE data=DIR"
        )
        parser.add_argument(
            "overrides", nargs="*", default=[], metavar="key=value", help="see docs/rewards.md"
        )
        return
    if verb == "episodes":
        parser.add_argument(
            "action", help="list, inspect, play, merge, split, stats or convert; see docs/episodes.md"
        )
        parser.add_argument("words", nargs="*", default=[], help="paths and key=value")
        return
    if verb == "data":
        parser.add_argument(
            "action", choices=("check",), help="check PATH [task=...] [out=FILE.json]; see docs/offline.md"
        )
        parser.add_argument("words", nargs="*", default=[], help="a path and key=value")
        return
    if verb == "keys":
        parser.add_argument(
            "action", choices=("generate", "show", "authorise", "revoke", "list"), help="what to do"
        )
        parser.add_argument(
            "words",
            nargs="*",
            default=[],
            metavar="WORD",
            help="NAME, or NAME and KEY, and folder=DIR (default: keys)",
        )
        return
    if verb == "runs":
        parser.add_argument(
            "words", nargs="*", metavar="FOLDER", help="where to look (default: runs); json=FILE, or json=-"
        )
        return
    if verb == "compare":
        parser.add_argument(
            "words",
            nargs="*",
            metavar="RUNS",
            help="runs, folders of runs, patterns; out=DIR block=N blocks=N alpha=X",
        )
        return
    if verb == "collect":
        parser.add_argument(
            "--mixed", action="store_true", help="successes and failures to label, instead of demonstrations"
        )
    if verb == "robot":
        actions = ("status", "stop", "recover", "e-stop", "reset-e-stop", "zero-ftsensor")
        parser.add_argument("action", choices=actions, help="what to ask or tell")
    if verb == "twin":
        parser.add_argument(
            "--rate-factor", type=float, default=1.0, help="speed of its time; other than 1 needs --clock"
        )
        parser.add_argument(
            "--clock", action="store_true", help="publish /clock; others then need simulated time"
        )
        parser.add_argument("--no-controller", action="store_true", help="without the controller node")
        parser.add_argument("--no-cameras", action="store_true", help="without images")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help=_KEYS.get(verb, _RUN_KEYS)
    )
    if verb in ("train", "learner", "actor", "controller"):
        parser.add_argument("--supervised", action="store_true", help="stop when standard input closes")


def _add_label_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="where the episodes (*.mcap) are")
    parser.add_argument(
        "ranges",
        nargs="*",
        metavar="EPISODE:FIRST-LAST=LABEL",
        help="labels; without them, a web page is served",
    )
    parser.add_argument("--from-truth", action="store_true", help="label by the recorded rewards")
    parser.add_argument(
        "--spot-check", type=int, metavar="N", help="only N random episodes, half of them judged successes"
    )
    parser.add_argument("--sheets", metavar="DIR", help="write the frames of every episode as a PNG")
    parser.add_argument("--port", type=int, default=8765, help="of the web page, on 127.0.0.1")
    parser.add_argument("--who", help="who labels; your user name by default")
