from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings, strategies as st

from csd_edu import files, metrics, retrieval
from csd_edu.features import normalize
from csd_edu.retrieval import Gallery, neighbors_over_tasks
from csd_edu.runs import Run

EXACT = ["torch", "flat"]
ALL = ["torch", "flat", "ivf", "hnsw"]


def brute_force(queries, features, ids, k, exclude_ids):
    """Sort each query's whole gallery with Python; similarities in float64, rounded to float32."""
    queries, features = normalize(queries.float()).double(), normalize(features.float()).double()
    similarities, found = [], []
    for query, excluded in zip(queries, exclude_ids, strict=True):
        similarity = (features * query).sum(dim=1).float().tolist()
        items = sorted((-s, i) for s, i in zip(similarity, ids, strict=True) if i != excluded)[:k]
        items += [(torch.inf, -1)] * (k - len(items))
        similarities.append([-s for s, _ in items])
        found.append([i for _, i in items])
    return torch.tensor(similarities).reshape(-1, k), torch.tensor(found, dtype=torch.int64).reshape(-1, k)


def assert_same(got, expected):
    for ours, wanted in zip(got, expected, strict=True):
        assert ours.dtype == wanted.dtype
        assert torch.equal(ours, wanted)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_items=st.integers(1, 80),
    n_queries=st.integers(0, 6),
    dim=st.integers(1, 5),
    k=st.integers(1, 100),
    few=st.booleans(),
    data=st.sampled_from(["coarse", "normal", "positive", "copies"]),
    exclude=st.booleans(),
)
def test_small_galleries_are_searched_as_by_brute_force(seed, n_items, n_queries, dim, k, few, data, exclude):
    g = torch.Generator().manual_seed(seed)

    def draw(n):
        if data == "coarse":  # many exact ties and zero vectors
            return torch.randint(-1, 2, (n, dim), generator=g).float()
        if data == "copies":  # a few vectors, many times
            return torch.randn(3, dim, generator=torch.Generator().manual_seed(1))[torch.randint(3, (n,), generator=g)]
        features = torch.randn(n, dim, generator=g)
        return features.relu() if data == "positive" else features

    k = min(k, 3) if few else k
    features, queries = draw(n_items), draw(n_queries)
    ids = torch.randperm(200, generator=g)[:n_items]
    exclude_ids = torch.randint(-1, 200, (n_queries,), generator=g) if exclude else None
    expected = brute_force(queries, features, ids.tolist(), k, [-1] * n_queries if exclude_ids is None else exclude_ids)
    for index in ALL:  # so few items, "ivf" and "hnsw" search exactly
        gallery = Gallery(dim, index=index)
        gallery.add(features[: n_items // 2], ids[: n_items // 2])
        gallery.add(features[n_items // 2 :], ids[n_items // 2 :])
        assert_same(gallery.search(queries, k, exclude_ids=exclude_ids), expected)


@pytest.mark.parametrize("dim", [3, 64, 130])
def test_torch_and_flat_agree_to_the_last_bit_among_many_duplicates(dim):
    g = torch.Generator().manual_seed(dim)
    distinct = torch.randn(40, dim, generator=g).relu()
    features = distinct[
        torch.randint(40, (2500,), generator=g)
    ]  # each about 60 times: more often than there are candidates
    features[::7] = torch.nextafter(features[::7], torch.tensor(torch.inf))  # and some equal but for the last bit
    ids = torch.randperm(10_000, generator=g)[:2500]
    queries = torch.cat([features[:90], torch.randn(10, dim, generator=g)])
    exclude_ids = torch.cat([ids[:90], torch.full((10,), -1)])
    expected = brute_force(queries, features, ids.tolist(), 10, exclude_ids.tolist())
    for index in EXACT:
        gallery = Gallery(dim, index=index)
        gallery.add(features, ids)
        assert_same(gallery.search(queries, 10, exclude_ids=exclude_ids), expected)


@pytest.mark.parametrize("index", EXACT)
def test_features_that_are_all_alike_come_in_the_order_of_their_ids(index):
    gallery = Gallery(8, index=index)
    gallery.add(torch.ones(3000, 8), torch.arange(3000).flip(0))
    similarities, ids = gallery.search(torch.ones(300, 8), 5, exclude_ids=torch.arange(300))
    assert bool((similarities == similarities[0, 0]).all())
    for query, row in enumerate(ids.tolist()):
        assert row == [i for i in range(6) if i != query][:5]


@pytest.mark.parametrize("index", EXACT)
def test_ties_behind_the_excluded_item_come_in_the_order_of_their_ids(index):
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        tied = torch.randperm(3000, generator=g)[:500]
        features = torch.zeros(3000, 8)
        features[:, 0] = -1.0
        features[tied] = torch.randn(8, generator=g)
        features[2999] = query = features[tied[0]] + 0.1
        gallery = Gallery(8, index=index)
        gallery.add(features)
        expected = brute_force(query[None], features, range(3000), 1, [2999])
        assert_same(gallery.search(query[None], 1, exclude_ids=[2999]), expected)


def test_the_index_may_rank_near_ties_its_own_way():
    """An item just before the others, which the index's float32 dot products put anywhere among them."""
    g = torch.Generator().manual_seed(0)
    query = torch.randn(1, 256, generator=g)
    features = query + 1e-4 * torch.randn(2000, 256, generator=g)
    expected = brute_force(query, features, range(2000), 3, [-1])
    assert len(set(expected[0][0].tolist())) < 3  # it is hard: similarities tie
    for index in EXACT:
        gallery = Gallery(256, index=index)
        gallery.add(features)
        assert_same(gallery.search(query, 3), expected)


def test_autocast_changes_nothing():
    g = torch.Generator().manual_seed(0)
    features, queries = 1 + 0.1 * torch.randn(2000, 16, generator=g), 1 + 0.1 * torch.randn(20, 16, generator=g)
    gallery = Gallery(16)
    gallery.add(features)
    expected = brute_force(queries, features, range(2000), 10, [-1] * 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(gallery.search(queries, 10), expected)


def test_recall_at_1_is_the_same_as_measured():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(5).repeat(30)
    features = torch.randn(5, 6, generator=g)[labels] + torch.randn(150, 6, generator=g)
    gallery = Gallery(6)
    gallery.add(features)
    _, ids = gallery.search(features, 1, exclude_ids=gallery.ids)
    recall = metrics.recall_at_k(features, labels, features, labels, exclude_self=True)[1]
    assert float((labels[ids[:, 0]] == labels).double().mean()) == recall


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_approximate_indexes_find_most(index):
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(50, 32, generator=g)

    def draw(n):
        return centres[torch.randint(50, (n,), generator=g)] + 0.5 * torch.randn(n, 32, generator=g)

    exact, approximate = Gallery(32), Gallery(32, index=index)
    features, queries = draw(4000), draw(300)
    for gallery in (exact, approximate):
        gallery.add(features, torch.arange(4000) * 3)
    recalls = {}
    for excluded in (None, exact.search(queries, 1)[1][:, 0]):
        wanted_similarities, wanted = exact.search(queries, 10, exclude_ids=excluded)
        similarities, found = approximate.search(queries, 10, exclude_ids=excluded)
        right = (found[:, :, None] == wanted[:, None, :]).any(dim=2)  # (Q, k)
        recalls[excluded is None] = float(right.double().mean())
        assert bool((similarities[:, 1:] <= similarities[:, :-1]).all())
        assert bool((similarities <= wanted_similarities).all())
        for row, similarity in zip(found.tolist(), similarities.tolist(), strict=True):
            assert len(set(row)) == 10
            assert max(similarity) > 0
        if excluded is not None:
            assert not bool((found == excluded[:, None]).any())
    assert min(recalls.values()) >= 0.9, recalls

    gallery = approximate
    gallery.remove(torch.arange(0, 12_000, 6))  # every other item; more than 1,600 stay
    _, found = gallery.search(queries, 5)
    assert bool((found % 6 == 3).all())
    gallery.add(queries[:1], [7])
    assert gallery.search(queries[:1], 1)[1].tolist() == [[7]]


def test_a_narrow_search_misses_more():
    g = torch.Generator().manual_seed(0)
    features, queries = torch.randn(3000, 32, generator=g), torch.randn(200, 32, generator=g)
    exact = Gallery(32)
    exact.add(features)
    wanted = exact.search(queries, 1)[1]

    def recall(index, **kwargs):
        gallery = Gallery(32, index=index, **kwargs)
        gallery.add(features)
        return float((gallery.search(queries, 1)[1] == wanted).double().mean())

    assert recall("ivf", nprobe=1) < 0.9 < recall("ivf", nprobe=50)
    assert recall("ivf", nprobe=10_000) == 1.0
    assert recall("hnsw", ef_search=1) < recall("hnsw", ef_search=500)


def test_approximate_indexes_pad_what_they_do_not_find():
    g = torch.Generator().manual_seed(0)
    gallery = Gallery(4, index="ivf", nprobe=1)
    gallery.add(torch.randn(2000, 4, generator=g))
    similarities, ids = gallery.search(torch.randn(5, 4, generator=g), 1000)
    assert bool((ids[:, -1] == -1).all())
    assert torch.equal(ids == -1, similarities == -torch.inf)
    assert bool((ids[:, :10] >= 0).all())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_adding_and_removing_is_what_a_dict_would_do(data):
    index = data.draw(st.sampled_from(EXACT))
    gallery, oracle = Gallery(3, index=index), {}
    query = torch.tensor([[1.0, 0.5, -0.25]])
    for _ in range(data.draw(st.integers(1, 8))):
        step = data.draw(st.sampled_from(["add", "add", "count on", "remove", "wrong"]))
        some = data.draw(st.lists(st.integers(0, 12), unique=True, max_size=6))
        vectors = torch.tensor([[data.draw(st.integers(-2, 2)) for _ in range(3)] for _ in some]).reshape(-1, 3)
        if step == "add":
            new = [i not in oracle for i in some]
            gallery.add(vectors[new], [i for i in some if i not in oracle])
            oracle |= {i: v for i, v in zip(some, vectors, strict=True) if i not in oracle}
        elif step == "count on":
            gallery.add(vectors)
            first = max(oracle, default=-1) + 1
            oracle |= {first + j: v for j, v in enumerate(vectors)}
        elif step == "remove":
            gallery.remove([i for i in some if i in oracle])
            oracle = {i: v for i, v in oracle.items() if i not in some}
        elif oracle:
            with pytest.raises(ValueError, match="is there twice"):
                gallery.add(torch.ones(2, 3), [100, next(iter(oracle))])
            with pytest.raises(ValueError, match="id 100 is not in the gallery"):
                gallery.remove([next(iter(oracle)), 100])
        assert len(gallery) == len(oracle)
        assert gallery.ids.tolist() == sorted(oracle)
        if oracle:
            expected = brute_force(query, torch.stack(list(oracle.values())), list(oracle), 4, [-1])
            assert_same(gallery.search(query, 4), expected)


@pytest.mark.parametrize("index", ALL)
@pytest.mark.parametrize("n", [0, 1, 2000])
def test_a_saved_gallery_is_the_same_again(tmp_path, index, n):
    g = torch.Generator().manual_seed(0)
    gallery = Gallery(8, index=index, nprobe=5, ef_search=70)
    gallery.add(torch.randn(n, 8, generator=g), torch.randperm(5000, generator=g)[:n])
    gallery.save(tmp_path / "gallery.safetensors")
    loaded = Gallery.load(str(tmp_path / "gallery.safetensors"))
    assert (loaded.dim, loaded.index, loaded.nprobe, loaded.ef_search) == (8, index, 5, 70)
    assert torch.equal(loaded.ids, gallery.ids)
    assert torch.equal(loaded.features, gallery.features)
    assert repr(loaded) == repr(gallery)
    if n:
        queries = torch.randn(20, 8, generator=g)
        if index == "hnsw":  # its graph is built by several threads, not twice the same
            assert loaded.search(queries, 3)[1].shape == (20, 3)
        else:
            assert_same(loaded.search(queries, 3), gallery.search(queries, 3))
    loaded.add(torch.ones(1, 8))
    assert len(loaded) == n + 1


def test_what_is_no_gallery_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Gallery.load(tmp_path / "missing.safetensors")
    files.write_tensors(tmp_path / "other.safetensors", {"features": torch.ones(1, 2)})
    with pytest.raises(ValueError, match="holds no gallery"):
        Gallery.load(tmp_path / "other.safetensors")
    gallery = Gallery(2)
    gallery.add(torch.ones(3, 2))
    gallery.save(tmp_path / "gallery.safetensors")
    content = (tmp_path / "gallery.safetensors").read_bytes()
    (tmp_path / "gallery.safetensors").write_bytes(content[:-4])
    with pytest.raises(ValueError, match="is damaged"):
        Gallery.load(tmp_path / "gallery.safetensors")


def test_what_was_added_or_searched_is_not_changed_nor_shared():
    features, ids = torch.tensor([[3.0, 4.0], [1.0, 0.0]], requires_grad=True), torch.tensor([1, 0])
    gallery = Gallery(2)
    gallery.add(features, ids)
    with torch.no_grad():
        features[0, 0] = -9
    ids[0] = 5
    assert gallery.ids.tolist() == [0, 1]
    assert gallery.features.tolist() == [[1.0, 0.0], [pytest.approx(0.6), pytest.approx(0.8)]]
    queries = torch.tensor([[0.0, 2.0]], requires_grad=True)
    similarities, found = gallery.search(queries, 3)
    assert queries.tolist() == [[0.0, 2.0]]
    assert not similarities.requires_grad
    assert found.tolist() == [[1, 0, -1]]
    assert similarities[0, 2] == -torch.inf


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.uint8])
@pytest.mark.parametrize("index", EXACT)
def test_any_real_type_and_memory_order_will_do(index, dtype):
    features = torch.tensor([[1, 0, 2], [3, 0, 0], [0, 1, 0], [0, 0, 7]])
    gallery = Gallery(3, index=index)
    gallery.add(features.to(dtype).T.contiguous().T, torch.tensor([4, 3, 2, 1], dtype=torch.int16))
    queries = torch.tensor([[0, 0, 1], [1, 0, 0]]).to(dtype).T.contiguous().T
    similarities, ids = gallery.search(queries, 2, exclude_ids=[1, 1])
    assert ids.tolist() == [[4, 2], [3, 4]]
    assert similarities.dtype == torch.float32


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda g: g.add(torch.ones(2, 3)), r"features have shape \(2, 3\); this gallery expects \(N, 4\)"),
        (lambda g: g.add(torch.ones(4)), r"features have shape \(4,\)"),
        (lambda g: g.add(torch.tensor([[1.0, 2.0, torch.nan, 0.0]])), "features hold NaN"),
        (lambda g: g.add(torch.tensor([[1.0, 2.0, torch.inf, 0.0]])), "features hold NaN or inf"),
        (lambda g: g.add(torch.ones(2, 4), [7, 7]), "id 7 is there twice"),
        (lambda g: g.add(torch.ones(1, 4), [1]), "id 1 is there twice"),
        (lambda g: g.add(torch.ones(1, 4), [-1]), "id -1 is negative"),
        (lambda g: g.add(torch.ones(2, 4), [7]), r"ids are torch.int64 of shape \(1,\); expected \(2,\)"),
        (lambda g: g.add(torch.ones(1, 4), [7.0]), r"ids are torch.float32"),
        (lambda g: g.add(torch.ones(1, 4), [True]), r"ids are torch.bool"),
        (lambda g: g.remove([1, 9]), "id 9 is not in the gallery"),
        (lambda g: g.remove(torch.tensor(1)), r"of shape \(\); expected \(N,\) integers"),
        (lambda g: g.search(torch.ones(2, 3), 1), r"queries have shape \(2, 3\); this gallery expects \(N, 4\)"),
        (lambda g: g.search(torch.full((1, 4), torch.nan), 1), "queries hold NaN"),
        (lambda g: g.search(torch.ones(2, 4), 0), "k is 0"),
        (lambda g: g.search(torch.ones(2, 4), 1, exclude_ids=[1]), r"exclude_ids are .* expected \(2,\)"),
        (lambda _: Gallery(4).search(torch.ones(2, 4), 1), "the gallery is empty"),
        (lambda _: Gallery(4, index="faiss"), "index is 'faiss'; expected 'torch', 'flat'"),
        (lambda _: Gallery(0), "dim is 0"),
        (lambda _: Gallery(4, index="ivf", nprobe=0), "nprobe is 0"),
    ],
)
def test_errors_say_what_is_wrong_and_change_nothing(act, message):
    gallery = Gallery(4)
    gallery.add(torch.eye(4))
    with pytest.raises(ValueError, match=message):
        act(gallery)
    assert gallery.ids.tolist() == [0, 1, 2, 3]
    assert torch.equal(gallery.features, torch.eye(4))


