"""Exercises on memories that are rewritten: who gets a place, what is revised, and how old heads stay below the new."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu.check.answers import Loss, Rows
from csd_edu.check.inputs import random
from csd_edu.check.running import Case, Exercise, table
from csd_edu.methods.xder import hinge, rewrite_logits as rewritten_by_the_library


def reservoir(draws: Sequence[float], size: int) -> list[int]:
    held: list[int] = []
    for n, draw in enumerate(draws):  # n images came before this one
        place = int(draw * (n + 1))  # one of the n + 1 numbers 0, …, n, all alike
        if n < size:
            held.append(n)
        elif place < size:
            held[place] = n
    return held


def rewrite_logits(stored: Tensor, current: Tensor, labels: Tensor, lo: int, hi: int, gamma: float) -> Tensor:
    true = stored.gather(1, labels[:, None])  # (B, 1)
    limit = (gamma * true).clamp_min(0)  # (B, 1)
    block = current[:, lo:hi]  # (B, hi − lo)
    largest = block.amax(dim=1, keepdim=True)  # (B, 1)
    factor = torch.where(largest > limit, limit / largest, 1.0)  # (B, 1)
    rewritten = stored.clone()
    rewritten[:, lo:hi] = factor * block
    return rewritten


def past_hinge(logits: Tensor, labels: Tensor, n_past: int, margin: float) -> Tensor:
    true = logits.gather(1, labels[:, None]).squeeze(1)  # (B,)
    largest = logits[:, :n_past].amax(dim=1)  # (B,)
    loss = F.relu(largest + margin - true)  # (B,)
    return loss.sum() / (loss > 0).sum().clamp_min(1)


def _by_places(draws: Sequence[float], size: int) -> list[int]:
    """The same on another road: each place has the last image that was sent there."""
    places = [n if n < size else int(draw * (n + 1)) for n, draw in enumerate(draws)]
    return [max(n for n, at in enumerate(places) if at == place) for place in range(min(size, len(draws)))]


RESERVOIR = Exercise(
    reservoir,
    title="Who gets a place in the memory",
    doc="Check f(draws, size) -> list of the numbers of the images that a memory holds, by reservoir sampling.",
    truth=_by_places,
    answer=Rows(),
    cases=(
        Case("five images, room for two", [0.9, 0.1, 0.2, 0.9, 0.05], 2),
        Case("seven images, room for three", [0.5, 0.5, 0.5, 0.4, 0.7, 0.3, 0.95], 3),
        Case("four images, room for two; draws near the edge", [0.3, 0.8, 0.7, 0.45], 2),
        Case("room for one", [0.0, 0.6, 0.2, 0.9, 0.1, 0.5], 1),
        Case("twelve images, room for four", torch.linspace(0.05, 0.95, 12).mul(7).fmod(1).tolist(), 4),
        Case("fewer images than places", [0.6, 0.2, 0.1], 5),
        Case("thirty images, room for three", torch.linspace(0.05, 0.95, 30).mul(11).fmod(1).tolist(), 3),
    ),
    mistakes=table("""
    always replaced | int(draw * (n + 1)) => int(draw * size)
        Each new image gets a place. Then the memory is full of the newest ones: an old image survives only until its
        place is hit. Draw one of n + 1 numbers, and let the image in only if there is a place of that number.
    the new image not counted | (n + 1) => n
        You draw one of n numbers. With the new image n + 1 have come, and each must have the same chance, size/(n + 1):
        draw one of n + 1. As it is, an image that comes right after the memory is full always gets in.
    one of all numbers | (n + 1) => len(draws)
        You draw one of as many numbers as images will come in all. A memory does not know how many that will be: of
        image n, draw one of n + 1.
    two images too many counted | (n + 1) => (n + 2)
        You draw one of n + 2 numbers. Images count from 0: before image n there were n, with it there are n + 1.
    the first ones kept for ever | place < size => False
        Once the memory is full, nobody gets in any more: only the first images are remembered, and no later task.
        A later image takes the drawn place, if there is one of that number.
    the last ones kept | int(draw * (n + 1)) => n % size
        The memory is a ring that holds the last images, whatever the draws. The tasks before are what is to be
        remembered: decide by the draw.
    the draw used twice | int(draw * (n + 1)) => int(draw * size) if draw < size / (n + 1) else size
        The chance is right, but the same draw then chooses the place: only small draws come that far, and they all lead
        to the first places. int(draw · (n + 1)) is the place already.
    rounded instead of cut off | int(draw => round(draw
        You round to the nearest number. Then 0 is drawn half as often as the others, and n + 1 can come out. int(…)
        cuts off, and all of 0, …, n are alike.
    one place too many | n < size => n <= size
        The memory holds one image more than it has places. Before image n there are n: it is full from n = size on.
    one place too few | n < size => n < size - 1 | place < size => place < min(size, len(held))
        One place stays empty. The images 0, …, size − 1 all find room: n < size.
    the last place is never given away | place < size => place < size - 1
        The last place is never given away. Places are 0, …, size − 1, so place < size.
    let in by the others | elif place < size => elif place >= size | held[place] = n => held[place % size] = n
        It is the wrong way round: an image gets in where the drawn number has no place. Large numbers become ever more
        likely, and so newer images would, too.
    added instead of replaced | held[place] = n => held.append(n)
        The memory grows: a new image is added, and nobody leaves. It takes the place of the one that was there.
    in the order of the numbers | return held => return sorted(held)
        You sort the numbers at the end. The list is the memory, place by place: a new one stands where the old one was.
    the draw decides while there is room | n < size => len(held) < size and place < size
        | held.append(n) => held.insert(place, n)
        The draw decides where images go that come while there is room. They just take the next place, in their order.
    """),
    hints=(
        "Go through the images by number: for n, draw in enumerate(draws). Before image n there were n others.",
        "While n < size, append n. From then on compute place = int(draw * (n + 1)), a number from 0 to n.",
        "If place < size, the image takes that place: held[place] = n. If not, it is not stored.",
    ),
    tested="room for all at first, then a chance of size/(n + 1) for image n, each place alike; more room than images",
)


def _seen_later(n: int, n_classes: int, n_old: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return stored and current logits, in quarters, and labels of the first classes; true ones mostly above 0."""
    stored, current = (random(n, n_classes, seed + k).mul(8).round() / 4 for k in range(2))
    labels = torch.arange(n) % n_old
    stored[torch.arange(n), labels] = stored[torch.arange(n), labels].abs() + 0.5
    return stored, current, labels


_ZERO = torch.tensor([0])
_BELOW, _IN_PLACE = "a negative limit", "stored logits changed in place"

REWRITE_LOGITS = Exercise(
    rewrite_logits,
    title="A memory is rewritten",
    doc="""
    Check f(stored (B, C), current (B, C), labels (B,), lo, hi, gamma) -> (B, C), as `methods.xder.rewrite_logits`.

    The heads lo to hi − 1 are taken from current, made smaller where the largest is above max(gamma · z'_y, 0).
    """,
    truth=rewritten_by_the_library,
    answer=Rows(),
    cases=(
        Case("too large", torch.tensor([[2.0, 0.0, 0.5]]), torch.tensor([[9.0, 4.0, 1.0]]), _ZERO, 1, 3, 0.75),
        Case("not too large", torch.tensor([[2.0, 0.0, 0.5]]), torch.tensor([[9.0, 1.0, 0.5]]), _ZERO, 1, 3, 0.75),
        Case(
            "between γ times the true logit and the true logit itself",
            *(torch.tensor([[2.0, 0.25, 0.5]]), torch.tensor([[0.5, 1.75, 1.0]]), _ZERO, 1, 3, 0.75),
        ),
        Case(
            "all new ones below 0",
            *(torch.tensor([[1.0, 2.0, 0.5, 0.0]]), torch.tensor([[0.5, 3.0, -1.0, -2.0]])),
            *(torch.tensor([1]), 2, 4, 0.5),
        ),
        Case("four images of an earlier task, three heads of later ones", *_seen_later(4, 6, 3, 20), 3, 6, 0.75),
        Case("five images; the last heads are not rewritten", *_seen_later(5, 7, 2, 40), 2, 5, 0.5),
        Case(
            "new images; the heads of earlier tasks are rewritten",
            *(torch.tensor([[0.5, 0.0, 2.0, 1.0], [1.0, 0.0, 0.5, 4.0]]),),
            *(torch.tensor([[3.0, 2.0, 2.0, 1.5], [1.0, 2.0, 0.0, 1.0]]), torch.tensor([2, 3]), 0, 2, 0.75),
        ),
        Case(
            "the stored logit of the true class is negative",
            *(torch.tensor([[-2.0, -3.0, -1.0]]), torch.tensor([[1.0, 4.0, -1.0]]), _ZERO, 1, 3, 0.75),
            shows=_BELOW,
        ),
        Case(
            "all are negative",
            *(torch.tensor([[-2.0, -3.0, -4.0]]), torch.tensor([[1.0, -1.0, -5.0]]), _ZERO, 1, 3, 0.75),
            shows=_BELOW,
        ),
    ),
    mistakes=table("""
    nothing rewritten | factor * block => stored[:, lo:hi]
        The stored logits come back as they were. The heads lo to hi − 1 are to be taken from the current ones.
    all heads overwritten | rewritten = stored.clone() => rewritten = current.clone()
        You take all other heads from the current network, too. What was stored about the image's own task is the
        memory: only the heads lo to hi − 1 may change.
    the old part overwritten | rewritten = stored.clone()
        => rewritten = torch.cat([current[:, :lo], stored[:, lo:]], dim=1)
        The heads below lo come from the current network, too. They are what was remembered: begin with a copy of the
        stored logits, and write lo to hi − 1 only.
    heads from hi on overwritten | rewritten[:, lo:hi] = factor * block => rewritten[:, lo:] = factor * current[:, lo:]
        You rewrite all heads from lo on. Those from hi on stay as they were stored: lo:hi.
    not made smaller | torch.where(largest > limit, limit / largest, 1.0) => torch.ones_like(largest)
        You take the current logits as they are. Where the largest is above γ · z'_y, a head that was learnt later would
        be named before the true one: multiply the row's block by limit / largest.
    always scaled | torch.where(largest > limit, limit / largest, 1.0) => limit / largest
        You bring the largest to the limit also where it is below it: then logits are made *larger*, and those below 0
        turn over. The factor is at most 1; where largest ≤ limit nothing is changed.
    scaled where the largest is below 0 | torch.where(largest > limit, limit / largest, 1.0)
        => (limit / largest).clamp_max(1)
        You take the smaller of limit / largest and 1, also where the largest new logit is below 0. There the quotient
        is negative, and turns the new logits over; but nothing is too large, so the factor is 1:
        torch.where(largest > limit, …).
    everything scaled | rewritten = stored.clone() => rewritten = factor * current
        You return the whole row of current logits, made smaller. All other heads keep what was stored: begin with a
        copy of the stored logits, and write lo to hi − 1 only.
    no γ | (gamma * true) => true
        γ is not used. The largest new logit may reach γ times the true class's, so that the true class stays ahead.
    smaller only above the true logit | largest > limit => largest > true
        You make the block smaller only where its largest is above the true logit itself, as the released code does.
        Between γ · z'_y and z'_y it would stay as it is, and come closer than γ allows: compare with the limit.
    the current true logit | true = stored.gather => true = current.gather
        You measure with what the network says of the true class now. Its stored logit is the memory that one trusts:
        stored.gather(…).
    the largest stored logit | stored.gather(1, labels[:, None]) => stored.amax(dim=1, keepdim=True)
        You measure with the largest stored logit. It need not be that of the true class: use the labels.
    the largest of all heads | block.amax(dim=1 => current.amax(dim=1
        You look for the largest among all of the current logits. Only those that are written count: the block lo:hi.
    the largest of the batch | block.amax(dim=1, keepdim=True) => block.max()
        You take the largest of the whole batch. Each image has its own: .amax(dim=1, keepdim=True).
    cut off instead of scaled | factor * block => torch.minimum(block, limit)
        You cut off at the limit. Then several heads can end at the same number, and what the network says about their
        order is lost. Multiply the whole block by one factor.
    shifted instead of scaled | factor * block => block - (largest - limit).clamp_min(0)
        You subtract what is too much from the whole block. X-DER multiplies it by one factor, limit / largest.
    the factor squared | factor * block => factor**2 * block
        The factor is there twice. Once brings the largest exactly to the limit.
    the factor upside down | limit / largest => largest / limit
        The factor is the wrong way up: what is too large gets larger. It is limit / largest, below 1.
    scaled by γ alone | limit / largest, 1.0) => gamma, 1.0)
        You multiply by γ. That makes the block smaller, but its largest can still be above γ · z'_y: the factor is
        limit / largest.
    the stored block scaled | block = current[:, lo:hi] => block = stored[:, lo:hi]
        You scale what was stored about these heads. It was said before they had learnt anything: take the current
        logits.
    mixed with what was stored | factor * block => gamma * factor * block + (1 - gamma) * stored[:, lo:hi]
        You mix old and new logits. What was stored about these heads is dropped altogether.
    a negative limit | .clamp_min(0) =>
        This goes wrong where the stored logit of the true class is negative. There the limit is 0, .clamp_min(0), and
        not γ · z'_y, which would turn the new logits over or make them larger. Is the largest new logit below 0, too,
        then it is below the limit: the factor is 1.
    """),
    hints=(
        "Three things first, each (B, 1): the stored logit of the true class, stored.gather(1, labels[:, None]); the "
        "limit, γ times that and at least 0; the largest of current[:, lo:hi], .amax(dim=1, keepdim=True).",
        "One factor for each row: limit / largest where largest > limit, else 1. torch.where(condition, a, b) chooses.",
        "Begin with rewritten = stored.clone(), and write into rewritten[:, lo:hi] the factor times the current block.",
    ),
    tested=(
        "only the heads lo to hi − 1 change, in a copy; one factor for each image, at most 1; γ; a true class whose "
        "logit is negative"
    ),
)

_HEADS = torch.tensor([[1.0, 2.0, 1.5, 0.0], [0.5, -1.0, 3.0, 0.0], [0.0, 1.0, -1.0, 0.5]])
_LOW = torch.tensor([[0.0, -1.0, 3.0, 1.0], [0.5, 0.0, 1.0, 4.0]])

PAST_HINGE = Exercise(
    past_hinge,
    title="Old heads stay below the true one",
    doc="Check f(logits (B, C), labels (B,), n_past, margin) -> scalar: the hinge of the first n_past heads.",
    truth=lambda logits, labels, n_past, margin: hinge(logits, labels, 0, n_past, margin=margin),
    answer=Loss("logits"),
    cases=(
        Case("one image, an old head above the true one", _HEADS[:1], torch.tensor([2]), 2, 0.3),
        Case("three images, one of them low enough", _HEADS, torch.tensor([2, 2, 3]), 2, 0.3),
        Case("two images that are low enough, and one inside of the margin", _HEADS, torch.tensor([2, 2, 3]), 1, 0.75),
        Case(
            "six images, six heads, the first four of earlier tasks",
            *(2 * random(6, 6, 3),),
            4 + torch.arange(6) % 2,
            4,
            0.5,
        ),
        Case(
            "eight images, seven heads, the first three of earlier tasks",
            2 * random(8, 7, 5),
            3 + torch.arange(8) % 4,
            3,
            0.3,
        ),
        Case("all old heads are low enough", _LOW, torch.tensor([2, 3]), 2, 0.3, shows="mean of no losses"),
    ),
    mistakes=table("""
    no margin for the hinge | + margin =>
        The margin is missing. An old head that is only just below the true one is beaten by chance: it is to stay below
        by the margin.
    the margin subtracted | + margin => - margin
        You subtract the margin. Then an old head may be above the true one by that much: add it to the old logit.
    heads of the own task counted | logits[:, :n_past].amax(dim=1)
        => logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
        You compare with all other heads. Those of the own task are cross-entropy's business: only the first n_past
        count here.
    the largest of all heads, the true one too | logits[:, :n_past] => logits
        You take the largest of all heads, among which the true one is. Only the first n_past count: logits[:, :n_past].
    new heads instead of the old | logits[:, :n_past] => logits[:, n_past:]
        You compare with the heads from n_past on, among which the true one is. The old ones are the first n_past:
        logits[:, :n_past].
    the mean of the old heads | logits[:, :n_past].amax(dim=1) => logits[:, :n_past].mean(dim=1)
        You take the mean of the old heads. One head above the true one is enough for a wrong answer: take the largest.
    the least of the old heads | [:, :n_past].amax => [:, :n_past].amin
        You take the lowest of the old heads. The highest is the one that can be named.
    the sum over the old heads | F.relu(largest + margin - true)
        => F.relu(logits[:, :n_past] + margin - true[:, None]).sum(dim=1)
        You have a hinge for each old head, and add them up. Here there is one for each image: that of the largest old
        head.
    B × B numbers | .squeeze(1) =>
        You compare each image's old head with the true head of *every* image: (B,) and (B, 1) make (B, B) when they are
        subtracted. Take the last dimension off after gather: .squeeze(1).
    the mean over all pairs | F.relu(largest + margin - true) => F.relu(logits[:, :n_past] + margin - true[:, None])
        You have a hinge for each image and old head, and take the mean over all that are above 0. Here there is one for
        each image: that of its largest old head.
    the largest own head instead of the true one | logits.gather(1, labels[:, None]).squeeze(1)
        => logits[:, n_past:].amax(dim=1)
        You compare with the largest of the heads from n_past on, nearly as the released code does. Then a wrong new
        head can do the true one's work: take the logit of the label.
    the wrong way round | largest + margin - true => true + margin - largest
        It is the wrong way round: your loss is large where the true head is *above* the old ones.
    no relu | F.relu(largest + margin - true) => largest + margin - true
        What is below 0 counts, too: old heads that are low enough are pushed down for ever. Cut off at 0 with F.relu.
    mean over all images | (loss > 0).sum().clamp_min(1) => len(loss)
        You divide by all images. Divide by those whose loss is above 0, so that a few hard ones still count when the
        others are done.
    a sum over the images | / (loss > 0).sum().clamp_min(1) =>
        You add up the images of the batch. Divide by the number of those whose loss is above 0.
    the largest loss instead of the mean | loss.sum() / (loss > 0).sum().clamp_min(1) => loss.max()
        You take the image with the largest loss alone. All that are above 0 count: take their mean.
    probabilities instead of logits | true = logits => logits = logits.softmax(dim=1); true = logits
        You compare probabilities, as the released code does. Their gradient fades where the network is sure, right or
        wrong; here logits are compared.
    squared hinge | F.relu(largest + margin - true) => F.relu(largest + margin - true).square()
        You square the hinge. Here it grows in proportion to what an old head has too much.
    mean of no losses | .clamp_min(1) =>
        If all old heads are low enough there is nothing to take the mean of, and 0/0 is NaN. The loss is then 0:
        .clamp_min(1) on the number that you divide by.
    """),
    hints=(
        "Three numbers for each image: the largest of logits[:, :n_past], the logit of its label, and the margin.",
        "logits.gather(1, labels[:, None]).squeeze(1) picks each row's true logit; F.relu cuts off below 0.",
        "Sum of the losses divided by the number of those above 0, which is at least 1: .clamp_min(1).",
    ),
    tested="the largest old head only, the true logit, the margin, the mean over those above 0, and the gradient",
)
