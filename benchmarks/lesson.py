"""Which statements of the lesson hold? Five fresh seeds, paired intervals, equal tuning, and controls.

    python benchmarks/lesson.py --dataset glyphs   --out runs/lesson-glyphs
    python benchmarks/lesson.py --dataset omniglot --out runs/lesson-omniglot
    python benchmarks/lesson.py --dataset cifar100 --out runs/lesson-cifar100

Weights are chosen first (OUT/tuning.json, as `csd-edu tune` does), with other seeds than those compared, on held-out
images of the first two tasks; for the glyphs the kit's own choice is taken. Then every run of `csd_edu.lesson` is
trained with every seed, and two tables are printed: means over the seeds, and differences paired by seed, each with its
95 % interval (Student's t). Every run continues where it stopped; --table-only trains nothing.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping
from pathlib import Path

import csd_edu as csd
from csd_edu import lesson, tuning
from csd_edu.comparison import across_networks, falls_of
from csd_edu.results import interval, number

Runs = Mapping[int, Mapping[str, csd.Run]]  # by seed and name

PAIRS = (
    ("csd-tuned", "lwf-tuned"),
    ("csd-tuned", "supcon-tuned"),
    ("csd-tuned", "csd"),
    ("csd", "lwf-tuned"),
    ("csd", "supcon"),
    ("csd", "finetune"),
    ("supcon", "finetune"),
    ("lwf-tuned", "finetune"),
    ("finetune", "frozen"),
    ("csd-tuned", "frozen"),
)
"""What the texts compare: CSD with its rivals, each claim with its control, and learning with not learning."""

PRESETS = {
    "glyphs": csd.preset("glyphs"),
    "omniglot": csd.preset("omniglot"),
    # What two CPU cores can do: 40 of the classes would be other data, so all of them, with 100 images each.
    "cifar100": csd.preset("cifar100"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="glyphs", choices=PRESETS)
    parser.add_argument("--out", type=Path, help="folder of the runs (default: runs/lesson-DATASET)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="(default: 0 to 4)")
    parser.add_argument("--tuning-seeds", type=int, nargs="+", default=[101, 102, 103], help="(default: 101 102 103)")
    parser.add_argument("--table-only", action="store_true", help="train nothing, show the seeds that are complete")
    options = parser.parse_args()
    out = options.out or Path("runs") / f"lesson-{options.dataset}"
    if not options.table_only:
        train(options.dataset, out, options.seeds, options.tuning_seeds)
    print(tables(load(out, options.seeds)))


def train(dataset: str, out: Path, seeds: list[int], tuning_seeds: list[int]) -> None:
    """Choose the weights, and train what is not there yet."""
    preset = PRESETS[dataset]
    data = csd.load(dataset, **preset.of_images())
    chosen = tuning.read_tuning(out)
    if chosen is None and dataset == "glyphs":
        chosen = tuning.shipped("glyphs")
    if chosen is None:
        chosen = tuning.tune(data, preset, seeds=tuning_seeds, out=out / "tuning")
    out.mkdir(parents=True, exist_ok=True)
    chosen.write(out)
    for seed in seeds:
        print(f"seed {seed}:")
        stream = csd.split(data, **preset.in_tasks(), seed=seed)
        lesson.train(stream, preset.config.replace(seed=seed), chosen, out=out / f"seed{seed}")


def load(out: Path, seeds: list[int]) -> Runs:
    """Return the runs of the seeds of which all are finished."""
    found: dict[int, dict[str, csd.Run]] = {}
    for seed in seeds:
        folders = {name: out / f"seed{seed}" / name for name in lesson.SHOWN}
        if all((folder / "metrics.json").exists() for folder in folders.values()):
            runs = {name: csd.Run.load(folder) for name, folder in folders.items()}
            if all(run.finished for run in runs.values()):
                found[seed] = runs
    if len(found) < 2:
        raise SystemExit(f"{out} has {len(found)} complete seeds; expected at least 2 for an interval")
    return found


def tables(runs: Runs) -> str:
    """Return both tables in Markdown."""
    first = next(iter(runs.values()))["csd"]
    about = first.description["stream"]
    stream = f"{about['dataset']}, {len(first.classes)} classes in {first.n_tasks} tasks"
    epochs = f"{first.config.epochs} + {first.config.later_epochs} epochs, batches of {first.config.batch_size}"
    lines = [
        f"{stream}; {first.config.network}, {epochs}; seeds {', '.join(map(str, runs))}.",
        "Mean ± half of the 95 % interval.",
        "",
        "| run | method | R@1, all | just learnt (lowest) | forgotten | crowded out | stale | drift | head |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in lesson.SHOWN:
        own = [measured(of[name]) for of in runs.values()]
        cells = [
            str(interval([values[k] for values in own]))
            for k in ("recall", "learnt", "forgotten", "crowded", "stale", "drift", "head")
        ]
        cells[1] += f" ({number(min(values['lowest'] for values in own), '.2f')})"
        lines.append(f"| {name} | `{next(iter(runs.values()))[name].method}` | {' | '.join(cells)} |")
    lines += [
        "",
        "Just learnt: R@1 on a task right after it, among its own images, mean over the tasks (and the lowest of all",
        "seeds). Forgotten, crowded out: parts of the fall of R@1 on earlier tasks (metrics.forgetting_and_crowding).",
        "Stale: R@1 on earlier tasks in a gallery that is never indexed anew. Drift: mean 1 − cosine between the first",
        "and the last network on the images of task 0. Head: accuracy of the classifier on all classes.",
        "",
        "| difference, paired | R@1, all | | stale | | drift | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for a, b in PAIRS:
        cells = []
        for k in ("recall", "stale", "drift"):
            ends = [measured(of[a])[k] - measured(of[b])[k] for of in runs.values()]
            found = interval(ends)
            cells += [found.signed(), found.verdict]
        lines.append(f"| {a} − {b} | {' | '.join(cells)} |")
    return "\n".join(lines)


@functools.cache
def measured(run: csd.Run) -> dict[str, float]:
    """Return what the tables say of a run, by name."""
    metrics, own = run.metrics, run.metrics["recall_at_1"]["task"]
    diagonal = [own[t][t] for t in range(run.n_tasks)]
    falls = falls_of(run)
    return {
        "recall": metrics["summary"]["recall_at_1"],
        "learnt": sum(diagonal) / len(diagonal),
        "lowest": min(diagonal),
        "forgotten": sum(fall.forgetting for fall in falls) / len(falls),
        "crowded": sum(fall.crowding for fall in falls) / len(falls),
        **across_networks(run),
        "head": metrics["summary"]["head_accuracy"],
    }


if __name__ == "__main__":
    main()
