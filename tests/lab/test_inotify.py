"""Inotify instances are counted for this user, and a lab that would starve its Envoys does not start."""

import ctypes
import os
import sys
from pathlib import Path

import pytest

from meshlib.errors import LabError
from meshlib.lab import inotify

linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@linux
def test_an_instance_that_is_opened_is_one_fewer() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    own = Path("/proc") / str(os.getpid())
    before = inotify._held(own)
    descriptor = libc.inotify_init1(0)
    try:
        assert descriptor >= 0
        assert inotify._held(own) == before + 1
    finally:
        os.close(descriptor)


@linux
def test_too_few_are_refused_with_the_command_that_helps() -> None:
    with pytest.raises(LabError, match=r"sysctl fs\.inotify\.max_user_instances=512"):
        inotify.require(needed=10_000_000)


def test_a_system_without_the_limit_has_no_limit(tmp_path: Path) -> None:
    assert inotify.free_instances(limit=tmp_path / "absent") is None
