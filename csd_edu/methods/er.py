from dataclasses import dataclass, field

import torch

from csd_edu import losses
from csd_edu.memory import Memory
from csd_edu.methods.method import Card, KitMethod, Look, Setting
from csd_edu.methods.step import Step, Tensor
from csd_edu.small import check_side, enlarge, shrink


@dataclass
class ER(KitMethod):
    """Experience replay: each step learns from its batch together with as many images of a memory.

    Attributes:
        size: how many images the memory holds, by reservoir sampling among all that have come. They come anew in each
            epoch: an image may be there twice, and tasks with more epochs have more of it.
        side: the memory keeps images of side × side pixels, see `csd_edu.small`; None: as they are.

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
    side: int | None = field(default=None, kw_only=True)

    def begin(self, setting: Setting) -> None:
        if self.side is not None:
            check_side(self.side, *setting.image_shape[1:])
        self.memory = Memory(self.size)

    def joined(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return images (2B, C, H, W) and labels (2B,) of the batch and of the memory, which then gets the batch."""
        images, labels = step.images, step.labels
        if len(self.memory):
            old = self.memory.draw(len(labels))
            stored = old.images if self.side is None else enlarge(old.images, images.shape[-1])
            images, labels = torch.cat([images, step.augment(stored)]), torch.cat([labels, old.labels])
        raw = step.raw if self.side is None else shrink(step.raw, self.side)
        self.memory.add(images=raw, labels=step.labels)
        return images, labels

    def __call__(self, step: Step) -> dict[str, Tensor]:
        images, labels = self.joined(step)
        view = step.view(images)
        return {
            "ce": losses.cross_entropy(view.logits, labels),
            "triplet": losses.batch_hard_triplet(view.features, labels),
        }


er = ER()
