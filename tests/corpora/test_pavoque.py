from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.pavoque import PAVOQUE
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, card, read_complete
from tests.releases.pavoque import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(PAVOQUE(write(tmp_path_factory.mktemp("complete") / "pavoque", seconds=None)))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "pavoque", None, ["angry", "outtakes"], limit=2)


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 7334
    assert Counter(row.label for row in rows) == PAVOQUE.counts
    assert Counter(row.path.stem for row in rows)["pavoque-outtakes"] == 1892
    assert all(row.end is not None and row.end > row.start for row in rows)
    assert len(PAVOQUE("x", "4class").task.select(rows)) == 6515


def test_classes_and_the_speaker_are_those_counted(rows: list[Utterance]) -> None:
    known = card("pavoque")
    assert Counter(row.original_label for row in rows) == known["classes"]
    assert Counter(row.speaker for row in rows) == {speaker: entry["n"] for speaker, entry in known["speakers"].items()}


def test_a_row_says_what_the_list_says(small: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"12 of 7334 utterances\. Missing: anger 720 of 724; "):
        rows = PAVOQUE(small).utterances()
    assert rows[1] == Utterance(
        id="a0001-angry",
        path=small / "pavoque-angry.flac",
        speaker="STEFAN-ROETTIG",
        label="anger",
        original_label="angry",
        gender="male",
        text="'Satz 1: so weit.'",
        language="de",
        start=2.5,
        end=5.0,
    )


def test_a_subset_without_its_recording_is_left_out(small: Path) -> None:
    (small / "pavoque-outtakes.flac").unlink()
    with pytest.warns(SERZooWarning, match=r"2 of 7334 utterances\. Missing: anger 722 of 724; "):
        assert {row.label for row in PAVOQUE(small).utterances()} == {"anger"}


def test_recordings_may_be_wav(tmp_path: Path) -> None:
    root = write(tmp_path, None, ["sad"], limit=2, suffix=".WAV")
    with pytest.warns(SERZooWarning):
        assert len(PAVOQUE(root).utterances()) == 2


def test_sounds_are_as_long_as_their_lists_say(tmp_path: Path) -> None:
    import soundfile

    root = write(tmp_path, 0.1, ["happy"], limit=3)
    with pytest.warns(SERZooWarning):
        ends = [row.end for row in PAVOQUE(root).utterances()]
    assert max(end for end in ends if end is not None) <= soundfile.info(root / "pavoque-happy.flac").duration


def test_folders_that_are_not_the_release_are_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(PAVOQUE, small)


def test_a_missing_list_is_refused(small: Path) -> None:
    (small / "pavoque-angry.yaml").unlink()
    with pytest.raises(
        CorpusError, match=r"PAVOQUE: there is no file .*angry\.yaml beside pavoque-angry\.flac\. Expected in one"
    ):
        PAVOQUE(small).utterances()


@pytest.mark.parametrize("size", [0, 5, 30, 60, 140, 180])
def test_a_list_that_is_cut_off_is_refused(small: Path, size: int) -> None:
    path = small / "pavoque-angry.yaml"
    assert path.stat().st_size > 180
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorpusError, match=r"pavoque-angry\.yaml, line \d+: found .*, expected entries of prompt"):
        PAVOQUE(small).utterances()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("style: angry", "style: furious", r"line 1: found style 'furious', expected one of angry, happy, neutral"),
        ("end: 5.0000", "end: 2.5000", r"line 6: found end 2\.5000, expected more than start 2\.5000"),
        ("  start: 2.5000\n", "", r"line 6: found .- prompt: a0001.*, expected entries of prompt"),
        ("- prompt: a0000\n", "prompts:\n- prompt: a0000\n", r"line 1: found 'prompts:\\n', expected entries"),
    ],
)
def test_a_damaged_list_is_refused(small: Path, old: str, new: str, message: str) -> None:
    path = small / "pavoque-angry.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CorpusError, match=rf"PAVOQUE: .*pavoque-angry\.yaml, {message}"):
        PAVOQUE(small).utterances()
