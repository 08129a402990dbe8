"""How much faster two processes train than one: updates a second of the same run, on one thread each.

    python benchmarks/processes.py --train train.conll --dev dev.conll [--set train.batch_tokens=8192]

Starts `run.py train ner` alone and through torchrun (gloo), a fixed number of epochs each, and reads the seconds of
training from history.jsonl; the first epoch is left out. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def epoch_seconds(processes: int, arguments: argparse.Namespace, output: Path) -> tuple[float, float]:
    """Seconds of an epoch after the first, and the last epoch's loss."""
    start = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    files = ["--train", arguments.train, "--dev", arguments.dev, "--output", str(output)]
    changes = [f"--set={change}" for change in (f"train.epochs={arguments.epochs}", *arguments.changes)]
    # Dev is scored once, so that what is measured is training.
    command = [*start, str(ROOT / "run.py"), "train", arguments.task, *files, *changes, "--threads=1", "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = [json.loads(line) for line in (output / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    middle = [line["seconds"] for line in lines[1:-1]]
    return sum(middle) / len(middle), lines[-1]["train_loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("ner", "cls"), default="ner")
    parser.add_argument("--train", required=True)
    parser.add_argument("--dev", required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    arguments = parser.parse_args()
    arguments.changes = [*arguments.changes, f"train.eval_every_epochs={arguments.epochs}"]
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        for processes in (1, 2):
            found[processes] = epoch_seconds(processes, arguments, Path(directory) / str(processes))
    rows = ["| processes | seconds an epoch | times as fast | last loss |", "|---|---|---|---|"]
    rows += [
        f"| {processes} | {seconds:.2f} | {found[1][0] / seconds:.2f} | {loss:.4f} |"
        for processes, (seconds, loss) in found.items()
    ]
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
