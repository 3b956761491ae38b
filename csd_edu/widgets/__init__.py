"""Widgets: what a run saved, to be touched. Each has a static twin, so that nothing is ever blank.

They work with ipywidgets 7.7 and 8, in JupyterLab, classic Notebook and Colab; this is the only importer of ipywidgets.
"""

from csd_edu.widgets.drift import DriftExplorer
from csd_edu.widgets.live import LiveTraining
from csd_edu.widgets.matrices import ForgettingMatrices
from csd_edu.widgets.pairs import PairView
from csd_edu.widgets.panel import Panel, link
from csd_edu.widgets.search import RetrievalExplorer

__all__ = [
    "DriftExplorer",
    "ForgettingMatrices",
    "LiveTraining",
    "PairView",
    "Panel",
    "RetrievalExplorer",
    "link",
]
