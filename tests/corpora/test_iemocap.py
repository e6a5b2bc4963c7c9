from __future__ import annotations

import csv
import gzip
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.iemocap import IEMOCAP, LABELS, PER_SESSION
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import SHARED, assert_wrong_folders_are_refused, card
from tests.releases import iemocap as fake

IDS = SHARED / "corpora" / "iemocap_all_ids.csv.gz"
needs_ids = pytest.mark.skipif(not IDS.is_file(), reason=f"the ids of IEMOCAP are not at {IDS}")
PER_SPEAKER = {"Ses01F": 873, "Ses01M": 946, "Ses02F": 859, "Ses02M": 952, "Ses03F": 1048}
PER_SPEAKER |= {"Ses03M": 1088, "Ses04F": 987, "Ses04M": 1116, "Ses05F": 1033, "Ses05M": 1137}
# Of the four classes, by session: anger, happiness with excitement, neutral, sadness, improvised.
FOUR = {
    "1": (229, 278, 384, 194, 521),
    "2": (137, 327, 362, 197, 530),
    "3": (240, 286, 320, 305, 627),
    "4": (327, 303, 258, 143, 534),
    "5": (170, 442, 384, 245, 731),
}
FOUR_PER_SPEAKER = {"Ses01F": 528, "Ses01M": 557, "Ses02F": 481, "Ses02M": 542, "Ses03F": 522}
FOUR_PER_SPEAKER |= {"Ses03M": 629, "Ses04F": 528, "Ses04M": 503, "Ses05F": 590, "Ses05M": 651}
FIRST = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
WAVS = "Session1/sentences/wav/Ses01F_impro01"


