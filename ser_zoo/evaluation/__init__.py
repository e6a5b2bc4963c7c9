"""Metrics of a test, the result row that keeps them, and the run of a fold that makes it."""

from ser_zoo.evaluation.folders import choose_root, fold_folder
from ser_zoo.evaluation.processes import end_with_first, part_processes
from ser_zoo.evaluation.result import (
    Predicted,
    Row,
    Scored,
    pool,
    protocol_of,
    read_predictions,
    read_result,
    summarise,
)
from ser_zoo.evaluation.run import (
    Run,
    run_fold,
    run_folds,
    score_checkpoint,
    without_summary,
    write_pooled,
)
from ser_zoo.evaluation.tracking import Tracking

__all__ = [
    "Predicted",
    "Row",
    "Run",
    "Scored",
    "Tracking",
    "choose_root",
    "end_with_first",
    "fold_folder",
    "part_processes",
    "pool",
    "protocol_of",
    "read_predictions",
    "read_result",
    "run_fold",
    "run_folds",
    "score_checkpoint",
    "summarise",
    "without_summary",
    "write_pooled",
]
