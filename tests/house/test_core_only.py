"""The core restores photographs without any optional package."""

import subprocess
import sys
from pathlib import Path


def test_a_picture_is_restored_where_only_the_core_is_installed():
    script = Path(__file__).with_name("core_only.py")
    done = subprocess.run([sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "core only" in done.stdout
