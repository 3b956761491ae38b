from dataclasses import dataclass

from csd_edu.methods.genifer import Genifer
from csd_edu.methods.method import Card, Look
from csd_edu.methods.step import Tensor, Viewer


@dataclass
class PixelGAN(Genifer):
    """The control of `genifer`: all is the same, but the discriminator looks at the images themselves.

    Source: replay from a generator that learns from pixels is that of Shin et al., "Continual Learning with Deep
    Generative Replay", NeurIPS 2017; the rest is `genifer`.
    """

    __name__ = "pixel_gan"
    card = Card(
        title="Image replay by a pixel GAN",
        sentence="As feature-driven image replay, but the generator learns from the pixels of images.",
        source="after Shin et al. 2017",
        look=Look("#56B4E9", "star-square", "longdash"),
        control="what learning from features rather than from pixels adds",
    )

    def judged(self, images: Tensor, view: Viewer) -> Tensor:
        return images


pixel_gan = PixelGAN()
