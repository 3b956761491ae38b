"""What students answer: a right answer to each exercise, others in other styles, and a wrong one for each mistake.

The wrong answers are edits of a right one that is written with loops, as a student would. None of them uses the
library's code or the functions by which the checks know their mistakes.
"""

from __future__ import annotations

import contextlib
import linecache
import math
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats

import csd_edu as csd
from csd_edu import check, small
from csd_edu.check.verdict import Verdict
from csd_edu.methods.dm import distribution_matching
from csd_edu.methods.genifer import dreamt_distillation, map_distance
from csd_edu.methods.paws import snn_predict
from csd_edu.methods.random_images import herd as library_herd
from csd_edu.methods.xder import rewrite_logits

Function = Callable[..., Any]
Edits = str | Sequence[str]  # a source of its own, or what is replaced in the right answer: old, new, old, new, …


def checked(name: str, f: Any) -> Verdict:
    """Return what the check of that name says of a function."""
    verdict = getattr(check, name)(f)
    assert isinstance(verdict, Verdict)
    assert verdict.exercise == name
    return verdict


def passes(name: str, f: Any) -> None:
    """Assert that a function passes, and that it is told what was tested."""
    verdict = checked(name, f)
    assert verdict.passed, verdict
    assert verdict.mistake is verdict.case is None
    assert verdict.tested == check.EXERCISES[name].tested
    assert verdict.tested in repr(verdict)


def function(source: str) -> Function:
    """Return the function that a source defines, as a cell of a notebook would."""
    namespace: dict[str, Any] = {"torch": torch, "F": F, "np": np, "math": math, "stats": stats}
    before = set(namespace)
    name = f"<cell {len(linecache.cache)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # as IPython keeps its cells
    exec(compile(source, name, "exec"), namespace)
    return next(value for name, value in namespace.items() if name not in before and callable(value))


def edited(source: str, *edits: str) -> Function:
    """Return the function of a source in which texts (old, new, old, new, …) were replaced; each must be there."""
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert old in source, old
        source = source.replace(old, new)
    return function(source)


def wrong_answer(name: str, mistake: str) -> Function:
    """Return the function of an exercise that makes a mistake of its table."""
    how = WRONG[name][mistake]
    return function(how) if isinstance(how, str) else edited(RIGHT[name], *how)


def edits(text: str) -> dict[str, Edits]:
    """Return wrong answers by mistake, from lines "mistake | old => new | old => new", which may go on in the next."""
    return dict(entries(text))


def entries(text: str) -> list[tuple[str, Edits]]:
    """Return the same as pairs: a mistake may be there more than once."""
    found: list[tuple[str, Edits]] = []
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(text).strip()):
        mistake, *changes = " ".join(line.strip() for line in entry.splitlines()).split(" | ")
        found.append((mistake, [part.strip() for change in changes for part in change.split(" =>")]))
    return found


RIGHT = {
    "first_and_last": """
def ends(matrix, task):
    column = [row[task] for row in matrix]
    first = column[task]
    last = column[len(matrix) - 1]
    return first, last
""",
    "lost_queries": """
def lost(found, tasks):
    T, N = found.shape
    mask = []
    for n in range(N):
        t = int(tasks[n])
        then, now = bool(found[t, n]), bool(found[T - 1, n])
        mask.append(then and not now)
    return torch.tensor(mask)
""",
    "search": """
def find(queries, gallery, k):
    a = queries / queries.norm(dim=1, keepdim=True)
    b = gallery / gallery.norm(dim=1, keepdim=True)
    found = []
    for query in a:
        similarity = [float(query @ item) for item in b]
        order = sorted(range(len(b)), key=lambda j: -similarity[j])
        found.append(order[:k])
    return found
""",
    "recall_at_k": """
def recall(queries, query_labels, gallery, gallery_labels, k, exclude_self=False):
    queries = queries / queries.norm(dim=1, keepdim=True)
    gallery = gallery / gallery.norm(dim=1, keepdim=True)
    hits = []
    for i in range(len(queries)):
        items = []
        for j in range(len(gallery)):
            if exclude_self and i == j:
                continue
            similarity = float(queries[i] @ gallery[j])
            right = bool(query_labels[i] == gallery_labels[j])
            items.append((-round(similarity, 5), right, j))
        if not any(right for _, right, _ in items):
            continue
        answers = [right for _, right, _ in sorted(items)[:k]]
        hits.append(any(answers))
    return sum(hits) / len(hits)
""",
    "chance_recall": """
def chance(n_right, n_gallery, k):
    n_wrong = n_gallery - n_right
    miss = 1.0
    for i in range(k):
        miss *= (n_wrong - i) / (n_gallery - i)
        if miss == 0:
            break
    return 1 - miss
""",
    "backward_transfer": """
def transfer(matrix):
    n = len(matrix)
    total = 0.0
    for j in range(n - 1):
        first, last = matrix[j][j], matrix[n - 1][j]
        total += last - first
    return total / (n - 1)
""",
    "forgetting": """
def forgotten(matrix):
    n = len(matrix)
    total = 0.0
    for j in range(n - 1):
        before = [matrix[i][j] for i in range(n - 1) if matrix[i][j] is not None]
        total += max(before) - matrix[n - 1][j]
    return total / (n - 1)
""",
    "lost_and_won": """
def changed(ranks, tasks):
    T, N = ranks.shape
    lost, won = [], []
    for n in range(N):
        t = int(tasks[n])
        before, after = int(ranks[t, n]), int(ranks[T - 1, n])
        then, now = before == 1, after == 1
        lost.append(then and not now)
        won.append(now and not then)
    return torch.tensor(lost), torch.tensor(won)
""",
    "temperature_softmax": """
def soft(logits, temperature):
    z = logits / temperature
    z = z - z.max(dim=1, keepdim=True).values
    e = torch.exp(z)
    return e / e.sum(dim=1, keepdim=True)
""",
    "distillation": """
def kd(student_logits, teacher_logits, temperature):
    old = teacher_logits.shape[1]
    s = student_logits[:, :old] / temperature
    t = teacher_logits.detach() / temperature
    log_q = s - torch.logsumexp(s, dim=1, keepdim=True)
    log_p = t - torch.logsumexp(t, dim=1, keepdim=True)
    p = log_p.exp()
    return (p * (log_p - log_q)).sum(dim=1).mean()
""",
    "push": """
def push(student_logits, teacher_logits, temperature):
    size, old = teacher_logits.shape
    result = torch.zeros(student_logits.shape)
    for i in range(size):
        t = teacher_logits[i] / temperature
        s = student_logits[i, :old] / temperature
        p = (t - t.max()).exp()
        q = (s - s.max()).exp()
        p = p / p.sum()
        q = q / q.sum()
        for c in range(old):
            result[i, c] = (p[c] - q[c]) / (temperature * size)
    return result
""",
    "triplet": """
def hard(features, labels, margin):
    f = features / features.norm(dim=1, keepdim=True)
    losses = []
    for i in range(len(f)):
        positives = [f[i] @ f[j] for j in range(len(f)) if labels[j] == labels[i] and j != i]
        negatives = [f[i] @ f[j] for j in range(len(f)) if labels[j] != labels[i]]
        if positives and negatives:
            loss = max(negatives) - min(positives) + margin
            if loss > 0:
                losses.append(loss)
    return torch.stack(losses).mean() if losses else 0 * features.sum()
""",
    "contrast_masks": """
def masks(labels):
    n = len(labels)
    contrast, positive = [], []
    for i in range(n):
        a, p = [], []
        for j in range(2 * n):
            same = bool(labels[j % n] == labels[i])
            itself = j == i
            own = j == i + n
            a.append(not itself)
            p.append(same and not itself)
        contrast.append(a)
        positive.append(p)
    return torch.tensor(contrast), torch.tensor(positive)
""",
    "csd": """
def contrast(student, teacher, labels, temperature):
    s = student / student.norm(dim=1, keepdim=True)
    t = teacher.detach() / teacher.detach().norm(dim=1, keepdim=True)
    losses = []
    for i in range(len(s)):
        others = [j for j in range(len(s)) if j != i]
        candidates = torch.cat([s[others], t])
        positive = torch.cat([labels[others], labels]) == labels[i]
        logits = candidates @ s[i] / temperature
        log_p = logits - torch.logsumexp(logits, dim=0)
        losses.append(-log_p[positive].mean())
    return torch.stack(losses).mean()
""",
    "my_csd": """
def method(step):
    def unit(x):
        return x / x.norm(dim=1, keepdim=True)

    def contrast(s, t, temperature):
        s, t = unit(s), unit(t.detach())
        losses = []
        for i in range(len(s)):
            others = [j for j in range(len(s)) if j != i]
            logits = torch.cat([s[others], t]) @ s[i] / temperature
            mine = torch.cat([step.labels[others], step.labels]) == step.labels[i]
            losses.append(-torch.log_softmax(logits, dim=0)[mine].mean())
        return torch.stack(losses).mean()

    f, y = unit(step.features), step.labels
    gaps = []
    for i in range(len(f)):
        near = [f[i] @ f[j] for j in range(len(f)) if y[j] == y[i] and j != i]
        far = [f[i] @ f[j] for j in range(len(f)) if y[j] != y[i]]
        if near and far and max(far) - min(near) + 1 > 0:
            gaps.append(max(far) - min(near) + 1)
    terms = {"ce": F.cross_entropy(step.logits, y), "triplet": torch.stack(gaps).mean()}
    if step.teacher is not None:
        known = step.teacher.logits.shape[1]
        p = torch.softmax(step.teacher.logits / 2, dim=1)
        q = torch.softmax(step.logits[:, :known] / 2, dim=1)
        terms["kd"] = (p * (p.log() - q.log())).sum(dim=1).mean()
        terms["csd"] = contrast(step.features, step.teacher.features, 0.07)
    return terms
""",
    "mean_displacement": """
def displacement(x, y):
    total = 0.0
    for a, b in zip(x, y):
        cosine = (a * b).sum() / (a.norm() * b.norm())
        total += float(1 - cosine)
    return total / len(x)
""",
    "linear_cka": """
def cka(x, y):
    x = x - x.mean(dim=0)
    y = y - y.mean(dim=0)
    top = ((x.T @ y) ** 2).sum()
    below_x = ((x.T @ x) ** 2).sum().sqrt()
    below_y = ((y.T @ y) ** 2).sum().sqrt()
    return float(top / (below_x * below_y))
""",
    "neighbor_overlap": """
def overlap(x, y, k):
    def near(features, i):
        unit = features / features.norm(dim=1, keepdim=True)
        similarity = unit @ unit[i]
        others = [j for j in range(len(features)) if j != i]
        return sorted(others, key=lambda j: -float(similarity[j]))[:k]

    shares = []
    for i in range(len(x)):
        before, after = near(x, i), near(y, i)
        kept = [j for j in before if j in after]
        shares.append(len(kept) / k)
    return shares
""",
    "stale_recall": """
def stale(snapshots, labels, tasks):
    hits = []
    for i in range(len(labels)):
        query = snapshots[-1][i]
        best, answer = -1e9, None
        for j in range(len(labels)):
            if i == j:
                continue
            item = snapshots[int(tasks[j])][j]
            similarity = float(torch.cosine_similarity(query, item, dim=0))
            if similarity > best:
                best, answer = similarity, labels[j]
        hits.append(float(answer == labels[i]))
    return sum(hits) / len(hits)
""",
    "representatives": """
def speakers(features, n):
    unit = features / features.norm(dim=1, keepdim=True)
    N = len(unit)
    similar = [[float(unit[i] @ unit[j]) for j in range(N)] for i in range(N)]
    served = [-1.0] * N
    chosen = []
    for step in range(n):
        best, most = None, -1e9
        for j in range(N):
            gain = 0.0
            for i in range(N):
                gain += max(0.0, similar[i][j] - served[i])
            if gain > most:
                best, most = j, gain
        chosen.append(best)
        served = [max(served[i], similar[i][best]) for i in range(N)]
    return chosen
""",
    "translate": """
def translated(gallery, old, new, ridge):
    gallery, old, new = gallery.double(), old.double(), new.double()
    D = old.shape[1]
    away, home = old.mean(dim=0), new.mean(dim=0)
    A, B = old - away, new - home
    M, R = torch.zeros(D, D).double(), torch.zeros(D, D).double()
    for a, b in zip(A, B):
        M += a[:, None] * a
        R += a[:, None] * b
    for d in range(D):
        M[d, d] += ridge
    W = torch.linalg.inv(M) @ R
    rows = [(g - away) @ W + home for g in gallery]
    return torch.stack(rows)
""",
    "t_interval": """
def interval(values):
    n = len(values)
    mean = sum(values) / n
    s2 = sum((x - mean) ** 2 for x in values) / (n - 1)
    s = s2 ** 0.5
    t = stats.t(n - 1).ppf(0.975)
    margin = t * s / n ** 0.5
    return mean - margin, mean + margin
""",
    "paired_difference": """
def paired(a, b):
    d = [x - y for x, y in zip(a, b)]
    n = len(d)
    mean = sum(d) / n
    s = (sum((x - mean) ** 2 for x in d) / (n - 1)) ** 0.5
    t = stats.t(n - 1).ppf(0.975)
    margin = t * s / n ** 0.5
    return mean, mean - margin, mean + margin
""",
    "training_hours": """
def hours(images, epochs, speeds):
    total = 0.0
    for task in range(len(images)):
        passed = images[task] * epochs[task]
        total += passed / speeds[task]
    return total / 3600
""",
    "epochs_left": """
import json

def left(folder):
    about = json.loads((folder / "config.json").read_text())
    plan = [about["config"]["later_epochs"] for _ in about["stream"]["tasks"]]
    plan[0] = about["config"]["epochs"]
    done = [0] * len(plan)
    for line in (folder / "records.jsonl").read_text().splitlines() if (folder / "records.jsonl").exists() else []:
        record = json.loads(line)
        if record["kind"] == "epoch":
            done[record["task"]] += 1
    result = []
    for task in range(len(plan)):
        result.append(plan[task] - done[task])
    return result
""",
    "train_until": """
import csd_edu as csd

def until(n, stream, method, config, folder):
    records = csd.training(stream, method, config, out=folder)
    done = 0
    for old in csd.Run.load(folder).records:
        done += old["kind"] == "epoch"
    while done < n:
        record = next(records, None)
        if record is None:
            break
        if record["kind"] == "epoch":
            done += 1
    records.close()
""",
    "feature_distance": """
def distance(student, teacher):
    teacher = teacher.detach()
    total = 0
    for s, t in zip(student, teacher):
        gap = s / s.norm() - t / t.norm()
        total = total + sum(x ** 2 for x in gap)
    return total / len(student)
""",
    "feature_distillation": """
def method(step, weight=3.0):
    terms = {"ce": F.cross_entropy(step.logits, step.labels), "triplet": triplet(step.features, step.labels)}
    if step.teacher is not None:
        s, t = step.features, step.teacher.features.detach()
        gap = s / s.norm(dim=1, keepdim=True) - t / t.norm(dim=1, keepdim=True)
        terms["feature"] = weight * (gap ** 2).sum() / len(s)
    return terms

def triplet(features, labels):
    f = features / features.norm(dim=1, keepdim=True)
    gaps = []
    for i in range(len(f)):
        near = [f[i] @ f[j] for j in range(len(f)) if labels[j] == labels[i] and j != i]
        far = [f[i] @ f[j] for j in range(len(f)) if labels[j] != labels[i]]
        if near and far and max(far) - min(near) + 1 > 0:
            gaps.append(max(far) - min(near) + 1)
    return torch.stack(gaps).mean()
""",
    "relation_distance": """
def distance(student, teacher):
    def relations(rows):
        rows = [row / row.norm() for row in rows]
        found = []
        for i in range(len(rows)):
            for j in range(i + 1, len(rows)):
                found.append((rows[i] - rows[j]).norm())
        mean = sum(found) / len(found)
        return [d / mean for d in found]

    total, pairs = 0, list(zip(relations(student), relations(teacher.detach())))
    for a, b in pairs:
        gap = abs(a - b)
        total = total + (gap ** 2 / 2 if gap <= 1 else gap - 0.5)
    return total / len(pairs)
""",
    "images_that_fit": """
def fit(n_bytes, side, channels, label_bytes):
    one = label_bytes
    for row in range(side):
        one += side * channels
    n = 0
    while n_bytes >= one:
        n_bytes -= one
        n += 1
    return n
""",
    "shrink": """
def smaller(images, side):
    B, C, H, _ = images.shape
    k = H // side
    out = torch.zeros(B, C, side, side, dtype=torch.uint8)
    for b in range(B):
        for c in range(C):
            for i in range(side):
                for j in range(side):
                    block = images[b, c, k * i : k * (i + 1), k * j : k * (j + 1)].tolist()
                    numbers = [n for row in block for n in row]
                    out[b, c, i, j] = round(sum(numbers) / len(numbers))
    return out
""",
    "kept_per_class": """
def counts(labels, size):
    memory = []
    for label in labels:
        if len(memory) >= size:
            numbers = [memory.count(c) for c in range(max(labels) + 1)]
            most = max(numbers)
            if numbers[label] == most:
                continue
            memory.remove(numbers.index(most))
        memory.append(label)
    return [memory.count(c) for c in range(max(labels) + 1)]
""",
    "herd": """
def herd(features, n):
    N, D = features.shape
    mean = [sum(float(features[i, d]) for i in range(N)) / N for d in range(D)]
    chosen = []
    for k in range(1, n + 1):
        best, least = None, math.inf
        for i in range(N):
            if i in chosen:
                continue
            group = chosen + [i]
            gap = [mean[d] - sum(float(features[j, d]) for j in group) / k for d in range(D)]
            far = sum(x ** 2 for x in gap)
            if far < least:
                best, least = i, far
        chosen.append(best)
    return chosen
""",
    "dm_loss": """
def loss(real, real_labels, synthetic, synthetic_labels):
    total = 0
    for c in sorted(set(synthetic_labels.tolist())):
        a = [x for x, y in zip(real, real_labels) if y == c]
        b = [x for x, y in zip(synthetic, synthetic_labels) if y == c]
        gap = sum(a) / len(a) - sum(b) / len(b)
        here = sum(x ** 2 for x in gap)
        total = total + here
    return total
""",
    "as_bytes": """
def stored(pixels):
    found = []
    for x in pixels.flatten().tolist():
        value = round(x * 255)
        value = min(max(value, 0), 255)
        found.append(value % 256)
    return torch.tensor(found, dtype=torch.uint8).reshape(pixels.shape)
""",
    "reservoir": """
def keep(draws, size):
    memory = []
    n = 0
    while n < len(draws):
        if n < size:
            memory = memory + [n]
        else:
            r = math.floor(draws[n] * (n + 1))
            if r < size:
                memory[r] = n
        n += 1
    return memory
""",
    "rewrite_logits": """
def revised(stored, current, labels, lo, hi, gamma):
    rows = []
    for i in range(len(stored)):
        row = [float(z) for z in stored[i]]
        new = [float(z) for z in current[i]]
        top = max(new[lo:hi])
        limit = max(gamma * row[labels[i]], 0)
        factor = 1
        if top > limit:
            factor = limit / top
        for k in range(lo, hi):
            row[k] = new[k] * factor
        rows.append(row)
    return torch.tensor(rows)
""",
    "past_hinge": """
def below(logits, labels, n_past, margin):
    losses = []
    for i in range(len(logits)):
        true = logits[i, labels[i]]
        old = max([logits[i, k] for k in range(n_past)])
        gap = old + margin - true
        if gap > 0:
            losses.append(gap)
    if not losses:
        return 0 * logits.sum()
    return sum(losses) / len(losses)
""",
    "snn_predict": """
def vote(queries, supports, onehot, temperature):
    rows = []
    for q in queries:
        cosines = torch.stack([q @ s / (q.norm() * s.norm()) for s in supports])
        z = cosines / temperature
        e = torch.exp(z - z.max())
        w = e / e.sum()
        rows.append(sum(w[j] * onehot[j] for j in range(len(w))))
    return torch.stack(rows)
""",
    "sharpen": """
def sharper(p, temperature):
    rows = []
    for row in p:
        powers = [float(x) ** (1 / temperature) for x in row]
        rows.append([x / sum(powers) for x in powers])
    return torch.tensor(rows)
""",
    "spread": """
def even(p):
    n, n_classes = p.shape
    total = 0 * p.sum()
    for c in range(n_classes):
        m = sum(p[i, c] for i in range(n)) / n
        if m > 0:
            total = total + m * torch.log(m)
    return total
""",
    "worth_in_images": """
def worth(n_parameters, image_shape):
    c, h, w = image_shape
    budget = n_parameters * 4
    one = c * h * w * 1 + 8
    count = 0
    while (count + 1) * one <= budget:
        count += 1
    return count
""",
    "discriminator_loss": """
def loss(real, fake):
    def surprise(x):
        return torch.relu(-x) + torch.log1p(torch.exp(-x.abs()))

    up = sum(surprise(s) for s in real) / len(real)
    down = sum(surprise(-s) for s in fake) / len(fake)
    return up + down
""",
    "replay_terms": """
def terms(logits, old_logits, maps, old_maps, drawn, labels, feature):
    n, known, all = len(drawn), old_logits.shape[1], logits.shape[1]
    w_old, w_new = known / all, (all - known) / all
    kd, moved, ce = 0, 0, 0
    for i in range(n):
        t = torch.softmax(old_logits[i].detach(), dim=0)
        p = torch.log_softmax(logits[i], dim=0)
        kd = kd - sum(t[k] * p[k] for k in range(known))
        gap = maps[i] - old_maps[i].detach()
        moved = moved + (gap ** 2).sum().sqrt()
    for i in range(n):
        p = torch.log_softmax(logits[n + i], dim=0)
        ce = ce - p[labels[i]]
    return {"ce": w_new * ce / n, "dreamt kd": w_old * kd / n, "dreamt maps": feature * moved / n}
""",
}

