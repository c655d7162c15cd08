"""Small disks in memory, where this process may mount them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = 4096


class Disk:
    """A folder on which a disk of any size can stand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = False
        self.can_mount = sys.platform == "linux" and os.geteuid() == 0 and self._try()

    def _try(self) -> bool:
        try:
            self.small(PAGE)
        except subprocess.CalledProcessError:
            return False
        self.drop()
        return True

    def small(self, free: int) -> Path:
        """Mount a disk that holds about so many bytes."""
        size = (3 + free // PAGE) * PAGE  # some pages for what is there before
        self._run("mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "svd-test", str(self.folder))
        self.mounted = True
        return self.folder

    def protect(self) -> None:
        self._run("mount", "-o", "remount,ro", str(self.folder))

    def drop(self) -> None:
        if self.mounted:
            self._run("umount", str(self.folder))
            self.mounted = False

    @staticmethod
    def _run(*words: str) -> None:
        subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
