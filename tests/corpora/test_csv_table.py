from __future__ import annotations

from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance, create_corpus
from ser_zoo.corpora.csv_table import CSVTable
from ser_zoo.errors import CorpusError, SERZooWarning


def table(tmp_path: Path, text: str, name: str = "mine.csv", files: tuple[str, ...] = ("a/x.wav", "b/y.wav")) -> CSVTable:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / name).write_text(text)
    return CSVTable(tmp_path / name)


SMALL = "path,label,speaker\na/x.wav,Anger,1\nb/y.wav,joy,2\n"


def test_three_columns_are_enough(tmp_path: Path) -> None:
    corpus = table(tmp_path, SMALL)
    assert corpus.found()
    assert corpus.labels == ("anger", "joy")
    assert corpus.total == 2
    assert corpus.utterances() == [
        Utterance(id="a/x", path=tmp_path / "a/x.wav", speaker="1", label="anger", original_label="Anger"),
        Utterance(id="b/y", path=tmp_path / "b/y.wav", speaker="2", label="joy", original_label="joy"),
    ]


def test_every_column_finds_its_place(tmp_path: Path) -> None:
    corpus = table(
        tmp_path,
        "id,path,label,speaker,start,end,split,gender,session,text,language,style,intensity,soft_anger,soft_Joy,soft_fear,"
        "valence,arousal,dominance\n"
        'u1,a/x.wav,anger,s1,0.5,2,Train,FEMALE,d1,"t,1",de,read,strong,2,1.5,,1,-2.5,\n',
    )
    assert corpus.utterances() == [
        Utterance(
            id="u1",
            path=tmp_path / "a/x.wav",
            speaker="s1",
            label="anger",
            original_label="anger",
            gender="female",
            session="d1",
            text="t,1",
            intensity="strong",
            style="read",
            language="de",
            split="train",
            start=0.5,
            end=2.0,
            soft={"anger": 2.0},
            dimensions={"valence": 1.0, "arousal": -2.5},
        )
    ]
    assert corpus.table[0].soft == {"anger": 2.0, "Joy": 1.5}


def test_stretches_of_one_recording_have_ids_of_their_own(tmp_path: Path) -> None:
    corpus = table(tmp_path, "path,label,speaker,start,end\na/x.wav,anger,1,0,1.5\na/x.wav,fear,2,1.5,\na/x.wav,fear,2,,\n")
    assert [(row.id, row.start, row.end) for row in corpus.release()] == [
        ("a/x", 0.0, None),
        ("a/x_0.0_1.5", 0.0, 1.5),
        ("a/x_1.5_", 1.5, None),
    ]


def test_a_label_space_and_dropped_labels(tmp_path: Path) -> None:
    table(tmp_path, SMALL)
    corpus = create_corpus("csv", tmp_path / "mine.csv", labels="common4")
    assert [row.label for row in corpus.utterances()] == ["anger"]
    assert corpus.dropped == {"joy": 1}


def test_byte_order_marks_tabs_blank_lines_and_absolute_paths(tmp_path: Path) -> None:
    (tmp_path / "z.wav").touch()
    text = f"\ufeffpath\tlabel\tspeaker\r\n\r\n{tmp_path / 'z.wav'}\tanger\t1\r\n"
    (tmp_path / "x.tsv").write_text(text, encoding="utf-8")
    assert [row.path for row in CSVTable(tmp_path / "x.tsv").release()] == [tmp_path / "z.wav"]


