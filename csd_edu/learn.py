"""The algorithm: how a network learns one task of a stream, by any method. `csd.train` calls it task by task."""

from __future__ import annotations

import copy
import time
from collections.abc import Generator
from typing import Any

import torch

from csd_edu import arguments
from csd_edu.config import Config
from csd_edu.data import Dataset
from csd_edu.learner import Learner, Log, Record
from csd_edu.methods.method import AnyMethod, check_method, forget_gradients, like_task, training_tasks
from csd_edu.models import Network
from csd_edu.runtime import each_in_usual_torch
from csd_edu.tasks import Stream


def check_setting(stream: Any, config: Any) -> None:
    """Raise a ValueError if the stream is none, such as a dataset that is not split, or the config is none.

    Args:
        stream: what is given as a `Stream`.
        config: what is given as a `Config`; None stands for the default.
    """
    if not isinstance(stream, Stream):
        found = "a Dataset" if isinstance(stream, Dataset) else f"{stream!r:.60}"
        raise ValueError(f"stream is {found}; expected the tasks of one, such as csd.split(data, n_tasks=5)")
    if not isinstance(config, Config | None):
        raise ValueError(f"config is {config!r:.60}; expected a csd.Config, such as csd.Config(epochs=10)")


@each_in_usual_torch
def learn(
    network: Network,
    stream: Stream,
    task: int,
    method: AnyMethod,
    config: Config | None = None,
    *,
    teacher: Network | None = None,
    learner: Learner | None = None,
) -> Generator[Record, None, None]:
    """Train a network on one task of a stream while you iterate: one record after each epoch.

    Args:
        network: as the task before left it; it is trained in place, and its head grows.
        stream: the tasks, from `csd.split`.
        task: which of them to learn.
        method: a function from a step to its loss terms, or a `Method`, which is to be the same object for every task.
        config: how to train; default `Config()`.
        teacher: the network that the steps compare with; default, after task 0, the network as it comes. It is frozen.
        learner: where an earlier call stopped, to go on from there.

    Returns:
        A generator of records: the mean of each loss term, the seconds, and R@1 on held-out images if there are any;
        then whatever the method's `end_task` has to say.

    Raises:
        ValueError: if the method returns no loss terms, or keeps what a checkpoint can't hold; or a teacher is missing.
        TrainingDivergedError: if a loss term or a weight becomes NaN or infinite.
    """
    check_method(method)
    check_setting(stream, config)
    task = arguments.whole("task", task)
    if not 0 <= task < stream.n_tasks:
        raise ValueError(f"task is {task}; expected 0 to {stream.n_tasks - 1}, one of the stream's")
    if not isinstance(network, Network) or not isinstance(teacher, Network | None):
        raise ValueError(
            "network or teacher is no network; expected csd.models.build('resnet8'), or run.network(0) of a run"
        )
    if learner is not None and not (learner.network is network and learner.method is method):
        raise ValueError("learner is that of another network or method; expected the one that an earlier call began")
    config = learner.config if config is None and learner is not None else config or Config()
    tasks = training_tasks(method, task, stream.n_tasks)
    learner = learner or Learner(network, stream, method, config, has_teacher=teacher is not None)
    goes_on = learner.task == task and learner.epoch > 0
    if teacher is None and task > 0:
        if goes_on:
            raise ValueError(
                "learner has begun the task, and the network is no longer as it came; expected teacher=, a copy of the "
                "network from before the task"
            )
        teacher = copy.deepcopy(network)
    if not goes_on:
        learner.begin_task(task, n_classes=stream.n_seen[max(task, *tasks)] if tasks else 0)  # else none is learnt
    data, held_out = stream.train(*tasks), stream.held_out(*tasks)
    if tasks and not goes_on:
        yield from learner.hook("begin_task", data)
    batches = learner.batches(data)
    as_task = like_task(method, task)
    look_at_teacher = learner.frozen(teacher) if teacher is not None else None

    for epoch in range(learner.epoch, config.epochs_of(as_task) if tasks else 0):
        started, log = time.perf_counter(), Log()
        network.train()
        forget_gradients(method)  # no checkpoint holds them
        with learner.seeded("epoch", task, epoch) as generator, torch.enable_grad():
            for i, batch in enumerate(batches.epoch(generator)):
                learner.set_learning_rate(config.learning_rate(as_task, epoch + i / len(batches)))
                terms = learner.ask(learner.step(batch, batches, look_at_teacher), thoroughly=i == 0)
                loss = torch.stack(list(terms.values())).sum()
                learner.optimizer.zero_grad(set_to_none=True)  # after the method: it may have gone backward itself
                learner.scaler.scale(loss).backward()
                learner.scaler.step(learner.optimizer)
                learner.scaler.update()
                log.add(terms)
        learner.epoch += 1
        record: Record = {"kind": "epoch", "task": task, "epoch": epoch, "losses": learner.means(log)}
        record |= {"learning_rate": config.learning_rate(as_task, epoch), **learner.validate(held_out)}
        seconds = time.perf_counter() - started
        speed = batches.n_images / seconds
        yield {**record, "images": batches.n_images, "seconds": seconds, "images_per_second": speed}

    learner.restore_best()
    if tasks:
        yield from learner.hook("end_task", data)
