r"""Two exact compact forms of X, for fits that read it a thousand times.

The same value stands in X once for the nation, once for its state and once for its
district. Both forms keep it once:

    X = G Z,    G[i, f] = 1 if the finest row f lies in the area of row i, else 0

A *finest row* is a measure in the smallest piece of the map that the targets of the measure
tell apart, for most measures a district. `FactoredMatrix` stores Z as it is.

`GridMatrix` is for a complete design, where every record stands in every district once.
There a column is a point (d, h) of a grid, and most values depend on the record, the state
and one takeup flag alone. So Z is a table, and a bit:

    Z[f, j] = table[m, h, s(d)] * bit[m, d, h]  or  rest[f, j],    f = m * D + d,  j = column[d, h]

Where a record has more than one value other than 0 within a state (premiums of several
counties, two units that take up separately), its table is 0 there and the values stand in
`rest`, as do measures with targets for counties or places. Which of them it is, is read off
the values, never assumed. So in both forms an entry of X is one stored number, and
`to_csr` gives X back bit for bit. A `CompactMatrix` is either form with all that a consumer
needs beside it, as `calibration.matrix.CalibrationMatrix` is for X.

Axes: rows i in [0, T), finest rows f in [0, F), columns j = clone * R + record in [0, C),
measures m, districts d in [0, D), records h in [0, R), states s in [0, S).
"""

from calibration.compact.factored import FactoredMatrix
from calibration.compact.grid import GridMatrix
from calibration.compact.stored import CompactMatrix

__all__ = ["CompactMatrix", "FactoredMatrix", "GridMatrix"]
