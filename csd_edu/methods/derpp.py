from dataclasses import dataclass

from csd_edu import losses
from csd_edu.arguments import weight
from csd_edu.methods.der import DER
from csd_edu.methods.method import Card, Look, Setting, Term
from csd_edu.methods.step import Step, Tensor


@dataclass
class DERPP(DER):
    """DER++: dark experience replay, and the labels of other images of the memory.

        DER + β · cross-entropy(z(x''), y'')        for images x'' of the memory, drawn anew, and their labels

    Attributes:
        size: how many images the memory holds.
        alpha: weight of the stored answers; of those that the released code has tried, 0.1 to 0.3, the largest.
        beta: weight of the stored labels.

    Source: Buzzega et al., "Dark Experience for General Continual Learning", NeurIPS 2020, eq. 8.
    """

    __name__ = "derpp"
    card = Card(
        title="DER++",
        sentence="Dark experience replay, and learn the labels of further images of the memory.",
        source="Buzzega et al. 2020",
        look=Look("#CC79A7", "hexagon"),
        terms={"old ce": Term("cross-entropy of the memory's images")},
    )

    beta: float = 0.5

    def begin(self, setting: Setting) -> None:
        weight("beta", self.beta)
        super().begin(setting)

    def beside(self, step: Step) -> dict[str, Tensor]:
        return {"labels": step.labels}

    def replay(self, step: Step) -> dict[str, Tensor]:
        terms = super().replay(step)
        if terms:
            old = self.memory.draw(len(step.labels))
            logits = step.view(step.augment(old.images)).logits  # (B, classes so far)
            terms["old ce"] = self.beta * losses.cross_entropy(logits, old.labels)
        return terms


derpp = DERPP()
