from csd_edu import losses
from csd_edu.methods.finetune import finetune
from csd_edu.methods.method import Card, Look, Term
from csd_edu.methods.step import Step, Tensor


@Card(
    title="Feature distillation",
    sentence="Fine-tuning, and hold each image’s features to those that the teacher gives it.",
    source="Hou et al. 2019; Romero et al. 2015",
    look=Look("#CC79A7", "diamond-tall", "dot"),
    terms={"feature": Term("distance of the features from the teacher's")},
    begins_as="finetune",
)
def feature_distillation(step: Step, weight: float = 10.0, kind: str = "cosine") -> dict[str, Tensor]:
    """Fine-tune, and keep each feature where the teacher has it: by cosine, or by Euclidean distance (kind="l2").

    Source: by cosine Hou et al., "Learning a Unified Classifier Incrementally via Rebalancing", CVPR 2019; "l2" after
    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, where the hint is a feature map.
    """
    terms = finetune(step)
    if step.teacher is not None:
        terms["feature"] = weight * losses.feature_distillation(step.features, step.teacher.features, kind=kind)
    return terms
