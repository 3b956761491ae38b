from dataclasses import dataclass

import torch

from csd_edu import arguments, models
from csd_edu.few import check_width, train_on
from csd_edu.methods.method import Card, Look, Setting
from csd_edu.methods.random_images import Chosen, RandomImages, selected
from csd_edu.methods.step import Tensor


@dataclass
class Herding(RandomImages):
    """As `random_images`, but with those of each class whose mean feature lies nearest to that of all.

    The features are those of a new ConvNet that has learnt the task's images, and is then forgotten. The literature on
    condensing takes one that has learnt the whole data set; in a stream the later classes are not there yet. In a
    stream of one task it is the same.

    Attributes:
        per_class, per_epoch: as in `random_images`.
        epochs: of that network.
        width: of that network.
        flip: mirroring is among its augmentations; not for writing.

    Source: Welling, ICML 2009, as Rebuffi et al., "iCaRL", CVPR 2017, algorithm 4, choose what they remember.
    """

    __name__ = "herding"
    card = Card(
        title="Herding",
        sentence="Keep of each class the few images whose mean feature is nearest to that of all, and train a new "
        "network on those alone in each task.",
        source="Welling 2009; Rebuffi et al. 2017",
        look=Look("#D55E00", "star-diamond", "dash"),
    )

    epochs: int = 20
    width: int = 32
    flip: bool = False

    def begin(self, setting: Setting) -> None:
        arguments.whole("epochs", self.epochs, least=1)
        arguments.flag("flip", self.flip)
        check_width(self.width)
        super().begin(setting)

    def choose(self, images: Tensor, labels: Tensor) -> Chosen:
        yield {"herding": f"training a ConvNet on {len(images)} images"}
        network = train_on(
            images,
            labels.unique(return_inverse=True)[1],  # its head knows this task's classes only
            width=self.width,
            epochs=self.epochs,
            batch_size=64,
            flip=self.flip,
            seed=int(torch.randint(2**32, (), device="cpu")),
        )
        return selected(images, labels, self.per_class, "herding", features=models.embed(network, images)[0])


herding = Herding()
