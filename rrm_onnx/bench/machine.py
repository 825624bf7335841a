"""What measured figures depend on."""

from __future__ import annotations

import pathlib
import platform


def cpu() -> str:
    """The processor's name as the system gives it."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