def test_columns_that_are_not_known_are_named(tmp_path: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"nothing is taken from the columns gendr, note\. Known: path, label"):
        table(tmp_path, "path,label,speaker,gendr,note\na/x.wav,anger,1,f,x\n")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("b/y.wav,Joy,3", "column label: joy and Joy are spelt almost alike, and are taken as different"),
        ("b/y.wav,gl\u00fccklich,1\na/z.wav,glu\u0308cklich,1", "column label: gl.* are spelt almost alike"),
        ("b/y.wav,fear,Anna  B\na/z.wav,fear,anna b", r"column speaker: Anna  B and anna b are spelt almost alike"),
    ],
)
def test_labels_or_speakers_that_are_spelt_almost_alike_are_named(tmp_path: Path, row: str, said: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.wav").touch()
    with pytest.warns(SERZooWarning, match=rf"mine\.csv, {said}"):
        table(tmp_path, f"path,label,speaker\na/x.wav,joy,1\n{row}\n").utterances()


def test_a_table_without_a_label_of_the_space_is_told_the_names_of_these(tmp_path: Path) -> None:
    corpus = CSVTable(table(tmp_path, "path,label,speaker\na/x.wav,happy,1\n").root, labels="common4")
    names = "anger, excitement, happiness, neutral, sadness"
    said = rf"its labels are happy 1\. Take another label space \(common6, common7\), or .* name labels as it does: {names}\."
    with pytest.raises(CorpusError, match=said):
        corpus.utterances()


def test_before_there_is_a_table_nothing_is_known(tmp_path: Path) -> None:
    corpus = CSVTable(tmp_path / "nothing.csv")
    assert (corpus.found(), corpus.total, corpus.labels) == (False, 0, ())
    with pytest.raises(
        CorpusError, match=r"nothing\.csv is not there\. Expected a CSV file with the columns path, label, speaker"
    ):
        corpus.utterances()
    with pytest.raises(CorpusError, match="is a folder"):
        CSVTable(tmp_path).utterances()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\na/x.wav,anger\n", r"line 1: there is no column speaker, but path, label\. Expected path, label, speaker"),
        ("path;label;speaker\n", r"line 1: there is no column path, label, speaker, but path;label;speaker"),
        ("", r"line 1: there is no column path, label, speaker, but nothing"),
        ("path,label,speaker,label\na,b,c,d\n", r"line 1: found the column 'label' twice"),
        ("path,label,speaker,soft_Fear,soft_fear\na,b,c,1,2\n", "line 1: found the column 'soft_fear' twice"),
        ("path,label,speaker\n", "has no row below its header"),
        ("path,label,speaker\n\na/x.wav,anger\n", "line 3: found 2 cells, expected 3"),
        ("path,label,speaker\na/x.wav,anger,1\na/z.wav,fear,1\n", r"line 3, column path: there is no file .*a/z\.wav"),
        ("path,label,speaker\nc/z.wav,fear,1\n", r"line 2, column path: there is no file .*c/z\.wav"),
        ("path,label,speaker\n,fear,1\n", "line 2, column path: found nothing, expected a text"),
        ("path,label,speaker\n./,fear,1\n", r"line 2, column path: found '\./', expected the path of a recording"),
        ("path,label,speaker\na/x.wav, ,1\n", "line 2, column label: found nothing, expected a text"),
        ("path,label,speaker\na/x.wav,fear,\n", "line 2, column speaker: found nothing, expected a text"),
        ("path,label,speaker\na/x.wav,fear,1\na/x.wav,fear,1\n", "line 3: found the id a/x, which line 2 has too"),
        ("path,label,speaker,start\na/x.wav,fear,1,1s\n", "line 2, column start: found '1s', expected a number, at least 0"),
        ("path,label,speaker,start\na/x.wav,fear,1,-1\n", "column start: found '-1', expected a number, at least 0"),
        ("path,label,speaker,end\na/x.wav,fear,1,nan\n", "column end: found 'nan', expected a number"),
        (
            "path,label,speaker,start,end\na/x.wav,fear,1,2,1\n",
            r"column end: found '1', expected a number above the start \(2\)",
        ),
        ("path,label,speaker,soft_fear\na/x.wav,fear,1,-1\n", "column soft_fear: found '-1', expected a number, at least 0"),
        ("path,label,speaker,valence\na/x.wav,fear,1,high\n", "column valence: found 'high', expected a number"),
        ("path,label,speaker,split\na/x.wav,fear,1,dev\n", "column split: found 'dev', expected train, validation, test or"),
        ("path,label,speaker,gender\na/x.wav,fear,1,f\n", "column gender: found 'f', expected female, male or nothing"),
        ('path,label,text,speaker\na/x.wav,fear,"two\nlines",1\nb/y.wav,fear,x,\n', "line 4, column speaker: found nothing"),
    ],
)
def test_a_mistake_is_named_by_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CorpusError, match=rf"mine\.csv.* {said}|mine\.csv, {said}"):
        table(tmp_path, text)


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("path,label,speaker\nä,ö,ü\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="is no CSV file in UTF-8"):
        CSVTable(tmp_path / "x.csv")


def test_a_long_table_is_read_with_one_look_at_each_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: looks.append(self) or listed(self))
    rows = "".join(f"a/x.wav,anger,1,{number},{number + 1}\n" for number in range(2000))
    corpus = table(tmp_path, f"path,label,speaker,start,end\n{rows}")
    assert len(corpus.release()) == 2000
    assert looks == [tmp_path / "a"]
