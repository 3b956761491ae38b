from csd_edu import losses
from csd_edu.methods.finetune import finetune
from csd_edu.methods.method import Card, Look, Term
from csd_edu.methods.step import Step, Tensor


@Card(
    title="Learning without Forgetting",
    sentence="Fine-tuning, and knowledge distillation (KD) from the teacher, the network as it was before the task: "
    "keep answering for the old classes as it does.",
    source="Li & Hoiem 2016",
    look=Look("#0072B2", "triangle-up"),
    terms={"kd": Term("distillation of the old classes' answers", Look("#CC79A7", "diamond"))},
    begins_as="finetune",
)
def lwf(step: Step, weight: float = 1.0, temperature: float = 2.0) -> dict[str, Tensor]:
    """Learning without Forgetting: fine-tuning, and keep answering for the old classes as the teacher does.

    Source: Li & Hoiem, ECCV 2016.
    """
    terms = finetune(step)
    if step.teacher is not None:
        terms["kd"] = weight * losses.distillation(step.logits, step.teacher.logits, temperature=temperature)
    return terms
