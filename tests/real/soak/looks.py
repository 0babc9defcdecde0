"""What a soak writes down every few seconds of a process, and whether it grows: a line by least squares with its bound.

Standard library only; nothing here starts anything.
"""

import os
import pathlib
import signal
import statistics
import time

# Of the residuals' own likeness from one look to the next, at most: beyond it there are too few independent looks for a bound.
LIKENESS_MAX = 0.98


def line(points):
    """`(slope, bound)` of `(x, y)` points: least squares, and twice the standard error of the slope.

    Looks of one process resemble the one before, so they are fewer than they seem: the number of looks is cut by the
    residuals' correlation with their neighbours r, n (1 - r) / (1 + r). None for fewer than four points.
    """
    if len(points) < 4:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_mean, y_mean = statistics.fmean(xs), statistics.fmean(ys)
    spread = sum((x - x_mean) ** 2 for x in xs)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread
    rests = [y - y_mean - slope * (x - x_mean) for x, y in points]
    squares = sum(rest * rest for rest in rests)
    if squares == 0:
        return slope, 0.0
    like = sum(one * after for one, after in zip(rests, rests[1:])) / squares
    like = min(max(like, 0.0), LIKENESS_MAX)
    independent = max(3.0, len(points) * (1 - like) / (1 + like))
    variance = squares / len(points) * independent / (independent - 2)
    return slope, 2 * (variance / (spread * independent / len(points))) ** 0.5


def status(pid):
    """The fields of /proc/PID/status, the sizes in MiB."""
    fields = dict(one.split(":", 1) for one in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    mib = lambda name: int(fields[name].split()[0]) / 1024  # noqa: E731
    return {"rss_mib": round(mib("VmRSS"), 2), "peak_mib": round(mib("VmHWM"), 2), "threads": int(fields["Threads"])}


class Looks:
    """The looks at one podgate. Its owner tasks are listed in its log when it gets SIGQUIT."""

    GAUGES = {
        "pods": "otelcol_otelsvc_k8s_pod_table_size",
        "connections": "podgate_receiver_connections_open",
        "held": "podgate_balance_held_items",
        "queued": "otelcol_exporter_queue_size",
        "budget_bytes": "podgate_budget_used_bytes",
    }

    def __init__(self, gateway):
        self.gateway, self.all, self.began = gateway, [], time.monotonic()
        self.read = 0

    def tasks(self):
        """How many owner tasks the answer to the SIGQUIT of this moment names."""
        self.read = self.gateway.process.log.stat().st_size
        self.gateway.process.child.send_signal(signal.SIGQUIT)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            time.sleep(0.05)
            with self.gateway.process.log.open("rb") as log:
                log.seek(self.read)
                text = log.read().decode(errors="replace")
            # The account is the last line of the answer.
            if "SIGQUIT" in text and "balance:" in text.rpartition("SIGQUIT")[2]:
                return text.count(" info  task ")
        return None

    def look(self):
        pid = self.gateway.process.child.pid
        page = [text for text in self.gateway.metrics() if not text.startswith("#")]
        sums = {
            key: sum(float(text.rsplit(" ", 1)[1]) for text in page if text.startswith(f"{name}{{") or text.startswith(f"{name} "))
            for key, name in self.GAUGES.items()
        }
        look = {"at": round(time.monotonic() - self.began, 1), **status(pid), "descriptors": len(os.listdir(f"/proc/{pid}/fd"))}
        look |= {"tasks": self.tasks(), **{key: int(value) for key, value in sums.items()}}
        self.all.append(look)
        return look

    def settled(self, warm):
        """The looks after the first `warm` seconds."""
        return [look for look in self.all if look["at"] >= warm]
