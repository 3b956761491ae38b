from __future__ import annotations

import pytest
import torch

import csd_edu as csd
from tests.conftest import striped


def test_even_tasks_cover_every_class_once(stripes):
    stream = csd.split(stripes, n_tasks=3)
    assert stream.sizes == (2, 2, 2)
    assert stream.n_seen == (2, 4, 6)
    assert sorted(stream.class_order) == list(range(6))


def test_uneven_tasks(stripes):
    assert csd.split(stripes, n_tasks=4).sizes == (2, 2, 1, 1)
    assert csd.split(stripes, sizes=[4, 1, 1]).sizes == (4, 1, 1)
    assert csd.split(stripes, n_tasks=1).sizes == (6,)


def test_the_seed_decides_the_order(stripes):
    order = csd.split(stripes, n_tasks=2, seed=0).class_order
    assert csd.split(stripes, n_tasks=2, seed=0).class_order == order
    assert any(csd.split(stripes, n_tasks=2, seed=s).class_order != order for s in range(1, 4))
    assert csd.split(stripes, n_tasks=2, shuffle=False).class_order == tuple(range(6))


def test_the_order_is_the_same_everywhere(stripes):
    assert csd.split(stripes, n_tasks=2, seed=0).class_order == (5, 2, 1, 3, 0, 4)


def test_class_lists_by_name_and_by_id(stripes):
    stream = csd.split(stripes, classes=[["stripe 3", 0], [5, 4, 1, "stripe 2"]])
    assert stream.tasks == ((3, 0), (5, 4, 1, 2))
    assert stream.classes[:2] == ("stripe 3", "stripe 0")


def test_labels_follow_the_stream_and_images_follow_labels(stripes):
    stream = csd.split(stripes, sizes=[1, 3, 2], seed=5)
    for task in range(3):
        images, labels = stream.train(task)
        first = sum(stream.sizes[:task])
        assert set(labels.tolist()) == set(range(first, first + stream.sizes[task]))
        for label in labels.unique().tolist():
            originals = stripes.x_train[stripes.y_train == stream.class_order[label]]
            torch.testing.assert_close(images[labels == label], originals, rtol=0, atol=0)
    both = stream.train(0, 2)
    assert len(both.labels) == len(stream.train(0).labels) + len(stream.train(2).labels)


def test_test_images_come_task_after_task(stripes):
    stream = csd.split(stripes, sizes=[1, 3, 2], seed=1)
    images, labels = stream.test()
    tasks = stream.task_of_class[labels]
    assert tasks.tolist() == sorted(tasks.tolist())
    assert len(images) == len(stripes.y_test)
    one = labels == 4
    assert torch.equal(images[one], stripes.x_test[stripes.y_test == stream.class_order[4]])


def test_validation_takes_the_same_share_of_every_class():
    data = striped(n_classes=4, train=10)
    stream = csd.split(data, n_tasks=2, validation=0.2, seed=3)
    for task in range(2):
        train, held_out = stream.train(task), stream.held_out(task)
        assert torch.bincount(held_out.labels)[-2:].tolist() == [2, 2]
        assert torch.bincount(train.labels)[-2:].tolist() == [8, 8]
        kept, held = ({x.numpy().tobytes() for x in part.images} for part in (train, held_out))
        assert not kept & held
    assert len(csd.split(data, n_tasks=2).held_out(0).labels) == 0


def test_groups_become_tasks():
    data = striped()
    named = csd.Dataset(
        "scripts", data.x_train, data.y_train, data.x_test, data.y_test, ("A/1", "B/1", "A/2", "B/2", "C/1", "B/3")
    )
    assert csd.split(named, groups=True, shuffle=False).tasks == ((0, 2), (1, 3, 5), (4,))
    assert sorted(csd.split(named, groups=True, seed=1).tasks) == [(0, 2), (1, 3, 5), (4,)]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"n_tasks": 7}, "n_tasks is 7; expected 1 to 6"),
        ({"n_tasks": 0}, "n_tasks is 0"),
        ({"sizes": [3, 2]}, r"sizes are \[3, 2\] \(sum 5\)"),
        ({"sizes": [7, -1]}, "positive"),
        ({"classes": [[0, 1], [1, 2, 3, 4, 5]]}, "'stripe 1' more than once"),
        ({"classes": [[0, 1], [2, 3]]}, "no 'stripe 4', 'stripe 5'"),
        ({"classes": [[0, 1, 2, 3, 4, 5], []]}, "empty task"),
        ({"classes": [["zebra"], [0]]}, "'zebra'"),
        ({"classes": [[6], [0]]}, "id 6; expected 0 to 5"),
        ({"groups": True}, "no groups"),
        ({}, "told nothing"),
        ({"n_tasks": 2, "sizes": [3, 3]}, "n_tasks and sizes"),
        ({"n_tasks": 2, "validation": 1.0}, "validation is 1.0"),
        ({"n_tasks": 2, "validation": -0.1}, "validation is -0.1"),
    ],
)
def test_impossible_splits_say_what_was_expected(stripes, how, message):
    with pytest.raises(ValueError, match=message):
        csd.split(stripes, **how)
