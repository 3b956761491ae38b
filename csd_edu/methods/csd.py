from csd_edu import losses
from csd_edu.methods.lwf import lwf
from csd_edu.methods.method import Card, Look, Term
from csd_edu.methods.step import Step, Tensor


@Card(
    title="Contrastive Supervised Distillation",
    sentence="LwF, and a contrastive loss that draws an image’s features to those that student and teacher give to "
    "images of its class, and away from the others.",
    source="Barletti et al. 2021",
    look=Look("#009E73", "circle"),
    terms={"csd": Term("contrastive supervised distillation of the features", Look("#009E73", "circle"))},
    begins_as="finetune",
)
def csd(step: Step, weight: float = 1.0, temperature: float = 0.07, distillation: float = 1.0) -> dict[str, Tensor]:
    """Contrastive Supervised Distillation: LwF, and contrast the student's features with the teacher's by class.

    All weights are 1 as released; `distillation` is that of the answers.

    Source: Barletti et al., ICIAP 2021, arXiv 2205.05476.
    """
    terms = lwf(step, weight=distillation)
    if step.teacher is not None:
        loss = losses.csd(step.features, step.teacher.features, step.labels, temperature=temperature)
        terms["csd"] = weight * loss
    return terms
