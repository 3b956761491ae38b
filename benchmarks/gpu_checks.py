"""What must hold on a GPU: checks that tests/test_gpu.py and benchmarks/gpu.py share. Each raises AssertionError.

They are imported from the root of the sources, and need nothing but torch, NumPy, safetensors and the library. Each
works on the CPU too, where it shows that the check itself is right. What a check measures on the way it returns.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import csd_edu as csd
from csd_edu.files import read_tensors
from csd_edu.methods import Method, Setting, Step

Found = dict[str, float]
"""What a check measured, by name."""

ROOT = Path(__file__).resolve().parent.parent
TINY = csd.Config(epochs=3, later_epochs=2, batch_size=32, crop_padding=1)
NEEDS_TEACHER = ("kd",)  # for its first task already, and then a teacher that knows the same classes
NEEDS_UNLABELLED = ("paws", "csl", "nncsl")
BRIEFLY: dict[str, csd.methods.AnyMethod] = {
    "genifer": csd.methods.Genifer(gan_steps=10, gan_batch=16, width=12, record_every=4),
    "pixel_gan": csd.methods.PixelGAN(gan_steps=10, gan_batch=16, width=12, record_every=4),
}
"""With fewer steps than they have by default."""


def precisions(device: str) -> tuple[str, ...]:
    """Return the types that convolutions can run in on a device."""
    return ("float32", "bfloat16", "float16") if device == "cuda" else ("float32", "bfloat16")


def stripes(n_classes: int = 6, train: int = 36, test: int = 4, size: int = 16) -> csd.Dataset:
    """Return a dataset that a network learns in a few steps: each class has its own stripes, plus noise."""
    generator = torch.Generator().manual_seed(0)

    def images(per_class: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(n_classes).repeat(per_class)  # (N,)
        wave = torch.sin(2 * torch.pi * (labels[:, None] + 1) * torch.arange(size) / size)  # (N, size)
        noise = 30 * torch.randn(len(labels), 3, size, size, generator=generator)
        return (127 + 80 * wave[:, None, :, None] + noise).clamp(0, 255).to(torch.uint8), labels

    names = tuple(f"stripe {c}" for c in range(n_classes))
    return csd.Dataset("stripes", *images(train), *images(test), names)


# ------------------------------------------------------------------------------------------------------- training


def training_is_reproducible(device: str, precision: str) -> None:
    """Train twice: the same bits in weights, features and records."""
    config = TINY.replace(device=device, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        one, other = (train_quietly(csd.methods.csd, config, Path(folder) / name) for name in "ab")
        same_runs(one, other)


def method_trains(device: str, name: str) -> None:
    """Train two tasks with a method: the loss of the first falls, the second changes the network, all is finite."""
    stream, teacher = csd.split(stripes(), n_tasks=2), None
    if name in NEEDS_TEACHER:
        stream = csd.split(stripes(), n_tasks=1)
        teacher = csd.models.build("resnet8", n_classes=6, seed=1)
    if name in NEEDS_UNLABELLED:
        stream = csd.split(stripes(), n_tasks=2, labelled=0.5)
    config = TINY.replace(device=device)
    with tempfile.TemporaryDirectory() as folder:
        method = BRIEFLY.get(name, csd.methods.NAMED[name])
        run = csd.train(stream, method, config, out=folder, teacher=teacher, progress=False)
        epochs = [record for record in run.records if record["kind"] == "epoch"]
        first, last = (sum(epochs[at]["losses"].values()) for at in (0, config.epochs - 1))
        assert last < first - 0.1 * abs(first), f"{name}: the loss of task 0 went from {first:.3f} to {last:.3f}"
        for task in range(run.n_tasks):
            weights = run.network(task).state_dict()
            assert all(bool(value.isfinite().all()) for value in weights.values()), f"{name}: weights are not finite"
            assert bool(run.features(task).isfinite().all()), f"{name}: features are not finite"
        if epochs[-1]["task"] > 0:
            same = torch.equal(run.features(0), run.features(1))
            assert not same, f"{name}: learning task 1 has changed nothing"


def memory_and_bank_stay(device: str) -> None:
    """Keep and draw rows: the same as on the CPU for a seed, and all of them stay on the device."""
    for balanced in (False, True):
        kept = []
        for place in ("cpu", device):
            torch.manual_seed(0)
            memory = csd.Memory(9, balanced=balanced)
            for at in range(3):
                numbers = torch.arange(20, device=place) + 20 * at
                logits = numbers[:, None].float().repeat(1, 2 + at)  # the head grows
                memory.add(images=numbers[:, None].to(torch.uint8), labels=numbers % 4, logits=logits)
            drawn = memory.draw(5)
            for name, rows in {**memory.rows, **vars(drawn)}.items():
                assert rows.device.type == place, f"the memory's {name} are on {rows.device}, not on {place}"
            kept.append([rows.tolist() for rows in (*memory.rows.values(), drawn.labels, drawn.logits.nan_to_num(-1))])
            kept[-1][2] = memory.rows["logits"].nan_to_num(-1).tolist()  # NaN is not equal to itself
        assert kept[0] == kept[1], f"Memory(balanced={balanced}) keeps other rows on {device} than on the CPU"
        memory.load_state_dict(
            {**memory.state_dict(), "rows": {name: held.cpu() for name, held in memory.rows.items()}}
        )
        memory.add(images=numbers[:, None].to(torch.uint8), labels=numbers % 4, logits=logits)
        at_last = memory.rows["images"].device
        assert at_last.type == device, f"a memory filled from the CPU keeps its images on {at_last} when new ones come"
    rows = torch.randn(4, 3)
    bank = csd.Bank(10, 3, device=device)
    bank.write(torch.arange(4, device=device), rows.to(device))
    bank.load_state_dict({name: value.cpu() for name, value in bank.state_dict().items()})
    read = bank.read(torch.arange(4))
    assert read.device.type == device, f"the bank's features are on {read.device}, not on {device}"
    assert torch.equal(read.cpu(), rows), "the bank gives back other features than were written"
    method = copy.deepcopy(csd.methods.er)
    stream = csd.split(stripes(), n_tasks=2)
    list(csd.learn(csd.models.build("resnet8"), stream, 0, method, TINY.replace(device=device)))
    at_last = method.memory.rows["images"].device
    assert at_last.type == device, f"after training, the images of er's memory are on {at_last}, not on {device}"


def images_get_a_gradient(device: str, precision: str) -> None:
    """Look at float images in a step: a gradient comes back through the student, and through the frozen teacher."""

    def looks(step: Step) -> dict[str, Tensor]:
        for name, view in (("view", step.view), ("teacher_view", step.teacher_view)):
            assert view is not None
            images = (step.images.float() / 255).requires_grad_()  # (B, C, H, W)
            gradient = torch.autograd.grad(view(images, "stage2")["stage2"].square().sum(), images)[0]
            assert gradient.device == images.device, f"the gradient of step.{name} is on {gradient.device}"
            assert bool(gradient.isfinite().all()), f"the gradient of step.{name} is not finite"
            assert bool((gradient != 0).any()), f"no gradient comes through step.{name}"
        return csd.methods.csd(step)

    stream = csd.split(stripes(train=4), n_tasks=2)
    network, teacher = csd.models.build("resnet8"), csd.models.build("resnet8", n_classes=3, seed=1)
    config = TINY.replace(device=device, precision=precision)
    list(csd.learn(network, stream, 0, looks, config, teacher=teacher))


def embedding_is_the_cpus(device: str) -> Found:
    """Embed images: as the CPU does, in full float32 closely, and by default within what TF32 convolutions leave."""
    network = csd.models.build("resnet32", n_classes=10)
    images = torch.randint(256, (256, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        network.train()(images)  # batch-norm's running statistics
    expected = csd.models.embed(network, images)[0]
    network.to(device)
    found: Found = {}
    usual = torch.backends.cudnn.allow_tf32
    for name, tf32, limit in (("float32", False, 1e-4), ("default", usual, 4e-3)):
        torch.backends.cudnn.allow_tf32 = tf32
        try:
            features = csd.models.embed(network, images)[0]
        finally:
            torch.backends.cudnn.allow_tf32 = usual
        found[name] = float((features - expected).abs().max() / expected.abs().max())
        assert found[name] < limit, f"features differ from the CPU's by {found[name]:.1e} ({name}), limit {limit:.0e}"
    return found


def building_leaves_the_random_state(device: str) -> None:
    """Build a network: the device's random numbers go on as if nothing had happened."""
    torch.manual_seed(5)
    expected = torch.rand(3, device=device)
    torch.manual_seed(5)
    csd.models.build("resnet8", n_classes=5, seed=3)
    assert torch.equal(torch.rand(3, device=device), expected), "building a network moves the device's random state"


