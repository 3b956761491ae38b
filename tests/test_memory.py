"""The memory against a plain reference, against chance, and across checkpoints; the bank likewise."""

import collections
import copy
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from csd_edu.memory import Bank, Memory

several_examples = settings(max_examples=40, deadline=None, derandomize=True)


def numbered(n, start=0, n_classes=3, **more):
    """Return n rows whose images tell their number: row i has images filled with i."""
    number = torch.arange(start, start + n)
    images = (number % 256).to(torch.uint8)[:, None, None, None].repeat(1, 3, 2, 2)
    return {"images": images, "labels": number % n_classes, "number": number, **more}


def plain_reservoir(n, size, chances):
    """Algorithm R, row by row: return the numbers of the rows kept, by slot."""
    kept = []
    for row in range(n):
        if row < size:
            kept.append(row)
            continue
        r = math.floor(chances[row] * (row + 1))  # uniform in 0..row
        if r < size:
            kept[r] = row
    return kept


def in_batches(memory, rows, sizes):
    """Add rows in batches of these sizes, again and again until all are in."""
    at, n = 0, len(rows["labels"])
    while at < n:
        for size in sizes:
            memory.add(**{name: values[at : at + size] for name, values in rows.items()})
            at += size
            if at >= n:
                return


# ----------------------------------------------------------------------------------------------- reservoir


@several_examples
@given(
    size=st.integers(1, 12),
    n=st.integers(1, 60),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_the_reservoir_is_the_plain_one_however_the_rows_come(size, n, sizes, seed):
    torch.manual_seed(seed)
    chances = torch.rand(n, dtype=torch.float64).tolist()
    torch.manual_seed(seed)
    memory = Memory(size)
    in_batches(memory, numbered(n), sizes)
    assert memory.rows["number"].tolist() == plain_reservoir(n, size, chances)
    assert memory.n_seen == n
    assert len(memory) == min(size, n)


def test_each_row_of_a_stream_is_kept_equally_often():
    torch.manual_seed(0)
    number = torch.arange(20)
    kept = torch.zeros(20)
    for _ in range(10_000):
        memory = Memory(5)
        memory.add(number=number)
        kept[memory.rows["number"]] += 1
    assert ((kept / 10_000 - 0.25).abs() <= 0.02).all(), kept


def test_the_same_slots_as_mammoth(monkeypatch):
    """Row i draws r = floor(u (i+1)) with u the fraction of 0.618034 (i+1): 40 rows into 6 slots."""
    monkeypatch.setattr(torch, "rand", lambda n, dtype, **_: (0.618034 * torch.arange(1, n + 1, dtype=dtype)) % 1)
    memory = Memory(6)
    memory.add(number=torch.arange(40))
    # by Buffer(6).add_data of aimagelab/mammoth, utils/buffer.py at e75a491, with these r from np.random.randint
    assert memory.rows["number"].tolist() == [33, 25, 17, 3, 38, 8]


# ------------------------------------------------------------------------------------------------ balanced


@several_examples
@given(
    size=st.integers(1, 15),
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=80),
    in_tasks=st.booleans(),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
)
def test_a_balanced_memory_shares_its_rows_among_the_classes(size, labels, in_tasks, sizes):
    labels = sorted(labels) if in_tasks else labels
    memory = Memory(size, balanced=True)
    in_batches(memory, {"labels": torch.tensor(labels), "number": torch.arange(len(labels))}, sizes)

    assert len(memory) == min(size, len(labels))
    kept = memory.rows["number"].tolist()
    assert len(set(kept)) == len(kept)
    assert memory.rows["labels"].tolist() == [labels[number] for number in kept]  # rows stay together
    offered, held = collections.Counter(labels), collections.Counter(memory.rows["labels"].tolist())
    most = max(held.values())
    for label, n in offered.items():
        assert held[label] >= min(n, most - 1)


