"""Refuse scenes whose tensors do not fit together, naming the argument."""

from __future__ import annotations

from torch import Tensor

from nextface.scene import Environment, Scene


def check_scene(scene: Scene, samples: int) -> None:
    """Check shapes, devices and the sample count.

    Raises
    ------
    ValueError: naming the first argument that does not fit, its shape and the shape that would.
    """
    mesh, material, camera = scene.mesh, scene.material, scene.camera
    if samples < 1:
        raise ValueError(f"samples is {samples}; it must be at least 1")
    if camera.width < 1 or camera.height < 1:
        raise ValueError(
            f"camera.width x camera.height is {camera.width} x {camera.height}; both must be at least 1"
        )
    count, corners = mesh.vertices.shape[0], mesh.vertices.shape[1] if mesh.vertices.dim() == 3 else None
    _expect("mesh.vertices", mesh.vertices, "N", "V", 3)
    _expect("mesh.normals", mesh.normals, count, corners, 3)
    _expect("mesh.triangles", mesh.triangles, "F", 3)
    if material.is_mapped:
        if mesh.uvs is None or mesh.uv_triangles is None:
            raise ValueError("material holds maps, but mesh.uvs or mesh.uv_triangles is missing")
        _expect("mesh.uvs", mesh.uvs, "T", 2)
        _expect("mesh.uv_triangles", mesh.uv_triangles, *mesh.triangles.shape)
    size = material.diffuse.shape[1:-1] if material.is_mapped else (corners,)
    _expect("material.diffuse", material.diffuse, count, *size, 3)
    _expect("material.specular", material.specular, count, *size, 1)
    _expect("material.roughness", material.roughness, count, *size, 1)
    _check_light(scene.environment, count)
    _expect("camera.intrinsics", camera.intrinsics, count, 3, 3)
    _expect("camera.rotation", camera.rotation, count, 3)
    _expect("camera.translation", camera.translation, count, 3)
    if camera.orientation is not None:
        _expect("camera.orientation", camera.orientation, count, 3, 3)
    tensors = {
        "mesh.normals": mesh.normals,
        "mesh.triangles": mesh.triangles,
        "material.diffuse": material.diffuse,
        "material.specular": material.specular,
        "material.roughness": material.roughness,
        "environment.light": scene.environment.light,
        "camera.intrinsics": camera.intrinsics,
        "camera.rotation": camera.rotation,
        "camera.translation": camera.translation,
    }
    if camera.orientation is not None:
        tensors["camera.orientation"] = camera.orientation
    _expect_indices("mesh.triangles", mesh.triangles, mesh.vertices.shape[1])
    if material.is_mapped and mesh.uvs is not None and mesh.uv_triangles is not None:
        _expect_indices("mesh.uv_triangles", mesh.uv_triangles, mesh.uvs.shape[0])
    for name, tensor in tensors.items():
        if tensor.device != mesh.vertices.device:
            raise ValueError(f"{name} is on {tensor.device}, mesh.vertices on {mesh.vertices.device}")


def _check_light(environment: Environment, count: int) -> None:
    light = environment.light
    if light.dim() == 4:
        _expect("environment.light", light, count, "H", "2H", 3)
        height, width = light.shape[1:3]
        if width != 2 * height:
            raise ValueError(
                f"environment.light is a map of {height} x {width}; its width must be twice its height"
            )
        return
    _expect("environment.light", light, count, "bands^2", 3)
    if environment.bands**2 != light.shape[1]:
        raise ValueError(f"environment.light holds {light.shape[1]} coefficients; expected a square number")


def _expect(name: str, tensor: Tensor, *shape: int | str | None) -> None:
    """Numbers must match; letters stand for any size."""
    fits = tensor.dim() == len(shape) and all(
        not isinstance(wanted, int) or wanted == size for wanted, size in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name} has shape {list(tensor.shape)}; expected [{wanted}]")


def _expect_indices(name: str, triangles: Tensor, count: int) -> None:
    if triangles.is_floating_point():
        raise ValueError(f"{name} holds {triangles.dtype}; expected whole numbers")
    if triangles.numel() == 0:
        raise ValueError(f"{name} is empty; there is nothing to draw")
    low, high = int(triangles.min()), int(triangles.max())
    if low < 0 or high >= count:
        raise ValueError(f"{name} holds indices from {low} to {high}; there are only {count} points")
