from dataclasses import dataclass

from csd_edu.methods.finetune import finetune
from csd_edu.methods.method import Card, Look, Method
from csd_edu.methods.step import Step, Tensor


@dataclass
class Frozen(Method):
    """The first task is learnt, and nothing after: the network stays as it is, and so do its features.

    What it loses in a growing gallery it loses to the gallery: that is crowding. Its head knows the first task only.
    """

    __name__ = "frozen"
    card = Card(
        title="The first network, frozen",
        sentence="The first task is learnt, and nothing after. A method that searches no better than this has gained "
        "nothing from the later tasks; and what this one loses, it loses to the growing gallery.",
        look=Look("#59636e", "x", "dot"),
        control="what not learning at all gives",
        begins_as="finetune",
    )

    def __call__(self, step: Step) -> dict[str, Tensor]:
        return finetune(step)

    def training_tasks(self, task: int, n_tasks: int) -> range:
        """Return which tasks' images are trained on when the stream reaches `task`: those of the first one."""
        return range(0 if task else 1)


frozen = Frozen()
