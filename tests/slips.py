"""Wrong answers that are in no table, or are made in another way: edits of the right ones, as in `answers`.

Each has the name under which it is told; ? where all that can be said is that it is wrong.
"""

from __future__ import annotations

from tests.answers import entries

SLIPS = {
    "first_and_last": entries("""
    comparison | first = column[task] => first = column[task + 1] if task + 1 < len(column) else column[task]
    another index | last = column[len(matrix) - 1] => last = column[task]
    too many | last = column[len(matrix) - 1] => last = max(x for x in column if x is not None)
    ? | return first, last => return [round(first), round(last)]
    wrong shape | return first, last => return sum(x for x in column if x is not None) / len(column)
    percent instead of a share | return first, last => return 100 * first, 100 * last
    wrong shape | return first, last => return first
    another index | [row[task] for row in matrix] => [row[task - 1] for row in matrix]
    """),
    "lost_queries": entries("""
    conditions | then and not now => then or not now
    conditions | then and not now => not (then and not now)
    wrong shape | return torch.tensor(mask) => return sum(mask) / len(mask)
    off by one | found[T - 1, n] => found[T - 2, n]
    off by one | found[T - 1, n] => found[0, n]
    a part too many | found[t, n] => found[t - 1, n]
    conditions | then and not now => not then and not now
    wrong shape | mask.append => return torch.tensor([then and not now]); mask.append
    """),
    "search": entries("""
    wrong shape | order[:k] => order[k:]
    off by one | order[:k] => order[: k + 1]
    least similar first; answers in reverse order | order[:k] => order[-k:]
    a part too many | order[:k] => sorted(order[:k])
    wrong shape | order[:k] => order[0]
    a part too many | order[:k] => [j + 1 for j in order[:k]]
    `order` for `_` | order = sorted( => order = [similarity[j] for j in range(len(b))]; _ = sorted(
    a part too many | -similarity[j] => -abs(similarity[j])
    ? | gallery.norm(dim=1, keepdim=True) => gallery.sum(dim=1, keepdim=True)
    """),
    "recall_at_k": entries("""
    off by one | [:k] => [: k - 1]
    `k` for `exclude_self` | exclude_self and i == j => i == j
    conditions | any(answers) => not any(answers)
    `gallery` for `hits` | sum(hits) / len(hits) => sum(hits) / len(gallery)
    a part too many | float(queries[i] @ gallery[j]) => abs(float(queries[i] @ gallery[j]))
    one of many | any(answers) => answers[0]
    comparison | query_labels[i] == gallery_labels[j] => query_labels[i] != gallery_labels[j]
    ? | query_labels[i] == gallery_labels[j] => query_labels[i] == query_labels[j % len(query_labels)]
    precision instead of recall | sum(hits) / len(hits) => sum(hits) / (len(hits) * k)
    dot product instead of cosine | gallery = gallery / gallery.norm(dim=1, keepdim=True)
        => gallery = gallery / gallery.norm()
    wrong type | return sum(hits) / len(hits) => return max(hits)
    ? | hits.append(any(answers)) => return float(any(answers))
    """),
    "chance_recall": entries("""
    off by one | range(k) => range(1, k)
    off by one | range(k) => range(k + 1)
    off by one | range(k) => range(k - 1)
    the gallery does not get smaller | (n_wrong - i) / (n_gallery - i) => (n_wrong - i) / n_gallery
    the wrong ones do not get fewer | (n_wrong - i) / (n_gallery - i) => n_wrong / (n_gallery - i)
    a part too many | n_gallery - n_right => n_gallery - n_right - 1
    ? | 1 - miss => 1 / miss
    ? | return 1 - miss => return n_right / n_gallery / k
    a part too many | return 1 - miss => return (1 - miss) / k
    ? | n_wrong = n_gallery - n_right => n_wrong = n_gallery
    a part too many | return 1 - miss => return round(1 - miss, 2)
    whole numbers only | (n_wrong - i) / (n_gallery - i) => (n_wrong - i) // (n_gallery - i)
    """),
    "backward_transfer": entries("""
    off by one | range(n - 1) => range(1, n - 1)
    off by one | range(n - 1) => range(1, n)
    another index | matrix[n - 1][j] => matrix[n - 2][j]
    error | total / (n - 1) => total / (n - 2)
    error | matrix[j][j] => matrix[0][j]
    error | matrix[n - 1][j] => matrix[j][n - 1]
    the first task alone | total += last - first => return last - first
    written over | total += last - first => total = last - first
    a part too many | last - first => (last - first) ** 2
    ? | total += last - first => total = min(total, last - first)
    a part too many | last - first => max(0, last - first)
    whole numbers only | total / (n - 1) => total // (n - 1)
    diagonal minus last row | return total / (n - 1) => return -total / (n - 1)
    """),
    "forgetting": entries("""
    error | range(n - 1): => range(n):
    off by one | range(n - 1): => range(1, n - 1):
    error | i in range(n - 1) if => i in range(n - 2) if
    largest and smallest confused | max(before) => min(before)
    the mean instead of the best | max(before) => sum(before) / len(before)
    the first value instead of the best | max(before) => before[0]
    a part too many | max(before) - matrix[n - 1][j] => abs(max(before) - matrix[n - 1][j])
    the best includes the last row | max(before) - matrix[n - 1][j] => max(0, max(before) - matrix[n - 1][j])
    only the first task | total += => return
    a part too many | total / (n - 1) => 100 * total / (n - 1)
    another index | matrix[n - 1][j] => matrix[n - 1][n - 1]
    relative to the best | max(before) - matrix[n - 1][j] => (max(before) - matrix[n - 1][j]) / max(before)
    """),
    "lost_and_won": entries("""
    conditions | then and not now => then or not now
    off by one | int(ranks[T - 1, n]) => int(ranks[T - 2, n])
    a part too many | ranks[t, n] => ranks[t - 1, n]
    ? | before == 1, after == 1 => before == 0, after == 0
    won before lost | before == 1, after == 1 => before != 1, after != 1
    a part missing | now and not then => now
    `lost` for `won` | torch.tensor(lost), torch.tensor(won) => torch.tensor(lost), torch.tensor(lost)
    """),
    "temperature_softmax": entries("""
    a part too many | logits / temperature => logits / temperature ** 2
    no temperature | logits / temperature => logits - temperature
    two things swapped | torch.exp(z) => torch.exp(-z)
    everything at once | e.sum(dim=1, keepdim=True) => e.sum()
    a part missing | e.sum(dim=1, keepdim=True) => e.max(dim=1, keepdim=True).values
    a part too many | return e / e.sum(dim=1, keepdim=True) => return e / e.sum(dim=1, keepdim=True) * temperature
    an exponential | torch.exp(z) => z
    a part too many | return e / e.sum(dim=1, keepdim=True) => return (e / e.sum(dim=1, keepdim=True)).argmax(dim=1)
    another reduction | e.sum(dim=1, keepdim=True) => e.mean(dim=1, keepdim=True)
    error | keepdim=True).values => keepdim=True)
    """),
    "distillation": entries("""
    two things swapped | (p * (log_p - log_q)) => (p * (log_p + log_q))
    largest instead of mean over the batch | .sum(dim=1).mean() => .sum(dim=1).max()
    a part too many | (log_p - log_q) => (log_p - log_q).abs()
    multiplied and divided confused | student_logits[:, :old] / temperature => student_logits[:, :old] * temperature
    columns instead of rows | .sum(dim=1).mean() => .sum(dim=0).mean()
    not weighted by the teacher | (p * (log_p - log_q)) => (log_p - log_q)
    `log_q` for `log_p` | (p * (log_p - log_q)) => (log_q.exp() * (log_p - log_q))
    a part too many | .mean() => .mean() / temperature
    squared difference of the probabilities | (p * (log_p - log_q)) => ((p - log_q.exp()) ** 2)
    entropy of the teacher | (p * (log_p - log_q)) => (-p * log_p)
    """),
    "push": entries("""
    a sign the other way round | (p[c] - q[c]) => (p[c] + q[c])
    a part missing | (p[c] - q[c]) => p[c]
    ? | / (temperature * size) => / (temperature * len(student_logits[0]))
    off by one | range(old) => range(1, old)
    multiplied and divided confused | / (temperature * size) => / temperature * size
    off by one | range(old) => range(old - 1)
    a part too many | (p[c] - q[c]) => abs(p[c] - q[c])
    a part too many | return result => return result.sum(dim=0)
    """),
    "triplet": entries("""
    added and multiplied confused | max(negatives) - min(positives) + margin
        => (max(negatives) - min(positives)) * margin
    the mean of the negatives | max(negatives) - min(positives) => sum(negatives) / len(negatives) - min(positives)
    the mean of the positives | max(negatives) - min(positives) => max(negatives) - sum(positives) / len(positives)
    the largest loss | .mean() if losses => .max() if losses
    a part too many | losses.append(loss) => losses.append(loss ** 2)
    a sign the other way round | max(negatives) - min(positives) + margin => max(negatives) + min(positives) + margin
    ? | if loss > 0: => if loss > margin:
    """),
    "contrast_masks": entries("""
    `same` for `itself` | a.append(not itself) => a.append(True if j >= n else not same)
    conditions | same and not itself => same or not itself
    ? | p.append(same and not itself) => p.append(same and j < n)
    own teacher view not compared | itself = j == i => itself = j % n == i
    wrong shape | return torch.tensor(contrast), torch.tensor(positive) => return torch.tensor(contrast)
    wrong shape | torch.tensor(contrast), torch.tensor(positive) => torch.tensor(contrast).T, torch.tensor(positive).T
    """),
    "csd": entries("""
    only the best positive | .mean()) => .max())
    only the farthest positive | -log_p[positive].mean() => -log_p[positive].min()
    a part missing | -log_p[positive].mean() => -log_p.mean()
    a part too many | / temperature => / temperature ** 2
    comparison | -log_p[positive].mean() => -log_p[~positive].mean() if (~positive).any() else log_p.sum() * 0
    `t` for `s` | candidates @ s[i] => candidates @ t[i]
    a part missing | torch.cat([s[others], t])
        => torch.cat([s[others], t[others]])
        | torch.cat([labels[others], labels]) => torch.cat([labels[others], labels[others]])
    the first anchor only | torch.stack(losses).mean() => losses[0]
    the last anchor only | torch.stack(losses).mean() => losses[-1]
    the first anchor only | losses.append( => return (
    distances instead of cosines | logits = candidates @ s[i] / temperature
        => logits = -(candidates - s[i]).norm(dim=1) / temperature
    `s` for `t` | torch.cat([s[others], t]) => torch.cat([s[others], s])
    a part too many | -log_p[positive].mean() => -log_p[positive].mean() * temperature
    another reduction | -log_p[positive].mean()
        => -(log_p[positive].mean() - log_p[~positive].mean() if (~positive).any() else log_p[positive].mean())
    another index | == labels[i] => == labels[0]
    ? | .mean()) => .sum() / len(s))
    """),
    "mean_displacement": entries("""
    a sign the other way round | 1 - cosine => 1 + cosine
    another index | total / len(x) => total / x.shape[1]
    a part too many | total / len(x) => total / (len(x) - 1)
    ? | zip(x, y) => zip(x[1:], y[1:])
    added and multiplied confused | (a.norm() * b.norm()) => (a.norm() + b.norm())
    multiplied and divided confused | (a.norm() * b.norm()) => a.norm() * b.norm()
    `x` for `y` | zip(x, y) => zip(x, x)
    a part too many | (a.norm() * b.norm()) => (a.norm() * b.norm()) ** 2
    a part too many | float(1 - cosine) => float(1 - cosine) ** 2
    a part too many | zip(x, y) => zip(x, y.flip(0))
    ? | zip(x, y) => zip(x[:1], y[:1])
    """),
    "linear_cka": entries("""
    entries added up instead of a norm | ((x.T @ y) ** 2).sum() => (x.T @ y).sum() ** 2
    denominator added up | below_x * below_y => below_x + below_y
    a part missing | below_x * below_y => below_x
    ? | ((x.T @ y) ** 2).sum() => (x.T @ y).abs().sum()
    another reduction | ((x.T @ y) ** 2).sum() => ((x.T @ y) ** 2).mean()
    `below_x` for `below_y` | below_x * below_y => below_x * below_x
    ? | x - x.mean(dim=0)
        => (x - x.mean(dim=0)) / x.norm()
        | y - y.mean(dim=0) => (y - y.mean(dim=0)) / y.norm()
        | ((x.T @ x) ** 2).sum().sqrt() => 1
    rows scaled to length 1 | x - x.mean(dim=0)
        => F.normalize(x) - F.normalize(x).mean(dim=0)
        | y - y.mean(dim=0) => F.normalize(y) - F.normalize(y).mean(dim=0)
    rows scaled instead of columns centred | x - x.mean(dim=0) => F.normalize(x) | y - y.mean(dim=0) => F.normalize(y)
    """),
    "neighbor_overlap": entries("""
    off by one | [:k] => [: k + 1]
    ? | [:k] => [:1]
    `x` for `before` | len(kept) / k => len(kept) / len(x)
    ? | len(kept) / k => k / max(1, len(kept))
    kept by any image | near(y, i) => near(x, i)
    a part too many | len(kept) / k => 100 * len(kept) / k
    share of those lost | if j in after => if j not in after
    a part too many | unit @ unit[i] => (unit @ unit[i]).abs()
    another index | unit[i] => unit[0]
    """),
    "stale_recall": entries("""
    another index | snapshots[-1][i] => snapshots[-2][i]
    off by one | snapshots[int(tasks[j])][j] => snapshots[min(int(tasks[j]) + 1, len(snapshots) - 1)][j]
    a part too many | sum(hits) / len(hits) => 100 * sum(hits) / len(hits)
    comparison | answer == labels[i] => answer != labels[i]
    comparison | if similarity > best: => if similarity < best or answer is None:
    another index | snapshots[int(tasks[j])][j] => snapshots[int(tasks[i])][j]
    ? | answer == labels[i] => (answer // 2) == (labels[i] // 2)
    Euclidean distance of unscaled features | torch.cosine_similarity(query, item, dim=0) => -(query - item).norm()
    comparison | sum(hits) / len(hits) => 1 - sum(hits) / len(hits)
    another index | snapshots[-1][i] => snapshots[0][i]
    """),
    "representatives": entries("""
    off by one | range(n) => range(n - 1)
    wrong shape | return chosen => return chosen[-1]
    a part too many | return chosen => return chosen[::-1]
    the choice is forgotten | max(served[i], similar[i][best]) => min(served[i], similar[i][best])
    the candidate's own similarity taken off | similar[i][j] - served[i]) => similar[j][i] - served[j])
    wrong type | return chosen => return [similar[j][j] for j in chosen]
    """),
    "translate": entries("""
    a sign the other way round | += ridge => -= ridge
    a sign the other way round | (g - away) @ W + home => (g - away) @ W - home
    `home` for `away` | (g - away) @ W => (g - home) @ W
    two things swapped | torch.linalg.inv(M) @ R => R @ torch.linalg.inv(M)
    a part too many | M[d, d] += ridge => M[d, d] += ridge ** 0.5
    λ left out | torch.linalg.inv(M) @ R => torch.linalg.pinv(A) @ B
    one mean for all dimensions | old.mean(dim=0), new.mean(dim=0) => old.mean(dim=1).mean(), new.mean(dim=1).mean()
    ? | A, B = old - away, new - home => A, B = (old - away) / old.std(dim=0), (new - home) / new.std(dim=0)
    `old` for `gallery` | for g in gallery => for g in old
    a part too many | M[d, d] += ridge => M[d, d] += ridge / len(old)
    """),
    "t_interval": entries("""
    the ends are swapped | 0.975 => 0.025
    comparison | n - 1).ppf => n - 2 + (n == 2)).ppf
    ? | mean = sum(values) / n => mean = np.median(values)
    a part too many | margin = t * s / n ** 0.5 => margin = t * s / (n - 1) ** 0.5
    half the margin | mean - margin, mean + margin => mean - margin / 2, mean + margin / 2
    1.96 instead of Student's factor; not divided by √n | margin = t * s / n ** 0.5 => margin = 1.96 * s
    a 99 % interval | 0.975 => 0.995
    2 instead of Student's factor | return mean - margin, mean + margin
        => return mean - 2 * s / n ** 0.5, mean + 2 * s / n ** 0.5
    wrong shape | return mean - margin, mean + margin => return [mean - margin]
    wrong shape | return mean - margin, mean + margin => return 2 * margin
    """),
    "paired_difference": entries("""
    a part too many | x - y for => (x - y) / y for
    a sign the other way round | x - y for => x + y for
    a part missing | x - y for => x for
    a 90 % interval of the difference | 0.975 => 0.95
    a part missing | stats.t(n - 1) => stats.t(n)
    a square root | / n ** 0.5 => / n
    the upper end first | return mean, mean - margin, mean + margin => return mean, mean + margin, mean - margin
    the ends around 0 | return mean, mean - margin, mean + margin => return mean, -margin, margin
    wrong type | return mean, mean - margin, mean + margin => return mean > 0
    wrong type | return mean, mean - margin, mean + margin => return mean, (mean - margin, mean + margin)
    variance of the differences | s = (sum((x - mean) ** 2 for x in d) / (n - 1)) ** 0.5
        => s = sum((x - mean) ** 2 for x in d) / (n - 1)
    """),
    "training_hours": entries("""
    ? | total / 3600 => total / 24
    two things swapped | passed / speeds[task] => speeds[task] / passed
    added, not multiplied | images[task] * epochs[task] => images[task] + epochs[task]
    off by one | range(len(images)) => range(1, len(images))
    off by one | range(len(images)) => range(len(images) - 1)
    another index | epochs[task] => epochs[0]
    another index | images[task] => images[0]
    another reduction | total += passed / speeds[task] => total = max(total, passed / speeds[task])
    multiplied and divided confused | return total / 3600 => return total * 3600
    the first task only | total += passed / speeds[task] => return passed / speeds[task] / 3600
    whole numbers only | passed / speeds[task] => passed // speeds[task]
    """),
    "feature_distance": entries("""
    comparison | / len(student) => / (len(student) - 1 + (len(student) == 1))
    a sign the other way round | s / s.norm() - t / t.norm() => s / s.norm() + t / t.norm()
    the largest difference | sum(x ** 2 for x in gap) => max(x ** 2 for x in gap)
    written over | total = total + => total =
    1 − cosine | sum(x ** 2 for x in gap) => sum(x ** 2 for x in gap) / 2
    divided by the sum, not the length | s / s.norm() => s / s.sum() | t / t.norm() => t / t.sum()
    columns instead of rows | / len(student) => / len(student[0])
    ? | s / s.norm() - t / t.norm() => s / s.norm() - s.detach() / s.detach().norm()
    a part too many | sum(x ** 2 for x in gap) => sum(x ** 2 for x in gap) ** 2
    the first image only | total = total + sum(x ** 2 for x in gap) => return sum(x ** 2 for x in gap)
    """),
    "relation_distance": entries("""
    too many | range(i + 1, len(rows)) => range(i, len(rows))
    ½ not subtracted in Huber's loss | gap - 0.5 => gap
    half forgotten in Huber's loss | gap ** 2 / 2 => gap ** 2
    differences with their sign | abs(a - b) => a - b
    the mean subtracted | [d / mean for d in found] => [d - mean for d in found]
    divided by the largest | [d / mean for d in found] => [d / max(found) for d in found]
    divided by the sum | mean = sum(found) / len(found) => mean = sum(found)
    two things swapped | d / mean => d * mean
    comparison | if gap <= 1 else => if gap > 1 else
    a sign the other way round | rows[i] - rows[j] => rows[i] + rows[j]
    `student` for `teacher` | relations(teacher.detach()) => relations(student.detach())
    `student` for `pairs` | total / len(pairs) => total / len(student)
    """),
    "my_csd": entries("""
    ? | 0.07) => 0.7) * 0.1
    a part too many | contrast(step.features, step.teacher.features, 0.07)
        => contrast(step.features, step.teacher.features, 0.07) ** 2
    terms added up | return terms => return sum(terms.values())
    unknown term | terms["csd"] => terms["contrast"]
    """),
    "feature_distillation": entries("""
    a sum | (gap ** 2).sum() / len(s) => (gap ** 2).mean()
    another reduction | (gap ** 2).sum() / len(s) => (gap ** 2).sum()
    a part too many | weight * ( => (weight - 1) * (
    feature term not squared | (gap ** 2).sum() / len(s) => gap.norm(dim=1).mean()
    absolute differences in the feature term | (gap ** 2).sum() / len(s) => gap.abs().sum() / len(s)
    comparison | step.teacher is not None => step.task > 1
    a part too many | weight * ( => weight ** 2 * (
    """),
    "herd": entries("""
    off by one | range(1, n + 1) => range(1, n)
    wrong shape | return chosen => return chosen[-1]
    a part too many | return chosen => return chosen[::-1]
    another reduction | / N for d => for d
    wrong type | return chosen => return [float(features[j, 0]) for j in chosen]
    chosen twice | if i in chosen: => if chosen and i < 0:
    """),
    "dm_loss": entries("""
    a sign the other way round | sum(a) / len(a) - sum(b) / len(b) => sum(a) / len(a) + sum(b) / len(b)
    a part missing | sum(a) / len(a) - sum(b) / len(b) => sum(b) / len(b)
    sums instead of means | sum(a) / len(a) - sum(b) / len(b) => sum(a) - sum(b) | total = 0 => total = 0.0
    the last class only | total = total + here => total = here + 0
    ? | sum(a) / len(a) - sum(b) / len(b) => sum(a) / len(b) - sum(b) / len(a)
    wrong shape | sum(x ** 2 for x in gap) => gap ** 2
    mean over the features | sum(x ** 2 for x in gap) => (gap ** 2).mean()
    a part too many | return total => return total ** 2
    """),
    "as_bytes": entries("""
    times 256 | x * 255 => x * 255 * 256 / 255
    inverted | round(x * 255) => 255 - round(x * 255)
    scaled, then cut to 0 to 1 | min(max(value, 0), 255) => min(max(value, 0), 1.0)
    wrong shape | .reshape(pixels.shape) => .reshape(-1)
    """),
    "worth_in_images": entries("""
    ? | n_parameters * 4 => n_parameters * 2
    one too much | (count + 1) * one => count * one
    a part too many | return count => return count + 1
    added and multiplied confused | c * h * w * 1 + 8 => c * h * w * 8
    a part too many | c * h * w * 1 + 8 => c * h * w + h * w + 8
    """),
    "discriminator_loss": entries("""
    a sign the other way round | return up + down => return up - down
    ? | return up + down => return max(up, down)
    `real` for `fake` | surprise(-s) for s in fake => surprise(-s) for s in real
    ? | sum(surprise(s) for s in real) / len(real) => surprise(real[0])
    a part too many | return up + down => return (up + down) / math.log(4)
    """),
    "replay_terms": entries("""
    a part too many | p[labels[i]] => p[labels[i]] / 2
    a part too many | w_old * kd / n => w_old * kd / (n + 1)
    `drawn` for `labels` | ce - p[labels[i]] => ce - p[drawn[i]]
    """),
    "images_that_fit": entries("""
    added and multiplied confused | side * channels => side + channels
    comparison | n_bytes >= one => n_bytes > one
    off by one | n = 0 => n = 1
    `channels` for `side` | range(side) => range(channels)
    `one` for `n` | return n => return one
    a sign the other way round | one = label_bytes => one = -label_bytes
    """),
    "shrink": entries("""
    error | sum(numbers) / len(numbers) => sum(numbers) / k
    ? | round(sum(numbers) / len(numbers)) => min(numbers)
    ? | out[b, c, i, j] => out[b, c, j, i]
    only along the rows | k * (i + 1) => k * i + 1
    wrong type | return out => return out.float() + 0.25
    wrong shape | return out => return out[0]
    error | H // side => side
    ? | round(sum(numbers) / len(numbers)) => sorted(numbers)[len(numbers) // 2]
    """),
    "kept_per_class": entries("""
    comparison | len(memory) >= size => len(memory) > size
    first come, first served | most = max(numbers) => most = min(numbers)
    first come, first served | numbers[label] == most => numbers[label] != most
    always or never | memory.append(label) => return [memory.count(c) for c in range(max(labels) + 1)]
    """),
    "snn_predict": entries("""
    a part too many | w = e / e.sum() => w = (e / e.sum()) ** 2
    a part too many | cosines / temperature => cosines / temperature ** 2
    a sign the other way round | z = cosines / temperature => z = -cosines / temperature
    a part too many | z = cosines / temperature => z = cosines.abs() / temperature
    """),
    "sharpen": entries("""
    error | ** (1 / temperature) => ** (-1 / temperature)
    a part too many | ** (1 / temperature) => ** (1 / temperature ** 2)
    a part too many | x / sum(powers) => x / (sum(powers) / len(powers))
    one of many | x / sum(powers) => x / powers[0]
    """),
    "spread": entries("""
    a part too many | m * torch.log(m) => (1 - m) * torch.log(m)
    a part too many | return total => return total / n
    sign swapped | return total => return total.abs()
    """),
    "reservoir": entries("""
    a part too many | memory = memory + [n] => memory = memory + [n + 1]
    the last place is never given away | r < size => r <= size - 2
    ? | memory[r] = n => memory[n % size] = n
    in the order of the numbers | return memory => memory.sort(); return memory
    a part too many | return memory => return len(memory)
    the first ones kept for ever | memory[r] = n => memory[r] = r
    wrong shape | memory = memory + [n] => memory = [n]
    a part too many | return memory => return memory[::-1]
    """),
    "rewrite_logits": entries("""
    conditions | if top > limit => if top < limit
    off by one | range(lo, hi) => range(lo + 1, hi)
    off by one | range(lo, hi) => range(lo, hi - 1)
    largest and smallest confused | max(new[lo:hi]) => min(new[lo:hi])
    ? | row[labels[i]] => row[lo]
    added and multiplied confused | gamma * row[labels[i]] => gamma + row[labels[i]]
    a negative limit | max(gamma * row[labels[i]], 0) => abs(gamma * row[labels[i]])
    another reduction | max(new[lo:hi]) => sum(new[lo:hi])
    a part too many | gamma * row[labels[i]] => (1 - gamma) * row[labels[i]]
    a part too many | rows.append(row) => rows.append(row[lo:hi])
    """),
    "past_hinge": entries("""
    too many | range(n_past) => range(n_past + 1)
    no margin for the hinge | old + margin - true => old - true
    ? | / len(losses) => / n_past
    added and multiplied confused | old + margin - true => margin * (old - true)
    a part too many | old + margin - true => 2 * old + margin - true
    a part too many | logits[i, k] => logits[i, k].exp()
    ? | logits[i, labels[i]] => logits[i].max()
    """),
}
