"""What this machine can record: measured by recording, and what follows from it for a wanted rate."""

from mulletdaq.benchmark.advice import Advice, Measured, Wanted, advise
from mulletdaq.benchmark.run import BenchmarkReport, run_benchmark

__all__ = ["Advice", "BenchmarkReport", "Measured", "Wanted", "advise", "run_benchmark"]
