from csd_edu import losses
from csd_edu.methods.lwf import lwf
from csd_edu.methods.method import Card, Look, Term
from csd_edu.methods.step import Step, Tensor


@Card(
    title="LwF and MMD",
    sentence="LwF, and keep the cloud of a batch’s features where the teacher has it (maximum mean discrepancy, MMD).",
    source="Chen et al. 2020",
    look=Look("#56B4E9", "pentagon", "dot"),
    terms={"mmd": Term("maximum mean discrepancy from the teacher's features")},
    begins_as="finetune",
)
def mmd(step: Step, weight: float = 1.0) -> dict[str, Tensor]:
    """Distil the answers, and keep the distribution of the features: LwF and the maximum mean discrepancy.

    The weight and the kernel of the paper could not be found; these are the kit's, see `losses.mmd`.

    Source: Chen et al., "On the Exploration of Incremental Learning for Fine-grained Image Retrieval", BMVC 2020, arXiv
    2010.08020.
    """
    terms = lwf(step)
    if step.teacher is not None:
        terms["mmd"] = weight * losses.mmd(step.features, step.teacher.features)
    return terms
