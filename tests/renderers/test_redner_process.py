"""redner's process: what becomes of it, and of its parent, when something goes wrong. Nothing is simulated."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import HELPERS, environment
from redner_set_up import require_redner

from nextface.config import Config
from nextface.errors import RendererError
from nextface.runs.equipment import equipped
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.system.progress import Silent
from renderers.redner.installation import find_environment
from renderers.redner.process import RednerProcess
from renderers.redner.renderer import RednerRenderer

SOON = 10.0  # seconds within which everything must be over


@pytest.fixture(autouse=True)
def ready() -> None:
    require_redner()
    torch.set_num_threads(1)


@pytest.fixture
def engine() -> Iterator[RednerProcess]:
    environment = find_environment()
    engine = RednerProcess(environment.command, environment.packages, threads=1, patience=1.5)
    yield engine
    engine.close()


def scene(radiance: float = 1.0, size: int = 16) -> Scene:
    """A triangle that fills the picture, of albedo 0.5."""
    corners = torch.tensor([[[-300.0, -300, 500], [0, 600, 500], [300, -300, 500]]])
    mesh = Mesh(corners, torch.tensor([0.0, 0, -1]).expand(1, 3, 3), torch.tensor([[0, 1, 2]]))
    material = Material(torch.full((1, 3, 3), 0.5), torch.zeros(1, 3, 1), torch.ones(1, 3, 1))
    intrinsics = torch.tensor([[[2.0 * size, 0, size / 2], [0, 2 * size, size / 2], [0, 0, 1]]])
    camera = Camera(intrinsics, torch.zeros(1, 3), torch.zeros(1, 3), size, size)
    return Scene(mesh, material, Environment(torch.full((1, 8, 16, 3), radiance)), camera)


def brightness(renderer: RednerRenderer, radiance: float = 1.0) -> float:
    return float(renderer.render(scene(radiance), 64, 1)[..., :3].mean())


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def soon(condition: Callable[[], bool]) -> bool:
    """Whether a condition becomes true within SOON."""
    end = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def in_the_midst(engine: RednerProcess, action: Callable[[int], None]) -> threading.Thread:
    """Do something to the process while it draws: once it has used processor time for a while."""

    def wait_and_act() -> None:
        pid = engine.pid
        assert pid is not None
        time.sleep(0.7)
        action(pid)

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


LONG = 1_000_000  # light paths a pixel: a minute and more


@pytest.mark.parametrize("when", ["between", "drawing", "differentiating"])
def test_a_killed_process_is_an_error_and_then_a_new_process(engine: RednerProcess, when: str) -> None:
    renderer = RednerRenderer(engine)
    drawn = scene()
    radiance = drawn.environment.radiance.requires_grad_()
    image = renderer.render(drawn, 4, 1)
    first = engine.pid
    assert first is not None
    start = time.monotonic()
    with pytest.raises(RendererError, match=r"killed by SIGKILL.*starts a new one") as caught:
        if when == "between":
            os.kill(first, signal.SIGKILL)
            renderer.render(drawn, 4, 1)
        elif when == "drawing":
            in_the_midst(engine, lambda pid: os.kill(pid, signal.SIGKILL))
            renderer.render(drawn, LONG, 1)
        else:
            long = renderer.render(drawn, 1, 1)
            long.grad_fn.next_functions[0][0].samples = [LONG, LONG]  # type: ignore[union-attr]
            in_the_midst(engine, lambda pid: os.kill(pid, signal.SIGKILL))
            long.sum().backward()
    assert caught.value.exit_code == 1
    assert time.monotonic() - start < SOON
    assert brightness(renderer) == pytest.approx(0.5, rel=0.02)
    assert engine.pid != first
    (gradient,) = torch.autograd.grad(image[..., :3].sum(), radiance)  # of a scene that the dead process held
    assert float((gradient * radiance.detach()).sum()) == pytest.approx(
        float(image[..., :3].detach().sum()), rel=0.1
    )


def test_a_stopped_process_is_given_up(engine: RednerProcess) -> None:
    renderer = RednerRenderer(engine)
    brightness(renderer)
    pid = engine.pid
    assert pid is not None
    start = time.monotonic()
    in_the_midst(engine, lambda pid: os.kill(pid, signal.SIGSTOP))
    with pytest.raises(RendererError, match="hung"):
        renderer.render(scene(), LONG, 1)
    assert time.monotonic() - start < SOON
    assert not alive(pid)
    assert brightness(renderer) == pytest.approx(0.5, rel=0.02)


def test_a_long_picture_is_not_given_up() -> None:
    found = find_environment()
    engine = RednerProcess(found.command, found.packages, threads=1, patience=0.5)
    renderer = RednerRenderer(engine)
    brightness(renderer)
    start = time.monotonic()
    image = renderer.render(scene(), 4_000, 1)
    assert time.monotonic() - start > 0.75
    assert float(image[..., 3].mean()) == pytest.approx(1, abs=1e-3)
    engine.close()


def test_an_interruption_ends_the_process_at_once(engine: RednerProcess) -> None:
    renderer = RednerRenderer(engine)
    brightness(renderer)
    pid = engine.pid
    assert pid is not None
    start = time.monotonic()
    in_the_midst(engine, lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        renderer.render(scene(), LONG, 1)
    assert time.monotonic() - start < SOON
    assert not alive(pid)
    assert brightness(renderer) == pytest.approx(0.5, rel=0.02)


PROGRAM = """
import sys, threading
sys.path[:0] = {paths!r}
import test_redner_process as here
engine = here.RednerProcess(here.find_environment().command, here.find_environment().packages, threads=1)
renderer = here.RednerRenderer(engine)
def work():
    here.brightness(renderer)
    print(engine.pid, flush=True)
    renderer.render(here.scene(), here.LONG, 1)
{start}
"""


@pytest.mark.parametrize("start", ["work()", "threading.Thread(target=work).start()"], ids=["main", "thread"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_dies_with_its_parent(how: signal.Signals, start: str) -> None:
    if how == signal.SIGINT and start != "work()":
        pytest.skip("Python's main thread waits for the others")
    program = PROGRAM.format(paths=[str(Path(__file__).parent), str(HELPERS.parent), str(HELPERS)], start=start)
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert parent.stdout is not None and parent.stderr is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    assert alive(pid)
    before = shared_memory_files()
    os.kill(parent.pid, how)
    assert soon(lambda: not alive(pid)), "the process outlived its parent"
    parent.wait(SOON)
    said = parent.stderr.read()
    parent.stdout.close()
    parent.stderr.close()
    assert "redner_worker" not in said, said  # the child's own traceback
    assert shared_memory_files() <= before


def shared_memory_files() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if "nextface" in name or "redner" in name}


def test_full_shared_memory_is_an_error_and_no_crash(engine: RednerProcess) -> None:
    renderer = RednerRenderer(engine)
    brightness(renderer)
    pid = engine.pid
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # the limit on a file that a full disk is
    try:
        with pytest.raises(RendererError, match=r"MB of shared memory.*textureResolution"):
            brightness(renderer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert brightness(renderer) == pytest.approx(0.5, rel=0.02)
    assert engine.pid == pid


@pytest.mark.parametrize(
    "rubbish",
    [b"\x00\xff rubbish", b'{"do": "explode"}', b"[1, 2]", b" " * 70_000],
    ids=["bytes", "unknown", "list", "long"],
)
def test_rubbish_on_the_line_ends_the_process_with_a_reason(engine: RednerProcess, rubbish: bytes) -> None:
    renderer = RednerRenderer(engine)
    brightness(renderer)
    assert engine._connection is not None
    engine._connection._channel.send(rubbish)
    start = time.monotonic()
    with pytest.raises(RendererError, match=r"ended with exit code 1.*It said:\na message") as caught:
        brightness(renderer)
    assert "Traceback" not in str(caught.value)
    assert time.monotonic() - start < SOON
    assert brightness(renderer) == pytest.approx(0.5, rel=0.02)


ANSWERS = """
import socket, sys
channel = socket.socket(fileno=int(sys.argv[2]))
channel.recv(100000)
{answer}
"""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("channel.send(bytes(20)); channel.recv(100)", "talks nonsense"),
        ("channel.send(b'{\"ok\": 2}'); channel.recv(100)", "talks nonsense"),
        ("channel.send(b' ' * 80000); channel.recv(100)", "talks nonsense"),
        ('channel.send(b\'{"error": "no such file"}\'); channel.recv(100)', "could not draw: no such file"),
        ("sys.exit('I am unwell')", "I am unwell"),
        ("channel.close(); import time; time.sleep(60)", "hung up"),
        ("import time; time.sleep(60)", "hung"),
    ],
)
def test_a_process_that_talks_nonsense_is_an_error(tmp_path: Path, answer: str, reason: str) -> None:
    program = tmp_path / "worker.py"
    program.write_text(ANSWERS.format(answer=answer))
    engine = RednerProcess([sys.executable, "-I"], tmp_path, threads=1, program=program, patience=1.0)
    start = time.monotonic()
    with pytest.raises(RendererError, match=reason):
        brightness(RednerRenderer(engine))
    assert time.monotonic() - start < SOON
    engine.close()


def test_a_python_that_is_gone_is_explained(tmp_path: Path) -> None:
    engine = RednerProcess([str(tmp_path / "python")], tmp_path, threads=1)
    with pytest.raises(RendererError, match="nextface setup redner"):
        brightness(RednerRenderer(engine))


def mappings(pid: int) -> int:
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:nextface")


def test_scenes_go_when_their_graphs_do(engine: RednerProcess) -> None:
    gc.collect()
    before = mappings(os.getpid())
    renderer = RednerRenderer(engine)
    drawn = scene()
    drawn.environment.radiance.requires_grad_()
    images = [renderer.render(drawn, 1, seed) for seed in range(4)]
    assert engine.pid is not None
    assert mappings(engine.pid) == mappings(os.getpid()) - before == 4
    del images[1:]
    gc.collect()
    assert soon(lambda: mappings(engine.pid or 0) == 1)
    assert mappings(os.getpid()) - before == 1
    with torch.no_grad():
        for seed in range(20):
            renderer.render(drawn, 1, seed)
    assert soon(lambda: mappings(engine.pid or 0) == 1)
    descriptors = len(os.listdir("/proc/self/fd"))
    del images
    gc.collect()
    assert mappings(os.getpid()) == before
    assert len(os.listdir("/proc/self/fd")) < descriptors


def test_several_scenes_may_be_in_flight(engine: RednerProcess) -> None:
    renderer = RednerRenderer(engine)
    leaves, images = [], []
    for radiance in (1.0, 3.0):
        drawn = scene(radiance)
        diffuse = drawn.material.diffuse.clone().requires_grad_()
        images.append(
            renderer.render(
                drawn.with_material(Material(diffuse, drawn.material.specular, drawn.material.roughness)),
                256,
                1,
            )
        )
        leaves.append(diffuse)
    for number, radiance in enumerate((1.0, 3.0)):
        images[number][..., :3].mean().backward()
        gradient = leaves[number].grad
        assert gradient is not None
        assert float(gradient.sum()) == pytest.approx(radiance, rel=0.02)


def test_closing_ends_the_process_and_drawing_starts_another(engine: RednerProcess) -> None:
    renderer = RednerRenderer(engine)
    brightness(renderer)
    pid = engine.pid
    assert pid is not None and alive(pid)
    renderer.close()
    assert not alive(pid)
    renderer.close()  # once more does no harm
    assert brightness(renderer) == pytest.approx(0.5, rel=0.02)


def test_a_forgotten_renderer_leaves_no_process() -> None:
    found = find_environment()
    engine = RednerProcess(found.command, found.packages, threads=1)
    brightness(RednerRenderer(engine))
    pid = engine.pid
    assert pid is not None
    del engine
    gc.collect()
    assert soon(lambda: not alive(pid))


def test_a_fork_leaves_its_parents_process_alone(engine: RednerProcess) -> None:
    renderer = RednerRenderer(engine)
    brightness(renderer)
    pid = engine.pid
    assert pid is not None
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(abs(brightness(renderer) - 0.5) > 0.02 or engine.pid == pid)
            engine.close()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert alive(pid)
    assert brightness(renderer) == pytest.approx(0.5, rel=0.02)
    assert engine.pid == pid


def test_threads_take_turns(engine: RednerProcess) -> None:
    renderer = RednerRenderer(engine)
    found: dict[float, float] = {}

    def work(radiance: float) -> None:
        found[radiance] = np.mean([brightness(renderer, radiance) for _ in range(5)])

    threads = [threading.Thread(target=work, args=(radiance,)) for radiance in (1.0, 2.0, 4.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == pytest.approx({radiance: radiance / 2 for radiance in (1.0, 2.0, 4.0)}, rel=0.02)


def test_the_process_keeps_to_its_cores(engine: RednerProcess) -> None:
    brightness(RednerRenderer(engine))
    assert engine.pid is not None
    assert len(os.sched_getaffinity(engine.pid)) == 1


def test_one_thread_repeats_gradients_to_the_last_bit(engine: RednerProcess) -> None:
    """Many pixels add to few texels: with two threads, the last bits change from time to time."""
    gradients = []
    for _ in range(6):
        drawn = scene(size=48)
        leaf = drawn.environment.radiance.requires_grad_()
        gradients.append(torch.autograd.grad(RednerRenderer(engine).render(drawn, 8, 1).sum(), leaf)[0])
    assert all(torch.equal(gradients[0], gradient) for gradient in gradients)


def test_a_run_tells_what_a_renderer_warns_of() -> None:
    """Through its progress, from where a folder's index has it; not through Python's warnings."""
    require_redner()

    class Warned(Silent):
        said: ClassVar[list[str]] = []

        def warn(self, text: str) -> None:
            self.said.append(text)

    with equipped(Config(renderer="redner", device="cuda", threads=1)) as equipment:
        equipment.start(Warned())
    assert Warned.said == ["redner draws on the CPU: its build for GPUs is not used"]
