from __future__ import annotations

from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance, create_corpus
from ser_zoo.corpora.audformat_database import AudformatDatabase
from ser_zoo.corpora.manifest import places
from ser_zoo.errors import CorpusError, SERZooWarning

audformat = pytest.importorskip("audformat")

FILES = ["a/x.wav", "a/y.wav", "b/z.wav"]
Columns = dict[str, tuple[str | None, list[object]]]


def database(root: Path, storage: str = "csv", people: bool = True) -> audformat.Database:
    """Three recordings of two speakers, whose table ``files`` names them, and nothing of emotion."""
    made = audformat.Database("mine", languages=["de"])
    made.schemes["emotion"] = audformat.Scheme("str", labels=["anger", "Joy", "none"])
    facts = {3: {"gender": "male"}, 8: {"gender": "female"}} if people else None
    made.schemes["speaker"] = audformat.Scheme("int", labels=facts)
    made.splits["dev"] = audformat.Split("dev")
    add(made, "files", {"speaker": ("speaker", [3, 3, 8])})
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    made.save(str(root), storage_format=storage)
    return made


def add(made: audformat.Database, name: str, columns: Columns, **table: object) -> None:
    made[name] = audformat.Table(table.pop("index", audformat.filewise_index(FILES)), **table)
    for column, (scheme, values) in columns.items():
        made[name][column] = audformat.Column(scheme_id=scheme)
        made[name][column].set(values)


EMOTION: Columns = {"emotion": ("emotion", ["anger", "Joy", "anger"])}


@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_the_usual_names_are_found(tmp_path: Path, storage: str) -> None:
    made = database(tmp_path, storage)
    add(made, "emotion", {**EMOTION, "valence": (None, [0.5, None, 1])}, split_id="dev")
    made.save(str(tmp_path), storage_format=storage)
    corpus = create_corpus("audformat", tmp_path)
    assert corpus.found()
    assert corpus.labels == ("Joy", "anger")
    assert corpus.total == 3
    rows = corpus.utterances()
    assert rows[0] == Utterance(
        id="a/x",
        path=tmp_path / "a/x.wav",
        speaker="3",
        label="anger",
        original_label="anger",
        gender="male",
        split="validation",
        dimensions={"valence": 0.5},
    )
    assert [(row.speaker, row.gender, row.label, row.dimensions) for row in rows[1:]] == [
        ("3", "male", "Joy", None),
        ("8", "female", "anger", {"valence": 1.0}),
    ]


def test_stretches_have_start_and_end(tmp_path: Path) -> None:
    made = database(tmp_path, people=False)
    index = audformat.segmented_index(["a/x.wav", "a/x.wav", "b/z.wav"], ["0s", "1.5s", "0s"], ["1.5s", None, "2s"])
    add(made, "segments", EMOTION, index=index)
    made.save(str(tmp_path))
    assert [(row.id, row.start, row.end, row.speaker, row.gender) for row in AudformatDatabase(tmp_path).release()] == [
        ("a/x_0.0_1.5", 0.0, 1.5, "3", None),
        ("a/x_1.5_", 1.5, None, "3", None),
        ("b/z_0.0_2.0", 0.0, 2.0, "8", None),
    ]


def test_speakers_of_a_table_of_their_own_have_genders(tmp_path: Path) -> None:
    made = database(tmp_path, people=False)
    made["speaker"] = audformat.MiscTable(_people())
    made["speaker"]["gender"] = audformat.Column()
    made["speaker"]["gender"].set(["male", "female"])
    made.schemes["speaker"] = audformat.Scheme("int", labels="speaker")
    add(made, "emotion", EMOTION)
    made.save(str(tmp_path))
    assert [row.gender for row in AudformatDatabase(tmp_path).release()] == ["male", "male", "female"]


def _people() -> object:
    import pandas as pd

    return pd.Index([3, 8], name="speaker", dtype="Int64")


def test_the_columns_can_be_chosen(tmp_path: Path) -> None:
    made = database(tmp_path)
    add(made, "emotion", EMOTION)
    add(made, "other.gold", {"felt": (None, ["fear", "fear", "joy"]), "who": (None, ["a", "b", "c"])})
    made.save(str(tmp_path))
    corpus = create_corpus("audformat", f"{tmp_path}?emotion=other.gold/felt&speaker=other.gold/who")
    assert corpus.root == tmp_path
    assert [(row.label, row.speaker) for row in corpus.release()] == [("fear", "a"), ("fear", "b"), ("joy", "c")]
    assert [row.speaker for row in AudformatDatabase(f"{tmp_path}?emotion=other.gold/felt").release()] == ["3", "3", "8"]
    assert places(corpus) != places(AudformatDatabase(tmp_path))


