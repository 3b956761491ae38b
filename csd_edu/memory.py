"""What is stored of the past: rows of old tasks in a small memory, a feature for each training image in a bank.

Both count their bytes, and both go on from their `state_dict` as if nothing had happened. Random numbers come from
torch's global CPU generator, whatever device the rows are on: the same seed keeps and draws the same rows everywhere.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from csd_edu.arguments import check_tensors, flag, whole
from csd_edu.features import UNLABELLED


class Memory:
    """At most `size` rows of named tensors (images, labels, logits, ...), by reservoir sampling or balanced by class.

    Reservoir: of n rows offered so far, whatever their order, each is kept with probability size/n. Once full, row n
    (from 0) draws a slot r from 0..n, and takes it if r < size.

    Balanced: each class seen has an equal share, within one row, or all it ever offered if that is less. Once full, a
    row of a class that is not one of the largest replaces a random row of those that are; a row of a largest class is
    chosen by reservoir sampling among all that its class has offered. A class is therefore sampled evenly as long as
    its share doesn't grow again after it has shrunk, as in a stream where the classes come task by task.

    Rows are stored as they come, on their device: uint8 images stay uint8. They are copies, without gradients. Logits
    may come from a head that has grown: then the rows of the narrower head, stored or new, get NaN for the classes that
    it did not have.

    Args:
        size: how many rows are kept at most.
        balanced: share the rows among the classes; then `labels` are needed.

    Attributes:
        size: as given.
        balanced: as given.
        rows: the rows held now by name, each (len, ...); to be read, not written.
        n_seen: how many rows have been offered.

    Raises:
        ValueError: if the size is not a whole number of at least 1.

    Source: Vitter, "Random Sampling with a Reservoir", ACM TOMS 1985, algorithm R; for the balance (there the rows of a
    class that has its share are dropped) Prabhu, Torr & Dokania, "GDumb", ECCV 2020, algorithm 1.
    """

    def __init__(self, size: int, *, balanced: bool = False) -> None:
        self.size, self.balanced = whole("size", size, least=1), flag("balanced", balanced)
        self.rows: dict[str, Tensor] = {}
        self.n_seen = 0
        self._offered: dict[int, int] = {}  # rows offered of each class, if balanced
        self._slots: dict[int, list[int]] = {}  # where the rows of each class are, ascending, if balanced

    def __len__(self) -> int:
        """Return how many rows are held now."""
        return len(next(iter(self.rows.values()), ()))

    @property
    def n_bytes(self) -> int:
        """How many bytes the rows held now take, as they are stored."""
        return sum(rows.numel() * rows.element_size() for rows in self.rows.values())

    @torch.no_grad()
    def add(self, **rows: Tensor) -> None:
        """Offer the rows of one batch, and keep those that chance, or the balance, decides for.

        It makes no difference whether rows come one by one or many at once.

        Args:
            rows: tensors by name, each (B, ...), such as images=..., labels=...; always the same names, shapes of a row
                and types. Only the width of `logits` may differ from batch to batch.

        Raises:
            ValueError: if rows don't fit together, or don't fit those stored.
        """
        n = self._check(rows)
        labels = rows["labels"].tolist() if self.balanced else None
        chances = torch.rand(n, dtype=torch.float64, device="cpu").tolist()
        if labels is None:
            slots = [self._reservoir(chance) for chance in chances]
        else:
            slots = [self._share(label, chance) for label, chance in zip(labels, chances, strict=True)]
        taken = {slot: row for row, slot in enumerate(slots) if slot is not None}  # by the last row that came there
        length = min(self.n_seen, self.size)
        for name, new in rows.items():
            held = self.rows.get(name, new[:0]).to(new.device)
            if name == "logits":
                width = max(held.shape[1], new.shape[1])
                held, new = _widened(held, width), _widened(new, width)
            if len(held) < length:
                held = torch.cat([held, new.new_empty(length - len(held), *new.shape[1:])])
            held[_index(taken.keys(), new)] = new[_index(taken.values(), new)]
            self.rows[name] = held

    def draw(self, n: int) -> SimpleNamespace:
        """Return n random rows without replacement, or all rows in random order if there are fewer.

        Args:
            n: how many rows are wanted.

        Returns:
            The rows by name, as attributes: drawn.images, drawn.labels, ...; copies.

        Raises:
            ValueError: if nothing is stored yet, or n is not a whole number of at least 1.
        """
        return self.read(self.choose(n))

    def choose(self, n: int) -> Tensor:
        """Return which rows a draw takes, to `read` them and perhaps to `write` them anew.

        Args:
            n: how many rows are wanted.

        Returns:
            (n,) int64 on the CPU, each row at most once; (len,) if there are fewer.

        Raises:
            ValueError: as `draw`.
        """
        n = whole("n", n, least=1)
        if len(self) == 0:
            raise ValueError("the memory is empty; add rows first, and ask `if len(memory):` before drawing")
        return torch.randperm(len(self), device="cpu")[:n]

    def read(self, index: Tensor) -> SimpleNamespace:
        """Return these rows.

        Args:
            index: (B,) integers, such as those of `choose`.

        Returns:
            The rows by name, as attributes; copies.

        Raises:
            ValueError: if there is no such row.
        """
        index = self._checked_index(index)
        return SimpleNamespace(
            **{name: held[index.to(held.device, non_blocking=True)] for name, held in self.rows.items()}
        )

    @torch.no_grad()
    def write(self, index: Tensor, **rows: Tensor) -> None:
        """Set some of the tensors of these rows anew; the others, and which rows are held, stay as they are.

        Args:
            index: (B,) integers, each at most once.
            rows: tensors by name, each (B, ...), of the shape and type of those held; stored without their gradient.
                `labels` can't be written: a row of another class is another row.

        Raises:
            ValueError: if there is no such row or name, or the shapes or types don't fit.
        """
        index = self._checked_index(index)
        check_tensors(**rows)
        for name, new in rows.items():
            held = self.rows.get(name)
            if held is None or name == "labels":
                others = [other for other in self.rows if other != "labels"]
                raise ValueError(f"{name} can't be written; expected some of {', '.join(others)}")
            if new.shape != (len(index), *held.shape[1:]) or new.dtype != held.dtype:
                raise ValueError(
                    f"{name} are {new.dtype} {tuple(new.shape)}; expected {held.dtype} "
                    f"{(len(index), *held.shape[1:])}, a row for each index"
                )
        for name, new in rows.items():
            held = self.rows[name]
            held[index.to(held.device, non_blocking=True)] = new.to(held.device)

    def replace(self, **rows: Tensor) -> None:
        """Hold these rows in place of those held, in this order, as if they were the first that came.

        Args:
            rows: tensors by name, each (B, ...) with B up to `size`, as for `add`; the names may be others than before.

        Raises:
            ValueError: if they are too many, or don't fit together; then the memory stays as it is.
        """
        fresh = Memory(self.size, balanced=self.balanced)
        n = fresh._check(rows)
        if n > self.size:
            raise ValueError(f"{n:,} rows were given to a memory for {self.size:,}; expected no more than it holds")
        fresh.add(**rows)
        self.rows, self.n_seen, self._offered, self._slots = fresh.rows, fresh.n_seen, fresh._offered, fresh._slots

    def state_dict(self) -> dict[str, Any]:
        """Return all that decides how the memory goes on, as tensors (copies) and plain numbers by name."""
        return {
            "size": self.size,
            "balanced": self.balanced,
            "n_seen": self.n_seen,
            "offered": {str(label): n for label, n in self._offered.items()},
            "rows": {name: held.clone() for name, held in self.rows.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` returned; its rows are copied, and stay on their device.

        Raises:
            ValueError: if the state is that of a memory of another size or kind.
        """
        if (state["size"], bool(state["balanced"])) != (self.size, self.balanced):
            raise ValueError(
                f"the state is that of Memory({state['size']}, balanced={bool(state['balanced'])}), "
                f"this is Memory({self.size}, balanced={self.balanced}); expected the same settings as in the run it "
                "comes from"
            )
        self.n_seen = int(state["n_seen"])
        self.rows = {name: held.clone() for name, held in state["rows"].items()}
        self._offered = {int(label): int(n) for label, n in state["offered"].items()}
        self._slots = {label: [] for label in self._offered}
        if self.balanced and self.rows:
            for slot, label in enumerate(self.rows["labels"].tolist()):
                self._slots[label].append(slot)

    def _reservoir(self, chance: float) -> int | None:
        """Return the slot that the next row takes, or None; chance is uniform in [0, 1)."""
        n = self.n_seen
        self.n_seen += 1
        slot = n if n < self.size else int(chance * (n + 1))
        return slot if slot < self.size else None

    def _share(self, label: int, chance: float) -> int | None:
        """Return the slot that the next row, of class `label`, takes, or None; chance is uniform in [0, 1)."""
        n_offered = self._offered.get(label, 0)
        self._offered[label] = n_offered + 1
        own = self._slots.setdefault(label, [])
        n = self.n_seen
        self.n_seen += 1
        if n < self.size:
            own.append(n)
            return n
        largest = max(map(len, self._slots.values()))
        if len(own) == largest:
            r = int(chance * (n_offered + 1))
            return own[r] if r < largest else None
        crowded = [slots for _, slots in sorted(self._slots.items()) if len(slots) == largest]
        which, r = divmod(int(chance * largest * len(crowded)), largest)
        slot = crowded[which].pop(r)
        insort(own, slot)
        return slot

    def _checked_index(self, index: Tensor) -> Tensor:
        """Return an index if all its rows are held."""
        check_tensors(index=index)
        if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
            raise ValueError(f"index is {index.dtype} {tuple(index.shape)}; expected integers (B,), as choose returns")
        outside = index[(index < 0) | (index >= len(self))]
        if len(outside):
            raise ValueError(f"row {int(outside[0])} was asked for; expected rows from 0 to {len(self) - 1}")
        return index

    def _check(self, rows: Mapping[str, Tensor]) -> int:
        """Return B if the rows fit together and fit those stored."""
        if not rows:
            raise ValueError("no rows were given; expected tensors by name, such as images=..., labels=...")
        check_tensors(**rows)
        lengths = {name: len(new) if new.ndim else None for name, new in rows.items()}
        n = next(iter(lengths.values()))
        if n is None or len(set(lengths.values())) > 1:
            raise ValueError(
                f"the rows have shapes { {name: tuple(new.shape) for name, new in rows.items()} }; "
                "expected (B, ...) with the same B, one row for each image"
            )
        if "logits" in rows and (rows["logits"].ndim != 2 or not rows["logits"].is_floating_point()):
            raise ValueError(f"logits are {_kind(rows['logits'])} a row; expected one float for each class: (B, C)")
        if self.balanced:
            labels = rows.get("labels")
            if labels is None:
                raise ValueError(f"rows of {list(rows)} were given; a balanced memory needs labels, too: labels=...")
            if labels.ndim != 1 or labels.is_floating_point():
                raise ValueError(f"labels are {_kind(labels)} a row; expected integers (B,)")
            if bool((labels.long() == UNLABELLED).any()):
                raise ValueError(
                    f"labels hold {UNLABELLED}, which says that an image has none: unlabelled rows are of no class to "
                    "balance; expected those that have one, such as step.raw with step.labels"
                )
        if self.rows and set(rows) != set(self.rows):
            raise ValueError(
                f"rows of {list(rows)} were given, rows of {list(self.rows)} are stored; "
                "expected the same names in every batch"
            )
        for name, held in self.rows.items():
            new = rows[name]
            if new.dtype != held.dtype or (name != "logits" and new.shape[1:] != held.shape[1:]):
                raise ValueError(
                    f"{name} are {_kind(new)} a row, those stored {_kind(held)}; expected the same shape and type "
                    "in every batch"
                )
        return n