def test_an_emptied_gallery_is_empty():
    gallery = Gallery(4, index="flat")
    gallery.add(torch.eye(4))
    gallery.search(torch.eye(4), 1)
    gallery.remove(gallery.ids)
    with pytest.raises(ValueError, match="the gallery is empty"):
        gallery.search(torch.eye(4), 1)


def test_without_faiss_the_message_names_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="pip install faiss-cpu, or use index='torch', which searches exactly"):
        Gallery(4, index="flat")
    gallery = Gallery(4)
    gallery.add(torch.eye(4))
    assert gallery.search(torch.eye(4), 1)[1].tolist() == [[0], [1], [2], [3]]


@pytest.mark.slow
def test_faiss_is_imported_only_on_request():
    code = (
        "import sys, torch; from csd_edu.retrieval import Gallery; g = Gallery(2); g.add(torch.eye(2)); "
        "g.search(torch.eye(2), 1); assert 'faiss' not in sys.modules; Gallery(2, index='flat'); "
        "assert 'faiss' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_size_of_a_block_changes_nothing(monkeypatch):
    gallery = Gallery(4)
    gallery.add(torch.randint(-1, 2, (1000, 4), generator=torch.Generator().manual_seed(0)))
    expected = gallery.search(torch.ones(9, 4), 700)
    monkeypatch.setattr(retrieval, "BLOCK", 6000)  # 2 queries × 716 candidates × 4 dimensions
    assert_same(gallery.search(torch.ones(9, 4), 700), expected)


# ---------------------------------------------------------------------- neighbours over tasks


def brute_force_neighbors(snapshots, tasks, k, protocol, queries, labels):
    """Sort with Python, for each task and query, the images that the protocol admits."""
    ids, similarities = [], []
    for i, features in enumerate(snapshots):
        for q in queries.tolist():
            admitted = [
                g
                for g in range(len(tasks))
                if protocol == "all" or (tasks[g] == tasks[q] if protocol == "task" else tasks[g] <= i)
            ]
            entries = []
            for g in admitted if q in admitted else []:
                item = snapshots[int(tasks[g])][g] if protocol == "stale" else features[g]
                norms = float(features[q].double().norm() * item.double().norm())
                similarity = float(features[q].double() @ item.double()) / norms if norms else 0.0
                right = labels is not None and bool(labels[g] == labels[q])
                entries.append((-round(similarity, 5), right, g, similarity))
            entries = sorted(entry for entry in entries if entry[2] != q)[:k]
            entries += [(0, False, -1, -torch.inf)] * (k - len(entries))
            ids.append([entry[2] for entry in entries])
            similarities.append([entry[3] for entry in entries])
    shape = (len(snapshots), len(queries), k)
    return torch.tensor(ids, dtype=torch.int64).reshape(shape), torch.tensor(similarities).reshape(shape)


def drifting(seed, sizes, per_class, coarse):
    """Return features of the same images after each task, with their labels and tasks; coarse ones often tie."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(sum(sizes)).repeat_interleave(per_class)[torch.randperm(sum(sizes) * per_class, generator=g)]
    tasks = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[labels]
    if coarse:
        snapshots = [torch.randint(-1, 2, (len(labels), 3), generator=g).float() for _ in sizes]
    else:
        centres = torch.randn(sum(sizes), 6, generator=g)
        snapshots = [centres[labels] + torch.randn(len(labels), 6, generator=g) for _ in sizes]
    return snapshots, labels, tasks


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.sampled_from([(2, 2), (1, 3, 2), (3,)]),
    per_class=st.integers(1, 3),
    coarse=st.booleans(),
    protocol=st.sampled_from(list(metrics.PROTOCOLS)),
    k=st.integers(1, 20),
    with_labels=st.booleans(),
    some=st.booleans(),
)
def test_neighbors_over_tasks_equal_brute_force_and_the_ranks(
    seed, sizes, per_class, coarse, protocol, k, with_labels, some
):
    snapshots, labels, tasks = drifting(seed, sizes, per_class, coarse)
    queries = torch.arange(len(labels)).flip(0)[::3] if some else None
    asking = torch.arange(len(labels)) if queries is None else queries
    given_labels = labels if with_labels else None
    found = neighbors_over_tasks(snapshots, tasks, k=k, protocol=protocol, queries=queries, labels=given_labels)
    ids, similarities = brute_force_neighbors(snapshots, tasks, k, protocol, asking, given_labels)
    assert found.ids.dtype == torch.int64
    assert found.similarities.dtype == torch.float32
    assert torch.equal(found.ids, ids)
    torch.testing.assert_close(found.similarities, similarities, atol=1e-6, rtol=0)
    if with_labels or not coarse:  # without labels, ties may help
        right = (found.ids >= 0) & (labels[found.ids] == labels[asking][:, None])  # (T, Q, k)
        ranks = metrics.query_ranks(snapshots, labels, tasks, protocol=protocol, queries=queries)
        first = torch.where(right.any(dim=2), right.double().argmax(dim=2) + 1, 0)  # (T, Q)
        assert torch.equal(first, torch.where(ranks <= k, ranks, 0))


def test_neighbors_under_each_protocol_by_hand():
    tasks = torch.tensor([0, 0, 1, 1])

    def at(degrees):
        angle = torch.deg2rad(torch.tensor(degrees))
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    snapshots = [at([0.0, 38, 15, 60]), at([0.0, 50, 20, 30])]
    nearest = {
        protocol: neighbors_over_tasks(snapshots, tasks, k=1, protocol=protocol).ids[:, :, 0].tolist()
        for protocol in metrics.PROTOCOLS
    }
    assert nearest == {
        "task": [[1, 0, 3, 2], [1, 0, 3, 2]],
        "seen": [[1, 0, -1, -1], [2, 3, 3, 2]],
        "all": [[2, 3, 0, 1], [2, 3, 3, 2]],
        "stale": [[1, 0, -1, -1], [2, 3, 3, 1]],  # image 1 is found at 38 degrees, nearer to 30 than 20 is
    }
    stale = neighbors_over_tasks(snapshots, tasks, k=3, protocol="stale", queries=torch.tensor([3]))
    assert stale.ids[1].tolist() == [[1, 2, 0]]
    expected = torch.deg2rad(torch.tensor([8.0, 10.0, 30.0])).cos()
    torch.testing.assert_close(stale.similarities[1, 0], expected)


def test_collapsed_features_find_the_wrong_ones_first_if_labels_are_known():
    labels, tasks, same = torch.tensor([0, 0, 0, 1, 1]), torch.zeros(5, dtype=torch.int64), torch.ones(5, 64)
    jitter = torch.rand(5, 1, generator=torch.Generator().manual_seed(0)) + 0.5  # the same direction, other lengths
    found = neighbors_over_tasks([same * jitter], tasks, k=4, labels=labels).ids[0]
    assert found[:4].tolist() == [[3, 4, 1, 2], [3, 4, 0, 2], [3, 4, 0, 1], [0, 1, 2, 4]]
    assert neighbors_over_tasks([same * jitter], tasks, k=4).ids[0, 1].tolist() == [0, 2, 3, 4]


def test_the_nearest_after_a_task_are_those_that_a_gallery_finds():
    snapshots, _, tasks = drifting(3, (5, 5), 40, coarse=False)
    found = neighbors_over_tasks(snapshots, tasks, k=10, protocol="all")
    gallery = Gallery(6)
    gallery.add(snapshots[1])
    similarities, ids = gallery.search(snapshots[1], 10, exclude_ids=gallery.ids)
    assert torch.equal(found.ids[1], ids)
    torch.testing.assert_close(found.similarities[1], similarities, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k is 0; expected a whole number of at least 1"),
        ({"protocol": "seem"}, "'seem'; expected one of 'task', 'seen', 'all', 'stale'"),
        ({"queries": torch.tensor([12])}, "query 12 is none of the 12 images"),
        ({"queries": torch.ones(12, dtype=torch.bool)}, "queries are torch.bool"),
        ({"labels": torch.arange(5)}, r"labels have shape \(5,\), tasks \(12,\)"),
        ({"snapshots": []}, "there are no snapshots"),
        ({"snapshots": [torch.full((12, 2), torch.inf)]}, "snapshot 0 holds NaN or inf"),
        ({"tasks": torch.zeros(7)}, r"snapshot 0 has shape \(12, 6\), .* tasks \(7,\)"),
    ],
)
def test_bad_searches_over_tasks_say_what_was_expected(change, message):
    snapshots, _, tasks = drifting(0, (2, 2), 3, coarse=False)
    with pytest.raises(ValueError, match=message):
        neighbors_over_tasks(**({"snapshots": snapshots, "tasks": tasks, "k": 3} | change))


def test_a_run_gives_its_snapshots_task_after_task(tmp_path):
    run = Run(tmp_path, {})
    with pytest.raises(ValueError, match="has no features yet: its first task is not finished"):
        run.snapshots()
    saved = [torch.full((4, 2), float(task)) for task in range(3)]
    for task, features in enumerate(saved):
        files.write_tensors(run.task_file(task, "features"), {"features": features})
    files.write_json(tmp_path / "metrics.json", {"tasks_learnt": 2})  # the third task is not measured yet
    snapshots = run.snapshots()
    assert len(snapshots) == 2
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(snapshots, saved, strict=False))
