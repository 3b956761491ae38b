"""Maps of features: that they show what has moved, how good they are, where they are kept, and what they refuse."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness as sklearn_trustworthiness

from csd_edu import maps
from csd_edu.files import read_tensors, write_json, write_tensors
from csd_edu.runs import Run
from tests.snapshots import BAD, one_class_rotated, random


@pytest.mark.parametrize(("n", "k"), [(3, 1), (20, 5), (300, 10)])
def test_trustworthiness_equals_scikit_learn(n, k):
    features, points = random(n, 8), random(n, 2, seed=1)
    expected = sklearn_trustworthiness(features.numpy(), points.numpy(), n_neighbors=k, metric="cosine")
    assert maps.trustworthiness(features, points, k) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="less than N / 2"):
        maps.trustworthiness(features, points, n // 2 + 1)


def test_trustworthiness_of_collapsed_features_is_that_of_chance():
    assert maps.trustworthiness(torch.full((200, 8), 0.1), random(200, 2)) == pytest.approx(0.5, abs=0.03)
    features = random(40, 8).repeat_interleave(2, dim=0)
    assert maps.trustworthiness(features, random(40, 2).repeat_interleave(2, dim=0), 1) == pytest.approx(1)


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
    made = maps.pca_map([before, after])
    check_map(made, 2, len(labels))
    assert only_class_0_moves(made, labels)
    assert torch.equal(made.points, maps.pca_map([before, after]).points)
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
    check_map(maps.pca_map([random(2, size)]), 1, 2)
    check_map(maps.pca_map([torch.ones(12, size), torch.zeros(12, size)]), 2, 12)


@pytest.mark.slow
def test_umap_map_moves_the_class_that_moved_and_repeats(capsys):
    before, after, labels = one_class_rotated(1.2)
    made = maps.umap_map([before, after], seed=5)
    check_map(made, 2, len(labels))
    assert "fitting UMAP on 2 × 120 points … " in capsys.readouterr().out
    assert only_class_0_moves(made, labels)
    assert made.trustworthiness.min() > 0.75
    assert "reduced" not in made.note
    again = maps.umap_map([before, after], seed=5, progress=False)
    assert torch.equal(made.points, again.points)
    assert not torch.equal(made.points, maps.umap_map([before, after], seed=6, progress=False).points)
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
    made = maps.umap_map(snapshots, progress=False)
    check_map(made, len(snapshots), len(snapshots[0]))
    assert ("reduced from 15" in made.note) == (len(snapshots[0]) <= 15)
    if name.startswith("identical"):
        spread = made.points.flatten(0, 1).std(dim=0).norm()
        assert (made.points[1:] - made.points[0]).norm(dim=2).median() < 0.2 * spread


@pytest.mark.parametrize(("snapshots", "message"), BAD)
def test_bad_snapshots_say_what_was_expected_before_umap_is_imported(snapshots, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # importing it now fails
    for function in (maps.pca_map, maps.umap_map):
        with pytest.raises(ValueError, match=message):
            function(snapshots)


def test_too_few_points_and_neighbours_and_sizes_that_differ():
    x, y = random(5, 3), random(5, 4)
    with pytest.raises(ValueError, match=r"snapshot 1 has shape \(5, 4\)"):
        maps.umap_map([x, y])
    with pytest.raises(ValueError, match="at least 3"):
        maps.umap_map([x[:2]])
    with pytest.raises(ValueError, match="n_neighbors"):
        maps.umap_map([x], n_neighbors=1)


@pytest.mark.slow
def test_importing_maps_imports_nothing_heavy():
    code = "import sys; from csd_edu import maps; print({'umap', 'numba', 'sklearn', 'plotly'} & sys.modules.keys())"
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
    made = maps.cached_maps([run], "pca", per_class=4)[0]
    assert run.test()["labels"][made.indices].tolist() == [0] * 4 + [1] * 4 + [2] * 3 + [3] * 4
    assert torch.equal(made.points, maps.pca_map([run.features(t)[made.indices] for t in range(2)]).points)
    assert made.note.startswith("15 of 33 test images; PCA of 2 × 15")
    path = run.path / "map-pca-4-per-class-seed0.safetensors"

    real, calls = maps.pca_map, []
    monkeypatch.setattr(maps.kept, "pca_map", lambda snapshots: calls.append(1) or real(snapshots))
    again = maps.cached_maps([run], "pca", per_class=4)[0]
    assert not calls
    assert (again.kind, again.note) == (made.kind, made.note)
    for name in ("points", "trustworthiness", "neighbors_kept", "indices"):
        assert torch.equal(getattr(again, name), getattr(made, name))

    path.write_bytes(path.read_bytes()[:-1])  # damaged
    assert torch.equal(maps.cached_maps([run], "pca", per_class=4)[0].points, made.points)
    assert len(calls) == 1
    assert torch.equal(read_tensors(path)[0]["points"], made.points)  # whole again
    write_tensors(run.task_file(1, "features"), {"features": random(33, 8, seed=9).float()})  # other features
    assert not torch.equal(maps.cached_maps([run], "pca", per_class=4)[0].points, made.points)
    assert len(calls) == 2


def test_cached_map_in_a_read_only_folder(run):
    run.path.chmod(0o555)
    try:
        made = maps.cached_maps([run], "pca", per_class=2)[0]
    finally:
        run.path.chmod(0o755)
    check_map(maps.pca_map(list(made.points.double())), 2, 8)
    assert not list(run.path.glob("map-*"))


def test_cached_map_refuses(run):
    with pytest.raises(ValueError, match="'tsne'; expected 'pca', 'umap', 'umap together'"):
        maps.cached_maps([run], "tsne")
    with pytest.raises(ValueError, match="expected at least 1"):
        maps.cached_maps([run], "pca", per_class=0)
    (run.path / "metrics.json").unlink()
    with pytest.raises(ValueError, match="no features yet"):
        maps.cached_maps([run])


@pytest.mark.parametrize("moved", [0, 3, 7])
def test_a_pca_map_names_the_class_that_moved_and_no_other(moved):
    before, after, labels = one_class_rotated(1.2, per_class=12, n_classes=8, moved=moved)
    way = (maps.pca_map([before, after]).points.diff(dim=0)[0]).norm(dim=1)  # (N,)
    assert way[labels == moved].min() > 3 * way[labels != moved].max()


@pytest.mark.slow
def test_a_umap_map_names_the_class_that_moved_and_no_other():
    before, after, labels = one_class_rotated(1.2, moved=2)
    way = maps.umap_map([before, before, after], progress=False).points.diff(dim=0).norm(dim=2)  # (2, N)
    assert way[1][labels == 2].min() > 3 * way[1][labels != 2].max()
    assert way[0].max() < way[1][labels == 2].min() / 3


def test_one_task_has_a_map():
    check_map(maps.pca_map([random(20, 6)]), 1, 20)


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
    finetune, joint, csd, lwf = maps.cached_maps(family, "pca", per_class=6)
    assert [len(made.points) for made in (finetune, joint, csd, lwf)] == [3, 2, 2, 1]
    assert finetune.plane == csd.plane == lwf.plane != joint.plane
    indices = finetune.indices
    features = [family[0].features(t)[indices] for t in range(3)] + [family[2].features(1)[indices]]
    together = maps.pca_map(features)  # the common first snapshot once
    assert torch.equal(finetune.points, together.points[:3])
    assert torch.equal(csd.points, together.points[[0, 3]])
    assert torch.equal(csd.trustworthiness, together.trustworthiness[[0, 3]])
    assert torch.equal(csd.neighbors_kept, together.neighbors_kept[[0, 3]])
    assert torch.equal(lwf.points, together.points[:1])
    alone = maps.cached_maps([family[1]], "pca", per_class=6)[0]
    assert torch.equal(joint.points, alone.points)
    assert joint.plane == alone.plane
    assert all(torch.equal(made.indices, indices) for made in (joint, csd, lwf))
    assert "one map for finetune, csd, lwf: they start from the same network" in csd.note
    assert "Not comparable with the map of joint" in csd.note
    assert "Not comparable with the map of finetune, csd, lwf" in joint.note
    assert "one map" not in joint.note
    assert "Not comparable" not in alone.note


def test_maps_of_a_plane_are_kept_with_its_first_run(family, monkeypatch):
    made = maps.cached_maps(family, "pca")
    single = maps.cached_maps([family[0]], "pca")[0]  # another plane, beside the common one
    assert single.plane != made[0].plane
    files = sorted(path.parent.name for run in family for path in run.path.glob("map-*"))
    assert files == ["finetune", "finetune", "joint"]
    real, calls = maps.pca_map, []
    monkeypatch.setattr(maps.kept, "pca_map", lambda snapshots: calls.append(1) or real(snapshots))
    again = maps.cached_maps(family, "pca")
    assert maps.cached_maps([family[0]], "pca")[0].plane == single.plane
    assert not calls
    for before, after in zip(made, again, strict=True):
        assert (before.kind, before.note, before.plane) == (after.kind, after.note, after.plane)
        for name in ("points", "trustworthiness", "neighbors_kept", "indices"):
            assert torch.equal(getattr(before, name), getattr(after, name))
    write_tensors(family[2].task_file(1, "features"), {"features": random(40, 8, seed=9).float()})
    renewed = maps.cached_maps(family, "pca")
    assert len(calls) == 1  # that of the other lineage is as it was
    assert renewed[2].plane == renewed[0].plane != made[0].plane


def test_the_same_run_twice_and_methods_of_one_name(family, tmp_path):
    first, second = maps.cached_maps([family[0], family[0]], "pca")
    assert torch.equal(first.points, second.points)
    assert len(first.points) == 3
    (tmp_path / "more").mkdir()
    twin = make_run(tmp_path / "more", "finetune", [family[0].features(0)])
    twin.path = twin.path.rename(tmp_path / "seed 1")
    assert "one map for finetune in finetune, finetune in seed 1:" in maps.cached_maps([family[0], twin], "pca")[0].note


def test_many_snapshots_on_a_plane_widen_the_neighbourhood(family, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        maps.kept,
        "umap_map",
        lambda snapshots, *, n_neighbors, **_: asked.append(n_neighbors) or maps.pca_map(snapshots),
    )
    maps.cached_maps(family[:1], "umap together")
    (tmp_path / "more").mkdir()
    long = make_run(
        tmp_path / "more", "csd", [family[0].features(0)] + [random(40, 8, seed=k).float() for k in range(8)]
    )
    maps.cached_maps([family[0], long], "umap together")
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
        maps.cached_maps([family[0], other], "pca")


def test_runs_whose_test_images_are_in_another_order_have_no_common_maps(family):
    test = family[2].test()
    for what in ("labels", "tasks"):
        write_tensors(family[2].path / "test.safetensors", {**test, what: test[what].flip(0)})
        with pytest.raises(ValueError, match=f"different {what}; expected the same test images"):
            maps.cached_maps([family[0], family[2]], "pca")


def test_maps_of_runs_without_features_or_with_diverged_ones(family, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # importing it now fails
    with pytest.raises(ValueError, match="no run to draw"):
        maps.cached_maps([])
    diverged = torch.full((40, 8), torch.nan)
    write_tensors(family[2].task_file(1, "features"), {"features": diverged})
    with pytest.raises(ValueError, match="csd holds NaN or infinite features after task 1"):
        maps.cached_maps(family)
    write_tensors(family[1].task_file(0, "features"), {"features": diverged / 0})
    with pytest.raises(ValueError, match="joint holds NaN or infinite features after task 0"):
        maps.cached_maps([family[1]])
    write_tensors(family[0].task_file(1, "features"), {"features": random(40, 5).float()})
    with pytest.raises(ValueError, match=r"snapshot 1 has shape \(20, 5\)"):
        maps.cached_maps([family[0]])
    (family[3].path / "metrics.json").unlink()
    with pytest.raises(ValueError, match="lwf has no features yet"):
        maps.cached_maps([family[0], family[3]])


@pytest.mark.parametrize("seed", range(4))
def test_procrustes_keeps_distances_and_finds_the_turn(seed):
    points = random(30, 2, seed=seed)
    c, s = np.cos(seed + 0.5), np.sin(seed + 0.5)
    mirror = torch.tensor([[c, s], [s, -c]] if seed % 2 else [[c, -s], [s, c]])
    target = points @ mirror + torch.tensor([3.0, -7.0])
    torch.testing.assert_close(maps.turned_onto(points, target), target)
    noisy = maps.turned_onto(points, 5 * target + random(30, 2, seed=seed + 9))
    apart = [(x[:, None] - x).norm(dim=2) for x in (noisy, points)]
    torch.testing.assert_close(*apart)
    with pytest.raises(ValueError, match="expected the same"):
        maps.turned_onto(points, target[:-1])


@pytest.mark.slow
def test_umap_chain_repeats_follows_the_class_that_moved_and_begins_where_it_is_told(capsys):
    before, after, labels = one_class_rotated(1.2)
    made = maps.umap_chain([before, before, after], seed=5)
    check_map(made, 3, len(labels))
    assert "fitting UMAP on 3 snapshots of 120 points … " in capsys.readouterr().out
    assert made.kind == "umap"
    assert made.trustworthiness.min() > 0.75
    again = maps.umap_chain([before, before, after], seed=5, progress=False)
    assert torch.equal(made.points, again.points)
    assert made.plane == again.plane
    assert not torch.equal(made.points, maps.umap_chain([before, before, after], seed=6, progress=False).points)
    other = maps.umap_chain([before, after], seed=5, start=made.points[0], progress=False)
    assert torch.equal(other.points[0], made.points[0])
    assert other.plane == made.plane
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_in_a_umap_chain_what_has_not_changed_moves_far_less_than_between_separate_maps():
    features = random(300, 3)
    units = torch.nn.functional.normalize(features, dim=1)
    made = maps.umap_chain([features, features, features], progress=False)
    separate = maps.turned_onto(maps.umaps._fitted(units, random(300, 2), 15, 0.1, 0), made.points[0])
    apart = (separate - made.points[0]).norm(dim=1).median()
    assert (made.points.diff(dim=0)).norm(dim=2).median(dim=1).values.max() < 0.5 * apart


@pytest.mark.slow
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", [name for name in DIFFICULT if name != "two images"])
def test_umap_chain_of_difficult_features(name):
    snapshots = DIFFICULT[name][:3]
    check_map(maps.umap_chain(snapshots, progress=False), len(snapshots), len(snapshots[0]))


def test_umap_chain_refuses(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # importing it now fails
    with pytest.raises(ValueError, match="at least 2 of at least 3"):
        maps.umap_chain([random(2, 3)])
    with pytest.raises(ValueError, match="n_neighbors"):
        maps.umap_chain([random(5, 3)], n_neighbors=1)
    with pytest.raises(ValueError, match=r"start has shape \(4, 2\); expected \(5, 2\)"):
        maps.umap_chain([random(5, 3)], start=torch.zeros(4, 2))
    for snapshots, message in BAD:
        with pytest.raises(ValueError, match=message):
            maps.umap_chain(snapshots)


def test_runs_of_one_network_begin_at_the_same_points(family, monkeypatch):
    calls = []

    def fitted(units, start, *_):
        calls.append(len(units))
        return start + 1

    monkeypatch.setattr(maps.umaps, "_fitted", fitted)
    finetune, joint, csd, lwf = maps.cached_maps(family, "umap", per_class=6, progress=False)
    assert len(calls) == 3 + 2 + 1 + 0  # the common first snapshot once
    for other in (csd, lwf):
        assert torch.equal(other.points[0], finetune.points[0])
        assert other.plane == finetune.plane != joint.plane
    assert "one first map for finetune, csd, lwf" in csd.note
    assert sorted(path.parent.name for run in family for path in run.path.glob("map-*")) == [
        "csd",
        "finetune",
        "joint",
        "lwf",
    ]
    again = maps.cached_maps(family, "umap", per_class=6, progress=False)
    assert len(calls) == 6
    assert all(torch.equal(a.points, b.points) for a, b in zip(again, (finetune, joint, csd, lwf), strict=True))


def test_classes_to_follow_have_more_images(run):
    few = maps.cached_maps([run], "pca", per_class=2, classes=[1])[0]
    assert run.test()["labels"][few.indices].bincount().tolist() == [2, 10, 2, 2]
    assert run.test()["labels"][maps.cached_maps([run], "pca", per_class=2)[0].indices].bincount().tolist() == [2] * 4
