from dataclasses import dataclass

import torch

from csd_edu import losses
from csd_edu.memory import Memory
from csd_edu.methods.method import Card, Look, Method, Setting
from csd_edu.methods.step import Step, Tensor


@dataclass
class ER(Method):
    """Experience replay: each step learns from its batch together with as many images of a memory.

    Attributes:
        size: how many images the memory holds, by reservoir sampling among all that have come. They come anew in each
            epoch: an image may be there twice, and tasks with more epochs have more of it.

    Source: Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019, algorithm 1; Riemer et al., ICLR
    2019. Here with the triplet loss of fine-tuning beside the cross-entropy: the two differ in the memory alone.
    """

    __name__ = "er"
    card = Card(
        title="Experience replay",
        sentence="Fine-tuning on each batch together with as many images from a small memory of what has come so far.",
        source="Chaudhry et al. 2019",
        look=Look("#56B4E9", "star"),
    )

    size: int = 200

    def begin(self, setting: Setting) -> None:
        self.memory = Memory(self.size)

    def joined(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return images (2B, C, H, W) and labels (2B,) of the batch and of the memory, which then gets the batch."""
        images, labels = step.images, step.labels
        if len(self.memory):
            old = self.memory.draw(len(labels))
            images, labels = torch.cat([images, step.augment(old.images)]), torch.cat([labels, old.labels])
        self.memory.add(images=step.raw, labels=step.labels)
        return images, labels

    def __call__(self, step: Step) -> dict[str, Tensor]:
        images, labels = self.joined(step)
        view = step.view(images)
        return {
            "ce": losses.cross_entropy(view.logits, labels),
            "triplet": losses.batch_hard_triplet(view.features, labels),
        }


er = ER()
