from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_zoo.cli import main
from ser_zoo.cli.audit import summary
from tests.releases import write_emo_db

pytestmark = pytest.mark.filterwarnings("ignore:.*is not complete")


def audit(root: Path, *more: str) -> int:
    return main(["audit", "--data", "emo_db", "--data.root", str(root), *more])


def test_a_clean_protocol_passes(small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "certificates" / "emo_db-loso10.json"
    assert audit(small_emo_db, "--output", str(output)) == 0
    printed = capsys.readouterr().out
    written = json.loads(output.read_text())
    assert written["passes"]
    assert f"certificate {written['hash']}: passes; audio of 60 utterances compared" in printed
    assert "train, test" in printed
    assert "16 (8)" in printed


def test_json_is_what_the_file_has_and_says_that_audio_was_not_checked(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "certificate.json"
    assert audit(small_emo_db, "--no-audio", "--format", "json", "--output", str(output), "--data.protocol", "pairs5") == 0
    written = json.loads(capsys.readouterr().out)
    assert written == json.loads(output.read_text())
    assert written["audio"] is None
    assert written["protocol"]["name"] == "pairs5"


def test_without_audio_empty_recordings_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for speaker in ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16"):
        path = tmp_path / "wav" / f"{speaker}a01Wa.wav"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert audit(tmp_path, "--no-audio") == 0
    assert "audio was not checked" in capsys.readouterr().out
    assert audit(tmp_path) == 1
    assert "Cannot read" in capsys.readouterr().err


def test_what_a_label_space_leaves_out_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_emo_db(tmp_path / "emo_db", emotions="WNL", takes=1)
    assert audit(root, "--no-audio", "--data.labels", "common4") == 0
    assert "20 utterances of anger, neutral; 10 of other labels or parts are left out: boredom 10." in capsys.readouterr().err


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Two speakers have the same recording, and two others nearly so."""
    root = write_emo_db(tmp_path / "emo_db", emotions="W", takes=2)
    shutil.copy(root / "wav" / "03a01Wa.wav", root / "wav" / "08a01Wa.wav")
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000) * np.repeat(np.random.default_rng(1).uniform(0.3, 1, 20), 1600)
    for name, gain in (("09a01Wa", 1.0), ("14a01Wa", 0.3)):
        soundfile.write(root / "wav" / f"{name}.wav", gain * noise, 16_000)
    return root


def test_an_undeclared_leak_is_an_error_after_the_certificate(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(copied) == 1
    printed = capsys.readouterr()
    assert "03a01Wa, 08a01Wa" in printed.out
    assert "09a01Wa, 14a01Wa" in printed.out
    assert "FAILS" in printed.out
    assert "fails its audit, as nothing declares: " in printed.err
    assert "identical audio" in printed.err
    assert "near-duplicate" in printed.err


def test_findings_of_several_folds_have_one_row_which_says_in_which_and_how_many() -> None:
    speaker = {"kind": "speaker", "sides": ["train", "test"], "verdict": "fails", "examples": ["a1, d1"]}
    text = {"kind": "text", "sides": ["train", "test"], "verdict": "note", "examples": [], "count": 3}
    folds = [
        {"fold": "1", "findings": [text, {**speaker, "count": 2}]},
        {"fold": "2", "findings": [{**speaker, "count": 5}]},
    ]
    rows = summary({"folds": folds})
    assert [(row["finding"], row["folds"], row["count"]) for row in rows] == [
        ("speaker", "all", "2 to 5"),
        ("text", ["1"], "3"),
    ]


def test_a_split_of_others_is_audited(small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted(path.stem for path in (small_emo_db / "wav").iterdir())
    file = tmp_path / "folds.csv"
    sides = {"03": "dev", "08": "test"}
    file.write_text("id,side\n" + "".join(f"{name},{sides.get(name[:2], 'train')}\n" for name in names))
    assert audit(small_emo_db, "--no-audio", "--split", str(file)) == 0
    assert "a split of the user's" in capsys.readouterr().out
    file.write_text(
        "id,side\n" + "".join(f"{name},{'test' if number % 5 == 0 else 'train'}\n" for number, name in enumerate(names))
    )
    assert audit(small_emo_db, "--no-audio", "--split", str(file), "--format", "json") == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["protocol"] is None
    assert "as nothing declares: speaker." in printed.err


def test_a_split_replaces_the_protocol(small_emo_db: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        audit(small_emo_db, "--split", str(tmp_path / "folds.csv"), "--data.protocol", "pairs5")
    assert caught.value.code == 2


def test_a_certificate_that_cannot_be_written_is_printed(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert audit(small_emo_db, "--no-audio", "--output", str(tmp_path / "file" / "certificate.json")) == 1
    printed = capsys.readouterr()
    assert "passes; audio was not checked" in printed.out
    assert f"Cannot use {tmp_path / 'file'}" in printed.err
