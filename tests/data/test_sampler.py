from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ser_zoo.data.sampler import BUCKET, BucketSampler


def lengths(rows: int, seed: int = 0) -> list[int]:
    return [int(length) for length in np.random.default_rng(seed).integers(1_000, 100_000, rows)]


def batches(sampler: BucketSampler, epoch: int = 0) -> list[list[int]]:
    sampler.set_epoch(epoch)
    given = list(sampler)
    assert {found for found, _ in given} <= {epoch}
    assert len(given) == len(sampler)
    return [rows for _, rows in given]


def flat(given: list[list[int]]) -> list[int]:
    return [row for batch in given for row in batch]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 8 * BUCKET + 3])
def test_every_row_comes_once_an_epoch(rows: int, shuffle: bool) -> None:
    sampler = BucketSampler(lengths(rows), 8, shuffle)
    for epoch in range(3):
        assert sorted(flat(batches(sampler, epoch))) == list(range(rows))


@pytest.mark.parametrize("shuffle", [True, False])
def test_only_one_batch_is_smaller(shuffle: bool) -> None:
    sizes = Counter(len(batch) for batch in batches(BucketSampler(lengths(8 * BUCKET * 2 + 3), 8, shuffle)))
    assert sizes == {8: 2 * BUCKET, 3: 1}


@pytest.mark.parametrize(("rows", "sizes"), [(6, [3, 3]), (3, [1, 1, 1]), (40, [16, 16, 8])])
def test_every_process_has_something_to_evaluate(rows: int, sizes: list[int]) -> None:
    samplers = [BucketSampler(lengths(rows), 16, shuffle=False, num_replicas=2, rank=rank) for rank in range(2)]
    given = [batches(sampler) for sampler in samplers]
    assert all(given)
    assert sorted(flat(given[0] + given[1])) == list(range(rows))
    assert sorted((len(batch) for batch in given[0] + given[1]), reverse=True) == sizes


# Order.


def test_the_same_seed_gives_the_same_order() -> None:
    one, other = (BucketSampler(lengths(100), 8, shuffle=True, seed=5) for _ in range(2))
    assert batches(one, 3) == batches(other, 3)


def test_an_epoch_can_be_given_again() -> None:
    sampler = BucketSampler(lengths(100), 8, shuffle=True)
    first = batches(sampler, 0)
    batches(sampler, 1)
    assert batches(sampler, 0) == first


@pytest.mark.parametrize("rows", [100, 2_000])
def test_another_epoch_has_another_order_and_other_batches(rows: int) -> None:
    sampler = BucketSampler(lengths(rows), 8, shuffle=True)
    one, other = ({frozenset(batch) for batch in batches(sampler, epoch)} for epoch in range(2))
    assert batches(sampler, 0) != batches(sampler, 1)
    assert len(one & other) < len(one) / 10


def test_another_seed_has_another_order() -> None:
    one, other = (batches(BucketSampler(lengths(100), 8, shuffle=True, seed=seed)) for seed in (0, 1))
    assert one != other


def test_evaluation_is_longest_first_and_always_the_same() -> None:
    known = lengths(50)
    sampler = BucketSampler(known, 8, shuffle=False)
    order = flat(batches(sampler))
    assert [known[row] for row in order] == sorted(known, reverse=True)
    assert flat(batches(sampler, 1)) == order


def test_rows_of_equal_length_keep_their_order_in_evaluation() -> None:
    assert flat(batches(BucketSampler([5] * 20, 8, shuffle=False))) == list(range(20))


def test_batches_hold_rows_of_similar_length() -> None:
    known = np.array(lengths(1000))

    def padding(given: list[list[int]]) -> float:
        """Padded samples per sample of signal."""
        return float(sum(known[batch].max() * len(batch) - known[batch].sum() for batch in given) / known.sum())

    bucketed = padding(batches(BucketSampler(known.tolist(), 8, shuffle=True)))
    unsorted = padding(np.random.default_rng(0).permutation(1000).reshape(-1, 8).tolist())
    assert bucketed < unsorted / 3


