"""Draw what a grid of ten quantiles cuts off: quantiles of imputed incomes against the truth.

python site_src/figures/qrf_qq.py [FOLDER]        writes qrf_qq.svg

Donors and receivers have one predictor x, uniform in (-1, 1), and

    y = exp(9 + x + 1.2 e)        with e standard normal

Receivers draw from leaves of the forest, and from its quantiles 1/11, ..., 10/11.
"""

from __future__ import annotations

import numpy as np
import style
from numpy.typing import NDArray

from calibration.qrf import QuantileForest

DONORS, RECEIVERS, DRAWS = 8_000, 400, 100
GRID = np.arange(1, 11) / 11
SHOWN = (*np.arange(0.02, 0.99, 0.02), 0.99, 0.995)

Floats = NDArray[np.float64]


def incomes(x: Floats, rng: np.random.Generator) -> Floats:
    """Draw incomes given the predictor."""
    return np.exp(9 + x + 1.2 * rng.standard_normal(x.shape))


def main() -> None:
    """Draw both ways of drawing."""
    rng = np.random.default_rng(0)
    x, at = rng.uniform(-1, 1, DONORS), np.linspace(-1, 1, RECEIVERS)
    y = incomes(x, rng)
    forest = QuantileForest(trees=20, min_leaf=10).fit(x[:, None], y)
    many = np.repeat(at, DRAWS)
    leaf = y[forest.draw(many[:, None], rng.random(len(many)), rng.random(len(many)))]
    grid = forest.quantiles(at[:, None], GRID).ravel()  # all ten, each as often
    truth = np.quantile(incomes(rng.uniform(-1, 1, 400_000), rng), SHOWN)
    figure, axes = style.plot(1, 1, height=380)
    axes.loglog(truth, truth, color=style.COLORS["soft"][0], linewidth=1.2, label="equal")
    words = []
    for (label, drawn), line, marker in zip(
        {"leaf draws": leaf, "ten quantiles": grid}.items(), style.LINES, "os", strict=False
    ):
        got = np.quantile(drawn, SHOWN)
        look = {"color": line["color"], "linestyle": "none", "markersize": 5}
        axes.plot(truth, got, marker, label=label, **look)
        ratios = ", ".join(
            f"{got[i] / truth[i]:.2f} at {SHOWN[i]:.3g}" for i in (0, len(SHOWN) // 2, -2, -1)
        )
        words.append(f"{label}, imputed over true quantile: {ratios}")
    axes.set(xlabel="true quantile, USD", ylabel="quantile of what was drawn, USD")
    axes.legend(loc="upper left")
    style.save(
        figure,
        "qrf_qq",
        "Leaf draws and a grid of ten quantiles against the truth",
        "Quantiles of drawn incomes against quantiles of the true law, both axes logarithmic. "
        "Leaf draws lie along the diagonal; draws from ten quantiles bend toward the middle at "
        f"both ends. {'; '.join(words)}.",
    )


if __name__ == "__main__":
    main()
