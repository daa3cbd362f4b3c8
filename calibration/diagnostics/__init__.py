"""Stage 8: what came out of a calibration, and what was missed, as tables.

    unified_diagnostics   one row a target: what it should be, what it is     `unified`
    groups                one row a group of targets                          `unified`
    calibration_log       one row a logged epoch and target: how it got there `log`
    validation_results    one row a file and target: what the file says       `validation`
    identity              one row a file and target: fitted against written   `validation`
    areas                 one row an area: how the weights are spread         `weights`
    untargeted            one row a kind of people that no target names       `untargeted`

and, drawn from them, the headline numbers (`headlines`) and the reason why a target is
missed (`causes`). `rows` has what carries each target; `write` makes the files.

In every table the sign of an error says whether the estimate is too high, also where the
target is negative. A zero target has no relative error: `unified_diagnostics` leaves the
cell empty; the log and the validation, whose readers take an empty cell for 0, write inf
where it is missed.

Axes: tables are mappings of column name to array, all of one length, in the order of the
columns of the file. NaN is an empty cell.

Differs from the established tools: (1) relative errors divide by |target|; (2)
`achievable` looks at the sign of the entries, not at their sum; (3) zero targets are not
shown as perfect; (4) the log starts at epoch 0 and also gives the loss of the epoch.
Sources are named in each module.
"""

from calibration.diagnostics.causes import Cause, Explanation, explain
from calibration.diagnostics.headlines import ErrorSummary, Summary, summary
from calibration.diagnostics.log import log_table
from calibration.diagnostics.rows import RowStatistics, row_statistics
from calibration.diagnostics.unified import group_table, unified_table
from calibration.diagnostics.untargeted import (
    MEASURES,
    UNIT_MEASURES,
    Measure,
    untargeted_table,
)
from calibration.diagnostics.validation import identity_table, targets_of, validation_table
from calibration.diagnostics.weights import (
    area_table,
    check_weights,
    design_effect,
    effective_size,
    top_share,
)
from calibration.diagnostics.write import run_config, write_csv, write_diagnostics

__all__ = [
    "MEASURES",
    "UNIT_MEASURES",
    "Cause",
    "ErrorSummary",
    "Explanation",
    "Measure",
    "RowStatistics",
    "Summary",
    "area_table",
    "check_weights",
    "design_effect",
    "effective_size",
    "explain",
    "group_table",
    "identity_table",
    "log_table",
    "row_statistics",
    "run_config",
    "summary",
    "targets_of",
    "top_share",
    "unified_table",
    "untargeted_table",
    "validation_table",
    "write_csv",
    "write_diagnostics",
]
