"""Where features lie in the plane: maps of snapshots, how far they can be trusted, and what they show class by class.

A snapshot is an (N, D) tensor: the features of N probe images under the network after one task. A run has them as
`[run.features(t) for t in range(run.tasks_learnt)]`. Each kind of map has a room of its own:

- `planes`: the first network's plane, in which a few classes lie apart, and every later network's features in it;
- `pca`: the two widest directions of all snapshots together;
- `umaps`: who is near whom, snapshot by snapshot or of all snapshots together;
- `quality`: what a map is, and how far it can be trusted;
- `kept`: the maps of runs, kept in their folders.
"""

from csd_edu.maps.kept import cached_maps
from csd_edu.maps.pca import pca_map
from csd_edu.maps.planes import Plane, best_separated, first_plane, halves
from csd_edu.maps.quality import FORMULAS, LIMITS, Map, trustworthiness
from csd_edu.maps.umaps import UmapError, turned_onto, umap_chain, umap_map

__all__ = [
    "FORMULAS",
    "LIMITS",
    "Map",
    "Plane",
    "UmapError",
    "best_separated",
    "cached_maps",
    "first_plane",
    "halves",
    "pca_map",
    "trustworthiness",
    "turned_onto",
    "umap_chain",
    "umap_map",
]
