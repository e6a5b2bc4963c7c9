from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.mesd import FOLDER, MESD
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import card, read_complete
from tests.releases.mesd import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(MESD(write(tmp_path_factory.mktemp("complete") / "mesd", seconds=None)))


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 862
    assert Counter(row.label for row in rows) == MESD.counts
    assert len(MESD("x", "4class").task.select(rows)) == 574


def test_the_speaker_is_the_voice(rows: list[Utterance]) -> None:
    voices = {("F", "female"): 288, ("M", "male"): 288, ("C", None): 286}
    assert Counter((row.speaker, row.gender) for row in rows) == voices


def test_classes_and_voices_are_those_counted(rows: list[Utterance]) -> None:
    known = card("mesd")
    assert Counter(row.original_label for row in rows) == known["classes"]
    assert Counter(row.speaker for row in rows) == {voice: entry["n"] for voice, entry in known["speakers"].items()}


@pytest.mark.parametrize(
    ("name", "speaker", "gender", "text"),
    [("Anger_F_A_tarde", "F", "female", "tarde"), ("Anger_C_B_por_favor", "C", None, "por_favor")],
)
def test_a_row_says_what_its_file_name_says(name: str, speaker: str, gender: str | None, text: str) -> None:
    path = Path("x") / f"{name}.wav"
    assert MESD("x").parse(path) == Utterance(
        id=name,
        path=path,
        speaker=speaker,
        label="anger",
        original_label="Anger",
        gender=gender,
        text=text,
        language="es",
    )


@pytest.mark.parametrize("spelling", [f"{FOLDER.lower()}/{{}}.wav", f"{FOLDER.upper()}/{{}}.WAV"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("Anger_F_A_tarde")
    path.parent.mkdir()
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 862 utterances\. Missing: anger 142 of 143; "):
        assert [row.path for row in MESD(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"MESD not found: .* holds mesd/\. Expected .*Speech Database \(MESD\)/"):
        MESD(write(tmp_path / "mesd", None, words=1).parent).utterances()
    with pytest.raises(CorpusError, match=r"MESD not found: .* holds Anger_C_A_abajo\.wav, "):
        MESD(tmp_path / "mesd" / FOLDER).utterances()
    with pytest.raises(CorpusError, match=r"there is no folder"):
        MESD(tmp_path / "nowhere").utterances()


@pytest.mark.parametrize("name", ["Joy_F_A_tarde", "Anger_X_A_tarde", "Anger_F_C_tarde", "Anger_F_A", "anger_F_A_tarde"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"MESD: unexpected file name .* Expected names like Anger_F_A_tarde\.wav"):
        MESD("x").parse(Path("x") / f"{name}.wav")