def test_rows_without_an_emotion_are_counted(tmp_path: Path) -> None:
    made = database(tmp_path)
    add(made, "emotion", {"emotion": ("emotion", ["anger", None, "Joy"])})
    made.save(str(tmp_path))
    with pytest.warns(SERZooWarning, match="1 of 3 rows of table emotion have no emotion, and are left out"):
        assert [row.id for row in AudformatDatabase(tmp_path).release()] == ["a/x", "b/z"]


@pytest.mark.parametrize(
    ("tables", "query", "said"),
    [
        ({}, "", r"no columns may be the emotion\. Its columns are files/speaker\. Name the one .*\?emotion=TABLE/COLUMN'"),
        (
            {"one": EMOTION, "two": EMOTION},
            "",
            r"2 columns may be the emotion\. Its columns are files/speaker, one/emotion, two/em",
        ),
        (
            {"emotion": EMOTION},
            "?emotion=emotion/felt",
            r"there is no column emotion/felt\. Its columns are emotion/emotion, files/sp",
        ),
        ({"emotion": EMOTION}, "?emotion=emotion", r"there is no column emotion\. Its columns are"),
        (
            {"emotion": EMOTION},
            "?label=emotion/emotion",
            r"found label=emotion/emotion after the question mark, expected emotion=",
        ),
        ({"emotion": EMOTION}, "?x", r"found x after the question mark"),
        ({"emotion": {"emotion": ("emotion", [None] * 3)}}, "", r"column emotion/emotion has no value"),
        (
            {"emotion": {**EMOTION, "speaker": ("speaker", [3, None, 8])}},
            "",
            r"column emotion/speaker names no speaker of a/y",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*have no emotion")
def test_what_cannot_be_told_is_refused_with_what_there_is(
    tmp_path: Path, tables: dict[str, Columns], query: str, said: str
) -> None:
    made = database(tmp_path)
    for name, columns in tables.items():
        add(made, name, columns)
    made.save(str(tmp_path))
    with pytest.raises(CorpusError, match=said):
        AudformatDatabase(f"{tmp_path}{query}")


def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    made = database(tmp_path)
    add(made, "emotion", EMOTION)
    made.save(str(tmp_path))
    (tmp_path / "a" / "y.wav").unlink()
    with pytest.raises(CorpusError, match=r"there is no file .*a/y\.wav, which table emotion names"):
        AudformatDatabase(tmp_path)


def test_two_recordings_that_differ_in_their_suffix_alone_are_refused(tmp_path: Path) -> None:
    made = database(tmp_path)
    add(
        made,
        "emotion",
        EMOTION | {"speaker": ("speaker", [3, 3, 8])},
        index=audformat.filewise_index(["a/x.wav", "a/x.mp3", "b/z.wav"]),
    )
    (tmp_path / "a" / "x.mp3").touch()
    made.save(str(tmp_path))
    with pytest.raises(CorpusError, match=r"two rows for utterance a/x: .*a/x\.wav and .*a/x\.mp3\. Expected one"):
        AudformatDatabase(tmp_path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    made = database(tmp_path)
    add(made, "emotion", EMOTION)
    made.save(str(tmp_path), storage_format="pkl")
    with pytest.raises(CorpusError, match=r"has its tables in pickles \(db\.emotion\.pkl, db\.files\.pkl\)"):
        AudformatDatabase(tmp_path)


def test_a_damaged_header_is_explained(tmp_path: Path) -> None:
    (tmp_path / "db.yaml").write_text("name: [")
    with pytest.raises(CorpusError, match=r"db\.yaml cannot be read by audformat"):
        AudformatDatabase(tmp_path)


def test_a_folder_that_is_no_database_is_refused(tmp_path: Path) -> None:
    corpus = AudformatDatabase(tmp_path)
    assert (corpus.found(), corpus.total, corpus.labels) == (False, 0, ())
    with pytest.raises(CorpusError, match=r"holds nothing\. Expected a database folder of audformat, with a file db\.yaml"):
        corpus.utterances()
    with pytest.raises(CorpusError, match="there is no folder"):
        AudformatDatabase(tmp_path / "x").utterances()


def test_without_the_package_its_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database(tmp_path)
    monkeypatch.setattr("ser_zoo.corpora.audformat_database.find_spec", lambda name: None)
    with pytest.raises(CorpusError, match=r"pip install 'ser-zoo\[audformat\]'"):
        AudformatDatabase(tmp_path)
