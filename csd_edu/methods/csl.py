from dataclasses import dataclass

from csd_edu.methods.labels_only import supervised
from csd_edu.methods.method import Card, Look
from csd_edu.methods.paws import PAWS
from csd_edu.methods.step import Tensor, View


@dataclass
class CSL(PAWS):
    """Continual semi-supervised learning: PAWS whose voters are of the current task's classes, and labels teach all.

        mean H(ρ(p'), p) − H(mean ρ(p)) + w · fine-tuning on all labelled images

    Images without a label are of the current task, so only its classes are voted for. The head's cross-entropy reaches
    the features, too; and so does the triplet loss of fine-tuning, which the released code does not have: with w = 1
    the method differs from `labels_only` in what it learns from images without a label, and in nothing else. With the
    published w = 0.005 both hardly count, which on few images of a small stream is too little.

    Attributes:
        size: how many labelled images the memory holds at most.
        label_weight: w, 0.005 as in the released code.
        temperature, sharpening, smoothing: as for PAWS.

    Source: Kang et al., "A Soft Nearest-Neighbor Framework for Continual Semi-Supervised Learning", ICCV 2023, arXiv
    2212.05102, section 3.2, as in the code the authors released (kangzhiq/NNCSL).
    """

    __name__ = "csl"
    card = Card(
        title="Continual semi-supervised learning",
        sentence="PAWS among the classes of the current task, with fine-tuning on all labelled images, also those of a "
        "small memory.",
        source="Kang et al. 2023",
        look=Look("#56B4E9", "triangle-right", "dash"),
    )

    def voters(self, labels: Tensor) -> tuple[Tensor, range]:
        return labels >= self.n_old, range(self.n_old, self.n_seen)

    def from_labels(self, view: View, labels: Tensor) -> dict[str, Tensor]:
        m = len(labels)
        return supervised(View(view.features[:m], view.logits[:m]), labels)


csl = CSL()
