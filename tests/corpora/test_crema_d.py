from __future__ import annotations

import csv
import gzip
import shutil
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.crema_d import CREMAD, SILENT, release_ids
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import SHARED, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.crema_d import write

SUMS = SHARED / "corpora" / "cremad_wav_sha256.csv.gz"
VOTES = "processedResults/tabulatedVotes.csv"


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "crema_d", seconds=None)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small") / "crema_d", seconds=None, speakers=["1001", "1002"], texts=["DFA"])


@pytest.fixture
def small(tmp_path: Path, written: Path) -> Path:
    """One sentence of two actors, with the tables of all."""
    return shutil.copytree(written, tmp_path / "crema_d")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# The complete release.


def test_a_complete_release_gives_every_utterance_but_the_silent_one(complete: Path) -> None:
    rows = read_complete(CREMAD(complete))
    assert len(rows) == 7441
    assert Counter(row.label for row in rows) == CREMAD.counts
    assert Counter(row.intensity for row in rows) == {"low": 455, "medium": 455, "high": 455, None: 6076}
    assert Counter(row.gender for row in rows) == {"female": 3511, "male": 3930}
    assert {row.id for row in rows} == set(release_ids()) - {SILENT}


def test_the_speakers_and_genders_are_those_counted(complete: Path) -> None:
    known = card("cremad")["speakers"]
    rows = read_complete(CREMAD(complete))
    counts = {speaker: entry["n"] - (speaker == SILENT[:4]) for speaker, entry in known.items()}
    assert Counter(row.speaker for row in rows) == counts
    assert {(row.speaker, str(row.gender)[0].upper()) for row in rows} == {
        (key, entry["gender"]) for key, entry in known.items()
    }


@pytest.mark.skipif(not SUMS.is_file(), reason=f"the checksums of CREMA-D are not at {SUMS}")
def test_the_ids_are_those_of_the_release() -> None:
    with gzip.open(SUMS, "rt") as file:
        assert sorted(release_ids()) == sorted(row["file"].removesuffix(".wav") for row in csv.DictReader(file))


def test_a_row_says_what_its_file_name_and_the_tables_say(small: Path) -> None:
    with pytest.warns(SERZooWarning):
        rows = CREMAD(small).utterances()
    assert rows[0] == Utterance(
        id="1001_DFA_ANG_XX",
        path=small / "AudioWAV" / "1001_DFA_ANG_XX.wav",
        speaker="1001",
        label="anger",
        original_label="ANG",
        gender="male",
        text="DFA",
        language="en",
        soft={"anger": 7.0, "disgust": 2.0, "fear": 0.0, "happiness": 0.0, "neutral": 0.0, "sadness": 0.0},
    )


def test_without_the_tables_there_are_no_genders_and_no_votes(small: Path) -> None:
    (small / "VideoDemographics.csv").unlink()
    shutil.rmtree(small / "processedResults")
    with pytest.warns(SERZooWarning):
        rows = CREMAD(small).utterances()
    assert {(row.gender, row.soft) for row in rows} == {(None, None)}
    with pytest.raises(
        CorpusError, match=r"task perceived needs the votes, and .* has no file processedResults/tabulatedVotes\.csv\. Copy"
    ):
        CREMAD(small, "perceived").utterances()