# Balanced classes.

CLASSES = [0] * 70 + [1] * 25 + [3] * 5  # class 2 has no row


def balanced(epoch: int = 0, seed: int = 0, **processes: int) -> list[list[int]]:
    return batches(BucketSampler(lengths(100), 8, shuffle=True, seed=seed, classes=CLASSES, **processes), epoch)


def test_each_class_comes_equally_often_in_an_epoch_of_the_same_size() -> None:
    for epoch in range(3):
        given = balanced(epoch)
        assert [len(batch) for batch in given].count(8) == 12
        counts = Counter(CLASSES[row % 100] for row in flat(given))
        assert sorted(counts) == [0, 1, 3]
        assert sorted(counts.values()) == [33, 33, 34]


def test_a_draw_decides_which_classes_have_one_more_row() -> None:
    counts = [Counter(CLASSES[row % 100] for row in flat(balanced(epoch))) for epoch in range(30)]
    assert {label for given in counts for label in given if given[label] == 34} == {0, 1, 3}


def test_rare_rows_are_repeated_evenly_and_each_repetition_has_its_number() -> None:
    given = flat(balanced())
    assert len(set(given)) == 100
    repeats = Counter(row % 100 for row in given)
    assert {repeats[row] for row in range(95, 100)} <= {6, 7}
    assert {repeats[row] for row in range(70, 95)} <= {1, 2}
    assert max(repeats[row] for row in range(70)) == 1
    assert {row // 100 for row in given if row % 100 == 95} == set(range(repeats[95]))


def test_rows_that_one_epoch_leaves_out_come_in_another() -> None:
    assert {row % 100 for epoch in range(12) for row in flat(balanced(epoch))} == set(range(100))


def test_balanced_order_follows_seed_and_epoch() -> None:
    assert balanced(2, seed=5) == balanced(2, seed=5)
    assert balanced(2, seed=5) != balanced(3, seed=5)
    assert balanced(2, seed=5) != balanced(2, seed=6)


def test_processes_share_one_balanced_order() -> None:
    given = [balanced(1, num_replicas=2, rank=rank) for rank in range(2)]
    assert len(given[0]) == len(given[1])
    assert [batch for pair in zip(*given, strict=True) for batch in pair][:13] == balanced(1)


def test_evaluation_is_never_balanced() -> None:
    sampler = BucketSampler(lengths(100), 8, shuffle=False, classes=CLASSES)
    assert sorted(flat(batches(sampler))) == list(range(100))


# Several processes.


def shares(rows: int, replicas: int, shuffle: bool, epoch: int = 0) -> list[list[list[int]]]:
    return [
        batches(BucketSampler(lengths(rows), 4, shuffle, num_replicas=replicas, rank=rank), epoch) for rank in range(replicas)
    ]


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("rows", [1, 4, 5, 21, 24, 25])
def test_evaluation_shares_are_complete_and_nothing_comes_twice(rows: int, replicas: int) -> None:
    together = [row for share in shares(rows, replicas, shuffle=False) for row in flat(share)]
    assert sorted(together) == list(range(rows))


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("rows", [1, 4, 5, 21, 24, 25])
def test_training_shares_have_the_same_number_of_batches(rows: int, replicas: int) -> None:
    given = shares(rows, replicas, shuffle=True, epoch=2)
    assert len({len(share) for share in given}) == 1
    assert {row for share in given for row in flat(share)} == set(range(rows))


@pytest.mark.parametrize("replicas", [2, 3])
def test_training_repeats_no_more_than_is_needed_for_equal_shares(replicas: int) -> None:
    given = [batch for share in shares(21, replicas, shuffle=True) for batch in share]
    assert len(given) == replicas * -(-6 // replicas)
    assert sum(Counter(flat(given)).values()) - 21 <= 4 * (replicas - 1)


def test_without_torch_distributed_there_is_one_share() -> None:
    sampler = BucketSampler(lengths(9), 4, shuffle=True)
    assert (sampler.num_replicas, sampler.rank, len(sampler)) == (1, 0, 3)