def gallery_takes_features(device: str) -> None:
    """Search with features that are on the device."""
    gallery = csd.retrieval.Gallery(2)
    ids = torch.tensor([5, 6], device=device)
    gallery.add(torch.eye(2, device=device), ids)
    found = gallery.search(torch.eye(2, device=device), 1, exclude_ids=ids[[0, 0]])[1]
    assert found.tolist() == [[6], [6]], f"the search found {found.tolist()}"


def all_checks(device: str) -> dict[str, Callable[[], Found | None]]:
    """Return the checks above by name."""
    checks: dict[str, Callable[[], Found | None]] = {}
    for precision in precisions(device):
        checks[f"training is reproducible, {precision}"] = partial(training_is_reproducible, device, precision)
        checks[f"images get a gradient, {precision}"] = partial(images_get_a_gradient, device, precision)
    checks |= {
        "memory and bank stay, and draw as on the CPU": partial(memory_and_bank_stay, device),
        "embedding is the CPU's": partial(embedding_is_the_cpus, device),
        "building leaves the random state": partial(building_leaves_the_random_state, device),
        "a gallery takes features": partial(gallery_takes_features, device),
    }
    return checks | {f"{name} trains": partial(method_trains, device, name) for name in csd.methods.NAMED}


# --------------------------------------------------------------------------------------------------------- losses

