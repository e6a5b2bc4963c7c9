from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ser_zoo.threads import single_threads


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_torch_has_one_thread_inside_and_as_many_as_before_outside() -> None:
    with single_threads(2) as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_that_are_started_later_have_as_many_as_before_even_after_an_error() -> None:
    def fail(_: int) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"), single_threads(2) as pool:
        list(pool.map(fail, range(2)))
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 2
