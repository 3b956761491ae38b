"""Make the README's pictures from the demo's runs, and print the numbers in their captions: `make pictures`.

    python docs/make_pictures.py [runs/demo]

Drawn by Chromium through kaleido, so a picture is what `csd_edu.plots` draws in a notebook.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import plotly.graph_objects as go
from PIL import Image

import csd_edu as csd
from csd_edu import lesson, metrics, pictures, plots
from csd_edu.comparison import Comparison, falls_of

HERE = Path(__file__).parent
LARGE = 200_000  # bytes


def main(folder: Path) -> None:
    rivals = Comparison([csd.Run.load(folder / name) for name in ("finetune", "lwf-tuned", "csd-tuned")])
    save(pictures.first_plane(rivals), "plane")
    for name, plane in rivals.planes().items():
        for what, hits in (("nearest mean", plane.right), ("with the first network's means", plane.stale)):
            shares = ", ".join(f"{share:.2f}" for share in hits.double().mean(dim=1).tolist())
            print(f"plane: {name}, {what}, after each task: {shares}")

    runs = {run.method: run for run in (csd.Run.load(folder / name) for name in lesson.SHOWN)}
    curves = plots.curves_over_tasks(
        {name: run.metrics["overall"]["recall_at_1"] for name, run in runs.items()},
        title="Recall@1 after each alphabet",
        metric="Recall@1",
    )
    save(curves, "recall")
    save(plots.forgetting_and_crowding({name: metrics.mean_fall(falls_of(run)) for name, run in runs.items()}), "apart")

    two = Comparison([rivals.runs["finetune"], csd.Run.load(folder / "csd-tuned")])
    tuned = list(two.runs)[1]
    save(pictures.matrices(two), "matrices")
    for name in two.runs:
        column = [row[0] for row in two.matrix(name, "Recall@1")]
        print(f"matrices: {name}, Recall@1 on task 0 after each task: {', '.join(f'{value:.2f}' for value in column)}")

    drift = pictures.drift_map(two, "umap", classes=two.few_classes())
    lower = -drift.layout.legend.y * (drift.layout.height - drift.layout.margin.t - drift.layout.margin.b) - 50
    drift.layout.sliders = drift.layout.updatemenus = None  # nothing can be moved here: the legend takes their place
    drift.update_layout(legend_y=-0.12, margin_b=drift.layout.margin.b - lower, height=drift.layout.height - lower)
    save(drift, "drift")
    for name in two.runs:
        row = next(row for row in two.drift_table(name) if (row["before"], row["after"]) == (0, two.n_tasks - 1))
        numbers = {key: row[key] for key in ("mean_displacement", "cka", "neighbor_overlap")}
        print(f"drift: {name}, first and last network: {', '.join(f'{k} {v:.3f}' for k, v in numbers.items())}")

    lost = two.changes("finetune")["lost"] & two.changes(tuned)["kept"]
    query = int(lost.nonzero()[0, 0])  # the first one, so that nobody has picked it
    save(pictures.strips(two, query, k=10, every_task=False), "search")
    for name in two.runs:
        counts = {change: int(mask.sum()) for change, mask in two.changes(name).items()}
        print(f"search: {name}, {', '.join(f'{count} {change}' for change, count in counts.items())}")
    print(f"search: query {query} is the first of {int(lost.sum())} lost by finetune but kept by {tuned}")


def save(figure: go.Figure, name: str, height: int | None = None) -> None:
    """Write a figure as a PNG, of few colours if it has many points or images, and so of few bytes."""
    png = figure.to_image("png", width=1000, height=height or figure.layout.height, scale=2)
    path = HERE / f"{name}.png"
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.save(path, optimize=True)
    if path.stat().st_size > LARGE:
        image.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
