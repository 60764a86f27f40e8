"""What a renderer is given: mesh, material, light and camera, and the conventions that they follow."""

from nextface.scene.camera import Camera
from nextface.scene.environment import Environment
from nextface.scene.rig import Rig
from nextface.scene.scene import Material, Mesh, Scene

__all__ = ["Camera", "Environment", "Material", "Mesh", "Rig", "Scene"]
