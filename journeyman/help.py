"""How an actor asks a person for a hand: a small file in the folder of its run, for as long as the question stands."""

from pathlib import Path

from agent.config import InputError
from agent.storage import write_atomically

_FOLDER = "help"


class FileOperator:
    """Implements `robot_env.resets.operator.Operator`: the question is the file's text, and its end is the answer.

    It survives the process that asked: one that is started again finds its question standing, and does not put a second
    one beside it.

    Args:
        path: Of the file; its folder is made when the first question is put.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, question: str) -> None:
        """Let it stand there, and say it to who reads what this process prints.

        Raises:
            OSError: The file cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if _read(self._path) != question:
            write_atomically(self._path, question.encode())
        command = helped_command(self._path.parent.parent)
        print(f"{self._path.stem} waits for a person. {question} Then type: {command}", flush=True)

    def answered(self) -> bool:
        """Whether somebody has taken the question away."""
        return not self._path.exists()

    def done(self) -> None:
        """Take it away, if it still stands."""
        self._path.unlink(missing_ok=True)


def make_file_operator(run: Path | None, actor: str) -> FileOperator:
    """Of an actor.

    Args:
        run: Its run; None if that is on another machine: then the question stands below runs/.
        actor: Its name.
    """
    return FileOperator((run or Path("runs")) / _FOLDER / f"{actor}.txt")


def questions(run: Path) -> dict[str, str]:
    """What stands in a run, by the name of the actor that asks.

    Raises:
        InputError: There is no such run.
    """
    if not run.is_dir():
        raise InputError(f"There is no run {run}: choose one below runs/, as run=DIR.")
    found = {path.stem: _read(path) for path in sorted((run / _FOLDER).glob("*.txt"))}
    return {actor: question for actor, question in found.items() if question is not None}


def helped_command(run: Path) -> str:
    """What a person types when they have helped."""
    return f"journeyman helped run={run}"


def _read(path: Path) -> str | None:
    """A question; None where there is none, or it has just been answered."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
