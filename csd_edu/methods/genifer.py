import base64
import copy
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from csd_edu import arguments, losses
from csd_edu.arguments import check_tensors
from csd_edu.features import at_least_float32
from csd_edu.generator import (
    Discriminator,
    Generator,
    as_pixels,
    discriminator_loss,
    draw,
    ema_update,
    generator_loss,
    r1_penalty,
)
from csd_edu.methods.method import Card, KitMethod, Look, Setting, Term
from csd_edu.methods.step import Step, Tensor, Viewer

if TYPE_CHECKING:
    from csd_edu.runs import Run

SCALE = 2.0**10
"""Of the generator's loss: where the network computes in float16, small gradients would be lost. Adam undoes it."""

SHOWN_SEED = 0
"""Of the noise of the pictures in the log: the same after each task, so that one sees what becomes of a picture."""


def dreamt_distillation(logits: Tensor, old_logits: Tensor) -> Tensor:
    """Answer for invented images as the old network does: cross-entropy, with the old answers as targets.

        loss = −1/B Σ_i Σ_{k<K} softmax(old_i)_k · log softmax(new_i)_k

    The new softmax is over all C classes, so that the new ones are pushed down.

    Args:
        logits: (B, C) of the network in training, any float type.
        old_logits: (B, K) of the old one with K <= C; no gradient flows into it.

    Returns:
        A scalar of at least float32. Where C = K its least value is the mean entropy of the old answers.

    Raises:
        ValueError: if the shapes don't fit.

    Source: the code released with Thandiackal et al. 2024, "KD_sep".
    """
    check_tensors(logits=logits, old_logits=old_logits)
    if logits.ndim != 2 or old_logits.ndim != 2 or not 0 < len(logits) == len(old_logits):
        raise ValueError(
            f"logits are {tuple(logits.shape)}, old_logits {tuple(old_logits.shape)}; expected (B, C) and (B, K)"
        )
    n_old = old_logits.shape[1]
    if not 0 < n_old <= logits.shape[1]:
        raise ValueError(f"old_logits are of {n_old} classes, logits of {logits.shape[1]}; expected at most as many")
    with torch.autocast(logits.device.type, enabled=False):
        old = F.softmax(at_least_float32(old_logits.detach()), dim=1)  # (B, K)
        new = F.log_softmax(at_least_float32(logits), dim=1)[:, :n_old]  # (B, K)
        return -(old * new).sum(dim=1).mean()


def map_distance(maps: Tensor, old_maps: Tensor) -> Tensor:
    """Return how far maps are from those of the old network: mean_i ‖f_i − f_old,i‖₂, flattened and not squared.

    Args:
        maps: (B, C, h, w) of the network in training, any float type.
        old_maps: the same of the old one; no gradient flows into it.

    Returns:
        A scalar of at least float32. Where the two are equal, so is its gradient: zero.

    Raises:
        ValueError: if the shapes don't fit.

    Source: the code released with Thandiackal et al. 2024, "single_L2".
    """
    check_tensors(maps=maps, old_maps=old_maps)
    if maps.shape != old_maps.shape or maps.ndim < 2 or not len(maps):
        raise ValueError(f"maps are {tuple(maps.shape)}, old_maps {tuple(old_maps.shape)}; expected the same (B, …)")
    with torch.autocast(maps.device.type, enabled=False):
        gap = at_least_float32(maps) - at_least_float32(old_maps.detach())
        distances: Tensor = torch.linalg.vector_norm(gap.flatten(1), dim=1)  # (B,)
        return distances.mean()


