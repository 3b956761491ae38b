from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness as sklearn_trustworthiness

from csd_edu import drift
from csd_edu.files import read_tensors, write_json, write_tensors
from csd_edu.runs import Run


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hsic_cka(x, y):
    """Linear CKA from centred N × N Gram matrices, in numpy."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    h = np.eye(len(x)) - 1 / len(x)

    def hsic(k, m):
        return np.trace(k @ h @ m @ h)

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize(("n", "d", "e"), [(2, 3, 3), (40, 8, 8), (40, 8, 5), (10, 64, 32)])
def test_cka_equals_the_gram_matrix_form(n, d, e):
    x, y = random(n, d) + 3, random(n, e, seed=1) + 0.3
    y[:, : min(d, e)] += x[:, : min(d, e)]
    assert drift.linear_cka(x, y) == pytest.approx(hsic_cka(x, y), rel=1e-10)
    matrix = drift.cka_matrix([x, y, x + 1])
    assert matrix[0, 1] == pytest.approx(hsic_cka(x, y), rel=1e-10)
    assert matrix[1, 0] == pytest.approx(hsic_cka(x, y), rel=1e-10)
    assert matrix.diagonal().tolist() == pytest.approx([1, 1, 1])
    assert matrix[0, 2] == pytest.approx(1)


def test_cka_is_blind_to_rotation_scale_and_shift_but_not_to_a_general_linear_map():
    x, y = random(50, 6), random(50, 6, seed=1).exp()
    rotation = torch.linalg.qr(random(6, 6, seed=2)).Q
    value = drift.linear_cka(x, y)
    assert drift.linear_cka(x @ rotation * 1e-3 + 5, y * 1e20) == pytest.approx(value, rel=1e-9)
    assert drift.linear_cka(x, x @ torch.diag(torch.tensor([9.0, 1, 1, 1, 1, 1], dtype=torch.float64))) < 0.9


def test_float32_gives_the_same_as_float64():
    x, y = random(300, 64).float().relu() + 10, random(300, 64, seed=1).float().relu() + 10  # a mean that dominates
    assert drift.linear_cka(x, y) == drift.linear_cka(x.double(), y.double()) == pytest.approx(hsic_cka(x, y), rel=1e-8)
    assert torch.equal(drift.cosine_displacement(x, y), drift.cosine_displacement(x.double(), y.double()))


def test_cka_of_collapsed_features_says_which():
    x = random(10, 4)
    with pytest.raises(ValueError, match="y has the same feature"):
        drift.linear_cka(x, torch.full((10, 4), 0.1))
    with pytest.raises(ValueError, match="snapshot 1 has the same feature"):
        drift.cka_matrix([x, torch.zeros(10, 4)])


def one_class_rotated(angle, per_class=30, n_classes=4, size=32, moved=0):
    """Return two snapshots and labels; in the second, every feature of one class has turned by the angle."""
    labels = torch.arange(n_classes).repeat(per_class)
    before = 4 * random(n_classes, size, seed=3)[labels] + random(len(labels), size, seed=4)
    c, s = math.cos(angle), math.sin(angle)
    plane = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    rotation = torch.block_diag(*[plane] * (size // 2))  # turns every vector by the angle
    after = torch.where(labels[:, None] == moved, 1.7 * before @ rotation.T, before)
    return before, after, labels


@pytest.mark.parametrize("angle", [1e-6, 0.3, math.pi / 2, math.pi])
def test_displacement_is_one_minus_the_cosine_of_the_angle(angle):
    before, after, labels = one_class_rotated(angle)
    expected = 2 * math.sin(angle / 2) ** 2  # 1 − cos(angle), without cancellation
    moved = drift.cosine_displacement(before, after)
    assert moved[labels == 0].tolist() == pytest.approx([expected] * 30, rel=1e-6)
    assert not moved[labels != 0].any()
    assert drift.mean_displacement(before, after) == pytest.approx(expected / 4)
    of_class = drift.class_mean_displacement(before, after, labels)
    assert of_class == pytest.approx({0: expected, 1: 0, 2: 0, 3: 0}, rel=1e-6)


def test_class_means_are_of_normalised_features():
    x = torch.tensor([[1.0, 0.0], [0.0, 100.0]])  # their normalised mean points to 45°
    y = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    assert drift.class_mean_displacement(x, y, torch.tensor([7, 7])) == pytest.approx({7: 0}, abs=1e-12)


def test_zero_features_have_no_angle():
    x, y = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    assert drift.cosine_displacement(x, y).tolist() == [0, 0.5]


@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 4), (30, 10), (300, 7)])  # 300: more than one chunk
def test_neighbor_overlap_equals_brute_force(n, k):
    x, y = random(n, 6), random(n, 5, seed=1)

    def neighbors(features, i):
        cosine = torch.nn.functional.cosine_similarity(features[i : i + 1], features).tolist()
        return set(sorted((j for j in range(n) if j != i), key=lambda j: -cosine[j])[:k])

    expected = [len(neighbors(x, i) & neighbors(y, i)) / k for i in range(n)]
    assert drift.neighbor_overlap(x, y, k).tolist() == pytest.approx(expected)
    assert drift.neighbor_overlap(x, 3 * x, k).tolist() == [1] * n


def test_neighbors_of_duplicates_leave_out_the_image_itself_not_its_double():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert drift.neighbor_overlap(x, x, 1).tolist() == [1] * 4
    assert drift.neighbor_overlap(x, y, 1).tolist() == [0] * 4


def test_table_has_each_pair_with_formulas_and_is_plain():
    before, after, labels = one_class_rotated(1.0)
    snapshots = [before, after, torch.ones_like(before)]
    rows = drift.displacement_table(snapshots, labels, k=5)
    assert [(row["before"], row["after"]) for row in rows] == [(0, 1), (0, 2), (1, 2)]
    assert rows[0].keys() - {"before", "after", "k"} <= drift.FORMULAS.keys()
    assert rows[0]["cka"] == pytest.approx(drift.linear_cka(before, after))
    assert rows[1]["cka"] is None  # collapsed
    assert rows[0]["mean_displacement"] == drift.mean_displacement(before, after)
    assert rows[0]["neighbor_overlap"] == float(drift.neighbor_overlap(before, after, 5).mean())
    assert rows[0]["class_mean_displacement"] == drift.class_mean_displacement(before, after, labels)
    json.dumps(rows, allow_nan=False)
    assert drift.displacement_table([x[:4] for x in snapshots], labels[:4])[0]["k"] == 3
    assert drift.displacement_table([before], labels) == []


def test_balanced_sample():
    labels = torch.tensor([0] * 50 + [1] * 50 + [5] * 3)
    sample = drift.balanced_sample(labels, 23, seed=1)
    assert torch.equal(sample, sample.unique())  # ascending, without doubles
    assert labels[sample].bincount().tolist() == [10, 10, 0, 0, 0, 3]
    assert torch.equal(sample, drift.balanced_sample(labels, 23, seed=1))
    assert not torch.equal(sample, drift.balanced_sample(labels, 23, seed=2))
    assert set(drift.balanced_sample(labels, 5, seed=1).tolist()) < set(sample.tolist())
    assert torch.equal(drift.balanced_sample(labels, 999), torch.arange(103))
    with pytest.raises(ValueError, match="n is 0"):
        drift.balanced_sample(labels, 0)


@pytest.mark.parametrize(("n", "k"), [(3, 1), (20, 5), (300, 10)])
def test_trustworthiness_equals_scikit_learn(n, k):
    features, points = random(n, 8), random(n, 2, seed=1)
    expected = sklearn_trustworthiness(features.numpy(), points.numpy(), n_neighbors=k, metric="cosine")
    assert drift.trustworthiness(features, points, k) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="less than N / 2"):
        drift.trustworthiness(features, points, n // 2 + 1)


def test_trustworthiness_of_collapsed_features_is_that_of_chance():
    assert drift.trustworthiness(torch.full((200, 8), 0.1), random(200, 2)) == pytest.approx(0.5, abs=0.03)
    features = random(40, 8).repeat_interleave(2, dim=0)
    assert drift.trustworthiness(features, random(40, 2).repeat_interleave(2, dim=0), 1) == pytest.approx(1)


def only_class_0_moves(made, labels):
    moved = (made.points[1] - made.points[0]).norm(dim=1)  # (N,)
    return moved[labels == 0].min() > 3 * moved[labels != 0].max()


def check_map(made, n_snapshots, n):
    assert made.points.shape == (n_snapshots, n, 2)
    assert made.points.dtype == torch.float32
    assert made.points.isfinite().all()
    assert made.trustworthiness.shape == made.neighbors_kept.shape == (n_snapshots,)
    assert torch.equal(made.indices, torch.arange(n))


def test_pca_map_moves_the_class_that_moved():
    before, after, labels = one_class_rotated(1.2)
    made = drift.pca_map([before, after])
    check_map(made, 2, len(labels))
    assert only_class_0_moves(made, labels)
    assert torch.equal(made.points, drift.pca_map([before, after]).points)
    units = torch.cat([torch.nn.functional.normalize(x, dim=1) for x in (before, after)])
    s = torch.linalg.svdvals(units - units.mean(dim=0))
    assert made.points.flatten(0, 1).double().norm(dim=0).tolist() == pytest.approx(s[:2].tolist(), rel=1e-5)
    for t, x in enumerate((before, after)):
        points = made.points[t].double().numpy()
        expected = sklearn_trustworthiness(x.numpy(), points, n_neighbors=10, metric="cosine")
        assert made.trustworthiness[t].item() == pytest.approx(expected, abs=1e-9)
        nearest = np.linalg.norm(points[:, None] - points[None], axis=2).argsort(axis=1)[:, 1:11]
        wanted = (-torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)).argsort(dim=1)[:, 1:11]
        shares = [len(set(a) & set(b)) / 10 for a, b in zip(nearest.tolist(), wanted.tolist(), strict=True)]
        assert made.neighbors_kept[t].item() == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_pca_map_of_few_or_collapsed_or_flat_features(size):
    check_map(drift.pca_map([random(2, size)]), 1, 2)
    check_map(drift.pca_map([torch.ones(12, size), torch.zeros(12, size)]), 2, 12)


@pytest.mark.slow
def test_umap_map_moves_the_class_that_moved_and_repeats(capsys):
    before, after, labels = one_class_rotated(1.2)
    made = drift.umap_map([before, after], seed=5)
    check_map(made, 2, len(labels))
    assert "fitting UMAP on 2 × 120 points … " in capsys.readouterr().out
    assert only_class_0_moves(made, labels)
    assert made.trustworthiness.min() > 0.75
    assert "reduced" not in made.note
    again = drift.umap_map([before, after], seed=5, progress=False)
    assert torch.equal(made.points, again.points)
    assert not torch.equal(made.points, drift.umap_map([before, after], seed=6, progress=False).points)
    assert capsys.readouterr().out == ""


DIFFICULT = {
    "fewer images than neighbours": [random(6, 4), random(6, 4, seed=1)],
    "three points": [random(3, 4)],
    "two images": [random(2, 4), random(2, 4, seed=1)],
    "identical snapshots, more than neighbours": [random(40, 8)] * 20,
    "duplicates": [random(5, 8).repeat(8, 1), random(5, 8, seed=1).repeat(8, 1)],
    "collapsed": [torch.ones(20, 8), torch.zeros(20, 8)],
    "opposite": [random(20, 1).sign()],
    "float16": [random(20, 8).half()],
}


@pytest.mark.slow
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", DIFFICULT)
def test_umap_map_of_difficult_features(name):
    snapshots = DIFFICULT[name]
    made = drift.umap_map(snapshots, progress=False)
    check_map(made, len(snapshots), len(snapshots[0]))
    assert ("reduced from 15" in made.note) == (len(snapshots[0]) <= 15)
    if name.startswith("identical"):
        spread = made.points.flatten(0, 1).std(dim=0).norm()
        assert (made.points[1:] - made.points[0]).norm(dim=2).median() < 0.2 * spread


BAD = [
    ([], "no snapshots"),
    ([torch.ones(5)], "snapshot 0 has shape"),
    ([random(5, 3), random(4, 3)], "snapshot 1 has shape"),
    ([random(5, 3), random(5, 3) / 0], "snapshot 1 holds NaN"),
    ([random(1, 3)], "expected at least 2"),
]


@pytest.mark.parametrize(("snapshots", "message"), BAD)
def test_bad_snapshots_say_what_was_expected_before_umap_is_imported(snapshots, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # importing it now fails
    for function in (drift.pca_map, drift.umap_map, drift.cka_matrix):
        with pytest.raises(ValueError, match=message):
            function(snapshots)


def test_bad_sizes_labels_and_k():
    x, y = random(5, 3), random(5, 4)
    for function in (drift.cosine_displacement, lambda a, b: drift.umap_map([a, b])):
        with pytest.raises(ValueError, match=r"snapshot 1 has shape \(5, 4\)"):
            function(x, y)
    for labels in (torch.zeros(4), torch.zeros(5, 1)):
        with pytest.raises(ValueError, match="labels have shape"):
            drift.displacement_table([x], labels)
        with pytest.raises(ValueError, match="labels have shape"):
            drift.class_mean_displacement(x, x, labels)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k is {k} with 5 images"):
            drift.neighbor_overlap(x, x, k)
    with pytest.raises(ValueError, match="at least 3"):
        drift.umap_map([x[:2]])
    with pytest.raises(ValueError, match="n_neighbors"):
        drift.umap_map([x], n_neighbors=1)


@pytest.mark.slow
def test_importing_drift_imports_nothing_heavy():
    code = "import sys; from csd_edu import drift; print({'umap', 'numba', 'sklearn', 'plotly'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.fixture
def run(tmp_path):
    """A run folder with two of three tasks learnt: only what maps read."""
    description = {"stream": {"tasks": [["a", "b"], ["c"], ["d"]], "dataset": "x"}, "method": {"name": "csd"}}
    made = Run(tmp_path, description)
    write_json(tmp_path / "metrics.json", {"tasks_learnt": 2})
    write_tensors(tmp_path / "test.safetensors", {"labels": torch.tensor([0] * 10 + [1] * 10 + [2] * 3 + [3] * 10)})
    for task in range(2):
        write_tensors(made.task_file(task, "features"), {"features": random(33, 8, seed=task).float()})
    return made


def test_cached_map_is_computed_once(run, monkeypatch):
    made = drift.cached_map(run, "pca", per_class=4)
    assert run.test()["labels"][made.indices].tolist() == [0] * 4 + [1] * 4 + [2] * 3 + [3] * 4
    assert torch.equal(made.points, drift.pca_map([run.features(t)[made.indices] for t in range(2)]).points)
    assert made.note.startswith("15 of 33 test images; PCA of 2 × 15")
    path = run.path / "map-pca-4-per-class-seed0.safetensors"

    real, calls = drift.pca_map, []
    monkeypatch.setattr(drift, "pca_map", lambda snapshots: calls.append(1) or real(snapshots))
    again = drift.cached_map(run, "pca", per_class=4)
    assert not calls
    assert (again.kind, again.note) == (made.kind, made.note)
    for name in ("points", "trustworthiness", "neighbors_kept", "indices"):
        assert torch.equal(getattr(again, name), getattr(made, name))

    path.write_bytes(path.read_bytes()[:-1])  # damaged
    assert torch.equal(drift.cached_map(run, "pca", per_class=4).points, made.points)
    assert len(calls) == 1
    assert torch.equal(read_tensors(path)[0]["points"], made.points)  # whole again
    write_tensors(run.task_file(1, "features"), {"features": random(33, 8, seed=9).float()})  # other features
    assert not torch.equal(drift.cached_map(run, "pca", per_class=4).points, made.points)
    assert len(calls) == 2


def test_cached_map_in_a_read_only_folder(run):
    run.path.chmod(0o555)
    try:
        made = drift.cached_map(run, "pca", per_class=2)
    finally:
        run.path.chmod(0o755)
    check_map(drift.pca_map(list(made.points.double())), 2, 8)
    assert not list(run.path.glob("map-*"))


def test_cached_map_refuses(run):
    with pytest.raises(ValueError, match="'tsne'; expected 'pca' or 'umap'"):
        drift.cached_map(run, "tsne")
    with pytest.raises(ValueError, match="expected at least 1"):
        drift.cached_map(run, "pca", per_class=0)
    (run.path / "metrics.json").unlink()
    with pytest.raises(ValueError, match="no features yet"):
        drift.cached_map(run)


@pytest.mark.parametrize("moved", [0, 3, 7])
def test_every_measure_names_the_class_that_moved_and_no_other(moved):
    before, after, labels = one_class_rotated(1.2, per_class=12, n_classes=8, moved=moved)
    classes = labels.unique().tolist()
    others = [c for c in classes if c != moved]
    turned = drift.cosine_displacement(before, after)
    assert {c for c in classes if turned[labels == c].any()} == {moved}
    assert {c for c, way in drift.class_mean_displacement(before, after, labels).items() if way > 1e-9} == {moved}
    # CKA is blind to the rotation of a class by itself; it sees it against the rest, so all is well without that class.
    without = {c: drift.linear_cka(before[labels != c], after[labels != c]) for c in classes}
    assert without[moved] == pytest.approx(1, abs=1e-9)
    assert max(without[c] for c in others) < 0.95
    overlap = drift.neighbor_overlap(before, after, k=40)  # the neighbours of others change where it left or arrived
    assert overlap[labels == moved].mean() < min(overlap[labels == c].mean() for c in others) - 0.1
    row = drift.displacement_table([before, after], labels)[0]
    assert max(row["class_mean_displacement"], key=row["class_mean_displacement"].get) == moved
    way = (drift.pca_map([before, after]).points.diff(dim=0)[0]).norm(dim=1)  # (N,)
    assert way[labels == moved].min() > 3 * way[labels != moved].max()


@pytest.mark.slow
def test_a_umap_map_names_the_class_that_moved_and_no_other():
    before, after, labels = one_class_rotated(1.2, moved=2)
    way = drift.umap_map([before, before, after], progress=False).points.diff(dim=0).norm(dim=2)  # (2, N)
    assert way[1][labels == 2].min() > 3 * way[1][labels != 2].max()
    assert way[0].max() < way[1][labels == 2].min() / 3


def test_one_class_and_one_task_have_no_drift_but_no_error_either():
    x, labels = random(20, 6), torch.zeros(20, dtype=torch.int64)
    assert drift.displacement_table([x], labels) == []
    assert drift.class_mean_displacement(x, 2 * x, labels) == {0: 0}
    assert drift.displacement_table([x, x], labels)[0]["cka"] == pytest.approx(1)
    check_map(drift.pca_map([x]), 1, 20)


def make_run(path, method, snapshots, *, classes=("a", "b", "c", "d"), fingerprint="f"):
    """Write a run with 40 test images of four classes in two tasks, and features as given."""
    stream = {"tasks": [list(classes[:2]), list(classes[2:])], "dataset": "x", "fingerprint": fingerprint}
    made = Run(path / method, {"stream": stream, "method": {"name": method}})
    made.path.mkdir()
    write_json(made.path / "metrics.json", {"tasks_learnt": len(snapshots)})
    labels = torch.arange(4).repeat_interleave(10)
    write_tensors(made.path / "test.safetensors", {"labels": labels, "tasks": labels // 2})
    for task, features in enumerate(snapshots):
        write_tensors(made.task_file(task, "features"), {"features": features})
    return made


@pytest.fixture
def family(tmp_path):
    """Three runs of one lineage, which have learnt 3, 2 and 1 tasks, and between them one of another."""
    start, *rest = [random(40, 8, seed=k).float() for k in range(5)]
    snapshots = {"finetune": [start, *rest[:2]], "joint": [rest[3]] * 2, "csd": [start, rest[2]], "lwf": [start]}
    return [make_run(tmp_path, method, features) for method, features in snapshots.items()]


def test_runs_that_start_from_the_same_network_are_fitted_together(family):
    finetune, joint, csd, lwf = drift.cached_maps(family, "pca", per_class=6)
    assert [len(made.points) for made in (finetune, joint, csd, lwf)] == [3, 2, 2, 1]
    assert finetune.plane == csd.plane == lwf.plane != joint.plane
    indices = finetune.indices
    features = [family[0].features(t)[indices] for t in range(3)] + [family[2].features(1)[indices]]
    together = drift.pca_map(features)  # the common first snapshot once
    assert torch.equal(finetune.points, together.points[:3])
    assert torch.equal(csd.points, together.points[[0, 3]])
    assert torch.equal(csd.trustworthiness, together.trustworthiness[[0, 3]])
    assert torch.equal(csd.neighbors_kept, together.neighbors_kept[[0, 3]])
    assert torch.equal(lwf.points, together.points[:1])
    alone = drift.cached_map(family[1], "pca", per_class=6)
    assert torch.equal(joint.points, alone.points)
    assert joint.plane == alone.plane
    assert all(torch.equal(made.indices, indices) for made in (joint, csd, lwf))
    assert "one map for finetune, csd, lwf: they start from the same network" in csd.note
    assert "Not comparable with the map of joint" in csd.note
    assert "Not comparable with the map of finetune, csd, lwf" in joint.note
    assert "one map" not in joint.note
    assert "Not comparable" not in alone.note


def test_maps_of_a_plane_are_kept_with_its_first_run(family, monkeypatch):
    made = drift.cached_maps(family, "pca")
    single = drift.cached_map(family[0], "pca")  # another plane, beside the common one
    assert single.plane != made[0].plane
    files = sorted(path.parent.name for run in family for path in run.path.glob("map-*"))
    assert files == ["finetune", "finetune", "joint"]
    real, calls = drift.pca_map, []
    monkeypatch.setattr(drift, "pca_map", lambda snapshots: calls.append(1) or real(snapshots))
    again = drift.cached_maps(family, "pca")
    assert drift.cached_map(family[0], "pca").plane == single.plane
    assert not calls
    for before, after in zip(made, again, strict=True):
        assert (before.kind, before.note, before.plane) == (after.kind, after.note, after.plane)
        for name in ("points", "trustworthiness", "neighbors_kept", "indices"):
            assert torch.equal(getattr(before, name), getattr(after, name))
    write_tensors(family[2].task_file(1, "features"), {"features": random(40, 8, seed=9).float()})
    renewed = drift.cached_maps(family, "pca")
    assert len(calls) == 1  # that of the other lineage is as it was
    assert renewed[2].plane == renewed[0].plane != made[0].plane


def test_the_same_run_twice_and_methods_of_one_name(family, tmp_path):
    first, second = drift.cached_maps([family[0], family[0]], "pca")
    assert torch.equal(first.points, second.points)
    assert len(first.points) == 3
    (tmp_path / "more").mkdir()
    twin = make_run(tmp_path / "more", "finetune", [family[0].features(0)])
    twin.path = twin.path.rename(tmp_path / "seed 1")
    assert (
        "one map for finetune in finetune, finetune in seed 1:" in drift.cached_maps([family[0], twin], "pca")[0].note
    )


def test_many_snapshots_on_a_plane_widen_the_neighbourhood(family, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        drift, "umap_map", lambda snapshots, *, n_neighbors, **_: asked.append(n_neighbors) or drift.pca_map(snapshots)
    )
    drift.cached_maps(family[:1])
    (tmp_path / "more").mkdir()
    long = make_run(
        tmp_path / "more", "csd", [family[0].features(0)] + [random(40, 8, seed=k).float() for k in range(8)]
    )
    drift.cached_maps([family[0], long])
    assert asked == [15, 22]  # 3 snapshots; 3 + 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "g"}, "different data;"),
        ({"classes": ("b", "a", "c", "d")}, "different classes in their tasks;"),
        ({"fingerprint": "g", "classes": ("b", "a", "c", "d")}, "different data, classes in their tasks;"),
    ],
)
def test_runs_with_other_test_images_have_no_common_maps(family, tmp_path, changes, message):
    (tmp_path / "more").mkdir()
    other = make_run(tmp_path / "more", "csd", [random(40, 8).float()], **changes)
    with pytest.raises(ValueError, match=message):
        drift.cached_maps([family[0], other], "pca")


def test_runs_whose_test_images_are_in_another_order_have_no_common_maps(family):
    test = family[2].test()
    for what in ("labels", "tasks"):
        write_tensors(family[2].path / "test.safetensors", {**test, what: test[what].flip(0)})
        with pytest.raises(ValueError, match=f"different {what}; expected the same test images"):
            drift.cached_maps([family[0], family[2]], "pca")


def test_maps_of_runs_without_features_or_with_diverged_ones(family, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # importing it now fails
    with pytest.raises(ValueError, match="no run to draw"):
        drift.cached_maps([])
    diverged = torch.full((40, 8), torch.nan)
    write_tensors(family[2].task_file(1, "features"), {"features": diverged})
    with pytest.raises(ValueError, match="csd holds NaN or infinite features after task 1"):
        drift.cached_maps(family)
    write_tensors(family[1].task_file(0, "features"), {"features": diverged / 0})
    with pytest.raises(ValueError, match="joint holds NaN or infinite features after task 0"):
        drift.cached_map(family[1])
    write_tensors(family[0].task_file(1, "features"), {"features": random(40, 5).float()})
    with pytest.raises(ValueError, match=r"snapshot 1 has shape \(20, 5\)"):
        drift.cached_map(family[0])
    (family[3].path / "metrics.json").unlink()
    with pytest.raises(ValueError, match="lwf has no features yet"):
        drift.cached_maps([family[0], family[3]])