def test_a_balanced_memory_counts_in_batches_as_one_by_one():
    rows = numbered(50, n_classes=4)
    contents = []
    for sizes in ([1], [7, 3], [50]):
        torch.manual_seed(3)
        memory = Memory(9, balanced=True)
        in_batches(memory, rows, sizes)
        contents.append(memory.rows["number"].tolist())
    assert contents[0] == contents[1] == contents[2]


def test_within_a_class_a_balanced_memory_keeps_each_row_equally_often():
    """Two classes one after the other, 8 rows each, into 4 places: 2 of each class, each row with probability 1/4."""
    torch.manual_seed(0)
    rows = {"labels": torch.arange(16) // 8, "number": torch.arange(16)}
    kept = torch.zeros(16)
    for _ in range(4_000):
        memory = Memory(4, balanced=True)
        memory.add(**rows)
        kept[memory.rows["number"]] += 1
    assert ((kept / 4_000 - 0.25).abs() <= 0.03).all(), kept


def test_any_row_of_any_largest_class_makes_room_for_a_new_class():
    torch.manual_seed(0)
    gone = torch.zeros(5)
    for _ in range(4_000):
        memory = Memory(5, balanced=True)
        memory.add(labels=torch.tensor([4, 4, 1, 1, 3, 0]), number=torch.arange(6))
        gone[list(set(range(5)) - set(memory.rows["number"].tolist()))] += 1
    assert ((gone / 4_000 - torch.tensor([0.25, 0.25, 0.25, 0.25, 0])).abs() <= 0.03).all(), gone


def test_a_rare_class_keeps_all_its_rows():
    torch.manual_seed(0)
    memory = Memory(10, balanced=True)
    memory.add(labels=torch.tensor([0] * 30 + [7] * 2 + [1] * 30))
    assert collections.Counter(memory.rows["labels"].tolist()) == {0: 4, 1: 4, 7: 2}


# ------------------------------------------------------------------------------------------- what is stored


@several_examples
@given(size=st.integers(1, 12), n=st.integers(1, 40), balanced=st.booleans())
def test_bytes_never_exceed_the_size(size, n, balanced):
    memory = Memory(size, balanced=balanced)
    assert memory.n_bytes == 0
    rows = numbered(n, logits=torch.randn(n, 5))
    in_batches(memory, rows, [7])
    bytes_of_a_row = 3 * 2 * 2 * 1 + 8 + 8 + 5 * 4  # uint8 images count one byte a value
    assert memory.n_bytes == len(memory) * bytes_of_a_row <= size * bytes_of_a_row


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_rows_come_back_as_they_went_in(dtype):
    memory = Memory(8)
    logits = torch.randn(20, 5).to(dtype)
    memory.add(**numbered(20, logits=logits))
    drawn = memory.draw(8)
    assert drawn.images.dtype == torch.uint8
    assert drawn.images.shape == (8, 3, 2, 2)
    assert drawn.logits.dtype == dtype
    for row, number in enumerate(drawn.number.tolist()):
        assert (drawn.images[row] == number).all()
        assert drawn.labels[row] == number % 3
        assert torch.equal(drawn.logits[row], logits[number])


def test_rows_are_copies_without_gradients():
    weight = torch.ones(1, requires_grad=True)
    rows = numbered(4)
    memory = Memory(4)
    memory.add(**rows, logits=weight * torch.arange(8.0).reshape(4, 2))
    before = memory.rows["images"].clone()
    rows["images"][:] = 99
    assert torch.equal(memory.rows["images"], before)
    assert not memory.rows["logits"].requires_grad
    memory.draw(4).images[:] = 77
    assert torch.equal(memory.rows["images"], before)


def test_a_batch_larger_than_the_memory_leaves_no_empty_slot():
    torch.manual_seed(1)
    memory = Memory(3)
    memory.add(number=torch.arange(1, 500))
    assert (memory.rows["number"] > 0).all()
    assert len(set(memory.rows["number"].tolist())) == 3


def test_an_empty_batch_changes_nothing():
    memory = Memory(3)
    memory.add(number=torch.arange(0))
    assert (len(memory), memory.n_seen, memory.n_bytes) == (0, 0, 0)
    memory.add(number=torch.arange(2))
    memory.add(number=torch.arange(0))
    assert (len(memory), memory.n_seen, memory.n_bytes) == (2, 2, 16)


def test_a_head_that_grew_marks_what_was_not_there():
    memory = Memory(4)
    memory.add(logits=torch.tensor([[1.0, 2.0]]))
    memory.add(logits=torch.tensor([[3.0, 4.0, 5.0]]))
    memory.add(logits=torch.tensor([[6.0]]))
    nan = math.nan
    expected = torch.tensor([[1.0, 2.0, nan], [3.0, 4.0, 5.0], [6.0, nan, nan]])
    assert torch.equal(memory.rows["logits"].isnan(), expected.isnan())
    assert torch.equal(memory.rows["logits"].nan_to_num(-1), expected.nan_to_num(-1))


# -------------------------------------------------------------------------------------------------- drawing


@several_examples
@given(size=st.integers(1, 12), n=st.integers(1, 30), wanted=st.integers(1, 40), balanced=st.booleans())
def test_rows_are_drawn_without_replacement(size, n, wanted, balanced):
    memory = Memory(size, balanced=balanced)
    memory.add(**numbered(n))
    drawn = memory.draw(wanted).number.tolist()
    assert len(drawn) == len(set(drawn)) == min(wanted, len(memory))
    assert set(drawn) <= set(memory.rows["number"].tolist())


def test_each_row_is_drawn_equally_often():
    torch.manual_seed(0)
    memory = Memory(6)
    memory.add(number=torch.arange(6))
    drawn = torch.zeros(6)
    for _ in range(3_000):
        drawn[memory.draw(2).number] += 1
    assert ((drawn / 3_000 - 1 / 3).abs() <= 0.03).all(), drawn


def test_the_same_seed_draws_the_same_rows():
    memory = Memory(10)
    memory.add(**numbered(10))
    torch.manual_seed(5)
    first = [memory.draw(4).number.tolist() for _ in range(3)]
    torch.manual_seed(5)
    assert [memory.draw(4).number.tolist() for _ in range(3)] == first
    assert first[0] != first[1]


# ------------------------------------------------------------------------------------- written anew, replaced


def test_a_draw_is_what_was_chosen():
    memory = Memory(10)
    memory.add(**numbered(10))
    torch.manual_seed(5)
    drawn = memory.draw(4)
    torch.manual_seed(5)
    index = memory.choose(4)
    assert index.dtype == torch.int64
    read = memory.read(index)
    assert read.number.tolist() == drawn.number.tolist() == memory.rows["number"][index].tolist()
    read.images[:] = 77
    assert not (memory.rows["images"] == 77).any()
    assert len(memory.choose(99)) == 10


@several_examples
@given(held=st.integers(1, 9), balanced=st.booleans(), seed=st.integers(0, 2**31))
def test_what_is_written_is_there_and_nothing_else_has_changed(held, balanced, seed):
    torch.manual_seed(seed)
    memory = Memory(9, balanced=balanced)
    memory.add(**numbered(held, logits=torch.randn(held, 4)))
    before = memory.state_dict()
    index = memory.choose(max(1, held // 2))
    logits = torch.randn(len(index), 4, requires_grad=True)
    memory.write(index, logits=logits)
    expected = before["rows"]["logits"].clone()
    for row, values in zip(index.tolist(), logits.detach(), strict=True):
        expected[row] = values
    after = memory.state_dict()
    assert torch.equal(after["rows"]["logits"], expected)
    assert not memory.rows["logits"].requires_grad
    assert after["rows"].keys() == before["rows"].keys()
    for name in ("images", "labels", "number"):
        assert torch.equal(after["rows"][name], before["rows"][name])
    assert {k: v for k, v in after.items() if k != "rows"} == {k: v for k, v in before.items() if k != "rows"}
    logits.detach().zero_()
    assert torch.equal(memory.rows["logits"], expected)


@pytest.mark.parametrize(
    ("index", "rows", "message"),
    [
        ([0, 3], {"logits": torch.zeros(2, 2)}, "row 3 was asked for; expected rows from 0 to 2"),
        ([-1], {"logits": torch.zeros(1, 2)}, "row -1 was asked for"),
        ([0.0], {"logits": torch.zeros(1, 2)}, r"index is torch.float32 \(1,\)"),
        ([[0]], {"logits": torch.zeros(1, 2)}, r"index is torch.int64 \(1, 1\)"),
        ([True], {"logits": torch.zeros(1, 2)}, "index is torch.bool"),
        ([0], {"labels": torch.zeros(1).long()}, "labels can't be written; expected some of images, number, logits"),
        ([0], {"features": torch.zeros(1, 2)}, "features can't be written"),
        ([0], {"logits": torch.zeros(1, 3)}, r"logits are torch.float32 \(1, 3\); expected torch.float32 \(1, 2\)"),
        ([0, 1], {"logits": torch.zeros(1, 2)}, r"expected torch.float32 \(2, 2\), a row for each index"),
        ([0], {"logits": torch.zeros(1, 2).double()}, "logits are torch.float64"),
        ([0], {"logits": [[0.0, 0.0]]}, "logits is a list; expected a tensor"),
        ([0], {"logits": torch.ones(1, 2), "number": torch.zeros(1)}, "number are torch.float32"),
    ],
)
def test_what_does_not_fit_is_not_written(index, rows, message):
    memory = Memory(3)
    memory.add(**numbered(3, logits=torch.zeros(3, 2)))
    with pytest.raises(ValueError, match=message):
        memory.write(torch.tensor(index), **rows)
    assert memory.rows["number"].tolist() == [0, 1, 2]
    assert (memory.rows["logits"] == 0).all()


@several_examples
@given(
    size=st.integers(1, 9),
    before=st.integers(0, 30),
    n=st.integers(0, 9),
    after=st.integers(0, 20),
    balanced=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_memory_whose_rows_are_replaced_goes_on_as_a_new_one_that_began_with_them(
    size, before, n, after, balanced, seed
):
    memory, fresh = Memory(size, balanced=balanced), Memory(size, balanced=balanced)
    memory.add(**numbered(before, n_classes=2))
    rows, more = numbered(min(n, size), start=40), numbered(after, start=60)
    contents = []
    for one, begin in ((memory, memory.replace), (fresh, fresh.add)):
        torch.manual_seed(seed)
        begin(**rows)
        assert one.rows["number"].tolist() == rows["number"].tolist()
        assert (len(one), one.n_seen) == (len(rows["number"]),) * 2
        one.add(**more)
        contents.append([one.rows["number"].tolist(), one.n_seen, one.n_bytes])
    assert contents[0] == contents[1]


def test_the_rows_that_replace_are_copies_and_may_have_other_names():
    memory = Memory(4)
    memory.add(**numbered(9))
    features = torch.ones(2, 3, requires_grad=True)
    memory.replace(features=features)
    assert set(memory.rows) == {"features"}
    assert not memory.rows["features"].requires_grad
    with torch.no_grad():
        features.zero_()
    assert (memory.rows["features"] == 1).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (numbered(5), "5 rows were given to a memory for 4; expected no more than it holds"),
        ({}, "no rows were given"),
        ({"images": torch.zeros(2, 3), "labels": torch.zeros(3).long()}, "same B"),
        ({"number": torch.arange(2)}, "a balanced memory needs labels"),
    ],
)
def test_a_memory_stays_as_it_is_if_its_rows_can_not_be_replaced(rows, message):
    memory = Memory(4, balanced=True)
    memory.add(**numbered(9))
    before = memory.state_dict()
    with pytest.raises(ValueError, match=message):
        memory.replace(**rows)
    after = memory.state_dict()
    assert after["rows"]["number"].tolist() == before["rows"]["number"].tolist()
    assert (after["n_seen"], after["offered"]) == (before["n_seen"], before["offered"])


# ---------------------------------------------------------------------------------------------- checkpoints


def plain(state):
    """Return whether a state is made of tensors and numbers in dicts by name, and nothing else."""
    return all(
        isinstance(name, str) and (plain(x) if isinstance(x, dict) else isinstance(x, torch.Tensor | int | float))
        for name, x in state.items()
    )


@several_examples
@given(
    size=st.integers(1, 10),
    before=st.integers(0, 40),
    after=st.integers(1, 40),
    balanced=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_memory_goes_on_from_its_state(size, before, after, balanced, seed):
    memory = Memory(size, balanced=balanced)
    if before:
        rows = numbered(before, logits=torch.randn(before, 2))
        memory.add(**rows | {"labels": 2 - rows["labels"]})  # the last class comes first
    state = memory.state_dict()
    assert plain(state)
    kept = copy.deepcopy(state)
    # What packs a state into a file may sort its names.
    again = Memory(size, balanced=balanced)
    again.load_state_dict(
        {name: state[name] for name in sorted(state)} | {"offered": dict(sorted(state["offered"].items()))}
    )

    contents = []
    for one in (memory, again):
        torch.manual_seed(seed)
        one.add(**numbered(after, start=before, n_classes=5, logits=torch.zeros(after, 4)))
        contents.append([one.rows["number"].tolist(), one.draw(3).number.tolist(), one.n_seen, one.n_bytes])
    assert contents[0] == contents[1]
    assert state["n_seen"] == kept["n_seen"] == before  # what went on did not change the state
    for name, held in kept["rows"].items():
        assert torch.equal(held.nan_to_num(), state["rows"][name].nan_to_num())


def test_a_state_of_another_memory_is_refused():
    state = Memory(5).state_dict()
    with pytest.raises(ValueError, match=r"Memory\(5, balanced=False\), this is Memory\(6, balanced=False\)"):
        Memory(6).load_state_dict(state)
    with pytest.raises(ValueError, match=r"this is Memory\(5, balanced=True\)"):
        Memory(5, balanced=True).load_state_dict(state)


# ----------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("size", [0, -1, 2.5, "200", True, None])
def test_a_memory_needs_a_whole_size(size):
    with pytest.raises(ValueError, match=r"size is .*; expected a whole number of at least 1"):
        Memory(size)


@pytest.mark.parametrize("n", [0, -3, 1.0])
def test_at_least_one_row_is_drawn(n):
    memory = Memory(3)
    memory.add(**numbered(3))
    with pytest.raises(ValueError, match=r"n is .*; expected a whole number of at least 1"):
        memory.draw(n)


def test_nothing_is_drawn_from_an_empty_memory():
    with pytest.raises(ValueError, match="memory is empty; add rows first"):
        Memory(3).draw(1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "no rows were given"),
        ({"images": torch.zeros(4, 3), "labels": torch.zeros(3).long()}, r"'labels': \(3,\).*same B"),
        ({"images": torch.zeros(4, 3), "labels": torch.tensor(3)}, "same B"),
        ({"labels": torch.tensor(3)}, "same B"),
        ({"logits": torch.zeros(4)}, "one float for each class"),
        ({"logits": torch.zeros(4, 2, dtype=torch.int64)}, "one float for each class"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(rows, message):
    memory = Memory(3)
    with pytest.raises(ValueError, match=message):
        memory.add(**rows)
    assert (len(memory), memory.n_seen) == (0, 0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"images": torch.zeros(4, 3, 2, 2, dtype=torch.uint8)}, r"rows of \['images'\].*\['images', 'labels'\] are"),
        ({"images": torch.zeros(4, 3, 2, 2), "labels": torch.zeros(4).long()}, "float32.*uint8.*same shape and type"),
        ({"images": torch.zeros(4, 3, 3, 2, dtype=torch.uint8), "labels": torch.zeros(4).long()}, r"\(3, 3, 2\)"),
    ],
)
def test_rows_that_do_not_fit_those_stored_are_refused(rows, message):
    memory = Memory(3)
    memory.add(images=torch.zeros(2, 3, 2, 2, dtype=torch.uint8), labels=torch.zeros(2).long())
    with pytest.raises(ValueError, match=message):
        memory.add(**rows)
    assert (len(memory), memory.n_seen) == (2, 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"images": torch.zeros(4, 3)}, "a balanced memory needs labels"),
        ({"labels": torch.zeros(4)}, "expected integers"),
        ({"labels": torch.zeros(4, 1).long()}, "expected integers"),
    ],
)
def test_a_balanced_memory_needs_labels(rows, message):
    with pytest.raises(ValueError, match=message):
        Memory(3, balanced=True).add(**rows)


