#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plot.py: draws what bench/run.sh --json wrote, as SVG files that need nothing else.

    bench/plot.py [--check] FIGURES.json DIRECTORY

Each row is a group of bars of its own scale: ours, the peer's, and the machine's limit where there is
one. A bar is a median, the line across its end reaches from the smallest to the largest turn. The same
figures give the same bytes; --check compares instead of writing, and says which file is another.
"""
import json
import os
import sys
from xml.sax.saxutils import escape

# File, title, beginnings of the rows' names; "cpu" draws their seconds of processors instead.
PLOTS = [
    ("nbd", "Block I/O by NBD, I/Os a second", ["nbd_posix_4k", "nbd_posix_1m", "nbd_posix_cold"], False),
    ("nbd_cpu", "The same, seconds of processors for a million I/Os (less is better)", ["nbd_posix_4k", "nbd_posix_1m", "nbd_posix_cold"], True),
    ("nbd_conditions", "Beside a process that burns a processor, and without looking before sleeping", ["nbd_busy", "nbd_nospin"], False),
    ("boundary", "A call from the gateway's side into a driver and back", ["ring_call", "driver_call"], False),
    ("gateway", "The gateway and its catalogue", ["api_", "catalog_commit", "catalog_scale", "idle_"], False),
]

WIDTH = 960
LEFT = 240  # of the bars
RIGHT = 640
TOP = 64
BAR = 12
GAP = 14
COLOURS = {"ours": "#2a6f97", "peer": "#b0b7bd", "limit": "#e0c48f"}
MISSED = "#b3261e"


def number(value):
    """Three digits are as much as a turn is worth."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * unit:
            return f"{value / unit:.0f} {name}"
        if value >= unit:
            return f"{value / unit:.2f} {name}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def text(x, y, words, size=12, anchor="start", colour="#1c1c1c", weight="normal"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def bars_of(row, cpu):
    """(side, median, smallest, largest), as far as they are there."""
    for side in ("ours", "peer", "limit"):
        if cpu:
            value = row["cpu"].get(side)
            runs = []
        else:
            value = row[side]
            runs = row["runs"][side]
        if value is not None:
            yield side, value, min(runs, default=value), max(runs, default=value)


def verdict(row, cpu):
    """What stands on the right: the ratio, its goal, and whether that is missed."""
    if cpu:
        ours, peer = row["cpu"]["ours"], row["cpu"]["peer"]
        return f"{ours / peer:.2f} of the peer's" if peer > 0 else "", False
    if row["ratio"] is None:
        return f"beside {row['peer_name']}", False
    words = f"{row['ratio']:.2f} x {row['peer_name']}"
    if row["goal"] is None:
        return words, False
    return f"{words}, goal {row['goal']:g}", row["ratio"] < row["goal"]


def draw_row(row, cpu, y):
    bars = list(bars_of(row, cpu))
    most = max(bar[3] for bar in bars) or 1
    scale = (RIGHT - LEFT) / most
    height = len(bars) * BAR
    words, missed = verdict(row, cpu)
    out = [text(LEFT - 10, y + height / 2 + 4, row["name"], anchor="end"),
           text(WIDTH - 12, y + height / 2 + 4, words, anchor="end", size=11, colour=MISSED if missed else "#1c1c1c")]
    for i, (side, value, low, high) in enumerate(bars):
        top = y + i * BAR
        middle = top + BAR / 2 - 1
        end = LEFT + value * scale
        out.append(f'<rect x="{LEFT}" y="{top}" width="{end - LEFT:.1f}" height="{BAR - 2}" fill="{COLOURS[side]}"/>')
        if high > low:
            out.append(f'<line x1="{LEFT + low * scale:.1f}" y1="{middle:g}" x2="{LEFT + high * scale:.1f}" y2="{middle:g}" stroke="#1c1c1c"/>')
        unit = "s/M" if cpu else row["unit"]
        out.append(text(f"{LEFT + high * scale + 5:.1f}", f"{middle + 4:g}", f"{number(value)} {unit}", size=9))
    return out, y + height + GAP


def draw(title, rows, cpu):
    out, y = [], TOP
    for row in rows:
        drawn, y = draw_row(row, cpu, y)
        out += drawn
    legend = []
    x = LEFT
    for side, name in (("ours", "Sluice"), ("peer", "peer"), ("limit", "the machine's limit")):
        legend += [f'<rect x="{x}" y="36" width="12" height="10" fill="{COLOURS[side]}"/>', text(x + 17, 45, name, size=11)]
        x += 90
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>', text(12, 22, title, size=15, weight="bold")]
    return "\n".join(head + legend + out + ["</svg>", ""])


def plots_of(figures):
    """File name -> what it holds, for those that have rows."""
    plots = {}
    for name, title, beginnings, cpu in PLOTS:
        rows = [row for row in figures if row["name"].startswith(tuple(beginnings)) and (not cpu or row.get("cpu"))]
        if rows:
            plots[name + ".svg"] = draw(title, rows, cpu)
    return plots


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def main(arguments):
    check = arguments[:1] == ["--check"]
    arguments = arguments[1:] if check else arguments
    if len(arguments) != 2:
        sys.exit(__doc__)
    with open(arguments[0], encoding="utf-8") as file:
        plots = plots_of(json.load(file))
    there = {name for name in os.listdir(arguments[1]) if name.endswith(".svg")} if os.path.isdir(arguments[1]) else set()
    if check:
        wrong = sorted(there - plots.keys()) + [name for name in plots if read(os.path.join(arguments[1], name)) != plots[name]]
        for name in wrong:
            print(f"{name} is not drawn from {arguments[0]}; run: bench/plot.py {arguments[0]} {arguments[1]}")
        sys.exit(1 if wrong else 0)
    os.makedirs(arguments[1], exist_ok=True)
    for name in there - plots.keys():
        os.remove(os.path.join(arguments[1], name))
    for name, drawing in plots.items():
        with open(os.path.join(arguments[1], name), "w", encoding="utf-8") as file:
            file.write(drawing)


if __name__ == "__main__":
    main(sys.argv[1:])