@dataclass
class Genifer(KitMethod):
    """Generative feature-driven image replay: dream of old classes, and answer for the dreams as the old network does.

        n_new/n · fine-tuning on the new images + n_old/n · distillation on dreams + w · mean ‖f(x̂) − f_old(x̂)‖₂

    After each task a generator learns to draw all classes so far. Its discriminator does not look at images, but at
    what the network that was just trained makes of them; for it, half of the images are real ones of the task, half are
    those that the generator drew before, and the generator stays near what it drew from the same noise:

        G: mean softplus(−D(f(G(z, y)), y)) + hold · n_old/n_new · mean |G(z, y) − G_before(z, y)|
        D: mean softplus(D(f(G(z, y)), y)) + mean softplus(−D(f(x), y)) + R1

    What replays is an average of the generator over its steps. That is all that is kept from task to task, 0.3 MB for
    images of 16 × 16: the discriminator and its optimiser begin anew after each task.

    Attributes:
        new, old: weights of the new images and of the dreams' answers; None: n_new/n and n_old/n by the number of
            classes. Released: 0.02 and 0.98.
        feature: w, of the feature maps' distance; released: 1 (other maps, of other length).
        csd: weight of the contrast of CSD on new images and dreams together; 0 for none.
        layer: which feature maps of the network are meant.
        gan_steps: steps of generator and discriminator after each task; released: 250,000 and 80,000.
        gan_batch: images in such a step.
        gan_lr: of both, with Adam's betas 0 and 0.99.
        r1, r1_every: γ of the R1 penalty, and in which steps it is asked for; it counts so many times more then.
        hold: weight of the distance from what the generator drew before.
        ema: the most that β of the average becomes; after k steps it is (1 + k) / (10 + k).
        width: channels of generator and discriminator.
        record_every: steps between two records of the losses.
        shown: how many pictures of each class the log gets after each task, see `logged_dreams`.

    Source: Thandiackal et al., "Generative Feature-driven Image Replay for Continual Learning", Image and Vision
    Computing 2024, and its code, which gives the R1 penalty another weight and augments for the discriminator.
    """

    __name__ = "genifer"
    card = Card(
        title="Feature-driven image replay",
        sentence="Fine-tuning, and answer as the old network does for images of old classes that a generator invents, "
        "which has learnt from what the network sees in images.",
        source="Thandiackal et al. 2024",
        look=Look("#009E73", "star-diamond", "longdash"),
        terms={
            "dreamt kd": Term("distillation of the old network's answers on invented images"),
            "dreamt maps": Term("distance of feature maps from the old network's, on invented images"),
        },
    )

    new: float | None = None
    old: float | None = None
    feature: float = 0.02
    csd: float = 0.0
    layer: str = "stage2"
    gan_steps: int = 250
    gan_batch: int = 64
    gan_lr: float = 2e-3
    r1: float = 0.05
    r1_every: int = 16
    hold: float = 10.0
    ema: float = 0.98
    width: int = 48
    record_every: int = 50
    shown: int = 4

    def begin(self, setting: Setting) -> None:
        if setting.has_teacher:
            raise ValueError(
                f"{self.__name__} distils the network of the task before, and takes no teacher= from outside; leave it "
                "out"
            )
        self._check()
        self.generator = Generator(setting.image_shape, setting.n_classes, width=self.width)
        self.generator.to(setting.device).requires_grad_(False)
        self.n_drawn = 0  # the classes that the generator can draw: 0 to n_drawn − 1

    def _check(self) -> None:
        for name in ("new", "old", "feature", "csd", "gan_lr", "r1", "hold", "ema"):
            value = getattr(self, name)
            if value is None and name in ("new", "old"):
                continue
            found = arguments.number(name, value, "a finite number of at least 0")
            if found < 0 or (name == "gan_lr" and found == 0) or (name == "ema" and found > 1):
                wanted = {"gan_lr": "above 0", "ema": "from 0 to 1"}.get(name, "of at least 0")
                raise ValueError(f"{name} is {value!r}; expected a number {wanted}")
        if not isinstance(self.layer, str):
            raise ValueError(f"layer is {self.layer!r}; expected what the network shows, such as 'stage2'")
        leasts = {"gan_steps": 1, "gan_batch": 4, "r1_every": 1, "width": 3, "record_every": 1, "shown": 0}
        for name, least in leasts.items():
            arguments.whole(name, getattr(self, name), least=least)

    def __call__(self, step: Step) -> dict[str, Tensor]:
        n_old, n = self.n_drawn, len(step.labels)
        if n_old == 0:
            student = step.view(step.images, self.layer)  # a layer that isn't there is told in the first step
            return _fine_tuning(student.logits, student.features, step.labels, 1.0)
        assert step.teacher_view is not None  # from the second task on there is one
        drawn = torch.randint(n_old, (n,)).to(step.labels.device)  # (B,) old classes
        dreams = as_pixels(self.generator(self._noise(n), drawn))
        dreams = step.augment(dreams)  # (B, C, H, W) uint8: the same crop for both networks
        images = torch.cat([dreams, step.images])  # (2B, C, H, W) in one pass: batch norm sees old and new together
        student = step.view(images, self.layer)
        teacher = step.teacher_view(images if self.csd else dreams, self.layer)
        n_all = student.logits.shape[1]
        new = 1 - n_old / n_all if self.new is None else self.new
        old = n_old / n_all if self.old is None else self.old
        terms = _fine_tuning(student.logits[n:], student.features[n:], step.labels, new)
        terms["dreamt kd"] = old * dreamt_distillation(student.logits[:n], teacher.logits[:n, :n_old])
        terms["dreamt maps"] = self.feature * map_distance(student[self.layer][:n], teacher[self.layer][:n])
        if self.csd:
            labels = torch.cat([drawn, step.labels])  # (2B,)
            terms["csd"] = self.csd * losses.csd(student.features, teacher.features, labels)
        return terms

    def judged(self, images: Tensor, view: Viewer) -> Tensor:
        """Return what the discriminator sees of images (B, C, H, W), float in 0..1: the network's maps (B, c, h, w)."""
        return view(images, self.layer)[self.layer]

    def end_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> Iterator[dict[str, Any]]:
        before, n_old = self.generator, self.n_drawn  # which stay as they are until all is done
        n_all = view(images[:1]).logits.shape[1]
        n_held = self.gan_batch // 2 if n_old else 0
        weight = self.hold * n_old / max(n_all - n_old, 1)  # none is new where a notebook learns a task again
        generator, average = copy.deepcopy(before).requires_grad_(True), copy.deepcopy(before)
        shape = self.judged(images[:1].float() / 255, view).shape[1:]
        discriminator = Discriminator(shape, before.n_classes, width=self.width).to(images.device)
        g_optimizer, d_optimizer = (
            torch.optim.Adam(network.parameters(), self.gan_lr, betas=(0.0, 0.99), eps=1e-8 * scale)
            for network, scale in ((generator, SCALE), (discriminator, 1.0))
        )
        sums = torch.zeros(2, device=images.device)  # of both losses since the last record
        for k in range(self.gan_steps):
            rows = torch.randint(len(images), (self.gan_batch - n_held,)).to(images.device)
            old = torch.randint(max(n_old, 1), (n_held,)).to(images.device)
            classes, noise = torch.cat([old, labels[rows]]), self._noise(self.gan_batch)  # (B,), (B, Z)
            held = before(noise[:n_held], old)  # (B/2, C, H, W), what it drew before; it is frozen
            penalised = self.r1 > 0 and k % self.r1_every == 0
            real = self.judged(torch.cat([held, images[rows].float() / 255]), view).requires_grad_(penalised)
            drawn = generator(noise, classes)  # (B, C, H, W)
            fake = self.judged(drawn, view)  # a gradient passes through the frozen network to the images

            scores = discriminator(real, classes)
            d_loss = discriminator_loss(scores, discriminator(fake.detach(), classes))
            penalty = r1_penalty(scores, real, gamma=self.r1 * self.r1_every) if penalised else 0.0
            d_optimizer.zero_grad()
            (d_loss + penalty).backward()
            d_optimizer.step()

            g_loss = generator_loss(discriminator(fake, classes))
            distance = weight * (drawn[:n_held] - held).abs().mean() if n_held else 0.0
            g_optimizer.zero_grad()
            (SCALE * (g_loss + distance)).backward()
            g_optimizer.step()
            ema_update(average, generator, min(self.ema, (1 + k) / (10 + k)))

            sums += torch.stack([d_loss, g_loss]).detach()
            if (k + 1) % self.record_every == 0 or k + 1 == self.gan_steps:
                d, g = (sums / (k % self.record_every + 1)).tolist()
                sums.zero_()
                drawable = all(bool(part.isfinite().all()) for part in average.parameters())
                if not (math.isfinite(d) and math.isfinite(g) and drawable):
                    raise ValueError(
                        f"the generator's training diverged: its losses or weights became NaN or infinite by step "
                        f"{k + 1} after task {task}; gan_lr is {self.gan_lr}, take a smaller one, in a new folder"
                    )
                yield {"step": k + 1, "d": d, "g": g}
        if self.shown:
            pictures = draw(average, range(n_all), self.shown, seed=SHOWN_SEED)
            yield {"dreams": _as_text(pictures), "shape": list(pictures.shape)}
        before.load_state_dict(average.state_dict())
        self.n_drawn = n_all

    def _noise(self, n: int) -> Tensor:
        """Return noise (n, Z) by torch's global generator on the CPU: the same for every device."""
        return torch.randn(n, self.generator.dim).to(self.generator.coarse.weight.device)


