"""What starting costs: importing csd_edu against importing torch, drawing the glyphs, and short runs.

python benchmarks/budgets.py [--demo]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from statistics import median

from csd_edu import glyphs


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="time the demo as well, for the seeds 0, 1 and 2")
    options = parser.parse_args()

    imports = ("import torch", "from csd_edu import *")  # import csd_edu alone loads next to nothing: see startup.py
    pairs = [[seconds([sys.executable, "-c", line]) for line in imports] for _ in range(7)]
    extra = sorted(ours - torch for torch, ours in pairs[1:])
    print(f"import csd_edu: {median(extra):.2f} s more than import torch ({extra[0]:.2f} to {extra[-1]:.2f})")

    times = []
    for _ in range(4):
        started = time.perf_counter()
        x_train, _, x_test, *_ = glyphs.generate(seed=0)
        times.append((time.perf_counter() - started) * 6000 / (len(x_train) + len(x_test)))
    print(f"6,000 glyphs: {median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "csd_edu", "train", "--dataset", "digits", "--method", "csd"]
        print(f"csd-edu train --dataset digits --method csd: {seconds([*command, '--out', folder + '/digits']):.1f} s")
        for seed in range(3) if options.demo else ():
            command = [sys.executable, "-m", "csd_edu", "demo", "--seed", str(seed), "--out", f"{folder}/{seed}"]
            print(f"csd-edu demo --seed {seed}: {seconds(command):.0f} s")


if __name__ == "__main__":
    main()