# ----------------------------------------------------------------------------------------------------- bank


@several_examples
@given(n=st.integers(1, 20), dim=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_a_bank_reads_what_was_written_and_touches_no_other_row(n, dim, seed):
    g = torch.Generator().manual_seed(seed)
    bank = Bank(n, dim)
    expected = torch.zeros(n, dim)
    for _ in range(3):
        index = torch.randperm(n, generator=g)[: int(torch.randint(1, n + 1, (), generator=g))]
        values = torch.randn(len(index), dim, generator=g)
        bank.write(index, values)
        for row, value in zip(index.tolist(), values, strict=True):
            expected[row] = value
    assert torch.equal(bank.values, expected)
    assert torch.equal(bank.read(index), values)
    assert bank.n_bytes == n * dim * 4
    assert len(bank) == n


def test_a_bank_keeps_float32_copies_without_gradients():
    bank = Bank(3, 2)
    values = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    bank.write(torch.tensor([0, 2], dtype=torch.int32), values * 2)
    bank.read(torch.tensor([0]))[:] = 9
    assert torch.equal(bank.values, torch.tensor([[2.0, 2.0], [0.0, 0.0], [2.0, 2.0]]))
    assert not bank.values.requires_grad


def test_a_bank_goes_on_from_its_state():
    bank = Bank(4, 2)
    bank.write(torch.tensor([1]), torch.tensor([[3.0, 4.0]]))
    state = bank.state_dict()
    bank.write(torch.tensor([1]), torch.tensor([[5.0, 6.0]]))
    again = Bank(4, 2)
    again.load_state_dict(state)
    assert again.read(torch.tensor([1])).tolist() == [[3.0, 4.0]]
    again.write(torch.tensor([1]), torch.tensor([[7.0, 8.0]]))
    assert state["values"][1].tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match=r"features \(4, 2\), the bank \(5, 2\); it belongs to other data"):
        Bank(5, 2).load_state_dict(state)
    with pytest.raises(ValueError, match="another network"):
        Bank(4, 3).load_state_dict(state)


@pytest.mark.parametrize("index", [[4], [0, 1, 9], [-1], [2, -5]])
def test_an_index_outside_the_bank_is_refused(index):
    bank = Bank(4, 2)
    outside = next(i for i in index if not 0 <= i < 4)
    message = f"the bank has 4 rows, 0 to 3, but index {outside} came: it belongs to other data"
    with pytest.raises(ValueError, match=message):
        bank.read(torch.tensor(index))
    with pytest.raises(ValueError, match=message):
        bank.write(torch.tensor(index), torch.ones(len(index), 2))


def test_what_a_bank_refuses_besides():
    bank = Bank(4, 2)
    for index in (torch.tensor(1), torch.tensor([1.0]), torch.tensor([True, False, True, False]), torch.tensor([[1]])):
        with pytest.raises(ValueError, match=r"expected integers \(B,\)"):
            bank.read(index)
    with pytest.raises(ValueError, match=r"values are \(2, 3\); expected \(2, 2\)"):
        bank.write(torch.tensor([0, 1]), torch.ones(2, 3))
    for n_rows, dim in ((0, 2), (4, 0), (2.0, 1)):
        with pytest.raises(ValueError, match="expected a whole number of at least 1"):
            Bank(n_rows, dim)