def _fine_tuning(logits: Tensor, features: Tensor, labels: Tensor, weight: float) -> dict[str, Tensor]:
    """Return the terms of fine-tuning with a weight."""
    return {
        "ce": weight * losses.cross_entropy(logits, labels),
        "triplet": weight * losses.batch_hard_triplet(features, labels),
    }


def dreamed(method: Genifer, classes: Iterable[int], n: int, *, seed: int = 0) -> Tensor:
    """Return images that a method's generator draws, the same for the same seed.

    Args:
        method: a `Genifer` or `PixelGAN` that has learnt a task: the object given to `csd.learn`.
        classes: of which, as whole numbers in the stream's order.
        n: how many of each.
        seed: of the noise, which is the same for each class.

    Returns:
        (len(classes), n, C, H, W) uint8, on the CPU.

    Raises:
        ValueError: if it has not learnt to draw one of the classes.
    """
    wanted, n_drawn = arguments.whole_numbers("classes", classes), getattr(method, "n_drawn", 0)
    unknown = [c for c in wanted if not 0 <= c < n_drawn]
    if unknown:
        learnt = f"some of 0 to {n_drawn - 1}" if n_drawn else "csd.learn to have trained it on a task first"
        raise ValueError(
            f"classes has class {unknown[0]}, which the generator has not learnt to draw; expected {learnt}"
        )
    return draw(method.generator, wanted, n, seed=seed)