NO_LOSSES = ("normalize", "csd_pairs")  # public in csd_edu/losses.py, but not to be minimised
VALUE_LIMIT = 1e-5
INSIDE_LIMITS = {"random": 5e-5, "long": 5e-5, "near-duplicates": 1e-2}  # a thousandth apart costs three digits
ROUNDING = {"float32": 0.0, "bfloat16": 2**-9, "float16": 2**-12}  # of a gradient just below 1, in the inputs' type


def public_losses() -> dict[str, Callable[..., Tensor]]:
    """Return the losses of csd_edu/losses.py by name."""
    module = csd.losses
    functions = {
        name: f for name, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__
    }
    return {name: f for name, f in functions.items() if not name.startswith("_") and name not in NO_LOSSES}


def loss_inputs(kind: str, n: int = 128, dim: int = 64, n_classes: int = 100, n_old: int = 50) -> dict[str, Tensor]:
    """Return what losses are given, by the names of their parameters, in float64.

    Args:
        kind: "random"; "long", 10,000 times as large; or "near-duplicates", where the images of a class are the same
            within a thousandth, and so are student and teacher.
        n, dim, n_classes, n_old: B, D, C and K.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    labels = torch.randint(n_classes // 8, (n,), generator=generator)
    if kind == "near-duplicates":
        student = normal(n_classes, dim)[labels] + 1e-3 * normal(n, dim)
        logits = normal(n_classes, n_classes)[labels] + 1e-3 * normal(n, n_classes)
        teacher, old_logits = student + 1e-3 * normal(n, dim), logits[:, :n_old] + 1e-3 * normal(n, n_old)
    else:
        scale = 1e4 if kind == "long" else 1.0
        student, logits = scale * normal(n, dim), scale * normal(n, n_classes)
        teacher, old_logits = 0.7 * student + 0.5 * scale * normal(n, dim), scale * normal(n, n_old)
    stored = old_logits.masked_fill(torch.rand(n, n_old, generator=generator) < 0.1, torch.nan)
    features = {"features": student, "student": student, "teacher": teacher, "labels": labels}
    return {
        **features,
        "logits": logits,
        "student_logits": logits,
        "teacher_logits": old_logits,
        "stored_logits": stored,
    }


def value_and_gradient(
    loss: Callable[..., Tensor], inputs: dict[str, Tensor], scale: float = 1.0
) -> tuple[float, Tensor]:
    """Return a loss, as autocast sees it, and its gradient in the first input, in float64 on the CPU.

    Going backward the loss is multiplied by `scale`, as in training, lest a float16 gradient vanish.
    """
    first, *others = (inputs[name] for name in _inputs_of(loss))
    first = first.detach().requires_grad_()
    with torch.autocast(first.device.type, dtype=torch.bfloat16):  # which losses are to leave
        value = loss(first, *others)
    (gradient,) = torch.autograd.grad(value * scale, first)
    return value.item(), gradient.cpu().double() / scale


def _inputs_of(loss: Callable[..., Tensor]) -> list[str]:
    parameters = inspect.signature(loss).parameters.values()
    return [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]


def loss_is_exact(device: str, name: str, precision: str, **sizes: int) -> Found:
    """Compare a loss and its gradient on the device with float64 on the CPU, from the same rounded inputs.

    Args:
        device: where.
        name: of the loss.
        precision: of the inputs.
        sizes: of `loss_inputs`.

    Returns:
        By kind of inputs the error of the value, relative above 1 and absolute below; and the worst of the gradient,
        relative to its largest number.
    """
    loss, dtype = public_losses()[name], getattr(torch, precision)
    unknown = [key for key in _inputs_of(loss) if key not in loss_inputs("random")]
    assert not unknown, f"{name} takes {', '.join(unknown)}: give loss_inputs an example of each"
    found: Found = {}
    for kind, inside in INSIDE_LIMITS.items():
        inputs = loss_inputs(kind, **sizes)
        given = {key: x.to(dtype) if x.is_floating_point() else x for key, x in inputs.items()}
        exact = {key: x.double() if x.is_floating_point() else x for key, x in given.items()}
        expected, slope = value_and_gradient(loss, exact)
        largest = max(float(slope.abs().max()), 1e-30)
        value, gradient = value_and_gradient(loss, {key: x.to(device) for key, x in given.items()}, 1 / largest)
        errors = {
            "value": (abs(value - expected) / max(abs(expected), 1.0), VALUE_LIMIT),
            "gradient": (float((gradient - slope).abs().max()) / largest, inside + ROUNDING[precision]),
        }
        for what, (error, limit) in errors.items():
            message = f"{name}, {kind} inputs in {precision}: the {what}'s error is {error:.1e}, limit {limit:.0e}"
            assert error <= limit, message  # NaN fails, too
            found[f"{kind}, {what}"] = error
    return found


# -------------------------------------------------------------------------------------------- interrupted, killed


@dataclass
class Generated(Method):
    """Fine-tuning on images that a generator adds to the batch, and trains with an Adam of its own."""

    __name__ = "generated"

    def begin(self, setting: Setting) -> None:
        channels, height, self.width = setting.image_shape
        made = nn.Linear(8, channels * height), nn.BatchNorm1d(channels * height), nn.Sigmoid()
        self.generator = nn.Sequential(*made, nn.Unflatten(1, (channels, height, 1))).to(setting.device)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), 1e-2)

    def __call__(self, step: Step) -> dict[str, Tensor]:
        noise = torch.randn(len(step.labels), 8, device=step.images.device)
        images = self.generator(noise).expand(-1, -1, -1, self.width)  # (B, C, H, W), its rows each of one colour
        loss = csd.losses.cross_entropy(step.view(images).logits, step.labels)
        self.optimizer.zero_grad()
        loss.backward(inputs=list(self.generator.parameters()))
        self.optimizer.step()
        made = step.view(images.detach()).logits
        return {**csd.methods.finetune(step), "made": csd.losses.cross_entropy(made, step.labels)}


METHODS: dict[str, csd.methods.AnyMethod] = {
    "csd": csd.methods.csd,
    "derpp": csd.methods.DERPP(size=20),
    "generated": Generated(),
    "genifer": BRIEFLY["genifer"],
}


def train_quietly(method: csd.methods.AnyMethod, config: csd.Config, out: Path) -> csd.Run:
    """Train on two tasks of stripes."""
    return csd.train(csd.split(stripes(), n_tasks=2), method, config, out=out, progress=False)


def interrupted_it_ends_the_same(device: str, name: str, precision: str) -> Found:
    """Stop a run after 1, 3, 5, … records and go on: the same bits as of a run that was never stopped."""
    config = TINY.replace(device=device, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        whole = train_quietly(METHODS[name], config, Path(folder) / "whole")
        stops = range(1, len(whole.records), 2)
        for stop in stops:
            out = Path(folder) / str(stop)
            records = csd.training(csd.split(stripes(), n_tasks=2), METHODS[name], config, out=out)
            with contextlib.closing(records):
                for _ in itertools.islice(records, stop):
                    pass
            same_runs(whole, train_quietly(METHODS[name], config, out), f"stopped after {stop} records")
    return {"stops": len(stops)}


def killed_it_ends_the_same(device: str, name: str, precision: str, kills: int = 3) -> Found:
    """Kill the process of a run with SIGKILL, each time a little later, and go on: the same bits as of a whole run."""
    config = TINY.replace(device=device, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        whole, out = train_quietly(METHODS[name], config, Path(folder) / "whole"), Path(folder) / "killed"
        for kill in range(kills):
            arguments = name, json.dumps(config.to_json()), str(out)
            code = f"from benchmarks.gpu_checks import train_aloud; train_aloud{arguments!r}"
            command = [sys.executable, "-c", code]
            with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", cwd=ROOT) as child:
                try:
                    assert child.stdout is not None
                    line = child.stdout.readline()  # a record was written; it is killed in the midst of the next
                    assert line, f"the process that was to be killed ended by itself, with {child.wait()}"
                    time.sleep(0.01 * kill)
                finally:
                    child.kill()
        assert not csd.Run.load(out).finished, "the run was over before it could be killed"
        same_runs(whole, train_quietly(METHODS[name], config, out), f"killed {kills} times")
    return {"kills": kills}


def train_aloud(name: str, config: str, out: str) -> None:
    """Train, and print a line after each record: what `killed_it_ends_the_same` kills."""
    stream = csd.split(stripes(), n_tasks=2)
    for record in csd.training(stream, METHODS[name], csd.Config.from_json(json.loads(config)), out=out):
        print(record["kind"], flush=True)


def same_runs(one: csd.Run, other: csd.Run, how: str = "trained again") -> None:
    """Compare two runs: metrics, weights, features, and records apart from their seconds."""
    assert one.finished, f"{one} is not finished"
    assert other.finished, f"{how}: {other} is not finished"
    for task in range(one.n_tasks):
        for what in ("weights", "features"):
            a, b = (read_tensors(run.task_file(task, what))[0] for run in (one, other))
            different = [key for key in a if not torch.equal(a[key], b[key])]
            assert not different, f"{how}: other {what} after task {task} ({', '.join(different[:3])})"
    assert one.metrics == other.metrics, f"{how}: other metrics"
    said, said_too = ([{**r, "seconds": 0, "images_per_second": 0} for r in run.records] for run in (one, other))
    assert said == said_too, f"{how}: other records"
