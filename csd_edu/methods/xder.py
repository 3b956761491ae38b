from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from csd_edu import arguments, losses
from csd_edu.features import at_least_float32
from csd_edu.memory import Memory
from csd_edu.methods.method import Card, KitMethod, Look, Setting, Term
from csd_edu.methods.step import Step, View, Viewer


@dataclass(frozen=True, eq=False)
class Drawn:
    """Some rows of the memory, and what the network in training makes of them now."""

    index: Tensor  # (B,) int64 on the CPU, which rows
    labels: Tensor  # (B,)
    stored: Tensor  # (B, C) logits
    images: Tensor  # (B, C, H, W) uint8, cropped and flipped
    view: View


@dataclass
class XDER(KitMethod):
    """X-DER: dark experience replay whose memories are rewritten, with heads that wait for the classes to come.

    The network answers for all classes from the start; the logits z fall into those of past, current and future heads.

        cross-entropy(z_current, y) + triplet + α · mean (z(x') − z')² + β · cross-entropy(z(x'')_past, y'')
          + λ · mean over future tasks of the contrast of their logits, in several views
          + η · (hinge: no future head above the true one) + η · (hinge: no past head above the true one)

    x' and x'' are two draws from the memory, which is filled at the end of each task: with ⌊size / classes so far⌋
    images a class, and new images in the places that are left. What it stores of an image is a claim about that image's
    own task only. What it says about heads that were learnt later, or are still to be, is rewritten (`rewrite_logits`)
    with the network's answers of now: of all past images at the end of a task, and in a step of those that were drawn,
    with probability 1 / times drawn in this task. So are the answers of a new image's past heads.

    Attributes:
        size: how many images the memory holds: one for each class of the stream, or more.
        alpha: α, weight of the stored answers.
        beta: β, weight of the stored labels.
        lam: λ, weight of the contrast of future heads.
        eta: η, weight of the hinges.
        margin: of the hinges.
        gamma: γ, how much of the true class's logit the largest rewritten one may reach.
        temperature: τ of the contrast.
        views: how many views of each image are contrasted.
        rewrite: whether memories are rewritten; else they stay as they were stored.
        future: whether future heads are prepared, by the contrast and the first hinge.
        past_hinge: whether the second hinge is there. Without it the first one, which lifts the true heads of old
            images, is left to pull alone, and the newest classes are hardly ever named.
        csd: weight of CSD's contrast with the teacher, on the batch together with x'; with 0 no teacher is looked at.

    A term whose weight is 0 is left out, together with the draw or the views that it alone needs.

    Source: Boschini et al., "Class-Incremental Continual Learning into the eXtended DER-verse", IEEE TPAMI 2022, arXiv
    2201.00766; α, β, λ, η and the margin as in the released code (aimagelab/mammoth, models/xder.py). There, other than
    here: γ is 0.85, and a block between γ · z'_gt and z'_gt stays as it is; the past hinge is one of probabilities,
    moves no past head, and is off by default since December 2024 (it is on in the code of 2022); both hinges take the
    largest logit of the own heads in place of the true one; logits are stored as they are of cropped images in training
    mode (here of the whole image in evaluation mode); batch-norm is kept from following replayed images and views;
    views are cropped to a fifth of the image and up, in other hues. The triplet loss of fine-tuning is here because DER
    and DER++ have it in this kit: the three differ in the memory, and in what is asked of the heads.
    """

    __name__ = "xder"
    card = Card(
        title="X-DER",
        sentence="Dark experience replay that rewrites what it remembers about classes that came later, keeps each "
        "task’s cross-entropy to its own heads, and prepares heads for the classes to come.",
        source="Boschini et al. 2022",
        look=Look("#CC79A7", "hexagram", "dash"),
        terms={
            "future": Term("contrast of the heads of classes still to come"),
            "future hinge": Term("heads of classes still to come stay below the true one"),
            "past hinge": Term("heads of earlier classes stay below the true one"),
        },
    )
    whole_head = True

    size: int = 200
    alpha: float = 0.3
    beta: float = 0.8
    lam: float = 0.05
    eta: float = 0.1
    margin: float = 0.3
    gamma: float = 0.75
    temperature: float = 5.0
    views: int = 2
    rewrite: bool = True
    future: bool = True
    past_hinge: bool = True
    csd: float = 0.0

    def begin(self, setting: Setting) -> None:
        self._check(setting)
        self.memory = Memory(self.size)
        self.ends = (0, *accumulate(setting.sizes))  # of the heads of each task: from ends[t] to ends[t + 1]
        self.n_drawn = torch.zeros(self.size, dtype=torch.int32, device="cpu")  # of each row, in this task

    def __call__(self, step: Step) -> dict[str, Tensor]:
        lo, hi, n_classes = self.ends[step.task], self.ends[step.task + 1], self.ends[-1]
        terms = {
            "ce": head_cross_entropy(step.logits, step.labels, lo, hi),
            "triplet": losses.batch_hard_triplet(step.features, step.labels),
        }
        drawn = []
        if len(self.memory) and (self.alpha or self.csd):
            drawn.append(self.draw(step))
            if self.alpha:
                terms["der"] = self.alpha * losses.logit_matching(drawn[0].view.logits, drawn[0].stored)
        if self.csd and step.teacher_view is not None:
            terms["csd"] = self.csd * contrast_with_teacher(step, drawn, step.teacher_view)
        if len(self.memory) and self.beta:
            drawn.append(old := self.draw(step))
            terms["old ce"] = self.beta * head_cross_entropy(old.view.logits, old.labels, 0, lo)

        logits, labels = step.logits, step.labels
        if drawn:
            index, stored, now, of = each_once(drawn)
            logits, labels = torch.cat([logits, now]), torch.cat([labels, of])
            if self.rewrite:
                self.revise(step.task, index, stored, now, of)
        if self.eta and self.future and hi < n_classes:
            terms["future hinge"] = self.eta * hinge(logits, labels, hi, n_classes, margin=self.margin)
        if self.eta and self.past_hinge and lo:
            terms["past hinge"] = self.eta * hinge(step.logits, step.labels, 0, lo, margin=self.margin)
        if self.lam and self.future and hi < n_classes:
            terms["future"] = self.lam * self.contrast_of_future(step)
        return terms

    def draw(self, step: Step) -> Drawn:
        """Return as many rows of the memory as there are images in the batch, or all."""
        index = self.memory.choose(len(step.labels))
        old = self.memory.read(index)
        images = step.augment(old.images)
        return Drawn(index, old.labels, old.logits, images, step.view(images))

    def revise(self, task: int, index: Tensor, stored: Tensor, now: Tensor, labels: Tensor) -> None:
        """Rewrite rows of the memory, each with probability 1 / times drawn in this task, this time included."""
        self.n_drawn[index] += 1
        chosen = (torch.rand(len(index), device="cpu") * self.n_drawn[index] < 1).nonzero().squeeze(1)  # (rows,)
        rows = chosen.to(now.device, non_blocking=True)
        self.memory.write(index[chosen], logits=self._rewritten(stored[rows], now[rows], labels[rows], task))

    def contrast_of_future(self, step: Step) -> Tensor:
        """Return the contrast of the logits of each task to come, in views of the batch and of as many old images."""
        images, labels = step.raw, step.labels
        if len(self.memory):
            old = self.memory.draw(len(labels))
            images, labels = torch.cat([images, old.images]), torch.cat([labels, old.labels])
        logits = step.view(strong_views(images, self.views, step.augment)).logits  # (B · views, C)
        blocks = [logits[:, lo:hi] for lo, hi in pairwise(self.ends[step.task + 1 :])]
        return supcon(blocks, labels.repeat_interleave(self.views), temperature=self.temperature)

    def begin_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> None:
        """Forget the images of this task and of later ones, which are there if a notebook learns it again."""
        if len(self.memory) and int(self.memory.rows["labels"].max()) >= self.ends[task]:
            older = torch.nonzero(self.memory.rows["labels"] < self.ends[task]).squeeze(1)
            self.memory.replace(**vars(self.memory.read(older)))
            self.n_drawn.zero_()

    def end_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> Iterator[dict[str, Any]]:
        """Fill the memory anew, and rewrite its answers; say how many images it holds, and how many are old."""
        lo, hi = self.ends[task], self.ends[task + 1]
        kept = torch.arange(0, device="cpu")  # rows of the memory
        if len(self.memory):
            kept = share_out(self.memory.rows["labels"], range(lo), self.size // hi * lo)
        came = share_out(labels, range(lo, hi), self.size - len(kept), shuffle=True).to(labels.device)
        new = {"images": images[came], "labels": labels[came], "logits": _answers(view, images[came])}
        if self.rewrite:
            new["logits"] = rewrite_logits(new["logits"], new["logits"], new["labels"], 0, lo, self.gamma)
        if len(self.memory):
            old = self.memory.read(kept)
            logits = old.logits
            if self.rewrite:
                logits = self._rewritten(logits, _answers(view, old.images), old.labels, task)
            rows = {"images": old.images, "labels": old.labels, "logits": logits}
            new = {name: torch.cat([rows[name], values]) for name, values in new.items()}
        self.memory.replace(**new)
        self.n_drawn.zero_()
        yield {"held": len(self.memory), "old": len(kept)}

    def _rewritten(self, stored: Tensor, now: Tensor, labels: Tensor, task: int) -> Tensor:
        """Return logits of images of earlier tasks, with what they say of this task’s heads, and later ones, new."""
        return rewrite_logits(stored, now, labels, self.ends[task], self.ends[-1], self.gamma)

    def _check(self, setting: Setting) -> None:
        """Raise a ValueError if a setting is impossible."""
        size = arguments.whole("size", self.size)
        if size < setting.n_classes:
            raise ValueError(
                f"size is {size}, but the stream has {setting.n_classes} classes; expected an image of each or more, "
                f"such as size={10 * setting.n_classes}"
            )
        for name in ("alpha", "beta", "lam", "eta", "margin", "csd"):
            arguments.weight(name, getattr(self, name), "number")
        if not 0 <= arguments.number("gamma", self.gamma) <= 1:
            raise ValueError(f"gamma is {self.gamma}; expected a share of the true class's logit from 0 to 1")
        arguments.positive("temperature", self.temperature, 5.0)
        arguments.whole("views", self.views, least=2)
        for name in ("rewrite", "future", "past_hinge"):
            arguments.flag(name, getattr(self, name))


def head_cross_entropy(logits: Tensor, labels: Tensor, lo: int, hi: int) -> Tensor:
    """Return the mean cross-entropy among the classes lo to hi − 1 alone: no other head gets a gradient.

    Args:
        logits: (B, C), any float type.
        labels: (B,) integers from lo to hi − 1.
        lo, hi: which heads compete, 0 <= lo < hi <= C.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: if the shapes don't fit, there are no such heads, or a label is outside.

    Source: Boschini et al. 2022, arXiv 2201.00766 (separated cross-entropy); Ahn et al., "SS-IL", ICCV 2021.
    """
    _check_heads(logits, labels, lo, hi)
    _check_labels(labels, lo, hi, inside=True)
    return losses.cross_entropy(logits[:, lo:hi], labels - lo)


def hinge(logits: Tensor, labels: Tensor, lo: int, hi: int, *, margin: float = 0.3) -> Tensor:
    """Keep the largest logit of the classes lo to hi − 1 below that of the true class, by a margin.

        loss_i = max(0, max_{lo <= k < hi} z_ik + m − z_iy)        averaged over the non-zero losses

    Args:
        logits: (B, C), any float type.
        labels: (B,) integers, outside lo..hi − 1.
        lo, hi: the heads that are to stay below, 0 <= lo < hi <= C.
        margin: m >= 0, in units of the logits.

    Returns:
        A scalar of at least float32; zero, still connected to `logits`, if all are low enough.

    Raises:
        ValueError: if the shapes don't fit, there are no such heads, a label is one of them, or the margin is negative.

    Source: Boschini et al. 2022, arXiv 2201.00766; the mean over the non-zero ones as in the released code.
    """
    _check_heads(logits, labels, lo, hi)
    _check_labels(labels, lo, hi, inside=False)
    if not margin >= 0:
        raise ValueError(f"margin is {margin}; expected a number of at least 0")
    with torch.autocast(logits.device.type, enabled=False):
        logits = at_least_float32(logits)  # (B, C)
        true = logits.gather(1, labels.long()[:, None]).squeeze(1)  # (B,)
        loss = torch.relu(logits[:, lo:hi].amax(dim=1) + margin - true)  # (B,)
        return loss.sum() / (loss > 0).sum().clamp_min(1)


def supcon(blocks: Sequence[Tensor], labels: Tensor, *, temperature: float = 5.0) -> Tensor:
    """Return the mean over blocks of logits of the supervised contrast of views, each block a task's.

    Args:
        blocks: for each task to come its logits (N, C_task), any float type; they are normalised to length 1.
        labels: (N,) integers; other views of an image have its label, and so are its positives.
        temperature: τ > 0.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: if there is no block, the shapes don't fit or the temperature is not positive.

    Source: Boschini et al. 2022, arXiv 2201.00766; the contrast is `losses.supervised_contrastive`.
    """
    if not blocks:
        raise ValueError("there are no blocks; expected the logits of one task to come, or more")
    return torch.stack(
        [losses.supervised_contrastive(block, labels, temperature=temperature) for block in blocks]
    ).mean()


@torch.no_grad()
def rewrite_logits(stored: Tensor, new: Tensor, labels: Tensor, lo: int, hi: int, gamma: float = 0.75) -> Tensor:
    """Return stored logits whose heads lo to hi − 1 are taken from new ones, made smaller where they are too large.

        z'_k ← new_k · min(limit / max_{lo <= j < hi} new_j, 1)        with limit = max(γ · z'_y, 0), for lo <= k < hi

    so that none of them gets above γ times the stored logit of the true class, which stays as it is. Where that is
    negative, γ · z'_y / max would turn the new logits over, or make them larger: the limit is then 0. New logits that
    are not above the limit are taken as they are.

    Args:
        stored: (B, C), any float type.
        new: (B, C) of the same images.
        labels: (B,) integers, outside lo..hi − 1.
        lo, hi: which heads are rewritten, 0 <= lo <= hi <= C; where lo = hi none is.
        gamma: from 0 to 1.

    Returns:
        (B, C) of the type of `stored`, a tensor of its own, without gradient: neither argument is changed.

    Raises:
        ValueError: if the shapes don't fit, there are no such heads, a label is one of them, or gamma is outside.

    Source: Boschini et al. 2022, arXiv 2201.00766. The released code (aimagelab/mammoth, models/xder.py) makes a block
    smaller only where its largest is above z'_y itself, and not where it is between that and γ · z'_y.
    """
    _check_heads(stored, labels, lo, hi, least=0)
    if new.shape != stored.shape:
        raise ValueError(f"new logits are {tuple(new.shape)}, stored ones {tuple(stored.shape)}; expected the same")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma is {gamma}; expected a share from 0 to 1")
    rewritten = stored.clone()
    if lo < hi:
        _check_labels(labels, lo, hi, inside=False)
        true = stored.gather(1, labels.long()[:, None])  # (B, 1)
        block, limit = new[:, lo:hi], (gamma * true).clamp_min(0)  # (B, hi − lo), (B, 1)
        largest = block.amax(dim=1, keepdim=True)  # (B, 1)
        rewritten[:, lo:hi] = block * torch.where(largest > limit, limit / largest, 1.0)
    return rewritten


def strong_views(images: Tensor, n: int, augment: Callable[[Tensor], Tensor]) -> Tensor:
    """Return n views of each image: cropped (and flipped) as the run does, in another light and other colours.

    With probability 0.8 brightness, contrast and saturation are multiplied by numbers from 0.6 to 1.4; with probability
    0.2 colour is taken away. All of that leaves a sign the sign that it is. The released code cuts out a
    fifth of the image and up, turns hues, and always flips: a fifth of a letter is no letter, and neither is its mirror
    image, so crops and flips are those that the run trains with.

    Args:
        images: (B, C, H, W) uint8.
        n: how many views.
        augment: `step.augment`.

    Returns:
        (B · n, C, H, W) float32 from 0 to 1, the views of an image one after the other.
    """
    x = augment(images.repeat_interleave(n, dim=0)).float() / 255  # (N, C, H, W)
    factors = 0.6 + 0.8 * torch.rand(3, len(x), device="cpu")  # brightness, contrast, saturation
    factors = torch.where(torch.rand(len(x), device="cpu") < 0.8, factors, 1.0)  # (3, N)
    factors[2] = torch.where(torch.rand(len(x), device="cpu") < 0.2, 0.0, factors[2])
    brightness, contrast, saturation = factors.to(x.device, torch.float32)[:, :, None, None, None]  # (N, 1, 1, 1) each
    x = (x * brightness).clamp(0, 1)
    x = torch.lerp(x.mean(dim=(1, 2, 3), keepdim=True), x, contrast).clamp(0, 1)
    return torch.lerp(x.mean(dim=1, keepdim=True), x, saturation).clamp(0, 1)


def share_out(labels: Tensor, classes: Sequence[int], n: int, *, shuffle: bool = False) -> Tensor:
    """Return which rows to keep: as many of each class, and n in all where there are enough.

    Args:
        labels: (N,) integers.
        classes: among which n is shared; what can't be shared evenly goes one each to some of them, drawn at random.
        n: how many rows at most.
        shuffle: draw the rows of a class; else its first ones are kept.

    Returns:
        (at most n,) int64 on the CPU, class after class.
    """
    labels = labels.cpu()
    per_class, left = divmod(n, len(classes))
    more = torch.randperm(len(classes), device="cpu")[:left].tolist() if left else []
    kept = []
    for k, label in enumerate(classes):
        rows = torch.nonzero(labels == label).squeeze(1)  # (n of this class,)
        order = torch.randperm(len(rows), device="cpu") if shuffle else torch.arange(len(rows), device="cpu")
        kept.append(rows[order[: per_class + (k in more)]])
    return torch.cat(kept)


def each_once(drawn: Sequence[Drawn]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return index, stored logits, logits of now and labels of what was drawn; of a row that came twice the first."""
    index = torch.cat([part.index for part in drawn])  # (M,) on the CPU
    place = {row: k for k, row in reversed(list(enumerate(index.tolist())))}  # where each row came first
    first = torch.tensor(sorted(place.values()), device="cpu")
    stored, now, labels = (
        torch.cat(parts)[first.to(parts[0].device, non_blocking=True)]
        for parts in zip(*((part.stored, part.view.logits, part.labels) for part in drawn), strict=True)
    )
    return index[first], stored, now, labels


def contrast_with_teacher(step: Step, drawn: Sequence[Drawn], teacher: Viewer) -> Tensor:
    """Return CSD's loss on the batch, together with what was drawn from the memory."""
    images, labels = [step.images, *(part.images for part in drawn)], [step.labels, *(part.labels for part in drawn)]
    features = torch.cat([step.features, *(part.view.features for part in drawn)])  # (B + M, D)
    return losses.csd(features, teacher(torch.cat(images)).features, torch.cat(labels))


def _answers(view: Viewer, images: Tensor) -> Tensor:
    """Return a network's logits (N, C) of images, some hundred at a time."""
    return torch.cat([view(part).logits for part in images.split(500)])


def _check_heads(logits: Tensor, labels: Tensor, lo: int, hi: int, *, least: int = 1) -> None:
    """Refuse what is no batch of logits and labels, or has no heads lo to hi − 1, at least so many."""
    arguments.check_tensors(logits=logits, labels=labels)
    if logits.ndim != 2 or labels.ndim != 1 or len(logits) != len(labels) or labels.is_floating_point():
        raise ValueError(
            f"logits are {tuple(logits.shape)} and labels {labels.dtype} {tuple(labels.shape)}; expected (B, C) and "
            "integers (B,), one row and one label for each image"
        )
    if not 0 <= lo <= hi - least or hi > logits.shape[1]:
        raise ValueError(f"lo is {lo} and hi {hi}; expected heads from 0 to {logits.shape[1]}, such as lo=0, hi=2")


def _check_labels(labels: Tensor, lo: int, hi: int, *, inside: bool) -> None:
    """Refuse labels that are not among lo..hi − 1, or are; not on a device where looking would wait for it."""
    if labels.device.type == "cpu" and not bool((((labels >= lo) & (labels < hi)) == inside).all()):
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise ValueError(f"labels go from {found}; expected all {'among' if inside else 'outside'} {lo}..{hi - 1}")


xder = XDER()
