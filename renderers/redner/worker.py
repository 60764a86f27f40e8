"""redner's side of the renderer: arrays in, image or gradients out. Runs on Python 3.8, too.

redner has no builds for newer versions, so this file is a program that an old Python runs (see
`renderers.redner.process`); where redner imports in the very interpreter of the caller, `DrawnScene` is used
directly. It needs NumPy and the compiled module `redner`, neither torch nor pyredner nor anything else of this
project.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import signal
import socket
import struct
import sys
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])  # where the packages are

try:
    import numpy as np
except Exception as error:  # of whatever kind: the packages are damaged
    if __name__ == "__main__":
        sys.exit(f"NumPy does not load: {str(error).strip().splitlines()[0]}")
    raise

MESSAGE_LIMIT = 1 << 16  # bytes; messages hold names and numbers, arrays are in shared memory
CLIP_NEAR = 1.0  # mm
GAIN = 2.0**40  # a power of 2, so that nothing is rounded
PR_SET_PDEATHSIG = 1

LEAVES = ("positions", "normals", "diffuse", "specular", "roughness", "environments", "projection", "rays")
"""What gradients reach: float32 arrays, C-contiguous.

positions, normals: [V, 3] in the camera frame; diffuse, specular: [H, W, 3]; roughness: [H, W, 1], redner's
own; environments: [2, H, 2H, 3], the light in two halves; projection: [3, 3], camera frame to redner's screen;
rays: its inverse.
"""


class DrawnScene:
    """One scene in redner, drawn and differentiated as often as wanted.

    Parameters
    ----------
    arrays: the leaves, and what has no gradients: triangles and uv_triangles [F, 3] int32, uvs [T, 2] float32
        (v down), frames [2, 4, 4] float32 from the camera frame to that of each environment, rows [2, H] and
        columns [2, H, 2H] float32, the cumulative probabilities of the environments' rows, and of the texels in
        each row. The scene keeps and uses them; they must not change.
    options: width, height (pixels), max_bounces, densities (the environments' `pdf_norm`), lit (whether the
        environments are free of black texels, see `differentiate`), edges (whether gradients see silhouettes).
    """

    def __init__(self, arrays: dict[str, np.ndarray], options: dict[str, Any]) -> None:
        import redner

        self._redner = redner
        self._arrays = arrays
        self._options = options
        self._unit = np.ones(2, np.float32)  # the scale of texture coordinates
        self._inverse_frames = np.ascontiguousarray(arrays["frames"].transpose(0, 2, 1))  # they are rotations
        self._identity = np.eye(4, dtype=np.float32)
        camera = self._camera()
        shape = redner.Shape(
            self._pointer("positions"),
            redner.int_ptr(arrays["triangles"].ctypes.data),
            self._pointer("uvs"),
            self._pointer("normals"),
            redner.int_ptr(arrays["uv_triangles"].ctypes.data),
            redner.int_ptr(0),  # normals are numbered like vertices
            redner.float_ptr(0),  # no colours
            len(arrays["positions"]),
            len(arrays["uvs"]),
            len(arrays["normals"]),
            len(arrays["triangles"]),
            0,  # the number of its material
            -1,  # it is no light
        )
        material = redner.Material(
            *self._textures(arrays, self._unit),
            True,  # specular reflection
            False,  # one-sided
            False,  # no vertex colours
        )
        self._parts: list[Any] = [camera, shape, material]  # redner keeps references to some of them
        self._scenes = []
        for number, density in enumerate(options["densities"]):
            environment = redner.EnvironmentMap(
                self._texture(redner.Texture3, arrays["environments"][number], self._unit),
                self._address(self._inverse_frames[number]),
                self._address(arrays["frames"][number]),
                self._address(arrays["rows"][number]),
                self._address(arrays["columns"][number]),
                density,
                False,  # black behind the mesh
            )
            self._parts.append(environment)
            self._scenes.append(
                redner.Scene(
                    camera,
                    [shape],
                    [material],
                    [],
                    environment,
                    False,  # on the CPU
                    -1,
                    options["edges"],
                    False,  # edges of shadows, which cost twenty times the rest
                )
            )

    def draw(self, image: np.ndarray, samples: list[int], seeds: list[int]) -> None:
        """Fill image [height, width, 4]: linear radiance, premultiplied by coverage, and coverage.

        Samples a pixel and seed are given for each environment. Coverage is that of the first.
        """
        part = np.zeros_like(image)
        nothing = self._redner.float_ptr(0)
        image[...] = 0
        for number, scene in enumerate(self._scenes):
            part[...] = 0
            self._redner.render(
                scene,
                self._render_options(samples[number], seeds[number]),
                self._address(part),
                nothing,
                None,
                nothing,
                nothing,
            )
            image[..., : 3 if number else 4] += part[..., : 3 if number else 4]

    def differentiate(
        self, adjoint: np.ndarray, gradients: dict[str, np.ndarray], samples: list[int], seeds: list[int]
    ) -> None:
        """Fill gradients (an array for each of LEAVES) of sum(adjoint * image), adjoint [height, width, 4].

        redner combines what it finds in directions drawn from the light with what it finds in directions drawn
        from the reflectance. The derivative of the first is right, that of the second is not: it leaves out how
        weights and the choice of a lobe depend on the reflectance. So the light is made brighter while
        differentiating. The density that redner computes for its directions grows as much, which cancels in the
        first, and leaves no weight for the second. Black texels, however, are found by the second alone.
        """
        redner = self._redner
        for gradient in gradients.values():
            gradient[...] = 0
        unwanted = [np.zeros(16, np.float32) for _ in range(3)]
        unwanted_uvs = np.zeros_like(self._arrays["uvs"])
        unwanted_scale = np.zeros(2, np.float32)
        nothing = redner.float_ptr(0)
        camera = redner.DCamera(
            nothing,
            nothing,
            nothing,
            self._address(unwanted[0]),
            self._address(unwanted[1]),
            self._address(gradients["rays"]),
            self._address(gradients["projection"]),
            nothing,
        )
        shape = redner.DShape(
            self._address(gradients["positions"]),
            self._address(unwanted_uvs),
            self._address(gradients["normals"]),
            nothing,
        )
        material = redner.DMaterial(*self._textures(gradients, unwanted_scale))
        without_coverage = adjoint * np.array([1, 1, 1, 0], np.float32)
        for number, scene in enumerate(self._scenes):
            gain = np.float32(GAIN if self._options["lit"][number] else 1)
            self._arrays["environments"][number] *= gain
            texture = self._texture(redner.Texture3, gradients["environments"][number], unwanted_scale)
            environment = redner.DEnvironmentMap(texture, self._address(unwanted[2]))
            redner.render(
                scene,
                self._render_options(samples[number], seeds[number]),
                nothing,
                self._address(without_coverage if number else adjoint),
                redner.DScene(camera, [shape], [material], [], environment, False, -1),
                nothing,
                nothing,
            )
            self._arrays["environments"][number] /= gain
            gradients["environments"][number] *= gain

    def _camera(self) -> Any:
        redner, options = self._redner, self._options
        nothing = redner.float_ptr(0)
        size = options["width"], options["height"]
        return redner.Camera(
            size[0],
            size[1],
            nothing,
            nothing,
            nothing,
            self._address(self._identity),
            self._address(self._identity),
            self._pointer("rays"),
            self._pointer("projection"),
            nothing,  # no distortion
            CLIP_NEAR,
            redner.CameraType.perspective,
            redner.Vector2i(0, 0),
            redner.Vector2i(*size),
        )

    def _textures(self, arrays: dict[str, np.ndarray], scale: np.ndarray) -> tuple[Any, ...]:
        """Diffuse, specular, roughness, and the absence of a generic texture and of a normal map.

        `scale` [2] float32 is that of texture coordinates, or where its gradient goes.
        """
        redner = self._redner
        nothing = redner.float_ptr(0)
        return (
            self._texture(redner.Texture3, arrays["diffuse"], scale),
            self._texture(redner.Texture3, arrays["specular"], scale),
            self._texture(redner.Texture1, arrays["roughness"], scale),
            redner.TextureN([], [], [], 0, nothing),
            redner.Texture3([], [], [], 0, nothing),
        )

    def _texture(self, kind: Any, texels: np.ndarray, scale: np.ndarray) -> Any:
        """A texture of one level: it is interpolated bilinearly, and the pixel's samples filter it."""
        height, width, channels = texels.shape
        return kind([self._address(texels)], [width], [height], channels, self._address(scale))

    def _render_options(self, samples: int, seed: int) -> Any:
        redner = self._redner
        channels = [redner.channels.radiance, redner.channels.alpha]
        return redner.RenderOptions(
            seed, samples, self._options["max_bounces"], channels, redner.SamplerType.independent, False
        )

    def _pointer(self, name: str) -> Any:
        return self._address(self._arrays[name])

    def _address(self, array: np.ndarray) -> Any:
        return self._redner.float_ptr(array.ctypes.data)


