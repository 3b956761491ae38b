"""How fast are the measures: Recall@K with MAP@R, a search, and the maps? Seconds on this machine.

python benchmarks/measures.py [--rounds 5]

Each figure is the median of the rounds, with the best and the worst. On a busy machine trust the best.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from step import plain_recall

from csd_edu import maps, metrics
from csd_edu.retrieval import Gallery

N, DIM, CLASSES = 10_000, 64, 100
SNAPSHOTS, PROBES = 5, 500


def seconds(work: Callable[[], object], rounds: int = 1) -> list[float]:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return sorted(times)


def show(what: str, times: list[float]) -> None:
    spread = f" ({times[0]:.3f} to {times[-1]:.3f})" if len(times) > 1 else ""
    print(f"{what}: {median(times):.3f} s{spread}")


def peak_megabytes() -> float:
    """Return the most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, else kilobytes


def clusters(n: int, n_classes: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features (n, DIM) that spread widely around the centres of their classes, and labels (n,)."""
    labels = torch.arange(n) % n_classes
    centres = torch.randn(n_classes, DIM, generator=generator)
    return centres[labels] + 2 * torch.randn(n, DIM, generator=generator), labels


def drifting(generator: torch.Generator) -> list[torch.Tensor]:
    """Return the same clusters five times: from one snapshot to the next each centre moves, and each point a little."""
    features, labels = clusters(PROBES, 25, generator)
    snapshots = [features]
    for _ in range(SNAPSHOTS - 1):
        moved = 0.5 * torch.randn(25, DIM, generator=generator)[labels]
        snapshots.append(snapshots[-1] + moved + 0.2 * torch.randn(PROBES, DIM, generator=generator))
    return snapshots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    generator = torch.Generator().manual_seed(0)
    print(f"{torch.get_num_threads()} threads (torch), medians of {rounds}")

    features, labels = clusters(N, CLASSES, generator)
    size = f"{N:,} × {N:,} × {DIM}"

    def one_pass() -> object:
        return metrics.recall_and_map(features, labels, features, labels, exclude_self=True)

    metrics.recall_and_map(features[:500], labels[:500], features[:500], labels[:500])  # starts the threads
    before = peak_megabytes()
    first = seconds(one_pass)
    print(f"memory beyond the inputs, {size}, {CLASSES} classes: {peak_megabytes() - before:.0f} MB")
    show("Recall@1/5/10 and MAP@R in one pass, first call", first)
    times = seconds(one_pass, rounds)
    show(f"Recall@1/5/10 and MAP@R in one pass, {size}", times)
    show(
        "Recall@1/5/10 alone",
        seconds(
            lambda: metrics.recall_at_k(features, labels, features, labels, ks=(1, 5, 10), exclude_self=True), rounds
        ),
    )
    plain = seconds(lambda: plain_recall(features, labels))
    show(f"Recall@1 alone row by row ({plain[0] / median(times):.1f} × as long as the one pass)", plain)

    for index in ("torch", "flat"):
        gallery = Gallery(DIM, index=index)
        gallery.add(features)
        gallery.search(features[:10], 10)  # builds faiss's index
        search = seconds(lambda g=gallery: g.search(features, 10), rounds)
        show(f"Gallery {index!r}{' (faiss)' * (index == 'flat')}, 10 nearest, {size}", search)

    snapshots = drifting(generator)
    size = f"{SNAPSHOTS} × {PROBES} points"
    show(f"UMAP map of {size}, first (with its import)", seconds(lambda: maps.umap_map(snapshots, progress=False)))
    show(f"UMAP map of {size}, warm", seconds(lambda: maps.umap_map(snapshots, progress=False), rounds))
    show(f"PCA map of {size}", seconds(lambda: maps.pca_map(snapshots), rounds))


if __name__ == "__main__":
    main()
