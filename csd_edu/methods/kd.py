from dataclasses import dataclass

from csd_edu import losses
from csd_edu.arguments import number, positive
from csd_edu.methods.method import Card, KitMethod, Look, Setting
from csd_edu.methods.step import Step, Tensor


@dataclass
class KD(KitMethod):
    """Learn from the labels and from the answers of another network: `csd.train(stream, kd, teacher=run)`.

        (1 − w) · cross-entropy + w · T² · 1/B Σ_i KL( softmax(teacher_i / T) ‖ softmax(student_i / T) )

    Attributes:
        weight: w, of the teacher's answers against the labels.
        temperature: T; larger is softer.

    Source: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """

    __name__ = "kd"
    card = Card(
        title="Knowledge distillation",
        sentence="Cross-entropy, and answer as another trained network does: what a large one teaches a small one.",
        source="Hinton et al. 2015",
        look=Look("#0072B2", "x", "dot"),
    )

    weight: float = 0.9
    temperature: float = 4.0

    def begin(self, setting: Setting) -> None:
        if not 0 <= number("weight", self.weight) <= 1:
            raise ValueError(f"weight is {self.weight}; expected a share of the loss from 0 to 1, such as 0.9")
        positive("temperature", self.temperature, 4.0)
        if not setting.has_teacher:
            raise ValueError("kd has no teacher; expected csd.train(..., teacher=run), or --teacher RUN")

    def __call__(self, step: Step) -> dict[str, Tensor]:
        assert step.teacher is not None  # begin has seen to it
        soft = losses.distillation(step.logits, step.teacher.logits, temperature=self.temperature)
        hard = losses.cross_entropy(step.logits, step.labels)
        return {"ce": (1 - self.weight) * hard, "kd": self.weight * self.temperature**2 * soft}


kd = KD()