class Worker:
    """Answers the messages of one parent until it hangs up.

    A message is one packet of JSON. The operation "load" brings a file descriptor with it: memory that both
    sides map, which holds everything about one scene. Each is answered by {"ok": true} or {"error": reason},
    but "drop", which is not answered.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._scenes: dict[int, tuple[DrawnScene, mmap.mmap]] = {}  # by number
        self._operations = {
            "hello": lambda message, descriptors: None,
            "load": self._load,
            "draw": self._draw,
            "differentiate": self._differentiate,
            "drop": self._drop,
        }

    def run(self) -> None:
        """Serve until the other side closes its end. Leaves with a reason when a message makes no sense."""
        while True:
            packet, descriptors = receive(self._channel)
            if not packet:
                return
            try:
                message = json.loads(packet.decode())
                operation = self._operations[message["do"]]
            except (ValueError, KeyError, TypeError):
                sys.exit(f"a message of {len(packet)} bytes makes no sense: {packet[:40]!r}")
            if message["do"] == "drop":
                operation(message, descriptors)
                continue
            try:
                operation(message, descriptors)
                answer: dict[str, Any] = {"ok": True}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            self._channel.sendall(json.dumps(answer).encode())

    def _load(self, message: dict[str, Any], descriptors: list[int]) -> None:
        (descriptor,) = descriptors
        try:
            memory = mmap.mmap(descriptor, message["size"])
        finally:
            os.close(descriptor)
        arrays = views(memory, message["arrays"])
        self._scenes[message["scene"]] = DrawnScene(arrays, message["options"]), memory

    def _draw(self, message: dict[str, Any], descriptors: list[int]) -> None:
        scene, memory = self._scenes[message["scene"]]
        image = views(memory, message["arrays"])["image"]
        scene.draw(image, message["samples"], message["seeds"])

    def _differentiate(self, message: dict[str, Any], descriptors: list[int]) -> None:
        scene, memory = self._scenes[message["scene"]]
        arrays = views(memory, message["arrays"])
        adjoint = arrays.pop("image")
        scene.differentiate(adjoint, arrays, message["samples"], message["seeds"])

    def _drop(self, message: dict[str, Any], descriptors: list[int]) -> None:
        for number in message["scenes"]:
            self._scenes.pop(number, None)


def views(memory: mmap.mmap, layout: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays in a block of memory, by name: layout holds [offset, shape, type] of each."""
    arrays = {}
    for name, (offset, shape, kind) in layout.items():
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(memory, kind, count, offset).reshape(shape)
    return arrays


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """The next packet and the file descriptors that came with it; nothing at the end."""
    space = socket.CMSG_SPACE(struct.calcsize("i"))
    packet, ancillary, flags, _ = channel.recvmsg(MESSAGE_LIMIT, space)
    descriptors = [
        struct.unpack("i", data[: struct.calcsize("i")])[0]
        for level, kind, data in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    ]
    if flags & socket.MSG_TRUNC:
        sys.exit(f"a message is longer than {MESSAGE_LIMIT} bytes")
    return packet, descriptors


