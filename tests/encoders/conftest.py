from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tiny import tiny_encoder

REAL = Path(__file__).parents[2].parent / "shared" / "weights"


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Tensors are so small here that threads only wait for one another; on a busy machine that is most of the
    time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folder of a tiny checkpoint of a family, written once per session."""
    root = tmp_path_factory.mktemp("tiny")

    def folder(family: str) -> str:
        path = root / family
        return str(path if path.exists() else tiny_encoder(path, family))

    return folder


@pytest.fixture(scope="session")
def real_whisper() -> str:
    folder = REAL / "whisper-base-encoder"
    if not folder.is_dir():
        pytest.skip(f"the real Whisper base encoder is not at {folder}")
    return str(folder)


@pytest.fixture
def clips() -> list[Tensor]:
    """Noise of three lengths that swells and fades, so that its statistics differ from place to place."""
    generator = torch.Generator().manual_seed(1)
    lengths = [16000, 9111, 12345]
    return [torch.randn(n, generator=generator) * torch.linspace(0.02, 0.5, n) + 0.05 for n in lengths]
