"""Your instrument into an HDF5 file: replace the Voltmeter by your own, and keep the last lines.

python hardware_loop.py experiment_data.h5 10
"""

import math
import sys
import time

import mulletdaq as mullet


class Voltmeter:
    """YOUR INSTRUMENT HERE. This one pretends: a reading every 10 ms, a slow sine around 0 V."""

    def read_voltage(self) -> float:
        time.sleep(0.01)
        return math.sin(time.monotonic())


def main(path: str, duration_s: float) -> None:
    voltmeter = Voltmeter()

    with mullet.record(path, channels={"voltage": "V"}) as recording:
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            recording.write_measurement(voltmeter.read_voltage())

    statistics = recording.statistics()
    print(f"{recording.path}: {statistics.rows_persisted} samples, {statistics.rows_lost} lost")


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "experiment_data_{start:%Y%m%dT%H%M%S}.h5",
        float(sys.argv[2]) if len(sys.argv) > 2 else 10.0,
    )
