from dataclasses import dataclass

from csd_edu import losses
from csd_edu.arguments import weight
from csd_edu.memory import Memory
from csd_edu.methods.finetune import finetune
from csd_edu.methods.method import Card, KitMethod, Look, Setting, Term
from csd_edu.methods.step import Step, Tensor


@dataclass
class DER(KitMethod):
    """Dark experience replay: a memory of images and of the answers they got when they came, which are held on to.

        fine-tuning + α · mean (z(x') − z')²        for images x' of the memory and their stored logits z'

    Attributes:
        size: how many images the memory holds, by reservoir sampling, as in `er`.
        alpha: weight of the stored answers.

    Source: Buzzega et al., "Dark Experience for General Continual Learning", NeurIPS 2020, eq. 6. Here the head grows,
    so that the stored logits count over the classes that were there; and fine-tuning has its triplet loss.
    """

    __name__ = "der"
    card = Card(
        title="Dark experience replay",
        sentence="Fine-tuning, and answer for the images of a small memory as the network did when they came.",
        source="Buzzega et al. 2020",
        look=Look("#E69F00", "triangle-down"),
        terms={"der": Term("distance from the stored answers")},
    )

    size: int = 200
    alpha: float = 0.3

    def begin(self, setting: Setting) -> None:
        weight("alpha", self.alpha)
        self.memory = Memory(self.size)

    def __call__(self, step: Step) -> dict[str, Tensor]:
        terms = finetune(step) | self.replay(step)
        self.memory.add(images=step.raw, logits=step.logits.detach(), **self.beside(step))
        return terms

    def beside(self, step: Step) -> dict[str, Tensor]:
        """Return what else is stored of a batch."""
        return {}

    def replay(self, step: Step) -> dict[str, Tensor]:
        """Return the terms about the past; none before there is one."""
        if not len(self.memory):
            return {}
        old = self.memory.draw(len(step.labels))
        logits = step.view(step.augment(old.images)).logits  # (B, classes so far)
        return {"der": self.alpha * losses.logit_matching(logits, old.logits)}


der = DER()