# By exercise and mistake: edits of the right answer, or a source of its own.
WRONG: dict[str, dict[str, Edits]] = {
    "first_and_last": edits("""
    a row instead of a column | [row[task] for row in matrix] => matrix[task]
    the first number is of task 0 | first = column[task] => first = matrix[0][0]
    the column begins in row 0 | first = column[task] => first = column[0]
    the last number is one row too early | len(matrix) - 1 => len(matrix) - 2
    the last number is of the newest task | last = column[ => last = matrix[-1][
    the last number is of task 0 | column[len(matrix) - 1] => matrix[len(matrix) - 1][0]
    first and last swapped | first, last => last, first
    the best instead of the first | column[task] => max(value for value in column if value is not None)
    the lowest instead of the last | last = column[len(matrix) - 1] => last = min(x for x in column if x is not None)
    zeros skipped | first = column[task] => column = [x for x in column if x]; first = column[0]
        | column[len(matrix) - 1] => column[-1]
    the difference instead of both numbers | return first, last => return first - last
    the whole column | return first, last => return column
    the column from the task on | return first, last => return column[task:]
    """),
    "lost_queries": edits("""
    lost at any later time | bool(found[T - 1, n]) => all(found[i, n] for i in range(t + 1, T))
    every query starts after task 0 | t = int(tasks[n]) => t = 0
    found at any time before the end | bool(found[t, n]) => any(found[i, n] for i in range(T - 1))
    the won queries | then and not now => now and not then
    the kept queries | then and not now => then and now
    never found counts as lost | then and not now => not now
    found after the own task, whatever came later | then and not now => then
    changed either way | then and not now => then != now
    compared with the task after | found[T - 1, n] => found[min(t + 1, T - 1), n]
    one row too late | found[t, n] => found[min(t + 1, T - 1), n]
    numbers of the queries instead of a mask
        | return torch.tensor(mask) => return torch.tensor(mask).nonzero().flatten()
    how many instead of which | return torch.tensor(mask) => return sum(mask)
    """)
    | {
        "a whole row for each query": "def f(found, tasks):\n    return found[tasks] & ~found[-1]\n",
    },
    "search": edits("""
    dot product instead of cosine | b = gallery / gallery.norm(dim=1, keepdim=True) => b = gallery
    Euclidean distance of unscaled features | a = queries / queries.norm(dim=1, keepdim=True) => a = queries
        | b = gallery / gallery.norm(dim=1, keepdim=True) => b = gallery
        | float(query @ item) => -float((query - item).norm())
    least similar first | -similarity[j] => similarity[j]
    answers in reverse order | order[:k] => order[:k][::-1]
    normalised along the wrong axis | dim=1 => dim=0
    first answer skipped | order[:k] => order[1 : k + 1]
    """),
    "recall_at_k": edits("""
    the query itself counted as a hit | if exclude_self and i == j: => if False:
    wrong items set to similarity 0 | answers = [right for _, right, _ in sorted(items)[:k]]
        => best = min(a * right for a, right, _ in items); answers = [sum(not r and a <= best for a, r, _ in items) < k]
    the query itself set to similarity 0 | continue => items.append((-0.0, True, j)); continue
    dot product instead of cosine | queries = queries / queries.norm(dim=1, keepdim=True) =>
        | gallery = gallery / gallery.norm(dim=1, keepdim=True) =>
    Euclidean distance of unscaled features | queries = queries / queries.norm(dim=1, keepdim=True) =>
        | gallery = gallery / gallery.norm(dim=1, keepdim=True) =>
        | float(queries[i] @ gallery[j]) => -float((queries[i] - gallery[j]).norm())
    normalised along the wrong axis | dim=1 => dim=0
    least similar first | -round( => round(
    k off by one: one too many | [:k]] => [: k + 1]]
    first answer always skipped | sorted(items)[:k] => sorted(items)[0 if exclude_self else 1 :][:k]
    only the k-th answer looked at | any(answers) => answers[-1]
    precision instead of recall | any(answers) => sum(answers) / k
    all k answers must be right | any(answers) => all(answers)
    share of the positives found | any(answers) => sum(answers) / sum(item[1] for item in items)
    number of hits instead of their share | sum(hits) / len(hits) => sum(hits)
    percent instead of a share | sum(hits) / len(hits) => 100 * sum(hits) / len(hits)
    queries and gallery swapped
        | hits = []
        => queries, gallery, query_labels, gallery_labels = gallery, queries, gallery_labels, query_labels; hits = []
    equal but for the last digit | -round(similarity, 5) => -similarity
    ties helped the query | sorted(items) => sorted(items, key=lambda item: (item[0], not item[1]))
    the first answer taken for the query itself | if exclude_self and i == j: => if False:
        | sorted(items)[:k] => sorted(items)[int(exclude_self) :][:k]
        | not any(right for _, right, _ in items) => sum(right for _, right, _ in items) == int(exclude_self)
    a query with nothing to find counted as a miss | if not any(right for _, right, _ in items): => if False:
    """),
    "chance_recall": edits("""
    R / G for every k | return 1 - miss => return n_right / n_gallery
    k times R / G | return 1 - miss => return sum(n_right / n_gallery for _ in range(k))
    k times R / G, at most 1 | return 1 - miss => return min(1, n_right * k / n_gallery)
    drawn with replacement | (n_wrong - i) / (n_gallery - i) => n_wrong / n_gallery
    the gallery does not get smaller | (n_gallery - i) => n_gallery
    the wrong ones do not get fewer | (n_wrong - i) / => n_wrong /
    chance of no hit | return 1 - miss => return miss
    all k must be right | (n_wrong - i) => (n_right - i) | return 1 - miss => return miss
    one minus all right | (n_wrong - i) => (n_right - i)
    the query taken out once more | miss = 1.0 => miss = 1.0; n_gallery, n_right = n_gallery - 1, n_right - 1
    percent instead of a share | return 1 - miss => return 100 - 100 * miss
    """)
    | {
        "exactly one right item": """
def f(n_right, n_gallery, k):
    p = 0.0
    for place in range(k):
        q, wrong, left = 1.0, n_gallery - n_right, n_gallery
        for i in range(k):
            if i == place:
                q *= n_right / left
            else:
                q *= max(wrong, 0) / left
                wrong -= 1
            left -= 1
        p += q
    return p
""",
        "more items shown than there are wrong ones": """
def f(n_right, n_gallery, k):
    n_wrong = n_gallery - n_right
    choices = lambda n: math.factorial(n) // math.factorial(k) // math.factorial(n - k)
    return 1 - choices(n_wrong) / choices(n_gallery)
""",
    },
    "backward_transfer": edits("""
    zeros skipped | total += last - first => total += last - first if first else 0
    diagonal minus last row | last - first => first - last
    divided by T | total / (n - 1) => total / n
    added up, not averaged | total / (n - 1) => total
    starts from the best value | matrix[j][j] => max(matrix[i][j] for i in range(j, n - 1))
    starts from the row before the last | matrix[j][j] => matrix[n - 2][j]
    ends one task later | matrix[n - 1][j] => matrix[j + 1][j]
    the first task alone | range(n - 1) => range(1) | total / (n - 1) => total
    changes without their sign | last - first => abs(last - first)
    gains are left out | last - first => min(0, last - first)
    divided by the first value | last - first => (last - first) / first
    the last row alone | last - first => last
    """),
    "forgetting": edits("""
    zeros skipped | if matrix[i][j] is not None] => if matrix[i][j]]
    the best includes the last row | i in range(n - 1) if => i in range(n) if
    only from the task's own row on | for i in range(n - 1) if => for i in range(j, n - 1) if
    the mean instead of the best | max(before) => np.mean(before)
    the first value instead of the best | max(before) => before[0]
    first minus last | max(before) => matrix[j][j]
    averaged over all T tasks | total / (n - 1) => total / n
    sign swapped | max(before) - matrix[n - 1][j] => matrix[n - 1][j] - max(before)
    rows and columns swapped
        | [matrix[i][j] for i in range(n - 1) if matrix[i][j] is not None]
        => [matrix[j][i] for i in range(n - 1) if matrix[j][i] is not None] | matrix[n - 1][j] => matrix[j][n - 1]
    compared with the task just before | max(before) => before[-1]
    sum instead of mean | total / (n - 1) => total
    only the first task | range(n - 1): => range(1): | total / (n - 1) => total
    relative to the best | max(before) - matrix[n - 1][j] => 1 - matrix[n - 1][j] / max(before)
    best minus worst | matrix[n - 1][j] => min(matrix[i][j] for i in range(j, n))
    best of the whole matrix
        | [matrix[i][j] for i in range(n - 1) if matrix[i][j] is not None]
        => [value for row in matrix[:-1] for value in row if value is not None]
    """),
    "lost_and_won": edits("""
    lost at any later time | then and not now => then and any(ranks[i, n] > 1 for i in range(t + 1, T))
    won at any later time | now and not then => not then and any(ranks[i, n] == 1 for i in range(t + 1, T))
    won before lost | return torch.tensor(lost), torch.tensor(won) => return torch.tensor(won), torch.tensor(lost)
    every query starts after task 0 | t = int(tasks[n]) => t = 0
    found at any time before the end | int(ranks[t, n]) => int(ranks[:-1, n].min())
    compared with the row before the last | ranks[t, n] => ranks[T - 2, n]
    one row too late | ranks[t, n] => ranks[min(t + 1, T - 1), n]
    rank larger or smaller than before | then and not now => after > before | now and not then => before > after
    not found in the end, found in the end | then and not now => not now | now and not then => now
    found then, found now | then and not now => then | now and not then => now
    kept and missed | then and not now => then and now | now and not then => not (then or now)
    rank 2 counts as found | before == 1, after == 1 => before < 3, after < 3
    the lost ones only | , torch.tensor(won) =>
    how many instead of which | torch.tensor(lost), torch.tensor(won) => sum(lost), sum(won)
    """)
    | {
        "whole rows for each query": """
def f(ranks, tasks):
    then, now = ranks[tasks] == 1, ranks[-1] == 1
    return then & ~now, ~then & now
""",
    },
    "temperature_softmax": edits("""
    no temperature | z = logits / temperature => z = logits | torch.exp(z) => torch.exp(z) / temperature
    multiplied by the temperature | logits / temp => logits * temp
    temperature outside the exponent | logits / temperature => logits | return e / => return e / temperature /
    normalised along the wrong axis | dim=1 => dim=0
    log-probabilities | return e / e.sum(dim=1, keepdim=True) => return z - e.sum(dim=1, keepdim=True).log()
    not normalised | z = z - z.max(dim=1, keepdim=True).values => | return e / e.sum(dim=1, keepdim=True) => return e
    the largest of the whole batch subtracted | z.max(dim=1, keepdim=True).values => z.max()
    the largest subtracted before the division | z - z.max( => z - logits.max(
    exp overflows | z = z - z.max(dim=1, keepdim=True).values =>
    """),
    "distillation": edits("""
    factor T² | .mean() => .mean() * temperature ** 2
    KL reversed | (p * (log_p - log_q)) => (log_q.exp() * (log_q - log_p))
    temperature on the teacher only | [:, :old] / temperature => [:, :old]
    temperature on the student only | .detach() / temperature => .detach()
    no temperature | / temperature =>
    cut at the wrong end | [:, :old] => [:, -old:]
    cut after the softmax | student_logits[:, :old] => student_logits
        | torch.logsumexp(s, dim=1, keepdim=True) => torch.logsumexp(s, dim=1, keepdim=True); log_q = log_q[:, :old]
    not cut to the teacher's classes | [:, :old] =>
    sum instead of mean over the batch | .sum(dim=1).mean() => .sum()
    mean over all elements | .sum(dim=1).mean() => .mean()
    not weighted by the teacher | (p * (log_p - log_q)) => (log_p - log_q)
    squared difference of the probabilities | (p * (log_p - log_q)) => ((p - log_q.exp()) ** 2)
    entropy of the teacher | (p * (log_p - log_q)) => (-p * log_p)
    largest instead of mean over the batch | .sum(dim=1).mean() => .sum(dim=1).max()
    log of the student's softmax forgotten | (log_p - log_q) => (log_p - log_q.exp())
    log of the teacher's softmax instead of the softmax
        | return (p * (log_p - log_q)).sum(dim=1).mean() => return F.kl_div(log_q, log_p, reduction='batchmean')
    cross-entropy instead of KL | (log_p - log_q) => -log_q
    softmax along the wrong axis | dim=1, keepdim => dim=0, keepdim
    sign swapped | return ( => return -(
    squared difference of the logits
        | return (p * (log_p - log_q)).sum(dim=1).mean() => return ((student_logits - teacher_logits) ** 2).mean()
    exp overflows | s - torch.logsumexp(s, dim=1, keepdim=True) => (s.exp() / s.exp().sum(dim=1, keepdim=True)).log()
    """),
    "push": edits("""
    gradient instead of the push | p[c] - q[c] => q[c] - p[c]
    not divided by T and B | / (temperature * size) =>
    not divided by T | (temperature * size) => size
    not divided by B | (temperature * size) => temperature
    divided by T² | (temperature * size) => (temperature ** 2 * size)
    multiplied by T | / (temperature * size) => * temperature / size
    divided by all elements | (temperature * size) => (temperature * size * old)
    no temperature in the softmaxes | [i] / temperature => [i] | [i, :old] / temperature => [i, :old]
    only the teacher softened | [i, :old] / temperature => [i, :old]
    only the student softened | [i] / temperature => [i]
    difference of the logits | (p[c] - q[c]) => (teacher_logits[i, c] - student_logits[i, c])
    difference of the logarithms | (p[c] - q[c]) => (p[c].log() - q[c].log())
    the loss instead of its gradient | (p[c] - q[c]) => p[c] * (p[c].log() - q[c].log())
    softmax over the batch | p = p / p.sum() => p = torch.softmax(teacher_logits / temperature, dim=0)[i]
        | q = q / q.sum() => q = torch.softmax(student_logits[:, :old] / temperature, dim=0)[i]
    new classes pushed down | [i, :old] => [i]
        | p = p / p.sum() => p = torch.cat([p / p.sum(), torch.zeros(len(s) - old)]) | range(old) => range(len(s))
    softmax over all classes | [i, :old] => [i]
    the student's last classes | [i, :old] => [i, -old:]
    filled from the end | result[i, c] => result[i, c - old]
    no column for the new classes | return result => return result[:, :old]
    new classes not told apart | [i, :old] => [i]
        | t = teacher_logits[i] / temperature
        => t = torch.zeros(student_logits.shape[1]); t[:old] = teacher_logits[i] / temperature
        | range(old) => range(len(s))
    exp overflows | (t - t.max()) => t | (s - s.max()) => s
    """),
    "triplet": edits("""
    dot product instead of cosine | features / features.norm(dim=1, keepdim=True) => features
    Euclidean distance of unscaled features | features / features.norm(dim=1, keepdim=True) => features
        | f[i] @ f[j] => -(f[i] - f[j]).norm()
    normalised along the wrong axis | dim=1 => dim=0
    nearest positive instead of the farthest | min(positives) => max(positives)
    farthest negative instead of the nearest | max(negatives) => min(negatives)
    sign swapped | max(negatives) - min(positives) => min(positives) - max(negatives)
    no margin | + margin =>
    margin subtracted | + margin => - margin
    no relu | if loss > 0: => if True:
    the mean of the negatives | max(negatives) - => sum(negatives) / len(negatives) -
    the mean of the positives | - min(positives) => - sum(positives) / len(positives)
    the largest loss | .mean() => .max()
    mean over all samples | .mean() => .sum() / len(f)
    sum instead of mean | .mean() => .sum()
    masked with 0 | max(negatives) => max([*negatives, torch.tensor(0.0)])
        | min(positives) => min([*positives, torch.tensor(0.0)])
    all triplets instead of the hardest
        | loss = max(negatives) - min(positives) + margin
        => every = [n - p + margin for n in negatives for p in positives]
        | if loss > 0: => for loss in filter(lambda loss: loss > 0, every):
    a sample without a positive takes part | and j != i =>
    mean of no losses | if losses else 0 * features.sum() =>
    """),
    "contrast_masks": edits("""
    masks swapped | torch.tensor(contrast), torch.tensor(positive) => torch.tensor(positive), torch.tensor(contrast)
    the anchor kept in the contrast set | a.append(not itself) => a.append(True)
    the anchor among its positives | same and not itself => same
    the anchor in both masks | a.append(not itself) => a.append(True) | same and not itself => same
    own teacher view not a positive | same and not itself => same and not itself and not own
    own teacher view not compared | not itself => not itself and not own
    own teacher view the only positive | same and not itself => own
    no teacher among the positives | same and not itself => same and not itself and j < n
    no student among the positives | same and not itself => same and j >= n
    teachers not compared | not itself => not itself and j < n
    no columns for the teachers | range(2 * n) => range(n)
    teachers first | itself = j == i => itself = j == i + n
    students and teachers interleaved | labels[j % n] => labels[j // 2] | itself = j == i => itself = j == 2 * i
    positives left out of the contrast set | a.append(not itself) => a.append(not itself and not same)
    negatives instead of positives | same and not itself => not same and not itself
    both masks inverted | a.append(not itself) => a.append(itself) | same and not itself => not same or itself
    """),
    "csd": edits("""
    temperature outside the exponent | / temperature =>
        | -log_p[positive].mean() => -log_p[positive].mean() / temperature
    no temperature | / temperature =>
    multiplied by the temperature | / temperature => * temperature
    student and teacher swapped | losses = [] => s, t = t, s; losses = []
    the teacher among itself | losses = [] => s = t; losses = []
    own teacher view the only positive
        | logits = => positive = torch.arange(len(candidates)) == len(others) + i; logits =
    no student among the positives | logits = => positive[: len(others)] = False; logits =
    negatives instead of positives | == labels[i] => != labels[i]
        | torch.stack(losses).mean() => torch.stack(losses).nanmean()
    self among the positives, not compared | -log_p[positive].mean()
        => -(log_p[positive].sum() + s[i] @ s[i] / temperature - logits.logsumexp(0)) / (positive.sum() + 1)
    positives summed inside the log | -log_p[positive].mean() => -log_p[positive].exp().sum().log()
    divided by the contrast set | -log_p[positive].mean() => -log_p[positive].sum() / len(log_p)
    normalised along the wrong axis | dim=1 => dim=0
    students not normalised | s = student / student.norm(dim=1, keepdim=True) => s = student
    teachers not normalised | teacher.detach() / teacher.detach().norm(dim=1, keepdim=True) => teacher.detach()
    no logarithm | -log_p[positive].mean() => -log_p[positive].exp().mean()
    own teacher view missing from the positives | logits = => positive[len(others) + i] = False; logits =
    no teacher among the positives | logits = => positive[len(others) :] = False; logits =
    self kept in the denominator
        | torch.logsumexp(logits, dim=0)
        => torch.logsumexp(torch.cat([logits, (s[i] @ s[i] / temperature)[None]]), dim=0)
    self among the positives | [j for j in range(len(s)) if j != i] => list(range(len(s)))
    no teachers in the contrast set | torch.cat([s[others], t]) => s[others]
        | torch.cat([labels[others], labels]) => labels[others]
    no students in the contrast set | torch.cat([s[others], t]) => t | torch.cat([labels[others], labels]) => labels
    positives left out of the denominator | torch.logsumexp(logits, => torch.logsumexp(logits[~positive],
    positives averaged inside the log | -log_p[positive].mean() => -log_p[positive].exp().mean().log()
    only the best positive | -log_p[positive].mean() => -log_p[positive].max()
    only the farthest positive | -log_p[positive].mean() => -log_p[positive].min()
    the first anchor only | torch.stack(losses).mean() => losses[0]
    the last anchor only | torch.stack(losses).mean() => losses[-1]
    distances instead of cosines | candidates @ s[i] => -(candidates - s[i]).norm(dim=1)
    positives summed, not averaged | -log_p[positive].mean() => -log_p[positive].sum()
    one mean over all pairs | losses.append(-log_p[positive].mean()) => losses += list(-log_p[positive])
    sum instead of mean over the batch | return torch.stack(losses).mean() => return torch.stack(losses).sum()
    not normalised | student / student.norm(dim=1, keepdim=True) => student
        | teacher.detach() / teacher.detach().norm(dim=1, keepdim=True) => teacher.detach()
    sign swapped | -log_p => log_p
    exp overflows | logits - torch.logsumexp(logits, dim=0) => (logits.exp() / logits.exp().sum()).log()
    """)
    | {
        "−inf times 0": """
def contrast(student, teacher, labels, temperature):
    n = len(labels)
    s, t = F.normalize(student), F.normalize(teacher.detach())
    logits = s @ torch.cat([s, t]).T / temperature
    logits[range(n), range(n)] = float("-inf")
    log_p = torch.log_softmax(logits, dim=1)
    P = (labels[:, None] == torch.cat([labels, labels])).float()
    P[range(n), range(n)] = 0
    return -((log_p * P).sum(dim=1) / P.sum(dim=1)).mean()
""",
        "softmax along the wrong axis": """
def contrast(student, teacher, labels, temperature):
    n = len(labels)
    s, t = F.normalize(student, dim=1), F.normalize(teacher.detach(), dim=1)
    logits = s @ torch.cat([s, t]).T / temperature
    logits[torch.arange(n), torch.arange(n)] = float("-inf")
    log_p = torch.log_softmax(logits, dim=0)
    loss = 0
    for i in range(n):
        positives = [j for j in range(2 * n) if labels[j % n] == labels[i] and j != i]
        loss = loss - sum(log_p[i, j] for j in positives) / len(positives)
    return loss / n
""",
    },
    "my_csd": edits("""
    no csd term | terms["csd"] = => _ =
    csd in the second task only | terms["csd"] = => if step.task == 1: terms["csd"] =
    student and teacher swapped
        | contrast(step.features, step.teacher.features => contrast(step.teacher.features, step.features
    the student contrasted with itself | , step.teacher.features, 0 => , step.features, 0
    the teacher contrasted with itself | contrast(step.features => contrast(step.teacher.features
    the teacher's logits instead of its features | step.teacher.features => step.teacher.logits
    logits instead of features
        | step.features, step.teacher.features => step.logits[:, :known], step.teacher.logits
    temperature 2 | 0.07 => 2
    temperature 1 | 0.07 => 1
    temperature 0.7 | 0.07 => 0.7
    csd counted twice | 0.07) => 0.07); terms["csd"] = terms["csd"] + terms["csd"]
    csd divided by the batch | 0.07) => 0.07) / len(y)
    csd subtracted | = contrast => = -contrast
    csd hidden in the cross-entropy | terms["csd"] = => terms["ce"] = terms["ce"] +
    csd hidden in the distillation | terms["csd"] = => terms["kd"] = terms["kd"] +
    csd in the place of another term | terms["csd"] = => terms["kd"] =
    no distillation | terms["kd"] = (p => _ = (p
    no triplet loss | , "triplet": torch.stack(gaps).mean() =>
    no cross-entropy | "ce": F.cross_entropy(step.logits, y), =>
    nothing but csd | return terms => return {name: term for name, term in terms.items() if name == "csd"}
    a teacher asked in the first task
        | return terms => terms["csd"] = contrast(step.features, step.teacher.features, 0.07); return terms
    """),
    "mean_displacement": edits("""
    cosine instead of 1 − cosine | float(1 - cosine) => float(cosine)
    cosine − 1 | float(1 - cosine) => float(cosine - 1)
    not normalised | cosine = (a * b).sum() / (a.norm() * b.norm()) => cosine = (a * b).sum()
    normalised along the wrong axis | zip(x, y) => zip(x / x.norm(dim=0), y / y.norm(dim=0))
        | / (a.norm() * b.norm()) =>
    only one snapshot normalised | / (a.norm() * b.norm()) => / a.norm()
    each image compared with all others | zip(x, y) => [(a, b) for a in x for b in y]
        | total / len(x) => total / len(x) ** 2
    products added up over the images | zip(x, y) => zip(F.normalize(x).T, F.normalize(y).T)
        | / (a.norm() * b.norm()) => | total / len(x) => total / x.shape[1]
    cosine along the wrong axis | zip(x, y) => zip(x.T, y.T) | total / len(x) => total / x.shape[1]
    mean over all numbers | (a * b).sum() => (a * b).mean()
    sum instead of mean | return total / len(x) => return total
    largest instead of mean | total += float(1 - cosine) => total = max(total, float(1 - cosine))
        | return total / len(x) => return total
    distance instead of angle | float(1 - cosine) => float((a - b).norm())
    distance of the scaled features | float(1 - cosine) => float((a / a.norm() - b / b.norm()).norm())
    squared distance of the scaled features | float(1 - cosine) => float((a / a.norm() - b / b.norm()).norm()) ** 2
    angle in radians | float(1 - cosine) => math.acos(max(-1, min(1, float(cosine))))
    angle in degrees | float(1 - cosine) => math.degrees(math.acos(max(-1, min(1, float(cosine)))))
    absolute cosine | float(1 - cosine) => float(1 - abs(cosine))
    cosine of the means | zip(x, y) => [(x.mean(dim=0), y.mean(dim=0))] | total / len(x) => total
    one cosine of everything | zip(x, y) => [(x.flatten(), y.flatten())] | total / len(x) => total
    centred | zip(x, y) => zip(x - x.mean(dim=0), y - y.mean(dim=0))
    """),
    "linear_cka": edits("""
    not centred | x - x.mean(dim=0) => x | y - y.mean(dim=0) => y
    only x centred | y - y.mean(dim=0) => y
    only y centred | x - x.mean(dim=0) => x
    brackets missing in the denominator | top / (below_x * below_y) => top / below_x * below_y
    centred along the wrong axis | mean(dim=0) => mean(dim=1, keepdim=True)
    centred by one number | mean(dim=0) => mean()
    standardised | - x.mean(dim=0) => - x.mean(dim=0); x = x / x.std(dim=0)
        | - y.mean(dim=0) => - y.mean(dim=0); y = y / y.std(dim=0)
    rows scaled to length 1 | x = x - x => x = F.normalize(x); x = x - x | y = y - y => y = F.normalize(y); y = y - y
    rows scaled instead of columns centred | x - x.mean(dim=0) => F.normalize(x) | y - y.mean(dim=0) => F.normalize(y)
    entries added up instead of a norm | ((x.T @ y) ** 2).sum() => (x.T @ y).sum() ** 2
    denominator added up | below_x * below_y => below_x + below_y
    numerator not squared | top = ((x.T @ y) ** 2).sum() => top = ((x.T @ y) ** 2).sum().sqrt()
    square root of CKA | float(top / (below_x * below_y)) => float(top / (below_x * below_y)) ** 0.5
    denominator squared | ** 2).sum().sqrt() => ** 2).sum()
    product in the wrong orientation | x.T @ y => x @ y.T | x.T @ x => x @ x.T | y.T @ y => y @ y.T
    trace instead of norm | ((x.T @ x) ** 2).sum().sqrt() => (x.T @ x).trace()
        | ((y.T @ y) ** 2).sum().sqrt() => (y.T @ y).trace()
    spectral norm instead of Frobenius | ((x.T @ y) ** 2).sum() => torch.linalg.norm(x.T @ y, 2) ** 2
        | ((x.T @ x) ** 2).sum().sqrt() => torch.linalg.norm(x.T @ x, 2)
        | ((y.T @ y) ** 2).sum().sqrt() => torch.linalg.norm(y.T @ y, 2)
    cosine of the flattened features | float(top / (below_x * below_y)) => float((x * y).sum() / (x.norm() * y.norm()))
    dissimilarity | return float( => return 1 - float(
    """),
    "neighbor_overlap": edits("""
    the image itself among its neighbours | if j != i] => ]
    the image itself as one neighbour more | if j != i] => ] | [:k] => [: k + 1] | / k) => / (k + 1))
    the image itself counted as kept | if j != i] => ] | [:k] => [: k + 1]
    the image itself set to similarity 0 | if j != i] => ] | unit @ unit[i] => unit @ unit[i]; similarity[i] = 0
    dot product instead of cosine | features / features.norm(dim=1, keepdim=True) => features
    Euclidean distance of unscaled features | features / features.norm(dim=1, keepdim=True) => features
        | unit @ unit[i] => -(unit - unit[i]).norm(dim=1)
    normalised along the wrong axis | dim=1, keepdim => dim=0, keepdim
    farthest instead of nearest | -float( => float(
    nearest in the other snapshot | near(features, i) => near(one, features, i)
        | unit @ unit[i] => unit @ (one[i] / one[i].norm()) | near(x, i), near(y, i) => near(x, y, i), near(y, x, i)
    same rank only | [j for j in before if j in after] => [a for a, b in zip(before, after) if a == b]
    kept by any image | kept = [j for j in before if j in after]
        => kept = [j for j in before if any(j in near(y, n) for n in range(len(y)))]
    number instead of share | len(kept) / k => len(kept)
    share of the union | len(kept) / k => len(kept) / len({*before, *after})
    any instead of a share | len(kept) / k => float(len(kept) > 0)
    share of those lost | len(kept) / k => 1 - len(kept) / k
    one mean over the images | return shares => return sum(shares) / len(shares)
    one neighbour too few | [:k] => [: k - 1]
    the first answer taken for the image itself | if j != i] => ] | [:k] => [1 : k + 1]
    """),
    "stale_recall": edits("""
    gallery indexed again | snapshots[int(tasks[j])][j] => snapshots[-1][j]
    queries by the old networks | query = snapshots[-1][i] => query = snapshots[int(tasks[i])][i]
    queries and gallery swapped | snapshots[int(tasks[j])][j] => snapshots[-1][j]
        | query = snapshots[-1][i] => query = snapshots[int(tasks[i])][i]
    gallery from the first network | snapshots[int(tasks[j])][j] => snapshots[0][j]
    gallery one task too old | snapshots[int(tasks[j])][j] => snapshots[max(0, int(tasks[j]) - 1)][j]
    the query itself counted as a hit | if i == j: => if False:
    the query itself set to similarity 0 | if i == j: => if False:
        | torch.cosine_similarity(query, item, dim=0) => torch.cosine_similarity(query, item, dim=0) * (i != j)
    put together as if sorted by task | hits = []
        => rows = torch.cat([snapshots[t][tasks == t] for t in range(len(snapshots))]); hits = []
        | snapshots[int(tasks[j])][j] => rows[j]
    normalised along the wrong axis | torch.cosine_similarity(query, item, dim=0) => query @ item
        | hits = [] => old = torch.stack([snapshots[int(t)][j] for j, t in enumerate(tasks)]); hits = []
        | snapshots[int(tasks[j])][j] => F.normalize(old, dim=0)[j]
        | query = snapshots[-1][i] => query = F.normalize(snapshots[-1], dim=0)[i]
    number of hits instead of their share | return sum(hits) / len(hits) => return sum(hits)
    only the last task's queries | hits.append => if tasks[i] == tasks.max(): hits.append
    only the earlier tasks' queries | hits.append => if tasks[i] < tasks.max(): hits.append
    searched within the own task | if i == j: => if i == j or tasks[i] != tasks[j]:
    mean of the tasks' recalls
        | return sum(hits) / len(hits)
        => hits = torch.tensor(hits); return np.mean([hits[tasks == t].mean() for t in range(len(snapshots))])
    Euclidean distance of unscaled features | torch.cosine_similarity(query, item, dim=0) => -(query - item).norm()
    dot product instead of cosine | torch.cosine_similarity(query, item, dim=0) => query @ item
    """),
    "representatives": edits("""
    those most similar to all the others
        | return chosen => return sorted(range(N), key=lambda j: -sum(row[j] for row in similar))[:n]
    the choice is forgotten | served = [max(served[i], similar[i][best]) for i in range(N)] => pass
    only the last choice counts | max(served[i], similar[i][best]) => similar[i][best]
    the worst served image next | if gain > most: => if -served[j] > most:
        | best, most = j, gain => best, most = j, -served[j]
    the least gain | best, most = None, -1e9 => best, most = None, 1e9 | gain > most => gain < most
    similarities below 0 count as 0 | [-1.0] * N => [0.0] * N
    the candidate's own similarity taken off | similar[i][j] - served[i]) => similar[i][j] - served[j])
    images counted instead of what they gain
        | gain += max(0.0, similar[i][j] - served[i]) => gain += similar[i][j] > served[i]
    sorted by number | return chosen => return sorted(chosen)
    dot product instead of cosine | features / features.norm(dim=1, keepdim=True) => features
    Euclidean distance of unscaled features | features / features.norm(dim=1, keepdim=True) => features
        | float(unit[i] @ unit[j]) => -float((unit[i] - unit[j]).norm()) | [-1.0] * N => [-100.0] * N
    normalised along the wrong axis | dim=1, keepdim => dim=0, keepdim
    """),
    "translate": edits("""
    no means taken away | old.mean(dim=0), new.mean(dim=0) => 0 * old[0], 0 * new[0]
    means taken away only to find W | (g - away) @ W + home => g @ W
    W found without taking the means away | A, B = old - away, new - home => A, B = old, new
    new mean not added | @ W + home => @ W
    old mean not taken from the gallery | (g - away) => g
    gallery's own mean taken away | (g - away) => (g - gallery.mean(dim=0))
    old mean added in the end | @ W + home => @ W + away
    one mean for all dimensions | mean(dim=0) => mean()
    translated backwards | zip(A, B) => zip(B, A)
    W transposed | (g - away) @ W => W @ (g - away)
    λ left out | M[d, d] += ridge => M[d, d] += 0
    λ added to every entry | M[d, d] += ridge => M[d] += ridge
    λ times the number of images | += ridge => += ridge * len(old)
    λ squared | += ridge => += ridge * ridge
    multiplied instead of solved | torch.linalg.inv(M) @ R => M @ R
    a rotation only | W = torch.linalg.inv(M) @ R => U, _, V = np.linalg.svd(R.numpy()); W = torch.tensor(U @ V)
    """),
    "t_interval": edits("""
    1.96 instead of Student's factor | t = stats.t(n - 1).ppf(0.975) => t = 1.96
    standard deviation divided by n | for x in values) / (n - 1) => for x in values) / n
    not divided by √n | / n ** 0.5 =>
    a 90 % interval | 0.975 => 0.95
    a 99 % interval | 0.975 => 0.995
    2 instead of Student's factor | t = stats.t(n - 1).ppf(0.975) => t = 2
    the median instead of the mean | mean - margin, mean + margin
        => np.median(values) - margin, np.median(values) + margin
    half the margin | margin = t * s / n ** 0.5 => margin = t * s / n ** 0.5 / 2
    n degrees of freedom | stats.t(n - 1) => stats.t(n)
    divided by n instead of √n | n ** 0.5 => n
    variance instead of standard deviation | s = s2 ** 0.5 => s = s2
    no factor | margin = t * s => margin = s
    mean plus and minus the standard deviation | margin = t * s / n ** 0.5 => margin = s
    smallest and largest value | mean - margin, mean + margin => min(values), max(values)
    the ends are swapped | mean - margin, mean + margin => mean + margin, mean - margin
    around 0 instead of the mean | mean - margin, mean + margin => -margin, margin
    mean and margin | return mean - margin, mean + margin => return mean, margin
    the mean in between | return mean - margin, mean + margin => return mean - margin, mean, mean + margin
    the margin only | return mean - margin, mean + margin => return margin
    """),
    "paired_difference": edits("""
    sign swapped | x - y for => y - x for
    taken as unpaired | t = stats.t(n - 1).ppf(0.975) => t = stats.t(2 * n - 2).ppf(0.975)
        | t * s / n ** 0.5 => t * np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2) * np.sqrt(2 / n)
    taken as unpaired (Welch) | n = len(d) => n = len(d); va, vb = np.var(a, ddof=1) / n, np.var(b, ddof=1) / n
        | t = stats.t(n - 1).ppf(0.975) => t = stats.t((va + vb) ** 2 * (n - 1) / (va**2 + vb**2)).ppf(0.975)
        | margin = t * s / n ** 0.5 => margin = t * np.sqrt(va + vb)
    ends of two intervals subtracted
        | margin = t * s / n ** 0.5 => margin = t * (np.std(a, ddof=1) - np.std(b, ddof=1)) / n ** 0.5
    margins of two intervals added
        | margin = t * s / n ** 0.5 => margin = t * np.std(a, ddof=1) / n ** 0.5 + t * np.std(b, ddof=1) / n ** 0.5
    interval of a alone | s = (sum((x - mean) ** 2 for x in d) / (n - 1)) ** 0.5 => s = np.std(a, ddof=1)
    1.96 instead of Student's factor | t = stats.t(n - 1).ppf(0.975) => t = 1.96
    standard deviation divided by n | for x in d) / (n - 1) => for x in d) / n
    not divided by √n | / n ** 0.5 =>
    size of the differences | x - y for => abs(x - y) for
    a 90 % interval of the difference | 0.975 => 0.95
    variance of the differences | / (n - 1)) ** 0.5 => / (n - 1))
    the upper end first | mean - margin, mean + margin => mean + margin, mean - margin
    the ends around 0 | mean - margin, mean + margin => -margin, margin
    the mean comes last | return mean, mean - margin, mean + margin => return mean - margin, mean + margin, mean
    the mean in the middle | return mean, mean - margin, mean + margin => return mean - margin, mean, mean + margin
    mean and margin | return mean, mean - margin, mean + margin => return mean, margin
    the mean is missing | return mean, => return
    the interval is missing | return mean, mean - margin, mean + margin => return mean
    the differences themselves | return mean, mean - margin, mean + margin => return d
    """),
    "training_hours": edits("""
    seconds instead of hours | total / 3600 => total
    minutes instead of hours | total / 3600 => total / 60
    days instead of hours | total / 3600 => total / 3600 / 24
    added, not multiplied | images[task] * epochs[task] => images[task] + epochs[task]
    mean of the speeds | / speeds[task] => / (sum(speeds) / len(speeds))
    sum of the speeds | / speeds[task] => / sum(speeds)
    speed of the first task for all | / speeds[task] => / speeds[0]
    speed of the last task for all | / speeds[task] => / speeds[-1]
    the last task only | total += => total =
    multiplied by the speed | / speeds[task] => * speeds[task]
    whole hours only | return total / 3600 => return int(total / 3600)
    rounded to whole hours | return total / 3600 => return round(total / 3600)
    a single epoch | images[task] * epochs[task] => images[task]
    all images times all epochs | return total => return sum(images) * sum(epochs) / np.mean(speeds)
    mean of the tasks | total / 3600 => total / 3600 / len(images)
    """)
    | {
        "the first task only": ("    return", "        return"),
    },
    "epochs_left": edits("""
    measurement counted as an epoch | if record["kind"] == "epoch": => if True:
    epochs of the first task for all | ["later_epochs"] => ["epochs"]
    later_epochs for all | plan[0] = about["config"]["epochs"] =>
    done instead of left | plan[task] - done[task] => done[task]
    sign swapped | plan[task] - done[task] => done[task] - plan[task]
    journal not looked at | plan[task] - done[task] => plan[task]
    tasks added up | return result => return sum(result)
    all epochs subtracted from each task | - done[task] => - sum(done)
    number of the last epoch taken for their count | ] += 1 => ] = record["epoch"]
    only measured tasks counted as done | if record["kind"] == "epoch": => if record["kind"] == "task":
        | done[record["task"]] += 1 => done[record["task"]] = plan[record["task"]]
    tasks that have not begun left out
        | result.append(plan[task] - done[task]) => result += [plan[task] - done[task]] if done[task] else []
    finished tasks left out
        | result.append(plan[task] - done[task])
        => result += [plan[task] - done[task]] if plan[task] > done[task] else []
    """),
    "train_until": edits("""
    nothing trained | while done < n: => while False:
    never stopped | while done < n: => while True:
    one epoch too many | while done < n: => while done <= n:
    one epoch too few | while done < n: => while done < n - 1:
    asked for a record, and looked only then | while done < n: => while True:
        | if record is None: => if record is None or done >= n:
    measurement counted as an epoch | if record["kind"] == "epoch": => if True:
    lines of the journal counted | if record["kind"] == "epoch": => if True:
        | done += old["kind"] == "epoch" => done += 1
    measurement in the journal counted as an epoch | done += old["kind"] == "epoch" => done += 1
    each sitting counted from 0 | csd.Run.load(folder).records => []
    n more records | csd.Run.load(folder).records => [] | while done < n: => for _ in range(n):
    epochs of one task only | while done < n: => while True:
        | if record["kind"] == "epoch": => if record["kind"] == "epoch" and record["epoch"] + 1 >= n:
        | done += 1 => break
    the end of the run not expected | next(records, None) => next(records)
    a run looked for before there is one | records = csd.training( => csd.Run.load(folder); records = csd.training(
    """)
    | {
        "at least one record in each sitting": """
import csd_edu as csd

def until(n, stream, method, config, folder):
    records = csd.training(stream, method, config, out=folder)
    done = sum(record["kind"] == "epoch" for record in csd.Run.load(folder).records)
    for record in records:
        done += record["kind"] == "epoch"
        if done >= n:
            break
    records.close()
""",
    },
    "feature_distance": edits("""
    not scaled | s / s.norm() - t / t.norm() => s - t
    not scaled, mean over all numbers | s / s.norm() - t / t.norm() => s - t | / len(student) => / student.numel()
    mean over all numbers | / len(student) => / student.numel()
    the first image only | zip(student, teacher) => zip(student[:1], teacher) | / len(student) =>
    the largest difference | sum(x ** 2 for x in gap) => max(x ** 2 for x in gap)
    divided by the sum, not the length | s / s.norm() - t / t.norm() => s / s.sum() - t / t.sum()
    sum over the images | / len(student) =>
    1 − cosine | sum(x ** 2 for x in gap) => 1 - (s @ t) / (s.norm() * t.norm())
    cosine instead of a distance | sum(x ** 2 for x in gap) => (s @ t) / (s.norm() * t.norm())
    distance not squared | sum(x ** 2 for x in gap) => gap.norm()
    absolute differences | x ** 2 => abs(x)
    differences not squared | x ** 2 => x
    normalised along the wrong axis | s / s.norm() - t / t.norm() => s - t
        | total = 0 => total, student, teacher = 0, F.normalize(student, dim=0), F.normalize(teacher, dim=0)
    one length for the whole batch | s / s.norm() - t / t.norm() => s / student.norm() - t / teacher.norm()
    only the student scaled | t / t.norm() => t
    only the teacher scaled | s / s.norm() => s
    sign swapped | return total => return -total
    """),
    "feature_distillation": edits("""
    no feature term | terms["feature"] = => _ =
    weight left out | weight * ( => (
    weight always 3 | weight * ( => 3.0 * (
    divided by the weight | weight * (gap => 1 / weight * (gap
    weight on all terms
        | return terms => return {name: term * (weight if name != 'feature' else 1) for name, term in terms.items()}
    feature in the second task only | if step.teacher is not None: => if step.task == 1:
    logits instead of features
        | s, t = step.features, step.teacher.features.detach()
        => t = step.teacher.logits.detach(); s = step.logits[:, : t.shape[1]]
    features not scaled | gap = s / s.norm(dim=1, keepdim=True) - t / t.norm(dim=1, keepdim=True) => gap = s - t
    1 − cosine in the feature term | (gap ** 2).sum() / len(s) => (1 - F.cosine_similarity(s, t)).mean()
    feature term not squared | (gap ** 2).sum() / len(s) => gap.norm(dim=1).mean()
    absolute differences in the feature term | gap ** 2 => gap.abs()
    feature subtracted | = weight * ( => = -weight * (
    feature hidden in the cross-entropy | terms["feature"] = => terms["ce"] +=
    nothing but feature | / len(s) => / len(s); return {"feature": terms["feature"]}
    cross-entropy missing | / len(s) => / len(s); del terms["ce"]
    triplet loss missing | / len(s) => / len(s); del terms["triplet"]
    a teacher asked in the first task | if step.teacher is not None: => if True:
    """),
    "relation_distance": edits("""
    not scaled | row / row.norm() => row
    not divided by the mean | d / mean => d
    neither scaled nor divided by the mean | row / row.norm() => row | d / mean => d
    normalised along the wrong axis | [row / row.norm() for row in rows] => rows / rows.norm(dim=0)
    squared distances | (rows[i] - rows[j]).norm() => (rows[i] - rows[j]).norm() ** 2
    1 − cosine instead of a distance | (rows[i] - rows[j]).norm() => 1 - rows[i] @ rows[j] | d / mean => d
    each image paired with itself | range(i + 1, len(rows)) => range(len(rows))
    similarities instead of distances | (rows[i] - rows[j]).norm() => rows[i] @ rows[j]
    only the student divided by its mean | relations(teacher.detach())
        => F.pdist(F.normalize(teacher.detach()))
    only the teacher divided by its mean | relations(student),
        => F.pdist(F.normalize(student)),
    squared difference | (gap ** 2 / 2 if gap <= 1 else gap - 0.5) => gap ** 2
    half the squared difference | (gap ** 2 / 2 if gap <= 1 else gap - 0.5) => gap ** 2 / 2
    absolute difference | (gap ** 2 / 2 if gap <= 1 else gap - 0.5) => gap
    differences with their sign | abs(a - b) => a - b
    half forgotten in Huber's loss | gap ** 2 / 2 => gap ** 2
    ½ not subtracted in Huber's loss | gap - 0.5 => gap
    the mean subtracted | d / mean => d - mean
    divided by the sum | sum(found) / len(found) => sum(found)
    divided by the largest | sum(found) / len(found) => max(found)
    sum over the pairs | total / len(pairs) => total
    both divided by the teacher's mean | [d / mean for d in found] => found
        | abs(a - b) => abs(a - b) / (sum(d for _, d in pairs) / len(pairs))
    both divided by the student's mean | [d / mean for d in found] => found
        | abs(a - b) => abs(a - b) / (sum(d for d, _ in pairs) / len(pairs))
    """)
    | {
        "each image compared with itself": """
def distance(student, teacher):
    return ((student / student.norm(dim=1)[:, None] - teacher / teacher.norm(dim=1)[:, None]) ** 2).sum() / len(student)
""",
    },
    "images_that_fit": edits("""
    channels forgotten | side * channels => side
    side not squared | for row in range(side): => for row in range(1):
    four bytes a number, as of float32 | side * channels => 4 * side * channels
    bits instead of bytes | side * channels => 8 * side * channels
    labels forgotten | one = label_bytes => one = 0
    a label for each pixel | one = label_bytes => one = side * side * label_bytes
    a single label | one = label_bytes => one = 0; n_bytes -= label_bytes
    rounded up | n_bytes >= one => n_bytes > 0
    rounded to the nearest | n_bytes >= one => 2 * n_bytes > one
    a part of an image | return n => return n + n_bytes / one
    channels squared | side * channels => side * channels * channels
    what is left over | return n => return n_bytes
    """),
    "shrink": edits("""
    every k-th pixel | [n for row in block for n in row] => [block[0][0]]
    the pixel in the middle | [n for row in block for n in row] => [block[k // 2][k // 2]]
    a corner cut out | round(sum(numbers) / len(numbers)) => images[b, c, i, j]
    the middle cut out | round(sum(numbers) / len(numbers)) => images[b, c, (H - side) // 2 + i, (H - side) // 2 + j]
    the brightest pixel | round(sum(numbers) / len(numbers)) => max(numbers)
    cut off, not rounded | round( => int(
    rounded up | round( => math.ceil(
    added up as uint8 | sum(numbers) / => sum(numbers) % 256 /
    added up as uint8, and cut off | round(sum(numbers) / => int(sum(numbers) % 256 /
    pixels that lie apart | k * i : k * (i + 1), k * j : k * (j + 1)] => i::side, j::side]
    only along the rows | [n for row in block for n in row] => block[0]
    only along the columns | [n for row in block for n in row] => [row[0] for row in block]
    without colour | images[b, c, k * i : k * (i + 1), k * j : k * (j + 1)]
        => images[b, :, k * i : k * (i + 1), k * j : k * (j + 1)].flatten(0, 1)
    the mean of all images | images[b, c, k * i : k * (i + 1), k * j : k * (j + 1)]
        => images[:, c, k * i : k * (i + 1), k * j : k * (j + 1)].flatten(0, 1)
    """),
    "kept_per_class": edits("""
    first come, first served | if numbers[label] == most: => if True:
    the oldest goes | numbers[label] == most => False | memory.remove(numbers.index(most)) => memory.pop(0)
    grows for ever | len(memory) >= size => False
    one comes, but none goes | memory.remove(numbers.index(most)) => pass
    one goes in any case | numbers[label] == most => False
    one of the smallest class goes | numbers.index(most) => numbers.index(min(n for n in numbers if n))
    the largest with the highest number gives
        | numbers.index(most) => max(c for c, n in enumerate(numbers) if n == most)
    a new class gets one place only | numbers[label] == most => numbers[label] > 0
    two behind the largest | numbers[label] == most => numbers[label] >= most - 1
    up to an equal share only | numbers[label] == most => numbers[label] >= size / len(set(memory))
    first in, then one out | numbers[label] == most => False | memory.remove(numbers.index(most))
        => memory.append(label); numbers[label] += 1; memory.remove(numbers.index(max(numbers))); continue
    shares worked out at the end | return [memory.count(c) for
        => return [min(labels.count(c), size // len(set(labels))) for
    equal shares, whatever came | return [memory.count(c) for => return [size // (max(labels) + 1) for
    """),
    "herd": edits("""
    those nearest to the mean | group = chosen + [i] => group = [i] | / k for => / 1 for
    chosen twice | if i in chosen: => if False:
    only the last choice counts | group = chosen + [i] => group = chosen[-1:] + [i]
    the farthest | best, least = None, math.inf => best, least = None, -1 | far < least => far > least
    divided by n | / k for => / n for
    divided by k − 1 | / k for => / max(k - 1, 1) for
    the sum instead of the mean | / k for => for
    far from those chosen | far = sum(x ** 2 for x in gap)
        => far = -sum(float((features[i] - features[j]).norm()) for j in chosen) or sum(x ** 2 for x in gap)
    sorted by number | return chosen => return sorted(chosen)
    the largest coordinate | sum(x ** 2 for x in gap) => max(abs(x) for x in gap)
    absolute differences | x ** 2 => abs(x)
    mean of each feature | / N for d in range(D)] => / N for d in range(D)]; mean = [sum(mean) / D] * D
    """),
    "dm_loss": edits("""
    mean over the features | sum(x ** 2 for x in gap) => sum(x ** 2 for x in gap) / len(gap)
    distance not squared | sum(x ** 2 for x in gap) => sum(x ** 2 for x in gap) ** 0.5
    absolute differences | x ** 2 => abs(x)
    the square of the sum | sum(x ** 2 for x in gap) => sum(gap) ** 2
    not squared | x ** 2 => x
    mean of the distances of pairs | sum(x ** 2 for x in gap)
        => sum(((x - y) ** 2).sum() for x in a for y in b) / (len(a) * len(b))
    each learnt image with the mean | sum(x ** 2 for x in gap)
        => sum(((sum(a) / len(a) - y) ** 2).sum() for y in b) / len(b)
    each real image with the learnt mean | sum(x ** 2 for x in gap)
        => sum(((x - sum(b) / len(b)) ** 2).sum() for x in a) / len(a)
    sums instead of means | sum(a) / len(a) - sum(b) / len(b) => sum(a) - sum(b)
    one mean over all classes | sorted(set(synthetic_labels.tolist())) => [None]
        | zip(real, real_labels) if y == c => zip(real, real_labels)
        | zip(synthetic, synthetic_labels) if y == c => zip(synthetic, synthetic_labels)
    all real images for each class | zip(real, real_labels) if y == c => zip(real, real_labels)
    mean over the classes | return total => return total / len(set(synthetic_labels.tolist()))
    weighted by the number of images | total + here => total + here * len(b)
    the last class only | total = total + here => total = here
    classes counted from 0 | sorted(set(synthetic_labels.tolist())) => range(len(set(synthetic_labels.tolist())))
    half of it | sum(x ** 2 for x in gap) => sum(x ** 2 for x in gap) / 2
    the largest difference | sum(x ** 2 for x in gap) => max(x ** 2 for x in gap)
    sign swapped | return total => return -total
    """),
    "as_bytes": edits("""
    cut off instead of rounded | round(x * 255) => math.trunc(x * 255)
    rounded up | round(x * 255) => math.ceil(x * 255)
    times 256 | x * 255 => x * 256
    not scaled | x * 255 => x
    rounded before it is scaled | round(x * 255) => round(x) * 255
    scaled, then cut to 0 to 1 | min(max(value, 0), 255) => min(max(value, 0), 1)
    stretched from the darkest to the brightest
        | found = [] => found = []; low, high = float(pixels.min()), float(pixels.max())
        | round(x * 255) => round((x - low) / (high - low) * 255)
    inverted | round(x * 255) => round(255 - x * 255)
    cut below only | min(max(value, 0), 255) => max(value, 0)
    cut above only | min(max(value, 0), 255) => min(value, 255)
    what is outside wraps around | value = min(max(value, 0), 255) => pass
    """),
    "reservoir": edits("""
    always replaced | math.floor(draws[n] * (n + 1)) => math.floor(draws[n] * size)
    the new image not counted | (n + 1) => n
    one of all numbers | (n + 1) => len(draws)
    two images too many counted | (n + 1) => (n + 2)
    the first ones kept for ever | memory[r] = n => pass
    the last ones kept | r = math.floor(draws[n] * (n + 1)) => r = n % size
    the draw used twice | memory[r] = n => memory[math.floor(draws[n] * size)] = n
    rounded instead of cut off | math.floor( => round(
    one place too many | n < size => n <= size
    one place too few | if n < size => if n < size - 1 | if r < size => if r < len(memory)
    the last place is never given away | if r < size => if r < size - 1
    let in by the others | if r < size => if r >= size | memory[r] => memory[r % size]
    added instead of replaced | memory[r] = n => memory.append(n)
    in the order of the numbers | return memory => return sorted(memory)
    the draw decides while there is room | memory = memory + [n] => memory.insert(math.floor(draws[n] * (n + 1)), n)
    """),
    "rewrite_logits": edits("""
    nothing rewritten | row[k] = new[k] * factor => pass
    all heads overwritten | row[k] = new[k] * factor => new[k] = new[k] * factor | rows.append(row) => rows.append(new)
    the old part overwritten | factor = 1 => factor, row[:lo] = 1, new[:lo]
    heads from hi on overwritten | range(lo, hi) => range(lo, len(row))
    not made smaller | new[k] * factor => new[k]
    always scaled | if top > limit => if True
    scaled where the largest is below 0 | if top > limit => if True
        | factor = limit / top => factor = min(limit / top, 1)
    everything scaled | row[k] = new[k] * factor => pass | rows.append(row) => rows.append([z * factor for z in new])
    no γ | gamma * row[labels[i]] => row[labels[i]]
    smaller only above the true logit | if top > limit => if top > max(row[labels[i]], 0)
    the current true logit | row[labels[i]] => new[labels[i]]
    the largest stored logit | row[labels[i]] => max(row)
    the largest of all heads | max(new[lo:hi]) => max(new)
    the largest of the batch | max(new[lo:hi]) => float(current[:, lo:hi].max())
    cut off instead of scaled | new[k] * factor => min(new[k], limit)
    shifted instead of scaled | new[k] * factor => new[k] - max(top - limit, 0)
    the factor squared | new[k] * factor => new[k] * factor * factor
    the factor upside down | limit / top => top / limit
    scaled by γ alone | factor = limit / top => factor = gamma
    the stored block scaled | new = [float(z) for z in current[i]] => new = list(row)
    mixed with what was stored | row[k] = new[k] * factor => row[k] = gamma * new[k] * factor + (1 - gamma) * row[k]
    a negative limit | max(gamma * row[labels[i]], 0) => gamma * row[labels[i]]
    """),
    "past_hinge": edits("""
    no margin for the hinge | + margin =>
    the margin subtracted | + margin => - margin
    heads of the own task counted | range(n_past) => range(logits.shape[1]) if k != labels[i]
    the largest of all heads, the true one too | range(n_past) => range(logits.shape[1])
    new heads instead of the old | range(n_past) => range(n_past, logits.shape[1])
    the mean of the old heads | max([logits[i, k] for k in range(n_past)]) => logits[i, :n_past].mean()
    the least of the old heads | max([ => min([
    the sum over the old heads
        | gap = old + margin - true => gap = (logits[i, :n_past] + margin - true).clamp(min=0).sum()
    B × B numbers | gap = old + margin - true => gap = 0
        | if gap > 0: => for j in range(len(logits)): | losses.append(gap)
        => gap = old + margin - logits[j, labels[j]]; losses += [gap] if gap > 0 else []
    the mean over all pairs | if gap > 0: => for k in range(n_past): | losses.append(gap)
        => gap = logits[i, k] + margin - true; losses += [gap] if gap > 0 else []
    the largest own head instead of the true one | true = logits[i, labels[i]] => true = logits[i, n_past:].max()
    the wrong way round | old + margin - true => true + margin - old
    no relu | if gap > 0: => if True: | sum(losses) / len(losses) => sum(losses) / max(1, sum(g > 0 for g in losses))
    mean over all images | / len(losses) => / len(logits)
    a sum over the images | / len(losses) =>
    the largest loss instead of the mean | sum(losses) / len(losses) => max(losses)
    probabilities instead of logits | losses = [] => losses, logits = [], logits.softmax(dim=1)
    squared hinge | losses.append(gap) => losses.append(gap * gap)
    mean of no losses | return 0 * logits.sum() => return torch.stack([0 * logits.sum() / 0])
    """),
    "snn_predict": {
        **edits("""
    no temperature | / temperature =>
    multiplied by the temperature | / temperature => * temperature
    0.1 whatever is given | / temperature => / 0.1
    divided by the sum of the cosines | w = e / e.sum() => w = cosines / cosines.sum()
    temperature outside of the softmax | z = cosines / temperature => z = cosines
        | w = e / e.sum() => w = e / e.sum() / temperature
    no softmax | w = e / e.sum() => w = z
    weights that do not sum to 1 | w = e / e.sum() => w = torch.exp(z)
    log-weights | w = e / e.sum() => w = (e / e.sum()).log()
    the nearest neighbour alone | w[j] * onehot[j] for j in range(len(w)) => onehot[j] for j in [int(w.argmax())]
    classes of equal say | rows.append(sum(w[j] * onehot[j] for j in range(len(w))))
        => votes = sum(w[j] * onehot[j] for j in range(len(w))) / onehot.sum(0); rows.append(votes / votes.sum())
    class means instead of neighbours | rows = []
        => rows = []; unit = supports / supports.norm(dim=1, keepdim=True); n = onehot.shape[1];
        supports = [sum(unit[j] * onehot[j, c] for j in range(len(unit))) for c in range(n)]; onehot = torch.eye(n)
    distances instead of cosines | q @ s / (q.norm() * s.norm()) => -(q / q.norm() - s / s.norm()).norm()
    normalised along the wrong axis | rows = [] => rows = []; q2, supports = queries, supports / supports.norm(dim=0)
        | for q in queries => for q in q2 / q2.norm(dim=0) | q @ s / (q.norm() * s.norm()) => q @ s
    by the length of the whole matrix | (q.norm() * s.norm()) => (queries.norm() * supports.norm())
    queries not normalised | (q.norm() * s.norm()) => s.norm()
    supports not normalised | (q.norm() * s.norm()) => q.norm()
    not normalised | / (q.norm() * s.norm()) =>
    exp overflows | z - z.max() => z
    """),
        "softmax over the queries": """
def vote(queries, supports, onehot, temperature):
    cosines = torch.cosine_similarity(queries[:, None], supports[None], dim=2)
    e = torch.exp(cosines / temperature)
    return e / e.sum(dim=0) @ onehot
""",
        "one sum for all queries": """
def vote(queries, supports, onehot, temperature):
    cosines = torch.cosine_similarity(queries[:, None], supports[None], dim=2)
    e = torch.exp(cosines / temperature)
    return e / e.sum() @ onehot
""",
        "softmax after the votes": """
def vote(queries, supports, onehot, temperature):
    cosines = torch.cosine_similarity(queries[:, None], supports[None], dim=2)
    e = torch.exp(cosines @ onehot / temperature)
    return e / e.sum(dim=1, keepdim=True)
""",
    },
    "sharpen": edits("""
    p to the power T | (1 / temperature) => temperature
    not divided by the sum | x / sum(powers) => x
    divided by the sum of the column | return torch.tensor(rows)
        => q = p ** (1 / temperature); return q / q.sum(dim=0, keepdim=True)
    divided by one sum for all | return torch.tensor(rows) => q = p ** (1 / temperature); return q / q.sum()
    divided by the largest | sum(powers) => max(powers)
    scaled to length 1 | x / sum(powers) => x / sum(y**2 for y in powers) ** 0.5
    softmax of the probabilities | float(x) ** (1 / temperature) => math.exp(float(x) / temperature)
    divided by the temperature | float(x) ** (1 / temperature) => float(x) / temperature
    the likeliest class alone | x / sum(powers) for x => float(x == max(powers)) for x
    always squared | ** (1 / temperature) => ** 2
    always the fourth power | ** (1 / temperature) => ** 4
    """),
    "spread": edits("""
    sign swapped | total + m => total - m
    the entropy of each image | m * torch.log(m) => sum(p[i, c] * torch.log(p[i, c]) for i in range(n)) / n
    the mean over the classes | n, n_classes = p.shape => p = p.T; n, n_classes = p.shape
    sum instead of mean over the images | for i in range(n)) / n => for i in range(n))
    mean instead of sum over the classes | return total => return total / n_classes
    not weighed | m * torch.log(m) => torch.log(m)
    no logarithm | m * torch.log(m) => m * m
    another logarithm | torch.log(m) => torch.log2(m)
    a share of the largest entropy | return total => return total / math.log(n_classes)
    distance from equal shares | return total => return total + math.log(n_classes)
    the mean of the logarithms | m * torch.log(m) => m * sum(torch.log(p[i, c]) for i in range(n)) / n
    counts of the likeliest classes | sum(p[i, c] for i in range(n)) => sum(p[i].argmax() == c for i in range(n))
    sharpened twice | total = 0 * p.sum() => total = 0 * p.sum(); p = p**4 / (p**4).sum(dim=1, keepdim=True)
    log of 0 | if m > 0: => if True:
    """),
    "worth_in_images": edits("""
    a byte for each parameter | n_parameters * 4 => n_parameters
    eight bytes for each parameter | n_parameters * 4 => n_parameters * 8
    bits for bytes | n_parameters * 4 => n_parameters * 32
    no label | + 8 =>
    a byte for the label | + 8 => + 1
    one label for all | + 8 => | return count => return count - 8
    a label for each channel | + 8 => + 8 * c
    pixels as float32 | h * w * 1 => h * w * 4
    channels forgotten | c * h * w => h * w
    height and width added | c * h * w * 1 => c * (h + w)
    not whole | return count => return budget / one
    rounded up | return count => return math.ceil(budget / one)
    rounded | return count => return round(budget / one)
    bytes instead of images | return count => return budget
    """),
    "discriminator_loss": edits("""
    real and fake swapped | surprise(s) for s in real => surprise(-s) for s in real
        | surprise(-s) for s in fake => surprise(s) for s in fake
    the same sign for both | surprise(s) for s in real => surprise(-s) for s in real
    the generator's loss | surprise(-s) for s in fake => surprise(s) for s in fake
    real images only | return up + down => return up
    dreams only | return up + down => return down
    no softplus | torch.relu(-x) + torch.log1p(torch.exp(-x.abs())) => -x
    relu instead of softplus | torch.relu(-x) + torch.log1p(torch.exp(-x.abs())) => torch.relu(-x)
    hinge | torch.relu(-x) + torch.log1p(torch.exp(-x.abs())) => torch.relu(1 - x)
    least squares | surprise(s) for s in real => (1 - s) ** 2 for s in real
        | surprise(-s) for s in fake => s ** 2 for s in fake
    probabilities without a logarithm | torch.relu(-x) + torch.log1p(torch.exp(-x.abs())) => 1 - 1 / (1 + torch.exp(-x))
    sign swapped | return up + down => return -(up + down)
    divided by two | return up + down => return (up + down) / 2
    one mean over all scores | return up + down
        => n = len(real) + len(fake); return 2 * (up * len(real) + down * len(fake)) / n
    sums instead of means | / len(real) => | / len(fake) =>
    exp overflows | torch.relu(-x) + torch.log1p(torch.exp(-x.abs())) => torch.log(1 + torch.exp(-x))
    """),
    "replay_terms": edits("""
    halves swapped | kd, moved, ce = 0, 0, 0 => kd, moved, ce = 0, 0, 0; both = (logits, old_logits, maps, old_maps);
        logits, old_logits, maps, old_maps = [torch.cat([x[n:], x[:n]]) for x in both]
    dreams learnt by the classes they were drawn for | kd - sum(t[k] * p[k] for k in range(known)) => kd - p[drawn[i]]
    dreams in the cross-entropy | ce - p[labels[i]]
        => ce - (p[labels[i]] + torch.log_softmax(logits[i], dim=0)[drawn[i]]) / 2
    distilled on all images | w_old * kd / n => w_old * kd / (2 * n)
        | kd - sum => kd - sum(torch.softmax(old_logits[n + i].detach(), dim=0)[k]
        * torch.log_softmax(logits[n + i], dim=0)[k] for k in range(known)) - sum
    distilled on the new images | old_logits[i] => old_logits[n + i] | (logits[i] => (logits[n + i]
    softmax over the old classes only | log_softmax(logits[i], => log_softmax(logits[i, :known],
    the last classes instead of the first | p[k] for => p[all - known + k] for
    the new network as its own teacher | old_logits[i].detach() => logits[i, :known].detach()
    the likeliest class as a label | t[k] * p[k] for k in range(known) => p[k] for k in [int(t.argmax())]
    KL instead of cross-entropy | t[k] * p[k] for => t[k] * (p[k] - t[k].log()) for
    a temperature | old_logits[i].detach() => old_logits[i].detach() / 2 | (logits[i] => (logits[i] / 2
    not weighted by the targets | t[k] * p[k] for => p[k] for
    the sum over the dreams | w_old * kd / n => w_old * kd
    the mean over the classes | w_old * kd / n => w_old * kd / n / known
    sign of the distillation swapped | kd - sum => kd + sum
    maps of all images | gap = maps[i] => moved = moved + (maps[n + i] - old_maps[n + i].detach()).norm(); gap = maps[i]
        | feature * moved / n => feature * moved / (2 * n)
    maps of the new images | maps[i] - old_maps[i] => maps[n + i] - old_maps[n + i]
    distance squared | .sum().sqrt() => .sum()
    the mean over all numbers of a map | .sum().sqrt() => .mean()
    absolute gaps | (gap ** 2).sum().sqrt() => gap.abs().sum()
    a distance for each place | (gap ** 2).sum().sqrt() => (gap ** 2).sum(dim=0).sqrt().mean()
    one distance for the whole batch | .sum().sqrt() => .sum() | feature * moved / n => feature * moved ** 0.5
    weights swapped | w_old, w_new = => w_new, w_old =
    half and half | w_old, w_new = => w_old, w_new, _, _ = 0.5, 0.5,
    no weights | w_old, w_new = => w_old, w_new, _, _ = 1, 1,
    new images not weighted | w_new * ce => ce
    dreams not weighted | w_old * kd => kd
    old classes divided by the new ones | w_old, w_new = known / all, (all - known) / all
        => w_old = known / (all - known); w_new = 1 - w_old
    shares of 10 classes | w_old, w_new = known / all, (all - known) / all => w_old = known / 10; w_new = 1 - w_old
    feature left out | feature * moved => moved
    feature and the old share | feature * moved => w_old * feature * moved
    no cross-entropy | "ce": w_new * ce / n, =>
    no distillation | "dreamt kd": w_old * kd / n, =>
    no maps | , "dreamt maps": feature * moved / n =>
    """),
}


