from dataclasses import dataclass

import torch

from csd_edu import losses
from csd_edu.arguments import whole
from csd_edu.memory import Memory
from csd_edu.methods.method import Card, KitMethod, Look, Setting
from csd_edu.methods.step import Step, Tensor, View, Viewer


@dataclass
class LabelsOnly(KitMethod):
    """Replay where few images have a label: fine-tuning on those of the batch and of a memory, and not on the others.

    It is the control for the methods that use the others, too: it has their memory, and in each step their labelled
    images. Unlike `er`, to whose memory each batch is offered, it stores an image once however often it comes, at the
    end of its task; classes share the memory evenly, and a step has about as many of an old class as of a new one.

    Attributes:
        size: how many labelled images the memory holds at most; never more than there are.

    Source: Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019; the memory as in Kang et al., "A
    Soft Nearest-Neighbor Framework for Continual Semi-Supervised Learning", ICCV 2023, which takes the first images of
    a class where this one draws.
    """

    __name__ = "labels_only"
    card = Card(
        title="Replay of labels only",
        sentence="Fine-tuning on the labelled images of each batch and of a small memory; those without a label are "
        "left aside.",
        source="Chaudhry et al. 2019",
        look=Look("#000000", "triangle-left", "dot"),
        control="what the labels give by themselves",
    )

    size: int = 500

    def begin(self, setting: Setting) -> None:
        size = whole("size", self.size, least=1)
        self.memory = Memory(min(size, sum(setting.n_images)), balanced=True)
        self.n_old = self.n_seen = 0  # classes of earlier tasks, and with those of this one

    def begin_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> None:
        top = int(labels.max()) + 1
        self.n_old = self.n_seen if top > self.n_seen else int(labels.min())  # a notebook may learn a task again
        self.n_seen = max(top, self.n_seen)

    def end_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> None:
        self.memory.add(images=images, labels=labels)

    def labelled(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return images (M, C, H, W) and labels (M,) of the batch, then of the memory."""
        images, labels = step.images, step.labels
        if len(self.memory):
            n = len(labels) * self.n_old // (self.n_seen - self.n_old)
            old = self.memory.draw(max(1, n))
            images, labels = torch.cat([images, step.augment(old.images)]), torch.cat([labels, old.labels])
        return images, labels

    def __call__(self, step: Step) -> dict[str, Tensor]:
        images, labels = self.labelled(step)
        return supervised(step.view(images), labels)


def supervised(view: View, labels: Tensor) -> dict[str, Tensor]:
    """Return the terms of fine-tuning for images (M, ...) and their labels (M,)."""
    return {
        "ce": losses.cross_entropy(view.logits, labels),
        "triplet": losses.batch_hard_triplet(view.features, labels),
    }


labels_only = LabelsOnly()
