"""How the published SNAP counts of one state's districts become one set with the state's.

A waterfall: districts as published, what the growth of population adds, what the
inconsistency factor adds, and the state's total that they meet.
"""

from __future__ import annotations

import style

from calibration import toy
from calibration.geography import Level
from calibration.uprating import read_factors, to_year

state = toy.after("targets")
asked = [t for t in state.inputs.targets if t.variable == "spm_unit_count"]
old = [t for t in asked if t.level is Level.DISTRICT and t.code // 100 == 37]
(parent,) = [t for t in asked if (t.level, t.code) == (Level.STATE, 37)]
names = {t.name for t in old}
grown = to_year(old, state.period, read_factors())
new = [t for t in state.targets if t.name in names]
sums = [sum(t.value for t in several) / 1000 for several in (old, grown, new)]
total = parent.value / 1000

figure, axes = style.plot(height=330)
COLORS = [style.COLORS[name][0] for name in ("first", "second", "third")]
SOFT = style.COLORS["soft"][0]
for several, x in ((old, 0), (new, 3)):
    bottom = 0.0
    for t, color in zip(several, COLORS, strict=True):
        value = t.value / 1000
        axes.bar(x, value, 0.62, bottom, color=color, alpha=0.85)
        axes.text(
            x, bottom + value / 2, f"{t.code}", ha="center", va="center",
            color="white", fontsize=12,
        )  # fmt: skip
        bottom += value
axes.bar(1, sums[1] - sums[0], 0.62, sums[0], color=SOFT)
axes.bar(2, sums[2] - sums[1], 0.62, sums[1], color=style.COLORS["fourth"][0])
for left, height in enumerate(sums):
    axes.plot([left + 0.31, left + 0.69], [height, height], color=SOFT, linewidth=1)
axes.axhline(total, color=style.COLORS["ink"][0], linewidth=1, linestyle=(0, (4, 3)))
style.write(axes, -0.45, total + 5, f"the state's count, {total:,.1f}", "ink")
style.write(axes, 0, sums[0] + 5, f"{sums[0]:,.1f}", ha="center")
style.write(axes, 1, sums[1] + 5, f"\N{MULTIPLICATION SIGN} {sums[1] / sums[0]:.4f}", ha="center")
style.write(axes, 2, sums[1] - 14, f"\N{MULTIPLICATION SIGN} {total / sums[1]:.3f}", ha="center")
axes.set_xticks(range(4), ["districts, 2022", "population\nto 2024", "HIF", "districts\nas used"])
axes.set_ylabel("SPM units with SNAP, thousands")
axes.set_ylim(0, total * 1.13)
axes.grid(visible=False, axis="x")
style.save(
    figure,
    "hif_waterfall",
    "Districts of North Carolina, from published to used",
    f"Three districts add up to {sums[0]:.1f} thousand as published for 2022. Growth of "
    f"population takes them to {sums[1]:.1f}, the inconsistency factor of "
    f"{total / sums[1]:.3f} to {sums[2]:.1f}, which is the state's count. Their shares stay.",
)
