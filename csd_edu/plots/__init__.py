"""Pictures of runs: data in, a plotly figure out; nothing is shown, trained or read here.

Every method keeps its colour, marker and dash in all figures. A task matrix (see `csd_edu.metrics`) has in R[i][j]
a metric on task j's test queries after learning task i, None where there is no value.
"""

from csd_edu.plots.curves import classification_beside_retrieval, curves_over_tasks, loss_terms
from csd_edu.plots.maps import drift_map
from csd_edu.plots.matrices import drift_matrices, task_matrices
from csd_edu.plots.search import Shown, pair_similarities, retrieval_strips
from csd_edu.plots.style import TEMPLATE, label, method_of

__all__ = [
    "TEMPLATE",
    "Shown",
    "classification_beside_retrieval",
    "curves_over_tasks",
    "drift_map",
    "drift_matrices",
    "label",
    "loss_terms",
    "method_of",
    "pair_similarities",
    "retrieval_strips",
    "task_matrices",
]
