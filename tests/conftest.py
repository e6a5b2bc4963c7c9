"""What every test stands on: one thread, caches in a folder that is thrown away, no data of the user's."""

from __future__ import annotations

import os
import sys

# Before torch is imported, and for the processes that tests start: workers with a thread per core each wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.releases import write_emo_db, write_ravdess

WANDB_VARIABLES = (
    "WANDB_MODE",
    "WANDB_API_KEY",
    "WANDB_IDENTITY_TOKEN_FILE",
    "WANDB_PROJECT",
    "WANDB_DATA_DIR",
    "NETRC",
)


def calm_lazy_modules() -> None:
    """Give SpeechBrain's lazy modules a file: hypothesis asks every module for it, and these import what is not installed."""
    if module := sys.modules.get("speechbrain.utils.importutils"):
        module.LazyModule.__file__ = None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems() -> None:
    calm_lazy_modules()


@pytest.fixture(autouse=True)
def calm() -> None:
    """A test before this one may have imported SpeechBrain."""
    calm_lazy_modules()


@pytest.fixture(autouse=True, scope="session")
def away_from_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches go to a temporary folder, and corpora are found only where a test puts them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("SER_ZOO_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def nobody_is_logged_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """W&B finds no key, no settings and no cache of the user's."""
    import wandb

    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in WANDB_VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(home))
        patch.setenv("WANDB_CONFIG_DIR", str(home / "config"))
        patch.setenv("WANDB_CACHE_DIR", str(home / "cache"))
        wandb.setup()  # it reads the environment once: before a test pretends to be logged in
        yield


@pytest.fixture(autouse=True)
def unseeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """``seed_everything`` in one test must not decide the default seed of the next."""
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


@pytest.fixture(scope="session")
def emo_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete fake EMO-DB: 535 recordings with the release's counts per speaker and emotion. Not to be changed."""
    return write_emo_db(tmp_path_factory.mktemp("complete") / "emo_db")


@pytest.fixture(scope="session")
def small_emo_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All ten speakers of a fake EMO-DB with two takes of three emotions: 60 recordings. Not to be changed."""
    return write_emo_db(tmp_path_factory.mktemp("small") / "emo_db", emotions="WTN", takes=2)


@pytest.fixture(scope="session")
def ravdess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete fake RAVDESS: 1440 recordings. Not to be changed."""
    return write_ravdess(tmp_path_factory.mktemp("complete") / "ravdess", seconds=0.02)