class Bank:
    """One row of features for each training image, read and written by the image's row.

    Args:
        n_rows: how many training images there are.
        dim: D, the length of a feature.
        device: where the features are kept.

    Attributes:
        values: (n_rows, D) float32, zeros where nothing was written yet.

    Raises:
        ValueError: if a number is not a whole number of at least 1.
    """

    def __init__(self, n_rows: int, dim: int, *, device: torch.device | str = "cpu") -> None:
        self.values = torch.zeros(
            whole("n_rows", n_rows, least=1), whole("dim", dim, least=1), dtype=torch.float32, device=device
        )

    def __len__(self) -> int:
        """Return for how many images there is a row."""
        return len(self.values)

    @property
    def n_bytes(self) -> int:
        """How many bytes the features take."""
        return self.values.numel() * self.values.element_size()

    def read(self, index: Tensor) -> Tensor:
        """Return the features of some images, a copy.

        Args:
            index: (B,) integers, which rows.

        Returns:
            (B, D) float32, on the bank's device.

        Raises:
            ValueError: if an index is outside.
        """
        return self.values[self._checked(index)]

    @torch.no_grad()
    def write(self, index: Tensor, values: Tensor) -> None:
        """Set the features of some images.

        Args:
            index: (B,) integers, which rows; each at most once.
            values: (B, D) floats; stored without their gradient.

        Raises:
            ValueError: if an index is outside, or the shapes don't fit.
        """
        index = self._checked(index)
        check_tensors(values=values)
        if values.shape != (len(index), self.values.shape[1]):
            raise ValueError(
                f"values are {tuple(values.shape)}; expected {(len(index), self.values.shape[1])}, "
                "one feature for each index"
            )
        self.values[index] = values.to(self.values)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the features by name, a copy."""
        return {"values": self.values.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the features that `state_dict` returned, on the bank's device.

        Raises:
            ValueError: if they are those of another number of images, or of another length.
        """
        if state["values"].shape != self.values.shape:
            raise ValueError(
                f"the state has features {tuple(state['values'].shape)}, the bank {tuple(self.values.shape)}; "
                "it belongs to other data or to another network"
            )
        self.values.copy_(state["values"])

    def _checked(self, index: Tensor) -> Tensor:
        """Return the index on the bank's device if it is inside."""
        check_tensors(index=index)
        if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
            raise ValueError(f"index is {index.dtype} {tuple(index.shape)}; expected integers (B,), such as step.index")
        outside = index[(index < 0) | (index >= len(self))]
        if len(outside):
            raise ValueError(
                f"the bank has {len(self)} rows, 0 to {len(self) - 1}, but index {int(outside[0])} came: it belongs to "
                "other data; make one with Bank(len(images), dim) for the images that are trained on"
            )
        return index.to(self.values.device, torch.int64)


def _widened(logits: Tensor, width: int) -> Tensor:
    """Return (B, width) logits, NaN for the classes that these don't have."""
    return torch.nn.functional.pad(logits, (0, width - logits.shape[1]), value=torch.nan)


def _index(numbers: Any, like: Tensor) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.int64, device=like.device)


def _kind(rows: Tensor) -> str:
    return f"{rows.dtype} {tuple(rows.shape[1:])}"
