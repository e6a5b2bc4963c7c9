from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.data import SERDataModule
from ser_zoo.errors import ProtocolError, SERZooError
from ser_zoo.protocols import CrossCorpus, FewShot, LeaveOneCorpusOut, check_split, cross_protocol
from ser_zoo.protocols.cross import corpus_of
from tests.releases import ravdess_names, write_emo_db, write_ravdess

LABELS = ("anger", "neutral")


def rows(**speakers: int) -> list[Utterance]:
    """Three utterances per label and speaker of corpora that have so many speakers."""
    return [
        Utterance(
            id=f"{corpus}/{speaker}{label}{take}",
            path=Path(f"{corpus}/{speaker}{label}{take}.wav"),
            speaker=f"{corpus}/{speaker:02d}",
            label=label,
            original_label=label,
        )
        for corpus, count in speakers.items()
        for speaker in range(count)
        for label in LABELS
        for take in range(3)
    ]


CORPORA = rows(a=4, b=3, c=6)


def test_the_tested_corpora_are_on_no_other_side() -> None:
    protocol = cross_protocol(["a", "b"], ["c"])
    assert isinstance(protocol, CrossCorpus)
    validated = Counter[str]()
    for fold in range(1, protocol.folds + 1):
        split = protocol.split(fold, CORPORA)
        assert {corpus_of(row) for row in split.test} == {"c"}
        assert len(split.test) == 36
        assert {row.speaker for row in split.train} | {row.speaker for row in split.validation} == {
            row.speaker for row in CORPORA if corpus_of(row) != "c"
        }
        validated.update({row.speaker for row in split.validation})
        check_split(split, protocol, {row.id: row.id for row in CORPORA})
    assert set(validated.values()) == {1}
    assert len(validated) == 7


def test_without_tested_corpora_each_is_left_out_in_turn() -> None:
    protocol = cross_protocol(["a", "b", "c"])
    assert isinstance(protocol, LeaveOneCorpusOut)
    splits = [protocol.split(fold, CORPORA) for fold in range(1, protocol.folds + 1)]
    assert [{corpus_of(row) for row in split.test} for split in splits] == [{"a"}, {"b"}, {"c"}]
    assert Counter(row.id for split in splits for row in split.test) == Counter(row.id for row in CORPORA)
    validated = [{row.speaker for row in split.validation} for split in splits]
    assert validated == [{"b/00", "c/02"}, {"a/00", "c/01"}, {"a/00", "b/01"}]  # the first and the sixth of the others
    for split in splits:
        assert len(split.train) + len(split.validation) + len(split.test) == len(CORPORA)
        check_split(split, protocol, {row.id: row.id for row in CORPORA})


@pytest.mark.parametrize("shots", [1, 5])
def test_a_few_utterances_of_the_tested_corpora_train_by_speakers_who_are_not_tested(shots: int) -> None:
    protocol = cross_protocol(["a", "b"], ["c"], shots)
    assert isinstance(protocol, FewShot)
    splits = [protocol.split(fold, CORPORA) for fold in range(1, protocol.folds + 1)]
    assert Counter(row.id for split in splits for row in split.test) == Counter(
        row.id for row in CORPORA if corpus_of(row) == "c"
    )
    for split in splits:
        given = [row for row in split.train if corpus_of(row) == "c"]
        assert Counter(row.label for row in given) == dict.fromkeys(LABELS, shots)
        assert {corpus_of(row) for row in split.validation} <= {"a", "b"}
        for first, second in combinations(split, 2):
            assert not {row.speaker for row in first} & {row.speaker for row in second}


@pytest.mark.parametrize("test", [["c"], []])
def test_the_order_of_utterances_does_not_matter(test: list[str]) -> None:
    protocol = cross_protocol(["a", "b"], test, shots=2 if test else 0)
    known = [row for row in CORPORA if corpus_of(row) in ("a", "b", *test)]
    for fold in range(1, protocol.folds + 1):
        sides = [{row.id for row in side} for side in protocol.split(fold, known)]
        assert sides == [{row.id for row in side} for side in protocol.split(fold, known[::-1])]


def test_what_decides_a_split_decides_the_hash() -> None:
    protocols = [
        cross_protocol(["a", "b"], ["c"]),
        cross_protocol(["a"], ["c"]),
        cross_protocol(["a", "b"], ["c"], 1),
        cross_protocol(["a", "b"], ["c"], 2),
        cross_protocol(["a", "b", "c"]),
    ]
    assert len({protocol.hash for protocol in protocols}) == len(protocols)


def test_more_shots_than_there_are_utterances_are_refused() -> None:
    with pytest.raises(
        ProtocolError, match=r"--data\.shots 16: c has only 12 utterances of anger by speakers who are not tested"
    ):
        cross_protocol(["a"], ["c"], 16).split(1, CORPORA)


def test_all_utterances_that_there_are_may_be_shots() -> None:
    train, _, test = cross_protocol(["a", "b"], ["c"], 12).split(1, CORPORA)
    assert Counter(row.label for row in train if corpus_of(row) == "c") == {"anger": 12, "neutral": 12}
    assert {row.speaker for row in test} == {"c/00", "c/05"}


def test_shots_of_a_class_that_only_the_tested_speakers_have_are_refused() -> None:
    kept = [row for row in CORPORA if corpus_of(row) != "c" or row.label != "anger" or row.speaker == "c/00"]
    with pytest.raises(ProtocolError, match=r"--data\.shots 1: c has only 0 utterances of anger by speakers"):
        cross_protocol(["a", "b"], ["c"], shots=1).split(1, kept)


def test_shots_without_a_tested_corpus_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"--data\.shots goes with --data\.test"):
        cross_protocol(["a"], (), 3)


def test_the_protocol_of_one_corpus_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"--data\.protocol loso10 is not for several corpora.*loco"):
        cross_protocol(["a", "b"], name="loso10")
    assert cross_protocol(["a", "b"], name="loco").name == "loco"


def test_too_few_speakers_to_validate_are_explained() -> None:
    with pytest.raises(ProtocolError, match="no validation utterances: too few speakers or corpora are in"):
        cross_protocol(["a"], ["c"]).split(5, rows(a=4, c=2))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    write_emo_db(tmp_path / "emo_db", ["03", "08"], "WLFNT", 1)
    write_ravdess(tmp_path / "ravdess", ravdess_names(["03", "08"], takes=1))
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_the_data_module_trains_on_some_corpora_and_tests_others(both: Path) -> None:
    data = SERDataModule("emo_db", str(both), test="ravdess")
    assert data.labels == ["anger", "happiness", "neutral", "sadness"]
    assert [{corpus_of(row) for row in side} for side in data.split] == [{"emo_db"}, {"emo_db"}, {"ravdess"}]
    assert data.identity()["corpus"] == data.protocol.corpus == "emo_db-to-ravdess"
    assert SERDataModule("emo_db, ravdess", str(both), labels="common6").protocol.name == "loco"


def test_a_task_of_one_corpus_is_refused_for_several() -> None:
    with pytest.raises(SERZooError, match=r"--data\.task 4class is of one corpus\. Expected --data\.labels"):
        SERDataModule("emo_db,ravdess", task="4class")
    with pytest.raises(SERZooError, match=r"--data\.shots -1 makes no sense"):
        SERDataModule("emo_db", test="ravdess", shots=-1)
