from dataclasses import dataclass

from csd_edu import losses
from csd_edu.arguments import positive, weight
from csd_edu.methods.er import ER
from csd_edu.methods.method import Card, Look, Setting
from csd_edu.methods.step import Step, Tensor


@dataclass
class CSDMemory(ER):
    """CSD with a memory: its losses on each batch together with as many stored images of what has come so far.

    New images are then contrasted with stored old ones as well; the formula stays as it is. Both networks see the same
    crops and flips.

    Attributes:
        size, side: how many images the memory holds, and of how many pixels, as in `er`.
        weight, temperature: of the contrast.
        kd_weight, kd_temperature: of the distillation of answers.

    Source: Barletti et al., ICIAP 2021, arXiv 2205.05476 for the losses; the memory is that of `er`.
    """

    __name__ = "csd_memory"
    card = Card(
        title="CSD with a memory",
        sentence="CSD on each batch together with as many images from a small memory: old images are contrasted, too.",
        source="Barletti et al. 2021, with a memory",
        look=Look("#009E73", "cross", "dot"),
    )

    weight: float = 1.0
    temperature: float = 0.07
    kd_weight: float = 1.0
    kd_temperature: float = 2.0

    def begin(self, setting: Setting) -> None:
        weight("weight", self.weight)
        positive("temperature", self.temperature, 0.07)
        weight("kd_weight", self.kd_weight)
        positive("kd_temperature", self.kd_temperature, 2.0)
        super().begin(setting)

    def __call__(self, step: Step) -> dict[str, Tensor]:
        images, labels = self.joined(step)
        student = step.view(images)
        terms = {
            "ce": losses.cross_entropy(student.logits, labels),
            "triplet": losses.batch_hard_triplet(student.features, labels),
        }
        if step.teacher_view is not None:
            teacher = step.teacher_view(images)
            kd = losses.distillation(student.logits, teacher.logits, temperature=self.kd_temperature)
            contrast = losses.csd(student.features, teacher.features, labels, temperature=self.temperature)
            terms |= {"kd": self.kd_weight * kd, "csd": self.weight * contrast}
        return terms


csd_memory = CSDMemory()
