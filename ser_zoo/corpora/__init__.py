"""Official releases on disk -> Utterance rows; one file per corpus.

``CORPORA`` is the table of the names that ``--data`` takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from ser_zoo.corpora.base import Corpus, Task, Utterance
from ser_zoo.corpora.several import Several
from ser_zoo.registry import lookup, resolve

CORPORA: dict[str, str] = {
    "aesdd": "ser_zoo.corpora.aesdd:AESDD",
    "ased": "ser_zoo.corpora.ased:ASED",
    "asvp_esd": "ser_zoo.corpora.asvp_esd:ASVPESD",
    "audformat": "ser_zoo.corpora.audformat_database:AudformatDatabase",
    "baved": "ser_zoo.corpora.baved:BAVED",
    "cafe": "ser_zoo.corpora.cafe:CaFE",
    "casia": "ser_zoo.corpora.casia:CASIA",
    "crema_d": "ser_zoo.corpora.crema_d:CREMAD",
    "csv": "ser_zoo.corpora.csv_table:CSVTable",
    "demo": "ser_zoo.corpora.demo:Demo",
    "emns": "ser_zoo.corpora.emns:EMNS",
    "emo_db": "ser_zoo.corpora.emo_db:EmoDB",
    "emov_db": "ser_zoo.corpora.emov_db:EmoVDB",
    "emovo": "ser_zoo.corpora.emovo:EMOVO",
    "emozionalmente": "ser_zoo.corpora.emozionalmente:Emozionalmente",
    "enterface": "ser_zoo.corpora.enterface:ENTERFACE",
    "esd": "ser_zoo.corpora.esd:ESD",
    "iemocap": "ser_zoo.corpora.iemocap:IEMOCAP",
    "jl_corpus": "ser_zoo.corpora.jl_corpus:JLCorpus",
    "m3ed": "ser_zoo.corpora.m3ed:M3ED",
    "mead": "ser_zoo.corpora.mead:MEAD",
    "meld": "ser_zoo.corpora.meld:MELD",
    "mesd": "ser_zoo.corpora.mesd:MESD",
    "msp_improv": "ser_zoo.corpora.msp_improv:MSPImprov",
    "msp_podcast": "ser_zoo.corpora.msp_podcast:MSPPodcast",
    "nemo": "ser_zoo.corpora.nemo:NEMO",
    "oreau": "ser_zoo.corpora.oreau:Oreau",
    "pavoque": "ser_zoo.corpora.pavoque:PAVOQUE",
    "polish": "ser_zoo.corpora.polish:Polish",
    "ravdess": "ser_zoo.corpora.ravdess:RAVDESS",
    "resd": "ser_zoo.corpora.resd:RESD",
    "savee": "ser_zoo.corpora.savee:SAVEE",
    "shemo": "ser_zoo.corpora.shemo:ShEMO",
    "subesco": "ser_zoo.corpora.subesco:SUBESCO",
    "tess": "ser_zoo.corpora.tess:TESS",
    "thorsten": "ser_zoo.corpora.thorsten:Thorsten",
    "turev_db": "ser_zoo.corpora.turev_db:TurEVDB",
    "urdu": "ser_zoo.corpora.urdu:URDU",
}


def corpus_class(name: str) -> type[Corpus]:
    """The reader of the corpus ``name``.

    Raises:
        UnknownNameError: no such corpus.
    """
    return cast(type[Corpus], resolve(lookup(CORPORA, name, "corpus")))


def create_corpus(name: str, root: Path | str | None = None, task: str | None = None, labels: str | None = None) -> Corpus:
    """The corpus ``name`` at ``root`` (None: its default place), with one of its tasks or a shared label space.

    Raises:
        UnknownNameError: no such corpus, task or label space.
        CorpusError: both a task and a label space are given.
    """
    return corpus_class(name)(root, task, labels)


__all__ = ["CORPORA", "Corpus", "Several", "Task", "Utterance", "corpus_class", "create_corpus"]
