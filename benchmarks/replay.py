"""Does a small memory help, and a larger one more? Glyphs in five tasks, replay against fine-tuning and CSD.

    python benchmarks/replay.py --out runs/replay [--seeds 5] [--table-only]

The preset `glyphs`; as many runs at a time as there are cores, with one thread each. Every run continues where it
stopped. The table has the mean over the seeds of Recall@1 and head accuracy on all classes after the last task with its
95 % interval (Student's t), the paired difference from fine-tuning, and the bytes kept.
Weights are the defaults of the methods; none was tuned here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import csd_edu as csd
from csd_edu.comparison import in_bytes
from csd_edu.results import interval
from csd_edu.sweep import Job, sweep

SIZES = (50, 200, 800)
METHODS: dict[str, csd.methods.AnyMethod] = {
    "finetune": csd.methods.finetune,
    "csd": csd.methods.csd,
    **{f"er {size}": csd.methods.ER(size) for size in SIZES},
    **{f"derpp {size}": csd.methods.DERPP(size) for size in SIZES},
    "csd_memory 200": csd.methods.CSDMemory(200),
}
METRICS = ("recall_at_1", "head_accuracy")
PAIRS = (
    ("er 200", "er 50"),
    ("er 800", "er 200"),
    ("derpp 200", "derpp 50"),
    ("derpp 800", "derpp 200"),
    ("derpp 200", "er 200"),
    ("csd_memory 200", "er 200"),
    ("er 50", "csd"),
)
"""Compared with each other: more memory with less, and what uses the same memory otherwise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/replay"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--table-only", action="store_true", help="train nothing, show the seeds that are complete")
    options = parser.parse_args()

    preset = csd.preset("glyphs")
    data = csd.load("glyphs", **preset.of_images())
    runs: dict[int, dict[str, csd.Run]] = {}
    for seed in range(options.seeds):
        stream = csd.split(data, **preset.in_tasks(), seed=seed)
        config = preset.config.replace(seed=seed, device="cpu")
        folders = {name: options.out / f"seed{seed}" / name.replace(" ", "-") for name in METHODS}
        if not options.table_only:
            sweep({name: Job(stream, method, config, folders[name]) for name, method in METHODS.items()})
        if all((folder / "metrics.json").exists() for folder in folders.values()):
            found = {name: csd.Run.load(folder) for name, folder in folders.items()}
            if all(run.finished for run in found.values()):
                runs[seed] = found
    print(table(runs))


def table(runs: dict[int, dict[str, csd.Run]]) -> str:
    """Return the table in Markdown; `runs` are by seed and method."""
    lines = [
        f"Glyphs at 24 px in 5 tasks, ResNet-8, seeds {', '.join(map(str, runs))}; mean ± half of the 95 % interval.",
        "",
        "| method | R@1 | − fine-tuning | head accuracy | − fine-tuning | keeps |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    ends = {name: {metric: _ends(runs, name, metric) for metric in METRICS} for name in METHODS}
    for name, of in ends.items():
        cells = []
        for metric in METRICS:
            cells += [
                str(interval(of[metric])),
                "" if name == "finetune" else _lead(of[metric], ends["finetune"][metric]),
            ]
        kept = next(iter(runs.values()))[name].kept_bytes
        lines.append(f"| {name} | {' | '.join(cells)} | {in_bytes(kept)} |")
    lines += ["", "| difference, paired | R@1 | head accuracy |", "| --- | --- | --- |"]
    for a, b in PAIRS:
        lines.append(f"| {a} − {b} | " + " | ".join(_lead(ends[a][m], ends[b][m]) for m in METRICS) + " |")
    return "\n".join(lines)


def _ends(runs: dict[int, dict[str, csd.Run]], name: str, metric: str) -> list[float]:
    """Return for each seed the metric on all classes after the last task."""
    return [found[name].metrics["summary"][metric] for found in runs.values()]


def _lead(a: list[float], b: list[float]) -> str:
    return interval([x - y for x, y in zip(a, b, strict=True)]).signed()


if __name__ == "__main__":
    main()
