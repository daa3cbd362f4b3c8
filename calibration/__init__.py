"""How a household survey becomes a weighted, geographically detailed microdata set.

One module a stage, in the order in which they run:

    puf_impute          3  double every household; give one half tax-return incomes
    stratify               keep the records that matter
    clone_and_assign    1  N copies of every record, each in a census block
    source_impute       2  rent, assets and wages from donor surveys
    thresholds, takeup  6  who claims what
    targets, uprating      what the weights should reproduce
    matrix_builder      4  what every column adds to every target
    l0, select          5  few columns whose weighted sums meet the targets
    publish_local_area  7  one file for each area
    diagnostics         8  what came out, and what was missed
    pipeline            9  all of it, in a run folder

`calibration.toy` has a small country on which all of it runs in seconds.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