def _normalised(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def numpy_search(queries, gallery, k):
    distance = ((_normalised(queries.numpy())[:, None] - _normalised(gallery.numpy())[None]) ** 2).sum(axis=2)
    return np.argsort(distance, axis=1)[:, :k]


def numpy_recall(queries, query_labels, gallery, gallery_labels, k, exclude_self=False):
    """By Euclidean distance between features of length 1, which gives the same order."""
    a, b = _normalised(queries.double().numpy()), _normalised(gallery.double().numpy())
    distance = np.linalg.norm(a[:, None] - b[None], axis=2).round(6)
    right = query_labels.numpy()[:, None] == gallery_labels.numpy()[None]
    hits = []
    for i in range(len(a)):
        items = [j for j in range(len(b)) if not (exclude_self and j == i)]
        if right[i, items].any():
            order = np.lexsort((right[i, items], distance[i, items]))
            hits.append(right[i, items][order[:k]].any())
    return np.mean(hits)


def sorted_recall(queries, query_labels, gallery, gallery_labels, k, exclude_self=False):
    similarity = torch.cosine_similarity(queries[:, None], gallery[None], dim=2)
    right = query_labels[:, None] == gallery_labels[None]
    similarity = similarity - 1e-4 * right  # a tie is lost
    if exclude_self:
        eye = torch.eye(len(queries), dtype=torch.bool)
        similarity, right = similarity.masked_fill(eye, -9), right & ~eye
    order = similarity.argsort(dim=1, descending=True)[:, :k]
    hit = right.gather(1, order).any(dim=1)[right.any(dim=1)]
    return hit.double().mean()  # a tensor


def numpy_forgetting(matrix):
    r = np.array(matrix, dtype=float)
    return (np.nanmax(r[:-1, :-1], axis=0) - r[-1, :-1]).mean()


def torch_forgetting(matrix):
    r = torch.tensor([[-1.0 if value is None else value for value in row] for row in matrix])
    return (r[:-1].max(dim=0).values - r[-1])[:-1].mean()


def functional_kd(student_logits, teacher_logits, temperature):
    log_p = F.log_softmax(teacher_logits.detach() / temperature, 1)
    log_q = F.log_softmax(student_logits[:, : teacher_logits.size(1)] / temperature, 1)
    return F.kl_div(log_q, log_p, log_target=True, reduction="sum") / len(log_p)


def entropies_kd(student_logits, teacher_logits, temperature):
    with torch.no_grad():
        p = torch.softmax(teacher_logits / temperature, dim=-1)
    log_q = torch.log_softmax(student_logits.narrow(1, 0, p.shape[1]) / temperature, dim=-1)
    return (torch.xlogy(p, p) - p * log_q).sum(-1).mean()


def cross_entropy_csd(student, teacher, labels, temperature):
    """Log-softmax with the diagonal cut out, and targets that are uniform over the positives."""
    n = len(labels)
    z = F.normalize(torch.cat([student, teacher.detach()]), dim=1)
    keep = ~torch.eye(n, 2 * n, dtype=torch.bool)
    logits = (z[:n] @ z.T / temperature)[keep].view(n, 2 * n - 1)
    target = (labels[:, None] == labels.repeat(2)[None])[keep].view(n, 2 * n - 1).float()
    return F.cross_entropy(logits, target / target.sum(dim=1, keepdim=True))


def shifted_csd(student, teacher, labels, temperature):
    """exp and log by hand, after the largest similarity is subtracted, in float64."""
    s = F.normalize(student.double(), dim=1)
    t = F.normalize(teacher.double(), dim=1).detach()
    total = 0
    for i in range(len(s)):
        logits = torch.cat([torch.cat([s[:i], s[i + 1 :]]) @ s[i], t @ s[i]]) / temperature
        of = torch.cat([labels[:i], labels[i + 1 :], labels])
        logits = logits - logits.max().detach()
        total = total - (logits - logits.exp().sum().log())[of == labels[i]].mean() / len(s)
    return total


def hsic_cka(x, y):
    n = len(x)
    h = np.eye(n) - np.ones((n, n)) / n
    k, m = h @ (x @ x.T).double().numpy() @ h, h @ (y @ y.T).double().numpy() @ h
    return np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))


