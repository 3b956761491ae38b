from dataclasses import dataclass

import torch

from csd_edu import losses
from csd_edu.arguments import positive, weight
from csd_edu.features import normalize
from csd_edu.methods.finetune import finetune
from csd_edu.methods.method import Card, KitMethod, Look, Setting, Term
from csd_edu.methods.step import Step, Tensor, Viewer


@dataclass
class FE(KitMethod):
    """Feature estimation: keep how the images of a batch lie to each other, under the teacher and estimates of others.

        fine-tuning + w · corr(f, t) + Σ_e w · corr(f, t · (1 + u_e))        u_e ~ U(low_e, high_e) anew for each

    with corr = `losses.correlation_distillation`, and e the networks before the teacher. Those are gone: their features
    are estimated from the teacher's, by how far features have moved since, relative to what they became.

    Here that is measured in the last steps of each task: running means of the 5 % and 95 % quantiles of (t − f) / f,
    over the numbers of the normalised features that are not near 0. The released code has one range (−0.044, 0.223),
    entered by hand and not used by default; how the paper measures it could not be found.

    Attributes:
        weight: w of each correlation, 10 as in the released code.
        temperature: of the rows' softmax, 4 as there.

    Source: Chen et al., "Feature Estimations Based Correlation Distillation for Incremental Image Retrieval", IEEE
    Transactions on Multimedia 24, 2022. Its pair loss is here the kit's cross-entropy and triplet loss.
    """

    __name__ = "fe"
    card = Card(
        title="Feature estimation",
        sentence="Fine-tuning, and keep how images lie to each other under the teacher, and under estimates of the "
        "networks before it.",
        source="Chen et al. 2022",
        look=Look("#E69F00", "bowtie", "dot"),
        terms={
            "correlation": Term("correlations of the features, as the teacher has them"),
            "estimated": Term("the same, as earlier networks are estimated to have had them"),
        },
    )

    weight: float = 10.0
    temperature: float = 4.0

    def begin(self, setting: Setting) -> None:
        weight("weight", self.weight)
        positive("temperature", self.temperature, 4.0)
        if setting.has_teacher:
            raise ValueError(
                "fe estimates the networks of earlier tasks, and takes no teacher= from outside; leave it out"
            )
        self.changes: list[Tensor] = []  # for each network before the teacher, the oldest first: (low, high)
        self.change = torch.zeros(2, device=setting.device)  # from the student to the teacher, so far in this task

    def __call__(self, step: Step) -> dict[str, Tensor]:
        terms = finetune(step)
        if step.teacher is not None:
            student, teacher = step.features, step.teacher.features  # (B, D)
            terms["correlation"] = self.weight * self._correlation(student, teacher)
            if self.changes:
                estimates = [teacher * (1 + _uniform(change, teacher)) for change in self.changes]
                terms["estimated"] = (
                    self.weight * torch.stack([self._correlation(student, estimate) for estimate in estimates]).sum()
                )
            self.change = torch.lerp(self.change, _relative_change(student.detach(), teacher), 0.1)
        return terms

    def end_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> None:
        if task > 0:
            self.changes = [(1 + older) * (1 + self.change) - 1 for older in self.changes] + [self.change]
            self.change = torch.zeros_like(self.change)

    def _correlation(self, student: Tensor, teacher: Tensor) -> Tensor:
        return losses.correlation_distillation(student, teacher, temperature=self.temperature)


def _relative_change(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the 5 % and 95 % quantiles (2,) of (t − f) / f over the numbers f of normalised features above 0.01."""
    f, t = normalize(student).flatten(), normalize(teacher).flatten()  # (B · D,)
    change = torch.where(f > 0.01, (t - f) / f, torch.nan)
    return torch.nanquantile(change, torch.tensor([0.05, 0.95], device=f.device)).nan_to_num()  # (2,)


def _uniform(change: Tensor, like: Tensor) -> Tensor:
    """Return numbers drawn between low and high, in the shape of a tensor."""
    drawn = torch.rand(like.shape).to(like.device)  # on the CPU: the same for every device
    return torch.lerp(change[0], change[1], drawn)


fe = FE()