def follow(parent: int, lifeline: int, by_thread: bool) -> None:
    """Die when the parent does, however it dies, even in the midst of drawing.

    Parameters
    ----------
    parent: its process number.
    lifeline: the reading end of a pipe that only the parent holds open. At its end, the kernel sends SIGIO,
        which kills a process that does not handle it.
    by_thread: whether to ask the kernel for a signal, too. It comes at the end of the parent's thread that
        started this process, so that must be the main thread; no heir of the parent's pipe can hold it back.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    if by_thread:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        sys.exit("the parent is gone")


def use_cores(count: int) -> None:
    """Run on this many cores at most, with one thread on each.

    redner starts as many threads as std::thread::hardware_concurrency says and takes no other number, so in
    this process that function is overwritten with one that returns ours. With one thread, sums are made in the
    same order each time.
    """
    cores = sorted(os.sched_getaffinity(0))
    if count < len(cores):
        first = os.getpid() % len(cores)  # so that workers do not share the same ones
        os.sched_setaffinity(0, [cores[(first + step) % len(cores)] for step in range(count)])
    system = ctypes.CDLL(None)
    function = ctypes.CDLL("libstdc++.so.6")._ZNSt6thread20hardware_concurrencyEv
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    code = b"\xb8" + struct.pack("<i", count) + b"\xc3"  # mov eax, count; ret
    start = address & -mmap.PAGESIZE
    length = address + len(code) - start
    readable_writable_executable = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    if system.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(length), readable_writable_executable) == 0:
        ctypes.memmove(address, code, len(code))
        system.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.PROT_READ | mmap.PROT_EXEC)


def main(_packages: str, channel: str, lifeline: str, parent: str, by_thread: str, threads: str) -> None:
    """Serve the parent; all arguments are words of the command line."""
    follow(int(parent), int(lifeline), by_thread == "1")
    use_cores(int(threads))
    try:
        import redner  # noqa: F401 - a build that does not load should say so now
    except Exception as error:  # of whatever kind: the package is damaged
        sys.exit(f"redner does not load: {error}")
    Worker(socket.socket(fileno=int(channel))).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
