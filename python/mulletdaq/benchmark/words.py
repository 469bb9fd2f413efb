"""A benchmark's report in words."""

from __future__ import annotations

import math

from mulletdaq.benchmark.advice import MEGABYTE, STALL_S, Advice, Wanted
from mulletdaq.benchmark.run import BenchmarkReport, Limit


def measured_facts(report: BenchmarkReport) -> list[tuple[str, str]]:
    """Names and values of what was measured."""
    row_bytes, samples = report.wanted.row_bytes, report.samples
    return [
        ("highest rate, gzip", _limit(report.gzip, row_bytes)),
        ("highest rate, uncompressed", _limit(report.plain, row_bytes)),
        ("write_measurement", f"{samples.call_ns:.0f} ns a call from Python"),
        ("in the file after", f"{_time(samples.flushed_s)} with a flush"),
        (
            "",
            f"{_time(samples.readable_s)} by itself, {_time(samples.readable_most_s)} at most, "
            f"committing every {_time(samples.interval_s)}",
        ),
    ]


def advice_lines(report: BenchmarkReport) -> list[str]:
    """What to record with, and why."""
    wanted, advice = report.wanted, report.advice
    lines = [_rate_line(wanted, advice)]
    if advice.verdict != "no":
        lines += [_ring_line(wanted, advice), _interval_line(advice, report.samples.flushed_s)]
        if advice.layout == "continuous":
            lines.append(
                f'layout: "continuous", for {wanted.channels + 1} datasets every {_time(advice.interval_s)} would be '
                "more than a million a day."
            )
        if advice.needs_blocks:
            lines.append(
                f"blocks: at this rate write_measurement would take {advice.call_share:.0%} of a loop's time; "
                "write many samples at once with write_block."
            )
        lines.append(f"so: mullet.record(…, {_arguments(advice)})")
    return lines


def warnings(report: BenchmarkReport) -> list[str]:
    """What should not be overlooked."""
    found = []
    if report.in_network:
        found.append(
            f"{report.folder} is on a network file system ({report.filesystem}): others' use of it, and a broken "
            "connection, are not in these figures, and locks may not hold there; record onto a disk of this machine "
            "and copy the file afterwards"
        )
    if report.in_memory:
        found.append(
            f"{report.folder} is in memory ({report.filesystem}), not on a disk: what is recorded there is gone after "
            "a restart; give the folder that recordings go to"
        )
    for limit, words in ((report.gzip, "with gzip"), (report.plain, "without compression")):
        if limit.best is None:
            found.append(f"no rate was held {words}: the machine is too busy, or --seconds too few; try again")
        elif math.isinf(limit.failed_hz):
            found.append(f"{words} even the highest rate tried was held: more time, or room on the disk, may find more")
    advice = report.advice
    if advice.verdict == "no":
        found.append(
            f"the wanted rate of {_hz(report.wanted.rate_hz)} cannot be held here: fewer channels, a smaller dtype "
            "such as float32, a lower rate, or a faster disk"
        )
    elif advice.bridged_s < STALL_S:
        found.append(
            f"a ring of {advice.ring_mb} MB, a quarter of the memory, bridges {_time(advice.bridged_s)} only: "
            "a disk that stalls for longer costs samples"
        )
    return found


def _limit(limit: Limit, row_bytes: int) -> str:
    if limit.best is None:
        return "none was held"
    failed = "" if math.isinf(limit.failed_hz) else f"; {_hz(limit.failed_hz)} was too much"
    return f"{_hz(limit.kept_hz)}, {_megabytes(limit.kept_hz * row_bytes)} of data, nothing lost{failed}"


def _rate_line(wanted: Wanted, advice: Advice) -> str:
    channels = "1 channel" if wanted.channels == 1 else f"{wanted.channels} channels"
    rate = f"{channels} at {_hz(wanted.rate_hz)}: {wanted.row_bytes} bytes a sample, {_megabytes(wanted.bytes_per_s)}"
    share = "no rate was held" if math.isinf(advice.share) else f"{_percent(advice.share)} of the highest rate"
    return {
        "easily": f"{rate}, {share}: this machine does it easily.",
        "barely": f"{rate}, {share}: this machine does it, with little in reserve for anything else it has to do.",
        "uncompressed": f"{rate}, too much for gzip here, {share} without compression: this machine does it so.",
        "no": f"{rate}, {share}: too much for this machine.",
    }[advice.verdict]


def _ring_line(wanted: Wanted, advice: Advice) -> str:
    return (
        f"ring: {advice.ring_mb} MB. {advice.ring_mb * MEGABYTE:,} bytes at {wanted.bytes_per_s:,.0f} bytes/s last "
        f"{_time(advice.ring_mb * MEGABYTE / wanted.bytes_per_s)}; less what waits for a commit anyway, the disk may "
        f"stand still for {_time(advice.bridged_s)} before a sample is lost, and the writer catches up within "
        f"{_time(advice.catch_up_s)}."
    )


def _interval_line(advice: Advice, commit_s: float) -> str:
    return (
        f"interval: {_time(advice.interval_s)} between commits, which is also what a power cut can cost; a commit of "
        f"one sample takes {_time(commit_s)} here, and should take at most a tenth of the interval."
    )


def _arguments(advice: Advice) -> str:
    arguments = [f"ring_capacity_mb={advice.ring_mb}", f"flush_interval_s={advice.interval_s:g}"]
    if advice.compression is None:
        arguments.append("compression=None")
    if advice.layout != "batches":
        arguments.append(f'layout="{advice.layout}"')
    return ", ".join(arguments)


def _hz(rate_hz: float) -> str:
    if rate_hz >= 1e6:
        return f"{rate_hz / 1e6:.3g} million samples/s" if rate_hz < 1e9 else f"{rate_hz / 1e6:,.0f} million samples/s"
    return f"{rate_hz:,.0f} samples/s" if rate_hz >= 100 else f"{rate_hz:.3g} samples/s"


def _megabytes(bytes_per_s: float) -> str:
    megabytes = bytes_per_s / 1e6
    return f"{megabytes:,.0f} MB/s" if megabytes >= 100 else f"{megabytes:.2g} MB/s"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def _time(seconds: float) -> str:
    """A duration in the unit that reads best."""
    if math.isinf(seconds):
        return "for ever"
    for unit, length in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}" if seconds < 1000 * length else f"{seconds / length:,.0f} {unit}"
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.2g} ms"


__all__ = ["advice_lines", "measured_facts", "warnings"]
