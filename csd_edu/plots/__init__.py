"""Pictures of runs: data in, a plotly figure out; nothing is shown, trained or read here.

Every method keeps its colour, marker and dash in all figures. A task matrix (see `csd_edu.metrics`) has in R[i][j]
a metric on task j's test queries after learning task i, None where there is no value.
"""

from csd_edu.plots.bytes import recall_against_bytes
from csd_edu.plots.choice import choose
from csd_edu.plots.curves import classification_beside_retrieval, curves_over_tasks, loss_terms
from csd_edu.plots.falls import forgetting_and_crowding
from csd_edu.plots.images import image_grid
from csd_edu.plots.maps import drift_map, turn
from csd_edu.plots.matrices import drift_matrices, task_matrices
from csd_edu.plots.planes import first_plane
from csd_edu.plots.search import Shown, pair_similarities, retrieval_strips
from csd_edu.plots.seeds import per_seed
from csd_edu.plots.simple import bars, lines, points
from csd_edu.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    TEMPLATE,
    VERMILION,
    finished,
    label,
    method_of,
)

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "GRID",
    "INK",
    "ORANGE",
    "PURPLE",
    "SKY",
    "TEMPLATE",
    "VERMILION",
    "Shown",
    "bars",
    "choose",
    "classification_beside_retrieval",
    "curves_over_tasks",
    "drift_map",
    "drift_matrices",
    "finished",
    "first_plane",
    "forgetting_and_crowding",
    "image_grid",
    "label",
    "lines",
    "loss_terms",
    "method_of",
    "pair_similarities",
    "per_seed",
    "points",
    "recall_against_bytes",
    "retrieval_strips",
    "task_matrices",
    "turn",
]
