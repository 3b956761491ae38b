from csd_edu import losses
from csd_edu.methods.method import Card, Look, Term
from csd_edu.methods.step import Step, Tensor


@Card(
    title="Fine-tuning",
    sentence="Cross-entropy and a triplet loss on the new task, and nothing against forgetting.",
    look=Look("#D55E00", "square"),
    terms={
        "ce": Term("cross-entropy", Look("#0072B2", "square")),
        "triplet": Term("batch-hard triplet loss", Look("#E69F00", "triangle-up")),
    },
    begins_as="finetune",
)
def finetune(step: Step) -> dict[str, Tensor]:
    """Learn the new classes and do nothing against forgetting: cross-entropy and triplet loss."""
    return {
        "ce": losses.cross_entropy(step.logits, step.labels),
        "triplet": losses.batch_hard_triplet(step.features, step.labels),
    }
