"""More right answers, in other styles: NumPy, einsum, loops, scikit-learn and other formulas."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special, stats
from scipy.spatial import distance
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

import csd_edu as csd


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def pairs_csd(student, teacher, labels, temperature):
    """By sums of exponentials over cells, with a dictionary of masks."""
    s, t, n = unit(student), unit(teacher.detach()), len(labels)
    z = torch.einsum("id,jd->ij", s, torch.cat([s, t])) / temperature
    a = torch.ones(n, 2 * n).bool().index_put((torch.arange(n), torch.arange(n)), torch.tensor(False))
    p = labels.repeat(2).eq(labels.view(-1, 1)) & a
    top = z.masked_fill(~a, -1e9).max(dim=1, keepdim=True).values
    log_p = z - top - ((z - top).exp() * a).sum(dim=1, keepdim=True).log()
    return torch.stack([-row[mask].mean() for row, mask in zip(log_p, p, strict=True)]).mean()


def gathered_csd(student, teacher, labels, temperature):
    s, t = F.normalize(student), F.normalize(teacher).detach()
    z = torch.cat([(s @ s.T).fill_diagonal_(-9e9), s @ t.T], dim=1) / temperature
    p = torch.cat([labels[:, None] == labels, labels[:, None] == labels], dim=1).float()
    p[:, : len(labels)].fill_diagonal_(0)
    log_p = torch.where(p > 0, F.log_softmax(z, dim=1), torch.zeros_like(z))
    return -((log_p * p).sum(1) / p.sum(1)).sum() / len(labels)


def ranked_recall(queries, query_labels, gallery, gallery_labels, k, exclude_self=False):
    """By the rank of the best right item, ties counted against it."""
    z = torch.from_numpy(cosine_similarity(queries.double(), gallery.double()))
    if exclude_self:
        z[range(len(z)), range(len(z))] = -np.inf
    hits = []
    for row, label in zip(z, query_labels, strict=True):
        right = (gallery_labels == label) & (row > -np.inf)
        if right.any():
            hits.append(((row > row[right].max() - 1e-6) & (gallery_labels != label)).sum() < k)
    return torch.stack(hits).float().mean().item()


def neighbours(x, k):
    found = NearestNeighbors(n_neighbors=len(x), metric="euclidean").fit(unit(x.double()))
    order = found.kneighbors(unit(x.double()), return_distance=False)
    return [[j for j in row if j != i][:k] for i, row in enumerate(order)]


def sets_of_neighbours(x, y, k):
    return [len(set(a) & set(b)) / k for a, b in zip(neighbours(x, k), neighbours(y, k), strict=True)]


def speakers_by_lists(features, n):
    """By the whole sum of each list of choices."""
    z, chosen = torch.from_numpy(cosine_similarity(features.double())), []
    for _ in range(n):
        sums = [float(z[:, [*chosen, j]].max(dim=1).values.sum()) for j in range(len(z))]
        chosen.append(int(np.argmax(sums)))
    return torch.tensor(chosen)


def ridge_translation(gallery, old, new, ridge=0.1):
    solver = "svd" if ridge == 0 else "auto"
    model = Ridge(alpha=max(ridge, 1e-12), solver=solver).fit(old.double().numpy(), new.double().numpy())
    return model.predict(gallery.double().numpy())


def dual_translation(gallery, old, new, ridge=0.1):
    """By an augmented system of the singular vectors."""
    a, b = (old - old.mean(0)).double(), (new - new.mean(0)).double()
    u, s, v = torch.linalg.svd(a, full_matrices=False)
    return (gallery - old.mean(0)).double() @ v.T @ ((s / (s**2 + ridge))[:, None] * (u.T @ b)) + new.double().mean(0)


def einsum_triplet(features, labels, margin):
    z = torch.einsum("id,jd->ij", unit(features), unit(features))
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    eye = torch.eye(len(labels)).bool()
    losses = []
    for i in range(len(labels)):
        p, n = z[i][same[i] & ~eye[i]], z[i][~same[i]]
        if len(p) and len(n):
            losses.append((n.max() - p.min() + margin).clamp(min=0))
    hard = [loss for loss in losses if loss > 0]
    return sum(hard) / len(hard) if hard else features.sum() * 0


def stale_by_rows(snapshots, labels, tasks):
    stack = torch.stack(list(snapshots))
    old = stack[tasks, torch.arange(len(tasks))]
    z = cosine_similarity(snapshots[-1].double(), old.double()) - 9 * np.eye(len(tasks))
    return float(np.mean(labels.numpy()[z.argmax(1)] == labels.numpy()))


def stale_gathered(snapshots, labels, tasks):
    gallery = torch.zeros_like(snapshots[0])
    for i, task in enumerate(tasks.tolist()):
        gallery[i] = snapshots[task][i]
    z = torch.einsum("id,jd->ij", F.normalize(snapshots[-1]), F.normalize(gallery))
    z[torch.eye(len(z)).bool()] = -2.0
    return labels[z.max(1).indices].eq(labels).sum() / len(labels)


def numpy_masks(labels):
    n = len(labels)
    a = np.ones((n, 2 * n), int)
    np.fill_diagonal(a, 0)
    return a, a * np.equal.outer(labels.numpy(), np.r_[labels.numpy(), labels.numpy()])


def comprehended(found, tasks):
    return [bool(found[t][n]) and not bool(found[-1][n]) for n, t in enumerate(tasks.tolist())]


def hours_by_hand(images, epochs, speeds):
    total = 0
    for n, e, v in zip(images, epochs, speeds, strict=True):
        for _ in range(e):
            total += n / v / 60
    return total / 60


def relation_pairs(student, teacher):
    def distances(x):
        return torch.stack([torch.dist(a, b) for a, b in itertools.combinations(unit(x), 2)])

    a, b = distances(student), distances(teacher.detach())
    return F.huber_loss(a / a.mean(), b / b.mean())


def relation_upper(student, teacher):
    i, j = torch.triu_indices(len(student), len(student), 1)
    a, b = ((2 - 2 * (unit(x)[i] * unit(x)[j]).sum(1)).sqrt() for x in (student, teacher.detach()))
    gap = a / a.mean() - b / b.mean()
    return torch.where(gap.abs() < 1, 0.5 * gap**2, gap.abs() - 0.5).sum() / len(gap)


def kd_pointwise(student_logits, teacher_logits, temperature):
    p = F.softmax(teacher_logits.detach() / temperature, 1)
    log_q = F.log_softmax(student_logits[:, : p.shape[1]] / temperature, 1)
    return F.kl_div(log_q, p, reduction="none").sum() / len(p)


def push_padded(student_logits, teacher_logits, temperature):
    k = teacher_logits.shape[1]
    gap = F.softmax(teacher_logits / temperature, 1) - F.softmax(student_logits[:, :k] / temperature, 1)
    return F.pad(gap / temperature / len(gap), (0, student_logits.shape[1] - k))


def method_by_update(step):
    terms = csd.methods.lwf(step)
    teacher = getattr(step, "teacher", None)
    if teacher:
        terms.update(csd=gathered_csd(step.features, teacher.features, step.labels, 0.07))
    return terms


def method_with_early_return(step, weight=3.0):
    terms = csd.methods.finetune(step)
    if step.teacher is None:
        return terms
    gap = unit(step.features) - unit(step.teacher.features.detach())
    return terms | {"feature": weight * gap.pow(2).sum(-1).mean(0)}


def numpy_herd(features, n):
    """By the mean itself, which is built anew for each candidate."""
    x, chosen = features.numpy(), []
    while len(chosen) < n:
        far = {i: np.linalg.norm(x[[*chosen, i]].mean(0) - x.mean(0)) for i in range(len(x)) if i not in chosen}
        chosen.append(min(far, key=far.get))
    return chosen


def by_scatter(real, real_labels, synthetic, synthetic_labels):
    """The means of all labels up to the largest; those that are not there are 0 on both sides."""
    means = []
    for x, y in ((real, real_labels), (synthetic, synthetic_labels)):
        n = int(synthetic_labels.max()) + 1
        sums = torch.zeros(n, x.shape[1]).index_add(0, y, x)
        means.append(sums / torch.bincount(y, minlength=n).clamp(min=1)[:, None])
    return torch.dist(*means) ** 2


def terms_by_soft_targets(logits, old_logits, maps, old_maps, drawn, labels, feature):
    """With probabilities as targets, which PyTorch's cross-entropy takes, too."""
    (dreams, new), n_all = logits.split([len(drawn), len(labels)]), logits.shape[1]
    share = old_logits.shape[1] / n_all
    targets = F.pad(old_logits.detach()[: len(drawn)].softmax(1), (0, n_all - old_logits.shape[1]))
    gaps = (maps - old_maps.detach()).view(len(maps), -1)[: len(drawn)]
    return {
        "ce": (1 - share) * F.nll_loss(new.log_softmax(1), labels),
        "dreamt kd": share * F.cross_entropy(dreams, targets),
        "dreamt maps": feature * sum(gap.square().sum().sqrt() for gap in gaps) / len(drawn),
    }


