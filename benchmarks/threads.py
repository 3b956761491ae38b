"""What it costs and saves that waiting threads sleep instead of spinning (OMP_WAIT_POLICY), alone and in company.

    python benchmarks/threads.py [pairs]

Trains the first alphabet in fresh processes, in turn with each policy: first alone, then two processes at a time, each
with as many threads as torch likes. Prints for each pair the ratio of the times, and the median ratio.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

SPINNING = "import torch"  # loaded before csd_edu can set the policy
SLEEPING = ""
TRAIN = """
import sys, time
import csd_edu as csd
preset = csd.preset("glyphs", "quick")
stream = csd.split(csd.load("glyphs", image_size=preset.image_size), groups=True, seed=0)
config = preset.config.replace(epochs=6, save_images=False)
begun = time.perf_counter()
for record in csd.training(stream, csd.methods.csd, config, out=sys.argv[1]):
    if record["kind"] == "epoch" and record["epoch"] == 5:
        print(time.perf_counter() - begun)
        break
"""


def seconds(first: str, at_once: int) -> float:
    """Return the mean seconds of so many processes that train at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        commands = [[sys.executable, "-c", first + TRAIN, f"{folder}/{k}"] for k in range(at_once)]
        started = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, encoding="utf-8") for command in commands]
        outputs = [process.communicate()[0] for process in started]
    return statistics.mean(float(output) for output in outputs)


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    for at_once in (1, 2):
        ratios = []
        for _ in range(pairs):
            spinning, sleeping = seconds(SPINNING, at_once), seconds(SLEEPING, at_once)
            ratios.append(sleeping / spinning)
            print(f"{at_once} at once: spinning {spinning:.1f} s, sleeping {sleeping:.1f} s, ratio {ratios[-1]:.2f}")
        print(f"{at_once} at once: sleeping takes {statistics.median(ratios):.2f} of the time of spinning (median)")


if __name__ == "__main__":
    main()
