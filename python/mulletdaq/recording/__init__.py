"""The scientist's view: a file, channels, and values to write."""

from mulletdaq.recording.recovery import RecordingRecovery, recover_recording
from mulletdaq.recording.session import Recording, record
from mulletdaq.recording.statistics import RecordingStatistics
from mulletdaq.recording.stream import StreamRecording

__all__ = ["Recording", "RecordingRecovery", "RecordingStatistics", "StreamRecording", "record", "recover_recording"]
