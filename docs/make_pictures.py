"""Make the README's pictures from the demo's runs: `make pictures`, after `make demo`.

    python docs/make_pictures.py [runs/demo]

Drawn by Chromium through kaleido, so a picture is what `csd_edu.plots` draws in a notebook.
"""

from __future__ import annotations

import sys
from pathlib import Path

import csd_edu as csd
from csd_edu import plots

HERE = Path(__file__).parent


def main(folder: Path) -> None:
    runs = [csd.Run.load(folder / name) for name in ("finetune", "lwf", "csd", "joint")]
    figure = plots.curves_over_tasks(
        {run.method: run.metrics["overall"]["recall_at_1"] for run in runs},
        title="Recall@1 after each alphabet",
        metric="Recall@1",
    )
    figure.write_image(HERE / "recall.png", width=1000, height=420, scale=2)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
