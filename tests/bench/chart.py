"""What do the figures look like? Draws those on stdin, in JSON, as the SVG that is named."""

import json
import sys

import matplotlib as mpl
from matplotlib import pyplot as plt

# Legible on white and on black, both as text and as bars.
GREY, OURS, OTHERS = "#7d8590", "#2f81f7", "#8b949e"

PANELS = (
    ("requests_per_second", "requests a second (more is better)", "{:,.0f}"),
    ("p99", "99th percentile of latency, ms (less is better)", "{:.1f}"),
)


def main() -> None:
    contenders = json.load(sys.stdin)
    # The same figures give the same file; text stays text.
    mpl.rcParams |= {"svg.hashsalt": "hello-wsgi", "svg.fonttype": "none", "font.size": 10}
    mpl.rcParams |= dict.fromkeys(("text.color", "axes.labelcolor", "ytick.color"), GREY)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(10, 3.2), sharey=True)
    names = list(reversed(contenders))
    colours = [OURS if name == "hello-wsgi" else OTHERS for name in names]
    for axis, (key, title, form) in zip(axes, PANELS, strict=True):
        bars = axis.barh(names, [contenders[name][key] for name in names], color=colours)
        axis.bar_label(bars, fmt=form, padding=4)
        axis.set_title(title, fontsize=10)
        axis.set_xticks([])
        axis.margins(x=0.2)
        axis.spines[:].set_visible(False)
        axis.tick_params(left=False)
    figure.tight_layout()
    figure.savefig(sys.argv[1], transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
