from csd_edu import losses
from csd_edu.methods.finetune import finetune
from csd_edu.methods.lwf import lwf
from csd_edu.methods.method import Card, Look, Term
from csd_edu.methods.step import Step, Tensor


@Card(
    title="The students’ contrast, without the teacher",
    sentence="Fine-tuning, and from the second task on CSD’s contrast among the student’s own features only: what that "
    "half of CSD gives by itself. With distillation=… LwF takes the place of fine-tuning.",
    source="Khosla et al. 2020",
    look=Look("#E69F00", "hexagon", "dashdot"),
    terms={"supcon": Term("contrast among the student's own features", Look("#E69F00", "hexagon"))},
    control="what the contrast among the students gives by itself",
    begins_as="finetune",
)
def supcon(step: Step, weight: float = 1.0, temperature: float = 0.07, distillation: float = 0.0) -> dict[str, Tensor]:
    """CSD with the teacher's features left out of its contrast: the control that removes just this part.

    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.
    """
    terms = lwf(step, weight=distillation) if distillation else finetune(step)
    if step.teacher_view is not None:
        loss = losses.supervised_contrastive(step.features, step.labels, temperature=temperature)
        terms["supcon"] = weight * loss
    return terms