VARIANTS = [
    ("first_and_last", lambda matrix, task: (list(zip(*matrix, strict=True))[task][task], matrix[-1][task])),
    ("first_and_last", lambda m, j: np.array(m, dtype=float)[[j, -1], j]),
    ("first_and_last", lambda m, j: [[row[j] for row in m if row[j] is not None][n] for n in (0, -1)]),
    ("lost_queries", comprehended),
    ("lost_queries", lambda found, tasks: torch.logical_and(found[tasks].diagonal(), torch.logical_not(found[-1]))),
    ("lost_queries", lambda found, tasks: found.int()[tasks, range(len(tasks))] - found[-1].int() == 1),
    ("lost_queries", lambda found, tasks: found.T[range(len(tasks)), tasks] > found[-1]),
    ("search", lambda q, g, k: np.argsort(-cosine_similarity(q, g), axis=1)[:, :k]),
    ("search", lambda q, g, k: torch.einsum("id,jd->ij", unit(q), unit(g)).sort(dim=1, descending=True).indices[:, :k]),
    ("search", lambda q, g, k: torch.cdist(unit(q), unit(g)).topk(k, largest=False).indices),
    ("search", lambda q, g, k: NearestNeighbors(metric="cosine").fit(g).kneighbors(q, k, return_distance=False)),
    ("recall_at_k", ranked_recall),
    ("chance_recall", lambda r, g, k: float(1 - special.comb(g - r, k) / special.comb(g, k))),
    ("chance_recall", lambda r, g, k: 1 - math.prod(max(g - r - i, 0) for i in range(k)) / math.perm(g, k)),
    ("chance_recall", lambda r, g, k: 1 - stats.hypergeom(g, r, k).pmf(0)),
    ("chance_recall", lambda r, g, k: 1 - np.prod([max(0, 1 - r / (g - i)) for i in range(k)])),
    ("backward_transfer", lambda m: statistics.mean(m[-1][j] - m[j][j] for j in range(len(m) - 1))),
    ("backward_transfer", lambda m: sum(b - m[j][j] for j, b in enumerate(m[-1])) / (len(m) - 1)),
    (
        "backward_transfer",
        lambda m: np.mean([last - row[j] for j, (row, last) in enumerate(zip(m, m[-1], strict=True))][:-1]),
    ),
    (
        "forgetting",
        lambda m: np.mean([max(r[j] for r in m[:-1] if r[j] is not None) - m[-1][j] for j in range(len(m) - 1)]),
    ),
    ("forgetting", lambda m: float(np.mean((np.fmax.reduce(np.array(m, float)[:-1]) - np.array(m, float)[-1])[:-1]))),
    ("lost_and_won", lambda r, t: ((r[t].diagonal() == 1) & (r[-1] > 1), (r[t].diagonal() > 1) & (r[-1] == 1))),
    ("lost_and_won", lambda r, t: torch.stack([(a := r.gather(0, t[None])[0] == 1) > (b := r[-1] == 1), b > a])),
    ("temperature_softmax", lambda z, t: special.softmax(z.numpy() / t, axis=1)),
    ("temperature_softmax", lambda z, t: (z / t - torch.logsumexp(z / t, 1, keepdim=True)).exp()),
    ("temperature_softmax", lambda z, t: torch.stack([F.softmax(row / t, dim=0) for row in z])),
    ("temperature_softmax", lambda z, t: F.softmax(z.double() / t, -1)),
    ("distillation", kd_pointwise),
    ("distillation", lambda s, t, tau: kd_pointwise(s.double(), t.double(), tau).mean()),
    ("push", push_padded),
    ("push", lambda s, t, tau: torch.cat([push_padded(s[:, : t.shape[1]], t, tau), 0 * s[:, t.shape[1] :]], 1)),
    ("triplet", einsum_triplet),
    ("contrast_masks", numpy_masks),
    (
        "contrast_masks",
        lambda y: torch.stack([(a := ~torch.eye(len(y), 2 * len(y)).bool()), a & (y[:, None] == torch.cat([y, y]))]),
    ),
    ("csd", pairs_csd),
    ("csd", gathered_csd),
    ("my_csd", method_by_update),
    ("mean_displacement", lambda x, y: np.mean([distance.cosine(a, b) for a, b in zip(x, y, strict=True)])),
    ("mean_displacement", lambda x, y: 1 - torch.einsum("id,id->i", unit(x), unit(y)).mean()),
    ("mean_displacement", lambda x, y: 1 - np.mean(np.diag(cosine_similarity(x, y)))),
    ("mean_displacement", lambda x, y: 1 - (unit(x) @ unit(y).T).trace() / len(x)),
    ("linear_cka", lambda x, y: csd.drift.linear_cka(y, x)),
    (
        "linear_cka",
        lambda x, y: (
            (a := (x - x.mean(0)).double(), b := (y - y.mean(0)).double())
            and F.cosine_similarity((a @ a.T).flatten(), (b @ b.T).flatten(), dim=0)
        ),
    ),
    (
        "linear_cka",
        lambda x, y: (
            (np.cov(x.T.double(), y.T.double())[: x.shape[1], x.shape[1] :] ** 2).sum()
            / np.linalg.norm(np.cov(x.T.double()))
            / np.linalg.norm(np.cov(y.T.double()))
        ),
    ),
    ("neighbor_overlap", sets_of_neighbours),
    ("stale_recall", stale_by_rows),
    ("stale_recall", stale_gathered),
    ("representatives", speakers_by_lists),
    ("representatives", lambda x, n: speakers_by_lists(x, n).numpy()),
    ("translate", ridge_translation),
    ("translate", dual_translation),
    ("t_interval", lambda v: stats.t(df=len(v) - 1, loc=np.mean(v), scale=stats.sem(v)).interval(0.95)),
    (
        "t_interval",
        lambda v: [np.mean(v) + q * np.std(v, ddof=1) / len(v) ** 0.5 for q in stats.t.ppf([0.025, 0.975], len(v) - 1)],
    ),
    (
        "t_interval",
        lambda v: (
            (m := statistics.mean(v), h := stats.t.ppf(0.975, len(v) - 1) * statistics.stdev(v) / math.sqrt(len(v)))
            and (m - h, m + h)
        ),
    ),
    (
        "paired_difference",
        lambda a, b: ((d := a - b).mean(), *stats.t.interval(0.95, len(d) - 1, d.mean(), stats.sem(d))),
    ),
    (
        "paired_difference",
        lambda a, b: [np.mean(a) - np.mean(b), *stats.ttest_1samp(a - b, 0).confidence_interval(0.95)],
    ),
    ("training_hours", hours_by_hand),
    ("training_hours", lambda n, e, v: np.sum(np.array(n) * np.array(e) / np.array(v)) / 3600),
    ("training_hours", lambda n, e, v: math.fsum(map(lambda a, b, c: a * b / c / 60 / 60, n, e, v))),
    ("feature_distance", lambda s, t: F.mse_loss(unit(s), unit(t.detach()), reduction="sum") / len(s)),
    (
        "feature_distance",
        lambda s, t: torch.stack([(a - b).dot(a - b) for a, b in zip(unit(s), unit(t.detach()), strict=True)]).mean(),
    ),
    ("feature_distance", lambda s, t: F.pairwise_distance(unit(s), unit(t.detach()), eps=0).pow(2).mean()),
    ("feature_distillation", method_with_early_return),
    ("relation_distance", relation_pairs),
    ("relation_distance", relation_upper),
    ("herd", numpy_herd),
    ("dm_loss", by_scatter),
    (
        "dm_loss",
        lambda r, ry, s, sy: sum((r[ry == c].mean(0) - s[sy == c].mean(0)).pow(2).sum() for c in sy.unique()),
    ),
    ("as_bytes", lambda pixels: torch.round(255 * pixels).clip(0, 255).byte()),
    ("worth_in_images", lambda n, shape: np.int64(n * np.dtype("f4").itemsize) // (int(np.prod(shape)) + 8)),
    ("worth_in_images", lambda n, shape: divmod(4 * n, shape[0] * shape[1] * shape[2] + 8)[0]),
    (
        "discriminator_loss",
        lambda real, fake: (1 + (-real.double()).exp()).log().mean() + F.softplus(fake.double()).mean(),
    ),
    (
        "discriminator_loss",
        lambda real, fake: torch.logaddexp(-real, 0 * real).mean() + F.softplus(fake).sum() / len(fake),
    ),
    ("replay_terms", terms_by_soft_targets),
]
