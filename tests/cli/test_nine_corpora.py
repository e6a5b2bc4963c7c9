"""The first nine corpora, each from its official layout on disk to a test result."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from ser_zoo.cli import main
from ser_zoo.corpora import create_corpus
from ser_zoo.evaluation import read_result
from ser_zoo.protocols import find_protocol
from tests.cli.commands import QUICK
from tests.models.small import SMALL
from tests.releases import ravdess_names, write_emo_db, write_ravdess
from tests.tiny import tiny_encoder

# The part of each release that is written: a few utterances of every side of the fold.
PARTS: dict[str, dict[str, Any]] = {
    "crema_d": {"speakers": ("1001", "1019", "1037"), "texts": ("IEO",)},
    "emovo": {"texts": ("b1",)},
    "iemocap": {"limit": 1},
    "meld": {"dialogues": 12},
    "msp_improv": {"limit": 2},
    "savee": {},
    "tess": {"words": ("back", "bar", "base", "bath", "bean", "beg")},
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), "whisper")


def write(name: str, root: Path) -> None:
    if name == "emo_db":
        write_emo_db(root, ["03", "08", "09", "10"], takes=1)
    elif name == "ravdess":
        write_ravdess(root, ravdess_names(["01", "02", "05", "06", "09"], takes=1))
    else:
        importlib.import_module(f"tests.releases.{name}").write(root, 0.05, **PARTS[name])


@pytest.mark.filterwarnings("ignore:.*is not complete")
@pytest.mark.parametrize("name", [*PARTS, "emo_db", "ravdess"])
def test_cross_attn_runs_from_the_official_layout_to_a_result(
    name: str, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(name, tmp_path / name)
    settings = {**SMALL["cross_attn"], "encoder": encoder, "finetune_from": None}
    arguments = [
        f"--model.{key}={json.dumps(value) if not isinstance(value, Path) else value}" for key, value in settings.items()
    ]
    command = ["fit", "--model=cross_attn", f"--data={name}", f"--data.root={tmp_path / name}", f"--run_dir={tmp_path / 'run'}"]
    assert main([*command, *arguments, *QUICK, "--data.min_seconds=0", "--trainer.max_epochs=1"]) == 0
    row = read_result(tmp_path / "run" / "fold-1" / "result.json")
    corpus, protocol = create_corpus(name, tmp_path / name), find_protocol(name)
    split = protocol.split(1, corpus.utterances())
    assert row["corpus"] == name
    assert row["protocol"]["name"] == protocol.name
    assert row["protocol"]["world"] == "honest"
    assert set(row["labels"]) <= set(corpus.labels)
    assert row["data"]["test"] == len(split.test) == sum(map(sum, row["metrics"]["confusion"]))
    assert "UA" in capsys.readouterr().out
