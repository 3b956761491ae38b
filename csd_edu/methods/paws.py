from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from csd_edu.arguments import check_tensors, number, positive, weight
from csd_edu.features import UNLABELLED, at_least_float32, normalize
from csd_edu.losses import cross_entropy
from csd_edu.methods.labels_only import LabelsOnly
from csd_edu.methods.method import Card, Look, Setting, Term
from csd_edu.methods.step import Step, Tensor, View


@dataclass
class PAWS(LabelsOnly):
    """PAWS, task by task: labelled neighbours say of what class two crops of an image without a label are, and agree.

        mean H(ρ(p'), p) − H(mean ρ(p)) + w · cross-entropy of the head

    with p = `snn_predict` of a crop, p' that of the other crop of the same image, ρ = `sharpen`. The voters are the
    labelled images of the batch and of the memory. The head learns beside it: it answers, and the features take
    nothing from it.

    Features are the network's own, which retrieval measures; released is a projection of three layers. Crops and flips
    are the kit's; released are also distortions of colour, small crops, and two views of each voter. Voters are those
    of the batch, where the released code draws the same number of each class: in a stream of this kit a batch has them
    evenly, but for classes of very different sizes with a share of labels.

    Attributes:
        size: how many labelled images the memory holds at most.
        label_weight: w, 0.005 as in the released code.
        temperature: τ of the neighbours' votes.
        sharpening: T of ρ.
        smoothing: of the voters' labels.

    Source: Assran et al., "Semi-Supervised Learning of Visual Features by Non-Parametrically Predicting View
    Assignments with Support Samples", ICCV 2021, arXiv 2104.13963; task by task as in the code released by Kang et al.,
    ICCV 2023 (kangzhiq/NNCSL), whose baseline it is.
    """

    __name__ = "paws"
    card = Card(
        title="PAWS",
        sentence="Two crops of an image without a label are to have the same class by their labelled neighbours, and "
        "all classes are to come equally often; the head learns beside it.",
        source="Assran et al. 2021",
        look=Look("#E69F00", "triangle-left", "dash"),
        terms={
            "agree": Term("one crop's neighbours' class, as the other's says", Look("#0072B2", "triangle-left")),
            "spread": Term(
                "all classes equally often: minus the entropy of the mean", Look("#56B4E9", "triangle-right")
            ),
        },
    )

    label_weight: float = 0.005
    temperature: float = 0.1
    sharpening: float = 0.25
    smoothing: float = 0.1

    def begin(self, setting: Setting) -> None:
        weight("label_weight", self.label_weight)
        positive("temperature", self.temperature, 0.1)
        positive("sharpening", self.sharpening, 0.25)
        _check_smoothing(self.smoothing)
        if 0 in setting.n_unlabelled:
            raise ValueError(
                f"{type(self).__name__} learns from images without a label, and task {setting.n_unlabelled.index(0)} "
                "has none; expected csd.split(..., labelled=0.1) or fewer, or --labelled 0.1"
            )
        super().begin(setting)

    def __call__(self, step: Step) -> dict[str, Tensor]:
        assert step.unlabelled is not None  # begin has seen to it
        images, labels = self.labelled(step)  # (M, ...)
        crops = [step.augment(step.unlabelled), step.augment(step.unlabelled)]  # two (U, ...)
        together = torch.cat([images, *crops])
        view = step.view(together)
        votes, queries = view.features[: len(labels)], view.features[len(labels) :]  # (M, D), (2U, D)
        voters, classes = self.voters(labels)
        onehot = smoothed_onehot(labels[voters] - classes.start, len(classes), self.smoothing)
        p = snn_predict(queries, votes[voters], onehot, self.temperature)  # (2U, classes)
        terms = {
            "agree": agreement(p, p.roll(len(crops[0]), dims=0), self.sharpening),
            "spread": -mean_entropy(sharpen(p, self.sharpening)),
        }
        terms |= {name: self.label_weight * term for name, term in self.from_labels(view, labels).items()}
        return terms | self.beside(step, together, view, labels)

    def voters(self, labels: Tensor) -> tuple[Tensor, range]:
        """Return which of the labelled images (M,) vote, bool, and for which classes."""
        return torch.ones_like(labels, dtype=torch.bool), range(self.n_seen)

    def from_labels(self, view: View, labels: Tensor) -> dict[str, Tensor]:
        """Return what is learnt from the labelled images, the first M of those in view."""
        return {"ce": head_only(cross_entropy(view.logits[: len(labels)], labels), view.features)}

    def beside(self, step: Step, images: Tensor, view: View, labels: Tensor) -> dict[str, Tensor]:
        """Return further terms; images and view (M + 2U) are those of the labelled ones, then of the crops."""
        return {}


