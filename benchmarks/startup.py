"""How long the command line takes to begin: help, which loads no torch, beside `import torch`.

python benchmarks/startup.py            # the median of five each, with the memory at its most (not on Windows)
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "csd-edu --help": ["-m", "csd_edu", "--help"],
    "csd-edu train --help": ["-m", "csd_edu", "train", "--help"],
    "import csd_edu": ["-c", "import csd_edu"],
    "import torch": ["-c", "import torch"],
}
MEMORY = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(most / (2**20 if sys.platform == "darwin" else 2**10))
"""


def seconds(arguments: list[str]) -> float:
    """Return how long Python takes with these arguments."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def megabytes(arguments: list[str]) -> float:
    """Return the memory that Python takes with these arguments, at its most."""
    command = [sys.executable, "-c", MEMORY, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout)


def main() -> None:
    took = {name: statistics.median(seconds(arguments) for _ in range(5)) for name, arguments in COMMANDS.items()}
    for name, each in took.items():
        memory = "" if sys.platform == "win32" else f"  {megabytes(COMMANDS[name]):5.0f} MB"
        print(f"{name:22}{each:6.2f} s{memory}  {each / took['import torch']:5.0%} of import torch")


if __name__ == "__main__":
    main()
