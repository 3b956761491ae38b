"""The command line: `csd-edu train`, `demo`, `tune`, `report`, `grade` and `export`."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import csd_edu as csd  # imports torch where it is first needed: help takes no seconds
from csd_edu.output import unfailing
from csd_edu.own import told
from csd_edu.paths import given_path
from csd_edu.system import words

EXIT_FAILED = 1  # training diverged, the disk is full, no network
EXIT_MISTAKE = 2  # what was asked for is impossible; argparse uses the same number
EXIT_INTERRUPTED = 130

MOST_THREADS = 1024

NETWORKS = (
    "resnet8",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "convnet32",
    "convnet64",
    "convnet128",
)
"""The names in `models.BACKBONES`, which would import torch."""


@unfailing
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 a mistake in the call, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            if not options.debug:
                warnings.showwarning = _show_warning  # type: ignore[assignment]
            options.command(options)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (Exception, SystemExit) as error:
        place = told(error)
        if not place and not isinstance(error, (ValueError, OSError, RuntimeError, ImportError, MemoryError)):
            raise
        if options.debug:
            traceback.print_exc()
        else:
            print(f"csd-edu: error: {place or words(error)}", file=sys.stderr)
        mistakes = (ValueError, FileNotFoundError, NotADirectoryError, PermissionError)
        return EXIT_MISTAKE if isinstance(error, mistakes) and not place else EXIT_FAILED
    return 0


def train(options: argparse.Namespace) -> None:
    """Train one method and print where its run is and how it did."""
    from csd_edu import tuning
    from csd_edu.runtime import in_shell

    method = csd.methods.find(options.method)
    if options.tuning is not None:
        tuned = tuning.load(options.tuning)
        method = tuned.method(options.method)
    preset = csd.preset(options.dataset, options.preset)
    given = {
        name: getattr(options, name)
        for name in ("epochs", "later_epochs", "lr", "later_lr", "batch_size", "network", "device", "precision")
        if getattr(options, name) is not None
    }
    config = preset.config.replace(seed=options.seed, **given)
    _set_threads(options.threads)
    images = preset.of_images()
    if options.per_class is not None:
        images.update(per_class=None if options.per_class == "all" else options.per_class)
    if options.image_size is not None:
        images.update(image_size=options.image_size)
    data = csd.load(options.dataset, **images, on_error=options.on_error)
    if options.tuning is not None and tuned.dataset != data.name:
        warnings.warn(
            f"the weight in {options.tuning} was chosen on {tuned.dataset!r}, not {data.name!r}", stacklevel=1
        )
    stream = _split(data, preset.n_tasks if options.tasks is None else options.tasks, options)
    name = csd.methods.name_of(method) + "-tuned" * (options.tuning is not None)
    out = options.out or Path("runs") / f"{data.name}-{name}-seed{options.seed}"
    teacher = csd.Run.load(options.teacher) if options.teacher is not None else None
    print(stream)
    run = csd.train(stream, method, config, out=out, teacher=teacher)
    _print_table([run])
    shown = in_shell("csd-edu", "report", run.path, "--out", "report.html")
    print(f"\nThe run is in {run.path}; `{shown}` makes a page of it.")


def demo(options: argparse.Namespace) -> None:
    """Train the runs of the lesson on the glyphs, side by side, print a table and write report.html."""
    from csd_edu import lesson, tuning
    from csd_edu.report import write_report

    preset = csd.preset("glyphs", options.preset)
    data = csd.load("glyphs", **preset.of_images())
    stream = _split(data, options.tasks, options)
    out = options.out or Path("runs") / f"demo-seed{options.seed}"
    print(f"{stream}\n{len(lesson.SHOWN)} runs learn the same tasks; those that begin alike share the first one:")
    config = preset.config.replace(seed=options.seed)
    runs = list(lesson.train(stream, config, tuning.shipped(), out=out, maps=True, n_jobs=options.jobs).values())
    _print_table(runs)
    print(f"\nNow open {write_report(runs, out / 'report.html')} in a browser.")


def tune(options: argparse.Namespace) -> None:
    """Choose the weights of LwF, CSD and its control by held-out images of the first two tasks."""
    from csd_edu import tuning

    preset = csd.preset(options.dataset, options.preset)
    if options.tasks is not None:
        preset = preset._replace(n_tasks=options.tasks)
    data = csd.load(options.dataset, **preset.of_images())
    out = options.out or Path("runs") / f"tune-{data.name}"
    found = tuning.tune(
        data, preset, seeds=options.seeds, out=out, name=options.preset, validation=options.validation,
        n_jobs=options.jobs,
    )  # fmt: skip
    print(f"\n{found.metric}.\nMean over the seeds {', '.join(map(str, found.seeds))}; the best is marked with *.\n")
    print(f"{'weight':24}" + "".join(f"{value:>8g}" for value in tuning.GRID))
    for name, search in found.methods.items():
        means = {value: sum(scores) / len(scores) for value, scores in search.grid.items()}
        cells = (f"{mean:.3f}{'*' if value == search.chosen else ' '}" for value, mean in means.items())
        print(f"{f'{name}, {search.setting}':24}" + "".join(f"{cell:>8}" for cell in cells))
    print(f"\nThe choice is in {out / tuning.NAME}.")


def report(options: argparse.Namespace) -> None:
    """Write one HTML page about saved runs."""
    runs = [csd.Run.load(path) for path in options.runs]  # first: it tells of a working folder that is gone
    from csd_edu.report import write_report

    print(f"Wrote {write_report(runs, options.out, shared_at=options.shared_at)}")


def export(options: argparse.Namespace) -> None:
    """Write a notebook that was run as a page on which its figures and widgets are pictures."""
    missing = [name for name in ("nbformat", "nbconvert") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"export needs {' and '.join(missing)}; run  pip install {' '.join(missing)}  first")
    from csd_edu import stills

    notebook = given_path(options.notebook, what="notebook")
    if notebook.is_dir():
        raise ValueError(f"{notebook} is a folder; expected a file that JupyterLab has saved, such as 02.ipynb")
    out = given_path(options.out or notebook.with_suffix(".html"))
    browser = stills.find_browser() if importlib.util.find_spec("kaleido") else None
    if browser is None:
        print("The figures are not drawn, only named: that needs kaleido (pip install kaleido) and Chromium or Chrome.")
    count = stills.export(notebook, out, browser)
    print(f"Wrote {out}, {count} picture{'s' * (count != 1)} in {out.stat().st_size / 1e6:.1f} MB")


def grade(options: argparse.Namespace) -> None:
    """Tabulate what a class has handed in."""
    from csd_edu.grade import grade, tables

    if options.out is not None:
        tables.check_output(options.out)
    table = grade(options.folder, seconds=options.seconds, jobs=options.jobs)
    print(tables.shown_in(tables.as_text(table, mistakes=options.mistakes), sys.stdout.encoding))
    if options.out is not None:
        print(f"\nWrote {tables.write(table, options.out, mistakes=options.mistakes)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="csd-edu",
        description="Train networks task by task with Contrastive Supervised Distillation, and see what they forget.",
        epilog="Start with: csd-edu demo",
    )
    parser.add_argument("--version", action="version", version=f"csd-edu {csd.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, function: object, description: str, example: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=description,
            description=description,
            epilog=f"example: {example}",
        )
        command.set_defaults(command=function)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return command

    p = add(
        "train",
        train,
        "train one method on one dataset; the same call continues an interrupted run",
        "csd-edu train --dataset cifar100 --method csd --tasks 5 --preset quick --out runs/cifar-csd",
    )
    p.add_argument(
        "--dataset",
        default="glyphs",
        help="glyphs, digits, cifar100, omniglot, an .npz file or a folder of images (default: %(default)s)",
    )
    p.add_argument(
        "--method",
        default="csd",
        help=f"{', '.join(_methods())}, or path/to/file.py:name for one of your own (default: %(default)s)",
    )
    p.add_argument("--teacher", type=_path, metavar="RUN", help="run whose last network teaches, for kd")
    p.add_argument("--tuning", type=_path, metavar="FOLDER", help="what tune wrote: take the weight chosen there")
    p.add_argument("--tasks", type=_tasks, help="number of tasks, or 'groups' for alphabets (default: the preset's)")
    p.add_argument("--seed", type=_seed, default=0, help="of class order, weights and batches (default: %(default)s)")
    p.add_argument(
        "--preset",
        default="quick",
        help="quick (2 CPU cores, seconds to two minutes), lab (meant for a T4 GPU), "
        "paper (the published schedule, hours on a GPU) (default: %(default)s)",
    )
    p.add_argument("--out", type=_path, help="run folder (default: runs/DATASET-METHOD-seedSEED)")
    p.add_argument(
        "--per-class",
        type=_per_class_value,
        help="the most training images of a class, or 'all' (default: the preset's)",
    )
    p.add_argument("--image-size", type=int, help="resize the images to this many pixels")
    p.add_argument(
        "--validation", type=float, default=0.0, help="share of training images held out (default: %(default)s)"
    )
    p.add_argument(
        "--labelled",
        type=_labelled,
        help="labelled images of each class: a share, such as 0.1, or a number, such as 3 (default: all)",
    )
    p.add_argument(
        "--on-error", default="raise", help="an unreadable image in a folder: raise, or skip it (default: %(default)s)"
    )
    own = p.add_argument_group("instead of what the preset says")
    own.add_argument("--epochs", type=int, help="epochs of the first task")
    own.add_argument("--later-epochs", type=int, help="epochs of each later task")
    own.add_argument("--lr", type=float, help="learning rate of the first task")
    own.add_argument("--later-lr", type=float, help="learning rate of each later task")
    own.add_argument("--batch-size", type=int, help="the most images in a step")
    own.add_argument("--network", help=", ".join(NETWORKS))
    own.add_argument("--device", help="auto, cpu, cuda, mps")
    own.add_argument("--precision", help="auto, float32, bfloat16 or float16")
    own.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")

    p = add(
        "demo",
        demo,
        "fine-tuning, LwF, CSD, their controls and joint training on the built-in glyphs, with a table and report.html",
        "csd-edu demo --out runs/demo",
    )
    p.add_argument(
        "--tasks",
        type=_tasks,
        default="groups",
        help="number of tasks, or 'groups' for one alphabet after another (default: %(default)s)",
    )
    p.add_argument("--seed", type=_seed, default=0, help="of class order, weights and batches (default: %(default)s)")
    p.add_argument("--preset", default="quick", help="quick, lab or paper (default: %(default)s)")
    p.add_argument("--out", type=_path, help="folder for the runs and the report (default: runs/demo-seedSEED)")
    p.add_argument("--jobs", type=int, help="trainings side by side, one thread each (default: one for each core)")

    p = add(
        "tune",
        tune,
        "choose the weights of LwF, CSD and its control on held-out images of the first two tasks",
        "csd-edu tune --dataset glyphs --seeds 101 102 103 104 105 --out runs/tune-glyphs",
    )
    p.add_argument("--dataset", default="glyphs", help="as for train (default: %(default)s)")
    p.add_argument("--tasks", type=_tasks, help="as for train (default: the preset's)")
    p.add_argument("--preset", default="quick", help="quick, lab or paper (default: %(default)s)")
    p.add_argument("--seeds", type=_seed, nargs="+", default=[101, 102, 103, 104, 105], help="(default: 101 to 105)")
    p.add_argument("--validation", type=float, default=0.25, help="share that is held out (default: %(default)s)")
    p.add_argument("--out", type=_path, help="folder for the trials and tuning.json (default: runs/tune-DATASET)")
    p.add_argument("--jobs", type=int, help="trainings side by side, one thread each (default: one for each core)")

    p = add("report", report, "write one self-contained HTML page about saved runs", "csd-edu report runs/demo/csd")
    p.add_argument("runs", type=_path, nargs="+", metavar="RUN", help="run folder")
    p.add_argument("--out", type=_path, default=Path("report.html"), help="the page to write (default: %(default)s)")
    p.add_argument(
        "--shared-at",
        metavar="ADDRESS",
        help="where the page will be published: a link to it then shows its first picture, a PNG drawn beside it "
        "(takes kaleido, and Chromium or Chrome)",
    )

    p = add("grade", grade, "tabulate the exercises of a class", "csd-edu grade handed_in --mistakes --out class.html")
    p.description = (
        "Tabulate the exercises of a class, student by exercise, from exports (check.export) and notebooks. An export "
        "is what a student claims. Of a notebook the checked functions are run, each notebook in a process of its own "
        "with limits on time, memory and files, an empty environment, and no network where it can be cut off; the "
        "output says what held. This guards against mistakes and simple tricks. It is no sandbox against a determined "
        "attacker, and code that looks for a way can forge its own result, since it runs beside its check: where that "
        "matters, run the command in a container, and read the code."
    )
    p.add_argument(
        "folder",
        type=_path,
        metavar="FOLDER",
        help="what was handed in, at any depth: a folder or .zip of notebooks for each student "
        "(FOLDER/ada/02_name.ipynb), single notebooks named like them (FOLDER/ada.ipynb), or exports, which hold a "
        "name; or the .zip of a class as Moodle, Canvas or Blackboard makes it. Whoever handed in something else has a "
        "row that says so",
    )
    p.add_argument("--out", type=_path, help="also write the table, as .csv or .html by the file's ending")
    p.add_argument("--mistakes", action="store_true", help="name the mistake of each answer that was tried")
    p.add_argument(
        "--seconds", type=float, default=60.0, help="time limit for the code of one notebook (default: %(default)s)"
    )
    p.add_argument("--jobs", type=int, default=2, help="notebooks run at the same time (default: %(default)s)")

    p = add(
        "export",
        export,
        "write a notebook that was run as a page on which figures and widgets are pictures",
        "csd-edu export 02_learning_in_tasks.ipynb",
    )
    p.add_argument(
        "notebook", type=_path, metavar="NOTEBOOK", help="a notebook with its outputs, as JupyterLab saves it"
    )
    p.add_argument(
        "--out", type=_path, help="page.html, or a notebook.ipynb to show on GitHub (default: NOTEBOOK.html)"
    )
    return parser


def _methods() -> list[str]:
    """Return the names of the kit's methods, as they stand in its list of them: importing it would import torch."""
    text = (Path(__file__).parent / "methods" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r"^from csd_edu\.methods\.(\w+) import .*\b\1 as \1$", text, re.MULTILINE)


