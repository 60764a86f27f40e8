"""The parent's end of redner's process: starts it, shares arrays with it, and outlives its accidents."""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nextface.errors import RendererError
from nextface.system.python import command as call_of
from renderers.redner.shared_memory import SharedMemory
from renderers.redner.worker import LEAVES, MESSAGE_LIMIT

PROGRAM = Path(__file__).with_name("worker.py")
PATIENCE = 5.0  # seconds without any sign of life before the process counts as hung
POLL = 0.25  # seconds between looks at the process
SLOWEST = 2e-4  # seconds a light path: a hundred times what one core needs
LOADING = 120.0  # seconds that everything but light paths may take
DROPPED_AT_ONCE = 1000  # scenes, so that a message stays within its limit


class RednerProcess:
    """Draws scenes in a process of its own, one thing at a time; starts a new one after an accident.

    The process hears from its parent through an anonymous pair of sockets that it inherits: there is no address
    that others could connect to. It dies with the parent.

    Parameters
    ----------
    command: the Python to run, and options for it.
    packages: the folder that holds redner and NumPy for that Python.
    threads: cores that the process may use.
    program: what the Python runs.
    patience: seconds without any sign of life before the process counts as hung.
    """

    def __init__(
        self,
        command: Sequence[str],
        packages: Path,
        threads: int,
        program: Path = PROGRAM,
        patience: float = PATIENCE,
    ) -> None:
        self._command = [*command, str(program), str(packages)]
        self._threads = threads
        self._patience = patience
        self._connection: _Connection | None = None
        self._lock = threading.Lock()
        self._count = 0
        self._dropped: deque[int] = deque()  # scenes to forget; filled by finalisers, which may run at any time

    @property
    def pid(self) -> int | None:
        """The number of the process, None while there is none."""
        return self._connection.pid if self._connection else None

    def load(self, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> SharedScene:
        """A scene that the process draws; see `renderers.redner.worker.DrawnScene`.

        Raises
        ------
        RendererError: when there is no memory for it.
        """
        self._count += 1
        return SharedScene(self, self._count, arrays, options)

    def close(self) -> None:
        """End the process; the next call would start a new one."""
        with self._lock:
            self._end()

    def start(self) -> None:
        """Start the process, unless it runs, and wait until redner is loaded.

        Raises
        ------
        RendererError: when it does not load.
        """
        self._exchange({"do": "hello"})

    def ask(self, scene: SharedScene, message: dict[str, Any], paths: int) -> None:
        """Have the process do something with a scene, and wait until that is done.

        Parameters
        ----------
        scene: loaded into the process when it is not there yet.
        message: "do" and its arguments.
        paths: light paths that this takes.

        Raises
        ------
        RendererError: when the process reports an error, dies, hangs or talks nonsense.
        """
        self._exchange({**message, "scene": scene.number}, scene, paths)

    def _exchange(self, message: dict[str, Any], scene: SharedScene | None = None, paths: int = 0) -> None:
        with self._lock:
            connection = self._connect()
            try:
                self._forget(connection)
                if scene is not None and scene.number not in connection.scenes:
                    connection.send(scene.loading, scene.memory.descriptor)
                    connection.wait(LOADING, self._patience)
                    connection.scenes.add(scene.number)
                connection.send(message)
                connection.wait(LOADING + SLOWEST * paths, self._patience)
            except _Refused as refusal:
                raise RendererError(f"redner could not draw: {refusal}") from None
            except _Lost as loss:
                last_words = connection.last_words()
                self._end()
                raise RendererError(
                    f"redner's process {loss}. The next render starts a new one.{last_words}"
                ) from None
            except BaseException:  # an interruption: the answer to come would be taken for the next one's
                self._end()
                raise

    def drop(self, number: int) -> None:
        """Forget a scene, at once where nothing else is going on and else before the next thing."""
        self._dropped.append(number)
        if self._lock.acquire(blocking=False):  # not when this interrupts the lock's own holder
            try:
                if self._connection is not None and self._connection.pid == self._alive():
                    self._forget(self._connection)
            except _Lost:
                pass  # the next call notices
            finally:
                self._lock.release()

    def _alive(self) -> int | None:
        connection = self._connection
        return connection.pid if connection and connection.owner == os.getpid() else None

    def _connect(self) -> _Connection:
        if self._alive() is None:  # none yet, or that of the process which this one was forked from
            self._connection = _Connection(self._command, self._threads)
        assert self._connection is not None
        return self._connection

    def _forget(self, connection: _Connection) -> None:
        while self._dropped:
            numbers = [self._dropped.popleft() for _ in range(min(len(self._dropped), DROPPED_AT_ONCE))]
            known = [number for number in numbers if number in connection.scenes]
            connection.scenes.difference_update(known)
            if known:
                connection.send({"do": "drop", "scenes": known})

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.end()
            self._connection = None


class SharedScene:
    """A scene in memory that is shared with redner's process; its twin there goes when this one does."""

    def __init__(
        self,
        process: RednerProcess,
        number: int,
        arrays: Mapping[str, np.ndarray],
        options: Mapping[str, Any],
    ) -> None:
        image = [options["height"], options["width"], 4]
        shapes = {name: (values.shape, values.dtype.name) for name, values in arrays.items()}
        gradients = {f"gradient {name}": shapes[name] for name in LEAVES}
        self.number = number
        self.memory = SharedMemory({**shapes, "image": (image, "float32"), **gradients})
        for name, values in arrays.items():
            self.memory.arrays[name][...] = values
        self.loading = {
            "do": "load",
            "scene": number,
            "size": self.memory.size,
            "arrays": {name: self.memory.layout[name] for name in arrays},
            "options": dict(options),
        }
        self._process = process
        self._pixels = image[0] * image[1] * options["max_bounces"]
        weakref.finalize(self, process.drop, number).atexit = False

    def draw(self, samples: list[int], seeds: list[int]) -> np.ndarray:
        """The image [height, width, 4]: linear radiance, premultiplied by coverage, and coverage."""
        self._ask("draw", {"image": "image"}, samples, seeds)
        return self.memory.arrays["image"].copy()

    def differentiate(self, adjoint: np.ndarray, samples: list[int], seeds: list[int]) -> dict[str, np.ndarray]:
        """Gradients of sum(adjoint * image) by each of LEAVES, with adjoint [height, width, 4]."""
        self.memory.arrays["image"][...] = adjoint
        names = {name: f"gradient {name}" for name in LEAVES}
        self._ask("differentiate", {"image": "image", **names}, samples, seeds)
        return {name: self.memory.arrays[place].copy() for name, place in names.items()}

    def _ask(self, operation: str, arrays: dict[str, str], samples: list[int], seeds: list[int]) -> None:
        layout = {name: self.memory.layout[place] for name, place in arrays.items()}
        message = {"do": operation, "arrays": layout, "samples": samples, "seeds": seeds}
        self._process.ask(self, message, self._pixels * sum(samples))


class _Lost(Exception):  # noqa: N818 - a sentence's end, not an error's name
    """The process is of no more use; the message goes on after "redner's process"."""


class _Refused(Exception):  # noqa: N818
    """The process is well and says why it did not do what it was asked."""


class _Connection:
    """One running process, and the line to it."""

    def __init__(self, command: Sequence[str], threads: int) -> None:
        self.scenes: set[int] = set()  # that it has loaded
        self.owner = os.getpid()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lifeline, held = os.pipe()
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process; it has no name
        by_thread = threading.current_thread() is threading.main_thread()
        arguments = [theirs.fileno(), lifeline, self.owner, int(by_thread), threads]
        try:
            self._process = subprocess.Popen(
                [*command, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                pass_fds=(theirs.fileno(), lifeline),
                start_new_session=True,  # Ctrl-C is for the parent
                cwd="/",
            )
        except OSError as error:
            self._channel.close()
            os.close(held)
            raise RendererError(
                f"redner's Python {command[0]} does not start ({error.strerror}). "
                f"Run `{call_of('setup', 'redner')}`."
            ) from error
        finally:
            theirs.close()
            os.close(lifeline)
        self.pid = self._process.pid
        self.end = weakref.finalize(self, _end, self._process, self._channel, held, self._words)

    def send(self, message: Mapping[str, Any], descriptor: int | None = None) -> None:
        """Send a message, and with it a file descriptor."""
        packet = json.dumps(message).encode()
        assert len(packet) <= MESSAGE_LIMIT
        rights: list[tuple[int, int, Any]] = []
        if descriptor is not None:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        self._channel.settimeout(PATIENCE)
        try:
            self._channel.sendmsg([packet], rights)
        except TimeoutError:
            raise _Lost("takes no messages") from None
        except OSError:
            raise _Lost(self._how_it_died()) from None

    def wait(self, limit: float, patience: float) -> None:
        """Wait for the answer to the last message, as long as there are signs of life.

        Seconds are counted in looks at the process, so that being stopped together with it does not count.
        """
        spent, still, ticks = 0.0, 0.0, -1
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while not poll.poll(1000 * POLL):
            spent += POLL
            now, busy = _activity(self.pid)
            still = 0.0 if busy or now != ticks else still + POLL
            ticks = now
            if still >= patience:
                raise _Lost(f"hung: it did nothing for {still:.0f} s")
            if spent >= limit:
                raise _Lost(f"was not done after {spent:.0f} s")
        try:
            packet, _, flags, _ = self._channel.recvmsg(MESSAGE_LIMIT)
        except OSError:
            raise _Lost(self._how_it_died()) from None
        if not packet:
            raise _Lost(self._how_it_died())
        try:
            answer = json.loads(packet)
            if flags & socket.MSG_TRUNC or not isinstance(answer, dict):
                raise ValueError
            if answer != {"ok": True}:
                raise _Refused(answer["error"])
        except (ValueError, KeyError):
            raise _Lost(f"talks nonsense: {packet[:40]!r}") from None

    def last_words(self) -> str:
        """What it printed last, as a paragraph."""
        size = os.fstat(self._words.fileno()).st_size
        text = os.pread(self._words.fileno(), 2000, max(0, size - 2000)).decode(errors="replace").strip()
        return f" It said:\n{text}" if text else ""

    def _how_it_died(self) -> str:
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "hung up"
        if code < 0:
            try:
                return f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"was killed by signal {-code}"
        return f"ended with exit code {code}"


def _end(process: subprocess.Popen[bytes], channel: socket.socket, lifeline: int, words: BinaryIO) -> None:
    """Let go of a process, and end it, but not that of the process which this one was forked from."""
    if process.returncode is None and _is_child(process.pid):
        process.kill()
        process.wait()
    channel.close()
    os.close(lifeline)
    words.close()


def _is_child(pid: int) -> bool:
    try:
        return int(_stat(Path(f"/proc/{pid}/stat"))[1]) == os.getpid()
    except OSError:
        return False


def _activity(pid: int) -> tuple[int, bool]:
    """Processor time that a process has used, in clock ticks, and whether any thread of it runs.

    Threads that wait for a processor or a disk run, too.
    """
    try:
        fields = _stat(Path(f"/proc/{pid}/stat"))
    except OSError:  # it has just ended, which the line will tell
        return 0, False
    states = {fields[0]}
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # a thread that has just ended
            states.add(_stat(path)[0])
    return int(fields[11]) + int(fields[12]), bool(states & {"R", "D"})


def _stat(path: Path) -> list[str]:
    """The fields of a stat file after the name in parentheses: state, parent, ..."""
    return path.read_text().rpartition(")")[2].split()
