"""What version 0.1.0 left: its numbers are still computed, bit by bit, and its runs are read and go on."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import csd_edu as csd
from csd_edu.files import read_tensors
from tests import bits

HERE = Path(__file__).parent
OLD = HERE / "data" / "first_version"
CHECKSUMS = json.loads((OLD / "checksums.json").read_text())

x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"),
    reason="bits are compared on x86-64 only: other processors round in another order",
)


def started(*command: str) -> str:
    """Return what a Python program prints in the environment in which all x86-64 processors compute the same bits."""
    env = {**os.environ, **bits.PORTABLE, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, cwd=HERE.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the run that version 0.1.0 left unfinished, after one epoch of task 1."""
    return shutil.copytree(OLD / "csd", tmp_path / "csd")


@pytest.fixture(scope="module")
def stream() -> csd.Stream:
    return bits.stream(OLD / "striped.npz")


@x86
@pytest.mark.slow
def test_the_first_four_methods_compute_the_same_bits(tmp_path):
    assert json.loads(started("-m", "tests.bits", str(OLD / "striped.npz"), str(tmp_path))) == CHECKSUMS


CONTINUED = """
import json, sys, torch
from pathlib import Path
import csd_edu as csd
from tests import bits
torch.set_num_threads(1)
run = csd.train(bits.stream(Path(sys.argv[1])), csd.methods.csd, bits.CONFIG, out=sys.argv[2], progress=False)
print(json.dumps(bits.checksums(run)))
"""


@x86
@pytest.mark.slow
def test_its_unfinished_run_goes_on_to_the_same_bits(old):
    before = csd.Run.load(old).records
    assert json.loads(started("-c", CONTINUED, str(OLD / "striped.npz"), str(old))) == CHECKSUMS["csd"]
    records = csd.Run.load(old).records
    assert records[: len(before)] == before
    epochs = [("epoch", 0, 0), ("epoch", 0, 1), ("task", 0, None), ("epoch", 1, 0), ("epoch", 1, 1), ("task", 1, None)]
    assert [(r["kind"], r["task"], r.get("epoch")) for r in records][:6] == epochs
    assert [(r["kind"], r["task"]) for r in records][6:] == [("epoch", 2), ("epoch", 2), ("task", 2)]


def test_its_run_is_read(old):
    run = csd.Run.load(old)
    assert run.config == bits.CONFIG
    assert run.method == "csd"
    assert run.card["title"] == "Contrastive Supervised Distillation"
    assert (run.tasks_learnt, run.n_tasks, run.finished) == (1, 3, False)
    assert run.image_shape == (3, 16, 16)
    assert run.kept() == {}
    assert run.kept_bytes is None
    assert run.metrics["recall_at_1"]["seen"][0][0] == pytest.approx(2 / 3)
    assert [record["kind"] for record in run.records] == ["epoch", "epoch", "task", "epoch"]
    features, logits = csd.models.embed(run.network(0), run.test()["images"])
    torch.testing.assert_close(features, run.features(0))
    assert torch.equal(logits.argmax(dim=1), run.predictions(0))
    assert "1 of 3 tasks learnt" in repr(run)


def test_its_run_goes_on_from_where_it_stopped(old, stream, capsys):
    done = list(csd.training(stream, csd.methods.csd, bits.CONFIG, out=old))
    assert [(r["kind"], r["task"], r.get("epoch")) for r in done][:2] == [("epoch", 1, 1), ("task", 1, None)]
    assert len(done) == 5
    run = csd.Run.load(old)
    assert run.finished
    assert capsys.readouterr().out == ""
    assert run.description["config"]["depth"] == 8, "config.json stays as it was written"


def test_its_moments_and_weights_are_the_learners(old, stream):
    tensors, about = read_tensors(old / "checkpoint.safetensors")
    learner = csd.learner.Learner.resume(tensors, about["state"], stream, csd.methods.csd, bits.CONFIG)
    assert (learner.task, learner.epoch) == (1, 1)
    moments = [learner.optimizer.state[p] for p in learner.network.parameters()]
    assert all(torch.equal(m["exp_avg"], tensors[f"adam.{i}.exp_avg"]) for i, m in enumerate(moments))
    state = learner.network.state_dict()
    for name, value in tensors.items():
        if name.startswith("network."):
            now = name.removeprefix("network.").replace("resnet.", "backbone.")
            assert torch.equal(state[now], value)


@pytest.mark.parametrize("depth", [8, 32])
def test_the_depth_of_an_old_config_names_the_network(old, depth):
    description = json.loads((old / "config.json").read_text())
    description["config"]["depth"] = depth
    (old / "config.json").write_text(json.dumps(description))
    assert csd.Run.load(old).config.network == f"resnet{depth}"


def test_another_depth_is_another_run(old, stream):
    with pytest.raises(ValueError, match="its config has network 'resnet8', now 'resnet14'"):
        csd.train(stream, csd.methods.csd, bits.CONFIG.replace(network="resnet14"), out=old, progress=False)


def test_a_field_that_this_version_does_not_know_is_named(old, stream):
    description = json.loads((old / "config.json").read_text())
    description["config"]["warp"] = 9
    (old / "config.json").write_text(json.dumps(description))
    for use in (
        lambda: csd.Run.load(old).config,
        lambda: csd.train(stream, csd.methods.csd, bits.CONFIG, out=old, progress=False),
    ):
        with pytest.raises(ValueError, match="Config has no field 'warp'; expected some of: network, epochs"):
            use()


def renamed(old: Path, **method: str) -> None:
    description = json.loads((old / "config.json").read_text())
    description["method"] = method
    (old / "config.json").write_text(json.dumps(description))


@pytest.mark.parametrize("saved", [{}, {"source_crc32": "0badf00d"}])
def test_that_ones_own_method_is_the_same_can_not_be_told_and_is_said(old, stream, capsys, saved):
    def mine(step):
        return csd.methods.csd(step)

    renamed(old, name="mine", **saved)
    csd.train(stream, mine, bits.CONFIG, out=old, progress=False)
    told = capsys.readouterr().out
    assert "an older version saved the method's name only, so whether its settings and code are the same" in told
    assert "can't be told; it goes on as if it were" in told
    assert csd.Run.load(old).finished


def test_a_method_of_another_name_is_refused(old, stream):
    with pytest.raises(ValueError, match="its method has name 'csd', now 'lwf'"):
        csd.train(stream, csd.methods.lwf, bits.CONFIG, out=old, progress=False)
