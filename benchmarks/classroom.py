"""What a notebook needs when a class runs it on one machine: seconds and memory, several kernels at once.

    python benchmarks/classroom.py 04                            # one student, as many threads as torch likes
    python benchmarks/classroom.py 04 --students 4 --threads 1

Runs the solved edition once for each student, all at the same time, and prints how long each took and the most memory
that any kernel held (resident, in MB).
"""

from __future__ import annotations

import argparse
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nbformat.v4 import new_code_cell

sys.path.insert(0, str(Path(__file__).parent.parent))
from notebooks import generate
from notebooks.sources import HERE, Source, find_sources, read_source

MEMORY = 'import resource\nprint("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "kB")'  # of Linux


def run(source: Source, threads: int | None) -> tuple[float, float]:
    """Run a solved edition and return its seconds, kernel start left out, and the peak of its memory in MB."""
    notebook = generate.edition(source, solved=True)
    notebook.cells.append(new_code_cell(MEMORY, id="memory"))
    env = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    result = generate.run_notebook(notebook, timeout=3600, env=env)
    if result.errors:
        raise RuntimeError(f"{source.name}: {result.errors[0]}")
    told = "".join(output.get("text", "") for output in result.notebook.cells[-1].outputs)
    peak = re.search(r"peak (\d+) kB", told)
    if peak is None:
        raise RuntimeError(f"the last cell printed {told!r}; it should tell the peak of the memory")
    return sum(result.seconds.values()), int(peak[1]) / 1000


def main() -> None:
    """Print a line for each notebook."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("numbers", nargs="*", metavar="NN", help="notebooks by their two digits; default all")
    parser.add_argument("--students", type=int, default=1, help="kernels at the same time (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of each kernel (default: torch's choice)")
    options = parser.parse_args()
    for path in find_sources(HERE, options.numbers):
        source = read_source(path)
        with ThreadPoolExecutor(options.students) as pool:
            figures = list(pool.map(lambda _, s=source: run(s, options.threads), range(options.students)))
        seconds, memory = zip(*figures, strict=True)
        print(f"{source.name}: {min(seconds):.0f} to {max(seconds):.0f} s, at most {max(memory):.0f} MB", flush=True)


if __name__ == "__main__":
    main()
