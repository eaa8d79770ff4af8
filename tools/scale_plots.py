#!/usr/bin/env python3
"""SVG plots of what build/tests/mesh-scale --json wrote: tools/scale_plots.py FILE... OUTDIR. No dependencies."""
import json
import math
import sys

W, H, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 64, 150, 36, 48
COLOURS = ["#1b6ca8", "#c8553d", "#3a7d44", "#7a4e9f", "#b8860b", "#444444"]


class Plot:
    def __init__(self, title, x_label, y_label, x_max, y_max, x_log=False, x_min=0):
        self.x_min, self.x_max, self.y_max, self.x_log = x_min, x_max, y_max, x_log
        self.out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' % (W, H),
                    '<rect width="%d" height="%d" fill="white"/>' % (W, H),
                    '<text x="%d" y="20" font-size="14" font-weight="bold">%s</text>' % (LEFT, title),
                    '<text x="%d" y="%d" text-anchor="middle">%s</text>' % ((LEFT + W - RIGHT) / 2, H - 10, x_label),
                    '<text transform="translate(16,%d) rotate(-90)" text-anchor="middle">%s</text>' % ((TOP + H - BOTTOM) / 2, y_label)]
        self.legend = 0
        for i in range(6):
            v = y_max * i / 5
            y = self.y(v)
            self.out.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>' % (LEFT, W - RIGHT, y, y))
            self.out.append('<text x="%d" y="%.1f" text-anchor="end">%g</text>' % (LEFT - 6, y + 4, round(v, 3)))

    def x(self, v):
        if self.x_log:
            part = (math.log(v) - math.log(self.x_min)) / (math.log(self.x_max) - math.log(self.x_min))
        else:
            part = (v - self.x_min) / (self.x_max - self.x_min)
        return LEFT + (W - RIGHT - LEFT) * part

    def y(self, v):
        return H - BOTTOM - (H - BOTTOM - TOP) * min(v, self.y_max) / self.y_max

    def ticks(self, values):
        for v in values:
            self.out.append('<text x="%.1f" y="%d" text-anchor="middle">%g</text>' % (self.x(v), H - BOTTOM + 16, v))

    def line(self, name, points, dashed=False, dots=False):
        colour = COLOURS[self.legend % len(COLOURS)]
        text = " ".join("%.1f,%.1f" % (self.x(a), self.y(b)) for a, b in points)
        self.out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>' %
                        (text, colour, ' stroke-dasharray="5 4"' if dashed else ""))
        for a, b in points if dots else []:
            self.out.append('<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>' % (self.x(a), self.y(b), colour))
        y = TOP + 12 + 18 * self.legend
        self.out.append('<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="2"/>' % (W - RIGHT + 10, W - RIGHT + 30, y - 4, y - 4, colour))
        self.out.append('<text x="%d" y="%d">%s</text>' % (W - RIGHT + 36, y, name))
        self.legend += 1

    def save(self, path):
        with open(path, "w") as f:
            f.write("\n".join(self.out + ["</svg>"]) + "\n")


def cumulative(bins, width):
    total, seen, points = sum(bins), 0, [(0, 0)]
    for i, n in enumerate(bins):
        seen += n
        if n:
            points.append(((i + 1) * width, 100.0 * seen / total))
    return points


def name(n):
    return "{:,} nodes".format(n)


def main():
    runs = [json.loads(line) for path in sys.argv[1:-1] for line in open(path)]
    runs.sort(key=lambda r: r["nodes"])
    out = sys.argv[-1]
    dht = [r for r in runs if r["dht"] and r["lookups"]]
    swim = [r for r in runs if r["membership"]]
    low, high = min(r["nodes"] for r in runs), max(r["nodes"] for r in runs)
    sizes = sorted({r["nodes"] for r in runs})

    p = Plot("Hops of a lookup, average", "nodes", "hops", high, 8, True, low)
    p.ticks(sizes)
    p.line("measured", [(r["nodes"], r["hops_sum"] / r["found"]) for r in dht], dots=True)
    p.line("log2(n) / 2", [(r["nodes"], math.log2(r["nodes"]) / 2) for r in dht], dashed=True)
    p.save(out + "/scale-hops.svg")

    p = Plot("Frames that a node sends", "nodes", "frames a second", high, 4, True, low)
    p.ticks(sizes)
    p.line("SWIM", [(r["nodes"], (r["swim_frames"] + r["sync_frames"]) / r["node_seconds"]) for r in swim], dots=True)
    p.line("DHT", [(r["nodes"], r["dht_frames"] / r["node_seconds"]) for r in dht], dots=True)
    p.save(out + "/scale-frames.svg")

    p = Plot("Lookups that ended within a time", "ms", "% of those found", 1500, 100)
    p.ticks(range(0, 1501, 250))
    for r in dht:
        p.line(name(r["nodes"]), [q for q in cumulative(r["took"], 10) if q[0] <= 1500])
    p.save(out + "/scale-lookups.svg")

    p = Plot("Nodes that know of a crash", "s after it", "% of the nodes", 40, 100)
    p.ticks(range(0, 41, 5))
    for r in swim:
        if sum(r["known"]):
            p.line(name(r["nodes"]), [q for q in cumulative(r["known"], 0.1) if q[0] <= 40])
    p.save(out + "/scale-deaths.svg")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main()
