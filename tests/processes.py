"""Small programs in processes of their own: for what would take the test run down with it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

LIMIT_SECONDS = 60
"""After which a program counts as hanging."""

PRELUDE = """
import asyncio, faulthandler, logging, os, signal, sys, threading, time, warnings
from velro_cache import *
from velro_cache._engine import ManualClock
# A hang shows where it hangs.
faulthandler.dump_traceback_later(50, exit=True)
# On a busy machine a step of an event loop may take long.
logging.getLogger("asyncio").setLevel(logging.ERROR)


def child_exit(pid):
    '''Exit status of a child; 'hangs' if it never ends.'''
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        return "hangs"
    return os.waitstatus_to_exitcode(status)


def in_child(work):
    '''Fork, do the work in the child, and say how it ended: what it returned, or how it failed.'''
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # The default action ends the process, whatever state it is in.
        signal.alarm(20)
        try:
            answer = repr(work())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    chunks = []
    while chunk := os.read(reader, 65536):
        chunks.append(chunk)
    os.close(reader)
    status = child_exit(pid)
    return b"".join(chunks).decode() if status == 0 else status
"""


def run(program: str, prelude: str = PRELUDE) -> subprocess.CompletedProcess[str]:
    """Run a program with the prelude in front; fail if it hangs."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", prelude + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def output_of(program: str, prelude: str = PRELUDE) -> str:
    """Run a program that must succeed, and return what it printed."""
    done = run(program, prelude)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert not done.stderr, done.stderr
    return done.stdout.strip()
