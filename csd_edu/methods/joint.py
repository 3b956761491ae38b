from dataclasses import dataclass

from csd_edu.methods.finetune import finetune
from csd_edu.methods.method import Card, Look, Method
from csd_edu.methods.step import Step, Tensor


@dataclass
class Joint(Method):
    """The upper bound: all classes are learnt together before the first task, and nothing after.

    Its row for task i is then one fixed network searched in the gallery of tasks 0 to i: what falls along
    those rows is crowding by the growing gallery, not forgetting.
    """

    __name__ = "joint"
    card = Card(
        title="Joint training",
        sentence="All classes are learnt together at the start, and nothing after; the usual upper bound. Its network "
        "stays the same, so what it loses in the gallery of all seen tasks it loses to its growth: that is crowding, "
        "not forgetting.",
        look=Look("#000000", "diamond", "dash"),
        bound="the usual upper bound",
    )

    def __call__(self, step: Step) -> dict[str, Tensor]:
        return finetune(step)

    def training_tasks(self, task: int, n_tasks: int) -> range:
        """Return which tasks' images are trained on when the stream reaches `task`."""
        return range(n_tasks if task == 0 else 0)


joint = Joint()
