from dataclasses import dataclass, replace

import torch

from csd_edu.arguments import flag, whole
from csd_edu.memory import Memory
from csd_edu.methods.finetune import finetune
from csd_edu.methods.method import Card, KitMethod, Look, Setting
from csd_edu.methods.random_images import check_epoch
from csd_edu.methods.step import Step, Tensor, Viewer
from csd_edu.small import check_side, enlarge, image_bytes, shrink

SIZE = 200
"""Images that a memory holds if nothing is said, as that of `er`."""


@dataclass
class GDumb(KitMethod):
    """Keep a balanced memory of what has come, and train a new network on the memory alone in each task.

    Nothing of an old network is carried over, so that what is reached is what the stored images are worth. The memory
    is the kit's: full classes keep a uniform sample of all their images, where the paper keeps the first that came.
    There is no variant with CSD's losses, as `csd_memory` is of `er`: a new network has no past to be held to.

    Attributes:
        size: how many images the memory holds; None: as many as `budget` has room for or, without one, 200.
        budget: the bytes that the images may take, in place of `size`; their labels, one byte each with up to 256
            classes, come on top.
        side: the memory keeps images of side × side pixels; None: as they are. What the network is tested on is the
            dataset's, see `csd_edu.small.small_dataset`.
        per_epoch: how many images an epoch has: the memory's, each as often as the others within one, so that every
            memory gets equally many steps; None: each once.
        crop_first: crop images at full size, and shrink them to `side` afterwards, as the code released with the
            thesis does. The network then sees what images of that side could not keep; so full images are stored, as
            many as small ones were allowed, and the bytes counted are those of full images.

    Source: Prabhu, Torr & Dokania, "GDumb", ECCV 2020, algorithms 1 and 2; with small images Pelosin, "Quantity over
    quality", in the thesis arXiv 2301.01033. Here with the losses of fine-tuning and without CutMix.
    """

    __name__ = "gdumb"
    card = Card(
        title="GDumb",
        sentence="Keep a small memory of what has come, balanced by class, and train a new network on it alone in each "
        "task.",
        source="Prabhu et al. 2020",
        look=Look("#D55E00", "hourglass", "dash"),
    )
    fresh_network = True

    size: int | None = None
    budget: int | None = None
    side: int | None = None
    per_epoch: int | None = None
    crop_first: bool = False

    def begin(self, setting: Setting) -> None:
        crop_first = flag("crop_first", self.crop_first)
        if self.side is not None:
            check_side(self.side, *setting.image_shape[1:])
        elif crop_first:
            raise ValueError("crop_first is True, but side is None; expected the side to shrink cropped images to")
        size = self._size(setting)
        if self.per_epoch is not None and whole("per_epoch", self.per_epoch, least=1) < size:
            raise ValueError(
                f"per_epoch is {self.per_epoch:,}, but the memory holds {size:,} images, some of which would never be "
                f"trained on; expected at least {size:,}"
            )
        if self.per_epoch is not None:
            check_epoch(self.per_epoch, setting)
        self.memory = Memory(size, balanced=True)
        self.one_byte = setting.n_classes <= 256  # whether a label fits into one

    def begin_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> None:
        small = images if self.side is None or self.crop_first else shrink(images, self.side)
        self.memory.add(images=small, labels=labels.to(torch.uint8) if self.one_byte else labels)

    def training_images(self, task: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        n = len(self.memory)
        rows = torch.randperm(n)[torch.arange(self.per_epoch or n) % n].to(images.device)  # which ones come once more
        stored = self.memory.rows["images"][rows]  # (M, C, side, side), or at full size
        if self.side is not None and not self.crop_first:
            stored = enlarge(stored, images.shape[-1])  # (M, C, H, W)
        return stored, self.memory.rows["labels"][rows].long()

    def __call__(self, step: Step) -> dict[str, Tensor]:
        if self.crop_first:
            assert self.side is not None  # begin has seen to it
            step = replace(step, images=enlarge(shrink(step.images, self.side), step.images.shape[-1]))
        return finetune(step)

    def _size(self, setting: Setting) -> int:
        """Return how many images the memory holds, or raise a ValueError if there is no such memory."""
        if self.budget is None:
            return SIZE if self.size is None else whole("size", self.size, least=1)
        if self.size is not None:
            raise ValueError(f"size is {self.size} and budget {self.budget}; expected one of the two, images or bytes")
        budget, total = whole("budget", self.budget, least=1), sum(setting.n_images)
        channels, height, width = setting.image_shape
        each = channels * height * width if self.side is None else image_bytes(self.side, channels)
        n = budget // each
        if n < 1:
            raise ValueError(f"budget is {budget:,} bytes, but one image takes {each:,}; expected at least as many")
        if n > total:
            raise ValueError(
                f"budget is {budget:,} bytes, room for {n:,} images of {each:,}, but the stream has {total:,} to train "
                f"on; expected at most {total * each:,}, or a larger side"
            )
        return n


gdumb = GDumb()
