"""Where and how the arithmetic runs: device, precision, seeds, and what machine this is."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from csd_edu.version import __version__

P = ParamSpec("P")
T = TypeVar("T")

try:
    tempfile.gettempdir()
except OSError:  # an optimizer of torch asks where its compiler, which the kit does without, may keep something
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(__file__).parent))

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" takes the GPU if there is one that answers.

    Args:
        name: "auto", "cpu", "cuda", "cuda:1", "mps", ….

    Raises:
        ValueError: if the name is no device, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if _gpu_answers() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device is {name!r}; expected 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {name!r}, but torch sees {torch.cuda.device_count()} CUDA GPUs; "
            "use device='auto' or 'cpu' (on Colab: Runtime > Change runtime type > GPU)"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device is {name!r}, but this torch sees no Apple GPU; use device='auto' or 'cpu'")
    if device.type not in ("cpu", "cuda", "mps"):
        try:
            torch.ones(1, device=device).item()
        except (RuntimeError, AssertionError, ImportError):  # NotImplementedError is a RuntimeError
            raise ValueError(f"device is {name!r}, on which torch computes nothing here; use 'auto' or 'cpu'") from None
    return device


def _gpu_answers() -> bool:
    """Return whether there is a GPU that torch can use; one that only seems to be there is told."""
    if not torch.cuda.is_available():
        return False
    try:
        torch.cuda.get_device_properties(0)
    except (RuntimeError, AssertionError) as error:  # a driver that fits neither the card nor torch
        warnings.warn(f"the GPU does not answer ({_first_line(error)}): the CPU computes", stacklevel=4)
        return False
    return True


def gpu_name() -> str | None:
    """Return what the GPU is called, or None without one; of one that does not answer, that it does not."""
    if not torch.cuda.is_available():
        return None
    try:
        return torch.cuda.get_device_name()
    except (RuntimeError, AssertionError) as error:
        return f"does not answer ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type that convolutions run in; "auto" takes the fastest that the hardware truly has.

    Args:
        name: "auto", "float32", "bfloat16" or "float16".
        device: where the network runs.

    Raises:
        ValueError: if the name is none of those, or is float16 on a CPU.
    """
    if name == "auto":
        if device.type == "cuda":
            # Not torch.cuda.is_bf16_supported(): it says True on a T4 (7.5), which only emulates bfloat16.
            capability = torch.cuda.get_device_capability(device)
            return torch.bfloat16 if capability >= (8, 0) else torch.float16 if capability >= (7, 0) else torch.float32
        return torch.bfloat16 if device.type == "cpu" and cpu_has_bfloat16() else torch.float32
    if name not in PRECISIONS:
        raise ValueError(f"precision is {name!r}; expected 'auto', {', '.join(map(repr, PRECISIONS))}")
    if name == "float16" and device.type == "cpu":
        raise ValueError("precision is 'float16' on a CPU; expected 'auto', 'float32' or 'bfloat16' there")
    return PRECISIONS[name]


def cpu_has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 in hardware (AVX512-bf16 or AMX)."""
    # torch has no public question for this; where the private one is gone, float32 is the safe answer.
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def keep_freed_memory() -> None:
    """Let the C library reuse the memory of a step in the next one instead of giving it back to the system.

    By default glibc gives large tensors back when they are freed, and the system maps and zeroes their pages again
    in the next step. What that costs depends on the machine and its load; benchmarks/step.py times a step before
    and after. Elsewhere than on Linux with glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    m_trim_threshold, m_mmap_threshold = -1, -3  # from malloc.h
    with contextlib.suppress(OSError, ValueError, AttributeError):  # another C library, or Python can't tell
        if platform.libc_ver()[0].startswith("glibc"):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(m_mmap_threshold, 2**30)
            libc.mallopt(m_trim_threshold, 2**30)


def memory_bytes(device: torch.device) -> int:
    """Return how many bytes of memory a device has; of a CPU where that can't be asked, more than any."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # as on Windows
        return 2**63


@contextlib.contextmanager
def memory_worded(batch_size: int, saved: Path) -> Iterator[None]:
    """Say what to do if memory gets full while training in a block.

    Args:
        batch_size: of the training.
        saved: the run folder.

    Raises:
        MemoryError, torch.cuda.OutOfMemoryError, RuntimeError: as it was, with a text that says what to do.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not full:
            raise
        kind = next(k for k in (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) if isinstance(error, k))
        raise kind(
            f"memory is full with batches of {batch_size} images ({_first_line(error)}); choose a smaller batch_size, "
            f"smaller images or another device, and a new folder. What was learnt so far is saved in {saved}"
        ) from None


@contextlib.contextmanager
def reproducible_kernels() -> Iterator[None]:
    """Make cuDNN choose the same, deterministic convolution every time, for the length of a block."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


@contextlib.contextmanager
def usual_torch() -> Iterator[None]:
    """Let torch be as it starts, for the length of a block: float32 on the CPU, exact products, and gradients pass.

    A notebook may have set another default type or device, autocast, inference mode or faster products; what the kit
    computes must not depend on it.
    """
    dtype, products = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    with contextlib.ExitStack() as undo:  # what is as usual already isn't touched: it belongs to all threads
        if dtype != torch.float32:
            undo.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if products != "highest":
            undo.callback(torch.set_float32_matmul_precision, products)
            torch.set_float32_matmul_precision("highest")
        if torch.get_default_device().type != "cpu":
            undo.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            undo.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                undo.enter_context(torch.autocast(device, enabled=False))
        yield


def each_in_usual_torch(function: Callable[P, Generator[T, None, None]]) -> Callable[P, Generator[T, None, None]]:
    """Let a generator run in `usual_torch`, but not the block that reads what it yields."""

    @functools.wraps(function)
    def generator(*args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        inside = function(*args, **kwargs)
        with contextlib.closing(inside):
            while True:
                with usual_torch():
                    try:
                        value = next(inside)
                    except StopIteration:
                        return
                yield value

    return generator


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed for one purpose, such as ("epoch", task, epoch), that no other purpose shares.

    Deriving instead of carrying a generator's state along means that an epoch draws the same numbers
    whether or not the process was killed before it.
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:7], "little")  # 56 bits: fits torch's signed 64-bit seeds


def on_colab() -> bool:
    """Return whether this process runs in Google Colab."""
    return "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ


def in_shell(*words: object) -> str:
    """Return a command as it can be pasted into a shell, with paths in quotes where they need them."""
    return subprocess.list2cmdline(map(str, words)) if sys.platform == "win32" else shlex.join(map(str, words))


def environment() -> dict[str, str | int]:
    """Return what a reader of a run needs to know about the machine that made it."""
    return {
        "csd_edu": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "gpu": gpu_name() or "none",
        "cpu_threads": torch.get_num_threads(),
    }
