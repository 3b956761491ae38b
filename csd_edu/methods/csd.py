from csd_edu import losses
from csd_edu.methods.lwf import lwf
from csd_edu.methods.step import Step, Tensor


def csd(step: Step, weight: float = 1.0, temperature: float = 0.07) -> dict[str, Tensor]:
    """Contrastive Supervised Distillation: LwF, and contrast the student's features with the teacher's by class.

    Source: Barletti et al., ICIAP 2021, arXiv 2205.05476.
    """
    terms = lwf(step)
    if step.teacher is not None:
        loss = losses.csd(step.features, step.teacher.features, step.labels, temperature=temperature)
        terms["csd"] = weight * loss
    return terms