def _split(data: csd.Dataset, tasks: int | str, options: argparse.Namespace) -> csd.Stream:
    groups = tasks == "groups"
    return csd.split(
        data,
        n_tasks=None if groups else int(tasks),
        groups=groups,
        seed=options.seed,
        validation=getattr(options, "validation", 0.0),
        labelled=getattr(options, "labelled", None),
    )


def _tasks(text: str) -> int | str:
    return text if text == "groups" else _whole(text, "number of tasks, nor 'groups'")


def _labelled(text: str) -> float | int:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        what = "expected a share of each class, such as 0.1, or a whole number of images, such as 3"
        raise argparse.ArgumentTypeError(f"{text!r} is no number; {what}") from None


def _per_class_value(text: str) -> int | str:
    return text if text == "all" else _whole(text, "number of images, nor 'all'")


def _path(text: str) -> Path:
    """Return a path; none at all would be the working folder. What is wrong with others the library tells."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no path; expected that of a file or folder, such as runs/csd")
    return Path(text)


def _seed(text: str) -> int:
    return _whole(text, "seed")


def _whole(text: str, what: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no {what}; expected a whole number of at least 0")
    return int(text)


def _set_threads(n: int | None) -> None:
    if n is not None:
        if not 1 <= n <= MOST_THREADS:  # with too many OpenMP ends the process
            raise ValueError(f"threads is {n}; expected at least 1 and at most {MOST_THREADS}")
        import torch

        torch.set_num_threads(n)


def _print_table(runs: Sequence[csd.Run]) -> None:
    """Print the end of each run: one line a method."""
    from csd_edu.comparison import in_bytes

    titles = ("R@1, all seen", "just learnt", "forgetting", "head accuracy", "on task 0", "keeps", "seconds")
    rows: list[tuple[str, ...]] = [("method", *titles)]
    for run in runs:
        end = run.metrics["summary"]
        first = run.metrics["head_accuracy"]["seen"][run.n_tasks - 1][0]
        learnt = csd.metrics.just_learnt(run.metrics["recall_at_1"]["task"])
        at_once = sum(learnt) / len(learnt) if learnt else None
        values = (end["recall_at_1"], at_once, end["forgetting"], end["head_accuracy"], first)
        rows.append((run.method, *map(_number, values), in_bytes(run.kept_bytes), f"{run.seconds:.1f}"))
    name_width, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    print()
    for name, *cells in rows:
        numbers = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        print(f"{name:{name_width}}{numbers}")
    print(
        "R@1: nearest other test image has the same class. Just learnt: R@1 of each task right after it,\n"
        "among its own test images, mean over the tasks. Forgetting: mean fall of a task's R@1 from its best.\n"
        "Keeps: what is carried over from task to task beside the network: images, logits, an old network."
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _show_warning(message: Warning | str, *_: Any) -> None:
    print(f"csd-edu: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