@pytest.mark.parametrize("spelling", ["audiowav/{}.wav", "AUDIOWAV/{}.WAV", "AudioWAV/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("1001_IEO_ANG_HI")
    path.parent.mkdir()
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [(row.path, row.intensity) for row in CREMAD(tmp_path).utterances()] == [(path, "high")]


# Tasks.


def test_four_classes_are_those_of_iemocap(complete: Path) -> None:
    rows = read_complete(CREMAD(complete, "4class"))
    assert len(rows) == 4899
    assert {frozenset(row.soft or ()) for row in rows} == {frozenset(("anger", "happiness", "neutral", "sadness"))}


def test_perceived_takes_what_most_heard_and_leaves_out_ties(complete: Path) -> None:
    corpus = CREMAD(complete, "perceived")
    rows = {row.id: row for row in corpus.release()}
    assert len(rows) == 7441
    assert Counter(row.label for row in rows.values())["no_agreement"] == 744
    assert (rows["1001_IEO_DIS_MD"].label, rows["1001_IEO_DIS_MD"].original_label) == ("disgust", "D")
    ties = [row for row in rows.values() if row.label == "no_agreement"]
    assert {row.original_label for row in ties} == {"A:D", "D:F", "F:H", "H:N", "N:S", "A:S"}
    assert len(corpus.utterances()) == 7441 - 744


def test_the_label_that_is_heard_is_not_always_the_one_asked_for(small: Path) -> None:
    edit(small / VOTES, '7,2,0,0,0,0,"1001_DFA_ANG_XX"', '0,0,0,0,3,1,"1001_DFA_ANG_XX"')
    for task, label in (("6class", "anger"), ("perceived", "neutral")):
        with pytest.warns(SERZooWarning):
            assert CREMAD(small, task).utterances()[0].label == label


# What is missing.


def test_a_partial_release_names_what_is_missing(tmp_path: Path) -> None:
    root = write(tmp_path, None, ["1001", "1002"])
    (root / "AudioWAV" / "1001_IEO_ANG_HI.wav").unlink()
    with pytest.warns(SERZooWarning) as caught:
        CREMAD(root).utterances()
    assert str(caught[0].message) == (
        f"CREMA-D at {root} is not complete: 162 of 7441 utterances. Missing: actor 1003, actor 1004, actor 1005, actor 1006, "
        "actor 1007, actor 1008, actor 1009, actor 1010, actor 1011, actor 1012 and 79 more; 1001_IEO_ANG_HI. Going on with "
        "what is there."
    )


# What is refused.


def test_folders_that_are_not_the_release_are_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(CREMAD, small, "AudioWAV")


@pytest.mark.parametrize(
    "name", ["1001_XXX_ANG_HI", "1001_IEO_ANX_HI", "1001_IEO_ANG_VH", "1001_IEO_ANG", "2001_IEO_ANG_HI", "1001_IEO_ANG_HI (1)"]
)
def test_a_name_outside_the_grammar_is_refused(small: Path, name: str) -> None:
    (small / "AudioWAV" / f"{name}.wav").touch()
    with pytest.raises(CorpusError, match=r"CREMA-D: unexpected file name .* Expected names like 1001_IEO_ANG_HI\.wav"):
        CREMAD(small).utterances()


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        ("VideoDemographics.csv", '1002,30,"Female"', '1002,30,"F"', "line 3: found Sex 'F', expected Female or Male"),
        (
            "VideoDemographics.csv",
            '"Sex",',
            "",
            "line 1: found columns ActorID, Age, Race, Ethnicity, expected ActorID, Sex among",
        ),
        ("VideoDemographics.csv", "1002,30,", "1902,30,", "has no actor 1002. Expected a line for each of the 91 actors"),
        (VOTES, '"100002",', '"000002",', "line 3: found row number '000002', expected 100001 and on"),
        (VOTES, '7,2,0,0,0,0,"1001_DFA_ANG_XX"', '7,,0,0,0,0,"1001_DFA_ANG_XX"', "votes 7, , 0, 0, 0, 0, expected a number"),
        (VOTES, '"1001_DFA_ANG_XX"', '"1001_DFA_XXX_XX"', "has no votes on the voice of 1001_DFA_ANG_XX"),
        (VOTES, '"A",', '"B",', "line 1: found columns .*, expected fileName, A, D, F, H, N, S among"),
    ],
)
def test_a_damaged_table_is_refused(small: Path, table: str, old: str, new: str, message: str) -> None:
    edit(small / table, old, new)
    with pytest.raises(CorpusError, match=rf"CREMA-D: .*{table.rpartition('/')[2]}.*{message}.* again"):
        CREMAD(small).utterances()


@pytest.mark.parametrize("table", ["VideoDemographics.csv", VOTES])
@pytest.mark.parametrize("keep", [0, 40, 100])
def test_a_table_that_is_cut_off_is_refused(small: Path, table: str, keep: int) -> None:
    (small / table).write_bytes((small / table).read_bytes()[:keep])
    with pytest.raises(CorpusError, match=r"line \d+: found .*, expected|the file seems to be cut off"):
        CREMAD(small).utterances()


def test_a_part_of_the_votes_that_ends_between_lines_is_refused(small: Path) -> None:
    lines = (small / VOTES).read_text().splitlines(keepends=True)
    (small / VOTES).write_text("".join(lines[:50]))
    with pytest.raises(CorpusError, match=r"no votes on the voice of 1001_DFA_ANG_XX\. Expected a line for each recording"):
        CREMAD(small).utterances()


def test_a_quote_that_swallows_the_rest_of_a_table_is_refused(small: Path) -> None:
    table = small / "VideoDemographics.csv"
    table.write_text(table.read_text() + '"' + "1001,51,Male,Caucasian,Not Hispanic\n" * 5000)
    with pytest.raises(
        CorpusError, match=r"VideoDemographics\.csv, line \d+: found field larger than .*, expected fields whose"
    ):
        CREMAD(small).utterances()
