"""The published figures: that the file says of each what a reader must know before comparing."""

from __future__ import annotations

import pytest

from ser_zoo.corpora import CORPORA
from ser_zoo.leaderboard.references import METRICS, claims, references
from ser_zoo.models import MODELS
from ser_zoo.protocols import find_protocol


def test_every_figure_is_a_percentage_of_a_known_metric_and_corpus() -> None:
    for reference in references():
        assert reference.corpus in CORPORA
        assert set(reference.scores) == set(METRICS)
        printed = [score for score in reference.scores.values() if score is not None]
        assert printed
        assert all(10 < score <= 100 for score in printed), reference


def test_every_figure_says_whether_and_why_it_compares() -> None:
    for reference in references():
        assert reference.comparable in ("partly", "no")
        assert reference.why
        assert reference.split
        assert reference.source.read


def test_what_is_speaker_dependent_or_unknown_never_compares() -> None:
    assert all(reference.comparable == "no" for reference in references() if reference.speaker_dependent is not False)


def test_no_figure_is_there_twice() -> None:
    keys = [(row.source.paper, row.corpus, row.model, row.head, row.split) for row in references()]
    assert len(keys) == len(set(keys))


def test_known_figures() -> None:
    by_key = {(row.source.paper.split()[0], row.corpus, row.model): row.scores for row in references()}
    assert by_key["SUPERB", "iemocap", "WavLM large"] == {"wa": 70.62, "ua": None, "macro_f1": None}
    assert by_key["EmoBox", "ravdess", "Whisper large v3"] == {"ua": 75.32, "wa": 75.87, "macro_f1": 75.19}


def test_the_founding_papers_have_their_claims() -> None:
    found = {claim.model: claim for claim in claims()}
    assert list(found) == ["cross_attn", "co_attn", "cta_rnn", "cnn_attn"]
    assert set(found) <= set(MODELS)
    assert all(claim.leaks and (claim.source.url or "").startswith("https://") for claim in found.values())
    assert {figure.corpus: figure.value for figure in found["cnn_attn"].figures}["emo_db"] == 99.53
    assert found["cta_rnn"].figures == ()
    assert all(figure.corpus in CORPORA and figure.metric in METRICS for claim in claims() for figure in claim.figures)


@pytest.mark.parametrize(
    ("protocol", "repeats"), [("as_co_attn", True), ("as_co_attn_sessions", True), ("as_co_attns", False), ("co_attn", False)]
)
def test_a_protocol_repeats_the_paper_whose_whole_name_it_has(protocol: str, repeats: bool) -> None:
    (claim,) = (claim for claim in claims() if claim.model == "co_attn")
    assert claim.repeated_by(protocol) is repeats


def test_a_figure_names_a_protocol_that_repeats_its_paper() -> None:
    named = [(claim, figure) for claim in claims() for figure in claim.figures if figure.protocol]
    assert {(claim.model, figure.corpus, figure.split, figure.protocol) for claim, figure in named} == {
        ("co_attn", "iemocap", "leave one speaker out", "as_co_attn"),
        ("co_attn", "iemocap", "leave one session out", "as_co_attn_sessions"),
        ("cnn_attn", "emo_db", "", "as_cnn_attn"),
        ("cnn_attn", "emovo", "", "as_cnn_attn"),
        ("cnn_attn", "tess", "", "as_cnn_attn"),
    }
    for claim, figure in named:
        assert find_protocol(figure.corpus, figure.protocol).world == "as_published"
        assert claim.repeated_by(figure.protocol)
        assert not any(other.repeated_by(figure.protocol) for other in claims() if other.model != claim.model)