def snn_predict(queries: Tensor, supports: Tensor, onehot: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the classes that the soft nearest neighbours of each query vote for.

        p_i = softmax_j( cos(q_i, s_j) / τ ) · Y

    Args:
        queries: (B, D), any float type; need not be normalised.
        supports: (M, D), the neighbours to choose from.
        onehot: (M, C) floats, the class of each, perhaps smoothed: rows that sum to 1.
        temperature: τ > 0; the smaller, the fewer neighbours count.

    Returns:
        (B, C) probabilities, of at least float32.

    Raises:
        ValueError: if the shapes don't fit, there is no support, or the temperature is not positive.

    Source: Assran et al., ICCV 2021, eq. 1; Kang et al., ICCV 2023, eq. 1.
    """
    check_tensors(queries=queries, supports=supports, onehot=onehot)
    fits = queries.ndim == supports.ndim == onehot.ndim == 2 and queries.shape[1:] == supports.shape[1:]
    if not fits or len(supports) != len(onehot) or 0 in (*queries.shape, *onehot.shape):
        raise ValueError(
            f"queries {tuple(queries.shape)}, supports {tuple(supports.shape)} and onehot {tuple(onehot.shape)} don't "
            "fit; expected (B, D), (M, D) and (M, C), at least one of each"
        )
    positive("temperature", temperature, 0.1)
    with torch.autocast(queries.device.type, enabled=False):
        queries, supports = normalize(at_least_float32(queries)), normalize(at_least_float32(supports))
        similarity = queries @ supports.to(queries.dtype).T  # (B, M)
        return (similarity / temperature).softmax(dim=1) @ onehot.to(queries.dtype)  # (B, C)


def smoothed_onehot(labels: Tensor, n_classes: int, smoothing: float = 0.1) -> Tensor:
    """Return 1 − ε + ε/C at each label, and ε/C elsewhere.

    Args:
        labels: (M,) integers in 0..C−1.
        n_classes: C.
        smoothing: ε, from 0 to below 1.

    Returns:
        (M, C) floats whose rows sum to 1.

    Raises:
        ValueError: if a label is outside, or there is no such smoothing.

    Source: Szegedy et al., CVPR 2016; ε = 0.1 as in the code released by Kang et al., ICCV 2023.
    """
    check_tensors(labels=labels)
    if labels.ndim != 1 or labels.is_floating_point():
        raise ValueError(f"labels are {labels.dtype} {tuple(labels.shape)}; expected integers (M,)")
    on_cpu = labels.device.type == "cpu"  # elsewhere, looking at the values would wait for the device
    if on_cpu and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        none = f" ({UNLABELLED}: an image without a label can't vote)" if int(labels.min()) == UNLABELLED else ""
        raise ValueError(
            f"labels go from {int(labels.min())} to {int(labels.max())}{none}; expected 0 to {n_classes - 1}"
        )
    _check_smoothing(smoothing)
    return F.one_hot(labels.long(), n_classes).to(torch.float32) * (1 - smoothing) + smoothing / n_classes


def sharpen(p: Tensor, temperature: float = 0.25) -> Tensor:
    """Return ρ(p) = p^{1/T} / Σ p^{1/T}: for T below 1 the likelier classes gain.

    Args:
        p: (B, C) probabilities.
        temperature: T > 0; 1 leaves them as they are.

    Returns:
        (B, C) probabilities, of at least float32.

    Raises:
        ValueError: if they are not (B, C), or the temperature is not positive.

    Source: Assran et al., ICCV 2021, section 3.
    """
    _check_probabilities(p=p)
    positive("temperature", temperature, 0.1)
    with torch.autocast(p.device.type, enabled=False):
        return (_log(p) / temperature).softmax(dim=1)


def mean_entropy(p: Tensor) -> Tensor:
    """Return H(1/B Σ_i p_i), the entropy of the mean: log C if all classes come equally often, however sure each row.

    Args:
        p: (B, C) probabilities.

    Returns:
        A scalar of at least float32, from 0 to log C. Training is to make it large: its loss term is −H.

    Raises:
        ValueError: if they are not (B, C).

    Source: Assran et al., ICCV 2021, eq. 2 (mean entropy maximisation).
    """
    _check_probabilities(p=p)
    with torch.autocast(p.device.type, enabled=False):
        mean = at_least_float32(p).mean(dim=0, keepdim=True)  # (1, C)
        return -(mean * _log(mean)).sum()


def agreement(p: Tensor, other: Tensor, temperature: float = 0.25) -> Tensor:
    """Answer for each crop as its neighbours answer for the other crop of the same image, only more surely.

        loss = −1/B Σ_i Σ_c t_ic log p_ic        t = ρ(p') without gradient, and 0 where it is below 10⁻⁴

    Args:
        p: (B, C) probabilities.
        other: (B, C) of the other crops; no gradient flows into them.
        temperature: T of ρ = `sharpen`.

    Returns:
        A scalar of at least float32, at least 0.

    Raises:
        ValueError: if the shapes don't fit or the temperature is not positive.

    Source: Assran et al., ICCV 2021, eq. 2; the threshold as in the released code.
    """
    _check_probabilities(p=p, other=other)
    with torch.autocast(p.device.type, enabled=False):
        target = sharpen(other.detach(), temperature)  # (B, C)
        target = torch.where(target < 1e-4, 0.0, target)
        return soft_cross_entropy(p, target)


def soft_cross_entropy(p: Tensor, target: Tensor) -> Tensor:
    """Answer as a target does: least where both are the same, when it is the mean entropy of the target.

        loss = −1/B Σ_i Σ_c t_ic log p_ic

    Args:
        p: (B, C) probabilities.
        target: (B, C), t; no gradient flows into it.

    Returns:
        A scalar of at least float32, at least 0.

    Raises:
        ValueError: if the shapes don't fit.
    """
    _check_probabilities(p=p, target=target)
    with torch.autocast(p.device.type, enabled=False):
        return -(target.detach() * _log(p)).sum(dim=1).mean()


def head_only(loss: Tensor, features: Tensor) -> Tensor:
    """Return a loss of the same value that teaches the head alone: no gradient of it reaches the features.

    Args:
        loss: a scalar that depends on the features.
        features: (B, D).

    Returns:
        A scalar.
    """
    (gradient,) = torch.autograd.grad(loss, features, retain_graph=True)  # (B, D)
    pull = (gradient * features).sum()  # which has this very gradient
    return loss - pull + pull.detach()


def _log(p: Tensor) -> Tensor:
    """Return the logarithm of probabilities, finite and without a gradient where they are 0."""
    p = at_least_float32(p)
    return p.clamp_min(torch.finfo(p.dtype).tiny).log()


def _check_probabilities(**several: Tensor) -> None:
    check_tensors(**several)
    shapes: Sequence[tuple[int, ...]] = [tuple(p.shape) for p in several.values()]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        raise ValueError(f"{' and '.join(several)} have shapes {shapes}; expected the same (B, C), B > 0 and C > 0")


def _check_smoothing(smoothing: float) -> None:
    if not 0 <= number("smoothing", smoothing) < 1:
        raise ValueError(f"smoothing is {smoothing}; expected a number from 0 to below 1, such as 0.1")


paws = PAWS()
