"""Does a learner survive whatever is sent to it, and every reader whatever is in its file?

    python -m bench.fuzz [--messages 1000000] [--files 10000] [--seed 0] [--json FILE]

Messages: valid ones that are damaged, random bytes, random msgpack and wrong numbers of frames go to a learner's server
in a process of its own, over connections that come and go, beside an honest actor. No transition of that one may be
lost or doubled, and the learner's memory must not grow.

Files: valid episodes, configurations, tasks, replay logs, spools, keys, checkpoints and policies are damaged; their
readers must read them, or refuse them in one sentence, within 5 s of processor time and 1 GiB.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from bench import fuzz_files, fuzz_messages


def main() -> int:
    """Do both; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-defects"), help="files that made a reader fail"
    )
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.messages:
            figures |= messages(options.messages, options.seed, Path(folder))
        if options.files:
            figures |= files(options.files, options.seed, Path(folder), options.keep)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 1 if figures.get("defects") else 0


def messages(count: int, seed: int, folder: Path) -> dict[str, object]:
    """Fuzz the server, and say how it went."""
    begin_s, cpu_s = time.monotonic(), time.process_time()
    found = fuzz_messages.fuzz_messages(count, seed, folder)
    wall_s, cpu_s = time.monotonic() - begin_s, time.process_time() - cpu_s
    slope, half = found.bytes_per_message
    first, last = found.memory[0][1], found.memory[-1][1]
    print(f"{found.received:,} messages received of {found.sent:,} sent, in {wall_s:.0f} s")
    print(f"  processor: learner {found.cpu_s:.0f} s, senders {cpu_s:.0f} s")
    print(f"  dropped as malformed: {found.malformed:,}; learner alive, {found.updates:,} updates")
    print(f"  honest actor: {found.honest:,} transitions, {found.stored:,} stored once each and in order")
    print(f"  learner's memory: {first / 1e6:.1f} MB at first, {last / 1e6:.1f} MB at the end")
    print(f"  slope over the last three quarters: {slope:.2f} ± {half:.2f} bytes a message")
    print(f"  streams in the log: {found.streams:,}", flush=True)
    return {
        "messages": [found.received, found.sent],
        "malformed": found.malformed,
        "honest": [found.honest, found.stored],
        "memory": found.memory,
        "bytes_per_message": [slope, half],
        "message_cpu_s": [found.cpu_s, cpu_s],
    }


def files(count: int, seed: int, folder: Path, keep: Path) -> dict[str, object]:
    """Fuzz the readers, and say how it went."""
    begin_s, cpu_s = time.monotonic(), time.process_time()
    kinds = fuzz_files.make_kinds(folder / "valid")
    found = fuzz_files.fuzz_files(kinds, count, seed, keep)
    wall_s, cpu_s = time.monotonic() - begin_s, time.process_time() - cpu_s
    print(f"{count:,} files in {wall_s:.0f} s, {cpu_s:.0f} s of processor")
    print(f"  {'kind':12} {'refused':>8} {'read':>8} {'defect':>8}")
    for kind in kinds:
        row = [found.outcomes[kind.name, outcome] for outcome in ("refused", "read", "defect")]
        print(f"  {kind.name:12} {row[0]:8,} {row[1]:8,} {row[2]:8,}")
    print(
        f"  slowest: {found.slowest_s:.2f} s; memory grew by {found.peak_bytes / 1e6:.0f} MB at most",
        flush=True,
    )
    for defect in found.defects[:50]:
        print(f"  DEFECT {defect}")
    return {
        "files": count,
        "outcomes": {f"{kind} {outcome}": number for (kind, outcome), number in found.outcomes.items()},
        "defects": found.defects,
        "slowest_s": found.slowest_s,
        "peak_bytes": found.peak_bytes,
        "file_cpu_s": cpu_s,
    }


if __name__ == "__main__":
    raise SystemExit(main())
