from dataclasses import dataclass

from csd_edu import losses
from csd_edu.arguments import positive, weight
from csd_edu.methods.csl import CSL
from csd_edu.methods.method import Card, Look, Setting, Term
from csd_edu.methods.paws import (
    agreement as agreement,
    mean_entropy as mean_entropy,
    sharpen as sharpen,
    smoothed_onehot as smoothed_onehot,
    snn_predict as snn_predict,
    soft_cross_entropy as soft_cross_entropy,
)
from csd_edu.methods.step import Step, Tensor, View


@dataclass
class NNCSL(CSL):
    """CSL, and new images keep the old neighbours that they had: nearest-neighbour distillation.

        CSL + v · mean H(q, p)        p = `snn_predict`(z, supports), q the same of the network of the task before

    The supports are the images of the memory, all of earlier classes, under each network as it sees them. It begins
    with the second task. Where images are few and the training is short, the published weights lose against the control
    `labels_only`: benchmarks/few_labels.py tries them, the weights 1, and tuned ones.

    Attributes:
        size: how many labelled images the memory holds at most.
        label_weight: w of CSL, 0.005 as in the released code.
        temperature, sharpening, smoothing: as for PAWS; the distillation does not sharpen.
        distillation: v, 0.2 as in the released code.
        csd: weight of the contrast of CSD on the labelled images, which is no part of NNCSL; 0 leaves it out.
        csd_temperature: τ of that contrast.

    Source: Kang et al., "A Soft Nearest-Neighbor Framework for Continual Semi-Supervised Learning", ICCV 2023, arXiv
    2212.05102, section 3.3, as in the code the authors released (kangzhiq/NNCSL).
    """

    __name__ = "nncsl"
    card = Card(
        title="Nearest neighbours, continually and with few labels",
        sentence="CSL, and images of a new task keep the neighbours among old labelled images that the old network "
        "gave them.",
        source="Kang et al. 2023",
        look=Look("#0072B2", "pentagon", "dash"),
        terms={"neighbours": Term("old neighbours, as the old network has them", Look("#CC79A7", "pentagon"))},
    )

    distillation: float = 0.2
    csd: float = 0.0
    csd_temperature: float = 0.07

    def begin(self, setting: Setting) -> None:
        weight("distillation", self.distillation)
        weight("csd", self.csd)
        positive("csd_temperature", self.csd_temperature, 0.07)
        if setting.has_teacher:
            raise ValueError(
                "NNCSL distils from the network of the task before, and takes no teacher= from outside; leave it out"
            )
        super().begin(setting)

    def beside(self, step: Step, images: Tensor, view: View, labels: Tensor) -> dict[str, Tensor]:
        if step.teacher_view is None or not bool((labels < self.n_old).any()):  # none is old if no task came before
            return {}
        before = step.teacher_view(images).features  # (M + 2U, D)
        p, q = (self.old_neighbours(features, labels) for features in (view.features, before))
        terms = {"neighbours": self.distillation * soft_cross_entropy(p, q)}
        if self.csd:
            m = len(labels)
            contrast = losses.csd(view.features[:m], before[:m], labels, temperature=self.csd_temperature)
            terms["csd"] = self.csd * contrast
        return terms

    def old_neighbours(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return for features (M + 2U, D), the first M of them labelled, the old classes (2U, n_old) of the others."""
        is_old = labels < self.n_old  # (M,)
        onehot = smoothed_onehot(labels[is_old], self.n_old, self.smoothing)
        m = len(labels)
        return snn_predict(features[m:], features[:m][is_old], onehot, self.temperature)


nncsl = NNCSL()