def singular_cka(x, y):
    """By the cosines between principal directions."""
    ux, sx, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    uy, sy, _ = torch.linalg.svd(y - y.mean(0), full_matrices=False)
    cross = (sx**2 @ (ux.T @ uy) ** 2) @ sy**2
    return cross / ((sx**4).sum() * (sy**4).sum()).sqrt()


def numpy_stale(snapshots, labels, tasks):
    x = np.stack([snapshot.numpy() for snapshot in snapshots])
    old = x[tasks.numpy(), np.arange(len(tasks))]
    distance = ((_normalised(x[-1])[:, None] - _normalised(old)[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return (labels.numpy()[distance.argmin(axis=1)] == labels.numpy()).mean()


def library_stale(snapshots, labels, tasks):
    gallery = torch.cat([snapshots[t][tasks == t] for t in range(len(snapshots))])
    order = torch.cat([torch.nonzero(tasks == t)[:, 0] for t in range(len(snapshots))])
    index = csd.retrieval.Gallery(gallery.shape[1])
    index.add(gallery, order)
    found = index.search(snapshots[-1], 1, exclude_ids=torch.arange(len(labels)))[1][:, 0]
    return (labels[found] == labels).float().mean().numpy()  # an array without dimensions


def distance_triplet(features, labels, margin):
    distance = 1 - torch.cosine_similarity(features[:, None], features[None], dim=2)
    same = labels[:, None] == labels[None]
    own = same.clone().fill_diagonal_(False)
    far = (distance - 9 * (~own)).max(dim=1).values
    near = (distance + 9 * same).min(dim=1).values
    loss = (far - near + margin)[own.any(dim=1) & ~same.all(dim=1)].clamp(min=0)
    return loss.sum() / max(1, int((loss > 0).sum()))


def autograd_push(student_logits, teacher_logits, temperature):
    s = student_logits.clone().requires_grad_()
    log_q = F.log_softmax(s[:, : teacher_logits.shape[1]] / temperature, dim=1)
    loss = F.kl_div(log_q, F.softmax(teacher_logits / temperature, dim=1), reduction="batchmean")
    return -torch.autograd.grad(loss, s)[0]


def numpy_push(student_logits, teacher_logits, temperature):
    def softmax(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    s, t = student_logits.double().numpy() / temperature, teacher_logits.double().numpy() / temperature
    gap = (softmax(t) - softmax(s[:, : t.shape[1]])) / temperature / len(t)
    return np.hstack([gap, np.zeros((len(s), s.shape[1] - t.shape[1]))])


def lists_of_masks(labels):
    both = labels.tolist() * 2
    n = len(labels)
    a = [[j != i for j in range(2 * n)] for i in range(n)]
    return [a, [[a[i][j] and both[j] == both[i] for j in range(2 * n)] for i in range(n)]]


def numbers_of_masks(labels):
    n = len(labels)
    a = torch.ones(n, 2 * n)
    a[torch.arange(n), torch.arange(n)] = 0
    onehot = F.one_hot(labels, 10).float()
    return a, a * torch.cat([onehot @ onehot.T] * 2, dim=1)


def numpy_masks(labels):
    y = labels.numpy()
    a = np.hstack([~np.eye(len(y), dtype=bool), np.ones((len(y), len(y)), dtype=bool)])
    return a, (y[:, None] == np.tile(y, 2)[None]) & a


def method_in_one_line(step):
    lwf = csd.methods.lwf(step)
    return lwf if step.task == 0 else {"csd": csd.losses.csd(step.features, step.teacher.features, step.labels), **lwf}


def method_with_zeros(step):
    """All four names from the first task on, and losses of the shape (1,)."""
    terms = {"kd": torch.zeros(1), "csd": step.features.sum()[None] * 0, **csd.methods.finetune(step)}
    if step.task > 0:
        terms["kd"] = csd.losses.distillation(step.logits, step.teacher.logits)[None]
        terms["csd"] = csd.losses.csd(step.features, step.teacher.features, step.labels)[None]
    return terms


def numpy_displacement(x, y):
    x, y = x.double().numpy(), y.double().numpy()
    return np.mean(1 - np.sum(x * y, axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1))


def numpy_overlap(x, y, k):
    near = []
    for features in (x, y):
        unit = F.normalize(features.double(), dim=1).numpy()
        distance = ((unit[:, None] - unit[None]) ** 2).sum(axis=2)
        np.fill_diagonal(distance, np.inf)
        near.append(np.argsort(distance, axis=1)[:, :k])
    return np.array([len(np.intersect1d(a, b)) / k for a, b in zip(*near, strict=True)])


def scattered_overlap(x, y, k):
    both = torch.ones(len(x), len(x))
    for features in (x, y):
        similarity = torch.cosine_similarity(features[:, None], features[None], dim=2) - 9 * torch.eye(len(x))
        both = both * torch.zeros_like(both).scatter(1, similarity.topk(k).indices, 1.0)
    return both.sum(dim=1) / k


def hours_from_rows(images, epochs, speeds):
    rows = torch.tensor([images, epochs, speeds], dtype=torch.float64).T  # (tasks, 3)
    return (rows[:, 0] * rows[:, 1] / rows[:, 2]).sum() / 60 / 60


def left_by_counting_down(folder):
    run = csd.Run.load(folder)
    left = np.full(run.n_tasks, run.config.later_epochs)
    left[0] = run.config.epochs
    np.subtract.at(left, [record["task"] for record in run.records if "losses" in record], 1)
    return left


def until_by_reading_the_journal_each_time(n, stream, method, config, folder):
    records = csd.training(stream, method, config, out=folder)
    while sum('"kind": "epoch"' in line for line in journal(folder)) < n and next(records, None):
        pass


def until_in_sittings_of_one_record(n, stream, method, config, *, folder):
    while True:
        with contextlib.closing(csd.training(stream, method, config, out=folder)) as records:
            run = csd.Run.load(folder)
            if run.finished or Counter(record["kind"] for record in run.records)["epoch"] >= n:
                return n  # what it returns makes no difference
            next(records)


def journal(folder: Path) -> list[str]:
    path = folder / "records.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def distillation_on_top_of_the_library(step, weight=3.0):
    terms = dict(csd.methods.finetune(step))
    if step.task > 0:
        cosine = F.cosine_similarity(step.features, step.teacher.features.detach())
        terms = {"feature": weight * (2 - 2 * cosine).mean(), **terms}
    return terms


def relations_by_cdist(student, teacher):
    """All pairs in both orders, without the diagonal."""
    d = []
    for x in (student, teacher.detach()):
        x = F.normalize(x)
        d.append(torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")[~torch.eye(len(x), dtype=torch.bool)])
    return F.huber_loss(d[0] / d[0].mean(), d[1] / d[1].mean())


def first_values(matrix, task):
    """The first number of the column that is there."""
    column = np.array([row[task] for row in matrix], dtype=float)
    return [column[~np.isnan(column)][0], column[-1]]


def gathered(found, tasks):
    return (found.gather(0, tasks[None])[0] > found[-1]).float()


def numpy_lost(found, tasks):
    found, tasks = found.numpy(), tasks.numpy()
    return found[tasks, np.arange(len(tasks))] & ~found[-1]


def numpy_changed(ranks, tasks):
    r = ranks.numpy()
    then, now = np.take_along_axis(r, tasks.numpy()[None], axis=0)[0] == 1, r[-1] == 1
    return np.stack([then & ~now, now & ~then])


def mixed_changed(ranks, tasks):
    """A list of 0 and 1 beside an array of booleans."""
    n = len(tasks)
    ends = [(int(ranks[tasks[i], i]), int(ranks[-1, i])) for i in range(n)]
    return [int(a == 1 and b > 1) for a, b in ends], [int(a > 1 and b == 1) for a, b in ends]


def numpy_transfer(matrix):
    r = np.array(matrix, dtype=float)
    return np.mean(r[-1, :-1] - np.diag(r)[:-1])


def torch_transfer(matrix):
    """With the last task among the sum, which adds 0."""
    r = torch.tensor([[0.0 if value is None else value for value in row] for row in matrix])
    return (r[-1] - r.diagonal()).sum() / (len(r) - 1)


def logarithms(n_right, n_gallery, k):
    if k > n_gallery - n_right:
        return 1
    ways = [math.lgamma(n + 1) - math.lgamma(n - k + 1) for n in (n_gallery - n_right, n_gallery)]
    return -math.expm1(ways[0] - ways[1])


def counted(n_right, n_gallery, k):
    """Chance of one, two, … right items, added up."""
    ways = [math.comb(n_right, r) * math.comb(n_gallery - n_right, k - r) for r in range(1, k + 1)]
    return torch.tensor(sum(ways) / math.comb(n_gallery, k))


def covering(features, n):
    """By the sum after each choice instead of the gain."""
    unit = F.normalize(features)
    similarity, chosen = unit @ unit.T, torch.empty(0, dtype=torch.int64)
    served = torch.full((len(unit),), -1.0)
    for _ in range(n):
        best = torch.maximum(served, similarity).sum(dim=1).argmax()
        chosen = torch.cat([chosen, best[None]])
        served = torch.maximum(served, similarity[best])
    return chosen


def numpy_speakers(features, n):
    x = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    served, chosen = np.full(len(x), -1.0), []
    while len(chosen) < n:
        gain = np.clip(x @ x.T - served[:, None], 0, None).sum(axis=0)
        chosen.append(int(gain.argmax()))
        served = np.maximum(served, x @ x[chosen[-1]])
    return np.array(chosen)


def stacked_translation(gallery, old, new, ridge=0.1):
    """The penalty as more rows of a least-squares problem, in numpy."""
    a, b = (x.double().numpy() for x in (old, new))
    d = a.shape[1]
    rows = np.vstack([a - a.mean(0), np.sqrt(ridge) * np.eye(d)])
    w = np.linalg.lstsq(rows, np.vstack([b - b.mean(0), np.zeros((d, d))]), rcond=None)[0]
    return (gallery.numpy() - a.mean(0)) @ w + b.mean(0)


def inverse_translation(gallery, old, new, ridge=0.1):
    """The mean as a constant, W by an inverse, in float32."""
    a, b = old - old.mean(0), new - new.mean(0)
    w = torch.inverse(a.T @ a + torch.diag(torch.full((a.shape[1],), float(ridge)))) @ a.T @ b
    return gallery @ w + (new.mean(0) - old.mean(0) @ w)


def by_hand(values):
    v = torch.from_numpy(values)
    half = stats.t.isf(0.025, len(v) - 1) * v.std() / len(v) ** 0.5
    return torch.stack([v.mean() - half, v.mean() + half])


def most_of_what_is_missing(features, n):
    """By the scalar product with what the sum still lacks: the same where all features have length 1."""
    mean, total, chosen = features.mean(dim=0), 0, []
    for k in range(1, n + 1):
        fit = features @ (k * mean - total)
        fit[chosen] = -torch.inf
        chosen.append(int(fit.argmax()))
        total = total + features[chosen[-1]]
    return torch.tensor(chosen)


def means_by_one_hot(real, real_labels, synthetic, synthetic_labels):
    a, b = (F.one_hot(y).to(x).T for x, y in ((real, real_labels), (synthetic, synthetic_labels)))
    there = b.sum(dim=1) > 0
    gap = [w[there] @ x / w[there].sum(dim=1, keepdim=True) for w, x in ((a, real), (b, synthetic))]
    return F.mse_loss(gap[1], gap[0], reduction="sum")


def entropy_of_two_kinds(real, fake):
    """As a binary cross-entropy with labels, each kind by itself."""
    return sum(F.binary_cross_entropy_with_logits(s, torch.full_like(s, y)) for s, y in ((real, 1.0), (fake, 0.0)))


def terms_of_the_library(logits, old_logits, maps, old_maps, drawn, labels, feature):
    n, k, c = len(drawn), old_logits.shape[1], logits.shape[1]
    return {
        "dreamt maps": feature * map_distance(maps[:n], old_maps[:n]),
        "dreamt kd": dreamt_distillation(logits[:n], old_logits[:n]) * k / c,
        "ce": csd.losses.cross_entropy(logits[n:], labels) * (c - k) / c,
    }


def terms_by_einsum(logits, old_logits, maps, old_maps, drawn, labels, feature):
    """With soft targets for all rows, which are one-hot for the new ones."""
    n, (rows, k), c = len(drawn), old_logits.shape, logits.shape[1]
    targets = torch.zeros(rows, c)
    targets[:n, :k] = old_logits[:n].detach().softmax(1)
    targets[n:] = F.one_hot(labels, c).float()
    each = -torch.einsum("ic,ic->i", targets, logits.log_softmax(1)) / n
    gap = torch.cdist(maps[:n].flatten(1), old_maps[:n].detach().flatten(1)).diagonal()
    return {
        "ce": each[n:].sum() * (1 - k / c),
        "dreamt kd": each[:n].sum() * k / c,
        "dreamt maps": gap.mean() * feature,
    }


def pooled(images, side):
    return F.avg_pool2d(images.float(), images.shape[-1] // side).add(0.5).floor().byte()


def numpy_smaller(images, side):
    b, c, h, _ = images.shape
    blocks = images.numpy().reshape(b, c, side, h // side, side, h // side)
    return np.rint(blocks.mean(axis=(3, 5))).astype(np.uint8)


def counted_kept(labels, size):
    """By the counts of a Counter, with the classes of which nothing is kept filled in at the end."""
    kept = Counter()
    for label in labels:
        if kept.total() == size:
            largest, most = max(kept.items(), key=lambda item: (item[1], -item[0]))
            if kept[label] >= most:
                continue
            kept[largest] -= 1
        kept[label] += 1
    return torch.tensor([kept[c] for c in range(max(labels) + 1)])


def numpy_kept(labels, size):
    kept = np.zeros(max(labels) + 1, dtype=int)
    for label in labels:
        if kept.sum() == size and kept[label] < kept.max():
            kept[kept.argmax()] -= 1
        if kept.sum() < size:
            kept[label] += 1
    return kept


def votes_of_each_class(queries, supports, onehot, temperature):
    """Class by class, of those whose label it is."""
    weights = torch.softmax(torch.cosine_similarity(queries[:, None], supports[None], dim=2) / temperature, dim=1)
    labels, n_classes = onehot.argmax(dim=1), onehot.shape[1]
    return torch.stack([weights[:, labels == c].sum(dim=1) for c in range(n_classes)], dim=1)


def reservoir_by_slots(draws, size):
    """A dictionary of who sits where, read out at the end."""
    seats = {}
    for n, draw in enumerate(draws):
        seat = n if n < size else int(np.floor(draw * (n + 1)))
        seats |= {seat: n} if seat < size else {}
    return np.array([seats[seat] for seat in sorted(seats)])


def rewritten_by_where(stored, current, labels, lo, hi, gamma):
    """On all heads at once, with a mask for those that are rewritten."""
    heads = torch.arange(stored.shape[1])
    chosen = (heads >= lo) & (heads < hi)
    top = current.masked_fill(~chosen, -torch.inf).max(dim=1, keepdim=True).values
    limit = F.relu(gamma * (stored * F.one_hot(labels, stored.shape[1])).sum(dim=1, keepdim=True))
    factor = torch.ones_like(top)
    factor[top > limit] = (limit / top)[top > limit]
    return torch.where(chosen, factor * current, stored)


def hinge_by_masked_mean(logits, labels, n_past, margin):
    gaps = [row[:n_past].max() - row[label] + margin for row, label in zip(logits, labels, strict=True)]
    gaps = torch.stack(gaps)
    return gaps[gaps > 0].mean() if (gaps > 0).any() else gaps.sum() * 0


OTHERS = [
    ("search", numpy_search),
    ("search", lambda q, g, k: torch.cosine_similarity(q[:, None], g[None], dim=2).argsort(1, descending=True)[:, :k]),
    ("recall_at_k", numpy_recall),
    ("recall_at_k", sorted_recall),
    ("forgetting", numpy_forgetting),
    ("forgetting", torch_forgetting),
    ("forgetting", csd.metrics.forgetting),
    ("temperature_softmax", lambda logits, temperature: torch.softmax(logits / temperature, 1)),
    ("temperature_softmax", lambda logits, temperature: F.log_softmax(logits / temperature, 1).exp().numpy()),
    ("distillation", functional_kd),
    ("distillation", entropies_kd),
    ("distillation", csd.losses.distillation),
    ("triplet", distance_triplet),
    ("triplet", csd.losses.batch_hard_triplet),
    ("csd", cross_entropy_csd),
    ("csd", shifted_csd),
    ("csd", csd.losses.csd),
    ("linear_cka", hsic_cka),
    ("linear_cka", singular_cka),
    ("linear_cka", csd.drift.linear_cka),
    ("stale_recall", numpy_stale),
    ("stale_recall", library_stale),
    ("push", autograd_push),
    ("push", numpy_push),
    ("contrast_masks", lists_of_masks),
    ("contrast_masks", numbers_of_masks),
    ("contrast_masks", numpy_masks),
    ("my_csd", csd.methods.csd),
    ("my_csd", method_in_one_line),
    ("my_csd", method_with_zeros),
    ("mean_displacement", numpy_displacement),
    ("mean_displacement", lambda x, y: 1 - F.cosine_similarity(x, y).mean()),
    ("mean_displacement", lambda x, y: (F.normalize(x) - F.normalize(y)).square().sum(dim=1).mean() / 2),
    ("mean_displacement", csd.drift.mean_displacement),
    ("neighbor_overlap", numpy_overlap),
    ("neighbor_overlap", scattered_overlap),
    ("neighbor_overlap", csd.drift.neighbor_overlap),
    ("training_hours", hours_from_rows),
    (
        "training_hours",
        lambda images, epochs, speeds: sum(n / v * e / 3600 for n, v, e in zip(images, speeds, epochs, strict=True)),
    ),
    ("epochs_left", left_by_counting_down),
    (
        "epochs_left",
        lambda folder: tuple(
            csd.Run.load(folder).config.epochs_of(task)
            - sum(r["task"] == task and r["kind"] == "epoch" for r in csd.Run.load(folder).records)
            for task in range(csd.Run.load(folder).n_tasks)
        ),
    ),
    ("train_until", until_by_reading_the_journal_each_time),
    ("train_until", until_in_sittings_of_one_record),
    ("feature_distance", lambda s, t: 2 * (1 - F.cosine_similarity(s, t.detach(), dim=1)).mean()),
    ("feature_distance", lambda s, t: F.mse_loss(F.normalize(s), F.normalize(t).detach()) * s.shape[1]),
    (
        "feature_distance",
        lambda student, teacher: (
            (F.normalize(student.double()) - F.normalize(teacher.double().detach())).norm(dim=1) ** 2
        ).mean(),
    ),
    ("feature_distillation", distillation_on_top_of_the_library),
    ("relation_distance", relations_by_cdist),
    (
        "relation_distance",
        lambda s, t: F.smooth_l1_loss(
            *((d / d.mean()) for d in (F.pdist(F.normalize(s)), F.pdist(F.normalize(t.detach()))))
        ),
    ),
    ("first_and_last", first_values),
    ("first_and_last", lambda matrix, task: torch.tensor([matrix[task][task], matrix[len(matrix) - 1][task]])),
    ("lost_queries", gathered),
    ("lost_queries", numpy_lost),
    ("lost_queries", lambda found, tasks: [bool(found[t, n] and not found[-1, n]) for n, t in enumerate(tasks)]),
    ("lost_and_won", numpy_changed),
    ("lost_and_won", mixed_changed),
    ("lost_and_won", lambda r, t: [csd.metrics.query_changes(r, t)[change] for change in ("lost", "won")]),
    ("backward_transfer", numpy_transfer),
    ("backward_transfer", torch_transfer),
    ("backward_transfer", lambda matrix: -csd.metrics.first_minus_last(matrix)),
    ("chance_recall", logarithms),
    ("chance_recall", counted),
    ("chance_recall", lambda n_right, n_gallery, k: stats.hypergeom.sf(0, n_gallery, n_right, k)),
    ("representatives", covering),
    ("representatives", numpy_speakers),
    ("translate", stacked_translation),
    ("translate", inverse_translation),
    ("t_interval", by_hand),
    ("t_interval", lambda v: stats.t.interval(0.95, len(v) - 1, v.mean(), stats.sem(v))),
    ("t_interval", lambda v: stats.ttest_1samp(v, 0).confidence_interval()),
    ("paired_difference", lambda a, b: (np.mean(a - b), *stats.ttest_rel(a, b).confidence_interval())),
    ("paired_difference", lambda a, b: np.array([(a - b).mean(), *by_hand(a - b)])),
    ("herd", most_of_what_is_missing),
    ("herd", lambda features, n: library_herd(features, n).numpy()),
    ("dm_loss", means_by_one_hot),
    ("dm_loss", distribution_matching),
    ("as_bytes", lambda pixels: (pixels.clamp(0, 1) * 255 + 0.5).byte()),
    ("as_bytes", lambda pixels: np.clip(np.rint(pixels.numpy() * 255), 0, 255).astype(np.uint8)),
    ("worth_in_images", lambda n, shape: math.floor(4 * n / (math.prod(shape) + 8))),
    ("worth_in_images", lambda n, shape: csd.generator.worth_in_images(4 * n, shape)),
    ("worth_in_images", lambda n, shape: torch.zeros(n).nbytes // (torch.zeros(shape, dtype=torch.uint8).nbytes + 8)),
    ("discriminator_loss", csd.generator.discriminator_loss),
    ("discriminator_loss", lambda real, fake: -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()),
    ("discriminator_loss", entropy_of_two_kinds),
    ("replay_terms", terms_of_the_library),
    ("replay_terms", terms_by_einsum),
    ("images_that_fit", lambda n, side, channels, label: int(n / (side**2 * channels + label))),
    ("images_that_fit", lambda n, side, channels, label: n // (torch.zeros(channels, side, side).numel() + label)),
    ("images_that_fit", lambda n, side, channels, label: math.floor(n / (channels * side**2 + label))),
    ("shrink", pooled),
    ("shrink", numpy_smaller),
    ("shrink", small.shrink),
    ("kept_per_class", counted_kept),
    ("kept_per_class", numpy_kept),
    ("snn_predict", lambda q, s, y, t: (torch.cosine_similarity(q[:, None], s[None], dim=2) / t).softmax(1) @ y),
    (
        "snn_predict",
        lambda q, s, y, t: torch.softmax(-(torch.cdist(F.normalize(q), F.normalize(s)) ** 2) / (2 * t), 1) @ y,
    ),
    ("snn_predict", snn_predict),
    ("snn_predict", votes_of_each_class),
    ("sharpen", lambda p, t: (p.log() / t).softmax(dim=1)),
    ("sharpen", lambda p, t: p.pow(1 / t) / p.pow(1 / t).sum(1)[:, None]),
    ("spread", lambda p: torch.special.xlogy(p.mean(0), p.mean(0).clamp_min(1e-30)).sum()),
    ("spread", lambda p: -torch.distributions.Categorical(probs=p.mean(0)).entropy()),
    ("spread", lambda p: -torch.special.entr(p.mean(0).clamp_min(1e-30)).sum()),
    ("reservoir", reservoir_by_slots),
    (
        "reservoir",
        lambda draws, size: torch.tensor(
            [
                max([at, *(n for n in range(size, len(draws)) if int(draws[n] * (n + 1)) == at)])
                for at in range(min(size, len(draws)))
            ]
        ),
    ),
    ("rewrite_logits", rewrite_logits),
    ("rewrite_logits", rewritten_by_where),
    ("past_hinge", hinge_by_masked_mean),
    (
        "past_hinge",
        lambda z, y, n, m: (
            F.multi_margin_loss(
                torch.stack([z[range(len(y)), y], z[:, :n].amax(dim=1)], dim=1),
                torch.zeros_like(y),
                margin=m,
                reduction="sum",
            )
            * 2
            / max(1, int((z[:, :n].amax(dim=1) + m > z[range(len(y)), y]).sum()))
        ),
    ),
]
