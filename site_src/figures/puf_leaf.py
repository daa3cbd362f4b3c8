"""Draw the law of wages that the head of `toy.HOUSEHOLD` draws from.

python site_src/figures/puf_leaf.py [FOLDER]        writes puf_leaf.svg

The law is that of the forest of the page's block "One draw"; beside it stands the law of
all heads of the tax file.
"""

from __future__ import annotations

import numpy as np
import style

from calibration import toy
from calibration.imputer import SequentialImputer
from calibration.puf_impute import PREDICTORS, demographics
from calibration.puf_variables import groups
from calibration.qrf import ForestOptions

HEAD = 4201
WAGES = "employment_income"


def main() -> None:
    """Draw both laws and the draw."""
    state = toy.after("base")
    donor, survey = state.inputs.donors["puf"], state.dataset
    chain = SequentialImputer(
        "puf",
        PREDICTORS,
        groups("joint", overridden=False),
        seed=0,
        options=ForestOptions(trees=20),
    ).fit(donor, donor["weight"])
    me = survey["person_id"] == HEAD
    receiver = {name: values[me] for name, values in demographics(survey).items()}
    law = chain.chain_[0].law(chain.encoding_.encode(receiver).matrix)[0]
    drawn = chain.draw(receiver, [2 * HEAD + 1])[WAGES][0] / 1000
    wages = donor[WAGES] / 1000
    order = np.argsort(wages, kind="stable")
    heads = donor["weight"] * donor["is_tax_unit_head"]
    figure, axes = style.plot(1, 1, height=300)
    laws = {"all heads of the tax file": heads / heads.sum(), "her donors": law}
    words = []
    for (label, chance), line in zip(laws.items(), (style.LINES[1], style.LINES[0]), strict=True):
        axes.step(wages[order], chance[order].cumsum(), where="post", label=label, **line)
        middle = wages[order][np.searchsorted(chance[order].cumsum(), 0.5)]
        words.append(
            f"{label}: {chance[wages == 0].sum():.0%} without wages, half at most {middle:.0f}"
        )
    at = law[wages <= drawn].sum()
    axes.plot([drawn], [at], "o", color=style.COLORS["first"][0], markersize=8)
    style.write(axes, drawn + 4, at - 0.07, f"drawn: {drawn:.1f}", "first")
    axes.set(xlim=(-3, 200), ylim=(0, 1.02), xlabel="wages, thousand USD a year")
    axes.set(ylabel="share at most so much")
    axes.legend(loc="lower right")
    style.save(
        figure,
        "puf_leaf",
        "What the head of the toy household could have drawn",
        "Two rising steps, the share of donors with at most so much wages, in thousand dollars "
        f"a year. Of {'; of '.join(words)}. A dot on her law marks the draw, {drawn:.1f}.",
    )


if __name__ == "__main__":
    main()