def logged_dreams(run: "Run") -> list[Tensor]:
    """Return the pictures that a run's log has of what the generator drew after each task.

    Args:
        run: by `genifer` or `pixel_gan`, also a saved copy of one.

    Returns:
        For each task learnt (classes so far, shown, C, H, W) uint8; of the same noise after each task.

    Raises:
        ValueError: if the log has none, or damaged ones.
    """
    kept = [record for record in run.records if "dreams" in record]
    if not kept:
        raise ValueError(f"{run!r} has no pictures of dreams; expected a run by genifer or pixel_gan with shown > 0")
    found = []
    for record in kept:
        try:
            found.append(_as_images(record["dreams"], record["shape"]))
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, zlib.error) as error:
            raise ValueError(
                f"{run!r} has damaged pictures of dreams after task {record.get('task')} ({error}); expected such as "
                "training wrote them: train it anew"
            ) from None
    return found


def _as_text(images: Tensor) -> str:
    """Return uint8 images as a short text, which `_as_images` reads."""
    return base64.b64encode(zlib.compress(images.numpy().tobytes(), 9)).decode()


def _as_images(text: str, shape: Sequence[int]) -> Tensor:
    raw = bytearray(zlib.decompress(base64.b64decode(text)))
    return torch.frombuffer(raw, dtype=torch.uint8).view(*shape)


genifer = Genifer()