def table(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(IDS.with_name(name), "rt") as file:
        yield from csv.DictReader(file)


def real_ids() -> dict[str, str]:
    """Utterance -> label of the release where a public list has it."""
    known = {row["utterance"]: row["label"] for row in table("iemocap_index.csv.gz")}
    known |= {row["utterance"]: "fru" for row in table("iemocap_extra_6class.csv.gz") if row["label"] == "fru"}
    return {row["utterance"]: known.get(row["utterance"], "rest") for row in table(IDS.name)}


@pytest.fixture(scope="module", params=["made up", pytest.param("real", marks=needs_ids)])
def complete(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """All 10039 utterances of a release with made-up and of one with real ids."""
    root = fake.write(tmp_path_factory.mktemp("iemocap"), None, real_ids() if request.param == "real" else None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return IEMOCAP(root).release()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two utterances of each label by each speaker in each style."""
    return fake.write(tmp_path / "iemocap", None, limit=2)


def edit(path: Path, old: str, new: str, times: int = 1) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, times))


# The complete release.


def test_a_complete_release_gives_all_labels_and_the_four_classes(complete: list[Utterance]) -> None:
    assert len({row.id for row in complete}) == len(complete) == IEMOCAP("x").total == 10_039
    assert Counter(row.label for row in complete) == IEMOCAP.counts
    assert Counter(row.speaker for row in complete) == PER_SPEAKER
    assert Counter(row.session for row in complete) == PER_SESSION
    assert Counter(row.gender for row in complete) == {"female": 4800, "male": 5239}
    assert Counter(row.style for row in complete) == {"improvised": 4784, "scripted": 5255}
    assert all((row.text is None) == (row.style == "improvised") for row in complete)
    rows = IEMOCAP("x").task.select(complete)
    assert Counter(row.speaker for row in rows) == FOUR_PER_SPEAKER
    for session, counts in FOUR.items():
        of_session = [row for row in rows if row.session == session]
        labels = Counter(row.label for row in of_session)
        improvised = sum(row.style == "improvised" for row in of_session)
        assert (*(labels[label] for label in ("anger", "happiness", "neutral", "sadness")), improvised) == counts


@pytest.mark.parametrize(
    ("task", "total", "counts"),
    [
        ("4class", 5531, {"neutral": 1708, "happiness": 1636, "anger": 1103, "sadness": 1084}),
        ("4class_improvised", 2943, {"neutral": 1099, "happiness": 947, "sadness": 608, "anger": 289}),
        ("4class_no_excitement", 4490, {"neutral": 1708, "happiness": 595, "anger": 1103, "sadness": 1084}),
        ("6class", 7380, {label: count for label, count in IEMOCAP.counts.items() if 500 < count < 2000}),
    ],
)
def test_tasks_have_the_counts_of_the_literature(
    complete: list[Utterance], task: str, total: int, counts: dict[str, int]
) -> None:
    rows = IEMOCAP("x", task).task.select(complete)
    assert len(rows) == total
    assert Counter(row.label for row in rows) == counts


def test_the_classes_of_each_speaker_are_those_published(complete: list[Utterance]) -> None:
    rows = IEMOCAP("x").task.select(complete)
    codes = {"ang": "anger", "hap": "happiness", "neu": "neutral", "sad": "sadness"}
    for fold in card("iemocap")["protocols"]["lospo10"]["folds"].values():
        tested = Counter(row.label for row in rows if row.speaker in fold["test"])
        assert tested == {codes[code]: count for code, count in fold["test_classes"].items()}


@pytest.mark.parametrize("complete", [pytest.param("real", marks=needs_ids)], indirect=True)
def test_real_ids_have_the_published_labels(complete: list[Utterance]) -> None:
    listed = {row["utterance"]: row for row in table("iemocap_index.csv.gz")}
    rows = {row.id: row for row in complete}
    for key, known in listed.items():
        row = rows[key]
        assert (row.original_label, row.speaker, row.session) == (known["label"], known["speaker"], known["session"])
        assert row.style == {"impro": "improvised", "script": "scripted"}[known["kind"]]


def test_a_row_says_what_its_name_and_its_block_say(tmp_path: Path) -> None:
    fake.write(tmp_path, None, {"Ses05F_script01_1b_M012": "exc"})
    with pytest.warns(SERZooWarning):
        assert IEMOCAP(tmp_path).release() == [
            Utterance(
                id="Ses05F_script01_1b_M012",
                path=tmp_path / "Session5/sentences/wav/Ses05F_script01_1b/Ses05F_script01_1b_M012.wav",
                speaker="Ses05M",
                label="excitement",
                original_label="exc",
                gender="male",
                session="5",
                text="script01_1",
                style="scripted",
                language="en",
                soft={"excitement": 2.5, "surprise": 0.5},
                dimensions={"valence": 2.5, "arousal": 3.0, "dominance": 3.5},
            )
        ]


def test_votes_follow_the_classes_of_the_task(small: Path) -> None:
    with pytest.warns(SERZooWarning):
        rows = IEMOCAP(small).utterances()
    assert all(row.soft == {row.label: 2.5} for row in rows)


def test_the_prefix_of_a_name_is_not_the_speaker(small: Path) -> None:
    with pytest.warns(SERZooWarning):
        rows = IEMOCAP(small).release()
    assert all(row.speaker[-1] == row.id.rpartition("_")[2][0] for row in rows)
    assert any(row.speaker != row.id[:6] for row in rows)


def test_only_the_label_files_at_the_top_are_read(small: Path) -> None:
    (small / FIRST).with_name("._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07")
    (small / FIRST).with_name("notes.log").write_text("mine")
    with pytest.warns(SERZooWarning):
        assert IEMOCAP(small).release()


def test_case_of_folders_and_suffixes_does_not_matter(tmp_path: Path) -> None:
    root = fake.write(tmp_path / "a", None, {"Ses01F_impro01_F000": "neu"})
    wav = root / WAVS / "Ses01F_impro01_F000.wav"
    wav.rename(wav.with_suffix(".WAV"))
    (root / "Session1" / "dialog" / "EmoEvaluation").rename(root / "Session1" / "dialog" / "emoevaluation")
    (root / "Session1").rename(root / "SESSION1")
    with pytest.warns(SERZooWarning):
        assert [row.id for row in IEMOCAP(root).utterances()] == ["Ses01F_impro01_F000"]


# What is missing, and what is refused.


def test_a_missing_session_and_a_missing_recording_are_counted(tmp_path: Path) -> None:
    root = fake.write(tmp_path, None, limit=1)
    shutil.rmtree(root / "Session3")
    next((root / WAVS).iterdir()).unlink()
    with pytest.warns(
        SERZooWarning, match=r"111 of 10039 utterances. Missing: session 1 1792 of 1819; .*session 3 2136 of 2136;"
    ):
        IEMOCAP(root).utterances()


def test_a_folder_above_or_below_the_root_is_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(IEMOCAP, small, "Session1")


@pytest.mark.parametrize("gone", ["Session1/dialog", "Session1/dialog/EmoEvaluation", FIRST])
def test_recordings_without_labels_are_refused(small: Path, gone: str) -> None:
    shutil.rmtree(small / gone) if (small / gone).is_dir() else (small / gone).unlink()
    with pytest.raises(
        CorpusError, match=r"recordings have no label: Ses01F.*\.wav.* Expected one for each in .*EmoEvaluation"
    ):
        IEMOCAP(small).utterances()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tneu\t", "\thmm\t", "line 3: found label 'hmm', expected one of neu, hap"),
        ("\tneu\t", "\tneutral\t", r"line 3: found '\[0.2901 - 0.8000\].*, expected a line of the grammar"),
        ("2.5000, ", "NaN, ", "line 3: found"),
        ("Neutral;", "Bored;", "line 4: found the evaluator's label 'Bored', expected one of neutral"),
        ("C-E2:\tNeutral;\t()", "C-E2:\tNeu", "line 4: found 'C-E2:.*Neu'"),
        ("C-E", "C-F", r"line 3: found no evaluator's label for Ses01F_impro01_F000"),
        ("_F000\t", "_F001\t", "line 12: found a second label for Ses01F_impro01_F001"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = fake.write(tmp_path, None, {f"Ses01F_impro01_F00{number}": "neu" for number in range(2)})
    edit(root / FIRST, old, new, 3 if old == "C-E" else 1)
    with pytest.raises(CorpusError, match=rf"IEMOCAP: .*Ses01F_impro01\.txt, {message}"):
        IEMOCAP(root).utterances()


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.7, 0.9])
def test_a_truncated_label_file_is_refused(small: Path, kept: float) -> None:
    path = small / FIRST
    text = path.read_text()
    path.write_text(text[: int(kept * len(text))])
    with pytest.raises(CorpusError, match=r"damaged or cut off|recordings have no label"):
        IEMOCAP(small).utterances()


@pytest.mark.parametrize(
    "name", ["Ses06F_impro01_F000", "Ses01F_impro09_F000", "Ses01F_script04_1_M000", "Ses01F_impro01_FXX0"]
)
def test_a_name_outside_the_grammar_is_refused(tmp_path: Path, name: str) -> None:
    root = fake.write(tmp_path, None, {"Ses01F_impro01_F000": "neu"})
    edit(root / FIRST, "Ses01F_impro01_F000", name)
    wav = root / WAVS / "Ses01F_impro01_F000.wav"
    wav.rename(wav.with_stem(name))
    with pytest.raises(CorpusError, match=rf"unexpected file name {name}\.wav.* Expected names like Ses01F_impro01_M012"):
        IEMOCAP(root).utterances()


def test_the_same_utterance_twice_is_refused(small: Path) -> None:
    (small / WAVS / "Ses01F_impro01_F000.flac").touch()
    with pytest.raises(CorpusError, match="two files for utterance Ses01F_impro01_F000"):
        IEMOCAP(small).utterances()


def test_the_generator_knows_every_label() -> None:
    assert {*fake.WORDS, "xxx"} == set(LABELS)
