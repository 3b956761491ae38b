from csd_edu import losses
from csd_edu.methods.step import Step, Tensor


def finetune(step: Step) -> dict[str, Tensor]:
    """Learn the new classes and do nothing against forgetting: cross-entropy and triplet loss."""
    return {
        "ce": losses.cross_entropy(step.logits, step.labels),
        "triplet": losses.batch_hard_triplet(step.features, step.labels),
    }
